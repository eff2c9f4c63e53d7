//! Volumes made by Duplicati, read to the last field and written again: `fixtures/volumes`, not encrypted, and the
//! encrypted set `fixtures/aes-default`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use larder_volume::{
    AesReadOptions, AesReader, ArchiveReader, BlockVolume, Compression, EntryKind, Error,
    FILELIST_ENTRY, FILESET_ENTRY, FileEntry, FileListReader, FileListWriter, Hash, HashAlgorithm,
    LIST_FOLDER, MANIFEST_ENTRY, Manifest, Metadata, VOL_FOLDER, VolumeKind, VolumeName,
    blocklist_hashes, blocklists_of, decrypt_to_vec, encode_block_volume, encode_fileset,
    parse_block_entry, parse_block_volume, parse_fileset,
};

const PASSPHRASE: &str = "correct horse ünd battery";
const MAX: u64 = 64 << 20;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// One volume with the contents of its entries.
struct Volume {
    set: String,
    name: VolumeName,
    remote: Vec<u8>,
    entries: BTreeMap<String, Vec<u8>>,
}

impl Volume {
    fn open(set: &str, path: &Path) -> Volume {
        let name = VolumeName::parse(path.file_name().unwrap().to_str().unwrap(), false).unwrap();
        let remote = std::fs::read(path).unwrap();
        let data = match name.encryption() {
            None => remote.clone(),
            Some("aes") => decrypt_to_vec(&remote, PASSPHRASE, AesReadOptions::default()).unwrap(),
            Some(other) => panic!("{other}"),
        };
        let reader = ArchiveReader::open(data, name.compression().unwrap()).unwrap();
        assert!(!reader.recovered(), "{name}");
        let entries = reader
            .entries()
            .map(|entry| (entry.name.to_string(), reader.read(entry, MAX).unwrap()))
            .collect();
        Volume {
            set: set.to_owned(),
            name,
            remote,
            entries,
        }
    }

    fn manifest(&self) -> Manifest {
        Manifest::parse(&self.entries[MANIFEST_ENTRY]).unwrap()
    }

    fn block_hash(&self) -> HashAlgorithm {
        HashAlgorithm::parse(&self.manifest().block_hash).unwrap()
    }

    fn folder(&self, folder: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries
            .iter()
            .filter_map(move |(name, data)| Some((name.strip_prefix(folder)?, data.as_slice())))
    }

    fn files(&self) -> Vec<FileEntry> {
        FileListReader::open(self.entries[FILELIST_ENTRY].as_slice())
            .map(Result::unwrap)
            .collect()
    }

    fn indexed(&self) -> Vec<BlockVolume> {
        self.folder(VOL_FOLDER)
            .map(|(name, data)| parse_block_volume(name, data).unwrap())
            .collect()
    }
}

fn volumes() -> Vec<Volume> {
    let mut volumes = Vec::new();
    let mut folders = vec![("aes-default".to_owned(), fixtures().join("aes-default/dst"))];
    for set in std::fs::read_dir(fixtures().join("volumes")).unwrap() {
        let set = set.unwrap();
        if set.file_type().unwrap().is_dir() {
            folders.push((set.file_name().into_string().unwrap(), set.path()));
        }
    }
    for (set, folder) in folders {
        for file in std::fs::read_dir(folder).unwrap() {
            volumes.push(Volume::open(&set, &file.unwrap().path()));
        }
    }
    assert!(volumes.len() > 20, "{}", volumes.len());
    volumes
}

#[test]
fn manifests_are_as_we_write_them() {
    for volume in volumes() {
        let manifest = volume.manifest();
        assert_eq!(
            manifest.encode(),
            volume.entries[MANIFEST_ENTRY],
            "{}",
            volume.name
        );
        assert_eq!(manifest.version, Manifest::VERSION);
        let file_hash = HashAlgorithm::parse(&manifest.file_hash).unwrap();
        manifest
            .check(manifest.blocksize, volume.block_hash(), file_hash)
            .unwrap();
        if volume.name.kind() == VolumeKind::List {
            assert!(larder_volume::VolumeTime::parse(&manifest.created).is_ok());
        }
    }
}

#[test]
fn lists_are_as_we_write_them() {
    let mut kinds: HashMap<EntryKind, usize> = HashMap::new();
    for volume in volumes()
        .into_iter()
        .filter(|volume| volume.name.kind() == VolumeKind::List)
    {
        let manifest = volume.manifest();
        let text = &volume.entries[FILELIST_ENTRY];
        let files = volume.files();
        let mut writer = FileListWriter::create(Vec::new()).unwrap();
        for file in &files {
            writer.add(file).unwrap();
            *kinds.entry(file.kind).or_default() += 1;
            let size = file.size;
            let lists = blocklists_of(size, manifest.blocksize, volume.block_hash().len());
            assert_eq!(
                file.blocklists.len() as u64,
                lists,
                "{}",
                file.path.escape_ascii()
            );
        }
        assert_eq!(writer.finish().unwrap(), *text, "{}", volume.name);
        let paths: HashSet<_> = files.iter().map(|file| &file.path).collect();
        assert_eq!(paths.len(), files.len());

        let fileset = &volume.entries[FILESET_ENTRY];
        let is_full = parse_fileset(fileset).unwrap();
        assert_eq!(encode_fileset(is_full), *fileset);
        assert_eq!(is_full, volume.set != "interrupted", "{}", volume.name);
    }
    assert!(
        kinds.len() == 3 && kinds.values().all(|count| *count > 20),
        "{kinds:?}"
    );
}

