//! Finds entries of a zip file by their local headers, for a file whose central directory is lost or damaged.
//!
//! Entries follow each other without gaps, so that each header leads to the next one. Where that fails, the next
//! signature is looked for, and an entry only counts if its content has the right checksum.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, Operation};

use super::read_at::{ReadAt, Section, fetch, read_exact_at};
use super::unpack::stream;
use super::zip::{
    CENTRAL_SIGNATURE, DESCRIPTOR_SIGNATURE, END_SIGNATURE, END64_SIGNATURE, FLAG_DESCRIPTOR,
    LOCAL_LEN, LOCAL_SIGNATURE, LocalHeader, METHOD_DEFLATE, METHOD_STORED, METHOD_ZSTD,
    decode_name, local_header_len, u32_at, u64_at,
};
use super::{ArchiveEntry, EntryName, Place};
use crate::Result;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// Returns the entries that can be found without the central directory.
pub(super) fn scan<S: ReadAt + ?Sized>(source: &S, len: u64) -> Result<Vec<ArchiveEntry>> {
    let mut scan = Scan {
        source,
        len,
        work: len.saturating_mul(64).saturating_add(64 << 20),
    };
    let mut entries = Vec::new();
    let mut position = 0;
    while let Some(signature) = scan.signature(position)? {
        if [CENTRAL_SIGNATURE, END_SIGNATURE, END64_SIGNATURE].contains(&signature) {
            break;
        }
        let entry = if signature == LOCAL_SIGNATURE {
            scan.entry(position)?
        } else {
            None
        };
        position = match entry {
            Some((entry, next)) => {
                entries.push(entry);
                next
            }
            None => match scan.find(LOCAL_SIGNATURE, position + 1)? {
                Some(next) => next,
                None => break,
            },
        };
    }
    Ok(entries)
}

/// A file being searched.
struct Scan<'a, S: ?Sized> {
    source: &'a S,
    len: u64,
    /// Bytes that may still be unpacked or searched, so that a hostile file cannot make this take for ever.
    work: u64,
}

/// What the content of an entry turned out to be.
struct Content {
    packed: u64,
    size: u64,
    crc: u32,
}

