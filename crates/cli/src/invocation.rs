//! One call of the program: verb, storage URL, arguments, options and filters, collected from all places they come from.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use larder_engine::source::Action;
use larder_options::command_line::{self, CommandLine, Filter, FilterAction};
use larder_options::parameters_file::{self, ParametersFile};
use larder_options::{
    Kind, OptionDecl, Origin, Problem, Severity, Values, check, engine as opt, find_decl,
};
use larder_registry::destination::Url;

use crate::failure::{Failure, Shape};
use crate::help;

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
    /// What is wrong with the options; none of it fatal.
    pub problems: Vec<Problem>,
    /// True when help was asked for.
    pub wants_help: bool,
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

/// All option tables: the engine's and those of every provider.
pub fn tables() -> Vec<&'static [&'static OptionDecl]> {
    let mut tables = vec![opt::TABLE];
    tables.extend(larder_registry::option_tables());
    tables
}

/// Words that ask for help wherever they stand (commands spec 1.1).
const HELP_WORDS: &[&str] = &[
    "help", "/help", "--help", "usage", "/usage", "--usage", "/h", "-h", "-?",
];

/// Environment variables that set an option (commands spec 2.3).
const VARIABLES: &[(&str, &str)] = &[
    ("PASSPHRASE", "passphrase"),
    ("AUTH_USERNAME", "auth-username"),
    ("AUTH_PASSWORD", "auth-password"),
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
        let wants_help = line
            .positional
            .iter()
            .any(|p| HELP_WORDS.iter().any(|h| p == h))
            || ["help", "usage"].iter().any(|n| values.raw(n).is_some());
        values.unset("help", Origin::CommandLine);
        values.unset("usage", Origin::CommandLine);
        let mut positional = positional(&line)?;
        let mut filters = line.filters;
        let file = parameters_file(&mut values)?;
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
        let problems = problems(&values, &verb, wants_help)?;
        Ok(Self {
            program: program_name(args.first()),
            verb,
            url,
            arguments: positional,
            values,
            filters: filters.into_iter().map(engine_filter).collect(),
            problems,
            wants_help,
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
            "{} takes {places} after the storage URL, but {} were given",
            self.verb,
            self.arguments.len()
        )))
    }

    /// For list and restore: whether the control files are meant, not the backed up ones.
    pub fn wants_control_files(&self) -> bool {
        self.values
            .setting(opt::CONTROL_FILES.decl)
            .is_some_and(|setting| {
                setting
                    .value
                    .is_none_or(|text| larder_options::value::parse_bool(text, true))
            })
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
    let path = expand(&path);
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

/// Complaints about options; the first fatal one ends the call.
fn problems(values: &Values, verb: &str, wants_help: bool) -> Result<Vec<Problem>, Failure> {
    if wants_help {
        return Ok(Vec::new());
    }
    let mut problems = check::check(values, &tables());
    // For these commands the option is a yes or no (docs/reference/options.md).
    if matches!(verb, "list" | "find" | "restore") {
        problems.retain(|p| p.option != opt::CONTROL_FILES.decl.name);
    }
    match problems.iter().find(|p| p.severity == Severity::Fatal) {
        Some(problem) => Err(Failure::known(
            problem.id,
            problem.message.clone(),
            format!("see `larder help {}`", problem.option),
        )),
        None => Ok(problems),
    }
}

fn engine_filter((action, text): Filter) -> (Action, String) {
    let action = match action {
        FilterAction::Include => Action::Include,
        FilterAction::Exclude => Action::Exclude,
    };
    (action, expand(&text))
}

/// Expands `%NAME%`, `$NAME` and `${NAME}` from the environment.
pub fn expand(text: &str) -> String {
    larder_options::expand(text, |name| std::env::var(name).ok())
}

/// The working folder.
pub fn working_folder() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

/// An argument as it may be printed: a storage URL without its secrets.
pub fn shown(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let Some((scheme, _)) = text.split_once("://") else {
        return text.into_owned();
    };
    match Url::parse(&text, &working_folder()) {
        Ok(url) => url.to_string(),
        Err(_) => format!("{scheme}://…"),
    }
}
