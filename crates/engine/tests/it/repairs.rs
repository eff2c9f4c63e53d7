//! What a repair brings back, and what it leaves alone. Trouble at every call is met in the matrix.

use larder_destination::{Clock as _, ErrorKind};
use larder_engine::{Cancel, Error};
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::rig::{Rig, chain};

#[test]
fn trouble_on_the_way_is_not_called_damage() {
    let mut rig = Rig::new();
    rig.fill(23, 12, 30_000);
    rig.backup();
    rig.set("number-of-retries", "0");
    for kind in [
        ErrorKind::Network,
        ErrorKind::SignInNeeded,
        ErrorKind::Denied,
    ] {
        rig.plan.reset_calls();
        rig.plan.fail_after(2, Failure::Before(kind.clone()));
        rig.log.clear();
        let run = rig.open().expect("it opens");
        let error = run.test(larder_engine::Samples::All).expect_err("no way");
        run.repository().close().expect("the catalog closes");
        assert!(
            matches!(&error, Error::Destination(error) if *error.kind() == kind),
            "{}",
            chain(&error)
        );
        let said = rig.log.complaints().join("\n");
        assert!(!said.to_lowercase().contains("damage"), "{said}");
        rig.plan.clear();
    }
}

/// A process that lives on used the half-built catalog of a run that failed: it knew index files, and none of their blocks.
#[test]
fn a_run_in_the_same_process_uses_no_half_built_catalog() {
    let mut base = Rig::new();
    base.set("number-of-retries", "0");
    base.set("concurrency-max-threads", "1");
    for round in 0..3_u8 {
        base.write(&format!("file {round}"), vec![round; 3000]);
        base.backup();
    }
    let mut failed = 0;
    for call in 1.. {
        let mut rig = base.fork_at(&base.store, None);
        let run = rig.open().expect("it opens");
        rig.plan.fail_at(call, Failure::Before(ErrorKind::Network));
        if run.backup(&rig.request()).is_ok() {
            break;
        }
        failed += 1;
        let when = format!("after a failure at call {call}");
        // A block that is taken for new is stored once more.
        rig.write("file 3", vec![0; 3000]);
        let again = run.repository().run(rig.log.clone(), Cancel::new());
        let again = again.expect("a run").backup(&rig.request());
        assert!(again.expect(&when).version_time.is_some(), "{when}");
        run.repository().close().expect("closed");
        rig.check_nothing_twice(&when);
        rig.log.clear();
        rig.open().expect("it opens");
        let texts = rig.log.texts();
        assert_eq!(rig.log.count("CatalogReplaced"), 0, "{when}: {texts:?}");
    }
    assert!(failed > 4, "{failed}");
}

/// What a repair reports.
fn report_of(rig: &mut Rig) -> larder_engine::RepairReport {
    let run = rig.open().expect("it opens");
    let outcome = run.repair();
    run.repository().close().expect("the catalog closes");
    match outcome {
        Ok(report) => report,
        Err(error) => panic!("the repair failed: {}", chain(&error)),
    }
}

fn three_versions() -> Rig {
    let mut rig = Rig::new();
    rig.fill(21, 12, 30_000);
    for seed in 22..25 {
        rig.edit(seed, 6);
        let now = u64::try_from(rig.clock.seconds()).expect("a time after 1970");
        rig.clock.set(now + 60);
        rig.backup();
    }
    rig
}

#[test]
fn a_lost_list_is_stored_again() {
    for (place, damage) in [
        (0, "gone"),
        (1, "gone"),
        (2, "gone"),
        (0, "cut"),
        (2, "cut"),
        (1, "zeros"),
    ] {
        let mut rig = three_versions();
        let list = rig.names(List)[place].clone();
        match damage {
            "gone" => drop(rig.store.remove(&list).unwrap()),
            "cut" => assert!(rig.store.truncate(&list, 100)),
            _ => {
                let len = rig.store.files()[&list].len();
                rig.store.insert(&list, vec![0; len]);
                // Nobody knows before somebody looks.
                assert_eq!(rig.test_all().damaged(), 1);
            }
        }
        let when = format!("{place} {damage}");
        rig.set("dry-run", "true");
        let lists = rig.names(List);
        assert_eq!(report_of(&mut rig).lists_written, 1, "{when}");
        assert_eq!(rig.names(List), lists, "{when}");
        rig.set("dry-run", "false");
        let report = report_of(&mut rig);
        assert_eq!(
            (report.lists_written, report.versions_given_up),
            (1, 0),
            "{when}"
        );
        assert_eq!(report.lasting_losses, 0, "{when}");
        let lists = rig.names(List);
        // At its own second when that is free.
        let is_own = damage == "gone";
        assert!(
            lists.len() == 3 && lists.contains(&list) == is_own,
            "{when}: {lists:?}"
        );
        rig.log.clear();
        rig.check_set(&when);
        rig.check_all(&when);
        rig.check_all_elsewhere(&when);
        assert_eq!(rig.test_all().damaged(), 0, "{when}");
        assert_eq!(report_of(&mut rig).lists_written, 0, "{when}");
        rig.backup();
        assert_eq!(rig.log.complaints(), [""; 0], "{when}");
    }
}

