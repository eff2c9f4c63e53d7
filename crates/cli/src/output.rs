//! Results as text in the shapes that scripts know, or as JSON, and failures with their exit code.

use larder_engine::{
    BackupReport, Error, ListReport, Outcome, RepairReport, RestoreReport, TestReport, VersionInfo,
};
use larder_options::value::format_size;
use serde::Serialize;

use crate::console::{note, print};

/// A command that ended with an error.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub code: i32,
    id: Option<&'static str>,
    message: String,
    hint: String,
}

impl Failure {
    /// A failure with all parts.
    pub fn new(code: i32, id: Option<&'static str>, message: String, hint: String) -> Self {
        Self {
            code,
            id,
            message,
            hint,
        }
    }

    /// Wrong use of the command line.
    pub fn usage(message: String) -> Self {
        Self::new(200, None, message, "see `larder help`".into())
    }

    /// Any other failure.
    pub fn general(message: String) -> Self {
        Self::new(100, None, message, String::new())
    }

    /// A failure of the engine, with its causes.
    pub fn from_engine(error: &Error) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            let words = next.to_string();
            if !message.contains(&words) {
                message.push_str(": ");
                message.push_str(&words);
            }
            cause = next.source();
        }
        Self::new(error.exit_code(), error.id(), message, error.hint())
    }

    /// Prints the failure in the shape that scripts look for.
    pub fn print(&self, json: bool) {
        if json {
            let value = serde_json::json!({ "Error": { "Id": self.id, "Message": self.message, "Hint": self.hint } });
            print(&value.to_string());
            return;
        }
        if let Some(id) = self.id {
            note("");
            note(&format!("ErrorID: {id}"));
        }
        note(&self.message);
        if !self.hint.is_empty() {
            note(&format!("What helps: {}", self.hint));
        }
    }
}

/// Prints a report as JSON.
pub fn json<T: Serialize>(report: &T) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(report).map_err(|e| Failure::general(e.to_string()))?);
    Ok(())
}

/// A version's time as people read it: ISO 8601, local zone.
pub fn local_time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// The closing block of a backup and its exit code (commands spec 1.2 and 1.4).
pub fn backup(report: &BackupReport, quiet: bool) -> i32 {
    let statistics = &report.common.backend_statistics;
    if !quiet {
        print(&format!("  Duration of backup: {}", report.common.duration));
        print(&format!("  Remote files: {}", statistics.known_file_count));
        print(&format!("  Remote filesets: {}", statistics.known_filesets));
        print(&format!(
            "  Remote size: {}",
            format_size(statistics.known_file_size)
        ));
        for (name, bytes) in [
            ("Total remote quota", statistics.total_quota_space),
            ("Available remote quota", statistics.free_quota_space),
        ] {
            if let Ok(bytes) = u64::try_from(bytes) {
                print(&format!("  {name}: {}", format_size(bytes)));
            }
        }
        print(&format!("  Files added: {}", report.added_files));
        print(&format!("  Files deleted: {}", report.deleted_files));
        print(&format!("  Files changed: {}", report.modified_files));
        print(&format!(
            "  Data uploaded: {}",
            format_size(statistics.bytes_uploaded)
        ));
        print(&format!(
            "  Data downloaded: {}",
            format_size(statistics.bytes_downloaded)
        ));
        if report.common.interrupted {
            print("Backup stopped; no new version was written");
        } else if report.common.parsed_result == Outcome::Error {
            print("Backup finished with errors");
        } else {
            print("Backup completed successfully!");
        }
    }
    if report.common.interrupted {
        return if report.partial_backup { 50 } else { 100 };
    }
    match report.common.parsed_result {
        Outcome::Error => 3,
        Outcome::Warning => 2,
        Outcome::Success if statistics.bytes_uploaded == 0 => 1,
        Outcome::Success => 0,
    }
}

