//! Every version of every set made by Duplicati restores equal to its manifest.

use std::path::Path;

use larder_engine::{RestoreReport, RestoreRequest, Samples};
use larder_testkit::tree::{CompareOptions, Difference, Kind, Manifest, compare_manifests};

use crate::support::{Fixture, User, fixture, fixtures, is_root};

/// Restores everything of one version (0 = newest) to a folder.
fn restore(user: &User, version: usize, target: &Path) -> RestoreReport {
    let version = format!("--version={version}");
    let options = [version.as_str(), "--restore-permissions"];
    let request = RestoreRequest {
        patterns: Vec::new(),
        filters: Vec::new(),
        target: Some(target.to_owned()),
    };
    user.run(&options, |engine| engine.restore(&request))
        .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", error, user.log.text()))
}

/// What this set keeps of a tree (fixtures/README.md).
fn kept(set: &Fixture) -> CompareOptions {
    if set.has("--skip-metadata=true") {
        return CompareOptions::content_only();
    }
    duplicati()
}

/// What Duplicati keeps.
fn duplicati() -> CompareOptions {
    CompareOptions {
        mode_mask: 0o777,
        mtime_unit_ns: 100,
        ..CompareOptions::backed_up()
    }
}

/// The tree as this set has it.
fn expected(set: &Fixture, tree: &Manifest) -> Manifest {
    let mut tree = tree.clone();
    tree.entries
        .retain(|path, _| std::str::from_utf8(path).is_ok());
    if set.has("--symlink-policy=follow") {
        follow_links(&mut tree);
    }
    tree
}

/// Links become what they lead to, but with the mode and time of the link: so Duplicati stored them (*observed*). One
/// that leads to nothing is not in the set; one that leads out of the tree is a file that nothing more is known of.
fn follow_links(tree: &mut Manifest) {
    let links: Vec<_> = tree
        .entries
        .iter()
        .filter_map(|(path, entry)| match &entry.kind {
            Kind::Link { target } => Some((path.clone(), target.clone(), entry.mtime_ns)),
            _ => None,
        })
        .collect();
    for (path, target, link_time) in links {
        tree.entries.remove(&path);
        // All links of the fixtures stand one folder below the root.
        let Some(inside) = target.strip_prefix(b"../") else {
            continue;
        };
        let mut below = inside.to_vec();
        below.push(b'/');
        let copies: Vec<_> = tree
            .entries
            .iter()
            .filter(|(found, _)| found.as_slice() == inside || found.starts_with(&below))
            .map(|(found, entry)| {
                let rest = found.get(inside.len()..).unwrap_or_default();
                ([path.as_slice(), rest].concat(), entry.clone())
            })
            .collect();
        tree.entries.extend(copies);
        if let Some(entry) = tree.entries.get_mut(&path) {
            (entry.mode, entry.mtime_ns) = (Some(0o777), link_time);
        }
    }
}

/// The list of the killed run: every file is that of the version before or of the one after. The times of folders are
/// those that the killed run saw, and no tree is known from then.
fn is_between(found: &Manifest, before: &Manifest, after: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, entry) in &found.entries {
        let one = |tree: &Manifest| {
            let mut single = Manifest::default();
            if let Some(entry) = tree.entries.get(path) {
                single.entries.insert(path.clone(), entry.clone());
            }
            let mut found = Manifest::default();
            found.entries.insert(path.clone(), entry.clone());
            let options = CompareOptions {
                folder_mtimes: false,
                ..duplicati()
            };
            compare_manifests(&single, &found, &options)
        };
        let (then, now) = (one(before), one(after));
        if !then.is_empty() && !now.is_empty() {
            wrong.push(show(&then));
        }
    }
    wrong
}

fn show(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(Difference::to_string).collect();
    lines.join("\n")
}

