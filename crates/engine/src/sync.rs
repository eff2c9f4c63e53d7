//! Bringing the local catalog up to date with the destination, which is the truth.
//!
//! One listing is compared with the catalog. What the catalog does not know is read (dindex files first, the newest
//! list when its entries are needed, dblock files only where no dindex describes them); what is gone is forgotten;
//! what this machine left half-done is finished or removed. Reading commands change nothing remote.

mod indexes;
mod lists;
mod search;
mod sorting;

use std::collections::{BTreeMap, HashMap};

use larder_catalog::{Counts, VolumeRow};
use larder_destination::{ErrorKind, RemoteFile};
use larder_volume::{EntryKind, VolumeKind, VolumeName, VolumeTime};

pub(crate) use self::indexes::IndexState;
pub(crate) use self::lists::not_whole;
pub(crate) use self::search::Searched;
pub(crate) use self::sorting::{named, not_encrypted};
use crate::context::Level;
use crate::doubt::Doubt;
use crate::run::Run;
use crate::settle::is_stored;
use crate::{Error, Result};

/// One volume of this backup in the destination.
#[derive(Clone, Debug)]
pub(crate) struct RemoteVolume {
    pub(crate) name: VolumeName,
    pub(crate) size: Option<u64>,
    /// When it was stored, in seconds since 1970, as far as the destination tells.
    pub(crate) modified: Option<i64>,
    /// It lies in a cold tier and cannot be read at once.
    pub(crate) is_archived: bool,
}

/// The destination's files of this backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) volumes: HashMap<String, RemoteVolume>,
    /// Files with an ending after that of a volume, such as the temporary files of other programs.
    pub(crate) strays: Vec<String>,
    /// Names that are listed twice, with different sizes.
    pub(crate) duplicate_names: Vec<String>,
    /// Encrypted files that nobody can read, in a backup without encryption, sorted.
    pub(crate) locked: Vec<String>,
    /// Volumes without encryption in an encrypted backup, sorted; they are never read.
    pub(crate) unencrypted: Vec<String>,
    /// Prefixes of other backups in the same folder.
    pub(crate) foreign: BTreeMap<String, u64>,
    /// Volumes that the catalog knew as stored and that are gone.
    pub(crate) vanished: Vec<(String, VolumeKind)>,
    /// Another program wrote here since, so that what vanished may have been deleted on purpose.
    pub(crate) written_by_others: bool,
    /// Lists that were never read and are not listed, and are there all the same.
    pub(crate) hidden_lists: Vec<String>,
    /// Volumes that have another length than when they were stored: name, bytes now, bytes then.
    pub(crate) resized: Vec<(String, u64, u64)>,
    /// It lacks much of what is known to be stored.
    pub(crate) doubt: Option<Doubt>,
    /// Names of the volumes by their lower-case form, with `--case-insensitive-remote`.
    folded: HashMap<String, String>,
}

impl View {
    /// The volume of this name; with `--case-insensitive-remote` in any case.
    pub(crate) fn find(&self, name: &str) -> Option<&RemoteVolume> {
        let folded = || {
            self.volumes
                .get(self.folded.get(&name.to_ascii_lowercase())?)
        };
        self.volumes.get(name).or_else(folded)
    }

    /// Adds the volumes of a listing before this one that this one lacks.
    pub(crate) fn add_missed(&mut self, before: Self) {
        for (name, volume) in before.volumes {
            if self.find(&name).is_none() {
                if !before.folded.is_empty() {
                    self.folded.insert(name.to_ascii_lowercase(), name.clone());
                }
                self.volumes.insert(name, volume);
            }
        }
    }

    /// The versions' list volumes, newest first.
    pub(crate) fn lists(&self) -> Vec<(VolumeTime, RemoteVolume)> {
        let mut lists: Vec<_> = self
            .volumes
            .values()
            .filter(|v| v.name.kind() == VolumeKind::List)
            .filter_map(|v| Some((v.name.time()?, v.clone())))
            .collect();
        lists.sort_by(|a, b| {
            b.0.cmp(&a.0)
                .then_with(|| b.1.name.as_str().cmp(a.1.name.as_str()))
        });
        lists
    }

    pub(crate) fn of_kind(&self, kind: VolumeKind) -> impl Iterator<Item = &RemoteVolume> {
        self.volumes.values().filter(move |v| v.name.kind() == kind)
    }
}

/// Whether a command may change the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lists, restores, tests.
    Reading,
    /// Backup and repair: own leftovers are removed.
    Writing,
}

/// What the catalog must hold afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Only which versions there are.
    Lists,
    /// Where every block is.
    Blocks,
    /// Blocks and the newest version's entries.
    BlocksAndEntries,
}

impl Run {
    /// Lists the destination and sorts out this backup's volumes. A missing folder is created only on demand.
    pub(crate) fn list_volumes(&self, create_folder: bool) -> Result<View> {
        let is_volume = |file: &RemoteFile| {
            VolumeName::parse(&file.name, self.settings.case_insensitive).is_some()
        };
        let files = match self.remote.list_where(create_folder, is_volume) {
            Err(Error::Destination(error))
                if self.settings.dry_run && *error.kind() == ErrorKind::FolderMissing =>
            {
                self.reporter
                    .say(Level::DryRun, "DryRun", "would create the remote folder");
                Vec::new()
            }
            other => other?,
        };
        let mut view = self.sort_files(files);
        let rows = self.catalog(|c| c.volumes())?;
        self.take_out_unencrypted(&mut view, &rows)?;
        Ok(view)
    }
}

/// True when nothing is stored that the catalog knows, though it knows of much: a disk was exchanged, or the backup was begun
/// anew elsewhere.
pub(crate) fn is_another_set(view: &View, rows: &[VolumeRow]) -> bool {
    let mut stored = rows.iter().filter(|row| is_stored(row)).peekable();
    !view.volumes.is_empty()
        && stored.peek().is_some()
        && stored.all(|row| {
            // Lists of two sets may have one name: that of a second.
            view.find(&row.name).is_none_or(|found| {
                found.size.is_some() && row.size.is_some() && found.size != row.size
            })
        })
}

/// Adds one entry to the counts of a version.
pub(crate) fn count(counts: &mut Counts, kind: EntryKind, size: u64) {
    match kind {
        EntryKind::File => {
            counts.files += 1;
            // The catalog keeps signed numbers; a list may claim anything.
            let sum = counts.bytes.saturating_add(size);
            counts.bytes = sum.min(i64::MAX as u64);
        }
        EntryKind::Folder => counts.folders += 1,
        EntryKind::Symlink => counts.symlinks += 1,
    }
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}
