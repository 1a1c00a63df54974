//! What the templates of a mapping speak of: whether a step goes out with the robot's token, and
//! which requests carry its idempotency key. Looks at names alone.

use std::collections::BTreeMap;

use super::{
    grammar,
    judge::Names,
    step::{Step, Way},
};
use crate::history::op::OpKind;

/// Keys of a step that hold what is sent.
const SENT: &[&str] = &[
    "get", "post", "put", "patch", "delete", "send", "emit", "publish", "call", "command",
    "headers", "query", "json", "form",
];
/// Keys of a link that hold what a socket is opened with.
const OPENED: &[&str] = &["url", "headers", "hello", "auth"];
/// Ops that carry a key, where the mapping says so.
const KEYED: &[OpKind] = &[OpKind::PassengerRequestJob, OpKind::PassengerPay];

/// True when a template below `key`, in one of these parts, speaks of `wanted` (`me.token`), or of
/// all that its root holds.
fn speaks(names: &Names, key: &str, parts: &[&str], wanted: &str) -> bool {
    let root = wanted.split('.').next().unwrap_or(wanted);
    let within = |at: &str| {
        let rest = at.strip_prefix(key).and_then(|rest| rest.strip_prefix('.'));
        let part = rest.map(|rest| rest.split(['.', '[']).next().unwrap_or(rest));
        part.is_some_and(|part| parts.contains(&part))
    };
    names.iter().any(|(at, name)| (name == wanted || name == root) && within(at))
}

/// Marks a step, and those that come before it, that a robot without a token cannot send; `links`
/// are the names of the links.
pub fn mark(step: &mut Step, links: &[&str], names: &Names) {
    const TOKEN: &str = "me.token";
    let auth = speaks(names, "auth", &["headers", "query"], TOKEN);
    step.and_firsts(&mut |step| {
        let link = step.way.link().and_then(|place| links.get(place));
        let of_link =
            link.is_some_and(|link| speaks(names, &format!("link.{link}"), OPENED, TOKEN));
        // Nothing else has headers to put it in.
        let auth = auth && matches!(step.way, Way::Http { .. } | Way::Publish { .. });
        step.needs_token = !step.open && (auth || of_link || speaks(names, &step.key, SENT, TOKEN));
    });
}

/// Whether an accept says which offer it takes. What comes before it, and what is read, prove nothing.
pub fn names_offers(names: &Names) -> bool {
    speaks(names, OpKind::DriverAccept.word(), SENT, "ask.offer")
}

/// The ops whose requests do not carry the robot's key.
pub fn keyless(steps: &[Option<Step>], names: &Names) -> Vec<OpKind> {
    let carries = |step: &Step| {
        let own = std::iter::once(step).chain(&step.first);
        own.into_iter().any(|step| speaks(names, &step.key, SENT, "ask.key"))
    };
    let lacks = |op: &OpKind| steps[op.index()].as_ref().is_some_and(|step| !carries(step));
    KEYED.iter().copied().filter(lacks).collect()
}

/// Whether anything that is received gives a robot its token.
pub fn keeps_token(mapping: &grammar::Mapping) -> bool {
    fn keeps(step: &grammar::Step) -> bool {
        step.keep.contains_key(super::TOKEN) || step.first.iter().any(keeps)
    }
    let tables =
        [&mapping.driver, &mapping.passenger, &mapping.audit, &mapping.setup, &mapping.cleanup];
    let mut steps = tables.into_iter().flat_map(BTreeMap::values);
    steps.any(keeps)
        || mapping.auth.refresh.as_deref().is_some_and(keeps)
        || mapping.link.values().any(|link| link.keep.contains_key(super::TOKEN))
}
