//! The error of this crate. Every case is a mistake of the user, told in a sentence that names the option.

/// Why a text could not be read as a value, option or parameters file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is not of the expected kind.
    #[error("\"{text}\" is not a valid {what}: {why}")]
    Malformed {
        /// The kind, e.g. "size".
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The value of an option is not usable.
    #[error("option --{option}: {why}")]
    Invalid {
        /// Name of the option.
        option: String,
        /// What is wrong with its value.
        why: String,
    },
    /// An option that is needed was not given.
    #[error("option --{option} is required")]
    Missing {
        /// Name of the option.
        option: String,
    },
    /// An option that cannot do without a value stands alone.
    #[error("option --{option} needs its value behind an equals sign: --{option}=…")]
    NoValue {
        /// Name of the option.
        option: String,
    },
    /// An option was given that only the program itself may set.
    #[error("option --{option} is reserved")]
    Reserved {
        /// Name of the option.
        option: String,
    },
    /// An option on the command line is not UTF-8.
    #[error("option {shown} is not valid UTF-8")]
    NotUtf8 {
        /// Name of the option as far as it can be shown, without the value.
        shown: String,
    },
    /// Filters stand both on the command line and in the parameters file.
    #[error("filters may stand on the command line or in the parameters file, not in both")]
    FiltersTwice,
}

impl Error {
    pub(crate) fn malformed(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        Error::Malformed {
            what,
            text: text.to_owned(),
            why: why.into(),
        }
    }
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
