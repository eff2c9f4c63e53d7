//! What was lost at the destination: noted when it is noticed, told by every run until it is mended.
//!
//! A data volume is a loss while versions use blocks of it that no other volume holds. It is mended when it comes back,
//! when a backup stored the blocks again, or when no version uses them any more. A version list is a loss until it
//! comes back, or is gone and `repair` was told of it.

use std::collections::{BTreeSet, HashMap, HashSet};

use larder_catalog::{Catalog, Loss, LossKind, VolumeRow, VolumeState};
use larder_volume::{BlockVolume, Hash, VolumeKind, VolumeName, VolumeTime};

use crate::error::Reach;
use crate::missing::WholeLists;
use crate::notes::Presence;
use crate::phases::Settled;
use crate::sync::describe;
use crate::words::counted;
use crate::{Error, Result};

/// Losses that are named one by one; the rest is counted.
const NAMED_LOSSES: usize = 20;
/// Versions named for one loss.
const NAMED_VERSIONS: usize = 5;
/// Catalog parameter, with the name of a lost volume behind it: the times of the versions that lost files.
const HURT_VERSIONS: &str = "lost-versions:";

/// Catalog parameter, with the name of a lost volume behind it: of what its cost was counted ([`Counted`]).
const COUNTED: &str = "lost-blocks-counted:";
/// See [`Counted`].
const HARMLESS: &str = " harmless";

/// Of what the cost of a loss was counted. It is counted again when one of these is another.
struct Counted {
    /// Blocks that were missed.
    missed: usize,
    /// Version lists that were lost; nothing when others could not be read either.
    lists: Option<usize>,
}

impl Counted {
    /// As it is kept, with [`HARMLESS`] behind it when no version uses the blocks.
    fn text(&self, is_harmless: bool) -> String {
        let lists = self.lists.map_or("?".to_owned(), |lists| lists.to_string());
        let harmless = if is_harmless { HARMLESS } else { "" };
        format!("{} {lists}{harmless}", self.missed)
    }
}

/// Copies of blocks that were found damaged, by the number of the volume.
#[derive(Default)]
pub(crate) struct BadCopies(HashMap<i64, HashSet<(Hash, u64)>>);

impl BadCopies {
    /// Whether the copy of a block in a volume is one of them.
    pub(crate) fn holds(&self, volume: i64, block: &(Hash, u64)) -> bool {
        self.0
            .get(&volume)
            .is_some_and(|blocks| blocks.contains(block))
    }
}

/// What a loss costs.
#[derive(Default)]
struct Cost {
    files: u64,
    versions: BTreeSet<i64>,
}

