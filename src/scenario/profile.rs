//! How a figure changes over the hours of a day: shares of its peak. Empty: always the peak.

use serde::{Deserialize, Serialize};

/// Hours in a day.
pub const HOURS: usize = 24;

/// A share for each local hour, in 0 to 1, or none at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(pub Vec<f64>);

impl Profile {
    /// True when it says nothing: the peak at every hour.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The share that holds during the whole of that local hour.
    pub fn during(&self, hour: usize) -> f64 {
        self.0.get(hour % HOURS).copied().unwrap_or(1.0)
    }

    /// The share at so many hours since midnight, when each number holds at the beginning of its
    /// hour and the way to the next is straight.
    pub fn at(&self, hours: f64) -> f64 {
        let (hour, part) = (hours.max(0.0) as usize, hours.max(0.0).fract());
        self.during(hour) * (1.0 - part) + self.during(hour + 1) * part
    }

    /// The largest share.
    pub fn peak(&self) -> f64 {
        self.0.iter().copied().reduce(f64::max).unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_profile_is_the_peak_at_any_time() {
        let profile = Profile::default();
        assert!((profile.during(7) - 1.0).abs() < 1e-12 && (profile.at(30.5) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn midnight_joins_the_end_to_the_beginning() {
        let mut shares = vec![0.0; HOURS];
        (shares[0], shares[23]) = (0.2, 0.6);
        let profile = Profile(shares);
        assert!((profile.at(23.5) - 0.4).abs() < 1e-12);
        assert!((profile.at(24.5) - 0.1).abs() < 1e-12, "the next day begins like this one");
        assert!((profile.peak() - 0.6).abs() < 1e-12);
    }
}
