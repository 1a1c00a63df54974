//! The way that a car drives between two places.
//!
//! The seam for street graphs: everybody asks [`City::way`] for a [`Way`], a line of places with
//! a length, and [`Way::at`] for the place after so many metres. Where the line comes from
//! is known here alone. Now it is drawn: straight, around the sea where the boundary is in the
//! way, bent at every block like streets are, and stretched to the detour factor.

use super::City;
use crate::base::place::Place;

/// A bend about every so many metres, as the crow flies.
const BLOCK_M: f64 = 500.0;
/// The most bends in one straight part of a way.
const BENDS_MAX: usize = 64;

/// A way on the road.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The line that is driven, from the first place to the last; two places at least.
    pub legs: Vec<Place>,
    /// Length on the road.
    pub metres: f64,
    /// Metres of the line before each place of `legs`.
    before_m: Vec<f64>,
}

impl Way {
    /// A way along the line that is `metres` long on the road. Where the line is shorter than
    /// that, progress on it is slowed to fit, so that nobody is ever faster than on the road.
    pub fn along(legs: Vec<Place>, metres: f64) -> Self {
        let mut sum = 0.0;
        let mut before_m = Vec::with_capacity(legs.len());
        for (index, place) in legs.iter().enumerate() {
            if index > 0 {
                sum += legs[index - 1].metres_to(*place);
            }
            before_m.push(sum);
        }
        Self { legs, metres: metres.max(sum), before_m }
    }

    /// Where the car is after so many metres; at the end when it is beyond.
    pub fn at(&self, metres_driven: f64) -> Place {
        let (Some(last), Some(line_m)) = (self.legs.last(), self.before_m.last()) else {
            return Place::default();
        };
        if metres_driven >= self.metres || self.metres <= 0.0 {
            return *last;
        }
        let along = metres_driven.max(0.0) / self.metres * line_m;
        let next = self.before_m.partition_point(|before| *before <= along);
        match (self.legs.get(next.saturating_sub(1)), self.legs.get(next)) {
            (Some(from), Some(to)) => from.toward(*to, along - self.before_m[next - 1]),
            _ => *last,
        }
    }

    /// The end of the way.
    pub fn end(&self) -> Place {
        self.legs.last().copied().unwrap_or_default()
    }
}

impl City {
    /// The way from one place to another.
    pub fn way(&self, from: Place, to: Place) -> Way {
        let corners = self.turns.between(&self.boundary_ring, from, to);
        let mut legs = vec![from];
        let mut crow_m = 0.0;
        for pair in corners.windows(2) {
            crow_m += pair[0].metres_to(pair[1]);
            self.bend(pair[0], pair[1], &mut legs);
        }
        Way::along(legs, crow_m * self.detour)
    }

    /// Adds the bends between two places, and the second place: to the left and to the right in
    /// turn, as far as the detour factor asks. A bend into the sea is left out.
    fn bend(&self, from: Place, to: Place, legs: &mut Vec<Place>) {
        let (east, north) = from.offset_to(to);
        let crow_m = libm::sqrt(east * east + north * north);
        let bends = ((crow_m / BLOCK_M) as usize).clamp(1, BENDS_MAX);
        // Each bend is the tip of a triangle over its share of the crow's way.
        let tall = 0.5 * libm::sqrt((self.detour * self.detour - 1.0).max(0.0)) / bends as f64;
        for bend in 0..bends {
            let part = (bend as f64 + 0.5) / bends as f64;
            let side = if bend % 2 == 0 { tall } else { -tall };
            let tip = from.offset(east * part - north * side, north * part + east * side);
            if self.contains(tip) {
                legs.push(tip);
            }
        }
        legs.push(to);
    }
}
