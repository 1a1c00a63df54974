//! The scenario: city, load, plan, laws and gates of a run. File to validated value.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        dist::Spread,
        file::{FileError, Source},
        glob::fits,
        span::Span,
    },
    city::City,
};

pub mod profile;
pub mod traces;
mod validate;

use profile::Profile;
use traces::Traces;

/// A scenario file, as people write it. Every key has a default but `city`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// The city's file, from the folder of the project (or absolute).
    pub city: String,
    /// The fault plan's file, or `none`.
    #[serde(default = "none")]
    pub chaos: String,
    /// The target's file, or `embedded`.
    #[serde(default = "embedded")]
    pub target: String,
    /// How long each part takes.
    #[serde(default)]
    pub time: Timing,
    /// Rates.
    #[serde(default)]
    pub load: Load,
    /// Habits of the robots.
    #[serde(default)]
    pub robots: Robots,
    /// The embedded backend's settings.
    #[serde(default)]
    pub backend: BackendSettings,
    /// What the history keeps.
    #[serde(default)]
    pub history: Keep,
    /// Tracing. Left out where it is as usual.
    #[serde(default, skip_serializing_if = "Traces::is_usual")]
    pub traces: Traces,
    /// Laws.
    #[serde(default)]
    pub laws: Laws,
    /// Thresholds, `driver.ping response p(99) < 50ms`.
    #[serde(default)]
    pub gates: Vec<String>,
    /// What a run must have seen to prove anything.
    #[serde(default)]
    pub adequacy: Adequacy,
}

impl Scenario {
    /// Reads and validates a scenario file, with `--set key=value` pairs over it.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, FileError> {
        Self::from_source(&Source::read(path)?.with_sets(sets))
    }

    /// Validates a scenario that was read already. Who keeps the source can raise errors of its
    /// own on it: `source.error("laws.skip[0]", …)`.
    pub fn from_source(source: &Source) -> Result<Self, FileError> {
        let scenario: Self = source.parse()?;
        validate::scenario(source, &scenario)?;
        Ok(scenario)
    }

    /// Location updates a second that are asked for, on average over the demand.
    pub fn mean_updates_per_second(&self) -> f64 {
        let (load, time) = (&self.load, &self.time);
        if load.drivers_by_hour.is_empty() {
            return load.updates_per_second;
        }
        let (start_h, hours) =
            (time.start_s() / 3_600.0, time.duration.0.as_secs_f64() * time.time_scale / 3_600.0);
        let steps = STEPS_MIN.max((hours * STEPS_AN_HOUR).ceil() as u32);
        let share = |step: u32| {
            load.drivers_by_hour.at(start_h + hours * (f64::from(step) + 0.5) / f64::from(steps))
        };
        load.updates_per_second * (0..steps).map(share).sum::<f64>() / f64::from(steps)
    }

    /// Checks what only the city can tell: whether the storage's AZ exists.
    pub fn check_city(&self, source: &Source, city: &City) -> Result<(), FileError> {
        validate::in_city(source, self, city)
    }
}

/// Steps in which a mean over the demand is taken: at least so many, and so many an hour.
const STEPS_MIN: u32 = 1_000;
const STEPS_AN_HOUR: f64 = 4.0;

fn none() -> String {
    "none".into()
}
fn embedded() -> String {
    "embedded".into()
}

/// How long each part of a run takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// The city's local time when the demand starts, `2026-06-19T21:30`.
    pub start: String,
    /// Ramp of the sign-on.
    pub fill: Span,
    /// How long the demand runs.
    pub duration: Span,
    /// The longest that open jobs may take to end after it.
    pub settle: Span,
    /// City seconds in one second of the run.
    pub time_scale: f64,
}

impl Timing {
    /// Seconds since local midnight at the start of the demand. (Midnight itself where `start` is
    /// no local time, which a validated scenario does not have.)
    pub fn start_s(&self) -> f64 {
        self.read_start_s().unwrap_or_default()
    }

