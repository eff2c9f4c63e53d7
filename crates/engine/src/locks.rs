//! Object locks: what the service keeps until a time, whoever wants it to go (`--remote-file-lock-duration`; commands spec
//! 6.2).
//!
//! The destination is the truth: until when a file is locked is asked there where it matters, and noted nowhere. So a lost
//! catalog and a second machine know as much, and a run that ends while it locks leaves nothing to mend. A backup that ended
//! well locks all that the newest version needs anew: what versions went on using was locked before and is locked longer.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use larder_destination::ErrorKind;
use larder_volume::{VolumeKind, VolumeTime};

use crate::context::{Level, Phase};
use crate::error::Reach;
use crate::phases::Ready;
use crate::report::{LockResults, LocksReport};
use crate::run::{Run, iso_time};
use crate::settle::is_stored;
use crate::sync::{Mode, Need, describe};
use crate::versions::{DefaultVersions, Version};
use crate::words::{counted, verb};
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// Error id: the destination has no object locks.
const NO_LOCKS: &str = "LocksUnsupported";
/// Error id: files could not be locked.
const FAILED: &str = "LocksFailed";
/// The last second that a time in a report can have; a hold without an end has it.
const LAST_SECOND: i64 = 253_402_207_200;
/// Versions that are named in one message.
const NAMED_VERSIONS: usize = 3;

/// How far the locking of some files came.
struct Locked {
    all: u64,
    /// Those that are locked.
    done: u64,
    /// Why there are fewer.
    trouble: Option<Error>,
}

impl Run {
    /// Locks all that the versions need that `--version`, `--time` or `--all-versions` name, for
    /// `--remote-file-lock-duration` from now on. Locks that last longer stay.
    ///
    /// # Errors
    /// A destination without locks, wrong options, no version. A file that cannot be locked is an error in the report.
    pub fn set_locks(&self) -> Result<LocksReport> {
        let Some(seconds) = self.settings.lock_seconds else {
            return Err(Error::user(
                "OptionValidationError",
                "nothing says how long the files are to be locked",
                "give --remote-file-lock-duration, such as 30D",
            ));
        };
        self.check_locks()?;
        self.with_healing(|| {
            let ready = self.ready(Mode::Reading, Need::Blocks)?;
            let versions = ready.chosen_versions(DefaultVersions::All)?;
            let filesets = ready.filesets_of(&versions)?.unwrap_or_default();
            let lists = versions.iter().map(|version| &version.volume.name);
            let mut names = ready.data_of(&filesets)?;
            names.extend(lists.map(|name| name.as_str().to_owned()));
            let until = self.clock.seconds().saturating_add(seconds);
            let mut report = LocksReport {
                dryrun: self.settings.dry_run,
                ..LocksReport::default()
            };
            report.results.volumes_read = names.len() as u64;
            if self.settings.dry_run {
                for name in &names {
                    let text = format!("Would lock remote file: {name}, {}", until_text(until));
                    self.reporter.say(Level::DryRun, "DryRun", text);
                }
                report.results.volumes_updated = names.len() as u64;
            } else {
                let locked = ready.lock(names, until);
                match locked.trouble {
                    Some(Error::Cancelled) => return Err(Error::Cancelled),
                    Some(Error::Destination(error)) if *error.kind() == ErrorKind::Unsupported => {
                        return Err(self.no_locks());
                    }
                    Some(error) => self.reporter.error(
                        FAILED,
                        format!(
                            "{} not locked: {}",
                            of_all(locked.all - locked.done, locked.all),
                            describe(&error)
                        ),
                    ),
                    None => {}
                }
                report.results.volumes_updated = locked.done;
            }
            report.note_end(until);
            report.common = self.common("SetLocks", false);
            Ok(report)
        })
    }

