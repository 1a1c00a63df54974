//! What a scenario must be like before a run may start. Names of laws, gates, faults and targets
//! are judged by those who know them, through the same [`Source::error`].

use std::time::Duration;

use super::{
    BackendSettings, EMBEDDED, Load, RABBITMQ, Robots, Scenario, Timing,
    profile::{HOURS, Profile},
};
use crate::{
    base::{
        dist::Spread,
        file::{FileError, Source},
        span::Span,
        suggest,
    },
    city::City,
};

/// Limits, so that a slip of the finger does not fill a machine.
const DRIVERS_MAX: u32 = 1_000_000;
const PASSENGERS_MAX: u32 = 1_000_000;
const NODES_PER_AZ_MAX: u32 = 32;
/// Storage nodes at most: each commit waits for more than half of them.
const STORAGE_REPLICAS_MAX: u32 = 7;
const RATE_MAX: f64 = 1e6;
/// What one rogue may ask: its answers are kept, each of them.
const ROGUE_RATE_MAX: f64 = 100.0;
const ROGUE_BURST_MAX: u32 = 1_000;
const TIME_SCALE_MAX: f64 = 1_000.0;
const HORIZON_MIN: Span = Span::secs(120);
const LONGEST: Span = Span::secs(366 * 24 * 3_600);

/// Checks a scenario that came from `source`.
pub(super) fn scenario(source: &Source, scenario: &Scenario) -> Result<(), FileError> {
    let check = Check { source };
    let names =
        [("city", &scenario.city), ("chaos", &scenario.chaos), ("target", &scenario.target)];
    for (key, name) in names {
        if name.trim().is_empty() {
            return Err(source.error(key, "must not be empty"));
        }
    }
    check.timing(&scenario.time)?;
    check.load(&scenario.load)?;
    check.robots(&scenario.robots)?;
    check.backend(&scenario.backend)?;
    scenario.traces.check(source)?;
    if scenario.laws.horizon < HORIZON_MIN {
        return Err(source.error(
            "laws.horizon",
            format!("must be {HORIZON_MIN} at least: an op may last that long"),
        ));
    }
    check.not_for_ever("laws.horizon", scenario.laws.horizon)?;
    for (index, gate) in scenario.gates.iter().enumerate() {
        if gate.trim().is_empty() {
            let what = "must not be empty: write it like driver.ping response p(99) < 50ms";
            return Err(source.error(&format!("gates[{index}]"), what));
        }
    }
    check.above_zero("adequacy.lag_p99", scenario.adequacy.lag_p99)
}

/// Checks what only the city can tell.
pub(super) fn in_city(source: &Source, scenario: &Scenario, city: &City) -> Result<(), FileError> {
    let az = scenario.backend.storage_az.as_str();
    if city.azs.iter().any(|known| known == az) {
        return Ok(());
    }
    let known: Vec<&str> = city.azs.iter().map(String::as_str).collect();
    let hint = suggest::must_be_one_of(az, known);
    let what = format!("{} has no availability zone `{az}`: {hint}", city.name);
    Err(source.error("backend.storage_az", what))
}

struct Check<'a> {
    source: &'a Source,
}