    fn read_start_s(&self) -> Option<f64> {
        let start: jiff::civil::DateTime = self.start.parse().ok()?;
        let midnight = start.with().time(jiff::civil::Time::midnight()).build().ok()?;
        Some(start.duration_since(midnight).as_secs_f64())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            start: "2026-06-19T21:30".into(),
            fill: Span::secs(20),
            duration: Span::secs(90),
            settle: Span::secs(45),
            time_scale: 1.0,
        }
    }
}

/// Wall-clock rates at the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Drivers on shift, at the peak.
    pub drivers: u32,
    /// The share of them that is wanted on shift at the beginning of each local hour; straight
    /// between the hours. Left out: all of them, always.
    #[serde(skip_serializing_if = "Profile::is_empty")]
    pub drivers_by_hour: Profile,
    /// Location updates a second of all drivers together; with `drivers` it gives the cadence.
    pub updates_per_second: f64,
    /// Requests an hour, at the peak.
    pub jobs_per_hour: f64,
    /// The share of them during each local hour. Left out: the peak, always.
    #[serde(skip_serializing_if = "Profile::is_empty")]
    pub demand_by_hour: Profile,
    /// Passengers that are signed on before the demand starts.
    pub passengers: u32,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// The most ops a second of any kind; planned ops wait (and lag) beyond it.
    pub ceiling_per_second: Option<u32>,
}

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// A Poisson process at the same rate.
    Poisson,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            drivers: 1_000,
            drivers_by_hour: Profile::default(),
            updates_per_second: 133.0,
            jobs_per_hour: 1_500.0,
            demand_by_hour: Profile::default(),
            passengers: 100,
            arrivals: Arrivals::Poisson,
            ceiling_per_second: None,
        }
    }
}

/// Habits of the robots. Shares are probabilities in 0 to 1; spans marked *city* are shortened by
/// `time_scale`, the others never are. All defaults are illustrative unless a source is named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Robots {
    /// Share of clumsy robots: double tap on accept and request, late retry of an old request.
    pub clumsy: f64,
    /// How long a driver looks at an offer before the answer (seconds, not scaled).
    pub answer_s: Spread,
    /// Share of offers that are declined.
    pub declines: f64,
    /// Share of offers that a driver lets pass without an answer.
    pub ignores: f64,
    /// Share of accepted jobs that the driver gives back on the way to the pickup.
    pub driver_cancels: f64,
    /// Share of passengers who give up before a match, after a while of `patience_s`.
    pub cancels_before_match: f64,
    /// Share of passengers who cancel after the match.
    pub cancels_after_match: f64,
    /// Share of passengers who are not at the kerb.
    pub no_shows: f64,
    /// How long an impatient passenger waits before giving up (seconds, not scaled: below the
    /// search's life, or it never shows).
    pub patience_s: Spread,
    /// How long a matched passenger who cancels waits before it does (city seconds).
    pub regret_s: Spread,
    /// At the kerb (city seconds).
    pub pickup_dwell_s: Spread,
    /// At the destination (city seconds).
    pub dropoff_dwell_s: Spread,
    /// How long a driver waits for a no-show (city seconds; operators say 5 min).
    pub no_show_wait_s: f64,
    /// Shift length (city seconds).
    pub shift_s: Spread,
    /// Between two looks of a passenger at its job (seconds, not scaled).
    pub poll_s: f64,
    /// Between two looks of a driver at its live job (seconds, not scaled).
    pub driver_poll_s: f64,
    /// Share of robots that hold a stream open on which the backend tells them of offers and of
    /// changes to their job. They go on asking; the embedded target only.
    pub push: f64,
    /// Between two looks at what the backend says is wrong with live jobs (seconds, not scaled); zero
    /// for none. Nobody does it: it is a probe beside the robots.
    pub watch_s: f64,
    /// Share of passengers who look at near drivers and a quote before the request.
    pub browses: f64,
    /// Share of idle drivers parked, and cruising; the rest drives towards demand.
    /// (Millard-Ball 2022: 14 % parked, 23 % cruising, 63 % repositioning.)
    pub parked: f64,
    /// See `parked`.
    pub cruising: f64,
    /// Attempts of one op at most; pings are never tried again.
    pub attempts_max: u32,
    /// How long an attempt may take.
    pub attempt_timeout: Span,
    /// First wait before another attempt; doubled each time, with jitter.
    pub backoff: Span,
    /// What goes wrong with phones and fingers beyond `clumsy`.
    #[serde(skip_serializing_if = "Mishaps::is_usual")]
    pub mishaps: Mishaps,
    /// Robots beside the load that ask what is wrong on purpose.
    #[serde(skip_serializing_if = "Rogue::is_usual")]
    pub rogue: Rogue,
}

