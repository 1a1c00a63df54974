//! Asks to requests: path and body of each operation.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    base::{
        id::{Id, RobotId},
        place::Place,
    },
    history::op::{Ask, OpKind},
};

/// Entries of a page of an audit.
pub const PAGE: u32 = 200;

/// A request, but for its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The operation.
    pub op: OpKind,
    /// Where.
    pub path: &'static str,
    /// What.
    pub body: Bytes,
    /// Whether the session's token goes with it.
    pub with_token: bool,
}

/// Who a robot is to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    phone: String,
    secret: String,
    name: String,
}

impl Credentials {
    /// Derived from the run's seed: the same robot of a replay has the same.
    pub fn of(robot: RobotId, seed: &str) -> Self {
        let secret = digest(&format!("{seed}/{robot}"));
        let phone = format!("{}-{:05}", robot.kind.word(), robot.number);
        Self { phone, secret, name: robot.to_string() }
    }

    /// What opens a session of an account of that kind.
    pub fn session(&self, kind: &str) -> Value {
        json!({ "kind": kind, "phone": self.phone, "secret": self.secret })
    }
}

impl Form {
    /// The request for an ask; an ask that lacks what its operation needs is told so.
    pub fn of(ask: &Ask, who: impl FnOnce() -> Credentials) -> Result<Self, String> {
        use OpKind as K;
        let (path, body) = match ask.op {
            K::DriverPing => return ping(ask),
            K::DriverRegister => ("/v1/driver/register", register(&who())),
            K::DriverLogin => ("/v1/driver/login", login(&who())),
            K::DriverGoOnline => ("/v1/driver/online", at(ask)?),
            K::DriverGoOffline => ("/v1/driver/offline", json!({})),
            K::DriverPause => ("/v1/driver/pause", json!({})),
            K::DriverResume => ("/v1/driver/resume", json!({})),
            K::DriverNextOffer => ("/v1/driver/offer", json!({})),
            K::DriverCurrentJob => ("/v1/driver/job", json!({})),
            K::DriverAccept => ("/v1/driver/accept", offer(ask)?),
            K::DriverDecline => ("/v1/driver/decline", offer(ask)?),
            K::DriverArrive => ("/v1/driver/arrive", step(ask)?),
            K::DriverPickUp => ("/v1/driver/pickup", step(ask)?),
            K::DriverDropOff => ("/v1/driver/dropoff", step(ask)?),
            K::DriverCancel => ("/v1/driver/cancel", step(ask)?),
            K::DriverNoShow => ("/v1/driver/noshow", step(ask)?),
            K::PassengerRegister => ("/v1/customer/register", register(&who())),
            K::PassengerLogin => ("/v1/customer/login", login(&who())),
            K::PassengerNearDrivers => ("/v1/customer/neardrivers", at(ask)?),
            K::PassengerQuote => ("/v1/customer/quote", journey(ask)?),
            K::PassengerRequestJob => ("/v1/customer/request", request(ask)?),
            K::PassengerJobStatus => ("/v1/customer/job", json!({ "job": job(ask)? })),
            K::PassengerCurrentJob => ("/v1/customer/currentjob", json!({})),
            K::PassengerCancel => ("/v1/customer/cancel", step(ask)?),
            K::PassengerPay => ("/v1/customer/pay", json!({ "job": job(ask)?, "key": key(ask)? })),
            K::PassengerRate => {
                let stars = ask.stars.ok_or_else(|| lacks(ask, "stars"))?;
                ("/v1/customer/rate", json!({ "job": job(ask)?, "stars": stars }))
            }
            K::AuditJob => ("/v1/audit/job", json!({ "job": job(ask)? })),
            K::AuditJobs => ("/v1/audit/jobs", page(ask)),
            K::AuditCharges => ("/v1/audit/charges", page(ask)),
            K::AuditIssues => ("/v1/audit/issues", json!({})),
            K::AuditEarnings | K::AuditRefunds | K::SetupApproveDriver | K::CleanupRobot => {
                return Err(format!("the reference backend has no {}", ask.op));
            }
        };
        let open = matches!(
            ask.op,
            K::DriverRegister | K::DriverLogin | K::PassengerRegister | K::PassengerLogin
        );
        Ok(Self { op: ask.op, path, body: body.to_string().into(), with_token: !open })
    }
}

