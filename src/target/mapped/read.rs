//! What is read out of an answer, in the words of the job flow.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use serde_json::Value;

use super::{
    book::Book,
    grammar,
    pick::{List, Pick},
    scope::Scope,
};
use crate::{
    base::{id::Id, place::Place},
    history::{
        answer::{Answer, Assignment, ChargeView, JobState, JobView, NearDriver, OfferView, Quote},
        op::OpKind,
    },
};

/// The backend's words for the states of a job.
pub type States = BTreeMap<String, JobState>;

/// What reading needs beside the answer.
pub struct Around<'a> {
    /// What is at hand.
    pub scope: Scope<'a>,
    /// Words of states.
    pub states: &'a States,
    /// What is known of jobs.
    pub book: &'a Book,
    /// Life of an offer of which nothing else is said.
    pub offer_ttl: Duration,
    /// Decimals of a major unit of money.
    pub money_digits: u32,
}

impl Around<'_> {
    /// What is mapped and had to be there is missing: an answer that cannot be read. What is told
    /// unasked is a hint, and may say less.
    fn lacking(&self, pick: &Pick) -> Result<(), String> {
        if self.scope.ask.is_some() { Err(pick.missing()) } else { Ok(()) }
    }

    fn asks(&self, ops: &[OpKind]) -> bool {
        self.scope.ask.is_some_and(|ask| ops.contains(&ask.op))
    }

    /// An answer to who asked about one job, or for one, is one with the job in it.
    fn is_about_a_job(&self) -> bool {
        let of_one = |ask: &crate::history::op::Ask| {
            ask.job.is_some() || ask.op == OpKind::PassengerRequestJob
        };
        self.scope.ask.is_some_and(of_one)
    }

    /// The entries of a list that is mapped.
    fn entries<'v>(&self, list: &List, key: &str, body: &'v Value) -> Entries<'v> {
        match list.entries(body) {
            None if self.scope.ask.is_some() => Err(format!("`{key}` matched nothing")),
            entries => Ok(entries.unwrap_or_default()),
        }
    }
}

type Entries<'v> = Result<Vec<&'v Value>, String>;

/// Ops that list what there is: nothing of it may be left out.
const LISTS: &[OpKind] =
    &[OpKind::AuditJobs, OpKind::AuditCharges, OpKind::AuditEarnings, OpKind::AuditRefunds];
/// Ops whose answer tells the robot's own account.
const ENTERS: &[OpKind] = &[
    OpKind::DriverRegister,
    OpKind::DriverLogin,
    OpKind::PassengerRegister,
    OpKind::PassengerLogin,
];

/// What is read, compiled.
#[derive(Debug, Default)]
pub struct Reader {
    account: Option<Pick>,
    job: Option<JobReader>,
    jobs: Option<JobReader>,
    offer: Option<OfferReader>,
    drivers: Option<NearReader>,
    quote: Option<QuoteReader>,
    charges: Option<ChargeReader>,
    next: Option<Pick>,
    replayed: Option<Pick>,
}

#[derive(Debug)]
struct PlaceReader {
    lat: Pick,
    lon: Pick,
}

#[derive(Debug)]
struct JobReader {
    /// For errors.
    place: String,
    each: Option<List>,
    id: Option<Pick>,
    state: Option<Pick>,
    assignment: Option<Pick>,
    driver: Option<Pick>,
    passenger: Option<Pick>,
    key: Option<Pick>,
    pickup: Option<PlaceReader>,
    dropoff: Option<PlaceReader>,
    fare: Option<Pick>,
    assignments: Option<AssignmentReader>,
}

#[derive(Debug)]
struct AssignmentReader {
    each: List,
    number: Pick,
    driver: Pick,
    released: Option<Pick>,
}

#[derive(Debug)]
struct OfferReader {
    id: Option<Pick>,
    job: Pick,
    pickup: Option<PlaceReader>,
    dropoff: Option<PlaceReader>,
    expires_in: Option<Pick>,
    fare: Option<Pick>,
}

#[derive(Debug)]
struct NearReader {
    place: String,
    each: List,
    driver: Pick,
    at: PlaceReader,
    eta: Option<Pick>,
}

#[derive(Debug)]
struct QuoteReader {
    fare: Pick,
    trip: Option<Pick>,
    eta: Option<Pick>,
}

