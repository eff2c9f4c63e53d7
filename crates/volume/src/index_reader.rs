//! Reading an index volume within bounds (docs/format/dindex.md).
//!
//! An index comes from outside, and so does everything it says of itself. What bounds it is what it is made of: hashes
//! are random and cannot be packed, so a file names at most as many blocks as it has bytes for their hashes.

use std::collections::HashSet;

use crate::archive::{ArchiveEntry, ArchiveReader, ReadAt, Unpacker};
use crate::index::read_block_volume;
use crate::{BlockVolume, Error, Format, Hash, LIST_FOLDER, Result, VOL_FOLDER};

/// Blocks that any index may name.
const ALWAYS_BLOCKS: u64 = 64;
/// Unpacked bytes of a description for each byte of the file: a block takes up to 140 characters for the 16 bytes of
/// the shortest hash.
const MAX_EXPANSION: u64 = 16;
/// Volumes that one index may describe: it is written for one, and joined ones have few. Each that is missing is noted.
const MAX_DESCRIBED: usize = 4096;
/// Unpacked bytes that any description may have.
const ALWAYS_BYTES: u64 = 64 << 10;

/// Reads the entries of an index volume.
pub struct IndexReader<'a, S: ReadAt> {
    archive: &'a ArchiveReader<S>,
    format: Format,
    /// Blocks that the file can name.
    most_blocks: u64,
    /// Unpacked bytes that its descriptions can have.
    most_bytes: u64,
}

/// A blocklist that an index repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Repeated {
    /// It is what its name says.
    Right(Hash, Vec<u8>),
    /// Its content does not match its name, or cannot be read.
    Wrong(String),
}

impl<'a, S: ReadAt> IndexReader<'a, S> {
    /// Reads an index whose remote file has `file_len` bytes.
    pub fn new(archive: &'a ArchiveReader<S>, file_len: u64, format: Format) -> Self {
        Self {
            archive,
            format,
            most_blocks: (file_len / format.block_hash.len() as u64).saturating_add(ALWAYS_BLOCKS),
            most_bytes: file_len
                .saturating_mul(MAX_EXPANSION)
                .saturating_add(ALWAYS_BYTES),
        }
    }

    /// What the index says of block volumes; of several descriptions of one volume the first counts.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more blocks than the file can name, [`Error::Malformed`] and those of the archive.
    pub fn volumes(&self) -> Result<Vec<BlockVolume>> {
        let mut volumes: Vec<BlockVolume> = Vec::new();
        let (mut names, mut blocks, mut bytes) = (HashSet::new(), 0_u64, 0_u64);
        for (name, entry) in self.entries(VOL_FOLDER) {
            if !names.insert(name) {
                continue;
            }
            if names.len() > MAX_DESCRIBED {
                return Err(Error::TooLarge {
                    what: "volumes that an index describes",
                    limit: MAX_DESCRIBED as u64,
                });
            }
            bytes = bytes.saturating_add(entry.size);
            if bytes > self.most_bytes {
                return Err(Error::TooLarge {
                    what: "descriptions of an index in bytes",
                    limit: self.most_bytes,
                });
            }
            let left = self.most_blocks - blocks;
            let volume = read_block_volume(name, self.archive.stream(entry)?, left)?;
            blocks += volume.blocks.len() as u64;
            volumes.push(volume);
        }
        Ok(volumes)
    }

    /// Gives the blocklists that the index repeats, each once, as long as all have at most `most_bytes`. Those that lie
    /// in none of the described `volumes` are passed over.
    ///
    /// # Errors
    /// Those of the source of the archive.
    pub fn blocklists(
        &self,
        volumes: &[BlockVolume],
        most_bytes: u64,
        mut each: impl FnMut(Repeated),
    ) -> Result<()> {
        let known = self.listed_blocks(volumes);
        let mut seen: HashSet<Hash> = HashSet::new();
        let mut left = most_bytes;
        let mut unpacker = Unpacker::new();
        for (text, entry) in self.entries(LIST_FOLDER) {
            let Ok(hash) = Hash::parse_url_base64(text) else {
                each(Repeated::Wrong(text.to_owned()));
                continue;
            };
            let is_new = known.contains(&(hash, entry.size)) && seen.insert(hash);
            if !is_new || entry.size > left {
                continue;
            }
            left -= entry.size;
            let mut bytes = Vec::new();
            let most = self.format.blocksize;
            match self
                .archive
                .read_into(entry, &mut bytes, most, &mut unpacker)
            {
                Ok(()) if self.format.block_hash.digest(&bytes) == hash => {
                    each(Repeated::Right(hash, bytes));
                }
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                _ => each(Repeated::Wrong(text.to_owned())),
            }
        }
        Ok(())
    }

    /// The blocks of the volumes that are blocklists here: few, where the volumes hold many.
    fn listed_blocks(&self, volumes: &[BlockVolume]) -> HashSet<(Hash, u64)> {
        let listed: HashSet<(Hash, u64)> = self
            .entries(LIST_FOLDER)
            .filter_map(|(text, entry)| Some((Hash::parse_url_base64(text).ok()?, entry.size)))
            .collect();
        if listed.is_empty() {
            return listed;
        }
        let blocks = volumes.iter().flat_map(|volume| volume.blocks.iter());
        blocks.filter(|block| listed.contains(block)).collect()
    }

