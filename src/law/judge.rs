//! Runs the laws over a history. Each law sees only what it watches; one that panics is unknown from
//! then on, and the others go on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    Judgement, Law, LawEntry, Seen, Verdict, common::Common, fact::Seeing, known::Known,
    registry::LAWS, shelf::HORIZON, tally::Tally,
};
use crate::history::{declares::Declares, op::OpKind, record::Record};

/// All laws that are judged, at work.
pub struct Judge {
    common: Common,
    sitting: Vec<Sitting>,
    /// For each kind of op, who watches it.
    watchers: Vec<Vec<usize>>,
}

struct Sitting {
    entry: &'static LawEntry,
    at_work: AtWork,
}

enum AtWork {
    Law(Box<dyn Law>),
    /// The target lacks what it needs, in words.
    NotApplicable(String),
    Panicked(String),
}

impl Judge {
    /// Starts every law of the registry but those named in `skip`; `known` failures break none. What
    /// nobody spoke of for `horizon` is forgotten.
    pub fn new(declares: &Declares, skip: &[String], known: &Known, horizon: Duration) -> Self {
        let chosen = LAWS.iter().filter(|entry| !skip.iter().any(|name| name == entry.name));
        Self::within(chosen, declares, known, horizon)
    }

    /// Starts the given laws, with the usual horizon.
    pub fn of(
        entries: impl Iterator<Item = &'static LawEntry>,
        declares: &Declares,
        known: &Known,
    ) -> Self {
        Self::within(entries, declares, known, HORIZON)
    }

    /// Starts the given laws, with a horizon of their own.
    pub fn within(
        entries: impl Iterator<Item = &'static LawEntry>,
        declares: &Declares,
        known: &Known,
        horizon: Duration,
    ) -> Self {
        let common = Common::new(declares, horizon);
        let sitting: Vec<_> =
            entries.map(|entry| Sitting::start(entry, declares, known, &common)).collect();
        let watchers = OpKind::ALL
            .iter()
            .map(|kind| (0..sitting.len()).filter(|law| sitting[*law].watches(*kind)).collect())
            .collect();
        Self { common, sitting, watchers }
    }

    /// Takes one record, in the order of the history.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Op(op) if op.ask.probe.is_some() => {
                let _seeing = Seeing::begin(op);
                self.see_all(Seen::Probe(op));
            }
            Record::Op(op) | Record::Recalled(op) => {
                let _seeing = Seeing::begin(op);
                self.common.see(Seen::Op(op));
                for law in &self.watchers[op.kind().index()] {
                    self.sitting[*law].see(Seen::Op(op));
                }
            }
            Record::Fault(event) => self.see_all(Seen::Fault(event)),
            Record::Phase { phase, at } => self.see_all(Seen::Phase(*phase, *at)),
            Record::Told(told) => self.see_all(Seen::Told(told)),
            // What is told unasked is a hint, and no read: where some of it was missed, no law has
            // seen less than it needs.
            Record::Missed(_)
            | Record::Run(_)
            | Record::Pings(_)
            | Record::Skipped { .. }
            | Record::End { .. } => {}
        }
    }

    fn see_all(&mut self, seen: Seen<'_>) {
        self.common.see(seen);
        for law in &mut self.sitting {
            law.see(seen);
        }
    }

    /// Whether the law of that name is broken by now.
    pub fn is_broken(&self, name: &str) -> bool {
        let law = self.sitting.iter().find(|law| law.entry.name == name);
        law.is_some_and(|law| law.judge(false).verdict == Verdict::Broken)
    }

    /// What every law says, in the order of the registry; `complete` when the history has ended
    /// with its read-back. May be asked at any moment.
    pub fn verdicts(&self, complete: bool) -> Vec<(&'static LawEntry, Judgement)> {
        self.sitting.iter().map(|law| (law.entry, law.judge(complete))).collect()
    }
}

impl Sitting {
    fn start(
        entry: &'static LawEntry,
        declares: &Declares,
        known: &Known,
        common: &Common,
    ) -> Self {
        let tally = Tally::new(known.sieve(entry.name), common.clone());
        let at_work = match entry.not_applicable(declares) {
            Some(why) => AtWork::NotApplicable(why),
            None => match catch_unwind(AssertUnwindSafe(|| (entry.start)(declares, tally))) {
                Ok(law) => AtWork::Law(law),
                Err(why) => AtWork::Panicked(words(why.as_ref())),
            },
        };
        Self { entry, at_work }
    }

