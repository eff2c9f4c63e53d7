//! `--upload-verification-file`: a list of all volumes for checkers that know nothing of this program.
//!
//! The file `<prefix>-verification.json` is not encrypted and is replaced after each backup (commands spec 5.5). Its
//! name is none of a volume, so the comparison with the catalog passes it over (docs/format/verification-file.md).

use bytes::Bytes;
use larder_catalog::VolumeState;
use larder_destination::Existing;
use larder_volume::{VolumeKind, VolumeName};
use serde::Serialize;

use crate::data::VolumeData;
use crate::phases::Ready;
use crate::report::TestReport;
use crate::sync::describe;
use crate::transfer::Attempts;
use crate::volumes::StoredVolume;
use crate::{Error, Result};

/// One volume in the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: i64,
    name: String,
    hash: Option<String>,
    size: Option<u64>,
    /// 0 data, 1 list, 2 index.
    #[serde(rename = "Type")]
    kind: u8,
    /// 2 uploaded, 3 seen in a listing.
    state: u8,
}

impl Ready<'_> {
    /// What follows the upload of a version: the verification file, then the check of what is stored.
    pub(crate) fn after_backup(
        &mut self,
        stored: &[StoredVolume],
        wrote: bool,
    ) -> Option<TestReport> {
        match self.upload_verification_file(wrote || !stored.is_empty()) {
            // Told below, where it is met again.
            Ok(()) | Err(Error::Cancelled) => {}
            Err(error) => self.reporter.warn(
                "VerificationFileFailed",
                format!(
                    "everything was stored, but the verification file could not be written: {}",
                    describe(&error)
                ),
            ),
        }
        let checked = self.cancel.check();
        match checked.and_then(|()| self.verify_after_backup(stored, wrote)) {
            Ok(report) => report,
            Err(Error::Cancelled) => {
                self.reporter.warn(
                    "Stopped",
                    "stopped on request before everything was verified; what was stored is complete",
                );
                None
            }
            // What is stored is stored: trouble that comes later must not hide its report.
            Err(error) => {
                self.reporter.warn(
                    "VerificationStopped",
                    format!(
                        "everything was stored, but checking it ended early: {}",
                        describe(&error)
                    ),
                );
                None
            }
        }
    }

    fn upload_verification_file(&self, changed: bool) -> Result<()> {
        if !self.settings.upload_verification_file || !changed {
            return Ok(());
        }
        let rows: Vec<Row> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .filter(|row| row.state.is_live())
            .map(|row| Row {
                id: row.id,
                name: row.name,
                hash: row.hash.map(|hash| hash.to_base64()),
                size: row.size,
                kind: match row.kind {
                    VolumeKind::Blocks => 0,
                    VolumeKind::List => 1,
                    VolumeKind::Index => 2,
                },
                state: if row.state == VolumeState::Verified {
                    3
                } else {
                    2
                },
            })
            .collect();
        let text = serde_json::to_vec(&rows).map_err(|e| Error::Bug(e.to_string()))?;
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
