//! Moving blocks from old data volumes to new ones.
//!
//! Workers fetch old volumes and check every block that is used of them. The calling thread appends them to the new
//! volume, packed as they are, and sends it when it is full.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use larder_catalog::{LossKind, UsedBlocks};
use larder_options::engine as opt;
use larder_volume::{
    ArchiveReader, BlockTable, Compression, Hash, Hint, NewVolume, Packed, Packer, Unpacker,
    VolumeTime, parse_block_entry,
};

use super::plan::Rules;
use super::survey::{Survey, Volume};
use crate::budget::Budget;
use crate::data::VolumeData;
use crate::error::{Reach, VolumeContext};
use crate::losses::damage;
use crate::phases::Ready;
use crate::report::CompactResults;
use crate::settings::MIN_DBLOCK_BYTES;
use crate::sync::describe;
use crate::volumes::{StoredVolume, Unwatched, VolumeBuilder, read_block};
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// What fetched volumes may take in memory together; longer ones lie in temporary files. Two of the usual size.
const FETCHED_BYTES: u64 = 104 << 20;
/// What a new volume takes in memory; beyond it lies in a temporary file.
const NEW_VOLUME_BYTES: u64 = 16 << 20;

/// An old volume whose blocks were checked.
struct Checked<'v> {
    volume: &'v Volume,
    archive: ArchiveReader<VolumeData>,
    wanted: Wanted,
    /// To be dropped when the archive is.
    _permit: Permit,
}

/// What of a volume has to move.
struct Wanted {
    /// In the order of the archive.
    blocks: BlockTable,
    /// Those of them that no index knows of.
    unknown: HashSet<(Hash, u64)>,
}

/// What a worker made of a volume.
enum Looked<'v> {
    Checked(Box<Checked<'v>>),
    /// It stays for now: it cannot be read whole.
    Unreadable,
    /// The time or the bytes that were allowed are used up.
    NoBudget,
}

/// The right to hold a fetched volume.
struct Permit(Receiver<()>);

