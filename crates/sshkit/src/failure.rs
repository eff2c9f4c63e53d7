//! What servers answer when they do not do what they are asked.

use larder_destination::{Call, Error, ErrorKind};

/// A code of `SSH_FXP_STATUS`. The first nine are those of version 3 (draft-ietf-secsh-filexfer-02, section 7), which servers
/// should keep to; some send those of version 6 (draft-ietf-secsh-filexfer-13, section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// The end of a file or folder.
    pub const EOF: Self = Self(1);
    /// There is no such file.
    pub const NO_SUCH_FILE: Self = Self(2);
    /// This user may not do that.
    pub const PERMISSION_DENIED: Self = Self(3);
    /// Anything else.
    pub const FAILURE: Self = Self(4);
    /// There is no such request.
    pub const OP_UNSUPPORTED: Self = Self(8);
    /// A folder of the path is not there (version 6).
    pub const NO_SUCH_PATH: Self = Self(10);
    /// The name is taken (version 6).
    pub const FILE_ALREADY_EXISTS: Self = Self(11);
    /// The file system is read-only (version 6).
    pub const WRITE_PROTECT: Self = Self(12);
    /// The file system is full (version 6).
    pub const NO_SPACE: Self = Self(14);
    /// The user's share of it is (version 6).
    pub const QUOTA_EXCEEDED: Self = Self(15);
    /// What is to be listed is no folder (version 6).
    pub const NOT_A_DIRECTORY: Self = Self(19);

    /// What it says, for servers that send no text.
    fn text(self) -> String {
        match self {
            Self::NO_SUCH_FILE => "No such file".to_owned(),
            Self::PERMISSION_DENIED => "Permission denied".to_owned(),
            Self::FAILURE => "Failure".to_owned(),
            Self::OP_UNSUPPORTED => "Operation unsupported".to_owned(),
            Self::NO_SUCH_PATH => "No such path".to_owned(),
            Self::FILE_ALREADY_EXISTS => "File already exists".to_owned(),
            Self::WRITE_PROTECT => "Write-protected".to_owned(),
            Self::NO_SPACE => "No space left".to_owned(),
            Self::QUOTA_EXCEEDED => "Quota exceeded".to_owned(),
            Self::NOT_A_DIRECTORY => "Not a directory".to_owned(),
            Self(code) => format!("status {code}"),
        }
    }
}

/// A request that failed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The server said so.
    Status(Status, String),
    /// No answer came.
    Lost(String),
    /// The file ended after so many bytes, before the length that the server told.
    Short(u64),
    /// The answer makes no sense.
    Strange(String),
}

/// What a request gives.
pub type Outcome<T> = std::result::Result<T, Failure>;

impl Failure {
    /// What a server says with a code, and a text that may be anything.
    pub(crate) fn status(code: Status, text: &str) -> Self {
        // They may only be made by the client itself (draft-ietf-secsh-filexfer-02, section 7), and mean the same.
        if matches!(code, Status(6 | 7)) {
            return Self::lost();
        }
        let said = clean(text);
        let text = if said.is_empty() { code.text() } else { said };
        Self::Status(code, text)
    }

    pub(crate) fn lost() -> Self {
        Self::Lost("the connection to the server was lost".to_owned())
    }

    pub(crate) fn late() -> Self {
        Self::Lost(LATE.to_owned())
    }

    pub(crate) fn strange() -> Self {
        Self::Strange("the server answers in a way that is not SFTP".to_owned())
    }

    /// True for this answer of the server.
    #[must_use]
    pub fn is(&self, code: Status) -> bool {
        matches!(self, Self::Status(found, _) if *found == code)
    }

    /// True when the server says that a file or folder is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.is(Status::NO_SUCH_FILE) || self.is(Status::NO_SUCH_PATH)
    }

    /// True when the connection is of no more use.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// The error where nothing more is to be found out. What is missing is the folder, unless somebody knows better.
    #[must_use]
    pub fn into_error(self, call: &Call) -> Error {
        let (code, text) = match self {
            Self::Status(code, text) => (code, text),
            Self::Lost(text) => return call.error(ErrorKind::Network, text).unanswered(),
            Self::Short(at) => {
                let text =
                    format!("the file became shorter while it was read: it ends after {at} bytes");
                return call.error(ErrorKind::Corrupt, text);
            }
            Self::Strange(text) => return call.error(ErrorKind::Other, text),
        };
        let kind = match code {
            Status::NO_SUCH_FILE | Status::NO_SUCH_PATH => {
                return call.folder_missing("the folder does not exist on the server");
            }
            Status::PERMISSION_DENIED | Status::WRITE_PROTECT => ErrorKind::Denied,
            Status::OP_UNSUPPORTED => ErrorKind::Unsupported,
            Status::FILE_ALREADY_EXISTS => ErrorKind::Exists,
            Status::NO_SPACE | Status::QUOTA_EXCEEDED => ErrorKind::Quota,
            _ => ErrorKind::Other,
        };
        call.error(kind, format!("the server answered: {text}"))
    }
}

/// What a server says, fit for one line on a terminal: of bounded length, without control characters.
pub(crate) fn clean(text: &str) -> String {
    let is_odd =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let words = text.split(|c: char| is_odd(c) || c.is_whitespace());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

pub(crate) const LATE: &str = "the server did not answer in time";
/// Characters of a server's text that are shown.
const LONGEST_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    #[test]
    fn what_servers_say_has_a_kind() {
        let call = Call::on("x", Operation::Put, "a");
        for (code, kind) in [
            (2, ErrorKind::FolderMissing),
            (3, ErrorKind::Denied),
            (4, ErrorKind::Other),
            (6, ErrorKind::Network),
            (7, ErrorKind::Network),
            (8, ErrorKind::Unsupported),
            (10, ErrorKind::FolderMissing),
            (11, ErrorKind::Exists),
            (12, ErrorKind::Denied),
            (14, ErrorKind::Quota),
            (15, ErrorKind::Quota),
            (31, ErrorKind::Other),
            (u32::MAX, ErrorKind::Other),
        ] {
            let error = Failure::status(Status(code), "").into_error(&call);
            assert_eq!(error.kind(), &kind, "{code}: {error}");
            assert!(!error.message().ends_with(": "), "{code}: {error}");
        }
    }

    #[test]
    fn what_servers_say_is_fit_to_be_shown() {
        for (said, shown) in [
            ("", ""),
            (" \r\n\u{1b}[31mred\u{7}  text\0 ", "[31mred text"),
            ("a\u{202e}b", "a b"),
        ] {
            assert_eq!(clean(said), shown, "{said:?}");
        }
        assert_eq!(
            clean(&"\u{fc}".repeat(5000)).chars().count(),
            LONGEST_TEXT + 1
        );
    }
}
