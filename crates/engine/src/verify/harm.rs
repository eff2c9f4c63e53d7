//! What damage means for people: which versions and files it hurts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use larder_volume::{Hash, VolumeKind, VolumeName};

use super::Examined;
use crate::Result;
use crate::error::Reach;
use crate::missing::WholeLists;
use crate::notes::Presence;
use crate::phases::Ready;
use crate::report::Harm;
use crate::versions::Version;

/// Paths named for one damaged volume, unless everything was asked for.
const NAMED_PATHS: usize = 100;

/// What the damage of one volume hurts: versions, paths that are named, and how many there are in all versions.
type Hurt = (Vec<u64>, BTreeSet<String>, u64);

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
        let mut harm: BTreeMap<String, Hurt> = BTreeMap::new();
        for version in self.all_versions()? {
            if let Err(error) = self.harm_of_version(&version, &lost, &owner, &mut harm) {
                match error.reach() {
                    Reach::Volume => {
                        let place = harm
                            .entry(version.volume.name.as_str().to_owned())
                            .or_default();
                        place.0.push(version.number);
                    }
                    Reach::Name | Reach::Run => return Err(error),
                }
            }
        }
        Ok(harm
            .into_iter()
            .map(|(file, (versions, paths, path_count))| Harm {
                file,
                versions,
                paths: paths.into_iter().collect(),
                path_count,
            })
            .collect())
    }

    fn harm_of_version(
        &self,
        version: &Version,
        lost: &HashSet<(Hash, u64)>,
        owner: &HashMap<(Hash, u64), String>,
        harm: &mut BTreeMap<String, Hurt>,
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
                let (versions, paths, count) = harm.entry(file).or_default();
                if versions.last() != Some(&version.number) {
                    versions.push(version.number);
                }
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                *count += 1;
                if paths.len() < most {
                    paths.insert(path);
                }
            }
            Ok(())
        })
        .map(drop)
    }
}
