//! `repair`: the catalog is brought up to date, and what the destination lacks is stored again as far as it is known here:
//! index files, version lists, and on request data from files that still exist.

mod rebuild;
mod unreadable;

use larder_catalog::{FilesetRow, Loss, LossKind, VolumeRow};
use larder_destination::ErrorKind;
use larder_options::engine as opt;
use larder_volume::{VolumeKind, VolumeName, VolumeTime};

use crate::context::Level;
use crate::delete::Dropped;
use crate::error::Reach;
use crate::locks::until_text;
use crate::losses::set_aside;
use crate::phases::Ready;
use crate::replace::NO_FREE_TIME;
use crate::report::RepairReport;
use crate::run::Run;
use crate::sync::{Mode, Need, RemoteVolume, describe, not_whole};
use crate::versions::Version;
use crate::volumes::AboutList;
use crate::words::{counted, verb};
use crate::{Error, Result};

impl Run {
    /// Rebuilds or updates the local catalog, and stores again what is missing and known here. Removes nothing of other
    /// origin.
    ///
    /// # Errors
    /// When the destination cannot be read or holds no backup.
    pub fn repair(&self) -> Result<RepairReport> {
        let rebuilt = self.catalog(|c| c.volumes())?.is_empty();
        let mut first = true;
        self.with_healing(|| {
            let rebuilt = rebuilt || !std::mem::replace(&mut first, false);
            let (ready, _) = self.ready_with_losses(Mode::Writing, Need::BlocksAndEntries)?;
            ready.repair(rebuilt)
        })
    }
}

/// A version list that is lost, and what the catalog still knows of its version.
struct LostList {
    loss: Loss,
    known: Option<(VolumeRow, FilesetRow)>,
}

/// A row under the name that the file had: that of a lost list is set aside.
fn named(row: &VolumeRow, name: &str) -> VolumeRow {
    VolumeRow {
        name: name.to_owned(),
        ..row.clone()
    }
}

