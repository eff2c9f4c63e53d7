//! Taking files out of versions. Trouble at every call is met in the matrix.

use std::sync::Arc;

use larder_destination::ErrorKind;
use larder_engine::source::Action;
use larder_engine::{Error, PurgeReport, PurgeRequest};
use larder_options::Origin::CommandLine;
use larder_testkit::{Failure, Rng};
use larder_volume::VolumeKind::{Blocks, List};

use crate::doom::{Doom, Reach};
use crate::matrix::way::{Habit, Listing, Way, World};
use crate::rig::{Rig, chain, later};

/// Versions with a file of a secret, one in a folder, and others.
fn with_versions(count: u64) -> Rig {
    apart(60, count)
}

/// The same, so many seconds apart.
fn apart(seconds: u64, count: u64) -> Rig {
    let mut rig = Rig::new();
    rig.fill(31, 4, 9000);
    rig.write("secret.txt", Rng::new(99).bytes(5000));
    rig.write("folder/deep/one", "1");
    rig.write("folder/two", "2");
    for number in 0..count {
        rig.write("changes", Rng::new(number).bytes(3000));
        // A backup takes a second.
        later(&rig, seconds - 1);
        rig.backup();
    }
    rig
}

fn try_purge(rig: &mut Rig, patterns: &[&str]) -> Result<PurgeReport, Error> {
    purge_by(rig, &of_patterns(patterns))
}

fn of_patterns(patterns: &[&str]) -> PurgeRequest {
    PurgeRequest {
        patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        filters: Vec::new(),
    }
}

fn purge_by(rig: &mut Rig, request: &PurgeRequest) -> Result<PurgeReport, Error> {
    // Time passes between runs.
    rig.clock
        .set(u64::try_from(larder_destination::Clock::seconds(&*rig.clock)).unwrap() + 100);
    let run = rig.open()?;
    let outcome = run.purge(request);
    run.repository().close().expect("the catalog closes");
    outcome
}

fn purge(rig: &mut Rig, patterns: &[&str]) -> PurgeReport {
    match try_purge(rig, patterns) {
        Ok(report) => report,
        Err(error) => panic!("the purge failed: {}", chain(&error)),
    }
}

/// Notes that what lies under a path is not in these versions any more, 0 being the oldest.
fn without(rig: &mut Rig, path: &str, versions: &[usize]) {
    for version in versions {
        let entries = &mut rig.versions[*version].entries;
        let before = entries.len();
        let below = format!("{path}/");
        entries.retain(|found, _| found != path.as_bytes() && !found.starts_with(below.as_bytes()));
        assert!(entries.len() < before, "{path} was not there");
    }
}

fn in_source(rig: &Rig, path: &str) -> String {
    rig.source().join(path).to_string_lossy().into_owned()
}

#[test]
fn a_file_goes_from_all_versions() {
    let mut rig = with_versions(3);
    let before = rig.names(List);
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(
        (report.removed_file_count, report.rewritten_file_lists),
        (3, 3)
    );
    assert_eq!(report.removed_file_size, 15_000);
    without(&mut rig, "secret.txt", &[0, 1, 2]);
    // Each new list is a second later, or where there is room.
    let after = rig.names(List);
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|name| !before.contains(name)), "{after:?}");
    rig.check_set("after a purge");
    rig.check_all("after a purge");
    rig.check_all_elsewhere("after a purge");
    assert_eq!(rig.test_all().damaged(), 0);
    // It is still in the source, so the next version has it; nothing else is read.
    let report = rig.backup();
    assert_eq!((report.added_files, report.opened_files), (1, 1));
    rig.check_all_elsewhere("after the next backup");
}

#[test]
fn chosen_versions_lose_it() {
    let mut rig = with_versions(4);
    rig.set("version", "1,2");
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(report.rewritten_file_lists, 2);
    without(&mut rig, "secret.txt", &[1, 2]);
    rig.values.unset("version", CommandLine);
    rig.check_all("by number");
    // A time means the version of then and all older ones.
    let time = rig.names(List)[1]
        .split(['-', '.'])
        .nth(1)
        .unwrap()
        .to_owned();
    rig.set("time", &time);
    let report = purge(&mut rig, &["*/folder/two"]);
    assert_eq!(report.rewritten_file_lists, 2);
    without(&mut rig, "folder/two", &[0, 1]);
    rig.values.unset("time", CommandLine);
    rig.check_all("by time");
    rig.check_all_elsewhere("by time");
}

