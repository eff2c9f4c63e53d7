//! Messages and identity.

use super::choices::LogLevel;
use super::shared::{LEVELS, PART_OF_REPORTS};
use crate::{Group, Kind, Status};

table! { Group::Logging;
    LOG_FILE: String = "log-file", Kind::Path,
        "Appends messages to this file.",
        long: "Its folder is created when it is missing.";
    LOG_FILE_LOG_LEVEL: LogLevel = "log-file-log-level", LEVELS,
        "Chooses which messages go to the log file.",
        default: Some("Warning"),
        long: "This level and all that follow it in the list.";
    LOG_FILE_LOG_FILTER: String = "log-file-log-filter", Kind::Text,
        "Chooses messages for the log file by their tag.",
        advanced: true,
        long: "Filters with + or - in front, joined with colons or semicolons; they decide whatever the level.";
    LOG_FILE_LOG_IGNORE: Vec<String> = "log-file-log-ignore", Kind::List,
        "Keeps messages with these ids out of the log file.",
        advanced: true;
    CONSOLE_LOG_LEVEL: LogLevel = "console-log-level", LEVELS,
        "Chooses which messages are shown.",
        default: Some("Warning"),
        long: "This level and all that follow it in the list. A dry run shows DryRun, too.";
    CONSOLE_LOG_FILTER: String = "console-log-filter", Kind::Text,
        "Chooses messages to show by their tag.",
        advanced: true,
        long: "Filters with + or - in front, joined with colons or semicolons; they decide whatever the level.";
    CONSOLE_LOG_IGNORE: Vec<String> = "console-log-ignore", Kind::List,
        "Does not show messages with these ids.",
        advanced: true;
    LOG_LEVEL: LogLevel = "log-level", LEVELS,
        "Sets the level of both the log file and the terminal.",
        advanced: true,
        status: Status::Deprecated { instead: "console-log-level" },
        long: "It counts where log-file-log-level or console-log-level is not given.";
    VERBOSE: bool = "verbose", Kind::Bool,
        "Showed more messages once.",
        advanced: true,
        status: Status::NoEffect { why: "console-log-level=Verbose shows more messages" };
    SUPPRESS_WARNINGS: Vec<String> = "suppress-warnings", Kind::List,
        "Treats warnings with these ids as plain information.",
        long: "They then do not change the exit code.";
    QUIET_CONSOLE: bool = "quiet-console", Kind::Bool,
        "Shows no messages and no progress.",
        long: "Errors are shown all the same, and so are the results of list, find, test and test-filters.";
    DEBUG_OUTPUT: bool = "debug-output", Kind::Bool,
        "Shows errors with all their causes, and the arguments as they were understood.";
    DEBUG_RETRY_ERRORS: bool = "debug-retry-errors", Kind::Bool,
        "Shows the errors of transfers that were tried again.",
        advanced: true,
        status: Status::NotNeeded { why: "console-log-level=Retry shows them" };
    LOG_HTTP_REQUESTS: bool = "log-http-requests", Kind::Bool,
        "Logs requests to web services.",
        advanced: true,
        status: Status::NotYet;
    LOG_SOCKET_DATA: i64 = "log-socket-data", Kind::Integer { min: -1, max: i64::MAX },
        "Logs what goes over the network.",
        default: Some("-1"),
        advanced: true,
        status: Status::NoEffect { why: "it would show secrets" };
    ALLOW_PATHS_IN_LOG_MESSAGES: bool = "allow-paths-in-log-messages", Kind::Bool,
        "Leaves paths of files in reports readable.",
        advanced: true,
        status: PART_OF_REPORTS;
    MACHINE_ID: String = "machine-id", Kind::Text,
        "Sets the id of this computer in reports.",
        advanced: true,
        long: "Without it an id made at the first run.",
        status: PART_OF_REPORTS;
    MACHINE_NAME: String = "machine-name", Kind::Text,
        "Sets the name of this computer in reports.",
        advanced: true,
        long: "Without it the name of the system.",
        status: PART_OF_REPORTS;
    BACKUP_ID: String = "backup-id", Kind::Text,
        "Sets the id of the backup in reports.",
        advanced: true,
        long: "Without it a hash of the storage URL.",
        status: PART_OF_REPORTS;
    BACKUP_NAME: String = "backup-name", Kind::Text,
        "Sets the name of the backup in reports.",
        long: "Without it the name of the program.",
        status: PART_OF_REPORTS;
    NEXT_SCHEDULED_RUN: String = "next-scheduled-run", Kind::Text,
        "Tells reports when the backup runs again.",
        advanced: true,
        status: PART_OF_REPORTS;
    FORCE_LOCALE: String = "force-locale", Kind::Text,
        "Sets the language of messages.",
        advanced: true,
        status: Status::NoEffect { why: "messages are in English" };
    FORCE_ACTUAL_DATE: bool = "force-actual-date", Kind::Bool,
        "Shows dates instead of words like yesterday.",
        advanced: true,
        status: Status::NotNeeded { why: "dates are always shown" };
}
