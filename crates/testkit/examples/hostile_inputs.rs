//! Writes what a hostile destination could hold: small files that ask for gigabytes or hours (docs/threat-model.md).
//!
//! `cargo run -p larder-testkit --example hostile_inputs -- FOLDER` makes one folder for each input, which is a
//! destination. `scripts/hostile-inputs.sh` runs the program on each of them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use larder_volume::{
    AesHeader, AesSeed, AesVersion, ArchiveWriter, BlockVolume, Compression, DblockWriter,
    DindexWriter, DlistWriter, EXTRA_FOLDER, EncryptionKind, EntryKind, FILELIST_ENTRY,
    FILESET_ENTRY, FileEntry, Format, Hash, HashAlgorithm, Hint, LIST_FOLDER, MANIFEST_ENTRY,
    NewVolume, PackMethod, Packer, VOL_FOLDER, VolumeName, VolumeTime, encode_fileset,
    encrypt_to_vec,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SHA: HashAlgorithm = HashAlgorithm::Sha256;
const TIME: VolumeTime = VolumeTime(1_750_000_000);
const MIB: usize = 1 << 20;
const FORMAT: Format = Format {
    blocksize: MIB as u64,
    block_hash: SHA,
    file_hash: SHA,
};

fn volume(container: Compression) -> NewVolume<'static> {
    NewVolume {
        format: FORMAT,
        container,
        tar_level: None,
        method: PackMethod::Zstd { level: 3 },
        created: TIME,
        app_version: "hostile",
    }
}

/// A destination in the making: one good file, and what is hostile.
struct Place {
    folder: PathBuf,
    number: u8,
}

impl Place {
    fn new(parent: &Path, name: &str) -> Outcome<Self> {
        let folder = parent.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, number: 0 })
    }

    fn put(&self, name: &VolumeName, bytes: &[u8]) -> Outcome<()> {
        Ok(fs::write(self.folder.join(name.as_str()), bytes)?)
    }

    fn id(&mut self) -> [u8; 16] {
        self.number += 1;
        [self.number; 16]
    }

    /// A data file with an index.
    fn blocks(&mut self, blocks: &[&[u8]]) -> Outcome<String> {
        let new = volume(Compression::Zip);
        let mut writer = DblockWriter::create(Vec::new(), &new)?;
        let mut packer = new.packer();
        for block in blocks {
            writer.add(&SHA.digest(block), &packer.pack(block, Hint::Compressible))?;
        }
        let name = VolumeName::blocks("duplicati", self.id(), Compression::Zip, None);
        self.put(&name, &writer.finish()?)?;
        let named = blocks.iter().map(|b| (SHA.digest(b), b.len() as u64));
        self.index(name.as_str(), named.collect())?;
        Ok(name.as_str().to_owned())
    }

    fn index(&mut self, of: &str, blocks: Vec<(Hash, u64)>) -> Outcome<()> {
        let mut writer = DindexWriter::create(Vec::new(), &volume(Compression::Zip))?;
        writer.add_volume(&BlockVolume {
            name: of.to_owned(),
            blocks: blocks.into(),
            hash: None,
            size: None,
        })?;
        let name = VolumeName::index("duplicati", self.id(), Compression::Zip, None);
        self.put(&name, &writer.finish()?)
    }

    /// A list of the entries and a good file.
    fn list(&mut self, entries: impl Iterator<Item = FileEntry>) -> Outcome<()> {
        self.blocks(&[b"good"])?;
        let mut writer = DlistWriter::create(Vec::new(), &volume(Compression::Zip))?;
        let mut entries = entries.chain([good()]);
        writer.add_entries(&mut |list| {
            for entry in entries.by_ref() {
                list.add(&entry)?;
            }
            Ok(())
        })?;
        self.put_list(&writer.finish(true)?)
    }

    fn put_list(&self, bytes: &[u8]) -> Outcome<()> {
        let name = VolumeName::list("duplicati", TIME, Compression::Zip, None);
        self.put(&name, bytes)
    }

    /// A list whose JSON `write` makes, which need not be one that anybody would write.
    fn raw_list(
        &mut self,
        write: impl Fn(&mut dyn std::io::Write) -> std::io::Result<()>,
    ) -> Outcome<()> {
        self.blocks(&[b"good"])?;
        let mut archive = raw()?;
        let method = PackMethod::Zstd { level: 1 };
        archive.add_stream(FILELIST_ENTRY, method, &mut |out| {
            out.write_all(b"[")?;
            write(out)?;
            let hash = SHA.digest(b"good").to_base64();
            write!(
                out,
                r#"{{"type":"File","path":"/src/good","hash":"{hash}","size":4,"time":"20240101T000000Z"}}]"#
            )
        })?;
        archive.add(FILESET_ENTRY, &encode_fileset(true), &mut packer())?;
        self.put_list(&archive.finish()?)
    }
}

