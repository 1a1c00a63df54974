//! Keeps the number of drivers on shift: who goes home is replaced by a fresh one.

use std::time::Duration;

/// How long the place of a driver who never got in stays empty: a backend that lets nobody in must
/// not be stormed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Who is wanted.
#[derive(Debug)]
pub(super) struct Supply {
    wanted: u32,
    open: bool,
}

impl Supply {
    /// That many drivers, once it is opened.
    pub fn new(wanted: u32) -> Self {
        Self { wanted, open: false }
    }

    /// Starts to replace; answers how many are missing of those `here`.
    pub fn open(&mut self, here: u32) -> u32 {
        self.open = true;
        self.wanted.saturating_sub(here)
    }

    /// Replaces nobody from here on.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// A driver is gone and `here` are left: how long until another comes, if one does.
    pub fn replace(&self, was_in: bool, here: u32) -> Option<Duration> {
        let wait = if was_in { Duration::ZERO } else { AFTER_FAILURE };
        (self.open && here < self.wanted).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_while_open_and_short() {
        let mut supply = Supply::new(3);
        assert_eq!(supply.replace(true, 2), None);
        assert_eq!(supply.open(1), 2);
        assert_eq!(supply.replace(true, 2), Some(Duration::ZERO));
        assert_eq!(supply.replace(false, 2), Some(AFTER_FAILURE));
        assert_eq!(supply.replace(true, 3), None);
        supply.close();
        assert_eq!(supply.replace(true, 2), None);
    }
}
