//! Taking files out of versions: their lists are written anew without them. The space comes back with a compact.

use std::collections::BTreeSet;

use larder_catalog::StoredEntry;
use larder_options::{engine as opt, value};
use larder_source::{Action, Selection};
use larder_volume::{EntryKind, FileEntry};

use crate::context::Level;
use crate::error::Reach;
use crate::phases::Ready;
use crate::replace::{NO_FREE_TIME, no_free_time};
use crate::report::PurgeReport;
use crate::run::Run;
use crate::sync::{Mode, Need, describe};
use crate::versions::Version;
use crate::words::counted;
use crate::{Error, Result};

/// What to take out.
#[derive(Debug, Default)]
pub struct PurgeRequest {
    /// Patterns of paths, as in a restore. A folder stands for all that is in it.
    pub patterns: Vec<String>,
    /// `--include` and `--exclude` filters in order; either these or patterns.
    pub filters: Vec<(Action, String)>,
}

/// What would be taken out of a version.
struct Found {
    version: Version,
    /// Number in the catalog.
    fileset: i64,
    files: u64,
    bytes: u64,
    entries: u64,
}

impl Run {
    /// Takes files out of all versions, or out of those that `--version` or `--time` (the version of that time and all
    /// older ones) name.
    ///
    /// # Errors
    /// Nothing chosen to take out, a version that would lose everything, a destination that cannot be used. A list that
    /// cannot be read is an error in the report.
    pub fn purge(&self, request: &PurgeRequest) -> Result<PurgeReport> {
        let is_named = !request.patterns.is_empty();
        let includes = request
            .filters
            .iter()
            .any(|(action, _)| *action == Action::Include);
        if !is_named && !includes {
            return Err(Error::user(
                "PurgeWithoutInclude",
                "nothing says what to take out of the versions: filters that only exclude would take out everything else",
                "name paths, or say --include=…",
            ));
        }
        // Numbers mean other versions once a list was stored beside another, so they are read once.
        let mut chosen: Option<BTreeSet<String>> = None;
        self.with_healing(|| {
            let ready = self.ready(Mode::Writing, Need::Blocks)?;
            ready.check_not_in_doubt()?;
            ready.check_numbers()?;
            let chosen = match &mut chosen {
                Some(chosen) => chosen,
                unread => unread.insert(ready.versions_to_purge()?),
            };
            ready.purge(request, chosen)
        })
    }
}

