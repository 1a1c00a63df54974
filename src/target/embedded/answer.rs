//! Answers to outcomes: what a status means, and what is read out of a body.

use std::rc::Rc;

use serde::Deserialize;

use crate::{
    base::{id::Id, place::Place},
    history::{
        answer::{
            Answer, Assignment, ChargeView, IssueView, JobState, JobView, NearDriver, OfferView,
            Quote, Refusal,
        },
        op::{OpKind, Outcome},
    },
};

/// What an attempt came to.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Ok, certainly not, or unknown.
    pub outcome: Outcome,
    /// What was read.
    pub answer: Answer,
    /// A new token.
    pub token: Option<String>,
    /// A new session, for those who keep one.
    pub session: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// The token has expired.
    pub expired: bool,
    /// Another attempt may go better.
    pub retry: bool,
    /// Another instance may do better.
    pub instance_failed: bool,
}

impl Judged {
    fn new(outcome: Outcome, answer: Answer) -> Self {
        Self {
            outcome,
            answer,
            token: None,
            session: None,
            error: None,
            expired: false,
            retry: false,
            instance_failed: false,
        }
    }

    /// No connection: the server saw nothing.
    pub fn not_sent(why: String) -> Self {
        let error = Some(why);
        let failed = Self::new(Outcome::Fail, Answer::default());
        Self { error, retry: true, instance_failed: true, ..failed }
    }

    /// The server may have seen it.
    pub fn unknown(why: String) -> Self {
        let error = Some(why);
        let unknown = Self::new(Outcome::Info, Answer::default());
        Self { error, retry: true, instance_failed: true, ..unknown }
    }

    fn refused(refusal: Refusal, why: String) -> Self {
        let answer = Answer { refusal: Some(refusal), ..Answer::default() };
        Self { error: Some(why), ..Self::new(Outcome::Fail, answer) }
    }
}

/// What an answer with that status and body means.
pub fn judge(op: OpKind, status: u16, body: &[u8]) -> Judged {
    match status {
        200..=299 => accepted(op, body),
        401 => {
            let login = matches!(op, OpKind::DriverLogin | OpKind::PassengerLogin);
            Judged { expired: !login, ..Judged::refused(Refusal::Unauthenticated, why(body)) }
        }
        403 => Judged::refused(Refusal::Forbidden, why(body)),
        404 | 410 => Judged::refused(Refusal::NotFound, why(body)),
        409 => Judged::refused(Refusal::Conflict, why(body)),
        400 | 413 | 422 => Judged::refused(Refusal::Invalid, why(body)),
        429 => Judged { retry: true, ..Judged::refused(Refusal::Limited, why(body)) },
        405 => Judged::refused(Refusal::Other, why(body)),
        503 if certainly_not(body) => Judged::not_sent(why(body)),
        _ => Judged::unknown(format!("{status}: {}", why(body))),
    }
}

fn accepted(op: OpKind, body: &[u8]) -> Judged {
    if body == b"{}" && !Body::default().lacks(op) {
        return Judged::new(Outcome::Ok, Answer::default());
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) if body.lacks(op) => {
            let unread = Judged::unknown(format!("the answer to {op} lacks what it is about"));
            Judged { retry: false, ..unread }
        }
        Ok(body) => {
            let (token, session) = (body.token.clone(), body.session.clone());
            Judged { token, session, ..Judged::new(Outcome::Ok, body.answer(op)) }
        }
        // It was done, but what came of it cannot be read: nobody can go on from here.
        Err(error) => {
            let unread = Judged::unknown(format!("unreadable answer: {error}"));
            Judged { retry: false, ..unread }
        }
    }
}

/// What a message of a stream tells a robot; `None` where it only says that the stream lives, or
/// cannot be read.
pub fn pushed(message: &[u8]) -> Option<Answer> {
    let body: Body = serde_json::from_slice(message).ok()?;
    let tells = body.offer.is_some() || body.job.is_some();
    // An op that reads nothing of its own into it.
    tells.then(|| body.answer(OpKind::DriverNextOffer))
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorPart,
}

