//! What is backed up and how changes are found.

use super::choices::{HardlinkChoice, SnapshotChoice, SymlinkChoice};
use super::shared::{MACOS, WINDOWS};
use crate::{Choice, Group, Kind, SizeUnit, Status};

const POLICY: Kind = Kind::Choice(SnapshotChoice::NAMES);

table! { Group::Sources;
    INCLUDE: String = "include", Kind::Filter,
        "Includes the paths that match this filter.",
        long: "May be given many times. Includes and excludes form one list in the order given, and the first that \
               matches a path decides.";
    EXCLUDE: String = "exclude", Kind::Filter,
        "Excludes the paths that match this filter.",
        long: "May be given many times. A folder's path ends in a separator, so */tmp/ excludes folders and */tmp \
               files. An excluded folder is not entered.";
    SKIP_FILES_LARGER_THAN: u64 = "skip-files-larger-than", Kind::Size { unit: SizeUnit::Mib },
        "Leaves out files larger than this.",
        long: "0 is no limit. It acts on backup and on restore.";
    EXCLUDE_FILES_ATTRIBUTES: Vec<String> = "exclude-files-attributes",
        Kind::Flags(&[
            "ReadOnly", "Hidden", "System", "Directory", "Archive", "Device", "Normal", "Temporary", "SparseFile",
            "ReparsePoint", "Compressed", "Offline", "NotContentIndexed", "Encrypted", "IntegrityStream", "NoScrubData",
            "Virtual", "ExtendedAttributes", "RecallOnOpen", "Pinned", "Unpinned", "RecallOnDataAccess",
        ]),
        "Leaves out files and folders that have one of these attributes.",
        long: "On Linux and macOS, Hidden is a name that starts with a dot, ReadOnly a missing right to write, \
               ReparsePoint a symbolic link, Directory a folder and Normal a plain file; the others never occur.";
    EXCLUDE_EMPTY_FOLDERS: bool = "exclude-empty-folders", Kind::Bool,
        "Leaves out folders that hold nothing to back up.";
    IGNORE_FILENAMES: Vec<String> = "ignore-filenames", Kind::PathList,
        "Leaves out every folder that holds a file of one of these names.",
        default: Some("CACHEDIR.TAG"),
        long: "Source folders themselves are not affected. An empty value switches this off.";
    DISABLE_BACKUP_EXCLUSION_XATTR: bool = "disable-backup-exclusion-xattr", Kind::Bool,
        "Backs up files that are marked by an extended attribute as not to be backed up.",
        advanced: true,
        long: "The marks are user.duplicati.exclude and duplicati.exclude on Linux, and \
               com.apple.metadata:com_apple_backup_excludeItem on macOS.";
    EXCLUDE_NON_LOCAL_FILES: bool = "exclude-non-local-files", Kind::Bool,
        "Leaves out files whose content is only in the cloud.",
        advanced: true,
        status: WINDOWS;
    SYMLINK_POLICY: SymlinkChoice = "symlink-policy", Kind::Choice(SymlinkChoice::NAMES),
        "Chooses what happens to symbolic links.",
        default: Some("Store"),
        long: "Store keeps the link itself, Follow backs up what it points to, Ignore leaves it out.";
    HARDLINK_POLICY: HardlinkChoice = "hardlink-policy", Kind::Choice(HardlinkChoice::NAMES),
        "Chooses what happens to files with several hard links.",
        default: Some("All"),
        long: "All treats each path as a file of its own, First takes only the first path found, None leaves such files \
               out.";
    ALLOW_MISSING_SOURCE: bool = "allow-missing-source", Kind::Bool,
        "Says nothing when a source is missing.",
        long: "Normally there is a warning and the backup goes on with the others. What the version before has of it stays \
               in the new one in any case; with this option that is no reason for another exit code, and old versions are \
               deleted as usual.";
    ABORT_IF_SOURCE_MISSING: bool = "abort-if-source-missing", Kind::Bool,
        "Stops the backup when a source is missing.",
        long: "Stronger than allow-missing-source.";
    PREVENT_EMPTY_SOURCE: bool = "prevent-empty-source", Kind::Bool,
        "Stops the backup when a source folder is empty.",
        long: "Protects against a disk that is not mounted.";
    MAX_SOURCE_LOSS: i64 = "max-source-loss", Kind::Integer { min: 0, max: 99 },
        "Keeps what is known of a source of which more than this share of the files is gone, in percent.",
        default: Some("90"),
        long: "It holds for sources that had 100 files or more. A file that is gone does not count when the source has a new \
               one instead, since most often it has only another name. The list of the version before is kept for that \
               source, the exit code is 51, and no old version is deleted. 0 switches it off. Not an option of Duplicati.";
    MAX_SOURCE_CHANGE: i64 = "max-source-change", Kind::Integer { min: 0, max: 99 },
        "Keeps what is known of a source of which more than this share of the files has other content, in percent.",
        default: Some("0"),
        long: "Against programs that encrypt all files. A file that is gone counts as well when the source has a new one \
               instead. It holds for sources that had 100 files or more, in the same way as max-source-loss. While so much \
               is new or gone, no partial versions are made. 0 switches it off. Not an option of Duplicati.";
    ACCEPT_SOURCE_CHANGES: bool = "accept-source-changes", Kind::Bool,
        "Takes the sources as they are, also when one is missing, empty, or has lost or changed most of its files.",
        long: "To be given once, after a look at the source. Normally what is known of such a source is kept. Not an option \
               of Duplicati.";
    CHANGED_FILES: Vec<String> = "changed-files", Kind::PathList,
        "Looks only at these files for changes.",
        advanced: true,
        long: "Everything else is taken over from the version before.",
        status: Status::NotYet;
    DELETED_FILES: Vec<String> = "deleted-files", Kind::PathList,
        "Treats these files as deleted.",
        advanced: true,
        long: "Only together with changed-files.",
        status: Status::NotYet;
    DISABLE_FILETIME_CHECK: bool = "disable-filetime-check", Kind::Bool,
        "Reads every file, even if its time and size have not changed.",
        long: "Finds changes that left no trace in the time stamp, at the cost of reading everything.";
    CHECK_FILETIME_ONLY: bool = "check-filetime-only", Kind::Bool,
        "Takes a file with an unchanged time stamp as unchanged, whatever its size and metadata.",
        advanced: true;
    IGNORE_INODE_CHANGES: bool = "ignore-inode-changes", Kind::Bool,
        "Takes a file with unchanged time, size and metadata as unchanged, even if its inode or change time (ctime) is \
         another.",
        advanced: true,
        long: "Otherwise such a file is read, which finds changes whose time was set back. For file systems that give \
               files other inodes or change times at each mount.";
    SKIP_METADATA: bool = "skip-metadata", Kind::Bool,
        "Stores no metadata, or restores none.",
        long: "Metadata are times, owners, rights and extended attributes.";
    STORE_METADATA_CONTENT_IN_DATABASE: bool = "store-metadata-content-in-database", Kind::Bool,
        "Keeps metadata in the local database too.",
        advanced: true,
        status: Status::NotNeeded { why: "the local database holds what changes are found by" };
    DISABLE_FILE_SCANNER: bool = "disable-file-scanner", Kind::Bool,
        "Does not count the files beforehand.",
        advanced: true,
        long: "The progress display then knows no total.",
        status: Status::NotNeeded { why: "files are counted while they are looked at, not beforehand" };
    SNAPSHOT_POLICY: SnapshotChoice = "snapshot-policy", POLICY,
        "Chooses whether files are read from a snapshot of the file system.",
        default: Some("Off"),
        long: "Auto uses one where possible, On warns where it is not, Required stops. On Linux this needs LVM and \
               root.";
    SNAPSHOT_PROVIDER: String = "snapshot-provider", Kind::Text,
        "Chooses the maker of snapshots.",
        advanced: true,
        status: WINDOWS;
    VSS_EXCLUDE_WRITERS: String = "vss-exclude-writers", Kind::Text,
        "Leaves out these writers of the shadow copy service.",
        default: Some("{e8132975-6f93-4464-a53e-1050253ae220}"),
        advanced: true,
        status: WINDOWS;
    VSS_USE_MAPPING: bool = "vss-use-mapping", Kind::Bool,
        "Gives the shadow copy a drive letter.",
        advanced: true,
        status: WINDOWS;
    USN_POLICY: SnapshotChoice = "usn-policy", POLICY,
        "Chooses whether the change journal of NTFS is used.",
        default: Some("Off"),
        advanced: true,
        status: WINDOWS;
    BACKUPREAD_POLICY: SnapshotChoice = "backupread-policy", POLICY,
        "Chooses whether files are read with backup privilege.",
        default: Some("Off"),
        advanced: true,
        status: WINDOWS;
    ENABLE_ADS_BACKUP: bool = "enable-ads-backup", Kind::Bool,
        "Backs up alternate data streams.",
        advanced: true,
        status: WINDOWS;
    DISABLE_ADS_RESTORE: bool = "disable-ads-restore", Kind::Bool,
        "Does not restore alternate data streams.",
        advanced: true,
        status: WINDOWS;
    HYPERV_IGNORE_CLIENT_WARNING: bool = "hyperv-ignore-client-warning", Kind::Bool,
        "Says nothing about Hyper-V on a client system.",
        advanced: true,
        status: WINDOWS;
    IGNORE_ADVISORY_LOCKING: bool = "ignore-advisory-locking", Kind::Bool,
        "Reads files that another program holds an advisory lock on.",
        advanced: true,
        status: Status::NotNeeded { why: "advisory locks never keep files from being read" };
    PHOTOS_HANDLING: String = "photos-handling", Kind::Choice(&["PhotosAndLibrary", "PhotosOnly", "LibraryOnly"]),
        "Chooses how the photo library is read.",
        default: Some("PhotosAndLibrary"),
        advanced: true,
        status: MACOS;
    PHOTOS_LIBRARY_PATH: String = "photos-library-path", Kind::Path,
        "Names the photo library.",
        advanced: true,
        status: MACOS;
    DISABLE_ON_BATTERY: bool = "disable-on-battery", Kind::Bool,
        "Starts no scheduled run while the computer runs on battery.",
        advanced: true,
        status: Status::NotYet;
}
