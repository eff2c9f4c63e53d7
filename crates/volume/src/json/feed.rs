//! Where the parser takes its bytes from.

use std::io::{self, Read};

/// Where a parser takes its bytes from.
pub(crate) trait Feed {
    /// The bytes that are at hand.
    fn window(&self) -> &[u8];
    /// Takes bytes off the front of the window.
    fn consume(&mut self, len: usize);
    /// Gets more bytes when the window is empty; answers whether there are any.
    fn refill(&mut self) -> io::Result<bool>;
    /// The number of bytes consumed.
    fn position(&self) -> u64;
}

/// Bytes that are all in memory.
pub(crate) struct SliceFeed<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> SliceFeed<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            len: bytes.len(),
        }
    }
}

impl Feed for SliceFeed<'_> {
    fn window(&self) -> &[u8] {
        self.rest
    }

    fn consume(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    fn refill(&mut self) -> io::Result<bool> {
        Ok(!self.rest.is_empty())
    }

    fn position(&self) -> u64 {
        to_u64(self.len - self.rest.len())
    }
}

/// Bytes that come from a reader through a buffer of fixed size.
pub(crate) struct ReadFeed<R> {
    reader: R,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// The position of the start of the buffer.
    base: u64,
}

impl<R: Read> ReadFeed<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER_LEN],
            at: 0,
            end: 0,
            base: 0,
        }
    }
}

impl<R: Read> Feed for ReadFeed<R> {
    #[inline]
    fn window(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        self.at = (self.at + len).min(self.end);
    }

    fn refill(&mut self) -> io::Result<bool> {
        if self.at < self.end {
            return Ok(true);
        }
        self.base += to_u64(self.end);
        (self.at, self.end) = (0, 0);
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(len) => {
                    self.end = len.min(self.buffer.len());
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn position(&self) -> u64 {
        self.base + to_u64(self.at)
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

const BUFFER_LEN: usize = 64 * 1024;
