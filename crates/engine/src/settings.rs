//! The engine's options as checked values; text is turned into these once, at the start.

use std::path::PathBuf;
use std::time::Duration;

use larder_options::engine::choices::{
    AesFileVersion, Container, EncryptionModule, HashChoice, IndexContent, RemoteVerification,
    ZipMethod,
};
use larder_options::{Opt, OptionValue, Values, engine as opt};
use larder_volume::{AesVersion, Compression, HashAlgorithm, PackMethod, VolumeName, check_prefix};

use crate::crypt::{Encryption, GpgSettings};
use crate::temporary::TempFolder;
use crate::transfer::RetrySettings;
use crate::{Error, Result};

/// What goes into dindex files (commands spec 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexPolicy {
    /// No dindex files.
    None,
    /// Block lists without blocklists' content.
    Lookup,
    /// Everything.
    Full,
}

/// How much of a volume the verification opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyDepth {
    /// Contents of all kinds.
    Full,
    /// Size and hash of the remote bytes only.
    HashOnly,
    /// Contents, but no dblock files.
    ListAndIndexes,
    /// Only dindex files.
    IndexesOnly,
}

/// All options of the engine, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) prefix: String,
    pub(crate) case_insensitive: bool,
    pub(crate) blocksize: Option<u64>,
    pub(crate) block_hash: Option<HashAlgorithm>,
    pub(crate) file_hash: Option<HashAlgorithm>,
    pub(crate) dblock_size: u64,
    pub(crate) compression: Compression,
    pub(crate) tar_level: Option<i32>,
    pub(crate) zip_method: Option<PackMethod>,
    pub(crate) zip_level: u8,
    /// Packing of a destination that has no volumes yet.
    pub(crate) default_method: PackMethod,
    pub(crate) encryption: Encryption,
    pub(crate) gpg: GpgSettings,
    pub(crate) ignore_padding: bool,
    /// Rounds of key derivation that the user named.
    pub(crate) aes_rounds: Option<u32>,
    pub(crate) index_policy: IndexPolicy,
    pub(crate) retry: RetrySettings,
    pub(crate) uploads: usize,
    pub(crate) create_folder: bool,
    pub(crate) backend_verification: bool,
    pub(crate) list_verify_uploads: bool,
    pub(crate) dont_read_manifests: bool,
    pub(crate) skip_file_hash_checks: bool,
    pub(crate) samples: u64,
    pub(crate) sample_percentage: f64,
    pub(crate) verification: VerifyDepth,
    pub(crate) dry_run: bool,
    pub(crate) upload_unchanged: bool,
    pub(crate) skip_metadata: bool,
    pub(crate) disable_filetime_check: bool,
    pub(crate) check_filetime_only: bool,
    pub(crate) ignore_inode_changes: bool,
    pub(crate) stored_extensions: Vec<String>,
    pub(crate) control_files: Vec<PathBuf>,
    /// Where temporary files go,
    pub(crate) temp_folder: TempFolder,
    /// and those that become volumes.
    pub(crate) upload_folder: TempFolder,
    pub(crate) threads: usize,
    pub(crate) quota: Option<u64>,
    pub(crate) quota_disabled: bool,
    pub(crate) quota_warning_percent: u64,
    pub(crate) upload_verification_file: bool,
    /// How long the files of a new version are locked.
    pub(crate) lock_seconds: Option<i64>,
}

/// Zstandard level of new volumes; measured in docs/decisions/0004-compression.md.
const ZSTD_LEVEL: i32 = 2;
/// Smallest allowed volume; a smaller wish means this.
pub const MIN_DBLOCK_BYTES: u64 = 1 << 20;

/// Shortest lock of a file (format spec 1.5).
const SHORTEST_LOCK_SECONDS: i64 = 5;

impl Settings {
    /// True for two remote names that mean the same file.
    pub(crate) fn same_name(&self, a: &str, b: &str) -> bool {
        a == b || (self.case_insensitive && a.eq_ignore_ascii_case(b))
    }

