//! Checking what is stored: samples after each backup, everything on request.
//!
//! Each volume is fetched, its size and hash compared, decrypted, opened; every block in it is hashed and compared with
//! its name and with what the index says; lists are parsed whole and their blocks looked up. Damage does not end the
//! check: every damaged volume is named, with the versions and files it hurts.

mod check;
mod harm;

use std::collections::{HashMap, HashSet};

use larder_catalog::{LossKind, VolumeRow};
use larder_destination::ErrorKind;
use larder_volume::{Hash, VolumeKind};

use crate::context::Phase;
use crate::error::Reach;
use crate::losses::{BadCopies, damage};
use crate::phases::Ready;
use crate::report::{Finding, Outcome, TestReport, Verification};
use crate::run::Run;
use crate::settings::VerifyDepth;
use crate::settle::is_stored;
use crate::sync::{Mode, Need, RemoteVolume, describe};
use crate::versions::DefaultVersions;
use crate::volumes::StoredVolume;
use crate::words::{counted, verb};
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
struct Examined {
    name: String,
    row: Option<i64>,
    findings: Vec<Finding>,
    /// Blocks that cannot be had from this volume.
    lost: Vec<(Hash, u64)>,
    /// Volumes that an index describes and that are not there, or not with that length.
    described: Vec<Described>,
    /// All that it holds was read, not its hash alone.
    content_read: bool,
    /// No restore takes anything from it.
    is_refused: bool,
}

/// What an index says about a volume that is not as it says.
struct Described {
    name: String,
    finding: Finding,
    blocks: Vec<(Hash, u64)>,
    /// It is over when all of its blocks are stored, and only told when everything is asked for.
    may_be_over: bool,
    /// An index describes it, and it is not there.
    is_gone: bool,
}

impl Run {
    /// Checks samples or all volumes.
    ///
    /// # Errors
    /// When the destination cannot be read at all. Damage is in the report.
    pub fn test(&self, samples: Samples) -> Result<TestReport> {
        self.with_healing(|| {
            let (ready, mut losses) = self.ready_with_losses(Mode::Reading, Need::Blocks)?;
            ready.all_versions()?;
            self.reporter.phase(Phase::Verifying);
            let mut chosen = ready.choose(samples, &HashSet::new())?;
            ready.add_damaged_lists(&mut chosen)?;
            // The others are told as findings.
            losses.retain(|loss| {
                let is_chosen = |volume: &RemoteVolume| volume.name.as_str() == loss.name;
                matches!(loss.what, LossKind::Damaged(_)) && !chosen.iter().any(is_chosen)
            });
            ready.tell_losses(&losses)?;
            ready.tell_without_index()?;
            ready.check_volumes(chosen, samples == Samples::All)
        })
    }
}

