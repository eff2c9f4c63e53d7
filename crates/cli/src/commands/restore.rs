//! `restore`.

use std::path::{Path, PathBuf};

use larder_engine::RestoreRequest;
use larder_options::engine as opt;

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::{Access, Session};
use crate::output;
use crate::paths::{absolute, expand_variables};
use crate::words::now;

/// Runs the command; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    let target = target(call)?;
    let control_files = call.wants_control_files()?;
    let mut patterns: Vec<String> = call
        .texts()?
        .iter()
        .map(|text| expand_variables(text))
        .collect();
    if patterns.iter().any(|pattern| pattern == "*") {
        patterns.clear();
    }
    let request = RestoreRequest {
        patterns,
        filters: call.filters.clone(),
        target,
    };
    let session = Session::new(call, RunKind::Other)?;
    session
        .console
        .line(&format!("Restore started at {}", now()));
    let report = session.reading(Access::Reads, |engine| {
        if control_files {
            engine.restore_control_files(&request)
        } else {
            engine.restore(&request)
        }
    })?;
    output::restore(&report, call)
}

/// `--restore-path`; without it files go back to where they were.
///
/// # Errors
/// For an option without a folder: the files would be written over those that are there now.
pub(super) fn target(call: &Invocation) -> Result<Option<PathBuf>, Failure> {
    if !call.values.is_set(opt::RESTORE_PATH) {
        return Ok(None);
    }
    let path = call.values.find(opt::RESTORE_PATH)?.unwrap_or_default();
    if path.is_empty() {
        return Err(Failure::known(
            "OptionValidationError",
            "option --restore-path names no folder; a variable in a script may not be set",
            "write --restore-path=… with a folder, or leave the option out to restore to where the files were",
        ));
    }
    absolute(Path::new(&path)).map(Some)
}
