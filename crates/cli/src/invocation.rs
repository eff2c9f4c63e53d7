//! One call of the program: verb, storage URL, arguments, options and filters, collected from all places they come from.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use larder_engine::source::Action;
use larder_engine::{Level, MIN_DBLOCK_BYTES};
use larder_options::command_line::{self, CommandLine, Filter, FilterAction};
use larder_options::parameters_file::{self, ParametersFile};
use larder_options::value::format_size;
use larder_options::{
    Kind, Origin, Problem, Severity, Status, Values, check, engine as opt, find_decl,
};

use crate::applies;
use crate::failure::{Failure, Shape};
use crate::help;
use crate::logging::LogFile;
use crate::paths::{expand_options, expand_path, expand_variables, shown, storage_url};
use crate::tables::tables;

/// Everything a command needs to know about its call.
#[derive(Debug)]
pub struct Invocation {
    /// The name the program was started under, for help texts.
    pub program: String,
    /// The command in lower case, aliases resolved; empty when none was given.
    pub verb: String,
    /// Storage URL, when the command has one and it was given.
    pub url: Option<String>,
    /// Further positional arguments.
    pub arguments: Vec<Argument>,
    /// Option values of all layers.
    pub values: Values,
    /// Filters in order, variables expanded.
    pub filters: Vec<(Action, String)>,
    /// What is wrong with the options, for whoever runs the command.
    pub problems: Vec<Problem>,
    /// What is to be said about options, but is nothing to complain about.
    pub remarks: Vec<Problem>,
    /// True when help was asked for.
    pub wants_help: bool,
    /// The log file, once it was opened.
    pub log: Option<Arc<LogFile>>,
    /// The first option of the command line, which `help --name` asks about.
    pub first_option: Option<String>,
}

/// A positional argument.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Its text.
    pub value: OsString,
    /// The option without a value right before it, when that option needs one: `--name value` was typed for
    /// `--name=value` (commands spec 9, Q8).
    pub after: Option<&'static str>,
}

/// Words that ask for help wherever they stand.
const HELP_WORDS: &[&str] = &["help", "/help", "usage", "/usage", "/h", "-h", "-?"];

/// Environment variables that set an option.
const VARIABLES: &[(&str, &str)] = &[
    ("PASSPHRASE", "passphrase"),
    ("AUTH_USERNAME", "auth-username"),
    ("AUTH_PASSWORD", "auth-password"),
    ("AUTHID", "authid"),
    ("DUPLICATI_OAUTH_SERVICE", "oauth-url"),
];

impl Invocation {
    /// Reads the program's arguments, the parameters file and the environment.
    pub fn read(args: &[OsString]) -> Result<Self, Failure> {
        let line = command_line::parse(args.iter().skip(1).cloned())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut values = Values::new();
        for (name, value) in &line.options {
            values.set(name, value.as_deref(), Origin::CommandLine);
        }
        for (variable, option) in VARIABLES {
            if let Ok(value) = std::env::var(variable) {
                values.set(option, Some(&value), Origin::Environment);
            }
        }
        let asks = |word: &OsString| HELP_WORDS.iter().any(|help| word == help);
        let wants_help = line.positional.iter().any(asks)
            || ["help", "usage"].iter().any(|n| values.raw(n).is_some());
        values.unset("help", Origin::CommandLine);
        values.unset("usage", Origin::CommandLine);
        let mut positional = positional(&line)?;
        if wants_help {
            positional.retain(|argument| !asks(&argument.value));
        }
        let mut filters = line.filters;
        let file = parameters_file(&mut values)?;
        expand_options(&mut values);
        filters = file
            .join_filters(filters)
            .map_err(|error| Failure::general(error.to_string()))?;
        let verb = if positional.is_empty() {
            String::new()
        } else {
            let word = positional.remove(0).value.to_string_lossy().into_owned();
            help::canonical(&word).map_or(word, str::to_owned)
        };
        let has_url = help::find(&verb).is_some_and(|command| command.has_url);
        let mut url = None;
        if has_url && !positional.is_empty() {
            let given = positional.remove(0).value.into_string();
            url = Some(given.map_err(|raw| {
                Failure::usage(format!("the storage URL {} is not UTF-8", shown(&raw)))
            })?);
        }
        if has_url && file.target.is_some() {
            url = file.target;
        }
        if matches!(verb.as_str(), "backup" | "test-filters") {
            positional.extend(file.sources.into_iter().map(|source| Argument {
                value: source.into(),
                after: None,
            }));
        }
        let empty = positional.iter().any(|argument| argument.value.is_empty())
            || url.as_deref() == Some("");
        // There an empty passphrase asks for it.
        if empty && !wants_help && verb != "aescrypt" {
            return Err(Failure::usage_with(
                "an argument is empty",
                "a variable in a script may not be set; leave the argument out, or write . for the working folder",
            ));
        }
        if !wants_help {
            url = url.map(|text| storage_url(&text)).transpose()?;
        }
        let (problems, remarks) = if wants_help {
            Default::default()
        } else {
            problems(&values, &verb, changes_files(&verb, &positional))
        };
        Ok(Self {
            program: program_name(args.first()),
            verb,
            url,
            arguments: positional,
            values,
            filters: filters.into_iter().map(engine_filter).collect(),
            problems,
            remarks,
            wants_help,
            log: None,
            first_option: line.options.into_iter().next().map(|(name, _)| name),
        })
    }

