//! Making a new version: the order of work that leaves a restorable backup whenever the run ends.
//!
//! Walk → compare with the previous version → read, hash, pack → volumes → upload (data, then index) → version list
//! last. The walk, the workers and the uploads are threads joined by bounded queues; nothing grows with the number
//! of files but the list itself, which is written as it comes.

mod closing;
mod cut;
mod dated;
mod previous;
mod reader;
mod store;
mod upload;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use larder_catalog::{Counts, EntryCursor, EntryWriter, StoredEntry, VolumeState};
use larder_source::{FileKind, Root, Walk, WalkEntry, WalkItem, WalkOptions};
use larder_volume::{
    ArchiveWriter, BlockVolume, Compression, FileEntry, FileListWriter, PackMethod, Packer,
    VolumeKind, VolumeName, VolumeTime, encode_fileset,
};

use self::dated::StoredMetadata;
use self::previous::{Previous, send_full};
use self::reader::{Counters, Shared, Worker, bump};
use self::store::BlockStore;
pub(crate) use self::upload::Stored;
use crate::context::{Level, Phase};
use crate::crypt::IN_MEMORY_BYTES;
use crate::data::{Sink, VolumeData};
use crate::error::VolumeContext;
use crate::report::BackupReport;
use crate::session::Engine;
use crate::settings::IndexPolicy;
use crate::sync::{Mode, Need, View, count};
use crate::{Error, Result};

/// What to back up.
#[derive(Debug)]
pub struct BackupRequest {
    /// Source folders and files, absolute, sorted, none inside another (see `larder_source::prepare_sources`).
    pub sources: Vec<std::path::PathBuf>,
    /// Filters, limits and policies of the walk.
    pub options: WalkOptions,
}

/// One entry on its way from the walk to a worker.
enum Item {
    /// Present in the source; with the previous version's entry of the same path.
    Present(WalkEntry, Option<FileEntry>),
    /// Not readable now: the previous version's entry stays.
    Carried(FileEntry),
}

/// Entries handed to a worker at a time.
const BATCH: usize = 48;
/// Longest wait for a clock that runs a little behind the newest version.
const CLOCK_TOLERANCE_SECONDS: i64 = 5;

/// Result of the reading phase.
struct Gathered {
    list: VolumeData,
    list_hash: larder_volume::Hash,
    stored: Vec<Stored>,
    counts: Counts,
    entries: EntryWriter,
}

impl Engine {
    /// Makes a new version.
    ///
    /// # Errors
    /// When the destination cannot be used, no version could be written, or the user stopped the run before anything
    /// was stored. Files that cannot be read are warnings in the report.
    pub fn backup(&self, request: &BackupRequest) -> Result<BackupReport> {
        let roots: Vec<Root> = request.sources.iter().cloned().map(Root::from).collect();
        self.backup_roots(&roots, &request.options)
    }

    /// Makes a new version of roots that are stored under other names than they are read from, as in a snapshot.
    ///
    /// # Errors
    /// As [`Engine::backup`].
    pub fn backup_roots(&self, roots: &[Root], options: &WalkOptions) -> Result<BackupReport> {
        self.with_healing(|| self.backup_once(roots, options))
    }