/// The auditor's way in: the backend derives the same secret from the run's seed.
pub fn audit_login(seed: &str) -> Form {
    Form {
        op: OpKind::AuditJobs,
        path: "/v1/audit/login",
        body: json!({ "secret": digest(&format!("auditor of {seed}")) }).to_string().into(),
        with_token: false,
    }
}

fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The most frequent one, written without a detour.
fn ping(ask: &Ask) -> Result<Form, String> {
    let place = ask.at.ok_or_else(|| lacks(ask, "at"))?;
    let mut body = Vec::with_capacity(64);
    body.extend_from_slice(b"{\"lat\":");
    put_degrees(&mut body, place.lat_e6);
    body.extend_from_slice(b",\"lon\":");
    put_degrees(&mut body, place.lon_e6);
    body.extend_from_slice(b",\"seq\":");
    put_whole(&mut body, ask.seq.unwrap_or(0));
    body.push(b'}');
    let body = body.into();
    Ok(Form { op: ask.op, path: "/v1/driver/ping", body, with_token: true })
}

/// Micro-degrees as decimal degrees, to the last digit: no float is printed on this path.
fn put_degrees(to: &mut Vec<u8>, e6: i32) {
    if e6 < 0 {
        to.push(b'-');
    }
    let (whole, part) = (e6.unsigned_abs() / 1_000_000, e6.unsigned_abs() % 1_000_000);
    put_whole(to, u64::from(whole));
    to.push(b'.');
    let digits = [100_000, 10_000, 1_000, 100, 10, 1].map(|unit| b'0' + (part / unit % 10) as u8);
    to.extend_from_slice(&digits);
}

fn put_whole(to: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return to.extend_from_slice(&digits[first..]);
        }
    }
}

fn lacks(ask: &Ask, what: &str) -> String {
    format!("an ask for {} needs `{what}`", ask.op)
}

fn register(who: &Credentials) -> Value {
    json!({ "phone": who.phone, "secret": who.secret, "name": who.name })
}

fn login(who: &Credentials) -> Value {
    json!({ "phone": who.phone, "secret": who.secret })
}

fn spot(place: Place) -> Value {
    json!({ "lat": place.lat(), "lon": place.lon() })
}

fn at(ask: &Ask) -> Result<Value, String> {
    ask.at.map(spot).ok_or_else(|| lacks(ask, "at"))
}

fn job(ask: &Ask) -> Result<&Id, String> {
    ask.job.as_ref().ok_or_else(|| lacks(ask, "job"))
}

fn key(ask: &Ask) -> Result<&Id, String> {
    ask.key.as_ref().ok_or_else(|| lacks(ask, "key"))
}

fn offer(ask: &Ask) -> Result<Value, String> {
    let offer = ask.offer.as_ref().ok_or_else(|| lacks(ask, "offer"))?;
    Ok(json!({ "job": job(ask)?, "offer": offer }))
}

fn step(ask: &Ask) -> Result<Value, String> {
    let mut body = json!({ "job": job(ask)? });
    if let Some(assignment) = ask.assignment {
        body["assignment"] = assignment.into();
    }
    if let Some(reason) = &ask.reason {
        body["reason"] = reason.as_str().into();
    }
    Ok(body)
}

fn journey(ask: &Ask) -> Result<Value, String> {
    let to = ask.to.ok_or_else(|| lacks(ask, "to"))?;
    Ok(json!({ "from": at(ask)?, "to": spot(to) }))
}

fn request(ask: &Ask) -> Result<Value, String> {
    let mut body = journey(ask)?;
    body["key"] = key(ask)?.as_str().into();
    Ok(body)
}

fn page(ask: &Ask) -> Value {
    let after = ask.key.as_ref().map_or("", Id::as_str);
    json!({ "after": after, "limit": PAGE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_says_the_place_to_the_last_digit() {
        for (lat_e6, lon_e6, seq) in [(53_349_800, -6_260_310, 7), (-49_000_001, 70_000_000, 0)] {
            let at = Some(Place { lat_e6, lon_e6 });
            let ask = Ask { at, seq: Some(seq), ..Ask::new(OpKind::DriverPing) };
            let body: Value = serde_json::from_slice(&ping(&ask).unwrap().body).unwrap();
            let e6 = |key: &str| (body[key].as_f64().unwrap() * 1e6).round() as i32;
            assert_eq!((e6("lat"), e6("lon"), body["seq"].as_u64()), (lat_e6, lon_e6, Some(seq)));
        }
    }
}
