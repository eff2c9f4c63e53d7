//! Reading a file list.

use std::fmt;
use std::io::Read;

use super::{EntryKind, FileEntry, MAX_BLOCKLISTS, MAX_LONG_PATHS, MAX_NEW_PATH, MAX_PATH};
use crate::json::{Parser, ReadFeed};
use crate::{Error, Hash, Result, VolumeTime};

/// Reads a file list entry by entry, forward, from any reader.
///
/// Properties may come in any order; unknown ones are skipped. Memory is bounded by one entry. At the end the reader
/// underneath is read to *its* end, so that a checksum it keeps is verified.
///
/// The iterator gives an error for an entry whose values are wrong or whose type is unknown (nobody can restore it, so
/// nobody may take it for restored), and goes on behind it. An error of structure (or of the reader) is damage that
/// nothing can be read behind: it is the last item. [`FileListReader::is_damaged`] tells the two apart.
pub struct FileListReader<R: Read> {
    parser: Parser<ReadFeed<R>>,
    state: State,
    is_damaged: bool,
    /// The bytes of all paths so far that are longer than usual.
    long_paths: u64,
    name: Vec<u8>,
    text: Vec<u8>,
}

enum State {
    Start,
    /// Inside the array; whether no entry was read yet.
    Inside(bool),
    Ended,
}

impl<R: Read> FileListReader<R> {
    /// Starts reading. The reader needs no buffer of its own: it is asked for 64 KiB at a time.
    pub fn open(reader: R) -> Self {
        Self {
            parser: Parser::new(ReadFeed::new(reader), WHAT, MAX_PATH),
            state: State::Start,
            is_damaged: false,
            long_paths: 0,
            name: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether an error of structure ended the list early.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Goes to the next entry. An error is one of structure, behind which nothing can be read.
    fn advance(&mut self, entry: &mut FileEntry) -> Result<Step> {
        if let State::Start = self.state {
            self.parser.skip_bom()?;
            self.parser.expect(b'[')?;
            self.state = State::Inside(true);
        }
        if let State::Inside(first) = &mut self.state {
            if !self.parser.next_element(first)? {
                self.parser.expect_end()?;
                self.state = State::Ended;
                return Ok(Step::End);
            }
            if self.parser.peek_token()? != Some(b'{') {
                self.parser.skip_value()?;
                return Ok(Step::Wrong(
                    self.parser.error("no object in place of an entry"),
                ));
            }
            let draft = self.read_entry(entry)?;
            return Ok(match draft.complete(entry) {
                None => Step::Entry,
                Some(problem) => Step::Wrong(self.parser.error(problem)),
            });
        }
        Ok(Step::End)
    }

    /// Reads one object into an entry that is empty.
    fn read_entry(&mut self, entry: &mut FileEntry) -> Result<Draft> {
        let mut draft = Draft {
            kind: Kind::Missing,
            size: None,
            metasize: None,
            wrong: None,
        };
        let mut first = true;
        self.parser.expect(b'{')?;
        while self.parser.next_member(&mut first, &mut self.name)? {
            if let Kind::Unknown(_) = draft.kind {
                // Of what may hold anything only the path is of use, to name it.
                match self.parser.peek_token()? {
                    Some(b'"') if self.name == b"path" => self.path(entry, &mut draft)?,
                    _ => self.parser.skip_value()?,
                }
                continue;
            }
            match self.name.as_slice() {
                b"type" => {
                    if self.text_value("type", &mut draft)? {
                        draft.kind = EntryKind::parse(&self.text).map_or_else(
                            || Kind::Unknown(shown(&self.text, NAMED_TYPE)),
                            Kind::Known,
                        );
                    }
                }
                b"path" => self.path(entry, &mut draft)?,
                b"hash" => entry.hash = self.hash("hash", &mut draft)?,
                b"size" => {
                    // What a folder or a link says here is of no use to anybody.
                    let size = self.size("size", &mut draft)?;
                    draft.size = size.and_then(|size| u64::try_from(size).ok());
                }
                b"time" => {
                    if self.text_value("time", &mut draft)? {
                        entry.time = VolumeTime::from_text(&self.text);
                        draft.require("time", entry.time.is_some());
                    }
                }
                b"metahash" => entry.metahash = self.hash("metahash", &mut draft)?,
                b"metasize" => {
                    // Old lists have -1 for "not known".
                    let size = self.size("metasize", &mut draft)?;
                    draft.metasize = size.map(|size| u64::try_from(size).unwrap_or(0));
                }
                b"metablockhash" => entry.metablockhash = self.hash("metablockhash", &mut draft)?,
                b"metablocklists" => {
                    entry.metablocklists = self.hashes("metablocklists", &mut draft)?
                }
                b"blocklists" => entry.blocklists = self.hashes("blocklists", &mut draft)?,
                b"blockhash" => entry.blockhash = self.hash("blockhash", &mut draft)?,
                b"blocksize" => {
                    let size = self.size("blocksize", &mut draft)?;
                    entry.blocksize = size.and_then(|size| u64::try_from(size).ok());
                }
                _ => self.parser.skip_value()?,
            }
        }
        Ok(draft)
    }

    /// Reads a text into `self.text`; false for null or a value of another type, which is noted.
    fn text_value(&mut self, field: &'static str, draft: &mut Draft) -> Result<bool> {
        match self.parser.peek_token()? {
            Some(b'"') => {
                let fits = self.parser.string_within(&mut self.text)?;
                draft.require(field, fits);
                Ok(fits)
            }
            other => self.skip_wrong(other, field, draft).map(|()| false),
        }
    }

    fn path(&mut self, entry: &mut FileEntry, draft: &mut Draft) -> Result<()> {
        if self.text_value("path", draft)? {
            if self.text.len() > MAX_NEW_PATH {
                self.long_paths = self.long_paths.saturating_add(self.text.len() as u64);
                draft.require("path", self.long_paths <= MAX_LONG_PATHS);
            }
            entry.path.clone_from(&self.text);
        }
        Ok(())
    }

    fn hash(&mut self, field: &'static str, draft: &mut Draft) -> Result<Option<Hash>> {
        if !self.text_value(field, draft)? {
            return Ok(None);
        }
        let hash = Hash::from_base64(&self.text);
        draft.require(field, hash.is_some());
        Ok(hash)
    }

    fn size(&mut self, field: &'static str, draft: &mut Draft) -> Result<Option<i64>> {
        match self.parser.peek_token()? {
            Some(b'-' | b'0'..=b'9') => {
                let number = self.parser.integer_within()?;
                draft.require(field, number.is_some());
                Ok(number)
            }
            other => self.skip_wrong(other, field, draft).map(|()| None),
        }
    }

    fn hashes(&mut self, field: &'static str, draft: &mut Draft) -> Result<Vec<Hash>> {
        let mut hashes = Vec::new();
        match self.parser.peek_token()? {
            Some(b'[') => self.parser.expect(b'[')?,
            other => {
                self.skip_wrong(other, field, draft)?;
                return Ok(hashes);
            }
        }
        let mut first = true;
        while self.parser.next_element(&mut first)? {
            if !self.text_value(field, draft)? {
                draft.require(field, false);
                continue;
            }
            match Hash::from_base64(&self.text) {
                Some(hash) if hashes.len() < MAX_BLOCKLISTS => hashes.push(hash),
                _ => {
                    draft.require(field, false);
                    hashes = Vec::new();
                }
            }
        }
        Ok(hashes)
    }

    /// Skips a value that is not of the type looked for. Null counts as absent, anything else makes the entry wrong.
    fn skip_wrong(
        &mut self,
        first: Option<u8>,
        field: &'static str,
        draft: &mut Draft,
    ) -> Result<()> {
        draft.require(field, first == Some(b'n'));
        self.parser.skip_value()
    }
}

impl<R: Read> Iterator for FileListReader<R> {
    type Item = Result<FileEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if let State::Ended = self.state {
            return None;
        }
        // Entries are large: this one is filled in place, not handed up.
        let mut entry = FileEntry::new(EntryKind::File, Vec::new());
        match self.advance(&mut entry) {
            Ok(Step::Entry) => Some(Ok(entry)),
            Ok(Step::Wrong(error)) => Some(Err(error)),
            Ok(Step::End) => None,
            Err(error) => {
                self.state = State::Ended;
                self.is_damaged = true;
                Some(Err(error))
            }
        }
    }
}

impl<R: Read> std::iter::FusedIterator for FileListReader<R> {}

impl<R: Read> fmt::Debug for FileListReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileListReader(at byte {})", self.parser.position())
    }
}

