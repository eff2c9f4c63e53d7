//! Checking one volume: its bytes, its directory, and all that is in it.

use std::collections::HashSet;

use larder_catalog::VolumeRow;
use larder_volume::{
    ArchiveReader, FILELIST_ENTRY, Hash, IndexReader, Repeated, Unpacker, VolumeKind,
    parse_block_entry,
};

use super::whole::Waiting;
use super::{Described, Examined};
use crate::Result;
use crate::data::VolumeData;
use crate::error::VolumeContext;
use crate::phases::Ready;
use crate::report::Finding;
use crate::settings::VerifyDepth;
use crate::sync::{RemoteVolume, describe};
use crate::words::{counted, verb};

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
        };
        let recorded_size = row.and_then(|r| r.size);
        let data = self.remote.get(name, volume.size)?;
        if let Some(expected) = recorded_size
            && expected != data.len()
        {
            outcome.findings.push(Finding {
                kind: "Modified",
                detail: format!("the file has {} bytes instead of {expected}", data.len()),
            });
        }
        if let Err(error) = self.check_hash(&volume.name, &data, row.and_then(|r| r.hash)) {
            outcome.findings.push(Finding {
                kind: "Modified",
                detail: describe(&error),
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
                if archive.find(FILELIST_ENTRY).is_none() {
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
        let expected: HashSet<(Hash, u64)> = match row {
            Some(row) => self
                .catalog(|c| c.blocks_of_volume(row.id))?
                .into_iter()
                .collect(),
            None => HashSet::new(),
        };
        let (mut unpacker, mut buffer) = (Unpacker::new(), Vec::new());
        let mut seen = HashSet::with_capacity(expected.len());
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
                    if !expected.contains(&key) && row.is_some() {
                        outcome.findings.push(Finding {
                            kind: "Extra",
                            detail: format!("block {hash}"),
                        });
                    }
                    seen.insert(key);
                }
                Ok(()) => {
                    named.insert(hash);
                    outcome.findings.push(Finding {
                        kind: "Modified",
                        detail: format!("block {hash} does not match its name"),
                    });
                }
                Err(error) => {
                    named.insert(hash);
                    outcome.findings.push(Finding {
                        kind: "Error",
                        detail: format!("block {hash}: {error}"),
                    });
                }
            }
        }
        for key in expected.difference(&seen) {
            outcome.lost.push(*key);
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
        let described = volumes.iter().flat_map(|volume| &volume.blocks).copied();
        let blocks: HashSet<(Hash, u64)> = described.collect();
        let read = reader.blocklists(&blocks, u64::MAX, |found| {
            if let Repeated::Wrong(text) = found {
                outcome.findings.push(Finding {
                    kind: "Modified",
                    detail: format!("the blocklist {text} does not match its name"),
                });
            }
        });
        read.in_volume(&name)?;
        for volume in volumes {
            let (name, finding) = match self.find_described(&volume.name) {
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
                blocks: volume.blocks,
            });
        }
        Ok(())
    }
}
