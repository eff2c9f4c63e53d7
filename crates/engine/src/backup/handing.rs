//! The way of entries from the walk to the workers.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;
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

/// Hands entries to the workers, and knows whether they are done with them.
pub(super) struct Handing<'h> {
    out: Sender<Vec<Visited>>,
    batch: Vec<Visited>,
    handed: u64,
    /// Batches that the workers are done with.
    done: &'h AtomicU64,
}

impl<'h> Handing<'h> {
    pub(super) fn new(out: Sender<Vec<Visited>>, done: &'h AtomicU64) -> Self {
        Self {
            out,
            batch: Vec::with_capacity(BATCH),
            handed: 0,
            done,
        }
    }

    /// Hands one entry over, with others when there are enough.
    pub(super) fn hand(&mut self, entry: Visited) -> Result<()> {
        self.batch.push(entry);
        if self.batch.len() < BATCH {
            return Ok(());
        }
        self.flush()
    }

    /// Hands over what is left.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.handed += 1;
        // Nobody takes it any more: the run ended elsewhere.
        self.out.send(batch).map_err(|_| Error::Cancelled)
    }

    /// True when the workers are done with everything that was handed over.
    pub(super) fn is_all_done(&self) -> bool {
        self.done.load(Ordering::SeqCst) == self.handed
    }
}
