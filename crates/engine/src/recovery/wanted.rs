//! Which files of a destination a recovery fetches.

use std::collections::HashSet;

use larder_destination::RemoteFile;
use larder_options::engine as opt;
use larder_volume::{VolumeKind, VolumeName};

use super::Recovery;
use crate::crypt::is_supported;
use crate::sync::{named, not_encrypted};
use crate::transfer::Remote;
use crate::{Error, Result};

/// A volume to be fetched.
pub(super) struct Wanted {
    pub(super) name: VolumeName,
    /// The name of its file here.
    pub(super) local: VolumeName,
    pub(super) size: Option<u64>,
}

impl Recovery {
    /// The volumes of the backup at the destination: lists first, which are small and tell whether the passphrase is
    /// right.
    pub(super) fn wanted(&self, remote: &Remote) -> Result<Vec<Wanted>> {
        let parse = |file: &RemoteFile| {
            let name = VolumeName::parse(&file.name, self.settings.case_insensitive)?;
            (name.kind() != VolumeKind::Index).then_some(name)
        };
        let files = remote.list_where(false, |file| parse(file).is_some())?;
        let (mut wanted, mut foreign, mut strays) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let Some(name) = parse(&file) else { continue };
            if !self
                .settings
                .same_name(name.prefix(), &self.settings.prefix)
            {
                foreign.push(name.prefix().to_owned());
            } else if !is_supported(name.encryption()) {
                strays.push(file.name);
            } else if let Some(local) = self.local(&name) {
                let size = file.size;
                wanted.push(Wanted { name, local, size });
            }
        }
        if !strays.is_empty() {
            strays.sort_unstable();
            self.reporter.warn(
                "UnknownEnding",
                format!(
                    "{} named like volumes but for the ending, and passed over",
                    named(&strays)
                ),
            );
        }
        self.leave_out_unsafe(&mut wanted)?;
        if wanted.is_empty() {
            foreign.sort_unstable();
            foreign.dedup();
            let mut text = format!("there is no volume of a backup in {}", remote.display());
            if !foreign.is_empty() {
                text.push_str(&format!(
                    "; it holds backups with the prefix {}",
                    foreign.join(", ")
                ));
            }
            return Err(Error::data(
                "EmptyRemoteLocation",
                text,
                "check the URL and --prefix",
            ));
        }
        wanted.sort_by(|a, b| {
            let is_data = |w: &Wanted| w.name.kind() != VolumeKind::List;
            (is_data(a), a.name.as_str()).cmp(&(is_data(b), b.name.as_str()))
        });
        // Two volumes must not get one name here.
        let mut names = HashSet::new();
        wanted.retain(|wanted| names.insert(wanted.local.as_str().to_ascii_lowercase()));
        Ok(wanted)
    }

    /// The name of a volume without its encryption.
    fn local(&self, name: &VolumeName) -> Option<VolumeName> {
        let text = name.as_str();
        let bare = match name.encryption() {
            Some(ending) => text.get(..text.len().checked_sub(ending.len() + 1)?)?,
            None => text,
        };
        VolumeName::parse(bare, self.settings.case_insensitive)
    }

    /// Leaves out what is not encrypted among volumes that are, because anybody can have put it there; or what is
    /// encrypted when `--no-encryption` says that nothing is.
    fn leave_out_unsafe(&self, wanted: &mut Vec<Wanted>) -> Result<()> {
        let is_plain = |wanted: &Wanted| wanted.name.encryption().is_none();
        let plain = wanted.iter().filter(|wanted| is_plain(wanted)).count();
        let is_asked = self.crypt.passphrase.is_some() && self.crypt.kind().is_some();
        let allows = self.values.get(opt::ALLOW_UNENCRYPTED_VOLUMES)?;
        if plain > 0 && plain == wanted.len() && is_asked && !allows {
            return Err(not_encrypted());
        }
        if plain == 0 || plain == wanted.len() {
            return Ok(());
        }
        let names = |left_out: Vec<Wanted>| {
            let names = left_out
                .iter()
                .map(|wanted| wanted.name.as_str().to_owned());
            let mut names: Vec<String> = names.collect();
            names.sort_unstable();
            named(&names)
        };
        if self.crypt.passphrase.is_none() && self.crypt.kind().is_none() {
            let left_out = wanted.extract_if(.., |wanted| !is_plain(wanted)).collect();
            self.reporter.warn(
                "EncryptedVolumes",
                format!(
                    "{} encrypted, and this backup is not: without a passphrase they are passed over",
                    names(left_out)
                ),
            );
        } else if !allows {
            let left_out = wanted.extract_if(.., |wanted| is_plain(wanted)).collect();
            self.reporter.warn(
                "UnencryptedVolumes",
                format!(
                    "{} not encrypted, as the other volumes of this backup are: anybody who can write to the destination can have made them. They are passed over; say --{} if they are yours",
                    names(left_out),
                    opt::ALLOW_UNENCRYPTED_VOLUMES.decl.name
                ),
            );
        }
        Ok(())
    }
}
