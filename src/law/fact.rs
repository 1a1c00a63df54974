//! What a law keeps of an op as evidence, and how it tells it to people. Small and owned: the op
//! itself is gone by the time that a breach is certain.

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

/// One op, as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
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
}

impl Fact {
    /// The evidence of `op`.
    pub fn of(op: &Op) -> Self {
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
        }
    }

    /// The evidence of `op` about one of the many jobs that it read.
    pub fn about(op: &Op, view: &JobView) -> Self {
        let (job, state, number) = (Some(view.id.clone()), Some(view.state), view.assignment);
        Self { job, state, number, ..Self::of(op) }
    }

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
        format!("{robot} {verb}{job}{what} at {at} ({outcome}, op {op})")
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
