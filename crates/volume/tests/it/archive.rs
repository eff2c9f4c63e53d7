//! Containers from the outside: real volumes, the `zip` crate as a second opinion, damage and hostile claims.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;

use larder_volume::{
    ArchiveReader, ArchiveWriter, Compression, Error, HashAlgorithm, Hint, Method, PackMethod,
    Packed, Packer, ReadAt, Unpacker, VolumeKind, VolumeName, VolumeTime, parse_block_entry,
};
use proptest::prelude::*;

const TIME: VolumeTime = VolumeTime(1_704_067_200); // 2024-01-01T00:00:00Z
const MAX: u64 = 64 << 20;
const METHODS: [PackMethod; 3] = [
    PackMethod::Stored,
    PackMethod::Deflate { level: 6 },
    PackMethod::Zstd { level: 3 },
];

/// A source that does not lie in memory and gives few bytes at a time, like a file at its worst.
struct Trickle(Vec<u8>);

impl ReadAt for Trickle {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(1000);
        self.0.read_at(offset, &mut buf[..most])
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.0)
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn text(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line| format!("line {line} of a text that packs well\n").into_bytes())
        .take(len)
        .collect()
}

type Content = Vec<(String, Vec<u8>)>;

fn write(kind: Compression, method: PackMethod, content: &Content) -> Vec<u8> {
    let mut writer = ArchiveWriter::create(Vec::new(), kind, None, TIME).unwrap();
    let mut packer = Packer::new(method);
    for (name, data) in content {
        writer.add(name, data, &mut packer).unwrap();
    }
    writer.finish().unwrap()
}

/// Reads everything in every way there is and compares the ways.
fn read_all<S: ReadAt>(source: S, kind: Compression) -> Result<Content, Error> {
    let reader = ArchiveReader::open(source, kind)?;
    let mut unpacker = Unpacker::new();
    let mut out = vec![1; 100];
    let mut content = Content::new();
    for entry in reader.entries() {
        reader.read_into(entry, &mut out, MAX, &mut unpacker)?;
        assert_eq!(out.len() as u64, entry.size);
        assert_eq!(reader.read(entry, MAX)?, out);
        let mut streamed = Vec::new();
        reader.stream(entry)?.read_to_end(&mut streamed)?;
        assert!(streamed == out, "{}", entry.name);
        content.push((entry.name.to_string(), out.clone()));
    }
    Ok(content)
}

fn some_content() -> Content {
    vec![
        ("manifest".into(), b"\xef\xbb\xbf{\"Version\":2}".to_vec()),
        ("empty".into(), Vec::new()),
        ("vol/text".into(), text(300_000)),
        ("list/noise".into(), noise(100_000)),
        ("zeros".into(), vec![0; 1_000_000]),
        ("extra/größe".into(), b"x".to_vec()),
        ("last".into(), text(77)),
    ]
}

/// The real volumes of `fixtures/volumes`, whatever is there.
fn samples() -> Vec<(String, VolumeName, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/volumes");
    let mut samples = Vec::new();
    for folder in std::fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap();
        if !folder.file_type().unwrap().is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let volume =
                VolumeName::parse(&name, false).unwrap_or_else(|| panic!("{name} is no volume"));
            samples.push((name, volume, std::fs::read(path).unwrap()));
        }
    }
    assert!(samples.len() >= 18, "samples are missing");
    samples
}

#[test]
fn real_volumes_read_right() {
    let mut kinds = BTreeMap::new();
    for (name, volume, bytes) in samples() {
        let kind = volume.compression().unwrap();
        let reader = ArchiveReader::open(&bytes, kind).unwrap();
        assert!(!reader.recovered(), "{name}");
        assert!(reader.find("manifest").is_some(), "{name}");
        assert_eq!(
            reader.find("filelist.json").is_some(),
            volume.kind() == VolumeKind::List,
            "{name}"
        );
        let content = read_all(&bytes, kind).unwrap();
        let mut blocks = 0;
        for (entry, data) in &content {
            if volume.kind() == VolumeKind::Blocks && entry != "manifest" {
                let hash = parse_block_entry(entry).unwrap_or_else(|| panic!("{name}: {entry}"));
                assert_eq!(HashAlgorithm::Sha256.digest(data), hash, "{name}: {entry}");
                blocks += 1;
            }
        }
        assert!(volume.kind() != VolumeKind::Blocks || blocks > 0, "{name}");
        assert_eq!(read_all(Trickle(bytes), kind).unwrap(), content, "{name}");
        *kinds.entry(kind.key()).or_insert(0) += 1;
    }
    assert_eq!(
        kinds.len(),
        3,
        "a kind of container has no sample: {kinds:?}"
    );
}

