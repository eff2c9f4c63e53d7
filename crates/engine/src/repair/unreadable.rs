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
use crate::phases::Ready;
use crate::report::RepairReport;
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
        let unreadable = self.unreadable()?;
        report.unreadable_files = unreadable
            .iter()
            .map(|volume| volume.name.as_str().to_owned())
            .collect();
        let moves = self.values.get(opt::MOVE_UNREADABLE_ASIDE)?;
        let why = self.why_unreadable_stay(report);
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
                // `delete` gives a version up, and nothing else does.
                VolumeKind::List => false,
            };
            if is_unreadable {
                unreadable.push(volume.clone());
            }
        }
        unreadable.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Ok(unreadable)
    }

    fn why_unreadable_stay(&self, report: &RepairReport) -> Option<&'static str> {
        if self.doubt.is_some() {
            return Some("the listing is in doubt");
        }
        (report.lasting_losses > 0)
            .then_some("something of the backup is missed, and one of them may be a part of it")
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
            self.forget_index(name)?;
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
            _ => self.look_at_data(volume)?,
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
