//! Whether anything moves on the line to the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

/// When the last byte moved, in either direction, and when the last one of an answer came.
#[derive(Debug)]
pub(crate) struct Pulse {
    begun: Instant,
    /// Milliseconds since then.
    moved: AtomicU64,
    answered: AtomicU64,
}

/// Which bytes are felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Felt {
    /// All of the line, also those of the keep-alive.
    Line,
    /// Those of the answers of a channel.
    Answers,
}

impl Pulse {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        })
    }

    fn beat(&self, felt: Felt) {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = match felt {
            Felt::Line => &self.moved,
            Felt::Answers => &self.answered,
        };
        last.store(passed, Ordering::Relaxed);
    }

    fn at(&self, last: &AtomicU64) -> Instant {
        self.begun + Duration::from_millis(last.load(Ordering::Relaxed))
    }

    /// When it was that the last byte moved.
    pub fn last(&self) -> Instant {
        self.at(&self.moved)
    }

    /// Waits for an answer until nothing has moved for `limit`, or nothing of any answer for [`LONGEST`] times that;
    /// nothing then. On a slow line an answer comes late because others come before it, which is no silence.
    pub async fn unless_silent<T>(
        &self,
        limit: Option<Duration>,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let Some(limit) = limit else {
            return Some(answer.await);
        };
        let limit = limit.min(MOST);
        let begun = Instant::now();
        let mut answer = std::pin::pin!(answer);
        let mut until = begun + limit;
        loop {
            if let Ok(answer) = timeout_at(until, &mut answer).await {
                return Some(answer);
            }
            let latest = self.at(&self.answered).max(begun) + limit * LONGEST;
            let next = (self.last().max(begun) + limit).min(latest);
            if next <= until {
                return None;
            }
            until = next;
        }
    }
}

/// A stream whose bytes are felt.
pub(crate) struct Watched<S> {
    stream: S,
    felt: Felt,
    pulse: Arc<Pulse>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, felt: Felt, pulse: Arc<Pulse>) -> Self {
        Self {
            stream,
            felt,
            pulse,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.pulse.beat(self.felt);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        if written > 0 {
            self.pulse.beat(self.felt);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A line on which no answer moves for so many times the silence that is allowed is given up, also where questions and
/// answers of the keep-alive move.
pub(crate) const LONGEST: u32 = 10;
/// No longer silence can be told from none.
const MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(30));

    #[tokio::test(start_paused = true)]
    async fn only_silence_ends_a_wait() {
        let pulse = Pulse::new();
        let after = |seconds| sleep(Duration::from_secs(seconds));
        assert!(pulse.unless_silent(LIMIT, after(29)).await.is_some());
        let begun = Instant::now();
        assert!(pulse.unless_silent(LIMIT, after(40)).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(pulse.unless_silent(None, after(4000)).await.is_some());
        // A slow line.
        let beating = Arc::clone(&pulse);
        let beats = tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(20)).await;
                beating.beat(Felt::Line);
            }
        });
        assert!(pulse.unless_silent(LIMIT, after(200)).await.is_some());
        let begun = Instant::now();
        assert!(pulse.unless_silent(LIMIT, after(4000)).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 300);
        // Answers to others are on their way.
        let beating = Arc::clone(&pulse);
        let answers = tokio::spawn(async move {
            for _ in 0..30 {
                sleep(Duration::from_secs(250)).await;
                beating.beat(Felt::Answers);
            }
        });
        assert!(pulse.unless_silent(LIMIT, after(4000)).await.is_some());
        let begun = Instant::now();
        assert!(pulse.unless_silent(LIMIT, after(40_000)).await.is_none());
        // From 4,000 s on until the last one, at 7,500 s, and then the longest time.
        assert_eq!(begun.elapsed().as_secs(), 3500 + 300);
        answers.abort();
        beats.abort();
        advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_felt_in_both_directions() -> io::Result<()> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (near, mut far) = tokio::io::duplex(64);
        let pulse = Pulse::new();
        let mut watched = Watched::new(near, Felt::Line, Arc::clone(&pulse));
        advance(Duration::from_secs(5)).await;
        watched.write_all(b"x").await?;
        assert_eq!(pulse.last().elapsed().as_secs(), 0);
        advance(Duration::from_secs(5)).await;
        assert_eq!(pulse.last().elapsed().as_secs(), 5);
        far.write_all(b"y").await?;
        watched.read_u8().await?;
        assert_eq!(pulse.last().elapsed().as_secs(), 0);
        Ok(())
    }
}
