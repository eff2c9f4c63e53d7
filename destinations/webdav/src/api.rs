//! The requests of WebDAV (RFC 4918), their replies as typed values, and what refusals mean.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Body, ErrorKind, RemoteFile, Result};
use larder_httpkit::http::{Method, Url};
use larder_httpkit::{
    Call, Element, Meaning, Outcome, Redirects, Refused, Reply, Request, Service, Wait, encode,
    http_date, records, sentence,
};

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

/// One resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its decoded path.
    pub path: String,
    pub is_folder: bool,
    pub size: Option<u64>,
    /// Last change in seconds since 1970 UTC.
    pub modified: Option<i64>,
    /// Bytes that may still be written, and bytes in use (RFC 4331).
    pub available: Option<u64>,
    pub used: Option<u64>,
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

    /// `PROPFIND` of the folder and what is in it, read while it arrives.
    pub(crate) async fn list(&self, call: &Call) -> Outcome<BoxStream<'static, Result<Entry>>> {
        let reply = self.propfind(call, &self.folder, "1", BASIC).await?;
        Ok(match &self.debug_file {
            Some(path) => entries(call, reply.stream_copied(call, path.clone())),
            None => entries(call, reply.stream(call)),
        })
    }

    /// `PROPFIND` of one resource alone; nothing when it does not exist.
    pub(crate) async fn facts(&self, call: &Call, url: &Url, body: &str) -> Result<Option<Entry>> {
        match self.propfind(call, url, "0", body).await {
            Ok(reply) => entries(call, reply.stream(call)).try_next().await,
            Err(failure) if matches!(failure.status, 404 | 409 | 410) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Whether there is such a resource.
    pub(crate) async fn exists(&self, call: &Call, url: &Url) -> Result<bool> {
        Ok(self.facts(call, url, BASIC).await?.is_some())
    }

    /// A server may refuse to be asked for single properties: lighttpd does (415, observed with 1.4.69).
    async fn propfind(&self, call: &Call, url: &Url, depth: &str, body: &str) -> Outcome<Reply> {
        let by_name = body == QUOTA || self.extended.load(Ordering::Relaxed);
        let request = request("PROPFIND", url, Wait::List).header("depth", depth);
        if by_name {
            let request = request.clone().bytes("application/xml", body.to_owned());
            match self.service.fetch(call, &request).await {
                Err(failure) if matches!(failure.status, 400 | 415 | 501) => {
                    self.extended.fetch_and(body == QUOTA, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let request = request.bytes("application/xml", "");
        self.service.fetch(call, &request).await
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
            .header_if(fresh, "if-none-match", "*")
            .body(body);
        self.service.send(call, &request).await.map(drop)
    }

    /// `MOVE`, once, since after a lost answer its repetition would not find its source any more.
    pub(crate) async fn rename(
        &self,
        call: &Call,
        from: &Url,
        to: &str,
        fresh: bool,
    ) -> Outcome<()> {
        let request = request("MOVE", from, Wait::List)
            .header("destination", to)
            .header("overwrite", if fresh { "F" } else { "T" });
        self.service.send(call, &request).await.map(drop)
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, call: &Call, url: &Url) -> Outcome<()> {
        let request = request("DELETE", url, Wait::Short);
        self.service.fetch(call, &request).await.map(drop)
    }

    /// `MKCOL`; the path needs its slash at the end (nginx answers 409 without, observed with 1.22).
    pub(crate) async fn create(&self, call: &Call, path: &str) -> Outcome<()> {
        let mut url = self.folder.clone();
        url.set_path(path);
        let request = request("MKCOL", &url, Wait::Short);
        self.service.fetch(call, &request).await.map(drop)
    }
}

fn request(method: &'static str, url: &Url, wait: Wait) -> Request {
    // All of these are tokens, so none is refused.
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    Request::new(method, url.clone(), wait).follow(Redirects::SameHost)
}

fn entries(
    call: &Call,
    source: BoxStream<'static, Result<bytes::Bytes>>,
) -> BoxStream<'static, Result<Entry>> {
    records(call, source, "DAV:", "multistatus")
        .try_filter_map(async |record| Ok(Entry::of(&record)))
        .boxed()
}

impl Entry {
    /// The file or folder of a listing that it stands for.
    pub(crate) fn named(self, name: String) -> RemoteFile {
        RemoteFile {
            name,
            // lighttpd gives folders a length (observed with 1.4.69).
            size: self.size.filter(|_| !self.is_folder),
            modified: self.modified,
            is_folder: self.is_folder,
            is_archived: false,
        }
    }

    /// Only properties in a `propstat` with status 200 count: Apache names those it does not have as well, empty and with
    /// status 404 (observed with 2.4).
    fn of(response: &Element) -> Option<Self> {
        let href = Some(response.text_of("href")).filter(|href| !href.is_empty())?;
        // Of a whole address only the path says something, since a proxy may stand in between. A plus sign is itself.
        let path = match href.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => href,
        };
        let mut entry = Self {
            path: encode::decode(path).unwrap_or_else(|| path.to_owned()),
            ..Self::default()
        };
        for found in response.all("propstat") {
            let status = found.text_of("status").split_whitespace().nth(1);
            let Some(prop) = found
                .child("prop")
                .filter(|_| status.is_none_or(|status| status == "200"))
            else {
                continue;
            };
            let number = |name| prop.text_of(name).parse().ok();
            let collection = prop
                .child("resourcetype")
                .and_then(|kind| kind.child("collection"));
            entry.is_folder |= collection.is_some() || prop.text_of("iscollection") == "1";
            entry.size = number("getcontentlength").or(entry.size);
            entry.modified = http_date(prop.text_of("getlastmodified")).or(entry.modified);
            entry.available = number("quota-available-bytes").or(entry.available);
            entry.used = number("quota-used-bytes").or(entry.used);
        }
        Some(entry)
    }
}

/// What refusals mean beyond their status; sabre/dav, on which Nextcloud and ownCloud are built, sends sentences.
pub(crate) fn meaning(_: &Call, refused: &Refused) -> Option<Meaning> {
    let said = refused.xml("error").unwrap_or_default();
    let status = refused.status;
    let words = match (sentence(said.text_of("message")), status.as_u16()) {
        (words, 405) if words.is_empty() => {
            format!("the server answered {status}: it may not speak WebDAV here")
        }
        (words, _) if words.is_empty() => words,
        (words, _) => format!("{words} ({status})"),
    };
    Some(Meaning {
        kind: match status.as_u16() {
            405 | 415 => Some(ErrorKind::Unsupported),
            413 | 507 => Some(ErrorKind::Quota),
            // A missing parent folder (RFC 4918, section 9.7.1); whether it is ours is found out where it matters.
            409 => Some(ErrorKind::FolderMissing),
            _ => None,
        },
        words,
        ..Meaning::default()
    })
}

/// Asks for the properties that a listing needs.
pub(crate) const BASIC: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>\
    <D:resourcetype/><D:getcontentlength/><D:getlastmodified/></D:prop></D:propfind>";
/// Asks for the room that is left.
pub(crate) const QUOTA: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>\
    <D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>";

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Option<Entry> {
        let text = format!("<r xmlns:D=\"DAV:\" xmlns:lp1=\"DAV:\" xmlns:d=\"DAV:\">{text}</r>");
        Entry::of(&Element::parse(text.as_bytes(), "r").ok()?)
    }

    /// In the forms of Apache (two prefixes, what it lacks in a propstat of its own) and lighttpd (a length of folders).
    #[test]
    fn the_forms_of_real_servers() {
        let apache = entry(
            "<D:href>/basic/a%20b+c%25&amp;d%c3%a9/</D:href>
             <D:propstat><D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype>
             <lp1:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</lp1:getlastmodified></D:prop>
             <D:status>HTTP/1.1 200 OK</D:status></D:propstat>
             <D:propstat><D:prop><D:quota-used-bytes>5</D:quota-used-bytes></D:prop>
             <D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>",
        );
        let expected = Entry {
            path: "/basic/a b+c%&d\u{e9}/".into(),
            is_folder: true,
            modified: Some(784_111_777),
            ..Entry::default()
        };
        assert_eq!(apache, Some(expected));
        let behind_a_proxy = entry(
            "<D:href>http://h:1/x</D:href><D:propstat><D:prop><D:resourcetype/><D:getcontentlength>4096\
             </D:getcontentlength><d:quota-available-bytes>7</d:quota-available-bytes></D:prop></D:propstat>",
        );
        let expected = Entry {
            path: "/x".into(),
            size: Some(4096),
            available: Some(7),
            ..Entry::default()
        };
        assert_eq!(behind_a_proxy, Some(expected));
        assert_eq!(entry("<D:status>HTTP/1.1 404 Not Found</D:status>"), None);
    }
}
