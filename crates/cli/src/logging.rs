//! Which messages are told, on the terminal and in the log file (commands spec 3.9 and 5.2).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use larder_engine::source::{Action, Filter};
use larder_engine::{Level, Message};
use larder_options::{Opt, Values, engine as opt};

use crate::failure::Failure;

/// Decides about messages for one target.
#[derive(Debug)]
pub struct Chooser {
    threshold: Level,
    filter: Filter,
    ignored: Vec<String>,
}

impl Chooser {
    /// What is shown on the terminal.
    pub fn console(values: &Values) -> Result<Self, Failure> {
        Self::new(
            values,
            opt::CONSOLE_LOG_LEVEL,
            opt::CONSOLE_LOG_FILTER,
            opt::CONSOLE_LOG_IGNORE,
        )
    }

    /// What goes into the log file.
    pub fn file(values: &Values) -> Result<Self, Failure> {
        Self::new(
            values,
            opt::LOG_FILE_LOG_LEVEL,
            opt::LOG_FILE_LOG_FILTER,
            opt::LOG_FILE_LOG_IGNORE,
        )
    }

    fn new(
        values: &Values,
        level: Opt<String>,
        filter: Opt<String>,
        ignored: Opt<Vec<String>>,
    ) -> Result<Self, Failure> {
        let mut name = values.find(level)?;
        if !values.is_set(level) {
            // The old option stands for both (commands spec 2.8).
            name = values.find(opt::LOG_LEVEL)?.or(name);
            if values.get(opt::DRY_RUN)? && !values.is_set(opt::LOG_LEVEL) {
                name = Some("DryRun".into());
            }
        }
        let text = values.find(filter)?.unwrap_or_default();
        Ok(Self {
            threshold: name.map_or(Level::Warning, |name| parse_level(&name)),
            filter: Filter::parse(&entries(&text), false).map_err(|error| {
                Failure::known(
                    "OptionValidationError",
                    format!("option --{}: {error}", filter.decl.name),
                    "see `larder help logging`",
                )
            })?,
            ignored: values.find(ignored)?.unwrap_or_default(),
        })
    }

    /// Whether the target gets a message.
    pub fn wants(&self, message: &Message) -> bool {
        if self.ignored.iter().any(|id| id == message.id) {
            return false;
        }
        if !self.filter.is_empty()
            && let Some((action, _)) = self.filter.first_match(tag(message).as_bytes())
        {
            return action == Action::Include;
        }
        message.level >= self.threshold
    }

    /// Whether messages of a level are wanted at all.
    pub fn shows(&self, level: Level) -> bool {
        level >= self.threshold
    }
}

/// `<Tag>-<MessageId>`, what filters look at.
fn tag(message: &Message) -> String {
    format!("Larder-{}", message.id)
}

/// Filters joined with `:`, `;` or line ends, each with `+`, `-` or nothing (an include) in front.
fn entries(text: &str) -> Vec<(Action, String)> {
    text.split([':', ';', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| match entry.strip_prefix('-') {
            Some(rest) => (Action::Exclude, rest.to_owned()),
            None => (
                Action::Include,
                entry.strip_prefix('+').unwrap_or(entry).to_owned(),
            ),
        })
        .collect()
}

/// An open log file.
pub struct LogFile {
    file: Mutex<File>,
    chooser: Chooser,
}

impl LogFile {
    /// Opens the log file that the options ask for, for appending.
    pub fn open(values: &Values) -> Result<Option<Self>, Failure> {
        let Some(path) = values.find(opt::LOG_FILE)?.filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let path = crate::invocation::expand(&path);
        if let Some(folder) = Path::new(&path)
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| {
                Failure::general(format!(
                    "the log folder {} cannot be made: {error}",
                    folder.display()
                ))
            })?;
        }
        let file = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|error| {
                Failure::general(format!("the log file {path} cannot be written: {error}"))
            })?;
        Ok(Some(Self {
            file: Mutex::new(file),
            chooser: Chooser::file(values)?,
        }))
    }

    /// Appends a message that is wanted: `yyyy-MM-dd HH:mm:ss zz - [<Level>-<Tag>-<MessageId>]: <text>`.
    pub fn write(&self, message: &Message) {
        if !self.chooser.wants(message) {
            return;
        }
        let now = jiff::Zoned::now()
            .strftime("%Y-%m-%d %H:%M:%S %z")
            .to_string();
        // Hours of the offset only.
        let now = now.get(..now.len().saturating_sub(2)).unwrap_or(&now);
        let line = format!(
            "{now} - [{:?}-{}]: {}\n",
            message.level,
            tag(message),
            message.text
        );
        if let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// A level by its name in the options; unknown ones mean warnings.
pub fn parse_level(name: &str) -> Level {
    match name.to_ascii_lowercase().as_str() {
        "explicitonly" | "profiling" | "verbose" => Level::Verbose,
        "retry" => Level::Retry,
        "information" => Level::Information,
        "dryrun" => Level::DryRun,
        "error" => Level::Error,
        _ => Level::Warning,
    }
}

#[cfg(test)]
mod tests {
    use larder_options::Origin;

    use super::*;

    fn chooser(given: &[(&str, &str)]) -> Chooser {
        let mut values = Values::new();
        for (name, value) in given {
            values.set(name, Some(value), Origin::CommandLine);
        }
        Chooser::console(&values).expect("usable options")
    }

    fn wants(chooser: &Chooser, level: Level, id: &'static str) -> bool {
        chooser.wants(&Message {
            level,
            id,
            text: String::new(),
        })
    }

    #[test]
    fn level_filter_and_ids_decide() {
        let plain = chooser(&[]);
        assert!(wants(&plain, Level::Warning, "X"));
        assert!(!wants(&plain, Level::Information, "X"));
        let verbose = chooser(&[("console-log-level", "Verbose")]);
        assert!(wants(&verbose, Level::Verbose, "X"));
        let old = chooser(&[("log-level", "Error")]);
        assert!(!wants(&old, Level::Warning, "X"));
        let dry = chooser(&[("dry-run", "true")]);
        assert!(wants(&dry, Level::DryRun, "X") && !wants(&dry, Level::Information, "X"));
        let ignoring = chooser(&[("console-log-ignore", "FileAccessError,Y")]);
        assert!(!wants(&ignoring, Level::Warning, "Y"));
        assert!(wants(&ignoring, Level::Warning, "Z"));
        let filtering = chooser(&[("console-log-filter", "-*-File*;+*-Path*:[.*Read.*]")]);
        assert!(!wants(&filtering, Level::Error, "FileAccessError"));
        assert!(wants(&filtering, Level::Verbose, "PathSkipped"));
        assert!(wants(&filtering, Level::Verbose, "ReadingLists"));
        assert!(!wants(&filtering, Level::Verbose, "Other"));
        assert!(wants(&filtering, Level::Warning, "Other"));
    }

    #[test]
    fn a_wrong_filter_is_told() {
        let mut values = Values::new();
        values.set("console-log-filter", Some("[(]"), Origin::CommandLine);
        let failure = Chooser::console(&values).unwrap_err();
        assert!(
            failure.message().contains("--console-log-filter"),
            "{}",
            failure.message()
        );
    }
}
