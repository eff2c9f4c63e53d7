//! Checking one volume: its bytes, its directory, and all that is in it.

use std::collections::HashSet;

use larder_catalog::VolumeRow;
use larder_volume::{
    ArchiveReader, BlockTable, FILELIST_ENTRY, Hash, IndexReader, Repeated, Unpacker, VolumeKind,
    parse_block_entry,
};

use super::{Described, Examined};
use crate::data::VolumeData;
use crate::error::{Reach, VolumeContext};
use crate::identity::renamed;
use crate::losses::damage;
use crate::missing::Waiting;
use crate::phases::Ready;
use crate::report::Finding;
use crate::settings::VerifyDepth;
use crate::sync::{RemoteVolume, describe};
use crate::words::{counted, verb};
use crate::{Error, Result};

impl Ready<'_> {
    /// Fetches a volume and checks it.
    pub(super) fn check_volume(
        &self,
        volume: &RemoteVolume,
        row: Option<&VolumeRow>,
        everything: bool,
    ) -> Result<Examined> {
        let name = volume.name.as_str();
        let mut outcome = Examined {
            name: name.to_owned(),
            row: row.map(|r| r.id),
            findings: Vec::new(),
            lost: Vec::new(),
            described: Vec::new(),
            content_read: false,
            is_refused: false,
        };
        let recorded_size = row.and_then(|r| r.size);
        let data = self.remote.get_volume(&volume.name, volume.size)?;
        if let Some(expected) = recorded_size
            && expected != data.len()
        {
            outcome.findings.push(Finding {
                kind: "Modified",
                detail: format!("the file has {} bytes instead of {expected}", data.len()),
            });
        }
        if let Err(error) = self.check_hash(&volume.name, &data, row.and_then(|r| r.hash)) {
            if error.reach() != Reach::Volume {
                return Err(error);
            }
            outcome.is_refused = volume.name.kind() != VolumeKind::Blocks;
            outcome.findings.push(Finding {
                kind: "Modified",
                detail: damage(&error),
            });
        }
        if self.settings.verification == VerifyDepth::HashOnly {
            return Ok(outcome);
        }
        let len = data.len();
        let archive = self.open_volume(&volume.name, data)?;
        if archive.recovered() {
            outcome.findings.push(Finding {
                kind: "Modified",
                detail: "its directory is damaged".into(),
            });
        }
        match volume.name.kind() {
            VolumeKind::Blocks => self.check_blocks(&archive, row, &mut outcome)?,
            VolumeKind::Index => self.check_index(&archive, len, &mut outcome)?,
            VolumeKind::List => {
                if !self.is_as_old_as_its_name(volume, &archive)? {
                    outcome.findings.push(Finding {
                        kind: "Error",
                        detail: renamed().to_string(),
                    });
                }
                if archive.find(FILELIST_ENTRY).is_none() {
                    outcome.is_refused = true;
                    outcome.findings.push(Finding {
                        kind: "Missing",
                        detail: FILELIST_ENTRY.into(),
                    });
                    return Ok(outcome);
                }
                if everything {
                    // Blocks of large files are known only through their blocklists.
                    let mut lists = Vec::new();
                    self.entries_again(&archive, name, |entry| {
                        lists.extend(entry.blocklists.iter().chain(&entry.metablocklists));
                        Ok(())
                    })?;
                    self.load_blocklists(lists)?;
                }
                let (mut unknown, mut waiting) = (0, Waiting::default());
                let wrong = self.entries_of(&archive, name, |entry| {
                    unknown += self.count_missing(&mut waiting, entry)?;
                    Ok(())
                })?;
                unknown += self.count_rest(&mut waiting)?;
                if wrong > 0 {
                    outcome.findings.push(Finding {
                        kind: "Error",
                        detail: format!(
                            "{} cannot be read and are in no restore",
                            counted(wrong, "entry")
                        ),
                    });
                }
                if unknown > 0 {
                    outcome.findings.push(Finding {
                        kind: "Missing",
                        detail: format!(
                            "{} {} blocks that are in no data file",
                            counted(unknown, "entry"),
                            verb(unknown, "uses", "use")
                        ),
                    });
                }
            }
        }
        self.remote.recycle(archive.into_source());
        outcome.content_read = true;
        Ok(outcome)
    }

    fn check_blocks(
        &self,
        archive: &ArchiveReader<VolumeData>,
        row: Option<&VolumeRow>,
        outcome: &mut Examined,
    ) -> Result<()> {
        let format = self.format();
        let mut expected = Expected::new(match row {
            Some(row) => self.catalog(|c| c.blocks_of_volume(row.id))?,
            None => BlockTable::new(),
        });
        let (mut unpacker, mut buffer) = (Unpacker::new(), Vec::new());
        // Blocks whose fault is told already.
        let mut named = HashSet::new();
        for entry in archive.entries() {
            self.cancel.check()?;
            let Some(hash) = parse_block_entry(&entry.name) else {
                continue;
            };
            buffer.clear();
            let result = archive.read_into(entry, &mut buffer, format.blocksize, &mut unpacker);
            let key = (hash, buffer.len() as u64);
            match result {
                Ok(()) if format.block_hash.digest(&buffer) == hash => {
                    if !expected.see(key) && row.is_some() {
                        outcome.findings.push(Finding {
                            kind: "Extra",
                            detail: format!("block {hash}"),
                        });
                    }
                }
                Ok(()) => {
                    named.insert(hash);
                    outcome.findings.push(Finding {
                        kind: "Modified",
                        detail: format!("block {hash} does not match its name"),
                    });
                }
                Err(error) => {
                    let error = Error::volume(outcome.name.as_str(), error);
                    if error.reach() != Reach::Volume {
                        return Err(error);
                    }
                    named.insert(hash);
                    outcome.findings.push(Finding {
                        kind: "Error",
                        detail: format!("block {hash}: {}", describe(&error)),
                    });
                }
            }
        }
        for key in expected.unseen() {
            outcome.lost.push(key);
            if !named.contains(&key.0) {
                outcome.findings.push(Finding {
                    kind: "Missing",
                    detail: format!("block {}", key.0),
                });
            }
        }
        Ok(())
    }

    fn check_index(
        &self,
        archive: &ArchiveReader<VolumeData>,
        len: u64,
        outcome: &mut Examined,
    ) -> Result<()> {
        let name = outcome.name.clone();
        let reader = IndexReader::new(archive, len, self.format());
        let volumes = reader.volumes().in_volume(&name)?;
        let read = reader.blocklists(&volumes, u64::MAX, |found| {
            if let Repeated::Wrong(text) = found {
                outcome.findings.push(Finding {
                    kind: "Modified",
                    detail: format!("the blocklist {text} does not match its name"),
                });
            }
        });
        read.in_volume(&name)?;
        for volume in volumes {
            let found = self.find_described(&volume.name);
            let is_gone = found.is_none();
            let (name, finding) = match found {
                None => (
                    volume.name.as_str(),
                    Finding {
                        kind: "Missing",
                        detail: format!("{name} describes it, but it is not in the destination"),
                    },
                ),
                Some(present) => match (volume.size, present.size) {
                    (Some(a), Some(b)) if a != b => (
                        present.name.as_str(),
                        Finding {
                            kind: "Modified",
                            detail: format!("the file has {b} bytes instead of {a} as {name} says"),
                        },
                    ),
                    _ => continue,
                },
            };
            outcome.described.push(Described {
                name: name.to_owned(),
                finding,
                blocks: volume.blocks.iter().collect(),
                may_be_over: true,
                is_gone,
            });
        }
        Ok(())
    }
}

