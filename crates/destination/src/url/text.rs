//! Percent-coding and the names that mark secrets.

use larder_options::{find_decl, is_secret, normalize_name};

/// Decodes `%XX`; sequences that are no UTF-8 stay as written.
pub(super) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, from_percent) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(before);
        let (bytes, used) = escaped_run(from_percent);
        if used == 0 {
            out.push('%');
            rest = from_percent.get(1..).unwrap_or("");
            continue;
        }
        push_decoded(&mut out, &bytes, from_percent);
        rest = from_percent.get(used..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

/// As [`decode`], with `+` for a space first.
pub(super) fn decode_query(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// The bytes of the escapes at the start of `text` and the length of text they take.
fn escaped_run(text: &str) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    for escape in text.as_bytes().chunks_exact(3) {
        let [b'%', high, low] = *escape else { break };
        match (hex_digit(high), hex_digit(low)) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => break,
        }
    }
    let used = bytes.len() * 3;
    (bytes, used)
}

/// Appends the UTF-8 in `bytes`; bytes that are none are copied as their escapes from `written`.
fn push_decoded(out: &mut String, bytes: &[u8], written: &str) {
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        at += chunk.valid().len();
        let end = at + chunk.invalid().len();
        out.push_str(written.get(at * 3..end * 3).unwrap_or(""));
        at = end;
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

pub(super) fn encode_user(text: &str) -> String {
    encode(text, "")
}

/// Keeps the brackets and colons of an IPv6 address.
pub(super) fn encode_host(host: &str) -> String {
    let is_address =
        host.starts_with('[') && host.ends_with(']') && host.find(']') == Some(host.len() - 1);
    encode(host, if is_address { "[]:" } else { "" })
}

pub(super) fn encode_path(path: &str) -> String {
    encode(path, "/")
}

pub(super) fn encode_query(text: &str) -> String {
    encode(text, "@/:,;")
}

fn encode(text: &str, keep: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || keep.contains(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
            }
        }
    }
    out
}

/// True for option names whose values must not be shown: declared as passwords, or named like a secret.
///
/// Providers' own declarations are not known at this level; a name that the engine does not declare is judged by its
/// look, and rather too strictly.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let plain = normalize_name(name);
    let declared = find_decl(name, &[larder_options::engine::TABLE]).is_some();
    is_secret(name) || (!declared && SECRET_WORDS.iter().any(|word| plain.contains(word)))
}

/// True for a value that is a URL with credentials of its own, such as a proxy address.
pub(super) fn holds_userinfo(value: &str) -> bool {
    value
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}

const SECRET_WORDS: &[&str] = &[
    "password",
    "passphrase",
    "secret",
    "key",
    "token",
    "authid",
    "credential",
];
