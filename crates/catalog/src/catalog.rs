//! The catalog handle: connection, transactions, closing.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::files::{Files, LOG, SUMS, SUMS_BUILDING};
use crate::{Error, Result, sums};

/// An open catalog.
///
/// All changes are transactions: a method that fails has changed nothing. Changes outside [`Catalog::durable`] may be
/// lost in a power cut (never torn), changes inside are on disk when it returns. Dropping the catalog closes it;
/// [`Catalog::close`] does the same and reports errors. How it is opened: [`Catalog::open`] and
/// [`Catalog::open_for_reading`].
pub struct Catalog {
    // Dropped first: the database file is complete only after that, and `closer` then sums it.
    pub(crate) conn: Connection,
    /// Volumes whose blocks do not count, as far as known; emptied whenever a volume may have changed.
    pub(crate) dead: RefCell<Option<HashSet<i64>>>,
    /// A durable change was made inside a batch, which has to see to it.
    sync_wanted: Cell<bool>,
    closer: Closer,
}

impl Catalog {
    /// Puts the pieces together; `proven` tells that the checksum file describes the database as it is.
    pub(crate) fn assemble(conn: Connection, files: Arc<Files>, proven: bool) -> Catalog {
        files.set_changed(!proven);
        let outcome = Arc::new(Mutex::new(Ok(())));
        let closer = Closer {
            files,
            ready: Cell::new(false),
            outcome,
        };
        Catalog {
            conn,
            dead: RefCell::new(None),
            sync_wanted: Cell::new(false),
            closer,
        }
    }

    /// Where the catalog lies.
    pub fn path(&self) -> &Path {
        &self.closer.files.path
    }

    /// Runs `change` as one transaction that is on disk when this returns.
    ///
    /// Everything committed earlier is on disk then, too. Costs one flush of the disk. May be nested. Do not use an
    /// [`crate::EntryWriter`] or [`crate::BulkLoader`] inside: they write over connections of their own and would wait for
    /// the transaction that waits for them.
    ///
    /// # Errors
    /// Those of `change`; then nothing of it remains.
    pub fn durable<R>(&self, change: impl FnOnce(&Catalog) -> Result<R>) -> Result<R> {
        if !self.conn.is_autocommit() {
            self.sync_wanted.set(true);
            return self.write(|_| change(self));
        }
        self.guard(
            self.conn
                .execute_batch("PRAGMA synchronous=FULL")
                .map_err(Error::from),
        )?;
        let result = self.write(|_| change(self));
        self.sync_wanted.set(false);
        let restored = self
            .conn
            .execute_batch("PRAGMA synchronous=NORMAL")
            .map_err(Error::from);
        let value = result?;
        self.guard(restored)?;
        Ok(value)
    }

    /// Runs `change` as one transaction without flushing the disk: many small changes become cheap, or happen together.
    ///
    /// # Errors
    /// Those of `change`; then nothing of it remains.
    pub fn batch<R>(&self, change: impl FnOnce(&Catalog) -> Result<R>) -> Result<R> {
        let outermost = self.conn.is_autocommit();
        let value = self.write(|_| change(self))?;
        if outermost && self.sync_wanted.take() {
            // In WAL mode a commit is durable as soon as the log file is.
            let log = self.closer.files.side(LOG);
            let flushed = std::fs::File::open(&log).and_then(|file| file.sync_all());
            flushed.map_err(|error| Error::io(&log, error))?;
        }
        Ok(value)
    }

    /// Closes the catalog and leaves the checksum that makes the next opening quick.
    ///
    /// When a cursor, writer or loader of this catalog still exists, or damage was found, the checksum is left out and the
    /// next opening examines everything.
    ///
    /// # Errors
    /// When the last changes cannot be written. What was committed is kept in the write-ahead log nevertheless.
    pub fn close(self) -> Result<()> {
        let outcome = Arc::clone(&self.closer.outcome);
        drop(self);
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *outcome, Ok(()))
    }

    /// Runs a read, remembering damage that it finds.
    pub(crate) fn read<R>(&self, query: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        self.closer.files.check_whole()?;
        self.guard(query(&self.conn))
    }

    /// Runs a change in a transaction of its own, or as an undoable part of the one that is open.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        self.closer.files.check_whole()?;
        self.closer.files.mark_changed()?;
        let result = transact(&self.conn, change);
        if result.is_err() {
            // What was rolled back may have been volumes.
            self.dead.take();
        }
        self.guard(result)
    }

    /// Files and lock, for parts that outlive a borrow of the catalog.
    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.closer.files
    }

    fn guard<R>(&self, result: Result<R>) -> Result<R> {
        self.closer.files.guard(result)
    }

    /// Moves the log into the database so that the file alone is the catalog.
    fn settle(&self) -> Result<bool> {
        let files = &self.closer.files;
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        if Arc::strong_count(files) != 1 || !files.to_be_summed() {
            return Ok(false);
        }
        // A reader in the middle of a question is waited for, but not for long: without the checksum file the next
        // opening examines everything, and that is all.
        self.conn.busy_timeout(CLOSING_TIMEOUT)?;
        let blocked: i64 = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(blocked == 0)
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        match self.settle() {
            Ok(ready) => self.closer.ready.set(ready),
            Err(error) => {
                *self
                    .closer
                    .outcome
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        }
    }
}

/// Runs a change as a transaction on any connection of this crate.
pub(crate) fn transact<R>(
    conn: &Connection,
    change: impl FnOnce(&Connection) -> Result<R>,
) -> Result<R> {
    let outermost = conn.is_autocommit();
    let (begin, commit, undo) = match outermost {
        true => ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"),
        false => (
            "SAVEPOINT part",
            "RELEASE part",
            "ROLLBACK TO part; RELEASE part",
        ),
    };
    conn.prepare_cached(begin)?.execute([])?;
    let result = change(conn).and_then(|value| {
        conn.prepare_cached(commit)?.execute([])?;
        Ok(value)
    });
    if result.is_err() && !conn.is_autocommit() {
        // SQLite undoes everything by itself after some errors; a failure here changes nothing about `result`.
        let _ = conn.execute_batch(undo);
    }
    result
}

/// Writes the checksum file after the connection is gone.
struct Closer {
    files: Arc<Files>,
    ready: Cell<bool>,
    outcome: Arc<Mutex<Result<()>>>,
}

impl Drop for Closer {
    fn drop(&mut self) {
        if !self.ready.get() || Arc::strong_count(&self.files) != 1 {
            return;
        }
        let files = &self.files;
        let written = sums::write(&files.path, &files.side(SUMS), &files.side(SUMS_BUILDING));
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = written;
    }
}

/// How long closing waits for readers.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
