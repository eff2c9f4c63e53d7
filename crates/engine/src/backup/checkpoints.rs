//! Partial versions on the way: what a long run has done so far can be restored although the run never ends.
//!
//! Each takes the place of the one before, and the version that the run ends with takes the place of the last. A partial
//! version holds what was read, and everything else as in the version before. It is sent when every block that it names is
//! stored.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use larder_catalog::{EntryCursor, EntryWriter, StoredEntry};
use larder_options::engine as opt;
use larder_volume::{EntryKind, Error as Format, Hash, VolumeName, VolumeTime};

use super::reader::{Counts, Shared};
use crate::delete::Dropped;
use crate::identity::RENAMING_SECONDS;
use crate::phases::Ready;
use crate::replace::{no_free_time, version_of};
use crate::sync::{RemoteVolume, describe};
use crate::volumes::{AboutList, ListSource, StoredVolume, WrittenList};
use crate::{Error, Result};

/// Entries handed on at a time.
const BATCH: usize = 256;
/// Partial versions after the time of the run. A list that is much older than its name is no version, and the list of the
/// whole version is as old as the run, so further ones take the seconds before it, and the whole one has some left for
/// failed attempts.
pub(super) const AFTER: i64 = 40;
/// A partial version is begun at the earliest after this many times what the last one took.
const PAUSE_FACTOR: i64 = 10;
/// And after this many times what the workers waited for each other, who may have had other disks to read from.
const WAIT_FACTOR: i64 = 4;

/// What comes to where the version list is written.
pub(super) enum Step {
    /// Entries that a worker is done with.
    Entries(Vec<StoredEntry>),
    /// Every block of the entries that came is stored.
    Checkpoint,
}

/// When the next partial version is due.
pub(super) struct Due {
    /// In seconds; 0 for never.
    interval: i64,
    /// Seconds since 1970.
    at: AtomicI64,
    /// Entries that the workers are done with, and how many they were at the last one: each has to tell something new.
    done: AtomicU64,
    told: AtomicU64,
    /// The workers begin nothing more until it is stored.
    pausing: AtomicBool,
    /// How long it took until every worker had ended what it was reading, in seconds.
    waited: AtomicI64,
}

impl Due {
    pub(super) fn new(run: &Ready<'_>) -> Result<Self> {
        let is_wanted = !run.settings.dry_run && run.may_be_partial()?;
        let interval = match is_wanted {
            true => run.values.get(opt::CHECKPOINT_INTERVAL)?,
            false => 0,
        };
        Ok(Self {
            interval,
            at: AtomicI64::new(run.clock.seconds().saturating_add(interval)),
            done: AtomicU64::new(0),
            told: AtomicU64::new(0),
            pausing: AtomicBool::new(false),
            waited: AtomicI64::new(0),
        })
    }

    /// Lets the workers pause when it is time.
    pub(super) fn pause_if_due(&self, run: &Ready<'_>) -> bool {
        if self.pauses() {
            return true;
        }
        if run.cancel.is_ending() {
            return false;
        }
        let is_new = self.done.load(Ordering::SeqCst) > self.told.load(Ordering::SeqCst);
        let is_due =
            self.interval > 0 && is_new && run.clock.seconds() >= self.at.load(Ordering::SeqCst);
        self.pausing.store(is_due, Ordering::SeqCst);
        is_due
    }

    pub(super) fn pauses(&self) -> bool {
        self.pausing.load(Ordering::SeqCst)
    }

    /// Lets the workers go on.
    pub(super) fn go_on(&self) {
        let done = self.done.load(Ordering::SeqCst);
        self.told.store(done, Ordering::SeqCst);
        self.pausing.store(false, Ordering::SeqCst);
    }

    /// An entry is done.
    pub(super) fn note_done(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// None is due until one is stored or given up.
    pub(super) fn begin(&self) {
        self.at.store(i64::MAX, Ordering::SeqCst);
    }

    /// How long the workers wait for those that are still reading.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.interval).unwrap_or(0))
    }

    /// The workers waited so long for each other.
    pub(super) fn note_waited(&self, time: Duration) {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        self.waited.store(seconds, Ordering::SeqCst);
    }

