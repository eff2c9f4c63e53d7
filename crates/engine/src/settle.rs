//! What becomes of the volumes that the catalog knows when the destination was listed (format spec 8.4).

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use larder_catalog::{Catalog, LossKind, VolumeRow, VolumeState};
use larder_destination::ErrorKind;
use larder_volume::{VolumeKind, VolumeName, VolumeTime};

use crate::delete::{forget_dropped, forget_removed, is_dropped, was_removed};
use crate::entries::filelist_of;
use crate::error::Reach;
use crate::losses::{named_times, own_name, set_aside};
use crate::notes::Presence;
use crate::phases::Settled;
use crate::run::{Run, read_manifest};
use crate::sync::{Mode, RemoteVolume, View};
use crate::words::{counted, verb};
use crate::{Error, Level, Result};

impl Run {
    /// Names of the version lists that the run before listed and did not read, one a line.
    pub(crate) fn unread_before(&self) -> Result<String> {
        Ok(self.catalog(|c| c.param(UNREAD_LISTS))?.unwrap_or_default())
    }

    /// Names of lists that were opened and are no versions, one a line.
    fn no_versions(&self) -> Result<String> {
        Ok(self.catalog(|c| c.param(NO_VERSIONS))?.unwrap_or_default())
    }

    /// A folder that held a backup and now holds none of it is a lost mount far more often than a wish.
    pub(crate) fn check_not_emptied(&self, view: &View, rows: &[VolumeRow]) -> Result<()> {
        let stored = rows.iter().filter(|row| is_stored(row)).count();
        if stored == 0 || !view.volumes.is_empty() {
            return Ok(());
        }
        let mut message = format!(
            "none of the {stored} volumes of this backup is in {} any more",
            self.remote.display()
        );
        if !view.foreign.is_empty() {
            let names: Vec<_> = view.foreign.keys().map(String::as_str).collect();
            message.push_str(&format!(
                "; it holds backups with the prefix {}",
                names.join(", ")
            ));
        }
        let help = self.to_start_anew("emptied");
        Err(Error::data("MissingRemoteFiles", message, help))
    }

    /// Says how to start anew where the folder of a backup is missing that was stored there once.
    pub(crate) fn on_a_known_backup(&self, error: Error, is_new: bool) -> Error {
        match &error {
            Error::Destination(remote) if !is_new && *remote.kind() == ErrorKind::FolderMissing => {
                let help = self.to_start_anew("removed");
                Error::user("FolderMissing", remote.to_string(), help)
            }
            _ => error,
        }
    }

    fn to_start_anew(&self, done: &str) -> String {
        // A dry run works on a copy.
        let catalog = match self.settings.dry_run {
            true => "the local catalog, which a run without --dry-run names,".to_owned(),
            false => self.state_path().display().to_string(),
        };
        format!(
            "mount the disk or correct the URL; if the folder was {done} on purpose, remove {catalog} and start anew"
        )
    }

    /// Takes over the names that the destination gives to volumes, where they differ from those sent in their case only.
    pub(crate) fn follow_case(&self, view: &View, rows: &mut [VolumeRow]) -> Result<()> {
        for row in rows {
            let Some(listed) = view.find(&row.name).map(|v| v.name.as_str()) else {
                continue;
            };
            if listed != row.name {
                self.catalog(|c| c.rename_volume(row.id, listed))?;
                listed.clone_into(&mut row.name);
            }
        }
        Ok(())
    }
}

