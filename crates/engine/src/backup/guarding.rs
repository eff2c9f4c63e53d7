//! A backup under the guard of its sources: what is kept, what is told, and what does not happen afterwards.

use larder_options::engine as opt;
use larder_source::{Root, WalkOptions};
use larder_volume::{HashAlgorithm, VolumeTime};

use super::checkpoints::Sent;
use super::counters::Counters;
use super::gather::Gathered;
use super::guard::{Guard, Limits};
use crate::guarded::{GuardReason, GuardedSource};
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

/// Catalog parameter: a hash of the filters of the last run that kept the list of no source.
const FILTERS: &str = "source-filters";

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
        let mut limits = Limits {
            lost: share(opt::MAX_SOURCE_LOSS)?,
            changed: share(opt::MAX_SOURCE_CHANGE)?,
        };
        // What other filters leave out is no loss.
        let before = self.catalog(|c| c.param(FILTERS))?;
        if before.is_some_and(|before| before != hash_of_filters(asked.options)) {
            limits.lost = 0;
        }
        let mut guard = match self.values.get(opt::ACCEPT_SOURCE_CHANGES)? {
            true => Guard::new(std::iter::empty(), limits),
            false => Guard::new(asked.roots.iter().chain(asked.no_roots), limits),
        };
        let previous = self.catalog(|c| c.previous())?;
        for source in guard.to_look_at() {
            self.cancel.check()?;
            self.catalog(|c| {
                c.each_entry_from(previous.as_slice(), source.prefix(), &mut |stored, _| {
                    source.look_at(&stored.entry);
                    Ok(())
                })
            })?;
        }
        let may_be_missing = self.values.get(opt::ALLOW_MISSING_SOURCE)?;
        for (source, is_expected) in guard.keep_missed(may_be_missing) {
            match is_expected {
                true => self.reporter.info(
                    "SourceKept",
                    format!(
                        "the source {} is missing; what the last version has of it is kept",
                        source.path
                    ),
                ),
                false => self.tell_guarded(&source),
            }
        }
        if asked.roots.is_empty() && guard.guarded().is_empty() {
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
            lost.iter().for_each(|source| self.tell_guarded(source));
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

    fn tell_guarded(&self, source: &GuardedSource) {
        let would = match self.settings.dry_run {
            true => "would be",
            false => "is",
        };
        let left_out = match source.reason {
            GuardReason::Missing | GuardReason::Empty => String::new(),
            GuardReason::NoFolder | GuardReason::Lost | GuardReason::Changed => {
                format!(", and nothing of what is there now {would} in the new one")
            }
        };
        self.reporter.warn(
            "SourceGuarded",
            format!(
                "{}: what the last version has of it {would} kept{left_out}; {}",
                what_happened(source),
                what_helps(source.reason)
            ),
        );
    }

    /// Notes by which filters the sources were read, for the next run to know whether they are others then.
    pub(super) fn note_filters(&self, asked: &Asked<'_>, guard: &Guard) -> Result<()> {
        if guard.keeps_any() {
            return Ok(());
        }
        let filters = hash_of_filters(asked.options);
        self.catalog(|c| c.set_param(FILTERS, &filters))
    }

    /// Old versions go and space is freed, unless a source looked lost.
    pub(super) fn tidy(
        &mut self,
        guard: &Guard,
        version: Option<VolumeTime>,
        stored: &[StoredVolume],
    ) -> (Vec<DeletedVersion>, Option<CompactResults>) {
        if guard.guarded().is_empty() {
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

/// All that decides what a walk leaves out.
fn hash_of_filters(options: &WalkOptions) -> String {
    let filter = &options.filter;
    let rules = (0..filter.len()).map(|rule| (filter.action(rule), filter.text(rule)));
    let rules: Vec<_> = rules.collect();
    let others = (
        &options.exclude_attributes,
        options.max_size,
        &options.ignore_names,
        options.symlinks,
        options.hardlinks,
        options.exclusion_xattrs,
        options.exclude_empty_folders,
    );
    let text = format!("{rules:?} {others:?}");
    HashAlgorithm::Sha256.digest(text.as_bytes()).to_string()
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
