//! Getting space back: data volumes that no version uses go, and what is used of wasteful and of small ones moves to new
//! volumes.
//!
//! What versions use is known from the lists of all of them. While one cannot be read, nothing goes. Order: the new
//! volume, its index, both noted; then the old volumes, noted as going before they go; their indexes last. Whoever stops
//! a run, or kills it, has every block at least once. The next run decides anew, so it goes on where this one ended.

mod copy;
mod plan;
mod removal;
mod survey;

use larder_catalog::VolumeRow;
use larder_options::engine as opt;
use larder_options::value::format_size;
use larder_volume::VolumeKind;

use self::plan::{Plan, Rules, is_many, plan};
use self::survey::{Survey, Volume};
use crate::context::{Level, Phase};
use crate::notes::VOLUME_SIZE;
use crate::phases::Ready;
use crate::report::{CompactReport, CompactResults, DeletedVersion};
use crate::run::Run;
use crate::settings::MIN_DBLOCK_BYTES;
use crate::settle::is_stored;
use crate::sync::{Mode, Need, describe};
use crate::versions::Version;
use crate::volumes::StoredVolume;
use crate::words::counted;
use crate::{Error, Result};

/// Catalog parameter: when volumes were last compacted, in seconds since 1970.
const LAST_COMPACT: &str = "last-compact";

/// What a compaction goes by.
struct Scope {
    /// The versions that there are.
    versions: Vec<Version>,
    /// How it is said when nothing goes for a reason.
    level: Level,
}

impl Run {
    /// Deletes data volumes that no version uses, and joins what is used of wasteful and small ones.
    ///
    /// # Errors
    /// Wrong options, no version, or a destination that cannot be used. What cannot be read stays as it is.
    pub fn compact(&self) -> Result<CompactReport> {
        self.with_healing(|| {
            let ready = self.ready(Mode::Writing, Need::Blocks)?;
            let versions = ready.stored_versions()?;
            if versions.is_empty() {
                // Says why.
                ready.all_versions()?;
            }
            let results = ready.compact_volumes(&Scope {
                versions,
                level: Level::Warning,
            })?;
            Ok(CompactReport {
                results,
                common: self.common("Compact", self.cancel.is_cancelled()),
            })
        })
    }
}

