//! Counts location updates instead of keeping each. One that ended ok and told nothing is counted,
//! with others of its eight seconds, in a [`PingCount`]; whatever tells something stays a record of
//! its own. Before an offer that a driver read stand the positions that it sent last, as the laws
//! need them. What comes out is all that anybody sees of the run, live and from the disk.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use super::{
    declares::Declares,
    op::{Ask, Attempt, Op, OpKind, Outcome},
    record::{Phase, PingCount, Record},
};
use crate::base::{
    id::{RobotId, RobotKind},
    name::NodeName,
    place::Place,
    time::{Time, nanos},
};

/// Updates that were planned within this long are counted together: a power of two of seconds, so
/// that windows lie within the buckets of a chart.
pub const WINDOW: Duration = Duration::from_secs(8);
/// Beyond what laws ask for: clocks that are read apart, and the life of an op under way.
const SLACK: Duration = Duration::from_secs(62);
/// Updates of one driver that are held back at most; older ones are only counted. More than the
/// laws look at, so that they themselves see that there were too many.
const HELD_MAX: usize = 600;
/// How long a window stays open for updates that are late.
const LATE: Duration = Duration::from_secs(5);

/// The state between two records.
pub struct Thinner {
    /// How long an update may still matter to an offer.
    keep: Duration,
    drivers: Vec<Driver>,
    nodes: Vec<NodeName>,
    open: Vec<PingCount>,
    load: (Option<Time>, Option<Time>),
}

/// What is known of one driver.
#[derive(Default)]
struct Driver {
    held: VecDeque<Held>,
    /// When it last read an offer: an update sent before that may still explain it.
    read: Option<Time>,
}

/// An update that was counted, and may be wanted as a record.
struct Held {
    id: u64,
    planned: Time,
    sent: Time,
    done: Time,
    at: Place,
    seq: u64,
    node: usize,
    status: u16,
}

impl Thinner {
    /// For a target that declares this.
    pub fn new(declares: &Declares) -> Self {
        let keep = declares.ping_ttl.0 + declares.offer_ttl.0 + declares.read_delay.0 + SLACK;
        Self { keep, drivers: vec![], nodes: vec![], open: vec![], load: (None, None) }
    }

    /// Takes a record of the run, and hands on what is to be seen of it.
    pub fn take(&mut self, record: &Record, hand_on: &mut impl FnMut(&Record)) {
        if let Record::Op(op) = record {
            self.close(op.done.saturating_sub(LATE), hand_on);
            if is_plain(op) {
                return self.count(op, hand_on);
            }
            if op.robot.kind == RobotKind::Driver && op.is_load() {
                self.look_at(op, hand_on);
            }
        }
        match record {
            Record::Phase { phase: Phase::Load, at } => self.load.0 = Some(*at),
            Record::Phase { phase, at } if *phase > Phase::Load && self.load.1.is_none() => {
                self.load.1 = Some(*at);
            }
            Record::End(_) => self.close(Time::MAX, hand_on),
            _ => {}
        }
        hand_on(record);
    }

    fn count(&mut self, op: &Op, hand_on: &mut impl FnMut(&Record)) {
        let load = self.load.0.is_some_and(|began| op.planned >= began)
            && self.load.1.is_none_or(|ended| op.planned < ended);
        let from = Time(op.planned.0 - op.planned.0 % nanos(WINDOW));
        let same = |count: &PingCount| count.from == from && count.load == load;
        if let Some(index) = self.open.iter().rposition(same) {
            self.open[index].add(op);
        } else {
            let mut fresh = PingCount::new(from, load);
            fresh.add(op);
            self.open.push(fresh);
        }
        self.hold(op, hand_on);
    }

    /// An op of a driver that is told as it is: an offer brings the positions before it with it.
    fn look_at(&mut self, op: &Op, hand_on: &mut impl FnMut(&Record)) {
        let Some(driver) = self.drivers.get_mut(op.robot.number as usize) else { return };
        if op.answer.offer.is_some() {
            driver.read = Some(op.done);
            for update in std::mem::take(&mut driver.held) {
                hand_on(&Record::Recalled(Rc::new(update.into_op(op.robot, &self.nodes))));
            }
        } else if op.kind() == OpKind::DriverGoOffline && op.outcome == Outcome::Ok {
            // It has gone home, and most never come back.
            driver.held = VecDeque::new();
        }
    }