#[test]
fn tars_are_written_as_the_original_program_does() {
    for (name, volume, bytes) in samples() {
        let kind = volume.compression().unwrap();
        if kind != Compression::TarGzip {
            continue;
        }
        let unpack = |bytes: &[u8]| {
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(bytes)
                .read_to_end(&mut tar)
                .unwrap();
            tar
        };
        let original = unpack(&bytes);
        let time = std::str::from_utf8(&original[136..147]).unwrap();
        let time = VolumeTime(i64::from_str_radix(time, 8).unwrap());
        let mut writer = ArchiveWriter::create(Vec::new(), kind, None, time).unwrap();
        for (entry, data) in read_all(bytes, kind).unwrap() {
            writer
                .add(&entry, &data, &mut Packer::new(PackMethod::Stored))
                .unwrap();
        }
        let ours = unpack(&writer.finish().unwrap());
        // Entries written within another second differ in their time only.
        assert_eq!(ours.len(), original.len(), "{name}");
        if !ours.iter().eq(&original) {
            let differ = ours.iter().zip(&original).filter(|(a, b)| a != b).count();
            assert!(
                differ < 12 * original.len() / 512,
                "{name}: {differ} bytes differ"
            );
        }
    }
}

#[test]
fn round_trip_of_all_kinds_and_methods() {
    let content = some_content();
    for kind in Compression::ALL {
        for method in METHODS {
            let archive = write(kind, method, &content);
            assert_eq!(
                archive,
                write(kind, method, &content),
                "equal input gives equal output"
            );
            assert_eq!(
                read_all(archive.clone(), kind).unwrap(),
                content,
                "{kind:?} {method:?}"
            );
            assert_eq!(
                read_all(Trickle(archive.clone()), kind).unwrap(),
                content,
                "{kind:?} {method:?}"
            );
            let reader = ArchiveReader::open(&archive[..], kind).unwrap();
            assert_eq!(reader.find("vol/text").unwrap().size, 300_000);
            assert!(reader.find("vol").is_none());
        }
    }
}

#[test]
fn readers_are_shared_between_threads() {
    let content = some_content();
    let archive = write(Compression::Zip, PackMethod::Zstd { level: 3 }, &content);
    let reader = ArchiveReader::open(archive, Compression::Zip).unwrap();
    fn moves<T: Send>() {}
    moves::<(Packer, Unpacker, ArchiveWriter<Vec<u8>>)>();
    std::thread::scope(|scope| {
        for (name, data) in &content {
            let reader = &reader;
            scope.spawn(move || {
                assert!(reader.read(reader.find(name).unwrap(), MAX).unwrap() == *data)
            });
        }
    });
}

#[test]
fn an_empty_archive() {
    for kind in Compression::ALL {
        let archive = write(kind, PackMethod::Stored, &Content::new());
        let reader = ArchiveReader::open(archive, kind).unwrap();
        assert_eq!(reader.entries().count(), 0, "{kind:?}");
        assert!(reader.find("manifest").is_none());
        assert!(!reader.recovered());
    }
}

#[test]
fn the_estimate_is_the_length() {
    let mut writer = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    let mut packer = Packer::new(PackMethod::Deflate { level: 6 });
    for (name, data) in some_content() {
        writer.add(&name, &data, &mut packer).unwrap();
    }
    assert_eq!(writer.entries(), 7);
    let estimate = writer.estimated_len();
    assert_eq!(writer.finish().unwrap().len() as u64, estimate);
    for kind in [Compression::TarZstd, Compression::TarGzip] {
        let mut writer = ArchiveWriter::create(Vec::new(), kind, None, TIME).unwrap();
        for (number, data) in noise(1_000_000).chunks(50_000).enumerate() {
            writer.add(&number.to_string(), data, &mut packer).unwrap();
        }
        let estimate = writer.estimated_len();
        let len = writer.finish().unwrap().len() as u64;
        assert!(
            (len..len + 30_000).contains(&estimate),
            "{kind:?}: {estimate} for {len}"
        );
    }
}

