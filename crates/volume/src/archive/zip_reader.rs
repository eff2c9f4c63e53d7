//! Finds the entries of a zip file by its central directory, and their bytes.
//!
//! Nothing in the file is believed before it is checked against the file's length and against its neighbours, so that
//! entries cannot overlap and no claim of the file decides how much memory is used.

use std::io::Read;

use super::read_at::{ReadAt, Section, fetch, read_exact_at, slice, to_usize};
use super::unpack::{CheckedReader, Unpacker, stream, wrong_checksum};
use super::zip::{
    CENTRAL_LEN, CentralRecord, END_LEN, END_SIGNATURE, END64_LEN, END64_SIGNATURE, FLAG_ENCRYPTED,
    LOCAL_LEN, LOCATOR_LEN, LOCATOR_SIGNATURE, METHOD_DEFLATE, METHOD_STORED, METHOD_ZSTD,
    SATURATED_16, SATURATED_32, decode_name, local_header_len, method_name, u16_at, u32_at, u64_at,
};
use super::{ArchiveEntry, EntryName, Method, Packed, Place, zip_recovery};
use crate::{Error, Result};

/// How far back from the end the end record is looked for: the longest comment and some garbage behind it.
const TAIL: u64 = 128 * 1024;
/// How many places that look like an end record are tried.
const CANDIDATES: usize = 16;
/// The largest central directory read; it has room for millions of blocks.
const MAX_DIRECTORY: u64 = 1 << 30;

/// Returns the entries of a zip file, and whether they had to be recovered from local headers.
pub(super) fn open<S: ReadAt + ?Sized>(source: &S) -> Result<(Vec<ArchiveEntry>, bool)> {
    let len = source.len()?;
    match read_directory(source, len) {
        Ok(entries) => Ok((entries, false)),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(error) => match zip_recovery::scan(source, len)? {
            entries if entries.len() >= 2 => Ok((entries, true)),
            _ => Err(error),
        },
    }
}

/// Finds the end record and reads the directory before it.
fn read_directory<S: ReadAt + ?Sized>(source: &S, len: u64) -> Result<Vec<ArchiveEntry>> {
    let tail_start = len.saturating_sub(TAIL);
    let tail = fetch(source, tail_start, len - tail_start)?;
    let mut problem = malformed("there is no end record");
    let places = tail
        .windows(4)
        .enumerate()
        .rev()
        .filter(|(_, bytes)| *bytes == END_SIGNATURE);
    for (at, _) in places.take(CANDIDATES) {
        let Some(end) = End::parse(&tail, at, tail_start) else {
            continue;
        };
        match end.widen(source).and_then(|end| end.entries(source, len)) {
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            Err(error) => problem = error,
            found => return found,
        }
    }
    Err(problem)
}

/// Where the central directory is.
struct End {
    /// Where the record that says so begins; the directory ends there.
    position: u64,
    entries: u64,
    directory_len: u64,
    directory: u64,
}

impl End {
    /// Parses the end record (APPNOTE 4.3.16); none if it speaks of several disks.
    fn parse(tail: &[u8], at: usize, tail_start: u64) -> Option<Self> {
        let record = tail.get(at..)?;
        let disks = [u16_at(record, 4)?, u16_at(record, 6)?];
        let (here, all) = (u16_at(record, 8)?, u16_at(record, 10)?);
        if here != all
            || disks
                .iter()
                .any(|disk| *disk != 0 && u64::from(*disk) != SATURATED_16)
        {
            return None;
        }
        let end = End {
            position: tail_start + at as u64,
            entries: u64::from(all),
            directory_len: u64::from(u32_at(record, 12)?),
            directory: u64::from(u32_at(record, 16)?),
        };
        (record.len() as u64 >= END_LEN).then_some(end)
    }

    /// Goes on to the Zip64 records (APPNOTE 4.3.14, 4.3.15) if there are some.
    fn widen<S: ReadAt + ?Sized>(self, source: &S) -> Result<Self> {
        let saturated = self.entries == SATURATED_16
            || self.directory_len == SATURATED_32
            || self.directory == SATURATED_32;
        let Some(locator_at) = self.position.checked_sub(LOCATOR_LEN).filter(|_| saturated) else {
            return Ok(self);
        };
        let locator = fetch(source, locator_at, LOCATOR_LEN)?;
        if !locator.starts_with(&LOCATOR_SIGNATURE) {
            return Ok(self);
        }
        let position = u64_at(&locator, 8).filter(|at| {
            at.checked_add(END64_LEN)
                .is_some_and(|end| end <= locator_at)
        });
        let Some(position) = position else {
            return Err(malformed("the Zip64 end record lies outside"));
        };
        let record = fetch(source, position, END64_LEN)?;
        let numbers = || {
            Some(End {
                position,
                entries: u64_at(&record, 32)?,
                directory_len: u64_at(&record, 40)?,
                directory: u64_at(&record, 48)?,
            })
        };
        numbers()
            .filter(|_| record.starts_with(&END64_SIGNATURE))
            .ok_or_else(|| malformed("the Zip64 end record is damaged"))
    }

