//! The first steps that change the target: folders, then the files that need nothing from a volume.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use larder_volume::{EntryKind, FileEntry, Hash, Metadata, blocklist_hashes};

use super::content::{content_of, metadata_block};
use super::job::Job;
use super::plan::{Cursor, Item, Mark, Origin, Origins};
use super::restoring::Restoring;
use super::target::{self, Present, parent};
use crate::Result;

/// Goes through all entries once.
pub(super) struct Prepare<'a, 'r> {
    restoring: &'r Restoring<'a>,
    /// Folders that exist now, the last ones only: lists are mostly in order.
    made: Vec<Vec<u8>>,
    /// Places that several entries may have, with the path of the first. Memory: those only.
    places: HashMap<Vec<u8>, Vec<u8>>,
    large: Large,
}

/// Metadata blobs of several blocks, which are rare, put together some at a time.
#[derive(Default)]
struct Large {
    blobs: Vec<(u32, FileEntry)>,
    bytes: u64,
}

impl<'a, 'r> Prepare<'a, 'r> {
    pub(super) fn all(restoring: &'r Restoring<'a>) -> Result<()> {
        let mut prepare = Self {
            restoring,
            made: Vec::new(),
            places: HashMap::new(),
            large: Large::default(),
        };
        let mut cursor = Cursor::new(&restoring.plan, restoring.format, restoring.rules);
        restoring.selected.each(|number, entry| {
            let Some(item) = restoring.plan.items.get(number as usize) else {
                return Ok(());
            };
            let origins = cursor.next(item, entry);
            prepare.entry(number, item, entry, origins)
        })?;
        prepare.load_large()
    }

