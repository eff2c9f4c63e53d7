//! Encrypting finished volumes and decrypting fetched ones; the only place that knows AES Crypt from GnuPG.
//!
//! Which module decrypts is decided by the remote name's extension, so sets written with several modules stay
//! readable (docs/format/encryption-aes.md, docs/format/encryption-gpg.md).

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};

use larder_options::Secret;
use larder_volume::{
    AesHeader, AesReadOptions, AesReader, AesSeed, AesVersion, AesWriter, EncryptionKind, Hash,
    HashAlgorithm, VolumeName, decrypt_in_place,
};

use larder_destination::{Clock, Random};

use crate::cancel::Cancel;
use crate::context::no_randomness;
use crate::data::{HashSink, Sink, VolumeData};
use crate::error::VolumeContext;
pub(crate) use crate::gpg::GpgSettings;
use crate::gpg::Way;
use crate::repository::locked;
use crate::settings::Settings;
use crate::temporary::{TempFolder, temporary_error};
use crate::{Error, Result};

/// How volumes are encrypted when written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Not at all.
    None,
    /// AES Crypt stream.
    Aes {
        /// Stream format to write.
        version: AesVersion,
        /// Leave out the informative header fields.
        minimal_header: bool,
    },
    /// The gpg program.
    Gpg,
}

/// Encrypts and decrypts volumes with one passphrase.
pub(crate) struct Crypt {
    pub(crate) encryption: Encryption,
    pub(crate) passphrase: Option<Secret>,
    pub(crate) gpg: GpgSettings,
    pub(crate) ignore_padding: bool,
    pub(crate) temp_folder: TempFolder,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cancel: Cancel,
    pub(crate) rounds: Mutex<Rounds>,
}

/// How many rounds of key derivation were spent on what. Whoever adds files to the destination chooses their rounds, so
/// the work for files that do not open must not grow with their number (docs/threat-model.md).
#[derive(Default)]
pub(crate) struct Rounds {
    /// Numbers of rounds that files of this backup have, or that the user named.
    own: BTreeSet<u32>,
    /// Some file was opened.
    any: bool,
    /// Spent on files that did not open.
    in_vain: u64,
}