#[test]
fn a_list_that_came_back_is_a_version_again() {
    let mut rig = three_versions();
    let list = rig.names(List)[1].clone();
    let bytes = rig.store.remove(&list).unwrap();
    rig.edit(30, 3);
    rig.try_backup().unwrap();
    assert!(rig.log.count("MissingVersion") > 0);
    rig.store.insert(&list, bytes);
    rig.log.clear();
    rig.check_all("it came back");
    rig.backup();
    assert_eq!(rig.log.complaints(), [""; 0]);
    assert_eq!(report_of(&mut rig).lists_written, 0);
    rig.check_all_elsewhere("it came back");
}

/// The catalog was built anew and knows the newest version from its list. The older lists, which it never read, were taken
/// for news of another program, and the loss for its deletion: nobody was told, and nothing was stored again.
#[test]
fn a_list_that_was_read_is_stored_again_when_it_is_lost() {
    let mut rig = three_versions();
    rig.lose_state();
    assert_eq!(rig.backup().version_time, None);
    let _ = rig.store.remove(&rig.newest_list()).unwrap();
    rig.log.clear();
    rig.try_restore(0).unwrap();
    assert!(rig.log.count("MissingVersion") > 0);
    assert_eq!(report_of(&mut rig).lists_written, 1);
    rig.check_all("after a repair");
    rig.check_all_elsewhere("after a repair");
}

#[test]
fn a_list_that_nobody_knows_is_given_up() {
    let mut rig = three_versions();
    rig.lose_state();
    rig.backup();
    // The catalog knows the newest version and nothing of the others.
    let list = rig.names(List)[0].clone();
    rig.test_all();
    let _ = rig.store.remove(&list).unwrap();
    let mut other = rig.other_machine();
    other.versions.remove(0);
    assert_eq!(
        report_of(&mut other).versions_given_up,
        0,
        "it never knew of it"
    );
    other.check_all("on another machine");
}

#[test]
fn lost_blocks_come_from_files_that_still_exist() {
    let mut rig = Rig::new();
    rig.write("moved away", larder_testkit::Rng::new(1).bytes(50_000));
    rig.write("small", "s");
    rig.backup();
    let lost = rig.written_by(0, Blocks);
    // Not backed up any more, but still there.
    let values = rig.values.clone();
    let request = larder_engine::BackupRequest {
        sources: vec![rig.source().join("small")],
        no_roots: Vec::new(),
        options: larder_engine::source::WalkOptions::default(),
    };
    let run = rig.open().unwrap();
    run.backup(&request).unwrap();
    run.repository().close().unwrap();
    let _ = rig.store.remove(&lost).unwrap();
    let before = report_of(&mut rig);
    assert!(
        before.lasting_losses == 1 && before.blocks_restored == 0,
        "{before:?}"
    );
    rig.set("rebuild-missing-dblock-files", "true");
    for (option, dry_run) in [
        ("dry-run", true),
        ("disable-partial-dblock-recovery", false),
    ] {
        rig.set(option, "true");
        let files = rig.store.names();
        let report = report_of(&mut rig);
        // Metadata is not rebuilt, so all or nothing is nothing.
        let is_told = report.blocks_restored > 48;
        assert_eq!(is_told, dry_run, "{option}: {report:?}");
        assert_eq!(rig.store.names(), files, "{option} {dry_run}");
        rig.set(option, "false");
    }
    let report = report_of(&mut rig);
    // 49 blocks and their two lists, and that of the small one.
    assert_eq!(report.blocks_restored, 52, "{report:?}");
    rig.values = values;
    let (target, _) = rig.try_restore(1).unwrap();
    let restored = std::fs::read(target.join("moved away")).unwrap();
    assert!(restored == larder_testkit::Rng::new(1).bytes(50_000));
}

