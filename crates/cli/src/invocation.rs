//! One call of the program: verb, storage URL, arguments, options and filters, collected from all places they come from.

use std::ffi::OsString;
use std::path::PathBuf;

use larder_engine::source::Action;
use larder_options::command_line::{self, Filter, FilterAction};
use larder_options::{
    OptionDecl, Origin, Problem, Severity, Values, check, engine as opt, parameters_file,
};

use crate::output::Failure;

/// Everything a command needs to know about its call.
#[derive(Debug)]
pub struct Invocation {
    /// The command in lower case; empty when none was given.
    pub verb: String,
    /// Storage URL, when the command has one and it was given.
    pub url: Option<String>,
    /// Further positional arguments.
    pub arguments: Vec<OsString>,
    /// Option values of all layers.
    pub values: Values,
    /// Filters in order, variables expanded.
    pub filters: Vec<(Action, String)>,
    /// What is wrong with the options.
    pub problems: Vec<Problem>,
    /// True when help was asked for.
    pub wants_help: bool,
}

/// All option tables: the engine's and those of every provider.
pub fn tables() -> Vec<&'static [&'static OptionDecl]> {
    let mut tables = vec![opt::TABLE];
    tables.extend(larder_registry::providers().iter().map(|p| p.options));
    tables
}

/// Commands that have no storage URL as their first argument.
const WITHOUT_URL: &[&str] = &[
    "help",
    "test-filters",
    "test-filter",
    "system-info",
    "systeminfo",
    "completion",
    "man",
];

impl Invocation {
    /// Reads the program's arguments, the parameters file and the environment.
    pub fn read(args: Vec<OsString>) -> Result<Self, Failure> {
        let usage = |error: larder_options::Error| Failure::usage(error.to_string());
        let line = command_line::parse(args.into_iter().skip(1)).map_err(usage)?;
        let mut values = Values::new();
        for (name, value) in &line.options {
            values.set(name, value.as_deref(), Origin::CommandLine);
        }
        let mut positional = line.positional;
        let mut filters = line.filters;
        let mut sources = Vec::new();
        let mut target = None;
        if let Some(path) = values.find(opt::PARAMETERS_FILE).map_err(usage)? {
            let path = expand(&path);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Failure::general(format!(
                    "the parameters file {path} cannot be read: {error}"
                ))
            })?;
            let file = parameters_file::parse(&text).map_err(usage)?;
            for (name, value) in &file.options {
                values.set(name, value.as_deref(), Origin::ParametersFile);
            }
            filters = file
                .join_filters(filters)
                .map_err(|error| Failure::general(error.to_string()))?;
            sources = file.sources;
            target = file.target;
        }
        for (variable, option) in [
            ("PASSPHRASE", "passphrase"),
            ("AUTH_USERNAME", "auth-username"),
            ("AUTH_PASSWORD", "auth-password"),
        ] {
            if let Ok(value) = std::env::var(variable) {
                values.set(option, Some(&value), Origin::Environment);
            }
        }
        let wants_help = positional.iter().any(|p| {
            [
                "help", "/help", "--help", "usage", "/usage", "--usage", "/h", "-h",
            ]
            .iter()
            .any(|h| p == h)
        }) || line
            .options
            .iter()
            .any(|(name, _)| name == "help" || name == "usage");
        values.unset("help", Origin::CommandLine);
        values.unset("usage", Origin::CommandLine);
        let verb = if positional.is_empty() {
            String::new()
        } else {
            positional.remove(0).to_string_lossy().to_ascii_lowercase()
        };
        let mut url = None;
        if !WITHOUT_URL.contains(&verb.as_str()) {
            if target.is_some() {
                url = target;
                if !positional.is_empty() && verb != "backup" {
                    positional.remove(0);
                }
            } else if !positional.is_empty() {
                url = Some(positional.remove(0).into_string().map_err(|raw| {
                    Failure::usage(format!(
                        "the storage URL {} is not UTF-8",
                        raw.to_string_lossy()
                    ))
                })?);
            }
        }
        if matches!(verb.as_str(), "backup" | "test-filters" | "test-filter") {
            positional.extend(sources.into_iter().map(OsString::from));
        }
        let mut problems = check::check(&values, &tables());
        if let Some(first) = problems.iter().position(|p| p.severity == Severity::Fatal) {
            let problem = problems.swap_remove(first);
            return Err(Failure::new(
                100,
                Some(problem.id),
                problem.message,
                String::new(),
            ));
        }
        Ok(Self {
            verb,
            url,
            arguments: positional,
            values,
            filters: filters.into_iter().map(engine_filter).collect(),
            problems,
            wants_help,
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
                a.to_str().map(str::to_owned).ok_or_else(|| {
                    Failure::usage(format!("the argument {} is not UTF-8", a.to_string_lossy()))
                })
            })
            .collect()
    }

    /// Refuses more than `most` arguments after the URL.
    pub fn at_most(&self, most: usize) -> Result<(), Failure> {
        if self.arguments.len() <= most {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} takes at most {most} arguments after the storage URL, {} were given",
            self.verb,
            self.arguments.len()
        )))
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
