//! How the entries of a version are packed: one entry, and a chunk of neighbours.
//!
//! A chunk begins with a CRC-32 of the rest; then, per entry, the number of leading path bytes it shares with the entry
//! before, the length of the remainder, the remainder, and the entry's *fields* (everything but the path): two flag
//! bytes, then size and metadata size, then what the flags announce, in the order of the code below.

use larder_volume::{EntryKind, FileEntry, Hash, VolumeTime};

use crate::wire::{WireReader, put_hash, put_signed, put_unsigned};
use crate::{Error, Result};

/// An entry of the newest version as the catalog remembers it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredEntry {
    /// The entry as it stands in the file list.
    pub entry: FileEntry,
    /// Exact modification time in ticks (100 ns since 0001-01-01); `None` after a rebuild, because file lists hold whole
    /// seconds only.
    pub mtime_ticks: Option<i64>,
}

const KIND_MASK: u8 = 3;
const HAS_HASH: u8 = 1 << 2;
const HAS_TIME: u8 = 1 << 3;
const HAS_METAHASH: u8 = 1 << 4;
const HAS_METABLOCKHASH: u8 = 1 << 5;
/// The metadata's block hash equals its hash, so it is not repeated.
const METABLOCKHASH_SAME: u8 = 1 << 6;
const HAS_TICKS: u8 = 1 << 7;
const HAS_BLOCKHASH: u8 = 1 << 0;
const HAS_BLOCKSIZE: u8 = 1 << 1;
const HAS_BLOCKLISTS: u8 = 1 << 2;
const HAS_METABLOCKLISTS: u8 = 1 << 3;

/// Appends the fields of an entry, without its path.
pub(crate) fn encode_fields(out: &mut Vec<u8>, stored: &StoredEntry) {
    let entry = &stored.entry;
    let same = entry.metablockhash.is_some() && entry.metablockhash == entry.metahash;
    let kind = match entry.kind {
        EntryKind::File => 0,
        EntryKind::Folder => 1,
        EntryKind::Symlink => 2,
    };
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        kind | flag(entry.hash.is_some(), HAS_HASH)
            | flag(entry.time.is_some(), HAS_TIME)
            | flag(entry.metahash.is_some(), HAS_METAHASH)
            | flag(entry.metablockhash.is_some() && !same, HAS_METABLOCKHASH)
            | flag(same, METABLOCKHASH_SAME)
            | flag(stored.mtime_ticks.is_some(), HAS_TICKS),
    );
    out.push(
        flag(entry.blockhash.is_some(), HAS_BLOCKHASH)
            | flag(entry.blocksize.is_some(), HAS_BLOCKSIZE)
            | flag(!entry.blocklists.is_empty(), HAS_BLOCKLISTS)
            | flag(!entry.metablocklists.is_empty(), HAS_METABLOCKLISTS),
    );
    put_signed(out, signed(entry.size));
    put_signed(out, signed(entry.metasize));
    if let Some(hash) = &entry.hash {
        put_hash(out, hash);
    }
    if let Some(time) = entry.time {
        put_signed(out, time.0);
    }
    if let Some(hash) = &entry.metahash {
        put_hash(out, hash);
    }
    if let Some(hash) = entry.metablockhash.as_ref().filter(|_| !same) {
        put_hash(out, hash);
    }
    if let Some(ticks) = stored.mtime_ticks {
        put_signed(out, ticks);
    }
    if let Some(hash) = &entry.blockhash {
        put_hash(out, hash);
    }
    if let Some(size) = entry.blocksize {
        put_signed(out, signed(size));
    }
    for list in [&entry.blocklists, &entry.metablocklists] {
        if !list.is_empty() {
            put_unsigned(out, list.len() as u64);
            list.iter().for_each(|hash| put_hash(out, hash));
        }
    }
}

