//! Which place below the target folder each stored path gets (format spec 9.2).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use larder_source::map_foreign;
use larder_volume::{EntryKind, FileEntry};

/// Where restored entries go.
#[derive(Debug)]
pub(crate) struct Target {
    /// The folder below which everything is written.
    pub(crate) folder: PathBuf,
    /// Leading bytes of stored paths that are cut off.
    cut: Vec<u8>,
    /// True when paths keep everything (original places, full paths, or several roots).
    whole: bool,
}

impl Target {
    /// The path below the target folder; `None` for the target folder itself.
    pub(crate) fn relative(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(self.cut.as_slice()).unwrap_or(path);
        let mapped = if self.whole || path.first() != Some(&b'/') {
            map_foreign(rest)
        } else {
            rest.to_vec()
        };
        let start = mapped.iter().take_while(|b| **b == b'/').count();
        let trimmed = mapped.get(start..).unwrap_or_default();
        let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
        (!trimmed.is_empty()).then(|| trimmed.to_vec())
    }
}

/// Chooses what of the stored paths is kept (format spec 9.2: the part common to all selected entries is cut).
pub(crate) fn layout(entries: &[FileEntry], target: Option<&Path>, keep_full: bool) -> Target {
    let Some(folder) = target else {
        return original_places(entries);
    };
    let folder = folder.to_owned();
    if keep_full {
        return Target {
            folder,
            cut: Vec::new(),
            whole: true,
        };
    }
    let cut = common_folder(entries);
    let whole = cut.is_empty();
    Target { folder, cut, whole }
}

/// The original places. The way to the selected entries may lead through links, as it did when they were backed up
/// (`/home` may be one); below it nothing is followed. A set of another system goes below the root folder.
fn original_places(entries: &[FileEntry]) -> Target {
    let mut cut = common_folder(entries);
    if cut.first() != Some(&b'/') {
        return Target {
            folder: PathBuf::from("/"),
            cut: Vec::new(),
            whole: true,
        };
    }
    if entries.iter().any(|entry| entry.path == cut) {
        // The folder itself is restored too, so it must lie below the one that is opened.
        let above = cut.strip_suffix(b"/").unwrap_or(&cut);
        let end = above
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(0, |at| at + 1);
        cut.truncate(end.max(1));
    }
    Target {
        folder: PathBuf::from(std::ffi::OsStr::from_bytes(&cut)),
        cut,
        whole: false,
    }
}

/// The longest folder path, with its separator, that all entries share.
fn common_folder(entries: &[FileEntry]) -> Vec<u8> {
    let mut common: Option<Vec<u8>> = None;
    for entry in entries {
        let own = folder_of(entry);
        common = Some(match common {
            None => own.to_vec(),
            Some(mut common) => {
                let same = common.iter().zip(own).take_while(|(a, b)| a == b).count();
                common.truncate(same);
                let end = common
                    .iter()
                    .rposition(|b| is_separator(*b, own))
                    .map_or(0, |at| at + 1);
                common.truncate(end);
                common
            }
        });
    }
    common.unwrap_or_default()
}

fn is_separator(byte: u8, path: &[u8]) -> bool {
    if path.first() == Some(&b'/') {
        byte == b'/'
    } else {
        byte == b'\\' || byte == b'/'
    }
}

/// The folder an entry counts for: itself for folders, its parent for the rest; with the separator.
fn folder_of(entry: &FileEntry) -> &[u8] {
    let path = entry.path.as_slice();
    if entry.kind == EntryKind::Folder {
        return path;
    }
    let bare = match path.split_last() {
        Some((last, rest)) if is_separator(*last, path) => rest,
        _ => path,
    };
    let end = bare
        .iter()
        .rposition(|b| is_separator(*b, path))
        .map_or(0, |at| at + 1);
    path.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::layout;
    use larder_volume::{EntryKind, FileEntry};
    use std::path::Path;

    fn entry(kind: EntryKind, path: &str) -> FileEntry {
        FileEntry {
            kind,
            path: path.as_bytes().to_vec(),
            hash: None,
            size: 0,
            time: None,
            metahash: None,
            metasize: 0,
            metablockhash: None,
            metablocklists: Vec::new(),
            blocklists: Vec::new(),
            blockhash: None,
            blocksize: None,
        }
    }

    #[test]
    fn original_places_are_reached_through_the_folders_above() {
        use EntryKind::{File, Folder};
        let entries = [
            entry(Folder, "/home/ann/"),
            entry(File, "/home/ann/a/x"),
            entry(File, "/home/ann/y"),
        ];
        let place = layout(&entries, None, false);
        assert_eq!(place.folder, Path::new("/home/"));
        let relative = |path: &str| {
            place
                .relative(path.as_bytes())
                .map(|r| String::from_utf8(r).unwrap())
        };
        assert_eq!(relative("/home/ann/"), Some("ann".into()));
        assert_eq!(relative("/home/ann/a/x"), Some("ann/a/x".into()));
        let roots = [entry(File, "/a/x"), entry(File, "/b/y")];
        assert_eq!(layout(&roots, None, false).folder, Path::new("/"));
        let foreign = [entry(File, "C:\\a\\x")];
        let place = layout(&foreign, None, false);
        assert_eq!(place.folder, Path::new("/"));
        assert_eq!(place.relative(b"C:\\a\\x"), Some(b"C/a/x".to_vec()));
    }

    #[test]
    fn the_common_folder_is_cut() {
        use EntryKind::{File, Folder};
        type Case = (
            &'static [(EntryKind, &'static str)],
            &'static [Option<&'static str>],
        );
        let cases: &[Case] = &[
            (&[(File, "/R/docs/a.txt")], &[Some("a.txt")]),
            (
                &[(File, "/R/a/1"), (File, "/R/b/2")],
                &[Some("a/1"), Some("b/2")],
            ),
            (
                &[(File, "/R/a/1"), (File, "/R/ab/2")],
                &[Some("a/1"), Some("ab/2")],
            ),
            (
                &[(Folder, "/R/docs/"), (File, "/R/docs/x")],
                &[None, Some("x")],
            ),
            (
                &[(File, "/R/x"), (File, "/S/y")],
                &[Some("R/x"), Some("S/y")],
            ),
            (
                &[(File, "C:\\u\\x"), (File, "C:\\u\\v\\y")],
                &[Some("x"), Some("v/y")],
            ),
            (
                &[(File, "C:\\x"), (File, "D:\\y")],
                &[Some("C/x"), Some("D/y")],
            ),
        ];
        for (entries, expected) in cases {
            let entries: Vec<_> = entries.iter().map(|(k, p)| entry(*k, p)).collect();
            let place = layout(&entries, Some(Path::new("/t")), false);
            let got: Vec<_> = entries
                .iter()
                .map(|e| {
                    place
                        .relative(&e.path)
                        .map(|r| String::from_utf8(r).unwrap())
                })
                .collect();
            let want: Vec<_> = expected.iter().map(|e| e.map(str::to_owned)).collect();
            assert_eq!(got, want);
        }
    }
}
