//! Versions of a folder, and the files in them.

use std::io::{self, Read};
use std::path::Path;

use larder_catalog::Sorter;
use larder_options::value::Direction;
use larder_volume::{ArchiveReader, EntryKind, FileEntry, VolumeName, VolumeTime};

use super::folder::{Folder, LocalFile, Stored};
use super::{Recovery, is_of_volume};
use crate::context::Phase;
use crate::entries::{entries_in, filelist_of, is_full};
use crate::error::VolumeContext;
use crate::found::{FoundFiles, States};
use crate::listing::{Chosen, ListRequest};
use crate::report::{ListReport, VersionInfo};
use crate::temporary::temporary_error;
use crate::transfer::TransferCounts;
use crate::versions::time_limit;
use crate::{Error, Result};

/// What is done about entries of a list that make no sense, beside leaving them out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Some are named.
    Told,
    /// They were told before.
    PassedOver,
}

/// A version of a folder, with its number (0 = newest).
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) time: VolumeTime,
    pub(super) list: Stored,
}

impl Recovery {
    /// The versions in a folder, newest first; or the files of one, which is told by its number, the name of its file or
    /// a time counted backwards.
    ///
    /// # Errors
    /// The folder cannot be read, or has no such version. A list that is damaged is named in the report.
    pub fn list(
        &self,
        folder: &Path,
        version: Option<&str>,
        filters: &[(larder_source::Action, String)],
    ) -> Result<ListReport> {
        self.reporter.phase(Phase::ReadingLists);
        let found = self.folder(folder)?;
        let versions = versions(&found)?;
        let (versions, files) = match version {
            None => {
                let infos = versions.iter().map(|version| {
                    self.cancel.check()?;
                    self.counted(&found, version, |_| Ok(()))
                });
                (infos.collect::<Result<_>>()?, FoundFiles::default())
            }
            Some(text) => {
                let chosen = self.chosen(&versions, text)?;
                let (info, files) = self.files(&found, &chosen, filters)?;
                (vec![info], files)
            }
        };
        Ok(ListReport {
            versions,
            files,
            common: self.common("List", &TransferCounts::default()),
        })
    }

    /// The files of a version.
    fn files(
        &self,
        folder: &Folder,
        version: &Version,
        filters: &[(larder_source::Action, String)],
    ) -> Result<(VersionInfo, FoundFiles)> {
        let temporary = self
            .settings
            .temp_folder
            .folder()
            .map_err(temporary_error)?;
        let sorter = Sorter::spilling_to(temporary.path().join("files"));
        let mut states = States::new(sorter, 1);
        let request = ListRequest {
            filters: filters.to_vec(),
            ..ListRequest::default()
        };
        let mut chosen = Chosen::new(&request);
        let mut info = self.counted(folder, version, |entry| {
            if chosen.selects(&entry.path)? {
                states.push(&entry.path, (entry.kind, entry.size), &[0])?;
            }
            Ok(())
        })?;
        // What could be read of it is shown.
        info.is_unreadable = false;
        Ok((info, states.finish()?))
    }

