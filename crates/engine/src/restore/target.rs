//! What stands in the target already, and what to do about it (format spec 9.2, steps 1 to 3).

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use larder_source::{FileKind, OpenHow, Restore, TargetRoot};
use larder_volume::{EntryKind, FileEntry, Hash, HashAlgorithm, Metadata, unix_from_ticks};

use super::Rules;
use super::content_hash::rest_of_file;
use crate::{Error, Fault, Result};

/// What stands at the place of a file.
pub(crate) enum Present {
    /// Nothing.
    Nothing,
    /// A file that can be read, with its length.
    File {
        /// The file, open for reading.
        file: File,
        /// Its length.
        len: u64,
    },
    /// Something else, which has no blocks to offer.
    Other,
}

/// Looks at the place of a file.
///
/// # Errors
/// A folder stands there and would have to be overwritten, or what the system reports.
pub(crate) fn look(root: &TargetRoot, place: &[u8], overwrite: bool) -> io::Result<Present> {
    let Some(facts) = root.stat(place)? else {
        return Ok(Present::Nothing);
    };
    match facts.kind {
        FileKind::File => Ok(match root.open_file(place, OpenHow::ReadOnly) {
            Ok(file) => Present::File {
                file,
                len: facts.size,
            },
            Err(_) => Present::Other,
        }),
        FileKind::Folder if overwrite => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "a folder stands at this place",
        )),
        FileKind::Folder | FileKind::Symlink { .. } | FileKind::Special(_) => Ok(Present::Other),
    }
}

/// Whether a file has a block at a place. The buffer is used for it.
pub(crate) fn has_block(
    file: &File,
    at: u64,
    len: u64,
    (algorithm, hash): (HashAlgorithm, &Hash),
    buffer: &mut Vec<u8>,
) -> bool {
    // Longer blocks than that are not written by anybody.
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= 1 << 31) else {
        return false;
    };
    if file
        .metadata()
        .is_ok_and(|facts| facts.len() < at + len as u64)
    {
        return false;
    }
    buffer.resize(len, 0);
    file.read_exact_at(buffer, at).is_ok() && algorithm.digest(buffer) == *hash
}

/// A free name beside an existing file, or a copy that is this file already: its number and whether it is.
///
/// # Errors
/// All names are taken, or what the system reports.
pub(crate) fn choose_copy(
    algorithm: HashAlgorithm,
    root: &TargetRoot,
    place: &[u8],
    entry: &FileEntry,
    date: &str,
) -> io::Result<(u8, bool)> {
    for copy in 1..=MOST_COPIES {
        let name = place_of_copy(place, date, copy);
        let Some(facts) = root.stat(&name)? else {
            return Ok((copy, false));
        };
        if facts.kind == FileKind::File
            && entry.size == facts.size
            && let Ok(file) = root.open_file(&name, OpenHow::ReadOnly)
            && Some(rest_of_file(&file, algorithm.hasher(), 0)?) == entry.hash
        {
            return Ok((copy, true));
        }
    }
    Err(all_taken())
}

fn all_taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{MOST_COPIES} copies of this file stand here already"),
    )
}

/// The place of the copy of a number: 0 is the place itself, 1 `<stem>.<date><.ext>`, then `<stem>.<date> (n)<.ext>`. A
/// name that would be too long is cut.
pub(crate) fn place_of_copy(place: &[u8], date: &str, copy: u8) -> Vec<u8> {
    if copy == 0 {
        return place.to_vec();
    }
    let start = place
        .iter()
        .rposition(|b| *b == b'/')
        .map_or(0, |at| at + 1);
    let (folder, name) = place.split_at(start);
    let dot = name.iter().rposition(|b| *b == b'.').unwrap_or(name.len());
    let (stem, ending) = name.split_at(dot);
    let number = match copy {
        1 => String::new(),
        n => format!(" ({})", n - 2),
    };
    let middle = format!(".{date}{number}");
    let ending = cut(ending, LONGEST_ENDING);
    let stem = cut(
        stem,
        LONGEST_NAME.saturating_sub(middle.len() + ending.len()),
    );
    [folder, stem, middle.as_bytes(), ending].concat()
}

/// The folder that an entry lies in; `None` for the target folder itself.
pub(crate) fn parent(place: &[u8]) -> Option<&[u8]> {
    let at = place.iter().rposition(|b| *b == b'/')?;
    place.get(..at)
}

/// The first bytes of a name, not ending within a character.
fn cut(name: &[u8], most: usize) -> &[u8] {
    let is_within = |at: usize| name.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    let mut end = most.min(name.len());
    // A character has four bytes at most; other bytes are no text.
    for _ in 0..3 {
        if end < name.len() && end > 0 && is_within(end) {
            end -= 1;
        }
    }
    name.get(..end).unwrap_or(name)
}

/// Opens the file at its original place, for `--restore-with-local-blocks`.
pub(crate) fn open_original(path: &[u8]) -> Option<File> {
    if path.first() != Some(&b'/') {
        return None;
    }
    larder_source::open_for_read(Path::new(std::ffi::OsStr::from_bytes(path))).ok()
}

