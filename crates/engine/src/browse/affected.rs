//! What a remote file holds: the versions and paths that use it, and those that would be lost with it.

mod needs;

use std::collections::BTreeSet;

use larder_catalog::{Fingerprints, VolumeRow};
use larder_options::engine as opt;
use larder_volume::{Hash, VolumeKind};

use self::needs::{Held, Need as Needs};
use crate::browse::Chosen;
use crate::named::Room;
use crate::phases::Ready;
use crate::report::{AffectedFile, AffectedReport, AffectedVersion, AffectedVolume};
use crate::run::Run;
use crate::settle::is_stored;
use crate::sync::{Mode, Need};
use crate::{Error, Result};

/// Paths that are named unless everything is asked for.
const NAMED_PATHS: u64 = 100;

impl Run {
    /// Tells what uses remote files of this backup, and what would be lost without them: all of them together.
    ///
    /// # Errors
    /// A name that is none of a volume of this backup, and a list that cannot be read when it is the only one.
    pub fn affected(&self, names: &[String]) -> Result<AffectedReport> {
        self.with_healing(|| self.ready(Mode::Reading, Need::Blocks)?.affected(names))
    }
}

/// The volumes that are asked about.
#[derive(Default)]
struct Asked {
    volumes: Vec<AffectedVolume>,
    /// Data volumes as the catalog has them, and the names of those that are gone.
    data: Vec<VolumeRow>,
    gone: Vec<String>,
    /// Times of the versions whose lists are among them.
    lists: BTreeSet<i64>,
}

impl Ready<'_> {
    fn affected(&self, names: &[String]) -> Result<AffectedReport> {
        let mut asked = Asked::default();
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| seen.insert(name.as_str())) {
            self.ask(name, &mut asked)?;
        }
        let mut report = AffectedReport::default();
        let is_harmless = asked.data.is_empty() && asked.gone.is_empty() && asked.lists.is_empty();
        if !is_harmless {
            self.look_for_users(&mut asked, &mut report)?;
        }
        report.remote_volumes = asked.volumes;
        report.common = self.common("ListAffected", false);
        Ok(report)
    }

    /// Finds out what a name means.
    fn ask(&self, name: &str, asked: &mut Asked) -> Result<()> {
        let listed = self.view.find(name);
        let name = listed.map_or(name, |listed| listed.name.as_str());
        let row = self.catalog(|c| c.volume_named(name))?.filter(is_stored);
        let losses = self.catalog(|c| c.losses())?;
        let loss = losses.into_iter().find(|loss| loss.name == name);
        let kind = match (&row, listed, &loss) {
            (Some(row), _, _) => row.kind,
            (None, Some(listed), _) => listed.name.kind(),
            (None, None, Some(loss)) => loss.kind,
            (None, None, None) => return Err(unknown(name)),
        };
        let mut volume = AffectedVolume {
            name: name.to_owned(),
            kind: match kind {
                VolumeKind::Blocks => "Blocks",
                VolumeKind::Index => "Index",
                VolumeKind::List => "List",
            },
            size: listed
                .and_then(|listed| listed.size)
                .or(row.as_ref().and_then(|row| row.size)),
            is_gone: listed.is_none(),
            ..AffectedVolume::default()
        };
        match kind {
            VolumeKind::Blocks => match row {
                Some(row) => asked.data.push(row),
                None if loss.is_none() => return Err(not_known(name)),
                None => asked.gone.push(name.to_owned()),
            },
            VolumeKind::Index => volume.describes = self.described_by(row.as_ref())?,
            VolumeKind::List => {
                let versions = self.all_versions()?;
                let version = versions.iter().find(|v| v.volume.name.as_str() == name);
                volume.version = version.map(|version| version.number);
                asked.lists.extend(version.map(|version| version.time.0));
            }
        }
        asked.volumes.push(volume);
        Ok(())
    }

    /// The names of the data volumes that an index describes.
    fn described_by(&self, index: Option<&VolumeRow>) -> Result<Vec<String>> {
        let Some(index) = index else {
            return Ok(Vec::new());
        };
        self.catalog(|c| {
            let links = c.index_links()?;
            let of_it = links.into_iter().filter(|(from, _)| *from == index.id);
            let mut names = Vec::new();
            for (_, blocks) in of_it {
                names.extend(c.volume(blocks)?.map(|row| row.name));
            }
            Ok(names)
        })
    }

    /// Looks through all versions once.
    fn look_for_users(&self, asked: &mut Asked, report: &mut AffectedReport) -> Result<()> {
        let chosen = self.open_versions(&self.all_versions()?)?;
        let held = self.held(asked)?;
        let filesets: Vec<i64> = chosen.filesets.iter().map(|(id, _)| *id).collect();
        if !held.is_empty() {
            self.fetch_unknown_lists(&filesets)?;
        }
        let mut users = Users::new(
            chosen,
            &asked.lists,
            match self.values.get(opt::FULL_RESULT)? {
                true => u64::MAX,
                false => NAMED_PATHS,
            },
        );
        let format = self.format();
        let read = self.catalog(|c| {
            let catalog = &*c;
            let mut needs = Needs::new(catalog, &held, format);
            catalog.each_entry(&filesets, &mut |stored, having| {
                self.go_on()?;
                let need = needs.of(&stored.entry)?;
                users.add(&stored.entry.path, need, having);
                Ok(())
            })
        });
        self.cancel.check()?;
        read?;
        users.finish(report);
        Ok(())
    }

    /// The blocks of the volumes that are asked about.
    fn held(&self, asked: &mut Asked) -> Result<Held> {
        let mut held = Held {
            all: Fingerprints::with_room(0, u64::MAX),
            only: Fingerprints::with_room(0, u64::MAX),
        };
        let bad = self.bad_copies()?;
        let asked_ids: BTreeSet<i64> = asked.data.iter().map(|row| row.id).collect();
        let mut figures = Vec::new();
        let mut add = |name: &str, blocks: &mut dyn Iterator<Item = (Hash, u64)>| -> Result<()> {
            let (mut count, mut elsewhere) = (0, 0);
            for block in blocks {
                let holders = self.catalog(|c| c.volumes_of_block(&block.0, block.1))?;
                let is_elsewhere = holders
                    .iter()
                    .any(|holder| !asked_ids.contains(holder) && !bad.holds(*holder, &block));
                count += 1;
                elsewhere += u64::from(is_elsewhere);
                held.all.insert(&block.0, block.1);
                if !is_elsewhere {
                    held.only.insert(&block.0, block.1);
                }
            }
            figures.push((name.to_owned(), count, elsewhere));
            Ok(())
        };
        for row in &asked.data {
            let table = self.catalog(|c| c.blocks_of_volume(row.id))?;
            let mut blocks = (0..table.len()).filter_map(|at| table.get(at));
            add(&row.name, &mut blocks)?;
        }
        for name in &asked.gone {
            let blocks = self.catalog(|c| c.lost_blocks(name))?;
            add(name, &mut blocks.into_iter())?;
        }
        for (name, count, elsewhere) in figures {
            if let Some(volume) = asked.volumes.iter_mut().find(|v| v.name == name) {
                (volume.blocks, volume.blocks_elsewhere) = (count, elsewhere);
            }
        }
        Ok(held)
    }

    /// Fetches the blocklists that no index repeats: the blocks of large files are known through them only.
    fn fetch_unknown_lists(&self, filesets: &[i64]) -> Result<()> {
        let format = self.format();
        let mut unknown = BTreeSet::new();
        let read = self.catalog(|c| {
            let catalog = &*c;
            catalog.each_entry(filesets, &mut |stored, _| {
                self.go_on()?;
                needs::unknown_lists(catalog, &stored.entry, &format, &mut unknown)
            })
        });
        self.cancel.check()?;
        read?;
        self.load_blocklists(unknown)
    }
}

