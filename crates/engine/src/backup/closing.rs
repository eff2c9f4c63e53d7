//! The end of a backup: its report.

use std::sync::atomic::{AtomicU64, Ordering};

use larder_volume::{EntryKind, VolumeTime};

use super::checkpoints::Sent;
use super::counters::{Counters, slot};
use crate::phases::Ready;
use crate::report::{BackupReport, Outcome, TestReport};

/// Whether the version list of a run that is stopped has reached the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListSent {
    No,
    /// It was begun to be sent.
    Perhaps,
}

impl Ready<'_> {
    /// The report of a run that the user stopped.
    pub(super) fn stopped(&self, counters: &Counters, list: ListSent, sent: &Sent) -> BackupReport {
        let partial = sent.time();
        let version = match (list, partial) {
            (ListSent::Perhaps, _) => {
                "the new version may exist: its list was being sent".to_owned()
            }
            (ListSent::No, Some(time)) => {
                format!("the partial version of {time} has a part of it")
            }
            (ListSent::No, None) => "no new version was written".to_owned(),
        };
        self.reporter.warn(
            "Stopped",
            format!(
                "stopped on request; what was uploaded is kept and used by the next run, {version}"
            ),
        );
        let mut report = self.backup_report(counters, partial, None, true);
        report.version_may_exist = list == ListSent::Perhaps;
        report.partial_backup =
            report.version_may_exist || report.common.backend_statistics.files_uploaded > 0;
        report
    }

    /// The report of a run that was asked to end: what it read is a version, unless nothing was changed.
    pub(super) fn ended_early(&self, counters: &Counters, sent: &Sent) -> BackupReport {
        let version = sent.time();
        let text = match version {
            Some(_) if sent.is_last_word => {
                "stopped on request; what was read until then is a partial version, with the rest as in the version before".to_owned()
            }
            Some(time) => format!(
                "stopped on request; what was uploaded is kept and used by the next run, the partial version of {time} has a part of it"
            ),
            None => {
                "stopped on request; what was uploaded is kept and used by the next run, no new version was written".to_owned()
            }
        };
        self.reporter.warn("Stopped", text);
        let mut report = self.backup_report(counters, version, None, true);
        report.partial_backup = report.common.backend_statistics.files_uploaded > 0;
        report
    }

    /// The report from the counters of the workers.
    pub(super) fn backup_report(
        &self,
        counters: &Counters,
        version: Option<VolumeTime>,
        test: Option<TestReport>,
        interrupted: bool,
    ) -> BackupReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = |group: &[AtomicU64; 3], kind| group.get(slot(kind)).map_or(0, get);
        use EntryKind::{File, Folder, Symlink};
        let space = self.space_after_backup(interrupted);
        let mut report = BackupReport {
            deleted_sets: Vec::new(),
            compact_results: None,
            deleted_files: of(&counters.deleted, File),
            deleted_folders: of(&counters.deleted, Folder),
            deleted_symlinks: of(&counters.deleted, Symlink),
            modified_files: of(&counters.modified, File),
            modified_folders: of(&counters.modified, Folder),
            modified_symlinks: of(&counters.modified, Symlink),
            added_files: of(&counters.added, File),
            added_folders: of(&counters.added, Folder),
            added_symlinks: of(&counters.added, Symlink),
            examined_files: get(&counters.examined_files),
            size_of_examined_files: get(&counters.examined_bytes),
            opened_files: get(&counters.opened_files),
            size_of_opened_files: get(&counters.opened_bytes),
            size_of_added_files: get(&counters.added_bytes),
            size_of_modified_files: get(&counters.modified_bytes),
            too_large_files: get(&counters.too_large),
            not_processed_files: get(&counters.skipped),
            files_with_error: get(&counters.with_error),
            partial_backup: false,
            dryrun: self.settings.dry_run,
            version_time: version.map(|t| t.to_string()),
            version_may_exist: false,
            guarded_sources: Vec::new(),
            test_results: test,
            lock_results: None,
            common: self.common("Backup", interrupted),
        };
        space.note(&mut report.common.backend_statistics);
        if report.files_with_error > 0 {
            report.common.parsed_result = Outcome::Error;
        }
        report
    }
}
