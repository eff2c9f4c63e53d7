//! The reading phase: one thread walks, all cores read, hash and pack, several uploads run beside them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use larder_catalog::{EntryCursor, EntryWriter, StoredEntry};
use larder_source::{FileKind, Root, SkipReason, Walk, WalkEntry, WalkItem, WalkOptions};
use larder_volume::{FileEntry, VolumeTime};

use super::counters::{Counters, bump};
use super::future::StoredMetadata;
use super::previous::{Previous, send_full};
use super::reader::{Shared, Worker};
use super::store::BlockStore;
use crate::notes::SOURCES_READ;
use crate::phases::Ready;
use crate::volumes::{AboutList, SealedVolume, StoredVolume, WrittenList};
use crate::words::counted;
use crate::{Error, Result};

/// One entry on its way from the walk to a worker.
pub(super) enum Visited {
    /// Present in the source; with the previous version's entry of the same path.
    Present(WalkEntry, Option<StoredEntry>),
    /// Not readable now: the previous version's entry stays.
    Carried(FileEntry),
}

/// Entries handed to a worker at a time.
pub(super) const BATCH: usize = 48;
/// Excludes named when they matched nothing.
const NAMED_RULES: usize = 5;
/// Result of the reading phase.
pub(super) struct Gathered {
    pub(super) list: WrittenList,
    pub(super) stored: Vec<StoredVolume>,
    /// None in a dry run.
    pub(super) entries: Option<EntryWriter>,
}