/// The closing lines of a restore and its exit code.
pub fn restore(report: &RestoreReport, quiet: bool) -> i32 {
    if !quiet {
        let place = report
            .restore_path
            .as_deref()
            .unwrap_or("original location");
        print(&format!(
            "Restored {} ({}) files to {place}",
            report.restored_files,
            format_size(report.size_of_restored_files)
        ));
        if report.unmodified_files > 0 {
            print(&format!(
                "{} files ({}) were right already",
                report.unmodified_files,
                format_size(report.size_of_unmodified_files)
            ));
        }
        print(&format!("Duration of restore: {}", report.common.duration));
    }
    let broken = report.broken_local_files.len() + report.broken_remote_files.len();
    if broken > 0 {
        note(&format!(
            "{broken} files could not be restored; the first ones:"
        ));
        for path in report
            .broken_remote_files
            .iter()
            .chain(&report.broken_local_files)
            .take(11)
        {
            note(&format!("  {path}"));
        }
    }
    match report.common.parsed_result {
        Outcome::Success => 0,
        Outcome::Warning | Outcome::Error => 2,
    }
}

fn version_line(version: &VersionInfo, count: u64) -> String {
    let partial = if version.is_full_backup {
        ""
    } else {
        ", partial"
    };
    format!(
        "{}\t: {} ({count} files, {}{partial})",
        version.version,
        local_time(version.time),
        format_size(version.file_sizes)
    )
}

/// The versions (`list` counts files, `list-filesets` all entries).
pub fn versions(report: &ListReport, all_entries: bool) {
    print("Listing filesets:");
    for version in &report.versions {
        print(&version_line(
            version,
            if all_entries {
                version.entry_count
            } else {
                version.file_count
            },
        ));
    }
}

/// Files of one version, or of several.
pub fn files(report: &ListReport) {
    if report.files.is_empty() {
        print("No files matched expression");
        return;
    }
    if let [only] = report.versions.as_slice() {
        print(&format!(
            "Listing contents {} ({}):",
            only.version,
            local_time(only.time)
        ));
        for file in &report.files {
            match file.sizes.first().copied().flatten() {
                Some(size) if size >= 0 => {
                    print(&format!(
                        "{} ({})",
                        file.path,
                        format_size(u64::try_from(size).unwrap_or(0))
                    ));
                }
                _ => print(&file.path),
            }
        }
        return;
    }
    print("Listing files and versions:");
    for file in &report.files {
        print(&file.path);
        for (version, size) in report.versions.iter().zip(&file.sizes) {
            let size = match size {
                None => " - ".to_owned(),
                Some(size) => u64::try_from(*size).map_or_else(|_| String::new(), format_size),
            };
            print(&format!(
                "{}\t: {} {size}",
                version.version,
                local_time(version.time)
            ));
        }
        print("");
    }
}

/// Findings of a test and its exit code.
pub fn test(report: &TestReport, full: bool) -> i32 {
    let damaged = report.damaged();
    if damaged == 0 {
        if full {
            for checked in &report.verifications {
                print(&format!("{}: No errors", checked.file));
            }
        }
        print(&format!(
            "Examined {} files and found no errors",
            report.verifications.len()
        ));
        return 0;
    }
    for checked in &report.verifications {
        if checked.findings.is_empty() {
            if full {
                print(&format!("{}: No errors", checked.file));
            }
            continue;
        }
        print(&format!(
            "{}: {} errors",
            checked.file,
            checked.findings.len()
        ));
        let most = if full { usize::MAX } else { 10 };
        for finding in checked.findings.iter().take(most) {
            print(&format!("\t{}: {}", finding.kind, finding.detail));
        }
        if checked.findings.len() > most {
            print(&format!(
                "\t... and {} more (use --full-result to see all)",
                checked.findings.len() - most
            ));
        }
    }
    for harm in &report.harm {
        let versions: Vec<_> = harm.versions.iter().map(u64::to_string).collect();
        print(&format!(
            "{} hurts {} entries in the versions {}:",
            harm.file,
            harm.path_count,
            versions.join(", ")
        ));
        let most = if full { usize::MAX } else { 11 };
        for path in harm.paths.iter().take(most) {
            print(&format!("\t{path}"));
        }
    }
    print(&format!(
        "Examined {} files, {damaged} of them are damaged",
        report.verifications.len()
    ));
    3
}

/// What `repair` did.
pub fn repair(report: &RepairReport) {
    let what = if report.rebuilt {
        "Built the local catalog anew"
    } else {
        "The local catalog is up to date"
    };
    print(&format!(
        "{what}: {} volumes, {} blocks, {} versions",
        report.volumes, report.blocks, report.versions
    ));
    if report.indexes_written > 0 {
        print(&format!(
            "Wrote {} missing index files",
            report.indexes_written
        ));
    }
}
