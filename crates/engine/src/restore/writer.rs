//! Writing entries below a target folder: what both ways of restoring share. What is said about single entries, folders on
//! the way, and what is set when all files are there.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};

use larder_source::{Restore, TargetRoot};
use larder_volume::{EntryKind, FileEntry, Metadata};

use super::spool::{Kept, Spool};
use super::target;
use super::{Rules, Tally};
use crate::cancel::Cancel;
use crate::context::Reporter;
use crate::repository::locked;
use crate::temporary::{TempFolder, temporary_error};
use crate::{Error, Result};

/// A target folder that is being written to. May be shared between threads.
pub(crate) struct Writer<'a> {
    pub(crate) reporter: &'a Reporter,
    cancel: &'a Cancel,
    pub(crate) root: &'a TargetRoot,
    /// The path of the root, for people.
    folder: &'a Path,
    pub(crate) rules: &'a Rules,
    pub(crate) tally: &'a Tally,
    /// The day of the version, for the names of copies.
    date: String,
    kept: Mutex<KeptMetadata>,
}

/// Metadata that is set later: of links and folders when all files are there, of files when their content is complete.
/// Memory: 24 bytes per record.
#[derive(Default)]
pub(crate) struct KeptMetadata {
    pub(crate) spool: Spool,
    pub(crate) files: HashMap<u32, Kept>,
    pub(crate) links: Vec<Kept>,
    /// What lies in a folder comes before it may be closed.
    pub(crate) folders: Vec<KeptFolder>,
    /// Folders that were made and have no metadata to set; few, since versions hold the folders of their files.
    pub(crate) plain_folders: Vec<Vec<u8>>,
}

/// A folder whose metadata is set at the end.
pub(crate) struct KeptFolder {
    pub(crate) depth: u16,
    /// Whether this run made it.
    pub(crate) is_new: bool,
    pub(crate) record: Kept,
}