#[derive(Deserialize)]
struct ErrorPart {
    #[serde(default)]
    message: String,
    #[serde(default)]
    happened: String,
}

fn why(body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error.message,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
    }
}

fn certainly_not(body: &[u8]) -> bool {
    serde_json::from_slice::<ErrorBody>(body).is_ok_and(|body| body.error.happened == "no")
}

/// Everything that any answer of the API may hold.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    account: Option<Id>,
    token: Option<String>,
    session: Option<String>,
    job: Option<JobBody>,
    jobs: Vec<JobBody>,
    offer: Option<OfferBody>,
    drivers: Vec<NearBody>,
    fare_minor: Option<i64>,
    trip_s: u32,
    eta_s: Option<u32>,
    charge: Option<ChargeView>,
    charges: Vec<ChargeView>,
    issues: Vec<IssueView>,
    next: Option<Id>,
    replayed: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Spot {
    lat: f64,
    lon: f64,
}

#[derive(Debug, Deserialize)]
struct JobBody {
    id: Id,
    state: JobState,
    #[serde(default)]
    assignment: u32,
    driver: Option<Id>,
    passenger: Option<Id>,
    pickup: Option<Spot>,
    dropoff: Option<Spot>,
    fare_minor: Option<i64>,
    #[serde(default)]
    assignments: Vec<Assignment>,
}

#[derive(Debug, Deserialize)]
struct OfferBody {
    id: Id,
    job: Id,
    pickup: Spot,
    dropoff: Option<Spot>,
    expires_in_ms: u64,
    fare_minor: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct NearBody {
    driver: Id,
    at: Spot,
    eta_s: u32,
}

impl Body {
    /// True when the very thing that the op is about is missing.
    fn lacks(&self, op: OpKind) -> bool {
        match op {
            OpKind::PassengerRequestJob => self.job.is_none(),
            OpKind::DriverLogin | OpKind::PassengerLogin => self.token.is_none(),
            _ => false,
        }
    }

    fn answer(self, op: OpKind) -> Answer {
        let quote = match (op, self.fare_minor) {
            (OpKind::PassengerQuote, Some(fare_minor)) => {
                Some(Quote { fare_minor, trip_s: self.trip_s, eta_s: self.eta_s })
            }
            _ => None,
        };
        Answer {
            account: self.account,
            job: self.job.map(|job| Rc::new(job.into())),
            jobs: self.jobs.into_iter().map(JobView::from).collect(),
            offer: self.offer.map(|offer| Rc::new(offer.into())),
            drivers: self.drivers.into_iter().map(NearDriver::from).collect(),
            quote,
            charges: self.charge.into_iter().chain(self.charges).collect(),
            issues: self.issues,
            next: self.next,
            refusal: None,
            retry_after_ms: None,
            replayed: self.replayed,
        }
    }
}

impl From<Spot> for Place {
    fn from(spot: Spot) -> Self {
        Self::from_degrees(spot.lat, spot.lon)
    }
}

impl From<JobBody> for JobView {
    fn from(body: JobBody) -> Self {
        Self {
            id: body.id,
            state: body.state,
            assignment: body.assignment,
            driver: body.driver,
            passenger: body.passenger,
            key: None,
            pickup: body.pickup.map(Place::from),
            dropoff: body.dropoff.map(Place::from),
            fare_minor: body.fare_minor,
            assignments: body.assignments,
        }
    }
}

impl From<OfferBody> for OfferView {
    fn from(body: OfferBody) -> Self {
        Self {
            id: body.id,
            job: body.job,
            pickup: body.pickup.into(),
            dropoff: body.dropoff.map(Place::from),
            expires_in_ms: body.expires_in_ms,
            fare_minor: body.fare_minor,
        }
    }
}

impl From<NearBody> for NearDriver {
    fn from(body: NearBody) -> Self {
        Self { driver: body.driver, at: body.at.into(), eta_s: body.eta_s }
    }
}
