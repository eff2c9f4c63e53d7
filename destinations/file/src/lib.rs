//! Backups in a local folder or a mounted share (`file://`).
//!
//! A put is atomic and durable: the content goes to a temporary name in the same folder
//! ([`TEMPORARY_PREFIX`](larder_destination::TEMPORARY_PREFIX) and 16 hex digits), is forced to the disk, takes its name
//! in one step, and the folder is forced to the disk as well. Temporary names are not listed; those that a killed run
//! left behind are removed by a later one.

mod api;
mod store;

use std::path::{Path, PathBuf};

use larder_destination::{
    Call, Config, Error, Opened, Operation, Place, Provider, Result, Tools, UrlForm,
};
use larder_options::engine::DISABLE_STREAMING_TRANSFERS;
use larder_options::{Group, Kind, Status, option_table};

pub use store::Folder;

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
    sign_in: None,
};

option_table! { pub TABLE = Group::Destination;
    ALTERNATE_TARGET_PATHS: String = "alternate-target-paths", Kind::Text,
        "Names further folders to use when the one in the URL does not exist.",
        long: "Useful for a disk that is mounted in different places. The first folder that exists is used, beginning \
               with the one in the URL. Paths are divided by a semicolon, on Linux and macOS also by a colon.";
    ALTERNATE_DESTINATION_MARKER: String = "alternate-destination-marker", Kind::Text,
        "Names a file that must lie in the destination folder.",
        long: "Has an effect only together with alternate-target-paths. Only a folder with that file is used, be it \
               the one in the URL or another; its content does not matter. This protects against writing to an empty \
               mount point and tells several disks apart.";
    USE_MOVE_FOR_PUT: bool = "use-move-for-put", Kind::Bool,
        "Moves finished volumes to the folder instead of copying them.",
        advanced: true,
        long: "Has an effect only together with disable-streaming-transfers. Saves writing twice when the temporary \
               folder lies on the same disk. After a failure there may be nothing left to try again with.";
    DISABLE_LENGTH_VERIFICATION: bool = "disable-length-verification", Kind::Bool,
        "Does not ask the file system for the length of a file after writing it.",
        advanced: true,
        long: "For network mounts that report lengths late.";
    DISABLE_FILENAME_SANITATION: bool = "disable-filename-sanitation", Kind::Bool,
        "Keeps NUL characters at the end of listed names.",
        advanced: true,
        status: Status::NoEffect { why: "names on this system never end in NUL characters" };
    FORCE_SMB_AUTHENTICATION: bool = "force-smb-authentication", Kind::Bool,
        "Ends an existing connection to the network share before connecting.",
        advanced: true,
        status: Status::NoEffect { why: "it belongs to Windows" };
}

/// The folder that the URL names, before any alternative is looked at.
fn primary(config: &Config) -> Result<&Path> {
    config.url.local_path().ok_or_else(|| {
        let message = "network paths (\\\\server\\share) are not supported on this system yet; \
                       mount the share and give the folder where it is mounted";
        Error::config(SCHEME, message)
    })
}

/// The folder in its one spelling: without `.`, `..` and links as far as it exists. A disk that is found under another
/// of its paths is still the same store, so the alternatives do not count.
fn identity(config: &Config) -> Result<Place> {
    let path = larder_files::resolve(primary(config)?);
    Ok(Place::new(SCHEME).with("path", path.to_string_lossy()))
}

fn open(config: &Config, tools: &Tools) -> Result<Opened> {
    let values = &config.values;
    let wrong = |error: larder_options::Error| Error::config(SCHEME, error.to_string());
    let alternatives = values.find(ALTERNATE_TARGET_PATHS).map_err(wrong)?;
    let alternatives = alternatives.unwrap_or_default();
    let mut candidates = vec![primary(config)?.to_path_buf()];
    candidates.extend(
        divided(&alternatives)
            .into_iter()
            .map(|path| config.working_folder.join(path)),
    );
    // As in Duplicati's manual, the marker counts only where there is something to choose.
    let marker = values.find(ALTERNATE_DESTINATION_MARKER).map_err(wrong)?;
    let marker = marker.filter(|marker| !marker.is_empty() && candidates.len() > 1);
    let folder = choose(&candidates, marker.as_deref())?;
    let settings = Settings {
        moves: values.get(USE_MOVE_FOR_PUT).map_err(wrong)?
            && values.get(DISABLE_STREAMING_TRANSFERS).map_err(wrong)?,
        checks_length: !values.get(DISABLE_LENGTH_VERIFICATION).map_err(wrong)?,
        marker,
    };
    Ok(Opened::new(Folder::new(folder, settings, tools)))
}

/// The paths in the value of `alternate-target-paths`.
///
/// Duplicati divides by `;`, newer versions on Linux and macOS by `:`. Both are taken there, unless the colon belongs
/// to a drive letter.
fn divided(text: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    for item in text.split(';') {
        match cfg!(windows) || has_drive(item.trim()) {
            true => paths.push(item),
            false => paths.extend(item.split(':')),
        }
    }
    let paths = paths.into_iter().map(str::trim);
    paths.filter(|path| !path.is_empty()).collect()
}

/// True for `C:\x`, `C:/x`, `C:` and the wildcard form `*:\x`.
fn has_drive(path: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '*';
    match path
        .strip_prefix(letter)
        .and_then(|path| path.strip_prefix(':'))
    {
        Some(rest) => rest.is_empty() || rest.starts_with(['\\', '/']),
        None => false,
    }
}

/// The first candidate that exists and holds the marker; the first of all when no marker is asked for.
///
/// # Errors
/// `Config` when no folder holds the marker, with the folders that were tried.
fn choose<'c>(candidates: &'c [PathBuf], marker: Option<&str>) -> Result<&'c Path> {
    let is_name = |marker| Call::on_file(SCHEME, Operation::Open, marker).is_ok();
    if !marker.is_none_or(is_name) {
        let message = "alternate-destination-marker has to be the name of a file in the folder";
        return Err(Error::config(SCHEME, message));
    }
    let found = candidates.iter().find(|folder| match marker {
        Some(marker) => folder.join(marker).is_file(),
        // A single candidate is not looked at.
        None => candidates.len() == 1 || folder.is_dir(),
    });
    match (found, candidates.first(), marker) {
        (Some(found), _, _) | (None, Some(found), None) => Ok(found),
        _ => {
            let marker = marker.unwrap_or_default();
            let tried: Vec<_> = candidates
                .iter()
                .map(|path| path.to_string_lossy())
                .collect();
            let tried = tried.join(", ");
            let message = format!("none of these folders holds the marker file {marker}: {tried}");
            Err(Error::config(SCHEME, message))
        }
    }
}

/// The key under which errors and listings name this provider.
pub(crate) const SCHEME: &str = "file";

#[cfg(test)]
mod tests;
