//! What the searches of the taxi services cost: a place among 300 zones, and the nearest of 100,000
//! drivers while 50,000 positions a second come in. `cargo bench --bench taxi` prints the spread of
//! single searches first (a mean hides the slow ones), then what divan measures.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use divan::{Bencher, counter::ItemsCount};
use hdrhistogram::Histogram;
use robot_city::{
    backend::{
        core::{
            raziel::grid::{Grid, Query},
            zoning::Zones,
        },
        wire::{Standing, Status},
    },
    base::{place::Place, rng::Rng, time::Time},
};

fn main() {
    spread_of_zoning();
    spread_of_search();
    divan::main();
}

/// Zones across and down: 300 in all.
const ACROSS: i32 = 20;
const DOWN: i32 = 15;
/// Corners of a zone's ring.
const CORNERS: u32 = 48;
const ZONE_M: f64 = 1_500.0;
const DRIVERS: u64 = 100_000;
/// Positions that come in between two searches: 50,000 a second at 1,000 searches a second.
const WRITES_A_SEARCH: u64 = 50;
const SEARCHES: usize = 20_000;

fn spire() -> Place {
    Place::from_degrees(53.35, -6.26)
}

/// A city of 300 zones with ragged edges.
fn zones() -> Zones {
    let mut rng = Rng::from_seed("zones");
    let mut all = Vec::new();
    for n in 0..ACROSS * DOWN {
        let (column, row) = (f64::from(n % ACROSS), f64::from(n / ACROSS));
        let middle = spire().offset(
            (column - f64::from(ACROSS) / 2.0) * ZONE_M,
            (row - f64::from(DOWN) / 2.0) * ZONE_M,
        );
        let edge: Vec<Place> = (0..CORNERS)
            .map(|corner| {
                let angle = std::f64::consts::TAU * f64::from(corner) / f64::from(CORNERS);
                let metres = ZONE_M * rng.between(0.45, 0.65);
                middle.offset(metres * angle.cos(), metres * angle.sin())
            })
            .collect();
        all.push((format!("zone {n}"), edge));
    }
    let far = ZONE_M * f64::from(ACROSS);
    let boundary = [(-far, -far), (-far, far), (far, far), (far, -far)];
    let boundary = boundary.map(|(east, north)| spire().offset(east, north));
    Zones::new(&boundary, all.iter().map(|(name, edge)| (name.as_str(), edge.as_slice())))
}

fn somewhere(rng: &mut Rng) -> Place {
    let (x, y) = (ZONE_M * f64::from(ACROSS) / 2.0, ZONE_M * f64::from(DOWN) / 2.0);
    spire().offset(rng.between(-x, x), rng.between(-y, y))
}

fn spread_of_zoning() {
    let (zones, mut rng) = (zones(), Rng::from_seed("places"));
    let mut times = histogram();
    let mut found = 0;
    for _ in 0..SEARCHES {
        let at = somewhere(&mut rng);
        let begun = Instant::now();
        let answer = black_box(zones.locate(black_box(at)));
        note(&mut times, begun.elapsed());
        found += usize::from(!answer.zone.is_empty());
    }
    assert!(found > SEARCHES / 2, "most places lie in a zone: {found}");
    say("zoning, 300 zones", &times);
}

/// Drivers over 40 km × 40 km; the share `centre` of them within 3 km of the middle.
struct City {
    grid: Grid,
    places: Vec<Place>,
    rng: Rng,
    seq: u64,
    next: usize,
}

impl City {
    fn new(centre: f64) -> Self {
        let mut rng = Rng::from_seed("drivers");
        let mut grid = Grid::new(spire(), Duration::from_secs(30));
        let mut places = Vec::new();
        for driver in 1..=DRIVERS {
            let half = if rng.chance(centre) { 3_000.0 } else { 20_000.0 };
            let at = spire().offset(rng.between(-half, half), rng.between(-half, half));
            let free =
                Standing { driver, version: 1, status: Status::Free.into(), ..Standing::default() };
            grid.mark(&free, now());
            grid.ping(driver, at, 1, now(), 0);
            places.push(at);
        }
        Self { grid, places, rng, seq: 1, next: 0 }
    }

    /// The next driver moves on by up to 60 m.
    fn write(&mut self) {
        self.next = (self.next + 7_919) % self.places.len();
        self.seq += 1;
        let (east, north) = (self.rng.between(-60.0, 60.0), self.rng.between(-60.0, 60.0));
        let at = self.places[self.next].offset(east, north);
        self.places[self.next] = at;
        black_box(self.grid.ping(self.next as u64 + 1, at, self.seq, now(), 0));
    }

    fn search(&self, at: Place) -> usize {
        let query = Query { at, reach_m: 3_000.0, limit: 10, without: &[], tenant: None };
        black_box(self.grid.search(&query, now(), 0)).len()
    }
}

fn now() -> Time {
    Time::ZERO + Duration::from_secs(1)
}

fn spread_of_search() {
    for (name, centre) in [("even", 0.0), ("half of them in the centre", 0.5)] {
        let mut city = City::new(centre);
        let (mut searches, mut writes) = (histogram(), histogram());
        for _ in 0..SEARCHES {
            let begun = Instant::now();
            for _ in 0..WRITES_A_SEARCH {
                city.write();
            }
            note(&mut writes, begun.elapsed() / WRITES_A_SEARCH as u32);
            let half = if city.rng.chance(0.5) { 3_000.0 } else { 20_000.0 };
            let at = spire().offset(city.rng.between(-half, half), city.rng.between(-half, half));
            let begun = Instant::now();
            let found = city.search(at);
            note(&mut searches, begun.elapsed());
            assert!(found > 0);
        }
        say(&format!("search, 100,000 drivers, {name}, 50 writes between two"), &searches);
        say(&format!("  a write (of 50 together), {name}"), &writes);
    }
}

fn histogram() -> Histogram<u64> {
    // Nanoseconds up to a second, three digits: these bounds are fine.
    Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap_or_else(|_| std::process::abort())
}

fn note(times: &mut Histogram<u64>, took: Duration) {
    times.saturating_record(took.as_nanos() as u64);
}

fn say(what: &str, times: &Histogram<u64>) {
    let us = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{what}: p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us, max {:.1} us",
        us(0.5),
        us(0.99),
        us(0.999),
        times.max() as f64 / 1e3
    );
}

/// One place among 300 zones.
#[divan::bench]
fn zoning(bencher: Bencher) {
    let (zones, mut rng) = (zones(), Rng::from_seed("places"));
    bencher
        .counter(ItemsCount::new(1_u32))
        .with_inputs(|| somewhere(&mut rng))
        .bench_local_values(|at| zones.locate(at));
}

/// The ten nearest of 100,000.
#[divan::bench(args = [0.0, 0.5])]
fn search(bencher: Bencher, centre: f64) {
    let city = City::new(centre);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| city.search(spire()));
}

/// One position of 100,000 drivers.
#[divan::bench]
fn write(bencher: Bencher) {
    let mut city = City::new(0.5);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| city.write());
}
