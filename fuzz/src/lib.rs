//! What is done with hostile bytes, one function per kind of input.
//!
//! Each function must return for any bytes, in reasonable time and memory; where there is something to
//! compare, it asserts. The same functions serve libFuzzer (`fuzz_targets`, feature `libfuzzer`) and the
//! driver without any tool (`src/bin/smoke.rs`). Seeds are in `corpus/<target>/`.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::Path;

use larder_volume::{
    AesHeader, AesReadOptions, AesReader, AesSeed, AesVersion, ArchiveReader, ArchiveWriter,
    BlockVolume, Compression, FileEntry, FileListReader, FileListWriter, Format, Hash,
    HashAlgorithm, IndexReader, Manifest, Metadata, PackMethod, Packer, Repeated, Unpacker,
    VolumeName, VolumeTime, decrypt_in_place, decrypt_to_vec, encode_block_volume, encode_fileset,
    encrypt_to_vec, parity_owner, parse_block_entry, parse_block_volume, parse_fileset,
};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("aes", aes),
    ("fileset", fileset),
    ("filelist", filelist),
    ("index", index),
    ("manifest", manifest),
    ("metadata", metadata),
    ("tar", tar),
    ("url", url),
    ("vol_json", vol_json),
    ("volume_name", volume_name),
    ("zip", zip),
];

/// A zip volume.
pub fn zip(data: &[u8]) {
    read_archive(data.to_vec(), Compression::Zip);
}

/// The tar stream inside a compressed volume: mutations would rarely survive the compression.
pub fn tar(data: &[u8]) {
    read_archive(gzip(data), Compression::TarGzip);
    read_archive(data.to_vec(), Compression::TarGzip);
    read_archive(data.to_vec(), Compression::TarZstd);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(data).expect("writing to memory");
    packed.finish().expect("writing to memory")
}

fn read_archive(data: Vec<u8>, kind: Compression) {
    let Ok(reader) = ArchiveReader::open_bounded(data, kind, MAX_ENTRY * 16) else {
        return;
    };
    let mut unpacker = Unpacker::new();
    let mut buffer = Vec::new();
    for entry in reader.entries().take(MAX_ENTRIES) {
        let whole = reader.read(entry, MAX_ENTRY).ok();
        if let Some(content) = &whole {
            assert!(content.len() as u64 <= MAX_ENTRY);
            reader
                .read_into(entry, &mut buffer, MAX_ENTRY, &mut unpacker)
                .expect("it was read before");
            assert_eq!(content, &buffer);
        }
        if let Ok(mut stream) = reader.stream(entry) {
            let mut streamed = Vec::new();
            let result = stream
                .by_ref()
                .take(MAX_ENTRY + 1)
                .read_to_end(&mut streamed);
            if let (Some(content), Ok(_)) = (whole, result) {
                assert_eq!(content, streamed);
            }
        }
        let _ = parse_block_entry(&entry.name);
        let _ = reader.find(&entry.name).expect("an entry that was listed");
    }
}

/// An AES Crypt stream, and any bytes as the content of one.
pub fn aes(data: &[u8]) {
    let options = AesReadOptions {
        max_iterations: 20,
        ..AesReadOptions::default()
    };
    let whole = decrypt_to_vec(data, PASSWORD, options);
    let mut in_place = data.to_vec();
    let result_in_place = decrypt_in_place(&mut in_place, PASSWORD, options);
    let mut streamed = Vec::new();
    let result_streamed = AesReader::open_with(data, PASSWORD, options)
        .map_err(io::Error::from)
        .and_then(|mut reader| reader.read_to_end(&mut streamed));
    assert_eq!(whole.is_ok(), result_in_place.is_ok());
    assert_eq!(whole.is_ok(), result_streamed.is_ok());
    if let Ok(plain) = whole {
        assert!(plain == in_place && plain == streamed);
    }

    let header = AesHeader {
        version: AesVersion::V3 { iterations: 1 },
        extensions: Vec::new(),
    };
    let seed = AesSeed {
        public_iv: [1; 16],
        session_iv: [2; 16],
        session_key: [3; 32],
    };
    let encrypted =
        encrypt_to_vec(data, PASSWORD, &header, &seed).expect("any data can be encrypted");
    let decrypted = decrypt_to_vec(&encrypted, PASSWORD, options).expect("it was just encrypted");
    assert_eq!(decrypted, data);
}

