//! How events and reports are told to people and scripts: Duplicati's sentences, lines, figures and exit codes, in one
//! place for every front end.
//!
//! Everything here gives text and prints nothing. Texts come as [`Line`]s, since a front end treats paths unlike words: a
//! terminal gets them made safe, a script as they are.

mod affected;
mod browse;
mod event;
mod full;
mod listing;
mod locks;
mod recovery;
mod reports;
mod time;

pub use affected::{affected, affected_log};
pub use browse::{file_versions_code, write_file_versions, write_folder};
pub use event::{Work, message, phase, transfer};
pub use full::full_result;
pub use listing::{Count, listing_code, versions, write_files};
pub use locks::{read_lock_info, read_lock_info_log, set_locks, set_locks_log};
pub use recovery::{recovery, recovery_log};
pub use reports::{
    Detail, Told, backup, backup_log, broken_files, broken_files_log, compact, compact_log,
    compare, compare_log, delete, delete_log, purge, purge_log, repair, repair_log, restore,
    restore_log, test, test_log, vacuum, vacuum_log,
};
pub use time::{local_time, time_text};

use serde::Serialize;

/// A line of a text, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Our own words; names in them are made safe wherever they are shown.
    Words(String),
    /// A stored path, which scripts read as it is.
    Path(String),
}

/// Writes a report as JSON (docs/guide/json.md), piece by piece: one may be larger than the memory.
///
/// # Errors
/// Those of the writer, and of a listing that cannot be read.
pub fn json<T: Serialize>(report: &T, out: &mut impl std::io::Write) -> std::io::Result<()> {
    Ok(serde_json::to_writer_pretty(out, report)?)
}
