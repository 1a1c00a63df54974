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
        if !self.open.last().is_some_and(same) {
            match self.open.iter().position(same) {
                Some(index) => {
                    let last = self.open.len() - 1;
                    self.open.swap(index, last);
                }
                None => {
                    self.close(from, hand_on);
                    self.open.push(PingCount::new(from, load));
                }
            }
        }
        if let Some(count) = self.open.last_mut() {
            count.add(op);
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
