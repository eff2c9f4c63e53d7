//! Uploads in parts, for bodies that one request should not carry.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>. Parts go one after the other, each from
//! memory with its own checksum; the object appears when all of them are there. A failure removes what was sent.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use larder_destination::{Body, Error, ErrorKind, Operation, Result};
use larder_httpkit::{Call, RetryPolicy};

use crate::SCHEME;
use crate::api::Api;
use crate::digest::Digests;
use crate::store::Store;

impl Store {
    /// Sends a body in parts.
    pub(crate) async fn put_in_parts(&self, call: &Call, key: &str, body: &Body) -> Result<()> {
        let part_len = part_len(body.len(), self.tuning.part_bytes);
        let id = self
            .retry()
            .run(|_| async { Ok(self.api.create_upload(call, key).await?) })
            .await?;
        let upload = Upload {
            api: Arc::clone(&self.api),
            key: key.to_owned(),
            id,
            open: true,
        };
        match self.send_parts(call, &upload, body, part_len).await {
            Ok(()) => {
                upload.leave();
                Ok(())
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    async fn send_parts(
        &self,
        call: &Call,
        upload: &Upload,
        body: &Body,
        part_len: u64,
    ) -> Result<()> {
        let mut source = Parts {
            stream: body.stream(),
            rest: Bytes::new(),
        };
        let mut etags = Vec::new();
        let mut left = body.len();
        while left > 0 {
            let len = left.min(part_len);
            let part = source.next(call, len).await?;
            let (part, digests) = Digests::of_bytes(call, part).await?;
            let (part, digests) = (&part, &digests);
            let number = etags.len() as u64 + 1;
            let etag = self
                .retry()
                .run(|_| async move {
                    let part = (part.clone(), digests);
                    let stored = self
                        .api
                        .upload_part(call, &upload.key, &upload.id, number, part)
                        .await?;
                    if stored.encrypted || digests.agrees_with(&stored.etag) {
                        return Ok(stored.etag);
                    }
                    let text = format!(
                        "the server's checksum of part {number} is not that of what was sent"
                    );
                    Err(call.error(ErrorKind::Corrupt, text))
                })
                .await?;
            etags.push(etag);
            left -= len;
        }
        source.end(call).await?;
        self.complete(call, upload, &etags, body.len()).await
    }

    /// Ends the upload. When the reply to a first attempt was lost, the second finds no upload any more; the object
    /// itself then tells whether the first one succeeded.
    async fn complete(
        &self,
        call: &Call,
        upload: &Upload,
        etags: &[String],
        len: u64,
    ) -> Result<()> {
        self.retry()
            .run(|attempt| async move {
                match self
                    .api
                    .complete_upload(call, &upload.key, &upload.id, etags)
                    .await
                {
                    Err(failure) if failure.code == "NoSuchUpload" && attempt > 0 => {
                        match self.listing.find(call, &upload.key).await? {
                            Some(found) if found == len => Ok(()),
                            _ => Err(failure.into()),
                        }
                    }
                    other => Ok(other?),
                }
            })
            .await
    }
}

/// The body cut into parts. It is read through its stream only, so that a speed limit holds.
struct Parts {
    stream: BoxStream<'static, std::io::Result<Bytes>>,
    rest: Bytes,
}

impl Parts {
    /// The next `len` bytes.
    async fn next(&mut self, call: &Call, len: u64) -> Result<Bytes> {
        let len = usize::try_from(len)
            .map_err(|_| call.error(ErrorKind::Unsupported, "a part does not fit into memory"))?;
        let mut part = BytesMut::with_capacity(len);
        while part.len() < len {
            if self.rest.is_empty() {
                self.rest = self.piece(call).await?.ok_or_else(|| wrong_length(call))?;
            }
            let take = self.rest.len().min(len - part.len());
            part.extend_from_slice(&self.rest.split_to(take));
        }
        Ok(part.freeze())
    }

    /// Makes sure that nothing is left over.
    async fn end(mut self, call: &Call) -> Result<()> {
        while self.rest.is_empty() {
            match self.piece(call).await? {
                Some(piece) => self.rest = piece,
                None => return Ok(()),
            }
        }
        Err(wrong_length(call))
    }

    async fn piece(&mut self, call: &Call) -> Result<Option<Bytes>> {
        self.stream.try_next().await.map_err(|error| {
            call.error(ErrorKind::Other, "the content to send cannot be read")
                .caused_by(error)
        })
    }
}

fn wrong_length(call: &Call) -> Error {
    call.error(
        ErrorKind::Other,
        "the content to send has not the announced length",
    )
}

/// An upload that is removed unless it came to its end, also when the work on it is dropped.
struct Upload {
    api: Arc<Api>,
    key: String,
    id: String,
    open: bool,
}

impl Upload {
    /// The upload has become an object.
    fn leave(mut self) {
        self.open = false;
    }

    /// Removes the parts. A server that does not do it keeps them until its own rules remove them; nothing else can
    /// be done about it, and the failure that led here is the one to report.
    async fn abort(mut self) {
        self.open = false;
        abort(&self.api, &self.key, &self.id).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (api, key, id) = (
                Arc::clone(&self.api),
                std::mem::take(&mut self.key),
                std::mem::take(&mut self.id),
            );
            runtime.spawn(async move { abort(&api, &key, &id).await });
        }
    }
}

async fn abort(api: &Api, key: &str, id: &str) {
    let call = &Call::on(SCHEME, Operation::Put, key);
    let policy = RetryPolicy {
        retries: 2,
        ..api.retry()
    };
    let _ = policy
        .run(|_| async { Ok(api.abort_upload(call, key, id).await?) })
        .await;
}

/// The length of parts: `least`, or more where that would give too many, in whole MiB.
fn part_len(len: u64, least: u64) -> u64 {
    least.max(len.div_ceil(MOST_PARTS).next_multiple_of(1 << 20))
}

/// Above this length a body is sent in parts.
pub(crate) const ABOVE_BYTES: u64 = 100 << 20;
/// Length of a part as long as their number suffices. The service wants at least 5 MiB.
pub(crate) const PART_BYTES: u64 = 16 << 20;
/// Most parts of an upload (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MOST_PARTS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_never_too_many() {
        assert_eq!(part_len(120 << 20, PART_BYTES), PART_BYTES);
        assert_eq!(part_len(PART_BYTES * MOST_PARTS, PART_BYTES), PART_BYTES);
        assert_eq!(
            part_len(PART_BYTES * MOST_PARTS + 1, PART_BYTES),
            PART_BYTES + (1 << 20)
        );
        let longest = 5 << 40;
        assert!(longest / part_len(longest, PART_BYTES) < MOST_PARTS);
    }

    #[tokio::test]
    async fn parts_follow_each_other_without_gaps() -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Put, "x");
        let body = Body::from_bytes((0..=255).cycle().take(1_000_000).collect::<Vec<u8>>());
        let mut parts = Parts {
            stream: body.stream(),
            rest: Bytes::new(),
        };
        let mut all = Vec::new();
        for len in [1, 262_144, 400_000, 337_855] {
            all.extend_from_slice(&parts.next(call, len).await?);
        }
        assert_eq!(
            Some(all.as_slice()),
            body.as_bytes().map(|bytes| bytes.as_ref())
        );
        parts.end(call).await?;
        let mut short = Parts {
            stream: Body::from_bytes("abc").stream(),
            rest: Bytes::new(),
        };
        assert!(short.next(call, 4).await.is_err());
        let mut long = Parts {
            stream: Body::from_bytes("abc").stream(),
            rest: Bytes::new(),
        };
        long.next(call, 2).await?;
        assert!(long.end(call).await.is_err());
        Ok(())
    }
}
