//! The real program is killed at random points of a repair, over and over: no version is lost, and the next repair ends
//! with a set that is whole.
//!
//! `LARDER_KILLS` (60; 200 in `.ci/run`) and `LARDER_KILL_SEED` change the test; the seed is printed.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use larder_testkit::Rng;
use larder_testkit::tree::{CompareOptions, Manifest, build_random, compare_manifests};

use super::support::{Place, seed};

const OPTIONS: [&str; 3] = ["--no-encryption", "--dblock-size=1mb", "--blocksize=50kb"];
/// Many missing files are asked for again, without a pause.
const REPAIR: [&str; 2] = ["--no-encryption", "--retry-delay=0s"];
/// Everything is checked and a version restored after so many kills.
const CHECK_EVERY: u64 = 20;
/// Each kind of landing is met at least so often in 200 kills.
const AT_LEAST: u64 = 8;

#[derive(Default, Debug)]
struct Landings {
    before_the_first_put: u64,
    among_puts: u64,
    after_the_last_put: u64,
    too_late: u64,
}

#[test]
fn no_version_is_lost_by_kills_of_a_repair() {
    let seed = seed("LARDER_KILL_SEED");
    let kills: u64 = std::env::var("LARDER_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    let mut rng = Rng::new(seed);
    let place = Place::new();
    let source = place.path("source");
    build_random(&source, seed, 60, 400_000).expect("a tree");
    for n in 0..6_u64 {
        place.write_noise(&format!("source/large {n}"), 1_500_000, seed ^ n);
    }
    back_up(&place);
    let older = Manifest::of(&source).expect("a manifest");
    for n in 0..3_u64 {
        place.write_noise(&format!("source/large {n}"), 1_400_000, seed ^ (n + 10));
    }
    back_up(&place);
    let newer = Manifest::of(&source).expect("a manifest");
    let data = of_kind(&place, ".dblock.");
    let lists = of_kind(&place, ".dlist.");
    let mut landings = Landings::default();
    let mut done = 0;
    while done < kills {
        damage(&place, &mut rng);
        let missing = data.len() - of_kind(&place, ".dindex.").len();
        assert!(missing > 0, "nothing to repair");
        if !killed(&place, &mut rng, missing, &mut landings) {
            place.on("repair", REPAIR);
            continue;
        }
        done += 1;
        assert_eq!(of_kind(&place, ".dblock."), data, "data volumes changed");
        assert_eq!(of_kind(&place, ".dlist."), lists, "version lists changed");
        if done % CHECK_EVERY == 0 {
            place.on("repair", REPAIR).code(0);
            place.on("test", ["all", "--no-encryption"]).code(0);
            assert_eq!(
                of_kind(&place, ".dindex.").len(),
                data.len(),
                "an index each"
            );
            for (version, held) in [("--version=0", &newer), ("--version=1", &older)] {
                compare(&place, version, held);
            }
        }
    }
    println!("{kills} kills, seed {seed}: {landings:?}");
    for (name, count) in [
        ("before the first put", landings.before_the_first_put),
        ("among puts", landings.among_puts),
        ("after the last put", landings.after_the_last_put),
    ] {
        assert!(
            count >= AT_LEAST * kills / 200,
            "{name}: {count} of {kills} kills"
        );
    }
}

fn back_up(place: &Place) {
    let mut arguments = vec!["backup".to_owned(), place.url(), "source".to_owned()];
    arguments.extend(OPTIONS.map(str::to_owned));
    place.run(arguments).code(0);
}

fn of_kind(place: &Place, part: &str) -> BTreeSet<String> {
    let stored = place.stored_with(part).into_iter();
    stored
        .filter(|name| name.starts_with("duplicati-"))
        .collect()
}

/// Removes some index files, and now and then the local state.
fn damage(place: &Place, rng: &mut Rng) {
    let indexes: Vec<String> = of_kind(place, ".dindex.").into_iter().collect();
    let gone = 1 + rng.index(indexes.len().max(1));
    for name in indexes.iter().take(gone) {
        std::fs::remove_file(place.path("destination").join(name)).expect("removed");
    }
    if rng.below(3) == 0 {
        place.lose_state();
    }
}

/// A repair that is killed; false when it ended before that.
fn killed(place: &Place, rng: &mut Rng, missing: usize, landings: &mut Landings) -> bool {
    let before = of_kind(place, ".dindex.").len();
    let written = |place: &Place| of_kind(place, ".dindex.").len().saturating_sub(before);
    let wanted = rng.index(missing + 1);
    let delay = Duration::from_micros(rng.below(20_000));
    let url = place.url();
    let mut child = place
        .command(["repair", url.as_str(), REPAIR[0], REPAIR[1]])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let running = |child: &mut Child| child.try_wait().expect("its state").is_none();
    match rng.below(3) {
        // At any moment of its start.
        0 => std::thread::sleep(delay),
        // Right after an index file appeared, or the last one.
        kind => {
            let wanted = if kind == 1 { wanted } else { missing };
            while running(&mut child) && written(place) < wanted {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
    let late = !running(&mut child);
    child.kill().expect("killed");
    child.wait().expect("its end");
    if late {
        landings.too_late += 1;
        return false;
    }
    match written(place) {
        0 => landings.before_the_first_put += 1,
        all if all == missing => landings.after_the_last_put += 1,
        _ => landings.among_puts += 1,
    }
    true
}

fn compare(place: &Place, version: &str, held: &Manifest) {
    let target = place.path("restored");
    let _ = std::fs::remove_dir_all(&target);
    place
        .restore(
            "restored",
            &[version, "--no-encryption", "--restore-permissions"],
        )
        .code(0);
    let found = Manifest::of(&target).expect("a manifest");
    let options = CompareOptions {
        // What Duplicati's format keeps of a time.
        mtime_unit_ns: 100,
        ..CompareOptions::backed_up()
    };
    let differences = compare_manifests(held, &found, &options);
    assert!(differences.is_empty(), "{version}: {differences:?}");
}
