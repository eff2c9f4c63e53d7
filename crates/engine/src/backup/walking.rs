//! Walking the source beside the previous version's entries, both in path order.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use larder_catalog::{EntryCursor, StoredEntry};
use larder_source::{FileKind, SkipReason, Walk, WalkEntry, WalkItem};

use super::checkpoints::Step;
use super::counters::bump;
use super::handing::{Handing, Visited};
use super::previous::Previous;
use super::reader::Shared;
use crate::phases::Ready;
use crate::words::counted;
use crate::{Error, Result};

/// Excludes named when they matched nothing.
const NAMED_RULES: usize = 5;
/// How long the walk sleeps while the others end what they have.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The walk with what it works beside.
pub(super) struct Walking<'w, 'e> {
    shared: &'w Shared<'e>,
    previous: Previous<'e>,
    handing: Handing<'w>,
    /// To where the list is written.
    steps: Sender<Step>,
    own_told: bool,
}

impl<'w, 'e> Walking<'w, 'e> {
    /// Begins beside the entries of the previous version.
    pub(super) fn begin(
        shared: &'w Shared<'e>,
        previous: Option<EntryCursor>,
        handing: Handing<'w>,
        steps: Sender<Step>,
    ) -> Result<Self> {
        Ok(Self {
            shared,
            previous: Previous::new(previous, shared.guard)?,
            handing,
            steps,
            own_told: false,
        })
    }

    fn run(&self) -> &'e Ready<'e> {
        self.shared.run
    }

    /// Walks to the end, or until the run is asked to end.
    pub(super) fn walk(mut self, mut walk: Walk) -> Result<()> {
        let guard = self.shared.guard;
        for item in walk.by_ref().filter(|item| guard.lets_pass(item)) {
            self.run().cancel.check()?;
            if self.shared.store.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.run().cancel.is_ending() {
                self.shared.leave_out();
                return self.end_early();
            }
            self.take(item)?;
            if self.shared.due.pause_if_due(self.run()) {
                self.checkpoint()?;
            }
        }
        self.tell_left_out(&walk);
        (self.previous).pass_rest(self.shared.counters, &mut self.handing)?;
        let progress = &self.run().reporter.progress;
        progress.counted.store(true, Ordering::SeqCst);
        self.handing.flush()?;
        // The last files may take longer than all others.
        let due = &self.shared.due;
        loop {
            let is_done = self.handing.is_all_done();
            if due.pauses() || (!is_done && due.pause_if_due(self.run())) {
                self.checkpoint()?;
            } else if is_done {
                // Also what was handed back after a pause had ended.
                let back = self.shared.take_back();
                if back.is_empty() {
                    break;
                }
                if self.run().cancel.is_ending() {
                    self.shared.leave_out();
                    break;
                }
                self.hand_again(back)?;
            }
            self.sleep()?;
        }
        match self.run().cancel.is_ending() {
            true => self.end_early(),
            false => Ok(()),
        }
    }

    /// Lets the workers end what they are reading, and asks for a version of what is done when anything was changed. What
    /// they had not begun is handed to them once more.
    fn checkpoint(&mut self) -> Result<()> {
        let (run, due) = (self.run(), &self.shared.due);
        due.begin();
        self.handing.flush()?;
        // A file that takes long must not keep the others waiting for as long.
        let (begun, patience) = (Instant::now(), due.patience());
        self.wait_until(|walking| {
            let is_over = run.cancel.is_ending() || begun.elapsed() > patience;
            is_over || walking.handing.is_all_done()
        })?;
        due.note_waited(begun.elapsed());
        match self.handing.is_all_done() && self.is_worth_a_version() {
            true => self.ask()?,
            false => due.begin_interval(run, 0),
        }
        due.go_on();
        let back = self.shared.take_back();
        self.hand_again(back)
    }

    fn hand_again(&mut self, back: Vec<(WalkEntry, Option<StoredEntry>)>) -> Result<()> {
        for (entry, old) in back {
            self.handing.hand(Visited::Present(entry, old))?;
        }
        self.handing.flush()
    }

    /// The run was asked to end: what is done becomes a version, unless everything is.
    fn end_early(mut self) -> Result<()> {
        self.let_end()?;
        if !self.shared.take_back().is_empty() {
            self.shared.leave_out();
        }
        match self.shared.has_left_out() && self.is_worth_a_version() {
            true => self.ask(),
            false => Ok(()),
        }
    }

