//! Backups in a local folder or a mounted share (`file://`).
//!
//! A put is atomic and durable: the content goes to `<name>.<8 hex digits>.part` in the same folder, is forced to the
//! disk, renamed over the target, and the folder is forced to the disk as well. Names of that form are not listed; old
//! ones are removed by the first put.

mod errors;
mod names;
pub mod options;
mod read;
mod select;
mod store;
mod write;

use larder_destination::{Config, Error, Opened, Place, Provider, Result, Tools, UrlForm};
use std::path::{Component, Path, PathBuf};

use larder_options::engine::DISABLE_STREAMING_TRANSFERS;

pub use store::Folder;

use crate::options::{
    ALTERNATE_DESTINATION_MARKER, ALTERNATE_TARGET_PATHS, DISABLE_LENGTH_VERIFICATION, TABLE,
    USE_MOVE_FOR_PUT,
};
use crate::store::Settings;

/// The local folder.
pub const PROVIDER: Provider = Provider {
    schemes: &[SCHEME],
    name: "Local folder",
    help: "Keeps backups in a folder of this computer or on a mounted share.",
    options: TABLE,
    url: UrlForm {
        host: "",
        path: "absolute path of the folder",
        example: "file:///mnt/disk/backup",
    },
    identity,
    open,
};

/// The key under which errors and listings name this provider.
pub(crate) const SCHEME: &str = "file";

/// The folder that the URL names, before any alternative is looked at.
fn primary(config: &Config) -> Result<&Path> {
    config.url.local_path().ok_or_else(|| {
        Error::config(
            SCHEME,
            "network paths (\\\\server\\share) are not supported on this system yet; \
             mount the share and give the folder where it is mounted",
        )
    })
}

/// The folder in its one spelling: without `.`, `..` and links as far as it exists.
fn identity(config: &Config) -> Result<Place> {
    let path = canonical(primary(config)?);
    Ok(Place::new(SCHEME).with("path", path.to_string_lossy()))
}

/// Resolves the part of a path that exists; what lies below it is taken as it is written.
fn canonical(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(mut resolved) = existing.canonicalize() {
            for part in rest.iter().rev() {
                match part {
                    Component::ParentDir => drop(resolved.pop()),
                    Component::CurDir => {}
                    other => resolved.push(other),
                }
            }
            return resolved;
        }
        let (Some(last), Some(above)) = (existing.components().next_back(), existing.parent())
        else {
            return path.to_path_buf();
        };
        rest.push(last);
        existing = above;
    }
}

fn open(config: &Config, _tools: &Tools) -> Result<Opened> {
    let primary = primary(config)?;
    let values = &config.values;
    let wrong = |error: larder_options::Error| Error::config(SCHEME, error.to_string());
    let alternatives = values
        .find(ALTERNATE_TARGET_PATHS)
        .map_err(wrong)?
        .unwrap_or_default();
    let alternatives = select::alternatives(&alternatives, &config.working_folder);
    // As in Duplicati's manual, the marker counts only where there is something to choose.
    let marker = values.find(ALTERNATE_DESTINATION_MARKER).map_err(wrong)?;
    let marker = marker.filter(|marker| !marker.is_empty() && !alternatives.is_empty());
    let moves = values.get(USE_MOVE_FOR_PUT).map_err(wrong)?
        && values.get(DISABLE_STREAMING_TRANSFERS).map_err(wrong)?;
    let settings = Settings {
        moves,
        checks_length: !values.get(DISABLE_LENGTH_VERIFICATION).map_err(wrong)?,
        marker: marker.clone(),
    };
    let mut candidates = vec![primary.to_path_buf()];
    candidates.extend(alternatives);
    let folder = select::choose(candidates, marker.as_deref())?;
    Ok(Opened::new(Folder::new(folder, settings)))
}

#[cfg(test)]
mod tests;
