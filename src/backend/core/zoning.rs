//! `core/zoning`: in which zone a place is: point in polygon, in memory, in integers. The map is
//! swapped as a whole when it is loaded again.

use std::{cell::RefCell, rc::Rc};

use super::{Code, Router, RpcError, refuse, tariff::from_wire};
use crate::{
    backend::{
        node::Node,
        wire::{self, LocateAnswer, LocateAsk, Nothing, ZonesAsk},
    },
    base::place::Place,
};

/// Zones of a city, and corners of one ring, at most.
const ZONES_MAX: usize = 10_000;
const CORNERS_MAX: usize = 100_000;

/// Serves `core/zoning` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let city = &node.config.settings.city;
    let first =
        Zones::new(&city.boundary, city.zones.iter().map(|(name, ring)| (&**name, &**ring)));
    let map = Rc::new(Map::new(first));
    let read = Rc::clone(&map);
    router.on_sync("/core/zoning/search", move |ask: LocateAsk| {
        Ok(read.now().locate(from_wire(ask.at.as_ref())?))
    });
    router.on_sync("/core/zoning/reload", move |ask: ZonesAsk| {
        map.swap(zones_of(&ask)?);
        Ok(Nothing {})
    });
}

fn zones_of(ask: &ZonesAsk) -> Result<Zones, RpcError> {
    let ring = |corners: &[wire::Place]| -> Result<Vec<Place>, RpcError> {
        if !(3..=CORNERS_MAX).contains(&corners.len()) {
            let why = format!("a ring has 3 to {CORNERS_MAX} corners, and not {}", corners.len());
            return Err(refuse(Code::Invalid, why));
        }
        corners.iter().map(|corner| from_wire(Some(corner))).collect()
    };
    if ask.zones.len() > ZONES_MAX {
        return Err(refuse(Code::Invalid, format!("more than {ZONES_MAX} zones")));
    }
    let boundary = ring(&ask.boundary)?;
    let zones = ask.zones.iter().map(|zone| Ok((zone.name.as_str(), ring(&zone.ring)?)));
    let zones = zones.collect::<Result<Vec<_>, RpcError>>()?;
    Ok(Zones::new(&boundary, zones.iter().map(|(name, ring)| (*name, &**ring))))
}

/// The zones that hold now. Whoever reads goes on with what it has read; a new map is made beside
/// the old one and takes its place in one step.
pub struct Map(RefCell<Rc<Zones>>);

impl Map {
    /// Of these zones.
    pub fn new(zones: Zones) -> Self {
        Self(RefCell::new(Rc::new(zones)))
    }

    /// As they are now.
    pub fn now(&self) -> Rc<Zones> {
        Rc::clone(&self.0.borrow())
    }

    /// From now on these.
    pub fn swap(&self, zones: Zones) {
        let old = self.0.replace(Rc::new(zones));
        drop(old);
    }
}

/// The box around a ring: what every search looks at, so it lies together.
#[derive(Clone, Copy)]
struct Frame {
    low: Place,
    high: Place,
}

struct Ring {
    frame: Frame,
    corners: Vec<Place>,
}

/// Rings of a city.
pub struct Zones {
    boundary: Ring,
    frames: Vec<Frame>,
    named: Vec<(String, Ring)>,
}

impl Zones {
    /// Of a city with this boundary and these zones; rings may be closed or not.
    pub fn new<'a>(
        boundary: &[Place],
        zones: impl IntoIterator<Item = (&'a str, &'a [Place])>,
    ) -> Self {
        let zones = zones.into_iter().map(|(name, ring)| (name.to_owned(), Ring::new(ring)));
        let named: Vec<_> = zones.collect();
        let frames = named.iter().map(|(_, ring)| ring.frame).collect();
        Self { boundary: Ring::new(boundary), frames, named }
    }

    /// Inside of the city or not, and the first zone that holds the place.
    pub fn locate(&self, at: Place) -> LocateAnswer {
        let framed = self.frames.iter().zip(&self.named).filter(|(frame, _)| frame.holds(at));
        let zone = framed.map(|(_, zone)| zone).find(|(_, ring)| ring.winds_around(at));
        LocateAnswer {
            in_city: self.boundary.holds(at),
            zone: zone.map(|(name, _)| name.clone()).unwrap_or_default(),
        }
    }
}

