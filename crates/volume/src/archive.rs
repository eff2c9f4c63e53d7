//! Volume containers: zip files and compressed tars (docs/format/container-zip.md, container-tar.md).
//!
//! On the way to a destination, worker threads pack blocks with a [`Packer`] each, and one [`ArchiveWriter`] appends
//! what they made; nothing is sought, so the volume can go straight on to encryption. On the way back an
//! [`ArchiveReader`] finds the entries and unpacks them one by one, from several threads if wanted.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

use crate::{Compression, Result, VolumeTime};

mod encode;
mod entry_name;
mod name_index;
mod pack;
mod read_at;
mod scratch;
mod tar;
mod tar_reader;
mod tar_writer;
mod unpack;
mod zip;
mod zip_reader;
mod zip_recovery;
mod zip_writer;

use name_index::NameIndex;
use tar_reader::Tar;
use tar_writer::TarWriter;
use zip_writer::ZipWriter;

pub use entry_name::EntryName;
pub use pack::{Hint, Method, PackMethod, Packed, Packer};
pub use read_at::ReadAt;
pub use scratch::Scratch;
pub use unpack::Unpacker;

/// Writes the entries of a volume one after the other.
///
/// After an error of the writer underneath nothing more can be added, because the last entry is incomplete.
/// Equal entries, packed alike, with an equal time give equal bytes.
pub struct ArchiveWriter<W: Write>(Writer<W>);

enum Writer<W: Write> {
    Zip(ZipWriter<W>),
    Tar(Box<TarWriter<W>>),
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts an archive whose entries get the time `mtime`.
    ///
    /// `level` is for tar kinds, which are compressed as a whole: Zstandard's level, by default 10; for gzip 0 (none),
    /// 1 (fastest), 2 (usual, the default) or 3 (smallest).
    ///
    /// # Errors
    /// When there is no memory for a compression context.
    pub fn create(
        out: W,
        kind: Compression,
        level: Option<i32>,
        mtime: VolumeTime,
    ) -> Result<Self> {
        Ok(Self(match kind {
            Compression::Zip => Writer::Zip(ZipWriter::new(out, mtime)),
            Compression::TarZstd | Compression::TarGzip => {
                Writer::Tar(Box::new(TarWriter::new(out, kind, level, mtime)?))
            }
        }))
    }

    /// Appends an entry that was packed before; for tar kinds it must be [`Method::Stored`].
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a name or method the container cannot hold, and errors of
    /// the writer underneath. Tar kinds refuse a name that they have; for zip the caller sees to it.
    pub fn add_packed(&mut self, name: &str, packed: &Packed) -> Result<()> {
        match &mut self.0 {
            Writer::Zip(zip) => zip.add_packed(name, packed),
            Writer::Tar(tar) => tar.add_packed(name, packed),
        }
    }

    /// Appends an entry, packed by `packer` if this is a zip file.
    ///
    /// # Errors
    /// As for [`add_packed`](Self::add_packed).
    pub fn add(&mut self, name: &str, data: &[u8], packer: &mut Packer) -> Result<()> {
        match &mut self.0 {
            Writer::Zip(zip) => zip.add_packed(name, &packer.pack(data, Hint::Compressible)),
            Writer::Tar(tar) => tar.add(name, data),
        }
    }

    /// Appends an entry of unknown size, which `content` writes; for file lists.
    ///
    /// Up to 8 MiB it becomes an entry like any other. A larger one is compressed as it comes, in bounded memory, and
    /// has its sizes in a data descriptor behind it (deflate's stored blocks for [`PackMethod::Stored`], so that it can
    /// be found without the central directory). A tar needs the size first: there a larger one is kept in memory in
    /// compressed form, and `method` has no effect.
    ///
    /// # Errors
    /// Those of `content`, and as for [`add_packed`](Self::add_packed).
    pub fn add_stream(
        &mut self,
        name: &str,
        method: PackMethod,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        match &mut self.0 {
            Writer::Zip(zip) => zip.add_stream(name, method, content),
            Writer::Tar(tar) => tar.add_stream(name, content),
        }
    }

