//! New blocks on their way into volumes: known or new, packed, appended, sealed.
//!
//! Every worker appends to a volume of its own while it needs one, so that encryption and hashing run on all cores.
//! A further volume is opened only after enough was written, so that small runs leave one small volume, and as long as
//! there is memory for what is kept of its blocks ([`Pool`]).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use larder_catalog::Fingerprints;
use larder_volume::{Compression, Format, Hash, Hint, NewVolume, PackMethod, Packer, VolumeTime};

use super::pool::{Added, Filling, Limits, Pool, Turn};
use crate::budget::Budget;
use crate::phases::Ready;
use crate::settle::is_stored;
use crate::volumes::{SealedVolume, SharedBlocks, UploadSteps, VolumeBuilder};
use crate::{Error, Result};

/// What is known of blocks during a run.
struct KnownBlocks {
    fingerprints: Option<Fingerprints>,
    /// Blocks that are on their way into a volume: one for each thread at most, or in a dry run all that are new.
    claimed: HashSet<(Hash, u64)>,
    /// Those of the volumes that the catalog does not know yet.
    pending: Vec<SharedBlocks>,
    /// Blocks that were found damaged and that no other volume has, as long as this run did not store them again.
    damaged: HashSet<(Hash, u64)>,
}

impl KnownBlocks {
    /// Tells whether this run stores the block, in a volume that the catalog does not know yet.
    fn is_pending(&self, hash: &Hash, size: u64) -> bool {
        let holds = |blocks: &SharedBlocks| blocks.read().contains(hash, size);
        self.claimed.contains(&(*hash, size)) || self.pending.iter().any(holds)
    }
}

/// Takes blocks from all workers.
pub(crate) struct BlockStore<'e> {
    run: &'e Ready<'e>,
    pub(crate) format: Format,
    new_volume: NewVolume<'static>,
    index: Mutex<KnownBlocks>,
    pool: Mutex<Pool<VolumeBuilder>>,
    returned: Condvar,
    sealed: Mutex<Option<Sender<SealedVolume>>>,
    /// Volumes that were sealed and are not stored yet.
    unsent: AtomicUsize,
    budget: Budget,
    /// Set when the run fails, so that nobody waits for a volume that will not come back.
    pub(crate) failed: AtomicBool,
    pub(crate) new_blocks: AtomicU64,
    pub(crate) new_bytes: AtomicU64,
}

/// What volumes being filled and sent take in memory, with what is known of their blocks: one and a half of the usual size.
/// Beyond it they lie in temporary files.
const VOLUME_MEMORY_BYTES: u64 = 80 << 20;

impl<'e> BlockStore<'e> {
    pub(crate) fn new(
        run: &'e Ready<'e>,
        compression: Compression,
        method: PackMethod,
        created: VolumeTime,
        sealed: Sender<SealedVolume>,
    ) -> Result<Self> {
        Ok(Self {
            run,
            format: run.format(),
            new_volume: run.new_volume(compression, method, created)?,
            index: Mutex::new(KnownBlocks {
                fingerprints: None,
                claimed: HashSet::new(),
                pending: Vec::new(),
                damaged: run.damaged_blocks()?,
            }),
            pool: Mutex::new(Pool::new(Limits {
                threads: run.settings.threads,
                volume_len: run.settings.dblock_size,
                memory: VOLUME_MEMORY_BYTES,
            })),
            returned: Condvar::new(),
            sealed: Mutex::new(Some(sealed)),
            unsent: AtomicUsize::new(0),
            budget: Budget::new(VOLUME_MEMORY_BYTES),
            failed: AtomicBool::new(false),
            new_blocks: AtomicU64::new(0),
            new_bytes: AtomicU64::new(0),
        })
    }

    /// A packer for one worker thread.
    pub(crate) fn packer(&self) -> Packer {
        self.new_volume.packer()
    }

    /// Stores a block unless it is known; true when it was new.
    ///
    /// `hash` is the block's own; `blocklist` marks the bytes as hashes of a longer stream, which the index file
    /// repeats. The volume is sealed and sent off when it is full.
    pub(crate) fn add(
        &self,
        packer: &mut Packer,
        data: &[u8],
        hash: Hash,
        hint: Hint,
        blocklist: bool,
    ) -> Result<bool> {
        if data.is_empty() || !self.claim(hash, data.len() as u64)? {
            return Ok(false);
        }
        self.new_blocks.fetch_add(1, Ordering::Relaxed);
        self.new_bytes
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        if self.run.settings.dry_run {
            return Ok(true);
        }
        let outcome = self.append(packer, data, hash, hint, blocklist);
        if outcome.is_err() {
            // The volume is lost with what is in it, and somebody may be waiting for it.
            self.fail();
        }
        outcome.map(|()| true)
    }

    /// Appends a block to a volume and sends the volume off when it is full.
    fn append(
        &self,
        packer: &mut Packer,
        data: &[u8],
        hash: Hash,
        hint: Hint,
        blocklist: bool,
    ) -> Result<()> {
        let packed = packer.pack(data, hint);
        let mut filling = self.take_volume()?;
        let kept = filling
            .volume
            .add(hash, &packed, blocklist.then_some(data))?;
        let key = (hash, data.len() as u64);
        self.lock_index().claimed.remove(&key);
        let len = filling.volume.estimated_len();
        let added = Added {
            packed: packed.bytes.len() as u64,
            len: len.saturating_sub(filling.len),
            kept,
        };
        filling.len = len;
        let room = self.run.settings.dblock_size;
        if len > room.saturating_sub(self.format.blocksize) {
            // It counts as open until the uploads have it: those that wait for that must not become many.
            self.seal(filling.volume)?;
            self.lock_pool().close(added);
        } else {
            self.lock_pool().give_back(filling, added);
        }
        self.returned.notify_one();
        Ok(())
    }

