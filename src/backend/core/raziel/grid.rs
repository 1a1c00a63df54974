//! The index itself: drivers in the cells of a grid, in memory. Pure: time is handed in. Every walk
//! goes over vectors in a fixed order, so that two equal indexes answer alike.

use std::time::Duration;

use super::planted::{self, Planted};
use crate::{
    backend::{
        platform::{ids::tenant_of, quick::QuickMap},
        wire::{Found, Moved, Pending, PingAnswer, Standing, Status},
    },
    base::{place::Place, time::Time},
};

/// Side of a cell in metres.
const CELL_M: f64 = 500.0;
const METRES_PER_MICRO_DEGREE: f64 = 0.111_195;
/// Drivers that an index takes in; beyond it new ones are refused.
pub const DRIVERS_MAX: usize = 1_000_000;
/// A ping with a lower number than the newest still counts when the newest is older than this: the
/// app was started again.
const RESTART_AFTER: Duration = Duration::from_secs(10);
/// The same for what another index tells, which may have been long on its way.
const RESTART_TOLD_AFTER: Duration = Duration::from_mins(1);
/// A mark that says busy or away is asked for again when it is older: a lost hint heals.
const RECHECK_AFTER: Duration = Duration::from_secs(20);
/// Each time the roster says the same again the next look is twice as far off, so often.
const RECHECK_DOUBLINGS: u8 = 1;

/// A search sorts what it has found when it is so many times what is wanted.
const KEEP_TIMES: usize = 8;
/// Distances on a plane around the middle of a search are true to this part, …
const FLAT_ERROR: f64 = 0.01;
/// … up to so far.
const FLAT_M_MAX: f64 = 30_000.0;

type Cell = (i32, i32);

/// One driver. What every position touches lies together, in one line of the cache.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Entry {
    at: Place,
    /// When the position was true.
    seen: Time,
    seq: u64,
    version: u64,
    cell: Option<Cell>,
    /// Where in its cell.
    slot: u32,
    dirty: bool,
    /// How often in a row the roster said the same.
    confirmed: u8,
    status: Status,
    pending: Option<Box<Pending>>,
    marked: Time,
    driver: u64,
}

/// A driver in a cell. With its place, so that a search passes over the far ones without a look at
/// their entries.
#[derive(Debug, Clone, Copy)]
struct Spot {
    index: u32,
    at: Place,
}

/// Drivers by place.
#[derive(Debug)]
pub struct Grid {
    entries: Vec<Entry>,
    // Looked up, never walked.
    by_driver: QuickMap<u64, u32>,
    cells: QuickMap<Cell, Vec<Spot>>,
    dirty: Vec<u32>,
    cell_lat_e6: i32,
    cell_lon_e6: i32,
    ping_ttl: Duration,
    /// The bugs that are planted.
    pub planted: Planted,
}

/// What a search wants.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Around this place.
    pub at: Place,
    /// No farther than this.
    pub reach_m: f64,
    /// So many at most.
    pub limit: usize,
    /// Not these.
    pub without: &'a [u64],
    /// Of that tenant; of any where it is left out.
    pub tenant: Option<u32>,
}

/// The plane around a place: cheap distances, nearly true, to pass over who is certainly too far.
struct Flat {
    middle: Place,
    east_m: f64,
}

impl Flat {
    fn around(middle: Place) -> Self {
        let shrink = libm::cos(middle.lat().to_radians());
        Self { middle, east_m: METRES_PER_MICRO_DEGREE * shrink }
    }

    fn is_beyond(&self, at: Place, metres: f64) -> bool {
        if metres > FLAT_M_MAX {
            return false;
        }
        let (lat, lon) = (self.middle.lat_e6, self.middle.lon_e6);
        let north = f64::from(at.lat_e6.wrapping_sub(lat)) * METRES_PER_MICRO_DEGREE;
        let east = f64::from(at.lon_e6.wrapping_sub(lon)) * self.east_m;
        let far = metres * (1.0 + FLAT_ERROR) + 1.0;
        north * north + east * east > far * far
    }
}

impl Grid {
    /// An empty index for a city around `middle`.
    pub fn new(middle: Place, ping_ttl: Duration) -> Self {
        let shrink = libm::cos(middle.lat().to_radians()).max(0.01);
        Self {
            entries: Vec::new(),
            by_driver: QuickMap::default(),
            cells: QuickMap::default(),
            dirty: Vec::new(),
            cell_lat_e6: (CELL_M / METRES_PER_MICRO_DEGREE) as i32,
            cell_lon_e6: (CELL_M / (METRES_PER_MICRO_DEGREE * shrink)) as i32,
            ping_ttl,
            planted: Planted::default(),
        }
    }

