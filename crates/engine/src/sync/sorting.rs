//! Sorting the files of a listing: which belong to this backup, and which of those may be relied on.
//!
//! Whoever can write to the destination can add files under any name (docs/threat-model.md). What is encrypted only
//! somebody who knows the passphrase can have made; what is not, anybody. So in an encrypted backup a volume without
//! encryption is named and never read.

use std::collections::HashSet;
use std::collections::hash_map::Entry;

use larder_catalog::VolumeRow;
use larder_destination::RemoteFile;
use larder_options::engine as opt;
use larder_volume::{VolumeKind, VolumeName, parity_owner};

use super::{RemoteVolume, View};
use crate::notes::Presence;
use crate::run::Run;
use crate::settle::is_stored;
use crate::{Error, Result};

/// Volumes that are named one by one in a message.
const NAMED: usize = 3;
/// Newest lists that tell whether a backup is encrypted, when nothing else does.
const ASKED_LISTS: usize = 10;
/// Prefixes of other backups that are remembered.
const FOREIGN_PREFIXES: usize = 100;

impl Run {
    /// Sorts the files of a listing.
    pub(super) fn sort_files(&self, files: Vec<RemoteFile>) -> View {
        let mut view = View::default();
        for file in files {
            if parity_owner(&file.name).is_some() {
                continue;
            }
            let Some(name) = VolumeName::parse(&file.name, self.settings.case_insensitive) else {
                continue;
            };
            if !self
                .settings
                .same_name(name.prefix(), &self.settings.prefix)
            {
                let is_known = view.foreign.contains_key(name.prefix());
                if is_known || view.foreign.len() < FOREIGN_PREFIXES {
                    *view.foreign.entry(name.prefix().to_owned()).or_default() += 1;
                }
                continue;
            }
            let (size, modified, is_archived) = (file.size, file.modified, file.is_archived);
            match view.volumes.entry(file.name) {
                Entry::Vacant(place) => {
                    place.insert(RemoteVolume {
                        name,
                        size,
                        modified,
                        is_archived,
                    });
                }
                // Some services hold several files of one name and give one of them. Copies of equal size are one volume; of
                // others the size is not known, and what is read is verified in any case.
                Entry::Occupied(mut place) if place.get().size != size => {
                    place.get_mut().size = None;
                    view.duplicate_names.push(name.as_str().to_owned());
                }
                Entry::Occupied(_) => {}
            }
        }
        if self.settings.case_insensitive {
            let names = view.volumes.keys();
            view.folded = names.map(|n| (n.to_ascii_lowercase(), n.clone())).collect();
        }
        // A set of which nothing can be read is no heap of strays: it gets its own error.
        let is_stray =
            |volume: &RemoteVolume| !crate::crypt::is_supported(volume.name.encryption());
        if !view.volumes.values().all(is_stray) {
            let strays = view.volumes.extract_if(|_, volume| is_stray(volume));
            view.strays = strays.map(|(name, _)| name).collect();
            view.strays.sort_unstable();
        }
        view
    }

    /// Takes the volumes without encryption out of the view of an encrypted backup.
    pub(super) fn take_out_unencrypted(&self, view: &mut View, rows: &[VolumeRow]) -> Result<()> {
        if !self.is_encrypted(view, rows) {
            self.exclude_locked(view, rows);
            return Ok(());
        }
        if self.values.get(opt::ALLOW_UNENCRYPTED_VOLUMES)? {
            return Ok(());
        }
        let is_plain = |volume: &RemoteVolume| volume.name.encryption().is_none();
        let plain = view.volumes.extract_if(|_, volume| is_plain(volume));
        view.unencrypted = plain.map(|(name, _)| name).collect();
        view.unencrypted.sort_unstable();
        view.folded
            .retain(|_, name| view.volumes.contains_key(name));
        if view.volumes.is_empty() && !view.unencrypted.is_empty() {
            return Err(not_encrypted());
        }
        Ok(())
    }

    /// Takes encrypted files out of the view of a backup that is not: without a passphrase nobody can read them, and
    /// they must not stop what can be read.
    fn exclude_locked(&self, view: &mut View, rows: &[VolumeRow]) {
        let is_plain = |volume: &RemoteVolume| volume.name.encryption().is_none();
        if self.crypt.passphrase.is_some() || !view.volumes.values().any(is_plain) {
            return;
        }
        let known: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let locked = view
            .volumes
            .extract_if(|name, volume| !is_plain(volume) && !known.contains(name.as_str()));
        view.locked = locked.map(|(name, _)| name).collect();
        view.locked.sort_unstable();
    }