/// What goes wrong with phones and fingers beyond `clumsy`: shares, all of them zero unless a scenario
/// says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mishaps {
    /// Share of jobs in the middle of which an app restarts, the driver's or the passenger's: it logs
    /// in anew, and has to ask which job it has.
    pub restarts: f64,
    /// Share of passengers who give up a job the moment that they see that a driver is asked.
    pub cancels_on_offer: f64,
    /// Share of requests that are sent once more long after, with the same key.
    pub late_retries: f64,
    /// Share of location updates behind which the one before is sent once more.
    pub replays: f64,
    /// Share of drivers, and of passengers with a job, who sign on with a second phone as well and use
    /// both. Only targets that can tell the two apart have any.
    pub second_phones: f64,
}

impl Mishaps {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Robots beside the load that ask what is wrong on purpose: bad tokens, others' jobs, bad input, too
/// much at once. None of it counts in any figure; the laws that judge it are not applicable without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rogue {
    /// How many there are, as a share of the drivers and passengers of the load; zero for none, and
    /// otherwise two at least. Only targets that can be asked wrongly have any.
    pub share: f64,
    /// What each asks in a second, on average; a burst counts as one.
    pub rate: f64,
    /// Requests that it sends at once to run into the limit of its account.
    pub burst: u32,
}

