//! Reports by message services.

use crate::engine::choices::LogLevel;
use crate::engine::shared::{FORMATS, LEVELS, RESULTS};
use crate::{Group, Kind, Secret, Status};

const PART_OF_TELEGRAM: Status = Status::PartOf {
    options: &["send-telegram-channel-id"],
};

const PART_OF_XMPP: Status = Status::PartOf {
    options: &["send-xmpp-to"],
};

table! { Group::Reports;
    SEND_TELEGRAM_BOT_ID: String = "send-telegram-bot-id", Kind::Text,
        "Sets the id of the Telegram bot that sends reports.",
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_API_KEY: Secret = "send-telegram-api-key", Kind::Password,
        "Sets the key of the Telegram bot.",
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_CHANNEL_ID: String = "send-telegram-channel-id", Kind::Text,
        "Sets the Telegram channel that gets reports after a backup.",
        status: Status::NotYet;
    SEND_TELEGRAM_TOPIC_ID: String = "send-telegram-topic-id", Kind::Text,
        "Sets the topic in the Telegram channel.",
        aliases: &["send-telegram-topid-id"],
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_MESSAGE: String = "send-telegram-message", Kind::Text,
        "Sets the text of Telegram reports, or names a file with it.",
        advanced: true,
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_LEVEL: Vec<String> = "send-telegram-level", RESULTS,
        "Sends a Telegram report only for these results.",
        default: Some("All"),
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_ANY_OPERATION: bool = "send-telegram-any-operation", Kind::Bool,
        "Sends a Telegram report after every operation, not only after a backup.",
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_RESULT_OUTPUT_FORMAT: String = "send-telegram-result-output-format", FORMATS,
        "Chooses the form of the result in Telegram reports.",
        default: Some("Duplicati"),
        advanced: true,
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_EXTRA_PARAMETERS: String = "send-telegram-extra-parameters", Kind::Text,
        "Adds names and values that Telegram reports may use.",
        advanced: true,
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_LOG_LEVEL: LogLevel = "send-telegram-log-level", LEVELS,
        "Chooses which messages go into Telegram reports.",
        default: Some("Warning"),
        advanced: true,
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_LOG_FILTER: String = "send-telegram-log-filter", Kind::Text,
        "Chooses messages for Telegram reports by their tag.",
        advanced: true,
        status: PART_OF_TELEGRAM;
    SEND_TELEGRAM_MAX_LOG_LINES: i64 = "send-telegram-max-log-lines", Kind::Integer { min: 0, max: i64::MAX },
        "Limits the number of messages in a Telegram report.",
        default: Some("100"),
        advanced: true,
        status: PART_OF_TELEGRAM;
    SEND_XMPP_TO: String = "send-xmpp-to", Kind::Text,
        "Sends a report to these XMPP addresses after a backup.",
        status: Status::NotYet,
        long: "Several are joined with commas.";
    SEND_XMPP_USERNAME: String = "send-xmpp-username", Kind::Text,
        "Sets the XMPP account that sends reports.",
        status: PART_OF_XMPP;
    SEND_XMPP_PASSWORD: Secret = "send-xmpp-password", Kind::Password,
        "Sets the password of the XMPP account.",
        status: PART_OF_XMPP;
    SEND_XMPP_MESSAGE: String = "send-xmpp-message", Kind::Text,
        "Sets the text of XMPP reports, or names a file with it.",
        advanced: true,
        status: PART_OF_XMPP;
    SEND_XMPP_LEVEL: Vec<String> = "send-xmpp-level", RESULTS,
        "Sends an XMPP report only for these results.",
        default: Some("All"),
        status: PART_OF_XMPP;
    SEND_XMPP_ANY_OPERATION: bool = "send-xmpp-any-operation", Kind::Bool,
        "Sends an XMPP report after every operation, not only after a backup.",
        status: PART_OF_XMPP;
    SEND_XMPP_RESULT_OUTPUT_FORMAT: String = "send-xmpp-result-output-format", FORMATS,
        "Chooses the form of the result in XMPP reports.",
        default: Some("Duplicati"),
        advanced: true,
        status: PART_OF_XMPP;
    SEND_XMPP_EXTRA_PARAMETERS: String = "send-xmpp-extra-parameters", Kind::Text,
        "Adds names and values that XMPP reports may use.",
        advanced: true,
        status: PART_OF_XMPP;
    SEND_XMPP_LOG_LEVEL: LogLevel = "send-xmpp-log-level", LEVELS,
        "Chooses which messages go into XMPP reports.",
        default: Some("Warning"),
        advanced: true,
        status: PART_OF_XMPP;
    SEND_XMPP_LOG_FILTER: String = "send-xmpp-log-filter", Kind::Text,
        "Chooses messages for XMPP reports by their tag.",
        advanced: true,
        status: PART_OF_XMPP;
    SEND_XMPP_MAX_LOG_LINES: i64 = "send-xmpp-max-log-lines", Kind::Integer { min: 0, max: i64::MAX },
        "Limits the number of messages in an XMPP report.",
        default: Some("100"),
        advanced: true,
        status: PART_OF_XMPP;
}
