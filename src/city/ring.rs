//! A closed ring of places: what is inside, in integers, so that every machine decides alike.

use crate::base::place::Place;

/// A simple polygon without holes. Its edge belongs to it.
#[derive(Debug, Clone)]
pub struct Ring {
    corners: Vec<Place>,
    low: Place,
    high: Place,
}

/// On which side of the way from `a` to `b` lies `c`: positive is left (to the north of a way
/// east). Micro-degrees fit: the products stay below 2 × 10¹⁷.
fn side(a: Place, b: Place, c: Place) -> i64 {
    let wide = |from: i32, to: i32| i64::from(to) - i64::from(from);
    wide(a.lon_e6, b.lon_e6) * wide(a.lat_e6, c.lat_e6)
        - wide(a.lat_e6, b.lat_e6) * wide(a.lon_e6, c.lon_e6)
}

fn in_box(low: Place, high: Place, place: Place) -> bool {
    (low.lat_e6..=high.lat_e6).contains(&place.lat_e6)
        && (low.lon_e6..=high.lon_e6).contains(&place.lon_e6)
}

fn box_of(places: &[Place]) -> (Place, Place) {
    let mut low = Place { lat_e6: i32::MAX, lon_e6: i32::MAX };
    let mut high = Place { lat_e6: i32::MIN, lon_e6: i32::MIN };
    for place in places {
        low.lat_e6 = low.lat_e6.min(place.lat_e6);
        low.lon_e6 = low.lon_e6.min(place.lon_e6);
        high.lat_e6 = high.lat_e6.max(place.lat_e6);
        high.lon_e6 = high.lon_e6.max(place.lon_e6);
    }
    (low, high)
}

impl Ring {
    /// A ring through the corners; a last corner equal to the first is dropped.
    pub fn new(mut corners: Vec<Place>) -> Self {
        if corners.len() > 1 && corners.first() == corners.last() {
            corners.pop();
        }
        let (low, high) = box_of(&corners);
        Self { corners, low, high }
    }

    /// The corners, each once.
    pub fn corners(&self) -> &[Place] {
        &self.corners
    }

    /// South-west and north-east corner of the box around it.
    pub fn bounds(&self) -> (Place, Place) {
        (self.low, self.high)
    }

    /// The edges, the closing one included.
    pub fn edges(&self) -> impl Iterator<Item = (Place, Place)> + '_ {
        let next = self.corners.iter().cycle().skip(1);
        self.corners.iter().copied().zip(next.copied())
    }

    /// True for a place inside it or on its edge.
    pub fn contains(&self, place: Place) -> bool {
        if !in_box(self.low, self.high, place) {
            return false;
        }
        let mut inside = false;
        for (a, b) in self.edges() {
            // Most edges lie wholly to the north or to the south: neither on it nor crossed.
            if a.lat_e6.max(b.lat_e6) < place.lat_e6 || a.lat_e6.min(b.lat_e6) > place.lat_e6 {
                continue;
            }
            let turn = side(a, b, place);
            if turn == 0 {
                let (low, high) = box_of(&[a, b]);
                if in_box(low, high, place) {
                    return true;
                }
            }
            // Count the edges that a ray to the east crosses.
            if (a.lat_e6 > place.lat_e6) != (b.lat_e6 > place.lat_e6)
                && (turn > 0) == (b.lat_e6 > a.lat_e6)
            {
                inside = !inside;
            }
        }
        inside
    }

    /// True when the straight way from `a` to `b` stays in the ring. Both ends must be in it.
    /// A way that only brushes a corner counts as inside.
    pub fn sees(&self, a: Place, b: Place) -> bool {
        let (low, high) = box_of(&[a, b]);
        let crosses = |(c, d): (Place, Place)| {
            if c.lat_e6.max(d.lat_e6) < low.lat_e6
                || c.lat_e6.min(d.lat_e6) > high.lat_e6
                || c.lon_e6.max(d.lon_e6) < low.lon_e6
                || c.lon_e6.min(d.lon_e6) > high.lon_e6
            {
                return false;
            }
            let (of_c, of_d) = (side(a, b, c), side(a, b, d));
            let (of_a, of_b) = (side(c, d, a), side(c, d, b));
            of_c.signum() * of_d.signum() < 0 && of_a.signum() * of_b.signum() < 0
        };
        if self.edges().any(crosses) {
            return false;
        }
        // Without a crossing the way may still run outside between two corners that it touches.
        let whole = a.metres_to(b);
        [0.25, 0.5, 0.75].iter().all(|part| {
            let between = a.toward(b, whole * part);
            self.contains(between) || self.is_near_edge(between)
        })
    }

    /// Within a metre or so of an edge: places are rounded to micro-degrees, so that a point of
    /// an edge may come to lie just outside.
    fn is_near_edge(&self, place: Place) -> bool {
        [(10, 0), (-10, 0), (0, 10), (0, -10)].iter().any(|(lat, lon)| {
            self.contains(Place { lat_e6: place.lat_e6 + lat, lon_e6: place.lon_e6 + lon })
        })
    }

    /// The same ring for `geo`.
    pub(super) fn to_geo(&self) -> geo::Polygon<f64> {
        let corners = self.corners.iter().map(|c| geo::Coord { x: c.lon(), y: c.lat() });
        geo::Polygon::new(geo::LineString::new(corners.collect()), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(corners: &[(i32, i32)]) -> Ring {
        Ring::new(corners.iter().copied().map(Place::from).collect())
    }

    /// A square with a bay cut into its east side.
    fn bay() -> Ring {
        ring(&[(0, 0), (0, 900), (300, 900), (450, 300), (600, 900), (900, 900), (900, 0), (0, 0)])
    }

    #[test]
    fn edges_and_corners_belong_to_a_ring() {
        let bay = bay();
        assert_eq!(bay.corners().len(), 7);
        for inside in [(0, 0), (900, 900), (450, 0), (450, 300), (100, 850), (450, 299)] {
            assert!(bay.contains(inside.into()), "{inside:?}");
        }
        for outside in [(450, 301), (450, 900), (901, 0), (-1, 5), (450, 2_000)] {
            assert!(!bay.contains(outside.into()), "{outside:?}");
        }
    }

    #[test]
    fn containment_agrees_with_geo() {
        use geo::Intersects;
        let (bay, mut rng) = (bay(), crate::base::rng::Rng::from_seed("ring"));
        let polygon = bay.to_geo();
        for _ in 0..5_000 {
            let place = Place { lat_e6: rng.below(1_000) as i32, lon_e6: rng.below(1_000) as i32 };
            let point = geo::Point::new(place.lon(), place.lat());
            // On a slanted edge doubles may decide otherwise: skip what is exactly on one.
            if bay.edges().all(|(a, b)| side(a, b, place) != 0) {
                assert_eq!(bay.contains(place), polygon.intersects(&point), "{place:?}");
            }
        }
    }

    #[test]
    fn one_does_not_see_across_the_bay() {
        let bay = bay();
        assert!(!bay.sees((200, 850).into(), (700, 850).into()));
        assert!(bay.sees((200, 100).into(), (700, 100).into()));
        assert!(bay.sees((200, 850).into(), (450, 300).into()), "to the corner of the bay");
    }
}
