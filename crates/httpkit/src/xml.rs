//! Documents in XML as small trees, whole or one record after the other while they arrive.
//!
//! Prefixes of name spaces differ from server to server and within one document, so elements have the name space itself.
//! Nothing grows with what a server sends: a record, an element and the nesting are bounded.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Error, Result};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio_util::io::StreamReader;

use crate::failure::Call;
use crate::service::unreadable;

/// One element with what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The name without prefix.
    pub name: String,
    /// The text that stands directly in it.
    pub text: String,
    /// The elements that stand directly in it.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a whole document whose outermost element is `root`, in whatever name space.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8], root: &str) -> std::result::Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let mut reader = NsReader::from_str(text);
        let mut tree = Tree::new(None, 0, bytes.len());
        loop {
            let event = reader.read_resolved_event();
            let (space, event) = event.map_err(|error| error.to_string())?;
            if matches!(event, Event::Eof) {
                return Err(BREAKS_OFF.to_owned());
            }
            let found = tree.take(&space, &event)?;
            if tree.root.as_deref().is_some_and(|name| name != root) {
                return Err(format!("it is not a document of the kind {root}"));
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// Changes the text of all elements with one of these names, at any depth; nothing when one cannot be changed.
    #[must_use]
    pub fn map_texts(mut self, names: &[&str], change: fn(&str) -> Option<String>) -> Option<Self> {
        if names.contains(&self.name.as_str()) {
            self.text = change(&self.text)?;
        }
        let children = std::mem::take(&mut self.children).into_iter();
        let changed = children.map(|child| child.map_texts(names, change));
        self.children = changed.collect::<Option<_>>()?;
        Some(self)
    }

    /// The first child of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name, without blanks around it; empty when there is none.
    #[must_use]
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.trim())
    }
}

/// An element that holds nothing but text: `<name>text</name>`, for documents that are sent.
#[must_use]
pub fn text_element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", quick_xml::escape::escape(text))
}

/// Reads a document while it arrives and gives out the elements directly below its outermost one, which must be `root` in
/// the name space `space`. Elements of other name spaces are left out. An error ends the stream. One record is in memory.
#[must_use]
pub fn records(
    call: &Call,
    source: BoxStream<'static, Result<Bytes>>,
    space: &'static str,
    root: &'static str,
) -> BoxStream<'static, Result<Element>> {
    let broken = Arc::new(Mutex::new(None));
    let note = Arc::clone(&broken);
    // The reader takes only errors of its own kind; the real one waits beside it.
    let source = source.map_err(move |error| {
        *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the reply broke off")
    });
    let bounded = Bounded {
        inner: StreamReader::new(source.boxed()),
        left: RECORD_BYTES,
    };
    let records = Records {
        reader: NsReader::from_reader(bounded),
        buffer: Vec::new(),
        tree: Tree::new(Some(space), 1, RECORD_BYTES),
        root,
        broken,
        call: call.clone(),
    };
    stream::try_unfold(records, |mut records| async move {
        let record = records.next().await?;
        Ok::<_, Error>(record.map(|record| (record, records)))
    })
    .boxed()
}

type Source = Bounded<StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>>;

struct Records {
    reader: NsReader<Source>,
    buffer: Vec<u8>,
    tree: Tree,
    root: &'static str,
    broken: Arc<Mutex<Option<Error>>>,
    call: Call,
}

