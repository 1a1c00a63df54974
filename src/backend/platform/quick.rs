//! A quick hash for maps that are looked up and never walked: the same on every machine, and no
//! guard against people who choose keys to collide.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map with the quick hash. Never walk it: its order must not reach behaviour.
pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Mixes eight bytes at a time.
#[derive(Default)]
pub struct Quick(u64);

/// The golden ratio in 64 bits: odd, and its bits are well spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Quick {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(word));
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn finish(&self) -> u64 {
        // A product's low bits know little of its factors' high bits: fold.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_that_look_alike_are_spread() {
        let low: BTreeSet<u64> = (0..1_000_u32)
            .map(|n| {
                let mut hash = Quick::default();
                hash.write(format!("/core/job/endpoint-{n}").as_bytes());
                hash.finish() & 0xffff
            })
            .collect();
        assert!(low.len() > 980, "{} of 1,000 differ in their low bits", low.len());
    }
}
