//! A folder with the volumes of a backup, decrypted.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use larder_options::engine as opt;
use larder_volume::{ArchiveReader, Format, ReadAt, VolumeKind, VolumeName};

use super::{DAMAGED_ENDING, Recovery, is_of_volume};
use crate::crypt::is_supported;
use crate::error::PathContext;
use crate::run::{open_plain, read_manifest};
use crate::words::counted;
use crate::{Error, Result};

/// One volume in the folder.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Its name as a volume.
    pub(super) name: VolumeName,
    /// The name of its file.
    pub(super) file: String,
    /// Whether it was damaged when it was fetched; its file then says so.
    pub(super) is_damaged: bool,
}

/// The volumes in a folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Version lists, the newest first; of one time the whole one.
    pub(super) lists: Vec<Stored>,
    /// Data volumes in the order of their names.
    pub(super) blocks: Vec<Stored>,
}

/// A file of the folder that an archive is read from.
#[derive(Debug)]
pub(super) struct LocalFile {
    file: File,
    len: u64,
}

impl LocalFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = larder_source::open_for_read_following(path).at(path)?;
        Self::of(file).at(path)
    }

    pub(super) fn of(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl ReadAt for LocalFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

impl Recovery {
    /// Reads the names in a folder. Of several backups the one that `--prefix` names is meant, or the only one.
    ///
    /// # Errors
    /// The folder cannot be read, holds several backups, or only encrypted volumes.
    pub(super) fn folder(&self, path: &Path) -> Result<Folder> {
        let mut found = Vec::new();
        let mut encrypted = 0_u64;
        let entries = match std::fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::user(
                    "FolderMissing",
                    format!("the folder {} does not exist", path.display()),
                    format!("make it: `larder recovery download URL {}`", path.display()),
                ));
            }
            entries => entries.at(path)?,
        };
        for entry in entries {
            self.cancel.check()?;
            let Ok(file) = entry.at(path)?.file_name().into_string() else {
                continue;
            };
            let Some(stored) = self.stored(file) else {
                continue;
            };
            match stored.name.encryption() {
                None => found.push(stored),
                // Endings that no module has are other files.
                Some(_) if !is_supported(stored.name.encryption()) => {}
                Some(_) => encrypted += 1,
            }
        }
        if encrypted > 0 {
            let text = format!(
                "{} in {} {} encrypted",
                counted(encrypted, "volume"),
                path.display(),
                crate::words::verb(encrypted, "is", "are")
            );
            let help = format!(
                "decrypt them into another folder first: `larder recovery download {} FOLDER`",
                path.display()
            );
            if found.is_empty() {
                return Err(Error::user("EncryptedVolumes", text, help));
            }
            self.reporter.warn(
                "EncryptedVolumes",
                format!("{text} and passed over; {help}"),
            );
        }
        self.of_one_backup(&mut found, path)?;
        Ok(sorted(path, found))
    }

    /// A volume of a kind that a recovery reads, by the name of its file.
    fn stored(&self, file: String) -> Option<Stored> {
        let bare = file.strip_suffix(DAMAGED_ENDING);
        let name = VolumeName::parse(bare.unwrap_or(&file), self.settings.case_insensitive)?;
        (name.kind() != VolumeKind::Index).then_some(Stored {
            is_damaged: bare.is_some(),
            name,
            file,
        })
    }

    fn of_one_backup(&self, found: &mut Vec<Stored>, path: &Path) -> Result<()> {
        let prefixes: BTreeSet<&str> = found.iter().map(|stored| stored.name.prefix()).collect();
        let wanted = match prefixes.first() {
            Some(only) if prefixes.len() == 1 && !self.values.is_set(opt::PREFIX) => {
                (*only).to_owned()
            }
            Some(_) if !self.values.is_set(opt::PREFIX) => {
                let names: Vec<&str> = prefixes.into_iter().collect();
                return Err(Error::user(
                    "SeveralBackups",
                    format!(
                        "{} holds several backups, with the prefixes {}",
                        path.display(),
                        names.join(", ")
                    ),
                    "say which one with --prefix=…",
                ));
            }
            _ => self.settings.prefix.clone(),
        };
        found.retain(|stored| self.settings.same_name(stored.name.prefix(), &wanted));
        Ok(())
    }

    /// Opens a volume of a folder.
    ///
    /// # Errors
    /// The file cannot be read or is no archive, which concerns this volume only; or trouble of this machine.
    pub(super) fn open(
        &self,
        folder: &Folder,
        stored: &Stored,
    ) -> Result<ArchiveReader<LocalFile>> {
        let file = LocalFile::open(&folder.path.join(&stored.file))?;
        let len = file.len;
        open_plain(&stored.name, (file, len), &self.settings, &self.unpacking)
    }

    /// The parameters that a version was made with. Where its list does not say it, another volume does.
    pub(super) fn format(
        &self,
        folder: &Folder,
        list: &Stored,
        archive: &ArchiveReader<LocalFile>,
    ) -> Result<Format> {
        let own = format_in(archive, &list.name);
        let error = match own {
            Ok(format) => return Ok(format),
            Err(error) => error,
        };
        let others = folder.lists.iter().chain(&folder.blocks);
        for other in others.filter(|other| other.file != list.file).take(ASKED) {
            let format = self
                .open(folder, other)
                .and_then(|archive| format_in(&archive, &other.name));
            match format {
                Ok(format) => {
                    self.reporter.warn(
                        "ManifestMissing",
                        format!(
                            "{}: {}; that of {} is used",
                            list.file,
                            crate::sync::describe(&error),
                            other.file
                        ),
                    );
                    return Ok(format);
                }
                Err(error) if is_of_volume(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(error)
    }
}

/// The parameters in a volume's manifest.
fn format_in(archive: &ArchiveReader<LocalFile>, name: &VolumeName) -> Result<Format> {
    let manifest = read_manifest(archive, name.as_str())?;
    Format::of(&manifest).map_err(|source| Error::volume(name.as_str(), source))
}

/// Lists newest first, of each time the best one; data volumes by name.
fn sorted(path: &Path, found: Vec<Stored>) -> Folder {
    let (mut lists, mut blocks): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|stored| stored.name.kind() == VolumeKind::List);
    lists.sort_by(|a, b| {
        let newest = b.name.time().cmp(&a.name.time());
        newest
            .then(a.is_damaged.cmp(&b.is_damaged))
            .then_with(|| a.file.cmp(&b.file))
    });
    lists.dedup_by(|later, kept| later.name.time() == kept.name.time());
    blocks.sort_by(|a, b| a.file.cmp(&b.file));
    Folder {
        path: path.to_owned(),
        lists,
        blocks,
    }
}

/// How many volumes are asked for the parameters of a backup.
const ASKED: usize = 50;
