//! Closing lines of operations, and the exit codes that follow from their reports (docs/reference/exit-codes.md).

use jiff::tz::TimeZone;
use larder_engine::words::{counted, noun, verb};
use larder_engine::{
    BackupReport, BrokenFilesReport, CompactReport, CompactResults, CompareReport, DeleteReport,
    Harm, Outcome, PurgeReport, RepairReport, RestoreReport, TestReport, VacuumReport,
};
use larder_options::value::format_size;

use crate::{Line, local_time};

/// How an operation is told at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Lines of the result.
    pub lines: Vec<Line>,
    /// Lines about what went wrong, which belong apart from the result.
    pub complaints: Vec<Line>,
    /// The exit code.
    pub code: i32,
}

impl Told {
    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Words(text.into()));
    }

    fn complain(&mut self, text: impl Into<String>) {
        self.complaints.push(Line::Words(text.into()));
    }
}

/// How much of long lists is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The beginning of each list.
    Short,
    /// Everything (`--full-result`).
    Full,
}

impl Detail {
    /// Where what is left out of a list is to be seen.
    fn where_more_is(self) -> &'static str {
        match self {
            Self::Short => "use --full-result to see all",
            // Of the longest lists the first part.
            Self::Full => "each was told when it was met",
        }
    }

    /// So many of a list of which usually `short` are told.
    pub(crate) fn most(self, short: usize) -> usize {
        match self {
            Self::Short => short,
            Self::Full => usize::MAX,
        }
    }
}

/// Paths and findings that are told of a long list.
pub(crate) const SHORT_PATHS: usize = 11;
const SHORT_FINDINGS: usize = 10;
/// Exit codes of a backup that was stopped: with something stored for the next run, and without.
const STOPPED: i32 = 50;
const STOPPED_EMPTY: i32 = 100;
/// Exit code of a backup that kept what was known of a source, since that looks lost.
const GUARDED: i32 = 51;

/// The closing block of a backup.
#[must_use]
pub fn backup(report: &BackupReport) -> Told {
    let statistics = &report.common.backend_statistics;
    let mut told = Told {
        code: backup_code(report),
        ..Told::default()
    };
    if report
        .test_results
        .as_ref()
        .is_some_and(|t| t.damaged() == 0)
    {
        told.say("Remote backup verification completed");
    }
    let mut fact =
        |name: &str, value: &dyn std::fmt::Display| told.say(format!("  {name}: {value}"));
    fact("Duration of backup", &report.common.duration);
    fact("Remote files", &statistics.known_file_count);
    fact("Remote filesets", &statistics.known_filesets);
    fact("Remote size", &format_size(statistics.known_file_size));
    for (name, bytes) in [
        ("Total remote quota", statistics.total_quota_space),
        ("Available remote quota", statistics.free_quota_space),
    ] {
        if let Ok(bytes) = u64::try_from(bytes) {
            fact(name, &format_size(bytes));
        }
    }
    fact("Files added", &report.added_files);
    fact("Files deleted", &report.deleted_files);
    fact("Files changed", &report.modified_files);
    fact("Data uploaded", &format_size(statistics.bytes_uploaded));
    fact("Data downloaded", &format_size(statistics.bytes_downloaded));
    let is_guarded = !report.guarded_sources.is_empty();
    let has_errors = report.common.parsed_result == Outcome::Error;
    told.say(if report.dryrun {
        "Dry run completed; nothing was stored"
    } else if report.version_may_exist {
        "Backup stopped; the new version may have been written"
    } else if report.common.interrupted && report.version_time.is_some() {
        "Backup stopped; a partial version was written"
    } else if report.common.interrupted {
        "Backup stopped; no new version was written"
    } else if is_guarded && has_errors {
        "Backup finished with errors; besides, a source looks lost, and what was known of it is kept"
    } else if is_guarded && report.version_time.is_none() {
        "Backup finished without a new version, since nothing else changed; a source looks lost, and what was known of it is kept"
    } else if is_guarded {
        "Backup finished; a source looks lost, and what was known of it is kept"
    } else if has_errors {
        "Backup finished with errors"
    } else {
        "Backup completed successfully!"
    });
    told
}

