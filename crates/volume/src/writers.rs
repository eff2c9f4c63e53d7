//! Writing the three kinds of volume: the only place that knows which entries they have (docs/format/dblock.md,
//! dindex.md, dlist.md).

use std::io::{self, Write};

use crate::archive::{ArchiveWriter, Hint, PackMethod, Packed, Packer};
use crate::index::write_block_volume;
use crate::{
    BlockVolume, Compression, EXTRA_FOLDER, Error, FILELIST_ENTRY, FILESET_ENTRY, FileListWriter,
    Format, Hash, LIST_FOLDER, MANIFEST_ENTRY, MAX_EXTRA, Result, VOL_FOLDER, VolumeTime,
    encode_fileset,
};

/// How a new volume is packed, and what its manifest says.
#[derive(Clone, Copy, Debug)]
pub struct NewVolume<'a> {
    /// The parameters of the set.
    pub format: Format,
    /// The container.
    pub container: Compression,
    /// The level of a tar container; see [`ArchiveWriter::create`].
    pub tar_level: Option<i32>,
    /// The method of zip entries; of no effect in a tar, which is compressed as a whole.
    pub method: PackMethod,
    /// When the volume is made; all its entries get this time.
    pub created: VolumeTime,
    /// The program that makes it.
    pub app_version: &'a str,
}

impl NewVolume<'_> {
    /// A packer that makes entries as this volume wants them; one for each thread.
    pub fn packer(&self) -> Packer {
        Packer::new(match self.container {
            Compression::Zip => self.method,
            Compression::TarZstd | Compression::TarGzip => PackMethod::Stored,
        })
    }

    /// Starts the archive with its manifest.
    fn start<W: Write>(&self, out: W, packer: &mut Packer) -> Result<ArchiveWriter<W>> {
        let mut archive = ArchiveWriter::create(out, self.container, self.tar_level, self.created)?;
        let manifest = self.format.manifest(self.created, self.app_version);
        archive.add(MANIFEST_ENTRY, &manifest.encode(), packer)?;
        Ok(archive)
    }
}

/// Writes a `dblock`: blocks under their hashes.
pub struct DblockWriter<W: Write>(ArchiveWriter<W>);

impl<W: Write> DblockWriter<W> {
    /// Starts a volume with its manifest.
    ///
    /// # Errors
    /// As [`ArchiveWriter::create`] and [`ArchiveWriter::add`].
    pub fn create(out: W, volume: &NewVolume<'_>) -> Result<Self> {
        volume.start(out, &mut volume.packer()).map(Self)
    }

    /// Appends a block that was packed by a [`packer`](NewVolume::packer) of this volume. The caller sees to it that
    /// it is not in the volume already.
    ///
    /// # Errors
    /// As [`ArchiveWriter::add_packed`].
    pub fn add(&mut self, hash: &Hash, block: &Packed) -> Result<()> {
        self.0.add_packed(&hash.to_url_base64(), block)
    }

    /// As [`ArchiveWriter::estimated_len`].
    pub fn estimated_len(&self) -> u64 {
        self.0.estimated_len()
    }

    /// Ends the volume and answers the writer underneath, flushed.
    ///
    /// # Errors
    /// As [`ArchiveWriter::finish`].
    pub fn finish(self) -> Result<W> {
        self.0.finish()
    }
}

/// Writes a `dindex`: what block volumes hold, and blocklists that lie in them.
pub struct DindexWriter<W: Write> {
    archive: ArchiveWriter<W>,
    method: PackMethod,
    stored: Packer,
}

impl<W: Write> DindexWriter<W> {
    /// Starts a volume with its manifest.
    ///
    /// # Errors
    /// As [`ArchiveWriter::create`] and [`ArchiveWriter::add`].
    pub fn create(out: W, volume: &NewVolume<'_>) -> Result<Self> {
        Ok(Self {
            archive: volume.start(out, &mut volume.packer())?,
            method: volume.method,
            stored: Packer::new(PackMethod::Stored),
        })
    }