    /// Hands on the counts of windows that were over at `now`.
    fn close(&mut self, now: Time, hand_on: &mut impl FnMut(&Record)) {
        if self.open.iter().all(|count| now < count.from + WINDOW) {
            return;
        }
        let mut over: Vec<_> = Vec::new();
        self.open.retain_mut(|count| {
            let ends = now >= count.from + WINDOW;
            if ends {
                over.push(std::mem::replace(count, PingCount::new(Time::ZERO, false)));
            }
            !ends
        });
        over.sort_by_key(|count| (count.from, count.load));
        for count in over {
            hand_on(&Record::Pings(Box::new(count)));
        }
    }

    fn hold(&mut self, op: &Op, hand_on: &mut impl FnMut(&Record)) {
        let (Some(at), Some(attempt)) = (op.ask.at, op.attempts.first()) else { return };
        let node = attempt.node.as_ref().map_or(usize::MAX, |node| self.number_of(node));
        let update = Held {
            id: op.id,
            planned: op.planned,
            sent: op.sent,
            done: op.done,
            at,
            seq: op.ask.seq.unwrap_or(0),
            node,
            status: attempt.status.unwrap_or(0),
        };
        let number = op.robot.number as usize;
        if self.drivers.len() <= number {
            self.drivers.resize_with(number + 1, Driver::default);
        }
        let driver = &mut self.drivers[number];
        if driver.read.is_some_and(|read| op.sent <= read) {
            // It was under way when the offer was read, and may be what the offer was made from.
            return hand_on(&Record::Recalled(Rc::new(update.into_op(op.robot, &self.nodes))));
        }
        let held = &mut driver.held;
        // One that is older than what may matter stays: it tells where the driver was before.
        let old = op.sent.saturating_sub(self.keep);
        while held.get(1).is_some_and(|next| next.done < old) || held.len() >= HELD_MAX {
            held.pop_front();
        }
        held.push_back(update);
    }

    fn number_of(&mut self, node: &NodeName) -> usize {
        self.nodes.iter().position(|known| known == node).unwrap_or_else(|| {
            self.nodes.push(node.clone());
            self.nodes.len() - 1
        })
    }
}

impl Held {
    fn into_op(self, robot: RobotId, nodes: &[NodeName]) -> Op {
        let attempt = Attempt {
            sent: self.sent,
            done: self.done,
            outcome: Outcome::Ok,
            node: nodes.get(self.node).cloned(),
            status: (self.status > 0).then_some(self.status),
            error: None,
        };
        let ask = Ask { at: Some(self.at), seq: Some(self.seq), ..Ask::new(OpKind::DriverPing) };
        Op {
            id: self.id,
            robot,
            ask,
            planned: self.planned,
            sent: self.sent,
            done: self.done,
            outcome: Outcome::Ok,
            attempts: vec![attempt],
            answer: super::answer::Answer::default(),
        }
    }
}

