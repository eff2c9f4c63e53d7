//! Answers to "what is in this backup": versions, files of a version, a file's versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use larder_catalog::{Counts, StoredEntry};
use larder_source::Selection;
use larder_volume::VolumeTime;

use crate::context::Phase;
use crate::error::Reach;
use crate::found::{FoundFiles, States};
use crate::phases::Ready;
use crate::report::{ListReport, VersionInfo};
use crate::repository::locked;
use crate::run::Run;
use crate::sync::{Mode, Need, describe};
use crate::versions::{DefaultVersions, Version};
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Patterns of paths; none asks for the versions only.
    pub patterns: Vec<String>,
    /// `--include` and `--exclude` filters in order.
    pub filters: Vec<(larder_source::Action, String)>,
    /// Search all versions when none is named.
    pub all_versions: bool,
    /// A version given as argument instead of an option: its number or a time counted backwards.
    pub version_argument: Option<String>,
}

/// Chooses paths. What a separator is, and so what a pattern means, is told by the path.
pub(crate) struct Chosen<'a> {
    request: &'a ListRequest,
    /// For paths with `/`, and for those of Windows.
    selections: [Option<Selection>; 2],
}

impl<'a> Chosen<'a> {
    pub(crate) fn new(request: &'a ListRequest) -> Self {
        Self {
            request,
            selections: [None, None],
        }
    }

    pub(crate) fn selects(&mut self, path: &[u8]) -> Result<bool> {
        let [plain, windows] = &mut self.selections;
        let selection = match path.first() {
            Some(b'/') => plain,
            _ => windows,
        };
        let selection = match selection {
            Some(selection) => selection,
            None => {
                let (patterns, filters) = (&self.request.patterns, &self.request.filters);
                selection.insert(crate::restore::selection(patterns, filters, path)?)
            }
        };
        Ok(selection.selects(path))
    }
}

/// The times of versions whose lists cannot be read, which was told.
pub(crate) type Broken = BTreeSet<VolumeTime>;

impl Run {
    /// The versions, newest first, with their figures.
    ///
    /// # Errors
    /// When the destination cannot be read or holds no version.
    pub fn list_filesets(&self) -> Result<ListReport> {
        self.with_healing(|| {
            let ready = self.quickly_ready()?;
            let versions = ready.version_infos(&ready.all_versions()?, &mut BTreeSet::new())?;
            Ok(ListReport {
                versions,
                files: FoundFiles::default(),
                common: self.common("ListFilesets", false),
            })
        })
    }

    /// Versions, or the paths that match.
    ///
    /// # Errors
    /// As [`Run::list_filesets`]; a wrong pattern.
    pub fn list(&self, request: &ListRequest) -> Result<ListReport> {
        self.with_healing(|| self.quickly_ready()?.list(request))
    }

    /// Ready for what needs no block: volumes are compared, index files are not read.
    fn quickly_ready(&self) -> Result<Ready<'_>> {
        self.ready(Mode::Reading, Need::Lists)
    }
}

