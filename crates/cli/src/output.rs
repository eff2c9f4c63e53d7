//! Results as text in the shapes that scripts know, or as JSON, and the exit codes that follow from them.

mod full_result;

use std::io::{BufWriter, IsTerminal, Write};

use larder_engine::{
    BackupReport, ListReport, Outcome, RepairReport, RestoreReport, TestReport, VersionInfo,
};
use larder_options::engine as opt;
use larder_options::value::format_size;
use serde::Serialize;

use crate::failure::{FAILED, Failure};
use crate::invocation::Invocation;
use crate::terminal::{note, print, print_item, print_text, shown, written};
use crate::words::{counted, noun, time_text, verb};

/// Prints a report as JSON (docs/guide/json.md).
pub fn json<T: Serialize>(report: &T) -> Result<(), Failure> {
    print_text(&serde_json::to_string_pretty(report).map_err(|e| Failure::general(e.to_string()))?);
    Ok(())
}

/// A version's time as people read it: ISO 8601, local zone. At the end of the calendar, where another zone may have no
/// such day, UTC.
pub fn local_time(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time_text(&time.to_zoned(jiff::tz::TimeZone::system())),
        Err(_) => {
            let since = jiff::SignedDuration::from_secs(seconds);
            let time = jiff::civil::date(1970, 1, 1)
                .at(0, 0, 0, 0)
                .saturating_add(since);
            format!("{} +00:00", time.strftime("%Y-%m-%d %H:%M:%S"))
        }
    }
}

/// The exit code of a listing: 2 when the list of a version could not be read.
pub fn listing_code(report: &ListReport) -> i32 {
    let broken = report.versions.iter().any(|version| version.is_unreadable);
    if broken { 2 } else { 0 }
}

/// JSON or the full result when asked for; tells whether the usual text is wanted as well.
fn text_wanted<T: Serialize>(report: &T, call: &Invocation) -> Result<bool, Failure> {
    if call.json() {
        json(report)?;
        return Ok(false);
    }
    Ok(!call.values.get(opt::QUIET_CONSOLE)?)
}

