//! The time of a new version, which is its place among the others.

use std::time::Duration;

use larder_volume::VolumeTime;

use crate::phases::Ready;
use crate::{Error, Result};

/// A clock that is behind the newest version by so much is passed over: the versions stay in order, and their times
/// are wrong by no more.
const CLOCK_TOLERANCE_SECONDS: i64 = 300;
/// So far ahead may the newest version be for its second to be waited out, so that no version is dated in the future.
const WAITED_SECONDS: i64 = 2;

impl Ready<'_> {
    /// The new version's time: now, but later than every version that exists.
    ///
    /// A list that cannot be read, or is older than its name says, is no version: a file named for the year 9999 must
    /// not stop all backups.
    pub(super) fn version_time(&self) -> Result<VolumeTime> {
        let now = self.clock.seconds();
        for (time, volume) in self.view.lists() {
            if time.0 < now {
                break;
            }
            if !self.is_version(&volume)? {
                continue;
            }
            let ahead = time.0.saturating_sub(now);
            if ahead <= WAITED_SECONDS {
                return self.wait_until_after(time);
            }
            if ahead <= CLOCK_TOLERANCE_SECONDS {
                return Ok(VolumeTime(time.0 + 1));
            }
            let name = volume.name.as_str();
            return Err(Error::user(
                "ClockSetBack",
                format!(
                    "the newest version {name} lies {ahead} seconds in the future: this machine's clock is wrong, or was when that version was made"
                ),
                format!(
                    "set the clock; if it is right, the next version has to wait until then, or {name} has to go: `larder delete … --version=0`"
                ),
            ));
        }
        Ok(VolumeTime(now))
    }

    /// The first second after `time`.
    fn wait_until_after(&self, time: VolumeTime) -> Result<VolumeTime> {
        loop {
            self.cancel.check()?;
            let now = self.clock.seconds();
            if now > time.0 {
                return Ok(VolumeTime(now));
            }
            self.clock.pause(Duration::from_millis(20));
        }
    }
}
