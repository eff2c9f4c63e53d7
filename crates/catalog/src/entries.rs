//! Taking in the entries of a version.
//!
//! Entries are collected in a small buffer, sorted, and compared with the rows that are stored. A row that a new version
//! still has is not touched when its last run is open; what is new or changed is written; and when all entries are there,
//! the open rows that none of them confirmed are closed. Several transactions may be needed: until the last of them names
//! the version, nobody asks for its slot, and the slot is not used again. So a writer that is dropped, or a process that is
//! killed, changes nothing that can be seen.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use larder_volume::Hash;
use rusqlite::Connection;

use crate::batch::Batch;
use crate::catalog::transact;
use crate::codec::StoredEntry;
use crate::files::{Files, SIDE_CACHE_KIB};
use crate::merge::{EntryTotals, Merge, Waiting};
use crate::segment::Segment;
use crate::segments::{EntryVersion, Rewritten};
use crate::{Catalog, Error, Result, filesets, segments};

impl Catalog {
    /// Starts to take in the entries of a version; what is stored of others stays.
    ///
    /// # Errors
    /// [`Error::Misuse`] when a writer or loader of this catalog exists already.
    pub fn begin_entries(&self) -> Result<EntryWriter> {
        let staging = Staging::begin(self.files())?;
        let (slot, living) = self.write(|conn| {
            segments::make_first(conn)?;
            Ok((segments::next_slot(conn)?, segments::slots(conn)?))
        })?;
        Ok(EntryWriter {
            conn: staging.0.connect(SIDE_CACHE_KIB)?,
            merge: Merge::new(slot, living),
            batch: Batch::default(),
            segment: Segment::default(),
            failed: false,
            staging,
        })
    }

    /// Drops the rows that no version has any more, and gives their number. Costs reading all entries.
    ///
    /// # Errors
    /// [`Error::Misuse`] while entries are being taken in.
    pub fn drop_unused_entries(&self) -> Result<u64> {
        let _staging = Staging::begin(self.files())?;
        let living = self.read(segments::slots)?;
        let mut dropped = 0;
        let mut segment = Segment::default();
        for ids in self.read(segments::ids)?.chunks(SEGMENTS_AT_ONCE) {
            self.write(|conn| {
                for id in ids {
                    segments::read(conn, *id, &mut segment)?;
                    let mut rows = Vec::new();
                    let mut unused = 0;
                    while let Some(row) = segment.next()? {
                        match living.meets(row.runs) {
                            true => rows.push(row.to_owned()),
                            false => unused += 1,
                        }
                    }
                    if unused > 0 {
                        rows.iter_mut()
                            .for_each(|row| living.simplify(&mut row.runs));
                        Rewritten::new(&segment, &rows).store(conn)?;
                        dropped += unused;
                    }
                }
                Ok(())
            })?;
        }
        Ok(dropped)
    }
}

/// Takes the entries of one version; see [`Catalog::begin_entries`].
///
/// It writes over a connection of its own, so another thread may use the catalog meanwhile; do not use it inside
/// [`Catalog::durable`], which would wait for it and it for that. Dropping the writer leaves the version without entries.
/// Memory: a few MiB, 40 when the entries come in no order, and a bit for each entry.
pub struct EntryWriter {
    conn: Connection,
    merge: Merge,
    batch: Batch,
    segment: Segment,
    /// An error left the work half-done.
    failed: bool,
    // Last: the lock must outlive the connection.
    staging: Staging,
}

