//! Which versions are kept, and which one is meant.

use crate::{Group, Kind, Status};

table! { Group::Versions;
    KEEP_VERSIONS: i64 = "keep-versions", Kind::Integer { min: i64::MIN, max: i64::MAX },
        "Keeps this many versions and deletes older ones after each backup.",
        default: Some("0"),
        long: "0 keeps all. Only one of keep-versions, keep-time and retention-policy may be used.";
    KEEP_TIME: i64 = "keep-time", Kind::Timespan,
        "Deletes versions older than this after each backup.",
        long: "Months and years are those of the calendar. The newest complete version always stays. Only one of \
               keep-versions, keep-time and retention-policy may be used.";
    RETENTION_POLICY: String = "retention-policy", Kind::Retention,
        "Thins out versions as they grow older.",
        long: "Pairs of frame and distance, joined with commas: 1W:1D,4W:1W,12M:1M keeps one version a day for a week, \
               one a week for four weeks, one a month for a year, and deletes older ones. U as frame means for ever, \
               and as distance every version. The newest version always stays. Only one of keep-versions, keep-time \
               and retention-policy may be used.";
    ALLOW_FULL_REMOVAL: bool = "allow-full-removal", Kind::Bool,
        "Permits deleting the last version.";
    DISABLE_TIME_TOLERANCE: bool = "disable-time-tolerance", Kind::Bool,
        "Compares times exactly when deleting by age.",
        advanced: true,
        long: "Normally a version that misses the limit by less than one percent, and less than an hour, is treated as \
               having reached it.";
    VERSION: String = "version", Kind::Versions,
        "Chooses versions by number, 0 being the newest.",
        long: "A list with ranges: 0,2-4.";
    TIME: String = "time", Kind::Time,
        "Chooses the newest version that is not younger than this.",
        default: Some("now"),
        long: "A date such as 2024-02-29T12:30:45, or a time before now such as -2M.";
    ALL_VERSIONS: bool = "all-versions", Kind::Bool,
        "Looks at all versions.";
    UPLOAD_UNCHANGED_BACKUPS: bool = "upload-unchanged-backups", Kind::Bool,
        "Writes a new version even if nothing has changed.";
    DISABLE_SYNTHETIC_FILELIST: bool = "disable-synthetic-filelist", Kind::Bool,
        "Writes no partial version.",
        advanced: true,
        long: "Normally a backup that is stopped, and from time to time one that runs for long, stores a version of what it \
               has read, completed from the version before.";
    CHECKPOINT_INTERVAL: i64 = "checkpoint-interval", Kind::Timespan,
        "Sets how often a long backup stores a partial version.",
        default: Some("15m"),
        advanced: true,
        long: "What was read until then can be restored when the backup never ends. Each takes the place of the one before. \
               0 stores none. Not an option of Duplicati.";
    AUTO_CLEANUP: bool = "auto-cleanup", Kind::Bool,
        "Repairs the backup when the destination does not hold what is expected.",
        long: "Normally the run stops and asks for a repair.",
        status: Status::NotNeeded { why: "what is missing locally is always rebuilt from the destination" };
}
