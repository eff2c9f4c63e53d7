//! Cutting a file into blocks and having them hashed, packed and stored, by several threads when there are many.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::TrySendError;
use larder_volume::{Hash, Hint};

use super::super::counters::bump;
use super::super::cut::Cutter;
use super::{Trouble, Worker, block_hash};
use crate::Error;

/// A block of a large file, for whichever worker is free.
pub(crate) struct BlockJob {
    data: Vec<u8>,
    /// When the reader had it already.
    hash: Option<Hash>,
    hint: Hint,
    index: usize,
    file: Arc<FileBlocks>,
}

/// Block hashes of a large file as they come in.
struct FileBlocks {
    hashes: Mutex<Vec<Option<Hash>>>,
    open: AtomicUsize,
    failure: Mutex<Option<Error>>,
}

impl Worker<'_, '_> {
    /// Reads the whole file: its length, full hash and block hashes in order.
    pub(super) fn read_blocks(
        &mut self,
        file: &mut File,
        expected: u64,
        hint: Hint,
    ) -> std::result::Result<(u64, Hash, Vec<Hash>), Trouble> {
        let shared = self.shared;
        let format = shared.store.format;
        let blocksize = usize::try_from(format.blocksize).unwrap_or(usize::MAX);
        let mut first = self.buffer(
            blocksize.min(
                usize::try_from(expected)
                    .unwrap_or(blocksize)
                    .saturating_add(1),
            ),
        );
        let mut cutter = Cutter::new(blocksize);
        cutter.next(file, &mut first)?;
        if first.len() < blocksize || expected <= format.blocksize {
            // One block, unless the file is growing at this moment.
            let mut second = self.buffer(1);
            if first.len() == blocksize {
                cutter.next(file, &mut second)?;
            }
            if second.is_empty() {
                let hash = format.file_hash.digest(&first);
                let size = first.len() as u64;
                bump(&shared.counters.opened_bytes, size);
                bump(&shared.run.reporter.progress.bytes_done, size);
                if first.is_empty() {
                    self.spare.push_back(first);
                    return Ok((0, hash, Vec::new()));
                }
                let block = block_hash(format.block_hash, format.file_hash, hash, &first);
                shared
                    .store
                    .add(&mut self.packer, &first, block, hint, false)?;
                self.spare.push_back(first);
                self.spare.push_back(second);
                return Ok((size, hash, vec![block]));
            }
            return self.read_many(file, vec![first, second], cutter, hint);
        }
        self.read_many(file, vec![first], cutter, hint)
    }

    fn read_many(
        &mut self,
        file: &mut File,
        begun: Vec<Vec<u8>>,
        mut cutter: Cutter,
        hint: Hint,
    ) -> std::result::Result<(u64, Hash, Vec<Hash>), Trouble> {
        let shared = self.shared;
        let mut hasher = shared.store.format.file_hash.hasher();
        let blocks = Arc::new(FileBlocks {
            hashes: Mutex::new(Vec::new()),
            open: AtomicUsize::new(0),
            failure: Mutex::new(None),
        });
        let (mut size, mut index) = (0_u64, 0_usize);
        let mut begun = VecDeque::from(begun);
        let mut failed = None;
        loop {
            let data = match begun.pop_front() {
                Some(data) => data,
                None => {
                    let mut buffer = self.buffer(cutter.blocksize());
                    if let Err(error) = cutter.next(file, &mut buffer) {
                        failed = Some(Trouble::Entry(error));
                        break;
                    }
                    buffer
                }
            };
            if data.is_empty() {
                self.spare.push_back(data);
                break;
            }
            if let Err(error) = shared.run.cancel.check() {
                failed = Some(Trouble::Run(error));
                break;
            }
            if shared.store.failed.load(Ordering::Relaxed) {
                failed = Some(Trouble::Run(Error::Cancelled));
                break;
            }
            // Hashing the block together with the file takes less of the processor than doing so later, but more of
            // the reader, who should not let the others wait.
            let hash = if shared.jobs.is_empty() && shared.run.settings.threads > 1 {
                hasher.update(&data);
                None
            } else {
                let algorithm = shared.store.format.block_hash;
                Some(algorithm.digest_in_step(&data, &mut hasher))
            };
            size += data.len() as u64;
            bump(&shared.counters.opened_bytes, data.len() as u64);
            bump(&shared.run.reporter.progress.bytes_done, data.len() as u64);
            blocks.open.fetch_add(1, Ordering::SeqCst);
            let job = BlockJob {
                data,
                hash,
                hint,
                index,
                file: blocks.clone(),
            };
            index += 1;
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
                shared.jobs.try_send(job)
            {
                self.run_job(job);
            }
        }
        while blocks.open.load(Ordering::SeqCst) > 0 {
            // Others may hold this file's last blocks; meanwhile, help.
            match shared
                .waiting
                .recv_timeout(std::time::Duration::from_millis(1))
            {
                Ok(job) => self.run_job(job),
                Err(_) => std::hint::spin_loop(),
            }
        }
        if let Some(error) = blocks
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            return Err(error.into());
        }
        if let Some(trouble) = failed {
            return Err(trouble);
        }
        let hashes: Option<Vec<Hash>> = blocks
            .hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect();
        let hashes = hashes.ok_or_else(|| Error::Bug("a block of a file was not hashed".into()))?;
        Ok((size, hasher.finish(), hashes))
    }

    /// Hashes, packs and stores one block of somebody's large file.
    pub(crate) fn run_job(&mut self, job: BlockJob) {
        let file = job.file.clone();
        let _done = JobDone(&file);
        let algorithm = self.shared.store.format.block_hash;
        let hash = job.hash.unwrap_or_else(|| algorithm.digest(&job.data));
        let outcome = self
            .shared
            .store
            .add(&mut self.packer, &job.data, hash, job.hint, false);
        {
            let mut hashes = job
                .file
                .hashes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if hashes.len() <= job.index {
                hashes.resize(job.index + 1, None);
            }
            if let Some(place) = hashes.get_mut(job.index) {
                *place = Some(hash);
            }
        }
        if let Err(error) = outcome {
            job.file
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
        }
        self.spare.push_back(job.data);
        self.spare.truncate(SPARE_BUFFERS);
    }

    fn buffer(&mut self, capacity: usize) -> Vec<u8> {
        match self.spare.pop_front() {
            Some(mut buffer) => {
                buffer.clear();
                buffer
            }
            None => Vec::with_capacity(capacity),
        }
    }
}

/// Counts a block as done, even when its thread panics: the reader of the file waits for all of them.
struct JobDone<'f>(&'f FileBlocks);

impl Drop for JobDone<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(Error::Bug("a worker thread panicked".into()));
        }
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Buffers a worker keeps for reuse.
const SPARE_BUFFERS: usize = 8;
