//! Partial versions on the way: what a long run has done so far can be restored although the run never ends.
//!
//! Each takes the place of the one before, and the version that the run ends with takes the place of the last. A partial
//! version holds what was read, and the rest as in the version before. It is sent when every block that it names is stored.

use crossbeam_channel::Receiver;
use larder_catalog::{EntryCursor, EntryWriter, StoredEntry};
use larder_options::engine as opt;
use larder_volume::{Hash, VolumeName, VolumeTime};

use super::reader::Shared;
use crate::Result;
use crate::delete::Dropped;
use crate::phases::Ready;
use crate::replace::version_of;
use crate::sync::{RemoteVolume, describe};
use crate::volumes::{AboutList, ListSource, StoredVolume};

/// Entries handed on at a time.
const BATCH: usize = 256;

/// What comes to where the version list is written.
pub(super) enum Step {
    /// Entries that a worker is done with.
    Entries(Vec<StoredEntry>),
    /// Every entry before this path is done, and every block of them is stored; with no path, all are.
    Checkpoint { rest_from: Option<Vec<u8>> },
}

/// When the next partial version is due.
pub(super) struct Due {
    /// In seconds; 0 for never.
    interval: i64,
    since: i64,
}

impl Due {
    pub(super) fn new(run: &Ready<'_>) -> Result<Self> {
        let is_wanted = !run.settings.dry_run && run.may_be_partial()?;
        Ok(Self {
            interval: match is_wanted {
                true => run.values.get(opt::CHECKPOINT_INTERVAL)?,
                false => 0,
            },
            since: run.clock.seconds(),
        })
    }

    pub(super) fn is_due(&self, run: &Ready<'_>) -> bool {
        self.interval > 0 && run.clock.seconds().saturating_sub(self.since) >= self.interval
    }

    /// The next one is due an interval from now.
    pub(super) fn begin(&mut self, run: &Ready<'_>) {
        self.since = run.clock.seconds();
    }
}

impl Ready<'_> {
    /// Whether a run that does not come to its end may leave a version.
    pub(super) fn may_be_partial(&self) -> Result<bool> {
        Ok(!self.values.get(opt::DISABLE_SYNTHETIC_FILELIST)?)
    }
}

/// A partial version that this run stored.
#[derive(Clone)]
pub(super) struct Checkpoint {
    pub(super) name: VolumeName,
    size: Option<u64>,
}

impl Checkpoint {
    pub(super) fn time(&self) -> Option<VolumeTime> {
        self.name.time()
    }

    fn listed(self, run: &Ready<'_>) -> RemoteVolume {
        RemoteVolume {
            name: self.name,
            size: self.size,
            modified: Some(run.clock.seconds()),
            is_archived: false,
        }
    }
}

/// Stores partial versions, and hands the entries of the whole one on.
pub(super) struct Checkpoints<'c, 'e> {
    pub(super) shared: &'c Shared<'e>,
    pub(super) steps: Receiver<Step>,
    /// Beside the list of each.
    pub(super) extras: Vec<(String, Vec<u8>)>,
    /// The time of the next version.
    pub(super) time: VolumeTime,
    pub(super) last: &'c mut Option<Checkpoint>,
    /// The destination keeps what is stored: one partial version is enough then.
    pub(super) may_replace: bool,
}

impl ListSource for Checkpoints<'_, '_> {
    fn next(&mut self, taken_in: Option<&mut EntryWriter>) -> Result<Option<Vec<StoredEntry>>> {
        let mut taken_in = taken_in;
        while let Ok(step) = self.steps.recv() {
            match (step, taken_in.as_deref_mut()) {
                (Step::Entries(entries), _) => return Ok(Some(entries)),
                (Step::Checkpoint { rest_from }, Some(taken_in)) if self.may_replace => {
                    self.store(taken_in, rest_from)?;
                }
                (Step::Checkpoint { .. }, _) => {}
            }
        }
        Ok(None)
    }

    fn is_full(&self) -> bool {
        !self.shared.has_left_out()
    }
}

