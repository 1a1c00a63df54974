//! Which seeds a swarm plays: `1..1000`, both ends included.

use std::{fmt, str::FromStr};

/// Seeds in one swarm at most.
pub const SEEDS_MAX: u64 = 10_000_000;

/// Whole numbers in a row. As seeds they are texts, like every seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// The last; not before the first.
    pub last: u64,
}

impl Seeds {
    /// How many.
    pub fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

impl FromStr for Seeds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once("..").and_then(|(first, last)| {
            Some(Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        });
        let Some(seeds) = ends else {
            return Err(format!("`{text}` is no range of seeds: write it like 1..1000"));
        };
        if seeds.last < seeds.first {
            let Self { first, last } = seeds;
            return Err(format!("`{text}` ends before it begins: write {last}..{first}"));
        }
        if seeds.last - seeds.first >= SEEDS_MAX {
            return Err(format!("`{text}` is more than {SEEDS_MAX} seeds: take a part of them"));
        }
        Ok(seeds)
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_included() {
        let seeds: Seeds = "1..1000".parse().unwrap();
        assert_eq!((seeds.first, seeds.last, seeds.count()), (1, 1_000, 1_000));
        assert_eq!("7..7".parse::<Seeds>().unwrap().count(), 1);
        assert_eq!(seeds.to_string(), "1..1000");
    }

    #[test]
    fn what_is_no_range_says_how_to_write_one() {
        for text in ["", "1000", "1..", "..9", "1...9", "a..b", "-1..4", "9..1", "0..10000000"] {
            let error = text.parse::<Seeds>().unwrap_err();
            assert!(error.contains("write") || error.contains("take"), "{text}: {error}");
        }
        assert!("0..18446744073709551615".parse::<Seeds>().is_err());
    }
}
