//! `restore`.

use larder_engine::RestoreRequest;
use larder_options::engine as opt;

use super::{expanded, now};
use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::{Invocation, expand, working_folder};
use crate::open::{Access, Session};
use crate::output;

/// Runs the command; gives the exit code.
pub fn run(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    let target = call
        .values
        .find(opt::RESTORE_PATH)?
        .filter(|path| !path.is_empty())
        .map(|path| working_folder().join(expand(&path)));
    let mut patterns = expanded(call.texts()?);
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
        if call.wants_control_files() {
            engine.restore_control_files(&request)
        } else {
            engine.restore(&request)
        }
    })?;
    output::restore(&report, call)
}