#[derive(Debug)]
struct ChargeReader {
    place: String,
    each: Option<List>,
    id: Pick,
    job: Option<Pick>,
    amount: Pick,
    fee: Option<Pick>,
}

/// A key of the file, and what is wrong with its value.
pub type Wrong = (String, String);

/// Compiles picks below a key, and notes their names.
struct Compiler<'a> {
    key: &'a str,
    names: &'a mut Vec<(String, String)>,
}

impl Compiler<'_> {
    fn pick(&mut self, pick: &grammar::Pick, name: &str) -> Result<Pick, Wrong> {
        let pick = self.job_id(pick, name)?;
        if pick.of.is_some() {
            let why = "only a job's id can be kept under another name".to_owned();
            return Err((format!("{}.{name}.of", self.key), why));
        }
        Ok(pick)
    }

    fn maybe(&mut self, pick: Option<&grammar::Pick>, name: &str) -> Result<Option<Pick>, Wrong> {
        pick.map(|pick| self.pick(pick, name)).transpose()
    }

    /// The one that may be `of` a kept name.
    fn job_id(&mut self, pick: &grammar::Pick, name: &str) -> Result<Pick, Wrong> {
        let key = format!("{}.{name}", self.key);
        let pick = Pick::compile(pick, &key).map_err(|why| (key.clone(), why))?;
        self.names.extend(pick.names().into_iter().map(|name| (key.clone(), name)));
        if let Some(of) = &pick.of {
            // One that nothing keeps is found with all other names.
            self.names.push((format!("{key}.of"), format!("job.{of}")));
        }
        Ok(pick)
    }

    fn list(&self, source: &str, name: &str) -> Result<List, Wrong> {
        List::compile(source).map_err(|why| (format!("{}.{name}", self.key), why))
    }

    fn place(
        &mut self,
        place: Option<&grammar::PlaceRead>,
        name: &str,
    ) -> Result<Option<PlaceReader>, Wrong> {
        place
            .map(|place| {
                let lat = self.pick(&place.lat, &format!("{name}.lat"))?;
                let lon = self.pick(&place.lon, &format!("{name}.lon"))?;
                Ok(PlaceReader { lat, lon })
            })
            .transpose()
    }

    fn job(&mut self, read: &grammar::JobRead) -> Result<JobReader, Wrong> {
        let assignments = match &read.assignments {
            Some(list) => Some(AssignmentReader {
                each: self.list(&list.each, "assignments.each")?,
                number: self.pick(&list.number, "assignments.number")?,
                driver: self.pick(&list.driver, "assignments.driver")?,
                released: self.maybe(list.released.as_ref(), "assignments.released")?,
            }),
            None => None,
        };
        Ok(JobReader {
            place: self.key.to_owned(),
            each: read.each.as_ref().map(|each| self.list(each, "each")).transpose()?,
            id: read.id.as_ref().map(|id| self.job_id(id, "id")).transpose()?,
            state: self.maybe(read.state.as_ref(), "state")?,
            assignment: self.maybe(read.assignment.as_ref(), "assignment")?,
            driver: self.maybe(read.driver.as_ref(), "driver")?,
            passenger: self.maybe(read.passenger.as_ref(), "passenger")?,
            key: self.maybe(read.key.as_ref(), "key")?,
            pickup: self.place(read.pickup.as_ref(), "pickup")?,
            dropoff: self.place(read.dropoff.as_ref(), "dropoff")?,
            fare: self.maybe(read.fare.as_ref(), "fare")?,
            assignments,
        })
    }

    fn offer(&mut self, read: &grammar::OfferRead) -> Result<OfferReader, Wrong> {
        Ok(OfferReader {
            id: self.maybe(read.id.as_ref(), "id")?,
            job: self.job_id(&read.job, "job")?,
            pickup: self.place(read.pickup.as_ref(), "pickup")?,
            dropoff: self.place(read.dropoff.as_ref(), "dropoff")?,
            expires_in: self.maybe(read.expires_in.as_ref(), "expires_in")?,
            fare: self.maybe(read.fare.as_ref(), "fare")?,
        })
    }

    fn near(&mut self, read: &grammar::NearRead) -> Result<NearReader, Wrong> {
        let at = PlaceReader {
            lat: self.pick(&read.at.lat, "at.lat")?,
            lon: self.pick(&read.at.lon, "at.lon")?,
        };
        Ok(NearReader {
            place: self.key.to_owned(),
            each: self.list(&read.each, "each")?,
            driver: self.pick(&read.driver, "driver")?,
            at,
            eta: self.maybe(read.eta.as_ref(), "eta")?,
        })
    }

    fn quote(&mut self, read: &grammar::QuoteRead) -> Result<QuoteReader, Wrong> {
        Ok(QuoteReader {
            fare: self.pick(&read.fare, "fare")?,
            trip: self.maybe(read.trip.as_ref(), "trip")?,
            eta: self.maybe(read.eta.as_ref(), "eta")?,
        })
    }

    fn charges(&mut self, read: &grammar::ChargeRead) -> Result<ChargeReader, Wrong> {
        Ok(ChargeReader {
            place: self.key.to_owned(),
            each: read.each.as_ref().map(|each| self.list(each, "each")).transpose()?,
            id: self.pick(&read.id, "id")?,
            job: read.job.as_ref().map(|job| self.job_id(job, "job")).transpose()?,
            amount: self.pick(&read.amount, "amount")?,
            fee: self.maybe(read.fee.as_ref(), "fee")?,
        })
    }
}

