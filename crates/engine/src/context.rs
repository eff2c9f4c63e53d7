//! What the engine takes from outside so that it stays testable: reporting here, stopping in [`crate::cancel`]. Time and
//! randomness are those of the destinations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use larder_destination::Random;

use crate::{Error, Result};

/// How important a message is (commands spec, logs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Level {
    /// Details for finding faults.
    Verbose,
    /// A repeated attempt.
    Retry,
    /// Normal progress.
    Information,
    /// What a dry run would do.
    DryRun,
    /// Something that a user should know once although nothing is wrong; shown unless another level was asked for.
    Notice,
    /// Something is not as it should be; the run goes on.
    Warning,
    /// Something failed; the run may go on.
    Error,
}

/// One message of a run.
#[derive(Clone, Debug)]
pub struct Message {
    /// Importance.
    pub level: Level,
    /// Stable identifier, e.g. `FileAccessError`.
    pub id: &'static str,
    /// One sentence.
    pub text: String,
}

/// The phases a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Listing the destination and comparing it with the catalog.
    CheckingRemote,
    /// Building or updating the local catalog from the destination.
    Rebuilding,
    /// Walking and reading the source.
    Backup,
    /// Waiting for the last uploads.
    Uploading,
    /// Checking what was stored.
    Verifying,
    /// Moving blocks and removing volumes that nobody needs.
    Compacting,
    /// Locking files against deletion, or asking for their locks.
    Locking,
    /// Reading version lists.
    ReadingLists,
    /// Looking at the files that exist in the target.
    CheckingTargets,
    /// Fetching volumes and writing files.
    Restoring,
    /// Applying times, owners and permissions.
    Metadata,
    /// Done.
    Completed,
}

/// A remote call as shown to people.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// Listing the folder.
    List,
    /// Sending a file.
    Put {
        /// Remote name.
        name: String,
        /// Length in bytes.
        size: u64,
    },
    /// Fetching a file.
    Get {
        /// Remote name.
        name: String,
        /// Length in bytes, 0 when unknown.
        size: u64,
    },
    /// Removing a file.
    Delete {
        /// Remote name.
        name: String,
        /// Length in bytes, 0 when unknown.
        size: u64,
    },
    /// Creating the folder.
    CreateFolder,
}

/// Figures of a running operation; all counters only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far (backup) or to restore.
    pub files_found: AtomicU64,
    /// Their bytes.
    pub bytes_found: AtomicU64,
    /// Files finished.
    pub files_done: AtomicU64,
    /// Bytes finished.
    pub bytes_done: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
    /// Bytes received.
    pub bytes_received: AtomicU64,
    /// True once all files have been counted.
    pub counted: AtomicBool,
}

/// Something that a run tells while it goes on.
#[derive(Clone, Debug)]
pub enum Event {
    /// The counters of this run, once at its start.
    Started(Arc<Progress>),
    /// A new phase.
    Phase(Phase),
    /// A remote call begins.
    Transfer(Transfer),
    /// A message.
    Message(Message),
}

/// Receives the events of a run. Called from many threads; must not block for long.
pub trait Monitor: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
    /// Whether messages of a level may be wanted; where they are not, those about single paths are not even made.
    fn wants(&self, _: Level) -> bool {
        true
    }
}

/// A monitor that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _: &Event) {}
}

/// Collects messages for the report and passes everything on.
pub struct Reporter {
    inner: Arc<dyn Monitor>,
    /// The counters shown while running.
    pub progress: Arc<Progress>,
    suppressed: Vec<String>,
    warnings: std::sync::Mutex<Vec<String>>,
    errors: std::sync::Mutex<Vec<String>>,
    warning_count: AtomicU64,
    error_count: AtomicU64,
    /// What was told once as a warning or an error is not told again.
    nothing_twice: AtomicBool,
}

/// Messages kept for the report; the rest is only counted.
const KEPT_MESSAGES: usize = 1000;

