//! Dropping versions: their lists go, and nothing else. The space of what only they used comes back with a compact.
//!
//! Order: that the lists are to go is on disk before the first of them goes; from then on they are no versions any more,
//! also for a run after a kill, which removes what is left of them. The oldest goes first.

use std::collections::{BTreeSet, HashMap, HashSet};

use larder_catalog::{Catalog, VolumeRow, VolumeState};
use larder_options::engine as opt;
use larder_volume::VolumeKind;

use crate::context::Level;
use crate::error::Reach;
use crate::losses::forget_counts;
use crate::phases::Ready;
use crate::report::{DeleteReport, DeletedVersion};
use crate::retention::{Candidate, Rule, let_go};
use crate::run::Run;
use crate::settle::is_stored;
use crate::sync::{Mode, Need, describe};
use crate::versions::Version;
use crate::words::counted;
use crate::{Error, Result};

impl Run {
    /// Deletes the versions that `--version` names, and those that `--keep-versions`, `--keep-time` or
    /// `--retention-policy` let go. The last version stays unless `--allow-full-removal` is given.
    ///
    /// # Errors
    /// Wrong options, a version that does not exist, or a destination that cannot be used. A list that cannot be removed is
    /// a warning: the next run that writes tries again.
    pub fn delete(&self) -> Result<DeleteReport> {
        let rule = self.retention_rule()?;
        // Numbers mean other versions once some are gone, so they are read once, also when the catalog has to be built
        // anew in between.
        let mut going: Option<Vec<Version>> = None;
        self.with_healing(|| {
            let ready = self.ready(Mode::Writing, Need::Lists)?;
            let going = match &mut going {
                Some(going) => going,
                unread => {
                    let chosen = match self.values.is_set(opt::VERSION) {
                        true => ready.numbered_versions()?,
                        false => Vec::new(),
                    };
                    unread.insert(ready.versions_to_go(rule.as_ref(), &chosen)?)
                }
            };
            let deleted = ready.drop_versions(going)?;
            Ok(DeleteReport {
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

impl Ready<'_> {
    /// Drops what the rule lets go after a backup, once what the backup stored was looked at. Nothing goes while the newest
    /// version is not known to be whole: an older one may have what it lacks.
    pub(crate) fn thin_out(&mut self) -> Result<Vec<DeletedVersion>> {
        let Some(rule) = self.retention_rule()? else {
            return Ok(Vec::new());
        };
        // Without a check after the backup the listing is that of before.
        if !self.settings.backend_verification {
            let view = self.list_volumes(false)?;
            self.list_again(view);
        }
        let held_back = match self.reporter.errors().1 > 0 {
            true => Some("this run ended with errors"),
            false if self.newest_is_hurt()? => Some("the newest version is not whole"),
            false => None,
        };
        if let Some(why) = held_back {
            self.reporter.warn(
                "RetentionHeldBack",
                format!("no old version is deleted, since {why}"),
            );
            return Ok(Vec::new());
        }
        let going = self.versions_to_go(Some(&rule), &[])?;
        self.drop_versions(&going)
    }

    /// As [`Ready::thin_out`]; trouble with it must not hide what was stored.
    pub(crate) fn delete_after_backup(&mut self) -> Vec<DeletedVersion> {
        match self.thin_out() {
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

    /// The versions that may go: those that were chosen and those that the rule lets go, newest first.
    ///
    /// A version whose list cannot be read counts for no rule: it must not push out one that can be restored, and what
    /// is wrong with it may be mended.
    pub(crate) fn versions_to_go(
        &self,
        rule: Option<&Rule>,
        chosen: &[Version],
    ) -> Result<Vec<Version>> {
        // What is being sent or removed is no version, whatever a listing shows.
        let rows: HashMap<String, VolumeRow> = self
            .catalog(|c| c.volumes())?
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        let mut all = self.all_versions()?;
        all.retain(|version| rows.get(version.volume.name.as_str()).is_none_or(is_stored));
        let damaged = self.noted_losses()?;
        let (mut candidates, mut readable) = (Vec::new(), Vec::new());
        for version in &all {
            let is_full = match rule {
                _ if damaged.contains(version.volume.name.as_str()) => None,
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
        let full_removal = self.values.get(opt::ALLOW_FULL_REMOVAL)?;
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
        // Those whose lists cannot be read go only when they are named.
        let unreadable = |number: &u64| readable.iter().all(|version| version.number != *number);
        going.extend(chosen.iter().copied().filter(unreadable));
        Ok(all
            .iter()
            .filter(|version| going.contains(&version.number))
            .cloned()
            .collect())
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
                self.reporter.warn(
                    "DamagedList",
                    format!(
                        "{}; the version counts for no rule and stays",
                        describe(&error)
                    ),
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Drops versions, the oldest first; gives those that are none any more.
    pub(crate) fn drop_versions(&self, going: &[Version]) -> Result<Vec<DeletedVersion>> {
        let told: Vec<DeletedVersion> = going
            .iter()
            .map(|version| DeletedVersion {
                number: version.number,
                time: version.time.0,
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
        if going.is_empty() {
            return Ok(told);
        }
        let rows = self.durable(|c| {
            forget_counts(c)?;
            let mut rows = Vec::new();
            for version in going {
                let name = version.volume.name.as_str();
                let id = match c.volume_named(name)? {
                    Some(row) => row.id,
                    None => {
                        let (kind, state) = (VolumeKind::List, VolumeState::Deleting);
                        c.add_volume(name, kind, state, version.volume.size, None)?
                    }
                };
                c.set_volume(id, VolumeState::Deleting, None, None)?;
                c.set_param(&format!("{DROPPED}{name}"), "1")?;
                for fileset in c.filesets()?.into_iter().filter(|f| f.volume == id) {
                    c.remove_fileset(fileset.id)?;
                }
                rows.extend(c.volume_named(name)?);
            }
            Ok(rows)
        })?;
        for (version, row) in going.iter().zip(rows).rev() {
            let name = version.volume.name.as_str();
            match self.remote.delete(name, version.volume.size.unwrap_or(0)) {
                Ok(()) => {
                    self.catalog(|c| forget_dropped(c, &row))?;
                    self.forget_loss(name)?;
                }
                Err(Error::Destination(error)) => self.reporter.warn(
                    "ListNotRemoved",
                    format!("{name} could not be removed, the next backup tries again: {error}"),
                ),
                Err(error) => return Err(error),
            }
        }
        self.reporter.info(
            "VersionsDeleted",
            format!("{} deleted", counted(going.len() as u64, "version")),
        );
        Ok(told)
    }
}

/// Catalog parameter, with the name of a list behind it: the version was dropped on purpose. A list at whose name a put
/// failed may be that of another machine; this one is not.
const DROPPED: &str = "dropped-version:";

/// Whether the version of a list was dropped, whatever is left of it.
pub(crate) fn is_dropped(catalog: &Catalog, name: &str) -> larder_catalog::Result<bool> {
    Ok(catalog.param(&format!("{DROPPED}{name}"))?.is_some())
}

/// Takes a volume that was removed out of the catalog.
pub(crate) fn forget_dropped(catalog: &Catalog, row: &VolumeRow) -> larder_catalog::Result<()> {
    catalog.remove_param(&format!("{DROPPED}{}", row.name))?;
    catalog.remove_volume(row.id)
}
