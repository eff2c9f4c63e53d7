//! Text in addresses, forms and headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the characters that no part of an address ever has to escape (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// As [`RESERVED`], but a slash separates.
const RESERVED_IN_PATHS: &AsciiSet = &RESERVED.remove(b'/');

/// One segment of a path: everything outside `A-Z a-z 0-9 - . _ ~` is percent-encoded, a slash too.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A path: as [`segment`], but slashes stay.
#[must_use]
pub fn path(text: &str) -> String {
    utf8_percent_encode(text, RESERVED_IN_PATHS).to_string()
}

/// A query: names and values as [`segment`] writes them, in the order given. A blank is `%20`.
#[must_use]
pub fn query<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let parts: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", segment(name.as_ref()), segment(value.as_ref())))
        .collect();
    parts.join("&")
}

/// The content of a form, `application/x-www-form-urlencoded`. A blank is `+`.
#[must_use]
pub fn form<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Undoes percent-encoding; `+` stays what it is. `None` when the result is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// As [`decode`] where `+` stands for a blank, as in forms.
#[must_use]
pub fn decode_form(text: &str) -> Option<String> {
    decode(&text.replace('+', " "))
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Reads hexadecimal digits of either letter case.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(text).ok()
}

/// Base64 with padding, as most services write hashes and credentials.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads Base64 with padding.
#[must_use]
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_only_unreserved_characters() {
        assert_eq!(segment("a b+c%/é~"), "a%20b%2Bc%25%2F%C3%A9~");
        assert_eq!(path("a b/c+d"), "a%20b/c%2Bd");
        assert_eq!(query(&[("q", "a b"), ("x", "1&2")]), "q=a%20b&x=1%262");
        assert_eq!(form(&[("q", "a b"), ("x", "1&2")]), "q=a+b&x=1%262");
    }

    #[test]
    fn decoding_gives_back_the_text_or_nothing() {
        for text in ["", "a b+c%/é~", "100%25", "\u{1f600}"] {
            assert_eq!(decode(&segment(text)).as_deref(), Some(text));
        }
        assert_eq!(decode("a+b").as_deref(), Some("a+b"));
        assert_eq!(decode_form("a+b%2Bc").as_deref(), Some("a b+c"));
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn hashes_are_written_as_services_write_them() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
        assert_eq!(unhex("00aB"), Some(vec![0, 0xab]));
        assert_eq!(unhex("0"), None);
        assert_eq!(base64(b"a?"), "YT8=");
        assert_eq!(unbase64("YT8="), Some(b"a?".to_vec()));
        assert_eq!(unbase64("YT8"), None);
    }
}
