//! Writing a file list.

use std::io::Write;

use super::{EntryKind, FileEntry, MAX_BLOCKLISTS, MAX_PATH};
use crate::json::{BOM, write_string};
use crate::{Error, Hash, Result};

/// Writes a file list entry by entry.
///
/// Buffers up to 64 KiB. A list that is dropped without [`FileListWriter::finish`] is cut off and will not be read.
#[derive(Debug)]
pub struct FileListWriter<W: Write> {
    writer: W,
    buffer: Vec<u8>,
    is_first: bool,
}

impl<W: Write> FileListWriter<W> {
    /// Starts a list.
    ///
    /// # Errors
    /// None at present; writing begins with the first full buffer.
    pub fn create(writer: W) -> Result<Self> {
        let mut buffer = Vec::with_capacity(2 * BUFFER_LEN);
        buffer.extend_from_slice(&BOM);
        buffer.push(b'[');
        Ok(Self {
            writer,
            buffer,
            is_first: true,
        })
    }

    /// Adds an entry, with its properties in the order that Duplicati requires: what only files have is left out for
    /// others, and `metablockhash` and `blockhash` when there are blocklists in their place.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an empty path, [`Error::TooLarge`] for a path beyond [`MAX_PATH`], more than 2^20
    /// blocklists or a size that is no signed number: no reader would take them. Nothing is written then, and the next
    /// entry may follow. [`Error::Io`] from the writer.
    pub fn add(&mut self, entry: &FileEntry) -> Result<()> {
        check(entry)?;
        let out = &mut self.buffer;
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(entry.kind.key().as_bytes());
        out.extend_from_slice(b"\",\"path\":");
        write_string(&entry.path, out);
        let is_file = entry.kind == EntryKind::File;
        if is_file {
            add_hash(",\"hash\":\"", entry.hash.as_ref(), out);
            add_number(",\"size\":", entry.size, out);
            if let Some(time) = entry.time {
                add_text(",\"time\":\"", &time.clamped().to_string(), out);
            }
        }
        if let Some(metahash) = &entry.metahash {
            add_hash(",\"metahash\":\"", Some(metahash), out);
            add_number(",\"metasize\":", entry.metasize, out);
            if entry.metablocklists.is_empty() {
                add_hash(",\"metablockhash\":\"", entry.metablockhash.as_ref(), out);
            } else {
                add_hashes(",\"metablocklists\":[", &entry.metablocklists, out);
            }
        }
        if is_file && !entry.blocklists.is_empty() {
            add_hashes(",\"blocklists\":[", &entry.blocklists, out);
        } else if let Some(blockhash) = entry.blockhash.as_ref().filter(|_| is_file) {
            add_hash(",\"blockhash\":\"", Some(blockhash), out);
            if let Some(blocksize) = entry.blocksize {
                add_number(",\"blocksize\":", blocksize, out);
            }
        }
        out.push(b'}');
        if out.len() >= BUFFER_LEN {
            self.writer.write_all(out)?;
            out.clear();
        }
        Ok(())
    }

    /// Ends the list and answers the writer.
    ///
    /// # Errors
    /// [`Error::Io`] from the writer.
    pub fn finish(mut self) -> Result<W> {
        self.buffer.push(b']');
        self.writer.write_all(&self.buffer)?;
        Ok(self.writer)
    }
}

fn check(entry: &FileEntry) -> Result<()> {
    if entry.path.is_empty() {
        return Err(Error::malformed("file list entry", "empty path"));
    }
    let lists = entry.blocklists.len().max(entry.metablocklists.len());
    for (len, limit, what) in [
        (entry.path.len(), MAX_PATH, "path in bytes"),
        (lists, MAX_BLOCKLISTS, TOO_MANY_LISTS),
    ] {
        if len > limit {
            let limit = limit as u64;
            return Err(Error::TooLarge { what, limit });
        }
    }
    let sizes = [Some(entry.size), Some(entry.metasize), entry.blocksize];
    if sizes.into_iter().flatten().any(|size| size > MAX_SIZE) {
        return Err(Error::TooLarge {
            what: "size in bytes",
            limit: MAX_SIZE,
        });
    }
    Ok(())
}

fn add_text(start: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(start.as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn add_number(start: &str, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(start.as_bytes());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

fn add_hash(start: &str, hash: Option<&Hash>, out: &mut Vec<u8>) {
    if let Some(hash) = hash {
        out.extend_from_slice(start.as_bytes());
        hash.append_base64(out);
        out.push(b'"');
    }
}

fn add_hashes(start: &str, hashes: &[Hash], out: &mut Vec<u8>) {
    out.extend_from_slice(start.as_bytes());
    for (index, hash) in hashes.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        hash.append_base64(out);
        out.push(b'"');
    }
    out.push(b']');
}

const TOO_MANY_LISTS: &str = "number of blocklists of a file";
/// Duplicati reads sizes as signed numbers.
const MAX_SIZE: u64 = i64::MAX as u64;
const BUFFER_LEN: usize = 64 * 1024;
