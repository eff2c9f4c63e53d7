//! Looking into versions: what lies in a folder, what became of a path, where something is.
//!
//! The catalog answers. A list is read only where the catalog lacks its entries, and then the catalog has them.

mod affected;
mod folder;
mod history;
mod search;

use larder_catalog::FilesetRow;

pub use self::folder::FolderRequest;
pub use self::history::HistoryRequest;
pub use self::search::SearchRequest;
use crate::context::Phase;
use crate::error::Reach;
use crate::pages::{Changes, Collected, Stamp};
use crate::phases::Ready;
use crate::sync::describe;
use crate::versions::Version;
use crate::{Error, Result};

/// The versions that are looked into. A place is one of `stamps`, the newest version first.
struct Chosen {
    stamps: Vec<Stamp>,
    /// Those whose entries are in the catalog, by their numbers there, with their places.
    filesets: Vec<(i64, usize)>,
    /// Numbers of the versions whose lists cannot be read.
    unreadable: Vec<u64>,
}

impl Ready<'_> {
    /// Sees to it that the catalog has the entries of these versions. Of several, one whose list cannot be read is told and
    /// left out.
    fn open_versions(&self, versions: &[Version]) -> Result<Chosen> {
        self.reporter.phase(Phase::ReadingLists);
        let oldest = self.all_versions()?.last().map(|version| version.number);
        let noted = self.noted_losses()?;
        let mut chosen = Chosen {
            stamps: Vec::with_capacity(versions.len()),
            filesets: Vec::with_capacity(versions.len()),
            unreadable: Vec::new(),
        };
        for (place, version) in versions.iter().enumerate() {
            self.cancel.check()?;
            let fileset = match self.loaded_if_version(version) {
                Err(error) if error.reach() == Reach::Volume && versions.len() > 1 => {
                    if !noted.contains(version.volume.name.as_str()) {
                        self.reporter.error("DamagedList", describe(&error));
                    }
                    None
                }
                Ok(None) if versions.len() == 1 => return Err(no_version(version)),
                other => other?,
            };
            // The catalog may have the entries of a list that cannot be read any more.
            if fileset.is_none() || noted.contains(version.volume.name.as_str()) {
                chosen.unreadable.push(version.number);
            }
            chosen
                .filesets
                .extend(fileset.map(|fileset| (fileset, place)));
            chosen.stamps.push(Stamp {
                number: version.number,
                time: version.time.0,
                is_unknown: fileset.is_none(),
                is_first: Some(version.number) == oldest,
            });
        }
        Ok(chosen)
    }

    /// Begins to collect entries of these versions.
    fn collect(&self, chosen: &Chosen, changes: Changes) -> Result<Collected> {
        let sorter = self.catalog(|c| c.sorter())?;
        Ok(Collected::new(sorter, chosen.stamps.clone(), changes))
    }

    /// A version whose entries are in the catalog.
    pub(crate) fn loaded(&self, version: &Version) -> Result<FilesetRow> {
        let fileset = self.loaded_if_version(version)?;
        let filesets = self.catalog(|c| c.filesets())?;
        let found = filesets.into_iter().find(|row| Some(row.id) == fileset);
        found.ok_or_else(|| no_version(version))
    }

    /// The number of such a version in the catalog; `None` for a list under another name than its own.
    fn loaded_if_version(&self, version: &Version) -> Result<Option<i64>> {
        if let Some(known) = self.fileset_with_entries(&version.volume)? {
            return Ok(Some(known));
        }
        let read = self.read_list(&version.volume, version.time, |_| Ok(()))?;
        Ok(read.fileset())
    }

    /// Ends a pass over the catalog when the user has stopped the run; whoever made the pass gives that error.
    fn go_on(&self) -> larder_catalog::Result<()> {
        let stopped = |_| larder_catalog::Error::Misuse("a listing was left");
        self.cancel.check().map_err(stopped)
    }
}

fn no_version(version: &Version) -> Error {
    Error::data(
        "DamagedList",
        format!(
            "{} is no version that can be looked into",
            version.volume.name.as_str()
        ),
        "take another version: `larder list-filesets` shows them",
    )
}

/// The separator of paths that look like this one.
fn separator_of(path: &[u8]) -> u8 {
    match path.first() {
        Some(b'/') => b'/',
        _ => b'\\',
    }
}

/// The path of a folder, with its separator at the end.
fn as_folder(path: &str) -> Vec<u8> {
    let mut path = path.as_bytes().to_vec();
    let separator = separator_of(&path);
    if path.last() != Some(&separator) {
        path.push(separator);
    }
    path
}
