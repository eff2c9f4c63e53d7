//! Random versions against a naive model: taking in, dropping, comparing, browsing, blocks in use.

use std::collections::{BTreeMap, BTreeSet};

use larder_catalog::{
    BlockRules, Catalog, Counts, EntryTotals, Error, LossKind, Opened, StoredEntry, VolumeState,
};
use larder_volume::{EntryKind, FileEntry, Hash, VolumeKind};
use proptest::prelude::*;

use crate::support::{Numbers, hash, loss, side};

/// A path and a state of it.
type Entries = BTreeMap<Vec<u8>, u8>;

#[derive(Clone, Debug)]
enum Step {
    /// Paths to remove from the last list, paths to put into it, and how the list is shuffled.
    Take {
        less: Vec<usize>,
        more: Vec<(Vec<u8>, u8)>,
        seed: u64,
        finish: bool,
    },
    Remove(usize),
    /// Takes the entries of a version in once more, with others.
    Replace(usize, Vec<(Vec<u8>, u8)>),
    DropUnused,
    Reopen,
    Crash,
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    // Folders and files with few names, so that paths meet; `.` sorts before the separator.
    prop::collection::vec(prop::sample::select(&b"ab./\xff"[..]), 0..7).prop_map(|tail| {
        let mut path = b"/".to_vec();
        path.extend(tail);
        path
    })
}

fn step() -> impl Strategy<Value = Step> {
    let put = || prop::collection::vec((path(), 0u8..3), 0..40);
    prop_oneof![
        8 => (prop::collection::vec(any::<usize>(), 0..12), put(), 1u64..u64::MAX, prop::bool::weighted(0.8))
            .prop_map(|(less, more, seed, finish)| Step::Take { less, more, seed, finish }),
        3 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), put()).prop_map(|(at, entries)| Step::Replace(at, entries)),
        1 => Just(Step::DropUnused),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

/// Long fields, so that few entries fill a segment.
fn stored(path: &[u8], state: u8) -> StoredEntry {
    let mut entry = FileEntry::new(EntryKind::File, path);
    entry.size = 1 + u64::from(state);
    entry.hash = Some(hash(u64::from(state) + 1000 * path.len() as u64));
    entry.metablocklists = (0..60).map(|n| hash(n + u64::from(state))).collect();
    StoredEntry { entry, seen: None }
}

#[derive(Default)]
struct Model {
    time: i64,
    last: Entries,
    versions: BTreeMap<i64, Entries>,
}

fn take(catalog: &Catalog, entries: &Entries, seed: u64) -> larder_catalog::EntryWriter {
    let mut order: Vec<_> = entries.iter().collect();
    let mut numbers = Numbers(seed);
    for at in (1..order.len()).rev() {
        // Some lists are nearly sorted, some not at all.
        if seed.is_multiple_of(3) || numbers.below(10) == 0 {
            order.swap(at, numbers.below(at as u64 + 1) as usize);
        }
    }
    let mut writer = catalog.begin_entries().unwrap();
    for (path, state) in order {
        writer.add(&stored(path, *state)).unwrap();
    }
    writer
}

impl Model {
    fn pick(&self, at: usize) -> Option<i64> {
        let len = self.versions.len();
        (len > 0).then(|| *self.versions.keys().nth(at % len).unwrap())
    }

