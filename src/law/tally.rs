//! What every law counts, and how the counts become a verdict.

use std::{cell::Ref, time::Duration};

use super::{
    Judgement, Verdict, Violation, accounts::Accounts, common::Common, fact::Fact, known::Sieve,
    readback::ReadBack, shelf::Shelf, supply::Cabs,
};
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
    /// Things of which nothing was heard for the horizon, and that were forgotten before they could be
    /// judged: they count nowhere else.
    pub forgotten: u64,
    total: u64,
    kept: Vec<Violation>,
    known: Sieve,
    common: Common,
}

fn violation(what: String, job: Option<&Id>, proof: &[&Fact]) -> Violation {
    let mut chain = proof.to_vec();
    chain.sort_by_key(|fact| (fact.sent, fact.op));
    chain.dedup();
    let mut robots: Vec<_> = chain.iter().map(|fact| fact.robot).collect();
    robots.sort_unstable();
    robots.dedup();
    Violation {
        what,
        job: job.cloned(),
        ops: proof.iter().map(|fact| fact.op.to_string()).collect(),
        chain: chain.iter().map(|fact| fact.tell()).collect(),
        robots,
        faults: Vec::new(),
        traces: Vec::new(),
        bundle: String::new(),
        from: chain.first().map_or(Time::ZERO, |fact| fact.sent),
        at: chain.iter().map(|fact| fact.done).max().unwrap_or(Time::ZERO),
    }
}

impl Tally {
    /// An empty one; breaches that are known are counted apart.
    pub fn new(known: Sieve, common: Common) -> Self {
        let (observed, opportunities, forgotten, total) = (0, 0, 0, 0);
        Self { observed, opportunities, forgotten, total, kept: Vec::new(), known, common }
    }

    /// How long a job is remembered after the last word about it.
    pub fn horizon(&self) -> Duration {
        self.common.horizon()
    }

    /// A shelf for what is known of jobs.
    pub fn shelf<T>(&self) -> Shelf<T> {
        self.common.shelf()
    }

    /// Who has which account.
    pub fn accounts(&self) -> Accounts {
        self.common.accounts()
    }

    /// Which drivers are free, and where.
    pub fn cabs(&self) -> Cabs {
        self.common.cabs()
    }

    /// What was heard of lately, and how the city was read back.
    pub fn read_back(&self) -> Ref<'_, ReadBack> {
        self.common.read_back()
    }

    /// One breach: in words, about which job, proven by which ops. Each is looked up among the known
    /// failures before anything is capped: one that is not kept is never taken for known.
    pub fn breach(&mut self, what: String, job: Option<&Id>, proof: &[&Fact]) {
        let (kept, most) = self.known.catch(&what).unwrap_or_else(|| {
            self.total += 1;
            (&mut self.kept, VIOLATIONS_KEPT)
        });
        if kept.len() < most {
            kept.push(violation(what, job, proof));
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
            forgotten: self.forgotten,
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
