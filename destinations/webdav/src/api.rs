//! The requests of WebDAV (RFC 4918) and what refusals mean.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Body, Error, ErrorKind, Result};
use larder_httpkit::http::{Method, Url};
use larder_httpkit::{
    Call, Meaning, Outcome, Redirects, Refused, Reply, Request, Service, Wait, encode,
};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::multistatus::{Entry, Facts, entries};

/// One folder on one server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) service: Service,
    /// Its address, with a slash at the end.
    pub(crate) folder: Url,
    /// Properties are asked for by name, until the server refuses that.
    pub(crate) extended: AtomicBool,
    /// Where listings are written as they come.
    pub(crate) debug_file: Option<PathBuf>,
}

impl Api {
    /// The address of a file in the folder.
    pub(crate) fn file(&self, call: &Call, name: &str) -> Result<Url> {
        let path = format!("{}{}", self.folder.path(), encode::segment(name));
        let mut url = self.folder.clone();
        url.set_path(&path);
        // Some names, such as `..`, do not survive in an address.
        if name.is_empty() || name.contains(['/', '\0']) || url.path() != path {
            return Err(call.error(ErrorKind::Config, "this is not the name of a file"));
        }
        Ok(url)
    }

    /// `PROPFIND` of the folder and what is in it.
    pub(crate) async fn list(&self, call: &Call) -> Outcome<BoxStream<'static, Result<Entry>>> {
        let reply = self.propfind(call, &self.folder, "1", BASIC).await?;
        let source = reply.stream(call);
        let source = match &self.debug_file {
            Some(path) => copied(path.clone(), call.clone(), source),
            None => source,
        };
        Ok(entries(call.clone(), source))
    }

    /// `PROPFIND` of one resource alone; nothing when it does not exist.
    pub(crate) async fn facts(
        &self,
        call: &Call,
        url: &Url,
        wanted: &str,
    ) -> Result<Option<Facts>> {
        let reply = match self.propfind(call, url, "0", wanted).await {
            Ok(reply) => reply,
            Err(failure) if matches!(failure.status, 404 | 409 | 410) => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        let mut found = entries(call.clone(), reply.stream(call));
        Ok(found.try_next().await?.map(|entry| entry.facts))
    }

    /// Total and free bytes as far as the server tells (RFC 4331).
    pub(crate) async fn quota(&self, call: &Call) -> Result<Option<Facts>> {
        match self.facts(call, &self.folder, QUOTA).await {
            // lighttpd refuses to be asked for single properties (observed with 1.4.69).
            Err(error) if *error.kind() == ErrorKind::Unsupported => {
                self.facts(call, &self.folder, "").await
            }
            other => other,
        }
    }

    async fn propfind(&self, call: &Call, url: &Url, depth: &str, body: &str) -> Outcome<Reply> {
        let by_name = body == QUOTA || self.extended.load(Ordering::Relaxed);
        let body = if by_name { body } else { "" };
        let request = request("PROPFIND", url, Wait::List)
            .header("depth", depth)
            .bytes("application/xml", body.to_owned());
        let outcome = self.service.fetch(call, &request).await;
        match outcome {
            Err(failure)
                if by_name && body == BASIC && matches!(failure.status, 400 | 415 | 501) =>
            {
                self.extended.store(false, Ordering::Relaxed);
                let request = request.bytes("application/xml", "");
                self.service.fetch(call, &request).await
            }
            other => other,
        }
    }

    /// `GET`; the body is still to be read.
    pub(crate) async fn get(&self, call: &Call, url: &Url) -> Outcome<Reply> {
        let request = request("GET", url, Wait::Transfer);
        self.service.fetch(call, &request).await
    }

    /// `PUT`, once; with `fresh` only a name that is free.
    pub(crate) async fn put(&self, call: &Call, url: &Url, body: Body, fresh: bool) -> Outcome<()> {
        if !self.service.is_ready() {
            // A refused PUT would have sent its content for nothing.
            self.facts(call, &self.folder, BASIC).await?;
        }
        let request = request("PUT", url, Wait::Transfer)
            .header("content-type", "application/octet-stream")
            .body(body);
        let request = if fresh {
            request.header("if-none-match", "*")
        } else {
            request
        };
        self.service.send(call, &request).await.map(drop)
    }

    /// `MOVE`, once, since after a lost answer its repetition would not find its source any more.
    pub(crate) async fn rename(
        &self,
        call: &Call,
        from: &Url,
        to: &Url,
        overwrite: bool,
    ) -> Outcome<()> {
        let request = request("MOVE", from, Wait::List)
            .header("destination", to.as_str())
            .header("overwrite", if overwrite { "T" } else { "F" });
        self.service.send(call, &request).await.map(drop)
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, call: &Call, url: &Url) -> Outcome<()> {
        let request = request("DELETE", url, Wait::Short);
        self.service.fetch(call, &request).await.map(drop)
    }

    /// `MKCOL`; the address needs its slash (nginx answers 409 without, observed with 1.22).
    pub(crate) async fn create(&self, call: &Call, folders: &[String]) -> Outcome<()> {
        let mut url = self.folder.clone();
        url.set_path(&folder_path(folders));
        let request = request("MKCOL", &url, Wait::Short);
        self.service.fetch(call, &request).await.map(drop)
    }
}