fn packer() -> Packer {
    Packer::new(PackMethod::Zstd { level: 1 })
}

/// An archive with its manifest, for entries that no writer makes.
fn raw() -> Outcome<ArchiveWriter<Vec<u8>>> {
    let mut archive = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME)?;
    let manifest = FORMAT.manifest(TIME, "hostile").encode();
    archive.add(MANIFEST_ENTRY, &manifest, &mut packer())?;
    Ok(archive)
}

fn good() -> FileEntry {
    file("/src/good", SHA.digest(b"good"), 4)
}

fn file(path: &str, hash: Hash, size: u64) -> FileEntry {
    FileEntry {
        hash: Some(hash),
        size,
        time: Some(TIME),
        ..FileEntry::new(EntryKind::File, path)
    }
}

fn hash(number: u32) -> Hash {
    SHA.digest(&number.to_le_bytes())
}

fn tars(parent: &Path) -> Outcome<()> {
    let zeros = vec![0; MIB];
    for kind in [Compression::TarZstd, Compression::TarGzip] {
        let packed = if kind == Compression::TarZstd {
            let mut out = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
            (0..4000).try_for_each(|_| out.write_all(&zeros))?;
            out.finish()?
        } else {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            (0..4000).try_for_each(|_| out.write_all(&zeros))?;
            out.finish()?
        };
        let mut place = Place::new(parent, &format!("{} of zeros", kind.key()))?;
        place.list(std::iter::empty())?;
        for _ in 0..3 {
            let name = VolumeName::blocks("duplicati", place.id(), kind, None);
            place.put(&name, &packed)?;
            let name = VolumeName::index("duplicati", place.id(), kind, None);
            place.put(&name, &packed)?;
        }
        place.put(
            &VolumeName::list("duplicati", VolumeTime(TIME.0 + 9), kind, None),
            &packed,
        )?;
    }
    Ok(())
}

