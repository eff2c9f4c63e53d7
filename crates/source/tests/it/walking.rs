//! Walks over real trees.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use larder_source::{
    Action, FactReader, FileKind, Filter, HardlinkPolicy, Root, SkipReason, SymlinkPolicy, Walk,
    WalkEntry, WalkItem, WalkOptions, open_for_read, open_for_read_following,
};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

type Outcome = io::Result<()>;

/// What a walk told, with paths relative to the root (which itself is the empty path).
#[derive(Default)]
struct Told {
    entries: Vec<WalkEntry>,
    skipped: Vec<(String, SkipReason)>,
    problems: Vec<String>,
}

impl Told {
    fn paths(&self) -> Vec<String> {
        self.entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
            .collect()
    }
}

fn walk(root: &Path, options: WalkOptions) -> Told {
    let root = Root {
        os_path: root.to_owned(),
        stored: b"/R".to_vec(),
    };
    let mut told = Told::default();
    for item in Walk::with_roots(vec![root], options) {
        match item {
            WalkItem::Entry(entry) => told.entries.push(entry),
            WalkItem::Skipped { path, why } => told
                .skipped
                .push((String::from_utf8_lossy(&path).into_owned(), why)),
            WalkItem::Problem { path, .. } => told
                .problems
                .push(String::from_utf8_lossy(&path).into_owned()),
            other @ (WalkItem::Vanished { .. } | WalkItem::FilterGaveUp { .. }) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(
        told.entries.is_sorted_by(|a, b| a.path < b.path),
        "{:?}",
        told.paths()
    );
    told
}

fn filtered(texts: &[(Action, &str)]) -> WalkOptions {
    let list: Vec<_> = texts
        .iter()
        .map(|(action, text)| (*action, (*text).to_owned()))
        .collect();
    WalkOptions {
        filter: Filter::parse(&list, true).expect("good filters"),
        ..WalkOptions::default()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn children_are_sorted_by_stored_name() -> Outcome {
    let temp = tempfile::tempdir()?;
    let root = temp.path();
    for file in ["a.txt", "a0", "a-b/x", "a/z", "a/y/w", "B", "a/y.w"] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a parent"))?;
        fs::write(path, b"x")?;
    }
    symlink("a", root.join("l"))?;
    symlink("a.txt", root.join("l.x"))?;
    let told = walk(root, WalkOptions::default());
    let expected = [
        "/R/", "/R/B", "/R/a-b/", "/R/a-b/x", "/R/a.txt", "/R/a/", "/R/a/y.w", "/R/a/y/",
        "/R/a/y/w", "/R/a/z", "/R/a0", "/R/l.x", "/R/l/",
    ];
    assert_eq!(told.paths(), expected);
    let link = told.entries.last().expect("the link");
    assert_eq!(
        link.facts.kind,
        FileKind::Symlink {
            target_is_folder: true
        }
    );
    assert_eq!(link.os_path, root.join("l"));
    let first = told.entries.first().expect("the root");
    assert_eq!(
        (first.facts.kind, first.os_path.as_path()),
        (FileKind::Folder, root)
    );
    let file = told.entries.get(4).expect("a.txt");
    let meta = fs::metadata(root.join("a.txt"))?;
    assert_eq!(
        file.facts.mtime,
        (
            meta.mtime(),
            u32::try_from(meta.mtime_nsec()).expect("nanoseconds")
        )
    );
    assert_eq!(
        (file.facts.ino, file.facts.size, file.facts.mode),
        (meta.ino(), 1, meta.mode() & 0o7777)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_stream_is_the_sorted_list(names in prop::collection::btree_set(
        prop::collection::vec(prop::collection::vec(prop_oneof![1u8..=46, 48u8..=255], 1..4), 1..4), 0..40)) {
        let temp = tempfile::tempdir()?;
        let mut expected = std::collections::BTreeSet::from([b"/R/".to_vec()]);
        for parts in &names {
            if parts.iter().any(|part| part == b"." || part == b"..") {
                continue;
            }
            let path = temp.path().join(OsStr::from_bytes(&parts.join(&b'/')));
            // A name may already stand for something else.
            let Some(parent) = path.parent() else { continue };
            if fs::create_dir_all(parent).is_err() || path.exists() || fs::write(&path, b"").is_err() {
                continue;
            }
        }
        collect(temp.path(), b"/R/", &mut expected)?;
        let told = walk(temp.path(), WalkOptions { ignore_names: Vec::new(), ..WalkOptions::default() });
        let found: Vec<_> = told.entries.into_iter().map(|entry| entry.path).collect();
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}

fn collect(
    folder: &Path,
    stored: &[u8],
    into: &mut std::collections::BTreeSet<Vec<u8>>,
) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mut path = [stored, entry.file_name().as_bytes()].concat();
        if entry.file_type()?.is_dir() {
            path.push(b'/');
            collect(&entry.path(), &path, into)?;
        }
        into.insert(path);
    }
    Ok(())
}

#[test]
fn roots_are_accepted_sorted_and_disjoint() -> Outcome {
    let temp = tempfile::tempdir()?;
    let root = temp.path().canonicalize()?;
    fs::create_dir_all(root.join("data/sub"))?;
    fs::write(root.join("data/sub/f"), b"x")?;
    fs::write(root.join("data.txt"), b"x")?;
    fs::write(root.join("data/CACHEDIR.TAG"), b"x")?;
    symlink("data", root.join("link"))?;
    let roots = ["link", "data.txt", "data/sub", "data", "data/", "missing"]
        .map(|name| root.join(name))
        .to_vec();
    let items: Vec<_> = Walk::new(
        roots,
        filtered(&[(Action::Exclude, "*.txt"), (Action::Exclude, "*/data/")]),
    )
    .collect();
    let prefix = root.as_os_str().as_bytes();
    let name = |path: &[u8]| {
        String::from_utf8_lossy(path.strip_prefix(prefix).unwrap_or(path)).into_owned()
    };
    let told: Vec<_> = items
        .iter()
        .map(|item| match item {
            WalkItem::Entry(entry) => name(&entry.path),
            WalkItem::Skipped { path, .. } => format!("skipped {}", name(path)),
            WalkItem::Problem { path, .. } => format!("problem {}", name(path)),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = [
        "/data.txt",
        "/data/",
        "/data/CACHEDIR.TAG",
        "/data/sub/",
        "/data/sub/f",
        "/link/",
        "/link/CACHEDIR.TAG",
        "/link/sub/",
        "/link/sub/f",
        "problem /missing",
    ];
    assert_eq!(told, expected);
    Ok(())
}

#[test]
fn include_only_lists_walk_without_recording() -> Outcome {
    let temp = tempfile::tempdir()?;
    fs::create_dir_all(temp.path().join("a/b"))?;
    fs::write(temp.path().join("a/b/x.txt"), b"x")?;
    fs::write(temp.path().join("a/b/x.pdf"), b"x")?;
    let told = walk(temp.path(), filtered(&[(Action::Include, "*.txt")]));
    assert_eq!(told.paths(), ["/R/a/b/x.txt"]);
    assert_eq!(
        told.skipped,
        [("/R/a/b/x.pdf".to_owned(), SkipReason::Filter(None))]
    );
    // A source file given directly is stored whatever the filters say.
    let file = temp.path().join("a/b/x.pdf");
    let direct: Vec<_> = Walk::new(vec![file], filtered(&[(Action::Include, "*.txt")])).collect();
    assert!(matches!(direct.as_slice(), [WalkItem::Entry(_)]));
    Ok(())
}

#[test]
fn size_marker_attribute_and_empty_folders() -> Outcome {
    let temp = tempfile::tempdir()?;
    let root = temp.path();
    fs::create_dir_all(root.join("proj/deep"))?;
    fs::create_dir_all(root.join("tagged/CACHEDIR.TAG"))?;
    fs::create_dir_all(root.join("void/in/void"))?;
    fs::create_dir_all(root.join(".hidden/x"))?;
    fs::write(root.join("proj/CACHEDIR.TAG"), b"x")?;
    fs::write(root.join("big.bin"), b"12345")?;
    fs::write(root.join("small.bin"), b"1234")?;
    fs::write(root.join("void/CACHEDIR.TAG.not"), b"12345")?;
    let options = WalkOptions {
        max_size: Some(4),
        exclude_attributes: vec!["hidden".to_owned()],
        exclude_empty_folders: true,
        ..filtered(&[(Action::Include, "*.bin"), (Action::Exclude, "*.none")])
    };
    let told = walk(root, options.clone());
    assert_eq!(told.paths(), ["/R/", "/R/small.bin"]);
    let expected = [
        ("/R/.hidden/", SkipReason::Attribute),
        ("/R/big.bin", SkipReason::TooLarge),
        ("/R/proj/", SkipReason::Marker),
        ("/R/tagged/CACHEDIR.TAG/", SkipReason::Empty),
        ("/R/tagged/", SkipReason::Empty),
        ("/R/void/CACHEDIR.TAG.not", SkipReason::TooLarge),
        ("/R/void/in/void/", SkipReason::Empty),
        ("/R/void/in/", SkipReason::Empty),
        ("/R/void/", SkipReason::Empty),
    ];
    assert_eq!(
        told.skipped,
        expected.map(|(path, why)| (path.to_owned(), why))
    );
    let told = walk(
        root,
        WalkOptions {
            max_size: Some(0),
            ..options
        },
    );
    assert_eq!(
        told.paths(),
        [
            "/R/",
            "/R/big.bin",
            "/R/small.bin",
            "/R/void/",
            "/R/void/CACHEDIR.TAG.not"
        ]
    );
    Ok(())
}

#[test]
fn links_are_stored_followed_or_ignored() -> Outcome {
    let temp = tempfile::tempdir()?;
    let root = temp.path().join("R");
    fs::create_dir_all(root.join("a/b"))?;
    fs::create_dir_all(temp.path().join("outside/deep"))?;
    fs::write(temp.path().join("outside/f"), b"content")?;
    symlink("../..", root.join("a/b/up"))?;
    symlink("../outside", root.join("out"))?;
    symlink("../outside/f", root.join("file"))?;
    symlink("nowhere", root.join("dangling"))?;
    let told = walk(&root, WalkOptions::default());
    assert_eq!(
        told.paths(),
        [
            "/R/",
            "/R/a/",
            "/R/a/b/",
            "/R/a/b/up/",
            "/R/dangling",
            "/R/file",
            "/R/out/"
        ]
    );

    let follow = WalkOptions {
        symlinks: SymlinkPolicy::Follow,
        ..WalkOptions::default()
    };
    let told = walk(&root, follow);
    assert_eq!(
        told.paths(),
        [
            "/R/",
            "/R/a/",
            "/R/a/b/",
            "/R/dangling",
            "/R/file",
            "/R/out/",
            "/R/out/deep/",
            "/R/out/f"
        ]
    );
    assert_eq!(told.skipped, [("/R/a/b/up/".to_owned(), SkipReason::Loop)]);
    let file = told.entries.get(4).expect("the file");
    assert_eq!((file.facts.kind, file.facts.size), (FileKind::File, 7));
    assert!(open_for_read(&file.os_path).is_err());
    assert_eq!(
        io::read_to_string(open_for_read_following(&file.os_path)?)?,
        "content"
    );

    let told = walk(
        &root,
        WalkOptions {
            symlinks: SymlinkPolicy::Ignore,
            ..WalkOptions::default()
        },
    );
    assert_eq!(told.paths(), ["/R/", "/R/a/", "/R/a/b/"]);
    assert_eq!(told.skipped.len(), 4);
    Ok(())
}

#[test]
fn a_walk_may_move_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&Walk::new(Vec::new(), WalkOptions::default()));
}

#[test]
fn names_of_the_same_file() -> Outcome {
    let temp = tempfile::tempdir()?;
    for name in ["a.skip", "b", "c", "single"] {
        if name == "single" || name == "a.skip" {
            fs::write(temp.path().join(name), b"x")?;
        } else {
            fs::hard_link(temp.path().join("a.skip"), temp.path().join(name))?;
        }
    }
    let exclude = [(Action::Exclude, "*.skip")];
    let first = walk(
        temp.path(),
        WalkOptions {
            hardlinks: HardlinkPolicy::First,
            ..filtered(&exclude)
        },
    );
    assert_eq!(
        first.paths(),
        ["/R/", "/R/b", "/R/single"],
        "an excluded name is not the first"
    );
    let none = walk(
        temp.path(),
        WalkOptions {
            hardlinks: HardlinkPolicy::None,
            ..WalkOptions::default()
        },
    );
    assert_eq!(none.paths(), ["/R/", "/R/single"]);
    Ok(())
}

#[test]
fn special_files_and_unreadable_folders_do_not_stop_a_walk() -> Outcome {
    let temp = tempfile::tempdir()?;
    let root = temp.path();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RWXU, 0)?;
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket"))?;
    fs::create_dir(root.join("locked"))?;
    fs::write(root.join("locked/x"), b"x")?;
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o000))?;
    fs::write(root.join("z"), b"x")?;
    let told = walk(root, WalkOptions::default());
    let expected = [
        ("/R/fifo", SkipReason::Special("fifo")),
        ("/R/socket", SkipReason::Special("socket")),
    ];
    assert_eq!(
        told.skipped,
        expected.map(|(path, why)| (path.to_owned(), why))
    );
    if is_root() {
        assert_eq!(told.paths(), ["/R/", "/R/locked/", "/R/locked/x", "/R/z"]);
    } else {
        assert_eq!(told.paths(), ["/R/", "/R/locked/", "/R/z"]);
        assert_eq!(told.problems, ["/R/locked/"]);
    }
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o700))?;
    let error = open_for_read(&root.join("fifo")).expect_err("a pipe");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(open_for_read(root).is_err());
    Ok(())
}

