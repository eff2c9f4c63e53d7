//! Making a new version: the order of work that leaves a restorable backup whenever the run ends.
//!
//! Walk → compare with the previous version → read, hash, pack → volumes → upload (data, then index) → version list
//! last. The walk, the workers and the uploads are threads joined by bounded queues; nothing grows with the number
//! of files but the list itself, which is written as it comes.

mod checkpoints;
mod closing;
mod counters;
mod cut;
mod future;
mod gather;
mod guard;
mod guarding;
mod handing;
mod pool;
mod previous;
mod reader;
mod source_notes;
mod store;
mod time;
mod walking;

use std::sync::atomic::Ordering;

use larder_catalog::{EntryWriter, FilesetRow, VolumeRow};
use larder_options::engine as opt;
use larder_source::{OwnDatabases, Root, WalkOptions};
use larder_volume::{
    BlockVolume, Compression, EncryptionKind, PackMethod, VolumeKind, VolumeName, VolumeTime,
};

use self::checkpoints::{Sent, Times};
use self::closing::ListSent;
use self::counters::Counters;
use self::guarding::{Asked, no_sources};
use crate::context::{Level, Phase};
use crate::error::Reach;
use crate::notes::{LIST_WRITER, Presence, SOURCES_READ, VOLUME_SIZE, ZIP_METHOD};
use crate::phases::Ready;
use crate::report::BackupReport;
use crate::run::Run;
use crate::settings::IndexPolicy;
use crate::settle::is_stored;
use crate::sync::{Mode, Need, RemoteVolume, describe};
use crate::volumes::StoredVolume;
use crate::words::counted;
use crate::{Error, Result};

/// What to back up.
#[derive(Debug)]
pub struct BackupRequest {
    /// Source folders and files, absolute, sorted, none inside another (see `larder_source::prepare_sources`).
    pub sources: Vec<std::path::PathBuf>,
    /// The other sources that the user named, absolute: missing ones, and those that lie in another one. What the previous
    /// version has of a missing or emptied one is kept.
    pub no_roots: Vec<std::path::PathBuf>,
    /// Filters, limits and policies of the walk.
    pub options: WalkOptions,
}

impl Run {
    /// Makes a new version.
    ///
    /// # Errors
    /// When the destination cannot be used, no version could be written, or the user stopped the run before anything
    /// was stored. Files that cannot be read are warnings in the report.
    pub fn backup(&self, request: &BackupRequest) -> Result<BackupReport> {
        let roots_of = |paths: &[std::path::PathBuf]| -> Vec<Root> {
            paths.iter().cloned().map(Root::from).collect()
        };
        self.backup_asked(Asked {
            roots: &roots_of(&request.sources),
            no_roots: &roots_of(&request.no_roots),
            options: &request.options,
        })
    }

    /// Makes a new version of roots that are stored under other names than they are read from, as in a snapshot.
    ///
    /// # Errors
    /// As [`Run::backup`].
    pub fn backup_roots(&self, roots: &[Root], options: &WalkOptions) -> Result<BackupReport> {
        self.backup_asked(Asked {
            roots,
            no_roots: &[],
            options,
        })
    }

    fn backup_asked(&self, asked: Asked<'_>) -> Result<BackupReport> {
        // Whichever run of whichever backup made it: a catalog is a cache, and would change at every run.
        let options = WalkOptions {
            own_databases: Some(OwnDatabases {
                companions: larder_catalog::COMPANIONS,
                rest: larder_catalog::is_companion,
                is_head: larder_catalog::is_catalog,
            }),
            ..asked.options.clone()
        };
        let asked = Asked {
            options: &options,
            ..asked
        };
        self.with_healing(|| {
            self.check_request(&asked)?;
            self.retention_rule()?;
            self.ready(Mode::Writing, Need::BlocksAndEntries)?
                .backup(&asked)
        })
    }

    /// What is wrong before anything is looked at.
    fn check_request(&self, asked: &Asked<'_>) -> Result<()> {
        // Of what is missing something may be known.
        let knows_any = || Ok::<_, Error>(self.catalog(|c| c.volumes())?.iter().any(is_stored));
        if asked.roots.is_empty() && (asked.no_roots.is_empty() || !knows_any()?) {
            return Err(no_sources());
        }
        if self.crypt.kind().is_some() && self.crypt.passphrase.is_none() {
            return Err(Error::user(
                "PassphraseMissing",
                "an encrypted backup needs a passphrase",
                "give --passphrase=… or set the environment variable PASSPHRASE (or say --no-encryption for a plain backup)",
            ));
        }
        Ok(())
    }
}