impl Ready<'_> {
    /// Walks, reads and uploads all data; the version list is built but not yet sent.
    pub(super) fn gather(
        &self,
        roots: &[Root],
        options: &WalkOptions,
        time: VolumeTime,
        counters: &Counters,
    ) -> Result<Gathered> {
        let threads = self.settings.threads;
        let (sealed_out, sealed_in) = bounded(1);
        let store = BlockStore::new(
            self,
            self.settings.compression,
            self.pack_method()?,
            time,
            sealed_out,
        )?;
        let previous = self.catalog(|c| c.previous())?;
        let shared = self.shared(&store, counters, options, previous)?;
        let entries_of = |_| self.catalog(|c| c.previous_entries());
        let cursor = previous.map(entries_of).transpose()?;
        // A dry run leaves the catalog as it is.
        let mut entries = match self.settings.dry_run {
            true => None,
            false => Some(self.catalog(|c| c.begin_entries())?),
        };
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let fail = |error: Error| {
            let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
            // A cancelled part is only the echo of what went wrong elsewhere.
            if first.is_none() || matches!(*first, Some(Error::Cancelled)) {
                *first = Some(error);
            }
            drop(first);
            store.fail();
        };
        let uploaded: Mutex<Vec<StoredVolume>> = Mutex::new(Vec::new());
        let active = AtomicUsize::new(threads);
        let gathered = std::thread::scope(|scope| {
            let (batches_out, batches_in) = bounded::<Vec<Visited>>(threads * 4);
            let (results_out, results_in) = bounded::<Vec<StoredEntry>>(threads * 8);
            let walker = {
                let (store, fail) = (&store, &fail);
                scope.spawn(move || {
                    let _alarm = store.alarm();
                    let walk = Walk::with_roots(roots.to_vec(), options.clone());
                    if let Err(error) = self.walk(walk, cursor, counters, &batches_out, store) {
                        fail(error);
                    }
                })
            };
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let (batches, results) = (batches_in.clone(), results_out.clone());
                    let (shared, active, fail) = (&shared, &active, &fail);
                    scope.spawn(move || {
                        let _alarm = shared.store.alarm();
                        if let Err(error) = work(shared, &batches, &results, active) {
                            fail(error);
                        }
                    })
                })
                .collect();
            drop((batches_in, results_out));
            let uploaders: Vec<_> = (0..self.settings.uploads)
                .map(|_| {
                    let sealed_in = sealed_in.clone();
                    let (store, uploaded, fail) = (&store, &uploaded, &fail);
                    scope.spawn(move || self.upload_pairs(store, &sealed_in, uploaded, fail))
                })
                .collect();
            drop(sealed_in);
            // Told before the workers find nobody to take their results, which alone would look like a stop.
            let list = self
                .own_control_files()
                .and_then(|extras| {
                    let about = AboutList {
                        created: time,
                        is_full: true,
                        extras,
                    };
                    self.write_list(&about, results_in.iter().map(Ok), entries.as_mut())
                })
                .map_err(&fail)
                .ok();
            drop(results_in);
            join([walker], "the walk", &fail);
            join(workers, "a worker thread", &fail);
            store.close();
            join(uploaders, "an upload thread", &fail);
            list
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let Some(list) = gathered.filter(|_| !store.failed.load(Ordering::SeqCst)) else {
            return Err(Error::Bug("a run failed without a reason".into()));
        };
        self.reporter.verbose(
            "NewBlocks",
            format!(
                "{} new blocks with {} bytes",
                store.new_blocks.load(Ordering::Relaxed),
                store.new_bytes.load(Ordering::Relaxed)
            ),
        );
        Ok(Gathered {
            list,
            stored: uploaded
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            entries,
        })
    }

    /// What all workers look at.
    fn shared<'a>(
        &'a self,
        store: &'a BlockStore<'a>,
        counters: &'a Counters,
        options: &WalkOptions,
        previous: Option<i64>,
    ) -> Result<Shared<'a>> {
        let (jobs, waiting) = bounded(self.settings.threads * 2);
        let filesets = self.catalog(|c| c.filesets())?;
        let previous = filesets.iter().find(|f| Some(f.id) == previous);
        let last_read = self.catalog(|c| c.param(SOURCES_READ))?;
        let last_read = last_read.and_then(|seconds| seconds.parse().ok());
        Ok(Shared {
            run: self,
            store,
            counters,
            stored_metadata: StoredMetadata::new(self),
            jobs,
            waiting,
            presence: self.presence()?,
            last_read: last_read.or(previous.map(|fileset| fileset.time)),
            follow_links: options.symlinks == larder_source::SymlinkPolicy::Follow,
        })
    }

    /// Sends sealed volumes until there are no more.
    fn upload_pairs(
        &self,
        store: &BlockStore<'_>,
        sealed: &Receiver<SealedVolume>,
        uploaded: &Mutex<Vec<StoredVolume>>,
        fail: &impl Fn(Error),
    ) {
        let _alarm = store.alarm();
        while let Ok(volume) = sealed.recv() {
            if store.failed.load(Ordering::SeqCst) {
                continue;
            }
            match self.upload_pair(volume, store) {
                Ok(pair) => uploaded
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(pair),
                Err(error) => fail(error),
            }
        }
    }

    /// Says once, at the end of a walk, what a user may have expected otherwise.
    fn tell_left_out(&self, walk: &Walk, counters: &Counters) {
        let special = counters.skipped.load(Ordering::Relaxed);
        if special > 0 {
            let what = counted(special, "special file");
            self.reporter.info(
                "SpecialFilesLeftOut",
                format!("{what} left out: FIFOs, sockets and devices hold nothing to back up"),
            );
        }
        let idle = walk.idle_excludes();
        if !idle.is_empty() {
            let more = if idle.len() > NAMED_RULES {
                ", …"
            } else {
                ""
            };
            let named: Vec<&str> = idle.iter().copied().take(NAMED_RULES).collect();
            self.reporter.info(
                "ExcludesWithoutMatch",
                format!(
                    "{} left nothing out: {}{more}",
                    counted(idle.len() as u64, "exclude"),
                    named.join(", ")
                ),
            );
        }
    }

    /// Walks the source beside the previous version's entries, both in path order.
    fn walk(
        &self,
        mut walk: Walk,
        cursor: Option<EntryCursor>,
        counters: &Counters,
        batches: &Sender<Vec<Visited>>,
        store: &BlockStore<'_>,
    ) -> Result<()> {
        let mut previous = Previous::new(cursor)?;
        let mut batch = Vec::with_capacity(BATCH);
        let progress = &self.reporter.progress;
        let mut own_told = false;
        for item in walk.by_ref() {
            self.cancel.check()?;
            if store.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            match item {
                WalkItem::Entry(entry) => {
                    previous.pass_until(&entry.path, counters, &mut batch, batches)?;
                    let old = previous.take(&entry.path)?;
                    if entry.facts.kind == FileKind::File {
                        bump(&progress.files_found, 1);
                        bump(&progress.bytes_found, entry.facts.size);
                    }
                    batch.push(Visited::Present(entry, old));
                }
                WalkItem::Skipped { path, why } => {
                    match why {
                        SkipReason::TooLarge => bump(&counters.too_large, 1),
                        SkipReason::Special(_) => bump(&counters.skipped, 1),
                        SkipReason::Own if !std::mem::replace(&mut own_told, true) => {
                            self.reporter.info(
                                "OwnFilesLeftOut",
                                "local catalogs or volumes of this backup lie in the source and are left out",
                            );
                        }
                        _ => {}
                    }
                    self.reporter
                        .path(false, "PathSkipped", &format!("left out, {why}:"), &path);
                }
                WalkItem::Vanished { path } => {
                    let path = String::from_utf8_lossy(&path);
                    self.reporter
                        .warn("PathProcessingErrorNotFound", format!("{path} vanished"));
                }
                WalkItem::FilterGaveUp { path, filter } => {
                    let path = String::from_utf8_lossy(&path);
                    self.reporter.warn(
                        "FilterGaveUp",
                        format!(
                            "{path}: the filter {filter} took too many steps and was passed over"
                        ),
                    );
                }
                WalkItem::Problem { path, error } => {
                    bump(&counters.with_error, 1);
                    let kept = match previous.is_version() {
                        true => "; what the previous version has of it is kept",
                        false => "",
                    };
                    self.reporter.warn(
                        "PathProcessingError",
                        format!("{}: {error}{kept}", String::from_utf8_lossy(&path)),
                    );
                    previous.pass_until(&path, counters, &mut batch, batches)?;
                    previous.keep_below(path);
                }
            }
            send_full(&mut batch, batches)?;
        }
        self.tell_left_out(&walk, counters);
        previous.pass_rest(counters, &mut batch, batches)?;
        progress.counted.store(true, Ordering::SeqCst);
        let _ = batches.send(batch);
        Ok(())
    }
}