    /// Whether the volumes of this backup have to be encrypted: the user has a passphrase, or else the newest version
    /// that this machine knows is encrypted, or else most of the newest lists are. One odd file decides nothing.
    fn is_encrypted(&self, view: &View, rows: &[VolumeRow]) -> bool {
        let asked_for_plain = self.crypt.kind().is_none();
        if self.crypt.passphrase.is_some() && !asked_for_plain {
            return true;
        }
        if let Some(known) = self.newest_known_is_encrypted(rows) {
            return known;
        }
        if asked_for_plain {
            return false;
        }
        let lists = view.lists();
        let newest = lists.iter().take(ASKED_LISTS);
        let encrypted = newest
            .clone()
            .filter(|(_, list)| list.name.encryption().is_some());
        2 * encrypted.count() > newest.count()
    }

    fn newest_known_is_encrypted(&self, rows: &[VolumeRow]) -> Option<bool> {
        let stored = rows.iter().filter(|row| is_stored(row));
        let names = stored.filter_map(|row| {
            let name = VolumeName::parse(&row.name, self.settings.case_insensitive)?;
            Some((name.time(), name.encryption().is_some()))
        });
        // Lists have a time and so come after all others.
        names.max().map(|(_, encrypted)| encrypted)
    }

    /// Reports what was found beside the volumes that count.
    pub(crate) fn report_sorting(&self, view: &View) -> Result<()> {
        for name in &view.strays {
            self.reporter.warn(
                "UnknownEnding",
                format!("{name} is named like a volume but for its ending; it is passed over"),
            );
        }
        if !view.locked.is_empty() {
            self.reporter.warn(
                "EncryptedVolumes",
                format!(
                    "{} encrypted, and this backup is not: without a passphrase they are passed over",
                    named(&view.locked)
                ),
            );
        }
        for name in &view.duplicate_names {
            self.reporter.warn(
                "DuplicateRemoteFiles",
                format!("the destination lists {name} twice, with different sizes"),
            );
        }
        if !view.unencrypted.is_empty() {
            self.reporter.warn(
                "UnencryptedVolumes",
                format!(
                    "{} not encrypted, as the volumes of this backup are: anybody who can write to the destination can have made them. They are passed over; say --{} if they are yours",
                    named(&view.unencrypted),
                    opt::ALLOW_UNENCRYPTED_VOLUMES.decl.name
                ),
            );
        }
        if !self.values.get(opt::ALLOW_UNENCRYPTED_VOLUMES)? {
            return Ok(());
        }
        let (plain, encrypted): (Vec<_>, Vec<_>) = view
            .volumes
            .values()
            .partition(|volume| volume.name.encryption().is_none());
        if plain.is_empty() || encrypted.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = plain
            .iter()
            .map(|volume| volume.name.as_str().to_owned())
            .collect();
        names.sort_unstable();
        self.reporter.warn(
            "UnencryptedVolumes",
            format!(
                "{} not encrypted, and read because of --{}: anybody who can write to the destination can have made them",
                named(&names),
                opt::ALLOW_UNENCRYPTED_VOLUMES.decl.name
            ),
        );
        Ok(())
    }

    /// Forgets what the catalog learned from volumes that are not relied on any more; gives the other rows.
    pub(crate) fn forget_unencrypted(
        &self,
        view: &View,
        rows: Vec<VolumeRow>,
    ) -> Result<Vec<VolumeRow>> {
        if view.unencrypted.is_empty() {
            return Ok(rows);
        }
        let mut others = Vec::with_capacity(rows.len());
        for row in rows {
            if view.unencrypted.binary_search(&row.name).is_err() {
                others.push(row);
                continue;
            }
            if row.kind == VolumeKind::Blocks {
                self.catalog(|c| Presence::InDoubt.note(c))?;
            }
            self.catalog(|c| c.remove_volume(row.id))?;
        }
        Ok(others)
    }
}

/// The error for a backup without encryption, when there is a passphrase.
pub(crate) fn not_encrypted() -> Error {
    Error::user(
        "EncryptionChanged",
        "this backup is not encrypted; with a passphrase only what is encrypted is read, and encrypted volumes beside plain ones would protect nothing",
        "say --no-encryption if the backup was made so, or start a new backup in another folder",
    )
}

/// `a is`, or `a, b, c and 7 others are`.
pub(crate) fn named(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let list = shown.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 if names.len() == 1 => format!("{list} is"),
        0 => format!("{list} are"),
        1 => format!("{list} and one other are"),
        more => format!("{list} and {more} others are"),
    }
}
