//! `repair`: the catalog is brought up to date and missing index files are written again.

use larder_volume::VolumeKind;

use crate::Result;
use crate::report::RepairReport;
use crate::run::Run;
use crate::sync::{Mode, Need};

impl Run {
    /// Rebuilds or updates the local catalog and writes missing dindex files; removes nothing of other origin.
    ///
    /// # Errors
    /// When the destination cannot be read or holds no backup.
    pub fn repair(&self) -> Result<RepairReport> {
        let rebuilt = self.catalog(|c| c.volumes())?.is_empty();
        let mut first = true;
        self.with_healing(|| {
            let rebuilt = rebuilt || !std::mem::replace(&mut first, false);
            let ready = self.ready(Mode::Writing, Need::BlocksAndEntries)?;
            let versions_given_up = match self.settings.dry_run {
                true => 0,
                false => ready.accept_lost_lists()?,
            };
            ready.all_versions()?;
            let indexes_written = if self.settings.dry_run {
                0
            } else {
                ready.complete_indexes()?
            };
            let volumes = self.catalog(|c| c.volumes())?;
            Ok(RepairReport {
                rebuilt,
                volumes: volumes
                    .iter()
                    .filter(|v| v.kind != VolumeKind::List)
                    .count() as u64
                    + ready.view.lists().len() as u64,
                blocks: self.catalog(|c| c.block_count())?,
                versions: ready.view.lists().len() as u64,
                indexes_written,
                versions_given_up,
                common: self.common("Repair", false),
            })
        })
    }
}
