//! Where journeys begin and end, and where drivers are: weighted draws by the hour.

use rand_distr::{Distribution, weighted::WeightedAliasIndex};

use super::{
    City,
    hours::HOURS,
    zone::{ByHour, Zone},
};
use crate::base::{dist, place::Place, rng::Rng};

/// Draws before a point is taken that is surely inside.
const TRIES_MAX: usize = 48;
/// Destinations that are weighed against the distance that was drawn.
const CANDIDATES: usize = 16;

/// What happens somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Journeys begin.
    Demand,
    /// Drivers start, or go when they look for work.
    Supply,
    /// Journeys end.
    Attraction,
}

impl Kind {
    /// All kinds, with their keys in a city's file.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Demand, "demand"), (Self::Supply, "supply"), (Self::Attraction, "attraction")];
}

/// The ground of a zone, or one of its hot spots.
#[derive(Debug, Clone, Copy)]
struct Source {
    zone: usize,
    spot: Option<usize>,
}

/// Distribution of the distance on the road, by hour.
#[derive(Debug, Clone)]
pub enum TripDistance {
    /// Lognormal.
    Lognormal {
        /// Median in metres.
        median_m: ByHour,
        /// Deviation of the logarithm.
        sigma: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean in metres.
        mean_m: ByHour,
    },
}

impl TripDistance {
    fn metres(&self, hour: usize, rng: &mut Rng) -> f64 {
        match self {
            Self::Lognormal { median_m, sigma } => dist::lognormal(rng, median_m[hour], *sigma),
            Self::Exponential { mean_m } => dist::exponential(rng, mean_m[hour]),
        }
    }
}

/// Weighted choices, computed once for each kind and hour.
#[derive(Debug, Clone)]
pub struct Choices {
    sources: Vec<Source>,
    by_kind: [Vec<WeightedAliasIndex<f64>>; 3],
}

/// The first hour of which all weights are zero, so that nothing can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoWeight {
    /// Of which kind.
    pub kind: Kind,
    /// In which hour.
    pub hour: usize,
}

impl Choices {
    /// Over the ground and the hot spots of all zones.
    pub fn new(zones: &[Zone]) -> Result<Self, NoWeight> {
        let mut sources = Vec::new();
        for (zone, of) in zones.iter().enumerate() {
            sources.push(Source { zone, spot: None });
            sources.extend((0..of.hot_spots.len()).map(|spot| Source { zone, spot: Some(spot) }));
        }
        let of = |kind: Kind| {
            let table = |hour: usize| {
                let weights = sources.iter().map(|source| weights_of(zones, *source, kind)[hour]);
                WeightedAliasIndex::new(weights.collect()).map_err(|_| NoWeight { kind, hour })
            };
            (0..HOURS).map(table).collect::<Result<Vec<_>, _>>()
        };
        let by_kind = [of(Kind::Demand)?, of(Kind::Supply)?, of(Kind::Attraction)?];
        Ok(Self { sources, by_kind })
    }

    fn source(&self, kind: Kind, hour: usize, rng: &mut Rng) -> Source {
        self.sources[self.by_kind[kind as usize][hour].sample(rng)]
    }
}

fn weights_of(zones: &[Zone], source: Source, kind: Kind) -> &ByHour {
    let zone = &zones[source.zone];
    let spot = source.spot.map(|spot| &zone.hot_spots[spot]);
    match kind {
        Kind::Demand => spot.map_or(&zone.demand, |spot| &spot.demand),
        Kind::Supply => spot.map_or(&zone.supply, |spot| &spot.supply),
        Kind::Attraction => spot.map_or(&zone.attraction, |spot| &spot.attraction),
    }
}

