//! What the versions use of each data volume.

use std::collections::HashSet;

use larder_catalog::{BlockRules, LossKind, UsedBlocks, VolumeRow, VolumeState};
use larder_volume::{BlockTable, Hash, VolumeKind, VolumeName};

use super::plan::{Held, State};
use crate::Result;
use crate::losses::BadCopies;
use crate::notes::TAKEN_IN;
use crate::phases::Ready;
use crate::words::{counted, verb};

/// A data volume of the destination.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) row: VolumeRow,
    pub(super) name: VolumeName,
    /// When it was stored, in seconds since 1970; far in the future when that is not known.
    modified: i64,
    pub(super) held: Held,
}

/// All data volumes, the oldest first, and what of them is used.
pub(super) struct Survey {
    pub(super) volumes: Vec<Volume>,
    pub(super) used: UsedBlocks,
    /// Versions use blocks of which no index says where they are.
    pub(super) is_doubtful: bool,
}

impl Survey {
    /// Whether what is used of a volume can move.
    pub(super) fn is_movable(&self, place: usize) -> bool {
        let volume = self.volumes.get(place);
        volume.is_some_and(|volume| volume.held.state != State::Fixed)
    }
}

/// How old volumes of other machines have to be that no version uses: before, one may be at work on the version.
const GRACE_SECONDS: i64 = 24 * 3600;

