//! What opening makes of files it did not expect.

use larder_catalog::{Catalog, Error, Opened};

use crate::support::{copy, dump, fill, side};

#[test]
fn a_new_catalog_is_created_with_its_folder_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/catalog.db");
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Created);
    fill(&catalog, 1000, 500);
    let before = dump(&catalog).unwrap();
    catalog.close().unwrap();
    assert!(side(&path, ".sum").exists());
    assert!(!side(&path, "-wal").exists());
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&catalog).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    catalog.set_param("a", "b").unwrap();
    for suffix in ["", "-wal", ".lock"] {
        let mode = std::fs::metadata(side(&path, suffix))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn reading_only_leaves_the_checksum_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 100, 50);
    drop(catalog);
    let sums = std::fs::read(side(&path, ".sum")).unwrap();
    let (catalog, _) = Catalog::open(&path).unwrap();
    dump(&catalog).unwrap();
    assert!(side(&path, ".sum").exists());
    drop(catalog);
    assert_eq!(std::fs::read(side(&path, ".sum")).unwrap(), sums);
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    catalog.set_param("x", "y").unwrap();
    assert!(!side(&path, ".sum").exists());
}

#[test]
fn a_killed_process_loses_nothing_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 2000, 800);
    let before = dump(&catalog).unwrap();
    let copied = folder.path().join("copied.db");
    copy(&path, &copied);
    assert!(side(&copied, "-wal").exists() && !side(&copied, ".sum").exists());
    let (catalog, opened) = Catalog::open(&copied).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&catalog).unwrap(), before);
    // Examined once, it is closed properly even though nothing was changed.
    drop(catalog);
    assert!(side(&copied, ".sum").exists());
}

#[test]
fn foreign_files_are_set_aside_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let text = "not a database at all, but somebody's text\n".repeat(500);
    for round in 1..=3 {
        std::fs::write(&path, format!("{round}{text}")).unwrap();
        let (catalog, opened) = Catalog::open(&path).unwrap();
        let Opened::Replaced { kept_as, .. } = opened else {
            panic!("{opened:?}")
        };
        assert_eq!(kept_as, side(&path, &format!(".foreign-{round}")));
        assert_eq!(
            std::fs::read_to_string(kept_as).unwrap(),
            format!("{round}{text}")
        );
        assert!(catalog.volumes().unwrap().is_empty());
    }
}

#[test]
fn an_empty_file_and_another_version_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(&path, b"").unwrap();
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert!(
        matches!(&opened, Opened::Replaced { reason, .. } if reason == "it is empty"),
        "{opened:?}"
    );
    drop(catalog);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[63] += 1;
    std::fs::write(&path, bytes).unwrap();
    let (_, opened) = Catalog::open(&path).unwrap();
    assert!(
        matches!(&opened, Opened::Replaced { reason, .. } if reason.contains("another version")),
        "{opened:?}"
    );
}

#[test]
fn a_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(Catalog::open(&path), Err(Error::Io { .. })));
    assert!(path.is_dir());
}

#[test]
fn a_log_of_another_database_is_not_played_in() {
    let folder = tempfile::tempdir().unwrap();
    let [path, other] = ["catalog.db", "other.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 1000, 100);
    copy(&path, &other);
    drop(catalog);
    let log = std::fs::read(side(&other, "-wal")).unwrap();
    // The database is gone, its log is not.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(side(&path, "-wal"), &log).unwrap();
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Created);
    assert!(catalog.volumes().unwrap().is_empty());
    drop(catalog);
    // A closed database next to a log.
    std::fs::write(side(&path, "-wal"), &log).unwrap();
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert!(
        matches!(&opened, Opened::Replaced { reason, .. } if reason.contains("log")),
        "{opened:?}"
    );
    assert!(catalog.volumes().unwrap().is_empty());
}

#[test]
fn leftovers_of_a_killed_process_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    for suffix in [".new", ".new-wal", ".sum-new", ".sort-0", ".sort-17"] {
        std::fs::write(side(&path, suffix), b"left behind").unwrap();
    }
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Created);
    drop(catalog);
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["catalog.db", "catalog.db.lock", "catalog.db.sum"]);
}

#[test]
fn readers_beside_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    assert!(matches!(
        Catalog::open_for_reading(&path),
        Err(Error::Absent { .. })
    ));
    assert!(!side(&path, ".lock").exists());
    let (writer, _) = Catalog::open(&path).unwrap();
    fill(&writer, 100, 50);
    let before = dump(&writer).unwrap();
    assert!(
        matches!(Catalog::open(&path), Err(Error::Busy { pid: Some(pid) }) if pid == std::process::id())
    );
    let first = Catalog::open_for_reading(&path).unwrap();
    assert_eq!(dump(&first).unwrap(), before);
    assert!(matches!(first.set_param("a", "b"), Err(Error::Misuse(_))));
    assert!(matches!(first.begin_entries(), Err(Error::Misuse(_))));
    assert!(matches!(first.bulk(), Err(Error::Misuse(_))));
    // What is committed is seen, what is not is not.
    let mut cursor = first.previous_entries().unwrap();
    cursor.next().unwrap().unwrap();
    writer
        .batch(|writer| {
            writer.set_param("blocksize", "1")?;
            assert_eq!(dump(&first).unwrap(), before);
            Ok(())
        })
        .unwrap();
    let after = dump(&writer).unwrap();
    assert_ne!(after, before);
    assert_eq!(dump(&first).unwrap(), after);
    // A reader does not keep the writer from closing with its checksum, nor the next from opening.
    writer.close().unwrap();
    assert!(side(&path, ".sum").exists());
    assert_eq!(cursor.count(), 49);
    let second = Catalog::open_for_reading(&path).unwrap();
    assert_eq!(dump(&second).unwrap(), after);
    let (writer, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    writer.set_param("blocksize", "2").unwrap();
    let after = dump(&writer).unwrap();
    assert_eq!(dump(&first).unwrap(), after);
    assert_eq!(dump(&second).unwrap(), after);
    drop((first, second, writer));
    assert_eq!(Catalog::open(&path).unwrap().1, Opened::Existing);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(
        Catalog::open_for_reading(&path),
        Err(Error::Damaged { .. })
    ));
    assert!(path.exists(), "a reader sets nothing aside");
}