impl Ready<'_> {
    fn list(&self, request: &ListRequest) -> Result<ListReport> {
        let only_versions = request.patterns.is_empty()
            && request.filters.is_empty()
            && request.version_argument.is_none();
        if only_versions {
            let chosen = self.chosen_versions(DefaultVersions::All)?;
            let versions = self.version_infos(&chosen, &mut BTreeSet::new())?;
            return Ok(ListReport {
                versions,
                files: FoundFiles::default(),
                common: self.common("List", false),
            });
        }
        let default = if request.all_versions {
            DefaultVersions::All
        } else {
            DefaultVersions::Newest
        };
        let chosen = match &request.version_argument {
            Some(text) => vec![self.version_by_argument(text)?],
            None => self.chosen_versions(default)?,
        };
        let mut broken = BTreeSet::new();
        let mut files = self.matching_files(&chosen, request, &mut broken)?;
        let mut looked_at = chosen;
        if files.is_none()
            && default == DefaultVersions::Newest
            && request.version_argument.is_none()
        {
            self.reporter.info(
                "NoMatchInNewest",
                "No files matching, looking in all versions",
            );
            looked_at = self.all_versions()?;
            files = self.matching_files(&looked_at, request, &mut broken)?;
        }
        let versions = self.version_infos(&looked_at, &mut broken)?;
        Ok(ListReport {
            versions,
            files: files.unwrap_or_default(),
            common: self.common("List", false),
        })
    }

    /// The version that an argument names: by its number, or by a time counted backwards.
    pub(crate) fn version_by_argument(&self, text: &str) -> Result<Version> {
        let all = self.all_versions()?;
        if let Ok(number) = text.trim().parse::<u64>() {
            return all
                .iter()
                .find(|v| v.number == number)
                .cloned()
                .ok_or_else(|| {
                    Error::user(
                        "NoSuchVersion",
                        format!(
                            "there is no version {number}; the oldest is {}",
                            all.len() - 1
                        ),
                        "see `larder list-filesets` for the versions",
                    )
                });
        }
        self.version_at(&all, text, larder_options::value::Direction::Backwards)
    }

    /// The paths that match in some versions, or nothing. Lists that cannot be read join the `broken` ones.
    fn matching_files(
        &self,
        versions: &[Version],
        request: &ListRequest,
        broken: &mut Broken,
    ) -> Result<Option<FoundFiles>> {
        self.reporter.phase(Phase::ReadingLists);
        let sorter = self.catalog(|c| c.sorter())?;
        let found = Mutex::new(States::new(sorter, versions.len()));
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (place, version) in versions.iter().enumerate() {
            match self.fileset_with_entries(&version.volume)? {
                _ if broken.contains(&version.time) => locked(&found).leave_out(place),
                Some(fileset) => known.push((fileset, place)),
                None => unknown.push((place, version)),
            }
        }
        self.match_known(&known, request, &mut locked(&found))?;
        for_each_parallel(
            self.settings.threads,
            unknown,
            |(place, version)| {
                let mut chosen = Chosen::new(request);
                let outcome = self.read_list(&version.volume, version.time, |entry| {
                    if chosen.selects(&entry.path)? {
                        let state = (entry.kind, entry.size);
                        locked(&found).push(&entry.path, state, &[place])?;
                    }
                    Ok(())
                });
                match outcome {
                    // Of several versions the others still have an answer.
                    Err(error) if error.reach() == Reach::Volume && versions.len() > 1 => {
                        self.reporter.error("DamagedList", describe(&error));
                        Ok(Some(place))
                    }
                    other => other.map(|_| None),
                }
            },
            |unreadable| {
                if let Some(place) = unreadable {
                    locked(&found).leave_out(place);
                    broken.extend(versions.get(place).map(|version| version.time));
                }
                Ok(())
            },
        )?;
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        match found.is_empty() {
            true => Ok(None),
            false => Ok(Some(found.finish()?)),
        }
    }

    /// The same for versions whose entries are in the catalog, given with their places: one pass over all of them.
    fn match_known(
        &self,
        versions: &[(i64, usize)],
        request: &ListRequest,
        found: &mut States,
    ) -> Result<()> {
        let filesets: Vec<i64> = versions.iter().map(|(fileset, _)| *fileset).collect();
        if filesets.is_empty() {
            return Ok(());
        }
        let mut chosen = Chosen::new(request);
        let mut places = Vec::new();
        let mut failure = None;
        let read = self.catalog(|c| {
            c.each_entry(&filesets, &mut |StoredEntry { entry, .. }, having| {
                let selected = self
                    .cancel
                    .check()
                    .and_then(|()| chosen.selects(&entry.path));
                match selected {
                    Ok(false) => return Ok(()),
                    Ok(true) => {}
                    Err(error) => {
                        failure = Some(error);
                        return Err(larder_catalog::Error::Misuse("a listing was left"));
                    }
                }
                places.clear();
                places.extend(having.iter().filter_map(|at| Some(versions.get(*at)?.1)));
                found.push(&entry.path, (entry.kind, entry.size), &places)
            })
        });
        match failure {
            Some(error) => Err(error),
            None => read,
        }
    }

    /// Figures of versions; lists that were never read are read and counted now. Those that cannot be read join the
    /// `broken` ones, unless they are among them already.
    pub(crate) fn version_infos(
        &self,
        versions: &[Version],
        broken: &mut Broken,
    ) -> Result<Vec<VersionInfo>> {
        let known: BTreeMap<i64, (bool, Counts)> = self
            .catalog(|c| c.filesets())?
            .into_iter()
            .map(|f| (f.time, (f.is_full, f.counts)))
            .collect();
        let unknown: Vec<&Version> = versions
            .iter()
            .filter(|v| !known.contains_key(&v.time.0) && !broken.contains(&v.time))
            .collect();
        let mut counted: BTreeMap<i64, (bool, Counts)> = known;
        // What is known already was told.
        let noted = self.noted_losses()?;
        for_each_parallel(
            self.settings.threads,
            unknown,
            |version| match self.read_list(&version.volume, version.time, |_| Ok(())) {
                Err(error) if error.reach() == Reach::Volume => {
                    if !noted.contains(version.volume.name.as_str()) {
                        self.reporter.error("DamagedList", describe(&error));
                    }
                    Ok((version.time, None))
                }
                other => other.map(|list| (version.time, Some((list.is_full, list.counts)))),
            },
            |(time, found)| {
                match found {
                    Some(found) => drop(counted.insert(time.0, found)),
                    None => drop(broken.insert(time)),
                }
                Ok(())
            },
        )?;
        // The catalog may have the entries of a list that cannot be read any more.
        let noted = self.noted_losses()?;
        let infos = versions
            .iter()
            .map(|version| {
                let is_noted = noted.contains(version.volume.name.as_str());
                let (is_full, counts) = counted
                    .get(&version.time.0)
                    .copied()
                    .unwrap_or((true, Counts::default()));
                VersionInfo {
                    version: version.number,
                    time: version.time.0,
                    is_full_backup: is_full,
                    is_unreadable: is_noted || broken.contains(&version.time),
                    file_count: counts.files,
                    entry_count: counts.files + counts.folders + counts.symlinks,
                    file_sizes: counts.bytes,
                }
            })
            .collect();
        Ok(infos)
    }
}
