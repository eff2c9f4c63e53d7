//! A running restore: what all threads share, and what is said about single entries.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use larder_catalog::VolumeRow;
use larder_source::{Replace, Restore, Step, TargetRoot, write_sparse};
use larder_volume::{ArchiveReader, EntryKind, FileEntry, Format};

use super::content_hash::{ContentHash, rest_of_file};
use super::job::{Job, State};
use super::layout::Layout;
use super::leftovers::Leftovers;
use super::open_files::OpenFiles;
use super::plan::{Item, Mark, Plan};
use super::prepare::Prepare;
use super::selected::Selected;
use super::writer::Writer;
use super::{Rules, Tally, target};
use crate::context::Phase;
use crate::data::VolumeData;
use crate::phases::Ready;
use crate::temporary::temporary_error;
use crate::{Error, Result};

/// One restore of one version.
pub(super) struct Restoring<'a> {
    pub(super) ready: &'a Ready<'a>,
    writer: Writer<'a>,
    pub(super) selected: &'a Selected<'a>,
    pub(super) layout: &'a Layout,
    pub(super) plan: Plan,
    pub(super) format: Format,
    pub(super) rows: HashMap<i64, VolumeRow>,
    pub(super) open_files: OpenFiles,
    /// Hashes of files that are in several batches.
    contents: Mutex<HashMap<u32, Box<ContentHash>>>,
    /// A volume whose uses go on in the next batch, and whether this one's do.
    held: Mutex<Option<(i64, ArchiveReader<VolumeData>)>>,
    pub(super) hold: AtomicBool,
    /// In the place of an item that does not exist.
    pub(super) nothing: Item,
}

impl<'a> Deref for Restoring<'a> {
    type Target = Writer<'a>;

    fn deref(&self) -> &Writer<'a> {
        &self.writer
    }
}

