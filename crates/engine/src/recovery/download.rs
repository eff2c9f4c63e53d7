//! Fetching list and data volumes into a folder, decrypted and without the ending of their encryption.
//!
//! A file gets its name when it is whole, so an interrupted download goes on where it ended. What stays damaged after a
//! second fetch is kept under a name of its own, as far as anything is left of it: each block has a hash that is compared
//! when it is used.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use larder_destination::Destination;
use larder_source::{Replace, TargetRoot};
use larder_volume::{ArchiveReader, Format, Unpacker, VolumeKind, VolumeName, parse_block_entry};

use super::folder::LocalFile;
use super::wanted::Wanted;
use super::{DAMAGED_ENDING, Recovery, RecoveryReport, is_of_volume};
use crate::context::Phase;
use crate::crypt::Crypt;
use crate::data::VolumeData;
use crate::entries::filelist_of;
use crate::error::{PathContext, Reach, VolumeContext};
use crate::repository::locked;
use crate::restore::target::stop_when_full;
use crate::run::{open_plain, read_manifest};
use crate::transfer::Remote;
use crate::workers::for_each_parallel;
use crate::{Error, Result};

/// What became of a volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fetched {
    Present,
    Now,
    Damaged,
}

/// A running download.
struct Download<'a> {
    recovery: &'a Recovery,
    remote: &'a Remote,
    root: &'a TargetRoot,
    /// Encrypted files that the passphrase opened.
    opened: AtomicU64,
    /// Those that it did not open; see [`TRIED_LISTS`].
    locked: AtomicU64,
    /// How it failed to open the first.
    first_locked: Mutex<Option<Error>>,
}

impl Recovery {
    /// Fetches the list and data volumes of a backup into a folder.
    ///
    /// # Errors
    /// The destination cannot be read or holds no backup, the passphrase is wrong, the folder cannot be written. Volumes
    /// that are damaged or refused are named in the report.
    pub fn download(
        &self,
        destination: Arc<dyn Destination>,
        runtime: tokio::runtime::Handle,
        folder: &Path,
    ) -> Result<RecoveryReport> {
        self.reporter.phase(Phase::CheckingRemote);
        let remote = Remote::new(
            destination,
            runtime,
            self.settings.retry,
            false,
            self.settings.temp_folder.clone(),
            Arc::clone(&self.reporter),
            self.cancel.clone(),
        );
        let wanted = self.wanted(&remote)?;
        let root = TargetRoot::open(folder).at(folder)?;
        let download = Download {
            recovery: self,
            remote: &remote,
            root: &root,
            opened: AtomicU64::new(0),
            locked: AtomicU64::new(0),
            first_locked: Mutex::default(),
        };
        let (mut fetched, mut present) = (0, 0);
        let threads = self.settings.threads.min(MOST_AT_ONCE);
        for_each_parallel(
            threads,
            wanted,
            |wanted| download.fetch(&wanted),
            |outcome| {
                match outcome {
                    Fetched::Now => fetched += 1,
                    Fetched::Present => present += 1,
                    Fetched::Damaged => {}
                }
                Ok(())
            },
        )?;
        if let Some(error) = locked(&download.first_locked).take()
            && present == 0
            && download.opened.load(Ordering::Relaxed) == 0
        {
            return Err(error);
        }
        Ok(RecoveryReport {
            fetched_files: fetched,
            present_files: present,
            ..self.report(folder.to_owned(), &remote.counts)
        })
    }
}

