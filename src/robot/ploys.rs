//! What a rogue may ask: which operations with what wrong, and what it needs to know for it.

use super::cue::Cue;
use crate::{
    base::id::{Id, RobotId},
    history::{
        op::{Ask, Op, OpKind, OpKind as K},
        probe::Probe,
    },
};

/// One thing to ask: an operation, and what is wrong with it.
pub(super) type Ploy = (OpKind, Probe);

/// Bad tokens of one that plays a passenger. Each would be answered, were the token good.
pub(super) const PASSENGER_TOKENS: &[Ploy] = &[
    (K::PassengerCurrentJob, Probe::TokenAbsent),
    (K::PassengerCurrentJob, Probe::TokenMalformed),
    (K::PassengerCurrentJob, Probe::TokenForged),
    (K::PassengerCurrentJob, Probe::TokenRevoked),
    (K::PassengerNearDrivers, Probe::TokenForged),
    (K::PassengerNearDrivers, Probe::TokenRevoked),
    (K::PassengerQuote, Probe::TokenAbsent),
    (K::DriverCurrentJob, Probe::TokenKind),
    (K::AuditCharges, Probe::TokenKind),
];

/// Bad tokens of one that plays a driver.
pub(super) const DRIVER_TOKENS: &[Ploy] = &[
    (K::DriverCurrentJob, Probe::TokenAbsent),
    (K::DriverCurrentJob, Probe::TokenMalformed),
    (K::DriverCurrentJob, Probe::TokenForged),
    (K::DriverCurrentJob, Probe::TokenRevoked),
    (K::DriverPing, Probe::TokenForged),
    (K::DriverPing, Probe::TokenMalformed),
    (K::PassengerCurrentJob, Probe::TokenKind),
    (K::AuditJobs, Probe::TokenKind),
];

/// The token of one that plays a driver, when its life is over.
pub(super) const EXPIRED: &[Ploy] =
    &[(K::DriverCurrentJob, Probe::TokenExpired), (K::DriverPing, Probe::TokenExpired)];

/// What a passenger does with its own job, done with another's.
pub(super) const PASSENGER_JOBS: &[Ploy] = &[
    (K::PassengerJobStatus, Probe::JobOther),
    (K::PassengerCancel, Probe::JobOther),
    (K::PassengerPay, Probe::JobOther),
    (K::PassengerRate, Probe::JobOther),
];

/// What a driver does with its own job or offer, done with another's.
pub(super) const DRIVER_JOBS: &[Ploy] = &[
    (K::DriverAccept, Probe::JobOther),
    (K::DriverAccept, Probe::JobOther),
    (K::DriverDecline, Probe::JobOther),
    (K::DriverArrive, Probe::JobOther),
    (K::DriverPickUp, Probe::JobOther),
    (K::DriverDropOff, Probe::JobOther),
    (K::DriverCancel, Probe::JobOther),
    (K::DriverNoShow, Probe::JobOther),
];

/// Bad input of one that plays a passenger.
pub(super) const PASSENGER_INPUT: &[Ploy] = &[
    (K::PassengerQuote, Probe::InputNan),
    (K::PassengerQuote, Probe::InputMissing),
    (K::PassengerNearDrivers, Probe::InputRange),
    (K::PassengerNearDrivers, Probe::InputType),
    (K::PassengerRequestJob, Probe::InputNan),
    (K::PassengerRequestJob, Probe::InputRange),
    (K::PassengerRequestJob, Probe::InputMissing),
    (K::PassengerRequestJob, Probe::InputType),
    (K::PassengerRequestJob, Probe::InputOversized),
    (K::PassengerRequestJob, Probe::InputGarbled),
    (K::PassengerJobStatus, Probe::InputUnknownId),
    (K::PassengerJobStatus, Probe::InputType),
    (K::PassengerCancel, Probe::InputUnknownId),
    (K::PassengerPay, Probe::InputUnknownId),
    (K::PassengerPay, Probe::InputMissing),
    (K::PassengerRate, Probe::InputRange),
];

