//! Sizes, names and make of volumes.

use super::choices::{HashChoice, IndexContent};
use crate::{Choice, Group, Kind, SizeUnit, Status};

const HASHES: Kind = Kind::StrictChoice(HashChoice::NAMES);

table! { Group::Volumes;
    DBLOCK_SIZE: u64 = "dblock-size", Kind::Size { unit: SizeUnit::Mib },
        "Sets the largest size of a volume with data.",
        default: Some("50mb"),
        aliases: &["remote-volume-size"],
        long: "At least 1 MiB and twice the blocksize. Larger volumes mean fewer files at the destination, but more to \
               fetch when a single file is restored. It may be changed at any time and acts on new volumes.";
    BLOCKSIZE: u64 = "blocksize", Kind::Size { unit: SizeUnit::Kib },
        "Sets the length of the blocks that files are cut into.",
        default: Some("1mb"),
        advanced: true,
        long: "From 1 KiB to 2 GiB - 1. It is fixed for the life of a backup. Smaller blocks find more duplicates; larger \
               ones need less bookkeeping.";
    BLOCK_HASH_ALGORITHM: HashChoice = "block-hash-algorithm", HASHES,
        "Chooses the hash that names blocks.",
        default: Some("SHA256"),
        advanced: true,
        long: "It is fixed when a backup is created. The others are there to continue backups that were made with them.";
    FILE_HASH_ALGORITHM: HashChoice = "file-hash-algorithm", HASHES,
        "Chooses the hash of whole files.",
        default: Some("SHA256"),
        advanced: true,
        long: "It is fixed when a backup is created.";
    INDEX_FILE_POLICY: IndexContent = "index-file-policy", Kind::StrictChoice(IndexContent::NAMES),
        "Chooses how much goes into index volumes.",
        default: Some("Full"),
        advanced: true,
        long: "Full also keeps the lists of blocks of large files, so that a lost database is rebuilt without reading \
               data volumes. Lookup keeps only the place of each block. None writes no index volumes.";
    PREFIX: String = "prefix", Kind::Text,
        "Sets the first part of the names of all volumes.",
        default: Some("duplicati"),
        long: "Several backups may share a folder when their prefixes differ. A hyphen is not allowed. It must not \
               change during the life of a backup.";
    CONTROL_FILES: Vec<String> = "control-files", Kind::PathList,
        "Adds these files to the list volume of a backup.",
        advanced: true,
        long: "For list and restore it is a yes or no that selects those files instead of the backed up ones.";
    PARITY_MODULE: String = "parity-module", Kind::Text,
        "Chooses the maker of companion files that repair damaged volumes.",
        default: Some(""),
        advanced: true,
        long: "par2 uploads a companion for each data and list volume. A volume that arrives damaged is repaired with it.",
        status: Status::NotYet;
    PAR2_PROGRAM_PATH: String = "par2-program-path", Kind::Path,
        "Names the par2 program to run.",
        advanced: true,
        long: "Without it par2 is looked for in the search path.",
        status: Status::PartOf { options: &["parity-module"] };
    PAR2_EXTRA_OPTIONS: String = "par2-extra-options", Kind::Text,
        "Adds arguments to par2.",
        advanced: true,
        status: Status::PartOf { options: &["parity-module"] };
    PARITY_REDUNDANCY_LEVEL: i64 = "parity-redundancy-level", Kind::Integer { min: 0, max: 100 },
        "Sets the size of companion files in percent of the volume.",
        default: Some("5"),
        advanced: true,
        status: Status::PartOf { options: &["parity-module"] };
    DONT_READ_MANIFESTS: bool = "dont-read-manifests", Kind::Bool,
        "Ignores the manifests in volumes.",
        advanced: true,
        long: "For damaged backups only; mixing volumes of different backups is then not noticed.";
    SKIP_FILE_HASH_CHECKS: bool = "skip-file-hash-checks", Kind::Bool,
        "Accepts volumes whose hash is not the recorded one.",
        advanced: true,
        long: "For damaged backups only.";
}
