//! An open backup: destination, catalog, keys and settings. Long-lived, and shared by all runs on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder_catalog::{Catalog, Opened};
use larder_destination::{Clock, Destination, Random};
use larder_options::{Secret, Values};
use larder_volume::Format;
use tokio::runtime::{Handle, Runtime};

use crate::cancel::Cancel;
use crate::context::{Level, Monitor, Reporter};
use crate::run::Run;
use crate::settings::Settings;
use crate::{Error, Result};

/// Everything needed to open a backup.
pub struct Setup {
    /// Where the volumes are.
    pub destination: Arc<dyn Destination>,
    /// Options of the engine.
    pub values: Values,
    /// Key of the volumes; `None` when it is not known.
    pub passphrase: Option<Secret>,
    /// The local catalog's file; it is created when missing and replaced when damaged.
    pub state_path: PathBuf,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of randomness.
    pub random: Arc<dyn Random>,
    /// Where remote calls run ([`network_runtime`]).
    pub runtime: Handle,
    /// True for commands that write to the destination.
    pub writes: bool,
    /// The database of another program for the same backup, when the caller knows of one.
    pub foreign_database: Option<PathBuf>,
}

/// An open backup.
///
/// It holds what outlives a single operation. Each operation is a [`Run`] of its own, with its own counts, so that a
/// second one in the same process begins clean.
pub struct Repository {
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) runtime: Handle,
    pub(crate) settings: Arc<Settings>,
    pub(crate) values: Arc<Values>,
    pub(crate) passphrase: Option<Secret>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) state_path: PathBuf,
    pub(crate) writes: bool,
    pub(crate) foreign_database: Option<PathBuf>,
    catalog: Mutex<Option<Catalog>>,
    format: Mutex<Option<Format>>,
    /// That the catalog had to be replaced when it was opened; the first run tells it.
    replaced: Mutex<Option<Opened>>,
}

impl Repository {
    /// Opens a backup; touches nothing remote.
    ///
    /// # Errors
    /// Wrong options, or a catalog file that can neither be used nor replaced.
    pub fn open(setup: Setup) -> Result<Arc<Self>> {
        let settings = Settings::read(&setup.values)?;
        let repository = Self {
            destination: setup.destination,
            runtime: setup.runtime,
            settings: Arc::new(settings),
            values: Arc::new(setup.values),
            passphrase: setup.passphrase,
            clock: setup.clock,
            random: setup.random,
            state_path: setup.state_path,
            writes: setup.writes,
            foreign_database: setup.foreign_database,
            catalog: Mutex::new(None),
            format: Mutex::new(None),
            replaced: Mutex::new(None),
        };
        repository.open_catalog()?;
        Ok(Arc::new(repository))
    }

    /// Copies a catalog that nobody works on, for a dry run: nothing is changed there, not even by a look into it. A copy
    /// that is not whole is noticed when it is opened, and built anew.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy_closed_catalog(from: &Path, to: &Path) -> Result<()> {
        Ok(larder_catalog::copy_closed(from, to)?)
    }

    /// Copies the catalog of a backup that another process works on, so that it can be read beside that.
    ///
    /// # Errors
    /// There is no catalog, it is damaged or being built, or the copy cannot be written.
    pub fn copy_catalog(from: &Path, to: &Path) -> Result<()> {
        Ok(Catalog::copy(from, to)?)
    }

    /// Begins an operation that reports to `monitor` and stops when `cancel` is set.
    ///
    /// # Errors
    /// Wrong options.
    pub fn run(self: &Arc<Self>, monitor: Arc<dyn Monitor>, cancel: Cancel) -> Result<Run> {
        Run::new(Arc::clone(self), monitor, cancel)
    }

    /// Closes the catalog so that the next opening can trust it. Runs that are still open find it closed.
    ///
    /// # Errors
    /// A failure to write it; nothing is lost by that.
    pub fn close(&self) -> Result<()> {
        match self.lock_catalog().take() {
            Some(catalog) => Ok(catalog.close()?),
            None => Ok(()),
        }
    }

    fn open_catalog(&self) -> Result<()> {
        if let Some(folder) = self.state_path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let (catalog, opened) = Catalog::open(&self.state_path).map_err(|error| match error {
            larder_catalog::Error::Busy { pid } => in_use(pid),
            other => Error::Catalog(other),
        })?;
        if matches!(opened, Opened::Replaced { .. }) {
            *locked(&self.replaced) = Some(opened);
        }
        *self.lock_catalog() = Some(catalog);
        Ok(())
    }

    /// Tells, once, that the catalog was replaced when it was opened, and where the old file is.
    pub(crate) fn tell_replaced(&self, reporter: &Reporter) {
        let Some(Opened::Replaced {
            reason,
            kept_as,
            was_ours,
        }) = locked(&self.replaced).take()
        else {
            return;
        };
        let (path, kept_as) = (self.state_path.display(), kept_as.display());
        let (level, what) = match was_ours {
            true => (
                Level::Information,
                format!("the local catalog {path} was unusable"),
            ),
            // It may be somebody's.
            false => (
                Level::Notice,
                format!("{path} is the place of the local catalog and was something else"),
            ),
        };
        let text = format!(
            "{what} ({reason}); that file is now {kept_as}, and the catalog is built anew from the destination"
        );
        reporter.say(level, "CatalogReplaced", text);
    }

    fn lock_catalog(&self) -> MutexGuard<'_, Option<Catalog>> {
        locked(&self.catalog)
    }

    /// Works with the catalog.
    pub(crate) fn catalog<R>(
        &self,
        work: impl FnOnce(&mut Catalog) -> larder_catalog::Result<R>,
    ) -> Result<R> {
        match self.lock_catalog().as_mut() {
            Some(catalog) => Ok(work(catalog)?),
            None => Err(Error::Bug("the catalog is closed".into())),
        }
    }

    /// Sets the catalog aside and starts an empty one, without letting other processes in; the remote side is the truth.
    pub(crate) fn discard_catalog(&self) -> Result<()> {
        *locked(&self.format) = None;
        let mut held = self.lock_catalog();
        let Some(catalog) = held.take() else {
            drop(held);
            return self.open_catalog();
        };
        let (fresh, _) = catalog.replace()?;
        *held = Some(fresh);
        Ok(())
    }

    /// The backup's format, as far as it is known.
    pub(crate) fn known_format(&self) -> Option<Format> {
        *locked(&self.format)
    }

    /// Notes the format.
    pub(crate) fn remember(&self, format: Format) {
        *locked(&self.format) = Some(format);
    }
}

/// The runtime for remote calls of a program: two threads that move bytes, and as many for blocking calls as there are
/// transfers, since a local destination blocks one for writing and one for reading.
///
/// # Errors
/// When the system gives no threads.
pub fn network_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("larder-net")
        .enable_all()
        .build()
        .map_err(|error| Error::io("(network runtime)", error))
}

/// The error for a catalog that another process holds.
fn in_use(pid: Option<u32>) -> Error {
    let who = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
    Error::user(
        "BackupInUse",
        format!("another run{who} is working on this backup"),
        "wait until it has ended",
    )
}

/// The content of a lock; a panic elsewhere does not make it unusable.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
