//! Figures of a running operation: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use larder_engine::Progress;
use larder_options::value::format_size;

use crate::console::print;

/// Time between two lines where no terminal is (commands spec 1.4).
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Time between two pictures of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How far back the rate looks.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// What is being done with the files that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing is counted yet, or any more.
    None,
    /// Files are read.
    Backup,
    /// Files are written.
    Restore,
}

struct State {
    work: Work,
    phase: String,
    ended: bool,
    hidden: bool,
    progress: Option<Arc<Progress>>,
}

/// Shows the figures until it is ended.
pub struct Display {
    shared: Arc<(Mutex<State>, Condvar)>,
    bar: Option<ProgressBar>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Display {
    /// Starts a thread that shows the figures; `quiet` shows none.
    pub fn start(quiet: bool) -> Self {
        let shared = Arc::new((
            Mutex::new(State {
                work: Work::None,
                phase: String::new(),
                ended: false,
                hidden: false,
                progress: None,
            }),
            Condvar::new(),
        ));
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        let thread = if quiet {
            None
        } else {
            let (shared, bar) = (Arc::clone(&shared), bar.clone());
            std::thread::Builder::new()
                .name("larder-progress".into())
                .spawn(move || run(&shared, bar.as_ref()))
                .ok()
        };
        Self {
            shared,
            bar,
            thread: Mutex::new(thread),
        }
    }

    /// Takes the counters of a run.
    pub fn follow(&self, progress: Arc<Progress>) {
        self.change(|state| state.progress = Some(progress));
    }

    /// Says what is being done.
    pub fn phase(&self, work: Work, phase: &str) {
        self.change(|state| {
            state.work = work;
            phase.clone_into(&mut state.phase);
        });
    }

    /// True while a bar is on the terminal.
    pub fn has_bar(&self) -> bool {
        self.bar.is_some()
    }

    /// Runs something that prints, with the bar out of the way.
    pub fn aside(&self, printing: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(printing),
            None => printing(),
        }
    }

    /// Takes the bar away, or shows it again.
    pub fn hide(&self, hidden: bool) {
        self.change(|state| state.hidden = hidden);
        if let Some(bar) = self.bar.as_ref().filter(|_| hidden) {
            bar.set_message("");
            bar.suspend(|| {});
        }
    }

