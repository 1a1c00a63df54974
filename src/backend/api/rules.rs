//! The rules of the thin router: which part of a path's traffic the new implementation answers, where
//! a path has two. By account, so that nobody is sent to and fro; swapped as a whole, so that no
//! request sees half a change.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::backend::product::is_in;

/// Shares of accounts by path; a path without a rule is all new.
#[derive(Debug, Default)]
pub struct Rules(RefCell<Rc<BTreeMap<String, f64>>>);

impl Rules {
    /// These rules.
    pub fn new(shares: BTreeMap<String, f64>) -> Self {
        Self(RefCell::new(Rc::new(shares)))
    }

    /// Goes by these from now on; requests that are under way go on as they began.
    pub fn swap(&self, shares: BTreeMap<String, f64>) {
        let old = self.0.replace(Rc::new(shares));
        drop(old);
    }

    /// True when the new implementation of `path` answers that account.
    pub fn is_new(&self, path: &str, account: u64) -> bool {
        self.0.borrow().get(path).is_none_or(|share| is_in(path, account, *share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_sends_its_share_and_a_swap_counts_at_once() {
        let rule = |share| BTreeMap::from([("/v1/x".to_owned(), share)]);
        let rules = Rules::new(rule(0.25));
        let new = |path: &str| (0..4_000).filter(|n| rules.is_new(path, *n)).count();
        assert!((900..1_100).contains(&new("/v1/x")), "{}", new("/v1/x"));
        assert_eq!(new("/v1/y"), 4_000, "no rule: all new");
        rules.swap(rule(0.0));
        assert_eq!(new("/v1/x"), 0);
    }
}
