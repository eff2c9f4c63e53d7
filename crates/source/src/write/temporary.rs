//! Files under temporary names: written and checked beside their place, then moved over it in one step.
//!
//! The name is made from the final one, so that a run finds what an earlier run left unfinished. A temporary file is
//! locked while it is open. A restore closes some between their blocks, so they are removed only by one that is alone in the
//! target folder ([`TargetRoot::is_alone`]).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, fdatasync, flock, fstat, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use larder_files::rename_new;

use super::apply::inherit;
use super::folders::{check, explain, parent_and_name};
use super::{Step, TargetRoot, regular};

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
    /// Opens the temporary file of the place `rel`, or creates it with access for the owner only. It stays locked until
    /// it is closed.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if another run writes it, `NotFound` if the folder above is missing, or what the system reports.
    pub fn open_temporary(&self, rel: &[u8]) -> io::Result<Temporary> {
        self.watch(Step::Create, rel)?;
        let (folder, name) = self.parent(rel)?;
        let name = temporary_name(name);
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            match openat(&*folder, &name, create, Mode::RUSR | Mode::WUSR) {
                Ok(handle) => {
                    lock(&handle)?;
                    return Ok(Temporary {
                        file: File::from(handle),
                        left_over: None,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(explain(error, folder.as_fd(), &name, b"")),
            }
            if let Some(file) = take_over(&folder, &name)? {
                let len = file.metadata()?.len();
                return Ok(Temporary {
                    file,
                    left_over: Some(len),
                });
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }

    /// What an ended run left of the file at `rel`, for reading. `None` when there is nothing that
    /// [`TargetRoot::open_temporary`] would go on with: it removes what another user owns or what has another name too.
    ///
    /// # Errors
    ///
    /// The folder above cannot be reached, or what the system reports.
    pub fn unfinished(&self, rel: &[u8]) -> io::Result<Option<File>> {
        let (folder, name) = self.parent(rel)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
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
        match unlinkat(&*folder, temporary_name(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the temporary files and links that ended runs left in a folder; gives their number. The empty path is the
    /// target folder itself. Files that a run has open stay.
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
        for name in names {
            let stat = match statat(&*folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_left = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => take_over(&folder, &name).is_ok(),
                FileType::Symlink => true,
                _ => false,
            };
            if is_left {
                self.watch(Step::Remove, &name)?;
                match unlinkat(&*folder, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => removed += 1,
                    Err(error) => return Err(error.into()),
                }
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

/// Opens and locks a temporary file that stands there already. What is no plain file of this user with one name is
/// removed instead: `None`.
fn take_over(folder: &OwnedFd, name: &[u8]) -> io::Result<Option<File>> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            format!(
                "a folder has the temporary name {}",
                String::from_utf8_lossy(name)
            ),
        ));
    }
    let flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if is_own(&stat) {
        match openat(folder, name, flags, Mode::empty()) {
            Ok(handle) => {
                lock(&handle)?;
                let now = fstat(&handle)?;
                // It may have got its final name before it was locked.
                let still = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (now.st_dev, now.st_ino));
                return Ok(still.then(|| File::from(handle)));
            }
            Err(Errno::NOENT) => return Ok(None),
            // Its permissions were set before the run ended.
            Err(Errno::ACCESS) => {}
            Err(error) => return Err(explain(error, folder.as_fd(), name, b"")),
        }
    }
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// True for a plain file of this user that has no other name: nobody else can have prepared it.
fn is_own(stat: &rustix::fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_nlink == 1
        && regular(FileType::from_raw_mode(stat.st_mode)).is_ok()
}

/// Locks an open temporary file. File systems without locks cannot tell runs apart.
fn lock(handle: &OwnedFd) -> io::Result<()> {
    match flock(handle, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another restore is writing this file",
        )),
        _ => Ok(()),
    }
}

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
    use std::io::{Read, Write};
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