    /// True for the name of a volume of this backup.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        VolumeName::parse(name, self.case_insensitive)
            .is_some_and(|name| self.same_name(name.prefix(), &self.prefix))
    }

    /// Reads all engine options.
    ///
    /// # Errors
    /// The first wrong value, naming its option.
    pub(crate) fn read(values: &Values) -> Result<Self> {
        let blocksize = if values.is_set(opt::BLOCKSIZE) {
            Some(check_blocksize(values.get(opt::BLOCKSIZE)?)?)
        } else {
            None
        };
        let compression = match values.get(opt::COMPRESSION_MODULE)? {
            Container::Zip => Compression::Zip,
            Container::TarGzip => Compression::TarGzip,
            Container::TarZstandard => Compression::TarZstd,
        };
        let zip_level = u8::try_from(level(values)?).unwrap_or(9);
        let default_method = zstd(values, zip_level);
        Ok(Self {
            prefix: prefix(values)?,
            case_insensitive: values.get(opt::CASE_INSENSITIVE_REMOTE)?,
            blocksize,
            block_hash: only_if_set(values, opt::BLOCK_HASH_ALGORITHM)?.map(hash),
            file_hash: only_if_set(values, opt::FILE_HASH_ALGORITHM)?.map(hash),
            dblock_size: values.get(opt::DBLOCK_SIZE)?.max(MIN_DBLOCK_BYTES),
            compression,
            tar_level: tar_level(values, compression)?,
            zip_method: values
                .find(opt::ZIP_COMPRESSION_METHOD)?
                .map(|method| zip_method(method, zip_level, default_method)),
            zip_level,
            default_method,
            encryption: encryption(values)?,
            gpg: gpg(values)?,
            aes_rounds: named_rounds(values)?,
            ignore_padding: values.get(opt::AES_IGNORE_PADDING_BYTES)?,
            index_policy: match values.get(opt::INDEX_FILE_POLICY)? {
                IndexContent::None => IndexPolicy::None,
                IndexContent::Lookup => IndexPolicy::Lookup,
                IndexContent::Full => IndexPolicy::Full,
            },
            retry: RetrySettings {
                retries: u32::try_from(values.get(opt::NUMBER_OF_RETRIES)?).unwrap_or(0),
                delay: Duration::from_secs(
                    u64::try_from(values.get(opt::RETRY_DELAY)?).unwrap_or(0),
                ),
                exponential: values.get(opt::RETRY_WITH_EXPONENTIAL_BACKOFF)?,
                outage_limit: Duration::from_secs(
                    u64::try_from(values.get(opt::NETWORK_OUTAGE_LIMIT)?).unwrap_or(0),
                ),
            },
            uploads: uploads(values)?,
            create_folder: !values.get(opt::DISABLE_AUTOCREATE_FOLDER)?,
            backend_verification: !values.get(opt::NO_BACKEND_VERIFICATION)?,
            list_verify_uploads: values.get(opt::LIST_VERIFY_UPLOADS)?,
            dont_read_manifests: values.get(opt::DONT_READ_MANIFESTS)?,
            skip_file_hash_checks: values.get(opt::SKIP_FILE_HASH_CHECKS)?,
            samples: u64::try_from(values.get(opt::BACKUP_TEST_SAMPLES)?).unwrap_or(0),
            sample_percentage: values.get(opt::BACKUP_TEST_PERCENTAGE)?,
            verification: verification(values)?,
            dry_run: values.get(opt::DRY_RUN)?,
            upload_unchanged: values.get(opt::UPLOAD_UNCHANGED_BACKUPS)?,
            skip_metadata: values.get(opt::SKIP_METADATA)?,
            disable_filetime_check: values.get(opt::DISABLE_FILETIME_CHECK)?,
            check_filetime_only: values.get(opt::CHECK_FILETIME_ONLY)?,
            ignore_inode_changes: values.get(opt::IGNORE_INODE_CHANGES)?,
            stored_extensions: stored_extensions(values)?,
            control_files: values
                .find(opt::CONTROL_FILES)?
                .unwrap_or_default()
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            upload_folder: match folder(values, opt::ASYNCHRONOUS_UPLOAD_FOLDER)? {
                Some(folder) => folder,
                None => folder(values, opt::TEMPDIR)?.unwrap_or_default(),
            },
            temp_folder: folder(values, opt::TEMPDIR)?.unwrap_or_default(),
            threads: threads(values)?,
            quota: values.find(opt::QUOTA_SIZE)?.filter(|q| *q > 0),
            quota_disabled: values.get(opt::QUOTA_DISABLE)?,
            quota_warning_percent: u64::try_from(values.get(opt::QUOTA_WARNING_THRESHOLD)?)
                .unwrap_or(0),
            upload_verification_file: values.get(opt::UPLOAD_VERIFICATION_FILE)?,
            lock_seconds: lock_seconds(values)?,
        })
    }
}

