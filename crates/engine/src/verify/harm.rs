//! What damage means for people: which versions and files it hurts.

use std::collections::{BTreeMap, HashMap, HashSet};

use larder_volume::{EntryKind, Hash, VolumeKind, VolumeName};

use super::Examined;
use crate::Result;
use crate::error::Reach;
use crate::missing::{Missing, WholeLists};
use crate::named::Room;
use crate::notes::Presence;
use crate::phases::Ready;
use crate::report::Harm;
use crate::versions::Version;

/// Paths named for one damaged volume, unless everything was asked for.
const NAMED_PATHS: usize = 100;

/// What the damage of one volume hurts.
#[derive(Default)]
struct Hurt {
    versions: Vec<u64>,
    /// Those that are named, and whether only metadata of them is lost.
    paths: BTreeMap<String, bool>,
    more_paths: bool,
    /// Entries in all versions.
    count: u64,
    /// Those of them of which only metadata is lost.
    only_metadata: u64,
}

/// What all damage hurts, by volume.
#[derive(Default)]
struct AllHurt {
    by_volume: BTreeMap<String, Hurt>,
    /// For the paths of all of them.
    room: Room,
}

impl Ready<'_> {
    /// Which versions and files the damage hurts; every list is read when there is any.
    pub(super) fn harm(&self, outcomes: &[Examined], everything: bool) -> Result<Vec<Harm>> {
        let mut owner: HashMap<(Hash, u64), String> = HashMap::new();
        for outcome in outcomes {
            for key in &outcome.lost {
                let copies = self.catalog(|c| c.volumes_of_block(&key.0, key.1))?;
                let elsewhere = copies.iter().any(|id| Some(*id) != outcome.row);
                if !elsewhere {
                    owner.insert(*key, outcome.name.clone());
                }
            }
        }
        let damaged_list = outcomes.iter().any(|o| {
            !o.findings.is_empty()
                && VolumeName::parse(&o.name, self.settings.case_insensitive)
                    .is_some_and(|n| n.kind() == VolumeKind::List)
        });
        if owner.is_empty()
            && !(everything && (damaged_list || self.presence()? == Presence::InDoubt))
        {
            return Ok(Vec::new());
        }
        let lost: HashSet<(Hash, u64)> = owner.keys().copied().collect();
        let mut harm = AllHurt::default();
        for version in self.all_versions()? {
            if let Err(error) = self.harm_of_version(&version, &lost, &owner, &mut harm) {
                match error.reach() {
                    Reach::Volume => {
                        let list = version.volume.name.as_str().to_owned();
                        let hurt = harm.by_volume.entry(list).or_default();
                        hurt.versions.push(version.number);
                    }
                    Reach::OtherName | Reach::Run => return Err(error),
                }
            }
        }
        Ok(harm
            .by_volume
            .into_iter()
            .map(|(file, hurt)| Harm {
                file,
                versions: hurt.versions,
                metadata_paths: {
                    let of_metadata = hurt.paths.iter().filter(|(_, only)| **only);
                    of_metadata.map(|(path, _)| path.clone()).collect()
                },
                metadata_count: hurt.only_metadata,
                paths: hurt.paths.into_keys().collect(),
                more_paths: hurt.more_paths,
                path_count: hurt.count,
            })
            .collect())
    }

    fn harm_of_version(
        &self,
        version: &Version,
        lost: &HashSet<(Hash, u64)>,
        owner: &HashMap<(Hash, u64), String>,
        harm: &mut AllHurt,
    ) -> Result<()> {
        let most = if self.values.get(larder_options::engine::FULL_RESULT)? {
            usize::MAX
        } else {
            NAMED_PATHS
        };
        let mut whole = WholeLists::default();
        self.read_list(&version.volume, version.time, |entry| {
            if let Some(key) = self.first_missing(&entry, lost, &mut whole)? {
                let file = owner
                    .get(&key)
                    .cloned()
                    .unwrap_or_else(|| "(a data file that is gone)".to_owned());
                let hurt = harm.by_volume.entry(file).or_default();
                if hurt.versions.last() != Some(&version.number) {
                    hurt.versions.push(version.number);
                }
                hurt.count += 1;
                // Where a link leads to is metadata.
                let only_metadata = entry.kind != EntryKind::Symlink
                    && self.missing_of(&entry, lost, &mut whole)? == Some(Missing::Metadata);
                hurt.only_metadata += u64::from(only_metadata);
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                if let Some(only) = hurt.paths.get_mut(&path) {
                    *only &= only_metadata;
                    return Ok(());
                }
                if hurt.paths.len() < most && harm.room.take(&path) {
                    hurt.paths.insert(path, only_metadata);
                } else {
                    hurt.more_paths = true;
                }
            }
            Ok(())
        })
        .map(drop)
    }
}
