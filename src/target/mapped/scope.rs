//! What a template or a test may speak of, and how it is looked up. The names of the grammar's
//! `{{ … }}`: `me`, `ask`, `job`, `at`, `to`, `batch`, `run`, `var`, `env`, `secret`, and of an answer
//! `status`, `body`, `key`.

use std::{borrow::Cow, collections::BTreeMap};

use minijinja::{Value, value::Serde};

use super::{batch::Parcel, session::Fields};
use crate::{
    base::{
        id::{RobotId, RobotKind},
        place::Place,
        time::{Time, Wall},
    },
    history::op::Ask,
    target::app::App,
};

/// What is the same for a whole run.
#[derive(Debug, Default)]
pub struct RunFacts {
    /// The run's id.
    pub id: String,
    /// The seed, as given.
    pub seed: String,
    /// `[var]`, made.
    pub vars: BTreeMap<String, String>,
    /// `[secret]`, read. Never printed: see [`super::secret::Secrets`].
    pub secrets: super::secret::Secrets,
}

/// What is at hand when something is sent.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The run.
    pub run: &'a RunFacts,
    /// The robot.
    pub robot: RobotId,
    /// What is known of it.
    pub me: &'a Fields,
    /// What it asks.
    pub ask: Option<&'a Ask>,
    /// What is known of the job.
    pub job: Option<&'a Fields>,
    /// Location updates that go out together.
    pub batch: Option<&'a Parcel>,
    /// When it was asked, by the wall clock; zero where nobody asks.
    pub wall: Wall,
    /// What came back.
    pub answer: Option<Answered<'a>>,
    /// By when the attempt ends.
    pub deadline: Time,
}

/// What came back.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// HTTP status; 0 where there is none.
    pub status: u16,
    /// The body: JSON, or `null`.
    pub body: &'a serde_json::Value,
    /// The routing key or the event's name.
    pub key: &'a str,
}

/// A name that is looked up without a detour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `me.number`.
    Number,
    /// `me.kind`.
    Kind,
    /// `me.x`.
    Me(String),
    /// `job.x`; `job.id` is the job that is asked about.
    Job(String),
    /// `run.id`.
    Run,
    /// `run.seed`.
    Seed,
    /// `var.x`.
    Var(String),
    /// `secret.x`.
    Secret(String),
    /// `at.lat`, `at.lon`, `to.lat`, `to.lon`: degrees.
    Degrees(Which, Axis),
    /// `ask.x`.
    Ask(AskPart),
}

/// The places of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Where it is.
    At,
    /// Where it goes.
    To,
}

/// The axes of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// North.
    Lat,
    /// East.
    Lon,
}

/// The other parts of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskPart {
    /// `ask.key`.
    Key,
    /// `ask.offer`.
    Offer,
    /// `ask.reason`.
    Reason,
    /// `ask.assignment`.
    Assignment,
    /// `ask.seq`.
    Seq,
    /// `ask.stars`.
    Stars,
    /// `ask.op`.
    Op,
    /// `ask.wall_ms`.
    WallMs,
    /// `ask.phone`.
    Phone,
}

/// The parts of an ask, by their words.
pub const ASK_PARTS: &[(&str, AskPart)] = &[
    ("key", AskPart::Key),
    ("offer", AskPart::Offer),
    ("reason", AskPart::Reason),
    ("assignment", AskPart::Assignment),
    ("seq", AskPart::Seq),
    ("stars", AskPart::Stars),
    ("op", AskPart::Op),
    ("wall_ms", AskPart::WallMs),
    ("phone", AskPart::Phone),
];

/// A value that was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Whole(u64),
    /// Micro-degrees, shown as degrees.
    Degrees(i32),
    /// It is not there.
    Nothing,
}

impl Name {
    /// The name of a dotted path, if it is one.
    pub fn parse(path: &str) -> Option<Self> {
        let (root, rest) = path.split_once('.')?;
        if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return None;
        }
        let axis = match rest {
            "lat" => Some(Axis::Lat),
            "lon" => Some(Axis::Lon),
            _ => None,
        };
        match (root, rest) {
            ("me", "number") => Some(Self::Number),
            ("me", "kind") => Some(Self::Kind),
            ("me", _) => Some(Self::Me(rest.to_owned())),
            ("job", _) => Some(Self::Job(rest.to_owned())),
            ("run", "id") => Some(Self::Run),
            ("run", "seed") => Some(Self::Seed),
            ("var", _) => Some(Self::Var(rest.to_owned())),
            ("secret", _) => Some(Self::Secret(rest.to_owned())),
            ("at", _) => axis.map(|axis| Self::Degrees(Which::At, axis)),
            ("to", _) => axis.map(|axis| Self::Degrees(Which::To, axis)),
            ("ask", _) => {
                ASK_PARTS.iter().find(|(word, _)| *word == rest).map(|(_, part)| Self::Ask(*part))
            }
            _ => None,
        }
    }
}

