//! Setting owner, permissions, extended attributes and times of what was restored.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::PoisonError;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, lsetxattr, openat,
    statat, utimensat,
};
use rustix::io::Errno;

use crate::deep::handle_alias;
use crate::facts::{Facts, FileKind};
use crate::write::folders::{check, explain};
use crate::write::{Step, TargetRoot};

/// What to set on a restored entry. Everything that is absent is left as it is.
#[derive(Clone, Debug, Default)]
pub struct Restore<'a> {
    /// Time of the last change: seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Permission bits, with setuid, setgid and sticky. Not used for links.
    pub mode: Option<u32>,
    /// Numbers of owner and group, used where a name is absent or not known here.
    pub owner: Option<(u32, u32)>,
    /// Name of the owner; goes before the number.
    pub owner_name: Option<&'a [u8]>,
    /// Name of the group; goes before the number.
    pub group_name: Option<&'a [u8]>,
    /// Extended attributes to set, in this order; others are left alone.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Whether attributes outside `user.*` are left out: capabilities, access lists and labels are privileges.
    pub user_xattrs_only: bool,
    /// Whether to take away the write permission of a file when `mode` does not say otherwise.
    pub read_only: bool,
}

/// What could not be set, each with the name of the thing.
type Failures = Vec<(String, io::Error)>;

impl TargetRoot {
    /// Sets the facts of an entry: owner, permissions, extended attributes, times, in this order.
    /// A link gets all but permissions, and is not followed. Setuid and setgid are left away when
    /// the owner could not be set.
    ///
    /// Returns what could not be set, named "owner", "permissions", "extended attribute …", "time",
    /// or "entry" if it cannot be reached at all.
    pub fn apply(&self, rel: &[u8], restore: &Restore<'_>) -> Failures {
        let mut failures = Failures::new();
        let applied = self
            .watch(Step::Facts, rel)
            .and_then(|()| self.apply_at(rel, restore, &mut failures));
        if let Err(error) = applied {
            failures.push(("entry".to_owned(), error));
        }
        failures
    }

    /// Like [`TargetRoot::apply`] for an open file, without looking up its path. The time must be
    /// set after the last write.
    pub fn apply_file(&self, file: &File, restore: &Restore<'_>) -> Failures {
        let mut failures = Failures::new();
        match fstat(file) {
            Ok(stat) => {
                let entry = Entry {
                    facts: Facts::from_stat(&stat, false),
                    way: Way::Handle(file.as_fd()),
                };
                self.apply_to(&entry, restore, &mut failures);
            }
            Err(error) => failures.push(("entry".to_owned(), error.into())),
        }
        failures
    }

