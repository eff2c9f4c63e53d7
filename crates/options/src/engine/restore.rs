//! Restoring and listing.

use super::choices::RestoredVersions;
use crate::{Choice, Group, Kind, SizeUnit, Status};

pub use listing::*;

const WORKERS: Kind = Kind::Integer { min: 1, max: 1024 };

table! { Group::Restore;
    RESTORE_PATH: String = "restore-path", Kind::Path,
        "Names the folder to restore to.",
        long: "Without it files go back to where they came from. The part of the path that all restored files have in \
               common is left out below it.",
        aliases: &["targetpath"];
    OVERWRITE: bool = "overwrite", Kind::Bool,
        "Replaces files that exist with other content.",
        long: "Without it the restored file gets the date of its version in its name.";
    RESTORE_PERMISSIONS: bool = "restore-permissions", Kind::Bool,
        "Restores owner, group and rights.",
        long: "Normally files belong to whoever restores them.";
    RESTORE_SYMLINK_METADATA: bool = "restore-symlink-metadata", Kind::Bool,
        "Restores the extended attributes of symbolic links themselves, too.",
        advanced: true;
    SKIP_RESTORE_VERIFICATION: bool = "skip-restore-verification", Kind::Bool,
        "Does not check the hash of restored files.",
        aliases: &["disable-file-verify"];
    DONT_COMPRESS_RESTORE_PATHS: bool = "dont-compress-restore-paths", Kind::Bool,
        "Keeps the whole original path below the target folder.";
    ALLOW_RESTORE_OUTSIDE_TARGET_DIRECTORY: bool = "allow-restore-outside-target-directory", Kind::Bool,
        "Permits restored paths that lead out of the target folder.",
        advanced: true,
        status: Status::NotNeeded { why: "links are restored wherever they point, and nothing is written through one" };
    RESTORE_WITH_LOCAL_BLOCKS: bool = "restore-with-local-blocks", Kind::Bool,
        "Takes blocks from source files that still exist instead of fetching them.",
        aliases: &["patch-with-local-blocks"];
    FULL_BLOCK_VERIFICATION: bool = "full-block-verification", Kind::Bool,
        "Checks the hash of each block while restoring.",
        advanced: true,
        status: Status::NotNeeded { why: "every block is checked before it is written" };
    RESTORE_ALL_FILES: RestoredVersions = "restore-all-files", Kind::Choice(RestoredVersions::NAMES),
        "Restores every chosen version into a folder of its own.",
        default: Some("False"),
        advanced: true,
        long: "The folders are named by the time of the version, below restore-path. Unique leaves out files whose \
               content has been restored from another version.";
    RESTORE_LEGACY: bool = "restore-legacy", Kind::Bool,
        "Restores the way older versions of Duplicati did.",
        advanced: true,
        status: Status::NotNeeded { why: "there is one way of restoring" };
    RESTORE_PREALLOCATE_SIZE: bool = "restore-preallocate-size", Kind::Bool,
        "Gives files their whole length before they are filled.",
        advanced: true;
    RESTORE_SYNC: bool = "restore-sync", Kind::Bool,
        "Waits until each restored file is on the disk before it gets its name.",
        advanced: true,
        long: "Without it a power cut soon after a restore may leave files that are too short, as after any copying. \
               A file that replaces one is on the disk before that in any case.";
    RESTORE_CACHE_MAX: u64 = "restore-cache-max", Kind::Size { unit: SizeUnit::Mib },
        "Limits the memory for blocks that are needed again.",
        default: Some("4gb"),
        advanced: true,
        long: "0 keeps none; otherwise at least the blocksize.",
        status: Status::NotNeeded { why: "no block is kept in memory after it was written" };
    RESTORE_CACHE_EVICT: i64 = "restore-cache-evict", Kind::Integer { min: 0, max: 100 },
        "Sets the share of blocks that is dropped when that memory is full, in percent.",
        default: Some("50"),
        advanced: true,
        status: Status::NotNeeded { why: "no block is kept in memory after it was written" };
    RESTORE_VOLUME_CACHE_HINT: u64 = "restore-volume-cache-hint", Kind::Size { unit: SizeUnit::Mib },
        "Limits the disk space for fetched volumes.",
        advanced: true,
        long: "0 keeps none. Without it there is no limit but restore-volume-cache-min-free.",
        status: Status::NotNeeded { why: "every volume is fetched once and not kept" };
    RESTORE_VOLUME_CACHE_MIN_FREE: u64 = "restore-volume-cache-min-free", Kind::Size { unit: SizeUnit::Gib },
        "Leaves this much disk space free when fetched volumes are kept.",
        default: Some("1gb"),
        advanced: true,
        status: Status::NotNeeded { why: "every volume is fetched once and not kept" };
    RESTORE_FILE_PROCESSORS: i64 = "restore-file-processors", WORKERS,
        "Sets how many files are written at the same time.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "concurrency-max-threads sets the number of threads" };
    RESTORE_VOLUME_DECOMPRESSORS: i64 = "restore-volume-decompressors", WORKERS,
        "Sets how many threads decompress.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "concurrency-max-threads sets the number of threads" };
    RESTORE_VOLUME_DECRYPTORS: i64 = "restore-volume-decryptors", WORKERS,
        "Sets how many threads decrypt.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "concurrency-max-threads sets the number of threads" };
    RESTORE_VOLUME_DOWNLOADERS: i64 = "restore-volume-downloaders", WORKERS,
        "Sets how many volumes are fetched at the same time.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "concurrency-max-threads sets the number of threads" };
    RESTORE_CHANNEL_BUFFER_SIZE: i64 = "restore-channel-buffer-size", Kind::Integer { min: 1, max: i64::MAX },
        "Sets the length of queues while restoring.",
        advanced: true,
        status: Status::NotNeeded { why: "queues have a fixed length" };
}

/// Options of the listing commands.
pub(super) mod listing {
    use crate::{Group, Kind};

    table! { Group::Listing;
        LIST_PREFIX_ONLY: bool = "list-prefix-only", Kind::Bool,
            "Lists only the part of the path that all matching files have in common.",
            advanced: true;
        LIST_FOLDER_CONTENTS: bool = "list-folder-contents", Kind::Bool,
            "Lists only what lies directly in the folder.",
            advanced: true;
        LIST_SETS_ONLY: bool = "list-sets-only", Kind::Bool,
            "Lists versions without their files.",
            advanced: true;
        FULL_RESULT: bool = "full-result", Kind::Bool,
            "Prints everything instead of the first few lines.",
            long: "Lists of paths end at 4 MiB, some 50,000 paths; what is left out is counted.",
            aliases: &["full-results"];
        JSON: bool = "json", Kind::Bool,
            "Prints the result as JSON.",
            long: "Nothing else is written to standard output then. Duplicati does not know this option.";
    }
}
