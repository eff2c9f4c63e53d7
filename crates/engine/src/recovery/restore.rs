//! Choosing the version that is restored, and what of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use larder_source::TargetRoot;
use larder_volume::{ArchiveReader, EntryKind, Format};

use super::blocks::BlockFinder;
use super::folder::{Folder, LocalFile};
use super::index::no_volumes;
use super::listing::{Version, Wrong, versions};
use super::restoring::Restoring;
use super::{Recovery, is_of_volume};
use crate::context::Phase;
use crate::error::PathContext;
use crate::listing::{Chosen, ListRequest};
use crate::named::NamedPaths;
use crate::report::RestoreReport;
use crate::repository::locked;
use crate::restore::layout::{Layout, LayoutBuilder};
use crate::restore::leftovers::Leftovers;
use crate::restore::writer::Writer;
use crate::restore::{Rules, Tally, local_text};
use crate::transfer::TransferCounts;
use crate::{Error, Result};

/// What to restore and where to.
#[derive(Debug)]
pub struct RecoveryRequest {
    /// The folder with the volumes.
    pub folder: PathBuf,
    /// Its index; without it `index.txt` in the folder.
    pub index_file: Option<PathBuf>,
    /// The version: its number, the name of its file, or a time counted backwards. Without it the newest that is whole.
    pub version: Option<String>,
    /// `--include` and `--exclude` filters in order.
    pub filters: Vec<(larder_source::Action, String)>,
    /// The folder to restore to.
    pub target: PathBuf,
}

/// A version whose list was read once.
struct Surveyed {
    version: Version,
    archive: ArchiveReader<LocalFile>,
    format: Format,
    layout: Layout,
    entries: u64,
    files: u64,
    bytes: u64,
    /// What ended the list before its end.
    damage: Option<Error>,
}

