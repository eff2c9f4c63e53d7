//! Sorts any number of records by key in bounded memory, spilling to temporary files of bounded length.
//!
//! Input that is ascending already is recognised: it becomes a single run in each file that is only copied. Equal keys come out in the order they were pushed.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::lock::private;
use crate::{Catalog, Error, Result};

/// Collects records (key, payload) and gives them back in key order. What does not fit into its memory lies in files beside
/// the catalog, which go away with it.
pub struct Sorter {
    path: PathBuf,
    memory: usize,
    /// Length from which on a temporary file gets no more.
    most: u64,
    arena: Vec<u8>,
    rows: Vec<Row>,
    /// Whether the buffered rows are in order as they stand.
    ascending: bool,
    spill: Option<Spill>,
}

/// Where a buffered record lies in the arena: key, then payload.
#[derive(Clone, Copy)]
struct Row {
    /// First eight bytes of the key, big endian: decides most comparisons without touching the arena.
    prefix: u64,
    start: usize,
    key_len: u32,
    payload_len: u32,
}

impl Catalog {
    /// A sorter for records of any kind, such as the entries of several versions. It takes 12 MiB, and may be used when the
    /// catalog is closed, but for [`Sorter::push`].
    ///
    /// # Errors
    /// [`Error::Misuse`] when the catalog was opened for reading: another process may use the names of the files.
    pub fn sorter(&self) -> Result<Sorter> {
        match self.files().lock() {
            Some(_) => Ok(Sorter::new(self.files().spill(), MEMORY)),
            None => Err(Error::Misuse("a sorter needs the writer's lock")),
        }
    }
}

impl Sorter {
    /// An empty sorter without a catalog. It takes 12 MiB and spills to `path` and further files whose names begin so;
    /// none of them may exist.
    #[must_use]
    pub fn spilling_to(path: PathBuf) -> Self {
        Self::new(path, MEMORY)
    }

