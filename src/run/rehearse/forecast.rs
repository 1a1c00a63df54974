//! From a sample to the whole run. Each op has one of four causes, and what each costs was measured:
//! a wish (its ops by its age), a shift that begins or ends, a second on shift, an entry to be read
//! back. How often each cause comes up follows from the scenario's rates, and how long a journey
//! takes from the city's speed and distances in its hour. Renewed tokens are the
//! one thing that is reckoned from what the target declares.

use super::{
    bucket_s,
    notes::{Caused, Drive, Wish},
    profile::Profile,
    sample::{self, Measured},
    shape::{KINDS, Shape},
    supply::{self, Shifts},
    tokens::{self, Crowd},
};
use crate::{
    base::rng::Rng, city::City, history::op::OpKind, run::show, scenario::Scenario,
    target::embedded::AUDIT_PAGE,
};

/// The ramp of the sign-off, of the time that it may take.
const SIGN_OFF_S: f64 = show::SIGN_OFF_WITHIN.as_secs_f64() / 3.0;
/// Looks at the number of drivers in one bucket.
const LOOKS: u32 = 8;
/// Arrivals are random: of the passengers that are busy at a time, this many standard deviations
/// above the mean are met now and then, and signed on.
const CROWDED: f64 = 3.0;
/// What begins a shift, beside the login.
const DRIVER_SHIFT: [OpKind; 2] = [OpKind::DriverRegister, OpKind::DriverGoOnline];
/// Looks that come again and again as long as a journey lasts.
const POLLS: [OpKind; 2] = [OpKind::PassengerJobStatus, OpKind::DriverCurrentJob];
/// Hours of a day.
const HOURS: usize = 24;
/// Journeys drawn of each hour, to know how long they are.
const TRIPS_DRAWN: u32 = 400;
/// What is read back.
const AUDITS: [OpKind; 2] = [OpKind::AuditJobs, OpKind::AuditCharges];

/// Extends what was measured over the run.
pub fn extend(scenario: &Scenario, city: &City, measured: &Measured) -> Shape {
    let profile = Profile::of(scenario);
    let plot = Plot::of(scenario, city, &profile, measured);
    let length_s = plot.end_s + SIGN_OFF_S;
    let mut shape = Shape::empty(bucket_s(length_s), length_s);
    shape.parts = vec![
        ("fill", 0.0),
        ("demand", plot.fill_s),
        ("settle", plot.fill_s + profile.duration_s()),
        ("end", plot.end_s),
    ];
    for n in 0..shape.len() {
        let (from_s, width_s) = (n as f64 * shape.width_s, shape.width_of(n));
        shape.wishes[n] = plot.requests(from_s, from_s + width_s);
        shape.drivers[n] = mean(from_s, from_s + width_s, |at_s| plot.drivers(at_s));
    }
    let shifts = plot.shifts(&mut shape);
    plot.wishes(&mut shape);
    plot.passengers(&mut shape);
    plot.seconds_on_shift(&mut shape, &shifts);
    plot.read_back(&mut shape);
    shape
}

/// The run to come, and what was measured for it.
struct Plot<'a> {
    scenario: &'a Scenario,
    city: &'a City,
    profile: &'a Profile<'a>,
    measured: &'a Measured,
    /// The mean length of a journey by hour, as the crow flies.
    trip_m: [f64; HOURS],
    fill_s: f64,
    /// When the sign-off begins.
    end_s: f64,
}

impl<'a> Plot<'a> {
    fn of(
        scenario: &'a Scenario,
        city: &'a City,
        profile: &'a Profile<'a>,
        measured: &'a Measured,
    ) -> Self {
        let time = &scenario.time;
        let fill_s = time.fill.0.as_secs_f64();
        let drained_s = fill_s + profile.duration_s();
        let trip_m = trip_lengths(city);
        let mut plot = Self { scenario, city, profile, measured, trip_m, fill_s, end_s: drained_s };
        let hour = plot.hour_at(drained_s);
        let lives = measured.notes.wishes.iter().map(|wish| plot.in_hour(wish, hour).life_s());
        plot.end_s += lives.fold(0.0, f64::max).min(time.settle.0.as_secs_f64());
        plot
    }

    /// The city's hour at a moment of the run.
    fn hour_at(&self, at_s: f64) -> usize {
        (self.profile.local_s(at_s - self.fill_s) / 3_600.0) as usize
    }

