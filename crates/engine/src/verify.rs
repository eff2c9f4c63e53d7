//! Checking what is stored: samples after each backup, everything on request.
//!
//! Each volume is fetched, its size and hash compared, decrypted, opened; every block in it is hashed and compared with
//! its name and with what the index says; lists are parsed whole and their blocks looked up. Damage does not end the
//! check: every damaged volume is named, with the versions and files it hurts.

use std::collections::{BTreeMap, HashMap, HashSet};

use larder_catalog::VolumeRow;
use larder_volume::{
    FileListReader, Hash, Unpacker, VolumeKind, VolumeName, hashes_per_blocklist,
    parse_block_entry, parse_block_volume,
};

use crate::backup::Stored;
use crate::context::Phase;
use crate::error::VolumeContext;
use crate::report::{Finding, Harm, Outcome as Parsed, TestReport, Verification as Checked};
use crate::session::Engine;
use crate::settings::Verification;
use crate::settle::LostKind;
use crate::sync::{Mode, Need, RemoteVolume, View, describe};
use crate::versions::{Unsaid, Version};
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// How many volumes to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// So many of each kind, the least often checked first.
    Count(u64),
    /// Every volume.
    All,
}

/// What checking one volume gave.
struct Outcome {
    name: String,
    row: Option<i64>,
    findings: Vec<Finding>,
    /// Blocks that cannot be had from this volume.
    lost: Vec<(Hash, u64)>,
    /// Volumes that an index describes and that are not there, or not with that length.
    described: Vec<Described>,
}

/// What an index says about a volume that is not as it says.
struct Described {
    name: String,
    finding: Finding,
    blocks: Vec<(Hash, u64)>,
}

/// Paths named for one damaged volume.
const NAMED_PATHS: usize = 100;

impl Engine {
    /// Checks samples or all volumes.
    ///
    /// # Errors
    /// When the destination cannot be read at all. Damage is in the report.
    pub fn test(&self, samples: Samples) -> Result<TestReport> {
        self.with_healing(|| {
            let view = self.synchronise(Mode::Reading, Need::Blocks)?;
            if view.volumes.is_empty() {
                self.all_versions(&view)?;
            }
            self.reporter.phase(Phase::Verifying);
            let chosen = self.choose(&view, samples)?;
            self.check_volumes(&view, chosen, samples == Samples::All)
        })
    }

    /// List check and samples after a backup. `view` is what was there before it; it does when nothing was sent.
    pub(crate) fn verify_after_backup(
        &self,
        stored: &[Stored],
        wrote: bool,
        view: View,
    ) -> Result<Option<TestReport>> {
        if !self.settings.backend_verification || self.settings.dry_run {
            return Ok(None);
        }
        self.reporter.phase(Phase::Verifying);
        let view = if wrote || !stored.is_empty() {
            let view = self.view(false)?;
            for volume in stored {
                match view.volumes.get(&volume.name) {
                    Some(found) if found.size.is_none_or(|size| size == volume.size) => {}
                    Some(found) => self.reporter.error(
                        "RemoteSizeChanged",
                        format!(
                            "{} is listed with {} bytes instead of {}",
                            volume.name,
                            found.size.unwrap_or(0),
                            volume.size
                        ),
                    ),
                    None => self.reporter.error(
                        "MissingFile",
                        format!("{} is not listed after its upload", volume.name),
                    ),
                }
            }
            view
        } else {
            view
        };
        let count = self.sample_count()?;
        if count == 0 {
            return Ok(None);
        }
        let chosen = self.choose(&view, Samples::Count(count))?;
        let report = self.check_volumes(&view, chosen, false)?;
        for checked in report
            .verifications
            .iter()
            .filter(|v| !v.findings.is_empty())
        {
            for finding in &checked.findings {
                self.reporter.error(
                    "TestFailed",
                    format!("{}: {}: {}", checked.file, finding.kind, finding.detail),
                );
            }
        }
        Ok(Some(report))
    }

