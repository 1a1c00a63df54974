//! A city's file and its map to a validated [`City`]: every error names file, line and key.

use std::collections::{BTreeMap, BTreeSet};

use geo::{InteriorPoint, Relate};
use jiff::tz::TimeZone;

use super::{
    City,
    demand::{Choices, Kind, TripDistance},
    file::{CityFile, Distance, HotSpotFile, Roads, Weight, ZoneFile},
    hours::{HOURS, Hours},
    map::{Map, Shape},
    ring::Ring,
    turns::Turns,
    zone::{ByHour, HotSpot, Zone},
};
use crate::base::{
    file::{FileError, Source},
    place::Place,
    suggest,
};

/// More zones than this are refused: a place is looked up in one after the other.
const ZONES_MAX: usize = 500;
/// More availability zones than this are refused.
const AZS_MAX: usize = 26;

/// The city in `source`, with the map that it names.
pub(super) fn city(
    source: &Source,
    file: CityFile,
    map_source: &Source,
) -> Result<City, FileError> {
    let map = Map::parse(&map_source.text, &map_source.path)?;
    let check = Check { source, profiles: profiles(source, &file.profiles)? };
    check.words(&file)?;
    let speed_kmh = check.roads(&file.roads)?;
    let trip_distance = check.trips(&file)?;
    check.polygons_and_zones_match(&file, &map, map_source)?;
    let mut zones = Vec::with_capacity(file.zones.len());
    for (index, zone) in file.zones.iter().enumerate() {
        zones.push(check.zone(index, zone, &map, map_source)?);
    }
    let choices = Choices::new(&zones).map_err(|none| {
        let word = Kind::ALL.iter().find(|(kind, _)| *kind == none.kind).map_or("", |(_, key)| key);
        let what = format!(
            "the `{word}` of all zones and hot spots is zero at {:02}:00: give one of them a weight",
            none.hour
        );
        source.error("zones", what)
    })?;
    Ok(City {
        name: file.name,
        azs: file.azs,
        time_zone: file.time_zone,
        currency: file.currency,
        tariff: file.tariff,
        detour: file.roads.detour,
        speed_kmh,
        v_max_kmh: file.roads.v_max_kmh,
        sources: vec![source.clone(), map_source.clone()],
        zones,
        turns: Turns::new(&map.boundary.ring),
        boundary_ring: map.boundary.ring,
        choices,
        trip_distance,
        shortest_trip_m: file.trips.shortest_m,
    })
}

/// The profiles by name; none may name another.
fn profiles(
    source: &Source,
    profiles: &BTreeMap<String, Hours>,
) -> Result<BTreeMap<String, ByHour>, FileError> {
    let known = Check { source, profiles: BTreeMap::new() };
    let mut all = BTreeMap::new();
    for (name, hours) in profiles {
        let key = format!("profiles.{name}");
        if matches!(hours, Hours::Profile(_)) {
            return Err(source.error(&key, "must be 24 numbers, not the name of another profile"));
        }
        all.insert(name.clone(), known.by_hour(&key, hours, NOT_NEGATIVE)?);
    }
    Ok(all)
}

type Bound = (fn(f64) -> bool, &'static str);
const NOT_NEGATIVE: Bound = (|value| value >= 0.0, "must be zero or more");
const POSITIVE: Bound = (|value| value > 0.0, "must be above zero");

struct Check<'a> {
    source: &'a Source,
    profiles: BTreeMap<String, ByHour>,
}

