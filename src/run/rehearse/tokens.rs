//! Logins of passengers for a fresh token. How long a token lives is what the target declares; a robot logs in
//! anew when it is refused for the first time after that. A sample is too short to see it.

/// Logins anew of passengers. One with a wish looks at its job all the time, as a driver does; of
/// the others each is picked for a new wish sooner or later, and its old token is found out then.
pub fn of_passengers(crowd: &Crowd<'_>, width_s: f64, token_s: f64) -> Vec<f64> {
    let lag = (token_s / width_s).max(1.0);
    // Where tokens live for less than a bucket, one delay of a bucket stands for several.
    let lives = (width_s / token_s).max(1.0);
    let mut logins = crowd.joins.to_vec();
    let mut renewals = vec![0.0; logins.len()];
    let mut expired = 0.0;
    for n in 0..logins.len() {
        let all = crowd.signed_on[n].max(1e-9);
        let busy = (crowd.open[n] / all).clamp(0.0, 1.0);
        let ending = at(&logins, n as f64 - lag);
        let idle = (all * (1.0 - busy)).max(1e-9);
        let picked = expired * (1.0 - libm::exp(-crowd.wishes[n] / idle));
        expired += ending * (1.0 - busy) - picked;
        renewals[n] = ending * busy * lives + picked;
        logins[n] += ending * busy + picked;
    }
    renewals
}

/// Passengers, bucket by bucket.
pub struct Crowd<'a> {
    /// Who signs on.
    pub joins: &'a [f64],
    /// Who is signed on.
    pub signed_on: &'a [f64],
    /// Who has a wish.
    pub open: &'a [f64],
    /// Wishes that come up.
    pub wishes: &'a [f64],
}

/// The value at a place between two buckets; nothing before the first.
fn at(values: &[f64], place: f64) -> f64 {
    if place <= -1.0 {
        return 0.0;
    }
    let low = place.floor();
    let part = place - low;
    let value = |index: f64| {
        if index < 0.0 { 0.0 } else { values.get(index as usize).copied().unwrap_or(0.0) }
    };
    value(low) * (1.0 - part) + value(low + 1.0) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passenger_logs_in_anew_when_it_is_needed() {
        let crowd = |open: f64, wishes: f64| {
            let joins: Vec<f64> = (0..1_000).map(|n| if n == 0 { 100.0 } else { 0.0 }).collect();
            let all = [100.0; 1_000];
            let (open, wishes) = ([open; 1_000], [wishes; 1_000]);
            let crowd = Crowd { joins: &joins, signed_on: &all, open: &open, wishes: &wishes };
            of_passengers(&crowd, 1.0, 50.0).iter().sum::<f64>()
        };
        // Nobody wishes for anything; all are busy for ever; all are picked every 50 s.
        assert!(crowd(0.0, 0.0).abs() < 1e-9);
        assert!((crowd(100.0, 0.0) - 1_900.0).abs() < 1e-6);
        let picked = crowd(0.0, 2.0);
        assert!((880.0..1_000.0).contains(&picked), "{picked}");
    }
}
