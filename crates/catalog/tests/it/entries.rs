//! The entries of the newest version, and loading in bulk.

use larder_catalog::{Catalog, Counts, EntryTotals, Error, StoredEntry, VolumeState};
use larder_volume::VolumeKind;

use crate::support::{Numbers, blocks, dump, entries, entry, fill, hash, side};

fn open() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = Catalog::open(&folder.path().join("catalog.db")).unwrap();
    (folder, catalog)
}

fn fileset(catalog: &Catalog, time: i64) -> i64 {
    let name = format!("list{time}");
    let list = catalog
        .add_volume(&name, VolumeKind::List, VolumeState::Verified, None, None)
        .unwrap();
    catalog
        .add_fileset(list, time, true, Counts::default())
        .unwrap()
}

fn store(catalog: &Catalog, fileset: i64, entries: &[StoredEntry]) -> EntryTotals {
    let mut writer = catalog.begin_entries().unwrap();
    entries.iter().for_each(|entry| writer.add(entry).unwrap());
    writer.finish(fileset).unwrap()
}

fn stored(catalog: &Catalog) -> Vec<StoredEntry> {
    catalog
        .previous_entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect()
}

#[test]
fn entries_come_back_in_path_order() {
    let (_folder, catalog) = open();
    assert_eq!(catalog.previous().unwrap(), None);
    assert!(stored(&catalog).is_empty());
    let set = fileset(&catalog, 1);
    let mut all = entries(5000);
    // Names that share nothing, everything, are not UTF-8, or sort around the separator.
    for (n, path) in [
        &b"/"[..],
        b"/a",
        b"/a.txt",
        b"/a/",
        b"/a/\xff\xfe",
        b"/a/\n",
        b"C:\\x",
        b"/\xed\xa0\x80",
    ]
    .iter()
    .enumerate()
    {
        all.push(entry(path, n as u64 + 7000));
    }
    all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    assert_eq!(
        store(&catalog, set, &all),
        EntryTotals {
            entries: 5008,
            duplicates: 0
        }
    );
    assert_eq!(catalog.previous().unwrap(), Some(set));
    assert!(stored(&catalog) == all);
    assert_eq!(catalog.previous_entries().unwrap().remaining(), 5008);
}

#[test]
fn any_order_will_do_and_the_first_of_equal_paths_stays() {
    let (_folder, catalog) = open();
    let set = fileset(&catalog, 1);
    let all = entries(3000);
    let mut shuffled = all.clone();
    let mut numbers = Numbers(99);
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, numbers.below(at as u64 + 1) as usize);
    }
    for n in 0..50 {
        shuffled.push(entry(&all[n * 7].entry.path, 999_999));
    }
    assert_eq!(
        store(&catalog, set, &shuffled),
        EntryTotals {
            entries: 3000,
            duplicates: 50
        }
    );
    assert!(stored(&catalog) == all);
}

#[test]
fn a_cursor_is_not_disturbed_by_the_writer_that_replaces_what_it_reads() {
    let (_folder, catalog) = open();
    let (first, second) = (fileset(&catalog, 1), fileset(&catalog, 2));
    let old = entries(4000);
    store(&catalog, first, &old);
    let mut cursor = catalog.previous_entries().unwrap();
    let mut writer = catalog.begin_entries().unwrap();
    let mut seen = Vec::new();
    for entry in cursor.by_ref().take(2000) {
        let mut entry = entry.unwrap();
        seen.push(entry.clone());
        entry.mtime_ticks = Some(5);
        writer.add(&entry).unwrap();
        catalog.set_param("busy", "meanwhile").unwrap();
    }
    assert_eq!(writer.finish(second).unwrap().entries, 2000);
    catalog
        .update_entry_times(&[(&old[3000].entry.path, 1)])
        .unwrap();
    seen.extend(cursor.map(|entry| entry.unwrap()));
    assert!(seen == old);
    assert_eq!(catalog.previous().unwrap(), Some(second));
    let new = stored(&catalog);
    assert_eq!(new.len(), 2000);
    assert!(new.iter().all(|entry| entry.mtime_ticks == Some(5)));
}