/// The blocks that a volume should have. Memory: 46 bytes each.
struct Expected {
    blocks: BlockTable,
    /// Their places in the order of hash and size.
    order: Vec<u32>,
    seen: Vec<bool>,
}

impl Expected {
    fn new(blocks: BlockTable) -> Self {
        let mut order: Vec<u32> = (0..).take(blocks.len()).collect();
        order.sort_unstable_by_key(|at| blocks.get(*at as usize));
        let seen = vec![false; blocks.len()];
        Self {
            blocks,
            order,
            seen,
        }
    }

    /// Notes that a block is there; tells whether it should be.
    fn see(&mut self, block: (Hash, u64)) -> bool {
        let blocks = &self.blocks;
        let found = self
            .order
            .binary_search_by_key(&Some(block), |at| blocks.get(*at as usize));
        let Ok(at) = found else { return false };
        if let Some(seen) = self.seen.get_mut(at) {
            *seen = true;
        }
        true
    }

    /// The blocks that were not there.
    fn unseen(&self) -> impl Iterator<Item = (Hash, u64)> + '_ {
        let not_seen = self
            .order
            .iter()
            .zip(&self.seen)
            .filter(|(_, seen)| !**seen);
        not_seen.filter_map(|(at, _)| self.blocks.get(*at as usize))
    }
}
