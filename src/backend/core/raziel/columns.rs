//! Positions by columns, as the indexes tell them to one another, and back. Knows nothing of what
//! they mean.

use crate::backend::wire::{Moved, MovedBatch};

/// The columns of these positions.
pub fn of(moved: &[Moved]) -> MovedBatch {
    MovedBatch {
        driver: moved.iter().map(|one| one.driver).collect(),
        lat_e6: moved.iter().map(|one| one.lat_e6).collect(),
        lon_e6: moved.iter().map(|one| one.lon_e6).collect(),
        seq: moved.iter().map(|one| one.seq).collect(),
        age_ms: moved.iter().map(|one| one.age_ms).collect(),
        status: moved.iter().map(|one| one.status as u32).collect(),
        version: moved.iter().map(|one| one.version).collect(),
    }
}

/// True when every position has all its parts.
pub fn are_even(batch: &MovedBatch) -> bool {
    let all = batch.driver.len();
    [
        batch.lat_e6.len(),
        batch.lon_e6.len(),
        batch.seq.len(),
        batch.age_ms.len(),
        batch.status.len(),
        batch.version.len(),
    ]
    .iter()
    .all(|len| *len == all)
}

/// The positions again; as many as the shortest column has.
pub fn rows(batch: &MovedBatch) -> impl Iterator<Item = Moved> {
    let places = batch.lat_e6.iter().zip(&batch.lon_e6);
    let facts = batch.seq.iter().zip(&batch.age_ms);
    let standings = batch.status.iter().zip(&batch.version);
    let rest = places.zip(facts).zip(standings);
    batch.driver.iter().zip(rest).map(|(driver, (((lat, lon), (seq, age)), (status, version)))| {
        Moved {
            driver: *driver,
            lat_e6: *lat,
            lon_e6: *lon,
            seq: *seq,
            age_ms: *age,
            status: *status as i32,
            version: *version,
        }
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn what_goes_into_columns_comes_out_of_them() {
        let moved: Vec<Moved> = (0..5_i32)
            .map(|n| Moved {
                driver: u64::MAX - n as u64,
                lat_e6: -53_000_000 + n,
                lon_e6: 6_000_000 - n,
                seq: n as u64,
                age_ms: 1_000 * n as u32,
                status: n % 4,
                version: 1 << n,
            })
            .collect();
        let sent = of(&moved).encode_to_vec();
        let mut read = MovedBatch::decode(sent.as_slice()).unwrap();
        assert!(are_even(&read));
        assert_eq!(rows(&read).collect::<Vec<_>>(), moved);
        read.version.pop();
        assert!(!are_even(&read));
    }
}
