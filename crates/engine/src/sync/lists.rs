//! Learning what the newest version holds.

use larder_catalog::{Counts, StoredEntry, VolumeState};
use larder_volume::{Method, VolumeKind, VolumeTime};

use super::{RemoteVolume, SUSPECT, UNSEEN, View, count, describe};
use crate::error::Reach;
use crate::identity::renamed;
use crate::restore::filelist_of;
use crate::run::{Run, read_manifest};
use crate::{Error, Result};

/// Catalog parameter: the program that wrote the newest list that was read.
pub(crate) const LIST_WRITER: &str = "list-writer";

impl Run {
    /// Loads the newest version's entries, when they are not in the catalog yet. Damaged lists are passed over: a
    /// backup must be possible even when all of them are.
    pub(super) fn ingest_newest_list(&self, view: &View) -> Result<()> {
        let mut failed = false;
        for (time, volume) in view.lists() {
            let filesets = self.catalog(|c| c.filesets())?;
            if let Some(fileset) = filesets.iter().find(|f| f.time == time.0)
                && self.catalog(|c| c.previous())? == Some(fileset.id)
            {
                return Ok(());
            }
            match self.load_list(&volume, time) {
                Ok(()) => return Ok(()),
                Err(error) if error.reach() == Reach::Volume => {
                    let text = format!(
                        "{}; the next older version is used for comparison",
                        describe(&error)
                    );
                    // What was never read from here may be no version at all.
                    if self.is_known_list(&volume)? {
                        self.reporter.error("DamagedList", text);
                    } else {
                        self.reporter.warn("DamagedList", text);
                    }
                    failed = true;
                }
                Err(error) => return Err(error),
            }
        }
        if failed {
            self.reporter.warn(
                "NoUsableList",
                "no version list can be read; the next version does without comparison and is complete by itself",
            );
        }
        Ok(())
    }

    fn load_list(&self, volume: &RemoteVolume, time: VolumeTime) -> Result<()> {
        let name = volume.name.as_str();
        self.reporter
            .info("ReadingList", format!("reading the version list {name}"));
        let archive = self.fetch_list(volume)?;
        if !self.is_as_old_as_its_name(volume, &archive)? {
            return Err(Error::volume(name, renamed()));
        }
        let is_full = self.is_full(&archive, name)?;
        let writer = read_manifest(&archive, name)?.app_version;
        self.catalog(|c| c.set_param(LIST_WRITER, &writer))?;
        let entry = filelist_of(&archive, name)?;
        let mut writer = self.catalog(|c| c.begin_entries())?;
        let mut counts = Counts::default();
        self.entries_of(&archive, name, |entry| {
            count(&mut counts, entry.kind, entry.size);
            writer.add(&StoredEntry { entry, seen: None })?;
            Ok(())
        })?;
        let fileset = self.catalog(|c| {
            let existing = c.filesets()?.into_iter().find(|f| f.time == time.0);
            match existing {
                Some(fileset) => Ok(fileset.id),
                None => {
                    let id = match c.volume_named(name)? {
                        Some(row) => row.id,
                        None => c.add_volume(
                            name,
                            VolumeKind::List,
                            VolumeState::Verified,
                            volume.size,
                            None,
                        )?,
                    };
                    c.add_fileset(id, time.0, is_full, counts)
                }
            }
        })?;
        // Whether its blocks are stored is not known before they were looked up.
        if !self.blocks_may_be_missing()? {
            self.catalog(|c| c.set_param(SUSPECT, UNSEEN))?;
        }
        writer.finish(fileset, None)?;
        let method = match entry.method() {
            Some(Method::Zstd) => "zstd",
            Some(Method::Stored) => "stored",
            Some(Method::Deflate) | None => "deflate",
        };
        self.catalog(|c| c.set_param(crate::backup::ZIP_METHOD, method))
    }
}