    /// Describes a block volume.
    ///
    /// # Errors
    /// As [`ArchiveWriter::add_stream`].
    pub fn add_volume(&mut self, described: &BlockVolume) -> Result<()> {
        let name = format!("{VOL_FOLDER}{}", described.name);
        self.archive.add_stream(&name, self.method, &mut |out| {
            write_block_volume(described, out)
        })
    }

    /// Repeats a blocklist, stored and not compressed: it is made of hashes.
    ///
    /// # Errors
    /// As [`ArchiveWriter::add_packed`].
    pub fn add_blocklist(&mut self, hash: &Hash, bytes: &[u8]) -> Result<()> {
        let name = format!("{LIST_FOLDER}{}", hash.to_url_base64());
        let packed = self.stored.pack(bytes, Hint::Stored);
        self.archive.add_packed(&name, &packed)
    }

    /// Ends the volume and answers the writer underneath, flushed.
    ///
    /// # Errors
    /// As [`ArchiveWriter::finish`].
    pub fn finish(self) -> Result<W> {
        self.archive.finish()
    }
}

/// Writes a `dlist`: files kept beside the list, the list, and last whether it is complete.
///
/// What a version lacks is known only when its last entry is written. So the list may end after any entry, and the
/// `fileset` entry follows it; readers find both by their names.
pub struct DlistWriter<W: Write> {
    archive: ArchiveWriter<W>,
    packer: Packer,
    method: PackMethod,
    extra_left: u64,
    has_list: bool,
}

impl<W: Write> DlistWriter<W> {
    /// Starts a volume with its manifest.
    ///
    /// # Errors
    /// As [`ArchiveWriter::create`] and [`ArchiveWriter::add`].
    pub fn create(out: W, volume: &NewVolume<'_>) -> Result<Self> {
        let mut packer = volume.packer();
        Ok(Self {
            archive: volume.start(out, &mut packer)?,
            packer,
            method: volume.method,
            extra_left: MAX_EXTRA,
            has_list: false,
        })
    }

    /// Adds a file that the user wants kept beside the list; `name` is one plain file name.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when all of them have more than [`MAX_EXTRA`] bytes; else as [`ArchiveWriter::add`].
    pub fn add_extra(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let left = self.extra_left.checked_sub(bytes.len() as u64);
        self.extra_left = left.ok_or(Error::TooLarge {
            what: "files kept beside the list in bytes",
            limit: MAX_EXTRA,
        })?;
        let name = format!("{EXTRA_FOLDER}{name}");
        self.archive.add(&name, bytes, &mut self.packer)
    }

    /// Writes the list, once: `entries` adds as many as there are and may stop after any.
    ///
    /// # Errors
    /// Those of `entries`, and as [`ArchiveWriter::add_stream`]. The volume is of no use then.
    pub fn add_entries(
        &mut self,
        entries: &mut dyn FnMut(&mut FileListWriter<&mut dyn Write>) -> io::Result<()>,
    ) -> Result<()> {
        self.has_list = true;
        self.archive
            .add_stream(FILELIST_ENTRY, self.method, &mut |out| {
                let mut list = FileListWriter::create(out)?;
                entries(&mut list)?;
                list.finish()?;
                Ok(())
            })
    }

    /// Ends the volume and answers the writer underneath, flushed. A version that was interrupted, or made from such
    /// a one, is not full. Without entries the list is empty.
    ///
    /// # Errors
    /// As [`ArchiveWriter::add`] and [`ArchiveWriter::finish`].
    pub fn finish(mut self, is_full: bool) -> Result<W> {
        if !self.has_list {
            self.add_entries(&mut |_| Ok(()))?;
        }
        self.archive
            .add(FILESET_ENTRY, &encode_fileset(is_full), &mut self.packer)?;
        self.archive.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ArchiveReader, EntryKind, FileEntry, FileListReader, HashAlgorithm, Manifest,
        parse_block_entry, parse_block_volume, parse_fileset,
    };

    const SHA: HashAlgorithm = HashAlgorithm::Sha256;

