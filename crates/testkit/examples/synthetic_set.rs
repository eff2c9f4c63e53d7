//! Writes a large backup set without having any data, to measure how a catalog is rebuilt (docs/guide/proofs.md).
//!
//! `cargo run --release -p larder-testkit --example synthetic_set -- <folder> [--blocks=1000000] [--files=1000000]
//! [--passphrase=…] [--per-volume=500] [--method=zstd|deflate] [--order=path|duplicati] [--seed=1]`
//!
//! The index and list volumes are complete and right. The data volumes are empty files with the announced length: a
//! rebuild does not read them. Half of the entries share their metadata and much of their content with others, one in a
//! thousand is a file of many blocks with a blocklist. The same arguments give the same set.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use larder_testkit::Rng;
use larder_volume::{
    AesHeader, AesSeed, ArchiveWriter, BlockVolume, Compression, EncryptionKind, EntryKind,
    FILELIST_ENTRY, FILESET_ENTRY, FileEntry, FileListWriter, Hash, HashAlgorithm, Hint,
    LIST_FOLDER, MANIFEST_ENTRY, Manifest, PackMethod, Packer, VOL_FOLDER, VolumeName, VolumeTime,
    encode_block_volume, encode_fileset, encrypt_to_vec,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BLOCKSIZE: u64 = 1 << 20;
const HASH: HashAlgorithm = HashAlgorithm::Sha256;
/// The first second of 2024.
const TIME: VolumeTime = VolumeTime(1_704_067_200);

struct Plan {
    folder: PathBuf,
    blocks: usize,
    files: usize,
    passphrase: Option<String>,
    per_volume: usize,
    method: PackMethod,
    by_path: bool,
    seed: u64,
}

fn main() -> Outcome<()> {
    let plan = arguments()?;
    std::fs::create_dir_all(&plan.folder)?;
    let mut rng = Rng::new(plan.seed);
    let mut set = Set::invent(&plan, &mut rng);
    let volumes = set.write_volumes(&plan, &mut rng)?;
    let list_len = set.write_list(&plan, &mut rng)?;
    println!(
        "{} blocks in {volumes} volumes; {} entries, list of {} KiB",
        set.blocks.len(),
        set.entries.len(),
        list_len >> 10
    );
    Ok(())
}

fn arguments() -> Outcome<Plan> {
    let mut plan = Plan {
        folder: PathBuf::new(),
        blocks: 1_000_000,
        files: 1_000_000,
        passphrase: None,
        per_volume: 500,
        method: PackMethod::Zstd { level: 3 },
        by_path: true,
        seed: 1,
    };
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("--blocks", value)) => plan.blocks = value.parse()?,
            Some(("--files", value)) => plan.files = value.parse()?,
            Some(("--passphrase", value)) => plan.passphrase = Some(value.to_owned()),
            Some(("--per-volume", value)) => plan.per_volume = value.parse::<usize>()?.max(1),
            Some(("--method", "zstd")) => plan.method = PackMethod::Zstd { level: 3 },
            Some(("--method", "deflate")) => plan.method = PackMethod::Deflate { level: 6 },
            Some(("--order", "path")) => plan.by_path = true,
            Some(("--order", "duplicati")) => plan.by_path = false,
            Some(("--seed", value)) => plan.seed = value.parse()?,
            None if plan.folder.as_os_str().is_empty() => plan.folder = argument.into(),
            _ => return Err(format!("unknown argument: {argument}").into()),
        }
    }
    if plan.folder.as_os_str().is_empty() {
        return Err("the folder is missing".into());
    }
    Ok(plan)
}

/// A block, with its bytes when it is a blocklist.
struct Block {
    hash: Hash,
    size: u64,
    list: Option<Vec<u8>>,
}

#[derive(Default)]
struct Set {
    blocks: Vec<Block>,
    known: HashSet<(Hash, u64)>,
    entries: Vec<FileEntry>,
}