/// An update of which nothing but its time and place is worth telling.
fn is_plain(op: &Op) -> bool {
    op.kind() == OpKind::DriverPing
        && op.is_load()
        && op.outcome == Outcome::Ok
        && op.attempts.len() == 1
        && op.ask.phone.is_none()
        && op.answer.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::answer::{Answer, OfferView};

    fn ping(number: u64, at_s: u64, outcome: Outcome, offer: Option<&str>) -> Record {
        let at = Time(at_s * 1_000_000_000);
        let done = at + Duration::from_millis(25);
        let offer = offer.map(|id| {
            Rc::new(OfferView {
                id: id.into(),
                job: "j".into(),
                pickup: Place::default(),
                dropoff: None,
                expires_in_ms: 10_000,
                fare_minor: None,
            })
        });
        let attempt =
            Attempt { sent: at, done, outcome, node: None, status: Some(200), error: None };
        Record::Op(Rc::new(Op {
            id: number,
            robot: RobotId::driver(3),
            ask: Ask {
                at: Some(Place { lat_e6: number as i32, lon_e6: 0 }),
                seq: Some(number),
                ..Ask::new(OpKind::DriverPing)
            },
            planned: at,
            sent: at,
            done,
            outcome,
            attempts: vec![attempt],
            answer: Answer { offer, ..Answer::default() },
        }))
    }

    fn thinned(records: &[Record]) -> Vec<Record> {
        let mut thinner = Thinner::new(&Declares::default());
        let mut out = Vec::new();
        for record in records {
            thinner.take(record, &mut |record| out.push(record.clone()));
        }
        out
    }

    fn counted(out: &[Record]) -> Vec<(u64, bool, u64)> {
        out.iter()
            .filter_map(|record| match record {
                Record::Pings(count) => {
                    Some((count.from.0 / 1_000_000_000, count.load, count.count()))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn every_update_is_counted_once_in_its_window_and_phase() {
        let mut records: Vec<_> = (0..15).map(|s| ping(s, s, Outcome::Ok, None)).collect();
        records.push(Record::Phase { phase: Phase::Load, at: Time(15_000_000_000) });
        records.extend((15..40).map(|s| ping(s, s, Outcome::Ok, None)));
        records.push(Record::End(crate::history::record::Ending::default()));
        let out = thinned(&records);
        let wanted = [
            (0, false, 8),
            (8, false, 7),
            (8, true, 1),
            (16, true, 8),
            (24, true, 8),
            (32, true, 8),
        ];
        assert_eq!(counted(&out), wanted);
        let Some(Record::Pings(first)) = out.first() else { panic!("{out:?}") };
        assert_eq!((first.by_second.as_slice(), first.drivers), (&[1; 8][..], 4));
        assert_eq!(first.response_us.0.max(), 25_007, "25 ms, to three digits");
        assert!(matches!(out.last(), Some(Record::End(_))), "nothing comes after the end");
    }

    #[test]
    fn what_tells_something_stays_and_an_offer_brings_the_positions_before_it() {
        let records = [
            ping(1, 1, Outcome::Ok, None),
            ping(2, 8, Outcome::Info, None),
            ping(3, 15, Outcome::Ok, None),
            ping(4, 22, Outcome::Ok, Some("o-1")),
            ping(5, 29, Outcome::Ok, Some("o-1")),
        ];
        let out = thinned(&records);
        let told: Vec<_> = out
            .iter()
            .filter_map(|record| match record {
                Record::Op(op) => Some((op.id, true)),
                Record::Recalled(op) => Some((op.id, false)),
                _ => None,
            })
            .collect();
        assert_eq!(told, [(2, true), (1, false), (3, false), (4, true), (5, true)]);
        let Some(Record::Recalled(first)) = out.iter().find(|r| matches!(r, Record::Recalled(_)))
        else {
            panic!("{out:?}")
        };
        let Record::Op(sent) = &records[0] else { unreachable!() };
        assert_eq!(first, sent, "told as it was");
    }

    #[test]
    fn one_position_older_than_what_may_matter_is_kept() {
        let mut records: Vec<_> = (0..40).map(|n| ping(n, n * 10, Outcome::Ok, None)).collect();
        records.push(ping(40, 400, Outcome::Ok, Some("o-1")));
        let out = thinned(&records);
        let recalled: Vec<u64> = out
            .iter()
            .filter_map(|record| match record {
                Record::Recalled(op) => Some(op.id),
                _ => None,
            })
            .collect();
        // 30 s of a position's life, 15 s of an offer's and a minute of slack before 390 s, and one
        // more.
        assert_eq!(recalled, (28..40).collect::<Vec<_>>());
    }

    #[test]
    fn an_update_that_was_under_way_when_an_offer_was_read_is_told_too() {
        let mut late = ping(1, 1, Outcome::Ok, None);
        let Record::Op(op) = &mut late else { unreachable!() };
        Rc::make_mut(op).done = Time(9_000_000_000);
        let early = ping(0, 0, Outcome::Ok, None);
        let out = thinned(&[early, ping(2, 7, Outcome::Ok, Some("o-1")), late.clone()]);
        let Record::Op(sent) = late else { unreachable!() };
        let told = |record: &Record| matches!(record, Record::Recalled(op) if op.id == sent.id);
        assert!(out.iter().any(told), "{out:?}");
    }

    #[test]
    fn a_window_ends_though_no_update_is_plain_any_more() {
        let failing = (10..20).map(|s| ping(s, s, Outcome::Info, None));
        let records: Vec<_> =
            std::iter::once(ping(1, 1, Outcome::Ok, None)).chain(failing).collect();
        assert_eq!(counted(&thinned(&records)), [(0, false, 1)], "before the end of the run");
    }
}
