//! The verbs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use larder_destination::Url;
use larder_engine::source::{
    Filter, HardlinkPolicy, SymlinkPolicy, WalkOptions, is_empty_folder, prepare_sources,
};
use larder_engine::{
    BackupRequest, Cancel, Engine, Error, Level, ListRequest, Message, Monitor, RestoreRequest,
    Samples, Setup, SystemClock, SystemRng,
};
use larder_options::{Secret, Values, engine as opt};

use crate::console::{Console, Style, print};
use crate::help;
use crate::invocation::{Invocation, expand, tables, working_folder};
use crate::logfile::{LogFile, level};
use crate::output::{self, Failure};
use crate::{secrets, signals, state};

/// Runs the program; gives its exit code.
pub fn run(args: Vec<OsString>) -> i32 {
    let invocation = match Invocation::read(args) {
        Ok(invocation) => invocation,
        Err(failure) => {
            failure.print(false);
            return failure.code;
        }
    };
    if invocation.wants_help || invocation.verb.is_empty() || invocation.verb == "help" {
        let topic = match invocation.verb.as_str() {
            "" => None,
            "help" => invocation
                .arguments
                .first()
                .map(|a| a.to_string_lossy().into_owned()),
            verb => Some(verb.to_owned()),
        };
        help::print_help(topic.as_deref());
        return 0;
    }
    let json = invocation.values.get(opt::JSON).unwrap_or(false);
    match dispatch(&invocation, json) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(json);
            failure.code
        }
    }
}

fn dispatch(call: &Invocation, json: bool) -> Result<i32, Failure> {
    match call.verb.as_str() {
        "backup" => backup(call, json),
        "restore" => restore(call, json),
        "list" => list(call, json, false),
        "find" => list(call, json, true),
        "list-filesets" => list_filesets(call, json),
        "test" | "verify" => test(call, json),
        "repair" => repair(call, json),
        "test-filters" | "test-filter" => test_filters(call),
        "completion" => completion(call),
        "man" => {
            let text = larder_options::render::man_page(
                "larder",
                env!("CARGO_PKG_VERSION"),
                "backups in Duplicati's format",
                help::VERBS,
                &tables(),
            );
            print(&text);
            Ok(0)
        }
        other => {
            let names: Vec<&str> = help::VERBS.iter().map(|v| v.name).collect();
            let near = names
                .iter()
                .find(|n| n.starts_with(other) || other.starts_with(**n));
            let hint = near.map_or_else(
                || "see `larder help`".to_owned(),
                |n| format!("did you mean `larder {n}`?"),
            );
            Err(Failure::new(
                200,
                None,
                format!("Command not supported: {other}"),
                hint,
            ))
        }
    }
}

/// An engine with its console.
struct Run {
    engine: Engine,
    console: Arc<Console>,
}

impl Run {
    fn finish<T>(self, result: Result<T, Error>) -> Result<T, Failure> {
        self.console.end();
        let closed = self.engine.close();
        let value = result.map_err(|e| Failure::from_engine(&e))?;
        closed.map_err(|e| Failure::from_engine(&e))?;
        Ok(value)
    }
}

/// What kind of run is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Reads,
    Writes,
}

fn usage(error: larder_options::Error) -> Failure {
    Failure::new(
        100,
        Some("OptionValidationError"),
        error.to_string(),
        String::new(),
    )
}

fn open(
    call: &Invocation,
    json: bool,
    access: Access,
    passphrase: Option<Secret>,
) -> Result<Run, Failure> {
    let values = &call.values;
    let text = call.need_url()?;
    let folder = working_folder();
    let url = Url::parse(text, &folder).map_err(|e| {
        Failure::new(
            100,
            Some("InvalidDestination"),
            e.to_string(),
            "see `larder help` for the form of a URL".into(),
        )
    })?;
    let destination = larder_registry::open(text, values, &folder)
        .map_err(|e| Failure::from_engine(&Error::Destination(e)))?;
    let state_path = if values.get(opt::NO_LOCAL_DB).map_err(usage)? && access == Access::Reads {
        std::env::temp_dir().join(format!("larder-{}.sqlite", std::process::id()))
    } else {
        state::catalog_path(values, &url)?
    };
    let dry = values.get(opt::DRY_RUN).map_err(usage)?;
    let threshold = values
        .find(opt::CONSOLE_LOG_LEVEL)
        .map_err(usage)?
        .map_or(if dry { Level::DryRun } else { Level::Warning }, |l| {
            level(&l)
        });
    let style = Style {
        quiet: values.get(opt::QUIET_CONSOLE).map_err(usage)?,
        json,
        threshold,
        backup: call.verb == "backup",
    };
    let console = Arc::new(Console::new(&style, LogFile::open(values)?));
    let cancel = Cancel::new();
    signals::watch(cancel.clone());
    let engine = Engine::open(Setup {
        destination,
        values: values.clone(),
        passphrase,
        state_path,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        monitor: console.clone(),
        cancel,
        writes: access == Access::Writes,
    })
    .map_err(|e| Failure::from_engine(&e))?;
    for problem in &call.problems {
        engine.warn(problem.id, problem.message.clone());
    }
    Ok(Run { engine, console })
}

