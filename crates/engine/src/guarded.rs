//! What a backup tells of a source that looked lost.

use serde::Serialize;

/// Why what the previous version has of a source was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum GuardReason {
    /// Nothing is found at its path.
    Missing,
    /// It was a folder, and something else is there.
    NoFolder,
    /// It is a folder with nothing in it.
    Empty,
    /// It has no file any more, or more of them are gone than `--max-source-loss` allows, counted without those in whose place
    /// new ones came.
    Lost,
    /// It was there when the run began, and another file system or nothing is at its path now.
    WentAway,
    /// More of its files have other content, or gave place to new ones, than `--max-source-change` allows.
    Changed,
}

/// A source of which a backup kept what the previous version has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GuardedSource {
    /// Its path, without a separator at the end; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// Why.
    pub reason: GuardReason,
    /// Files that the previous version has of it.
    pub files_before: u64,
    /// Those of them that are gone.
    pub files_lost: u64,
    /// Those of them that have other content.
    pub files_changed: u64,
    /// Files there that the previous version does not have.
    pub files_new: u64,
}
