//! What every destination must do, as cases that run over any of them.
//!
//! `conformance` runs all cases for every provider; a provider's own tests may run some. A [`Folders`] opens the
//! destinations for a case, [`run`] runs all cases on it and says what passed, what was left out and why, and what
//! failed. What a destination does not promise is no failure: cases look at its abilities and limits, never at its name.

mod cases;
mod promises;
mod summary;
mod transfers;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use larder_destination::{
    Body, Clock, Destination, Error, ErrorKind, Existing, Place, RemoteFile, SystemClock,
};

pub use summary::Summary;

/// Where the destinations of the cases come from.
#[async_trait]
pub trait Folders: Send + Sync {
    /// Opens a destination whose folder exists and is empty, apart from all others.
    ///
    /// # Errors
    /// Whatever keeps it from working.
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error>;

    /// Opens a destination whose folder does not exist but can be created; the reason when there is none.
    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str>;

    /// Opens an empty folder, and then the folder that it has or will have below it, called `name`; the reason when
    /// that cannot be opened.
    async fn nested(
        &self,
        name: &str,
    ) -> Result<(Arc<dyn Destination>, Arc<dyn Destination>), &'static str> {
        let _ = name;
        Err("it has no folders in folders")
    }

    /// The places of several spellings of one folder, and those of other folders; the reason when it has no URLs.
    fn places(&self) -> Result<Places, &'static str> {
        Err("it has no URLs")
    }

    /// Lets it become later than `time` for the locks of the destination, in seconds since 1970.
    async fn pass(&self, time: i64) {
        while SystemClock.seconds() <= time {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // The clock of a service may be behind.
        tokio::time::sleep(CLOCKS_DIFFER).await;
    }

    /// What must never show, such as the password in the URL.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Spellings of places, each with what was written.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// All of one folder.
    pub same: Vec<(String, Place)>,
    /// Each another folder.
    pub others: Vec<(String, Place)>,
}

/// One thing a destination must do.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it must do, as part of a sentence.
    pub name: &'static str,
    run: fn(Bench) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Declares a case by its name and its function.
macro_rules! case {
    ($name:literal, $run:path) => {
        $crate::behaviour::Case {
            name: $name,
            run: |bench| Box::pin($run(bench)),
        }
    };
}
use case;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The destination did something wrong.
    Failed(String),
    /// It does not promise what the case is about.
    LeftOut(&'static str),
}

type Outcome = Result<(), Stop>;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::LeftOut(reason) => f.write_str(reason),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{error} ({:?})", error.kind()))
    }
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Leaves the case with a message unless the condition holds.
macro_rules! check {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::behaviour::Stop::from(format!($($message)+)));
        }
    };
}
use check;

/// The destinations of one case.
#[derive(Clone)]
struct Bench {
    folders: Arc<dyn Folders>,
    opened: Arc<Mutex<Vec<Arc<dyn Destination>>>>,
}

impl Bench {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Stop> {
        let destination = self.folders.empty().await?;
        Ok(self.keep(destination))
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, Stop> {
        let destination = self.folders.missing().await.map_err(Stop::LeftOut)?;
        Ok(self.keep(destination))
    }

    async fn nested(
        &self,
        name: &str,
    ) -> Result<(Arc<dyn Destination>, Arc<dyn Destination>), Stop> {
        let (outer, inner) = self.folders.nested(name).await.map_err(Stop::LeftOut)?;
        Ok((self.keep(outer), self.keep(inner)))
    }

    fn keep(&self, destination: Arc<dyn Destination>) -> Arc<dyn Destination> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push(Arc::clone(&destination));
        destination
    }

    /// Removes all files that the case left behind; what cannot be removed stays.
    async fn clean(&self) {
        let opened =
            std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for destination in opened {
            let names = names(destination.as_ref()).await.unwrap_or_default();
            for some in names.chunks(AT_ONCE) {
                let removals = some.iter().map(|name| destination.delete(name));
                futures_util::future::join_all(removals).await;
            }
        }
    }
}

/// All cases, the simple ones first.
#[must_use]
pub fn cases() -> Vec<Case> {
    [cases::CASES, transfers::CASES, promises::CASES].concat()
}

