//! Writes a tar container: one tar, compressed as a whole.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use super::encode::{PIECE, StreamEncoder};
use super::tar::{
    BLOCK, DIRECTORY_NAME, Directory, Extent, MAX_NAME, MAX_SIZE, encode_header, padding,
};
use super::tar_reader::MAX_TAR;
use super::{Method, Packed};
use crate::{Compression, Error, Result, VolumeTime};

/// Zstandard level unless told otherwise (docs/format/container-tar.md).
const ZSTD_LEVEL: i32 = 10;
/// Level of the reference program's gzip scale, 0 to 3, unless told otherwise (docs/format/container-tar.md).
const GZIP_LEVEL: i32 = 2;
/// Content of unknown size up to this many bytes is kept as it is until its size is known.
const STREAM_BUFFER: usize = 8 << 20;

/// Writes a tar container; the names are kept in memory for the directory at the end.
pub(super) struct TarWriter<W> {
    out: W,
    encoder: StreamEncoder,
    mtime: i64,
    /// Bytes of the tar so far.
    position: u64,
    directory: Directory,
    /// The approximate length of the directory.
    directory_len: u64,
    names: HashSet<String>,
    /// Set while an entry is being written, so that nothing follows a half-written one.
    torn: bool,
}

impl<W: Write> TarWriter<W> {
    /// Starts a container; `level` is in the scale of `kind`.
    pub(super) fn new(
        out: W,
        kind: Compression,
        level: Option<i32>,
        mtime: VolumeTime,
    ) -> Result<Self> {
        let encoder = match kind {
            Compression::TarGzip => StreamEncoder::gzip(gzip_level(level.unwrap_or(GZIP_LEVEL))),
            _ => StreamEncoder::zstd(level.unwrap_or(ZSTD_LEVEL), true)?,
        };
        Ok(TarWriter {
            out,
            encoder,
            mtime: mtime.0,
            position: 0,
            directory: Directory::default(),
            directory_len: 0,
            names: HashSet::new(),
            torn: false,
        })
    }

    pub(super) fn entries(&self) -> u64 {
        self.directory.0.len() as u64
    }

    /// An upper estimate of the length if it were finished now: that of the tar, and some framing of the compression.
    ///
    /// The reader holds the whole tar in memory, so this is what bounds a volume (docs/format/container-tar.md).
    pub(super) fn estimated_len(&self) -> u64 {
        self.position + self.position / 4096 + self.directory_len + 2 * BLOCK
    }

    /// Appends an entry that is not packed.
    pub(super) fn add_packed(&mut self, name: &str, packed: &Packed) -> Result<()> {
        if packed.method != Method::Stored {
            return Err(Error::Unsupported(format!(
                "packed entry {name} in a tar container"
            )));
        }
        self.add(name, &packed.bytes)
    }

    /// Appends an entry.
    pub(super) fn add(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.add_reader(name, data.len() as u64, data)
    }

    /// Appends an entry of unknown size. Its header needs the size, so a large one is kept compressed meanwhile.
    pub(super) fn add_stream(
        &mut self,
        name: &str,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let mut spool = Spool {
            plain: Vec::new(),
            packed: None,
            size: 0,
        };
        content(&mut spool)?;
        match spool.packed {
            None => self.add(name, &spool.plain),
            Some(encoder) => {
                let packed = encoder.finish()?;
                self.add_reader(
                    name,
                    spool.size,
                    zstd::stream::read::Decoder::with_buffer(packed.as_slice())?,
                )
            }
        }
    }

    /// Ends the tar and the compressed stream and returns the writer underneath, flushed.
    pub(super) fn finish(mut self) -> Result<W> {
        self.check_whole()?;
        if !self.directory.0.is_empty() {
            let content = self.directory.encode(self.position, self.mtime);
            let header = self.header(DIRECTORY_NAME, content.len() as u64)?;
            self.append(&header)?;
            content
                .chunks(PIECE)
                .try_for_each(|piece| self.append(piece))?;
        }
        let rest = self.encoder.finish()?;
        self.out.write_all(&rest)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn add_reader(&mut self, name: &str, size: u64, mut content: impl Read) -> Result<()> {
        self.check_whole()?;
        if self.names.contains(name) || name == DIRECTORY_NAME {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("entry {name} is in the archive"),
            )
            .into());
        }
        let header = self.header(name, size)?;
        if self.estimated_len().saturating_add(size) > MAX_TAR {
            return Err(Error::TooLarge {
                what: "tar container in bytes",
                limit: MAX_TAR,
            });
        }
        self.torn = true;
        self.append(&header)?;
        let offset = self.position;
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        let mut left = size;
        while left > 0 {
            let count = content.read(&mut piece)?;
            if count == 0 || count as u64 > left {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.append(piece.get(..count).unwrap_or_default())?;
            left -= count as u64;
        }
        self.append(&vec![0; padding(size) as usize])?;
        self.names.insert(name.to_owned());
        self.directory_len += name.len() as u64 + 80;
        self.directory
            .0
            .push((name.to_owned(), Extent { offset, size }));
        self.torn = false;
        Ok(())
    }

    fn header(&self, name: &str, size: u64) -> Result<[u8; 512]> {
        if size > MAX_SIZE {
            return Err(Error::TooLarge {
                what: "entry of a tar container in bytes",
                limit: MAX_SIZE,
            });
        }
        encode_header(name, size, self.mtime).ok_or_else(|| {
            Error::Unsupported(format!(
                "entry name of {} bytes in a tar container, which has room for {MAX_NAME}",
                name.len()
            ))
        })
    }

    fn check_whole(&self) -> Result<()> {
        if self.torn {
            return Err(io::Error::other(
                "an entry of the archive was cut short by an earlier error",
            )
            .into());
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.encoder.push(bytes)?;
        let output = self.encoder.output();
        self.out.write_all(output)?;
        output.clear();
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// Maps the scale 0 to 3 (none, fastest, usual, smallest) to gzip's levels; more is gzip's own scale.
fn gzip_level(level: i32) -> u8 {
    match level {
        ..=0 => 0,
        1 => 1,
        2 => 6,
        3 => 9,
        more => u8::try_from(more.min(9)).unwrap_or(9),
    }
}

/// Keeps content until its size is known: as it is while it is small, then compressed quickly.
struct Spool {
    plain: Vec<u8>,
    packed: Option<StreamEncoder>,
    size: u64,
}

impl Write for Spool {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.packed.is_none() {
            if self.plain.len() + buf.len() <= STREAM_BUFFER {
                self.plain.extend_from_slice(buf);
                self.size += buf.len() as u64;
                return Ok(buf.len());
            }
            let mut encoder = StreamEncoder::zstd(1, false)?;
            encoder.push(&std::mem::take(&mut self.plain))?;
            self.packed = Some(encoder);
        }
        if let Some(encoder) = &mut self.packed {
            encoder.push(buf)?;
        }
        self.size += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
