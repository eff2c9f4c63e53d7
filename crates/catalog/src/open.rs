//! Opening: is this file a catalog of ours, and is it what we left?

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::catalog::{self, Catalog};
use crate::files::{BUILDING, CACHE_KIB, Files, LOCK, SPILL, SUMS, SUMS_BUILDING, side};
use crate::lock::{Access, Lock};
use crate::sums::{self, Verdict};
use crate::{Error, Result, blocklists, blocks, bulk, cursor, filesets, links, schema, volumes};

/// What [`Catalog::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// An undamaged catalog.
    Existing,
    /// Nothing; the catalog is new and empty.
    Created,
    /// Something unusable; the catalog is new and empty.
    Replaced {
        /// Why the old file was not used.
        reason: String,
        /// Where the old file is now: `<name>.replaced` for a catalog of ours (an earlier one is overwritten),
        /// `<name>.foreign-<n>` for anything else (never overwritten).
        kept_as: PathBuf,
    },
}

enum Finding {
    Missing,
    Good { closed: bool },
    Bad { reason: String, ours: bool },
}

/// See [`Catalog::open_as`].
pub(crate) fn open(path: &Path, access: Access) -> Result<(Catalog, Opened)> {
    if let Some(folder) = path.parent().filter(|_| access == Access::Exclusive) {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    }
    if access == Access::Shared && !path.exists() {
        return Err(Error::Absent {
            path: path.to_owned(),
        });
    }
    let lock = Lock::take(&side(path, LOCK), access)?;
    let files = Arc::new(Files::new(path, access, lock));
    if access == Access::Exclusive {
        remove_leftovers(&files)?;
    }
    let (reason, ours) = match examine(&files)? {
        Finding::Missing if access == Access::Shared => {
            return Err(Error::Absent {
                path: path.to_owned(),
            });
        }
        Finding::Missing => return Ok((create(&files)?, Opened::Created)),
        Finding::Bad { reason, ours } => (reason, ours),
        Finding::Good { closed } => match connect(&files, closed) {
            Ok(conn) => return Ok((Catalog::assemble(conn, files, closed), Opened::Existing)),
            Err(Error::Damaged { detail }) => (detail, true),
            Err(error) => return Err(error),
        },
    };
    if access == Access::Shared {
        return Err(Error::damaged(reason));
    }
    let kept_as = set_aside(&files, ours)?;
    Ok((create(&files)?, Opened::Replaced { reason, kept_as }))
}

/// Moves an unusable database and its log out of the way.
pub(crate) fn set_aside(files: &Files, ours: bool) -> Result<PathBuf> {
    let target = match ours {
        true => files.side(".replaced"),
        false => (1u64..)
            .map(|number| files.side(&format!(".foreign-{number}")))
            .find(|path| path.symlink_metadata().is_err())
            .ok_or(Error::Misuse("no name left for a foreign file"))?,
    };
    remove_if_present(&side(&target, "-wal"))?;
    std::fs::rename(&files.path, &target).map_err(|error| Error::io(&files.path, error))?;
    let log = files.side("-wal");
    match std::fs::rename(&log, side(&target, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io(&log, error));
        }
        _ => {}
    }
    remove_if_present(&files.side("-shm"))?;
    remove_if_present(&files.side(SUMS))?;
    sums::sync_folder(&files.path)?;
    Ok(target)
}

fn create(files: &Arc<Files>) -> Result<Catalog> {
    // A log that belonged to another database would be played into this one.
    for suffix in ["-wal", "-shm", SUMS] {
        remove_if_present(&files.side(suffix))?;
    }
    schema::create(&files.path, &files.side(BUILDING))?;
    Ok(Catalog::assemble(
        connect(files, true)?,
        Arc::clone(files),
        false,
    ))
}

/// Removes what a killed process may have left behind. Only under the exclusive lock.
fn remove_leftovers(files: &Files) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove_if_present(&side(&files.side(BUILDING), suffix))?;
    }
    remove_if_present(&files.side(SUMS_BUILDING))?;
    let (Some(folder), Some(name)) = (files.path.parent(), files.path.file_name()) else {
        return Ok(());
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.extend_from_slice(SPILL.as_bytes());
    // A folder that cannot be listed can still hold a catalog; what is left behind there stays.
    for item in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if item.file_name().as_encoded_bytes().starts_with(&prefix) {
            remove_if_present(&item.path())?;
        }
    }
    Ok(())
}

