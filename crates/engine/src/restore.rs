//! Writing files back: planned by volume, so that each needed volume is fetched and decrypted at most once.
//!
//! The version list gives the entries; existing files in the target are compared block by block; what is missing is
//! grouped by volume; volumes are fetched by several threads, every block is verified before it is written at its
//! place; the whole file's hash is checked when its last block has arrived. Links come last, folders' times at the end.

mod content_hash;
mod fetch;
mod layout;
mod plan;
mod target;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use larder_options::Values;
use larder_source::{Selection, TargetRoot};
use larder_volume::{
    ArchiveEntry, ArchiveReader, EntryKind, FILELIST_ENTRY, FileEntry, Hash, Metadata, VolumeTime,
};

use self::layout::{Target, layout};
use self::plan::Plan;
use crate::context::Phase;
use crate::data::VolumeData;
use crate::error::{PathContext, Reach};
use crate::report::RestoreReport;
use crate::run::Run;
use crate::sync::{Mode, Need, RemoteVolume, View, describe};
use crate::versions::{Unsaid, Version, size_limit};
use crate::{Error, Result};

/// What to restore and where to.
#[derive(Debug)]
pub struct RestoreRequest {
    /// Patterns of paths in the version; none means everything.
    pub patterns: Vec<String>,
    /// `--include` and `--exclude` filters in order.
    pub filters: Vec<(larder_source::Action, String)>,
    /// Target folder; `None` restores to the original places.
    pub target: Option<PathBuf>,
}

/// `--restore-all-files`: which versions are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Every {
    /// One, to where the request says.
    No,
    /// All that were chosen, each into a folder of its own.
    Version,
    /// The same without files whose content was restored from an older version.
    Unique,
}

impl Every {
    fn of(values: &Values) -> Result<Self> {
        use larder_options::engine::choices::RestoredVersions;
        Ok(
            match values.get(larder_options::engine::RESTORE_ALL_FILES)? {
                RestoredVersions::All => Self::Version,
                RestoredVersions::Unique => Self::Unique,
                RestoredVersions::One => Self::No,
            },
        )
    }
}

/// How existing and odd things are handled; from the options.
pub(crate) struct Rules {
    pub(crate) overwrite: bool,
    pub(crate) permissions: bool,
    pub(crate) metadata: bool,
    pub(crate) keep_full_paths: bool,
    pub(crate) local_blocks: bool,
    pub(crate) verify: bool,
    pub(crate) dry_run: bool,
    pub(crate) preallocate: bool,
    pub(crate) link_metadata: bool,
    /// Permissions of new files when the stored ones are not asked for.
    pub(crate) file_mode: u32,
    /// The same for folders.
    pub(crate) folder_mode: u32,
}

/// Counters and failures of a running restore.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) folders: AtomicU64,
    pub(crate) links: AtomicU64,
    pub(crate) patched: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) unchanged_bytes: AtomicU64,
    pub(crate) broken_local: Mutex<Vec<String>>,
    pub(crate) broken_remote: Mutex<Vec<String>>,
}

impl Tally {
    pub(crate) fn local(&self, path: &[u8]) {
        self.broken_local
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(String::from_utf8_lossy(path).into_owned());
    }

    pub(crate) fn remote(&self, path: &[u8]) {
        self.broken_remote
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(String::from_utf8_lossy(path).into_owned());
    }
}

impl Run {
    /// Restores the selected entries of one version.
    ///
    /// # Errors
    /// When nothing is selected, the version cannot be read or the target cannot be used. Single files that fail are
    /// named in the report.
    pub fn restore(&self, request: &RestoreRequest) -> Result<RestoreReport> {
        self.with_healing(|| self.restore_once(request))
    }

