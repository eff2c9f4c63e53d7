//! Listings that lack much of what is stored: they are asked for again before they are believed, and while one stays
//! so, nothing is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_destination::Operation;
use larder_testkit::Failure;
use larder_volume::VolumeKind::{Blocks, Index, List};

use crate::rig::Rig;

/// Four versions of three files each, so a dozen volumes.
fn four_versions() -> Rig {
    let mut rig = Rig::new();
    for round in 0..4 {
        rig.write("letter", format!("dear {round}"));
        rig.backup();
    }
    assert_eq!(rig.store.names().len(), 12);
    rig.journal.clear();
    rig.log.clear();
    rig
}

/// Lists nothing behind the first `entries` of the next so many listings.
fn truncate(rig: &Rig, times: usize, entries: u64) {
    for _ in 0..times {
        rig.plan.push(Operation::List, Failure::EndEarly(entries));
    }
}

fn listings(rig: &Rig) -> usize {
    rig.journal.names(Operation::List).len()
}

fn removals(rig: &Rig) -> Vec<String> {
    rig.journal.names(Operation::Delete)
}

#[test]
fn a_listing_that_was_cut_short_is_asked_for_again() {
    for truncated in 1..=2 {
        let mut rig = four_versions();
        rig.set("keep-versions", "3");
        truncate(&rig, truncated, 7);
        rig.write("letter", "dear all");
        let report = rig.backup();
        let complaints = rig.log.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
        assert_eq!(rig.log.count("ListingRepeated"), truncated);
        assert_eq!(rig.log.count("ListingIncomplete"), 1);
        let texts = rig.log.texts();
        let told = |text: &str| texts.iter().any(|told| told.contains(text));
        assert!(
            told("5 of 12 known files are not in the listing"),
            "{texts:#?}"
        );
        assert!(
            told("it lacked 5 files that are in a later one"),
            "{texts:#?}"
        );
        // Old versions go as ever.
        assert_eq!(report.deleted_sets.len(), 2);
    }
}

/// A mount that was not there yet.
#[test]
fn a_folder_that_looks_emptied_once() {
    let mut rig = four_versions();
    truncate(&rig, 1, 0);
    rig.write("letter", "dear all");
    rig.backup();
    assert!(rig.log.complaints().is_empty());
    rig.check_all("after an empty listing");
}

/// No run lists more often when nothing is missing, or too little to wonder at.
#[test]
fn a_few_lost_files_are_believed_at_once() {
    let mut rig = four_versions();
    rig.backup();
    assert_eq!(listings(&rig), 1);
    rig.journal.clear();
    let lost = rig.written_by(0, Blocks);
    let _ = rig.store.remove(&lost).unwrap();
    rig.backup();
    assert_eq!(rig.log.count("ListingRepeated"), 0);
    assert!(rig.log.complaints()[0].contains(&lost));
}

/// So it is when the end is missing each time, which new files are a part of, and when old lists are.
#[test]
fn a_listing_that_stays_cut_short_removes_nothing() {
    for is_end in [true, false] {
        let mut rig = four_versions();
        rig.set("keep-versions", "1");
        let before = rig.store.files();
        let lists = rig.names(List);
        for run in 0..3 {
            rig.journal.clear();
            rig.log.clear();
            rig.plan.clear();
            match is_end {
                true => truncate(&rig, 20, 7),
                false => rig.store.hide(lists.iter().take(3).cloned()),
            }
            rig.write("letter", format!("dear {run} again"));
            let report = rig.try_backup().unwrap();
            let complaints = rig.log.complaints();
            let told = |id: &str, text: &str| {
                let mut found = complaints.iter().filter(|told| told.contains(id));
                found.any(|told| told.contains(text))
            };
            assert!(report.deleted_sets.is_empty(), "{complaints:#?}");
            assert_eq!(removals(&rig), [""; 0], "run {run}");
            let text = "not in the listing of the destination";
            assert!(told("[RetentionHeldBack]", text), "{run}: {complaints:#?}");
            if run == 0 {
                assert_eq!(rig.log.count("ListingRepeated"), 2, "--number-of-retries");
                let missing = if is_end { 5 } else { 3 };
                let text = format!("{missing} of 12 known files are not in the listing");
                assert!(told("[ListingInDoubt]", &text), "{complaints:#?}");
            }
            assert!(!complaints.join("\n").contains("purge"), "{complaints:#?}");
            for (name, content) in &before {
                assert_eq!(rig.store.files().get(name), Some(content), "{name}");
            }
        }
        // Once it is whole, all goes on.
        rig.plan.clear();
        rig.store.hide([]);
        rig.log.clear();
        rig.write("letter", "the last one");
        let report = rig.backup();
        let complaints = rig.log.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
        assert!(!report.deleted_sets.is_empty());
        assert!(rig.differences_of_newest().is_empty());
    }
}

