//! Everything without a better place: dry runs, modules, folders of the program, secret providers, mirrors.

use crate::{Group, Kind, Status};

pub use secrets::*;
pub use sync::*;

table! { Group::General;
    DRY_RUN: bool = "dry-run", Kind::Bool,
        "Tells what would be done and changes nothing.",
        aliases: &["dryrun"],
        long: "Destination, database and files stay as they are.";
    PARAMETERS_FILE: String = "parameters-file", Kind::Path,
        "Names a file with further options, one in a line.",
        aliases: &["parameter-file", "parameterfile"],
        long: "They are stronger than those of the command line. The file may also hold --source, --target, \
               --prepend-filter, --append-filter and --replace-filter.";
    ENABLE_MODULE: Vec<String> = "enable-module", Kind::List,
        "Switches modules on.",
        advanced: true,
        status: Status::NotNeeded { why: "every module is on unless it is switched off" };
    DISABLE_MODULE: Vec<String> = "disable-module", Kind::List,
        "Switches modules off.",
        advanced: true,
        long: "console-password-input keeps the program from asking for the passphrase.";
    ALLOWED_BACKEND_MODULES: Vec<String> = "allowed-backend-modules", Kind::List,
        "Permits only these kinds of destination.",
        advanced: true;
    ALLOWED_ENCRYPTION_MODULES: Vec<String> = "allowed-encryption-modules", Kind::List,
        "Permits only these kinds of encryption.",
        advanced: true;
    ALLOWED_COMPRESSION_MODULES: Vec<String> = "allowed-compression-modules", Kind::List,
        "Permits only these containers.",
        advanced: true;
    FORCE_PASSPHRASE_FROM_STDIN: bool = "force-passphrase-from-stdin", Kind::Bool,
        "Reads the passphrase from standard input.",
        advanced: true;
    AUTO_UPDATE: bool = "auto-update", Kind::Bool,
        "Fetches new versions of the program.",
        advanced: true,
        status: Status::NoEffect { why: "the program does not update itself" };
    PORTABLE_MODE: bool = "portable-mode", Kind::Bool,
        "Keeps the program's data beside the program.",
        advanced: true;
    SERVER_DATAFOLDER: String = "server-datafolder", Kind::Path,
        "Names the folder for the program's data.",
        long: "Without it the environment variable DUPLICATI_HOME, else a folder of the system.";
    ALLOW_INSECURE_DATAFOLDER: bool = "allow-insecure-datafolder", Kind::Bool,
        "Uses a data folder that others can read.",
        advanced: true,
        status: Status::NotNeeded { why: "a data folder that others can read is used as it is" };
    UNITTEST_MODE: bool = "unittest-mode", Kind::Bool,
        "Helps the tests of Duplicati.",
        advanced: true,
        status: Status::NotNeeded { why: "it belongs to the tests of Duplicati" };
}

/// Options of secret providers.
pub(super) mod secrets {
    use crate::{Group, Kind, Secret, Status};

    table! { Group::Secrets;
        SECRET_PROVIDER: Secret = "secret-provider", Kind::Password,
            "Names the place that secrets in other options come from, as a URL.",
            advanced: true,
            status: Status::Refused {
                why: "the names of secrets would be used as the secrets",
                reading: true,
            },
            long: "Every value that consists of the pattern and a key is replaced by the secret of that key.";
        SECRET_PROVIDER_PATTERN: String = "secret-provider-pattern", Kind::Text,
            "Sets the text in front of keys of secrets.",
            default: Some("$"),
            advanced: true,
            status: Status::PartOf { options: &["secret-provider"] };
        SECRET_PROVIDER_CACHE: String = "secret-provider-cache", Kind::Choice(&["None", "InMemory", "Persistent"]),
            "Chooses whether secrets are remembered when their provider cannot be reached.",
            default: Some("None"),
            advanced: true,
            status: Status::PartOf { options: &["secret-provider"] };
    }
}

/// Options of the plain mirror and of extra destinations.
pub(super) mod sync {
    use crate::{Group, Kind, Status};

    table! { Group::Sync;
        REMOTE_SYNC_JSON_CONFIG: String = "remote-sync-json-config", Kind::Text,
            "Copies the volumes to further destinations after a backup.",
            advanced: true,
            status: Status::NotYet,
            long: "A description in JSON, or the path of a file with it.";
        SYNC_REMOTE_STATE: String = "sync-remote-state",
            Kind::Choice(&["UseRemoteState", "UseLocalState", "BlindlyUpload"]),
            "Chooses how the mirror finds out what is there already.",
            default: Some("UseRemoteState"),
            advanced: true,
            status: Status::NotYet,
            long: "UseRemoteState lists each folder, UseLocalState trusts the local database, BlindlyUpload uploads \
                   everything.";
        SYNC_THEN_DELETE: bool = "sync-then-delete", Kind::Bool,
            "Deletes mirrored files that no longer exist here.",
            advanced: true,
            status: Status::NotYet;
        SYNC_VERIFY_HASH: bool = "sync-verify-hash", Kind::Bool,
            "Compares the hash of files whose size and time agree.",
            advanced: true,
            status: Status::NotYet;
        SYNC_RECHECK: bool = "sync-recheck", Kind::Bool,
            "Lists the whole mirror again.",
            advanced: true,
            status: Status::NotYet;
    }
}
