//! Entries on their way into the segments: collected, then sorted.

use crate::codec::{Seen, StoredEntry, encode_fields};

/// Collected entries.
#[derive(Default)]
pub(crate) struct Batch {
    /// Paths and fields.
    arena: Vec<u8>,
    rows: Vec<BatchRow>,
    /// How many entries came after one with a greater path.
    descents: usize,
}

#[derive(Clone, Copy)]
struct BatchRow {
    start: usize,
    path_len: usize,
    fields_len: usize,
    seen: Option<Seen>,
}

/// An entry to be merged.
pub(crate) struct Put<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) fields: &'a [u8],
    pub(crate) seen: Option<Seen>,
}

impl Batch {
    /// Time to merge. What is hardly sorted is spread over all segments, which are then better written less often.
    pub(crate) fn is_full(&self) -> bool {
        let len = self.arena.len() + self.rows.len() * size_of::<BatchRow>();
        let is_sorted = self.descents <= self.rows.len() / 16;
        len >= if is_sorted { BATCH_LEN } else { UNSORTED_LEN }
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, stored: &StoredEntry) {
        let start = self.arena.len();
        let last = self.rows.last().map(|row| self.put(row).path);
        self.descents += usize::from(last.is_some_and(|last| last > stored.entry.path.as_slice()));
        self.arena.extend_from_slice(&stored.entry.path);
        encode_fields(&mut self.arena, &stored.entry);
        let path_len = stored.entry.path.len();
        self.rows.push(BatchRow {
            start,
            path_len,
            fields_len: self.arena.len() - start - path_len,
            seen: stored.seen,
        });
    }

    /// Forgets all entries.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.rows.clear();
        self.descents = 0;
    }

    /// Orders the entries by path; of equal paths the first stays. Gives the number of the others.
    pub(crate) fn sort(&mut self) -> u64 {
        let arena = &self.arena;
        let path = |row: &BatchRow| {
            arena
                .get(row.start..row.start + row.path_len)
                .unwrap_or_default()
        };
        self.rows.sort_by(|a, b| path(a).cmp(path(b)));
        let before = self.rows.len();
        self.rows.dedup_by(|a, b| path(a) == path(b));
        (before - self.rows.len()) as u64
    }

    /// The path of an entry.
    pub(crate) fn path(&self, at: usize) -> Option<&[u8]> {
        self.rows.get(at).map(|row| self.put(row).path)
    }

    fn put(&self, row: &BatchRow) -> Put<'_> {
        let middle = row.start + row.path_len;
        Put {
            path: self.arena.get(row.start..middle).unwrap_or_default(),
            fields: self
                .arena
                .get(middle..middle + row.fields_len)
                .unwrap_or_default(),
            seen: row.seen,
        }
    }

    /// One behind the last entry from `at` on whose path is below the bound.
    pub(crate) fn end_of(&self, at: usize, upper: Option<&[u8]>) -> usize {
        let rest = self.rows.get(at..).unwrap_or_default();
        at + rest.partition_point(|row| upper.is_none_or(|upper| self.put(row).path < upper))
    }

    /// The entries from `at` to before `end`.
    pub(crate) fn puts(&self, at: usize, end: usize) -> Vec<Put<'_>> {
        let rows = self.rows.get(at..end).unwrap_or_default();
        rows.iter().map(|row| self.put(row)).collect()
    }
}

/// Collected entries are merged when they take this many bytes,
const BATCH_LEN: usize = 4 << 20;
/// or this many when they come in no order.
const UNSORTED_LEN: usize = 32 << 20;
