//! Names of former versions: known, so that they give one clear warning, and without any effect.
//!
//! Some retired names with a living successor are aliases instead: see [`DEPRECATED_ALIASES`](super::DEPRECATED_ALIASES).

use crate::{Group, Kind, OptionDecl, Status};

macro_rules! retired {
    ($($name:literal, $kind:expr, $default:expr, $help:literal;)*) => {
        &[$(&OptionDecl {
            name: $name,
            kind: $kind,
            default: $default,
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
    "no-local-blocks", Kind::Bool, Some("true"), "Kept blocks of local files out of a restore, as is now usual.";
    "use-block-cache", Kind::Bool, None, "Kept blocks in memory.";
    "disable-filepath-cache", Kind::Bool, None, "Kept paths out of memory.";
    "file-read-buffer-size", Kind::Text, None, "Set the buffer for reading files.";
    "thread-priority", Kind::Text, None, "Set the priority of threads; use-background-io-priority and cpu-intensity remain.";
    "default-filters", Kind::Text, None, "Chose a set of filters; --exclude={Group} does so now.";
    "store-metadata", Kind::Bool, Some("true"), "Stored metadata, as is now usual.";
    "blockhash-lookup-memory", Kind::Text, None, "Set the memory for finding blocks.";
    "filehash-lookup-memory", Kind::Text, None, "Set the memory for finding files.";
    "metadatahash-lookup-memory", Kind::Text, None, "Set the memory for finding metadata.";
    "old-lookup-memory-defaults", Kind::Bool, None, "Set the memory for lookups as in older versions.";
    "disable-piped-streaming", Kind::Bool, None, "Switched off an older way of uploading.";
    "disable-usn-diff-check", Kind::Bool, None, "Switched off a check of the change journal of NTFS.";
    "backend-log-database", Kind::Text, None, "Logged transfers into a database.";
    "aes-set-threadlevel", Kind::Text, None, "Set the number of threads for encryption.";
    "zip-compression-zip64", Kind::Text, None, "Chose the zip64 format, which is now used where needed.";
    "7z-compression-level", Kind::Text, None, "Set how hard 7z volumes were compressed.";
    "7z-compression-fast-algorithm", Kind::Bool, None, "Chose the fast way of compressing 7z volumes.";
    "allowed-ssl-versions", Kind::Text, None, "Chose the permitted versions of TLS.";
    "disable-expect100-continue", Kind::Bool, None, "Changed the headers of uploads.";
    "disable-nagling", Kind::Bool, None, "Changed how small packets were sent.";
    "http-enable-buffering", Kind::Bool, None, "Kept uploads in memory.";
    "mono-ssl-config", Kind::Text, None, "Set up TLS for Mono.";
    "unencrypted-database", Kind::Bool, None, "Left the local database readable.";
};
