//! Listings in pages: bounded in number, in time, and by the rule that no page comes twice.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use larder_destination::{Advice, Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::failure::{Call, Outcome};

/// One page.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    /// What stands on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None` after the last.
    pub next: Option<C>,
}

/// Streams what stands on all pages. `fetch` gets the cursor of a page, `None` for the first.
///
/// The stream ends with an error when a cursor comes back, after [`MOST_PAGES`] pages or `MOST_EMPTY_PAGES` empty
/// ones in a row, and when `deadline` has passed. It holds one page, and eight bytes for each page before.
pub fn pages<'a, T, C, F, Fut>(
    call: Call,
    deadline: Option<Instant>,
    fetch: F,
) -> BoxStream<'a, Result<T>>
where
    T: Send + 'a,
    C: Hash + Send + 'a,
    F: Fn(Option<C>) -> Fut + Send + 'a,
    Fut: Future<Output = Outcome<Page<T, C>>> + Send + 'a,
{
    let walk = Walk {
        call,
        deadline,
        fetch,
        next: Some(None),
        seen: HashSet::new(),
        empty: 0,
    };
    stream::try_unfold(walk, |mut walk| async move {
        let page = walk.page().await?;
        Ok::<_, Error>(page.map(|items| (items, walk)))
    })
    .flat_map(|page| match page {
        Ok(items) => stream::iter(items.into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    })
    .boxed()
}

/// A listing under way.
struct Walk<C, F> {
    call: Call,
    deadline: Option<Instant>,
    fetch: F,
    /// The next page's cursor, which the first page has none of; `None` after the last.
    next: Option<Option<C>>,
    /// Hashes of the cursors so far. Two that collide by chance end a listing that could go on, once in 10¹¹ times.
    seen: HashSet<u64>,
    empty: usize,
}

impl<C: Hash, F> Walk<C, F> {
    async fn page<T, Fut>(&mut self) -> Result<Option<Vec<T>>>
    where
        F: Fn(Option<C>) -> Fut,
        Fut: Future<Output = Outcome<Page<T, C>>>,
    {
        let Some(cursor) = self.next.take() else {
            return Ok(None);
        };
        let fetched = (self.fetch)(cursor);
        let page = match self.deadline {
            None => fetched.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, fetched).await {
                Ok(page) => page,
                Err(_) => return Err(self.too_slow()),
            },
        }?;
        self.empty = if page.items.is_empty() {
            self.empty + 1
        } else {
            0
        };
        if let Some(next) = page.next {
            self.check(&next)?;
            self.next = Some(Some(next));
        }
        Ok(Some(page.items))
    }

    fn check(&mut self, next: &C) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        next.hash(&mut hasher);
        let wrong = if !self.seen.insert(hasher.finish()) {
            "the server repeats the same page of the listing"
        } else if self.seen.len() > MOST_PAGES || self.empty > MOST_EMPTY_PAGES {
            "the listing has no end"
        } else {
            return Ok(());
        };
        Err(self.call.error(ErrorKind::Other, wrong))
    }

    fn too_slow(&self) -> Error {
        let text = "the listing did not end in the time that is allowed";
        self.call.error(ErrorKind::Network, text).advice(&Advice {
            id: "ConnectionTimedOut",
            help: "try again later; if it happens often, raise --list-timeout",
        })
    }
}

/// Most pages of one listing. With the usual 1,000 names on each that is more files than any backup has volumes.
pub const MOST_PAGES: usize = 20_000;
/// Most empty pages in a row; some services filter after cutting pages.
pub const MOST_EMPTY_PAGES: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::TryStreamExt;
    use larder_destination::Operation;

    use super::*;

    fn page(items: Vec<u64>, next: Option<u64>) -> Outcome<Page<u64, u64>> {
        Ok(Page { items, next })
    }

    fn call() -> Call {
        Call::new("test", Operation::List)
    }

    async fn text<T: std::fmt::Debug>(stream: BoxStream<'_, Result<T>>) -> String {
        let outcome = stream
            .try_fold(0_u64, |count, _| async move { Ok(count + 1) })
            .await;
        outcome.map_or_else(|error| error.to_string(), |count| count.to_string())
    }

    #[tokio::test]
    async fn all_pages_are_read_in_order() -> Result<()> {
        let stream = pages(call(), None, |cursor: Option<u64>| async move {
            let at = cursor.unwrap_or(0);
            page(vec![at * 2, at * 2 + 1], (at < 2).then_some(at + 1))
        });
        assert_eq!(stream.try_collect::<Vec<_>>().await?, [0, 1, 2, 3, 4, 5]);
        Ok(())
    }

    #[tokio::test]
    async fn repeated_endless_and_empty_pages_end_with_an_error() {
        let circle = pages(call(), None, |cursor: Option<u64>| async move {
            page(vec![1], Some((cursor.unwrap_or(0) + 1) % 3))
        });
        assert!(text(circle).await.contains("repeats the same page"));
        let endless = |items: Vec<u64>| {
            pages(call(), None, move |cursor: Option<u64>| {
                let items = items.clone();
                async move { page(items, Some(cursor.unwrap_or(0) + 1)) }
            })
        };
        assert!(text(endless(vec![1])).await.contains("has no end"));
        assert!(text(endless(vec![])).await.contains("has no end"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_listing_as_a_whole_has_a_deadline() {
        let begin = Instant::now();
        let deadline = begin + Duration::from_secs(60);
        let slow = pages(call(), Some(deadline), |cursor: Option<u64>| async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            page(vec![1], Some(cursor.unwrap_or(0) + 1))
        });
        assert!(text(slow).await.contains("did not end in the time"));
        assert_eq!(begin.elapsed().as_secs(), 60);
    }
}
