//! Which place below the target folder each stored path gets (format spec 9.2).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use larder_source::map_foreign;
use larder_volume::{EntryKind, FileEntry};

/// Where restored entries go.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The folder below which everything is written.
    pub(crate) folder: PathBuf,
    /// Folders below it whose way is the user's word; see [`larder_source::TargetRoot::with_bases`].
    pub(crate) bases: Vec<Vec<u8>>,
    /// Leading bytes of stored paths that are cut off.
    cut: Vec<u8>,
    /// True when paths keep everything (original places, full paths, or several roots).
    whole: bool,
}

impl Layout {
    /// The path below the target folder; `None` for the target folder itself.
    ///
    /// Separators that follow each other count as one, so that two spellings of one place are seen to be one. `.` and
    /// `..` stay, and are refused where the path is used.
    pub(crate) fn place(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(self.cut.as_slice()).unwrap_or(path);
        let foreign = self.whole || path.first() != Some(&b'/');
        let mapped = if foreign {
            std::borrow::Cow::Owned(map_foreign(rest))
        } else {
            std::borrow::Cow::Borrowed(rest)
        };
        let mut place = Vec::with_capacity(mapped.len());
        for name in mapped.split(|byte| *byte == b'/').filter(|n| !n.is_empty()) {
            if !place.is_empty() {
                place.push(b'/');
            }
            place.extend_from_slice(name);
        }
        (!place.is_empty()).then_some(place)
    }
}

/// Chooses what of the stored paths is kept (format spec 9.2: the part common to all selected entries is cut).
/// Memory: the sources of the version.
pub(crate) struct LayoutBuilder {
    target: Option<PathBuf>,
    keep_full: bool,
    common: Option<Vec<u8>>,
    /// Sources of the version: folders that lie in no other. None contains another.
    sources: BTreeSet<Vec<u8>>,
    too_many: bool,
}

impl LayoutBuilder {
    /// For a target folder, or `None` for the original places.
    pub(crate) fn new(target: Option<&Path>, keep_full: bool) -> Self {
        Self {
            target: target.map(Path::to_owned),
            keep_full,
            common: None,
            sources: BTreeSet::new(),
            too_many: false,
        }
    }

    /// Takes note of any entry of the version, selected or not.
    pub(crate) fn add(&mut self, entry: &FileEntry) {
        if self.target.is_some() || self.too_many {
            return;
        }
        let own = folder_of(entry);
        // The sources that sort before it end with the one it lies in, because none contains another.
        let near = self
            .sources
            .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(own)));
        if near
            .last()
            .is_some_and(|source| own.starts_with(source.as_slice()))
        {
            return;
        }
        let below: Vec<Vec<u8>> = self
            .sources
            .range::<[u8], _>((std::ops::Bound::Included(own), std::ops::Bound::Unbounded))
            .take_while(|source| source.starts_with(own))
            .cloned()
            .collect();
        for source in below {
            self.sources.remove(&source);
        }
        self.sources.insert(own.to_vec());
        self.too_many = self.sources.len() > MOST_SOURCES;
    }

    /// Takes note of a selected entry.
    pub(crate) fn add_selected(&mut self, entry: &FileEntry) {
        let own = folder_of(entry);
        match &mut self.common {
            None => self.common = Some(own.to_vec()),
            Some(common) if own.starts_with(common) => {}
            Some(common) => {
                let same = common.iter().zip(own).take_while(|(a, b)| a == b).count();
                common.truncate(same);
                let end = common
                    .iter()
                    .rposition(|b| is_separator(*b, own))
                    .map_or(0, |at| at + 1);
                common.truncate(end);
            }
        }
    }

    /// The layout for all that was added.
    pub(crate) fn finish(self) -> Layout {
        let common = self.common.unwrap_or_default();
        let Some(folder) = self.target else {
            return original_places(&common, self.sources, self.too_many);
        };
        let cut = if self.keep_full { Vec::new() } else { common };
        Layout {
            folder,
            bases: Vec::new(),
            whole: cut.is_empty(),
            cut,
        }
    }
}