/// An index is written anew from its data file, so a destination without indexes is asked again and believed.
#[test]
fn lost_indexes_hold_nothing_back() {
    let mut rig = four_versions();
    for index in rig.names(Index) {
        let _ = rig.store.remove(&index).unwrap();
    }
    rig.set("keep-versions", "2");
    rig.write("letter", "dear all");
    let report = rig.try_backup().unwrap();
    assert_eq!(rig.log.count("ListingRepeated"), 2, "--number-of-retries");
    assert_eq!(rig.log.count("ListingInDoubt"), 0);
    assert_eq!(report.deleted_sets.len(), 3);
    rig.check_set("after the loss of all indexes");
    assert!(rig.differences_of_newest().is_empty());
}

#[test]
fn reading_goes_on_with_what_is_listed() {
    let mut rig = four_versions();
    rig.store.hide(rig.names(List).into_iter().take(3));
    let (_, report) = rig.try_restore(0).unwrap();
    assert_eq!(rig.log.count("ListingInDoubt"), 0);
    assert_eq!(report.restored_files, 1);
}

#[test]
fn what_a_user_names_is_not_removed_either() {
    let mut rig = four_versions();
    rig.set("version", "2");
    let commands: [(&str, Command); 4] = [
        ("delete", |run| id(run.delete().map(drop))),
        ("purge", |run| {
            let request = larder_engine::PurgeRequest {
                patterns: vec!["*letter".to_owned()],
                filters: Vec::new(),
            };
            id(run.purge(&request).map(drop))
        }),
        ("purge-broken-files", |run| {
            id(run.purge_broken_files().map(drop))
        }),
        ("compact", |run| run.compact().unwrap().results.held_back),
    ];
    for (name, command) in commands {
        let mut fork = rig.fork();
        truncate(&fork, 20, 7);
        let run = fork.open().unwrap();
        let refused = command(&run);
        run.repository().close().unwrap();
        let expected = match name {
            "compact" => "5 of 12 known files are not in the listing",
            _ => "ListingInDoubt",
        };
        assert!(
            refused.is_some_and(|told| told.contains(expected)),
            "{name}"
        );
        assert_eq!(removals(&fork), [""; 0], "{name}");
        assert_eq!(fork.store.names().len(), 12, "{name}");
    }
}

/// Runs a command; what it says when it is refused.
type Command = fn(&larder_engine::Run) -> Option<String>;

fn id(outcome: Result<(), larder_engine::Error>) -> Option<String> {
    outcome
        .err()
        .and_then(|error| error.id().map(str::to_owned))
}

/// A service that leaves out one page, each time another one.
#[test]
fn a_page_is_missing_each_time() {
    let rig = four_versions();
    let names = rig.store.names();
    let left_out = |from: usize| names.iter().skip(from).take(4).cloned().collect::<Vec<_>>();
    let mut rig = rig;
    let (store, calls) = (rig.store.clone(), Arc::new(AtomicU64::new(0)));
    let pages = [left_out(0), left_out(8)];
    let hook: larder_testkit::Hook = Arc::new(move |_, _| {
        let call = calls.fetch_add(1, Ordering::SeqCst) as usize;
        let page = pages.get(call).cloned().unwrap_or_default();
        store.hide(page);
    });
    for _ in 0..9 {
        rig.plan.push(Operation::List, Failure::Watch(hook.clone()));
    }
    rig.set("keep-versions", "4");
    rig.write("letter", "dear all");
    rig.backup();
    let complaints = rig.log.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert_eq!(
        rig.log.count("ListingRepeated"),
        1,
        "the two together have all"
    );
    assert_eq!(rig.names(List).len(), 4);
    rig.check_set("after the pages");
}

/// The listing before something is removed is one of its own.
#[test]
fn the_listing_before_a_removal_is_cut_short() {
    let rig = four_versions();
    let mut hits = [0; 2];
    // Which listing it is differs, so each is tried.
    for whole in 1..4 {
        let mut fork = rig.fork();
        fork.set("keep-versions", "1");
        fork.plan.skip(Operation::List, whole);
        truncate(&fork, 20, 3);
        fork.write("letter", "dear all");
        let report = fork.try_backup().unwrap();
        if fork.log.count("ListingRepeated") == 0 {
            assert!(whole > 1, "no listing was cut short");
            continue;
        }
        let complaints = fork.log.complaints();
        let is_held = report.deleted_sets.is_empty();
        hits[usize::from(whole > 1)] += 1;
        if whole == 1 {
            assert!(is_held, "{complaints:#?}");
            assert_eq!(fork.log.count("RetentionHeldBack"), 1, "{complaints:#?}");
            assert_eq!(removals(&fork), [""; 0]);
        } else {
            let held = report.compact_results.and_then(|results| results.held_back);
            assert!(held.is_some(), "{whole}: {complaints:#?}");
            assert!(removals(&fork).iter().all(|name| name.contains(".dlist.")));
        }
        fork.plan.clear();
        assert!(fork.differences_of_newest().is_empty());
    }
    assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
}