/// An index: a whole volume, and the same bytes as descriptions and blocklists of one, since mutations rarely survive
/// the checksums of an archive.
pub fn index(data: &[u8]) {
    read_index(data.to_vec());
    let (first, rest) = data.split_at(data.len() / 2);
    let sha = HashAlgorithm::Sha256;
    let mut packer = Packer::new(PackMethod::Deflate { level: 6 });
    let mut writer =
        ArchiveWriter::create(Vec::new(), Compression::Zip, None, VolumeTime(0)).expect("memory");
    let list = format!("list/{}", sha.digest(rest).to_url_base64());
    for (name, content) in [
        ("vol/all", data),
        ("vol/first", first),
        ("vol/all", rest),
        (list.as_str(), rest),
        ("list/wrong", rest),
    ] {
        writer
            .add(name, content, &mut packer)
            .expect("an entry of any content");
    }
    read_index(writer.finish().expect("memory"));
}

fn read_index(bytes: Vec<u8>) {
    let (sha, len) = (HashAlgorithm::Sha256, bytes.len() as u64);
    let format = Format {
        blocksize: 1 << 12,
        block_hash: sha,
        file_hash: sha,
    };
    let Ok(archive) = ArchiveReader::open_bounded(bytes, Compression::Zip, MAX_ENTRY * 16) else {
        return;
    };
    let reader = IndexReader::new(&archive, len, format);
    let mut known = reader.volumes().unwrap_or_default();
    let blocks = known.iter().map(|volume| volume.blocks.len() as u64);
    assert!(blocks.sum::<u64>() <= len / sha.len() as u64 + 64);
    let names: HashSet<&str> = known.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names.len(), known.len(), "a volume described twice");
    // Blocklists are given only when they are blocks of a described volume.
    let lists = archive.entries().take(MAX_ENTRIES).filter_map(|entry| {
        let hash = Hash::parse_url_base64(entry.name.strip_prefix("list/")?).ok()?;
        Some((hash, entry.size))
    });
    known.push(BlockVolume {
        name: "lists".into(),
        blocks: lists.collect(),
        hash: None,
        size: None,
    });
    let (most, mut given, mut seen) = (1 << 16, 0, HashSet::new());
    let _ = reader.blocklists(&known, most, |found| {
        if let Repeated::Right(hash, bytes) = found {
            assert_eq!(sha.digest(&bytes), hash);
            assert!(seen.insert(hash), "a blocklist given twice");
            given += bytes.len() as u64;
        }
    });
    assert!(given <= most);
}

/// A file list. What can be read can be written, and reads the same again.
pub fn filelist(data: &[u8]) {
    let mut reader = FileListReader::open(data);
    let entries: Vec<FileEntry> = reader.by_ref().filter_map(Result::ok).collect();
    let mut slow = FileListReader::open(Sip(data));
    let slowly: Vec<FileEntry> = slow.by_ref().filter_map(Result::ok).collect();
    assert_eq!(entries, slowly);
    assert_eq!(reader.is_damaged(), slow.is_damaged());

    let written = write_list(&entries);
    let again: Vec<FileEntry> = FileListReader::open(written.as_slice())
        .collect::<Result<_, _>>()
        .expect("our own list is right");
    assert_eq!(again.len(), entries.len());
    assert_eq!(write_list(&again), written);
}

fn write_list(entries: &[FileEntry]) -> Vec<u8> {
    let mut writer = FileListWriter::create(Vec::new()).expect("writing to memory");
    for entry in entries {
        writer.add(entry).expect("an entry that was read");
    }
    writer.finish().expect("writing to memory")
}

