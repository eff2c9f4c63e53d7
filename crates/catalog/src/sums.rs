//! The checksum file `<catalog>.sum`: the proof that a catalog was closed and has not changed since.
//!
//! It is written after the database file was closed and deleted before the first change of the next run. So when it is
//! there, the database must be byte for byte what it describes; when it is not, the catalog was left open.
//!
//! Layout, little endian: magic `LARDSUM1`, length of the database (u64), one CRC-32 (u32) per MiB of it, CRC-32 of all
//! before. Reading and summing ran at several GB/s from the page cache where it was tried (`examples/bulk.rs` prints it),
//! so it is done at every opening and for the whole file, whatever its size.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use crate::handles;
use crate::lock::private;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"LARDSUM1";
const CHUNK_LEN: usize = 1 << 20;
/// Chunks that one thread sums: a second one pays for more.
const ALONE: u64 = 8;

/// What the checksum file says about the database.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No checksum file, or one that is itself damaged: nothing is known.
    Unknown,
    /// Every byte is as it was.
    Intact,
    /// The database is not what was closed.
    Changed(String),
}

/// Compares a database with its checksum file.
///
/// # Errors
/// When one of the files cannot be read, except for a defective sector, which is [`Verdict::Changed`].
pub(crate) fn verify(database: &Path, sums: &Path) -> Result<Verdict> {
    let stored = match std::fs::read(sums) {
        Ok(stored) => stored,
        // That of another user, who looked into the backup once, can be replaced although it cannot be read.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Verdict::Unknown);
        }
        Err(error) => return Err(Error::io(sums, error)),
    };
    let Some((len, expected)) = parse(&stored) else {
        return Ok(Verdict::Unknown);
    };
    let found = match handles::with_file(database, compute) {
        Ok(found) => found,
        Err(error) if denied(&error) => return Err(Error::io(database, error)),
        Err(error) => return Ok(Verdict::Changed(error.to_string())),
    };
    if found.0 != len {
        return Ok(Verdict::Changed(format!(
            "it has {} bytes instead of {len}",
            found.0
        )));
    }
    match found
        .1
        .iter()
        .zip(expected.iter())
        .position(|(a, b)| a != b)
    {
        Some(chunk) => Ok(Verdict::Changed(format!(
            "the checksum of MiB {chunk} does not match"
        ))),
        None => Ok(Verdict::Intact),
    }
}

/// Sums a closed database and puts the checksum file in place, atomically.
pub(crate) fn write(database: &Path, sums: &Path, temporary: &Path) -> Result<()> {
    let (len, crcs) =
        handles::with_file(database, compute).map_err(|error| Error::io(database, error))?;
    let mut out = Vec::with_capacity(20 + crcs.len() * 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&len.to_le_bytes());
    crcs.iter()
        .for_each(|crc| out.extend_from_slice(&crc.to_le_bytes()));
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = private(&mut options).open(temporary)?;
        file.write_all(&out)?;
        file.sync_all()?;
        std::fs::rename(temporary, sums)
    })();
    written.map_err(|error| Error::io(sums, error))
}

/// Deletes the checksum file, durably: from now on the database may change.
pub(crate) fn remove(sums: &Path) -> Result<()> {
    match std::fs::remove_file(sums) {
        Ok(()) => sync_folder(sums),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(sums, error)),
    }
}

/// Makes renames and deletions in the folder of `path` survive a power cut, where the system can.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        // Some network file systems refuse this; their own ordering has to do there.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// Tells a refusal, which the user must mend, from a disk that cannot deliver the bytes.
pub(crate) fn denied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::OutOfMemory
    )
}

/// Length of the file, and one checksum per MiB of it. A large file is read by two threads.
fn compute(file: &File) -> io::Result<(u64, Vec<u32>)> {
    let len = file.metadata()?.len();
    let chunks = len.div_ceil(CHUNK_LEN as u64);
    if chunks <= ALONE {
        return Ok((len, sum_chunks(file, 0..chunks, len)?));
    }
    let half = chunks / 2;
    std::thread::scope(|scope| {
        // Where no thread can be had, this one does the work of both.
        let helper = std::thread::Builder::new();
        let front = helper.spawn_scoped(scope, || sum_chunks(file, 0..half, len));
        let back = sum_chunks(file, half..chunks, len);
        let front = match front {
            Ok(front) => front
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => sum_chunks(file, 0..half, len),
        };
        let mut crcs = front?;
        crcs.extend(back?);
        Ok((len, crcs))
    })
}

/// The checksums of some chunks of a file of `len` bytes.
fn sum_chunks(file: &File, chunks: Range<u64>, len: u64) -> io::Result<Vec<u32>> {
    let mut buffer = vec![0u8; CHUNK_LEN];
    chunks
        .map(|chunk| {
            let start = chunk * CHUNK_LEN as u64;
            let wanted = (len - start).min(CHUNK_LEN as u64) as usize;
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            read_exact_at(file, chunk, start)?;
            Ok(crc32fast::hash(chunk))
        })
        .collect()
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                buffer = buffer.get_mut(count..).unwrap_or_default();
                at += count as u64;
            }
        }
    }
    Ok(())
}

fn parse(stored: &[u8]) -> Option<(u64, Vec<u32>)> {
    let (body, crc) = stored.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (len, crcs) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let len = u64::from_le_bytes(*len);
    let (crcs, rest) = crcs.as_chunks::<4>();
    let complete = rest.is_empty() && crcs.len() as u64 == len.div_ceil(CHUNK_LEN as u64);
    complete.then(|| {
        (
            len,
            crcs.iter().map(|crc| u32::from_le_bytes(*crc)).collect(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_every_kind_of_change_and_distrusts_itself() {
        let folder = tempfile::tempdir().unwrap();
        let [database, sums, temporary] =
            ["db", "db.sum", "db.tmp"].map(|name| folder.path().join(name));
        let content: Vec<u8> = (0..CHUNK_LEN * 2 + 77).map(|at| (at % 251) as u8).collect();
        std::fs::write(&database, &content).unwrap();
        assert_eq!(verify(&database, &sums).unwrap(), Verdict::Unknown);
        write(&database, &sums, &temporary).unwrap();
        assert_eq!(verify(&database, &sums).unwrap(), Verdict::Intact);
        for at in [0, CHUNK_LEN - 1, CHUNK_LEN, content.len() - 1] {
            let mut changed = content.clone();
            changed[at] ^= 0x10;
            std::fs::write(&database, &changed).unwrap();
            assert!(
                matches!(verify(&database, &sums).unwrap(), Verdict::Changed(_)),
                "byte {at}"
            );
        }
        for len in [0, 1, CHUNK_LEN, content.len() - 1] {
            std::fs::write(&database, &content[..len]).unwrap();
            assert!(
                matches!(verify(&database, &sums).unwrap(), Verdict::Changed(_)),
                "length {len}"
            );
        }
        std::fs::write(&database, &content).unwrap();
        let good = std::fs::read(&sums).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&sums, &bad).unwrap();
            assert_eq!(
                verify(&database, &sums).unwrap(),
                Verdict::Unknown,
                "byte {at} of the checksum file"
            );
        }
        remove(&sums).unwrap();
        remove(&sums).unwrap();
        assert_eq!(verify(&database, &sums).unwrap(), Verdict::Unknown);
    }
}
