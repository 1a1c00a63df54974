//! The laws of the city. A law judges only what a robot (or a declared probe) can observe; it never
//! imports the backend, and sees neither clock nor network: records in, judgement out.

pub mod judge;
pub mod known;
pub mod races;
pub mod registry;
pub mod shelf;
pub mod tally;

mod accounts;
mod calm;
mod common;
mod fact;
mod graph;
mod holds;
mod readback;
mod roll;
mod supply;
mod suspicion;
mod tokens_expire;
mod unserved;

mod accept_cancel;
mod answers_match;
mod availability_respected;
mod bad_input;
mod both_sides_agree;
mod cancelled_charged_by_rule;
mod charge_matches_fare;
mod charged_once;
mod city_is_sealed;
mod driver_freed;
mod eta_and_fare;
mod event_then_read;
mod every_job_ends;
mod idempotent_requests;
mod job_register;
mod legal_transitions;
mod limited_then_served;
mod live_issues;
mod mine_is_mine;
mod money_is_conserved;
mod near_fresh;
mod near_missing;
mod never_goes_back;
mod no_server_error;
mod no_silent_degradation;
mod nothing_lost;
mod nothing_unasked;
mod offer_dies;
mod offers_in_reach;
mod old_ping;
mod one_driver_per_job;
mod one_job_per_driver;
mod paid_eventually;
mod push_to_owner;
mod read_your_writes;
mod recovers_in_time;
mod rejected_changes_nothing;
mod resume_after_restart;
mod unique_ids;
mod versions_agree;
mod waiting_is_served;

#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod naive_tests;
#[cfg(test)]
pub mod testkit;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::{known::KnownFailure, tally::Tally};
use crate::base::time::Time;
use crate::{
    base::id::{Id, RobotId},
    history::{
        declares::Declares,
        op::{Op, OpKind},
        probe::Probe,
        record::{FaultEvent, Phase, Told},
    },
};

/// What is said of a law at the end (or at any moment) of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough opportunities, and none violated.
    Pass,
    /// Nothing explains what was observed.
    Broken,
    /// It should have been observable and was not, or too little was seen.
    Unknown,
    /// The target lacks the ops it needs.
    NotApplicable,
}

/// One proven breach, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The chain of ops in plain words, with times.
    pub what: String,
    /// The job it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Id>,
    /// The ops that prove it (numbers as strings).
    pub ops: Vec<String>,
    /// Each of them in words, in the order in which they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// Who did them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub robots: Vec<RobotId>,
    /// The faults in force meanwhile, in words; looked up when all is judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Their traces, where there are any; looked up when all is judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<String>,
    /// The file with all that these robots did then, in the run's folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bundle: String,
    /// When the first of the ops was sent.
    #[serde(rename = "from_ns", default)]
    pub from: Time,
    /// When it was certain, for charts.
    #[serde(rename = "at_ns")]
    pub at: Time,
}

/// What a law says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Facts that it looked at.
    pub observed: u64,
    /// Chances that a wrong backend would have had to be caught.
    pub opportunities: u64,
    /// Things of which nothing was heard for the horizon, and that were forgotten unjudged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// Breaches in all, known ones aside.
    pub violations_total: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
    /// Why unknown, why not applicable, for people.
    pub note: String,
    /// The known failures of this law, matched or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownFailure>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a law may look at.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// An op ended.
    Op(&'a Op),
    /// A fault changed.
    Fault(&'a FaultEvent),
    /// The run went on to another part.
    Phase(Phase, Time),
    /// An op ended that was wrong on purpose, or beside the load: its outcome proves nothing of the
    /// flow of jobs, and only the laws that are made for probes look at it.
    Probe(&'a Op),
    /// A robot was told something unasked: a hint, which proves no more than that it was told.
    Told(&'a Told),
}

/// Why a law that lives on probes cannot judge a target that is not asked any of `wanted`.
pub fn unprobed(declares: &Declares, wanted: fn(Probe) -> bool) -> Option<&'static str> {
    let asked = declares.probes.iter().any(|probe| wanted(*probe));
    (!asked).then_some("nobody asks it wrongly on purpose: it is sent no such probes")
}

/// One law at work: a fold over what is seen.
pub trait Law {
    /// Takes one record (ops come in the order in which they were *done*).
    fn see(&mut self, seen: Seen<'_>);

    /// What it says now; `complete` when the history has ended with read-back.
    fn judge(&self, complete: bool) -> Judgement;
}

/// An entry of the registry.
pub struct LawEntry {
    /// Its name, as in the documents.
    pub name: &'static str,
    /// Broken when …
    pub means: &'static str,
    /// Ops without which it is not applicable: any one of each group.
    pub needs: &'static [&'static [OpKind]],
    /// Why else it cannot judge a target that declares that.
    pub cannot: fn(&Declares) -> Option<&'static str>,
    /// Ops that it wants to see (a filter for speed; empty: all but pings).
    pub watches: &'static [OpKind],
    /// What it cannot see.
    pub blind_spot: &'static str,
    /// Few runs give a wrong backend its chance: it is required only where a scenario names it.
    pub rare: bool,
    /// Starts it; it counts its breaches in a copy of that empty tally.
    pub start: fn(&Declares, Tally) -> Box<dyn Law>,
}

impl LawEntry {
    /// Why the law says nothing of such a target, if it does: the ops that are missing by name.
    pub fn not_applicable(&self, declares: &Declares) -> Option<String> {
        let asked = declares.asked();
        let lacks: Vec<String> = self
            .needs
            .iter()
            .filter(|group| !group.iter().any(|op| asked.has(*op)))
            .map(|group| group_words(group))
            .collect();
        if lacks.is_empty() {
            return (self.cannot)(declares).map(str::to_owned);
        }
        Some(format!("the target lacks {}", lacks.join(", ")))
    }
}

/// `audit.jobs (or audit.job)`.
fn group_words(group: &[OpKind]) -> String {
    match group {
        [] => String::new(),
        [one] => one.word().to_owned(),
        [first, others @ ..] => {
            let others: Vec<_> = others.iter().map(|op| op.word()).collect();
            format!("{first} (or {})", others.join(", "))
        }
    }
}