impl Records {
    async fn next(&mut self) -> Result<Option<Element>> {
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = RECORD_BYTES;
            let event = self
                .reader
                .read_resolved_event_into_async(&mut self.buffer)
                .await;
            let step = match event {
                Ok((_, Event::Eof)) if self.tree.ended => return Ok(None),
                Ok((_, Event::Eof)) => Err(BREAKS_OFF.to_owned()),
                Ok((space, event)) => self.tree.take(&space, &event),
                Err(error) => {
                    let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(known) = broken.take() {
                        return Err(known);
                    }
                    Err(error.to_string())
                }
            };
            let found = step.map_err(|problem| unreadable(&self.call, &problem))?;
            if self
                .tree
                .root
                .as_deref()
                .is_some_and(|name| name != self.root)
            {
                let text = format!("it is not a document of the kind {}", self.root);
                return Err(unreadable(&self.call, &text));
            }
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

/// A tree being built from events.
struct Tree {
    /// Only elements in this name space.
    space: Option<&'static str>,
    /// Elements at this depth are given out.
    depth: usize,
    /// Most bytes of names and text in one of them.
    most: usize,
    used: usize,
    /// The elements around the present place, outermost first; `None` for one that is left out.
    open: Vec<Option<Element>>,
    root: Option<String>,
    ended: bool,
}

impl Tree {
    fn new(space: Option<&'static str>, depth: usize, most: usize) -> Self {
        Self {
            space,
            depth,
            most,
            used: 0,
            open: Vec::new(),
            root: None,
            ended: false,
        }
    }

    /// Takes an event; gives the element that ends with it, when it is one to be given out.
    fn take(
        &mut self,
        space: &ResolveResult<'_>,
        event: &Event<'_>,
    ) -> std::result::Result<Option<Element>, String> {
        match event {
            Event::Start(start) => self.start(space, start).map(|()| None),
            Event::Empty(start) => {
                self.start(space, start)?;
                Ok(self.end())
            }
            Event::End(_) => Ok(self.end()),
            Event::Text(text) => self.text(&text.xml10_content()).map(|()| None),
            Event::CData(text) => self.text(&text.xml10_content()).map(|()| None),
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().ok().flatten();
                let known = resolve_predefined_entity(&name.xml10_content()).unwrap_or_default();
                let text = character.map_or(known.to_owned(), |character| character.to_string());
                self.text(&text).map(|()| None)
            }
            _ => Ok(None),
        }
    }

    fn start(
        &mut self,
        space: &ResolveResult<'_>,
        start: &BytesStart<'_>,
    ) -> std::result::Result<(), String> {
        let wanted = match (self.space, space) {
            (None, _) => true,
            (Some(wanted), ResolveResult::Bound(Namespace(space))) => *space == wanted,
            (Some(_), _) => false,
        };
        let name = start.local_name().as_ref().to_owned();
        if self.open.is_empty() {
            if self.ended {
                return Err("something follows its end".to_owned());
            }
            self.root = Some(if wanted { name.clone() } else { String::new() });
        }
        if self.open.len() >= MOST_LEVELS {
            return Err("its elements are nested too deeply".to_owned());
        }
        self.count(name.len() + 1)?;
        let within = self.open.last().is_none_or(Option::is_some);
        self.open.push((wanted && within).then(|| Element {
            name,
            ..Element::default()
        }));
        Ok(())
    }

    fn text(&mut self, text: &str) -> std::result::Result<(), String> {
        // Between records there are only blanks, however many.
        if self.open.len() > self.depth {
            self.count(text.len())?;
            if let Some(Some(element)) = self.open.last_mut() {
                element.text.push_str(text);
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Option<Element> {
        let element = self.open.pop()?;
        self.ended = self.open.is_empty();
        if self.open.len() <= self.depth {
            self.used = 0;
        }
        if self.open.len() == self.depth {
            return element;
        }
        if let (Some(element), Some(Some(parent))) = (element, self.open.last_mut()) {
            parent.children.push(element);
        }
        None
    }

    fn count(&mut self, bytes: usize) -> std::result::Result<(), String> {
        self.used += bytes;
        if self.used > self.most {
            return Err("a part of it is too long".to_owned());
        }
        Ok(())
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
            return Poll::Ready(Err(io::Error::other("a part of it is too long")));
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

const BREAKS_OFF: &str = "it breaks off";
/// Longest record, tag or text of a document that is read while it arrives.
const RECORD_BYTES: usize = 64 << 10;
/// Deepest nesting.
const MOST_LEVELS: usize = 64;

#[cfg(test)]
mod tests {
    use larder_destination::{ErrorKind, Operation};

    use super::*;

    async fn read(text: &str) -> Result<Vec<Element>> {
        // In small pieces, as a network would.
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(7)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let call = Call::new("test", Operation::List);
        let source = stream::iter(pieces).boxed();
        records(&call, source, "DAV:", "multistatus")
            .try_collect()
            .await
    }

    #[test]
    fn a_whole_document() {
        let text = b"<?xml version=\"1.0\"?>\n<e:List xmlns:e=\"u\"><A>1 &amp; 2&#x41;</A><A> 3 </A><B/></e:List>\n";
        let list = Element::parse(text, "List").unwrap_or_default();
        let texts: Vec<_> = list.all("A").map(|a| a.text.as_str()).collect();
        assert_eq!(texts, ["1 & 2A", " 3 "]);
        assert_eq!((list.text_of("B"), list.text_of("C")), ("", ""));
        assert_eq!(list.child("B").map(|b| b.children.len()), Some(0));
        for wrong in [
            "",
            "hello",
            "<html/>",
            "<List>",
            "<List><A></List>",
            "<List></A>",
        ] {
            assert!(Element::parse(wrong.as_bytes(), "List").is_err(), "{wrong}");
        }
        assert!(Element::parse(b"\xff", "List").is_err());
    }

    #[tokio::test]
    async fn records_come_one_by_one_from_their_name_space() -> Result<()> {
        let text = "<D:multistatus xmlns:D=\"DAV:\" xmlns:o=\"other\">\n<o:response/>\n\
            <x:response xmlns:x=\"DAV:\"><x:href><![CDATA[a&b]]></x:href><o:prop><x:deep>1</x:deep></o:prop></x:response>\n\
            <response xmlns=\"DAV:\"><href>c</href></response></D:multistatus>";
        let found = read(text).await?;
        let texts: Vec<_> = found.iter().map(|record| record.text_of("href")).collect();
        assert_eq!(texts, ["a&b", "c"]);
        assert_eq!(found.first().map(|record| record.children.len()), Some(1));
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_whole_listing_is_an_error() {
        let open = "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>x";
        let long = format!("{open}{}", "x".repeat(RECORD_BYTES * 2));
        let wide = format!("{open}</D:href>{}", "<D:a>x</D:a>".repeat(RECORD_BYTES));
        let deep = format!("{open}{}", "<a>".repeat(MOST_LEVELS + 1));
        let comment = format!(
            "<D:multistatus xmlns:D=\"DAV:\"><!--{}",
            "x".repeat(RECORD_BYTES)
        );
        for (text, words) in [
            ("", "breaks off"),
            (
                "<html><body>hello</body></html>",
                "not a document of the kind multistatus",
            ),
            ("<multistatus/>", "not a document of the kind multistatus"),
            (open, "breaks off"),
            (long.as_str(), "too long"),
            (wide.as_str(), "too long"),
            (deep.as_str(), "nested too deeply"),
            (comment.as_str(), "too long"),
            ("<D:multistatus xmlns:D=\"DAV:\"></wrong>", "cannot be read"),
        ] {
            let error = read(text).await.err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.contains(words)),
                "{words}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_error_of_a_broken_reply_is_kept() {
        let call = Call::new("test", Operation::List);
        let pieces = vec![
            Ok(Bytes::from_static(b"<D:multistatus xmlns:D=\"DAV:\">")),
            Err(call.error(ErrorKind::Network, "the line is cut")),
        ];
        let source = stream::iter(pieces).boxed();
        let read: Result<Vec<_>> = records(&call, source, "DAV:", "multistatus")
            .try_collect()
            .await;
        assert!(read.is_err_and(|error| error.to_string().ends_with("the line is cut")));
    }
}