#[test]
fn entries_may_ask_to_be_left_out() -> Outcome {
    // The folder of the build is on a real disk; the one for temporary files may have no attributes.
    let temp =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).or_else(|_| tempfile::tempdir())?;
    let root = temp.path();
    fs::create_dir(root.join("d"))?;
    fs::write(root.join("d/x"), b"x")?;
    fs::write(root.join("f"), b"x")?;
    fs::write(root.join("g"), b"x")?;
    let set = |name: &str| {
        rustix::fs::setxattr(
            root.join(name),
            "user.duplicati.exclude",
            b"",
            rustix::fs::XattrFlags::empty(),
        )
    };
    if set("d").and_then(|()| set("f")).is_err() {
        return Ok(());
    }
    let told = walk(root, WalkOptions::default());
    assert_eq!(told.paths(), ["/R/", "/R/g"]);
    let expected = [
        ("/R/d/", SkipReason::ExclusionXattr),
        ("/R/f", SkipReason::ExclusionXattr),
    ];
    assert_eq!(
        told.skipped,
        expected.map(|(path, why)| (path.to_owned(), why))
    );
    let told = walk(
        root,
        WalkOptions {
            exclusion_xattrs: false,
            ..WalkOptions::default()
        },
    );
    assert_eq!(told.paths().len(), 5);
    Ok(())
}

