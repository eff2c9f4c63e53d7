//! Versions and the files in them.

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use larder_engine::words::counted;
use larder_engine::{ListReport, VersionInfo};
use larder_options::value::format_size;

use crate::Line;
use crate::time::local_time;

/// What the figure beside a version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Files (`list`).
    Files,
    /// Files, folders and links (`list-filesets`).
    Entries,
}

/// The exit code of a listing: 2 when the list of a version could not be read.
#[must_use]
pub fn listing_code(report: &ListReport) -> i32 {
    let broken = report.versions.iter().any(|version| version.is_unreadable);
    if broken { 2 } else { 0 }
}

/// The versions, a line each.
#[must_use]
pub fn versions(report: &ListReport, count: Count, zone: &TimeZone) -> Vec<Line> {
    let mut lines = vec![Line::Words("Listing filesets:".to_owned())];
    let versions = report.versions.iter();
    lines.extend(versions.map(|version| Line::Words(version_line(version, count, zone))));
    lines
}

fn version_line(version: &VersionInfo, count: Count, zone: &TimeZone) -> String {
    let time = local_time(version.time, zone);
    if version.is_unreadable {
        return format!("{}\t: {time} (its list cannot be read)", version.version);
    }
    let number = match count {
        Count::Files => version.file_count,
        Count::Entries => version.entry_count,
    };
    let partial = if version.is_full_backup {
        ""
    } else {
        ", partial"
    };
    format!(
        "{}\t: {time} ({}, {}{partial})",
        version.version,
        counted(number, "file"),
        format_size(version.file_sizes)
    )
}

/// Writes the files of one version, or of several; there may be millions. Each path goes through `name`.
///
/// # Errors
/// Those of the writer.
pub fn write_files(
    report: &ListReport,
    zone: &TimeZone,
    name: impl Fn(&str) -> Cow<'_, str>,
    out: &mut impl Write,
) -> io::Result<()> {
    let size_text = |size: i64| u64::try_from(size).ok().map(format_size);
    let versions = report.versions.iter();
    let times: Vec<String> = versions.map(|v| local_time(v.time, zone)).collect();
    let only = match report.versions.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    let mut any = false;
    report.files.each(|file| {
        if !std::mem::replace(&mut any, true) {
            match (only, times.first()) {
                (Some(only), Some(time)) => {
                    writeln!(out, "Listing contents {} ({time}):", only.version)?;
                }
                _ => writeln!(out, "Listing files and versions:")?,
            }
        }
        if only.is_some() {
            return match file.sizes.first().copied().flatten().and_then(size_text) {
                Some(size) => writeln!(out, "{} ({size})", name(&file.path)),
                None => writeln!(out, "{}", name(&file.path)),
            };
        }
        writeln!(out, "{}", name(&file.path))?;
        for ((version, time), size) in report.versions.iter().zip(&times).zip(&file.sizes) {
            let size = match size {
                None if version.is_unreadable => "  (its list cannot be read)".to_owned(),
                None => "  - ".to_owned(),
                Some(size) => size_text(*size).map_or_else(String::new, |size| format!(" {size}")),
            };
            writeln!(out, "{}\t: {time}{size}", version.version)?;
        }
        writeln!(out)
    })?;
    match any {
        true => Ok(()),
        false => writeln!(out, "No files matched expression"),
    }
}