impl<'a> Restoring<'a> {
    pub(super) fn new(
        ready: &'a Ready<'a>,
        root: &'a TargetRoot,
        selected: &'a Selected<'a>,
        (layout, plan): (&'a Layout, Plan),
        rules: &'a Rules,
        tally: &'a Tally,
    ) -> Result<Self> {
        let volumes = ready.catalog(|c| c.volumes())?;
        let writer = Writer::new(
            (&ready.reporter, &ready.cancel),
            (root, &layout.folder),
            (rules, tally),
            plan.date.clone(),
            ready.settings.temp_folder.clone(),
        );
        Ok(Self {
            ready,
            writer,
            selected,
            layout,
            plan,
            format: ready.format(),
            rows: volumes.into_iter().map(|row| (row.id, row)).collect(),
            open_files: OpenFiles::new(),
            contents: Mutex::default(),
            held: Mutex::default(),
            hold: AtomicBool::new(false),
            nothing: Item::default(),
        })
    }

    /// All steps after the plan.
    pub(super) fn run(&self) -> Result<()> {
        let outcome = self.steps();
        if outcome.is_err() {
            let is_unfinished = |item: &&Item| {
                item.is(Mark::Started) && !item.is(Mark::Complete) && !item.is(Mark::Failed)
            };
            let count = self.plan.items.iter().filter(is_unfinished).count();
            if matches!(outcome, Err(Error::Cancelled)) {
                // Whoever stops a restore wants none of it; what failed goes on with what is there.
                self.remove_unfinished(count);
            } else if count > 0 {
                self.ready.reporter.info(
                    "UnfinishedFilesKept",
                    format!(
                        "unfinished files kept under temporary names (.larder-….unfinished): {count}; the same command goes on with them"
                    ),
                );
            }
        }
        outcome
    }

    /// Removes the temporary files of a run that was stopped, so many as there are. What cannot be removed now the next
    /// restore removes.
    fn remove_unfinished(&self, mut count: usize) {
        if count == 0 {
            return;
        }
        let removed = self.selected.each_to_the_end(|number, entry| {
            let Some(item) = self.item(number) else {
                return Ok(());
            };
            if item.is(Mark::Started) && !item.is(Mark::Complete) && !item.is(Mark::Failed) {
                let place = self.layout.place(&entry.path).unwrap_or_default();
                let place = target::place_of_copy(&place, &self.plan.date, item.copy);
                if let Err(error) = self.root.discard_temporary(&place) {
                    self.ready.reporter.verbose(
                        "TemporaryFileLeft",
                        format!("{}: {error}", self.folder_path(&place)),
                    );
                }
                count -= 1;
            }
            // Nothing more to look for.
            if count == 0 {
                Err(Error::Cancelled)
            } else {
                Ok(())
            }
        });
        if let Err(error) = removed
            && !matches!(error, Error::Cancelled)
        {
            self.ready
                .reporter
                .verbose("TemporaryFileLeft", crate::sync::describe(&error));
        }
    }

    fn steps(&self) -> Result<()> {
        let reporter = &self.ready.reporter;
        reporter.phase(Phase::Restoring);
        Prepare::all(self)?;
        self.fetch()?;
        reporter.phase(Phase::Metadata);
        self.links()?;
        self.remove_leftovers()?;
        self.plain_folders()?;
        self.folders()?;
        if self.rules.sync {
            // The names: they may lie in several file systems.
            rustix::fs::sync();
        }
        Ok(())
    }

    /// Removes temporary files of ended runs from all folders that this one writes into.
    fn remove_leftovers(&self) -> Result<()> {
        if self.plan.fresh {
            return Ok(());
        }
        let Some(mut sweep) = Leftovers::new(&self.writer, self.layout) else {
            return Ok(());
        };
        self.selected.each(|_, entry| {
            sweep.beside(entry);
            Ok(())
        })?;
        sweep.tell();
        Ok(())
    }

    pub(super) fn item(&self, number: u32) -> Option<&Item> {
        self.plan.items.get(number as usize)
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Option<(i64, ArchiveReader<VolumeData>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more file is finished.
    pub(super) fn done(&self) {
        let progress = &self.ready.reporter.progress;
        progress.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// The hash of a file of an earlier batch.
    pub(super) fn take_content(&self, number: u32) -> Option<Box<ContentHash>> {
        self.contents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number)
    }

    /// Lets a job go at the end of a batch; what the next one needs of it is kept.
    pub(super) fn put_aside(&self, mut job: Job) -> Result<()> {
        job.close(self);
        let item = job.item(self);
        if job.kind != EntryKind::File || item.is(Mark::Failed) || item.is(Mark::Complete) {
            return Ok(());
        }
        if let Some(content) = job.content.take() {
            let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
            // The others are read from their files again.
            if contents.len() < KEPT_CONTENTS {
                contents.insert(job.number, content);
            }
        }
        let metadata = job.state().metadata.take();
        match metadata {
            Some(bytes) => self.keep(job.number, job.kind, (&[], &job.path), &bytes),
            None => Ok(()),
        }
    }

    /// Keeps the metadata of an entry for later.
    pub(super) fn keep_metadata(&self, number: u32, entry: &FileEntry, blob: &[u8]) -> Result<()> {
        let place = self.layout.place(&entry.path).unwrap_or_default();
        let copy = self.item(number).map_or(0, |item| item.copy);
        let place = target::place_of_copy(&place, &self.plan.date, copy);
        if self
            .item(number)
            .is_some_and(|item| item.is(Mark::Complete))
        {
            let is_new = self.item(number).is_some_and(Item::is_new);
            self.apply(&place, &entry.path, blob, entry.kind, is_new);
            return Ok(());
        }
        self.keep(number, entry.kind, (&place, &entry.path), blob)
    }

    pub(super) fn keep(
        &self,
        number: u32,
        kind: EntryKind,
        (place, path): (&[u8], &[u8]),
        blob: &[u8],
    ) -> Result<()> {
        if kind != EntryKind::File {
            let is_new = self.item(number).is_some_and(Item::is_new);
            return self.keep_for_the_end(kind, is_new, (place, path), blob);
        }
        let mut kept = self.kept();
        let record = kept.spool.push(blob).map_err(temporary_error)?;
        kept.files.insert(number, record);
        Ok(())
    }

    /// The metadata of a file that was kept.
    pub(super) fn take_metadata(&self, number: u32) -> io::Result<Option<Box<[u8]>>> {
        let mut kept = self.kept();
        let record = kept.files.remove(&number);
        let blob = record.map(|record| kept.spool.read(record)).transpose()?;
        Ok(blob.map(Vec::into_boxed_slice))
    }

    /// Writes a block at its place in a file.
    pub(super) fn write(&self, job: &Job, index: u32, bytes: &[u8]) -> Result<()> {
        if job.item(self).is(Mark::Failed) {
            return Ok(());
        }
        let at = u64::from(index) * self.format.blocksize;
        let written = job
            .file(self)
            .and_then(|file| self.write_at(job, &file, at, bytes));
        match written {
            Ok(()) => {
                if let Some(content) = &job.content {
                    content.wrote(index, bytes);
                }
                let progress = &self.ready.reporter.progress;
                let len = bytes.len() as u64;
                progress.bytes_done.fetch_add(len, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => self.fail_local(job, &error),
        }
    }

    /// Writes into a temporary file. Where nothing was written before, zeros become holes.
    fn write_at(&self, job: &Job, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.root.watch(Step::Write, &job.path)?;
        match job.item(self).is(Mark::Resumes) {
            true => file.write_all_at(bytes, at),
            false => write_sparse(file, bytes, at),
        }
    }

    /// All blocks are written: the whole is checked and gets its final name.
    pub(super) fn finish(&self, job: &Job) -> Result<()> {
        if job.item(self).is(Mark::Failed) {
            job.close(self);
            return Ok(());
        }
        match self.check(job) {
            Ok(true) => {}
            Ok(false) => {
                job.close(self);
                self.fail(
                    job,
                    "HashMismatch",
                    "the restored content is not what was backed up",
                );
                return Ok(());
            }
            Err(error) => return self.fail_local(job, &error),
        }
        let mut state = job.state();
        let moved = self.put_in_place(job, &mut state);
        job.close_in(self, &mut state);
        drop(state);
        match moved {
            Ok(()) => {
                self.tally.files.fetch_add(1, Ordering::Relaxed);
                self.tally.bytes.fetch_add(job.size, Ordering::Relaxed);
                if job.item(self).is(Mark::Replaces) {
                    self.tally.patched.fetch_add(1, Ordering::Relaxed);
                }
                self.done();
                Ok(())
            }
            Err(error) => self.fail_local(job, &error),
        }
    }

    /// Whether the content is what was backed up.
    fn check(&self, job: &Job) -> io::Result<bool> {
        if job.size == 0 || (job.has_hash && job.hash.is_none()) || !self.rules.verify {
            return Ok(true);
        }
        let file = job.file(self)?;
        let found = match &job.content {
            Some(content) => content.finish(&file, self.format.blocksize)?,
            None => rest_of_file(&file, self.format.file_hash.hasher(), 0)?,
        };
        Ok(job.hash.as_deref() == Some(&found))
    }

    fn put_in_place(&self, job: &Job, state: &mut State) -> io::Result<()> {
        let file = job.file_in(self, state)?;
        let place = job.place(self);
        let replaces = job.item(self).is(Mark::Replaces);
        if replaces {
            self.root.inherit(&file, &place)?;
        }
        let blob = match state.metadata.take() {
            Some(blob) => Some(blob),
            None => self.take_metadata(job.number)?,
        };
        let blob = blob
            .filter(|_| self.rules.metadata)
            .and_then(|blob| self.parsed(&blob, job.kind, &job.path));
        // What metadata will say may still come; it may close the file to others.
        let is_plain = !(replaces || self.rules.metadata && job.has_metadata);
        let restore = match &blob {
            Some(blob) => Some(target::restore_facts(blob, self.rules, job.kind, !replaces)),
            None => is_plain.then(|| Restore {
                mode: Some(self.rules.file_mode),
                ..Restore::default()
            }),
        };
        if let Some(restore) = restore {
            self.root.watch(Step::Facts, &place)?;
            self.tell_facts(self.root.apply_file(&file, &restore), &job.path);
        }
        if self.rules.sync && !replaces {
            self.root.sync_temporary(&file, &place)?;
        }
        let replace = if replaces { Replace::Yes } else { Replace::No };
        self.root
            .finish_temporary(&file, &place, replace)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => io::Error::new(
                    error.kind(),
                    "another program made a file of this name meanwhile; it is kept",
                ),
                _ => error,
            })?;
        job.item(self).set(Mark::Complete);
        Ok(())
    }

    /// The metadata of an entry has come.
    pub(super) fn metadata(&self, job: &Job, blob: &[u8]) -> Result<()> {
        if job.kind != EntryKind::File {
            return self.keep(job.number, job.kind, (&job.place(self), &job.path), blob);
        }
        let mut state = job.state();
        let item = job.item(self);
        if item.is(Mark::Failed) {
            return Ok(());
        }
        if !item.is(Mark::Complete) {
            state.metadata = Some(blob.into());
            return Ok(());
        }
        drop(state);
        self.apply(&job.place(self), &job.path, blob, job.kind, item.is_new());
        Ok(())
    }

    /// A file cannot be written here. Without room the whole run ends.
    pub(super) fn fail_local(&self, job: &Job, error: &io::Error) -> Result<()> {
        self.stop_when_full(error)?;
        if !job.item(self).set(Mark::Failed) {
            self.say_failed(&job.path, &error.to_string());
            self.tally.local(&job.path);
            // What another run writes stays.
            if error.kind() != io::ErrorKind::ResourceBusy {
                self.discard(job);
            }
        }
        Ok(())
    }

    /// The content of a file cannot be had.
    pub(super) fn fail_remote(&self, job: &Job, why: &str) {
        self.fail(job, "RestoreFailed", why);
    }

    fn fail(&self, job: &Job, id: &'static str, why: &str) {
        if !job.item(self).set(Mark::Failed) {
            let path = String::from_utf8_lossy(&job.path);
            self.ready.reporter.error(id, format!("{path}: {why}"));
            self.tally.remote(&job.path);
            self.discard(job);
        }
    }

    /// Removes the temporary file of a job that failed.
    fn discard(&self, job: &Job) {
        job.close(self);
        // What this run did not open may be in use by another one; the end of a run that is alone removes it.
        if job.item(self).is(Mark::Started)
            && let Err(error) = self.root.discard_temporary(&job.place(self))
        {
            self.ready.reporter.warn(
                "TemporaryFileLeft",
                format!(
                    "{}: its unfinished file cannot be removed: {error}",
                    String::from_utf8_lossy(&job.path)
                ),
            );
        }
    }

    /// Says that the present file is kept and where the restored one is.
    pub(super) fn tell_copy(&self, entry: &FileEntry, place: &[u8], item: &Item) {
        let copy = target::place_of_copy(place, &self.plan.date, item.copy);
        self.tally.copies.fetch_add(1, Ordering::Relaxed);
        self.ready.reporter.info(
            "KeptPresentFile",
            format!(
                "{} is kept as it is; the restored file is {}",
                self.folder_path(place),
                self.folder_path(&copy),
            ),
        );
        debug_assert!(entry.kind == EntryKind::File);
    }
}

/// The hashes of files kept between batches, some 200 bytes each.
const KEPT_CONTENTS: usize = 4096;
