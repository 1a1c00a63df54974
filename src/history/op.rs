//! An op: one intent of a robot against the API, with its attempts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{answer::Answer, probe::Probe};
use crate::base::{
    id::{Id, RobotId, RobotKind, as_text},
    name::NodeName,
    place::Place,
    time::Time,
};

macro_rules! ops {
    ($($variant:ident = $word:literal, $doc:literal;)*) => {
        /// The operations of the job flow (the contract of every target).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum OpKind { $(#[doc = $doc] #[serde(rename = $word)] $variant,)* }

        impl OpKind {
            /// Every operation, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in files: `driver.ping`.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

ops! {
    DriverRegister = "driver.register", "A driver opens an account.";
    DriverLogin = "driver.login", "A driver gets a token.";
    DriverGoOnline = "driver.go_online", "A driver starts a shift.";
    DriverPing = "driver.ping", "One location update.";
    DriverNextOffer = "driver.next_offer", "A driver asks for a pending offer.";
    DriverAccept = "driver.accept", "A driver takes an offer.";
    DriverDecline = "driver.decline", "A driver refuses an offer.";
    DriverArrive = "driver.arrive", "The driver is at the kerb.";
    DriverPickUp = "driver.pick_up", "The passenger is in the car.";
    DriverDropOff = "driver.drop_off", "The journey is over.";
    DriverCancel = "driver.cancel", "A driver gives an accepted job back.";
    DriverNoShow = "driver.no_show", "The passenger did not come.";
    DriverPause = "driver.pause", "A driver takes no offers for a while.";
    DriverResume = "driver.resume", "A paused driver takes offers again.";
    DriverCurrentJob = "driver.current_job", "The driver's live job, if any.";
    DriverGoOffline = "driver.go_offline", "A driver ends a shift.";
    PassengerRegister = "passenger.register", "A passenger opens an account.";
    PassengerLogin = "passenger.login", "A passenger gets a token.";
    PassengerNearDrivers = "passenger.near_drivers", "Free drivers nearby.";
    PassengerQuote = "passenger.quote", "What a journey would cost and take.";
    PassengerRequestJob = "passenger.request_job", "A passenger asks for a journey.";
    PassengerJobStatus = "passenger.job_status", "The state of one job.";
    PassengerCancel = "passenger.cancel", "A passenger gives up a job.";
    PassengerCurrentJob = "passenger.current_job", "The passenger's live job, if any.";
    PassengerPay = "passenger.pay", "A passenger pays a completed job.";
    PassengerRate = "passenger.rate", "A passenger rates a driver.";
    AuditJob = "audit.job", "Read-back of one job.";
    AuditJobs = "audit.jobs", "Read-back of a page of jobs.";
    AuditCharges = "audit.charges", "Read-back of charges.";
    AuditEarnings = "audit.earnings", "Read-back of drivers' earnings.";
    AuditRefunds = "audit.refunds", "Read-back of refunds.";
    AuditIssues = "audit.issues", "What the backend says is wrong with live jobs now.";
    SetupApproveDriver = "setup.approve_driver", "An operator lets a driver work.";
    CleanupRobot = "cleanup.robot", "Whatever puts a robot's account to rest.";
}

impl OpKind {
    /// Its place in [`Self::ALL`], for tables by kind.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The operation of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.word() == word)
    }
}

/// A set of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpSet(u64);

impl OpSet {
    /// Every operation.
    pub fn all() -> Self {
        OpKind::ALL.iter().copied().collect()
    }

    /// Whether it is in.
    pub fn has(self, op: OpKind) -> bool {
        self.0 & (1 << op.index()) != 0
    }

    /// The same without it.
    #[must_use]
    pub fn without(self, op: OpKind) -> Self {
        Self(self.0 & !(1 << op.index()))
    }
}

impl FromIterator<OpKind> for OpSet {
    fn from_iter<I: IntoIterator<Item = OpKind>>(ops: I) -> Self {
        Self(ops.into_iter().fold(0, |set, op| set | 1 << op.index()))
    }
}

impl std::fmt::Display for OpKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What a robot asks; which fields are set follows from the op.
#[derive(Debug, Clone, PartialEq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The operation.
    pub op: OpKind,
    /// The job it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Id>,
    /// The numbered assignment of the job it is about, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<u32>,
    /// The offer it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Id>,
    /// Where the robot says it is (ping, `go_online`), or wants to be picked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// Where it wants to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Place>,
    /// The idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Id>,
    /// The number of this ping of this driver, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Stars of a rating, 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stars: Option<u8>,
    /// Why (a cancellation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Id>,
    /// The op that a clumsy robot does once more on purpose with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Id>,
    /// What is wrong with it on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The phone of the robot that asks, where it is not its first: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<u8>,
}

impl Ask {
    /// The bare operation.
    pub fn new(op: OpKind) -> Self {
        Self {
            op,
            job: None,
            assignment: None,
            offer: None,
            at: None,
            to: None,
            key: None,
            seq: None,
            stars: None,
            reason: None,
            again: None,
            probe: None,
            phone: None,
        }
    }
}

/// How an attempt or an op ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody knows: time-out, reset, 5xx after send.
    Info,
}

