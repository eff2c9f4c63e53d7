//! The destination over the files of a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use larder_destination::{
    About, Advice, Body, Call, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra,
    Leftovers, Operation, Ours, Random, RemoteFile, Rename, Result, Space,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::files::Files;
use crate::folder::Folder;

/// A destination made of [`Files`].
///
/// A file is stored under a temporary name and renamed when it is whole. What becomes of a rename whose answer is lost is
/// found out, a file that cannot be replaced in one step is moved aside, and back where the run was ended in between;
/// servers without renames get files at once. What ended runs left goes after a day by the server's clock.
pub struct Store<F> {
    folder: Folder<F>,
    about: About,
    tells_space: bool,
    longest: Option<Duration>,
    longest_list: Option<Duration>,
}

impl<F: Files> Store<F> {
    /// The destination whose files these are; `random` is for temporary names.
    pub fn new(files: F, about: About, random: Arc<dyn Random>) -> Self {
        Self {
            folder: Folder::new(files, random),
            about,
            tells_space: true,
            longest: None,
            longest_list: None,
        }
    }

    /// The same where the protocol has no words for the room that is left.
    #[must_use]
    pub fn without_space(mut self) -> Self {
        self.tells_space = false;
        self
    }

    /// The same whose operations take no longer than that, each as a whole.
    #[must_use]
    pub fn no_longer_than(mut self, longest: Option<Duration>) -> Self {
        self.longest = longest;
        self
    }

    /// The same whose listings take no longer than that, each as a whole.
    #[must_use]
    pub fn lists_no_longer_than(mut self, longest: Option<Duration>) -> Self {
        self.longest_list = longest;
        self
    }

    async fn within<T>(&self, call: &Call, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(longest) = self.longest else {
            return work.await;
        };
        let done = timeout(longest, work).await;
        done.unwrap_or_else(|_| Err(too_long(call, longest)))
    }

    fn files(&self) -> &F {
        self.folder.files()
    }

    fn call(&self, operation: Operation) -> Call {
        Call::new(self.about.scheme, operation)
    }

    fn call_on(&self, operation: Operation, name: &str) -> Result<Call> {
        Call::on_file(self.about.scheme, operation, name)
    }
}

/// What is still to come of a stream; `late` when that is not there in time.
fn stream_within<'s, T: Send + 's>(
    end: Option<Instant>,
    stream: BoxStream<'s, Result<T>>,
    late: impl Fn() -> Error + Send + 's,
) -> BoxStream<'s, Result<T>> {
    let Some(end) = end else {
        return stream;
    };
    let rest = stream::unfold((Some(stream), late), move |(stream, late)| async move {
        let mut stream = stream?;
        match timeout_at(end, stream.next()).await {
            Ok(Some(item)) => Some((item, (Some(stream), late))),
            Ok(None) => None,
            Err(_) => Some((Err(late()), (None, late))),
        }
    });
    rest.boxed()
}

fn end(begun: Instant, longest: Option<Duration>) -> Option<Instant> {
    begun.checked_add(longest?)
}

fn too_long(call: &Call, longest: Duration) -> Error {
    let text = format!(
        "it took longer than the {} s that are allowed",
        longest.as_secs()
    );
    call.error(ErrorKind::Network, text).unanswered()
}

fn list_too_long(call: &Call) -> Error {
    let text = "the listing did not end in the time that is allowed";
    let error = call.error(ErrorKind::Network, text).unanswered();
    error.advice(&Advice {
        id: "ConnectionTimedOut",
        help: "try again later; if it happens often, raise --list-timeout",
    })
}

#[async_trait]
impl<F: Files> Destination for Store<F> {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = self.call(Operation::List);
        let about = call.clone();
        let files = stream::once(async move { self.folder.list(&call).await });
        let begun = Instant::now();
        let (longest, longest_list) = (self.longest, self.longest_list);
        let files = files.try_flatten().boxed();
        let slow = about.clone();
        let files = stream_within(end(begun, longest_list), files, move || {
            list_too_long(&slow)
        });
        let longest = longest.unwrap_or_default();
        stream_within(end(begun, self.longest), files, move || {
            too_long(&about, longest)
        })
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = self.call_on(Operation::Get, name)?;
        let begun = Instant::now();
        let got = self.within(&call, self.folder.get(&call, name)).await?;
        let longest = self.longest.unwrap_or_default();
        Ok(Download {
            len: got.len,
            stream: stream_within(end(begun, self.longest), got.stream, move || {
                too_long(&call, longest)
            }),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = self.call_on(Operation::Put, name)?;
        let work = self.folder.put(&call, body, existing);
        self.within(&call, work).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = self.call_on(Operation::Delete, name)?;
        let work = self.folder.remove(&call, name);
        self.within(&call, work).await
    }

    async fn create_folder(&self) -> Result<()> {
        let call = self.call(Operation::CreateFolder);
        let work = self.files().make_folder(&call);
        self.within(&call, work).await
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            space: self.tells_space.then_some(self),
            rename: Some(self),
            leftovers: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl<F: Files> Space for Store<F> {
    async fn space(&self) -> Result<Capacity> {
        let call = self.call(Operation::Space);
        let space = self.within(&call, self.files().space(&call)).await?;
        space.ok_or_else(|| {
            let text = "the server does not tell how much room there is";
            call.error(ErrorKind::Unsupported, text)
        })
    }
}

#[async_trait]
impl<F: Files> Rename for Store<F> {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = self.call_on(Operation::Rename, from)?;
        self.call_on(Operation::Rename, to)?;
        let work = self.folder.rename(&call, to);
        self.within(&call, work).await
    }
}

#[async_trait]
impl<F: Files> Leftovers for Store<F> {
    async fn remove_leftovers(&self, _: Ours<'_>) -> Result<u64> {
        let call = self.call(Operation::RemoveLeftovers);
        let work = self.folder.remove_leftovers(&call);
        self.within(&call, work).await
    }
}