#[test]
fn indexes_are_as_we_write_them() {
    let mut described = 0;
    let volumes = volumes();
    for volume in volumes
        .iter()
        .filter(|volume| volume.name.kind() == VolumeKind::Index)
    {
        for index in volume.indexed() {
            let entry = &volume.entries[&format!("{VOL_FOLDER}{}", index.name)];
            assert_eq!(encode_block_volume(&index), *entry, "{}", volume.name);
            assert_eq!(
                VolumeName::parse(&index.name, false).unwrap().kind(),
                VolumeKind::Blocks
            );

            // What it says of a volume that is here as well is true. Sets that were decrypted have other bytes.
            let same =
                |other: &&Volume| other.set == volume.set && other.name.as_str() == index.name;
            if let Some(other) = volumes.iter().find(same) {
                described += 1;
                let file_hash = HashAlgorithm::parse(&other.manifest().file_hash).unwrap();
                assert_eq!(index.hash, Some(file_hash.digest(&other.remote)));
                assert_eq!(index.size, Some(other.remote.len() as u64));
                let held: HashMap<Hash, u64> = other
                    .entries
                    .iter()
                    .filter_map(|(name, data)| Some((parse_block_entry(name)?, data.len() as u64)))
                    .collect();
                assert_eq!(held, index.blocks.iter().collect());
            }
        }
        for (name, data) in volume.folder(LIST_FOLDER) {
            let algorithm = volume.block_hash();
            assert_eq!(algorithm.digest(data).to_url_base64(), name);
            assert!(blocklist_hashes(data, algorithm.len()).unwrap().len() > 1);
        }
    }
    assert!(described > 0);
}

#[test]
fn metadata_is_as_we_write_it() {
    let volumes = volumes();
    let mut with_xattr = 0;
    let mut seen = 0;
    for list in volumes
        .iter()
        .filter(|volume| volume.name.kind() == VolumeKind::List)
    {
        let blocks = |hash: &Hash| {
            let same_set = volumes.iter().filter(|volume| volume.set == list.set);
            same_set
                .into_iter()
                .find_map(|volume| volume.entries.get(&hash.to_url_base64()))
        };
        for file in list.files() {
            let Some(blob) = file
                .metablockhash
                .or(file.metahash)
                .and_then(|hash| blocks(&hash))
            else {
                continue;
            };
            assert_eq!(blob.len() as u64, file.metasize);
            let metadata = Metadata::parse(blob).unwrap();
            assert_eq!(metadata.encode(), *blob, "{}", file.path.escape_ascii());
            assert!(metadata.other.is_empty());
            assert_eq!(
                metadata.symlink_target.is_some(),
                file.kind == EntryKind::Symlink
            );
            assert!(metadata.last_write_ticks.is_some() && metadata.uid_gid_perm.is_some());
            with_xattr += usize::from(!metadata.xattrs.is_empty());
            seen += 1;
        }
    }
    assert!(seen > 50 && with_xattr > 0, "{seen} {with_xattr}");
}

#[test]
fn an_encrypted_list_streams_in_bounded_memory() {
    // Decryption and file list both stream; the archive between them needs random access.
    let path = fixtures().join("aes-default/dst/duplicati-20261121T225521Z.dlist.zip.aes");
    let mut archive = Vec::new();
    let mut reader = AesReader::open(std::fs::File::open(path).unwrap(), PASSPHRASE).unwrap();
    std::io::copy(&mut reader, &mut archive).unwrap();
    let archive = ArchiveReader::open(archive, Compression::Zip).unwrap();
    let entry = archive.find(FILELIST_ENTRY).unwrap();
    let mut list = FileListReader::open(archive.stream(entry).unwrap());
    let files: Vec<FileEntry> = list.by_ref().map(Result::unwrap).collect();
    assert!(!list.is_damaged());
    assert!(
        files
            .iter()
            .all(|file| file.path.starts_with(b"/srv/fixture/home/")),
        "a path from elsewhere"
    );
    // The source tree had 110 entries; the list names its root as well.
    assert_eq!(files.len(), 111);
    let folders = files.iter().filter(|file| file.kind == EntryKind::Folder);
    assert!(folders.into_iter().all(|file| file.path.ends_with(b"/")));
}

#[test]
fn another_passphrase_is_told_from_damage() {
    let path = fixtures().join("aes-default/dst/duplicati-20261121T225521Z.dlist.zip.aes");
    let mut remote = std::fs::read(path).unwrap();
    let options = AesReadOptions::default();
    assert!(matches!(
        decrypt_to_vec(&remote, "correct horse und battery", options),
        Err(Error::WrongPassword)
    ));
    let middle = remote.len() / 2;
    remote[middle] ^= 1;
    assert!(matches!(
        decrypt_to_vec(&remote, PASSPHRASE, options),
        Err(Error::Tampered(_))
    ));
}
