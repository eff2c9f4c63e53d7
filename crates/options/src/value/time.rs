//! Points in time.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Zoned};

use super::span;
use crate::error::{Error, Result};

/// Which way an interval without a sign counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the future: `2M` is in two months.
    Forwards,
    /// Into the past: `2M` is two months ago.
    Backwards,
}

/// Reads a point in time.
///
/// Accepted are: nothing or `now`; an interval such as `1M2D`, counted on the calendar from `now`, part by part; a
/// plain number of seconds, counted likewise; a date `2024-02-29`, `2024/02/29` or `02/29/2024` with or without a time
/// `12:30`, `12:30:45.5`, after a blank or a `T`, with `Z` or an offset, else in the zone of `now`; and the compact
/// `20240229T123045Z` (always UTC). A `-` before an interval or number means the past, whatever the direction.
///
/// # Errors
/// [`Error::Malformed`] for other texts, for days that do not exist and for times outside the years −9999 to 9999.
pub fn parse_time(text: &str, now: &Zoned, direction: Direction) -> Result<Timestamp> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.eq_ignore_ascii_case("now") {
        return Ok(now.timestamp());
    }
    let (interval, direction) = match trimmed.strip_prefix('-') {
        Some(rest) => (rest.trim_start(), Direction::Backwards),
        None => (trimmed, direction),
    };
    if interval.starts_with(|c: char| c.is_ascii_digit()) {
        if interval.bytes().all(|b| b.is_ascii_digit()) {
            return seconds_from(text, interval, now, direction);
        }
        let begins_like_a_date = interval
            .get(4..5)
            .is_some_and(|sign| matches!(sign, "-" | "/"));
        if interval.ends_with(['s', 'm', 'h', 'D', 'W', 'M', 'Y'])
            && !begins_like_a_date
            && !interval.contains([':', '/'])
        {
            return interval_from(text, interval, now, direction);
        }
    }
    parse_date(trimmed, now.time_zone()).ok_or_else(|| {
        Error::malformed(
            "time",
            text,
            "expected an interval like 1M, or a date like 2024-02-29 12:30:45",
        )
    })
}

fn out_of_range(text: &str) -> Error {
    Error::malformed("time", text, "out of range")
}

fn seconds_from(text: &str, digits: &str, now: &Zoned, direction: Direction) -> Result<Timestamp> {
    let seconds = digits.parse::<i64>().map_err(|_| out_of_range(text))?;
    let target = match direction {
        Direction::Forwards => now.timestamp().as_second().checked_add(seconds),
        Direction::Backwards => now.timestamp().as_second().checked_sub(seconds),
    };
    target
        .and_then(|second| Timestamp::new(second, now.timestamp().subsec_nanosecond()).ok())
        .ok_or_else(|| out_of_range(text))
}

fn interval_from(
    text: &str,
    interval: &str,
    now: &Zoned,
    direction: Direction,
) -> Result<Timestamp> {
    let mut time = now.clone();
    for (number, unit) in span::parts("time", interval)? {
        if number < 0 {
            return Err(Error::malformed(
                "time",
                text,
                "only the whole interval may have a sign",
            ));
        }
        let span = match unit {
            's' => Span::new().try_seconds(number),
            'm' => Span::new().try_minutes(number),
            'h' => Span::new().try_hours(number),
            'D' => Span::new().try_days(number),
            'W' => Span::new().try_weeks(number),
            'M' => Span::new().try_months(number),
            _ => Span::new().try_years(number),
        };
        let moved = span.and_then(|span| match direction {
            Direction::Forwards => time.checked_add(span),
            Direction::Backwards => time.checked_sub(span),
        });
        time = moved.map_err(|_| out_of_range(text))?;
    }
    Ok(time.timestamp())
}

/// Reads a calendar date with an optional time and offset.
fn parse_date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(compact) = parse_compact(text) {
        return compact
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|time| time.timestamp());
    }
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.trim()),
        None => (text, ""),
    };
    let date = parse_day(date)?;
    let (time, zone) = if rest.is_empty() {
        (Time::midnight(), zone.clone())
    } else {
        parse_clock(rest, zone)?
    };
    date.to_datetime(time)
        .to_zoned(zone)
        .ok()
        .map(|time| time.timestamp())
}