    /// The storage URL.
    pub fn need_url(&self) -> Result<&str, Failure> {
        self.url.as_deref().ok_or_else(|| {
            Failure::usage(format!(
                "the command {} needs a storage URL, for example file:///mnt/disk/backup",
                self.verb
            ))
        })
    }

    /// Stops the command before it begins when an option cannot be passed over.
    ///
    /// # Errors
    /// The first of the problems that is fatal.
    pub fn refuse(&self, problems: &[Problem]) -> Result<(), Failure> {
        let is_fatal = |problem: &&Problem| problem.severity == Severity::Fatal;
        let Some(problem) = problems.iter().find(is_fatal) else {
            return Ok(());
        };
        let hint = match problem.id {
            check::UNSUPPORTED => {
                "nothing was done: correct the name, or leave the option out".to_owned()
            }
            _ => format!("see `{} help {}`", self.program, problem.option),
        };
        Err(Failure::known(problem.id, problem.message.clone(), hint))
    }

    /// Arguments as text; those that are not UTF-8 are refused.
    pub fn texts(&self) -> Result<Vec<String>, Failure> {
        self.arguments
            .iter()
            .map(|a| {
                a.value.to_str().map(str::to_owned).ok_or_else(|| {
                    Failure::usage(format!("the argument {} is not UTF-8", shown(&a.value)))
                })
            })
            .collect()
    }

    /// Refuses more than `most` arguments after the URL.
    pub fn at_most(&self, most: usize) -> Result<(), Failure> {
        if self.arguments.len() <= most {
            return Ok(());
        }
        let places = match most {
            0 => "no argument".to_owned(),
            1 => "one argument at most".to_owned(),
            n => format!("{n} arguments at most"),
        };
        Err(Failure::usage(format!(
            "{} takes {places} after the storage URL, but there {} {}",
            self.verb,
            if self.arguments.len() == 1 {
                "is"
            } else {
                "are"
            },
            self.arguments.len()
        )))
    }

    /// For list and restore: whether the control files are meant, not the backed up ones.
    ///
    /// # Errors
    /// A word that is neither yes nor no.
    pub fn wants_control_files(&self) -> Result<bool, Failure> {
        let Some(setting) = self.values.setting(opt::CONTROL_FILES.decl) else {
            return Ok(false);
        };
        let text = setting.value.unwrap_or_default();
        if text.is_empty() {
            return Ok(true);
        }
        larder_options::value::parse_bool_strict(text).ok_or_else(|| {
            Failure::known(
                check::INVALID,
                format!(
                    "option --{}: \"{text}\" is neither yes nor no",
                    setting.name
                ),
                format!("for {} it is a yes or no", self.verb),
            )
        })
    }

    /// Puts the result of the command into the log file.
    pub fn log_result(&self, text: &str) {
        if let Some(log) = &self.log {
            log.say(Level::Information, "Result", text);
        }
    }

    /// Whether the result is wanted as JSON.
    pub fn json(&self) -> bool {
        self.values.get(opt::JSON).unwrap_or(false)
    }

    /// How a failure of this call is printed.
    pub fn shape(&self) -> Shape {
        if self.json() {
            Shape::Json
        } else if self.values.get(opt::DEBUG_OUTPUT).unwrap_or(false) {
            Shape::Debug
        } else {
            Shape::Text
        }
    }
}

/// How failures are printed before the arguments could be understood.
pub fn shape_of(args: &[OsString]) -> Shape {
    let asked = args.iter().any(|arg| {
        arg.to_str().is_some_and(|text| {
            let text = text.to_ascii_lowercase();
            text.strip_prefix("--json").is_some_and(|rest| {
                rest.is_empty()
                    || rest
                        .strip_prefix('=')
                        .is_some_and(|value| larder_options::value::parse_bool(value, true))
            })
        })
    });
    if asked { Shape::Json } else { Shape::Text }
}

