//! The folder for temporary files. Its errors name it and the option that names another one, wherever they surface.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::{Error, Fault};

/// A folder for temporary files. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct TempFolder {
    /// That of the process without one.
    path: Option<Arc<Path>>,
    /// The option that the path comes from.
    option: Option<&'static str>,
}

impl TempFolder {
    /// The folder that an option names.
    pub(crate) fn named(path: PathBuf, option: &'static str) -> Self {
        Self {
            path: Some(path.into()),
            option: Some(option),
        }
    }

    fn path(&self) -> PathBuf {
        match &self.path {
            Some(path) => path.to_path_buf(),
            None => tempfile::env::temp_dir(),
        }
    }

    /// A file that is removed when it is dropped.
    ///
    /// # Errors
    /// As those of [`TempFolder::explain`].
    pub(crate) fn file(&self) -> io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("larder-").suffix(".tmp");
        let made = builder.tempfile_in(self.path());
        made.map_err(|error| self.explain(error))
    }

    /// A file without a name.
    ///
    /// # Errors
    /// As those of [`TempFolder::explain`].
    pub(crate) fn nameless_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.path()).map_err(|error| self.explain(error))
    }

    /// A folder that is removed when it is dropped.
    ///
    /// # Errors
    /// As those of [`TempFolder::explain`].
    pub(crate) fn folder(&self) -> io::Result<tempfile::TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("larder-").suffix(".tmp");
        let made = builder.tempdir_in(self.path());
        made.map_err(|error| self.explain(error))
    }

    /// Adds the folder to what the system said of a file in it. Kind and origin stay to be seen.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        // What `tempfile` adds is a name that nobody chose.
        let error = match error.raw_os_error() {
            Some(_) => error,
            None => inner_most(error),
        };
        let kind = error.kind();
        io::Error::new(
            kind,
            Trouble {
                folder: self.path(),
                option: self.option.unwrap_or(OPTION),
                error,
            },
        )
    }
}

/// A failure in the folder for temporary files, inside of an [`io::Error`].
#[derive(Debug)]
struct Trouble {
    folder: PathBuf,
    option: &'static str,
    error: io::Error,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.folder.display(), self.error)
    }
}

impl std::error::Error for Trouble {}

/// The system's own error, when there is one underneath.
fn inner_most(error: io::Error) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(this) = cause {
        if let Some(code) = this
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return io::Error::from_raw_os_error(code);
        }
        cause = this.source();
    }
    error
}

/// Whether an error comes from the folder for temporary files.
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Trouble>())
}

/// A failure of a file in the folder for temporary files.
pub(crate) fn temporary_error(error: io::Error) -> Error {
    let trouble = error.downcast::<Trouble>().unwrap_or_else(|error| Trouble {
        folder: TempFolder::default().path(),
        option: OPTION,
        error,
    });
    Error::Known {
        id: "TemporaryFolderFailed",
        fault: Fault::Environment,
        message: format!(
            "the folder for temporary files {} cannot be used: {}",
            trouble.folder.display(),
            trouble.error
        ),
        hint: format!(
            "make room there and check its permissions, or name another folder with --{}=…",
            trouble.option
        ),
    }
}

/// Names the folder where no other option does.
const OPTION: &str = larder_options::engine::TEMPDIR.decl.name;

#[cfg(test)]
mod tests {
    use larder_volume::Error as Format;

    use super::*;

    #[test]
    fn the_folder_and_its_option_are_named_wherever_the_error_comes_out() {
        let folder = TempFolder::named("/nowhere/at all".into(), "asynchronous-upload-folder");
        for error in [
            folder.file().unwrap_err(),
            folder.nameless_file().unwrap_err(),
            folder.explain(io::Error::from_raw_os_error(28)),
        ] {
            let kind = error.kind();
            assert!(is_temporary(&error) && kind != io::ErrorKind::Other);
            // As it comes through a writer of volumes.
            let error = Error::volume("a.dblock.zip", Format::Io(error));
            assert_eq!(error.id(), Some("TemporaryFolderFailed"));
            let text = error.to_string();
            assert!(text.contains(" /nowhere/at all cannot be used: "), "{text}");
            assert!(text.contains("(os error "), "{text}");
            assert!(error.hint().contains("--asynchronous-upload-folder=…"));
        }
        let plain = temporary_error(io::ErrorKind::StorageFull.into());
        assert!(plain.hint().contains("--tempdir=…"));
    }
}
