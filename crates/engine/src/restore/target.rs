//! What stands in the target already, and what to do about it (format spec 9.2, steps 1 to 3).

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use larder_source::{FileKind, OpenHow, Restore, TargetRoot};
use larder_volume::{EntryKind, FileEntry, Hash, Metadata, unix_from_ticks};

use super::Rules;
use super::content_hash::rest_of_file;
use super::plan::Node;
use crate::run::Run;

/// What was found at a file's place.
pub(crate) struct Existing {
    /// Where to write: the file's own place, or the name of a copy.
    pub(crate) rel: Vec<u8>,
    /// Something is there and will be changed in place.
    pub(crate) exists: bool,
    /// The file is right already.
    pub(crate) right: bool,
    /// Blocks that need not be written, by number; empty when none.
    present: Vec<bool>,
}

impl Existing {
    /// Nothing stands at `rel`.
    pub(crate) fn nothing(rel: Vec<u8>) -> Self {
        Self {
            rel,
            exists: false,
            right: false,
            present: Vec::new(),
        }
    }

    /// True when block `index` is right already.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.present.get(index).copied().unwrap_or(false)
    }
}

/// Most copies that may stand beside a file.
const MOST_COPIES: u32 = 100;

/// Looks at what stands at `rel` and decides where and what to write.
pub(crate) fn compare(
    engine: &Run,
    root: &TargetRoot,
    rel: &[u8],
    entry: &FileEntry,
    blocks: &[Hash],
    rules: &Rules,
    date: &str,
) -> io::Result<Existing> {
    let Some(facts) = root.stat(rel)? else {
        return Ok(Existing::nothing(rel.to_vec()));
    };
    let size = entry.size;
    if facts.kind == FileKind::File {
        let file = root.open_file(rel, OpenHow::Existing)?;
        let present = present_blocks(engine, &file, facts.size, size, blocks)?;
        if facts.size == size && present.iter().all(|p| *p) {
            return Ok(Existing {
                rel: rel.to_vec(),
                exists: true,
                right: true,
                present,
            });
        }
        if rules.overwrite {
            file.set_len(size)?;
            return Ok(Existing {
                rel: rel.to_vec(),
                exists: true,
                right: false,
                present,
            });
        }
        let copy = copy_name(engine, root, rel, entry, date)?;
        if copy.right {
            return Ok(copy);
        }
        // Blocks that the old file has are copied from it instead of being fetched.
        let new = root.open_file(&copy.rel, OpenHow::CreateOrExisting)?;
        copy_blocks(engine, &file, &new, size, &present)?;
        return Ok(Existing {
            rel: copy.rel,
            exists: false,
            right: false,
            present,
        });
    }
    match facts.kind {
        FileKind::Folder => {
            if rules.overwrite {
                return Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "a folder stands at this place",
                ));
            }
            copy_name(engine, root, rel, entry, date)
        }
        _ if rules.overwrite => {
            root.remove(rel)?;
            Ok(Existing::nothing(rel.to_vec()))
        }
        _ => copy_name(engine, root, rel, entry, date),
    }
}

fn present_blocks(
    engine: &Run,
    file: &File,
    have: u64,
    size: u64,
    blocks: &[Hash],
) -> io::Result<Vec<bool>> {
    let format = engine.format().map_err(io::Error::other)?;
    let mut buffer = vec![
        0_u8;
        usize::try_from(format.blocksize)
            .unwrap_or(usize::MAX)
            .min(1 << 31)
    ];
    let mut present = Vec::with_capacity(blocks.len());
    for (index, hash) in blocks.iter().enumerate() {
        let at = index as u64 * format.blocksize;
        let len = format.blocksize.min(size.saturating_sub(at));
        let enough = at + len <= have;
        let slice = buffer
            .get_mut(..usize::try_from(len).unwrap_or(0))
            .unwrap_or_default();
        present.push(
            enough
                && file.read_exact_at(slice, at).is_ok()
                && format.block_hash.digest(slice) == *hash,
        );
    }
    Ok(present)
}

fn copy_blocks(
    engine: &Run,
    from: &File,
    to: &File,
    size: u64,
    present: &[bool],
) -> io::Result<()> {
    let blocksize = engine.format().map_err(io::Error::other)?.blocksize;
    for (index, _) in present.iter().enumerate().filter(|(_, p)| **p) {
        let at = index as u64 * blocksize;
        let mut buffer =
            vec![0_u8; usize::try_from(blocksize.min(size.saturating_sub(at))).unwrap_or(0)];
        from.read_exact_at(&mut buffer, at)?;
        to.write_all_at(&buffer, at)?;
    }
    Ok(())
}

