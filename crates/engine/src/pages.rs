//! What was found in versions: entries in the order of their paths, in pages, and never all in memory.

mod record;

use std::io;
use std::sync::{Mutex, PoisonError};

use larder_catalog::{Sorter, StoredEntry};
use larder_volume::{EntryKind, FileEntry};
use serde::ser::{Error as _, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use self::record::{State, decode, encode, places};
use crate::report::{as_iso_time, as_iso_time_if_known};

/// Which part of a long list is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Number of the page, from 0 on.
    pub number: u64,
    /// Items of a page; without it everything is on one page.
    pub size: Option<u64>,
}

/// How the content of an entry stands to that in the version before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Change {
    /// The version before does not have it.
    Added,
    /// The content is another.
    Modified,
    /// The content is the same; time and permissions may be others.
    Unchanged,
}

/// An entry of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FoundEntry {
    /// Number of the version, 0 for the newest.
    pub version: u64,
    /// Time of the version in seconds since 1970 UTC; ISO 8601 in JSON.
    #[serde(serialize_with = "as_iso_time")]
    pub time: i64,
    /// Stored path; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// Bytes of a file; −1 for folders and links.
    pub size: i64,
    /// A folder.
    pub is_directory: bool,
    /// A symbolic link.
    pub is_symlink: bool,
    /// When the content of a file was changed last, in seconds since 1970 UTC; lists tell it of files only.
    #[serde(serialize_with = "as_iso_time_if_known")]
    pub last_modified: Option<i64>,
    /// Against the next older one of the versions that were looked at; `None` when nothing is known of an older one, or when
    /// that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// A version that was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) number: u64,
    pub(crate) time: i64,
    /// Nothing is known of its entries.
    pub(crate) is_unknown: bool,
    /// It is the oldest of all, so what it has is new in it.
    pub(crate) is_first: bool,
}

/// Whether it is told how an entry stands to the version before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    Told,
    LeftOut,
}

/// The found entries, by path and then the newest version first. Memory: 12 MiB, however many there are; the rest lies in
/// temporary files, which go away with it.
#[derive(Default)]
pub struct FoundEntries {
    found: Option<Mutex<Collected>>,
    page: Page,
    total_count: u64,
}

/// Collects entries; [`Collected::finish`] makes them readable.
pub(crate) struct Collected {
    records: Sorter,
    /// The versions by their places, the newest first.
    versions: Vec<Stamp>,
    changes: Changes,
    is_empty: bool,
}

impl Collected {
    pub(crate) fn new(records: Sorter, versions: Vec<Stamp>, changes: Changes) -> Self {
        Self {
            records,
            versions,
            changes,
            is_empty: true,
        }
    }

    /// True when nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Adds an entry with the places of the versions that have it so, in ascending order.
    pub(crate) fn push(
        &mut self,
        entry: &FileEntry,
        places: &[usize],
    ) -> larder_catalog::Result<()> {
        self.is_empty = false;
        self.records.push(&entry.path, &encode(entry, places))
    }

    /// Adds a folder that has no entry of its own in a version.
    pub(crate) fn push_folder(&mut self, path: &[u8], place: usize) -> larder_catalog::Result<()> {
        self.push(&FileEntry::new(EntryKind::Folder, path), &[place])
    }

    /// As [`Collected::push`] for an entry of the catalog.
    pub(crate) fn push_stored(
        &mut self,
        stored: &StoredEntry,
        places: &[usize],
    ) -> larder_catalog::Result<()> {
        self.push(&stored.entry, places)
    }

    /// The entries, from now on without the catalog.
    pub(crate) fn finish(mut self, page: Page) -> larder_catalog::Result<FoundEntries> {
        self.records.finish()?;
        let mut total_count = 0;
        // Of one entry in one version there may be two records, so they are counted as they are given out.
        let counted = self.each(&mut |_| {
            total_count += 1;
            Ok(true)
        });
        counted.map_err(|error| match error.downcast::<larder_catalog::Error>() {
            Ok(error) => error,
            Err(source) => larder_catalog::Error::Io {
                path: "(what was found)".into(),
                source,
            },
        })?;
        Ok(FoundEntries {
            found: Some(Mutex::new(self)),
            page,
            total_count,
        })
    }

