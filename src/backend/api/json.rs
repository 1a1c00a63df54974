//! Bodies of requests and answers. Ids are text: they do not fit a JSON number. Places are degrees.

use serde::{Deserialize, Serialize};

use super::reply::Refused;
use crate::{
    backend::{
        core::job::moves::word,
        wire::{self, Charge, Job, Pending},
    },
    base::{id::as_text, place::Place},
};

/// A place in degrees, or a part of a larger body.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    /// Latitude.
    pub lat: f64,
    /// Longitude.
    pub lon: f64,
}

impl Spot {
    /// The place, if there is one on the Earth.
    pub fn place(self) -> Result<wire::Place, Refused> {
        let known = self.lat.abs() <= 90.0 && self.lon.abs() <= 180.0;
        if !known {
            return Err(Refused::invalid("no such place on the Earth: lat -90..90, lon -180..180"));
        }
        let place = Place::from_degrees(self.lat, self.lon);
        Ok(wire::Place { lat_e6: place.lat_e6, lon_e6: place.lon_e6 })
    }
}

impl From<wire::Place> for Spot {
    fn from(place: wire::Place) -> Self {
        Self { lat: f64::from(place.lat_e6) / 1e6, lon: f64::from(place.lon_e6) / 1e6 }
    }
}

/// `register` and `login`.
#[derive(Debug, Deserialize)]
pub struct CredentialsBody {
    /// Phone number: the name of an account.
    pub phone: String,
    /// Secret.
    pub secret: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Of a new account: whose it is, where it is not ours.
    #[serde(default)]
    pub tenant: String,
}

/// `driver/ping`.
#[derive(Debug, Deserialize)]
pub struct PingBody {
    /// Latitude.
    pub lat: f64,
    /// Longitude.
    pub lon: f64,
    /// The driver's own count of its pings, from 1.
    #[serde(default)]
    pub seq: u64,
}

/// The body of a ping as nearly every app writes it, `{"lat":53.349800,"lon":-6.260310,"seq":7}` with
/// six decimals: read without a detour. Any other body is for [`PingBody`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlainPing {
    /// The place; it is one on the Earth.
    pub at: wire::Place,
    /// The driver's own count of its pings.
    pub seq: u64,
}

impl PlainPing {
    /// The ping, if it is written just so.
    pub fn read(body: &[u8]) -> Option<Self> {
        let (lat_e6, rest) = plain_degrees(body.strip_prefix(b"{\"lat\":")?, 90)?;
        let (lon_e6, rest) = plain_degrees(rest.strip_prefix(b",\"lon\":")?, 180)?;
        let (seq, rest) = plain_whole(rest.strip_prefix(b",\"seq\":")?)?;
        (rest == b"}").then_some(Self { at: wire::Place { lat_e6, lon_e6 }, seq })
    }
}

/// Degrees with exactly six decimals, in micro-degrees, and what stands behind them.
fn plain_degrees(text: &[u8], max: u64) -> Option<(i32, &[u8])> {
    let (text, sign) = text.strip_prefix(b"-").map_or((text, 1), |rest| (rest, -1));
    let (whole, rest) = plain_whole(text)?;
    let (decimals, rest) = rest.strip_prefix(b".")?.split_first_chunk::<6>()?;
    // A seventh decimal would have to be rounded, and an exponent to be minded.
    let ends = matches!(rest, [b',' | b'}', ..]);
    if whole > max || !ends || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let e6 = whole * 1_000_000 + number(decimals);
    (e6 <= max * 1_000_000).then_some((sign * e6 as i32, rest))
}

