//! What a download or an index of a recovery came to.

use larder_engine::words::{counted, verb};
use larder_engine::{Outcome, RecoveryReport};

use crate::{Line, Told};

/// The closing lines of a download or an index.
#[must_use]
pub fn recovery(report: &RecoveryReport) -> Told {
    let line = match &report.index_file {
        Some(file) => format!(
            "Indexed {} in {}: {file}",
            counted(report.blocks, "block"),
            counted(report.volumes, "volume"),
        ),
        None => format!(
            "Downloaded {} to {}, {} there already",
            counted(report.fetched_files, "volume"),
            report.folder,
            match report.present_files {
                0 => "none was".to_owned(),
                count => format!("{count} {}", verb(count, "was", "were")),
            }
        ),
    };
    let damaged = &report.damaged_files;
    let mut complaints = Vec::new();
    if !damaged.is_empty() {
        let count = damaged.len() as u64;
        complaints.push(format!(
            "{} {} damaged:",
            counted(count, "volume"),
            verb(count, "is", "are")
        ));
        let named = damaged.iter().take(NAMED_FILES);
        complaints.extend(named.map(|file| format!("  {file}")));
        if let Some(more @ 1..) = damaged.len().checked_sub(NAMED_FILES) {
            complaints.push(format!("  ... and {more} more"));
        }
    }
    Told {
        lines: vec![Line::Words(line)],
        complaints: complaints.into_iter().map(Line::Words).collect(),
        code: match report.common.parsed_result {
            Outcome::Success => 0,
            Outcome::Warning => 2,
            Outcome::Error => 3,
        },
    }
}

/// The same in one line, for logs.
#[must_use]
pub fn recovery_log(report: &RecoveryReport) -> String {
    format!(
        "{:?}: {} downloaded, {} indexed, {} damaged",
        report.common.parsed_result,
        counted(report.fetched_files, "volume"),
        counted(report.blocks, "block"),
        report.damaged_files.len()
    )
}

/// Volumes that are named; the rest is counted.
const NAMED_FILES: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_tells_what_came_and_what_is_damaged() {
        let mut report = RecoveryReport {
            folder: "/f".into(),
            fetched_files: 1,
            present_files: 2,
            ..RecoveryReport::default()
        };
        let told = recovery(&report);
        let line = "Downloaded 1 volume to /f, 2 were there already";
        assert_eq!(told.lines, [Line::Words(line.into())]);
        assert!(told.complaints.is_empty() && told.code == 0);
        report.damaged_files = (0..13).map(|n| format!("v{n}")).collect();
        report.common.parsed_result = Outcome::Error;
        let told = recovery(&report);
        assert_eq!((told.complaints.len(), told.code), (13, 3));
        let last = told.complaints.last().cloned();
        assert_eq!(last, Some(Line::Words("  ... and 2 more".into())));
    }
}