/// Counts one worker as active until it says otherwise or ends, in whatever way.
struct Active<'a>(Option<&'a AtomicUsize>);

impl Active<'_> {
    fn end(&mut self) {
        if let Some(count) = self.0.take() {
            count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits for threads; one that panicked fails the run.
fn join<'scope>(
    threads: impl IntoIterator<Item = ScopedJoinHandle<'scope, ()>>,
    what: &str,
    fail: &impl Fn(Error),
) {
    for thread in threads {
        if thread.join().is_err() {
            fail(Error::Bug(format!("{what} panicked")));
        }
    }
}

/// One worker: blocks of large files first, then entries; at the end the volumes that are left.
fn work(
    shared: &Shared<'_>,
    batches: &Receiver<Vec<Visited>>,
    results: &Sender<Vec<StoredEntry>>,
    active: &AtomicUsize,
) -> Result<()> {
    let outcome = work_until_done(shared, batches, results, active);
    if outcome.is_err() {
        shared.store.fail();
        // Let the walker end: its queue must not stay full.
        while batches.recv().is_ok() {}
    }
    outcome
}

fn work_until_done(
    shared: &Shared<'_>,
    batches: &Receiver<Vec<Visited>>,
    results: &Sender<Vec<StoredEntry>>,
    active: &AtomicUsize,
) -> Result<()> {
    let mut own = Active(Some(active));
    let mut worker = Worker::new(shared);
    let progress = &shared.run.reporter.progress;
    loop {
        if let Ok(job) = shared.waiting.try_recv() {
            worker.run_job(job);
            continue;
        }
        crossbeam_channel::select! {
            recv(shared.waiting) -> job => if let Ok(job) = job { worker.run_job(job) },
            recv(batches) -> batch => {
                let Ok(batch) = batch else { break };
                let mut done = Vec::with_capacity(batch.len());
                for item in batch {
                    if shared.store.failed.load(Ordering::Relaxed) {
                        return Err(Error::Cancelled);
                    }
                    shared.run.cancel.check()?;
                    match item {
                        Visited::Carried(entry) => done.extend(worker.carry(entry)?),
                        Visited::Present(entry, old) => {
                            done.extend(worker.process(&entry, old)?);
                            if entry.facts.kind == FileKind::File {
                                bump(&progress.files_done, 1);
                            }
                        }
                    }
                }
                if results.send(done).is_err() {
                    return Err(Error::Cancelled);
                }
            }
        }
    }
    own.end();
    while active.load(Ordering::SeqCst) > 0 {
        if let Ok(job) = shared
            .waiting
            .recv_timeout(std::time::Duration::from_millis(2))
        {
            worker.run_job(job);
        }
    }
    while shared.store.seal_one_left()? {}
    Ok(())
}
