//! What remote files hold. The lines are Duplicati's (console samples, 6), with what would be lost after them.

use jiff::tz::TimeZone;
use larder_engine::words::{counted, noun, verb};
use larder_engine::{AffectedReport, AffectedVolume};

use crate::reports::SHORT_PATHS;
use crate::{Detail, Line, Told, local_time};

/// What uses remote files, and what would be lost without them.
#[must_use]
pub fn affected(report: &AffectedReport, detail: Detail, zone: &TimeZone) -> Told {
    let mut told = Told {
        code: match report.unreadable_versions.is_empty() {
            true => 0,
            false => 2,
        },
        ..Told::default()
    };
    for volume in &report.remote_volumes {
        if let Some(sentence) = about(volume) {
            told.say(sentence);
        }
    }
    let count = report.files_actual_length;
    if count == 0 {
        told.say("No files are affected");
    } else {
        told.say("The following filesets are affected:");
        for version in &report.filesets {
            let time = local_time(version.time, zone);
            told.say(format!("{}\t: {time}", version.version));
        }
        told.say("");
        told.say(format!("A total of {count} file(s) are affected:"));
        let named = report.files.iter().take(detail.most(SHORT_PATHS));
        let mut shown = 0;
        for file in named {
            told.lines.push(Line::Path(file.path.clone()));
            shown += 1;
        }
        match (count.saturating_sub(shown), detail) {
            (0, _) => {}
            (more, Detail::Short) => told.say(format!(
                "  ... and {more} more (use --full-result to see all filenames)"
            )),
            (more, Detail::Full) => told.say(format!("  ... and {more} more")),
        }
        told.say("");
        told.say(loss(report));
    }
    if report.unclear_entries > 0 {
        told.say(format!(
            "Not all blocks of {} are known, so it cannot be told whether {} affected",
            counted(report.unclear_entries, "entry"),
            verb(report.unclear_entries, "it is", "they are")
        ));
    }
    told
}

/// What is to be said of a volume itself.
fn about(volume: &AffectedVolume) -> Option<String> {
    let name = &volume.name;
    match (volume.kind, volume.version) {
        ("Index", _) if volume.describes.is_empty() => Some(format!(
            "{name} describes no data file that is known here: nothing is lost without it"
        )),
        ("Index", _) => Some(format!(
            "{name} describes {}: nothing is lost without it, the next backup writes it anew",
            volume.describes.join(", ")
        )),
        ("List", Some(version)) => Some(format!(
            "{name} is the list of version {version}: without it nothing of this version is known"
        )),
        ("List", None) => Some(format!("{name} was the list of a version that is gone")),
        _ if volume.is_gone => Some(format!("{name} is gone; this is what it held")),
        _ => None,
    }
}

/// How many paths would be lost.
fn loss(report: &AffectedReport) -> String {
    let volumes = report.remote_volumes.len() as u64;
    let without = verb(volumes, "it", "them");
    match report.lost_files_actual_length {
        0 => format!(
            "None of them would be lost without {without}: other volumes hold the same blocks"
        ),
        lost if lost == report.files_actual_length => {
            format!("None of them could be restored whole without {without}")
        }
        lost => format!(
            "{lost} of them could not be restored whole without {without}; of the other {} other volumes hold the same blocks",
            noun(report.files_actual_length - lost, "file")
        ),
    }
}

/// The same in one line, for logs.
#[must_use]
pub fn affected_log(report: &AffectedReport) -> String {
    format!(
        "{} affected, {} of them would be lost",
        counted(report.files_actual_length, "file"),
        report.lost_files_actual_length
    )
}
