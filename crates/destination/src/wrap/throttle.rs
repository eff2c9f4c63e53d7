//! Speed limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{About, Body, Destination, Download, Existing, Extra, RemoteFile, Result};

/// A token bucket: at most so many bytes a second, over everything that shares it.
///
/// The limit may be changed while transfers run; they follow at once.
#[derive(Debug)]
pub struct RateLimit {
    bucket: Mutex<Bucket>,
    changed: Notify,
}

#[derive(Debug)]
struct Bucket {
    /// Bytes per second; 0 means no limit.
    rate: u64,
    /// Bytes that may pass now; negative after a piece larger than what was left.
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// A limit of `bytes_per_second`; 0 means none.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let bucket = Bucket {
            rate: bytes_per_second,
            tokens: 0.0,
            filled: Instant::now(),
        };
        Self {
            bucket: Mutex::new(bucket),
            changed: Notify::new(),
        }
    }

    /// Bytes per second; 0 means no limit.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.lock().rate
    }

    /// Changes the limit, also for transfers under way; 0 lifts it.
    pub fn set(&self, bytes_per_second: u64) {
        let mut bucket = self.lock();
        bucket.fill();
        bucket.rate = bytes_per_second;
        drop(bucket);
        self.changed.notify_waiters();
    }

    /// Waits until `bytes` may pass.
    ///
    /// A piece passes as soon as the bucket is not in debt, and its size is then owed, so pieces of any size keep the
    /// average. Dropping the future gives nothing back and takes nothing.
    pub async fn take(&self, bytes: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(wait) = self.lock().try_take(bytes) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// The largest piece to send at once: small enough that a slow transfer never looks stalled.
    fn piece_len(&self) -> usize {
        match self.lock().rate {
            0 => LARGEST_PIECE,
            rate => usize::try_from(rate / 8)
                .unwrap_or(LARGEST_PIECE)
                .clamp(SMALLEST_PIECE, LARGEST_PIECE),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Takes the tokens and gives `None`, or says how long to wait.
    fn try_take(&mut self, bytes: u64) -> Option<Duration> {
        self.fill();
        if self.rate == 0 {
            return None;
        }
        if self.tokens >= 0.0 {
            self.tokens -= bytes as f64;
            return None;
        }
        let seconds = (-self.tokens / self.rate as f64).clamp(0.001, 60.0);
        Some(Duration::from_secs_f64(seconds))
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * self.rate as f64;
        self.filled = now;
        // Idle time earns an eighth of a second at most, so that a pause is no licence for a burst.
        self.tokens = if self.rate == 0 {
            0.0
        } else {
            (self.tokens + earned).min(self.rate as f64 / 8.0)
        };
    }
}

/// A limit together with the count of what one body has taken from it.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    limit: Arc<RateLimit>,
    taken: Arc<AtomicU64>,
}

impl Pace {
    /// Cuts the pieces of a stream small and lets each through when its turn comes.
    pub(crate) fn apply<E>(
        self,
        source: impl Stream<Item = std::result::Result<Bytes, E>> + Send + 'static,
    ) -> BoxStream<'static, std::result::Result<Bytes, E>>
    where
        E: Send + 'static,
    {
        let state = (self, source.boxed(), Bytes::new());
        stream::unfold(state, |(pace, mut source, mut left)| async move {
            if left.is_empty() {
                match source.next().await? {
                    Ok(bytes) => left = bytes,
                    Err(error) => return Some((Err(error), (pace, source, Bytes::new()))),
                }
            }
            let piece = left.split_to(left.len().min(pace.limit.piece_len()));
            let len = piece.len() as u64;
            pace.limit.take(len).await;
            pace.taken.fetch_add(len, Ordering::Relaxed);
            Some((Ok(piece), (pace, source, left)))
        })
        .boxed()
    }
}

/// Keeps uploads and downloads below a limit each.
///
/// Uploads are slowed through [`Body::stream`], downloads through [`Download::stream`]. A provider that sends the
/// bytes of a body without its stream is slowed after the fact: the put returns late.
pub struct Throttle {
    inner: Arc<dyn Destination>,
    upload: Arc<RateLimit>,
    download: Arc<RateLimit>,
}

impl Throttle {
    /// Slows `inner`; the limits may be shared with other destinations and changed at any time.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Destination>,
        upload: Arc<RateLimit>,
        download: Arc<RateLimit>,
    ) -> Self {
        Self {
            inner,
            upload,
            download,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Destination for Throttle {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        self.inner.list()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let download = self.inner.get(name).await?;
        let pace = Pace {
            limit: Arc::clone(&self.download),
            taken: Arc::default(),
        };
        Ok(Download {
            len: download.len,
            stream: pace.apply(download.stream),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        if self.upload.bytes_per_second() == 0 {
            return self.inner.put(name, body, existing).await;
        }
        let len = body.len();
        let taken = Arc::new(AtomicU64::new(0));
        let pace = Pace {
            limit: Arc::clone(&self.upload),
            taken: Arc::clone(&taken),
        };
        self.inner.put(name, body.paced(pace), existing).await?;
        let unpaced = len.saturating_sub(taken.load(Ordering::Relaxed));
        if unpaced > 0 {
            // Taking them leaves the bucket in debt; taking nothing waits until the debt is paid.
            self.upload.take(unpaced).await;
            self.upload.take(0).await;
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn create_folder(&self) -> Result<()> {
        self.inner.create_folder().await
    }

    fn extra(&self) -> Extra<'_> {
        self.inner.extra()
    }
}

const LARGEST_PIECE: usize = 256 * 1024;
const SMALLEST_PIECE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds_for(limit: &RateLimit, pieces: u64, len: u64) -> f64 {
        let start = Instant::now();
        for _ in 0..pieces {
            limit.take(len).await;
        }
        limit.take(0).await;
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_average_keeps_to_the_limit() {
        let limit = RateLimit::new(100_000);
        for (pieces, len) in [(100, 10_000), (1, 1_000_000), (10_000, 100)] {
            let seconds = seconds_for(&limit, pieces, len).await;
            assert!(
                (9.5..=10.6).contains(&seconds),
                "{pieces} x {len}: {seconds}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_does_not_wait() {
        assert!(seconds_for(&RateLimit::new(0), 1000, 1 << 30).await < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_allow_a_burst() {
        let limit = RateLimit::new(1000);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(seconds_for(&limit, 10, 1000).await > 9.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_frees_waiting_transfers() {
        let limit = Arc::new(RateLimit::new(1));
        limit.take(1_000_000).await;
        let waiting = tokio::spawn({
            let limit = Arc::clone(&limit);
            async move { limit.take(1).await }
        });
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        limit.set(0);
        waiting.await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_cut_into_small_pieces() {
        let pace = Pace {
            limit: Arc::new(RateLimit::new(16 * 1024)),
            taken: Arc::default(),
        };
        let source = stream::iter([
            Ok::<_, std::io::Error>(Bytes::from(vec![1; 100_000])),
            Ok(Bytes::from_static(b"end")),
        ]);
        let start = Instant::now();
        let pieces: Vec<Bytes> = pace
            .clone()
            .apply(source)
            .map(std::result::Result::unwrap)
            .collect()
            .await;
        assert!(
            pieces
                .iter()
                .all(|piece| !piece.is_empty() && piece.len() <= 2048)
        );
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 100_003);
        assert_eq!(pace.taken.load(Ordering::Relaxed), 100_003);
        assert!(start.elapsed() > Duration::from_secs(5));
    }
}
