//! Which blocks an entry of a file list has, as far as the list says.

use super::{EntryKind, FileEntry};
use crate::{Format, Hash};

/// The blocks of one stream: a file's content or its metadata blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks<'a> {
    /// There are none: the stream is empty, or the entry has no such stream.
    None,
    /// One block: its hash and its length in bytes. A length of 0 is not known, as with the metadata of some old lists.
    One(Hash, u64),
    /// Several blocks, which the blocklists name in order.
    Listed {
        /// The hashes of the blocklists: exactly as many as a stream of that length has.
        lists: &'a [Hash],
        /// The length of the stream in bytes.
        len: u64,
    },
    /// The list does not say: a hash is missing, or the number of blocklists does not fit the length.
    Unknown,
}

impl FileEntry {
    /// The blocks of a file's content; none for folders and links.
    ///
    /// That a file of no bytes has the hash of no bytes is not looked at.
    pub fn content(&self, format: &Format) -> Blocks<'_> {
        if self.kind != EntryKind::File || (self.size == 0 && self.blocklists.is_empty()) {
            return Blocks::None;
        }
        if !self.blocklists.is_empty() {
            return listed(&self.blocklists, self.size, format);
        }
        let only = self.blockhash.or(full_hash(self.hash, format));
        match only {
            Some(hash) if self.size <= format.blocksize && fits(&hash, format) => {
                Blocks::One(hash, self.size)
            }
            _ => Blocks::Unknown,
        }
    }

    /// The blocks of the metadata blob; none when the list has no metadata.
    pub fn metadata(&self, format: &Format) -> Blocks<'_> {
        let Some(full) = self.metahash else {
            return Blocks::None;
        };
        if !self.metablocklists.is_empty() {
            return listed(&self.metablocklists, self.metasize, format);
        }
        let only = self.metablockhash.or(full_hash(Some(full), format));
        match only {
            Some(hash) if self.metasize <= format.blocksize && fits(&hash, format) => {
                Blocks::One(hash, self.metasize)
            }
            _ => Blocks::Unknown,
        }
    }
}

/// The full hash where it is the hash of the only block too.
fn full_hash(hash: Option<Hash>, format: &Format) -> Option<Hash> {
    hash.filter(|_| format.is_one_algorithm())
}

fn fits(hash: &Hash, format: &Format) -> bool {
    hash.as_bytes().len() == format.block_hash.len()
}

/// Blocklists whose number is bound by the length: a list that names one a thousand times is refused before anything is
/// joined.
fn listed<'a>(lists: &'a [Hash], len: u64, format: &Format) -> Blocks<'a> {
    if lists.len() as u64 == format.blocklists_of(len) && lists.iter().all(|h| fits(h, format)) {
        Blocks::Listed { lists, len }
    } else {
        Blocks::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HashAlgorithm::{Md5, Sha256};

    const FORMAT: Format = Format {
        blocksize: 1024,
        block_hash: Sha256,
        file_hash: Sha256,
    };

    fn file(size: u64) -> FileEntry {
        FileEntry {
            hash: Some(Sha256.digest(b"content")),
            size,
            ..FileEntry::new(EntryKind::File, "/f")
        }
    }

    #[test]
    fn content() {
        let hash = Sha256.digest(b"content");
        assert_eq!(file(0).content(&FORMAT), Blocks::None);
        assert_eq!(file(1024).content(&FORMAT), Blocks::One(hash, 1024));
        assert_eq!(file(1025).content(&FORMAT), Blocks::Unknown);
        let two = Format {
            file_hash: Md5,
            ..FORMAT
        };
        assert_eq!(file(5).content(&two), Blocks::Unknown);
        let mut entry = file(5);
        entry.blockhash = Some(Sha256.digest(b"block"));
        assert_eq!(entry.content(&two), Blocks::One(Sha256.digest(b"block"), 5));
        entry.blockhash = Some(Md5.digest(b"block"));
        assert_eq!(entry.content(&two), Blocks::Unknown);
        let mut folder = file(5);
        folder.kind = EntryKind::Folder;
        assert_eq!(folder.content(&FORMAT), Blocks::None);
    }

    /// A blocklist of 1 KiB names 32 blocks of 1 KiB.
    #[test]
    fn the_number_of_blocklists_must_fit_the_size() {
        for (size, lists, fits) in [
            (0, 1, false),
            (1024, 1, false),
            (1025, 1, true),
            (32 << 10, 1, true),
            ((32 << 10) + 1, 1, false),
            ((32 << 10) + 1, 2, true),
            (1025, 2000, false),
            (1 << 50, 3, false),
        ] {
            let mut entry = file(size);
            entry.blocklists = vec![Sha256.digest(b"list"); lists];
            let content = entry.content(&FORMAT);
            assert_eq!(content != Blocks::Unknown, fits, "{size} {lists}");
            entry.metahash = entry.hash;
            entry.metasize = size;
            entry.metablocklists = std::mem::take(&mut entry.blocklists);
            let metadata = entry.metadata(&FORMAT);
            assert_eq!(metadata != Blocks::Unknown, fits, "{size} {lists}");
        }
    }

    #[test]
    fn metadata() {
        let hash = Sha256.digest(b"content");
        let mut entry = FileEntry::new(EntryKind::Folder, "/d/");
        assert_eq!(entry.metadata(&FORMAT), Blocks::None);
        entry.metahash = Some(hash);
        assert_eq!(entry.metadata(&FORMAT), Blocks::One(hash, 0));
        entry.metasize = 189;
        assert_eq!(entry.metadata(&FORMAT), Blocks::One(hash, 189));
        entry.metablockhash = Some(Sha256.digest(b"other"));
        assert_eq!(
            entry.metadata(&FORMAT),
            Blocks::One(Sha256.digest(b"other"), 189)
        );
    }
}
