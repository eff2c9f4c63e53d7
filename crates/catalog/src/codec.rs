//! How an entry is packed: its *fields*, which are everything but the path and what only this computer knows of it.
//!
//! Two flag bytes, then size and metadata size, then what the flags announce, in the order of the code below. Equal
//! entries have equal bytes, so that an entry is compared with a stored one without unpacking it.

use larder_volume::{EntryKind, FileEntry, Hash, VolumeTime};

use crate::wire::{WireReader, put_hash, put_signed, put_unsigned};
use crate::{Error, Result};

/// An entry of a version as the catalog remembers it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredEntry {
    /// The entry as it stands in the file list.
    pub entry: FileEntry,
    /// How the file looked when it was last found to have this content; `None` after a rebuild, because the stored format
    /// has no place for it.
    pub seen: Option<Seen>,
}

/// What the local file system said of a source file; never stored at the destination.
///
/// A program can set the time of the last change of a file's content back; it cannot set these.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Time of the last change of content or facts, in ticks (100 ns since 0001-01-01).
    pub ctime_ticks: i64,
    /// Number of the inode.
    pub inode: u64,
    /// Number of the device.
    pub device: u64,
}

impl Seen {
    /// Appends the three numbers.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_signed(out, self.ctime_ticks);
        put_unsigned(out, self.inode);
        put_unsigned(out, self.device);
    }

    /// Reads what [`Seen::encode`] wrote.
    pub(crate) fn decode(reader: &mut WireReader) -> Result<Seen> {
        Ok(Seen {
            ctime_ticks: reader.signed()?,
            inode: reader.unsigned()?,
            device: reader.unsigned()?,
        })
    }
}

const KIND_MASK: u8 = 3;
const HAS_HASH: u8 = 1 << 2;
const HAS_TIME: u8 = 1 << 3;
const HAS_METAHASH: u8 = 1 << 4;
const HAS_METABLOCKHASH: u8 = 1 << 5;
/// The metadata's block hash equals its hash, so it is not repeated.
const METABLOCKHASH_SAME: u8 = 1 << 6;
const HAS_BLOCKHASH: u8 = 1 << 0;
const HAS_BLOCKSIZE: u8 = 1 << 1;
const HAS_BLOCKLISTS: u8 = 1 << 2;
const HAS_METABLOCKLISTS: u8 = 1 << 3;

/// Appends the fields of an entry, without its path.
pub(crate) fn encode_fields(out: &mut Vec<u8>, entry: &FileEntry) {
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
            | flag(same, METABLOCKHASH_SAME),
    );
    out.push(
        flag(entry.blockhash.is_some(), HAS_BLOCKHASH)
            | flag(entry.blocksize.is_some(), HAS_BLOCKSIZE)
            | flag(!entry.blocklists.is_empty(), HAS_BLOCKLISTS)
            | flag(!entry.metablocklists.is_empty(), HAS_METABLOCKLISTS),
    );
    put_unsigned(out, entry.size);
    put_unsigned(out, entry.metasize);
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
    if let Some(hash) = &entry.blockhash {
        put_hash(out, hash);
    }
    if let Some(size) = entry.blocksize {
        put_unsigned(out, size);
    }
    for list in [&entry.blocklists, &entry.metablocklists] {
        if !list.is_empty() {
            put_unsigned(out, list.len() as u64);
            list.iter().for_each(|hash| put_hash(out, hash));
        }
    }
}

/// Reads the fields of an entry, which end where the reader does, and joins them with its path.
pub(crate) fn decode_fields(reader: &mut WireReader, path: Vec<u8>) -> Result<FileEntry> {
    let (first, second) = (reader.byte()?, reader.byte()?);
    let kind = match first & KIND_MASK {
        0 => EntryKind::File,
        1 => EntryKind::Folder,
        2 => EntryKind::Symlink,
        _ => return Err(Error::damaged("an entry is of no known kind")),
    };
    let size = reader.unsigned()?;
    let metasize = reader.unsigned()?;
    let hash = when(first & HAS_HASH, || reader.hash())?;
    let time = when(first & HAS_TIME, || reader.signed())?.map(VolumeTime);
    let metahash = when(first & HAS_METAHASH, || reader.hash())?;
    let metablockhash = when(first & HAS_METABLOCKHASH, || reader.hash())?;
    let metablockhash = if first & METABLOCKHASH_SAME != 0 {
        metahash
    } else {
        metablockhash
    };
    let blockhash = when(second & HAS_BLOCKHASH, || reader.hash())?;
    let blocksize = when(second & HAS_BLOCKSIZE, || reader.unsigned())?;
    let blocklists = when(second & HAS_BLOCKLISTS, || hashes(reader))?.unwrap_or_default();
    let metablocklists = when(second & HAS_METABLOCKLISTS, || hashes(reader))?.unwrap_or_default();
    Ok(FileEntry {
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
    })
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

    fn any_entry() -> impl Strategy<Value = FileEntry> {
        let hash = || prop::option::of(any_hash());
        let list = || prop::collection::vec(any_hash(), 0..4);
        let numbers = (
            any::<u64>(),
            any::<u64>(),
            any::<Option<i64>>(),
            prop::option::of(any::<u64>()),
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
                    let (size, metasize, time, blocksize) = numbers;
                    let kind =
                        [EntryKind::File, EntryKind::Folder, EntryKind::Symlink][usize::from(kind)];
                    let metablockhash = if same { metahash } else { other };
                    FileEntry {
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
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn fields_come_back_and_equal_entries_have_equal_bytes(a in any_entry(), b in any_entry()) {
            let mut packed = [Vec::new(), Vec::new()];
            encode_fields(&mut packed[0], &a);
            encode_fields(&mut packed[1], &b);
            prop_assert_eq!(packed[0] == packed[1], a == b);
            let mut reader = WireReader::new(&packed[0]);
            let back = decode_fields(&mut reader, Vec::new()).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert!(back == a);
        }

        #[test]
        fn made_up_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_fields(&mut WireReader::new(&bytes), Vec::new());
        }
    }
}