/// The file name of the first argument of the process.
fn program_name(first: Option<&OsString>) -> String {
    first
        .and_then(|path| Path::new(path).file_name())
        .and_then(OsStr::to_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("larder")
        .to_owned()
}

/// The positional arguments, each with the option that probably should have had it as its value.
fn positional(line: &CommandLine) -> Result<Vec<Argument>, Failure> {
    let tables = tables();
    let mut arguments = Vec::with_capacity(line.positional.len());
    for (place, value) in line.positional.iter().enumerate() {
        let decl = line
            .bare_option_before(place)
            .and_then(|name| find_decl(name, &tables))
            .filter(|decl| !matches!(decl.kind, Kind::Bool))
            .filter(|decl| !decl.kind.choices().contains(&"True"));
        if let Some(decl) = decl.filter(|decl| decl.is_secret()) {
            // Taken as an argument it would be printed, or used as the name of a folder.
            return Err(Failure::usage_with(
                format!("option --{} stands without its value", decl.name),
                format!("write --{}=… with the equals sign", decl.name),
            ));
        }
        arguments.push(Argument {
            value: value.clone(),
            after: decl.map(|decl| decl.name),
        });
    }
    Ok(arguments)
}

/// Reads the parameters file, if one is named, and lays its options over the others.
fn parameters_file(values: &mut Values) -> Result<ParametersFile, Failure> {
    let Some(path) = values.find(opt::PARAMETERS_FILE)? else {
        return Ok(ParametersFile::default());
    };
    let path = expand_path(&path);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::general(format!(
            "the parameters file {path} cannot be read: {error}"
        ))
    })?;
    let file = parameters_file::parse(&text)
        .map_err(|error| Failure::general(format!("the parameters file {path}: {error}")))?;
    for (name, value) in &file.options {
        values.set(name, value.as_deref(), Origin::ParametersFile);
    }
    Ok(file)
}

/// Complaints and remarks about options.
fn problems(values: &Values, verb: &str, changes: bool) -> (Vec<Problem>, Vec<Problem>) {
    let tables = tables();
    let mut problems = check::check(values, &tables);
    problems.extend(applies::problems(values, verb));
    problems.extend(raised_volume_size(values));
    // For these commands the option is a yes or no.
    if matches!(verb, "list" | "find" | "restore") {
        problems.retain(|p| p.option != opt::CONTROL_FILES.decl.name);
    }
    weigh(values, changes, &mut problems);
    let only_reads = !matches!(verb, "backup" | "repair");
    problems.retain(|problem| {
        let status = find_decl(&problem.option, &tables).map(|decl| decl.status);
        !(only_reads && matches!(status, Some(Status::Refused { reading: false, .. })))
    });
    problems
        .into_iter()
        .partition(|problem| problem.severity > Severity::Information)
}

/// Whether a command changes files, here or at the destination.
pub fn changes_files(verb: &str, arguments: &[Argument]) -> bool {
    let first = arguments.first().map(|argument| &argument.value);
    let only_lists = matches!(verb, "destination" | "recovery")
        && first.is_some_and(|word| word.eq_ignore_ascii_case("list"));
    !only_lists && help::find(verb).is_some_and(|command| command.changes_files)
}

/// A misspelt option does no harm where no file is changed: there it is a warning. Where files are to be replaced, every
/// option that nobody knows may be one that says where to or which.
pub fn weigh(values: &Values, changes: bool, problems: &mut [Problem]) {
    let replaces = values.get(opt::OVERWRITE).unwrap_or(false);
    for problem in problems
        .iter_mut()
        .filter(|problem| problem.id == check::UNSUPPORTED)
    {
        if !changes {
            problem.severity = Severity::Warning;
        } else if replaces && !check::is_of_duplicati(&problem.option) {
            problem.severity = Severity::Fatal;
        }
    }
}

/// The complaint about volumes that are smaller than any may be.
fn raised_volume_size(values: &Values) -> Option<Problem> {
    let setting = values.setting(opt::DBLOCK_SIZE.decl)?;
    let size = values.get(opt::DBLOCK_SIZE).ok()?;
    (size < MIN_DBLOCK_BYTES).then(|| Problem {
        id: check::INVALID,
        option: setting.name.to_owned(),
        message: format!(
            "option --{}: {} is too small, {} is used",
            setting.name,
            format_size(size),
            format_size(MIN_DBLOCK_BYTES)
        ),
        severity: Severity::Warning,
    })
}

fn engine_filter((action, text): Filter) -> (Action, String) {
    let action = match action {
        FilterAction::Include => Action::Include,
        FilterAction::Exclude => Action::Exclude,
    };
    (action, expand_variables(&text))
}
