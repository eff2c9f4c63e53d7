//! The source crate against real folders.

mod filter_vectors;
mod selection_vectors;
mod walking;
mod writing;

/// A module that is not named above would silently not run.
#[test]
fn no_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of this file")
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .into_string()
                .ok()?
                .strip_suffix(".rs")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "filter_vectors",
            "main",
            "selection_vectors",
            "walking",
            "writing"
        ]
    );
}