    /// Starts an empty sorter that buffers about `memory` bytes and spills to `path`, and further files whose names begin
    /// so. None of them may exist.
    pub(crate) fn new(path: PathBuf, memory: usize) -> Self {
        Sorter {
            path,
            memory,
            most: FILE_LEN,
            arena: Vec::new(),
            rows: Vec::new(),
            ascending: true,
            spill: None,
        }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Io`] when a file cannot be written.
    pub fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        let (Ok(key_len), Ok(payload_len)) =
            (u32::try_from(key.len()), u32::try_from(payload.len()))
        else {
            return Err(Error::Misuse("a record is larger than 4 GiB"));
        };
        let used = self.arena.len() + self.rows.len() * size_of::<Row>();
        if used + key.len() + payload.len() > self.memory && !self.rows.is_empty() {
            self.spill()?;
        }
        let row = Row {
            prefix: prefix_of(key),
            start: self.arena.len(),
            key_len,
            payload_len,
        };
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(payload);
        if self.ascending
            && let Some(last) = self.rows.last()
        {
            self.ascending = compare_rows(&self.arena, last, &row) == Ordering::Less;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Sorts what is in memory, and writes it when there are files: from here on none is made.
    ///
    /// # Errors
    /// As [`Sorter::push`].
    pub fn finish(&mut self) -> Result<()> {
        if self.spill.is_none() {
            self.sort_buffer();
            return Ok(());
        }
        self.spill()?;
        self.arena = Vec::new();
        self.rows = Vec::new();
        Ok(())
    }

    /// Hands every record to `take` in key order; may be called again.
    ///
    /// # Errors
    /// As [`Sorter::push`], those of reading the files, and those of `take`.
    pub fn each(&mut self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.finish()?;
        if self.spill.is_none() {
            return self.rows.iter().try_for_each(|row| {
                let (key, payload) = row_bytes(&self.arena, row);
                take(key, payload)
            });
        }
        match &self.spill {
            Some(spill) => spill.merge(self.memory, take),
            None => Ok(()),
        }
    }

    fn sort_buffer(&mut self) {
        if !self.ascending {
            let arena = &self.arena;
            self.rows.sort_unstable_by(|a, b| compare_rows(arena, a, b));
            self.ascending = true;
        }
    }

    fn spill(&mut self) -> Result<()> {
        self.sort_buffer();
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => self.spill.insert(Spill::new(&self.path, self.most)),
        };
        spill.append(&self.arena, &self.rows)?;
        self.arena.clear();
        self.rows.clear();
        self.ascending = true;
        Ok(())
    }
}

/// The temporary files: sorted runs one after the other. Removed when dropped.
struct Spill {
    /// Of the first file.
    path: PathBuf,
    /// Length from which on the next buffer goes to a new file.
    most: u64,
    files: Vec<SpillFile>,
    runs: Vec<SortedRun>,
    last_key: Vec<u8>,
}

struct SpillFile {
    path: PathBuf,
    file: File,
    end: u64,
}

/// Where a sorted run lies.
#[derive(Clone, Copy)]
struct SortedRun {
    /// Number of its file.
    file: usize,
    start: u64,
    end: u64,
}

impl SpillFile {
    fn create(path: PathBuf) -> Result<SpillFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = private(&mut options)
            .open(&path)
            .map_err(|error| Error::io(&path, error))?;
        Ok(SpillFile { path, file, end: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| Error::io(&self.path, error))?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

impl Spill {
    fn new(path: &Path, most: u64) -> Spill {
        Spill {
            path: path.to_owned(),
            most,
            files: Vec::new(),
            runs: Vec::new(),
            last_key: Vec::new(),
        }
    }

    /// The file that the next buffer goes to, with its number.
    fn file(&mut self) -> Result<(usize, &mut SpillFile)> {
        if self.files.last().is_none_or(|last| last.end >= self.most) {
            let mut path = self.path.clone().into_os_string();
            if !self.files.is_empty() {
                path.push(format!("-{}", self.files.len()));
            }
            self.files.push(SpillFile::create(path.into())?);
        }
        let number = self.files.len() - 1;
        match self.files.last_mut() {
            Some(last) => Ok((number, last)),
            None => Err(Error::Misuse("a sorter without file")),
        }
    }

    fn append(&mut self, arena: &[u8], rows: &[Row]) -> Result<()> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let (number, file) = self.file()?;
        let start = file.end;
        let mut out = Vec::with_capacity(WRITE_LEN + 4096);
        for row in rows {
            let (key, payload) = row_bytes(arena, row);
            out.extend_from_slice(&row.key_len.to_le_bytes());
            out.extend_from_slice(&row.payload_len.to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(payload);
            if out.len() >= WRITE_LEN {
                file.write(&out)?;
                out.clear();
            }
        }
        file.write(&out)?;
        let end = file.end;
        // A buffer that continues where the run before ended is part of it.
        let goes_on = row_bytes(arena, first).0 >= self.last_key.as_slice();
        match self.runs.last_mut() {
            Some(run) if run.file == number && goes_on => run.end = end,
            _ => self.runs.push(SortedRun {
                file: number,
                start,
                end,
            }),
        }
        self.last_key = row_bytes(arena, last).0.to_vec();
        Ok(())
    }

    fn merge(&self, memory: usize, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let buffer = (memory / self.runs.len().max(1)).clamp(READ_MIN, READ_MAX);
        let reader = |run: &SortedRun| {
            let file = self.files.get(run.file)?;
            Some(RunReader::new(file, run.start, run.end, buffer))
        };
        let mut readers: Vec<RunReader> = self.runs.iter().filter_map(reader).collect();
        let mut heap = BinaryHeap::with_capacity(readers.len());
        for (run, reader) in readers.iter_mut().enumerate() {
            let mut head = Head {
                prefix: 0,
                key: Vec::new(),
                run,
            };
            if reader.next(&mut head)? {
                heap.push(head);
            }
        }
        while let Some(mut head) = heap.peek_mut() {
            let Some(reader) = readers.get_mut(head.run) else {
                return Err(Error::Misuse("a run without reader"));
            };
            take(&head.key, reader.payload())?;
            if !reader.next(&mut head)? {
                PeekMut::pop(head);
            }
        }
        Ok(())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // What stays behind is removed at the next exclusive opening.
        for file in &self.files {
            let _ = std::fs::remove_file(&file.path);
        }
    }
}

/// The smallest record not yet given out of one run; ordered so that a max-heap yields the smallest.
struct Head {
    prefix: u64,
    key: Vec<u8>,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.prefix, &other.key, other.run).cmp(&(self.prefix, &self.key, self.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Reads one run through a buffer of its own.
struct RunReader<'a> {
    file: &'a SpillFile,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    position: usize,
    payload: (usize, usize),
    step: usize,
}

impl<'a> RunReader<'a> {
    fn new(file: &'a SpillFile, at: u64, end: u64, step: usize) -> Self {
        RunReader {
            file,
            at,
            end,
            buffer: Vec::new(),
            position: 0,
            payload: (0, 0),
            step,
        }
    }

    /// Payload of the record given last.
    fn payload(&self) -> &[u8] {
        self.buffer
            .get(self.payload.0..self.payload.1)
            .unwrap_or_default()
    }

    /// Moves to the next record; false at the end of the run.
    fn next(&mut self, head: &mut Head) -> Result<bool> {
        if self.position == self.buffer.len() && self.at == self.end {
            return Ok(false);
        }
        let lengths = self.need(8)?;
        let (key_len, payload_len) = match lengths.split_first_chunk::<4>() {
            Some((key_len, rest)) => (
                u32::from_le_bytes(*key_len),
                rest.try_into().map(u32::from_le_bytes).unwrap_or_default(),
            ),
            None => return Err(self.cut()),
        };
        let (key_len, payload_len) = (key_len as usize, payload_len as usize);
        let record = self.need(8 + key_len + payload_len)?;
        let key = record.get(8..8 + key_len).unwrap_or_default();
        head.prefix = prefix_of(key);
        head.key.clear();
        head.key.extend_from_slice(key);
        let payload_start = self.position + 8 + key_len;
        self.payload = (payload_start, payload_start + payload_len);
        self.position = self.payload.1;
        Ok(true)
    }

    /// Makes the next `len` bytes of the run available and shows them.
    fn need(&mut self, len: usize) -> Result<&[u8]> {
        if self.buffer.len() - self.position < len {
            self.buffer.drain(..self.position);
            self.position = 0;
            let kept = self.buffer.len();
            let want = (len - kept).max(self.step) as u64;
            let count = usize::try_from(want.min(self.end - self.at)).unwrap_or(usize::MAX);
            if kept + count < len {
                return Err(self.cut());
            }
            self.buffer.resize(kept + count, 0);
            let mut file = &self.file.file;
            let target = self.buffer.get_mut(kept..).unwrap_or_default();
            file.seek(SeekFrom::Start(self.at))
                .and_then(|_| file.read_exact(target))
                .map_err(|error| Error::io(&self.file.path, error))?;
            self.at += count as u64;
        }
        self.buffer
            .get(self.position..self.position + len)
            .ok_or_else(|| self.cut())
    }

    fn cut(&self) -> Error {
        Error::io(&self.file.path, std::io::ErrorKind::UnexpectedEof.into())
    }
}

fn row_bytes<'a>(arena: &'a [u8], row: &Row) -> (&'a [u8], &'a [u8]) {
    let len = row.key_len as usize + row.payload_len as usize;
    let record = arena.get(row.start..row.start + len).unwrap_or_default();
    record
        .split_at_checked(row.key_len as usize)
        .unwrap_or_default()
}

fn compare_rows(arena: &[u8], a: &Row, b: &Row) -> Ordering {
    a.prefix
        .cmp(&b.prefix)
        .then_with(|| row_bytes(arena, a).0.cmp(row_bytes(arena, b).0))
        // Position in the arena is order of arrival.
        .then_with(|| a.start.cmp(&b.start))
        // Records of no bytes take no place in the arena: they came before the one that begins there.
        .then_with(|| a.payload_len.cmp(&b.payload_len))
}

/// First eight bytes as a number that orders like the bytes; shorter keys are filled with zeros.
fn prefix_of(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0u8; 8];
            head.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(head)
        }
    }
}

/// Less than the volume of 50 MiB that is usual by more than what a buffer adds.
const FILE_LEN: u64 = 24 << 20;
/// Memory of a sorter for others.
const MEMORY: usize = 12 << 20;
const WRITE_LEN: usize = 256 * 1024;
const READ_MIN: usize = 16 * 1024;
const READ_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Record = (Vec<u8>, Vec<u8>);

    fn sorted(input: &[Record], memory: usize) -> (Vec<Record>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let mut sorter = Sorter::new(path.clone(), memory);
        sorter.most = 10_000;
        input
            .iter()
            .for_each(|(key, payload)| sorter.push(key, payload).unwrap());
        let runs = sorter.spill.as_ref().map_or(0, |spill| spill.runs.len());
        let mut out = Vec::new();
        sorter
            .each(|key, payload| {
                out.push((key.to_vec(), payload.to_vec()));
                Ok(())
            })
            .unwrap();
        let mut again = out.iter();
        let same = sorter.each(|key, payload| {
            let expected = again.next().map(|(key, payload)| (&key[..], &payload[..]));
            assert_eq!(expected, Some((key, payload)));
            Ok(())
        });
        assert!(same.is_ok() && again.next().is_none());
        drop(sorter);
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "temporary files stay behind");
        (out, runs)
    }

    proptest! {
        #[test]
        fn agrees_with_a_stable_sort(
            input in prop::collection::vec((prop::collection::vec(0u8..4, 0..12), prop::collection::vec(any::<u8>(), 0..40)), 0..300),
            memory in 1usize..6000,
        ) {
            let mut expected = input.clone();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(sorted(&input, memory).0, expected);
        }
    }

    #[test]
    fn ascending_input_is_a_single_run_in_each_file() {
        let input: Vec<_> = (0u32..2000)
            .map(|n| (n.to_be_bytes().to_vec(), vec![1; 30]))
            .collect();
        let (output, runs) = sorted(&input, 4000);
        assert_eq!(output, input);
        // 2,000 records of 42 bytes in files of 12,000.
        assert_eq!(runs, 7);
    }

    #[test]
    fn records_larger_than_every_buffer_pass() {
        let input = vec![
            (vec![2; 3_000_000], vec![1; 10]),
            (vec![1], vec![9; 2_000_000]),
            (vec![0], vec![]),
        ];
        let mut expected = input.clone();
        expected.reverse();
        assert_eq!(sorted(&input, 1000).0, expected);
    }
}
