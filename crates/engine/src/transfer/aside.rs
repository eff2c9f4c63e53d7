//! Files that are moved aside instead of being deleted (`--soft-delete-prefix`; format spec 1.5).

use std::sync::Arc;

use larder_destination::{ErrorKind, Existing, Random};

use super::Remote;
use crate::context::random_bytes;
use crate::error::Reach;
use crate::{Error, Result};

/// How many names are tried for a file.
const TRIED_NAMES: u32 = 8;

/// How files are moved aside.
pub(crate) struct Aside {
    /// Put before the names of files that would be deleted otherwise.
    pub(crate) prefix: Option<String>,
    /// Files are copied through this machine, not renamed (`--prevent-backend-rename`).
    pub(crate) copies: bool,
    pub(crate) random: Arc<dyn Random>,
}

impl Remote {
    /// Gives a file another name, with a prefix; one that is not there counts as moved.
    pub(crate) fn move_aside(&self, prefix: &str, name: &str) -> Result<()> {
        let aside = self.aside.as_ref();
        let aside = aside.ok_or_else(|| Error::Bug("nothing says how files are moved".into()))?;
        let to = self.free_name(aside, prefix, name)?;
        if let Some(verb) = self.destination.extra().rename.filter(|_| !aside.copies) {
            match self.repeat(false, || verb.rename(name, &to)) {
                // A server of a kind that can, which cannot.
                Err(Error::Destination(error)) if *error.kind() == ErrorKind::Unsupported => {}
                other => return without_missing(other),
            }
        }
        let data = match self.get(name, None) {
            Err(error) if is_missing(&error) => return Ok(()),
            // Who removes it learns the same of a file that may not be removed.
            Err(Error::FileRefused(error)) => return Err(Error::Destination(*error)),
            other => other?,
        };
        // Nobody else has this name: what is there after a failure is half of this.
        let copied = self.repeat(false, || {
            self.destination.put(&to, data.body(), Existing::Replace)
        });
        let moved = match copied {
            Ok(()) => without_missing(self.repeat(false, || self.destination.delete(name))),
            failed => {
                self.remove_copy(&to);
                return failed;
            }
        };
        // Only when the file is surely there still: else the copy is the last one.
        if let Err(Error::Destination(error)) = &moved
            && matches!(error.kind(), ErrorKind::Locked | ErrorKind::Denied)
        {
            self.remove_copy(&to);
        }
        moved
    }

    /// Removes a copy that this run made, so that the next one makes no further. What cannot be removed harms nobody.
    fn remove_copy(&self, copy: &str) {
        let _ = self.repeat(false, || self.destination.delete(copy));
    }

    /// A name that no file bears: with random digits behind it where one does, since the same list can be deleted twice.
    fn free_name(&self, aside: &Aside, prefix: &str, name: &str) -> Result<String> {
        let mut free = format!("{prefix}{name}");
        for _ in 0..TRIED_NAMES {
            if !self.exists(&free)? {
                return Ok(free);
            }
            let [a, b, c] = random_bytes(aside.random.as_ref())?;
            free = format!("{prefix}{name}.{a:02x}{b:02x}{c:02x}");
        }
        Err(Error::data(
            "RemoteFileExists",
            format!("no free name was found to move {name} aside"),
            "give another --soft-delete-prefix",
        ))
    }

    /// Whether there is a file of this name, listed or not.
    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        match self.repeat(false, || self.destination.get(name)) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) if error.reach() == Reach::Volume => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Destination(error) if *error.kind() == ErrorKind::NotFound)
}

/// A file that is not there is gone as well.
pub(super) fn without_missing(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}