#[test]
fn every_version_of_every_set_restores_equal() {
    let mut failures = Vec::new();
    for set in fixtures() {
        let user = set.user(&set.destination(), &[]);
        for (age, tree) in set.versions.iter().rev().enumerate() {
            let found = restored(&set, &user, age, tree.as_ref());
            failures.extend(
                found
                    .iter()
                    .map(|what| format!("{} -{age}: {what}", set.name)),
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What is wrong with a version that was restored, whose tree is known or is that of the killed run.
fn restored(set: &Fixture, user: &User, age: usize, tree: Option<&Manifest>) -> Vec<String> {
    let target = tempfile::tempdir().expect("a temporary folder");
    let report = restore(user, age, target.path());
    let mut wrong = Vec::new();
    // Only root can give files away; everybody else is told so.
    let warned = is_root() && report.common.warnings_actual_length > 0;
    if warned || report.common.errors_actual_length > 0 {
        let common = &report.common;
        wrong.push(format!("{:?} {:?}", common.warnings, common.errors));
    }
    let differences = wrong_in(set, tree, target.path());
    if !differences.is_empty() {
        wrong.push(differences);
    }
    wrong
}

/// What is wrong with a restored version of a set; nothing, when it is equal.
pub fn wrong_in(set: &Fixture, tree: Option<&Manifest>, target: &Path) -> String {
    let mut found = Manifest::of(target).expect("the restored tree");
    let Some(tree) = tree else {
        let tree = |index: usize| set.versions.get(index).and_then(Option::as_ref);
        let (before, after) = (tree(0).expect("v0"), tree(2).expect("v1"));
        assert!(found.entries.len() > before.entries.len() / 2);
        return is_between(&found, before, after).join("\n");
    };
    if set.has("--symlink-policy=follow") {
        let outside = found.entries.remove(b"links/absolute".as_slice());
        let is_file = outside.is_some_and(|e| matches!(e.kind, Kind::File { .. }));
        assert!(is_file, "what the absolute link led to is missing");
    }
    show(&compare_manifests(&expected(set, tree), &found, &kept(set)))
}

/// What is left after versions were deleted and all was compacted is right, and keeps the checklist of a writer.
#[test]
fn every_set_stays_right_when_versions_go_and_volumes_are_compacted() {
    let (mut failures, mut moved) = (Vec::new(), 0);
    for set in fixtures() {
        let destination = set.destination();
        let user = set.user(&destination, &[]);
        let mut versions: Vec<_> = set.versions.iter().rev().collect();
        if versions.len() > 2 {
            let run = |run: &larder_engine::Run| run.delete();
            let report = user.run(&["--version=1", "--no-auto-compact=true"], run);
            let report = report.unwrap_or_else(|e| panic!("{}: {e}", set.name));
            assert_eq!(report.deleted_sets.len(), 1, "{}", set.name);
            versions.remove(1);
        }
        let before = destination.names().len();
        let options = ["--threshold=1", "--small-file-max-count=0"];
        let report = user.run(&options, larder_engine::Run::compact);
        let report = report.unwrap_or_else(|e| panic!("{}: {e}", set.name));
        let name = &set.name;
        assert_eq!(report.results.held_back, None, "{name}");
        assert_eq!(report.results.files_left_alone, 0, "{name}");
        moved += report.results.downloaded_file_count;
        assert!(destination.names().len() <= before, "{name}");
        let elsewhere = set.user(&destination, &[]);
        for user in [&user, &elsewhere] {
            for (age, tree) in versions.iter().enumerate() {
                // The killed run is between what is not there any more.
                if let Some(tree) = tree {
                    let found = restored(&set, user, age, Some(tree));
                    failures.extend(found.iter().map(|what| format!("{name} -{age}: {what}")));
                }
            }
        }
        let (faults, _) = crate::lint::faults_and_excused(&set, &destination);
        // One wasteful volume alone is not worth it.
        let faults = faults
            .iter()
            .filter(|fault| !fault.ends_with("are used by no version"));
        failures.extend(faults.map(|fault| format!("{name}: {fault}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(moved > 20, "only {moved} volumes moved");
}

#[test]
fn nothing_is_wrong_with_any_set() {
    for set in fixtures() {
        let user = set.user(&set.destination(), &[]);
        let report = user
            .run(&["--full-remote-verification=true"], |engine| {
                engine.test(Samples::All)
            })
            .unwrap_or_else(|error| panic!("{}: {error:?}", set.name));
        let volumes = set
            .destination()
            .names()
            .iter()
            .filter(|name| !name.ends_with(".par2"))
            .count();
        assert_eq!(report.verifications.len(), volumes, "{}", set.name);
        assert_eq!(
            report.damaged(),
            0,
            "{}: {:?}",
            set.name,
            report.verifications
        );
        assert_eq!(
            report.common.warnings_actual_length, 0,
            "{}: {:?}",
            set.name, report.common.warnings
        );
        let listed = user
            .run(&[], |engine| engine.list_filesets())
            .unwrap_or_else(|error| panic!("{}: {error:?}", set.name));
        assert_eq!(listed.versions.len(), set.versions.len(), "{}", set.name);
        for (version, tree) in listed.versions.iter().zip(set.versions.iter().rev()) {
            assert_eq!(
                version.is_full_backup,
                tree.is_some(),
                "{} {}",
                set.name,
                version.version
            );
        }
    }
}

#[test]
fn companions_of_parity_are_passed_over() {
    // What a set with --parity-module=par2 looks like: a companion for each list and data volume.
    let set = fixture("no-metadata");
    let destination = set.destination();
    for name in destination.names() {
        if !name.contains(".dindex.") {
            destination.insert(&format!("{name}.par2"), &b"PAR2\0PKT"[..]);
        }
    }
    let user = set.user(&destination, &[]);
    let report = user
        .run(&[], |engine| engine.test(Samples::All))
        .expect("a check");
    assert_eq!(report.damaged(), 0, "{:?}", report.verifications);
    let target = tempfile::tempdir().expect("a temporary folder");
    let report = restore(&user, 0, target.path());
    assert_eq!(report.broken_remote_files, Vec::<String>::new());
}
