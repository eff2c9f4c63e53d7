//! What must hold for any text.

use std::ffi::OsString;

use jiff::tz::TimeZone;
use larder_options::engine::TABLE;
use larder_options::value::{self, Direction};
use larder_options::{
    Origin, SizeUnit, Values, check, command_line, expand, parameters_file, suggest,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn parsers_never_panic(text in ".{0,40}|[-0-9smhDWMY:/TZ.+ ]{0,24}") {
        let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let _ = value::parse_size(&text, SizeUnit::Tib);
        let _ = value::parse_timespan(&text);
        let _ = value::parse_time(&text, &now, Direction::Forwards);
        let _ = value::parse_time(&text, &now, Direction::Backwards);
        let _ = value::parse_versions(&text);
        let _ = value::parse_decimal(&text);
        let _ = expand(&text, |_| None);
        let _ = suggest(&text, &[TABLE]);
        let _ = parameters_file::parse(&text);
        let _ = command_line::parse_filter_list(&text);
        let _ = command_line::parse([OsString::from(format!("--{text}"))]);
    }

    #[test]
    fn any_value_of_any_option_is_checked_without_panic(row in 0..TABLE.len(), text in proptest::option::of(".{0,12}")) {
        let mut values = Values::new();
        values.set(TABLE[row].name, text.as_deref(), Origin::Url);
        prop_assert!(check::check(&values, &[TABLE]).len() <= 1);
    }

    #[test]
    fn unknown_variables_leave_a_text_as_it_is(text in ".{0,40}") {
        prop_assert_eq!(expand(&text, |_| None), text);
    }

    #[test]
    fn sizes_survive_being_written_with_a_unit(size in 0u64..1 << 24, unit in 0usize..5) {
        let unit = [SizeUnit::Bytes, SizeUnit::Kib, SizeUnit::Mib, SizeUnit::Gib, SizeUnit::Tib][unit];
        let parsed = value::parse_size(&format!("{size}{}", unit.suffix()), SizeUnit::Kib);
        prop_assert_eq!(parsed.ok(), size.checked_mul(unit.bytes()));
    }

    #[test]
    fn an_interval_back_and_forth_in_days_returns(days in 0u32..100_000) {
        let now: jiff::Timestamp = "2024-03-31T10:20:30Z".parse().expect("time");
        let back = value::parse_time(&format!("-{days}D"), &now.to_zoned(TimeZone::UTC), Direction::Forwards).expect("in range");
        let there = value::parse_time(&format!("{days}D"), &back.to_zoned(TimeZone::UTC), Direction::Forwards);
        prop_assert_eq!(there.ok(), Some(now));
    }
}