/// Another program stored the list again under its name: it is a list like any other, and nothing removes it.
#[test]
fn a_list_that_another_program_stored_again_is_taken_for_what_it_is() {
    for was_gone in [true, false] {
        let mut rig = three_versions();
        let list = rig.names(List)[1].clone();
        let bytes = rig.store.files()[&list].to_vec();
        let other = crate::forge::repacked(&bytes);
        if was_gone {
            let _ = rig.store.remove(&list).unwrap();
            // The loss is noted.
            rig.try_backup().unwrap();
        }
        rig.store.insert(&list, other.clone());
        if was_gone {
            rig.check_all("before a repair");
        }
        let report = report_of(&mut rig);
        assert_eq!(
            (report.lists_written, report.versions_given_up),
            (0, 0),
            "{was_gone}"
        );
        assert_eq!(report.lasting_losses, 0, "{was_gone}");
        assert!(
            rig.store.files()[&list] == other,
            "{was_gone}: it was removed or replaced"
        );
        assert_eq!(rig.names(List).len(), 3, "{was_gone}");
        rig.check_all("after a repair");
        rig.check_all_elsewhere("after a repair");
        rig.log.clear();
        rig.backup();
        assert_eq!(rig.log.complaints(), [""; 0], "{was_gone}");
    }
}

/// A data and an index file that nobody can read, of the day on which files in memory are.
fn with_unreadable_files() -> (Rig, [String; 2]) {
    let mut rig = Rig::new();
    rig.fill(29, 6, 20_000);
    rig.backup();
    let unreadable = [Blocks, Index].map(|kind| {
        let known = rig.names(kind).remove(0);
        let at = known.rfind(".d").expect("a volume");
        let name = format!("{}{}{}", &known[..at - 32], "0".repeat(32), &known[at..]);
        rig.store.insert(&name, "no volume at all");
        name
    });
    (rig, unreadable)
}

fn repair_at(rig: &mut Rig, seconds: u64) -> larder_engine::RepairReport {
    rig.clock.set(seconds);
    let run = rig.open().expect("it opens");
    let report = run.repair().unwrap_or_else(|e| panic!("{}", chain(&e)));
    run.repository().close().expect("the catalog closes");
    report
}

/// When files in memory are written.
const WRITTEN: u64 = 1_700_000_000;
const DAY: u64 = 24 * 3600;

