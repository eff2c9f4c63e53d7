//! The JSON of the format: a pull parser over bytes, and the writing of strings.
//!
//! Paths are bytes. Bytes that are not UTF-8 are written as the escape of a lone surrogate, `\udc80` to
//! `\udcff` for 0x80 to 0xff, and read back from it (docs/format/dlist.md, names that are not text).
//! The parser never builds a tree: callers ask for the value they expect and skip what they do not
//! know, so that memory is bounded by the longest string. It is strict about structure, because what is
//! wrong there is damage.

mod feed;
mod parser;
mod write;

pub(crate) use feed::{Feed, ReadFeed, SliceFeed};
pub(crate) use parser::Parser;
pub(crate) use write::write_string;

/// The UTF-8 byte order mark that most of the format's JSON begins with.
pub(crate) const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The number of bytes in front of the first quote, backslash or control character.
///
/// Looks at eight bytes at a time: a byte is special when subtracting 0x20 borrows, or when it is equal to the quote
/// or the backslash, which is a borrow of one after an exclusive or. A borrow may spill into higher bytes, never into
/// lower ones, so the lowest marked byte is right.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * u64::from(b'"'));
        let quote = quote.wrapping_sub(ONES) & !quote;
        let slash = word ^ (ONES * u64::from(b'\\'));
        let slash = slash.wrapping_sub(ONES) & !slash;
        let special = (control | quote | slash) & HIGH;
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let start = words.len() * 8;
    let tail = bytes.get(start..).unwrap_or_default();
    let len = tail
        .iter()
        .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
    start + len.unwrap_or(tail.len())
}

#[cfg(test)]
mod tests;
