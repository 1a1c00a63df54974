//! `core/zoning`: in which zone a place is: point in polygon, in memory, in integers.

use super::{Router, tariff::from_wire};
use crate::{
    backend::{
        boot::CityFacts,
        node::Node,
        wire::{LocateAnswer, LocateAsk},
    },
    base::place::Place,
};

/// Serves `core/zoning` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let zones = Zones::new(&node.config.settings.city);
    router.on_sync("/core/zoning/search", move |ask: LocateAsk| {
        Ok(zones.locate(from_wire(ask.at.as_ref())?))
    });
}

/// A ring and the box around it.
struct Ring {
    corners: Vec<Place>,
    low: Place,
    high: Place,
}

/// Rings of a city.
pub struct Zones {
    boundary: Ring,
    zones: Vec<(String, Ring)>,
}

impl Zones {
    /// Of the city.
    pub fn new(city: &CityFacts) -> Self {
        let zones = city.zones.iter().map(|(name, ring)| (name.clone(), Ring::new(ring)));
        Self { boundary: Ring::new(&city.boundary), zones: zones.collect() }
    }

    /// Inside of the city or not, and the first zone that holds the place.
    pub fn locate(&self, at: Place) -> LocateAnswer {
        let zone = self.zones.iter().find(|(_, ring)| ring.holds(at));
        LocateAnswer {
            in_city: self.boundary.holds(at),
            zone: zone.map(|(name, _)| name.clone()).unwrap_or_default(),
        }
    }
}

impl Ring {
    fn new(corners: &[Place]) -> Self {
        let fold = |pick: fn(i32, i32) -> i32, of: fn(&Place) -> i32| {
            corners.iter().map(of).reduce(pick).unwrap_or_default()
        };
        Self {
            corners: corners.to_vec(),
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

    /// Counts the edges east of the place that a line of latitude crosses: an odd count is inside.
    /// Exact integers, so the same on every machine.
    fn holds(&self, at: Place) -> bool {
        let boxed = (self.low.lat_e6..=self.high.lat_e6).contains(&at.lat_e6)
            && (self.low.lon_e6..=self.high.lon_e6).contains(&at.lon_e6);
        if !boxed {
            return false;
        }
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
    let wide = |value: i32| i128::from(value);
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
}
