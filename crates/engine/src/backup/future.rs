//! Entries dated in the future: telling a change from the mere passing of time.
//!
//! `CoreCreatetime` is the earlier of an entry's own time and its inode's time (docs/format/metadata.md). For an entry
//! dated in the future that is the inode's, which nobody can set: after a restore or a move it is another one although
//! nothing changed, and every such entry would be stored as changed. Here the stored metadata is read back, and when it
//! differs in that one value only, the entry counts as unchanged.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use larder_source::Facts;
use larder_volume::{ArchiveReader, FileEntry, Hash, Metadata, VolumeName};

use crate::data::VolumeData;
use crate::phases::Ready;
use crate::{Error, Result};

/// Reads stored metadata back, a few volumes in a run.
pub(crate) struct StoredMetadata<'e> {
    run: &'e Ready<'e>,
    /// Volumes that may still be fetched: storing the metadata anew costs a few hundred bytes an entry.
    left: AtomicU32,
    /// The volume fetched last; neighbours in time are neighbours in volumes.
    last: Mutex<Option<(i64, ArchiveReader<VolumeData>)>>,
}

/// Volumes fetched in one run at most.
const FETCHED_VOLUMES: u32 = 4;

impl<'e> StoredMetadata<'e> {
    pub(crate) fn new(run: &'e Ready<'e>) -> Self {
        Self {
            run,
            left: AtomicU32::new(FETCHED_VOLUMES),
            last: Mutex::new(None),
        }
    }

    /// True when the inode's time is all that distinguishes the entry's present metadata from what is stored.
    pub(crate) fn only_inode_time_differs(
        &self,
        facts: &Facts,
        stored: &FileEntry,
        present: &[u8],
    ) -> Result<bool> {
        if facts.mtime <= facts.ctime || !stored.metablocklists.is_empty() {
            return Ok(false);
        }
        let format = self.run.format();
        let block = stored.metablockhash.or_else(|| {
            stored
                .metahash
                .filter(|_| format.block_hash == format.file_hash)
        });
        let Some(block) = block else {
            return Ok(false);
        };
        let old = match self.read(&block, stored.metasize) {
            Ok(Some(bytes)) => Metadata::parse(&bytes),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // Nothing is lost by storing the metadata again.
            Ok(None) | Err(_) => return Ok(false),
        };
        let (Ok(mut old), Ok(new)) = (old, Metadata::parse(present)) else {
            return Ok(false);
        };
        old.create_ticks = new.create_ticks;
        Ok(old == new)
    }

    fn read(&self, block: &Hash, size: u64) -> Result<Option<Vec<u8>>> {
        let run = self.run;
        let Some(volume) = run.catalog(|c| c.find_block(block, size))? else {
            return Ok(None);
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(id, _)| *id != volume) {
            let rows = run.catalog(|c| c.volumes())?;
            let row = rows.into_iter().find(|row| row.id == volume);
            let named = row.and_then(|row| {
                let name = VolumeName::parse(&row.name, run.settings.case_insensitive)?;
                Some((name, row.size, row.hash))
            });
            let spend = |left: u32| left.checked_sub(1);
            let may = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend)
                .is_ok();
            let Some((name, size, hash)) = named.filter(|_| may) else {
                return Ok(None);
            };
            *last = Some((volume, run.fetch_volume(&name, size, hash)?));
        }
        let Some((_, archive)) = last.as_ref() else {
            return Ok(None);
        };
        let bytes = archive
            .find(&block.to_url_base64())
            .and_then(|entry| archive.read(entry, size).ok());
        let algorithm = run.format().block_hash;
        Ok(bytes.filter(|bytes| algorithm.digest(bytes) == *block))
    }
}
