//! Getting space back: data volumes that no version uses go, and what is used of wasteful and of small ones moves to new
//! volumes.
//!
//! What versions use is known from the lists of all of them. While one cannot be read, or is missing, nothing goes. Order:
//! the new volume, its index, both noted and seen in a listing; then the old volumes, noted as going before they go; their
//! indexes last. A volume goes only when nothing of it is used, or when what is used of it was checked in this run and lies
//! in a volume that this run stored. The next run decides anew, so it goes on where this one ended.

mod copy;
mod plan;
mod removal;
mod survey;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use larder_catalog::{VolumeRow, VolumeState};
use larder_options::engine as opt;
use larder_options::value::format_size;
use larder_volume::{Hash, VolumeKind};

use self::copy::{Allowed, Fresh};
use self::plan::{Plan, Rules, State, is_many, plan};
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
use crate::words::{counted, verb};
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
            let mut ready = self.ready(Mode::Writing, Need::Blocks)?;
            let versions = ready.stored_versions()?;
            if versions.is_empty() && !ready.are_all_deleted()? {
                // Says why.
                ready.all_versions()?;
            }
            let level = Level::Warning;
            let results = ready.compact_volumes(&Scope { versions, level });
            ready.renew_verification_file();
            let results = results?;
            Ok(CompactReport {
                results,
                common: self.common("Compact", self.cancel.is_cancelled()),
            })
        })
    }
}

