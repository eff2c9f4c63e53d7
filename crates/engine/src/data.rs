//! Volume bytes on their way: in memory up to a bound, in a temporary file beyond it.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use larder_destination::Body;
use larder_volume::{Hash, HashAlgorithm, Hasher, ReadAt, Scratch};

use crate::Result;
use crate::budget::{Budget, Share};
use crate::temporary::{TempFolder, temporary_error};

/// A finished volume or other file.
#[derive(Clone, Debug)]
pub(crate) enum VolumeData {
    /// Held in memory.
    Memory(Bytes),
    /// In a temporary file that is removed with the last handle.
    File(Arc<SpillFile>),
}

/// A temporary file of known length.
#[derive(Debug)]
pub(crate) struct SpillFile {
    file: tempfile::NamedTempFile,
    folder: TempFolder,
    len: u64,
}

impl VolumeData {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(spill) => spill.len,
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_) => 0,
        }
    }

    /// The content as the body of a put.
    pub(crate) fn body(&self) -> Body {
        match self {
            Self::Memory(bytes) => Body::from_bytes(bytes.clone()),
            Self::File(spill) => Body::from_file(spill.file.path().to_owned(), spill.len),
        }
    }

    /// Reads from the first byte.
    pub(crate) fn reader(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            Self::File(spill) => {
                let opened = spill.file.reopen();
                let file = opened.map_err(|error| temporary_error(spill.folder.explain(error)))?;
                Ok(Box::new(std::io::BufReader::with_capacity(1 << 18, file)))
            }
        }
    }

    /// The same out of memory, in a temporary file in `folder`.
    pub(crate) fn spilled(self, folder: TempFolder) -> Result<Self> {
        match self {
            Self::Memory(bytes) => {
                let mut sink = Sink::new(0, folder);
                sink.write_all(&bytes).map_err(temporary_error)?;
                sink.finish()
            }
            Self::File(_) => Ok(self),
        }
    }

    /// Hash over all bytes.
    pub(crate) fn hash(&self, algorithm: HashAlgorithm) -> Result<Hash> {
        match self {
            Self::Memory(bytes) => Ok(algorithm.digest(bytes)),
            Self::File(spill) => {
                let mut hasher = algorithm.hasher();
                let mut reader = self.reader()?;
                let mut buffer = vec![0_u8; 1 << 18];
                loop {
                    let read = reader.read(&mut buffer);
                    let read =
                        read.map_err(|error| temporary_error(spill.folder.explain(error)))?;
                    let Some(piece) = buffer.get(..read).filter(|p| !p.is_empty()) else {
                        break;
                    };
                    hasher.update(piece);
                }
                Ok(hasher.finish())
            }
        }
    }
}

impl ReadAt for VolumeData {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.as_ref().read_at(offset, buffer),
            Self::File(spill) => {
                use std::os::unix::fs::FileExt;
                let read = spill.file.as_file().read_at(buffer, offset);
                read.map_err(|error| spill.folder.explain(error))
            }
        }
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(VolumeData::len(self))
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(bytes) => Some(bytes),
            Self::File(_) => None,
        }
    }
}

/// Bytes in memory that count in a budget until nobody has them.
struct Held {
    memory: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

/// Collects bytes in memory up to a bound, then in a temporary file.
pub(crate) struct Sink {
    memory: Vec<u8>,
    bound: u64,
    share: Option<Share>,
    folder: TempFolder,
    file: Option<BufWriter<tempfile::NamedTempFile>>,
    len: u64,
}

impl Sink {
    /// A sink that holds at most `bound` bytes in memory; beyond them it is a temporary file in `folder`.
    pub(crate) fn new(bound: u64, folder: TempFolder) -> Self {
        Self {
            memory: Vec::new(),
            bound,
            share: None,
            folder,
            file: None,
            len: 0,
        }
    }

    /// A sink that holds in memory as much as a budget allows, for about `len` bytes: room for them is taken at once, so
    /// that they are not copied while it grows. What is not written to costs nothing.
    pub(crate) fn sharing(budget: &Budget, len: u64, folder: TempFolder) -> Self {
        let room = usize::try_from(len.min(budget.most())).unwrap_or(0);
        Self {
            share: Some(budget.share()),
            memory: Vec::with_capacity(room),
            ..Self::new(u64::MAX, folder)
        }
    }

    /// A sink like that of [`Sink::new`] that fills memory used before.
    pub(crate) fn reusing(bound: u64, mut memory: Vec<u8>, folder: TempFolder) -> Self {
        memory.clear();
        Self {
            memory,
            ..Self::new(bound, folder)
        }
    }

    /// Makes room for `len` bytes at once, when they will stay in memory.
    pub(crate) fn reserve(&mut self, len: u64) {
        if len <= self.bound {
            self.memory.reserve_exact(usize::try_from(len).unwrap_or(0));
        }
    }

    /// Whether so many bytes more may stay in memory.
    fn has_room(&mut self, bytes: u64) -> bool {
        let granted = |share: &mut Share| share.grow(bytes);
        self.len + bytes <= self.bound && self.share.as_mut().is_none_or(granted)
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The finished content.
    pub(crate) fn finish(self) -> Result<VolumeData> {
        self.end().map_err(temporary_error)
    }

    fn end(self) -> std::io::Result<VolumeData> {
        let folder = self.folder;
        match self.file {
            None => Ok(VolumeData::Memory(match self.share {
                None => Bytes::from(self.memory),
                Some(share) => Bytes::from_owner(Held {
                    memory: self.memory,
                    _share: share,
                }),
            })),
            Some(file) => {
                let mut file = file
                    .into_inner()
                    .map_err(|error| folder.explain(error.into_error()))?;
                file.seek(SeekFrom::Start(0))
                    .map_err(|error| folder.explain(error))?;
                Ok(VolumeData::File(Arc::new(SpillFile {
                    file,
                    folder,
                    len: self.len,
                })))
            }
        }
    }
}

/// A version list lies in memory up to this size: that of some hundred thousand entries.
pub(crate) const LIST_MEMORY_BYTES: u64 = 16 << 20;
/// An unpacked tar lies in memory up to this size: a usual volume does.
pub(crate) const TAR_MEMORY_BYTES: u64 = 64 << 20;

/// What is written to a temporary file at a time.
const FILE_BUFFER: usize = 1 << 16;

impl Scratch for Sink {
    fn finish(self: Box<Self>) -> std::io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.end()?))
    }
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.file.is_none() && !self.has_room(buffer.len() as u64) {
            let mut file = BufWriter::with_capacity(FILE_BUFFER, self.folder.file()?);
            let written = file.write_all(&self.memory);
            written.map_err(|error| self.folder.explain(error))?;
            self.memory = Vec::new();
            self.share = None;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file
                .write_all(buffer)
                .map_err(|error| self.folder.explain(error))?,
            None => self.memory.extend_from_slice(buffer),
        }
        self.len += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A sink that hashes what passes, so that the remote hash is known when the last byte is written.
pub(crate) struct HashSink {
    sink: Sink,
    hasher: Hasher,
}

impl HashSink {
    /// Hashes with `algorithm` in front of `sink`.
    pub(crate) fn new(sink: Sink, algorithm: HashAlgorithm) -> Self {
        Self {
            sink,
            hasher: algorithm.hasher(),
        }
    }

    /// The content and its hash.
    pub(crate) fn finish(self) -> Result<(VolumeData, Hash)> {
        Ok((self.sink.finish()?, self.hasher.finish()))
    }
}

impl Write for HashSink {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.hasher.update(buffer);
        self.sink.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