impl Ready<'_> {
    fn purge(mut self, request: &PurgeRequest, chosen: &BTreeSet<String>) -> Result<PurgeReport> {
        self.check_encryption_kept()?;
        let mut versions = self.stored_versions()?;
        versions.retain(|version| chosen.contains(version.volume.name.as_str()));
        // The oldest first.
        versions.reverse();
        let mut found = Vec::new();
        // Before anything is changed.
        for version in versions {
            match self.look_for(&version, request) {
                Ok(Some(of_it)) => found.push(of_it),
                Ok(None) => {}
                Err(error) if error.reach() == Reach::Volume => {
                    let text = self.not_looked_at(&version, &error)?;
                    self.reporter.error("DamagedList", text);
                }
                Err(error) => return Err(error),
            }
        }
        let mut report = PurgeReport {
            dryrun: self.settings.dry_run,
            ..PurgeReport::default()
        };
        // A list that moves frees its second for the next one.
        loop {
            let mut waiting = Vec::new();
            let before = found.len();
            for of_it in found {
                if !self.take_out(&of_it, request, &mut report)? {
                    waiting.push(of_it);
                }
            }
            found = waiting;
            if found.is_empty() || found.len() == before {
                break;
            }
        }
        for of_it in found {
            self.reporter.error(
                NO_FREE_TIME,
                format!(
                    "{}; nothing is taken out of it",
                    describe(&no_free_time(of_it.version.time))
                ),
            );
        }
        // Also what an earlier run took out may still be there.
        if !self.settings.dry_run {
            report.compact_results = self.compact_when_due(true, &[]);
        }
        self.renew_verification_file();
        report.common = self.common("PurgeFiles", self.cancel.is_cancelled());
        Ok(report)
    }

    /// Takes files out of a version; false when there is no second for its new list.
    fn take_out(
        &mut self,
        of_it: &Found,
        request: &PurgeRequest,
        report: &mut PurgeReport,
    ) -> Result<bool> {
        let fileset = of_it.fileset;
        let mut doomed = Doomed::of(self, request, fileset)?;
        let replaced = self.replace_version(&of_it.version, |stored| {
            Ok((!doomed.takes(&stored.entry)).then_some(stored))
        });
        let replaced = match replaced {
            Err(error) if error.id() == Some(NO_FREE_TIME) => return Ok(false),
            other => other?,
        };
        if !replaced.is_done {
            return Ok(true);
        }
        if self.settings.dry_run {
            self.tell_paths(request, fileset)?;
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
                    counted(of_it.entries, "entry"),
                    of_it.version.time
                ),
            );
        }
        report.rewritten_file_lists += 1;
        report.removed_file_count += of_it.files;
        report.removed_entry_count += of_it.entries;
        report.removed_file_size += of_it.bytes;
        Ok(true)
    }

    /// The lists of the versions that are meant.
    fn versions_to_purge(&self) -> Result<BTreeSet<String>> {
        // Says when there is none.
        let all = self.all_versions()?;
        let mut stored = self.stored_versions()?;
        if self.values.is_set(opt::VERSION) {
            let chosen = self.numbered_versions()?;
            let numbers: BTreeSet<u64> = chosen.iter().map(|version| version.number).collect();
            stored.retain(|version| numbers.contains(&version.number));
        } else if self.values.is_set(opt::TIME) {
            let text = self.values.find(opt::TIME)?.unwrap_or_default();
            let newest = self.version_at(&all, &text, value::Direction::Forwards)?;
            stored.retain(|version| version.time <= newest.time);
        }
        let names = stored
            .into_iter()
            .map(|v| v.volume.name.as_str().to_owned());
        Ok(names.collect())
    }

    /// What would be taken out of a version.
    fn look_for(&self, version: &Version, request: &PurgeRequest) -> Result<Option<Found>> {
        let fileset = self.entries_of_version(version)?;
        let mut doomed = Doomed::of(self, request, fileset)?;
        let mut found = Found {
            version: version.clone(),
            fileset,
            files: 0,
            bytes: 0,
            entries: 0,
        };
        let mut all = 0;
        for stored in self.catalog(|c| c.entries(fileset))? {
            self.cancel.check()?;
            let entry = stored?.entry;
            all += 1;
            if doomed.takes(&entry) {
                found.entries += 1;
                if entry.kind == EntryKind::File {
                    found.files += 1;
                    found.bytes = found.bytes.saturating_add(entry.size);
                }
            }
        }
        if found.entries > 0 && found.entries == all {
            return Err(Error::user(
                "PurgeWouldRemoveEntireFileset",
                format!(
                    "nothing would be left of version {} of {}; nothing was changed",
                    version.number, version.time
                ),
                format!(
                    "delete it instead: larder delete … --version={}",
                    version.number
                ),
            ));
        }
        Ok((found.entries > 0).then_some(found))
    }

    fn tell_paths(&self, request: &PurgeRequest, fileset: i64) -> Result<()> {
        let mut doomed = Doomed::of(self, request, fileset)?;
        for stored in self.catalog(|c| c.entries(fileset))? {
            self.cancel.check()?;
            let entry = stored?.entry;
            if doomed.takes(&entry) {
                self.reporter
                    .path(true, "DryRun", "would take out", &entry.path);
            }
        }
        Ok(())
    }
}

/// Tells which entries of a version go, in the order of their paths.
struct Doomed {
    selection: Selection,
    /// Paths that were named without a wildcard.
    literal: BTreeSet<Vec<u8>>,
    /// All that is below this one goes with it.
    folder: Option<Vec<u8>>,
}

impl Doomed {
    fn of(ready: &Ready<'_>, request: &PurgeRequest, fileset: i64) -> Result<Self> {
        let first = ready.catalog(|c| c.entries(fileset))?.next().transpose()?;
        let sample = first.map_or(b"/".to_vec(), |stored: StoredEntry| stored.entry.path);
        let is_literal = |pattern: &&String| !pattern.contains(['*', '?', '[', '{']);
        let literal = request.patterns.iter().filter(is_literal);
        Ok(Self {
            selection: crate::restore::selection(&request.patterns, &request.filters, &sample)?,
            literal: literal.map(|path| path.clone().into_bytes()).collect(),
            folder: None,
        })
    }

    fn takes(&mut self, entry: &FileEntry) -> bool {
        let path = entry.path.as_slice();
        if self
            .folder
            .as_deref()
            .is_some_and(|folder| path.starts_with(folder))
        {
            return true;
        }
        let name = path.strip_suffix(b"/").or(path.strip_suffix(b"\\"));
        let is_folder = entry.kind == EntryKind::Folder;
        let is_named = is_folder && name.is_some_and(|name| self.literal.contains(name));
        let goes = is_named || self.selection.names(path);
        // What is excluded below a folder stays; a folder that was named takes all of it along.
        if goes && is_folder && self.selection.patterns().next().is_some() {
            self.folder = Some(path.to_vec());
        }
        goes
    }
}
