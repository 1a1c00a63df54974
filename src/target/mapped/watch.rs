//! For who wants to see every exchange as it was: what went out, what came back, and which picks
//! found something in it. Secrets and tokens never leave this room. Nothing here is done while
//! nobody watches.

use std::{cell::RefCell, fmt::Write as _, rc::Rc, sync::LazyLock};

use bytes::Bytes;
use http::{HeaderMap, Request};
use regex::{Captures, Regex};
use serde_json::Value;

use super::{
    Judged, Mapped,
    judge::{Raw, answered},
    pick::{List, Pick},
    scope::Scope,
    session::Fields,
    step::Step,
};
use crate::{base::id::RobotId, history::op::Outcome, target::app::App};

/// What a secret is replaced by.
const HIDDEN: &str = "***";
/// A shorter value would hide half of every text.
const HIDDEN_BYTES_MIN: usize = 4;
/// Parts of names whose values are not shown.
const HIDDEN_NAMES: &[&str] =
    &["token", "password", "passwd", "secret", "authorization", "cookie", "api-key", "admin-key"];

/// `"access_token": "…"` in a JSON text.
static HIDDEN_PAIRS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pair = r#"(?i)("[a-z0-9_-]*(?:token|password|passwd|secret)[a-z0-9_-]*"\s*:\s*)"[^"]*""#;
    Regex::new(pair).ok()
});

/// One exchange, as people may see it.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// The step's key in the file; `push` of what came unasked.
    pub key: String,
    /// Which robot.
    pub robot: Option<RobotId>,
    /// What was sent: a line of method and path, headers, a blank line, the body.
    pub sent: String,
    /// HTTP status; `None` where there is none.
    pub status: Option<u16>,
    /// What came back; `None` when nothing did.
    pub received: Option<String>,
    /// Keys of the picks of an answer that was taken for good, and whether each found something.
    pub picks: Vec<(String, bool)>,
}

/// Who watches.
type Watcher = Rc<dyn Fn(&Exchange)>;

/// Room for one who watches.
#[derive(Default)]
pub struct Watch(RefCell<Option<Watcher>>);

impl Mapped {
    /// Tells `watcher` of every exchange from now on.
    pub fn watched_by(&self, watcher: Rc<dyn Fn(&Exchange)>) {
        self.watch.0.replace(Some(watcher));
    }

    /// Whether anybody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.0.borrow().is_some()
    }

    /// A request as text, if anybody watches.
    pub(super) fn shown(&self, request: &Request<Bytes>) -> Option<String> {
        if !self.is_watched() {
            return None;
        }
        let mut text = format!("{} {}\n", request.method(), request.uri());
        headers(request.headers(), &mut text);
        if !request.body().is_empty() {
            let _ = write!(text, "\n{}", String::from_utf8_lossy(request.body()));
        }
        Some(text)
    }

    /// Shows an exchange that is over.
    pub(super) fn saw(
        &self,
        step: &Step,
        scope: &Scope<'_>,
        sent: &str,
        came: Option<&Raw>,
        judged: &Judged,
    ) {
        let picks = match came {
            Some(raw) if judged.outcome == Outcome::Ok => picks(step, scope, raw),
            _ => Vec::new(),
        };
        let key = step.key.clone();
        self.show(&Exchange { picks, ..self.exchange(scope.app(), key, sent, came) });
    }

    /// Shows what came unasked.
    pub(super) fn overheard(&self, robot: RobotId, raw: &Raw) {
        if self.is_watched() {
            self.show(&self.exchange(robot.into(), "push".to_owned(), "", Some(raw)));
        }
    }

    fn exchange(&self, app: App, key: String, sent: &str, came: Option<&Raw>) -> Exchange {
        // By now it holds what the answer brought, too.
        let me = self.session(app, |session| Rc::clone(&session.fields));
        Exchange {
            key,
            robot: Some(app.robot),
            sent: self.hidden(&me, sent),
            status: came.map(|raw| raw.status).filter(|status| *status != 0),
            received: came.map(|raw| self.hidden(&me, &String::from_utf8_lossy(&raw.text))),
            picks: Vec::new(),
        }
    }

    fn show(&self, exchange: &Exchange) {
        // Cloned: the one who watches may ask for another.
        let watcher = self.watch.0.borrow().clone();
        if let Some(watcher) = watcher {
            watcher(exchange);
        }
    }

    /// The text without secrets and tokens.
    fn hidden(&self, me: &Fields, text: &str) -> String {
        let mut text = self.file.run.secrets.hide(text);
        for (name, value) in me.iter() {
            if is_hidden(name) && value.len() >= HIDDEN_BYTES_MIN {
                text = text.replace(value, HIDDEN);
            }
        }
        match &*HIDDEN_PAIRS {
            Some(pairs) => {
                let hide = |found: &Captures<'_>| format!("{}\"{HIDDEN}\"", &found[1]);
                pairs.replace_all(&text, hide).into_owned()
            }
            None => text,
        }
    }
}

fn is_hidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HIDDEN_NAMES.iter().any(|part| name.contains(part))
}

fn headers(headers: &HeaderMap, text: &mut String) {
    for (name, value) in headers {
        let shown = match value.to_str() {
            _ if value.is_sensitive() || is_hidden(name.as_str()) => HIDDEN,
            Ok(value) => value,
            Err(_) => "(not text)",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {shown}");
    }
}

/// Every pick of a step, and whether it finds something in that answer.
fn picks(step: &Step, scope: &Scope<'_>, raw: &Raw) -> Vec<(String, bool)> {
    let scope = answered(scope, raw);
    let found = |pick: &Pick| pick.value(&scope, &raw.body).is_some();
    let kept = step.keep.iter().chain(&step.keep_job).map(|(_, pick)| pick);
    let mut all: Vec<_> = kept.map(|pick| (pick.key().to_owned(), found(pick))).collect();
    // Where the answer speaks of many updates, what is read is read of each entry.
    let results = step.batch.as_ref().and_then(|gather| gather.results.as_ref());
    let entries = results.map_or_else(|| vec![&raw.body], |results| results.each.all(&raw.body));
    step.reader.each_pick(&mut |each, pick| {
        let finds = |value: &Value| pick.value(&scope, value).is_some();
        let found = entries.iter().any(|entry| each_in(each, entry, finds));
        all.push((pick.key().to_owned(), found));
    });
    all
}

/// Whether it holds for one of the entries within, or for the value itself where there are none.
fn each_in(each: Option<&List>, value: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    match each {
        None => holds(value),
        Some(each) => each.all(value).into_iter().any(holds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_json_are_hidden_whatever_they_are_called() {
        let text = r#"{"access_token": "abc", "expires": 1, "Password":"x", "key": "k-1"}"#;
        let hide = |found: &Captures<'_>| format!("{}\"{HIDDEN}\"", &found[1]);
        let shown = HIDDEN_PAIRS.as_ref().unwrap().replace_all(text, hide);
        assert_eq!(
            shown,
            r#"{"access_token": "***", "expires": 1, "Password":"***", "key": "k-1"}"#
        );
    }

    #[test]
    fn headers_that_let_one_in_are_hidden() {
        let mut map = HeaderMap::new();
        map.insert("authorization", "Bearer abc".parse().unwrap());
        map.insert("x-admin-key", "operator".parse().unwrap());
        map.insert("idempotency-key", "k-1".parse().unwrap());
        let mut text = String::new();
        headers(&map, &mut text);
        assert_eq!(text, "authorization: ***\nx-admin-key: ***\nidempotency-key: k-1\n");
    }
}
