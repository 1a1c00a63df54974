//! The grammar of `targets/*.toml`: what people write, as types. Says nothing about what it means:
//! that is `compiled.rs`.

mod read;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::span::Span,
    history::{
        answer::{JobState, Refusal},
        declares::Declares,
    },
};

pub use read::{
    AssignmentRead, ChargeRead, JobRead, NearRead, OfferRead, Pick, PickMore, PlaceRead, QuoteRead,
    Read, Unit,
};

/// The version of the grammar.
pub const SCHEMA: u32 = 1;

/// Words to a table, in the order of the words.
pub type Words<T> = BTreeMap<String, T>;

/// A mapping file: how to speak to one backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The version of the grammar: 1.
    pub schema: u32,
    /// The backend's name, in reports.
    pub name: String,
    /// What it is, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Where it stands.
    #[serde(default)]
    pub environment: Environment,
    /// Hosts beyond loopback that robots may speak to: names or addresses, without a port.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Hosts beyond loopback that may be called to break something there.
    #[serde(default)]
    pub fault_hosts: Vec<String>,
    /// Whom faults may hit, by a name like `a/api-1`: each has one of the ways to reach it, which
    /// `robot-city list providers` shows.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub victims: Words<toml::Table>,
    /// Links between parts of the backend on which the run's fault proxy stands: `from`, `to`, `listen`,
    /// `upstream`, and perhaps `probe`.
    #[serde(default)]
    #[schemars(with = "Vec<BTreeMap<String, String>>")]
    pub backend_link: Vec<toml::Table>,
    /// The most requests a second of all robots together. Required beyond loopback.
    #[serde(default)]
    pub ceiling_per_second: Option<u32>,
    /// Ways to the backend, by a name of your own.
    pub link: Words<Link>,
    /// Secrets by name: never in a report or a history. Used as `{{ secret.name }}`.
    #[serde(default)]
    pub secret: Words<Secret>,
    /// Values of the whole run: templates, used as `{{ var.name }}`.
    #[serde(default)]
    pub var: Words<String>,
    /// Fields of each robot, made once: templates, used as `{{ me.name }}`.
    #[serde(default)]
    pub robot: Fields,
    /// Accounts that exist already.
    #[serde(default)]
    pub accounts: Option<Accounts>,
    /// How a robot shows who it is.
    #[serde(default)]
    pub auth: Auth,
    /// How answers are judged, unless a step says otherwise.
    #[serde(default)]
    pub answer: Rules,
    /// The backend's words for the states of a job.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<Word>>")]
    pub state: BTreeMap<JobState, Vec<Word>>,
    /// Readings that several steps share, by a name of your own: see `shape` of a step.
    #[serde(default)]
    pub shape: Words<Read>,
    /// How a driver hears of an offer.
    #[serde(default)]
    pub offers: Offers,
    /// What the backend tells unasked.
    #[serde(default)]
    pub push: Vec<Push>,
    /// What it declares about itself, so that laws can judge it; `ops` follow from the steps.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub declares: Declared,
    /// The steps of a driver, by the second word of the operation (`ping`, `accept`).
    #[serde(default)]
    pub driver: Words<Step>,
    /// The steps of a passenger.
    #[serde(default)]
    pub passenger: Words<Step>,
    /// How the run reads back.
    #[serde(default)]
    pub audit: Words<Step>,
    /// What an operator does for a robot.
    #[serde(default)]
    pub setup: Words<Step>,
    /// What puts a robot's account to rest.
    #[serde(default)]
    pub cleanup: Words<Step>,
}

/// Where a backend stands. Faults on `production` need an approval file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// On this machine.
    #[default]
    Local,
    /// A test system.
    Staging,
    /// The real one.
    Production,
}

impl Environment {
    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// One way to the backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where: a template, or several for several instances (robots are spread over them and fail
    /// over). `embedded` is the reference backend, which the run then starts.
    pub url: OneOrMore,
    /// What is spoken there; by the URL's scheme where it is left out.
    #[serde(default)]
    pub speaks: Option<Speaks>,
    /// The certificate authority that its certificate must come from (PEM); the system's otherwise.
    #[serde(default)]
    pub ca: Option<String>,
    /// The certificate that we show (PEM), where the backend wants one.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Its key (PEM).
    #[serde(default)]
    pub key: Option<String>,
    /// Headers of every request, or of the handshake.
    #[serde(default)]
    pub headers: Words<String>,
    /// The first message on a WebSocket, sent as soon as it is open.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub hello: Option<toml::Value>,
    /// The answer to it is there when this holds; the socket is of use from then on.
    #[serde(default)]
    pub welcome_if: Option<String>,
    /// What is kept of that answer, as `me.name`.
    #[serde(default)]
    pub keep: Words<Pick>,
    /// The auth frame of Socket.IO.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub auth: Option<toml::Value>,
    /// The namespace of Socket.IO.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The messages of protobuf bodies: a `.proto` file or a descriptor set.
    #[serde(default)]
    pub proto: Option<String>,
}