/// The folder that an option names.
fn folder(values: &Values, option: Opt<String>) -> Result<Option<TempFolder>> {
    let path = values.find(option)?.filter(|path| !path.is_empty());
    Ok(path.map(|path| TempFolder::named(path.into(), option.decl.name)))
}

/// The value of an option that was given; its default does not count.
fn only_if_set<T: OptionValue>(values: &Values, option: Opt<T>) -> Result<Option<T>> {
    Ok(if values.is_set(option) {
        values.find(option)?
    } else {
        None
    })
}

fn hash(choice: HashChoice) -> HashAlgorithm {
    match choice {
        HashChoice::Sha256 => HashAlgorithm::Sha256,
        HashChoice::Sha1 => HashAlgorithm::Sha1,
        HashChoice::Md5 => HashAlgorithm::Md5,
        HashChoice::Sha384 => HashAlgorithm::Sha384,
        HashChoice::Sha512 => HashAlgorithm::Sha512,
    }
}

/// The prefix of the backup's volumes.
fn prefix(values: &Values) -> Result<String> {
    let prefix = values.get(opt::PREFIX)?;
    if prefix.contains('-') {
        return Err(Error::user(
            "PrefixCannotContainHyphens",
            format!("the prefix {prefix} contains a hyphen"),
            "choose a --prefix without '-'",
        ));
    }
    check_prefix(&prefix)
        .map_err(|e| Error::user("InvalidPrefix", e.to_string(), "choose another --prefix"))?;
    Ok(prefix)
}

/// The method that `--zip-compression-method` asks for.
fn zip_method(asked: ZipMethod, level: u8, zstd: PackMethod) -> PackMethod {
    match asked {
        ZipMethod::Deflate => PackMethod::Deflate { level },
        ZipMethod::Stored => PackMethod::Stored,
        ZipMethod::Zstandard => zstd,
    }
}

fn gpg(values: &Values) -> Result<GpgSettings> {
    Ok(GpgSettings {
        program: values.find(opt::GPG_PROGRAM_PATH)?,
        encryption_command: values.get(opt::GPG_ENCRYPTION_COMMAND)?,
        decryption_command: values.get(opt::GPG_DECRYPTION_COMMAND)?,
        encryption_switches: values
            .find(opt::GPG_ENCRYPTION_SWITCHES)?
            .unwrap_or_default(),
        decryption_switches: values
            .find(opt::GPG_DECRYPTION_SWITCHES)?
            .unwrap_or_default(),
        armor: values.get(opt::GPG_ENCRYPTION_ENABLE_ARMOR)?,
    })
}

/// Zstandard at the level asked for; level 0 stores. Without a wish at Larder's own level.
fn zstd(values: &Values, level: u8) -> PackMethod {
    let asked = values.is_set(opt::ZIP_COMPRESSION_LEVEL) || values.is_set(opt::COMPRESSION_LEVEL);
    match (asked, level) {
        (false, _) => PackMethod::Zstd { level: ZSTD_LEVEL },
        (true, 0) => PackMethod::Stored,
        (true, level) => PackMethod::Zstd {
            level: i32::from(level),
        },
    }
}

/// Checks the range of a block size.
pub(crate) fn check_blocksize(bytes: u64) -> Result<u64> {
    if (1024..=0x7fff_ffff).contains(&bytes) {
        return Ok(bytes);
    }
    Err(Error::user(
        "OptionValidationError",
        format!("a block size of {bytes} bytes is outside 1 KiB to 2 GiB"),
        "use --blocksize=1mb",
    ))
}

fn level(values: &Values) -> Result<i64> {
    let old = values.is_set(opt::COMPRESSION_LEVEL) && !values.is_set(opt::ZIP_COMPRESSION_LEVEL);
    Ok(values.get(if old {
        opt::COMPRESSION_LEVEL
    } else {
        opt::ZIP_COMPRESSION_LEVEL
    })?)
}

fn tar_level(values: &Values, compression: Compression) -> Result<Option<i32>> {
    Ok(match compression {
        Compression::Zip => None,
        Compression::TarZstd => i32::try_from(values.get(opt::TZSTD_COMPRESSION_LEVEL)?).ok(),
        Compression::TarGzip => i32::try_from(values.get(opt::TGZ_COMPRESSION_LEVEL)?).ok(),
    })
}