/// A link or folder with its metadata.
pub(crate) struct Record {
    pub(crate) place: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) blob: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        (reporter, cancel): (&'a Reporter, &'a Cancel),
        (root, folder): (&'a TargetRoot, &'a Path),
        (rules, tally): (&'a Rules, &'a Tally),
        date: String,
        temp_folder: TempFolder,
    ) -> Self {
        Self {
            reporter,
            cancel,
            root,
            folder,
            rules,
            tally,
            date,
            kept: Mutex::new(KeptMetadata {
                spool: Spool::new(temp_folder),
                ..KeptMetadata::default()
            }),
        }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, KeptMetadata> {
        locked(&self.kept)
    }

    /// Makes a folder unless it was one of the last ones; true when it was not there.
    ///
    /// Where permissions are restored, a new folder is closed to others until the end; what gets no metadata of its own
    /// is noted for that. Else it has at once the permissions of any new folder, which a killed run leaves too.
    pub(crate) fn make_folder(
        &self,
        made_last: &mut Vec<Vec<u8>>,
        folder: &[u8],
        entry: &FileEntry,
    ) -> io::Result<bool> {
        if made_last.iter().any(|made| made == folder) {
            return Ok(false);
        }
        let rules = self.rules;
        let made = self.root.create_folder(folder)?;
        let is_new = made.iter().any(|made| made == folder);
        let gets_metadata =
            entry.kind == EntryKind::Folder && rules.metadata && entry.metahash.is_some();
        let open = Restore {
            mode: Some(rules.folder_mode),
            ..Restore::default()
        };
        for made in made {
            if !rules.permissions {
                self.tell_facts(self.root.apply(&made, &open), &made);
            } else if !gets_metadata || made != folder {
                self.kept().plain_folders.push(made);
            }
        }
        if made_last.len() >= REMEMBERED {
            made_last.remove(0);
        }
        made_last.push(folder.to_vec());
        Ok(is_new)
    }

    /// Keeps the metadata of a link or folder until all files are there.
    pub(crate) fn keep_for_the_end(
        &self,
        kind: EntryKind,
        is_new: bool,
        (place, path): (&[u8], &[u8]),
        blob: &[u8],
    ) -> Result<()> {
        let mut bytes = Vec::with_capacity(8 + place.len() + path.len() + blob.len());
        for part in [place, path] {
            let len = u32::try_from(part.len()).unwrap_or(0);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(blob);
        let mut kept = self.kept();
        let record = kept.spool.push(&bytes).map_err(temporary_error)?;
        if kind == EntryKind::Symlink {
            kept.links.push(record);
        } else {
            let depth = place.iter().filter(|b| **b == b'/').count();
            let depth = u16::try_from(depth).unwrap_or(u16::MAX);
            kept.folders.push(KeptFolder {
                depth,
                is_new,
                record,
            });
        }
        Ok(())
    }

    /// A link or folder that was kept.
    pub(crate) fn record(&self, record: Kept) -> Result<Record> {
        let bytes = self.kept().spool.read(record);
        let bytes = bytes.map_err(temporary_error)?;
        let mut rest = bytes.as_slice();
        let mut part = || -> Option<Vec<u8>> {
            let (len, tail) = rest.split_first_chunk::<4>()?;
            let (part, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = tail;
            Some(part.to_vec())
        };
        let (place, path) = (part(), part());
        match (place, path) {
            (Some(place), Some(path)) => Ok(Record {
                place,
                path,
                blob: rest.to_vec(),
            }),
            _ => Err(Error::Bug("a record of the temporary file is cut".into())),
        }
    }

    /// Creates the links.
    pub(crate) fn links(&self) -> Result<()> {
        let links = std::mem::take(&mut self.kept().links);
        for link in links {
            self.cancel.check()?;
            let link = self.record(link)?;
            let Some(blob) = self.parsed(&link.blob, EntryKind::Symlink, &link.path) else {
                continue;
            };
            let path = String::from_utf8_lossy(&link.path);
            let Some(to) = &blob.symlink_target else {
                self.reporter.warn(
                    "LinkWithoutTarget",
                    format!("{path}: the version does not hold the link's target"),
                );
                continue;
            };
            let (overwrite, date) = (self.rules.overwrite, &self.date);
            match target::place_link(self.root, &link.place, to, overwrite, date) {
                Ok(target::Placed { place, is_new }) => {
                    // Of what was right already only files are counted.
                    self.tally
                        .links
                        .fetch_add(u64::from(is_new), Ordering::Relaxed);
                    self.apply(&place, &link.path, &link.blob, EntryKind::Symlink, is_new);
                }
                Err(error) => {
                    self.stop_when_full(&error)?;
                    self.reporter
                        .error("RestoreFailed", format!("{path}: {error}"));
                    self.tally.local(&link.path);
                }
            }
        }
        Ok(())
    }

    /// Opens the folders that have no metadata of their own, deepest first, as far as new folders are open here.
    pub(crate) fn plain_folders(&self) -> Result<()> {
        let mut folders = std::mem::take(&mut self.kept().plain_folders);
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        let restore = larder_source::Restore {
            mode: Some(self.rules.folder_mode),
            ..larder_source::Restore::default()
        };
        for folder in folders {
            self.cancel.check()?;
            self.tell_facts(self.root.apply(&folder, &restore), &folder);
        }
        Ok(())
    }

    /// Gives folders their metadata, deepest first: what lies in a folder comes before it may be closed.
    pub(crate) fn folders(&self) -> Result<()> {
        let mut folders = std::mem::take(&mut self.kept().folders);
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.depth));
        for folder in folders {
            self.cancel.check()?;
            let Record { place, path, blob } = self.record(folder.record)?;
            self.apply(&place, &path, &blob, EntryKind::Folder, folder.is_new);
        }
        Ok(())
    }

    /// Sets what a metadata blob holds on an entry that is in its place; what fails is a warning.
    pub(crate) fn apply(
        &self,
        place: &[u8],
        path: &[u8],
        blob: &[u8],
        kind: EntryKind,
        is_new: bool,
    ) {
        if !self.rules.metadata {
            return;
        }
        if let Some(blob) = self.parsed(blob, kind, path) {
            let restore = target::restore_facts(&blob, self.rules, kind, is_new);
            self.tell_facts(self.root.apply(place, &restore), path);
        }
    }

    /// A metadata blob; one that cannot be read is told.
    pub(crate) fn parsed(&self, blob: &[u8], kind: EntryKind, path: &[u8]) -> Option<Metadata> {
        let parsed = Metadata::parse(blob);
        if parsed.is_err() {
            self.lose_metadata(kind, path);
        }
        parsed.ok()
    }

    pub(crate) fn tell_facts(&self, failures: Vec<(String, io::Error)>, path: &[u8]) {
        for (what, error) in failures {
            self.reporter.warn(
                "MetadataWriteFailed",
                format!("{}: {what}: {error}", String::from_utf8_lossy(path)),
            );
        }
    }

    /// The metadata of an entry is nowhere to be had.
    pub(crate) fn lose_metadata(&self, kind: EntryKind, path: &[u8]) {
        let (reporter, path_text) = (self.reporter, String::from_utf8_lossy(path));
        if kind == EntryKind::Symlink {
            reporter.error(
                "MissingMetadata",
                format!("{path_text}: the link's target cannot be read"),
            );
            self.tally.remote(path);
            return;
        }
        self.tally.no_metadata.fetch_add(1, Ordering::Relaxed);
        reporter.error(
            "MissingMetadata",
            format!(
                "{path_text}: its time, permissions and attributes are damaged or missing and were not restored"
            ),
        );
    }

    /// The version list is not to be believed about an entry.
    pub(crate) fn refuse(&self, entry: &FileEntry, why: &str) {
        self.remote_failure(entry, why);
    }

    pub(crate) fn local_failure(&self, entry: &FileEntry, error: &io::Error) {
        self.say_failed(&entry.path, &error.to_string());
        self.tally.local(&entry.path);
    }

    pub(crate) fn remote_failure(&self, entry: &FileEntry, why: &str) {
        self.say_failed(&entry.path, why);
        self.tally.remote(&entry.path);
    }

    pub(crate) fn say_failed(&self, path: &[u8], why: &str) {
        self.reporter.error(
            "RestoreFailed",
            format!("{}: {why}", String::from_utf8_lossy(path)),
        );
    }

    /// Ends the run when the disk is full: every further file would fail as well.
    pub(crate) fn stop_when_full(&self, error: &io::Error) -> Result<()> {
        target::stop_when_full(error, self.folder)
    }

    /// A place for people.
    pub(crate) fn folder_path(&self, place: &[u8]) -> String {
        let path = self.folder.join(String::from_utf8_lossy(place).as_ref());
        path.display().to_string()
    }
}

/// Folders remembered.
const REMEMBERED: usize = 64;
