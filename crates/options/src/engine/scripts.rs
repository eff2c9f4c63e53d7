//! Scripts run around an operation.

use super::choices::LogLevel;
use super::shared::{FORMATS, LEVELS};
use crate::{Group, Kind, Status};

/// Status of options that say how scripts are run.
const PART_OF_SCRIPTS: Status = Status::PartOf {
    options: &[
        "run-script-before",
        "run-script-before-required",
        "run-script-after",
        "run-script-post-backup",
    ],
};

table! { Group::Scripts;
    RUN_SCRIPT_BEFORE: String = "run-script-before", Kind::Path,
        "Runs a program before each operation.",
        status: Status::NotYet,
        long: "Its exit code decides whether the operation runs. Lines --name=value that it prints set options.";
    RUN_SCRIPT_BEFORE_REQUIRED: String = "run-script-before-required", Kind::Path,
        "Runs a program before each operation and stops when it fails.",
        status: Status::Refused {
            why: "the operation would run unprepared",
            reading: true,
        },
        long: "Any exit code but 0, and running out of time, is a failure.";
    RUN_SCRIPT_AFTER: String = "run-script-after", Kind::Path,
        "Runs a program after each operation.",
        status: Status::NotYet;
    RUN_SCRIPT_POST_BACKUP: String = "run-script-post-backup", Kind::Path,
        "Runs a program when the data of a backup are written, before they are checked.",
        advanced: true,
        status: Status::NotYet;
    RUN_SCRIPT_TIMEOUT: i64 = "run-script-timeout", Kind::Timespan,
        "Sets how long to wait for a program.",
        default: Some("60s"),
        status: PART_OF_SCRIPTS,
        long: "After that it goes on running, and the operation goes on too. 0 waits for ever.";
    RUN_SCRIPT_WITH_ARGUMENTS: bool = "run-script-with-arguments", Kind::Bool,
        "Splits the names of programs at blanks into program and arguments.",
        advanced: true,
        status: PART_OF_SCRIPTS;
    RUN_SCRIPT_RESULT_OUTPUT_FORMAT: String = "run-script-result-output-format", FORMATS,
        "Chooses the form of the result file for programs that run afterwards.",
        default: Some("Duplicati"),
        advanced: true,
        status: PART_OF_SCRIPTS;
    RUN_SCRIPT_LOG_LEVEL: LogLevel = "run-script-log-level", LEVELS,
        "Chooses which messages go to the result file.",
        default: Some("Warning"),
        advanced: true,
        status: PART_OF_SCRIPTS;
    RUN_SCRIPT_LOG_FILTER: String = "run-script-log-filter", Kind::Text,
        "Chooses messages for the result file by their tag.",
        advanced: true,
        status: PART_OF_SCRIPTS;
}
