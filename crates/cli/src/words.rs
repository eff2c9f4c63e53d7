//! Words of texts that several commands print.

/// A number with its noun: `1 file`, `2 files`.
pub fn counted(number: u64, noun: &str) -> String {
    let end = match (number, noun.strip_suffix('y')) {
        (1, _) => return format!("1 {noun}"),
        (_, Some(stem)) => return format!("{number} {stem}ies"),
        _ => "s",
    };
    format!("{number} {noun}{end}")
}

/// The noun of a number without the number.
pub fn noun(number: u64, noun: &str) -> String {
    counted(number, noun)
        .split_once(' ')
        .map_or_else(String::new, |(_, word)| word.to_owned())
}

/// The present time as a line of progress shows it: ISO 8601, local zone.
pub fn now() -> String {
    time_text(&jiff::Zoned::now())
}

/// A time as people read it: ISO 8601 with its offset.
pub fn time_text(time: &jiff::Zoned) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_nouns_agree() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(2, "entry"), "2 entries");
        assert_eq!(noun(1, "error"), "error");
        assert_eq!(noun(5, "error"), "errors");
    }
}
