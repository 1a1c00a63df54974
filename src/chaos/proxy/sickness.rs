//! What is wrong with one connection: the rules of its link, with what was drawn for it.
//!
//! A draw depends on the link's stream, the connection's number, the rule's name, and the request's
//! number where it is one of a request: it is the same however often it is looked at.

use std::{rc::Rc, time::Duration};

use tokio::time::Instant;

use super::impairment::Impairment;
use crate::{
    base::rng::Rng,
    chaos::provider::{Answer, Per, Toxic, Toxicity, Way},
};

/// One thing that is wrong with a link.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Tells its draws from all others'.
    pub name: String,
    /// Since when it holds.
    pub since: Instant,
    pub toxic: Toxic,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all they had to say, or are told so.
    Closed,
    /// One side, or a toxic, tore it down: both sides are to see that.
    Torn,
}

/// From the dialler, and to it.
const WAYS: [Way; 2] = [Way::Upstream, Way::Downstream];

/// What is wrong with one connection.
pub(super) struct Sickness {
    rules: Rc<[Rule]>,
    rng: Rng,
    opened: Instant,
    requests: u64,
    /// When the last one began.
    request_at: Instant,
    /// The request that was under way when the rules came: they meet those after it.
    last_before: u64,
    ways: [Impairment; 2],
    /// Some rule is drawn for each request.
    pub tells_requests: bool,
    /// When the connection is ended, and how.
    pub ends: Option<(Instant, End)>,
    /// What becomes of the look-up of where it leads; for a connection that is not made yet.
    names: Vec<Answer>,
}

impl Sickness {
    /// Of a connection that opens now, with draws of its own.
    pub fn new(rng: Rng) -> Self {
        Self {
            rules: Rc::new([]),
            rng,
            opened: Instant::now(),
            requests: 0,
            request_at: Instant::now(),
            last_before: 0,
            ways: Default::default(),
            tells_requests: false,
            ends: None,
            names: Vec::new(),
        }
    }

    /// From now on these rules hold.
    pub fn take(&mut self, rules: Rc<[Rule]>) {
        (self.rules, self.last_before) = (rules, self.requests);
        self.look();
    }

    /// Whether these are the rules that hold.
    pub fn obeys(&self, rules: &Rc<[Rule]>) -> bool {
        Rc::ptr_eq(&self.rules, rules)
    }

    /// Another request begins.
    pub fn next_request(&mut self) {
        (self.requests, self.request_at) = (self.requests + 1, Instant::now());
        self.look();
    }

    /// How the connection is over, once it is.
    pub fn ended(&self) -> Option<End> {
        self.ends.filter(|(at, _)| *at <= Instant::now()).map(|(_, how)| how)
    }

    pub fn way(&self, number: usize) -> &Impairment {
        &self.ways[number]
    }

    /// Not even a new connection gets through: that takes a word in each direction, and
    /// somebody to say it to.
    pub fn lets_nobody_in(&self) -> bool {
        self.ways.iter().any(|way| way.black_hole)
            || self.ways.iter().all(Impairment::lets_nothing_out)
            || self.leads_astray()
    }

    /// A new connection is led to where nobody is.
    pub fn leads_astray(&self) -> bool {
        self.names.contains(&Answer::Wrong)
    }

    /// Nobody knows where a new connection leads.
    pub fn knows_no_way(&self) -> bool {
        self.names.contains(&Answer::Gone)
    }

    /// When it is known where a new connection leads.
    pub fn knows_the_way_at(&self) -> Instant {
        let delays = self.names.iter().map(|answer| match answer {
            Answer::Slow { delay_ms } => Duration::from_millis(*delay_ms),
            Answer::Gone | Answer::Wrong => Duration::ZERO,
        });
        self.opened + delays.sum::<Duration>()
    }

    fn look(&mut self) {
        (self.ways, self.ends, self.tells_requests, self.names) = Default::default();
        for rule in self.rules.clone().iter() {
            self.add(&rule.toxic, [true, true], (&rule.name, rule.since.max(self.opened)));
        }
    }

    /// One toxic of a rule, on these ways, in force on this connection since then.
    fn add(&mut self, toxic: &Toxic, on: [bool; 2], (rule, since): (&str, Instant)) {
        match toxic {
            Toxic::Partly { way, toxicity, of } => {
                let one = |n: usize| on[n] && way.is_none_or(|way| way == WAYS[n]);
                let on = [one(0), one(1)];
                if toxicity.is_none_or(|toxicity| self.is_met(toxicity, rule)) {
                    let anew = toxicity.is_some_and(|toxicity| toxicity.per == Per::Request);
                    let since = if anew { self.request_at } else { since };
                    for toxic in of {
                        self.add(toxic, on, (rule, since));
                    }
                }
                return;
            }
            Toxic::Names { answer } => {
                self.names.push(*answer);
                return;
            }
            Toxic::Reset { after_ms } => self.end(since, *after_ms, End::Torn),
            Toxic::Timeout { close_ms } if *close_ms > 0 => {
                self.end(since, *close_ms, End::Closed);
            }
            _ => {}
        }
        for (way, _) in self.ways.iter_mut().zip(on).filter(|(_, on)| *on) {
            way.add(toxic);
        }
    }

    /// The connection ends once the rule has held for so long on it.
    fn end(&mut self, since: Instant, after_ms: u64, how: End) {
        let at = since + Duration::from_millis(after_ms);
        if self.ends.is_none_or(|(known, _)| at < known) {
            self.ends = Some((at, how));
        }
    }

    fn is_met(&mut self, toxicity: Toxicity, rule: &str) -> bool {
        let mut rng = match toxicity.per {
            Per::Connection => self.rng.fork(rule),
            Per::Request => {
                self.tells_requests = true;
                if self.requests <= self.last_before {
                    return false;
                }
                self.rng.fork(&format!("{rule}/request/{}", self.requests))
            }
        };
        rng.chance(toxicity.share)
    }
}
