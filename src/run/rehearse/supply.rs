//! Who comes on shift and who goes home, bucket by bucket: shifts end by their own length, those who
//! are too many are sent home, the oldest first, and whoever is missing comes. It plays nothing: how
//! long a shift is, the scenario says.

use super::tokens::Shifts;
use crate::{base::rng::Rng, scenario::Scenario};

/// Draws of a shift's length.
const DRAWS: usize = 1_000;

/// Lengths of shifts in seconds of the run, in order.
struct Lengths(Vec<f64>);

/// Drivers who came at the same time.
struct Cohort {
    came_s: f64,
    /// They came before the city's clock started, in the middle of a shift.
    early: bool,
    /// How many of them would be here if no shift ended by itself.
    count: f64,
}

impl Lengths {
    fn of(scenario: &Scenario) -> Self {
        let mut rng = Rng::from_seed("shifts");
        let draw = |_| scenario.robots.shift_s.seconds(&mut rng) / scenario.time.time_scale;
        let mut lengths: Vec<f64> = (0..DRAWS).map(draw).collect();
        lengths.sort_by(f64::total_cmp);
        Self(lengths)
    }

    /// The share of a cohort that is still on shift at that moment.
    fn left(&self, cohort: &Cohort, at_s: f64) -> f64 {
        let age_s = at_s - cohort.came_s;
        if age_s <= 0.0 {
            return 1.0;
        }
        let longer = &self.0[self.0.partition_point(|length| *length <= age_s)..];
        // Who came early had any part of its shift before it.
        let part = |length: &f64| if cohort.early { 1.0 - age_s / length } else { 1.0 };
        longer.iter().map(part).sum::<f64>() / self.0.len() as f64
    }
}

/// The shifts of a run whose fill ends at `fill_s` and whose sign-off begins at `end_s`; `ends` are
/// the moments at which the buckets end, with the drivers wanted then.
pub fn shifts(scenario: &Scenario, (fill_s, end_s): (f64, f64), ends: &[(f64, f64)]) -> Shifts {
    let lengths = Lengths::of(scenario);
    let mut cohorts: Vec<Cohort> = Vec::new();
    let mut shifts = Shifts { joins: Vec::new(), leaves: Vec::new() };
    let (mut here, mut since_s) = (0.0, 0.0);
    for (at_s, wanted) in ends {
        let stay = |cohort: &Cohort| cohort.count * lengths.left(cohort, at_s.min(end_s));
        let staying: f64 = cohorts.iter().map(stay).sum();
        let surplus = (staying - wanted).max(0.0);
        let mut to_go = surplus;
        for cohort in &mut cohorts {
            let share = lengths.left(cohort, at_s.min(end_s));
            let going = (cohort.count * share).min(to_go);
            to_go -= going;
            cohort.count -= if share > 0.0 { going / share } else { 0.0 };
        }
        cohorts.retain(|cohort| lengths.left(cohort, *at_s) > 0.0 && cohort.count > 1e-9);
        let joins = (wanted - staying).max(0.0);
        let early = since_s < fill_s;
        let came_s = if early { fill_s } else { f64::midpoint(since_s, *at_s) };
        match cohorts.last_mut() {
            Some(last) if early && last.early => last.count += joins,
            _ => cohorts.push(Cohort { came_s, early, count: joins }),
        }
        shifts.joins.push(joins);
        shifts.leaves.push((here - staying).max(0.0) + surplus);
        (here, since_s) = (staying - surplus + joins, *at_s);
    }
    shifts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dist::Spread;

    fn scenario(shift_s: Spread) -> Scenario {
        let smoke = std::path::Path::new("scenarios/smoke.toml");
        let mut scenario = Scenario::load(smoke, &[]).unwrap();
        (scenario.robots.shift_s, scenario.time.time_scale) = (shift_s, 1.0);
        scenario
    }

    fn sums(shifts: &Shifts) -> (f64, f64) {
        (shifts.joins.iter().sum(), shifts.leaves.iter().sum())
    }

    #[test]
    fn a_steady_crowd_is_replaced_once_in_the_length_of_a_shift() {
        let ends: Vec<_> = (1..=1_000).map(|n| (f64::from(n) * 10.0, 100.0)).collect();
        let shifts = shifts(&scenario(Spread::Uniform(500.0, 1_500.0)), (10.0, 1e9), &ends);
        let (joins, leaves) = sums(&shifts);
        assert!((joins - leaves - 100.0).abs() < 1e-6);
        assert!((leaves / 1_000.0 - 1.0).abs() < 0.05, "{leaves}");
    }

    #[test]
    fn who_is_sent_home_is_not_replaced_and_counts_once() {
        // Up, down, and shifts that are longer than both.
        let wanted = |n: u32| f64::from(if n <= 50 { n } else { 100 - n });
        let ends: Vec<_> = (1..=100).map(|n| (f64::from(n) * 10.0, wanted(n))).collect();
        let shifts = shifts(&scenario(Spread::Fixed(1e6)), (10.0, 1e9), &ends);
        let (joins, leaves) = sums(&shifts);
        assert!((joins - 50.0).abs() < 0.1 && (leaves - 50.0).abs() < 0.1, "{joins} {leaves}");
    }
}