impl Checkpoints<'_, '_> {
    /// Stores a partial version in the place of the last one.
    fn store(&mut self, taken_in: &mut EntryWriter, rest_from: Option<Vec<u8>>) -> Result<()> {
        let run = self.shared.run;
        let rest = match rest_from {
            Some(_) => Some(run.catalog(|c| c.previous_entries())?),
            None => None,
        };
        let mut source = SoFar {
            taken_in: taken_in.taken_in()?,
            rest,
            rest_from: rest_from.unwrap_or_default(),
            shared: self.shared,
        };
        let about = AboutList {
            created: self.time,
            is_full: false,
            extras: self.extras.clone(),
        };
        let list = run.write_list(&about, &mut source, None)?;
        let hash = list.hash;
        let mut stored: Vec<StoredVolume> = Vec::new();
        let name = run.send_list_in_place(self.last.as_ref(), self.time, list, &mut stored)?;
        let next = Checkpoint {
            size: stored.first().map(|stored| stored.size),
            name,
        };
        run.note_first_reading()?;
        self.time = VolumeTime(next.time().unwrap_or(self.time).0 + 1);
        if let Some(last) = self.last.replace(next.clone()) {
            self.may_replace = run.drop_checkpoint(last, &next, hash)?;
        }
        run.reporter.info(
            "CheckpointStored",
            "a partial version of what is done so far was stored; it goes when the next one is there",
        );
        Ok(())
    }
}

impl Ready<'_> {
    /// Sends a list that comes in the place of the last partial one.
    pub(super) fn send_list_in_place(
        &self,
        last: Option<&Checkpoint>,
        time: VolumeTime,
        list: crate::volumes::WrittenList,
        stored: &mut Vec<StoredVolume>,
    ) -> Result<VolumeName> {
        let hash = list.hash;
        let note = |time: VolumeTime| match last {
            Some(last) => self.note_replacing(&self.list_name(time), hash, &last.name),
            None => Ok(()),
        };
        note(time)?;
        let later = |time: VolumeTime| {
            let next = VolumeTime(time.0 + 1);
            note(next).map(|()| next)
        };
        self.send_list(time, list, later, stored)
    }

    /// Removes a partial version when the one in its place is what was sent. False when it stays.
    pub(super) fn drop_checkpoint(
        &self,
        last: Checkpoint,
        next: &Checkpoint,
        hash: Hash,
    ) -> Result<bool> {
        let is_gone = match self.is_as_sent(&next.name, next.size, hash)? {
            Some(true) => matches!(
                self.drop_version_untold(&version_of(last.listed(self))?)?,
                Dropped::Yes
            ),
            _ => false,
        };
        self.end_of_replacing()?;
        Ok(is_gone)
    }

    /// As [`Ready::drop_checkpoint`], at the end of a run, which has its version whatever happens here.
    pub(super) fn drop_last_checkpoint(
        &self,
        last: Checkpoint,
        (next, size, hash): (VolumeName, Option<u64>, Hash),
    ) {
        let name = last.name.as_str().to_owned();
        let next = Checkpoint { name: next, size };
        let why = match self.drop_checkpoint(last, &next, hash) {
            Ok(true) => return,
            Ok(false) => String::new(),
            // The next run that writes does it.
            Err(error) => format!(": {}", describe(&error)),
        };
        self.reporter.info(
            "PartialVersionStays",
            format!("the partial version {name} was not removed{why}"),
        );
    }
}

/// What was done so far, and the rest as it was.
struct SoFar<'s, 'e, I> {
    taken_in: I,
    rest: Option<EntryCursor>,
    rest_from: Vec<u8>,
    shared: &'s Shared<'e>,
}

impl<I: Iterator<Item = larder_catalog::Result<Vec<StoredEntry>>>> ListSource for SoFar<'_, '_, I> {
    fn next(&mut self, _: Option<&mut EntryWriter>) -> Result<Option<Vec<StoredEntry>>> {
        self.shared.run.cancel.check()?;
        if let Some(entries) = self.taken_in.next() {
            return Ok(Some(entries?));
        }
        let mut batch = Vec::new();
        for stored in self.rest.iter_mut().flatten() {
            let stored = stored?;
            if stored.entry.path >= self.rest_from && self.shared.may_carry(&stored.entry)? {
                batch.push(stored);
            }
            if batch.len() == BATCH {
                break;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}
