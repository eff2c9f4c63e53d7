//! Restoring into real folders, and the attempts to lead it astray.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::facts::FileKind;

type Outcome = io::Result<()>;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn target() -> io::Result<(tempfile::TempDir, TargetRoot)> {
    let temp = tempfile::tempdir()?;
    let target = TargetRoot::open(&temp.path().join("deep/target"))?;
    Ok((temp, target))
}

#[test]
fn files_and_folders_are_created_for_the_owner_only() -> Outcome {
    let (_temp, target) = target()?;
    target.create_folder(b"a/b/c/")?;
    target.create_folder(b"a/b/c")?;
    let mut file = target.open_file(b"a/b/c/f", OpenHow::CreateNew)?;
    file.write_all(b"content")?;
    let facts = target.stat(b"a/b/c/f")?.expect("the file");
    assert_eq!(
        (facts.kind, facts.size, facts.mode & 0o7077),
        (FileKind::File, 7, 0)
    );
    let folder = target.stat(b"a/b/")?.expect("the folder");
    assert_eq!((folder.kind, folder.mode & 0o7077), (FileKind::Folder, 0));
    assert_eq!(target.stat(b"a/x")?, None);
    assert_eq!(target.stat(b"x/y/z")?, None);

    let kind = |how| {
        target
            .open_file(b"a/b/c/f", how)
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    assert_eq!(kind(OpenHow::CreateNew), Err(ErrorKind::AlreadyExists));
    assert_eq!(kind(OpenHow::Existing), Ok(()));
    assert_eq!(kind(OpenHow::CreateOrExisting), Ok(()));
    let mut text = String::new();
    target
        .open_file(b"a/b/c/f", OpenHow::ReadOnly)?
        .read_to_string(&mut text)?;
    assert_eq!(text, "content");
    let missing = target
        .open_file(b"a/q", OpenHow::Existing)
        .expect_err("no such file");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let missing = target
        .open_file(b"q/f", OpenHow::CreateNew)
        .expect_err("no such folder");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let blocked = target
        .create_folder(b"a/b/c/f")
        .expect_err("a file stands there");
    assert_eq!(blocked.kind(), ErrorKind::AlreadyExists);
    let blocked = target
        .create_folder(b"a/b/c/f/g")
        .expect_err("a file stands there");
    assert_eq!(blocked.kind(), ErrorKind::NotADirectory);
    Ok(())
}

#[test]
fn nothing_is_written_through_a_link() -> Outcome {
    let (temp, target) = target()?;
    let outside = temp.path().join("outside");
    fs::create_dir(&outside)?;
    fs::write(outside.join("f"), b"untouched")?;
    fs::set_permissions(outside.join("f"), fs::Permissions::from_mode(0o640))?;
    let inside = target.path().to_owned();
    fs::create_dir(inside.join("real"))?;
    symlink(&outside, inside.join("real/link"))?;
    symlink(outside.join("f"), inside.join("file"))?;
    symlink("real", inside.join("alias"))?;

    for (rel, named) in [
        ("real/link/f", "\"real/link\" is a symbolic link"),
        ("real/link/new/f", "\"real/link\" is a symbolic link"),
        ("alias/f", "\"alias\" is a symbolic link"),
    ] {
        let rel = rel.as_bytes();
        let told = |error: io::Error| assert!(error.to_string().contains(named), "{error}");
        told(
            target
                .open_file(rel, OpenHow::CreateOrExisting)
                .expect_err("a link"),
        );
        told(target.create_folder(rel).expect_err("a link"));
        told(target.create_symlink(rel, b"x", true).expect_err("a link"));
        told(target.remove(rel).expect_err("a link"));
        told(target.stat(rel).expect_err("a link"));
        let failures = target.apply(
            rel,
            &Restore {
                mode: Some(0o777),
                ..Restore::default()
            },
        );
        assert!(
            matches!(failures.as_slice(), [(what, _)] if what == "entry"),
            "{failures:?}"
        );
    }
    let blocked = target.create_folder(b"alias").expect_err("a link");
    assert!(blocked.to_string().contains("is a symbolic link"));
    for how in [
        OpenHow::CreateNew,
        OpenHow::Existing,
        OpenHow::CreateOrExisting,
        OpenHow::ReadOnly,
    ] {
        assert!(target.open_file(b"file", how).is_err(), "{how:?}");
    }
    // Facts of a link are those of the link.
    let restore = Restore {
        mtime: Some((1_000, 5)),
        mode: Some(0o777),
        ..Restore::default()
    };
    assert!(target.apply(b"file", &restore).is_empty());
    assert_eq!(fs::symlink_metadata(inside.join("file"))?.mtime(), 1_000);
    let f = fs::metadata(outside.join("f"))?;
    assert_eq!((f.mode() & 0o7777, f.size()), (0o640, 9));
    assert_ne!(f.mtime(), 1_000);
    assert_eq!(fs::read_dir(&outside)?.count(), 1);
    Ok(())
}

/// Sources may lie behind links of the user; within them nothing is written through one.
#[test]
fn links_up_to_a_base_are_followed_and_none_below() -> Outcome {
    let temp = tempfile::tempdir()?;
    let inside = temp.path();
    fs::create_dir_all(inside.join("disk/data/kept"))?;
    fs::create_dir_all(inside.join("etc.d"))?;
    symlink("disk", inside.join("mnt"))?;
    symlink("mnt/data", inside.join("src"))?;
    symlink("kept", inside.join("disk/data/link"))?;
    let bases = ["mnt/data/", "etc", "src"].map(|base| base.as_bytes().to_vec());
    let target = TargetRoot::open(inside)?.with_bases(bases)?;
    assert!(
        target.create_folder(b"mnt")?.is_empty(),
        "the way to a base"
    );
    assert!(target.create_folder(b"src/")?.is_empty(), "a base");
    assert_eq!(target.create_folder(b"mnt/data/new")?, [b"mnt/data/new"]);
    assert_eq!(
        target.create_folder(b"etc/x")?,
        [b"etc".to_vec(), b"etc/x".to_vec()]
    );
    target.open_file(b"mnt/data/new/f", OpenHow::CreateNew)?;
    target.open_file(b"src/kept/f", OpenHow::CreateNew)?;
    assert!(inside.join("disk/data/new/f").exists());
    assert!(inside.join("disk/data/kept/f").exists());
    for below in ["mnt/data/link/f", "src/link/f"] {
        let error = target
            .open_file(below.as_bytes(), OpenHow::CreateNew)
            .expect_err("a link within a source");
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
        assert!(target.create_folder(b"src/link").is_err());
    }
    // The facts of a base are those of the folder, not of the link to it.
    let restore = Restore {
        mtime: Some((77, 0)),
        mode: Some(0o750),
        ..Restore::default()
    };
    assert!(target.apply(b"src/", &restore).is_empty());
    let data = fs::metadata(inside.join("disk/data"))?;
    assert_eq!((data.mtime(), data.mode() & 0o777), (77, 0o750));
    assert_ne!(fs::symlink_metadata(inside.join("src"))?.mtime(), 77);
    // Other links are none of the user's words.
    symlink("disk", inside.join("mnt2"))?;
    assert!(target.create_folder(b"mnt2/data").is_err());
    assert!(
        TargetRoot::open(inside)?
            .with_bases([b"../x".to_vec()])
            .is_err()
    );
    Ok(())
}

#[test]
fn what_stands_in_the_way_is_named() -> Outcome {
    let (_temp, target) = target()?;
    target.create_folder(b"a")?;
    target.open_file(b"a/file", OpenHow::CreateNew)?;
    for rel in [b"a/file/x".as_slice(), b"a/file/x/y", b"a/file/x/y/z"] {
        let errors = [
            target.open_temporary(rel).expect_err("a file"),
            target.create_folder(rel).expect_err("a file"),
        ];
        for error in errors {
            assert_eq!(
                error.to_string(),
                "\"a/file\" exists and is no folder; move it away or restore to another folder"
            );
        }
    }
    Ok(())
}

#[test]
fn depth_is_bounded() -> Outcome {
    let (temp, target) = target()?;
    let deep = vec![b"d".as_slice(); 500_000].join(&b'/');
    let error = target.create_folder(&deep).expect_err("too deep");
    assert!(error.to_string().contains("500000 names"), "{error}");
    assert_eq!(fs::read_dir(temp.path().join("deep/target"))?.count(), 0);
    target.create_folder(&vec![b"d".as_slice(); 2_000].join(&b'/'))?;
    Ok(())
}

/// A watcher sees each step before it is taken, and can stop it.
#[test]
fn steps_can_be_refused() -> Outcome {
    #[derive(Default)]
    struct Deny(std::sync::Mutex<Vec<Step>>);
    impl Watch for Deny {
        fn before(&self, step: Step, _: &[u8]) -> io::Result<()> {
            self.0.lock().expect("no panic").push(step);
            Err(io::Error::from(ErrorKind::StorageFull))
        }
    }
    let temp = tempfile::tempdir()?;
    let deny = std::sync::Arc::new(Deny::default());
    let free = TargetRoot::open(temp.path())?;
    let file = free.open_temporary(b"f")?.file;
    let target = TargetRoot::open(temp.path())?.with_watch(Some(deny.clone()));
    assert!(target.create_folder(b"d").is_err());
    assert!(target.open_temporary(b"g").is_err());
    assert!(target.finish_temporary(&file, b"f", Replace::No).is_err());
    assert!(target.create_symlink(b"l", b"x", false).is_err());
    assert!(target.remove(b"f").is_err());
    // What a run leaves when it dies is not tidied up by it.
    assert!(target.discard_temporary(b"f").is_err());
    assert!(target.inherit(&file, b"f").is_err());
    // Leftovers are those of a folder without another run.
    drop((file, free));
    assert!(target.remove_leftovers(b"").is_err());
    assert_eq!(target.apply(b"f", &Restore::default()).len(), 1);
    let seen = deny.0.lock().expect("no panic").clone();
    use Step::{Create, Facts, Folder, Link, Remove, Rename};
    assert_eq!(
        seen,
        [
            Folder, Create, Rename, Link, Remove, Remove, Facts, Remove, Facts
        ]
    );
    assert_eq!(fs::read_dir(temp.path())?.count(), 1);
    Ok(())
}

/// A folder that was open and is replaced by a link is found out by the next access to it.
#[test]
fn what_was_replaced_by_this_program_is_not_remembered() -> Outcome {
    let (_temp, target) = target()?;
    target.create_folder(b"a/b")?;
    target.open_file(b"a/b/f", OpenHow::CreateNew)?;
    target.remove(b"a/b/f")?;
    target.remove(b"a/b")?;
    target.create_symlink(b"a/b", b"/", false)?;
    assert!(target.open_file(b"a/b/f", OpenHow::CreateNew).is_err());
    target.remove(b"a/b")?;
    target.create_folder(b"a/b")?;
    target.open_file(b"a/b/f", OpenHow::CreateNew)?;
    let error = target.remove(b"a").expect_err("it has content");
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
    Ok(())
}

#[test]
fn links_replace_files_links_and_empty_folders() -> Outcome {
    let (_temp, target) = target()?;
    target.create_symlink(b"l", b"first", false)?;
    let error = target
        .create_symlink(b"l", b"second", false)
        .expect_err("it exists");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    target.create_symlink(b"l/", b"/abs/\xff", true)?;
    assert_eq!(target.read_symlink(b"l")?, b"/abs/\xff");
    target.open_file(b"f", OpenHow::CreateNew)?;
    target.create_symlink(b"f", b"x", true)?;
    target.create_folder(b"empty")?;
    target.create_symlink(b"empty", b".", true)?;
    let facts = target.stat(b"empty")?.expect("the link");
    assert_eq!(
        facts.kind,
        FileKind::Symlink {
            target_is_folder: true
        }
    );
    target.create_folder(b"full/x")?;
    let error = target
        .create_symlink(b"full", b"x", true)
        .expect_err("it has content");
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
    let names = fs::read_dir(target.path())?.count();
    assert_eq!(names, 4, "nothing temporary is left");
    Ok(())
}

#[test]
fn facts_are_applied_to_files_folders_and_handles() -> Outcome {
    // The folder of the build is on a real disk; the one for temporary files may have no attributes.
    let temp = match option_env!("CARGO_TARGET_TMPDIR") {
        Some(base) => tempfile::tempdir_in(base)?,
        None => tempfile::tempdir()?,
    };
    let target = TargetRoot::open(temp.path())?;
    target.create_folder(b"d")?;
    let file = target.open_file(b"d/f", OpenHow::CreateNew)?;
    let xattrs = [(b"user.larder".to_vec(), b"v\0\xff".to_vec())];
    let supported =
        rustix::fs::setxattr(temp.path(), "user.t", b"", rustix::fs::XattrFlags::empty()).is_ok();
    let restore = Restore {
        mtime: Some((-5, 123_456_789)),
        mode: Some(0o440),
        xattrs: if supported { &xattrs } else { &[] },
        ..Restore::default()
    };
    for failures in [
        target.apply_file(&file, &restore),
        target.apply(b"d/f", &restore),
        target.apply(b"d/", &restore),
    ] {
        assert!(failures.is_empty(), "{failures:?}");
    }
    for name in ["d/f", "d"] {
        let path = temp.path().join(name);
        let facts = fs::metadata(if name == "d/f" && !is_root() {
            temp.path().join("d")
        } else {
            path.clone()
        })?;
        assert_eq!(
            (facts.mtime(), facts.mtime_nsec(), facts.mode() & 0o7777),
            (-5, 123_456_789, 0o440),
            "{name}"
        );
        if supported && is_root() {
            let mut value = [0; 16];
            let len =
                rustix::fs::getxattr(&path, "user.larder", &mut value).map_err(io::Error::from)?;
            assert_eq!(value.get(..len), Some(b"v\0\xff".as_slice()));
        }
    }
    fs::set_permissions(temp.path().join("d"), fs::Permissions::from_mode(0o700))?;
    let read_only = Restore {
        read_only: true,
        ..Restore::default()
    };
    fs::set_permissions(temp.path().join("d/f"), fs::Permissions::from_mode(0o664))?;
    assert!(target.apply(b"d/f", &read_only).is_empty());
    assert!(target.apply(b"d", &read_only).is_empty());
    assert_eq!(fs::metadata(temp.path().join("d/f"))?.mode() & 0o777, 0o444);
    assert_eq!(fs::metadata(temp.path().join("d"))?.mode() & 0o777, 0o700);
    // Permissions are put aside to write what exists.
    target
        .open_file(b"d/f", OpenHow::Existing)?
        .write_all(b"x")?;
    let failures = target.apply(b"d/none", &read_only);
    assert!(
        matches!(failures.as_slice(), [(what, error)] if what == "entry" && error.kind() == ErrorKind::NotFound)
    );
    let failures = target.apply(
        b"d/f",
        &Restore {
            xattrs: &[(b"nonsense".to_vec(), vec![])],
            ..Restore::default()
        },
    );
    assert!(
        matches!(failures.as_slice(), [(what, _)] if what == "extended attribute nonsense"),
        "{failures:?}"
    );
    Ok(())
}

/// Capabilities, access lists and labels are privileges: they are set only on request.
#[test]
fn attributes_of_the_system_are_left_out() -> Outcome {
    let (_temp, target) = target()?;
    let file = target.open_file(b"f", OpenHow::CreateNew)?;
    let xattrs = [
        (b"nonsense".to_vec(), vec![1]),
        (b"trusted.x".to_vec(), vec![1]),
        (b"security.larder".to_vec(), vec![1]),
        (b"security.capability".to_vec(), vec![1]),
        (b"system.posix_acl_access".to_vec(), vec![1]),
    ];
    let all = Restore {
        xattrs: &xattrs,
        ..Restore::default()
    };
    let user_only = Restore {
        user_xattrs_only: true,
        ..all.clone()
    };
    // Some of them are refused when they are asked for, so silence shows that they were not tried.
    assert!(!target.apply_file(&file, &all).is_empty());
    for name in ["trusted.x", "security.larder"] {
        let _ = rustix::fs::fremovexattr(&file, name);
    }
    assert!(target.apply_file(&file, &user_only).is_empty());
    assert!(target.apply(b"f", &user_only).is_empty());
    let mut names = vec![0; 1024];
    let len = rustix::fs::flistxattr(&file, &mut names).unwrap_or(0);
    let names = String::from_utf8_lossy(names.get(..len).unwrap_or_default()).into_owned();
    assert!(
        !names.contains("trusted.x") && !names.contains("security.larder"),
        "{names:?}"
    );
    Ok(())
}

#[test]
fn owners_by_name_or_number_and_special_bits() -> Outcome {
    let (_temp, target) = target()?;
    let file = target.open_file(b"f", OpenHow::CreateNew)?;
    target.create_symlink(b"l", b"nowhere", false)?;
    let by_number = Restore {
        owner: Some((4_321, 4_322)),
        owner_name: Some(b"nobody of this name"),
        group_name: Some(b"nor this"),
        mode: Some(0o6755),
        ..Restore::default()
    };
    let by_name = Restore {
        owner_name: Some(b"root"),
        group_name: Some(b"root"),
        ..by_number.clone()
    };
    let failures = [
        target.apply_file(&file, &by_number),
        target.apply(b"l", &by_number),
    ];
    let path = target.path().to_owned();
    let seen = |name: &str| -> io::Result<_> {
        let facts = fs::symlink_metadata(path.join(name))?;
        Ok((facts.uid(), facts.gid(), facts.mode() & 0o7777))
    };
    if is_root() {
        assert!(failures.iter().all(Vec::is_empty), "{failures:?}");
        assert_eq!(
            seen("f")?,
            (4_321, 4_322, 0o6755),
            "special bits survive the change of owner"
        );
        assert_eq!(seen("l")?, (4_321, 4_322, 0o777));
        assert!(target.apply(b"f", &by_name).is_empty());
        assert_eq!(seen("f")?, (0, 0, 0o6755));
    } else {
        assert!(
            failures
                .iter()
                .all(|list| matches!(list.as_slice(), [(what, _)] if what == "owner")),
            "{failures:?}"
        );
        assert_eq!(seen("f")?.2, 0o755, "no special bits for the wrong owner");
    }
    Ok(())
}

#[test]
fn special_files_are_not_opened() -> Outcome {
    let (_temp, target) = target()?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        target.path().join("pipe"),
        FileType::Fifo,
        Mode::RWXU,
        0,
    )?;
    for how in [
        OpenHow::CreateNew,
        OpenHow::Existing,
        OpenHow::CreateOrExisting,
        OpenHow::ReadOnly,
    ] {
        assert!(target.open_file(b"pipe", how).is_err(), "{how:?}");
    }
    let error = target
        .open_file(b"pipe", OpenHow::Existing)
        .expect_err("a pipe");
    assert_eq!(error.to_string(), "a fifo stands in the place of the file");
    assert_eq!(target.apply(b"pipe", &Restore::default()).len(), 1);
    assert!(matches!(
        target.stat(b"pipe")?,
        Some(Facts {
            kind: FileKind::Special("fifo"),
            ..
        })
    ));
    Ok(())
}

