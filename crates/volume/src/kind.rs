//! The kinds of volume, container and encryption, and their words in names (docs/format/names.md).

use std::fmt;

use crate::{Error, Result};

/// The three kinds of volume.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum VolumeKind {
    /// `dblock`: blocks of files, metadata and blocklists.
    Blocks,
    /// `dindex`: what a block volume holds.
    Index,
    /// `dlist`: the entries of one version.
    List,
}

impl VolumeKind {
    /// The word in the name.
    pub fn key(self) -> &'static str {
        match self {
            Self::Blocks => "dblock",
            Self::Index => "dindex",
            Self::List => "dlist",
        }
    }

    /// Finds the kind by its word.
    pub(crate) fn parse(text: &str, case_insensitive: bool) -> Option<Self> {
        [Self::Blocks, Self::Index, Self::List]
            .into_iter()
            .find(|kind| same(kind.key(), text, case_insensitive))
    }
}

impl fmt::Display for VolumeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The container of a volume.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum Compression {
    /// A zip archive; the default.
    Zip,
    /// A tar stream compressed as a whole with Zstandard.
    TarZstd,
    /// A tar stream compressed as a whole with gzip.
    TarGzip,
}

impl Compression {
    /// Every container.
    pub const ALL: [Compression; 3] = [Self::Zip, Self::TarZstd, Self::TarGzip];

    /// The extension in names, which is also the value of the option.
    pub fn key(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::TarZstd => "tzstd",
            Self::TarGzip => "tgz",
        }
    }

    /// Finds the container by its key, ignoring case.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.key().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::Unsupported(format!("compression module `{text}`")))
    }
}

/// The encryption of a volume.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum EncryptionKind {
    /// An AES Crypt stream; the default.
    Aes,
    /// A message made by GnuPG.
    Gpg,
}

impl EncryptionKind {
    /// Every kind of encryption.
    pub const ALL: [EncryptionKind; 2] = [Self::Aes, Self::Gpg];

    /// The extension in names, which is also the value of the option.
    pub fn key(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::Gpg => "gpg",
        }
    }

    /// Finds the kind by its key, ignoring case.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.key().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::Unsupported(format!("encryption module `{text}`")))
    }
}

fn same(a: &str, b: &str, case_insensitive: bool) -> bool {
    if case_insensitive {
        a.eq_ignore_ascii_case(b)
    } else {
        a == b
    }
}