impl Ready<'_> {
    /// The versions whose lists are neither on their way nor going, newest first. One that is not what it was is a version
    /// that cannot be read.
    pub(crate) fn stored_versions(&self) -> Result<Vec<Version>> {
        let rows = self.catalog(|c| c.volumes())?;
        let is_version = |name: &str| {
            let row = rows.iter().find(|row| row.name == name);
            row.is_none_or(|row| is_stored(row) || row.state == VolumeState::Deleted)
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
    pub(crate) fn compact_after(&mut self, deleted: &[DeletedVersion]) -> Option<CompactResults> {
        self.tell_trouble(|ready| {
            if deleted.is_empty() || !ready.is_due()? {
                return Ok(None);
            }
            ready.compact_without(deleted).map(Some)
        })
    }

    /// The same after a run of which the listing does not know yet: when it freed something, or stored a small volume and
    /// these are many.
    pub(crate) fn compact_when_due(
        &mut self,
        is_freed: bool,
        stored: &[StoredVolume],
    ) -> Option<CompactResults> {
        self.tell_trouble(|ready| {
            let may_gain = is_freed || ready.are_small_ones_many(stored)?;
            if !may_gain || !ready.is_due()? {
                return Ok(None);
            }
            ready.relist()?;
            ready.compact_without(&[]).map(Some)
        })
    }

    fn compact_without(&mut self, deleted: &[DeletedVersion]) -> Result<CompactResults> {
        let mut versions = self.stored_versions()?;
        // In a dry run they are still there.
        let goes = |version: &Version| {
            let name = version.volume.name.as_str();
            deleted.iter().any(|deleted| deleted.list == name)
        };
        versions.retain(|version| !goes(version));
        let level = Level::Information;
        self.compact_volumes(&Scope { versions, level })
    }

    /// Tells what went wrong as a warning.
    fn tell_trouble<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<Option<T>>) -> Option<T> {
        match work(self) {
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
    fn compact_volumes(&mut self, scope: &Scope) -> Result<CompactResults> {
        self.reporter.phase(Phase::Compacting);
        if !self.settings.dry_run {
            self.check_encryption_kept()?;
        }
        let (reporter, dryrun) = (Arc::clone(&self.reporter), self.settings.dry_run);
        let held_back_with = |level, why: String| {
            let text = format!("no space is freed, since {why}");
            reporter.say(level, "CompactHeldBack", text);
            Ok(CompactResults {
                dryrun,
                held_back: Some(why),
                ..CompactResults::default()
            })
        };
        let held_back = |why| held_back_with(scope.level, why);
        if let Some(why) = self.is_unsure()? {
            return held_back(why);
        }
        if let Some(list) = self.list_that_may_arrive()? {
            let why = format!(
                "{list} was sent by a run that was interrupted, and may still arrive within the hour: what it uses has to be there then"
            );
            return held_back_with(Level::Information, why);
        }
        let filesets = match self.filesets_of(&scope.versions)? {
            Ok(filesets) => filesets,
            Err(why) => return held_back(why),
        };
        let mut survey = match self.survey_volumes(&filesets)? {
            Ok(survey) => survey,
            Err(why) => return held_back(why),
        };
        let sizes: Vec<u64> = survey.volumes.iter().map(|v| v.held.stored).collect();
        let rules = self.compact_rules(&sizes)?;
        let (plan, files_locked) = self.plan_without_locked(&mut survey, &rules)?;
        let mut results = CompactResults {
            dryrun: self.settings.dry_run,
            data_files: survey.volumes.len() as u64,
            data_size: plan.blocks,
            wasted_size: plan.wasted,
            small_files: plan.small,
            files_locked,
            ..CompactResults::default()
        };
        if self.settings.dry_run {
            self.tell_plan(&survey, &plan, &mut results)?;
            return Ok(results);
        }
        let is_over = match self.carry_out(&survey, &plan, &rules, &mut results) {
            Err(Error::Cancelled)
                if results.uploaded_file_count + results.deleted_file_count > 0 =>
            {
                self.reporter.warn(
                    "Stopped",
                    "stopped on request; what was moved so far is complete, and the next run goes on",
                );
                false
            }
            outcome => outcome?,
        };
        if let Some(why) = &results.held_back {
            let text = format!("no more space is freed, since {why}");
            self.reporter.say(scope.level, "CompactHeldBack", text);
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
        if is_over {
            let now = self.clock.seconds().to_string();
            self.catalog(|c| c.set_param(LAST_COMPACT, &now))?;
        }
        Ok(results)
    }

    /// Decides what is done, and with how many volumes nothing because they are locked: they could not go, and what is used
    /// of them would be copied in vain.
    fn plan_without_locked(&self, survey: &mut Survey, rules: &Rules) -> Result<(Plan, u64)> {
        let mut asked = BTreeSet::new();
        let mut count = 0;
        let plan = loop {
            let held: Vec<_> = survey.volumes.iter().map(|volume| volume.held).collect();
            let mut plan = plan(&held, rules);
            if survey.is_doubtful {
                // Some volume may hold what no index says, so each is read before it goes.
                plan.rewrite.append(&mut plan.unused);
            }
            if !self.remote.may_have_locks() {
                break plan;
            }
            let mut places = self.with_homes(survey, &plan.rewrite)?;
            places.extend(plan.unused.iter().chain(&plan.redundant));
            places.retain(|place| asked.insert(*place));
            let named = places.into_iter().filter_map(|place| {
                let volume = survey.volumes.get(place)?;
                Some((place, volume.row.name.clone()))
            });
            let locked = self.locked_among(named.collect())?;
            if locked.is_empty() {
                break plan;
            }
            count += locked.len() as u64;
            for place in locked {
                if let Some(volume) = survey.volumes.get_mut(place) {
                    volume.held.state = State::Fixed;
                }
            }
        };
        if count > 0 {
            self.reporter.info(
                "VolumesLocked",
                format!(
                    "{} {} locked by the destination and left alone",
                    counted(count, "data file"),
                    verb(count, "is", "are")
                ),
            );
        }
        Ok((plan, count))
    }

    /// Does what was planned; false when something of it is left for the next run.
    fn carry_out(
        &mut self,
        survey: &Survey,
        plan: &Plan,
        rules: &Rules,
        results: &mut CompactResults,
    ) -> Result<bool> {
        let of = |places: &[usize]| -> Vec<&Volume> {
            places
                .iter()
                .filter_map(|at| survey.volumes.get(*at))
                .collect()
        };
        if !self.remove_confirmed(&of(&plan.unused), &[], results)? {
            return Ok(false);
        }
        let allowed = Allowed::new(self)?;
        let (mut fresh, mut left) = (Fresh::default(), 0);
        let mut later = Vec::new();
        let rewrite = self.with_homes(survey, &plan.rewrite)?;
        for some in parts(of(&rewrite), rules) {
            let moved = self.rewrite(survey, some, rules, &allowed, results)?;
            for file in &moved.stored {
                let row = self.catalog(|c| c.volume_named(&file.name))?;
                fresh.stored.extend(row.map(|row| row.id));
            }
            left += moved.left;
            let (done, kept) = self.split_needed(moved.done, survey, &fresh)?;
            later.extend(kept);
            if !self.remove_confirmed(&done, &moved.stored, results)? {
                return Ok(false);
            }
        }
        later.extend(of(&plan.redundant));
        let (_, redundant) = self.split_needed(later.clone(), survey, &fresh)?;
        fresh.checked = self.check_homes(&redundant, survey, rules, &allowed, results)?;
        let (done, _) = self.split_needed(later, survey, &fresh)?;
        if !self.remove_confirmed(&done, &[], results)? {
            return Ok(false);
        }
        // One may repeat a blocklist that was lost with its data file.
        if !survey.is_doubtful {
            self.remove_lone_indexes(&survey.used, results)?;
        }
        if left > 0 {
            self.reporter.info(
                "CompactBudgetUsed",
                format!(
                    "{} left for the next run, since what --compact-max-bytes or --compact-max-time allows is used up",
                    match left {
                        1 => "1 data file is".to_owned(),
                        left => format!("{} are", counted(left, "data file")),
                    }
                ),
            );
        }
        Ok(left == 0)
    }

    /// Volumes with those that other copies of their blocks are read from, so that both become one. Without those of which a
    /// copy is read from a volume that has to stay.
    fn with_homes(&self, survey: &Survey, places: &[usize]) -> Result<Vec<usize>> {
        let by_id: HashMap<i64, usize> = survey.volumes.iter().map(|v| v.row.id).zip(0..).collect();
        let bad = self.bad_copies()?;
        let (mut wanted, mut without) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<usize> = places.to_vec();
        while let Some(place) = open.pop() {
            let Some(volume) = survey.volumes.get(place).filter(|_| wanted.insert(place)) else {
                continue;
            };
            if volume.held.copies == 0 {
                continue;
            }
            let blocks = self.good_used_blocks(volume, &survey.used, &bad)?;
            let homes = self.catalog(|c| c.find_blocks(&blocks))?;
            let homes: BTreeSet<i64> = homes.into_iter().flatten().collect();
            for home in homes.iter().filter(|home| **home != volume.row.id) {
                match by_id.get(home) {
                    Some(home) if survey.is_movable(*home) => open.push(*home),
                    _ => drop(without.insert(place)),
                }
            }
        }
        Ok(wanted
            .into_iter()
            .filter(|place| !without.contains(place))
            .collect())
    }

    /// Old volumes of whose blocks in use there is a copy each that this run made or looked at, and the others. Copies that
    /// are known to be damaged do not count.
    fn split_needed<'v>(
        &self,
        volumes: Vec<&'v Volume>,
        survey: &Survey,
        fresh: &Fresh,
    ) -> Result<(Vec<&'v Volume>, Vec<&'v Volume>)> {
        let bad = self.bad_copies()?;
        let (mut done, mut needed) = (Vec::new(), Vec::new());
        for volume in volumes {
            self.cancel.check()?;
            let blocks = self.good_used_blocks(volume, &survey.used, &bad)?;
            let is_good = |holder: i64, block: &(Hash, u64)| {
                holder != volume.row.id && fresh.holds(holder) && !bad.holds(holder, block)
            };
            match self.catalog(|c| c.are_held(&blocks, is_good))? {
                true => done.push(volume),
                false => needed.push(volume),
            }
        }
        Ok((done, needed))
    }

    /// Removes volumes after one more listing: the new ones are there, and nobody else wrote meanwhile. False when something
    /// is not as it should be.
    fn remove_confirmed(
        &mut self,
        going: &[&Volume],
        stored: &[StoredVolume],
        results: &mut CompactResults,
    ) -> Result<bool> {
        if going.is_empty() {
            return Ok(true);
        }
        self.relist()?;
        let is_there = |file: &StoredVolume| {
            let found = self.view.find(&file.name);
            found.is_some_and(|found| found.size.is_none_or(|size| size == file.size))
        };
        // Listings of some services lag behind.
        let missing = match self.remote.lists_at_once() {
            true => stored.iter().find(|file| !is_there(file)),
            false => None,
        };
        results.held_back = match missing {
            Some(file) => Some(format!("{} is not listed as it was stored", file.name)),
            None => self.is_unsure()?,
        };
        if results.held_back.is_some() {
            return Ok(false);
        }
        self.remove_volumes(going, results)?;
        Ok(true)
    }

    /// What a dry run says: each volume that would go, and what would come.
    fn tell_plan(&self, survey: &Survey, plan: &Plan, results: &mut CompactResults) -> Result<()> {
        let say = |text: String| self.reporter.say(Level::DryRun, "DryRun", text);
        let indexes = self.indexes_by_volume()?;
        let mut moved = 0;
        // Whether redundant ones go depends on what is read.
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
        if !survey.is_doubtful {
            for index in self.unneeded_indexes(&survey.used)? {
                let size = index.size.unwrap_or_default();
                say(format!(
                    "Would delete remote file: {}, size: {}",
                    index.name,
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

    /// A list of an earlier run, or of this one, that was sent, is not there, and whose transfer may not be over.
    fn list_that_may_arrive(&self) -> Result<Option<String>> {
        let mut names = self.lists_under_way()?;
        for row in self.catalog(|c| c.volumes())? {
            if row.kind == VolumeKind::List && row.state == VolumeState::Uploading {
                names.push(row.name);
            }
        }
        let is_missing = |name: &String| self.view.find(name).is_none();
        Ok(names.into_iter().find(is_missing))
    }

    /// Why it is not known for sure what versions use.
    fn is_unsure(&self) -> Result<Option<String>> {
        if self.is_healed.load(Ordering::SeqCst) {
            return Ok(Some(
                "the local catalog was damaged and built anew, and what it alone knew of losses is gone; the next run goes on"
                    .to_owned(),
            ));
        }
        if let Some(why) = self.why_in_doubt()? {
            return Ok(Some(why));
        }
        if self.others_write {
            return Ok(Some(
                "another machine stored volumes meanwhile, which may use what was there before"
                    .to_owned(),
            ));
        }
        // Whether somebody deleted it or a listing was not whole shows later.
        let mut missing = self.vanished_lists.clone();
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::List {
                missing.push(loss.name);
            }
        }
        for row in self.catalog(|c| c.volumes())? {
            if row.kind != VolumeKind::List {
                continue;
            }
            if row.state == VolumeState::Deleting {
                return Ok(Some(format!(
                    "{} could not be removed yet: should it stay, it is a version again; the next run goes on",
                    row.name
                )));
            }
            if is_stored(&row) && self.view.find(&row.name).is_none() {
                missing.push(row.name);
            }
        }
        Ok(missing.into_iter().min().map(|name| {
            let is_listed = self.view.find(&name).is_some();
            let other = match is_listed {
                true => format!("{} gives the version up", self.to_give_up(&name)),
                false => "and takes the version as deleted when they are not".to_owned(),
            };
            format!(
                "the version list {name} is missing or damaged, and what it uses must stay; `larder repair` stores it again when its files are known here, {other}"
            )
        }))
    }

    /// The versions in the catalog with all their entries, or why that is not to be had.
    pub(crate) fn filesets_of(
        &self,
        versions: &[Version],
    ) -> Result<std::result::Result<Vec<i64>, String>> {
        let mut filesets = Vec::with_capacity(versions.len());
        for version in versions {
            let name = version.volume.name.as_str();
            if self.fileset_with_entries(&version.volume)?.is_none() {
                match self.read_list(&version.volume, version.time, |_| Ok(())) {
                    Err(error) if error.reach() == crate::error::Reach::Volume => {
                        let why = describe(&error);
                        return Ok(Err(format!(
                            "the version list {name} cannot be read, and what it uses must stay ({} gives the version up): {why}",
                            self.to_give_up(name)
                        )));
                    }
                    Ok(list) if !list.is_version() => {
                        return Ok(Err(format!(
                            "the version list {name} is not what its name says ({} gives it up): {}",
                            self.to_give_up(name),
                            crate::identity::renamed()
                        )));
                    }
                    other => drop(other?),
                }
            }
            match self.fileset_just_read(&version.volume)? {
                Some(fileset) => filesets.push(fileset),
                None if self.is_listed_twice(&version.volume) => {
                    return Ok(Err(format!(
                        "the version list {name} is listed twice, with different sizes, and what both use must stay"
                    )));
                }
                None => {
                    return Ok(Err(format!(
                        "some entries of the version list {name} are wrong, so what it uses is not known; {} gives the version up",
                        self.to_give_up(name)
                    )));
                }
            }
        }
        Ok(Ok(filesets))
    }
}

/// Old volumes in parts that fill a few new ones, so that both do not take much room at the same time.
fn parts<'v>(volumes: Vec<&'v Volume>, rules: &Rules) -> Vec<Vec<&'v Volume>> {
    let most = rules.volume.max(1).saturating_mul(VOLUMES_AT_A_TIME);
    let (mut parts, mut bytes) = (Vec::new(), most);
    for volume in volumes {
        if bytes >= most {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(volume.held.used_when_stored());
        if let Some(part) = parts.last_mut() {
            part.push(volume);
        }
    }
    parts
}

/// New volumes that are stored before old ones go.
const VOLUMES_AT_A_TIME: u64 = 10;
