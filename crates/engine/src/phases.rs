//! The way to an operation, as types: each step can only be taken from the one before it.
//!
//! [`Listed`]: the destination was listed and compared with the catalog. [`Settled`]: the format of the backup is known,
//! and so is what became of every volume that the catalog knew. [`Ready`]: the catalog holds what the operation needs.
//! What needs the format is a method of `Settled`, what needs the catalog whole a method of `Ready`.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Mutex, OnceLock};

use larder_catalog::{Loss, VolumeRow};
use larder_destination::ErrorKind;
use larder_volume::{Format, VolumeKind, VolumeName};

use crate::context::Phase;
use crate::doubt::Doubt;
use crate::losses::BadCopies;
use crate::repository::locked;
use crate::run::Run;
use crate::settle::{is_stored, split_leftovers};
use crate::sync::{Mode, Need, RemoteVolume, Searched, View, is_another_set};
use crate::volumes::OpenedVolumes;
use crate::{Error, Result};

/// The destination was listed, and the rows of the catalog are those of this backup.
pub(crate) struct Listed<'a> {
    pub(crate) run: &'a Run,
    pub(crate) view: View,
    rows: Vec<VolumeRow>,
}

/// Every volume that the catalog knew is accounted for; new ones were not read yet.
pub(crate) struct Settled<'a> {
    run: &'a Run,
    format: Format,
    /// What the destination holds of this backup.
    pub(crate) view: View,
    /// Names of the volumes that need no reading.
    pub(crate) known: HashSet<String>,
    /// Volumes that were opened before anybody wanted what is in them.
    pub(crate) opened: OpenedVolumes,
    /// Lists that were opened to see whether they are versions.
    pub(crate) tried_lists: Mutex<HashMap<String, bool>>,
    /// Lists whose wrong entries were named.
    pub(crate) named_lists: Mutex<HashSet<String>>,
    /// Which data files were searched for blocks that no index names.
    pub(crate) searched: Mutex<Searched>,
    /// Version lists that were known and are not listed: gone when this run began, or since then.
    pub(crate) vanished_lists: Vec<String>,
    /// Version lists that this run removed.
    pub(crate) dropped_lists: Mutex<HashSet<String>>,
    /// Volumes came since this run began that it did not store.
    pub(crate) others_write: bool,
    /// What this run misses may have been deleted by others, who wrote here since the last one.
    pub(crate) is_explained: bool,
    /// What a listing of this run lacked, and lacked again: nothing is removed by this run.
    pub(crate) doubt: Option<Doubt>,
    /// Copies of blocks that were known to be damaged.
    pub(crate) bad_copies: OnceLock<BadCopies>,
}

/// The catalog is up to date with the destination, as far as the operation needs it.
pub(crate) struct Ready<'a> {
    settled: Settled<'a>,
}

impl Run {
    /// Compares catalog and destination and mends the catalog; the central step before every operation.
    ///
    /// # Errors
    /// When the destination cannot be listed, is not what the catalog and the options say, or when the user stopped.
    pub(crate) fn ready(&self, mode: Mode, need: Need) -> Result<Ready<'_>> {
        let (ready, losses) = self.ready_with_losses(mode, need)?;
        ready.tell_losses(&losses)?;
        Ok(ready)
    }

    /// As [`Run::ready`], with the losses for whoever tells them otherwise.
    pub(crate) fn ready_with_losses(
        &self,
        mode: Mode,
        need: Need,
    ) -> Result<(Ready<'_>, Vec<Loss>)> {
        let (mut ready, losses) = self.listed()?.settle(mode, need)?.ready(need)?;
        if mode == Mode::Writing {
            ready.tell_doubt();
            if ready.doubt.is_none() && !self.settings.dry_run {
                ready.end_replacing()?;
            }
        }
        Ok((ready, losses))
    }

    fn listed(&self) -> Result<Listed<'_>> {
        self.reporter.phase(Phase::CheckingRemote);
        let mut rows = self.catalog(|c| c.volumes())?;
        let is_new = !rows.iter().any(is_stored);
        let creates = is_new && self.settings.create_folder;
        // What cannot become a backup leaves no folder behind.
        let format = if creates {
            self.new_format().map(drop)
        } else {
            Ok(())
        };
        let view = match (
            self.list_with_care(creates && format.is_ok(), |_| true),
            format,
        ) {
            (Err(Error::Destination(error)), Err(wrong))
                if *error.kind() == ErrorKind::FolderMissing =>
            {
                return Err(wrong);
            }
            (view, _) => view.map_err(|error| self.on_a_known_backup(error, is_new))?,
        };
        self.report_sorting(&view)?;
        self.check_not_emptied(&view, &rows)?;
        if is_another_set(&view, &rows) {
            // Its format, passphrase and blocks are not those that the catalog knows.
            self.discard_catalog("the destination holds another backup than it describes")?;
            return self.listed();
        }
        self.follow_case(&view, &mut rows)?;
        let rows = self.forget_unencrypted(&view, rows)?;
        Ok(Listed {
            run: self,
            view,
            rows,
        })
    }
}