/// Reads the fields of an entry and joins them with its path.
pub(crate) fn decode_fields(reader: &mut WireReader, path: Vec<u8>) -> Result<StoredEntry> {
    let (first, second) = (reader.byte()?, reader.byte()?);
    let kind = match first & KIND_MASK {
        0 => EntryKind::File,
        1 => EntryKind::Folder,
        2 => EntryKind::Symlink,
        _ => return Err(Error::damaged("an entry is of no known kind")),
    };
    let size = length(reader)?;
    let metasize = length(reader)?;
    let hash = when(first & HAS_HASH, || reader.hash())?;
    let time = when(first & HAS_TIME, || reader.signed())?.map(VolumeTime);
    let metahash = when(first & HAS_METAHASH, || reader.hash())?;
    let metablockhash = when(first & HAS_METABLOCKHASH, || reader.hash())?;
    let metablockhash = if first & METABLOCKHASH_SAME != 0 {
        metahash
    } else {
        metablockhash
    };
    let mtime_ticks = when(first & HAS_TICKS, || reader.signed())?;
    let blockhash = when(second & HAS_BLOCKHASH, || reader.hash())?;
    let blocksize = when(second & HAS_BLOCKSIZE, || length(reader))?;
    let blocklists = when(second & HAS_BLOCKLISTS, || hashes(reader))?.unwrap_or_default();
    let metablocklists = when(second & HAS_METABLOCKLISTS, || hashes(reader))?.unwrap_or_default();
    let entry = FileEntry {
        kind,
        path,
        hash,
        size,
        time,
        metahash,
        metasize,
        metablockhash,
        metablocklists,
        blocklists,
        blockhash,
        blocksize,
    };
    Ok(StoredEntry { entry, mtime_ticks })
}

/// No list holds a length beyond the signed numbers.
fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn length(reader: &mut WireReader) -> Result<u64> {
    u64::try_from(reader.signed()?).map_err(|_| Error::damaged("an entry has a negative length"))
}

fn when<T>(flag: u8, read: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    if flag == 0 {
        Ok(None)
    } else {
        read().map(Some)
    }
}

fn hashes(reader: &mut WireReader) -> Result<Vec<Hash>> {
    let count = reader.length()?;
    (0..count).map(|_| reader.hash()).collect()
}

/// Packs entries, given in ascending order of their paths, into chunks.
#[derive(Default)]
pub(crate) struct ChunkBuilder {
    first: Vec<u8>,
    previous: Vec<u8>,
    data: Vec<u8>,
    entries: usize,
}

impl ChunkBuilder {
    /// Adds an entry whose fields are encoded already; true when the chunk should be taken now.
    pub(crate) fn add(&mut self, path: &[u8], fields: &[u8]) -> bool {
        if self.entries == 0 {
            self.first.clear();
            self.first.extend_from_slice(path);
            self.previous.clear();
            self.data.clear();
            self.data.extend_from_slice(&[0; 4]);
        }
        let shared = self
            .previous
            .iter()
            .zip(path)
            .take_while(|(a, b)| a == b)
            .count();
        let rest = path.get(shared..).unwrap_or_default();
        put_unsigned(&mut self.data, shared as u64);
        put_unsigned(&mut self.data, rest.len() as u64);
        self.data.extend_from_slice(rest);
        self.data.extend_from_slice(fields);
        self.previous.truncate(shared);
        self.previous.extend_from_slice(rest);
        self.entries += 1;
        self.data.len() >= CHUNK_LEN || self.entries >= CHUNK_ENTRIES
    }

    /// Gives first path and bytes of the chunk, if it has any entry, and starts the next.
    pub(crate) fn take(&mut self) -> Option<(&[u8], &[u8])> {
        if self.entries == 0 {
            return None;
        }
        self.entries = 0;
        let crc = chunk_crc(&self.first, self.data.get(4..).unwrap_or_default());
        if let Some(head) = self.data.first_chunk_mut::<4>() {
            *head = crc.to_le_bytes();
        }
        Some((&self.first, &self.data))
    }
}

/// Steps through the entries of a chunk.
pub(crate) struct ChunkReader {
    data: Vec<u8>,
    position: usize,
    path: Vec<u8>,
}

impl ChunkReader {
    /// Starts with no entries.
    pub(crate) fn empty() -> Self {
        ChunkReader {
            data: Vec::new(),
            position: 0,
            path: Vec::new(),
        }
    }

    /// Replaces the content, reusing the buffers, after comparing the checksum.
    pub(crate) fn load(&mut self, first: &[u8], data: &[u8]) -> Result<()> {
        let crc = WireReader::new(data).fixed32()?;
        let body = data.get(4..).unwrap_or_default();
        if crc != chunk_crc(first, body) {
            return Err(Error::damaged(
                "the checksum of an entry chunk does not match",
            ));
        }
        self.data.clear();
        self.data.extend_from_slice(body);
        self.position = 0;
        self.path.clear();
        Ok(())
    }