    fn restore_once(&self, request: &RestoreRequest) -> Result<RestoreReport> {
        use larder_options::engine as opt;
        let umask = current_umask();
        let rules = Rules {
            overwrite: self.values.get(opt::OVERWRITE)?,
            permissions: self.values.get(opt::RESTORE_PERMISSIONS)?,
            metadata: !self.settings.skip_metadata,
            keep_full_paths: self.values.get(opt::DONT_COMPRESS_RESTORE_PATHS)?,
            local_blocks: self.values.get(opt::RESTORE_WITH_LOCAL_BLOCKS)?,
            verify: !self.values.get(opt::SKIP_RESTORE_VERIFICATION)?,
            dry_run: self.settings.dry_run,
            preallocate: self.values.get(opt::RESTORE_PREALLOCATE_SIZE)?,
            link_metadata: self.values.get(opt::RESTORE_SYMLINK_METADATA)?,
            file_mode: 0o666 & !umask,
            folder_mode: 0o777 & !umask,
        };
        let view = self.synchronise(Mode::Reading, Need::Blocks)?;
        let every = Every::of(&self.values)?;
        let tally = Tally::default();
        let version_time = if every == Every::No {
            let chosen = self.chosen_versions(&view, Unsaid::Newest)?;
            let version = chosen
                .first()
                .ok_or_else(|| Error::Bug("no version was chosen".into()))?;
            self.reporter.phase(Phase::ReadingLists);
            let entries = self.selected_entries(version, request)?;
            let target = request.target.as_deref();
            let some = self.restore_version(entries, target, version, &rules, &tally)?;
            some.then_some(version.time)
        } else {
            self.restore_versions(request, &view, every, &rules, &tally)?
        };
        let Some(version_time) = version_time else {
            return Err(Error::user(
                "EmptyRestoreOperation",
                "the selection matches no file, so there is nothing to restore",
                "see `larder list URL '*'` for the paths; folders end with a separator",
            ));
        };
        let mut report = RestoreReport {
            restored_files: tally.files.load(Ordering::Relaxed),
            size_of_restored_files: tally.bytes.load(Ordering::Relaxed),
            restored_folders: tally.folders.load(Ordering::Relaxed),
            restored_symlinks: tally.links.load(Ordering::Relaxed),
            patched_files: tally.patched.load(Ordering::Relaxed),
            unmodified_files: tally.unchanged.load(Ordering::Relaxed),
            size_of_unmodified_files: tally.unchanged_bytes.load(Ordering::Relaxed),
            restore_path: request.target.as_ref().map(|p| p.display().to_string()),
            broken_local_files: tally
                .broken_local
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            broken_remote_files: tally
                .broken_remote
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            version_time: Some(version_time.to_string()),
            common: self.common("Restore", false),
        };
        report.broken_local_files.sort();
        report.broken_remote_files.sort();
        Ok(report)
    }