    /// A wish of the sample as it would be in another hour of the city.
    fn in_hour(&self, wish: &'a Wish, hour: usize) -> InHour<'a> {
        let span = &self.measured.span;
        let local_s = span.start_s + (wish.began_s - span.fill_s) * self.scenario.time.time_scale;
        let began = (local_s.rem_euclid(86_400.0) / 3_600.0) as usize;
        let slower = self.city.speed_m_per_s(began) / self.city.speed_m_per_s(hour);
        let farther = self.trip_m[hour % HOURS] / self.trip_m[began % HOURS];
        InHour { wish, approach: slower, trip: slower * farther }
    }

    /// How long after a wish its drives begin, in the mean of the time driven.
    fn drives_after_s(&self) -> f64 {
        let (mut sum, mut driven) = (0.0, 0.0);
        for wish in &self.measured.notes.wishes {
            for (drive, took_s) in wish.drives_until(wish.ended_s) {
                sum += (drive.from_s - wish.began_s) * took_s;
                driven += took_s;
            }
        }
        if driven > 0.0 { sum / driven } else { 0.0 }
    }

    /// Drivers on shift at a moment of the run.
    fn drivers(&self, at_s: f64) -> f64 {
        let wanted = self.profile.drivers(at_s - self.fill_s);
        if at_s < self.fill_s {
            wanted * at_s / self.fill_s
        } else {
            wanted * (1.0 - (at_s - self.end_s) / SIGN_OFF_S).clamp(0.0, 1.0)
        }
    }

    /// Requests between two moments of the run.
    fn requests(&self, from_s: f64, to_s: f64) -> f64 {
        let from_s = (from_s - self.fill_s).max(0.0);
        let to_s = (to_s - self.fill_s).min(self.profile.duration_s());
        if to_s <= from_s {
            return 0.0;
        }
        mean(from_s, to_s, |at_s| self.profile.requests_per_s(at_s)) * (to_s - from_s)
    }

    /// Shifts that begin and end, with their ops.
    fn shifts(&self, shape: &mut Shape) -> Shifts {
        let notes = &self.measured.notes;
        let came = notes.shifts.iter().filter(|(_, step)| *step > 0).count().max(1) as f64;
        let left = (notes.shifts.len() as f64 - came).max(1.0);
        let per_end = notes.count(OpKind::DriverGoOffline) / left;
        let end_of = |n: usize| n as f64 * shape.width_s + shape.width_of(n);
        let ends: Vec<_> = (0..shape.len()).map(|n| (end_of(n), self.drivers(end_of(n)))).collect();
        let shifts =
            supply::shifts(self.scenario, (self.fill_s, self.end_s), self.renewed_every_s(), &ends);
        for (n, (joins, leaves)) in shifts.joins.iter().zip(&shifts.leaves).enumerate() {
            for kind in DRIVER_SHIFT {
                add(shape, n, kind, joins * notes.count(kind) / came);
            }
            add(shape, n, OpKind::DriverLogin, *joins);
            add(shape, n, OpKind::DriverGoOffline, leaves * per_end);
        }
        shape.robots[0] = shifts.joins.iter().sum();
        shifts
    }

    /// What every wish causes, at its age, and how long it is open. The city is slower in some hours
    /// than in that of the sample: journeys take longer then, and are looked at more often.
    fn wishes(&self, shape: &mut Shape) {
        // A drive is as fast as the hour in which it begins.
        let after_s = self.drives_after_s();
        let hour = |n: usize| self.hour_at((n as f64 + 0.5) * shape.width_s + after_s);
        let hours: Vec<usize> = (0..shape.len()).map(hour).collect();
        for hour in 0..HOURS {
            let there = |n: usize| if hours[n] == hour { shape.wishes[n] } else { 0.0 };
            let wishes: Vec<f64> = (0..shape.len()).map(there).collect();
            if wishes.iter().any(|count| *count > 0.0) {
                self.wishes_in(shape, &wishes, hour);
            }
        }
    }

    /// The same for those wishes, of that hour of the city.
    fn wishes_in(&self, shape: &mut Shape, wishes: &[f64], hour: usize) {
        let notes = &self.measured.notes;
        let measured = notes.wishes.len().max(1) as f64;
        let there: Vec<_> = notes.wishes.iter().map(|wish| self.in_hour(wish, hour)).collect();
        let mut by_age: Vec<Vec<f64>> = vec![Vec::new(); KINDS];
        for caused in &notes.caused {
            let (age_s, weight) = there[caused.wish].age_and_weight(caused);
            // A wish comes up anywhere in its bucket, so its ops fall into two.
            let age = age_s / shape.width_s;
            let (whole, part) = (age as usize, age.fract());
            let effects = &mut by_age[caused.kind];
            grow(effects, whole + 2);
            effects[whole] += (1.0 - part) * weight / measured;
            effects[whole + 1] += part * weight / measured;
        }
        for (index, ages) in by_age.iter().enumerate() {
            for (n, count) in spread(wishes, ages).into_iter().enumerate() {
                shape.ops[n][index] += count;
                shape.attempts[n][index] += count;
            }
        }
        let mut open = Vec::new();
        for wish in &there {
            let life = wish.life_s() / shape.width_s;
            grow(&mut open, life as usize + 3);
            for (n, share) in open.iter_mut().take(life as usize + 2).enumerate() {
                *share += open_in(n as f64, life) / measured;
            }
        }
        for (sum, open) in shape.open.iter_mut().zip(spread(wishes, &open)) {
            *sum += open;
        }
    }

    /// Passengers: those of the scenario, and more where all of them are busy at once.
    fn passengers(&self, shape: &mut Shape) {
        let first = f64::from(self.scenario.load.passengers);
        let (mut joins, mut most) = (vec![0.0; shape.len()], 0.0_f64);
        for (n, joins) in joins.iter_mut().enumerate() {
            let to_s = n as f64 * shape.width_s + shape.width_of(n);
            let filled = if to_s < self.fill_s { to_s / self.fill_s } else { 1.0 };
            let open = shape.open[n];
            let crowd = open + CROWDED * open.sqrt();
            let wanted = (first * filled).max(if crowd > first { crowd } else { 0.0 }).max(most);
            *joins = wanted - most;
            let before = std::mem::replace(&mut most, wanted);
            let gone = (1.0 - (to_s - self.end_s) / SIGN_OFF_S).clamp(0.0, 1.0);
            shape.passengers[n] = f64::midpoint(before, wanted) * gone;
        }
        for (n, joins) in joins.iter().enumerate() {
            add(shape, n, OpKind::PassengerRegister, *joins);
            add(shape, n, OpKind::PassengerLogin, *joins);
        }
        shape.robots[1] = most;
        let crowd = Crowd {
            joins: &joins,
            signed_on: &shape.passengers,
            open: &shape.open,
            wishes: &shape.wishes,
        };
        let token_s = self.scenario.backend.token_ttl.0.as_secs_f64();
        let renewals = tokens::of_passengers(&crowd, shape.width_s, token_s);
        for (n, renewals) in renewals.into_iter().enumerate() {
            add(shape, n, OpKind::PassengerLogin, renewals);
            // The attempt that was refused.
            shape.attempts[n][OpKind::PassengerJobStatus.index()] += renewals;
        }
    }

    /// Updates, fresh tokens, and whatever else a driver does without a wish behind it.
    fn seconds_on_shift(&self, shape: &mut Shape, shifts: &Shifts) {
        let notes = &self.measured.notes;
        let cadence_s = sample::cadence_s(self.scenario);
        let all_s = notes.driver_seconds(0.0, notes.end_s()).max(1.0);
        let came = notes.shifts.iter().filter(|(_, step)| *step > 0).count().max(1) as f64;
        // Beside its beat, a driver says where it is as its shift begins.
        let at_start = (notes.count(OpKind::DriverPing) - all_s / cadence_s) / came;
        for (n, joins) in shifts.joins.iter().enumerate() {
            let seconds = shape.drivers[n] * shape.width_of(n);
            let pings = seconds / cadence_s + joins * at_start.clamp(0.0, 2.0);
            add(shape, n, OpKind::DriverPing, pings);
            for kind in OpKind::ALL {
                let idle = notes.idle[kind.index()] as f64;
                add(shape, n, *kind, seconds * idle / all_s);
            }
        }
        for (n, renewals) in shifts.renewals.iter().copied().enumerate() {
            add(shape, n, OpKind::DriverLogin, renewals);
            shape.attempts[n][OpKind::DriverPing.index()] += renewals;
        }
    }

    /// How often a driver gets a fresh token: at the first update after the end of the old one.
    fn renewed_every_s(&self) -> f64 {
        let token_s = self.scenario.backend.token_ttl.0.as_secs_f64();
        let cadence_s = sample::cadence_s(self.scenario);
        ((token_s / cadence_s).floor() + 1.0) * cadence_s
    }

    /// The read-back: entries by wish, a page at a time.
    fn read_back(&self, shape: &mut Shape) {
        let notes = &self.measured.notes;
        let wishes: f64 = shape.wishes.iter().sum();
        let bucket = ((self.end_s / shape.width_s) as usize).min(shape.len() - 1);
        for kind in AUDITS {
            let listed = notes.listed[kind.index()] as f64;
            // A sample reads back before its longest journeys are paid for.
            let paid =
                if kind == OpKind::AuditCharges { notes.count(OpKind::PassengerPay) } else { 0.0 };
            let entries = wishes * listed.max(paid) / notes.wishes.len().max(1) as f64;
            let pages = (entries / f64::from(AUDIT_PAGE)).ceil().max(1.0);
            shape.ops[bucket][kind.index()] += pages;
            // Bytes follow the entries: a page of a small sample is half empty.
            let weight = if listed > 0.0 { entries / listed } else { 1.0 };
            shape.attempts[bucket][kind.index()] += notes.attempts_of(kind) * weight;
        }
    }
}

/// A wish in another hour, in which drives take so many times as long as they did.
struct InHour<'a> {
    wish: &'a Wish,
    approach: f64,
    trip: f64,
}

