//! A second phone on one account: it signs on beside the first, looks at what the account is about, says
//! where it lies, and taps what is tapped on the first. Whoever has both reads the first one; of the
//! second it matters only that a driver sees offers on it.

use std::time::Duration;

use super::{
    cue::{Cue, alarm},
    driver::{self, Driver, State},
};
use crate::{
    base::id::Id,
    history::op::{Ask, Op, OpKind, Outcome},
};

/// The second phone, by its number.
const SECOND: u8 = 2;
/// How long a driver is on shift before it takes its second phone out, and uses it, in seconds.
const TAKEN_OUT_S: (f64, f64) = (1.0, 10.0);
const IN_USE_S: (f64, f64) = (5.0, 40.0);

/// How the second phone of a robot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SecondPhone {
    /// It is in the pocket.
    #[default]
    Away,
    /// It logs in.
    SigningOn,
    /// It is signed on, and may have a look of its own in flight.
    On {
        /// It has.
        looking: bool,
    },
}

impl SecondPhone {
    /// Logs in on it.
    pub fn take_out(&mut self, login: OpKind, cue: &mut Cue<'_>) {
        if *self == Self::Away && cue.has(login) {
            *self = Self::SigningOn;
            cue.ask(on_second(Ask::new(login)));
        }
    }

    /// Does nothing more on it.
    pub fn put_away(&mut self) {
        *self = Self::Away;
    }

    /// True while it is signed on.
    pub fn is_on(self) -> bool {
        matches!(self, Self::On { .. })
    }

    /// Asks the same on it, where it is signed on.
    pub fn tap(self, ask: Ask, cue: &mut Cue<'_>) {
        if self.is_on() {
            cue.ask(on_second(ask));
        }
    }

    /// Looks on it, unless a look is in flight.
    pub fn look(&mut self, ask: Ask, cue: &mut Cue<'_>) {
        if *self == (Self::On { looking: false }) && cue.has(ask.op) {
            *self = Self::On { looking: true };
            cue.ask(on_second(ask));
        }
    }

    /// An op that was asked on it ended. Once it is signed on it asks which job it has, as any app does.
    pub fn done(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let current = match op.kind() {
            OpKind::DriverLogin => OpKind::DriverCurrentJob,
            OpKind::PassengerLogin => OpKind::PassengerCurrentJob,
            OpKind::DriverCurrentJob | OpKind::PassengerCurrentJob | OpKind::PassengerJobStatus
                if self.is_on() =>
            {
                *self = Self::On { looking: false };
                return;
            }
            _ => return,
        };
        if *self != Self::SigningOn {
            return;
        }
        if op.outcome != Outcome::Ok {
            return self.put_away();
        }
        *self = Self::On { looking: false };
        self.look(Ask::new(current), cue);
    }
}

fn on_second(ask: Ask) -> Ask {
    Ask { phone: Some(SECOND), ..ask }
}

impl Driver {
    /// Some drivers have a second phone with them.
    pub(super) fn pocket_phone(cue: &mut Cue<'_>) {
        if cue.mishap(cue.around.second_phones) {
            let (from, to) = TAKEN_OUT_S;
            let soon = Duration::from_secs_f64(cue.rng.between(from, to));
            cue.wake(soon, alarm(driver::PHONE, 0));
        }
    }

    /// Takes the second phone out and lays it down where the driver is, or puts it away again.
    pub(super) fn reach_for_phone(&mut self, cue: &mut Cue<'_>) {
        let works =
            !matches!(self.state, State::New | State::SigningOn | State::Leaving | State::Off);
        if self.phone.is_on() || !works {
            return self.phone.put_away();
        }
        self.phone.take_out(OpKind::DriverLogin, cue);
        self.phone_lies = self.motion.place(cue.now);
        let (from, to) = IN_USE_S;
        let while_on = Duration::from_secs_f64(cue.rng.between(from, to));
        cue.wake(while_on, alarm(driver::PHONE, 0));
    }

    /// The second phone says where it lies.
    pub(super) fn ping_again(&mut self, cue: &mut Cue<'_>) {
        if self.phone.is_on() {
            self.seq += 1;
            let (at, seq) = (Some(self.phone_lies), Some(self.seq));
            self.phone.tap(Ask { at, seq, ..Ask::new(OpKind::DriverPing) }, cue);
        }
    }

    /// An offer is taken on the second phone as well.
    pub(super) fn accept_again(&self, accept: Ask, cue: &mut Cue<'_>) {
        self.phone.tap(Ask { again: Some(Id::from("tap")), ..accept }, cue);
    }