    fn watches(&self, kind: OpKind) -> bool {
        let watches = self.entry.watches;
        watches.contains(&kind) || (watches.is_empty() && kind != OpKind::DriverPing)
    }

    fn see(&mut self, seen: Seen<'_>) {
        let AtWork::Law(law) = &mut self.at_work else { return };
        // A law that panicked is never asked again, so nobody sees its broken insides.
        if let Err(why) = catch_unwind(AssertUnwindSafe(|| law.see(seen))) {
            self.at_work = AtWork::Panicked(words(why.as_ref()));
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        match &self.at_work {
            AtWork::Law(law) => catch_unwind(AssertUnwindSafe(|| law.judge(complete)))
                .unwrap_or_else(|why| panicked(&words(why.as_ref()))),
            AtWork::Panicked(why) => panicked(why),
            AtWork::NotApplicable(why) => silent(Verdict::NotApplicable, why.clone()),
        }
    }
}

fn panicked(why: &str) -> Judgement {
    silent(Verdict::Unknown, format!("the law itself failed: {why}"))
}

fn silent(verdict: Verdict, note: String) -> Judgement {
    Judgement {
        verdict,
        observed: 0,
        opportunities: 0,
        forgotten: 0,
        violations_total: 0,
        violations: Vec::new(),
        note,
        known: Vec::new(),
    }
}

fn words(why: &(dyn std::any::Any + Send)) -> String {
    why.downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| why.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::time::Time,
        history::{probe::Probe, record::Phase},
    };

    struct Faulty;
    impl Law for Faulty {
        fn see(&mut self, _: Seen<'_>) {
            panic!("divided by zero");
        }
        fn judge(&self, _: bool) -> Judgement {
            unreachable!("it is never asked after a panic")
        }
    }
    static FAULTY: LawEntry = LawEntry {
        name: "faulty",
        means: "",
        needs: &[&[OpKind::AuditJobs, OpKind::AuditJob], &[OpKind::DriverPing]],
        cannot: |declares| declares.reassigns.then_some("jobs go round"),
        watches: &[],
        blind_spot: "",
        rare: false,
        start: |_, _| Box::new(Faulty),
    };

    #[test]
    fn a_law_that_panics_is_unknown_and_says_why() {
        let declares = Declares { reassigns: false, ..Declares::default() };
        let mut judge = Judge::of(std::iter::once(&FAULTY), &declares, &Known::default());
        judge.see(&Record::Phase { phase: Phase::Load, at: Time(1) });
        judge.see(&Record::Phase { phase: Phase::Drain, at: Time(2) });
        let (_, judgement) = judge.verdicts(true).remove(0);
        assert_eq!(judgement.verdict, Verdict::Unknown);
        assert!(judgement.note.contains("divided by zero"), "{}", judgement.note);
    }

    #[test]
    fn a_law_whose_ops_are_missing_is_not_applicable_and_names_them() {
        let note = |ops: &[OpKind], reassigns| {
            let declares = Declares { ops: ops.to_vec(), reassigns, ..Declares::default() };
            let judge = Judge::of(std::iter::once(&FAULTY), &declares, &Known::default());
            let (_, judgement) = judge.verdicts(true).remove(0);
            assert_eq!(judgement.verdict, Verdict::NotApplicable);
            judgement.note
        };
        let lacks_all = "the target lacks audit.jobs (or audit.job), driver.ping";
        assert_eq!(note(&[], false), lacks_all);
        assert_eq!(note(&[OpKind::AuditJob], false), "the target lacks driver.ping");
        let both = [OpKind::AuditJob, OpKind::DriverPing];
        assert_eq!(note(&both, true), "jobs go round");
    }

    #[test]
    fn skipped_laws_do_not_sit() {
        let declares = Declares { probes: Probe::ALL.to_vec(), ..Declares::default() };
        let all = Judge::new(&declares, &[], &Known::default(), HORIZON).verdicts(false);
        assert_eq!(all.len(), LAWS.len());
        for (entry, judgement) in &all {
            assert_eq!(judgement.verdict, Verdict::Unknown, "{} saw nothing", entry.name);
            assert!(!judgement.note.is_empty(), "{} says why it is unknown", entry.name);
        }
        let skip = [LAWS[0].name.to_owned()];
        let judge = Judge::new(&Declares::default(), &skip, &Known::default(), HORIZON);
        assert_eq!(judge.verdicts(false).len(), LAWS.len() - 1);
    }
}
