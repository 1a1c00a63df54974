//! Who comes on shift and who goes home, bucket by bucket: shifts end by their own length, those who
//! are too many are sent home, the oldest first, and whoever is missing comes. It plays nothing: how
//! long a shift is, the scenario says.

use crate::{base::rng::Rng, scenario::Scenario};

/// Draws of a shift's length.
const DRAWS: usize = 1_000;

/// Shifts that begin and end, bucket by bucket.
#[derive(Debug, Default)]
pub struct Shifts {
    /// Drivers who come.
    pub joins: Vec<f64>,
    /// Drivers who go home.
    pub leaves: Vec<f64>,
    /// Logins for a fresh token.
    pub renewals: Vec<f64>,
}

/// Lengths of shifts in seconds of the run, in order.
struct Lengths(Vec<f64>);

/// Drivers who came at the same time.
struct Cohort {
    /// When they got a token.
    login_s: f64,
    /// When their shift began, or the rest of it.
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

    /// The share of each cohort that is still on shift at that moment.
    fn left_of_all(&self, cohorts: &[Cohort], at_s: f64) -> Vec<f64> {
        // All who came early came to the same moment.
        let early =
            cohorts.iter().find(|cohort| cohort.early).map(|cohort| self.left(cohort, at_s));
        let left = |cohort: &Cohort| match early {
            Some(left) if cohort.early => left,
            _ => self.left(cohort, at_s),
        };
        cohorts.iter().map(left).collect()
    }

    /// The share of a cohort that is still on shift at that moment.
    fn left(&self, cohort: &Cohort, at_s: f64) -> f64 {
        let age_s = at_s - cohort.came_s;
        if age_s <= 0.0 {
            return 1.0;
        }
        let longer = &self.0[self.0.partition_point(|length| *length <= age_s)..];
        let left = if cohort.early {
            // Any part of its shift may lie behind it.
            longer.iter().map(|length| 1.0 - age_s / length).sum()
        } else {
            longer.len() as f64
        };
        left / self.0.len() as f64
    }
}

/// The shifts of a run whose fill ends at `fill_s` and whose sign-off begins at `open_until_s`; `ends` are
/// the moments at which the buckets end, with the drivers wanted then. Each sends updates all the
/// time, so that a token that is over is found out at once: it is renewed every `token_s`.
pub fn shifts(
    scenario: &Scenario,
    (fill_s, open_until_s): (f64, f64),
    token_s: f64,
    ends: &[(f64, f64)],
) -> Shifts {
    let lengths = Lengths::of(scenario);
    let mut cohorts: Vec<Cohort> = Vec::new();
    let mut shifts = Shifts::default();
    let (mut here, mut since_s) = (0.0, 0.0);
    for (at_s, wanted) in ends {
        // Whose shift ends during the sign-off goes home with all others.
        let shares = lengths.left_of_all(&cohorts, at_s.min(open_until_s));
        let staying: f64 = cohorts.iter().zip(&shares).map(|(cohort, s)| cohort.count * s).sum();
        let surplus = (staying - wanted).max(0.0);
        let (mut to_go, mut renewals) = (surplus, 0.0);
        for (cohort, share) in cohorts.iter_mut().zip(&shares) {
            let going = (cohort.count * share).min(to_go);
            to_go -= going;
            cohort.count -= if *share > 0.0 { going / share } else { 0.0 };
            let renewed = |until_s: f64| ((until_s - cohort.login_s) / token_s).max(0.0).floor();
            renewals += (renewed(at_s.min(open_until_s)) - renewed(since_s)).max(0.0)
                * cohort.count
                * share;
        }
        let mut share = shares.into_iter();
        cohorts.retain(|cohort| share.next().is_some_and(|s| s > 0.0) && cohort.count > 1e-9);
        let joins = (wanted - staying).max(0.0);
        let early = since_s < fill_s;
        let login_s = f64::midpoint(since_s, *at_s);
        let came_s = if early { fill_s } else { login_s };
        cohorts.push(Cohort { login_s, came_s, early, count: joins });
        shifts.joins.push(joins);
        shifts.leaves.push((here - staying).max(0.0) + surplus);
        shifts.renewals.push(renewals);
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
        let shifts = shifts(&scenario(Spread::Uniform(500.0, 1_500.0)), (10.0, 1e9), 100.0, &ends);
        let (joins, leaves) = sums(&shifts);
        assert!((joins - leaves - 100.0).abs() < 1e-6);
        assert!((leaves / 1_000.0 - 1.0).abs() < 0.05, "{leaves}");
        // One in a hundred seconds each, but for the one that each shift ends before.
        let renewals: f64 = shifts.renewals.iter().sum();
        assert!((9_300.0..9_700.0).contains(&renewals), "{renewals}");
    }

    #[test]
    fn who_is_sent_home_is_not_replaced_and_counts_once() {
        // Up, down, and shifts that are longer than both.
        let wanted = |n: u32| f64::from(if n <= 50 { n } else { 100 - n });
        let ends: Vec<_> = (1..=100).map(|n| (f64::from(n) * 10.0, wanted(n))).collect();
        let shifts = shifts(&scenario(Spread::Fixed(1e6)), (10.0, 1e9), 1e9, &ends);
        let (joins, leaves) = sums(&shifts);
        assert!((joins - 50.0).abs() < 0.1 && (leaves - 50.0).abs() < 0.1, "{joins} {leaves}");
    }
}
