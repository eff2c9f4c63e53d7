//! Control files: what `--control-files` put beside the file list of a version (docs/format/dlist.md, `extra/`).

use std::collections::BTreeSet;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use larder_source::{Replace, Selection, TargetRoot};
use larder_volume::{ArchiveEntry, ArchiveReader, EXTRA_FOLDER, EntryKind, MAX_EXTRA};

use crate::context::Phase;
use crate::data::VolumeData;
use crate::error::{PathContext, Reach, VolumeContext};
use crate::found::FoundFiles;
use crate::phases::Ready;
use crate::report::{ListReport, ListedFile, RestoreReport};
use crate::restore::RestoreRequest;
use crate::run::Run;
use crate::sync::{Mode, Need, describe};
use crate::versions::{DefaultVersions, Version};
use crate::{Error, ListRequest, Result};

impl Run {
    /// The control files of the chosen version, which is the newest unless another one is named.
    ///
    /// # Errors
    /// As [`Run::list`].
    pub fn list_control_files(&self, request: &ListRequest) -> Result<ListReport> {
        self.with_healing(|| {
            let ready = self.ready(Mode::Reading, Need::Lists)?;
            let (version, archive) = ready.version_with_control_files()?;
            let chosen = self.control_selection(&request.patterns, &request.filters)?;
            let files: Vec<_> = control_entries(&archive)
                .filter(|(name, _)| is_chosen(name, &chosen))
                .map(|(name, entry)| ListedFile {
                    path: name,
                    kind: EntryKind::File.key(),
                    sizes: vec![i64::try_from(entry.size).ok()],
                })
                .collect();
            Ok(ListReport {
                versions: ready.version_infos(&[version], &mut BTreeSet::new())?,
                files: FoundFiles::from(files),
                common: self.common("List", false),
            })
        })
    }

    /// Writes the control files of the chosen version into the target folder.
    ///
    /// # Errors
    /// As [`Run::restore`]; `NoRestorePath` without a target, because control files have no original place.
    pub fn restore_control_files(&self, request: &RestoreRequest) -> Result<RestoreReport> {
        let Some(target) = &request.target else {
            return Err(Error::user(
                "NoRestorePath",
                "control files need a folder to be restored to",
                "give --restore-path=…",
            ));
        };
        let ready = self.ready(Mode::Reading, Need::Lists)?;
        let (version, archive) = ready.version_with_control_files()?;
        let chosen = self.control_selection(&request.patterns, &request.filters)?;
        let overwrite = self.values.get(larder_options::engine::OVERWRITE)?;
        let replace = if overwrite { Replace::Yes } else { Replace::No };
        let root = if self.settings.dry_run {
            None
        } else {
            Some(TargetRoot::open(target).at(target)?)
        };
        let mut report = RestoreReport {
            restore_path: Some(target.display().to_string()),
            version_time: Some(version.time.to_string()),
            ..RestoreReport::default()
        };
        self.reporter.phase(Phase::Restoring);
        let mut left = MAX_EXTRA;
        for (name, entry) in control_entries(&archive) {
            if !is_chosen(&name, &chosen) {
                continue;
            }
            let volume = version.volume.name.as_str();
            let bytes = match archive.read(entry, left) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let error = Error::volume(volume, error);
                    if error.reach() != Reach::Volume {
                        return Err(error);
                    }
                    self.reporter
                        .error("RestoreFailed", format!("{name}: {}", describe(&error)));
                    report.broken_remote_files.push(name);
                    continue;
                }
            };
            left -= bytes.len() as u64;
            let written = match &root {
                None => Ok(()),
                Some(root) => write_whole(root, name.as_bytes(), &bytes, replace),
            };
            match written {
                Ok(()) => {
                    report.restored_files += 1;
                    report.size_of_restored_files += bytes.len() as u64;
                }
                Err(error) => {
                    self.reporter
                        .error("RestoreFailed", format!("{name}: {error}"));
                    report.broken_local_files.push(name);
                }
            }
        }
        report.broken_local_files_actual_length = report.broken_local_files.len() as u64;
        report.broken_remote_files_actual_length = report.broken_remote_files.len() as u64;
        let broken = report.broken_local_files.len() + report.broken_remote_files.len();
        if report.restored_files == 0 && broken == 0 {
            return Err(Error::user(
                "EmptyRestoreOperation",
                "the version holds no such control file, so there is nothing to restore",
                "see `larder list URL --control-files`",
            ));
        }
        report.common = self.common("Restore", false);
        Ok(report)
    }
}