impl Frame {
    fn around(corners: &[Place]) -> Self {
        let fold = |pick: fn(i32, i32) -> i32, of: fn(&Place) -> i32| {
            corners.iter().map(of).reduce(pick).unwrap_or_default()
        };
        Self {
            low: Place {
                lat_e6: fold(i32::min, |p| p.lat_e6),
                lon_e6: fold(i32::min, |p| p.lon_e6),
            },
            high: Place {
                lat_e6: fold(i32::max, |p| p.lat_e6),
                lon_e6: fold(i32::max, |p| p.lon_e6),
            },
        }
    }

    fn holds(&self, at: Place) -> bool {
        (self.low.lat_e6..=self.high.lat_e6).contains(&at.lat_e6)
            && (self.low.lon_e6..=self.high.lon_e6).contains(&at.lon_e6)
    }
}

impl Ring {
    fn new(corners: &[Place]) -> Self {
        Self { frame: Frame::around(corners), corners: corners.to_vec() }
    }

    fn holds(&self, at: Place) -> bool {
        self.frame.holds(at) && self.winds_around(at)
    }

    /// Counts the edges east of the place that a line of latitude crosses: an odd count is inside.
    /// Exact integers, so the same on every machine.
    fn winds_around(&self, at: Place) -> bool {
        let mut inside = false;
        let mut from = self.corners.last().copied().unwrap_or_default();
        for &to in &self.corners {
            if (from.lat_e6 > at.lat_e6) != (to.lat_e6 > at.lat_e6) && is_west_of(at, from, to) {
                inside = !inside;
            }
            from = to;
        }
        inside
    }
}

/// True when the place is west of the edge at its own latitude.
fn is_west_of(at: Place, from: Place, to: Place) -> bool {
    // Degrees times degrees, both in millionths, fit with room to spare.
    let wide = |value: i32| i64::from(value);
    let rise = wide(to.lat_e6) - wide(from.lat_e6);
    let run = wide(to.lon_e6) - wide(from.lon_e6);
    let left = (wide(at.lon_e6) - wide(from.lon_e6)) * rise;
    let right = run * (wide(at.lat_e6) - wide(from.lat_e6));
    if rise > 0 { left < right } else { left > right }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(corners: &[(i32, i32)]) -> Ring {
        Ring::new(&corners.iter().copied().map(Place::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_notch_is_outside_although_the_box_holds_it() {
        // A "U", open to the north; closed and open rings are alike.
        let open = [(0, 0), (0, 30), (30, 30), (30, 20), (10, 20), (10, 10), (30, 10), (30, 0)];
        let mut closed = open.to_vec();
        closed.push(open[0]);
        for ring in [ring(&open), ring(&closed)] {
            assert!(ring.holds((20, 5).into()) && ring.holds((5, 15).into()));
            assert!(ring.holds((20, 25).into()));
            assert!(!ring.holds((20, 15).into()) && !ring.holds((31, 5).into()));
        }
        assert!(!ring(&[]).holds((0, 0).into()));
    }

    #[test]
    fn a_reload_takes_the_place_of_the_whole_map_and_leaves_readers_alone() {
        let square = |side: i32| [(0, 0), (0, side), (side, side), (side, 0)];
        let places = |side| square(side).map(Place::from);
        let city = places(10);
        let map = Map::new(Zones::new(&city, [("old", &city[..])]));
        let reading = map.now();
        let corner = |(lat_e6, lon_e6)| wire::Place { lat_e6, lon_e6 };
        let ring = square(20).map(corner).to_vec();
        let zone = wire::Zone { name: "new".into(), ring: ring.clone() };
        map.swap(zones_of(&ZonesAsk { boundary: ring, zones: vec![zone.clone()] }).unwrap());
        let at = Place::from((15, 15));
        assert_eq!(
            (map.now().locate(at).in_city, map.now().locate(at).zone.as_str()),
            (true, "new")
        );
        assert!(!reading.locate(at).in_city, "who reads goes on with the old one");
        let bare = ZonesAsk { boundary: Vec::new(), zones: vec![zone] };
        assert!(zones_of(&bare).is_err(), "a city without a boundary is none");
    }
}