#[test]
fn what_nobody_can_read_is_named_moved_on_request_and_deleted_after_a_grace() {
    let (mut rig, unreadable) = with_unreadable_files();
    let all = rig.store.names();
    let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
    assert_eq!(report.unreadable_files, unreadable);
    assert_eq!(rig.store.names(), all, "nothing moves unasked");
    rig.set("move-unreadable-aside", "true");
    // One that is young may be on its way.
    let report = repair_at(&mut rig, WRITTEN + DAY / 2);
    assert_eq!(report.files_moved_aside, [""; 0]);
    assert_eq!(rig.store.names(), all);
    rig.set("dry-run", "true");
    let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
    assert_eq!(report.files_moved_aside, unreadable);
    assert_eq!(rig.store.names(), all, "a dry run");
    rig.set("dry-run", "false");
    let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
    assert_eq!(report.files_moved_aside, unreadable);
    assert_eq!(report.unreadable_files, [""; 0]);
    let moved = unreadable
        .each_ref()
        .map(|name| format!("aside-20251011-{name}"));
    let names = rig.store.names();
    assert!(moved.iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!(names.len(), all.len());
    // They are no volumes, and no run says anything of them.
    rig.log.clear();
    rig.write("later", "more");
    rig.backup();
    assert_eq!(rig.log.complaints(), [""; 0]);
    rig.check_all("with files moved aside");
    rig.set("delete-aside-after", "7D");
    let report = repair_at(&mut rig, crate::rig::START + 8 * DAY);
    assert_eq!(report.aside_files_deleted, [""; 0]);
    rig.set("dry-run", "true");
    let report = repair_at(&mut rig, crate::rig::START + 10 * DAY);
    assert_eq!(report.aside_files_deleted.len(), 2);
    assert!(rig.store.names().contains(&moved[0]), "a dry run");
    rig.set("dry-run", "false");
    let other = "aside-20200101-notes.txt";
    rig.store.insert(other, "of somebody else");
    let report = repair_at(&mut rig, crate::rig::START + 10 * DAY);
    assert_eq!(report.aside_files_deleted, moved);
    let names = rig.store.names();
    assert!(names.iter().any(|name| name == other));
    assert!(!moved.iter().any(|name| names.contains(name)), "{names:?}");
    rig.check_all("at the end");
}

/// The name tells the day only: the whole of it has to be so long ago.
#[test]
fn what_was_moved_aside_late_in_a_day_stays_for_the_whole_grace() {
    let (mut rig, unreadable) = with_unreadable_files();
    rig.set("move-unreadable-aside", "true");
    rig.set("delete-aside-after", "1D");
    // 23:59 of a day.
    let late = 20_400 * DAY - 60;
    let report = repair_at(&mut rig, late);
    assert_eq!(report.files_moved_aside, unreadable);
    assert_eq!(report.aside_files_deleted, [""; 0]);
    let report = repair_at(&mut rig, late + 120);
    assert_eq!(report.aside_files_deleted, [""; 0], "two minutes later");
    rig.set("delete-aside-after", "1h");
    let report = repair_at(&mut rig, late + 180);
    assert_eq!(report.aside_files_deleted, [""; 0]);
    rig.set("delete-aside-after", "1D");
    // What is missed may be in them.
    let data = rig.written_by(0, Blocks);
    let bytes = rig.store.remove(&data).unwrap();
    let report = repair_at(&mut rig, late + 3 * DAY);
    assert_eq!(report.aside_files_deleted, [""; 0]);
    rig.store.insert(&data, bytes);
    let report = repair_at(&mut rig, late + 3 * DAY + 60);
    assert_eq!(report.aside_files_deleted.len(), 2);
}

/// What is missed may be in it.
#[test]
fn nothing_moves_aside_while_something_is_missed() {
    let (mut rig, unreadable) = with_unreadable_files();
    rig.set("move-unreadable-aside", "true");
    let lost = rig.written_by(0, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    let all = rig.store.names();
    let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
    assert!(report.lasting_losses > 0);
    assert_eq!(report.unreadable_files, unreadable);
    assert_eq!(rig.store.names(), all);
}

/// With another passphrase it may be whole.
#[test]
fn files_of_another_passphrase_stay() {
    let mut rig = Rig::encrypted("one");
    rig.write("a", "letter");
    rig.backup();
    let mut other = Rig::encrypted("two");
    other.fill(31, 3, 9000);
    other.backup();
    for kind in [Blocks, Index] {
        for name in other.names(kind) {
            rig.store.insert(&name, other.store.files()[&name].clone());
        }
    }
    rig.set("move-unreadable-aside", "true");
    let all = rig.store.names();
    let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
    assert_eq!(report.files_moved_aside, [""; 0]);
    assert_eq!(rig.store.names(), all);
}

/// A list that nobody can read kept all other files where they were, until `delete` gave it up.
#[test]
fn a_list_that_was_never_a_version_moves_aside_with_the_others() {
    for is_new in [false, true] {
        let (mut rig, unreadable) = with_unreadable_files();
        let junk = "duplicati-20260101T000000Z.dlist.zip";
        rig.store.insert(junk, "no list at all");
        rig.set("move-unreadable-aside", "true");
        if is_new {
            // It may have been a version, and what only that used is kept for it.
            rig.lose_state();
        }
        rig.log.clear();
        let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
        if is_new {
            assert_eq!(report.files_moved_aside, [""; 0]);
            let why = report.why_unreadable_stay.expect("a reason");
            assert!(why.contains("larder delete … --version=0`"), "{why}");
            continue;
        }
        let moved: Vec<&str> = unreadable
            .iter()
            .map(String::as_str)
            .chain([junk])
            .collect();
        let mut found = report.files_moved_aside.clone();
        found.sort_by_key(|name| *name == junk);
        assert_eq!(found, moved);
        assert_eq!((report.lasting_losses, report.versions), (0, 1));
        assert!(!rig.names(List).contains(&junk.to_owned()));
        rig.log.clear();
        rig.write("later", "more");
        rig.backup();
        assert_eq!(rig.log.complaints(), [""; 0]);
        rig.check_all("with a list moved aside");
        assert_eq!(rig.test_all().damaged(), 0);
    }
}

#[test]
fn a_list_of_another_passphrase_stays() {
    let mut rig = Rig::encrypted("one");
    rig.write("a", "letter");
    rig.backup();
    let mut other = Rig::encrypted("two");
    other.clock.set(crate::rig::START + 1000);
    other.write("a", "letter");
    other.backup();
    let list = other.newest_list();
    let content = other.store.files()[&list].clone();
    rig.store.insert(&list, content);
    rig.set("move-unreadable-aside", "true");
    let report = repair_at(&mut rig, crate::rig::START + 2 * DAY);
    assert_eq!(report.files_moved_aside, [""; 0]);
    assert!(rig.names(List).contains(&list));
}