/// Gives a few bytes at a time, so that every place is sometimes the end of a buffer.
struct Sip<'a>(&'a [u8]);

impl Read for Sip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (1 + self.0.len() % 7).min(buffer.len());
        self.0.read(&mut buffer[..len])
    }
}

/// The `fileset` entry of a list volume.
pub fn fileset(data: &[u8]) {
    if let Ok(is_full) = parse_fileset(data) {
        assert_eq!(parse_fileset(&encode_fileset(is_full)).ok(), Some(is_full));
    }
}

/// A `vol/` entry of an index volume.
pub fn vol_json(data: &[u8]) {
    if let Ok(volume) = parse_block_volume("name", data) {
        let written = encode_block_volume(&volume);
        assert_eq!(
            parse_block_volume("name", &written).expect("our own index is right"),
            volume
        );
    }
}

/// A `manifest` entry.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let sha = HashAlgorithm::Sha256;
        let _ = manifest.check(1024, sha, sha);
        assert_eq!(
            Manifest::parse(&manifest.encode()).expect("our own manifest is right"),
            manifest
        );
    }
}

/// A metadata blob.
pub fn metadata(data: &[u8]) {
    if let Ok(metadata) = Metadata::parse(data) {
        let written = metadata.encode();
        let again = Metadata::parse(&written).expect("our own blob is right");
        assert_eq!(again.encode(), written);
    }
}

/// The name of a remote file.
pub fn volume_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = parity_owner(&text);
    let strict = VolumeName::parse(&text, false);
    let loose = VolumeName::parse(&text, true);
    if let Some(name) = &strict {
        assert_eq!(loose.as_ref(), Some(name));
    }
    if let Some(name) = loose {
        assert_eq!(name.as_str(), text);
        assert!(!name.prefix().is_empty() && !name.prefix().contains('-'));
        let _ = (
            name.id(),
            name.time(),
            name.compression(),
            name.encryption(),
        );
    }
}

/// A storage URL.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(url) = larder_destination::Url::parse(&text, Path::new("/folder")) {
        let _ = (format!("{url}"), format!("{url:?}"));
    }
}

const PASSWORD: &str = "pass";
/// The largest entry that is unpacked; small, so that a run is fast.
const MAX_ENTRY: u64 = 1 << 20;
const MAX_ENTRIES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let files = std::fs::read_dir(folder).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    /// A seed that is refused at its first byte is of no use.
    #[test]
    fn seeds_are_right_inputs() {
        let all = |target: &str, check: &dyn Fn(&[u8]) -> bool| {
            assert!(seeds(target).iter().all(|seed| check(seed)), "{target}");
        };
        let options = AesReadOptions::default();
        all("aes", &|seed| {
            decrypt_to_vec(seed, PASSWORD, options).is_ok()
        });
        all("fileset", &|seed| parse_fileset(seed).is_ok());
        all("filelist", &|seed| {
            let mut reader = FileListReader::open(seed);
            reader.by_ref().filter(Result::is_ok).count() > 1 && !reader.is_damaged()
        });
        all("manifest", &|seed| Manifest::parse(seed).is_ok());
        all("metadata", &|seed| Metadata::parse(seed).is_ok());
        all("vol_json", &|seed| parse_block_volume("name", seed).is_ok());
        all("zip", &|seed| {
            ArchiveReader::open(seed.to_vec(), Compression::Zip).is_ok()
        });
        all("tar", &|seed| {
            let kinds = [
                (gzip(seed), Compression::TarGzip),
                (seed.to_vec(), Compression::TarZstd),
            ];
            kinds.into_iter().any(|(bytes, kind)| {
                ArchiveReader::open(bytes, kind).is_ok_and(|reader| reader.entries().len() > 0)
            })
        });
        for (target, _) in TARGETS {
            assert!(!seeds(target).is_empty());
        }
    }
}
