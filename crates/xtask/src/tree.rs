//! The files of the working tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders whose content is made by tools, or is data and not written by us.
const PASSED_OVER: &[&str] = &["target", ".git", "node_modules", "corpus", "artifacts"];

/// Returns the paths of all files with this extension, relative to the root and sorted.
///
/// Folders below `fixtures` are data and are not entered.
pub fn files(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let shown = root.join(&folder);
        let entries =
            std::fs::read_dir(&shown).with_context(|| format!("reading {}", shown.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let data = folder.file_name().is_some_and(|n| n == "fixtures");
                if !data && !PASSED_OVER.iter().any(|p| name == *p) {
                    folders.push(path);
                }
            } else if kind.is_file() && path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a text file below the root.
pub fn read(root: &Path, path: &Path) -> Result<String> {
    let full = root.join(path);
    std::fs::read_to_string(&full).with_context(|| format!("reading {}", full.display()))
}
