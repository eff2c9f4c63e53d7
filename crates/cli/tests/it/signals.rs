//! Ctrl-C and SIGTERM: the first lets a backup end with what it has read, the next stops cleanly within two seconds and what
//! was uploaded is used again, the one after it kills.

use std::process::Child;
use std::time::{Duration, Instant};

use larder_testkit::tree::{CompareOptions, compare};
use rustix::process::Signal;

use super::support::{Place, Ran, signal};

/// Longest time between the first signal and the end.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The default of --asynchronous-concurrent-upload-limit.
const UPLOADS_AT_ONCE: usize = 4;

const SMALL_VOLUMES: [&str; 2] = ["--dblock-size=1mb", "--blocksize=100kb"];

/// A place with a source that takes some seconds when uploads are slow.
fn large() -> Place {
    let place = Place::with_source();
    for n in 0..12 {
        place.write_noise(&format!("source/noise{n}"), 1_000_000, n);
    }
    place
}

fn slow_backup(place: &Place, limit: &str) -> Child {
    let limit = format!("--throttle-upload={limit}");
    let args = [&["source", limit.as_str()], &SMALL_VOLUMES[..]].concat();
    place
        .command(place.full("backup", args))
        .spawn()
        .expect("it starts")
}

/// Waits until something holds.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end after a signal; gives what was left and how long it took.
fn ended(child: Child, since: Instant) -> (Ran, Duration) {
    let output = child.wait_with_output().expect("it ends");
    let took = since.elapsed();
    println!("ended {} ms after the signal", took.as_millis());
    (Ran::of(output), took)
}

/// Asks a backup to end, and then to stop now. Two signals of one kind would be one if they came at once.
fn stop_now(child: &Child) -> Instant {
    signal(child, Signal::INT);
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    signal(child, Signal::TERM);
    start
}