    /// Drivers known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nobody is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A position that the driver itself sent. Answers with what is pending for it; the status is
    /// unknown when the roster ought to be asked.
    pub fn ping(
        &mut self,
        driver: u64,
        at: Place,
        seq: u64,
        now: Time,
        wall_ms: u64,
    ) -> Option<PingAnswer> {
        let index = self.enter(driver)?;
        if !(self.planted.silent_drop && planted::is_dropped(driver)) {
            self.place(index, at, seq, now, now);
        }
        let entry = &mut self.entries[index as usize];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(index);
        }
        let mut status = entry.status;
        if status != Status::Free
            && now.since(entry.marked) > RECHECK_AFTER * (1 << entry.confirmed)
        {
            status = Status::Unknown;
        }
        let open = |p: &&Pending| status == Status::Free && p.expires_ms > wall_ms;
        let pending = entry.pending.as_deref().filter(open).copied();
        Some(PingAnswer { status: status.into(), pending })
    }

    /// What the roster says of a driver; older than what is known it is ignored.
    pub fn mark(&mut self, standing: &Standing, now: Time) {
        let Some(index) = self.enter(standing.driver) else { return };
        if let Some(at) = standing.at {
            self.place(index, (at.lat_e6, at.lon_e6).into(), 0, now, now);
        }
        let entry = &mut self.entries[index as usize];
        if standing.version < entry.version {
            return;
        }
        let same = standing.version == entry.version;
        entry.confirmed = if same { (entry.confirmed + 1).min(RECHECK_DOUBLINGS) } else { 0 };
        // At one version there is one truth: a mark without the offer takes no offer away.
        if standing.version > entry.version || standing.pending.is_some() {
            entry.pending = standing.pending.map(Box::new);
        }
        entry.version = standing.version;
        entry.status = standing.status();
        entry.marked = now;
    }

    /// Positions that another index learned.
    pub fn learn(&mut self, moved: &Moved, now: Time) {
        let Some(index) = self.enter(moved.driver) else { return };
        let seen = now.saturating_sub(Duration::from_millis(moved.age_ms.into()));
        self.place(index, (moved.lat_e6, moved.lon_e6).into(), moved.seq, seen, now);
        let entry = &mut self.entries[index as usize];
        if moved.version > entry.version {
            entry.version = moved.version;
            entry.status = moved.status();
            entry.pending = None;
            entry.marked = now;
            entry.confirmed = 0;
        }
    }

    /// Drivers that pinged here since the last call, for the other indexes.
    pub fn take_moved(&mut self, now: Time) -> Vec<Moved> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut all = Vec::with_capacity(dirty.len());
        for index in dirty {
            let entry = &mut self.entries[index as usize];
            entry.dirty = false;
            all.push(moved(entry, now));
        }
        all
    }

    /// A page of everybody, in the order in which they were first seen.
    pub fn page(&self, from: usize, limit: usize, now: Time) -> Vec<Moved> {
        self.entries.iter().skip(from).take(limit).map(|entry| moved(entry, now)).collect()
    }

    /// The nearest free drivers, nearest first; equally near ones by their ids.
    pub fn search(&self, query: &Query<'_>, now: Time, wall_ms: u64) -> Vec<Found> {
        let mut near: Vec<(u64, u32)> = Vec::new();
        let (centre, flat) = (self.cell_of(query.at), Flat::around(query.at));
        // Nobody farther than that is wanted any more.
        let mut within_m = query.reach_m;
        // One more ring than the reach fills, for the part of a cell on either side.
        let rings = (query.reach_m / CELL_M).clamp(0.0, 10_000.0) as i32 + 2;
        for ring in 0..=rings {
            // Whoever stands in this ring is at least so far away.
            let at_least_mm = (f64::from(ring - 1) * CELL_M * 0.99 * 1_000.0).max(0.0) as u64;
            if near.len() >= query.limit {
                self.keep_nearest(&mut near, query.limit);
                if near[query.limit - 1].0 <= at_least_mm {
                    break;
                }
            }
            self.walk_ring(centre, ring, |spot| {
                if flat.is_beyond(spot.at, within_m) {
                    return;
                }
                if let Some(mm) = self.fits(spot.index, query, now, wall_ms) {
                    near.push((mm, spot.index));
                    if near.len() >= query.limit * KEEP_TIMES {
                        self.keep_nearest(&mut near, query.limit);
                        within_m = within_m.min(near[query.limit - 1].0 as f64 / 1_000.0);
                    }
                }
            });
        }
        self.keep_nearest(&mut near, query.limit);
        near.iter().map(|&(mm, index)| self.found(mm, index)).collect()
    }

    /// The `limit` nearest, in order.
    fn keep_nearest(&self, near: &mut Vec<(u64, u32)>, limit: usize) {
        near.sort_unstable_by_key(|&(mm, index)| self.order(mm, index));
        near.truncate(limit);
    }

    /// Any free drivers at all, wherever they are (a planted bug searches so).
    pub fn search_anywhere(&self, query: &Query<'_>, now: Time, wall_ms: u64) -> Vec<Found> {
        let everywhere = Query { reach_m: f64::MAX, ..*query };
        (0..self.entries.len() as u32)
            .filter_map(|index| Some((self.fits(index, &everywhere, now, wall_ms)?, index)))
            .take(query.limit)
            .map(|(mm, index)| self.found(mm, index))
            .collect()
    }

    fn order(&self, mm: u64, index: u32) -> (u64, u64) {
        (mm, self.entries[index as usize].driver)
    }

    fn found(&self, mm: u64, index: u32) -> Found {
        let entry = &self.entries[index as usize];
        let at = crate::backend::core::tariff::to_wire(entry.at);
        Found { driver: entry.driver, at: Some(at), metres: (mm / 1_000) as u32 }
    }

    /// Distance in millimetres when the driver is free, fresh, within reach and wanted.
    fn fits(&self, index: u32, query: &Query<'_>, now: Time, wall_ms: u64) -> Option<u64> {
        let entry = &self.entries[index as usize];
        let asked = entry.pending.as_ref().is_some_and(|pending| pending.expires_ms > wall_ms);
        let fresh = now.since(entry.seen) < self.ping_ttl;
        if entry.status != Status::Free || asked || !fresh || query.without.contains(&entry.driver)
        {
            return None;
        }
        if query.tenant.is_some_and(|tenant| tenant != tenant_of(entry.driver)) {
            return None;
        }
        let metres = entry.at.metres_to(query.at);
        (metres <= query.reach_m).then_some((metres * 1_000.0) as u64)
    }

    /// The entry of a driver, made when it is new; none when the index is full.
    fn enter(&mut self, driver: u64) -> Option<u32> {
        if let Some(index) = self.by_driver.get(&driver) {
            return Some(*index);
        }
        if self.entries.len() >= DRIVERS_MAX {
            return None;
        }
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            driver,
            at: Place::default(),
            cell: None,
            slot: 0,
            seen: Time::ZERO,
            seq: 0,
            status: Status::Unknown,
            version: 0,
            marked: Time::ZERO,
            confirmed: 0,
            pending: None,
            dirty: false,
        });
        self.by_driver.insert(driver, index);
        Some(index)
    }

    /// Moves a driver, unless what is known is newer: by the driver's own count of its pings, or
    /// by age where the count began anew.
    fn place(&mut self, index: u32, at: Place, seq: u64, seen: Time, now: Time) {
        let restart_after = if seen == now { RESTART_AFTER } else { RESTART_TOLD_AFTER };
        let (planted, entry) = (self.planted, &mut self.entries[index as usize]);
        if entry.cell.is_some() {
            if planted.keeps_place(seq, entry.seq) {
                entry.seen = seen;
                return;
            }
            let older = if seq == 0 || entry.seq == 0 {
                seen < entry.seen
            } else {
                seq < entry.seq && now.since(entry.seen) < restart_after
                    || seen < entry.seen && seq == entry.seq
            };
            if older && !planted.seq_as_text {
                return;
            }
        }
        (entry.at, entry.seen) = (at, seen);
        if seq != 0 {
            entry.seq = seq;
        }
        let (old, slot) = (entry.cell, entry.slot as usize);
        let new = self.cell_of(at);
        if old == Some(new) {
            if let Some(spot) = self.cells.get_mut(&new).and_then(|cell| cell.get_mut(slot)) {
                spot.at = at;
            }
            return;
        }
        if let Some(cell) = old.and_then(|old| self.cells.get_mut(&old)) {
            cell.swap_remove(slot);
            if let Some(moved) = cell.get(slot) {
                self.entries[moved.index as usize].slot = slot as u32;
            }
        }
        let cell = self.cells.entry(new).or_default();
        let slot = cell.len() as u32;
        cell.push(Spot { index, at });
        let entry = &mut self.entries[index as usize];
        (entry.cell, entry.slot) = (Some(new), slot);
    }

    fn cell_of(&self, at: Place) -> Cell {
        (at.lat_e6.div_euclid(self.cell_lat_e6), at.lon_e6.div_euclid(self.cell_lon_e6))
    }

    /// Every driver in the cells that are exactly `ring` cells from the centre.
    fn walk_ring(&self, centre: Cell, ring: i32, mut visit: impl FnMut(&Spot)) {
        let mut cell = |row: i32, column: i32| {
            if let Some(drivers) = self.cells.get(&(centre.0 + row, centre.1 + column)) {
                drivers.iter().for_each(&mut visit);
            }
        };
        if ring == 0 {
            return cell(0, 0);
        }
        for column in -ring..=ring {
            cell(-ring, column);
            cell(ring, column);
        }
        for row in 1 - ring..ring {
            cell(row, -ring);
            cell(row, ring);
        }
    }
}