/// The closing block of a backup and its exit code.
pub fn backup(report: &BackupReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&format!(
        "{:?}: {} added, {} deleted, {} changed, {} sent",
        report.common.parsed_result,
        counted(report.added_files, "file"),
        report.deleted_files,
        report.modified_files,
        format_size(report.common.backend_statistics.bytes_uploaded)
    ));
    if text_wanted(report, call)? {
        if call.values.get(opt::FULL_RESULT)? {
            print_text(&full_result::text(report)?);
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
    call.log_result(&format!(
        "{:?}: {} restored, {} received",
        report.common.parsed_result,
        counted(report.restored_files, "file"),
        format_size(report.common.backend_statistics.bytes_downloaded)
    ));
    if text_wanted(report, call)? {
        if call.values.get(opt::FULL_RESULT)? {
            print_text(&full_result::text(report)?);
        }
        let place = report
            .restore_path
            .as_deref()
            .unwrap_or("original location");
        print(&format!(
            "Restored {} ({}) {} to {place}",
            report.restored_files,
            format_size(report.size_of_restored_files),
            noun(report.restored_files, "file")
        ));
        if report.unmodified_files > 0 {
            let was = verb(report.unmodified_files, "was", "were");
            print(&format!(
                "{} ({}) {was} right already",
                counted(report.unmodified_files, "file"),
                format_size(report.size_of_unmodified_files)
            ));
        }
        if report.kept_files > 0 {
            print(&format!(
                "{} {}",
                counted(report.kept_files, "existing file"),
                verb(
                    report.kept_files,
                    "was kept; the restored one stands beside it with the date of the version in its name",
                    "were kept; the restored ones stand beside them with the date of the version in their names"
                )
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
        note(&format!(
            "{} could not be restored:",
            counted(broken.len() as u64, "file")
        ));
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
    if version.is_unreadable {
        return format!(
            "{}\t: {} (its list cannot be read)",
            version.version,
            local_time(version.time)
        );
    }
    let partial = if version.is_full_backup {
        ""
    } else {
        ", partial"
    };
    format!(
        "{}\t: {} ({}, {}{partial})",
        version.version,
        local_time(version.time),
        counted(
            match count {
                Count::Files => version.file_count,
                Count::Entries => version.entry_count,
            },
            "file"
        ),
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
    let out = std::io::stdout();
    let safe = out.is_terminal();
    let mut out = BufWriter::with_capacity(1 << 16, out.lock());
    written(write_files(report, safe, &mut out).and_then(|()| out.flush()));
}

/// Writes the paths as they are, or made `safe` for a terminal.
fn write_files(report: &ListReport, safe: bool, out: &mut impl Write) -> std::io::Result<()> {
    let name = |path: &'_ str| {
        if safe {
            shown(path).into_owned()
        } else {
            path.to_owned()
        }
    };
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
                Some(size) => writeln!(out, "{} ({size})", name(&file.path))?,
                None => writeln!(out, "{}", name(&file.path))?,
            }
        }
        return Ok(());
    }
    writeln!(out, "Listing files and versions:")?;
    let times: Vec<String> = report.versions.iter().map(|v| local_time(v.time)).collect();
    for file in &report.files {
        writeln!(out, "{}", name(&file.path))?;
        for ((version, time), size) in report.versions.iter().zip(&times).zip(&file.sizes) {
            let size = match size {
                None if version.is_unreadable => "  (its list cannot be read)".to_owned(),
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
    call.log_result(&format!(
        "{} examined, {damaged} damaged",
        counted(report.verifications.len() as u64, "volume")
    ));
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
            "{}: {}",
            checked.file,
            counted(checked.findings.len() as u64, "error")
        ));
        let most = if full { usize::MAX } else { 10 };
        for finding in checked.findings.iter().take(most) {
            print(&format!("\t{}: {}", finding.kind, finding.detail));
        }
        more(checked.findings.len(), most, call)?;
    }
    for harm in &report.harm {
        let versions: Vec<_> = harm.versions.iter().map(u64::to_string).collect();
        if harm.path_count == 0 {
            // A list: without it nothing of the version is known.
            print(&format!(
                "{} is the list of version {}: nothing of this version can be restored",
                harm.file,
                versions.join(", ")
            ));
            continue;
        }
        print(&format!(
            "{} hurts {} in the {} {}:",
            harm.file,
            counted(harm.path_count, "entry"),
            noun(versions.len() as u64, "version"),
            versions.join(", ")
        ));
        let most = shown_paths(call)?;
        for path in harm.paths.iter().take(most) {
            print_item(&format!("\t{path}"));
        }
        more(harm.paths.len(), most, call)?;
    }
    let examined = counted(report.verifications.len() as u64, "file");
    if damaged == 0 {
        print(&format!("Examined {examined} and found no errors"));
    } else {
        let are = verb(damaged as u64, "is", "are");
        print(&format!(
            "Examined {examined}, {damaged} of them {are} damaged"
        ));
    }
    Ok(code)
}

fn more(all: usize, most: usize, call: &Invocation) -> Result<(), Failure> {
    if let Some(rest) = all.checked_sub(most).filter(|rest| *rest > 0) {
        let hint = if call.values.get(opt::FULL_RESULT)? {
            ""
        } else {
            " (use --full-result to see all)"
        };
        print(&format!("\t... and {rest} more{hint}"));
    }
    Ok(())
}

/// What `repair` did.
pub fn repair(report: &RepairReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&format!(
        "{}, {}, {} written",
        counted(report.volumes, "volume"),
        counted(report.versions, "version"),
        counted(report.indexes_written, "index file")
    ));
    if !text_wanted(report, call)? {
        return Ok(0);
    }
    let what = if report.rebuilt {
        "Built the local catalog anew"
    } else if report.versions_given_up > 0 {
        "Brought the local catalog up to date"
    } else {
        "The local catalog is up to date"
    };
    print(&format!(
        "{what}: {}, {}, {}",
        counted(report.volumes, "volume"),
        counted(report.blocks, "block"),
        counted(report.versions, "version")
    ));
    if report.versions_given_up > 0 {
        print(&format!(
            "{} {} gone and cannot be repaired: {} taken as deleted from now on",
            counted(report.versions_given_up, "version"),
            verb(report.versions_given_up, "is", "are"),
            verb(report.versions_given_up, "it is", "they are")
        ));
    }
    if report.indexes_written > 0 {
        print(&format!(
            "Wrote {}",
            counted(report.indexes_written, "missing index file")
        ));
    }
    Ok(0)
}
