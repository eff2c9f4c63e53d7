//! The text file that says which data volume holds which block: a line `hash, file name` for each, sorted by the bytes of
//! the hash in base64, as Duplicati's recovery tool writes it (format spec 9.11).

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use larder_catalog::Sorter;
use larder_source::{Replace, TargetRoot};
use larder_volume::{Hash, ReadAt, VolumeName, parse_block_entry};

use super::folder::{Folder, LocalFile};
use super::{Recovery, RecoveryReport, is_of_volume};
use crate::error::PathContext;
use crate::restore::target::stop_when_full;
use crate::temporary::temporary_error;
use crate::transfer::TransferCounts;
use crate::{Error, Result};

/// What an index holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    volumes: u64,
    blocks: u64,
}

impl Recovery {
    /// Writes the index of a folder: `index.txt` in it, or the file that is named.
    ///
    /// # Errors
    /// The folder cannot be read or the file not be written. Volumes that are damaged are named in the report.
    pub fn index(&self, folder: &Path, file: Option<&Path>) -> Result<RecoveryReport> {
        let found = self.folder(folder)?;
        if found.blocks.is_empty() {
            return Err(no_volumes(folder));
        }
        let path = index_path(folder, file);
        let counts = self.write_index(&found, &path)?;
        Ok(RecoveryReport {
            index_file: Some(path.display().to_string()),
            volumes: counts.volumes,
            blocks: counts.blocks,
            ..self.report(folder.to_owned(), &TransferCounts::default())
        })
    }

