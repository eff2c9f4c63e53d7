//! The answer to a PROPFIND, read while it arrives: a folder's listing comes in one document, however long it is.
//!
//! RFC 4918, section 14.16. Name space prefixes differ from server to server and within one document, so elements are
//! known by name space and local name. Only properties in a `propstat` with status 200 count: Apache names those it
//! does not have as well, empty and with status 404 (observed with 2.4).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Error, ErrorKind, Result};
use larder_httpkit::{Call, http_date, unreadable};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio_util::io::StreamReader;

/// One resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its address as the server writes it: a whole one or a path, encoded in the server's way.
    pub href: String,
    /// What is known of it.
    pub facts: Facts,
}

/// The properties that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// True for a folder.
    pub is_folder: bool,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last change in seconds since 1970 UTC.
    pub modified: Option<i64>,
    /// Bytes that may still be written (RFC 4331).
    pub available: Option<u64>,
    /// Bytes in use.
    pub used: Option<u64>,
}

/// Reads a multistatus document; an error ends the stream. Holds one resource.
pub(crate) fn entries(
    call: Call,
    source: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Entry>> {
    let broken = Arc::new(Mutex::new(None));
    let note = Arc::clone(&broken);
    // The reader takes only errors of its own kind; the real one waits beside it.
    let source = source.map_err(move |error| {
        *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the reply broke off")
    });
    let bounded = Bounded {
        inner: StreamReader::new(source.boxed()),
        left: ELEMENT_BYTES,
    };
    let parser = Parser {
        reader: NsReader::from_reader(bounded),
        buffer: Vec::new(),
        open: Vec::new(),
        seen_root: false,
        text: String::new(),
        entry: Entry::default(),
        found: Facts::default(),
        counts: true,
        broken,
        call,
    };
    stream::try_unfold(parser, |mut parser| async move {
        let entry = parser.next().await?;
        Ok::<_, Error>(entry.map(|entry| (entry, parser)))
    })
    .boxed()
}

type Source = Bounded<StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>>;

struct Parser {
    reader: NsReader<Source>,
    buffer: Vec<u8>,
    /// The elements around the present place, outermost first.
    open: Vec<Tag>,
    seen_root: bool,
    /// The text of the innermost element.
    text: String,
    entry: Entry,
    /// Properties of the present `propstat`, and whether it counts.
    found: Facts,
    counts: bool,
    broken: Arc<Mutex<Option<Error>>>,
    call: Call,
}

impl Parser {
    async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = ELEMENT_BYTES;
            let event = self
                .reader
                .read_resolved_event_into_async(&mut self.buffer)
                .await;
            let step = match event {
                Ok((space, event)) => step_of(&space, &event),
                Err(error) => {
                    let known = self
                        .broken
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    return Err(known.unwrap_or_else(|| unreadable(&self.call, &error.to_string())));
                }
            };
            match step {
                Step::Start(tag) => self.start(tag)?,
                Step::Empty(tag) => {
                    self.start(tag)?;
                    if let Some(entry) = self.end() {
                        return Ok(Some(entry));
                    }
                }
                Step::End => {
                    if let Some(entry) = self.end() {
                        return Ok(Some(entry));
                    }
                }
                Step::Text(text) => self.add(&text)?,
                Step::Over if self.seen_root && self.open.is_empty() => return Ok(None),
                Step::Over => return Err(unreadable(&self.call, "it breaks off")),
                Step::Nothing => {}
            }
        }
    }

    fn start(&mut self, tag: Tag) -> Result<()> {
        if self.open.is_empty() {
            if self.seen_root || tag != Tag::Multistatus {
                let text = "it is not the answer of a WebDAV server";
                return Err(unreadable(&self.call, text));
            }
            self.seen_root = true;
        }
        if self.open.len() >= MOST_LEVELS {
            return Err(unreadable(&self.call, "its elements are nested too deeply"));
        }
        match tag {
            Tag::Response => self.entry = Entry::default(),
            Tag::Propstat => (self.found, self.counts) = (Facts::default(), true),
            _ => {}
        }
        self.text.clear();
        self.open.push(tag);
        Ok(())
    }

    fn add(&mut self, text: &str) -> Result<()> {
        if self.text.len() + text.len() > ELEMENT_BYTES {
            let text = "an element of the reply is too long";
            return Err(self.call.error(ErrorKind::Other, text));
        }
        self.text.push_str(text);
        Ok(())
    }

    /// Closes the innermost element; gives the resource that ends with it.
    fn end(&mut self) -> Option<Entry> {
        let tag = self.open.pop()?;
        let within = self.open.last().copied().unwrap_or(Tag::Other);
        let text = self.text.trim();
        match (tag, within) {
            (Tag::Href, Tag::Response) if self.entry.href.is_empty() => {
                text.clone_into(&mut self.entry.href);
            }
            (Tag::Status, Tag::Propstat) => {
                self.counts = text.split_whitespace().nth(1) == Some("200");
            }
            (Tag::Length, Tag::Prop) => self.found.size = text.parse().ok(),
            (Tag::Modified, Tag::Prop) => self.found.modified = http_date(text),
            (Tag::Available, Tag::Prop) => self.found.available = text.parse().ok(),
            (Tag::Used, Tag::Prop) => self.found.used = text.parse().ok(),
            (Tag::Collection, Tag::ResourceType) => self.found.is_folder = true,
            (Tag::IsCollection, Tag::Prop) => self.found.is_folder |= text == "1",
            (Tag::Propstat, Tag::Response) if self.counts => {
                let (known, found) = (&mut self.entry.facts, std::mem::take(&mut self.found));
                known.is_folder |= found.is_folder;
                known.size = found.size.or(known.size);
                known.modified = found.modified.or(known.modified);
                known.available = found.available.or(known.available);
                known.used = found.used.or(known.used);
            }
            (Tag::Response, Tag::Multistatus) if !self.entry.href.is_empty() => {
                return Some(std::mem::take(&mut self.entry));
            }
            _ => {}
        }
        self.text.clear();
        None
    }
}

