//! What a walk prints: each step with what went over the wire, and what is wrong in words a person
//! can act on. Asks nothing of the target.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
};

use crate::{
    engine::target::{Told, Tried},
    history::{
        answer::{Answer, Refusal},
        op::{OpKind, Outcome},
    },
    target::mapped::Exchange,
};

/// The most characters of an answer that are shown.
const BODY_CHARS_MAX: usize = 2_000;

/// What was seen so far.
#[derive(Default)]
pub struct Page {
    /// Since the last step was printed.
    exchanges: RefCell<Vec<Exchange>>,
    told: RefCell<VecDeque<Told>>,
    problems: RefCell<Vec<String>>,
    notes: RefCell<Vec<String>>,
    /// What picks read (`read.job.fare`): the keys, and whether one of them ever found something.
    picks: RefCell<BTreeMap<String, Found>>,
    /// The last answer of an op that is asked over and over.
    last: RefCell<BTreeMap<OpKind, (String, u32)>>,
    /// Steps that went well.
    walked: Cell<u32>,
}

#[derive(Debug, Default)]
struct Found {
    keys: Vec<String>,
    ever: bool,
}

impl Page {
    /// An exchange is over.
    pub fn saw(&self, exchange: Exchange) {
        for (key, found) in &exchange.picks {
            let name = ["read.", "keep.", "keep_job."]
                .iter()
                .find_map(|word| key.find(&format!(".{word}")).map(|at| &key[at + 1..]));
            let mut picks = self.picks.borrow_mut();
            let seen = picks.entry(name.unwrap_or(key).to_owned()).or_default();
            seen.ever |= found;
            if !seen.keys.contains(key) {
                seen.keys.push(key.clone());
            }
        }
        self.exchanges.borrow_mut().push(exchange);
    }

    /// Whether what was sent since the last step holds that text.
    pub fn sent_holds(&self, text: &str) -> bool {
        self.exchanges.borrow().iter().any(|exchange| exchange.sent.contains(text))
    }

    /// A robot was told something unasked.
    pub fn told(&self, told: Told) {
        let by = if told.synthetic { "relayed by the simulator" } else { "told by the backend" };
        println!("\n<< {} is {by}: {}", told.robot, json(&told.answer));
        self.told.borrow_mut().push_back(told);
    }

    /// The next thing that a robot was told, once.
    pub fn next_told(&self) -> Option<Told> {
        self.told.borrow_mut().pop_front()
    }

    /// Something that has to be put right.
    pub fn problem(&self, what: String) {
        println!("   !! {what}");
        self.problems.borrow_mut().push(what);
    }

    /// Something worth a look.
    pub fn note(&self, what: String) {
        println!("   -- {what}");
        self.notes.borrow_mut().push(what);
    }

    /// A step that the mapping does not have.
    pub fn skipped(op: OpKind) {
        println!("\n{op}: not mapped, skipped");
    }

    /// One that is asked over and over: shown when it tells something new.
    pub fn polled(&self, op: OpKind, tried: &Tried) {
        let news = format!("{:?} {}", tried.outcome, json(&tried.answer));
        let mut last = self.last.borrow_mut();
        let (before, times) = last.entry(op).or_default();
        *times += 1;
        if *before == news && tried.outcome == Outcome::Ok {
            self.exchanges.borrow_mut().clear();
            return;
        }
        *before = news;
        self.step(op, tried, true);
    }

    /// The step as it went; `expected` is a failure that a walk goes on after.
    pub fn step(&self, op: OpKind, tried: &Tried, expected: bool) {
        println!("\n{op}");
        let exchanges = std::mem::take(&mut *self.exchanges.borrow_mut());
        for exchange in &exchanges {
            show(exchange);
        }
        let status = tried.status.map(|status| format!(" ({status})")).unwrap_or_default();
        match tried.outcome {
            Outcome::Ok => {
                println!("   ok{status}: {}", json(&tried.answer));
                self.walked.set(self.walked.get() + 1);
                self.lacking(op, &exchanges);
            }
            Outcome::Fail | Outcome::Info => {
                let why = wrong(op, tried);
                if expected {
                    self.note(why);
                } else {
                    self.problem(why);
                }
            }
        }
    }