    /// Reads the central directory and checks its claims.
    fn entries<S: ReadAt + ?Sized>(&self, source: &S, len: u64) -> Result<Vec<ArchiveEntry>> {
        if self.directory.checked_add(self.directory_len) != Some(self.position)
            || self.position > len
        {
            return Err(malformed(
                "the central directory does not lie before the end record",
            ));
        }
        if self.directory_len > MAX_DIRECTORY {
            return Err(Error::TooLarge {
                what: "central directory in bytes",
                limit: MAX_DIRECTORY,
            });
        }
        if self.entries > self.directory_len / CENTRAL_LEN {
            return Err(malformed(
                "the central directory is too short for its entries",
            ));
        }
        let bytes = fetch(source, self.directory, self.directory_len)?;
        let mut rest: &[u8] = &bytes;
        let mut entries = Vec::with_capacity(to_usize(self.entries)?);
        while !rest.is_empty() {
            let Some((record, following)) = CentralRecord::parse(rest) else {
                return Err(malformed(format!(
                    "record {} of the central directory is damaged",
                    entries.len()
                )));
            };
            rest = following;
            entries.push(self.entry(&record)?);
        }
        if entries.len() as u64 != self.entries {
            return Err(malformed(format!(
                "the central directory has {} entries, not {}",
                entries.len(),
                self.entries
            )));
        }
        set_limits(&mut entries, self.directory)?;
        Ok(entries)
    }

    fn entry(&self, record: &CentralRecord<'_>) -> Result<ArchiveEntry> {
        let name = decode_name(record.name);
        let least = LOCAL_LEN + record.name.len() as u64;
        let end = record
            .header
            .checked_add(least)
            .and_then(|start| start.checked_add(record.packed));
        if end.is_none_or(|end| end > self.directory) {
            return Err(malformed(format!(
                "entry {name} reaches into the central directory"
            )));
        }
        let place = Place {
            start: record.header,
            packed: record.packed,
            limit: self.directory,
            crc: record.crc,
            method: record.method,
            flags: record.flags,
        };
        Ok(ArchiveEntry {
            name: EntryName::from(name.as_str()),
            size: record.size,
            place,
        })
    }
}

/// Notes for each entry where the next one begins, and refuses overlapping ones.
fn set_limits(entries: &mut [ArchiveEntry], directory: u64) -> Result<()> {
    let mut order: Vec<&mut ArchiveEntry> = entries.iter_mut().collect();
    if !order.is_sorted_by_key(|entry| entry.place.start) {
        order.sort_by_key(|entry| entry.place.start);
    }
    let mut limit = directory;
    for entry in order.into_iter().rev() {
        let place = &mut entry.place;
        // No overflow: checked against the position of the directory when the entry was read.
        if place.start + LOCAL_LEN + place.packed > limit {
            return Err(malformed(format!("entry {} overlaps another", entry.name)));
        }
        place.limit = limit;
        limit = place.start;
    }
    Ok(())
}

/// Unpacks an entry into `out` and checks its checksum.
pub(super) fn read_into<S: ReadAt + ?Sized>(
    source: &S,
    entry: &ArchiveEntry,
    out: &mut Vec<u8>,
    max: u64,
    unpacker: &mut Unpacker,
) -> Result<()> {
    check_claims(entry, max)?;
    let place = &entry.place;
    let size = to_usize(entry.size)?;
    let unpacked = if let Some(all) = source.bytes() {
        let start = locate(source, entry)?;
        let packed = slice(all, start, place.packed)
            .ok_or_else(|| damaged(entry, "it ends after the archive"))?;
        unpacker.unpack(place.method, packed, size, out)
    } else {
        let mut input = std::mem::take(&mut unpacker.input);
        let range = load(source, entry, &mut input);
        let unpacked = range.map(|start| {
            let packed = input.get(start..).unwrap_or_default();
            unpacker.unpack(place.method, packed, size, out)
        });
        unpacker.input = input;
        unpacked?
    };
    unpacked.map_err(|what| damaged(entry, what))?;
    if crc32fast::hash(out) != place.crc {
        return Err(wrong_checksum(&entry.name));
    }
    Ok(())
}

/// Reads the packed bytes of an entry as they are.
pub(super) fn read_packed<S: ReadAt + ?Sized>(
    source: &S,
    entry: &ArchiveEntry,
    max: u64,
) -> Result<Packed> {
    check_readable(entry)?;
    let method = match entry.place.method {
        METHOD_DEFLATE => Method::Deflate,
        METHOD_ZSTD => Method::Zstd,
        _ => Method::Stored,
    };
    if entry.place.packed > max {
        return Err(Error::TooLarge {
            what: "packed archive entry in bytes",
            limit: max,
        });
    }
    let start = locate(source, entry)?;
    let bytes = fetch(source, start, entry.place.packed)?.into_owned();
    Ok(Packed {
        method,
        bytes,
        crc32: entry.place.crc,
        size: entry.size,
    })
}

