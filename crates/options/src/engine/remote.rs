//! Dealing with the destination: retries, checks, timeouts, credentials.

use super::choices::RemoteVerification;
use crate::{Choice, Group, Kind, Secret, SizeUnit, Status};

table! { Group::Remote;
    NUMBER_OF_RETRIES: i64 = "number-of-retries", Kind::Integer { min: 0, max: i32::MAX as i64 },
        "Sets how often a failed transfer is tried again.",
        default: Some("5");
    RETRY_DELAY: i64 = "retry-delay", Kind::Timespan,
        "Sets the wait before a transfer is tried again.",
        default: Some("10s");
    RETRY_WITH_EXPONENTIAL_BACKOFF: bool = "retry-with-exponential-backoff", Kind::Bool,
        "Doubles the wait after each failure.";
    NETWORK_OUTAGE_LIMIT: i64 = "network-outage-limit", Kind::Timespan,
        "Sets how long the network may be gone before a run gives up.",
        default: Some("0s"),
        long: "Once the destination was reached, calls that get no answer are tried again for so long in each outage, after \
               pauses of a second up to a minute, without counting for number-of-retries. What a server answers is no \
               outage. 0 leaves it to number-of-retries.";
    NO_CONNECTION_REUSE: bool = "no-connection-reuse", Kind::Bool,
        "Opens a new connection for each transfer.",
        advanced: true,
        status: Status::NotYet;
    DEVICE: bool = "device", Kind::Bool,
        "Signs in with a code that is typed on another device.",
        long: "For the command sign-in, on machines without a browser.";
    DISABLE_AUTOCREATE_FOLDER: bool = "disable-autocreate-folder", Kind::Bool,
        "Does not create a missing folder at the destination.",
        long: "Only backup creates it at all. A missing folder may mean that a disk is not mounted.";
    NO_BACKEND_VERIFICATION: bool = "no-backend-verification", Kind::Bool,
        "Does not compare the destination's files with the expected ones.",
        long: "The sample that is checked after a backup is left out too.";
    LIST_VERIFY_UPLOADS: bool = "list-verify-uploads", Kind::Bool,
        "Lists the destination after each upload to check the size.",
        advanced: true;
    CASE_INSENSITIVE_REMOTE: bool = "case-insensitive-remote", Kind::Bool,
        "Compares names at the destination in any letter case.",
        advanced: true;
    SOFT_DELETE_PREFIX: String = "soft-delete-prefix", Kind::Text,
        "Renames files at the destination instead of deleting them.",
        advanced: true,
        long: "The text is put before the name, and .1a2b3c with other digits behind it when there is such a file. What was \
               moved aside stays until somebody removes it. A folder cannot be given.";
    PREVENT_BACKEND_RENAME: bool = "prevent-backend-rename", Kind::Bool,
        "Copies files through this computer instead of renaming them at the destination.",
        advanced: true,
        long: "It matters only with soft-delete-prefix.";
    BACKUP_TEST_SAMPLES: i64 = "backup-test-samples", Kind::Integer { min: 0, max: i64::MAX },
        "Sets how many samples are checked after a backup.",
        default: Some("1"),
        long: "A sample is one list, one index and one data volume. 0 switches this off. The larger of this and \
               backup-test-percentage counts.";
    BACKUP_TEST_PERCENTAGE: f64 = "backup-test-percentage", Kind::Decimal,
        "Sets the share of volumes that is checked after a backup, in percent.",
        default: Some("0.1"),
        long: "The larger of this and backup-test-samples counts.";
    FULL_REMOTE_VERIFICATION: RemoteVerification = "full-remote-verification",
        Kind::Choice(RemoteVerification::NAMES),
        "Chooses whether a check decrypts volumes and looks at their content.",
        default: Some("True"),
        long: "False compares only the hash of each volume. ListAndIndexes leaves out data volumes, IndexesOnly (or \
               IndexOnly) looks into index volumes only.";
    DONT_REPLACE_FAULTY_INDEX_FILES: bool = "dont-replace-faulty-index-files", Kind::Bool,
        "Leaves faulty index volumes alone when a check finds them.",
        advanced: true,
        long: "Normally they are written anew from the local database.",
        status: Status::NotNeeded { why: "a check changes nothing at the destination" };
    UPLOAD_VERIFICATION_FILE: bool = "upload-verification-file", Kind::Bool,
        "Uploads a list of all volumes with size and hash.",
        long: "The file <prefix>-verification.json is not encrypted; with it the destination can be checked by other \
               programs.";
    QUOTA_SIZE: u64 = "quota-size", Kind::Size { unit: SizeUnit::Mib },
        "Sets how much the backup should occupy at most.",
        long: "Exceeding it gives warnings and errors, but never stops a backup.";
    QUOTA_WARNING_THRESHOLD: i64 = "quota-warning-threshold", Kind::Integer { min: 0, max: 100 },
        "Warns when the free space falls below this share of the backup, in percent.",
        default: Some("10"),
        advanced: true;
    QUOTA_DISABLE: bool = "quota-disable", Kind::Bool,
        "Ignores the space that the destination reports.";
    REMOTE_FILE_LOCK_DURATION: i64 = "remote-file-lock-duration", Kind::Timespan,
        "Locks uploaded volumes against deletion for this time.",
        advanced: true,
        long: "At the end of each backup all files that the newest version needs are locked from then on, also when nothing \
               was stored: whoever has the keys cannot delete them, and neither can Larder. Needs a destination with object \
               locks; others give a warning. 5 seconds at least. The command set-locks locks older versions.";
    REPAIR_REFRESH_LOCK_INFO: bool = "repair-refresh-lock-info", Kind::Bool,
        "Asks the destination for locks during repair.",
        advanced: true,
        status: Status::NotNeeded { why: "locks are asked of the destination where they matter, and not kept here" };
    REFRESH_LOCK_INFO_COMPLETE: bool = "refresh-lock-info-complete", Kind::Bool,
        "Asks for the locks of all volumes, also of those whose lock is known.",
        advanced: true,
        status: Status::NotNeeded { why: "read-lock-info always asks for all" };
    SHORT_TIMEOUT: i64 = "short-timeout", Kind::Timespan,
        "Sets how long a small request to the destination may take.",
        default: Some("30s"),
        aliases: &["http-operation-timeout"],
        advanced: true;
    LIST_TIMEOUT: i64 = "list-timeout", Kind::Timespan,
        "Sets how long a listing may take.",
        default: Some("10m"),
        advanced: true;
    READ_WRITE_TIMEOUT: i64 = "read-write-timeout", Kind::Timespan,
        "Sets how long a transfer may stand still.",
        default: Some("30s"),
        aliases: &["http-readwrite-timeout"],
        advanced: true,
        long: "0 or less is no limit.";
    AUTH_USERNAME: String = "auth-username", Kind::Text,
        "Sets the user name for the destination.",
        long: "Without it the environment variable AUTH_USERNAME is used. A user in the storage URL is stronger.";
    AUTH_PASSWORD: Secret = "auth-password", Kind::Password,
        "Sets the password for the destination.",
        long: "Without it the environment variable AUTH_PASSWORD is used. A password in the storage URL is stronger.";
    AUTHID: Secret = "authid", Kind::Password,
        "Sets the AuthID that a sign-in page gave out.",
        long: "For destinations that sign in through a page of the provider. Without it the environment variable AUTHID \
               is used. The service behind the page keeps the sign-in; with oauth-client-id nobody stands in between.";
    OAUTH_URL: String = "oauth-url", Kind::Text,
        "Sets the address of the service that an AuthID is taken to.",
        default: Some("https://duplicati-oauth-handler.appspot.com/refresh"),
        advanced: true,
        long: "Without it the environment variable DUPLICATI_OAUTH_SERVICE is used.";
    USE_SSL: bool = "use-ssl", Kind::Bool,
        "Encrypts the connection with TLS.",
        long: "For destinations that know both. An s behind the scheme of the storage URL means the same.";
    ACCEPT_ANY_SSL_CERTIFICATE: bool = "accept-any-ssl-certificate", Kind::Bool,
        "Accepts every certificate of a server.",
        advanced: true,
        long: "Anybody between here and the server can then read and change what is sent. Prefer \
               accept-specified-ssl-hash.";
    ACCEPT_SPECIFIED_SSL_HASH: Vec<String> = "accept-specified-ssl-hash", Kind::List,
        "Accepts certificates with these fingerprints.",
        advanced: true,
        long: "SHA-1 or SHA-256 in hexadecimal, joined with commas. For servers with a certificate of their own making.";
    IGNORE_REVOCATION_FAILURE: bool = "ignore-revocation-failure", Kind::Bool,
        "Tolerates that a revocation service cannot be reached.",
        advanced: true,
        status: Status::NotNeeded { why: "revocation services are not asked" };
}
