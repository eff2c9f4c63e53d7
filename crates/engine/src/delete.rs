//! Dropping versions: their lists go, and nothing else. The space of what only they used comes back with a compact.
//!
//! Order: one after the other, the oldest first. That a list is to go is on disk before it goes; from then on it is no
//! version any more, also for a run after a kill, which removes what is left of it. Whoever stops a deletion keeps the rest.

use std::collections::{BTreeSet, HashSet};

use larder_catalog::{Catalog, VolumeRow, VolumeState};
use larder_destination::ErrorKind;
use larder_options::engine as opt;
use larder_options::value::format_size;
use larder_volume::{VolumeKind, VolumeTime};

use crate::context::Level;
use crate::error::Reach;
use crate::losses::{forget_counts, set_aside};
use crate::missing::{Waiting, WholeLists};
use crate::notes::Presence;
use crate::phases::Ready;
use crate::report::{CompactResults, DeleteReport, DeletedVersion};
use crate::repository::locked;
use crate::retention::{Candidate, Rule, let_go};
use crate::run::Run;
use crate::settle::{forget_unread, is_stored};
use crate::sync::{Mode, Need, describe};
use crate::versions::Version;
use crate::words::{counted, verb};
use crate::{Error, Result};

impl Run {
    /// Deletes the versions that `--version` names, and those that `--keep-versions`, `--keep-time` or
    /// `--retention-policy` let go. The last version stays unless `--allow-full-removal` is given.
    ///
    /// # Errors
    /// Wrong options, a version that does not exist, or a destination that cannot be used. A list that may not be removed
    /// is a warning, and its version stays.
    pub fn delete(&self) -> Result<DeleteReport> {
        let rule = self.retention_rule()?;
        // Numbers mean other versions once some are gone, so they are read once, also when the catalog has to be built
        // anew in between.
        let mut going: Option<Vec<Version>> = None;
        self.with_healing(|| {
            // What is lost shows when lists, indexes and data files are compared.
            let mut ready = self.ready(Mode::Writing, Need::Blocks)?;
            ready.check_not_in_doubt()?;
            ready.check_numbers()?;
            if let (Some(_), Some(why)) = (&rule, ready.why_in_doubt()?) {
                return Err(Error::data(
                    "RetentionHeldBack",
                    format!("no version is deleted by a rule, since {why}"),
                    "check the storage URL and --prefix",
                ));
            }
            let going = match &mut going {
                Some(going) => going,
                unread => {
                    let chosen = match self.values.is_set(opt::VERSION) {
                        true => ready.numbered_versions()?,
                        false => Vec::new(),
                    };
                    let full_removal = self.values.get(opt::ALLOW_FULL_REMOVAL)?;
                    let asked = Asked {
                        rule: rule.as_ref(),
                        chosen: &chosen,
                        full_removal,
                    };
                    match ready.versions_to_go(&asked, None)? {
                        ToGo::These(going) => unread.insert(going),
                        ToGo::HeldBack(version) => {
                            return Err(Error::data(
                                "RetentionHeldBack",
                                format!(
                                    "no version is deleted by a rule, since that of {}, which would stay, is not whole: an older one may have what it lacks",
                                    version.time
                                ),
                                "run a backup, which stores again what the sources have, or name the versions with --version alone",
                            ));
                        }
                    }
                }
            };
            let deleted = ready.drop_versions(going)?;
            let is_last = !deleted.is_empty() && deleted.len() == ready.stored_versions()?.len();
            if is_last && !self.settings.dry_run {
                self.note_all_deleted()?;
            }
            let compact_results = ready.compact_after(&deleted);
            if is_last && !self.settings.dry_run {
                ready.tell_what_stays(compact_results.as_ref())?;
            }
            ready.renew_verification_file();
            Ok(DeleteReport {
                kept_sets: (going.len() - deleted.len()) as u64,
                compact_results,
                deleted_sets_actual_length: deleted.len() as u64,
                deleted_sets: deleted,
                dryrun: self.settings.dry_run,
                common: self.common("Delete", self.cancel.is_cancelled()),
            })
        })
    }

    /// The rule by which old versions go, when one is set.
    pub(crate) fn retention_rule(&self) -> Result<Option<Rule>> {
        let now = jiff::Timestamp::from_second(self.clock.seconds()).unwrap_or_default();
        Rule::of(&self.values, &now.to_zoned(self.clock.zone()))
    }
}