/// Opens a reading run; when it turns out that a passphrase is needed, asks for it and tries again.
fn reading<T>(
    call: &Invocation,
    json: bool,
    access: Access,
    work: impl Fn(&Engine) -> Result<T, Error>,
) -> Result<T, Failure> {
    let passphrase = secrets::given(&call.values)?;
    let had = passphrase.is_some();
    let run = open(call, json, access, passphrase)?;
    let result = work(&run.engine);
    let missing = matches!(&result, Err(error) if error.id() == Some("PassphraseMissing"));
    if missing && !had {
        let outcome = run.finish(result);
        if let Some(passphrase) = secrets::ask(&call.values, false)? {
            let run = open(call, json, access, Some(passphrase))?;
            let result = work(&run.engine);
            return run.finish(result);
        }
        return outcome;
    }
    run.finish(result)
}

fn walk_options(values: &Values, filter: Filter) -> Result<WalkOptions, Failure> {
    Ok(WalkOptions {
        filter,
        exclude_attributes: values
            .find(opt::EXCLUDE_FILES_ATTRIBUTES)
            .map_err(usage)?
            .unwrap_or_default(),
        max_size: values
            .find(opt::SKIP_FILES_LARGER_THAN)
            .map_err(usage)?
            .filter(|s| *s > 0),
        ignore_names: values
            .find(opt::IGNORE_FILENAMES)
            .map_err(usage)?
            .unwrap_or_default(),
        symlinks: match values
            .get(opt::SYMLINK_POLICY)
            .map_err(usage)?
            .to_ascii_lowercase()
            .as_str()
        {
            "follow" => SymlinkPolicy::Follow,
            "ignore" => SymlinkPolicy::Ignore,
            _ => SymlinkPolicy::Store,
        },
        hardlinks: match values
            .get(opt::HARDLINK_POLICY)
            .map_err(usage)?
            .to_ascii_lowercase()
            .as_str()
        {
            "first" => HardlinkPolicy::First,
            "none" => HardlinkPolicy::None,
            _ => HardlinkPolicy::All,
        },
        exclusion_xattrs: !values
            .get(opt::DISABLE_BACKUP_EXCLUSION_XATTR)
            .map_err(usage)?,
        exclude_empty_folders: values.get(opt::EXCLUDE_EMPTY_FOLDERS).map_err(usage)?,
    })
}

fn compile(call: &Invocation) -> Result<Filter, Failure> {
    let sensitive = std::env::var("FILESYSTEM_CASE_SENSITIVE")
        .ok()
        .is_none_or(|text| larder_options::value::parse_bool(&text, true));
    Filter::parse(&call.filters, sensitive).map_err(|e| {
        Failure::new(
            100,
            Some("InvalidFilter"),
            e.to_string(),
            "see `larder help filters`".into(),
        )
    })
}