    fn sample_count(&self) -> Result<u64> {
        let mut counts: HashMap<VolumeKind, u64> = HashMap::new();
        for row in self.catalog(|c| c.volumes())? {
            *counts.entry(row.kind).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        let share = (most as f64 * self.settings.sample_percentage / 100.0).round();
        let share = if share.is_finite() && share > 0.0 {
            share as u64
        } else {
            0
        };
        Ok(self
            .settings
            .samples
            .max(if self.settings.samples == 0 { 0 } else { share }))
    }

    /// The volumes to check: per kind those never or least often checked first.
    fn choose(&self, view: &View, samples: Samples) -> Result<Vec<RemoteVolume>> {
        let rows: HashMap<String, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|r| (r.name.clone(), r))
            .collect();
        let chosen_lists: Option<HashSet<String>> =
            if self.values.is_set(larder_options::engine::VERSION)
                || self.values.is_set(larder_options::engine::TIME)
            {
                let versions = self.chosen_versions(view, Unsaid::All)?;
                Some(
                    versions
                        .into_iter()
                        .map(|v| v.volume.name.as_str().to_owned())
                        .collect(),
                )
            } else {
                None
            };
        let mut chosen = Vec::new();
        for kind in [VolumeKind::List, VolumeKind::Index, VolumeKind::Blocks] {
            let wanted = match self.settings.verification {
                Verification::IndexesOnly => kind == VolumeKind::Index,
                Verification::ListAndIndexes => kind != VolumeKind::Blocks,
                Verification::Full | Verification::HashOnly => true,
            };
            if !wanted {
                continue;
            }
            let mut candidates: Vec<(u32, u64, &RemoteVolume)> = view
                .volumes
                .values()
                .filter(|v| v.name.kind() == kind)
                .filter(|v| {
                    kind != VolumeKind::List
                        || chosen_lists
                            .as_ref()
                            .is_none_or(|chosen| chosen.contains(v.name.as_str()))
                })
                .map(|v| {
                    (
                        rows.get(v.name.as_str()).map_or(0, |r| r.verified),
                        self.shuffled(),
                        v,
                    )
                })
                .collect();
            candidates
                .sort_by(|a, b| (a.0, a.1, a.2.name.as_str()).cmp(&(b.0, b.1, b.2.name.as_str())));
            let all_named = kind == VolumeKind::List && chosen_lists.is_some();
            let count = match samples {
                Samples::All => candidates.len(),
                Samples::Count(_) if all_named => candidates.len(),
                Samples::Count(n) => usize::try_from(n).unwrap_or(usize::MAX),
            };
            chosen.extend(
                candidates
                    .into_iter()
                    .take(count)
                    .map(|(_, _, v)| v.clone()),
            );
        }
        Ok(chosen)
    }

    fn shuffled(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.rng.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    fn check_volumes(
        &self,
        view: &View,
        volumes: Vec<RemoteVolume>,
        everything: bool,
    ) -> Result<TestReport> {
        let rows: HashMap<String, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|r| (r.name.clone(), r))
            .collect();
        let mut outcomes: Vec<Outcome> = Vec::new();
        for_each_parallel(
            self.settings.threads,
            volumes,
            |volume| {
                self.cancel.check()?;
                let row = rows.get(volume.name.as_str());
                match self.check_volume(view, &volume, row, everything) {
                    Ok(outcome) => Ok(outcome),
                    Err(error @ (Error::Volume { .. } | Error::Destination(_))) => {
                        let lost = match row {
                            Some(row) if row.kind == VolumeKind::Blocks => {
                                self.catalog(|c| c.blocks_of_volume(row.id))?
                            }
                            _ => Vec::new(),
                        };
                        Ok(Outcome {
                            name: volume.name.as_str().to_owned(),
                            row: row.map(|r| r.id),
                            findings: vec![Finding {
                                kind: "Error",
                                detail: describe(&error),
                            }],
                            lost,
                            described: Vec::new(),
                        })
                    }
                    Err(error) => Err(error),
                }
            },
            |outcome| {
                outcomes.push(outcome);
                Ok(())
            },
        )?;
        self.add_lost_volumes(view, &mut outcomes)?;
        outcomes.sort_by(|a, b| a.name.cmp(&b.name));
        self.catalog(|c| {
            c.batch(|c| {
                for outcome in outcomes.iter().filter(|o| o.findings.is_empty()) {
                    if let Some(row) = outcome.row {
                        c.count_verification(row)?;
                    }
                }
                Ok(())
            })
        })?;
        let harm = self.harm(view, &outcomes, everything)?;
        let mut report = TestReport {
            verifications: outcomes
                .into_iter()
                .map(|o| Checked {
                    file: o.name,
                    findings: o.findings,
                })
                .collect(),
            harm,
            common: self.common("Test", false),
        };
        if report.damaged() > 0 {
            report.common.parsed_result = Parsed::Error;
        }
        Ok(report)
    }