impl Permit {
    fn take(permits: &(Sender<()>, Receiver<()>)) -> Self {
        // Full while as many are out as may be.
        let _ = permits.0.send(());
        Self(permits.1.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}

/// Copies that this run made or looked at.
#[derive(Default)]
pub(super) struct Fresh {
    /// New volumes.
    pub(super) stored: HashSet<i64>,
    /// Old volumes in which every block in use was found right.
    pub(super) checked: HashSet<i64>,
}

impl Fresh {
    /// Whether the copies in a volume are among them.
    pub(super) fn holds(&self, volume: i64) -> bool {
        self.stored.contains(&volume) || self.checked.contains(&volume)
    }
}

/// What was moved.
#[derive(Default)]
pub(super) struct Moved<'v> {
    /// Old volumes of which everything that is read from them is in new ones.
    pub(super) done: Vec<&'v Volume>,
    /// The new volumes and their indexes.
    pub(super) stored: Vec<StoredVolume>,
    /// Old volumes that were not begun, since what the options allow is used up.
    pub(super) left: u64,
}

impl Ready<'_> {
    /// Moves what is used of some volumes to new ones.
    pub(super) fn rewrite<'v>(
        &self,
        survey: &Survey,
        volumes: Vec<&'v Volume>,
        rules: &Rules,
        allowed: &Allowed,
        results: &mut CompactResults,
    ) -> Result<Moved<'v>> {
        let largest = volumes.iter().map(|v| v.held.stored).max().unwrap_or(0);
        let at_once = FETCHED_BYTES / largest.max(1);
        let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
        let at_once = at_once.clamp(2, self.settings.threads + 1);
        let memory = FETCHED_BYTES / at_once as u64;
        let permits = bounded(at_once);
        let created = VolumeTime(self.clock.seconds());
        let mut mover = Mover {
            run: self,
            rules,
            new_volume: self.new_volume(self.settings.compression, self.pack_method()?, created)?,
            packer: None,
            unpacker: Unpacker::new(),
            block: Vec::new(),
            builder: None,
            moved: Moved::default(),
            unknown: HashSet::new(),
            results,
        };
        for_each_parallel(
            self.settings.threads,
            volumes,
            |volume| {
                let permit = Permit::take(&permits);
                self.cancel.check()?;
                if !allowed.allows(self) {
                    return Ok(Looked::NoBudget);
                }
                self.look_into(volume, &survey.used, allowed, (permit, memory))
            },
            |looked| match looked {
                Looked::Checked(checked) => mover.take(*checked),
                Looked::Unreadable => {
                    mover.results.files_left_alone += 1;
                    Ok(())
                }
                Looked::NoBudget => {
                    mover.moved.left += 1;
                    Ok(())
                }
            },
        )?;
        mover.send()?;
        Ok(mover.moved)
    }

    /// Checks the volumes from which the blocks of redundant ones are read, as far as that is worth the download. Gives
    /// those in which every block in use is right.
    pub(super) fn check_homes(
        &self,
        redundant: &[&Volume],
        survey: &Survey,
        rules: &Rules,
        allowed: &Allowed,
        results: &mut CompactResults,
    ) -> Result<HashSet<i64>> {
        let bad = self.bad_copies()?;
        // What could go when a volume was checked, in bytes.
        let mut gains: HashMap<i64, u64> = HashMap::new();
        for volume in redundant {
            let blocks = self.good_used_blocks(volume, &survey.used, &bad)?;
            let homes = self.catalog(|c| c.find_blocks(&blocks))?;
            let homes: HashSet<i64> = homes.into_iter().flatten().collect();
            for home in homes {
                *gains.entry(home).or_default() += volume.held.stored;
            }
        }
        let mut checked = HashSet::new();
        for home in &survey.volumes {
            let Some(gain) = gains.get(&home.row.id) else {
                continue;
            };
            let is_worth =
                gain.saturating_mul(100) >= home.held.stored.saturating_mul(rules.threshold);
            // Those that moved in this run are gone.
            let is_there = self.catalog(|c| c.volume(home.row.id))?.is_some();
            if !is_worth || !is_there || !allowed.allows(self) {
                continue;
            }
            allowed.count(home.held.stored);
            let row = &home.row;
            let fetched = self.fetch_volume_within(&home.name, row.size, row.hash, FETCHED_BYTES);
            let archive = match fetched {
                Err(error) if error.reach() == Reach::Volume => continue,
                other => other?,
            };
            results.downloaded_file_count += 1;
            results.downloaded_file_size += home.held.stored;
            let blocks = self.good_used_blocks(home, &survey.used, &bad)?;
            let hashes = blocks.iter().map(|(hash, _)| hash);
            if self.bad_of(home, &archive, hashes)?.is_empty() {
                checked.insert(row.id);
            }
        }
        Ok(checked)
    }

    /// Those of some blocks that cannot be had from a volume. They are noted.
    fn bad_of(
        &self,
        volume: &Volume,
        archive: &ArchiveReader<VolumeData>,
        hashes: impl Iterator<Item = Hash>,
    ) -> Result<HashSet<Hash>> {
        let (row, format) = (&volume.row, self.format());
        let (mut block, mut unpacker) = (Vec::new(), Unpacker::new());
        let mut bad = HashSet::new();
        for hash in hashes {
            self.cancel.check()?;
            let size = format.blocksize;
            let read = read_block(archive, &hash, size, &mut block, &mut unpacker, &row.name);
            match read {
                Ok(()) if format.block_hash.digest(&block) == hash => {}
                Err(error) if error.reach() != Reach::Volume => return Err(error),
                _ => {
                    bad.insert(hash);
                }
            }
        }
        if let Some(first) = bad.iter().next() {
            let what = format!("block {first} cannot be read");
            self.tell_unreadable(volume, &what);
            let blocks = self.blocks_named(row, &bad)?;
            self.note_damage(self.loss(row, LossKind::Damaged(what))?, &blocks)?;
        }
        Ok(bad)
    }

    /// Fetches a volume, with so many bytes of it in memory, and checks what has to move.
    fn look_into<'v>(
        &self,
        volume: &'v Volume,
        used: &UsedBlocks,
        allowed: &Allowed,
        (permit, memory): (Permit, u64),
    ) -> Result<Looked<'v>> {
        let row = &volume.row;
        allowed.count(volume.held.stored);
        let fetched = self.fetch_volume_within(&volume.name, row.size, row.hash, memory);
        let archive = match fetched {
            Ok(archive) => archive,
            Err(error) if error.reach() == Reach::Volume => {
                self.tell_unreadable(volume, &describe(&error));
                if error.is_wrong_content() {
                    let loss = self.loss(row, LossKind::Damaged(damage(&error)))?;
                    self.note_damage(loss, &self.blocks_of(row)?)?;
                }
                return Ok(Looked::Unreadable);
            }
            Err(error) => return Err(error),
        };
        let wanted = self.wanted_of(volume, &archive, used)?;
        let hashes = wanted.blocks.iter().map(|(hash, _)| hash);
        if !self.bad_of(volume, &archive, hashes)?.is_empty() {
            return Ok(Looked::Unreadable);
        }
        Ok(Looked::Checked(Box::new(Checked {
            volume,
            archive,
            wanted,
            _permit: permit,
        })))
    }

    fn tell_unreadable(&self, volume: &Volume, why: &str) {
        self.reporter.warn(
            "DamagedVolume",
            format!(
                "{} stays as it is, since {why}; a backup stores again what the sources still have of it",
                volume.row.name
            ),
        );
    }

    /// The blocks of a volume that are used and read from it. To them belong those that no index knows of.
    fn wanted_of(
        &self,
        volume: &Volume,
        archive: &ArchiveReader<VolumeData>,
        used: &UsedBlocks,
    ) -> Result<Wanted> {
        let mut here = BlockTable::new();
        for entry in archive.entries() {
            // Of several with one name the first is read.
            let is_first = || {
                archive
                    .find(&entry.name)
                    .is_some_and(|first| std::ptr::eq(first, entry))
            };
            if let Some(hash) = parse_block_entry(&entry.name)
                && used.contains(&hash, entry.size)
                && is_first()
            {
                here.push(&hash, entry.size);
            }
        }
        // What should be in it and is not has to be missed.
        for (hash, size) in self.catalog(|c| c.blocks_of_volume(volume.row.id))?.iter() {
            let entry = archive.find(&hash.to_url_base64());
            if used.contains(&hash, size) && entry.is_none_or(|entry| entry.size != size) {
                here.push(&hash, size);
            }
        }
        let homes = self.catalog(|c| c.find_blocks(&here))?;
        let (mut blocks, mut unknown) = (BlockTable::new(), HashSet::new());
        for ((hash, size), home) in here.iter().zip(homes) {
            if home.is_none() {
                unknown.insert((hash, size));
            }
            if home.is_none_or(|home| home == volume.row.id) {
                blocks.push(&hash, size);
            }
        }
        Ok(Wanted { blocks, unknown })
    }
}