/// Sources as folders to walk, with the messages about those that are not there.
fn sources(call: &Invocation, engine: &dyn Monitor) -> Result<BackupRequest, Failure> {
    let values = &call.values;
    let given: Vec<PathBuf> = call
        .arguments
        .iter()
        .map(|a| {
            a.to_str()
                .map_or_else(|| PathBuf::from(a), |text| PathBuf::from(expand(text)))
        })
        .collect();
    let prepared = prepare_sources(&given, &working_folder(), &compile(call)?);
    for missing in &prepared.missing {
        if values.get(opt::ABORT_IF_SOURCE_MISSING).map_err(usage)? {
            return Err(Failure::new(
                100,
                Some("SourceIsMissing"),
                format!("the source {} does not exist", missing.display()),
                "mount or create it, or leave --abort-if-source-missing out".into(),
            ));
        }
        if !values.get(opt::ALLOW_MISSING_SOURCE).map_err(usage)? {
            engine.message(&Message {
                level: Level::Warning,
                id: "SourceIsMissing",
                text: format!(
                    "the source {} does not exist and is passed over",
                    missing.display()
                ),
            });
        }
    }
    if values.get(opt::PREVENT_EMPTY_SOURCE).map_err(usage)? {
        for root in &prepared.roots {
            if root.is_dir() && is_empty_folder(root).unwrap_or(false) {
                return Err(Failure::new(
                    100,
                    Some("SourceIsEmpty"),
                    format!("the source folder {} is empty", root.display()),
                    "mount it, or leave --prevent-empty-source out".into(),
                ));
            }
        }
    }
    Ok(BackupRequest {
        sources: prepared.roots,
        options: walk_options(values, prepared.filter)?,
    })
}

fn backup(call: &Invocation, json: bool) -> Result<i32, Failure> {
    if call.url.is_none() || call.arguments.is_empty() {
        return Err(Failure::usage(
            "backup needs a storage URL and at least one source".into(),
        ));
    }
    let values = &call.values;
    let plain = values.get(opt::NO_ENCRYPTION).map_err(usage)?
        || values
            .get(opt::ENCRYPTION_MODULE)
            .map_err(usage)?
            .is_empty();
    let mut passphrase = secrets::given(values)?;
    if passphrase.is_none() && !plain {
        passphrase = secrets::ask(values, true)?;
    }
    let run = open(call, json, Access::Writes, passphrase)?;
    let quiet = values.get(opt::QUIET_CONSOLE).map_err(usage)? || json;
    if !quiet {
        print(&format!(
            "Backup started at {}",
            jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %:z")
        ));
    }
    let forward = Forward(&run.engine);
    let request = match sources(call, &forward) {
        Ok(request) => request,
        Err(failure) => {
            run.console.end();
            return Err(failure);
        }
    };
    let result = run.engine.backup(&request);
    let report = run.finish(result)?;
    if json || values.get(opt::FULL_RESULT).map_err(usage)? {
        output::json(&report)?;
    }
    Ok(output::backup(&report, quiet))
}

/// Hands messages to the engine's reporter, so that they count.
struct Forward<'a>(&'a Engine);

impl Monitor for Forward<'_> {
    fn message(&self, message: &Message) {
        self.0.warn(message.id, message.text.clone());
    }
    fn phase(&self, _: larder_engine::Phase) {}
    fn transfer(&self, _: &larder_engine::Transfer) {}
    fn progress(&self, _: Arc<larder_engine::Progress>) {}
}

fn restore(call: &Invocation, json: bool) -> Result<i32, Failure> {
    call.need_url()?;
    let target = call
        .values
        .find(opt::RESTORE_PATH)
        .map_err(usage)?
        .map(|p| working_folder().join(expand(&p)));
    let mut patterns = call.texts()?;
    if patterns.iter().any(|p| p == "*") {
        patterns.clear();
    }
    let request = RestoreRequest {
        patterns,
        filters: call.filters.clone(),
        target,
    };
    let quiet = call.values.get(opt::QUIET_CONSOLE).map_err(usage)? || json;
    if !quiet {
        print(&format!(
            "Restore started at {}",
            jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %:z")
        ));
    }
    let report = reading(call, json, Access::Reads, |engine| engine.restore(&request))?;
    if json {
        output::json(&report)?;
    }
    Ok(output::restore(&report, quiet))
}

fn list(call: &Invocation, json: bool, find: bool) -> Result<i32, Failure> {
    call.need_url()?;
    let mut request = ListRequest {
        patterns: call.texts()?,
        filters: call.filters.clone(),
        all_versions: find,
        version_argument: None,
    };
    if let [only] = request.patterns.as_slice()
        && is_version_argument(only)
    {
        request.version_argument = Some(only.clone());
        request.patterns.clear();
    }
    let only_versions = request.patterns.is_empty()
        && request.filters.is_empty()
        && request.version_argument.is_none();
    let report = reading(call, json, Access::Reads, |engine| engine.list(&request))?;
    if json {
        output::json(&report)?;
    } else if only_versions {
        output::versions(&report, false);
    } else {
        output::files(&report);
    }
    Ok(0)
}

