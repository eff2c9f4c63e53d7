//! Which blocks an entry consists of, as its version list and the blocklists say.

use larder_volume::{Blocks, EntryKind, FileEntry, Format, Hash};

use crate::phases::Ready;
use crate::{Error, Result};

/// The content of an entry.
///
/// # Errors
/// A sentence about an entry that contradicts itself. Nothing was read for that.
pub(crate) fn content_of<'e>(
    entry: &'e FileEntry,
    format: &Format,
) -> std::result::Result<Blocks<'e>, &'static str> {
    match entry.content(format) {
        Blocks::None if entry.kind == EntryKind::File => {
            let is_empty = entry
                .hash
                .is_none_or(|hash| hash == format.file_hash.digest(b""));
            match is_empty {
                true => Ok(Blocks::None),
                false => {
                    Err("the version list says that it is empty and has the hash of some content")
                }
            }
        }
        Blocks::Unknown => {
            Err("the version list does not say which blocks it has, or not as many as its size")
        }
        content => Ok(content),
    }
}

/// The number of blocks of a file of this size.
pub(crate) fn block_count(size: u64, format: &Format) -> u64 {
    larder_volume::blocks_of(size, format.blocksize)
}

impl Ready<'_> {
    /// [`each_block`] with the blocklists that the catalog has.
    pub(crate) fn each_block(
        &self,
        content: Blocks<'_>,
        work: impl FnMut(u32, &Hash, u64) -> Result<()>,
    ) -> Result<std::result::Result<(), String>> {
        let lists = |list: &Hash| self.catalog(|c| c.blocklist(list));
        each_block(content, &self.format(), lists, work)
    }
}

/// Calls `work` with number, hash and length of each block of a file, in order. Memory: one blocklist.
///
/// Gives a sentence when a blocklist is missing or does not fit; blocks before it were handed out.
pub(crate) fn each_block(
    content: Blocks<'_>,
    format: &Format,
    mut blocklist: impl FnMut(&Hash) -> Result<Option<Vec<u8>>>,
    mut work: impl FnMut(u32, &Hash, u64) -> Result<()>,
) -> Result<std::result::Result<(), String>> {
    let (lists, size) = match content {
        Blocks::None | Blocks::Unknown => return Ok(Ok(())),
        Blocks::One(hash, len) => {
            work(0, &hash, len)?;
            return Ok(Ok(()));
        }
        Blocks::Listed { lists, len } => (lists, len),
    };
    let hash_len = format.block_hash.len();
    let most = format.hashes_per_blocklist();
    let total = block_count(size, format);
    let mut index = 0_u64;
    for list in lists {
        let Some(bytes) = blocklist(list)? else {
            return Ok(Err("its list of blocks is in no volume any more".to_owned()));
        };
        let wanted = most.min(total - index);
        if bytes.len() as u64 != wanted.saturating_mul(hash_len as u64) {
            return Ok(Err("its list of blocks does not fit its size".to_owned()));
        }
        for raw in bytes.chunks(hash_len) {
            let hash = match Hash::from_bytes(raw) {
                Ok(hash) => hash,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let at = index * format.blocksize;
            let number = u32::try_from(index).map_err(|_| Error::Bug("too many blocks".into()))?;
            work(number, &hash, format.blocksize.min(size - at))?;
            index += 1;
        }
    }
    Ok(Ok(()))
}

/// The one block of an entry's metadata blob, with its length (0: not known); `None` when there is no blob, when it has
/// several blocks, or when the list does not say which.
pub(crate) fn metadata_block(entry: &FileEntry, format: &Format) -> Option<(Hash, u64)> {
    match entry.metadata(format) {
        Blocks::One(hash, len) => Some((hash, len)),
        Blocks::None | Blocks::Listed { .. } | Blocks::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use larder_volume::HashAlgorithm;

    use super::*;

    #[test]
    fn no_bytes_have_the_hash_of_no_bytes() {
        let sha = HashAlgorithm::Sha256;
        let format = Format {
            blocksize: 1024,
            block_hash: sha,
            file_hash: sha,
        };
        let mut entry = FileEntry::new(EntryKind::File, b"/f".to_vec());
        assert_eq!(content_of(&entry, &format), Ok(Blocks::None));
        entry.hash = Some(sha.digest(b""));
        assert_eq!(content_of(&entry, &format), Ok(Blocks::None));
        entry.hash = Some(sha.digest(b"x"));
        assert!(content_of(&entry, &format).is_err());
        entry.size = 2000;
        assert!(content_of(&entry, &format).is_err());
        entry.size = 1;
        assert!(matches!(content_of(&entry, &format), Ok(Blocks::One(_, 1))));
    }
}
