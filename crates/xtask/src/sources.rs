//! The Rust files that are shipped: what is left when tests are taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{rust_text, tree};

/// One source file that is not a test.
#[derive(Debug)]
pub struct Source {
    /// Path below the workspace root.
    pub path: PathBuf,
    /// Folder of its crate, e.g. `crates/volume`.
    pub package: String,
    /// Its text without comments and literals; test modules inside it are still there.
    pub code: String,
}

/// Reads all source files of the workspace but those that hold only tests.
pub fn shipped(root: &Path) -> Result<Vec<Source>> {
    let mut texts = BTreeMap::new();
    let mut test_files = BTreeSet::new();
    for path in tree::files(root, "rs")? {
        let code = rust_text::code_only(&tree::read(root, &path)?);
        for name in rust_text::test_modules(&code) {
            test_files.extend(files_of_module(&path, name));
        }
        texts.insert(path, code);
    }
    Ok(texts
        .into_iter()
        .filter(|(path, _)| !is_test_file(path) && !test_files.contains(path))
        .map(|(path, code)| Source {
            package: package_of(&path),
            path,
            code,
        })
        .collect())
}

/// A file below `tests`, `benches` or `examples`, or one that is called `tests.rs`.
fn is_test_file(path: &Path) -> bool {
    let in_folder = path
        .iter()
        .any(|part| part == "tests" || part == "benches" || part == "examples");
    in_folder || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// The files in which `mod name;` of `path` may lie.
fn files_of_module(path: &Path, name: &str) -> Vec<PathBuf> {
    let Some(folder) = path.parent() else {
        return Vec::new();
    };
    let stem = path.file_stem().unwrap_or_default();
    let inner = if stem == "lib" || stem == "main" || stem == "mod" {
        folder.to_owned()
    } else {
        folder.join(stem)
    };
    vec![
        inner.join(format!("{name}.rs")),
        inner.join(name).join("mod.rs"),
    ]
}

/// The folder of the crate: the first two parts below `crates` and `destinations`, else the first.
fn package_of(path: &Path) -> String {
    let parts: Vec<String> = path
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    let count = if parts
        .first()
        .is_some_and(|p| p == "crates" || p == "destinations")
    {
        2
    } else {
        1
    };
    parts.into_iter().take(count).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_sorted_into_crates() {
        assert_eq!(
            package_of(Path::new("crates/volume/src/zip/read.rs")),
            "crates/volume"
        );
        assert_eq!(package_of(Path::new("fuzz/src/main.rs")), "fuzz");
        assert!(is_test_file(Path::new("crates/volume/tests/it/main.rs")));
        assert!(is_test_file(Path::new("crates/volume/src/zip/tests.rs")));
        assert!(!is_test_file(Path::new("crates/volume/src/zip.rs")));
        assert_eq!(
            files_of_module(Path::new("crates/a/src/zip.rs"), "cases")[0],
            Path::new("crates/a/src/zip/cases.rs")
        );
        assert_eq!(
            files_of_module(Path::new("crates/a/src/lib.rs"), "cases")[0],
            Path::new("crates/a/src/cases.rs")
        );
    }
}