#[test]
fn full_facts_of_files_and_links() -> Outcome {
    let temp =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).or_else(|_| tempfile::tempdir())?;
    let root = temp.path();
    fs::write(root.join(".f"), b"x")?;
    fs::set_permissions(root.join(".f"), fs::Permissions::from_mode(0o400))?;
    symlink("../t\u{fc}", root.join("l"))?;
    let big = vec![7; 3000];
    let flags = rustix::fs::XattrFlags::empty();
    fs::set_permissions(root.join(".f"), fs::Permissions::from_mode(0o600))?;
    let supported = rustix::fs::setxattr(root.join(".f"), "user.big", &big, flags).is_ok()
        && rustix::fs::setxattr(root.join(".f"), "user.empty", b"", flags).is_ok();
    fs::set_permissions(root.join(".f"), fs::Permissions::from_mode(0o400))?;
    let told = walk(root, WalkOptions::default());
    let mut reader = FactReader::new();
    let mut full = Vec::new();
    for entry in &told.entries {
        full.push(reader.full(&entry.os_path, &entry.facts)?);
    }
    let texts: Vec<_> = full.iter().map(|full| full.attributes.as_str()).collect();
    let hidden = if root
        .file_name()
        .expect("a name")
        .as_bytes()
        .starts_with(b".")
    {
        "Hidden, Directory"
    } else {
        "Directory"
    };
    assert_eq!(texts, [hidden, "ReadOnly, Hidden", "ReparsePoint"]);
    let file = full.get(1).expect("the file");
    if supported {
        let big_name = (b"user.big".to_vec(), big);
        assert!(
            file.xattrs.contains(&big_name)
                && !file.xattrs.iter().any(|(name, _)| name == b"user.empty")
        );
    }
    if is_root() {
        assert_eq!(file.owner.as_deref(), Some(b"root".as_slice()));
    }
    let link = full.get(2).expect("the link");
    assert_eq!(link.symlink_target.as_deref(), Some("../tü".as_bytes()));
    Ok(())
}