    /// The length in bytes if the archive were finished now: exact for zip. For tar kinds
    /// it is that of the tar before compression, which a reader has to hold in memory.
    pub fn estimated_len(&self) -> u64 {
        match &self.0 {
            Writer::Zip(zip) => zip.estimated_len(),
            Writer::Tar(tar) => tar.estimated_len(),
        }
    }

    /// The number of entries so far.
    pub fn entries(&self) -> u64 {
        match &self.0 {
            Writer::Zip(zip) => zip.entries(),
            Writer::Tar(tar) => tar.entries(),
        }
    }

    /// Writes what ends the archive and returns the writer underneath, flushed.
    ///
    /// # Errors
    /// Those of the writer underneath, or that an earlier one left an entry incomplete.
    pub fn finish(self) -> Result<W> {
        match self.0 {
            Writer::Zip(zip) => zip.finish(),
            Writer::Tar(tar) => tar.finish(),
        }
    }
}

/// An entry of an archive, and where it is; only of use with the reader it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveEntry {
    /// The name, with `/` as separator whatever the archive has.
    pub name: EntryName,
    /// The announced number of unpacked bytes; reading compares it.
    pub size: u64,
    place: Place,
}

impl ArchiveEntry {
    /// The number of bytes the entry takes in the archive, without headers; for tar kinds the unpacked ones.
    pub fn packed_size(&self) -> u64 {
        self.place.packed
    }

    /// How the entry is packed; `None` for a method this crate never writes. Entries of tar kinds count as stored.
    pub fn method(&self) -> Option<Method> {
        match self.place.method {
            0 => Some(Method::Stored),
            8 => Some(Method::Deflate),
            93 => Some(Method::Zstd),
            _ => None,
        }
    }
}

/// Where an entry is and what is said about it there.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    /// Zip: the local header. Tar: the content.
    start: u64,
    packed: u64,
    /// Where the next thing begins.
    limit: u64,
    crc: u32,
    /// Zip's numbers.
    method: u16,
    flags: u16,
}

/// Reads the entries of a volume; it can be used by several threads at once.
pub struct ArchiveReader<S: ReadAt> {
    container: Container<S>,
    entries: Vec<ArchiveEntry>,
    recovered: bool,
    names: OnceLock<NameIndex>,
}

enum Container<S> {
    Zip(S),
    Tar(Tar),
}