    fn backup_once(&self, roots: &[Root], options: &WalkOptions) -> Result<BackupReport> {
        if roots.is_empty() {
            return Err(Error::user(
                "NoSources",
                "none of the source folders exists, so the backup would be empty",
                "check the source paths",
            ));
        }
        if self.crypt.kind().is_some() && self.crypt.passphrase.is_none() {
            return Err(Error::user(
                "PassphraseMissing",
                "an encrypted backup needs a passphrase",
                "give --passphrase=… or set the environment variable PASSPHRASE (or say --no-encryption for a plain backup)",
            ));
        }
        let mut view = self.synchronise(Mode::Writing, Need::BlocksAndEntries)?;
        self.check_encryption_kept(&view)?;
        self.report_vanished(&view)?;
        let time = self.version_time(&view)?;
        if !self.settings.dry_run {
            self.complete_indexes()?;
        }
        let counters = Counters::default();
        self.reporter.phase(Phase::Backup);
        let gathered = match self.gather(roots, options, time, &counters) {
            Err(Error::Cancelled) => return Ok(self.stopped(&counters)),
            other => other?,
        };
        self.report_stored_again(&view, &counters);
        let changed = [&counters.added, &counters.modified, &counters.deleted]
            .iter()
            .flat_map(|group| group.iter())
            .any(|counter| counter.load(Ordering::Relaxed) > 0);
        let newest = self.catalog(|c| c.filesets())?.into_iter().next();
        let previous_was_partial = newest.as_ref().is_some_and(|newest| !newest.is_full);
        // A newest list that cannot be read is no version to rest on.
        let newest_is_unread = view
            .lists()
            .first()
            .is_some_and(|(time, _)| newest.is_none_or(|newest| newest.time != time.0));
        let write = (changed
            || self.settings.upload_unchanged
            || previous_was_partial
            || newest_is_unread
            || view.lists().is_empty())
            && !self.settings.dry_run;
        let mut stored = gathered.stored;
        let mut version = None;
        if write {
            self.reporter.phase(Phase::Uploading);
            let (list, hash) = (gathered.list, gathered.list_hash);
            let name = match self.upload_list(time, list, hash, gathered.counts, &mut stored) {
                Err(Error::Cancelled) => return Ok(self.stopped(&counters)),
                other => other?,
            };
            version = name.time();
            self.remember_format()?;
            self.catalog(|c| c.set_param(ZIP_METHOD, method_key(self.pack_method_now(c)?)))?;
            self.remember_passphrase()?;
            self.take_over_entries(&name, gathered.entries)?;
        } else if self.settings.dry_run {
            self.reporter
                .say(Level::DryRun, "DryRun", "a dry run: nothing was stored");
        }
        if self.settings.dry_run {
            return Ok(self.backup_report(&counters, None, None, false));
        }
        // Blocks of what could not be read now were not looked up either.
        if counters.with_error.load(Ordering::Relaxed) == 0 {
            self.blocks_are_complete()?;
        }
        view.lost.clear();
        let test = self.after_backup(&stored, write, view)?;
        Ok(self.backup_report(&counters, version, test, false))
    }

    /// Newly written volumes must not drop the protection that the stored ones have.
    fn check_encryption_kept(&self, view: &View) -> Result<()> {
        let encrypted = view.volumes.values().any(|v| v.name.encryption().is_some());
        let plain = view.volumes.values().any(|v| v.name.encryption().is_none());
        match self.crypt.kind() {
            None if encrypted && !plain => Err(Error::user(
                "EncryptionChanged",
                "this backup is encrypted and would get unencrypted volumes",
                "leave --no-encryption out and give the passphrase, or start a new backup in another folder",
            )),
            Some(_) if plain && !encrypted => Err(Error::user(
                "EncryptionChanged",
                "this backup is not encrypted; encrypted volumes beside plain ones would protect nothing",
                "say --no-encryption, or start a new backup in another folder",
            )),
            _ => Ok(()),
        }
    }

    /// Tells what is gone from the destination and why the run goes on.
    fn report_vanished(&self, view: &View) -> Result<()> {
        let suspect = self.blocks_may_be_missing()?;
        for (name, kind) in &view.vanished {
            match kind {
                VolumeKind::Index => {
                    self.reporter.info(
                        "MissingIndex",
                        format!("{name} is gone; it is written anew when needed"),
                    );
                }
                VolumeKind::List => {
                    self.reporter.info(
                        "MissingList",
                        format!("the version list {name} is gone, and its version with it"),
                    );
                }
                VolumeKind::Blocks => {
                    self.reporter
                        .verbose("MissingDataFile", format!("the data file {name} is gone"));
                }
            }
        }
        if suspect {
            self.reporter.info(
                "CheckingBlocks",
                "data files changed outside this program; every block of the newest version is looked up and stored again where it is missing",
            );
        }
        Ok(())
    }

