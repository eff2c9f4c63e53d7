//! Room in the destination: what is granted, what is left, and a word in time. Never stops a backup.

use larder_destination::Capacity;
use larder_options::value::format_size;

use crate::report::BackendStatistics;
use crate::run::Run;

/// What is known about the room after a backup; −1 where unknown (commands spec 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    total: i64,
    free: i64,
    assigned: i64,
}

/// What there is to say about the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Enough,
    Near,
    Exceeded,
}

impl Room {
    /// Enters the figures into a report.
    pub(crate) fn note(self, statistics: &mut BackendStatistics) {
        statistics.total_quota_space = self.total;
        statistics.free_quota_space = self.free;
        statistics.assigned_quota_space = self.assigned;
    }
}

impl Run {
    /// Asks the destination for its space and tells when it becomes scarce. A run that was stopped asks nothing.
    pub(crate) fn space_after_backup(&self, interrupted: bool) -> Room {
        let settings = &self.settings;
        let space = if settings.quota_disabled || interrupted {
            None
        } else {
            self.remote.space()
        };
        let signed = |v: Option<u64>| v.and_then(|v| i64::try_from(v).ok()).unwrap_or(-1);
        let room = Room {
            total: signed(space.and_then(|s| s.total)),
            free: signed(space.and_then(|s| s.free)),
            assigned: signed(settings.quota),
        };
        if interrupted || settings.dry_run {
            return room;
        }
        let used = self.catalog(|c| c.volumes()).map_or(0, |volumes| {
            volumes
                .iter()
                .filter_map(|v| v.size)
                .fold(0, u64::saturating_add)
        });
        let (verdict, left) = judge(used, settings.quota, space, settings.quota_warning_percent);
        // Whose limit it is: the one that leaves less.
        let own_limit = settings.quota.is_some_and(|granted| {
            let free = space.and_then(|space| space.free);
            free.is_none_or(|free| granted.saturating_sub(used) < free)
        });
        let figures = format!(
            "{} of this backup, {} left",
            format_size(used),
            format_size(left)
        );
        match verdict {
            Verdict::Enough => {}
            Verdict::Near => self.reporter.warn(
                "BackendQuotaNear",
                match own_limit {
                    true => format!("the limit of --quota-size is nearly reached: {figures}"),
                    false => format!("the destination is nearly full: {figures}"),
                },
            ),
            Verdict::Exceeded => self.reporter.error(
                "BackendQuotaExceeded",
                match own_limit {
                    true => format!("the limit of --quota-size is reached: {figures}"),
                    false => format!("the destination is full: {figures}"),
                },
            ),
        }
        room
    }
}

/// Compares what is used with what is granted and what is free; also gives the bytes that are left.
fn judge(used: u64, granted: Option<u64>, space: Option<Capacity>, percent: u64) -> (Verdict, u64) {
    let own = granted.map(|granted| granted.saturating_sub(used));
    let Some(left) = own.into_iter().chain(space.and_then(|s| s.free)).min() else {
        return (Verdict::Enough, 0);
    };
    if granted.is_some_and(|granted| used > granted) || left == 0 {
        return (Verdict::Exceeded, left);
    }
    let wanted = u128::from(used) * u128::from(percent) / 100;
    if u128::from(left) < wanted {
        return (Verdict::Near, left);
    }
    (Verdict::Enough, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_grant_and_free_space_counts() {
        use Verdict::{Enough, Exceeded, Near};
        let disk = |free| {
            Some(Capacity {
                total: Some(1000),
                free: Some(free),
            })
        };
        for (used, granted, space, expected) in [
            (100, None, None, (Enough, 0)),
            (100, None, disk(10), (Enough, 10)),
            (100, None, disk(9), (Near, 9)),
            (100, None, disk(0), (Exceeded, 0)),
            (100, Some(200), disk(500), (Enough, 100)),
            (100, Some(105), disk(500), (Near, 5)),
            (100, Some(105), disk(2), (Near, 2)),
            (100, Some(99), disk(500), (Exceeded, 0)),
            (0, Some(0), None, (Exceeded, 0)),
        ] {
            assert_eq!(
                judge(used, granted, space, 10),
                expected,
                "{used} {granted:?} {space:?}"
            );
        }
    }
}
