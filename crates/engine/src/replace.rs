//! Putting a version list in the place of another: the new one is stored before the old one goes.
//!
//! What is to be replaced is on disk before the new list is sent, with the hash of the new one. So a run after a kill reads
//! the new one, and removes the old one only when it is what was sent. Before an old list goes in any run, the new one is
//! read back. Both can be restored; whoever loses the local state has both.

use std::collections::HashSet;

use larder_catalog::{EntryWriter, StoredEntry};
use larder_volume::{Hash, VolumeKind, VolumeName, VolumeTime};

use crate::delete::Dropped;
use crate::error::Reach;
use crate::identity::renamed;
use crate::locks::until_text;
use crate::losses::own_name;
use crate::phases::Ready;
use crate::sync::RemoteVolume;
use crate::versions::Version;
use crate::volumes::{AboutList, ListSource, StoredVolume};
use crate::{Error, Result};

/// Catalog parameter, in lines: the name of a list that is being sent, its hash, and the name of the list in whose place it
/// comes.
const REPLACING: &str = "replacing-list";
/// Error id: a version has neighbours a second before and after it.
pub(crate) const NO_FREE_TIME: &str = "NoFreeTime";
/// Entries handed on at a time.
const BATCH: usize = 256;

/// A version that was written anew.
pub(crate) struct Replaced {
    pub(crate) old: VolumeName,
    /// Its new list; in a dry run the one it would have.
    pub(crate) new: VolumeName,
    /// False when the old one may not be removed, so that it stays: then there is no new one, or it went.
    pub(crate) is_done: bool,
}

