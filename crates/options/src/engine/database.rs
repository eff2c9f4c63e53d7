//! The local database and repair.

use crate::{Group, Kind, Status};

/// Status of options that look into Duplicati's own database code.
const ITS_DATABASE: Status = Status::NotNeeded {
    why: "it belongs to the database of Duplicati",
};

table! { Group::Database;
    DBPATH: String = "dbpath", Kind::Path,
        "Names the local database.",
        long: "Without it a file in the data folder, found by the storage URL. It can always be rebuilt from the \
               destination.";
    NO_LOCAL_DB: bool = "no-local-db", Kind::Bool,
        "Reads everything from the destination for list and restore.",
        long: "Slow, and needs the passphrase.";
    AUTO_VACUUM: bool = "auto-vacuum", Kind::Bool,
        "Makes the local database small again after a backup.",
        advanced: true,
        long: "It is written anew, which takes some seconds. Seldom needed: its free space is used again.";
    AUTO_VACUUM_INTERVAL: i64 = "auto-vacuum-interval", Kind::Timespan,
        "Sets how much time must pass before the database is made small again.",
        default: Some("0m"),
        advanced: true;
    LOG_RETENTION: i64 = "log-retention", Kind::Timespan,
        "Sets how long log entries stay in the local database.",
        default: Some("30D"),
        advanced: true,
        status: Status::NotNeeded { why: "the local database holds no log" };
    DISABLE_FILELIST_CONSISTENCY_CHECKS: bool = "disable-filelist-consistency-checks", Kind::Bool,
        "Leaves out expensive checks of the local database.",
        advanced: true,
        status: Status::NotNeeded { why: "the local database is checked at no cost worth saving" };
    REPAIR_ONLY_PATHS: bool = "repair-only-paths", Kind::Bool,
        "Rebuilds a local database that serves only for searching.",
        advanced: true,
        status: Status::NotYet;
    REPAIR_FORCE_BLOCK_USE: bool = "repair-force-block-use", Kind::Bool,
        "Rebuilds the local database by reading all data volumes.",
        advanced: true,
        status: Status::NotYet;
    REPAIR_IGNORE_OUTDATED_DATABASE: bool = "repair-ignore-outdated-database", Kind::Bool,
        "Repairs although the destination is newer than the local database.",
        advanced: true,
        long: "Newer versions at the destination may be deleted by this.",
        status: Status::NotNeeded { why: "repair follows the destination and deletes no version there" };
    REBUILD_MISSING_DBLOCK_FILES: bool = "rebuild-missing-dblock-files", Kind::Bool,
        "Writes lost data volumes anew from files that still exist here.",
        advanced: true,
        long: "repair then reads the files of all versions that lost something and still have their length. A backup does the \
               same for the newest version by itself.";
    MOVE_UNREADABLE_ASIDE: bool = "move-unreadable-aside", Kind::Bool,
        "Lets repair give damaged files that belong to no version other names.",
        long: "Data and index volumes that cannot be read are renamed: aside-<day>- is put before their names, so that nothing \
               is deleted and a hand can bring them back. None is touched while anything of the backup is missed, nor in its \
               first day. Not an option of Duplicati.";
    DELETE_ASIDE_AFTER: i64 = "delete-aside-after", Kind::Timespan,
        "Lets repair delete files that were moved aside so long ago.",
        long: "What --move-unreadable-aside renamed stays for ever otherwise. Not an option of Duplicati.";
    DISABLE_PARTIAL_DBLOCK_RECOVERY: bool = "disable-partial-dblock-recovery", Kind::Bool,
        "Writes lost data volumes anew only if nothing of them is missing.",
        advanced: true;
    DISABLE_REPLACE_MISSING_METADATA: bool = "disable-replace-missing-metadata", Kind::Bool,
        "Treats a file as broken when only its metadata are lost.",
        advanced: true,
        long: "Normally lost metadata are replaced by empty ones.";
    REDUCED_PURGE_STATISTICS: bool = "reduced-purge-statistics", Kind::Bool,
        "Does not add up sizes in purge-broken-files.",
        advanced: true,
        status: Status::NotNeeded { why: "the sums cost nothing" };
    PROFILE_ALL_DATABASE_QUERIES: bool = "profile-all-database-queries", Kind::Bool,
        "Logs the time of all database queries.",
        advanced: true,
        status: ITS_DATABASE;
    LONG_DATABASE_QUERY_THRESHOLD: i64 = "long-database-query-threshold", Kind::Timespan,
        "Warns about database queries that take longer.",
        default: Some("30m"),
        advanced: true,
        status: ITS_DATABASE;
    IGNORE_UPDATE_IF_VERSION_EXISTS: bool = "ignore-update-if-version-exists", Kind::Bool,
        "Says nothing when the database has been upgraded already.",
        advanced: true,
        status: ITS_DATABASE;
    INTERNAL_PROFILING: bool = "internal-profiling", Kind::Bool,
        "Measures parts of the program.",
        advanced: true,
        status: ITS_DATABASE;
}