impl Reader {
    /// Compiles it; `key` leads to it (`driver.accept.read`). The names that its expressions speak of
    /// go to `names`, with their keys.
    pub fn compile(
        read: &grammar::Read,
        key: &str,
        names: &mut Vec<(String, String)>,
    ) -> Result<Self, Wrong> {
        let part =
            |name: &str| if name.is_empty() { key.to_owned() } else { format!("{key}.{name}") };
        macro_rules! at {
            ($name:literal) => {
                Compiler { key: &part($name), names: &mut *names }
            };
        }
        Ok(Self {
            account: at!("").maybe(read.account.as_ref(), "account")?,
            job: read.job.as_ref().map(|job| at!("job").job(job)).transpose()?,
            jobs: read.jobs.as_ref().map(|jobs| at!("jobs").job(jobs)).transpose()?,
            offer: read.offer.as_ref().map(|offer| at!("offer").offer(offer)).transpose()?,
            drivers: read.drivers.as_ref().map(|near| at!("drivers").near(near)).transpose()?,
            quote: read.quote.as_ref().map(|quote| at!("quote").quote(quote)).transpose()?,
            charges: read.charges.as_ref().map(|read| at!("charges").charges(read)).transpose()?,
            next: at!("").maybe(read.next.as_ref(), "next")?,
            replayed: at!("").maybe(read.replayed.as_ref(), "replayed")?,
        })
    }

