//! What the documents promise about exit codes is what the help says.

use std::collections::BTreeSet;
use std::path::Path;

use super::support::Place;

#[test]
fn help_and_reference_name_the_same_exit_codes() {
    let page = include_str!("../../../../docs/reference/exit-codes.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .filter(|code| code.parse::<u8>().is_ok())
        .collect();
    let help = Place::new().run(["help", "exitcodes"]).code(0).out;
    let told: Vec<&str> = help
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u8>().is_ok())
        .collect();
    assert_eq!(told, documented);
}

#[test]
fn every_error_id_is_on_the_page() {
    let page = include_str!("../../../../docs/reference/exit-codes.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut ids: BTreeSet<String> = BTreeSet::new();
    let mut waiting = vec![root.join("cli/src"), root.join("engine/src")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path).expect("a folder") {
                waiting.push(entry.expect("an entry").path());
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let mut marks = vec!["Failure::known(", "Error::user(", "Error::data("];
        if path.ends_with("engine/src/error.rs") {
            marks.push("=> Some(");
        }
        for mark in marks {
            for rest in text.split(mark).skip(1) {
                if let Some(id) = rest.trim_start().strip_prefix('"') {
                    ids.extend(id.split('"').next().map(str::to_owned));
                }
            }
        }
    }
    ids.retain(|id| {
        id.chars().all(|c| c.is_ascii_alphanumeric()) && !page.contains(&format!("`{id}`"))
    });
    assert!(
        ids.is_empty(),
        "not in docs/reference/exit-codes.md: {ids:?}"
    );
}