impl Download<'_> {
    fn fetch(&self, wanted: &Wanted) -> Result<Fetched> {
        self.recovery.cancel.check()?;
        let file = wanted.local.as_str();
        if self.is_present(wanted)? {
            return Ok(Fetched::Present);
        }
        let mut kept = None;
        let mut second = false;
        let error = loop {
            let data = match self.remote.get_volume(&wanted.name, wanted.size) {
                Ok(data) => data,
                // It was tried more than once already.
                Err(error) if error.reach() == Reach::Volume => break error,
                Err(error) => return Err(error),
            };
            // What is to be salvaged from is kept; that costs a copy of it.
            kept = second.then(|| data.clone());
            match self.opened(wanted, data) {
                Ok(plain) => {
                    self.store(file, &plain, Replace::Yes)?;
                    // What was left of it is not needed any more.
                    let _ = self
                        .root
                        .remove(format!("{file}{DAMAGED_ENDING}").as_bytes());
                    return Ok(Fetched::Now);
                }
                Err(error) if error.reach() != Reach::Volume => return Err(error),
                Err(error) if second || self.may_be_passphrase(&error) => break error,
                Err(_) => second = true,
            }
        };
        self.check_passphrase(wanted.name.kind(), &error)?;
        let cost = match kept {
            Some(data) => self.salvage(wanted, data)?,
            None => None,
        };
        let id = error.id().unwrap_or("DamagedVolume");
        let cost = match &cost {
            Some(name) => format!("what is left of it is kept as {name}"),
            None => "it is left out".to_owned(),
        };
        self.recovery.tell_damaged(file, id, &error, &cost);
        Ok(Fetched::Damaged)
    }

    /// Whether a volume lies in the folder already, whole.
    fn is_present(&self, wanted: &Wanted) -> Result<bool> {
        let path = self.root.path().join(wanted.local.as_str());
        let opened = LocalFile::open(&path).and_then(|file| {
            let len = larder_volume::ReadAt::len(&file).at(&path)?;
            let recovery = self.recovery;
            let name = &wanted.local;
            let archive = open_plain(name, (file, len), &recovery.settings, &recovery.unpacking)?;
            let is_plain = wanted.name.encryption().is_none();
            let has_size = !is_plain || wanted.size.is_none_or(|size| size == len);
            Ok(has_size && !archive.recovered())
        });
        match opened {
            Err(error) if is_of_volume(&error) => Ok(false),
            other => other,
        }
    }

    /// Decrypts a fetched volume and looks whether it is whole.
    fn opened(&self, wanted: &Wanted, data: VolumeData) -> Result<VolumeData> {
        let (recovery, name) = (self.recovery, &wanted.name);
        let plain = recovery.crypt.open(name, data)?;
        if name.encryption().is_some() {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        let len = plain.len();
        let parts = (plain.clone(), len);
        let archive = open_plain(
            &wanted.local,
            parts,
            &recovery.settings,
            &recovery.unpacking,
        )?;
        if archive.recovered() {
            return Err(damaged(&wanted.local, "its directory is damaged"));
        }
        // What AES Crypt opens is what was stored.
        if !Crypt::authenticates(name) {
            verify(&archive, &wanted.local)?;
        }
        Ok(plain)
    }

    /// Whether an error is rather one of the passphrase than of the way here, so that a second fetch is in vain.
    fn may_be_passphrase(&self, error: &Error) -> bool {
        let is_locked = matches!(
            error,
            Error::Volume {
                source: larder_volume::Error::WrongPassword,
                ..
            }
        );
        is_locked && self.opened.load(Ordering::Relaxed) == 0
    }

    /// Ends the download when the passphrase opens nothing: one file may be damaged, all are not.
    fn check_passphrase(&self, kind: VolumeKind, error: &Error) -> Result<()> {
        let Error::Volume {
            name,
            source: larder_volume::Error::WrongPassword,
        } = error
        else {
            return Ok(());
        };
        let error = || Error::volume(name.clone(), larder_volume::Error::WrongPassword);
        locked(&self.first_locked).get_or_insert_with(error);
        let counts = match kind {
            VolumeKind::List => 1,
            VolumeKind::Blocks | VolumeKind::Index => LISTS_OF_DATA,
        };
        let tried = self.locked.fetch_add(counts, Ordering::Relaxed) + counts;
        if self.opened.load(Ordering::Relaxed) > 0 || tried < TRIED_LISTS {
            return Ok(());
        }
        Err(error())
    }

    /// Keeps what is left of a damaged volume; gives the name of its file, when anything is.
    fn salvage(&self, wanted: &Wanted, data: VolumeData) -> Result<Option<String>> {
        let recovery = self.recovery;
        let plain = match wanted.name.encryption() {
            None => Some(data),
            Some(_) => match recovery.crypt.salvage(&wanted.name, &data) {
                Err(error) if error.reach() == Reach::Volume => None,
                other => other?,
            },
        };
        let Some(plain) = plain else {
            return Ok(None);
        };
        let parts = (plain.clone(), plain.len());
        let archive = open_plain(
            &wanted.local,
            parts,
            &recovery.settings,
            &recovery.unpacking,
        );
        let holds_something = match archive {
            Ok(archive) if wanted.local.kind() == VolumeKind::List => {
                filelist_of(&archive, wanted.local.as_str()).is_ok()
            }
            Ok(archive) => archive
                .entries()
                .any(|entry| parse_block_entry(&entry.name).is_some()),
            Err(error) if error.reach() == Reach::Volume => false,
            Err(error) => return Err(error),
        };
        if !holds_something {
            return Ok(None);
        }
        let name = format!("{}{DAMAGED_ENDING}", wanted.local.as_str());
        self.store(&name, &plain, Replace::Yes)?;
        Ok(Some(name))
    }

    /// Writes a file under a temporary name and gives it its own.
    fn store(&self, name: &str, data: &VolumeData, replace: Replace) -> Result<()> {
        let path = self.root.path().join(name);
        let mut reader = data.reader()?;
        let written = self
            .root
            .open_temporary(name.as_bytes())
            .and_then(|temporary| {
                let mut file = temporary.file;
                file.set_len(0)?;
                let mut buffer = vec![0; 1 << 18];
                loop {
                    let len = reader.read(&mut buffer)?;
                    match buffer.get(..len) {
                        Some(piece) if len > 0 => file.write_all(piece)?,
                        _ => break,
                    }
                }
                self.root.finish_temporary(&file, name.as_bytes(), replace)
            });
        written.or_else(|error| {
            // What is left is used or removed by the next download.
            let _ = self.root.discard_temporary(name.as_bytes());
            stop_when_full(&error, self.root.path())?;
            Err(Error::io(path, error))
        })
    }
}

