//! Which driver certainly was free, where, and since when. What may have changed that counts from the
//! moment at which it was *sent*; what restores it, from the moment at which it was *done*.

use std::{
    cell::{Ref, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use super::{fact::Fact, roll::Roll};
use crate::{
    base::{id::RobotId, place::Place, time::Time},
    history::{
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The ops that tell of drivers.
pub const WATCHES: [OpKind; 12] = [
    OpKind::DriverGoOnline,
    OpKind::DriverGoOffline,
    OpKind::DriverPause,
    OpKind::DriverResume,
    OpKind::CleanupRobot,
    OpKind::DriverPing,
    OpKind::DriverNextOffer,
    OpKind::DriverAccept,
    OpKind::DriverDropOff,
    OpKind::DriverCancel,
    OpKind::DriverNoShow,
    OpKind::DriverCurrentJob,
];

/// Positions of one driver that are kept.
const PINGS_MAX: usize = 512;
/// What is looked at is a stretch of the settling bound at most, and so much later.
const GRACE: Duration = Duration::from_secs(11);

#[derive(Debug, Clone, Copy)]
struct Ping {
    sent: Time,
    done: Time,
    at: Place,
    sure: bool,
}

/// One driver.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on one another")]
pub struct Cab {
    on: bool,
    busy: bool,
    /// An accept of unknown outcome may still take effect.
    vague: bool,
    /// When its last accept was over.
    accepted: Time,
    /// It certainly has been free, and on shift, since then.
    pub free_since: Option<Time>,
    /// What ended its last job, or showed that it had ended.
    pub ended: Option<Fact>,
    /// It was shown an offer since then.
    pub offered_since_end: bool,
    /// An offer that it was shown may be open until then.
    pub offered_until: Time,
    pings: VecDeque<Ping>,
}

/// From when on something may be otherwise than it seemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// That driver may not be free any more.
    Of(RobotId, Time),
    /// Some driver may have missed an offer.
    Deaf(Time),
}

/// All drivers, known once for all the laws of a history. A copy is another handle to the same.
#[derive(Debug, Clone)]
pub struct Cabs(Rc<RefCell<(Supply, Option<Doubt>)>>);

impl Cabs {
    /// Of a target that declares this.
    pub fn new(declares: &Declares) -> Self {
        let (ping_ttl, window) = (declares.ping_ttl.0, declares.settle_bound.0);
        Self(Rc::new(RefCell::new((Supply::new(ping_ttl, window), None))))
    }

    /// Takes an op, before any law does.
    pub fn see(&self, op: &Op) {
        let (supply, doubt) = &mut *self.0.borrow_mut();
        *doubt = supply.see(op);
    }

    /// What may be otherwise than it seemed, by the op that the laws see now.
    pub fn doubt(&self) -> Option<Doubt> {
        self.0.borrow().1
    }

    /// All drivers. Not to be held on to.
    pub fn supply(&self) -> Ref<'_, Supply> {
        Ref::map(self.0.borrow(), |(supply, _)| supply)
    }
}

/// All drivers.
#[derive(Debug)]
pub struct Supply {
    keep: Duration,
    ping_ttl: Duration,
    cabs: Roll<Cab>,
    /// Until then somebody may be offered jobs who does not hear of them.
    pub deaf_until: Time,
    /// Offers shown to drivers who had a job before.
    pub offered_again: u64,
}

impl Supply {
    /// Positions count for `ping_ttl`; looked at are stretches of `window` that ended lately.
    fn new(ping_ttl: Duration, window: Duration) -> Self {
        Self {
            keep: ping_ttl + window + GRACE,
            ping_ttl,
            cabs: Roll::default(),
            deaf_until: Time::ZERO,
            offered_again: 0,
        }
    }

    /// Every driver.
    pub fn cabs(&self) -> impl Iterator<Item = (RobotId, &Cab)> {
        self.cabs.iter()
    }

    /// Takes an op of a driver.
    fn see(&mut self, op: &Op) -> Option<Doubt> {
        use OpKind as K;
        match op.kind() {
            K::DriverPing | K::DriverNextOffer => self.heard(op),
            K::DriverGoOnline | K::DriverResume if op.outcome == Outcome::Ok => {
                let cab = self.cabs.at(op.robot);
                cab.on = true;
                cab.rest(op);
                None
            }
            K::DriverGoOffline | K::DriverPause | K::CleanupRobot => Some(self.leave(op)),
            K::DriverAccept if op.outcome != Outcome::Fail => {
                let cab = self.cabs.at(op.robot);
                (cab.busy, cab.free_since) = (true, None);
                cab.vague |= op.outcome == Outcome::Info;
                cab.accepted = cab.accepted.max(op.done);
                Some(Doubt::Of(op.robot, op.sent))
            }
            K::DriverDropOff | K::DriverCancel | K::DriverNoShow
                if op.outcome == Outcome::Ok && !op.answer.replayed =>
            {
                let cab = self.cabs.at(op.robot);
                cab.end(op);
                None
            }
            K::DriverCurrentJob if op.outcome == Outcome::Ok => self.look(op),
            _ => None,
        }
    }

    fn heard(&mut self, op: &Op) -> Option<Doubt> {
        if op.outcome != Outcome::Ok {
            self.deaf_until = self.deaf_until.max(op.done);
        }
        let cab = self.cabs.at(op.robot);
        if let Some(at) = op.ask.at.filter(|_| op.outcome != Outcome::Fail) {
            let sure = op.outcome == Outcome::Ok;
            let ping = Ping { sent: op.sent, done: op.done, at, sure };
            while cab.pings.len() >= PINGS_MAX
                || cab.pings.front().is_some_and(|first| first.done + self.keep < op.done)
            {
                cab.pings.pop_front();
            }
            cab.pings.push_back(ping);
        }
        if op.outcome != Outcome::Ok {
            return Some(Doubt::Deaf(op.sent));
        }
        let offer = op.answer.offer.as_deref()?;
        cab.offered_until =
            cab.offered_until.max(op.done + Duration::from_millis(offer.expires_in_ms));
        self.offered_again += u64::from(cab.ended.is_some() && !cab.offered_since_end);
        cab.offered_since_end = true;
        Some(Doubt::Of(op.robot, op.sent))
    }

    fn leave(&mut self, op: &Op) -> Doubt {
        if op.outcome != Outcome::Fail {
            let cab = self.cabs.at(op.robot);
            (cab.on, cab.free_since) = (false, None);
        }
        if op.outcome == Outcome::Ok {
            return Doubt::Of(op.robot, op.sent);
        }
        // It may be gone, and still be offered jobs.
        self.deaf_until = self.deaf_until.max(op.done + self.ping_ttl);
        Doubt::Deaf(op.sent)
    }

    fn look(&mut self, op: &Op) -> Option<Doubt> {
        let cab = self.cabs.at(op.robot);
        if op.answer.job.as_deref().is_some_and(|view| view.state.is_held()) {
            (cab.busy, cab.free_since) = (true, None);
            return Some(Doubt::Of(op.robot, op.sent));
        }
        if cab.busy && cab.accepted < op.sent {
            cab.end(op);
        }
        None
    }
}

impl Cab {
    fn end(&mut self, op: &Op) {
        self.busy = false;
        (self.ended, self.offered_since_end) = (Some(Fact::of(op)), false);
        self.rest(op);
    }

    fn rest(&mut self, op: &Op) {
        if self.on && !self.busy && !self.vague {
            self.free_since.get_or_insert(op.done);
        }
    }

    /// True when it certainly was within `metres` of `place` from `from` to `until`, and was heard of
    /// often enough for its position to count all along.
    pub fn stood_within(
        &self,
        (place, metres): (Place, f64),
        (from, until): (Time, Time),
        ping_ttl: Duration,
    ) -> bool {
        let gap = ping_ttl / 2;
        let mut heard: Option<Time> = None;
        for ping in &self.pings {
            if !ping.sure || (ping.done + ping_ttl >= from && ping.at.metres_to(place) > metres) {
                return false;
            }
            if ping.sent > until {
                break;
            }
            if ping.done > from && heard.is_none_or(|last| last + gap < ping.done) {
                return false;
            }
            heard = Some(ping.done);
        }
        heard.is_some_and(|last| until <= last + gap)
    }
}
