//! Files with the names of volumes that are none: what to do about those that nobody can read.
//!
//! Nothing is deleted because it is unknown. A file that cannot be read is named; on request it gets another name, which
//! brings it back when it is renamed by hand; and only on request, after a time of grace, it goes.

use std::collections::HashMap;

use larder_catalog::LossKind;
use larder_destination::{ErrorKind, RemoteFile};
use larder_options::engine as opt;
use larder_volume::VolumeKind;

use crate::context::Level;
use crate::losses::set_aside;
use crate::phases::Ready;
use crate::report::RepairReport;
use crate::settle::forget_unread;
use crate::sync::{IndexState, RemoteVolume};
use crate::words::{counted, verb};
use crate::{Error, Result};

/// What is put before the name of a file that is moved aside; the day, as `20261127`, and a hyphen follow.
const ASIDE: &str = "aside-";
/// Digits of a day.
const DAY: usize = 8;
/// A file of the last day may be one that another machine is still sending.
const YOUNG_SECONDS: i64 = 24 * 3600;

impl Ready<'_> {
    /// Names the data and index files that cannot be read, moves them aside with `--move-unreadable-aside`, and deletes those
    /// that were moved aside long ago with `--delete-aside-after`.
    pub(super) fn tidy_unreadable(&self, report: &mut RepairReport) -> Result<()> {
        let moves = self.values.get(opt::MOVE_UNREADABLE_ASIDE)?;
        let junk = self.junk_lists(moves)?;
        let mut unreadable = self.unreadable()?;
        unreadable.extend(junk.iter().cloned());
        unreadable.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        report.unreadable_files = unreadable
            .iter()
            .map(|volume| volume.name.as_str().to_owned())
            .collect();
        let missed = report.lasting_losses.saturating_sub(junk.len() as u64);
        let why = self.why_unreadable_stay(missed)?;
        let why = why.as_deref();
        if !unreadable.is_empty() {
            match (moves, why) {
                (true, None) => self.move_all_aside(&unreadable, report)?,
                (_, why) => {
                    report.why_unreadable_stay = why.map(str::to_owned);
                    self.tell_unreadable_files(report.unreadable_files.len(), why);
                }
            }
        }
        // What is missed may be in one of them.
        match self.values.find(opt::DELETE_ASIDE_AFTER)? {
            Some(grace) if why.is_none() => self.delete_aside(grace, report),
            _ => Ok(()),
        }
    }

    /// Data files that no run could take in, and indexes that were found damaged.
    fn unreadable(&self) -> Result<Vec<RemoteVolume>> {
        let losses = self.catalog(|c| c.losses())?;
        let losses: HashMap<&str, &LossKind> = losses
            .iter()
            .map(|loss| (loss.name.as_str(), &loss.what))
            .collect();
        let is_damaged = |name: &str| matches!(losses.get(name), Some(LossKind::Damaged(_)));
        // `compact` removes one of another length, once nothing of it is missed.
        let is_known = |name: &str| matches!(losses.get(name), Some(LossKind::Resized(_)));
        let mut unreadable = Vec::new();
        for volume in self.view.volumes.values().filter(|v| !v.is_archived) {
            let name = volume.name.as_str();
            let is_unreadable = match volume.name.kind() {
                VolumeKind::Blocks => {
                    !is_known(name) && self.catalog(|c| c.volume_named(name))?.is_none()
                }
                VolumeKind::Index => is_damaged(name),
                // Those that were never versions are added to these.
                VolumeKind::List => false,
            };
            if is_unreadable {
                unreadable.push(volume.clone());
            }
        }
        Ok(unreadable)
    }

    /// Lists that were damaged when they came while this catalog was at work, so that they were never versions from here.
    /// Any other one may have been a version, which only `delete` gives up. With `again` each is read once more: one that has
    /// another passphrase may be whole.
    fn junk_lists(&self, again: bool) -> Result<Vec<RemoteVolume>> {
        let mut junk = Vec::new();
        // Another machine's may have been whole once, and nobody looked.
        if !self.is_all_own()? {
            return Ok(junk);
        }
        for loss in self.catalog(|c| c.losses())? {
            let name = &loss.name;
            if loss.kind != VolumeKind::List
                || !matches!(loss.what, LossKind::Damaged(_))
                || self.known_row(name)?
                || !self.came_later(name)?
            {
                continue;
            }
            let Some(volume) = self.view.find(name).filter(|volume| !volume.is_archived) else {
                continue;
            };
            if !again || self.look_at_list(volume)? == IndexState::Damaged {
                junk.push(volume.clone());
            }
        }
        Ok(junk)
    }

    /// Whether the catalog knows a list, also one that is lost.
    fn known_row(&self, list: &str) -> Result<bool> {
        let known = self.catalog(|c| {
            Ok(c.volume_named(list)?.is_some() || c.volume_named(&set_aside(list))?.is_some())
        })?;
        Ok(known)
    }

    fn why_unreadable_stay(&self, missed: u64) -> Result<Option<String>> {
        if self.doubt.is_some() {
            return Ok(Some("the listing is in doubt".to_owned()));
        }
        if missed == 0 {
            return Ok(None);
        }
        let text = "something of the backup is missed, and one of them may be a part of it";
        let losses = self.catalog(|c| c.losses())?;
        let mut lists = losses.iter().filter(|loss| loss.kind == VolumeKind::List);
        let listed = lists.find(|loss| self.view.find(&loss.name).is_some());
        Ok(Some(match listed {
            Some(loss) => format!(
                "{text} ({} gives the version of {} up)",
                self.to_give_up(&loss.name),
                loss.name
            ),
            None => text.to_owned(),
        }))
    }

    fn tell_unreadable_files(&self, count: usize, why: Option<&str>) {
        let count = count as u64;
        let help = match why {
            Some(why) => format!("{} for now, since {why}", verb(count, "it stays", "they stay")),
            None => "nothing is deleted that is not known; `larder repair --move-unreadable-aside` gives files that are damaged other names".to_owned(),
        };
        self.reporter.info(
            "UnreadableFiles",
            format!(
                "{} of no version cannot be read; {help}",
                counted(count, "file")
            ),
        );
    }

    fn move_all_aside(&self, unreadable: &[RemoteVolume], report: &mut RepairReport) -> Result<()> {
        let day = self.today();
        let prefix = format!("{ASIDE}{day}-");
        for volume in unreadable {
            self.cancel.check()?;
            let name = volume.name.as_str();
            if let Some(why) = self.why_stays(volume)? {
                let text = format!("{name} stays where it is: {why}");
                self.reporter.info("UnreadableFileStays", text);
                continue;
            }
            if self.settings.dry_run {
                let text = format!("Would move {name} aside as {prefix}{name}");
                self.reporter.say(Level::DryRun, "DryRun", text);
                report.files_moved_aside.push(name.to_owned());
                continue;
            }
            match self.remote.move_aside(&prefix, name) {
                Ok(()) => {}
                Err(Error::Destination(error))
                    if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied) =>
                {
                    let text = format!("{name} could not be moved aside: {error}");
                    self.reporter.warn("UnreadableFileStays", text);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if volume.name.kind() == VolumeKind::List {
                self.forget_loss(name)?;
                self.durable(|c| forget_unread(c, name))?;
                report.lasting_losses = report.lasting_losses.saturating_sub(1);
            } else {
                self.forget_index(name)?;
            }
            report.files_moved_aside.push(name.to_owned());
            report
                .unreadable_files
                .retain(|unreadable| unreadable != name);
            self.reporter.info(
                "UnreadableFileMoved",
                format!("{name} cannot be read and is {prefix}{name} from now on"),
            );
        }
        Ok(())
    }

    /// Reads a file once more: what cannot be had, or be opened with this passphrase, may be whole.
    fn why_stays(&self, volume: &RemoteVolume) -> Result<Option<&'static str>> {
        let since = self.clock.seconds().saturating_sub(YOUNG_SECONDS);
        if volume.modified.is_none_or(|modified| modified > since) {
            return Ok(Some(
                "it is less than a day old, or the destination does not tell; another machine may be sending it",
            ));
        }
        let state = match volume.name.kind() {
            VolumeKind::Index => self.look_at_index(volume)?,
            VolumeKind::List => self.look_at_list(volume)?,
            VolumeKind::Blocks => self.look_at_data(volume)?,
        };
        Ok(match state {
            IndexState::Damaged => None,
            IndexState::Whole => Some("it can be read now; the next run takes it in"),
            IndexState::Unclear => {
                Some("it cannot be had now, or has another passphrase, and may be whole")
            }
        })
    }

    /// Deletes what was moved aside at least so many seconds ago. The name tells the day only, and the whole day has to be so
    /// long ago.
    fn delete_aside(&self, grace: i64, report: &mut RepairReport) -> Result<()> {
        let is_own = |name: &str| self.settings.is_own(name);
        let files = self
            .remote
            .list_where(false, |file| day_and_name(&file.name, is_own).is_some())?;
        let last = jiff::Timestamp::from_second(self.clock.seconds().saturating_sub(grace));
        let last = day_of(last.unwrap_or_default());
        let is_due = |file: &&RemoteFile| {
            day_and_name(&file.name, is_own).is_some_and(|(day, _)| day < last.as_str())
        };
        for file in files.iter().filter(is_due) {
            self.cancel.check()?;
            let name = &file.name;
            if self.settings.dry_run {
                let text = format!("Would delete remote file: {name}");
                self.reporter.say(Level::DryRun, "DryRun", text);
                report.aside_files_deleted.push(name.clone());
                continue;
            }
            match self.remote.remove(name, file.size.unwrap_or(0)) {
                Ok(()) => report.aside_files_deleted.push(name.clone()),
                Err(Error::Destination(error))
                    if matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied) =>
                {
                    let text = format!("{name} could not be deleted: {error}");
                    self.reporter.warn("AsideFileStays", text);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn today(&self) -> String {
        day_of(jiff::Timestamp::from_second(self.clock.seconds()).unwrap_or_default())
    }
}

/// A day as it stands in names, in UTC as the times of versions are.
fn day_of(time: jiff::Timestamp) -> String {
    time.strftime("%Y%m%d").to_string()
}

/// The day on which a file was moved aside, and the name that it had.
fn day_and_name(file: &str, is_own: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let (day, name) = file.strip_prefix(ASIDE)?.split_at_checked(DAY)?;
    let name = name.strip_prefix('-')?;
    let is_day = day.bytes().all(|byte| byte.is_ascii_digit());
    // Another file of the same name was there: random digits follow.
    let whole = || name.rsplit_once('.').map(|(name, _)| name);
    let is_volume = is_own(name) || whole().is_some_and(&is_own);
    (is_day && is_volume).then_some((day, name))
}