    /// Restores each chosen version into a folder of its own, oldest first; gives the time of the newest of which
    /// something was selected. One that cannot be read is told and passed over.
    fn restore_versions(
        &self,
        request: &RestoreRequest,
        view: &View,
        every: Every,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<Option<VolumeTime>> {
        let Some(target) = &request.target else {
            return Err(Error::user(
                "NoRestorePath",
                "several versions cannot all go to the original places",
                "give --restore-path=…",
            ));
        };
        let mut restored: HashSet<(Hash, u64)> = HashSet::new();
        let mut newest = None;
        for version in self.chosen_versions(view, Unsaid::All)?.iter().rev() {
            self.reporter.phase(Phase::ReadingLists);
            let mut entries = match self.selected_entries(version, request) {
                Err(error) if error.reach() == Reach::Volume => {
                    self.reporter.error("DamagedVolume", describe(&error));
                    continue;
                }
                other => other?,
            };
            if every == Every::Unique {
                let content = |e: &FileEntry| {
                    let is_file = e.kind == EntryKind::File;
                    e.hash.filter(|_| is_file).map(|hash| (hash, e.size))
                };
                entries.retain(|e| content(e).is_none_or(|content| !restored.contains(&content)));
                restored.extend(entries.iter().filter_map(content));
            }
            let target = target.join(self.local_text(version.time, "%Y%m%d-%H%M%S"));
            if self.restore_version(entries, Some(&target), version, rules, tally)? {
                newest = Some(version.time);
            }
        }
        Ok(newest)
    }

    /// Restores entries of one version; false when there are none.
    fn restore_version(
        &self,
        entries: Vec<FileEntry>,
        target: Option<&Path>,
        version: &Version,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<bool> {
        if entries.is_empty() {
            return Ok(false);
        }
        let place = layout(&entries, target, rules.keep_full_paths);
        self.restore_entries(entries, &place, version, rules, tally)?;
        Ok(true)
    }

    /// The entries of a version that the request selects. Memory: one entry per selected path.
    fn selected_entries(
        &self,
        version: &Version,
        request: &RestoreRequest,
    ) -> Result<Vec<FileEntry>> {
        let limit = size_limit(&self.values)?;
        let mut entries: Vec<FileEntry> = Vec::new();
        let mut selection: Option<Selection> = None;
        let mut places: HashMap<u64, usize> = HashMap::new();
        let hasher = std::hash::RandomState::new();
        self.each_entry(version, |entry| {
            let chosen = match &selection {
                Some(selection) => selection,
                None => selection.insert(self.selection(
                    &request.patterns,
                    &request.filters,
                    &entry.path,
                )?),
            };
            let size = entry.size;
            let fits = entry.kind != EntryKind::File || limit.is_none_or(|limit| size <= limit);
            if fits && chosen.selects(&entry.path) {
                let place = places
                    .entry(hasher.hash_one(&entry.path))
                    .or_insert(entries.len());
                // Two entries of one path would be written into one file (format spec 5.1).
                if entries.get(*place).is_some_and(|e| e.path == entry.path) {
                    self.reporter.warn(
                        "DuplicatePath",
                        format!(
                            "{} is in the version list twice; the first entry counts",
                            String::from_utf8_lossy(&entry.path)
                        ),
                    );
                } else {
                    entries.push(entry);
                }
            }
            Ok(())
        })?;
        Ok(entries)
    }

    /// Compiles patterns for a version whose paths look like `sample`.
    pub(crate) fn selection(
        &self,
        patterns: &[String],
        filters: &[(larder_source::Action, String)],
        sample: &[u8],
    ) -> Result<Selection> {
        let separator = if sample.first() == Some(&b'/') {
            '/'
        } else {
            '\\'
        };
        Selection::parse(patterns, filters, separator == '/', separator).map_err(|error| {
            Error::user(
                "InvalidFilter",
                error.to_string(),
                "see `larder help filters`",
            )
        })
    }

    /// Reads a version's entries one after the other.
    pub(crate) fn each_entry(
        &self,
        version: &Version,
        work: impl FnMut(FileEntry) -> Result<()>,
    ) -> Result<()> {
        let archive = self.fetch_list(&version.volume)?;
        self.entries_of(&archive, version.volume.name.as_str(), work)
    }

    /// Fetches a version list.
    pub(crate) fn fetch_list(&self, volume: &RemoteVolume) -> Result<ArchiveReader<VolumeData>> {
        let name = volume.name.as_str();
        let known = self.catalog(|c| c.volume_named(name))?;
        if let (Some(found), Some(expected)) = (volume.size, known.as_ref().and_then(|r| r.size))
            && found != expected
        {
            return Err(Error::volume(
                name,
                larder_volume::Error::Mismatch {
                    field: "size",
                    expected: expected.to_string(),
                    found: found.to_string(),
                },
            ));
        }
        self.fetch_volume(&volume.name, volume.size, known.and_then(|row| row.hash))
    }

    fn restore_entries(
        &self,
        entries: Vec<FileEntry>,
        place: &Target,
        version: &Version,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<()> {
        let files = entries.iter().filter(|e| e.kind == EntryKind::File);
        let (count, bytes) = files.fold((0_u64, 0_u64), |(n, b), e| {
            (n + 1, b.saturating_add(e.size))
        });
        let progress = &self.reporter.progress;
        progress.files_found.fetch_add(count, Ordering::Relaxed);
        progress.bytes_found.fetch_add(bytes, Ordering::Relaxed);
        progress.counted.store(true, Ordering::Relaxed);
        self.reporter.info(
            "RestoreSize",
            format!(
                "{count} files need to be restored ({})",
                larder_options::value::format_size(bytes)
            ),
        );
        if rules.dry_run {
            self.reporter.say(
                crate::Level::DryRun,
                "DryRun",
                format!("would restore {count} files"),
            );
            return Ok(());
        }
        let root = TargetRoot::open(&place.folder).at(&place.folder)?;
        self.reporter.phase(Phase::CheckingTargets);
        let plan = Plan::make(
            self,
            &root,
            place,
            entries,
            self.local_text(version.time, "%Y-%m-%d"),
            rules,
            tally,
        )?;
        self.reporter.phase(Phase::Restoring);
        let metadata = self.fetch_all(&root, &plan, rules, tally)?;
        self.reporter.phase(Phase::Metadata);
        self.finish_links_and_folders(&root, &plan, &metadata, rules, tally)
    }

    /// Creates the links, then gives folders their metadata, deepest first.
    fn finish_links_and_folders(
        &self,
        root: &TargetRoot,
        plan: &Plan,
        metadata: &plan::MetadataMap,
        rules: &Rules,
        tally: &Tally,
    ) -> Result<()> {
        for link in &plan.links {
            self.cancel.check()?;
            let Some(blob) = metadata.get(&link.entry) else {
                self.reporter.error(
                    "MissingMetadata",
                    format!(
                        "{}: the link's target cannot be read",
                        String::from_utf8_lossy(&link.entry.path)
                    ),
                );
                tally.remote(&link.entry.path);
                continue;
            };
            let Some(to) = &blob.symlink_target else {
                self.reporter.warn(
                    "LinkWithoutTarget",
                    format!(
                        "{}: the version does not hold the link's target",
                        String::from_utf8_lossy(&link.entry.path)
                    ),
                );
                continue;
            };
            match target::place_link(root, link, to, rules.overwrite, &plan.date) {
                Ok(target::Placed { rel, is_new }) => {
                    // Of what was right already only files are counted.
                    tally.links.fetch_add(u64::from(is_new), Ordering::Relaxed);
                    if rules.metadata {
                        self.apply(
                            root,
                            &rel,
                            &blob,
                            rules,
                            EntryKind::Symlink,
                            &link.entry.path,
                        );
                    }
                }
                Err(error) => {
                    self.reporter.error(
                        "RestoreFailed",
                        format!("{}: {error}", String::from_utf8_lossy(&link.entry.path)),
                    );
                    tally.local(&link.entry.path);
                }
            }
        }
        if !rules.metadata {
            return Ok(());
        }
        // Lists need not be in order: what lies in a folder comes before it may be closed.
        let mut folders: Vec<_> = plan.folders.iter().collect();
        folders.sort_unstable_by(|a, b| b.rel.cmp(&a.rel));
        for folder in folders {
            self.cancel.check()?;
            if let Some(blob) = metadata.get(&folder.entry) {
                self.apply(
                    root,
                    &folder.rel,
                    &blob,
                    rules,
                    EntryKind::Folder,
                    &folder.entry.path,
                );
            }
        }
        Ok(())
    }

    /// Applies metadata to one restored entry; what fails is a warning.
    pub(crate) fn apply(
        &self,
        root: &TargetRoot,
        rel: &[u8],
        blob: &Arc<Metadata>,
        rules: &Rules,
        kind: EntryKind,
        path: &[u8],
    ) {
        let restore = target::restore_facts(blob, rules, kind);
        for (what, error) in root.apply(rel, &restore) {
            self.reporter.warn(
                "MetadataWriteFailed",
                format!("{}: {what}: {error}", String::from_utf8_lossy(path)),
            );
        }
    }

    /// A version's time as people here read it, for the names of copies and folders.
    fn local_text(&self, time: VolumeTime, format: &str) -> String {
        jiff::Timestamp::from_second(time.0)
            .unwrap_or_default()
            .to_zoned(self.clock.zone())
            .strftime(format)
            .to_string()
    }
}

/// The entry of a list volume that holds its files.
pub(crate) fn filelist_of<'a>(
    archive: &'a ArchiveReader<VolumeData>,
    name: &str,
) -> Result<&'a ArchiveEntry> {
    archive.find(FILELIST_ENTRY).ok_or_else(|| {
        Error::volume(
            name,
            larder_volume::Error::Malformed {
                what: "list volume",
                detail: format!("it has no {FILELIST_ENTRY}"),
            },
        )
    })
}

/// The process's umask. Where the system does not tell it, reading it means setting it for a moment, which other
/// threads would notice.
fn current_umask() -> u32 {
    let told = std::fs::read_to_string("/proc/self/status");
    let told = told.ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        u32::from_str_radix(line?.trim(), 8).ok()
    });
    if let Some(mask) = told {
        return mask;
    }
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(mask);
    mask.bits()
}
