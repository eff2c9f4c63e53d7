//! Which of several folders is the destination.

use std::path::{Path, PathBuf};

use larder_destination::{Error, Result};

use crate::SCHEME;
use crate::names;

/// The paths in the value of `alternate-target-paths`; relative ones start from `working_folder`.
///
/// Duplicati divides by `;`, newer versions on Linux and macOS by `:`. Both are taken there, unless the colon belongs
/// to a drive letter.
pub(crate) fn alternatives(text: &str, working_folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for item in text.split(';') {
        if cfg!(windows) || has_drive(item) {
            paths.push(item);
        } else {
            paths.extend(item.split(':'));
        }
    }
    let paths = paths
        .into_iter()
        .map(str::trim)
        .filter(|path| !path.is_empty());
    paths.map(|path| working_folder.join(path)).collect()
}

/// The first candidate that exists and holds the marker; the first of all when no marker is asked for.
///
/// A single candidate without marker is not looked at.
///
/// # Errors
/// `Config` when no folder holds the marker, with the folders that were tried.
pub(crate) fn choose(candidates: Vec<PathBuf>, marker: Option<&str>) -> Result<PathBuf> {
    if let Some(marker) = marker {
        names::check(marker).map_err(|why| {
            Error::config(
                SCHEME,
                format!("alternate-destination-marker has to be the name of a file: {why}"),
            )
        })?;
    } else if candidates.len() == 1 {
        return candidates.into_iter().next().ok_or_else(no_candidate);
    }
    let fits = |folder: &&PathBuf| match marker {
        Some(marker) => folder.join(marker).is_file(),
        None => folder.is_dir(),
    };
    if let Some(found) = candidates.iter().find(fits) {
        return Ok(found.clone());
    }
    match marker {
        None => candidates.into_iter().next().ok_or_else(no_candidate),
        Some(marker) => {
            let tried: Vec<_> = candidates
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            let message = format!(
                "none of these folders holds the marker file {marker}: {}",
                tried.join(", ")
            );
            Err(Error::config(SCHEME, message))
        }
    }
}

fn no_candidate() -> Error {
    Error::config(SCHEME, "no folder is given")
}

/// True for `C:\x`, `C:/x`, `C:` and the wildcard form `*:\x`.
fn has_drive(path: &str) -> bool {
    let mut bytes = path.trim().bytes();
    bytes
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic() || letter == b'*')
        && bytes.next() == Some(b':')
        && matches!(bytes.next(), None | Some(b'\\' | b'/'))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_divided() {
        for (text, expected) in [
            ("", &[][..]),
            ("/a;/b c; d ;", &["/a", "/b c", "/w/d"]),
            ("/a:/b:c", &["/a", "/b", "/w/c"]),
            ("/a:/b;/c", &["/a", "/b", "/c"]),
            ("E:\\b;/a;*:\\x", &["/w/E:\\b", "/a", "/w/*:\\x"]),
        ] {
            let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(alternatives(text, Path::new("/w")), expected, "{text}");
        }
    }

    #[test]
    fn the_first_fitting_folder_is_chosen() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| root.path().join(name);
        for name in ["b", "c"] {
            std::fs::create_dir(folder(name)).unwrap();
        }
        std::fs::write(folder("c").join("mark"), "").unwrap();
        let all = || vec![folder("a"), folder("b"), folder("c")];
        assert_eq!(choose(vec![folder("a")], None).unwrap(), folder("a"));
        assert_eq!(choose(all(), None).unwrap(), folder("b"));
        assert_eq!(
            choose(vec![folder("a"), folder("x")], None).unwrap(),
            folder("a")
        );
        assert_eq!(choose(all(), Some("mark")).unwrap(), folder("c"));
        let error = choose(vec![folder("a"), folder("b")], Some("mark"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&folder("a").display().to_string()),
            "{error}"
        );
        assert!(error.contains("marker file mark"), "{error}");
        choose(all(), Some("../mark")).unwrap_err();
    }
}