    /// Tells that stored blocks were lost which the source could give once more.
    fn report_stored_again(&self, view: &View, counters: &Counters) {
        let entries = counters.without_blocks.load(Ordering::Relaxed);
        if entries == 0 {
            return;
        }
        let gone = view
            .vanished
            .iter()
            .filter(|(_, kind)| *kind == VolumeKind::Blocks);
        let mut names: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let more = if names.len() > NAMED_VOLUMES {
            ", …"
        } else {
            ""
        };
        names.truncate(NAMED_VOLUMES);
        let names = if names.is_empty() {
            String::new()
        } else {
            format!(" (gone: {}{more})", names.join(", "))
        };
        self.reporter.warn(
            "MissingDataFile",
            format!(
                "{entries} unchanged entries had blocks that are in no data file any more{names}; they are stored again, but older versions may have lost files: run `larder test … all`"
            ),
        );
    }

    /// The new version's time: now, but later than every version that exists.
    fn version_time(&self, view: &View) -> Result<VolumeTime> {
        let mut now = self.clock.seconds();
        let Some((newest, volume)) = view.lists().into_iter().next() else {
            return Ok(VolumeTime(now));
        };
        let ahead = newest.0 - now;
        if ahead > CLOCK_TOLERANCE_SECONDS {
            return Err(Error::user(
                "ClockSetBack",
                format!(
                    "the newest version {} lies {ahead} seconds in the future: this machine's clock is wrong",
                    volume.name.as_str()
                ),
                "set the clock",
            ));
        }
        while now <= newest.0 {
            self.cancel.check()?;
            self.clock.pause(std::time::Duration::from_millis(20));
            now = self.clock.seconds();
        }
        Ok(VolumeTime(now))
    }

    /// The method of new zip entries: asked for, or that of the newest volume, or Zstandard for a new destination.
    pub(crate) fn pack_method(&self) -> Result<PackMethod> {
        self.catalog(|c| self.pack_method_now(c))
    }

    fn pack_method_now(
        &self,
        catalog: &larder_catalog::Catalog,
    ) -> larder_catalog::Result<PackMethod> {
        if let Some(method) = self.settings.zip_method {
            return Ok(method);
        }
        Ok(match catalog.param(ZIP_METHOD)?.as_deref() {
            Some("deflate") => PackMethod::Deflate {
                level: self.settings.zip_level,
            },
            Some("stored") => PackMethod::Stored,
            _ => self.settings.default_method,
        })
    }

