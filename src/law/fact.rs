//! What a law keeps of an op as evidence, and how it tells it to people. Small: the op itself is gone by
//! the time that a breach is certain. Many laws keep the same op, and have it in common.

use std::{cell::RefCell, ops::Deref, ptr, rc::Rc};

use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        answer::{JobState, JobView},
        op::{Op, OpKind, Outcome},
    },
};

/// One op, as evidence. A copy is another handle to the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact(Rc<Kept>);

/// What is kept of an op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The op's number.
    pub op: u64,
    /// Who.
    pub robot: RobotId,
    /// What.
    pub kind: OpKind,
    /// First sent.
    pub sent: Time,
    /// Last done.
    pub done: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// The job it is about, by its question or else by its answer.
    pub job: Option<Id>,
    /// The state that it read, where it read one.
    pub state: Option<JobState>,
    /// The assignment that it is about; 0 when it does not say.
    pub number: u32,
    /// It was asked on the robot's second phone.
    pub second_phone: bool,
}

impl Deref for Fact {
    type Target = Kept;
    fn deref(&self) -> &Kept {
        &self.0
    }
}

thread_local! {
    /// The op that the laws of this thread are seeing, and the evidence of it once a law wanted it.
    static SEEN: RefCell<(*const Op, Option<Fact>)> = const { RefCell::new((ptr::null(), None)) };
}

/// While it lives, the laws are seeing one op.
pub struct Seeing<'a>(&'a Op);

impl<'a> Seeing<'a> {
    /// The laws see `op`: the evidence that they keep of it is made once.
    pub fn begin(op: &'a Op) -> Self {
        SEEN.set((ptr::from_ref(op), None));
        Self(op)
    }
}

impl Drop for Seeing<'_> {
    fn drop(&mut self) {
        debug_assert!(SEEN.with_borrow(|(op, _)| ptr::eq(*op, self.0)), "one after the other");
        SEEN.set((ptr::null(), None));
    }
}

impl Fact {
    /// The evidence of `op`.
    pub fn of(op: &Op) -> Self {
        SEEN.with_borrow_mut(|(seen, fact)| {
            if ptr::eq(*seen, op) {
                fact.get_or_insert_with(|| Self(Rc::new(Kept::of(op)))).clone()
            } else {
                Self(Rc::new(Kept::of(op)))
            }
        })
    }

    /// The evidence of `op` about one of the many jobs that it read.
    pub fn about(op: &Op, view: &JobView) -> Self {
        let fact = Self::of(op);
        let (state, number) = (Some(view.state), view.assignment);
        if fact.job.as_ref() == Some(&view.id) && (fact.state, fact.number) == (state, number) {
            return fact;
        }
        fact.with(|kept| {
            kept.job = Some(view.id.clone());
            (kept.state, kept.number) = (state, number);
        })
    }

    /// The same but for that.
    pub fn with(mut self, change: impl FnOnce(&mut Kept)) -> Self {
        change(Rc::make_mut(&mut self.0));
        self
    }

    /// The same about another assignment.
    pub fn numbered(self, number: u32) -> Self {
        if self.number == number { self } else { self.with(|kept| kept.number = number) }
    }

    /// The same about another job.
    pub fn of_job(self, job: &Id) -> Self {
        self.with(|kept| kept.job = Some(job.clone()))
    }
}

impl Kept {
    fn of(op: &Op) -> Self {
        let view = op.answer.job.as_deref();
        Self {
            op: op.id,
            robot: op.robot,
            kind: op.kind(),
            sent: op.sent,
            done: op.done,
            outcome: op.outcome,
            job: job_of(op).cloned(),
            state: view.map(|view| view.state),
            number: number_of(op),
            second_phone: op.ask.phone.is_some(),
        }
    }
}

impl Fact {
    /// True when it is certainly over before anything sent at `moment`.
    pub fn before(&self, moment: Time) -> bool {
        self.done < moment
    }

