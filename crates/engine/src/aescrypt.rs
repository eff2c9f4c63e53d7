//! AES Crypt files, one at a time: the same streams as volumes, for other files and for people with a single volume.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use larder_source::{Replace, Restore, TargetRoot};
use larder_volume::{AesReadOptions, AesReader, AesVersion, AesWriter, HashAlgorithm};

use crate::cancel::Cancel;
use crate::crypt::{Crypt, Encryption, Outside};
use crate::error::PathContext;
use crate::recovery::ToolSetup;
use crate::restore::current_umask;
use crate::restore::target::stop_when_full;
use crate::settings::Settings;
use crate::sync::describe;
use crate::{Error, Result};

/// Encrypts and decrypts files with one passphrase.
pub struct AesCrypt {
    crypt: Crypt,
    encryption: Encryption,
    cancel: Cancel,
}

/// What is done about files that are not as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decrypting {
    /// They are refused.
    Strict,
    /// Any bytes may fill the last block, as other programs leave them.
    AnyPadding,
    /// What can be decrypted is kept, and what is wrong is told.
    KeepDamaged,
}

impl AesCrypt {
    /// Reads the options; touches nothing.
    ///
    /// # Errors
    /// Wrong options.
    pub fn new(setup: ToolSetup) -> Result<Self> {
        let settings = Settings::read(&setup.values)?;
        let outside = Outside {
            random: setup.random,
            clock: setup.clock,
            cancel: setup.cancel.clone(),
        };
        Ok(Self {
            crypt: Crypt::new(&settings, setup.passphrase, outside),
            encryption: settings.encryption,
            cancel: setup.cancel,
        })
    }

    /// Encrypts a file. The new one has a temporary name until it is whole.
    ///
    /// # Errors
    /// A file cannot be read or written, or the new one is there already and may not be replaced.
    pub fn encrypt(&self, from: &Path, to: &Path, replace: bool) -> Result<()> {
        let password = self.crypt.password()?;
        let (version, minimal) = match self.encryption {
            Encryption::Aes {
                version,
                minimal_header,
            } => (version, minimal_header),
            Encryption::None | Encryption::Gpg => (AesVersion::V2, false),
        };
        let (header, seed) = (self.crypt.header(version, minimal), self.crypt.seed()?);
        let mut reader = open(from)?;
        let output = Output::create(to, replace)?;
        let out = BufWriter::with_capacity(COPY_BYTES, &output.file);
        let written = AesWriter::create(out, password, &header, &seed, HashAlgorithm::Sha256)
            .map_err(writing)
            .and_then(|mut writer| {
                let reading = |error| Error::io(from, error);
                self.copy(&mut reader, &mut writer, reading)?;
                let (mut out, _) = writer.finish().map_err(writing)?;
                out.flush().map_err(Trouble::Write)
            });
        output.end(written)
    }

    /// Decrypts a file. The new one has a temporary name until the old one was verified to its end. What is wrong with a
    /// file that is kept nevertheless is answered.
    ///
    /// # Errors
    /// As for [`AesCrypt::encrypt`]; the passphrase is wrong, or the file is damaged.
    pub fn decrypt(
        &self,
        from: &Path,
        to: &Path,
        how: Decrypting,
        replace: bool,
    ) -> Result<Option<String>> {
        let options = AesReadOptions {
            ignore_padding: how == Decrypting::AnyPadding || self.crypt.ignore_padding,
            keep_damaged: how == Decrypting::KeepDamaged,
            ..AesReadOptions::default()
        };
        let damage = |error| damaged(from, error);
        let password = self.crypt.password()?;
        let mut reader = AesReader::open_with(open(from)?, password, options).map_err(damage)?;
        let output = Output::create(to, replace)?;
        let mut out = BufWriter::with_capacity(COPY_BYTES, &output.file);
        let reading = |error| damaged(from, larder_volume::Error::Io(error));
        let written = self
            .copy(&mut reader, &mut out, reading)
            .and_then(|()| out.flush().map_err(Trouble::Write));
        drop(out);
        output.end(written)?;
        Ok(reader.damage().map(|error| describe(error)))
    }

