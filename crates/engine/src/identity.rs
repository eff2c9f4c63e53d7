//! What makes a backup this backup: its format parameters and its passphrase, both found out before anything is written.
//!
//! The destination may hold anything beside the backup: damaged files, foreign ones, traps. So no single file decides.
//! The format is that of most of the volumes that open, and the passphrase is wrong when it opens none of many.

use std::hash::{BuildHasher, RandomState};

use larder_catalog::VolumeState;
use larder_volume::{ArchiveReader, Format, HashAlgorithm, VolumeKind, VolumeName, VolumeTime};

use crate::context::random_bytes;
use crate::data::VolumeData;
use crate::error::{Reach, VolumeContext};
use crate::phases::Settled;
use crate::repository::locked;
use crate::run::{Run, read_manifest};
use crate::settings::check_blocksize;
use crate::sync::{Need, RemoteVolume, View, describe};
use crate::versions::Version;
use crate::volumes::{OpenedVolume, OpenedVolumes};
use crate::{Error, Result};

/// Volumes up to this size are kept in memory until they are needed, two at most.
const KEPT_BYTES: u64 = 16 << 20;
/// Volumes of each kind that are opened before giving up.
const TRIES: usize = 10;
/// Volumes that must agree on the format.
const ENOUGH_VOTES: usize = 2;
/// How much earlier than its name says a list may have been made. After a failed upload a program takes the next
/// second, up to about a hundred times.
pub(crate) const RENAMING_SECONDS: i64 = 120;
/// Catalog parameter with the salted hash of the passphrase.
const PASSPHRASE_CHECK: &str = "passphrase-check";
/// Rounds of that hash: some milliseconds.
const PASSPHRASE_ROUNDS: u32 = 20_000;

/// A volume that was opened, and what its manifest says.
struct Witness {
    format: Format,
    is_encrypted: bool,
    /// When it is small and somebody may want it next.
    opened: Option<OpenedVolume>,
}

/// What opening volumes gave, one after the other.
#[derive(Default)]
struct Inquiry {
    witnesses: Vec<Witness>,
    /// Why the others did not open.
    failures: Vec<Error>,
}

impl Inquiry {
    /// The format that has the most witnesses so far, and how many. Of equal numbers the first.
    fn leader(&self) -> Option<(Format, usize)> {
        let mut best: Option<(Format, usize)> = None;
        for witness in &self.witnesses {
            let same = self.witnesses.iter().filter(|w| w.format == witness.format);
            let count = same.count();
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((witness.format, count));
            }
        }
        best
    }

    /// The error that explains best why nothing opened.
    fn into_failure(self) -> Option<Error> {
        let mut failures = self.failures;
        let wrong = failures.iter().position(is_wrong_passphrase);
        let index = wrong.unwrap_or(0);
        (index < failures.len()).then(|| failures.swap_remove(index))
    }
}

pub(crate) fn is_wrong_passphrase(error: &Error) -> bool {
    matches!(
        error,
        Error::Volume {
            source: larder_volume::Error::WrongPassword,
            ..
        }
    )
}

impl Run {
    /// Finds block size and hash algorithms: catalog, else the manifests in the destination, else the options.
    ///
    /// Volumes that were opened for it are kept for whoever needs them next.
    pub(crate) fn find_format(&self, view: &View, need: Need) -> Result<(Format, OpenedVolumes)> {
        let opened = OpenedVolumes::default();
        if let Some(format) = self.repository().known_format() {
            return Ok((format, opened));
        }
        if let Some(text) = self.catalog(|c| c.param("format"))?
            && let Some(format) = parse_format(&text)
            && !view.volumes.is_empty()
        {
            return Ok((self.agreed(format)?, opened));
        }
        if view.volumes.is_empty() {
            return Ok((self.agreed(self.new_format()?)?, opened));
        }
        let candidates = candidates(view, need);
        let all_tried = candidates.len() >= view.volumes.len();
        let has_one_list = view.lists().len() <= 1;
        let mut inquiry = Inquiry::default();
        for volume in candidates {
            let (leader, most) = inquiry.leader().unzip();
            let votes = most.unwrap_or(0);
            let is_clear = leader.is_some() && votes == inquiry.witnesses.len();
            let enough = votes >= ENOUGH_VOTES && 2 * votes > inquiry.witnesses.len();
            if enough
                || (is_clear && has_one_list && inquiry.failures.is_empty())
                || (is_clear && volume.name.kind() == VolumeKind::Blocks)
            {
                break;
            }
            match self.open_as_witness(&volume) {
                Ok(witness) => inquiry.witnesses.push(witness),
                Err(error) if error.reach() == Reach::Volume => inquiry.failures.push(error),
                Err(error) => return Err(error),
            }
        }
        match inquiry.leader() {
            Some((format, _)) => {
                let format = self.agreed(format)?;
                self.take_witnesses(format, inquiry, &opened)?;
                Ok((format, opened))
            }
            None => match inquiry.into_failure() {
                // Only torn files of a first run that was interrupted: nothing holds anything yet.
                Some(error)
                    if all_tried && view.lists().is_empty() && !is_wrong_passphrase(&error) =>
                {
                    Ok((self.agreed(self.new_format()?)?, opened))
                }
                Some(error) => Err(error),
                None => Err(Error::Bug("no volume to read a manifest from".into())),
            },
        }
    }

