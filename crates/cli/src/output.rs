//! Results on standard output: as text in the shapes that scripts know, or as JSON. What they say comes from
//! `larder_render`.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use larder_engine::{
    AffectedReport, BackupReport, BrokenFilesReport, CompactReport, CompareReport, DeleteReport,
    FileVersionsReport, FolderReport, ListReport, LocksReport, PurgeReport, RecoveryReport,
    RepairReport, RestoreReport, TestReport, VacuumReport,
};
use larder_options::engine as opt;
use larder_render::{Detail, Line, Told};
use serde::Serialize;

use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::terminal::{note, print, print_document, print_item, print_text, shown, written};

pub use larder_render::{Count, file_versions_code, listing_code};

/// Prints a report as JSON (docs/guide/json.md).
pub fn json<T: Serialize>(report: &T) {
    print_document(|mut out| larder_render::json(report, &mut out));
}

/// A version's time as people here read it.
pub fn local_time(seconds: i64) -> String {
    larder_render::local_time(seconds, &jiff::tz::TimeZone::system())
}

/// The closing block of a backup and its exit code.
pub fn backup(report: &BackupReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::backup_log(report));
    show(report, &larder_render::backup(report), call)
}

/// The closing lines of a restore and its exit code.
pub fn restore(report: &RestoreReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::restore_log(report));
    show(report, &larder_render::restore(report, detail(call)?), call)
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
    call.log_result(&larder_render::test_log(report));
    let told = larder_render::test(report, detail(call)?);
    if call.json() {
        json(report);
    } else {
        told.lines.iter().for_each(print_line);
    }
    Ok(told.code)
}

/// What `compare` found.
pub fn compare(report: &CompareReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::compare_log(report));
    let zone = jiff::tz::TimeZone::system();
    let told = larder_render::compare(report, detail(call)?, &zone);
    if call.json() {
        json(report);
    } else {
        told.lines.iter().for_each(print_line);
    }
    Ok(told.code)
}

/// The versions that `delete` dropped.
pub fn delete(report: &DeleteReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::delete_log(report));
    let zone = jiff::tz::TimeZone::system();
    show(report, &larder_render::delete(report, &zone), call)
}

/// What `compact` did.
pub fn compact(report: &CompactReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::compact_log(report));
    show(report, &larder_render::compact(report), call)
}

/// How much smaller the local catalog became.
pub fn vacuum(report: &VacuumReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::vacuum_log(report));
    show(report, &larder_render::vacuum(report), call)
}

/// What `set-locks` locked.
pub fn set_locks(report: &LocksReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::set_locks_log(report));
    let zone = jiff::tz::TimeZone::system();
    show(report, &larder_render::set_locks(report, &zone), call)
}

/// Which locks there are.
pub fn read_lock_info(report: &LocksReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::read_lock_info_log(report));
    let zone = jiff::tz::TimeZone::system();
    show(report, &larder_render::read_lock_info(report, &zone), call)
}

/// What `purge` or `purge-broken-files` did.
pub fn purge(report: &PurgeReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::purge_log(report));
    let zone = jiff::tz::TimeZone::system();
    show(report, &larder_render::purge(report, &zone), call)
}

/// What `list-broken-files` found.
pub fn broken_files(report: &BrokenFilesReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::broken_files_log(report));
    let zone = jiff::tz::TimeZone::system();
    let told = larder_render::broken_files(report, &zone);
    if call.json() {
        json(report);
    } else {
        told.lines.iter().for_each(print_line);
    }
    Ok(told.code)
}

/// What `repair` did.
pub fn repair(report: &RepairReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::repair_log(report));
    let told = larder_render::repair(report);
    if call.json() {
        json(report);
    } else if !call.values.get(opt::QUIET_CONSOLE)? {
        told.lines.iter().for_each(print_line);
    }
    Ok(told.code)
}

/// Versions or files, and the exit code.
pub fn listing(report: &ListReport, only_versions: bool, call: &Invocation) -> i32 {
    if call.json() {
        json(report);
    } else if only_versions {
        versions(report, Count::Files);
    } else {
        files(report);
    }
    larder_render::listing_code(report)
}

/// What a download or an index of a recovery came to, and its exit code.
pub fn recovery(report: &RecoveryReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::recovery_log(report));
    show(report, &larder_render::recovery(report), call)
}

/// The versions.
pub fn versions(report: &ListReport, count: Count) {
    let lines = larder_render::versions(report, count, &jiff::tz::TimeZone::system());
    lines.iter().for_each(print_line);
}

/// Files of one version, or of several: paths as they are, or made safe for a terminal. A reader that closes the pipe
/// ends the listing.
pub fn files(report: &ListReport) {
    let zone = jiff::tz::TimeZone::system();
    long(|name, out| larder_render::write_files(report, &zone, name, out));
}

/// What lies in folders.
pub fn folder(report: &FolderReport) {
    long(|name, out| larder_render::write_folder(report, name, out));
}

/// What uses remote files.
pub fn affected(report: &AffectedReport, call: &Invocation) -> Result<i32, Failure> {
    call.log_result(&larder_render::affected_log(report));
    let zone = jiff::tz::TimeZone::system();
    let told = larder_render::affected(report, detail(call)?, &zone);
    if call.json() {
        json(report);
    } else {
        told.lines.iter().for_each(print_line);
    }
    Ok(told.code)
}

/// The versions of paths.
pub fn file_versions(report: &FileVersionsReport) {
    let zone = jiff::tz::TimeZone::system();
    long(|name, out| larder_render::write_file_versions(report, &zone, name, out));
}

/// Writes a list that may be long, with paths as they are, or made safe for a terminal.
fn long(write: impl FnOnce(Name, &mut BufWriter<StdoutLock<'_>>) -> io::Result<()>) {
    let out = io::stdout();
    let name: Name = match out.is_terminal() {
        true => shown,
        false => |path| Cow::Borrowed(path),
    };
    let mut out = BufWriter::with_capacity(1 << 16, out.lock());
    let outcome = write(name, &mut out);
    written(outcome.and_then(|()| out.flush()));
}

/// What a path becomes before it is written.
type Name = fn(&str) -> Cow<'_, str>;

/// JSON when it is asked for, else the lines and, with `--full-result`, the whole report before them. Complaints are
/// printed in any case.
fn show<T: Serialize>(report: &T, told: &Told, call: &Invocation) -> Result<i32, Failure> {
    if call.json() {
        json(report);
    } else if !call.values.get(opt::QUIET_CONSOLE)? {
        if detail(call)? == Detail::Full {
            let text = larder_render::full_result(report);
            print_text(&text.map_err(|e| Failure::general(e.to_string()))?);
        }
        told.lines.iter().for_each(print_line);
    }
    for Line::Words(text) | Line::Path(text) in &told.complaints {
        note(text);
    }
    Ok(told.code)
}

fn detail(call: &Invocation) -> Result<Detail, Failure> {
    Ok(match call.values.get(opt::FULL_RESULT)? {
        true => Detail::Full,
        false => Detail::Short,
    })
}

fn print_line(line: &Line) {
    match line {
        Line::Words(text) => print(text),
        Line::Path(text) => print_item(text),
    }
}
