//! Encrypting finished volumes and decrypting fetched ones; the only place that knows AES Crypt from GnuPG.
//!
//! Which module decrypts is decided by the remote name's extension, so sets written with several modules stay
//! readable (docs/format/encryption-aes.md, docs/format/encryption-gpg.md).

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder_options::Secret;
use larder_volume::{
    AesHeader, AesReadOptions, AesReader, AesSeed, AesVersion, AesWriter, EncryptionKind, Hash,
    HashAlgorithm, VolumeName, decrypt_in_place,
};

use larder_destination::{Clock, Random};

use crate::context::{Cancel, no_randomness};
use crate::data::{HashSink, Sink, VolumeData, temporary_error};
use crate::error::VolumeContext;
use crate::{Error, Fault, Result};

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

/// The gpg program and its arguments (commands spec 3.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct GpgSettings {
    pub(crate) program: Option<String>,
    pub(crate) encryption_command: String,
    pub(crate) decryption_command: String,
    pub(crate) encryption_switches: String,
    pub(crate) decryption_switches: String,
    pub(crate) armor: bool,
}

/// Encrypts and decrypts volumes with one passphrase.
pub(crate) struct Crypt {
    pub(crate) encryption: Encryption,
    pub(crate) passphrase: Option<Secret>,
    pub(crate) gpg: GpgSettings,
    pub(crate) ignore_padding: bool,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cancel: Cancel,
}

impl Crypt {
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

