//! Unpacking of entries: whole ones with reused contexts, large ones as a stream.

use std::io::{self, BufReader, Read};

use libdeflater::Decompressor;

use super::zip::{METHOD_DEFLATE, METHOD_STORED, METHOD_ZSTD};
use crate::{Error, Result};

const CORRUPT: &str = "its compressed data are damaged";
const SHORT: &str = "it unpacks to fewer bytes than announced";
const LONG: &str = "it unpacks to more bytes than announced";

/// Contexts and buffers for unpacking entry after entry; one for each worker thread.
pub struct Unpacker {
    deflate: Decompressor,
    /// Made when first needed.
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    /// Packed bytes, when the source does not lie in memory.
    pub(super) input: Vec<u8>,
}

impl Unpacker {
    /// Makes an unpacker with empty buffers.
    pub fn new() -> Self {
        Unpacker {
            deflate: Decompressor::new(),
            zstd: None,
            input: Vec::new(),
        }
    }

    /// Unpacks `packed` to exactly `size` bytes in `out`, or says what is wrong.
    ///
    /// The caller has bounded `size`.
    pub(super) fn unpack(
        &mut self,
        method: u16,
        packed: &[u8],
        size: usize,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), &'static str> {
        match method {
            METHOD_STORED => {
                if packed.len() != size {
                    return Err("it is stored, but its two sizes differ");
                }
                out.clear();
                out.extend_from_slice(packed);
                Ok(())
            }
            METHOD_DEFLATE => {
                out.resize(size, 0);
                match self.deflate.deflate_decompress(packed, out) {
                    Ok(count) if count == size => Ok(()),
                    Ok(_) => Err(SHORT),
                    Err(libdeflater::DecompressionError::InsufficientSpace) => Err(LONG),
                    Err(_) => Err(CORRUPT),
                }
            }
            METHOD_ZSTD => {
                if self.zstd.is_none() {
                    self.zstd = Some(
                        zstd::bulk::Decompressor::new()
                            .map_err(|_| "no memory for a Zstandard context")?,
                    );
                }
                let Some(context) = &mut self.zstd else {
                    return Err(CORRUPT);
                };
                // Sized exactly and zeroed at most once, so that a frame with more content cannot use spare capacity.
                out.resize(size, 0);
                match context.decompress_to_buffer(packed, out.as_mut_slice()) {
                    Ok(count) if count == size => Ok(()),
                    Ok(_) => Err(SHORT),
                    Err(_) => Err(CORRUPT),
                }
            }
            _ => Err("its compression method is unknown"),
        }
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a reader of the unpacked bytes of `packed`, not checked and perhaps without end.
pub(super) fn stream<'a>(method: u16, packed: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    const BUFFER: usize = 64 * 1024;
    let packed = BufReader::with_capacity(BUFFER, packed);
    Ok(match method {
        METHOD_STORED => Box::new(packed),
        METHOD_DEFLATE => Box::new(flate2::bufread::DeflateDecoder::new(packed)),
        METHOD_ZSTD => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        _ => return Err(Error::Unsupported(super::zip::method_name(method))),
    })
}

/// Reads an entry to its announced size and compares its checksum.
///
/// The last bytes are only handed out when the checksum is right and nothing follows.
pub(super) struct CheckedReader<'a> {
    inner: Box<dyn Read + 'a>,
    name: &'a str,
    left: u64,
    hasher: crc32fast::Hasher,
    expected: u32,
    end: End,
}

/// What is known about the end of the entry.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Ahead,
    Right,
    Wrong,
}

impl<'a> CheckedReader<'a> {
    /// Reads the entry `name` of `size` bytes from `inner`.
    pub(super) fn new(inner: Box<dyn Read + 'a>, name: &'a str, size: u64, expected: u32) -> Self {
        CheckedReader {
            inner,
            name,
            left: size,
            hasher: crc32fast::Hasher::new(),
            expected,
            end: End::Ahead,
        }
    }

