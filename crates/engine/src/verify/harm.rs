//! What damage means for people: which versions and files it hurts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use larder_volume::{EntryKind, FileEntry, Hash, VolumeKind, VolumeName, hashes_per_blocklist};

use super::Outcome;
use crate::Result;
use crate::error::Reach;
use crate::report::Harm;
use crate::run::Run;
use crate::sync::View;
use crate::versions::Version;

/// Paths named for one damaged volume, unless everything was asked for.
const NAMED_PATHS: usize = 100;

/// What the damage of one volume hurts: versions, paths that are named, and how many there are in all versions.
type Hurt = (Vec<u64>, BTreeSet<String>, u64);

impl Run {
    /// True when every block of an entry is in some volume and not among the lost ones.
    pub(crate) fn entry_is_whole(
        &self,
        entry: &FileEntry,
        lost: &HashSet<(Hash, u64)>,
    ) -> Result<bool> {
        Ok(self.first_missing(entry, lost)?.is_none())
    }

    /// The first block of an entry that cannot be had.
    pub(crate) fn first_missing(
        &self,
        entry: &FileEntry,
        lost: &HashSet<(Hash, u64)>,
    ) -> Result<Option<(Hash, u64)>> {
        let format = self.format()?;
        let mut wanted: Vec<(Hash, u64)> = Vec::new();
        let same = format.block_hash == format.file_hash;
        let mut stream =
            |size: u64, block: Option<Hash>, full: Option<Hash>, lists: &[Hash]| -> Result<()> {
                if size == 0 {
                    return Ok(());
                }
                if lists.is_empty() {
                    // With two algorithms a full hash finds no block: such an entry cannot be restored.
                    let known = block.or(full.filter(|_| same)).map(|hash| (hash, size));
                    wanted.extend(known.or(full.map(|hash| (hash, 0))));
                    return Ok(());
                }
                let (mut left, mut all_read) = (size, true);
                let of_full_list = format.blocksize.saturating_mul(hashes_per_blocklist(
                    format.blocksize,
                    format.block_hash.len(),
                ));
                for list in lists {
                    match self.catalog(|c| c.blocklist(list))? {
                        Some(bytes) => {
                            for raw in bytes.chunks(format.block_hash.len()) {
                                let len = left.min(format.blocksize);
                                left -= len;
                                wanted.extend(Hash::from_bytes(raw).ok().map(|hash| (hash, len)));
                            }
                        }
                        // Not repeated by an index: at least the list itself must exist.
                        None => {
                            all_read = false;
                            left = left.saturating_sub(of_full_list);
                            let found = self.catalog(|c| c.find_blocks_by_hash(list))?;
                            match found.first() {
                                Some((size, _)) => wanted.push((*list, *size)),
                                None => wanted.push((*list, 0)),
                            }
                        }
                    }
                }
                // Lists that are too short make no whole stream.
                if all_read && left > 0 {
                    wanted.extend(lists.last().map(|list| (*list, 0)));
                }
                Ok(())
            };
        stream(
            entry.metasize,
            entry.metablockhash,
            entry.metahash,
            &entry.metablocklists,
        )?;
        if entry.kind == EntryKind::File {
            stream(entry.size, entry.blockhash, entry.hash, &entry.blocklists)?;
        }
        for key in wanted {
            if lost.contains(&key) {
                return Ok(Some(key));
            }
            if self.catalog(|c| c.find_block(&key.0, key.1))?.is_none() {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Which versions and files the damage hurts; every list is read when there is any.
    pub(super) fn harm(
        &self,
        view: &View,
        outcomes: &[Outcome],
        everything: bool,
    ) -> Result<Vec<Harm>> {
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
        if owner.is_empty() && !(everything && (damaged_list || self.blocks_may_be_missing()?)) {
            return Ok(Vec::new());
        }
        let lost: HashSet<(Hash, u64)> = owner.keys().copied().collect();
        let mut harm: BTreeMap<String, Hurt> = BTreeMap::new();
        for version in self.all_versions(view)? {
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
        self.each_entry(version, |entry| {
            if let Some(key) = self.first_missing(&entry, lost)? {
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
    }
}