impl Rounds {
    /// With the number that the user named.
    pub(crate) fn new(named: Option<u32>) -> Self {
        Self {
            own: named.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether a file with so many rounds is not worth its work any more.
    fn refuses(&self, iterations: u32) -> bool {
        let is_usual = iterations <= AesVersion::DEFAULT_ITERATIONS;
        self.in_vain.saturating_add(u64::from(iterations)) > MOST_IN_VAIN && (self.any || !is_usual)
    }

    fn note<T>(&mut self, iterations: u32, outcome: &Result<T>) {
        match outcome {
            Ok(_) => {
                self.any = true;
                self.own.insert(iterations);
            }
            Err(_) => self.in_vain = self.in_vain.saturating_add(u64::from(iterations)),
        }
    }
}

/// Rounds that may be spent on files that do not open: those of ten files as AES Crypt writes them, some seconds.
const MOST_IN_VAIN: u64 = 10 * AesVersion::DEFAULT_ITERATIONS as u64;

/// Random bytes and clock of a crypt.
pub(crate) struct Outside {
    pub(crate) random: Arc<dyn Random>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cancel: Cancel,
}

impl Crypt {
    /// Encrypts and decrypts as the options say.
    pub(crate) fn new(settings: &Settings, passphrase: Option<Secret>, outside: Outside) -> Self {
        Self {
            encryption: settings.encryption.clone(),
            passphrase,
            gpg: settings.gpg.clone(),
            ignore_padding: settings.ignore_padding,
            temp_folder: settings.temp_folder.clone(),
            random: outside.random,
            clock: outside.clock,
            cancel: outside.cancel,
            rounds: Mutex::new(Rounds::new(settings.aes_rounds)),
        }
    }

    /// True for volumes whose content is authenticated by their encryption.
    pub(crate) fn authenticates(name: &VolumeName) -> bool {
        matches!(module(name.encryption()), Ok(Some(EncryptionKind::Aes)))
    }

    /// The extension of new volumes.
    pub(crate) fn kind(&self) -> Option<EncryptionKind> {
        match self.encryption {
            Encryption::None => None,
            Encryption::Aes { .. } => Some(EncryptionKind::Aes),
            Encryption::Gpg => Some(EncryptionKind::Gpg),
        }
    }

    pub(crate) fn password(&self) -> Result<&str> {
        match self.passphrase.as_ref().map(Secret::expose) {
            Some(password) if !password.is_empty() => Ok(password),
            _ => Err(Error::user(
                "PassphraseMissing",
                "the volumes are encrypted and no passphrase was given",
                "give --passphrase=… or set the environment variable PASSPHRASE (or say --no-encryption for a plain backup)",
            )),
        }
    }

    /// Opens a writer whose output is encrypted, hashed and collected in `sink`.
    pub(crate) fn writer(&self, sink: Sink, hash: HashAlgorithm) -> Result<SealWriter> {
        match &self.encryption {
            Encryption::None => Ok(SealWriter::Plain(HashSink::new(sink, hash))),
            Encryption::Aes {
                version,
                minimal_header,
            } => {
                let header = self.header(*version, *minimal_header);
                let seed = self.seed()?;
                let writer = AesWriter::create(sink, self.password()?, &header, &seed, hash)
                    .in_volume("(new volume)")?;
                Ok(SealWriter::Aes(Box::new(writer)))
            }
            Encryption::Gpg => {
                self.password()?;
                Ok(SealWriter::Gpg {
                    plain: Sink::new(IN_MEMORY_BYTES, self.temp_folder.clone()),
                    out: HashSink::new(sink, hash),
                })
            }
        }
    }

    /// Ends a writer: the encrypted volume with its hash.
    pub(crate) fn seal(&self, writer: SealWriter) -> Result<(VolumeData, Hash)> {
        match writer {
            SealWriter::Plain(sink) => sink.finish(),
            SealWriter::Aes(writer) => {
                let (sink, hash) = writer.finish().in_volume("(new volume)")?;
                Ok((sink.finish()?, hash))
            }
            SealWriter::Gpg { plain, mut out } => {
                let plain = plain.finish()?;
                self.run_gpg(Way::Encrypt, &plain, &mut out, "(new volume)")?;
                out.finish()
            }
        }
    }

    /// Fresh random bytes for a stream.
    pub(crate) fn seed(&self) -> Result<AesSeed> {
        let mut seed = AesSeed {
            public_iv: [0; 16],
            session_iv: [0; 16],
            session_key: [0; 32],
        };
        let fill = |bytes: &mut [u8]| self.random.fill(bytes).map_err(no_randomness);
        fill(&mut seed.public_iv)?;
        fill(&mut seed.session_iv)?;
        fill(&mut seed.session_key)?;
        Ok(seed)
    }

    /// The header of a new stream.
    pub(crate) fn header(&self, version: AesVersion, minimal: bool) -> AesHeader {
        let mut header = match minimal {
            true => AesHeader::minimal(),
            false => self.standard_header(),
        };
        header.version = version;
        header
    }

    fn standard_header(&self) -> AesHeader {
        let (seconds, _) = self.clock.now();
        let time = jiff::Timestamp::from_second(seconds)
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::UTC);
        let hour = match time.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        AesHeader::standard(
            &format!("Larder v{}", env!("CARGO_PKG_VERSION")),
            &time.strftime("%Y-%m-%d").to_string(),
            &format!("{hour:02}-{:02}-{:02}", time.minute(), time.second()),
        )
    }

    /// Decrypts a fetched volume according to its name; unencrypted ones pass through.
    ///
    /// # Errors
    /// `WrongPassword` or `Tampered` inside [`Error::Volume`]; a missing passphrase as a named condition.
    pub(crate) fn open(&self, name: &VolumeName, data: VolumeData) -> Result<VolumeData> {
        let text = name.as_str();
        match module(name.encryption()) {
            Ok(None) => Ok(data),
            Ok(Some(EncryptionKind::Aes)) => {
                let password = self.password()?;
                let version = AesVersion::of_stream(data.reader()?).in_volume(text)?;
                let options = AesReadOptions {
                    ignore_padding: self.ignore_padding,
                    ..AesReadOptions::default()
                };
                self.with_rounds(version, text, || match data {
                    VolumeData::Memory(bytes) => {
                        // Nobody else holds the bytes of a fetched volume, so this copies nothing.
                        let mut bytes = Vec::from(bytes);
                        decrypt_in_place(&mut bytes, password, options).in_volume(text)?;
                        Ok(VolumeData::Memory(bytes.into()))
                    }
                    VolumeData::File(_) => {
                        let mut reader = AesReader::open_with(data.reader()?, password, options)
                            .in_volume(text)?;
                        let mut sink = Sink::new(0, self.temp_folder.clone());
                        copy_decrypted(&mut reader, &mut sink, text)?;
                        sink.finish()
                    }
                })
            }
            Ok(Some(EncryptionKind::Gpg)) => {
                self.password()?;
                let mut sink = Sink::new(IN_MEMORY_BYTES, self.temp_folder.clone());
                self.run_gpg(Way::Decrypt, &data, &mut sink, text)?;
                sink.finish()
            }
            Err(error) => Err(Error::volume(text, error)),
        }
    }

    /// Decrypts what is left of a damaged volume, for what is verified block by block; `None` when its encryption gives
    /// nothing out of damaged files.
    ///
    /// # Errors
    /// As for [`Crypt::open`] where the header does not open.
    pub(crate) fn salvage(
        &self,
        name: &VolumeName,
        data: &VolumeData,
    ) -> Result<Option<VolumeData>> {
        let text = name.as_str();
        let Ok(Some(EncryptionKind::Aes)) = module(name.encryption()) else {
            return Ok(None);
        };
        let password = self.password()?;
        let version = AesVersion::of_stream(data.reader()?).in_volume(text)?;
        let options = AesReadOptions {
            keep_damaged: true,
            ..AesReadOptions::default()
        };
        self.with_rounds(version, text, || {
            let mut reader =
                AesReader::open_with(data.reader()?, password, options).in_volume(text)?;
            let mut sink = Sink::new(IN_MEMORY_BYTES, self.temp_folder.clone());
            copy_decrypted(&mut reader, &mut sink, text)?;
            sink.finish().map(Some)
        })
    }

    /// Decrypts an AES stream of some version, unless it would cost more than it is worth.
    fn with_rounds<T>(
        &self,
        version: AesVersion,
        name: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let AesVersion::V3 { iterations } = version else {
            let outcome = work();
            locked(&self.rounds).any |= outcome.is_ok();
            return outcome;
        };
        let mut rounds = locked(&self.rounds);
        if rounds.own.contains(&iterations) {
            // It costs no more than each volume of this backup does.
            drop(rounds);
            return work();
        }
        if rounds.refuses(iterations) {
            return Err(Error::volume(
                name,
                larder_volume::Error::Unsupported(format!(
                    "an AES Crypt stream of {iterations} rounds, in which other files did not open; say --{}={iterations} if this backup was made so",
                    larder_options::engine::AES_V3_ITERATIONS.decl.name
                )),
            ));
        }
        // Under the lock: the next thread knows then what became of this file.
        let outcome = work();
        rounds.note(iterations, &outcome);
        outcome
    }

    fn run_gpg(
        &self,
        way: Way,
        input: &VolumeData,
        output: &mut dyn Write,
        name: &str,
    ) -> Result<()> {
        let password = self.password()?;
        self.gpg
            .run(way, password, input, output, &self.cancel, name)
    }
}

/// True when volumes with this extension can be decrypted at all.
pub(crate) fn is_supported(extension: Option<&str>) -> bool {
    module(extension).is_ok()
}

/// The module that an ending stands for.
fn module(extension: Option<&str>) -> larder_volume::Result<Option<EncryptionKind>> {
    extension.map(EncryptionKind::parse).transpose()
}

/// Copies what `reader` decrypts. Data that are wrong are the volume's fault; a disk that fails is this machine's.
fn copy_decrypted(reader: &mut dyn Read, sink: &mut dyn Write, name: &str) -> Result<()> {
    let mut buffer = vec![0_u8; COPY_BYTES];
    loop {
        let len = reader.read(&mut buffer).map_err(|error| {
            let source = match error.kind() {
                // So the reader says that the data are wrong.
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                    larder_volume::Error::Tampered(error.to_string())
                }
                _ => larder_volume::Error::Io(error),
            };
            Error::volume(name, source)
        })?;
        match buffer.get(..len) {
            Some(piece) if len > 0 => sink.write_all(piece).map_err(temporary_error)?,
            _ => return Ok(()),
        }
    }
}