impl Rogue {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Rogue {
    fn default() -> Self {
        Self { share: 0.0, rate: 1.0, burst: 100 }
    }
}

impl Default for Robots {
    fn default() -> Self {
        Self {
            clumsy: 0.02,
            answer_s: Spread::Uniform(0.3, 4.0),
            declines: 0.08,
            ignores: 0.04,
            driver_cancels: 0.02,
            cancels_before_match: 0.04,
            cancels_after_match: 0.05,
            no_shows: 0.02,
            patience_s: Spread::Uniform(1.0, 12.0),
            regret_s: Spread::Uniform(5.0, 120.0),
            pickup_dwell_s: Spread::Uniform(20.0, 90.0),
            dropoff_dwell_s: Spread::Uniform(10.0, 40.0),
            no_show_wait_s: 300.0,
            shift_s: Spread::Uniform(8.0 * 3_600.0, 12.0 * 3_600.0),
            poll_s: 2.0,
            driver_poll_s: 5.0,
            push: 0.0,
            watch_s: 0.0,
            browses: 0.5,
            parked: 0.14,
            cruising: 0.23,
            attempts_max: 6,
            attempt_timeout: Span::secs(2),
            backoff: Span::millis(200),
            mishaps: Mishaps::default(),
            rogue: Rogue::default(),
        }
    }
}

/// The services of the embedded backend talk over links to each other.
pub const EMBEDDED: &str = "embedded";
/// The services of the embedded backend talk over brokers, one in each AZ.
pub const RABBITMQ: &str = "rabbitmq";

/// Settings of the embedded backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendSettings {
    /// `embedded` or `rabbitmq`.
    pub bus: String,
    /// API nodes in each AZ.
    pub api_per_az: u32,
    /// Orchestration nodes in each AZ.
    pub orchestration_per_az: u32,
    /// Core nodes in each AZ.
    pub core_per_az: u32,
    /// The AZ of the storage node that leads at first, or is the only one.
    pub storage_az: String,
    /// Nodes that hold all rows, one an AZ: 3 go on without any one of them; 1 is the cheapest, and
    /// what it holds is out of reach while it is dead.
    pub storage_replicas: u32,
    /// First port to use; free ports are taken where it is left out.
    pub base_port: Option<u16>,
    /// Life of an offer (never scaled).
    pub offer_ttl: Span,
    /// Life of a search (never scaled).
    pub search_ttl: Span,
    /// Offers of one job that may be open at once.
    pub offers_at_once: u32,
    /// Life of a token.
    pub token_ttl: Span,
    /// How old a position may be and still be used.
    pub ping_ttl: Span,
    /// How far from the pickup a driver may be, in metres.
    pub reach_m: f64,
    /// How long a node may take to become healthy.
    pub healthy_within: Span,
    /// Versions of the code by name of the node, `"*/core-2" = 2`; where several fit, the highest.
    /// The others run version 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, u32>,
    /// The config's documents by key, as they are before anybody sets one: `binding` has the rules
    /// of who is asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, toml::Value>,
    /// Feature flags: the share of accounts for which each is on. Over those that are built in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, f64>,
    /// Experiments: the names of their variants, for equal shares of the accounts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub experiments: BTreeMap<String, Vec<String>>,
    /// Paths of the API with two implementations: the share of accounts that the new one serves.
    /// Left out: all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, f64>,
}

impl BackendSettings {
    /// The version that the node of that name runs.
    pub fn version_of(&self, node: &str) -> u32 {
        let fitting = self.versions.iter().filter(|(pattern, _)| fits(pattern, node));
        fitting.map(|(_, version)| *version).max().unwrap_or(1)
    }
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            bus: EMBEDDED.into(),
            api_per_az: 1,
            orchestration_per_az: 1,
            core_per_az: 1,
            storage_az: "b".into(),
            storage_replicas: 3,
            base_port: None,
            offer_ttl: Span::secs(10),
            search_ttl: Span::secs(40),
            offers_at_once: 2,
            token_ttl: Span::secs(120),
            ping_ttl: Span::secs(30),
            reach_m: 3_000.0,
            healthy_within: Span::secs(20),
            versions: BTreeMap::new(),
            config: BTreeMap::new(),
            flags: BTreeMap::new(),
            experiments: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }
}

/// What the history of a run keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// Location updates.
    pub pings: Pings,
}

/// How location updates are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pings {
    /// Each is a record.
    #[default]
    Full,
    /// Those that ended ok and told nothing are counted; the rest, and the last positions before
    /// each offer, are records. The laws judge what is kept.
    Counted,
}

/// Which laws are judged, and which must have been seen to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Laws {
    /// Laws whose `unknown` makes the run inconclusive; left out: every law that is applicable,
    /// but for the few that most runs give no opportunity.
    pub require: Option<Vec<String>>,
    /// Laws that are not judged.
    pub skip: Vec<String>,
    /// How long the laws remember a job after the last word about it: longer needs more memory, and
    /// lets the read-back be compared with more of the run.
    pub horizon: Span,
}

impl Default for Laws {
    fn default() -> Self {
        Self { require: None, skip: Vec::new(), horizon: Span::secs(600) }
    }
}

/// What a run must have seen to prove anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adequacy {
    /// Jobs completed.
    pub completed_jobs: u64,
    /// Accepts that raced for one job (one of them was refused).
    pub raced_accepts: u64,
    /// Jobs of which two offers were open at once.
    pub doubled_offers: u64,
    /// Retries and double taps that the backend recognised as the same.
    pub deduplicated: u64,
    /// Longest p99 of the lag.
    pub lag_p99: Span,
}

