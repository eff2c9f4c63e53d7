//! Settings, volumes, blocks, blocklists, versions: what goes in comes out.

use larder_catalog::{Catalog, Counts, Error, VolumeState};
use larder_volume::{Hash, VolumeKind};

use crate::support::{blocks, hash};

fn open() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = Catalog::open(&folder.path().join("catalog.db")).unwrap();
    (folder, catalog)
}

fn block_volume(catalog: &Catalog, name: &str) -> i64 {
    catalog
        .add_volume(name, VolumeKind::Blocks, VolumeState::Uploaded, None, None)
        .unwrap()
}

#[test]
fn settings_are_replaced_and_removed() {
    let (_folder, catalog) = open();
    assert_eq!(catalog.param("key").unwrap(), None);
    catalog.set_param("key", "one").unwrap();
    catalog.set_param("key", "").unwrap();
    assert_eq!(catalog.param("key").unwrap().as_deref(), Some(""));
    catalog.remove_param("key").unwrap();
    catalog.remove_param("key").unwrap();
    assert_eq!(catalog.param("key").unwrap(), None);
}

#[test]
fn volumes_live_through_their_states() {
    let (_folder, catalog) = open();
    let name = "p-20240101T000000Z.dlist.zip.aes";
    let id = catalog
        .add_volume(name, VolumeKind::List, VolumeState::Temporary, None, None)
        .unwrap();
    let row = catalog.volume(id).unwrap().unwrap();
    assert_eq!(
        (row.time, row.size, row.hash, row.verified),
        (Some(1_704_067_200), None, None, 0)
    );
    catalog
        .set_volume(id, VolumeState::Uploading, Some(77), Some(hash(1)))
        .unwrap();
    catalog
        .set_volume(id, VolumeState::Verified, None, None)
        .unwrap();
    catalog.count_verification(id).unwrap();
    catalog
        .rename_volume(id, "p-20240101T000001Z.dlist.zip.aes")
        .unwrap();
    let row = catalog
        .volume_named("p-20240101T000001Z.dlist.zip.aes")
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.id, row.state, row.kind),
        (id, VolumeState::Verified, VolumeKind::List)
    );
    assert_eq!(
        (row.time, row.size, row.hash, row.verified),
        (Some(1_704_067_201), Some(77), Some(hash(1)), 1)
    );
    assert_eq!(catalog.volume_named(name).unwrap(), None);
    let other = block_volume(&catalog, "p-b01.dblock.zip");
    assert!(
        matches!(catalog.rename_volume(other, &row.name), Err(Error::Exists { name }) if name == row.name)
    );
    let again = catalog.add_volume(
        &row.name,
        VolumeKind::List,
        VolumeState::Temporary,
        None,
        None,
    );
    assert!(matches!(again, Err(Error::Exists { .. })));
    assert!(matches!(
        catalog.set_volume(99, VolumeState::Deleted, None, None),
        Err(Error::Missing { id: 99, .. })
    ));
    catalog.remove_volume(other).unwrap();
    assert!(
        block_volume(&catalog, "p-b02.dblock.zip") > other,
        "ids are not used again"
    );
    assert_eq!(catalog.volumes().unwrap().len(), 2);
}