/// The rounds of key derivation that the user named, for writing or because the volumes that there are have so many.
fn named_rounds(values: &Values) -> Result<Option<u32>> {
    if !values.is_set(opt::AES_V3_ITERATIONS) {
        return Ok(None);
    }
    Ok(u32::try_from(values.get(opt::AES_V3_ITERATIONS)?).ok())
}

fn encryption(values: &Values) -> Result<Encryption> {
    if values.get(opt::NO_ENCRYPTION)? {
        return Ok(Encryption::None);
    }
    match values.get(opt::ENCRYPTION_MODULE)? {
        EncryptionModule::Aes => {
            let version = match values.get(opt::AES_VERSION)? {
                AesFileVersion::V3 => AesVersion::V3 {
                    iterations: u32::try_from(values.get(opt::AES_V3_ITERATIONS)?)
                        .unwrap_or(u32::MAX),
                },
                AesFileVersion::V2 => AesVersion::V2,
            };
            Ok(Encryption::Aes {
                version,
                minimal_header: values.get(opt::AES_MINIMAL_HEADER)?,
            })
        }
        EncryptionModule::Gpg => Ok(Encryption::Gpg),
    }
}

fn uploads(values: &Values) -> Result<usize> {
    if values.get(opt::SYNCHRONOUS_UPLOAD)? {
        return Ok(1);
    }
    Ok(
        match usize::try_from(values.get(opt::ASYNCHRONOUS_UPLOAD_LIMIT)?).unwrap_or(4) {
            0 => 16,
            n => n.min(64),
        },
    )
}

fn threads(values: &Values) -> Result<usize> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let asked = usize::try_from(values.get(opt::CONCURRENCY_MAX_THREADS)?).unwrap_or(0);
    Ok(if asked == 0 { cores } else { asked }.clamp(1, 64))
}

fn verification(values: &Values) -> Result<VerifyDepth> {
    Ok(match values.get(opt::FULL_REMOTE_VERIFICATION)? {
        RemoteVerification::Full => VerifyDepth::Full,
        RemoteVerification::HashOnly => VerifyDepth::HashOnly,
        RemoteVerification::ListAndIndexes => VerifyDepth::ListAndIndexes,
        RemoteVerification::IndexesOnly => VerifyDepth::IndexesOnly,
    })
}

/// The duration of locks.
fn lock_seconds(values: &Values) -> Result<Option<i64>> {
    if !values.is_set(opt::REMOTE_FILE_LOCK_DURATION) {
        return Ok(None);
    }
    let seconds = values.find(opt::REMOTE_FILE_LOCK_DURATION)?.unwrap_or(0);
    if seconds < SHORTEST_LOCK_SECONDS {
        return Err(Error::user(
            "OptionValidationError",
            format!(
                "--remote-file-lock-duration: a lock of {seconds} seconds is shorter than {SHORTEST_LOCK_SECONDS}"
            ),
            "give a longer time, such as 30D, or leave the option out",
        ));
    }
    Ok(Some(seconds))
}

fn stored_extensions(values: &Values) -> Result<Vec<String>> {
    let Some(path) = values.find(opt::COMPRESSION_EXTENSION_FILE)? else {
        return Ok(STORED_EXTENSIONS.iter().map(|e| (*e).to_owned()).collect());
    };
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(path, e))?;
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix('.'))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_ascii_lowercase)
        .collect())
}

/// Extensions of formats that are compressed already; their blocks are stored. Zstandard is tried on none of them.
const STORED_EXTENSIONS: &[&str] = &[
    "7z", "aac", "aes", "apk", "arw", "avi", "avif", "br", "bz2", "cab", "cr2", "cr3", "deb",
    "dmg", "docx", "dng", "epub", "flac", "flv", "gif", "gpg", "gz", "heic", "heif", "jar", "jpeg",
    "jpg", "jxl", "lz4", "lzma", "m4a", "m4v", "mkv", "mov", "mp3", "mp4", "mpeg", "mpg", "msi",
    "nef", "odp", "ods", "odt", "ogg", "ogv", "opus", "png", "pptx", "rar", "rpm", "tgz", "txz",
    "webm", "webp", "whl", "wma", "wmv", "woff", "woff2", "xlsx", "xz", "zip", "zst",
];
