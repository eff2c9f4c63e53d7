//! What makes a backup this backup: its format parameters and its passphrase, both found out before anything is written.

use larder_volume::{Format, HashAlgorithm, VolumeKind};

use crate::context::random_bytes;
use crate::error::VolumeContext;
use crate::run::{Run, read_manifest};
use crate::sync::{RemoteVolume, View, describe};
use crate::{Error, Result};

impl Run {
    /// Finds block size and hash algorithms: catalog, else a manifest in the destination, else the options.
    pub(crate) fn establish_format(&self, view: &View) -> Result<()> {
        if self.known_format().is_some() {
            return Ok(());
        }
        if let Some(text) = self.catalog(|c| c.param("format"))?
            && let Some(format) = parse_format(&text)
            && !view.volumes.is_empty()
        {
            return self.set_format(format);
        }
        if view.volumes.is_empty() {
            return self.set_format(self.new_format()?);
        }
        // The newest list is mostly wanted next and is kept then; a huge one is not worth it.
        let keeps = |v: &RemoteVolume| {
            v.name.kind() == VolumeKind::List && v.size.is_some_and(|size| size <= KEPT_BYTES)
        };
        let lists = view.lists().into_iter().map(|(_, v)| v);
        let mut candidates: Vec<RemoteVolume> = lists.filter(keeps).collect();
        let mut others: Vec<_> = view.volumes.values().filter(|v| !keeps(v)).collect();
        others.sort_by_key(|v| v.size.unwrap_or(u64::MAX));
        candidates.extend(others.into_iter().cloned());
        let (mut failure, all_tried) = (None, candidates.len() <= MANIFEST_TRIES);
        for volume in candidates.into_iter().take(MANIFEST_TRIES) {
            let outcome = self
                .remote
                .get(volume.name.as_str(), volume.size)
                .and_then(|data| {
                    let archive = self.open_volume(&volume.name, data)?;
                    let manifest = read_manifest(&archive, volume.name.as_str())?;
                    let format = Format::of(&manifest).in_volume(volume.name.as_str())?;
                    Ok((format, archive))
                });
            match outcome {
                Ok((format, archive)) => {
                    crate::settings::check_blocksize(format.blocksize)?;
                    self.set_format(format)?;
                    if keeps(&volume) {
                        self.keep_opened(&volume.name, archive);
                    }
                    return self.remember_passphrase();
                }
                Err(
                    error @ Error::Volume {
                        source: larder_volume::Error::WrongPassword,
                        ..
                    },
                ) => {
                    // A damaged header looks the same, so one more volume is asked before the user is blamed.
                    if failure.is_some() {
                        return Err(error);
                    }
                    failure = Some(error);
                }
                Err(error @ Error::Volume { .. }) => {
                    self.reporter.warn("DamagedVolume", describe(&error));
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match failure {
            // Only torn files of a first run that was interrupted: nothing holds anything yet.
            Some(Error::Volume { source, .. })
                if all_tried
                    && view.lists().is_empty()
                    && !matches!(source, larder_volume::Error::WrongPassword) =>
            {
                self.set_format(self.new_format()?)
            }
            Some(error) => Err(error),
            None => Err(Error::Bug("no volume to read a manifest from".into())),
        }
    }

    /// Refuses a passphrase other than the one this backup was made with, before anything is written with it.
    pub(crate) fn check_passphrase(&self, view: &View) -> Result<()> {
        let Some(stored) = self.catalog(|c| c.param(PASSPHRASE_CHECK))? else {
            return if view.volumes.is_empty() {
                Ok(())
            } else {
                self.probe_passphrase(view)
            };
        };
        match self.passphrase_check(stored.split(':').next())? {
            Some(now) if now == stored => Ok(()),
            // No passphrase: fine as long as nothing has to be decrypted.
            None => Ok(()),
            Some(_) if view.volumes.is_empty() => Ok(()),
            Some(_) => self.probe_passphrase(view),
        }
    }

    fn probe_passphrase(&self, view: &View) -> Result<()> {
        if self.crypt.passphrase.is_none() {
            return Ok(());
        }
        let mut candidates: Vec<_> = view
            .volumes
            .values()
            .filter(|v| v.name.encryption().is_some() && v.name.compression().is_some())
            .collect();
        candidates.sort_by_key(|v| v.size.unwrap_or(u64::MAX));
        let mut damage = None;
        for volume in candidates.into_iter().take(MANIFEST_TRIES) {
            match self.fetch_volume(&volume.name, volume.size, None) {
                Ok(_) => return self.remember_passphrase(),
                // Damage tells nothing about the passphrase; the next volume may.
                Err(
                    error @ Error::Volume {
                        source:
                            larder_volume::Error::Malformed { .. }
                            | larder_volume::Error::Tampered(_)
                            | larder_volume::Error::Mismatch { .. },
                        ..
                    },
                ) => {
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match damage {
            Some(error) => Err(error),
            None => self.remember_passphrase(),
        }
    }

    /// Notes that the present passphrase opens this backup.
    pub(crate) fn remember_passphrase(&self) -> Result<()> {
        match self.passphrase_check(None)? {
            Some(check) => self.catalog(|c| c.set_param(PASSPHRASE_CHECK, &check)),
            None => Ok(()),
        }
    }

    /// A salted, repeated hash of the passphrase: tells another one without keeping it.
    fn passphrase_check(&self, salt: Option<&str>) -> Result<Option<String>> {
        let Some(passphrase) = &self.crypt.passphrase else {
            return Ok(None);
        };
        let salt = match salt {
            Some(salt) => salt.to_owned(),
            None => {
                let bytes: [u8; 16] = random_bytes(self.random.as_ref())?;
                larder_volume::encode_url_base64(&bytes)
            }
        };
        let mut hash =
            HashAlgorithm::Sha256.digest(format!("{salt}:{}", passphrase.expose()).as_bytes());
        for _ in 0..PASSPHRASE_ROUNDS {
            let mut hasher = HashAlgorithm::Sha256.hasher();
            hasher.update(hash.as_bytes());
            hasher.update(passphrase.expose().as_bytes());
            hash = hasher.finish();
        }
        Ok(Some(format!("{salt}:{}", hash.to_base64())))
    }

    /// Fixes the format in the catalog, so that the next run need not read a manifest.
    pub(crate) fn remember_format(&self) -> Result<()> {
        let format = self.format()?;
        self.catalog(|c| {
            c.set_param(
                "format",
                &format!(
                    "{} {} {}",
                    format.blocksize,
                    format.block_hash.name(),
                    format.file_hash.name()
                ),
            )
        })
    }
}

/// Lists up to this size are kept in memory until they are needed.
const KEPT_BYTES: u64 = 32 << 20;
/// Volumes asked for a manifest before giving up.
const MANIFEST_TRIES: usize = 5;
/// Catalog parameter with the salted hash of the passphrase.
const PASSPHRASE_CHECK: &str = "passphrase-check";
/// Rounds of that hash: some milliseconds.
const PASSPHRASE_ROUNDS: u32 = 20_000;

fn parse_format(text: &str) -> Option<Format> {
    let mut parts = text.split(' ');
    Some(Format {
        blocksize: parts.next()?.parse().ok()?,
        block_hash: HashAlgorithm::parse(parts.next()?).ok()?,
        file_hash: HashAlgorithm::parse(parts.next()?).ok()?,
    })
}
