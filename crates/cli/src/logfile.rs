//! `--log-file`: messages appended as lines in Duplicati's form (commands spec 5.2).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use larder_engine::{Level, Message};
use larder_options::{Values, engine as opt};

use crate::output::Failure;

/// An open log file with its threshold.
pub struct LogFile {
    file: Mutex<File>,
    threshold: Level,
}

impl LogFile {
    /// Opens the log file that the options ask for.
    pub fn open(values: &Values) -> Result<Option<Self>, Failure> {
        let usage = |e: larder_options::Error| Failure::usage(e.to_string());
        let Some(path) = values.find(opt::LOG_FILE).map_err(usage)? else {
            return Ok(None);
        };
        let path = crate::invocation::expand(&path);
        if let Some(folder) = Path::new(&path)
            .parent()
            .filter(|f| !f.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|e| {
                Failure::general(format!(
                    "the log folder {} cannot be made: {e}",
                    folder.display()
                ))
            })?;
        }
        let file = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|e| Failure::general(format!("the log file {path} cannot be written: {e}")))?;
        let threshold = values
            .find(opt::LOG_FILE_LOG_LEVEL)
            .map_err(usage)?
            .map_or(Level::Warning, |l| level(&l));
        Ok(Some(Self {
            file: Mutex::new(file),
            threshold,
        }))
    }

    /// Appends a message that is important enough.
    pub fn write(&self, message: &Message) {
        if message.level < self.threshold {
            return;
        }
        let now = jiff::Zoned::now()
            .strftime("%Y-%m-%d %H:%M:%S %z")
            .to_string();
        let now = now.get(..now.len().saturating_sub(2)).unwrap_or(&now);
        if let Ok(mut file) = self.file.lock() {
            let _ = writeln!(
                file,
                "{now} - [{:?}-Larder-{}]: {}",
                message.level, message.id, message.text
            );
        }
    }
}

/// A level by its name in the options; unknown ones mean warnings.
pub fn level(name: &str) -> Level {
    match name.to_ascii_lowercase().as_str() {
        "explicitonly" | "profiling" | "verbose" => Level::Verbose,
        "retry" => Level::Retry,
        "information" => Level::Information,
        "dryrun" => Level::DryRun,
        "error" => Level::Error,
        _ => Level::Warning,
    }
}
