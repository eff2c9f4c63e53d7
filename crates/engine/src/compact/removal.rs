//! Removing data volumes whose blocks are elsewhere or not used, and their indexes after them.

use std::collections::{HashMap, HashSet};

use larder_catalog::{UsedBlocks, VolumeRow, VolumeState};
use larder_destination::ErrorKind;
use larder_volume::{Hash, VolumeKind};

use super::survey::Volume;
use crate::delete::forget_removed;
use crate::phases::Ready;
use crate::report::CompactResults;
use crate::settle::is_stored;
use crate::sync::IndexState;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// Volumes of which it is noted at a time that they go.
const AT_A_TIME: usize = 500;

/// A data volume with the indexes that describe nothing else.
struct Going {
    data: VolumeRow,
    indexes: Vec<VolumeRow>,
}

/// What became of a file.
enum Outcome {
    Removed,
    /// The destination does not let it go.
    Refused(larder_destination::Error),
}

impl Ready<'_> {
    /// Removes volumes: from the intent on nothing is read from them, unless the destination refuses.
    pub(super) fn remove_volumes(
        &self,
        volumes: &[&Volume],
        results: &mut CompactResults,
    ) -> Result<()> {
        for some in volumes.chunks(AT_A_TIME) {
            self.cancel.check()?;
            let going = self.note_going(some)?;
            let mut forgotten = Vec::new();
            let outcome = for_each_parallel(
                self.settings.uploads.max(1),
                going,
                |going| {
                    if let Outcome::Refused(error) = self.remove(&going.data)? {
                        return Ok(Err((going, error)));
                    }
                    let mut gone = vec![going.data];
                    for index in going.indexes {
                        // One that stays describes what is gone; that is known to happen.
                        if let Outcome::Removed = self.remove(&index)? {
                            gone.push(index);
                        }
                    }
                    Ok(Ok(gone))
                },
                |outcome| {
                    let mut gone = match outcome {
                        Ok(gone) => gone,
                        Err((going, error)) => return self.keep_refused(&going, &error),
                    };
                    for row in &gone {
                        results.deleted_file_count += 1;
                        results.deleted_file_size += row.size.unwrap_or_default();
                    }
                    forgotten.append(&mut gone);
                    Ok(())
                },
            );
            // Also what went before something failed.
            self.catalog(|c| c.batch(|c| forget_removed(c, &forgotten)))?;
            outcome?;
        }
        Ok(())
    }

    /// Notes durably that volumes go, with the indexes that describe nothing else.
    fn note_going(&self, volumes: &[&Volume]) -> Result<Vec<Going>> {
        let ids: HashSet<i64> = volumes.iter().map(|volume| volume.row.id).collect();
        let mut indexes = self.indexes_by_volume()?;
        let links = self.catalog(|c| c.index_links())?;
        let stay: HashSet<i64> = links
            .iter()
            .filter(|(_, blocks)| !ids.contains(blocks))
            .map(|(index, _)| *index)
            .collect();
        let mut going = Vec::with_capacity(volumes.len());
        let mut taken = HashSet::new();
        for volume in volumes {
            let mut of_it = indexes.remove(&volume.row.id).unwrap_or_default();
            of_it.retain(|index| !stay.contains(&index.id) && taken.insert(index.id));
            going.push(Going {
                data: volume.row.clone(),
                indexes: of_it,
            });
        }
        self.durable(|c| {
            for row in going.iter().flat_map(|g| g.indexes.iter().chain([&g.data])) {
                c.set_volume(row.id, VolumeState::Deleting, None, None)?;
            }
            Ok(())
        })?;
        Ok(going)
    }

    fn remove(&self, row: &VolumeRow) -> Result<Outcome> {
        self.cancel.check()?;
        match self.remote.delete(&row.name, row.size.unwrap_or(0)) {
            Ok(()) => Ok(Outcome::Removed),
            Err(Error::Destination(error))
                if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied) =>
            {
                Ok(Outcome::Refused(error))
            }
            Err(error) => Err(error),
        }
    }

    /// A volume that may not go stays what it was; its blocks are read from where they are besides.
    fn keep_refused(&self, going: &Going, error: &larder_destination::Error) -> Result<()> {
        self.durable(|c| {
            for row in going.indexes.iter().chain([&going.data]) {
                c.set_volume(row.id, row.state, None, None)?;
            }
            let blocks = c.blocks_of_volume(going.data.id)?;
            c.read_elsewhere(going.data.id, blocks.iter(), |_, _| true)
        })?;
        self.reporter.info(
            "VolumeNotRemoved",
            format!(
                "{} is not needed and could not be removed, so it stays: {error}",
                going.data.name
            ),
        );
        Ok(())
    }

    /// The stored indexes by the data volume that they describe.
    pub(crate) fn indexes_by_volume(&self) -> Result<HashMap<i64, Vec<VolumeRow>>> {
        let rows: HashMap<i64, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .filter(|row| row.kind == VolumeKind::Index && is_stored(row))
            .map(|row| (row.id, row))
            .collect();
        let mut found: HashMap<i64, Vec<VolumeRow>> = HashMap::new();
        for (index, blocks) in self.catalog(|c| c.index_links())? {
            if let Some(row) = rows.get(&index) {
                found.entry(blocks).or_default().push(row.clone());
            }
        }
        Ok(found)
    }

    /// Indexes of which nothing is known that they describe: the data is gone, or they were found damaged. None while a
    /// version misses data that they may know of.
    fn lone_indexes(&self, used: &UsedBlocks) -> Result<Vec<VolumeRow>> {
        let bad = self.bad_copies()?;
        for loss in self.catalog(|c| c.losses())? {
            let is_used = |(hash, size): &(Hash, u64)| used.contains(hash, *size);
            if loss.kind == VolumeKind::Blocks
                && self.missed_blocks(&loss, &bad)?.iter().any(is_used)
            {
                return Ok(Vec::new());
            }
        }
        let links = self.catalog(|c| c.index_links())?;
        let linked: HashSet<i64> = links.into_iter().map(|link| link.0).collect();
        let mut lone = Vec::new();
        for row in self.catalog(|c| c.volumes())? {
            if row.kind != VolumeKind::Index || !is_stored(&row) || linked.contains(&row.id) {
                continue;
            }
            if let Some(listed) = self.view.find(&row.name)
                && !self.may_belong_to_others(&row, listed.modified)?
            {
                lone.push(row);
            }
        }
        Ok(lone)
    }

    /// Whether every data file that is listed has an index that is listed and was read whole or written from here. Then
    /// no other one is needed, whatever it was once.
    fn is_all_described(&self) -> Result<bool> {
        let indexes = self.indexes_by_volume()?;
        let noted = self.noted_losses()?;
        let is_good =
            |row: &VolumeRow| self.view.find(&row.name).is_some() && !noted.contains(&row.name);
        for volume in self.view.of_kind(VolumeKind::Blocks) {
            let row = self.catalog(|c| c.volume_named(volume.name.as_str()))?;
            let of_it = row.and_then(|row| indexes.get(&row.id));
            if !of_it.is_some_and(|indexes| indexes.iter().any(is_good)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Those of the lone indexes that would go, as far as that is known without reading them.
    pub(super) fn unneeded_indexes(&self, used: &UsedBlocks) -> Result<Vec<VolumeRow>> {
        let lone = self.lone_indexes(used)?;
        match lone.is_empty() || self.is_all_described()? {
            true => Ok(lone),
            false => Ok(Vec::new()),
        }
    }

    /// Removes indexes that describe nothing that is there, and damaged ones once every data file has another. One that was
    /// found damaged is read once more before: it may open with another passphrase, or be whole again.
    pub(super) fn remove_lone_indexes(
        &mut self,
        used: &UsedBlocks,
        results: &mut CompactResults,
    ) -> Result<()> {
        if self.lone_indexes(used)?.is_empty() {
            return Ok(());
        }
        // Data files that went just now need none.
        self.relist()?;
        if self.is_unsure()?.is_some() {
            return Ok(());
        }
        let noted = self.noted_losses()?;
        for row in self.unneeded_indexes(used)? {
            if noted.contains(&row.name) && !self.is_still_damaged(&row)? {
                continue;
            }
            self.durable(|c| c.set_volume(row.id, VolumeState::Deleting, None, None))?;
            if let Outcome::Refused(_) = self.remove(&row)? {
                self.durable(|c| c.set_volume(row.id, row.state, None, None))?;
                continue;
            }
            results.deleted_file_count += 1;
            results.deleted_file_size += row.size.unwrap_or_default();
            self.catalog(|c| c.batch(|c| forget_removed(c, &[row])))?;
        }
        Ok(())
    }

    /// Reads an index that was found damaged once more. One that is whole is taken in by the next run.
    fn is_still_damaged(&self, row: &VolumeRow) -> Result<bool> {
        let Some(volume) = self.view.find(&row.name) else {
            return Ok(false);
        };
        match self.look_at_index(volume)? {
            IndexState::Damaged => Ok(true),
            IndexState::Unclear => Ok(false),
            IndexState::Whole => {
                self.forget_index(&row.name)?;
                Ok(false)
            }
        }
    }
}