    /// The next one is due an interval from now, but not soon after one that took long.
    pub(super) fn begin_interval(&self, run: &Ready<'_>, took: i64) {
        let waited = self.waited.swap(0, Ordering::SeqCst);
        let wait = self.interval.max(took.saturating_mul(PAUSE_FACTOR));
        let wait = wait.max(waited.saturating_mul(WAIT_FACTOR));
        let at = run.clock.seconds().saturating_add(wait);
        self.at.store(at, Ordering::SeqCst);
    }
}

/// The times of the partial versions of a run, and that of its whole one, which is later than all.
pub(super) struct Times {
    run: VolumeTime,
    given: i64,
    /// Of the newest version that there was.
    floor: i64,
}

impl Times {
    pub(super) fn new(run: VolumeTime, floor: i64) -> Self {
        Self {
            run,
            given: 0,
            floor,
        }
    }

    /// The next free time for a partial version.
    fn next(&mut self) -> Result<VolumeTime> {
        let time = match self.given {
            after @ ..AFTER => self.run.0 + after,
            more => self.run.0 - 1 - (more - AFTER),
        };
        if time <= self.floor {
            return Err(no_free_time(self.run));
        }
        self.given += 1;
        Ok(VolumeTime(time))
    }

    /// The time of the whole version.
    pub(super) fn of_whole(&self) -> VolumeTime {
        VolumeTime(self.run.0 + self.given.min(AFTER))
    }

    /// The time after a failed attempt to store the whole version.
    pub(super) fn after_failure(run: VolumeTime, failed: VolumeTime) -> Result<VolumeTime> {
        match failed.0 - run.0 < RENAMING_SECONDS {
            true => Ok(VolumeTime(failed.0 + 1)),
            false => Err(no_free_time(run)),
        }
    }
}

impl Ready<'_> {
    /// Whether a run that does not come to its end may leave a version.
    pub(super) fn may_be_partial(&self) -> Result<bool> {
        Ok(!self.values.get(opt::DISABLE_SYNTHETIC_FILELIST)?)
    }
}

/// A list that this run sent, as it was sent.
pub(super) struct Checkpoint {
    pub(super) name: VolumeName,
    pub(super) size: Option<u64>,
    pub(super) hash: Hash,
}

impl Checkpoint {
    pub(super) fn time(&self) -> Option<VolumeTime> {
        self.name.time()
    }

    fn listed(&self, run: &Ready<'_>) -> RemoteVolume {
        RemoteVolume {
            name: self.name.clone(),
            size: self.size,
            modified: Some(run.clock.seconds()),
            is_archived: false,
        }
    }
}

/// The partial versions of a run that are stored.
#[derive(Default)]
pub(super) struct Sent {
    /// The newest last. More than one when the destination did not let one go, or something failed.
    lists: Vec<Checkpoint>,
    /// The newest holds all that was done when the run was asked to end.
    pub(super) is_last_word: bool,
}

impl Sent {
    pub(super) fn newest(&self) -> Option<&Checkpoint> {
        self.lists.last()
    }

    /// The time of the newest.
    pub(super) fn time(&self) -> Option<VolumeTime> {
        self.newest().and_then(Checkpoint::time)
    }
}

/// What became of a partial version in whose place another list came.
enum Replaced {
    /// It is gone.
    Yes,
    /// The destination keeps it.
    Stays,
    /// The new list is not to be had, so the old one stays.
    Unclear,
    /// The new list is not what was sent, so the old one stays.
    Damaged,
}

/// Stores partial versions, and hands the entries of the whole one on.
pub(super) struct Checkpoints<'c, 'e> {
    pub(super) shared: &'c Shared<'e>,
    pub(super) steps: Receiver<Step>,
    /// Beside the list of each.
    pub(super) extras: Vec<(String, Vec<u8>)>,
    pub(super) times: Times,
    pub(super) sent: &'c mut Sent,
    /// There are no more of them on the way in this run.
    pub(super) given_up: bool,
}

impl ListSource for Checkpoints<'_, '_> {
    fn next(&mut self, taken_in: Option<&mut EntryWriter>) -> Result<Option<Vec<StoredEntry>>> {
        let mut taken_in = taken_in;
        while let Ok(step) = self.steps.recv() {
            match (step, taken_in.as_deref_mut()) {
                (Step::Entries(entries), _) => return Ok(Some(entries)),
                (Step::Checkpoint, Some(taken_in)) => self.store(taken_in)?,
                (Step::Checkpoint, None) => {}
            }
        }
        Ok(None)
    }

    fn is_full(&self) -> bool {
        !self.shared.has_left_out()
    }
}

