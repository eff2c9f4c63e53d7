//! What is sent to and received from a destination.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::Result;
use crate::wrap::Pace;

/// The content of a `put`: its length is known and it can be read again from the first byte.
#[derive(Clone, Debug)]
pub struct Body {
    source: Source,
    len: u64,
    pace: Option<Pace>,
    cut: Option<u64>,
    ear: Option<Ear>,
}

/// Somebody who hears of the bytes that a stream gives out.
#[derive(Clone)]
struct Ear(Arc<dyn Fn(u64) + Send + Sync>);

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ear")
    }
}

#[derive(Clone, Debug)]
enum Source {
    Memory(Bytes),
    File(Arc<PathBuf>),
}

/// Bytes handed over in one piece when a body is streamed.
const CHUNK_BYTES: usize = 256 * 1024;

impl Body {
    /// A body held in memory.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            len: bytes.len() as u64,
            source: Source::Memory(bytes),
            pace: None,
            cut: None,
            ear: None,
        }
    }

    /// A body in a local file of `len` bytes; the file must not change until the put has ended.
    #[must_use]
    pub fn from_file(path: PathBuf, len: u64) -> Self {
        Self {
            source: Source::File(Arc::new(path)),
            len,
            pace: None,
            cut: None,
            ear: None,
        }
    }

    /// The same body that tells how many bytes each piece has which its streams give out. A provider that takes the
    /// bytes or the file at once, or streams more than once, is heard accordingly.
    #[must_use]
    pub fn heard_by(mut self, ear: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.ear = Some(Ear(Arc::new(ear)));
        self
    }

    /// The same body whose stream breaks off after `bytes`, to test what a provider does about it.
    ///
    /// It shows neither bytes nor file any more, so that the provider has to take the stream.
    #[must_use]
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.cut = Some(self.cut.map_or(bytes, |cut| cut.min(bytes)));
        self
    }

    /// The same body slowed by a speed limit.
    pub(crate) fn paced(mut self, pace: Pace) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for a body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when a speed limit applies: then only [`Body::stream`] may be used to send, the other accessors only to
    /// look at the content, for instance to hash it.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// The bytes, when the body is held in memory.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Memory(bytes) if self.cut.is_none() => Some(bytes),
            Source::Memory(_) | Source::File(_) => None,
        }
    }

    /// The local file, when the body is one.
    #[must_use]
    pub fn as_file(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) if self.cut.is_none() => Some(path),
            Source::Memory(_) | Source::File(_) => None,
        }
    }

    /// Streams the content from the first byte; may be called again for a repeated attempt.
    ///
    /// The stream gives an error when the file has fewer or more bytes than announced.
    #[must_use]
    pub fn stream(&self) -> BoxStream<'static, std::io::Result<Bytes>> {
        let mut stream = match &self.source {
            Source::Memory(bytes) => pieces(bytes.clone()),
            Source::File(path) => read_file(Arc::clone(path), self.len),
        };
        if let Some(cut) = self.cut {
            stream = break_off(stream, cut);
        }
        if let Some(pace) = &self.pace {
            stream = pace.clone().apply(stream);
        }
        match self.ear.clone() {
            Some(ear) => stream
                .inspect_ok(move |piece| (ear.0)(piece.len() as u64))
                .boxed(),
            None => stream,
        }
    }
}

fn pieces(bytes: Bytes) -> BoxStream<'static, std::io::Result<Bytes>> {
    let starts = (0..bytes.len()).step_by(CHUNK_BYTES);
    let pieces = starts.map(move |at| Ok(bytes.slice(at..bytes.len().min(at + CHUNK_BYTES))));
    stream::iter(pieces).boxed()
}

fn read_file(path: Arc<PathBuf>, len: u64) -> BoxStream<'static, std::io::Result<Bytes>> {
    let start = async move {
        let file = blocking(move || std::fs::File::open(path.as_path())).await?;
        Ok::<_, std::io::Error>((file, len))
    };
    stream::once(start)
        .map_ok(|state| stream::try_unfold(state, next_piece))
        .try_flatten()
        .boxed()
}

async fn next_piece(
    (file, left): (std::fs::File, u64),
) -> std::io::Result<Option<(Bytes, (std::fs::File, u64))>> {
    let (file, piece) = blocking(move || {
        let mut piece = Vec::with_capacity(CHUNK_BYTES);
        (&file).take(CHUNK_BYTES as u64).read_to_end(&mut piece)?;
        Ok((file, piece))
    })
    .await?;
    let read = piece.len() as u64;
    if read > left || (read == 0 && left > 0) {
        return Err(changed_length());
    }
    Ok((read > 0).then(|| (Bytes::from(piece), (file, left - read))))
}

/// Passes the first `left` bytes and then gives an error, also when the source ends just there.
fn break_off(
    source: BoxStream<'static, std::io::Result<Bytes>>,
    left: u64,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    stream::try_unfold((source, left), |(mut source, left)| async move {
        if left == 0 {
            return Err(changed_length());
        }
        let Some(mut piece) = source.try_next().await? else {
            return Err(changed_length());
        };
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - piece.len() as u64;
        Ok(Some((piece, (source, left))))
    })
    .boxed()
}

fn changed_length() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        "the content to send does not have the announced length",
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}

/// A file being received.
pub struct Download {
    /// Length in bytes as announced by the provider; `None` when it does not say.
    pub len: Option<u64>,
    /// The content in order; an error ends it.
    pub stream: BoxStream<'static, Result<Bytes>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Download {
    /// A download of bytes already in memory.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            len: Some(bytes.len() as u64),
            stream: stream::iter([Ok(bytes)]).boxed(),
        }
    }

    /// Collects the whole content.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn bytes(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::with_capacity(
            usize::try_from(self.len.unwrap_or(0))
                .unwrap_or(0)
                .min(1 << 28),
        );
        while let Some(piece) = self.stream.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }
}
