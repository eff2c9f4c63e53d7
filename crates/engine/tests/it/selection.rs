//! What a restore selects and where it puts that, against a real Duplicati's answers
//! (fixtures/vectors/restore-selection-vectors.json). The differences are those of
//! docs/decisions/0011-selection-differences.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use larder_engine::source::{Action, Root, WalkOptions};
use larder_engine::{Outcome, RestoreRequest};
use larder_testkit::MemoryDestination;
use larder_testkit::tree::{Kind, Manifest};
use serde_json::Value;

use crate::support::User;

/// Rows whose exit code differs: Larder's, and Duplicati's.
const OTHER_EXIT: &[(&str, i32, i32)] = &[
    ("*.odt", 0, 2),
    ("*letter.odt", 0, 2),
    ("/R/pics/2020/1.jpg /R/pics/2021/1.jpg", 0, 2),
    ("*1.jpg", 0, 2),
    ("/S/* /R/a.txt", 0, 2),
    ("[.*\\.jpg$]", 0, 2),
    ("*/c/", 0, 2),
    ("--include=*.txt --exclude=*", 0, 2),
    ("*.txt --dont-compress-restore-paths=true", 0, 2),
];

/// Rows where other paths are restored, with those that Duplicati restores and Larder does not.
const OTHER_PATHS: &[(&str, &str)] = &[
    ("* --exclude=*.jpg", ".jpg"),
    ("* --exclude=/R/docs/", "R/docs/"),
];

/// The row where Duplicati finds nothing: a folder named without its separator. Larder restores the folder, as with it.
const FOLDER_WITHOUT_SEPARATOR: &str = "/R/docs";

/// The tree of the vectors with the sizes that the row about sizes needs.
fn build(root: &Path, names: &Value) {
    for name in texts(names) {
        let path = root.join(&name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let is_short = ["a.txt", "sub/o.txt"].contains(&name.as_str());
        let content = if is_short { "short" } else { &*name.repeat(3) };
        fs::write(path, content).expect("a file");
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    let text = |text: &Value| text.as_str().expect("a text").to_owned();
    list.iter().map(text).collect()
}

/// Everything below a folder, folders with a slash at the end.
fn found(target: &Path) -> BTreeSet<String> {
    let tree = Manifest::of(target).expect("the target");
    let entries = tree.entries.into_iter().map(|(path, entry)| {
        let end = if entry.kind == Kind::Folder { "/" } else { "" };
        format!("{}{end}", String::from_utf8_lossy(&path))
    });
    entries.collect()
}

#[test]
fn every_row_of_the_vectors_is_as_in_duplicati_or_a_decision() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/vectors/restore-selection-vectors.json");
    let vectors: Value =
        serde_json::from_slice(&fs::read(path).expect("the vectors")).expect("valid JSON");
    let source = tempfile::tempdir().expect("a temporary folder");
    let mut roots = Vec::new();
    for (root, names) in vectors["tree"].as_object().expect("trees") {
        let os_path = source.path().join(root.trim_matches('/'));
        build(&os_path, names);
        roots.push(Root {
            os_path,
            stored: root.as_bytes().to_vec(),
        });
    }
    let mut user = User::new(MemoryDestination::new().shared(), None);
    user.options = vec!["--no-encryption".to_owned(), "--blocksize=1kb".to_owned()];
    user.run(&[], |engine| {
        engine.backup_roots(&roots, &WalkOptions::default())
    })
    .expect("a backup");

    let mut wrong = Vec::new();
    let (mut exits, mut paths) = (0, 0);
    for case in vectors["cases"].as_array().expect("cases") {
        let arguments = texts(&case["arguments"]);
        let name = arguments.join(" ");
        let target = tempfile::tempdir().expect("a temporary folder");
        let (code, error) = restore(&user, &arguments, target.path());

        let mut expected: BTreeSet<String> = texts(&case["restored"]).into_iter().collect();
        if name == FOLDER_WITHOUT_SEPARATOR {
            assert_eq!(case["error"], "EmptyRestoreOperation");
            let all = vectors["cases"].as_array().expect("cases");
            let with = all.iter().find(|case| case["arguments"][0] == "/R/docs/");
            expected = texts(&with.expect("the row with it")["restored"])
                .into_iter()
                .collect();
            assert_eq!((found(target.path()), code, error), (expected, 0, None));
            continue;
        }
        if let Some((_, part)) = OTHER_PATHS.iter().find(|(row, _)| *row == name) {
            let before = expected.len();
            expected.retain(|path| !path.contains(part));
            assert!(expected.len() < before, "{name}");
            paths += 1;
        }
        let restored = found(target.path());
        if restored != expected {
            wrong.push(format!("{name}: {restored:?} instead of {expected:?}"));
        }

        let theirs = i32::try_from(case["exit"].as_i64().expect("a code")).expect("a code");
        let row = (name.as_str(), code, theirs);
        if OTHER_EXIT.contains(&row) {
            exits += 1;
        } else if code != theirs {
            wrong.push(format!("{name}: exit code {code} instead of {theirs}"));
        }
        if error.as_deref() != case["error"].as_str() {
            wrong.push(format!("{name}: {error:?} instead of {}", case["error"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A decision that no row shows any more is none.
    assert_eq!((exits, paths), (OTHER_EXIT.len(), OTHER_PATHS.len()));
}

/// Restores as the command line would; the exit code and the id of the error.
fn restore(user: &User, arguments: &[String], target: &Path) -> (i32, Option<String>) {
    let mut request = RestoreRequest {
        patterns: Vec::new(),
        filters: Vec::new(),
        target: Some(target.to_owned()),
    };
    let mut options = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--include", text)) => request.filters.push((Action::Include, text.to_owned())),
            Some(("--exclude", text)) => request.filters.push((Action::Exclude, text.to_owned())),
            Some((name, _)) if name.starts_with("--") => options.push(argument.as_str()),
            _ => request.patterns.push(argument.clone()),
        }
    }
    // The command line says so too: everything, whatever the paths are like.
    if request.patterns.iter().any(|pattern| pattern == "*") {
        request.patterns.clear();
    }
    match user.run(&options, |engine| engine.restore(&request)) {
        Ok(report) => {
            let code = match report.common.parsed_result {
                Outcome::Success => 0,
                Outcome::Warning => 2,
                Outcome::Error => 3,
            };
            (code, None)
        }
        // Every failure has this code on the command line.
        Err(error) => (100, error.id().map(str::to_owned)),
    }
}
