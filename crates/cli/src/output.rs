//! Results as text in the shapes that scripts know, or as JSON, and the exit codes that follow from them.

mod full_result;

use std::io::{BufWriter, Write};

use larder_engine::{
    BackupReport, ListReport, Outcome, RepairReport, RestoreReport, TestReport, VersionInfo,
};
use larder_options::engine as opt;
use larder_options::value::format_size;
use serde::Serialize;

use crate::console::{note, print};
use crate::failure::{FAILED, Failure};
use crate::invocation::Invocation;

/// Prints a report as JSON (docs/guide/json.md).
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

/// JSON or the full result when asked for; tells whether the usual text is wanted as well.
fn text_wanted<T: Serialize>(report: &T, call: &Invocation) -> Result<bool, Failure> {
    if call.json() {
        json(report)?;
        return Ok(false);
    }
    Ok(!call.values.get(opt::QUIET_CONSOLE)?)
}

/// The closing block of a backup and its exit code (commands spec 1.2 and 1.4).
pub fn backup(report: &BackupReport, call: &Invocation) -> Result<i32, Failure> {
    if text_wanted(report, call)? {
        if call.values.get(opt::FULL_RESULT)? {
            print(&full_result::text(report)?);
        }
        backup_block(report);
    }
    let uploaded = report.common.backend_statistics.bytes_uploaded;
    if report.common.interrupted {
        return Ok(if report.partial_backup { 50 } else { FAILED });
    }
    Ok(match report.common.parsed_result {
        Outcome::Error => 3,
        Outcome::Warning => 2,
        Outcome::Success if uploaded == 0 => 1,
        Outcome::Success => 0,
    })
}

fn backup_block(report: &BackupReport) {
    let statistics = &report.common.backend_statistics;
    let fact = |name: &str, value: &dyn std::fmt::Display| print(&format!("  {name}: {value}"));
    if report
        .test_results
        .as_ref()
        .is_some_and(|t| t.damaged() == 0)
    {
        print("Remote backup verification completed");
    }
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
    if report.dryrun {
        print("Dry run completed; nothing was stored");
    } else if report.common.interrupted {
        print("Backup stopped; no new version was written");
    } else if report.common.parsed_result == Outcome::Error {
        print("Backup finished with errors");
    } else {
        print("Backup completed successfully!");
    }
}

/// The closing lines of a restore and its exit code.
pub fn restore(report: &RestoreReport, call: &Invocation) -> Result<i32, Failure> {
    if text_wanted(report, call)? {
        if call.values.get(opt::FULL_RESULT)? {
            print(&full_result::text(report)?);
        }
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
    let broken: Vec<&String> = report
        .broken_remote_files
        .iter()
        .chain(&report.broken_local_files)
        .collect();
    if !broken.is_empty() {
        let most = shown_paths(call)?;
        note(&format!("{} files could not be restored:", broken.len()));
        for path in broken.iter().take(most) {
            note(&format!("  {path}"));
        }
        if let Some(rest) = broken.len().checked_sub(most).filter(|n| *n > 0) {
            note(&format!(
                "  ... and {rest} more (use --full-result to see all)"
            ));
        }
    }
    Ok(match report.common.parsed_result {
        Outcome::Success if broken.is_empty() => 0,
        Outcome::Success | Outcome::Warning | Outcome::Error => 2,
    })
}

/// How many paths of a long list are printed.
fn shown_paths(call: &Invocation) -> Result<usize, Failure> {
    Ok(if call.values.get(opt::FULL_RESULT)? {
        usize::MAX
    } else {
        11
    })
}

/// What the figure beside a version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Files (`list`).
    Files,
    /// Files, folders and links (`list-filesets`).
    Entries,
}

fn version_line(version: &VersionInfo, count: Count) -> String {
    let partial = if version.is_full_backup {
        ""
    } else {
        ", partial"
    };
    format!(
        "{}\t: {} ({} files, {}{partial})",
        version.version,
        local_time(version.time),
        match count {
            Count::Files => version.file_count,
            Count::Entries => version.entry_count,
        },
        format_size(version.file_sizes)
    )
}

/// The versions.
pub fn versions(report: &ListReport, count: Count) {
    print("Listing filesets:");
    for version in &report.versions {
        print(&version_line(version, count));
    }
}

/// Files of one version, or of several. A reader that closes the pipe ends the listing.
pub fn files(report: &ListReport) {
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let _ = write_files(report, &mut out).and_then(|()| out.flush());
}

fn write_files(report: &ListReport, out: &mut impl Write) -> std::io::Result<()> {
    if report.files.is_empty() {
        return writeln!(out, "No files matched expression");
    }
    let size_text = |size: i64| u64::try_from(size).ok().map(format_size);
    if let [only] = report.versions.as_slice() {
        writeln!(
            out,
            "Listing contents {} ({}):",
            only.version,
            local_time(only.time)
        )?;
        for file in &report.files {
            match file.sizes.first().copied().flatten().and_then(size_text) {
                Some(size) => writeln!(out, "{} ({size})", file.path)?,
                None => writeln!(out, "{}", file.path)?,
            }
        }
        return Ok(());
    }
    writeln!(out, "Listing files and versions:")?;
    let times: Vec<String> = report.versions.iter().map(|v| local_time(v.time)).collect();
    for file in &report.files {
        writeln!(out, "{}", file.path)?;
        for ((version, time), size) in report.versions.iter().zip(&times).zip(&file.sizes) {
            let size = match size {
                None => "  - ".to_owned(),
                Some(size) => size_text(*size).map_or_else(String::new, |size| format!(" {size}")),
            };
            writeln!(out, "{}\t: {time}{size}", version.version)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Findings of a test and its exit code.
pub fn test(report: &TestReport, call: &Invocation) -> Result<i32, Failure> {
    if report.verifications.is_empty() {
        return Err(Failure::known(
            "NothingToTest",
            "there is no volume of the kind that was asked for, so nothing was verified",
            "check --version, --time and --full-remote-verification",
        ));
    }
    let damaged = report.damaged();
    let code = if damaged == 0 { 0 } else { 3 };
    if call.json() {
        json(report)?;
        return Ok(code);
    }
    let full = call.values.get(opt::FULL_RESULT)?;
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
        more(checked.findings.len(), most);
    }
    for harm in &report.harm {
        let versions: Vec<_> = harm.versions.iter().map(u64::to_string).collect();
        print(&format!(
            "{} hurts {} entries in the versions {}:",
            harm.file,
            harm.path_count,
            versions.join(", ")
        ));
        let most = shown_paths(call)?;
        for path in harm.paths.iter().take(most) {
            print(&format!("\t{path}"));
        }
        more(harm.paths.len(), most);
    }
    let examined = report.verifications.len();
    if damaged == 0 {
        print(&format!("Examined {examined} files and found no errors"));
    } else {
        print(&format!(
            "Examined {examined} files, {damaged} of them are damaged"
        ));
    }
    Ok(code)
}

fn more(all: usize, most: usize) {
    if let Some(rest) = all.checked_sub(most).filter(|rest| *rest > 0) {
        print(&format!(
            "\t... and {rest} more (use --full-result to see all)"
        ));
    }
}

/// What `repair` did.
pub fn repair(report: &RepairReport, call: &Invocation) -> Result<i32, Failure> {
    if !text_wanted(report, call)? {
        return Ok(0);
    }
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
    Ok(0)
}