impl Ready<'_> {
    /// The control files that the user wants kept beside the next version.
    pub(crate) fn own_control_files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut left = MAX_EXTRA;
        for (path, file) in named(&self.settings.control_files) {
            let bytes = read_at_most(path, left)?;
            left -= bytes.len() as u64;
            if path.file_name() != Some(file.as_ref()) {
                let path = path.display();
                self.reporter.notice(
                    "ControlFileRenamed",
                    format!("the control file {path} is kept under the name {file:?}, since they are kept without their folders"),
                );
            }
            files.push((file, bytes));
        }
        Ok(files)
    }

    /// The control files of a version, as they are.
    pub(crate) fn control_files_of(
        &self,
        archive: &ArchiveReader<VolumeData>,
        list: &str,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let mut left = MAX_EXTRA;
        let mut files = Vec::new();
        for (name, entry) in control_entries(archive) {
            let bytes = archive.read(entry, left).in_volume(list)?;
            left -= bytes.len() as u64;
            files.push((name, bytes));
        }
        Ok(files)
    }

    fn version_with_control_files(&self) -> Result<(Version, ArchiveReader<VolumeData>)> {
        let version = self
            .chosen_versions(DefaultVersions::Newest)?
            .into_iter()
            .next()
            .ok_or_else(|| Error::Bug("no version was chosen".into()))?;
        let volume = &version.volume;
        let known = self.catalog(|c| c.volume_named(volume.name.as_str()))?;
        let hash = known.and_then(|row| row.hash);
        let archive = self.fetch_volume(&volume.name, volume.size, hash)?;
        Ok((version, archive))
    }
}

impl Run {
    /// Patterns for names, which are written as if they lay at the root.
    fn control_selection(
        &self,
        patterns: &[String],
        filters: &[(larder_source::Action, String)],
    ) -> Result<Selection> {
        crate::restore::selection(patterns, filters, b"/")
    }
}

/// Writes a file under a temporary name and gives it its own when it is whole.
fn write_whole(
    root: &TargetRoot,
    name: &[u8],
    content: &[u8],
    replace: Replace,
) -> std::io::Result<()> {
    let mut file = root.open_temporary(name)?.file;
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(content))
        .and_then(|()| match replace {
            Replace::Yes => root.inherit(&file, name),
            Replace::No => Ok(()),
        })
        .and_then(|()| root.finish_temporary(&file, name, replace));
    if written.is_err() {
        // That failure is the one to report.
        let _ = root.discard_temporary(name);
    }
    written
}

/// The control files of a version with their names. A name that is no plain file name is passed over. Duplicati gives
/// two files of one name two entries of one name; the second gets another one here.
fn control_entries(
    archive: &ArchiveReader<VolumeData>,
) -> impl Iterator<Item = (String, &ArchiveEntry)> {
    let mut names = Names::default();
    archive.entries().filter_map(move |entry| {
        let name = entry.name.strip_prefix(EXTRA_FOLDER)?;
        let plain =
            !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
        let name = plain.then(|| names.free(name))?;
        Some((name, entry))
    })
}

fn is_chosen(name: &str, chosen: &Selection) -> bool {
    chosen.selects(format!("/{name}").as_bytes())
}

/// Reads a file that may have so many bytes.
fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > most {
        return Err(Error::volume(
            "(version list)",
            larder_volume::Error::TooLarge {
                what: "files kept beside the list in bytes",
                limit: MAX_EXTRA,
            },
        ));
    }
    Ok(bytes)
}

/// Control files with the names that they get in the version: those of the files, each once. A path that is named twice
/// is one file.
pub(crate) fn named(paths: &[PathBuf]) -> impl Iterator<Item = (&Path, String)> {
    let (mut seen, mut names) = (BTreeSet::new(), Names::default());
    paths.iter().filter_map(move |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // It would be read as the end of a folder.
        let name = name.replace('\\', "_");
        let is_new = seen.insert(path.as_path());
        is_new.then(|| (path.as_path(), names.free(&name)))
    })
}

/// Names that are taken.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// The name itself, or `<stem> (n)<.ext>` with the lowest number from 2 on that is free. It is taken then.
    fn free(&mut self, name: &str) -> String {
        let dot = name.rfind('.').filter(|at| *at > 0).unwrap_or(name.len());
        let (stem, ending) = name.split_at(dot);
        let numbered = (2..).map(|number| format!("{stem} ({number}){ending}"));
        let mut all = std::iter::once(name.to_owned()).chain(numbered);
        let free = all.find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_control_file_gets_a_name_of_its_own() {
        let paths = [
            "/a/x.conf",
            "/b/x.conf",
            "/a/x.conf",
            "/c/x (2).conf",
            "/d/x.conf",
            "/a/.rc",
            "/b/.rc",
            "/a\\b",
        ];
        let paths = paths.map(PathBuf::from);
        let names: Vec<String> = named(&paths).map(|(_, name)| name).collect();
        assert_eq!(
            names,
            [
                "x.conf",
                "x (2).conf",
                "x (2) (2).conf",
                "x (3).conf",
                ".rc",
                ".rc (2)",
                "a_b"
            ]
        );
    }
}
