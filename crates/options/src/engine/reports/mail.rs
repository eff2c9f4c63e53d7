//! Reports by mail.

use crate::engine::choices::LogLevel;
use crate::engine::shared::{FORMATS, LEVELS, RESULTS};
use crate::{Group, Kind, Secret, Status};

const PART_OF_MAIL: Status = Status::PartOf {
    options: &["send-mail-to"],
};

table! { Group::Reports;
    SEND_MAIL_TO: String = "send-mail-to", Kind::Text,
        "Sends a mail to these addresses after a backup.",
        status: Status::NotYet,
        long: "Several are joined with commas.";
    SEND_MAIL_FROM: String = "send-mail-from", Kind::Text,
        "Sets the sender of mails.",
        default: Some("no-reply"),
        status: PART_OF_MAIL,
        long: "A sender without a host gets the host of the first receiver.";
    SEND_MAIL_URL: String = "send-mail-url", Kind::Text,
        "Names the mail servers to try, as URLs joined with semicolons.",
        status: PART_OF_MAIL,
        long: "smtp://host, smtps://host or tls://host, with a port where it is not the usual one. Without it the mail \
               exchanger of the first receiver is asked.";
    SEND_MAIL_USERNAME: String = "send-mail-username", Kind::Text,
        "Sets the user name for the mail server.",
        status: PART_OF_MAIL;
    SEND_MAIL_PASSWORD: Secret = "send-mail-password", Kind::Password,
        "Sets the password for the mail server.",
        status: PART_OF_MAIL;
    SEND_MAIL_SUBJECT: String = "send-mail-subject", Kind::Text,
        "Sets the subject of mails.",
        default: Some("Duplicati %OPERATIONNAME% report for %backup-name%"),
        status: PART_OF_MAIL;
    SEND_MAIL_BODY: String = "send-mail-body", Kind::Text,
        "Sets the text of mails, or names a file with it.",
        default: Some("%RESULT%"),
        status: PART_OF_MAIL;
    SEND_MAIL_LEVEL: Vec<String> = "send-mail-level", RESULTS,
        "Sends a mail only for these results.",
        default: Some("All"),
        status: PART_OF_MAIL;
    SEND_MAIL_ANY_OPERATION: bool = "send-mail-any-operation", Kind::Bool,
        "Sends a mail after every operation, not only after a backup.",
        status: PART_OF_MAIL;
    SEND_MAIL_RESULT_OUTPUT_FORMAT: String = "send-mail-result-output-format", FORMATS,
        "Chooses the form of the result in mails.",
        default: Some("Duplicati"),
        advanced: true,
        status: PART_OF_MAIL;
    SEND_MAIL_EXTRA_PARAMETERS: String = "send-mail-extra-parameters", Kind::Text,
        "Adds names and values that mails may use.",
        advanced: true,
        status: PART_OF_MAIL;
    SEND_MAIL_LOG_LEVEL: LogLevel = "send-mail-log-level", LEVELS,
        "Chooses which messages go into mails.",
        default: Some("Warning"),
        advanced: true,
        status: PART_OF_MAIL;
    SEND_MAIL_LOG_FILTER: String = "send-mail-log-filter", Kind::Text,
        "Chooses messages for mails by their tag.",
        advanced: true,
        status: PART_OF_MAIL;
    SEND_MAIL_MAX_LOG_LINES: i64 = "send-mail-max-log-lines", Kind::Integer { min: 0, max: i64::MAX },
        "Limits the number of messages in a mail.",
        default: Some("100"),
        advanced: true,
        status: PART_OF_MAIL;
}