/// The original places. The way to each source may lead through links, as it did when it was backed up (`/home` may be
/// one, or the source itself); within a source nothing is followed. A set of another system goes below the root folder.
fn original_places(common: &[u8], sources: BTreeSet<Vec<u8>>, too_many: bool) -> Layout {
    let is_own = common.first() == Some(&b'/');
    let trim = |path: &[u8]| {
        let names: Vec<&[u8]> = path
            .split(|b| *b == b'/')
            .filter(|n| !n.is_empty())
            .collect();
        names.join(&b'/')
    };
    let usable = |base: &Vec<u8>| {
        !base.is_empty() && !base.split(|b| *b == b'/').any(|n| n == b"." || n == b"..")
    };
    let bases: Vec<Vec<u8>> = if !is_own {
        Vec::new()
    } else if too_many {
        vec![trim(common)].into_iter().filter(usable).collect()
    } else {
        sources.iter().map(|s| trim(s)).filter(usable).collect()
    };
    Layout {
        folder: PathBuf::from("/"),
        bases,
        cut: if is_own { b"/".to_vec() } else { Vec::new() },
        whole: !is_own,
    }
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

/// Sources that are told apart; a version of more has the folder that all have in common for its only one.
const MOST_SOURCES: usize = 1000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use larder_volume::{EntryKind, FileEntry};
    use proptest::prelude::*;

    use super::{Layout, LayoutBuilder};

    fn layout(entries: &[FileEntry], target: Option<&Path>) -> Layout {
        let mut builder = LayoutBuilder::new(target, false);
        for entry in entries {
            builder.add(entry);
            builder.add_selected(entry);
        }
        builder.finish()
    }

    fn entry(kind: EntryKind, path: &str) -> FileEntry {
        FileEntry::new(kind, path.as_bytes().to_vec())
    }

    fn texts(list: &[Vec<u8>]) -> Vec<String> {
        let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        list.iter().map(text).collect()
    }

    fn place(layout: &Layout, path: &str) -> Option<String> {
        let place = layout.place(path.as_bytes());
        place.map(|p| String::from_utf8_lossy(&p).into_owned())
    }

    #[test]
    fn original_places_are_reached_along_the_links_above_each_source() {
        use EntryKind::{File, Folder, Symlink};
        let entries = [
            entry(File, "/home/ann/a/x"),
            entry(Folder, "/home/ann/"),
            entry(File, "/home/ann/y"),
            entry(File, "/etc/hosts"),
            entry(Symlink, "/srv/link/"),
            entry(File, "/home/annex/x"),
        ];
        let found = layout(&entries, None);
        assert_eq!(found.folder, Path::new("/"));
        assert_eq!(
            texts(&found.bases),
            ["etc", "home/ann", "home/annex", "srv"]
        );
        assert_eq!(place(&found, "/home/ann/"), Some("home/ann".into()));
        assert_eq!(place(&found, "/home/ann/a/x"), Some("home/ann/a/x".into()));
        assert_eq!(place(&found, "/"), None);
        let foreign = layout(&[entry(File, "C:\\a\\x")], None);
        assert_eq!(foreign.folder, Path::new("/"));
        assert!(foreign.bases.is_empty());
        assert_eq!(place(&foreign, "C:\\a\\x"), Some("C/a/x".into()));
        let root = layout(&[entry(Folder, "/"), entry(File, "/a/x")], None);
        assert!(root.bases.is_empty());
        let many: Vec<_> = (0..2_000)
            .map(|n| entry(File, &format!("/many/{n}/x")))
            .collect();
        assert_eq!(texts(&layout(&many, None).bases), ["many"]);
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
            // Two spellings of one place.
            (
                &[(File, "/s//x"), (File, "/s/x"), (Folder, "/s///x/")],
                &[Some("x"), Some("x"), Some("x")],
            ),
            (
                &[(File, "C:\\a/b"), (File, "C:\\a\\b"), (File, "C:\\c")],
                &[Some("a/b"), Some("a/b"), Some("c")],
            ),
        ];
        for (entries, expected) in cases {
            let entries: Vec<_> = entries.iter().map(|(k, p)| entry(*k, p)).collect();
            let found = layout(&entries, Some(Path::new("/t")));
            let got: Vec<_> = entries
                .iter()
                .map(|e| place(&found, &String::from_utf8_lossy(&e.path)))
                .collect();
            let want: Vec<_> = expected.iter().map(|e| e.map(str::to_owned)).collect();
            assert_eq!(got, want);
        }
    }

    fn entries() -> impl Strategy<Value = Vec<FileEntry>> {
        let path = prop::collection::vec("[abc.]{1,2}", 1..5);
        let one = (path, any::<bool>()).prop_map(|(names, is_folder)| {
            let path = format!("/{}", names.join("/"));
            match is_folder {
                true => entry(EntryKind::Folder, &format!("{path}/")),
                false => entry(EntryKind::File, &path),
            }
        });
        prop::collection::vec(one, 1..20)
    }

    proptest! {
        /// In any order the sources are the folders that lie in no other, and each entry lies in one.
        #[test]
        fn sources_are_the_topmost_folders(entries in entries(), seed in any::<u64>()) {
            let bases = texts(&layout(&entries, None).bases);
            let mut turned = entries.clone();
            turned.rotate_left((seed % entries.len() as u64) as usize);
            turned.reverse();
            prop_assert_eq!(&texts(&layout(&turned, None).bases), &bases);
            for (n, base) in bases.iter().enumerate() {
                for other in &bases[n + 1..] {
                    let below = format!("{base}/");
                    prop_assert!(!other.starts_with(&below));
                }
            }
        }

        /// Different files get different places, and none leaves the target by its form.
        #[test]
        fn places_are_relative_and_as_different_as_the_paths(entries in entries()) {
            for target in [None, Some(Path::new("/t"))] {
                let found = layout(&entries, target);
                let mut places = std::collections::BTreeMap::new();
                for entry in &entries {
                    let path = String::from_utf8_lossy(&entry.path).into_owned();
                    let Some(place) = place(&found, &path) else { continue };
                    prop_assert!(!place.starts_with('/') && !place.ends_with('/'));
                    prop_assert!(!place.contains("//"));
                    let bare = path.trim_end_matches('/').to_owned();
                    prop_assert!(bare.ends_with(&place));
                    let before = places.insert(place, bare.clone());
                    prop_assert!(before.is_none_or(|before| before == bare));
                }
            }
        }
    }
}
