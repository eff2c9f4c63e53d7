//! Making the local catalog as small as its content. Nothing remote is asked.

use larder_options::engine as opt;

use crate::Result;
use crate::phases::Ready;
use crate::report::VacuumReport;
use crate::run::Run;
use crate::sync::describe;

/// Catalog parameter: when it was made small last, in seconds since 1970.
const VACUUMED: &str = "vacuumed";

impl Run {
    /// Writes the local catalog anew without the room that it does not use.
    ///
    /// # Errors
    /// No room for a second copy, or a failure to write.
    pub fn vacuum(&self) -> Result<VacuumReport> {
        self.with_healing(|| {
            let shrunk = self.shrink()?;
            Ok(VacuumReport {
                database_path: Some(self.state_path().display().to_string()),
                size_before: shrunk.before,
                size_after: shrunk.after,
                dryrun: self.settings.dry_run,
                common: self.common("Vacuum", false),
            })
        })
    }

    fn shrink(&self) -> Result<larder_catalog::Shrunk> {
        let now = self.clock.seconds().to_string();
        self.catalog(|c| {
            let shrunk = c.vacuum()?;
            c.set_param(VACUUMED, &now)?;
            Ok(shrunk)
        })
    }
}

impl Ready<'_> {
    /// `--auto-vacuum`: makes the catalog small when the last time is as long ago as `--auto-vacuum-interval` says. Trouble with
    /// it must not hide what was stored.
    pub(crate) fn vacuum_if_due(&self) {
        let outcome = self.vacuum_is_due().and_then(|due| match due {
            true => self.shrink().map(drop),
            false => Ok(()),
        });
        if let Err(error) = outcome {
            let text = format!(
                "everything was stored, but the local catalog could not be made smaller: {}",
                describe(&error)
            );
            self.reporter.warn("VacuumFailed", text);
        }
    }

    fn vacuum_is_due(&self) -> Result<bool> {
        if !self.values.get(opt::AUTO_VACUUM)? || self.cancel.is_cancelled() {
            return Ok(false);
        }
        let interval = self.values.get(opt::AUTO_VACUUM_INTERVAL)?;
        let last = self.catalog(|c| c.param(VACUUMED))?;
        let last = last.and_then(|text| text.parse::<i64>().ok());
        let now = self.clock.seconds();
        // A clock that was set back makes it due.
        Ok(last.is_none_or(|last| last > now || now - last >= interval))
    }
}