    /// Asks the destination until when each volume of the backup is locked.
    ///
    /// # Errors
    /// A destination without locks, or one that cannot be used.
    pub fn read_lock_info(&self) -> Result<LocksReport> {
        self.check_locks()?;
        self.with_healing(|| {
            let ready = self.ready(Mode::Reading, Need::Lists)?;
            // Says when there is none.
            ready.all_versions()?;
            self.reporter.phase(Phase::Locking);
            let names: Vec<String> = ready.view.volumes.keys().cloned().collect();
            let now = self.clock.seconds();
            let mut report = LocksReport::default();
            let outcome = for_each_parallel(
                self.settings.uploads.max(1),
                names,
                |name| match self.remote.locked_until(&name) {
                    // It went meanwhile.
                    Err(Error::Destination(error)) if *error.kind() == ErrorKind::NotFound => {
                        Ok(None)
                    }
                    other => other.map(|until| Some((name, until))),
                },
                |found| {
                    let Some((name, until)) = found else {
                        return Ok(());
                    };
                    report.results.volumes_read += 1;
                    if let Some(until) = until.filter(|until| *until > now) {
                        report.locked_volumes += 1;
                        report.note_end(until);
                        let text = format!("{name} is locked {}", until_text(until));
                        self.reporter.say(Level::Verbose, "VolumeLocked", text);
                    }
                    Ok(())
                },
            );
            match outcome {
                Err(Error::Destination(error)) if *error.kind() == ErrorKind::Unsupported => {
                    return Err(self.no_locks());
                }
                other => other?,
            }
            report.common = self.common("ReadLockInfo", false);
            Ok(report)
        })
    }

    /// What is known before anything is asked.
    fn check_locks(&self) -> Result<()> {
        match self.remote.may_have_locks() {
            true => Ok(()),
            false => Err(self.no_locks()),
        }
    }

    fn no_locks(&self) -> Error {
        Error::user(
            NO_LOCKS,
            format!(
                "{} has no object locks, so no file in it can be locked",
                self.remote.display()
            ),
            NO_LOCKS_HELP,
        )
    }

    /// Until when a file is locked that somebody wants to go. Where that cannot be told the destination decides when it is
    /// asked to remove it.
    pub(crate) fn lock_of(&self, name: &str) -> Result<Option<i64>> {
        if !self.remote.may_have_locks() {
            return Ok(None);
        }
        let until = match self.remote.locked_until(name) {
            Err(Error::Destination(error))
                if matches!(
                    error.kind(),
                    ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::NotFound
                ) =>
            {
                None
            }
            other => other?,
        };
        Ok(until.filter(|until| *until > self.clock.seconds()))
    }
}

