//! The one error of all destinations: what happened, where, and whether trying again may help.

use std::time::Duration;

use crate::LONGEST_WAIT;

/// Result of a destination call.
pub type Result<T> = std::result::Result<T, Error>;

/// What a destination was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opening the destination from URL and options.
    Open,
    /// Listing the folder.
    List,
    /// Reading a file.
    Get,
    /// Storing a file.
    Put,
    /// Removing a file.
    Delete,
    /// Creating the folder.
    CreateFolder,
    /// Asking for free space.
    Space,
    /// Renaming a file.
    Rename,
    /// Removing pieces of unfinished uploads.
    RemoveLeftovers,
    /// Locking a file against deletion.
    Lock,
    /// Asking until when a file is locked.
    LockedUntil,
    /// See [`SignIn`](crate::SignIn).
    SignIn,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::List => "list",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::CreateFolder => "create-folder",
            Self::Space => "space",
            Self::Rename => "rename",
            Self::RemoveLeftovers => "remove-leftovers",
            Self::Lock => "lock",
            Self::LockedUntil => "locked-until",
            Self::SignIn => "sign-in",
        })
    }
}

/// The kinds of failure that callers treat differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named file does not exist.
    NotFound,
    /// The folder, bucket, container or share does not exist.
    FolderMissing,
    /// Something of that name exists and may not be replaced.
    Exists,
    /// The credentials are fine but do not allow this.
    Denied,
    /// The credentials are missing, wrong or expired.
    SignInNeeded,
    /// The server's certificate or host key is not trusted; holds the fingerprint that was seen.
    Untrusted(String),
    /// The destination is full.
    Quota,
    /// The server asks to slow down, with its wish if it named one. A wish above [`LONGEST_WAIT`] is that of a service that
    /// counts each request that comes too early; a provider cuts all others.
    Busy(Option<Duration>),
    /// Connection, name resolution, time-out or a temporary fault of the server.
    Network,
    /// The object lies in a cold tier.
    Archived,
    /// The object is locked against deletion or change.
    Locked,
    /// URL or options are wrong.
    Config,
    /// What arrived is not what was sent.
    Corrupt,
    /// The provider cannot do this.
    Unsupported,
    /// The caller gave up.
    Cancelled,
    /// Anything else, with the server's words in the message.
    Other,
}

/// Whether and how another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Trying again gives the same answer.
    Never,
    /// Trying again after a pause may help.
    Backoff,
    /// The server named the pause, here at most [`LONGEST_WAIT`].
    After(Duration),
    /// Trying again before this time is over makes it longer: it is waited for as a whole, or not at all.
    Later(Duration),
    /// The name is taken, or what was begun under it is lost: another name helps.
    OtherName,
    /// The folder has to be created first.
    CreateFolder,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// URL, options or credentials.
    Configuration,
    /// The service or the way to it.
    Remote,
    /// The data in the destination.
    Data,
    /// Nobody: the user stopped it.
    Cancelled,
}

impl ErrorKind {
    /// The kind of an error of the operating system, on files and connections alike. What is missing may be the file or
    /// its folder, which the caller has to find out.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound | Io::NotADirectory => Self::NotFound,
            Io::StorageFull | Io::QuotaExceeded => Self::Quota,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Self::Denied,
            Io::AlreadyExists | Io::IsADirectory | Io::DirectoryNotEmpty => Self::Exists,
            Io::TimedOut | Io::StaleNetworkFileHandle | Io::WouldBlock | Io::ResourceBusy => {
                Self::Network
            }
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => Self::Network,
            Io::NotConnected | Io::ConnectionAborted | Io::ConnectionReset => Self::Network,
            Io::ConnectionRefused | Io::BrokenPipe => Self::Network,
            Io::InvalidData => Self::Corrupt,
            // The system's kinds may grow.
            _ => Self::Other,
        }
    }

    /// The retry class of this kind.
    #[must_use]
    pub fn retry_class(&self) -> RetryClass {
        match self {
            Self::Busy(Some(wait)) if *wait > LONGEST_WAIT => RetryClass::Later(*wait),
            Self::Busy(Some(wait)) => RetryClass::After(*wait),
            Self::Busy(None) | Self::Network | Self::Corrupt | Self::Other => RetryClass::Backoff,
            Self::FolderMissing => RetryClass::CreateFolder,
            Self::Exists => RetryClass::OtherName,
            Self::NotFound
            | Self::Denied
            | Self::SignInNeeded
            | Self::Untrusted(_)
            | Self::Quota
            | Self::Archived
            | Self::Locked
            | Self::Config
            | Self::Unsupported
            | Self::Cancelled => RetryClass::Never,
        }
    }

    /// Who has to act on this kind.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Denied
            | Self::SignInNeeded
            | Self::Untrusted(_)
            | Self::FolderMissing
            | Self::Quota
            | Self::Locked
            | Self::Config
            | Self::Unsupported => Fault::Configuration,
            Self::Busy(_) | Self::Network | Self::Other | Self::Exists | Self::Archived => {
                Fault::Remote
            }
            Self::NotFound | Self::Corrupt => Fault::Data,
            Self::Cancelled => Fault::Cancelled,
        }
    }
}

