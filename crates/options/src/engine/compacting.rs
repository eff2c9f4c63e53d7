//! Repacking volumes.

use crate::{Group, Kind, SizeUnit};

table! { Group::Compacting;
    NO_AUTO_COMPACT: bool = "no-auto-compact", Kind::Bool,
        "Never repacks volumes after backup, delete or purge.",
        long: "Space of deleted versions is then freed only by the compact command.";
    AUTO_COMPACT_INTERVAL: i64 = "auto-compact-interval", Kind::Timespan,
        "Sets how much time must pass before volumes are repacked again.",
        default: Some("0m"),
        long: "It holds for what other commands do by themselves, not for the compact command.";
    THRESHOLD: i64 = "threshold", Kind::Integer { min: 0, max: 100 },
        "Repacks volumes when this share of them is waste, in percent.",
        default: Some("25"),
        long: "It is compared with each volume and with all together.";
    SMALL_FILE_SIZE: u64 = "small-file-size", Kind::Size { unit: SizeUnit::Mib },
        "Treats volumes below this size as small.",
        long: "Without it one fifth of dblock-size.";
    SMALL_FILE_MAX_COUNT: i64 = "small-file-max-count", Kind::Integer { min: 0, max: i64::MAX },
        "Repacks small volumes when there are more than this many.",
        default: Some("20");
    COMPACT_MAX_BYTES: u64 = "compact-max-bytes", Kind::Size { unit: SizeUnit::Mib },
        "Sets how much one run may download to repack volumes.",
        default: Some("0"),
        advanced: true,
        long: "0 sets no limit. What is left is repacked by the next run. Not an option of Duplicati.";
    COMPACT_MAX_TIME: i64 = "compact-max-time", Kind::Timespan,
        "Sets for how long one run begins to repack further volumes.",
        default: Some("0s"),
        advanced: true,
        long: "0 sets no limit. What is left is repacked by the next run. Not an option of Duplicati.";
}
