//! Counts location updates instead of keeping each. One that ended ok and told nothing is counted,
//! with others of its ten seconds, in a [`PingCount`]; whatever tells something stays a record of
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

/// Updates that were planned within this long are counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// Beyond what laws ask for: clocks that are read apart, ops under way.
const SLACK: Duration = Duration::from_secs(5);
/// Updates of one driver that are held back at most; older ones are only counted.
const HELD_MAX: usize = 64;

/// The state between two records.
pub struct Thinner {
    /// How long an update may still matter to an offer.
    keep: Duration,
    held: Vec<VecDeque<Held>>,
    nodes: Vec<NodeName>,
    open: Vec<PingCount>,
    load: (Option<Time>, Option<Time>),
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
        Self { keep, held: vec![], nodes: vec![], open: vec![], load: (None, None) }
    }

    /// Takes a record of the run, and hands on what is to be seen of it.
    pub fn take(&mut self, record: &Record, hand_on: &mut impl FnMut(&Record)) {
        match record {
            Record::Op(op) if is_plain(op) => return self.count(op, hand_on),
            Record::Op(op) if op.robot.kind == RobotKind::Driver && op.answer.offer.is_some() => {
                self.recall(op.robot, hand_on);
            }
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
            self.close(from, hand_on);
            let mut fresh = PingCount::new(from, load);
            fresh.add(op);
            self.open.push(fresh);
        }
        self.hold(op);
    }

    /// Hands on the counts of windows that were over at `now`.
    fn close(&mut self, now: Time, hand_on: &mut impl FnMut(&Record)) {
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

    fn hold(&mut self, op: &Op) {
        let (Some(at), Some(attempt)) = (op.ask.at, op.attempts.first()) else { return };
        let node = attempt.node.as_ref().map_or(usize::MAX, |node| self.number_of(node));
        let driver = op.robot.number as usize;
        if self.held.len() <= driver {
            self.held.resize_with(driver + 1, VecDeque::new);
        }
        let held = &mut self.held[driver];
        // One that is older than what may matter stays: it tells where the driver was before.
        let old = op.sent.saturating_sub(self.keep);
        while held.get(1).is_some_and(|next| next.done < old) || held.len() >= HELD_MAX {
            held.pop_front();
        }
        held.push_back(Held {
            id: op.id,
            planned: op.planned,
            sent: op.sent,
            done: op.done,
            at,
            seq: op.ask.seq.unwrap_or(0),
            node,
            status: attempt.status.unwrap_or(0),
        });
    }

    fn number_of(&mut self, node: &NodeName) -> usize {
        self.nodes.iter().position(|known| known == node).unwrap_or_else(|| {
            self.nodes.push(node.clone());
            self.nodes.len() - 1
        })
    }

    /// Hands on what is held of a driver.
    fn recall(&mut self, robot: RobotId, hand_on: &mut impl FnMut(&Record)) {
        let Some(held) = self.held.get_mut(robot.number as usize) else { return };
        for update in std::mem::take(held) {
            let op = update.into_op(robot, &self.nodes);
            hand_on(&Record::Recalled(Rc::new(op)));
        }
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
        && op.outcome == Outcome::Ok
        && op.attempts.len() == 1
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
        let wanted =
            [(0, false, 10), (10, false, 5), (10, true, 5), (20, true, 10), (30, true, 10)];
        assert_eq!(counted(&out), wanted);
        let Some(Record::Pings(first)) = out.first() else { panic!("{out:?}") };
        assert_eq!((first.by_second.as_slice(), first.drivers), (&[1; 10][..], 4));
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
        // 30 s of a position's life, 15 s of an offer's and 5 s of slack before 390 s, and one more.
        assert_eq!(recalled, (33..40).collect::<Vec<_>>());
    }
}
