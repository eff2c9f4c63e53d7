//! The entries of versions, and loading in bulk.

use larder_catalog::{
    Catalog, Counts, EntryTotals, EntryWriter, Error, Opened, Seen, StoredEntry, VolumeState,
};
use larder_volume::VolumeKind;

use crate::support::{Numbers, blocks, copy, dump, entries, entry, fill, hash, side};

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
    writer.finish(fileset, None).unwrap()
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
fn a_run_without_a_version_keeps_what_was_seen() {
    let (_folder, catalog) = open();
    let set = fileset(&catalog, 1);
    let mut all = entries(3000);
    store(&catalog, set, &all);
    for (number, stored) in all.iter_mut().enumerate() {
        stored.seen = Some(Seen {
            ctime_ticks: number as i64,
            inode: 7,
            device: 8,
        });
    }
    let mut writer = catalog.begin_entries().unwrap();
    all.iter().for_each(|entry| writer.add(entry).unwrap());
    writer.add(&entry(b"/zz/of no version", 1)).unwrap();
    writer.finish_unchanged().unwrap();
    assert!(stored(&catalog) == all);
    // A version that comes later has them too, and not the stray entry.
    let next = fileset(&catalog, 2);
    for stored in &mut all {
        stored.seen = None;
    }
    store(&catalog, next, &all);
    let found = stored(&catalog);
    assert_eq!(found.len(), 3000);
    assert!(found.iter().all(|found| found.seen.is_some()));
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
fn what_was_taken_in_so_far_can_be_read_and_more_be_added() {
    let (_folder, catalog) = open();
    let (first, second) = (fileset(&catalog, 1), fileset(&catalog, 2));
    let mut old = entries(4000);
    store(&catalog, first, &old);
    // Every third is changed, every seventh gone, and there are new ones.
    old.retain(|stored| stored.entry.size % 7 != 1);
    for stored in old.iter_mut().step_by(3) {
        stored.entry.size += 1_000_000;
    }
    let mut all = old;
    all.extend((0..500).map(|n| entry(format!("/new/{n:04}").as_bytes(), n)));
    all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let mut writer = catalog.begin_entries().unwrap();
    let read = |writer: &mut EntryWriter| -> Vec<StoredEntry> {
        let parts = writer.taken_in().unwrap();
        parts.flat_map(|part| part.unwrap()).collect()
    };
    assert!(read(&mut writer).is_empty());
    for (from, to) in [(0, 1), (1, 1700), (1700, all.len())] {
        all[from..to].iter().for_each(|e| writer.add(e).unwrap());
        assert!(read(&mut writer) == all[..to], "{to}");
    }
    writer.finish(second, None).unwrap();
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
        entry.entry.size += 5;
        writer.add(&entry).unwrap();
        catalog.set_param("busy", "meanwhile").unwrap();
    }
    assert_eq!(writer.finish(second, None).unwrap().entries, 2000);
    seen.extend(cursor.map(|entry| entry.unwrap()));
    assert!(seen == old);
    assert_eq!(catalog.previous().unwrap(), Some(second));
    let new = stored(&catalog);
    assert_eq!(new.len(), 2000);
    assert!(
        new.iter()
            .zip(&old)
            .all(|(new, old)| new.entry.size == old.entry.size + 5)
    );
    let again: Vec<_> = catalog
        .entries(first)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert!(again == old);
}

#[test]
fn a_version_that_is_removed_while_it_is_read_says_so() {
    let (_folder, catalog) = open();
    let (first, second) = (fileset(&catalog, 1), fileset(&catalog, 2));
    let all = entries(5000);
    store(&catalog, first, &all);
    store(&catalog, second, &all[..2000]);
    let mut cursor = catalog.entries(first).unwrap();
    assert!(cursor.by_ref().take(10).all(|entry| entry.is_ok()));
    catalog.remove_fileset(first).unwrap();
    assert_eq!(catalog.drop_unused_entries().unwrap(), 3000);
    let last = cursor.last().unwrap();
    assert!(
        matches!(last, Err(Error::Missing { id, .. }) if id == first),
        "{last:?}"
    );
    assert!(matches!(catalog.entries(first), Err(Error::Missing { .. })));
    assert!(stored(&catalog) == all[..2000]);
}

#[test]
fn entries_are_those_of_the_list_with_their_hash() {
    let (_folder, catalog) = open();
    let (first, second) = (fileset(&catalog, 1), fileset(&catalog, 2));
    let has = |fileset, list: Option<u64>| {
        let list = list.map(hash);
        catalog.has_entries(fileset, list.as_ref()).unwrap()
    };
    assert!(!has(first, None) && !has(first, Some(1)));
    let writer = catalog.begin_entries().unwrap();
    writer.finish(first, Some(hash(1))).unwrap();
    store(&catalog, second, &entries(10));
    assert!(has(first, None) && has(first, Some(1)) && !has(first, Some(2)));
    assert!(has(second, None) && has(second, Some(2)));
}