impl Checkpoints<'_, '_> {
    /// Stores a partial version in the place of the last one. What the destination does not take costs no more than that.
    fn store(&mut self, taken_in: &mut EntryWriter) -> Result<()> {
        let run = self.shared.run;
        let is_last_word = run.cancel.is_ending();
        // At the end one more is tried: it has what was done since.
        if self.given_up && !is_last_word {
            return Ok(());
        }
        let begun = Instant::now();
        match self.try_store(taken_in) {
            Ok(()) => self.sent.is_last_word = is_last_word,
            Err(
                error @ (Error::Cancelled | Error::Catalog(_) | Error::Bug(_) | Error::Io { .. }),
            ) => {
                return Err(error);
            }
            Err(error) => {
                self.given_up = true;
                run.reporter.warn(
                    "CheckpointFailed",
                    format!(
                        "no partial version is stored on the way any more: {}",
                        describe(&error)
                    ),
                );
            }
        }
        if !self.given_up {
            let took = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
            self.shared.due.begin_interval(run, took);
        }
        Ok(())
    }

    fn try_store(&mut self, taken_in: &mut EntryWriter) -> Result<()> {
        let run = self.shared.run;
        let mut source = SoFar {
            taken_in: Entries::new(taken_in.taken_in()?),
            rest: self.shared.previous_entries()?,
            next_rest: None,
            shared: self.shared,
            others: Vec::new(),
            held: Vec::new(),
        };
        let time = self.times.next()?;
        let about = AboutList {
            // A list that is older than its name is taken for one under another name.
            created: VolumeTime(run.clock.seconds()).max(time),
            is_full: false,
            extras: self.extras.clone(),
        };
        let list = run.write_list(&about, &mut source, None)?;
        let times = &mut self.times;
        let next = run.send_in_place(self.sent.newest(), time, list, |_| times.next())?;
        run.note_first_reading(self.shared.guard.last_read_of_most())?;
        // From here on it is one, whatever fails.
        let lists = &mut self.sent.lists;
        lists.push(next);
        let [.., last, next] = lists.as_slice() else {
            self.tell();
            return Ok(());
        };
        match run.replace_checkpoint(last, next)? {
            Replaced::Yes => {
                lists.remove(lists.len() - 2);
                self.tell();
            }
            Replaced::Stays => {
                self.given_up = true;
                run.reporter.info(
                    "CheckpointStays",
                    "the destination does not let partial versions go, so this run stores no more of them on the way",
                );
            }
            Replaced::Unclear => return Err(not_to_be_had(&next.name)),
            Replaced::Damaged => {
                let next = version_of(next.listed(run))?;
                let name = next.volume.name.clone();
                lists.pop();
                run.drop_partial_version(&next)?;
                return Err(damaged(&name));
            }
        }
        Ok(())
    }

    fn tell(&self) {
        self.shared.run.reporter.info(
            "CheckpointStored",
            "a partial version of what is done so far was stored; it goes when the next one is there",
        );
    }
}

fn damaged(name: &VolumeName) -> Error {
    let what = "it is not what was sent";
    Error::volume(name.as_str(), Format::Tampered(what.to_owned()))
}

fn not_to_be_had(name: &VolumeName) -> Error {
    let what = "it was stored and cannot be read back";
    Error::volume(name.as_str(), Format::Tampered(what.to_owned()))
}

