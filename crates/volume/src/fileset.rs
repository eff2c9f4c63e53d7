//! The `fileset` entry of a list volume: whether the version is complete (docs/format/dlist.md).

use crate::Result;
use crate::json::{BOM, Parser, SliceFeed};

/// Writes the entry. A version that was interrupted, or made from such a one, is not full.
pub fn encode_fileset(is_full: bool) -> Vec<u8> {
    let mut out = BOM.to_vec();
    out.extend_from_slice(format!("{{\"IsFullBackup\":{is_full}}}").as_bytes());
    out
}

/// Reads the entry. A version without the entry, or an entry without the field, is full (old programs wrote none).
///
/// # Errors
/// [`Error::Malformed`](crate::Error::Malformed) when it is no JSON object with a yes-or-no field.
pub fn parse_fileset(bytes: &[u8]) -> Result<bool> {
    let mut parser = Parser::new(SliceFeed::new(bytes), "fileset entry", MAX_STRING);
    parser.skip_bom()?;
    parser.expect(b'{')?;
    let (mut first, mut name, mut is_full) = (true, Vec::new(), true);
    while parser.next_member(&mut first, &mut name)? {
        if !name.eq_ignore_ascii_case(b"IsFullBackup") {
            parser.skip_value()?;
            continue;
        }
        is_full = match parser.peek_token()? {
            Some(b't') => parser.literal(b"true").map(|()| true)?,
            Some(b'f') => parser.literal(b"false").map(|()| false)?,
            _ => return Err(parser.error("`IsFullBackup` is neither true nor false")),
        };
    }
    parser.expect_end()?;
    Ok(is_full)
}

const MAX_STRING: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_values() {
        assert_eq!(encode_fileset(true), b"\xef\xbb\xbf{\"IsFullBackup\":true}");
        assert_eq!(
            encode_fileset(false),
            b"\xef\xbb\xbf{\"IsFullBackup\":false}"
        );
        assert!(parse_fileset(&encode_fileset(true)).unwrap());
        assert!(!parse_fileset(&encode_fileset(false)).unwrap());
        assert!(parse_fileset(b"{}").unwrap());
        assert!(!parse_fileset(br#"{ "x": [1], "IsFullBackup": false, "y": {} }"#).unwrap());
    }

    #[test]
    fn wrong_entries() {
        for text in [
            &b""[..],
            b"{",
            b"true",
            br#"{"IsFullBackup":1}"#,
            br#"{"IsFullBackup":truX}"#,
            b"{}{}",
        ] {
            assert!(parse_fileset(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