#[test]
fn a_reader_never_sees_a_version_half_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (writer, _) = Catalog::open(&path).unwrap();
    fill(&writer, 100, 9000);
    let truth = dump(&writer).unwrap();
    let list = writer
        .add_volume(
            "l",
            larder_volume::VolumeKind::List,
            larder_catalog::VolumeState::Verified,
            None,
            None,
        )
        .unwrap();
    let next = writer
        .add_fileset(list, 1_800_000_000, true, larder_catalog::Counts::default())
        .unwrap();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                    let reader = Catalog::open_for_reading(&path).unwrap();
                    for fileset in [1, 2] {
                        let mut count = 0;
                        for stored in reader.entries(fileset).unwrap() {
                            let path = stored.unwrap().entry.path;
                            count += 1;
                            if count % 500 == 0 {
                                assert!(reader.entry(fileset, &path).unwrap().is_some());
                            }
                        }
                        assert!(truth.contains(&format!("entries of {fileset}\n")));
                        assert_eq!(count, if fileset == 1 { 9000 } else { 4500 });
                    }
                }
            });
        }
        for round in 0..4u64 {
            let mut entries = writer.begin_entries().unwrap();
            for n in 0..60_000 {
                let path = format!("/home/someone/folder{:03}/file {n:06} {round}", n / 40);
                entries
                    .add(&crate::support::entry(path.as_bytes(), n + round))
                    .unwrap();
            }
            match round {
                3 => drop(entries.finish(next, None).unwrap()),
                _ => drop(entries),
            }
        }
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert_eq!(writer.entries(next).unwrap().count(), 60_000);
}

#[test]
fn a_reader_waits_for_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    let loader = catalog.bulk().unwrap();
    assert!(matches!(
        Catalog::open_for_reading(&path),
        Err(Error::Busy { pid: Some(_) })
    ));
    loader.finish().unwrap();
    Catalog::open_for_reading(&path).unwrap();
}

#[test]
fn a_reader_sees_what_a_killed_writer_committed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, copied] = ["catalog.db", "copied.db"].map(|name| folder.path().join(name));
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 300, 50);
    let before = dump(&catalog).unwrap();
    copy(&path, &copied);
    for _ in 0..2 {
        let reader = Catalog::open_for_reading(&copied).unwrap();
        assert_eq!(dump(&reader).unwrap(), before);
    }
    let (catalog, opened) = Catalog::open(&copied).unwrap();
    assert_eq!(
        (dump(&catalog).unwrap(), opened),
        (before, Opened::Existing)
    );
}

#[test]
fn the_lock_lasts_as_long_as_anything_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 300, 50);
    let cursor = catalog.previous_entries().unwrap();
    drop(catalog);
    assert!(matches!(Catalog::open(&path), Err(Error::Busy { .. })));
    assert_eq!(cursor.count(), 50);
    let (_, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
}

#[test]
fn an_interrupted_rebuild_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 300, 50);
    drop(catalog.bulk().unwrap());
    drop(catalog);
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert!(
        matches!(&opened, Opened::Replaced { reason, .. } if reason.contains("rebuild")),
        "{opened:?}"
    );
    catalog.bulk().unwrap().finish().unwrap();
    drop(catalog);
    assert_eq!(Catalog::open(&path).unwrap().1, Opened::Existing);
}

/// What a rebuild that failed left was used on by a process that lived on: indexes were known, and their blocks were not.
#[test]
fn a_catalog_whose_load_failed_is_not_used_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 300, 50);
    let bulk = catalog.bulk().unwrap();
    assert!(catalog.volumes().is_ok(), "it is read while it is loaded");
    drop(bulk);
    assert!(catalog.volumes().unwrap_err().is_damage());
    let changed = catalog.durable(|c| c.set_param("key", "value"));
    assert!(changed.unwrap_err().is_damage());
    let (catalog, _) = catalog.replace().unwrap();
    assert!(catalog.volumes().unwrap().is_empty());
}

#[test]
fn a_replaced_catalog_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    fill(&catalog, 300, 50);
    let (catalog, kept_as) = catalog.replace().unwrap();
    assert!(kept_as.exists());
    assert!(catalog.volumes().unwrap().is_empty());
    fill(&catalog, 300, 50);
    let left = dump(&catalog).unwrap();
    drop(catalog);
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!((dump(&catalog).unwrap(), opened), (left, Opened::Existing));
}

/// Another process could take the lock while a catalog was replaced.
#[test]
fn a_catalog_is_replaced_under_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (mut catalog, _) = Catalog::open(&path).unwrap();
    let lock = std::fs::File::open(folder.path().join("catalog.db.lock")).unwrap();
    let got = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let waiter = {
        let got = got.clone();
        std::thread::spawn(move || {
            lock.lock().unwrap();
            got.store(true, std::sync::atomic::Ordering::SeqCst);
        })
    };
    for _ in 0..20 {
        catalog = catalog.replace().unwrap().0;
        assert!(!got.load(std::sync::atomic::Ordering::SeqCst));
        assert!(catalog.volumes().unwrap().is_empty());
    }
    drop(catalog);
    waiter.join().unwrap();
}