    fn apply_at(
        &self,
        rel: &[u8],
        restore: &Restore<'_>,
        failures: &mut Failures,
    ) -> io::Result<()> {
        let (folder, name) = self.parent(rel)?;
        let follows = self.folders.follows(check(rel)?);
        let look = if follows {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let facts = Facts::from_stat(&statat(&*folder, name, look)?, false);
        let by_name = Way::Name {
            folder: folder.as_fd(),
            name,
        };
        let kind_flag = match facts.kind {
            FileKind::File => OFlags::empty(),
            FileKind::Folder => OFlags::DIRECTORY,
            FileKind::Symlink { .. } => {
                self.apply_to(
                    &Entry {
                        facts,
                        way: by_name,
                    },
                    restore,
                    failures,
                );
                return Ok(());
            }
            FileKind::Special(what) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("a {what} stands there"),
                ));
            }
        };
        let link_flag = if follows {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let flags = OFlags::RDONLY
            | link_flag
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC
            | kind_flag;
        match openat(&*folder, name, flags, Mode::empty()) {
            Ok(handle) => {
                // What was opened decides, should it have been replaced after the look.
                let facts = Facts::from_stat(&fstat(&handle)?, false);
                self.apply_to(
                    &Entry {
                        facts,
                        way: Way::Handle(handle.as_fd()),
                    },
                    restore,
                    failures,
                );
            }
            // Unreadable for its owner: by name, which needs no permission on the entry itself.
            Err(Errno::ACCESS) => self.apply_to(
                &Entry {
                    facts,
                    way: by_name,
                },
                restore,
                failures,
            ),
            Err(error) => return Err(explain(error, folder.as_fd(), name, b"")),
        }
        Ok(())
    }

    fn apply_to(&self, entry: &Entry<'_>, restore: &Restore<'_>, failures: &mut Failures) {
        let owner_missed = self.apply_owner(entry, restore, failures);
        let is_link = matches!(entry.facts.kind, FileKind::Symlink { .. });
        let mut mode = entry.facts.mode;
        if !is_link {
            let wanted = match restore.mode {
                Some(wanted) if owner_missed => Some(wanted & 0o1777),
                Some(wanted) => Some(wanted & 0o7777),
                None if restore.read_only && entry.facts.kind == FileKind::File => {
                    Some(mode & !0o222)
                }
                None => None,
            };
            if let Some(wanted) = wanted {
                match entry.way.set_mode(Mode::from_raw_mode(wanted)) {
                    Ok(()) => mode = wanted,
                    Err(error) => failures.push(("permissions".to_owned(), error)),
                }
            }
        }
        let kept = |name: &[u8]| !restore.user_xattrs_only || name.starts_with(b"user.");
        for (name, value) in restore.xattrs.iter().filter(|(name, _)| kept(name)) {
            if let Err(error) = self.apply_xattr(entry, mode, name, value) {
                failures.push((
                    format!("extended attribute {}", String::from_utf8_lossy(name)),
                    error,
                ));
            }
        }
        if let Some((seconds, nanos)) = restore.mtime
            && let Err(error) = entry.way.set_mtime(seconds, nanos)
        {
            failures.push(("time".to_owned(), error));
        }
    }

    /// Sets owner and group where they differ; tells whether one could not be set.
    fn apply_owner(
        &self,
        entry: &Entry<'_>,
        restore: &Restore<'_>,
        failures: &mut Failures,
    ) -> bool {
        let (by_user, by_group) = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            (
                restore.owner_name.and_then(|name| owners.user_id(name)),
                restore.group_name.and_then(|name| owners.group_id(name)),
            )
        };
        let user = by_user
            .or(restore.owner.map(|ids| ids.0))
            .filter(|id| *id != entry.facts.uid);
        let group = by_group
            .or(restore.owner.map(|ids| ids.1))
            .filter(|id| *id != entry.facts.gid);
        if user.is_none() && group.is_none() {
            return false;
        }
        match entry.way.set_owner(user, group) {
            Ok(()) => false,
            Err(error) => {
                // A group one belongs to may be set without the right to give files away.
                if user.is_some() && group.is_some() {
                    let _ = entry.way.set_owner(None, group);
                }
                failures.push(("owner".to_owned(), error));
                true
            }
        }
    }

    /// Sets an extended attribute. Where the permissions just set forbid that to the owner, they
    /// are lifted for the moment.
    fn apply_xattr(
        &self,
        entry: &Entry<'_>,
        mode: u32,
        name: &[u8],
        value: &[u8],
    ) -> io::Result<()> {
        let is_link = matches!(entry.facts.kind, FileKind::Symlink { .. });
        match entry.way.set_xattr(name, value) {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !is_link
                    && mode & 0o200 == 0 =>
            {
                if entry
                    .way
                    .set_mode(Mode::from_raw_mode(mode | 0o200))
                    .is_err()
                {
                    return Err(error);
                }
                let result = entry.way.set_xattr(name, value);
                entry.way.set_mode(Mode::from_raw_mode(mode))?;
                result
            }
            other => other,
        }
    }
}

/// An entry that is being changed: the facts before the change, and how to get at it.
struct Entry<'a> {
    facts: Facts,
    way: Way<'a>,
}