    fn volume(container: Compression) -> NewVolume<'static> {
        NewVolume {
            format: Format {
                blocksize: 1024,
                block_hash: SHA,
                file_hash: SHA,
            },
            container,
            tar_level: None,
            method: PackMethod::Deflate { level: 6 },
            created: VolumeTime(1_704_067_200),
            app_version: "test",
        }
    }

    fn names(bytes: &[u8], container: Compression) -> (ArchiveReader<Vec<u8>>, Vec<String>) {
        let archive = ArchiveReader::open(bytes.to_vec(), container).unwrap();
        let names: Vec<String> = archive
            .entries()
            .map(|entry| entry.name.to_string())
            .collect();
        let manifest = archive.find(&names[0]).unwrap();
        let manifest = Manifest::parse(&archive.read(manifest, 1 << 10).unwrap()).unwrap();
        assert_eq!(Format::of(&manifest).unwrap(), volume(container).format);
        (archive, names)
    }

    #[test]
    fn a_dblock_has_its_manifest_first_and_then_blocks() {
        for container in Compression::ALL {
            let volume = volume(container);
            let mut writer = DblockWriter::create(Vec::new(), &volume).unwrap();
            let hash = SHA.digest(b"block");
            let packed = volume.packer().pack(b"block", Hint::Compressible);
            writer.add(&hash, &packed).unwrap();
            assert!(writer.estimated_len() > 100);
            let (archive, names) = names(&writer.finish().unwrap(), container);
            assert_eq!(names[0], "manifest");
            assert_eq!(parse_block_entry(&names[1]), Some(hash));
            let block = archive.find(&names[1]).unwrap();
            assert_eq!(archive.read(block, 1024).unwrap(), b"block");
        }
    }

    #[test]
    fn a_dindex_names_volumes_and_repeats_blocklists() {
        for container in Compression::ALL {
            let list = SHA.digest(b"x").as_bytes().to_vec();
            let described = BlockVolume {
                name: "p-b0.dblock.zip".to_owned(),
                blocks: vec![(SHA.digest(b"x"), 1)].into(),
                hash: Some(SHA.digest(b"volume")),
                size: Some(9),
            };
            let mut writer = DindexWriter::create(Vec::new(), &volume(container)).unwrap();
            writer.add_volume(&described).unwrap();
            writer.add_blocklist(&SHA.digest(&list), &list).unwrap();
            let (archive, names) = names(&writer.finish().unwrap(), container);
            assert_eq!(names[1], "vol/p-b0.dblock.zip");
            let of_list = format!("list/{}", SHA.digest(&list).to_url_base64());
            assert_eq!(names[2], of_list);
            let read = |at: usize| {
                let entry = archive.find(&names[at]).unwrap();
                archive.read(entry, 1 << 20).unwrap()
            };
            assert_eq!(
                parse_block_volume(&described.name, &read(1)).unwrap(),
                described
            );
            assert_eq!(read(2), list);
        }
    }

    #[test]
    fn a_dlist_may_end_anywhere_and_says_last_whether_it_is_full() {
        for container in Compression::ALL {
            for (entries, is_full) in [(0, true), (3, false), (3, true)] {
                let mut writer = DlistWriter::create(Vec::new(), &volume(container)).unwrap();
                writer.add_extra("notes.txt", b"kept").unwrap();
                if entries > 0 {
                    writer
                        .add_entries(&mut |list| {
                            for number in 0..entries {
                                let path = format!("/{number}/");
                                list.add(&FileEntry::new(EntryKind::Folder, path))?;
                            }
                            Ok(())
                        })
                        .unwrap();
                }
                let (archive, names) = names(&writer.finish(is_full).unwrap(), container);
                assert_eq!(
                    names,
                    ["manifest", "extra/notes.txt", "filelist.json", "fileset"]
                );
                let fileset = archive.find("fileset").unwrap();
                let fileset = archive.read(fileset, 100).unwrap();
                assert_eq!(parse_fileset(&fileset).unwrap(), is_full);
                let list = archive.find("filelist.json").unwrap();
                let read = FileListReader::open(archive.stream(list).unwrap());
                assert_eq!(read.map(Result::unwrap).count(), entries);
            }
        }
    }
}
