//! Opening: is this file a catalog of ours, and is it what we left?

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::files::{
    BUILDING, CACHE_KIB, Files, INTERRUPTED, LOCK, LOG, OF_DATABASE, REPLACED, SHARED_MEMORY,
    SPILL, SUMS, SUMS_BUILDING, side,
};
use crate::lock::{self, Lock, Writer};
use crate::occupant::{is_catalog, is_database};
use crate::sums::{self, Verdict};
use crate::{
    Catalog, Error, Result, blocklists, blocks, bulk, filesets, handles, links, losses, params,
    schema, segments, volumes,
};

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
        /// Whether it was a catalog of ours.
        was_ours: bool,
    },
}

enum Finding {
    Missing,
    Good { closed: bool },
    Bad { reason: String, ours: bool },
}

impl Catalog {
    /// Opens the catalog at `path` for reading and writing, making or replacing it when need be.
    ///
    /// A missing folder is made. The file is checked as described at the head of the crate; the cost of that is reading
    /// it once (cleanly closed), or about a second per million blocks (left open by a crash).
    ///
    /// # Errors
    /// [`Error::Busy`] when another process writes to it, [`Error::Io`] when the path is a folder or may not be used.
    pub fn open(path: &Path) -> Result<(Catalog, Opened)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
        let lock = Lock::take(&side(path, LOCK))?;
        let files = Arc::new(Files::new(path, Some(Arc::new(lock))));
        remove_leftovers(&files)?;
        let (reason, ours) = match examine(&files)? {
            Finding::Missing => return Ok((create(&files)?, Opened::Created)),
            Finding::Bad { reason, ours } => (reason, ours),
            Finding::Good { closed } => match connect(&files, closed) {
                Ok(conn) => {
                    files.set_ready()?;
                    return Ok((Catalog::assemble(conn, files, closed), Opened::Existing));
                }
                Err(Error::Damaged { detail }) => (detail, true),
                Err(error) => return Err(error),
            },
        };
        let kept_as = set_aside(&files, ours)?;
        let replaced = Opened::Replaced {
            reason,
            kept_as,
            was_ours: ours,
        };
        Ok((create(&files)?, replaced))
    }

    /// Opens the catalog for reading, beside other readers and one writer, whose committed changes are seen.
    ///
    /// Without a writer the file is checked as in [`Catalog::open`]. Beside a writer, who checked it when it began, the
    /// checksums of the rows have to do, which are compared whenever one is read. Waits some seconds for a writer that is
    /// still checking.
    ///
    /// # Errors
    /// [`Error::Absent`] when there is none, [`Error::Damaged`] when it may not be believed, [`Error::Busy`] when a
    /// writer takes long to check it.
    pub fn open_for_reading(path: &Path) -> Result<Catalog> {
        let lock = side(path, LOCK);
        let mut pid = None;
        for _ in 0..READER_LOOKS {
            if !path.exists() {
                return Err(Error::Absent {
                    path: path.to_owned(),
                });
            }
            let files = Arc::new(Files::new(path, None));
            let before = lock::writer(&lock)?;
            let outcome = match before {
                Writer::Preparing(who) => {
                    pid = who;
                    std::thread::sleep(READER_LOOK);
                    continue;
                }
                Writer::Ready(who) => connect_beside(&files, who),
                Writer::None => open_alone(&files),
            };
            // Whatever was found counts only when no writer came or went meanwhile.
            if lock::writer(&lock)? == before {
                return Ok(Catalog::assemble(outcome?, files, true));
            }
        }
        Err(Error::Busy { pid })
    }

    /// Copies a catalog as it is at one moment, also while another process writes to it. The copy is opened with
    /// [`Catalog::open`], as a catalog that was not closed.
    ///
    /// # Errors
    /// As [`Catalog::open_for_reading`], and [`Error::Io`] or [`Error::Database`] when the copy cannot be written.
    pub fn copy(path: &Path, to: &Path) -> Result<()> {
        let original = Self::open_for_reading(path)?;
        let copied = original.read(|conn| {
            let mut copy = Connection::open(to)?;
            // All pages in one step: what is written meanwhile would make it begin anew.
            Ok(Backup::new(conn, &mut copy)?.step(-1).map(drop)?)
        });
        if copied.is_err() {
            remove_if_present(to)?;
        }
        copied
    }

    /// Sets a damaged catalog aside and makes an empty one in its place; gives that and the new path of the old file, as
    /// in [`Opened::Replaced`]. The lock is kept, so no other process comes in between.
    ///
    /// # Errors
    /// [`Error::Misuse`] when it was opened for reading, [`Error::Io`] when it cannot be renamed.
    pub fn replace(self) -> Result<(Catalog, PathBuf)> {
        let files = Arc::clone(self.files());
        let Some(lock) = files.lock() else {
            return Err(Error::Misuse(
                "a catalog opened for reading cannot be replaced",
            ));
        };
        files.set_damaged();
        drop(self);
        lock.set_preparing();
        let kept_as = set_aside(&files, true)?;
        let fresh = Arc::new(Files::new(&files.path, Some(lock)));
        Ok((create(&fresh)?, kept_as))
    }
}

