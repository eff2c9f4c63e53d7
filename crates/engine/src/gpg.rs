//! Running GnuPG (docs/format/encryption-gpg.md).
//!
//! What gpg says about a message counts, not that it ended well: it copies a message that is not encrypted at all, and
//! with the right switches one that nothing protects, and ends with 0 both times.

use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::data::VolumeData;
use crate::temporary::temporary_error;
use crate::{Error, Fault, Result};

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

/// What gpg is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Encrypt,
    Decrypt,
}

/// How long a running gpg does not notice that it is no longer wanted.
const CANCEL_PAUSE: Duration = Duration::from_millis(100);
/// What one encrypted byte may become: gpg packs, and deflate reaches no more. An honest volume is packed already.
const MAX_EXPANSION: u64 = 1024;
/// What any message may become.
const ALWAYS: u64 = 64 << 20;
/// Bytes kept of what gpg says; the rest is dropped.
const MAX_WORDS: u64 = 64 << 10;
/// What begins the lines that are meant for programs (GnuPG, doc/DETAILS).
const STATUS: &str = "[GNUPG:] ";

impl GpgSettings {
    /// Encrypts or decrypts a volume.
    ///
    /// # Errors
    /// A missing program; inside [`Error::Volume`] a wrong passphrase, a message that is not encrypted or not
    /// protected against change, and one that becomes too large.
    pub(crate) fn run(
        &self,
        way: Way,
        password: &str,
        input: &VolumeData,
        output: &mut dyn Write,
        cancel: &Cancel,
        name: &str,
    ) -> Result<()> {
        if password.contains('\n') {
            return Err(Error::user(
                "OptionValidationError",
                "gpg reads one line, so the passphrase must not contain a line break",
                "choose another passphrase, or --encryption-module=aes",
            ));
        }
        let most = input.len().saturating_mul(MAX_EXPANSION).max(ALWAYS);
        let mut output = Bounded {
            output,
            left: most,
            len: 0,
        };
        let (ended, copied, words) = talk(
            self.start(way)?,
            password,
            input.reader()?,
            &mut output,
            cancel,
        )?;
        cancel.check()?;
        let Bounded { left, len, .. } = output;
        let failed = |source| Err(Error::volume(name, source));
        if left == 0 {
            return failed(larder_volume::Error::TooLarge {
                what: "decrypted message in bytes",
                limit: most,
            });
        }
        // A disk that takes no more ended gpg, which is no fault of the message. Whether gpg wanted no more of it is told
        // by how it ended.
        match copied {
            Err(error) if ended.success() || error.kind() != ErrorKind::BrokenPipe => {
                return Err(temporary_error(error));
            }
            _ => {}
        }
        let said = Said::of(&words);
        if !ended.success() {
            if way == Way::Decrypt && said.wrong_passphrase {
                return failed(larder_volume::Error::WrongPassword);
            }
            let text = format!("gpg ended with {ended}: {}", said.text);
            let was_killed = ended.code().is_none();
            return match way {
                Way::Decrypt if !was_killed && said.of_message => {
                    failed(larder_volume::Error::Tampered(text))
                }
                // Its home, an option, an agent: the message may be whole.
                Way::Decrypt if !was_killed => failed(larder_volume::Error::Unsupported(text)),
                Way::Encrypt | Way::Decrypt => Err(Error::Known {
                    id: "GpgFailed",
                    fault: Fault::Environment,
                    message: text,
                    hint: "try gpg by hand as this user; see that its home folder can be used and that there is memory".into(),
                }),
            };
        }
        if len == 0 {
            let text = format!("gpg wrote nothing: {}", said.text);
            return failed(larder_volume::Error::Tampered(text));
        }
        if way == Way::Decrypt && !said.decrypted {
            return failed(larder_volume::Error::Tampered(
                "the message is not encrypted".into(),
            ));
        }
        if way == Way::Decrypt && !said.protected {
            return failed(larder_volume::Error::Tampered(
                "the message is not protected against change".into(),
            ));
        }
        Ok(())
    }