    fn entry(
        &mut self,
        number: u32,
        item: &Item,
        entry: &FileEntry,
        origins: Origins,
    ) -> Result<()> {
        let restoring = self.restoring;
        let Some(place) = restoring.layout.place(&entry.path) else {
            if entry.kind != EntryKind::Folder {
                restoring.refuse(entry, "it has the place of the target folder itself");
            }
            return Ok(());
        };
        if item.is(Mark::Refused) {
            return self.tell_refused(entry);
        }
        if item.is(Mark::Doubted) && self.is_double(item, entry, &place) {
            return Ok(());
        }
        let folder = match entry.kind {
            EntryKind::Folder => Some(place.as_slice()),
            EntryKind::File | EntryKind::Symlink => parent(&place),
        };
        match folder.map(|folder| restoring.make_folder(&mut self.made, folder, entry)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) if entry.kind == EntryKind::Folder => {
                item.set(Mark::Replaces);
            }
            Some(Ok(false)) => {}
            Some(Err(error)) => {
                restoring.stop_when_full(&error)?;
                item.set(Mark::Failed);
                restoring.local_failure(entry, &error);
                return Ok(());
            }
        }
        match entry.kind {
            EntryKind::Folder => {
                restoring.tally.folders.fetch_add(1, Ordering::Relaxed);
            }
            EntryKind::Symlink => {}
            EntryKind::File => self.file(number, item, entry, &place, origins)?,
        }
        if !item.is(Mark::Failed) {
            self.metadata(number, entry, origins)?;
        }
        Ok(())
    }

    /// Says why the version list is not believed.
    fn tell_refused(&self, entry: &FileEntry) -> Result<()> {
        let restoring = self.restoring;
        match content_of(entry, &restoring.format) {
            Err(why) => restoring.remote_failure(entry, why),
            Ok(content) => match restoring.ready.each_block(content, |_, _, _| Ok(()))? {
                Err(why) => restoring.remote_failure(entry, &why),
                Ok(()) => restoring.remote_failure(entry, "its list of blocks cannot be read"),
            },
        }
        Ok(())
    }

    /// Whether an earlier entry has the same place; it is told then.
    fn is_double(&mut self, item: &Item, entry: &FileEntry, place: &[u8]) -> bool {
        let place = target::place_of_copy(place, &self.restoring.plan.date, item.copy);
        match self.places.get(&place) {
            Some(first) => {
                let first = String::from_utf8_lossy(first).into_owned();
                item.set(Mark::Failed);
                self.restoring.refuse(
                    entry,
                    &format!("the version list has another entry for its place, {first:?}"),
                );
                true
            }
            None => {
                self.places.insert(place, entry.path.clone());
                false
            }
        }
    }

    fn file(
        &mut self,
        number: u32,
        item: &Item,
        entry: &FileEntry,
        place: &[u8],
        origins: Origins,
    ) -> Result<()> {
        let (restoring, size) = (self.restoring, entry.size);
        if item.is(Mark::Failed) {
            self.tell_failed(entry, place, origins)?;
            return Ok(());
        }
        if item.copy > 0 {
            restoring.tell_copy(entry, place, item);
        }
        if item.is(Mark::Right) {
            item.set(Mark::Complete);
            restoring.tally.unchanged.fetch_add(1, Ordering::Relaxed);
            restoring
                .tally
                .unchanged_bytes
                .fetch_add(size, Ordering::Relaxed);
            restoring.done();
            return Ok(());
        }
        let is_local = |origin| matches!(origin, Origin::Present | Origin::Original);
        let mut blocks = origins.first..origins.first + origins.blocks;
        let has_local = blocks.any(|at| is_local(restoring.plan.origin(at)));
        if has_local || item.open.load(Ordering::SeqCst) == 0 {
            let there = |origin| origin == Origin::Unfinished;
            let job = Job::new(restoring, number, entry, origins, there);
            if has_local {
                self.copy_blocks(&job, entry, place, origins)?;
            }
            if job.item(restoring).open.load(Ordering::SeqCst) == 0 {
                restoring.finish(&job)?;
            }
            job.close(restoring);
        }
        Ok(())
    }

    /// Why nothing can be written for a file: something in the way, or a block that no volume has.
    fn tell_failed(&self, entry: &FileEntry, place: &[u8], origins: Origins) -> Result<()> {
        let restoring = self.restoring;
        let lost = (origins.first..origins.first + origins.blocks)
            .any(|at| restoring.plan.origin(at) == Origin::Lost);
        if lost {
            restoring.remote_failure(entry, "a part of its content is in no data file any more");
            return Ok(());
        }
        let looked =
            target::look(restoring.root, place, restoring.rules.overwrite).and_then(|seen| {
                if matches!(seen, Present::Nothing) || restoring.rules.overwrite {
                    return Ok(());
                }
                target::choose_copy(
                    restoring.format.file_hash,
                    restoring.root,
                    place,
                    entry,
                    &restoring.plan.date,
                )
                .map(|_| ())
            });
        let error = match looked {
            Err(error) => error,
            Ok(()) => std::io::Error::other("something stood in its place and is gone now"),
        };
        restoring.local_failure(entry, &error);
        Ok(())
    }

    /// Copies the blocks that were found on this machine into the temporary file; each is compared once more.
    fn copy_blocks(
        &self,
        job: &Job,
        entry: &FileEntry,
        place: &[u8],
        origins: Origins,
    ) -> Result<()> {
        let restoring = self.restoring;
        let mut old = None;
        if let Ok(Present::File { file, .. }) = target::look(restoring.root, place, false) {
            old = Some(file);
        }
        let original = target::open_original(&entry.path);
        let (mut buffer, mut is_gone) = (Vec::new(), false);
        let Ok(content) = content_of(entry, &restoring.format) else {
            return Ok(());
        };
        let read = restoring.ready.each_block(content, |index, hash, len| {
            let file = match restoring.plan.origin(origins.first + index as usize) {
                Origin::Present => old.as_ref(),
                Origin::Original => original.as_ref(),
                _ => return Ok(()),
            };
            let at = u64::from(index) * restoring.format.blocksize;
            let wanted = (restoring.format.block_hash, hash);
            match file {
                Some(file) if target::has_block(file, at, len, wanted, &mut buffer) => {
                    restoring.write(job, index, &buffer)?;
                }
                _ => is_gone = true,
            }
            Ok(())
        })?;
        if let Err(why) = read {
            restoring.fail_remote(job, &why);
        }
        if is_gone {
            let error = std::io::Error::other("a file on this machine changed while it was copied");
            restoring.fail_local(job, &error)?;
        }
        Ok(())
    }

    /// Tells of metadata that is lost, and takes note of that in several blocks.
    fn metadata(&mut self, number: u32, entry: &FileEntry, origins: Origins) -> Result<()> {
        let restoring = self.restoring;
        let is_wanted = restoring.rules.metadata || entry.kind == EntryKind::Symlink;
        if !is_wanted || entry.metahash.is_none() {
            if entry.kind == EntryKind::Symlink {
                restoring.lose_metadata(entry.kind, &entry.path);
            }
            return Ok(());
        }
        match origins.metadata {
            Some((at, _, _)) if restoring.plan.origin(at) == Origin::Lost => {
                restoring.lose_metadata(entry.kind, &entry.path);
            }
            Some(_) => {}
            None if entry.metablocklists.is_empty() => {
                // Two algorithms and no hash of the block: it cannot be found.
                debug_assert!(metadata_block(entry, &restoring.format).is_none());
                restoring.lose_metadata(entry.kind, &entry.path);
            }
            None => {
                let size = entry.metasize;
                let lists = larder_volume::blocklists_of(
                    size,
                    restoring.format.blocksize,
                    restoring.format.block_hash.len(),
                );
                if size > LARGEST_BLOB || entry.metablocklists.len() as u64 != lists.max(1) {
                    restoring.lose_metadata(entry.kind, &entry.path);
                    return Ok(());
                }
                self.large.bytes += size;
                self.large.blobs.push((number, entry.clone()));
                if self.large.bytes >= LARGEST_BLOB {
                    self.load_large()?;
                }
            }
        }
        Ok(())
    }

    /// Fetches and joins the metadata blobs that have several blocks.
    fn load_large(&mut self) -> Result<()> {
        let (restoring, large) = (self.restoring, std::mem::take(&mut self.large));
        let mut by_volume: HashMap<i64, Vec<Hash>> = HashMap::new();
        let mut blobs: Vec<(u32, FileEntry, Vec<Hash>)> = Vec::new();
        for (number, entry) in large.blobs {
            let mut blocks = Vec::new();
            for list in &entry.metablocklists {
                let bytes = restoring.ready.catalog(|c| c.blocklist(list))?;
                let found = bytes
                    .and_then(|b| blocklist_hashes(&b, restoring.format.block_hash.len()).ok());
                blocks.extend(found.unwrap_or_default());
            }
            for block in &blocks {
                let volumes = restoring.ready.catalog(|c| c.find_blocks_by_hash(block))?;
                if let Some((_, volume)) = volumes.first() {
                    by_volume.entry(*volume).or_default().push(*block);
                }
            }
            blobs.push((number, entry, blocks));
        }
        for hashes in by_volume.values_mut() {
            hashes.sort_unstable();
            hashes.dedup();
        }
        let mut found: HashMap<Hash, Vec<u8>> = HashMap::new();
        restoring.ready.fetch_blocks(by_volume, |hash, bytes| {
            found.insert(hash, bytes);
            Ok(())
        })?;
        for (number, entry, blocks) in blobs {
            let mut bytes = Vec::new();
            for block in &blocks {
                bytes.extend(found.get(block).map(Vec::as_slice).unwrap_or_default());
            }
            let is_right = Some(restoring.format.file_hash.digest(&bytes)) == entry.metahash;
            if !is_right || Metadata::parse(&bytes).is_err() {
                restoring.lose_metadata(entry.kind, &entry.path);
                continue;
            }
            restoring.keep_metadata(number, &entry, &bytes)?;
        }
        Ok(())
    }
}

/// The largest metadata blob that is put together, and the most bytes of blobs at a time: attributes of Linux are
/// 64 KiB each.
const LARGEST_BLOB: u64 = 16 << 20;
