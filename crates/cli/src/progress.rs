//! Figures of a running operation: a bar with speed and time left on a terminal, a plain line every few seconds elsewhere.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use larder_engine::Progress;
use larder_options::value::format_size;
use larder_render::Work;

use crate::terminal::{print, shown};
use crate::words::{counted, noun, verb};

/// Time between two lines where no terminal is.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Time between two pictures of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How far back the speed looks: over some volumes, because what is sent is counted by whole volumes.
const RATE_WINDOW: Duration = Duration::from_secs(60);
/// How long a speed is measured before a time is told from it.
const RATE_SETTLES: Duration = Duration::from_secs(5);

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
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
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
    let mut rates = Rates::default();
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
                let text = picture(work, &phase, figures.as_ref(), &mut rates, now);
                let text = shown(&text);
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
    sent: u64,
    received: u64,
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
            sent: get(&progress.bytes_sent),
            received: get(&progress.bytes_received),
            counted: progress.counted.load(Ordering::Relaxed),
        }
    }

    /// What is left to do, as scripts know the line.
    pub fn line(&self, work: Work) -> Option<String> {
        let done = match work {
            Work::None => return None,
            Work::Backup => "examined",
            Work::Restore => "restored",
        };
        let counting = if self.counted {
            ""
        } else {
            " (still counting)"
        };
        let left = self.files_found.saturating_sub(self.files_done);
        let need = verb(left, "needs", "need");
        Some(format!(
            "  {} {need} to be {done} ({}){counting}",
            counted(left, "file"),
            format_size(self.bytes_found.saturating_sub(self.bytes_done)),
        ))
    }
}

/// Bytes per second over the last minute.
#[derive(Debug, Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Adds a count; gives the speed, and whether it was measured long enough to tell a time from it.
    fn add(&mut self, now: Instant, bytes: u64) -> (f64, bool) {
        while self.samples.len() > 1
            && self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW)
        {
            self.samples.pop_front();
        }
        // One sample a second is enough.
        if self
            .samples
            .back()
            .is_none_or(|(last, _)| now.duration_since(*last) >= Duration::from_secs(1))
        {
            self.samples.push_back((now, bytes));
        }
        match self.samples.front() {
            Some((first, start)) if now > *first => {
                let time = now.duration_since(*first);
                let speed = bytes.saturating_sub(*start) as f64 / time.as_secs_f64();
                (speed, time >= RATE_SETTLES)
            }
            _ => (0.0, false),
        }
    }
}

/// The speeds of reading or writing files, of sending and of receiving.
#[derive(Debug, Default)]
struct Rates {
    done: Rate,
    sent: Rate,
    received: Rate,
}

/// The message of the bar. The figures that matter most stand first, because a narrow terminal cuts the end off.
fn picture(
    work: Work,
    phase: &str,
    figures: Option<&Figures>,
    rates: &mut Rates,
    now: Instant,
) -> String {
    let Some(figures) = figures else {
        return phase.to_owned();
    };
    let (done_speed, settled) = rates.done.add(now, figures.bytes_done);
    let moved = [
        ("sent", figures.sent, rates.sent.add(now, figures.sent).0),
        (
            "received",
            figures.received,
            rates.received.add(now, figures.received).0,
        ),
    ]
    .into_iter()
    .filter(|(_, bytes, _)| *bytes > 0)
    .map(|(word, bytes, speed)| {
        format!(
            ", {} {word} at {}/s",
            format_size(bytes),
            format_size(speed as u64)
        )
    })
    .collect::<String>();
    if work == Work::None || figures.files_found == 0 {
        return format!("{phase}{}", moved.replacen(", ", " ", 1));
    }
    let share = if figures.counted && figures.bytes_found > 0 {
        format!(
            "{:3}% ",
            figures.bytes_done.min(figures.bytes_found) * 100 / figures.bytes_found
        )
    } else {
        String::new()
    };
    let left = figures.bytes_found.saturating_sub(figures.bytes_done);
    let time = if figures.counted && settled && done_speed > 1.0 && left > 0 {
        let seconds = (left as f64 / done_speed).min(3.6e6) as u64;
        format!(", about {} left", clock(seconds))
    } else {
        String::new()
    };
    format!(
        "{share}{} of {} {}{time}, {} of {} {}{}{moved}",
        figures.files_done,
        figures.files_found,
        noun(figures.files_found, "file"),
        format_size(figures.bytes_done),
        format_size(figures.bytes_found),
        if work == Work::Backup {
            "read"
        } else {
            "written"
        },
        if figures.counted {
            ""
        } else {
            " (still counting)"
        },
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
            sent: 500,
            received: 0,
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
    fn the_bar_has_speed_and_time_left() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        picture(
            Work::Backup,
            "",
            Some(&Figures::default()),
            &mut rates,
            start,
        );
        let early = picture(Work::Backup, "", Some(&figures()), &mut rates, at(1));
        assert_eq!(
            early,
            " 33% 2 of 12 files, 1000 bytes of 2.93 KiB read, 500 bytes sent at 500 bytes/s"
        );
        let text = picture(Work::Backup, "", Some(&figures()), &mut rates, at(10));
        assert_eq!(
            text,
            " 33% 2 of 12 files, about 00:00:20 left, 1000 bytes of 2.93 KiB read, 500 bytes sent at 50 bytes/s"
        );
        let phase = "Verifying ...";
        assert_eq!(picture(Work::None, phase, None, &mut rates, start), phase);
    }

    #[test]
    fn the_speed_forgets() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for second in 0..200 {
            rate.add(start + Duration::from_secs(second), 1_000_000);
        }
        assert!(rate.samples.len() <= 62, "{}", rate.samples.len());
        assert_eq!(
            rate.add(start + Duration::from_secs(200), 1_000_000),
            (0.0, true)
        );
    }
}
