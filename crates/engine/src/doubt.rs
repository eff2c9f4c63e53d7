//! Listings that lack much of what is known to be stored.
//!
//! A page that a service left out, a mount that is half there, the wrong folder or another prefix look like a loss. So the
//! destination is listed again before that is believed, and while it stays so, nothing is removed: what is missing may be
//! there, and what is seen may be needed by it (docs/decisions/0027).

use std::collections::{HashMap, HashSet};

use larder_catalog::{LossKind, VolumeRow};
use larder_options::engine as opt;
use larder_volume::VolumeKind;

use crate::context::Level;
use crate::phases::{Ready, Settled};
use crate::run::Run;
use crate::settle::is_stored;
use crate::sync::View;
use crate::words::{counted, verb};
use crate::{Error, Result};

/// Times that the destination is listed again, no more than `--number-of-retries`.
const AGAIN: u32 = 3;
/// A listing is in doubt when it lacks more than this share of the known files, in percent,
const MOST_MISSING_PERCENT: u64 = 5;
/// and so many of them;
const LEAST_MISSING: u64 = 3;
/// or so many, whatever their share: the page of a large listing.
const MANY_MISSING: u64 = 100;

/// What a listing lacks, when that is too much to be believed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Files that are known to be stored and are not listed.
    missing: u64,
    /// Files that are known to be stored.
    known: u64,
}

impl Doubt {
    /// The doubt about a listing that lacks so many of so many known files.
    fn about(missing: u64, known: u64) -> Option<Self> {
        let is_large_share =
            missing.saturating_mul(100) > known.saturating_mul(MOST_MISSING_PERCENT);
        let is_many = missing >= MANY_MISSING || (missing >= LEAST_MISSING && is_large_share);
        is_many.then_some(Self { missing, known })
    }

    /// `7 of 20 known files are not in the listing`.
    fn text(self) -> String {
        format!(
            "{} of {} {} not in the listing of the destination",
            self.missing,
            counted(self.known, "known file"),
            verb(self.missing, "is", "are")
        )
    }
}

/// Known files that a listing lacks.
#[derive(Clone, Copy)]
struct Missing {
    files: u64,
    /// How many of them are indexes.
    indexes: u64,
}

impl Missing {
    fn count(kinds: impl Iterator<Item = VolumeKind>) -> Self {
        let mut missing = Self {
            files: 0,
            indexes: 0,
        };
        for kind in kinds {
            missing.files += 1;
            missing.indexes += u64::from(kind == VolumeKind::Index);
        }
        missing
    }

    /// Whether a version needs one of them. An index only repeats what data files hold, and is written anew from them.
    const fn is_needed(self) -> bool {
        self.files > self.indexes
    }
}

impl Run {
    /// Lists the destination; again when much is missing of what `counts` among the stored volumes. What one of the
    /// listings shows is there. When no more than indexes stay missing, the listing is not in doubt.
    pub(crate) fn list_with_care(
        &self,
        create_folder: bool,
        counts: impl Fn(&VolumeRow) -> bool,
    ) -> Result<View> {
        let mut view = self.list_volumes(create_folder)?;
        let rows = self.catalog(|c| c.volumes())?;
        let unread = self.unread_before()?;
        // A compaction of another machine puts other volumes in the place of those that it removes. Whether there was one
        // is found out later; until then one more listing is enough.
        let names: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let is_unread = |name: &&str| !name.is_empty() && !names.contains(name);
        let unread: HashSet<&str> = unread.lines().filter(is_unread).collect();
        let is_new = |name: &String| {
            let name = name.as_str();
            !names.contains(name) && !unread.contains(name)
        };
        let has_news = view.volumes.keys().any(is_new);
        let unread: Vec<(String, VolumeKind)> = unread
            .into_iter()
            .map(|name| (name.to_owned(), VolumeKind::List))
            .collect();
        let rows = rows.into_iter().filter(|row| is_stored(row) && counts(row));
        let known: Vec<(String, VolumeKind)> =
            rows.map(|row| (row.name, row.kind)).chain(unread).collect();
        let missing_in = |view: &View| {
            let missing = known.iter().filter(|(name, _)| view.find(name).is_none());
            Missing::count(missing.map(|(_, kind)| *kind))
        };
        let doubt_about = |missing: Missing| Doubt::about(missing.files, known.len() as u64);
        let first = missing_in(&view);
        let mut last = first;
        let again = if has_news { 1 } else { AGAIN };
        for attempt in 1..=again.min(self.settings.retry.retries) {
            let Some(doubt) = doubt_about(last) else {
                break;
            };
            self.reporter.say(
                Level::Retry,
                "ListingRepeated",
                format!("{}; it is listed again", doubt.text()),
            );
            self.remote.wait_before(attempt)?;
            let mut again = self.list_volumes(false)?;
            again.add_missed(view);
            view = again;
            last = missing_in(&view);
        }
        view.doubt = doubt_about(last).filter(|_| last.is_needed());
        if last.files < first.files {
            self.reporter.info(
                "ListingIncomplete",
                format!(
                    "the destination gave an incomplete listing: it lacked {} that {} in a later one",
                    counted(first.files - last.files, "file"),
                    verb(first.files - last.files, "is", "are")
                ),
            );
        }
        Ok(view)
    }
}

