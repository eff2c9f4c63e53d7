//! The paths that a listing found: as many as all versions have, and never all in memory.

use std::io;
use std::sync::{Mutex, PoisonError};

use larder_catalog::Sorter;
use larder_volume::EntryKind;
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::report::ListedFile;

/// The matching paths of a listing in ascending order. Memory: 12 MiB, however many there are; the rest lies in temporary
/// files, which go away with it.
#[derive(Default)]
pub struct FoundFiles {
    found: Found,
    keep: Option<Keep>,
}

/// Which paths are given out.
type Keep = Box<dyn Fn(&ListedFile) -> bool + Send + Sync>;

enum Found {
    /// So few that they are here.
    Few(Vec<ListedFile>),
    Sorted(Box<Mutex<States>>),
}

impl Default for Found {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// The states of the paths: with the path as key, what an entry is and the versions that have it so.
pub(crate) struct States {
    records: Sorter,
    /// For each listed version how many states were added, or nothing when its list cannot be read to its end.
    versions: Vec<Option<u64>>,
}

impl States {
    /// For so many versions.
    pub(crate) fn new(records: Sorter, versions: usize) -> Self {
        Self {
            records,
            versions: vec![Some(0); versions],
        }
    }

    /// Adds what an entry is in some of the versions, which are told by their places.
    pub(crate) fn push(
        &mut self,
        path: &[u8],
        (kind, size): (EntryKind, u64),
        places: &[usize],
    ) -> larder_catalog::Result<()> {
        let (kind, size) = match kind {
            EntryKind::File => (0, i64::try_from(size).unwrap_or(i64::MAX)),
            EntryKind::Folder => (1, -1),
            EntryKind::Symlink => (2, -1),
        };
        let mut payload = Vec::with_capacity(17);
        payload.push(kind);
        payload.extend_from_slice(&size.to_le_bytes());
        for run in places.chunk_by(|a, b| a + 1 == *b) {
            for end in [run.first(), run.last()] {
                let end = u32::try_from(end.copied().unwrap_or(0)).unwrap_or(u32::MAX);
                payload.extend_from_slice(&end.to_le_bytes());
            }
        }
        for place in places {
            if let Some(Some(count)) = self.versions.get_mut(*place) {
                *count += 1;
            }
        }
        self.records.push(path, &payload)
    }

    /// Takes everything of a version back: its list cannot be read to its end.
    pub(crate) fn leave_out(&mut self, place: usize) {
        if let Some(version) = self.versions.get_mut(place) {
            *version = None;
        }
    }

    /// True when nothing of a whole version was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions
            .iter()
            .all(|count| count.is_none_or(|count| count == 0))
    }

    /// The paths, from now on without the catalog.
    pub(crate) fn finish(mut self) -> larder_catalog::Result<FoundFiles> {
        self.records.finish()?;
        Ok(FoundFiles {
            found: Found::Sorted(Box::new(Mutex::new(self))),
            keep: None,
        })
    }

    fn each(&mut self, mut take: impl FnMut(ListedFile) -> io::Result<()>) -> io::Result<()> {
        let Self { records, versions } = self;
        let mut outcome = Ok(());
        let mut path: Option<Vec<u8>> = None;
        let mut file = Merged::new(versions);
        let read = records.each(|key, payload| {
            if path.as_deref() != Some(key) {
                outcome = file.give(path.take(), &mut take);
                path = Some(key.to_vec());
            }
            file.add(payload);
            match outcome {
                Ok(()) => Ok(()),
                Err(_) => Err(larder_catalog::Error::Misuse("a listing was left")),
            }
        });
        outcome?;
        read.map_err(io::Error::other)?;
        file.give(path, &mut take)
    }
}

/// The states of one path put together.
struct Merged<'v> {
    versions: &'v [Option<u64>],
    sizes: Vec<Option<i64>>,
    /// The kind in the newest version that has the path, which is the first one.
    kind: Option<(usize, &'static str)>,
}

impl<'v> Merged<'v> {
    fn new(versions: &'v [Option<u64>]) -> Self {
        Self {
            versions,
            sizes: vec![None; versions.len()],
            kind: None,
        }
    }

    fn add(&mut self, payload: &[u8]) {
        let Some((head, runs)) = payload.split_first_chunk::<9>() else {
            return;
        };
        let [kind, size @ ..] = *head;
        let kind = match kind {
            0 => EntryKind::File,
            1 => EntryKind::Folder,
            _ => EntryKind::Symlink,
        };
        let size = i64::from_le_bytes(size);
        for run in runs.chunks_exact(8) {
            let (first, last) = run.split_at(4);
            let place = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes) as usize;
            for at in place(first)..=place(last) {
                let is_whole = matches!(self.versions.get(at), Some(Some(_)));
                let Some(slot) = self.sizes.get_mut(at).filter(|_| is_whole) else {
                    continue;
                };
                *slot = Some(size);
                if self.kind.is_none_or(|(newest, _)| at < newest) {
                    self.kind = Some((at, kind.key()));
                }
            }
        }
    }

    /// Gives out the path unless no version has it.
    fn give(
        &mut self,
        path: Option<Vec<u8>>,
        take: &mut impl FnMut(ListedFile) -> io::Result<()>,
    ) -> io::Result<()> {
        let sizes = std::mem::replace(&mut self.sizes, vec![None; self.versions.len()]);
        match (path, self.kind.take()) {
            (Some(path), Some((_, kind))) => take(ListedFile {
                path: String::from_utf8_lossy(&path).into_owned(),
                kind,
                sizes,
            }),
            _ => Ok(()),
        }
    }
}

