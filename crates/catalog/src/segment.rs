//! A segment: the entries of all versions in one stretch of the path order, packed.
//!
//! A row of a segment is one state of one path (its *fields*) with the versions that have it. The bytes of a segment are a
//! CRC-32 of its lower bound and the rest; the upper bound (a byte 1 and the path, or a byte 0 for the last segment);
//! then, per row in ascending order of the paths, the number of leading path bytes it shares with the row before, the
//! length of the remainder, the remainder, the runs of slots ([`crate::slots`]), what was seen of the source file (when
//! the flag of the runs says so), the length of the fields, the fields ([`crate::codec`]).

use larder_volume::FileEntry;

use crate::codec::{Seen, StoredEntry, decode_fields};
use crate::slots::{self, Run};
use crate::wire::{WireReader, put_unsigned};
use crate::{Error, Result};

/// One state of one path, as it lies in a segment.
pub(crate) struct Row<'a> {
    /// The path.
    pub(crate) path: &'a [u8],
    /// The slots of the versions that have it.
    pub(crate) runs: &'a [Run],
    /// What was seen of the source file.
    pub(crate) seen: Option<Seen>,
    /// Everything else of the entry.
    pub(crate) fields: &'a [u8],
}

impl Row<'_> {
    /// Unpacks the entry.
    pub(crate) fn entry(&self) -> Result<FileEntry> {
        let mut reader = WireReader::new(self.fields);
        let entry = decode_fields(&mut reader, self.path.to_vec())?;
        match reader.is_empty() {
            true => Ok(entry),
            false => Err(Error::damaged("an entry is longer than what it says")),
        }
    }

    /// Unpacks the entry with what was seen of its file.
    pub(crate) fn stored(&self) -> Result<StoredEntry> {
        Ok(StoredEntry {
            entry: self.entry()?,
            seen: self.seen,
        })
    }

    /// Copies the row.
    pub(crate) fn to_owned(&self) -> OwnedRow {
        OwnedRow {
            path: self.path.to_vec(),
            runs: self.runs.to_vec(),
            seen: self.seen,
            fields: self.fields.to_vec(),
            confirmed: false,
        }
    }
}

/// A row that is being changed.
#[derive(Clone, Debug)]
pub(crate) struct OwnedRow {
    pub(crate) path: Vec<u8>,
    pub(crate) runs: Vec<Run>,
    pub(crate) seen: Option<Seen>,
    pub(crate) fields: Vec<u8>,
    /// The version that is being taken in has it.
    pub(crate) confirmed: bool,
}

/// Steps through the rows of a segment. After an error it must not be used.
#[derive(Default)]
pub(crate) struct Segment {
    pub(crate) id: i64,
    /// The lower bound: no path in it is less.
    pub(crate) first: Vec<u8>,
    /// The upper bound: every path in it is less. `None` in the last segment.
    pub(crate) upper: Option<Vec<u8>>,
    rows: Vec<u8>,
    position: usize,
    path: Vec<u8>,
    runs: Vec<Run>,
    seen: Option<Seen>,
    /// Where the fields of the row begin; they end at `position`.
    fields: usize,
}

impl Segment {
    /// Replaces the content, reusing the buffers, after comparing the checksum.
    pub(crate) fn load(&mut self, id: i64, first: &[u8], data: &[u8]) -> Result<()> {
        let crc = WireReader::new(data).fixed32()?;
        let body = data.get(4..).unwrap_or_default();
        if crc != checksum(first, body) {
            return Err(Error::damaged("the checksum of a segment does not match"));
        }
        let mut reader = WireReader::new(body);
        let upper = match reader.byte()? {
            0 => None,
            _ => {
                let len = reader.length()?;
                Some(reader.take(len)?.to_vec())
            }
        };
        if upper.as_deref().is_some_and(|upper| upper <= first) {
            return Err(Error::damaged("the bounds of a segment are out of order"));
        }
        self.id = id;
        self.first.clear();
        self.first.extend_from_slice(first);
        self.upper = upper;
        self.rows.clear();
        self.rows
            .extend_from_slice(reader.take(reader.remaining())?);
        self.rewind();
        Ok(())
    }