    /// True when the block is stored already, as far as is known whole, or on its way.
    pub(crate) fn has(&self, hash: Hash, size: u64) -> Result<bool> {
        let index = self.lock_index();
        if index.is_pending(&hash, size) {
            return Ok(true);
        }
        if index.damaged.contains(&(hash, size)) {
            return Ok(false);
        }
        drop(index);
        Ok(self.run.catalog(|c| c.find_block(&hash, size))?.is_some())
    }

    /// True when the block lies whole in a volume whose transfer is over, as far as is known. One on its way does not count.
    pub(crate) fn is_sent(&self, hash: Hash, size: u64) -> Result<bool> {
        let index = self.lock_index();
        if index.is_pending(&hash, size) || index.damaged.contains(&(hash, size)) {
            return Ok(false);
        }
        drop(index);
        let volume = self.run.catalog(|c| match c.find_block(&hash, size)? {
            Some(volume) => c.volume(volume),
            None => Ok(None),
        })?;
        Ok(volume.is_some_and(|row| is_stored(&row)))
    }

    /// Takes responsibility for a new block; false when it is known.
    fn claim(&self, hash: Hash, size: u64) -> Result<bool> {
        let mut index = self.lock_index();
        if index.fingerprints.is_none() {
            index.fingerprints = Some(self.run.catalog(|c| c.fingerprints())?);
        }
        let surely_new = match index.fingerprints.as_mut() {
            Some(fingerprints) => {
                let new = !fingerprints.contains(&hash, size);
                if new {
                    fingerprints.insert(&hash, size);
                }
                new
            }
            None => false,
        };
        if !surely_new {
            if index.is_pending(&hash, size) {
                return Ok(false);
            }
            if !index.damaged.remove(&(hash, size))
                && self.run.catalog(|c| c.find_block(&hash, size))?.is_some()
            {
                return Ok(false);
            }
        }
        index.claimed.insert((hash, size));
        Ok(true)
    }

    fn lock_index(&self) -> MutexGuard<'_, KnownBlocks> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_pool(&self) -> MutexGuard<'_, Pool<VolumeBuilder>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_volume(&self) -> Result<Filling<VolumeBuilder>> {
        let me = std::thread::current().id();
        let mut pool = self.lock_pool();
        loop {
            match pool.turn(me) {
                Turn::Fill(filling) => return Ok(filling),
                Turn::Open => {
                    drop(pool);
                    let volume = self.create_volume()?;
                    return Ok(Filling {
                        len: volume.estimated_len(),
                        thread: me,
                        volume,
                    });
                }
                Turn::Wait => {}
            }
            if self.failed.load(Ordering::SeqCst) {
                return Err(Error::Cancelled);
            }
            pool = self
                .returned
                .wait(pool)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fails the run when the thread that holds it panics, so that no other thread waits for it.
    pub(crate) fn alarm(&self) -> Alarm<'_, 'e> {
        Alarm(self)
    }

    /// Wakes everybody after a failure.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        // Taking the locks once makes sure that nobody is between looking at the flag and falling asleep.
        drop(self.lock_pool());
        self.returned.notify_all();
    }

    fn create_volume(&self) -> Result<VolumeBuilder> {
        let builder = VolumeBuilder::create(self.run, &self.new_volume, &self.budget)?;
        self.lock_index().pending.push(builder.blocks().clone());
        Ok(builder)
    }

    fn seal(&self, volume: VolumeBuilder) -> Result<()> {
        let sealed = volume.seal(self.run)?;
        let queue = self
            .sealed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match queue {
            Some(queue) => {
                self.unsent.fetch_add(1, Ordering::SeqCst);
                queue.send(sealed).map_err(|_| Error::Cancelled)
            }
            None => Err(Error::Bug(
                "a volume was sealed after the end of the run".into(),
            )),
        }
    }

    /// No more volumes will come: lets the uploads end.
    pub(crate) fn close(&self) {
        *self.sealed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Seals one of the volumes that nobody is filling; false when there is none.
    pub(crate) fn seal_one_left(&self) -> Result<bool> {
        let volume = self.lock_pool().take_left();
        match volume {
            Some(volume) => self.seal(volume).map(|()| true),
            None => Ok(false),
        }
    }

    /// A sealed volume is stored.
    pub(crate) fn note_sent(&self) {
        self.unsent.fetch_sub(1, Ordering::SeqCst);
    }

    /// True when every sealed volume is stored.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.unsent.load(Ordering::SeqCst) == 0
    }
}

/// See [`BlockStore::alarm`].
pub(crate) struct Alarm<'s, 'e>(&'s BlockStore<'e>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

impl UploadSteps for BlockStore<'_> {
    fn recorded(&self, blocks: &SharedBlocks) {
        self.lock_index().pending.retain(|other| !other.is(blocks));
    }
}
