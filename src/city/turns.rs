//! How to get around a bay: the corners of the boundary that ways turn at, and the shortest way
//! between any two of them, computed once when the city is loaded.

use super::ring::Ring;
use crate::base::place::Place;

/// More corners than this are not turned at: the tables grow with their square. Ways that would
/// need more are then straight.
const CORNERS_MAX: usize = 256;

/// Shortest ways between the corners at which the boundary bends inward.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    corners: Vec<Place>,
    /// Metres between two corners, by row; infinite where there is no way.
    metres: Vec<f64>,
    /// First corner on the way from row to column.
    first: Vec<u16>,
}

impl Turns {
    /// For a boundary.
    pub fn new(ring: &Ring) -> Self {
        let corners = inward(ring);
        let count = corners.len();
        if count > CORNERS_MAX {
            return Self::default();
        }
        let mut turns = Self {
            metres: vec![f64::INFINITY; count * count],
            first: (0..count * count).map(|cell| (cell % count) as u16).collect(),
            corners,
        };
        for from in 0..count {
            for to in 0..from {
                if ring.sees(turns.corners[from], turns.corners[to]) {
                    let metres = turns.corners[from].metres_to(turns.corners[to]);
                    turns.metres[from * count + to] = metres;
                    turns.metres[to * count + from] = metres;
                }
            }
            turns.metres[from * count + from] = 0.0;
        }
        turns.shorten();
        turns
    }

    /// Floyd and Warshall's: every pair over every corner.
    fn shorten(&mut self) {
        let count = self.corners.len();
        for over in 0..count {
            for from in 0..count {
                for to in 0..count {
                    let sum = self.metres[from * count + over] + self.metres[over * count + to];
                    if sum < self.metres[from * count + to] {
                        self.metres[from * count + to] = sum;
                        self.first[from * count + to] = self.first[from * count + over];
                    }
                }
            }
        }
    }

    /// The places at which a way turns, both ends included: straight where the boundary allows
    /// it, and where no way around is known.
    pub fn between(&self, ring: &Ring, from: Place, to: Place) -> Vec<Place> {
        let straight = vec![from, to];
        if self.corners.is_empty() || ring.sees(from, to) {
            return straight;
        }
        let count = self.corners.len();
        let seen = |place: Place| -> Vec<(usize, f64)> {
            let near = self.corners.iter().enumerate();
            near.filter(|(_, corner)| ring.sees(place, **corner))
                .map(|(index, corner)| (index, place.metres_to(*corner)))
                .collect()
        };
        let (starts, ends) = (seen(from), seen(to));
        let mut best = (f64::INFINITY, 0, 0);
        for (start, to_start) in &starts {
            for (end, from_end) in &ends {
                let metres = to_start + self.metres[start * count + end] + from_end;
                if metres < best.0 {
                    best = (metres, *start, *end);
                }
            }
        }
        let (metres, mut corner, end) = best;
        if metres.is_infinite() {
            return straight;
        }
        let mut turns = vec![from, self.corners[corner]];
        while corner != end && turns.len() <= count {
            corner = usize::from(self.first[corner * count + end]);
            turns.push(self.corners[corner]);
        }
        turns.push(to);
        turns
    }
}

/// The corners at which the ring bends inward; no shortest way turns anywhere else.
fn inward(ring: &Ring) -> Vec<Place> {
    let corners = ring.corners();
    let count = corners.len();
    let turn = |index: usize| {
        let before = corners[(index + count - 1) % count];
        let (a, b) = (corners[index], corners[(index + 1) % count]);
        let wide = |from: i32, to: i32| i64::from(to) - i64::from(from);
        wide(before.lon_e6, a.lon_e6) * wide(a.lat_e6, b.lat_e6)
            - wide(before.lat_e6, a.lat_e6) * wide(a.lon_e6, b.lon_e6)
    };
    let area: i64 = ring
        .edges()
        .map(|(a, b)| {
            let (from, to) = (corners[0], a);
            // Relative to the first corner, so that the sum stays small.
            (i64::from(to.lon_e6) - i64::from(from.lon_e6))
                * (i64::from(b.lat_e6) - i64::from(from.lat_e6))
                - (i64::from(to.lat_e6) - i64::from(from.lat_e6))
                    * (i64::from(b.lon_e6) - i64::from(from.lon_e6))
        })
        .fold(0, i64::saturating_add);
    (0..count)
        .filter(|index| turn(*index).signum() == -area.signum())
        .map(|index| corners[index])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_goes_around_the_bay_and_no_farther() {
        let corners =
            [(0, 0), (0, 9_000), (3_000, 9_000), (4_500, 3_000), (6_000, 9_000), (9_000, 9_000)];
        let mut corners: Vec<Place> = corners.into_iter().map(Place::from).collect();
        corners.push((9_000, 0).into());
        for _ in 0..2 {
            // The same for either sense of rotation.
            let ring = Ring::new(corners.clone());
            let turns = Turns::new(&ring);
            assert_eq!(turns.corners, [Place::from((4_500, 3_000))]);
            let (from, to) = ((2_000, 8_500).into(), (7_000, 8_500).into());
            assert_eq!(turns.between(&ring, from, to), [from, (4_500, 3_000).into(), to]);
            let near = (2_500, 8_000).into();
            assert_eq!(turns.between(&ring, from, near), [from, near]);
            corners.reverse();
        }
    }
}