    /// True when nothing is read.
    pub fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                account: None,
                job: None,
                jobs: None,
                offer: None,
                drivers: None,
                quote: None,
                charges: None,
                next: None,
                replayed: None,
            }
        )
    }

    /// Every pick, with the list whose entries it reads; those of a job's assignments aside.
    pub fn each_pick<'a>(&'a self, see: &mut dyn FnMut(Option<&'a List>, &'a Pick)) {
        for pick in [&self.account, &self.next].into_iter().flatten() {
            see(None, pick);
        }
        for job in [&self.job, &self.jobs].into_iter().flatten() {
            let each = job.each.as_ref();
            let own = [&job.id, &job.state, &job.assignment, &job.driver, &job.passenger];
            let own = own.into_iter().chain([&job.key, &job.fare]);
            own.flatten().for_each(|pick| see(each, pick));
            for place in [&job.pickup, &job.dropoff].into_iter().flatten() {
                see(each, &place.lat);
                see(each, &place.lon);
            }
        }
        if let Some(offer) = &self.offer {
            see(None, &offer.job);
            let more = [&offer.id, &offer.expires_in, &offer.fare];
            more.into_iter().flatten().for_each(|pick| see(None, pick));
            for place in [&offer.pickup, &offer.dropoff].into_iter().flatten() {
                see(None, &place.lat);
                see(None, &place.lon);
            }
        }
        if let Some(near) = &self.drivers {
            for pick in [&near.driver, &near.at.lat, &near.at.lon].into_iter().chain(&near.eta) {
                see(Some(&near.each), pick);
            }
        }
        if let Some(quote) = &self.quote {
            let all = std::iter::once(&quote.fare).chain(&quote.trip).chain(&quote.eta);
            all.for_each(|pick| see(None, pick));
        }
        if let Some(charge) = &self.charges {
            let all = [&charge.id, &charge.amount].into_iter().chain(&charge.job);
            all.for_each(|pick| see(charge.each.as_ref(), pick));
        }
    }

    /// Whether anything of the body is to be read.
    pub fn needs_body(&self) -> bool {
        let mut needs = self.replayed.as_ref().is_some_and(Pick::needs_body);
        self.each_pick(&mut |each, pick| needs |= each.is_some() || pick.needs_body());
        needs
    }

    /// What an op that only reads would need to read, where it does not: nothing can be told from
    /// its answer.
    pub fn is_blind(&self, op: OpKind) -> Option<&'static str> {
        let (blind, what) = match op {
            OpKind::DriverCurrentJob
            | OpKind::PassengerCurrentJob
            | OpKind::PassengerJobStatus
            | OpKind::AuditJob => (self.job.is_none(), "read.job"),
            OpKind::DriverNextOffer => (self.offer.is_none(), "read.offer"),
            OpKind::AuditJobs => (self.jobs.is_none(), "read.jobs"),
            OpKind::AuditCharges | OpKind::AuditEarnings | OpKind::AuditRefunds => {
                (self.charges.is_none(), "read.charges")
            }
            _ => (false, ""),
        };
        blind.then_some(what)
    }

    /// Whether it tells of offers.
    pub fn reads_offers(&self) -> bool {
        self.offer.is_some()
    }

    /// What the answer says; an error names the key of the mapping that does not fit it.
    pub fn read(&self, around: &Around<'_>, body: &Value) -> Result<Answer, String> {
        let scope = &around.scope;
        let job = self.job.as_ref().map(|job| job.one(around, body)).transpose()?.flatten();
        let offer = self.offer.as_ref().map(|offer| offer.read(around, body)).transpose()?;
        let account = id(self.account.as_ref(), scope, body)?;
        if let (Some(pick), None, true) = (&self.account, &account, around.asks(ENTERS)) {
            around.lacking(pick)?;
        }
        Ok(Answer {
            account,
            job: job.map(Rc::new),
            jobs: self.jobs.as_ref().map_or(Ok(Vec::new()), |jobs| jobs.all(around, body))?,
            offer: offer.flatten().map(Rc::new),
            drivers: self.drivers.as_ref().map_or(Ok(Vec::new()), |near| near.all(around, body))?,
            quote: match &self.quote {
                Some(quote) => quote.read(around, body)?,
                None => None,
            },
            charges: self
                .charges
                .as_ref()
                .map_or(Ok(Vec::new()), |charges| charges.all(around, body))?,
            issues: Vec::new(),
            next: id(self.next.as_ref(), scope, body)?,
            refusal: None,
            retry_after_ms: None,
            replayed: self.replayed.as_ref().is_some_and(|pick| pick.truth(scope, body)),
        })
    }
}

fn id(pick: Option<&Pick>, scope: &Scope<'_>, within: &Value) -> Result<Option<Id>, String> {
    pick.map_or(Ok(None), |pick| pick.id(scope, within))
}

/// The id of a job: as it is, or by what is kept of the job under another name.
fn job_id(pick: &Pick, around: &Around<'_>, within: &Value) -> Result<Option<Id>, String> {
    let found = pick.id(&around.scope, within)?;
    let (Some(name), Some(other)) = (&pick.of, &found) else { return Ok(found) };
    match around.book.job_of(name, other) {
        Some(job) => Ok(Some(job)),
        // The job of another, or of another run: it is there all the same.
        None if around.asks(LISTS) => Ok(found),
        None if around.scope.ask.is_some() => {
            Err(format!("`{}`: {other} is the `{name}` of no job that is known", pick.key()))
        }
        None => Ok(None),
    }
}

impl PlaceReader {
    fn read(&self, scope: &Scope<'_>, within: &Value) -> Result<Option<Place>, String> {
        let (lat, lon) = (self.lat.number(scope, within)?, self.lon.number(scope, within)?);
        Ok(lat.zip(lon).map(|(lat, lon)| Place::from_degrees(lat, lon)))
    }
}

fn place(
    reader: Option<&PlaceReader>,
    scope: &Scope<'_>,
    within: &Value,
) -> Result<Option<Place>, String> {
    reader.map_or(Ok(None), |reader| reader.read(scope, within))
}

