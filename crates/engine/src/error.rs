//! The engine's one error: what failed, whose fault it is, and what helps.

use std::path::PathBuf;

use larder_destination::ErrorKind;
use larder_volume::{VolumeKind, VolumeName};

use crate::temporary::{is_temporary, temporary_error};

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose turn it is to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command, an option, a passphrase or the choice of folder.
    User,
    /// The storage service or the way to it.
    Remote,
    /// Volumes in the destination are damaged or missing.
    Data,
    /// This machine: disk, permissions, memory.
    Environment,
    /// A mistake in this program.
    Bug,
    /// The user stopped the run.
    Cancelled,
}

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One volume is missing, damaged or archived: everything else can be done.
    Volume,
    /// The name that was chosen for a file is taken: another one helps.
    OtherName,
    /// Nothing more can be done in this run: the way to the destination, this machine, the user's input or this program.
    Run,
}

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition with a name that scripts may look for (Duplicati's error ids where it has one).
    #[error("{message}")]
    Known {
        /// Stable identifier, e.g. `MissingRemoteFiles`.
        id: &'static str,
        /// Who has to act.
        fault: Fault,
        /// One sentence naming the object.
        message: String,
        /// The one command or change that helps; empty when there is none.
        hint: String,
    },
    /// A call to the destination failed after all attempts.
    #[error(transparent)]
    Destination(#[from] larder_destination::Error),
    /// The destination refuses to give one file, though it gives others.
    #[error("the destination gives other files, but not this one")]
    FileRefused(#[source] Box<larder_destination::Error>),
    /// A volume could not be read or written.
    #[error("volume {name}")]
    Volume {
        /// Remote file name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: larder_volume::Error,
    },
    /// The local catalog failed in a way that rebuilding does not mend (disk full, no permission).
    #[error("local catalog")]
    Catalog(#[from] larder_catalog::Error),
    /// A local file or folder could not be used.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An option's value is wrong.
    #[error(transparent)]
    Option(#[from] larder_options::Error),
    /// The user stopped the run.
    #[error("stopped on request")]
    Cancelled,
    /// A broken invariant.
    #[error("this is a fault in larder: {0}")]
    Bug(String),
}

impl Error {
    /// A named condition caused by the user's input or set-up.
    #[must_use]
    pub fn user(id: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Known {
            id,
            fault: Fault::User,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A named condition of the remote data.
    #[must_use]
    pub fn data(id: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Known {
            id,
            fault: Fault::Data,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A local file operation failed.
    #[must_use]
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// A volume could not be handled; trouble with a temporary file is none of the volume.
    #[must_use]
    pub fn volume(name: impl Into<String>, source: larder_volume::Error) -> Self {
        match source {
            larder_volume::Error::Io(error) if is_temporary(&error) => temporary_error(error),
            source => Self::Volume {
                name: name.into(),
                source,
            },
        }
    }

    /// How far this error reaches: the one place that tells damaged data from trouble on the way to it.
    #[must_use]
    pub(crate) fn reach(&self) -> Reach {
        use larder_destination::ErrorKind as Kind;
        use larder_volume::Error as Format;
        match self {
            Self::Destination(error) => match error.kind() {
                Kind::NotFound | Kind::Corrupt | Kind::Archived => Reach::Volume,
                Kind::Exists => Reach::OtherName,
                Kind::FolderMissing
                | Kind::Denied
                | Kind::SignInNeeded
                | Kind::Untrusted(_)
                | Kind::Quota
                | Kind::Busy(_)
                | Kind::Network
                | Kind::Locked
                | Kind::Config
                | Kind::Unsupported
                | Kind::Cancelled
                | Kind::Other => Reach::Run,
            },
            Self::Volume { source, .. } => match source {
                Format::Malformed { .. }
                | Format::WrongPassword
                | Format::Tampered(_)
                | Format::Unsupported(_)
                | Format::Mismatch { .. }
                | Format::TooLarge { .. } => Reach::Volume,
                Format::Io(_) if is_of_this_machine(source) => Reach::Run,
                Format::Io(_) => Reach::Volume,
            },
            Self::FileRefused(_) => Reach::Volume,
            Self::Known { .. }
            | Self::Catalog(_)
            | Self::Io { .. }
            | Self::Option(_)
            | Self::Cancelled
            | Self::Bug(_) => Reach::Run,
        }
    }

    /// True when a volume is known to be damaged by this error, as against one that cannot be had or used now.
    #[must_use]
    pub(crate) fn is_damage(&self) -> bool {
        use larder_destination::ErrorKind as Kind;
        use larder_volume::Error as Format;
        match self {
            Self::Volume { source, .. } => match source {
                Format::Malformed { .. }
                | Format::WrongPassword
                | Format::Tampered(_)
                | Format::Mismatch { .. }
                | Format::TooLarge { .. } => true,
                Format::Unsupported(_) => false,
                Format::Io(_) => !is_of_this_machine(source),
            },
            Self::Destination(error) => match error.kind() {
                Kind::NotFound | Kind::Corrupt => true,
                Kind::FolderMissing
                | Kind::Exists
                | Kind::Denied
                | Kind::SignInNeeded
                | Kind::Untrusted(_)
                | Kind::Quota
                | Kind::Busy(_)
                | Kind::Network
                | Kind::Archived
                | Kind::Locked
                | Kind::Config
                | Kind::Unsupported
                | Kind::Cancelled
                | Kind::Other => false,
            },
            Self::FileRefused(_)
            | Self::Known { .. }
            | Self::Catalog(_)
            | Self::Io { .. }
            | Self::Option(_)
            | Self::Cancelled
            | Self::Bug(_) => false,
        }
    }

    /// True when a volume came and is not what was stored. One that could not be had may come the next time, and one that
    /// gpg does not open may be opened when its key or agent is there.
    #[must_use]
    pub(crate) fn is_wrong_content(&self) -> bool {
        use larder_volume::Error::WrongPassword;
        match self {
            Self::Volume {
                name,
                source: WrongPassword,
            } => !name.ends_with(".gpg"),
            Self::Volume { .. } => self.is_damage(),
            _ => false,
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Known { fault, .. } => *fault,
            Self::Destination(error) => match error.kind().fault() {
                larder_destination::Fault::Configuration => Fault::User,
                larder_destination::Fault::Remote => Fault::Remote,
                larder_destination::Fault::Data => Fault::Data,
                larder_destination::Fault::Cancelled => Fault::Cancelled,
            },
            Self::FileRefused(_) => Fault::Remote,
            Self::Volume { source, .. } if is_of_this_machine(source) => Fault::Environment,
            Self::Volume { .. } => Fault::Data,
            Self::Catalog(_) | Self::Io { .. } => Fault::Environment,
            Self::Option(_) => Fault::User,
            Self::Cancelled => Fault::Cancelled,
            Self::Bug(_) => Fault::Bug,
        }
    }

    /// The stable identifier printed as `ErrorID`, when the condition has one.
    #[must_use]
    pub fn id(&self) -> Option<&'static str> {
        match self {
            Self::Known { id, .. } => Some(id),
            Self::Volume {
                source: larder_volume::Error::WrongPassword,
                ..
            } => Some("WrongPassphrase"),
            Self::Destination(error) => match error.advised() {
                Some(advice) => Some(advice.id),
                None => id_of(error.kind()),
            },
            Self::Option(_) => Some("OptionValidationError"),
            Self::Cancelled => Some("Cancelled"),
            Self::FileRefused(_) => Some("RemoteFileDenied"),
            Self::Volume { source, .. } if is_of_this_machine(source) => None,
            Self::Volume { name, .. } if is_list(name) => Some("DamagedList"),
            Self::Volume { .. } => Some("DamagedVolume"),
            Self::Catalog(_) | Self::Io { .. } | Self::Bug(_) => None,
        }
    }

    /// The one command or change that helps; empty when there is none.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Known { hint, .. } => hint.clone(),
            Self::Volume {
                source: larder_volume::Error::WrongPassword,
                ..
            } => "check --passphrase (or the environment variable PASSPHRASE)".into(),
            Self::Destination(error) => match error.advised() {
                Some(advice) => advice.help.into(),
                None if *error.kind() == ErrorKind::Config => {
                    format!("see `larder help {}`", error.provider())
                }
                None => hint_for(error.kind()).into(),
            },
            Self::FileRefused(_) => {
                "check the permissions of this file in the destination, and whether the server blocks names with its ending".into()
            }
            Self::Volume { source, .. } if is_of_this_machine(source) => {
                "make room and check the permissions on this machine; --tempdir names another folder for temporary files".into()
            }
            Self::Volume { name, .. } if is_list(name) => {
                "bring the file back as it was, or take another version: `larder list-filesets` shows them".into()
            }
            Self::Volume { .. } => {
                "bring the file back as it was; `larder test … all` tells what it hurts".into()
            }
            Self::Bug(_) => {
                "please report it, with the log (--log-file=… --log-file-log-level=Verbose)".into()
            }
            Self::Catalog(_) | Self::Io { .. } | Self::Option(_) | Self::Cancelled => String::new(),
        }
    }
}

/// True for the name of a version list.
fn is_list(name: &str) -> bool {
    VolumeName::parse(name, true).is_some_and(|name| name.kind() == VolumeKind::List)
}

/// The identifier of a destination's error that says no more than its kind.
fn id_of(kind: &ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::FolderMissing => Some("FolderMissing"),
        ErrorKind::NotFound => Some("MissingRemoteFiles"),
        ErrorKind::Quota => Some("DestinationFull"),
        ErrorKind::Denied => Some("DestinationDenied"),
        ErrorKind::SignInNeeded => Some("SignInNeeded"),
        ErrorKind::Untrusted(_) => Some("UntrustedServer"),
        ErrorKind::Locked => Some("RemoteFileLocked"),
        ErrorKind::Archived => Some("RemoteFileArchived"),
        ErrorKind::Config => Some("InvalidDestination"),
        ErrorKind::Busy(_) => Some("DestinationBusy"),
        ErrorKind::Network => Some("DestinationUnavailable"),
        ErrorKind::Exists => Some("RemoteFileExists"),
        ErrorKind::Corrupt => Some("DamagedTransfer"),
        ErrorKind::Unsupported => Some("NotSupportedByDestination"),
        ErrorKind::Cancelled => Some("Cancelled"),
        ErrorKind::Other => Some("DestinationFailed"),
    }
}

/// What helps against a destination's error that says no more than its kind; empty when nothing does.
fn hint_for(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Quota => "free space in the destination, or remove old versions",
        ErrorKind::Denied => "check the permissions of the destination folder",
        ErrorKind::SignInNeeded => {
            "check the user name and password or key; in a URL write + as %2B, @ as %40 and / as %2F"
        }
        ErrorKind::FolderMissing => "check the URL, or mount the disk",
        ErrorKind::Untrusted(_) => {
            "if this is the right server, add --accept-specified-ssl-hash with the hash that is named"
        }
        ErrorKind::Busy(_) | ErrorKind::Network => {
            "try again later; --number-of-retries and --retry-delay make it more patient"
        }
        ErrorKind::Archived => "have the service bring the file back from its cold tier first",
        ErrorKind::Locked => "wait until the service's lock on the file has ended",
        ErrorKind::NotFound => "see what is there: `larder destination list`",
        ErrorKind::Corrupt => {
            "try again; if it happens often, look for the cause in the network or at the server"
        }
        ErrorKind::Other => {
            "try again; if it stays, report it with the log (--log-file=… --log-file-log-level=Verbose)"
        }
        ErrorKind::Exists | ErrorKind::Config | ErrorKind::Unsupported | ErrorKind::Cancelled => "",
    }
}

/// True when it is this machine that kept a volume from being read or written.
fn is_of_this_machine(error: &larder_volume::Error) -> bool {
    matches!(error, larder_volume::Error::Io(error) if is_local_trouble(error))
}

/// True for what the system said, as against what a decoder found: a full disk is no damaged volume. Decoders report
/// damage as errors without a system code.
fn is_local_trouble(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    error.raw_os_error().is_some()
        || matches!(
            error.kind(),
            Kind::StorageFull
                | Kind::QuotaExceeded
                | Kind::PermissionDenied
                | Kind::ReadOnlyFilesystem
                | Kind::OutOfMemory
                | Kind::NotFound
        )
}

/// Adds the volume's name to a format error.
pub(crate) trait VolumeContext<T> {
    /// Names the volume.
    fn in_volume(self, name: &str) -> Result<T>;
}

impl<T> VolumeContext<T> for larder_volume::Result<T> {
    fn in_volume(self, name: &str) -> Result<T> {
        self.map_err(|source| Error::volume(name, source))
    }
}

/// Adds the local path to a system error.
pub(crate) trait PathContext<T> {
    /// Names the file or folder.
    fn at(self, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> PathContext<T> for std::io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::io(path, source))
    }
}

#[cfg(test)]
mod tests {
    use larder_destination::{Error as Remote, ErrorKind, Operation};
    use larder_volume::Error as Format;

    use super::{Error, Reach};

    #[test]
    fn trouble_on_the_way_is_no_damage() {
        let remote = |kind| Error::from(Remote::new(kind, "x", Operation::Get, "x"));
        let local = |error| Error::volume("v", Format::Io(error));
        for (error, reach) in [
            (remote(ErrorKind::NotFound), Reach::Volume),
            (remote(ErrorKind::Corrupt), Reach::Volume),
            (remote(ErrorKind::Archived), Reach::Volume),
            (remote(ErrorKind::Exists), Reach::OtherName),
            (remote(ErrorKind::Network), Reach::Run),
            (remote(ErrorKind::SignInNeeded), Reach::Run),
            (remote(ErrorKind::Busy(None)), Reach::Run),
            (
                Error::volume("v", Format::Tampered("x".into())),
                Reach::Volume,
            ),
            (local(std::io::Error::other("bad code")), Reach::Volume),
            (
                local(std::io::ErrorKind::UnexpectedEof.into()),
                Reach::Volume,
            ),
            (local(std::io::ErrorKind::StorageFull.into()), Reach::Run),
            (local(std::io::Error::from_raw_os_error(28)), Reach::Run),
            (Error::Cancelled, Reach::Run),
        ] {
            assert_eq!(error.reach(), reach, "{error:?}");
        }
    }
}
