//! Looking into versions: a folder, a path, and all versions at once.

use rusqlite::Connection;

use crate::codec::StoredEntry;
use crate::cursor::required;
use crate::segment::{Row, Segment};
use crate::segments::{self, EntryVersion};
use crate::{Catalog, Error, Result, slots};

/// Something that lies directly in a folder of a version.
#[derive(Clone, PartialEq, Debug)]
pub struct FolderItem {
    /// Its path; that of a folder ends with the separator.
    pub path: Vec<u8>,
    /// Its entry; `None` for a folder that has none of its own, but something in it.
    pub entry: Option<StoredEntry>,
}

impl Catalog {
    /// What lies directly in a folder of a version, in ascending order of the path bytes.
    ///
    /// `folder` ends with `separator`; empty, it stands for what is above all paths. What lies deeper is jumped over, so
    /// the cost depends on the number of items, not on the size of the version.
    ///
    /// # Errors
    /// [`Error::Missing`] when the entries of this version are not stored.
    pub fn folder(&self, fileset: i64, folder: &[u8], separator: u8) -> Result<Vec<FolderItem>> {
        let mut items = Vec::new();
        self.each_in_folder(fileset, folder, separator, &mut |item| {
            items.push(item);
            Ok(())
        })?;
        Ok(items)
    }

    /// As [`Catalog::folder`] for folders of any size: hands one item after the other to `take`.
    ///
    /// # Errors
    /// [`Error::Missing`] when the entries of this version are not stored; those of `take`.
    pub fn each_in_folder(
        &self,
        fileset: i64,
        folder: &[u8],
        separator: u8,
        take: &mut dyn FnMut(FolderItem) -> Result<()>,
    ) -> Result<()> {
        self.read(|conn| {
            let version = required(conn, fileset)?;
            let mut scan = Scan::start(conn, &version, folder)?;
            while let Some(row) = scan.next(conn, &version)? {
                let Some(rest) = row.path.strip_prefix(folder) else {
                    // Beyond the folder.
                    break;
                };
                // The folder's own entry.
                if rest.is_empty() {
                    continue;
                }
                let end = rest.iter().position(|byte| *byte == separator);
                let end = folder.len() + end.map_or(rest.len(), |at| at + 1);
                let path = row.path.get(..end).unwrap_or_default().to_vec();
                let is_own = end == row.path.len();
                let entry = is_own.then(|| row.stored()).transpose()?;
                if path.last() == Some(&separator) {
                    scan.jump(conn, behind(&path))?;
                }
                take(FolderItem { path, entry })?;
            }
            Ok(())
        })
    }

    /// Hands the entries of a version that lie in no other entry of it to `take`, in ascending order of the path bytes:
    /// its sources. The separator of a path that does not begin with `/` is that of Windows.
    ///
    /// # Errors
    /// [`Error::Missing`] when the entries of this version are not stored; those of `take`.
    pub fn each_root(
        &self,
        fileset: i64,
        take: &mut dyn FnMut(StoredEntry) -> Result<()>,
    ) -> Result<()> {
        self.read(|conn| {
            let version = required(conn, fileset)?;
            let mut scan = Scan::start(conn, &version, &[])?;
            while let Some(row) = scan.next(conn, &version)? {
                let stored = row.stored()?;
                let separator = match stored.entry.path.first() {
                    Some(b'/') => b'/',
                    _ => b'\\',
                };
                if stored.entry.path.last() == Some(&separator) {
                    scan.jump(conn, behind(&stored.entry.path))?;
                }
                take(stored)?;
            }
            Ok(())
        })
    }