    /// Writes an index under a temporary name and then in place of an earlier one.
    fn write_index(&self, folder: &Folder, path: &Path) -> Result<Counts> {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent, name.as_encoded_bytes()),
            _ => return Err(Error::io(path, io::ErrorKind::IsADirectory.into())),
        };
        refuse_other_files(path)?;
        let root = TargetRoot::open(parent).at(parent)?;
        let file = root.open_temporary(name).at(path)?.file;
        file.set_len(0).at(path)?;
        let mut failed = None;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        let counts = self.each_block_of(folder, |line| {
            out.write_all(line)
                .map_err(|error| failed.insert(error).kind().into())
        });
        let flushed = out.flush();
        drop(out);
        let written = match failed.map_or(flushed, Err) {
            Ok(()) => counts.and_then(|counts| {
                root.finish_temporary(&file, name, Replace::Yes).at(path)?;
                Ok(counts)
            }),
            Err(error) => stop_when_full(&error, parent).and(Err(Error::io(path, error))),
        };
        if written.is_err() {
            // What is left harms nobody.
            let _ = root.discard_temporary(name);
        }
        written
    }

    /// An index in a temporary file, for one run.
    pub(super) fn temporary_index(&self, folder: &Folder) -> Result<Index> {
        let temp_folder = &self.settings.temp_folder;
        let file = temp_folder.nameless_file().map_err(temporary_error)?;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        self.each_block_of(folder, |line| {
            out.write_all(line)
                .map_err(|error| temp_folder.explain(error))
        })?;
        out.flush()
            .map_err(|error| temporary_error(temp_folder.explain(error)))?;
        drop(out);
        Ok(Index {
            file: LocalFile::of(file).map_err(temporary_error)?,
        })
    }

    /// Hands the lines of an index to `take`, in order.
    fn each_block_of(
        &self,
        folder: &Folder,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Counts> {
        let temporary = self
            .settings
            .temp_folder
            .folder()
            .map_err(temporary_error)?;
        let mut sorter = Sorter::spilling_to(temporary.path().join("blocks"));
        let mut counts = Counts::default();
        for (number, stored) in folder.blocks.iter().enumerate() {
            self.cancel.check()?;
            let archive = match self.open(folder, stored) {
                Ok(archive) => archive,
                Err(error) if is_of_volume(&error) => {
                    let cost = "nothing can be read of it";
                    self.tell_damaged(&stored.file, "DamagedVolume", &error, cost);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if archive.recovered() || stored.is_damaged {
                self.tell_partly_damaged(&stored.file);
            }
            counts.volumes += 1;
            let number = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            for entry in archive.entries() {
                if let Some(hash) = parse_block_entry(&entry.name) {
                    let pushed = sorter.push(hash.to_base64().as_bytes(), &number);
                    pushed.map_err(sorting_failed)?;
                    counts.blocks += 1;
                }
            }
            self.reporter.verbose("IndexedVolume", stored.file.clone());
        }
        let mut line = Vec::new();
        let mut failed = None;
        let sorted = sorter.each(|hash, number| {
            let number = number.try_into().map_or(0, u32::from_le_bytes) as usize;
            let name = folder.blocks.get(number).map_or("", |stored| &stored.file);
            line.clear();
            line.extend_from_slice(hash);
            line.extend_from_slice(SEPARATOR);
            line.extend_from_slice(name.as_bytes());
            line.push(b'\n');
            take(&line).map_err(|error| {
                failed = Some(error);
                larder_catalog::Error::Misuse("an index was left")
            })
        });
        match failed {
            Some(error) => Err(temporary_error(error)),
            None => sorted.map_err(sorting_failed).map(|()| counts),
        }
    }

    /// Says once that a volume is damaged and some of it may serve.
    pub(super) fn tell_partly_damaged(&self, file: &str) {
        let is_new = crate::repository::locked(&self.damaged).insert(file.to_owned());
        if is_new {
            self.reporter.warn(
                "DamagedVolume",
                format!("{file} is damaged; what can be verified of it is used"),
            );
        }
    }
}

/// The file of an index.
pub(super) fn index_path(folder: &Path, file: Option<&Path>) -> PathBuf {
    file.map_or_else(|| folder.join("index.txt"), Path::to_owned)
}

/// The error for a folder without data volumes.
pub(super) fn no_volumes(folder: &Path) -> Error {
    Error::data(
        "EmptyRemoteLocation",
        format!(
            "there is no data volume of a backup in {}",
            folder.display()
        ),
        format!(
            "fetch them first: `larder recovery download URL {}`",
            folder.display()
        ),
    )
}

fn sorting_failed(error: larder_catalog::Error) -> Error {
    temporary_error(match error {
        larder_catalog::Error::Io { source, .. } => source,
        larder_catalog::Error::Full => io::ErrorKind::StorageFull.into(),
        other => io::Error::other(other),
    })
}

/// Keeps a file that is no index from being replaced by one.
fn refuse_other_files(path: &Path) -> Result<()> {
    let index = match LocalFile::open(path) {
        Ok(file) => Index { file },
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let first = index.line_from(0).at(path)?;
    if first.is_none_or(|line| line.parts().is_some()) {
        return Ok(());
    }
    Err(Error::user(
        "FileExists",
        format!("{} is there already and is no index", path.display()),
        "name another file with --indexfile=…",
    ))
}

/// An index that is looked into. Lines that make no sense are passed over: who finds nothing asks a new index.
#[derive(Debug)]
pub(super) struct Index {
    file: LocalFile,
}

/// One line and where it lies.
struct Line {
    text: Vec<u8>,
    start: u64,
    next: u64,
}

impl Line {
    /// Hash and file name.
    fn parts(&self) -> Option<(&[u8], &str)> {
        let at = self
            .text
            .windows(SEPARATOR.len())
            .position(|part| part == SEPARATOR)?;
        let (hash, name) = self.text.split_at_checked(at)?;
        let name = std::str::from_utf8(name.get(SEPARATOR.len()..)?).ok()?;
        // Another name would lead out of the folder.
        let name = name.trim_end_matches('\r');
        let bare = name.strip_suffix(super::DAMAGED_ENDING).unwrap_or(name);
        VolumeName::parse(bare, true)?;
        Hash::parse_base64(std::str::from_utf8(hash).ok()?).ok()?;
        Some((hash, name))
    }

    /// What it is sorted by.
    fn key(&self) -> &[u8] {
        self.parts().map_or(&self.text, |(hash, _)| hash)
    }
}

impl Index {
    /// Opens an index; `None` when there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        match LocalFile::open(path) {
            Ok(file) => Ok(Some(Self { file })),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The files that hold a block, as the index says. Some twenty short reads.
    pub(super) fn find(&self, hash: &Hash) -> io::Result<Vec<String>> {
        let wanted = hash.to_base64();
        let wanted = wanted.as_bytes();
        let (mut low, mut high) = (0, ReadAt::len(&self.file)?);
        // `low` is always where a line begins, and all lines before it are smaller.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.line_from(middle)? {
                Some(line) if line.start < high && line.key() < wanted => low = line.next,
                _ => high = middle,
            }
        }
        let mut names = Vec::new();
        while let Some(line) = self.line_from(low)? {
            match line.parts() {
                Some((hash, name)) if hash == wanted => names.push(name.to_owned()),
                _ => break,
            }
            low = line.next;
        }
        Ok(names)
    }

    /// The first line that begins at a place or behind it.
    fn line_from(&self, place: u64) -> io::Result<Option<Line>> {
        let (mut at, mut start) = match place.checked_sub(1) {
            // The end of the line before may be right in front.
            Some(before) => (before, None),
            None => (0, Some(0)),
        };
        let mut text = Vec::new();
        loop {
            let mut buffer = [0; 160];
            let len = self.file.read_at(at, &mut buffer)?;
            let piece = buffer.get(..len).unwrap_or_default();
            if piece.is_empty() || text.len() > LONGEST_LINE {
                let next = at;
                return Ok(start.filter(|_| !text.is_empty()).map(|start| Line {
                    text,
                    start,
                    next,
                }));
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let used = piece.get(..end.unwrap_or(len)).unwrap_or_default();
            if start.is_some() {
                text.extend_from_slice(used);
            }
            at += used.len() as u64 + u64::from(end.is_some());
            match (end, start) {
                (Some(_), Some(start)) => {
                    let next = at;
                    return Ok(Some(Line { text, start, next }));
                }
                (Some(_), None) => start = Some(at),
                (None, _) => {}
            }
        }
    }
}

const SEPARATOR: &[u8] = b", ";
/// A line is no longer than this.
const LONGEST_LINE: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use larder_testkit::Rng;
    use larder_volume::HashAlgorithm;

    use super::*;

    fn index(text: &[u8]) -> Index {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("written");
        Index {
            file: LocalFile::of(file).expect("an index"),
        }
    }

    fn hash(number: u64, algorithm: HashAlgorithm) -> Hash {
        algorithm.digest(&number.to_le_bytes())
    }

    fn name(number: u64) -> String {
        format!("duplicati-b{number:032x}.dblock.zip")
    }

    /// Lines of every length, some blocks in several volumes, with and without the last line feed.
    #[test]
    fn every_block_is_found_and_no_other() {
        for count in [0, 1, 2, 3, 10, 1_000] {
            let algorithms = [
                HashAlgorithm::Sha256,
                HashAlgorithm::Sha512,
                HashAlgorithm::Md5,
            ];
            let of = |number: u64| hash(number, algorithms[(number % 3) as usize]);
            let mut lines: Vec<String> = Vec::new();
            for number in 0..count {
                for copy in 0..=number % 3 {
                    let ending = if copy == 2 { ".damaged" } else { "" };
                    lines.push(format!(
                        "{}, {}{ending}",
                        of(number).to_base64(),
                        name(copy)
                    ));
                }
            }
            lines.sort();
            let text = lines.join("\n");
            for ending in ["", "\n"] {
                let index = index(format!("{text}{ending}").as_bytes());
                for number in 0..count {
                    let names = index.find(&of(number)).expect("found");
                    let mut wanted: Vec<String> = (0..=number % 3).map(name).collect();
                    if let Some(damaged) = wanted.get_mut(2) {
                        damaged.push_str(".damaged");
                    }
                    assert_eq!(names, wanted, "{number} of {count}");
                }
                for number in count..count + 50 {
                    assert_eq!(index.find(&of(number)).expect("looked"), [""; 0]);
                }
            }
        }
    }

    #[test]
    fn names_that_lead_elsewhere_and_noise_are_no_lines() {
        let wanted = hash(1, HashAlgorithm::Sha256);
        for file in ["../x.dblock.zip", "/etc/passwd", "", "notes.txt"] {
            let index = index(format!("{}, {file}\n", wanted.to_base64()).as_bytes());
            assert_eq!(index.find(&wanted).expect("looked"), [""; 0], "{file}");
        }
        for seed in 0..50 {
            let mut noise = Rng::new(seed).bytes(seed as usize * 97);
            for byte in noise.iter_mut().step_by(13) {
                *byte = b'\n';
            }
            assert_eq!(index(&noise).find(&wanted).expect("looked"), [""; 0]);
        }
        let long = vec![b'x'; 300_000];
        assert_eq!(index(&long).find(&wanted).expect("looked"), [""; 0]);
    }
}