impl Default for Adequacy {
    fn default() -> Self {
        Self {
            completed_jobs: 1,
            raced_accepts: 0,
            doubled_offers: 0,
            deduplicated: 0,
            lag_p99: Span::millis(50),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str, sets: &[&str]) -> Result<Scenario, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let source = Source::new(Path::new("s.toml"), text).with_sets(&sets);
        Scenario::from_source(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn all_defaults_are_valid() {
        let scenario = scenario("city = 'cities/dublin.toml'", &[]).unwrap();
        assert_eq!((scenario.chaos.as_str(), scenario.target.as_str()), ("none", "embedded"));
        assert!((scenario.time.start_s() - 77_400.0).abs() < 1e-9);
    }

    #[test]
    fn the_mean_rate_follows_the_drivers_of_the_hours() {
        let flat = scenario("city = 'c.toml'", &["load.updates_per_second=100"]).unwrap();
        assert!((flat.mean_updates_per_second() - 100.0).abs() < 1e-9);
        let mut day = flat;
        day.load.drivers_by_hour.0 = vec![0.5; 24];
        day.load.drivers_by_hour.0[12] = 1.0;
        day.time.duration = Span::secs(86_400);
        let mean = day.mean_updates_per_second();
        assert!((mean - 100.0 * 12.5 / 24.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_resolved_scenario_reads_back_the_same() {
        let text =
            "city = 'c.toml'\n[robots]\nanswer_s = { lognormal = { median = 2, sigma = 1 } }";
        let first = scenario(text, &["load.drivers=7", "time.fill=3s"]).unwrap();
        let again = scenario(&toml::to_string(&first).unwrap(), &[]).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("load.updates_per_second=0", "load.updates_per_second"),
            ("load.jobs_per_hour=-1", "load.jobs_per_hour"),
            ("load.updates_per_second=nan", "load.updates_per_second"),
            ("load.drivers=0", "load.drivers"),
            ("robots.clumsy=1.5", "robots.clumsy"),
            ("robots.mishaps.restarts=-1", "robots.mishaps.restarts"),
            ("robots.rogue.share=2", "robots.rogue.share"),
            ("robots.rogue.rate=0", "robots.rogue.rate"),
            ("robots.parked=0.9", "robots.cruising"),
            ("robots.answer_s={uniform=[3.0,1.0]}", "robots.answer_s"),
            ("robots.poll_s=0", "robots.poll_s"),
            ("time.time_scale=0", "time.time_scale"),
            ("time.start=half past nine", "time.start"),
            ("time.duration=0s", "time.duration"),
            ("backend.bus=kafka", "backend.bus"),
            ("backend.api_per_az=0", "backend.api_per_az"),
            ("backend.offer_ttl=90s", "backend.offer_ttl"),
            ("backend.base_port=80", "backend.base_port"),
            ("backend.flags={x=1.5}", "backend.flags"),
            ("backend.routes={'/v1/x'=-0.1}", "backend.routes"),
            ("backend.experiments={x=[]}", "backend.experiments"),
            ("gates=['']", "gates[0]"),
            ("city=", "city"),
        ];
        for (set, key) in cases {
            let error = scenario("city = 'c.toml'", &[set]).unwrap_err();
            assert!(error.contains(&format!(": `{key}`: ")), "{set}: {error}");
        }
    }

    #[test]
    fn the_storage_needs_an_az_of_the_city() {
        let city = crate::city::tests::bay();
        let source = Source::new(Path::new("s.toml"), "city = 'c.toml'\nbackend.storage_az = 'x'");
        let error = Scenario::from_source(&source).unwrap().check_city(&source, &city).unwrap_err();
        assert_eq!(
            error.to_string(),
            "s.toml:2: `backend.storage_az`: Bay has no availability zone `x`: must be one of a"
        );
    }
}
