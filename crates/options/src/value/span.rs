//! Spans of time.

use std::time::Duration;

use crate::error::{Error, Result};

/// Reads a span such as `1D12h` as seconds: numbers with the units `s m h D W M Y`, where letter case matters, added
/// up. A month is 30 days and a year 365. A plain number is seconds; an empty text is 0. Numbers may be negative.
///
/// # Errors
/// [`Error::Malformed`] for other units, fractions, missing units and sums beyond 64 bits.
pub fn parse_timespan(text: &str) -> Result<i64> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(0);
    }
    if let Ok(seconds) = trimmed.parse::<i64>() {
        return Ok(seconds);
    }
    let mut total = 0i64;
    for (number, unit) in parts("time span", text)? {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'D' => 86_400,
            'W' => 7 * 86_400,
            'M' => 30 * 86_400,
            _ => 365 * 86_400,
        };
        total = number
            .checked_mul(seconds)
            .and_then(|seconds| total.checked_add(seconds))
            .ok_or_else(|| Error::malformed("time span", text, "too large"))?;
    }
    Ok(total)
}

/// Splits `1D12h` into numbers and units; the units are among `s m h D W M Y`.
pub(super) fn parts(what: &'static str, text: &str) -> Result<Vec<(i64, char)>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let sign = usize::from(rest.starts_with('-'));
        let after_sign = rest.get(sign..).unwrap_or_default();
        let digits = after_sign
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after_sign.len());
        let (number, tail) = rest.split_at(sign + digits);
        let number = number
            .parse::<i64>()
            .map_err(|_| Error::malformed(what, text, "expected a number with a unit, like 1D"))?;
        let mut chars = tail.trim_start().chars();
        match chars.next() {
            Some(unit @ ('s' | 'm' | 'h' | 'D' | 'W' | 'M' | 'Y')) => parts.push((number, unit)),
            Some(other) => return Err(Error::malformed(what, text, unit_hint(other))),
            None => {
                return Err(Error::malformed(
                    what,
                    text,
                    "a number at the end has no unit",
                ));
            }
        }
        rest = chars.as_str().trim_start();
    }
    Ok(parts)
}

fn unit_hint(found: char) -> String {
    let meant = match found {
        'd' | 'w' | 'y' => Some(found.to_ascii_uppercase()),
        'S' | 'H' => Some(found.to_ascii_lowercase()),
        _ => None,
    };
    match meant {
        Some(unit) => format!("there is no unit {found}, perhaps {unit} is meant"),
        None => format!("there is no unit {found}; the units are s, m, h, D, W, M, Y"),
    }
}

/// Writes a duration as `[d.]hh:mm:ss[.fffffff]`, as Duplicati does.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let mut text = if days > 0 {
        format!("{days}.")
    } else {
        String::new()
    };
    text.push_str(&format!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
    let ticks = duration.subsec_nanos() / 100;
    if ticks > 0 {
        text.push_str(&format!(".{ticks:07}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_be_negative() {
        assert_eq!(parse_timespan("1D-1s"), Ok(86_399));
        assert_eq!(parse_timespan("-90"), Ok(-90));
    }

    #[test]
    fn too_large_is_an_error_not_a_wrong_number() {
        assert!(parse_timespan("999999999999999Y").is_err());
        assert!(parse_timespan("99999999999999999999s").is_err());
    }

    #[test]
    fn a_wrong_letter_case_is_explained() {
        let error = parse_timespan("3d").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"3d\" is not a valid time span: there is no unit d, perhaps D is meant"
        );
    }

    #[test]
    fn durations_look_like_duplicatis() {
        for (nanos, text) in [
            (0, "00:00:00"),
            (62_345_678_900, "00:01:02.3456789"),
            (90_061_000_000_000, "1.01:01:01"),
            (99, "00:00:00"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