/// What is spoken on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    /// HTTP/1.1 (or 2, where TLS agrees on it).
    Http,
    /// HTTP/2 from the first byte.
    Http2,
    /// WebSocket with JSON messages: one socket a robot.
    Websocket,
    /// Socket.IO on a WebSocket: one socket a robot.
    SocketIo,
    /// AMQP 0-9-1: one connection a run.
    Amqp,
}

/// One text, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected text in quotes, or a list of such texts")]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Secret {
    /// In a variable of the environment.
    Env(String),
    /// In a file, without the blanks around it.
    File(String),
}

/// Fields of each robot, by kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// Of drivers.
    pub driver: Words<String>,
    /// Of passengers.
    pub passenger: Words<String>,
    /// Of the auditor.
    pub auditor: Words<String>,
}

/// Accounts that exist already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// A CSV file with a header; its columns are fields of the robot. `role` tells drivers and
    /// passengers apart.
    pub pool: String,
}

/// How a robot shows who it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Headers of every step that is not `open`, as `authorization = "Bearer {{ me.token }}"`.
    pub headers: Words<String>,
    /// Pairs in the query of every step that is not `open`.
    pub query: Words<String>,
    /// What an expired token looks like: the robot logs in anew, and the op is tried once more.
    /// Left out: status 401.
    pub expired: Option<When>,
    /// Tried before a whole login, by a robot that had logged in before.
    pub refresh: Option<Box<Step>>,
}

/// A test of an answer: every part that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The status is one of these: `401` or `"5xx"`.
    pub status: Vec<Status>,
    /// The body holds this text.
    pub text: Option<String>,
    /// There is no body, or one of blanks alone.
    pub empty: bool,
    /// This expression holds: of `status`, `body`, `ask`, `me`, `job`.
    #[serde(rename = "if")]
    pub holds: Option<String>,
}

/// A status, or all of a hundred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status such as 409, or all of a hundred, as \"5xx\"")]
pub enum Status {
    /// One.
    Code(u16),
    /// `"2xx"`.
    Class(String),
}

/// A word of the backend: text or a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a word of the backend: text in quotes, or a whole number")]
pub enum Word {
    /// A number.
    Number(i64),
    /// Text.
    Text(String),
}

/// How an answer is judged. Looked at in this order: expired, refused, undone, ok; what is none of
/// them is judged by its status, and unknown in doubt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// It certainly did not happen, for that reason.
    #[schemars(with = "BTreeMap<String, When>")]
    pub refused: BTreeMap<Refusal, When>,
    /// It certainly did not happen, and may go better the next time.
    pub undone: Option<When>,
    /// It happened. Left out: status 2xx.
    pub ok: Option<When>,
    /// The backend's words on what went wrong, for people.
    pub error: Option<String>,
}

/// How a driver hears of an offer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Offers {
    /// In which way.
    pub how: How,
    /// How often a free driver asks, with `how = "poll"`.
    #[schemars(with = "Option<String>")]
    pub every: Option<Span>,
}

/// The ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It rides in the answer to a ping.
    #[default]
    Ping,
    /// The driver asks for it.
    Poll,
    /// The backend tells it: see `[[push]]`.
    Push,
    /// The passenger sees whom the backend has in mind, and the simulator tells that driver: see
    /// `relay` of a step. Flagged in the report.
    Relay,
}

/// What the backend tells unasked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// On which link.
    pub via: String,
    /// Told to robots of that kind only; left out: to both.
    #[serde(default)]
    pub to: Option<Kind>,
    /// Which messages: an expression of `body` and, on AMQP, `key`.
    #[serde(default, rename = "if")]
    pub holds: Option<String>,
    /// On AMQP: the exchange that is tapped.
    #[serde(default)]
    pub exchange: Option<String>,
    /// On AMQP: binding keys; `#` where they are left out.
    #[serde(default)]
    pub keys: Vec<String>,
    /// On Socket.IO: the name of the event.
    #[serde(default)]
    pub event: Option<String>,
    /// On AMQP: the protobuf message that it is.
    #[serde(default)]
    pub proto: Option<String>,
    /// On AMQP: the account whom it is for. On a socket it is for its owner.
    #[serde(default)]
    pub account: Option<Pick>,
    /// Readings of `[shape]` that hold here too.
    #[serde(default)]
    pub shape: Option<OneOrMore>,
    /// What is read out of it.
    #[serde(default)]
    pub read: Read,
    /// What is kept of the job, as `job.name`.
    #[serde(default)]
    pub keep_job: Words<Pick>,
}

