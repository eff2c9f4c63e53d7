//! `--upload-verification-file`: a list of all volumes for checkers that know nothing of this program.
//!
//! The file `<prefix>-verification.json` is not encrypted and is replaced after each run that changed what is stored
//! (format spec 1.5, commands spec 5.5). Its name is none of a volume, so the comparison with the catalog passes it over
//! (docs/format/verification-file.md).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use larder_catalog::VolumeState;
use larder_destination::Existing;
use larder_volume::{Hash, HashAlgorithm, VolumeKind, VolumeName};
use serde::Serialize;

use crate::data::VolumeData;
use crate::error::Reach;
use crate::phases::Ready;
use crate::repository::locked;
use crate::settle::is_stored;
use crate::sync::{RemoteVolume, describe};
use crate::transfer::Attempts;
use crate::words::{counted, verb};
use crate::{Error, Result};

/// Catalog parameter: the hash of what the file says that was sent last.
const SENT: &str = "verification-file";
/// Catalog parameter: hashes of files of which the catalog has none, in lines of name, bytes and hash.
const HASHES: &str = "verification-hashes";
/// What begins a text file of Duplicati; its checkers read over it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How .NET writes that there is no such time.
const NO_TIME: &str = "0001-01-01T00:00:00";

/// One volume in the file. Checkers compute with hash and size, so neither may be missing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    hash: String,
    size: u64,
    /// 0 data, 1 list, 2 index.
    #[serde(rename = "Type")]
    kind: u8,
    /// 2 uploaded, 3 seen in a listing.
    state: u8,
    delete_grace_period: &'static str,
    archive_time: &'static str,
    lock_expiration_time: Option<&'static str>,
}

/// A stored file of this backup.
struct Stored {
    /// Number in the catalog; 0 when it was never read.
    id: i64,
    name: VolumeName,
    size: Option<u64>,
    hash: Option<Hash>,
    state: VolumeState,
    is_archived: bool,
}

