//! What every destination must do, as cases that run over any of them.
//!
//! `conformance` runs all cases for every provider; a provider's own tests may run some. A [`Site`] opens the
//! destinations for a case, [`run`] runs all cases on it and says what passed, what was left out and why, and what
//! failed. Cases are chosen by what a destination says it can do, never by its name.

mod cases;
mod transfers;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use larder_destination::{Body, Destination, Error, ErrorKind, Existing, RemoteFile};

/// Where the destinations of the cases come from.
#[async_trait]
pub trait Site: Send + Sync {
    /// Opens a destination whose folder exists and is empty, apart from all others.
    ///
    /// # Errors
    /// Whatever keeps the site from working.
    async fn empty(&self) -> Result<Arc<dyn Destination>, Error>;

    /// Opens a destination whose folder does not exist but can be created; the reason when this site has none.
    async fn missing(&self) -> Result<Arc<dyn Destination>, &'static str>;
}

/// One thing a destination must do.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it must do, as part of a sentence.
    pub name: &'static str,
    needs: Needs,
    run: fn(Bench) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// What a case asks of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    MissingFolder,
    Rename,
    Space,
}

impl Needs {
    /// The reason to leave a case out.
    fn lacking(self, destination: &dyn Destination) -> Option<&'static str> {
        let extra = destination.extra();
        let (renames, knows_space) = (extra.rename.is_some(), extra.space.is_some());
        let (is_there, reason) = match self {
            Self::Nothing | Self::MissingFolder => return None,
            Self::Rename => (renames, "it cannot rename"),
            Self::Space => (knows_space, "it does not know its space"),
        };
        (!is_there).then_some(reason)
    }
}

/// Why a case failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(String);

type Outcome = Result<(), Failed>;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(format!("{error} ({:?})", error.kind()))
    }
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Leaves the case with a message unless the condition holds.
macro_rules! check {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::behaviour::Failed::from(format!($($message)+)));
        }
    };
}
use check;

/// The destinations of one case.
#[derive(Clone)]
struct Bench {
    site: Arc<dyn Site>,
    opened: Arc<Mutex<Vec<Arc<dyn Destination>>>>,
}

impl Bench {
    async fn empty(&self) -> Result<Arc<dyn Destination>, Failed> {
        let destination = self.site.empty().await?;
        Ok(self.keep(destination))
    }

    async fn missing(&self) -> Result<Arc<dyn Destination>, Failed> {
        let destination = self
            .site
            .missing()
            .await
            .map_err(|reason| Failed(reason.to_owned()))?;
        Ok(self.keep(destination))
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
            let removals = names.iter().map(|name| destination.delete(name));
            futures_util::future::join_all(removals).await;
        }
    }
}

/// The outcome of all cases on one site.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Names of the cases that passed.
    pub passed: Vec<&'static str>,
    /// Cases that were left out, each with the reason.
    pub skipped: Vec<(&'static str, &'static str)>,
    /// Cases that failed, each with what went wrong.
    pub failed: Vec<(&'static str, String)>,
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

/// All cases, the simple ones first.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases::CASES
        .iter()
        .chain(transfers::CASES)
        .copied()
        .collect()
}

/// Runs all cases one after the other; needs the runtime of tokio.
pub async fn run(site: Arc<dyn Site>) -> Summary {
    let mut summary = Summary::default();
    for case in cases() {
        match run_case(case, Arc::clone(&site)).await {
            Ok(None) => summary.passed.push(case.name),
            Ok(Some(reason)) => summary.skipped.push((case.name, reason)),
            Err(Failed(message)) => summary.failed.push((case.name, message)),
        }
    }
    summary
}

/// Runs one case: `None` when it passed, the reason when it was left out.
///
/// # Errors
/// What the destination did wrong.
pub async fn run_case(case: Case, site: Arc<dyn Site>) -> Result<Option<&'static str>, Failed> {
    let lacking = if case.needs == Needs::MissingFolder {
        site.missing().await.err()
    } else {
        case.needs.lacking(site.empty().await?.as_ref())
    };
    if lacking.is_some() {
        return Ok(lacking);
    }
    let bench = Bench {
        site,
        opened: Arc::default(),
    };
    // A task of its own turns a panic in a provider into a failed case.
    let task = tokio::spawn((case.run)(bench.clone()));
    let outcome = match tokio::time::timeout(LONGEST_CASE, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(Failed(error.to_string())),
        Err(_) => Err(Failed(format!(
            "it did not end within {} s",
            LONGEST_CASE.as_secs()
        ))),
    };
    bench.clean().await;
    outcome.map(|()| None)
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
        Ok(_) => Err(Failed(format!(
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

const LONGEST_CASE: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests;
