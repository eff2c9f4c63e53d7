//! The engine: backup, restore, list, verify and repair of Duplicati-format backups.
//!
//! It knows no provider, no URL and no terminal. A [`Repository`] is a backup that is open; a [`Run`] is one operation on
//! it, with a method for each kind that returns a report. The remote side is the truth, the local catalog a cache that is mended unasked
//! (`sync`); all remote calls go through one place (`transfer`); formats come from `larder_volume`.

mod aescrypt;
mod backup;
mod broken;
mod browse;
mod budget;
mod cancel;
mod compact;
mod compare;
mod context;
mod control_files;
mod crypt;
mod data;
mod delete;
mod doubt;
mod entries;
mod error;
mod found;
mod gpg;
mod guarded;
mod identity;
mod listing;
mod locks;
mod losses;
mod missing;
mod named;
mod notes;
mod outage;
mod own;
mod pages;
mod phases;
mod purge;
mod quota;
mod recovery;
mod repair;
mod replace;
mod report;
mod repository;
mod restore;
mod retention;
mod run;
mod settings;
mod settle;
mod sync;
mod temporary;
mod transfer;
mod unpacking;
mod vacuum;
mod verification_file;
mod verify;
mod versions;
mod volumes;
pub mod words;
mod workers;

pub use aescrypt::{AesCrypt, Decrypting};
pub use backup::BackupRequest;
pub use browse::{FolderRequest, HistoryRequest, SearchRequest};
pub use cancel::{Cancel, Stopping};
pub use compare::CompareRequest;
pub use context::{Event, Level, Message, Monitor, Phase, Progress, Silent, Transfer};
pub use error::{Error, Fault, Result};
// Time and randomness, as every part takes them.
pub use found::FoundFiles;
pub use guarded::{GuardReason, GuardedSource};
pub use larder_destination::{Clock, FixedClock, Random, SystemClock, SystemRandom};
pub use listing::ListRequest;
pub use pages::{Change, FoundEntries, FoundEntry, Page};
pub use purge::PurgeRequest;
pub use recovery::{Recovery, RecoveryReport, RecoveryRequest, ToolSetup};
pub use report::{
    AffectedFile, AffectedReport, AffectedVersion, AffectedVolume, BackendStatistics, BackupReport,
    BrokenFile, BrokenFilesReport, BrokenVersion, ChangeDetail, Common, CompactReport,
    CompactResults, CompareReport, DeleteReport, DeletedVersion, FileVersionsReport, Finding,
    FolderReport, Harm, ListReport, ListedFile, LockResults, LocksReport, Outcome, PurgeReport,
    RepairReport, RestoreReport, TestReport, VacuumReport, Verification, VersionInfo,
};
pub use repository::{Repository, Setup, network_runtime};
pub use restore::RestoreRequest;
pub use run::Run;
pub use settings::MIN_DBLOCK_BYTES;
pub use verification_file::is_stored_name;
pub use verify::Samples;
// What callers need to fill a request.
pub use larder_catalog::{Occupant, is_companion as is_companion_of_catalog};
/// Sources, filters and what else a request is made of, so that its caller needs no arrow of its own.
pub use larder_source as source;