    fn apply(&mut self, catalog: &Catalog, step: &Step) {
        match step {
            Step::Take {
                less,
                more,
                seed,
                finish,
            } => {
                let mut entries = self.last.clone();
                for at in less {
                    let path = entries.keys().nth(at % entries.len().max(1)).cloned();
                    path.map(|path| entries.remove(&path));
                }
                entries.extend(more.iter().cloned());
                self.time += 1;
                let name = format!("list {}", self.time);
                let list = catalog
                    .add_volume(&name, VolumeKind::List, VolumeState::Verified, None, None)
                    .unwrap();
                // Not always the newest.
                let time = self.time * if seed.is_multiple_of(4) { -1 } else { 1 };
                let fileset = catalog
                    .add_fileset(list, time, true, Counts::default())
                    .unwrap();
                let writer = take(catalog, &entries, *seed);
                if *finish {
                    let totals = writer.finish(fileset, Some(hash(*seed))).unwrap();
                    assert_eq!(totals.entries, entries.len() as u64);
                    self.versions.insert(fileset, entries.clone());
                } else {
                    drop(writer);
                    catalog.remove_fileset(fileset).unwrap();
                }
                self.last = entries;
            }
            Step::Remove(at) => {
                let Some(fileset) = self.pick(*at) else {
                    return;
                };
                catalog.remove_fileset(fileset).unwrap();
                self.versions.remove(&fileset);
            }
            Step::Replace(at, entries) => {
                let Some(fileset) = self.pick(*at) else {
                    return;
                };
                let entries: Entries = entries.iter().cloned().collect();
                take(catalog, &entries, 3).finish(fileset, None).unwrap();
                self.versions.insert(fileset, entries);
            }
            Step::DropUnused => {
                catalog.drop_unused_entries().unwrap();
                assert_eq!(catalog.drop_unused_entries().unwrap(), 0);
            }
            Step::Reopen | Step::Crash => unreachable!("handled by the caller"),
        }
    }

