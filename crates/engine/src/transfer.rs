//! The one place where threads meet the asynchronous destination: every remote call of a run goes through here.
//!
//! Calls are repeated as the options say, counted, shown and cancelled here. A failed put is not repeated here,
//! because it must get a new name first (docs/format/names.md); [`Remote::put_once`] leaves that to the caller.

mod aside;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use larder_destination::{
    Destination, Error as RemoteError, ErrorKind, Existing, LONGEST_WAIT, Operation, Ours,
    RemoteFile, RetryClass,
};
use larder_volume::{VolumeKind, VolumeName};

pub(crate) use self::aside::Aside;
use self::aside::without_missing;
use crate::cancel::{Cancel, pause};
use crate::context::{Level, Progress, Reporter, Transfer};
use crate::crypt::IN_MEMORY_BYTES;
use crate::data::{LIST_MEMORY_BYTES, Sink, VolumeData};
use crate::outage::Outage;
use crate::temporary::{TempFolder, temporary_error};
use crate::{Error, Result, words};

/// How often and after which pause a failed call is repeated (commands spec 3.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetrySettings {
    pub(crate) retries: u32,
    pub(crate) delay: Duration,
    pub(crate) exponential: bool,
    /// How long the network may be gone once the destination was reached; 0 for not at all.
    pub(crate) outage_limit: Duration,
}

/// How often one call was tried in vain.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Those that count for `--number-of-retries`.
    counted: u32,
    /// Those in a row that met a network that was gone.
    unanswered: u32,
}

impl RetrySettings {
    /// The pause before attempt `attempt` (1 = first repetition); `None` when there is to be none.
    pub(crate) fn next(&self, attempt: u32, class: RetryClass) -> Option<Duration> {
        let wait = self.pause(attempt, class);
        let helps = match class {
            RetryClass::Never | RetryClass::CreateFolder => false,
            // A part of it would be waited for in vain.
            RetryClass::Later(wish) => wait >= wish,
            RetryClass::Backoff | RetryClass::After(_) | RetryClass::OtherName => true,
        };
        (helps && attempt <= self.retries).then_some(wait)
    }

    /// The pause before attempt `attempt` (1 = first repetition). Doubling and a server's wish end at
    /// [`LONGEST_WAIT`]; a delay that the user asked for is kept, however long.
    fn pause(&self, attempt: u32, class: RetryClass) -> Duration {
        let own = if self.exponential {
            let factor = 1_u32.checked_shl(attempt.saturating_sub(1));
            self.delay
                .saturating_mul(factor.unwrap_or(u32::MAX))
                .min(LONGEST_WAIT)
                .max(self.delay)
        } else {
            self.delay
        };
        match class {
            RetryClass::After(wish) => own.max(wish.min(LONGEST_WAIT)),
            RetryClass::Never
            | RetryClass::Backoff
            | RetryClass::Later(_)
            | RetryClass::OtherName
            | RetryClass::CreateFolder => own,
        }
    }
}

/// Counters of remote work (result object, `BackendStatistics`).
#[derive(Debug, Default)]
pub(crate) struct TransferCounts {
    pub(crate) calls: AtomicU64,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    pub(crate) files_up: AtomicU64,
    pub(crate) files_down: AtomicU64,
    pub(crate) files_deleted: AtomicU64,
    pub(crate) folders_created: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// Remote calls for threads.
pub(crate) struct Remote {
    destination: Arc<dyn Destination>,
    runtime: tokio::runtime::Handle,
    retry: RetrySettings,
    create_folder: bool,
    temp_folder: TempFolder,
    /// The folder was there or was made: if it is missing now, something is wrong with the way to it.
    folder_seen: AtomicBool,
    reporter: Arc<Reporter>,
    cancel: Cancel,
    pub(crate) counts: TransferCounts,
    /// Memory of volumes that were read, for the next ones: new memory costs a page fault every 4 KiB.
    spare: Mutex<Vec<Vec<u8>>>,
    /// Where files go that are not wanted any more, when they are not deleted.
    aside: Option<Aside>,
    /// Some of the smallest files listed, to find out whether any is given.
    smallest: Mutex<Vec<(String, u64)>>,
    outage: Outage,
}

impl Remote {
    pub(crate) fn new(
        destination: Arc<dyn Destination>,
        runtime: tokio::runtime::Handle,
        retry: RetrySettings,
        create_folder: bool,
        temp_folder: TempFolder,
        reporter: Arc<Reporter>,
        cancel: Cancel,
    ) -> Self {
        Self {
            destination,
            runtime,
            retry,
            create_folder,
            temp_folder,
            folder_seen: AtomicBool::new(false),
            reporter,
            cancel,
            counts: TransferCounts::default(),
            spare: Mutex::default(),
            smallest: Mutex::default(),
            aside: None,
            outage: Outage::new(retry.outage_limit),
        }
    }

