//! Which messages are told, on the terminal and in the log file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use larder_engine::source::{Action, Filter};
use larder_engine::{Level, Message};
use larder_options::engine::choices::LogLevel;
use larder_options::{Opt, Values, engine as opt};

use crate::failure::Failure;
use crate::terminal::shown;

/// Decides about messages for one target.
#[derive(Debug)]
pub struct Chooser {
    threshold: Level,
    /// Whether the user chose the level.
    chosen: bool,
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
        level: Opt<LogLevel>,
        filter: Opt<String>,
        ignored: Opt<Vec<String>>,
    ) -> Result<Self, Failure> {
        let chosen = values.is_set(level) || values.is_set(opt::LOG_LEVEL);
        let name = if values.is_set(level) || !chosen {
            values.find(level)?
        } else {
            // The old option stands for both.
            values.find(opt::LOG_LEVEL)?
        };
        let threshold = if !chosen && values.get(opt::DRY_RUN)? {
            Level::DryRun
        } else {
            name.map_or(Level::Warning, level_of)
        };
        let text = values.find(filter)?.unwrap_or_default();
        Ok(Self {
            threshold,
            chosen,
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
        self.takes(message, message.level >= self.threshold)
    }

    /// As [`Chooser::wants`], but where the user chose no level, notices and repeated attempts are told, too: whoever waits
    /// for them wants to know why.
    pub fn wants_while_waiting(&self, message: &Message) -> bool {
        let waits = matches!(message.level, Level::Retry | Level::Notice) && !self.chosen;
        self.takes(message, waits || message.level >= self.threshold)
    }

    fn takes(&self, message: &Message, by_level: bool) -> bool {
        if self.ignored.iter().any(|id| id == message.id) {
            return false;
        }
        if !self.filter.is_empty()
            && let Some((action, _)) = self.filter.first_match(tag(message).as_bytes())
        {
            return action == Action::Include;
        }
        by_level
    }

    /// Whether messages of a level may be wanted: by the level, or by a filter that lets some of them through.
    pub fn may_want(&self, level: Level) -> bool {
        !self.filter.is_empty() || self.shows(level)
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
#[derive(Debug)]
pub struct LogFile {
    path: String,
    file: Mutex<File>,
    chooser: Chooser,
    /// Why it could not be written, once.
    failure: Mutex<Option<std::io::Error>>,
}

impl LogFile {
    /// Opens the log file that the options ask for, for appending.
    pub fn open(values: &Values) -> Result<Option<Self>, Failure> {
        let Some(path) = values.find(opt::LOG_FILE)?.filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
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
            path,
            chooser: Chooser::file(values)?,
            failure: Mutex::default(),
        }))
    }

    /// Appends a message that is wanted: `yyyy-MM-dd HH:mm:ss zz - [<Level>-<Tag>-<MessageId>]: <text>`.
    pub fn write(&self, message: &Message) {
        if !self.chooser.wants(message) {
            return;
        }
        self.append(message);
    }

    /// Appends what the program itself has to say, when that is wanted.
    pub fn say(&self, level: Level, id: &'static str, text: &str) {
        self.write(&Message {
            level,
            id,
            text: text.to_owned(),
        });
    }

    /// Whether messages of a level may be wanted.
    pub fn may_want(&self, level: Level) -> bool {
        self.chooser.may_want(level)
    }

    /// Why the file does not hold all it should.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let error = failure.as_ref()?;
        Some(format!(
            "the log file {} cannot be written: {error}",
            self.path
        ))
    }

    fn append(&self, message: &Message) {
        let now = jiff::Zoned::now()
            .strftime("%Y-%m-%d %H:%M:%S %z")
            .to_string();
        // Hours of the offset only.
        let now = now.get(..now.len().saturating_sub(2)).unwrap_or(&now);
        let line = format!(
            "{now} - [{:?}-{}]: {}\n",
            message.level,
            tag(message),
            shown(&message.text)
        );
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        }
    }
}

/// The level of messages that an option asks for.
fn level_of(level: LogLevel) -> Level {
    match level {
        LogLevel::ExplicitOnly | LogLevel::Profiling | LogLevel::Verbose => Level::Verbose,
        LogLevel::Retry => Level::Retry,
        LogLevel::Information => Level::Information,
        LogLevel::DryRun => Level::DryRun,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error => Level::Error,
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
        let retry = Message {
            level: Level::Retry,
            id: "RetryTransfer",
            text: String::new(),
        };
        assert!(plain.wants_while_waiting(&retry) && !plain.wants(&retry));
        let errors = chooser(&[("console-log-level", "Error")]);
        assert!(!errors.wants_while_waiting(&retry));
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
