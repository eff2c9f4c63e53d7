//! Sizes in bytes.

use crate::decl::SizeUnit;
use crate::error::{Error, Result};

/// Reads a size such as `50mb`: a whole number, a blank or none, and one of `b kb kib mb mib gb gib tb tib` in any
/// letter case, each 1024 times the one before. Without a unit, `default_unit` is meant; an empty text is 0.
///
/// # Errors
/// [`Error::Malformed`] for fractions, signs, unknown units and more than 2⁶⁴−1 bytes.
pub fn parse_size(text: &str, default_unit: SizeUnit) -> Result<u64> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(0);
    }
    let (digits, suffix) = split(trimmed);
    if suffix.starts_with(['.', ',']) {
        return Err(Error::malformed("size", text, fraction(trimmed)));
    }
    if digits.is_empty() {
        return Err(Error::malformed(
            "size",
            text,
            "expected a whole number, like 50mb",
        ));
    }
    let unit = unit(suffix, default_unit).ok_or_else(|| {
        Error::malformed("size", text, "the unit must be one of b, kb, mb, gb, tb")
    })?;
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit.bytes()))
        .ok_or_else(|| Error::malformed("size", text, "too large"))
}

/// Tells whether a size names its unit. Zero and nothing need none.
pub fn has_unit(text: &str) -> bool {
    let (digits, suffix) = split(text.trim());
    !suffix.is_empty() || digits.bytes().all(|digit| digit == b'0')
}

/// Writes a size for people: `123 bytes`, `1.23 KiB`, `MiB`, `GiB`, `TiB`.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} bytes"),
        Some((unit, name)) => {
            let hundredths = (u128::from(bytes) * 100 + u128::from(*unit) / 2) / u128::from(*unit);
            format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
        }
    }
}

/// What to write instead of a number with a fraction.
fn fraction(text: &str) -> String {
    let rule = "only whole numbers are understood";
    let text = text.replace(',', ".");
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let suffix = text.get(number.len()..).unwrap_or_default().trim();
    let smaller = match unit(suffix, SizeUnit::Bytes) {
        Some(SizeUnit::Tib) => "gb",
        Some(SizeUnit::Gib) => "mb",
        Some(SizeUnit::Mib) => "kb",
        Some(SizeUnit::Kib) => "b",
        Some(SizeUnit::Bytes) | None => return rule.to_owned(),
    };
    match number.parse::<f64>() {
        Ok(number) if number < 1e9 => {
            format!("{rule}, write {}{smaller}", (number * 1024.0).round())
        }
        _ => rule.to_owned(),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    (digits, suffix.trim())
}

fn unit(suffix: &str, default_unit: SizeUnit) -> Option<SizeUnit> {
    match suffix.to_ascii_lowercase().as_str() {
        "" => Some(default_unit),
        "b" => Some(SizeUnit::Bytes),
        "kb" | "kib" => Some(SizeUnit::Kib),
        "mb" | "mib" => Some(SizeUnit::Mib),
        "gb" | "gib" => Some(SizeUnit::Gib),
        "tb" | "tib" => Some(SizeUnit::Tib),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_is_the_largest_number() {
        assert_eq!(
            parse_size("18446744073709551615b", SizeUnit::Mib),
            Ok(u64::MAX)
        );
        assert!(parse_size("18446744073709551616b", SizeUnit::Bytes).is_err());
        assert!(parse_size("16777216tb", SizeUnit::Bytes).is_err());
        assert!(parse_size("+5mb", SizeUnit::Bytes).is_err());
        assert!(parse_size("５mb", SizeUnit::Bytes).is_err());
    }

    #[test]
    fn fractions_get_a_hint() {
        for (text, hint) in [
            ("1.5gb", "only whole numbers are understood, write 1536mb"),
            ("0,5 MiB", "only whole numbers are understood, write 512kb"),
            ("1.5", "only whole numbers are understood"),
            ("1.5.5gb", "only whole numbers are understood"),
        ] {
            let error = parse_size(text, SizeUnit::Mib).unwrap_err().to_string();
            assert_eq!(error, format!("\"{text}\" is not a valid size: {hint}"));
        }
    }

    #[test]
    fn sizes_are_written_with_two_decimals() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.00 KiB"),
            (1260, "1.23 KiB"),
            (50 << 20, "50.00 MiB"),
            (3 << 30, "3.00 GiB"),
            (u64::MAX, "16777216.00 TiB"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
    }

    #[test]
    fn a_bare_number_has_no_unit() {
        assert!(!has_unit("50"));
        assert!(has_unit("50 mb") && has_unit("0") && has_unit(""));
    }
}
