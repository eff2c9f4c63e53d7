//! Speed and parallel work.

use crate::{Group, Kind, SizeUnit, Status};

const WORKERS: Kind = Kind::Integer { min: 1, max: 1024 };

table! { Group::Throughput;
    THROTTLE_UPLOAD: u64 = "throttle-upload", Kind::Size { unit: SizeUnit::Kib },
        "Limits uploads to this many bytes per second.",
        default: Some("0"),
        long: "0 is no limit. It holds for all transfers of the run together.";
    THROTTLE_DOWNLOAD: u64 = "throttle-download", Kind::Size { unit: SizeUnit::Kib },
        "Limits downloads to this many bytes per second.",
        default: Some("0"),
        long: "0 is no limit. It holds for all transfers of the run together.";
    THROTTLE_DISABLED: bool = "throttle-disabled", Kind::Bool,
        "Ignores all limits of speed.",
        advanced: true;
    THROTTLE_DISABLED_BACKENDS: Vec<String> = "throttle-disabled-backends", Kind::List,
        "Names the kinds of destination that have no limit of speed.",
        default: Some(""),
        advanced: true,
        long: "Scheme keys such as file, joined with commas.";
    DISABLE_STREAMING_TRANSFERS: bool = "disable-streaming-transfers", Kind::Bool,
        "Transfers whole files instead of streams.",
        advanced: true,
        long: "Has an effect only together with use-move-for-put: every transfer can be limited and shows its progress.";
    ASYNCHRONOUS_UPLOAD_LIMIT: i64 = "asynchronous-upload-limit", Kind::Integer { min: 0, max: 1024 },
        "Sets how many volumes are uploaded at the same time.",
        default: Some("4"),
        aliases: &["asynchronous-concurrent-upload-limit"],
        long: "0 sets no limit of its own.";
    SYNCHRONOUS_UPLOAD: bool = "synchronous-upload", Kind::Bool,
        "Uploads one volume at a time, in order.",
        advanced: true;
    ASYNCHRONOUS_UPLOAD_FOLDER: String = "asynchronous-upload-folder", Kind::Path,
        "Names the folder where finished volumes wait for their upload.",
        advanced: true,
        long: "Without it the folder for temporary files.";
    TEMPDIR: String = "tempdir", Kind::Path,
        "Names the folder for temporary files.",
        long: "Without it the folder of the system. It needs room for a few volumes.";
    CONCURRENCY_MAX_THREADS: i64 = "concurrency-max-threads", Kind::Integer { min: 0, max: 1024 },
        "Sets the number of threads for background work.",
        default: Some("0"),
        advanced: true,
        long: "0 chooses by the number of processors.";
    CONCURRENCY_BLOCK_HASHERS: i64 = "concurrency-block-hashers", WORKERS,
        "Sets how many threads compute hashes.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "every thread does all steps of the work; concurrency-max-threads sets how many there are" };
    CONCURRENCY_COMPRESSORS: i64 = "concurrency-compressors", WORKERS,
        "Sets how many threads compress.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "every thread does all steps of the work; concurrency-max-threads sets how many there are" };
    CONCURRENCY_FILEPROCESSORS: i64 = "concurrency-fileprocessors", WORKERS,
        "Sets how many files are open for reading at the same time.",
        advanced: true,
        long: "Without it half the number of processors.",
        status: Status::NotNeeded { why: "every thread does all steps of the work; concurrency-max-threads sets how many there are" };
    CPU_INTENSITY: i64 = "cpu-intensity", Kind::Integer { min: 1, max: 10 },
        "Sets the share of processor time to use, from 1 to 10.",
        default: Some("10"),
        advanced: true,
        long: "10 is no limit; at 5, each thread rests half of the time.",
        status: Status::NotYet;
    USE_BACKGROUND_IO_PRIORITY: bool = "use-background-io-priority", Kind::Bool,
        "Lets other programs go first when the disk is busy.",
        status: Status::NotYet;
    ALLOW_SLEEP: bool = "allow-sleep", Kind::Bool,
        "Lets the computer go to sleep during a run.",
        advanced: true,
        status: Status::NotNeeded { why: "the computer is never kept awake" };
}