    /// Starts the first of the possible programs that is there.
    fn start(&self, way: Way) -> Result<Child> {
        let candidates: Vec<&str> = match &self.program {
            Some(program) => vec![program],
            None => vec!["gpg2", "gpg"],
        };
        let arguments = self.arguments(way);
        for program in &candidates {
            match Command::new(program)
                .args(&arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
            {
                Ok(child) => return Ok(child),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // A folder of the search path that this user must not look into is no reason to stop searching.
                Err(error)
                    if error.kind() == std::io::ErrorKind::PermissionDenied
                        && self.program.is_none() => {}
                Err(error) => return Err(Error::io(program, error)),
            }
        }
        Err(Error::Known {
            id: "GpgNotFound",
            fault: Fault::Environment,
            message: format!("the gpg program ({}) was not found", candidates.join(", ")),
            hint: "install GnuPG or name it with --gpg-program-path=…".into(),
        })
    }

    fn arguments(&self, way: Way) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        if self.armor {
            arguments.push("--armor".into());
        }
        // What is said for programs goes where the rest is said.
        let fixed = ["--batch", "--status-fd", "2", "--passphrase-fd", "0"];
        arguments.extend(fixed.map(String::from));
        let (switches, command) = match way {
            Way::Encrypt => (&self.encryption_switches, &self.encryption_command),
            Way::Decrypt => (&self.decryption_switches, &self.decryption_command),
        };
        arguments.extend(split_arguments(switches));
        arguments.extend(split_arguments(command));
        arguments
    }
}

/// How it ended, whether all was copied, and what was said.
type Talk = (std::process::ExitStatus, std::io::Result<()>, String);

/// Feeds a running gpg, takes what it writes and listens to what it says. It is ended when it is no longer wanted, or
/// writes more than it may.
fn talk(
    mut child: Child,
    password: &str,
    mut reader: Box<dyn Read + Send>,
    output: &mut Bounded<'_>,
    cancel: &Cancel,
) -> Result<Talk> {
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Error::Bug("a child process without pipes".into()));
    };
    let child = Mutex::new(child);
    let kill = || {
        // Its pipes close, which ends the other threads.
        let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    };
    let (ended, wait_for_end) = std::sync::mpsc::channel::<()>();
    let (copied, words) = std::thread::scope(|scope| {
        let kill = &kill;
        scope.spawn(move || {
            while wait_for_end.recv_timeout(CANCEL_PAUSE) == Err(RecvTimeoutError::Timeout) {
                if cancel.is_cancelled() {
                    kill();
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
            let mut words = Vec::new();
            let _ = (&mut stderr).take(MAX_WORDS).read_to_end(&mut words);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&words).into_owned()
        });
        let copied = std::io::copy(&mut stdout, output);
        if copied.is_err() {
            kill();
        }
        drop(stdout);
        let fed = feeder
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("writer failed")));
        let words = listener.join().unwrap_or_default();
        drop(ended);
        (copied.and(fed), words)
    });
    let mut child = child.into_inner().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait().map_err(|error| Error::io("gpg", error))?;
    Ok((status, copied, words))
}

/// A writer that takes so many bytes and fails then.
struct Bounded<'a> {
    output: &'a mut dyn Write,
    left: u64,
    len: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.left = self.left.saturating_sub(buffer.len() as u64);
        if self.left == 0 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.output.write_all(buffer)?;
        self.len += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// What gpg said of a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// It was encrypted, and could be decrypted.
    decrypted: bool,
    /// It carries a check of its integrity, which was right.
    protected: bool,
    wrong_passphrase: bool,
    /// The secret key could not be used: it is locked, or its agent is not there.
    no_key: bool,
    /// Something is wrong with the message itself, as against gpg's own affairs.
    of_message: bool,
    /// What is meant for people.
    text: String,
}