/// The user need not wait for all repetitions.
#[test]
fn a_stop_ends_the_pauses() {
    let mut rig = four_versions();
    rig.set("retry-delay", "1h");
    truncate(&rig, 20, 6);
    let run = rig.open().unwrap();
    let cancel = rig.cancel.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        cancel.cancel();
    });
    let outcome = run.backup(&rig.request());
    stopper.join().unwrap();
    run.repository().close().unwrap();
    assert!(
        matches!(outcome, Err(larder_engine::Error::Cancelled)),
        "{outcome:?}"
    );
}

/// A name that nobody knows makes no listing better, unless it is the work of another machine.
#[test]
fn an_unknown_file_removes_no_doubt() {
    let mut rig = four_versions();
    rig.set("keep-versions", "1");
    let index = &rig.names(Index)[0];
    let ending = &index[index.find(".dindex").unwrap()..];
    let unknown = format!("duplicati-i{}{ending}", "0".repeat(32));
    rig.store.insert(&unknown, "no volume");
    rig.store.hide(rig.names(List).into_iter().take(3));
    rig.write("letter", "dear all");
    let report = rig.try_backup().unwrap();
    assert!(report.deleted_sets.is_empty());
    assert_eq!(rig.log.count("ListingInDoubt"), 1);
    assert_eq!(rig.log.count("ListingRepeated"), 1, "once, for what is new");
}

/// What was missing once is no news when it comes back, so the listing that lacks something else then is in doubt too.
#[test]
fn another_page_is_missing_in_the_next_run() {
    let mut rig = four_versions();
    rig.set("keep-versions", "1");
    let names = rig.store.names();
    let (first, second) = (&names[..6], &names[6..]);
    for (run, hidden) in [second, first, second].into_iter().enumerate() {
        rig.store.hide(hidden.iter().cloned());
        rig.log.clear();
        rig.journal.clear();
        rig.write("letter", format!("dear {run} again"));
        let report = rig.try_backup().unwrap();
        let complaints = rig.log.complaints();
        assert!(report.deleted_sets.is_empty(), "{run}: {complaints:#?}");
        assert_eq!(rig.log.count("ListingInDoubt"), 1, "{run}: {complaints:#?}");
        assert_eq!(removals(&rig), [""; 0], "{run}");
    }
    rig.store.hide([]);
    rig.set("keep-versions", "9");
    rig.write("letter", "the last one");
    rig.backup();
    rig.check_all("after the pages");
}

/// Lists that were seen and never read are versions too.
#[test]
fn lists_that_were_never_read_are_missed() {
    let mut rig = four_versions();
    rig.lose_state();
    rig.write("letter", "dear all");
    rig.backup();
    let old = rig.written_by(0, List);
    rig.store.hide([old.clone()]);
    rig.set("threshold", "0");
    for run in 0..2 {
        rig.log.clear();
        rig.journal.clear();
        rig.write("letter", format!("dear {run} again"));
        rig.try_backup().unwrap();
        let complaints = rig.log.complaints().join("\n");
        let is_told = complaints.contains("[MissingVersion]") && complaints.contains(&old);
        assert!(is_told, "{complaints}");
        let opened = rig.open().unwrap();
        let held = opened.compact().unwrap().results.held_back;
        opened.repository().close().unwrap();
        assert!(held.is_some_and(|why| why.contains(&old)), "{run}");
        assert_eq!(removals(&rig), [""; 0], "{run}");
    }
    rig.store.hide([]);
    rig.log.clear();
    rig.write("letter", "the last one");
    rig.backup();
    let complaints = rig.log.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    rig.check_all("after the lists");
}

/// One that this machine deletes is not.
#[test]
fn lists_that_were_never_read_and_are_deleted_are_not_missed() {
    let mut rig = four_versions();
    rig.lose_state();
    rig.write("letter", "dear all");
    rig.backup();
    rig.set("keep-versions", "2");
    for run in 0..2 {
        rig.write("letter", format!("dear {run} again"));
        rig.backup();
        let complaints = rig.log.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    assert_eq!(rig.names(List).len(), 2);
}

/// `repair` asks for a list by its name before it stores one in its place.
#[test]
fn a_list_that_no_listing_shows_is_not_stored_twice() {
    for is_known in [true, false] {
        let mut rig = four_versions();
        if !is_known {
            rig.lose_state();
            rig.backup();
        }
        let lists = rig.names(List);
        rig.store.hide(lists.iter().take(3).cloned());
        rig.write("letter", "dear all");
        rig.try_backup().unwrap();
        // What a first repair notes, a second one goes by.
        for round in 0..2 {
            rig.log.clear();
            let run = rig.open().unwrap();
            let report = run.repair().unwrap();
            run.repository().close().unwrap();
            let what = format!("{is_known} {round}");
            assert_eq!(report.lists_written, 0, "{what}");
            assert_eq!(report.versions_given_up, 0, "{what}");
            assert_eq!(rig.log.count("ListNotListed"), 3, "{what}");
        }
        rig.store.hide([]);
        rig.log.clear();
        rig.backup();
        let complaints = rig.log.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert_eq!(rig.names(List).len(), 5);
        rig.check_all("after the repairs");
    }
}
