//! What an answer means: rules of the mapping first, then the status, and unknown in doubt.

use serde_json::Value;

use super::{
    grammar::{Rules, Status, When},
    pick::Pick,
    read::Wrong,
    scope::{Answered, Scope},
    template::Test,
};
use crate::history::answer::Refusal;

/// An answer before it is judged.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    /// HTTP status; 0 where there is none.
    pub status: u16,
    /// The body as it came.
    pub text: bytes::Bytes,
    /// The body as JSON; `null` when it is none.
    pub body: Value,
    /// The routing key or the event's name.
    pub key: String,
}

impl Raw {
    /// What is wrong with a body that something is to be read out of; `None` where it was read, or
    /// there is none.
    pub fn garbled(&self) -> Option<&'static str> {
        let said = self.text.trim_ascii();
        (self.body.is_null() && !said.is_empty() && said != b"null")
            .then_some("its body cannot be decoded")
    }

    /// True when nothing came but a status.
    pub fn is_empty(&self) -> bool {
        self.body.is_null() && self.text.trim_ascii().is_empty()
    }
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// It happened.
    Ok,
    /// It happened, and what was asked for is not there: no job, no offer, an empty list.
    Nothing,
    /// The token is of no use any more.
    Expired,
    /// It certainly did not happen.
    Refused(Refusal),
    /// It certainly did not happen, and may the next time.
    Undone,
    /// Nobody knows.
    Unknown,
}

/// Rules, compiled.
#[derive(Debug, Default)]
pub struct Judge {
    expired: Condition,
    none: Option<Condition>,
    refused: Vec<(Refusal, Condition)>,
    undone: Option<Condition>,
    ok: Option<Condition>,
    error: Option<Pick>,
}

/// A test of an answer.
#[derive(Debug, Default)]
pub struct Condition {
    status: Vec<Range>,
    text: Option<String>,
    empty: bool,
    holds: Option<Test>,
}

/// Statuses from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range(u16, u16);

/// Compiles what stands at a key, and notes the names of its expressions.
pub type Names = Vec<(String, String)>;

impl Condition {
    /// Compiles it.
    pub fn compile(when: &When, key: &str, names: &mut Names) -> Result<Self, Wrong> {
        if *when == When::default() {
            let why = "says nothing: give one of status, text, empty, if".to_owned();
            return Err((key.to_owned(), why));
        }
        let status = when
            .status
            .iter()
            .enumerate()
            .map(|(n, status)| range(status).map_err(|why| (format!("{key}.status[{n}]"), why)))
            .collect::<Result<_, _>>()?;
        let holds = match &when.holds {
            Some(source) => {
                let key = format!("{key}.if");
                let test = Test::compile(source).map_err(|why| (key.clone(), why))?;
                names.extend(test.names().into_iter().map(|name| (key.clone(), name)));
                Some(test)
            }
            None => None,
        };
        Ok(Self { status, text: when.text.clone(), empty: when.empty, holds })
    }

    /// Whether every part holds.
    fn holds(&self, scope: &Scope<'_>, raw: &Raw) -> bool {
        let status = self.status.is_empty()
            || self.status.iter().any(|range| (range.0..=range.1).contains(&raw.status));
        status
            && self.text.as_ref().is_none_or(|text| holds_text(&raw.text, text))
            && (!self.empty || raw.is_empty())
            && self.holds.as_ref().is_none_or(|test| test.holds(&answered(scope, raw)))
    }
}

fn holds_text(body: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(body).contains(text)
}

/// The scope with the answer in it.
pub fn answered<'a>(scope: &Scope<'a>, raw: &'a Raw) -> Scope<'a> {
    let answer = Answered { status: raw.status, body: &raw.body, key: &raw.key };
    Scope { answer: Some(answer), ..*scope }
}

