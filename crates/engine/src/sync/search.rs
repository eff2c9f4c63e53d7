//! Finding blocks that no index names.
//!
//! An index may leave blocks out, or lie about their sizes; early versions of Duplicati did by mistake. So before a block
//! is given up it is looked for in the data files themselves: first in those that hold more than their index accounts
//! for, and in all others only while no data file is known to be missing, which would explain it.

use std::collections::HashSet;

use larder_catalog::VolumeRow;
use larder_volume::{Hash, VolumeKind, VolumeName};

use super::{RemoteVolume, describe};
use crate::Result;
use crate::context::Level;
use crate::error::Reach;
use crate::notes::Presence;
use crate::phases::Settled;
use crate::settle::is_stored;
use crate::words::counted;
use crate::workers::for_each_parallel;

/// Bytes of a volume for each block beside its content: two headers with its name.
const PER_BLOCK: u64 = 256;
/// Bytes of a volume beside its blocks: manifest, directory, encryption.
const PER_VOLUME: u64 = 4096;

/// Which data files of this run were searched already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Searched {
    /// None.
    #[default]
    Nothing,
    /// Those that hold more than is known of them.
    Unaccounted,
    /// All.
    Everything,
}

impl Settled<'_> {
    /// The volumes of blocks, as [`larder_catalog::Catalog::find_blocks`], after the data files were searched for those
    /// that the catalog does not know. A length of 0 stands for any. A copy that was found damaged is taken only when there is
    /// no other.
    pub(crate) fn find_or_search(&self, keys: &[(Hash, u64)]) -> Result<Vec<Option<i64>>> {
        let mut found = self.look_up(keys)?;
        while found.iter().any(Option::is_none) && self.search_further()? {
            found = self.look_up(keys)?;
        }
        let bad = self.bad_at_first()?;
        for (place, key) in found.iter_mut().zip(keys) {
            if place.is_some_and(|volume| bad.holds(volume, key)) {
                let holders = self.catalog(|c| c.volumes_of_block(&key.0, key.1))?;
                let good = holders.into_iter().find(|holder| !bad.holds(*holder, key));
                *place = good.or(*place);
            }
        }
        Ok(found)
    }

    fn look_up(&self, keys: &[(Hash, u64)]) -> Result<Vec<Option<i64>>> {
        let mut found = self.catalog(|c| c.find_blocks(keys))?;
        for (place, (hash, _)) in found.iter_mut().zip(keys) {
            if place.is_none() {
                // Under another length: the index lies about it, or the list does. What is read is hashed in any case.
                let any = self.catalog(|c| c.find_blocks_by_hash(hash))?;
                *place = any.first().map(|(_, volume)| *volume);
            }
        }
        Ok(found)
    }

    /// Reads the next group of data files; false when none is left that may hold what is missing.
    fn search_further(&self) -> Result<bool> {
        let mut searched = self
            .searched
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = match *searched {
            Searched::Nothing => Searched::Unaccounted,
            Searched::Unaccounted if self.presence()? != Presence::InDoubt => Searched::Everything,
            Searched::Unaccounted | Searched::Everything => return Ok(false),
        };
        *searched = next;
        let mut volumes = Vec::new();
        for row in self.catalog(|c| c.volumes())? {
            if row.kind != VolumeKind::Blocks || !is_stored(&row) {
                continue;
            }
            let is_accounted = self.is_accounted(&row)?;
            if is_accounted == (next == Searched::Everything)
                && let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive)
            {
                volumes.push((row, name));
            }
        }
        if !volumes.is_empty() {
            let bytes = volumes
                .iter()
                .filter_map(|(row, _)| row.size)
                .fold(0, u64::saturating_add);
            // It may take long and cost money, so it is said before.
            self.reporter.notice(
                "SearchingBlocks",
                format!(
                    "blocks are missing that no index names: the data files are searched for them ({}, {})",
                    volumes.len(),
                    larder_options::value::format_size(bytes)
                ),
            );
        }
        for_each_parallel(
            self.settings.threads,
            volumes,
            |(row, name)| match self.read_blocks_volume(
                &RemoteVolume {
                    name,
                    size: row.size,
                    modified: None,
                    is_archived: false,
                },
                Level::Verbose,
            ) {
                Ok((_, blocks)) => Ok(Some((row, blocks))),
                Err(error) if error.reach() == Reach::Volume => {
                    self.reporter.verbose("DamagedVolume", describe(&error));
                    Ok(None)
                }
                Err(error) => Err(error),
            },
            |read| {
                self.cancel.check()?;
                let Some((row, mut blocks)) = read else {
                    return Ok(());
                };
                let known = self.catalog(|c| c.blocks_of_volume(row.id))?;
                let known: HashSet<(Hash, u64)> = known.iter().collect();
                blocks.retain(|block| !known.contains(block));
                if blocks.is_empty() {
                    return Ok(());
                }
                self.reporter.info(
                    "BlocksFound",
                    format!(
                        "{}: {} that its index does not name",
                        row.name,
                        counted(blocks.len() as u64, "block")
                    ),
                );
                self.catalog(|c| c.batch(|c| c.add_blocks(row.id, &blocks)))
            },
        )?;
        Ok(true)
    }

    /// Whether the known blocks of a volume explain its length. Packing makes them shorter, never longer.
    fn is_accounted(&self, row: &VolumeRow) -> Result<bool> {
        let blocks = self.catalog(|c| c.blocks_of_volume(row.id))?;
        let sum = blocks.iter().fold(PER_VOLUME, |sum, (_, size)| {
            sum.saturating_add(size).saturating_add(PER_BLOCK)
        });
        Ok(row.size.is_some_and(|size| size <= sum))
    }
}
