//! A backup under the guard of its sources: what is kept, what is told, and what does not happen afterwards.

use larder_options::engine as opt;
use larder_source::{Root, WalkOptions};
use larder_volume::VolumeTime;

use super::checkpoints::{AFTER, Sent};
use super::counters::{Counters, bump};
use super::gather::Gathered;
use super::guard::{Guard, Limits};
use super::source_notes::SourceNotes;
use crate::guarded::{GuardReason, GuardedSource};
use crate::notes::{Presence, SOURCES_READ};
use crate::phases::Ready;
use crate::report::{CompactResults, DeletedVersion};
use crate::volumes::StoredVolume;
use crate::words::{counted, verb};
use crate::{Error, Result};

/// What a backup was asked to store.
pub(super) struct Asked<'a> {
    /// The sources that are walked.
    pub(super) roots: &'a [Root],
    /// The others that the user named: missing ones, and those that lie in another one.
    pub(super) no_roots: &'a [Root],
    /// What a walk takes and what it leaves out.
    pub(super) options: &'a WalkOptions,
}

impl Ready<'_> {
    /// Looks at the sources before anything is read, and keeps the lists of those that are missing or empty.
    ///
    /// # Errors
    /// Of all sources none exists, and none is known.
    pub(super) fn guard(&self, asked: &Asked<'_>) -> Result<Guard> {
        let share = |option| -> Result<u64> {
            let share = self.values.get(option)?;
            Ok(u64::try_from(share).unwrap_or(0))
        };
        let limits = Limits {
            lost: share(opt::MAX_SOURCE_LOSS)?,
            changed: share(opt::MAX_SOURCE_CHANGE)?,
        };
        if !self.settings.dry_run {
            self.learn_own_versions()?;
        }
        let previous = self.compared_version()?;
        let is_known = previous.is_some() || self.view.lists().is_empty();
        // Of what is missed is only known that others have it.
        let of = match is_known {
            true => previous,
            false => self.catalog(|c| c.previous())?,
        };
        let last_read = self.last_reading(previous)?;
        let notes = self.catalog(|c| SourceNotes::of(c))?;
        let mut guard = Guard::new(asked.roots.iter().chain(asked.no_roots), limits)
            .accepting(self.values.get(opt::ACCEPT_SOURCE_CHANGES)?)
            .knowing(last_read, &notes, asked.options);
        if self.has_later_ones(previous)? {
            guard = guard.beside_others();
        }
        if !is_known {
            self.reporter.info(
                "SourcesNotCompared",
                "no version that was made from here can be read, so all files are read, and how many are gone or changed is not looked at",
            );
        }
        for source in guard.to_look_at() {
            self.cancel.check()?;
            self.catalog(|c| {
                c.each_entry_from(of.as_slice(), source.prefix(), &mut |stored, _| {
                    source.look_at(&stored.entry);
                    Ok(())
                })
            })?;
        }
        match is_known {
            true => self.keep_missed(&mut guard)?,
            false => {
                let missed: Vec<String> = guard.missed().collect();
                for path in missed {
                    self.tell_not_kept(&path);
                    guard.note_lacking();
                }
            }
        }
        if asked.roots.is_empty() && !guard.keeps_any() {
            return Err(no_sources());
        }
        Ok(guard)
    }

    /// Reads the sources; once more without those that turn out to look lost, of which what is known stays then.
    pub(super) fn gather_guarded(
        &self,
        asked: &Asked<'_>,
        mut time: VolumeTime,
        (counters, guard): (&mut Counters, &mut Guard),
        sent: &mut Sent,
    ) -> Result<Gathered> {
        let mut stored = Vec::new();
        loop {
            guard.count_anew();
            let mut gathered = self.gather(asked, guard, time, counters, sent)?;
            let lost = match gathered.list.is_full {
                true => guard.keep_lost(),
                // The user does not wait for the sources to be read once more.
                false => Vec::new(),
            };
            lost.iter()
                .for_each(|source| self.tell_guarded(source, guard.whose()));
            if lost.is_empty() {
                self.tell_cut_short(guard, counters);
            }
            // In a dry run nothing comes of it.
            if lost.is_empty() || self.settings.dry_run {
                stored.append(&mut gathered.stored);
                gathered.stored = stored;
                return Ok(gathered);
            }
            // What was stored of it stays, and is used once it is accepted.
            stored.append(&mut gathered.stored);
            time = gathered.time;
            drop(gathered);
            *counters = Counters {
                without_blocks: std::mem::take(&mut counters.without_blocks),
                ..Counters::default()
            };
            self.reporter.tell_nothing_twice();
        }
    }

    /// Of a source that went away and has no version before there is nothing to keep.
    fn tell_cut_short(&self, guard: &Guard, counters: &Counters) {
        for path in guard.cut_short() {
            bump(&counters.with_error, 1);
            self.reporter.error(
                "SourceWentAway",
                format!(
                    "the source {path} went away while it was read, so files of it may be missing in this version: mount it or bring it back, and run the backup again"
                ),
            );
        }
    }

    fn tell_guarded(&self, source: &GuardedSource, whose: &str) {
        let would = match self.settings.dry_run {
            true => "would be",
            false => "is",
        };
        let left_out = match source.reason {
            GuardReason::Missing | GuardReason::Empty => String::new(),
            GuardReason::NoFolder
            | GuardReason::Lost
            | GuardReason::WentAway
            | GuardReason::Changed => {
                format!(", and nothing of what is there now {would} in the new one")
            }
        };
        self.reporter.warn(
            "SourceGuarded",
            format!(
                "{}: what {whose} has of it {would} kept{left_out}; {}",
                what_happened(source),
                what_helps(source.reason)
            ),
        );
    }

    /// Whether others made a version after the one that this run compares with.
    pub(super) fn has_later_ones(&self, compared: Option<i64>) -> Result<bool> {
        let filesets = self.catalog(|c| c.filesets())?;
        let newest = filesets.first().map(|fileset| fileset.id);
        Ok(compared.is_some() && newest != compared)
    }

    /// Keeps what one version has of the sources that are missing or empty.
    fn keep_missed(&self, guard: &mut Guard) -> Result<()> {
        let whose = guard.whose();
        let may_be_missing = self.values.get(opt::ALLOW_MISSING_SOURCE)?;
        for (source, is_expected) in guard.keep_missed(may_be_missing) {
            match is_expected {
                true => self.reporter.info(
                    "SourceKept",
                    format!(
                        "the source {} is missing; what {whose} has of it is kept",
                        source.path
                    ),
                ),
                false => self.tell_guarded(&source, whose),
            }
        }
        Ok(())
    }

    fn tell_not_kept(&self, path: &str) {
        self.reporter.warn(
            "SourceNotKept",
            format!(
                "the source {path} looks lost, and the last version was not made from here: what there was of this source is not known any more, so the new version is without it, and no old version is deleted by this run. A --{} of its own for each machine keeps their versions apart",
                opt::PREFIX.decl.name
            ),
        );
    }

    /// When the last run was begun that looked at every entry, or else the previous version, in seconds since 1970.
    fn last_reading(&self, previous: Option<i64>) -> Result<Option<i64>> {
        let noted = self.catalog(|c| c.param(SOURCES_READ))?;
        let noted = noted.and_then(|seconds| seconds.parse().ok());
        let filesets = self.catalog(|c| c.filesets())?;
        let before = || filesets.iter().skip_while(|f| Some(f.id) != previous);
        // A partial version may hold what was read for any of those before it.
        // Its name may be later than its run by the partial ones before it.
        let whole = || before().find(|f| f.is_full).map(|f| f.time - AFTER);
        let oldest = || self.view.lists().last().map(|(time, _)| time.0 - AFTER);
        let begun = previous.and_then(|_| whole().or_else(oldest));
        Ok(noted.or(begun))
    }

    /// Notes what the next run has to know of this one, which came to the end of its sources; `all_was_read` but for what is
    /// kept.
    pub(super) fn note_reading(&self, guard: &Guard, all_was_read: bool) -> Result<()> {
        let begun = self.started().0.to_string();
        self.catalog(|c| {
            guard.notes(all_was_read).store(c)?;
            if all_was_read {
                c.set_param(SOURCES_READ, &begun)?;
            }
            // Blocks of what is kept were not looked up.
            match all_was_read && !guard.keeps_any() {
                true => Presence::Seen.note(c),
                false => Ok(()),
            }
        })
    }

    /// Old versions go and space is freed, unless a source looked lost.
    pub(super) fn tidy(
        &mut self,
        guard: &Guard,
        version: Option<VolumeTime>,
        stored: &[StoredVolume],
    ) -> (Vec<DeletedVersion>, Option<CompactResults>) {
        if !guard.holds_back() {
            let deleted = self.delete_after_backup(version);
            let compacted = self.compact_when_due(!deleted.is_empty(), stored);
            return (deleted, compacted);
        }
        if version.is_none() {
            self.reporter.info(
                "NoNewVersion",
                "no new version was written, since nothing else changed",
            );
        }
        let why = "since a source looks lost: what older versions have of it may be needed";
        match self.retention_rule() {
            Ok(None) => self
                .reporter
                .info("CompactHeldBack", format!("no space is freed, {why}")),
            _ => self.reporter.warn(
                "RetentionHeldBack",
                format!("no old version is deleted and no space is freed, {why}"),
            ),
        }
        (Vec::new(), None)
    }
}

