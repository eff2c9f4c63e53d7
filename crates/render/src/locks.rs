//! What was locked at the destination, and what is.

use jiff::tz::TimeZone;
use larder_engine::LocksReport;
use larder_engine::words::{counted, verb};

use crate::reports::code_of;
use crate::{Line, Told, local_time};

/// What `set-locks` locked. Duplicati prints nothing.
#[must_use]
pub fn set_locks(report: &LocksReport, zone: &TimeZone) -> Told {
    told(report, set_locks_text(report, zone))
}

/// The same in one line, for logs.
#[must_use]
pub fn set_locks_log(report: &LocksReport) -> String {
    set_locks_text(report, &TimeZone::UTC)
}

/// What `read-lock-info` found. Duplicati prints nothing.
#[must_use]
pub fn read_lock_info(report: &LocksReport, zone: &TimeZone) -> Told {
    told(report, read_lock_info_text(report, zone))
}

/// The same in one line, for logs.
#[must_use]
pub fn read_lock_info_log(report: &LocksReport) -> String {
    read_lock_info_text(report, &TimeZone::UTC)
}

fn told(report: &LocksReport, text: String) -> Told {
    Told {
        lines: vec![Line::Words(text)],
        code: code_of(report.common.parsed_result),
        ..Told::default()
    }
}

fn set_locks_text(report: &LocksReport, zone: &TimeZone) -> String {
    let would = if report.dryrun {
        "Would lock"
    } else {
        "Locked"
    };
    let results = &report.results;
    let all = counted(results.volumes_read, "file");
    let until = report.last_end.map(|until| local_time(until, zone));
    let until = until.unwrap_or_default();
    match results.volumes_updated == results.volumes_read {
        true => format!("{would} {all} until {until}"),
        false => format!("{would} {} of {all} until {until}", results.volumes_updated),
    }
}

fn read_lock_info_text(report: &LocksReport, zone: &TimeZone) -> String {
    let all = counted(report.results.volumes_read, "file");
    let (Some(first), Some(last)) = (report.first_end, report.last_end) else {
        return format!("None of {all} is locked");
    };
    let locked = report.locked_volumes;
    let some = format!("{locked} of {all} {} locked", verb(locked, "is", "are"));
    match first == last {
        true => format!("{some} until {}", local_time(last, zone)),
        false => format!(
            "{some}; the first lock ends at {}, the last at {}",
            local_time(first, zone),
            local_time(last, zone)
        ),
    }
}

#[cfg(test)]
mod tests {
    use larder_engine::{LockResults, LocksReport};

    use super::*;

    fn report(read: u64, updated: u64) -> LocksReport {
        LocksReport {
            results: LockResults {
                volumes_read: read,
                volumes_updated: updated,
            },
            ..LocksReport::default()
        }
    }

    #[test]
    fn locks_are_told_with_their_ends() {
        let of = |locked_volumes, first_end, last_end| LocksReport {
            locked_volumes,
            first_end,
            last_end,
            ..report(5, 0)
        };
        for (report, text) in [
            (of(0, None, None), "None of 5 files is locked"),
            (
                of(1, Some(0), Some(0)),
                "1 of 5 files is locked until 1970-01-01 00:00:00 +00:00",
            ),
            (
                of(2, Some(0), Some(1)),
                "2 of 5 files are locked; the first lock ends at 1970-01-01 00:00:00 +00:00, the last at 1970-01-01 00:00:01 +00:00",
            ),
        ] {
            assert_eq!(read_lock_info_log(&report), text);
        }
        for (read, updated, dryrun, text) in [
            (3, 3, false, "Locked 3 files until 1970"),
            (3, 2, false, "Locked 2 of 3 files until 1970"),
            (3, 3, true, "Would lock 3 files until 1970"),
        ] {
            let report = LocksReport {
                last_end: Some(0),
                dryrun,
                ..report(read, updated)
            };
            let said = set_locks_log(&report);
            assert!(said.starts_with(text), "{said}");
        }
    }

    /// As docs/guide/json.md says.
    #[test]
    fn the_names_in_json_are_those_of_the_guide() {
        let page = include_str!("../../../docs/guide/json.md");
        let report = serde_json::to_value(report(1, 1)).expect("JSON");
        let names = report.as_object().expect("an object").keys();
        let example = page.split("\n## set-locks\n").nth(1).expect("a heading");
        let example = example.split("```json\n").nth(1).expect("an example");
        let example = example.split("```").next().expect("its end");
        let example: serde_json::Value = serde_json::from_str(example).expect("JSON");
        let promised = example.as_object().expect("an object").keys();
        assert!(names.eq(promised), "{report} {example}");
    }
}
