//! A workplace for one test: source, destination and local state in a temporary folder, and the program to run there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The passphrase of all tests. No run may ever print it.
pub const PASSPHRASE: &str = "Korrekt-Pferd-7351";
/// Further texts that no run may print.
pub const SECRETS: &[&str] = &[PASSPHRASE, "Falsch-Pferd-9182", "URL-Kennwort-4466"];

/// What a run of the program left behind.
pub struct Ran {
    /// Exit code; −1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Takes the output of a process and looks for secrets in it.
    pub fn of(output: std::process::Output) -> Self {
        let ran = Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        for secret in SECRETS {
            assert!(
                !ran.out.contains(secret) && !ran.err.contains(secret),
                "a secret is printed:\n{}\n{}",
                ran.out,
                ran.err
            );
        }
        ran
    }

    /// Fails unless the exit code is this.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code; output:\n{}\nerrors:\n{}",
            self.out, self.err
        );
        self
    }

    /// Fails unless standard output holds this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text),
            "not said: {text}\n{}\n{}",
            self.out,
            self.err
        );
        self
    }

    /// Fails unless standard error holds this text.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(
            self.err.contains(text),
            "no complaint: {text}\n{}\n{}",
            self.err,
            self.out
        );
        self
    }

    /// Fails unless standard error names this id in the shape that scripts look for, with a sentence after it.
    #[track_caller]
    pub fn fails_with(self, id: &str) -> Self {
        let head = format!("\nErrorID: {id}\n");
        let at = self.err.find(&head);
        assert!(at.is_some(), "no ErrorID {id}:\n{}", self.err);
        let sentence = self.err[at.unwrap_or(0) + head.len()..].lines().next();
        assert!(
            sentence.is_some_and(|line| line.len() > 15),
            "no sentence:\n{}",
            self.err
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{e}:\n{}\n{}", self.out, self.err))
    }
}

/// A temporary folder with everything in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty place.
    pub fn new() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("larder-cli-")
                .tempdir()
                .expect("a temporary folder"),
        }
    }

    /// A place with a small source tree of known content.
    pub fn with_source() -> Self {
        let place = Self::new();
        place.write("source/letter.txt", b"Dear reader,\n");
        place.write("source/notes/one.txt", b"one\n");
        place.write("source/notes/two.txt", b"two\n");
        std::os::unix::fs::symlink("letter.txt", place.path("source/link")).expect("a link");
        place
    }

    /// A place with one version of that tree stored.
    pub fn with_backup() -> Self {
        let place = Self::with_source();
        place.backup(&[]).code(0);
        place
    }

    /// A path in the place.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// A path in the place as text.
    pub fn text(&self, relative: &str) -> String {
        self.path(relative).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file, with its folders.
    pub fn write(&self, relative: &str, content: &[u8]) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, content).expect("written");
    }

    /// Adds bytes that cannot be compressed.
    pub fn write_noise(&self, relative: &str, len: usize, seed: u64) {
        self.write(relative, &larder_testkit::Rng::new(seed).bytes(len));
    }

    /// The storage URL of the destination.
    pub fn url(&self) -> String {
        format!("file://{}", self.text("destination"))
    }

    /// The program, to be run in this place.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_larder")), args)
    }

    /// Any command in the program's surroundings.
    pub fn prepared<S: AsRef<OsStr>>(
        &self,
        mut command: Command,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.folder.path())
            .env("TZ", "UTC")
            .env("DUPLICATI_HOME", self.path("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program with exactly these arguments.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(args).output().expect("the program starts"))
    }

    /// Runs a command on the destination with the passphrase.
    pub fn on<S: AsRef<OsStr>>(&self, verb: &str, args: impl IntoIterator<Item = S>) -> Ran {
        self.run(self.full(verb, args))
    }

    /// The arguments of a command on the destination with the passphrase.
    pub fn full<S: AsRef<OsStr>>(
        &self,
        verb: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Vec<std::ffi::OsString> {
        let mut all: Vec<std::ffi::OsString> = vec![
            verb.into(),
            self.url().into(),
            format!("--passphrase={PASSPHRASE}").into(),
        ];
        all.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        all
    }

    /// Backs up the source folder.
    pub fn backup(&self, options: &[&str]) -> Ran {
        self.on("backup", [&["source"], options].concat())
    }

    /// Restores the newest version, or what the options say, into a folder that must not exist yet.
    pub fn restore(&self, to: &str, options: &[&str]) -> Ran {
        let path = format!("--restore-path={}", self.text(to));
        self.on("restore", [&[path.as_str()], options].concat())
    }

    /// Names in the destination, sorted.
    pub fn stored(&self) -> Vec<String> {
        let mut names: Vec<String> = match std::fs::read_dir(self.path("destination")) {
            Err(_) => Vec::new(),
            Ok(entries) => entries
                .map(|e| {
                    e.expect("an entry")
                        .file_name()
                        .into_string()
                        .expect("UTF-8")
                })
                .collect(),
        };
        names.sort();
        names
    }

    /// Names in the destination that hold this text.
    pub fn stored_with(&self, part: &str) -> Vec<String> {
        let mut names = self.stored();
        names.retain(|name| name.contains(part));
        names
    }

    /// Forgets everything that is kept on this machine.
    pub fn lose_state(&self) {
        let _ = std::fs::remove_dir_all(self.path("state"));
    }

    /// Every file below a folder with its content, for comparing before and after.
    pub fn snapshot(&self, relative: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut waiting = vec![self.path(relative)];
        while let Some(path) = waiting.pop() {
            let Ok(facts) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            if facts.is_dir() {
                for entry in std::fs::read_dir(&path).expect("a folder") {
                    waiting.push(entry.expect("an entry").path());
                }
                found.push((path, Vec::new()));
            } else if facts.is_file() {
                let content = std::fs::read(&path).expect("a file");
                found.push((path, content));
            }
        }
        found.sort();
        found
    }
}

/// A seed from the environment, else from the clock; printed, so that a failure can be repeated.
pub fn seed(variable: &str) -> u64 {
    let seed = std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16);
    println!("{variable}={seed}");
    seed
}

/// Runs the program as a user that permissions apply to: the present one, or `nobody` when that is root. `None` when
/// there is no way to do so.
pub fn as_plain_user(place: &Place, args: &[std::ffi::OsString]) -> Option<Ran> {
    if !rustix::process::geteuid().is_root() {
        return Some(place.run(args));
    }
    open_to_all(place.folder.path());
    // The folder the program was built in may be closed to others.
    let program = place.path("larder-for-all");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_larder"), &program).expect("a copy of the program");
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(program);
    match place.prepared(command, args).output() {
        Ok(output) => Some(Ran::of(output)),
        Err(error) => {
            larder_testkit::pass_over("setpriv", &error.to_string());
            None
        }
    }
}

/// Lets everybody into a folder.
pub fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("permissions");
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("a signal is sent");
}
