//! Events of a run as lines.

use larder_engine::{Level, Message, Phase, Transfer};
use larder_options::value::format_size;

/// What is being done with the files that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing is counted yet, or any more.
    None,
    /// Files are read.
    Backup,
    /// Files are written.
    Restore,
}

/// What a phase does with files, and its line; `None` when all is done. In a backup `Verifying` is about what it stored.
#[must_use]
pub fn phase(phase: Phase, is_backup: bool) -> (Work, Option<&'static str>) {
    let (work, text) = match phase {
        Phase::CheckingRemote => (Work::None, "Checking remote backup ..."),
        Phase::Rebuilding => (
            Work::None,
            "Building the local catalog from the destination ...",
        ),
        Phase::Backup => (Work::Backup, "Scanning source files ..."),
        Phase::Uploading => (Work::None, "Uploading the version list ..."),
        Phase::Verifying if is_backup => (Work::None, "Verifying remote backup ..."),
        Phase::Verifying => (Work::None, "Verifying volumes ..."),
        Phase::Compacting => (Work::None, "Compacting remote backup ..."),
        Phase::Locking => (Work::None, "Locking remote files ..."),
        Phase::ReadingLists => (Work::None, "Reading version lists ..."),
        Phase::CheckingTargets => (Work::Restore, "Checking existing target files ..."),
        Phase::Restoring => (Work::Restore, "Restoring files ..."),
        Phase::Metadata => (Work::None, "Applying times and permissions ..."),
        Phase::Completed => return (Work::None, None),
    };
    (work, Some(text))
}

/// The line of a remote call.
#[must_use]
pub fn transfer(transfer: &Transfer) -> String {
    match transfer {
        Transfer::List => "Listing remote folder ...".to_owned(),
        Transfer::Put { name, size } => {
            format!("Uploading file {name} ({}) ...", format_size(*size))
        }
        Transfer::Get { name, size: 0 } => format!("Downloading file {name} ..."),
        Transfer::Get { name, size } => {
            format!("Downloading file {name} ({}) ...", format_size(*size))
        }
        Transfer::Delete { name, size } => {
            format!("Deleting file {name} ({}) ...", format_size(*size))
        }
        Transfer::CreateFolder => "Creating remote folder ...".to_owned(),
    }
}

/// The line of a message, with what its level puts in front.
#[must_use]
pub fn message(message: &Message) -> String {
    let Message { level, id, text } = message;
    match level {
        Level::Error => format!("Error [{id}]: {text}"),
        Level::Warning => format!("Warning [{id}]: {text}"),
        Level::Notice => format!("Notice: {text}"),
        Level::DryRun => format!("[Dryrun]: {text}"),
        Level::Retry | Level::Information | Level::Verbose => format!("  {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_apart() {
        let line = |level| {
            message(&Message {
                level,
                id: "SomeId",
                text: "something".into(),
            })
        };
        assert_eq!(line(Level::Warning), "Warning [SomeId]: something");
        assert_eq!(line(Level::Error), "Error [SomeId]: something");
        assert_eq!(line(Level::DryRun), "[Dryrun]: something");
        assert_eq!(line(Level::Retry), "  something");
    }

    #[test]
    fn a_length_that_is_not_known_is_not_shown() {
        let get = |size| {
            transfer(&Transfer::Get {
                name: "a".into(),
                size,
            })
        };
        assert_eq!(get(0), "Downloading file a ...");
        assert_eq!(get(1024), "Downloading file a (1.00 KiB) ...");
    }
}