/// The numbers of rogues, as templates see them, begin here: no load has so many drivers.
const ROGUES_FROM: u64 = 1_000_000;

/// Who has a number has it alone among those of the kind that it plays.
fn number(robot: RobotId) -> u64 {
    let from = if robot.kind == RobotKind::Rogue { ROGUES_FROM } else { 0 };
    from + u64::from(robot.number)
}

impl<'a> Scope<'a> {
    /// Of a robot that asks nothing yet.
    pub fn bare(run: &'a RunFacts, robot: RobotId, me: &'a Fields) -> Self {
        let (wall, deadline) = (Wall(0), Time::ZERO);
        Self { run, robot, me, ask: None, job: None, batch: None, wall, answer: None, deadline }
    }

    /// On which phone it is asked.
    pub fn app(&self) -> App {
        self.ask.map_or_else(|| self.robot.into(), |ask| App::of(self.robot, ask))
    }

    /// Looks a name up.
    pub fn find(&self, name: &Name) -> Found<'a> {
        match name {
            Name::Number => Found::Whole(number(self.robot)),
            Name::Kind => Found::Text(self.robot.plays().word().into()),
            Name::Me(name) => text(self.me.get(name)),
            Name::Job(name) => text(self.job_field(name)),
            Name::Run => text(Some(&self.run.id)),
            Name::Seed => text(Some(&self.run.seed)),
            Name::Var(name) => text(self.run.vars.get(name).map(String::as_str)),
            Name::Secret(name) => text(self.run.secrets.get(name)),
            Name::Degrees(which, axis) => self.degrees(*which, *axis),
            Name::Ask(part) => self.ask_part(*part),
        }
    }

    fn job_field(&self, name: &str) -> Option<&'a str> {
        if name == "id" {
            return self.ask.and_then(|ask| ask.job.as_ref()).map(crate::base::id::Id::as_str);
        }
        self.job.and_then(|job| job.get(name))
    }

    fn degrees(&self, which: Which, axis: Axis) -> Found<'a> {
        let place = self.ask.and_then(|ask| match which {
            Which::At => ask.at,
            Which::To => ask.to,
        });
        place.map_or(Found::Nothing, |place: Place| {
            Found::Degrees(match axis {
                Axis::Lat => place.lat_e6,
                Axis::Lon => place.lon_e6,
            })
        })
    }

    fn ask_part(&self, part: AskPart) -> Found<'a> {
        let Some(ask) = self.ask else { return Found::Nothing };
        let whole = |number: Option<u64>| number.map_or(Found::Nothing, Found::Whole);
        match part {
            AskPart::Key => text(ask.key.as_ref().map(crate::base::id::Id::as_str)),
            AskPart::Offer => text(ask.offer.as_ref().map(crate::base::id::Id::as_str)),
            AskPart::Reason => text(ask.reason.as_ref().map(crate::base::id::Id::as_str)),
            AskPart::Assignment => whole(ask.assignment.map(u64::from)),
            AskPart::Seq => whole(ask.seq),
            AskPart::Stars => whole(ask.stars.map(u64::from)),
            AskPart::Op => text(Some(ask.op.word())),
            AskPart::Phone => whole(Some(u64::from(ask.phone.unwrap_or(1)))),
            AskPart::WallMs => whole(Some(self.wall.0).filter(|ms| *ms > 0)),
        }
    }

    /// The value of a root name, for expressions.
    pub fn value(&self, root: &str) -> Value {
        match root {
            "me" => {
                let own = [
                    ("number".to_owned(), Value::from(number(self.robot))),
                    ("kind".to_owned(), Value::from(self.robot.plays().word())),
                ];
                Value::from_pairs(own.into_iter().chain(fields(self.me)))
            }
            "job" => {
                let id = self.job_field("id").map(|id| ("id".to_owned(), Value::from(id)));
                Value::from_pairs(id.into_iter().chain(self.job.into_iter().flat_map(fields)))
            }
            "run" => Value::from_pairs([
                ("id".to_owned(), Value::from(self.run.id.as_str())),
                ("seed".to_owned(), Value::from(self.run.seed.as_str())),
            ]),
            "var" => Value::from_pairs(
                self.run
                    .vars
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::from(value.as_str()))),
            ),
            "secret" => Value::from_pairs(
                self.run.secrets.iter().map(|(name, value)| (name.to_owned(), Value::from(value))),
            ),
            "env" => Value::from_pairs(std::env::vars()),
            "at" => self.ask.and_then(|ask| ask.at).map_or(Value::UNDEFINED, place),
            "to" => self.ask.and_then(|ask| ask.to).map_or(Value::UNDEFINED, place),
            "ask" => Value::from_pairs(ASK_PARTS.iter().filter_map(|(word, part)| {
                Some(((*word).to_owned(), self.ask_part(*part).value()?))
            })),
            "batch" => self.batch.map_or(Value::UNDEFINED, list),
            "status" => self.answer.map_or(Value::UNDEFINED, |answer| answer.status.into()),
            "body" => {
                self.answer.map_or(Value::UNDEFINED, |answer| Value::from(Serde(answer.body)))
            }
            "key" => self.answer.map_or(Value::UNDEFINED, |answer| answer.key.into()),
            // What made things are drawn from: this robot of this run.
            "draw__" => Value::from(format!("{}/{}/{}", self.run.seed, self.run.id, self.robot)),
            _ => Value::UNDEFINED,
        }
    }
}

