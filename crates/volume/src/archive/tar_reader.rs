//! Reads a tar container: unpacks it, since nothing in it can be reached otherwise, and finds its entries.

use std::borrow::Cow;
use std::io::{self, BufReader, Read};

use super::read_at::{ReadAt, Section, fetch, read_exact_at};
use super::tar::{BLOCK, DIRECTORY_NAME, Directory, Header, padding};
use super::{ArchiveEntry, EntryName, Place, Scratch};
use crate::{Compression, Error, Result};

/// The largest tar that is written or unpacked.
pub(super) const MAX_TAR: u64 = 4 << 30;
/// How many bytes one packed byte may become: what deflate reaches at most. A tar of blocks, each under a random name
/// and none twice, stays far below; only Zstandard could do more, and only for a trap.
const MAX_EXPANSION: u64 = 1024;
/// What a tar may have in any case.
const ALWAYS: u64 = 64 << 20;
/// What of a tar may lie outside of entries. Behind a damaged header the content of its entry does, which has the
/// size of a block; a stream of anything else is no tar, and is not unpacked to its end.
const MAX_GAPS: u64 = 64 << 20;
/// The most entries: a GiB of the smallest blocks.
const MAX_ENTRIES: usize = 1 << 20;

/// An unpacked tar and what is in it.
pub(super) struct Tar {
    bytes: Box<dyn ReadAt>,
    pub(super) entries: Vec<ArchiveEntry>,
    pub(super) recovered: bool,
}

/// Unpacks a container of at most `max` bytes into a scratch.
///
/// Where the compressed stream is damaged, what came before is kept if it holds two entries.
pub(super) fn open<S: ReadAt + ?Sized>(
    source: &S,
    kind: Compression,
    max: u64,
    scratch: Box<dyn Scratch>,
) -> Result<Tar> {
    let len = source.len()?;
    let max = max.min(len.saturating_mul(MAX_EXPANSION).max(ALWAYS));
    let packed = BufReader::with_capacity(64 * 1024, Section::new(source, 0, len));
    let (bytes, damage) = match kind {
        Compression::TarGzip => unpack(flate2::bufread::MultiGzDecoder::new(packed), max, scratch)?,
        _ => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            unpack(decoder, max, scratch)?
        }
    };
    if damage.is_none()
        && let Some(entries) = listed(&*bytes)?
    {
        return Ok(Tar {
            bytes,
            entries,
            recovered: false,
        });
    }
    let (entries, gaps) = scan(&*bytes)?;
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

/// An unpacked tar, and the error that ended it, if any.
type Unpacked = (Box<dyn ReadAt>, Option<io::Error>);