    fn password(&self) -> Result<&str> {
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
                let mut seed = AesSeed {
                    public_iv: [0; 16],
                    session_iv: [0; 16],
                    session_key: [0; 32],
                };
                self.random
                    .fill(&mut seed.public_iv)
                    .map_err(no_randomness)?;
                self.random
                    .fill(&mut seed.session_iv)
                    .map_err(no_randomness)?;
                self.random
                    .fill(&mut seed.session_key)
                    .map_err(no_randomness)?;
                let mut header = if *minimal_header {
                    AesHeader::minimal()
                } else {
                    self.standard_header()
                };
                header.version = *version;
                let writer = AesWriter::create(sink, self.password()?, &header, &seed, hash)
                    .in_volume("(new volume)")?;
                Ok(SealWriter::Aes(Box::new(writer)))
            }
            Encryption::Gpg => {
                self.password()?;
                Ok(SealWriter::Gpg {
                    plain: Sink::new(IN_MEMORY_BYTES, None),
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
                self.run_gpg(true, &plain, &mut out, "(new volume)")?;
                out.finish()
            }
        }
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
                match data {
                    VolumeData::Memory(bytes) => {
                        let options = AesReadOptions {
                            ignore_padding: self.ignore_padding,
                            ..AesReadOptions::default()
                        };
                        // Nobody else holds the bytes of a fetched volume, so this copies nothing.
                        let mut bytes = Vec::from(bytes);
                        decrypt_in_place(&mut bytes, password, options).in_volume(text)?;
                        Ok(VolumeData::Memory(bytes.into()))
                    }
                    VolumeData::File(_) => {
                        let mut reader =
                            AesReader::open(data.reader()?, password).in_volume(text)?;
                        let mut sink = Sink::new(0, None);
                        std::io::copy(&mut reader, &mut sink).map_err(|error| {
                            Error::volume(text, larder_volume::Error::Tampered(error.to_string()))
                        })?;
                        sink.finish()
                    }
                }
            }
            Ok(Some(EncryptionKind::Gpg)) => {
                self.password()?;
                let mut sink = Sink::new(IN_MEMORY_BYTES, None);
                self.run_gpg(false, &data, &mut sink, text)?;
                sink.finish()
            }
            Err(error) => Err(Error::volume(text, error)),
        }
    }

    fn run_gpg(
        &self,
        encrypt: bool,
        input: &VolumeData,
        output: &mut dyn Write,
        name: &str,
    ) -> Result<()> {
        let password = self.password()?.to_owned();
        if password.contains('\n') {
            return Err(Error::user(
                "OptionValidationError",
                "gpg reads one line, so the passphrase must not contain a line break",
                "choose another passphrase, or --encryption-module=aes",
            ));
        }
        let candidates: Vec<String> = match &self.gpg.program {
            Some(program) => vec![program.clone()],
            None => vec!["gpg2".into(), "gpg".into()],
        };
        let mut arguments: Vec<String> = Vec::new();
        if self.gpg.armor {
            arguments.push("--armor".into());
        }
        arguments.extend(["--batch", "--passphrase-fd", "0"].map(String::from));
        let (switches, command) = if encrypt {
            (&self.gpg.encryption_switches, &self.gpg.encryption_command)
        } else {
            (&self.gpg.decryption_switches, &self.gpg.decryption_command)
        };
        arguments.extend(split_arguments(switches));
        arguments.extend(split_arguments(command));
        let mut child = None;
        for program in &candidates {
            match Command::new(program)
                .args(&arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
            {
                Ok(started) => {
                    child = Some(started);
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // A folder of the search path that this user must not look into is no reason to stop searching.
                Err(error)
                    if error.kind() == std::io::ErrorKind::PermissionDenied
                        && self.gpg.program.is_none() => {}
                Err(error) => return Err(Error::io(program, error)),
            }
        }
        let Some(mut child) = child else {
            return Err(Error::Known {
                id: "GpgNotFound",
                fault: Fault::Environment,
                message: format!("the gpg program ({}) was not found", candidates.join(", ")),
                hint: "install GnuPG or name it with --gpg-program-path=…".into(),
            });
        };
        let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::Bug("a child process without pipes".into()));
        };
        let mut reader = input.reader()?;
        let child = Mutex::new(child);
        let (ended, wait_for_end) = std::sync::mpsc::channel::<()>();
        let (fed, words) = std::thread::scope(|scope| {
            let child = &child;
            scope.spawn(move || {
                while wait_for_end.recv_timeout(CANCEL_PAUSE) == Err(RecvTimeoutError::Timeout) {
                    if self.cancel.is_cancelled() {
                        // Its pipes close, which ends the other threads.
                        let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
                        break;
                    }
                }
            });
            let feeder = scope.spawn(move || -> std::io::Result<()> {
                stdin.write_all(password.as_bytes())?;
                stdin.write_all(b"\n")?;
                std::io::copy(&mut reader, &mut stdin)?;
                Ok(())
            });
            let listener = scope.spawn(move || {
                let mut words = String::new();
                let _ = stderr.read_to_string(&mut words);
                words
            });
            let copied = std::io::copy(&mut stdout, output);
            let fed = feeder
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("writer failed")));
            let words = listener.join().unwrap_or_default();
            drop(ended);
            (copied.and(fed), words)
        });
        let mut child = child.into_inner().unwrap_or_else(PoisonError::into_inner);
        let status = child.wait().map_err(|error| Error::io("gpg", error))?;
        if status.success() {
            fed.map_err(temporary_error)?;
            return Ok(());
        }
        self.cancel.check()?;
        let words = words.trim().replace('\n', "; ");
        let source = if !encrypt && (words.contains("Bad session key") || words.contains("bad key"))
        {
            larder_volume::Error::WrongPassword
        } else {
            larder_volume::Error::Tampered(format!("gpg ended with {status}: {words}"))
        };
        Err(Error::volume(name, source))
    }
}

/// True when volumes with this extension can be decrypted at all.
pub(crate) fn is_known(extension: Option<&str>) -> bool {
    module(extension).is_ok()
}

/// The module that an ending stands for.
fn module(extension: Option<&str>) -> larder_volume::Result<Option<EncryptionKind>> {
    extension.map(EncryptionKind::parse).transpose()
}

/// How long a running gpg does not notice that it is no longer wanted.
const CANCEL_PAUSE: Duration = Duration::from_millis(100);

/// Volumes up to this size are handled in memory.
pub(crate) const IN_MEMORY_BYTES: u64 = 160 << 20;

fn split_arguments(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => {
                quote = Some(c);
                any = true;
            }
            (Some(q), c) if q == c => quote = None,
            (None, c) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (_, c) => word.push(c),
        }
    }
    if any || !word.is_empty() {
        out.push(word);
    }
    out
}

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
    use super::split_arguments;

    #[test]
    fn switches_are_split_like_a_shell_would() {
        assert_eq!(
            split_arguments("--recipient 'A B' --x"),
            ["--recipient", "A B", "--x"]
        );
        assert_eq!(split_arguments("  "), Vec::<String>::new());
        assert_eq!(split_arguments("\"\" a"), ["", "a"]);
    }
}