    /// Hands the entries to `take` until that gives false.
    fn each(&mut self, take: &mut dyn FnMut(FoundEntry) -> io::Result<bool>) -> io::Result<()> {
        let Self {
            records,
            versions,
            changes,
            ..
        } = self;
        let mut states = States::new(versions, *changes);
        let mut outcome = Ok(true);
        let read = records.each(|key, payload| {
            if states.path != key {
                outcome = states.give(take);
                states.path.extend_from_slice(key);
            }
            states.add(payload);
            match outcome {
                Ok(true) => Ok(()),
                _ => Err(larder_catalog::Error::Misuse("a listing was left")),
            }
        });
        if outcome? {
            read.map_err(io::Error::other)?;
            states.give(take)?;
        }
        Ok(())
    }
}

/// What is known of one path.
struct States<'v> {
    versions: &'v [Stamp],
    changes: Changes,
    path: Vec<u8>,
    states: Vec<State>,
    /// For each version the state that it has.
    having: Vec<Option<usize>>,
}

impl<'v> States<'v> {
    fn new(versions: &'v [Stamp], changes: Changes) -> Self {
        Self {
            versions,
            changes,
            path: Vec::new(),
            states: Vec::new(),
            having: vec![None; versions.len()],
        }
    }

    fn add(&mut self, payload: &[u8]) {
        let Some((state, runs)) = decode(payload) else {
            return;
        };
        let number = self.states.len();
        self.states.push(state);
        for at in places(runs) {
            if let Some(slot) = self.having.get_mut(at) {
                *slot = Some(number);
            }
        }
    }

    /// Gives out the path in each version that has it, and begins anew. False when no more is wanted.
    fn give(&mut self, take: &mut dyn FnMut(FoundEntry) -> io::Result<bool>) -> io::Result<bool> {
        let mut goes_on = true;
        for (place, stamp) in self.versions.iter().enumerate() {
            let Some(state) = self.state_at(place) else {
                continue;
            };
            let entry = FoundEntry {
                version: stamp.number,
                time: stamp.time,
                path: String::from_utf8_lossy(&self.path).into_owned(),
                size: state.size,
                is_directory: state.is_folder(),
                is_symlink: state.is_symlink(),
                last_modified: state.time,
                change: self.change_at(place, state),
            };
            goes_on = take(entry)?;
            if !goes_on {
                break;
            }
        }
        self.path.clear();
        self.states.clear();
        self.having.fill(None);
        Ok(goes_on)
    }

    fn state_at(&self, place: usize) -> Option<&State> {
        self.states.get((*self.having.get(place)?)?)
    }

    fn change_at(&self, place: usize, state: &State) -> Option<Change> {
        if self.changes == Changes::LeftOut {
            return None;
        }
        if self.versions.get(place).is_some_and(|stamp| stamp.is_first) {
            return Some(Change::Added);
        }
        let mut older = self.versions.iter().enumerate().skip(place + 1);
        let (before, _) = older.find(|(_, stamp)| !stamp.is_unknown)?;
        Some(match self.state_at(before) {
            None => Change::Added,
            Some(before) if before.has_content_of(state) => Change::Unchanged,
            Some(_) => Change::Modified,
        })
    }
}

impl FoundEntries {
    /// Hands the entries of the page to `take` in their order; may be called again.
    ///
    /// # Errors
    /// Those of `take`, and of reading the temporary files.
    pub fn each(&self, mut take: impl FnMut(FoundEntry) -> io::Result<()>) -> io::Result<()> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        let size = self.page_size();
        let first = self.page.number.saturating_mul(size);
        let end = first.saturating_add(size);
        let mut at = 0_u64;
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.each(&mut |entry| {
            if (first..end).contains(&at) {
                take(entry)?;
            }
            at += 1;
            Ok(at < end)
        })
    }

    /// How many entries there are on all pages.
    #[must_use]
    pub fn total_count(&self) -> u64 {
        self.total_count
    }

    /// Items of a full page.
    fn page_size(&self) -> u64 {
        self.page.size.unwrap_or(self.total_count)
    }

    /// All entries of the page at once, for what is known to be short.
    ///
    /// # Errors
    /// As [`FoundEntries::each`].
    pub fn to_vec(&self) -> io::Result<Vec<FoundEntry>> {
        let mut entries = Vec::new();
        self.each(|entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }
}

impl std::fmt::Debug for FoundEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundEntries")
            .field("total_count", &self.total_count)
            .finish_non_exhaustive()
    }
}

