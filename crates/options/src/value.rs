//! Texts to values and back: the grammar of sizes, spans, times, yes and no, version lists.
//!
//! The grammar is Duplicati's; the differences are listed in docs/decisions/0008-parser-differences.md and checked
//! against fixtures/vectors/parse-vectors.json.

mod list;
mod retention;
mod size;
mod span;
mod time;

pub use list::{LIST_SEPARATOR, expand_versions, parse_versions, split_list, split_paths};
pub use retention::{RetentionRule, parse_retention};
pub use size::{format_size, has_unit, parse_size};
pub use span::{format_duration, parse_timespan};
pub use time::{Direction, parse_time};

use crate::error::{Error, Result};

/// Reads yes or no; anything that is neither gives `default`.
pub fn parse_bool(text: &str, default: bool) -> bool {
    parse_bool_strict(text).unwrap_or(default)
}

/// Reads yes (`1`, `on`, `true`, `yes`) or no (`0`, `off`, `false`, `no`) in any letter case.
pub fn parse_bool_strict(text: &str) -> Option<bool> {
    let text = text.trim();
    let among = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if among(["1", "on", "true", "yes"]) {
        Some(true)
    } else if among(["0", "off", "false", "no"]) {
        Some(false)
    } else {
        None
    }
}

/// Reads a finite number with a point as decimal mark.
///
/// # Errors
/// [`Error::Malformed`] for anything else.
pub fn parse_decimal(text: &str) -> Result<f64> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(Error::malformed(
            "number",
            text,
            "expected digits with a point as decimal mark",
        )),
    }
}
