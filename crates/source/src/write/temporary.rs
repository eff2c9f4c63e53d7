//! Files under temporary names: written and checked beside their place, then moved over it in one step.
//!
//! The name is made from the final one, so that a run finds what an earlier run left unfinished. A temporary file is
//! locked while it is open, and what is locked is never touched. A restore closes some between their blocks, so a run
//! takes over or removes what it did not make only when it is alone in the target folder ([`TargetRoot::is_alone`]).
//! Restores whose target folders lie in one another do not see that, but locks of open files only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, fdatasync, flock, fstat, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use larder_files::rename_new;

use super::apply::{change_mode, inherit};
use super::folders::{check, explain, parent_and_name};
use super::{LOOK, LOOKS, Step, TargetRoot, regular};

/// A file that was opened under its temporary name.
#[derive(Debug)]
pub struct Temporary {
    /// The file, open for reading and writing.
    pub file: File,
    /// Bytes that an unfinished run left in it; `None` when it was created now. They are not verified.
    pub left_over: Option<u64>,
}

/// What [`TargetRoot::finish_temporary`] does with what stands at the final name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Replace {
    /// Anything but a folder is replaced; owner, permissions and attributes of a file are carried over.
    Yes,
    /// Whatever stands there is kept and the call fails.
    No,
}