#[test]
fn index_links_tell_what_lacks_an_index() {
    let (_folder, catalog) = open();
    let [a, b, c] = ["a", "b", "c"].map(|name| block_volume(&catalog, name));
    let [i, j] = ["i", "j"].map(|name| {
        catalog
            .add_volume(name, VolumeKind::Index, VolumeState::Verified, None, None)
            .unwrap()
    });
    let lacking = || {
        catalog
            .volumes_without_index()
            .unwrap()
            .iter()
            .map(|row| row.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(lacking(), [a, b, c]);
    for (index, volume) in [(i, a), (j, a), (j, b), (j, b)] {
        catalog.link_index(index, volume).unwrap();
    }
    assert_eq!(catalog.index_links().unwrap(), [(i, a), (j, a), (j, b)]);
    assert_eq!(lacking(), [c]);
    catalog
        .set_volume(c, VolumeState::Deleting, None, None)
        .unwrap();
    catalog
        .set_volume(j, VolumeState::Deleting, None, None)
        .unwrap();
    assert_eq!(lacking(), [b]);
    catalog.remove_volume(i).unwrap();
    assert_eq!(catalog.index_links().unwrap(), [(j, a), (j, b)]);
    assert!(matches!(
        catalog.link_index(i, a),
        Err(Error::Missing { .. })
    ));
}

#[test]
fn blocks_are_found_by_hash_and_size() {
    let (_folder, catalog) = open();
    let a = block_volume(&catalog, "a");
    let b = block_volume(&catalog, "b");
    let mut first = blocks(0..9000);
    first.push((hash(5), 123_456));
    catalog.add_blocks(a, &first).unwrap();
    catalog.add_blocks(b, &blocks(8990..9010)).unwrap();
    // Again, partly twice in one call.
    catalog
        .add_blocks(b, &[blocks(8990..9000), blocks(8990..9012)].concat())
        .unwrap();
    assert_eq!(catalog.block_count().unwrap(), 9013);
    assert_eq!(catalog.find_block(&hash(5), 6).unwrap(), Some(a));
    assert_eq!(catalog.find_block(&hash(5), 7).unwrap(), None);
    let asked = [
        (hash(9005), 9006),
        (hash(5), 6),
        (hash(77_777), 1),
        (hash(5), 6),
    ];
    assert_eq!(
        catalog.find_blocks(&asked).unwrap(),
        [Some(b), Some(a), None, Some(a)]
    );
    assert!(catalog.find_blocks(&[]).unwrap().is_empty());
    assert_eq!(
        catalog.find_blocks_by_hash(&hash(5)).unwrap(),
        [(6, a), (123_456, a)]
    );
    assert_eq!(catalog.volumes_of_block(&hash(8995), 8996).unwrap(), [a, b]);
    assert!(
        catalog.blocks_of_volume(a).unwrap() == first.clone().into(),
        "order of addition is kept"
    );
    assert!(catalog.blocks_of_volume(b).unwrap() == blocks(8990..9012).into());
    let are_held = |asked: &[(Hash, u64)], by: i64| {
        let is_good =
            |volume: i64, block: &(Hash, u64)| volume == by && *block != (hash(8999), 9000);
        catalog.are_held(asked, is_good).unwrap()
    };
    assert!(are_held(&blocks(8990..8999), a) && are_held(&blocks(8990..8999), b));
    assert!(!are_held(&blocks(8989..8999), b), "one is in the other");
    assert!(!are_held(&blocks(8990..9000), b), "one copy is not good");
    assert!(!are_held(&blocks(9011..9013), b), "one is nowhere");
    assert!(are_held(&[], b));
    let mut count = 0;
    catalog.each_block(&mut |_, _, _| count += 1).unwrap();
    assert_eq!(count, 9013);
    assert!(matches!(
        catalog.add_blocks(99, &first),
        Err(Error::Missing { .. })
    ));
    let list = catalog
        .add_volume("l", VolumeKind::List, VolumeState::Verified, None, None)
        .unwrap();
    assert!(matches!(
        catalog.add_blocks(list, &first),
        Err(Error::Misuse(_))
    ));
}

#[test]
fn a_volume_that_goes_away_leaves_its_blocks_to_their_copies() {
    let (_folder, catalog) = open();
    let [a, b, c] = ["a", "b", "c"].map(|name| block_volume(&catalog, name));
    catalog.add_blocks(a, &blocks(0..20)).unwrap();
    catalog.add_blocks(b, &blocks(10..30)).unwrap();
    catalog
        .set_volume(a, VolumeState::Deleting, None, None)
        .unwrap();
    let find = |n: u64| catalog.find_block(&hash(n), n + 1).unwrap();
    assert_eq!((find(5), find(15), find(25)), (None, Some(b), Some(b)));
    // A new copy takes over from a volume that is being deleted.
    catalog.add_blocks(c, &blocks(5..16)).unwrap();
    assert_eq!((find(4), find(5), find(15)), (None, Some(c), Some(c)));
    let mut seen = 0;
    catalog
        .each_block(&mut |_, _, volume| seen += u32::from(volume != a))
        .unwrap();
    assert_eq!(seen, 25);
    catalog.remove_volume(a).unwrap();
    assert_eq!(
        (find(4), find(5), find(15), find(19), find(29)),
        (None, Some(c), Some(c), Some(b), Some(b))
    );
    assert_eq!(catalog.block_count().unwrap(), 25);
    catalog.remove_volume(c).unwrap();
    assert_eq!((find(5), find(15)), (None, Some(b)));
    catalog.remove_volume(b).unwrap();
    assert_eq!(catalog.block_count().unwrap(), 0);
}

#[test]
fn a_volume_that_comes_back_to_life_has_its_blocks_again() {
    let (_folder, catalog) = open();
    let a = block_volume(&catalog, "a");
    catalog.add_blocks(a, &blocks(0..3)).unwrap();
    catalog
        .set_volume(a, VolumeState::Deleting, None, None)
        .unwrap();
    assert_eq!(catalog.find_block(&hash(1), 2).unwrap(), None);
    let failed: Result<(), Error> = catalog.durable(|catalog| {
        catalog.set_volume(a, VolumeState::Verified, None, None)?;
        assert_eq!(catalog.find_block(&hash(1), 2)?, Some(a));
        Err(Error::Misuse("on purpose"))
    });
    assert!(failed.is_err());
    assert_eq!(catalog.find_block(&hash(1), 2).unwrap(), None);
    catalog
        .set_volume(a, VolumeState::Verified, None, None)
        .unwrap();
    assert_eq!(catalog.find_block(&hash(1), 2).unwrap(), Some(a));
}

#[test]
fn blocklists_are_kept_with_their_volume() {
    let (_folder, catalog) = open();
    let [a, b] = ["a", "b"].map(|name| block_volume(&catalog, name));
    let data = |n: u64| vec![n as u8; 64];
    catalog.add_blocklist(&hash(1), &data(1), Some(a)).unwrap();
    catalog.add_blocklist(&hash(2), &data(2), None).unwrap();
    catalog.add_blocklist(&hash(2), &data(2), Some(a)).unwrap();
    catalog.add_blocklist(&hash(1), &data(1), Some(b)).unwrap();
    assert_eq!(catalog.blocklist(&hash(1)).unwrap(), Some(data(1)));
    assert_eq!(catalog.blocklist(&hash(3)).unwrap(), None);
    assert_eq!(
        catalog.blocklists_of_volume(a).unwrap(),
        [(hash(1), data(1)), (hash(2), data(2))]
    );
    catalog
        .add_blocks(a, &[(hash(1), 64), (hash(2), 64)])
        .unwrap();
    catalog.add_blocks(b, &[(hash(2), 64)]).unwrap();
    catalog.remove_volume(a).unwrap();
    assert_eq!(catalog.blocklist(&hash(1)).unwrap(), None);
    assert_eq!(
        catalog.blocklists_of_volume(b).unwrap(),
        [(hash(2), data(2))]
    );
}

#[test]
fn versions_come_newest_first() {
    let (_folder, catalog) = open();
    let list = |name: &str| {
        catalog
            .add_volume(name, VolumeKind::List, VolumeState::Verified, None, None)
            .unwrap()
    };
    let counts = Counts {
        files: 5,
        folders: 4,
        symlinks: 3,
        bytes: u64::from(u32::MAX) * 10,
    };
    let [l, m] = ["l", "m"].map(list);
    let old = catalog.add_fileset(l, 1000, true, counts).unwrap();
    let new = catalog
        .add_fileset(m, 2000, false, Counts::default())
        .unwrap();
    let ids = || {
        catalog
            .filesets()
            .unwrap()
            .iter()
            .map(|row| row.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(), [new, old]);
    let row = catalog.filesets().unwrap()[1];
    assert_eq!(
        (row.volume, row.time, row.is_full, row.counts),
        (l, 1000, true, counts)
    );
    catalog.remove_fileset(new).unwrap();
    assert_eq!(ids(), [old]);
    catalog.remove_volume(l).unwrap();
    assert!(ids().is_empty());
    assert!(matches!(
        catalog.add_fileset(l, 1, true, counts),
        Err(Error::Missing { .. })
    ));
    assert!(matches!(
        catalog.remove_fileset(new),
        Err(Error::Missing { .. })
    ));
}

#[test]
fn a_failed_transaction_changes_nothing_even_when_nested() {
    let (_folder, catalog) = open();
    let failed: Result<(), Error> = catalog.durable(|catalog| {
        block_volume(catalog, "a");
        Err(Error::Misuse("on purpose"))
    });
    assert!(failed.is_err());
    assert!(catalog.volumes().unwrap().is_empty());
    catalog
        .batch(|catalog| {
            block_volume(catalog, "b");
            let inner: Result<(), Error> = catalog.durable(|catalog| {
                block_volume(catalog, "c");
                Err(Error::Misuse("on purpose"))
            });
            assert!(inner.is_err());
            catalog.durable(|catalog| catalog.set_param("a", "b"))
        })
        .unwrap();
    let names: Vec<String> = catalog
        .volumes()
        .unwrap()
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert_eq!(names, ["b"]);
    assert_eq!(catalog.param("a").unwrap().as_deref(), Some("b"));
}

#[test]
fn fingerprints_never_deny_a_block() {
    let (_folder, catalog) = open();
    let a = block_volume(&catalog, "a");
    catalog.add_blocks(a, &blocks(0..5000)).unwrap();
    let mut prints = catalog.fingerprints().unwrap();
    assert_eq!(prints.len(), 5000);
    assert!(
        blocks(0..5000)
            .iter()
            .all(|(hash, size)| prints.contains(hash, *size))
    );
    assert!(
        blocks(5000..9000)
            .iter()
            .all(|(hash, size)| !prints.contains(hash, *size))
    );
    prints.insert(&hash(6000), 6001);
    assert!(prints.contains(&hash(6000), 6001));
    assert!(catalog.fingerprints_up_to(4999).unwrap().is_unknown());
}

#[test]
fn errors_say_what_they_are_about() {
    let texts = [
        Error::Exists { name: "n".into() }.to_string(),
        Error::Busy { pid: Some(7) }.to_string(),
        Error::Busy { pid: None }.to_string(),
        Error::Missing {
            what: "volume",
            id: 3,
        }
        .to_string(),
        Error::Damaged {
            detail: "page 3".into(),
        }
        .to_string(),
        Error::Absent { path: "/x".into() }.to_string(),
    ];
    assert_eq!(
        texts,
        [
            "the catalog already has a volume named n",
            "the catalog is in use by process 7",
            "the catalog is in use",
            "the catalog has no volume with id 3",
            "the catalog is damaged: page 3",
            "there is no catalog at /x",
        ]
    );
}