    /// In plain words: `driver/00412 accepted job J7 at 31.204 s (ok, op 12)`.
    pub fn tell(&self) -> String {
        let job = self.job.as_ref().map_or(String::new(), |job| format!(" job {job}"));
        let what = match self.state {
            Some(state) if is_read(self.kind) => format!(" as {}", state.word()),
            _ => String::new(),
        };
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "refused",
            Outcome::Info => "outcome unknown",
        };
        let (robot, verb, at, op) = (self.robot, verb(self.kind), self.done, self.op);
        let phone = if self.second_phone { " on its second phone" } else { "" };
        format!("{robot} {verb}{job}{what}{phone} at {at} ({outcome}, op {op})")
    }
}

/// The assignment that an op is about. A driver's move says so itself or not at all: the job in the
/// answer may be in another driver's hands by then.
fn number_of(op: &Op) -> u32 {
    let read = is_read(op.kind()) || op.kind() == OpKind::DriverAccept;
    let told = op.answer.job.as_deref().filter(|_| read).map(|view| view.assignment);
    told.or(op.ask.assignment).unwrap_or(0)
}

/// The job that an op is about.
pub fn job_of(op: &Op) -> Option<&Id> {
    op.ask.job.as_ref().or_else(|| op.answer.job.as_deref().map(|view| &view.id))
}

/// True for ops that only look.
pub fn is_read(kind: OpKind) -> bool {
    use OpKind::{AuditJob, AuditJobs, DriverCurrentJob, PassengerCurrentJob, PassengerJobStatus};
    matches!(
        kind,
        AuditJob | AuditJobs | DriverCurrentJob | PassengerCurrentJob | PassengerJobStatus
    )
}

/// True for the ops that read back at the end.
pub fn is_audit(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::AuditJob
            | OpKind::AuditJobs
            | OpKind::AuditCharges
            | OpKind::AuditEarnings
            | OpKind::AuditRefunds
    )
}

fn verb(kind: OpKind) -> &'static str {
    match kind {
        OpKind::DriverRegister | OpKind::PassengerRegister => "registered",
        OpKind::DriverLogin | OpKind::PassengerLogin => "logged in",
        OpKind::DriverGoOnline => "went on shift",
        OpKind::DriverPing => "sent a position",
        OpKind::DriverNextOffer => "asked for an offer",
        OpKind::DriverAccept => "accepted",
        OpKind::DriverDecline => "declined",
        OpKind::DriverArrive => "arrived for",
        OpKind::DriverPickUp => "picked up",
        OpKind::DriverDropOff => "dropped off",
        OpKind::DriverCancel => "gave back",
        OpKind::DriverNoShow => "reported a no-show for",
        OpKind::DriverGoOffline => "went off shift",
        OpKind::PassengerRequestJob => "requested",
        OpKind::PassengerCancel => "cancelled",
        OpKind::PassengerPay => "paid",
        OpKind::AuditIssues => "was told what is wrong",
        OpKind::DriverCurrentJob | OpKind::PassengerCurrentJob | OpKind::PassengerJobStatus => {
            "read"
        }
        OpKind::AuditJob
        | OpKind::AuditJobs
        | OpKind::AuditCharges
        | OpKind::AuditEarnings
        | OpKind::AuditRefunds => "read back",
        other => other.word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::testkit::{Tale, p, view};

    #[test]
    fn what_is_kept_of_an_op_is_made_once_while_it_is_seen() {
        let mut tale = Tale::default();
        let seen = view("J1", JobState::Offered, 0, None);
        let op = tale.read(p(1), OpKind::PassengerJobStatus, (1.0, 1.1), seen.clone()).clone();
        let same = |one: &Fact, other: &Fact| Rc::ptr_eq(&one.0, &other.0);
        assert!(!same(&Fact::of(&op), &Fact::of(&op)));
        let seeing = Seeing::begin(&op);
        let first = Fact::of(&op);
        assert!(same(&first, &Fact::about(&op, &seen)));
        let other = first.clone().numbered(2).of_job(&"J2".into());
        assert!(first.tell().contains("read job J1 as offered"), "{}", first.tell());
        assert!(other.tell().contains("read job J2 as offered"), "{}", other.tell());
        // Another op is another matter, though nobody sees it yet.
        assert!(!same(&first, &Fact::of(&op.clone())));
        drop(seeing);
        assert!(!same(&first, &Fact::of(&op)));
        assert_eq!(first, Fact::of(&op));
    }
}
