//! The sources of a backup, from arguments to disjoint roots.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::filter::{Action, Filter};

/// What became of the sources that were asked for.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Absolute paths in ascending order, none of them in another; folders without their separator.
    pub roots: Vec<PathBuf>,
    /// Sources that do not exist, as they were given. One that cannot be looked at is a root all the same: the walk
    /// reports it, and what an earlier version has of it stays.
    pub missing: Vec<PathBuf>,
    /// Absolute paths of the sources that are no roots: missing ones, and those that lie in another one.
    pub no_roots: Vec<PathBuf>,
    /// Stored paths of sources that lie in another one.
    pub nested: Vec<Vec<u8>>,
    /// Those of them that will not be reached because a filter excludes a folder on the way; worth a
    /// warning.
    pub unreachable: Vec<Vec<u8>>,
    /// The filters to use: those given, and in front of them an include for each nested source if
    /// any filter excludes.
    pub filter: Filter,
}

/// Turns the sources of a backup into roots for [`crate::Walk`].
///
/// Relative paths are taken from `folder`; `.`, `..` and doubled separators are resolved in the
/// text, without looking at links. A source named twice counts once. One that lies in another is
/// dropped; it is put in front of the filters as an include if there are excludes
/// (docs/guide/filters.md).
pub fn prepare_sources(sources: &[PathBuf], folder: &Path, filter: &Filter) -> Sources {
    let (mut missing, mut no_roots) = (Vec::new(), Vec::new());
    let mut found: Vec<(Vec<u8>, PathBuf, bool)> = Vec::new();
    for source in sources {
        let path = absolute(source, folder);
        // A link to a folder counts as that folder, as in the walk.
        let is_folder = std::fs::metadata(&path).is_ok_and(|facts| facts.is_dir());
        if !is_folder && std::fs::symlink_metadata(&path).is_err_and(|error| is_missing(&error)) {
            missing.push(source.clone());
            no_roots.push(path);
            continue;
        }
        let mut stored = path.as_os_str().as_bytes().to_vec();
        if is_folder && !stored.ends_with(b"/") {
            stored.push(b'/');
        }
        found.push((stored, path, is_folder));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|later, earlier| later.0 == earlier.0);
    let mut roots = Vec::new();
    let mut nested = Vec::new();
    let mut unreachable = Vec::new();
    let mut outer: Option<Vec<u8>> = None;
    for (stored, path, is_folder) in found {
        if let Some(outer) = outer.as_ref().filter(|outer| stored.starts_with(outer)) {
            if cut_off(outer, &stored, filter) {
                unreachable.push(stored.clone());
            }
            nested.push(stored);
            no_roots.push(path);
            continue;
        }
        if is_folder {
            outer = Some(stored);
        }
        roots.push(path);
    }
    let filter = if nested.is_empty() || !filter.has_excludes() {
        filter.clone()
    } else {
        filter.prepend(Action::Include, &nested)
    };
    Sources {
        roots,
        missing,
        no_roots,
        nested,
        unreachable,
        filter,
    }
}

/// What is found at the path of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A folder with nothing in it.
    EmptyFolder,
    /// A folder with something in it.
    Folder,
    /// A file, or a link that leads to no folder.
    NoFolder,
    /// It cannot be told now: a disk that fails, a mount that hangs, a folder that may not be read.
    Unknown,
}

impl Found {
    /// Looks at a path; a link to a folder counts as that folder.
    pub fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(facts) if facts.is_dir() => match is_empty_folder(path) {
                Ok(true) => Self::EmptyFolder,
                Ok(false) => Self::Folder,
                Err(_) => Self::Unknown,
            },
            Ok(_) => Self::NoFolder,
            Err(_) => match std::fs::symlink_metadata(path) {
                Ok(_) => Self::NoFolder,
                Err(error) if is_missing(&error) => Self::Nothing,
                Err(_) => Self::Unknown,
            },
        }
    }
}

/// The number of the file system that a path leads to, where it can be told. It is another one at each mount.
pub fn file_system_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let facts = std::fs::metadata(path).ok()?;
    Some(facts.dev())
}

