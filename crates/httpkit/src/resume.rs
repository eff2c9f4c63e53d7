//! Downloads that break off: what is missing is asked for, where the service gives out parts of a file.

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream};
use larder_destination::{Download, ErrorKind, Result};

use crate::failure::Outcome;

/// The same download, which goes on where it broke off: `rest` gives the content from a byte on, of the very same file. That
/// is asked at most `times`, and only when the last break let some bytes through. When it fails, the break is the error.
#[must_use]
pub fn resumed<F, Fut>(download: Download, times: u32, rest: F) -> Download
where
    F: Fn(u64) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome<Download>> + Send + 'static,
{
    let Some(len) = download.len else {
        return download;
    };
    let state = Reading {
        stream: download.stream,
        len,
        at: 0,
        begun_at: 0,
        times,
        rest,
    };
    Download {
        len: Some(len),
        stream: Box::pin(stream::try_unfold(state, Reading::next)),
    }
}

/// A download under way.
struct Reading<F> {
    stream: BoxStream<'static, Result<Bytes>>,
    len: u64,
    /// Bytes that were given out.
    at: u64,
    /// Where the present stream began.
    begun_at: u64,
    times: u32,
    rest: F,
}

impl<F, Fut> Reading<F>
where
    F: Fn(u64) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome<Download>> + Send + 'static,
{
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let error = match self.stream.try_next().await {
                Ok(Some(piece)) => {
                    self.at += piece.len() as u64;
                    return Ok(Some((piece, self)));
                }
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            let moved = self.at > self.begun_at && self.at < self.len;
            if *error.kind() != ErrorKind::Network || self.times == 0 || !moved {
                return Err(error);
            }
            self.times -= 1;
            self.begun_at = self.at;
            match (self.rest)(self.at).await {
                Ok(rest) if rest.len == Some(self.len - self.at) => self.stream = rest.stream,
                _ => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt;
    use larder_destination::Operation;

    use super::*;
    use crate::failure::Call;

    const CONTENT: &str = "0123456789";

    /// The content from a byte on, which breaks off after so many.
    fn from(at: u64, breaks_after: usize, kind: ErrorKind) -> Download {
        let rest = CONTENT
            .get(usize::try_from(at).unwrap_or(0)..)
            .unwrap_or("");
        let mut items = vec![Ok(Bytes::from(rest.get(..breaks_after).unwrap_or(rest)))];
        if breaks_after < rest.len() {
            let call = Call::on("test", Operation::Get, "a");
            items.push(Err(call.error(kind, "it broke off")));
        }
        Download {
            len: Some(rest.len() as u64),
            stream: stream::iter(items).boxed(),
        }
    }

    /// What comes out, and how often the rest was asked for.
    async fn read(
        breaks_after: usize,
        kind: ErrorKind,
        rest: impl Fn(u64) -> Outcome<Download> + Send + 'static,
    ) -> (Result<Vec<u8>>, usize) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let download = resumed(from(0, breaks_after, kind), 2, move |at| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(rest(at))
        });
        let content = download.bytes().await;
        (content, asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn it_goes_on_where_it_broke_off_as_often_as_allowed() -> Result<()> {
        let network = || ErrorKind::Network;
        let (content, asked) = read(3, network(), move |at| Ok(from(at, 4, network()))).await;
        assert_eq!((content?.as_slice(), asked), (CONTENT.as_bytes(), 2));
        let (content, asked) = read(3, network(), move |at| Ok(from(at, 1, network()))).await;
        assert!(content.is_err_and(|error| error.to_string().ends_with("it broke off")));
        assert_eq!(asked, 2);
        // Nothing came through, or the rest has another length than it must have.
        for (breaks_after, tells, expected) in [(0, 0, 0), (3, 0, 1), (10, 0, 0)] {
            let (content, asked) = read(breaks_after, network(), move |_| {
                Ok(from(tells, 10, network()))
            })
            .await;
            assert_eq!((content.is_err(), asked), (breaks_after < 10, expected));
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_trouble_of_the_line_ends_it() {
        let (content, asked) = read(3, ErrorKind::Corrupt, |at| {
            Ok(from(at, 10, ErrorKind::Other))
        })
        .await;
        assert_eq!(
            content.err().map(|error| error.kind().clone()),
            Some(ErrorKind::Corrupt)
        );
        assert_eq!(asked, 0);
        let changed = |_| {
            Err(Call::new("test", Operation::Get)
                .error(ErrorKind::Exists, "another tag")
                .into())
        };
        let (content, asked) = read(3, ErrorKind::Network, changed).await;
        assert_eq!(
            content.err().map(|error| error.kind().clone()),
            Some(ErrorKind::Network)
        );
        assert_eq!(asked, 1);
    }
}