    /// Whether a partial version makes sense. One with other content of most files of a source would be what the next run
    /// compares that source with.
    fn is_worth_a_version(&self) -> bool {
        self.shared.counters.any_change() && !self.shared.guard.is_changing()
    }

    /// Waits until the workers are done with what they were handed, or have handed it back.
    fn let_end(&mut self) -> Result<()> {
        self.handing.flush()?;
        self.wait_until(|walking| walking.handing.is_all_done())
    }

    /// Sends what is in work, and asks for a version when all of it is stored.
    fn ask(&mut self) -> Result<()> {
        while self.shared.store.seal_one_left()? {}
        self.wait_until(|walking| walking.shared.store.is_all_sent())?;
        let asked = self.steps.send(Step::Checkpoint);
        asked.map_err(|_| Error::Cancelled)
    }

    fn wait_until(&self, holds: impl Fn(&Self) -> bool) -> Result<()> {
        while !holds(self) {
            self.sleep()?;
        }
        Ok(())
    }

    /// Lets the others work for a moment.
    fn sleep(&self) -> Result<()> {
        self.run().cancel.check()?;
        if self.shared.store.failed.load(Ordering::SeqCst) {
            return Err(Error::Cancelled);
        }
        std::thread::sleep(LOOK_EVERY);
        Ok(())
    }

    fn take(&mut self, item: WalkItem) -> Result<()> {
        let (run, counters) = (self.run(), self.shared.counters);
        let progress = &run.reporter.progress;
        match item {
            WalkItem::Entry(entry) => {
                self.previous
                    .pass_until(&entry.path, counters, &mut self.handing)?;
                let old = self.previous.take(&entry.path)?;
                if entry.facts.kind == FileKind::File {
                    bump(&progress.files_found, 1);
                    bump(&progress.bytes_found, entry.facts.size);
                }
                self.handing.hand(Visited::Present(entry, old))?;
            }
            WalkItem::Skipped { path, why } => {
                match why {
                    SkipReason::TooLarge => bump(&counters.too_large, 1),
                    SkipReason::Special(_) => bump(&counters.skipped, 1),
                    SkipReason::Own if !std::mem::replace(&mut self.own_told, true) => {
                        run.reporter.info(
                            "OwnFilesLeftOut",
                            "local catalogs or volumes of this backup lie in the source and are left out",
                        );
                    }
                    _ => {}
                }
                run.reporter
                    .path(false, "PathSkipped", &format!("left out, {why}:"), &path);
            }
            WalkItem::Vanished { path } => {
                let path = String::from_utf8_lossy(&path);
                run.reporter
                    .warn("PathProcessingErrorNotFound", format!("{path} vanished"));
            }
            WalkItem::FilterGaveUp { path, filter } => {
                let path = String::from_utf8_lossy(&path);
                run.reporter.warn(
                    "FilterGaveUp",
                    format!("{path}: the filter {filter} took too many steps and was passed over"),
                );
            }
            WalkItem::Problem { path, error } => {
                bump(&counters.with_error, 1);
                let kept = match self.previous.is_version() {
                    true => "; what the previous version has of it is kept",
                    false => "",
                };
                run.reporter.warn(
                    "PathProcessingError",
                    format!("{}: {error}{kept}", String::from_utf8_lossy(&path)),
                );
                self.previous
                    .pass_until(&path, counters, &mut self.handing)?;
                self.previous.keep_below(path);
            }
        }
        Ok(())
    }

    /// Says once, at the end of a walk, what a user may have expected otherwise.
    fn tell_left_out(&self, walk: &Walk) {
        let special = self.shared.counters.skipped.load(Ordering::Relaxed);
        if special > 0 {
            let what = counted(special, "special file");
            self.run().reporter.info(
                "SpecialFilesLeftOut",
                format!("{what} left out: FIFOs, sockets and devices hold nothing to back up"),
            );
        }
        let idle = walk.idle_excludes();
        if !idle.is_empty() {
            let more = if idle.len() > NAMED_RULES {
                ", …"
            } else {
                ""
            };
            let named: Vec<&str> = idle.iter().copied().take(NAMED_RULES).collect();
            self.run().reporter.info(
                "ExcludesWithoutMatch",
                format!(
                    "{} left nothing out: {}{more}",
                    counted(idle.len() as u64, "exclude"),
                    named.join(", ")
                ),
            );
        }
    }
}