/// What is asked to go.
struct Asked<'a> {
    rule: Option<&'a Rule>,
    chosen: &'a [Version],
    /// Also the last version may go.
    full_removal: bool,
}

impl Ready<'_> {
    /// Drops what the rule lets go after a backup, once what the backup stored was looked at. Nothing goes while the newest
    /// version is not known to be whole: an older one may have what it lacks.
    fn thin_out(&mut self, written: Option<VolumeTime>) -> Result<Vec<DeletedVersion>> {
        let Some(rule) = self.retention_rule()? else {
            return Ok(Vec::new());
        };
        // Without a check after the backup the listing is that of before.
        if !self.settings.backend_verification {
            self.relist()?;
        }
        let hold_back = |why: &str| {
            let level = match self.doubt.is_some() && self.is_explained {
                true => Level::Information,
                false => Level::Warning,
            };
            let text = format!("no old version is deleted, since {why}");
            self.reporter.say(level, "RetentionHeldBack", text);
            Ok(Vec::new())
        };
        if let Some(why) = self.why_in_doubt()? {
            return hold_back(&why);
        }
        if self.reporter.errors().1 > 0 {
            return hold_back("this run ended with errors");
        }
        // What was written counts as looked at when it was compared, and when every block was looked up.
        let is_seen = self.settings.backend_verification && self.presence()? == Presence::Seen;
        let written = written.filter(|_| is_seen);
        let asked = Asked {
            rule: Some(&rule),
            chosen: &[],
            // A backup leaves no empty set.
            full_removal: false,
        };
        match self.versions_to_go(&asked, written)? {
            ToGo::These(going) => self.drop_versions(&going),
            ToGo::HeldBack(version) => hold_back(&format!(
                "that of {}, which would stay, is not whole",
                version.time
            )),
        }
    }

    /// As [`Ready::thin_out`]; trouble with it must not hide what was stored.
    pub(crate) fn delete_after_backup(
        &mut self,
        written: Option<VolumeTime>,
    ) -> Vec<DeletedVersion> {
        match self.thin_out(written) {
            Ok(deleted) => deleted,
            Err(Error::Cancelled) => {
                self.reporter.warn(
                    "Stopped",
                    "stopped on request before old versions were deleted; what was stored is complete",
                );
                Vec::new()
            }
            Err(error) => {
                self.reporter.warn(
                    "RetentionFailed",
                    format!(
                        "everything was stored, but old versions could not be deleted: {}",
                        describe(&error)
                    ),
                );
                Vec::new()
            }
        }
    }

    /// The versions that may go: those that were chosen and those that the rule lets go, newest first. The newest one that
    /// stays and the newest complete one are looked at first, unless this run has just written them: what they should be is
    /// known here, what they are only there.
    fn versions_to_go(&self, asked: &Asked<'_>, written: Option<VolumeTime>) -> Result<ToGo> {
        let mut unreadable = self.noted_losses()?;
        'others: loop {
            let (going, stay) = self.would_go(asked, &unreadable)?;
            if going.is_empty() {
                return Ok(ToGo::These(going));
            }
            for version in stay.iter().filter(|version| Some(version.time) != written) {
                match self.look_at(version)? {
                    Looked::Whole => {}
                    Looked::Unreadable => {
                        unreadable.insert(version.volume.name.as_str().to_owned());
                        continue 'others;
                    }
                    // Who names versions knows what goes.
                    Looked::Hurt if asked.rule.is_none() => {}
                    Looked::Hurt => return Ok(ToGo::HeldBack(version.clone())),
                }
            }
            return Ok(ToGo::These(going));
        }
    }

    /// Reads the list of a version and looks its blocks up.
    fn look_at(&self, version: &Version) -> Result<Looked> {
        if self.is_surely_whole(version)? {
            return Ok(Looked::Whole);
        }
        // The blocks of large files are known through their blocklists only.
        let mut unknown = HashSet::new();
        let read = self.read_list(&version.volume, version.time, |entry| {
            self.unknown_lists(&entry, |list| {
                unknown.insert(list);
            })
        });
        match read {
            Ok(list) if !list.is_version() => return Ok(Looked::Unreadable),
            Err(error) if error.reach() == Reach::Volume => {
                self.tell_uncounted(&error);
                return Ok(Looked::Unreadable);
            }
            other => drop(other?),
        }
        self.load_blocklists(unknown)?;
        let damaged = self.damaged_blocks()?;
        let (mut waiting, mut whole) = (Waiting::default(), WholeLists::default());
        let mut hurt = 0;
        self.each_entry(version, |entry| {
            if !damaged.is_empty() && self.first_missing(&entry, &damaged, &mut whole)?.is_some() {
                hurt += 1;
            }
            hurt += self.count_missing(&mut waiting, entry)?;
            Ok(())
        })?;
        hurt += self.count_rest(&mut waiting)?;
        Ok(match hurt {
            0 => Looked::Whole,
            _ => Looked::Hurt,
        })
    }

    /// As [`Ready::look_at`] without a question for each entry: the list is, byte for byte, the one of which the catalog has
    /// the entries, and volumes hold all blocks that these use. False when there is any doubt.
    fn is_surely_whole(&self, version: &Version) -> Result<bool> {
        let list = &version.volume;
        let name = list.name.as_str();
        let hash = self
            .catalog(|c| c.volume_named(name))?
            .and_then(|row| row.hash);
        let (Some(fileset), Some(hash)) = (self.fileset_with_entries(list)?, hash) else {
            return Ok(false);
        };
        if self.settings.skip_file_hash_checks || !self.damaged_blocks()?.is_empty() {
            return Ok(false);
        }
        let is_as_known = match self.remote.get_volume(&list.name, list.size) {
            Err(error) if error.reach() == Reach::Volume => false,
            data => data?.hash(self.format().file_hash)? == hash,
        };
        let rules = self.block_rules();
        Ok(is_as_known && self.catalog(|c| c.has_all(&c.used_blocks(&[fileset], rules)?))?)
    }

    /// Says which data files stay though no version is left, and why.
    fn tell_what_stays(&self, compacted: Option<&CompactResults>) -> Result<()> {
        let rows = self.catalog(|c| c.volumes())?;
        let is_data = |row: &&VolumeRow| row.kind == VolumeKind::Blocks && is_stored(row);
        let data: Vec<&VolumeRow> = rows.iter().filter(is_data).collect();
        if data.is_empty() {
            return Ok(());
        }
        let why = match compacted {
            None => "no space was freed".to_owned(),
            Some(CompactResults {
                held_back: Some(why),
                ..
            }) => why.clone(),
            Some(_) => "they could not be removed".to_owned(),
        };
        let count = data.len() as u64;
        let bytes = data.iter().filter_map(|row| row.size).sum();
        self.reporter.warn(
            "DataFilesStay",
            format!(
                "no version is left, but {} of {} {}: {why}; a later `larder compact` removes {}",
                counted(count, "data file"),
                format_size(bytes),
                verb(count, "stays", "stay"),
                verb(count, "it", "them"),
            ),
        );
        Ok(())
    }

    fn tell_uncounted(&self, error: &Error) {
        let text = format!(
            "{}; the version counts for no rule and stays",
            describe(error)
        );
        self.reporter.warn("DamagedList", text);
    }

    /// The versions that would go, and of those that would stay the newest and the newest complete one.
    ///
    /// A version whose list is `unreadable` counts for no rule: it must not push out one that can be restored, and what
    /// is wrong with it may be mended.
    fn would_go(
        &self,
        asked: &Asked<'_>,
        unreadable: &HashSet<String>,
    ) -> Result<(Vec<Version>, Vec<Version>)> {
        let Asked {
            rule,
            chosen,
            full_removal,
        } = *asked;
        // Says when there is none at all.
        self.all_versions()?;
        let all = self.stored_versions()?;
        let (mut candidates, mut readable) = (Vec::new(), Vec::new());
        for version in &all {
            let is_full = match rule {
                _ if unreadable.contains(version.volume.name.as_str()) => None,
                // Which versions are complete does not matter.
                None => Some(true),
                Some(_) => self.completeness(version)?,
            };
            let Some(is_full) = is_full else {
                continue;
            };
            readable.push(version);
            candidates.push(Candidate {
                time: version.time.0,
                is_full,
            });
        }
        let chosen: HashSet<u64> = chosen.iter().map(|version| version.number).collect();
        let places = readable.iter().enumerate();
        let places = places.filter(|(_, version)| chosen.contains(&version.number));
        let places = places.map(|(place, _)| place);
        let now = self.clock.seconds();
        let going = let_go(&candidates, rule, places, now, full_removal);
        let mut going: BTreeSet<u64> = going
            .into_iter()
            .filter_map(|place| readable.get(place))
            .map(|version| version.number)
            .collect();
        if let Some(kept) = readable
            .iter()
            .find(|version| chosen.contains(&version.number) && !going.contains(&version.number))
        {
            self.reporter.warn(
                "PreventingLastFilesetRemoval",
                format!(
                    "all versions would be deleted; the one of {} stays unless --allow-full-removal is given",
                    kept.time
                ),
            );
        }
        let stay = || {
            let all = readable.iter().zip(&candidates);
            all.filter(|(version, _)| !going.contains(&version.number))
        };
        let newest = stay().next();
        let complete = stay().find(|(_, candidate)| candidate.is_full);
        let mut stay: Vec<Version> = newest
            .into_iter()
            .chain(complete)
            .map(|(version, _)| (*version).clone())
            .collect();
        stay.dedup_by_key(|version| version.number);
        // Those whose lists cannot be read go only when they are named.
        let is_unreadable = |number: &u64| readable.iter().all(|version| version.number != *number);
        going.extend(chosen.iter().copied().filter(is_unreadable));
        let going = all.iter().filter(|version| going.contains(&version.number));
        Ok((going.cloned().collect(), stay))
    }

    /// Whether a version is complete; `None` when its list cannot be read or is not of the time of its name.
    fn completeness(&self, version: &Version) -> Result<Option<bool>> {
        let name = version.volume.name.as_str();
        let known = self.catalog(|c| {
            let row = c.volume_named(name)?;
            let filesets = c.filesets()?;
            let of_it = row.and_then(|row| filesets.into_iter().find(|f| f.volume == row.id));
            Ok(of_it.map(|fileset| fileset.is_full))
        })?;
        if known.is_some() {
            return Ok(known);
        }
        match self.read_list(&version.volume, version.time, |_| Ok(())) {
            // An old list under a later name would push out what is newer.
            Ok(list) => Ok(Some(list.is_full).filter(|_| list.is_version())),
            Err(error) if error.reach() == Reach::Volume => {
                self.tell_uncounted(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Drops versions, the oldest first; gives those that are none any more.
    pub(crate) fn drop_versions(&self, going: &[Version]) -> Result<Vec<DeletedVersion>> {
        let going = &self.without_locked(going)?;
        let told: Vec<DeletedVersion> = going
            .iter()
            .map(|version| DeletedVersion {
                number: version.number,
                time: version.time.0,
                list: version.volume.name.as_str().to_owned(),
            })
            .collect();
        if self.settings.dry_run {
            for version in going.iter().rev() {
                let name = version.volume.name.as_str();
                let text = format!("Would delete remote fileset: {name}");
                self.reporter.say(Level::DryRun, "DryRun", text);
            }
            if !going.is_empty() {
                let text = format!("{} remote fileset(s) would be deleted", going.len());
                self.reporter.say(Level::DryRun, "DryRun", text);
                let text = "Remove --dry-run to actually delete files";
                self.reporter.say(Level::DryRun, "DryRun", text);
            }
            return Ok(told);
        }
        let mut deleted = Vec::new();
        for (version, told) in going.iter().zip(told).rev() {
            match self.drop_version(version) {
                Ok(Dropped::Yes) => deleted.insert(0, told),
                Ok(Dropped::Refused(_)) => {}
                Err(error) if deleted.is_empty() => return Err(error),
                // What is gone is told.
                Err(error) => {
                    let text = format!("no more versions are deleted: {}", describe(&error));
                    self.reporter.error("DeletionStopped", text);
                    break;
                }
            }
        }
        if !deleted.is_empty() {
            self.reporter.info(
                "VersionsDeleted",
                format!("{} deleted", counted(deleted.len() as u64, "version")),
            );
        }
        Ok(deleted)
    }

    /// Drops one version: from the intent on it is none any more, unless the destination refuses to remove the list.
    pub(crate) fn drop_version(&self, version: &Version) -> Result<Dropped> {
        let dropped = self.drop_version_by(version, |name, size| self.remote.delete(name, size))?;
        if let Dropped::Refused(error) = &dropped {
            let name = version.volume.name.as_str();
            self.reporter.warn(
                "ListNotRemoved",
                format!("{name} could not be removed, so its version stays: {error}"),
            );
        }
        Ok(dropped)
    }

    /// As [`Ready::drop_version`] for a partial version of this run: it goes for good, and nothing is said when it may not.
    pub(crate) fn drop_partial_version(&self, version: &Version) -> Result<Dropped> {
        self.drop_version_by(version, |name, size| self.remote.remove(name, size))
    }

    fn drop_version_by(
        &self,
        version: &Version,
        remove: impl Fn(&str, u64) -> Result<()>,
    ) -> Result<Dropped> {
        self.cancel.check()?;
        let (name, size) = (version.volume.name.as_str(), version.volume.size);
        let known = self.catalog(|c| c.volume_named(name))?;
        let row = self.durable(|c| {
            forget_counts(c)?;
            forget_unread(c, name)?;
            let id = match &known {
                Some(row) => row.id,
                None => c.add_volume(name, VolumeKind::List, VolumeState::Deleting, size, None)?,
            };
            c.set_volume(id, VolumeState::Deleting, None, None)?;
            c.set_param(&format!("{DROPPED}{name}"), "1")?;
            c.volume(id)
        })?;
        let row =
            row.ok_or_else(|| Error::Bug("a list that was just noted is not there".into()))?;
        match remove(name, size.unwrap_or(0)) {
            Ok(()) => {
                locked(&self.dropped_lists).insert(name.to_owned());
                self.catalog(|c| c.batch(|c| forget_removed(c, &[row])))?;
                Ok(Dropped::Yes)
            }
            Err(Error::Destination(error))
                if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied) =>
            {
                self.durable(|c| match &known {
                    Some(known) => {
                        c.remove_param(&format!("{DROPPED}{name}"))?;
                        c.set_volume(known.id, known.state, None, None)
                    }
                    None => forget_dropped(c, &row),
                })?;
                Ok(Dropped::Refused(Box::new(error)))
            }
            Err(error) => Err(error),
        }
    }
}

/// What became of a version.
pub(crate) enum Dropped {
    Yes,
    /// It stays: its list may not be removed.
    Refused(Box<larder_destination::Error>),
}

/// What may go.
enum ToGo {
    These(Vec<Version>),
    /// Nothing by a rule: this version would stay and is not whole.
    HeldBack(Version),
}

/// What a look at a version gave.
enum Looked {
    Whole,
    /// Its list cannot be read, or is not of the time of its name.
    Unreadable,
    /// Blocks of it are missing or damaged.
    Hurt,
}

/// Catalog parameter, with the name of a list behind it: the version was dropped on purpose. A list at whose name a put
/// failed may be that of another machine; this one is not.
const DROPPED: &str = "dropped-version:";

/// Catalog parameter, with the name of a list or an index behind it: this machine removed it. When a destination is set back,
/// or lists late, such a file is no work of others.
const REMOVED: &str = "removed:";

/// Whether this machine removed a list or an index.
pub(crate) fn was_removed(catalog: &Catalog, name: &str) -> larder_catalog::Result<bool> {
    Ok(catalog.param(&format!("{REMOVED}{name}"))?.is_some())
}

/// Whether the version of a list was dropped, whatever is left of it.
pub(crate) fn is_dropped(catalog: &Catalog, name: &str) -> larder_catalog::Result<bool> {
    Ok(catalog.param(&format!("{DROPPED}{name}"))?.is_some())
}

/// Takes a volume that was removed out of the catalog, with what was wrong with it.
pub(crate) fn forget_dropped(catalog: &Catalog, row: &VolumeRow) -> larder_catalog::Result<()> {
    forget_all_dropped(catalog, std::slice::from_ref(row))
}

/// As [`forget_dropped`] for files that were removed just now.
pub(crate) fn forget_removed(catalog: &Catalog, rows: &[VolumeRow]) -> larder_catalog::Result<()> {
    for row in rows.iter().filter(|row| row.kind != VolumeKind::Blocks) {
        catalog.set_param(&format!("{REMOVED}{}", row.name), "1")?;
    }
    forget_all_dropped(catalog, rows)
}

/// The same for several at once.
fn forget_all_dropped(catalog: &Catalog, rows: &[VolumeRow]) -> larder_catalog::Result<()> {
    for row in rows {
        catalog.remove_param(&format!("{DROPPED}{}", row.name))?;
        // While a lost list of this name is set aside, its loss stays.
        if catalog.volume_named(&set_aside(&row.name))?.is_none() {
            catalog.remove_loss(&row.name)?;
        }
    }
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    catalog.remove_volumes(&ids)
}