#[test]
fn a_backup_that_is_asked_to_end_leaves_a_partial_version() {
    let place = large();
    place.write("source/first", b"a small one");
    place
        .backup(&[&["--exclude=*noise*"], &SMALL_VOLUMES[..]].concat())
        .code(0);
    for n in 20..400 {
        place.write_noise(&format!("source/more/{n}"), 30_000, n);
    }
    let child = slow_backup(&place, "4mb");
    wait_for("three volumes", || place.stored_with("dindex").len() >= 4);
    signal(&child, Signal::TERM);
    let (ran, _) = ended(child, Instant::now());
    ran.code(50)
        .complains("stopping after the files that are being read; send SIGTERM again to stop now")
        .complains("Warning [Stopped]")
        .says("Backup stopped; a partial version was written");
    place
        .on("list-filesets", [""; 0])
        .code(0)
        .says(", partial)");
    place.restore("partial", &[]).code(0);
    let differences = compare(
        &place.path("source"),
        &place.path("partial"),
        &CompareOptions::content_only(),
    );
    // Something is missing, and nothing is wrong.
    assert!(!differences.is_empty());
    let wrong = differences.iter().map(ToString::to_string);
    let wrong: Vec<String> = wrong.filter(|text| !text.contains("missing")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    place.backup(&SMALL_VOLUMES).code(0);
    place.restore("whole", &[]).code(0);
    let differences = compare(
        &place.path("source"),
        &place.path("whole"),
        &CompareOptions::content_only(),
    );
    assert!(differences.is_empty(), "{differences:?}");
    place.on("test", ["all"]).code(0);
}

#[test]
fn a_stopped_backup_keeps_what_was_uploaded() {
    let place = large();
    let child = slow_backup(&place, "2mb");
    wait_for("three volumes", || place.stored_with("dindex").len() >= 3);
    let start = stop_now(&child);
    let (ran, took) = ended(child, start);
    assert!(took < STOP_WITHIN, "{took:?}");
    let stored = place.snapshot("destination");
    let files = stored.iter().filter(|(path, _)| path.is_file());
    let bytes: usize = files.clone().map(|(_, content)| content.len()).sum();
    let stored = files.count();
    let ran = ran
        .code(50)
        .complains("stopping; send SIGTERM again to end at once")
        .complains("Warning [Stopped]")
        .says("  Duration of backup: 00:00:")
        .says("\n  Remote filesets: 0\n")
        .says("\n  Files deleted: 0\n  Files changed: 0\n")
        .says("\n  Data downloaded: 0 bytes\n")
        .says("Backup stopped; no new version was written");
    let figure = |name: &str| {
        let mut lines = ran.out.lines();
        lines
            .find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or_else(|| panic!("no {name}: {}", ran.out))
    };
    // The figures are of what was confirmed until then; what was under way may have arrived all the same.
    let told: usize = figure("Remote files").parse().expect("a number");
    let least = stored - UPLOADS_AT_ONCE;
    assert!((least..=stored).contains(&told), "{told} of {stored}");
    assert_eq!(figure("Remote size"), figure("Data uploaded"));
    let sent = figure("Data uploaded").strip_suffix(" MiB");
    let sent: f64 = sent.and_then(|sent| sent.parse().ok()).expect("MiB");
    let mib = bytes as f64 / f64::from(1 << 20);
    let under_way = UPLOADS_AT_ONCE as f64;
    assert!(
        (mib - under_way..mib + 0.01).contains(&sent),
        "{sent} of {mib} MiB"
    );
    let added: usize = figure("Files added").parse().expect("a number");
    assert!((2..15).contains(&added), "{added} of 15 files were added");
    assert!(place.stored_with("dlist").is_empty());
    let uploaded: u64 = place
        .stored_with("dblock")
        .iter()
        .map(|name| {
            std::fs::metadata(place.path(&format!("destination/{name}"))).map_or(0, |f| f.len())
        })
        .sum();
    assert!(uploaded > 2_000_000, "{uploaded}");
    let ran = place
        .backup(&[&["--json"], &SMALL_VOLUMES[..]].concat())
        .code(0);
    let sent = ran.json()["BackendStatistics"]["BytesUploaded"]
        .as_u64()
        .expect("a number");
    assert!(
        sent + uploaded < 13_500_000,
        "{sent} bytes sent although {uploaded} of 12 MB were there"
    );
    place.restore("out", &[]).code(0);
    let differences = compare(
        &place.path("source"),
        &place.path("out"),
        &CompareOptions::content_only(),
    );
    assert!(differences.is_empty(), "{differences:?}");
    place.on("test", ["all"]).code(0);
}

#[test]
fn a_backup_stopped_before_anything_was_uploaded_is_a_failure() {
    let place = large();
    let child = slow_backup(&place, "1kb");
    wait_for("the folder", || place.path("destination").exists());
    std::thread::sleep(Duration::from_millis(300));
    let start = stop_now(&child);
    let (ran, took) = ended(child, start);
    assert!(took < STOP_WITHIN, "{took:?}");
    ran.code(100).complains("stopping");
    assert_eq!(place.stored(), [""; 0], "no half volume stays");
    place.backup(&SMALL_VOLUMES).code(0);
}

#[test]
fn the_third_signal_kills() {
    let place = large();
    let child = slow_backup(&place, "1mb");
    wait_for("a volume", || !place.stored_with("dindex").is_empty());
    let start = stop_now(&child);
    signal(&child, Signal::INT);
    let (ran, took) = ended(child, start);
    assert!(took < Duration::from_secs(1), "{took:?}");
    ran.code(130);
    place.backup(&SMALL_VOLUMES).code(0);
    place.restore("out", &[]).code(0);
}

#[test]
fn a_stopped_restore_goes_on_where_it_was() {
    let place = large();
    place.backup(&SMALL_VOLUMES).code(0);
    let path = format!("--restore-path={}", place.text("out"));
    let child = place
        .command(place.full("restore", [path.as_str(), "--throttle-download=2mb"]))
        .spawn()
        .expect("it starts");
    wait_for("a file", || place.path("out").exists());
    std::thread::sleep(Duration::from_millis(1000));
    let start = Instant::now();
    signal(&child, Signal::TERM);
    let (ran, took) = ended(child, start);
    assert!(took < STOP_WITHIN, "{took:?}");
    ran.code(100).fails_with("Cancelled");
    let left = place.snapshot("out");
    let unfinished = left
        .iter()
        .filter(|(path, _)| path.to_string_lossy().ends_with(".unfinished"));
    assert_eq!(unfinished.count(), 0, "a clean stop leaves nothing behind");
    place.restore("out", &["--overwrite"]).code(0);
    let differences = compare(
        &place.path("source"),
        &place.path("out"),
        &CompareOptions::content_only(),
    );
    assert!(differences.is_empty(), "{differences:?}");
}
