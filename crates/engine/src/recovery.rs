//! Getting files back without catalog and, after a download, without the destination: the way for bad days.
//!
//! It needs no more than a plain folder with decrypted list and data volumes, and tolerates damage: what is missing or
//! wrong costs only what was in it. Each step leaves something that the next one, or a person, can work with.
//!
//! 1. `download` fetches and decrypts the list and data volumes (`wanted`) into the folder.
//! 2. `index` writes a text file that says which data volume holds which block.
//! 3. `listing` shows versions and their files.
//! 4. `restore` chooses a version and `restoring` writes its files; `blocks` finds what they consist of.
//!
//! Memory: the volumes being fetched, or the directories of the volumes that are open; never anything for each file or
//! block of the backup.

mod blocks;
mod download;
mod folder;
mod index;
mod listing;
mod restore;
mod restoring;
mod wanted;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use larder_destination::{Clock, Random};
use larder_options::{Secret, Values, engine as opt};
use serde::Serialize;

pub use restore::RecoveryRequest;

use crate::cancel::Cancel;
use crate::context::{Monitor, Reporter};
use crate::crypt::{Crypt, Outside};
use crate::report::Common;
use crate::repository::locked;
use crate::run::common;
use crate::settings::Settings;
use crate::sync::describe;
use crate::transfer::TransferCounts;
use crate::unpacking::Unpacking;
use crate::{Error, Result};

/// What a recovery or the file tool of AES Crypt needs.
pub struct ToolSetup {
    /// Options of the engine.
    pub values: Values,
    /// Key of the volumes; `None` when it is not known.
    pub passphrase: Option<Secret>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of randomness.
    pub random: Arc<dyn Random>,
    /// Hears what happens.
    pub monitor: Arc<dyn Monitor>,
    /// Stops it.
    pub cancel: Cancel,
}

/// One operation of a recovery.
pub struct Recovery {
    settings: Settings,
    values: Values,
    crypt: Crypt,
    reporter: Arc<Reporter>,
    cancel: Cancel,
    clock: Arc<dyn Clock>,
    unpacking: Unpacking,
    started: (i64, u32),
    /// Volumes that were told to be damaged.
    damaged: Mutex<BTreeSet<String>>,
}

/// What a download did, or an index holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecoveryReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// The folder with the volumes.
    pub folder: String,
    /// Download: files that were fetched.
    pub fetched_files: u64,
    /// Download: files that were there already, whole.
    pub present_files: u64,
    /// Index: the file that was written.
    pub index_file: Option<String>,
    /// Index: data volumes that were read.
    pub volumes: u64,
    /// Index: blocks found in them.
    pub blocks: u64,
    /// Volumes that are damaged or cannot be had, in order.
    pub damaged_files: Vec<String>,
}

impl Recovery {
    /// Begins an operation; touches nothing.
    ///
    /// # Errors
    /// Wrong options.
    pub fn new(setup: ToolSetup) -> Result<Self> {
        let settings = Settings::read(&setup.values)?;
        let suppressed = setup.values.find(opt::SUPPRESS_WARNINGS)?;
        let outside = Outside {
            random: setup.random,
            clock: Arc::clone(&setup.clock),
            cancel: setup.cancel.clone(),
        };
        Ok(Self {
            crypt: Crypt::new(&settings, setup.passphrase, outside),
            reporter: Arc::new(Reporter::new(setup.monitor, suppressed.unwrap_or_default())),
            settings,
            values: setup.values,
            cancel: setup.cancel,
            started: setup.clock.now(),
            clock: setup.clock,
            unpacking: Unpacking::default(),
            damaged: Mutex::default(),
        })
    }

    /// Adds a warning of the caller to the report.
    pub fn warn(&self, id: &'static str, text: String) {
        self.reporter.warn(id, text);
    }

    fn common(&self, operation: &str, counts: &TransferCounts) -> Common {
        let times = (self.started, self.clock.now());
        common((operation, false), &self.reporter, counts, times)
    }

    fn report(&self, folder: PathBuf, counts: &TransferCounts) -> RecoveryReport {
        RecoveryReport {
            common: self.common("Recovery", counts),
            folder: folder.display().to_string(),
            damaged_files: locked(&self.damaged).iter().cloned().collect(),
            ..RecoveryReport::default()
        }
    }

    /// Says once that a volume is damaged, and what of it is lost by that.
    fn tell_damaged(&self, file: &str, id: &'static str, why: &dyn std::error::Error, cost: &str) {
        if !locked(&self.damaged).insert(file.to_owned()) {
            return;
        }
        let mut text = describe(why);
        if !text.contains(file) {
            text = format!("{file}: {text}");
        }
        self.reporter.error(id, format!("{text}; {cost}"));
    }
}

/// Whether an error concerns one volume of the folder. A disk that does not give out one file may give the others.
fn is_of_volume(error: &Error) -> bool {
    matches!(error, Error::Volume { .. } | Error::Io { .. })
}

/// What is added to the name of a volume that is damaged and holds something nevertheless.
const DAMAGED_ENDING: &str = ".damaged";
