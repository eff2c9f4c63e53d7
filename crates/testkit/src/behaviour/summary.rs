//! What came of the cases.

use std::fmt;
use std::time::Duration;

use super::Stop;

/// The outcome of all cases on one destination.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Names of the cases that passed.
    pub passed: Vec<String>,
    /// Cases that were left out, each with the reason.
    pub skipped: Vec<(String, String)>,
    /// Cases that failed, each with what went wrong.
    pub failed: Vec<(String, String)>,
}

impl Summary {
    /// A case passed.
    pub fn pass(&mut self, name: impl Into<String>) {
        self.passed.push(name.into());
    }

    /// A case was left out.
    pub fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.skipped.push((name.into(), reason.into()));
    }

    /// A case failed.
    pub fn fail(&mut self, name: impl Into<String>, message: impl Into<String>) {
        self.failed.push((name.into(), message.into()));
    }

    /// Adds the outcome of further cases.
    pub fn add(&mut self, other: Self) {
        self.passed.extend(other.passed);
        self.skipped.extend(other.skipped);
        self.failed.extend(other.failed);
    }

    /// Runs a case and notes its outcome; a panic, or no end within `longest`, is a failure.
    pub async fn take<E: Into<Stop> + Send + 'static>(
        &mut self,
        name: impl Into<String>,
        longest: Duration,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        // A task of its own turns a panic in a provider into a failed case.
        let mut task = tokio::spawn(work);
        match tokio::time::timeout(longest, &mut task).await {
            Ok(Ok(Ok(()))) => self.pass(name),
            Ok(Ok(Err(stop))) => match stop.into() {
                Stop::Failed(message) => self.fail(name, message),
                Stop::LeftOut(reason) => self.skip(name, reason),
            },
            Ok(Err(panic)) => self.fail(name, panic.to_string()),
            Err(_) => {
                task.abort();
                let seconds = longest.as_secs();
                self.fail(name, format!("it did not end within {seconds} s"));
            }
        }
    }

    /// For tests of one provider: fails with everything that failed, else prints the outcome.
    ///
    /// # Panics
    /// When a case failed, or none passed.
    #[expect(clippy::print_stdout, reason = "what was left out has to be seen")]
    pub fn assert_fine(&self) {
        assert!(self.failed.is_empty() && !self.passed.is_empty(), "{self}");
        println!("{self}");
    }

    /// How a case ended, in one word: `passed`, `left out`, `FAILED`; nothing when it was not run.
    #[must_use]
    pub fn outcome(&self, name: &str) -> &'static str {
        if self.passed.iter().any(|passed| passed == name) {
            "passed"
        } else if self.skipped.iter().any(|(skipped, _)| skipped == name) {
            "left out"
        } else if self.failed.iter().any(|(failed, _)| failed == name) {
            "FAILED"
        } else {
            ""
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, skipped) = (self.passed.len(), self.skipped.len());
        writeln!(
            f,
            "{passed} passed, {skipped} left out, {} failed",
            self.failed.len()
        )?;
        for (name, reason) in &self.skipped {
            writeln!(f, "  left out: {name}: {reason}")?;
        }
        for (name, message) in &self.failed {
            writeln!(f, "  FAILED: {name}: {message}")?;
        }
        Ok(())
    }
}
