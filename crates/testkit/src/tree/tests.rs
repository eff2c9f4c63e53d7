//! Trees repeat with their seed, and every change of one is noticed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn differences(a: &Path, b: &Path) -> Vec<String> {
    compare(a, b, &CompareOptions::default())
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn torture_trees_repeat() {
    let root = tempfile::tempdir().unwrap();
    let (a, b, c) = (
        root.path().join("a"),
        root.path().join("b"),
        root.path().join("c"),
    );
    build_torture(&a, 1).unwrap();
    build_torture(&b, 1).unwrap();
    build_torture(&c, 2).unwrap();
    assert_eq!(differences(&a, &b), [""; 0]);
    assert!(differences(&a, &c).len() > 100);
    let manifest = Manifest::of(&a).unwrap();
    assert!(manifest.entries.len() > 280, "{}", manifest.entries.len());
    assert!(manifest.entries.contains_key(&b"names/new\nline"[..]));
    assert_eq!(
        manifest.entries[&b"links/hard 2"[..]].same_as.as_deref(),
        Some(&b"links/hard 1"[..])
    );
}

#[test]
fn random_trees_repeat_and_change() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    for path in [&a, &b] {
        build_random(path, 5, 200, 2_000_000).unwrap();
    }
    assert_eq!(differences(&a, &b), [""; 0]);
    let sizes = Manifest::of(&a).unwrap();
    let sizes = sizes.entries.values().filter_map(|entry| match entry.kind {
        Kind::File { size, .. } => Some(size),
        _ => None,
    });
    let total: u64 = sizes.sum();
    assert!((1_000_000..4_000_000).contains(&total), "{total}");
    edit_random(&a, 6, 30).unwrap();
    assert!(differences(&a, &b).len() > 15);
    edit_random(&b, 6, 30).unwrap();
    let options = CompareOptions {
        folder_mtimes: false,
        mtime_unit_ns: 0,
        ..CompareOptions::default()
    };
    assert_eq!(compare(&a, &b, &options), []);
    build_random(&root.path().join("empty"), 1, 0, 0).unwrap();
    edit_random(&root.path().join("empty"), 1, 5).unwrap();
}

#[test]
fn each_kind_of_change_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let change = |expected: &str, change: &dyn Fn(&Path)| {
        for path in [&a, &b] {
            let _ = fs::remove_dir_all(path);
            build_random(path, 7, 3, 3000).unwrap();
            fs::write(path.join("f"), "content").unwrap();
            std::os::unix::fs::symlink("f", path.join("l")).unwrap();
        }
        change(&b);
        let options = CompareOptions {
            mtime_unit_ns: 0,
            ..CompareOptions::default()
        };
        let found = compare(&a, &b, &options);
        assert!(
            found.iter().any(|found| found.to_string() == expected),
            "{expected}: {found:?}"
        );
    };
    change("\"f\": the file is missing", &|b| {
        fs::remove_file(b.join("f")).unwrap()
    });
    change("\"n\": there is a folder too many", &|b| {
        fs::create_dir(b.join("n")).unwrap()
    });
    change("\"f\": size 3 instead of 7", &|b| {
        fs::write(b.join("f"), "abc").unwrap()
    });
    change("\"f\": other content of the same size", &|b| {
        fs::write(b.join("f"), "c0ntent").unwrap()
    });
    change("\"l\": it leads to \"g\" instead of \"f\"", &|b| {
        fs::remove_file(b.join("l")).unwrap();
        std::os::unix::fs::symlink("g", b.join("l")).unwrap();
    });
    change("\"l\": folder instead of link", &|b| {
        fs::remove_file(b.join("l")).unwrap();
        fs::create_dir(b.join("l")).unwrap();
    });
    change("\"f\": mode 0400 instead of 0644", &|b| {
        fs::set_permissions(b.join("f"), fs::Permissions::from_mode(0o400)).unwrap();
        fs::set_permissions(
            b.parent().unwrap().join("a/f"),
            fs::Permissions::from_mode(0o644),
        )
        .unwrap();
    });
    change("\"f\": 2 names instead of 1", &|b| {
        fs::hard_link(b.join("f"), b.join("g")).unwrap()
    });
}

#[test]
fn fixture_manifests_are_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = r#"{"path": "a%0Ab%25", "type": "file", "size": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "mode": "4755", "mtime_ns": 1600000000987654321, "xattrs": {"user.x": "00ff"}}"#;
    let link = r#"{"path": "l", "type": "link", "target": "../Übersicht", "mtime_ns": -1}"#;
    fs::write(file.path(), format!("{line}\n{link}\n")).unwrap();
    let manifest = Manifest::read_fixture(file.path()).unwrap();
    let entry = &manifest.entries[&b"a\nb%"[..]];
    assert_eq!(
        (entry.mode, entry.mtime_ns),
        (Some(0o4755), Some(1_600_000_000_987_654_321))
    );
    assert_eq!(entry.xattrs.as_ref().unwrap()[&b"user.x"[..]], [0, 255]);
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a\nb%"), "abc").unwrap();
    std::os::unix::fs::symlink("../Übersicht", root.path().join("l")).unwrap();
    let found = compare_with_manifest(root.path(), &manifest, &CompareOptions::content_only());
    assert_eq!(found, []);
    let found = compare_with_manifest(root.path(), &manifest, &CompareOptions::default());
    assert!(found.len() >= 4, "{found:?}");
    fs::write(file.path(), "{\"path\": \"x\", \"type\": \"file\"}").unwrap();
    let error = Manifest::read_fixture(file.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("line 1: a file without a sha256"),
        "{error}"
    );
    assert_eq!(manifest.below(b"a\n").entries.keys().next().unwrap(), b"b%");
}
