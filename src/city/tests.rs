//! Draws and ways of a small city with a bay in it, and of the checked-in ones.

use super::*;
use crate::base::rng::Rng;

const TOML: &str = "
name = 'Bay'
azs = ['a']
time_zone = 'Europe/Dublin'
currency = 'EUR'
map = 'bay.geojson'
tariff = { base_minor = 1, per_km_minor = 1, per_minute_minor = 1, minimum_minor = 1, \
           no_show_fee_minor = 1 }
roads = { detour = 1.25, speed_kmh = 36, v_max_kmh = 100 }
trips = { shortest_m = 500, distance = { lognormal = { median_m = 4000, sigma = 0.5 } } }
[[zones]]
name = 'North'
demand = { weight = 3, by_hour = 'night' }
supply = { weight = 1 }
attraction = { weight = 1 }
[[zones.hot_spots]]
name = 'Pub'
lat = 53.05
lon = 0.02
radius_m = 60
demand = { weight = 1 }
[[zones]]
name = 'South'
demand = { weight = 1 }
[profiles]
night = [1,1,1,1,1,1, 0,0,0,0,0,0, 0,0,0,0,0,0, 0,0,0,0,0,1]
";

const MAP: &str = r#"{ "type": "FeatureCollection", "features": [
{ "type": "Feature", "properties": { "kind": "boundary" }, "geometry": { "type": "Polygon",
  "coordinates": [[[0,53],[0.1,53],[0.1,53.02],[0.01,53.03],[0.1,53.04],[0.1,53.06],[0,53.06],[0,53]]] } },
{ "type": "Feature", "properties": { "kind": "zone", "name": "North" }, "geometry": { "type": "Polygon",
  "coordinates": [[[0,53.045],[0.1,53.045],[0.1,53.06],[0,53.06],[0,53.045]]] } },
{ "type": "Feature", "properties": { "kind": "zone", "name": "South" }, "geometry": { "type": "Polygon",
  "coordinates": [[[0,53],[0.1,53],[0.1,53.015],[0,53.015],[0,53]]] } } ] }"#;

/// A small city with a bay between its two zones, for the tests of whoever needs one.
pub(crate) fn bay() -> City {
    let source = Source::new(Path::new("bay.toml"), TOML);
    let map = Source::new(Path::new("bay.geojson"), MAP);
    validate::city(&source, source.parse().unwrap(), &map).unwrap()
}

fn checked_in(name: &str) -> City {
    City::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cities").join(name)).unwrap()
}

fn assert_draws_are_inside(city: &City) {
    let mut rng = Rng::from_seed("inside");
    for draw in 0..10_000 {
        let (from, to) = city.draw_trip(draw % HOURS, &mut rng);
        let supply = city.draw_supply(draw % HOURS, &mut rng);
        let near = city.draw_near(supply, 400.0, &mut rng);
        for (what, place) in [("from", from), ("to", to), ("supply", supply), ("near", near)] {
            assert!(city.contains(place), "{}: {what} {place:?} of draw {draw}", city.name);
        }
        assert!(city.zone_of(from).is_some() && city.zone_of(to).is_some());
        assert!(supply.metres_to(near) < 401.0);
        assert!(from.metres_to(to) > 50.0, "a journey of {} m", from.metres_to(to));
    }
}

/// Mean length on the road, as the crow flies stretched.
fn mean_trip_m(city: &City, hour: usize) -> f64 {
    let mut rng = Rng::from_seed("mean");
    let n = 4_000;
    let metres = (0..n).map(|_| {
        let (from, to) = city.draw_trip(hour, &mut rng);
        from.metres_to(to) * city.detour
    });
    metres.sum::<f64>() / f64::from(n)
}

#[test]
fn draws_stay_inside() {
    assert_draws_are_inside(&bay());
}

#[test]
fn weights_hold_by_the_hour() {
    let (city, mut rng) = (bay(), Rng::from_seed("weights"));
    let mut share = |hour: usize, what: fn(&City, Place) -> bool| {
        let n = 4_000;
        let count = (0..n).filter(|_| what(&city, city.draw_trip(hour, &mut rng).0)).count();
        count as f64 / f64::from(n)
    };
    let in_north = |city: &City, at| city.zone_of(at).is_some_and(|zone| zone.name == "North");
    let at_pub = |city: &City, at: Place| at.metres_to(city.zones()[0].hot_spots[0].at) < 61.0;
    // By day only the pub of the north has demand, 1 of 2; at night 4 of 5.
    assert!((share(12, in_north) - 0.5).abs() < 0.03);
    assert!((share(12, at_pub) - 0.5).abs() < 0.03);
    assert!((share(2, in_north) - 0.8).abs() < 0.03);
    assert!((share(2, at_pub) - 0.2).abs() < 0.03);
}

