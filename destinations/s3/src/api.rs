//! The calls of the service and their replies, one attempt each, without any meaning for backups.
//!
//! [`crate::sender`] carries them out; [`crate::store`] decides what to ask and when to ask again.

use std::sync::Arc;

use bytes::Bytes;
use larder_destination::{Error, ErrorKind};
use larder_httpkit::http::Method;
use larder_httpkit::{Call, Payload, Reply, RetryPolicy, Wait};

use crate::digest::Digests;
use crate::endpoint::Endpoint;
use crate::replies::{
    InitiateMultipartUploadResult, ListBucketResult, complete_document, create_bucket_document,
};
use crate::sender::{DOCUMENT_BYTES, Outcome, Request, Sender, Target};
use crate::sign;

/// One bucket on one server.
#[derive(Debug)]
pub(crate) struct Api {
    sender: Sender,
}

/// Which form of the list call is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListStyle {
    /// Version 2 of the call.
    pub version_2: bool,
    /// Names in the reply are percent-encoded.
    pub encoded: bool,
}

/// What an upload is answered with.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The entity tag as it came, with quotes.
    pub etag: String,
    /// True when the tag cannot be the MD5 of the content although it looks like one.
    pub encrypted: bool,
}

impl Api {
    /// An api that sends through `sender`.
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender }
    }

    /// When calls are worth repeating.
    pub(crate) fn retry(&self) -> RetryPolicy {
        self.sender.retry()
    }

    /// Where the bucket is found.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.sender.endpoint()
    }

    /// `ListObjectsV2` or `ListObjects`: one page of at most `max_keys` names.
    pub(crate) async fn list_page(
        &self,
        call: &Call,
        style: ListStyle,
        prefix: &str,
        delimiter: bool,
        from: Option<&str>,
        max_keys: u32,
    ) -> Outcome<ListBucketResult> {
        let mut request = Request::new(Method::GET, Target::Bucket, Wait::List)
            .query("prefix", prefix)
            .query("max-keys", max_keys.to_string());
        if style.version_2 {
            request = request.query("list-type", "2");
        }
        if delimiter {
            request = request.query("delimiter", "/");
        }
        if style.encoded {
            request = request.query("encoding-type", "url");
        }
        if let Some(from) = from {
            request = request.query(
                if style.version_2 {
                    "continuation-token"
                } else {
                    "marker"
                },
                from,
            );
        }
        let reply = self.sender.send(call, &request).await?;
        let xml = reply.bytes(call, PAGE_BYTES).await?;
        Ok(ListBucketResult::parse(&xml).map_err(|problem| unreadable(call, &problem))?)
    }

    /// `GetObject`; the body is still to be read.
    pub(crate) async fn get(&self, call: &Call, key: &str) -> Outcome<Reply> {
        self.sender
            .send(
                call,
                &Request::new(Method::GET, Target::Object(key), Wait::Transfer),
            )
            .await
    }

    /// `PutObject`.
    pub(crate) async fn put(
        &self,
        call: &Call,
        key: &str,
        payload: Payload,
        digests: &Digests,
    ) -> Outcome<Stored> {
        let request = self
            .with_class(Request::new(
                Method::PUT,
                Target::Object(key),
                Wait::Transfer,
            ))
            .header("content-type", CONTENT_TYPE)
            .body(payload, digests);
        Ok(stored(&self.sender.send(call, &request).await?))
    }

    /// `DeleteObject`; a missing object is success for most servers.
    pub(crate) async fn delete(&self, call: &Call, key: &str) -> Outcome<()> {
        self.sender
            .send(
                call,
                &Request::new(Method::DELETE, Target::Object(key), Wait::Short),
            )
            .await
            .map(drop)
    }

    /// `CopyObject` within the bucket.
    pub(crate) async fn copy(&self, call: &Call, from: &str, to: &str) -> Outcome<()> {
        let source = format!(
            "/{}/{}",
            sign::encode_key(&self.sender.account().bucket),
            sign::encode_key(from)
        );
        let request = self
            .with_class(Request::new(Method::PUT, Target::Object(to), Wait::List))
            .header("x-amz-copy-source", source);
        self.sender.checked(call, &request).await
    }

    /// `CreateBucket`, in `location` when one is given.
    pub(crate) async fn create_bucket(&self, call: &Call, location: Option<&str>) -> Outcome<()> {
        let mut request = Request::new(Method::PUT, Target::Bucket, Wait::List);
        if let Some(location) = location {
            request = request.document(create_bucket_document(location));
        }
        self.sender.send(call, &request).await.map(drop)
    }

    /// `CreateMultipartUpload`: the id of the upload.
    pub(crate) async fn create_upload(&self, call: &Call, key: &str) -> Outcome<String> {
        let request = self
            .with_class(Request::new(Method::POST, Target::Object(key), Wait::Short))
            .header("content-type", CONTENT_TYPE)
            .query("uploads", "");
        let xml = self
            .sender
            .send(call, &request)
            .await?
            .bytes(call, DOCUMENT_BYTES)
            .await?;
        let reply = InitiateMultipartUploadResult::parse(&xml)
            .map_err(|problem| unreadable(call, &problem))?;
        Ok(reply.upload_id)
    }

    /// `UploadPart`.
    pub(crate) async fn upload_part(
        &self,
        call: &Call,
        key: &str,
        upload: &str,
        number: u64,
        part: (Bytes, &Digests),
    ) -> Outcome<Stored> {
        let request = Request::new(Method::PUT, Target::Object(key), Wait::Transfer)
            .query("partNumber", number.to_string())
            .query("uploadId", upload)
            .body(Payload::Bytes(part.0), part.1);
        Ok(stored(&self.sender.send(call, &request).await?))
    }

    /// `CompleteMultipartUpload` with the entity tags of the parts in order.
    pub(crate) async fn complete_upload(
        &self,
        call: &Call,
        key: &str,
        upload: &str,
        etags: &[String],
    ) -> Outcome<()> {
        let request = Request::new(Method::POST, Target::Object(key), Wait::List)
            .query("uploadId", upload)
            .document(complete_document(etags));
        self.sender.checked(call, &request).await
    }

    /// `AbortMultipartUpload`.
    pub(crate) async fn abort_upload(&self, call: &Call, key: &str, upload: &str) -> Outcome<()> {
        let request = Request::new(Method::DELETE, Target::Object(key), Wait::Short)
            .query("uploadId", upload);
        self.sender.send(call, &request).await.map(drop)
    }

    fn with_class<'a>(&self, request: Request<'a>) -> Request<'a> {
        match &self.sender.account().storage_class {
            Some(class) => request.header("x-amz-storage-class", class.as_str()),
            None => request,
        }
    }
}

fn stored(reply: &Reply) -> Stored {
    let encrypted = reply
        .header("x-amz-server-side-encryption-customer-algorithm")
        .is_some()
        || reply
            .header("x-amz-server-side-encryption")
            .is_some_and(|kind| kind.starts_with("aws:kms"));
    Stored {
        etag: reply.header("etag").unwrap_or_default().to_owned(),
        encrypted,
    }
}

fn unreadable(call: &Call, problem: &str) -> Error {
    call.error(
        ErrorKind::Network,
        format!("the reply of the server cannot be read: {problem}"),
    )
}

/// Longest accepted page of a listing: 1,000 keys of 1,024 bytes, each percent-encoded and with its properties.
const PAGE_BYTES: usize = 16 << 20;
/// The type of volumes.
const CONTENT_TYPE: &str = "application/octet-stream";