/// As Duplicati's pages (operations samples, 10): `Page`, `PageSize`, `TotalPages`, `TotalCount`, `Items`.
impl Serialize for FoundEntries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let size = self.page_size();
        let pages = match size {
            0 => 0,
            size => self.total_count.div_ceil(size),
        };
        let mut page = serializer.serialize_struct("Page", 5)?;
        page.serialize_field("Page", &self.page.number)?;
        page.serialize_field("PageSize", &size)?;
        page.serialize_field("TotalPages", &pages)?;
        page.serialize_field("TotalCount", &self.total_count)?;
        page.serialize_field("Items", &Items(self))?;
        page.end()
    }
}

struct Items<'f>(&'f FoundEntries);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut failure = None;
        let read = self.0.each(|entry| {
            list.serialize_element(&entry).map_err(|error| {
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
    use larder_volume::{Hash, VolumeTime};

    use super::*;

    fn file(path: &str, size: u64, content: u8) -> FileEntry {
        let mut entry = FileEntry::new(EntryKind::File, path.as_bytes());
        entry.size = size;
        entry.hash = Hash::from_bytes(&[content; 32]).ok();
        entry.time = Some(VolumeTime(1000 + size as i64));
        entry
    }

    /// Versions 0 to 3; of 1 nothing is known.
    fn collected(changes: Changes) -> Collected {
        let folder = tempfile::tempdir().expect("a folder");
        let (catalog, _) = Catalog::open(&folder.path().join("catalog")).expect("a catalog");
        let stamp = |number: u64| Stamp {
            number,
            time: 100 - number as i64,
            is_unknown: number == 1,
            is_first: number == 3,
        };
        let stamps = (0..4).map(stamp).collect();
        let mut all = Collected::new(catalog.sorter().expect("a sorter"), stamps, changes);
        all.push(&file("/b", 7, 1), &[2, 3]).expect("pushed");
        all.push(&file("/b", 7, 2), &[0]).expect("pushed");
        all.push(&file("/a", 5, 1), &[0, 2]).expect("pushed");
        all.push_folder(b"/c/", 0).expect("pushed");
        all
    }

    fn lines(found: &FoundEntries) -> Vec<(String, u64, i64, Option<Change>)> {
        let entries = found.to_vec().expect("read");
        let line = |e: FoundEntry| (e.path, e.version, e.size, e.change);
        entries.into_iter().map(line).collect()
    }

    #[test]
    fn each_version_is_compared_with_the_next_older_one_that_is_known() {
        use Change::{Added, Modified, Unchanged};
        let found = collected(Changes::Told)
            .finish(Page::default())
            .expect("sorted");
        let line =
            |path: &str, version, size, change| (path.to_owned(), version, size, Some(change));
        assert_eq!(
            lines(&found),
            [
                line("/a", 0, 5, Unchanged),
                line("/a", 2, 5, Added),
                line("/b", 0, 7, Modified),
                line("/b", 2, 7, Unchanged),
                line("/b", 3, 7, Added),
                line("/c/", 0, -1, Added),
            ]
        );
        let times: Vec<_> = found
            .to_vec()
            .expect("read")
            .iter()
            .map(|e| e.last_modified)
            .collect();
        assert_eq!(times[0], Some(1005));
        assert_eq!(times[5], None);
    }

    #[test]
    fn pages_have_so_many_items_and_say_how_many_there_are() {
        let page = |number, size| Page { number, size };
        let of = |page| collected(Changes::LeftOut).finish(page).expect("sorted");
        let second = of(page(1, Some(4)));
        let paths: Vec<_> = lines(&second)
            .into_iter()
            .map(|line| (line.0, line.1))
            .collect();
        assert_eq!(paths, [("/b".to_owned(), 3), ("/c/".to_owned(), 0)]);
        let json = serde_json::to_value(&second).expect("JSON");
        let figures =
            ["Page", "PageSize", "TotalPages", "TotalCount"].map(|name| json[name].as_u64());
        assert_eq!(figures, [Some(1), Some(4), Some(2), Some(6)]);
        assert_eq!(json["Items"][1]["Path"], "/c/");
        assert_eq!(json["Items"][1]["LastModified"], serde_json::Value::Null);
        assert!(json["Items"][1].get("Change").is_none());
        assert!(lines(&of(page(7, Some(4)))).is_empty());
        let all = serde_json::to_value(of(Page::default())).expect("JSON");
        assert_eq!(
            (&all["TotalPages"], &all["PageSize"]),
            (&1.into(), &6.into())
        );
    }
}
