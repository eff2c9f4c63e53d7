//! What one look at a file tells: kind, size, owner, times, identity.

use rustix::fs::{FileType, Stat};

/// The kind of a file system entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// Whether the link leads to a folder; its stored path then ends with the separator.
        target_is_folder: bool,
    },
    /// Something that has no content to keep: "fifo", "socket", "block device", "character device"
    /// or "special file".
    Special(&'static str),
}

/// The facts of an entry as one `stat` call gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The kind of the entry.
    pub kind: FileKind,
    /// Length in bytes; for a link the length of its target text.
    pub size: u64,
    /// Permission bits including setuid, setgid and sticky (`mode & 07777`).
    pub mode: u32,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Time of the last change of content: seconds since 1970 (may be negative) and nanoseconds.
    pub mtime: (i64, u32),
    /// Time of the last change of content or facts, in the same form.
    pub ctime: (i64, u32),
    /// Number of the device.
    pub dev: u64,
    /// Number of the inode; unique together with `dev`.
    pub ino: u64,
    /// Number of names (hard links) of the entry.
    pub nlink: u64,
    /// Allocated units of 512 bytes; less than the size suggests for a sparse file.
    pub blocks: u64,
}

impl Facts {
    /// Whether the stored path of this entry ends with the separator: folders and links to folders.
    pub fn ends_with_separator(&self) -> bool {
        matches!(
            self.kind,
            FileKind::Folder
                | FileKind::Symlink {
                    target_is_folder: true
                }
        )
    }

    /// The facts of an open file.
    ///
    /// # Errors
    ///
    /// What the system reports.
    pub fn of_file(file: &std::fs::File) -> std::io::Result<Facts> {
        Ok(Facts::from_stat(&rustix::fs::fstat(file)?, false))
    }

    /// Facts from a `stat` result. `target_is_folder` only matters for a symbolic link.
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the field types of stat differ between targets"
    )]
    pub(crate) fn from_stat(stat: &Stat, target_is_folder: bool) -> Facts {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Folder,
            FileType::Symlink => FileKind::Symlink { target_is_folder },
            other => FileKind::Special(special_name(other)),
        };
        Facts {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: u32::from(stat.st_mode) & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (
                stat.st_mtime as i64,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            ctime: (
                stat.st_ctime as i64,
                u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
            ),
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            nlink: stat.st_nlink as u64,
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        }
    }
}

/// The name used in reports for a kind of entry that is never stored.
pub(crate) fn special_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::BlockDevice => "block device",
        FileType::CharacterDevice => "character device",
        _ => "special file",
    }
}