    /// Removes the bar; nothing is shown after that.
    pub fn end(&self) {
        self.change(|state| state.ended = true);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.shared;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(shared: &(Mutex<State>, Condvar), bar: Option<&ProgressBar>) {
    let (state, changed) = shared;
    let every = if bar.is_some() {
        DRAW_EVERY
    } else {
        LINE_EVERY
    };
    let mut rate = Rate::default();
    let mut spinner = ["|", "/", "-", "\\"].into_iter().cycle();
    let mut next = Instant::now() + every;
    let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
    while !guard.ended {
        let now = Instant::now();
        if now < next {
            guard = changed
                .wait_timeout(guard, next - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            continue;
        }
        next = now + every;
        if guard.hidden {
            continue;
        }
        let figures = guard.progress.as_deref().map(Figures::of);
        let (work, phase) = (guard.work, guard.phase.clone());
        // Printing under the lock would hold up the run when the reader of the output is slow.
        drop(guard);
        match (bar, figures) {
            (Some(bar), figures) => {
                let text = picture(work, &phase, figures.as_ref(), &mut rate, now);
                bar.set_message(format!("{} {text}", spinner.next().unwrap_or_default()));
            }
            (None, Some(figures)) => {
                if let Some(line) = figures.line(work) {
                    print(&line);
                }
            }
            (None, None) => {}
        }
        guard = state.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    files_found: u64,
    files_done: u64,
    bytes_found: u64,
    bytes_done: u64,
    moved: u64,
    counted: bool,
}

impl Figures {
    /// Reads the counters.
    pub fn of(progress: &Progress) -> Self {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            files_found: get(&progress.files_found),
            files_done: get(&progress.files_done),
            bytes_found: get(&progress.bytes_found),
            bytes_done: get(&progress.bytes_done),
            moved: get(&progress.bytes_sent) + get(&progress.bytes_received),
            counted: progress.counted.load(Ordering::Relaxed),
        }
    }

    /// What is left to do, as scripts know the line.
    pub fn line(&self, work: Work) -> Option<String> {
        let verb = match work {
            Work::None => return None,
            Work::Backup => "examined",
            Work::Restore => "restored",
        };
        let counting = if self.counted {
            ""
        } else {
            " (still counting)"
        };
        Some(format!(
            "  {} files need to be {verb} ({}){counting}",
            self.files_found.saturating_sub(self.files_done),
            format_size(self.bytes_found.saturating_sub(self.bytes_done)),
        ))
    }
}

/// Bytes per second over the last seconds.
#[derive(Debug, Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn add(&mut self, now: Instant, bytes: u64) -> f64 {
        while self.samples.len() > 1
            && self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, bytes));
        match self.samples.front() {
            Some((first, start)) if now > *first => {
                bytes.saturating_sub(*start) as f64 / now.duration_since(*first).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

/// The message of the bar.
fn picture(
    work: Work,
    phase: &str,
    figures: Option<&Figures>,
    rate: &mut Rate,
    now: Instant,
) -> String {
    let Some(figures) = figures.filter(|f| work != Work::None && f.files_found > 0) else {
        let moved = figures.map_or(0, |f| f.moved);
        return if moved > 0 {
            format!("{phase} {} transferred", format_size(moved))
        } else {
            phase.to_owned()
        };
    };
    let speed = rate.add(now, figures.bytes_done);
    let share = if figures.counted && figures.bytes_found > 0 {
        format!(
            "{:3}% ",
            figures.bytes_done.min(figures.bytes_found) * 100 / figures.bytes_found
        )
    } else {
        String::new()
    };
    let left = figures.bytes_found.saturating_sub(figures.bytes_done);
    let time = if figures.counted && speed > 1.0 && left > 0 {
        format!(", {} left", clock((left as f64 / speed).min(3.6e6) as u64))
    } else {
        String::new()
    };
    format!(
        "{share}{} of {} files, {} of {}{}, {}/s{time}, {} transferred",
        figures.files_done,
        figures.files_found,
        format_size(figures.bytes_done),
        format_size(figures.bytes_found),
        if figures.counted {
            ""
        } else {
            " (still counting)"
        },
        format_size(speed as u64),
        format_size(figures.moved),
    )
}

fn clock(seconds: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            files_found: 12,
            files_done: 2,
            bytes_found: 3000,
            bytes_done: 1000,
            moved: 500,
            counted: true,
        }
    }

    #[test]
    fn lines_say_what_is_left() {
        assert_eq!(
            figures().line(Work::Backup).as_deref(),
            Some("  10 files need to be examined (1.95 KiB)")
        );
        let counting = Figures {
            counted: false,
            ..figures()
        };
        assert_eq!(
            counting.line(Work::Restore).as_deref(),
            Some("  10 files need to be restored (1.95 KiB) (still counting)")
        );
        assert_eq!(figures().line(Work::None), None);
    }

    #[test]
    fn the_bar_has_rate_and_time_left() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.add(start, 0);
        let text = picture(
            Work::Backup,
            "",
            Some(&figures()),
            &mut rate,
            start + Duration::from_secs(1),
        );
        assert_eq!(
            text,
            " 33% 2 of 12 files, 1000 bytes of 2.93 KiB, 1000 bytes/s, 00:00:02 left, 500 bytes transferred"
        );
        assert_eq!(
            picture(Work::None, "Verifying ...", None, &mut rate, start),
            "Verifying ..."
        );
    }

    #[test]
    fn the_rate_forgets() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for second in 0..60 {
            rate.add(start + Duration::from_secs(second), 1_000_000);
        }
        assert!(rate.samples.len() <= 12);
        assert_eq!(rate.add(start + Duration::from_secs(60), 1_000_000), 0.0);
    }
}