    /// Starts again with the first row.
    pub(crate) fn rewind(&mut self) {
        self.position = 0;
        self.path.clear();
    }

    /// Tells whether a path, not below the lower bound, lies below the upper one.
    pub(crate) fn covers(&self, path: &[u8]) -> bool {
        self.upper.as_deref().is_none_or(|upper| path < upper)
    }

    /// Gives the next row, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>> {
        Ok(match self.advance()? {
            true => Some(self.row()),
            false => None,
        })
    }

    /// Moves to the next row; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        let rest = self.rows.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let mut reader = WireReader::new(rest);
        let shared = reader.unsigned()?;
        match usize::try_from(shared) {
            Ok(shared) if shared <= self.path.len() => self.path.truncate(shared),
            _ => return Err(Error::damaged("a row shares more of a path than there is")),
        }
        let len = reader.length()?;
        self.path.extend_from_slice(reader.take(len)?);
        let has_seen = slots::decode(&mut reader, &mut self.runs)?;
        self.seen = match has_seen {
            true => Some(Seen::decode(&mut reader)?),
            false => None,
        };
        let len = reader.length()?;
        reader.take(len)?;
        self.position = self.rows.len() - reader.remaining();
        self.fields = self.position - len;
        Ok(true)
    }

    /// The row that [`Segment::advance`] moved to.
    pub(crate) fn row(&self) -> Row<'_> {
        Row {
            path: &self.path,
            runs: &self.runs,
            seen: self.seen,
            fields: self
                .rows
                .get(self.fields..self.position)
                .unwrap_or_default(),
        }
    }
}

/// A segment ready to be stored.
pub(crate) struct PackedSegment {
    pub(crate) first: Vec<u8>,
    pub(crate) data: Vec<u8>,
    /// The rows that are in it: the first, and one behind the last.
    pub(crate) rows: (usize, usize),
}

/// Packs rows, in ascending order of their paths, into one segment, or into several when they are too many.
///
/// Rows of one path stay together. The first segment begins at `first`, whatever its first path.
pub(crate) fn pack(first: &[u8], upper: Option<&[u8]>, rows: &[OwnedRow]) -> Vec<PackedSegment> {
    let whole = pack_one(first, upper, rows, 0, usize::MAX);
    if whole.data.len() <= LARGEST_LEN {
        return vec![whole];
    }
    let parts = whole.data.len().div_ceil(USUAL_LEN);
    let target = whole.data.len() / parts;
    let mut packed = Vec::with_capacity(parts);
    let mut at = 0;
    while at < rows.len() {
        let begin = match at {
            0 => first.to_vec(),
            _ => rows.get(at).map(|row| row.path.clone()).unwrap_or_default(),
        };
        let one = pack_one(&begin, upper, rows, at, target);
        at = one.rows.1;
        packed.push(one);
    }
    packed
}

/// Packs rows from `start` on until `target` bytes are reached.
fn pack_one(
    first: &[u8],
    upper: Option<&[u8]>,
    rows: &[OwnedRow],
    start: usize,
    target: usize,
) -> PackedSegment {
    let mut body = Vec::with_capacity(target.min(LARGEST_LEN * 2));
    let mut previous: &[u8] = &[];
    let mut end = start;
    for row in rows.get(start..).unwrap_or_default() {
        if body.len() >= target && row.path != previous {
            break;
        }
        put_row(&mut body, previous, row);
        previous = &row.path;
        end += 1;
    }
    let upper = rows.get(end).map(|row| row.path.as_slice()).or(upper);
    let mut data = vec![0; 4];
    match upper {
        Some(upper) => {
            data.push(1);
            put_unsigned(&mut data, upper.len() as u64);
            data.extend_from_slice(upper);
        }
        None => data.push(0),
    }
    data.extend_from_slice(&body);
    let crc = checksum(first, data.get(4..).unwrap_or_default());
    if let Some(head) = data.first_chunk_mut::<4>() {
        *head = crc.to_le_bytes();
    }
    PackedSegment {
        first: first.to_vec(),
        data,
        rows: (start, end),
    }
}