#[test]
fn distances_follow_the_distribution_and_the_seed() {
    let city = bay();
    // Median 4000 m with sigma 0.5 has a mean of 4530 m; the city is 11 km wide on the road.
    let mean = mean_trip_m(&city, 2);
    assert!((3_900.0..5_200.0).contains(&mean), "mean {mean}");
    let draws = |seed: &str| {
        let mut rng = Rng::from_seed(seed);
        (0..50).map(|hour| city.draw_trip(hour, &mut rng)).collect::<Vec<_>>()
    };
    assert_eq!(draws("one"), draws("one"));
    assert_ne!(draws("one"), draws("two"));
}

#[test]
fn a_way_is_continuous_and_as_long_as_the_detour() {
    let city = bay();
    let (from, to) = (Place::from_degrees(53.05, 0.02), Place::from_degrees(53.055, 0.09));
    let way = city.way(from, to);
    assert!((way.metres / from.metres_to(to) - city.detour).abs() < 1e-9);
    assert_eq!((way.at(0.0), way.at(way.metres), way.end()), (from, to, to));
    assert_eq!((way.at(-5.0), way.at(1e9)), (from, to));
    // The line itself is about as long, so the apparent speed is about the speed on the road.
    let mut line_m = 0.0;
    for step in 0..(way.metres as usize) {
        let moved = way.at(step as f64).metres_to(way.at(step as f64 + 1.0));
        assert!(moved < 1.2, "{moved} m within one metre, after {step}");
        line_m += moved;
    }
    assert!((0.95..1.05).contains(&(line_m / way.metres)), "{line_m} of {}", way.metres);
    let nowhere = city.way(from, from);
    assert_eq!(nowhere.at(0.0), from);
    assert_eq!(nowhere.at(10.0), from);
}

#[test]
fn a_way_goes_around_the_bay() {
    let city = bay();
    let (from, to) = (Place::from_degrees(53.015, 0.09), Place::from_degrees(53.046, 0.09));
    let way = city.way(from, to);
    assert!(way.metres > 2.5 * from.metres_to(to), "{} m", way.metres);
    for step in 0..200 {
        let at = way.at(way.metres * f64::from(step) / 200.0);
        let on_land = city.contains(at)
            || city.contains(at.offset(2.0, 0.0))
            || city.contains(at.offset(-2.0, 0.0));
        assert!(on_land, "{at:?} is in the bay");
    }
}

#[test]
fn draws_of_the_checked_in_cities_are_plausible() {
    for (name, hour, low_m, high_m) in
        [("dublin.toml", 22, 5_000.0, 8_000.0), ("kerguelen.toml", 12, 1_400.0, 3_500.0)]
    {
        let city = checked_in(name);
        assert_draws_are_inside(&city);
        let mean = mean_trip_m(&city, hour);
        assert!((low_m..high_m).contains(&mean), "{name}: {mean} m");
    }
}

#[test]
fn dublin_is_where_it_is() {
    let city = checked_in("dublin.toml");
    let zone = |lat, lon| {
        city.zone_of(Place::from_degrees(lat, lon)).map_or("none", |zone| zone.name.as_str())
    };
    assert_eq!(zone(53.3456, -6.2640), "Temple Bar");
    assert_eq!(zone(53.4275, -6.2440), "Airport");
    assert_eq!(zone(53.2865, -6.3735), "Tallaght");
    assert_eq!(zone(53.3880, -6.0670), "Howth");
    assert!(!city.contains(Place::from_degrees(53.3300, -6.1500)), "Dublin Bay is no street");
    // From Howth to Dún Laoghaire one drives around the bay: 16 km by sea, over 25 by land.
    let howth = Place::from_degrees(53.3880, -6.0670);
    let way = city.way(howth, Place::from_degrees(53.2935, -6.1360));
    assert!((25_000.0..40_000.0).contains(&way.metres), "{} m", way.metres);
    for step in 0..=500 {
        let at = way.at(way.metres * f64::from(step) / 500.0);
        let near = [(0.0, 0.0), (30.0, 0.0), (-30.0, 0.0), (0.0, 30.0), (0.0, -30.0)];
        assert!(near.iter().any(|(e, n)| city.contains(at.offset(*e, *n))), "{at:?} is at sea");
    }
}

#[test]
fn closing_time_is_at_the_pubs_and_the_first_flights_go_early() {
    let (city, mut rng) = (checked_in("dublin.toml"), Rng::from_seed("closing"));
    let mut share = |hour: usize, start: bool, zone: &str| {
        let n = 4_000;
        let count = (0..n).filter(|_| {
            let (from, to) = city.draw_trip(hour, &mut rng);
            let at = city.zone_of(if start { from } else { to });
            at.is_some_and(|of| of.name == zone)
        });
        count.count() as f64 / f64::from(n)
    };
    assert!(share(1, true, "Temple Bar") > 3.0 * share(8, true, "Temple Bar"));
    assert!(share(5, false, "Airport") > 2.0 * share(20, false, "Airport"));
    assert!(share(22, true, "Airport") > 0.03);
}
