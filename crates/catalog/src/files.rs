//! The files of a catalog: database, lock, checksums, temporary ones; and opening connections to the database.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::lock::Lock;
use crate::{Error, Result, sums};

/// What a catalog is opened for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum OpenFor {
    /// For reading and writing; no other process writes meanwhile. A missing catalog is made, a damaged one replaced.
    Writing,
    /// For reading, beside other readers and one writer, whose committed changes are seen. A missing catalog is
    /// [`Error::Absent`], a damaged one [`Error::Damaged`], writing is [`Error::Misuse`].
    Reading,
}

/// The files of a catalog and the lock on them; shared by everything that has a connection.
pub(crate) struct Files {
    pub(crate) path: PathBuf,
    pub(crate) purpose: OpenFor,
    /// The database differs, or may soon differ, from the checksum file.
    changed: Mutex<bool>,
    /// Damage was found, so the database must be examined before it is used again.
    damaged: AtomicBool,
    /// A bulk loader was dropped before its end, so that blocks are missing from the database.
    half_made: AtomicBool,
    /// An entry writer or bulk loader exists.
    pub(crate) staging: AtomicBool,
    next_spill: AtomicU32,
    /// Held by the writer; a catalog that replaces this one goes on with it.
    lock: Option<Arc<Lock>>,
}

impl Files {
    /// Notes the path and keeps the writer's lock.
    pub(crate) fn new(path: &Path, lock: Option<Arc<Lock>>) -> Files {
        let purpose = match lock {
            Some(_) => OpenFor::Writing,
            None => OpenFor::Reading,
        };
        Files {
            path: path.to_owned(),
            purpose,
            changed: Mutex::new(true),
            damaged: AtomicBool::new(false),
            half_made: AtomicBool::new(false),
            staging: AtomicBool::new(false),
            next_spill: AtomicU32::new(0),
            lock,
        }
    }

    /// Path of a companion of the database.
    pub(crate) fn side(&self, suffix: &str) -> PathBuf {
        side(&self.path, suffix)
    }

    /// A name for a temporary file that nobody uses.
    pub(crate) fn spill(&self) -> PathBuf {
        self.side(&format!(
            "{SPILL}{}",
            self.next_spill.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// Opens a connection with a page cache of at most `cache_kib`.
    pub(crate) fn connect(&self, cache_kib: u32) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.execute_batch(&format!(
            "PRAGMA synchronous=NORMAL; PRAGMA cache_size=-{cache_kib}; PRAGMA temp_store=FILE; \
             PRAGMA wal_autocheckpoint={LOG_PAGES}; PRAGMA journal_size_limit={LOG_LEN}; \
             PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF;"
        ))?;
        let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(Error::damaged(format!("its journal mode is {mode}")));
        }
        if self.purpose == OpenFor::Reading {
            conn.execute_batch("PRAGMA query_only=ON")?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        Ok(conn)
    }

    /// The writer's lock.
    pub(crate) fn lock(&self) -> Option<Arc<Lock>> {
        self.lock.clone()
    }

    /// Tells readers that the catalog was examined.
    pub(crate) fn set_ready(&self) -> Result<()> {
        match self.lock.as_ref().map(|lock| lock.set_ready()) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Error::io(&self.side(LOCK), error)),
        }
    }