impl<S: ReadAt> ArchiveReader<S> {
    /// Finds the entries of an archive.
    ///
    /// A zip file whose central directory is damaged, and a tar whose directory or compression is, are searched from
    /// the start for what is left; that counts if there are two entries at least. Memory grows with the number of
    /// entries (zip), or takes the whole unpacked tar, which is refused above 4 GiB and above 1024 times its packed
    /// size (64 MiB are always allowed).
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) when it is no archive or nothing can be recovered, and errors of
    /// the source.
    pub fn open(source: S, kind: Compression) -> Result<Self> {
        Self::open_bounded(source, kind, tar_reader::MAX_TAR)
    }

    /// Finds the entries of an archive as [`open`](Self::open) does, with a smaller bound for an unpacked tar.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_bounded(source: S, kind: Compression, max_tar: u64) -> Result<Self> {
        Self::open_into(source, kind, max_tar, || Box::new(Vec::new()))
    }

    /// Finds the entries of an archive as [`open`](Self::open) does; a tar is unpacked into what `scratch` makes.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and those of the scratch.
    pub fn open_with(
        source: S,
        kind: Compression,
        scratch: impl FnOnce() -> Box<dyn Scratch>,
    ) -> Result<Self> {
        Self::open_into(source, kind, tar_reader::MAX_TAR, scratch)
    }

    fn open_into(
        source: S,
        kind: Compression,
        max_tar: u64,
        scratch: impl FnOnce() -> Box<dyn Scratch>,
    ) -> Result<Self> {
        let (container, entries, recovered) = match kind {
            Compression::Zip => {
                let (entries, recovered) = zip_reader::open(&source)?;
                (Container::Zip(source), entries, recovered)
            }
            Compression::TarZstd | Compression::TarGzip => {
                let mut tar = tar_reader::open(&source, kind, max_tar, scratch())?;
                let entries = std::mem::take(&mut tar.entries);
                let recovered = tar.recovered;
                (Container::Tar(tar), entries, recovered)
            }
        };
        Ok(ArchiveReader {
            container,
            entries,
            recovered,
            names: OnceLock::new(),
        })
    }

    /// Gives back what a zip was read from, so that its memory can serve again; a tar's source is gone by now.
    pub fn into_source(self) -> Option<S> {
        match self.container {
            Container::Zip(source) => Some(source),
            Container::Tar(_) => None,
        }
    }

    /// Whether the archive is damaged and the entries are those that could still be found.
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// The entries in the order of the archive's directory. A name may come twice.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &ArchiveEntry> {
        self.entries.iter()
    }

    /// Returns the entry of that name; of several the first. The first call makes an index of all names.
    pub fn find(&self, name: &str) -> Option<&ArchiveEntry> {
        self.names
            .get_or_init(|| NameIndex::new(&self.entries))
            .find(&self.entries, name)
    }

    /// Reads an entry of at most `max` bytes, once; see [`read_into`](Self::read_into).
    ///
    /// # Errors
    /// As for [`read_into`](Self::read_into).
    pub fn read(&self, entry: &ArchiveEntry, max: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read_into(entry, &mut out, max, &mut Unpacker::new())?;
        Ok(out)
    }

    /// Reads an entry of at most `max` bytes, which then are all there is in `out`.
    ///
    /// Size and checksum are compared (tars have none for an entry, but for the whole). After an error `out` has no
    /// useful content.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) above `max`; [`Error::Malformed`](crate::Error::Malformed) and
    /// [`Error::Tampered`](crate::Error::Tampered), naming the entry, when it is damaged;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for other methods; errors of the source.
    pub fn read_into(
        &self,
        entry: &ArchiveEntry,
        out: &mut Vec<u8>,
        max: u64,
        unpacker: &mut Unpacker,
    ) -> Result<()> {
        match &self.container {
            Container::Zip(source) => zip_reader::read_into(source, entry, out, max, unpacker),
            Container::Tar(tar) => {
                let content = tar.content(entry, max)?;
                out.clear();
                out.extend_from_slice(&content);
                Ok(())
            }
        }
    }

    /// Returns a reader of an entry of any size in bounded memory; for file lists.
    ///
    /// Size and checksum are compared before the last bytes are handed out.
    ///
    /// # Errors
    /// As for [`read_into`](Self::read_into); the reader has the same, as the inner error of an I/O error.
    pub fn stream<'a>(&'a self, entry: &'a ArchiveEntry) -> Result<Box<dyn Read + 'a>> {
        match &self.container {
            Container::Zip(source) => zip_reader::open_stream(source, entry),
            Container::Tar(tar) => Ok(Box::new(tar.stream(entry)?)),
        }
    }

    /// Reads the packed bytes of an entry, at most `max`, to append them to another archive as they are.
    ///
    /// They are not unpacked, and so neither their size nor their checksum is compared.
    ///
    /// # Errors
    /// As for [`read_into`](Self::read_into).
    pub fn read_packed(&self, entry: &ArchiveEntry, max: u64) -> Result<Packed> {
        match &self.container {
            Container::Zip(source) => zip_reader::read_packed(source, entry, max),
            Container::Tar(tar) => {
                let bytes = tar.content(entry, max)?.into_owned();
                Ok(Packed {
                    method: Method::Stored,
                    crc32: crc32fast::hash(&bytes),
                    size: entry.size,
                    bytes,
                })
            }
        }
    }
}