#[test]
fn a_folder_takes_along_what_is_in_it() {
    let forms = ["folder", "folder/", "folder/*"];
    for form in forms {
        let mut rig = with_versions(2);
        let path = in_source(&rig, form);
        let report = purge(&mut rig, &[&path]);
        assert_eq!(report.removed_file_count, 4, "{form}");
        assert_eq!(report.removed_entry_count, 8, "{form}");
        without(&mut rig, "folder", &[0, 1]);
        rig.check_all(form);
        rig.check_all_elsewhere(form);
    }
}

/// The paths of links to folders end like those of folders; brackets in the middle of a path mean themselves.
#[test]
fn links_to_folders_and_names_with_brackets_are_found_by_their_paths() {
    let mut rig = with_versions(1);
    rig.write("a [1] {2}/one", "1");
    std::os::unix::fs::symlink("folder", rig.source().join("a way there")).expect("a link");
    later(&rig, 60);
    rig.backup();
    for (path, entries) in [("a way there", 1), ("a [1] {2}", 2)] {
        let named = in_source(&rig, path);
        let report = purge(&mut rig, &[&named]);
        assert_eq!(report.removed_entry_count, entries, "{path}");
        without(&mut rig, path, &[1]);
        rig.check_all(path);
    }
}

#[test]
fn what_is_excluded_below_a_folder_stays() {
    let mut rig = with_versions(1);
    let request = PurgeRequest {
        patterns: Vec::new(),
        filters: vec![
            (Action::Exclude, "*/two".to_owned()),
            (Action::Include, "*/folder/*".to_owned()),
        ],
    };
    let report = purge_by(&mut rig, &request).unwrap();
    assert_eq!(report.removed_file_count, 1);
    rig.versions[0]
        .entries
        .retain(|path, _| !path.starts_with(b"folder/deep") && path != b"folder/one");
    let (target, _) = rig.try_restore(0).unwrap();
    assert!(target.join("folder/two").exists() && !target.join("folder/deep").exists());
}

#[test]
fn what_would_take_too_much_is_refused() {
    let mut rig = with_versions(2);
    let files = rig.store.names();
    let error = try_purge(&mut rig, &["*"]).unwrap_err();
    assert_eq!(
        error.id(),
        Some("PurgeWouldRemoveEntireFileset"),
        "{}",
        chain(&error)
    );
    let only_excludes = PurgeRequest {
        patterns: Vec::new(),
        filters: vec![(Action::Exclude, "*/secret.txt".to_owned())],
    };
    for request in [only_excludes, PurgeRequest::default()] {
        let error = purge_by(&mut rig, &request).unwrap_err();
        assert_eq!(error.id(), Some("PurgeWithoutInclude"), "{}", chain(&error));
    }
    let report = purge(&mut rig, &["*/nothing of this name"]);
    assert_eq!(
        (report.rewritten_file_lists, report.removed_entry_count),
        (0, 0)
    );
    rig.set("dry-run", "true");
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(
        (report.rewritten_file_lists, report.removed_file_count),
        (2, 2)
    );
    let said = rig.log.texts().join("\n");
    assert!(
        said.contains("would take out") && said.contains("in the place of"),
        "{said}"
    );
    assert_eq!(rig.store.names(), files);
}

#[test]
fn control_files_stay_beside_the_list() {
    let mut rig = Rig::new();
    rig.write("secret.txt", "x");
    rig.write("other", "y");
    let kept = rig.temp.path().join("kept.conf");
    std::fs::write(&kept, "the settings").unwrap();
    rig.set("control-files", &kept.to_string_lossy());
    rig.backup();
    purge(&mut rig, &["*/secret.txt"]);
    let list = rig.newest_list();
    let bytes = rig.store.files()[&list].to_vec();
    let archive =
        larder_volume::ArchiveReader::open(bytes, larder_volume::Compression::Zip).unwrap();
    let entry = archive.find("extra/kept.conf").expect("the control file");
    assert_eq!(archive.read(entry, 100).unwrap(), b"the settings");
}