impl Ready<'_> {
    /// The check of what is stored after a backup; trouble with it must not hide what was stored.
    pub(crate) fn after_backup(
        &mut self,
        stored: &[StoredVolume],
        wrote: bool,
    ) -> Option<TestReport> {
        let checked = self.cancel.check();
        match checked.and_then(|()| self.verify_after_backup(stored, wrote)) {
            Ok(report) => report,
            Err(Error::Cancelled) => {
                self.reporter.warn(
                    "Stopped",
                    "stopped on request before everything was verified; what was stored is complete",
                );
                None
            }
            // What is stored is stored: trouble that comes later must not hide its report.
            Err(error) => {
                self.reporter.warn(
                    "VerificationStopped",
                    format!(
                        "everything was stored, but checking it ended early: {}",
                        describe(&error)
                    ),
                );
                None
            }
        }
    }

    /// List check and samples after a backup. The destination is listed anew when something was sent.
    fn verify_after_backup(
        &mut self,
        stored: &[StoredVolume],
        wrote: bool,
    ) -> Result<Option<TestReport>> {
        if !self.settings.backend_verification || self.settings.dry_run {
            return Ok(None);
        }
        self.reporter.phase(Phase::Verifying);
        if wrote || !stored.is_empty() {
            let view = self.list_once_more()?;
            for volume in stored {
                match view.find(&volume.name) {
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
                    // Listings of some services lag behind.
                    None if !self.remote.lists_at_once() => self
                        .reporter
                        .info("NotListedYet", format!("{} is not listed yet", volume.name)),
                    None => self.reporter.error(
                        "MissingFile",
                        format!("{} is not listed after its upload", volume.name),
                    ),
                }
            }
            self.list_again(view)?;
        }
        let count = self.sample_count()?;
        if count == 0 {
            return Ok(None);
        }
        // What is known already is told at the beginning of each run.
        let noted = self.noted_losses()?;
        let hurt = self.hurt_times()?;
        let mut told = noted.clone();
        for (time, list) in self.view.lists() {
            if hurt.contains(&time.0) {
                told.insert(list.name.as_str().to_owned());
            }
        }
        let chosen = self.choose(Samples::Count(count), &told)?;
        let mut report = self.check_volumes(chosen, false)?;
        let known = |checked: &Verification| noted.contains(&checked.file);
        report.verifications.retain(|checked| !known(checked));
        report.harm.retain(|harm| !noted.contains(&harm.file));
        // It takes nothing from what was stored.
        let (renamed, others) = report.verifications.into_iter().partition(is_renamed);
        report.verifications = others;
        for Verification { file, .. } in renamed {
            let text = format!("{file}: {}", crate::identity::renamed());
            self.reporter.warn("RenamedList", text);
        }
        if report.damaged() == 0 {
            report.common.parsed_result = self.common("Test", false).parsed_result;
        }
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

    /// The volumes to check: per kind those never or least often checked first, without those in `but`.
    fn choose(&self, samples: Samples, but: &HashSet<String>) -> Result<Vec<RemoteVolume>> {
        let rows: HashMap<String, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|r| (r.name.clone(), r))
            .collect();
        let chosen_lists: Option<HashSet<String>> =
            if self.values.is_set(larder_options::engine::VERSION)
                || self.values.is_set(larder_options::engine::TIME)
            {
                let versions = self.chosen_versions(DefaultVersions::All)?;
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
                VerifyDepth::IndexesOnly => kind == VolumeKind::Index,
                VerifyDepth::ListAndIndexes => kind != VolumeKind::Blocks,
                VerifyDepth::Full | VerifyDepth::HashOnly => true,
            };
            if !wanted {
                continue;
            }
            let mut candidates: Vec<(u32, u64, &RemoteVolume)> = self
                .view
                .volumes
                .values()
                .filter(|v| v.name.kind() == kind && !but.contains(v.name.as_str()))
                // What is being sent or removed is no part of the backup.
                .filter(|v| rows.get(v.name.as_str()).is_none_or(is_stored))
                // What lies in a cold tier cannot be fetched; that it is listed with its size is all there is to see.
                .filter(|v| !v.is_archived)
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

    /// Adds the lists that were found damaged: whoever brought one back is told that it is whole.
    fn add_damaged_lists(&self, chosen: &mut Vec<RemoteVolume>) -> Result<()> {
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::List
                && let Some(volume) = self.view.find(&loss.name)
                && !volume.is_archived
                && chosen.iter().all(|known| known.name != volume.name)
            {
                chosen.push(volume.clone());
            }
        }
        Ok(())
    }

    /// Says which data files have no index. Nothing is lost with it; but a catalog that is built anew has to read them whole.
    fn tell_without_index(&self) -> Result<()> {
        let missing = self.without_index()?;
        let Some(first) = missing.first() else {
            return Ok(());
        };
        let others = match missing.len() as u64 - 1 {
            0 => String::new(),
            others => format!(" and {}", counted(others, "other data file")),
        };
        self.reporter.info(
            "MissingIndex",
            format!(
                "{}{others} {} no index file: nothing is lost, and `larder repair` writes {}",
                first.name,
                verb(missing.len() as u64, "has", "have"),
                verb(missing.len() as u64, "it", "them"),
            ),
        );
        Ok(())
    }

    fn shuffled(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.random.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    fn check_volumes(&self, volumes: Vec<RemoteVolume>, everything: bool) -> Result<TestReport> {
        let rows: HashMap<String, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|r| (r.name.clone(), r))
            .collect();
        let mut outcomes: Vec<Examined> = Vec::new();
        for_each_parallel(
            self.settings.threads,
            volumes,
            |volume| {
                self.cancel.check()?;
                let row = rows.get(volume.name.as_str());
                let mut checked = self.check_volume(&volume, row, everything);
                // It may have been damaged on its way; when it does not come again, the first look counts.
                if is_damaged(&checked) {
                    match self.check_volume(&volume, row, everything) {
                        Err(error) if error.reach() == Reach::Run => {}
                        again => checked = again,
                    }
                }
                match checked {
                    Ok(outcome) => Ok(Some(outcome)),
                    Err(error) if is_archived(&error) => {
                        self.reporter.info(
                            "RemoteFileArchived",
                            format!(
                                "{} lies in a cold tier and was not looked at",
                                volume.name.as_str()
                            ),
                        );
                        Ok(None)
                    }
                    Err(error) if error.reach() == Reach::Volume => {
                        let lost = match row {
                            Some(row) if row.kind == VolumeKind::Blocks && error.is_damage() => {
                                self.blocks_of(row)?
                            }
                            _ => Vec::new(),
                        };
                        Ok(Some(Examined {
                            name: volume.name.as_str().to_owned(),
                            row: row.map(|r| r.id),
                            findings: vec![Finding {
                                kind: "Error",
                                detail: damage(&error),
                            }],
                            lost,
                            described: Vec::new(),
                            content_read: false,
                            is_refused: error.is_wrong_content(),
                        }))
                    }
                    Err(error) => Err(error),
                }
            },
            |outcome| {
                outcomes.extend(outcome);
                Ok(())
            },
        )?;
        self.note_outcomes(&outcomes, &rows)?;
        self.add_lost_volumes(&mut outcomes, everything)?;
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
        let harm = self.harm(&outcomes, everything)?;
        let mut report = TestReport {
            verifications: outcomes
                .into_iter()
                .map(|o| Verification {
                    file: o.name,
                    findings: o.findings,
                })
                .collect(),
            harm,
            common: self.common("Test", false),
        };
        if report.damaged() > 0 {
            report.common.parsed_result = Outcome::Error;
        }
        Ok(report)
    }

    /// Notes what cannot be had, and forgets what is whole again.
    fn note_outcomes(
        &self,
        outcomes: &[Examined],
        rows: &HashMap<String, VolumeRow>,
    ) -> Result<()> {
        for outcome in outcomes {
            let is_whole = outcome.content_read && outcome.findings.is_empty();
            if is_whole && self.catalog(|c| c.has_loss(&outcome.name))? {
                self.forget_loss(&outcome.name)?;
            }
            let Some(row) = rows.get(&outcome.name) else {
                continue;
            };
            let detail = outcome.findings.first().map(|f| f.detail.clone());
            if outcome.is_refused || row.kind == VolumeKind::Blocks {
                let what = LossKind::Damaged(detail.unwrap_or_default());
                self.note_damage(self.loss(row, what)?, &outcome.lost)?;
            }
        }
        Ok(())
    }

    /// Whether some volume has a good copy of each of these blocks.
    fn are_stored(&self, blocks: &[(Hash, u64)], bad: &BadCopies) -> Result<bool> {
        for block in blocks {
            let holders = self.catalog(|c| c.volumes_of_block(&block.0, block.1))?;
            if holders.iter().all(|holder| bad.holds(*holder, block)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says that an index describes a file that is not missed any more.
    fn tell_outlived(&self, described: &Described) {
        self.reporter.info(
            "IndexOutlived",
            format!(
                "{}: {}; all of its blocks are stored elsewhere, so nothing is lost, and `larder compact` removes the index",
                described.name, described.finding.detail
            ),
        );
    }

    /// Adds what the listing and the indexes tell about volumes that are gone or have another length. Of their blocks
    /// those count as lost that no volume is known to hold by now. What is over is told when `everything` is asked for.
    fn add_lost_volumes(&self, outcomes: &mut Vec<Examined>, everything: bool) -> Result<()> {
        let told = outcomes
            .iter_mut()
            .flat_map(|outcome| std::mem::take(&mut outcome.described));
        let told: Vec<Described> = told.collect();
        let mut lost: Vec<Described> = Vec::new();
        let losses = self.catalog(|c| c.losses())?;
        // An index is written anew by the run that misses it.
        let gone = self.view.vanished.iter();
        let gone = gone.filter(|(_, kind)| everything || *kind != VolumeKind::Index);
        let gone = gone.map(|(name, _)| (name, missing()));
        let resized = self.view.resized.iter();
        let resized = resized.map(|(name, found, expected)| (name, resized_to(*found, *expected)));
        // What another program replaced is not missed.
        let gone = gone.filter(|_| !self.view.written_by_others);
        for (name, finding) in gone.chain(resized) {
            // A loss is told with its blocks, below.
            if losses.iter().all(|loss| loss.name != *name) {
                lost.push(Described {
                    name: name.clone(),
                    finding,
                    blocks: Vec::new(),
                    may_be_over: false,
                    is_gone: false,
                });
            }
        }
        let bad = self.bad_copies()?;
        for loss in losses {
            let blocks = self.missed_blocks(&loss, &bad)?;
            let finding = match &loss.what {
                LossKind::Gone => missing(),
                LossKind::Resized(found) => resized_to(*found, loss.size.unwrap_or_default()),
                // Looked at just now, or nothing of it is missed any more.
                LossKind::Damaged(_)
                    if (blocks.is_empty() && loss.kind == VolumeKind::Blocks)
                        || outcomes.iter().any(|o| o.name == loss.name) =>
                {
                    continue;
                }
                LossKind::Damaged(detail) => Finding {
                    kind: "Error",
                    detail: format!("{detail} (found by an earlier run)"),
                },
            };
            lost.push(Described {
                finding,
                blocks,
                may_be_over: matches!(loss.what, LossKind::Resized(_))
                    && loss.kind == VolumeKind::Blocks,
                is_gone: false,
                name: loss.name,
            });
        }
        // What indexes say comes last: that a file is gone is said once, by the listing.
        for described in told {
            if described.is_gone && self.are_stored(&described.blocks, &bad)? {
                self.tell_outlived(&described);
            } else {
                lost.push(described);
            }
        }
        for volume in lost {
            let mut blocks = volume.blocks;
            let found = self.catalog(|c| c.find_blocks(&blocks))?;
            let mut found = found.iter();
            blocks.retain(|_| found.next().is_some_and(Option::is_none));
            if volume.may_be_over && blocks.is_empty() && !everything {
                continue;
            }
            match outcomes.iter_mut().find(|o| o.name == volume.name) {
                Some(outcome) => {
                    // The listing, a noted loss and an index may all say that it is gone.
                    let kind = volume.finding.kind;
                    if outcome.findings.iter().all(|known| known.kind != kind) {
                        outcome.findings.push(volume.finding);
                    }
                    outcome.lost.extend(blocks);
                }
                None => outcomes.push(Examined {
                    name: volume.name,
                    row: None,
                    findings: vec![volume.finding],
                    lost: blocks,
                    described: Vec::new(),
                    content_read: false,
                    is_refused: false,
                }),
            }
        }
        Ok(())
    }
}

/// True when a volume did not come as it was stored.
fn is_damaged(checked: &Result<Examined>) -> bool {
    match checked {
        Ok(outcome) => {
            let bad = |finding: &Finding| matches!(finding.kind, "Modified" | "Error");
            outcome.findings.iter().any(bad)
        }
        Err(error) => error.is_wrong_content(),
    }
}

/// True for a list of which nothing is wrong but its name.
fn is_renamed(checked: &Verification) -> bool {
    let text = crate::identity::renamed().to_string();
    !checked.findings.is_empty() && checked.findings.iter().all(|found| found.detail == text)
}

/// True for a file that its service keeps in a cold tier: it is whole as far as anybody can say.
fn is_archived(error: &Error) -> bool {
    matches!(error, Error::Destination(error) if *error.kind() == ErrorKind::Archived)
}

/// What is said of a volume that is gone.
fn missing() -> Finding {
    Finding {
        kind: "Missing",
        detail: "the file is not in the destination any more".into(),
    }
}

/// What is said of a volume of another length.
fn resized_to(found: u64, expected: u64) -> Finding {
    Finding {
        kind: "Modified",
        detail: format!("the file has {found} bytes instead of {expected}"),
    }
}