fn request(method: &'static str, url: &Url, wait: Wait) -> Request {
    // All of these are tokens, so none is refused.
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    Request::new(method, url.clone(), wait).follow(Redirects::SameHost)
}

/// The encoded path of a folder, with a slash at its beginning and end.
pub(crate) fn folder_path(folders: &[String]) -> String {
    let mut path = "/".to_owned();
    for folder in folders {
        path.push_str(&encode::segment(folder));
        path.push('/');
    }
    path
}

/// Writes what passes by to a file; that this fails is an error, since it was asked for.
fn copied(
    path: PathBuf,
    call: Call,
    source: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    let wrong = move |error: std::io::Error| -> Error {
        let text = "the file of --debug-propfind-file cannot be written";
        call.error(ErrorKind::Config, text).caused_by(error)
    };
    let state = (source, None, path, wrong);
    futures_util::stream::try_unfold(state, |(mut source, file, path, wrong)| async move {
        let mut file = match file {
            Some(file) => file,
            None => tokio::fs::File::create(&path).await.map_err(&wrong)?,
        };
        let Some(piece) = source.try_next().await? else {
            file.flush().await.map_err(&wrong)?;
            return Ok(None);
        };
        file.write_all(&piece).await.map_err(&wrong)?;
        Ok(Some((piece, (source, Some(file), path, wrong))))
    })
    .boxed()
}

/// What refusals mean beyond their status; sabre/dav, on which Nextcloud and ownCloud are built, sends sentences.
pub(crate) fn meaning(_: &Call, refused: &Refused) -> Option<Meaning> {
    let said: Said = refused.xml("error").unwrap_or_default();
    let kind = match refused.status.as_u16() {
        405 | 415 => Some(ErrorKind::Unsupported),
        413 | 507 => Some(ErrorKind::Quota),
        // 409 is a missing parent folder (RFC 4918, section 9.7.1); whether it is ours is found out where it matters.
        409 => Some(ErrorKind::FolderMissing),
        _ => None,
    };
    let words = match (said.message.is_empty(), refused.status.as_u16()) {
        (false, _) => format!(
            "{} ({})",
            said.message.trim().trim_end_matches('.'),
            refused.status
        ),
        (true, 405) => format!(
            "the server answered {}: it may not speak WebDAV here",
            refused.status
        ),
        (true, _) => String::new(),
    };
    (kind.is_some() || !words.is_empty()).then(|| Meaning {
        kind,
        words,
        ..Meaning::default()
    })
}

/// The part of an error document that is meant for people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    message: String,
}

/// Asks for the properties that a listing needs.
pub(crate) const BASIC: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
    <D:propfind xmlns:D=\"DAV:\"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/></D:prop></D:propfind>";
/// Asks for the room that is left.
const QUOTA: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
    <D:propfind xmlns:D=\"DAV:\"><D:prop><D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>";
