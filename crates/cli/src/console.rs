//! What is shown while a command runs, and what goes into the log file.
//!
//! Results and progress go to standard output; warnings and errors to standard error, where the bar of a terminal is
//! too. With `--json` standard output belongs to the result; `--quiet-console` leaves only errors.

use std::io::IsTerminal;
use std::sync::Arc;

use larder_engine::{Event, Level, Message, Monitor, Phase, Progress, Transfer};
use larder_registry::destination::{Wait, WaitListener};
use larder_render::Work;

use crate::logging::{Chooser, LogFile};
use crate::progress::{Display, Figures};
use crate::terminal::{note, print};

/// Prints to the terminal and the log file.
pub struct Console {
    quiet: bool,
    json: bool,
    chooser: Chooser,
    log: Option<Arc<LogFile>>,
    display: Display,
    progress: std::sync::Mutex<Option<Arc<Progress>>>,
    run: RunKind,
    /// Whether each transfer gets a line.
    transfers: bool,
}

/// What the lines of progress depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Phases have words of their own.
    Backup,
    /// The result is a list that scripts read: no line of progress beside it.
    Listing,
    /// Everything else.
    Other,
}

/// How a console is set up.
pub struct Style {
    /// `--quiet-console`.
    pub quiet: bool,
    /// The result is JSON on standard output, so nothing else may go there.
    pub json: bool,
    /// What runs.
    pub run: RunKind,
}

impl Console {
    /// A console; the figures appear when work begins.
    pub fn new(style: &Style, chooser: Chooser, log: Option<Arc<LogFile>>) -> Self {
        let display = Display::start(style.quiet || style.json);
        // Where the bar is seen, a line for each volume would only push everything else away.
        let wanted = match style.run {
            RunKind::Listing => false,
            RunKind::Backup | RunKind::Other => {
                !display.has_bar() || !std::io::stdout().is_terminal()
            }
        };
        let transfers = wanted || chooser.shows(Level::Information);
        Self {
            quiet: style.quiet,
            json: style.json,
            chooser,
            log,
            display,
            progress: std::sync::Mutex::new(None),
            run: style.run,
            transfers,
        }
    }

    /// Removes the bar for good.
    pub fn end(&self) {
        self.display.end();
    }

    /// Takes the bar away while something is asked.
    pub fn pause(&self) {
        self.display.hide(true);
    }

    /// Shows the bar again.
    pub fn resume(&self) {
        self.display.hide(false);
    }

    /// A line of progress.
    pub fn line(&self, text: &str) {
        if !self.quiet && !self.json {
            self.display.aside(|| print(text));
        }
    }

    /// A line on standard error, beside the bar.
    pub fn complaint(&self, text: &str) {
        self.display.aside(|| note(text));
    }

    /// Normal progress, for the log file.
    fn log(&self, id: &'static str, text: &str) {
        if let Some(log) = &self.log {
            log.say(Level::Information, id, text);
        }
    }

    fn figures_line(&self, work: Work) {
        let progress = self
            .progress
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(line) = progress
            .as_deref()
            .and_then(|progress| Figures::of(progress).line(work))
        {
            drop(progress);
            self.line(&line);
        }
    }
}

impl WaitListener for Console {
    fn waiting(&self, wait: &Wait<'_>) {
        self.message(&Message {
            level: Level::Retry,
            id: "WaitingForServer",
            text: format!(
                "waiting {} s before {} is tried again: {}",
                wait.time.as_secs(),
                wait.object,
                wait.reason
            ),
        });
    }
}

impl Console {
    /// Prints a message and puts it into the log file, as far as either is wanted.
    pub fn message(&self, message: &Message) {
        if let Some(log) = &self.log {
            log.write(message);
        }
        if message.id == "NoMatchInNewest" {
            // Part of the shape of a listing, whatever the level.
            self.line(&message.text);
            return;
        }
        if !self.chooser.wants_while_waiting(message) {
            return;
        }
        let line = larder_render::message(message);
        match message.level {
            // Standard output of a listing is for scripts, and these are for people.
            Level::Retry | Level::Notice | Level::Warning if self.quiet => {}
            Level::Retry | Level::Notice | Level::Warning | Level::Error => self.complaint(&line),
            Level::DryRun | Level::Verbose | Level::Information => self.line(&line),
        }
    }

    fn phase(&self, phase: Phase) {
        let (work, text) = larder_render::phase(phase, self.run == RunKind::Backup);
        self.display.phase(work, text.unwrap_or_default());
        let Some(text) = text else {
            return;
        };
        self.log("Phase", text);
        if self.run != RunKind::Listing || self.chooser.shows(Level::Information) {
            self.line(text);
        }
        if phase == Phase::CheckingTargets {
            self.figures_line(Work::Restore);
        }
    }

    fn transfer(&self, transfer: &Transfer) {
        if !self.transfers && self.log.is_none() {
            return;
        }
        let text = larder_render::transfer(transfer);
        self.log("BackendEvent", &text);
        if self.transfers {
            self.line(&format!("  {text}"));
        }
    }

    fn progress(&self, progress: &Arc<Progress>) {
        self.display.follow(Arc::clone(progress));
        *self
            .progress
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::clone(progress));
    }
}

impl Monitor for Console {
    fn event(&self, event: &Event) {
        match event {
            Event::Started(progress) => self.progress(progress),
            Event::Phase(phase) => self.phase(*phase),
            Event::Transfer(transfer) => self.transfer(transfer),
            Event::Message(message) => self.message(message),
        }
    }

    fn wants(&self, level: Level) -> bool {
        self.chooser.may_want(level) || self.log.as_ref().is_some_and(|log| log.may_want(level))
    }
}