#[test]
fn old_entries_are_deleted_once_nobody_reads_them() {
    let (folder, catalog) = open();
    let path = folder.path().join("catalog.db");
    let set = fileset(&catalog, 1);
    let all = entries(20_000);
    store(&catalog, set, &all);
    let cursor = catalog.previous_entries().unwrap();
    for _ in 0..3 {
        store(&catalog, set, &all);
    }
    catalog.remove_fileset(set).unwrap();
    assert_eq!(cursor.filter(|entry| entry.is_ok()).count(), 20_000);
    let set = fileset(&catalog, 2);
    for _ in 0..10 {
        store(&catalog, set, &all);
    }
    assert!(stored(&catalog) == all);
    drop(catalog);
    // Four generations at most were there at a time; each takes more than 2 MB.
    let len = std::fs::metadata(path).unwrap().len();
    assert!(len < 5 * 3_500_000, "{len}");
}

#[test]
fn a_cursor_does_not_keep_the_log_from_being_emptied() {
    let (folder, catalog) = open();
    let set = fileset(&catalog, 1);
    store(&catalog, set, &entries(1000));
    let mut cursor = catalog.previous_entries().unwrap();
    let volume = catalog
        .add_volume("v", VolumeKind::Blocks, VolumeState::Uploading, None, None)
        .unwrap();
    for round in 0..60 {
        catalog
            .add_blocks(volume, &blocks(round * 1000..round * 1000 + 1000))
            .unwrap();
        cursor.next().unwrap().unwrap();
    }
    let len = std::fs::metadata(side(&folder.path().join("catalog.db"), "-wal"))
        .unwrap()
        .len();
    assert!(len < 30_000_000, "{len}");
}

#[test]
fn blocks_and_entries_may_be_written_by_different_threads() {
    fn is_send<T: Send>() {}
    is_send::<Catalog>();
    is_send::<larder_catalog::BulkLoader>();
    is_send::<larder_catalog::Fingerprints>();
    let (folder, catalog) = open();
    let (first, second) = (fileset(&catalog, 1), fileset(&catalog, 2));
    let all = entries(30_000);
    store(&catalog, first, &all);
    let volume = catalog
        .add_volume("v", VolumeKind::Blocks, VolumeState::Uploading, None, None)
        .unwrap();
    let cursor = catalog.previous_entries().unwrap();
    let mut writer = catalog.begin_entries().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for entry in cursor {
                writer.add(&entry.unwrap()).unwrap();
            }
            writer.finish(second).unwrap();
        });
        for round in 0..100 {
            catalog
                .add_blocks(volume, &blocks(round * 100..round * 100 + 100))
                .unwrap();
            catalog
                .durable(|catalog| catalog.count_verification(volume))
                .unwrap();
        }
    });
    assert!(stored(&catalog) == all);
    assert_eq!(catalog.previous().unwrap(), Some(second));
    assert_eq!(catalog.block_count().unwrap(), 10_000);
    drop(catalog);
    assert_eq!(
        Catalog::open(&folder.path().join("catalog.db")).unwrap().1,
        larder_catalog::Opened::Existing
    );
}

#[test]
fn a_dropped_writer_changes_nothing() {
    let (_folder, catalog) = open();
    let set = fileset(&catalog, 1);
    let all = entries(100);
    store(&catalog, set, &all);
    let mut writer = catalog.begin_entries().unwrap();
    assert!(matches!(catalog.begin_entries(), Err(Error::Misuse(_))));
    assert!(matches!(catalog.bulk(), Err(Error::Misuse(_))));
    writer.add(&entry(b"/other", 3)).unwrap();
    drop(writer);
    assert!(stored(&catalog) == all);
    let writer = catalog.begin_entries().unwrap();
    assert!(matches!(writer.finish(set + 1), Err(Error::Missing { .. })));
    assert!(stored(&catalog) == all);
    catalog.remove_fileset(set).unwrap();
    assert_eq!(catalog.previous().unwrap(), None);
    assert!(stored(&catalog).is_empty());
}

#[test]
fn the_swap_may_be_part_of_a_transaction() {
    let (folder, catalog) = open();
    let first = fileset(&catalog, 1);
    let all = entries(100);
    store(&catalog, first, &all);
    let failed: Result<(), Error> = catalog.durable(|catalog| {
        let second = fileset(catalog, 2);
        let mut writer = catalog.begin_entries()?;
        writer.add(&entry(b"/new", 1))?;
        writer.finish_in(catalog, second)?;
        assert_eq!(catalog.previous()?, Some(second));
        Err(Error::Misuse("on purpose"))
    });
    assert!(failed.is_err());
    assert_eq!(catalog.previous().unwrap(), Some(first));
    assert!(stored(&catalog) == all);
    let (other, _) = Catalog::open(&folder.path().join("other.db")).unwrap();
    assert!(matches!(
        catalog.begin_entries().unwrap().finish_in(&other, 1),
        Err(Error::Misuse(_))
    ));
}

