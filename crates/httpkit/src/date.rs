//! Dates: in HTTP headers (RFC 9110, section 5.6.7) and in documents (RFC 3339).

use std::time::{Duration, UNIX_EPOCH};

/// Seconds since 1970 UTC of a date in a header, in the form senders must use or one of the two obsolete ones.
///
/// Dates before 1970 give `None`.
#[must_use]
pub fn http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Writes a time in seconds since 1970 UTC, e.g. `Sun, 06 Nov 1994 08:49:37 GMT`; times that no header can hold become
/// the nearest that it can.
#[must_use]
pub fn format_http_date(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST_SECOND);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Seconds since 1970 UTC of a time as in RFC 3339, e.g. `2026-01-31T12:00:00.5Z`.
#[must_use]
pub fn rfc3339(text: &str) -> Option<i64> {
    timestamp(text).map(jiff::Timestamp::as_second)
}

/// Writes a time in seconds since 1970 UTC as in RFC 3339, e.g. `2026-01-31T12:00:00Z`; times far beyond the years that it
/// can write become the nearest of them.
#[must_use]
pub fn format_rfc3339(seconds: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
    let nearest = seconds.clamp(first.as_second(), last.as_second());
    let time = jiff::Timestamp::from_second(nearest).unwrap_or(last);
    time.to_string()
}

/// As [`rfc3339`], in milliseconds.
#[must_use]
pub fn rfc3339_milliseconds(text: &str) -> Option<i64> {
    timestamp(text).map(jiff::Timestamp::as_millisecond)
}

fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    text.trim().parse().ok()
}

/// The end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(format_rfc3339(1_769_860_800), "2026-01-31T12:00:00Z");
        for seconds in [0, 1, 1_769_860_801, -1] {
            assert_eq!(rfc3339(&format_rfc3339(seconds)), Some(seconds));
        }
        let last = format_rfc3339(i64::MAX);
        assert_eq!(last, "9999-12-30T22:00:00Z");
    }

    #[test]
    fn reads_what_servers_send() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            http_date("Sunday, 06-Nov-94 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in [
            "",
            "17",
            "soon",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 25:49:37 GMT",
        ] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for seconds in [0, 784_111_777, 253_402_300_799] {
            assert_eq!(http_date(&format_http_date(seconds)), Some(seconds));
        }
        assert_eq!(format_http_date(-1), format_http_date(0));
        assert_eq!(format_http_date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