    /// How files are moved aside, and whether that is done instead of deleting them.
    pub(crate) fn moving_aside(mut self, aside: Aside) -> Self {
        self.aside = Some(aside);
        self
    }

    /// The destination for people.
    pub(crate) fn display(&self) -> String {
        self.destination.about().display.clone()
    }

    /// True when a listing shows every upload at once.
    pub(crate) fn lists_at_once(&self) -> bool {
        self.destination.about().abilities.consistent_list
    }

    /// Free and total bytes, when the destination tells.
    pub(crate) fn space(&self) -> Option<larder_destination::Capacity> {
        let verb = self.destination.extra().space?;
        self.runtime
            .block_on(self.cancel.race(verb.space()))
            .ok()?
            .ok()
    }

    /// Removes pieces of broken uploads that no listing shows, where a destination has such and the file would be one of
    /// `ours`; gives their number.
    ///
    /// # Errors
    /// The destination's. What stays harms nobody, so it is not tried again.
    pub(crate) fn remove_pieces(&self, ours: Ours<'_>) -> Result<u64> {
        match self.destination.extra().leftovers {
            Some(verb) => {
                let removed = self.cancel.race(verb.remove_leftovers(ours));
                Ok(self.runtime.block_on(removed)??)
            }
            None => Ok(0),
        }
    }

    /// Lists the destination folder; folders are left out.
    ///
    /// # Errors
    /// The destination's, after all attempts. A missing folder is created only when `create` says so, and never after
    /// files were seen in it or stored there: an unmounted disk must not be replaced by an empty folder.
    pub(crate) fn list(&self, create: bool) -> Result<Vec<RemoteFile>> {
        self.list_where(create, |_| true)
    }

    /// As [`Remote::list`], keeping only some files: a folder may hold any number of others.
    pub(crate) fn list_where(
        &self,
        create: bool,
        keeps: impl Fn(&RemoteFile) -> bool,
    ) -> Result<Vec<RemoteFile>> {
        self.reporter.transfer(Transfer::List);
        let files = self.repeat(create, || async {
            let mut stream = self.destination.list();
            let (mut files, mut any) = (Vec::new(), false);
            while let Some(file) = stream.next().await {
                let file = file?;
                any |= !file.is_folder;
                if !file.is_folder && keeps(&file) {
                    files.push(file);
                }
            }
            Ok::<_, RemoteError>((files, any))
        })?;
        let (files, any) = files;
        if any {
            self.folder_seen.store(true, Ordering::SeqCst);
        }
        let sized = files.iter().filter_map(|file| Some((file.size?, file)));
        let mut sized: Vec<_> = sized.filter(|(_, file)| !file.is_archived).collect();
        let few = sized.len().min(ASKED_FILES);
        if few > 0 {
            sized.select_nth_unstable_by_key(few - 1, |(size, _)| *size);
        }
        let few = sized.iter().take(few);
        *self.smallest.lock().unwrap_or_else(PoisonError::into_inner) =
            few.map(|(size, file)| (file.name.clone(), *size)).collect();
        Ok(files)
    }

    /// Fetches a volume whole; see [`Remote::get`]. A version list grows with the number of files, so it goes to a
    /// temporary file early.
    pub(crate) fn get_volume(
        &self,
        name: &VolumeName,
        expected: Option<u64>,
    ) -> Result<VolumeData> {
        self.get_within(name.as_str(), expected, fetched_memory(name))
    }

    /// Fetches a file whole. With `expected` known, another length is an error that is tried again.
    pub(crate) fn get(&self, name: &str, expected: Option<u64>) -> Result<VolumeData> {
        self.get_within(name, expected, IN_MEMORY_BYTES)
    }