/// Runs all cases one after the other; needs the runtime of tokio.
///
/// `skips` names cases that are not run, each with the reason. A name that is no case, and a reason that is none, count
/// as failures.
pub async fn run(folders: Arc<dyn Folders>, skips: &[(&str, &str)]) -> Summary {
    let mut summary = Summary::default();
    for (name, reason) in skips {
        if !cases().iter().any(|case| case.name == *name) {
            summary.fail(*name, "a reason is given for a case that does not exist");
        } else if reason.split_whitespace().count() < SHORTEST_REASON {
            summary.fail(*name, format!("it is skipped, and {reason:?} is no reason"));
        }
    }
    for case in cases() {
        match skips.iter().find(|(name, _)| *name == case.name) {
            Some((_, reason)) => summary.skip(case.name, *reason),
            None => run_case(case, Arc::clone(&folders), &mut summary).await,
        }
    }
    summary
}

/// Runs one case and adds its outcome.
pub async fn run_case(case: Case, folders: Arc<dyn Folders>, summary: &mut Summary) {
    let bench = Bench {
        folders,
        opened: Arc::default(),
    };
    let work = (case.run)(bench.clone());
    summary.take(case.name, LONGEST_CASE, work).await;
    bench.clean().await;
}

/// The names in a listing, in order.
async fn names(destination: &dyn Destination) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = destination
        .list()
        .map_ok(|file| file.name)
        .try_collect()
        .await?;
    names.sort_unstable();
    Ok(names)
}

/// The listing, in the order of names. Where listings may lag behind, it is asked again until `is_there` holds.
async fn listing(
    destination: &dyn Destination,
    is_there: impl Fn(&[RemoteFile]) -> bool,
) -> Result<Vec<RemoteFile>, Error> {
    let attempts = if destination.about().abilities.consistent_list {
        1
    } else {
        20
    };
    let mut files = Vec::new();
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        files = destination.list().try_collect().await?;
        files.sort_unstable_by(|a: &RemoteFile, b| a.name.cmp(&b.name));
        if is_there(&files) {
            break;
        }
    }
    Ok(files)
}

/// Checks that a listing holds exactly these names.
async fn expect_names(destination: &dyn Destination, expected: &[&str]) -> Outcome {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    let same = |files: &[RemoteFile]| {
        files
            .iter()
            .map(|file| file.name.as_str())
            .eq(expected.iter().copied())
    };
    let files = listing(destination, same).await?;
    let found: Vec<_> = files.iter().map(|file| &file.name).collect();
    check!(
        same(&files),
        "the listing shows {found:?} instead of {expected:?}"
    );
    Ok(())
}

async fn put(destination: &dyn Destination, name: &str, content: &[u8]) -> Result<(), Error> {
    destination
        .put(name, Body::from_bytes(content.to_vec()), Existing::Replace)
        .await
}

/// Reads a file and checks its content and announced length.
async fn expect_content(destination: &dyn Destination, name: &str, expected: &[u8]) -> Outcome {
    let download = destination.get(name).await?;
    if let Some(len) = download.len {
        check!(
            len == expected.len() as u64,
            "{name} announces {len} bytes instead of {}",
            expected.len()
        );
    }
    let content = download.bytes().await?;
    check!(
        content == expected,
        "{name} has other content than was put: {} bytes instead of {}",
        content.len(),
        expected.len()
    );
    Ok(())
}

/// Checks that a call failed with one of the kinds.
fn expect_error<T>(what: &str, result: Result<T, Error>, kinds: &[ErrorKind]) -> Outcome {
    match result {
        Ok(_) => Err(Stop::Failed(format!(
            "{what} succeeded instead of failing with {kinds:?}"
        ))),
        Err(error) => {
            check!(
                kinds.contains(error.kind()),
                "{what} failed with {:?} instead of {kinds:?}: {error}",
                error.kind()
            );
            Ok(())
        }
    }
}

/// Files that are put or deleted at the same time, at most.
const AT_ONCE: usize = 16;
/// How far the clock of a service may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3);
const LONGEST_CASE: Duration = Duration::from_secs(180);
/// Words in a reason.
const SHORTEST_REASON: usize = 4;

#[cfg(test)]
mod tests;
