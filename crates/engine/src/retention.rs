//! Which versions may go: by their times alone, without looking at anything stored (format spec 9.3).
//!
//! Unattended deletion must be what a user of Duplicati set up, so the rules are Duplicati's to the second; the tests
//! replay what a real one deleted.

use std::collections::BTreeSet;

use jiff::Zoned;
use larder_options::value::{Direction, RetentionRule, parse_retention, parse_time};
use larder_options::{Values, engine as opt};

use crate::{Error, Result};

/// A version as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Seconds since 1970.
    pub(crate) time: i64,
    /// It holds all of its sources; one of a run that was stopped does not.
    pub(crate) is_full: bool,
}

/// The rule by which old versions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// So many complete versions stay (`--keep-versions`).
    Newest(u64),
    /// What is not older than this stays, in seconds since 1970 (`--keep-time`).
    Since(i64),
    /// Versions are thinned out with age, the shortest frame first (`--retention-policy`).
    Thinned(Vec<RetentionRule>),
}

/// Most seconds that a version may be too old for `--keep-time` and stay.
const MOST_TOLERANCE: i64 = 3600;

impl Rule {
    /// The rule that the options ask for.
    ///
    /// # Errors
    /// More than one rule is given, or one that cannot be read.
    pub(crate) fn of(values: &Values, now: &Zoned) -> Result<Option<Self>> {
        let count = values.find(opt::KEEP_VERSIONS)?.filter(|count| *count > 0);
        let age = values.raw(opt::KEEP_TIME.decl.name).map(str::trim);
        let age = age.filter(|age| !age.is_empty());
        let frames = values.find(opt::RETENTION_POLICY)?;
        let frames = frames.filter(|frames| !frames.trim().is_empty());
        let given = [count.is_some(), age.is_some(), frames.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(Error::user(
                "MultipleRetentionOptionsNotSupported",
                "more than one of --keep-versions, --keep-time and --retention-policy is given",
                "leave all of them out but one",
            ));
        }
        if let Some(count) = count {
            return Ok(Some(Self::Newest(u64::try_from(count).unwrap_or(0))));
        }
        if let Some(age) = age {
            let limit = parse_time(age, now, Direction::Backwards)?.as_second();
            if age.starts_with('-') || limit >= now.timestamp().as_second() {
                return Err(Error::user(
                    "OptionValidationError",
                    format!("--keep-time={age} would keep nothing"),
                    "give a span such as 3M, or leave the option out to keep all",
                ));
            }
            let tolerance = match values.get(opt::DISABLE_TIME_TOLERANCE)? {
                true => 0,
                false => ((now.timestamp().as_second() - limit) / 100).clamp(0, MOST_TOLERANCE),
            };
            return Ok(Some(Self::Since(limit - tolerance)));
        }
        let frames = frames.map(|frames| parse_retention(&frames)).transpose()?;
        // A policy without a rule lets nothing go.
        let frames = frames.filter(|frames| !frames.is_empty());
        Ok(frames.map(Self::Thinned))
    }

    /// The places of the versions that go; `versions` come newest first, `now` is in seconds since 1970.
    fn lets_go(&self, versions: &[Candidate], now: i64, full_removal: bool) -> BTreeSet<usize> {
        match self {
            Self::Newest(count) => beyond_count(versions, *count),
            Self::Since(limit) => beyond_age(versions, *limit),
            Self::Thinned(frames) => thinned(versions, frames, now, full_removal),
        }
    }
}

/// The places of the versions that go: those that were chosen, and those that the rule lets go. Unless all may go
/// (`full_removal`), the newest of them stays when nothing else would. The versions come newest first.
pub(crate) fn let_go(
    versions: &[Candidate],
    rule: Option<&Rule>,
    chosen: impl IntoIterator<Item = usize>,
    now: i64,
    full_removal: bool,
) -> BTreeSet<usize> {
    let mut going = rule.map_or_else(BTreeSet::new, |rule| {
        rule.lets_go(versions, now, full_removal)
    });
    going.extend(chosen.into_iter().filter(|place| *place < versions.len()));
    if !full_removal && going.len() == versions.len() {
        going.pop_first();
    }
    going
}

