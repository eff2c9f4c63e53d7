//! The starting points of a walk, examined and put in order.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, statat};

use crate::deep::Reach;
use crate::facts::{Facts, FileKind};
use crate::walk::SymlinkPolicy;

/// A starting point: where to read, and the name under which that is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// The path to read from.
    pub os_path: PathBuf,
    /// The absolute path to store; the separator at the end of a folder may be missing.
    pub stored: Vec<u8>,
}

impl From<PathBuf> for Root {
    /// A root that is stored under the path it is read from.
    fn from(path: PathBuf) -> Self {
        Root {
            stored: path.as_os_str().as_bytes().to_vec(),
            os_path: path,
        }
    }
}

/// A root that was looked at; its stored path is complete.
#[derive(Debug)]
pub(super) struct ReadyRoot {
    pub(super) os_path: PathBuf,
    pub(super) stored: Vec<u8>,
    pub(super) facts: io::Result<Facts>,
}

/// Looks at all roots, sorts them by stored path, and drops those that lie in another.
pub(super) fn ready(roots: Vec<Root>, symlinks: SymlinkPolicy) -> Vec<ReadyRoot> {
    let mut found: Vec<ReadyRoot> = roots
        .into_iter()
        .map(|root| {
            let facts = look(&root.os_path, symlinks);
            let mut stored = root.stored;
            while stored.len() > 1 && stored.ends_with(b"/") {
                stored.pop();
            }
            if facts.as_ref().is_ok_and(Facts::ends_with_separator) && !stored.ends_with(b"/") {
                stored.push(b'/');
            }
            ReadyRoot {
                os_path: root.os_path,
                stored,
                facts,
            }
        })
        .collect();
    found.sort_by(|a, b| a.stored.cmp(&b.stored));
    let mut folder: Option<Vec<u8>> = None;
    found.dedup_by(|later, earlier| later.stored == earlier.stored);
    found.retain(|root| {
        if folder
            .as_ref()
            .is_some_and(|folder| root.stored.starts_with(folder))
        {
            return false;
        }
        if root
            .facts
            .as_ref()
            .is_ok_and(|facts| facts.kind == FileKind::Folder)
        {
            folder = Some(root.stored.clone());
        }
        true
    });
    found
}

/// The facts of a root. A root that is a link to a folder counts as that folder: it was named to
/// get at what is in it. A link to anything else is kept as a link unless links are followed.
fn look(path: &std::path::Path, symlinks: SymlinkPolicy) -> io::Result<Facts> {
    let reach = Reach::of(path)?;
    let own = Facts::from_stat(
        &statat(reach.base(), reach.rest(), AtFlags::SYMLINK_NOFOLLOW)?,
        false,
    );
    if !matches!(own.kind, FileKind::Symlink { .. }) {
        return Ok(own);
    }
    match statat(reach.base(), reach.rest(), AtFlags::empty()) {
        Ok(stat) => {
            let target = Facts::from_stat(&stat, false);
            let follow = target.kind == FileKind::Folder || symlinks == SymlinkPolicy::Follow;
            Ok(if follow { target } else { own })
        }
        Err(_) => Ok(own),
    }
}
