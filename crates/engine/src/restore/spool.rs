//! Records that are kept for the end of a restore: in memory up to a bound, in a temporary file beyond it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::temporary::TempFolder;

/// A growing sequence of records. Memory: [`IN_MEMORY`], whatever it holds.
#[derive(Default)]
pub(crate) struct Spool {
    folder: TempFolder,
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file, which come before those in memory.
    written: u64,
}

/// Where a record lies in its spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    at: u64,
    len: u32,
}

impl Spool {
    /// An empty one whose file goes to a folder.
    pub(crate) fn new(folder: TempFolder) -> Self {
        Self {
            folder,
            ..Self::default()
        }
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, record: &[u8]) -> io::Result<Kept> {
        let len = u32::try_from(record.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if self.memory.len() + record.len() > IN_MEMORY {
            let file = match &self.file {
                Some(file) => file,
                None => self.file.insert(self.folder.nameless_file()?),
            };
            let written = file.write_all_at(&self.memory, self.written);
            written.map_err(|error| self.folder.explain(error))?;
            self.written += self.memory.len() as u64;
            self.memory.clear();
        }
        let at = self.written + self.memory.len() as u64;
        self.memory.extend_from_slice(record);
        Ok(Kept { at, len })
    }

    /// Reads a record again.
    pub(crate) fn read(&self, kept: Kept) -> io::Result<Vec<u8>> {
        let len = usize::try_from(kept.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if let Some(start) = kept.at.checked_sub(self.written) {
            let start = usize::try_from(start).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let record = self.memory.get(start..start.saturating_add(len));
            return Ok(record.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec());
        }
        let mut record = vec![0; len];
        let file = self.file.as_ref().ok_or(io::ErrorKind::UnexpectedEof)?;
        let read = file.read_exact_at(&mut record, kept.at);
        read.map_err(|error| self.folder.explain(error))?;
        Ok(record)
    }
}

/// Bytes kept in memory.
const IN_MEMORY: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_memory_and_file() -> io::Result<()> {
        let mut spool = Spool::default();
        let record = |n: usize| vec![n as u8; 1000 + n * 37 % 5000];
        let kept: Vec<Kept> = (0..4000)
            .map(|n| spool.push(&record(n)))
            .collect::<io::Result<_>>()?;
        assert!(spool.file.is_some() && spool.memory.len() <= IN_MEMORY);
        for (n, kept) in kept.iter().enumerate() {
            assert_eq!(spool.read(*kept)?, record(n));
        }
        Ok(())
    }
}