/// A number or a time stands for a version; everything else is a pattern.
fn is_version_argument(text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    text.parse::<u64>().is_ok()
        || larder_options::value::parse_time(
            text,
            &jiff::Zoned::now(),
            larder_options::value::Direction::Backwards,
        )
        .is_ok()
}

fn list_filesets(call: &Invocation, json: bool) -> Result<i32, Failure> {
    call.at_most(0)?;
    if call.values.is_set(opt::VERSION) || call.values.is_set(opt::TIME) {
        return Err(Failure::usage(
            "list-filesets lists all versions: leave --version and --time out".into(),
        ));
    }
    let report = reading(call, json, Access::Reads, Engine::list_filesets)?;
    if json {
        output::json(&report)?;
    } else {
        output::versions(&report, true);
    }
    Ok(0)
}

fn test(call: &Invocation, json: bool) -> Result<i32, Failure> {
    call.at_most(1)?;
    let samples = match call
        .texts()?
        .first()
        .map(|t| t.to_ascii_lowercase())
        .as_deref()
    {
        None => Samples::Count(1),
        Some("all" | "everything") => Samples::All,
        Some(text) => match text.parse() {
            Ok(n) => Samples::Count(n),
            Err(_) => {
                return Err(Failure::usage(format!(
                    "{text} is no number of samples; write a number or all"
                )));
            }
        },
    };
    let report = reading(call, json, Access::Reads, |engine| engine.test(samples))?;
    if json {
        output::json(&report)?;
        return Ok(if report.damaged() > 0 { 3 } else { 0 });
    }
    Ok(output::test(
        &report,
        call.values.get(opt::FULL_RESULT).map_err(usage)?,
    ))
}

fn repair(call: &Invocation, json: bool) -> Result<i32, Failure> {
    call.at_most(0)?;
    let report = reading(call, json, Access::Writes, Engine::repair)?;
    if json {
        output::json(&report)?;
    } else {
        output::repair(&report);
    }
    Ok(0)
}

fn test_filters(call: &Invocation) -> Result<i32, Failure> {
    struct Plain;
    impl Monitor for Plain {
        fn message(&self, message: &Message) {
            print(&message.text);
        }
        fn phase(&self, _: larder_engine::Phase) {}
        fn transfer(&self, _: &larder_engine::Transfer) {}
        fn progress(&self, _: Arc<larder_engine::Progress>) {}
    }
    if call.arguments.is_empty() {
        return Err(Failure::usage(
            "test-filters needs at least one source".into(),
        ));
    }
    let request = sources(call, &Plain)?;
    let verbose = call
        .values
        .find(opt::CONSOLE_LOG_LEVEL)
        .map_err(usage)?
        .is_some_and(|l| level(&l) == Level::Verbose);
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for item in larder_engine::source::Walk::new(request.sources, request.options) {
        use larder_engine::source::{FileKind, WalkItem};
        match item {
            WalkItem::Entry(entry) => {
                if entry.facts.kind == FileKind::File {
                    files += 1;
                    bytes += entry.facts.size;
                }
                if verbose {
                    print(&format!(
                        "Including {}",
                        String::from_utf8_lossy(&entry.path)
                    ));
                }
            }
            WalkItem::Skipped { path, why } if verbose => {
                print(&format!(
                    "Excluding {} ({why:?})",
                    String::from_utf8_lossy(&path)
                ));
            }
            WalkItem::Problem { path, error } => {
                print(&format!("{}: {error}", String::from_utf8_lossy(&path)))
            }
            WalkItem::Skipped { .. } => {}
        }
    }
    print(&format!(
        "Matched {files} files ({})",
        larder_options::value::format_size(bytes)
    ));
    Ok(0)
}

fn completion(call: &Invocation) -> Result<i32, Failure> {
    use larder_options::render::{bash_completion, fish_completion, zsh_completion};
    let tables = tables();
    let text = match call.texts()?.first().map(String::as_str) {
        Some("bash") => bash_completion("larder", help::VERBS, &tables),
        Some("zsh") => zsh_completion("larder", help::VERBS, &tables),
        Some("fish") => fish_completion("larder", help::VERBS, &tables),
        _ => {
            return Err(Failure::usage(
                "completion needs the shell: bash, zsh or fish".into(),
            ));
        }
    };
    print(&text);
    Ok(0)
}