/// What an event means here.
enum Step {
    Start(Tag),
    Empty(Tag),
    End,
    Text(String),
    Over,
    Nothing,
}

fn step_of(space: &ResolveResult<'_>, event: &Event<'_>) -> Step {
    match event {
        Event::Start(start) => Step::Start(Tag::of(space, start.local_name().as_ref())),
        Event::Empty(start) => Step::Empty(Tag::of(space, start.local_name().as_ref())),
        Event::End(_) => Step::End,
        Event::Text(text) => Step::Text(text.xml10_content().into_owned()),
        Event::CData(text) => Step::Text(text.xml10_content().into_owned()),
        Event::GeneralRef(name) => {
            let character = name.resolve_char_ref().ok().flatten();
            let known = resolve_predefined_entity(&name.xml10_content());
            Step::Text(match (character, known) {
                (Some(character), _) => character.to_string(),
                (None, Some(text)) => text.to_owned(),
                (None, None) => String::new(),
            })
        }
        Event::Eof => Step::Over,
        _ => Step::Nothing,
    }
}

/// The elements that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Multistatus,
    Response,
    Href,
    Propstat,
    Status,
    Prop,
    Length,
    Modified,
    ResourceType,
    Collection,
    IsCollection,
    Available,
    Used,
    Other,
}

impl Tag {
    fn of(space: &ResolveResult<'_>, name: &str) -> Self {
        if !matches!(space, ResolveResult::Bound(Namespace(space)) if *space == "DAV:") {
            return Self::Other;
        }
        match name {
            "multistatus" => Self::Multistatus,
            "response" => Self::Response,
            "href" => Self::Href,
            "propstat" => Self::Propstat,
            "status" => Self::Status,
            "prop" => Self::Prop,
            "getcontentlength" => Self::Length,
            "getlastmodified" => Self::Modified,
            "resourcetype" => Self::ResourceType,
            "collection" => Self::Collection,
            "iscollection" => Self::IsCollection,
            "quota-available-bytes" => Self::Available,
            "quota-used-bytes" => Self::Used,
            _ => Self::Other,
        }
    }
}