    /// Gives the next entry, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<StoredEntry>> {
        let rest = self.data.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let mut reader = WireReader::new(rest);
        let shared = reader.unsigned()?;
        match usize::try_from(shared) {
            Ok(shared) if shared <= self.path.len() => self.path.truncate(shared),
            _ => {
                return Err(Error::damaged(
                    "an entry shares more of a path than there is",
                ));
            }
        }
        let len = reader.length()?;
        self.path.extend_from_slice(reader.take(len)?);
        let entry = decode_fields(&mut reader, self.path.clone())?;
        self.position = self.data.len() - reader.remaining();
        Ok(Some(entry))
    }
}

fn chunk_crc(first: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(first.len() as u64).to_le_bytes());
    hasher.update(first);
    hasher.update(body);
    hasher.finalize()
}

/// A chunk is closed when it has this many bytes,
const CHUNK_LEN: usize = 28 * 1024;
/// or this many entries.
const CHUNK_ENTRIES: usize = 512;

#[cfg(test)]
mod tests {
    use larder_volume::HashAlgorithm;
    use proptest::prelude::*;

    use super::*;

    fn any_hash() -> impl Strategy<Value = Hash> {
        (any::<u32>(), 0..3usize).prop_map(|(n, which)| {
            let algorithms = [
                HashAlgorithm::Sha256,
                HashAlgorithm::Md5,
                HashAlgorithm::Sha512,
            ];
            algorithms[which].digest(&n.to_le_bytes())
        })
    }

    fn any_entry() -> impl Strategy<Value = StoredEntry> {
        let hash = || prop::option::of(any_hash());
        let list = || prop::collection::vec(any_hash(), 0..4);
        let numbers = (
            0..=i64::MAX as u64,
            0..=i64::MAX as u64,
            any::<Option<i64>>(),
            prop::option::of(0..=i64::MAX as u64),
            any::<Option<i64>>(),
        );
        (
            0..3u8,
            (hash(), hash(), hash(), hash()),
            any::<bool>(),
            (list(), list()),
            numbers,
        )
            .prop_map(
                |(
                    kind,
                    (hash, metahash, other, blockhash),
                    same,
                    (blocklists, metablocklists),
                    numbers,
                )| {
                    let (size, metasize, time, blocksize, mtime_ticks) = numbers;
                    let kind =
                        [EntryKind::File, EntryKind::Folder, EntryKind::Symlink][usize::from(kind)];
                    let metablockhash = if same { metahash } else { other };
                    let entry = FileEntry {
                        kind,
                        path: Vec::new(),
                        hash,
                        size,
                        time: time.map(VolumeTime),
                        metahash,
                        metasize,
                        metablockhash,
                        metablocklists,
                        blocklists,
                        blockhash,
                        blocksize,
                    };
                    StoredEntry { entry, mtime_ticks }
                },
            )
    }

    fn pack(entries: &std::collections::BTreeMap<Vec<u8>, StoredEntry>) -> (Vec<u8>, Vec<u8>) {
        let mut builder = ChunkBuilder::default();
        for (path, entry) in entries {
            let mut fields = Vec::new();
            encode_fields(&mut fields, entry);
            builder.add(path, &fields);
        }
        let (first, data) = builder.take().unwrap();
        (first.to_vec(), data.to_vec())
    }

    proptest! {
        #[test]
        fn a_chunk_comes_back_and_any_flip_is_damage(
            entries in prop::collection::btree_map(prop::collection::vec(0u8..3, 0..9), any_entry(), 1..20),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let (first, data) = pack(&entries);
            let mut reader = ChunkReader::empty();
            reader.load(&first, &data).unwrap();
            for (path, expected) in &entries {
                let mut found = reader.next().unwrap().unwrap();
                prop_assert_eq!(&found.entry.path, path);
                found.entry.path.clear();
                prop_assert!(found == *expected);
            }
            prop_assert!(reader.next().unwrap().is_none());
            let mut bad = data.clone();
            bad[at.index(data.len())] ^= 1u8 << bit;
            prop_assert!(reader.load(&first, &bad).is_err());
        }

        #[test]
        fn made_up_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            // With a right checksum, so that the parser sees them.
            let mut data = chunk_crc(b"first", &body).to_le_bytes().to_vec();
            data.extend_from_slice(&body);
            let mut reader = ChunkReader::empty();
            reader.load(b"first", &data).unwrap();
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
