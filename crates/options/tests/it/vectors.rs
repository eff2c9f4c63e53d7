//! Every row of fixtures/vectors/parse-vectors.json: what Duplicati's own parsers answered.

use std::ffi::OsString;

use jiff::tz::TimeZone;
use larder_options::value::{Direction, parse_bool, parse_size, parse_time, parse_timespan};
use larder_options::{SizeUnit, command_line};
use serde_json::Value;

/// Where Larder answers otherwise on purpose: section, text, Larder's answer, reason. The same list with more words is
/// docs/decisions/0008-parser-differences.md.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    ("sizes", "-5mb", "error", "there is no negative size"),
    (
        "sizes",
        "99999999tb",
        "error",
        "the number overflows and comes out negative",
    ),
    ("times", "-1D", "yesterday", "the help text promises it"),
];

#[test]
fn sizes() {
    let rows = section("sizes");
    for row in &rows {
        let (text, unit) = (text(row, 0), text(row, 1));
        let unit = match unit {
            "" | "b" => SizeUnit::Bytes,
            "kb" => SizeUnit::Kib,
            "mb" => SizeUnit::Mib,
            "gb" => SizeUnit::Gib,
            other => panic!("unknown default unit {other}"),
        };
        let answer = parse_size(text, unit).ok();
        if differs("sizes", text) {
            assert_eq!(answer, None, "{row}");
        } else {
            assert_eq!(answer, row[2].as_u64(), "{row}");
            assert_eq!(answer.is_none(), is_error(&row[2]), "{row}");
        }
    }
    assert!(rows.len() > 100);
}

#[test]
fn time_spans() {
    for row in section("timespans_seconds") {
        let answer = parse_timespan(text(&row, 0)).ok();
        assert_eq!(answer, row[1].as_i64(), "{row}");
        assert_eq!(answer.is_none(), is_error(&row[1]), "{row}");
    }
}

#[test]
fn times() {
    let vectors = vectors();
    let now: jiff::Timestamp = vectors["times"]["offset"]
        .as_str()
        .expect("text")
        .parse()
        .expect("time");
    let zoned = now.to_zoned(TimeZone::UTC);
    for row in vectors["times"]["rows"].as_array().expect("rows") {
        let backwards = row[1].as_bool().expect("yes or no");
        let direction = if backwards {
            Direction::Backwards
        } else {
            Direction::Forwards
        };
        let answer = parse_time(text(row, 0), &zoned, direction)
            .ok()
            .map(|time| time.to_string());
        if differs("times", text(row, 0)) {
            assert_eq!(answer.as_deref(), Some("2024-03-30T10:20:30Z"), "{row}");
        } else if is_error(&row[2]) {
            assert_eq!(answer, None, "{row}");
        } else {
            assert_eq!(answer.as_deref(), row[2].as_str(), "{row}");
        }
    }
}

#[test]
fn booleans() {
    for row in section("booleans_default_false_true") {
        for (default, column) in [(false, 1), (true, 2)] {
            assert_eq!(
                Some(parse_bool(text(&row, 0), default)),
                row[column].as_bool(),
                "{row}"
            );
        }
    }
}

#[test]
fn command_lines() {
    for row in section("command_line") {
        let args = [text(&row, 0), "rest"].map(OsString::from);
        let parsed = command_line::parse(args).expect("valid");
        let options: serde_json::Map<String, Value> = parsed
            .options
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        assert_eq!(Value::from(options), row[1], "{row}");
        let rest: Vec<Value> = parsed
            .positional
            .iter()
            .map(|arg| Value::from(arg.to_str()))
            .collect();
        assert_eq!(Value::from(rest), row[2], "{row}");
    }
}

#[test]
fn every_section_has_a_test() {
    let vectors = vectors();
    let sections: Vec<&String> = vectors.as_object().expect("object").keys().collect();
    // `urls` is enumerated by the destination crate, which owns storage URLs.
    let known = [
        "booleans_default_false_true",
        "command_line",
        "sizes",
        "times",
        "timespans_seconds",
        "urls",
    ];
    assert_eq!(sections, known);
}

#[test]
fn every_difference_is_used_and_explained() {
    let page = std::fs::read_to_string(root().join("docs/decisions/0008-parser-differences.md"))
        .expect("page");
    let vectors = vectors();
    for (section, text, _, reason) in DIFFERENCES {
        let rows = vectors[section]
            .get("rows")
            .unwrap_or(&vectors[section])
            .as_array()
            .expect("rows");
        assert!(rows.iter().any(|row| row[0] == *text), "no row for {text}");
        assert!(
            page.contains(&format!("`{text}`")) && page.contains(reason),
            "{text} is not in the decision"
        );
    }
}

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vectors() -> Value {
    let file = std::fs::read(root().join("fixtures/vectors/parse-vectors.json")).expect("vectors");
    serde_json::from_slice(&file).expect("JSON")
}

fn section(name: &str) -> Vec<Value> {
    vectors()[name].as_array().expect("rows").clone()
}

fn text(row: &Value, column: usize) -> &str {
    row[column].as_str().expect("text")
}

fn is_error(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("error"))
}

fn differs(section: &str, text: &str) -> bool {
    DIFFERENCES
        .iter()
        .any(|difference| (difference.0, difference.1) == (section, text))
}
