//! Compression of volumes.

use super::choices::{Container, ZipMethod};
use crate::{Choice, Group, Kind, Status};

const LEVELS: Kind = Kind::Integer { min: 0, max: 9 };

table! { Group::Compression;
    COMPRESSION_MODULE: Container = "compression-module", Kind::StrictChoice(Container::NAMES),
        "Chooses the container of new volumes.",
        default: Some("zip"),
        advanced: true,
        long: "Existing volumes are read by the ending of their name, whatever is chosen here.";
    ZIP_COMPRESSION_METHOD: ZipMethod = "zip-compression-method",
        Kind::Choice(ZipMethod::NAMES),
        "Chooses how data in zip volumes is compressed.",
        advanced: true,
        long: "Without it Larder chooses: a new backup uses Zstandard, and an existing one continues as its newest \
               volumes were written. Duplicati 2.3 reads both. None stores the data as it is. \
               Other methods are read, but not written: asking for one gives a warning and leaves the choice to \
               Larder. Duplicati's recovery tool and its Python restore script read Deflate and None, but not \
               Zstandard: choose Deflate to keep them as a way out.";
    ZIP_COMPRESSION_LEVEL: i64 = "zip-compression-level", LEVELS,
        "Sets how hard zip volumes are compressed, from 0 (not at all) to 9.",
        default: Some("9"),
        long: "It counts for the methods Zstandard and Deflate. Without it, Zstandard works at the level that was measured to be best for whole backups (docs/decisions/0004).";
    COMPRESSION_LEVEL: i64 = "compression-level", LEVELS,
        "Sets how hard zip volumes are compressed, where zip-compression-level is not given.",
        default: Some("9"),
        advanced: true,
        status: Status::Deprecated { instead: "zip-compression-level" };
    ZIP_COMPRESSION_LIBRARY: String = "zip-compression-library",
        Kind::Choice(&["Auto", "SharpCompress", "BuiltIn"]),
        "Chooses the library that writes zip files.",
        default: Some("Auto"),
        advanced: true,
        status: Status::NotNeeded { why: "there is one library" };
    TGZ_COMPRESSION_LEVEL: i64 = "tgz-compression-level", Kind::Integer { min: 0, max: 9 },
        "Sets how hard tgz volumes are compressed, from 0 to 9.",
        default: Some("2"),
        advanced: true;
    TZSTD_COMPRESSION_LEVEL: i64 = "tzstd-compression-level", Kind::Integer { min: 1, max: 22 },
        "Sets how hard tzstd volumes are compressed, from 1 to 22.",
        default: Some("10"),
        advanced: true;
    TGZ_MEMORY_BUFFER: bool = "tgz-memory-buffer", Kind::Bool,
        "Builds tgz volumes in memory.",
        advanced: true,
        status: Status::NotNeeded { why: "the place of unfinished volumes is chosen by tempdir" };
    TZSTD_MEMORY_BUFFER: bool = "tzstd-memory-buffer", Kind::Bool,
        "Builds tzstd volumes in memory.",
        advanced: true,
        status: Status::NotNeeded { why: "the place of unfinished volumes is chosen by tempdir" };
    COMPRESSION_EXTENSION_FILE: String = "compression-extension-file", Kind::Path,
        "Names a file with the endings of files that are stored without compression.",
        advanced: true,
        long: "Lines that start with a dot are endings, up to the first blank; other lines are comments. Without it a \
               built-in list of photo, film, music and archive formats is used.";
}