/// What the options allow of one run.
pub(super) struct Allowed {
    bytes: Option<u64>,
    until: Option<i64>,
    taken: AtomicU64,
    is_over: AtomicBool,
}

impl Allowed {
    pub(super) fn new(run: &Ready<'_>) -> Result<Self> {
        let bytes = run.values.get(opt::COMPACT_MAX_BYTES)?;
        let seconds = run.values.get(opt::COMPACT_MAX_TIME)?;
        Ok(Self {
            bytes: Some(bytes).filter(|bytes| *bytes > 0),
            until: (seconds > 0).then(|| run.clock.seconds().saturating_add(seconds)),
            taken: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    /// Whether one more volume may be fetched.
    fn allows(&self, run: &Ready<'_>) -> bool {
        let taken = self.taken.load(Ordering::SeqCst);
        if self.bytes.is_some_and(|most| taken >= most)
            || self.until.is_some_and(|until| run.clock.seconds() >= until)
        {
            self.is_over.store(true, Ordering::SeqCst);
        }
        !self.is_over.load(Ordering::SeqCst)
    }

    fn count(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::SeqCst);
    }
}

/// Fills new volumes with the blocks of old ones.
struct Mover<'r, 'v, 'a> {
    run: &'r Ready<'a>,
    rules: &'r Rules,
    new_volume: NewVolume<'static>,
    /// For entries that the new container cannot take as they are.
    packer: Option<Packer>,
    unpacker: Unpacker,
    block: Vec<u8>,
    builder: Option<VolumeBuilder>,
    moved: Moved<'v>,
    /// Blocks that no index knew of and that were moved.
    unknown: HashSet<(Hash, u64)>,
    results: &'r mut CompactResults,
}

impl<'v> Mover<'_, 'v, '_> {
    fn take(&mut self, checked: Checked<'v>) -> Result<()> {
        let Checked {
            volume,
            archive,
            wanted,
            ..
        } = &checked;
        self.results.downloaded_file_count += 1;
        self.results.downloaded_file_size += volume.held.stored;
        let lists = self
            .run
            .catalog(|c| c.blocklists_of_volume(volume.row.id))?;
        let lists: HashMap<Hash, Vec<u8>> = lists.into_iter().collect();
        for block in wanted.blocks.iter() {
            self.run.cancel.check()?;
            if wanted.unknown.contains(&block) && !self.unknown.insert(block) {
                continue;
            }
            let (hash, _) = block;
            let packed = self.packed(volume, archive, &hash, lists.contains_key(&hash))?;
            let builder = match &mut self.builder {
                Some(builder) => builder,
                None => {
                    let budget = Budget::new(NEW_VOLUME_BYTES);
                    let builder = VolumeBuilder::create(self.run, &self.new_volume, &budget)?;
                    self.builder.insert(builder)
                }
            };
            builder.add(hash, &packed, lists.get(&hash).map(Vec::as_slice))?;
            let blocksize = self.run.format().blocksize;
            let least = MIN_DBLOCK_BYTES.max(blocksize.saturating_mul(2));
            let room = self.rules.volume.max(least).saturating_sub(blocksize);
            if builder.estimated_len() > room {
                self.send()?;
            }
        }
        self.moved.done.push(volume);
        Ok(())
    }

