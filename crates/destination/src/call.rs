//! What is being attempted: every error of a provider is made from it, so that all name provider, operation and file alike.

use crate::{Advice, Error, ErrorKind, Operation, Result};

/// What is being attempted, for the texts and kinds of errors.
#[derive(Clone, Debug)]
pub struct Call {
    /// The scheme key of the provider.
    pub provider: &'static str,
    /// The operation asked for by the engine.
    pub operation: Operation,
    /// The file concerned; empty when the whole destination is.
    pub object: String,
}

impl Call {
    /// A call on the whole destination.
    #[must_use]
    pub fn new(provider: &'static str, operation: Operation) -> Self {
        Self {
            provider,
            operation,
            object: String::new(),
        }
    }

    /// A call on one file.
    #[must_use]
    pub fn on(provider: &'static str, operation: Operation, object: &str) -> Self {
        Self {
            provider,
            operation,
            object: object.to_owned(),
        }
    }

    /// A call on a file of a flat folder, whose name must not lead out of it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for another name.
    pub fn on_file(provider: &'static str, operation: Operation, name: &str) -> Result<Self> {
        let call = Self::on(provider, operation, name);
        if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) {
            let text = "the name is not one of a file in this folder";
            return Err(call.error(ErrorKind::Config, text));
        }
        Ok(call)
    }

    /// An error of this call.
    #[must_use]
    pub fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.provider, self.operation, message).object(self.object.clone())
    }

    /// There is no such file.
    #[must_use]
    pub fn not_found(&self) -> Error {
        self.error(ErrorKind::NotFound, "there is no such file")
    }

    /// A file of this name must not be replaced.
    #[must_use]
    pub fn exists(&self) -> Error {
        self.error(ErrorKind::Exists, "a file of this name exists already")
    }

    /// The folder of the URL is missing; `text` says where.
    #[must_use]
    pub fn folder_missing(&self, text: impl Into<String>) -> Error {
        self.error(ErrorKind::FolderMissing, text)
            .advice(&NO_FOLDER)
    }

    /// What is done to what, for people, e.g. `s3 get a.zip`.
    #[must_use]
    pub fn name(&self) -> String {
        let blank = if self.object.is_empty() { "" } else { " " };
        format!("{} {}{blank}{}", self.provider, self.operation, self.object)
    }
}

const NO_FOLDER: Advice = Advice {
    id: "FolderMissing",
    help: "check the folder in the URL; `larder destination create-folder` makes it, and so does a backup",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["", ".", "..", "../x", "a/b", "/etc/x", "a/", "x\0"] {
            let call = Call::on_file("x", Operation::Get, name);
            let kind = call.map_err(|error| error.kind().clone()).err();
            assert_eq!(kind, Some(ErrorKind::Config), "{name:?}");
        }
        for name in ["a", "...", "..a", "a b+%#&~!()'", "\u{fc}", ".hidden"] {
            let call = Call::on_file("x", Operation::Get, name);
            assert_eq!(call.ok().map(|call| call.object), Some(name.to_owned()));
        }
    }

    #[test]
    fn a_call_names_itself_and_its_errors() {
        let call = Call::on("x", Operation::Get, "a.zip");
        assert_eq!(call.name(), "x get a.zip");
        assert_eq!(Call::new("x", Operation::List).name(), "x list");
        let error = call.not_found();
        assert_eq!(error.to_string(), "x get a.zip: there is no such file");
    }
}