impl Reporter {
    /// A reporter in front of `inner`; warnings with an id in `suppressed` become information.
    #[must_use]
    pub fn new(inner: Arc<dyn Monitor>, suppressed: Vec<String>) -> Self {
        let progress = Arc::new(Progress::default());
        inner.event(&Event::Started(progress.clone()));
        Self {
            inner,
            progress,
            suppressed,
            warnings: std::sync::Mutex::default(),
            errors: std::sync::Mutex::default(),
            warning_count: AtomicU64::new(0),
            error_count: AtomicU64::new(0),
            nothing_twice: AtomicBool::new(false),
        }
    }

    /// Passes on a message; warnings and errors are counted.
    pub fn say(&self, level: Level, id: &'static str, text: impl Into<String>) {
        let text = text.into();
        let level = if level == Level::Warning && self.suppressed.iter().any(|s| s == id) {
            Level::Information
        } else {
            level
        };
        let (list, count) = match level {
            Level::Warning => (&self.warnings, &self.warning_count),
            Level::Error => (&self.errors, &self.error_count),
            _ => {
                self.inner
                    .event(&Event::Message(Message { level, id, text }));
                return;
            }
        };
        let kept = format!("[{id}] {text}");
        if let Ok(mut list) = list.lock() {
            if self.nothing_twice.load(Ordering::Relaxed) && list.contains(&kept) {
                return;
            }
            if list.len() < KEPT_MESSAGES {
                list.push(kept);
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        self.inner
            .event(&Event::Message(Message { level, id, text }));
    }

    /// From now on a warning or error that was told is not told again: the same is looked at once more.
    pub(crate) fn tell_nothing_twice(&self) {
        self.nothing_twice.store(true, Ordering::Relaxed);
    }

    /// A warning.
    pub fn warn(&self, id: &'static str, text: impl Into<String>) {
        self.say(Level::Warning, id, text);
    }

    /// An error that does not stop the run.
    pub fn error(&self, id: &'static str, text: impl Into<String>) {
        self.say(Level::Error, id, text);
    }

    /// Something to know although nothing is wrong.
    pub fn notice(&self, id: &'static str, text: impl Into<String>) {
        self.say(Level::Notice, id, text);
    }

    /// Normal progress.
    pub fn info(&self, id: &'static str, text: impl Into<String>) {
        self.say(Level::Information, id, text);
    }

    /// A detail.
    pub fn verbose(&self, id: &'static str, text: impl Into<String>) {
        self.say(Level::Verbose, id, text);
    }

    /// What a backup does with one path, or would do in a dry run.
    pub fn path(&self, dry_run: bool, id: &'static str, what: &str, path: &[u8]) {
        let level = if dry_run {
            Level::DryRun
        } else {
            Level::Verbose
        };
        if self.inner.wants(level) {
            let path = String::from_utf8_lossy(path);
            self.say(level, id, format!("{what} {path}"));
        }
    }

    /// A new phase.
    pub fn phase(&self, phase: Phase) {
        self.inner.event(&Event::Phase(phase));
    }

    /// A remote call begins.
    pub fn transfer(&self, transfer: Transfer) {
        self.inner.event(&Event::Transfer(transfer));
    }

    /// Warnings so far: the texts kept and how many there were.
    #[must_use]
    pub fn warnings(&self) -> (Vec<String>, u64) {
        let list = self.warnings.lock().map(|l| l.clone()).unwrap_or_default();
        (list, self.warning_count.load(Ordering::Relaxed))
    }

    /// Errors so far: the texts kept and how many there were.
    #[must_use]
    pub fn errors(&self) -> (Vec<String>, u64) {
        let list = self.errors.lock().map(|l| l.clone()).unwrap_or_default();
        (list, self.error_count.load(Ordering::Relaxed))
    }
}

/// Random bytes for names and keys.
pub(crate) fn random_bytes<const N: usize>(random: &dyn Random) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(no_randomness)?;
    Ok(bytes)
}

/// The error for a source of randomness that fails.
pub(crate) fn no_randomness(error: std::io::Error) -> Error {
    Error::Known {
        id: "NoRandomness",
        fault: crate::Fault::Environment,
        message: format!("the system's random number source failed: {error}"),
        hint: String::new(),
    }
}
