//! Lost blocks from files that still exist where versions say they were.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use larder_options::engine as opt;
use larder_volume::{EntryKind, FileEntry, Hash, Hint, NewVolume, Packer, VolumeKind, VolumeTime};

use crate::Result;
use crate::budget::Budget;
use crate::context::Level;
use crate::missing::{Missing, Waiting};
use crate::phases::Ready;
use crate::volumes::{Unwatched, VolumeBuilder};
use crate::words::counted;

/// What a volume being written takes in memory.
const VOLUME_MEMORY_BYTES: u64 = 60 << 20;

impl Ready<'_> {
    /// Reads files that lost blocks and still have their length, and stores those of the blocks that they have. Gives
    /// their number. With `--disable-partial-dblock-recovery` all or none are stored.
    pub(super) fn rebuild_from_files(&self) -> Result<u64> {
        let mut lost = self.missed_of_all()?;
        if lost.is_empty() {
            return Ok(0);
        }
        let created = VolumeTime(self.clock.seconds());
        let volume = self.new_volume(self.settings.compression, self.pack_method()?, created)?;
        let mut rebuild = Rebuild {
            run: self,
            packer: volume.packer(),
            volume,
            lost: &mut lost,
            tried: HashSet::new(),
            builder: None,
            found: 0,
        };
        let damaged = self.damaged_blocks()?;
        for version in self.stored_versions()? {
            let fileset = match self.entries_of_version(&version) {
                Ok(fileset) => fileset,
                Err(error) if error.reach() == crate::error::Reach::Volume => continue,
                Err(error) => return Err(error),
            };
            let mut waiting = Waiting::default();
            let mut read = |entry: FileEntry, missing| rebuild.read(&entry, missing);
            for stored in self.catalog(|c| c.entries(fileset))? {
                self.cancel.check()?;
                self.find_missing_of(&mut waiting, stored?.entry, &damaged, &mut read)?;
            }
            self.find_missing(&mut waiting, &damaged, &mut read)?;
        }
        let found = rebuild.found;
        let all_or_none = self.values.get(opt::DISABLE_PARTIAL_DBLOCK_RECOVERY)?;
        let is_stored = !all_or_none || rebuild.lost.is_empty();
        if is_stored {
            rebuild.send()?;
        }
        let text = format!(
            "{} found in files that still exist, {} not",
            counted(found, "lost block"),
            lost.len()
        );
        match (self.settings.dry_run, is_stored) {
            (true, _) => self.reporter.say(Level::DryRun, "DryRun", text),
            (false, true) => self.reporter.info("BlocksRebuilt", text),
            (false, false) => self.reporter.info(
                "BlocksNotRebuilt",
                format!("{text}; nothing is stored, as --disable-partial-dblock-recovery says"),
            ),
        }
        Ok(if is_stored { found } else { 0 })
    }

    /// The blocks of all lost data files that nothing has.
    fn missed_of_all(&self) -> Result<HashSet<(Hash, u64)>> {
        let bad = self.bad_copies()?;
        let mut missed = HashSet::new();
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::Blocks {
                missed.extend(self.missed_blocks(&loss, &bad)?);
            }
        }
        Ok(missed)
    }
}

/// Collects blocks for new volumes.
struct Rebuild<'r, 'a> {
    run: &'r Ready<'a>,
    volume: NewVolume<'static>,
    packer: Packer,
    /// What is still looked for.
    lost: &'r mut HashSet<(Hash, u64)>,
    /// Hashes of the contents that were read.
    tried: HashSet<Hash>,
    builder: Option<VolumeBuilder>,
    found: u64,
}

impl Rebuild<'_, '_> {
    /// Reads a file as it is now, when it may be what it was.
    fn read(&mut self, entry: &FileEntry, missing: Missing) -> Result<()> {
        let is_file = entry.kind == EntryKind::File && missing == Missing::Content;
        let is_new = entry.hash.is_none_or(|hash| self.tried.insert(hash));
        if !is_file || !is_new || self.lost.is_empty() {
            return Ok(());
        }
        let path = Path::new(OsStr::from_bytes(&entry.path));
        let is_it = |meta: &std::fs::Metadata| meta.is_file() && meta.len() == entry.size;
        // What cannot be read has nothing.
        let Ok(true) = std::fs::symlink_metadata(path).map(|meta| is_it(&meta)) else {
            return Ok(());
        };
        let Ok(file) = File::open(path) else {
            return Ok(());
        };
        self.take_blocks(file)
    }

    fn take_blocks(&mut self, mut file: File) -> Result<()> {
        let format = self.run.format();
        let per_list = usize::try_from(format.hashes_per_blocklist()).unwrap_or(usize::MAX);
        let (mut list, mut blocks) = (Vec::new(), 0_usize);
        let mut block = Vec::new();
        loop {
            self.run.cancel.check()?;
            block.clear();
            let read = (&mut file).take(format.blocksize).read_to_end(&mut block);
            if read.is_err() || block.is_empty() {
                break;
            }
            let hash = format.block_hash.digest(&block);
            self.take(hash, &block, false)?;
            // Its blocklists may be lost as well.
            list.extend_from_slice(hash.as_bytes());
            blocks += 1;
            if blocks.is_multiple_of(per_list.max(1)) {
                let full = std::mem::take(&mut list);
                self.take(format.block_hash.digest(&full), &full, true)?;
            }
        }
        if blocks > 1 && !list.is_empty() {
            self.take(format.block_hash.digest(&list), &list, true)?;
        }
        Ok(())
    }

    /// Keeps a block that is looked for.
    fn take(&mut self, hash: Hash, bytes: &[u8], is_blocklist: bool) -> Result<()> {
        if !self.lost.remove(&(hash, bytes.len() as u64)) {
            return Ok(());
        }
        self.found += 1;
        if self.run.settings.dry_run {
            return Ok(());
        }
        let hint = if is_blocklist {
            Hint::Stored
        } else {
            Hint::Compressible
        };
        let packed = self.packer.pack(bytes, hint);
        let builder = match &mut self.builder {
            Some(builder) => builder,
            None => {
                let budget = Budget::new(VOLUME_MEMORY_BYTES);
                let builder = VolumeBuilder::create(self.run, &self.volume, &budget)?;
                self.builder.insert(builder)
            }
        };
        builder.add(hash, &packed, is_blocklist.then_some(bytes))?;
        let room = self.run.settings.dblock_size;
        let is_full = builder.estimated_len() > room.saturating_sub(self.run.format().blocksize);
        // All or nothing needs all of it first.
        let may_send = !self.run.values.get(opt::DISABLE_PARTIAL_DBLOCK_RECOVERY)?;
        if is_full && may_send {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            self.run.upload_pair(builder.seal(self.run)?, &Unwatched)?;
        }
        Ok(())
    }
}