impl Ready<'_> {
    /// Locks what the newest version needs after a backup, when that is asked for; `written` is the time of the version that
    /// this run stored. Trouble with it must not hide what was stored.
    pub(crate) fn lock_newest(&self, written: Option<VolumeTime>) -> Option<LockResults> {
        let seconds = self.settings.lock_seconds?;
        if !self.remote.may_have_locks() {
            self.warn_of_no_locks();
            return None;
        }
        let until = self.clock.seconds().saturating_add(seconds);
        let locked = match self.files_of_newest(written) {
            Ok(names) => self.lock(names, until),
            Err(error) => Locked {
                all: 0,
                done: 0,
                trouble: Some(error),
            },
        };
        let missing = locked.all - locked.done;
        match locked.trouble {
            None => self.reporter.info(
                "VolumesLocked",
                format!(
                    "{} that the newest version needs {} locked {}",
                    counted(locked.done, "file"),
                    verb(locked.done, "is", "are"),
                    until_text(until)
                ),
            ),
            Some(Error::Cancelled) => self.reporter.warn(
                "Stopped",
                format!(
                    "stopped on request: {} not locked; everything was stored, and the next backup tries again",
                    of_newest(missing, locked.all)
                ),
            ),
            Some(Error::Destination(error)) if *error.kind() == ErrorKind::Unsupported => {
                self.warn_of_no_locks();
                return None;
            }
            Some(error) => self.reporter.warn(
                FAILED,
                format!(
                    "{} not locked: {}; everything was stored, and the next backup tries again",
                    of_newest(missing, locked.all),
                    describe(&error)
                ),
            ),
        }
        Some(LockResults {
            volumes_read: locked.all,
            volumes_updated: locked.done,
        })
    }

    /// What a dry run says of it.
    pub(crate) fn tell_locking(&self) {
        let Some(seconds) = self.settings.lock_seconds else {
            return;
        };
        if !self.remote.may_have_locks() {
            self.warn_of_no_locks();
            return;
        }
        let until = self.clock.seconds().saturating_add(seconds);
        let text = format!(
            "Would lock all files that the newest version needs, {}",
            until_text(until)
        );
        self.reporter.say(Level::DryRun, "DryRun", text);
    }

    fn warn_of_no_locks(&self) {
        self.reporter.warn(
            NO_LOCKS,
            format!(
                "{} has no object locks, so --remote-file-lock-duration protects nothing there: {NO_LOCKS_HELP}",
                self.remote.display()
            ),
        );
    }

    /// The files that the newest version of the catalog needs, its list among them.
    fn files_of_newest(&self, written: Option<VolumeTime>) -> Result<Vec<String>> {
        let newest = self.catalog(|c| {
            let newest = c.filesets()?.into_iter().next();
            let list = newest.as_ref().map(|newest| c.volume(newest.volume));
            Ok(newest.zip(list.transpose()?.flatten()))
        })?;
        let Some((newest, list)) = newest else {
            return Err(Error::Bug("a backup without a version".into()));
        };
        if written.is_some_and(|written| written.0 != newest.time) {
            return Err(Error::Bug(
                "the catalog does not know the version that was just stored".into(),
            ));
        }
        let mut names = self.data_of(&[newest.id])?;
        names.push(list.name);
        Ok(names)
    }

    /// The data files that hold what versions use, and their indexes: all of them where it is not known what is used.
    fn data_of(&self, filesets: &[i64]) -> Result<Vec<String>> {
        let used = match filesets {
            [] => None,
            filesets => self.all_used_blocks(filesets)?,
        };
        let mut needed: Option<HashSet<i64>> = None;
        if let Some(used) = used {
            let usages = self.catalog(|c| c.volume_usage(&used))?;
            let found: u64 = usages.iter().map(|usage| usage.used_blocks).sum();
            // Otherwise some are where no index says.
            if found.saturating_add(self.lost_and_used(&used)?) >= used.len() {
                let usages = usages.iter().filter(|usage| usage.used_blocks > 0);
                needed = Some(usages.map(|usage| usage.volume).collect());
            }
        }
        let indexes = self.indexes_by_volume()?;
        let mut names = BTreeSet::new();
        for row in self.catalog(|c| c.volumes())? {
            let is_needed = needed.as_ref().is_none_or(|ids| ids.contains(&row.id));
            if row.kind == VolumeKind::Blocks && is_stored(&row) && is_needed {
                let of_it = indexes.get(&row.id).into_iter().flatten();
                names.extend(of_it.map(|index| index.name.clone()));
                names.insert(row.name);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Locks files, several at a time. One that is not there costs that one only, other trouble ends it.
    fn lock(&self, names: Vec<String>, until: i64) -> Locked {
        self.reporter.phase(Phase::Locking);
        let (all, done) = (names.len() as u64, AtomicU64::new(0));
        let mut trouble = None;
        let outcome = for_each_parallel(
            self.settings.uploads.max(1),
            names,
            |name| match self.remote.lock(&name, until) {
                Ok(()) => {
                    done.fetch_add(1, Ordering::Relaxed);
                    Ok(None)
                }
                Err(error) if error.reach() == Reach::Volume => Ok(Some(error)),
                Err(error) => Err(error),
            },
            |failed| {
                trouble = trouble.take().or(failed);
                Ok(())
            },
        );
        Locked {
            all,
            done: done.into_inner(),
            trouble: outcome.err().or(trouble),
        }
    }

    /// Leaves out the versions whose lists are locked, and says so.
    pub(crate) fn without_locked(&self, going: &[Version]) -> Result<Vec<Version>> {
        let (mut free, mut locked) = (Vec::new(), Vec::new());
        for version in going {
            match self.lock_of(version.volume.name.as_str())? {
                None => free.push(version.clone()),
                Some(until) => locked.push((version, until)),
            }
        }
        if !locked.is_empty() {
            let count = locked.len() as u64;
            let named = locked.iter().rev().take(NAMED_VERSIONS);
            let named: Vec<String> = named
                .map(|(version, until)| format!("that of {} {}", version.time, until_text(*until)))
                .collect();
            let more = if locked.len() > NAMED_VERSIONS {
                ", …"
            } else {
                ""
            };
            self.reporter.warn(
                "VersionsLocked",
                format!(
                    "{} {}, since the destination keeps {} locked: {}{more}",
                    counted(count, "version"),
                    verb(count, "stays", "stay"),
                    verb(count, "its list", "their lists"),
                    named.join(", ")
                ),
            );
        }
        Ok(free)
    }

    /// Which of some files are locked, by their places.
    pub(crate) fn locked_among(&self, files: Vec<(usize, String)>) -> Result<Vec<usize>> {
        let mut locked = Vec::new();
        // Trouble of one is that of the next: what is locked shows when it is to be removed.
        let is_mute = AtomicBool::new(false);
        for_each_parallel(
            self.settings.uploads.max(1),
            files,
            |(place, name)| {
                if is_mute.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                match self.remote.locked_until(&name) {
                    Err(Error::Destination(error)) => {
                        let is_gone = *error.kind() == ErrorKind::NotFound;
                        is_mute.fetch_or(!is_gone, Ordering::Relaxed);
                        Ok(None)
                    }
                    other => {
                        let until = other?.filter(|until| *until > self.clock.seconds());
                        Ok(until.map(|_| place))
                    }
                }
            },
            |place| {
                locked.extend(place);
                Ok(())
            },
        )?;
        Ok(locked)
    }
}

impl LocksReport {
    /// Takes in when one of the locks ends.
    fn note_end(&mut self, until: i64) {
        let until = until.min(LAST_SECOND);
        let first = self.first_end.map_or(until, |first| first.min(until));
        let last = self.last_end.map_or(until, |last| last.max(until));
        (self.first_end, self.last_end) = (Some(first), Some(last));
    }
}

/// `until 2026-11-30T12:00:00Z`; a hold may have no end.
pub(crate) fn until_text(until: i64) -> String {
    match jiff::Timestamp::from_second(until) {
        Ok(_) => format!("until {}", iso_time((until, 0))),
        Err(_) => "without an end".to_owned(),
    }
}

/// `1 of 3 files is`.
fn of_all(some: u64, all: u64) -> String {
    format!(
        "{some} of {} {}",
        counted(all, "file"),
        verb(some, "is", "are")
    )
}

/// The same of the newest version; all of them when it is not known which there are.
fn of_newest(some: u64, all: u64) -> String {
    match all {
        0 => "the files of the newest version are".to_owned(),
        all => format!(
            "{some} of {} that the newest version needs {}",
            counted(all, "file"),
            verb(some, "is", "are")
        ),
    }
}

/// What helps where there are none.
const NO_LOCKS_HELP: &str = "use a destination with object locks, or protect the files by the means of the service itself, such as snapshots";

#[cfg(test)]
mod tests {
    use super::{LAST_SECOND, iso_time, until_text};

    #[test]
    fn a_hold_without_an_end_is_named_so() {
        assert_eq!(until_text(1_760_000_000), "until 2025-10-09T08:53:20Z");
        assert_eq!(until_text(i64::MAX), "without an end");
        assert_eq!(iso_time((LAST_SECOND, 0)), "9999-12-30T22:00:00Z");
    }
}