impl Settled<'_> {
    /// Notes that a stored volume is gone or changed, and the blocks it held. To be part of a durable change.
    pub(crate) fn note_loss(
        &self,
        catalog: &Catalog,
        row: &VolumeRow,
        what: LossKind,
    ) -> larder_catalog::Result<()> {
        let loss = self.loss_of(row, what, version_of(catalog, row)?);
        catalog.add_loss(&loss, &catalog.blocks_of_volume(row.id)?)
    }

    /// Notes that a volume was read and is not what was stored, so that every run tells of it. The blocks are those that a
    /// data volume did not give; the next backup stores again what no other volume has of them. A damaged index costs
    /// nothing, so it is not told; what it described gets another one.
    pub(crate) fn note_damage(&self, loss: Loss, blocks: &[(Hash, u64)]) -> Result<()> {
        let is_loss = match loss.kind {
            VolumeKind::List | VolumeKind::Index => true,
            VolumeKind::Blocks => !blocks.is_empty(),
        };
        let known = self.catalog(|c| c.loss(&loss.name))?;
        let is_damaged = |known: &Loss| matches!(known.what, LossKind::Damaged(_));
        // That it has another length says more, and ends by itself when it is back.
        if !is_loss || known.as_ref().is_some_and(|known| !is_damaged(known)) {
            return Ok(());
        }
        let mut all: BTreeSet<(Hash, u64)> = self
            .catalog(|c| c.lost_blocks(&loss.name))?
            .into_iter()
            .collect();
        let before = all.len();
        all.extend(blocks.iter().copied());
        if known.is_some() && all.len() == before {
            return Ok(());
        }
        let all: Vec<(Hash, u64)> = all.into_iter().collect();
        self.durable(|c| {
            if loss.kind == VolumeKind::Blocks {
                Presence::InDoubt.note(c)?;
            }
            if loss.kind == VolumeKind::Index
                && let Some(row) = c.volume_named(&loss.name)?
            {
                c.unlink_index(row.id)?;
            }
            c.add_loss(&loss, &all)
        })?;
        Ok(())
    }

    /// The blocks that a data volume is known to hold.
    pub(crate) fn blocks_of(&self, row: &VolumeRow) -> Result<Vec<(Hash, u64)>> {
        let blocks = self.catalog(|c| c.blocks_of_volume(row.id))?;
        Ok(blocks.iter().collect())
    }

    /// Those of the blocks of a data volume that have one of some hashes.
    pub(crate) fn blocks_named(
        &self,
        row: &VolumeRow,
        hashes: &HashSet<Hash>,
    ) -> Result<Vec<(Hash, u64)>> {
        let mut blocks = self.blocks_of(row)?;
        blocks.retain(|(hash, _)| hashes.contains(hash));
        Ok(blocks)
    }

    /// A loss of a known volume.
    pub(crate) fn loss(&self, row: &VolumeRow, what: LossKind) -> Result<Loss> {
        let version = self.catalog(|c| version_of(c, row))?;
        Ok(self.loss_of(row, what, version))
    }

    fn loss_of(&self, row: &VolumeRow, what: LossKind, version: Option<i64>) -> Loss {
        Loss {
            name: row.name.clone(),
            kind: row.kind,
            what,
            noticed: self.clock.seconds(),
            size: row.size,
            hash: row.hash,
            version,
            files: None,
        }
    }

    /// A loss of a version list that was never read from here.
    pub(crate) fn loss_of_unread(&self, list: &VolumeName, what: LossKind) -> Loss {
        let name = list.as_str();
        Loss {
            name: name.to_owned(),
            kind: VolumeKind::List,
            what,
            noticed: self.clock.seconds(),
            size: self.view.find(name).and_then(|found| found.size),
            hash: None,
            version: list.time().map(|time| time.0),
            files: None,
        }
    }

    /// Passes on what reading a version list gave, and notes wrong content of it. One that was never read from here may be
    /// no version at all; it is told all the same until it can be read or is gone.
    pub(crate) fn noting_damage<T>(&self, list: &VolumeName, read: Result<T>) -> Result<T> {
        let name = list.as_str();
        let Err(error @ Error::Volume { name: damaged, .. }) = &read else {
            return read;
        };
        // What is read meanwhile may be damaged too.
        if damaged != name || !error.is_wrong_content() {
            return read;
        }
        let what = LossKind::Damaged(damage(error));
        let loss = match self.catalog(|c| c.volume_named(name))? {
            Some(row) => self.loss(&row, what)?,
            None => self.loss_of_unread(list, what),
        };
        self.note_damage(loss, &[])?;
        read
    }

    /// Forgets that a version list was damaged, when its hash was compared and nothing is wrong with it.
    pub(crate) fn list_is_whole(&self, name: &str) -> Result<()> {
        let compared = !self.settings.skip_file_hash_checks;
        match compared && self.catalog(|c| c.has_loss(name))? {
            true => self.forget_loss(name),
            false => Ok(()),
        }
    }

    /// Forgets losses that are mended and gives the others with what they cost. Lists are read only when the cost of a
    /// loss is not known yet or has changed.
    pub(crate) fn lasting_losses(&self) -> Result<Vec<Loss>> {
        let losses = self.catalog(|c| c.losses())?;
        if losses.is_empty() {
            return Ok(losses);
        }
        let bad = self.bad_copies()?;
        let mut lasting = Vec::new();
        let mut is_any_mended = false;
        for loss in losses {
            let is_mended =
                loss.kind == VolumeKind::Blocks && self.missed_blocks(&loss, &bad)?.is_empty();
            match loss.what {
                _ if self.is_back(&loss) => {
                    self.forget_loss(&loss.name)?;
                    is_any_mended = true;
                    self.reporter
                        .verbose("LossMended", format!("{} is as it was again", loss.name));
                }
                // It is not what it was, so it stays noted.
                _ if loss.kind == VolumeKind::Index => {}
                LossKind::Damaged(_) | LossKind::Resized(_) if is_mended => {}
                LossKind::Gone if is_mended => {
                    is_any_mended = true;
                    self.forget_loss(&loss.name)?;
                    self.reporter.verbose(
                        "LossMended",
                        format!("{} is not missed any more", loss.name),
                    );
                }
                _ => lasting.push(loss),
            }
        }
        if is_any_mended {
            // What was charged to it may be charged to another one now.
            self.catalog(|c| c.batch(forget_counts))?;
        }
        self.count_costs(&mut lasting)?;
        // Whether anything is missed of a data volume is not known before its cost is counted: it may have moved.
        lasting.retain(|loss| loss.kind != VolumeKind::Blocks || loss.files.is_some());
        Ok(lasting)
    }

    /// The times of the versions that losses are known to hurt, seconds since 1970.
    pub(crate) fn hurt_times(&self) -> Result<BTreeSet<i64>> {
        let mut hurt = BTreeSet::new();
        for loss in self.catalog(|c| c.losses())? {
            let times = self.catalog(|c| c.param(&format!("{HURT_VERSIONS}{}", loss.name)))?;
            let times = times.unwrap_or_default();
            hurt.extend(times.split(',').filter_map(|time| time.parse::<i64>().ok()));
        }
        Ok(hurt)
    }

    /// Tells losses: what is missing, and what it costs.
    pub(crate) fn tell_losses(&self, lasting: &[Loss]) -> Result<()> {
        let told = lasting.len().min(NAMED_LOSSES);
        for loss in lasting.iter().take(told) {
            let (id, text) = self.sentence(loss)?;
            self.reporter.warn(id, text);
        }
        if lasting.len() > told {
            self.reporter.warn(
                "MissingDataFile",
                format!(
                    "missing or damaged beside these: {}",
                    counted((lasting.len() - told) as u64, "file")
                ),
            );
        }
        Ok(())
    }

    /// Forgets a version list that is gone, and what is known of its version.
    pub(crate) fn forget_lost_list(&self, name: &str) -> Result<()> {
        self.forget_loss(name)?;
        self.durable(|c| {
            forget_counts(c)?;
            for name in [name.to_owned(), set_aside(name)] {
                if let Some(row) = c.volume_named(&name)?
                    && row.state == VolumeState::Deleted
                {
                    c.remove_volume(row.id)?;
                }
            }
            Ok(())
        })
    }

    /// True while the cost of a loss was not counted yet.
    pub(crate) fn has_fresh_losses(&self) -> Result<bool> {
        let losses = self.catalog(|c| c.losses())?;
        let mut data = losses.iter().filter(|l| l.kind == VolumeKind::Blocks);
        Ok(data.any(|loss| loss.files.is_none()))
    }

    /// True when volumes of this backup can be read as far as the passphrase goes.
    pub(crate) fn can_decrypt(&self) -> bool {
        self.crypt.kind().is_none() || self.crypt.passphrase.is_some()
    }

    /// Notes a data volume that an index describes and that is not there, or not as it says, with the blocks it is said
    /// to hold.
    pub(crate) fn note_described(&self, described: &BlockVolume, what: LossKind) -> Result<()> {
        self.catalog(|c| {
            if c.has_loss(&described.name)? {
                return Ok(());
            }
            let loss = Loss {
                name: described.name.clone(),
                kind: VolumeKind::Blocks,
                what,
                noticed: self.clock.seconds(),
                size: described.size,
                hash: described.hash,
                version: None,
                files: None,
            };
            c.add_loss(&loss, &described.blocks)
        })
    }

    /// Forgets a loss and which versions it hurt.
    pub(crate) fn forget_loss(&self, name: &str) -> Result<()> {
        self.catalog(|c| {
            c.batch(|c| {
                c.remove_param(&format!("{HURT_VERSIONS}{name}"))?;
                c.remove_param(&format!("{COUNTED}{name}"))?;
                c.remove_loss(name)
            })
        })
    }

    /// Names of the volumes that are not as they were: what could be read of them was read when that was noticed.
    pub(crate) fn noted_losses(&self) -> Result<HashSet<String>> {
        let losses = self.catalog(|c| c.losses())?;
        let lasting = losses.into_iter().filter(|loss| !self.is_back(loss));
        Ok(lasting.map(|loss| loss.name).collect())
    }

    /// True when a volume that was gone or had another length is listed as it was, and when a damaged list or index is
    /// gone that was not noted as lost when it went: somebody may delete versions, and an index is written anew.
    fn is_back(&self, loss: &Loss) -> bool {
        if matches!(loss.what, LossKind::Damaged(_)) {
            return loss.kind != VolumeKind::Blocks && self.view.find(&loss.name).is_none();
        }
        self.view.find(&loss.name).is_some_and(|found| {
            found.size.is_none() || loss.size.is_none() || found.size == loss.size
        })
    }

    /// The copies of blocks that were found damaged.
    pub(crate) fn bad_copies(&self) -> Result<BadCopies> {
        self.catalog(|c| {
            let mut bad = BadCopies::default();
            for loss in c.losses()? {
                if loss.kind == VolumeKind::Blocks
                    && matches!(loss.what, LossKind::Damaged(_))
                    && let Some(row) = c.volume_named(&loss.name)?
                {
                    bad.0
                        .insert(row.id, c.lost_blocks(&loss.name)?.into_iter().collect());
                }
            }
            Ok(bad)
        })
    }

    /// The copies that were known to be damaged when this run first asked.
    pub(crate) fn bad_at_first(&self) -> Result<&BadCopies> {
        match self.bad_copies.get() {
            Some(bad) => Ok(bad),
            None => {
                let bad = self.bad_copies()?;
                Ok(self.bad_copies.get_or_init(|| bad))
            }
        }
    }

    /// The blocks of a lost volume of which no other volume has a good copy.
    pub(crate) fn missed_blocks(&self, loss: &Loss, bad: &BadCopies) -> Result<Vec<(Hash, u64)>> {
        if bad.0.is_empty() {
            return self.catalog(|c| c.blocks_still_lost(&loss.name));
        }
        self.catalog(|c| {
            let mut missed = Vec::new();
            for block in c.lost_blocks(&loss.name)? {
                let holders = c.volumes_of_block(&block.0, block.1)?;
                if holders.iter().all(|holder| bad.holds(*holder, &block)) {
                    missed.push(block);
                }
            }
            Ok(missed)
        })
    }

    /// The blocks of damaged volumes of which no volume has a good copy.
    pub(crate) fn damaged_blocks(&self) -> Result<HashSet<(Hash, u64)>> {
        let bad = self.bad_copies()?;
        let mut damaged = HashSet::new();
        for loss in self.catalog(|c| c.losses())? {
            if loss.kind == VolumeKind::Blocks && matches!(loss.what, LossKind::Damaged(_)) {
                damaged.extend(self.missed_blocks(&loss, &bad)?);
            }
        }
        Ok(damaged)
    }

    /// Counts the files that each loss costs, where that is not known or has changed. One that costs nothing is dropped.
    fn count_costs(&self, losses: &mut Vec<Loss>) -> Result<()> {
        let bad = self.bad_copies()?;
        let mut owner: HashMap<(Hash, u64), usize> = HashMap::new();
        let mut changed = false;
        let mut harmless = Vec::new();
        let lists = Some(self.lost_lists()?);
        for (index, loss) in losses.iter().enumerate() {
            if loss.kind != VolumeKind::Blocks {
                continue;
            }
            let missed = self.missed_blocks(loss, &bad)?;
            let counted = self.catalog(|c| c.param(&format!("{COUNTED}{}", loss.name)))?;
            let counted = counted.unwrap_or_default();
            let now = Counted {
                missed: missed.len(),
                lists,
            };
            if counted == now.text(true) {
                harmless.push(loss.name.clone());
            } else {
                changed |= loss.files.is_none() || counted != now.text(false);
            }
            owner.extend(missed.into_iter().map(|block| (block, index)));
        }
        if !changed || !self.can_decrypt() {
            losses.retain(|loss| !harmless.contains(&loss.name));
            return Ok(());
        }
        let missed: HashSet<(Hash, u64)> = owner.keys().copied().collect();
        // Of some blocks an entry does not tell the length.
        let by_hash: HashMap<Hash, usize> = owner.iter().map(|(key, at)| (key.0, *at)).collect();
        let mut is_all_charged = true;
        // The blocks of large files are known through their blocklists only.
        let mut is_clear = true;
        let mut costs: Vec<Cost> = losses.iter().map(|_| Cost::default()).collect();
        // Without a list nothing is known of what the losses cost it.
        let mut all_read = !self.view.lists().is_empty();
        for version in self.all_versions().unwrap_or_default() {
            let mut whole = WholeLists::default();
            let read = self.each_entry(&version, |entry| {
                let Some(block) = self.first_missing(&entry, &missed, &mut whole)? else {
                    return self.unknown_lists(&entry, |_| is_clear = false);
                };
                let index = owner.get(&block).or_else(|| by_hash.get(&block.0));
                match index.and_then(|index| costs.get_mut(*index)) {
                    Some(cost) => {
                        cost.files += 1;
                        cost.versions.insert(version.time.0);
                    }
                    None => is_all_charged = false,
                }
                Ok(())
            });
            match read {
                Err(error) if error.reach() == Reach::Volume => all_read = false,
                other => other?,
            }
        }
        harmless.clear();
        all_read &= is_clear;
        // Those that were found damaged just now among them.
        let lists = self.lost_lists()?;
        let lists = Some(lists).filter(|lists| all_read || *lists > 0);
        all_read &= lists == Some(0);
        // An entry is charged to the first loss that it meets; it may meet others behind that one.
        let is_sure = is_all_charged && costs.iter().all(|cost| cost.files == 0);
        for (loss, cost) in losses.iter_mut().zip(costs) {
            if loss.kind != VolumeKind::Blocks {
                continue;
            }
            let is_damaged = matches!(loss.what, LossKind::Damaged(_));
            // Nothing to tell, or another loss is told for the same entries.
            let is_harmless = cost.files == 0 && all_read;
            if is_harmless {
                harmless.push(loss.name.clone());
                if !is_damaged && is_sure {
                    self.forget_loss(&loss.name)?;
                    continue;
                }
            }
            loss.files = Some(cost.files);
            let missed = self.missed_blocks(loss, &bad)?;
            let versions: Vec<String> = cost.versions.iter().rev().map(i64::to_string).collect();
            let counted = Counted {
                missed: missed.len(),
                lists,
            };
            let counted = counted.text(is_harmless);
            self.catalog(|c| {
                c.batch(|c| {
                    match is_damaged {
                        // All of its bad copies stay known.
                        true => c.add_loss(loss, &c.lost_blocks(&loss.name)?)?,
                        false => c.add_loss(loss, &missed)?,
                    }
                    c.set_param(&format!("{COUNTED}{}", loss.name), &counted)?;
                    c.set_param(
                        &format!("{HURT_VERSIONS}{}", loss.name),
                        &versions.join(","),
                    )
                })
            })?;
        }
        losses.retain(|loss| !harmless.contains(&loss.name));
        Ok(())
    }

    /// How many version lists are lost.
    fn lost_lists(&self) -> Result<usize> {
        let losses = self.catalog(|c| c.losses())?;
        let lists = losses.iter().filter(|loss| loss.kind == VolumeKind::List);
        Ok(lists.count())
    }

    /// The command that gives up the version of a list, with its number where it is listed.
    pub(crate) fn to_give_up(&self, list: &str) -> String {
        let lists = self.view.lists();
        let number = lists
            .iter()
            .position(|(_, listed)| listed.name.as_str() == list);
        match number {
            Some(number) => format!("`larder delete … --version={number}`"),
            None => "`larder delete`".to_owned(),
        }
    }

    /// One sentence about a loss, with its id.
    fn sentence(&self, loss: &Loss) -> Result<(&'static str, String)> {
        let what = match &loss.what {
            LossKind::Gone => "is not in the destination any more".to_owned(),
            LossKind::Resized(found) => format!(
                "has {found} bytes instead of {}",
                loss.size.unwrap_or_default()
            ),
            LossKind::Damaged(detail) => format!("is damaged ({detail})"),
        };
        let name = &loss.name;
        if let Some(time) = loss.version {
            let time = VolumeTime(time);
            let (id, help) = match loss.what {
                LossKind::Gone => (
                    "MissingVersion",
                    "bring the file back, or run `larder repair`: it stores the list again when its files are known here, and takes the version as deleted when they are not".to_owned(),
                ),
                LossKind::Resized(_) | LossKind::Damaged(_) => (
                    "DamagedList",
                    format!(
                        "bring the file back as it was and run `larder test`, let `larder repair` store the list again when its files are known here, or give the version up with {}",
                        self.to_give_up(name)
                    ),
                ),
            };
            return Ok((
                id,
                format!("the version of {time} cannot be restored: its list {name} {what}; {help}"),
            ));
        }
        let cost = match loss.files {
            None | Some(0) => {
                "what it costs cannot be told while version lists or blocklists cannot be read"
                    .to_owned()
            }
            Some(entries) => {
                let versions = self
                    .catalog(|c| c.param(&format!("{HURT_VERSIONS}{name}")))?
                    .unwrap_or_default();
                format!(
                    "it costs {}{}",
                    counted(entries, "file or folder"),
                    named_versions(&versions)
                )
            }
        };
        Ok((
            "MissingDataFile",
            format!(
                "{name} {what}: {cost}; a backup stores again what the sources still have, `larder test … all` names the files"
            ),
        ))
    }
}