fn put_row(out: &mut Vec<u8>, previous: &[u8], row: &OwnedRow) {
    let pairs = previous.iter().zip(&row.path);
    let shared = pairs.take_while(|(a, b)| a == b).count();
    let rest = row.path.get(shared..).unwrap_or_default();
    put_unsigned(out, shared as u64);
    put_unsigned(out, rest.len() as u64);
    out.extend_from_slice(rest);
    slots::encode(out, &row.runs, row.seen.is_some());
    if let Some(seen) = &row.seen {
        seen.encode(out);
    }
    put_unsigned(out, row.fields.len() as u64);
    out.extend_from_slice(&row.fields);
}

fn checksum(first: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(first.len() as u64).to_le_bytes());
    hasher.update(first);
    hasher.update(body);
    hasher.finalize()
}

/// A segment that grew beyond this many bytes is split,
const LARGEST_LEN: usize = 32 * 1024;
/// into parts of at most this many, so that it is not split again soon.
const USUAL_LEN: usize = 24 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Slot, whether the file was seen, fields.
    type State = (u64, bool, Vec<u8>);

    /// Rows of made-up fields; several states of one path occur.
    fn any_rows() -> impl Strategy<Value = Vec<OwnedRow>> {
        let state = (
            1u64..9,
            any::<bool>(),
            prop::collection::vec(any::<u8>(), 0..200),
        );
        prop::collection::btree_map(
            prop::collection::vec(0u8..3, 0..9),
            prop::collection::vec(state, 1..4),
            0..600,
        )
        .prop_map(|paths: BTreeMap<Vec<u8>, Vec<State>>| {
            let mut rows = Vec::new();
            for (path, states) in paths {
                for (slot, seen, fields) in states {
                    rows.push(OwnedRow {
                        path: path.clone(),
                        runs: vec![(slot, slot + 3)],
                        seen: seen.then_some(Seen {
                            ctime_ticks: -5,
                            inode: slot,
                            device: u64::MAX,
                        }),
                        fields,
                        confirmed: false,
                    });
                }
            }
            rows
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn rows_come_back_and_any_flip_is_damage(
            rows in any_rows(),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let packed = pack(b"", Some(b"\xff"), &rows);
            let mut segment = Segment::default();
            let mut expected = rows.iter();
            for (n, one) in packed.iter().enumerate() {
                prop_assert!(one.data.len() <= LARGEST_LEN + 4 * 220 || one.rows.1 - one.rows.0 < 5);
                segment.load(7, &one.first, &one.data).unwrap();
                let next = packed.get(n + 1).map_or(&b"\xff"[..], |next| &next.first);
                prop_assert_eq!(segment.upper.as_deref(), Some(next));
                let mut last: Option<Vec<u8>> = None;
                while let Some(row) = segment.next().unwrap() {
                    let expected = expected.next().unwrap();
                    prop_assert!(row.path >= one.first.as_slice() && row.path < next);
                    prop_assert_eq!((row.path, row.runs), (&expected.path[..], &expected.runs[..]));
                    prop_assert_eq!((row.seen, row.fields), (expected.seen, &expected.fields[..]));
                    prop_assert!(last.as_deref().is_none_or(|last| last <= row.path));
                    last = Some(row.path.to_vec());
                }
            }
            prop_assert!(expected.next().is_none());
            let one = &packed[at.index(packed.len())];
            let mut bad = one.data.clone();
            let at = at.index(bad.len());
            bad[at] ^= 1u8 << bit;
            prop_assert!(segment.load(7, &one.first, &bad).is_err());
            prop_assert!(segment.load(7, b"other", &one.data).is_err());
        }

        #[test]
        fn made_up_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            // With a right checksum, so that the parser sees them.
            let mut data = checksum(b"first", &body).to_le_bytes().to_vec();
            data.extend_from_slice(&body);
            let mut segment = Segment::default();
            if segment.load(1, b"first", &data).is_ok() {
                while let Ok(Some(row)) = segment.next() {
                    let _ = row.stored();
                }
            }
        }
    }
}
