//! Retention policies: how versions are thinned out with age.

use super::list::split_list;
use super::span::parse_timespan;
use crate::error::{Error, Result};

/// One rule of a retention policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// The rule is for versions younger than this many seconds; `None` is for all.
    pub frame: Option<i64>,
    /// The least distance in seconds between two versions that are kept; 0 keeps all.
    pub interval: i64,
}

/// Reads a retention policy such as `1W:1D,4W:1W,U:1M`: pairs of frame and distance. Months are 30 days and years 365.
/// `U` is no limit as frame, and every version as distance. The rules come back from the shortest frame to the longest.
///
/// # Errors
/// [`Error::Malformed`] for anything else, for negative spans and for a distance that is not shorter than its frame.
pub fn parse_retention(text: &str) -> Result<Vec<RetentionRule>> {
    let mut rules = split_list(text)
        .iter()
        .map(|pair| parse_rule(text, pair))
        .collect::<Result<Vec<_>>>()?;
    rules.sort_by_key(|rule| (rule.frame.is_none(), rule.frame));
    Ok(rules)
}

fn parse_rule(text: &str, pair: &str) -> Result<RetentionRule> {
    let wrong = |why: String| Error::malformed("retention policy", text, why);
    let (frame, interval) = pair
        .split_once(':')
        .ok_or_else(|| wrong(format!("{pair} is not a pair of spans, like 1W:1D")))?;
    let span = |side: &str| match side.trim() {
        "U" => Ok(None),
        "" => Err(wrong(format!("in {pair} a span is missing"))),
        side => match parse_timespan(side) {
            Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
            Ok(_) => Err(wrong(format!("{side} is negative"))),
            Err(error) => Err(wrong(error.to_string())),
        },
    };
    let rule = RetentionRule {
        frame: span(frame)?,
        interval: span(interval)?.unwrap_or(0),
    };
    match rule.frame {
        Some(frame) if rule.interval > 0 && rule.interval >= frame => Err(wrong(format!(
            "in {pair} the distance must be shorter than the frame"
        ))),
        _ => Ok(rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn policies_come_back_in_the_order_of_frames() {
        let rule = |frame, interval| RetentionRule { frame, interval };
        assert_eq!(
            parse_retention("U:1M, 4W:1W,1W:U,1D:0s"),
            Ok(vec![
                rule(Some(DAY), 0),
                rule(Some(7 * DAY), 0),
                rule(Some(28 * DAY), 7 * DAY),
                rule(None, 30 * DAY)
            ])
        );
        assert_eq!(parse_retention(""), Ok(vec![]));
    }

    #[test]
    fn wrong_policies_are_errors() {
        for text in [
            "1W",
            "1W:",
            ":1D",
            "1w:1D",
            "1D:1W",
            "1D:1D",
            "1W:-1D",
            "1W:1D;4W:1W",
            "1W:1D:1h",
        ] {
            assert!(parse_retention(text).is_err(), "{text}");
        }
    }
}