#[test]
fn packed_entries_move_between_archives_unchanged() {
    let content = some_content();
    let archive = write(Compression::Zip, PackMethod::Deflate { level: 6 }, &content);
    let reader = ArchiveReader::open(&archive, Compression::Zip).unwrap();
    let mut writer = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    for entry in reader.entries() {
        let packed = reader.read_packed(entry, MAX).unwrap();
        assert_eq!(packed.bytes.len() as u64, entry.packed_size());
        writer.add_packed(&entry.name, &packed).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), archive);

    let text = reader
        .read_packed(reader.find("vol/text").unwrap(), MAX)
        .unwrap();
    assert_eq!(text.method, Method::Deflate);
    let mut tar = ArchiveWriter::create(Vec::new(), Compression::TarZstd, None, TIME).unwrap();
    assert!(matches!(
        tar.add_packed("x", &text),
        Err(Error::Unsupported(_))
    ));
    assert!(matches!(
        reader.read_packed(reader.find("zeros").unwrap(), 10),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn streams_small_and_large() {
    let long = text(11_000_000);
    for kind in Compression::ALL {
        for method in METHODS {
            for len in [0, 5000, 8 << 20, (8 << 20) + 1, 11_000_000] {
                let data = &long[..len];
                let mut writer = ArchiveWriter::create(Vec::new(), kind, Some(1), TIME).unwrap();
                writer
                    .add("manifest", b"m", &mut Packer::new(method))
                    .unwrap();
                writer
                    .add_stream("filelist.json", method, &mut |sink| {
                        data.chunks(777_777)
                            .try_for_each(|piece| sink.write_all(piece))
                    })
                    .unwrap();
                writer.add("after", b"a", &mut Packer::new(method)).unwrap();
                let estimate = writer.estimated_len();
                let archive = writer.finish().unwrap();
                assert!(kind != Compression::Zip || estimate == archive.len() as u64);
                let reader = ArchiveReader::open(&archive, kind).unwrap();
                let entry = reader.find("filelist.json").unwrap();
                assert!(
                    reader.read(entry, MAX).unwrap() == data,
                    "{kind:?} {method:?} {len}"
                );
                let mut streamed = Vec::new();
                reader
                    .stream(entry)
                    .unwrap()
                    .read_to_end(&mut streamed)
                    .unwrap();
                assert!(streamed == data, "{kind:?} {method:?} {len}");
                assert_eq!(reader.read(reader.find("after").unwrap(), 1).unwrap(), b"a");

                // And again without the central directory.
                if kind == Compression::Zip {
                    let cut = &archive[..archive.len() - 22];
                    let reader = ArchiveReader::open(cut, kind).unwrap();
                    assert!(reader.recovered());
                    assert_eq!(reader.entries().count(), 3, "{method:?} {len}");
                    assert!(
                        reader
                            .read(reader.find("filelist.json").unwrap(), MAX)
                            .unwrap()
                            == data
                    );
                }
            }
        }
    }
}

#[test]
fn an_error_within_a_stream_leaves_the_writer_unusable_only_when_bytes_are_out() {
    for (len, usable) in [(100, true), (9 << 20, false)] {
        let mut writer = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
        let result = writer.add_stream("a", PackMethod::Stored, &mut |sink| {
            sink.write_all(&vec![7; len])?;
            Err(io::Error::other("the source is gone"))
        });
        assert!(matches!(result, Err(Error::Io(_))));
        assert_eq!(
            writer
                .add("b", b"b", &mut Packer::new(PackMethod::Stored))
                .is_ok(),
            usable
        );
        assert_eq!(writer.finish().is_ok(), usable);
    }
}

#[test]
fn names_that_do_not_fit() {
    let mut packer = Packer::new(PackMethod::Stored);
    let mut zip = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    assert!(zip.add("", b"", &mut packer).is_err());
    assert!(zip.add(&"x".repeat(65_536), b"", &mut packer).is_err());
    zip.add(&"x".repeat(65_535), b"1", &mut packer).unwrap();
    assert_eq!(
        read_all(zip.finish().unwrap(), Compression::Zip).unwrap()[0].1,
        b"1"
    );
    let mut tar = ArchiveWriter::create(Vec::new(), Compression::TarGzip, None, TIME).unwrap();
    assert!(tar.add(&"x".repeat(100), b"", &mut packer).is_err());
    tar.add("twice", b"", &mut packer).unwrap();
    assert!(tar.add("twice", b"", &mut packer).is_err());
    assert_eq!(
        read_all(tar.finish().unwrap(), Compression::TarGzip)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn many_entries_need_zip64() {
    for count in [65_534, 65_535, 65_536, 70_000] {
        let mut writer = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
        let packed = Packer::new(PackMethod::Stored).pack(b"x", Hint::Stored);
        for number in 0..count {
            writer.add_packed(&format!("{number:05}"), &packed).unwrap();
        }
        let estimate = writer.estimated_len();
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() as u64, estimate);
        assert_eq!(
            archive
                .windows(4)
                .rev()
                .take(100)
                .any(|bytes| bytes == b"PK\x06\x07"),
            count > 65_534
        );
        let reader = ArchiveReader::open(&archive, Compression::Zip).unwrap();
        assert_eq!((reader.entries().len(), reader.recovered()), (count, false));
        assert!(reader.find(&format!("{:05}", count - 1)).is_some());
        let other = zip::ZipArchive::new(Cursor::new(&archive)).unwrap();
        assert_eq!(other.len(), count);
    }
}

#[test]
fn the_zip_crate_reads_ours() {
    let content = some_content();
    for method in [PackMethod::Stored, PackMethod::Deflate { level: 9 }] {
        let mut writer = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
        for (name, data) in &content {
            writer.add(name, data, &mut Packer::new(method)).unwrap();
        }
        let large = text(9 << 20);
        writer
            .add_stream("large", method, &mut |sink| sink.write_all(&large))
            .unwrap();
        let mut other = zip::ZipArchive::new(Cursor::new(writer.finish().unwrap())).unwrap();
        assert_eq!(other.len(), content.len() + 1);
        for (name, data) in content.iter().chain([&("large".to_owned(), large)]) {
            let mut entry = other.by_name(name).unwrap();
            assert_eq!(entry.unix_mode(), Some(0o100_644));
            let time = entry.last_modified().unwrap();
            assert_eq!(
                (time.year(), time.month(), time.day(), time.hour()),
                (2024, 1, 1, 0)
            );
            let mut all = Vec::new();
            entry.read_to_end(&mut all).unwrap();
            assert!(all == *data, "{name}");
        }
    }
}

#[test]
fn ours_reads_the_zip_crate() {
    let content = some_content();
    for method in [
        zip::CompressionMethod::Stored,
        zip::CompressionMethod::Deflated,
    ] {
        for large in [false, true] {
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(method)
                .large_file(large);
            let mut seeking = zip::ZipWriter::new(Cursor::new(Vec::new()));
            let mut streaming = zip::ZipWriter::new_stream(Vec::new());
            for (name, data) in &content {
                seeking.start_file(name.as_str(), options).unwrap();
                seeking.write_all(data).unwrap();
                streaming.start_file(name.as_str(), options).unwrap();
                streaming.write_all(data).unwrap();
            }
            seeking
                .set_comment(
                    "a comment that says PK\x05\x06 and more of the like, 22 bytes at least",
                )
                .unwrap();
            let seeking = seeking.finish().unwrap().into_inner();
            let streaming = streaming.finish().unwrap().into_inner();
            assert_eq!(
                read_all(seeking, Compression::Zip).unwrap(),
                content,
                "{method:?} {large}"
            );
            assert_eq!(
                read_all(streaming.clone(), Compression::Zip).unwrap(),
                content,
                "{method:?} {large}"
            );
            // Data descriptors, and no central directory to help.
            let cut = streaming[..streaming.len() - 30].to_vec();
            let reader = ArchiveReader::open(&cut, Compression::Zip).unwrap();
            assert!(reader.recovered());
            assert_eq!(
                read_all(cut, Compression::Zip).unwrap(),
                content,
                "{method:?} {large} cut"
            );
        }
    }
}

/// Where the central directory of an archive without Zip64 begins.
fn directory(archive: &[u8]) -> usize {
    let at = archive.len() - 6;
    u32::from_le_bytes(archive[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn garbage_behind_the_end_does_not_matter() {
    let content = some_content();
    let archive = write(Compression::Zip, PackMethod::Deflate { level: 6 }, &content);
    for garbage in [1, 22, 65_535, 100_000] {
        let mut longer = archive.clone();
        longer.extend(vec![0; garbage]);
        let reader = ArchiveReader::open(&longer, Compression::Zip).unwrap();
        assert!(!reader.recovered());
        assert_eq!(reader.entries().len(), content.len());
    }
}

type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn a_damaged_directory_is_replaced_by_the_local_headers() {
    let content = some_content();
    for method in METHODS {
        let archive = write(Compression::Zip, method, &content);
        let directory = directory(&archive);
        let damages: [Damage<'_>; 6] = [
            &|archive| archive.truncate(directory),
            &|archive| archive.truncate(directory + 60),
            &|archive| archive[directory + 1] ^= 1,
            &|archive| archive[directory..].fill(0),
            &|archive| archive[directory + 42] ^= 0x40,
            &|archive| {
                let end = archive.len() - 12;
                archive[end] ^= 1; // number of entries
            },
        ];
        for (number, damage) in damages.iter().enumerate() {
            let mut damaged = archive.clone();
            damage(&mut damaged);
            for source in [
                read_all(damaged.clone(), Compression::Zip),
                read_all(Trickle(damaged.clone()), Compression::Zip),
            ] {
                assert_eq!(source.unwrap(), content, "{method:?} {number}");
            }
            // Local headers say the same as the directory, except where only its offset was wrong.
            let recovered = ArchiveReader::open(damaged, Compression::Zip)
                .unwrap()
                .recovered();
            assert!(recovered || number == 4, "{method:?} {number}");
        }
    }
}

#[test]
fn entries_around_a_damaged_place_are_recovered() {
    let content = some_content();
    let archive = write(Compression::Zip, PackMethod::Deflate { level: 6 }, &content);
    let at = archive
        .windows(8)
        .position(|bytes| bytes == b"vol/text")
        .unwrap();
    for (from, to, lost) in [
        (at - 30, at - 26, 1),     // signature
        (at - 12, at - 8, 1),      // packed size
        (at - 4, at - 2, 1),       // length of the name
        (at - 30, at + 60_000, 2), // much of this entry and the next
    ] {
        let mut damaged = archive[..directory(&archive)].to_vec();
        for byte in &mut damaged[from..to] {
            *byte ^= 0x55;
        }
        let found = read_all(damaged, Compression::Zip).unwrap();
        assert_eq!(found.len(), content.len() - lost, "{from}..{to}");
        assert!(found.iter().all(|entry| content.contains(entry)));
    }
    // One entry is too few to be believed.
    let one = write(Compression::Zip, PackMethod::Stored, &content[..1].to_vec());
    assert!(ArchiveReader::open(&one[..directory(&one)], Compression::Zip).is_err());
    assert!(ArchiveReader::open(&b"PK"[..], Compression::Zip).is_err());
    assert!(ArchiveReader::open(&b""[..], Compression::Zip).is_err());
}

#[test]
fn a_damaged_entry_is_named_and_the_others_are_read() {
    let content = some_content();
    for method in METHODS {
        let archive = write(Compression::Zip, method, &content);
        let at = archive
            .windows(8)
            .position(|bytes| bytes == b"vol/text")
            .unwrap();
        // Signature, method, length of the name, content.
        for place in [at - 30, at - 22, at - 4, at + 3000] {
            let mut damaged = archive.clone();
            damaged[place] ^= 0x80;
            for damaged in [
                ArchiveReader::open(
                    Box::new(damaged.clone()) as Box<dyn ReadAt>,
                    Compression::Zip,
                ),
                ArchiveReader::open(Box::new(Trickle(damaged)), Compression::Zip),
            ] {
                let reader = damaged.unwrap();
                assert!(!reader.recovered());
                for (name, data) in &content {
                    let entry = reader.find(name).unwrap();
                    let mut streamed = Vec::new();
                    let stream = reader
                        .stream(entry)
                        .and_then(|mut stream| Ok(stream.read_to_end(&mut streamed)?));
                    match reader.read(entry, MAX) {
                        Ok(read) => {
                            assert!(name != "vol/text" && read == *data && streamed == *data)
                        }
                        Err(error) => {
                            assert_eq!(name, "vol/text", "{error}");
                            assert!(error.to_string().contains("vol/text"), "{error}");
                            assert!(matches!(
                                error,
                                Error::Malformed { .. } | Error::Tampered(_)
                            ));
                            assert!(stream.unwrap_err().to_string().contains("vol/text"));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_false_claim_costs_no_memory() {
    let content = some_content();
    let archive = write(Compression::Zip, PackMethod::Deflate { level: 6 }, &content);
    let record = directory(&archive)
        + archive[directory(&archive)..]
            .windows(5)
            .position(|bytes| bytes == b"zeros")
            .unwrap()
        - 46;
    let patched = |at: usize, value: u32| {
        let mut patched = archive.clone();
        patched[record + at..record + at + 4].copy_from_slice(&value.to_le_bytes());
        patched
    };
    let open = |bytes: Vec<u8>| ArchiveReader::open(bytes, Compression::Zip).unwrap();
    let read =
        |reader: &ArchiveReader<Vec<u8>>, max| reader.read(reader.find("zeros").unwrap(), max);

    let honest = open(archive.clone());
    assert!(matches!(
        read(&honest, 999_999),
        Err(Error::TooLarge { limit: 999_999, .. })
    ));
    assert_eq!(read(&honest, 1_000_000).unwrap(), vec![0; 1_000_000]);
    // More than deflate can make of the packed bytes, though below the limit.
    let error = read(&open(patched(24, 0x7fff_ffff)), u64::MAX).unwrap_err();
    assert!(error.to_string().contains("too few bytes"), "{error}");
    for size in [0, 1, 999_999, 1_000_001] {
        assert!(read(&open(patched(24, size)), MAX).is_err(), "{size}");
    }
    // A packed size that reaches into the next entry, or an offset into another one: overlapping entries.
    for claim in [patched(20, 100_000), patched(42, 60)] {
        assert!(open(claim).recovered());
    }
    // A wrong checksum, a method nobody has, encryption.
    assert!(matches!(
        read(&open(patched(16, 1)), MAX),
        Err(Error::Tampered(_))
    ));
    let mut odd = archive.clone();
    for (method, name) in [
        (9, "Deflate64"),
        (12, "BZip2"),
        (14, "LZMA"),
        (95, "XZ"),
        (98, "PPMd"),
        (200, "200"),
    ] {
        odd[record + 10] = method;
        let error = read(&open(odd.clone()), MAX).unwrap_err();
        assert!(
            matches!(error, Error::Unsupported(_)) && error.to_string().contains(name),
            "{error}"
        );
        assert!(error.to_string().contains("zeros"), "{error}");
    }
    let mut secret = archive.clone();
    secret[record + 8] |= 1;
    assert!(matches!(
        read(&open(secret), MAX),
        Err(Error::Unsupported(_))
    ));
}

#[test]
fn claims_of_the_end_record_are_checked() {
    let archive = write(
        Compression::Zip,
        PackMethod::Stored,
        &vec![("one".to_owned(), b"1".to_vec())],
    );
    let end = archive.len() - 22;
    for (at, bytes) in [
        (8, [0xff; 12].as_slice()),
        (8, &[0xfe, 0xff, 0xfe, 0xff]),
        (12, &[0xff; 4]),
        (16, &[0xff; 4]),
    ] {
        let mut lying = archive.clone();
        lying[end + at..end + at + bytes.len()].copy_from_slice(bytes);
        assert!(ArchiveReader::open(lying, Compression::Zip).is_err());
    }
}

#[test]
fn a_file_full_of_false_headers_ends_soon() {
    // Each header asks for an unpacking to the end; without a bound on the work this would take for ever.
    for method in [0, 8, 93] {
        let mut header = b"PK\x03\x04\x14\0\x08\0".to_vec();
        header.extend([method, 0]);
        header.resize(30, 0);
        header[26] = 1;
        let bytes = header.repeat(5_000);
        assert!(ArchiveReader::open(bytes, Compression::Zip).is_err());
    }
}

#[test]
fn backslashes_and_equal_names() {
    let mut writer = ArchiveWriter::create(Vec::new(), Compression::Zip, None, TIME).unwrap();
    let mut packer = Packer::new(PackMethod::Stored);
    writer.add("vol\\old", b"1", &mut packer).unwrap();
    writer.add("vol/old", b"2", &mut packer).unwrap();
    let reader = ArchiveReader::open(writer.finish().unwrap(), Compression::Zip).unwrap();
    assert_eq!(reader.entries().len(), 2);
    assert_eq!(
        reader.read(reader.find("vol/old").unwrap(), MAX).unwrap(),
        b"1"
    );
    assert!(reader.find("vol\\old").is_none());
}

#[test]
fn tars_are_searched_when_damaged() {
    let all = noise(500_000);
    let content: Content = all
        .chunks(50_000)
        .enumerate()
        .map(|(number, data)| (format!("entry {number}"), data.to_vec()))
        .collect();
    for kind in [Compression::TarZstd, Compression::TarGzip] {
        let archive = write(kind, PackMethod::Stored, &content);
        let cut = archive[..archive.len() / 2].to_vec();
        let reader = ArchiveReader::open(&cut, kind).unwrap();
        assert!(reader.recovered());
        let found = read_all(&cut, kind).unwrap();
        assert!((2..10).contains(&found.len()), "{kind:?}: {}", found.len());
        assert!(found.iter().all(|entry| content.contains(entry)));
        assert!(ArchiveReader::open(&archive[..20], kind).is_err());
        assert!(ArchiveReader::open(noise(5000), kind).is_err());
        assert!(matches!(
            ArchiveReader::open_bounded(&archive, kind, 10_000),
            Err(Error::TooLarge { .. })
        ));
    }
    // A tar as others make it: no directory, zero blocks at the end; and one with a damaged header.
    let zstd = |tar: &[u8]| zstd::bulk::compress(tar, 1).unwrap();
    let archive = write(Compression::TarZstd, PackMethod::Stored, &content);
    let tar = zstd::stream::decode_all(archive.as_slice()).unwrap();
    let plain_end = 10 * (512 + 50_176);
    let mut plain = tar[..plain_end].to_vec();
    plain.extend([0; 1024]);
    let reader = ArchiveReader::open(zstd(&plain), Compression::TarZstd).unwrap();
    assert!(!reader.recovered());
    assert_eq!(reader.entries().len(), 10);
    let mut damaged = plain.clone();
    damaged[512 + 50_176] ^= 1;
    let reader = ArchiveReader::open(zstd(&damaged), Compression::TarZstd).unwrap();
    assert!(reader.recovered());
    assert_eq!(reader.entries().len(), 9);
    // A directory that does not fit the headers is not believed.
    let mut lying = tar.clone();
    let place = lying
        .windows(8)
        .position(|bytes| bytes == b"\"Offset\"")
        .unwrap()
        + 11;
    lying[place] ^= 1;
    let reader = ArchiveReader::open(zstd(&lying), Compression::TarZstd).unwrap();
    assert_eq!(reader.entries().len(), 10);
}

/// A few KB of compressed zeros would unpack to gigabytes; what is unpacked is bounded by what is packed.
#[test]
fn a_tar_of_zeros_ends_at_its_bound() {
    let zeros = vec![0; 1 << 20];
    let zstd = {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
        for _ in 0..256 {
            encoder.write_all(&zeros).unwrap();
        }
        encoder.finish().unwrap()
    };
    assert!(zstd.len() < 64 << 10, "{}", zstd.len());
    assert!(matches!(
        ArchiveReader::open(zstd, Compression::TarZstd),
        Err(Error::TooLarge { limit, .. }) if limit == 64 << 20
    ));
}

/// Counts what is unpacked.
struct Counting(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Write for Counting {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0
            .fetch_add(buf.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl larder_volume::Scratch for Counting {
    fn finish(self: Box<Self>) -> io::Result<Box<dyn ReadAt>> {
        Err(io::Error::other("it kept nothing"))
    }
}

#[test]
fn what_is_no_tar_is_not_unpacked_to_its_end() {
    // Within what a file of its length may become.
    let zeros = vec![0; 1 << 20];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..256 {
        encoder.write_all(&zeros).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert!(packed.len() as u64 * 1024 > 200 << 20, "{}", packed.len());
    let unpacked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let opened = ArchiveReader::open_with(packed, Compression::TarGzip, || {
        Box::new(Counting(unpacked.clone()))
    });
    assert!(matches!(opened, Err(Error::TooLarge { .. })));
    let unpacked = unpacked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(unpacked <= 65 << 20, "{unpacked}");
}

/// Bytes in a scratch that is no memory.
struct Elsewhere(Vec<u8>);

impl Write for Elsewhere {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl larder_volume::Scratch for Elsewhere {
    fn finish(self: Box<Self>) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(Trickle(self.0)))
    }
}

#[test]
fn a_tar_may_lie_elsewhere() {
    let content: Content = (0..200)
        .map(|number| (format!("entry {number}"), text(number * 17)))
        .collect();
    for kind in [Compression::TarZstd, Compression::TarGzip] {
        let archive = write(kind, PackMethod::Stored, &content);
        let reader =
            ArchiveReader::open_with(archive.as_slice(), kind, || Box::new(Elsewhere(Vec::new())))
                .unwrap();
        let (mut unpacker, mut out) = (Unpacker::new(), Vec::new());
        for (name, data) in &content {
            let entry = reader.find(name).unwrap();
            reader
                .read_into(entry, &mut out, MAX, &mut unpacker)
                .unwrap();
            assert_eq!(&out, data);
            out.clear();
            reader.stream(entry).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(&out, data);
        }
        let cut = &archive[..archive.len() / 2];
        let reader = ArchiveReader::open_with(cut, kind, || Box::new(Elsewhere(Vec::new())));
        assert!(reader.unwrap().recovered());
    }
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9_=-]{1,44}", "(vol|list|extra)/[a-zäß.]{1,20}"]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        (any::<u8>(), 0..40_000usize).prop_map(|(byte, len)| vec![byte; len]),
        (0..40_000usize).prop_map(text),
        (0..40_000usize).prop_map(noise),
    ]
}

fn contents() -> impl Strategy<Value = Content> {
    proptest::collection::btree_map(names(), data(), 0..12)
        .prop_map(|map| map.into_iter().collect())
}

fn kinds() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::Zip),
        Just(Compression::TarZstd),
        Just(Compression::TarGzip)
    ]
}

fn methods() -> impl Strategy<Value = PackMethod> {
    prop_oneof![
        Just(PackMethod::Stored),
        (0..=10u8).prop_map(|level| PackMethod::Deflate { level }),
        (-5..=12i32).prop_map(|level| PackMethod::Zstd { level }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_read(content in contents(), kind in kinds(), method in methods()) {
        let archive = write(kind, method, &content);
        prop_assert_eq!(&read_all(archive.as_slice(), kind).unwrap(), &content);
        prop_assert_eq!(&read_all(Trickle(archive), kind).unwrap(), &content);
    }

    #[test]
    fn damage_is_an_error_or_nothing(
        content in contents(),
        kind in kinds(),
        method in methods(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        tail in any::<bool>(),
    ) {
        let mut archive = write(kind, method, &content);
        for (place, value) in changes {
            // Half of the time near the end, where the directory is.
            let from = if tail { archive.len().saturating_sub(300) } else { 0 };
            let at = from + place.index(archive.len() - from);
            archive[at] = value;
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len() + 1));
        }
        for reader in [
            ArchiveReader::open(Box::new(archive.clone()) as Box<dyn ReadAt>, kind),
            ArchiveReader::open(Box::new(Trickle(archive)), kind),
        ] {
            let Ok(reader) = reader else { continue };
            let mut unpacker = Unpacker::new();
            let mut out = Vec::new();
            for entry in reader.entries() {
                let read = reader.read_into(entry, &mut out, 100_000, &mut unpacker);
                let mut streamed = Vec::new();
                let stream = reader.stream(entry).and_then(|stream| Ok(stream.take(200_000).read_to_end(&mut streamed)?));
                if read.is_ok() {
                    prop_assert!(out.len() <= 100_000);
                    prop_assert!(stream.is_ok() && streamed == out);
                    // A zip entry that reads at all reads right, whatever its name is now.
                    if kind == Compression::Zip {
                        prop_assert!(content.iter().any(|(_, data)| *data == out));
                    }
                }
                let _ = reader.read_packed(entry, 100_000);
                let _ = reader.find(&entry.name);
            }
        }
    }

    #[test]
    fn a_damaged_tar_is_an_error_or_less(
        content in contents(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        tail in any::<bool>(),
    ) {
        let archive = write(Compression::TarZstd, PackMethod::Stored, &content);
        let mut tar = zstd::stream::decode_all(archive.as_slice()).unwrap();
        if !tar.is_empty() {
            for (place, value) in changes {
                let from = if tail { tar.len().saturating_sub(600) } else { 0 };
                let at = from + place.index(tar.len() - from);
                tar[at] = value;
            }
        }
        let _ = read_all(zstd::bulk::compress(&tar, 1).unwrap(), Compression::TarZstd);
    }

    #[test]
    fn anything_may_be_opened(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in kinds()) {
        let _ = read_all(bytes.clone(), kind);
        bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2e\0\0\0\0\0\0\0\0\0");
        let _ = read_all(bytes, kind);
    }

    #[test]
    fn packing_is_reversible(data in data(), method in methods()) {
        let packed: Packed = Packer::new(method).pack(&data, Hint::Compressible);
        prop_assert!(packed.bytes.len() <= data.len());
        prop_assert_eq!(packed.size, data.len() as u64);
        prop_assert_eq!(packed.crc32, crc32fast::hash(&data));
    }
}
