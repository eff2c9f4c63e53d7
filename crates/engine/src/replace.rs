//! Putting a version list in the place of another: the new one is stored before the old one goes.
//!
//! What is to be replaced is on disk before the new list is sent, so that a run after a kill removes the old one when the
//! new one arrived, and nothing when it did not. Both are whole versions; whoever loses the local state has both.

use std::collections::HashSet;

use larder_catalog::StoredEntry;
use larder_volume::{VolumeKind, VolumeName, VolumeTime};

use crate::delete::Dropped;
use crate::phases::Ready;
use crate::sync::RemoteVolume;
use crate::versions::Version;
use crate::volumes::{AboutList, StoredVolume};
use crate::{Error, Result};

/// Catalog parameter: the name of a list that is being sent, a line end, and that of the list in whose place it comes.
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
        let archive = self.fetch_list(&version.volume)?;
        let about = AboutList {
            created: VolumeTime(self.clock.seconds()),
            is_full: self.is_full(&archive, name)?,
            extras: self.control_files_of(&archive, name)?,
        };
        drop(archive);
        let fileset = self.entries_of_version(version)?;
        let mut times = self.free_times(version.time)?.into_iter();
        let none = || {
            Error::data(
                NO_FREE_TIME,
                format!(
                    "there is no free second beside the version of {} for its new list",
                    version.time
                ),
                "delete the version before or after it, or leave it as it is",
            )
        };
        let time = times.next().ok_or_else(none)?;
        let new = self.list_name(time);
        let old = version.volume.name.clone();
        if self.settings.dry_run {
            return Ok(Replaced { old, new });
        }
        let cursor = self.catalog(|c| c.entries(fileset))?;
        let mut writer = self.catalog(|c| c.begin_entries())?;
        let edited = Edited {
            cursor,
            edit,
            is_over: false,
        };
        let list = self.write_list(&about, edited, Some(&mut writer))?;
        self.note_replacing(&new, &old)?;
        let mut stored: Vec<StoredVolume> = Vec::new();
        let next = |_| {
            let time = times.next().ok_or_else(none)?;
            self.note_replacing(&self.list_name(time), &old)?;
            Ok(time)
        };
        let new = self.send_list(time, list, next, &mut stored)?;
        let taken = self.take_over_entries(&new, writer)?;
        if self.is_compared(fileset)? {
            self.note_compared(taken)?;
        }
        self.add_listed(new.clone(), stored.first().map(|stored| stored.size));
        match self.drop_version(version)? {
            Dropped::Yes => self.forget_listed(old.as_str()),
            Dropped::Refused => self.reporter.error(
                "ListNotReplaced",
                format!(
                    "{old} is replaced by {new} and could not be removed: both are versions now",
                    old = old.as_str(),
                    new = new.as_str()
                ),
            ),
        }
        self.durable(|c| c.remove_param(REPLACING))?;
        Ok(Replaced { old, new })
    }

    /// The number of a version in the catalog when that has all of its entries; its list is read when it has not.
    ///
    /// # Errors
    /// A list that cannot be read whole.
    pub(crate) fn entries_of_version(&self, version: &Version) -> Result<i64> {
        if let Some(fileset) = self.fileset_with_entries(&version.volume)? {
            return Ok(fileset);
        }
        self.read_list(&version.volume, version.time, |_| Ok(()))?;
        let name = version.volume.name.as_str();
        self.fileset_with_entries(&version.volume)?.ok_or_else(|| {
            Error::data(
                "DamagedList",
                format!("some entries of {name} are wrong, or it is not what its name says"),
                "see what `larder test … all` says of it",
            )
        })
    }

    fn note_replacing(&self, new: &VolumeName, old: &VolumeName) -> Result<()> {
        let text = format!("{}\n{}", new.as_str(), old.as_str());
        self.durable(|c| c.set_param(REPLACING, &text))
    }

    /// The free seconds beside a version, the best first: those after it and before the next version, then those before
    /// it.
    fn free_times(&self, of: VolumeTime) -> Result<Vec<VolumeTime>> {
        let mut taken: HashSet<i64> = self.view.lists().iter().map(|(time, _)| time.0).collect();
        for row in self.catalog(|c| c.volumes())? {
            if row.kind == VolumeKind::List {
                taken.extend(row.time);
            }
        }
        let after = (1..TRIED).map(|step| of.0 + step);
        let after = after.take_while(|time| !taken.contains(time));
        let before = (1..TRIED).map(|step| of.0 - step);
        let before = before.take_while(|time| !taken.contains(time));
        Ok(after.chain(before).map(VolumeTime).collect())
    }

    /// Ends what a killed run began: when its new list arrived, the old one goes.
    pub(crate) fn end_replacing(&mut self) -> Result<()> {
        let Some(text) = self.catalog(|c| c.param(REPLACING))? else {
            return Ok(());
        };
        let (new, old) = text.split_once('\n').unwrap_or_default();
        let find = |name: &str| self.view.find(name).cloned();
        if let (Some(new), Some(old)) = (find(new), find(old))
            && self.is_version(&new)?
        {
            let version = version_of(old)?;
            self.drop_version(&version)?;
            self.forget_listed(version.volume.name.as_str());
        }
        self.durable(|c| c.remove_param(REPLACING))
    }
}

fn version_of(volume: RemoteVolume) -> Result<Version> {
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
    is_over: bool,
}

impl<E: FnMut(StoredEntry) -> Result<Option<StoredEntry>>> Iterator for Edited<E> {
    type Item = Result<Vec<StoredEntry>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::with_capacity(BATCH);
        while !self.is_over && batch.len() < BATCH {
            let Some(stored) = self.cursor.next() else {
                self.is_over = true;
                break;
            };
            match stored.map_err(Error::from).and_then(&mut self.edit) {
                Ok(kept) => batch.extend(kept),
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

/// Seconds that are tried on each side.
const TRIED: i64 = 1000;
