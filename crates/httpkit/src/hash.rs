//! Content hashes: before a transfer, or beside it on a thread of its own.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Body, Download, ErrorKind, Result};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::encode;
use crate::failure::Call;

/// A hash that some service checks or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// The hashes of one content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes(Vec<(Algorithm, Vec<u8>)>);

impl Hashes {
    /// Those of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8], wanted: &[Algorithm]) -> Self {
        let mut hashers = Hashers::new(wanted);
        hashers.update(bytes);
        hashers.finish()
    }

    /// Those of a whole body; it is read once more than for the transfer, past any speed limit.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when it cannot be read or has another length than announced.
    pub async fn of_body(call: &Call, body: &Body, wanted: &'static [Algorithm]) -> Result<Self> {
        let unreadable = |error: std::io::Error| {
            call.error(ErrorKind::Other, "the content to send cannot be read")
                .caused_by(error)
        };
        if body.as_bytes().is_none() && body.as_file().is_none() {
            // A body that shows neither: its stream knows by itself when its length is wrong.
            let mut stream = body.stream();
            let mut beside = Beside::start(wanted).map_err(unreadable)?;
            while let Some(piece) = stream.try_next().await.map_err(unreadable)? {
                beside.take(piece).await;
            }
            return Ok(beside.finish().await);
        }
        let body = body.clone();
        let work = move || match (body.as_bytes(), body.as_file()) {
            (Some(bytes), _) => Ok(Self::of(bytes, wanted)),
            (None, Some(path)) => of_file(std::fs::File::open(path)?, body.len(), wanted),
            (None, None) => Err(std::io::ErrorKind::InvalidInput.into()),
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| {
            call.error(ErrorKind::Other, "hashing the content was interrupted")
                .caused_by(error)
        })?;
        done.map_err(unreadable)
    }

    /// One of them; empty when it was not wanted.
    #[must_use]
    pub fn get(&self, algorithm: Algorithm) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| *known == algorithm);
        found.map_or(&[], |(_, hash)| hash)
    }

    /// Compares one of them with the hash of what the service has stored; one that it does not tell says nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they differ.
    pub fn check(&self, call: &Call, algorithm: Algorithm, stored: Option<&[u8]>) -> Result<()> {
        match stored {
            Some(stored) if stored != self.get(algorithm) => {
                let text = "the server's checksum is not that of what was sent";
                Err(call.error(ErrorKind::Corrupt, text))
            }
            _ => Ok(()),
        }
    }

    /// One of them in lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self, algorithm: Algorithm) -> String {
        encode::hex(self.get(algorithm))
    }

    /// One of them in Base64.
    #[must_use]
    pub fn base64(&self, algorithm: Algorithm) -> String {
        encode::base64(self.get(algorithm))
    }
}

fn of_file(file: std::fs::File, announced: u64, wanted: &[Algorithm]) -> std::io::Result<Hashes> {
    let mut hashers = Hashers::new(wanted);
    // One byte more, to see that there is none.
    let mut file = file.take(announced.saturating_add(1));
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut seen = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        seen += read as u64;
        hashers.update(buffer.get(..read).unwrap_or_default());
    }
    if seen == announced {
        return Ok(hashers.finish());
    }
    let text = format!("the file to send has not the announced length of {announced} bytes");
    Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text))
}

/// Hashes under way.
struct Hashers(Vec<Hasher>);

enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hashers {
    fn new(wanted: &[Algorithm]) -> Self {
        let start = |algorithm: &Algorithm| match algorithm {
            Algorithm::Md5 => Hasher::Md5(Md5::new()),
            Algorithm::Sha1 => Hasher::Sha1(Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
        };
        Self(wanted.iter().map(start).collect())
    }

    fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.0 {
            match hasher {
                Hasher::Md5(hasher) => hasher.update(bytes),
                Hasher::Sha1(hasher) => hasher.update(bytes),
                Hasher::Sha256(hasher) => hasher.update(bytes),
            }
        }
    }

    fn finish(self) -> Hashes {
        let end = |hasher| match hasher {
            Hasher::Md5(hasher) => (Algorithm::Md5, hasher.finalize().to_vec()),
            Hasher::Sha1(hasher) => (Algorithm::Sha1, hasher.finalize().to_vec()),
            Hasher::Sha256(hasher) => (Algorithm::Sha256, hasher.finalize().to_vec()),
        };
        Hashes(self.0.into_iter().map(end).collect())
    }
}