fn lists(parent: &Path) -> Outcome<()> {
    let mut place = Place::new(parent, "3000 paths of 1 MiB")?;
    let path = "a".repeat(MIB);
    place.raw_list(|out| {
        (0..3000).try_for_each(|n| write!(out, r#"{{"type":"Folder","path":"/{n}{path}/"}},"#))
    })?;

    let mut place = Place::new(parent, "20,000 paths of 90 KiB")?;
    let path = "a".repeat(90 << 10);
    place.raw_list(|out| {
        (0..20_000).try_for_each(|n| write!(out, r#"{{"type":"Folder","path":"/{n}{path}/"}},"#))
    })?;

    let mut place = Place::new(parent, "a path of 500,000 folders")?;
    let path = "/a".repeat(500_000);
    place.raw_list(|out| write!(out, r#"{{"type":"Folder","path":"{path}/"}},"#))?;

    let mut place = Place::new(parent, "a path of 45,000 folders")?;
    let path = "/a".repeat(45_000);
    place.raw_list(|out| write!(out, r#"{{"type":"Folder","path":"{path}/"}},"#))?;

    // A blocklist of a MiB names 32,768 blocks, here always the same one.
    let zeros = SHA.digest(&vec![0; MIB]);
    let blocklist: Vec<u8> = std::iter::repeat_n(zeros.as_bytes(), MIB / 32)
        .flatten()
        .copied()
        .collect();
    for (name, lists, size) in [
        ("one blocklist 2000 times", 2000, 5 << 40),
        ("a sparse file of 64 TiB", 2000, (2000_u64 * 32768) << 20),
    ] {
        let mut place = Place::new(parent, name)?;
        place.blocks(&[&vec![0; MIB], &blocklist])?;
        let mut entry = file("/src/large", hash(1), size);
        entry.blocklists = vec![SHA.digest(&blocklist); lists];
        place.list([entry].into_iter())?;
    }

    let mut place = Place::new(parent, "3 million blocklists in one entry")?;
    let one = format!("\"{}\",", hash(1).to_base64());
    place.raw_list(|out| {
        let head = hash(2).to_base64();
        write!(
            out,
            r#"{{"type":"File","path":"/src/x","hash":"{head}","size":9,"blocklists":["#
        )?;
        (0..3_000_000).try_for_each(|_| out.write_all(one.as_bytes()))?;
        write!(out, r#""{head}"]}},"#)
    })?;

    let mut place = Place::new(parent, "900 MB beside the list")?;
    place.blocks(&[b"good"])?;
    let mut archive = raw()?;
    let zeros = vec![0; MIB];
    let name = format!("{EXTRA_FOLDER}large");
    archive.add_stream(&name, PackMethod::Zstd { level: 1 }, &mut |out| {
        (0..900).try_for_each(|_| out.write_all(&zeros))
    })?;
    archive.add_stream(FILELIST_ENTRY, PackMethod::Stored, &mut |out| {
        let mut list = larder_volume::FileListWriter::create(out)?;
        list.add(&good())?;
        list.finish()?;
        Ok(())
    })?;
    archive.add(FILESET_ENTRY, &encode_fileset(true), &mut packer())?;
    place.put_list(&archive.finish()?)
}

fn indexes(parent: &Path) -> Outcome<()> {
    let mut place = Place::new(parent, "2000 blocklists in an index")?;
    place.list(std::iter::empty())?;
    let data = place.blocks(&[b"other"])?;
    let mut archive = raw()?;
    let mut blocks = Vec::new();
    for number in 0..2000_u32 {
        let list: Vec<u8> = std::iter::repeat_n(
            *hash(number)
                .as_bytes()
                .first_chunk::<32>()
                .ok_or("a hash")?,
            MIB / 32,
        )
        .flatten()
        .collect();
        let own = SHA.digest(&list);
        archive.add(
            &format!("{LIST_FOLDER}{}", own.to_url_base64()),
            &list,
            &mut packer(),
        )?;
        blocks.push((own, MIB as u64));
    }
    let described = BlockVolume {
        name: data.clone(),
        blocks: blocks.into(),
        hash: None,
        size: None,
    };
    let json = larder_volume::encode_block_volume(&described);
    archive.add(&format!("{VOL_FOLDER}{data}"), &json, &mut packer())?;
    let name = VolumeName::index("duplicati", place.id(), Compression::Zip, None);
    place.put(&name, &archive.finish()?)?;

    let mut place = Place::new(parent, "1 GB of JSON in an index")?;
    place.list(std::iter::empty())?;
    let data = place.blocks(&[b"other"])?;
    for _ in 0..3 {
        let mut archive = raw()?;
        let spaces = vec![b' '; MIB];
        let entry = format!("{VOL_FOLDER}{data}");
        archive.add_stream(&entry, PackMethod::Zstd { level: 1 }, &mut |out| {
            out.write_all(b"{\"blocks\":[")?;
            (0..1000).try_for_each(|_| out.write_all(&spaces))?;
            out.write_all(b"]}")
        })?;
        let name = VolumeName::index("duplicati", place.id(), Compression::Zip, None);
        place.put(&name, &archive.finish()?)?;
    }

    let mut place = Place::new(parent, "50,000 missing blocks")?;
    place.list(std::iter::empty())?;
    let data = place.blocks(&[b"other"])?;
    place.index(&data, (0..50_000).map(|n| (hash(n), 100)).collect())?;

    let mut place = Place::new(parent, "300,000 hashes that begin alike")?;
    place.list(std::iter::empty())?;
    let data = place.blocks(&[b"other"])?;
    let alike = |number: u32| {
        let mut bytes = [0_u8; 32];
        bytes[..8].copy_from_slice(&[7; 8]);
        bytes[8..].copy_from_slice(hash(number).as_bytes().get(8..).unwrap_or_default());
        Hash::from_bytes(&bytes)
    };
    let blocks: Result<Vec<_>, _> = (0..300_000)
        .map(|n| Ok::<_, larder_volume::Error>((alike(n)?, 1)))
        .collect();
    place.index(&data, blocks?)?;
    Ok(())
}

fn encrypted(parent: &Path) -> Outcome<()> {
    for iterations in [1_000_000_u32, 9_999_999] {
        let mut place = Place::new(parent, &format!("20 indexes of {iterations} rounds"))?;
        let seal = |bytes: &[u8], version| {
            let header = AesHeader {
                version,
                extensions: Vec::new(),
            };
            let seed = AesSeed {
                public_iv: [1; 16],
                session_iv: [2; 16],
                session_key: [3; 32],
            };
            encrypt_to_vec(bytes, "pw", &header, &seed)
        };
        let new = volume(Compression::Zip);
        let mut writer = DblockWriter::create(Vec::new(), &new)?;
        let packed = new.packer().pack(b"good", Hint::Compressible);
        writer.add(&SHA.digest(b"good"), &packed)?;
        let aes = Some(EncryptionKind::Aes);
        let data = VolumeName::blocks("duplicati", place.id(), Compression::Zip, aes);
        place.put(&data, &seal(&writer.finish()?, AesVersion::V2)?)?;
        let mut list = DlistWriter::create(Vec::new(), &new)?;
        list.add_entries(&mut |list| Ok(list.add(&good())?))?;
        let name = VolumeName::list("duplicati", TIME, Compression::Zip, aes);
        place.put(&name, &seal(&list.finish(true)?, AesVersion::V2)?)?;
        for _ in 0..20 {
            let mut junk = b"AES\x03\0\0\0".to_vec();
            junk.extend(iterations.to_be_bytes());
            junk.extend([5; 300]);
            let name = VolumeName::index("duplicati", place.id(), Compression::Zip, aes);
            place.put(&name, &junk)?;
        }
    }
    // Packed twice, an unencrypted message becomes a thousand times a thousand bytes.
    let deflated = |content: &[u8]| -> Outcome<Vec<u8>> {
        let mut packet = vec![0xa3, 1];
        let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(content)?;
        packet.extend(out.finish()?);
        Ok(packet)
    };
    let mut literal = vec![0xcb, 0xff];
    literal.extend((2_000 * MIB as u32 + 6).to_be_bytes());
    literal.extend([b'b', 0, 0, 0, 0, 0]);
    literal.resize(literal.len() + 2_000 * MIB, 0);
    let bomb = deflated(&deflated(&literal)?)?;
    let place = Place::new(parent, "a gpg bomb")?;
    for number in 0..3 {
        let time = VolumeTime(TIME.0 + number);
        let name = VolumeName::list(
            "duplicati",
            time,
            Compression::Zip,
            Some(EncryptionKind::Gpg),
        );
        place.put(&name, &bomb)?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let parent = std::env::args_os().nth(1).map(PathBuf::from);
    let parent = parent.ok_or("usage: hostile_inputs FOLDER")?;
    tars(&parent)?;
    lists(&parent)?;
    indexes(&parent)?;
    encrypted(&parent)
}