impl City {
    /// A journey that somebody wishes to make in that local hour: from, to. Both are inside the
    /// boundary, and in a zone.
    ///
    /// The start is drawn by demand. A length on the road is drawn from the distribution of the
    /// trips; of some destinations drawn by attraction, the one wins whose way is nearest to it by
    /// ratio. So both the attraction and, as far as the city reaches, the distances hold.
    pub fn draw_trip(&self, hour: usize, rng: &mut Rng) -> (Place, Place) {
        let hour = hour % HOURS;
        let from = self.draw_place(Kind::Demand, hour, rng);
        let crow_m =
            self.trip_distance.metres(hour, rng).max(self.shortest_trip_m) / self.detour.max(1.0);
        let shortest_m = self.shortest_trip_m / self.detour.max(1.0);
        let mut best = None;
        for _ in 0..CANDIDATES {
            let to = self.draw_place(Kind::Attraction, hour, rng);
            let metres = from.metres_to(to);
            if metres < shortest_m {
                continue;
            }
            let off = libm::fabs(libm::log(metres / crow_m));
            if best.is_none_or(|(least, _)| off < least) {
                best = Some((off, to));
            }
        }
        // Too far off by a third: the attraction knows no place at that distance.
        match best {
            Some((off, to)) if off < 0.3 => (from, to),
            other => {
                let to = self.draw_at_distance(from, crow_m, rng);
                (from, to.or(other.map(|(_, to)| to)).unwrap_or_else(|| self.farthest(from)))
            }
        }
    }

    /// Where a driver starts, or goes to look for work, in that local hour.
    pub fn draw_supply(&self, hour: usize, rng: &mut Rng) -> Place {
        self.draw_place(Kind::Supply, hour % HOURS, rng)
    }

    /// A place within `radius_m` of `near` and inside the boundary; `near` itself when luck (or
    /// the boundary) allows no other.
    pub fn draw_near(&self, near: Place, radius_m: f64, rng: &mut Rng) -> Place {
        draw_in_circle(near, radius_m, rng, |place| self.contains(place))
    }

    fn draw_place(&self, kind: Kind, hour: usize, rng: &mut Rng) -> Place {
        let source = self.choices.source(kind, hour, rng);
        let zone = &self.zones()[source.zone];
        let Some(spot) = source.spot.map(|spot| &zone.hot_spots[spot]) else {
            return self.draw_on_ground(zone, rng);
        };
        let inside = |place| zone.contains(place) && self.contains(place);
        draw_in_circle(spot.at, spot.radius_m, rng, inside)
    }

    fn draw_on_ground(&self, zone: &Zone, rng: &mut Rng) -> Place {
        let (low, high) = zone.shape.bounds();
        let mut between = |low: i32, high: i32| {
            (i64::from(low) + rng.below((i64::from(high) - i64::from(low) + 1) as usize) as i64)
                as i32
        };
        for _ in 0..TRIES_MAX {
            let lat_e6 = between(low.lat_e6, high.lat_e6);
            let place = Place { lat_e6, lon_e6: between(low.lon_e6, high.lon_e6) };
            if zone.contains(place) && self.contains(place) {
                return place;
            }
        }
        zone.inner
    }

    /// A place on land about that far from `from`, in any direction.
    fn draw_at_distance(&self, from: Place, crow_m: f64, rng: &mut Rng) -> Option<Place> {
        (0..TRIES_MAX)
            .map(|_| around(from, crow_m, rng))
            .find(|to| self.zone_of(*to).is_some() && self.contains(*to))
    }

    fn farthest(&self, from: Place) -> Place {
        let inner = self.zones().iter().map(|zone| zone.inner);
        let far = inner.max_by(|a, b| from.metres_to(*a).total_cmp(&from.metres_to(*b)));
        far.unwrap_or(from)
    }
}

/// A place in the circle for which `inside` holds; the middle when luck allows no other.
fn draw_in_circle(
    middle: Place,
    radius_m: f64,
    rng: &mut Rng,
    inside: impl Fn(Place) -> bool,
) -> Place {
    (0..TRIES_MAX)
        .map(|_| around(middle, radius_m * libm::sqrt(rng.unit()), rng))
        .find(|place| inside(*place))
        .unwrap_or(middle)
}

fn around(middle: Place, metres: f64, rng: &mut Rng) -> Place {
    let bearing = rng.between(0.0, 2.0 * std::f64::consts::PI);
    middle.offset(metres * libm::cos(bearing), metres * libm::sin(bearing))
}