fn backup_code(report: &BackupReport) -> i32 {
    if report.common.interrupted {
        return if report.partial_backup {
            STOPPED
        } else {
            STOPPED_EMPTY
        };
    }
    let uploaded = report.common.backend_statistics.bytes_uploaded;
    match report.common.parsed_result {
        Outcome::Error => 3,
        _ if !report.guarded_sources.is_empty() => GUARDED,
        Outcome::Warning => 2,
        Outcome::Success if uploaded == 0 => 1,
        Outcome::Success => 0,
    }
}

/// A backup in one line, for logs.
#[must_use]
pub fn backup_log(report: &BackupReport) -> String {
    format!(
        "{:?}: {} added, {} deleted, {} changed, {} sent",
        report.common.parsed_result,
        counted(report.added_files, "file"),
        report.deleted_files,
        report.modified_files,
        format_size(report.common.backend_statistics.bytes_uploaded)
    )
}

/// The closing lines of a restore.
#[must_use]
pub fn restore(report: &RestoreReport, detail: Detail) -> Told {
    let mut told = Told::default();
    let place = report
        .restore_path
        .as_deref()
        .unwrap_or("original location");
    told.say(format!(
        "Restored {} ({}) {} to {place}",
        report.restored_files,
        format_size(report.size_of_restored_files),
        noun(report.restored_files, "file")
    ));
    if report.unmodified_files > 0 {
        told.say(format!(
            "{} ({}) {} right already",
            counted(report.unmodified_files, "file"),
            format_size(report.size_of_unmodified_files),
            verb(report.unmodified_files, "was", "were")
        ));
    }
    if report.kept_files > 0 {
        told.say(format!(
            "{} {}",
            counted(report.kept_files, "existing file"),
            verb(
                report.kept_files,
                "was kept; the restored one stands beside it with the date of the version in its name",
                "were kept; the restored ones stand beside them with the date of the version in their names"
            )
        ));
    }
    told.say(format!("Duration of restore: {}", report.common.duration));
    let broken = report.broken_remote_files_actual_length + report.broken_local_files_actual_length;
    if broken > 0 {
        let most = detail.most(SHORT_PATHS);
        told.complain(format!(
            "{} could not be restored:",
            counted(broken, "file")
        ));
        let named = (report.broken_remote_files.iter()).chain(&report.broken_local_files);
        let mut left = broken;
        for path in named.take(most) {
            told.complain(format!("  {path}"));
            left -= 1;
        }
        if left > 0 {
            told.complain(format!(
                "  ... and {left} more ({})",
                detail.where_more_is()
            ));
        }
        if !report.broken_remote_files.is_empty() {
            told.complain(
                "`larder recovery download`, then `recovery index` and `recovery restore`, may get more out of damaged files",
            );
        }
    }
    told.code = match report.common.parsed_result {
        Outcome::Success if broken == 0 => 0,
        Outcome::Success | Outcome::Warning | Outcome::Error => 2,
    };
    told
}

/// A restore in one line, for logs.
#[must_use]
pub fn restore_log(report: &RestoreReport) -> String {
    format!(
        "{:?}: {} restored, {} received",
        report.common.parsed_result,
        counted(report.restored_files, "file"),
        format_size(report.common.backend_statistics.bytes_downloaded)
    )
}