/// A whole number of at most 18 digits as JSON writes it, and what stands behind it.
fn plain_whole(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let zero_ahead = count > 1 && digits[0] == b'0';
    (1..=18).contains(&count).then_some((number(digits), rest)).filter(|_| !zero_ahead)
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

/// What names an offer.
#[derive(Debug, Deserialize)]
pub struct OfferBody {
    /// The job.
    #[serde(with = "as_text")]
    pub job: u64,
    /// The offer.
    #[serde(with = "as_text")]
    pub offer: u64,
}

/// What names a job, with what some paths take besides.
#[derive(Debug, Deserialize)]
pub struct JobBody {
    /// The job.
    #[serde(with = "as_text")]
    pub job: u64,
    /// The numbered assignment; any when left out.
    #[serde(default)]
    pub assignment: u32,
    /// The idempotency key (pay).
    #[serde(default)]
    pub key: String,
    /// Stars (rate).
    #[serde(default)]
    pub stars: u32,
}

/// `customer/quote` and `customer/request`.
#[derive(Debug, Deserialize)]
pub struct JourneyBody {
    /// From here.
    pub from: Spot,
    /// To there.
    pub to: Spot,
    /// The idempotency key (request).
    #[serde(default)]
    pub key: String,
}

/// A page of an audit.
#[derive(Debug, Deserialize)]
pub struct PageBody {
    /// `next` of the page before.
    #[serde(default)]
    pub after: String,
    /// Entries at most.
    #[serde(default = "page_limit")]
    pub limit: u32,
}

fn page_limit() -> u32 {
    200
}

/// An account.
#[derive(Debug, Serialize)]
pub struct AccountAnswer {
    /// Its id.
    #[serde(with = "as_text")]
    pub account: u64,
    /// The account was there already.
    pub replayed: bool,
}

/// A session.
#[derive(Debug, Serialize)]
pub struct SessionAnswer {
    /// The account.
    #[serde(with = "as_text")]
    pub account: u64,
    /// The bearer token.
    pub token: String,
    /// Its life.
    pub expires_in_ms: u64,
}

/// One assignment, for audits.
#[derive(Debug, Serialize)]
pub struct AssignmentJson {
    number: u32,
    #[serde(with = "as_text")]
    driver: u64,
    released: bool,
}

/// A job.
#[derive(Debug, Serialize)]
pub struct JobJson {
    #[serde(with = "as_text")]
    id: u64,
    state: &'static str,
    assignment: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    #[serde(with = "as_text")]
    passenger: u64,
    pickup: Option<Spot>,
    dropoff: Option<Spot>,
    quoted_minor: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fare_minor: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assignments: Vec<AssignmentJson>,
}

impl JobJson {
    /// As its passenger sees it.
    pub fn of(job: &Job) -> Self {
        let newest = job.assignments.last();
        let holder = newest.filter(|assignment| !assignment.released);
        Self {
            id: job.id,
            state: word(job.state()),
            assignment: newest.map_or(0, |assignment| assignment.number),
            driver: holder.map(|assignment| assignment.driver.to_string()),
            passenger: job.passenger,
            pickup: job.pickup.map(Spot::from),
            dropoff: job.dropoff.map(Spot::from),
            quoted_minor: job.quoted_minor,
            fare_minor: job.fare_minor,
            assignments: Vec::new(),
        }
    }

    /// Planted: its id on its way through a float, which has no room for all of its digits.
    pub fn with_id_as_float(&mut self) {
        self.id = self.id as f32 as u64;
    }

    /// As a driver sees it: its own assignment, where it has one.
    pub fn of_driver(job: &Job, driver: u64) -> Self {
        let mine = job.assignments.iter().rev().find(|a| a.driver == driver);
        let mut seen = Self::of(job);
        if let Some(mine) = mine {
            seen.assignment = mine.number;
            if !mine.released {
                seen.driver = Some(driver.to_string());
            }
        }
        seen
    }

    /// As an auditor sees it: with every assignment.
    pub fn of_audit(job: &Job) -> Self {
        let all = job.assignments.iter().map(|a| AssignmentJson {
            number: a.number,
            driver: a.driver,
            released: a.released,
        });
        Self { assignments: all.collect(), ..Self::of(job) }
    }
}

/// An answer with a job, or without one.
#[derive(Debug, Serialize)]
pub struct JobAnswerJson {
    /// The job.
    pub job: Option<JobJson>,
    /// It had been done before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// An offer, as a driver sees it.
#[derive(Debug, Serialize)]
pub struct OfferJson {
    #[serde(with = "as_text")]
    id: u64,
    #[serde(with = "as_text")]
    job: u64,
    pickup: Option<Spot>,
    dropoff: Option<Spot>,
    expires_in_ms: u64,
    fare_minor: i64,
}

impl OfferJson {
    /// What is pending for a driver, as of now.
    pub fn of(pending: &Pending, wall_ms: u64) -> Self {
        Self {
            id: pending.offer,
            job: pending.job,
            pickup: pending.pickup.map(Spot::from),
            dropoff: pending.dropoff.map(Spot::from),
            expires_in_ms: pending.expires_ms.saturating_sub(wall_ms),
            fare_minor: pending.fare_minor,
        }
    }
}

impl Spot {
    /// Planted: latitude and longitude change places.
    fn swapped(self) -> Self {
        Self { lat: self.lon, lon: self.lat }
    }
}

impl OfferJson {
    /// Planted: the places of the offer with latitude and longitude swapped.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self {
            pickup: self.pickup.map(Spot::swapped),
            dropoff: self.dropoff.map(Spot::swapped),
            ..self
        }
    }
}

/// An answer with an offer, or without one.
#[derive(Debug, Serialize)]
pub struct OfferAnswerJson {
    /// The offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferJson>,
}

/// A free driver.
#[derive(Debug, Serialize)]
pub struct NearJson {
    /// Its account.
    #[serde(with = "as_text")]
    pub driver: u64,
    /// Where it is.
    pub at: Option<Spot>,
    /// Seconds to the passenger.
    pub eta_s: u32,
}

/// A kind of car.
#[derive(Debug, Serialize)]
pub struct ServiceJson {
    /// Its name.
    pub name: String,
    /// Flag fall in minor units.
    pub base_minor: i64,
    /// The least that a journey costs.
    pub minimum_minor: i64,
}