/// A reader that gives up when no event ends within the bytes that are left.
struct Bounded<R> {
    inner: R,
    left: usize,
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let piece = std::task::ready!(Pin::new(&mut *this).poll_fill_buf(context))?;
        let len = piece.len().min(buffer.remaining());
        buffer.put_slice(piece.get(..len).unwrap_or_default());
        Pin::new(this).consume(len);
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Bounded<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(Err(io::Error::other("an element of it is too long")));
        }
        let piece = std::task::ready!(Pin::new(&mut this.inner).poll_fill_buf(context))?;
        let len = piece.len().min(this.left);
        Poll::Ready(Ok(piece.get(..len).unwrap_or_default()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.left = this.left.saturating_sub(amount);
        Pin::new(&mut this.inner).consume(amount);
    }
}

/// Longest tag or text; an address has at most some thousand bytes.
const ELEMENT_BYTES: usize = 64 << 10;
/// Deepest nesting; the standard's elements need seven levels.
const MOST_LEVELS: usize = 64;

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    async fn read(text: &str) -> Result<Vec<Entry>> {
        // In small pieces, as a network would.
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(7)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let call = Call::new("webdav", Operation::List);
        entries(call, stream::iter(pieces).boxed())
            .try_collect()
            .await
    }

    /// In the forms of Apache (two prefixes, what it lacks in a propstat of its own), lighttpd (a length of folders),
    /// nginx and wsgidav, as observed.
    #[tokio::test]
    async fn the_forms_of_real_servers() -> Result<()> {
        let text = r#"<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/">
<D:href>/basic/a%20b+c&amp;d&#x41;/</D:href>
<D:propstat><D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype>
<lp1:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</lp1:getlastmodified></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><D:quota-used-bytes>5</D:quota-used-bytes></D:prop>
<D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
</D:response>
<ns0:response><ns0:href><![CDATA[http://h:1/x]]></ns0:href><ns0:propstat><ns0:prop>
<ns0:resourcetype /><ns0:getcontentlength>4096</ns0:getcontentlength><x:getcontentlength xmlns:x="other">1</x:getcontentlength>
<ns0:quota-available-bytes>7</ns0:quota-available-bytes></ns0:prop><ns0:status>HTTP/1.1 200 OK</ns0:status></ns0:propstat></ns0:response>
<response xmlns="DAV:"><href>y</href><status>HTTP/1.1 404 Not Found</status></response>
</D:multistatus>"#;
        let found = read(text).await?;
        let [folder, file, other] = found.as_slice() else {
            return Err(unreadable(
                &Call::new("t", Operation::List),
                "three entries",
            ));
        };
        assert_eq!(folder.href, "/basic/a%20b+c&dA/");
        assert!(folder.facts.is_folder);
        assert_eq!(folder.facts.modified, Some(784_111_777));
        assert_eq!(folder.facts.used, None);
        assert_eq!(file.href, "http://h:1/x");
        assert_eq!(
            (file.facts.size, file.facts.available),
            (Some(4096), Some(7))
        );
        assert!(!file.facts.is_folder);
        assert_eq!(other.href, "y");
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_whole_listing_is_an_error() {
        let open = "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>x";
        let long = format!("{open}{}", "x".repeat(ELEMENT_BYTES * 2));
        let deep = format!("{open}{}", "<a>".repeat(MOST_LEVELS + 1));
        let comment = format!(
            "<D:multistatus xmlns:D=\"DAV:\"><!--{}",
            "x".repeat(ELEMENT_BYTES)
        );
        for (text, words) in [
            ("", "breaks off"),
            (
                "<html><body>hello</body></html>",
                "not the answer of a WebDAV server",
            ),
            ("<multistatus/>", "not the answer of a WebDAV server"),
            (open, "breaks off"),
            (long.as_str(), "too long"),
            (deep.as_str(), "nested too deeply"),
            (comment.as_str(), "too long"),
            ("<D:multistatus xmlns:D=\"DAV:\"></wrong>", "cannot be read"),
        ] {
            let error = read(text).await.err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.contains(words)),
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_error_of_a_broken_reply_is_kept() {
        let call = Call::new("webdav", Operation::List);
        let pieces = vec![
            Ok(Bytes::from_static(b"<D:multistatus xmlns:D=\"DAV:\">")),
            Err(call.error(ErrorKind::Network, "the line is cut")),
        ];
        let read: Result<Vec<_>> = entries(call, stream::iter(pieces).boxed())
            .try_collect()
            .await;
        assert!(read.is_err_and(|error| error.to_string().ends_with("the line is cut")));
    }
}