/// The findings of a test.
#[must_use]
pub fn test(report: &TestReport, detail: Detail) -> Told {
    let damaged = report.damaged();
    let mut told = Told {
        code: if damaged == 0 { 0 } else { 3 },
        ..Told::default()
    };
    for checked in &report.verifications {
        if checked.findings.is_empty() {
            if detail == Detail::Full {
                told.say(format!("{}: No errors", checked.file));
            }
            continue;
        }
        told.say(format!(
            "{}: {}",
            checked.file,
            counted(checked.findings.len() as u64, "error")
        ));
        let most = detail.most(SHORT_FINDINGS);
        for finding in checked.findings.iter().take(most) {
            told.say(format!("\t{}: {}", finding.kind, finding.detail));
        }
        more(&mut told, checked.findings.len(), most);
    }
    for harm in &report.harm {
        hurt(&mut told, harm, detail);
    }
    let examined = counted(report.verifications.len() as u64, "file");
    if damaged == 0 {
        told.say(format!("Examined {examined} and found no errors"));
    } else {
        let are = verb(damaged as u64, "is", "are");
        told.say(format!(
            "Examined {examined}, {damaged} of them {are} damaged"
        ));
    }
    told
}

/// What stands behind the path of a file whose content is whole.
const ONLY_METADATA: &str = " (only times and permissions are lost)";

/// What a damaged volume costs.
fn hurt(told: &mut Told, harm: &Harm, detail: Detail) {
    let versions: Vec<_> = harm.versions.iter().map(u64::to_string).collect();
    if harm.path_count == 0 {
        // A list: without it nothing of the version is known.
        told.say(format!(
            "{} is the list of version {}: nothing of this version can be restored",
            harm.file,
            versions.join(", ")
        ));
        return;
    }
    let metadata = match harm.metadata_count {
        0 => String::new(),
        all if all == harm.path_count => " (only times and permissions)".to_owned(),
        some => format!(" ({some} of them only in times and permissions)"),
    };
    told.say(format!(
        "{} hurts {}{metadata} in the {} {}:",
        harm.file,
        counted(harm.path_count, "entry"),
        noun(versions.len() as u64, "version"),
        versions.join(", ")
    ));
    let most = detail.most(SHORT_PATHS);
    for path in harm.paths.iter().take(most) {
        let what = match harm.metadata_paths.binary_search(path).is_ok() {
            true => ONLY_METADATA,
            false => "",
        };
        told.lines.push(Line::Path(format!("\t{path}{what}")));
    }
    match (harm.more_paths, detail) {
        (false, _) => more(told, harm.paths.len(), most),
        (true, Detail::Short) => told.say("\t... and others (use --full-result to see them)"),
        (true, Detail::Full) => told.say("\t... and others"),
    }
}

fn more(told: &mut Told, all: usize, most: usize) {
    if let Some(rest) = all.checked_sub(most).filter(|rest| *rest > 0) {
        told.say(format!(
            "\t... and {rest} more (use --full-result to see all)"
        ));
    }
}

/// A test in one line, for logs.
#[must_use]
pub fn test_log(report: &TestReport) -> String {
    format!(
        "{} examined, {} damaged",
        counted(report.verifications.len() as u64, "volume"),
        report.damaged()
    )
}

/// What differs between two versions. The words are Duplicati's (console samples, 5).
#[must_use]
pub fn compare(report: &CompareReport, detail: Detail, zone: &TimeZone) -> Told {
    let mut told = Told::default();
    let versions = [
        (report.base_version_index, report.base_version_timestamp),
        (
            report.compare_version_index,
            report.compare_version_timestamp,
        ),
    ];
    told.say("Listing changes");
    for (number, time) in versions {
        told.say(format!("  {number}: {}", local_time(time, zone)));
    }
    told.say("");
    let (base, other) = (report.base_version_index, report.compare_version_index);
    told.say(format!(
        "Size of backup {base}: {}",
        format_size(report.previous_size)
    ));
    told.say("");
    if report.changes() == 0 {
        told.say("No changes found");
    }
    let groups = [
        ("Added", "added", '+'),
        ("Modified", "modified", '~'),
        ("Deleted", "deleted", '-'),
    ];
    for (change, word, sign) in groups {
        let count = report.of_kind(change);
        if count == 0 {
            continue;
        }
        told.say(format!("  {count} {word} entries:"));
        let named = report
            .change_details
            .iter()
            .filter(|one| one.change == change);
        let most = detail.most(SHORT_PATHS);
        let mut shown = 0;
        for one in named.take(most) {
            told.lines
                .push(Line::Path(format!("  {sign} {}", one.path)));
            shown += 1;
        }
        more(&mut told, count as usize, shown);
        told.say("");
    }
    let figures = [
        ("Added folders", report.added_folders),
        ("Added symlinks", report.added_symlinks),
        ("Added files", report.added_files),
        ("Deleted folders", report.deleted_folders),
        ("Deleted symlinks", report.deleted_symlinks),
        ("Deleted files", report.deleted_files),
        ("Modified folders", report.modified_folders),
        ("Modified symlinks", report.modified_symlinks),
        ("Modified files", report.modified_files),
        (
            "Modified in their metadata only",
            report.modified_metadata_only,
        ),
    ];
    for (name, count) in figures.into_iter().filter(|(_, count)| *count > 0) {
        told.say(format!("  {name}: {count}"));
    }
    told.say(format!(
        "Size of backup {other}: {}",
        format_size(report.current_size)
    ));
    told
}

