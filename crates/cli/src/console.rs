//! What a person sees while a command runs: plain lines, or a bar with rate and time left on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use larder_engine::{Level, Message, Monitor, Phase, Progress, Transfer};
use larder_options::value::format_size;

use crate::logfile::LogFile;

/// Prints to the terminal and the log file.
pub struct Console {
    quiet: bool,
    to_stderr: bool,
    threshold: Level,
    log: Option<LogFile>,
    bar: Mutex<Option<Arc<indicatif::ProgressBar>>>,
    progress: Mutex<Option<Arc<Progress>>>,
    ended: Arc<AtomicBool>,
    backup: bool,
}

/// How a console is set up.
pub struct Style {
    /// `--quiet-console`.
    pub quiet: bool,
    /// The result is JSON on standard output, so nothing else may go there.
    pub json: bool,
    /// Messages below this are not shown.
    pub threshold: Level,
    /// True for `backup`, whose phases have other words.
    pub backup: bool,
}

impl Console {
    /// A console; the bar appears when work begins.
    pub fn new(style: &Style, log: Option<LogFile>) -> Self {
        Self {
            quiet: style.quiet || style.json,
            to_stderr: style.json,
            threshold: style.threshold,
            log,
            bar: Mutex::new(None),
            progress: Mutex::new(None),
            ended: Arc::new(AtomicBool::new(false)),
            backup: style.backup,
        }
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(bar) = self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            Some(bar) => bar.println(text),
            None => print(text),
        }
    }

    fn start_bar(&self) {
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let Some(progress) = self
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        else {
            return;
        };
        let mut slot = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return;
        }
        let bar = Arc::new(indicatif::ProgressBar::new(0));
        if let Ok(style) =
            indicatif::ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}%")
        {
            bar.set_style(style);
        }
        *slot = Some(bar.clone());
        drop(slot);
        let ended = self.ended.clone();
        let _ = std::thread::Builder::new()
            .name("larder-progress".into())
            .spawn(move || {
                let started = Instant::now();
                while !ended.load(Ordering::SeqCst) {
                    draw(&bar, &progress, started);
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
    }
}

fn draw(bar: &indicatif::ProgressBar, progress: &Progress, started: Instant) {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (done, found) = (get(&progress.bytes_done), get(&progress.bytes_found));
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let counted = progress.counted.load(Ordering::Relaxed);
    let left = if counted && rate > 1.0 && found > done {
        let seconds = ((found - done) as f64 / rate).min(3.6e6) as u64;
        format!(
            ", {:02}:{:02}:{:02} left",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    } else {
        String::new()
    };
    bar.set_length(found.max(1));
    bar.set_position(done.min(found));
    bar.set_message(format!(
        "{}/{} files, {} of {}{}, {}/s, sent {}{left}",
        get(&progress.files_done),
        get(&progress.files_found),
        format_size(done),
        format_size(found),
        if counted { "" } else { " (still counting)" },
        format_size(rate as u64),
        format_size(get(&progress.bytes_sent)),
    ));
    bar.tick();
}

impl Monitor for Console {
    fn message(&self, message: &Message) {
        if let Some(log) = &self.log {
            log.write(message);
        }
        if message.level < self.threshold && message.level != Level::DryRun {
            return;
        }
        let text = match message.level {
            Level::Warning => format!("Warning [{}]: {}", message.id, message.text),
            Level::Error => format!("Error [{}]: {}", message.id, message.text),
            Level::DryRun => format!("[Dryrun]: {}", message.text),
            Level::Verbose | Level::Retry | Level::Information => format!("  {}", message.text),
        };
        if self.to_stderr {
            if message.level >= Level::Warning {
                note(&text);
            }
            return;
        }
        self.line(&text);
    }

    fn phase(&self, phase: Phase) {
        let text = match phase {
            Phase::CheckingRemote => "Checking remote backup ...",
            Phase::Rebuilding => "Building the local catalog from the destination ...",
            Phase::Backup => {
                self.start_bar();
                "Scanning source files ..."
            }
            Phase::Uploading => "Uploading the version list ...",
            Phase::Verifying if self.backup => "Verifying remote backup ...",
            Phase::Verifying => "Verifying volumes ...",
            Phase::ReadingLists => "Reading version lists ...",
            Phase::CheckingTargets => "Checking existing target files ...",
            Phase::Restoring => {
                self.start_bar();
                "Restoring files ..."
            }
            Phase::Metadata => "Applying times and permissions ...",
            Phase::Completed => return,
        };
        self.line(text);
    }

    fn transfer(&self, transfer: &Transfer) {
        let text = match transfer {
            Transfer::List => "  Listing remote folder ...".to_owned(),
            Transfer::Put { name, size } => {
                format!("  Uploading file {name} ({}) ...", format_size(*size))
            }
            Transfer::Get { name, size: 0 } => format!("  Downloading file {name} ..."),
            Transfer::Get { name, size } => {
                format!("  Downloading file {name} ({}) ...", format_size(*size))
            }
            Transfer::Delete { name, size } => {
                format!("  Deleting file {name} ({}) ...", format_size(*size))
            }
            Transfer::CreateFolder => "  Creating remote folder ...".to_owned(),
        };
        self.line(&text);
    }

    fn progress(&self, progress: Arc<Progress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }
}

/// A line on standard output; a closed pipe is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}

/// A line on standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