enum Kind {
    Missing,
    Known(EntryKind),
    /// One that this version does not know: its name, for people.
    Unknown(String),
}

/// What an entry cannot hold while its properties come in.
struct Draft {
    kind: Kind,
    size: Option<u64>,
    metasize: Option<u64>,
    /// The first field with a wrong value.
    wrong: Option<&'static str>,
}

enum Step {
    Entry,
    Wrong(Error),
    End,
}

impl Draft {
    fn require(&mut self, field: &'static str, holds: bool) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(field);
        }
    }

    /// Completes an entry of known or missing type; answers what is wrong with it.
    fn complete(mut self, entry: &mut FileEntry) -> Option<String> {
        match &self.kind {
            Kind::Known(kind) => entry.kind = *kind,
            Kind::Missing => self.require("type", false),
            Kind::Unknown(name) => {
                let path = shown(&entry.path, NAMED_PATH);
                return Some(format!("entry `{path}` of the unknown type `{name}`"));
            }
        }
        self.require("path", !entry.path.is_empty());
        self.require("size", self.size.is_some() || entry.kind != EntryKind::File);
        self.require(
            "metasize",
            self.metasize.is_some() || entry.metahash.is_none(),
        );
        entry.size = self.size.unwrap_or(0);
        entry.metasize = self.metasize.unwrap_or(0);
        let field = self.wrong?;
        let path = shown(&entry.path, NAMED_PATH);
        Some(format!("entry `{path}` with wrong or missing `{field}`"))
    }
}

/// A text of a list for a message.
fn shown(text: &[u8], most: usize) -> String {
    text.escape_ascii().take(most).map(char::from).collect()
}

const WHAT: &str = "file list";
/// Characters of a path that a message names.
const NAMED_PATH: usize = 200;
/// Characters of a type that a message names.
const NAMED_TYPE: usize = 40;