/// A comparison in one line, for logs.
#[must_use]
pub fn compare_log(report: &CompareReport) -> String {
    format!("{} found", counted(report.changes(), "difference"))
}

/// The code of what changes versions: warnings are told, and the work is done.
pub(crate) fn code_of(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Success | Outcome::Warning => 0,
        Outcome::Error => 3,
    }
}

/// The versions that were deleted. The words are Duplicati's (console samples, 7).
#[must_use]
pub fn delete(report: &DeleteReport, zone: &TimeZone) -> Told {
    let mut told = Told {
        code: code_of(report.common.parsed_result),
        ..Told::default()
    };
    if report.deleted_sets.is_empty() {
        told.say(match report.kept_sets {
            0 => "No filesets matched the criteria.".to_owned(),
            kept => format!(
                "No filesets were deleted: {} could not be.",
                counted(kept, "fileset")
            ),
        });
        return told;
    }
    told.say(match report.dryrun {
        true => "The following filesets would be deleted:",
        false => "These filesets were deleted:",
    });
    for version in &report.deleted_sets {
        let time = local_time(version.time, zone);
        told.say(format!("{}: {time}", version.number));
    }
    if let Some(results) = &report.compact_results
        && results.held_back.is_none()
        && results.deleted_file_count > 0
    {
        told.say(compacted(results));
    }
    told
}

/// What a compaction did. Duplicati prints nothing.
#[must_use]
pub fn compact(report: &CompactReport) -> Told {
    let results = &report.results;
    let is_partly = results.held_back.is_some() || results.files_left_alone > 0;
    let mut told = Told {
        code: match report.common.parsed_result {
            Outcome::Success | Outcome::Warning if is_partly => 2,
            Outcome::Success | Outcome::Warning => 0,
            Outcome::Error => 3,
        },
        ..Told::default()
    };
    // Why nothing was done is told as a warning.
    if results.held_back.is_none() {
        told.say(compacted(results));
    }
    told
}

/// A compaction in one line, for logs.
#[must_use]
pub fn compact_log(report: &CompactReport) -> String {
    match &report.results.held_back {
        Some(why) => format!("held back: {why}"),
        None => compacted(&report.results),
    }
}

fn compacted(results: &CompactResults) -> String {
    let percent = match results.data_size {
        0 => 0,
        all => results.wasted_size.saturating_mul(100) / all,
    };
    let state = format!(
        "{} with {}, of which {percent} % are unused; {} small",
        counted(results.data_files, "data file"),
        format_size(results.data_size),
        results.small_files
    );
    if results.deleted_file_count == 0 {
        return format!("Nothing to compact: {state}");
    }
    let would = if results.dryrun { "would be " } else { "" };
    let freed = results
        .deleted_file_size
        .saturating_sub(results.uploaded_file_size);
    let about = if results.dryrun { "about " } else { "" };
    format!(
        "{} {would}removed, {} {would}rewritten before, {about}{} freed ({state})",
        counted(results.deleted_file_count, "file"),
        counted(results.downloaded_file_count, "data file"),
        format_size(freed)
    )
}

