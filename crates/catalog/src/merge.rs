//! Merging the entries of a version that is being taken in into the segments ([`crate::entries`]).

use std::collections::HashMap;

use rusqlite::Connection;

use crate::Result;
use crate::batch::Put;
use crate::catalog::transact;
use crate::codec::StoredEntry;
use crate::segment::{OwnedRow, Segment};
use crate::segments::Rewritten;
use crate::slots::{self, OPEN, SlotSet};

/// Changed segments that are written together.
#[derive(Default)]
pub(crate) struct Waiting {
    segments: Vec<(Rewritten, Vec<OwnedRow>)>,
    len: usize,
}

impl Waiting {
    /// Takes a segment; true when it is time to write.
    pub(crate) fn push(&mut self, changed: (Rewritten, Vec<OwnedRow>)) -> bool {
        self.len += changed.0.len();
        self.segments.push(changed);
        self.len >= WAITING_LEN
    }

    /// Writes the segments in one transaction.
    pub(crate) fn store(&mut self, conn: &Connection, merge: &mut Merge) -> Result<()> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let segments = std::mem::take(self).segments;
        transact(conn, |conn| {
            for (rewritten, rows) in &segments {
                for (id, part) in rewritten.store(conn)? {
                    let rows = rows.get(part.0..part.1).unwrap_or_default();
                    merge.confirmed.insert(id, Confirmed::of_rows(rows));
                }
            }
            Ok(())
        })
    }
}

/// What [`crate::EntryWriter::finish`] stored.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct EntryTotals {
    /// Entries of the version.
    pub entries: u64,
    /// Entries left out because an earlier one had the same path.
    pub duplicates: u64,
}

/// Which rows of a segment the new version has.
#[derive(Default)]
struct Confirmed {
    bits: Vec<u64>,
    count: usize,
    /// Number of open rows; those that are not confirmed are to be closed.
    open: usize,
}

impl Confirmed {
    fn of_rows(rows: &[OwnedRow]) -> Confirmed {
        let mut confirmed = Confirmed::default();
        for (number, row) in rows.iter().enumerate() {
            confirmed.open += usize::from(slots::is_open(&row.runs));
            if row.confirmed {
                confirmed.set(number);
            }
        }
        confirmed
    }

    fn contains(&self, number: usize) -> bool {
        let word = self.bits.get(number / 64).copied().unwrap_or(0);
        word & 1 << (number % 64) != 0
    }

