//! What the checks found, gathered so that one run shows everything.

use std::process::ExitCode;

/// Errors and warnings in the order in which they were found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each makes the run fail.
    pub errors: Vec<String>,
    /// Worth a look; never makes the run fail.
    pub warnings: Vec<String>,
    /// One line of figures per check.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds an error.
    pub fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }

    /// Adds a warning.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// Adds a line of figures.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Prints everything and returns the exit code of the run.
    pub fn print(&self) -> ExitCode {
        for text in &self.notes {
            println!("{text}");
        }
        for text in &self.warnings {
            println!("warning: {text}");
        }
        for text in &self.errors {
            println!("error: {text}");
        }
        if self.errors.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