impl InHour<'_> {
    fn longer(&self, drive: &Drive) -> f64 {
        if drive.trip { self.trip } else { self.approach }
    }

    /// How much later it would be at that moment.
    fn later_s(&self, at_s: f64) -> f64 {
        let drives = self.wish.drives_until(at_s);
        drives.map(|(drive, took_s)| (self.longer(drive) - 1.0) * took_s).sum()
    }

    fn life_s(&self) -> f64 {
        let Wish { began_s, ended_s, .. } = self.wish;
        ended_s - began_s + self.later_s(*ended_s)
    }

    /// How old it would be at that op, and how many of that op there would be.
    fn age_and_weight(&self, caused: &Caused) -> (f64, f64) {
        let at_s = self.wish.began_s + caused.age_s;
        let looks = POLLS.iter().any(|kind| kind.index() == caused.kind);
        let drive = self.wish.drive_at(at_s).filter(|_| looks);
        let weight = drive.map_or(1.0, |drive| self.longer(drive));
        (caused.age_s + self.later_s(at_s), weight)
    }
}

/// The mean length of a journey of each hour, as the crow flies.
fn trip_lengths(city: &City) -> [f64; HOURS] {
    let mut rng = Rng::from_seed("trips");
    std::array::from_fn(|hour| {
        let metres = (0..TRIPS_DRAWN).map(|_| {
            let (from, to) = city.draw_trip(hour, &mut rng);
            from.metres_to(to)
        });
        (metres.sum::<f64>() / f64::from(TRIPS_DRAWN)).max(1.0)
    })
}