/// A thread that hashes what passes by, so that no worker of the runtime does. It is none of the runtime's own threads
/// for blocking work: those are few, and a transfer may wait long for the network.
struct Beside {
    pieces: mpsc::Sender<Bytes>,
    hashes: oneshot::Receiver<Hashes>,
}

impl Beside {
    fn start(wanted: &'static [Algorithm]) -> std::io::Result<Self> {
        let (pieces, mut incoming) = mpsc::channel::<Bytes>(PIECES_WAITING);
        let (done, hashes) = oneshot::channel();
        std::thread::Builder::new()
            .name("larder-hash".to_owned())
            .spawn(move || {
                let mut hashers = Hashers::new(wanted);
                while let Some(piece) = incoming.blocking_recv() {
                    hashers.update(&piece);
                }
                // Nobody may be waiting any more.
                let _ = done.send(hashers.finish());
            })?;
        Ok(Self { pieces, hashes })
    }

    async fn take(&mut self, piece: Bytes) {
        // The thread takes pieces until this end is dropped.
        let _ = self.pieces.send(piece).await;
    }

    /// The hashes of everything taken.
    async fn finish(self) -> Hashes {
        drop(self.pieces);
        self.hashes.await.unwrap_or_default()
    }
}

/// Hashes what a request sends while it is sent: for services that answer with a hash of what they got.
#[derive(Debug)]
pub struct Tap {
    wanted: &'static [Algorithm],
    last: Mutex<Option<Hashes>>,
}

impl Tap {
    /// A tap for [`Request::tapped`](crate::Request::tapped).
    #[must_use]
    pub fn new(wanted: &'static [Algorithm]) -> Arc<Self> {
        Arc::new(Self {
            wanted,
            last: Mutex::new(None),
        })
    }

    /// The hashes of the last content that was sent to its end; `None` before that.
    #[must_use]
    pub fn hashes(&self) -> Option<Hashes> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, hashes: Option<Hashes>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    /// The same stream of `len` bytes, hashed from its first byte. Nobody asks a stream for its end when its length is
    /// known, so the hashes are made when the last byte has passed.
    pub(crate) fn listen(
        self: &Arc<Self>,
        source: BoxStream<'static, std::io::Result<Bytes>>,
        len: u64,
    ) -> BoxStream<'static, std::io::Result<Bytes>> {
        self.set((len == 0).then(|| Hashes::of(&[], self.wanted)));
        let state = (source, None::<Beside>, Arc::clone(self), len);
        futures_util::stream::try_unfold(state, |(mut source, beside, tap, left)| async move {
            let Some(piece) = source.try_next().await? else {
                return Ok(None);
            };
            let mut beside = match beside {
                Some(beside) => beside,
                None => Beside::start(tap.wanted)?,
            };
            beside.take(piece.clone()).await;
            let left = left.saturating_sub(piece.len() as u64);
            let beside = if left == 0 {
                tap.set(Some(beside.finish().await));
                None
            } else {
                Some(beside)
            };
            Ok(Some((piece, (source, beside, tap, left))))
        })
        .boxed()
    }
}

