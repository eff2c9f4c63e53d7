//! Reads a tar container: unpacks it into memory, since nothing in it can be reached otherwise, and finds its entries.

use std::io::{self, BufReader, Read};

use super::read_at::{ReadAt, Section, slice, to_usize};
use super::tar::{BLOCK, DIRECTORY_NAME, Directory, Header, padding};
use super::{ArchiveEntry, Place};
use crate::{Compression, Error, Result};

/// The largest tar that is unpacked.
pub(super) const MAX_TAR: u64 = 4 << 30;

/// An unpacked tar and what is in it.
pub(super) struct Tar {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<ArchiveEntry>,
    pub(super) recovered: bool,
}

/// Unpacks a container of at most `max` bytes.
///
/// Where the compressed stream is damaged, what came before is kept if it holds two entries.
pub(super) fn open<S: ReadAt + ?Sized>(source: &S, kind: Compression, max: u64) -> Result<Tar> {
    let packed = BufReader::with_capacity(64 * 1024, Section::new(source, 0, source.len()?));
    let (bytes, damage) = match kind {
        Compression::TarGzip => unpack(flate2::bufread::MultiGzDecoder::new(packed), max)?,
        _ => unpack(zstd::stream::read::Decoder::with_buffer(packed)?, max)?,
    };
    if damage.is_none()
        && let Some(entries) = listed(&bytes)
    {
        return Ok(Tar {
            bytes,
            entries,
            recovered: false,
        });
    }
    let (entries, gaps) = scan(&bytes);
    let recovered = gaps || damage.is_some();
    match damage {
        // Foreign tars end without a directory; that alone is no damage.
        None if !gaps => {}
        _ if entries.len() >= 2 => {}
        Some(error) => {
            return Err(Error::malformed(
                "archive",
                format!("its compressed data are damaged: {error}"),
            ));
        }
        None => {
            return Err(Error::malformed(
                "archive",
                "there is no header of an entry where one should be",
            ));
        }
    }
    Ok(Tar {
        bytes,
        entries,
        recovered,
    })
}

/// Reads all of a decoder, growing with what really comes; returns the error that ended it, if any.
fn unpack(mut decoder: impl Read, max: u64) -> Result<(Vec<u8>, Option<io::Error>)> {
    const STEP: u64 = 1 << 20;
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let damage = (&mut decoder).take(STEP).read_to_end(&mut bytes).err();
        if bytes.len() as u64 > max {
            return Err(Error::TooLarge {
                what: "unpacked tar container in bytes",
                limit: max,
            });
        }
        match damage {
            Some(error) if is_damage(&error) => return Ok((bytes, Some(error))),
            Some(error) => return Err(error.into()),
            None if bytes.len() == before => return Ok((bytes, None)),
            None => {}
        }
    }
}

/// Whether an error comes from a decoder; others are of the source.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other
    )
}

/// Returns the entries by the directory at the end, if it agrees with the headers.
fn listed(tar: &[u8]) -> Option<Vec<ArchiveEntry>> {
    let directory = Directory::parse(tar)?;
    let entry = |(name, extent): (String, super::tar::Extent)| {
        let header =
            slice(tar, extent.offset.checked_sub(BLOCK)?, BLOCK).and_then(Header::parse)?;
        (header.size == extent.size).then(|| {
            entry(
                super::zip::decode_name(name.as_bytes()),
                extent.offset,
                extent.size,
            )
        })
    };
    directory.0.into_iter().map(entry).collect()
}

/// Returns the entries by their headers, and whether something else lay between them.
fn scan(tar: &[u8]) -> (Vec<ArchiveEntry>, bool) {
    let mut entries = Vec::new();
    let (mut position, mut gaps) = (0u64, false);
    while let Some(block) = slice(tar, position, BLOCK) {
        let content = position + BLOCK;
        let header = Header::parse(block).filter(|header| {
            content
                .checked_add(header.size)
                .is_some_and(|end| end <= tar.len() as u64)
        });
        let Some(header) = header else {
            gaps |= block.iter().any(|byte| *byte != 0);
            position = content;
            continue;
        };
        position = content + header.size + padding(header.size);
        if header.is_file && header.name != DIRECTORY_NAME {
            entries.push(entry(header.name, content, header.size));
        }
    }
    gaps |= position < tar.len() as u64;
    (entries, gaps)
}

fn entry(name: String, start: u64, size: u64) -> ArchiveEntry {
    ArchiveEntry {
        name,
        size,
        place: Place {
            start,
            packed: size,
            limit: start + size,
            crc: 0,
            method: 0,
            flags: 0,
        },
    }
}

impl Tar {
    /// Returns the bytes of an entry.
    pub(super) fn content(&self, entry: &ArchiveEntry, max: u64) -> Result<&[u8]> {
        if entry.size > max {
            return Err(Error::TooLarge {
                what: "archive entry in bytes",
                limit: max,
            });
        }
        to_usize(entry.size)?;
        slice(&self.bytes, entry.place.start, entry.size).ok_or_else(|| {
            Error::malformed(
                "archive",
                format!("entry {} lies outside of it", entry.name),
            )
        })
    }
}
