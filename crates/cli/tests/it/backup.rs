//! `backup`: output and exit codes (commands spec 1.2 and 1.4).

use super::support::{PASSPHRASE, Place, as_plain_user, open_to_all};

/// Lines with sizes, times and names of volumes made equal.
fn shape(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = match line.split_once(": ") {
            Some((name, _)) if line.starts_with("  ") && !line.contains(" ...") => {
                format!("{name}: _")
            }
            _ => line.to_owned(),
        };
        let words: Vec<&str> = line
            .split(' ')
            .map(|word| {
                if word.starts_with("duplicati-") {
                    word.split('.').nth(1).unwrap_or(word)
                } else {
                    word
                }
            })
            .collect();
        let line = words.join(" ");
        let line = match (line.find('('), line.rfind(')')) {
            (Some(from), Some(to)) if from < to => {
                format!("{}(_){}", &line[..from], &line[to + 1..])
            }
            _ => line,
        };
        let line = match line.split_once(" at ") {
            Some((before, _)) => format!("{before} at _"),
            None => line,
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn the_output_of_a_backup() {
    let place = Place::with_source();
    let ran = place.backup(&[]).code(0);
    assert_eq!(ran.err, "");
    let mut lines: Vec<String> = shape(&ran.out).lines().map(str::to_owned).collect();
    // Index and list may be sent in either order with data that comes late.
    lines.retain(|line| !line.contains("Downloading"));
    assert_eq!(
        lines.join("\n"),
        "Backup started at _\n\
         Checking remote backup ...\n\
         \x20 Listing remote folder ...\n\
         \x20 Creating remote folder ...\n\
         Scanning source files ...\n\
         \x20 Uploading file dblock (_) ...\n\
         \x20 Uploading file dindex (_) ...\n\
         Uploading the version list ...\n\
         \x20 Uploading file dlist (_) ...\n\
         Verifying remote backup ...\n\
         \x20 Listing remote folder ...\n\
         Remote backup verification completed\n\
         \x20 Duration of backup: _\n\
         \x20 Remote files: _\n\
         \x20 Remote filesets: _\n\
         \x20 Remote size: _\n\
         \x20 Total remote quota: _\n\
         \x20 Available remote quota: _\n\
         \x20 Files added: _\n\
         \x20 Files deleted: _\n\
         \x20 Files changed: _\n\
         \x20 Data uploaded: _\n\
         \x20 Data downloaded: _\n\
         Backup completed successfully!"
    );
    for fact in [
        "  Remote files: 3\n",
        "  Remote filesets: 1\n",
        "  Files added: 3\n",
        "  Files deleted: 0\n",
        "  Files changed: 0\n",
    ] {
        assert!(ran.out.contains(fact), "{fact}{}", ran.out);
    }
    let duration = ran
        .out
        .lines()
        .find(|l| l.contains("Duration"))
        .unwrap_or_default();
    assert!(
        duration.starts_with("  Duration of backup: 00:00:0"),
        "{duration}"
    );
}

#[test]
fn nothing_to_upload_is_1() {
    let place = Place::with_backup();
    let before = place.stored();
    place
        .backup(&[])
        .code(1)
        .says("  Data uploaded: 0 bytes\n")
        .says("Backup completed successfully!");
    assert_eq!(place.stored(), before);
    place.backup(&["--upload-unchanged-backups"]).code(0);
    assert_eq!(place.stored_with("dlist").len(), 2);
}

#[test]
fn changes_are_counted() {
    let place = Place::with_backup();
    place.write("source/letter.txt", b"Dear reader, once more\n");
    place.write("source/new.txt", b"new");
    std::fs::remove_file(place.path("source/notes/one.txt")).expect("removed");
    place
        .backup(&[])
        .code(0)
        .says("  Files added: 1\n")
        .says("  Files deleted: 1\n")
        .says("  Files changed: 1\n")
        .says("  Remote filesets: 2\n");
}

#[test]
fn a_file_that_cannot_be_read_is_3() {
    let place = Place::with_source();
    place.write("source/closed.txt", b"nobody may read this");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(
        place.path("source/closed.txt"),
        std::fs::Permissions::from_mode(0o000),
    )
    .expect("permissions");
    let Some(ran) = as_plain_user(&place, &place.full("backup", ["source"])) else {
        return;
    };
    ran.code(3)
        .complains("closed.txt: ")
        .complains("ermission denied")
        .says("Backup finished with errors");
    place
        .on("list", ["*"])
        .code(0)
        .says("letter.txt (13 bytes)");
}

#[test]
fn the_full_result_is_printed_first() {
    let place = Place::with_source();
    let out = place.backup(&["--full-result"]).code(0).out;
    for line in [
        "\nMainOperation: Backup\n",
        "\nParsedResult: Success\n",
        "\nAddedFiles: 3\n",
        "\nPartialBackup: False\n",
        "\nBackendStatistics:\n",
        "\n  FilesUploaded: 3\n",
        "\nWarnings: []\n",
    ] {
        assert!(out.contains(line), "{line}{out}");
    }
    assert!(out.find("MainOperation") < out.find("Duration of backup"));
}

#[test]
fn the_quiet_console_says_nothing_but_errors() {
    let place = Place::with_source();
    let ran = place.backup(&["--quiet-console", "--zzz"]).code(2);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    place
        .run([
            "backup",
            &place.url(),
            "source",
            "--passphrase=other",
            "--quiet-console",
        ])
        .code(100)
        .fails_with("WrongPassphrase");
    place
        .on("list", ["--quiet-console"])
        .code(0)
        .says("Listing filesets:");
}

#[test]
fn messages_go_where_the_options_say() {
    let place = Place::with_source();
    place
        .backup(&[
            "--log-file=logs/deep/larder.log",
            "--log-file-log-level=Verbose",
            "--exclude=*.log",
            "--zzz",
        ])
        .code(2);
    let log = std::fs::read_to_string(place.path("logs/deep/larder.log")).expect("the log");
    let line = log.lines().find(|l| l.contains("zzz")).unwrap_or_default();
    // yyyy-MM-dd HH:mm:ss zz - [<Level>-<Tag>-<MessageId>]: <text>
    assert!(
        line.contains(" +00 - [Warning-Larder-UnsupportedOption]: option --zzz"),
        "{log}"
    );
    let lines = log.lines().count();
    place.write("source/more", b"more");
    place
        .backup(&["--log-file=logs/deep/larder.log", "--zzz"])
        .code(2);
    let log = std::fs::read_to_string(place.path("logs/deep/larder.log")).expect("the log");
    assert_eq!(log.lines().count(), lines + 1, "appended, warnings only");
    place.write("source/more", b"even more");
    place
        .backup(&[
            "--console-log-level=Verbose",
            "--console-log-ignore=UnsupportedOption",
            "--zzz",
        ])
        .code(2)
        .says("new blocks with");
}

#[test]
fn groups_and_variables_in_filters_and_sources() {
    let place = Place::with_source();
    place.write("source/keep.txt", b"1");
    place.write("source/skip.tmp", b"2");
    let mut command = place.command(place.full(
        "backup",
        [
            "$WHERE/source",
            "--exclude=*.%ENDING%",
            "--exclude={CacheFiles}",
        ],
    ));
    command.env("WHERE", place.path("")).env("ENDING", "tmp");
    super::support::Ran::of(command.output().expect("it starts"))
        .code(0)
        .says("Files added: 4");
}

#[test]
fn the_backup_does_not_back_itself_up() {
    let place = Place::with_source();
    let url = format!("file://{}/store", place.text("source"));
    let passphrase = format!("--passphrase={PASSPHRASE}");
    let data = "--server-datafolder=source/data";
    let backup = |options: &[&str]| {
        let verification = "--upload-verification-file";
        let call = ["backup", &url, "source", &passphrase, data, verification];
        place.run([&call, options].concat())
    };
    // What only begins like a volume is the user's.
    place.write("source/store/duplicati-notes.txt", b"mine");
    backup(&["--console-log-level=Information"])
        .code(0)
        .says("local catalogs or volumes of this backup lie in the source");
    // dbconfig.json is written once.
    backup(&[]);
    backup(&[]).code(1);
    let listed = place.run(["list", &url, "*", &passphrase, data]).code(0);
    for left_out in [".dblock.", ".dindex.", ".dlist.", "verification", ".sqlite"] {
        assert!(!listed.out.contains(left_out), "{}", listed.out);
    }
    listed
        .says("letter.txt")
        .says("dbconfig.json")
        .says("duplicati-notes.txt");
}

#[test]
fn test_filters_walks_without_a_backup() {
    let place = Place::with_source();
    place
        .run(["test-filters", "source"])
        .code(0)
        .says("Matched 3 files (21 bytes)\n");
    let ran = place
        .run([
            "test-filter",
            "source",
            "--exclude=*/notes/",
            "--console-log-level=Verbose",
        ])
        .code(0);
    let root = place.text("source");
    assert_eq!(
        ran.out,
        format!(
            "Including {root}/ (no filter matches)\n\
             Including {root}/letter.txt (no filter matches)\n\
             Including {root}/link (no filter matches)\n\
             Excluding {root}/notes/ (--exclude=*/notes/)\n\
             Matched 1 file (13 bytes)\n"
        )
    );
    place
        .run(["test-filters", "source", "--exclude=*"])
        .code(0)
        .complains("leaves out everything below the sources");
    place
        .run(["test-filters", "nowhere"])
        .code(100)
        .fails_with("NoSources");
}

#[test]
fn the_verification_file_lists_all_volumes() {
    let place = Place::with_source();
    place.backup(&["--upload-verification-file"]).code(0);
    let text = std::fs::read(place.path("destination/duplicati-verification.json")).expect("it");
    let text = text.strip_prefix(b"\xef\xbb\xbf").expect("a mark");
    let rows: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let path = place.path(&format!(
            "destination/{}",
            row["Name"].as_str().expect("a name")
        ));
        let size = std::fs::metadata(path).expect("it is there").len();
        assert_eq!(row["Size"].as_u64(), Some(size));
        assert_eq!(row["Hash"].as_str().map(str::len), Some(44));
    }
    // It is no volume, so nothing stumbles over it.
    place.write("source/more", b"more");
    place.backup(&[]).code(0);
    place.on("test", ["all"]).code(0);
}

#[test]
fn a_quota_warns_but_never_stops() {
    let place = Place::with_source();
    place.write_noise("source/noise", 200_000, 1);
    place
        .backup(&["--quota-size=100kb"])
        .code(3)
        .complains("Error [BackendQuotaExceeded]: the limit of --quota-size is reached");
    assert_eq!(place.stored_with("dlist").len(), 1);
    place.write("source/more", b"more");
    place
        .backup(&["--quota-size=210kb", "--quota-warning-threshold=20"])
        .code(2)
        .complains("Warning [BackendQuotaNear]");
    place.write("source/more", b"even more");
    let ran = place.backup(&["--quota-disable"]).code(0);
    assert!(!ran.out.contains("quota"), "{}", ran.out);
}

#[test]
fn uploads_are_throttled() {
    let place = Place::with_source();
    place.write_noise("source/noise", 600_000, 2);
    let start = std::time::Instant::now();
    place.backup(&["--throttle-upload=300kb"]).code(0);
    let slow = start.elapsed().as_secs_f64();
    assert!(slow > 1.2, "{slow} seconds for 600 kB at 300 kB/s");
    place.write_noise("source/noise", 600_000, 3);
    let start = std::time::Instant::now();
    place
        .backup(&[
            "--throttle-upload=300kb",
            "--throttle-disabled-backends=file",
        ])
        .code(0);
    let fast = start.elapsed().as_secs_f64();
    assert!(
        fast < slow,
        "{fast} seconds without the limit, {slow} with it"
    );
}

#[test]
fn snapshots_are_no_false_promise() {
    let place = Place::with_source();
    place
        .backup(&["--snapshot-policy=Required"])
        .code(100)
        .fails_with("SnapshotFailed");
    assert!(place.stored().is_empty());
    place
        .backup(&["--snapshot-policy=On"])
        .code(2)
        .complains("Warning [SnapshotFailed]");
    place.backup(&["--snapshot-policy=Auto"]).code(1);
}

#[test]
fn progress_is_told_in_lines_without_a_terminal() {
    let place = Place::with_source();
    for n in 0..6 {
        place.write_noise(&format!("source/noise{n}"), 900_000, n);
    }
    let ran = place
        .backup(&[
            "--throttle-upload=800kb",
            "--dblock-size=1mb",
            "--blocksize=100kb",
        ])
        .code(0);
    let line = ran
        .out
        .lines()
        .find(|line| line.contains("files need to be examined"))
        .unwrap_or_else(|| panic!("{}", ran.out));
    assert!(line.starts_with("  ") && line.contains(" ("), "{line}");
}

#[test]
fn a_folder_of_another_user_can_be_the_destination() {
    let place = Place::with_source();
    std::fs::create_dir(place.path("destination")).expect("a folder");
    open_to_all(&place.path("destination"));
    let Some(ran) = as_plain_user(&place, &place.full("backup", ["source"])) else {
        return;
    };
    ran.code(0);
}

/// A source that cannot be looked at, such as one on a disk that fails, is not taken for one that is gone.
#[test]
fn what_is_known_of_a_source_that_cannot_be_looked_at_is_kept() {
    let place = Place::new();
    place.write("outer/source/file", b"content");
    place.write("other/file", b"content");
    std::fs::create_dir(place.path("destination")).expect("a folder");
    open_to_all(&place.path("destination"));
    let args = place.full("backup", ["outer/source", "other"]);
    let Some(ran) = as_plain_user(&place, &args) else {
        return;
    };
    ran.code(0);
    place.write("other/file", b"more content");
    let mode = |mode| <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
    std::fs::set_permissions(place.path("outer"), mode(0)).expect("a mode");
    let ran = as_plain_user(&place, &args).expect("it ran before");
    std::fs::set_permissions(place.path("outer"), mode(0o755)).expect("a mode");
    let ran = ran.code(3);
    assert!(
        (ran.out.clone() + &ran.err).contains("outer/source"),
        "{}{}",
        ran.out,
        ran.err
    );
    let listed = place.run(place.full("list", ["*"])).code(0);
    assert!(listed.out.contains("outer/source/file"), "{}", listed.out);
}

/// A file that could not be read while its blocks were missing is looked up again when it can be read.
#[test]
fn an_unreadable_file_is_looked_up_again_when_blocks_were_missing() {
    let place = Place::new();
    place.write("source/file", b"content");
    place.write("source/other", b"other content");
    std::fs::create_dir(place.path("destination")).expect("a folder");
    open_to_all(&place.path("destination"));
    let args = place.full("backup", ["source"]);
    let Some(ran) = as_plain_user(&place, &args) else {
        return;
    };
    ran.code(0);
    let volumes = std::fs::read_dir(place.path("destination")).expect("volumes");
    for volume in volumes {
        let volume = volume.expect("a volume").path();
        if volume.to_string_lossy().contains(".dblock.") {
            std::fs::remove_file(volume).expect("removed");
        }
    }
    let mode = |mode| <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
    std::fs::set_permissions(place.path("source/file"), mode(0)).expect("a mode");
    as_plain_user(&place, &args).expect("it ran before").code(3);
    std::fs::set_permissions(place.path("source/file"), mode(0o644)).expect("a mode");
    // That the file was missed is told once more.
    as_plain_user(&place, &args).expect("it ran before").code(2);
    let mut restore = place.full("restore", ["*"]);
    restore.push(format!("--restore-path={}", place.path("restored").display()).into());
    place.run(&restore);
    assert_eq!(
        std::fs::read_to_string(place.path("restored/file")).expect("restored"),
        "content"
    );
}