impl TargetRoot {
    /// Creates the temporary file of the place `rel` with access for the owner only, or takes over what an ended run left
    /// there. It stays locked until it is closed.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if another run writes it or may do so, because it has the same target folder; `PermissionDenied` if
    /// that cannot be told of a file of another user; `NotFound` if the folder above is missing, or what the system reports.
    pub fn open_temporary(&self, rel: &[u8]) -> io::Result<Temporary> {
        self.watch(Step::Create, rel)?;
        let (folder, name) = self.parent(rel)?;
        let name = temporary_name(name);
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            match openat(&*folder, &name, create, Mode::RUSR | Mode::WUSR) {
                Ok(handle) => {
                    lock(&handle, FlockOperation::NonBlockingLockExclusive)?;
                    return Ok(Temporary {
                        file: File::from(handle),
                        left_over: None,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(explain(error, folder.as_fd(), &name, b"")),
            }
            if !self.is_alone() {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another restore writes into the same folder, and this unfinished file may be its own; run the command again when it has ended",
                ));
            }
            match claim(&folder, &name)? {
                Claim::Gone => {}
                Claim::Left(file) => {
                    let len = file.metadata()?.len();
                    return Ok(Temporary {
                        file,
                        left_over: Some(len),
                    });
                }
                Claim::Strange(_locked) => {
                    self.watch(Step::Remove, rel)?;
                    unlink(&folder, &name)?;
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }

    /// Opens a temporary file again that this run opened before and closed.
    ///
    /// # Errors
    ///
    /// `NotFound` if it was removed or something else stands there, `ResourceBusy` if another run has it open, or what the
    /// system reports.
    pub fn reopen_temporary(&self, rel: &[u8]) -> io::Result<File> {
        self.watch(Step::Create, rel)?;
        let (folder, name) = self.parent(rel)?;
        let handle = openat(
            &*folder,
            temporary_name(name),
            OFlags::RDWR | CAREFULLY,
            Mode::empty(),
        )?;
        lock(&handle, FlockOperation::NonBlockingLockExclusive)?;
        match is_own(&fstat(&handle)?) {
            true => Ok(File::from(handle)),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// What an ended run left of the file at `rel`, for reading. `None` when there is nothing that
    /// [`TargetRoot::open_temporary`] would go on with: it removes what another user owns or what has another name too.
    ///
    /// # Errors
    ///
    /// The folder above cannot be reached, or what the system reports.
    pub fn unfinished(&self, rel: &[u8]) -> io::Result<Option<File>> {
        let (folder, name) = self.parent(rel)?;
        let flags = OFlags::RDONLY | CAREFULLY;
        let handle = match openat(&*folder, temporary_name(name), flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_usable = is_own(&fstat(&handle)?);
        Ok(is_usable.then(|| File::from(handle)))
    }

    /// Waits until the content of a temporary file is on the disk. What is renamed then cannot come back shorter after a
    /// power cut.
    ///
    /// # Errors
    ///
    /// What the system reports; the content may be lost then.
    pub fn sync_temporary(&self, file: &File, rel: &[u8]) -> io::Result<()> {
        self.watch(Step::Sync, rel)?;
        Ok(fdatasync(file)?)
    }

    /// Gives a temporary file its final name. When it replaces a file, its content is on the disk before that.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` with [`Replace::No`], `IsADirectory` for a folder; the temporary file is left then.
    pub fn finish_temporary(&self, file: &File, rel: &[u8], replace: Replace) -> io::Result<()> {
        let (folder, name) = self.parent(rel)?;
        let temporary = temporary_name(name);
        if replace == Replace::Yes {
            match statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => fdatasync(file)?,
            }
            self.watch(Step::Rename, rel)?;
            return match renameat(&*folder, &temporary, &*folder, name) {
                Err(Errno::ISDIR) => Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "a folder stands at this place",
                )),
                other => Ok(other?),
            };
        }
        self.watch(Step::Rename, rel)?;
        rename_new(&*folder, temporary.as_slice(), name)
    }

    /// Gives a temporary file the owner, permissions and attributes of the file that it will replace, as far as the
    /// system allows it. Without a file at `rel` nothing is done.
    ///
    /// # Errors
    ///
    /// What the system reports when it looks at the file at `rel`.
    pub fn inherit(&self, file: &File, rel: &[u8]) -> io::Result<()> {
        self.watch(Step::Facts, rel)?;
        let (folder, name) = self.parent(rel)?;
        inherit(folder.as_fd(), name, file)
    }

    /// Removes the temporary file of a place; it is no error when there is none.
    ///
    /// # Errors
    ///
    /// What the system reports.
    pub fn discard_temporary(&self, rel: &[u8]) -> io::Result<()> {
        self.watch(Step::Remove, rel)?;
        let (folder, name) = self.parent(rel)?;
        unlink(&folder, &temporary_name(name))
    }

    /// Removes the temporary files and links that ended runs left in a folder; gives their number. The empty path is the
    /// target folder itself. Files that a run has open stay, and all do while another restore has the same target folder.
    ///
    /// # Errors
    ///
    /// What the system reports when the folder is read.
    pub fn remove_leftovers(&self, rel: &[u8]) -> io::Result<u64> {
        let folder = if rel.is_empty() {
            self.folders.open(b"")?
        } else {
            self.folders.open(check(rel)?)?
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::new(openat(&*folder, c".", flags, Mode::empty())?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if is_temporary_name(name) {
                names.push(name.to_vec());
            }
        }
        let mut removed = 0;
        if names.is_empty() || !self.is_alone() {
            return Ok(removed);
        }
        for name in names {
            let stat = match statat(&*folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
                continue;
            }
            // What it holds is locked until the name is gone.
            if let Ok(_locked @ (Claim::Left(_) | Claim::Strange(_))) = claim(&folder, &name) {
                self.watch(Step::Remove, &name)?;
                unlink(&folder, &name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether a name is one under which a restore writes what is not finished.
pub fn is_temporary_name(name: &[u8]) -> bool {
    let tag = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(ENDING));
    tag.is_some_and(|tag| {
        tag.len() == 2 * TAG_BYTES
            && tag
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The temporary name for a final name, of one length for all.
///
/// It begins with a dot and ends unlike a volume, so that neither this program nor Duplicati takes it for one. The hash
/// is cryptographic: two names in one list could else be chosen to meet.
pub(super) fn temporary_name(name: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(name);
    let mut text = Vec::with_capacity(PREFIX.len() + 2 * TAG_BYTES + ENDING.len());
    text.extend_from_slice(PREFIX);
    for byte in digest.iter().take(TAG_BYTES) {
        for digit in [byte >> 4, byte & 15] {
            text.push(if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            });
        }
    }
    text.extend_from_slice(ENDING);
    text
}

/// What stands under a temporary name that this run did not make.
enum Claim {
    /// Nothing any more.
    Gone,
    /// A plain file of this user with one name, locked for this run.
    Left(File),
    /// Something that nobody writes and that must not be written into. A plain file is locked.
    Strange(Option<OwnedFd>),
}

/// Looks at what stands under a temporary name, and locks it so that no run can begin to write it.
///
/// # Errors
///
/// `ResourceBusy` if a run has it open, `PermissionDenied` if that cannot be told, `IsADirectory` for a folder.
fn claim(folder: &OwnedFd, name: &[u8]) -> io::Result<Claim> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Claim::Gone),
        other => other?,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => {
            let name = String::from_utf8_lossy(name);
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                format!("a folder has the temporary name {name}"),
            ));
        }
        // No restore writes to such, and opening it can have effects.
        _ => return Ok(Claim::Strange(None)),
    }
    let is_own_file = is_own(&stat);
    let access = match is_own_file {
        true => OFlags::RDWR,
        false => OFlags::RDONLY,
    };
    let (handle, is_writable) = match openat(folder, name, access | CAREFULLY, Mode::empty()) {
        Ok(handle) => (handle, is_own_file),
        Err(Errno::NOENT) => return Ok(Claim::Gone),
        Err(Errno::ACCESS) => match open_closed(folder, name, &stat)? {
            Some(handle) => (handle, false),
            None => return Ok(Claim::Gone),
        },
        Err(error) => return Err(explain(error, folder.as_fd(), name, b"")),
    };
    // Some file systems give the exclusive lock only to those who may write.
    let how = match is_writable {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    lock(&handle, how)?;
    let now = fstat(&handle)?;
    // It may have got its final name before it was locked.
    let still = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (now.st_dev, now.st_ino));
    Ok(match still {
        false => Claim::Gone,
        true if is_writable && is_own(&now) => Claim::Left(File::from(handle)),
        true => Claim::Strange(Some(handle)),
    })
}

/// Opens a file that may not be written, to see whether it is locked: a restore sets the permissions just before it gives
/// the final name. `None` when it is gone.
fn open_closed(
    folder: &OwnedFd,
    name: &[u8],
    stat: &rustix::fs::Stat,
) -> io::Result<Option<OwnedFd>> {
    let open = || openat(folder, name, OFlags::RDONLY | CAREFULLY, Mode::empty());
    let opened = match open() {
        Err(Errno::ACCESS) if stat.st_uid == rustix::process::geteuid().as_raw() => {
            let mode = Mode::from_raw_mode(stat.st_mode);
            match change_mode(folder.as_fd(), name, mode | Mode::RUSR) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            }
            open().inspect(|handle| {
                // Whoever still writes it gets the permissions back that it gave.
                let _ = fchmod(handle, mode);
            })
        }
        other => other,
    };
    match opened {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "a file of another user has the temporary name {}, and whether it is in use cannot be told; remove it when no restore runs",
                String::from_utf8_lossy(name)
            ),
        )),
        Err(error) => Err(explain(error, folder.as_fd(), name, b"")),
    }
}

/// Removes a name; it is no error when it is gone already.
fn unlink(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// True for a plain file of this user that has no other name: nobody else can have prepared it.
fn is_own(stat: &rustix::fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_nlink == 1
        && regular(FileType::from_raw_mode(stat.st_mode)).is_ok()
}

/// Locks an open temporary file. File systems without locks cannot tell runs apart. One that was closed just now may be
/// locked for another moment: a program that another thread starts holds a copy of its handle until it runs.
fn lock(handle: &OwnedFd, how: FlockOperation) -> io::Result<()> {
    for _ in 0..LOOKS {
        match flock(handle, how) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOOK),
            _ => return Ok(()),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another restore is writing this file",
    ))
}

