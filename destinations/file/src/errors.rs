//! What an error of the operating system means for a backup.

use std::io;
use std::path::Path;

use larder_destination::{Error, ErrorKind, Operation};
use rustix::io::Errno;

use crate::SCHEME;

/// Turns an error of the file system into one of the destination.
///
/// A missing file is looked at twice: when the folder is missing, that is the news, because a disk that is not mounted
/// must never look like lost files.
pub(crate) fn explain(error: io::Error, operation: Operation, folder: &Path, name: &str) -> Error {
    let mut kind = kind_of(&error);
    if kind == ErrorKind::NotFound && (name.is_empty() || !folder.is_dir()) {
        kind = ErrorKind::FolderMissing;
    }
    let (message, object) = match kind {
        ErrorKind::FolderMissing => (
            "the folder does not exist".to_owned(),
            folder.display().to_string(),
        ),
        ErrorKind::NotFound => ("there is no such file".to_owned(), name.to_owned()),
        _ if name.is_empty() => (error.to_string(), folder.display().to_string()),
        _ => (error.to_string(), folder.join(name).display().to_string()),
    };
    Error::new(kind, SCHEME, operation, message)
        .object(object)
        .caused_by(error)
}

/// The folder is not the one it was when the destination was opened.
pub(crate) fn marker_missing(operation: Operation, folder: &Path, marker: &str) -> Error {
    let message = format!("the marker file {marker} is gone; is the disk still mounted?");
    Error::new(ErrorKind::FolderMissing, SCHEME, operation, message)
        .object(folder.display().to_string())
}

fn kind_of(error: &io::Error) -> ErrorKind {
    let Some(errno) = Errno::from_io_error(error) else {
        return match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::TimedOut => ErrorKind::Network,
            _ => ErrorKind::Other,
        };
    };
    match errno {
        Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::NOSPC | Errno::DQUOT => ErrorKind::Quota,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Denied,
        Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => ErrorKind::Exists,
        Errno::IO
        | Errno::STALE
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::TIMEDOUT
        | Errno::NOTCONN
        | Errno::CONNABORTED
        | Errno::CONNRESET
        | Errno::CONNREFUSED
        | Errno::PIPE
        | Errno::AGAIN
        | Errno::BUSY => ErrorKind::Network,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_sorted() {
        for (errno, kind) in [
            (Errno::NOSPC, ErrorKind::Quota),
            (Errno::DQUOT, ErrorKind::Quota),
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::PERM, ErrorKind::Denied),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::IO, ErrorKind::Network),
            (Errno::STALE, ErrorKind::Network),
            (Errno::HOSTDOWN, ErrorKind::Network),
            (Errno::TIMEDOUT, ErrorKind::Network),
            (Errno::NOTCONN, ErrorKind::Network),
            (Errno::ISDIR, ErrorKind::Exists),
            (Errno::NAMETOOLONG, ErrorKind::Other),
        ] {
            let error = explain(errno.into(), Operation::Put, Path::new("/"), "x");
            assert_eq!(*error.kind(), kind, "{errno}");
            assert_eq!(error.object_name(), "/x");
        }
    }

    #[test]
    fn a_missing_folder_is_not_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let explain =
            |folder: &Path, name| explain(Errno::NOENT.into(), Operation::Get, folder, name);
        assert_eq!(*explain(folder.path(), "x").kind(), ErrorKind::NotFound);
        assert_eq!(*explain(&missing, "x").kind(), ErrorKind::FolderMissing);
        assert_eq!(*explain(&missing, "").kind(), ErrorKind::FolderMissing);
        let text = explain(folder.path(), "x").to_string();
        assert_eq!(text, "file get x: there is no such file");
    }
}
