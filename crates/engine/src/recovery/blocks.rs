//! Finding blocks: through the index, in the volumes of the folder. Each block's hash is compared.

use std::collections::{HashMap, HashSet};

use larder_volume::{ArchiveReader, Compression, Hash, HashAlgorithm, Unpacker};

use super::folder::{Folder, LocalFile};
use super::index::{Index, index_path};
use super::{Recovery, is_of_volume};
use crate::temporary::temporary_error;
use crate::{Error, Result};

/// Blocks of a folder. Memory: the directories of the volumes that are open, up to [`MOST_ENTRIES`] entries.
pub(super) struct BlockFinder<'a> {
    recovery: &'a Recovery,
    folder: &'a Folder,
    by_file: HashMap<&'a str, usize>,
    index: Index,
    /// Whether the index was made by this run and so holds all there is.
    is_own: bool,
    /// The last used first.
    open: Vec<(usize, ArchiveReader<LocalFile>)>,
    /// Volumes that cannot be opened.
    unreadable: HashSet<usize>,
    unpacker: Unpacker,
}

impl<'a> BlockFinder<'a> {
    /// Opens the index of a folder. Where there is none, one is made for this run.
    pub(super) fn open(
        recovery: &'a Recovery,
        folder: &'a Folder,
        file: Option<&std::path::Path>,
    ) -> Result<Self> {
        let path = index_path(&folder.path, file);
        let (index, is_own) = match Index::open(&path)? {
            Some(index) => (index, false),
            None => {
                recovery.reporter.info(
                    "NoIndexFile",
                    format!(
                        "there is no {}, so one is made for this run; `larder recovery index` keeps it",
                        path.display()
                    ),
                );
                (recovery.temporary_index(folder)?, true)
            }
        };
        let names = folder.blocks.iter().enumerate();
        for stored in folder.blocks.iter().filter(|stored| stored.is_damaged) {
            recovery.tell_partly_damaged(&stored.file);
        }
        Ok(Self {
            recovery,
            folder,
            by_file: names
                .map(|(at, stored)| (stored.file.as_str(), at))
                .collect(),
            index,
            is_own,
            open: Vec::new(),
            unreadable: HashSet::new(),
            unpacker: Unpacker::new(),
        })
    }

    /// Reads a block of at most `most` bytes into `out`; false when no volume has it whole. All volumes that the index
    /// names are tried, then those that an index made now names.
    ///
    /// # Errors
    /// Trouble of this machine; never what is wrong with a volume or an index.
    pub(super) fn read(
        &mut self,
        hash: &Hash,
        algorithm: HashAlgorithm,
        most: u64,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        loop {
            self.recovery.cancel.check()?;
            // An index that cannot be read is as good as none.
            let files = match self.index.find(hash) {
                Err(_) if !self.is_own => Vec::new(),
                found => found.map_err(temporary_error)?,
            };
            for file in files {
                if let Some(&number) = self.by_file.get(file.as_str())
                    && self.read_from(number, (hash, algorithm), most, out)?
                {
                    return Ok(true);
                }
            }
            if self.is_own {
                return Ok(false);
            }
            self.recovery.reporter.info(
                "IndexFileOutdated",
                "the index does not lead to all blocks, so one is made anew for this run",
            );
            self.index = self.recovery.temporary_index(self.folder)?;
            self.is_own = true;
        }
    }

    /// Reads a block from one volume.
    fn read_from(
        &mut self,
        number: usize,
        (hash, algorithm): (&Hash, HashAlgorithm),
        most: u64,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        if !self.make_open(number)? {
            return Ok(false);
        }
        let (Some((_, archive)), Some(stored)) =
            (self.open.first(), self.folder.blocks.get(number))
        else {
            return Ok(false);
        };
        let name = hash.to_url_base64();
        let Some(entry) = archive.find(&name) else {
            return Ok(false);
        };
        let read = archive.read_into(entry, out, most, &mut self.unpacker);
        let error = match read {
            Ok(()) if algorithm.digest(out) == *hash => return Ok(true),
            Ok(()) => larder_volume::Error::Mismatch {
                field: "hash of a block",
                expected: hash.to_base64(),
                found: algorithm.digest(out).to_base64(),
            },
            Err(error) => error,
        };
        let error = Error::volume(stored.name.as_str(), error);
        if !is_of_volume(&error) {
            return Err(error);
        }
        let cost = "what can be verified of it is used";
        let recovery = self.recovery;
        recovery.tell_damaged(&stored.file, "DamagedVolume", &error, cost);
        Ok(false)
    }

    /// Puts a volume in front of the open ones; false when it cannot be opened.
    fn make_open(&mut self, number: usize) -> Result<bool> {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == number) {
            if let Some(head) = self.open.get_mut(..=at) {
                head.rotate_right(1);
            }
            return Ok(true);
        }
        let Some(stored) = self.folder.blocks.get(number) else {
            return Ok(false);
        };
        if self.unreadable.contains(&number) {
            return Ok(false);
        }
        let archive = match self.recovery.open(self.folder, stored) {
            Ok(archive) => archive,
            Err(error) if is_of_volume(&error) => {
                self.unreadable.insert(number);
                let cost = "nothing can be read of it";
                let recovery = self.recovery;
                recovery.tell_damaged(&stored.file, "DamagedVolume", &error, cost);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if archive.recovered() {
            self.recovery.tell_partly_damaged(&stored.file);
        }
        self.open.insert(0, (number, archive));
        self.close_some();
        Ok(true)
    }

    /// Closes what was not used for long. An unpacked tar takes the room of a volume.
    fn close_some(&mut self) {
        let (mut entries, mut tars) = (0, 0);
        let (mut files, folder) = (0, self.folder);
        self.open.retain(|(number, archive)| {
            let name = folder.blocks.get(*number).map(|stored| &stored.name);
            let is_zip = name.and_then(|name| name.compression()) == Some(Compression::Zip);
            entries += archive.entries().len();
            tars += usize::from(!is_zip);
            files += 1;
            files == 1 || (files <= MOST_FILES && entries <= MOST_ENTRIES && tars <= MOST_TARS)
        });
    }
}

/// Most volumes open at a time,
const MOST_FILES: usize = 100;
/// entries of their directories, some 100 bytes each,
const MOST_ENTRIES: usize = 400_000;
/// and unpacked tars, which take up to 64 MiB of memory each.
const MOST_TARS: usize = 2;