/// What is decrypted and written at a time.
const COPY_BYTES: usize = 1 << 18;

/// Volumes up to this size are handled in memory.
pub(crate) const IN_MEMORY_BYTES: u64 = 160 << 20;

/// A volume being encrypted while it is written.
pub(crate) enum SealWriter {
    /// No encryption.
    Plain(HashSink),
    /// AES Crypt, encrypted as it comes.
    Aes(Box<AesWriter<Sink>>),
    /// Collected, then handed to gpg.
    Gpg {
        /// The plain archive.
        plain: Sink,
        /// Where gpg's output goes.
        out: HashSink,
    },
}

impl Write for SealWriter {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(sink) => sink.write(buffer),
            Self::Aes(writer) => writer.write(buffer),
            Self::Gpg { plain, .. } => plain.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use larder_volume::{AesHeader, AesReadOptions, AesSeed, AesWriter, HashAlgorithm};

    use super::*;
    use crate::error::Reach;

    const PASSWORD: &str = "secret";

    fn encrypted() -> Vec<u8> {
        encrypted_with(&AesHeader::minimal(), 100_000)
    }

    fn encrypted_with(header: &AesHeader, len: usize) -> Vec<u8> {
        let seed = AesSeed {
            public_iv: [1; 16],
            session_iv: [2; 16],
            session_key: [3; 32],
        };
        let sha = HashAlgorithm::Sha256;
        let mut writer = AesWriter::create(Vec::new(), PASSWORD, header, &seed, sha).unwrap();
        writer.write_all(&vec![7; len]).unwrap();
        writer.finish().unwrap().0
    }