/// Kinds of robots that are told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Drivers.
    Driver,
    /// Passengers.
    Passenger,
}

impl Kind {
    /// The robots of it.
    pub fn robots(self) -> crate::base::id::RobotKind {
        match self {
            Self::Driver => crate::base::id::RobotKind::Driver,
            Self::Passenger => crate::base::id::RobotKind::Passenger,
        }
    }
}

/// Declarations: those of LAWS.md that are given; the rest has the defaults of a target that is not
/// ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Declared(pub toml::Table);

impl Declared {
    /// Over the defaults.
    pub fn over(&self, defaults: &Declares) -> Result<Declares, String> {
        let mut table = toml::Table::try_from(defaults).map_err(|why| why.to_string())?;
        for (key, value) in &self.0 {
            table.insert(key.clone(), value.clone());
        }
        table.try_into().map_err(|why: toml::de::Error| why.message().to_owned())
    }
}

/// One operation: what is sent, and what is read out of the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// On which link; needed where more than one speaks what the step needs.
    pub via: Option<String>,
    /// HTTP GET of that path: a template.
    pub get: Option<String>,
    /// HTTP POST.
    pub post: Option<String>,
    /// HTTP PUT.
    pub put: Option<String>,
    /// HTTP PATCH.
    pub patch: Option<String>,
    /// HTTP DELETE.
    pub delete: Option<String>,
    /// A JSON message on a WebSocket.
    #[schemars(with = "Option<serde_json::Value>")]
    pub send: Option<toml::Value>,
    /// An event on a Socket.IO socket, by name; its payload is `json`.
    pub emit: Option<String>,
    /// A message to an AMQP exchange and key, `"exchange key"`; its body is `json` or `proto`.
    pub publish: Option<String>,
    /// The same, and an answer is awaited.
    pub call: Option<String>,
    /// A command: its rows become the answer, as a list in `body`.
    pub command: Option<Vec<String>>,
    /// How the command prints its rows.
    pub rows: Rows,
    /// No token goes with it.
    pub open: bool,
    /// Headers: templates.
    pub headers: Words<String>,
    /// Pairs of the query: templates.
    pub query: Words<String>,
    /// A JSON body. A text that is one `{{ … }}` keeps its type, and a key whose value is undefined
    /// is left out.
    #[schemars(with = "Option<serde_json::Value>")]
    pub json: Option<toml::Value>,
    /// A form body: templates.
    pub form: Option<Words<String>>,
    /// The protobuf message that `json` is sent as.
    pub proto: Option<String>,
    /// The protobuf message that the answer is.
    pub proto_answer: Option<String>,
    /// On a socket: the answer is the first message for which this holds. Left out: none is
    /// awaited, and nobody knows what became of what was sent (but of a location update).
    pub answer_if: Option<String>,
    /// Of `[driver.ping]`: location updates that go out together, as the list `batch`.
    pub batch: Option<super::batch::grammar::Batch>,
    /// It certainly did not happen, for that reason: looked at before those of `[answer]`.
    #[schemars(with = "BTreeMap<String, When>")]
    pub refused: BTreeMap<Refusal, When>,
    /// It certainly did not happen, and may go better the next time.
    pub undone: Option<When>,
    /// It happened; instead of that of `[answer]`.
    pub ok: Option<When>,
    /// It went well, and there is nothing: no job, no offer, an empty list. Where no `status` is
    /// given, 2xx. Left out: 204 without a body.
    pub none: Option<When>,
    /// The backend's words on what went wrong; instead of those of `[answer]`.
    pub error: Option<String>,
    /// Readings of `[shape]` that hold here too.
    pub shape: Option<OneOrMore>,
    /// What is read out of the answer.
    pub read: Read,
    /// What is kept of it for this robot, as `me.name`.
    pub keep: Words<Pick>,
    /// What is kept of it for the job, as `job.name`.
    pub keep_job: Words<Pick>,
    /// The account of the driver to whom the simulator relays an offer of this job.
    pub relay: Option<Pick>,
    /// Not sent where this holds: it counts as done.
    pub unless: Option<String>,
    /// What is done before it, in order; it is sent when all went well.
    pub first: Vec<Self>,
}

/// How a command prints rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// An array of objects.
    #[default]
    Json,
    /// One object a line.
    JsonLines,
    /// Comma-separated; the first line names the columns.
    Csv,
    /// Separated by tabs; the first line names the columns.
    Tsv,
}
