//! What became of a path: every version that has it.

use std::collections::{BTreeMap, BTreeSet};

use crate::browse::{as_folder, separator_of};
use crate::pages::{Changes, Collected, Page};
use crate::phases::Ready;
use crate::report::FileVersionsReport;
use crate::run::Run;
use crate::sync::{Mode, Need};
use crate::versions::DefaultVersions;
use crate::{Error, Result};

/// Whose versions to list.
#[derive(Clone, Debug, Default)]
pub struct HistoryRequest {
    /// Stored paths, each exactly. That of a folder may stand without its separator; what was a file in one version and a
    /// folder in another is found as both.
    pub paths: Vec<String>,
    /// The part of the list that is wanted.
    pub page: Page,
}

impl Run {
    /// Lists the versions that have a path, and tells in which its content changed.
    ///
    /// Looks in all versions unless `--version` or `--time` names some. The cost depends on the number of paths and versions, not
    /// on the size of the versions, once the catalog has their entries.
    ///
    /// # Errors
    /// No path, one that is in no version unless another one is, and a list that cannot be read when it is the only one.
    pub fn list_file_versions(&self, request: &HistoryRequest) -> Result<FileVersionsReport> {
        if request.paths.is_empty() {
            return Err(Error::user(
                "NoPathSpecified",
                "no path is named, so there is nothing to list the versions of",
                "name files or folders by their whole paths; `larder search-files` finds them",
            ));
        }
        self.with_healing(|| {
            self.ready(Mode::Reading, Need::Lists)?
                .list_file_versions(request)
        })
    }
}

impl Ready<'_> {
    fn list_file_versions(&self, request: &HistoryRequest) -> Result<FileVersionsReport> {
        let chosen = self.open_versions(&self.chosen_versions(DefaultVersions::All)?)?;
        let places: BTreeMap<i64, usize> = chosen.filesets.iter().copied().collect();
        let mut found = self.collect(&chosen, Changes::Told)?;
        let mut missing = Vec::new();
        for path in request.paths.iter().collect::<BTreeSet<_>>() {
            let mut is_there = false;
            for stored in forms(path) {
                is_there |= self.add_history(&stored, &places, &mut found)?;
            }
            if !is_there {
                missing.push(path.as_str());
            }
        }
        if found.is_empty() {
            return Err(nowhere(&missing));
        }
        for path in missing {
            let text = format!("{path} is in none of the versions that were looked at");
            self.reporter.warn("PathNotFound", text);
        }
        Ok(FileVersionsReport {
            file_versions: found.finish(request.page)?,
            unreadable_versions: chosen.unreadable,
            common: self.common("ListFileVersions", false),
        })
    }

    /// Adds the states of a path; false when no version has it.
    fn add_history(
        &self,
        path: &[u8],
        places: &BTreeMap<i64, usize>,
        found: &mut Collected,
    ) -> Result<bool> {
        self.cancel.check()?;
        let states = self.catalog(|c| c.history(path))?;
        let mut is_there = false;
        for (fileset, stored) in states {
            if let Some(place) = places.get(&fileset) {
                found.push_stored(&stored, &[*place])?;
                is_there = true;
            }
        }
        Ok(is_there)
    }
}

/// The stored paths that a user may mean by a path.
fn forms(path: &str) -> Vec<Vec<u8>> {
    let folder = as_folder(path);
    match path.as_bytes().last() {
        Some(last) if *last == separator_of(path.as_bytes()) => vec![folder],
        _ => vec![path.as_bytes().to_vec(), folder],
    }
}

fn nowhere(paths: &[&str]) -> Error {
    let first = paths.first().copied().unwrap_or_default();
    let who = match paths.len() {
        0 | 1 => format!("{first} is"),
        2 => format!("{first} and another path are"),
        more => format!("{first} and {} other paths are", more - 1),
    };
    Error::user(
        "PathNotFound",
        format!("{who} in none of the versions that were looked at"),
        "name it as it was backed up: `larder search-files` finds it",
    )
}