/// A deletion in one line, for logs.
#[must_use]
pub fn delete_log(report: &DeleteReport) -> String {
    let would = if report.dryrun { " would be" } else { "" };
    format!(
        "{}{would} deleted",
        counted(report.deleted_sets.len() as u64, "version")
    )
}

/// How much smaller the local catalog became.
#[must_use]
pub fn vacuum(report: &VacuumReport) -> Told {
    let mut told = Told::default();
    let (before, after) = (report.size_before, report.size_after);
    let Some(path) = &report.database_path else {
        told.say("There is no local catalog of this backup here, so none is made smaller");
        return told;
    };
    let would = match report.dryrun {
        true => "would have",
        false => "has now",
    };
    told.say(format!(
        "The local catalog had {} and {would} {}: {path}",
        format_size(before),
        format_size(after)
    ));
    told
}

/// A vacuum in one line, for logs.
#[must_use]
pub fn vacuum_log(report: &VacuumReport) -> String {
    let (before, after) = (report.size_before, report.size_after);
    format!(
        "{} before, {} after",
        format_size(before),
        format_size(after)
    )
}

/// What was taken out of versions. Duplicati prints nothing.
#[must_use]
pub fn purge(report: &PurgeReport, zone: &TimeZone) -> Told {
    let mut told = Told {
        code: code_of(report.common.parsed_result),
        ..Told::default()
    };
    told.say(purged(report));
    if !report.deleted_sets.is_empty() {
        told.say(match report.dryrun {
            true => "The following filesets would be deleted:",
            false => "These filesets were deleted:",
        });
    }
    for version in &report.deleted_sets {
        let time = local_time(version.time, zone);
        told.say(format!("{}: {time}", version.number));
    }
    if let Some(results) = &report.compact_results
        && results.held_back.is_none()
        && results.deleted_file_count > 0
    {
        told.say(compacted(results));
    }
    told
}

/// The same in one line, for logs.
#[must_use]
pub fn purge_log(report: &PurgeReport) -> String {
    purged(report)
}

fn purged(report: &PurgeReport) -> String {
    if report.rewritten_file_lists == 0 && report.deleted_sets.is_empty() {
        let hint = match report.common.main_operation.as_str() {
            "PurgeFiles" => {
                " (a pattern must match the whole path: write */name for a name in any folder)"
            }
            _ => "",
        };
        return format!("Nothing was found to take out{hint}");
    }
    let would = if report.dryrun { "Would take" } else { "Took" };
    let mut text = format!(
        "{would} {} ({}) out of {}",
        counted(report.removed_entry_count, "entry"),
        format_size(report.removed_file_size),
        counted(report.rewritten_file_lists, "version")
    );
    if report.updated_file_count > 0 {
        text.push_str(&format!(
            "; {} left without times and permissions",
            counted(report.updated_file_count, "entry")
        ));
    }
    text
}

/// The files of which something is lost. The words are Duplicati's (commands spec 1.4).
#[must_use]
pub fn broken_files(report: &BrokenFilesReport, zone: &TimeZone) -> Told {
    let mut told = Told {
        code: code_of(report.common.parsed_result),
        ..Told::default()
    };
    for version in &report.broken_files {
        let time = local_time(version.time, zone);
        told.say(format!(
            "Fileset {}\t: {time}\t({} match(es))",
            version.number, version.count
        ));
        for file in &version.files {
            let what = match (u64::try_from(file.size), file.only_metadata) {
                (Ok(size), false) => format!(" ({})", format_size(size)),
                (_, true) => ONLY_METADATA.to_owned(),
                (Err(_), false) => String::new(),
            };
            told.lines
                .push(Line::Path(format!("\t{}{what}", file.path)));
        }
        let named = version.files.len() as u64;
        if version.count > named {
            told.say(format!(
                "\t ... and {} more, (use --full-result to list all)",
                version.count - named
            ));
        }
    }
    if report.broken_files.is_empty() {
        told.say(match report.common.parsed_result {
            Outcome::Error => "No broken files found in the versions that could be looked at",
            Outcome::Success | Outcome::Warning => "No broken files found",
        });
    }
    told
}

