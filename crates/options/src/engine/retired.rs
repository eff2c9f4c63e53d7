//! Names of former versions: known, so that they give one clear warning, and without any effect.
//!
//! Some retired names with a living successor are aliases instead: see [`DEPRECATED_ALIASES`](super::DEPRECATED_ALIASES).

use crate::{Group, Kind, OptionDecl, Status};

macro_rules! retired {
    ($($name:literal, $help:literal;)*) => {
        &[$(&OptionDecl {
            name: $name,
            kind: Kind::Text,
            group: Group::Retired,
            advanced: true,
            status: Status::Retired,
            help: $help,
            ..OptionDecl::BASE
        }),*]
    };
}

/// The retired options.
pub(super) const TABLE: &[&OptionDecl] = retired! {
    "no-local-blocks", "Kept blocks of local files out of a restore, as is now usual.";
    "use-block-cache", "Kept blocks in memory.";
    "disable-filepath-cache", "Kept paths out of memory.";
    "file-read-buffer-size", "Set the buffer for reading files.";
    "thread-priority", "Set the priority of threads; use-background-io-priority and cpu-intensity remain.";
    "default-filters", "Chose a set of filters; --exclude={Group} does so now.";
    "store-metadata", "Stored metadata, as is now usual.";
    "blockhash-lookup-memory", "Set the memory for finding blocks.";
    "filehash-lookup-memory", "Set the memory for finding files.";
    "metadatahash-lookup-memory", "Set the memory for finding metadata.";
    "old-lookup-memory-defaults", "Set the memory for lookups as in older versions.";
    "disable-piped-streaming", "Switched off an older way of uploading.";
    "disable-usn-diff-check", "Switched off a check of the change journal of NTFS.";
    "backend-log-database", "Logged transfers into a database.";
    "aes-set-threadlevel", "Set the number of threads for encryption.";
    "zip-compression-zip64", "Chose the zip64 format, which is now used where needed.";
    "7z-compression-level", "Set how hard 7z volumes were compressed.";
    "7z-compression-fast-algorithm", "Chose the fast way of compressing 7z volumes.";
    "allowed-ssl-versions", "Chose the permitted versions of TLS.";
    "disable-expect100-continue", "Changed the headers of uploads.";
    "disable-nagling", "Changed how small packets were sent.";
    "http-enable-buffering", "Kept uploads in memory.";
    "mono-ssl-config", "Set up TLS for Mono.";
    "unencrypted-database", "Left the local database readable.";
};
