//! One operation on a backup: its cancellation, its reports and counts. The operations are methods in the modules named
//! after them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use larder_catalog::{Catalog, VolumeRow, VolumeState};
use larder_destination::{Clock, Random};
use larder_options::Values;
use larder_volume::{
    ArchiveReader, Compression, Format, HashAlgorithm, MANIFEST_ENTRY, Manifest, ReadAt,
    VolumeKind, VolumeName,
};

use crate::cancel::Cancel;
use crate::context::{Monitor, Reporter, random_bytes};
use crate::crypt::{Crypt, Outside};
use crate::data::{Sink, TAR_MEMORY_BYTES, VolumeData};
use crate::error::VolumeContext;
use crate::report::{BackendStatistics, Common, Outcome};
use crate::repository::{Repository, locked};
use crate::settings::Settings;
use crate::transfer::{Aside, Remote, TransferCounts};
use crate::unpacking::Unpacking;
use crate::{Error, Result};

/// One operation on a [`Repository`], begun by [`Repository::run`].
pub struct Run {
    repository: Arc<Repository>,
    pub(crate) remote: Remote,
    pub(crate) settings: Arc<Settings>,
    pub(crate) values: Arc<Values>,
    pub(crate) crypt: Crypt,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) cancel: Cancel,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    /// Names and bytes of version lists that the catalog knew nothing of when the destination was listed.
    pub(crate) unread_lists: Mutex<Vec<(String, u64)>>,
    pub(crate) unpacking: Unpacking,
    /// The catalog was damaged and had to be built anew in this run, so what it alone knew is lost.
    pub(crate) is_healed: AtomicBool,
    started: (i64, u32),
}

/// Block size of a new backup.
const DEFAULT_BLOCKSIZE: u64 = 1 << 20;

/// What `--soft-delete-prefix` asks for, and how files are moved aside.
fn aside(repository: &Repository, own_prefix: &str) -> Result<Aside> {
    let values = &repository.values;
    let prefix = values.find(larder_options::engine::SOFT_DELETE_PREFIX)?;
    let prefix = prefix.filter(|prefix| !prefix.is_empty());
    if let Some(prefix) = &prefix {
        check_soft_delete_prefix(prefix, own_prefix)?;
    }
    Ok(Aside {
        prefix,
        copies: values.get(larder_options::engine::PREVENT_BACKEND_RENAME)?,
        random: Arc::clone(&repository.random),
    })
}

fn check_soft_delete_prefix(prefix: &str, own_prefix: &str) -> Result<()> {
    if prefix.contains(['/', '\\']) {
        return Err(Error::user(
            "OptionValidationError",
            format!(
                "--soft-delete-prefix={prefix} names a folder, and files are only renamed within theirs"
            ),
            "give a prefix without a slash",
        ));
    }
    // Another set would take what was moved aside for its own.
    let own = VolumeName::list(
        own_prefix,
        larder_volume::VolumeTime(0),
        Compression::Zip,
        None,
    );
    let moved = format!("{prefix}{}", own.as_str());
    if VolumeName::parse(&moved, false).is_some() {
        return Err(Error::user(
            "OptionValidationError",
            format!(
                "with --soft-delete-prefix={prefix} what is moved aside would look like a backup of its own"
            ),
            "put a hyphen behind it",
        ));
    }
    Ok(())
}

