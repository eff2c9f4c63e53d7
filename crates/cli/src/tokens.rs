//! Sign-in tokens between runs: one file each in the folder `tokens` of the data folder, which only its owner may read.
//!
//! A token that a provider replaces is worthless the moment its successor is given out, so the successor is on the disk
//! before anybody uses what came with it: a new file, written to the end, takes the place of the old one. Beside it lies a
//! lock file, which stays: removing it would let two runs lock two different files of one name.

use std::fs::{File, TryLockError};
use std::io::ErrorKind as Io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use larder_options::{Secret, Values};
use larder_registry::destination::{Error, Result, TokenLock, TokenStore};

use crate::{private_file, state};

/// Tokens in files. Without a data folder there is no place for them, which is an error only when one is wanted.
pub struct TokenFiles(Option<PathBuf>);

impl TokenFiles {
    /// Those of the data folder.
    pub fn new(values: &Values) -> Self {
        Self(
            state::data_folder(values)
                .ok()
                .map(|folder| folder.join("tokens")),
        )
    }

    fn folder(&self) -> Result<&Path> {
        let text = "there is no data folder to keep sign-ins in; say --server-datafolder=…";
        self.0.as_deref().ok_or_else(|| failed(text))
    }
}

impl TokenStore for TokenFiles {
    fn try_lock(&self, key: &str) -> Result<Option<TokenLock>> {
        let Some(folder) = &self.0 else {
            return Ok(Some(TokenLock::new(())));
        };
        let path = folder.join(file_name(key) + ".lock");
        let opened = make(folder).and_then(|()| {
            let mut options = File::options();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.open(&path)
        });
        let locked = match opened {
            Ok(file) => file.try_lock().map(|()| TokenLock::new(Held(file))),
            Err(error) => Err(TryLockError::Error(error)),
        };
        match locked {
            Ok(lock) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Where nothing can be written or locked, no run can keep a token either, or none can keep others out.
            Err(TryLockError::Error(error)) if LOCKLESS.contains(&error.kind()) => {
                Ok(Some(TokenLock::new(())))
            }
            Err(TryLockError::Error(error)) => Err(failed(format!(
                "the stored sign-in cannot be locked in {}: {error}",
                path.display()
            ))),
        }
    }

    fn get(&self, key: &str) -> Result<Option<Secret>> {
        let Some(folder) = &self.0 else {
            return Ok(None);
        };
        let path = folder.join(file_name(key));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Secret::from(text.trim()))),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            Err(error) => Err(failed(format!(
                "the stored sign-in {} cannot be read: {error}",
                path.display()
            ))),
        }
    }

    fn put(&self, key: &str, token: &Secret) -> Result<()> {
        let folder = self.folder()?;
        let path = folder.join(file_name(key));
        write(folder, &path, token).map_err(|error| {
            failed(format!(
                "the sign-in cannot be stored in {}: {error}",
                path.display()
            ))
        })
    }
}

/// A lock file that is locked.
struct Held(File);

impl Drop for Held {
    /// Closing the file would not do: a program that another thread starts at this moment holds a copy of the handle
    /// until it runs.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// A folder that is read only, or a file system that knows no locks.
const LOCKLESS: &[Io] = &[
    Io::PermissionDenied,
    Io::ReadOnlyFilesystem,
    Io::Unsupported,
];

/// Makes the folder.
fn make(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}

/// Replaces the file. Where there are no locks two runs may do so at once, each under a name of its own.
fn write(folder: &Path, path: &Path, token: &Secret) -> std::io::Result<()> {
    make(folder)?;
    let new = path.with_extension(format!("new.{}", std::process::id()));
    private_file::replace(path, &new, token.expose().as_bytes())
}

/// Keys are made by providers; whatever is in them, the file stays in its folder.
fn file_name(key: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    key.chars().map(fit).collect()
}

fn failed(text: impl Into<String>) -> Error {
    Error::config("sign-in", text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_lasts_is_replaced_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = TokenFiles(Some(folder.path().join("a/tokens")));
        assert_eq!(tokens.get("drive-1").expect("no failure"), None);
        for text in ["1//one", "1//two"] {
            tokens.put("drive-1", &text.into()).expect("stored");
            let found = tokens.get("drive-1").expect("read");
            assert_eq!(found.as_ref().map(Secret::expose), Some(text));
        }
        tokens.put("../x", &"1//three".into()).expect("stored");
        let names = |folder: &str| -> Vec<(String, u32)> {
            let entries = std::fs::read_dir(tokens.0.clone().unwrap_or_default().join(folder));
            let mut names: Vec<_> = entries
                .expect("a folder")
                .flatten()
                .map(|entry| {
                    let mode = entry.metadata().map_or(0, |data| data.permissions().mode());
                    (
                        entry.file_name().to_string_lossy().into_owned(),
                        mode & 0o777,
                    )
                })
                .collect();
            names.sort();
            names
        };
        let expected = [("___x".to_owned(), 0o600), ("drive-1".to_owned(), 0o600)];
        assert_eq!(names("."), expected);
        assert_eq!(names(".."), [("tokens".to_owned(), 0o700)]);
    }

    #[test]
    fn one_run_at_a_time_has_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = || TokenFiles(Some(folder.path().join("tokens")));
        let (one, two) = (run(), run());
        let lock = one.try_lock("drive-1").expect("no failure");
        assert!(lock.is_some());
        assert!(two.try_lock("drive-1").expect("no failure").is_none());
        assert!(one.try_lock("drive-1").expect("no failure").is_none());
        // Another account is none of its business, nor is what is stored under the lock.
        assert!(two.try_lock("drive-2").expect("no failure").is_some());
        one.put("drive-1", &"1//one".into()).expect("stored");
        assert!(two.try_lock("drive-1").expect("no failure").is_none());
        drop(lock);
        assert!(two.try_lock("drive-1").expect("no failure").is_some());
        let path = folder.path().join("tokens/drive-1.lock");
        let mode = std::fs::metadata(path).expect("a lock file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn without_a_folder_nothing_is_known_and_nothing_kept() {
        let tokens = TokenFiles(None);
        assert_eq!(tokens.get("k").expect("no failure"), None);
        let error = tokens.put("k", &"geheim".into()).expect_err("no place");
        assert!(!error.to_string().contains("geheim"), "{error}");
        assert!(tokens.try_lock("k").expect("no failure").is_some());
    }
}
