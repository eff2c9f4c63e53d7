//! Hashes of what is sent, made before it is sent, on a thread that may take its time.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{Body, ErrorKind, Result};
use larder_httpkit::Call;
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::sign::hex;

/// The two hashes the service checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    /// SHA-256 in hexadecimal digits.
    pub sha256_hex: String,
    md5: [u8; 16],
}

impl Digests {
    /// Those of bytes in memory.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            sha256_hex: hex(&Sha256::digest(bytes)),
            md5: Md5::digest(bytes).into(),
        }
    }

    /// The value of the `Content-MD5` header.
    pub(crate) fn md5_base64(&self) -> String {
        STANDARD.encode(self.md5)
    }

    /// Whether an entity tag agrees with the content; one that cannot be an MD5 says nothing.
    pub(crate) fn agrees_with(&self, etag: &str) -> bool {
        let tag = etag.trim().trim_matches('"');
        let is_md5 = tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
        !is_md5 || tag.eq_ignore_ascii_case(&hex(&self.md5))
    }

    /// Those of a whole body; a file with another length than announced is an error.
    pub(crate) async fn of_body(call: &Call, body: &Body) -> Result<Self> {
        let body = body.clone();
        blocking(call, move || match (body.as_bytes(), body.as_file()) {
            (Some(bytes), _) => Ok(Self::of(bytes)),
            (None, Some(path)) => of_file(std::fs::File::open(path)?, body.len()),
            (None, None) => of_stream(body.stream()),
        })
        .await
    }

    /// Those of bytes that are handed back.
    pub(crate) async fn of_bytes(call: &Call, bytes: Bytes) -> Result<(Bytes, Self)> {
        blocking(call, move || {
            let digests = Self::of(&bytes);
            Ok((bytes, digests))
        })
        .await
    }
}

fn of_file(file: std::fs::File, announced: u64) -> std::io::Result<Digests> {
    let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
    let mut left = announced;
    let mut file = file.take(announced.saturating_add(1));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() && left == 0 {
            return Ok(Digests {
                sha256_hex: hex(&sha256.finalize()),
                md5: md5.finalize().into(),
            });
        }
        left = match left.checked_sub(read as u64) {
            Some(left) if !piece.is_empty() => left,
            _ => {
                let text =
                    format!("the file to send has not the announced length of {announced} bytes");
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text));
            }
        };
        sha256.update(piece);
        md5.update(piece);
    }
}

/// Those of a body that shows neither bytes nor file; its stream knows by itself when its length is wrong.
fn of_stream(mut stream: BoxStream<'static, std::io::Result<Bytes>>) -> std::io::Result<Digests> {
    let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
    while let Some(piece) = tokio::runtime::Handle::current().block_on(stream.try_next())? {
        sha256.update(&piece);
        md5.update(&piece);
    }
    Ok(Digests {
        sha256_hex: hex(&sha256.finalize()),
        md5: md5.finalize().into(),
    })
}

async fn blocking<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| {
        call.error(ErrorKind::Other, "hashing the content was interrupted")
            .caused_by(error)
    })?;
    done.map_err(|error| {
        call.error(ErrorKind::Other, "the content to send cannot be read")
            .caused_by(error)
    })
}

const BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use larder_destination::Operation;

    use super::*;

    #[test]
    fn known_hashes() {
        let digests = Digests::of(b"");
        assert_eq!(digests.sha256_hex, crate::sign::EMPTY_PAYLOAD);
        assert_eq!(digests.md5_base64(), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }

    #[test]
    fn only_a_plain_md5_is_compared() {
        let digests = Digests::of(b"");
        assert!(digests.agrees_with("\"d41d8cd98f00b204e9800998ecf8427e\""));
        assert!(digests.agrees_with("D41D8CD98F00B204E9800998ECF8427E"));
        assert!(digests.agrees_with("\"d41d8cd98f00b204e9800998ecf8427f-2\""));
        assert!(digests.agrees_with(""));
        assert!(!digests.agrees_with("\"d41d8cd98f00b204e9800998ecf8427f\""));
    }

    #[tokio::test]
    async fn files_must_have_the_announced_length() -> std::io::Result<()> {
        let call = Call::on("s3", Operation::Put, "x");
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&[7; 300_000])?;
        let body = |len| Body::from_file(file.path().to_owned(), len);
        let exact = Digests::of_body(&call, &body(300_000)).await;
        assert_eq!(exact.ok(), Some(Digests::of(&[7; 300_000])));
        assert!(Digests::of_body(&call, &body(299_999)).await.is_err());
        assert!(Digests::of_body(&call, &body(300_001)).await.is_err());
        Ok(())
    }
}
