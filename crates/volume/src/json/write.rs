//! Writing JSON strings.

use super::{plain_len, push_char};

/// Appends a JSON string with quotes and the least escaping, as Newtonsoft's writer does it: quote, backslash,
/// control characters, U+0085, U+2028 and U+2029 (docs/format/dlist.md), and bytes that are not UTF-8.
pub(crate) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if bytes.is_ascii() && plain_len(bytes) == bytes.len() {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            write_text(chunk.valid(), out);
            for byte in chunk.invalid() {
                write_escape(0xdc00 | u32::from(*byte), out);
            }
        }
    }
    out.push(b'"');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                write_escape(u32::from(character), out)
            }
            _ => push_char(out, character),
        }
    }
}

fn write_escape(unit: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = char::from_digit(unit >> shift & 0xf, 16).unwrap_or('0');
        push_char(out, digit);
    }
}
