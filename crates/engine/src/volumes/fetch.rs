//! Fetching volumes: whole, checked and opened.

use std::sync::{Mutex, MutexGuard};

use larder_volume::{ArchiveReader, Hash, VolumeKind, VolumeName};

use crate::crypt::Crypt;
use crate::data::VolumeData;
use crate::error::VolumeContext;
use crate::phases::Settled;
use crate::repository::locked;
use crate::run::read_manifest;
use crate::sync::describe;
use crate::transfer::fetched_memory;
use crate::{Error, Result};

/// A volume that was opened before anybody wanted what is in it.
pub(crate) struct OpenedVolume {
    pub(crate) name: VolumeName,
    pub(crate) archive: ArchiveReader<VolumeData>,
    /// Length and SHA-256 of the remote file.
    pub(crate) whole: (u64, Hash),
}

/// Volumes kept open, for whoever needs them next; the newest first.
#[derive(Default)]
pub(crate) struct OpenedVolumes(Mutex<Vec<OpenedVolume>>);

/// Most volumes kept open so.
const KEPT_VOLUMES: usize = 2;

impl OpenedVolumes {
    fn kept(&self) -> MutexGuard<'_, Vec<OpenedVolume>> {
        locked(&self.0)
    }

    /// Keeps a volume; the oldest goes when there are too many.
    pub(crate) fn keep(&self, opened: OpenedVolume) {
        let mut kept = self.kept();
        kept.truncate(KEPT_VOLUMES - 1);
        kept.insert(0, opened);
    }

    /// Takes a volume out, when it is kept.
    pub(crate) fn take(&self, name: &VolumeName) -> Option<OpenedVolume> {
        let mut kept = self.kept();
        let at = kept.iter().position(|opened| opened.name == *name)?;
        Some(kept.remove(at))
    }
}

impl Settled<'_> {
    /// Decrypts and opens a fetched volume and compares its manifest with the backup's format.
    pub(crate) fn open_volume(
        &self,
        name: &VolumeName,
        data: VolumeData,
    ) -> Result<ArchiveReader<VolumeData>> {
        let archive = self.open_archive(name, data)?;
        if !self.settings.dont_read_manifests {
            let (text, format) = (name.as_str(), self.format());
            read_manifest(&archive, text)?
                .check(format.blocksize, format.block_hash, format.file_hash)
                .in_volume(text)?;
        }
        Ok(archive)
    }

    /// Fetches, checks and opens a volume. Damage in transit is met with one more download.
    ///
    /// Encrypted volumes are checked by their HMAC instead of the remote hash (docs/decisions/0006). Another hash does
    /// not end it when the volume can be opened all the same: what is read from it is verified piece by piece, and one
    /// bad block must not cost the others. A list has no such pieces, and one in the place of another would give the
    /// wrong version: its hash must be right when it is known.
    pub(crate) fn fetch_volume(
        &self,
        name: &VolumeName,
        size: Option<u64>,
        hash: Option<Hash>,
    ) -> Result<ArchiveReader<VolumeData>> {
        self.fetch_volume_within(name, size, hash, fetched_memory(name))
    }

    /// The same with so many bytes of it in memory; what is longer lies in a temporary file.
    pub(crate) fn fetch_volume_within(
        &self,
        name: &VolumeName,
        size: Option<u64>,
        hash: Option<Hash>,
        memory: u64,
    ) -> Result<ArchiveReader<VolumeData>> {
        let is_list = name.kind() == VolumeKind::List;
        let hash = hash.filter(|_| is_list || !Crypt::authenticates(name));
        if hash.is_none()
            && let Some(opened) = self.opened.take(name)
        {
            return Ok(opened.archive);
        }
        let mut second = false;
        loop {
            let data = self.remote.get_within(name.as_str(), size, memory)?;
            match self.check_hash(name, &data, hash) {
                // That it is damaged is known, and was told if it costs anything.
                Err(Error::Volume { .. })
                    if !is_list && self.catalog(|c| c.has_loss(name.as_str()))? => {}
                Err(Error::Volume { .. }) if !second => {
                    second = true;
                    continue;
                }
                Err(error @ Error::Volume { .. }) if !is_list => self.reporter.warn(
                    "DamagedVolume",
                    format!("{}; what can be verified of it is used", describe(&error)),
                ),
                other => other?,
            }
            match self.open_volume(name, data) {
                Err(Error::Volume { .. }) if !second => second = true,
                other => return other,
            }
        }
    }

    /// Compares the hash of a fetched volume with the recorded one.
    pub(crate) fn check_hash(
        &self,
        name: &VolumeName,
        data: &VolumeData,
        hash: Option<Hash>,
    ) -> Result<()> {
        let Some(expected) = hash.filter(|_| !self.settings.skip_file_hash_checks) else {
            return Ok(());
        };
        let found = data.hash(self.format().file_hash)?;
        if found == expected {
            return Ok(());
        }
        Err(Error::volume(
            name.as_str(),
            larder_volume::Error::Mismatch {
                field: "hash",
                expected: expected.to_base64(),
                found: found.to_base64(),
            },
        ))
    }
}
