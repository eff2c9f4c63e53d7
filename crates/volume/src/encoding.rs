//! Base64 in the two alphabets of the format: plain in JSON values, URL in archive entry names (docs/format/hashes.md).
//!
//! Both keep the padding. Decoding is strict: one text per value.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::{Error, Result};

/// Encodes with the plain alphabet (`+` `/`) and padding.
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Encodes with the URL alphabet (`-` `_`) and padding.
pub fn encode_url_base64(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Decodes the plain alphabet; padding is required.
///
/// # Errors
/// [`Error::Malformed`] for anything else.
pub fn decode_base64(text: &[u8]) -> Result<Vec<u8>> {
    STANDARD
        .decode(text)
        .map_err(|error| Error::malformed("base64 text", error.to_string()))
}

/// Decodes the URL alphabet; padding is required.
///
/// # Errors
/// [`Error::Malformed`] for anything else.
pub fn decode_url_base64(text: &[u8]) -> Result<Vec<u8>> {
    URL_SAFE
        .decode(text)
        .map_err(|error| Error::malformed("base64 text", error.to_string()))
}

/// Decodes the plain alphabet into a buffer and answers how many bytes were written; `None` when the text is wrong
/// or the buffer too small.
pub(crate) fn decode_base64_into(text: &[u8], out: &mut [u8]) -> Option<usize> {
    STANDARD.decode_slice(text, out).ok()
}

/// As [`decode_base64_into`], for the URL alphabet.
pub(crate) fn decode_url_base64_into(text: &[u8], out: &mut [u8]) -> Option<usize> {
    URL_SAFE.decode_slice(text, out).ok()
}

/// Appends the plain form to a byte buffer without an allocation of its own.
pub(crate) fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(bytes, target).unwrap_or(0);
    out.truncate(start + written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_keep_the_padding() {
        assert_eq!(encode_base64(&[0xfb, 0xff]), "+/8=");
        assert_eq!(encode_url_base64(&[0xfb, 0xff]), "-_8=");
        assert_eq!(decode_base64(b"+/8=").unwrap(), [0xfb, 0xff]);
        assert_eq!(decode_url_base64(b"-_8=").unwrap(), [0xfb, 0xff]);
        assert!(decode_base64(b"+/8").is_err());
        assert!(decode_url_base64(b"+/8=").is_err());
    }

    #[test]
    fn appending_equals_encoding() {
        for len in 0..70usize {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37) as u8).collect();
            let mut out = b"x".to_vec();
            append_base64(&bytes, &mut out);
            assert_eq!(out, format!("x{}", encode_base64(&bytes)).into_bytes());
        }
    }
}