/// How an entry is opened that somebody else may have put there.
const CAREFULLY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The name of the folder and the place of a temporary file, for messages.
impl TargetRoot {
    /// The path of the temporary file of a place, relative to the target folder.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that does not lie below the target folder.
    pub fn temporary_path(&self, rel: &[u8]) -> io::Result<Vec<u8>> {
        let (parent, name) = parent_and_name(check(rel)?);
        let mut path = parent.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&temporary_name(name));
        Ok(path)
    }
}

const PREFIX: &[u8] = b".larder-";
const ENDING: &[u8] = b".unfinished";
/// 128 bits: nobody finds two names that meet.
const TAG_BYTES: usize = 16;
/// A name that appears and vanishes between two calls is tried again so often.
const ATTEMPTS: u32 = 8;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::{Read, Write};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn target() -> io::Result<(tempfile::TempDir, TargetRoot)> {
        let temp = tempfile::tempdir()?;
        let target = TargetRoot::open(temp.path())?;
        Ok((temp, target))
    }

    fn names(temp: &tempfile::TempDir) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(temp.path())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    #[test]
    fn names_are_short_recognised_and_no_volume() {
        for name in [b"a".as_slice(), &[b'n'; 255], b"\xff\n", b"duplicati-b1"] {
            let temporary = temporary_name(name);
            assert_eq!(temporary.len(), 51);
            assert!(is_temporary_name(&temporary));
            assert!(!temporary.starts_with(b"duplicati"));
        }
        assert_ne!(temporary_name(b"a"), temporary_name(b"b"));
        for other in [
            ".larder-".to_owned(),
            ".larder-x.unfinished".to_owned(),
            format!(".larder-{}.unfinished", "A".repeat(32)),
            format!(".larder-{}", "0".repeat(32)),
            format!("larder-{}.unfinished", "0".repeat(32)),
        ] {
            assert!(!is_temporary_name(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_finished() -> io::Result<()> {
        let (temp, target) = target()?;
        let place = temp.path().join("f");
        std::fs::write(&place, "old")?;
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o640))?;
        std::fs::hard_link(&place, temp.path().join("other name"))?;
        let mut new = target.open_temporary(b"f")?;
        assert_eq!(new.left_over, None);
        new.file.write_all(b"new content")?;
        let error = target
            .finish_temporary(&new.file, b"f", Replace::No)
            .expect_err("it exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&place)?, b"old");
        target.inherit(&new.file, b"f")?;
        target.finish_temporary(&new.file, b"f", Replace::Yes)?;
        assert_eq!(std::fs::read(&place)?, b"new content");
        assert_eq!(std::fs::metadata(&place)?.mode() & 0o777, 0o640);
        assert_eq!(std::fs::read(temp.path().join("other name"))?, b"old");
        assert_eq!(names(&temp)?, ["f", "other name"]);
        Ok(())
    }

    #[test]
    fn a_folder_is_not_replaced() -> io::Result<()> {
        let (temp, target) = target()?;
        target.create_folder(b"d")?;
        let new = target.open_temporary(b"d")?;
        for replace in [Replace::Yes, Replace::No] {
            assert!(target.finish_temporary(&new.file, b"d", replace).is_err());
        }
        target.discard_temporary(b"d")?;
        target.discard_temporary(b"d")?;
        assert_eq!(names(&temp)?, ["d"]);
        Ok(())
    }

    #[test]
    fn what_a_killed_run_left_is_found_again_or_removed() -> io::Result<()> {
        let (temp, target) = target()?;
        target.open_temporary(b"f")?.file.write_all(b"half")?;
        let mut again = target.open_temporary(b"f")?;
        assert_eq!(again.left_over, Some(4));
        let mut text = String::new();
        again.file.read_to_string(&mut text)?;
        assert_eq!(text, "half");
        let busy = target.open_temporary(b"f").expect_err("it is open");
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(target.remove_leftovers(b"")?, 0, "it is in use");
        drop(again);
        std::fs::write(temp.path().join(".larder-notes"), "mine")?;
        assert_eq!(target.remove_leftovers(b"")?, 1);
        assert_eq!(names(&temp)?, [".larder-notes"]);
        Ok(())
    }

    /// A file with a second name, or of another user, was removed without a look at its lock: while its run wrote it.
    #[test]
    fn what_a_run_has_open_is_neither_taken_over_nor_removed() -> io::Result<()> {
        for is_foreign in [false, true] {
            let (temp, target) = target()?;
            let path = temp.path().join(OsStr::from_bytes(&temporary_name(b"f")));
            let writing = target.open_temporary(b"f")?;
            if is_foreign {
                let given = std::os::unix::fs::chown(&path, Some(12_345), None);
                if given.is_err() {
                    continue;
                }
            } else {
                std::fs::hard_link(&path, temp.path().join("second name"))?;
            }
            let inode = writing.file.metadata()?.ino();
            let busy = target.open_temporary(b"f").expect_err("it is open");
            assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
            assert_eq!(target.remove_leftovers(b"")?, 0);
            assert_eq!(std::fs::metadata(&path)?.ino(), inode);
            drop(writing);
            assert_eq!(target.open_temporary(b"f")?.left_over, None);
        }
        Ok(())
    }

    /// A restore closes files between their blocks, and another one emptied them then.
    #[test]
    fn what_another_run_closed_for_a_moment_is_its_own() -> io::Result<()> {
        let (temp, first) = target()?;
        first.open_temporary(b"f")?.file.write_all(b"half")?;
        let second = TargetRoot::open(temp.path())?;
        let busy = second.open_temporary(b"f").expect_err("it is in use");
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(second.remove_leftovers(b"")?, 0);
        let mut text = String::new();
        let mut again = first.reopen_temporary(b"f")?;
        again.read_to_string(&mut text)?;
        assert_eq!(text, "half");
        drop((again, first));
        assert_eq!(second.open_temporary(b"f")?.left_over, Some(4));
        second.discard_temporary(b"f")?;
        let gone = second.reopen_temporary(b"f").expect_err("it was removed");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        Ok(())
    }

    /// Whoever prepares a link under the temporary name must not get anything written through it.
    #[test]
    fn links_under_the_temporary_name_are_not_written() -> io::Result<()> {
        let (temp, target) = target()?;
        let outside = tempfile::tempdir()?;
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "untouched")?;
        let name = String::from_utf8_lossy(&temporary_name(b"f")).into_owned();
        std::os::unix::fs::symlink(&victim, temp.path().join(&name))?;
        target.open_temporary(b"f")?.file.write_all(b"x")?;
        target.discard_temporary(b"f")?;
        std::fs::hard_link(&victim, temp.path().join(&name))?;
        target.open_temporary(b"f")?.file.write_all(b"x")?;
        assert_eq!(std::fs::read(&victim)?, b"untouched");
        Ok(())
    }

    #[test]
    fn names_of_full_length_can_be_written() -> io::Result<()> {
        let (temp, target) = target()?;
        let name = [b'n'; 255];
        let new = target.open_temporary(&name)?;
        target.finish_temporary(&new.file, &name, Replace::No)?;
        assert_eq!(names(&temp)?, ["n".repeat(255)]);
        Ok(())
    }
}
