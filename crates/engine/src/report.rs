//! What an operation tells when it is done; field names are Duplicati's (commands spec 5.1) and stable.

use serde::Serialize;

use crate::found::FoundFiles;
use crate::guarded::GuardedSource;
use crate::pages::FoundEntries;
use crate::run::iso_time;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Default)]
pub enum Outcome {
    /// Nothing to complain about.
    #[default]
    Success,
    /// Something to look at.
    Warning,
    /// Something failed; the rest was done.
    Error,
}

/// Common part of all reports.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Common {
    /// Name of the operation, e.g. `Backup`.
    pub main_operation: String,
    /// How it ended.
    pub parsed_result: Outcome,
    /// True when the user stopped it.
    pub interrupted: bool,
    /// Program and version.
    pub version: String,
    /// Start, ISO 8601 UTC.
    pub begin_time: String,
    /// End, ISO 8601 UTC.
    pub end_time: String,
    /// `hh:mm:ss.fffffff`, days in front when there are any.
    pub duration: String,
    /// Number of warnings.
    pub warnings_actual_length: u64,
    /// Number of errors.
    pub errors_actual_length: u64,
    /// The first warnings.
    pub warnings: Vec<String>,
    /// The first errors.
    pub errors: Vec<String>,
    /// Remote work.
    pub backend_statistics: BackendStatistics,
}

/// Remote calls and volumes (bytes and counts; −1 where unknown).
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BackendStatistics {
    /// Calls made, repetitions included.
    pub remote_calls: u64,
    /// Bytes sent.
    pub bytes_uploaded: u64,
    /// Bytes received.
    pub bytes_downloaded: u64,
    /// Files sent.
    pub files_uploaded: u64,
    /// Files received.
    pub files_downloaded: u64,
    /// Files removed.
    pub files_deleted: u64,
    /// Folders created.
    pub folders_created: u64,
    /// Calls that had to be repeated.
    pub retry_attempts: u64,
    /// Volumes of this backup in the destination.
    pub known_file_count: u64,
    /// Their bytes.
    pub known_file_size: u64,
    /// Versions.
    pub known_filesets: u64,
    /// Total bytes of the destination.
    pub total_quota_space: i64,
    /// Free bytes of the destination.
    pub free_quota_space: i64,
    /// Bytes that the user grants this backup.
    pub assigned_quota_space: i64,
}

/// Result of `backup`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BackupReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// Versions that were deleted afterwards.
    pub deleted_sets: Vec<DeletedVersion>,
    /// What was freed after that; null when nobody looked.
    pub compact_results: Option<CompactResults>,
    /// Files in the previous version that are gone.
    pub deleted_files: u64,
    /// Folders in the previous version that are gone.
    pub deleted_folders: u64,
    /// Links in the previous version that are gone.
    pub deleted_symlinks: u64,
    /// Files whose content or metadata changed.
    pub modified_files: u64,
    /// Folders whose metadata changed.
    pub modified_folders: u64,
    /// Links that changed.
    pub modified_symlinks: u64,
    /// New files.
    pub added_files: u64,
    /// New folders.
    pub added_folders: u64,
    /// New links.
    pub added_symlinks: u64,
    /// Files looked at.
    pub examined_files: u64,
    /// Their bytes.
    pub size_of_examined_files: u64,
    /// Files read.
    pub opened_files: u64,
    /// Bytes read.
    pub size_of_opened_files: u64,
    /// Bytes of new files.
    pub size_of_added_files: u64,
    /// Bytes of changed files.
    pub size_of_modified_files: u64,
    /// Files left out for their size.
    pub too_large_files: u64,
    /// Special files passed over.
    pub not_processed_files: u64,
    /// Files that could not be read.
    pub files_with_error: u64,
    /// True when the version is incomplete.
    pub partial_backup: bool,
    /// True for a dry run.
    pub dryrun: bool,
    /// Name time of the new version, `yyyyMMddTHHmmssZ`; null when none was written.
    pub version_time: Option<String>,
    /// True when the run was stopped after the version list was begun to be sent: the version may exist.
    pub version_may_exist: bool,
    /// Sources that look lost, of which what the previous version has was kept.
    pub guarded_sources: Vec<GuardedSource>,
    /// Sample test after the backup.
    pub test_results: Option<TestReport>,
    /// What of the newest version was locked; null when nothing was to be.
    pub lock_results: Option<LockResults>,
}