    /// Notes whether the database may differ from the checksum file.
    pub(crate) fn set_changed(&self, changed: bool) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = changed;
    }

    /// Notes that the database must be examined before it is used again.
    pub(crate) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Notes that a load was not finished: nothing may be read any more.
    pub(crate) fn set_half_made(&self) {
        self.half_made.store(true, Ordering::Release);
    }

    /// Refuses what was not loaded to its end.
    pub(crate) fn check_whole(&self) -> Result<()> {
        match self.half_made.load(Ordering::Acquire) {
            true => Err(Error::damaged(INTERRUPTED)),
            false => Ok(()),
        }
    }

    /// Tells whether closing has to leave a new checksum file.
    pub(crate) fn to_be_summed(&self) -> bool {
        let changed = *self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed && self.purpose == OpenFor::Writing && !self.damaged.load(Ordering::Relaxed)
    }

    /// To be called before anything is changed: from here on the catalog is not closed.
    pub(crate) fn mark_changed(&self) -> Result<()> {
        if self.purpose == OpenFor::Reading {
            return Err(Error::Misuse(
                "a catalog opened for reading cannot be changed",
            ));
        }
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*changed {
            sums::remove(&self.side(SUMS))?;
            *changed = true;
        }
        Ok(())
    }

    /// Remembers damage that an operation found.
    pub(crate) fn guard<R>(&self, result: Result<R>) -> Result<R> {
        if matches!(&result, Err(error) if error.is_damage()) {
            self.set_damaged();
            // A later opening must not take the checksum of the file for a proof of its sense.
            let _ = self.mark_changed();
        }
        result
    }
}

/// Path of a companion file: the database's name with something appended.
pub(crate) fn side(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether a file whose name has this after that of a catalog belongs to it; true for nothing at all, which is the
/// catalog. A foreign file that was moved out of its way does not.
pub fn is_companion(rest: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(rest) else {
        return false;
    };
    let made = [BUILDING, REPLACED].iter().any(|ending| {
        let rest = text.strip_prefix(ending);
        rest.is_some_and(|rest| OF_DATABASE.contains(&rest))
    });
    OF_DATABASE.contains(&text)
        || made
        || [LOCK, SUMS, SUMS_BUILDING].contains(&text)
        || text.starts_with(SPILL)
}

/// Why a catalog that was not loaded to its end is not used.
pub(crate) const INTERRUPTED: &str = "a rebuild was interrupted";
/// Copies a closed catalog as it lies there, and changes nothing there. The copy of one that a process writes to may not
/// be whole, which opening it finds out. No file makes no copy.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read or written.
pub fn copy_closed(from: &Path, to: &Path) -> Result<()> {
    for suffix in ["", LOG, SUMS] {
        let from = side(from, suffix);
        match std::fs::copy(&from, side(to, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&from, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Endings of files that lie beside a catalog while it is used or afterwards, one of them at least.
pub const COMPANIONS: &[&str] = &[LOCK, SUMS, LOG];
/// Suffixes of the files that SQLite makes of one database (sqlite.org/tempfiles.html), the database first.
pub(crate) const OF_DATABASE: [&str; 4] = ["", LOG, SHARED_MEMORY, "-journal"];
/// Suffix of the write-ahead log.
pub(crate) const LOG: &str = "-wal";
/// Suffix of what the processes that use the log share.
pub(crate) const SHARED_MEMORY: &str = "-shm";
/// Suffix of the lock file.
pub(crate) const LOCK: &str = ".lock";
/// Suffix of the checksum file.
pub(crate) const SUMS: &str = ".sum";
/// Suffix of a checksum file being written.
pub(crate) const SUMS_BUILDING: &str = ".sum-new";
/// Suffix of a damaged catalog that was moved out of the way.
pub(crate) const REPLACED: &str = ".replaced";
/// Suffix of a catalog being made.
pub(crate) const BUILDING: &str = ".new";
/// Suffix of temporary sort files, before their number.
pub(crate) const SPILL: &str = ".sort-";
/// Page cache of the catalog's own connection.
pub(crate) const CACHE_KIB: u32 = 32 * 1024;
/// Page cache of cursors and loaders.
pub(crate) const SIDE_CACHE_KIB: u32 = 8 * 1024;
/// Pages in the write-ahead log after which it is moved into the database.
const LOG_PAGES: u32 = 4000;
/// Bytes to which a log that grew larger is cut afterwards.
const LOG_LEN: u32 = 64 << 20;
/// How long one connection waits for another of the same process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);