impl FoundFiles {
    /// Hands the paths to `take` in their order; may be called again.
    ///
    /// # Errors
    /// Those of `take`, and of reading the temporary files.
    pub fn each(&self, mut take: impl FnMut(ListedFile) -> io::Result<()>) -> io::Result<()> {
        let keep = self.keep.as_ref();
        let mut take = |file: ListedFile| match keep.is_none_or(|keep| keep(&file)) {
            true => take(file),
            false => Ok(()),
        };
        match &self.found {
            Found::Few(files) => files.iter().cloned().try_for_each(take),
            Found::Sorted(states) => {
                let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
                states.each(&mut take)
            }
        }
    }

    /// From now on only those of the paths that `keep` wants are given out.
    pub fn retain(&mut self, keep: impl Fn(&ListedFile) -> bool + Send + Sync + 'static) {
        self.keep = match self.keep.take() {
            None => Some(Box::new(keep)),
            Some(earlier) => Some(Box::new(move |file| earlier(file) && keep(file))),
        };
    }

    /// All paths at once, for listings that are known to be short.
    ///
    /// # Errors
    /// As [`FoundFiles::each`].
    pub fn to_vec(&self) -> io::Result<Vec<ListedFile>> {
        let mut files = Vec::new();
        self.each(|file| {
            files.push(file);
            Ok(())
        })?;
        Ok(files)
    }
}

impl From<Vec<ListedFile>> for FoundFiles {
    fn from(files: Vec<ListedFile>) -> Self {
        Self {
            found: Found::Few(files),
            keep: None,
        }
    }
}

impl std::fmt::Debug for FoundFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundFiles").finish_non_exhaustive()
    }
}

impl Serialize for FoundFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut failure = None;
        let read = self.each(|file| {
            list.serialize_element(&file).map_err(|error| {
                failure = Some(error);
                io::ErrorKind::Other.into()
            })
        });
        match (failure, read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(S::Error::custom(error)),
            (None, Ok(())) => list.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_catalog::Catalog;

    use super::*;

    fn found(states: States) -> Vec<(String, &'static str, Vec<Option<i64>>)> {
        let files = states.finish().expect("sorted").to_vec().expect("read");
        let parts = |file: ListedFile| (file.path, file.kind, file.sizes);
        files.into_iter().map(parts).collect()
    }

    #[test]
    fn states_of_a_path_become_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let (catalog, _) = Catalog::open(&folder.path().join("catalog")).expect("a catalog");
        let states = || States::new(catalog.sorter().expect("a sorter"), 4);
        let mut some = states();
        assert!(some.is_empty());
        let mut push = |path: &str, kind, size, places: &[usize]| {
            some.push(path.as_bytes(), (kind, size), places)
                .expect("pushed");
        };
        push("/b", EntryKind::File, 7, &[2, 3]);
        push("/a/", EntryKind::Folder, 0, &[0, 1, 3]);
        push("/b", EntryKind::Symlink, 0, &[0]);
        push("/only there", EntryKind::File, 1, &[1]);
        some.leave_out(1);
        assert!(!some.is_empty());
        let line =
            |path: &str, kind, sizes: [Option<i64>; 4]| (path.to_owned(), kind, sizes.to_vec());
        assert_eq!(
            found(some),
            [
                line("/a/", "Folder", [Some(-1), None, None, Some(-1)]),
                line("/b", "Symlink", [Some(-1), None, Some(7), Some(7)]),
            ]
        );
        let mut none = states();
        none.push(b"/x", (EntryKind::File, 1), &[2])
            .expect("pushed");
        none.leave_out(2);
        assert!(none.is_empty() && found(none).is_empty());
    }

    #[test]
    fn a_long_listing_comes_from_temporary_files_more_than_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (catalog, _) = Catalog::open(&folder.path().join("catalog")).expect("a catalog");
        let mut states = States::new(catalog.sorter().expect("a sorter"), 1);
        let many = 120_000_u64;
        for n in 0..many {
            let path = format!("/{:06}/{}", n * 7919 % many, "x".repeat(100));
            states
                .push(path.as_bytes(), (EntryKind::File, n), &[0])
                .expect("pushed");
        }
        let mut files = states.finish().expect("sorted");
        let spilled = std::fs::read_dir(folder.path()).expect("a folder");
        assert!(spilled.count() > 3, "nothing was spilled");
        // What was found outlives the catalog.
        drop((catalog, folder));
        for _ in 0..2 {
            let mut next = 0;
            let outcome = files.each(|file| {
                assert!(file.path.starts_with(&format!("/{next:06}/")));
                next += 1;
                Ok(())
            });
            assert!(outcome.is_ok() && next == many);
        }
        files.retain(|file| file.path.contains("/00001"));
        files.retain(|file| !file.path.contains("/000011/"));
        assert_eq!(files.to_vec().expect("some").len(), 9);
        let json = serde_json::to_value(&files).expect("JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(9));
    }
}
