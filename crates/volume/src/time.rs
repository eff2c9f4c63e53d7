//! Times in volumes (whole seconds UTC) and in metadata (.NET ticks), without a clock (docs/format/names.md).

use std::fmt;

use crate::{Error, Result};

/// A time in whole seconds since 1970-01-01T00:00:00Z, written `20240101T000000Z`.
///
/// The text form covers the years 0001 to 9999.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub struct VolumeTime(
    /// Unix seconds.
    pub i64,
);

impl VolumeTime {
    /// The first second that has a text form.
    pub const MIN: VolumeTime = VolumeTime(-62_135_596_800);
    /// The last second that has a text form.
    pub const MAX: VolumeTime = VolumeTime(253_402_300_799);

    /// The nearest time that has a text form.
    #[must_use]
    pub fn clamped(self) -> Self {
        self.clamp(Self::MIN, Self::MAX)
    }

    /// Parses exactly `yyyyMMddTHHmmssZ`; always UTC.
    ///
    /// # Errors
    /// [`Error::Malformed`] for other text or a day or time that does not exist.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_text(text.as_bytes()).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::malformed(
                "time",
                format!("`{shown}` is not of the form 20240101T000000Z"),
            )
        })
    }

    /// As [`VolumeTime::parse`], for text not known to be UTF-8.
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        let text: &[u8; 16] = text.try_into().ok()?;
        let [
            y1,
            y2,
            y3,
            y4,
            mo1,
            mo2,
            d1,
            d2,
            b'T',
            h1,
            h2,
            mi1,
            mi2,
            s1,
            s2,
            b'Z',
        ] = *text
        else {
            return None;
        };
        let two = |a: u8, b: u8| Some(digit(a)? * 10 + digit(b)?);
        let year = two(y1, y2)? * 100 + two(y3, y4)?;
        let (month, day) = (two(mo1, mo2)?, two(d1, d2)?);
        let (hour, minute, second) = (two(h1, h2)?, two(mi1, mi2)?, two(s1, s2)?);
        let valid = year >= 1
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        valid.then(|| {
            Self(days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
        })
    }
}

impl fmt::Display for VolumeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        )
    }
}

/// Converts a Unix time to .NET ticks: units of 100 ns since 0001-01-01, rounded down. Saturates.
pub fn ticks_from_unix(secs: i64, nanos: u32) -> i64 {
    let ticks = i128::from(secs) * i128::from(TICKS_PER_SECOND)
        + i128::from(nanos / 100)
        + i128::from(TICKS_TO_1970);
    i64::try_from(ticks).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
}

/// Converts .NET ticks to Unix seconds and nanoseconds (a multiple of 100, below 10^9).
pub fn unix_from_ticks(ticks: i64) -> (i64, u32) {
    // The offset is a whole number of seconds, so that it can be taken off after the division without overflow.
    let secs = ticks.div_euclid(TICKS_PER_SECOND) - TICKS_TO_1970 / TICKS_PER_SECOND;
    let nanos = ticks.rem_euclid(TICKS_PER_SECOND) * 100;
    (secs, u32::try_from(nanos).unwrap_or(0))
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970
}

/// The reverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

const DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
const TICKS_PER_SECOND: i64 = 10_000_000;
/// Ticks of 1970-01-01T00:00:00Z (docs/format/metadata.md).
const TICKS_TO_1970: i64 = 621_355_968_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (secs, text) in [
            (0, "19700101T000000Z"),
            (1_704_067_200, "20240101T000000Z"),
            (951_827_696, "20000229T123456Z"),
            (-1, "19691231T235959Z"),
            (253_402_300_799, "99991231T235959Z"),
            (-62_135_596_800, "00010101T000000Z"),
        ] {
            assert_eq!(VolumeTime(secs).to_string(), text);
            assert_eq!(VolumeTime::parse(text).unwrap(), VolumeTime(secs));
        }
    }

    #[test]
    fn wrong_times_are_refused() {
        for text in [
            "",
            "20240101T000000",
            "20240101T000000z",
            "20240101 000000Z",
            "20230229T000000Z",
            "20241301T000000Z",
            "20240100T000000Z",
            "20240101T240000Z",
            "20240101T000060Z",
            "00000101T000000Z",
            "+0240101T000000Z",
            "２0240101T000000Z",
        ] {
            assert!(VolumeTime::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn known_ticks() {
        assert_eq!(ticks_from_unix(1_704_067_200, 0), 638_396_640_000_000_000);
        assert_eq!(ticks_from_unix(0, 199), TICKS_TO_1970 + 1);
        assert_eq!(ticks_from_unix(-1, 999_999_999), TICKS_TO_1970 - 1);
        assert_eq!(unix_from_ticks(0), (-62_135_596_800, 0));
        assert_eq!(unix_from_ticks(TICKS_TO_1970 - 1), (-1, 999_999_900));
    }

    proptest! {
        #[test]
        fn times_round_trip(secs in -62_135_596_800i64..=253_402_300_799) {
            prop_assert_eq!(VolumeTime::parse(&VolumeTime(secs).to_string()).unwrap(), VolumeTime(secs));
        }

        #[test]
        fn any_number_has_a_text(secs: i64, nanos: u32) {
            let _ = VolumeTime(secs).to_string();
            let _ = ticks_from_unix(secs, nanos);
        }

        #[test]
        fn ticks_round_trip(ticks: i64) {
            let (secs, nanos) = unix_from_ticks(ticks);
            prop_assert!(nanos < 1_000_000_000);
            prop_assert_eq!(ticks_from_unix(secs, nanos), ticks);
        }
    }
}