/// Where a link stands now.
pub(crate) struct Placed {
    pub(crate) place: Vec<u8>,
    /// False when the same link stood there already.
    pub(crate) is_new: bool,
}

/// Creates a link, unless the same stands there already.
pub(crate) fn place_link(
    root: &TargetRoot,
    place: &[u8],
    to: &[u8],
    overwrite: bool,
    date: &str,
) -> io::Result<Placed> {
    for copy in 0..=MOST_COPIES {
        let place = place_of_copy(place, date, copy);
        let (is_free, is_same) = match root.stat(&place)? {
            None => (true, false),
            Some(found) => {
                let is_link = matches!(found.kind, FileKind::Symlink { .. });
                (false, is_link && root.read_symlink(&place)? == to)
            }
        };
        if is_same {
            let is_new = false;
            return Ok(Placed { place, is_new });
        }
        if is_free || overwrite {
            root.create_symlink(&place, to, overwrite)?;
            let is_new = true;
            return Ok(Placed { place, is_new });
        }
    }
    Err(all_taken())
}

/// Ends a run when the disk is full: every further file would fail as well.
///
/// # Errors
/// The named condition then.
pub(crate) fn stop_when_full(error: &io::Error, folder: &Path) -> Result<()> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(Error::Known {
            id: "TargetFull",
            fault: Fault::Environment,
            message: format!("{} has no room left: {error}", folder.display()),
            hint: "free some space and run the same command again; it goes on with what is missing"
                .into(),
        }),
        _ => Ok(()),
    }
}

/// What of a metadata blob is applied. What was there before keeps its permissions unless they are restored.
pub(crate) fn restore_facts<'m>(
    blob: &'m Metadata,
    rules: &Rules,
    kind: EntryKind,
    is_new: bool,
) -> Restore<'m> {
    let is_link = kind == EntryKind::Symlink;
    let mut restore = Restore {
        mtime: blob.last_write_ticks.map(|ticks| {
            let (seconds, nanos) = unix_from_ticks(ticks);
            (seconds, nanos + blob.mtime_ns.unwrap_or(0).min(99))
        }),
        user_xattrs_only: !rules.permissions,
        ..Restore::default()
    };
    if !is_link && is_new {
        restore.mode = Some(if kind == EntryKind::Folder {
            rules.folder_mode
        } else {
            rules.file_mode
        });
    }
    if rules.permissions {
        if let Some((uid, gid, mode)) = blob.uid_gid_perm {
            restore.owner = Some((uid, gid));
            if !is_link {
                restore.mode = Some(mode);
            }
        }
        restore.owner_name = blob.owner.as_deref();
        restore.group_name = blob.group.as_deref();
    }
    if !is_link || rules.link_metadata {
        restore.xattrs = &blob.xattrs;
    }
    let read_only = blob
        .attributes
        .as_deref()
        .is_some_and(|a| a.split(", ").any(|a| a == "ReadOnly"));
    restore.read_only = read_only && is_new && !rules.permissions && !is_link;
    restore
}

/// Most copies that may stand beside a file.
const MOST_COPIES: u8 = 101;
/// The longest name of the usual file systems, in bytes.
const LONGEST_NAME: usize = 255;
/// Longer endings are cut too.
const LONGEST_ENDING: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::place_of_copy;

    #[test]
    fn copies_are_named_after_the_version() {
        let name = |place: &str, n| {
            String::from_utf8(place_of_copy(place.as_bytes(), "2026-01-02", n)).unwrap()
        };
        assert_eq!(name("a/b.txt", 0), "a/b.txt");
        assert_eq!(name("a/b.txt", 1), "a/b.2026-01-02.txt");
        assert_eq!(name("a/b.txt", 2), "a/b.2026-01-02 (0).txt");
        assert_eq!(name("a.d/b", 3), "a.d/b.2026-01-02 (1)");
        assert_eq!(name(".profile", 1), ".2026-01-02.profile");
        let long = format!("{}.txt", "ü".repeat(125));
        let copy = name(&long, 101);
        assert_eq!(copy, format!("{}.2026-01-02 (99).txt", "ü".repeat(117)));
    }

    proptest! {
        /// Names fit into the file system, differ from each other and from the place, and stay in its folder.
        #[test]
        fn names_of_copies_fit_and_differ(
            name in prop::collection::vec(1_u8.., 1..255),
            folder in "(a/){0,2}",
        ) {
            prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
            let place = [folder.as_bytes(), name.as_slice()].concat();
            let mut names = std::collections::BTreeSet::from([place.clone()]);
            for copy in 1..=101 {
                let copy = place_of_copy(&place, "2026-01-02", copy);
                let rest = copy.strip_prefix(folder.as_bytes()).unwrap();
                prop_assert!(rest.len() <= 255 && !rest.contains(&b'/'));
                names.insert(copy);
            }
            prop_assert_eq!(names.len(), 102);
        }
    }
}
