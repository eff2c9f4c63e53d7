//! Reports sent after an operation.

use crate::{Kind, Status};

pub use http::*;
pub use mail::*;
pub use messages::*;

pub(in crate::engine) mod http;
pub(in crate::engine) mod mail;
pub(in crate::engine) mod messages;

/// The forms of a result.
pub(super) const FORMATS: Kind = Kind::Choice(&["Duplicati", "Json"]);

/// The results that a report may be limited to.
pub(super) const RESULTS: Kind = Kind::Flags(&["Success", "Warning", "Error", "Fatal", "All"]);

/// Status of options that say more about reports, whatever way those take.
pub(super) const PART_OF_REPORTS: Status = Status::PartOf {
    options: &[
        "send-mail-to",
        "send-http-url",
        "send-http-form-urls",
        "send-http-json-urls",
        "send-telegram-channel-id",
        "send-xmpp-to",
        "http-report-status-url",
    ],
};