fn range(status: &Status) -> Result<Range, String> {
    match status {
        Status::Code(code @ 100..=599) => Ok(Range(*code, *code)),
        Status::Class(class) => match class.as_bytes() {
            [digit @ b'1'..=b'5', b'x', b'x'] => {
                let first = u16::from(digit - b'0') * 100;
                Ok(Range(first, first + 99))
            }
            _ => Err(format!("`{class}` is no status: write 409, or \"5xx\" for all of a hundred")),
        },
        Status::Code(code) => Err(format!("{code} is no status: they go from 100 to 599")),
    }
}

impl Judge {
    /// Compiles the rules of a step over those of the whole file.
    pub fn compile(
        own: &Rules,
        own_key: &str,
        common: &Rules,
        expired: Option<&When>,
        names: &mut Names,
    ) -> Result<Self, Wrong> {
        let mut refused = Vec::new();
        for (rules, key) in [(own, own_key), (common, "answer")] {
            for (refusal, when) in &rules.refused {
                let key = format!("{key}.refused.{}", word(*refusal));
                refused.push((*refusal, Condition::compile(when, &key, names)?));
            }
        }
        let (undone, at) = first(own.undone.as_ref(), common.undone.as_ref(), own_key);
        let undone = undone
            .map(|when| Condition::compile(when, &format!("{at}.undone"), names))
            .transpose()?;
        let (ok, at) = first(own.ok.as_ref(), common.ok.as_ref(), own_key);
        let ok = ok.map(|when| Condition::compile(when, &format!("{at}.ok"), names)).transpose()?;
        let (error, at) = first(own.error.as_ref(), common.error.as_ref(), own_key);
        let error = match error {
            Some(path) => {
                let (pick, key) = (super::grammar::Pick::Path(path.clone()), format!("{at}.error"));
                Some(Pick::compile(&pick, &key).map_err(|why| (key, why))?)
            }
            None => None,
        };
        let expired = match expired {
            Some(when) => Condition::compile(when, "auth.expired", names)?,
            None => Condition { status: vec![Range(401, 401)], ..Condition::default() },
        };
        Ok(Self { expired, none: None, refused, undone, ok, error })
    }

    /// The same, with what it means that there is nothing. Where no status is given, it is one that
    /// says that all went well.
    pub fn or_none(self, when: Option<&When>, key: &str, names: &mut Names) -> Result<Self, Wrong> {
        let Some(when) = when else { return Ok(self) };
        let mut none = Condition::compile(when, &format!("{key}.none"), names)?;
        if none.status.is_empty() {
            none.status = vec![Range(0, 0), Range(200, 299)];
        }
        Ok(Self { none: Some(none), ..self })
    }

    /// What the answer means; `open` is one without a token, which cannot expire.
    pub fn meaning(&self, scope: &Scope<'_>, raw: &Raw, open: bool) -> Meaning {
        if !open && self.expired.holds(scope, raw) {
            return Meaning::Expired;
        }
        // The step's own word, that no rule of the whole file gainsays.
        if self.none.as_ref().is_some_and(|when| when.holds(scope, raw)) {
            return Meaning::Nothing;
        }
        if let Some((refusal, _)) = self.refused.iter().find(|(_, when)| when.holds(scope, raw)) {
            return Meaning::Refused(*refusal);
        }
        if self.undone.as_ref().is_some_and(|when| when.holds(scope, raw)) {
            return Meaning::Undone;
        }
        match &self.ok {
            Some(when) if when.holds(scope, raw) => Meaning::Ok,
            None if matches!(raw.status, 0 | 200..=299) => Meaning::Ok,
            _ => by_status(raw.status),
        }
    }

    /// The backend's words on what went wrong.
    pub fn words(&self, scope: &Scope<'_>, raw: &Raw) -> String {
        let said = self.error.as_ref().and_then(|pick| {
            let scope = answered(scope, raw);
            pick.text(&scope, &raw.body).ok().flatten()
        });
        said.unwrap_or_else(|| {
            String::from_utf8_lossy(&raw.text[..raw.text.len().min(200)]).into_owned()
        })
    }
}

