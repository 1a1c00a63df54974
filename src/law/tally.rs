//! What every law counts, and how the counts become a verdict.

use super::{Judgement, Verdict, Violation, fact::Fact};
use crate::base::{id::Id, time::Time};

/// Violations that are kept with their evidence; beyond it they are only counted.
pub const VIOLATIONS_KEPT: usize = 20;

/// The counts of one law.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Facts that it looked at.
    pub observed: u64,
    /// Chances that a wrong backend would have had to be caught.
    pub opportunities: u64,
    total: u64,
    kept: Vec<Violation>,
}

impl Tally {
    /// One breach: in words, about which job, proven by which ops.
    pub fn breach(&mut self, what: String, job: Option<&Id>, proof: &[&Fact]) {
        self.total += 1;
        if self.kept.len() < VIOLATIONS_KEPT {
            let at = proof.iter().map(|fact| fact.done).max().unwrap_or(Time::ZERO);
            let ops = proof.iter().map(|fact| fact.op.to_string()).collect();
            self.kept.push(Violation { what, job: job.cloned(), ops, at });
        }
    }

    /// The verdict of a law that judges as it goes; `missing` says what a run without any
    /// opportunity did not show.
    pub fn judge(self, missing: &str) -> Judgement {
        let (verdict, note) = match (self.total, self.opportunities) {
            (1.., _) => (Verdict::Broken, String::new()),
            (0, 0) => (Verdict::Unknown, missing.to_owned()),
            (0, _) => (Verdict::Pass, String::new()),
        };
        Judgement {
            verdict,
            observed: self.observed,
            opportunities: self.opportunities,
            violations_total: self.total,
            violations: self.kept,
            note,
        }
    }

    /// The verdict of a law that needs the read-back: without a whole one nothing passes.
    pub fn judge_at_rest(self, complete: bool, missing: &str) -> Judgement {
        let mut judgement = self.judge(missing);
        if !complete && judgement.verdict == Verdict::Pass {
            judgement.verdict = Verdict::Unknown;
            "the history does not end with a read-back".clone_into(&mut judgement.note);
        }
        judgement
    }
}
