//! Compression of whole entries, done by worker threads before the archive is written.

use std::sync::LazyLock;

use libdeflater::{CompressionLvl, Compressor};

/// How the bytes of an entry are packed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// As they are; zip method 0.
    Stored,
    /// Raw deflate; zip method 8.
    Deflate,
    /// One Zstandard frame; zip method 93.
    Zstd,
}

/// The content of an entry, ready to be appended to an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// How `bytes` are packed.
    pub method: Method,
    /// The packed bytes.
    pub bytes: Vec<u8>,
    /// The CRC-32 of the unpacked bytes.
    pub crc32: u32,
    /// The number of unpacked bytes.
    pub size: u64,
}

/// How entries are to be packed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PackMethod {
    /// Not at all.
    Stored,
    /// With deflate.
    Deflate {
        /// 0 (stored) to 9 (smallest); larger counts as 9.
        level: u8,
    },
    /// With Zstandard.
    Zstd {
        /// The library's level: 1 to 22, and below 0 the faster ones.
        level: i32,
    },
}

/// What the caller knows about the content of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hint {
    /// Packing is worth a try.
    Compressible,
    /// Packing gains nothing: compressed files, hashes.
    Stored,
}

/// Packs entries one after the other, with contexts that are kept between them; one for each worker thread.
pub struct Packer {
    engine: Engine,
    scratch: Vec<u8>,
}

enum Engine {
    Stored,
    Deflate(Box<Compressor>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    /// Makes a packer; should the library have no memory for its context, everything is stored.
    pub fn new(method: PackMethod) -> Self {
        let engine = match method {
            PackMethod::Stored | PackMethod::Deflate { level: 0 } => Engine::Stored,
            PackMethod::Deflate { level } => {
                let level = CompressionLvl::new(deflate_level(level)).unwrap_or_default();
                Engine::Deflate(Box::new(Compressor::new(level)))
            }
            PackMethod::Zstd { level } => {
                zstd::bulk::Compressor::new(zstd_level(level)).map_or(Engine::Stored, Engine::Zstd)
            }
        };
        Packer {
            engine,
            scratch: Vec::new(),
        }
    }

    /// Packs `data`; the result is stored when packing gains nothing.
    ///
    /// Before deflate, which is slow to learn that nothing shrinks, the order-0 entropy of samples is looked at.
    pub fn pack(&mut self, data: &[u8], hint: Hint) -> Packed {
        let (crc32, size) = (crc32fast::hash(data), data.len() as u64);
        if hint == Hint::Compressible
            && let Some((method, length)) = self.squeeze(data)
        {
            let bytes = self.scratch.get(..length).unwrap_or_default().to_vec();
            return Packed {
                method,
                bytes,
                crc32,
                size,
            };
        }
        Packed {
            method: Method::Stored,
            bytes: data.to_vec(),
            crc32,
            size,
        }
    }

    /// Packs `data` as [`pack`](Self::pack) does, and keeps the vector itself when it is stored.
    pub fn pack_vec(&mut self, data: Vec<u8>, hint: Hint) -> Packed {
        let (crc32, size) = (crc32fast::hash(&data), data.len() as u64);
        if hint == Hint::Compressible
            && let Some((method, length)) = self.squeeze(&data)
        {
            let bytes = self.scratch.get(..length).unwrap_or_default().to_vec();
            return Packed {
                method,
                bytes,
                crc32,
                size,
            };
        }
        Packed {
            method: Method::Stored,
            bytes: data,
            crc32,
            size,
        }
    }

    /// Packs into `scratch` and returns the method and the packed length, or nothing if it does not get smaller.
    fn squeeze(&mut self, data: &[u8]) -> Option<(Method, usize)> {
        let most = data.len().checked_sub(1)?;
        match &mut self.engine {
            Engine::Stored => None,
            Engine::Deflate(compressor) => {
                if looks_packed(data) {
                    return None;
                }
                if self.scratch.len() < most {
                    self.scratch.resize(most, 0);
                }
                let length = compressor
                    .deflate_compress(data, self.scratch.get_mut(..most)?)
                    .ok()?;
                Some((Method::Deflate, length))
            }
            Engine::Zstd(compressor) => {
                self.scratch.clear();
                self.scratch
                    .reserve(zstd::zstd_safe::compress_bound(data.len()));
                let length = compressor
                    .compress_to_buffer(data, &mut self.scratch)
                    .ok()?;
                (length <= most).then_some((Method::Zstd, length))
            }
        }
    }
}

/// Maps deflate levels, 0 to 9 as zlib counts them, to those of the library, which packs as tightly two levels lower.
fn deflate_level(level: u8) -> i32 {
    match level {
        0 => 0,
        1 => 1,
        2 | 3 => 3,
        4 | 5 => 4,
        6 => 6,
        _ => 7,
    }
}

/// Brings a Zstandard level into the range of the library.
pub(super) fn zstd_level(level: i32) -> i32 {
    let range = zstd::compression_level_range();
    level.clamp(*range.start(), *range.end())
}

/// Bytes of one sample of [`looks_packed`].
const SAMPLE: usize = 4096;
/// Samples taken of a block.
const SAMPLES: usize = 4;
/// Bits per byte above which a sample counts as packed; random bytes have 7.955 in samples of this size.
const PACKED_BITS: f64 = 7.9;

/// Tells whether `data` is compressed or encrypted already: all samples have a high order-0 entropy.
///
/// Blocks with fewer bytes than the samples are never flagged.
fn looks_packed(data: &[u8]) -> bool {
    if data.len() < SAMPLE * SAMPLES {
        return false;
    }
    let step = (data.len() - SAMPLE) / (SAMPLES - 1);
    (0..SAMPLES).all(|index| {
        data.get(index * step..index * step + SAMPLE)
            .is_some_and(|sample| entropy_bits(sample) > PACKED_BITS)
    })
}

/// The order-0 entropy of a sample of [`SAMPLE`] bytes in bits per byte.
fn entropy_bits(sample: &[u8]) -> f64 {
    // count * log2(count), so that a sample costs 256 additions.
    static WEIGHTS: LazyLock<Vec<f64>> = LazyLock::new(|| {
        (0..=SAMPLE)
            .map(|count| {
                if count == 0 {
                    0.0
                } else {
                    count as f64 * (count as f64).log2()
                }
            })
            .collect()
    });
    // Four tables, so that equal neighbours do not wait for each other.
    let mut counts = [[0u16; 256]; 4];
    for four in sample.chunks(4) {
        for (table, byte) in counts.iter_mut().zip(four) {
            table[usize::from(*byte)] += 1;
        }
    }
    let [a, b, c, d] = &counts;
    let weight: f64 = a
        .iter()
        .zip(b)
        .zip(c.iter().zip(d))
        .filter_map(|((a, b), (c, d))| WEIGHTS.get(usize::from(a + b + c + d)))
        .sum();
    let total = sample.len() as f64;
    total.log2() - weight / total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without any pattern, from a counter.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect()
    }