impl JobReader {
    fn one(&self, around: &Around<'_>, body: &Value) -> Result<Option<JobView>, String> {
        let needed = around.is_about_a_job();
        let found = match &self.each {
            None => self.view(around, body)?,
            // Whoever asks for whatever there is may find nothing.
            Some(each) if !needed => self.first(around, each.all(body))?,
            Some(each) => {
                let entries = around.entries(each, &format!("{}.each", self.place), body)?;
                self.first(around, entries)?
            }
        };
        match (&self.id, &found) {
            (Some(pick), None) if needed => Err(pick.missing()),
            _ => Ok(found),
        }
    }

    /// The first that is one.
    fn first(&self, around: &Around<'_>, all: Vec<&Value>) -> Result<Option<JobView>, String> {
        all.into_iter().find_map(|entry| self.view(around, entry).transpose()).transpose()
    }

    fn all(&self, around: &Around<'_>, body: &Value) -> Result<Vec<JobView>, String> {
        let entries = match &self.each {
            None => vec![body],
            Some(each) => around.entries(each, &format!("{}.each", self.place), body)?,
        };
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            match (self.view(around, entry)?, &self.id) {
                (Some(view), _) => all.push(view),
                (None, Some(pick)) => around.lacking(pick)?,
                (None, None) => {}
            }
        }
        Ok(all)
    }

    fn view(&self, around: &Around<'_>, within: &Value) -> Result<Option<JobView>, String> {
        let scope = &around.scope;
        let job = match &self.id {
            Some(pick) => job_id(pick, around, within)?,
            None => scope.ask.and_then(|ask| ask.job.clone()),
        };
        let Some(job) = job else { return Ok(None) };
        let Some(state) = self.state(around, within)? else { return Ok(None) };
        let assignment = match &self.assignment {
            Some(pick) => pick.number(scope, within)?.map_or(0, |number| number as u32),
            None => 0,
        };
        let fare_minor = match &self.fare {
            Some(pick) => pick.amount(scope, within, around.money_digits)?,
            None => None,
        };
        let known = around.book.trip(&job);
        Ok(Some(JobView {
            state,
            assignment,
            driver: id(self.driver.as_ref(), scope, within)?,
            passenger: id(self.passenger.as_ref(), scope, within)?,
            key: id(self.key.as_ref(), scope, within)?,
            pickup: place(self.pickup.as_ref(), scope, within)?.or(known.map(|(from, _)| from)),
            dropoff: place(self.dropoff.as_ref(), scope, within)?.or(known.map(|(_, to)| to)),
            fare_minor,
            assignments: self.assignments(around, within)?,
            id: job,
        }))
    }

    /// Its state; `None` where nothing tells it.
    fn state(&self, around: &Around<'_>, within: &Value) -> Result<Option<JobState>, String> {
        let Some(pick) = &self.state else {
            return Ok(around.scope.ask.and_then(|ask| follows(ask.op)));
        };
        let Some(word) = pick.text(&around.scope, within)? else {
            return around.lacking(pick).map(|()| None);
        };
        match around.states.get(&word) {
            Some(state) => Ok(Some(*state)),
            None => {
                Err(format!("`{}`: the state `{word}` stands in no list of [state]", pick.key()))
            }
        }
    }

    /// A job that has none may say nothing of them.
    fn assignments(&self, around: &Around<'_>, within: &Value) -> Result<Vec<Assignment>, String> {
        let Some(list) = &self.assignments else { return Ok(Vec::new()) };
        let (scope, mut all) = (&around.scope, Vec::new());
        for entry in list.each.all(within) {
            let Some(number) = list.number.number(scope, entry)? else {
                around.lacking(&list.number)?;
                continue;
            };
            let Some(driver) = list.driver.id(scope, entry)? else {
                around.lacking(&list.driver)?;
                continue;
            };
            let released =
                list.released.as_ref().is_some_and(|released| released.truth(scope, entry));
            all.push(Assignment { number: number as u32, driver, released });
        }
        Ok(all)
    }
}

/// The state of a job after an operation that was acknowledged.
pub fn follows(op: OpKind) -> Option<JobState> {
    match op {
        OpKind::PassengerRequestJob => Some(JobState::Requested),
        OpKind::DriverAccept => Some(JobState::Accepted),
        OpKind::DriverArrive => Some(JobState::Arrived),
        OpKind::DriverPickUp => Some(JobState::PickedUp),
        OpKind::DriverDropOff => Some(JobState::Completed),
        OpKind::PassengerCancel => Some(JobState::Cancelled),
        _ => None,
    }
}