/// How to get at an entry without following a link.
enum Way<'a> {
    Handle(BorrowedFd<'a>),
    Name {
        folder: BorrowedFd<'a>,
        name: &'a [u8],
    },
}

impl Way<'_> {
    fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(match self {
            Way::Handle(handle) => fchown(handle, user, group),
            Way::Name { folder, name } => {
                chownat(folder, *name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }

    fn set_mode(&self, mode: Mode) -> io::Result<()> {
        match self {
            Way::Handle(handle) => Ok(fchmod(handle, mode)?),
            Way::Name { folder, name } => change_mode(*folder, name, mode),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(match self {
            Way::Handle(handle) => fsetxattr(handle, name, value, XattrFlags::empty()),
            Way::Name {
                folder,
                name: entry,
            } => lsetxattr(
                handle_alias(folder.as_raw_fd(), entry),
                name,
                value,
                XattrFlags::empty(),
            ),
        }?)
    }

    fn set_mtime(&self, seconds: i64, nanos: u32) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: seconds,
                tv_nsec: nanos.min(999_999_999).into(),
            },
        };
        Ok(match self {
            Way::Handle(handle) => futimens(handle, &times),
            Way::Name { folder, name } => {
                utimensat(folder, *name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }?)
    }
}

/// Changes the permissions of an entry that is no link. The system call for that is young
/// (Linux 6.6); before, the entry is pinned by a handle and changed through it.
pub(super) fn change_mode(folder: BorrowedFd<'_>, name: &[u8], mode: Mode) -> io::Result<()> {
    match chmodat(folder, name, mode, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOSYS | Errno::NOTSUP | Errno::INVAL | Errno::PERM) => {}
        other => return Ok(other?),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned: OwnedFd = openat(folder, name, flags, Mode::empty())?;
    let stat = fstat(&pinned)?;
    if matches!(
        Facts::from_stat(&stat, false).kind,
        FileKind::Symlink { .. }
    ) {
        return Err(io::Error::from(Errno::NOTSUP));
    }
    let alias: PathBuf = handle_alias(pinned.as_raw_fd(), b"");
    Ok(chmodat(rustix::fs::CWD, alias, mode, AtFlags::empty())?)
}

/// Gives a new file the owner, permissions and attributes of one that it will replace, as far as the system allows it.
/// What is not a file there has nothing to give.
pub(super) fn inherit(folder: BorrowedFd<'_>, name: &[u8], file: &File) -> io::Result<()> {
    let old = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => Facts::from_stat(&other?, false),
    };
    if old.kind != FileKind::File {
        return Ok(());
    }
    let now = Facts::of_file(file)?;
    let differs = (old.uid, old.gid) != (now.uid, now.gid);
    let owner = (Uid::from_raw(old.uid), Gid::from_raw(old.gid));
    let owned = !differs || fchown(file, Some(owner.0), Some(owner.1)).is_ok();
    // Access lists first: they change the permission bits of the group.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(source) = openat(folder, name, flags, Mode::empty()) {
        copy_attributes(&source, file);
    }
    let mode = old.mode & if owned { 0o7777 } else { 0o0777 };
    let _ = fchmod(file, Mode::from_raw_mode(mode));
    Ok(())
}

fn copy_attributes(from: &OwnedFd, to: &File) {
    let mut names = vec![0; 1 << 16];
    let Ok(len) = flistxattr(from, &mut names) else {
        return;
    };
    let mut value = vec![0; 1 << 16];
    for name in names.get(..len).unwrap_or_default().split(|b| *b == 0) {
        if name.starts_with(b"user.") || name == b"system.posix_acl_access" {
            let Ok(len) = fgetxattr(from, name, &mut value) else {
                continue;
            };
            let value = value.get(..len).unwrap_or_default();
            let _ = fsetxattr(to, name, value, XattrFlags::empty());
        }
    }
}
