//! The map beside a city's file: the boundary and the zones as `GeoJSON` polygons, as any map
//! program draws them.

use std::{collections::BTreeMap, path::Path};

use geo::algorithm::Validation;
use geojson::{FeatureCollection, GeometryValue, feature::Feature};

use super::ring::Ring;
use crate::base::{file::FileError, place::Place, suggest};

/// More corners than this in one polygon are refused: every draw walks along them.
const CORNERS_MAX: usize = 5_000;

/// A polygon of the map.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub ring: Ring,
    /// Its line in the file, where it is known.
    pub line: Option<usize>,
}

/// The polygons of a map, validated each by itself.
#[derive(Debug)]
pub(super) struct Map {
    pub boundary: Shape,
    pub zones: BTreeMap<String, Shape>,
}

/// Errors about one polygon.
struct At<'a> {
    path: &'a Path,
    line: Option<usize>,
    key: String,
}

impl At<'_> {
    fn error(&self, what: impl Into<String>) -> FileError {
        FileError {
            path: self.path.to_owned(),
            line: self.line,
            key: Some(self.key.clone()),
            what: what.into(),
        }
    }
}

impl Map {
    /// Parses `GeoJSON`: one feature with `"kind": "boundary"`, and one with `"kind": "zone"` and a
    /// `"name"` for each zone.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let features: FeatureCollection =
            serde_json::from_str(text).map_err(|error| FileError {
                path: path.to_owned(),
                line: Some(error.line()).filter(|line| *line > 0),
                key: None,
                what: format!("this is not a GeoJSON FeatureCollection: {error}"),
            })?;
        let mut boundary = None;
        let mut zones = BTreeMap::new();
        for (index, feature) in features.features.iter().enumerate() {
            let name = word(feature, "name");
            let line = name.and_then(|name| line_of(text, name));
            let key = name.map_or_else(|| format!("features[{index}]"), str::to_owned);
            let at = At { path, line, key };
            let shape = || Ok(Shape { ring: ring(feature, &at)?, line });
            match (word(feature, "kind"), name) {
                (Some("boundary"), _) if boundary.is_some() => {
                    return Err(at.error("a second boundary: a city has one"));
                }
                (Some("boundary"), _) => boundary = Some(shape()?),
                (Some("zone"), None) => return Err(at.error("a zone needs a `name`")),
                (Some("zone"), Some(name)) => {
                    if zones.insert(name.to_owned(), shape()?).is_some() {
                        return Err(at.error("a second zone of this name: names are unique"));
                    }
                }
                (Some(kind), _) => {
                    let what = suggest::must_be_one_of(kind, ["boundary", "zone"]);
                    return Err(at.error(format!("unknown `kind` `{kind}`: {what}")));
                }
                (None, _) => {
                    let what = "needs the property `kind`: must be one of boundary, zone";
                    return Err(at.error(what));
                }
            }
        }
        let missing = "has no boundary: one feature needs the property \"kind\": \"boundary\"";
        let boundary = boundary.ok_or_else(|| FileError::whole(path, missing))?;
        Ok(Self { boundary, zones })
    }
}

/// A property that is text.
fn word<'a>(feature: &'a Feature, key: &str) -> Option<&'a str> {
    feature.properties.as_ref()?.get(key)?.as_str()
}

/// The first line on which the name stands in quotes.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let quoted = serde_json::to_string(name).ok()?;
    text.lines().position(|line| line.contains(&quoted)).map(|index| index + 1)
}

fn ring(feature: &Feature, at: &At<'_>) -> Result<Ring, FileError> {
    let geometry = feature.geometry.as_ref().map(|geometry| &geometry.value);
    let Some(GeometryValue::Polygon { coordinates }) = geometry else {
        return Err(at.error("must be a Polygon"));
    };
    let [outer] = coordinates.as_slice() else {
        return Err(at.error("must be a Polygon of one ring: holes are not supported"));
    };
    if outer.len() > CORNERS_MAX {
        let what = format!("has {} corners, the limit is {CORNERS_MAX}: simplify it", outer.len());
        return Err(at.error(what));
    }
    let corners = outer.iter().map(|position| match position.as_slice() {
        [lon, lat, ..] if (-90.0..=90.0).contains(lat) && (-180.0..=180.0).contains(lon) => {
            Ok(Place::from_degrees(*lat, *lon))
        }
        other => {
            let what = format!("{other:?} is not [longitude, latitude] in degrees");
            Err(at.error(what))
        }
    });
    let ring = Ring::new(corners.collect::<Result<_, _>>()?);
    if ring.corners().len() < 3 {
        return Err(at.error("needs three corners at least"));
    }
    // In the integers that are used later: rounding may have closed a narrow place.
    ring.to_geo().check_validation().map_err(|error| {
        at.error(format!("is not a simple polygon ({error}): draw it without crossing itself"))
    })?;
    Ok(ring)
}