/// The same in one line, for logs.
#[must_use]
pub fn broken_files_log(report: &BrokenFilesReport) -> String {
    let all = report
        .broken_files
        .iter()
        .map(|version| version.count)
        .sum();
    format!(
        "{} of {} cannot be restored whole",
        counted(all, "entry"),
        counted(report.broken_files.len() as u64, "version")
    )
}

/// What a repair did.
#[must_use]
pub fn repair(report: &RepairReport) -> Told {
    let mut told = Told {
        code: match report.common.parsed_result {
            Outcome::Success | Outcome::Warning
                if report.lasting_losses + report.versions_given_up == 0 =>
            {
                0
            }
            _ => 3,
        },
        ..Told::default()
    };
    let what = match report.rebuilt {
        true => "Built the local catalog anew",
        false => "The local catalog is up to date",
    };
    told.say(format!(
        "{what}: {}, {}, {}",
        counted(report.volumes, "volume"),
        counted(report.blocks, "block"),
        counted(report.versions, "version")
    ));
    if report.versions_given_up > 0 {
        told.say(format!(
            "{} {} gone and cannot be repaired: {} taken as deleted from now on",
            counted(report.versions_given_up, "version"),
            verb(report.versions_given_up, "is", "are"),
            verb(report.versions_given_up, "it is", "they are")
        ));
    }
    let would = if report.dryrun {
        "Would write"
    } else {
        "Wrote"
    };
    for (number, what) in [
        (report.lists_written, "lost version list"),
        (report.indexes_written, "missing index file"),
        (report.blocks_restored, "lost block"),
    ] {
        if number > 0 {
            told.say(format!("{would} {}", counted(number, what)));
        }
    }
    let would = if report.dryrun { " (dry run)" } else { "" };
    let unreadable = match &report.why_unreadable_stay {
        Some(why) => format!("Cannot be read and stay, since {why}"),
        None => "Cannot be read and belong to no version, see --move-unreadable-aside".to_owned(),
    };
    for (names, what) in [
        (&report.unreadable_files, unreadable.as_str()),
        (&report.files_moved_aside, "Moved aside"),
        (&report.aside_files_deleted, "Deleted for good"),
    ] {
        if !names.is_empty() {
            told.say(format!("{what}{would}: {}", first_names(names)));
        }
    }
    if report.files_not_needed > 0 {
        told.say(format!(
            "{} {} stored elsewhere by now; `larder compact` removes {}",
            counted(report.files_not_needed, "damaged data file"),
            verb(report.files_not_needed, "is", "are"),
            verb(report.files_not_needed, "it", "them")
        ));
    }
    if report.lasting_losses > 0 {
        told.say(format!(
            "{} {} still missed: `larder list-broken-files` names the files, a backup stores again what the sources have",
            counted(report.lasting_losses, "damaged or missing file"),
            verb(report.lasting_losses, "is", "are")
        ));
    }
    told
}

/// A repair in one line, for logs.
#[must_use]
pub fn repair_log(report: &RepairReport) -> String {
    format!(
        "{}, {}, {} and {} written, {} still missed",
        counted(report.volumes, "volume"),
        counted(report.versions, "version"),
        counted(report.lists_written, "version list"),
        counted(report.indexes_written, "index file"),
        counted(report.lasting_losses, "volume")
    )
}

/// Some names, and how many there are besides.
fn first_names(names: &[String]) -> String {
    const NAMED: usize = 5;
    let first = names.iter().take(NAMED).map(String::as_str);
    let first = first.collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {}", counted(more as u64, "other")),
    }
}

#[cfg(test)]
mod tests;
