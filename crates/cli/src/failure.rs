//! A command that ended with an error: its exit code, its id, its sentence, and what helps.

use std::error::Error as _;

use larder_engine::Error;
use serde::Serialize;

use crate::terminal::{note, print_text};

/// Exit code of every failure but wrong use of the command line.
pub const FAILED: i32 = 100;
/// Exit code of a wrong command line.
pub const USAGE: i32 = 200;

/// A command that ended with an error.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub code: i32,
    id: Option<&'static str>,
    message: String,
    hint: String,
    /// One line for each cause, for `--debug-output`.
    causes: Vec<String>,
}

impl Failure {
    /// A failure with a name that scripts may look for.
    pub fn known(id: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            id: Some(id),
            hint: hint.into(),
            ..Self::general(message)
        }
    }

    /// Any other failure.
    pub fn general(message: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            id: None,
            message: message.into(),
            hint: String::new(),
            causes: Vec::new(),
        }
    }

    /// Wrong use of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::usage_with(message, "")
    }

    /// Wrong use of the command line, with what helps.
    pub fn usage_with(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            hint: hint.into(),
            ..Self::general(message)
        }
    }

    /// A failure of the engine, with its causes.
    pub fn from_engine(error: &Error) -> Self {
        let mut message = error.to_string();
        let mut causes = vec![message.clone()];
        let mut cause = error.source();
        while let Some(next) = cause {
            let words = next.to_string();
            if !message.contains(&words) {
                message.push_str(": ");
                message.push_str(&words);
            }
            causes.push(words);
            cause = next.source();
        }
        Self {
            code: FAILED,
            id: error.id(),
            message,
            hint: error.hint(),
            causes,
        }
    }

    /// Adds what helps where nothing was known to.
    #[must_use]
    pub fn or_hint(mut self, hint: impl FnOnce() -> String) -> Self {
        if self.hint.is_empty() {
            self.hint = hint();
        }
        self
    }

    /// Replaces what helps.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The id that scripts may look for.
    pub fn id(&self) -> Option<&'static str> {
        self.id
    }

    /// Prints the failure: on standard error in the shape that scripts look for, or as JSON on standard output.
    pub fn print(&self, how: Shape, operation: &str) {
        if how == Shape::Json {
            print_text(&self.as_json(operation));
            return;
        }
        if let Some(id) = self.id {
            note("");
            note(&format!("ErrorID: {id}"));
        }
        note(&self.message);
        if how == Shape::Debug {
            for (depth, cause) in self.causes.iter().enumerate() {
                note(&format!("  cause {depth}: {cause}"));
            }
        }
        if !self.hint.is_empty() {
            note(&format!("What helps: {}", self.hint));
        }
    }

    fn as_json(&self, operation: &str) -> String {
        let failed = FailedOperation {
            main_operation: operation,
            parsed_result: "Fatal",
            error: FailedWith {
                id: self.id,
                message: &self.message,
                hint: &self.hint,
                exit_code: self.code,
            },
        };
        serde_json::to_string_pretty(&failed).unwrap_or_default()
    }
}

/// The result of a command that failed, as JSON (docs/guide/json.md).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FailedOperation<'a> {
    main_operation: &'a str,
    parsed_result: &'a str,
    error: FailedWith<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FailedWith<'a> {
    id: Option<&'a str>,
    message: &'a str,
    hint: &'a str,
    exit_code: i32,
}

/// How a failure is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Sentences.
    Text,
    /// Sentences with all causes (`--debug-output`).
    Debug,
    /// JSON on standard output (`--json`).
    Json,
}

impl From<larder_options::Error> for Failure {
    /// An option whose value cannot be used (it ends the run, but the command line is not wrong).
    fn from(error: larder_options::Error) -> Self {
        Self::known("OptionValidationError", error.to_string(), "")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from_engine(&error)
    }
}