impl Settled<'_> {
    /// Says once that a listing of this run is in doubt.
    pub(crate) fn tell_doubt(&self) {
        let Some(doubt) = self.doubt else {
            return;
        };
        let text = doubt.text();
        match self.is_explained {
            true => self.reporter.info(
                "ListingInDoubt",
                format!("{text}: another machine or program wrote here since, which may have deleted them; this run deletes nothing that others may need"),
            ),
            false => self.reporter.warn(
                "ListingInDoubt",
                format!("{text}, however often it was listed: this may be a fault of the listing, the wrong folder or another prefix; nothing is deleted by this run"),
            ),
        }
    }

    /// Refuses to remove what a user named while a listing of this run is in doubt and nothing explains that.
    ///
    /// # Errors
    /// `ListingInDoubt`.
    pub(crate) fn check_not_in_doubt(&self) -> Result<()> {
        let Some(doubt) = self.doubt.filter(|_| !self.is_explained) else {
            return Ok(());
        };
        Err(Error::data(
            "ListingInDoubt",
            format!(
                "{}, so nothing is deleted: this may be a fault of the listing, the wrong folder or another prefix",
                doubt.text()
            ),
            "check the storage URL and --prefix, then run `larder list` to see what is there",
        ))
    }
}

impl Ready<'_> {
    /// Refuses to go by numbers of versions in the run that misses a list: they are others than a user saw.
    ///
    /// # Errors
    /// `VersionNumbersChanged`.
    pub(crate) fn check_numbers(&self) -> Result<()> {
        let Some(first) = self.vanished_lists.first() else {
            return Ok(());
        };
        if !self.values.is_set(opt::VERSION) {
            return Ok(());
        }
        let more = match self.vanished_lists.len() - 1 {
            0 => String::new(),
            more => format!(" and {}", counted(more as u64, "other version list")),
        };
        Err(Error::data(
            "VersionNumbersChanged",
            format!(
                "{first}{more} is not in the destination any more, so the numbers of versions may be others than you saw, and nothing was done"
            ),
            "look at `larder list`, and give the command once more with the number that the version has now",
        ))
    }

    /// Why nothing may be removed by a rule: a listing of this run is in doubt, or one of an earlier run was, and what it
    /// lacked is still not there.
    pub(crate) fn why_in_doubt(&self) -> Result<Option<String>> {
        if let Some(doubt) = self.doubt {
            return Ok(Some(format!(
                "{}: what is missing may be there, and may need what is seen",
                doubt.text()
            )));
        }
        Ok(self.standing_doubt()?.map(|doubt| {
            format!(
                "{}, as in an earlier run: bring them back; when they are lost for good, run `larder repair`, and `larder list-broken-files` for what that costs and how to go on",
                doubt.text()
            )
        }))
    }

    fn standing_doubt(&self) -> Result<Option<Doubt>> {
        let losses = self.catalog(|c| c.losses())?;
        let gone = losses.iter().filter(|loss| {
            matches!(loss.what, LossKind::Gone) && self.view.find(&loss.name).is_none()
        });
        let gone: HashMap<&str, VolumeKind> =
            gone.map(|loss| (loss.name.as_str(), loss.kind)).collect();
        let rows = self.catalog(|c| c.volumes())?;
        let stored = rows.iter().filter(|row| is_stored(row)).count() as u64;
        let missing = Missing::count(gone.into_values());
        Ok(Doubt::about(missing.files, stored + missing.files).filter(|_| missing.is_needed()))
    }
}

#[cfg(test)]
mod tests {
    use super::Doubt;

    #[test]
    fn few_files_or_a_small_share_are_believed() {
        for (missing, known, expected) in [
            (0, 0, false),
            (2, 2, false),
            (3, 3, true),
            (3, 59, true),
            (3, 60, false),
            (50, 1000, false),
            (51, 1000, true),
            (99, 100_000, false),
            (100, 100_000, true),
        ] {
            let doubt = Doubt::about(missing, known);
            assert_eq!(doubt.is_some(), expected, "{missing} of {known}");
        }
    }
}