    /// Writes the dindex of every data volume that has none.
    pub(crate) fn complete_indexes(&self) -> Result<u64> {
        if self.settings.index_policy == IndexPolicy::None {
            return Ok(0);
        }
        let mut written = 0;
        for row in self.catalog(|c| c.volumes_without_index())? {
            let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive) else {
                continue;
            };
            let blocks = self.catalog(|c| c.blocks_of_volume(row.id))?;
            if blocks.is_empty() {
                continue;
            }
            let hash = match row.hash {
                Some(hash) => hash,
                None => self
                    .remote
                    .get(&row.name, row.size)?
                    .hash(self.format()?.file_hash)?,
            };
            let blocklists = self.catalog(|c| c.blocklists_of_volume(row.id))?;
            let described = BlockVolume {
                name: row.name,
                blocks,
                hash: Some(hash),
                size: row.size,
            };
            let compression = name.compression().unwrap_or(Compression::Zip);
            self.upload_index(row.id, &described, &blocklists, compression)?;
            written += 1;
        }
        if written > 0 {
            self.reporter.info(
                "IndexesWritten",
                format!("{written} missing index files were written"),
            );
        }
        Ok(written)
    }

    /// Walks, reads and uploads all data; the version list is built but not yet sent.
    fn gather(
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
        let (jobs, waiting) = bounded(threads * 2);
        let previous = self.catalog(|c| c.previous())?;
        let previous_begun = self
            .catalog(|c| c.filesets())?
            .into_iter()
            .find(|fileset| Some(fileset.id) == previous)
            .map(|fileset| fileset.time);
        let shared = Shared {
            engine: self,
            store: &store,
            counters,
            dated: StoredMetadata::new(self),
            jobs,
            waiting,
            lost: self.blocks_may_be_missing()?,
            unseen: self.blocks_are_unseen()?,
            previous_begun,
            follow_links: options.symlinks == larder_source::SymlinkPolicy::Follow,
        };
        let cursor = match previous {
            Some(_) => Some(self.catalog(|c| c.previous_entries())?),
            None => None,
        };
        let mut entries = self.catalog(|c| c.begin_entries())?;
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
        let uploaded: Mutex<Vec<Stored>> = Mutex::new(Vec::new());
        let active = AtomicUsize::new(threads);
        let gathered = std::thread::scope(|scope| {
            let (batches_out, batches_in) = bounded::<Vec<Item>>(threads * 4);
            let (results_out, results_in) = bounded::<Vec<FileEntry>>(threads * 8);
            let walker = {
                let store = &store;
                scope.spawn(move || {
                    let _alarm = store.alarm();
                    let walk = Walk::with_roots(roots.to_vec(), options.clone());
                    self.walk(walk, cursor, counters, &batches_out, store)
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
                    scope.spawn(move || {
                        let _alarm = store.alarm();
                        while let Ok(sealed) = sealed_in.recv() {
                            if store.failed.load(Ordering::SeqCst) {
                                continue;
                            }
                            match self.upload_pair(store, sealed) {
                                Ok(pair) => uploaded
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .extend(pair),
                                Err(error) => fail(error),
                            }
                        }
                    })
                })
                .collect();
            drop(sealed_in);
            // Told before the workers find nobody to take their results, which alone would look like a stop.
            let list = self
                .write_list(time, &results_in, &mut entries)
                .map_err(&fail)
                .ok();
            drop(results_in);
            match walker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => fail(error),
                Err(_) => fail(Error::Bug("the walk panicked".into())),
            }
            for worker in workers {
                if worker.join().is_err() {
                    fail(Error::Bug("a worker thread panicked".into()));
                }
            }
            store.close();
            for uploader in uploaders {
                if uploader.join().is_err() {
                    fail(Error::Bug("an upload thread panicked".into()));
                }
            }
            list
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let Some((list, list_hash, counts)) =
            gathered.filter(|_| !store.failed.load(Ordering::SeqCst))
        else {
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
            list_hash,
            stored: uploaded
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            counts,
            entries,
        })
    }

    /// Walks the source beside the previous version's entries, both in path order.
    fn walk(
        &self,
        walk: Walk,
        cursor: Option<EntryCursor>,
        counters: &Counters,
        batches: &Sender<Vec<Item>>,
        store: &BlockStore<'_>,
    ) -> Result<()> {
        let mut previous = Previous::new(cursor)?;
        let mut batch = Vec::with_capacity(BATCH);
        let progress = &self.reporter.progress;
        for item in walk {
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
                    batch.push(Item::Present(entry, old));
                }
                WalkItem::Skipped { path, why } => {
                    match why {
                        larder_source::SkipReason::TooLarge => bump(&counters.too_large, 1),
                        larder_source::SkipReason::Special(_) => bump(&counters.skipped, 1),
                        _ => {}
                    }
                    self.reporter.verbose(
                        "PathSkipped",
                        format!("{}: {why:?}", String::from_utf8_lossy(&path)),
                    );
                }
                WalkItem::Problem { path, error } => {
                    bump(&counters.with_error, 1);
                    self.reporter.warn(
                        "PathProcessingError",
                        format!(
                            "{}: {error}; what the previous version has of it is kept",
                            String::from_utf8_lossy(&path)
                        ),
                    );
                    previous.pass_until(&path, counters, &mut batch, batches)?;
                    previous.keep_below(path);
                }
            }
            send_full(&mut batch, batches)?;
        }
        previous.pass_rest(counters, &mut batch, batches)?;
        progress.counted.store(true, Ordering::SeqCst);
        let _ = batches.send(batch);
        Ok(())
    }

    /// Writes the version list as entries arrive.
    fn write_list(
        &self,
        time: VolumeTime,
        results: &Receiver<Vec<FileEntry>>,
        entries: &mut EntryWriter,
    ) -> Result<(VolumeData, larder_volume::Hash, Counts)> {
        let name = "(version list)";
        let format = self.format()?;
        let sink = Sink::new(LIST_MEMORY_BYTES, self.settings.upload_folder.clone());
        let writer = self.crypt.writer(sink, format.file_hash)?;
        let method = match self.settings.compression {
            Compression::Zip => self.pack_method()?,
            Compression::TarZstd | Compression::TarGzip => PackMethod::Stored,
        };
        let mut packer = Packer::new(method);
        let mut archive = ArchiveWriter::create(
            writer,
            self.settings.compression,
            self.settings.tar_level,
            time,
        )
        .in_volume(name)?;
        archive
            .add("manifest", &self.manifest(time)?, &mut packer)
            .in_volume(name)?;
        archive
            .add("fileset", &encode_fileset(true), &mut packer)
            .in_volume(name)?;
        for path in &self.settings.control_files {
            let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            archive
                .add(&format!("extra/{file}"), &bytes, &mut packer)
                .in_volume(name)?;
        }
        let mut counts = Counts::default();
        archive
            .add_stream("filelist.json", method, &mut |out| {
                let mut list = FileListWriter::create(out).map_err(std::io::Error::other)?;
                for batch in results {
                    for entry in batch {
                        count(&mut counts, entry.kind, entry.size);
                        list.add(&entry).map_err(std::io::Error::other)?;
                        let stored = StoredEntry {
                            entry,
                            mtime_ticks: None,
                        };
                        entries.add(&stored).map_err(std::io::Error::other)?;
                    }
                }
                list.finish().map_err(std::io::Error::other)?;
                Ok(())
            })
            .in_volume(name)?;
        let writer = archive.finish().in_volume(name)?;
        let (data, hash) = self.crypt.seal(writer)?;
        Ok((data, hash, counts))
    }

    /// Sends the version list: the last upload of a run.
    fn upload_list(
        &self,
        time: VolumeTime,
        list: VolumeData,
        hash: larder_volume::Hash,
        counts: Counts,
        stored: &mut Vec<Stored>,
    ) -> Result<VolumeName> {
        let make = |time| {
            VolumeName::list(
                &self.settings.prefix,
                time,
                self.settings.compression,
                self.crypt.kind(),
            )
        };
        let mut name = make(time);
        let size = list.len();
        let id = self.durable(|c| {
            c.add_volume(
                name.as_str(),
                VolumeKind::List,
                VolumeState::Uploading,
                Some(size),
                Some(hash),
            )
        })?;
        self.put_with_new_names(id, &mut name, &list, |old| {
            Ok(make(VolumeTime(old.time().unwrap_or(time).0 + 1)))
        })?;
        let final_time = name.time().unwrap_or(time);
        self.durable(|c| {
            c.set_volume(id, VolumeState::Uploaded, Some(size), Some(hash))?;
            c.add_fileset(id, final_time.0, true, counts)
        })?;
        stored.push(Stored {
            name: name.as_str().to_owned(),
            size,
        });
        Ok(name)
    }

    /// Puts the new version's entries into the catalog.
    fn take_over_entries(&self, name: &VolumeName, entries: EntryWriter) -> Result<()> {
        let Some(time) = name.time() else {
            return Err(Error::Bug("a list name without time".into()));
        };
        let fileset = self
            .catalog(|c| c.filesets())?
            .into_iter()
            .find(|f| f.time == time.0)
            .ok_or_else(|| Error::Bug("the version just written is not in the catalog".into()))?;
        entries.finish(fileset.id)?;
        Ok(())
    }
}

/// Vanished volumes that are named one by one.
const NAMED_VOLUMES: usize = 3;
/// Version lists stay in memory up to this size.
const LIST_MEMORY_BYTES: u64 = IN_MEMORY_BYTES / 2;
/// Catalog parameter: packing method of the newest volumes.
pub(crate) const ZIP_METHOD: &str = "zip-method";

fn method_key(method: PackMethod) -> &'static str {
    match method {
        PackMethod::Stored => "stored",
        PackMethod::Deflate { .. } => "deflate",
        PackMethod::Zstd { .. } => "zstd",
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

/// One worker: blocks of large files first, then entries; at the end the volumes that are left.
fn work(
    shared: &Shared<'_>,
    batches: &Receiver<Vec<Item>>,
    results: &Sender<Vec<FileEntry>>,
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
    batches: &Receiver<Vec<Item>>,
    results: &Sender<Vec<FileEntry>>,
    active: &AtomicUsize,
) -> Result<()> {
    let mut own = Active(Some(active));
    let mut worker = Worker::new(shared);
    let progress = &shared.engine.reporter.progress;
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
                    shared.engine.cancel.check()?;
                    match item {
                        Item::Carried(entry) => done.extend(worker.carry(entry)?),
                        Item::Present(entry, old) => {
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