/// Everything older than the `count`-th complete version, and partial versions between those that stay. Partial ones
/// that are newer than all complete ones stay.
fn beyond_count(versions: &[Candidate], count: u64) -> BTreeSet<usize> {
    let mut going = BTreeSet::new();
    let (mut kept, mut between) = (0, Vec::new());
    for (place, version) in versions.iter().enumerate() {
        match version.is_full {
            _ if kept == count => {
                going.insert(place);
            }
            true => {
                kept += 1;
                going.extend(between.drain(..));
            }
            false if kept > 0 => between.push(place),
            false => {}
        }
    }
    going
}

/// Everything older than the limit, but not the newest complete version nor what is newer than that.
fn beyond_age(versions: &[Candidate], limit: i64) -> BTreeSet<usize> {
    let newest_full = versions.iter().position(|version| version.is_full);
    let is_needed = |place: usize| newest_full.is_none_or(|newest| place <= newest);
    let places = versions.iter().enumerate();
    places
        .filter(|(place, version)| version.time < limit && !is_needed(*place))
        .map(|(place, _)| place)
        .collect()
}

/// What the frames do not keep. The newest version is in none of them.
fn thinned(
    versions: &[Candidate],
    frames: &[RetentionRule],
    now: i64,
    full_removal: bool,
) -> BTreeSet<usize> {
    let mut going: BTreeSet<usize> = (0..versions.len()).collect();
    let since = |frame: Option<i64>| frame.map_or(i64::MIN, |frame| now.saturating_sub(frame));
    // The places that no shorter frame took begin here.
    let mut next = 1;
    for frame in frames {
        let limit = since(frame.frame);
        let end = versions.partition_point(|version| version.time >= limit);
        let mut last_full: Option<i64> = None;
        for place in (next..end.max(next)).rev() {
            let Some(version) = versions.get(place) else {
                continue;
            };
            let is_far = last_full.is_none_or(|last| version.time - last >= frame.interval);
            if is_far || frame.interval == 0 || !version.is_full {
                going.remove(&place);
                if version.is_full {
                    last_full = Some(version.time);
                }
            }
        }
        next = next.max(end);
    }
    let newest_is_in_one = frames.iter().any(|frame| {
        let newest = versions.first();
        newest.is_some_and(|newest| newest.time >= since(frame.frame))
    });
    if newest_is_in_one || !full_removal {
        going.remove(&0);
    }
    going
}

#[cfg(test)]
mod tests {
    use larder_options::Origin;
    use larder_options::value::parse_versions;
    use larder_volume::VolumeTime;
    use serde_json::Value;

    use super::*;

    const DAY: i64 = 86_400;
    const HOUR: i64 = 3600;

    fn full(times: impl IntoIterator<Item = i64>) -> Vec<Candidate> {
        let mut versions: Vec<Candidate> = times
            .into_iter()
            .map(|time| Candidate {
                time,
                is_full: true,
            })
            .collect();
        versions.sort_by_key(|version| -version.time);
        versions
    }

    fn kept(versions: &[Candidate], rule: &Rule, now: i64) -> Vec<i64> {
        let going = let_go(versions, Some(rule), [], now, false);
        let places = versions.iter().enumerate();
        let stay = places.filter(|(place, _)| !going.contains(place));
        let mut times: Vec<i64> = stay.map(|(_, version)| version.time).collect();
        times.sort_unstable();
        times
    }

