//! Entries of folders and of versions. The lines are Duplicati's (commands spec 1.4); there may be millions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use larder_engine::{Change, FileVersionsReport, FolderReport, FoundEntry};
use larder_options::value::format_size;

use crate::time::local_time;

/// Writes what lies in folders. Each path goes through `name`.
///
/// # Errors
/// Those of the writer, and of reading what was found.
pub fn write_folder(
    report: &FolderReport,
    name: impl Fn(&str) -> Cow<'_, str>,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "Folder contents:")?;
    report
        .entries
        .each(|entry| writeln!(out, "{}: ({})", name(&entry.path), label(&entry)))
}

/// Writes the versions of paths. Each path goes through `name`.
///
/// # Errors
/// As for [`write_folder`].
pub fn write_file_versions(
    report: &FileVersionsReport,
    zone: &TimeZone,
    name: impl Fn(&str) -> Cow<'_, str>,
    out: &mut impl Write,
) -> io::Result<()> {
    if report.file_versions.total_count() == 0 {
        return writeln!(out, "No files matched expression");
    }
    writeln!(out, "File versions:")?;
    let mut times: HashMap<i64, String> = HashMap::new();
    let mut path: Option<String> = None;
    report.file_versions.each(|entry| {
        if path.as_ref() != Some(&entry.path) {
            writeln!(out, "{}:", name(&entry.path))?;
            path = Some(entry.path.clone());
        }
        let time = times
            .entry(entry.time)
            .or_insert_with(|| local_time(entry.time, zone));
        let change = match entry.change {
            Some(Change::Added) => " added",
            Some(Change::Modified) => " modified",
            Some(Change::Unchanged) | None => "",
        };
        writeln!(
            out,
            "  [{}] {time}: ({}){change}",
            entry.version,
            label(&entry)
        )
    })
}

/// The exit code of such a list: 2 when the list of a version could not be read.
#[must_use]
pub fn file_versions_code(report: &FileVersionsReport) -> i32 {
    match report.unreadable_versions.is_empty() {
        true => 0,
        false => 2,
    }
}

/// What stands in brackets behind an entry.
fn label(entry: &FoundEntry) -> String {
    match u64::try_from(entry.size) {
        _ if entry.is_directory => "directory".to_owned(),
        _ if entry.is_symlink => "symlink".to_owned(),
        Ok(size) => format_size(size),
        Err(_) => "size unknown".to_owned(),
    }
}
