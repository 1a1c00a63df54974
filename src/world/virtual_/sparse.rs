//! The bytes of a file in memory. What nobody has written is zero and takes no room, and a file that
//! grows is not moved: a database makes its file twice as long whenever it is full.

use std::io;

/// Bytes that are made room for at once.
const EXTENT_BYTES: u64 = 16 * 1024;

/// A file.
#[derive(Default)]
pub(super) struct Sparse {
    len: u64,
    extents: Vec<Option<Box<[u8]>>>,
}

/// A stretch within one extent: which, from where, and how long.
struct Stretch {
    extent: usize,
    from: usize,
    len: usize,
}

impl Sparse {
    /// How long it is.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes it longer, or cuts it: what was cut is zero where it grows again.
    pub fn set_len(&mut self, len: u64) {
        let extents = len.div_ceil(EXTENT_BYTES) as usize;
        self.extents.resize_with(extents, || None);
        if len < self.len
            && let Some(Some(last)) = self.extents.last_mut()
        {
            let kept = len - (extents as u64 - 1) * EXTENT_BYTES;
            last[kept as usize..].fill(0);
        }
        self.len = len;
    }

    /// Fills `out` with what is there from `offset` on. The error: some of it lies beyond the end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut rest = out;
        for Stretch { extent, from, len } in self.stretches(offset, rest.len())? {
            let (part, more) = rest.split_at_mut(len);
            match &self.extents[extent] {
                Some(bytes) => part.copy_from_slice(&bytes[from..from + len]),
                None => part.fill(0),
            }
            rest = more;
        }
        Ok(())
    }

    /// The bytes of a stretch.
    pub fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes).map(|()| bytes)
    }

    /// Writes `data` at `offset`. The error: some of it would lie beyond the end, and nothing is written.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        for Stretch { extent, from, len } in self.stretches(offset, data.len())? {
            let (part, more) = rest.split_at(len);
            let bytes = self.extents[extent]
                .get_or_insert_with(|| vec![0; EXTENT_BYTES as usize].into_boxed_slice());
            bytes[from..from + len].copy_from_slice(part);
            rest = more;
        }
        Ok(())
    }

    fn stretches(
        &self,
        offset: u64,
        len: usize,
    ) -> io::Result<impl Iterator<Item = Stretch> + use<>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len);
        let outside = || io::Error::new(io::ErrorKind::UnexpectedEof, "outside the file");
        let end = end.ok_or_else(outside)?;
        let mut at = offset;
        Ok(std::iter::from_fn(move || {
            let (extent, from) = (at / EXTENT_BYTES, at % EXTENT_BYTES);
            let len = (end - at).min(EXTENT_BYTES - from);
            at += len;
            let (extent, from, len) = (extent as usize, from as usize, len as usize);
            (len > 0).then_some(Stretch { extent, from, len })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn it_holds_what_one_long_buffer_would() {
        let mut rng = Rng::from_seed("sparse");
        let (mut sparse, mut plain) = (Sparse::default(), Vec::<u8>::new());
        for turn in 0..2_000 {
            let (at, len) = (rng.below(100_000), rng.below(40_000));
            if turn % 10 == 0 {
                sparse.set_len(at as u64);
                plain.resize(at, 0);
            }
            let data: Vec<u8> = (0..len).map(|n| (n + turn) as u8).collect();
            let fits = at + len <= plain.len();
            assert_eq!(sparse.write(at as u64, &data).is_ok(), fits, "{at} + {len}");
            if fits {
                plain[at..at + len].copy_from_slice(&data);
            }
            assert_eq!(sparse.len(), plain.len() as u64);
            assert_eq!(sparse.bytes(0, plain.len()).unwrap(), plain, "turn {turn}");
        }
        assert!(sparse.bytes(sparse.len(), 1).is_err());
        assert!(sparse.read(u64::MAX, &mut [0; 8]).is_err());
    }

    #[test]
    fn what_nobody_wrote_takes_no_room() {
        let mut sparse = Sparse::default();
        sparse.set_len(1 << 30);
        sparse.write(5 * EXTENT_BYTES - 2, &[1, 2, 3, 4]).unwrap();
        assert_eq!(sparse.extents.iter().flatten().count(), 2);
        assert_eq!(sparse.bytes(5 * EXTENT_BYTES - 3, 6).unwrap(), [0, 1, 2, 3, 4, 0]);
    }
}
