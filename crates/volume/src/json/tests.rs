use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::{Error, Result};

/// Gives one byte at a time, so that every place is a refill.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = 1.min(self.0.len()).min(buf.len());
        let (now, later) = self.0.split_at(len);
        buf[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

fn read(text: &[u8]) -> Result<Vec<u8>> {
    let parse = |parser: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>| {
        let mut out = Vec::new();
        parser(&mut out).map(|()| out)
    };
    let mut slow = Parser::new(ReadFeed::new(Drip(text)), "test", 1000);
    let mut fast = Parser::new(SliceFeed::new(text), "test", 1000);
    let slow = parse(&mut |out| slow.string(out).and_then(|()| slow.expect_end()));
    let fast = parse(&mut |out| fast.string(out).and_then(|()| fast.expect_end()));
    assert_eq!(slow.as_ref().ok(), fast.as_ref().ok());
    assert_eq!(
        slow.as_ref().map_err(Error::to_string),
        fast.as_ref().map_err(Error::to_string)
    );
    fast
}

#[test]
fn strings() {
    for (text, bytes) in [
        (&br#""""#[..], &b""[..]),
        (br#" "a\"b\\c\/d\b\t\n\f\r" "#, b"a\"b\\c/d\x08\t\n\x0c\r"),
        (br#""\u0041\u00e9\u20ac""#, "Aé€".as_bytes()),
        (br#""\ud83d\ude00""#, "😀".as_bytes()),
        (br#""\uD83D\uDE00""#, "😀".as_bytes()),
        ("\"é😀\"".as_bytes(), "é😀".as_bytes()),
        (br#""x\udcffy""#, b"x\xffy"),
        (br#""\udcc3\udca9""#, "é".as_bytes()),
        (br#""\ud83dx""#, "\u{fffd}x".as_bytes()),
        (br#""\ud83d""#, "\u{fffd}".as_bytes()),
        (br#""\ud83d\n""#, "\u{fffd}\n".as_bytes()),
        (br#""\ud83d\ud83d\ude00""#, "\u{fffd}😀".as_bytes()),
        (br#""\udc7f\udd00""#, "\u{fffd}\u{fffd}".as_bytes()),
        (b"\"\xff\"", b"\xff"),
    ] {
        assert_eq!(read(text).unwrap(), bytes, "{}", text.escape_ascii());
    }
    for text in [
        &b""[..],
        b"\"",
        b"\"\\",
        b"\"\\u12",
        b"\"\\u12g4\"",
        b"\"\\x\"",
        b"\"\n\"",
        b"\"a\"b",
        b"'a'",
    ] {
        assert!(
            matches!(read(text), Err(Error::Malformed { .. })),
            "{}",
            text.escape_ascii()
        );
    }
    let long = format!("\"{}\"", "a".repeat(1001));
    assert!(matches!(
        read(long.as_bytes()),
        Err(Error::TooLarge { limit: 1000, .. })
    ));
}

#[test]
fn least_escaping() {
    let mut out = Vec::new();
    write_string(
        "a\"\\/\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}\u{85}\u{2028}\u{2029}é😀".as_bytes(),
        &mut out,
    );
    let wanted = "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u0001\\u001f\u{7f}\\u0085\\u2028\\u2029é😀\"";
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
    let mut out = Vec::new();
    write_string(b"a\xff\xc3", &mut out);
    assert_eq!(out, br#""a\udcff\udcc3""#);
}

#[test]
fn integers() {
    let read = |text: &str| Parser::new(SliceFeed::new(text.as_bytes()), "test", 10).integer();
    assert_eq!(read("0").unwrap(), 0);
    assert_eq!(read(" -12,").unwrap(), -12);
    assert_eq!(read("9223372036854775807").unwrap(), i64::MAX);
    assert_eq!(read("-9223372036854775808").unwrap(), i64::MIN);
    for text in ["", "-", "9223372036854775808", "1.0", "1e3", "x"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn skipping() {
    let skip = |text: &str| {
        let mut parser = Parser::new(SliceFeed::new(text.as_bytes()), "test", 10);
        parser.skip_value().and_then(|()| parser.expect_end())
    };
    for text in [
        "{}",
        "[]",
        r#"{"a":[1,2.5e-3,{"b":null}],"c":"\u0041\"","d":true,"e":false}"#,
        "-1.5E+10",
        r#""longer than the limit of strings""#,
    ] {
        skip(text).unwrap();
    }
    for text in [
        "",
        "{",
        "[1",
        "[1 2]",
        r#"{"a"}"#,
        "nul",
        "tru",
        "]",
        "[1],",
        r#"{"a":1 "b":2}"#,
    ] {
        assert!(skip(text).is_err(), "{text}");
    }
    assert!(skip(&"[".repeat(60)).is_err());
    assert!(matches!(
        skip(&"[".repeat(100_000)),
        Err(Error::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn strings_round_trip(bytes: Vec<u8>) {
        prop_assume!(bytes.len() < 300);
        let mut text = Vec::new();
        write_string(&bytes, &mut text);
        prop_assert!(std::str::from_utf8(&text).is_ok());
        prop_assert_eq!(read(&text).unwrap(), bytes);
    }

    #[test]
    fn plain_runs_end_at_the_first_special_byte(bytes: Vec<u8>) {
        let wanted = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(bytes.len());
        prop_assert_eq!(plain_len(&bytes), wanted);
    }

    #[test]
    fn plain_runs_of_text(text in "[ -~\u{80}-\u{ff}]{0,40}\"?[\u{0}-\u{ff}]{0,9}") {
        let bytes = text.as_bytes();
        let wanted = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(bytes.len());
        prop_assert_eq!(plain_len(bytes), wanted);
    }
}