/// So many ops in a bucket, each at its first attempt.
fn add(shape: &mut Shape, bucket: usize, kind: OpKind, count: f64) {
    shape.ops[bucket][kind.index()] += count;
    shape.attempts[bucket][kind.index()] += count;
}

/// The mean of something between two moments.
fn mean(from_s: f64, to_s: f64, of: impl Fn(f64) -> f64) -> f64 {
    let step_s = (to_s - from_s) / f64::from(LOOKS);
    let looks = (0..LOOKS).map(|look| of(from_s + (f64::from(look) + 0.5) * step_s));
    looks.sum::<f64>() / f64::from(LOOKS)
}

fn grow(values: &mut Vec<f64>, length: usize) {
    if values.len() < length {
        values.resize(length, 0.0);
    }
}

/// What `causes` bring about, each `effects` by its age. What comes after the last bucket is cut
/// off, as the end of the run does.
fn spread(causes: &[f64], effects: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; causes.len()];
    for (begun, cause) in causes.iter().enumerate().filter(|(_, cause)| **cause > 0.0) {
        for (sum, effect) in sums[begun..].iter_mut().zip(effects) {
            *sum += cause * effect;
        }
    }
    sums
}

/// How much of the bucket `later` buckets after its own a wish is open that came up anywhere in its
/// own and lives for `life` buckets.
fn open_in(later: f64, life: f64) -> f64 {
    // The integral over all moments of its own bucket: second differences of it.
    let sum = |at: f64| {
        if at <= 0.0 {
            0.0
        } else if at <= life {
            at * at / 2.0
        } else {
            life * life / 2.0 + life * (at - life)
        }
    };
    sum(later + 1.0) - 2.0 * sum(later) + sum(later - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_open_for_as_long_as_it_lives() {
        for life in [0.0, 0.3, 1.0, 2.5, 17.2] {
            let open: f64 = (0..40).map(|later| open_in(f64::from(later), life)).sum();
            assert!((open - life).abs() < 1e-9, "{life}: {open}");
        }
        assert!((open_in(0.0, 1.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn effects_come_at_their_age_and_end_with_the_run() {
        assert_eq!(spread(&[2.0, 0.0, 1.0], &[1.0, 0.5]), [2.0, 1.0, 1.0]);
    }
}