fn remove_if_present(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// Judges the file without SQLite.
fn examine(files: &Files) -> Result<Finding> {
    let path = &files.path;
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Finding::Missing),
        Err(error) => return Err(Error::io(path, error)),
    };
    if facts.is_dir() {
        return Err(Error::io(path, io::ErrorKind::IsADirectory.into()));
    }
    if !facts.is_file() {
        return Err(Error::io(
            path,
            io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"),
        ));
    }
    let mut header = Vec::new();
    match File::open(path).and_then(|file| file.take(HEADER_LEN).read_to_end(&mut header)) {
        Ok(_) => {}
        Err(error) if sums::denied(&error) => return Err(Error::io(path, error)),
        Err(error) => {
            return Ok(Finding::Bad {
                reason: error.to_string(),
                ours: true,
            });
        }
    }
    if let Err((reason, ours)) = judge_header(&header, facts.len()) {
        return Ok(Finding::Bad { reason, ours });
    }
    let log_len = std::fs::metadata(files.side("-wal")).map_or(0, |facts| facts.len());
    Ok(match sums::verify(path, &files.side(SUMS))? {
        Verdict::Changed(reason) => Finding::Bad { reason, ours: true },
        // It was closed, so the log was empty: this one belongs to another state of the file.
        Verdict::Intact if log_len > 0 => Finding::Bad {
            reason: "there is a log beside a closed database".to_owned(),
            ours: true,
        },
        Verdict::Intact => Finding::Good { closed: true },
        Verdict::Unknown => Finding::Good { closed: false },
    })
}

/// Looks at the fields of the SQLite header that are fixed for our catalogs (sqlite.org/fileformat2.html, 1.3).
fn judge_header(header: &[u8], file_len: u64) -> std::result::Result<(), (String, bool)> {
    if header.is_empty() {
        return Err(("it is empty".to_owned(), true));
    }
    let number = |at: usize| {
        header
            .get(at..)
            .and_then(<[u8]>::first_chunk::<4>)
            .map(|b| u32::from_be_bytes(*b))
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(("it is not an SQLite database".to_owned(), false));
    }
    if number(APPLICATION_ID_AT) != Some(schema::APPLICATION_ID) {
        return Err(("it is the database of another program".to_owned(), false));
    }
    if number(USER_VERSION_AT) != Some(schema::VERSION) {
        return Err((
            "it was made by another version of this program".to_owned(),
            true,
        ));
    }
    // Page size 4096, write and read version WAL, no reserved space, fixed payload fractions.
    let fixed =
        header.get(16..24) == Some(&[0x10, 0, 2, 2, 0, 64, 32, 32]) && number(56) == Some(1);
    if !fixed {
        return Err(("its header is not ours".to_owned(), true));
    }
    if !file_len.is_multiple_of(schema::PAGE_LEN) {
        return Err(("its length is not a whole number of pages".to_owned(), true));
    }
    Ok(())
}

/// Opens the connection and, unless the file was proven by its checksums, examines the content.
fn connect(files: &Arc<Files>, closed: bool) -> Result<Connection> {
    let conn = files.connect(CACHE_KIB)?;
    schema::compare(&conn)?;
    if !closed {
        examine_content(&conn)?;
    }
    if catalog::param(&conn, bulk::RUNNING)?.is_some() {
        return Err(Error::damaged("a rebuild was interrupted"));
    }
    Ok(conn)
}

/// Checks structure and every row of a database that was not closed.
fn examine_content(conn: &Connection) -> Result<()> {
    // Not the quick variant: an index that lost a row would hide blocks of a volume, and the large tables have none.
    let report: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if report != "ok" {
        return Err(Error::damaged(report));
    }
    catalog::verify_params(conn)?;
    let known = volumes::verify(conn)?;
    links::verify(conn, &known)?;
    blocks::verify(conn, &known)?;
    blocklists::verify(conn)?;
    filesets::verify(conn)?;
    cursor::verify(conn)
}

const HEADER_LEN: u64 = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
