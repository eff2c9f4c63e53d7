//! What is written where, and what happens when it cannot be.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use super::support::{PASSPHRASE, Place, Ran, signal};

/// A name that clears a terminal, forges a line, and turns the direction of writing.
const EVIL: &str = "evil\u{1b}[2J\nErrorID: Forged\u{202e}txt";

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let place = Place::with_backup();
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    let run = |args: Vec<std::ffi::OsString>| {
        let output = place.command(args).stdout(full()).output();
        Ran::of(output.expect("it runs"))
    };
    for verb in ["list", "list-filesets", "find", "test"] {
        run(place.full(verb, [""; 0])).code(100).complains(
            "Error [OutputNotWritten]: standard output cannot be written: No space left",
        );
    }
    run(place.full("list", ["--json"])).code(100);
    run(vec!["help".into()]).code(100);
    place.write("source/new", b"1");
    run(place.full("backup", ["source"])).code(2);
    // Whoever closes a pipe has seen enough.
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!(
        "{} list '{}' '*' --passphrase={PASSPHRASE} | true; exit ${{PIPESTATUS:-0}}",
        env!("CARGO_BIN_EXE_larder"),
        place.url()
    ));
    let ran = Ran::of(place.prepared(command, [""; 0]).output().expect("sh runs"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn the_log_file_tells_the_whole_run() {
    let place = Place::with_source();
    let log = || std::fs::read_to_string(place.path("log")).unwrap_or_default();
    place
        .backup(&["--log-file=log", "--log-file-log-level=Verbose"])
        .code(0);
    let text = log();
    for part in [
        "[Information-Larder-StartingOperation]: the operation Backup has started\n",
        "[Information-Larder-Phase]: Scanning source files ...\n",
        "[Information-Larder-BackendEvent]: Uploading file duplicati-b",
        "[Information-Larder-Result]: Success: 3 files added, 0 deleted, 0 changed",
        "[Information-Larder-CompletedOperation]: the operation Backup has ended with exit code 0\n",
        &format!(
            "[Verbose-Larder-PathAdded]: new: {}/letter.txt\n",
            place.text("source")
        ),
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // At the usual level a good run leaves nothing, a failure always something.
    std::fs::remove_file(place.path("log")).expect("removed");
    place.on("list", ["--log-file=log"]).code(0);
    assert_eq!(log(), "");
    place
        .on("list", ["--log-file=log", "--version=x"])
        .code(100);
    assert!(log().contains("[Error-Larder-OptionValidationError]: the operation List has failed with exit code 100: option --version: "));
    place
        .run([
            "list",
            "file:///nowhere/at/all",
            "--passphrase=x",
            "--log-file=log",
        ])
        .code(100);
    assert!(
        log().contains("[Error-Larder-FolderMissing]: "),
        "{}",
        log()
    );
    // And one that cannot be written is told.
    place
        .on(
            "list",
            ["--log-file=/dev/full", "--log-file-log-level=Verbose"],
        )
        .code(2)
        .complains("Warning [LogFileNotWritten]: the log file /dev/full cannot be written");
}

#[test]
fn names_play_no_tricks_on_the_terminal() {
    let place = Place::with_source();
    place.write(&format!("source/{EVIL}"), b"x");
    place
        .backup(&["--log-file=log", "--log-file-log-level=Verbose"])
        .code(0);
    let log = std::fs::read_to_string(place.path("log")).expect("the log");
    assert!(
        !log.contains(['\u{1b}', '\u{202e}']) && !log.contains("\nErrorID"),
        "{log}"
    );
    // In messages, wherever they go.
    let ran = place.backup(&[&format!("no-such-{EVIL}")]).code(2);
    assert!(
        ran.err
            .contains("evil\\u001b[2J\\nErrorID: Forged\\u202etxt"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains(['\u{1b}', '\u{202e}']), "{}", ran.err);
    // A script gets the names as they are, a terminal does not.
    place.on("list", ["*"]).code(0).says(EVIL);
    for args in [&["*"][..], &["*", "--json"]] {
        let (code, shown) = on_terminal(&place, &place.full("list", args), 80, None);
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("evil\\u001b[2J\\nErrorID"), "{shown}");
        assert!(
            !shown.contains("\u{1b}[2J") && !shown.contains('\u{202e}'),
            "{shown}"
        );
    }
}

#[test]
fn the_line_of_progress_fits_the_terminal_and_goes_away() {
    const WIDTH: u16 = 50;
    let place = Place::with_source();
    place.write_noise("source/large", 3_000_000, 7);
    let args = place.full(
        "backup",
        [
            "source",
            "--throttle-upload=1mb",
            "--dblock-size=1mb",
            "--blocksize=100kb",
        ],
    );
    let (code, shown) = on_terminal(&place, &args, WIDTH, None);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains(" files, ") && shown.contains("still counting") || shown.contains("% "),
        "{shown}"
    );
    for line in plain(&shown)
        .split(['\r', '\n'])
        .filter(|line| line.starts_with(['|', '/', '-', '\\']))
    {
        assert!(line.chars().count() <= usize::from(WIDTH), "{line:?}");
    }
    place.write_noise("source/larger", 9_000_000, 8);
    let (_, shown) = on_terminal(&place, &args, WIDTH, Some(Duration::from_secs(2)));
    let after = shown.split("press Ctrl-C again to stop now").nth(1);
    let last = after
        .expect(&shown)
        .rsplit(['\r', '\n'])
        .find(|line| !line.is_empty());
    let last = plain(last.unwrap_or_default());
    assert!(
        !last.starts_with(['|', '/', '-', '\\']),
        "{last:?} in {shown:?}"
    );
}

/// Runs the program on a terminal of its own; after `stop` it gets a Ctrl-C. Gives the exit code and what was shown.
fn on_terminal(
    place: &Place,
    args: &[std::ffi::OsString],
    width: u16,
    stop: Option<Duration>,
) -> (Option<i32>, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let size = rustix::termios::Winsize {
        ws_row: 24,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&master, size).expect("a size");
    let name = ptsname(&master, Vec::new())
        .expect("a name")
        .into_string()
        .expect("UTF-8");
    let side = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name)
        .expect("the other side");
    let mut command = place.command(args);
    command
        .env("TERM", "xterm")
        .stdout(Stdio::from(side.try_clone().expect("a copy")))
        .stderr(Stdio::from(side));
    let mut child = command.spawn().expect("it starts");
    // The command holds copies of the other side: as long as one is open here, reading has no end.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut master, mut shown) = (std::fs::File::from(master), Vec::new());
        let mut buffer = [0; 4096];
        // On Linux the end of a terminal is an error.
        while let Ok(len @ 1..) = master.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..len]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    if let Some(time) = stop {
        std::thread::sleep(time);
        signal(&child, rustix::process::Signal::INT);
    }
    let status = child.wait().expect("it ends");
    (status.code(), reader.join().expect("read"))
}

/// Text without the sequences that steer a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        let end = after
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(after.len(), |at| at + 1);
        rest = &after[end..];
    }
    plain.push_str(rest);
    plain
}