    /// Marks a row; false when it was marked already.
    fn set(&mut self, number: usize) -> bool {
        if self.contains(number) {
            return false;
        }
        if self.bits.len() <= number / 64 {
            self.bits.resize(number / 64 + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
        self.count += 1;
        true
    }
}

/// Merges entries of a new version into segments.
pub(crate) struct Merge {
    pub(crate) slot: u64,
    /// The slots of the versions that are stored.
    living: SlotSet,
    /// By segment.
    confirmed: HashMap<i64, Confirmed>,
    pub(crate) totals: EntryTotals,
}

impl Merge {
    /// Begins with nothing confirmed; `living` are the slots of the versions that are stored.
    pub(crate) fn new(slot: u64, living: SlotSet) -> Merge {
        Merge {
            slot,
            living,
            confirmed: HashMap::new(),
            totals: EntryTotals::default(),
        }
    }

    /// Tells whether every open row of a segment was confirmed.
    pub(crate) fn is_confirmed(&self, id: i64) -> bool {
        let confirmed = self.confirmed.get(&id);
        confirmed.is_some_and(|confirmed| confirmed.count == confirmed.open)
    }

    /// The entries of a segment that were confirmed.
    pub(crate) fn confirmed_rows(&self, segment: &mut Segment) -> Result<Vec<StoredEntry>> {
        let mut entries = Vec::new();
        if let Some(confirmed) = self.confirmed.get(&segment.id) {
            let mut number = 0;
            while let Some(row) = segment.next()? {
                if confirmed.contains(number) {
                    entries.push(row.stored()?);
                }
                number += 1;
            }
        }
        Ok(entries)
    }

    /// Confirms the rows of these entries when all of them are there and open, so that nothing has to be written. False,
    /// and nothing done, when one of them is not.
    pub(crate) fn confirm(&mut self, segment: &mut Segment, puts: &[Put]) -> Result<bool> {
        let mut hits = Vec::with_capacity(puts.len());
        let mut open = 0;
        let mut number = 0;
        let mut rest = puts.iter().peekable();
        let mut found = false;
        while let Some(row) = segment.next()? {
            let is_open = slots::is_open(row.runs);
            open += usize::from(is_open);
            while rest.next_if(|put| put.path < row.path).is_some() {
                if !std::mem::take(&mut found) {
                    return Ok(false);
                }
            }
            if let Some(put) = rest.peek().filter(|put| put.path == row.path && is_open) {
                if put.fields != row.fields || (put.seen.is_some() && put.seen != row.seen) {
                    return Ok(false);
                }
                hits.push(number);
                found = true;
            }
            number += 1;
        }
        for _ in rest {
            if !std::mem::take(&mut found) {
                return Ok(false);
            }
        }
        let confirmed = self.confirmed.entry(segment.id).or_default();
        confirmed.open = open;
        for number in hits {
            match confirmed.set(number) {
                true => self.totals.entries += 1,
                false => self.totals.duplicates += 1,
            }
        }
        Ok(true)
    }

    /// Gives the rows of a segment after the entries were merged into them.
    pub(crate) fn change(
        &mut self,
        segment: &mut Segment,
        puts: &[Put],
    ) -> Result<(Rewritten, Vec<OwnedRow>)> {
        let old = self.rows(segment)?;
        let mut rows = Vec::with_capacity(old.len() + puts.len());
        let mut puts = puts.iter().peekable();
        let mut old = old.into_iter().peekable();
        loop {
            let path = match (old.peek(), puts.peek()) {
                (Some(row), Some(put)) => row.path.as_slice().min(put.path).to_vec(),
                (Some(row), None) => row.path.clone(),
                (None, Some(put)) => put.path.to_vec(),
                (None, None) => break,
            };
            let start = rows.len();
            while let Some(row) = old.next_if(|row| row.path == path) {
                rows.push(row);
            }
            if let Some(put) = puts.next_if(|put| put.path == path) {
                self.put(&mut rows, start, put);
            }
        }
        self.simplify(&mut rows);
        Ok((Rewritten::new(segment, &rows), rows))
    }

    /// Merges one entry into the rows of its path, which are those from `start` on.
    fn put(&mut self, rows: &mut Vec<OwnedRow>, start: usize, put: &Put) {
        let states = rows.get_mut(start..).unwrap_or_default();
        if states.iter().any(|row| row.confirmed) {
            self.totals.duplicates += 1;
            return;
        }
        self.totals.entries += 1;
        let mut found = false;
        for row in states {
            if !found && row.fields == put.fields {
                found = true;
                row.confirmed = true;
                row.seen = put.seen.or(row.seen);
                if !slots::is_open(&row.runs) {
                    row.runs.push((self.slot, OPEN));
                }
            } else {
                slots::close(&mut row.runs, self.slot);
            }
        }
        if !found {
            rows.push(OwnedRow {
                path: put.path.to_vec(),
                runs: vec![(self.slot, OPEN)],
                seen: put.seen,
                fields: put.fields.to_vec(),
                confirmed: true,
            });
        }
    }

    /// Closes the open rows of a segment that were not confirmed; `None` when there are none.
    pub(crate) fn close(
        &mut self,
        segment: &mut Segment,
    ) -> Result<Option<(Rewritten, Vec<OwnedRow>)>> {
        let mut rows = self.rows(segment)?;
        let to_close = |row: &OwnedRow| slots::is_open(&row.runs) && !row.confirmed;
        if !rows.iter().any(to_close) {
            return Ok(None);
        }
        rows.iter_mut()
            .filter(|row| to_close(row))
            .for_each(|row| slots::close(&mut row.runs, self.slot));
        self.simplify(&mut rows);
        Ok(Some((Rewritten::new(segment, &rows), rows)))
    }

    /// All rows of a segment, with what was confirmed of them.
    fn rows(&self, segment: &mut Segment) -> Result<Vec<OwnedRow>> {
        let confirmed = self.confirmed.get(&segment.id);
        segment.rewind();
        let mut rows = Vec::new();
        while let Some(row) = segment.next()? {
            let mut row = row.to_owned();
            row.confirmed = confirmed.is_some_and(|confirmed| confirmed.contains(rows.len()));
            rows.push(row);
        }
        Ok(rows)
    }

    /// Forgets what is about versions that are gone.
    fn simplify(&self, rows: &mut Vec<OwnedRow>) {
        rows.iter_mut()
            .for_each(|row| self.living.simplify(&mut row.runs));
        rows.retain(|row| !row.runs.is_empty());
    }
}

/// Changed segments are written when they take this many bytes.
const WAITING_LEN: usize = 2 << 20;
