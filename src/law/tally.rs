//! What every law counts, and how the counts become a verdict.

use super::{Judgement, Verdict, Violation, fact::Fact, known::Sieve};
use crate::base::{id::Id, time::Time};

/// Violations that are kept with their evidence; beyond it they are only counted.
pub const VIOLATIONS_KEPT: usize = 20;

/// The counts of one law.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Facts that it looked at.
    pub observed: u64,
    /// Chances that a wrong backend would have had to be caught.
    pub opportunities: u64,
    total: u64,
    kept: Vec<Violation>,
    known: Sieve,
}

impl Tally {
    /// An empty one; breaches that are known are counted apart.
    pub fn new(known: Sieve) -> Self {
        Self { observed: 0, opportunities: 0, total: 0, kept: Vec::new(), known }
    }

    /// One breach: in words, about which job, proven by which ops. Each is looked up among the known
    /// failures before anything is capped: one that is not kept is never taken for known.
    pub fn breach(&mut self, what: String, job: Option<&Id>, proof: &[&Fact]) {
        let (kept, most) = self.known.catch(&what).unwrap_or_else(|| {
            self.total += 1;
            (&mut self.kept, VIOLATIONS_KEPT)
        });
        if kept.len() < most {
            let at = proof.iter().map(|fact| fact.done).max().unwrap_or(Time::ZERO);
            let ops = proof.iter().map(|fact| fact.op.to_string()).collect();
            kept.push(Violation { what, job: job.cloned(), ops, traces: Vec::new(), at });
        }
    }

    /// The verdict of a law that judges as it goes; `missing` says what a run without any
    /// opportunity did not show. Known breaches alone are a pass.
    pub fn judge(self, missing: &str) -> Judgement {
        let known = self.known.told();
        let excused = known.iter().any(|known| known.excuses() > 0);
        let (verdict, note) = match (self.total, self.opportunities, excused) {
            (1.., ..) => (Verdict::Broken, String::new()),
            (0, 0, false) => (Verdict::Unknown, missing.to_owned()),
            (0, ..) => (Verdict::Pass, String::new()),
        };
        Judgement {
            verdict,
            observed: self.observed,
            opportunities: self.opportunities,
            violations_total: self.total,
            violations: self.kept,
            note,
            known,
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
