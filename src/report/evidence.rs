//! The evidence of each violation: which faults were in force then, and, in a file of its own, every
//! op of the robots who took part, in order, as the history has them. A file holds only so much.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    figures::Figures,
    summary::{LawSummary, Summary},
};
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        op::{Op, OpKind},
        record::{FaultEvent, Record},
    },
    law::{Violation, registry},
};

/// The version of the format.
pub const SCHEMA: u32 = 1;
/// The folder of the files, in a run's folder.
pub const FOLDER: &str = "evidence";
/// Records in one file.
const RECORDS_MAX: usize = 200;
/// What the robots did so long before the first op of the proof, and after the last, is shown too.
const AROUND: std::time::Duration = std::time::Duration::from_secs(5);

/// The file of the `number`th violation of a law, from 1, in a run's folder.
pub fn file_name(law: &str, number: usize) -> String {
    format!("{FOLDER}/{law}-{number}.json")
}

/// Notes with each violation which faults were in force, and where its file is.
pub fn attach(laws: &mut [LawSummary], figures: &Figures) {
    for law in laws {
        for (at, violation) in law.violations.iter_mut().enumerate() {
            violation.bundle = file_name(&law.law, at + 1);
            violation.faults = in_force(figures, violation.from, violation.at);
        }
    }
}

/// The faults in force between two moments, in words.
fn in_force(figures: &Figures, from: Time, until: Time) -> Vec<String> {
    let zero = figures.zero();
    let second = |at: Time| format!("{:.1} s", at.as_secs_f64() - zero.as_secs_f64());
    let faults = figures.faults.values().filter_map(|fault| {
        let injected = fault.injected?;
        let over = fault.healed.is_some_and(|healed| healed < from);
        let healed = fault.healed.map_or("never healed".into(), |at| format!("to {}", second(at)));
        let (kind, victims) = (&fault.kind, fault.victims.join(", "));
        let whose = if victims.is_empty() { kind.clone() } else { format!("{kind} of {victims}") };
        (injected <= until && !over).then(|| format!("{whose}, {} {healed}", second(injected)))
    });
    faults.collect()
}

/// One file of evidence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: String,
    /// The scenario.
    pub scenario: String,
    /// The seed, as given.
    pub seed: String,
    /// Planted bugs that were on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plants: Vec<String>,
    /// The law.
    pub law: String,
    /// When that law is broken.
    pub means: String,
    /// The violation, as in the summary.
    pub violation: Violation,
    /// What the robots of the proof (and others, with the job in question) did around that time: ops,
    /// what they were told, and changes of faults, in the order of the history. Location updates
    /// that told nothing are left out, and of long lists all that is about other jobs.
    pub records: Vec<Record>,
    /// Records that had no room.
    pub left_out: u64,
}

/// Collects the files of a run from its history, read once more.
pub struct Bundles {
    all: Vec<Open>,
}

struct Open {
    proof: BTreeSet<u64>,
    bundle: Bundle,
}

impl Bundles {
    /// One for each violation of the summary.
    pub fn of(summary: &Summary) -> Self {
        let each = summary.laws.iter().flat_map(|law| law.violations.iter().map(move |v| (law, v)));
        let all = each.map(|(law, violation)| Open {
            proof: violation.ops.iter().filter_map(|op| op.parse().ok()).collect(),
            bundle: Bundle {
                schema: SCHEMA,
                run: summary.run.clone(),
                scenario: summary.scenario.clone(),
                seed: summary.seed.clone(),
                plants: summary.plants.clone(),
                law: law.law.clone(),
                means: registry::entry(&law.law).map_or("", |law| law.means).to_owned(),
                violation: violation.clone(),
                records: Vec::new(),
                left_out: 0,
            },
        });
        Self { all: all.collect() }
    }

    /// True when there is nothing to collect.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes one record of the history.
    pub fn see(&mut self, record: &Record) {
        for open in &mut self.all {
            open.see(record);
        }
    }

    /// Each file with its name.
    pub fn files(self) -> impl Iterator<Item = (String, Bundle)> {
        self.all.into_iter().map(|open| (open.bundle.violation.bundle.clone(), open.bundle))
    }
}

impl Open {
    fn see(&mut self, record: &Record) {
        match record {
            Record::Op(op) | Record::Recalled(op) => self.op(op, record),
            Record::Told(told) if self.is_near(told.at, told.at) && self.concerns(told.robot) => {
                self.keep(record.clone(), false);
            }
            Record::Fault(FaultEvent { at, .. }) if self.is_near(*at, *at) => {
                self.keep(record.clone(), false);
            }
            _ => {}
        }
    }

    fn op(&mut self, op: &Op, record: &Record) {
        let proof = self.proof.contains(&op.id);
        if proof {
            return self.keep(shortened(op, record, self.bundle.violation.job.as_ref()), true);
        }
        let tells = op.kind() != OpKind::DriverPing || !op.answer.is_empty();
        if tells && self.is_near(op.sent, op.done) && (self.concerns(op.robot) || self.is_about(op))
        {
            self.keep(shortened(op, record, self.bundle.violation.job.as_ref()), false);
        }
    }

    fn is_near(&self, from: Time, until: Time) -> bool {
        let Violation { from: first, at: last, .. } = &self.bundle.violation;
        *first <= until + AROUND && from <= *last + AROUND
    }

    fn concerns(&self, robot: RobotId) -> bool {
        self.bundle.violation.robots.contains(&robot)
    }

    fn is_about(&self, op: &Op) -> bool {
        let Some(job) = &self.bundle.violation.job else { return false };
        let answered = op.answer.job.as_deref().map(|view| &view.id);
        let offered = op.answer.offer.as_deref().map(|offer| &offer.job);
        [op.ask.job.as_ref(), answered, offered].into_iter().flatten().any(|about| about == job)
    }

