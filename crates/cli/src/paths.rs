//! Paths and URLs as they are typed: variables, the home folder, the working folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use larder_options::{Kind, Values, engine as opt, find_decl};
use larder_registry::destination::Url;

use crate::failure::Failure;
use crate::tables::tables;

/// Expands `%NAME%`, `$NAME` and `${NAME}` from the environment, as in filters and patterns.
pub fn expand_variables(text: &str) -> String {
    larder_options::expand(text, |name| std::env::var(name).ok())
}

/// A path as it is meant: what exists under the name as typed is taken as it is; else a `~` in front is the home
/// folder, which shells do not see behind an equals sign, and variables are expanded.
pub fn expand_path(text: &str) -> String {
    if std::fs::symlink_metadata(text).is_ok() {
        return text.to_owned();
    }
    expand_variables(&expand_home(text))
}

fn expand_home(text: &str) -> String {
    let Some(rest) = text
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return text.to_owned();
    };
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => format!("{}{rest}", home.display()),
        None => text.to_owned(),
    }
}

/// Expands the values of all options that are paths.
pub fn expand_options(values: &mut Values) {
    let tables = tables();
    let mut changed = Vec::new();
    for setting in values.settings() {
        let Some((decl, text)) = find_decl(setting.name, &tables).zip(setting.value) else {
            continue;
        };
        let expanded = match decl.kind {
            Kind::Path => expand_path(text),
            // The names of files, not paths.
            Kind::PathList if decl.name != opt::IGNORE_FILENAMES.decl.name => {
                let paths: Vec<String> = text
                    .split(larder_options::value::LIST_SEPARATOR)
                    .map(expand_path)
                    .collect();
                paths.join(&larder_options::value::LIST_SEPARATOR.to_string())
            }
            _ => continue,
        };
        if expanded != text {
            changed.push((setting.name.to_owned(), expanded, setting.origin));
        }
    }
    for (name, value, origin) in changed {
        values.set(&name, Some(&value), origin);
    }
}

/// The working folder.
///
/// # Errors
/// When it was deleted: a relative path then means no folder.
pub fn working_folder() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        Failure::known(
            "NoWorkingFolder",
            format!(
                "the working folder cannot be found, so a relative path means nothing: {error}"
            ),
            "change to a folder that exists, or give absolute paths",
        )
    })
}

/// A path that does not depend on the working folder.
///
/// # Errors
/// As [`working_folder`], for a relative path.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Ok(working_folder()?.join(path))
}

/// The folder that relative storage URLs start from. For one that is not relative any folder will do.
///
/// # Errors
/// As [`working_folder`], for a relative URL.
pub fn folder_of_url(text: &str) -> Result<PathBuf, Failure> {
    let probe = Path::new("/\u{1}");
    match Url::parse(text, probe) {
        Ok(url) if url.local_path().is_some_and(|path| path.starts_with(probe)) => working_folder(),
        _ => Ok(PathBuf::from("/")),
    }
}

/// A storage URL in the form that the parser takes: home folder expanded, this computer's name dropped.
///
/// # Errors
/// A text that was meant as a URL and would be taken for the name of a folder, or for the name of another one.
pub fn storage_url(text: &str) -> Result<String, Failure> {
    let refused = |why: String, hint: String| Err(Failure::known("InvalidDestination", why, hint));
    let text = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let url = if scheme.eq_ignore_ascii_case("file") {
        match rest.strip_prefix("//") {
            Some(path) => format!(
                "file://{}",
                expand_home(
                    path.strip_prefix("localhost")
                        .filter(|p| p.starts_with('/'))
                        .unwrap_or(path)
                )
            ),
            None if rest.starts_with('/') => format!("file://{rest}"),
            None => {
                return refused(
                    "a storage URL of the form file:… is not understood".to_owned(),
                    format!(
                        "write file:// and an absolute path, or ./{} for a folder of that name",
                        shown(text.as_ref())
                    ),
                );
            }
        }
    } else if scheme.len() > 1 && !rest.starts_with("//") && larder_registry::find(scheme).is_some()
    {
        return refused(
            format!("a storage URL of the form {scheme}:… is not understood"),
            format!("write {scheme}://…, or ./{scheme}:… for a folder of that name"),
        );
    } else {
        expand_home(text)
    };
    // A path is cut at its first question mark.
    if let Ok(parsed) = Url::parse(&url, Path::new("/"))
        && parsed.scheme() == "file"
        && let Some((name, _)) = parsed
            .query()
            .iter()
            .find(|(name, value)| value.is_none() && find_decl(name, &tables()).is_none())
    {
        return refused(
            format!("?{name} in the storage URL is no option, so it would be cut off the path"),
            "write %3F for a question mark in a path".to_owned(),
        );
    }
    Ok(url)
}

/// An argument as it may be printed: a storage URL without its secrets.
pub fn shown(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let Some((scheme, _)) = text.split_once("://") else {
        return text.into_owned();
    };
    match Url::parse(&text, Path::new("/")) {
        Ok(url) => url.to_string(),
        Err(_) => format!("{scheme}://…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_urls_are_taken_as_they_were_meant() {
        let home = std::env::home_dir().expect("a home folder");
        let home = home.display();
        for (typed, meant) in [
            ("file:///mnt/x", "file:///mnt/x".to_owned()),
            ("file://localhost/mnt/x", "file:///mnt/x".to_owned()),
            ("FILE:/mnt/x", "file:///mnt/x".to_owned()),
            ("file://localhostess/x", "file://localhostess/x".to_owned()),
            ("~/backup", format!("{home}/backup")),
            ("file://~/backup", format!("file://{home}/backup")),
            ("~ann/backup", "~ann/backup".to_owned()),
            ("C:\\x", "C:\\x".to_owned()),
            (
                "s3://bucket/a?use-ssl=true",
                "s3://bucket/a?use-ssl=true".to_owned(),
            ),
            (
                "file:///x?use-move-for-put",
                "file:///x?use-move-for-put".to_owned(),
            ),
        ] {
            assert_eq!(storage_url(typed).expect("a URL"), meant, "{typed}");
        }
        for typed in ["file:relative", "s3:bucket/x", "file:///x/q?x", "/x/q?x"] {
            let failure = storage_url(typed).unwrap_err();
            assert_eq!(failure.id(), Some("InvalidDestination"), "{typed}");
        }
    }
}
