//! event-then-read: an event only says that something changed. Who looks after it sees the change, or
//! what came of it.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, is_read},
    graph::Graph,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{id::RobotId, time::Time},
    history::{
        answer::{JobState, JobView},
        declares::Declares,
        op::{Op, OpKind, Outcome},
        record::Told,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "event-then-read",
    means: "a robot was told unasked that a job had come to a state, and a look that was sent after that \
            (and the declared delay of reads) shows one that cannot follow it",
    needs: &[&[
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::DriverCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::DriverCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "targets that tell nothing unasked; events that say less than the state of a job",
    rare: true,
    start: |declares, tally| Box::new(EventThenRead::new(declares, tally)),
};

/// What a robot was told of a job first of that state, in that assignment.
struct Event {
    at: Time,
    robot: RobotId,
    state: JobState,
    number: u32,
}

struct EventThenRead {
    graph: Graph,
    read_delay: Duration,
    jobs: Shelf<Vec<Event>>,
    seen_until: Time,
    tally: Tally,
}

impl EventThenRead {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            graph: Graph::new(&declares.transitions),
            read_delay: declares.read_delay.0,
            jobs: tally.shelf(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn told(&mut self, told: &Told) {
        let Some(view) = told.answer.job.as_deref().filter(|_| !told.synthetic) else { return };
        self.seen_until = self.seen_until.max(told.at);
        self.tally.observed += 1;
        let events = self.jobs.at(&view.id, self.seen_until);
        let known = |event: &Event| event.state == view.state && event.number == view.assignment;
        // It may be told again, and late: the first time counts.
        if !events.iter().any(known) {
            let (state, number) = (view.state, view.assignment);
            events.push(Event { at: told.at, robot: told.robot, state, number });
        }
    }

    fn read(&mut self, op: &Op, view: &JobView) {
        let truth = op.sent.saturating_sub(self.read_delay);
        let Some(events) = self.jobs.get(&view.id, self.seen_until) else { return };
        for event in events.iter().filter(|event| event.at < truth) {
            self.tally.opportunities += 1;
            let same = event.number != 0 && event.number == view.assignment;
            let back = same
                && event.state.is_held()
                && view.state.is_held()
                && !self.graph.reaches_held(event.state, view.state);
            let older = view.assignment != 0 && view.assignment < event.number;
            if back || older || !self.graph.reaches(event.state, view.state) {
                let look = Fact::about(op, view);
                let (robot, at, told) = (event.robot, event.at, event.state.word());
                let what = format!(
                    "{robot} was told at {at} that job {} is {told}; later {}",
                    view.id,
                    look.tell()
                );
                self.tally.breach(what, Some(&view.id), &[&look]);
            }
        }
    }
}

impl Law for EventThenRead {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Told(told) => self.told(told),
            Seen::Op(op) => {
                self.seen_until = self.seen_until.max(op.done);
                if op.outcome == Outcome::Ok && is_read(op.kind()) {
                    for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
                        self.read(op, view);
                    }
                }
                self.jobs.forget(self.seen_until);
            }
            Seen::Fault(_) | Seen::Phase(..) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("nobody was told of a job unasked, and looked at it afterwards")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::span::Span,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, p, view},
        },
    };
    use JobState::{Accepted, Arrived, Completed, Offered};

    const LAW: &str = "event-then-read";

    /// The passenger is told at 10 s of a job in that state, and looks at 11 s.
    fn looked(told: JobState, seen: JobState) -> Tale {
        let mut tale = Tale::default();
        tale.told(p(1), 10.0, view("J1", told, 1, Some(d(1))));
        let seen = view("J1", seen, 1, Some(d(1)));
        tale.read(p(1), OpKind::PassengerJobStatus, (11.0, 11.1), seen);
        tale
    }

    #[test]
    fn who_looks_sees_what_was_told() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        for seen in [Accepted, Arrived, Completed, Offered] {
            assert_eq!(looked(Accepted, seen).judge(LAW).verdict, Verdict::Pass, "{seen:?}");
        }
    }

    #[test]
    fn a_look_that_shows_less_is_caught() {
        let judgement = looked(Arrived, Accepted).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 was told at 10.000 s that job J1 is arrived; later passenger/00001 read \
             job J1 as accepted at 11.100 s (ok, op 1)"
        );
        assert_eq!(looked(Completed, Arrived).judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_look_that_was_sent_before_or_may_be_stale_proves_nothing() {
        let mut late = looked(Arrived, Accepted);
        late.declares.read_delay = Span::secs(2);
        assert_eq!(late.judge(LAW).verdict, Verdict::Unknown);
        let mut before = Tale::default();
        before.told(p(1), 10.0, view("J1", Arrived, 1, Some(d(1))));
        let seen = view("J1", Accepted, 1, Some(d(1)));
        before.read(p(1), OpKind::PassengerJobStatus, (9.0, 11.0), seen);
        assert_eq!(before.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_look_of_unknown_outcome_shows_nothing() {
        let mut tale = Tale::default();
        tale.told(p(1), 10.0, view("J1", Arrived, 1, Some(d(1))));
        tale.op(p(1), OpKind::PassengerJobStatus, (11.0, 11.1)).info();
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