/// Reads all of a volume that nothing authenticates.
fn verify(archive: &ArchiveReader<VolumeData>, name: &VolumeName) -> Result<()> {
    let text = name.as_str();
    if name.kind() == VolumeKind::List {
        let entry = filelist_of(archive, text)?;
        let mut stream = archive.stream(entry).in_volume(text)?;
        let read = std::io::copy(&mut stream, &mut std::io::sink());
        return read
            .map(drop)
            .map_err(|error| Error::volume(text, larder_volume::Error::Io(error)));
    }
    let format = Format::of(&read_manifest(archive, text)?).in_volume(text)?;
    let (mut out, mut unpacker) = (Vec::new(), Unpacker::new());
    for entry in archive.entries() {
        let Some(hash) = parse_block_entry(&entry.name) else {
            continue;
        };
        archive
            .read_into(entry, &mut out, format.blocksize, &mut unpacker)
            .in_volume(text)?;
        if format.block_hash.digest(&out) != hash {
            return Err(damaged(name, "a block is not what its name says"));
        }
    }
    Ok(())
}

fn damaged(name: &VolumeName, what: &str) -> Error {
    Error::volume(
        name.as_str(),
        larder_volume::Error::Malformed {
            what: "volume",
            detail: what.to_owned(),
        },
    )
}

/// Volumes fetched at a time; each lies in memory, or in a temporary file when it is large.
const MOST_AT_ONCE: usize = 3;
/// When so many lists do not open and no file did, it is the passphrase. A data volume counts as several: it is larger,
/// and comes after all lists.
const TRIED_LISTS: u64 = 20;
const LISTS_OF_DATA: u64 = 7;