    fn damaged(&self, detail: impl std::fmt::Display) -> io::Error {
        Error::malformed("archive", format!("entry {}: {detail}", self.name)).into()
    }

    /// Says which entry it was when a decoder complains; errors of the source stay as they are.
    fn explain(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other => self.damaged(error),
            _ => error,
        }
    }

    fn check_end(&mut self) -> io::Result<()> {
        match self.end {
            End::Right => return Ok(()),
            End::Wrong => return Err(wrong_checksum(self.name).into()),
            End::Ahead => {}
        }
        match self.inner.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged(LONG)),
            Err(error) => return Err(self.explain(error)),
        }
        self.end = if self.hasher.clone().finalize() == self.expected {
            End::Right
        } else {
            End::Wrong
        };
        self.check_end()
    }
}

/// The error for contents that do not have the checksum of the archive.
pub(super) fn wrong_checksum(name: &str) -> Error {
    Error::Tampered(format!("checksum of archive entry {name} differs"))
}

impl Read for CheckedReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return self.check_end().map(|()| 0);
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let wanted = buf.get_mut(..most).unwrap_or_default();
        let count = match self.inner.read(wanted) {
            Ok(0) => return Err(self.damaged(SHORT)),
            Ok(count) => count,
            Err(error) => return Err(self.explain(error)),
        };
        self.hasher.update(buf.get(..count).unwrap_or_default());
        self.left -= count as u64;
        if self.left == 0 {
            self.check_end()?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(content: &[u8], size: u64, crc: u32) -> CheckedReader<'_> {
        CheckedReader::new(Box::new(content), "x", size, crc)
    }

    #[test]
    fn the_last_bytes_come_only_when_the_checksum_is_right() {
        let crc = crc32fast::hash(b"content");
        let mut all = Vec::new();
        reader(b"content", 7, crc).read_to_end(&mut all).unwrap();
        assert_eq!(all, b"content");

        let mut buf = [0; 4];
        let mut wrong = reader(b"content", 7, !crc);
        assert_eq!(wrong.read(&mut buf).unwrap(), 4);
        assert_eq!(
            wrong.read(&mut buf).unwrap_err().to_string(),
            "altered or damaged data: checksum of archive entry x differs"
        );
        assert!(
            wrong.read(&mut buf).is_err(),
            "and no end of file after that"
        );

        let short = reader(b"content", 8, crc)
            .read_to_end(&mut all)
            .unwrap_err();
        assert!(short.to_string().contains("fewer bytes"), "{short}");
        let long = reader(b"content", 6, crc32fast::hash(b"conten"))
            .read_to_end(&mut all)
            .unwrap_err();
        assert!(long.to_string().contains("more bytes"), "{long}");
        assert_eq!(reader(b"", 0, 0).read(&mut buf).unwrap(), 0);
        assert!(reader(b"", 0, 1).read(&mut buf).is_err());
    }

    #[test]
    fn sizes_must_be_exact() {
        let mut unpacker = Unpacker::new();
        let text = vec![b'a'; 1000];
        let mut out = Vec::with_capacity(5000);
        for (method, how) in [
            (
                METHOD_DEFLATE,
                super::super::PackMethod::Deflate { level: 6 },
            ),
            (METHOD_ZSTD, super::super::PackMethod::Zstd { level: 3 }),
            (METHOD_STORED, super::super::PackMethod::Stored),
        ] {
            let packed = super::super::Packer::new(how)
                .pack(&text, super::super::Hint::Compressible)
                .bytes;
            for size in [0, 999, 1001, 4000] {
                assert!(
                    unpacker.unpack(method, &packed, size, &mut out).is_err(),
                    "{method} {size}"
                );
            }
            unpacker.unpack(method, &packed, 1000, &mut out).unwrap();
            assert_eq!(out, text);
        }
    }
}
