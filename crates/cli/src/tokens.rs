//! Sign-in tokens between runs: one file each in the folder `tokens` of the data folder, which only its owner may read.
//!
//! A token that a provider replaces is worthless the moment its successor is given out, so the successor is on the disk
//! before anybody uses what came with it: a new file, written to the end, takes the place of the old one. Each file
//! stands alone, so there is no lock; a run that finds its token replaced by another run reads the file again.

use std::fs::File;
use std::io::{ErrorKind as Io, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use larder_options::{Secret, Values};
use larder_registry::destination::{Error, Result, TokenStore};

use crate::state;

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

/// Writes the file anew, durably.
fn write(folder: &Path, path: &Path, token: &Secret) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let new = path.with_extension(format!("new.{}", std::process::id()));
    // A leftover of a killed run with the same number must not keep its permissions.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != Io::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(token.expose().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
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
    fn without_a_folder_nothing_is_known_and_nothing_kept() {
        let tokens = TokenFiles(None);
        assert_eq!(tokens.get("k").expect("no failure"), None);
        let error = tokens.put("k", &"geheim".into()).expect_err("no place");
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