impl OfferReader {
    fn read(&self, around: &Around<'_>, body: &Value) -> Result<Option<OfferView>, String> {
        let scope = &around.scope;
        let Some(job) = job_id(&self.job, around, body)? else { return Ok(None) };
        let known = around.book.trip(&job);
        let pickup = place(self.pickup.as_ref(), scope, body)?.or(known.map(|(from, _)| from));
        let Some(pickup) = pickup else {
            return Err(format!("the offer of job {job} does not tell where it begins"));
        };
        let own = id(self.id.as_ref(), scope, body)?;
        if let (Some(pick), None) = (&self.id, &own) {
            around.lacking(pick)?;
        }
        let ttl = around.offer_ttl.as_millis() as u64;
        Ok(Some(OfferView {
            id: own.unwrap_or_else(|| job.clone()),
            pickup,
            dropoff: place(self.dropoff.as_ref(), scope, body)?.or(known.map(|(_, to)| to)),
            expires_in_ms: match &self.expires_in {
                Some(pick) => pick.millis(scope, body)?.unwrap_or(ttl),
                None => ttl,
            },
            fare_minor: match &self.fare {
                Some(pick) => pick.amount(scope, body, around.money_digits)?,
                None => None,
            },
            job,
        }))
    }
}

impl NearReader {
    fn all(&self, around: &Around<'_>, body: &Value) -> Result<Vec<NearDriver>, String> {
        let (scope, mut all) = (&around.scope, Vec::new());
        for entry in around.entries(&self.each, &format!("{}.each", self.place), body)? {
            let Some(driver) = self.driver.id(scope, entry)? else {
                around.lacking(&self.driver)?;
                continue;
            };
            let Some(at) = self.at.read(scope, entry)? else {
                around.lacking(&self.at.lat)?;
                continue;
            };
            let eta_s = match &self.eta {
                Some(pick) => pick.number(scope, entry)?.map_or(0, |seconds| seconds as u32),
                None => 0,
            };
            all.push(NearDriver { driver, at, eta_s });
        }
        Ok(all)
    }
}

impl QuoteReader {
    fn read(&self, around: &Around<'_>, body: &Value) -> Result<Option<Quote>, String> {
        let scope = &around.scope;
        let seconds = |pick: Option<&Pick>| {
            pick.map_or(Ok(None), |pick| pick.number(scope, body)).map(|s| s.map(|s| s as u32))
        };
        let Some(fare_minor) = self.fare.amount(scope, body, around.money_digits)? else {
            if around.asks(&[OpKind::PassengerQuote]) {
                around.lacking(&self.fare)?;
            }
            return Ok(None);
        };
        let (trip_s, eta_s) = (seconds(self.trip.as_ref())?, seconds(self.eta.as_ref())?);
        Ok(Some(Quote { fare_minor, trip_s: trip_s.unwrap_or(0), eta_s }))
    }
}

impl ChargeReader {
    fn all(&self, around: &Around<'_>, body: &Value) -> Result<Vec<ChargeView>, String> {
        let entries = match &self.each {
            None => vec![body],
            Some(each) => around.entries(each, &format!("{}.each", self.place), body)?,
        };
        let all = entries.into_iter().filter_map(|entry| self.view(around, entry).transpose());
        all.collect()
    }

    /// One charge. A sum that nobody can read is not one that was never taken.
    fn view(&self, around: &Around<'_>, entry: &Value) -> Result<Option<ChargeView>, String> {
        let scope = &around.scope;
        let Some(id) = self.id.id(scope, entry)? else {
            return around.lacking(&self.id).map(|()| None);
        };
        let job = match &self.job {
            None => scope.ask.and_then(|ask| ask.job.clone()),
            Some(pick) => match job_id(pick, around, entry)? {
                None => return around.lacking(pick).map(|()| None),
                found => found,
            },
        };
        let Some(amount_minor) = self.amount.amount(scope, entry, around.money_digits)? else {
            return around.lacking(&self.amount).map(|()| None);
        };
        let fee = self.fee.as_ref().is_some_and(|fee| fee.truth(scope, entry));
        match job {
            Some(job) => Ok(Some(ChargeView { id, job, amount_minor, fee })),
            None if scope.ask.is_some() => {
                Err(format!("`{}` does not say whose a charge is: give `job`", self.place))
            }
            None => Ok(None),
        }
    }
}