#[test]
fn odd_names_and_endless_paths() -> Outcome {
    let (_temp, target) = target()?;
    for name in [
        b"new\nline".as_slice(),
        b"inv\xff\xfealid",
        b" ",
        b"back\\slash",
        b"...",
        &[b'n'; 255],
    ] {
        target.open_file(name, OpenHow::CreateNew)?;
        assert!(fs::symlink_metadata(target.path().join(OsStr::from_bytes(name))).is_ok());
    }
    let error = target
        .open_file(&[b'n'; 256], OpenHow::CreateNew)
        .expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidFilename);
    let mut path = vec![[b'd'; 200].as_slice(); 100].join(&b'/');
    target.create_folder(&path)?;
    path.extend_from_slice(b"/bottom");
    target
        .open_file(&path, OpenHow::CreateNew)?
        .write_all(b"deep down")?;
    assert!(
        target
            .apply(
                &path,
                &Restore {
                    mtime: Some((7, 0)),
                    mode: Some(0o644),
                    ..Restore::default()
                }
            )
            .is_empty()
    );
    let facts = target.stat(&path)?.expect("the file");
    assert_eq!((facts.size, facts.mtime, facts.mode), (9, (7, 0), 0o644));
    target.create_symlink(&[path.as_slice(), b"-link"].concat(), b"bottom", false)?;
    target.remove(&path)?;
    Ok(())
}