impl Run {
    pub(crate) fn new(
        repository: Arc<Repository>,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Result<Self> {
        let settings = Arc::clone(&repository.settings);
        let suppressed = repository
            .values
            .find(larder_options::engine::SUPPRESS_WARNINGS)?
            .unwrap_or_default();
        let reporter = Arc::new(Reporter::new(monitor, suppressed));
        repository.tell_replaced(&reporter);
        let outside = Outside {
            random: Arc::clone(&repository.random),
            clock: Arc::clone(&repository.clock),
            cancel: cancel.clone(),
        };
        let crypt = Crypt::new(&settings, repository.passphrase.clone(), outside);
        let remote = Remote::new(
            Arc::clone(&repository.destination),
            repository.runtime.clone(),
            settings.retry,
            settings.create_folder && repository.writes,
            settings.temp_folder.clone(),
            Arc::clone(&reporter),
            cancel.clone(),
        )
        .moving_aside(aside(&repository, &settings.prefix)?);
        let clock = Arc::clone(&repository.clock);
        Ok(Self {
            remote,
            settings,
            values: Arc::clone(&repository.values),
            crypt,
            reporter,
            cancel,
            unread_lists: Mutex::default(),
            unpacking: Unpacking::default(),
            is_healed: AtomicBool::new(false),
            started: clock.now(),
            clock,
            random: Arc::clone(&repository.random),
            repository,
        })
    }

    /// The backup that this run works on.
    #[must_use]
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The catalog's file.
    pub(crate) fn state_path(&self) -> &Path {
        &self.repository.state_path
    }

    /// Adds a warning of the caller to this run's report.
    pub fn warn(&self, id: &'static str, text: String) {
        self.reporter.warn(id, text);
    }

    /// Works with the catalog.
    pub(crate) fn catalog<R>(
        &self,
        work: impl FnOnce(&mut Catalog) -> larder_catalog::Result<R>,
    ) -> Result<R> {
        self.repository.catalog(work)
    }

    /// A catalog change that is on disk when this returns.
    pub(crate) fn durable<R>(
        &self,
        work: impl FnOnce(&Catalog) -> larder_catalog::Result<R>,
    ) -> Result<R> {
        self.catalog(|c| c.durable(work))
    }

    /// Throws the catalog away and starts an empty one; the remote side is the truth.
    pub(crate) fn discard_catalog(&self, reason: &str) -> Result<()> {
        self.reporter.info(
            "CatalogReplaced",
            format!(
                "the local catalog is thrown away ({reason}); it is built anew from the destination"
            ),
        );
        self.repository.discard_catalog()
    }

    /// Runs an operation; when the catalog turns out to be damaged it is rebuilt and the operation starts again.
    pub(crate) fn with_healing<R>(&self, mut operation: impl FnMut() -> Result<R>) -> Result<R> {
        match operation() {
            Err(Error::Catalog(error)) if error.is_damage() => {
                self.discard_catalog(&error.to_string())?;
                self.is_healed.store(true, Ordering::SeqCst);
                operation()
            }
            other => other,
        }
    }

    /// The format that was found, after comparing it with what the user asked for.
    pub(crate) fn agreed(&self, format: Format) -> Result<Format> {
        let differs = |option: &str, has: String, asked: String| {
            Err(Error::user(
                "ParameterMismatch",
                format!(
                    "this backup was made with {option}={has}; it cannot be changed to {asked}"
                ),
                format!("leave --{option} out, or start a new backup in another folder"),
            ))
        };
        if let Some(asked) = self.settings.blocksize
            && asked != format.blocksize
        {
            return differs(
                "blocksize",
                format!("{}b", format.blocksize),
                format!("{asked}b"),
            );
        }
        if let Some(asked) = self.settings.block_hash
            && asked != format.block_hash
        {
            return differs(
                "block-hash-algorithm",
                format.block_hash.name().into(),
                asked.name().into(),
            );
        }
        if let Some(asked) = self.settings.file_hash
            && asked != format.file_hash
        {
            return differs(
                "file-hash-algorithm",
                format.file_hash.name().into(),
                asked.name().into(),
            );
        }
        self.repository.remember(format);
        Ok(format)
    }

    /// The format of a backup that does not exist yet.
    pub(crate) fn new_format(&self) -> Result<Format> {
        let format = Format {
            blocksize: self.settings.blocksize.unwrap_or(DEFAULT_BLOCKSIZE),
            block_hash: self.settings.block_hash.unwrap_or(HashAlgorithm::Sha256),
            file_hash: self.settings.file_hash.unwrap_or(HashAlgorithm::Sha256),
        };
        if self.settings.dblock_size < 2 * format.blocksize {
            let asked = self.values.get(larder_options::engine::DBLOCK_SIZE)?;
            return Err(Error::user(
                "OptionValidationError",
                format!(
                    "option --dblock-size: {} is too small, at least two blocks of {} are needed",
                    larder_options::value::format_size(asked),
                    larder_options::value::format_size(format.blocksize)
                ),
                "use --dblock-size=50mb, or lower --blocksize",
            ));
        }
        Ok(format)
    }

    /// Decrypts and opens a fetched volume, of whatever format.
    pub(crate) fn open_archive(
        &self,
        name: &VolumeName,
        data: VolumeData,
    ) -> Result<ArchiveReader<VolumeData>> {
        let text = name.as_str();
        container(name)?;
        let plain = self.crypt.open(name, data)?;
        let packed = plain.len();
        let archive = open_plain(name, (plain, packed), &self.settings, &self.unpacking)?;
        if archive.recovered() {
            self.reporter.warn(
                "DamagedDirectory",
                format!(
                    "{text}: its directory is damaged; the entries were found by their own headers"
                ),
            );
        }
        Ok(archive)
    }

    /// A new random remote name for a data or index volume.
    pub(crate) fn new_name(
        &self,
        kind: VolumeKind,
        compression: Compression,
    ) -> Result<VolumeName> {
        let id = random_bytes(self.random.as_ref())?;
        let (prefix, encryption) = (self.settings.prefix.as_str(), self.crypt.kind());
        match kind {
            VolumeKind::Blocks => Ok(VolumeName::blocks(prefix, id, compression, encryption)),
            VolumeKind::Index => Ok(VolumeName::index(prefix, id, compression, encryption)),
            VolumeKind::List => Err(Error::Bug("list names carry a time".into())),
        }
    }

    /// When it was begun: seconds since 1970, nanoseconds.
    pub(crate) fn started(&self) -> (i64, u32) {
        self.started
    }

    /// The common part of a report, filled at its end.
    pub(crate) fn common(&self, operation: &str, interrupted: bool) -> Common {
        let mut common = common(
            (operation, interrupted),
            &self.reporter,
            &self.remote.counts,
            (self.started, self.clock.now()),
        );
        let statistics = &mut common.backend_statistics;
        if let Ok(volumes) = self.catalog(|c| c.volumes()) {
            // Others are not there yet, or not for long.
            let stored =
                |v: &VolumeRow| matches!(v.state, VolumeState::Uploaded | VolumeState::Verified);
            let volumes: Vec<VolumeRow> = volumes.into_iter().filter(stored).collect();
            statistics.known_file_count = volumes.len() as u64;
            statistics.known_file_size = volumes.iter().filter_map(|v| v.size).sum();
            statistics.known_filesets = volumes
                .iter()
                .filter(|v| v.kind == VolumeKind::List)
                .count() as u64;
            let known: HashSet<&str> = volumes.iter().map(|v| v.name.as_str()).collect();
            for (name, size) in locked(&self.unread_lists).iter() {
                if !known.contains(name.as_str()) {
                    statistics.known_file_count += 1;
                    statistics.known_file_size += size;
                    statistics.known_filesets += 1;
                }
            }
        }
        common
    }
}

/// What all reports have in common, of a run from one time to another; nothing is known of what the destination holds.
pub(crate) fn common(
    (operation, interrupted): (&str, bool),
    reporter: &Reporter,
    counts: &TransferCounts,
    (started, now): ((i64, u32), (i64, u32)),
) -> Common {
    use std::sync::atomic::Ordering::Relaxed;
    let (warnings, warning_count) = reporter.warnings();
    let (errors, error_count) = reporter.errors();
    let backend_statistics = BackendStatistics {
        remote_calls: counts.calls.load(Relaxed),
        bytes_uploaded: counts.bytes_up.load(Relaxed),
        bytes_downloaded: counts.bytes_down.load(Relaxed),
        files_uploaded: counts.files_up.load(Relaxed),
        files_downloaded: counts.files_down.load(Relaxed),
        files_deleted: counts.files_deleted.load(Relaxed),
        folders_created: counts.folders_created.load(Relaxed),
        retry_attempts: counts.retries.load(Relaxed),
        total_quota_space: -1,
        free_quota_space: -1,
        assigned_quota_space: -1,
        ..BackendStatistics::default()
    };
    let elapsed = (now.0 - started.0) * 1_000_000_000 + i64::from(now.1) - i64::from(started.1);
    let outcome = match (error_count, warning_count) {
        (0, 0) => Outcome::Success,
        (0, _) => Outcome::Warning,
        _ => Outcome::Error,
    };
    Common {
        main_operation: operation.into(),
        parsed_result: outcome,
        interrupted,
        version: format!("Larder {}", env!("CARGO_PKG_VERSION")),
        begin_time: iso_time(started),
        end_time: iso_time(now),
        duration: format_duration(u64::try_from(elapsed).unwrap_or(0)),
        warnings_actual_length: warning_count,
        errors_actual_length: error_count,
        warnings: warnings.into_iter().take(REPORTED_MESSAGES).collect(),
        errors: errors.into_iter().take(REPORTED_MESSAGES).collect(),
        backend_statistics,
    }
}

/// Messages of each kind in a report.
const REPORTED_MESSAGES: usize = 20;

pub(crate) fn iso_time((seconds, nanos): (i64, u32)) -> String {
    jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0))
        .unwrap_or_default()
        .to_string()
}