impl Ready<'_> {
    fn backup(mut self, asked: &Asked<'_>) -> Result<BackupReport> {
        self.check_encryption_kept()?;
        self.report_vanished()?;
        let mut guard = self.guard(asked)?;
        let time = self.version_time()?;
        if !self.settings.dry_run {
            self.tell_first_write()?;
            self.complete_indexes()?;
        }
        let mut counters = Counters::default();
        self.reporter.phase(Phase::Backup);
        let mut partial = Sent::default();
        let counting = (&mut counters, &mut guard);
        let gathered = match self.gather_guarded(asked, time, counting, &mut partial) {
            Err(Error::Cancelled) => {
                return Ok(self.stopped(&counters, ListSent::No, &partial));
            }
            other => other?,
        };
        self.report_stored_again(&counters);
        if !gathered.list.is_full {
            if let Some(entries) = gathered.entries {
                entries.finish_unchanged()?;
            }
            return Ok(guard.noted(self.ended_early(&counters, &partial)));
        }
        let write = !self.settings.dry_run && (counters.any_change() || self.must_write(time)?);
        let mut stored = gathered.stored;
        let mut version = None;
        if write {
            self.reporter.phase(Phase::Uploading);
            // A run that was stopped before sends nothing more.
            if self.cancel.is_cancelled() {
                return Ok(self.stopped(&counters, ListSent::No, &partial));
            }
            let later = |failed: VolumeTime| Times::after_failure(time, failed);
            let sent = self.send_in_place(partial.newest(), gathered.time, gathered.list, later);
            let sent = match sent {
                Err(Error::Cancelled) => {
                    return Ok(self.stopped(&counters, ListSent::Perhaps, &partial));
                }
                other => other?,
            };
            version = sent.time();
            stored.push(StoredVolume {
                name: sent.name.as_str().to_owned(),
                size: sent.size.unwrap_or(0),
            });
            // From here on the version exists: what fails in the catalog is mended by the next run.
            if let Err(error) = self.note_version(&sent.name, gathered.entries) {
                self.reporter.warn(
                    "CatalogNotUpdated",
                    format!(
                        "the version was stored, but the local catalog could not be brought up to date: {}",
                        describe(&error)
                    ),
                );
            }
            self.end_checkpoints(&partial, &sent);
        } else if let Some(entries) = gathered.entries {
            entries.finish_unchanged()?;
        } else {
            self.reporter
                .say(Level::DryRun, "DryRun", "a dry run: nothing was stored");
        }
        if self.settings.dry_run {
            self.tell_locking();
            let report = self.backup_report(&counters, None, None, false);
            return Ok(guard.noted(report));
        }
        // Blocks of what could not be read now were not looked up either.
        let all_was_read = counters.with_error.load(Ordering::Relaxed) == 0;
        if let Err(error) = self.note_reading(&guard, all_was_read)
            && !write
        {
            return Err(error);
        }
        if self.cancel.is_ending() {
            self.reporter.warn(
                "Stopped",
                "stopped on request after the version was stored; checks, old versions and space are left to the next run",
            );
            let report = self.backup_report(&counters, version, None, false);
            return Ok(guard.noted(report));
        }
        let test = self.after_backup(&stored, write);
        let (deleted_sets, compact_results) = self.tidy(&guard, version, &stored);
        self.renew_verification_file();
        let lock_results = self.lock_newest(version);
        self.vacuum_if_due();
        let report = BackupReport {
            deleted_sets,
            compact_results,
            lock_results,
            ..self.backup_report(&counters, version, test, false)
        };
        Ok(guard.noted(report))
    }

    /// True when a version has to be written although nothing was changed.
    fn must_write(&self, time: VolumeTime) -> Result<bool> {
        let newest = self.catalog(|c| c.filesets())?.into_iter().next();
        let previous_was_partial = newest.as_ref().is_some_and(|newest| !newest.is_full);
        Ok(self.settings.upload_unchanged
            || previous_was_partial
            || self.newest_is_unread(newest.as_ref(), time)?
            // Only what was made from here is compared, and others may delete all but the newest.
            || self.has_later_ones(self.compared_version()?)?
            || self.view.lists().is_empty())
    }

    /// True when the list of the newest version before `time` cannot be read, so that it is no version to rest on:
    /// either that of the catalog is an older one, or it was found damaged since it was read.
    fn newest_is_unread(&self, newest: Option<&FilesetRow>, time: VolumeTime) -> Result<bool> {
        let lists = self.view.lists();
        let Some((listed, volume)) = lists.iter().find(|(listed, _)| *listed < time) else {
            return Ok(false);
        };
        Ok(newest.is_none_or(|newest| newest.time != listed.0)
            || self.catalog(|c| c.has_loss(volume.name.as_str()))?)
    }

    /// Says once, before the first write to a set of another program, what that program has to do afterwards: its local
    /// database does not know of these files, and old versions of it delete what they do not know.
    fn tell_first_write(&self) -> Result<()> {
        let (writer, told) =
            self.catalog(|c| Ok((c.param(LIST_WRITER)?, c.param(TOLD_WRITER)?)))?;
        let Some(writer) = writer.filter(|writer| told.is_none() && !writer.starts_with(OWN_NAME))
        else {
            return Ok(());
        };
        let database = match &self.repository().foreign_database {
            Some(path) => format!("its local database {}", path.display()),
            None => "its local database".to_owned(),
        };
        self.reporter.notice(
            "FirstWriteToForeignSet",
            format!(
                "this backup was made by another program (Duplicati {writer}); before that program uses it again, delete {database} and let it rebuild one (`repair`), since a Duplicati before 2.2 deletes files that its database does not know"
            ),
        );
        self.catalog(|c| c.set_param(TOLD_WRITER, &writer))
    }

    /// Notes when the reading of what a partial version holds was begun: that of the version before, where there is one.
    fn note_first_reading(&self, of_previous: Option<i64>) -> Result<()> {
        let begun = of_previous.unwrap_or(self.started().0).to_string();
        self.catalog(|c| match c.param(SOURCES_READ)? {
            Some(_) => Ok(()),
            None => c.set_param(SOURCES_READ, &begun),
        })
    }

    /// Puts a version that was just stored into the catalog.
    fn note_version(&self, name: &VolumeName, entries: Option<EntryWriter>) -> Result<()> {
        self.remember_format(self.format())?;
        self.catalog(|c| c.set_param(ZIP_METHOD, method_key(self.pack_method_now(c)?)))?;
        if self.values.is_set(opt::DBLOCK_SIZE) {
            let size = self.settings.dblock_size.to_string();
            self.catalog(|c| c.set_param(VOLUME_SIZE, &size))?;
        }
        self.remember_passphrase()?;
        let entries = entries.ok_or_else(|| Error::Bug("a version without entries".into()))?;
        let fileset = self.take_over_entries(name, entries)?;
        self.note_compared(fileset)
    }

    /// Newly written volumes must not drop the protection that the stored ones have.
    pub(crate) fn check_encryption_kept(&self) -> Result<()> {
        let encrypted = self
            .view
            .volumes
            .values()
            .any(|v| v.name.encryption().is_some());
        let plain = self
            .view
            .volumes
            .values()
            .any(|v| v.name.encryption().is_none());
        match self.crypt.kind() {
            None if encrypted && !plain => Err(Error::user(
                "EncryptionChanged",
                "this backup is encrypted and would get unencrypted volumes",
                "leave --no-encryption out and give the passphrase, or start a new backup in another folder",
            )),
            Some(_) if plain && !encrypted => Err(Error::user(
                "EncryptionChanged",
                "this backup is not encrypted; encrypted volumes beside plain ones would protect nothing",
                "say --no-encryption, or start a new backup in another folder",
            )),
            Some(kind) => self.check_module_kept(kind),
            None => {
                if self.crypt.passphrase.is_some() {
                    self.reporter.say(
                        Level::Notice,
                        "NotEncrypted",
                        "a passphrase is given, but --no-encryption is too: the volumes are stored without encryption",
                    );
                }
                Ok(())
            }
        }
    }

    /// A backup goes on in its own encryption module. Volumes of both can be read, so another one is no danger, but
    /// only when the user asks for it.
    fn check_module_kept(&self, kind: EncryptionKind) -> Result<()> {
        let stored = |volume: &RemoteVolume| volume.name.encryption().map(str::to_owned);
        let mut modules: Vec<String> = self.view.volumes.values().filter_map(stored).collect();
        modules.sort_unstable();
        modules.dedup();
        let new = kind.key();
        let (Some(old), false) = (
            modules.first(),
            modules
                .iter()
                .any(|module| module.eq_ignore_ascii_case(new)),
        ) else {
            return Ok(());
        };
        let what = format!(
            "the volumes of this backup are encrypted with {old}, and new ones would be with {new}"
        );
        if !self.values.is_set(opt::ENCRYPTION_MODULE) {
            return Err(Error::user(
                "EncryptionChanged",
                what,
                format!(
                    "say --encryption-module={old} to go on so, or --encryption-module={new} to change it: both are read with this passphrase"
                ),
            ));
        }
        self.reporter.say(
            Level::Notice,
            "EncryptionModuleChanged",
            format!("{what}, as --encryption-module says; both are read with this passphrase"),
        );
        Ok(())
    }

    /// Tells what is gone from the destination and why the run goes on.
    fn report_vanished(&self) -> Result<()> {
        let in_doubt = self.presence()? == Presence::InDoubt;
        for (name, kind) in &self.view.vanished {
            match kind {
                VolumeKind::Index => {
                    self.reporter.info(
                        "MissingIndex",
                        format!("{name} is gone; it is written anew when needed"),
                    );
                }
                // Told as losses.
                VolumeKind::List | VolumeKind::Blocks => {}
            }
        }
        if in_doubt {
            self.reporter.info(
                "CheckingBlocks",
                "data files changed outside this program; every block of the newest version is looked up and stored again where it is missing",
            );
        }
        Ok(())
    }

    /// Tells that stored blocks were lost which the source could give once more.
    fn report_stored_again(&self, counters: &Counters) {
        let entries = counters.without_blocks.load(Ordering::Relaxed);
        if entries == 0 {
            return;
        }
        let gone = self
            .view
            .vanished
            .iter()
            .filter(|(_, kind)| *kind == VolumeKind::Blocks);
        let mut names: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let more = if names.len() > NAMED_VOLUMES {
            ", …"
        } else {
            ""
        };
        names.truncate(NAMED_VOLUMES);
        let names = if names.is_empty() {
            String::new()
        } else {
            format!(" (gone: {}{more})", names.join(", "))
        };
        self.reporter.warn(
            "MissingDataFile",
            format!(
                "{} had blocks that are damaged or in no data file any more{names}; they are stored again, but older versions may have lost files: run `larder test … all`",
                counted(entries, "unchanged entry")
            ),
        );
    }

    /// The method of new zip entries: asked for, or that of the newest volume, or Zstandard for a new destination.
    pub(crate) fn pack_method(&self) -> Result<PackMethod> {
        self.catalog(|c| self.pack_method_now(c))
    }

    fn pack_method_now(
        &self,
        catalog: &larder_catalog::Catalog,
    ) -> larder_catalog::Result<PackMethod> {
        if let Some(method) = self.settings.zip_method {
            return Ok(method);
        }
        Ok(match catalog.param(ZIP_METHOD)?.as_deref() {
            Some("deflate") => PackMethod::Deflate {
                level: self.settings.zip_level,
            },
            Some("stored") => PackMethod::Stored,
            _ => self.settings.default_method,
        })
    }

    /// The data volumes of which an index is missing: not those that are not as they were, whose index says how they were.
    pub(crate) fn without_index(&self) -> Result<Vec<VolumeRow>> {
        if self.settings.index_policy == IndexPolicy::None {
            return Ok(Vec::new());
        }
        let noted = self.noted_losses()?;
        let mut missing = Vec::new();
        for row in self.catalog(|c| c.volumes_without_index())? {
            // An index of nothing says nothing.
            let is_empty = || self.catalog(|c| Ok(c.blocks_of_volume(row.id)?.is_empty()));
            if !noted.contains(&row.name) && !is_empty()? {
                missing.push(row);
            }
        }
        Ok(missing)
    }

    /// Writes the dindex of every data volume that has none.
    pub(crate) fn complete_indexes(&self) -> Result<u64> {
        let mut written = 0;
        for row in self.without_index()? {
            let Some(name) = VolumeName::parse(&row.name, self.settings.case_insensitive) else {
                continue;
            };
            let blocks = self.catalog(|c| c.blocks_of_volume(row.id))?;
            let hash = match row.hash {
                Some(hash) => hash,
                None => match self.remote.get(&row.name, row.size) {
                    Ok(data) => data.hash(self.format().file_hash)?,
                    // It waits for a run that can have it.
                    Err(error) if error.reach() == Reach::Volume => continue,
                    Err(error) => return Err(error),
                },
            };
            let blocklists = self.catalog(|c| c.blocklists_of_volume(row.id))?;
            let described = BlockVolume {
                name: row.name,
                blocks,
                hash: Some(hash),
                size: row.size,
            };
            let compression = name.compression().unwrap_or(Compression::Zip);
            self.upload_index(row.id, &described, &blocklists, compression)?;
            written += 1;
        }
        if written > 0 {
            self.reporter.info(
                "IndexesWritten",
                format!("{} written", counted(written, "missing index file")),
            );
        }
        Ok(written)
    }
}

/// Vanished volumes that are named one by one.
const NAMED_VOLUMES: usize = 3;
/// How the manifests of this program begin.
const OWN_NAME: &str = "Larder ";
/// Catalog parameter: set once a user was told that another program wrote this set.
const TOLD_WRITER: &str = "told-writer";

fn method_key(method: PackMethod) -> &'static str {
    match method {
        PackMethod::Stored => "stored",
        PackMethod::Deflate { .. } => "deflate",
        PackMethod::Zstd { .. } => "zstd",
    }
}