    /// Adds what the listing and the indexes tell about volumes that are gone or have another length. Of their blocks
    /// those count as lost that no volume is known to hold by now.
    fn add_lost_volumes(&self, view: &View, outcomes: &mut Vec<Outcome>) -> Result<()> {
        let told = outcomes
            .iter_mut()
            .flat_map(|outcome| std::mem::take(&mut outcome.described));
        let mut lost: Vec<Described> = told.collect();
        lost.extend(view.lost.iter().map(|lost| Described {
            name: lost.name.clone(),
            finding: match lost.what {
                LostKind::Gone => Finding {
                    kind: "Missing",
                    detail: "the file is not in the destination any more".into(),
                },
                LostKind::Resized { found, expected } => Finding {
                    kind: "Modified",
                    detail: format!("the file has {found} bytes instead of {expected}"),
                },
            },
            blocks: lost.blocks.clone(),
        }));
        for volume in lost {
            let mut blocks = volume.blocks;
            let found = self.catalog(|c| c.find_blocks(&blocks))?;
            let mut found = found.iter();
            blocks.retain(|_| found.next().is_some_and(Option::is_none));
            match outcomes.iter_mut().find(|o| o.name == volume.name) {
                Some(outcome) => {
                    outcome.findings.push(volume.finding);
                    outcome.lost.extend(blocks);
                }
                None => outcomes.push(Outcome {
                    name: volume.name,
                    row: None,
                    findings: vec![volume.finding],
                    lost: blocks,
                    described: Vec::new(),
                }),
            }
        }
        Ok(())
    }

