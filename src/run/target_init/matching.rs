//! Which operation of a document is which of ours, by words: a guess that a person looks over.

use super::openapi::Operation;
use crate::history::op::OpKind;

/// Words for a job.
pub const JOBS: &[&str] =
    &["ride", "job", "booking", "trip", "order", "request", "deliver", "journey", "hail"];
const DRIVERS: &[&str] = &["driver", "courier", "captain", "chauffeur"];
const PASSENGERS: &[&str] = &["passenger", "customer", "rider", "client"];

/// What tells one of ours.
#[derive(Clone, Copy)]
struct Rule {
    op: OpKind,
    methods: &'static [&'static str],
    /// One of them must be there, at the beginning of a word.
    any: &'static [&'static str],
    /// None of them may be.
    not: &'static [&'static str],
    form: Form,
    /// Another of ours may be the same operation of the document.
    shared: bool,
}

/// What its path looks like.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Any,
    /// Ends with a word for jobs.
    Jobs,
    /// Ends with the id of a job.
    Job,
}

const WRITES: &[&str] = &["POST", "PUT", "PATCH"];
const ALL_WRITES: &[&str] = &["POST", "PUT", "PATCH", "DELETE"];
const READS: &[&str] = &["GET", "POST"];

const fn rule(
    op: OpKind,
    methods: &'static [&'static str],
    any: &'static [&'static str],
    not: &'static [&'static str],
) -> Rule {
    Rule { op, methods, any, not, form: Form::Any, shared: false }
}

const fn shared(rule: Rule) -> Rule {
    Rule { shared: true, ..rule }
}

const fn shaped(rule: Rule, form: Form) -> Rule {
    Rule { form, ..rule }
}

/// The surest first: what is taken is not taken again.
const RULES: &[Rule] = &[
    shared(rule(OpKind::DriverRegister, &["POST"], &["register", "registration", "signup"], &[])),
    shared(rule(
        OpKind::PassengerRegister,
        &["POST"],
        &["register", "registration", "signup"],
        &[],
    )),
    shared(rule(
        OpKind::DriverLogin,
        &["POST"],
        &["login", "signin", "session", "token"],
        &["refresh", "logout", "register"],
    )),
    shared(rule(
        OpKind::PassengerLogin,
        &["POST"],
        &["login", "signin", "session", "token"],
        &["refresh", "logout", "register"],
    )),
    rule(OpKind::DriverGoOffline, ALL_WRITES, &["offline"], &[]),
    rule(OpKind::DriverGoOnline, WRITES, &["online", "available", "availability"], &["offline"]),
    rule(OpKind::DriverPing, WRITES, &["location", "position", "ping", "gps"], &["near"]),
    rule(OpKind::DriverDecline, WRITES, &["decline", "reject"], &[]),
    rule(
        OpKind::DriverAccept,
        WRITES,
        &["accept", "confirm", "claim"],
        &["payment", "decline", "reject"],
    ),
    rule(
        OpKind::DriverNextOffer,
        READS,
        &["offer", "proposal", "dispatch"],
        &["accept", "confirm", "decline", "reject"],
    ),
    rule(OpKind::DriverArrive, WRITES, &["arriv"], &[]),
    rule(OpKind::DriverNoShow, WRITES, &["noshow"], &[]),
    rule(OpKind::DriverPickUp, WRITES, &["start", "pick", "begin", "board"], &["noshow"]),
    rule(OpKind::DriverDropOff, WRITES, &["finish", "complete", "drop"], &[]),
    rule(OpKind::PassengerPay, &["POST"], &["pay", "charge"], &["refund"]),
    rule(OpKind::PassengerRate, WRITES, &["rate", "rating", "review"], &[]),
    rule(OpKind::PassengerQuote, READS, &["quote", "estimate", "price"], &[]),
    rule(OpKind::PassengerNearDrivers, READS, &["near"], &[]),
    rule(OpKind::DriverCancel, ALL_WRITES, &["release", "unassign"], &[]),
    rule(OpKind::PassengerCancel, ALL_WRITES, &["cancel"], &[]),
    shaped(rule(OpKind::PassengerCancel, &["DELETE"], &[], &[]), Form::Job),
    shared(rule(
        OpKind::DriverCurrentJob,
        &["GET"],
        &["current", "active"],
        &["passenger", "customer"],
    )),
    shared(rule(OpKind::PassengerCurrentJob, &["GET"], &["current", "active"], &["driver"])),
    shaped(rule(OpKind::PassengerRequestJob, &["POST"], &[], &[]), Form::Jobs),
    shaped(rule(OpKind::PassengerJobStatus, &["GET"], &[], &["admin"]), Form::Job),
    shared(shaped(rule(OpKind::AuditJob, &["GET"], &["admin", "audit"], &[]), Form::Job)),
    shaped(rule(OpKind::AuditJobs, &["GET"], &[], &[]), Form::Jobs),
    rule(OpKind::AuditCharges, &["GET"], &["payment", "charge"], &[]),
];

/// For each of ours the place of the best operation, in the order of the contract.
pub fn choose(operations: &[Operation]) -> Vec<(OpKind, usize)> {
    let mut chosen: Vec<(OpKind, usize)> = Vec::new();
    let mut taken = vec![false; operations.len()];
    for rule in RULES {
        if chosen.iter().any(|(op, _)| *op == rule.op) {
            continue;
        }
        let scores = operations.iter().enumerate().filter(|(at, _)| rule.shared || !taken[*at]);
        let scores = scores.filter_map(|(at, operation)| Some((score(rule, operation)?, at)));
        // Of the same score the first in the document.
        if let Some((_, at)) = scores.max_by_key(|(score, at)| (*score, usize::MAX - at)) {
            taken[at] = true;
            chosen.push((rule.op, at));
        }
    }
    chosen.sort_unstable();
    chosen
}

/// How well it fits; `None` where it does not.
fn score(rule: &Rule, operation: &Operation) -> Option<i32> {
    let has = |word: &&str| operation.words.iter().any(|known| known.starts_with(word));
    let place = rule.methods.iter().position(|method| *method == operation.method)?;
    if !rule.any.is_empty() && !rule.any.iter().any(&has) || rule.not.iter().any(&has) {
        return None;
    }
    let fits = match rule.form {
        Form::Any => true,
        Form::Jobs => last(&operation.path).is_some_and(is_job),
        Form::Job => {
            let mut parts = operation.path.trim_end_matches('/').rsplit('/');
            parts.next().is_some_and(|last| last.starts_with('{'))
                && parts.next().is_some_and(is_job)
        }
    };
    let (ours, theirs) = match rule.op.word().split('.').next() {
        Some("driver") => (DRIVERS, PASSENGERS),
        Some("passenger") => (PASSENGERS, DRIVERS),
        _ => (&["admin", "audit", "operator"][..], &[][..]),
    };
    let own = i32::from(ours.iter().any(&has)) * 4;
    let other = i32::from(theirs.iter().any(has)) * 4;
    // Short paths are the general case, long ones somebody's special one.
    let parts = operation.path.split('/').count() as i32;
    fits.then_some(20 + own - other - parts - place as i32)
}

fn last(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next()
}

/// Whether a part of a path speaks of jobs.
pub fn is_job(part: &str) -> bool {
    let part = part.to_lowercase();
    !part.starts_with('{') && JOBS.iter().any(|word| part.starts_with(word))
}