/// How many files were locked. A part of the results of what locks.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LockResults {
    /// Files that were to be locked, or whose locks were asked for.
    pub volumes_read: u64,
    /// Those that are locked for the time that was asked for, or would be.
    pub volumes_updated: u64,
}

/// Result of `restore`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestoreReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// Files written or patched.
    pub restored_files: u64,
    /// Their bytes.
    pub size_of_restored_files: u64,
    /// Folders created.
    pub restored_folders: u64,
    /// Links created.
    pub restored_symlinks: u64,
    /// Existing files that were replaced.
    pub patched_files: u64,
    /// Existing files that were kept, with the restored ones beside them under other names.
    pub kept_files: u64,
    /// Files and folders whose time, permissions and attributes are lost.
    pub entries_without_metadata: u64,
    /// Files that were right already.
    pub unmodified_files: u64,
    /// Their bytes.
    pub size_of_unmodified_files: u64,
    /// Target folder; null for the original places.
    pub restore_path: Option<String>,
    /// Files that could not be written: the first ones, about 50,000.
    pub broken_local_files: Vec<String>,
    /// How many these are.
    pub broken_local_files_actual_length: u64,
    /// Files whose remote data is missing or damaged: the first ones, about 50,000.
    pub broken_remote_files: Vec<String>,
    /// How many these are.
    pub broken_remote_files_actual_length: u64,
    /// Name time of the version.
    pub version_time: Option<String>,
}

/// One finding in a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// `Missing`, `Extra`, `Modified` or `Error`.
    pub kind: &'static str,
    /// What exactly.
    pub detail: String,
}

/// What was found about one volume.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Verification {
    /// Remote name.
    pub file: String,
    /// Empty when nothing is wrong.
    pub findings: Vec<Finding>,
}

/// What a damaged or missing volume hurts.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Harm {
    /// Remote name of the damaged volume.
    pub file: String,
    /// Versions (0 = newest) that use it.
    pub versions: Vec<u64>,
    /// Paths that cannot be restored whole: the first hundred; with `--full-result` so many as take 4 MiB for all volumes.
    pub paths: Vec<String>,
    /// Whether there are others.
    pub more_paths: bool,
    /// How many entries these are in all versions.
    pub path_count: u64,
    /// Those of the paths of which only times and permissions are lost, in all of the versions.
    pub metadata_paths: Vec<String>,
    /// How many entries these are in all versions.
    pub metadata_count: u64,
}

/// Result of `test`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TestReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// All volumes looked at.
    pub verifications: Vec<Verification>,
    /// What the damage hurts.
    pub harm: Vec<Harm>,
}

impl TestReport {
    /// Volumes with findings.
    #[must_use]
    pub fn damaged(&self) -> usize {
        self.verifications
            .iter()
            .filter(|v| !v.findings.is_empty())
            .count()
    }
}

/// One version in a listing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionInfo {
    /// 0 = newest.
    pub version: u64,
    /// Name time in seconds since 1970 UTC.
    pub time: i64,
    /// False for a partial version.
    pub is_full_backup: bool,
    /// Its list cannot be read, so nothing is known of its files; left out of JSON when it can.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unreadable: bool,
    /// Files in it.
    pub file_count: u64,
    /// Files, folders and links in it.
    pub entry_count: u64,
    /// Bytes of its files.
    pub file_sizes: u64,
}

/// One path in a listing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedFile {
    /// Stored path; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// `File`, `Folder` or `Symlink`.
    pub kind: &'static str,
    /// Size in bytes for each listed version, in the order of [`ListReport::versions`]; null where absent; −1 for folders and links.
    pub sizes: Vec<Option<i64>>,
}