/// Bad input of one that plays a driver.
pub(super) const DRIVER_INPUT: &[Ploy] = &[
    (K::DriverPing, Probe::InputNan),
    (K::DriverPing, Probe::InputRange),
    (K::DriverPing, Probe::InputMissing),
    (K::DriverPing, Probe::InputType),
    (K::DriverPing, Probe::InputOversized),
    (K::DriverPing, Probe::InputGarbled),
    (K::DriverGoOnline, Probe::InputNan),
    (K::DriverGoOnline, Probe::InputRange),
    (K::DriverAccept, Probe::InputUnknownId),
    (K::DriverAccept, Probe::InputType),
    (K::DriverDecline, Probe::InputUnknownId),
    (K::DriverArrive, Probe::InputUnknownId),
    (K::DriverNoShow, Probe::InputUnknownId),
    (K::DriverDropOff, Probe::InputMissing),
];

/// No backend gives this out.
const NOBODYS_ID: &str = "7";

/// Somebody else's job, as a rogue heard of it.
#[derive(Debug, Clone)]
pub(super) struct Prey {
    job: Id,
    offer: Option<Id>,
    assignment: Option<u32>,
}

impl Prey {
    /// What an op tells of a job.
    pub fn of(op: &Op) -> Option<Self> {
        if let Some(offer) = &op.answer.offer {
            let (job, offer) = (offer.job.clone(), Some(offer.id.clone()));
            return Some(Self { job, offer, assignment: None });
        }
        let view = op.answer.job.as_deref().filter(|view| !view.state.is_terminal())?;
        let assignment = Some(view.assignment).filter(|number| *number > 0);
        Some(Self { job: view.id.clone(), offer: op.ask.offer.clone(), assignment })
    }

    /// The same with another's job, where the operation needs it; `None` where it lacks something.
    pub fn put_into(&self, ask: Ask) -> Option<Ask> {
        let named = matches!(ask.op, K::DriverAccept | K::DriverDecline);
        if named && self.offer.is_none() {
            return None;
        }
        let steps = matches!(
            ask.op,
            K::DriverArrive
                | K::DriverPickUp
                | K::DriverDropOff
                | K::DriverCancel
                | K::DriverNoShow
        );
        Some(Ask {
            job: Some(self.job.clone()),
            offer: self.offer.clone().filter(|_| named),
            assignment: self.assignment.filter(|_| steps),
            ..ask
        })
    }
}

/// One of those that the target can be asked.
pub(super) fn draw(all: &[Ploy], cue: &mut Cue<'_>) -> Option<Ploy> {
    let (op, probe) = *all.get(cue.rng.below(all.len()))?;
    (cue.has(op) && cue.around.probes.has(probe)).then_some((op, probe))
}

/// The ask as it would be right, with fields for any operation and a job that does not exist.
pub(super) fn ask((op, probe): Ploy, robot: RobotId, pulse: u32, cue: &mut Cue<'_>) -> Ask {
    let hour = cue.around.clock.hour(cue.now);
    let (from, to) = cue.around.city.draw_trip(hour, cue.rng);
    let about = Some(Id::from(NOBODYS_ID));
    let mut ask = Ask { probe: Some(probe), ..Ask::new(op) };
    match op {
        K::DriverPing => (ask.at, ask.seq) = (Some(from), Some(u64::from(pulse))),
        K::DriverGoOnline | K::PassengerNearDrivers => ask.at = Some(from),
        K::PassengerQuote => (ask.at, ask.to) = (Some(from), Some(to)),
        K::PassengerRequestJob => {
            (ask.at, ask.to, ask.key) = (Some(from), Some(to), Some(key(robot, pulse)));
        }
        K::DriverAccept | K::DriverDecline => (ask.job, ask.offer) = (about.clone(), about),
        K::PassengerPay => (ask.job, ask.key) = (about, Some(key(robot, pulse))),
        K::PassengerRate => (ask.job, ask.stars) = (about, Some(1)),
        K::DriverCurrentJob | K::PassengerCurrentJob | K::AuditJobs | K::AuditCharges => {}
        _ => ask.job = about,
    }
    ask
}

fn key(robot: RobotId, pulse: u32) -> Id {
    Id(compact_str::format_compact!("rogue-{}-{pulse}", robot.number))
}