impl Settled<'_> {
    /// Removes what an earlier run of this machine left half-done. One that cannot be removed stays noted for the next
    /// run: it may be locked, and it harms nobody.
    pub(crate) fn remove_leftovers(
        &mut self,
        leftovers: Vec<(VolumeRow, u64)>,
        mode: Mode,
    ) -> Result<()> {
        if mode == Mode::Reading || self.settings.dry_run {
            return Ok(());
        }
        for (row, size) in leftovers {
            if self.may_be_needed(&row) {
                continue;
            }
            if row.kind == VolumeKind::List
                && !self.catalog(|c| is_dropped(c, &row.name))?
                && let Some(volume) = self.list_of_another_run(&row, size)?
            {
                self.catalog(|c| c.remove_volume(row.id))?;
                self.view.volumes.insert(row.name, volume);
                continue;
            }
            // From here on nothing rests on its blocks, also when the deletion is refused.
            self.durable(|c| c.set_volume(row.id, VolumeState::Deleting, None, None))?;
            match self.remote.delete(&row.name, size) {
                Ok(()) => self.catalog(|c| c.batch(|c| forget_removed(c, &[row])))?,
                Err(Error::Destination(error))
                    if row.kind == VolumeKind::List
                        && matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied) =>
                {
                    self.keep_refused_list(&row, size, &error)?;
                }
                Err(Error::Destination(error)) => {
                    // A lock ends by itself, and until then it is as it should be.
                    let level = match error.kind() {
                        ErrorKind::Locked => Level::Information,
                        _ => Level::Warning,
                    };
                    self.reporter.say(
                        level,
                        "LeftoverNotRemoved",
                        format!(
                            "{} is not needed any more and could not be removed: {error}",
                            row.name
                        ),
                    );
                }
                Err(error) => return Err(error),
            }
        }
        let settings = &self.settings;
        match self.remote.remove_pieces(&|name| settings.is_own(name)) {
            Ok(0) => {}
            Ok(pieces) => self.reporter.say(
                Level::Verbose,
                "UnfinishedUploadsRemoved",
                format!("unfinished uploads of earlier runs removed: {pieces}"),
            ),
            Err(Error::Destination(error)) => self.reporter.say(
                Level::Verbose,
                "UnfinishedUploadsStay",
                format!("unfinished uploads of earlier runs could not be removed: {error}"),
            ),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A list that may not go: the version that was dropped is one again, so that what it uses stays. Half of one is none.
    fn keep_refused_list(
        &mut self,
        row: &VolumeRow,
        size: u64,
        error: &larder_destination::Error,
    ) -> Result<()> {
        let name = VolumeName::parse(&row.name, self.settings.case_insensitive);
        let was_version = self.catalog(|c| is_dropped(c, &row.name))?;
        if let Some(name) = name.filter(|_| was_version) {
            self.catalog(|c| c.batch(|c| forget_dropped(c, row)))?;
            let volume = RemoteVolume {
                name,
                size: Some(size),
                modified: None,
                is_archived: false,
            };
            self.view.volumes.insert(row.name.clone(), volume);
        }
        let text = match was_version {
            true => "was to be deleted and stays a version, since it cannot be removed",
            false => "is left from an interrupted transfer and cannot be removed",
        };
        let level = match error.kind() {
            // A lock ends by itself.
            ErrorKind::Locked => Level::Information,
            _ => Level::Warning,
        };
        self.reporter.say(
            level,
            "LeftoverNotRemoved",
            format!("{} {text}: {error}", row.name),
        );
        Ok(())
    }

    /// Whether a list can be had that no listing shows: listings may lag, and nobody deleted it. Some services answer with a
    /// denial for what is not there.
    fn is_hidden(&self, name: &str) -> Result<bool> {
        let is_there = match self.remote.exists(name) {
            Err(Error::Destination(error)) if *error.kind() == ErrorKind::Denied => false,
            other => other?,
        };
        if is_there {
            self.reporter.info(
                "ListNotListed",
                format!("{name} is there, but the destination does not list it"),
            );
        }
        Ok(is_there)
    }

    /// Whether a volume was going when an earlier run ended, and what took its place may not be there.
    fn may_be_needed(&self, row: &VolumeRow) -> bool {
        self.doubt.is_some() && row.state == VolumeState::Deleting
    }

    /// The list that another machine stored under a name that this one knows or tried to give. Names of lists are seconds, so
    /// two machines can choose one; what opens and is not what was sent here is theirs.
    fn list_of_another_run(&self, row: &VolumeRow, size: u64) -> Result<Option<RemoteVolume>> {
        Ok(self.other_list(row, size)?.map(|(volume, _)| volume))
    }

    /// As [`Settled::list_of_another_run`], with the time at which the list was made where it tells.
    fn other_list(
        &self,
        row: &VolumeRow,
        size: u64,
    ) -> Result<Option<(RemoteVolume, Option<VolumeTime>)>> {
        let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive) else {
            return Ok(None);
        };
        let data = match self
            .remote
            .get(&row.name, Some(size).filter(|size| *size > 0))
        {
            Ok(data) => data,
            Err(error) if error.reach() == Reach::Volume => return Ok(None),
            Err(error) => return Err(error),
        };
        let own = row.hash.is_some() && row.hash == Some(data.hash(self.format().file_hash)?);
        let archive = match self.open_volume(&name, data) {
            Ok(archive) => archive,
            Err(error) if error.reach() == Reach::Volume => return Ok(None),
            Err(error) => return Err(error),
        };
        if own || filelist_of(&archive, &row.name).is_err() {
            return Ok(None);
        }
        let manifest = read_manifest(&archive, &row.name).ok();
        let created = manifest.and_then(|manifest| VolumeTime::parse(&manifest.created).ok());
        let volume = RemoteVolume {
            name,
            size: Some(size),
            modified: None,
            is_archived: false,
        };
        Ok(Some((volume, created)))
    }

    /// Deals with every volume the catalog knows, and notes those that need no reading.
    /// `by_others`: [`Settled::others_wrote`].
    pub(crate) fn settle_known(
        &mut self,
        rows: Vec<VolumeRow>,
        mode: Mode,
        by_others: Option<bool>,
    ) -> Result<()> {
        let mut deleted = self.settle_unread(&rows, by_others)?;
        self.note_gone_indexes(&rows)?;
        self.view.written_by_others = by_others == Some(true);
        for row in rows {
            let found = self.view.find(&row.name).map(|v| v.size);
            match (row.state, found) {
                (VolumeState::Uploaded | VolumeState::Verified, Some(size)) => {
                    match (size, row.size) {
                        (Some(found), Some(expected))
                            if found != expected && self.takes_for_another(&row, found)? => {}
                        (Some(found), Some(expected)) if found != expected => {
                            self.reporter.warn(
                                "RemoteSizeChanged",
                                format!(
                                    "{} has {found} bytes instead of {expected}: it is not relied on; run `larder test … all`",
                                    row.name
                                ),
                            );
                            self.settle_lost(&row, LossKind::Resized(found), false)?;
                            self.view.resized.push((row.name, found, expected));
                        }
                        _ => {
                            self.known.insert(row.name);
                        }
                    }
                }
                (VolumeState::Uploaded | VolumeState::Verified, None) => {
                    self.view.vanished.push((row.name.clone(), row.kind));
                    if row.kind == VolumeKind::List && by_others == Some(true) {
                        if self.is_hidden(&row.name)? {
                            continue;
                        }
                        let name = VolumeName::parse(&row.name, true);
                        deleted.extend(name.and_then(|name| Some(name.time()?.0)));
                    }
                    // Who knows the passphrase finds out whether this is a loss.
                    if row.kind != VolumeKind::List || by_others.is_some() {
                        let by_others = by_others == Some(true);
                        self.settle_lost(&row, LossKind::Gone, by_others)?;
                    }
                }
                (VolumeState::Uploading, Some(_)) if row.kind == VolumeKind::List => {
                    // It arrived although its run ended before noting it: read it like a new one.
                    self.catalog(|c| c.remove_volume(row.id))?;
                }
                (VolumeState::Uploading, Some(_)) => {
                    self.catalog(|c| {
                        c.set_volume(row.id, VolumeState::Uploaded, row.size, row.hash)
                    })?;
                    self.known.insert(row.name);
                }
                (VolumeState::Uploading | VolumeState::Temporary | VolumeState::Deleting, _) => {
                    if mode == Mode::Writing && !self.may_be_needed(&row) {
                        // One that is to go was sent too, under the name before, unless it was a version.
                        let was_sent = match row.state {
                            VolumeState::Uploading => true,
                            VolumeState::Deleting => !self.catalog(|c| is_dropped(c, &row.name))?,
                            _ => false,
                        };
                        if row.kind == VolumeKind::List && was_sent {
                            self.note_under_way(&row.name)?;
                        }
                        self.catalog(|c| c.batch(|c| forget_dropped(c, &row)))?;
                    }
                }
                (VolumeState::Deleted, found) => self.settle_gone(row, found)?,
            }
        }
        self.tell_deleted_by_others(deleted);
        Ok(())
    }

    /// Names the versions that are gone while another machine or program wrote here: they count as deleted by it.
    fn tell_deleted_by_others(&self, mut times: Vec<i64>) {
        times.sort_unstable_by(|a, b| b.cmp(a));
        let number = times.len() as u64;
        if number > 0 {
            self.reporter.info(
                "VersionsDeletedElsewhere",
                format!(
                    "another machine or program wrote here since the last run, and {} {} not there any more, deleted by it as it seems: {}",
                    counted(number, "version"),
                    verb(number, "is", "are"),
                    named_times(&times)
                ),
            );
        }
    }

    /// Notes which indexes are not listed: when they are back, they are no news.
    fn note_gone_indexes(&self, rows: &[VolumeRow]) -> Result<()> {
        let is_gone = |row: &&VolumeRow| {
            row.kind == VolumeKind::Index && is_stored(row) && self.view.find(&row.name).is_none()
        };
        let gone: Vec<&str> = rows
            .iter()
            .filter(is_gone)
            .map(|row| row.name.as_str())
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let before = self.catalog(|c| c.param(GONE_INDEXES))?.unwrap_or_default();
        // The latest first.
        let names: Vec<&str> = gone
            .into_iter()
            .chain(before.lines())
            .take(MOST_GONE_INDEXES)
            .collect();
        self.durable(|c| c.set_param(GONE_INDEXES, &names.join("\n")))
    }

    /// Whether a list under a known name is another whole one, which is read like any that is new. Names of lists are seconds,
    /// and one that another machine replaced may lend its name to the next.
    fn takes_for_another(&self, row: &VolumeRow, size: u64) -> Result<bool> {
        if row.kind != VolumeKind::List || !self.can_decrypt() {
            return Ok(false);
        }
        if !self.is_later_list(row, size)? {
            return Ok(false);
        }
        self.reporter.info(
            "OtherList",
            format!("{} is another list than the one that was stored, and is taken for what it is from now on", row.name),
        );
        self.durable(|c| {
            c.remove_loss(&row.name)?;
            c.remove_volume(row.id)
        })?;
        Ok(true)
    }

    /// Whether the list of this size under a known name is another whole one that is not older than its name, as a purge
    /// makes it. An earlier one under this name, or a copy of another list, would pass for a version that it is not: then the
    /// version is lost.
    pub(crate) fn is_later_list(&self, row: &VolumeRow, size: u64) -> Result<bool> {
        let lists = self.view.lists();
        let mut others = lists
            .iter()
            .filter(|(_, list)| list.name.as_str() != row.name);
        // Two lists of one length are rare, and a list that is told as damaged is stored again.
        if others.any(|(_, list)| list.size.is_none_or(|other| other == size)) {
            return Ok(false);
        }
        let other = self.other_list(row, size)?;
        Ok(other.is_some_and(|(volume, created)| {
            let times = created.zip(volume.name.time());
            times.is_some_and(|(created, named)| created >= named)
        }))
    }

    /// A list that was listed and never read is a version like any other when it vanishes. Gives the times of those that others
    /// deleted, as it seems, in seconds since 1970.
    fn settle_unread(&mut self, rows: &[VolumeRow], by_others: Option<bool>) -> Result<Vec<i64>> {
        let mut deleted = Vec::new();
        for name in self.unread_before()?.lines() {
            let name = VolumeName::parse(name, self.settings.case_insensitive);
            let Some(name) = name.filter(|name| self.view.find(name.as_str()).is_none()) else {
                continue;
            };
            if rows.iter().any(|row| row.name == name.as_str()) {
                continue;
            }
            let vanished = (name.as_str().to_owned(), VolumeKind::List);
            self.view.vanished.push(vanished);
            if by_others == Some(true) {
                if self.is_hidden(name.as_str())? {
                    self.view.hidden_lists.push(name.as_str().to_owned());
                } else {
                    deleted.extend(name.time().map(|time| time.0));
                }
            }
            if by_others == Some(false) {
                let loss = self.loss_of_unread(&name, LossKind::Gone);
                self.durable(|c| c.add_loss(&loss, &[]))?;
            }
        }
        Ok(deleted)
    }

    /// What is known of a version list that was lost stays as long as that is told. When it is back as it was, it is a
    /// version again.
    fn settle_gone(&mut self, row: VolumeRow, found: Option<Option<u64>>) -> Result<()> {
        let loss = self.catalog(|c| c.loss(own_name(&row.name)))?;
        match (found, loss) {
            (Some(size), _) if size.is_none() || row.size.is_none() || size == row.size => {
                self.durable(|c| c.set_volume(row.id, VolumeState::Verified, None, None))?;
                self.known.insert(row.name);
            }
            // Another one came in its place, which is read like any that is new.
            (Some(_), Some(loss)) if loss.what == LossKind::Gone => {
                self.durable(|c| c.rename_volume(row.id, &set_aside(&row.name)))?;
            }
            (_, Some(_)) => {}
            (_, None) => self.catalog(|c| c.remove_volume(row.id))?,
        }
        Ok(())
    }

    /// Notes the lists that are there and were not read: when they are still there later, they are no news, and when they
    /// are not, they are missed.
    pub(crate) fn note_unread(&self, unread: &[(String, u64)]) -> Result<()> {
        let before = self.unread_before()?;
        // What was opened and is no version is not missed when it goes.
        let known = self.no_versions()?;
        let is_listed = |name: &&str| self.view.find(name).is_some();
        let no_versions: Vec<&str> = known.lines().filter(is_listed).collect();
        if no_versions.len() < known.lines().count() {
            self.catalog(|c| c.set_param(NO_VERSIONS, &no_versions.join("\n")))?;
        }
        // Nor what this machine removed, where listings lag.
        let lags = !self.remote.lists_at_once();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (name, _) in unread {
            let is_removed = lags && self.catalog(|c| was_removed(c, name))?;
            if !is_removed && !no_versions.contains(&name.as_str()) {
                names.insert(name);
            }
        }
        names.extend(self.view.hidden_lists.iter().map(String::as_str));
        if !self.can_decrypt() {
            // Whether those that vanished are a loss is for a run with the passphrase to find out.
            names.extend(before.lines());
        }
        let names: Vec<&str> = names.into_iter().collect();
        let names = names.join("\n");
        self.catalog(|c| match before == names {
            true => Ok(()),
            false => c.set_param(UNREAD_LISTS, &names),
        })
    }

    /// A list that was taken for no version can be read.
    pub(crate) fn forget_no_version(&self, name: &str) -> Result<()> {
        let known = self.no_versions()?;
        let left: Vec<&str> = known.lines().filter(|known| *known != name).collect();
        match left.len() < known.lines().count() {
            true => self.catalog(|c| c.set_param(NO_VERSIONS, &left.join("\n"))),
            false => Ok(()),
        }
    }

    /// Notes a list that was opened and is no version.
    pub(crate) fn note_no_version(&self, name: &str) -> Result<()> {
        let known = self.no_versions()?;
        if known.lines().any(|known| known == name) {
            return Ok(());
        }
        self.catalog(|c| {
            c.set_param(NO_VERSIONS, format!("{known}\n{name}").trim_start())?;
            forget_unread(c, name)
        })
    }

    /// Whether another program wrote here since, so that versions may have been deleted on purpose: the destination
    /// holds a list or an index that this machine did not write and that opens. A file with the name of a volume is
    /// none yet, anybody can put one there. `None` while that cannot be told for want of a passphrase.
    pub(crate) fn others_wrote(&self, rows: &[VolumeRow]) -> Result<Option<bool>> {
        let view = &self.view;
        let is_missing = |name: &str| !name.is_empty() && view.find(name).is_none();
        let matters = |row: &VolumeRow| {
            is_stored(row) && row.kind != VolumeKind::Index && is_missing(&row.name)
        };
        let seen = self.unread_before()?;
        if !rows.iter().any(matters) && !seen.lines().any(is_missing) {
            return Ok(Some(false));
        }
        // What was missing in an earlier listing is no news when it is back.
        let gone = self.catalog(|c| c.param(GONE_INDEXES))?.unwrap_or_default();
        let no_versions = self.no_versions()?;
        let losses = self.catalog(|c| c.losses())?;
        let own = rows.iter().map(|row| row.name.as_str());
        let lost = losses.iter().map(|loss| loss.name.as_str());
        let own: HashSet<&str> = own
            .chain(lost)
            .chain(seen.lines())
            .chain(no_versions.lines())
            .chain(gone.lines())
            .collect();
        let mut unknown: Vec<&RemoteVolume> = view
            .volumes
            .values()
            .filter(|v| v.name.kind() != VolumeKind::Blocks && !v.is_archived)
            .filter(|v| !own.contains(v.name.as_str()))
            .collect();
        // What this machine removed came back with an earlier state of the destination.
        self.catalog(|c| {
            let mut others = Vec::new();
            for volume in &unknown {
                if !was_removed(c, volume.name.as_str())? {
                    others.push(*volume);
                }
            }
            unknown = others;
            Ok(())
        })?;
        if unknown.is_empty() {
            return Ok(Some(false));
        }
        if !self.can_decrypt() {
            return Ok(None);
        }
        // Whoever adds files cannot see to it that they are asked.
        let chance = RandomState::new();
        unknown.sort_by_cached_key(|volume| chance.hash_one(volume.name.as_str()));
        for volume in unknown.into_iter().take(ASKED) {
            if self.opens(volume)? {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Forgets a volume that is not what it was, and notes the loss. The suspicion comes first: it must outlive a run
    /// that ends here.
    fn settle_lost(&self, row: &VolumeRow, what: LossKind, by_others: bool) -> Result<()> {
        self.durable(|c| {
            if row.kind == VolumeKind::Blocks {
                Presence::InDoubt.note(c)?;
            }
            let is_loss = match row.kind {
                // It is written anew.
                VolumeKind::Index => false,
                // Another program that writes here may delete versions; only what vanishes without one is told.
                VolumeKind::List => !by_others,
                // Whether anything of it is missed shows when all indexes have been read.
                VolumeKind::Blocks => true,
            };
            // One that changed once more may be as it was at first.
            let known = c.loss(&row.name)?;
            let is_back = matches!((&what, known), (LossKind::Resized(found), Some(known)) if known.size == Some(*found));
            if is_back || !is_loss {
                c.remove_loss(&row.name)?;
            } else {
                self.note_loss(c, row, what.clone())?;
            }
            if row.kind == VolumeKind::List && is_loss && !is_back {
                // What is known of it stays: a repair stores it again, and nothing else is ever taken for this version.
                return c.set_volume(row.id, VolumeState::Deleted, None, None);
            }
            c.remove_volume(row.id)
        })
    }
}

/// Catalog parameter: names of version lists that were listed and never read, one a line.
const UNREAD_LISTS: &str = "unread-lists";
/// Catalog parameter: names of lists that were opened and are no versions, one a line.
const NO_VERSIONS: &str = "no-versions";
/// Catalog parameter: names of indexes that were missing in a listing, the latest first, one a line.
const GONE_INDEXES: &str = "gone-indexes";
/// How many of them are remembered.
const MOST_GONE_INDEXES: usize = 100_000;
/// Unknown volumes that are opened to find out whether another program writes here.
const ASKED: usize = 10;

/// A list that this machine removes is not missed.
pub(crate) fn forget_unread(catalog: &Catalog, name: &str) -> larder_catalog::Result<()> {
    let Some(names) = catalog.param(UNREAD_LISTS)? else {
        return Ok(());
    };
    let left: Vec<&str> = names.lines().filter(|unread| *unread != name).collect();
    catalog.set_param(UNREAD_LISTS, &left.join("\n"))
}

/// True for volumes that are known to be in the destination.
pub(crate) fn is_stored(row: &VolumeRow) -> bool {
    matches!(row.state, VolumeState::Uploaded | VolumeState::Verified)
}

/// Takes out of the view what an earlier run of this machine left half-done; gives it with its sizes, and all other
/// rows. Nothing is learned from such files, and versions among them are none.
pub(crate) fn split_leftovers(
    view: &mut View,
    rows: Vec<VolumeRow>,
) -> (Vec<(VolumeRow, u64)>, Vec<VolumeRow>) {
    let (mut leftovers, mut others) = (Vec::new(), Vec::new());
    for row in rows {
        let found = view.volumes.get(&row.name).map(|v| v.size);
        let is_leftover = match row.state {
            VolumeState::Temporary | VolumeState::Deleting => true,
            // Whole only when its size says so (format spec 8.4); a list is read in any case.
            VolumeState::Uploading => match found.flatten() {
                Some(size) => row.size != Some(size),
                None => row.kind != VolumeKind::List,
            },
            VolumeState::Uploaded | VolumeState::Verified | VolumeState::Deleted => false,
        };
        match found {
            Some(size) if is_leftover => {
                view.volumes.remove(&row.name);
                leftovers.push((row, size.unwrap_or(0)));
            }
            _ => others.push(row),
        }
    }
    (leftovers, others)
}
