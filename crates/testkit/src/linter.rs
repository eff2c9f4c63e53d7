//! A format linter: does a folder of volumes keep the writer's checklist?
//!
//! It reads volumes with code of its own, from the cryptography to the JSON, and shares none with the engine or the
//! volume crate: a mistake made once there would be made again in a test that uses the same code. What it checks is in
//! docs/format; what it finds comes as sentences that name the volume.
//!
//! - `crypt`: AES streams and gpg, back to the container
//! - `container`: zip and tar, back to entries
//! - `json`: JSON in the order in which it was written
//! - `volumes`: names, manifests, blocks and indexes
//! - `lists`: versions and what hangs on their entries

mod container;
mod crypt;
mod json;
mod lists;
mod volumes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

pub use container::Entry;

/// What a set is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What stands in the index files.
    pub index: IndexRule,
    /// Blocks that no version uses may be there, as after a deleted version or a killed run.
    pub unused_blocks: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            index: IndexRule::Full,
            unused_blocks: false,
        }
    }
}

/// `--index-file-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexRule {
    /// Each data volume has one index, with the blocklists in it.
    Full,
    /// Each data volume has one index without blocklists.
    Lookup,
    /// There are no index files.
    None,
}

/// Checks all files of a destination; the faults found, empty when there is none.
#[must_use]
pub fn lint(
    files: &BTreeMap<String, impl AsRef<[u8]>>,
    passphrase: Option<&str>,
    rules: Rules,
) -> Vec<String> {
    let mut faults = Vec::new();
    let set = volumes::read(files, passphrase, rules, &mut faults);
    lists::check(&set, rules, &mut faults);
    faults
}

/// Checks all files of a folder.
///
/// # Errors
/// A file that cannot be read.
pub fn lint_folder(
    folder: &Path,
    passphrase: Option<&str>,
    rules: Rules,
) -> std::io::Result<Vec<String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, std::fs::read(entry.path())?);
    }
    Ok(lint(&files, passphrase, rules))
}

/// Decrypts and unpacks one volume.
///
/// # Errors
/// The first thing that is wrong with the container or the encryption.
pub fn read_volume(
    name: &str,
    bytes: &[u8],
    passphrase: Option<&str>,
) -> Result<Vec<Entry>, String> {
    let name = volumes::Name::parse(name)?;
    let plain = crypt::decrypt(name.encryption.as_deref(), bytes, passphrase)?;
    let mut faults = Vec::new();
    let entries = container::read(&name.compression, &plain, &mut faults);
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(entries),
    }
}

/// The digest of one of the five algorithms, by its name in a manifest.
fn digest(algorithm: &str, data: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        "MD5" => Md5::digest(data).to_vec(),
        "SHA1" => Sha1::digest(data).to_vec(),
        "SHA256" => Sha256::digest(data).to_vec(),
        "SHA384" => Sha384::digest(data).to_vec(),
        "SHA512" => Sha512::digest(data).to_vec(),
        _ => return None,
    })
}

/// The mark that begins manifests, lists and metadata.
const BOM: &[u8] = &[0xEF, 0xBB, 0xBF];
