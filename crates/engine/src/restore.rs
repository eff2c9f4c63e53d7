//! Writing files back: planned first, then volume by volume, so that each needed volume is fetched and decrypted once.
//!
//! 1. `selected`: the version list is read once; what is selected is counted, and where it goes is chosen (`layout`).
//! 2. `survey` makes the plan (`plan`), a value: what stands at each place, which blocks are missing, which volume has
//!    them. Nothing is changed for that; a dry run shows the plan and ends.
//! 3. `prepare` makes the folders and finishes the files that need nothing from a volume.
//! 4. `fetch` gets the volumes in batches. Each file is written under a temporary name beside its place (`job`), checked,
//!    given its metadata, and moved to its place when it is right (`restoring`). What stood there stays until then.
//! 5. links and metadata of folders (`writer`, which the other way of restoring, `recovery`, has too), leftovers of earlier
//!    runs (`leftovers`).
//!
//! Memory: 8 bytes per entry (20 while the plan is made) and 4 per block, a batch of 48 MiB, and a volume for each thread.

pub(crate) mod content;
pub(crate) mod content_hash;
mod dry_run;
mod fetch;
mod job;
pub(crate) mod layout;
pub(crate) mod leftovers;
mod open_files;
mod plan;
mod prepare;
mod restoring;
mod selected;
pub(crate) mod spool;
mod survey;
pub(crate) mod target;
pub(crate) mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use larder_destination::Clock;
use larder_options::Values;
use larder_source::{Selection, TargetRoot, Watch};
use larder_volume::VolumeTime;

use self::layout::LayoutBuilder;
use self::restoring::Restoring;
use self::selected::{Contents, Selected};
use crate::context::Phase;
use crate::error::{PathContext, Reach};
use crate::named::NamedPaths;
use crate::phases::Ready;
use crate::report::RestoreReport;
use crate::repository::locked;
use crate::run::Run;
use crate::settings::Settings;
use crate::sync::{Mode, Need, describe};
use crate::versions::{DefaultVersions, Version};
use crate::words::{counted, verb};
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
    /// Files are on the disk before they get their names.
    pub(crate) sync: bool,
    pub(crate) link_metadata: bool,
    /// Permissions of new files when the stored ones are not asked for.
    pub(crate) file_mode: u32,
    /// The same for folders.
    pub(crate) folder_mode: u32,
}

impl Rules {
    /// Reads the options of a restore.
    ///
    /// # Errors
    /// A wrong value.
    pub(crate) fn read(values: &Values, settings: &Settings) -> Result<Self> {
        use larder_options::engine as opt;
        let umask = current_umask();
        Ok(Self {
            overwrite: values.get(opt::OVERWRITE)?,
            permissions: values.get(opt::RESTORE_PERMISSIONS)?,
            metadata: !settings.skip_metadata,
            keep_full_paths: values.get(opt::DONT_COMPRESS_RESTORE_PATHS)?,
            local_blocks: values.get(opt::RESTORE_WITH_LOCAL_BLOCKS)?,
            verify: !values.get(opt::SKIP_RESTORE_VERIFICATION)?,
            dry_run: settings.dry_run,
            preallocate: values.get(opt::RESTORE_PREALLOCATE_SIZE)?,
            sync: values.get(opt::RESTORE_SYNC)?,
            link_metadata: values.get(opt::RESTORE_SYMLINK_METADATA)?,
            file_mode: 0o666 & !umask,
            folder_mode: 0o777 & !umask,
        })
    }
}

/// What a restore of one or several versions is about.
struct Work<'a> {
    request: &'a RestoreRequest,
    rules: &'a Rules,
    tally: &'a Tally,
    watch: Option<Arc<dyn Watch>>,
}

/// Counters and failures of a running restore.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) folders: AtomicU64,
    pub(crate) links: AtomicU64,
    /// Present files that were kept, with the restored ones beside them.
    pub(crate) copies: AtomicU64,
    /// Files and folders whose metadata is lost.
    pub(crate) no_metadata: AtomicU64,
    pub(crate) patched: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) unchanged_bytes: AtomicU64,
    pub(crate) broken_local: Mutex<NamedPaths>,
    pub(crate) broken_remote: Mutex<NamedPaths>,
}

impl Tally {
    pub(crate) fn local(&self, path: &[u8]) {
        locked(&self.broken_local).push(path);
    }

    pub(crate) fn remote(&self, path: &[u8]) {
        locked(&self.broken_remote).push(path);
    }
}