/// Old space stays until it is worth it, or until no waste is wanted.
#[test]
fn purged_blocks_go_when_no_waste_is_wanted() {
    let mut rig = with_versions(2);
    let secret = Rng::new(99).bytes(5000);
    let block = larder_volume::HashAlgorithm::Sha256.digest(&secret[..1024]);
    let holds = |rig: &Rig| {
        rig.names(Blocks).iter().any(|name| {
            let bytes = rig.store.files()[name].to_vec();
            let zip = larder_volume::Compression::Zip;
            let archive = larder_volume::ArchiveReader::open(bytes, zip).unwrap();
            archive.find(&block.to_url_base64()).is_some()
        })
    };
    rig.set("threshold", "99");
    purge(&mut rig, &["*/secret.txt"]);
    assert!(holds(&rig));
    rig.set("threshold", "0");
    purge(&mut rig, &["*/folder/two"]);
    assert!(!holds(&rig));
    without(&mut rig, "secret.txt", &[0, 1]);
    without(&mut rig, "folder/two", &[0, 1]);
    rig.check_all("after the threshold was 0");
    rig.check_all_elsewhere("after the threshold was 0");
}

#[test]
fn a_list_that_cannot_be_read_is_told_and_the_others_change() {
    let mut rig = with_versions(3);
    let list = rig.names(List)[1].clone();
    assert!(rig.store.truncate(&list, 100));
    rig.lose_state();
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(report.rewritten_file_lists, 2);
    assert!(rig.log.count("DamagedList") >= 1);
    assert!(report.common.errors_actual_length >= 1, "{report:?}");
    assert!(rig.names(List).contains(&list));
    without(&mut rig, "secret.txt", &[0, 2]);
    rig.versions.remove(1);
    rig.check_all_elsewhere("beside a damaged list");
}

/// Both sides of a version are taken.
#[test]
fn versions_a_second_apart_find_their_places() {
    let mut rig = apart(1, 4);
    for round in 0..3 {
        let path = ["*/secret.txt", "*/folder/two", "*/folder/deep/one"][round];
        let report = purge(&mut rig, &[path]);
        assert_eq!(report.rewritten_file_lists, 4, "{path}");
    }
    for path in ["secret.txt", "folder/two", "folder/deep/one"] {
        without(&mut rig, path, &[0, 1, 2, 3]);
    }
    rig.check_all("three purges");
    rig.check_all_elsewhere("three purges");
    // One alone, between two others.
    let mut rig = apart(1, 3);
    rig.set("version", "1");
    let lists = rig.names(List);
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(report.rewritten_file_lists, 0);
    assert_eq!(rig.log.count("NoFreeTime"), 1);
    assert_eq!(rig.names(List), lists);
}

/// Purges and compacts over a destination with a habit.
fn purge_over(rig: &mut Rig, habit: Habit) -> (Result<PurgeReport, Error>, Option<String>) {
    later(rig, 100);
    rig.set("no-auto-compact", "true");
    rig.set("threshold", "0");
    let world = World::new(habit, &Listing::new(), rig, 0);
    let way = Way::new(rig, habit, None, &world);
    let run = rig.open_over(way, true).unwrap();
    let purged = run.purge(&of_patterns(&["*/secret.txt"]));
    let held_back = run.compact().unwrap().results.held_back;
    run.repository().close().unwrap();
    (purged, held_back)
}

/// A size that is not listed was taken for another one: no list was written anew, and no space freed.
#[test]
fn lists_whose_sizes_are_not_listed_are_written_anew() {
    for keep_state in [true, false] {
        let mut rig = with_versions(4);
        if !keep_state {
            rig.lose_state();
        }
        let (purged, held_back) = purge_over(&mut rig, Habit::Unsized);
        match purged {
            Ok(report) => assert_eq!(report.rewritten_file_lists, 4, "{keep_state}"),
            Err(error) => panic!("state kept: {keep_state}: {}", chain(&error)),
        }
        assert_eq!(held_back, None, "{keep_state}");
        without(&mut rig, "secret.txt", &[0, 1, 2, 3]);
        rig.check_all("without sizes");
        rig.check_all_elsewhere("without sizes");
    }
}

