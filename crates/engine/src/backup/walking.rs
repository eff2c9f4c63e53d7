//! Walking the source beside the previous version's entries, both in path order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Sender;
use larder_catalog::EntryCursor;
use larder_source::{FileKind, SkipReason, Walk, WalkItem};

use super::checkpoints::{Due, Step};
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
    previous: Previous,
    handing: Handing<'w>,
    /// To where the list is written.
    steps: Sender<Step>,
    due: Due,
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
            previous: Previous::new(previous)?,
            handing,
            steps,
            due: Due::new(shared.run)?,
            own_told: false,
        })
    }

    fn run(&self) -> &'e Ready<'e> {
        self.shared.run
    }

    /// Walks to the end, or until the run is asked to end.
    pub(super) fn walk(mut self, mut walk: Walk) -> Result<()> {
        let mut is_ending = false;
        for item in walk.by_ref() {
            self.run().cancel.check()?;
            if self.shared.store.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.run().cancel.is_ending() {
                is_ending = true;
                self.shared.leave_out();
                self.previous.keep_rest();
                break;
            }
            self.take(item)?;
            if self.due.is_due(self.run()) {
                self.checkpoint()?;
            }
        }
        if !is_ending {
            self.tell_left_out(&walk);
        }
        (self.previous).pass_rest(self.shared.counters, &mut self.handing)?;
        let progress = &self.run().reporter.progress;
        progress.counted.store(true, Ordering::SeqCst);
        self.handing.flush()
    }

    /// Lets everything end that was begun, and asks for a version of it when anything was changed.
    fn checkpoint(&mut self) -> Result<()> {
        self.due.begin(self.run());
        self.handing.flush()?;
        self.wait_until(|walking| walking.handing.is_all_done())?;
        if !self.shared.counters.any_change() {
            return Ok(());
        }
        while self.shared.store.seal_one_left()? {}
        self.wait_until(|walking| walking.shared.store.is_all_sent())?;
        let rest_from = self.previous.next_path().map(<[u8]>::to_vec);
        self.steps
            .send(Step::Checkpoint { rest_from })
            .map_err(|_| Error::Cancelled)
    }

    fn wait_until(&self, holds: impl Fn(&Self) -> bool) -> Result<()> {
        while !holds(self) {
            self.run().cancel.check()?;
            if self.shared.store.failed.load(Ordering::SeqCst) {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(LOOK_EVERY);
        }
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