impl Ready<'_> {
    /// Writes the file anew when it does not say what is stored. Trouble with it must not hide what was done before.
    pub(crate) fn renew_verification_file(&self) {
        if !self.settings.upload_verification_file || self.settings.dry_run {
            return;
        }
        let why = match self.upload_verification_file() {
            Ok(()) => return,
            Err(Error::Cancelled) => "the run was stopped".to_owned(),
            Err(error) => describe(&error),
        };
        self.reporter.warn(
            "VerificationFileFailed",
            format!(
                "everything else is done, but the verification file does not say so: {why}; the next run that changes something writes it"
            ),
        );
    }

    fn upload_verification_file(&self) -> Result<()> {
        let rows = self.verification_rows()?;
        let mut said = String::new();
        for row in &rows {
            said.push_str(&format!("{} {} {}\n", row.name, row.size, row.hash));
        }
        let said = HashAlgorithm::Sha256.digest(said.as_bytes()).to_base64();
        if self.catalog(|c| c.param(SENT))?.as_ref() == Some(&said) {
            return Ok(());
        }
        let mut text = BYTE_ORDER_MARK.to_vec();
        serde_json::to_writer(&mut text, &rows).map_err(|e| Error::Bug(e.to_string()))?;
        self.put_verification_file(text)?;
        self.catalog(|c| c.set_param(SENT, &said))
    }

    fn put_verification_file(&self, text: Vec<u8>) -> Result<()> {
        let name = format!("{}-{VERIFICATION}", self.settings.prefix);
        let data = VolumeData::Memory(Bytes::from(text));
        let mut attempts = Attempts::default();
        loop {
            self.cancel.check()?;
            // Replacing is what a put of the same name does, so a repetition needs no new name.
            let Err(error) = self.remote.put_once(&name, &data, Existing::Replace) else {
                return Ok(());
            };
            if !self.remote.wait_for_retry(&name, &mut attempts, &error)? {
                return Err(error);
            }
        }
    }

    /// The rows of the file, in the order of names. What has no hash is fetched once for it; what cannot be had or opened is
    /// left out and told.
    fn verification_rows(&self) -> Result<Vec<Row>> {
        let noted = self.catalog(|c| c.param(HASHES))?.unwrap_or_default();
        let known: BTreeMap<&str, (u64, Option<Hash>)> =
            noted.lines().filter_map(noted_hash).collect();
        let (mut rows, mut hashes, mut left_out) = (Vec::new(), String::new(), Vec::new());
        let mut fetched = 0;
        for stored in self.stored_files()? {
            self.cancel.check()?;
            let name = stored.name.as_str();
            let hashed = known.get(name).copied();
            let hashed =
                hashed.filter(|(size, _)| stored.size.is_none_or(|listed| listed == *size));
            let is_known = stored.hash.is_some() && stored.size.is_some();
            let mut is_new = false;
            let found = match (stored.size, stored.hash, hashed) {
                (Some(size), Some(hash), _) => Some((size, Some(hash))),
                (.., Some(hashed)) => Some(hashed),
                _ if stored.is_archived => None,
                _ => {
                    is_new = true;
                    let found = self.hash_of(&stored);
                    if found.is_err() {
                        // What was fetched until here is not fetched again.
                        self.catalog(|c| c.set_param(HASHES, &format!("{hashes}{noted}")))?;
                    }
                    found?
                }
            };
            if let Some((size, hash)) = found.filter(|_| !is_known) {
                let hash = hash.map_or("-".to_owned(), |hash| hash.to_base64());
                hashes.push_str(&format!("{name} {size} {hash}\n"));
                fetched += u32::from(is_new);
                if is_new && fetched % KEPT_EVERY == 0 {
                    self.catalog(|c| c.set_param(HASHES, &format!("{hashes}{noted}")))?;
                }
            }
            let Some((size, Some(hash))) = found else {
                left_out.push(name.to_owned());
                continue;
            };
            rows.push(Row {
                id: stored.id,
                name: name.to_owned(),
                hash: hash.to_base64(),
                size,
                kind: match stored.name.kind() {
                    VolumeKind::Blocks => 0,
                    VolumeKind::List => 1,
                    VolumeKind::Index => 2,
                },
                state: match stored.state {
                    VolumeState::Verified => 3,
                    _ => 2,
                },
                delete_grace_period: NO_TIME,
                archive_time: NO_TIME,
                lock_expiration_time: None,
            });
        }
        if noted != hashes {
            self.catalog(|c| c.set_param(HASHES, &hashes))?;
        }
        if let Some(first) = left_out.first() {
            let count = left_out.len() as u64;
            self.reporter.info(
                "VerificationFileLacks",
                format!(
                    "{} {} not in the verification file, since nothing is known of what {} should be, such as {first}",
                    counted(count, "file"),
                    verb(count, "is", "are"),
                    verb(count, "it", "they"),
                ),
            );
        }
        Ok(rows)
    }

    /// What the catalog knows as stored, and the lists that are listed and were never read.
    fn stored_files(&self) -> Result<Vec<Stored>> {
        let rows = self.catalog(|c| c.volumes())?;
        let known: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let dropped = locked(&self.dropped_lists).clone();
        let is_unread = |list: &RemoteVolume| {
            let name = list.name.as_str();
            !known.contains(name) && !dropped.contains(name)
        };
        let lists = self.view.lists().into_iter().map(|(_, list)| list);
        let mut files: Vec<Stored> = lists
            .filter(is_unread)
            .map(|list| Stored {
                id: 0,
                name: list.name,
                size: list.size,
                hash: None,
                state: VolumeState::Verified,
                is_archived: list.is_archived,
            })
            .collect();
        for row in rows.iter().filter(|row| is_stored(row)) {
            let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive) else {
                continue;
            };
            let listed = self.view.find(&row.name);
            files.push(Stored {
                id: row.id,
                name,
                size: row.size.or(listed.and_then(|listed| listed.size)),
                hash: row.hash,
                state: row.state,
                is_archived: listed.is_some_and(|listed| listed.is_archived),
            });
        }
        // What is lost stays in it until it is mended or given up: a checker is to miss it.
        let there: HashSet<String> = files.iter().map(|f| f.name.as_str().to_owned()).collect();
        for loss in self.catalog(|c| c.losses())? {
            let name = VolumeName::parse(&loss.name, self.settings.case_insensitive);
            let (Some(name), Some(_), Some(_)) = (name, loss.size, loss.hash) else {
                continue;
            };
            if !there.contains(name.as_str()) {
                files.push(Stored {
                    id: 0,
                    name,
                    size: loss.size,
                    hash: loss.hash,
                    state: VolumeState::Uploaded,
                    is_archived: false,
                });
            }
        }
        files.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Ok(files)
    }

    /// Length and hash of a file; no hash when it cannot be opened, as far as the passphrase is there to tell, and nothing when
    /// it cannot be had now.
    fn hash_of(&self, stored: &Stored) -> Result<Option<(u64, Option<Hash>)>> {
        let look = || {
            let data = self.remote.get(stored.name.as_str(), stored.size)?;
            let found = (data.len(), data.hash(self.format().file_hash)?);
            if self.can_decrypt() {
                self.open_volume(&stored.name, data)?;
            }
            Ok(found)
        };
        match look() {
            Err(error) if Error::reach(&error) == Reach::Volume => {
                let size = stored.size.filter(|_| error.is_wrong_content());
                Ok(size.map(|size| (size, None)))
            }
            other => other.map(|(size, hash)| Some((size, Some(hash)))),
        }
    }
}

/// Fetched files after which the hashes are kept.
const KEPT_EVERY: u32 = 20;

/// Name, length and hash out of a line of [`HASHES`]; a hyphen stands for a file that could not be opened.
fn noted_hash(line: &str) -> Option<(&str, (u64, Option<Hash>))> {
    let mut parts = line.split(' ');
    let (name, size, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let hash = match hash {
        "-" => None,
        hash => Some(Hash::parse_base64(hash).ok()?),
    };
    Some((name, (size.parse().ok()?, hash)))
}

/// Whether a name of a destination folder is one that a backup gives there, by what follows the prefix and its hyphen: a
/// volume or the verification file. Other names that begin so are the user's.
pub fn is_stored_name(rest: &[u8]) -> bool {
    std::str::from_utf8(rest).is_ok_and(|rest| {
        rest == VERIFICATION || VolumeName::parse(&format!("prefix-{rest}"), true).is_some()
    })
}

/// The name of the verification file after the prefix and a hyphen.
const VERIFICATION: &str = "verification.json";

#[cfg(test)]
mod tests {
    use super::is_stored_name;

    #[test]
    fn only_names_that_a_backup_gives_are_its_own() {
        for (rest, expected) in [
            ("b0123456789abcdef0123456789abcdef.dblock.zip.aes", true),
            ("i0123456789abcdef0123456789abcdef.dindex.zip", true),
            ("20240101T000000Z.dlist.tzstd", true),
            ("verification.json", true),
            ("notes.txt", false),
            ("verification.json.bak", false),
            ("b01.dblock", false),
            ("", false),
        ] {
            assert_eq!(is_stored_name(rest.as_bytes()), expected, "{rest}");
        }
        assert!(!is_stored_name(b"\xff"));
    }
}