/// The updates of a parcel, for an expression that makes something else of them.
fn list(parcel: &Parcel) -> Value {
    // What was written as JSON can be read as such.
    let list = serde_json::from_str::<serde_json::Value>(&parcel.json).unwrap_or_default();
    Value::from(Serde(&list))
}

fn place(place: Place) -> Value {
    Value::from_pairs([
        ("lat".to_owned(), Value::from(place.lat())),
        ("lon".to_owned(), Value::from(place.lon())),
    ])
}

fn fields(fields: &Fields) -> impl Iterator<Item = (String, Value)> {
    fields.iter().map(|(name, value)| (name.to_owned(), Value::from(value)))
}

fn text(text: Option<&str>) -> Found<'_> {
    text.map_or(Found::Nothing, |text| Found::Text(text.into()))
}

impl Found<'_> {
    fn value(self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(text.as_ref().into()),
            Self::Whole(number) => Some(number.into()),
            Self::Degrees(e6) => Some((f64::from(e6) / 1e6).into()),
            Self::Nothing => None,
        }
    }

    /// Writes it as text; false when there is nothing.
    pub fn show(&self, to: &mut String) -> bool {
        match self {
            Self::Text(text) => to.push_str(text),
            Self::Whole(number) => show_whole(*number, to),
            Self::Degrees(e6) => show_degrees(*e6, to),
            Self::Nothing => return false,
        }
        true
    }
}

/// Micro-degrees as decimal degrees, to the last digit: no float is printed on the path of a ping.
fn show_degrees(e6: i32, to: &mut String) {
    let mut digits = Digits::default();
    let part = e6.unsigned_abs() % 1_000_000;
    digits.put(part, 6);
    digits.push(b'.');
    digits.put(e6.unsigned_abs() / 1_000_000, 1);
    if e6 < 0 {
        digits.push(b'-');
    }
    digits.show(to);
}

fn show_whole(number: u64, to: &mut String) {
    match u32::try_from(number) {
        Ok(number) => {
            let mut digits = Digits::default();
            digits.put(number, 1);
            digits.show(to);
        }
        Err(_) => to.push_str(&number.to_string()),
    }
}

/// Digits, from the last to the first: a number of 32 bits with a sign and a point has room.
#[derive(Default)]
struct Digits {
    text: [u8; 16],
    count: usize,
}

impl Digits {
    fn push(&mut self, byte: u8) {
        self.count += 1;
        let at = self.text.len() - self.count;
        self.text[at] = byte;
    }

    /// With so many digits at least.
    fn put(&mut self, mut number: u32, least: usize) {
        let before = self.count;
        while number > 0 || self.count - before < least {
            self.push(b'0' + (number % 10) as u8);
            number /= 10;
        }
    }

    fn show(&self, to: &mut String) {
        let digits = &self.text[self.text.len() - self.count..];
        // Digits are text.
        to.push_str(std::str::from_utf8(digits).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_to_the_last_digit() {
        for e6 in [0, 1, -1, 999_999, -53_349_800, 179_000_001, i32::MAX, i32::MIN] {
            let mut text = String::new();
            show_degrees(e6, &mut text);
            let exact = i64::from(e6).unsigned_abs();
            let sign = if e6 < 0 { "-" } else { "" };
            assert_eq!(text, format!("{sign}{}.{:06}", exact / 1_000_000, exact % 1_000_000));
        }
        for number in [0, 7, 10, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let mut text = String::new();
            show_whole(number, &mut text);
            assert_eq!(text, number.to_string());
        }
    }
}
