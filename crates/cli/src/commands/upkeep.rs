//! `test`, `repair`, `delete`, `compact`, `purge`, `purge-broken-files`, `vacuum`, `set-locks` and `read-lock-info`.

use larder_engine::{PurgeRequest, Run, Samples};
use larder_options::engine as opt;

use crate::console::RunKind;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::open::{Access, OnCatalog, Session};
use crate::output;
use crate::paths::expand_variables;

/// Runs `test`; gives the exit code.
pub fn test(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(1)?;
    let samples = match call.texts()?.first().map(|t| t.to_ascii_lowercase()) {
        None => Samples::Count(1),
        Some(text) if text == "all" || text == "everything" => Samples::All,
        Some(text) => match text.parse() {
            Ok(count) if count > 0 => Samples::Count(count),
            _ => {
                return Err(Failure::usage(format!(
                    "{text} is no number of samples: write a number, or all"
                )));
            }
        },
    };
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Reads, |engine| engine.test(samples))?;
    output::test(&report, call)
}

/// Runs `repair`; gives the exit code.
pub fn repair(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Writes, Run::repair)?;
    output::repair(&report, call)
}

/// Runs `vacuum`; gives the exit code.
pub fn vacuum(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let session = Session::new(call, RunKind::Other)?;
    let OnCatalog { opened, lasting } = session.open_lasting()?;
    let result = opened.run.vacuum();
    let mut report = session.finish(opened, result)?;
    report.database_path = lasting.map(|path| path.display().to_string());
    if report.database_path.is_none() {
        (report.size_before, report.size_after) = (0, 0);
    }
    output::vacuum(&report, call)
}

/// Runs `set-locks`; gives the exit code.
pub fn set_locks(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let is_set = |decl| call.values.setting(decl).is_some();
    if !is_set(opt::REMOTE_FILE_LOCK_DURATION.decl) {
        return Err(Failure::usage(
            "set-locks needs --remote-file-lock-duration, such as 30D",
        ));
    }
    let names_versions = is_set(opt::VERSION.decl) || is_set(opt::TIME.decl);
    if !names_versions && !call.values.get(opt::ALL_VERSIONS)? {
        return Err(Failure::usage(
            "set-locks needs one of --version, --time and --all-versions=true",
        ));
    }
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Writes, Run::set_locks)?;
    output::set_locks(&report, call)
}

/// Runs `read-lock-info`; gives the exit code.
pub fn read_lock_info(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Reads, Run::read_lock_info)?;
    output::read_lock_info(&report, call)
}

/// Runs `delete`; gives the exit code.
pub fn delete(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let rules = [
        opt::VERSION.decl,
        opt::KEEP_VERSIONS.decl,
        opt::KEEP_TIME.decl,
        opt::RETENTION_POLICY.decl,
    ];
    if !rules.iter().any(|rule| call.values.setting(rule).is_some()) {
        return Err(Failure::usage(
            "delete needs one of --version, --keep-versions, --keep-time and --retention-policy",
        ));
    }
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Writes, Run::delete)?;
    output::delete(&report, call)
}

/// Runs `compact`; gives the exit code.
pub fn compact(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Writes, Run::compact)?;
    output::compact(&report, call)
}

/// Runs `purge`; gives the exit code.
pub fn purge(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    let patterns = call.texts()?;
    match (patterns.is_empty(), call.filters.is_empty()) {
        (true, true) => {
            return Err(Failure::usage(
                "purge needs the paths to take out of the versions, or an --include filter",
            ));
        }
        (false, false) => {
            return Err(Failure::usage(
                "purge takes either paths or filters, not both",
            ));
        }
        _ => {}
    }
    let request = PurgeRequest {
        patterns: patterns.iter().map(|text| expand_variables(text)).collect(),
        filters: call.filters.clone(),
    };
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Writes, |engine| engine.purge(&request))?;
    output::purge(&report, call)
}

/// Runs `purge-broken-files`; gives the exit code.
pub fn purge_broken_files(call: &Invocation) -> Result<i32, Failure> {
    call.need_url()?;
    call.at_most(0)?;
    let session = Session::new(call, RunKind::Other)?;
    let report = session.reading(Access::Writes, Run::purge_broken_files)?;
    output::purge(&report, call)
}
