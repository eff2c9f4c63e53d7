//! The `filelist.json` entry of a list volume: every file, folder and link of one version (docs/format/dlist.md).
//!
//! A list may be larger than memory, so it is read and written one entry at a time.

mod blocks;
mod reader;
mod writer;

pub use blocks::Blocks;
pub use reader::FileListReader;
pub use writer::FileListWriter;

use crate::{Hash, VolumeTime};

/// What an entry of a file list is.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum EntryKind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, which is not followed.
    Symlink,
}

impl EntryKind {
    /// The word in the list.
    pub fn key(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Folder => "Folder",
            Self::Symlink => "Symlink",
        }
    }

    /// Finds the kind, ignoring case; others (such as `AlternateStream`, which nothing writes) are not restored by any program.
    fn parse(text: &[u8]) -> Option<Self> {
        [Self::File, Self::Folder, Self::Symlink]
            .into_iter()
            .find(|kind| kind.key().as_bytes().eq_ignore_ascii_case(text))
    }
}

/// One entry of a file list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// What it is.
    pub kind: EntryKind,
    /// The source path as bytes; paths of folders, and of links to folders, end with the separator.
    pub path: Vec<u8>,
    /// Files: the hash of the whole content with the file algorithm.
    pub hash: Option<Hash>,
    /// Files: the length of the content in bytes; 0 for others.
    pub size: u64,
    /// Files: the time of last change in whole seconds, or the nearest that a list can hold: the whole truth stands in
    /// the metadata.
    pub time: Option<VolumeTime>,
    /// The hash of the metadata blob with the file algorithm; `None` in old lists.
    pub metahash: Option<Hash>,
    /// The length of the metadata blob in bytes; 0 without `metahash`, and where an old list has -1 for "not known".
    pub metasize: u64,
    /// The hash of the only block of the metadata blob; when `None` it is equal to `metahash`.
    pub metablockhash: Option<Hash>,
    /// The blocklists of the metadata blob when it has more than one block.
    pub metablocklists: Vec<Hash>,
    /// Files of more than one block: the hashes of the blocklists, in order.
    pub blocklists: Vec<Hash>,
    /// Files of one block: its hash, when different from `hash`.
    pub blockhash: Option<Hash>,
    /// Stands with `blockhash`: the length of that block in bytes.
    pub blocksize: Option<u64>,
}

impl FileEntry {
    /// Makes an entry that has nothing but a path.
    pub fn new(kind: EntryKind, path: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            path: path.into(),
            hash: None,
            size: 0,
            time: None,
            metahash: None,
            metasize: 0,
            metablockhash: None,
            metablocklists: Vec::new(),
            blocklists: Vec::new(),
            blockhash: None,
            blocksize: None,
        }
    }
}

/// The longest path of a list in bytes. The longest of any system are Windows' 32,767 UTF-16 units, each of which is at
/// most three bytes; a longer one would only take memory.
pub const MAX_PATH: usize = 96 << 10;
/// The longest path of a new entry in bytes: what Linux can open at once (`PATH_MAX`).
pub const MAX_NEW_PATH: usize = 4 << 10;
/// The sum of all paths of a list beyond [`MAX_NEW_PATH`]. Few paths are that long, and the memory of those who keep
/// paths must depend on the number of entries.
const MAX_LONG_PATHS: u64 = 64 << 20;
/// The most blocklists of one stream: with blocks of 10 KiB this is a file of 3 TiB, with those of 100 KiB a hundred
/// times as much. Each takes 65 bytes in memory.
pub const MAX_BLOCKLISTS: usize = 1 << 20;

#[cfg(test)]
mod tests;
