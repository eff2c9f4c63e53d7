//! Reading JSON piece by piece.

use super::feed::Feed;
use super::{BOM, plain_len, push_char};
use crate::{Error, Result};

/// Reads JSON piece by piece.
pub(crate) struct Parser<F> {
    feed: F,
    /// What is being read, for messages.
    what: &'static str,
    /// The longest string accepted, in bytes after unescaping.
    limit: usize,
}

impl<F: Feed> Parser<F> {
    /// Starts in front of the text, which may begin with a byte order mark: see [`Parser::skip_bom`].
    pub(crate) fn new(feed: F, what: &'static str, limit: usize) -> Self {
        Self { feed, what, limit }
    }

    /// The number of bytes consumed.
    pub(crate) fn position(&self) -> u64 {
        self.feed.position()
    }

    /// An error at this place.
    pub(crate) fn error(&self, detail: impl std::fmt::Display) -> Error {
        Error::malformed(self.what, format!("{detail} at byte {}", self.position()))
    }

    /// Skips the byte order mark if there is one.
    pub(crate) fn skip_bom(&mut self) -> Result<()> {
        let [first, rest @ ..] = BOM;
        if self.peek()? != Some(first) {
            return Ok(());
        }
        self.feed.consume(1);
        for byte in rest {
            if self.next_byte()? != byte {
                return Err(self.error("broken byte order mark"));
            }
        }
        Ok(())
    }

    /// The first byte of the next token, without taking it; `None` at the end of the text.
    #[inline]
    pub(crate) fn peek_token(&mut self) -> Result<Option<u8>> {
        match self.feed.window().first() {
            Some(byte) if !is_space(*byte) => Ok(Some(*byte)),
            _ => self.skip_space(),
        }
    }

    fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            let window = self.feed.window();
            match window.iter().position(|byte| !is_space(*byte)) {
                Some(len) => {
                    let byte = window.get(len).copied();
                    self.feed.consume(len);
                    return Ok(byte);
                }
                None => {
                    let len = window.len();
                    self.feed.consume(len);
                    if !self.feed.refill()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes one structural character.
    #[inline]
    pub(crate) fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.peek_token()? == Some(wanted) {
            self.feed.consume(1);
            return Ok(());
        }
        self.unexpected(wanted)
    }

    #[cold]
    fn unexpected(&mut self, wanted: u8) -> Result<()> {
        match self.peek_token()? {
            Some(byte) => Err(self.error(format_args!(
                "`{}` instead of `{}`",
                byte.escape_ascii(),
                wanted.escape_ascii()
            ))),
            None => Err(self.cut_off()),
        }
    }

    /// Requires that nothing but white space follows, and reads the source to its end.
    pub(crate) fn expect_end(&mut self) -> Result<()> {
        match self.peek_token()? {
            None => Ok(()),
            Some(_) => Err(self.error("more data behind the end")),
        }
    }

    /// Goes to the next element of an array whose `[` was taken; false when its `]` was taken.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool> {
        if self.peek_token()? == Some(b']') {
            self.feed.consume(1);
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Goes to the value of the next member of an object whose `{` was taken and reads its name; false when its `}`
    /// was taken.
    pub(crate) fn next_member(&mut self, first: &mut bool, name: &mut Vec<u8>) -> Result<bool> {
        if self.peek_token()? == Some(b'}') {
            self.feed.consume(1);
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',')?;
        }
        // A name that long is none that is known.
        if !self.string_within(name)? {
            name.clear();
        }
        self.expect(b':')?;
        Ok(true)
    }

    /// Reads a string into a buffer, which is emptied first.
    pub(crate) fn string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.string_within(out)? {
            return Ok(());
        }
        Err(Error::TooLarge {
            what: "string in bytes",
            limit: to_u64(self.limit),
        })
    }

    /// As [`Parser::string`], but a string beyond the limit is passed over as a whole; false then.
    pub(crate) fn string_within(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        self.expect(b'"')?;
        // A high surrogate waits for its low one.
        let mut high: Option<u32> = None;
        let mut fits = true;
        loop {
            let window = self.feed.window();
            let len = plain_len(window);
            let plain = window.get(..len).unwrap_or_default();
            fits &= out.len() + plain.len() <= self.limit;
            if !fits {
                out.clear();
            } else if !plain.is_empty() {
                if high.take().is_some() {
                    push_char(out, char::REPLACEMENT_CHARACTER);
                }
                out.extend_from_slice(plain);
            }
            let next = window.get(len).copied();
            self.feed.consume(len);
            match next {
                Some(b'"') => {
                    self.feed.consume(1);
                    if high.is_some() {
                        push_char(out, char::REPLACEMENT_CHARACTER);
                    }
                    return Ok(fits);
                }
                Some(b'\\') => {
                    self.feed.consume(1);
                    high = self.escape(high, out)?;
                }
                Some(_) => return Err(self.error("control character in a string")),
                None if self.feed.refill()? => {}
                None => return Err(self.cut_off()),
            }
        }
    }