    fn decrypt(bytes: &[u8], sink: &mut Sink) -> Result<()> {
        let mut reader = AesReader::open_with(bytes, PASSWORD, AesReadOptions::default()).unwrap();
        copy_decrypted(&mut reader, sink, "v")
    }

    #[test]
    fn files_of_many_rounds_that_do_not_open_end_the_patience() {
        let failed = || Err::<(), Error>(Error::Cancelled);
        let many = 1_000_000;
        let mut rounds = Rounds::new(None);
        for _ in 0..3 {
            assert!(!rounds.refuses(many));
            rounds.note(many, &failed());
        }
        assert!(rounds.refuses(many));
        // As long as nothing opened a wrong passphrase may be the reason, and the usual is tried.
        assert!(!rounds.refuses(AesVersion::DEFAULT_ITERATIONS));
        rounds.note(AesVersion::DEFAULT_ITERATIONS, &Ok(()));
        assert!(rounds.own.contains(&AesVersion::DEFAULT_ITERATIONS));
        assert!(rounds.refuses(AesVersion::DEFAULT_ITERATIONS - 1));
        assert!(Rounds::new(Some(many)).own.contains(&many));
    }

    #[test]
    fn a_disk_that_takes_no_more_is_no_damage() {
        let bytes = encrypted();
        let nowhere = TempFolder::named("/nonexistent/folder".into(), "tempdir");
        let error = decrypt(&bytes, &mut Sink::new(0, nowhere)).unwrap_err();
        assert_eq!(error.id(), Some("TemporaryFolderFailed"), "{error:?}");
        assert_eq!(error.reach(), Reach::Run);
    }

    /// Volumes of more than [`IN_MEMORY_BYTES`] are decrypted out of a file, by another way than small ones.
    #[test]
    fn foreign_padding_is_an_option_for_volumes_of_any_size() {
        let mut header = AesHeader::minimal();
        header.version = AesVersion::V2;
        let mut bytes = encrypted_with(&header, 1001);
        // The length of the last block, which nothing protects. Behind its nine bytes are seven that say so.
        let at = bytes.len() - 33;
        assert_eq!(bytes[at], 9);
        bytes[at] = 5;
        let name = VolumeName::parse("p-b0.dblock.zip.aes", false).unwrap();
        let folder = TempFolder::default();
        for is_large in [false, true] {
            let mut data = VolumeData::Memory(bytes.clone().into());
            if is_large {
                data = data.spilled(folder.clone()).unwrap();
            }
            for ignore_padding in [false, true] {
                let crypt = Crypt {
                    encryption: Encryption::None,
                    passphrase: Some(Secret::new(PASSWORD)),
                    gpg: GpgSettings::default(),
                    ignore_padding,
                    temp_folder: folder.clone(),
                    random: Arc::new(larder_destination::SystemRandom),
                    clock: Arc::new(larder_destination::FixedClock::new(0)),
                    cancel: Cancel::new(),
                    rounds: Mutex::default(),
                };
                let outcome = crypt.open(&name, data.clone());
                match ignore_padding {
                    true => assert_eq!(outcome.unwrap().len(), 997),
                    false => assert_eq!(outcome.unwrap_err().reach(), Reach::Volume),
                }
            }
        }
    }

    #[test]
    fn changed_data_are_damage() {
        let mut bytes = encrypted();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let error = decrypt(&bytes, &mut Sink::new(u64::MAX, TempFolder::default())).unwrap_err();
        assert_eq!(error.reach(), Reach::Volume, "{error:?}");
        let cut = encrypted();
        let error = decrypt(
            &cut[..middle],
            &mut Sink::new(u64::MAX, TempFolder::default()),
        )
        .unwrap_err();
        assert_eq!(error.reach(), Reach::Volume, "{error:?}");
    }
}
