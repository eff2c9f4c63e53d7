//! Reports to web addresses, after an operation and while it runs.

use crate::engine::choices::LogLevel;
use crate::engine::shared::{FORMATS, LEVELS, RESULTS};
use crate::{Group, Kind, Status};

const PART_OF_HTTP: Status = Status::PartOf {
    options: &[
        "send-http-url",
        "send-http-form-urls",
        "send-http-json-urls",
    ],
};

const PART_OF_STATUS: Status = Status::PartOf {
    options: &["http-report-status-url"],
};

table! { Group::Reports;
    SEND_HTTP_URL: String = "send-http-url", Kind::Text,
        "Sends a report to these web addresses after a backup.",
        status: Status::NotYet,
        long: "Several are joined with semicolons.";
    SEND_HTTP_FORM_URLS: String = "send-http-form-urls", Kind::Text,
        "Sends a report as a form to these web addresses.",
        status: Status::NotYet;
    SEND_HTTP_JSON_URLS: String = "send-http-json-urls", Kind::Text,
        "Sends a report as JSON to these web addresses.",
        status: Status::NotYet;
    SEND_HTTP_MESSAGE: String = "send-http-message", Kind::Text,
        "Sets the text of web reports, or names a file with it.",
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_MESSAGE_PARAMETER_NAME: String = "send-http-message-parameter-name", Kind::Text,
        "Sets the name of the form field that holds the text.",
        default: Some("message"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_VERB: String = "send-http-verb", Kind::Text,
        "Sets the method of the request to send-http-url.",
        default: Some("POST"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_LEVEL: Vec<String> = "send-http-level", RESULTS,
        "Sends a web report only for these results.",
        default: Some("All"),
        status: PART_OF_HTTP;
    SEND_HTTP_ANY_OPERATION: bool = "send-http-any-operation", Kind::Bool,
        "Sends a web report after every operation, not only after a backup.",
        status: PART_OF_HTTP;
    SEND_HTTP_RESULT_OUTPUT_FORMAT: String = "send-http-result-output-format", FORMATS,
        "Chooses the form of the result sent to send-http-url.",
        default: Some("Duplicati"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_EXTRA_PARAMETERS: String = "send-http-extra-parameters", Kind::Text,
        "Adds names and values to web reports.",
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_LOG_LEVEL: LogLevel = "send-http-log-level", LEVELS,
        "Chooses which messages go into web reports.",
        default: Some("Warning"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_LOG_FILTER: String = "send-http-log-filter", Kind::Text,
        "Chooses messages for web reports by their tag.",
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_MAX_LOG_LINES: i64 = "send-http-max-log-lines", Kind::Integer { min: 0, max: i64::MAX },
        "Limits the number of messages in a web report.",
        default: Some("100"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_RETRIES: i64 = "send-http-retries", Kind::Integer { min: 0, max: i32::MAX as i64 },
        "Sets how often a web report is tried.",
        default: Some("3"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_RETRY_DELAY: i64 = "send-http-retry-delay", Kind::Timespan,
        "Sets the wait before a web report is tried again.",
        default: Some("1s"),
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_ACCEPT_ANY_SSL_CERTIFICATE: bool = "send-http-accept-any-ssl-certificate", Kind::Bool,
        "Accepts every certificate of a server that web reports go to.",
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_ACCEPT_SPECIFIED_SSL_HASH: Vec<String> = "send-http-accept-specified-ssl-hash", Kind::List,
        "Accepts certificates with these fingerprints for web reports.",
        advanced: true,
        status: PART_OF_HTTP;
    SEND_HTTP_IGNORE_REVOCATION_FAILURE: bool = "send-http-ignore-revocation-failure", Kind::Bool,
        "Tolerates that a revocation service cannot be reached for web reports.",
        advanced: true,
        status: PART_OF_HTTP;
    HTTP_REPORT_STATUS_URL: String = "http-report-status-url", Kind::Text,
        "Sends the state of a running operation to these web addresses.",
        advanced: true,
        status: Status::NotYet,
        long: "As JSON. Several are joined with semicolons.";
    HTTP_REPORT_STATUS_INTERVAL: i64 = "http-report-status-interval", Kind::Timespan,
        "Sets the time between two reports of the state.",
        default: Some("30s"),
        advanced: true,
        status: PART_OF_STATUS;
    HTTP_REPORT_STATUS_MAX_LOG_LINES: i64 = "http-report-status-max-log-lines", Kind::Integer { min: 0, max: i64::MAX },
        "Limits the number of messages in a report of the state.",
        default: Some("20"),
        advanced: true,
        status: PART_OF_STATUS;
    HTTP_REPORT_STATUS_ACCEPT_ANY_SSL_CERTIFICATE: bool = "http-report-status-accept-any-ssl-certificate", Kind::Bool,
        "Accepts every certificate of a server that reports of the state go to.",
        advanced: true,
        status: PART_OF_STATUS;
    HTTP_REPORT_STATUS_ACCEPT_SPECIFIED_SSL_HASH: Vec<String> = "http-report-status-accept-specified-ssl-hash", Kind::List,
        "Accepts certificates with these fingerprints for reports of the state.",
        advanced: true,
        status: PART_OF_STATUS;
    HTTP_REPORT_STATUS_IGNORE_REVOCATION_FAILURE: bool = "http-report-status-ignore-revocation-failure", Kind::Bool,
        "Tolerates that a revocation service cannot be reached for reports of the state.",
        advanced: true,
        status: PART_OF_STATUS;
    HTTP_REPORT_STATUS_ALLOW_PATHS_IN_LOG_MESSAGES: bool = "http-report-status-allow-paths-in-log-messages", Kind::Bool,
        "Leaves paths of files in reports of the state readable.",
        advanced: true,
        status: PART_OF_STATUS;
}