impl Check<'_> {
    fn number(&self, key: &str, value: f64, (holds, must): Bound) -> Result<(), FileError> {
        if value.is_finite() && holds(value) {
            return Ok(());
        }
        Err(self.source.error(key, format!("{must}, and is {value}")))
    }

    fn by_hour(&self, key: &str, hours: &Hours, bound: Bound) -> Result<ByHour, FileError> {
        let values = match hours {
            Hours::Same(value) => [*value; HOURS],
            Hours::Each(values) => *values,
            Hours::Profile(name) => *self.profiles.get(name).ok_or_else(|| {
                let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
                let hint = suggest::must_be_one_of(name, known);
                self.source.error(key, format!("`{name}` is not a profile: {hint}"))
            })?,
        };
        for value in values {
            self.number(key, value, bound)?;
        }
        Ok(values)
    }

    fn weight(&self, key: &str, weight: &Weight) -> Result<ByHour, FileError> {
        self.number(&format!("{key}.weight"), weight.weight, NOT_NEGATIVE)?;
        let hours = self.by_hour(&format!("{key}.by_hour"), &weight.by_hour, NOT_NEGATIVE)?;
        Ok(hours.map(|value| value * weight.weight))
    }

    fn words(&self, file: &CityFile) -> Result<(), FileError> {
        let error = |key: &str, what: String| Err(self.source.error(key, what));
        if file.name.trim().is_empty() {
            return error("name", "must not be empty".into());
        }
        if file.azs.is_empty() || file.azs.len() > AZS_MAX {
            let count = file.azs.len();
            return error("azs", format!("must be 1 to {AZS_MAX} availability zones, not {count}"));
        }
        let mut seen = BTreeSet::new();
        for (index, az) in file.azs.iter().enumerate() {
            let key = format!("azs[{index}]");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            if az.is_empty() || !az.chars().all(plain) {
                return error(&key, format!("`{az}` must be small letters and digits, like a"));
            }
            if !seen.insert(az) {
                return error(&key, format!("`{az}` stands there twice"));
            }
        }
        if let Err(cause) = TimeZone::get(&file.time_zone) {
            let what = format!("is not a time zone: write it like Europe/Dublin ({cause})");
            return error("time_zone", what);
        }
        let currency = file.currency.as_bytes();
        if currency.len() != 3 || !currency.iter().all(u8::is_ascii_uppercase) {
            return error("currency", "must be three capital letters, like EUR".into());
        }
        for (key, figure) in file.tariff.figures() {
            if figure < 0 {
                return error(&format!("tariff.{key}"), format!("must be zero or more: {figure}"));
            }
        }
        Ok(())
    }

    fn roads(&self, roads: &Roads) -> Result<ByHour, FileError> {
        let detour: Bound = (|value| (1.0..=3.0).contains(&value), "must be between 1 and 3");
        self.number("roads.detour", roads.detour, detour)?;
        self.number("roads.v_max_kmh", roads.v_max_kmh, POSITIVE)?;
        let speeds = self.by_hour("roads.speed_kmh", &roads.speed_kmh, POSITIVE)?;
        if let Some(hour) = speeds.iter().position(|speed| *speed > roads.v_max_kmh) {
            let what = format!("is above v_max_kmh at {hour:02}:00: lower it, or raise v_max_kmh");
            return Err(self.source.error("roads.speed_kmh", what));
        }
        Ok(speeds)
    }

    fn trips(&self, file: &CityFile) -> Result<TripDistance, FileError> {
        self.number("trips.shortest_m", file.trips.shortest_m, POSITIVE)?;
        let within = "trips.distance";
        Ok(match &file.trips.distance {
            Distance::Lognormal { median_m, sigma } => {
                let key = format!("{within}.lognormal");
                let narrow: Bound =
                    (|value| (0.0..=3.0).contains(&value), "must be between 0 and 3");
                self.number(&format!("{key}.sigma"), *sigma, narrow)?;
                let median_m = self.by_hour(&format!("{key}.median_m"), median_m, POSITIVE)?;
                TripDistance::Lognormal { median_m, sigma: *sigma }
            }
            Distance::Exponential { mean_m } => {
                let key = format!("{within}.exponential.mean_m");
                TripDistance::Exponential { mean_m: self.by_hour(&key, mean_m, POSITIVE)? }
            }
        })
    }

    fn polygons_and_zones_match(
        &self,
        file: &CityFile,
        map: &Map,
        map_source: &Source,
    ) -> Result<(), FileError> {
        if file.zones.is_empty() || file.zones.len() > ZONES_MAX {
            let what = format!("must be 1 to {ZONES_MAX} zones, not {}", file.zones.len());
            return Err(self.source.error("zones", what));
        }
        let mut names = BTreeSet::new();
        for (index, zone) in file.zones.iter().enumerate() {
            let key = format!("zones[{index}].name");
            if !names.insert(zone.name.as_str()) {
                let what = format!("a second zone `{}`: names are unique", zone.name);
                return Err(self.source.error(&key, what));
            }
            if !map.zones.contains_key(&zone.name) {
                let known: Vec<&str> = map.zones.keys().map(String::as_str).collect();
                let near = suggest::nearest(&zone.name, known)
                    .map(|near| format!(" (did you mean `{near}`?)"))
                    .unwrap_or_default();
                let what = format!(
                    "`{}` is not on the map {}{near}: draw it, or take the zone out",
                    zone.name,
                    map_source.path.display()
                );
                return Err(self.source.error(&key, what));
            }
        }
        let spare = map.zones.iter().find(|(name, _)| !names.contains(name.as_str()));
        spare.map_or(Ok(()), |(name, shape)| {
            let what = format!(
                "this zone has no weights: add it to {}, or take it off the map",
                self.source.path.display()
            );
            Err(on_map(map_source, name, shape, what))
        })
    }

    fn zone(
        &self,
        index: usize,
        zone: &ZoneFile,
        map: &Map,
        map_source: &Source,
    ) -> Result<Zone, FileError> {
        let key = format!("zones[{index}]");
        let Some(shape) = map.zones.get(&zone.name) else {
            return Err(self.source.error(&key, "is not on the map"));
        };
        let polygon = shape.ring.to_geo();
        if !map.boundary.ring.to_geo().relate(&polygon).is_covers() {
            let what = "reaches outside the city's boundary: redraw one of the two".to_owned();
            return Err(on_map(map_source, &zone.name, shape, what));
        }
        let demand = self.weight(&format!("{key}.demand"), &zone.demand)?;
        let or_demand = |name: &str, weight: &Option<Weight>| match weight {
            Some(weight) => self.weight(&format!("{key}.{name}"), weight),
            None => Ok(demand),
        };
        let supply = or_demand("supply", &zone.supply)?;
        let attraction = or_demand("attraction", &zone.attraction)?;
        let mut hot_spots = Vec::with_capacity(zone.hot_spots.len());
        for (spot, file) in zone.hot_spots.iter().enumerate() {
            let key = format!("{key}.hot_spots[{spot}]");
            hot_spots.push(self.hot_spot(&key, file, &zone.name, &shape.ring)?);
        }
        Ok(Zone {
            name: zone.name.clone(),
            demand,
            supply,
            attraction,
            hot_spots,
            inner: inner(&shape.ring, &polygon),
            shape: shape.ring.clone(),
        })
    }

    fn hot_spot(
        &self,
        key: &str,
        file: &HotSpotFile,
        zone: &str,
        ring: &Ring,
    ) -> Result<HotSpot, FileError> {
        let lat: Bound = (|value| value.abs() <= 90.0, "must be degrees from -90 to 90");
        let lon: Bound = (|value| value.abs() <= 180.0, "must be degrees from -180 to 180");
        let near: Bound =
            (|value| value > 0.0 && value <= 10_000.0, "must be above zero, to 10000");
        self.number(&format!("{key}.lat"), file.lat, lat)?;
        self.number(&format!("{key}.lon"), file.lon, lon)?;
        self.number(&format!("{key}.radius_m"), file.radius_m, near)?;
        let at = Place::from_degrees(file.lat, file.lon);
        if !ring.contains(at) {
            let what = format!(
                "`{}` at {}, {} is outside its zone `{zone}`: move it, or give it to the zone in \
                 which it lies",
                file.name, file.lat, file.lon
            );
            return Err(self.source.error(key, what));
        }
        Ok(HotSpot {
            name: file.name.clone(),
            at,
            radius_m: file.radius_m,
            demand: self.weight(&format!("{key}.demand"), &file.demand)?,
            supply: self.weight(&format!("{key}.supply"), &file.supply)?,
            attraction: self.weight(&format!("{key}.attraction"), &file.attraction)?,
        })
    }
}

fn on_map(map_source: &Source, name: &str, shape: &Shape, what: String) -> FileError {
    let path = map_source.path.clone();
    FileError { path, line: shape.line, key: Some(name.to_owned()), what }
}

/// A place that is surely in the ring: a corner is, where rounding spoils a better one.
fn inner(ring: &Ring, polygon: &geo::Polygon<f64>) -> Place {
    let point = polygon.interior_point().map(|point| Place::from_degrees(point.y(), point.x()));
    point
        .filter(|place| ring.contains(*place))
        .or_else(|| ring.corners().first().copied())
        .unwrap_or_default()
}
