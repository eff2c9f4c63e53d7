//! Searching paths over versions.

use larder_source::{Action, Selection, search_argument};

use crate::browse::{Chosen, as_folder, separator_of};
use crate::pages::{Changes, Collected, Page};
use crate::phases::Ready;
use crate::report::FileVersionsReport;
use crate::run::Run;
use crate::sync::{Mode, Need};
use crate::versions::DefaultVersions;
use crate::{Error, Result};

/// What to search.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// Whole paths of folders limit the search to what is in them. Everything else is looked for: a word anywhere in a
    /// name, a piece of a path anywhere in a path, a filter in the whole path.
    pub arguments: Vec<String>,
    /// `--include` and `--exclude` filters in order.
    pub filters: Vec<(Action, String)>,
    /// The part of the list that is wanted.
    pub page: Page,
}

impl Run {
    /// Searches all versions, or those that `--version` or `--time` names. Patterns and filters ignore case, folders do not.
    ///
    /// # Errors
    /// A wrong pattern, and a list that cannot be read when it is the only one.
    pub fn search_files(&self, request: &SearchRequest) -> Result<FileVersionsReport> {
        self.with_healing(|| {
            self.ready(Mode::Reading, Need::Lists)?
                .search_files(request)
        })
    }
}

impl Ready<'_> {
    fn search_files(&self, request: &SearchRequest) -> Result<FileVersionsReport> {
        let (folders, patterns): (Vec<String>, _) =
            (request.arguments.iter().cloned()).partition(|argument| is_folder(argument));
        // Wrong ones are told before anything is read.
        let wanted = Wanted {
            plain: selection(&patterns, &request.filters, '/')?,
            windows: selection(&patterns, &request.filters, '\\')?,
        };
        let chosen = self.open_versions(&self.chosen_versions(DefaultVersions::All)?)?;
        let mut found = self.collect(&chosen, Changes::Told)?;
        let all = [Vec::new()];
        let folders = outermost(&folders);
        for folder in if folders.is_empty() {
            &all[..]
        } else {
            &folders
        } {
            self.search_folder(folder, &chosen, &wanted, &mut found)?;
        }
        Ok(FileVersionsReport {
            file_versions: found.finish(request.page)?,
            unreadable_versions: chosen.unreadable,
            common: self.common("SearchFiles", false),
        })
    }

    /// Adds what is in a folder, or is a file of this name; without a name everything.
    fn search_folder(
        &self,
        folder: &[u8],
        chosen: &Chosen,
        wanted: &Wanted,
        found: &mut Collected,
    ) -> Result<()> {
        let filesets: Vec<i64> = chosen
            .filesets
            .iter()
            .map(|(fileset, _)| *fileset)
            .collect();
        let file = folder.split_last().map_or(folder, |(_, file)| file);
        let mut places = Vec::new();
        let read = self.catalog(|c| {
            c.each_entry_from(&filesets, file, &mut |stored, having| {
                self.go_on()?;
                let path = stored.entry.path.as_slice();
                if (path != file && !path.starts_with(folder)) || !wanted.selects(path) {
                    return Ok(());
                }
                places.clear();
                places.extend(
                    having
                        .iter()
                        .filter_map(|at| Some(chosen.filesets.get(*at)?.1)),
                );
                found.push_stored(&stored, &places)
            })
        });
        self.cancel.check()?;
        read
    }
}

/// What is looked for, in paths with `/` and in those of Windows.
struct Wanted {
    plain: Selection,
    windows: Selection,
}

impl Wanted {
    fn selects(&self, path: &[u8]) -> bool {
        match separator_of(path) {
            b'/' => self.plain.selects(path),
            _ => self.windows.selects(path),
        }
    }
}

fn selection(
    patterns: &[String],
    filters: &[(Action, String)],
    separator: char,
) -> Result<Selection> {
    let patterns: Vec<String> = (patterns.iter())
        .map(|pattern| search_argument(pattern, separator))
        .collect();
    Selection::parse(&patterns, filters, false, separator).map_err(|error| {
        let help = "see `larder help filters`";
        Error::user("InvalidFilter", error.to_string(), help)
    })
}

/// True for a whole path without wildcards.
fn is_folder(argument: &str) -> bool {
    let bytes = argument.as_bytes();
    let has_drive =
        bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.get(1) == Some(&b':');
    let is_whole = argument.starts_with(['/', '\\']) || has_drive;
    is_whole && !argument.contains(['*', '?'])
}

/// The folders that lie in no other of them, with their separators.
fn outermost(folders: &[String]) -> Vec<Vec<u8>> {
    let mut folders: Vec<Vec<u8>> = folders.iter().map(|folder| as_folder(folder)).collect();
    folders.sort();
    folders.dedup_by(|inner, outer| inner.starts_with(outer));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_paths_limit_a_search_and_the_rest_is_looked_for() {
        for (argument, expected) in [
            ("/home/ann", true),
            ("/", true),
            (r"C:\Users", true),
            (r"\\server\share", true),
            ("/home/*", false),
            ("word", false),
            ("notes/one", false),
            ("[.*/x]", false),
            ("@/home/ann", false),
        ] {
            assert_eq!(is_folder(argument), expected, "{argument}");
        }
        let folders = ["/b", "/a/c", "/a/", "/ab", "/a/c/d"].map(str::to_owned);
        let expected = ["/a/", "/ab/", "/b/"].map(|folder| folder.as_bytes().to_vec());
        assert_eq!(outermost(&folders), expected);
    }
}
