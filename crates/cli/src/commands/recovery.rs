//! `recovery`: getting files back from a folder of volumes, without catalog and destination.

use std::path::{Path, PathBuf};

use larder_engine::{Error, Outcome, Recovery, RecoveryRequest};
use larder_options::engine as opt;

use super::restore;
use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::Session;
use crate::output;
use crate::paths::absolute;

/// Whether the call names a storage URL behind its first word.
pub fn has_url(call: &Invocation) -> bool {
    call.verb == "recovery" && word(call) == "download"
}

/// Runs the command; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    let word = word(call);
    let (least, most) = match word.as_str() {
        "download" | "index" => (1, 1),
        "list" | "restore" => (1, 2),
        "recompress" => {
            return Err(Failure::usage_with(
                "recovery recompress is not in this version of Larder",
                "a backup to the same destination stores new volumes in the way that is asked for",
            ));
        }
        _ => {
            return Err(Failure::usage(
                "recovery needs one of download, index, list and restore, then its arguments",
            ));
        }
    };
    if word == "download" {
        call.need_url()?;
    }
    let given = call.arguments.len() - 1;
    if given < least || given > most {
        return Err(Failure::usage(match word.as_str() {
            "download" => "recovery download needs a storage URL and a folder",
            "index" => "recovery index needs a folder",
            "list" => "recovery list needs a folder, and takes a version",
            _ => "recovery restore needs a folder, and takes a version",
        }));
    }
    if word != "list" && call.values.get(opt::DRY_RUN)? {
        return Err(Failure::known(
            "OptionNotImplemented",
            format!("recovery {word} cannot be tried without being done"),
            "leave --dry-run out; nothing that is there is replaced, and recovery list shows what can be restored",
        ));
    }
    let folder = path(call, 1)?;
    match word.as_str() {
        "download" => download(call, &folder),
        "index" => index(call, &folder),
        "list" => list(call, &folder),
        _ => restore_files(call, &folder),
    }
}

fn word(call: &Invocation) -> String {
    let first = call.arguments.first();
    first.map_or_else(String::new, |word| {
        word.value.to_string_lossy().to_ascii_lowercase()
    })
}

/// The folder that an argument names.
fn path(call: &Invocation, place: usize) -> Result<PathBuf, Failure> {
    let argument = call.arguments.get(place);
    let text = argument.map_or_else(Default::default, |argument| argument.value.clone());
    let text = text
        .into_string()
        .map(|text| crate::paths::expand_path(&text).into());
    absolute(Path::new(&text.unwrap_or_else(|raw| raw)))
}

/// The version that the second argument names.
fn version(call: &Invocation) -> Result<Option<String>, Failure> {
    Ok(call.texts()?.get(2).cloned())
}

fn index_file(call: &Invocation) -> Result<Option<PathBuf>, Failure> {
    let path = call
        .values
        .find(opt::INDEXFILE)?
        .filter(|path| !path.is_empty());
    path.map(|path| absolute(Path::new(&path))).transpose()
}

fn download(call: &Invocation, folder: &Path) -> Result<i32, Failure> {
    let session = Session::new(call, RunKind::Other)?;
    let report = session.download(folder)?;
    output::recovery(&report, call)
}

/// Runs a step that needs no destination.
fn local<T>(
    call: &Invocation,
    kind: RunKind,
    work: impl FnOnce(&Recovery) -> Result<T, Error>,
) -> Result<T, Failure> {
    let session = Session::new(call, kind)?;
    let recovery = session.recovery(None)?;
    for problem in &call.problems {
        recovery.warn(problem.id, problem.message.clone());
    }
    let result = work(&recovery);
    session.console.end();
    Ok(result?)
}

fn index(call: &Invocation, folder: &Path) -> Result<i32, Failure> {
    let file = index_file(call)?;
    let report = local(call, RunKind::Other, |recovery| {
        recovery.index(folder, file.as_deref())
    })?;
    output::recovery(&report, call)
}

fn list(call: &Invocation, folder: &Path) -> Result<i32, Failure> {
    let version = version(call)?;
    let report = local(call, RunKind::Listing, |recovery| {
        recovery.list(folder, version.as_deref(), &call.filters)
    })?;
    let code = output::listing(&report, version.is_none(), call);
    Ok(match report.common.parsed_result {
        Outcome::Success => code,
        Outcome::Warning | Outcome::Error => 2,
    })
}

fn restore_files(call: &Invocation, folder: &Path) -> Result<i32, Failure> {
    let Some(target) = restore::target(call)? else {
        return Err(Failure::known(
            "NoRestorePath",
            "recovery restore puts files only where it is told to",
            "give --targetpath=…; for the original places write --targetpath=/ --dont-compress-restore-paths",
        ));
    };
    let request = RecoveryRequest {
        folder: folder.to_owned(),
        index_file: index_file(call)?,
        version: version(call)?,
        filters: call.filters.clone(),
        target,
    };
    let report = local(call, RunKind::Other, |recovery| recovery.restore(&request))?;
    output::restore(&report, call)
}