/// A free name beside an existing file, or a copy that is this file already.
fn copy_name(
    engine: &Run,
    root: &TargetRoot,
    rel: &[u8],
    entry: &FileEntry,
    date: &str,
) -> io::Result<Existing> {
    for attempt in 0..=MOST_COPIES {
        let name = name_of_copy(rel, date, attempt.checked_sub(1));
        let Some(facts) = root.stat(&name)? else {
            return Ok(Existing::nothing(name));
        };
        if facts.kind == FileKind::File && entry.size == facts.size {
            let file = root.open_file(&name, OpenHow::Existing)?;
            let algorithm = engine.format().map_err(io::Error::other)?.file_hash;
            if Some(rest_of_file(&file, algorithm.hasher(), 0)?) == entry.hash {
                return Ok(Existing {
                    rel: name,
                    exists: true,
                    right: true,
                    present: Vec::new(),
                });
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{MOST_COPIES} copies of this file stand here already"),
    ))
}

/// `<stem>.<date><.ext>`, then `<stem>.<date> (n)<.ext>`.
fn name_of_copy(rel: &[u8], date: &str, number: Option<u32>) -> Vec<u8> {
    let start = rel.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let (folder, name) = rel.split_at(start);
    let dot = name.iter().rposition(|b| *b == b'.').unwrap_or(name.len());
    let (stem, ending) = name.split_at(dot);
    let number = number.map(|n| format!(" ({n})")).unwrap_or_default();
    [
        folder,
        stem,
        b".",
        date.as_bytes(),
        number.as_bytes(),
        ending,
    ]
    .concat()
}

/// Opens the file at its original place, for `--restore-with-local-blocks`.
pub(crate) fn open_original(path: &[u8]) -> Option<File> {
    if path.first() != Some(&b'/') {
        return None;
    }
    larder_source::open_for_read(std::path::Path::new(std::ffi::OsStr::from_bytes(path))).ok()
}

/// The bytes at `at`, when they are the wanted block.
pub(crate) fn matching_block(
    engine: &Run,
    file: &mut File,
    at: u64,
    len: u64,
    hash: &Hash,
) -> Option<Vec<u8>> {
    let mut buffer = vec![0_u8; usize::try_from(len).ok()?];
    file.read_exact_at(&mut buffer, at).ok()?;
    (engine.format().ok()?.block_hash.digest(&buffer) == *hash).then_some(buffer)
}

/// Opens a file for single blocks found locally.
pub(crate) fn open_for_block(root: &TargetRoot, rel: &[u8], exists: bool) -> io::Result<File> {
    root.open_file(
        rel,
        if exists {
            OpenHow::Existing
        } else {
            OpenHow::CreateOrExisting
        },
    )
}

/// Where a link stands now.
pub(crate) struct Placed {
    pub(crate) rel: Vec<u8>,
    /// False when the same link stood there already.
    pub(crate) is_new: bool,
}

/// Creates a link, unless the same stands there already.
pub(crate) fn place_link(
    root: &TargetRoot,
    link: &Node,
    to: &[u8],
    overwrite: bool,
    date: &str,
) -> io::Result<Placed> {
    let placed = |rel: &[u8], is_new| {
        let rel = rel.to_vec();
        Ok(Placed { rel, is_new })
    };
    let Some(facts) = root.stat(&link.rel)? else {
        root.create_symlink(&link.rel, to, false)?;
        return placed(&link.rel, true);
    };
    if matches!(facts.kind, FileKind::Symlink { .. }) && root.read_symlink(&link.rel)? == to {
        return placed(&link.rel, false);
    }
    if overwrite {
        root.create_symlink(&link.rel, to, true)?;
        return placed(&link.rel, true);
    }
    for attempt in 0..=MOST_COPIES {
        let name = name_of_copy(&link.rel, date, attempt.checked_sub(1));
        match root.stat(&name)? {
            None => {
                root.create_symlink(&name, to, false)?;
                return placed(&name, true);
            }
            Some(found)
                if matches!(found.kind, FileKind::Symlink { .. })
                    && root.read_symlink(&name)? == to =>
            {
                return placed(&name, false);
            }
            Some(_) => {}
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{MOST_COPIES} copies of this link stand here already"),
    ))
}

/// What of a metadata blob is applied.
pub(crate) fn restore_facts<'m>(blob: &'m Metadata, rules: &Rules, kind: EntryKind) -> Restore<'m> {
    let is_link = kind == EntryKind::Symlink;
    let mut restore = Restore {
        mtime: blob.last_write_ticks.map(|ticks| {
            let (seconds, nanos) = unix_from_ticks(ticks);
            (seconds, nanos + blob.mtime_ns.unwrap_or(0).min(99))
        }),
        ..Restore::default()
    };
    if !is_link {
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
    restore.read_only = read_only && !rules.permissions && !is_link;
    restore
}

#[cfg(test)]
mod tests {
    use super::name_of_copy;

    #[test]
    fn copies_are_named_after_the_version() {
        let name = |rel: &str, n| {
            String::from_utf8(name_of_copy(rel.as_bytes(), "2026-01-02", n)).unwrap()
        };
        assert_eq!(name("a/b.txt", None), "a/b.2026-01-02.txt");
        assert_eq!(name("a/b.txt", Some(0)), "a/b.2026-01-02 (0).txt");
        assert_eq!(name("a.d/b", Some(1)), "a.d/b.2026-01-02 (1)");
        assert_eq!(name(".profile", None), ".2026-01-02.profile");
    }
}
