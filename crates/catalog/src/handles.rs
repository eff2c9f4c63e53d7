//! Reading the database file past SQLite.
//!
//! On Unix the locks that SQLite holds on a file belong to the process, and closing *any* handle of the file drops them
//! all (sqlite.org/howtocorrupt.html, 2.2). So a handle that was opened here stays open for as long as the file is the one
//! at its path, and is used again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

struct Handle {
    path: PathBuf,
    identity: (u64, u64),
    file: File,
}

static HANDLES: Mutex<Vec<Handle>> = Mutex::new(Vec::new());

/// Works with the database file at `path`; its position is anywhere.
pub(crate) fn with_file<R>(
    path: &Path,
    work: impl FnOnce(&File) -> io::Result<R>,
) -> io::Result<R> {
    let mut handles = HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
    handles.retain(|handle| identity(&handle.path).ok() == Some(handle.identity));
    let identity = identity(path)?;
    let known = handles
        .iter()
        .position(|handle| handle.identity == identity);
    let at = match known {
        Some(at) => at,
        None => {
            handles.push(Handle {
                path: path.to_owned(),
                identity,
                file: File::open(path)?,
            });
            handles.len() - 1
        }
    };
    let result = match handles.get(at) {
        Some(handle) => work(&handle.file),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    if !cfg!(unix) {
        // Nothing is gained there, and an open file cannot be renamed.
        handles.remove(at);
    }
    result
}

/// What makes two paths the same file.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::metadata(path)?;
    Ok((facts.dev(), facts.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|_| (0, 0))
}