/// The name in the catalog of a list that is gone while its own name is used again.
pub(crate) fn set_aside(list: &str) -> String {
    format!("{SET_ASIDE}{list}")
}

/// The name of a list that may be set aside.
pub(crate) fn own_name(list: &str) -> &str {
    list.strip_prefix(SET_ASIDE).unwrap_or(list)
}

const SET_ASIDE: &str = "lost ";

/// Lets the cost of all losses be counted again: the versions are others now.
pub(crate) fn forget_counts(catalog: &Catalog) -> larder_catalog::Result<()> {
    for loss in catalog.losses()? {
        catalog.remove_param(&format!("{COUNTED}{}", loss.name))?;
    }
    Ok(())
}

/// What an error says of a volume, without its name, which stands before it whenever it is told.
pub(crate) fn damage(error: &Error) -> String {
    let text = describe(error);
    let told = match error {
        Error::Volume { name, .. } => {
            let rest = text.strip_prefix("volume ").unwrap_or(&text);
            rest.strip_prefix(name.as_str()).unwrap_or(rest)
        }
        _ => text.as_str(),
    };
    told.trim_start_matches(": ").to_owned()
}

/// For a list the time of its version, seconds since 1970.
fn version_of(catalog: &Catalog, row: &VolumeRow) -> larder_catalog::Result<Option<i64>> {
    let filesets = match row.kind {
        VolumeKind::List => catalog.filesets()?,
        VolumeKind::Blocks | VolumeKind::Index => Vec::new(),
    };
    let of_it = filesets.into_iter().find(|f| f.volume == row.id);
    let named = || Some(VolumeName::parse(&row.name, true)?.time()?.0);
    Ok(of_it.map(|fileset| fileset.time).or_else(named))
}

/// ` of 2 versions (…, …)` from the stored times.
fn named_versions(times: &str) -> String {
    let times: Vec<i64> = times.split(',').filter_map(|t| t.parse().ok()).collect();
    if times.is_empty() {
        return String::new();
    }
    format!(
        " of {} ({})",
        counted(times.len() as u64, "version"),
        named_times(&times)
    )
}

/// The first few times of versions, of those in seconds since 1970.
pub(crate) fn named_times(times: &[i64]) -> String {
    let named: Vec<String> = times
        .iter()
        .take(NAMED_VERSIONS)
        .map(|time| VolumeTime(*time).to_string())
        .collect();
    let more = if times.len() > named.len() {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", named.join(", "))
}