/// Returns a reader of the unpacked bytes of an entry.
pub(super) fn open_stream<'a, S: ReadAt + ?Sized>(
    source: &'a S,
    entry: &'a ArchiveEntry,
) -> Result<Box<dyn Read + 'a>> {
    check_readable(entry)?;
    let start = locate(source, entry)?;
    let section = Section::new(source, start, start + entry.place.packed);
    let inner = stream(entry.place.method, section)?;
    Ok(Box::new(CheckedReader::new(
        inner,
        &entry.name,
        entry.size,
        entry.place.crc,
    )))
}

/// Refuses what cannot be read at all.
fn check_readable(entry: &ArchiveEntry) -> Result<()> {
    if entry.place.flags & FLAG_ENCRYPTED != 0 {
        return Err(Error::Unsupported(format!(
            "archive entry {} is encrypted inside the zip file",
            entry.name
        )));
    }
    match entry.place.method {
        METHOD_STORED | METHOD_DEFLATE | METHOD_ZSTD => Ok(()),
        method => Err(Error::Unsupported(format!(
            "{} of archive entry {}",
            method_name(method),
            entry.name
        ))),
    }
}

/// Refuses sizes above the bound, and sizes that the packed bytes cannot have, before memory is taken for them.
fn check_claims(entry: &ArchiveEntry, max: u64) -> Result<()> {
    check_readable(entry)?;
    if entry.size > max {
        return Err(Error::TooLarge {
            what: "archive entry in bytes",
            limit: max,
        });
    }
    // Deflate: at most 258 bytes for two bits. Zstandard: at most 128 KiB for a block of four bytes.
    let most_per_byte = match entry.place.method {
        METHOD_DEFLATE => 1032,
        METHOD_ZSTD => 32 * 1024,
        _ => 1,
    };
    if entry.size > entry.place.packed.saturating_mul(most_per_byte) {
        return Err(damaged(entry, "it has too few bytes for its size"));
    }
    // Packing never more than doubles, but for a few bytes of framing.
    if entry.place.packed > entry.size.saturating_mul(2).saturating_add(4096) {
        return Err(damaged(entry, "it has too many bytes for its size"));
    }
    Ok(())
}

/// Returns where the packed bytes of an entry begin, from its local header.
fn locate<S: ReadAt + ?Sized>(source: &S, entry: &ArchiveEntry) -> Result<u64> {
    let mut header = [0; LOCAL_LEN as usize];
    read_exact_at(source, entry.place.start, &mut header)?;
    let start = entry.place.start + checked_header_len(entry, &header)?;
    Ok(start)
}

/// Loads an entry into `input` and returns where in it the packed bytes begin, which then reach to its end.
///
/// One read, unless the local header has more extra fields than expected.
fn load<S: ReadAt + ?Sized>(
    source: &S,
    entry: &ArchiveEntry,
    input: &mut Vec<u8>,
) -> Result<usize> {
    const EXTRA: u64 = 64;
    let place = &entry.place;
    let guess = LOCAL_LEN + entry.name.len() as u64 + EXTRA + place.packed;
    let len = guess.min(place.limit - place.start);
    input.resize(to_usize(len)?, 0);
    read_exact_at(source, place.start, input)?;
    let header = checked_header_len(entry, input)?;
    let end = header + place.packed;
    if end <= len {
        input.truncate(to_usize(end)?);
        return Ok(to_usize(header)?);
    }
    input.resize(to_usize(place.packed)?, 0);
    read_exact_at(source, place.start + header, input)?;
    Ok(0)
}

/// Checks a local header against what is known of the entry and returns its length.
///
/// Name, sizes and checksum in it are not looked at: those of the central directory count.
fn checked_header_len(entry: &ArchiveEntry, header: &[u8]) -> Result<u64> {
    let place = &entry.place;
    let Some(len) = local_header_len(header) else {
        return Err(damaged(entry, "its local header is damaged"));
    };
    if u16_at(header, 8) != Some(place.method) {
        return Err(damaged(entry, "its two headers differ"));
    }
    if len
        .checked_add(place.packed)
        .is_none_or(|end| end > place.limit - place.start)
    {
        return Err(damaged(entry, "it reaches into the next"));
    }
    Ok(len)
}

fn malformed(detail: impl Into<String>) -> Error {
    Error::malformed("archive", detail)
}

fn damaged(entry: &ArchiveEntry, detail: &str) -> Error {
    Error::malformed("archive", format!("entry {}: {detail}", entry.name))
}