/// `20240229T123045Z`.
fn parse_compact(text: &str) -> Option<DateTime> {
    let digits = |from: usize, to: usize| {
        text.get(from..to)
            .filter(|part| part.bytes().all(|b| b.is_ascii_digit()))?
            .parse::<i16>()
            .ok()
    };
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let small = |from| digits(from, from + 2).and_then(|number| i8::try_from(number).ok());
    DateTime::new(
        digits(0, 4)?,
        small(4)?,
        small(6)?,
        small(9)?,
        small(11)?,
        small(13)?,
        0,
    )
    .ok()
}

/// `2024-02-29`, `2024/02/29` or `02/29/2024`.
fn parse_day(text: &str) -> Option<Date> {
    let separator = if text.contains('-') { '-' } else { '/' };
    let mut parts = text.split(separator);
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = match (a.len(), c.len()) {
        (4, 1..=2) => (a, b, c),
        (1..=2, 4) if separator == '/' => (c, a, b),
        _ => return None,
    };
    Date::new(
        number(year)?,
        i8::try_from(number(month)?).ok()?,
        i8::try_from(number(day)?).ok()?,
    )
    .ok()
}

/// `12:30`, `12:30:45`, `12:30:45.123`, with `Z`, `+02:00`, `+0200` or `+02` behind.
fn parse_clock(text: &str, zone: &TimeZone) -> Option<(Time, TimeZone)> {
    let (clock, zone) = match text.find(['Z', 'z', '+', '-']) {
        None => (text, zone.clone()),
        Some(at) => (text.get(..at)?.trim_end(), parse_offset(text.get(at..)?)?),
    };
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    if parts.next().is_some() {
        return None;
    }
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i32>().ok()?;
    let small = |text: &str| number(text).and_then(|number| i8::try_from(number).ok());
    Time::new(small(hour)?, small(minute)?, small(second)?, nanos)
        .ok()
        .map(|time| (time, zone))
}

fn parse_offset(text: &str) -> Option<TimeZone> {
    if text.eq_ignore_ascii_case("z") {
        return Some(TimeZone::UTC);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.get(1..)?.split(':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "0"),
        4 => (digits.get(..2)?, digits.get(2..)?),
        _ => return None,
    };
    let (hours, minutes) = (i32::from(number(hours)?), i32::from(number(minutes)?));
    if minutes >= 60 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3_600 + minutes * 60))
        .ok()
        .map(TimeZone::fixed)
}

/// Up to four digits, nothing else.
fn number(text: &str) -> Option<i16> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, direction: Direction) -> Result<String> {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::fixed(Offset::constant(2)));
        let now = "2024-07-01T10:00:00Z"
            .parse::<Timestamp>()
            .expect("valid")
            .to_zoned(zone);
        parse_time(text, &now, direction).map(|time| time.to_string())
    }

    #[test]
    fn a_wrong_date_is_not_taken_for_a_span() {
        let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        for text in ["2026-12-01T10h", "2026-12-01TM", "2026/12/01 10h"] {
            let error = parse_time(text, &now, Direction::Backwards).unwrap_err();
            assert!(error.to_string().contains("or a date like"), "{error}");
        }
    }

    #[test]
    fn a_minus_means_the_past_in_both_directions() {
        for direction in [Direction::Forwards, Direction::Backwards] {
            assert_eq!(at("-1D", direction).as_deref(), Ok("2024-06-30T10:00:00Z"));
            assert_eq!(
                at("-1D12h", direction).as_deref(),
                Ok("2024-06-29T22:00:00Z")
            );
            assert_eq!(
                at("-3600", direction).as_deref(),
                Ok("2024-07-01T09:00:00Z")
            );
            assert!(at("1D-1s", direction).is_err());
        }
    }

    #[test]
    fn dates_without_a_zone_are_local() {
        let forwards = Direction::Forwards;
        assert_eq!(
            at("2024-07-01", forwards).as_deref(),
            Ok("2024-06-30T22:00:00Z")
        );
        assert_eq!(
            at("2024-07-01 12:30:45.5", forwards).as_deref(),
            Ok("2024-07-01T10:30:45.5Z")
        );
        assert_eq!(
            at("2024-07-01T12:30-0330", forwards).as_deref(),
            Ok("2024-07-01T16:00:00Z")
        );
        assert_eq!(at("Now", forwards).as_deref(), Ok("2024-07-01T10:00:00Z"));
    }

    #[test]
    fn nonsense_and_far_times_are_errors() {
        for text in [
            "99999999999999999999",
            "99999Y",
            "24:00",
            "2024-07-01T25:00",
            "2024-07-01T10:00+99:00",
            "1Y2",
            "-",
            "--1D",
            "é",
        ] {
            assert!(at(text, Direction::Backwards).is_err(), "{text}");
        }
    }
}
