//! Sets that no honest program writes: any path, any link, any block.

use larder_testkit::MemoryDestination;
use larder_volume::{
    ArchiveWriter, Compression, EntryKind, FileEntry, FileListWriter, Hash, HashAlgorithm,
    Manifest, Metadata, PackMethod, Packer, VolumeName, VolumeTime, encode_fileset,
};

/// A set of one version with 1 KiB blocks, under construction.
#[derive(Default)]
pub struct Forge {
    blocks: Vec<(String, Vec<u8>)>,
    entries: Vec<FileEntry>,
    /// Entries as text, after the others.
    raw: Vec<String>,
    /// Control files.
    extra: Vec<(String, Vec<u8>)>,
}

const TIME: VolumeTime = VolumeTime(1_750_000_000);

impl Forge {
    fn block(&mut self, bytes: &[u8]) -> Hash {
        let hash = HashAlgorithm::Sha256.digest(bytes);
        self.raw_block(&hash.to_url_base64(), bytes);
        hash
    }

    /// A block under any name.
    pub fn raw_block(&mut self, name: &str, bytes: &[u8]) {
        if !self.blocks.iter().any(|(known, _)| known == name) {
            self.blocks.push((name.to_owned(), bytes.to_vec()));
        }
    }

    fn entry(&mut self, kind: EntryKind, path: &[u8], metadata: &Metadata) -> &mut FileEntry {
        let bytes = metadata.encode();
        let mut entry = FileEntry::new(kind, path);
        let hash = self.block(&bytes);
        entry.metahash = Some(hash);
        entry.metasize = bytes.len() as u64;
        if kind != EntryKind::File {
            entry.metablockhash = Some(hash);
        }
        self.entries.push(entry);
        self.entries.last_mut().unwrap()
    }

    /// A file of one block.
    pub fn file(&mut self, path: impl AsRef<[u8]>, content: &str) -> &mut Self {
        let hash = self.block(content.as_bytes());
        let metadata = Metadata {
            uid_gid_perm: Some((0, 0, 0o777)),
            last_write_ticks: Some(larder_volume::ticks_from_unix(1_000_000_000, 0)),
            ..Metadata::default()
        };
        let entry = self.entry(EntryKind::File, path.as_ref(), &metadata);
        entry.hash = Some(hash);
        entry.size = content.len() as u64;
        entry.time = Some(TIME);
        self
    }

    pub fn folder(&mut self, path: impl AsRef<[u8]>) -> &mut Self {
        let metadata = Metadata {
            uid_gid_perm: Some((0, 0, 0o777)),
            last_write_ticks: Some(larder_volume::ticks_from_unix(1_000_000_000, 0)),
            ..Metadata::default()
        };
        self.entry(EntryKind::Folder, path.as_ref(), &metadata);
        self
    }

    pub fn link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> &mut Self {
        let metadata = Metadata {
            symlink_target: Some(target.as_ref().to_vec()),
            last_write_ticks: Some(larder_volume::ticks_from_unix(1_000_000_000, 0)),
            ..Metadata::default()
        };
        self.entry(EntryKind::Symlink, path.as_ref(), &metadata);
        self
    }

    /// An entry of any form.
    pub fn raw_entry(&mut self, json: &str) -> &mut Self {
        self.raw.push(json.to_owned());
        self
    }

    /// A control file under a name that may be there already.
    pub fn control_file(&mut self, name: &str, content: &str) -> &mut Self {
        let name = format!("extra/{name}");
        self.extra.push((name, content.as_bytes().to_vec()));
        self
    }

    /// Changes the entry added last.
    pub fn change(&mut self, change: impl FnOnce(&mut FileEntry)) -> &mut Self {
        change(self.entries.last_mut().expect("an entry"));
        self
    }

    /// Writes the set, without index.
    pub fn store(&self, store: &MemoryDestination) {
        let sha = HashAlgorithm::Sha256;
        let manifest = Manifest::new(TIME, 1024, sha, sha, "forged").encode();
        let mut packer = Packer::new(PackMethod::Stored);
        let mut data = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
        data.add("manifest", &manifest, &mut packer).unwrap();
        for (name, bytes) in &self.blocks {
            data.add(name, bytes, &mut packer).unwrap();
        }
        let name = VolumeName::blocks("duplicati", [7; 16], Compression::Zip, None);
        store.insert(name.as_str(), data.finish().unwrap());
        let mut list = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
        list.add("manifest", &manifest, &mut packer).unwrap();
        list.add("fileset", &encode_fileset(true), &mut packer)
            .unwrap();
        for (name, bytes) in &self.extra {
            list.add(name, bytes, &mut packer).unwrap();
        }
        let mut writer = FileListWriter::create(Vec::new()).unwrap();
        for entry in &self.entries {
            writer.add(entry).unwrap();
        }
        let mut entries = writer.finish().unwrap();
        for raw in &self.raw {
            assert_eq!(entries.pop(), Some(b']'));
            entries.extend_from_slice(format!(",{raw}]").as_bytes());
        }
        list.add("filelist.json", &entries, &mut packer).unwrap();
        let name = VolumeName::list("duplicati", TIME, Compression::Zip, None);
        store.insert(name.as_str(), list.finish().unwrap());
    }
}

/// An index file without encryption that tells of every second block of its data files only, and of no blocklist.
pub fn with_fewer_blocks(name: &str, bytes: &[u8]) -> Vec<u8> {
    let archive = larder_volume::ArchiveReader::open(bytes.to_vec(), Compression::Zip).unwrap();
    let parsed = VolumeName::parse(name, false).unwrap();
    assert_eq!(parsed.compression(), Some(Compression::Zip));
    let mut out = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    let mut packer = Packer::new(PackMethod::Stored);
    for entry in archive.entries() {
        let mut content = archive.read(entry, 1 << 30).unwrap();
        if entry.name.starts_with("list/") {
            continue;
        }
        if let Some(of) = entry.name.strip_prefix("vol/") {
            let mut volume = larder_volume::parse_block_volume(of, &content).unwrap();
            let blocks: Vec<(Hash, u64)> = volume.blocks.iter().collect();
            volume.blocks = larder_volume::BlockTable::new();
            for (hash, size) in blocks.iter().step_by(2) {
                volume.blocks.push(hash, *size);
            }
            content = larder_volume::encode_block_volume(&volume);
        }
        out.add(&entry.name, &content, &mut packer).unwrap();
    }
    out.finish().unwrap()
}

/// The same archive without compression, so that it has another length.
pub fn repacked(bytes: &[u8]) -> Vec<u8> {
    let repacked = edited(bytes, |_, content| content);
    assert_ne!(repacked.len(), bytes.len());
    repacked
}

/// A list without encryption, marked as one of a run that did not come to its end.
pub fn as_partial(bytes: &[u8]) -> Vec<u8> {
    edited(bytes, |name, content| match name {
        "fileset" => br#"{"IsFullBackup":false}"#.to_vec(),
        _ => content,
    })
}

fn edited(bytes: &[u8], edit: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let archive = larder_volume::ArchiveReader::open(bytes.to_vec(), Compression::Zip).unwrap();
    let mut out = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    let mut packer = Packer::new(PackMethod::Stored);
    for entry in archive.entries() {
        let content = archive.read(entry, 1 << 30).unwrap();
        let content = edit(&entry.name, content);
        out.add(&entry.name, &content, &mut packer).unwrap();
    }
    out.finish().unwrap()
}