impl Set {
    fn invent(plan: &Plan, rng: &mut Rng) -> Self {
        let mut set = Self::default();
        let paths = paths(plan.files, rng);
        let large = plan.files / 1000;
        // What blocklists and large files do not take is for metadata and small files, in equal parts.
        let of_large = (plan.blocks / 5).checked_div(large).unwrap_or(0).max(2);
        let small = plan.blocks.saturating_sub(large * (of_large + 1)).max(2);
        let (metas, contents) = (small / 2, small - small / 2);
        let mut number_of_large = 0;
        for (number, (kind, path)) in paths.into_iter().enumerate() {
            let mut entry = FileEntry::new(kind, path);
            let meta = number % metas;
            let size = 137 + (meta % 60) as u64;
            entry.metahash = Some(set.block(hash(meta as u64, 1), size));
            entry.metasize = size;
            if kind == EntryKind::File {
                entry.time = Some(VolumeTime(TIME.0 - rng.below(100_000_000) as i64));
                if number % 1000 == 7 && number_of_large < large {
                    set.large(&mut entry, number_of_large, of_large);
                    number_of_large += 1;
                } else {
                    let content = number % contents;
                    let size = 1 + content as u64 * 7919 % BLOCKSIZE;
                    entry.hash = Some(set.block(hash(content as u64, 2), size));
                    entry.size = size;
                }
            } else {
                entry.metablockhash = entry.metahash;
            }
            set.entries.push(entry);
        }
        // What the entries did not need is used by older versions only.
        let mut number = 0;
        while set.blocks.len() < plan.blocks {
            set.block(hash(number, 4), 1 + number % BLOCKSIZE);
            number += 1;
        }
        set
    }

    fn block(&mut self, hash: Hash, size: u64) -> Hash {
        if self.known.insert((hash, size)) {
            self.blocks.push(Block {
                hash,
                size,
                list: None,
            });
        }
        hash
    }

    /// Gives a file `count` blocks, the last one shorter, and their blocklist.
    fn large(&mut self, entry: &mut FileEntry, number: usize, count: usize) {
        let mut list = Vec::with_capacity(count * HASH.len());
        let last = 1 + number as u64;
        for index in 0..count {
            let size = if index + 1 < count { BLOCKSIZE } else { last };
            let block = self.block(hash((number * count + index) as u64, 3), size);
            list.extend_from_slice(block.as_bytes());
        }
        let own = HASH.digest(&list);
        self.known.insert((own, list.len() as u64));
        self.blocks.push(Block {
            hash: own,
            size: list.len() as u64,
            list: Some(list),
        });
        entry.size = (count as u64 - 1) * BLOCKSIZE + last;
        entry.hash = Some(hash(number as u64, 5));
        entry.blocklists = vec![own];
    }

    fn write_volumes(&self, plan: &Plan, rng: &mut Rng) -> Outcome<usize> {
        let encryption = plan.passphrase.as_ref().map(|_| EncryptionKind::Aes);
        let mut packer = Packer::new(plan.method);
        let mut lists = Packer::new(PackMethod::Stored);
        let mut count = 0;
        for blocks in self.blocks.chunks(plan.per_volume) {
            count += 1;
            let data = VolumeName::blocks("duplicati", id(rng), Compression::Zip, encryption);
            let size = (50 << 20) - rng.below(1 << 20);
            // A hole: it has the length and takes no room.
            File::create(plan.folder.join(data.as_str()))?.set_len(size)?;
            let described = BlockVolume {
                name: data.as_str().to_owned(),
                blocks: blocks.iter().map(|b| (b.hash, b.size)).collect(),
                hash: Some(HASH.digest(data.as_str().as_bytes())),
                size: Some(size),
            };
            let mut archive = start()?;
            let entry = format!("{VOL_FOLDER}{}", data.as_str());
            archive.add(&entry, &encode_block_volume(&described), &mut packer)?;
            for block in blocks {
                if let Some(list) = &block.list {
                    let entry = format!("{LIST_FOLDER}{}", block.hash.to_url_base64());
                    archive.add_packed(&entry, &lists.pack(list, Hint::Stored))?;
                }
            }
            let name = VolumeName::index("duplicati", id(rng), Compression::Zip, encryption);
            store(plan, rng, &plan.folder.join(name.as_str()), archive)?;
        }
        Ok(count)
    }

