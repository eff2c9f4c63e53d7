//! Arguments of restore against a real Duplicati (fixtures/vectors/restore-selection-vectors.json).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use larder_source::{Action, Selection};
use serde_json::Value;

/// Cases where Duplicati ignores `--exclude` beside a selection; Larder honours it.
const EXCLUDE_IS_HONOURED: [&str; 2] = ["* --exclude=*.jpg", "* --exclude=/R/docs/"];

/// The case where Duplicati selects nothing; Larder takes the folder that is named.
const FOLDER_IS_TAKEN: &str = "/R/docs";

#[test]
fn selected_files_are_those_that_were_restored() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/vectors/restore-selection-vectors.json");
    let vectors: Value =
        serde_json::from_slice(&fs::read(path).expect("the vectors")).expect("valid JSON");
    let trees = vectors["tree"].as_object().expect("trees");
    let all: Vec<String> = trees
        .iter()
        .flat_map(|(root, names)| {
            texts(names)
                .into_iter()
                .map(move |name| format!("{root}{name}"))
        })
        .collect();
    let mut honoured = 0;
    for case in vectors["cases"].as_array().expect("cases") {
        let arguments = texts(&case["arguments"]);
        let name = arguments.join(" ");
        // A size limit is no matter of paths.
        if name.contains("--skip-files-larger-than") {
            continue;
        }
        let mut patterns = Vec::new();
        let mut options = Vec::new();
        for argument in &arguments {
            match argument.split_once('=') {
                Some(("--include", text)) => options.push((Action::Include, text.to_owned())),
                Some(("--exclude", text)) => options.push((Action::Exclude, text.to_owned())),
                Some(("--dont-compress-restore-paths", _)) => {}
                _ => patterns.push(argument.clone()),
            }
        }
        let selection = Selection::parse(&patterns, &options, true, '/')
            .unwrap_or_else(|error| panic!("{error}"));
        let selected: Vec<&String> = all
            .iter()
            .filter(|path| selection.selects(path.as_bytes()))
            .collect();
        let restored: BTreeSet<String> = texts(&case["restored"])
            .into_iter()
            .filter(|path| !path.ends_with('/'))
            .collect();
        if name == FOLDER_IS_TAKEN {
            honoured += 1;
            assert!(restored.is_empty() && selected.len() == 3, "{name}");
            continue;
        }
        if EXCLUDE_IS_HONOURED.contains(&name.as_str()) {
            honoured += 1;
            assert!(
                selected.len() < restored.len() && !selected.is_empty(),
                "{name}"
            );
            continue;
        }
        // Only the part of the paths that all have in common is missing from what was restored.
        let cut = |path: &str, len: usize| path.get(len..).unwrap_or_default().to_owned();
        let prefix = selected.first().map_or(0, |path| path.len())
            - restored.iter().next().map_or(0, String::len);
        let mapped: BTreeSet<String> = selected.iter().map(|path| cut(path, prefix)).collect();
        assert_eq!(mapped, restored, "{name}");
    }
    assert_eq!(honoured, 1 + EXCLUDE_IS_HONOURED.len());
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}