impl Recovery {
    /// Restores files of one version from a folder of volumes. What is there already is kept.
    ///
    /// # Errors
    /// The folder cannot be read, there is no such version or nothing is selected, or the target cannot be used. Files
    /// that cannot be restored are named in the report.
    pub fn restore(&self, request: &RecoveryRequest) -> Result<RestoreReport> {
        let rules = Rules {
            overwrite: false,
            ..Rules::read(&self.values, &self.settings)?
        };
        self.reporter.phase(Phase::ReadingLists);
        let folder = self.folder(&request.folder)?;
        let surveyed = self.surveyed(&folder, request, &rules)?;
        if surveyed.entries == 0 {
            return Err(Error::user(
                "EmptyRestoreOperation",
                "the selection matches no file, so there is nothing to restore",
                format!(
                    "see `larder recovery list {} {}` for the paths",
                    request.folder.display(),
                    surveyed.version.number
                ),
            ));
        }
        if folder.blocks.is_empty() {
            return Err(no_volumes(&request.folder));
        }
        let progress = &self.reporter.progress;
        let found = [
            (&progress.files_found, surveyed.files),
            (&progress.bytes_found, surveyed.bytes),
        ];
        for (counter, count) in found {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        progress.counted.store(true, Ordering::Relaxed);
        let tally = Tally::default();
        self.write_all(&folder, request, &surveyed, (&rules, &tally))?;
        Ok(self.restore_report(request, &surveyed.version, &tally))
    }

    fn restore_report(
        &self,
        request: &RecoveryRequest,
        version: &Version,
        tally: &Tally,
    ) -> RestoreReport {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let sorted = |paths: &std::sync::Mutex<NamedPaths>| {
            std::mem::take(&mut *locked(paths)).into_sorted()
        };
        let (broken_local_files, broken_local_files_actual_length) = sorted(&tally.broken_local);
        let (broken_remote_files, broken_remote_files_actual_length) = sorted(&tally.broken_remote);
        RestoreReport {
            restored_files: count(&tally.files),
            size_of_restored_files: count(&tally.bytes),
            restored_folders: count(&tally.folders),
            restored_symlinks: count(&tally.links),
            unmodified_files: count(&tally.unchanged),
            kept_files: count(&tally.copies),
            entries_without_metadata: count(&tally.no_metadata),
            size_of_unmodified_files: count(&tally.unchanged_bytes),
            restore_path: Some(request.target.display().to_string()),
            broken_local_files,
            broken_local_files_actual_length,
            broken_remote_files,
            broken_remote_files_actual_length,
            version_time: Some(version.time.to_string()),
            common: self.common("Restore", &TransferCounts::default()),
            ..RestoreReport::default()
        }
    }

    /// Reads the list of the version that is asked for. Without a wish it is the newest that is whole; when none is, the
    /// newest of which something can be read.
    fn surveyed(
        &self,
        folder: &Folder,
        request: &RecoveryRequest,
        rules: &Rules,
    ) -> Result<Surveyed> {
        let all = versions(folder)?;
        if let Some(text) = &request.version {
            let surveyed = self.survey(folder, self.chosen(&all, text)?, request, rules)?;
            if let Some(error) = &surveyed.damage {
                self.tell_damaged_list(&surveyed.version.list, error);
            }
            return Ok(surveyed);
        }
        let mut broken: Option<Surveyed> = None;
        let mut last = None;
        for version in all {
            let is_newest = version.number == 0;
            let list = version.list.clone();
            match self.survey(folder, version, request, rules) {
                Ok(surveyed) => {
                    // What was damaged when it was fetched, nothing vouches for.
                    if surveyed.damage.is_none() && !list.is_damaged {
                        if !is_newest {
                            self.tell_older(&surveyed.version);
                        }
                        return Ok(surveyed);
                    }
                    if let Some(error) = &surveyed.damage {
                        self.tell_damaged_list(&list, error);
                    }
                    broken.get_or_insert(surveyed);
                }
                Err(error) if is_of_volume(&error) => {
                    self.tell_damaged_list(&list, &error);
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match (broken, last) {
            (Some(broken), _) => Ok(broken),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::Bug("no version was looked at".into())),
        }
    }

    /// Says that an older version than the newest is restored unasked.
    fn tell_older(&self, version: &Version) {
        self.reporter.warn(
            "OlderVersionRestored",
            format!(
                "version {} of {} is restored in the place of the newest; `restore … 0` restores what is left of that",
                version.number, version.time
            ),
        );
    }

    /// Reads a list once: counts what is selected, and finds where it goes.
    fn survey(
        &self,
        folder: &Folder,
        version: Version,
        request: &RecoveryRequest,
        rules: &Rules,
    ) -> Result<Surveyed> {
        let archive = self.open(folder, &version.list)?;
        let format = self.format(folder, &version.list, &archive)?;
        let mut builder = LayoutBuilder::new(Some(&request.target), rules.keep_full_paths);
        let (mut entries, mut files, mut bytes) = (0, 0, 0_u64);
        let lister = lister(request);
        let mut chosen = Chosen::new(&lister);
        let damage = self.entries(&archive, &version.list, Wrong::Told, |entry| {
            builder.add(entry);
            if chosen.selects(&entry.path)? {
                builder.add_selected(entry);
                entries += 1;
                if entry.kind == EntryKind::File {
                    files += 1;
                    bytes = bytes.saturating_add(entry.size);
                }
            }
            Ok(())
        })?;
        Ok(Surveyed {
            layout: builder.finish(),
            version,
            archive,
            format,
            entries,
            files,
            bytes,
            damage,
        })
    }

    /// Writes everything that is selected.
    fn write_all(
        &self,
        folder: &Folder,
        request: &RecoveryRequest,
        surveyed: &Surveyed,
        (rules, tally): (&Rules, &Tally),
    ) -> Result<()> {
        let target = &surveyed.layout.folder;
        let root = TargetRoot::open(target).at(target)?;
        let date = local_text(self.clock.as_ref(), surveyed.version.time, "%Y-%m-%d");
        let mut restoring = Restoring {
            writer: Writer::new(
                (&self.reporter, &self.cancel),
                (&root, target),
                (rules, tally),
                date.clone(),
                self.settings.temp_folder.clone(),
            ),
            layout: &surveyed.layout,
            format: surveyed.format,
            date,
            blocks: RefCell::new(BlockFinder::open(
                self,
                folder,
                request.index_file.as_deref(),
            )?),
            made: Vec::new(),
        };
        self.reporter.phase(Phase::Restoring);
        let lister = lister(request);
        let mut chosen = Chosen::new(&lister);
        let list = &surveyed.version.list;
        // How it ends was told when it was read first.
        self.entries(
            &surveyed.archive,
            list,
            Wrong::PassedOver,
            |entry| match chosen.selects(&entry.path)? {
                true => restoring.entry(entry),
                false => Ok(()),
            },
        )?;
        self.reporter.phase(Phase::Metadata);
        restoring.writer.links()?;
        if let Some(mut sweep) = Leftovers::new(&restoring.writer, &surveyed.layout) {
            let mut chosen = Chosen::new(&lister);
            self.entries(&surveyed.archive, list, Wrong::PassedOver, |entry| {
                if chosen.selects(&entry.path)? {
                    sweep.beside(entry);
                }
                Ok(())
            })?;
            sweep.tell();
        }
        restoring.writer.plain_folders()?;
        restoring.writer.folders()?;
        if rules.sync {
            rustix::fs::sync();
        }
        Ok(())
    }
}

/// What chooses the paths of a restore.
fn lister(request: &RecoveryRequest) -> ListRequest {
    ListRequest {
        filters: request.filters.clone(),
        ..ListRequest::default()
    }
}
