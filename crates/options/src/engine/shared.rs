//! Kinds and states that options of several groups share.

use super::choices::LogLevel;
use crate::Choice;
use crate::decl::{Kind, Status};

/// Status of options that belong to Windows.
pub(super) const WINDOWS: Status = Status::NoEffect {
    why: "it belongs to Windows",
};

/// Status of options that belong to macOS.
pub(super) const MACOS: Status = Status::NoEffect {
    why: "it belongs to macOS",
};

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

/// The levels of messages; a target shows its level and all that follow.
pub(super) const LEVELS: Kind = Kind::Choice(LogLevel::NAMES);

/// The forms of a result.
pub(super) const FORMATS: Kind = Kind::Choice(&["Duplicati", "Json"]);

/// The results that a report may be limited to.
pub(super) const RESULTS: Kind = Kind::Flags(&["Success", "Warning", "Error", "Fatal", "All"]);