fn moved(entry: &Entry, now: Time) -> Moved {
    Moved {
        driver: entry.driver,
        lat_e6: entry.at.lat_e6,
        lon_e6: entry.at.lon_e6,
        seq: entry.seq,
        age_ms: u32::try_from(now.since(entry.seen).as_millis()).unwrap_or(u32::MAX),
        status: entry.status.into(),
        version: entry.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::core::tariff, base::rng::Rng};

    const TTL: Duration = Duration::from_secs(30);

    fn spire() -> Place {
        Place::from_degrees(53.35, -6.26)
    }

    fn free(driver: u64, version: u64) -> Standing {
        Standing { driver, version, status: Status::Free.into(), pending: None, at: None }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn query(limit: usize) -> Query<'static> {
        Query { at: spire(), reach_m: 3_000.0, limit, without: &[], tenant: None }
    }

    #[test]
    fn planted_bugs_keep_drivers_where_they_were() {
        let (here, there) = (spire(), spire().offset(2_000.0, 0.0));
        let after = |planted: Planted, seqs: &[u64]| {
            let mut grid = Grid::new(spire(), TTL);
            grid.planted = planted;
            grid.mark(&Standing { at: Some(tariff::to_wire(here)), ..free(1, 1) }, at(1));
            for (n, seq) in seqs.iter().enumerate() {
                grid.ping(1, there.offset(0.0, 10.0 * n as f64), *seq, at(2), 0);
            }
            let found = grid.search(&query(1), at(3), 0)[0].at.unwrap();
            Place { lat_e6: found.lat_e6, lon_e6: found.lon_e6 }
        };
        assert_eq!(after(Planted::default(), &[9, 10]), there.offset(0.0, 10.0));
        let as_text = Planted { seq_as_text: true, ..Planted::default() };
        assert_eq!(after(as_text, &[9, 10]), there);
        assert_eq!(after(as_text, &[9, 90]), there.offset(0.0, 10.0));
        let stale = Planted { stale_location: true, ..Planted::default() };
        assert_eq!(after(stale, &[1, 2]), here);
        assert_eq!(after(stale, &[1, 256]), there.offset(0.0, 10.0));
        // Driver 1 has the id of the first moment, which is one of those.
        let dropped = Planted { silent_drop: true, ..Planted::default() };
        assert_eq!(after(dropped, &[1, 2]), here);
    }

    #[test]
    fn the_nearest_are_those_that_a_full_walk_finds() {
        let mut rng = Rng::from_seed("grid");
        for round in 0..40 {
            let mut grid = Grid::new(spire(), TTL);
            let (mut all, mut places) = (Vec::new(), Vec::new());
            for driver in 1..=(5 + round * 8) {
                let place = spire().offset(rng.between(-4e3, 4e3), rng.between(-4e3, 4e3));
                grid.ping(driver, place, 1, at(1), 0);
                grid.mark(&free(driver, 1), at(1));
                places.push((driver, place));
                let metres = place.metres_to(spire());
                if metres <= 3_000.0 {
                    all.push(((metres * 1_000.0) as u64, driver));
                }
            }
            all.sort_unstable();
            // They drive on: nobody is left behind in the cell where it was.
            for driver in (1..=(5 + round * 8)).step_by(3) {
                grid.ping(driver, spire().offset(3_999.0, 0.0), 2, at(1), 0);
                let at_first = all.iter().find(|(_, one)| *one == driver).copied();
                let back = at_first.map_or(spire().offset(3_500.0, 0.0), |_| {
                    let (_, place) = places[driver as usize - 1];
                    place
                });
                grid.ping(driver, back, 3, at(1), 0);
            }
            for limit in [1, 3, 10] {
                let found = grid.search(&query(limit), at(2), 0);
                let want: Vec<u64> = all.iter().take(limit).map(|(_, driver)| *driver).collect();
                assert_eq!(found.iter().map(|f| f.driver).collect::<Vec<_>>(), want);
            }
        }
    }

    #[test]
    fn only_free_fresh_unasked_drivers_in_reach_are_found() {
        let mut grid = Grid::new(spire(), TTL);
        for driver in 1..=6 {
            grid.ping(driver, spire(), 1, at(10), 0);
            grid.mark(&free(driver, 5), at(10));
        }
        grid.ping(2, spire().offset(3_001.0, 0.0), 2, at(11), 0);
        grid.mark(&Standing { status: Status::Busy.into(), ..free(3, 6) }, at(11));
        let pending = Pending { expires_ms: 1_000, ..Pending::default() };
        grid.mark(&Standing { pending: Some(pending), ..free(4, 6) }, at(11));
        grid.ping(5, spire(), 2, at(20), 0);
        let ids = |grid: &Grid, without: &[u64], now, wall| {
            let found = grid.search(&Query { without, ..query(9) }, now, wall);
            found.iter().map(|f| f.driver).collect::<Vec<_>>()
        };
        assert_eq!(ids(&grid, &[6], at(12), 999), [1, 5]);
        assert_eq!(ids(&grid, &[], at(12), 1_000), [1, 4, 5, 6]);
        assert_eq!(ids(&grid, &[], at(45), 1_000), [5]);
    }

    #[test]
    fn late_marks_lose_and_equal_ones_take_no_offer_away() {
        let mut grid = Grid::new(spire(), TTL);
        let pending = Pending { offer: 9, expires_ms: 50, ..Pending::default() };
        grid.mark(&Standing { pending: Some(pending), ..free(1, 7) }, at(1));
        grid.mark(&free(1, 7), at(1));
        grid.mark(&Standing { status: Status::Away.into(), ..free(1, 6) }, at(1));
        let answer = grid.ping(1, spire(), 1, at(2), 49).unwrap();
        assert_eq!((answer.status(), answer.pending.map(|p| p.offer)), (Status::Free, Some(9)));
        assert!(grid.ping(1, spire(), 2, at(2), 50).unwrap().pending.is_none());
        grid.mark(&free(1, 8), at(3));
        assert!(grid.ping(1, spire(), 3, at(3), 0).unwrap().pending.is_none());
    }

    #[test]
    fn an_older_ping_never_wins_but_a_restarted_app_does() {
        let mut grid = Grid::new(spire(), TTL);
        let (old, new) = (spire().offset(100.0, 0.0), spire().offset(900.0, 0.0));
        grid.mark(&free(1, 1), at(1));
        grid.ping(1, new, 8, at(5), 0);
        let late = Moved {
            driver: 1,
            lat_e6: old.lat_e6,
            lon_e6: old.lon_e6,
            seq: 7,
            ..moved(&grid.entries[0], at(5))
        };
        grid.learn(&late, at(5));
        grid.ping(1, old, 7, at(6), 0);
        assert_eq!(grid.entries[0].at, new);
        grid.ping(1, old, 1, at(16), 0);
        assert_eq!(grid.entries[0].at, old);
    }

    #[test]
    fn another_index_learns_positions_and_standing_once() {
        let (mut here, mut there) = (Grid::new(spire(), TTL), Grid::new(spire(), TTL));
        here.mark(&free(1, 3), at(1));
        here.ping(1, spire(), 1, at(2), 0);
        let news = here.take_moved(at(3));
        assert!(here.take_moved(at(3)).is_empty());
        // The clocks of two nodes have nothing in common: ages travel, not times.
        for moved in &news {
            there.learn(moved, at(900));
        }
        assert_eq!(there.search(&query(3), at(900), 0).len(), 1);
        assert!(there.search(&query(3), at(929), 0).is_empty());
    }

    #[test]
    fn a_stale_busy_mark_asks_for_the_roster() {
        let mut grid = Grid::new(spire(), TTL);
        assert_eq!(grid.ping(1, spire(), 1, at(1), 0).unwrap().status(), Status::Unknown);
        grid.mark(&Standing { status: Status::Busy.into(), ..free(1, 3) }, at(1));
        assert_eq!(grid.ping(1, spire(), 2, at(2), 0).unwrap().status(), Status::Busy);
        assert_eq!(grid.ping(1, spire(), 3, at(22), 0).unwrap().status(), Status::Unknown);
    }
}