impl Ready<'_> {
    /// Writes the list of a version anew: each entry as `edit` gives it back, without those it keeps for itself. The files
    /// kept beside the list stay, and so does whether it is complete.
    ///
    /// # Errors
    /// A list that cannot be read whole, and no free time between its neighbours.
    pub(crate) fn replace_version(
        &mut self,
        version: &Version,
        edit: impl FnMut(StoredEntry) -> Result<Option<StoredEntry>>,
    ) -> Result<Replaced> {
        let name = version.volume.name.as_str();
        let old = version.volume.name.clone();
        if let Some(until) = self.lock_of(name)? {
            let until = until_text(until);
            self.reporter.error(
                "ListNotReplaced",
                format!("{name} is locked {until}, so it stays as it is"),
            );
            return Ok(Replaced {
                new: old.clone(),
                old,
                is_done: false,
            });
        }
        let archive = self.fetch_list(&version.volume)?;
        let about = AboutList {
            created: VolumeTime(self.clock.seconds()),
            is_full: self.is_full(&archive, name)?,
            extras: self.control_files_of(&archive, name)?,
        };
        drop(archive);
        let fileset = self.entries_of_version(version)?;
        if self.settings.dry_run {
            let time = self
                .free_times(version.time)?
                .next()
                .ok_or_else(|| no_free_time(version.time))?;
            return Ok(Replaced {
                new: self.list_name(time),
                old,
                is_done: true,
            });
        }
        let new = self.store_again(&old, version.time, fileset, about, edit)?;
        let is_done = match self.drop_version(version)? {
            Dropped::Yes => {
                self.forget_listed(old.as_str());
                true
            }
            Dropped::Refused(_) => {
                self.reporter.error(
                    "ListNotReplaced",
                    format!("{} may not be removed, so it stays as it is", old.as_str()),
                );
                self.drop_listed(new.as_str())?;
                false
            }
        };
        self.end_of_replacing()?;
        Ok(Replaced { old, new, is_done })
    }

    /// Stores the entries of a version that the catalog has as a list at a free second beside that of `old`, in whose place
    /// it comes: each as `edit` gives it back, without those it keeps for itself.
    ///
    /// # Errors
    /// No free second, and those of catalog and destination.
    pub(crate) fn store_again(
        &mut self,
        old: &VolumeName,
        of: VolumeTime,
        fileset: i64,
        about: AboutList,
        edit: impl FnMut(StoredEntry) -> Result<Option<StoredEntry>>,
    ) -> Result<VolumeName> {
        let mut times = self.free_times(of)?;
        let time = times.next().ok_or_else(|| no_free_time(of))?;
        let cursor = self.catalog(|c| c.entries(fileset))?;
        let mut writer = self.catalog(|c| c.begin_entries())?;
        let mut edited = Edited { cursor, edit };
        let about = AboutList {
            // A list that is older than its name is taken for one under another name.
            created: about.created.max(time),
            ..about
        };
        let list = self.write_list(&about, &mut edited, Some(&mut writer))?;
        let hash = list.hash;
        self.note_replacing(&self.list_name(time), hash, old)?;
        let mut stored: Vec<StoredVolume> = Vec::new();
        let next = |_| {
            let time = times.next().ok_or_else(|| no_free_time(of))?;
            self.note_replacing(&self.list_name(time), hash, old)?;
            Ok(time)
        };
        let new = self.send_list(time, list, next, &mut stored)?;
        let size = stored.first().map(|stored| stored.size);
        self.add_listed(new.clone(), size);
        match self.is_as_sent(&new, size, hash)? {
            Some(true) => {}
            other => {
                if other.is_some() {
                    self.drop_listed(new.as_str())?;
                }
                return Err(Error::data(
                    "DamagedTransfer",
                    format!("{} is not what was sent", new.as_str()),
                    "run the command again; the old list is untouched",
                ));
            }
        }
        let taken = self.take_over_entries(&new, writer)?;
        if self.is_compared(fileset)? {
            self.note_compared(taken)?;
        }
        Ok(new)
    }

    /// Reads a list back that was sent; `None` when it cannot be had.
    pub(crate) fn is_as_sent(
        &self,
        name: &VolumeName,
        size: Option<u64>,
        hash: Hash,
    ) -> Result<Option<bool>> {
        let data = match self.remote.get_volume(name, size) {
            Err(error) if error.reach() == Reach::Volume => return Ok(None),
            other => other?,
        };
        Ok(Some(data.hash(self.format().file_hash)? == hash))
    }

    /// Removes a list that is listed.
    pub(crate) fn drop_listed(&mut self, name: &str) -> Result<()> {
        if let Some(listed) = self.view.find(name).cloned()
            && let Dropped::Yes = self.drop_version(&version_of(listed)?)?
        {
            self.forget_listed(name);
        }
        Ok(())
    }

    /// Notes that the old list is gone, or stays for good.
    pub(crate) fn end_of_replacing(&self) -> Result<()> {
        self.durable(|c| c.remove_param(REPLACING))
    }

    /// The number of a version in the catalog when that has all of its entries; its list is read when it has not.
    ///
    /// # Errors
    /// A list that cannot be read whole.
    pub(crate) fn entries_of_version(&self, version: &Version) -> Result<i64> {
        if let Some(fileset) = self.fileset_with_entries(&version.volume)? {
            return Ok(fileset);
        }
        let list = self.read_list(&version.volume, version.time, |_| Ok(()))?;
        let name = version.volume.name.as_str();
        if !list.is_version() {
            return Err(Error::volume(name, renamed()));
        }
        if self.is_listed_twice(&version.volume) {
            return Err(Error::data(
                "DuplicateRemoteFiles",
                format!(
                    "the destination lists {name} twice, with different sizes: which of them is the version is not known"
                ),
                "remove the one that is not wanted with the service's own tools, or give the version up with `larder delete`",
            ));
        }
        let whole = self.fileset_just_read(&version.volume)?;
        whole.ok_or_else(|| Error::volume(name, wrong_entries()))
    }

    /// Notes that a list with this hash is about to be sent in the place of an old one.
    pub(crate) fn note_replacing(
        &self,
        new: &VolumeName,
        hash: Hash,
        old: &VolumeName,
    ) -> Result<()> {
        if let (Some(of), Some(time)) = (old.time(), new.time()) {
            self.note_own_successor(of, time)?;
        }
        let hash = hash.to_base64();
        let text = format!("{}\n{hash}\n{}", new.as_str(), old.as_str());
        self.durable(|c| c.set_param(REPLACING, &text))
    }

    /// The free seconds for a list of a version, the best first: its own when its list is gone, those after it and before the
    /// next version, those before it.
    fn free_times(&self, of: VolumeTime) -> Result<impl Iterator<Item = VolumeTime> + use<>> {
        let mut taken: HashSet<i64> = self.view.lists().iter().map(|(time, _)| time.0).collect();
        for row in self.catalog(|c| c.volumes())? {
            // The name of one that was lost is its own until it is set aside.
            if row.kind == VolumeKind::List && own_name(&row.name) == row.name {
                taken.extend(row.time);
            }
        }
        let time = of.0;
        let own = Some(time).filter(|time| !taken.contains(time));
        let after = (1..TRIED).map(|step| time + step);
        let after: Vec<i64> = after.take_while(|time| !taken.contains(time)).collect();
        let before = (1..TRIED).map(move |step| time - step);
        let before = before.take_while(move |time| !taken.contains(time));
        Ok(own.into_iter().chain(after).chain(before).map(VolumeTime))
    }

    /// Ends what a killed run began: when its new list arrived, the old one goes.
    pub(crate) fn end_replacing(&mut self) -> Result<()> {
        let Some(text) = self.catalog(|c| c.param(REPLACING))? else {
            return Ok(());
        };
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_default();
        let (new, hash, old) = (next(), Hash::parse_base64(next()), next());
        let find = |name: &str| self.view.find(name).cloned();
        if let (Some(new), Ok(hash)) = (find(new), hash)
            && self.is_as_sent(&new.name, new.size, hash)? == Some(true)
        {
            match find(old).filter(|old| old.name != new.name) {
                Some(_) => self.drop_listed(old)?,
                // It was lost, and is not missed any more.
                None => self.forget_lost_list(old)?,
            }
        }
        self.end_of_replacing()
    }
}

/// The error for a version without a free second beside it.
pub(crate) fn no_free_time(of: VolumeTime) -> Error {
    Error::data(
        NO_FREE_TIME,
        format!("there is no free second beside the version of {of} for its new list"),
        "delete the version before or after it with `larder delete`, or leave it as it is",
    )
}

/// What is wrong with a list of which entries were left out.
fn wrong_entries() -> larder_volume::Error {
    larder_volume::Error::Malformed {
        what: "version list",
        detail: "some of its entries are wrong; the others can be restored".into(),
    }
}

/// A listed version list as a version whose number does not matter.
pub(crate) fn version_of(volume: RemoteVolume) -> Result<Version> {
    let time = volume.name.time();
    Ok(Version {
        number: 0,
        time: time.ok_or_else(|| Error::Bug("a list without a time".into()))?,
        volume,
    })
}

/// Entries of a version on their way to its new list.
struct Edited<E> {
    cursor: larder_catalog::EntryCursor,
    edit: E,
}

impl<E: FnMut(StoredEntry) -> Result<Option<StoredEntry>>> ListSource for Edited<E> {
    fn next(&mut self, _: Option<&mut EntryWriter>) -> Result<Option<Vec<StoredEntry>>> {
        let mut batch = Vec::with_capacity(BATCH);
        for stored in self.cursor.by_ref() {
            batch.extend((self.edit)(stored?)?);
            if batch.len() == BATCH {
                break;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// Seconds that are tried on each side.
const TRIED: i64 = 1000;