    /// What a real Duplicati deleted, for 84 sets of versions and options.
    #[test]
    fn the_same_versions_go_as_in_duplicati() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/vectors/retention-vectors.json"
        );
        let cases: Vec<Value> =
            serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON");
        assert_eq!(cases.len(), 84);
        let seconds = |text: &str| VolumeTime::parse(text).expect("a time").0;
        for case in cases {
            let mut versions: Vec<(String, Candidate)> = Vec::new();
            for version in case["versions"].as_array().expect("versions") {
                let time = version[0].as_str().expect("a time").to_owned();
                let candidate = Candidate {
                    time: seconds(&time),
                    is_full: version[1].as_bool().expect("full or not"),
                };
                versions.push((time, candidate));
            }
            versions.reverse();
            let mut values = Values::new();
            for option in case["options"].as_array().expect("options") {
                let option = option.as_str().expect("an option");
                let (name, value) = option.split_once('=').expect("a value");
                let name = name.trim_start_matches('-');
                values.set(name, Some(value), Origin::CommandLine);
            }
            let now: jiff::Timestamp = case["now"].as_str().expect("now").parse().expect("a time");
            let now = now.to_zoned(jiff::tz::TimeZone::UTC);
            let rule = match Rule::of(&values, &now) {
                Ok(rule) => rule,
                Err(error) => {
                    assert_eq!(error.id(), case["error"].as_str(), "{}", case["options"]);
                    continue;
                }
            };
            assert!(case["error"].is_null(), "{}", case["options"]);
            let chosen = values.find(opt::VERSION).expect("versions");
            let chosen = chosen.map_or_else(Vec::new, |text| parse_versions(&text).expect("some"));
            let chosen = chosen.into_iter().flatten().map(|place| place as usize);
            let candidates: Vec<Candidate> = versions.iter().map(|(_, version)| *version).collect();
            let full_removal = values.get(opt::ALLOW_FULL_REMOVAL).expect("a choice");
            let now = now.timestamp().as_second();
            let going = let_go(&candidates, rule.as_ref(), chosen, now, full_removal);
            let mut going: Vec<&str> = going
                .iter()
                .map(|place| versions[*place].0.as_str())
                .collect();
            going.sort_unstable();
            let expected: Vec<&str> = case["deleted"]
                .as_array()
                .expect("deleted")
                .iter()
                .map(|time| time.as_str().expect("a time"))
                .collect();
            assert_eq!(going, expected, "{}", case["options"]);
        }
    }

    #[test]
    fn partial_versions_between_those_that_stay_go() {
        // P9 F8 P7 F6 P5 F4 F3 of the format spec.
        let version = |(time, is_full)| Candidate { time, is_full };
        let versions = [
            (9, false),
            (8, true),
            (7, false),
            (6, true),
            (5, false),
            (4, true),
            (3, true),
        ]
        .map(version);
        assert_eq!(kept(&versions, &Rule::Newest(2), 10), [6, 8, 9]);
    }

    #[test]
    fn a_day_with_a_version_every_eight_hours() {
        let versions = full([0, 4, 8, 12, 16].map(|hour| hour * HOUR));
        let rule = Rule::Thinned(parse_retention("1D:8h").expect("a policy"));
        let hours = [0, 8, 16].map(|hour| hour * HOUR);
        assert_eq!(kept(&versions, &rule, 18 * HOUR), hours);
    }

    #[test]
    fn a_policy_of_three_frames() {
        // Day 1 is 22 December, day 41 is 31 January.
        let at = |day: i64, hour: i64| day * DAY + hour * HOUR;
        let mut times: Vec<i64> = (1..=41).map(|day| at(day, 11)).collect();
        times.extend([at(41, 9), at(41, 10), at(41, 12)]);
        let rule = Rule::Thinned(parse_retention("7D:1D,4W:1W,365D:30D").expect("a policy"));
        let mut expected = vec![at(1, 11), at(14, 11), at(21, 11), at(28, 11)];
        expected.extend((35..=41).map(|day| at(day, 11)));
        expected.push(at(41, 12));
        assert_eq!(kept(&full(times), &rule, at(41, 12)), expected);
    }

    #[test]
    fn one_version_stays_unless_all_may_go() {
        let versions = full([1, 2, 3]);
        assert_eq!(
            let_go(&versions, None, [0, 1, 2, 7], 9, false),
            [1, 2].into()
        );
        assert_eq!(
            let_go(&versions, None, [0, 1, 2], 9, true),
            [0, 1, 2].into()
        );
        let rule = Rule::Thinned(parse_retention("1s:0s").expect("a policy"));
        assert_eq!(let_go(&versions, Some(&rule), [], 9, false), [1, 2].into());
        assert_eq!(
            let_go(&versions, Some(&rule), [], 9, true),
            [0, 1, 2].into()
        );
        assert_eq!(let_go(&[], Some(&rule), [], 9, false), BTreeSet::new());
    }
}