    /// A block as it is packed in the old volume, or packed anew where the container is another one.
    fn packed(
        &mut self,
        volume: &Volume,
        archive: &ArchiveReader<VolumeData>,
        hash: &Hash,
        is_blocklist: bool,
    ) -> Result<Packed> {
        let name = volume.row.name.as_str();
        let blocksize = self.run.format().blocksize;
        let is_zip = volume.name.compression() == Some(Compression::Zip);
        if is_zip && self.new_volume.container == Compression::Zip {
            let entry = archive.find(&hash.to_url_base64());
            let entry = entry.ok_or_else(|| Error::Bug(format!("{name}: {hash} was there")))?;
            // What does not shrink may become a little longer by packing.
            let most = blocksize
                .saturating_add(blocksize / 8)
                .saturating_add(1 << 10);
            return archive.read_packed(entry, most).in_volume(name);
        }
        let mut block = std::mem::take(&mut self.block);
        read_block(
            archive,
            hash,
            blocksize,
            &mut block,
            &mut self.unpacker,
            name,
        )?;
        let hint = match is_blocklist {
            true => Hint::Stored,
            false => Hint::Compressible,
        };
        let packer = self.packer.get_or_insert_with(|| self.new_volume.packer());
        let packed = packer.pack(&block, hint);
        self.block = block;
        Ok(packed)
    }

    /// Sends the volume that was filled.
    fn send(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let stored = self.run.upload_pair(builder.seal(self.run)?, &Unwatched)?;
            for file in &stored {
                self.results.uploaded_file_count += 1;
                self.results.uploaded_file_size += file.size;
            }
            self.moved.stored.extend(stored);
        }
        Ok(())
    }
}