/// Examines the catalog for a reader when nobody writes to it.
fn open_alone(files: &Arc<Files>) -> Result<Connection> {
    match examine(files)? {
        Finding::Missing => Err(Error::Absent {
            path: files.path.clone(),
        }),
        Finding::Bad { reason, .. } => Err(Error::damaged(reason)),
        Finding::Good { closed } => connect(files, closed),
    }
}

/// Moves an unusable database and its log out of the way.
fn set_aside(files: &Files, ours: bool) -> Result<PathBuf> {
    let target = match ours {
        true => files.side(REPLACED),
        false => (1u64..)
            .map(|number| files.side(&format!(".foreign-{number}")))
            .find(|path| path.symlink_metadata().is_err())
            .ok_or(Error::Misuse("no name left for a foreign file"))?,
    };
    remove_if_present(&side(&target, LOG))?;
    std::fs::rename(&files.path, &target).map_err(|error| Error::io(&files.path, error))?;
    let log = files.side(LOG);
    match std::fs::rename(&log, side(&target, LOG)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io(&log, error));
        }
        _ => {}
    }
    remove_if_present(&files.side(SHARED_MEMORY))?;
    remove_if_present(&files.side(SUMS))?;
    sums::sync_folder(&files.path)?;
    Ok(target)
}

fn create(files: &Arc<Files>) -> Result<Catalog> {
    // A log that belonged to another database would be played into this one.
    for suffix in [LOG, SHARED_MEMORY, SUMS] {
        remove_if_present(&files.side(suffix))?;
    }
    schema::create(&files.path, &files.side(BUILDING))?;
    let conn = connect(files, true)?;
    files.set_ready()?;
    Ok(Catalog::assemble(conn, Arc::clone(files), false))
}

/// Removes what a killed process may have left behind. Only under the lock.
fn remove_leftovers(files: &Files) -> Result<()> {
    for suffix in OF_DATABASE {
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
    let read = handles::with_file(path, |mut file| {
        file.seek(io::SeekFrom::Start(0))?;
        file.take(HEADER_LEN).read_to_end(&mut header)
    });
    match read {
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
    let log_len = std::fs::metadata(files.side(LOG)).map_or(0, |facts| facts.len());
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
    if !is_database(header) {
        return Err(("it is not an SQLite database".to_owned(), false));
    }
    if !is_catalog(header) {
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
    match is_half_made(&conn)? {
        true => Err(Error::damaged(INTERRUPTED)),
        false => Ok(conn),
    }
}

/// Opens the connection beside a writer, who has examined the content.
fn connect_beside(files: &Arc<Files>, pid: Option<u32>) -> Result<Connection> {
    let conn = files.connect(CACHE_KIB)?;
    schema::compare(&conn)?;
    match is_half_made(&conn)? {
        // The writer loads it just now.
        true => Err(Error::Busy { pid }),
        false => Ok(conn),
    }
}

fn is_half_made(conn: &Connection) -> Result<bool> {
    Ok(params::find(conn, bulk::RUNNING)?.is_some())
}

/// Checks structure and every row of a database that was not closed.
fn examine_content(conn: &Connection) -> Result<()> {
    // One moment of it, whoever writes meanwhile.
    conn.execute_batch("BEGIN DEFERRED")?;
    let examined = examine_rows(conn);
    conn.execute_batch("ROLLBACK")?;
    examined
}

fn examine_rows(conn: &Connection) -> Result<()> {
    // Not the quick variant: an index that lost a row would hide blocks of a volume, and the large tables have none.
    let report: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if report != "ok" {
        return Err(Error::damaged(report));
    }
    params::verify(conn)?;
    let known = volumes::verify(conn)?;
    links::verify(conn, &known)?;
    blocks::verify(conn, &known)?;
    blocklists::verify(conn)?;
    filesets::verify(conn)?;
    losses::verify(conn)?;
    segments::verify(conn)
}

/// How often a reader looks whether a writer is ready,
const READER_LOOKS: u32 = 250;
/// and how long it waits in between.
const READER_LOOK: Duration = Duration::from_millis(20);
const HEADER_LEN: u64 = 100;
const USER_VERSION_AT: usize = 60;