    /// The entry of exactly this path in a version.
    ///
    /// # Errors
    /// [`Error::Missing`] when the entries of this version are not stored.
    pub fn entry(&self, fileset: i64, path: &[u8]) -> Result<Option<StoredEntry>> {
        self.read(|conn| {
            let version = required(conn, fileset)?;
            let mut found = None;
            each_state_of(conn, path, |row| {
                if slots::contains(row.runs, version.slot) {
                    found = Some(row.stored()?);
                }
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// The states of a path in all versions whose entries are stored: (version, entry), in no useful order.
    pub fn history(&self, path: &[u8]) -> Result<Vec<(i64, StoredEntry)>> {
        self.read(|conn| {
            let versions = segments::versions(conn)?;
            let mut found = Vec::new();
            each_state_of(conn, path, |row| {
                for version in &versions {
                    if slots::contains(row.runs, version.slot) {
                        found.push((version.fileset, row.stored()?));
                    }
                }
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// Calls `take` for every entry of the given versions, each state of a path once, in ascending order of the paths.
    ///
    /// The second argument are the places, in `filesets`, of the versions that have this state. Reads all entries, which
    /// takes about half a second per million.
    ///
    /// # Errors
    /// [`Error::Missing`] when the entries of one of the versions are not stored; those of `take`.
    pub fn each_entry(
        &self,
        filesets: &[i64],
        take: &mut dyn FnMut(StoredEntry, &[usize]) -> Result<()>,
    ) -> Result<()> {
        self.read(|conn| {
            let mut having = Having::new(conn, filesets)?;
            segments::each(conn, |segment| {
                while let Some(row) = segment.next()? {
                    having.give(&row, take)?;
                }
                Ok(())
            })
        })
    }

    /// As [`Catalog::each_entry`] for the paths that begin with `prefix`; reads only the segments where they lie.
    ///
    /// # Errors
    /// As [`Catalog::each_entry`].
    pub fn each_entry_from(
        &self,
        filesets: &[i64],
        prefix: &[u8],
        take: &mut dyn FnMut(StoredEntry, &[usize]) -> Result<()>,
    ) -> Result<()> {
        self.read(|conn| {
            let mut having = Having::new(conn, filesets)?;
            let mut segment = Segment::default();
            let mut next = Some(prefix.to_vec());
            while let Some(from) = next {
                if !segments::seek(conn, &from, &mut segment)? {
                    return Ok(());
                }
                while let Some(row) = segment.next()? {
                    if row.path.starts_with(prefix) {
                        having.give(&row, take)?;
                    } else if row.path > prefix {
                        return Ok(());
                    }
                }
                next = segment.upper.take();
            }
            Ok(())
        })
    }
}

/// Tells which of some versions have a row.
struct Having {
    slots: Vec<u64>,
    /// Of the row looked at last.
    places: Vec<usize>,
}

impl Having {
    fn new(conn: &Connection, filesets: &[i64]) -> Result<Having> {
        let slots = filesets
            .iter()
            .map(|fileset| required(conn, *fileset).map(|version| version.slot));
        Ok(Having {
            slots: slots.collect::<Result<_>>()?,
            places: Vec::new(),
        })
    }

    /// Hands the row with the places of the versions that have it to `take`, unless none has it.
    fn give(
        &mut self,
        row: &Row,
        take: &mut dyn FnMut(StoredEntry, &[usize]) -> Result<()>,
    ) -> Result<()> {
        self.places.clear();
        let slots = self.slots.iter().enumerate();
        let having = slots.filter(|(_, slot)| slots::contains(row.runs, **slot));
        self.places.extend(having.map(|(place, _)| place));
        match self.places.is_empty() {
            true => Ok(()),
            false => take(row.stored()?, &self.places),
        }
    }
}

/// Calls `take` for each stored state of a path.
fn each_state_of(
    conn: &Connection,
    path: &[u8],
    mut take: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let mut segment = Segment::default();
    if !segments::seek(conn, path, &mut segment)? {
        return Ok(());
    }
    while let Some(row) = segment.next()? {
        if row.path == path {
            take(&row)?;
        }
    }
    Ok(())
}

/// Steps through the entries of a version from a path on.
struct Scan {
    segment: Segment,
    /// Entries below this path are passed over.
    from: Vec<u8>,
    /// There is nothing to be read.
    ended: bool,
}

impl Scan {
    fn start(conn: &Connection, version: &EntryVersion, from: &[u8]) -> Result<Scan> {
        let mut segment = Segment::default();
        let found = segments::seek(conn, from, &mut segment)?;
        if !found && version.entries > 0 {
            return Err(Error::damaged("the segments of the entries are gone"));
        }
        Ok(Scan {
            segment,
            from: from.to_vec(),
            ended: !found,
        })
    }

    /// Goes on with the first path that is not below `from`; `None` ends the scan.
    fn jump(&mut self, conn: &Connection, from: Option<Vec<u8>>) -> Result<()> {
        let Some(from) = from else {
            self.ended = true;
            return Ok(());
        };
        if !self.segment.covers(&from) {
            self.ended = !segments::seek(conn, &from, &mut self.segment)?;
        }
        self.from = from;
        Ok(())
    }

    /// Gives the next row of the version.
    fn next(&mut self, conn: &Connection, version: &EntryVersion) -> Result<Option<Row<'_>>> {
        while !self.ended {
            if self.segment.advance()? {
                let row = self.segment.row();
                if row.path >= self.from.as_slice() && slots::contains(row.runs, version.slot) {
                    return Ok(Some(self.segment.row()));
                }
                continue;
            }
            self.ended = match self.segment.upper.take() {
                Some(upper) => !segments::seek(conn, &upper, &mut self.segment)?,
                None => true,
            };
        }
        Ok(None)
    }
}

/// The least path that is greater than all that begin with `prefix`; `None` when there is none.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let at = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut path = prefix.get(..=at)?.to_vec();
    if let Some(last) = path.last_mut() {
        *last += 1;
    }
    Some(path)
}