impl Ready<'_> {
    fn repair(mut self, rebuilt: bool) -> Result<RepairReport> {
        let mut report = RepairReport {
            rebuilt,
            dryrun: self.settings.dry_run,
            ..RepairReport::default()
        };
        for lost in self.lost_lists()? {
            self.mend_list(lost, &mut report)?;
        }
        if !self.are_all_deleted()? {
            self.all_versions()?;
        }
        if self.settings.dry_run {
            self.tell_missing_indexes()?;
        } else if !self.without_index()?.is_empty() {
            self.check_encryption_kept()?;
            report.indexes_written = self.complete_indexes()?;
        }
        if self.values.get(opt::REBUILD_MISSING_DBLOCK_FILES)? {
            self.check_encryption_kept()?;
            report.blocks_restored = self.rebuild_from_files()?;
        }
        let lasting = self.lasting_losses()?;
        self.tell_losses(&lasting)?;
        report.lasting_losses = lasting.len() as u64;
        if self.settings.dry_run {
            // They would be mended.
            let mended = report.lists_written + report.versions_given_up;
            report.lasting_losses = report.lasting_losses.saturating_sub(mended);
        }
        report.files_not_needed = self.tell_superseded()?;
        self.tidy_unreadable(&mut report)?;
        if !report.dryrun {
            for name in &report.files_moved_aside {
                self.forget_listed(name);
            }
        }
        self.renew_verification_file();
        let volumes = self.catalog(|c| c.volumes())?;
        let others = volumes.iter().filter(|v| v.kind != VolumeKind::List);
        let lists = self.view.lists().len() as u64;
        report.volumes = others.count() as u64 + lists;
        report.versions = lists;
        report.blocks = self.catalog(|c| c.block_count())?;
        report.common = self.common("Repair", false);
        Ok(report)
    }

    fn lost_lists(&self) -> Result<Vec<LostList>> {
        let losses = self.catalog(|c| c.losses())?;
        let lists = losses.into_iter().filter(|l| l.kind == VolumeKind::List);
        lists
            .map(|loss| {
                let known = self.known_version(&loss.name)?;
                Ok(LostList { loss, known })
            })
            .collect()
    }

    /// What the catalog knows of the version of a list, when it has all of its entries.
    pub(crate) fn known_version(&self, list: &str) -> Result<Option<(VolumeRow, FilesetRow)>> {
        self.catalog(|c| {
            let row = match c.volume_named(list)? {
                Some(row) => Some(row),
                None => c.volume_named(&set_aside(list))?,
            };
            let Some(row) = row else {
                return Ok(None);
            };
            let Some(fileset) = c.fileset_of(row.id)? else {
                return Ok(None);
            };
            let has_all = c.has_entries(fileset.id, row.hash.as_ref())?
                && c.param(&not_whole(fileset.id))?.is_none();
            Ok(has_all.then_some((row, fileset)))
        })
    }

    /// Stores a lost list again from what the catalog knows. One that is gone and unknown is given up: whoever runs a
    /// repair is told, and nothing here can bring it back.
    fn mend_list(&mut self, lost: LostList, report: &mut RepairReport) -> Result<()> {
        let LostList { loss, known } = lost;
        let time = VolumeTime(loss.version.unwrap_or_default());
        let name = VolumeName::parse(&loss.name, self.settings.case_insensitive);
        let listed = self.view.find(&loss.name).cloned();
        let is_unlisted = match &name {
            Some(name) if listed.is_none() => self.is_there_unlisted(name, time)?,
            _ => false,
        };
        let (Some((row, fileset)), Some(name)) = (known, name) else {
            if listed.is_some() || self.doubt.is_some() || is_unlisted {
                return Ok(());
            }
            report.versions_given_up += 1;
            if !self.settings.dry_run {
                self.forget_lost_list(&loss.name)?;
            }
            self.reporter.info(
                "LostVersionAccepted",
                format!("the version of {time} is taken as deleted from now on"),
            );
            return Ok(());
        };
        if let (LossKind::Resized(_) | LossKind::Gone, Some(other)) = (&loss.what, &listed)
            && self.is_later_list(&named(&row, &loss.name), other.size.unwrap_or(0))?
        {
            self.reporter.info(
                "OtherList",
                format!("{} is another list than the one that was stored, and is taken for what it is from now on", loss.name),
            );
            return match self.settings.dry_run {
                true => Ok(()),
                false => self.forget_lost_list(&loss.name),
            };
        }
        if is_unlisted {
            return Ok(());
        }
        // A second list beside one that stays would be a version too many.
        if listed.is_some() && self.doubt.is_some() {
            return Ok(());
        }
        if let (LossKind::Damaged(_), Some(volume)) = (&loss.what, &listed)
            && self.can_be_read(volume, time)?
        {
            self.reporter.info(
                "LossMended",
                format!("{} can be read again, and stays", loss.name),
            );
            return match self.settings.dry_run {
                true => Ok(()),
                false => self.forget_loss(&loss.name),
            };
        }
        if listed.is_some()
            && let Some(until) = self.lock_of(&loss.name)?
        {
            let until = until_text(until);
            let text = format!(
                "{} is locked {until}, so its list is not stored again",
                loss.name
            );
            self.reporter.warn("ListNotReplaced", text);
            return Ok(());
        }
        report.lists_written += 1;
        if self.settings.dry_run {
            let text = format!("Would store the list of the version of {time} again");
            self.reporter.say(Level::DryRun, "DryRun", text);
            return Ok(());
        }
        let about = AboutList {
            created: VolumeTime(self.clock.seconds()),
            is_full: fileset.is_full,
            // They were in the list only.
            extras: Vec::new(),
        };
        self.check_encryption_kept()?;
        if listed.is_none() {
            // Its own second is free.
            self.durable(|c| c.rename_volume(row.id, &set_aside(&loss.name)))?;
        }
        let new = match self.store_again(&name, time, fileset.id, about, |stored| Ok(Some(stored)))
        {
            Err(error) if error.id() == Some(NO_FREE_TIME) => {
                report.lists_written -= 1;
                let text = format!("{}; it is not stored again", describe(&error));
                self.reporter.error(NO_FREE_TIME, text);
                return Ok(());
            }
            other => other?,
        };
        self.reporter.info(
            "ListStoredAgain",
            format!(
                "the list of the version of {time} is stored again as {}",
                new.as_str()
            ),
        );
        match listed {
            Some(volume) => {
                let number = 0;
                let damaged = Version {
                    number,
                    time,
                    volume,
                };
                match self.drop_version(&damaged)? {
                    Dropped::Yes => self.forget_listed(&loss.name),
                    Dropped::Refused(_) => {
                        report.lists_written -= 1;
                        self.drop_listed(new.as_str())?;
                    }
                }
            }
            None => self.forget_lost_list(&loss.name)?,
        }
        self.end_of_replacing()
    }

    /// Whether a list that was found damaged is a version now.
    fn can_be_read(&self, list: &RemoteVolume, time: VolumeTime) -> Result<bool> {
        match self.read_list(list, time, |_| Ok(())) {
            Ok(read) => Ok(read.is_version()),
            Err(error) if error.reach() == Reach::Volume => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the list can be had although no listing shows it. A second one beside it would be a version too many.
    fn is_there_unlisted(&self, name: &VolumeName, time: VolumeTime) -> Result<bool> {
        let is_there = match self.remote.exists(name.as_str()) {
            // Some services answer so for what is not there.
            Err(Error::Destination(error)) if *error.kind() == ErrorKind::Denied => {
                self.doubt.is_some()
            }
            other => other?,
        };
        if is_there {
            self.reporter.warn(
                "ListNotListed",
                format!(
                    "the list of the version of {time} is there, but the destination does not list it: it is not stored again; run `larder repair` once more when the listing is whole"
                ),
            );
        }
        Ok(is_there)
    }

    fn tell_missing_indexes(&self) -> Result<()> {
        let missing = self.without_index()?.len() as u64;
        if missing > 0 {
            let text = format!("Would write {}", counted(missing, "missing index file"));
            self.reporter.say(Level::DryRun, "DryRun", text);
        }
        Ok(())
    }

    /// Says which damaged data files are not needed any more.
    fn tell_superseded(&self) -> Result<u64> {
        let bad = self.bad_copies()?;
        let mut count = 0;
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::Blocks
                && self.view.find(&loss.name).is_some()
                && self.missed_blocks(&loss, &bad)?.is_empty()
            {
                count += 1;
            }
        }
        if count > 0 {
            self.reporter.info(
                "DamagedFilesNotNeeded",
                format!(
                    "{} {} stored elsewhere by now; `larder compact` removes {}",
                    counted(count, "damaged data file"),
                    verb(count, "is", "are"),
                    verb(count, "it", "them"),
                ),
            );
        }
        Ok(count)
    }
}