/// The error for a backup of nothing.
pub(super) fn no_sources() -> Error {
    Error::user(
        "NoSources",
        "none of the source folders exists, so the backup would be empty",
        "check the source paths",
    )
}

/// What is told of a source that looks lost.
fn what_happened(source: &GuardedSource) -> String {
    let had = counted(source.files_before, "file");
    let path = &source.path;
    let gone = || format!("{} gone, {} new", are(source.files_lost), source.files_new);
    match source.reason {
        GuardReason::Missing => format!("the source {path} is missing, which had {had}"),
        GuardReason::NoFolder => {
            format!("the source {path} was a folder with {had} and is none any more")
        }
        GuardReason::Empty => format!("the source {path} is empty, which had {had}"),
        GuardReason::Lost => format!("the source {path} had {had}: {}", gone()),
        GuardReason::WentAway => format!(
            "the source {path} went away while it was read, which had {had}: {} were not met any more",
            source.files_lost
        ),
        GuardReason::Changed => format!(
            "the source {path} had {had}: {} of other content now, {}",
            are(source.files_changed),
            gone()
        ),
    }
}

/// What the user can do about it.
fn what_helps(reason: GuardReason) -> String {
    let accept = format!("give --{} once", opt::ACCEPT_SOURCE_CHANGES.decl.name);
    match reason {
        GuardReason::Missing => format!(
            "mount it or bring it back; if it may be away at times, --{} keeps what was backed up of it and goes on; if it is no longer wanted, take it off the sources",
            opt::ALLOW_MISSING_SOURCE.decl.name
        ),
        GuardReason::Empty => {
            format!("mount it or bring its files back, or {accept} if it is to be empty")
        }
        GuardReason::NoFolder => {
            format!("mount it or bring the folder back, or {accept} if it is as it should be")
        }
        GuardReason::WentAway => "mount it or bring it back, and run the backup again".to_owned(),
        GuardReason::Lost => format!(
            "mount it or bring the files back, or {accept} if they are to be gone; --{} says how many may go",
            opt::MAX_SOURCE_LOSS.decl.name
        ),
        GuardReason::Changed => format!(
            "look whether a program has spoilt them, or {accept} if they are as they should be; --{} says how many may change",
            opt::MAX_SOURCE_CHANGE.decl.name
        ),
    }
}

/// `1 is`, `2 are`.
fn are(number: u64) -> String {
    format!("{number} {}", verb(number, "is", "are"))
}
