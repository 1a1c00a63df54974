//! What the company offers, and to whom: kinds of cars, feature flags, experiments, and which part of
//! a path's traffic goes to a new implementation. Plain data, and the one hash by which an account
//! falls into a share: the same on every node, in every life.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the company offers; part of what a node is told when it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Product {
    /// Kinds of cars: name, and percent of the tariff.
    pub services: Vec<(String, u32)>,
    /// Feature flags: the share of accounts, 0 to 1, for which each is on.
    pub flags: BTreeMap<String, f64>,
    /// Experiments: the names of their variants, each for an equal share of the accounts.
    pub experiments: BTreeMap<String, Vec<String>>,
    /// The share of accounts, 0 to 1, whose requests to a path the new implementation answers.
    pub routes: BTreeMap<String, f64>,
}

impl Default for Product {
    fn default() -> Self {
        let services = [("taxi", 100), ("estate", 115), ("executive", 150)];
        let flags = [("pay-in-app", 1.0), ("share-eta", 0.5)];
        let variants = ["control", "short"].map(str::to_owned).to_vec();
        Self {
            services: services.map(|(name, percent)| (name.to_owned(), percent)).to_vec(),
            flags: flags.map(|(name, share)| (name.to_owned(), share)).into(),
            experiments: BTreeMap::from([("eta-words".to_owned(), variants)]),
            routes: BTreeMap::new(),
        }
    }
}

/// Where an account falls on the line from 0 to 1 (1 excluded) that is called `key`: FNV-1a over both,
/// mixed. Lines of different keys have nothing to do with one another.
pub fn point(key: &str, account: u64) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes().chain([0]).chain(account.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV leaves the upper bits of short keys alike.
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((hash ^ hash >> 33) >> 11) as f64 / (1_u64 << 53) as f64
}

/// True when the account is among the first `share` of the line called `key`: a larger share holds
/// everybody whom a smaller one held.
pub fn is_in(key: &str, account: u64, share: f64) -> bool {
    point(key, account) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_stable_grows_and_is_about_as_large_as_it_says() {
        let of = |key: &str, share: f64| (0..10_000).filter(|n| is_in(key, *n, share)).count();
        assert_eq!((of("a", 0.0), of("a", 1.0)), (0, 10_000));
        for (key, share) in [("a", 0.1), ("b", 0.5), ("/v1/customer/neardrivers", 0.9)] {
            let count = of(key, share) as f64 / 10_000.0;
            assert!((count - share).abs() < 0.02, "{key}: {count}");
        }
        assert!((0..10_000).all(|n| !is_in("a", n, 0.2) || is_in("a", n, 0.3)));
        let both = (0..10_000).filter(|n| is_in("a", *n, 0.5) && is_in("b", *n, 0.5)).count();
        assert!((2_300..2_700).contains(&both), "independent lines: {both}");
        // A figure that must never change: accounts would change sides.
        assert_eq!((point("eta-words", 77_669_839_702_851_584) * 1e6) as u64, 692_240);
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let text = serde_json::to_string(&Product::default()).unwrap();
        assert_eq!(serde_json::from_str::<Product>(&text).unwrap(), Product::default());
        assert_eq!(serde_json::from_str::<Product>("{}").unwrap(), Product::default());
    }
}