/// Result of `list` and `find`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// The versions looked at, newest first.
    pub versions: Vec<VersionInfo>,
    /// The matching paths; empty when only versions were asked for.
    pub files: FoundFiles,
}

/// Result of `list-folder-content`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FolderReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// What lies in the folders.
    pub entries: FoundEntries,
}

/// Result of `list-file-versions` and `search-files`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileVersionsReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// What was found, by path and then the newest version first.
    pub file_versions: FoundEntries,
    /// Numbers of the versions whose lists cannot be read.
    pub unreadable_versions: Vec<u64>,
}

/// A version that uses remote files that were asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AffectedVersion {
    /// Its number, 0 for the newest.
    pub version: u64,
    /// Its time in seconds since 1970 UTC; ISO 8601 in JSON.
    #[serde(serialize_with = "as_iso_time")]
    pub time: i64,
    /// Entries of it that use them.
    pub file_count: u64,
    /// Entries of it that would be lost without them.
    pub lost_count: u64,
}

/// A path that uses remote files that were asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AffectedFile {
    /// Stored path; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// In some version it would be lost without them.
    pub would_be_lost: bool,
}

/// A remote file that was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AffectedVolume {
    /// Its name.
    pub name: String,
    /// `Blocks`, `Index` or `List`.
    pub kind: &'static str,
    /// Its bytes, where they are known.
    pub size: Option<u64>,
    /// It is not at the destination any more.
    pub is_gone: bool,
    /// Data files: the blocks in it.
    pub blocks: u64,
    /// Data files: those of which a volume that was not asked about has a good copy.
    pub blocks_elsewhere: u64,
    /// Index files: the data files that it describes.
    pub describes: Vec<String>,
    /// Lists: the number of the version; null when it is none any more.
    pub version: Option<u64>,
}

/// Result of `affected`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AffectedReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// The versions that use the remote files, newest first.
    pub filesets: Vec<AffectedVersion>,
    /// The first hundred paths that use them; with `--full-result` all, up to 4 MiB.
    pub files: Vec<AffectedFile>,
    /// How many paths these are.
    pub files_actual_length: u64,
    /// How many of them would be lost in some version.
    pub lost_files_actual_length: u64,
    /// Entries of which not all blocks are known, so that they may use the remote files, too.
    pub unclear_entries: u64,
    /// The remote files.
    pub remote_volumes: Vec<AffectedVolume>,
    /// Numbers of the versions whose lists cannot be read.
    pub unreadable_versions: Vec<u64>,
}

/// A path that differs between two versions. Lists of triples have these names in Duplicati's results.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangeDetail {
    /// `Added`, `Deleted` or `Modified`.
    #[serde(rename = "Item1")]
    pub change: &'static str,
    /// `File`, `Folder` or `Symlink`.
    #[serde(rename = "Item2")]
    pub kind: &'static str,
    /// Stored path; bytes that are not UTF-8 are shown as U+FFFD.
    #[serde(rename = "Item3")]
    pub path: String,
}

/// Result of `compare`; sizes in bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompareReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// Number of the version to begin with.
    pub base_version_index: u64,
    /// Its time in seconds since 1970 UTC; ISO 8601 in JSON.
    #[serde(serialize_with = "as_iso_time")]
    pub base_version_timestamp: i64,
    /// Number of the version it is compared with.
    pub compare_version_index: u64,
    /// Its time.
    #[serde(serialize_with = "as_iso_time")]
    pub compare_version_timestamp: i64,
    /// The first changes of each kind in the order of their paths; with `--full-result` all, up to 4 MiB of paths.
    pub change_details: Vec<ChangeDetail>,
    /// How many changes there are.
    pub change_details_actual_length: u64,
    /// Folders only in the second version.
    pub added_folders: u64,
    /// Links only in the second version.
    pub added_symlinks: u64,
    /// Files only in the second version.
    pub added_files: u64,
    /// Folders only in the first version.
    pub deleted_folders: u64,
    /// Links only in the first version.
    pub deleted_symlinks: u64,
    /// Files only in the first version.
    pub deleted_files: u64,
    /// Folders that differ.
    pub modified_folders: u64,
    /// Links that differ.
    pub modified_symlinks: u64,
    /// Files that differ.
    pub modified_files: u64,
    /// Those of the modified ones whose content is the same.
    pub modified_metadata_only: u64,
    /// The files of the first version.
    pub previous_size: u64,
    /// The files of the second version.
    pub current_size: u64,
    /// The added files.
    pub added_size: u64,
    /// The deleted files.
    pub deleted_size: u64,
}

