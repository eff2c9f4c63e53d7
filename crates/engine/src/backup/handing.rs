//! The way of entries from the walk to the workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use larder_catalog::StoredEntry;
use larder_source::WalkEntry;
use larder_volume::FileEntry;

use crate::{Error, Result};

/// One entry on its way from the walk to a worker.
pub(super) enum Visited {
    /// Present in the source; with the previous version's entry of the same path.
    Present(WalkEntry, Option<StoredEntry>),
    /// Not readable now: the previous version's entry stays.
    Carried(FileEntry),
}

/// Entries handed to a worker at a time.
const BATCH: usize = 48;
/// Fewer when their files have so many bytes, so that the workers share large ones.
const BATCH_BYTES: u64 = 32 << 20;
/// How long to wait for room before looking whether anything else is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Hands entries to the workers, and knows whether they are done with them.
pub(super) struct Handing<'h> {
    out: Sender<Vec<Visited>>,
    batch: Vec<Visited>,
    handed: u64,
    /// Batches that the workers are done with.
    done: &'h AtomicU64,
    /// Bytes of the files in the batch.
    bytes: u64,
    /// Looked at while the workers have no room for more: they make room when it is time for a partial version.
    look: Box<dyn Fn() + Send + 'h>,
}

impl<'h> Handing<'h> {
    pub(super) fn new(
        out: Sender<Vec<Visited>>,
        done: &'h AtomicU64,
        look: impl Fn() + Send + 'h,
    ) -> Self {
        Self {
            out,
            batch: Vec::with_capacity(BATCH),
            handed: 0,
            done,
            bytes: 0,
            look: Box::new(look),
        }
    }

    /// Hands one entry over, with others when there are enough.
    pub(super) fn hand(&mut self, entry: Visited) -> Result<()> {
        if let Visited::Present(entry, _) = &entry {
            self.bytes += entry.facts.size;
        }
        self.batch.push(entry);
        if self.batch.len() < BATCH && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Hands over what is left.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.bytes = 0;
        self.handed += 1;
        loop {
            batch = match self.out.send_timeout(batch, LOOK_EVERY) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(batch)) => batch,
                // Nobody takes it any more: the run ended elsewhere.
                Err(SendTimeoutError::Disconnected(_)) => return Err(Error::Cancelled),
            };
            (self.look)();
        }
    }

    /// True when the workers are done with everything that was handed over.
    pub(super) fn is_all_done(&self) -> bool {
        self.done.load(Ordering::SeqCst) == self.handed
    }
}