    /// What proves the violation has room always.
    fn keep(&mut self, record: Record, proof: bool) {
        if proof || self.bundle.records.len() < RECORDS_MAX {
            self.bundle.records.push(record);
        } else {
            self.bundle.left_out += 1;
        }
    }
}

/// A page of a list without what is about other jobs.
fn shortened(op: &Op, record: &Record, job: Option<&Id>) -> Record {
    let few = 10;
    if op.answer.jobs.len() <= few && op.answer.charges.len() <= few {
        return record.clone();
    }
    let mut op = op.clone();
    if let Some(job) = job {
        op.answer.jobs.retain(|view| view.id == *job);
        op.answer.charges.retain(|charge| charge.job == *job);
    } else {
        op.answer.jobs.truncate(few);
        op.answer.charges.truncate(few);
    }
    Record::Op(op.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{answer::JobState, record::FaultChange},
        law::{
            Judgement, Verdict,
            races::RaceCounts,
            testkit::{Tale, d, p, view},
        },
        report::{meter::Meters, verdict::Evidence},
        scenario::{Adequacy, Laws},
    };

    fn summary(figures: &Figures, laws: Vec<LawSummary>) -> Summary {
        Evidence {
            figures,
            laws,
            known: &[],
            races: RaceCounts::default(),
            asked: &Laws::default(),
            adequacy: &Adequacy::default(),
            gates: &Meters::default(),
            read_back: None,
            faults_planned: 0,
            complete: true,
        }
        .summary()
    }

    /// Driver 1 takes job J2 while J1 is in its hands, and a fault is in force.
    fn two_jobs_at_once() -> (Tale, Judgement) {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1), p(2)]);
        tale.fault(FaultChange::Injected, 10.0);
        tale.request(p(1), (11.0, 11.1), "K1", "J1");
        tale.request(p(2), (11.0, 11.1), "K2", "J2");
        for (at, job) in [(12.0, "J1"), (14.0, "J2")] {
            tale.accept(d(1), (at, at + 0.1), job, 1);
            let held = view(job, JobState::Accepted, 1, Some(d(1)));
            tale.read(d(1), OpKind::DriverCurrentJob, (at + 1.0, at + 1.1), held);
        }
        tale.ping(d(1), (15.5, 15.6), crate::base::place::Place::default(), None);
        tale.op(d(2), OpKind::DriverCurrentJob, (15.5, 15.6));
        for job in ["J1", "J2"] {
            let held = view(job, JobState::Accepted, 1, Some(d(1)));
            tale.read(d(1), OpKind::DriverCurrentJob, (16.0, 16.1), held);
            tale.moves(d(1), OpKind::DriverDropOff, (60.0, 60.1), job, 1);
        }
        tale.fault(FaultChange::Healed, 70.0);
        tale.read_back(100.0, Vec::new(), Vec::new());
        let said = tale.judge("one-job-per-driver");
        assert_eq!(said.verdict, Verdict::Broken);
        (tale, said)
    }

    #[test]
    fn a_violation_tells_its_ops_in_order_with_the_faults_in_force_and_its_file() {
        let (tale, said) = two_jobs_at_once();
        let mut figures = Figures::default();
        for record in tale.records() {
            figures.see(&record);
        }
        let mut summary = summary(&figures, vec![LawSummary::of("one-job-per-driver", &said)]);
        let violation = &summary.laws[0].violations[0];
        assert_eq!(violation.bundle, "evidence/one-job-per-driver-1.json");
        assert_eq!(violation.faults, ["kill, 10.0 s to 70.0 s"]);
        assert!(violation.chain[0].starts_with("driver/00001 accepted job J1 at 12.100 s (ok"));
        assert!(violation.chain.len() >= 4, "{:#?}", violation.chain);
        assert_eq!(violation.robots, [d(1)]);

        let mut bundles = Bundles::of(&summary);
        for record in tale.records() {
            bundles.see(&record);
        }
        let files: Vec<_> = bundles.files().collect();
        let [(name, bundle)] = files.as_slice() else { panic!("{files:#?}") };
        assert_eq!(name, "evidence/one-job-per-driver-1.json");
        let robots: BTreeSet<RobotId> = bundle
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Op(op) => Some(op.robot),
                _ => None,
            })
            .collect();
        // The passenger of the job, but not the other driver, nor updates that told nothing.
        assert!(robots.contains(&d(1)) && robots.contains(&p(2)) && !robots.contains(&d(2)));
        let pings = bundle
            .records
            .iter()
            .filter(|one| matches!(one, Record::Op(op) if op.kind() == OpKind::DriverPing));
        assert_eq!(pings.count(), 0);
        let text = serde_json::to_string(bundle).unwrap();
        assert!(serde_json::from_str::<Bundle>(&text).is_ok());
        summary.laws.clear();
        assert!(Bundles::of(&summary).is_empty());
    }

    #[test]
    fn a_file_is_bounded_and_keeps_the_proof() {
        let (tale, said) = two_jobs_at_once();
        let figures = Figures::default();
        let summary = summary(&figures, vec![LawSummary::of("one-job-per-driver", &said)]);
        let proof = summary.laws[0].violations[0].ops.len();
        let mut bundles = Bundles::of(&summary);
        let records = tale.records();
        for _ in 0..100 {
            for record in &records {
                bundles.see(record);
            }
        }
        let (_, bundle) = bundles.files().next().unwrap();
        assert!(bundle.left_out > 0);
        assert!(bundle.records.len() <= RECORDS_MAX + 100 * proof);
    }
}