/// Reads all of a decoder into the scratch.
fn unpack(mut decoder: impl Read, max: u64, mut scratch: Box<dyn Scratch>) -> Result<Unpacked> {
    let mut piece = vec![0; 256 * 1024];
    let mut len = 0_u64;
    let mut shape = Shape::default();
    let damage = loop {
        match decoder.read(&mut piece) {
            Ok(0) => break None,
            Ok(count) => {
                len += count as u64;
                if len > max {
                    return Err(Error::TooLarge {
                        what: "unpacked tar container in bytes",
                        limit: max,
                    });
                }
                shape.pass(piece.get(..count).unwrap_or_default());
                if shape.gaps > MAX_GAPS {
                    return Err(Error::TooLarge {
                        what: "part of a tar container that is no entry, in bytes",
                        limit: MAX_GAPS,
                    });
                }
                scratch.write_all(piece.get(..count).unwrap_or_default())?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_damage(&error) => break Some(error),
            Err(error) => return Err(error.into()),
        }
    };
    Ok((scratch.finish()?, damage))
}

/// Follows the entries of a tar while it is unpacked, and counts what lies outside of them.
#[derive(Default)]
struct Shape {
    /// Bytes that belong to the present entry.
    inside: u64,
    /// The beginning of a header that is cut by the end of a piece.
    block: Vec<u8>,
    gaps: u64,
}

impl Shape {
    fn pass(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.inside > 0 {
                let len = self.inside.min(piece.len() as u64);
                self.inside -= len;
                piece = usize::try_from(len)
                    .ok()
                    .and_then(|len| piece.get(len..))
                    .unwrap_or_default();
                continue;
            }
            let missing = BLOCK as usize - self.block.len();
            let (head, rest) = piece.split_at(missing.min(piece.len()));
            piece = rest;
            self.block.extend_from_slice(head);
            if self.block.len() < BLOCK as usize {
                return;
            }
            match Header::parse(&self.block) {
                Some(header) => self.inside = header.size.saturating_add(padding(header.size)),
                None => self.gaps += BLOCK,
            }
            self.block.clear();
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
fn listed(tar: &dyn ReadAt) -> Result<Option<Vec<ArchiveEntry>>> {
    let Some(directory) = Directory::read(tar)?.filter(|found| found.0.len() <= MAX_ENTRIES) else {
        return Ok(None);
    };
    let mut blocks = Blocks::new(tar)?;
    let mut entries = Vec::with_capacity(directory.0.len());
    for (name, extent) in directory.0 {
        let header = match extent.offset.checked_sub(BLOCK) {
            Some(at) => blocks.at(at)?.and_then(Header::parse),
            None => None,
        };
        if header.is_none_or(|header| header.size != extent.size) {
            return Ok(None);
        }
        let name = super::zip::decode_name(name.as_bytes());
        entries.push(entry(name, extent.offset, extent.size));
    }
    Ok(Some(entries))
}

/// Returns the entries by their headers, and whether something else lay between them.
fn scan(tar: &dyn ReadAt) -> Result<(Vec<ArchiveEntry>, bool)> {
    let mut blocks = Blocks::new(tar)?;
    let len = blocks.len;
    let mut entries = Vec::new();
    let (mut position, mut gaps) = (0u64, false);
    while let Some(block) = blocks.at(position)? {
        let content = position + BLOCK;
        let header = Header::parse(block).filter(|header| {
            content
                .checked_add(header.size)
                .is_some_and(|end| end <= len)
        });
        let Some(header) = header else {
            gaps |= block.iter().any(|byte| *byte != 0);
            position = content;
            continue;
        };
        position = content + header.size + padding(header.size);
        if header.is_file && header.name != DIRECTORY_NAME {
            if entries.len() == MAX_ENTRIES {
                return Err(Error::TooLarge {
                    what: "number of entries of a tar container",
                    limit: MAX_ENTRIES as u64,
                });
            }
            entries.push(entry(header.name, content, header.size));
        }
    }
    gaps |= position < len;
    Ok((entries, gaps))
}

/// Gives the blocks of a tar, reading many at a time.
struct Blocks<'a> {
    tar: &'a dyn ReadAt,
    len: u64,
    start: u64,
    window: Vec<u8>,
}

impl<'a> Blocks<'a> {
    fn new(tar: &'a dyn ReadAt) -> Result<Self> {
        Ok(Self {
            tar,
            len: tar.len()?,
            start: 0,
            window: Vec::new(),
        })
    }

    /// The whole block at `at`, if there is one.
    fn at(&mut self, at: u64) -> Result<Option<&[u8]>> {
        const WINDOW: u64 = 64 * 1024;
        if at.checked_add(BLOCK).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let held =
            |start: u64, window: &[u8]| at >= start && at + BLOCK <= start + window.len() as u64;
        if !held(self.start, &self.window) {
            let len = WINDOW.min(self.len - at);
            self.window.resize(usize::try_from(len).unwrap_or(0), 0);
            self.start = at;
            read_exact_at(self.tar, at, &mut self.window)?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from + BLOCK as usize))
    }
}

fn entry(name: String, start: u64, size: u64) -> ArchiveEntry {
    ArchiveEntry {
        name: EntryName::from(name.as_str()),
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
    pub(super) fn content(&self, entry: &ArchiveEntry, max: u64) -> Result<Cow<'_, [u8]>> {
        self.check(entry, max)?;
        Ok(fetch(&*self.bytes, entry.place.start, entry.size)?)
    }

    /// Returns a reader of the bytes of an entry.
    pub(super) fn stream(&self, entry: &ArchiveEntry) -> Result<impl Read + '_> {
        self.check(entry, u64::MAX)?;
        let start = entry.place.start;
        let section = Section::new(&*self.bytes, start, start.saturating_add(entry.size));
        Ok(BufReader::with_capacity(64 * 1024, section))
    }

    fn check(&self, entry: &ArchiveEntry, max: u64) -> Result<()> {
        if entry.size > max {
            return Err(Error::TooLarge {
                what: "archive entry in bytes",
                limit: max,
            });
        }
        let end = entry.place.start.checked_add(entry.size);
        let len = self.bytes.len()?;
        if end.is_none_or(|end| end > len) {
            let detail = format!("entry {} lies outside of it", entry.name);
            return Err(Error::malformed("archive", detail));
        }
        Ok(())
    }
}
