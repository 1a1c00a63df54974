//! The bytes of a file in memory, as little of it as may be: what nobody has written is zero and takes no
//! room, a file that grows is not moved, and what was not touched for long is compressed. A day of a
//! database fits that would not otherwise.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

/// Bytes that are made room for at once.
const EXTENT_BYTES: u64 = 16 * 1024;
/// Extents that are kept as they are, at most; beyond it the half that was touched least lately is
/// compressed.
const AWAKE_MAX: usize = 1_024;
/// Fast rather than small.
const LEVEL: i32 = 1;

/// A file.
pub(super) struct Sparse {
    len: u64,
    extents: Vec<Extent>,
    awake: usize,
    awake_max: usize,
    /// Goes up with each touch.
    touches: u64,
    codec: Option<Codec>,
}

/// Its bytes, as they are or compressed; neither: all of them are zero.
#[derive(Default)]
struct Extent {
    awake: Option<Box<[u8]>>,
    asleep: Option<Box<[u8]>>,
    /// Which of the file's touches was its last.
    touched: u64,
}

/// Made once, when an extent is first to sleep.
struct Codec {
    packs: Compressor<'static>,
    unpacks: Decompressor<'static>,
}

/// A stretch within one extent: which, from where, and how long.
struct Stretch {
    extent: usize,
    from: usize,
    len: usize,
}

impl Default for Sparse {
    fn default() -> Self {
        let (extents, codec) = (Vec::new(), None);
        Self { len: 0, extents, awake: 0, awake_max: AWAKE_MAX, touches: 0, codec }
    }
}

impl Sparse {
    /// How long it is.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes it longer, or cuts it: what was cut is zero where it grows again.
    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        let (extents, kept) = (len.div_ceil(EXTENT_BYTES) as usize, (len % EXTENT_BYTES) as usize);
        if len < self.len && kept > 0 && !self.extents[extents - 1].is_unwritten() {
            self.touch(extents - 1)?[kept..].fill(0);
        }
        if let Some(cut) = self.extents.get(extents..) {
            self.awake -= cut.iter().filter(|one| one.awake.is_some()).count();
        }
        self.extents.resize_with(extents, Extent::default);
        self.len = len;
        Ok(())
    }

    /// Fills `out` with what is there from `offset` on. The error: some of it lies beyond the end.
    pub fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut rest = out;
        for Stretch { extent, from, len } in self.stretches(offset, rest.len())? {
            let (part, more) = rest.split_at_mut(len);
            if self.extents[extent].is_unwritten() {
                part.fill(0);
            } else {
                part.copy_from_slice(&self.touch(extent)?[from..from + len]);
            }
            rest = more;
        }
        self.rest()
    }

    /// The bytes of a stretch.
    pub fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(offset, &mut bytes).map(|()| bytes)
    }

    /// Writes `data` at `offset`. The error: some of it would lie beyond the end, and nothing is written.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        for Stretch { extent, from, len } in self.stretches(offset, data.len())? {
            let (part, more) = rest.split_at(len);
            self.touch(extent)?[from..from + len].copy_from_slice(part);
            rest = more;
        }
        self.rest()
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

    /// The bytes of an extent, awake.
    fn touch(&mut self, number: usize) -> io::Result<&mut [u8]> {
        self.touches += 1;
        let extent = &mut self.extents[number];
        extent.touched = self.touches;
        let bytes = if let Some(bytes) = extent.awake.take() {
            bytes
        } else {
            let size = EXTENT_BYTES as usize;
            let bytes = match &extent.asleep {
                Some(packed) => Codec::of(&mut self.codec)?.unpacks.decompress(packed, size)?,
                None => vec![0; size],
            };
            extent.asleep = None;
            self.awake += 1;
            bytes.into_boxed_slice()
        };
        Ok(extent.awake.insert(bytes))
    }

    /// Lets those sleep that were touched least lately, where too many are awake.
    fn rest(&mut self) -> io::Result<()> {
        if self.awake <= self.awake_max {
            return Ok(());
        }
        let awake = self.extents.iter().filter(|one| one.awake.is_some());
        let mut touches: Vec<u64> = awake.map(|one| one.touched).collect();
        let last = touches.len() - self.awake_max / 2 - 1;
        let (_, middle, _) = touches.select_nth_unstable(last);
        let codec = Codec::of(&mut self.codec)?;
        for extent in self.extents.iter_mut().filter(|one| one.touched <= *middle) {
            if let Some(bytes) = &extent.awake {
                extent.asleep = Some(codec.packs.compress(bytes)?.into_boxed_slice());
                extent.awake = None;
                self.awake -= 1;
            }
        }
        Ok(())
    }
}

impl Extent {
    fn is_unwritten(&self) -> bool {
        self.awake.is_none() && self.asleep.is_none()
    }
}

impl Codec {
    fn of(known: &mut Option<Self>) -> io::Result<&mut Self> {
        let codec = match known.take() {
            Some(codec) => codec,
            None => Self { packs: Compressor::new(LEVEL)?, unpacks: Decompressor::new()? },
        };
        Ok(known.insert(codec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn it_holds_what_one_long_buffer_would() {
        let mut rng = Rng::from_seed("sparse");
        let mut sparse = Sparse { awake_max: 2, ..Sparse::default() };
        let mut plain = Vec::<u8>::new();
        for turn in 0..2_000 {
            let (at, len) = (rng.below(100_000), rng.below(40_000));
            if turn % 10 == 0 {
                sparse.set_len(at as u64).unwrap();
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
            let awake = sparse.extents.iter().filter(|one| one.awake.is_some()).count();
            assert!(awake == sparse.awake && awake <= 2, "{awake}, {}", sparse.awake);
        }
        assert!(sparse.bytes(sparse.len(), 1).is_err());
        assert!(sparse.read(u64::MAX, &mut [0; 8]).is_err());
    }

    #[test]
    fn what_nobody_wrote_takes_no_room_and_what_nobody_touches_takes_little() {
        let mut sparse = Sparse::default();
        sparse.set_len(1 << 30).unwrap();
        let many = 2 * AWAKE_MAX as u64;
        for number in 0..many {
            sparse.write(number * EXTENT_BYTES + 7, &number.to_le_bytes()).unwrap();
            // The first stays in use.
            sparse.write(9, &[1]).unwrap();
        }
        let awake = sparse.extents.iter().filter(|one| one.awake.is_some()).count();
        assert!(awake <= AWAKE_MAX && sparse.awake == awake, "{awake}, {}", sparse.awake);
        assert!(sparse.extents[0].awake.is_some());
        let asleep: Vec<_> = sparse.extents.iter().filter_map(|one| one.asleep.as_ref()).collect();
        assert_eq!(asleep.len() + awake, many as usize);
        assert!(asleep.iter().all(|packed| packed.len() < 100));
        for number in (1..many).rev() {
            let bytes = sparse.bytes(number * EXTENT_BYTES + 7, 8).unwrap();
            assert_eq!(bytes, number.to_le_bytes());
        }
        sparse.set_len(0).unwrap();
        assert_eq!(sparse.awake, 0);
    }
}