/// Whether an error says that nothing is there. All others say nothing about that: a disk that fails, a mount that hangs.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Whether a filter excludes a folder between a source and another source that lies in it.
fn cut_off(outer: &[u8], nested: &[u8], filter: &Filter) -> bool {
    let inner = nested.strip_suffix(b"/").unwrap_or(nested);
    let ends = inner
        .iter()
        .enumerate()
        .skip(outer.len())
        .filter(|(_, byte)| **byte == b'/');
    ends.filter_map(|(at, _)| filter.first_match(nested.get(..=at)?))
        .any(|(action, _)| action == Action::Exclude)
}

/// Whether a path is a folder with nothing in it.
///
/// # Errors
///
/// The folder cannot be read.
pub fn is_empty_folder(path: &Path) -> io::Result<bool> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(false);
    }
    std::fs::read_dir(path)?
        .next()
        .transpose()
        .map(|entry| entry.is_none())
}

/// The absolute form of a path, resolved in the text.
fn absolute(path: &Path, folder: &Path) -> PathBuf {
    let joined = folder.join(path);
    let mut out: Vec<u8> = Vec::new();
    for part in joined.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let cut = out.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(cut);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn text_of_paths_is_resolved() {
        let rows = [
            ("a", "/w/a"),
            ("a/", "/w/a"),
            ("./a//b/.", "/w/a/b"),
            ("../x", "/x"),
            ("/../..", "/"),
            ("/a/../b/", "/b"),
            ("/", "/"),
        ];
        for (given, expected) in rows {
            assert_eq!(
                absolute(Path::new(given), Path::new("/w")),
                Path::new(expected),
                "{given}"
            );
        }
    }

    #[test]
    fn nested_sources_become_includes() -> io::Result<()> {
        let temp = tempfile::tempdir()?;
        let root = temp.path().canonicalize()?;
        std::fs::create_dir_all(root.join("data/sub"))?;
        std::fs::create_dir_all(root.join("database"))?;
        std::fs::write(root.join("data/file"), b"x")?;
        let given = [
            "data",
            "data/sub",
            "data/file",
            "database",
            "data/",
            "nothing",
        ]
        .map(PathBuf::from);
        let exclude = [(Action::Exclude, "*/sub/".to_owned())];
        let filter = Filter::parse(&exclude, true).map_err(io::Error::other)?;
        let sources = prepare_sources(&given, &root, &filter);
        assert_eq!(sources.roots, [root.join("data"), root.join("database")]);
        assert_eq!(sources.missing, [PathBuf::from("nothing")]);
        let no_roots = ["nothing", "data/file", "data/sub"].map(|path| root.join(path));
        assert_eq!(sources.no_roots, no_roots);
        let sub = [root.join("data/sub/").as_os_str().as_bytes(), b""].concat();
        assert_eq!(sources.nested.len(), 2);
        assert_eq!(sources.filter.first_match(&sub), Some((Action::Include, 1)));
        let rules: Vec<_> = sources.filter.given().collect();
        assert_eq!(rules, [(Action::Exclude, "*/sub/")]);
        let includes = Filter::parse(&[(Action::Include, "*.txt".to_owned())], true)
            .map_err(io::Error::other)?;
        assert_eq!(prepare_sources(&given, &root, &includes).filter.len(), 1);
        assert!(sources.unreachable.is_empty());
        fs::create_dir_all(root.join("data/cut/off"))?;
        let exclude = [(Action::Exclude, "*/cut/".to_owned())];
        let filter = Filter::parse(&exclude, true).map_err(io::Error::other)?;
        let given = ["data", "data/cut/off", "data/sub"].map(PathBuf::from);
        let sources = prepare_sources(&given, &root, &filter);
        assert_eq!(
            sources.unreachable,
            [[root.as_os_str().as_bytes(), b"/data/cut/off/"].concat()]
        );
        for (path, expected) in [
            ("database", Found::EmptyFolder),
            ("data", Found::Folder),
            ("data/file", Found::NoFolder),
            ("nothing", Found::Nothing),
            ("data/file/below", Found::Nothing),
        ] {
            assert_eq!(Found::at(&root.join(path)), expected, "{path}");
        }
        assert!(is_empty_folder(&root.join("database"))?);
        assert!(!is_empty_folder(&root.join("data"))?);
        assert!(!is_empty_folder(&root.join("data/file"))?);
        Ok(())
    }
}
