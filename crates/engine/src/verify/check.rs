//! Checking one volume: its bytes, its directory, and all that is in it.

use std::collections::HashSet;

use larder_catalog::VolumeRow;
use larder_volume::{
    ArchiveReader, FILELIST_ENTRY, Hash, LIST_FOLDER, Unpacker, VOL_FOLDER, VolumeKind,
    parse_block_entry, parse_block_volume,
};

use super::{Described, Outcome};
use crate::Result;
use crate::data::VolumeData;
use crate::error::VolumeContext;
use crate::report::Finding;
use crate::run::Run;
use crate::settings::Verification;
use crate::sync::{RemoteVolume, View, describe};

impl Run {
    /// Fetches a volume and checks it.
    pub(super) fn check_volume(
        &self,
        view: &View,
        volume: &RemoteVolume,
        row: Option<&VolumeRow>,
        everything: bool,
    ) -> Result<Outcome> {
        let name = volume.name.as_str();
        let mut outcome = Outcome {
            name: name.to_owned(),
            row: row.map(|r| r.id),
            findings: Vec::new(),
            lost: Vec::new(),
            described: Vec::new(),
        };
        let recorded_size = row.and_then(|r| r.size);
        let data = self.remote.get(name, None)?;
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
        if self.settings.verification == Verification::HashOnly {
            return Ok(outcome);
        }
        let archive = self.open_volume(&volume.name, data)?;
        if archive.recovered() {
            outcome.findings.push(Finding {
                kind: "Modified",
                detail: "its directory is damaged".into(),
            });
        }
        match volume.name.kind() {
            VolumeKind::Blocks => self.check_blocks(&archive, row, &mut outcome)?,
            VolumeKind::Index => self.check_index(view, &archive, &mut outcome)?,
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
                    self.entries_of(&archive, name, |entry| {
                        lists.extend(entry.blocklists.iter().chain(&entry.metablocklists));
                        Ok(())
                    })?;
                    self.load_blocklists(lists)?;
                }
                let mut unknown = 0_u64;
                self.entries_of(&archive, name, |entry| {
                    if !self.entry_is_whole(&entry, &HashSet::new())? {
                        unknown += 1;
                    }
                    Ok(())
                })?;
                if unknown > 0 {
                    outcome.findings.push(Finding {
                        kind: "Missing",
                        detail: format!("{unknown} entries use blocks that are in no data file"),
                    });
                }
            }
        }
        self.remote.recycle(archive.into_source());
        Ok(outcome)
    }

    fn check_blocks(
        &self,
        archive: &ArchiveReader<VolumeData>,
        row: Option<&VolumeRow>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let format = self.format()?;
        let expected: HashSet<(Hash, u64)> = match row {
            Some(row) => self
                .catalog(|c| c.blocks_of_volume(row.id))?
                .into_iter()
                .collect(),
            None => HashSet::new(),
        };
        let (mut unpacker, mut buffer) = (Unpacker::new(), Vec::new());
        let mut seen = HashSet::with_capacity(expected.len());
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
                    outcome.findings.push(Finding {
                        kind: "Modified",
                        detail: format!("block {hash} does not match its name"),
                    });
                }
                Err(error) => {
                    outcome.findings.push(Finding {
                        kind: "Error",
                        detail: format!("block {hash}: {error}"),
                    });
                }
            }
        }
        for key in expected.difference(&seen) {
            outcome.lost.push(*key);
            if !outcome
                .findings
                .iter()
                .any(|f| f.detail.contains(&key.0.to_base64()))
            {
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
        view: &View,
        archive: &ArchiveReader<VolumeData>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let format = self.format()?;
        for entry in archive.entries() {
            if let Some(described) = entry.name.strip_prefix(VOL_FOLDER) {
                let bytes = archive.read(entry, 1 << 30).in_volume(&outcome.name)?;
                let volume = parse_block_volume(described, &bytes).in_volume(&outcome.name)?;
                let (name, finding) = match self.find_described(view, described) {
                    None => (
                        described,
                        Finding {
                            kind: "Missing",
                            detail: format!(
                                "{} describes it, but it is not in the destination",
                                outcome.name
                            ),
                        },
                    ),
                    Some(present) => match (volume.size, present.size) {
                        (Some(a), Some(b)) if a != b => (
                            present.name.as_str(),
                            Finding {
                                kind: "Modified",
                                detail: format!(
                                    "the file has {b} bytes instead of {a} as {} says",
                                    outcome.name
                                ),
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
            } else if let Some(text) = entry.name.strip_prefix(LIST_FOLDER) {
                let bytes = archive
                    .read(entry, format.blocksize)
                    .in_volume(&outcome.name)?;
                if Hash::parse_url_base64(text).ok() != Some(format.block_hash.digest(&bytes)) {
                    outcome.findings.push(Finding {
                        kind: "Modified",
                        detail: format!("the blocklist {text} does not match its name"),
                    });
                }
            }
        }
        Ok(())
    }
}