#[test]
fn times_alone_can_be_changed() {
    let (_folder, catalog) = open();
    let set = fileset(&catalog, 1);
    let mut all = entries(3000);
    store(&catalog, set, &all);
    let mut times: Vec<(Vec<u8>, i64)> = Vec::new();
    for at in [0, 1, 500, 511, 512, 513, 1777, 2999] {
        all[at].mtime_ticks = Some(at as i64 * 3 - 7);
        times.push((all[at].entry.path.clone(), at as i64 * 3 - 7));
    }
    for path in [
        "",
        "/",
        "/home/someone/folder000/file 000000.txt1",
        "/home/someone/folder070/zz",
        "zzz",
    ] {
        times.push((path.as_bytes().to_vec(), 1));
    }
    times.reverse();
    assert_eq!(catalog.update_entry_times(&times).unwrap(), 8);
    assert!(stored(&catalog) == all);
    assert_eq!(catalog.update_entry_times::<&[u8]>(&[]).unwrap(), 0);
}

#[test]
fn bulk_loading_equals_adding_one_by_one() {
    let (_folder, slow) = open();
    let (folder, quick) = open();
    fill(&slow, 3000, 2000);
    // The same content in another order.
    let volume = |name: &str, kind, state| {
        quick
            .add_volume(name, kind, state, Some(1000), Some(hash(9)))
            .unwrap()
    };
    let first = volume(
        "p-b01.dblock.zip",
        VolumeKind::Blocks,
        VolumeState::Verified,
    );
    let second = volume(
        "p-b02.dblock.zip",
        VolumeKind::Blocks,
        VolumeState::Uploaded,
    );
    let third = volume(
        "p-b03.dblock.zip",
        VolumeKind::Blocks,
        VolumeState::Deleting,
    );
    let mut bulk = quick.bulk().unwrap();
    bulk.add_blocks(third, &blocks(0..300)).unwrap();
    let index = volume("p-i01.dindex.zip", VolumeKind::Index, VolumeState::Verified);
    let list = volume(
        "p-20240101T000000Z.dlist.zip",
        VolumeKind::List,
        VolumeState::Verified,
    );
    // Two index files describe one volume, overlapping.
    bulk.add_blocks(first, &blocks(0..1000)).unwrap();
    bulk.add_blocks(first, &blocks(900..1500)).unwrap();
    bulk.add_blocks(second, &blocks(1480..3000)).unwrap();
    for n in (0..20).rev() {
        bulk.add_blocklist(&hash(n), &vec![n as u8; 32 * (n as usize + 1)], None)
            .unwrap();
    }
    for n in (0..20).step_by(2) {
        bulk.add_blocklist(&hash(n), &vec![n as u8; 32 * (n as usize + 1)], Some(first))
            .unwrap();
    }
    assert!(matches!(
        bulk.add_blocks(77, &blocks(0..1)),
        Err(Error::Missing { .. })
    ));
    assert!(matches!(
        bulk.add_blocks(list, &blocks(0..1)),
        Err(Error::Misuse(_))
    ));
    entries(2000)
        .iter()
        .rev()
        .for_each(|entry| bulk.add_entry(entry).unwrap());
    quick.count_verification(first).unwrap();
    quick.link_index(index, first).unwrap();
    quick.set_param("blocksize", "102400").unwrap();
    let counts = Counts {
        files: 1,
        folders: 2,
        symlinks: 3,
        bytes: 4,
    };
    let set = quick
        .add_fileset(list, 1_704_067_200, true, counts)
        .unwrap();
    let totals = bulk.finish(Some(set)).unwrap();
    assert_eq!(
        (totals.blocks, totals.copies, totals.entries.entries),
        (3000, 320, 2000)
    );
    let sorted = |catalog: &Catalog| {
        let mut lines: Vec<String> = dump(catalog).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (a, b) = (sorted(&slow), sorted(&quick));
    assert!(a == b, "{:?}", a.iter().zip(&b).find(|(a, b)| a != b));
    drop(quick);
    let path = folder.path().join("catalog.db");
    std::fs::remove_file(side(&path, ".sum")).unwrap();
    let (quick, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, larder_catalog::Opened::Existing);
    assert!(sorted(&quick) == b);
}