#[test]
fn threads_share_a_root() -> Outcome {
    let (_temp, target) = target()?;
    let work = |thread: u32| -> Outcome {
        for n in 0..200 {
            let folder = format!("shared/{}", n % 90);
            target.create_folder(folder.as_bytes())?;
            let file = target.open_file(
                format!("{folder}/{thread}-{n}").as_bytes(),
                OpenHow::CreateNew,
            )?;
            assert!(
                target
                    .apply_file(
                        &file,
                        &Restore {
                            mtime: Some((1, 0)),
                            ..Restore::default()
                        }
                    )
                    .is_empty()
            );
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// A second restore into the same folder must not take the files of the first one for leftovers.
#[test]
fn two_that_write_into_one_folder_see_each_other() -> Outcome {
    let (temp, first) = target()?;
    assert!(first.is_alone());
    let second = TargetRoot::open(&temp.path().join("deep/target"))?;
    assert!(!first.is_alone() && !second.is_alone());
    assert!(!first.is_alone(), "looking changes nothing");
    drop(second);
    assert!(first.is_alone());
    let elsewhere = TargetRoot::open(&temp.path().join("other"))?;
    assert!(first.is_alone() && elsewhere.is_alone());
    Ok(())
}

/// Who came while another one looked had no lock, was not seen, and took itself for alone.
#[test]
fn a_look_at_the_same_time_hides_nobody() -> Outcome {
    let (temp, first) = target()?;
    drop(first);
    let path = temp.path().join("deep/target");
    let looking = std::fs::File::open(&path)?;
    looking.lock()?;
    let second = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(looking);
        });
        TargetRoot::open(&path)
    })?;
    let third = TargetRoot::open(&path)?;
    assert!(!third.is_alone() && !second.is_alone());
    Ok(())
}

/// A program that another thread started at this moment had a copy of all handles until it ran: the restore that came
/// next took the one that had ended for one that was at work.
#[test]
fn a_copy_of_a_closed_handle_is_no_other_restore() -> Outcome {
    let (temp, first) = target()?;
    let path = temp.path().join("deep/target");
    let left = first.open_temporary(b"f")?.file;
    let folder_copy = first.shared.as_ref().map(|shared| shared.0.try_clone());
    let file_copy = left.try_clone()?;
    drop((left, first));
    let next = TargetRoot::open(&path)?;
    assert!(next.is_alone());
    let taken = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(file_copy);
        });
        next.open_temporary(b"f")
    })?;
    assert_eq!(taken.left_over, Some(0));
    drop(folder_copy.transpose()?);
    Ok(())
}