    fn compare(&self, catalog: &Catalog) {
        let mut known = catalog.filesets_with_entries().unwrap();
        known.sort_unstable();
        assert_eq!(known, self.versions.keys().copied().collect::<Vec<_>>());
        let mut paths: BTreeSet<&[u8]> = [&b"/"[..], b"/a", b"/nowhere", b""].into();
        for (fileset, entries) in &self.versions {
            let cursor = catalog.entries(*fileset).unwrap();
            assert_eq!(cursor.remaining(), entries.len() as u64);
            let found: Vec<StoredEntry> = cursor.map(|entry| entry.unwrap()).collect();
            let expected: Vec<StoredEntry> = entries
                .iter()
                .map(|(path, state)| stored(path, *state))
                .collect();
            assert!(found == expected);
            paths.extend(entries.keys().map(Vec::as_slice));
        }
        for path in &paths {
            self.compare_path(catalog, path);
        }
        let ids: Vec<i64> = self.versions.keys().copied().collect();
        for pair in ids.windows(2) {
            self.compare_pair(catalog, pair[0], pair[1]);
        }
        if let [first, .., last] = ids.as_slice() {
            self.compare_pair(catalog, *last, *first);
        }
        for (fileset, entries) in self.versions.iter().take(3) {
            let lies_in = |path: &[u8], other: &[u8]| {
                other.ends_with(b"/") && path.len() > other.len() && path.starts_with(other)
            };
            let roots = entries.iter().filter(|(path, _)| {
                let mut others = entries.keys();
                !others.any(|other| lies_in(path, other))
            });
            let expected: Vec<_> = roots.map(|(path, state)| stored(path, *state)).collect();
            let mut found = Vec::new();
            catalog
                .each_root(*fileset, &mut |stored| {
                    found.push(stored);
                    Ok(())
                })
                .unwrap();
            assert!(found == expected);
        }
        let mut expected: BTreeMap<(&[u8], u8), Vec<usize>> = BTreeMap::new();
        for (place, entries) in self.versions.values().enumerate() {
            for (path, state) in entries {
                expected.entry((path, *state)).or_default().push(place);
            }
        }
        let mut found = BTreeMap::new();
        catalog
            .each_entry(&ids, &mut |stored, places| {
                let state = (stored.entry.size - 1) as u8;
                found.insert((stored.entry.path, state), places.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(found.len(), expected.len());
        for ((path, state), places) in expected {
            assert_eq!(found.get(&(path.to_vec(), state)), Some(&places));
        }
    }

    fn compare_path(&self, catalog: &Catalog, path: &[u8]) {
        let mut history = catalog.history(path).unwrap();
        history.sort_by_key(|(fileset, _)| *fileset);
        let mut expected = Vec::new();
        for (fileset, entries) in &self.versions {
            let state = entries.get(path).map(|state| stored(path, *state));
            assert_eq!(catalog.entry(*fileset, path).unwrap(), state);
            expected.extend(state.map(|state| (*fileset, state)));
        }
        assert!(history == expected);
        let ids: Vec<i64> = self.versions.keys().copied().collect();
        let mut found = Vec::new();
        catalog
            .each_entry_from(&ids, path, &mut |stored, places| {
                found.extend(places.iter().map(|place| (ids[*place], stored.clone())));
                Ok(())
            })
            .unwrap();
        let mut expected = Vec::new();
        for (fileset, entries) in &self.versions {
            let below = entries.iter().filter(|(inner, _)| inner.starts_with(path));
            expected.extend(below.map(|(inner, state)| (*fileset, stored(inner, *state))));
        }
        let by_path =
            |(fileset, stored): &(i64, StoredEntry)| (stored.entry.path.clone(), *fileset);
        found.sort_by_key(by_path);
        expected.sort_by_key(by_path);
        assert!(found == expected);
        let folder = match path.ends_with(b"/") {
            true => path.to_vec(),
            false => [path, b"/"].concat(),
        };
        for (fileset, entries) in self.versions.iter().take(3) {
            let mut items: BTreeMap<Vec<u8>, Option<StoredEntry>> = BTreeMap::new();
            for (inner, state) in entries {
                let Some(rest) = inner.strip_prefix(&folder[..]) else {
                    continue;
                };
                if rest.is_empty() {
                    continue;
                }
                let len = rest.iter().position(|byte| *byte == b'/');
                let item = inner[..folder.len() + len.map_or(rest.len(), |at| at + 1)].to_vec();
                let own = (item == *inner).then(|| stored(inner, *state));
                let known = items.entry(item).or_default();
                *known = known.take().or(own);
            }
            let found: Vec<_> = catalog
                .folder(*fileset, &folder, b'/')
                .unwrap()
                .into_iter()
                .map(|item| (item.path, item.entry))
                .collect();
            assert!(
                found == items.into_iter().collect::<Vec<_>>(),
                "{:?}",
                String::from_utf8_lossy(&folder)
            );
        }
    }

    fn compare_pair(&self, catalog: &Catalog, old: i64, new: i64) {
        let (before, after) = (&self.versions[&old], &self.versions[&new]);
        let paths: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
        let state =
            |entries: &Entries, path: &Vec<u8>| entries.get(path).map(|state| stored(path, *state));
        let expected: Vec<_> = paths
            .into_iter()
            .map(|path| (state(before, path), state(after, path)))
            .filter(|(old, new)| old != new)
            .collect();
        let mut found = Vec::new();
        catalog
            .differences(old, new, &mut |difference| {
                found.push((difference.old, difference.new));
                Ok(())
            })
            .unwrap();
        assert!(found == expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn versions_agree_with_a_naive_model(steps in prop::collection::vec(step(), 1..16)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let mut model = Model::default();
        let mut catalog = Catalog::open(&path).unwrap().0;
        for step in &steps {
            match step {
                Step::Reopen | Step::Crash => {
                    drop(catalog);
                    if matches!(step, Step::Crash) {
                        // Without its checksum every row is examined.
                        std::fs::remove_file(side(&path, ".sum")).unwrap();
                    }
                    let (reopened, opened) = Catalog::open(&path).unwrap();
                    prop_assert_eq!(opened, Opened::Existing);
                    catalog = reopened;
                }
                step => model.apply(&catalog, step),
            }
            model.compare(&catalog);
        }
    }
}

/// A version of large lists, so that several batches and segments are needed.
#[test]
fn large_versions_share_what_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    let mut all = crate::support::entries(60_000);
    for time in 0..4i64 {
        let list = catalog
            .add_volume(
                &format!("l{time}"),
                VolumeKind::List,
                VolumeState::Verified,
                None,
                None,
            )
            .unwrap();
        let fileset = catalog
            .add_fileset(list, time, true, Counts::default())
            .unwrap();
        // One in a hundred changes, one in a thousand goes.
        for stored in all.iter_mut().step_by(100) {
            stored.entry.size += time as u64;
        }
        all.retain(|stored| {
            let size = stored.entry.size;
            time == 0 || size % 1000 != time as u64 * 7
        });
        let mut writer = catalog.begin_entries().unwrap();
        all.iter().for_each(|entry| writer.add(entry).unwrap());
        let totals = writer.finish(fileset, None).unwrap();
        let expected = EntryTotals {
            entries: all.len() as u64,
            duplicates: 0,
        };
        assert_eq!(totals, expected);
        let found: Vec<_> = catalog
            .entries(fileset)
            .unwrap()
            .map(|entry| entry.unwrap())
            .collect();
        assert!(found == all);
    }
    drop(catalog);
    let len = std::fs::metadata(&path).unwrap().len();
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(catalog.filesets_with_entries().unwrap().len(), 4);
    // One full version takes 9 MB.
    assert!(len < 11_000_000, "{len}");
}

const RULES: BlockRules = BlockRules {
    blocksize: 64,
    hash_len: 32,
    one_algorithm: true,
};

fn file(path: &str, size: u64, content: u64, lists: Vec<Hash>) -> StoredEntry {
    let mut entry = FileEntry::new(EntryKind::File, path);
    entry.size = size;
    entry.hash = Some(hash(content));
    entry.blocklists = lists;
    entry.metahash = Some(hash(content + 500));
    entry.metasize = 40;
    StoredEntry { entry, seen: None }
}

#[test]
fn the_blocks_in_use_are_those_of_contents_metadata_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = Catalog::open(&folder.path().join("catalog.db")).unwrap();
    let volume = |name: &str| {
        catalog
            .add_volume(name, VolumeKind::Blocks, VolumeState::Verified, None, None)
            .unwrap()
    };
    let [first, second, going] = ["a", "b", "c"].map(volume);
    // A file of five blocks: lists of two, two and one hash.
    let names = [hash(60), hash(61), hash(62), hash(63), hash(64)];
    let list = |range: std::ops::Range<usize>| -> Vec<u8> {
        names[range]
            .iter()
            .flat_map(|hash| hash.as_bytes().to_vec())
            .collect()
    };
    let lists = [
        (hash(70), list(0..2)),
        (hash(71), list(2..4)),
        (hash(72), list(4..5)),
    ];
    let large = file(
        "/large",
        4 * 64 + 9,
        77,
        lists.iter().map(|list| list.0).collect(),
    );
    let fileset = |time: i64, entries: &[StoredEntry]| {
        let name = format!("l{time}");
        let list = catalog
            .add_volume(&name, VolumeKind::List, VolumeState::Verified, None, None)
            .unwrap();
        let id = catalog
            .add_fileset(list, time, true, Counts::default())
            .unwrap();
        let mut writer = catalog.begin_entries().unwrap();
        entries.iter().for_each(|entry| writer.add(entry).unwrap());
        writer.finish(id, None).unwrap();
        id
    };
    let old = fileset(1, &[large.clone(), file("/small", 20, 1, vec![])]);
    let new = fileset(
        2,
        &[file("/small", 20, 1, vec![]), file("/x", 0, 3, vec![])],
    );
    let of_old: Vec<(Hash, u64)> = vec![
        (hash(60), 64),
        (hash(61), 64),
        (hash(62), 64),
        (hash(63), 64),
        (hash(64), 9),
        (hash(70), 64),
        (hash(71), 64),
        (hash(72), 32),
        (hash(577), 40),
    ];
    let of_new = vec![(hash(1), 20), (hash(501), 40), (hash(503), 40)];
    let unused = [(hash(900), 64), (hash(901), 10)];
    catalog
        .add_blocks(first, &[&of_old[..], &unused[..1]].concat())
        .unwrap();
    catalog
        .add_blocks(second, &[&of_new[..], &unused[1..], &of_old[..2]].concat())
        .unwrap();
    catalog.add_blocks(going, &of_new).unwrap();
    catalog
        .set_volume(going, VolumeState::Deleting, None, None)
        .unwrap();
    // Before the lists are known nothing may be called unused.
    let used = catalog.used_blocks(&[old, new], RULES).unwrap();
    assert!(!used.is_complete());
    assert!(!catalog.has_all(&used).unwrap());
    assert_eq!(used.unknown_lists(), [hash(70), hash(71), hash(72)]);
    for (hash, data) in &lists {
        catalog.add_blocklist(hash, data, Some(first)).unwrap();
    }
    let used = catalog.used_blocks(&[old, new], RULES).unwrap();
    assert!(used.is_complete());
    assert_eq!(used.len(), 12);
    assert!(
        of_old
            .iter()
            .chain(&of_new)
            .all(|(hash, size)| used.contains(hash, *size))
    );
    assert!(
        unused
            .iter()
            .all(|(hash, size)| !used.contains(hash, *size))
    );
    let figures = |filesets: &[i64]| -> Vec<(i64, u64, u64, u64, u64)> {
        let used = catalog.used_blocks(filesets, RULES).unwrap();
        let usages = catalog.volume_usage(&used).unwrap();
        let of = |u: &larder_catalog::VolumeUsage| {
            (u.volume, u.blocks, u.bytes, u.used_blocks, u.used_bytes)
        };
        usages.iter().map(of).collect()
    };
    assert!(catalog.has_all(&used).unwrap());
    let (all, freed) = (4 * 64 + 9 + 64 + 64 + 32 + 40, 4 * 64 + 9 + 160 + 40);
    assert_eq!(all, freed);
    assert_eq!(
        figures(&[old, new]),
        [
            (first, 10, all + 64, 9, all),
            (second, 6, 100 + 10 + 128, 3, 100)
        ]
    );
    assert_eq!(
        figures(&[new]),
        [(first, 10, all + 64, 0, 0), (second, 6, 238, 3, 100)]
    );
    assert_eq!(
        figures(&[]),
        [(first, 10, all + 64, 0, 0), (second, 6, 238, 0, 0)]
    );
    assert!(matches!(
        catalog.used_blocks(&[99], RULES),
        Err(Error::Missing { id: 99, .. })
    ));
    // Streams whose blocks the entry does not tell.
    let other = BlockRules {
        one_algorithm: false,
        ..RULES
    };
    assert_eq!(catalog.used_blocks(&[new], other).unwrap().unclear(), 3);
    let has_all = || {
        let used = catalog.used_blocks(&[new], RULES).unwrap();
        used.is_complete() && catalog.has_all(&used).unwrap()
    };
    assert!(has_all());
    // Then they are only in volumes that are going.
    let going = VolumeState::Deleting;
    catalog.set_volume(second, going, None, None).unwrap();
    assert!(!has_all());
}

#[test]
fn losses_are_remembered_until_they_are_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (catalog, _) = Catalog::open(&path).unwrap();
    let blocks = crate::support::blocks(0..9000);
    let mut first = loss("p-b01.dblock.zip");
    catalog.add_loss(&first, &blocks).unwrap();
    first.what = LossKind::Gone;
    first.files = None;
    catalog.add_loss(&first, &blocks).unwrap();
    let second = larder_catalog::Loss {
        kind: VolumeKind::List,
        what: LossKind::Damaged("its directory is cut".into()),
        version: Some(-5),
        ..loss("p-20240101T000000Z.dlist.zip")
    };
    catalog.add_loss(&second, &[]).unwrap();
    drop(catalog);
    std::fs::remove_file(side(&path, ".sum")).unwrap();
    let (catalog, opened) = Catalog::open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(catalog.losses().unwrap(), [second.clone(), first.clone()]);
    assert!(catalog.lost_blocks(&first.name).unwrap() == blocks);
    assert!(catalog.lost_blocks(&second.name).unwrap().is_empty());
    assert!(catalog.lost_blocks("other").unwrap().is_empty());
    let volume = catalog
        .add_volume("v", VolumeKind::Blocks, VolumeState::Uploaded, None, None)
        .unwrap();
    catalog.add_blocks(volume, &blocks[..8000]).unwrap();
    assert!(catalog.blocks_still_lost(&first.name).unwrap() == blocks[8000..]);
    catalog.remove_loss(&first.name).unwrap();
    catalog.remove_loss(&first.name).unwrap();
    assert_eq!(catalog.losses().unwrap(), [second]);
    assert!(catalog.lost_blocks(&first.name).unwrap().is_empty());
}