impl Ready<'_> {
    /// Sends a list that comes in the place of the last partial one.
    pub(super) fn send_in_place(
        &self,
        last: Option<&Checkpoint>,
        time: VolumeTime,
        list: WrittenList,
        mut next: impl FnMut(VolumeTime) -> Result<VolumeTime>,
    ) -> Result<Checkpoint> {
        let hash = list.hash;
        let note = |time: VolumeTime| {
            self.note_own_version(time)?;
            match last {
                Some(last) => self.note_replacing(&self.list_name(time), hash, &last.name),
                None => Ok(()),
            }
        };
        note(time)?;
        let mut stored: Vec<StoredVolume> = Vec::new();
        let later = |time: VolumeTime| {
            let next = next(time)?;
            // Another machine may have that second.
            self.forget_own_version(time)?;
            note(next).map(|()| next)
        };
        let name = self.send_list(time, list, later, &mut stored)?;
        let size = stored.first().map(|stored| stored.size);
        Ok(Checkpoint { name, size, hash })
    }

    /// Removes a partial version when the list in its place is what was sent.
    fn replace_checkpoint(&self, last: &Checkpoint, next: &Checkpoint) -> Result<Replaced> {
        let replaced = match self.is_as_sent(&next.name, next.size, next.hash)? {
            Some(true) => match self.drop_partial_version(&version_of(last.listed(self))?)? {
                Dropped::Yes => Replaced::Yes,
                Dropped::Refused(_) => Replaced::Stays,
            },
            Some(false) => Replaced::Damaged,
            None => Replaced::Unclear,
        };
        self.end_of_replacing()?;
        Ok(replaced)
    }

    /// The whole version takes the place of the partial ones; it is stored, whatever happens here.
    pub(super) fn end_checkpoints(&self, sent: &Sent, whole: &Checkpoint) {
        // The newest is the one whose place was noted.
        for last in sent.lists.iter().rev() {
            let name = last.name.as_str();
            let why = match self.replace_checkpoint(last, whole) {
                Ok(Replaced::Yes) => continue,
                Ok(Replaced::Stays) => String::new(),
                Ok(Replaced::Unclear) => {
                    let text = describe(&not_to_be_had(&whole.name));
                    self.reporter.warn("ListNotReadBack", text);
                    String::new()
                }
                Ok(Replaced::Damaged) => {
                    let damage = Err::<(), _>(damaged(&whole.name));
                    if let Err(error) = self.noting_damage(&whole.name, damage) {
                        let text = format!("{}; the next run stores another one", describe(&error));
                        self.reporter.error("DamagedList", text);
                    }
                    String::new()
                }
                // The next run that writes does it.
                Err(error) => format!(": {}", describe(&error)),
            };
            self.reporter.info(
                "CheckpointStays",
                format!("the partial version {name} was not removed{why}"),
            );
            break;
        }
    }
}

/// Entries one by one.
struct Entries<I> {
    parts: I,
    part: std::vec::IntoIter<StoredEntry>,
}

impl<I: Iterator<Item = larder_catalog::Result<Vec<StoredEntry>>>> Entries<I> {
    fn new(parts: I) -> Self {
        Self {
            parts,
            part: Vec::new().into_iter(),
        }
    }

    /// The path of the next one.
    fn peek(&mut self) -> Result<Option<&[u8]>> {
        while self.part.as_slice().is_empty() {
            match self.parts.next() {
                Some(part) => self.part = part?.into_iter(),
                None => return Ok(None),
            }
        }
        let first = self.part.as_slice().first();
        Ok(first.map(|stored| stored.entry.path.as_slice()))
    }
}

/// What was done so far, and everything else as it was: also what seems to be gone, which may only have moved to where the
/// run did not come yet.
struct SoFar<'s, 'e, I> {
    taken_in: Entries<I>,
    rest: Option<EntryCursor>,
    next_rest: Option<StoredEntry>,
    shared: &'s Shared<'e>,
    /// Files and links that may have been folders: nothing below them stays.
    others: Vec<Vec<u8>>,
    /// Files and links as they were, which may be folders now: then they do not stay.
    held: Vec<StoredEntry>,
}

impl<I: Iterator<Item = larder_catalog::Result<Vec<StoredEntry>>>> SoFar<'_, '_, I> {
    /// Moves on to a path; gives those held back that are no folders now.
    fn come_to(&mut self, path: &[u8], is_taken_in: bool, ready: &mut Vec<StoredEntry>) {
        self.others.retain(|other| path.starts_with(other));
        let path_of = |held: &StoredEntry| held.entry.path.clone();
        release(&mut self.held, path_of, path, is_taken_in, ready);
    }

    /// Whether an entry of the version before lies below what is no folder now.
    fn is_below_another(&self, path: &[u8]) -> bool {
        let mut others = self.others.iter();
        others.any(|other| {
            path.strip_prefix(other.as_slice())
                .is_some_and(|rest| rest.starts_with(b"/"))
        })
    }