    /// The entries of a folder, with their names in it.
    fn entries<'s>(&'s self, folder: &'s str) -> impl Iterator<Item = (&'s str, &'s ArchiveEntry)> {
        self.archive
            .entries()
            .filter_map(move |entry| Some((entry.name.strip_prefix(folder)?, entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ArchiveWriter, Compression, DindexWriter, HashAlgorithm, NewVolume, PackMethod, Packer,
        VolumeTime,
    };

    const SHA: HashAlgorithm = HashAlgorithm::Sha256;
    const FORMAT: Format = Format {
        blocksize: 1024,
        block_hash: SHA,
        file_hash: SHA,
    };

    fn volume(method: PackMethod) -> NewVolume<'static> {
        NewVolume {
            format: FORMAT,
            container: Compression::Zip,
            tar_level: None,
            method,
            created: VolumeTime(0),
            app_version: "test",
        }
    }

    fn described(blocks: Vec<(Hash, u64)>) -> BlockVolume {
        BlockVolume {
            name: "v".to_owned(),
            blocks: blocks.into(),
            hash: None,
            size: None,
        }
    }

    fn hash(number: u32) -> Hash {
        SHA.digest(&number.to_le_bytes())
    }

    /// Whatever packs it, an honest index stays within its bounds.
    #[test]
    fn honest_indexes_are_read() {
        for method in [
            PackMethod::Stored,
            PackMethod::Deflate { level: 9 },
            PackMethod::Zstd { level: 19 },
        ] {
            for count in [0, 1, 3000, 30_000] {
                let blocks: Vec<_> = (0..count).map(|n| (hash(n), 1)).collect();
                let list: Vec<u8> = (0..20).flat_map(|n| hash(n).as_bytes().to_vec()).collect();
                let mut blocks = blocks;
                blocks.push((SHA.digest(&list), list.len() as u64));
                let mut writer = DindexWriter::create(Vec::new(), &volume(method)).unwrap();
                writer.add_volume(&described(blocks.clone())).unwrap();
                writer.add_blocklist(&SHA.digest(&list), &list).unwrap();
                let bytes = writer.finish().unwrap();
                let len = bytes.len() as u64;
                let archive = ArchiveReader::open(bytes, Compression::Zip).unwrap();
                let reader = IndexReader::new(&archive, len, FORMAT);
                let volumes = reader.volumes().unwrap();
                assert_eq!(volumes, [described(blocks.clone())]);
                let known = [described(blocks)];
                let mut lists = Vec::new();
                reader
                    .blocklists(&known, 4096, |found| lists.push(found))
                    .unwrap();
                assert_eq!(lists, [Repeated::Right(SHA.digest(&list), list.clone())]);
            }
        }
    }

    fn archive(entries: &[(String, Vec<u8>)]) -> (ArchiveReader<Vec<u8>>, u64) {
        let mut writer =
            ArchiveWriter::create(Vec::new(), Compression::Zip, None, VolumeTime(0)).unwrap();
        let mut packer = Packer::new(PackMethod::Zstd { level: 3 });
        for (name, bytes) in entries {
            writer.add(name, bytes, &mut packer).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let len = bytes.len() as u64;
        (ArchiveReader::open(bytes, Compression::Zip).unwrap(), len)
    }

    /// A million times one block, or a GB of spaces, packs to nothing.
    #[test]
    fn what_packs_too_well_is_no_index() {
        let block = format!("{{\"hash\":\"{}\",\"size\":1}}", hash(1).to_base64());
        let many = format!("{{\"blocks\":[{}]}}", vec![block; 100_000].join(","));
        let spaces = format!("{{\"blocks\":[{}]}}", " ".repeat(10_000_000));
        for json in [many, spaces] {
            let (archive, len) = archive(&[("vol/v".to_owned(), json.into_bytes())]);
            assert!(len < 100_000);
            let found = IndexReader::new(&archive, len, FORMAT).volumes();
            assert!(matches!(found, Err(Error::TooLarge { .. })), "{found:?}");
        }
    }

    #[test]
    fn blocklists_are_given_once_and_within_their_bound() {
        let list = |n: u32| hash(n).as_bytes().to_vec();
        let name = |n: u32| format!("list/{}", SHA.digest(&list(n)).to_url_base64());
        let mut entries: Vec<_> = (0..10).map(|n| (name(n), list(n))).collect();
        entries.push((name(0), list(0)));
        entries.push((name(20), list(21)));
        entries.push(("list/x".to_owned(), list(1)));
        entries.push((name(30), list(30)));
        let (archive, len) = archive(&entries);
        let reader = IndexReader::new(&archive, len, FORMAT);
        let blocks = (0..10).chain([20]).map(|n| (SHA.digest(&list(n)), 32));
        let known = [described(blocks.collect())];
        let count = |most| {
            let (mut right, mut wrong) = (0, 0);
            reader
                .blocklists(&known, most, |found| match found {
                    Repeated::Right(..) => right += 1,
                    Repeated::Wrong(_) => wrong += 1,
                })
                .unwrap();
            (right, wrong)
        };
        assert_eq!(count(1 << 20), (10, 2));
        assert_eq!(count(5 * 32), (5, 1));
        assert_eq!(count(31), (0, 1));
    }
}