    /// What the answer was taken for, and lacks.
    fn lacking(&self, op: OpKind, exchanges: &[Exchange]) {
        let needed = ["read.account", "read.quote.fare", "read.drivers.driver", "read.charges.id"];
        let optional = [OpKind::DriverCurrentJob, OpKind::PassengerCurrentJob];
        for (key, found) in exchanges.iter().flat_map(|exchange| &exchange.picks) {
            let name = key.split_once(op.word()).map_or("", |(_, rest)| rest.trim_matches('.'));
            let job = matches!(name, "read.job.id" | "read.job.state") && !optional.contains(&op);
            let kept = name.starts_with("keep.");
            if !found && (job || kept || needed.contains(&name)) {
                self.note(format!(
                    "`{key}` matched nothing in this answer: compare it with `came`"
                ));
            }
        }
    }

    /// The end: false when something has to be put right.
    pub fn sum_up(&self) -> bool {
        let picks = self.picks.borrow();
        let never: Vec<_> = picks.values().filter(|found| !found.ever).collect();
        if !never.is_empty() {
            println!("\nnever matched (right if the backend does not say it in one journey):");
            for found in never {
                println!("   {}", found.keys.join(", "));
            }
        }
        let problems = self.problems.borrow();
        if problems.is_empty() {
            println!("\nthe walk went well: {} steps", self.walked.get());
        } else {
            println!("\nto put right:");
            problems.iter().for_each(|problem| println!("   {problem}"));
        }
        problems.is_empty()
    }
}

fn show(exchange: &Exchange) {
    println!("   [{}]", exchange.key);
    block("sent", &exchange.sent);
    match (&exchange.received, exchange.status) {
        (Some(text), Some(status)) => block(&format!("came {status}"), &cut(text)),
        (Some(text), None) => block("came", &cut(text)),
        (None, _) => println!("   came: nothing"),
    }
}

fn block(name: &str, text: &str) {
    let mut lines = text.lines();
    println!("   {name}: {}", lines.next().unwrap_or_default());
    lines.for_each(|line| println!("      {line}"));
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(BODY_CHARS_MAX) {
        Some((at, _)) => format!("{}… ({} bytes in all)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

fn json(answer: &Answer) -> String {
    if answer.is_empty() {
        return "nothing is read out of it".to_owned();
    }
    serde_json::to_string(answer).unwrap_or_default()
}

/// What is wrong, and what to do.
fn wrong(op: OpKind, tried: &Tried) -> String {
    let said = tried.error.as_deref().unwrap_or("no reason was given");
    let status = tried.status.map(|status| format!(" with status {status}")).unwrap_or_default();
    if tried.expired {
        return format!(
            "{op}: the token was taken for expired{status}: {said}. Look at `auth.expired`, at what \
             the login keeps as `token`, and at `auth.headers`"
        );
    }
    if said.starts_with("unreadable answer") {
        return format!("{op}: {said}. Change what that key picks, or its `as`, or `[state]`");
    }
    match (tried.outcome, tried.answer.refusal) {
        (_, Some(Refusal::NotFound)) => {
            format!("{op}: there is no such thing{status}: {said}. Is the path right?")
        }
        (_, Some(Refusal::Unauthenticated)) => format!(
            "{op}: it wants to know who asks{status}: {said}. Look at `auth.headers` and at what the \
             login keeps"
        ),
        (_, Some(Refusal::Invalid)) => {
            format!(
                "{op}: it does not like what was sent{status}: {said}. Compare `sent` with its API"
            )
        }
        (_, Some(Refusal::Limited)) => {
            format!("{op}: too many requests{status}: {said}. Robots wait when it says Retry-After")
        }
        (Outcome::Fail, Some(_)) => format!("{op}: refused{status}: {said}"),
        (Outcome::Fail, None) => format!("{op}: not done{status}: {said}"),
        _ => format!(
            "{op}: nobody knows whether it was done{status}: {said}. Say in `ok`, `refused` or `undone` \
             what such an answer means"
        ),
    }
}