#[test]
fn a_vacuum_gives_unused_room_back_and_keeps_everything() {
    let (folder, catalog) = open();
    let path = folder.path().join("catalog.db");
    fill(&catalog, 3000, 500);
    let mut all = entries(20_000);
    let old = fileset(&catalog, 1);
    store(&catalog, old, &all);
    all.truncate(100);
    let new = fileset(&catalog, 2);
    store(&catalog, new, &all);
    catalog.remove_fileset(old).unwrap();
    let before = dump(&catalog).unwrap();
    let shrunk = catalog.vacuum().unwrap();
    let len = || std::fs::metadata(&path).unwrap().len();
    assert_eq!(shrunk.after, len());
    assert!(
        shrunk.before > 3_000_000 && shrunk.after < shrunk.before / 3,
        "{shrunk:?}"
    );
    assert_eq!(dump(&catalog).unwrap(), before);
    // A second one finds nothing to do.
    let again = catalog.vacuum().unwrap();
    assert_eq!((again.before, again.after), (shrunk.after, shrunk.after));
    catalog.close().unwrap();
    assert_eq!(len(), shrunk.after);
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&catalog).unwrap(), before);
    // It goes on being used, also after a crash.
    store(&catalog, fileset(&catalog, 3), &entries(300));
    let copied = folder.path().join("copied.db");
    copy(&path, &copied);
    let (crashed, opened) = Catalog::open(&copied).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&crashed).unwrap(), dump(&catalog).unwrap());
    // Not while entries are being taken in.
    let writer = catalog.begin_entries().unwrap();
    assert!(matches!(catalog.vacuum(), Err(Error::Misuse(_))));
    drop(writer);
    catalog.vacuum().unwrap();
}

#[test]
fn room_of_removed_versions_is_used_again() {
    let (folder, catalog) = open();
    let path = folder.path().join("catalog.db");
    let mut all = entries(20_000);
    for time in 0..12 {
        let set = fileset(&catalog, time);
        all.iter_mut().for_each(|entry| entry.entry.size += 1);
        store(&catalog, set, &all);
        if time > 0 {
            catalog.remove_fileset(set - 1).unwrap();
        }
    }
    assert!(stored(&catalog) == all);
    // Those of the version removed last.
    assert_eq!(catalog.drop_unused_entries().unwrap(), 20_000);
    assert_eq!(catalog.drop_unused_entries().unwrap(), 0);
    assert!(stored(&catalog) == all);
    drop(catalog);
    // At most two states of each entry were there at a time; each takes 3 MB.
    let len = std::fs::metadata(path).unwrap().len();
    assert!(len < 3 * 3_500_000, "{len}");
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
            writer.finish(second, None).unwrap();
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
    assert!(matches!(
        writer.finish(set + 1, None),
        Err(Error::Missing { .. })
    ));
    assert!(stored(&catalog) == all);
    catalog.remove_fileset(set).unwrap();
    assert_eq!(catalog.previous().unwrap(), None);
    assert!(stored(&catalog).is_empty());
}

#[test]
fn what_was_seen_of_a_file_is_no_part_of_its_versions() {
    let (_folder, catalog) = open();
    let (first, second) = (fileset(&catalog, 1), fileset(&catalog, 2));
    let mut all = entries(3000);
    all.iter_mut().for_each(|entry| entry.seen = None);
    store(&catalog, first, &all);
    for (n, entry) in all.iter_mut().enumerate().step_by(7) {
        entry.seen = Some(Seen {
            ctime_ticks: -(n as i64),
            inode: u64::MAX - n as u64,
            device: 5,
        });
    }
    store(&catalog, second, &all);
    assert!(stored(&catalog) == all);
    // Who does not know keeps what was known.
    let unseen: Vec<StoredEntry> = all
        .iter()
        .map(|entry| StoredEntry {
            seen: None,
            ..entry.clone()
        })
        .collect();
    store(&catalog, fileset(&catalog, 3), &unseen);
    assert!(stored(&catalog) == all);
    let mut differences = 0;
    catalog
        .differences(first, second, &mut |_| {
            differences += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(differences, 0);
}

#[test]
fn bulk_loading_equals_adding_one_by_one() {
    let (_folder, slow) = open();
    let (folder, quick) = open();
    fill(&slow, 3000, 0);
    for fileset in slow.filesets().unwrap() {
        slow.remove_fileset(fileset.id).unwrap();
    }
    slow.remove_loss("p-b04.dblock.zip").unwrap();
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
    quick.count_verification(first).unwrap();
    quick.link_index(index, first).unwrap();
    quick.set_param("blocksize", "102400").unwrap();
    let totals = bulk.finish().unwrap();
    assert_eq!((totals.blocks, totals.copies), (3000, 320));
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
