//! Lists: paths, comma lists, versions.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// What joins paths in a list on this system.
pub const LIST_SEPARATOR: char = if cfg!(windows) { ';' } else { ':' };

/// Splits a path list; empty items are dropped.
pub fn split_paths(text: &str) -> Vec<String> {
    text.split(LIST_SEPARATOR)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Splits a comma list; blanks around items and empty items are dropped.
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Reads a version list such as `0,2-4,7`, where 0 is the newest version. Ranges include both ends, which may stand
/// in either order; the result keeps the order of the text.
///
/// # Errors
/// [`Error::Malformed`] for anything but numbers and ranges.
pub fn parse_versions(text: &str) -> Result<Vec<RangeInclusive<u64>>> {
    let number = |item: &str| {
        item.trim().parse::<u64>().map_err(|_| {
            Error::malformed(
                "version list",
                text,
                "expected numbers and ranges, like 0,2-4",
            )
        })
    };
    split_list(text)
        .iter()
        .map(|item| match item.split_once('-') {
            None => number(item).map(|version| version..=version),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                Ok(first.min(last)..=first.max(last))
            }
        })
        .collect()
}

/// Picks the versions of a list that exist when there are `count` of them: each once, ascending. The second part
/// tells the first number of each range that reaches beyond the last version, for a warning.
pub fn expand_versions(ranges: &[RangeInclusive<u64>], count: u64) -> (Vec<u64>, Vec<u64>) {
    let mut found: Vec<u64> = ranges
        .iter()
        .flat_map(|range| *range.start()..range.end().saturating_add(1).min(count))
        .collect();
    found.sort_unstable();
    found.dedup();
    let beyond = ranges
        .iter()
        .filter(|range| *range.end() >= count)
        .map(|range| count.max(*range.start()))
        .collect();
    (found, beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_lists() {
        assert_eq!(parse_versions("0,2-4, 7"), Ok(vec![0..=0, 2..=4, 7..=7]));
        assert_eq!(parse_versions("4-2"), Ok(vec![2..=4]));
        assert_eq!(parse_versions(""), Ok(vec![]));
        for wrong in ["a", "1-", "-1", "1-2-3", "1.5"] {
            assert!(parse_versions(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_beyond_the_last_are_told() {
        let ranges = [2..=3, 0..=2, 9..=u64::MAX];
        assert_eq!(expand_versions(&ranges, 3), (vec![0, 1, 2], vec![3, 9]));
    }

    #[test]
    fn comma_lists_drop_blanks() {
        assert_eq!(split_list(" a, b,,c "), ["a", "b", "c"]);
    }
}
