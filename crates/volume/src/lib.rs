//! The stored format: everything between a backup's blocks and the bytes of a remote file.
//!
//! A remote file (a *volume*) has a [name](VolumeName), is optionally [encrypted](AesWriter), and is an
//! [archive](ArchiveReader) whose entries are a [manifest](Manifest) and, by the volume's kind, blocks, an
//! [index](BlockVolume) of another volume's blocks, or a [file list](FileListReader).
//!
//! The crate knows no paths, sockets or clock: readers, writers, times and random bytes are arguments, so that the
//! same input gives the same bytes. Nothing here trusts what it reads: every length is bounded and every parser
//! ends with an [`Error`] at worst. The format is described in `docs/format`.

pub mod archive;

mod aes;
mod block;
mod block_table;
mod encoding;
mod error;
mod filelist;
mod fileset;
mod format;
mod hash;
mod index;
mod index_reader;
mod json;
mod kind;
mod manifest;
#[cfg(test)]
mod measure;
mod metadata;
mod name;
mod sha256;
mod time;
mod writers;

pub use aes::{
    AesHeader, AesReadOptions, AesReader, AesSeed, AesVersion, AesWriter, decrypt_in_place,
    decrypt_to_vec, encrypt_to_vec,
};
pub use archive::*;
pub use block::{
    EXTRA_FOLDER, FILELIST_ENTRY, FILESET_ENTRY, LIST_FOLDER, MANIFEST_ENTRY, MAX_EXTRA,
    VOL_FOLDER, blocklist_hashes, blocklists_of, blocks_of, hashes_per_blocklist,
    parse_block_entry,
};
pub use block_table::{BlockRows, BlockTable};
pub use encoding::{decode_base64, decode_url_base64, encode_base64, encode_url_base64};
pub use error::{Error, Result};
pub use filelist::{
    Blocks, EntryKind, FileEntry, FileListReader, FileListWriter, MAX_BLOCKLISTS, MAX_NEW_PATH,
    MAX_PATH,
};
pub use fileset::{encode_fileset, parse_fileset};
pub use format::Format;
pub use hash::{Hash, HashAlgorithm, Hasher};
pub use index::{BlockVolume, encode_block_volume, parse_block_volume};
pub use index_reader::{IndexReader, Repeated};
pub use kind::{Compression, EncryptionKind, VolumeKind};
pub use manifest::Manifest;
pub use metadata::Metadata;
pub use name::{VolumeName, check_prefix, parity_owner};
pub use time::{VolumeTime, ticks_from_unix, unix_from_ticks};
pub use writers::{DblockWriter, DindexWriter, DlistWriter, NewVolume};
