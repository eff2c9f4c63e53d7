//! The reading phase: one thread walks, all cores read, hash and pack, several uploads run beside them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use larder_catalog::EntryWriter;
use larder_source::{FileKind, Walk, WalkOptions};
use larder_volume::VolumeTime;

use super::checkpoints::{Checkpoints, Due, Sent, Step, Times};
use super::counters::{Counters, bump};
use super::future::StoredMetadata;
use super::guard::Guard;
use super::guarding::Asked;
use super::handing::{Handing, Visited};
use super::reader::{Shared, Worker};
use super::store::BlockStore;
use super::walking::Walking;
use crate::phases::Ready;
use crate::volumes::{AboutList, SealedVolume, StoredVolume, WrittenList};
use crate::{Error, Result};

/// Result of the reading phase.
pub(super) struct Gathered {
    pub(super) list: WrittenList,
    pub(super) stored: Vec<StoredVolume>,
    /// None in a dry run.
    pub(super) entries: Option<EntryWriter>,
    /// The time of the version.
    pub(super) time: VolumeTime,
}

impl Ready<'_> {
    /// Walks, reads and uploads all data; the version list is built but not yet sent. `checkpoint` is the partial version
    /// that there is in the end, however it ends.
    pub(super) fn gather(
        &self,
        asked: &Asked<'_>,
        guard: &Guard,
        time: VolumeTime,
        counters: &Counters,
        sent: &mut Sent,
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
        let previous = self.compared_version()?;
        let shared = self.shared(&store, (counters, guard), asked.options, previous)?;
        let cursor = shared.previous_entries()?;
        let _heeding = match self.settings.dry_run || !self.may_be_partial()? {
            true => None,
            false => Some(self.cancel.heed()),
        };
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
        let (active, done) = (AtomicUsize::new(threads), AtomicU64::new(0));
        let gathered = std::thread::scope(|scope| {
            let (batches_out, batches_in) = bounded::<Vec<Visited>>(threads * 4);
            let (steps_out, steps_in) = bounded::<Step>(threads * 8);
            let walker = {
                let (store, shared, fail) = (&store, &shared, &fail);
                let (steps, done) = (steps_out.clone(), &done);
                scope.spawn(move || {
                    let _alarm = store.alarm();
                    let roots = asked.roots.iter().filter(|root| !guard.keeps(&root.stored));
                    let walk = Walk::with_roots(roots.cloned().collect(), asked.options.clone());
                    let look = || {
                        shared.due.pause_if_due(self);
                    };
                    let handing = Handing::new(batches_out, done, look);
                    let walking = Walking::begin(shared, cursor, handing, steps);
                    if let Err(error) = walking.and_then(|walking| walking.walk(walk)) {
                        fail(error);
                    }
                })
            };
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let (batches, steps) = (batches_in.clone(), steps_out.clone());
                    let (shared, active, done, fail) = (&shared, &active, &done, &fail);
                    scope.spawn(move || {
                        let _alarm = shared.store.alarm();
                        if let Err(error) = work(shared, &batches, (&steps, done), active) {
                            fail(error);
                        }
                    })
                })
                .collect();
            drop((batches_in, steps_out));
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
                .list_of(&shared, steps_in, time, entries.as_mut(), sent)
                .map_err(&fail)
                .ok();
            join([walker], "the walk", &fail);
            join(workers, "a worker thread", &fail);
            store.close();
            join(uploaders, "an upload thread", &fail);
            list
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let Some((list, time)) = gathered.filter(|_| !store.failed.load(Ordering::SeqCst)) else {
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
            time,
        })
    }

    /// Writes the version list as the workers end with entries, and partial ones on the way. Gives the time of the version.
    fn list_of(
        &self,
        shared: &Shared<'_>,
        steps: Receiver<Step>,
        time: VolumeTime,
        entries: Option<&mut EntryWriter>,
        sent: &mut Sent,
    ) -> Result<(WrittenList, VolumeTime)> {
        let extras = self.own_control_files()?;
        let about = AboutList {
            created: time,
            is_full: true,
            extras: extras.clone(),
        };
        let newest = self.view.lists().into_iter().map(|(time, _)| time.0);
        let mut source = Checkpoints {
            shared,
            steps,
            extras,
            times: Times::new(
                time,
                newest.filter(|listed| *listed < time.0).max().unwrap_or(0),
            ),
            sent,
            given_up: false,
        };
        let list = self.write_list(&about, &mut source, entries)?;
        Ok((list, source.times.of_whole()))
    }

    /// What all workers look at.
    fn shared<'a>(
        &'a self,
        store: &'a BlockStore<'a>,
        (counters, guard): (&'a Counters, &'a Guard),
        options: &WalkOptions,
        previous: Option<i64>,
    ) -> Result<Shared<'a>> {
        let (jobs, waiting) = bounded(self.settings.threads * 2);
        Ok(Shared {
            run: self,
            store,
            counters,
            guard,
            stored_metadata: StoredMetadata::new(self),
            jobs,
            waiting,
            presence: self.presence()?,
            left_out: AtomicBool::new(false),
            due: Due::new(self)?,
            handed_back: Mutex::default(),
            previous,
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
                Ok(pair) => {
                    let mut uploaded = uploaded.lock().unwrap_or_else(PoisonError::into_inner);
                    uploaded.extend(pair);
                    store.note_sent();
                }
                Err(error) => fail(error),
            }
        }
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
    out: (&Sender<Step>, &AtomicU64),
    active: &AtomicUsize,
) -> Result<()> {
    let outcome = work_until_done(shared, batches, out, active);
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
    (steps, done): (&Sender<Step>, &AtomicU64),
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
                let mut entries = Vec::with_capacity(batch.len());
                for item in batch {
                    if shared.store.failed.load(Ordering::Relaxed) {
                        return Err(Error::Cancelled);
                    }
                    shared.run.cancel.check()?;
                    match item {
                        Visited::Carried(entry) => entries.extend(worker.carry(entry)?),
                        Visited::Present(entry, old) if shared.begins_nothing() => {
                            shared.hand_back(entry, old);
                        }
                        Visited::Present(entry, old) => {
                            entries.extend(worker.process(&entry, old)?);
                            shared.due.note_done();
                            if entry.facts.kind == FileKind::File {
                                bump(&progress.files_done, 1);
                            }
                        }
                    }
                }
                if steps.send(Step::Entries(entries)).is_err() {
                    return Err(Error::Cancelled);
                }
                done.fetch_add(1, Ordering::SeqCst);
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