impl CompareReport {
    /// How many changes there are of one kind: `Added`, `Modified` or `Deleted`.
    #[must_use]
    pub fn of_kind(&self, change: &str) -> u64 {
        match change {
            "Added" => self.added_folders + self.added_symlinks + self.added_files,
            "Deleted" => self.deleted_folders + self.deleted_symlinks + self.deleted_files,
            _ => self.modified_folders + self.modified_symlinks + self.modified_files,
        }
    }

    /// How many changes there are.
    #[must_use]
    pub fn changes(&self) -> u64 {
        ["Added", "Modified", "Deleted"]
            .iter()
            .map(|change| self.of_kind(change))
            .sum()
    }
}

/// A version that was deleted. Lists of pairs have these names in Duplicati's results.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeletedVersion {
    /// Its number before the deletion, 0 for the newest.
    #[serde(rename = "Item1")]
    pub number: u64,
    /// Its time in seconds since 1970 UTC; ISO 8601 in JSON.
    #[serde(rename = "Item2", serialize_with = "as_iso_time")]
    pub time: i64,
    /// Its list.
    #[serde(skip)]
    pub list: String,
}

pub(crate) fn as_iso_time<S: serde::Serializer>(
    seconds: &i64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_time((*seconds, 0)))
}

pub(crate) fn as_iso_time_if_known<S: serde::Serializer>(
    seconds: &Option<i64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match seconds {
        Some(seconds) => as_iso_time(seconds, serializer),
        None => serializer.serialize_none(),
    }
}

/// Result of `delete`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// The versions that were deleted, or would be.
    pub deleted_sets: Vec<DeletedVersion>,
    /// Their number.
    pub deleted_sets_actual_length: u64,
    /// True when nothing was changed.
    pub dryrun: bool,
    /// What was freed afterwards; null when nobody looked.
    pub compact_results: Option<CompactResults>,
    /// Versions that were to go and stay, since the destination keeps them.
    #[serde(skip)]
    pub kept_sets: u64,
}

/// What `compact` did, or would do; sizes in bytes. A part of the results of what compacts besides.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompactResults {
    /// Files removed.
    pub deleted_file_count: u64,
    /// Old data files fetched to keep what is used of them.
    pub downloaded_file_count: u64,
    /// New files.
    pub uploaded_file_count: u64,
    /// Size of the removed files.
    pub deleted_file_size: u64,
    /// Size of the fetched files.
    pub downloaded_file_size: u64,
    /// Size of the new files; in a dry run about.
    pub uploaded_file_size: u64,
    /// True when nothing was changed.
    pub dryrun: bool,
    /// Always null: the catalog gives its space back by itself.
    pub vacuum_results: Option<()>,
    /// Data files before.
    pub data_files: u64,
    /// Their blocks, unpacked.
    pub data_size: u64,
    /// Those of their blocks that no version uses, unpacked.
    pub wasted_size: u64,
    /// Small data files before.
    pub small_files: u64,
    /// Data files that should have moved and cannot be read.
    pub files_left_alone: u64,
    /// Data files that should have gone or moved and are locked.
    pub files_locked: u64,
    /// Why nothing was done, when there is a reason other than that there is nothing to do.
    pub held_back: Option<String>,
}

/// Result of `compact`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompactReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// What was done.
    #[serde(flatten)]
    pub results: CompactResults,
}