/// One try of an op.
#[derive(Debug, Clone, PartialEq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// When the first byte may have left.
    #[serde(rename = "sent_ns")]
    pub sent: Time,
    /// When the answer, or the error, was there.
    #[serde(rename = "done_ns")]
    pub done: Time,
    /// How it ended, as the target judged.
    pub outcome: Outcome,
    /// The node of the backend that it was sent to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The HTTP status, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, in the backend's words or the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One intent of a robot, finished.
#[derive(Debug, Clone, PartialEq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Op {
    /// Its number in the run, a string in JSON.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub id: u64,
    /// Who.
    pub robot: RobotId,
    /// What was asked.
    pub ask: Ask,
    /// When it was due.
    #[serde(rename = "planned_ns")]
    pub planned: Time,
    /// When the first attempt was sent.
    #[serde(rename = "sent_ns")]
    pub sent: Time,
    /// When the last attempt was done.
    #[serde(rename = "done_ns")]
    pub done: Time,
    /// How it ended: ok if any attempt was ok; fail only if every attempt certainly failed;
    /// otherwise info.
    pub outcome: Outcome,
    /// Each try, in order; never empty.
    pub attempts: Vec<Attempt>,
    /// What came back (of the last attempt).
    #[serde(default, skip_serializing_if = "Answer::is_empty")]
    pub answer: Answer,
}

impl Op {
    /// Which operation.
    pub fn kind(&self) -> OpKind {
        self.ask.op
    }

    /// True when it belongs to the load: no probe, and not of a rogue, whose ops no figure counts.
    pub fn is_load(&self) -> bool {
        is_load(self.robot, &self.ask)
    }

    /// True when it certainly ended before `other` began (one process: no clock error).
    pub fn before(&self, other: &Self) -> bool {
        self.done < other.sent
    }
}

/// Whether what that robot asks belongs to the load.
pub fn is_load(robot: RobotId, ask: &Ask) -> bool {
    robot.kind != RobotKind::Rogue && ask.probe.is_none()
}

/// The outcome of an op from those of its attempts (the ground rule of retried ops).
pub fn outcome_of(attempts: &[Attempt]) -> Outcome {
    if attempts.iter().any(|a| a.outcome == Outcome::Ok) {
        Outcome::Ok
    } else if attempts.iter().all(|a| a.outcome == Outcome::Fail) {
        Outcome::Fail
    } else {
        Outcome::Info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: Outcome) -> Attempt {
        Attempt { sent: Time(1), done: Time(2), outcome, node: None, status: None, error: None }
    }

    #[test]
    fn a_refusal_after_a_time_out_is_unknown() {
        use Outcome::{Fail, Info, Ok};
        let of = |all: &[Outcome]| outcome_of(&all.iter().map(|o| attempt(*o)).collect::<Vec<_>>());
        assert_eq!(of(&[Info, Fail]), Info);
        assert_eq!(of(&[Fail, Fail]), Fail);
        assert_eq!(of(&[Info, Ok]), Ok);
    }

    #[test]
    fn words_and_kinds_agree() {
        for op in OpKind::ALL {
            assert_eq!(OpKind::from_word(op.word()), Some(*op));
            assert_eq!(serde_json::to_value(op).unwrap(), op.word());
        }
    }
}