/// What uses the volumes that are asked about, as far as it was met.
struct Users<'a> {
    chosen: Chosen,
    lists: &'a BTreeSet<i64>,
    /// Per version: entries that use the volumes, and entries that would be lost.
    counts: Vec<(u64, u64)>,
    files: Vec<AffectedFile>,
    most: u64,
    room: Room,
    /// Different paths, and those of them that would be lost.
    paths: (u64, u64),
    unclear: u64,
    /// The path of the states that are met now, and whether one of them would be lost.
    current: Option<(Vec<u8>, bool)>,
}

impl<'a> Users<'a> {
    fn new(chosen: Chosen, lists: &'a BTreeSet<i64>, most: u64) -> Self {
        Self {
            counts: vec![(0, 0); chosen.stamps.len()],
            chosen,
            lists,
            files: Vec::new(),
            most,
            room: Room::default(),
            paths: (0, 0),
            unclear: 0,
            current: None,
        }
    }

    /// Takes a state of a path with the versions that have it; paths come in ascending order.
    fn add(&mut self, path: &[u8], need: needs::Verdict, having: &[usize]) {
        let (mut is_user, mut is_lost) = (false, false);
        for at in having {
            let Some((_, place)) = self.chosen.filesets.get(*at) else {
                continue;
            };
            let stamp = self.chosen.stamps.get(*place);
            let of_list = stamp.is_some_and(|stamp| self.lists.contains(&stamp.time));
            let uses = need.is_used || of_list;
            let loses = need.is_lost || of_list;
            if let Some(counts) = self.counts.get_mut(*place) {
                counts.0 += u64::from(uses);
                counts.1 += u64::from(loses);
            }
            is_user |= uses;
            is_lost |= loses;
        }
        self.unclear += u64::from(need.is_unclear);
        if !is_user {
            return;
        }
        match &mut self.current {
            Some((current, lost)) if current == path => *lost |= is_lost,
            _ => {
                self.flush();
                self.current = Some((path.to_vec(), is_lost));
            }
        }
    }

    fn flush(&mut self) {
        let Some((path, would_be_lost)) = self.current.take() else {
            return;
        };
        self.paths.0 += 1;
        self.paths.1 += u64::from(would_be_lost);
        let path = String::from_utf8_lossy(&path);
        if (self.files.len() as u64) < self.most && self.room.take(&path) {
            self.files.push(AffectedFile {
                path: path.into_owned(),
                would_be_lost,
            });
        }
    }

    fn finish(mut self, report: &mut AffectedReport) {
        self.flush();
        let versions = self.chosen.stamps.iter().zip(&self.counts);
        report.filesets = versions
            .filter(|(_, (used, _))| *used > 0)
            .map(|(stamp, (file_count, lost_count))| AffectedVersion {
                version: stamp.number,
                time: stamp.time,
                file_count: *file_count,
                lost_count: *lost_count,
            })
            .collect();
        report.files = self.files;
        (report.files_actual_length, report.lost_files_actual_length) = self.paths;
        report.unclear_entries = self.unclear;
        report.unreadable_versions = self.chosen.unreadable;
    }
}

fn not_known(name: &str) -> Error {
    Error::data(
        "ContentUnknown",
        format!(
            "{name}: no index describes it and it could not be read, so what uses it is not known"
        ),
        "run `larder test … all`, which says what is wrong with it",
    )
}

fn unknown(name: &str) -> Error {
    Error::user(
        "UnknownVolume",
        format!("{name} is no volume of this backup"),
        "name it as the destination does, without folders: `larder destination list` shows the names",
    )
}
