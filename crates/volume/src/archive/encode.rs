//! Streaming compression into memory, drained by the archive writers after each piece.

use std::io::{self, Write};

use flate2::Compression as Level;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::pack::zstd_level;

/// The most bytes handed to an encoder before its output is drained.
pub(super) const PIECE: usize = 256 * 1024;

/// An encoder whose output is taken piece by piece.
pub(super) enum StreamEncoder {
    /// Raw deflate.
    Deflate(DeflateEncoder<Vec<u8>>),
    /// A gzip member without time and name, so that equal input gives equal output.
    Gzip(GzEncoder<Vec<u8>>),
    /// One Zstandard frame.
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl StreamEncoder {
    /// Starts raw deflate; level 0 makes stored blocks.
    pub(super) fn deflate(level: u8) -> Self {
        Self::Deflate(DeflateEncoder::new(
            Vec::new(),
            Level::new(u32::from(level.min(9))),
        ))
    }

    /// Starts gzip.
    pub(super) fn gzip(level: u8) -> Self {
        Self::Gzip(GzEncoder::new(
            Vec::new(),
            Level::new(u32::from(level.min(9))),
        ))
    }

    /// Starts a Zstandard frame, which ends with its own checksum if `checksum`.
    pub(super) fn zstd(level: i32, checksum: bool) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), zstd_level(level))?;
        encoder.include_checksum(checksum)?;
        Ok(Self::Zstd(Box::new(encoder)))
    }

    /// Takes in all of `data`, which is at most [`PIECE`] bytes if memory is to be bounded.
    pub(super) fn push(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Deflate(encoder) => encoder.write_all(data),
            Self::Gzip(encoder) => encoder.write_all(data),
            Self::Zstd(encoder) => encoder.write_all(data),
        }
    }

    /// Returns the output made so far; the caller clears it.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Deflate(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// Ends the stream and returns the output not yet taken.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Deflate(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}
