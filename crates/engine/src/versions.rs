//! Choosing versions by number or time.

use larder_destination::Clock;
use larder_options::{Values, engine as opt, value};
use larder_volume::VolumeTime;

use crate::context::Reporter;
use crate::phases::Settled;
use crate::sync::RemoteVolume;
use crate::words::counted;
use crate::{Error, Result};

/// One version with its number (0 = newest).
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) time: VolumeTime,
    pub(crate) volume: RemoteVolume,
}

/// Which versions are meant when neither `--version` nor `--time` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultVersions {
    /// The newest.
    Newest,
    /// All of them.
    All,
}

impl Settled<'_> {
    /// All versions, newest first.
    pub(crate) fn all_versions(&self) -> Result<Vec<Version>> {
        let versions: Vec<_> = self
            .view
            .lists()
            .into_iter()
            .enumerate()
            .map(|(number, (time, volume))| Version {
                number: number as u64,
                time,
                volume,
            })
            .collect();
        if !versions.is_empty() {
            return Ok(versions);
        }
        let mut message = format!(
            "there is no version of a backup in {}",
            self.remote.display()
        );
        if !self.view.foreign.is_empty() {
            let names: Vec<_> = self.view.foreign.keys().map(String::as_str).collect();
            message.push_str(&format!(
                "; it holds backups with the prefix {}",
                names.join(", ")
            ));
        }
        let help = match self.view.volumes.len() as u64 {
            0 => "check the URL and --prefix",
            others => {
                message.push_str(&format!(
                    ", only {} without a version list",
                    counted(others, "volume")
                ));
                self.to_get_a_version(&mut message)?
            }
        };
        Err(Error::data("EmptyRemoteLocation", message, help))
    }

    /// What helps where volumes are stored and no list.
    fn to_get_a_version(&self, message: &mut String) -> Result<&'static str> {
        if self.are_all_deleted()? {
            message.push_str(": all versions were deleted");
            return Ok(
                "run `larder compact` a day after they were stored, which removes what is left, or run a backup, which uses it",
            );
        }
        let knew = self.knew_versions()? || !self.unread_before()?.is_empty();
        if knew || !self.vanished_lists.is_empty() {
            return Ok(
                "bring the version lists back, or run a backup: it makes a whole version of what the sources have",
            );
        }
        if self.is_all_own()? {
            message.push_str(": no version was finished yet");
            return Ok("run `larder backup`: it goes on where it stopped");
        }
        Ok(
            "run a backup: it goes on where one was stopped, and makes a whole version of what the sources have; when there were versions, bring their lists back",
        )
    }

    /// The versions that `--version`, `--time` and `--all-versions` ask for, newest first.
    ///
    /// A time means the newest version that is not younger. When all are younger there is none: Duplicati takes the
    /// newest then, which is the opposite of what was asked for.
    pub(crate) fn chosen_versions(&self, default: DefaultVersions) -> Result<Vec<Version>> {
        let all = self.all_versions()?;
        if self.values.get(opt::ALL_VERSIONS)? {
            return Ok(all);
        }
        if self.values.is_set(opt::VERSION) {
            return self.numbered_versions();
        }
        if self.values.is_set(opt::TIME) {
            let text = self.values.find(opt::TIME)?.unwrap_or_default();
            return Ok(vec![self.version_at(
                &all,
                &text,
                value::Direction::Forwards,
            )?]);
        }
        Ok(match default {
            DefaultVersions::Newest => self.without_junk(all)?.into_iter().take(1).collect(),
            DefaultVersions::All => all,
        })
    }

    /// The versions that `--version` names, newest first.
    pub(crate) fn numbered_versions(&self) -> Result<Vec<Version>> {
        let all = self.all_versions()?;
        let text = self.values.find(opt::VERSION)?.unwrap_or_default();
        let ranges = value::parse_versions(&text)?;
        let mut chosen = Vec::new();
        for range in ranges {
            for number in range {
                match all.iter().find(|v| v.number == number) {
                    Some(version) => chosen.push(version.clone()),
                    None => self.reporter.warn(
                        "SkipInvalidVersion",
                        format!(
                            "there is no version {number}; the oldest is {}",
                            all.len() - 1
                        ),
                    ),
                }
                if number > all.len() as u64 {
                    break;
                }
            }
        }
        chosen.sort_by_key(|v| v.number);
        chosen.dedup_by_key(|v| v.number);
        if chosen.is_empty() {
            return Err(Error::user(
                "NoSuchVersion",
                format!("none of the versions {text} exists"),
                format!(
                    "the oldest version is {}; see `larder list-filesets`",
                    all.len() - 1
                ),
            ));
        }
        Ok(chosen)
    }

    /// The newest version not younger than a time given as text.
    pub(crate) fn version_at(
        &self,
        all: &[Version],
        text: &str,
        direction: value::Direction,
    ) -> Result<Version> {
        let limit = time_limit(text, direction, self.clock.as_ref(), &self.reporter)?;
        if let Some(version) = all.iter().find(|v| v.time.0 <= limit) {
            return Ok(version.clone());
        }
        let oldest = all
            .last()
            .ok_or_else(|| Error::Bug("an empty list of versions".into()))?;
        Err(Error::user(
            "NoVersionThatOld",
            format!(
                "no version is as old as {text}; the oldest is version {} of {}",
                oldest.number, oldest.time
            ),
            format!(
                "take it with --version={}, or see `larder list-filesets`",
                oldest.number
            ),
        ))
    }
}

/// The second that a time given as text means. One in the future is told.
///
/// # Errors
/// A text that is no time.
pub(crate) fn time_limit(
    text: &str,
    direction: value::Direction,
    clock: &dyn Clock,
    reporter: &Reporter,
) -> Result<i64> {
    let (seconds, _) = clock.now();
    let now = jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_zoned(clock.zone());
    let limit = value::parse_time(text, &now, direction)?.as_second();
    if limit > seconds {
        // A span was probably meant to count backwards; of a date there is nothing to say.
        let hint = if value::parse_timespan(text).is_ok() {
            format!("; write -{text} for the past")
        } else {
            String::new()
        };
        reporter.warn(
            "TimeInFuture",
            format!("the time {text} lies in the future, so the newest version is meant{hint}"),
        );
    }
    Ok(limit)
}

/// `--skip-files-larger-than` for restores.
pub(crate) fn size_limit(values: &Values) -> Result<Option<u64>> {
    Ok(values
        .find(opt::SKIP_FILES_LARGER_THAN)?
        .filter(|limit| *limit > 0))
}