impl Said {
    /// Names in a message cannot forge a line here: gpg escapes line breaks in them.
    fn of(words: &str) -> Self {
        let mut said = Self::default();
        let mut texts = Vec::new();
        // After what stops inside of a message nothing is said but that it began.
        let mut is_inside = false;
        for line in words.lines() {
            let Some(status) = line.strip_prefix(STATUS) else {
                texts.push(line.trim());
                continue;
            };
            let mut parts = status.split(' ');
            let arguments = |parts: std::str::Split<'_, char>| parts.map(str::to_owned).collect();
            match parts.next() {
                Some("DECRYPTION_OKAY") => said.decrypted = true,
                Some("GOODMDC") => said.protected = true,
                Some("NEED_PASSPHRASE_SYM" | "BEGIN_DECRYPTION") => is_inside = true,
                Some("END_DECRYPTION") => is_inside = false,
                Some("BADMDC" | "DECRYPTION_FAILED" | "NODATA") => said.of_message = true,
                // Method of the check, cipher, and since 2.3 the cipher's own check, when it has one.
                Some("DECRYPTION_INFO") => {
                    let all: Vec<String> = arguments(parts);
                    said.protected |= all.get(2).is_some_and(|aead| aead != "0");
                }
                Some("ERROR") => {
                    let all: Vec<String> = arguments(parts);
                    let [at, code] = [0, 1].map(|n| all.get(n).map_or("", String::as_str));
                    // Error 11 of libgpg-error is a bad passphrase; of its number the low half is the error.
                    said.wrong_passphrase |=
                        at.starts_with("symkey_decrypt") && code.starts_with("11");
                    if at.starts_with("pkdecrypt_failed") {
                        let code: u32 = code.parse().unwrap_or(0);
                        said.wrong_passphrase |= code & 0xffff == 11;
                        said.no_key = true;
                    }
                }
                Some("NO_SECKEY") => said.wrong_passphrase = true,
                _ => {}
            }
        }
        said.of_message |= is_inside;
        said.of_message &= !said.no_key;
        said.text = texts.join("; ");
        // Versions that say it to people only.
        said.wrong_passphrase |=
            said.text.contains("Bad session key") || said.text.contains("bad key");
        said
    }
}

