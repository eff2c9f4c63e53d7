//! Learning what versions hold, from the catalog or from their lists.

use larder_catalog::{Counts, EntryCursor, EntryWriter, StoredEntry, VolumeState};
use larder_volume::{ArchiveReader, FileEntry, Method, VolumeKind, VolumeTime};

use super::{RemoteVolume, count, describe};
use crate::data::VolumeData;
use crate::entries::filelist_of;
use crate::error::Reach;
use crate::identity::renamed;
use crate::notes::{COMPARED, LIST_WRITER, Presence, ZIP_METHOD};
use crate::phases::Settled;
use crate::run::read_manifest;
use crate::versions::Version;
use crate::{Error, Result};

impl Settled<'_> {
    /// Loads the entries of the newest version, and of the newest one that was made from here, when they are not in the
    /// catalog yet. Damaged lists are passed over: a backup must be possible even when all of them are.
    pub(crate) fn ingest_newest_list(&self) -> Result<()> {
        let (mut failed, mut has_newest) = (false, false);
        for (time, volume) in self.view.lists() {
            let is_own = self.is_own_version(time.0)?;
            if has_newest && !is_own {
                continue;
            }
            let is_in = match has_newest {
                true => self.fileset_with_entries(&volume)?.is_some(),
                false => self.is_newest_known(time)?,
            };
            let loaded = match is_in {
                true => Ok(()),
                false => self.load_list(&volume, time, !has_newest),
            };
            match loaded {
                Ok(()) if is_own => return Ok(()),
                Ok(()) => has_newest = true,
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
        if failed && !has_newest {
            self.reporter.warn(
                "NoUsableList",
                "no version list can be read; the next version does without comparison and is complete by itself",
            );
        }
        Ok(())
    }

    /// Whether the version of this time is the newest that the catalog has entries of, and was taken in as such.
    fn is_newest_known(&self, time: VolumeTime) -> Result<bool> {
        let filesets = self.catalog(|c| c.filesets())?;
        match filesets.iter().find(|fileset| fileset.time == time.0) {
            Some(fileset) if self.catalog(|c| c.previous())? == Some(fileset.id) => {
                self.is_compared(fileset.id)
            }
            _ => Ok(false),
        }
    }

    /// Whether of a version more than the entries is known.
    pub(crate) fn is_compared(&self, fileset: i64) -> Result<bool> {
        let known = self.catalog(|c| c.param(COMPARED))?;
        Ok(known == Some(fileset.to_string()))
    }

    fn load_list(&self, volume: &RemoteVolume, time: VolumeTime, is_newest: bool) -> Result<()> {
        let name = volume.name.as_str();
        self.reporter
            .info("ReadingList", format!("reading the version list {name}"));
        let archive = self.fetch_list(volume)?;
        if !self.is_as_old_as_its_name(volume, &archive)? {
            return Err(Error::volume(name, renamed()));
        }
        let read = self.read_fetched_list(&archive, volume, time, true, |_| Ok(()));
        let list = self.noting_damage(&volume.name, read)?;
        // Whether its blocks are stored is not known before they were looked up.
        if self.presence()? != Presence::InDoubt {
            self.catalog(|c| Presence::NotLookedAt.note(c))?;
        }
        if !is_newest {
            return Ok(());
        }
        let method = match list.method {
            Some(Method::Zstd) => "zstd",
            Some(Method::Stored) => "stored",
            Some(Method::Deflate) | None => "deflate",
        };
        self.catalog(|c| {
            c.set_param(LIST_WRITER, &list.writer)?;
            c.set_param(ZIP_METHOD, method)?;
            c.set_param(COMPARED, &list.fileset.unwrap_or_default().to_string())
        })
    }

    /// Hands the entries of a version to `work`, one after the other: from the catalog when they are there, else from
    /// its list, and then the catalog has them.
    ///
    /// # Errors
    /// Those of the list, when it has to be read, and of `work`.
    pub(crate) fn each_entry(
        &self,
        version: &Version,
        mut work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<()> {
        let Some(entries) = self.entries_in_catalog(&version.volume)? else {
            return self
                .read_list(&version.volume, version.time, work)
                .map(drop);
        };
        for stored in entries {
            self.cancel.check()?;
            work(stored?.entry)?;
        }
        Ok(())
    }

    /// The entries of a version when the catalog has them, of the list that is listed.
    fn entries_in_catalog(&self, volume: &RemoteVolume) -> Result<Option<EntryCursor>> {
        let Some(fileset) = self.fileset_with_entries(volume)? else {
            return Ok(None);
        };
        self.catalog(|c| c.entries(fileset).map(Some))
    }

    /// The number of a version in the catalog when that has its entries, of the list that is listed.
    pub(crate) fn fileset_with_entries(&self, volume: &RemoteVolume) -> Result<Option<i64>> {
        self.whole_fileset(volume, |size| size.is_none() || size == volume.size)
    }

    /// The same of a list that was just read, whose size need not be listed. Not of one that is listed twice with two
    /// sizes: they may be two versions, and which of them was read is not known.
    pub(crate) fn fileset_just_read(&self, volume: &RemoteVolume) -> Result<Option<i64>> {
        let is_one = !self.is_listed_twice(volume);
        self.whole_fileset(volume, |size| {
            size.is_none() || size == volume.size || (volume.size.is_none() && is_one)
        })
    }

    /// Whether there are two files of this name, with different sizes.
    pub(crate) fn is_listed_twice(&self, volume: &RemoteVolume) -> bool {
        let mut twice = self.view.duplicate_names.iter();
        twice.any(|name| name == volume.name.as_str())
    }

    fn whole_fileset(
        &self,
        volume: &RemoteVolume,
        is_size: impl FnOnce(Option<u64>) -> bool,
    ) -> Result<Option<i64>> {
        self.catalog(|c| {
            let Some(row) = c.volume_named(volume.name.as_str())? else {
                return Ok(None);
            };
            let filesets = c.filesets()?;
            let Some(fileset) = filesets.iter().find(|f| f.volume == row.id) else {
                return Ok(None);
            };
            let is_whole = c.param(&not_whole(fileset.id))?.is_none();
            let is_there =
                is_size(row.size) && is_whole && c.has_entries(fileset.id, row.hash.as_ref())?;
            Ok(is_there.then_some(fileset.id))
        })
    }

    /// Reads a version list: hands its entries to `work`, and takes them in when they are not in the catalog and no
    /// other list is being taken in.
    pub(crate) fn read_list(
        &self,
        volume: &RemoteVolume,
        time: VolumeTime,
        work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<ReadList> {
        let archive = self.fetch_list(volume)?;
        // One that is not what its name says is told each time, so it is read each time.
        let own_name = self.tell_renamed(volume, &archive)?;
        let read = self.read_fetched_list(&archive, volume, time, own_name, work);
        self.noting_damage(&volume.name, read)
    }

    /// Whether a list was made when its name says; one that was not is told.
    pub(crate) fn tell_renamed(
        &self,
        volume: &RemoteVolume,
        archive: &ArchiveReader<VolumeData>,
    ) -> Result<bool> {
        let own_name = self.is_as_old_as_its_name(volume, archive)?;
        if !own_name {
            let name = volume.name.as_str();
            self.reporter
                .warn("RenamedList", format!("{name}: {}", renamed()));
        }
        Ok(own_name)
    }

    fn read_fetched_list(
        &self,
        archive: &ArchiveReader<VolumeData>,
        volume: &RemoteVolume,
        time: VolumeTime,
        keep: bool,
        mut work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<ReadList> {
        let name = volume.name.as_str();
        let is_full = self.is_full(archive, name)?;
        let writer_program = read_manifest(archive, name)?.app_version;
        let method = filelist_of(archive, name)?.method();
        let mut writer = match keep && self.entries_in_catalog(volume)?.is_none() {
            true => self.begin_entries()?,
            false => None,
        };
        let mut counts = Counts::default();
        let wrong = self.entries_of(archive, name, |entry| {
            count(&mut counts, entry.kind, entry.size);
            let stored = StoredEntry { entry, seen: None };
            if let Some(writer) = &mut writer {
                writer.add(&stored)?;
            }
            work(stored.entry)
        })?;
        if wrong == 0 {
            self.list_is_whole(name)?;
        }
        // A list under another name than its own is no version, and must never set the clock for one.
        let fileset = match keep {
            true => Some(self.note_listed_version(volume, time, is_full, counts)?),
            false => None,
        };
        if let (Some(writer), Some(fileset)) = (writer, fileset) {
            let hash = self.catalog(|c| c.volume_named(name))?;
            let totals = writer.finish(fileset, hash.and_then(|row| row.hash))?;
            // What is wrong with a list is told whenever it is asked for, so it is read again then.
            if wrong + totals.duplicates > 0 {
                self.catalog(|c| c.set_param(&not_whole(fileset), "1"))?;
            }
        }
        Ok(ReadList {
            fileset,
            is_full,
            counts,
            method,
            writer: writer_program,
        })
    }

    /// The right to take in entries; none while another list is being taken in.
    fn begin_entries(&self) -> Result<Option<EntryWriter>> {
        match self.catalog(|c| c.begin_entries()) {
            Ok(writer) => Ok(Some(writer)),
            Err(Error::Catalog(larder_catalog::Error::Misuse(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes a version with its list in the catalog, unless it is there, and gives its number.
    fn note_listed_version(
        &self,
        volume: &RemoteVolume,
        time: VolumeTime,
        is_full: bool,
        counts: Counts,
    ) -> Result<i64> {
        let name = volume.name.as_str();
        self.catalog(|c| {
            c.batch(|c| {
                let id = match c.volume_named(name)? {
                    Some(row) => row.id,
                    None => {
                        let state = VolumeState::Verified;
                        c.add_volume(name, VolumeKind::List, state, volume.size, None)?
                    }
                };
                match c.filesets()?.into_iter().find(|f| f.volume == id) {
                    Some(fileset) => Ok(fileset.id),
                    None => c.add_fileset(id, time.0, is_full, counts),
                }
            })
        })
    }
}

/// What was learnt of a version list beside its entries.
pub(crate) struct ReadList {
    /// The version in the catalog, unless the list is under another name than its own.
    fileset: Option<i64>,
    pub(crate) is_full: bool,
    pub(crate) counts: Counts,
    /// How the entries are packed.
    method: Option<Method>,
    /// The program that wrote it.
    writer: String,
}

impl ReadList {
    /// The number of the version in the catalog; `None` for a list under another name than its own.
    pub(crate) fn fileset(&self) -> Option<i64> {
        self.fileset
    }

    /// False for a list under another name than its own.
    pub(crate) fn is_version(&self) -> bool {
        self.fileset.is_some()
    }
}

/// The setting that says that entries of a list were left out when it was taken in.
pub(crate) fn not_whole(fileset: i64) -> String {
    format!("wrong-entries-{fileset}")
}