    /// Copies to the end.
    fn copy(
        &self,
        reader: &mut dyn Read,
        writer: &mut dyn Write,
        reading: impl Fn(io::Error) -> Error,
    ) -> std::result::Result<(), Trouble> {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            self.cancel.check().map_err(Trouble::Other)?;
            let len = reader
                .read(&mut buffer)
                .map_err(|error| Trouble::Other(reading(error)))?;
            match buffer.get(..len) {
                Some(piece) if len > 0 => writer.write_all(piece).map_err(Trouble::Write)?,
                _ => return Ok(()),
            }
        }
    }
}

/// Why a file is not written.
enum Trouble {
    Write(io::Error),
    Other(Error),
}

/// An error of a writer of streams: of what it writes to, or of what it was told.
fn writing(error: larder_volume::Error) -> Trouble {
    match error {
        larder_volume::Error::Io(error) => Trouble::Write(error),
        other => Trouble::Other(Error::volume("(new file)", other)),
    }
}

/// A file under a temporary name.
struct Output {
    root: TargetRoot,
    file: File,
    path: PathBuf,
    replace: bool,
}

impl Output {
    fn create(path: &Path, replace: bool) -> Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::io(path, io::ErrorKind::IsADirectory.into()));
        };
        // Opening makes folders that are not there, and a mistyped one must not come into being.
        if !parent.is_dir() {
            return Err(Error::io(parent, io::ErrorKind::NotFound.into()));
        }
        let root = TargetRoot::open(parent).at(parent)?;
        let name = name.as_encoded_bytes();
        if !replace && root.stat(name).at(path)?.is_some() {
            return Err(exists(path));
        }
        let file = root.open_temporary(name).at(path)?.file;
        file.set_len(0).at(path)?;
        Ok(Self {
            root,
            file,
            path: path.to_owned(),
            replace,
        })
    }

    fn name(&self) -> &[u8] {
        let name = self.path.file_name();
        name.map_or(&[], |name| name.as_encoded_bytes())
    }

    /// Gives the file its name when it was written, and removes it when not.
    fn end(&self, written: std::result::Result<(), Trouble>) -> Result<()> {
        let mode = Restore {
            mode: Some(0o666 & !current_umask()),
            ..Restore::default()
        };
        let replace = match self.replace {
            true => Replace::Yes,
            false => Replace::No,
        };
        let ended = written.and_then(|()| {
            let _ = self.root.apply_file(&self.file, &mode);
            let finished = self.root.finish_temporary(&self.file, self.name(), replace);
            finished.map_err(Trouble::Write)
        });
        let Err(trouble) = ended else {
            return Ok(());
        };
        let _ = self.root.discard_temporary(self.name());
        match trouble {
            Trouble::Other(error) => Err(error),
            Trouble::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(exists(&self.path))
            }
            Trouble::Write(error) => {
                stop_when_full(&error, self.root.path())?;
                Err(Error::io(&self.path, error))
            }
        }
    }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).at(path)?;
    Ok(BufReader::with_capacity(COPY_BYTES, file))
}

fn exists(path: &Path) -> Error {
    Error::user(
        "FileExists",
        format!("{} is there already", path.display()),
        "name another file, or say --overwrite",
    )
}

/// What is wrong with a file that was to be decrypted.
fn damaged(path: &Path, error: larder_volume::Error) -> Error {
    let what = describe(&error);
    let path = path.display();
    match error {
        larder_volume::Error::WrongPassword => Error::user(
            "WrongPassphrase",
            format!("the passphrase does not open {path}, or its header is damaged"),
            "check the passphrase; it is taken exactly as it is given, with every blank",
        ),
        larder_volume::Error::Io(error) if error.raw_os_error().is_some() => {
            Error::io(path.to_string(), error)
        }
        _ => Error::data(
            "DamagedFile",
            format!("{path} cannot be decrypted: {what}"),
            "bring the file back as it was; `aescrypt do` keeps what can be decrypted, `aescrypt dc` takes files of other programs",
        ),
    }
}

/// What is read at a time.
const COPY_BYTES: usize = 1 << 18;