    /// Reads an integer.
    pub(crate) fn integer(&mut self) -> Result<i64> {
        let negative = self.peek_token()? == Some(b'-');
        if negative {
            self.feed.consume(1);
        }
        let mut value: i64 = 0;
        let mut digits = 0u32;
        while let Some(byte @ b'0'..=b'9') = self.peek()? {
            self.feed.consume(1);
            digits += 1;
            let digit = i64::from(byte - b'0');
            let next = value.checked_mul(10).and_then(|tens| {
                if negative {
                    tens.checked_sub(digit)
                } else {
                    tens.checked_add(digit)
                }
            });
            value = next.ok_or_else(|| self.error("number out of range"))?;
        }
        match self.peek()? {
            _ if digits == 0 => Err(self.error("no number")),
            Some(b'.' | b'e' | b'E') => Err(self.error("number that is no integer")),
            _ => Ok(value),
        }
    }

    /// Reads a number; `None` when it is no integer or out of range.
    pub(crate) fn integer_within(&mut self) -> Result<Option<i64>> {
        let (mut digits, mut len) = ([0; 20], 0);
        while let Some(byte @ (b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) = self.peek()? {
            self.feed.consume(1);
            if let Some(place) = digits.get_mut(len) {
                *place = byte;
            }
            len += 1;
        }
        let text = digits.get(..len).and_then(|d| std::str::from_utf8(d).ok());
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Skips any value.
    pub(crate) fn skip_value(&mut self) -> Result<()> {
        self.skip_nested(0)
    }

    fn skip_nested(&mut self, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::TooLarge {
                what: "nesting depth",
                limit: u64::from(MAX_DEPTH),
            });
        }
        let mut first = true;
        match self.peek_token()? {
            Some(b'"') => self.skip_string(),
            Some(b'{') => {
                self.feed.consume(1);
                while self.peek_token()? != Some(b'}') {
                    if !std::mem::take(&mut first) {
                        self.expect(b',')?;
                    }
                    self.skip_string()?;
                    self.expect(b':')?;
                    self.skip_nested(depth + 1)?;
                }
                self.expect(b'}')
            }
            Some(b'[') => {
                self.feed.consume(1);
                while self.next_element(&mut first)? {
                    self.skip_nested(depth + 1)?;
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek()? {
                    self.feed.consume(1);
                }
                Ok(())
            }
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(byte) => {
                Err(self.error(format_args!("`{}` instead of a value", byte.escape_ascii())))
            }
            None => Err(self.cut_off()),
        }
    }

    /// Takes a word such as `null`.
    pub(crate) fn literal(&mut self, word: &[u8]) -> Result<()> {
        for wanted in word {
            if self.next_byte()? != *wanted {
                return Err(self.error("unknown word"));
            }
        }
        Ok(())
    }

    /// Skips a string of any length.
    fn skip_string(&mut self) -> Result<()> {
        self.expect(b'"')?;
        loop {
            let window = self.feed.window();
            let len = plain_len(window);
            let next = window.get(len).copied();
            self.feed.consume(len);
            match next {
                Some(b'"') => {
                    self.feed.consume(1);
                    return Ok(());
                }
                Some(b'\\') => {
                    self.feed.consume(1);
                    self.next_byte()?;
                }
                Some(_) => return Err(self.error("control character in a string")),
                None if self.feed.refill()? => {}
                None => return Err(self.cut_off()),
            }
        }
    }

    /// Reads what follows a backslash. Takes a waiting high surrogate and answers one that waits now.
    fn escape(&mut self, high: Option<u32>, out: &mut Vec<u8>) -> Result<Option<u32>> {
        let byte = self.next_byte()?;
        let unit = if byte == b'u' { self.hex4()? } else { 0 };
        if let Some(high) = high {
            if (0xdc00..=0xdfff).contains(&unit) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                push_char(
                    out,
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                );
                return Ok(None);
            }
            push_char(out, char::REPLACEMENT_CHARACTER);
        }
        match byte {
            b'"' | b'\\' | b'/' => out.push(byte),
            b'b' => out.push(0x08),
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'f' => out.push(0x0c),
            b'r' => out.push(b'\r'),
            b'u' => match unit {
                0xd800..=0xdbff => return Ok(Some(unit)),
                0xdc80..=0xdcff => out.push(u8::try_from(unit - 0xdc00).unwrap_or(b'?')),
                _ => push_char(
                    out,
                    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER),
                ),
            },
            _ => return Err(self.error("unknown escape in a string")),
        }
        Ok(None)
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let byte = self.next_byte()?;
            let digit = char::from(byte)
                .to_digit(16)
                .ok_or_else(|| self.error("broken \\u escape"))?;
            value = value << 4 | digit;
        }
        Ok(value)
    }

    #[inline]
    fn peek(&mut self) -> Result<Option<u8>> {
        if let Some(byte) = self.feed.window().first() {
            return Ok(Some(*byte));
        }
        self.feed.refill()?;
        Ok(self.feed.window().first().copied())
    }

    #[inline]
    fn next_byte(&mut self) -> Result<u8> {
        let byte = self.peek()?.ok_or_else(|| self.cut_off())?;
        self.feed.consume(1);
        Ok(byte)
    }

    fn cut_off(&self) -> Error {
        self.error("cut off")
    }
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Far beyond what any version of the format nests.
const MAX_DEPTH: u32 = 64;