/// `[d.]hh:mm:ss.fffffff` from nanoseconds.
pub(crate) fn format_duration(nanos: u64) -> String {
    let (ticks, seconds) = (nanos / 100 % 10_000_000, nanos / 1_000_000_000);
    let (days, h, m, s) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    let day = if days > 0 {
        format!("{days}.")
    } else {
        String::new()
    };
    format!("{day}{h:02}:{m:02}:{s:02}.{ticks:07}")
}

/// The container that a volume's name tells.
fn container(name: &VolumeName) -> Result<Compression> {
    name.compression().ok_or_else(|| {
        let what = format!("the container {} is not known", name.compression_text());
        Error::volume(name.as_str(), larder_volume::Error::Unsupported(what))
    })
}

/// Opens a decrypted volume, of so many bytes.
pub(crate) fn open_plain<S: ReadAt>(
    name: &VolumeName,
    (plain, packed): (S, u64),
    settings: &Settings,
    unpacking: &Unpacking,
) -> Result<ArchiveReader<S>> {
    ArchiveReader::open_with(plain, container(name)?, || {
        let sink = Sink::new(TAR_MEMORY_BYTES, settings.temp_folder.clone());
        unpacking.bounded(sink, packed, settings.dblock_size)
    })
    .in_volume(name.as_str())
}

/// Reads a volume's manifest.
pub(crate) fn read_manifest<S: ReadAt>(archive: &ArchiveReader<S>, name: &str) -> Result<Manifest> {
    let Some(entry) = archive.find(MANIFEST_ENTRY) else {
        return Err(Error::volume(
            name,
            larder_volume::Error::Malformed {
                what: "volume",
                detail: "it has no manifest".into(),
            },
        ));
    };
    Manifest::parse(&archive.read(entry, 1 << 20).in_volume(name)?).in_volume(name)
}