impl Check<'_> {
    fn within(&self, key: &str, value: f64, low: f64, high: f64) -> Result<(), FileError> {
        if (low..=high).contains(&value) {
            return Ok(());
        }
        Err(self.source.error(key, format!("must be between {low} and {high}, and is {value}")))
    }

    fn positive(&self, key: &str, value: f64, max: f64) -> Result<(), FileError> {
        if value > 0.0 && value <= max {
            return Ok(());
        }
        Err(self.source.error(key, format!("must be above zero, at most {max}, and is {value}")))
    }

    fn count(&self, key: &str, value: u32, max: u32) -> Result<(), FileError> {
        if (1..=max).contains(&value) {
            return Ok(());
        }
        Err(self.source.error(key, format!("must be between 1 and {max}, and is {value}")))
    }

    fn above_zero(&self, key: &str, span: Span) -> Result<(), FileError> {
        if span.0 == Duration::ZERO {
            return Err(self.source.error(key, "must be longer than zero, like 10s"));
        }
        self.not_for_ever(key, span)
    }

    fn not_for_ever(&self, key: &str, span: Span) -> Result<(), FileError> {
        if span > LONGEST {
            return Err(self.source.error(key, "must be a year at most"));
        }
        Ok(())
    }

    fn spread(&self, key: &str, spread: Spread) -> Result<(), FileError> {
        let numbers = match spread {
            Spread::Fixed(value) | Spread::Exponential(value) => [value, 0.0],
            Spread::Uniform(low, high) => [low, high],
            Spread::Lognormal { median, sigma } => [median, sigma],
        };
        if let Some(wrong) = numbers.iter().find(|n| !n.is_finite() || **n < 0.0) {
            return Err(self.source.error(key, format!("{wrong} must be zero or more")));
        }
        match spread {
            Spread::Uniform(low, high) if low > high => {
                let what = format!("the lower end {low} is above the upper one {high}: swap them");
                Err(self.source.error(key, what))
            }
            _ => Ok(()),
        }
    }

    fn timing(&self, time: &Timing) -> Result<(), FileError> {
        if time.read_start_s().is_none() {
            let what = format!("`{}` is no local time: write it like 2026-06-19T21:30", time.start);
            return Err(self.source.error("time.start", what));
        }
        self.not_for_ever("time.fill", time.fill)?;
        self.above_zero("time.duration", time.duration)?;
        self.above_zero("time.settle", time.settle)?;
        self.positive("time.time_scale", time.time_scale, TIME_SCALE_MAX)
    }

    fn load(&self, load: &Load) -> Result<(), FileError> {
        self.count("load.drivers", load.drivers, DRIVERS_MAX)?;
        self.positive("load.updates_per_second", load.updates_per_second, RATE_MAX)?;
        self.positive("load.jobs_per_hour", load.jobs_per_hour, RATE_MAX * 3_600.0)?;
        self.profile("load.drivers_by_hour", &load.drivers_by_hour)?;
        self.profile("load.demand_by_hour", &load.demand_by_hour)?;
        self.count("load.passengers", load.passengers, PASSENGERS_MAX)?;
        load.ceiling_per_second
            .map_or(Ok(()), |ceiling| self.count("load.ceiling_per_second", ceiling, u32::MAX))
    }

    fn profile(&self, key: &str, profile: &Profile) -> Result<(), FileError> {
        if profile.is_empty() {
            return Ok(());
        }
        let shares = &profile.0;
        if shares.len() != HOURS {
            let what = format!("has {} numbers: one for each of the {HOURS} hours", shares.len());
            return Err(self.source.error(key, what));
        }
        for (hour, share) in shares.iter().enumerate() {
            self.within(&format!("{key}[{hour}]"), *share, 0.0, 1.0)?;
        }
        if profile.peak() <= 0.0 {
            return Err(self.source.error(key, "is zero at every hour: nothing would happen"));
        }
        Ok(())
    }

    fn robots(&self, robots: &Robots) -> Result<(), FileError> {
        let shares = [
            ("clumsy", robots.clumsy),
            ("declines", robots.declines),
            ("ignores", robots.ignores),
            ("driver_cancels", robots.driver_cancels),
            ("cancels_before_match", robots.cancels_before_match),
            ("cancels_after_match", robots.cancels_after_match),
            ("no_shows", robots.no_shows),
            ("browses", robots.browses),
            ("push", robots.push),
            ("mishaps.restarts", robots.mishaps.restarts),
            ("mishaps.cancels_on_offer", robots.mishaps.cancels_on_offer),
            ("mishaps.late_retries", robots.mishaps.late_retries),
            ("mishaps.replays", robots.mishaps.replays),
            ("mishaps.second_phones", robots.mishaps.second_phones),
            ("parked", robots.parked),
            ("cruising", robots.cruising),
        ];
        for (key, share) in shares {
            self.within(&format!("robots.{key}"), share, 0.0, 1.0)?;
        }
        let sums = [
            ("ignores", "declines", robots.ignores + robots.declines),
            ("cruising", "parked", robots.cruising + robots.parked),
        ];
        for (key, other, sum) in sums {
            if sum > 1.0 + 1e-9 {
                let what = format!("is {sum} together with `robots.{other}`: 1 at most");
                return Err(self.source.error(&format!("robots.{key}"), what));
            }
        }
        let spreads = [
            ("answer_s", robots.answer_s),
            ("patience_s", robots.patience_s),
            ("regret_s", robots.regret_s),
            ("pickup_dwell_s", robots.pickup_dwell_s),
            ("dropoff_dwell_s", robots.dropoff_dwell_s),
            ("shift_s", robots.shift_s),
        ];
        for (key, spread) in spreads {
            self.spread(&format!("robots.{key}"), spread)?;
        }
        self.within("robots.rogue.share", robots.rogue.share, 0.0, 1.0)?;
        self.positive("robots.rogue.rate", robots.rogue.rate, ROGUE_RATE_MAX)?;
        self.count("robots.rogue.burst", robots.rogue.burst, ROGUE_BURST_MAX)?;
        self.within("robots.no_show_wait_s", robots.no_show_wait_s, 0.0, 86_400.0)?;
        self.within("robots.watch_s", robots.watch_s, 0.0, 86_400.0)?;
        self.positive("robots.poll_s", robots.poll_s, 86_400.0)?;
        self.positive("robots.driver_poll_s", robots.driver_poll_s, 86_400.0)?;
        self.count("robots.attempts_max", robots.attempts_max, 100)?;
        self.above_zero("robots.attempt_timeout", robots.attempt_timeout)?;
        self.above_zero("robots.backoff", robots.backoff)
    }

    fn backend(&self, backend: &BackendSettings) -> Result<(), FileError> {
        if ![EMBEDDED, RABBITMQ].contains(&backend.bus.as_str()) {
            let hint = suggest::must_be_one_of(&backend.bus, [EMBEDDED, RABBITMQ]);
            let what = format!("`{}` is not a bus: {hint}", backend.bus);
            return Err(self.source.error("backend.bus", what));
        }
        let counts = [
            ("api_per_az", backend.api_per_az),
            ("orchestration_per_az", backend.orchestration_per_az),
            ("core_per_az", backend.core_per_az),
            ("offers_at_once", backend.offers_at_once),
        ];
        for (key, count) in counts {
            self.count(&format!("backend.{key}"), count, NODES_PER_AZ_MAX)?;
        }
        self.count("backend.storage_replicas", backend.storage_replicas, STORAGE_REPLICAS_MAX)?;
        if backend.base_port.is_some_and(|port| port < 1_024) {
            let what = "must be 1024 or above, or left out to take free ports";
            return Err(self.source.error("backend.base_port", what));
        }
        let spans = [
            ("offer_ttl", backend.offer_ttl),
            ("search_ttl", backend.search_ttl),
            ("token_ttl", backend.token_ttl),
            ("ping_ttl", backend.ping_ttl),
            ("healthy_within", backend.healthy_within),
        ];
        for (key, span) in spans {
            self.above_zero(&format!("backend.{key}"), span)?;
        }
        if backend.offer_ttl > backend.search_ttl {
            let what = format!("is longer than `backend.search_ttl`, {}", backend.search_ttl);
            return Err(self.source.error("backend.offer_ttl", what));
        }
        for (key, shares) in [("flags", &backend.flags), ("routes", &backend.routes)] {
            for share in shares.values() {
                self.within(&format!("backend.{key}"), *share, 0.0, 1.0)?;
            }
        }
        if let Some((name, _)) = backend.experiments.iter().find(|(_, names)| names.is_empty()) {
            let what = format!("`{name}` has no variants: name one at least");
            return Err(self.source.error("backend.experiments", what));
        }
        self.positive("backend.reach_m", backend.reach_m, 1e6)
    }
}