/// The same download, which ends with [`ErrorKind::Corrupt`] when its content has not the hash that the service named; a
/// service that names none is believed.
///
/// # Errors
/// [`ErrorKind::Other`] when no thread can be started.
pub fn checked(
    download: Download,
    call: &Call,
    wanted: &'static [Algorithm],
    expected: Option<Vec<u8>>,
) -> Result<Download> {
    let Some(expected) = expected else {
        return Ok(download);
    };
    let beside = Beside::start(wanted).map_err(|error| {
        call.error(ErrorKind::Other, "no thread for hashing can be started")
            .caused_by(error)
    })?;
    let state = (download.stream, beside, call.clone(), expected);
    let stream = futures_util::stream::try_unfold(
        state,
        |(mut stream, mut beside, call, expected)| async move {
            if let Some(piece) = stream.try_next().await? {
                beside.take(piece.clone()).await;
                return Ok(Some((piece, (stream, beside, call, expected))));
            }
            let hashes = beside.finish().await;
            if hashes.0.iter().any(|(_, hash)| *hash == expected) {
                return Ok(None);
            }
            let text = "what arrived has another checksum than the service names";
            Err(call.error(ErrorKind::Corrupt, text))
        },
    );
    Ok(Download {
        len: download.len,
        stream: stream.boxed(),
    })
}

const BUFFER_BYTES: usize = 256 * 1024;
/// Pieces between a transfer and its hash; a slow hash then slows the transfer.
const PIECES_WAITING: usize = 8;

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    const BOTH: &[Algorithm] = &[Algorithm::Md5, Algorithm::Sha256];
    const MD5_OF_ABC: &str = "900150983cd24fb0d6963f7d28e17f72";

    fn call() -> Call {
        Call::on("test", Operation::Put, "a")
    }

    #[tokio::test]
    async fn memory_file_and_stream_have_the_same_hashes() -> Result<()> {
        let file = std::env::current_exe().unwrap_or_default();
        let bytes = std::fs::read(&file).unwrap_or_default();
        let of_memory = Hashes::of(&bytes, BOTH);
        let body = Body::from_file(file.clone(), bytes.len() as u64);
        assert_eq!(Hashes::of_body(&call(), &body, BOTH).await?, of_memory);
        for wrong in [bytes.len() as u64 - 1, bytes.len() as u64 + 1] {
            let body = Body::from_file(file.clone(), wrong);
            assert!(Hashes::of_body(&call(), &body, BOTH).await.is_err());
        }
        let cut = Body::from_bytes("abcdef").cut_after(3);
        assert!(Hashes::of_body(&call(), &cut, BOTH).await.is_err());
        assert_eq!(Hashes::of(b"abc", BOTH).hex(Algorithm::Md5), MD5_OF_ABC);
        assert_eq!(Hashes::of(b"abc", BOTH).get(Algorithm::Sha1), b"");
        Ok(())
    }

    #[tokio::test]
    async fn a_tap_hashes_each_attempt_from_its_beginning() {
        let tap = Tap::new(BOTH);
        let body = Body::from_bytes("abc");
        let broken = tap.listen(Body::from_bytes("xyz").cut_after(2).stream(), 3);
        assert!(broken.try_collect::<Vec<_>>().await.is_err());
        assert_eq!(tap.hashes(), None);
        assert!(
            tap.listen(body.stream(), body.len())
                .try_collect::<Vec<_>>()
                .await
                .is_ok()
        );
        let hashes = tap.hashes().unwrap_or_default();
        assert_eq!(hashes.hex(Algorithm::Md5), MD5_OF_ABC);
    }

    #[tokio::test]
    async fn a_download_with_another_hash_is_corrupt() -> Result<()> {
        let expected = encode::unhex(MD5_OF_ABC).unwrap_or_default();
        let good = Download::from_bytes("abc".into());
        let md5 = &[Algorithm::Md5];
        assert_eq!(
            checked(good, &call(), md5, Some(expected.clone()))?
                .bytes()
                .await?,
            b"abc"
        );
        let bad = Download::from_bytes("abd".into());
        let refused = checked(bad, &call(), md5, Some(expected))?.bytes().await;
        assert!(refused.is_err_and(|error| *error.kind() == ErrorKind::Corrupt));
        Ok(())
    }
}
