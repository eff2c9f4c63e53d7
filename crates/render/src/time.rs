//! Times as people read them.

use jiff::tz::TimeZone;

/// A time: ISO 8601 with its offset.
#[must_use]
pub fn time_text(time: &jiff::Zoned) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A version's time in seconds since 1970: ISO 8601 in a zone. At the end of the calendar, where the zone may have no such
/// day, UTC.
#[must_use]
pub fn local_time(seconds: i64, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time_text(&time.to_zoned(zone.clone())),
        Err(_) => {
            let since = jiff::SignedDuration::from_secs(seconds);
            let time = jiff::civil::date(1970, 1, 1)
                .at(0, 0, 0, 0)
                .saturating_add(since);
            format!("{} +00:00", time.strftime("%Y-%m-%d %H:%M:%S"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_up_to_the_end_of_the_calendar() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(local_time(0, &zone), "1970-01-01 02:00:00 +02:00");
        assert_eq!(
            local_time(253_402_300_799, &zone),
            "9999-12-31 23:59:59 +00:00"
        );
    }
}