/// Free drivers, and what may be booked.
#[derive(Debug, Serialize)]
pub struct NearAnswerJson {
    /// The nearest first.
    pub drivers: Vec<NearJson>,
    /// Kinds of cars.
    pub services: Vec<ServiceJson>,
    /// What is switched on for the account.
    pub features: Vec<String>,
    /// The version of the experiments: variants that an app knows hold until it changes.
    #[serde(with = "as_text")]
    pub experiments: u64,
}

/// What a journey would cost and take.
#[derive(Debug, Serialize)]
pub struct QuoteJson {
    /// Minor units.
    pub fare_minor: i64,
    /// Seconds on the road.
    pub trip_s: u32,
    /// Seconds until a car is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u32>,
}

/// Money taken.
#[derive(Debug, Serialize)]
pub struct ChargeJson {
    #[serde(with = "as_text")]
    id: u64,
    #[serde(with = "as_text")]
    job: u64,
    amount_minor: i64,
    fee: bool,
}

impl ChargeJson {
    /// A charge.
    pub fn of(charge: &Charge) -> Self {
        Self { id: charge.id, job: charge.job, amount_minor: charge.amount_minor, fee: charge.fee }
    }
}

/// The charge of a payment.
#[derive(Debug, Serialize)]
pub struct PaidJson {
    /// The charge.
    pub charge: Option<ChargeJson>,
    /// The key was seen before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// A page of jobs.
#[derive(Debug, Serialize)]
pub struct JobsJson {
    /// Jobs, by id.
    pub jobs: Vec<JobJson>,
    /// Where it goes on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// A page of charges.
#[derive(Debug, Serialize)]
pub struct ChargesJson {
    /// Charges, by job.
    pub charges: Vec<ChargeJson>,
    /// Where it goes on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// Something that is wrong with a live job.
#[derive(Debug, Serialize)]
pub struct IssueJson {
    rule: String,
    #[serde(with = "as_text")]
    job: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    open_ms: u64,
}

impl From<wire::Issue> for IssueJson {
    fn from(issue: wire::Issue) -> Self {
        let driver = (issue.driver != 0).then(|| issue.driver.to_string());
        Self { rule: issue.rule, job: issue.job, driver, open_ms: issue.open_ms }
    }
}

/// What is wrong now.
#[derive(Debug, Serialize)]
pub struct IssuesJson {
    /// By job.
    pub issues: Vec<IssueJson>,
    /// Live jobs that are watched.
    pub watched: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_micro_degree_survives_the_way_through_json() {
        for lat_e6 in (-90_000_000..=90_000_000).step_by(999_983) {
            let place = wire::Place { lat_e6, lon_e6: lat_e6 * 2 };
            let text = serde_json::to_string(&Spot::from(place)).unwrap();
            let back: Spot = serde_json::from_str(&text).unwrap();
            assert_eq!(back.place().unwrap(), place, "{text}");
        }
    }

    #[test]
    fn a_plain_ping_says_the_same_as_its_json_and_an_odd_one_is_not_plain() {
        let ping = |lat: &str, lon: &str, seq: &str| {
            let text = format!("{{\"lat\":{lat},\"lon\":{lon},\"seq\":{seq}}}");
            (PlainPing::read(text.as_bytes()), text)
        };
        for lat_e6 in (-90_000_000_i32..=90_000_000).step_by(999_979) {
            let degrees = |e6: i32| {
                let (whole, part) = (e6.unsigned_abs() / 1_000_000, e6.unsigned_abs() % 1_000_000);
                format!("{}{whole}.{part:06}", if e6 < 0 { "-" } else { "" })
            };
            let (plain, text) = ping(&degrees(lat_e6), &degrees(lat_e6 * 2), "18");
            let body: PingBody = serde_json::from_str(&text).unwrap();
            let at = Spot { lat: body.lat, lon: body.lon }.place().unwrap();
            assert_eq!(plain, Some(PlainPing { at, seq: body.seq }), "{text}");
        }
        let good = "3.000000";
        for odd in ["3", "3.0", "3.0000001", "3.000000e1", "03.000000", "90.000001", "-", ".000000"]
        {
            assert_eq!(ping(odd, good, "1").0, None, "{odd}");
        }
        for odd in ["01", "-1", "1.0", "", "1234567890123456789"] {
            assert_eq!(ping(good, good, odd).0, None, "{odd}");
        }
        assert_eq!(PlainPing::read(b"{\"lat\":3.000000,\"lon\":3.000000}"), None);
    }

    #[test]
    fn odd_bodies_are_refused() {
        for odd in ["{}", r#"{"lat":"1","lon":2}"#, r#"{"lat":NaN,"lon":2}"#, "[", "null"] {
            assert!(serde_json::from_str::<PingBody>(odd).is_err(), "{odd}");
        }
        for odd in [r#"{"job":7}"#, r#"{"job":"x"}"#, r#"{"job":"-1"}"#, r#"{"job":"1.5"}"#] {
            assert!(serde_json::from_str::<JobBody>(odd).is_err(), "{odd}");
        }
        assert!(Spot { lat: 90.1, lon: 0.0 }.place().is_err());
        assert!(Spot { lat: f64::NAN, lon: 0.0 }.place().is_err());
    }
}
