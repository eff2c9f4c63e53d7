//! Files of which something is lost: naming them, and taking them out of the versions.

use std::collections::HashSet;

use larder_catalog::StoredEntry;
use larder_options::engine as opt;
use larder_volume::{EntryKind, FileEntry, Hash, HashAlgorithm, Hint, Metadata, VolumeTime};

use crate::budget::Budget;
use crate::context::Level;
use crate::error::Reach;
use crate::missing::{Missing, Waiting, WholeLists};
use crate::named::Room;
use crate::phases::Ready;
use crate::replace::NO_FREE_TIME;
use crate::report::{BrokenFile, BrokenFilesReport, BrokenVersion, PurgeReport};
use crate::run::Run;
use crate::sync::{Mode, Need, describe};
use crate::versions::Version;
use crate::volumes::{Unwatched, VolumeBuilder};
use crate::words::counted;
use crate::{Error, Result};

/// Files of one version that are named unless everything is asked for.
const NAMED_FILES: usize = 5;

/// What of a version cannot be restored. Memory: 16 bytes, and what a set takes besides, for each of these entries.
#[derive(Default)]
struct Broken {
    /// Number in the catalog.
    fileset: i64,
    entries: u64,
    content: HashSet<PathKey>,
    metadata: HashSet<PathKey>,
}

/// The beginning of the SHA-256 of a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PathKey([u8; 16]);