impl Ready<'_> {
    /// Looks at all data volumes, or says why that gives no plan.
    pub(super) fn survey_volumes(
        &self,
        filesets: &[i64],
    ) -> Result<std::result::Result<Survey, String>> {
        let Some(used) = self.all_used_blocks(filesets)? else {
            return Ok(Err(
                "some blocklists cannot be read or entries do not tell their blocks, so what versions use is not known; `larder list-broken-files` names files that lost something"
                    .to_owned(),
            ));
        };
        if let Some(list) = self.young_partial_version(filesets)? {
            return Ok(Err(format!(
                "the partial version {list} was stored less than a day ago and not from here: another machine may be at work on the whole one, which uses what was there before as well"
            )));
        }
        self.prefer_good_copies()?;
        let usages = self.catalog(|c| c.volume_usage(&used))?;
        let found: u64 = usages.iter().map(|usage| usage.used_blocks).sum();
        let lost = self.lost_and_used(&used)?;
        let is_doubtful = used.len() > found.saturating_add(lost);
        let fixed = self.damaged_volumes(&used)?;
        let mut volumes = Vec::with_capacity(usages.len());
        let mut young = 0;
        for usage in usages {
            let Some(row) = self.catalog(|c| c.volume(usage.volume))? else {
                continue;
            };
            let Some(listed) = self.view.find(&row.name) else {
                if usage.used_blocks > 0 {
                    let name = &row.name;
                    return Ok(Err(format!("{name} is not in the destination any more")));
                }
                continue;
            };
            let stored = listed.size.or(row.size).unwrap_or(0);
            let state = match fixed.iter().find(|(id, _)| *id == row.id) {
                Some((_, state)) => *state,
                None => State::Sound,
            };
            // What lies in a cold tier can go, but not be read.
            let is_fixed = listed.is_archived && usage.used_blocks > 0;
            let is_unused = usage.used_blocks + usage.used_copies == 0;
            if is_unused && self.may_belong_to_others(&row, listed.modified)? {
                young += 1;
                continue;
            }
            volumes.push(Volume {
                name: listed.name.clone(),
                modified: listed.modified.unwrap_or(i64::MAX),
                held: Held {
                    stored,
                    blocks: usage.bytes,
                    used: usage.used_bytes,
                    copies: usage.used_copies,
                    state: match is_fixed {
                        true => State::Fixed,
                        false => state,
                    },
                },
                row,
            });
        }
        if young > 0 {
            return Ok(Err(format!(
                "{} of no version {} less than a day ago and not from here: another machine may be at work on one, which uses what was there before as well",
                counted(young, "data file"),
                verb(young, "was stored", "were stored"),
            )));
        }
        // Blocks of one time stay together.
        volumes.sort_by_key(|volume| (volume.modified, volume.row.id));
        Ok(Ok(Survey {
            volumes,
            used,
            is_doubtful,
        }))
    }

    /// The blocks of a volume that versions use and that are not known to be damaged in it.
    pub(super) fn good_used_blocks(
        &self,
        volume: &Volume,
        used: &UsedBlocks,
        bad: &BadCopies,
    ) -> Result<BlockTable> {
        let id = volume.row.id;
        let blocks = self.catalog(|c| c.blocks_of_volume(id))?;
        let is_good =
            |block: &(Hash, u64)| used.contains(&block.0, block.1) && !bad.holds(id, block);
        Ok(blocks.iter().filter(is_good).collect())
    }

    /// The list of a partial version that another machine stored just now. What it is at work on is not known from that.
    fn young_partial_version(&self, filesets: &[i64]) -> Result<Option<String>> {
        for fileset in self.catalog(|c| c.filesets())? {
            if fileset.is_full || !filesets.contains(&fileset.id) {
                continue;
            }
            if let Some(row) = self.catalog(|c| c.volume(fileset.volume))?
                && let Some(listed) = self.view.find(&row.name)
                && self.may_belong_to_others(&row, listed.modified)?
            {
                return Ok(Some(row.name));
            }
        }
        Ok(None)
    }

    /// Whether another machine may have stored a volume just now, for a version that is not there yet.
    pub(super) fn may_belong_to_others(
        &self,
        row: &VolumeRow,
        modified: Option<i64>,
    ) -> Result<bool> {
        // Those of this machine were noted before they were sent; others were seen in a listing first.
        let is_own = row.state != VolumeState::Verified;
        let since = self.clock.seconds().saturating_sub(GRACE_SECONDS);
        if is_own {
            return Ok(false);
        }
        // Where no times are told, none of them is older than the last time when some were taken in.
        let now = self.clock.seconds();
        let modified = match modified {
            // A time to come is none.
            Some(modified) if modified <= now.saturating_add(GRACE_SECONDS) => Some(modified),
            _ => {
                let taken_in = self.catalog(|c| c.param(TAKEN_IN))?;
                taken_in.and_then(|time| time.parse().ok())
            }
        };
        Ok(modified.is_some_and(|modified| modified > since))
    }

    /// How the streams of this backup are cut into blocks.
    pub(crate) fn block_rules(&self) -> BlockRules {
        let format = self.format();
        BlockRules {
            blocksize: format.blocksize,
            hash_len: format.block_hash.len(),
            one_algorithm: format.is_one_algorithm(),
        }
    }

    /// Every block that the versions use; `None` when that cannot be found out.
    pub(crate) fn all_used_blocks(&self, filesets: &[i64]) -> Result<Option<UsedBlocks>> {
        let rules = self.block_rules();
        let mut tried: HashSet<Hash> = HashSet::new();
        loop {
            self.cancel.check()?;
            let used = self.catalog(|c| c.used_blocks(filesets, rules))?;
            if used.is_complete() {
                return Ok(Some(used));
            }
            let lists: Vec<Hash> = used.unknown_lists().to_vec();
            // Asked for once already, or nothing that a list could tell.
            if !lists.iter().any(|list| tried.insert(*list)) {
                return Ok(None);
            }
            self.load_blocklists(lists)?;
        }
    }

    /// Lets blocks be read from good copies where one is known to be damaged.
    fn prefer_good_copies(&self) -> Result<()> {
        let bad = self.bad_copies()?;
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind != VolumeKind::Blocks || !matches!(loss.what, LossKind::Damaged(_)) {
                continue;
            }
            self.catalog(|c| {
                let Some(row) = c.volume_named(&loss.name)? else {
                    return Ok(0);
                };
                let blocks = c.lost_blocks(&loss.name)?;
                c.read_elsewhere(row.id, blocks, |other, block| !bad.holds(other, block))
            })?;
        }
        Ok(())
    }

    /// How many used blocks are in no volume, as far as that is noted.
    pub(crate) fn lost_and_used(&self, used: &UsedBlocks) -> Result<u64> {
        let mut lost = HashSet::new();
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::Blocks {
                let blocks = self.catalog(|c| c.blocks_still_lost(&loss.name))?;
                lost.extend(
                    blocks
                        .into_iter()
                        .filter(|(h, size)| used.contains(h, *size)),
                );
            }
        }
        Ok(lost.len() as u64)
    }

    /// The volumes that were found damaged: those that are missed stay, what is good of the others moves.
    fn damaged_volumes(&self, used: &UsedBlocks) -> Result<Vec<(i64, State)>> {
        let bad = self.bad_copies()?;
        let mut found = Vec::new();
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind != VolumeKind::Blocks {
                continue;
            }
            let Some(row) = self.catalog(|c| c.volume_named(&loss.name))? else {
                continue;
            };
            let missed = self.missed_blocks(&loss, &bad)?;
            let state = match missed.iter().any(|(hash, size)| used.contains(hash, *size)) {
                true => State::Fixed,
                false => State::Superseded,
            };
            found.push((row.id, state));
        }
        Ok(found)
    }
}