impl<S: ReadAt + ?Sized> Scan<'_, S> {
    fn signature(&self, at: u64) -> Result<Option<[u8; 4]>> {
        if at.checked_add(4).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let mut signature = [0; 4];
        read_exact_at(self.source, at, &mut signature)?;
        Ok(Some(signature))
    }

    /// Tries the local header at `at`; returns the entry and where the next one should begin.
    fn entry(&mut self, at: u64) -> Result<Option<(ArchiveEntry, u64)>> {
        let Some(fixed_end) = at.checked_add(LOCAL_LEN).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        let fixed = fetch(self.source, at, fixed_end - at)?;
        let header_len = local_header_len(&fixed).filter(|len| *len <= self.len - at);
        let Some(header_len) = header_len else {
            return Ok(None);
        };
        if !self.spend(header_len) {
            return Ok(None);
        }
        let bytes = fetch(self.source, at, header_len)?;
        let Some(header) = LocalHeader::parse(&bytes) else {
            return Ok(None);
        };
        let start = at + header_len;
        let found = if header.flags & FLAG_DESCRIPTOR != 0 && header.packed == 0 {
            self.described_content(&header, start)?
        } else {
            self.known_content(&header, start)?
        };
        let Some((content, next)) = found else {
            // A failed attempt costs more than the bytes it looked at: buffers and a decoder.
            self.spend(CHUNK as u64);
            return Ok(None);
        };
        let place = Place {
            start: at,
            packed: content.packed,
            limit: next,
            crc: content.crc,
            method: header.method,
            flags: header.flags,
        };
        let entry = ArchiveEntry {
            name: EntryName::from(decode_name(header.name).as_str()),
            size: content.size,
            place,
        };
        Ok(Some((entry, next)))
    }

    /// Accepts the sizes of a header if another record follows the content, else if the checksum is right.
    fn known_content(
        &mut self,
        header: &LocalHeader<'_>,
        start: u64,
    ) -> Result<Option<(Content, u64)>> {
        let content = Content {
            packed: header.packed,
            size: header.size,
            crc: header.crc,
        };
        let Some(next) = start
            .checked_add(header.packed)
            .filter(|next| *next <= self.len)
        else {
            return Ok(None);
        };
        let followed = match self.signature(next)? {
            Some(signature) => signature.starts_with(b"PK"),
            None => next == self.len,
        };
        let accepted = followed || self.has_checksum(header, start, next)?;
        Ok(accepted.then_some((content, next)))
    }

    fn has_checksum(&mut self, header: &LocalHeader<'_>, start: u64, end: u64) -> Result<bool> {
        let section = Section::new(self.source, start, end);
        let Ok(mut unpacked) = stream(header.method, section) else {
            return Ok(false);
        };
        let (mut hasher, mut size) = (crc32fast::Hasher::new(), 0u64);
        let mut chunk = vec![0; CHUNK];
        while let Ok(count) = unpacked.read(&mut chunk) {
            if count == 0 {
                return Ok(size == header.size && hasher.finalize() == header.crc);
            }
            hasher.update(chunk.get(..count).unwrap_or_default());
            size += count as u64;
            if size > header.size || !self.spend(count as u64) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Finds the end of content whose sizes follow it, by unpacking it.
    fn described_content(
        &mut self,
        header: &LocalHeader<'_>,
        start: u64,
    ) -> Result<Option<(Content, u64)>> {
        let content = match header.method {
            METHOD_DEFLATE => self.unpack_unknown(start, InflateStep(Decompress::new(false)))?,
            METHOD_ZSTD => self.unpack_unknown(start, ZstdStep(Decoder::new()?))?,
            METHOD_STORED => return self.stored_content(start),
            _ => None,
        };
        let Some(content) = content else {
            return Ok(None);
        };
        let end = start + content.packed;
        let descriptor = self.descriptor_len(end, &content)?;
        Ok(descriptor.map(|len| (content, end + len)))
    }

    /// Unpacks from `start` on until the compressed stream says that it ends.
    fn unpack_unknown(&mut self, start: u64, mut step: impl Step) -> Result<Option<Content>> {
        let mut section = Section::new(self.source, start, self.len);
        let (mut input, mut output) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut content = Content {
            packed: 0,
            size: 0,
            crc: 0,
        };
        let mut hasher = crc32fast::Hasher::new();
        let (mut from, mut to) = (0, 0);
        loop {
            if from == to {
                (from, to) = (0, section.read(&mut input)?);
            }
            let rest = input.get(from..to).unwrap_or_default();
            let Some((taken, given, ended)) = step.run(rest, &mut output) else {
                return Ok(None);
            };
            from += taken;
            content.packed += taken as u64;
            content.size += given as u64;
            hasher.update(output.get(..given).unwrap_or_default());
            if ended {
                content.crc = hasher.finalize();
                return Ok(Some(content));
            }
            let stuck = taken == 0 && given == 0;
            if stuck || !self.spend(taken as u64 + given as u64) {
                return Ok(None);
            }
        }
    }

    /// Finds the end of stored content: a descriptor that fits everything before it.
    fn stored_content(&mut self, start: u64) -> Result<Option<(Content, u64)>> {
        let mut hasher = crc32fast::Hasher::new();
        let mut hashed = start;
        while let Some(end) = self.find(DESCRIPTOR_SIGNATURE, hashed)? {
            let mut section = Section::new(self.source, hashed, end);
            let mut chunk = vec![0; CHUNK];
            loop {
                let count = section.read(&mut chunk)?;
                if count == 0 {
                    break;
                }
                hasher.update(chunk.get(..count).unwrap_or_default());
            }
            let content = Content {
                packed: end - start,
                size: end - start,
                crc: hasher.clone().finalize(),
            };
            if let Some(len) = self.descriptor_len(end, &content)? {
                return Ok(Some((content, end + len)));
            }
            hasher.update(&DESCRIPTOR_SIGNATURE);
            hashed = end + 4;
        }
        Ok(None)
    }

    /// Returns the length of the data descriptor at `at` if it is that of `content` (APPNOTE 4.3.9).
    ///
    /// It may lack its signature, and its sizes may have four or eight bytes.
    fn descriptor_len(&self, at: u64, content: &Content) -> Result<Option<u64>> {
        let len = self.len.saturating_sub(at).min(24);
        let bytes = fetch(self.source, at, len)?;
        let signed = bytes.starts_with(&DESCRIPTOR_SIGNATURE);
        for skip in if signed { [4, 0] } else { [0, 0] } {
            let body = bytes.get(skip..).unwrap_or_default();
            if u32_at(body, 0) != Some(content.crc) {
                continue;
            }
            if (u64_at(body, 4), u64_at(body, 12)) == (Some(content.packed), Some(content.size)) {
                return Ok(Some(skip as u64 + 20));
            }
            let narrow = [4, 8].map(|at| u32_at(body, at).map(u64::from));
            if narrow == [Some(content.packed), Some(content.size)] {
                return Ok(Some(skip as u64 + 12));
            }
        }
        Ok(None)
    }

    /// Returns where `signature` next begins at or after `from`.
    fn find(&mut self, signature: [u8; 4], from: u64) -> Result<Option<u64>> {
        let mut at = from;
        let mut chunk = vec![0; CHUNK];
        while at.checked_add(4).is_some_and(|end| end <= self.len) {
            let wanted = usize::try_from(self.len - at).unwrap_or(CHUNK).min(CHUNK);
            if !self.spend(wanted as u64) {
                break;
            }
            let bytes = chunk.get_mut(..wanted).unwrap_or_default();
            read_exact_at(self.source, at, bytes)?;
            if let Some(found) = bytes.windows(4).position(|window| window == signature) {
                return Ok(Some(at + found as u64));
            }
            // The last three bytes may begin a signature.
            at += wanted as u64 - 3;
        }
        Ok(None)
    }

    /// Takes from the work allowed; false when it is used up.
    fn spend(&mut self, bytes: u64) -> bool {
        self.work = self.work.saturating_sub(bytes.max(1));
        self.work > 0
    }
}

/// One step of a decoder: bytes taken, bytes given, whether the stream has ended; nothing if it is damaged.
trait Step {
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Option<(usize, usize, bool)>;
}

struct InflateStep(Decompress);

impl Step for InflateStep {
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Option<(usize, usize, bool)> {
        let before = (self.0.total_in(), self.0.total_out());
        let status = self
            .0
            .decompress(input, output, FlushDecompress::None)
            .ok()?;
        let taken = usize::try_from(self.0.total_in() - before.0).ok()?;
        let given = usize::try_from(self.0.total_out() - before.1).ok()?;
        Some((taken, given, status == Status::StreamEnd))
    }
}

struct ZstdStep(Decoder<'static>);

impl Step for ZstdStep {
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Option<(usize, usize, bool)> {
        let status = self.0.run_on_buffers(input, output).ok()?;
        Some((
            status.bytes_read,
            status.bytes_written,
            status.remaining == 0,
        ))
    }
}
