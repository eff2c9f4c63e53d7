//! Files that are moved aside instead of being deleted (`--soft-delete-prefix`; format spec 1.5).

use std::sync::Arc;

use larder_destination::{ErrorKind, Existing, Random};

use super::Remote;
use crate::context::random_bytes;
use crate::error::Reach;
use crate::{Error, Result};

/// How files are moved aside.
pub(crate) struct Aside {
    /// Put before the name.
    pub(crate) prefix: String,
    /// Files are copied through this machine, not renamed (`--prevent-backend-rename`).
    pub(crate) copies: bool,
    pub(crate) random: Arc<dyn Random>,
}

impl Remote {
    /// Moves a file aside; one that is not there counts as moved.
    pub(super) fn move_aside(&self, aside: &Aside, name: &str, size: u64) -> Result<()> {
        let to = self.free_name(aside, name)?;
        if let Some(verb) = self.destination.extra().rename.filter(|_| !aside.copies) {
            return without_missing(self.repeat(false, || verb.rename(name, &to)));
        }
        let data = match self.get(name, Some(size)) {
            Err(error) if is_missing(&error) => return Ok(()),
            other => other?,
        };
        // Nobody else has this name: what is there after a failure is half of this.
        self.repeat(false, || {
            self.destination.put(&to, data.body(), Existing::Replace)
        })?;
        without_missing(self.repeat(false, || self.destination.delete(name)))
    }

    /// A name that no file bears: with random digits behind it where one does, since the same list can be deleted twice.
    fn free_name(&self, aside: &Aside, name: &str) -> Result<String> {
        let mut free = format!("{}{name}", aside.prefix);
        while self.exists(&free)? {
            let [a, b, c] = random_bytes(aside.random.as_ref())?;
            free = format!("{}{name}.{a:02x}{b:02x}{c:02x}", aside.prefix);
        }
        Ok(free)
    }

    /// Whether there is a file of this name.
    fn exists(&self, name: &str) -> Result<bool> {
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