    /// The same with so much of it in memory.
    pub(crate) fn get_within(
        &self,
        name: &str,
        expected: Option<u64>,
        memory: u64,
    ) -> Result<VolumeData> {
        self.reporter.transfer(Transfer::Get {
            name: name.to_owned(),
            size: expected.unwrap_or(0),
        });
        let data = match self.repeat(false, || self.get_once(name, expected, memory)) {
            Err(Error::Destination(error))
                if *error.kind() == ErrorKind::Denied && self.gives_others(name)? =>
            {
                return Err(Error::FileRefused(Box::new(error)));
            }
            other => other?,
        };
        self.counts.files_down.fetch_add(1, Ordering::Relaxed);
        Ok(data)
    }

    /// Whether the destination gives out files at this moment, when it refused one. A right that is missing or was taken
    /// away stops a run; one file that is refused costs that file only.
    fn gives_others(&self, refused: &str) -> Result<bool> {
        let smallest = self.smallest.lock().unwrap_or_else(PoisonError::into_inner);
        let others = smallest.clone();
        drop(smallest);
        for (name, size) in others.iter().filter(|(name, _)| name != refused) {
            self.counts.calls.fetch_add(1, Ordering::Relaxed);
            let asked = self
                .cancel
                .race(self.get_once(name, Some(*size), LIST_MEMORY_BYTES));
            if self.runtime.block_on(asked)?.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn get_once(&self, name: &str, expected: Option<u64>, memory: u64) -> Result<VolumeData> {
        let mut download = self.destination.get(name).await?;
        let wrong = |found: String, wanted: u64| {
            RemoteError::new(
                ErrorKind::Corrupt,
                self.destination.about().scheme,
                Operation::Get,
                format!("the file has {found} bytes instead of {wanted}"),
            )
            .object(name)
        };
        if let (Some(wanted), Some(found)) = (expected, download.len)
            && wanted != found
        {
            return Err(wrong(found.to_string(), wanted).into());
        }
        let announced = download.len.or(expected);
        let spare = self.spare_memory(announced.filter(|len| *len <= memory));
        let mut sink = Sink::reusing(memory, spare, self.temp_folder.clone());
        if let Some(len) = announced {
            sink.reserve(len);
        }
        while let Some(piece) = download.stream.next().await {
            let piece = piece?;
            // What is too long may have no end.
            let found = sink.len() + piece.len() as u64;
            if let Some(wanted) = announced.filter(|wanted| found > *wanted) {
                return Err(wrong(format!("more than {wanted}"), wanted).into());
            }
            self.counts
                .bytes_down
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
            self.reporter
                .progress
                .bytes_received
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
            // A full temporary folder is this machine's trouble, not the volume's.
            std::io::Write::write_all(&mut sink, &piece).map_err(temporary_error)?;
        }
        if let Some(wanted) = announced
            && wanted != sink.len()
        {
            return Err(wrong(sink.len().to_string(), wanted).into());
        }
        sink.finish()
    }

    fn spare_memory(&self, wanted: Option<u64>) -> Vec<u8> {
        // A small file must not keep the memory of a large one.
        if wanted.is_none_or(|len| len < SPARE_WORTH_BYTES) {
            return Vec::new();
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    /// Takes back the memory of a volume that was read.
    pub(crate) fn recycle(&self, data: Option<VolumeData>) {
        let Some(VolumeData::Memory(bytes)) = data else {
            return;
        };
        let memory = Vec::from(bytes);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.capacity() as u64 >= SPARE_WORTH_BYTES && spare.len() < SPARE_BUFFERS {
            spare.push(memory);
        }
    }

    /// Sends a file once. The caller decides about another name and attempt.
    pub(crate) fn put_once(&self, name: &str, data: &VolumeData, existing: Existing) -> Result<()> {
        self.reporter.transfer(Transfer::Put {
            name: name.to_owned(),
            size: data.len(),
        });
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let sent = Sent::new(Arc::clone(&self.reporter.progress), data.len());
        let body = || {
            let sent = sent.clone();
            data.body().heard_by(move |bytes| sent.add(bytes))
        };
        let mut result = self
            .runtime
            .block_on(
                self.cancel
                    .race(self.destination.put(name, body(), existing)),
            )
            .inspect_err(|_| sent.take_back())?;
        if let Err(error) = &result
            && error.retry_class() == RetryClass::CreateFolder
            && self.may_create_folder()
        {
            sent.take_back();
            self.make_folder()?;
            result = self
                .runtime
                .block_on(
                    self.cancel
                        .race(self.destination.put(name, body(), existing)),
                )
                .inspect_err(|_| sent.take_back())?;
        }
        result.inspect_err(|_| sent.take_back())?;
        self.heard();
        self.folder_seen.store(true, Ordering::SeqCst);
        // What was not streamed.
        sent.add(data.len());
        self.counts.files_up.fetch_add(1, Ordering::Relaxed);
        self.counts
            .bytes_up
            .fetch_add(data.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Says that an attempt failed and waits before the next; false when there is none left.
    pub(crate) fn wait_for_retry(
        &self,
        what: &str,
        attempts: &mut Attempts,
        error: &Error,
    ) -> Result<bool> {
        if self.wait_for_network(attempts, error)? {
            return Ok(true);
        }
        attempts.counted += 1;
        let attempt = attempts.counted;
        let Some(wait) = self.retry.next(attempt, retry_class(error)) else {
            return Ok(false);
        };
        self.counts.retries.fetch_add(1, Ordering::Relaxed);
        self.reporter.say(
            Level::Retry,
            "RetryTransfer",
            format!(
                "attempt {attempt} of {} for {what} failed, the next follows in {} s: {error}",
                self.retry.retries + 1,
                wait.as_secs_f32().ceil()
            ),
        );
        self.runtime.block_on(pause(&self.cancel, wait))?;
        Ok(true)
    }

    /// Waits as before a repetition; cancellation ends it.
    pub(crate) fn wait_before(&self, attempt: u32) -> Result<()> {
        self.counts.retries.fetch_add(1, Ordering::Relaxed);
        let wait = self.retry.pause(attempt, RetryClass::Backoff);
        self.runtime.block_on(pause(&self.cancel, wait))
    }

    /// Waits when the network is gone, as long as the user allows; false when it is not, or for too long.
    fn wait_for_network(&self, attempts: &mut Attempts, error: &Error) -> Result<bool> {
        let is_unanswered = matches!(error, Error::Destination(error) if error.is_unanswered());
        if !is_unanswered {
            attempts.unanswered = 0;
            self.heard();
            return Ok(false);
        }
        attempts.unanswered += 1;
        let Some(wait) = self.outage.failed(self.now(), attempts.unanswered) else {
            return Ok(false);
        };
        self.counts.retries.fetch_add(1, Ordering::Relaxed);
        if let Some(lasted) = wait.tell {
            let gone = match lasted.as_secs() {
                0 => "the destination cannot be reached any more".to_owned(),
                seconds => format!(
                    "the destination has not been reached for {}",
                    words::duration(seconds)
                ),
            };
            let limit = words::duration(self.outage.limit().as_secs());
            self.reporter.notice(
                "NetworkOutage",
                format!("{gone}; it is tried for {limit} (--network-outage-limit): {error}"),
            );
        }
        self.runtime.block_on(pause(&self.cancel, wait.pause))?;
        Ok(true)
    }

    /// The destination answered.
    fn heard(&self) {
        if let Some(lasted) = self.outage.answered(|| self.now()) {
            self.reporter.notice(
                "NetworkBack",
                format!(
                    "the destination is reached again after {}; the run goes on",
                    words::duration(lasted.as_secs())
                ),
            );
        }
    }

    /// A time that only grows.
    fn now(&self) -> tokio::time::Instant {
        let _runtime = self.runtime.enter();
        tokio::time::Instant::now()
    }

    /// True when files of the destination may have locks.
    pub(crate) fn may_have_locks(&self) -> bool {
        self.destination.extra().lock.is_some()
    }

    /// Locks a file until a time in seconds since 1970; a longer lock stays.
    ///
    /// # Errors
    /// The destination's, after all attempts: [`ErrorKind::Unsupported`] where there are no locks.
    pub(crate) fn lock(&self, name: &str, until: i64) -> Result<()> {
        let verb = self.destination.extra().lock;
        let verb = verb.ok_or_else(|| self.without(Operation::Lock))?;
        self.repeat(false, || verb.lock(name, until))
    }

    /// Until when a file is locked, as the destination says; see [`Remote::lock`].
    pub(crate) fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let verb = self.destination.extra().lock;
        let verb = verb.ok_or_else(|| self.without(Operation::LockedUntil))?;
        self.repeat(false, || verb.locked_until(name))
    }

    fn without(&self, operation: Operation) -> RemoteError {
        RemoteError::unsupported(self.destination.about().scheme, operation)
    }

    /// Removes a file, or moves it aside; one that is not there counts as removed.
    pub(crate) fn delete(&self, name: &str, size: u64) -> Result<()> {
        let Some(prefix) = self
            .aside
            .as_ref()
            .and_then(|aside| aside.prefix.as_deref())
        else {
            return self.remove(name, size);
        };
        self.reporter.transfer(Transfer::Delete {
            name: name.to_owned(),
            size,
        });
        self.move_aside(prefix, name)?;
        self.counts.files_deleted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a file for good, also where others are moved aside; one that is not there counts as removed.
    pub(crate) fn remove(&self, name: &str, size: u64) -> Result<()> {
        self.reporter.transfer(Transfer::Delete {
            name: name.to_owned(),
            size,
        });
        without_missing(self.repeat(false, || self.destination.delete(name)))?;
        self.counts.files_deleted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn may_create_folder(&self) -> bool {
        self.create_folder && !self.folder_seen.swap(true, Ordering::SeqCst)
    }

    fn make_folder(&self) -> Result<()> {
        self.reporter.transfer(Transfer::CreateFolder);
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        self.runtime
            .block_on(self.cancel.race(self.destination.create_folder()))??;
        self.counts.folders_created.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn repeat<T, E, F, Fut>(&self, create: bool, call: F) -> Result<T>
    where
        F: Fn() -> Fut,
        Fut: std::future::Future<Output = std::result::Result<T, E>>,
        E: Into<Error>,
    {
        let mut attempts = Attempts::default();
        loop {
            self.cancel.check()?;
            self.counts.calls.fetch_add(1, Ordering::Relaxed);
            let error = match self.runtime.block_on(self.cancel.race(call()))? {
                Ok(value) => {
                    self.heard();
                    return Ok(value);
                }
                Err(error) => error.into(),
            };
            if retry_class(&error) == RetryClass::CreateFolder && create && self.may_create_folder()
            {
                self.make_folder()?;
                continue;
            }
            if !self.wait_for_retry("a remote call", &mut attempts, &error)? {
                return Err(error);
            }
        }
    }
}

/// Enters the bytes of a put into the progress while they go, no more than there are.
#[derive(Clone)]
struct Sent {
    progress: Arc<Progress>,
    counted: Arc<Mutex<u64>>,
    len: u64,
}

impl Sent {
    fn new(progress: Arc<Progress>, len: u64) -> Self {
        Self {
            progress,
            counted: Arc::default(),
            len,
        }
    }

    fn add(&self, bytes: u64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let more = bytes.min(self.len - *counted);
        *counted += more;
        self.progress.bytes_sent.fetch_add(more, Ordering::Relaxed);
    }

    /// The attempt failed: nothing was sent.
    fn take_back(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *counted);
        self.progress.bytes_sent.fetch_sub(all, Ordering::Relaxed);
    }
}

/// Files that are asked for when one is refused.
const ASKED_FILES: usize = 4;
/// Files from this size on reuse memory.
const SPARE_WORTH_BYTES: u64 = 1 << 20;
/// Pieces of memory kept for reuse.
const SPARE_BUFFERS: usize = 4;
/// How much of a fetched volume lies in memory.
pub(crate) fn fetched_memory(name: &VolumeName) -> u64 {
    match name.kind() {
        VolumeKind::List => LIST_MEMORY_BYTES,
        VolumeKind::Blocks | VolumeKind::Index => IN_MEMORY_BYTES,
    }
}

/// Whether and how the call that gave an error may be tried again.
fn retry_class(error: &Error) -> RetryClass {
    match error {
        Error::Destination(error) => error.retry_class(),
        Error::Known { .. }
        | Error::FileRefused(_)
        | Error::Volume { .. }
        | Error::Catalog(_)
        | Error::Io { .. }
        | Error::Option(_)
        | Error::Cancelled
        | Error::Bug(_) => RetryClass::Never,
    }
}

#[cfg(test)]
mod tests;