    fn text(len: usize) -> Vec<u8> {
        b"the quick brown fox jumps over the lazy dog, again. "
            .iter()
            .copied()
            .cycle()
            .take(len)
            .collect()
    }

    #[test]
    fn noise_is_recognised_and_text_is_not() {
        assert!(looks_packed(&noise(1 << 20)));
        assert!(looks_packed(&noise(SAMPLE * SAMPLES)));
        assert!(!looks_packed(&noise(SAMPLE * SAMPLES - 1)));
        assert!(!looks_packed(&text(1 << 20)));
        assert!(!looks_packed(&[]));
        // One compressible part is enough to try.
        let mut mixed = noise(1 << 20);
        let end = mixed.len();
        mixed[end - SAMPLE..].fill(0);
        assert!(!looks_packed(&mixed));
    }

    #[test]
    fn entropy_of_known_samples() {
        assert_eq!(entropy_bits(&[7; SAMPLE]), 0.0);
        let even: Vec<u8> = (0..SAMPLE).map(|at| (at % 256) as u8).collect();
        assert!((entropy_bits(&even) - 8.0).abs() < 1e-9);
        let two: Vec<u8> = (0..SAMPLE).map(|at| (at % 2) as u8).collect();
        assert!((entropy_bits(&two) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn packs_what_shrinks_and_stores_the_rest() {
        let (text, noise) = (text(100_000), noise(100_000));
        for (method, expected) in [
            (PackMethod::Stored, Method::Stored),
            (PackMethod::Deflate { level: 0 }, Method::Stored),
            (PackMethod::Deflate { level: 1 }, Method::Deflate),
            (PackMethod::Deflate { level: 9 }, Method::Deflate),
            (PackMethod::Deflate { level: 200 }, Method::Deflate),
            (PackMethod::Zstd { level: 3 }, Method::Zstd),
            (PackMethod::Zstd { level: 1000 }, Method::Zstd),
        ] {
            let mut packer = Packer::new(method);
            let packed = packer.pack(&text, Hint::Compressible);
            assert_eq!(packed.method, expected, "{method:?}");
            assert_eq!(
                (packed.size, packed.crc32),
                (100_000, crc32fast::hash(&text))
            );
            assert_eq!(packer.pack_vec(text.clone(), Hint::Compressible), packed);
            for data in [&noise[..], &noise[..999], b"", b"a"] {
                let stored = packer.pack(data, Hint::Compressible);
                assert_eq!(
                    (stored.method, stored.bytes.as_slice()),
                    (Method::Stored, data),
                    "{method:?}"
                );
            }
            assert_eq!(packer.pack(&text, Hint::Stored).method, Method::Stored);
            // The same again: contexts carry nothing over.
            assert_eq!(packer.pack(&text, Hint::Compressible), packed);
        }
    }
}