impl EntryWriter {
    /// Takes an entry. Ascending order of the path bytes is cheapest; any order works.
    ///
    /// # Errors
    /// Whatever the database says; after an error the writer can only be dropped.
    pub fn add(&mut self, entry: &StoredEntry) -> Result<()> {
        self.batch.push(entry);
        match self.batch.is_full() {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Notes that these are all entries of version `fileset`, in place of what was stored of it.
    ///
    /// `list` is the hash of the list volume, when known: it tells later whether the entries are those of the volume
    /// that is listed then.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such version; [`Error::Busy`] when called inside [`Catalog::durable`].
    pub fn finish(mut self, fileset: i64, list: Option<Hash>) -> Result<EntryTotals> {
        filesets::find(&self.conn, fileset)?.ok_or(Error::Missing {
            what: "fileset",
            id: fileset,
        })?;
        self.flush()?;
        let files = Arc::clone(&self.staging.0);
        files.guard(self.close_rest())?;
        let totals = self.merge.totals;
        let version = EntryVersion {
            slot: self.merge.slot,
            fileset,
            entries: totals.entries,
            list,
        };
        files.guard(transact(&self.conn, |conn| {
            segments::put_version(conn, &version)
        }))?;
        Ok(totals)
    }

    /// What was taken in so far, in ascending order of the path bytes, a segment at a time.
    ///
    /// # Errors
    /// Whatever the database says, also from the iterator; after an error the writer can only be dropped.
    pub fn taken_in(&mut self) -> Result<impl Iterator<Item = Result<Vec<StoredEntry>>> + '_> {
        self.flush()?;
        let mut from = Some(Vec::new());
        let mut next = move || {
            let Some(path) = from.take() else {
                return Ok(None);
            };
            if !segments::seek(&self.conn, &path, &mut self.segment)? {
                return Err(Error::damaged("the segments of the entries are gone"));
            }
            let taken_in = self.merge.confirmed_rows(&mut self.segment)?;
            from = self.segment.upper.take();
            Ok(Some(taken_in))
        };
        Ok(std::iter::from_fn(move || next().transpose()))
    }

    /// Ends without a version: of what was taken in only [`StoredEntry::seen`] is kept, where the state is stored.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn finish_unchanged(mut self) -> Result<()> {
        self.flush()
    }

    /// Merges the collected entries with the stored rows.
    fn flush(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::Misuse("a writer of entries is used after an error"));
        }
        let files = Arc::clone(&self.staging.0);
        files.guard(self.flush_batch())?;
        self.failed = false;
        Ok(())
    }

    fn flush_batch(&mut self) -> Result<()> {
        self.merge.totals.duplicates += self.batch.sort();
        let mut at = 0;
        let mut waiting = Waiting::default();
        while let Some(path) = self.batch.path(at) {
            if !segments::seek(&self.conn, path, &mut self.segment)? {
                return Err(Error::damaged("the segments of the entries are gone"));
            }
            let end = self.batch.end_of(at, self.segment.upper.as_deref());
            let puts = self.batch.puts(at, end);
            if !self.merge.confirm(&mut self.segment, &puts)? {
                let changed = self.merge.change(&mut self.segment, &puts)?;
                if waiting.push(changed) {
                    waiting.store(&self.conn, &mut self.merge)?;
                }
            }
            at = end;
        }
        waiting.store(&self.conn, &mut self.merge)?;
        self.batch.clear();
        Ok(())
    }

    /// Closes the open rows that no entry confirmed.
    fn close_rest(&mut self) -> Result<()> {
        let mut waiting = Waiting::default();
        for id in segments::ids(&self.conn)? {
            if self.merge.is_confirmed(id) {
                continue;
            }
            segments::read(&self.conn, id, &mut self.segment)?;
            if let Some(changed) = self.merge.close(&mut self.segment)?
                && waiting.push(changed)
            {
                waiting.store(&self.conn, &mut self.merge)?;
            }
        }
        waiting.store(&self.conn, &mut self.merge)
    }
}

/// The right to write entries; only one at a time, so that nobody's work is overwritten unnoticed.
pub(crate) struct Staging(pub(crate) Arc<Files>);

impl Staging {
    pub(crate) fn begin(files: &Arc<Files>) -> Result<Staging> {
        files.mark_changed()?;
        if files.staging.swap(true, Ordering::AcqRel) {
            return Err(Error::Misuse("entries are being written already"));
        }
        Ok(Staging(Arc::clone(files)))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.0.staging.store(false, Ordering::Release);
    }
}

/// Segments looked through in one transaction when unused rows are dropped.
const SEGMENTS_AT_ONCE: usize = 256;