impl Ready<'_> {
    /// The versions whose lists are neither on their way nor going, newest first.
    pub(crate) fn stored_versions(&self) -> Result<Vec<Version>> {
        let rows = self.catalog(|c| c.volumes())?;
        let is_version = |name: &str| {
            let row = rows.iter().find(|row| row.name == name);
            row.is_none_or(is_stored)
        };
        let lists = self.view.lists().into_iter().enumerate();
        let versions = lists.map(|(number, (time, volume))| Version {
            number: number as u64,
            time,
            volume,
        });
        Ok(versions
            .filter(|version| is_version(version.volume.name.as_str()))
            .collect())
    }

    /// As [`Ready::compact_volumes`] after versions were deleted, or would be, when the options allow it and there may be
    /// something to gain; trouble with it must not hide what was done before.
    pub(crate) fn compact_after(&self, deleted: &[DeletedVersion]) -> Option<CompactResults> {
        self.tell_trouble(|| {
            if deleted.is_empty() || !self.is_due()? {
                return Ok(None);
            }
            let mut versions = self.stored_versions()?;
            versions.retain(|version| deleted.iter().all(|d| d.number != version.number));
            let level = Level::Information;
            let scope = Scope { versions, level };
            self.compact_volumes(&scope).map(Some)
        })
    }

    /// The same after a run of which the listing does not know yet: when it freed something, or stored a small volume and
    /// these are many.
    pub(crate) fn compact_when_due(
        &mut self,
        is_freed: bool,
        stored: &[StoredVolume],
    ) -> Option<CompactResults> {
        let is_due = self.tell_trouble(|| {
            let may_gain = is_freed || self.are_small_ones_many(stored)?;
            Ok(Some(may_gain && self.is_due()?))
        });
        if is_due != Some(true) {
            return None;
        }
        let view = self.tell_trouble(|| self.list_volumes(false).map(Some))?;
        self.list_again(view);
        self.tell_trouble(|| {
            let versions = self.stored_versions()?;
            let level = Level::Information;
            let scope = Scope { versions, level };
            self.compact_volumes(&scope).map(Some)
        })
    }

    /// Tells what went wrong as a warning.
    fn tell_trouble<T>(&self, work: impl FnOnce() -> Result<Option<T>>) -> Option<T> {
        match work() {
            Ok(done) => done,
            Err(Error::Cancelled) => {
                self.reporter.warn(
                    "Stopped",
                    "stopped on request before unused space was freed; everything else is done",
                );
                None
            }
            Err(error) => {
                self.reporter.warn(
                    "CompactFailed",
                    format!(
                        "unused space could not be freed: {}; everything else is done",
                        describe(&error)
                    ),
                );
                None
            }
        }
    }

    /// Whether the options let it happen by itself at this time.
    fn is_due(&self) -> Result<bool> {
        if self.values.get(opt::NO_AUTO_COMPACT)? || self.cancel.is_cancelled() {
            return Ok(false);
        }
        let interval = self.values.get(opt::AUTO_COMPACT_INTERVAL)?;
        let last = self.catalog(|c| c.param(LAST_COMPACT))?;
        let last = last.and_then(|last| last.parse::<i64>().ok());
        // A clock that was set back must not end it for ever.
        let now = self.clock.seconds();
        Ok(!last.is_some_and(|last| (last..last.saturating_add(interval)).contains(&now)))
    }

    /// Whether a run stored a small data volume and there are too many of them.
    fn are_small_ones_many(&self, stored: &[StoredVolume]) -> Result<bool> {
        let rows = self.catalog(|c| c.volumes())?;
        let data = rows.iter().filter(|row| row.kind == VolumeKind::Blocks);
        let sizes: Vec<u64> = data.clone().filter_map(|row| row.size).collect();
        let rules = self.compact_rules(&sizes)?;
        let small = data.filter(|row| row.size.is_some_and(|size| size <= rules.small));
        let is_new = |row: &VolumeRow| stored.iter().any(|stored| stored.name == row.name);
        if !small.clone().any(is_new) {
            return Ok(false);
        }
        let bytes = small.clone().filter_map(|row| row.size).sum();
        Ok(is_many(small.count() as u64, bytes, &rules))
    }

    /// The limits as the options say. A full volume is one of `--dblock-size`; when that is not given, one of the size that
    /// a backup was told the last time, or else of the largest one that is stored: otherwise a set of volumes of another
    /// size would be written anew as a whole.
    fn compact_rules(&self, sizes: &[u64]) -> Result<Rules> {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let told = self.catalog(|c| c.param(VOLUME_SIZE))?;
        let told = told.and_then(|told| told.parse::<u64>().ok());
        let largest = sizes.iter().copied().max();
        let largest = largest.filter(|largest| *largest >= MIN_DBLOCK_BYTES / 2);
        let volume = match self.values.is_set(opt::DBLOCK_SIZE) {
            true => self.settings.dblock_size,
            false => told.or(largest).unwrap_or(self.settings.dblock_size),
        };
        Ok(Rules {
            threshold: number(self.values.get(opt::THRESHOLD)?),
            volume,
            small: self
                .values
                .find(opt::SMALL_FILE_SIZE)?
                .unwrap_or(volume / 5),
            small_count: number(self.values.get(opt::SMALL_FILE_MAX_COUNT)?),
        })
    }

    /// Compacts what these versions need of the data volumes.
    ///
    /// # Errors
    /// Those of catalog and destination. What cannot be read or removed stays as it is.
    fn compact_volumes(&self, scope: &Scope) -> Result<CompactResults> {
        self.reporter.phase(Phase::Compacting);
        let held_back = |why: String| {
            self.reporter.say(
                scope.level,
                "CompactHeldBack",
                format!("no space is freed, since {why}"),
            );
            Ok(CompactResults {
                dryrun: self.settings.dry_run,
                held_back: Some(why),
                ..CompactResults::default()
            })
        };
        if let Some(why) = self.missing_list()? {
            return held_back(why);
        }
        let filesets = match self.filesets_of(&scope.versions)? {
            Ok(filesets) => filesets,
            Err(why) => return held_back(why),
        };
        let survey = match self.survey_volumes(&filesets)? {
            Ok(survey) => survey,
            Err(why) => return held_back(why),
        };
        let sizes: Vec<u64> = survey.volumes.iter().map(|v| v.held.stored).collect();
        let rules = self.compact_rules(&sizes)?;
        let held: Vec<_> = survey.volumes.iter().map(|volume| volume.held).collect();
        let mut plan = plan(&held, &rules);
        if survey.is_doubtful {
            // Some volume may hold what no index says, so each is read before it goes.
            plan.rewrite.append(&mut plan.unused);
        }
        let mut results = CompactResults {
            dryrun: self.settings.dry_run,
            data_files: survey.volumes.len() as u64,
            data_size: plan.blocks,
            wasted_size: plan.wasted,
            small_files: plan.small,
            ..CompactResults::default()
        };
        if self.settings.dry_run {
            self.tell_plan(&survey, &plan, &mut results)?;
            return Ok(results);
        }
        match self.carry_out(&survey, &plan, &rules, &mut results) {
            Err(Error::Cancelled)
                if results.uploaded_file_count + results.deleted_file_count > 0 =>
            {
                self.reporter.warn(
                    "Stopped",
                    "stopped on request; what was moved so far is complete, and the next run goes on",
                );
            }
            outcome => outcome?,
        }
        if results.deleted_file_count > 0 {
            self.reporter.info(
                "SpaceFreed",
                format!(
                    "{} of {} removed; {} of {} written for what is used of {}",
                    counted(results.deleted_file_count, "file"),
                    format_size(results.deleted_file_size),
                    counted(results.uploaded_file_count, "file"),
                    format_size(results.uploaded_file_size),
                    counted(results.downloaded_file_count, "data file"),
                ),
            );
        }
        let now = self.clock.seconds().to_string();
        self.catalog(|c| c.set_param(LAST_COMPACT, &now))?;
        Ok(results)
    }

    fn carry_out(
        &self,
        survey: &Survey,
        plan: &Plan,
        rules: &Rules,
        results: &mut CompactResults,
    ) -> Result<()> {
        let unused = plan.unused.iter().filter_map(|at| survey.volumes.get(*at));
        let unused: Vec<&Volume> = unused.collect();
        self.remove_volumes(&unused, results)?;
        let wanted = plan.rewrite.iter().filter_map(|at| survey.volumes.get(*at));
        self.rewrite(survey, wanted.collect(), rules, results)?;
        self.remove_lone_indexes(results)
    }

    /// What a dry run says: each volume that would go, and what would come.
    fn tell_plan(&self, survey: &Survey, plan: &Plan, results: &mut CompactResults) -> Result<()> {
        let say = |text: String| self.reporter.say(Level::DryRun, "DryRun", text);
        let indexes = self.indexes_by_volume()?;
        let mut moved = 0;
        for at in plan.rewrite.iter().chain(&plan.unused) {
            let Some(volume) = survey.volumes.get(*at) else {
                continue;
            };
            let size = format_size(volume.held.stored);
            let name = &volume.row.name;
            if plan.rewrite.contains(at) {
                results.downloaded_file_count += 1;
                results.downloaded_file_size += volume.held.stored;
                moved += volume.held.used_when_stored();
                say(format!(
                    "Would download remote file: {name}, size: {size}, to keep {} of it",
                    format_size(volume.held.used)
                ));
            }
            say(format!("Would delete remote file: {name}, size: {size}"));
            results.deleted_file_count += 1;
            results.deleted_file_size += volume.held.stored;
            for index in indexes.get(&volume.row.id).into_iter().flatten() {
                let size = index.size.unwrap_or_default();
                let name = &index.name;
                say(format!(
                    "Would delete remote file: {name}, size: {}",
                    format_size(size)
                ));
                results.deleted_file_count += 1;
                results.deleted_file_size += size;
            }
        }
        // What the new volumes take is not known before they are there: about what the parts in use take now.
        results.uploaded_file_size = moved;
        if results.deleted_file_count > 0 {
            say(format!(
                "{} would be deleted, {}, for about {} of new ones",
                counted(results.deleted_file_count, "remote file"),
                format_size(results.deleted_file_size),
                format_size(moved)
            ));
        }
        Ok(())
    }

    /// Why what versions use cannot be known: a list is missing that was stored, or that another run is about to store.
    fn missing_list(&self) -> Result<Option<String>> {
        // Whether somebody deleted it or a listing was not whole shows later.
        let mut missing = self.vanished_lists.clone();
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::List {
                missing.push(loss.name);
            }
        }
        for row in self.catalog(|c| c.volumes())? {
            if row.kind == VolumeKind::List
                && is_stored(&row)
                && self.view.find(&row.name).is_none()
            {
                missing.push(row.name);
            }
        }
        Ok(missing.into_iter().min().map(|name| {
            format!(
                "the version list {name} is missing or damaged, and what it uses must stay; bring it back, or take its version as deleted with `larder repair` once the file is gone"
            )
        }))
    }

    /// The versions in the catalog with all their entries, or why that is not to be had.
    fn filesets_of(&self, versions: &[Version]) -> Result<std::result::Result<Vec<i64>, String>> {
        let mut filesets = Vec::with_capacity(versions.len());
        for version in versions {
            let name = version.volume.name.as_str();
            if self.fileset_with_entries(&version.volume)?.is_none() {
                match self.read_list(&version.volume, version.time, |_| Ok(())) {
                    Err(error) if error.reach() == crate::error::Reach::Volume => {
                        let why = describe(&error);
                        return Ok(Err(format!(
                            "the version list {name} cannot be read, and what it uses must stay: {why}"
                        )));
                    }
                    other => drop(other?),
                }
            }
            match self.fileset_with_entries(&version.volume)? {
                Some(fileset) => filesets.push(fileset),
                None => {
                    return Ok(Err(format!(
                        "some entries of the version list {name} are wrong, so what it uses is not known; `larder test {name}` says more"
                    )));
                }
            }
        }
        Ok(Ok(filesets))
    }
}