    /// Keeps the volumes that have the format that most have. What did not open is named.
    fn take_witnesses(
        &self,
        format: Format,
        inquiry: Inquiry,
        opened: &OpenedVolumes,
    ) -> Result<()> {
        for error in &inquiry.failures {
            self.pass_over(error);
        }
        let mut decrypts = false;
        for witness in inquiry.witnesses {
            if witness.format != format {
                // Opened again it fails by its manifest, and is named then.
                continue;
            }
            decrypts |= witness.is_encrypted;
            if let Some(volume) = witness.opened {
                opened.keep(volume);
            }
        }
        if decrypts {
            self.remember_passphrase()?;
        }
        Ok(())
    }

    /// Names a volume that cannot be read, where others can. A list may be a version that is lost; the blocks that an
    /// index describes are found in the data files.
    fn pass_over(&self, error: &Error) {
        let text = format!("{}; it is passed over", describe(error));
        let parsed = match error {
            Error::Volume { name, .. } => VolumeName::parse(name, self.settings.case_insensitive),
            _ => None,
        };
        match parsed.map(|name| name.kind()) {
            Some(VolumeKind::Index) => self.reporter.info("DamagedIndex", text),
            _ => self.reporter.warn("DamagedVolume", text),
        }
    }

    fn open_as_witness(&self, volume: &RemoteVolume) -> Result<Witness> {
        let name = volume.name.as_str();
        let data = self.remote.get_volume(&volume.name, volume.size)?;
        let whole = (data.len(), data.hash(HashAlgorithm::Sha256)?);
        let archive = self.open_archive(&volume.name, data)?;
        let format = Format::of(&read_manifest(&archive, name)?).in_volume(name)?;
        if check_blocksize(format.blocksize).is_err() {
            let source = larder_volume::Error::Unsupported(format!(
                "a block size of {} bytes",
                format.blocksize
            ));
            return Err(Error::volume(name, source));
        }
        let keeps = volume.name.kind() != VolumeKind::Blocks && whole.0 <= KEPT_BYTES;
        let opened = keeps.then(|| OpenedVolume {
            name: volume.name.clone(),
            archive,
            whole,
        });
        Ok(Witness {
            format,
            is_encrypted: volume.name.encryption().is_some(),
            opened,
        })
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
        let mut inquiry = Inquiry::default();
        for volume in candidates(view, Need::Blocks) {
            if volume.name.encryption().is_none() {
                continue;
            }
            match self.open_as_witness(&volume) {
                Ok(_) => return self.remember_passphrase(),
                Err(error) if error.reach() == Reach::Volume => inquiry.failures.push(error),
                Err(error) => return Err(error),
            }
        }
        inquiry.into_failure().map_or(Ok(()), Err)
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
    pub(crate) fn remember_format(&self, format: Format) -> Result<()> {
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

impl Settled<'_> {
    /// Whether a volume can be opened and is one of this backup.
    pub(crate) fn opens(&self, volume: &RemoteVolume) -> Result<bool> {
        match self.open_as_witness(volume) {
            Ok(witness) => {
                let is_own = witness.format == self.format();
                if let Some(opened) = witness.opened.filter(|_| is_own) {
                    self.opened.keep(opened);
                }
                Ok(is_own)
            }
            Err(error) if error.reach() == Reach::Volume => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a list was made when its name says. An earlier list under a later name would pass for a newer version;
    /// its manifest, which an encrypted volume protects, tells.
    pub(crate) fn is_as_old_as_its_name(
        &self,
        volume: &RemoteVolume,
        archive: &ArchiveReader<VolumeData>,
    ) -> Result<bool> {
        if self.settings.dont_read_manifests {
            return Ok(true);
        }
        let manifest = read_manifest(archive, volume.name.as_str())?;
        let created = VolumeTime::parse(&manifest.created).ok();
        let (Some(created), Some(named)) = (created, volume.name.time()) else {
            return Ok(true);
        };
        Ok(created.0 >= named.0.saturating_sub(RENAMING_SECONDS))
    }

    /// Leaves out the newest versions whose lists cannot be read, up to the first that can. Those that the catalog knows
    /// were read before. When none can be read, all are given.
    pub(crate) fn without_junk(&self, versions: Vec<Version>) -> Result<Vec<Version>> {
        for (place, version) in versions.iter().enumerate() {
            if self.is_version(&version.volume)? {
                return Ok(versions.into_iter().skip(place).collect());
            }
        }
        Ok(versions)
    }

    /// Whether a list can be read. One that cannot is named, once.
    pub(crate) fn is_version(&self, volume: &RemoteVolume) -> Result<bool> {
        let name = volume.name.as_str();
        if let Some(known) = locked(&self.tried_lists).get(name) {
            return Ok(*known);
        }
        let is_version = self.is_known_list(volume)?
            || match self.open_list(volume) {
                Ok(()) => true,
                Err(error) if error.reach() == Reach::Volume => {
                    let text = format!("{}; it is passed over", describe(&error));
                    self.reporter.warn("DamagedList", text);
                    // What could not be had may be a version.
                    if error.is_wrong_content() && !is_wrong_passphrase(&error) {
                        self.note_no_version(name)?;
                    }
                    false
                }
                Err(error) => return Err(error),
            };
        locked(&self.tried_lists).insert(name.to_owned(), is_version);
        if is_version {
            self.forget_no_version(name)?;
        }
        Ok(is_version)
    }

    /// Opens a list and keeps it for whoever reads it next.
    ///
    /// # Errors
    /// [`Error::Volume`] for one that cannot be read, or that is older than its name says.
    pub(crate) fn open_list(&self, volume: &RemoteVolume) -> Result<()> {
        let archive = self.fetch_list(volume)?;
        if !self.is_as_old_as_its_name(volume, &archive)? {
            return Err(Error::volume(volume.name.as_str(), renamed()));
        }
        let len = volume.size.unwrap_or(u64::MAX);
        if len <= KEPT_BYTES {
            let whole = (len, HashAlgorithm::Sha256.digest(b""));
            let name = volume.name.clone();
            self.opened.keep(OpenedVolume {
                name,
                archive,
                whole,
            });
        }
        Ok(())
    }

    /// True when the catalog has a version of this list.
    pub(crate) fn is_known_list(&self, volume: &RemoteVolume) -> Result<bool> {
        let row = self.catalog(|c| c.volume_named(volume.name.as_str()))?;
        Ok(row
            .is_some_and(|row| matches!(row.state, VolumeState::Uploaded | VolumeState::Verified)))
    }
}

/// What is wrong with a list whose manifest is older than its name.
pub(crate) fn renamed() -> larder_volume::Error {
    larder_volume::Error::Tampered(
        "it was made earlier than its name says: an old list under a new name".into(),
    )
}

/// The volumes that are asked, in this order: the newest list, an index, the next list, the next index, and so on. Which indexes is by chance: whoever adds files cannot see to it that they are asked.
fn candidates(view: &View, need: Need) -> Vec<RemoteVolume> {
    let chance = RandomState::new();
    let of_kind = |kind: VolumeKind| {
        let volumes = view.volumes.values();
        let mut found: Vec<&RemoteVolume> = volumes.filter(|v| v.name.kind() == kind).collect();
        found.sort_by_cached_key(|volume| chance.hash_one(volume.name.as_str()));
        found.truncate(TRIES);
        found
    };
    let lists = view.lists().into_iter().map(|(_, list)| list);
    let lists: Vec<RemoteVolume> = lists.take(TRIES).collect();
    let indexes = of_kind(VolumeKind::Index);
    let mut all = Vec::new();
    if need == Need::Lists {
        // Whoever wants lists only needs no index.
        all.extend(lists);
        all.extend(indexes.into_iter().cloned());
    } else {
        for turn in 0..TRIES {
            all.extend(lists.get(turn).cloned());
            all.extend(indexes.get(turn).copied().cloned());
        }
    }
    // Blocks are large: they are asked only where there are few others.
    if all.len() < TRIES {
        all.extend(of_kind(VolumeKind::Blocks).into_iter().cloned());
    }
    all
}

fn parse_format(text: &str) -> Option<Format> {
    let mut parts = text.split(' ');
    Some(Format {
        blocksize: parts.next()?.parse().ok()?,
        block_hash: HashAlgorithm::parse(parts.next()?).ok()?,
        file_hash: HashAlgorithm::parse(parts.next()?).ok()?,
    })
}