    /// Takes one entry from where the next one lies; false at the end.
    fn step(&mut self, batch: &mut Vec<StoredEntry>) -> Result<bool> {
        if self.next_rest.is_none() {
            let next = self.rest.as_mut().and_then(Iterator::next);
            self.next_rest = next.transpose()?;
        }
        let taken = self.taken_in.peek()?.map(<[u8]>::to_vec);
        let rest = self.next_rest.as_ref().map(|rest| rest.entry.path.clone());
        match (taken, rest) {
            (None, None) => {
                batch.append(&mut self.held);
                return Ok(false);
            }
            (Some(path), rest) if rest.as_ref().is_none_or(|rest| path <= *rest) => {
                self.come_to(&path, true, batch);
                if rest.is_some_and(|rest| rest == path) {
                    self.next_rest = None;
                }
                if let Some(stored) = self.taken_in.part.next() {
                    if stored.entry.kind != EntryKind::Folder {
                        self.others.push(path);
                    }
                    batch.push(stored);
                }
            }
            (_, Some(path)) => {
                self.come_to(&path, false, batch);
                if let Some(stored) = self.next_rest.take()
                    && !self.is_below_another(&path)
                    // The workers go on meanwhile: what they are about to send may come after this list, or never.
                    && self.shared.may_carry(&stored.entry, Counts::Sent)?
                {
                    match stored.entry.kind {
                        EntryKind::Folder => batch.push(stored),
                        EntryKind::File | EntryKind::Symlink => self.held.push(stored),
                    }
                }
            }
            (Some(_), None) => {}
        }
        Ok(true)
    }
}

/// Of what is held back, in path order: what no later path lies below is `ready`, and what has become a folder goes. Its own
/// entry, or one below it, may be the first that was taken in.
fn release<T>(
    held: &mut Vec<T>,
    path_of: impl Fn(&T) -> Vec<u8>,
    path: &[u8],
    is_taken_in: bool,
    ready: &mut Vec<T>,
) {
    for one in std::mem::take(held) {
        match path.strip_prefix(path_of(&one).as_slice()) {
            Some(rest) if is_taken_in && rest.starts_with(b"/") => {}
            Some(_) => held.push(one),
            None => ready.push(one),
        }
    }
}

impl<I: Iterator<Item = larder_catalog::Result<Vec<StoredEntry>>>> ListSource for SoFar<'_, '_, I> {
    fn next(&mut self, _: Option<&mut EntryWriter>) -> Result<Option<Vec<StoredEntry>>> {
        self.shared.run.cancel.check()?;
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH && self.step(&mut batch)? {}
        Ok((!batch.is_empty()).then_some(batch))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A run of days: the list of the whole version is as old as the run, and must not be taken for one under a later name.
    #[test]
    fn partial_versions_have_free_seconds_near_the_run_and_the_whole_one_is_last() {
        let mut times = Times::new(VolumeTime(10_000), 9_000);
        assert_eq!(times.of_whole(), VolumeTime(10_000));
        let mut given = BTreeSet::new();
        while let Ok(time) = times.next() {
            assert!(given.insert(time.0) && time.0 > 9_000);
            let whole = times.of_whole().0;
            assert!(given.iter().all(|given| *given < whole) && whole <= 10_000 + AFTER);
        }
        assert_eq!(
            given.len(),
            usize::try_from(999 + AFTER).unwrap(),
            "each second between the version before and the run"
        );
    }

    #[test]
    fn the_whole_version_gets_no_name_that_is_too_late() {
        let run = VolumeTime(10_000);
        let mut time = VolumeTime(run.0 + AFTER);
        let mut attempts = 0;
        while let Ok(next) = Times::after_failure(run, time) {
            time = next;
            attempts += 1;
        }
        assert_eq!(time.0, run.0 + RENAMING_SECONDS);
        assert_eq!(attempts, 80, "attempts are left for it");
    }

    #[test]
    fn a_file_that_is_a_folder_now_goes_also_before_the_folder_came() {
        let release_at = |path: &str, is_taken_in| {
            let (mut held, mut ready) = (vec!["/a", "/a/b"], Vec::new());
            let path_of = |held: &&str| held.as_bytes().to_vec();
            release(&mut held, path_of, path.as_bytes(), is_taken_in, &mut ready);
            (held, ready)
        };
        let none: [&str; 0] = [];
        assert_eq!(release_at("/a/b/", true), (none.to_vec(), none.to_vec()));
        assert_eq!(release_at("/a/b/40", true), (none.to_vec(), none.to_vec()));
        assert_eq!(release_at("/a/b-", true), (vec!["/a/b"], none.to_vec()));
        assert_eq!(
            release_at("/a/b/40", false),
            (vec!["/a", "/a/b"], none.to_vec())
        );
        assert_eq!(release_at("/c", true), (none.to_vec(), vec!["/a", "/a/b"]));
    }
}
