//! Filters of a backup against the answers of a real Duplicati (fixtures/vectors/filter-vectors.json).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use larder_source::{Action, Filter, Root, Walk, WalkItem, WalkOptions};
use serde_json::Value;

/// Where Larder deliberately stores something else: the options, the path, and why. Explained in
/// docs/decisions/0010-filter-differences.md.
const DIFFERENCES: [(&str, Stores, &str, &str); 2] = [
    (
        "--exclude-empty-folders=true",
        Stores::Less,
        "/R/emptydir/",
        "an empty folder is an empty folder",
    ),
    (
        "--exclude-empty-folders=true --exclude=*.mp3",
        Stores::Less,
        "/R/emptydir/",
        "the same",
    ),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stores {
    Less,
    More,
}

#[test]
fn every_vector_is_met_or_explained() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/vectors/filter-vectors.json");
    let vectors: Value =
        serde_json::from_slice(&fs::read(path).expect("the vectors")).expect("valid JSON");
    let temp = tempfile::tempdir().expect("a folder");
    let root = temp.path().join("R");
    fs::create_dir(&root).expect("the root");
    for name in texts(&vectors["tree"]) {
        make(&root, &name);
    }
    let mut used = BTreeSet::new();
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() >= 90);
    for case in cases {
        let options = texts(&case["options"]);
        let expected: BTreeSet<String> = if case["stored"].is_null() {
            BTreeSet::new()
        } else {
            texts(&case["stored"]).into_iter().collect()
        };
        let found = stored(&root, &options);
        let text = options.join(" ");
        let mut explained = |stores, path: &str| {
            let at = DIFFERENCES
                .iter()
                .position(|known| (known.0, known.1, known.2) == (&text, stores, path));
            used.extend(at);
            at.is_some()
        };
        let less: Vec<_> = expected
            .difference(&found)
            .filter(|path| !explained(Stores::Less, path))
            .collect();
        let more: Vec<_> = found
            .difference(&expected)
            .filter(|path| !explained(Stores::More, path))
            .collect();
        assert!(
            less.is_empty() && more.is_empty(),
            "{text}: not stored {less:?}, stored besides {more:?}"
        );
    }
    assert_eq!(
        used.len(),
        DIFFERENCES.len(),
        "a difference that is none any more"
    );
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

/// Creates an entry of the tree. Only the size of a file matters: those that the vectors show to be
/// kept by `--skip-files-larger-than=10b` are small.
fn make(root: &Path, name: &str) {
    let path = root.join(name);
    if name.ends_with('/') {
        return fs::create_dir_all(path).expect("a folder");
    }
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    let small = [
        ".hidden",
        "a.txt",
        "b.TXT",
        "c.tmp",
        "tmp/x",
        "cache/.cache/x",
    ];
    let content: &[u8] = if small.contains(&name) {
        b"small"
    } else {
        b"longer than ten bytes"
    };
    fs::write(path, content).expect("a file");
}

/// What a walk over the root stores, as paths below `/R/`.
fn stored(root: &Path, options: &[String]) -> BTreeSet<String> {
    let mut filters = Vec::new();
    let mut walk = WalkOptions::default();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let list = || {
            value
                .split(',')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        match name {
            "--include" => filters.push((Action::Include, value.to_owned())),
            "--exclude" => filters.push((Action::Exclude, value.to_owned())),
            "--ignore-filenames" => walk.ignore_names = list(),
            "--exclude-files-attributes" => walk.exclude_attributes = list(),
            "--exclude-empty-folders" => walk.exclude_empty_folders = value == "true",
            "--skip-files-larger-than" => {
                walk.max_size = value.strip_suffix('b').and_then(|size| size.parse().ok())
            }
            other => panic!("option {other} is not known to this test"),
        }
    }
    walk.filter =
        Filter::parse(&filters, true).unwrap_or_else(|error| panic!("{options:?}: {error}"));
    let root = Root {
        os_path: root.to_owned(),
        stored: b"/R".to_vec(),
    };
    let mut paths = BTreeSet::new();
    let mut last = Vec::new();
    for item in Walk::with_roots(vec![root], walk) {
        match item {
            WalkItem::Entry(entry) => {
                assert!(
                    last < entry.path,
                    "{:?}",
                    String::from_utf8_lossy(&entry.path)
                );
                last = entry.path.clone();
                paths.insert(String::from_utf8(entry.path).expect("text"));
            }
            WalkItem::Skipped { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    paths
}