impl PathKey {
    fn of(path: &[u8]) -> Self {
        let hash = HashAlgorithm::Sha256.digest(path);
        Self(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

impl Broken {
    fn is_all(&self) -> bool {
        self.entries > 0 && self.content.len() as u64 == self.entries
    }

    fn is_empty(&self) -> bool {
        self.content.is_empty() && self.metadata.is_empty()
    }
}

impl Run {
    /// Names the files of all versions of which something is lost.
    ///
    /// # Errors
    /// A destination that cannot be used. A list that cannot be read is an error in the report.
    pub fn list_broken_files(&self) -> Result<BrokenFilesReport> {
        self.with_healing(|| {
            let (ready, losses) = self.ready_with_losses(Mode::Reading, Need::Blocks)?;
            drop(losses);
            ready.list_broken()
        })
    }

    /// Takes the files of which something is lost out of all versions. Where only metadata is lost, empty metadata takes
    /// its place unless `--disable-replace-missing-metadata` is given. A version of which nothing is left is deleted.
    ///
    /// # Errors
    /// When nothing would be left of any version, and a destination that cannot be used.
    pub fn purge_broken_files(&self) -> Result<PurgeReport> {
        self.with_healing(|| {
            let (ready, losses) = self.ready_with_losses(Mode::Writing, Need::Blocks)?;
            drop(losses);
            ready.check_not_in_doubt()?;
            ready.purge_broken()
        })
    }
}

impl Ready<'_> {
    fn list_broken(&self) -> Result<BrokenFilesReport> {
        let most = match self.values.get(opt::FULL_RESULT)? {
            true => usize::MAX,
            false => NAMED_FILES,
        };
        let mut room = Room::default();
        let mut report = BrokenFilesReport::default();
        self.all_versions()?;
        for version in self.stored_versions()?.iter().rev() {
            let mut found = BrokenVersion {
                number: version.number,
                time: version.time.0,
                files: Vec::new(),
                count: 0,
            };
            let read = self.each_broken(version, |stored, missing| {
                found.count += 1;
                let path = String::from_utf8_lossy(&stored.entry.path);
                if found.files.len() < most && room.take(&path) {
                    found.files.push(BrokenFile {
                        path: path.into_owned(),
                        size: match stored.entry.kind {
                            EntryKind::File => i64::try_from(stored.entry.size).unwrap_or(-1),
                            EntryKind::Folder | EntryKind::Symlink => -1,
                        },
                        only_metadata: missing == Missing::Metadata,
                    });
                }
                Ok(())
            });
            self.told_if_unreadable(version, read)?;
            if found.count > 0 {
                report.broken_files.push(found);
            }
        }
        report.common = self.common("ListBrokenFiles", false);
        Ok(report)
    }

    /// Passes on what reading a list gave; a version that cannot be looked at is told.
    fn told_if_unreadable<T>(&self, version: &Version, read: Result<T>) -> Result<Option<T>> {
        match read {
            Err(error) if error.reach() == Reach::Volume => {
                let text = self.not_looked_at(version, &error)?;
                self.reporter.error("DamagedList", text);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Says that a version could not be looked at, why, and what helps.
    pub(crate) fn not_looked_at(&self, version: &Version, error: &Error) -> Result<String> {
        let name = version.volume.name.as_str();
        let is_lost = self.catalog(|c| c.has_loss(name))?;
        let help = match is_lost && self.known_version(name)?.is_some() {
            true => "`larder repair` stores its list again".to_owned(),
            false => format!("`larder delete … --version={}` gives it up", version.number),
        };
        Ok(format!(
            "version {} of {} could not be looked at: {}; {help}",
            version.number,
            version.time,
            describe(error)
        ))
    }

    /// Hands the entries of a version to `take` of which something is lost. Gives its number in the catalog and how many
    /// entries it has.
    fn each_broken(
        &self,
        version: &Version,
        mut take: impl FnMut(&StoredEntry, Missing) -> Result<()>,
    ) -> Result<(i64, u64)> {
        let fileset = self.entries_of_version(version)?;
        let lost = self.damaged_blocks()?;
        self.search_for(fileset, &lost)?;
        let mut waiting = Waiting::default();
        let mut entries = 0;
        let mut found = |entry, missing| take(&StoredEntry { entry, seen: None }, missing);
        for stored in self.catalog(|c| c.entries(fileset))? {
            self.cancel.check()?;
            entries += 1;
            self.find_missing_of(&mut waiting, stored?.entry, &lost, &mut found)?;
        }
        self.find_missing(&mut waiting, &lost, &mut found)?;
        Ok((fileset, entries))
    }

    /// Looks for what a version seems to lack, as a restore does: in blocklists that no index repeats, and in data files
    /// that hold more than their index says.
    fn search_for(&self, fileset: i64, lost: &HashSet<(Hash, u64)>) -> Result<()> {
        let mut unknown = HashSet::new();
        for stored in self.catalog(|c| c.entries(fileset))? {
            self.cancel.check()?;
            self.unknown_lists(&stored?.entry, |list| {
                unknown.insert(list);
            })?;
        }
        self.load_blocklists(unknown)?;
        let (mut waiting, mut whole) = (Waiting::default(), WholeLists::default());
        let mut first: Option<(Hash, u64)> = None;
        let mut found = |entry: FileEntry, _| {
            if first.is_none() {
                first = self.first_missing(&entry, lost, &mut whole)?;
                first = first.filter(|key| !lost.contains(key));
            }
            Ok(())
        };
        for stored in self.catalog(|c| c.entries(fileset))? {
            self.find_missing_of(&mut waiting, stored?.entry, lost, &mut found)?;
        }
        self.find_missing(&mut waiting, lost, &mut found)?;
        // What the search finds is known from then on, whatever was asked for.
        if let Some(key) = first {
            self.find_or_search(&[key])?;
        }
        Ok(())
    }

    /// What of a version cannot be restored; lost metadata alone counts as such only when it is to be replaced.
    fn broken_of(&self, version: &Version, replaces: bool) -> Result<Option<Broken>> {
        let mut broken = Broken::default();
        let read = self.each_broken(version, |stored, missing| {
            let key = PathKey::of(&stored.entry.path);
            // Where a link leads to is metadata.
            let is_link = stored.entry.kind == EntryKind::Symlink;
            match missing {
                Missing::Metadata if replaces && !is_link => broken.metadata.insert(key),
                Missing::Content | Missing::Metadata => broken.content.insert(key),
            };
            Ok(())
        });
        let Some((fileset, entries)) = self.told_if_unreadable(version, read)? else {
            return Ok(None);
        };
        (broken.fileset, broken.entries) = (fileset, entries);
        Ok(Some(broken))
    }

    fn purge_broken(mut self) -> Result<PurgeReport> {
        self.check_encryption_kept()?;
        let replaces = !self.values.get(opt::DISABLE_REPLACE_MISSING_METADATA)?;
        self.all_versions()?;
        let versions = self.stored_versions()?;
        let (mut hurt, mut lost, mut others) = (Vec::new(), Vec::new(), 0);
        let mut needs_empty = false;
        // Before anything is changed.
        for version in versions.into_iter().rev() {
            match self.broken_of(&version, replaces)? {
                // Nothing is known of what is left of it, so it does not count as a version that stays.
                None => {}
                Some(broken) if broken.is_all() => lost.push(version),
                Some(broken) if broken.is_empty() => others += 1,
                Some(broken) => {
                    needs_empty |= !broken.metadata.is_empty();
                    hurt.push(version);
                }
            }
        }
        if hurt.is_empty() && others == 0 && !lost.is_empty() {
            return Err(Error::data(
                "AllFilesetsBroken",
                "nothing would be left of any version; nothing was changed",
                "bring the missing volumes back, or run a backup, which stores again what the sources have",
            ));
        }
        let mut report = PurgeReport {
            dryrun: self.settings.dry_run,
            ..PurgeReport::default()
        };
        let empty = match needs_empty {
            true => Some(self.empty_metadata()?),
            false => None,
        };
        for version in &hurt {
            if let Some(broken) = self.broken_of(version, replaces)? {
                self.purge_broken_of(version, &broken, empty, &mut report)?;
            }
        }
        // The newest comes first there.
        lost.reverse();
        report.deleted_sets = self.drop_versions(&lost)?;
        let is_changed = report.rewritten_file_lists > 0 || !report.deleted_sets.is_empty();
        if is_changed && !self.settings.dry_run {
            for set in &report.deleted_sets {
                self.forget_listed(&set.list);
            }
            // What they cost is counted again, without these files.
            let losses = self.lasting_losses()?;
            self.tell_losses(&losses)?;
            report.compact_results = self.compact_when_due(true, &[]);
        }
        self.renew_verification_file();
        report.common = self.common("PurgeBrokenFiles", self.cancel.is_cancelled());
        Ok(report)
    }

    fn purge_broken_of(
        &mut self,
        version: &Version,
        broken: &Broken,
        empty: Option<EmptyMetadata>,
        report: &mut PurgeReport,
    ) -> Result<()> {
        let (mut files, mut bytes, mut entries, mut updated) = (0, 0_u64, 0, 0);
        let dry_run = self.settings.dry_run;
        let reporter = std::sync::Arc::clone(&self.reporter);
        let mut edit = |mut stored: StoredEntry| {
            let path = &stored.entry.path;
            let key = PathKey::of(path);
            if broken.content.contains(&key) {
                entries += 1;
                if stored.entry.kind == EntryKind::File {
                    files += 1;
                    bytes = bytes.saturating_add(stored.entry.size);
                }
                if dry_run {
                    reporter.path(true, "DryRun", "would take out", path);
                }
                return Ok(None);
            }
            if let Some(empty) = empty.filter(|_| broken.metadata.contains(&key)) {
                updated += 1;
                if dry_run {
                    reporter.path(true, "DryRun", "would forget the metadata of", path);
                }
                empty.put_into(&mut stored);
            }
            Ok(Some(stored))
        };
        if dry_run {
            for stored in self.catalog(|c| c.entries(broken.fileset))? {
                edit(stored?)?;
            }
        }
        let replaced = match self.replace_version(version, &mut edit) {
            Err(error) if error.id() == Some(NO_FREE_TIME) => {
                let text = format!("{}; nothing is taken out of it", describe(&error));
                self.reporter.error(NO_FREE_TIME, text);
                return Ok(());
            }
            other => other?,
        };
        if !replaced.is_done {
            return Ok(());
        }
        if dry_run {
            let text = format!(
                "Would write {} in the place of {}",
                replaced.new.as_str(),
                replaced.old.as_str()
            );
            self.reporter.say(Level::DryRun, "DryRun", text);
        } else {
            self.reporter.info(
                "VersionPurged",
                format!(
                    "{} taken out of the version of {}",
                    counted(entries, "broken entry"),
                    version.time
                ),
            );
        }
        report.rewritten_file_lists += 1;
        report.removed_file_count += files;
        report.removed_entry_count += entries;
        report.removed_file_size += bytes;
        report.updated_file_count += updated;
        Ok(())
    }

    /// The metadata of an entry of which none is known (format spec 6.4); it is stored when no volume has it.
    fn empty_metadata(&self) -> Result<EmptyMetadata> {
        let bytes = Metadata::default().encode();
        let format = self.format();
        let empty = EmptyMetadata {
            full: format.file_hash.digest(&bytes),
            block: format.block_hash.digest(&bytes),
            len: bytes.len() as u64,
        };
        let key = (empty.block, empty.len);
        let is_stored = self.catalog(|c| c.find_block(&key.0, key.1))?.is_some()
            && !self.damaged_blocks()?.contains(&key);
        if !is_stored && !self.settings.dry_run {
            let created = VolumeTime(self.clock.seconds());
            let volume =
                self.new_volume(self.settings.compression, self.pack_method()?, created)?;
            let mut builder = VolumeBuilder::create(self, &volume, &Budget::new(1 << 20))?;
            let packed = volume.packer().pack(&bytes, Hint::Stored);
            builder.add(empty.block, &packed, None)?;
            self.upload_pair(builder.seal(self)?, &Unwatched)?;
        }
        Ok(empty)
    }
}

/// See [`Ready::empty_metadata`].
#[derive(Clone, Copy)]
struct EmptyMetadata {
    full: Hash,
    block: Hash,
    len: u64,
}

impl EmptyMetadata {
    fn put_into(self, stored: &mut StoredEntry) {
        let entry = &mut stored.entry;
        entry.metahash = Some(self.full);
        entry.metasize = self.len;
        entry.metablocklists = Vec::new();
        // Files say it only when it is another one.
        let is_file = entry.kind == EntryKind::File;
        entry.metablockhash = (!is_file || self.full != self.block).then_some(self.block);
    }
}
