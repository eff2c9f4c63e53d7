//! Random sequences of changes against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use larder_catalog::{Catalog, Opened, VolumeState};
use larder_volume::VolumeKind;
use proptest::prelude::*;

use crate::support::{hash, side};

#[derive(Clone, Debug)]
enum Step {
    AddVolume,
    AddBlocks(usize, Vec<(u8, u8)>),
    SetState(usize, u8),
    RemoveVolume(usize),
    Rename(usize),
    Verify(usize),
    Undone(Box<Step>),
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        2 => Just(Step::AddVolume),
        4 => (any::<usize>(), prop::collection::vec((0u8..40, 1u8..3), 0..30)).prop_map(|(at, list)| Step::AddBlocks(at, list)),
        3 => (any::<usize>(), 0u8..6).prop_map(|(at, state)| Step::SetState(at, state)),
        1 => any::<usize>().prop_map(Step::RemoveVolume),
        1 => any::<usize>().prop_map(Step::Rename),
        1 => any::<usize>().prop_map(Step::Verify),
    ];
    prop_oneof![
        12 => leaf.clone(),
        2 => leaf.prop_map(|step| Step::Undone(Box::new(step))),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

#[derive(Clone, Default, Debug)]
struct Model {
    volumes: BTreeMap<i64, (String, VolumeState, u32)>,
    /// (block, volume)
    blocks: BTreeSet<((u8, u8), i64)>,
    names: u32,
}

const STATES: [VolumeState; 6] = [
    VolumeState::Temporary,
    VolumeState::Uploading,
    VolumeState::Uploaded,
    VolumeState::Verified,
    VolumeState::Deleting,
    VolumeState::Deleted,
];

impl Model {
    fn pick(&self, at: usize) -> Option<i64> {
        let len = self.volumes.len();
        (len > 0).then(|| *self.volumes.keys().nth(at % len).unwrap())
    }

    fn apply(&mut self, catalog: &Catalog, step: &Step) {
        self.names += 1;
        let name = format!("volume {}", self.names);
        match step {
            Step::AddVolume => {
                let state = VolumeState::Uploading;
                let id = catalog
                    .add_volume(&name, VolumeKind::Blocks, state, None, None)
                    .unwrap();
                assert!(self.volumes.insert(id, (name, state, 0)).is_none());
            }
            Step::AddBlocks(at, list) => {
                let Some(id) = self.pick(*at) else { return };
                let blocks: Vec<_> = list
                    .iter()
                    .map(|(n, size)| (hash((*n).into()), u64::from(*size)))
                    .collect();
                catalog.add_blocks(id, &blocks).unwrap();
                self.blocks.extend(list.iter().map(|block| (*block, id)));
            }
            Step::SetState(at, state) => {
                let Some(id) = self.pick(*at) else { return };
                let state = STATES[usize::from(*state)];
                catalog.set_volume(id, state, None, None).unwrap();
                self.volumes.get_mut(&id).unwrap().1 = state;
            }
            Step::RemoveVolume(at) => {
                let Some(id) = self.pick(*at) else { return };
                catalog.remove_volume(id).unwrap();
                self.volumes.remove(&id);
                self.blocks.retain(|(_, volume)| *volume != id);
            }
            Step::Rename(at) => {
                let Some(id) = self.pick(*at) else { return };
                catalog.rename_volume(id, &name).unwrap();
                self.volumes.get_mut(&id).unwrap().0 = name;
            }
            Step::Verify(at) => {
                let Some(id) = self.pick(*at) else { return };
                catalog.count_verification(id).unwrap();
                self.volumes.get_mut(&id).unwrap().2 += 1;
            }
            Step::Undone(_) | Step::Reopen | Step::Crash => unreachable!("handled by the caller"),
        }
    }

    fn compare(&self, catalog: &Catalog) {
        let found: BTreeMap<i64, (String, VolumeState, u32)> = catalog
            .volumes()
            .unwrap()
            .into_iter()
            .map(|row| (row.id, (row.name, row.state, row.verified)))
            .collect();
        assert_eq!(found, self.volumes);
        let live = |volume: &i64| self.volumes[volume].1.is_live();
        let prints = catalog.fingerprints().unwrap();
        let mut readable = BTreeSet::new();
        for n in 0..40u8 {
            let mut sizes = Vec::new();
            for size in 1..3u8 {
                let expected: BTreeSet<i64> = self
                    .blocks
                    .range(((n, size), i64::MIN)..=((n, size), i64::MAX))
                    .map(|(_, volume)| *volume)
                    .filter(live)
                    .collect();
                let key = (hash(n.into()), u64::from(size));
                let found = catalog.volumes_of_block(&key.0, key.1).unwrap();
                assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected);
                assert_eq!(found.len(), expected.len());
                let first = catalog.find_block(&key.0, key.1).unwrap();
                assert_eq!(first.is_some(), !expected.is_empty());
                assert!(first.is_none_or(|volume| expected.contains(&volume)));
                if let Some(volume) = first {
                    sizes.push((key.1, volume));
                    readable.insert((key, volume));
                    assert!(prints.contains(&key.0, key.1));
                }
            }
            assert_eq!(catalog.find_blocks_by_hash(&hash(n.into())).unwrap(), sizes);
        }
        let mut each = BTreeSet::new();
        catalog
            .each_block(&mut |hash, size, volume| {
                each.insert(((*hash, size), volume));
            })
            .unwrap();
        assert_eq!(each, readable);
        let all: BTreeSet<(u8, u8)> = self.blocks.iter().map(|(block, _)| *block).collect();
        assert_eq!(catalog.block_count().unwrap(), all.len() as u64);
        for id in self.volumes.keys() {
            let found = catalog.blocks_of_volume(*id).unwrap();
            let expected: BTreeSet<_> = self
                .blocks
                .iter()
                .filter(|(_, volume)| volume == id)
                .map(|((n, size), _)| (hash((*n).into()), u64::from(*size)))
                .collect();
            assert_eq!(found.len(), expected.len());
            assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_catalog_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let mut model = Model::default();
        let mut catalog = Catalog::open(&path).unwrap().0;
        for step in &steps {
            match step {
                Step::Undone(step) => {
                    let mut scratch = model.clone();
                    let undone: larder_catalog::Result<()> = catalog.batch(|catalog| {
                        scratch.apply(catalog, step);
                        scratch.compare(catalog);
                        Err(larder_catalog::Error::Misuse("on purpose"))
                    });
                    prop_assert!(undone.is_err());
                    model.names = scratch.names;
                }
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