/// They may be the versions of two machines that began in the same second.
#[test]
fn two_lists_of_one_name_are_left_alone() {
    let mut rig = with_versions(2);
    let files = rig.store.names();
    let (purged, held_back) = purge_over(&mut rig, Habit::AllTwice);
    let error = purged.unwrap_err();
    let id = "DuplicateRemoteFiles";
    assert_eq!(error.id(), Some(id), "{}", chain(&error));
    let why = held_back.expect("a reason");
    assert!(why.contains("listed twice"), "{why}");
    assert_eq!(rig.store.names(), files);
}

/// Its name was chosen for the list of the version before it, which ended the purge with an error of the catalog.
#[test]
fn the_second_of_a_lost_list_is_not_free() {
    let mut rig = apart(1, 3);
    let lost = rig.names(List)[1].clone();
    let bytes = rig.store.remove(&lost).unwrap();
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(report.rewritten_file_lists, 2);
    assert!(!rig.names(List).contains(&lost));
    without(&mut rig, "secret.txt", &[0, 2]);
    // It comes back, and is a version again.
    rig.store.insert(&lost, bytes);
    rig.check_all("the lost list came back");
    rig.check_all_elsewhere("the lost list came back");
}

fn calls_of_a_purge() -> (Rig, u64) {
    let mut base = with_versions(2);
    base.set("no-auto-compact", "true");
    let mut rig = base.fork();
    purge(&mut rig, &["*/secret.txt"]);
    (base, rig.plan.calls())
}

/// The put was answered, the run died, and what lies there is not what was sent.
#[test]
fn an_old_list_stays_when_the_new_one_is_not_what_was_sent() {
    let (base, calls) = calls_of_a_purge();
    let mut spoilt = 0;
    for n in 1..=calls {
        let mut rig = base.fork();
        let saved = rig.fast.path().join("saved");
        let doom = Arc::new(Doom::new(&rig, n, Reach::Whole, saved.clone()));
        let run = rig.open_over(doom.clone(), true).expect("it opens");
        let request = PurgeRequest {
            patterns: vec!["*/secret.txt".to_owned()],
            filters: Vec::new(),
        };
        let _ = run.purge(&request);
        drop(run);
        let store = doom.what_is_left().expect("the call came");
        let mut after = rig.fork_at(&store, Some(saved.as_path()));
        let old = base.names(List);
        let new: Vec<String> = after
            .names(List)
            .into_iter()
            .filter(|name| !old.contains(name))
            .collect();
        // Both are there.
        if after.names(List).len() != 3 || new.len() != 1 {
            continue;
        }
        spoilt += 1;
        let len = after.store.files()[&new[0]].len();
        after.store.insert(&new[0], vec![0; len]);
        after.write("changes", "x");
        after.try_backup().unwrap();
        assert!(
            old.iter().all(|name| after.names(List).contains(name)),
            "call {n}"
        );
    }
    assert!(spoilt > 0);
}

#[test]
fn a_list_that_may_not_be_removed_stays_alone() {
    let mut rig = with_versions(2);
    rig.set("number-of-retries", "0");
    rig.set("version", "0");
    let lists = rig.names(List);
    rig.plan.push(
        larder_destination::Operation::Delete,
        Failure::Before(ErrorKind::Locked),
    );
    let report = purge(&mut rig, &["*/secret.txt"]);
    assert_eq!(report.rewritten_file_lists, 0);
    assert_eq!(rig.log.count("ListNotReplaced"), 1);
    assert_eq!(rig.names(List), lists);
    rig.values.unset("version", CommandLine);
    rig.check_all("nothing changed");
    rig.check_all_elsewhere("nothing changed");
}

#[test]
fn an_encrypted_set_gets_no_plain_list() {
    let mut rig = Rig::encrypted("a passphrase");
    rig.write("secret.txt", "x");
    rig.write("other", "y");
    rig.backup();
    rig.set("no-encryption", "true");
    let files = rig.store.names();
    let error = try_purge(&mut rig, &["*/secret.txt"]).unwrap_err();
    assert_eq!(error.id(), Some("EncryptionChanged"), "{}", chain(&error));
    assert_eq!(rig.store.names(), files);
}
