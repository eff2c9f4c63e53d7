//! Sets made on Windows restore here with mapped paths.

use larder_volume::{
    ArchiveWriter, BlockVolume, Compression, EntryKind, FileEntry, FileListWriter, HashAlgorithm,
    Manifest, Metadata, PackMethod, Packer, VolumeTime, encode_block_volume, encode_fileset,
};

use crate::rig::Rig;

const HASH: HashAlgorithm = HashAlgorithm::Sha256;
const TIME: VolumeTime = VolumeTime(1_700_000_000);

fn archive(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut packer = Packer::new(PackMethod::Deflate { level: 9 });
    let mut archive = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    let manifest = Manifest::new(TIME, 1024, HASH, HASH, "2.3.0.109").encode();
    archive.add("manifest", &manifest, &mut packer).unwrap();
    for (name, bytes) in entries {
        archive.add(name, bytes, &mut packer).unwrap();
    }
    archive.finish().unwrap()
}

/// A set as a Windows machine writes it: drive and share paths, access rules, attributes, an alternate stream.
fn windows_set(rig: &Rig) {
    let blob = Metadata {
        attributes: Some("Archive, ReadOnly".into()),
        last_write_ticks: Some(638_396_640_000_000_000),
        create_ticks: Some(638_396_640_000_000_000),
        other: vec![(b"win-ext:accessrules".to_vec(), b"[]".to_vec())],
        ..Metadata::default()
    }
    .encode();
    let metahash = HASH.digest(&blob);
    let mut blocks = vec![(metahash, blob.clone())];
    let mut list = FileListWriter::create(Vec::new()).unwrap();
    let mut add = |kind, path: &str, content: &[u8]| {
        let mut entry = FileEntry::new(kind, path);
        entry.metahash = Some(metahash);
        entry.metasize = blob.len() as u64;
        if kind == EntryKind::File {
            let hash = HASH.digest(content);
            entry.hash = Some(hash);
            entry.size = content.len() as u64;
            entry.time = Some(TIME);
            if !content.is_empty() {
                blocks.push((hash, content.to_vec()));
            }
        } else {
            entry.metablockhash = Some(metahash);
        }
        list.add(&entry).unwrap();
    };
    add(EntryKind::Folder, "C:\\Users\\Ann\\", b"");
    add(EntryKind::File, "C:\\Users\\Ann\\letter.odt", b"dear Bob");
    add(EntryKind::File, "C:\\Users\\Ann\\empty.txt", b"");
    add(EntryKind::File, "D:\\photos\\2024\\a b.jpg", b"not really");
    add(
        EntryKind::File,
        "\\\\nas\\share\\notes.txt",
        b"from the share",
    );
    let list = list.finish().unwrap();
    let data: Vec<(String, Vec<u8>)> = blocks
        .iter()
        .map(|(hash, bytes)| (hash.to_url_base64(), bytes.clone()))
        .collect();
    let named: Vec<(&str, Vec<u8>)> = data.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
    let dblock = archive(&named);
    let name = "duplicati-b0123456789abcdef0123456789abcdef.dblock.zip";
    let described = BlockVolume {
        name: name.into(),
        blocks: blocks.iter().map(|(h, b)| (*h, b.len() as u64)).collect(),
        hash: Some(HASH.digest(&dblock)),
        size: Some(dblock.len() as u64),
    };
    let index = archive(&[(&format!("vol/{name}"), encode_block_volume(&described))]);
    let dlist = archive(&[("fileset", encode_fileset(true)), ("filelist.json", list)]);
    rig.store.insert(name, dblock);
    rig.store.insert(
        "duplicati-ifedcba9876543210fedcba9876543210.dindex.zip",
        index,
    );
    rig.store
        .insert(&format!("duplicati-{TIME}.dlist.zip"), dlist);
}

#[test]
fn drives_and_shares_become_folders() {
    let mut rig = Rig::new();
    windows_set(&rig);
    let (target, report) = rig.try_restore(0).unwrap();
    assert_eq!(report.restored_files, 4, "{report:?}");
    let read = |path: &str| std::fs::read_to_string(target.join(path)).unwrap();
    assert_eq!(read("C/Users/Ann/letter.odt"), "dear Bob");
    assert_eq!(read("C/Users/Ann/empty.txt"), "");
    assert_eq!(read("D/photos/2024/a b.jpg"), "not really");
    assert_eq!(read("nas/share/notes.txt"), "from the share");
    let modified = std::fs::metadata(target.join("C/Users/Ann/letter.odt"))
        .unwrap()
        .modified()
        .unwrap();
    let seconds = modified
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(seconds, 1_704_067_200, "the time comes from the metadata");
}

#[test]
fn a_windows_folder_is_selected_with_its_own_separators() {
    let mut rig = Rig::new();
    windows_set(&rig);
    let (target, report) = rig.try_restore_of(0, &["C:\\users\\ANN\\"]).unwrap();
    assert_eq!(report.restored_files, 2, "names on Windows ignore case");
    let read = std::fs::read_to_string(target.join("letter.odt")).unwrap();
    assert_eq!(read, "dear Bob", "the common folder is cut");
}
