//! Trees that are walked, written back elsewhere, and walked again.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use larder_source::{
    FactReader, FileKind, FullFacts, OpenHow, Restore, Root, TargetRoot, Walk, WalkItem,
    WalkOptions, open_for_read,
};

type Outcome = io::Result<()>;

fn entries(root: &Path) -> io::Result<Vec<(Vec<u8>, FullFacts)>> {
    let root = Root {
        os_path: root.to_owned(),
        stored: b"/".to_vec(),
    };
    let options = WalkOptions {
        ignore_names: Vec::new(),
        ..WalkOptions::default()
    };
    let mut reader = FactReader::new();
    let mut found = Vec::new();
    for item in Walk::with_roots(vec![root], options) {
        match item {
            WalkItem::Entry(entry) => {
                let facts = reader.full(&entry.os_path, &entry.facts)?;
                found.push((entry.path, facts));
            }
            WalkItem::Skipped { .. } => {}
            WalkItem::Problem { error, .. } => return Err(error),
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
    Ok(found)
}

/// Writes all entries back as an engine would: folders first, their facts last.
fn restore(from: &Path, to: &Path) -> Outcome {
    let target = TargetRoot::open(to)?;
    let all = entries(from)?;
    let facts_of = |full: &FullFacts| {
        let facts = full.facts;
        (facts.mtime, facts.mode, (facts.uid, facts.gid))
    };
    for (path, full) in all.iter().skip(1) {
        let rel = path.strip_prefix(b"/").unwrap_or(path);
        let (mtime, mode, owner) = facts_of(full);
        let restore = Restore {
            mtime: Some(mtime),
            mode: Some(mode),
            owner: Some(owner),
            xattrs: &full.xattrs,
            ..Restore::default()
        };
        let failures = match (full.facts.kind, &full.symlink_target) {
            (FileKind::Folder, _) => {
                target.create_folder(rel)?;
                Vec::new()
            }
            (_, Some(text)) => {
                target.create_symlink(rel, text, false)?;
                target.apply(rel, &restore)
            }
            _ => {
                let mut content = Vec::new();
                open_for_read(&from.join(OsStr::from_bytes(rel)))?.read_to_end(&mut content)?;
                let mut file = target.open_file(rel, OpenHow::CreateNew)?;
                file.write_all(&content)?;
                target.apply_file(&file, &restore)
            }
        };
        assert!(failures.is_empty(), "{failures:?}");
    }
    for (path, full) in all
        .iter()
        .skip(1)
        .rev()
        .filter(|(_, full)| full.facts.kind == FileKind::Folder)
    {
        let (mtime, mode, owner) = facts_of(full);
        let restore = Restore {
            mtime: Some(mtime),
            mode: Some(mode),
            owner: Some(owner),
            xattrs: &full.xattrs,
            ..Restore::default()
        };
        let failures = target.apply(path.strip_prefix(b"/").unwrap_or(path), &restore);
        assert!(failures.is_empty(), "{failures:?}");
    }
    Ok(())
}

#[test]
fn a_tree_comes_back_with_all_its_facts() -> Outcome {
    let temp =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).or_else(|_| tempfile::tempdir())?;
    let from = temp.path().join("from");
    for folder in ["a/.b/c", "sealed", "sticky"] {
        fs::create_dir_all(from.join(folder))?;
    }
    let odd: [&[u8]; 4] = [
        b"new\nline",
        b"inv\xff\xfealid",
        &[b'n'; 255],
        b"a/.b/c/run",
    ];
    for name in odd {
        fs::write(from.join(OsStr::from_bytes(name)), name)?;
    }
    symlink("/nowhere/at all", from.join("dangling"))?;
    symlink("a", from.join("link"))?;
    let mode =
        |name: &str, mode| fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode));
    let flags = rustix::fs::XattrFlags::empty();
    let _ = rustix::fs::setxattr(from.join("a/.b"), "user.note", b"\0\xff", flags);
    let _ = rustix::fs::setxattr(from.join("a/.b/c/run"), "user.note", b"text", flags);
    mode("a/.b/c/run", 0o4755)?;
    mode("sticky", 0o1777)?;
    mode("sealed", 0o555)?;
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(86_400, 123_456_789);
    for name in ["a/.b/c/run", "sealed", "a"] {
        fs::File::open(from.join(name))?.set_modified(past)?;
    }
    let to = temp.path().join("to");
    restore(&from, &to)?;
    let plain = |root: &Path| -> io::Result<Vec<_>> {
        let strip = |(path, full): (Vec<u8>, FullFacts)| {
            let facts = full.facts;
            let told = (facts.kind, facts.mode, facts.uid, facts.gid, facts.mtime);
            (
                path,
                told,
                full.xattrs,
                full.symlink_target,
                full.attributes,
            )
        };
        Ok(entries(root)?.into_iter().skip(1).map(strip).collect())
    };
    let (before, after) = (plain(&from)?, plain(&to)?);
    assert_eq!(before, after);
    assert_eq!(before.len(), 11);
    Ok(())
}

/// Not a test: the processor time of writing back many files (`--ignored --nocapture`, release).
/// Set `TMPDIR` to a folder in memory: ext4 searches long for free inodes after many deletions.
#[test]
#[ignore = "measures"]
#[expect(clippy::print_stderr, reason = "the numbers are what this is for")]
fn speed() -> Outcome {
    let temp = tempfile::tempdir()?;
    let target = TargetRoot::open(temp.path())?;
    let facts = Restore {
        mtime: Some((1, 2)),
        mode: Some(0o644),
        ..Restore::default()
    };
    let folder = |n: u32| format!("top{}/mid{}/f{n}", n % 10, n % 100).into_bytes();
    let start = super::walking::cpu_time();
    for n in 0..9000 {
        target.create_folder(&folder(n))?;
    }
    let folders = super::walking::cpu_time();
    for n in 0..40_000 {
        let path = [
            folder(n * 9000 / 40_000),
            format!("/file number {n}").into_bytes(),
        ]
        .concat();
        let file = target.open_file(&path, OpenHow::CreateNew)?;
        assert!(target.apply_file(&file, &facts).is_empty());
    }
    let files = super::walking::cpu_time();
    for n in 0..9000 {
        assert!(target.apply(&folder(n), &facts_of_folder()).is_empty());
    }
    let applied = super::walking::cpu_time();
    eprintln!(
        "folders {:?}, files {:?}, facts of folders {:?}",
        folders - start,
        files - folders,
        applied - files
    );
    Ok(())
}

fn facts_of_folder() -> Restore<'static> {
    Restore {
        mtime: Some((1, 2)),
        mode: Some(0o755),
        ..Restore::default()
    }
}