    /// Reads a version to its end and counts; `work` sees each entry. A damaged list is told.
    fn counted(
        &self,
        folder: &Folder,
        version: &Version,
        mut work: impl FnMut(&FileEntry) -> Result<()>,
    ) -> Result<VersionInfo> {
        let mut info = VersionInfo {
            version: version.number,
            time: version.time.0,
            is_full_backup: true,
            is_unreadable: false,
            file_count: 0,
            entry_count: 0,
            file_sizes: 0,
        };
        let read = self.open(folder, &version.list).and_then(|archive| {
            info.is_full_backup = self.says_full(&archive, version);
            self.entries(&archive, &version.list, Wrong::Told, |entry| {
                work(entry)?;
                info.entry_count += 1;
                if entry.kind == EntryKind::File {
                    info.file_count += 1;
                    info.file_sizes = info.file_sizes.saturating_add(entry.size);
                }
                Ok(())
            })
        });
        let damage = match read {
            Ok(damage) => damage,
            Err(error) if is_of_volume(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if let Some(error) = damage {
            info.is_unreadable = true;
            self.tell_damaged_list(&version.list, &error);
        }
        Ok(info)
    }

    /// Hands the entries of a list to `work`; gives what ended it before its end. It is read in small pieces, so that what
    /// stands right before damage is had, too.
    ///
    /// # Errors
    /// Those of `work`, or the list cannot even be begun.
    pub(super) fn entries(
        &self,
        archive: &ArchiveReader<LocalFile>,
        list: &Stored,
        wrong: Wrong,
        mut work: impl FnMut(&FileEntry) -> Result<()>,
    ) -> Result<Option<Error>> {
        let file = list.file.as_str();
        if list.is_damaged {
            self.tell_partly_damaged(file);
        }
        let stream = archive
            .stream(filelist_of(archive, file)?)
            .in_volume(file)?;
        let reporter = (wrong == Wrong::Told).then_some(&*self.reporter);
        let mut failed = None;
        let read = entries_in(Sips(stream), file, reporter, &self.cancel, |entry| {
            work(&entry).map_err(|error| {
                failed = Some(error);
                Error::Cancelled
            })
        });
        match (failed, read) {
            (Some(error), _) => Err(error),
            (None, Ok(_)) => Ok(None),
            (None, Err(error)) if is_of_volume(&error) => Ok(Some(error)),
            (None, Err(error)) => Err(error),
        }
    }

    /// Says that the list of a version is damaged.
    pub(super) fn tell_damaged_list(&self, list: &Stored, error: &Error) {
        let cost = "of this version only what stands before the damage can be had";
        self.tell_damaged(&list.file, "DamagedList", error, cost);
    }

    /// Whether a version was finished, as far as its list can be read.
    fn says_full(&self, archive: &ArchiveReader<LocalFile>, version: &Version) -> bool {
        is_full(archive, &version.list.file).unwrap_or(true)
    }

    /// The version that a text names.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn chosen(&self, versions: &[Version], text: &str) -> Result<Version> {
        let text = text.trim();
        let none = |message: String| {
            Error::user(
                "NoSuchVersion",
                message,
                "see `larder recovery list FOLDER` for the versions",
            )
        };
        let oldest = versions.len().saturating_sub(1);
        if let Ok(number) = text.parse::<u64>() {
            let found = versions.iter().find(|version| version.number == number);
            return found.cloned().ok_or_else(|| {
                none(format!(
                    "there is no version {number}; the oldest is {oldest}"
                ))
            });
        }
        let file = Path::new(text).file_name().and_then(|name| name.to_str());
        let name = file.and_then(|file| {
            let bare = file.strip_suffix(super::DAMAGED_ENDING).unwrap_or(file);
            VolumeName::parse(bare, self.settings.case_insensitive)
        });
        if let Some(time) = name.and_then(|name| name.time()) {
            let found = versions.iter().find(|version| version.time == time);
            return found
                .cloned()
                .ok_or_else(|| none(format!("{text} is no list of a version in this folder")));
        }
        let backwards = Direction::Backwards;
        let limit = time_limit(text, backwards, self.clock.as_ref(), &self.reporter)?;
        let found = versions.iter().find(|version| version.time.0 <= limit);
        found.cloned().ok_or_else(|| {
            let times = versions.last().map(|version| version.time.to_string());
            none(format!(
                "no version is as old as {text}; the oldest is version {oldest} of {}",
                times.unwrap_or_default()
            ))
        })
    }
}

/// A reader that gives little at a time.
struct Sips<R>(R);

impl<R: Read> Read for Sips<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(SIP);
        self.0.read(buffer.get_mut(..len).unwrap_or_default())
    }
}

/// All versions, newest first.
///
/// # Errors
/// There is none.
pub(super) fn versions(folder: &Folder) -> Result<Vec<Version>> {
    if folder.lists.is_empty() {
        return Err(Error::data(
            "EmptyRemoteLocation",
            format!(
                "there is no version of a backup in {}",
                folder.path.display()
            ),
            format!(
                "fetch them first: `larder recovery download URL {}`",
                folder.path.display()
            ),
        ));
    }
    let lists = folder.lists.iter().zip(0..);
    Ok(lists
        .filter_map(|(list, number)| {
            Some(Version {
                number,
                time: list.name.time()?,
                list: list.clone(),
            })
        })
        .collect())
}

/// Bytes of a list that are read at a time.
const SIP: usize = 256;
