//! Words of sentences that name a number of things.

/// A number with its noun in the right form: `1 file`, `2 files`, `0 entries`. Of several words the last takes the
/// plural: `2 index files`; of words that are joined with `or` each does: `1 file or folder`, `2 files or folders`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {}", self::noun(number, noun))
}

/// A time in the largest unit that leaves nothing worth naming: `45 seconds`, `12 minutes`, `1 hour`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => counted(seconds, "second"),
        _ if seconds.is_multiple_of(3600) => counted(seconds / 3600, "hour"),
        _ => counted(seconds / 60, "minute"),
    }
}

/// The noun of a number without the number.
#[must_use]
pub fn noun(number: u64, noun: &str) -> String {
    if number == 1 {
        return noun.to_owned();
    }
    let each: Vec<String> = noun.split(" or ").map(plural).collect();
    each.join(" or ")
}

/// The verb that goes with a number: `is` or `are`, `was` or `were`, `needs` or `need`.
#[must_use]
pub fn verb<'a>(number: u64, one: &'a str, several: &'a str) -> &'a str {
    if number == 1 { one } else { several }
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_nouns_agree() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(2, "entry"), "2 entries");
        assert_eq!(counted(2, "day"), "2 days");
        assert_eq!(counted(1, "file or folder"), "1 file or folder");
        assert_eq!(counted(0, "file or folder"), "0 files or folders");
        assert_eq!(
            [45, 60, 3599, 3600, 5400].map(duration),
            [
                "45 seconds",
                "1 minute",
                "59 minutes",
                "1 hour",
                "90 minutes"
            ]
        );
        assert_eq!(noun(1, "error"), "error");
        assert_eq!(noun(5, "index file"), "index files");
        assert_eq!(verb(1, "is", "are"), "is");
        assert_eq!(verb(0, "is", "are"), "are");
    }
}