impl Run {
    /// Restores the selected entries of one version.
    ///
    /// # Errors
    /// When nothing is selected, the version cannot be read or the target cannot be used. Single files that fail are
    /// named in the report.
    pub fn restore(&self, request: &RestoreRequest) -> Result<RestoreReport> {
        self.restore_watched(request, None)
    }

    /// The same with somebody who hears of each change of the target before it is made, and may refuse it: tests stop
    /// a restore at each step with it, or fill the disk.
    ///
    /// # Errors
    /// As for [`Run::restore`].
    pub fn restore_watched(
        &self,
        request: &RestoreRequest,
        watch: Option<Arc<dyn Watch>>,
    ) -> Result<RestoreReport> {
        self.with_healing(|| {
            self.ready(Mode::Reading, Need::Blocks)?
                .restore(request, watch.clone())
        })
    }
}

impl Ready<'_> {
    fn restore(
        &self,
        request: &RestoreRequest,
        watch: Option<Arc<dyn Watch>>,
    ) -> Result<RestoreReport> {
        let rules = Rules::read(&self.values, &self.settings)?;
        let every = Every::of(&self.values)?;
        let tally = Tally::default();
        let work = Work {
            request,
            rules: &rules,
            tally: &tally,
            watch,
        };
        let version_time = if every == Every::No {
            let chosen = self.chosen_versions(DefaultVersions::Newest)?;
            let version = chosen
                .first()
                .ok_or_else(|| Error::Bug("no version was chosen".into()))?;
            let target = request.target.as_deref();
            self.tell_older_version(version, target, &rules)?;
            let some = self.restore_version(&work, version, target, None)?;
            some.is_some().then_some(version.time)
        } else {
            self.restore_versions(&work, every)?
        };
        let Some(version_time) = version_time else {
            return Err(Error::user(
                "EmptyRestoreOperation",
                "the selection matches no file, so there is nothing to restore",
                "see `larder list URL '*'` for the paths; folders end with a separator",
            ));
        };
        let sorted = |paths: &Mutex<NamedPaths>| std::mem::take(&mut *locked(paths)).into_sorted();
        let (broken_local_files, broken_local_files_actual_length) = sorted(&tally.broken_local);
        let (broken_remote_files, broken_remote_files_actual_length) = sorted(&tally.broken_remote);
        Ok(RestoreReport {
            restored_files: tally.files.load(Ordering::Relaxed),
            size_of_restored_files: tally.bytes.load(Ordering::Relaxed),
            restored_folders: tally.folders.load(Ordering::Relaxed),
            restored_symlinks: tally.links.load(Ordering::Relaxed),
            patched_files: tally.patched.load(Ordering::Relaxed),
            unmodified_files: tally.unchanged.load(Ordering::Relaxed),
            kept_files: tally.copies.load(Ordering::Relaxed),
            entries_without_metadata: tally.no_metadata.load(Ordering::Relaxed),
            size_of_unmodified_files: tally.unchanged_bytes.load(Ordering::Relaxed),
            restore_path: request.target.as_ref().map(|p| p.display().to_string()),
            broken_local_files,
            broken_local_files_actual_length,
            broken_remote_files,
            broken_remote_files_actual_length,
            version_time: Some(version_time.to_string()),
            common: self.common("Restore", false),
        })
    }

    /// When the newest version cannot be read, an older one may be taken in its place, but not over what is there: that
    /// would put old content where newer was asked for.
    fn tell_older_version(
        &self,
        version: &Version,
        target: Option<&Path>,
        rules: &Rules,
    ) -> Result<()> {
        use larder_options::engine as opt;
        let was_asked = self.values.is_set(opt::VERSION) || self.values.is_set(opt::TIME);
        let newest = self.all_versions()?.into_iter().next();
        let Some(newest) = newest.filter(|newest| !was_asked && newest.number != version.number)
        else {
            return Ok(());
        };
        let text = format!(
            "the newest version, of {}, cannot be read: {}",
            newest.time,
            newest.volume.name.as_str()
        );
        if rules.overwrite && !target.is_some_and(is_empty) {
            return Err(Error::data(
                "DamagedList",
                text,
                format!(
                    "bring the file back as it was; or say --version={} for that of {}, which replaces newer files then",
                    version.number, version.time
                ),
            ));
        }
        self.reporter.warn(
            "OlderVersionRestored",
            format!(
                "{text}; version {} of {} is restored in its place",
                version.number, version.time
            ),
        );
        Ok(())
    }

    /// Restores each chosen version into a folder of its own, oldest first; gives the time of the newest of which
    /// something was selected. One that cannot be read is told and passed over.
    fn restore_versions(&self, work: &Work<'_>, every: Every) -> Result<Option<VolumeTime>> {
        let Some(target) = &work.request.target else {
            return Err(Error::user(
                "NoRestorePath",
                "several versions cannot all go to the original places",
                "give --restore-path=…",
            ));
        };
        let (mut restored, mut names) = (Contents::new(), HashSet::new());
        let mut newest = None;
        for version in self.chosen_versions(DefaultVersions::All)?.iter().rev() {
            // When clocks go back, two versions have one local time.
            let mut name = local_text(self.clock.as_ref(), version.time, "%Y%m%d-%H%M%S");
            while !names.insert(name.clone()) {
                name.push('+');
            }
            let target = target.join(name);
            let without = (every == Every::Unique).then_some(&restored);
            match self.restore_version(work, version, Some(&target), without) {
                Err(error) if error.reach() == Reach::Volume => {
                    self.reporter.error("DamagedVolume", describe(&error));
                }
                other => {
                    if let Some(contents) = other? {
                        newest = Some(version.time);
                        restored.extend(contents);
                    }
                }
            }
        }
        Ok(newest)
    }

    /// Restores what is selected of one version; `None` when that is nothing, else the contents it has beside those it
    /// was to be restored without.
    fn restore_version(
        &self,
        work: &Work<'_>,
        version: &Version,
        target: Option<&Path>,
        without: Option<&Contents>,
    ) -> Result<Option<Contents>> {
        self.reporter.phase(Phase::ReadingLists);
        let builder = LayoutBuilder::new(target, work.rules.keep_full_paths);
        let (selected, layout) = Selected::of(self, version, work.request, without, builder)?;
        if selected.entries == 0 {
            return Ok(None);
        }
        let progress = &self.reporter.progress;
        progress
            .files_found
            .fetch_add(selected.files, Ordering::Relaxed);
        progress
            .bytes_found
            .fetch_add(selected.bytes, Ordering::Relaxed);
        progress.counted.store(true, Ordering::Relaxed);
        self.reporter.info(
            "RestoreSize",
            format!(
                "{} {} to be restored ({})",
                counted(selected.files, "file"),
                verb(selected.files, "needs", "need"),
                larder_options::value::format_size(selected.bytes)
            ),
        );
        self.reporter.phase(Phase::CheckingTargets);
        let open = || -> Result<TargetRoot> {
            let root = TargetRoot::open(&layout.folder).at(&layout.folder)?;
            let root = root.with_bases(layout.bases.clone()).at(&layout.folder)?;
            Ok(root.with_watch(work.watch.clone()))
        };
        let present = if is_empty(&layout.folder) {
            None
        } else {
            Some(open()?)
        };
        let date = local_text(self.clock.as_ref(), version.time, "%Y-%m-%d");
        let plan = survey::survey(self, &selected, &layout, present.as_ref(), work.rules, date)?;
        if work.rules.dry_run {
            dry_run::show(
                self,
                &selected,
                (&layout, &plan),
                present.as_ref(),
                work.rules,
            )?;
            return Ok(Some(Contents::new()));
        }
        let root = match present {
            Some(root) => root,
            None => open()?,
        };
        let parts = (&layout, plan);
        let restoring = Restoring::new(self, &root, &selected, parts, work.rules, work.tally)?;
        restoring.run()?;
        let mut contents = Contents::new();
        if without.is_some() {
            selected.add_contents(&mut contents)?;
        }
        Ok(Some(contents))
    }
}

/// Compiles patterns for a version whose paths look like `sample`.
///
/// # Errors
/// A pattern that cannot be understood.
pub(crate) fn selection(
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

/// A version's time as people here read it, for the names of copies and folders.
pub(crate) fn local_text(clock: &dyn Clock, time: VolumeTime, format: &str) -> String {
    match jiff::Timestamp::from_second(time.0) {
        Ok(time) => time.to_zoned(clock.zone()).strftime(format).to_string(),
        // At the end of the calendar another zone may have no such day.
        Err(_) => {
            let start = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
            let time = start.saturating_add(jiff::SignedDuration::from_secs(time.0));
            time.strftime(format).to_string()
        }
    }
}

/// True for a folder that is not there, or has nothing in it.
fn is_empty(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The process's umask. Where the system does not tell it, reading it means setting it for a moment, which other
/// threads would notice.
pub(crate) fn current_umask() -> u32 {
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