/// Result of `set-locks` and `read-lock-info`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LocksReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// Figures.
    #[serde(flatten)]
    pub results: LockResults,
    /// `read-lock-info`: those of the files that are locked now.
    pub locked_volumes: u64,
    /// When the first of these locks ends, in seconds since 1970 UTC, ISO 8601 in JSON; null when there is none.
    #[serde(serialize_with = "as_iso_time_if_known")]
    pub first_end: Option<i64>,
    /// When the last of them ends.
    #[serde(serialize_with = "as_iso_time_if_known")]
    pub last_end: Option<i64>,
    /// True when nothing was changed.
    pub dryrun: bool,
}

/// Result of `vacuum`; sizes in bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VacuumReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// The local catalog; null when there is none.
    pub database_path: Option<String>,
    /// Its size before.
    pub size_before: u64,
    /// Its size afterwards.
    pub size_after: u64,
    /// True when a copy was made smaller, to see what it would become.
    pub dryrun: bool,
}

/// Result of `purge`; sums over all versions.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PurgeReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// Files taken out.
    pub removed_file_count: u64,
    /// Their bytes.
    pub removed_file_size: u64,
    /// Files, folders and links taken out.
    pub removed_entry_count: u64,
    /// Version lists written anew.
    pub rewritten_file_lists: u64,
    /// Entries whose lost metadata was replaced.
    pub updated_file_count: u64,
    /// Versions that were deleted since nothing was left of them.
    pub deleted_sets: Vec<DeletedVersion>,
    /// True when nothing was changed.
    pub dryrun: bool,
    /// What was freed afterwards; null when nobody looked.
    pub compact_results: Option<CompactResults>,
}

/// Result of `list-broken-files`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BrokenFilesReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// The versions with such files, oldest first.
    pub broken_files: Vec<BrokenVersion>,
}

/// A version with files of which something is lost. Lists of triples have these names in Duplicati's results.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BrokenVersion {
    /// 0 = newest.
    #[serde(rename = "Item1")]
    pub number: u64,
    /// Its time in seconds since 1970 UTC; ISO 8601 in JSON.
    #[serde(rename = "Item2", serialize_with = "as_iso_time")]
    pub time: i64,
    /// The first five; with `--full-result` all, up to 4 MiB of paths for all versions.
    #[serde(rename = "Item3")]
    pub files: Vec<BrokenFile>,
    /// How many there are.
    #[serde(rename = "Item3ActualLength")]
    pub count: u64,
}

/// An entry of which something is lost.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BrokenFile {
    /// Stored path; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// Bytes; −1 for folders and links.
    pub size: i64,
    /// Its content is there.
    pub only_metadata: bool,
}

/// Result of `repair`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RepairReport {
    /// Common part.
    #[serde(flatten)]
    pub common: Common,
    /// True when the local catalog was built anew.
    pub rebuilt: bool,
    /// Volumes known afterwards.
    pub volumes: u64,
    /// Blocks known afterwards.
    pub blocks: u64,
    /// Versions known afterwards.
    pub versions: u64,
    /// dindex files written because they were missing.
    pub indexes_written: u64,
    /// Versions whose lists are gone, and which are taken as deleted from now on.
    pub versions_given_up: u64,
    /// Version lists that were lost or damaged, and are stored again.
    pub lists_written: u64,
    /// Lost blocks that were found in files that still exist, and are stored again.
    pub blocks_restored: u64,
    /// Lost volumes that are still missed.
    pub lasting_losses: u64,
    /// Damaged data files that are not needed any more.
    pub files_not_needed: u64,
    /// Files with the names of data or index volumes that cannot be read.
    pub unreadable_files: Vec<String>,
    /// Why none of them may get another name now.
    #[serde(skip)]
    pub why_unreadable_stay: Option<String>,
    /// Those that were such files, and have another name now.
    pub files_moved_aside: Vec<String>,
    /// Files that were moved aside earlier and are deleted.
    pub aside_files_deleted: Vec<String>,
    /// True when nothing was changed.
    pub dryrun: bool,
}
