//! Every error as people see it, compared with `testdata/errors.txt`, so that a change of words is a decision.

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use larder_catalog::Error as Catalog;
use larder_destination::{Advice, Error as Remote, ErrorKind, Operation};
use larder_engine::Error;
use larder_volume::Error as Format;

/// The variable that has the file written anew.
const UPDATE: &str = "LARDER_UPDATE_TESTDATA";

/// All kinds of a destination's errors, those of which the content matters twice.
fn kinds() -> Vec<ErrorKind> {
    let kinds = vec![
        ErrorKind::NotFound,
        ErrorKind::FolderMissing,
        ErrorKind::Exists,
        ErrorKind::Denied,
        ErrorKind::SignInNeeded,
        ErrorKind::Untrusted("AB:CD".to_owned()),
        ErrorKind::Quota,
        ErrorKind::Busy(None),
        ErrorKind::Busy(Some(Duration::from_secs(86_400))),
        ErrorKind::Network,
        ErrorKind::Archived,
        ErrorKind::Locked,
        ErrorKind::Config,
        ErrorKind::Corrupt,
        ErrorKind::Unsupported,
        ErrorKind::Cancelled,
        ErrorKind::Other,
    ];
    // A new kind does not compile here until it stands in the list.
    let place = |kind: &ErrorKind| match kind {
        ErrorKind::NotFound => 0,
        ErrorKind::FolderMissing => 1,
        ErrorKind::Exists => 2,
        ErrorKind::Denied => 3,
        ErrorKind::SignInNeeded => 4,
        ErrorKind::Untrusted(_) => 5,
        ErrorKind::Quota => 6,
        ErrorKind::Busy(None) => 7,
        ErrorKind::Busy(Some(_)) => 8,
        ErrorKind::Network => 9,
        ErrorKind::Archived => 10,
        ErrorKind::Locked => 11,
        ErrorKind::Config => 12,
        ErrorKind::Corrupt => 13,
        ErrorKind::Unsupported => 14,
        ErrorKind::Cancelled => 15,
        ErrorKind::Other => 16,
    };
    assert!(kinds.iter().map(place).eq(0..kinds.len()));
    kinds
}

fn refused(kind: ErrorKind) -> Remote {
    let error = Remote::new(kind, "drive", Operation::Get, "the words of the service");
    error.object("a.zip").request_id("r-17")
}

fn system(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(code)
}

fn formats() -> Vec<Format> {
    vec![
        Format::Malformed {
            what: "file list",
            detail: "it breaks off".to_owned(),
        },
        Format::WrongPassword,
        Format::Tampered("the HMAC is wrong".to_owned()),
        Format::Unsupported("version 9".to_owned()),
        Format::Mismatch {
            field: "blocksize",
            expected: "102400".to_owned(),
            found: "1024".to_owned(),
        },
        Format::TooLarge {
            what: "manifest, in bytes",
            limit: 65_536,
        },
        Format::Io(system(28)),
    ]
}

fn catalogs() -> Vec<Catalog> {
    let path = || "/state/a.sqlite".into();
    vec![
        Catalog::Damaged {
            detail: "a block has no volume".to_owned(),
        },
        Catalog::Busy { pid: Some(42) },
        Catalog::Busy { pid: None },
        Catalog::Absent { path: path() },
        Catalog::Full,
        Catalog::Exists {
            name: "a.zip".to_owned(),
        },
        Catalog::Missing {
            what: "volume",
            id: 7,
        },
        Catalog::Misuse("a version without entries"),
        Catalog::Io {
            path: path(),
            source: system(13),
        },
    ]
}

/// The engine's errors: each variant, and what makes a difference within one.
fn errors() -> Vec<Error> {
    let advice = &Advice {
        id: "FolderMissing",
        help: "the help of the provider",
    };
    let span = larder_options::value::parse_timespan("x");
    let mut errors = vec![
        Error::user(
            "NoSuchVersion",
            "there is no version 9",
            "see `larder list`",
        ),
        Error::data("MissingRemoteFiles", "2 files are missing", ""),
        refused(ErrorKind::FolderMissing).advice(advice).into(),
        Error::FileRefused(Box::new(refused(ErrorKind::Denied))),
        Error::io("/home/ann/x", system(13)),
        span.expect_err("that is no span").into(),
        Error::Cancelled,
        Error::Bug("a count is negative".to_owned()),
    ];
    errors.extend(kinds().into_iter().map(|kind| refused(kind).into()));
    for name in ["x-20260102T030405Z.dlist.zip.aes", "x-b0.dblock.zip.aes"] {
        errors.extend(
            formats()
                .into_iter()
                .map(|source| Error::volume(name, source)),
        );
    }
    errors.extend(catalogs().into_iter().map(Error::from));
    errors
}

/// The variant, and what in it decides about help. A new one does not compile here until it has a name.
fn name(error: &Error) -> String {
    match error {
        Error::Known { id, .. } => format!("Known {id}"),
        Error::Destination(error) => {
            format!(
                "Destination {:?}, retry {:?}",
                error.kind(),
                error.retry_class()
            )
        }
        Error::FileRefused(_) => "FileRefused".to_owned(),
        Error::Volume { name, source } => {
            let kind = match source {
                Format::Malformed { .. } => "Malformed",
                Format::WrongPassword => "WrongPassword",
                Format::Tampered(_) => "Tampered",
                Format::Unsupported(_) => "Unsupported",
                Format::Mismatch { .. } => "Mismatch",
                Format::TooLarge { .. } => "TooLarge",
                Format::Io(_) => "Io",
            };
            format!("Volume {name} {kind}")
        }
        Error::Catalog(error) => {
            let kind = match error {
                Catalog::Damaged { .. } => "Damaged",
                Catalog::Busy { .. } => "Busy",
                Catalog::Absent { .. } => "Absent",
                Catalog::Full => "Full",
                Catalog::Exists { .. } => "Exists",
                Catalog::Missing { .. } => "Missing",
                Catalog::Misuse(_) => "Misuse",
                Catalog::Io { .. } => "Io",
                Catalog::Database(_) => "Database",
            };
            format!("Catalog {kind}")
        }
        Error::Io { .. } => "Io".to_owned(),
        Error::Option(_) => "Option".to_owned(),
        Error::Cancelled => "Cancelled".to_owned(),
        Error::Bug(_) => "Bug".to_owned(),
    }
}

#[test]
fn every_error_is_told_as_it_was_decided() {
    let mut text = String::new();
    for error in errors() {
        let _ = writeln!(text, "# {}, fault {:?}", name(&error), error.fault());
        let _ = writeln!(text, "ErrorID: {}", error.id().unwrap_or("none"));
        let _ = writeln!(text, "{error}");
        let mut cause = error.source();
        while let Some(found) = cause {
            let _ = writeln!(text, "  caused by: {found}");
            cause = found.source();
        }
        let help = error.hint();
        let help = if help.is_empty() {
            "nothing that is known"
        } else {
            &help
        };
        let _ = writeln!(text, "What helps: {help}\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/errors.txt");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the file is there");
    assert_eq!(
        text, expected,
        "if the new words are better, run this test with {UPDATE}=1"
    );
}