/// Names with every byte, and a path several times longer than one call accepts.
#[test]
fn odd_names_and_endless_paths() -> Outcome {
    let temp = tempfile::tempdir()?;
    let root = temp.path();
    let odd: [&[u8]; 6] = [
        b"new\nline",
        b"inv\xff\xfealid",
        b" ",
        b"back\\slash",
        b"tab\t",
        &[b'n'; 255],
    ];
    for name in odd {
        fs::write(root.join(OsStr::from_bytes(name)), b"x")?;
    }
    let name = [b'd'; 200];
    let mut handle = openat(CWD, root, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
    for _ in 0..150 {
        mkdirat(&handle, name.as_slice(), Mode::RWXU)?;
        handle = openat(
            &handle,
            name.as_slice(),
            OFlags::DIRECTORY | OFlags::RDONLY,
            Mode::empty(),
        )?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    rustix::io::write(
        openat(&handle, "bottom", flags, Mode::RUSR | Mode::WUSR)?,
        b"deep down",
    )?;
    drop(handle);

    let told = walk(root, WalkOptions::default());
    assert!(told.problems.is_empty(), "{:?}", told.problems);
    assert_eq!(told.entries.len(), 1 + odd.len() + 150 + 1);
    for name in odd {
        let path = [b"/R/", name].concat();
        let entry = told
            .entries
            .iter()
            .find(|entry| entry.path == path)
            .expect("an odd name");
        assert_eq!(entry.os_path, root.join(OsStr::from_bytes(name)));
    }
    let bottom = told
        .entries
        .iter()
        .find(|entry| entry.path.ends_with(b"/bottom"))
        .expect("the bottom");
    assert!(bottom.path.len() > 7 * 4096);
    assert_eq!(
        io::read_to_string(open_for_read(&bottom.os_path)?)?,
        "deep down"
    );
    assert_eq!(
        FactReader::new()
            .full(&bottom.os_path, &bottom.facts)?
            .attributes,
        "Normal"
    );
    // A root of that length.
    let deep = PathBuf::from(std::ffi::OsString::from_vec(
        bottom.os_path.as_os_str().as_bytes()[..20_000].to_vec(),
    ));
    let deep = deep.parent().expect("a parent").to_owned();
    let below = Walk::new(vec![deep], WalkOptions::default())
        .filter(|item| matches!(item, WalkItem::Entry(_)))
        .count();
    assert!(below > 50, "{below}");
    Ok(())
}

#[test]
fn few_folders_are_open_at_any_depth() -> Outcome {
    let temp = tempfile::tempdir()?;
    let mut path = temp.path().to_owned();
    for _ in 0..300 {
        path.push("d");
        fs::create_dir(&path)?;
        fs::write(path.join("e"), b"x")?;
        fs::write(path.join("a"), b"x")?;
    }
    let root = temp.path().as_os_str().as_bytes().to_vec();
    let opened_below = || -> io::Result<usize> {
        let links = fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(links
            .filter(|target| target.as_os_str().as_bytes().starts_with(&root))
            .count())
    };
    let mut seen = 0;
    for item in Walk::new(vec![temp.path().to_owned()], WalkOptions::default()) {
        assert!(matches!(item, WalkItem::Entry(_)), "{item:?}");
        seen += 1;
        if seen % 50 == 0 {
            assert!(opened_below()? <= 65, "{}", opened_below()?);
        }
    }
    assert_eq!(seen, 1 + 300 * 3);
    Ok(())
}

/// A file that vanished between the listing of its folder and the look was a problem, as a disk that fails is.
#[test]
fn what_vanishes_under_way_is_told_as_vanished() -> Outcome {
    let temp = tempfile::tempdir()?;
    let path = |name: &str| temp.path().join(name);
    for name in ["a", "c", "e"] {
        fs::write(path(name), b"x")?;
    }
    for name in ["b", "d"] {
        fs::create_dir(path(name))?;
        fs::write(path(name).join("f"), b"x")?;
    }
    let mut walk = Walk::new(vec![temp.path().to_owned()], WalkOptions::default());
    // With the entry of a folder its names are known.
    assert!(matches!(walk.next(), Some(WalkItem::Entry(_))));
    fs::remove_file(path("a"))?;
    fs::remove_dir_all(path("b"))?;
    fs::remove_file(path("e"))?;
    let top = temp.path().as_os_str().len() + 1;
    let name = |path: &[u8]| String::from_utf8_lossy(&path[top..]).into_owned();
    let told: Vec<String> = walk
        .map(|item| match item {
            WalkItem::Entry(entry) => name(&entry.path),
            WalkItem::Vanished { path } => format!("{} vanished", name(&path)),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        ["a vanished", "b/ vanished", "c", "d/", "d/f", "e vanished"]
    );
    Ok(())
}

#[test]
fn a_path_is_walked_although_a_filter_gave_up() -> Outcome {
    let temp = tempfile::tempdir()?;
    let long = "a".repeat(200);
    fs::write(temp.path().join(&long), b"x")?;
    let options = filtered(&[(Action::Exclude, r"[.*/(?=a)(a|a|aa|aaa)*(?!x)b\1]")]);
    let items: Vec<WalkItem> = Walk::new(vec![temp.path().to_owned()], options).collect();
    let [
        WalkItem::Entry(_),
        WalkItem::FilterGaveUp { path, filter },
        WalkItem::Entry(entry),
    ] = items.as_slice()
    else {
        panic!("{items:?}");
    };
    assert!(path.ends_with(long.as_bytes()) && *path == entry.path);
    assert!(filter.contains("aaa"), "{filter}");
    Ok(())
}

/// Not a test: the processor time of a walk over many files (`--ignored --nocapture`, release).
#[test]
#[ignore = "measures"]
#[expect(clippy::print_stderr, reason = "the numbers are what this is for")]
fn speed() -> Outcome {
    let temp =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).or_else(|_| tempfile::tempdir())?;
    for folder in 0..9000 {
        let path = temp
            .path()
            .join(format!("top{}/mid{}/f{folder}", folder % 10, folder % 100));
        fs::create_dir_all(&path)?;
        for file in 0..5 {
            fs::write(path.join(format!("file number {file}.txt")), b"x")?;
        }
    }
    let filters: [(Action, &str); 3] = [
        (Action::Exclude, "*.tmp"),
        (Action::Exclude, "{Exc}"),
        (Action::Exclude, r"[.*/\d+\.iso]"),
    ];
    let bare = WalkOptions {
        exclusion_xattrs: false,
        ..filtered(&[])
    };
    let cases = [
        ("bare", bare.clone()),
        ("xattrs", filtered(&[])),
        (
            "filters",
            WalkOptions {
                exclusion_xattrs: false,
                ..filtered(&filters)
            },
        ),
        ("all", filtered(&filters)),
    ];
    for (name, options) in cases {
        for _ in 0..3 {
            let start = cpu_time();
            let entries: Vec<_> = Walk::new(vec![temp.path().to_owned()], options.clone())
                .filter_map(|item| {
                    if let WalkItem::Entry(entry) = item {
                        Some(entry)
                    } else {
                        None
                    }
                })
                .collect();
            let walked = cpu_time() - start;
            let mut reader = FactReader::new();
            for entry in &entries {
                reader.full(&entry.os_path, &entry.facts)?;
            }
            eprintln!(
                "{name}: {} entries walked in {walked:?}, read in {:?}",
                entries.len(),
                cpu_time() - start - walked
            );
        }
    }
    Ok(())
}

/// Processor time of this thread, which does not depend on what else the machine does.
pub(crate) fn cpu_time() -> std::time::Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    std::time::Duration::from_nanos(
        text.split(' ')
            .next()
            .and_then(|nanos| nanos.parse().ok())
            .unwrap_or(0),
    )
}