/// The step's own, or that of the file, and where it stands.
fn first<'a, T>(
    own: Option<&'a T>,
    common: Option<&'a T>,
    key: &'a str,
) -> (Option<&'a T>, &'a str) {
    match own {
        Some(own) => (Some(own), key),
        None => (common, "answer"),
    }
}

/// What a status means where no rule says so. (The reading of RFC 9110: 4xx say that the request was
/// not carried out, but for those that speak of its way here, or of another time.)
fn by_status(status: u16) -> Meaning {
    match status {
        // Not all of it came; it came too early; we hung up, and what was done by then stays done.
        408 | 425 | 499 => Meaning::Unknown,
        401 => Meaning::Refused(Refusal::Unauthenticated),
        403 => Meaning::Refused(Refusal::Forbidden),
        404 | 410 => Meaning::Refused(Refusal::NotFound),
        409 => Meaning::Refused(Refusal::Conflict),
        400 | 413 | 415 | 422 => Meaning::Refused(Refusal::Invalid),
        429 => Meaning::Refused(Refusal::Limited),
        400..=499 => Meaning::Refused(Refusal::Other),
        _ => Meaning::Unknown,
    }
}

/// The word of a refusal in files.
pub fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unauthenticated => "unauthenticated",
        Refusal::Forbidden => "forbidden",
        Refusal::NotFound => "not_found",
        Refusal::Conflict => "conflict",
        Refusal::Invalid => "invalid",
        Refusal::Limited => "limited",
        Refusal::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        base::id::RobotId,
        target::mapped::{scope::RunFacts, session::Fields},
    };

    fn meaning(rules: &str, status: u16, body: &Value) -> Meaning {
        let rules: Rules = toml::from_str(rules).unwrap();
        let expired = When {
            status: vec![Status::Code(500)],
            text: Some("SESSION".into()),
            ..When::default()
        };
        let judge = Judge::compile(&rules, "x", &Rules::default(), Some(&expired), &mut Vec::new());
        let (run, me) = (RunFacts::default(), Fields::default());
        let robot = RobotId::driver(1);
        let scope = Scope::bare(&run, robot, &me);
        let raw =
            Raw { status, text: body.to_string().into(), body: body.clone(), key: String::new() };
        judge.unwrap().meaning(&scope, &raw, false)
    }

    #[test]
    fn rules_come_before_the_status() {
        let envelope = "ok = { if = 'body.success' }\n\
             refused.conflict = { status = ['2xx'], if = \"body.error.code == 'TAKEN'\" }";
        let failed = |code: &str| json!({"success": false, "error": {"code": code}});
        assert_eq!(meaning(envelope, 200, &json!({"success": true})), Meaning::Ok);
        let taken = meaning(envelope, 200, &failed("TAKEN"));
        assert_eq!(taken, Meaning::Refused(Refusal::Conflict));
        // Nobody said what this means.
        assert_eq!(meaning(envelope, 200, &failed("ODD")), Meaning::Unknown);
        assert_eq!(meaning(envelope, 500, &failed("SESSION_EXPIRED")), Meaning::Expired);
        assert_eq!(meaning(envelope, 500, &failed("OOPS")), Meaning::Unknown);
        assert_eq!(meaning(envelope, 404, &json!({})), Meaning::Refused(Refusal::NotFound));
    }

    #[test]
    fn without_rules_the_status_speaks() {
        for (status, wanted) in [
            (200, Meaning::Ok),
            (204, Meaning::Ok),
            (302, Meaning::Unknown),
            (402, Meaning::Refused(Refusal::Other)),
            (408, Meaning::Unknown),
            (412, Meaning::Refused(Refusal::Other)),
            (423, Meaning::Refused(Refusal::Other)),
            (425, Meaning::Unknown),
            (451, Meaning::Refused(Refusal::Other)),
            (499, Meaning::Unknown),
            (409, Meaning::Refused(Refusal::Conflict)),
            (429, Meaning::Refused(Refusal::Limited)),
            (502, Meaning::Unknown),
        ] {
            assert_eq!(meaning("", status, &json!({})), wanted, "{status}");
        }
    }
}
