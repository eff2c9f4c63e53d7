//! Shared by the tests: made-up content, a full dump of a catalog, copies of its files.

use std::path::{Path, PathBuf};

use larder_catalog::{Catalog, Counts, Loss, LossKind, Seen, StoredEntry, VolumeState};
use larder_volume::{EntryKind, FileEntry, Hash, HashAlgorithm, VolumeKind, VolumeTime};

/// A hash that depends on `n` only.
pub fn hash(n: u64) -> Hash {
    HashAlgorithm::Sha256.digest(&n.to_le_bytes())
}

/// Blocks with the hashes `range`, of varying sizes.
pub fn blocks(range: std::ops::Range<u64>) -> Vec<(Hash, u64)> {
    range.map(|n| (hash(n), 1 + n % 100_000)).collect()
}

/// An entry whose values depend on `n`; folders and links occur, too.
pub fn entry(path: &[u8], n: u64) -> StoredEntry {
    let kind = match n % 7 {
        0 => EntryKind::Folder,
        1 => EntryKind::Symlink,
        _ => EntryKind::File,
    };
    let file = kind == EntryKind::File;
    let entry = FileEntry {
        kind,
        path: path.to_vec(),
        hash: file.then(|| hash(n)),
        size: if file { n * 1000 } else { 0 },
        time: file.then(|| VolumeTime(1_700_000_000 + n as i64)),
        metahash: (!n.is_multiple_of(5)).then(|| hash(n + 1)),
        metasize: n % 400,
        metablockhash: match n % 3 {
            0 => None,
            1 if !n.is_multiple_of(5) => Some(hash(n + 1)),
            _ => Some(hash(n + 2)),
        },
        metablocklists: if n.is_multiple_of(11) {
            vec![hash(n + 3)]
        } else {
            vec![]
        },
        blocklists: (0..n % 4).map(|k| hash(n + 10 + k)).collect(),
        blockhash: n.is_multiple_of(13).then(|| hash(n + 5)),
        blocksize: n.is_multiple_of(13).then_some(n),
    };
    StoredEntry {
        entry,
        seen: n.is_multiple_of(2).then_some(Seen {
            ctime_ticks: 638_396_640_000_000_000 + n as i64,
            inode: n * 3,
            device: 2,
        }),
    }
}

/// `count` entries in ascending order of their paths.
pub fn entries(count: u64) -> Vec<StoredEntry> {
    let mut all: Vec<StoredEntry> = (0..count)
        .map(|n| {
            entry(
                format!("/home/someone/folder{:03}/file {n:06}.txt", n / 40).as_bytes(),
                n,
            )
        })
        .collect();
    all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    all
}

/// Fills a new catalog with something of everything.
pub fn fill(catalog: &Catalog, block_count: u64, entry_count: u64) {
    let volume = |name: &str, kind, state| {
        catalog
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
    let index = volume("p-i01.dindex.zip", VolumeKind::Index, VolumeState::Verified);
    let list = volume(
        "p-20240101T000000Z.dlist.zip",
        VolumeKind::List,
        VolumeState::Verified,
    );
    catalog.count_verification(first).unwrap();
    catalog.link_index(index, first).unwrap();
    catalog.set_param("blocksize", "102400").unwrap();
    catalog
        .add_blocks(third, &blocks(0..block_count / 10))
        .unwrap();
    catalog
        .add_blocks(first, &blocks(0..block_count / 2))
        .unwrap();
    catalog
        .add_blocks(second, &blocks(block_count / 2 - 20..block_count))
        .unwrap();
    for n in 0..20 {
        catalog
            .add_blocklist(
                &hash(n),
                &vec![n as u8; 32 * (n as usize + 1)],
                n.is_multiple_of(2).then_some(first),
            )
            .unwrap();
    }
    let counts = Counts {
        files: 1,
        folders: 2,
        symlinks: 3,
        bytes: 4,
    };
    let fileset = catalog
        .add_fileset(list, 1_704_067_200, true, counts)
        .unwrap();
    let older = catalog
        .add_fileset(list, 1_600_000_000, false, counts)
        .unwrap();
    let all = entries(entry_count);
    // The older version has some entries less and others in another state.
    let mut before: Vec<StoredEntry> = all.iter().step_by(2).cloned().collect();
    before
        .iter_mut()
        .step_by(9)
        .for_each(|stored| stored.entry.size += 1);
    for (fileset, entries) in [(older, before), (fileset, all)] {
        let mut writer = catalog.begin_entries().unwrap();
        entries.iter().for_each(|entry| writer.add(entry).unwrap());
        writer.finish(fileset, Some(hash(3))).unwrap();
    }
    catalog
        .add_loss(&loss("p-b04.dblock.zip"), &blocks(0..block_count / 20))
        .unwrap();
}

/// A loss of this name.
pub fn loss(name: &str) -> Loss {
    Loss {
        name: name.to_owned(),
        kind: VolumeKind::Blocks,
        what: LossKind::Resized(77),
        noticed: 1_700_000_000,
        size: Some(1000),
        hash: Some(hash(8)),
        version: None,
        files: Some(3),
    }
}

/// Everything a catalog says, as one text; any error ends it.
pub fn dump(catalog: &Catalog) -> larder_catalog::Result<String> {
    use std::fmt::Write;
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    line(format!(
        "{:?} {:?}",
        catalog.param("blocksize")?,
        catalog.param("other")?
    ));
    let volumes = catalog.volumes()?;
    for volume in &volumes {
        line(format!("{volume:?}"));
        for (hash, size) in catalog.blocks_of_volume(volume.id)?.iter() {
            line(format!(
                "  {hash} {size} {:?}",
                catalog.volumes_of_block(&hash, size)?
            ));
        }
        for (hash, data) in catalog.blocklists_of_volume(volume.id)? {
            line(format!("  {hash} {data:?}"));
        }
    }
    for n in 0..25 {
        line(format!("{:?}", catalog.blocklist(&hash(n))?));
    }
    line(format!(
        "{:?} {:?}",
        catalog.index_links()?,
        catalog.filesets()?
    ));
    let mut all = Vec::new();
    catalog.each_block(&mut |hash, size, volume| all.push(format!("{hash} {size} {volume}")))?;
    line(all.join("\n"));
    line(format!(
        "{} {:?}",
        catalog.block_count()?,
        catalog.previous()?
    ));
    for loss in catalog.losses()? {
        line(format!("{loss:?} {:?}", catalog.lost_blocks(&loss.name)?));
    }
    for fileset in catalog.filesets_with_entries()? {
        line(format!("entries of {fileset}"));
        for stored in catalog.entries(fileset)? {
            line(format!("{:?}", stored?));
        }
    }
    Ok(out)
}

/// The database with a suffix appended to its name.
pub fn side(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Copies a catalog as a crash or a backup of the disk would: database, log, checksum file, whichever exist.
pub fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", ".sum"] {
        let _ = std::fs::remove_file(side(to, suffix));
        if side(from, suffix).exists() {
            std::fs::copy(side(from, suffix), side(to, suffix)).unwrap();
        }
    }
    let _ = std::fs::remove_file(side(to, "-shm"));
}

/// A sequence of numbers from a seed (xorshift), so that every failure can be repeated.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
