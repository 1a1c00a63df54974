//! When a node that ended by itself is started again: after a pause that doubles, and not for ever.

use std::{collections::BTreeMap, time::Duration};

use crate::base::{name::NodeName, time::Time};

/// The pause before the first start; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// So many starts within [`WITHIN`] are enough: what still ends then is left alone.
const STARTS_MAX: usize = 5;
/// See [`STARTS_MAX`].
const WITHIN: Duration = Duration::from_mins(1);

/// What it remembers of each node.
#[derive(Debug, Default)]
pub struct Supervisor(BTreeMap<NodeName, Record>);

#[derive(Debug, Default)]
struct Record {
    starts: Vec<Time>,
    /// When it is due, once it was seen to have ended.
    due: Option<Time>,
}

impl Supervisor {
    /// Whether `node`, which has ended by itself, is to be started at `now`. Asked as often as one
    /// likes for as long as it is down.
    pub fn is_due(&mut self, node: &NodeName, now: Time) -> bool {
        let Record { starts, due } = self.0.entry(node.clone()).or_default();
        starts.retain(|at| now.since(*at) < WITHIN);
        if starts.len() >= STARTS_MAX {
            return false;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << starts.len()).min(PAUSE_MAX);
        if *due.get_or_insert(now + pause) > now {
            return false;
        }
        *due = None;
        starts.push(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_ending_is_started_ever_later_and_then_left_alone() {
        let (mut supervisor, node) = (Supervisor::default(), NodeName::from("a/core-1"));
        let mut due = |tenth: u64| supervisor.is_due(&node, Time(tenth * 100_000_000));
        let starts: Vec<u64> = (0..500).filter(|tenth| due(*tenth)).collect();
        // It ends at once each time: half a second, one, two, four, eight.
        assert_eq!(starts, [5, 16, 37, 78, 159]);
        assert!((500..700).any(&mut due), "after a minute it is tried again");
    }

    #[test]
    fn nodes_do_not_answer_for_one_another() {
        let mut supervisor = Supervisor::default();
        let (one, other) = (NodeName::from("a/core-1"), NodeName::from("b/core-1"));
        for tenth in 0..500 {
            supervisor.is_due(&one, Time(tenth * 100_000_000));
        }
        assert!(!supervisor.is_due(&other, Time::ZERO));
        assert!(supervisor.is_due(&other, Time::ZERO + PAUSE_FIRST));
    }
}