/// The arguments in the text of an option, by the rules of .NET and of C programs on Windows ("Parsing C command-line
/// arguments", <https://learn.microsoft.com/cpp/c-language/parsing-c-command-line-arguments>), which Duplicati's users
/// know. They are no shell's: an apostrophe is a letter, and a backslash means something only before a double quote.
fn split_arguments(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' if !is_quoted => all.extend(word.take()),
            '"' => {
                let word = word.get_or_insert_default();
                if is_quoted && chars.next_if_eq(&'"').is_some() {
                    word.push('"');
                } else {
                    is_quoted = !is_quoted;
                }
            }
            '\\' => {
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                let word = word.get_or_insert_default();
                if chars.peek() != Some(&'"') {
                    word.extend(std::iter::repeat_n(c, count));
                    continue;
                }
                word.extend(std::iter::repeat_n(c, count / 2));
                if count % 2 == 1 {
                    word.extend(chars.next());
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of a name with an apostrophe was taken for a quotation, and the switches after it for its end.
    #[test]
    fn switches_are_split_as_duplicati_splits_them() {
        let cases: [(&str, &[&str]); 12] = [
            ("", &[]),
            (" \t ", &[]),
            ("--a  --b\tc ", &["--a", "--b", "c"]),
            ("--recipient \"A B\" --x", &["--recipient", "A B", "--x"]),
            ("--recipient=\"A B\"c", &["--recipient=A Bc"]),
            ("\"\" a", &["", "a"]),
            (
                "--recipient O'Brien --x",
                &["--recipient", "O'Brien", "--x"],
            ),
            (
                "--homedir C:\\keys\\a #b",
                &["--homedir", "C:\\keys\\a", "#b"],
            ),
            ("\"a \\\" b\" \\\"c", &["a \" b", "\"c"]),
            ("\"a\\\\\" b", &["a\\", "b"]),
            ("\"a\"\"b\" c", &["a\"b", "c"]),
            ("\"a b", &["a b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split_arguments(text), expected, "{text}");
        }
    }

    #[test]
    fn a_disk_that_takes_no_more_is_no_damage() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("endless");
        std::fs::write(&program, "#!/bin/sh\nexec yes\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&program, mode).unwrap();
        let gpg = GpgSettings {
            program: Some(program.to_str().unwrap().to_owned()),
            ..GpgSettings::default()
        };
        let input = VolumeData::Memory(bytes::Bytes::from(vec![1; 1 << 20]));
        let cancel = Cancel::default();
        let ran = gpg.run(Way::Decrypt, "secret", &input, &mut Full, &cancel, "v");
        let error = ran.unwrap_err();
        assert_eq!(error.id(), Some("TemporaryFolderFailed"), "{error:?}");
        assert_eq!(error.reach(), crate::error::Reach::Run);
    }

    /// What gpg 2.2.40 says (*observed*) of damaged messages, and without a home folder; and of a killed one.
    #[test]
    fn trouble_of_gpg_itself_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("gpg");
        let gpg = GpgSettings {
            program: Some(program.to_str().unwrap().to_owned()),
            ..GpgSettings::default()
        };
        let run = |way, script: &str| {
            let script = format!("#!/bin/sh\ncat > /dev/null\n{script}\n");
            std::fs::write(&program, script).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&program, mode).unwrap();
            let input = VolumeData::Memory(bytes::Bytes::from_static(b"x"));
            let (mut output, cancel) = (Vec::new(), Cancel::default());
            gpg.run(way, "secret", &input, &mut output, &cancel, "v.zip.gpg")
                .unwrap_err()
        };
        let say = |lines: &[&str]| {
            let lines = lines
                .iter()
                .map(|line| format!("echo '[GNUPG:] {line}' >&2"));
            lines.collect::<Vec<_>>().join("\n") + "\nexit 2"
        };
        let damaged: [&[&str]; 3] = [
            &["NODATA 1", "NODATA 2", "FAILURE decrypt 4294967295"],
            &["BEGIN_DECRYPTION", "DECRYPTION_FAILED", "END_DECRYPTION"],
            &[
                "NEED_PASSPHRASE_SYM 9 3 2",
                "BEGIN_DECRYPTION",
                "DECRYPTION_INFO 2 9 0",
            ],
        ];
        for lines in damaged {
            let error = run(Way::Decrypt, &say(lines));
            assert!(error.is_wrong_content(), "{lines:?}: {error:?}");
        }
        let no_agent = ["NO_SECKEY 0", "BEGIN_DECRYPTION", "DECRYPTION_FAILED"];
        let error = run(Way::Decrypt, &say(&no_agent));
        assert!(!error.is_wrong_content(), "{error:?}");
        let whole: [&[&str]; 3] = [
            &["FAILURE option-parser 33554433"],
            &[
                "ERROR pkdecrypt_failed 67109133",
                "BEGIN_DECRYPTION",
                "DECRYPTION_FAILED",
                "END_DECRYPTION",
            ],
            &[
                "ERROR add_keyblock_resource 33587281",
                "BEGIN_DECRYPTION",
                "DECRYPTION_OKAY",
                "GOODMDC",
                "END_DECRYPTION",
            ],
        ];
        for lines in whole {
            let error = run(Way::Decrypt, &say(lines));
            assert!(!error.is_damage(), "{lines:?}: {error:?}");
            assert_eq!(error.reach(), crate::error::Reach::Volume, "{lines:?}");
        }
        for (way, script) in [
            (
                Way::Decrypt,
                "echo '[GNUPG:] BEGIN_DECRYPTION' >&2\nkill -9 $$",
            ),
            (Way::Encrypt, "exit 2"),
        ] {
            let error = run(way, script);
            assert_eq!(error.id(), Some("GpgFailed"), "{error:?}");
            assert_eq!(error.reach(), crate::error::Reach::Run);
        }
    }

    /// As gpg 2.2.40 says it (*observed*), and 2.4 of messages with a cipher that checks itself (doc/DETAILS).
    #[test]
    fn what_gpg_says() {
        let check = |words: &str, decrypted, protected, wrong_passphrase| {
            let said = Said::of(words);
            let found = (said.decrypted, said.protected, said.wrong_passphrase);
            assert_eq!(found, (decrypted, protected, wrong_passphrase), "{words}");
        };
        check(
            "gpg: AES256.CFB encrypted data\n[GNUPG:] DECRYPTION_INFO 2 9 0\n[GNUPG:] DECRYPTION_OKAY\n[GNUPG:] GOODMDC",
            true,
            true,
            false,
        );
        check(
            "[GNUPG:] DECRYPTION_INFO 0 9 2\n[GNUPG:] DECRYPTION_OKAY",
            true,
            true,
            false,
        );
        check(
            "[GNUPG:] DECRYPTION_INFO 0 2 0\n[GNUPG:] DECRYPTION_OKAY\ngpg: WARNING: message was not integrity protected",
            true,
            false,
            false,
        );
        check("[GNUPG:] PLAINTEXT 62 1795713138 x", false, false, false);
        check(
            "[GNUPG:] DECRYPTION_INFO 2 9 0\n[GNUPG:] ERROR symkey_decrypt.maybe_error 11_BAD_PASSPHRASE\n[GNUPG:] DECRYPTION_FAILED",
            false,
            false,
            true,
        );
    }
}
