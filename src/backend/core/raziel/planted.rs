//! Bugs that can be planted in the index of positions, all off by default.

use crate::{
    backend::{node::Node, plants, wire::Found},
    base::place::Place,
};

/// Of so many positions of a driver one is taken over.
const TAKEN_OVER: u64 = 256;
/// Of so many drivers the positions of one are dropped.
const DROPPED: u64 = 4;
/// Bits of an id below its milliseconds.
const ID_LOW_BITS: u32 = 22;
/// Half the diagonal of a box over half its side, a little more.
pub const BOX_OVER_CIRCLE: f64 = 1.42;

/// Which bugs are on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    /// The place of a driver is renewed with every so manieth position only.
    pub stale_location: bool,
    /// The positions of some drivers are answered and dropped.
    pub silent_drop: bool,
    /// The numbers of positions are compared as text.
    pub seq_as_text: bool,
}

impl Planted {
    /// Those of that node.
    pub fn of(node: &Node) -> Self {
        Self {
            stale_location: node.planted(plants::STALE_LOCATION),
            silent_drop: node.planted(plants::SILENT_DROP),
            seq_as_text: node.planted(plants::SEQ_AS_TEXT),
        }
    }

    /// True when a position of number `seq` does not move a driver who is where number `last` was.
    pub fn keeps_place(self, seq: u64, last: u64) -> bool {
        let not_yet = self.stale_location && !seq.is_multiple_of(TAKEN_OVER);
        let less = self.seq_as_text && seq != 0 && last != 0 && seq.to_string() < last.to_string();
        not_yet || less
    }
}

/// Whether the positions of that driver are dropped.
pub fn is_dropped(driver: u64) -> bool {
    (driver >> ID_LOW_BITS).is_multiple_of(DROPPED)
}

/// Those of `found` that are in the box around a place, which holds the circle.
pub fn in_box(mut found: Vec<Found>, middle: Place, reach_m: f64) -> Vec<Found> {
    let near = |at: Place| {
        let north = Place { lon_e6: middle.lon_e6, ..at };
        let east = Place { lat_e6: middle.lat_e6, ..at };
        north.metres_to(middle) <= reach_m && east.metres_to(middle) <= reach_m
    };
    found.retain(|one| one.at.is_some_and(|at| near((at.lat_e6, at.lon_e6).into())));
    found
}