/// What helps against one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Stable identifier of the condition, printed as `ErrorID`.
    pub id: &'static str,
    /// The one command or change that helps.
    pub help: &'static str,
}

/// A failed destination call.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    provider: &'static str,
    operation: Operation,
    object: Box<str>,
    message: Box<str>,
    request_id: Option<Box<str>>,
    advice: Option<&'static Advice>,
    is_unanswered: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation`; `message` says what the provider answered, without secrets.
    #[must_use]
    pub fn new(
        kind: ErrorKind,
        provider: &'static str,
        operation: Operation,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            provider,
            operation,
            object: Box::default(),
            message: message.into().into_boxed_str(),
            request_id: None,
            advice: None,
            is_unanswered: false,
            source: None,
        }
    }

    /// Names the file or folder concerned.
    #[must_use]
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object = object.into().into_boxed_str();
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the id that the service gave to the request, for questions to those who run it.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into().into_boxed_str()).filter(|id| !id.is_empty());
        self
    }

    /// Adds what helps, where the kind alone does not tell.
    #[must_use]
    pub fn advice(mut self, advice: &'static Advice) -> Self {
        self.advice = Some(advice);
        self
    }

    /// Nothing was heard of the server, or not all that it had to say: the way to it may be gone.
    #[must_use]
    pub fn unanswered(mut self) -> Self {
        self.is_unanswered = true;
        self
    }

    /// The provider does not offer `operation`.
    #[must_use]
    pub fn unsupported(provider: &'static str, operation: Operation) -> Self {
        Self::new(
            ErrorKind::Unsupported,
            provider,
            operation,
            format!("the {provider} destination cannot do {operation}"),
        )
    }

    /// A wrong URL or option.
    #[must_use]
    pub fn config(provider: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, provider, Operation::Open, message)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Whether and how another attempt makes sense.
    #[must_use]
    pub fn retry_class(&self) -> RetryClass {
        self.kind.retry_class()
    }

    /// True when the way to the server may be gone: it is trouble of the network, and either the provider says that no
    /// answer came, or the system's own error is the cause. What a server answered is none, whatever it says.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        let mut cause = std::error::Error::source(self);
        let mut of_system = false;
        while let Some(error) = cause {
            let of_io = error.downcast_ref().map(ErrorKind::of_io);
            of_system |= of_io == Some(ErrorKind::Network);
            cause = error.source();
        }
        self.kind == ErrorKind::Network && (self.is_unanswered || of_system)
    }

    /// What helps, when the provider knows better than the kind tells.
    #[must_use]
    pub fn advised(&self) -> Option<&'static Advice> {
        self.advice
    }

    /// What the provider answered, without operation and object.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was attempted.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The scheme key of the provider.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// The file or folder concerned; empty when the whole destination is.
    #[must_use]
    pub fn object_name(&self) -> &str {
        &self.object
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.provider, self.operation)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_was_answered_is_no_outage() {
        let error = |kind| Error::new(kind, "test", Operation::Get, "x");
        let lost = || io::Error::from(io::ErrorKind::ConnectionReset);
        let strange = || io::Error::from(io::ErrorKind::InvalidData);
        for (error, is_unanswered) in [
            (error(ErrorKind::Network), false),
            (error(ErrorKind::Network).unanswered(), true),
            (error(ErrorKind::Network).caused_by(lost()), true),
            (error(ErrorKind::Network).caused_by(strange()), false),
            (error(ErrorKind::Other).caused_by(lost()), false),
        ] {
            assert_eq!(error.is_unanswered(), is_unanswered, "{error:?}");
        }
    }
}
