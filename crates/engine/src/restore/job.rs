//! One entry whose blocks are being fetched.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder_source::Step;
use larder_volume::{EntryKind, FileEntry, Hash};

use super::content_hash::ContentHash;
use super::plan::{Item, Mark, Origin, Origins};
use super::restoring::Restoring;
use super::target::place_of_copy;

/// An entry in work.
pub(super) struct Job {
    pub(super) number: u32,
    pub(super) kind: EntryKind,
    /// Its path in the version.
    pub(super) path: Box<[u8]>,
    pub(super) size: u64,
    /// The hash of the whole; `None` when its only block has that hash, so that nothing is left to check.
    pub(super) hash: Option<Box<Hash>>,
    /// Whether the version list has a hash at all.
    pub(super) has_hash: bool,
    /// Whether the version has metadata of it.
    pub(super) has_metadata: bool,
    /// For files of several blocks.
    pub(super) content: Option<Box<ContentHash>>,
    state: Arc<Mutex<State>>,
}

/// What changes while blocks arrive.
#[derive(Default)]
pub(super) struct State {
    pub(super) file: Option<Arc<File>>,
    /// The metadata blob that came before the content was complete.
    pub(super) metadata: Option<Box<[u8]>>,
    /// Its slot among the open files.
    pub(super) slot: Option<usize>,
    /// Whether it was used since its slot was looked at.
    pub(super) was_used: bool,
}

impl Job {
    /// `is_there` tells of an origin whether its block is in the temporary file already.
    pub(super) fn new(
        restoring: &Restoring<'_>,
        number: u32,
        entry: &FileEntry,
        origins: Origins,
        is_there: impl Fn(Origin) -> bool,
    ) -> Self {
        let content = (origins.blocks > 1 && restoring.rules.verify).then(|| {
            restoring.take_content(number).unwrap_or_else(|| {
                let content = Box::new(ContentHash::new(restoring.format.file_hash));
                for index in 0..u32::try_from(origins.blocks).unwrap_or(0) {
                    if is_there(restoring.plan.origin(origins.first + index as usize)) {
                        content.is_there(index);
                    }
                }
                content
            })
        });
        let is_checked = entry.blocklists.is_empty() && entry.blockhash.is_none();
        Self {
            number,
            kind: entry.kind,
            path: entry.path.as_slice().into(),
            size: entry.size,
            hash: entry.hash.filter(|_| !is_checked).map(Box::new),
            has_hash: entry.hash.is_some(),
            has_metadata: entry.metahash.is_some(),
            content,
            state: Arc::default(),
        }
    }

    /// Its place below the target folder. It is worked out each time: a job is for the most part its path already.
    pub(super) fn place(&self, restoring: &Restoring<'_>) -> Vec<u8> {
        let place = restoring.layout.place(&self.path).unwrap_or_default();
        place_of_copy(&place, &restoring.plan.date, self.item(restoring).copy)
    }

    /// What the plan says about it.
    pub(super) fn item<'r>(&self, restoring: &'r Restoring<'_>) -> &'r Item {
        restoring.item(self.number).unwrap_or(&restoring.nothing)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The temporary file, opened when needed. It stays open as long as [`Restoring::open_files`] has room for it.
    pub(super) fn file(&self, restoring: &Restoring<'_>) -> io::Result<Arc<File>> {
        self.file_in(restoring, &mut self.state())
    }

    /// The same for whoever holds the state.
    pub(super) fn file_in(
        &self,
        restoring: &Restoring<'_>,
        state: &mut State,
    ) -> io::Result<Arc<File>> {
        if let Some(file) = &state.file {
            let file = file.clone();
            state.was_used = true;
            return Ok(file);
        }
        let item = self.item(restoring);
        let place = self.place(restoring);
        let file = if item.is(Mark::Started) {
            let again = restoring.root.reopen_temporary(&place);
            again.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::other("its temporary file was removed"),
                _ => error,
            })?
        } else {
            self.begin(restoring, &place)?
        };
        let file = Arc::new(file);
        state.slot = Some(restoring.open_files.keep(&self.state));
        state.file = Some(file.clone());
        Ok(file)
    }

    /// Makes the temporary file, or goes on with what an earlier run left of it.
    fn begin(&self, restoring: &Restoring<'_>, place: &[u8]) -> io::Result<File> {
        let item = self.item(restoring);
        let opened = restoring.root.open_temporary(place)?;
        item.set(Mark::Started);
        let file = opened.file;
        if item.is(Mark::Resumes) && opened.left_over.is_none() {
            // Its blocks count as written, and they are gone.
            restoring.root.discard_temporary(place)?;
            return Err(io::Error::other(
                "the unfinished file of an earlier restore was removed meanwhile; run the same command again",
            ));
        }
        if !item.is(Mark::Resumes) && opened.left_over.is_some_and(|len| len > 0) {
            file.set_len(0)?;
        }
        // Where zeros are left out the length has to be set.
        if self.size >= SPARSE_BYTES || item.is(Mark::Resumes) {
            restoring.root.watch(Step::Write, place)?;
            if restoring.rules.preallocate {
                larder_source::allocate(&file, self.size)?;
            } else {
                file.set_len(self.size)?;
            }
        }
        Ok(file)
    }

    /// Lets the file go.
    pub(super) fn close(&self, restoring: &Restoring<'_>) {
        self.close_in(restoring, &mut self.state());
    }

    /// The same for whoever holds the state.
    pub(super) fn close_in(&self, restoring: &Restoring<'_>, state: &mut State) {
        state.file = None;
        if let Some(slot) = state.slot.take() {
            restoring.open_files.give_back(slot);
        }
    }
}

/// Blocks from this length on may have holes.
const SPARSE_BYTES: u64 = 1 << 14;