    fn check_volume(
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
                let Some(entry) = archive.find("filelist.json") else {
                    outcome.findings.push(Finding {
                        kind: "Missing",
                        detail: "filelist.json".into(),
                    });
                    return Ok(outcome);
                };
                if everything {
                    // Blocks of large files are known only through their blocklists.
                    let mut lists = Vec::new();
                    for entry in FileListReader::open(archive.stream(entry).in_volume(name)?) {
                        self.cancel.check()?;
                        let entry = entry.in_volume(name)?;
                        lists.extend(entry.blocklists.iter().chain(&entry.metablocklists));
                    }
                    self.load_blocklists(lists)?;
                }
                let mut unknown = 0_u64;
                for entry in FileListReader::open(archive.stream(entry).in_volume(name)?) {
                    self.cancel.check()?;
                    if !self.entry_is_whole(&entry.in_volume(name)?, &HashSet::new())? {
                        unknown += 1;
                    }
                }
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
        archive: &larder_volume::ArchiveReader<crate::data::VolumeData>,
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
        archive: &larder_volume::ArchiveReader<crate::data::VolumeData>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let format = self.format()?;
        for entry in archive.entries() {
            if let Some(described) = entry.name.strip_prefix("vol/") {
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
            } else if let Some(text) = entry.name.strip_prefix("list/") {
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

    /// True when every block of an entry is in some volume and not among the lost ones.
    pub(crate) fn entry_is_whole(
        &self,
        entry: &larder_volume::FileEntry,
        lost: &HashSet<(Hash, u64)>,
    ) -> Result<bool> {
        Ok(self.first_missing(entry, lost)?.is_none())
    }

    /// The first block of an entry that cannot be had.
    fn first_missing(
        &self,
        entry: &larder_volume::FileEntry,
        lost: &HashSet<(Hash, u64)>,
    ) -> Result<Option<(Hash, u64)>> {
        let format = self.format()?;
        let mut wanted: Vec<(Hash, u64)> = Vec::new();
        let same = format.block_hash == format.file_hash;
        let mut stream =
            |size: i64, block: Option<Hash>, full: Option<Hash>, lists: &[Hash]| -> Result<()> {
                let size = u64::try_from(size).unwrap_or(0);
                if size == 0 {
                    return Ok(());
                }
                if lists.is_empty() {
                    // With two algorithms a full hash finds no block: such an entry cannot be restored.
                    let known = block.or(full.filter(|_| same)).map(|hash| (hash, size));
                    wanted.extend(known.or(full.map(|hash| (hash, 0))));
                    return Ok(());
                }
                let (mut left, mut all_read) = (size, true);
                let of_full_list = format.blocksize.saturating_mul(hashes_per_blocklist(
                    format.blocksize,
                    format.block_hash.len(),
                ));
                for list in lists {
                    match self.catalog(|c| c.blocklist(list))? {
                        Some(bytes) => {
                            for raw in bytes.chunks(format.block_hash.len()) {
                                let len = left.min(format.blocksize);
                                left -= len;
                                wanted.extend(Hash::from_bytes(raw).ok().map(|hash| (hash, len)));
                            }
                        }
                        // Not repeated by an index: at least the list itself must exist.
                        None => {
                            all_read = false;
                            left = left.saturating_sub(of_full_list);
                            let found = self.catalog(|c| c.find_blocks_by_hash(list))?;
                            match found.first() {
                                Some((size, _)) => wanted.push((*list, *size)),
                                None => wanted.push((*list, 0)),
                            }
                        }
                    }
                }
                // Lists that are too short make no whole stream.
                if all_read && left > 0 {
                    wanted.extend(lists.last().map(|list| (*list, 0)));
                }
                Ok(())
            };
        stream(
            entry.metasize,
            entry.metablockhash,
            entry.metahash,
            &entry.metablocklists,
        )?;
        if entry.kind == larder_volume::EntryKind::File {
            stream(entry.size, entry.blockhash, entry.hash, &entry.blocklists)?;
        }
        for key in wanted {
            if lost.contains(&key) {
                return Ok(Some(key));
            }
            if self.catalog(|c| c.find_block(&key.0, key.1))?.is_none() {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Which versions and files the damage hurts; every list is read when there is any.
    fn harm(&self, view: &View, outcomes: &[Outcome], everything: bool) -> Result<Vec<Harm>> {
        let mut owner: HashMap<(Hash, u64), String> = HashMap::new();
        for outcome in outcomes {
            for key in &outcome.lost {
                let copies = self.catalog(|c| c.volumes_of_block(&key.0, key.1))?;
                let elsewhere = copies.iter().any(|id| Some(*id) != outcome.row);
                if !elsewhere {
                    owner.insert(*key, outcome.name.clone());
                }
            }
        }
        let damaged_list = outcomes.iter().any(|o| {
            !o.findings.is_empty()
                && VolumeName::parse(&o.name, self.settings.case_insensitive)
                    .is_some_and(|n| n.kind() == VolumeKind::List)
        });
        if owner.is_empty() && !(everything && (damaged_list || self.blocks_may_be_missing()?)) {
            return Ok(Vec::new());
        }
        let lost: HashSet<(Hash, u64)> = owner.keys().copied().collect();
        let mut harm: BTreeMap<String, (Vec<u64>, Vec<String>, u64)> = BTreeMap::new();
        for version in self.all_versions(view)? {
            if let Err(error) = self.harm_of_version(&version, &lost, &owner, &mut harm) {
                match error {
                    Error::Volume { .. } | Error::Destination(_) => {
                        let place = harm
                            .entry(version.volume.name.as_str().to_owned())
                            .or_default();
                        place.0.push(version.number);
                    }
                    other => return Err(other),
                }
            }
        }
        Ok(harm
            .into_iter()
            .map(|(file, (versions, paths, path_count))| Harm {
                file,
                versions,
                paths,
                path_count,
            })
            .collect())
    }

    fn harm_of_version(
        &self,
        version: &Version,
        lost: &HashSet<(Hash, u64)>,
        owner: &HashMap<(Hash, u64), String>,
        harm: &mut BTreeMap<String, (Vec<u64>, Vec<String>, u64)>,
    ) -> Result<()> {
        self.each_entry(version, |entry| {
            if let Some(key) = self.first_missing(&entry, lost)? {
                let file = owner
                    .get(&key)
                    .cloned()
                    .unwrap_or_else(|| "(a data file that is gone)".to_owned());
                let (versions, paths, count) = harm.entry(file).or_default();
                if versions.last() != Some(&version.number) {
                    versions.push(version.number);
                }
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                *count += 1;
                if paths.len() < NAMED_PATHS && !paths.contains(&path) {
                    paths.push(path);
                }
            }
            Ok(())
        })
    }
}