impl<'a> Listed<'a> {
    /// Finds out the format, checks the passphrase, and deals with every volume that the catalog knows.
    fn settle(mut self, mode: Mode, need: Need) -> Result<Settled<'a>> {
        let (leftovers, rows) = split_leftovers(&mut self.view, self.rows);
        let (format, opened) = self.run.find_format(&self.view, need)?;
        self.run.check_passphrase(&self.view)?;
        let doubt = self.view.doubt;
        let mut settled = Settled {
            run: self.run,
            format,
            doubt,
            view: self.view,
            known: HashSet::new(),
            opened,
            tried_lists: Mutex::default(),
            named_lists: Mutex::default(),
            searched: Mutex::default(),
            vanished_lists: Vec::new(),
            dropped_lists: Mutex::default(),
            others_write: false,
            is_explained: false,
            bad_copies: OnceLock::new(),
        };
        let by_others = settled.others_wrote(&rows)?;
        settled.is_explained = by_others == Some(true);
        settled.remove_leftovers(leftovers, mode)?;
        settled.settle_known(rows, mode, by_others)?;
        let vanished = settled.view.vanished.iter();
        settled.vanished_lists = vanished
            .filter(|(_, kind)| *kind == VolumeKind::List)
            .map(|(name, _)| name.clone())
            .collect();
        Ok(settled)
    }
}

impl Ready<'_> {
    /// A volume was removed since the destination was listed.
    pub(crate) fn forget_listed(&mut self, name: &str) {
        self.settled.view.volumes.remove(name);
    }

    /// A volume was stored since the destination was listed.
    pub(crate) fn add_listed(&mut self, name: VolumeName, size: Option<u64>) {
        let text = name.as_str().to_owned();
        let volume = RemoteVolume {
            name,
            size,
            modified: Some(self.clock.seconds()),
            is_archived: false,
        };
        self.settled.view.volumes.insert(text, volume);
    }

    /// What follows goes by another listing: the destination was changed since the last one.
    pub(crate) fn list_again(&mut self, view: View) -> Result<()> {
        let dropped = locked(&self.dropped_lists).clone();
        let mut vanished = Vec::new();
        for (_, list) in self.view.lists() {
            let name = list.name.as_str();
            if view.find(name).is_none() && !dropped.contains(name) {
                vanished.push(name.to_owned());
            }
        }
        let mut others_write = false;
        for name in view.volumes.keys() {
            if self.view.find(name).is_none() && !dropped.contains(name) {
                others_write |= self.catalog(|c| c.volume_named(name))?.is_none();
            }
        }
        self.settled.vanished_lists.append(&mut vanished);
        self.settled.others_write |= others_write;
        self.settled.doubt = self.settled.doubt.or(view.doubt);
        self.settled.view = view;
        Ok(())
    }

    /// Lists the destination once more, without going by it. Listings of some services lag behind what was stored since.
    pub(crate) fn list_once_more(&self) -> Result<View> {
        // It was waited for once, and nothing is removed by this run.
        if self.doubt.is_some() {
            return self.list_volumes(false);
        }
        let shows_all = self.remote.lists_at_once();
        self.list_with_care(false, |row| {
            shows_all || self.view.find(&row.name).is_some()
        })
    }

    /// Goes by one more listing of the destination.
    pub(crate) fn relist(&mut self) -> Result<()> {
        let view = self.list_once_more()?;
        let mut rows = self.catalog(|c| c.volumes())?;
        self.follow_case(&view, &mut rows)?;
        self.list_again(view)
    }
}

impl<'a> Settled<'a> {
    /// The format of this backup.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Reads what the operation needs and the catalog lacks; gives the losses that last.
    fn ready(self, need: Need) -> Result<(Ready<'a>, Vec<Loss>)> {
        // What a loss costs is known only when everything that is stored now was taken in.
        if need != Need::Lists || (self.can_decrypt() && self.has_fresh_losses()?) {
            let mut noted = self.noted_losses()?;
            // One whose change was just noticed is read once for what it still has.
            for (name, _, _) in &self.view.resized {
                noted.remove(name);
            }
            self.ingest_indexes(&noted)?;
            self.ingest_unindexed(&noted)?;
        }
        if need == Need::BlocksAndEntries {
            self.ingest_newest_list()?;
        }
        if !self.view.volumes.is_empty() {
            self.remember_format(self.format)?;
        }
        let rows = self.catalog(|c| c.volumes())?;
        let rows: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let lists = self.view.lists().into_iter().map(|(_, list)| list);
        let unread: Vec<(String, u64)> = lists
            .filter(|list| !rows.contains(list.name.as_str()))
            .map(|list| (list.name.as_str().to_owned(), list.size.unwrap_or(0)))
            .collect();
        if self.known.is_empty() {
            self.note_first_unread(&unread)?;
        }
        if !self.view.lists().is_empty() {
            self.forget_all_deleted()?;
        }
        self.note_unread(&unread)?;
        *locked(&self.unread_lists) = unread;
        let losses = self.lasting_losses()?;
        Ok((Ready { settled: self }, losses))
    }
}

impl Deref for Settled<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run
    }
}

impl<'a> Deref for Ready<'a> {
    type Target = Settled<'a>;

    fn deref(&self) -> &Settled<'a> {
        &self.settled
    }
}