    fn write_list(&mut self, plan: &Plan, rng: &mut Rng) -> Outcome<u64> {
        if plan.by_path {
            self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        } else {
            // Folders and links by path, then the files in the order of a database.
            let key = |e: &FileEntry| match e.kind {
                EntryKind::File => (1, e.metahash, e.path.clone()),
                EntryKind::Folder | EntryKind::Symlink => (0, None, e.path.clone()),
            };
            self.entries.sort_by_cached_key(key);
        }
        let mut archive = start()?;
        archive.add(
            FILESET_ENTRY,
            &encode_fileset(true),
            &mut Packer::new(plan.method),
        )?;
        archive.add_stream(FILELIST_ENTRY, plan.method, &mut |out| {
            let mut list = FileListWriter::create(out).map_err(std::io::Error::other)?;
            for entry in &self.entries {
                list.add(entry).map_err(std::io::Error::other)?;
            }
            list.finish().map(drop).map_err(std::io::Error::other)
        })?;
        let encryption = plan.passphrase.as_ref().map(|_| EncryptionKind::Aes);
        let name = VolumeName::list("duplicati", TIME, Compression::Zip, encryption);
        store(plan, rng, &plan.folder.join(name.as_str()), archive)
    }
}

/// An archive with its manifest.
fn start() -> Outcome<ArchiveWriter<Vec<u8>>> {
    let manifest = Manifest::new(TIME, BLOCKSIZE, HASH, HASH, "synthetic set").encode();
    let mut archive = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME)?;
    archive.add_packed(
        MANIFEST_ENTRY,
        &Packer::new(PackMethod::Stored).pack(&manifest, Hint::Stored),
    )?;
    Ok(archive)
}

/// Encrypts if wanted, writes, and answers the length.
fn store(plan: &Plan, rng: &mut Rng, path: &Path, archive: ArchiveWriter<Vec<u8>>) -> Outcome<u64> {
    let mut bytes = archive.finish()?;
    if let Some(passphrase) = &plan.passphrase {
        let seed = AesSeed {
            public_iv: id(rng),
            session_iv: id(rng),
            session_key: [id(rng), id(rng)].concat().try_into().unwrap_or([0; 32]),
        };
        let header = AesHeader::standard("larder", "2024-01-01", "00-00-00");
        bytes = encrypt_to_vec(&bytes, passphrase, &header, &seed)?;
    }
    std::fs::write(path, &bytes)?;
    Ok(bytes.len() as u64)
}

/// `count` paths as they occur: one in twenty a folder, one in five hundred a link.
fn paths(count: usize, rng: &mut Rng) -> Vec<(EntryKind, Vec<u8>)> {
    const AREAS: &[&str] = &[
        "Documents",
        "Pictures",
        "src",
        "mail",
        ".cache",
        "archive/2019",
    ];
    const WORDS: &[&str] = &[
        "report",
        "invoice",
        "holiday",
        "main",
        "index",
        "draft",
        "meeting notes",
        "IMG",
        "lib",
        "Übersicht",
        "backup of letter",
        "test",
    ];
    const ENDINGS: &[&str] = &["txt", "jpg", "pdf", "c", "h", "docx", "json", "eml"];
    let mut paths = Vec::with_capacity(count);
    let mut folder = String::new();
    for number in 0..count {
        if number % 20 == 0 {
            folder = format!(
                "/home/user{:02}/{}/{} {:03}/{}-{number:07}/",
                rng.below(20),
                rng.choose(AREAS).unwrap_or(&""),
                rng.choose(WORDS).unwrap_or(&""),
                rng.below(300),
                rng.choose(WORDS).unwrap_or(&""),
            );
            paths.push((EntryKind::Folder, folder.clone().into_bytes()));
            continue;
        }
        let word = rng.choose(WORDS).unwrap_or(&"");
        let ending = rng.choose(ENDINGS).unwrap_or(&"");
        let path = format!("{folder}{word} {number:07}.{ending}").into_bytes();
        let kind = if number % 500 == 3 {
            EntryKind::Symlink
        } else {
            EntryKind::File
        };
        paths.push((kind, path));
    }
    paths
}

fn id(rng: &mut Rng) -> [u8; 16] {
    let number = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    number.to_le_bytes()
}

/// A hash of nothing: looks random, costs little.
fn hash(number: u64, kind: u64) -> Hash {
    let bytes = Rng::new(number ^ kind << 56).bytes(32);
    Hash::from_bytes(&bytes).unwrap_or_else(|_| HASH.digest(&bytes))
}
