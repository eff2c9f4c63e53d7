//! Repacking volumes.

use crate::{Group, Kind, SizeUnit, Status};

table! { Group::Compacting;
    NO_AUTO_COMPACT: bool = "no-auto-compact", Kind::Bool,
        "Never repacks volumes after backup, delete or purge.",
        long: "Space of deleted versions is then freed only by the compact command.",
        status: Status::NotNeeded { why: "volumes are never repacked in this version" };
    AUTO_COMPACT_INTERVAL: i64 = "auto-compact-interval", Kind::Timespan,
        "Sets how much time must pass before volumes are repacked again.",
        default: Some("0m"),
        status: Status::NotYet;
    THRESHOLD: i64 = "threshold", Kind::Integer { min: 0, max: 100 },
        "Repacks volumes when this share of them is waste, in percent.",
        default: Some("25"),
        long: "It is compared with each volume and with all together.",
        status: Status::NotYet;
    SMALL_FILE_SIZE: u64 = "small-file-size", Kind::Size { unit: SizeUnit::Mib },
        "Treats volumes below this size as small.",
        long: "Without it one fifth of dblock-size.",
        status: Status::NotYet;
    SMALL_FILE_MAX_COUNT: i64 = "small-file-max-count", Kind::Integer { min: 0, max: i64::MAX },
        "Repacks small volumes when there are more than this many.",
        default: Some("20"),
        status: Status::NotYet;
}