    /// An op of the second phone ended.
    pub(super) fn done_on_second(&mut self, op: &Op, cue: &mut Cue<'_>) {
        self.phone.done(op, cue);
        match (op.kind(), &op.answer.offer) {
            (OpKind::DriverPing, Some(offer)) if op.outcome == Outcome::Ok => {
                self.offered(offer, cue);
            }
            (OpKind::DriverAccept, _) => self.accepted_again(op, cue),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{
        history::answer::{Answer, JobState, Refusal},
        robot::{
            Event, Robot, Standing,
            passenger::Passenger,
            puppet::{Puppet, job, job_answer, offer, refusal_answer, steady, trip},
        },
        scenario::{Mishaps, Robots},
    };
    use OpKind as K;

    fn habits() -> Robots {
        Robots { mishaps: Mishaps { second_phones: 1.0, ..Mishaps::default() }, ..steady() }
    }

    /// What is asked on the first phone, and on the second.
    fn on_both<R: Robot>(puppet: &mut Puppet<R>, kind: OpKind) -> (Ask, Ask) {
        let first = puppet.until(kind, Some(&job(JobState::Accepted)));
        let second = puppet.take(kind).expect("the second phone asks as well");
        assert_eq!((first.phone, second.phone), (None, Some(SECOND)));
        (first, second)
    }

    /// A driver on shift with both phones in use.
    fn driver() -> Puppet<Driver> {
        let mut puppet = Puppet::new(Driver::new(7), habits());
        puppet.event(Event::Start);
        for step in [K::DriverRegister, K::DriverLogin, K::DriverGoOnline] {
            assert_eq!(puppet.ok(step).phone, None);
        }
        let login = puppet.until(K::DriverLogin, None);
        assert_eq!(login.phone, Some(SECOND));
        puppet.done(login, Outcome::Ok, Answer::default());
        let look = puppet.take(K::DriverCurrentJob).expect("an app that starts looks for its job");
        assert_eq!(look.phone, Some(SECOND));
        puppet.done(look, Outcome::Fail, refusal_answer(Refusal::NotFound));
        assert_eq!(puppet.standing(), Standing::Free);
        puppet
    }

    #[test]
    fn a_driver_is_heard_of_from_both_phones_and_takes_an_offer_on_both() {
        let mut puppet = driver();
        let (first, second) = on_both(&mut puppet, K::DriverPing);
        assert_eq!(second.seq, first.seq.map(|seq| seq + 1));
        let shown = Answer { offer: Some(Rc::new(offer("O1", 10_000))), ..Answer::default() };
        puppet.done(second, Outcome::Ok, shown);
        let (first, second) = on_both(&mut puppet, K::DriverAccept);
        assert!(first.again.is_none() && second.again.is_some());
        // The second tap was faster: the first is told that somebody has the job, and looks who.
        puppet.done(second, Outcome::Ok, job_answer(Some(&job(JobState::Accepted))));
        puppet.done(first, Outcome::Fail, refusal_answer(Refusal::Conflict));
        puppet.until(K::DriverArrive, Some(&job(JobState::Accepted)));
        assert!(puppet.robot.is_busy());
    }

    #[test]
    fn the_second_phone_is_put_away_again_and_does_not_keep_a_driver_on_shift() {
        let mut puppet = driver();
        puppet.event(Event::SignOff);
        puppet.ok(K::DriverGoOffline);
        assert_eq!(puppet.standing(), Standing::Gone);
        assert!(!puppet.robot.phone.is_on());
        let mut puppet = driver();
        on_both(&mut puppet, K::DriverPing);
        let first = |puppet: &mut Puppet<Driver>| {
            puppet.until(K::DriverPing, None);
            puppet.take(K::DriverPing).is_none()
        };
        assert!((0..10).any(|_| first(&mut puppet)), "it is in use for 40 s at most");
    }

    #[test]
    fn a_login_that_fails_leaves_one_phone() {
        let mut puppet = Puppet::new(Driver::new(7), habits());
        puppet.event(Event::Start);
        for step in [K::DriverRegister, K::DriverLogin, K::DriverGoOnline] {
            puppet.ok(step);
        }
        let login = puppet.until(K::DriverLogin, None);
        puppet.done(login, Outcome::Info, Answer::default());
        puppet.until(K::DriverPing, None);
        assert_eq!(puppet.take(K::DriverPing), None);
    }

    /// A passenger with a job, and with both phones in use.
    fn passenger(habits: Robots) -> Puppet<Passenger> {
        let mut puppet = Puppet::new(Passenger::new(3), habits);
        puppet.event(Event::Start);
        puppet.ok(K::PassengerRegister);
        puppet.ok(K::PassengerLogin);
        puppet.event(Event::Wish(trip()));
        let requested = job(JobState::Requested);
        puppet.end(K::PassengerRequestJob, Outcome::Ok, job_answer(Some(&requested)));
        let login = puppet.until(K::PassengerLogin, Some(&requested));
        assert_eq!(login.phone, Some(SECOND));
        puppet.done(login, Outcome::Ok, Answer::default());
        puppet.look(Some(&requested));
        puppet
    }

    #[test]
    fn a_passenger_watches_and_cancels_on_both() {
        let mut puppet = passenger(Robots { cancels_after_match: 1.0, ..habits() });
        let (first, second) = on_both(&mut puppet, K::PassengerJobStatus);
        assert_eq!(first.job, second.job);
        for look in [second, first] {
            puppet.done(look, Outcome::Ok, job_answer(Some(&job(JobState::Accepted))));
        }
        let (first, second) = on_both(&mut puppet, K::PassengerCancel);
        assert_eq!(first.job, second.job);
    }

    #[test]
    fn a_journey_is_paid_on_both_phones_with_a_key_for_each() {
        let mut puppet = passenger(habits());
        let first = puppet.until(K::PassengerPay, Some(&job(JobState::Completed)));
        let second = puppet.take(K::PassengerPay).expect("the second phone pays as well");
        assert_ne!(first.key, second.key);
        puppet.done(second, Outcome::Ok, Answer::default());
        puppet.done(first, Outcome::Fail, refusal_answer(Refusal::Conflict));
        assert_eq!(puppet.take(K::PassengerPay), None, "the other phone has paid");
        assert_eq!(puppet.standing(), Standing::Free);
    }
}
