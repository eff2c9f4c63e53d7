//! Which versions were made from here. Others may store into the same set, and what they have of a path says nothing of what
//! was lost here.

use std::collections::BTreeSet;

use larder_volume::VolumeTime;

use crate::Result;
use crate::phases::Settled;

/// Catalog parameter: the times of the versions that were made from here, in seconds since 1970, and of those that were there
/// when the catalog was new, since the local state may have been lost.
const OWN_VERSIONS: &str = "own-versions";

impl Settled<'_> {
    /// Takes all versions that there are for own ones when the catalog knows of none.
    pub(crate) fn learn_own_versions(&self) -> Result<()> {
        match self.own_versions()? {
            Some(_) => Ok(()),
            None => self.store_own_versions(&self.listed_times()),
        }
    }

    /// Whether the version of this time, in seconds since 1970, was made from here, as far as is known.
    pub(crate) fn is_own_version(&self, time: i64) -> Result<bool> {
        Ok(self.own_versions()?.is_none_or(|own| own.contains(&time)))
    }

    /// Notes that a list of this time is about to be sent for a version that is made here.
    pub(crate) fn note_own_version(&self, time: VolumeTime) -> Result<()> {
        let listed = self.listed_times();
        let mut own = match self.own_versions()? {
            Some(own) => own,
            None => listed.clone(),
        };
        let known = self.catalog(|c| c.filesets())?;
        let known: BTreeSet<i64> = known.iter().map(|fileset| fileset.time).collect();
        own.retain(|time| known.contains(time) || listed.contains(time));
        own.insert(time.0);
        self.store_own_versions(&own)
    }

    /// Takes back that a list of this time is from here: its name was taken.
    pub(crate) fn forget_own_version(&self, time: VolumeTime) -> Result<()> {
        let mut own = self.own_versions()?.unwrap_or_default();
        match own.remove(&time.0) {
            true => self.store_own_versions(&own),
            false => Ok(()),
        }
    }

    /// The same of a list that comes in the place of another, when that was of a version made here.
    pub(crate) fn note_own_successor(&self, old: VolumeTime, new: VolumeTime) -> Result<()> {
        let own = self.own_versions()?;
        match own.is_some_and(|own| own.contains(&old.0)) {
            true => self.note_own_version(new),
            false => Ok(()),
        }
    }

    /// The version that a backup compares its sources with: the last one from here whose entries are in the catalog. What
    /// others have at the same paths may have the same times and sizes, and other content.
    pub(crate) fn compared_version(&self) -> Result<Option<i64>> {
        let own = self.own_versions()?;
        let (filesets, with_entries) =
            self.catalog(|c| Ok((c.filesets()?, c.filesets_with_entries()?)))?;
        let mut filesets = filesets.into_iter().filter(|fileset| {
            let is_own = own.as_ref().is_none_or(|own| own.contains(&fileset.time));
            is_own && with_entries.contains(&fileset.id)
        });
        Ok(filesets.next().map(|fileset| fileset.id))
    }

    fn own_versions(&self) -> Result<Option<BTreeSet<i64>>> {
        let text = self.catalog(|c| c.param(OWN_VERSIONS))?;
        let times = |text: String| {
            text.split(' ')
                .filter_map(|time| time.parse().ok())
                .collect()
        };
        Ok(text.map(times))
    }

    fn store_own_versions(&self, own: &BTreeSet<i64>) -> Result<()> {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        self.durable(|c| c.set_param(OWN_VERSIONS, &own.join(" ")))
    }

    fn listed_times(&self) -> BTreeSet<i64> {
        let lists = self.view.lists();
        lists.iter().map(|(time, _)| time.0).collect()
    }
}
