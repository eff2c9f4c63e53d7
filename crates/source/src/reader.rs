//! The second look at an entry: owner names, extended attributes, link target, attribute text.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{getxattr, lgetxattr, listxattr, llistxattr, readlinkat};
use rustix::io::Errno;

use crate::attributes::{Attributes, Identity};
use crate::deep::Reach;
use crate::facts::{Facts, FileKind};
use crate::owners::Owners;

/// Everything that is kept about an entry besides its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullFacts {
    /// The facts of the first look, as they were given.
    pub facts: Facts,
    /// Name of the owner, `None` if the number has none.
    pub owner: Option<Vec<u8>>,
    /// Name of the group, `None` if the number has none.
    pub group: Option<Vec<u8>>,
    /// Extended attributes with a value that is not empty, in the order the system lists them;
    /// access control lists are among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The target text of a symbolic link.
    pub symlink_target: Option<Vec<u8>>,
    /// The attribute text of stored metadata, e.g. `Hidden, Directory` (docs/format/metadata.md).
    pub attributes: String,
}

/// Reads [`FullFacts`]. Names of owners are looked up once; one reader per thread.
#[derive(Debug)]
pub struct FactReader {
    owners: Owners,
    identity: Identity,
    following: bool,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for FactReader {
    fn default() -> Self {
        FactReader::new()
    }
}

impl FactReader {
    /// A reader for the identity of this process that does not follow links.
    pub fn new() -> Self {
        FactReader {
            owners: Owners::default(),
            identity: Identity::of_process(),
            following: false,
            names: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Makes the reader take the extended attributes of what a link leads to, for entries found
    /// with [`crate::SymlinkPolicy::Follow`].
    pub fn following(mut self, following: bool) -> Self {
        self.following = following;
        self
    }

    /// Reads what is not yet in `facts`. Of a symbolic link, the facts of the link itself.
    ///
    /// Costs one system call for an entry without extended attributes, one more for a link, and
    /// two or more per extended attribute.
    ///
    /// # Errors
    ///
    /// The link target or the extended attributes cannot be read. It is no error when the file
    /// system has no extended attributes, or refuses a single one of them.
    pub fn full(&mut self, path: &Path, facts: &Facts) -> io::Result<FullFacts> {
        let reach = Reach::of(path)?;
        let is_link = matches!(facts.kind, FileKind::Symlink { .. });
        let symlink_target = if is_link {
            Some(readlinkat(reach.base(), reach.rest(), Vec::new())?.into_bytes())
        } else {
            None
        };
        let name = path.file_name().unwrap_or_default().as_bytes();
        Ok(FullFacts {
            facts: *facts,
            owner: self.owners.user_name(facts.uid),
            group: self.owners.group_name(facts.gid),
            xattrs: self.xattrs(&reach.alias(), self.following && !is_link)?,
            symlink_target,
            attributes: Attributes::of(name, facts, &self.identity).to_string(),
        })
    }

    fn xattrs(&mut self, path: &Path, follow: bool) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let listed = fill(&mut self.names, |room| {
            if follow {
                listxattr(path, &mut *room)
            } else {
                llistxattr(path, &mut *room)
            }
        });
        let len = match listed {
            Ok(len) => len,
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if len == 0 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for name in xattr_names(self.names.get(..len).unwrap_or_default()) {
            let got = fill(&mut self.value, |room| {
                if follow {
                    getxattr(path, name, &mut *room)
                } else {
                    lgetxattr(path, name, &mut *room)
                }
            });
            match got {
                Ok(len) if len > 0 => {
                    found.push((
                        name.to_vec(),
                        self.value.get(..len).unwrap_or_default().to_vec(),
                    ));
                }
                // Empty, gone since it was listed, or for the privileged only.
                Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

/// Splits the NUL-separated list that the system gives.
pub(crate) fn xattr_names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
}

/// Calls with a buffer that grows until the answer fits; returns the length of the answer.
pub(crate) fn fill(
    buffer: &mut Vec<u8>,
    mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if buffer.len() < FIRST_BUFFER {
        buffer.resize(FIRST_BUFFER, 0);
    }
    loop {
        match call(buffer) {
            Err(Errno::RANGE) if buffer.len() < LAST_BUFFER => buffer.resize(buffer.len() * 8, 0),
            other => return other,
        }
    }
}

const FIRST_BUFFER: usize = 1 << 10;
/// Linux limits the list and each value to 64 KiB; some file systems allow more.
const LAST_BUFFER: usize = 1 << 25;
