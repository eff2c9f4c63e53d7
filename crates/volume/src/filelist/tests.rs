use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::measure::timed;
use crate::{Error, HashAlgorithm, Result};

/// docs/format/vectors.md, without the line breaks and the byte order mark.
const VECTOR: &str = concat!(
    r#"[{"type":"Folder","path":"/data/","metahash":"EO7bP+sCHnE6sdqxHZ6CJ/viPqqn/h70MN3ndaKlOkk=","metasize":192,"metablockhash":"EO7bP+sCHnE6sdqxHZ6CJ/viPqqn/h70MN3ndaKlOkk="},"#,
    r#"{"type":"File","path":"/data/a.bin","hash":"p1xbFG862dLm5UZS5x62odIG/7E0i+0sL0O1HdqsD4g=","size":2500,"time":"20240101T000000Z","metahash":"ctF4kAbGmhNfpAp0LEcprJTk0aOa32GlwACdFHJbjX0=","metasize":189,"blocklists":["OKWrCqYGnGfU/MYV8ze8yck+tQqOxWczva2uoOTwnsA="]},"#,
    r#"{"type":"File","path":"/data/b.txt","hash":"WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM=","size":6,"time":"20240101T000000Z","metahash":"ctF4kAbGmhNfpAp0LEcprJTk0aOa32GlwACdFHJbjX0=","metasize":189},"#,
    r#"{"type":"File","path":"/data/empty","hash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","size":0,"time":"20240101T000000Z","metahash":"ctF4kAbGmhNfpAp0LEcprJTk0aOa32GlwACdFHJbjX0=","metasize":189}]"#,
);

fn read(text: impl AsRef<[u8]>) -> Vec<Result<FileEntry>> {
    FileListReader::open(text.as_ref()).collect()
}

fn read_all(text: impl AsRef<[u8]>) -> Vec<FileEntry> {
    read(text).into_iter().collect::<Result<_>>().unwrap()
}

fn write(entries: &[FileEntry]) -> Vec<u8> {
    let mut writer = FileListWriter::create(Vec::new()).unwrap();
    for entry in entries {
        writer.add(entry).unwrap();
    }
    writer.finish().unwrap()
}

fn sha(bytes: &[u8]) -> Hash {
    HashAlgorithm::Sha256.digest(bytes)
}

#[test]
fn the_vector_is_read_and_written() {
    let entries = read_all(VECTOR);
    assert_eq!(entries.len(), 4);
    assert_eq!(
        (entries[0].kind, entries[0].path.as_slice()),
        (EntryKind::Folder, &b"/data/"[..])
    );
    assert_eq!(entries[0].metablockhash, entries[0].metahash);
    assert_eq!((entries[1].size, entries[1].blocklists.len()), (2500, 1));
    assert_eq!(entries[2].time, Some(VolumeTime(1_704_067_200)));
    assert_eq!(entries[3].hash, Some(sha(b"")));
    let written = write(&entries);
    assert_eq!(written.len(), 836);
    assert_eq!(written, format!("\u{feff}{VECTOR}").into_bytes());
    assert_eq!(read_all(&written), entries);
}

#[test]
fn an_empty_list() {
    assert_eq!(write(&[]), b"\xef\xbb\xbf[]");
    assert!(read(write(&[])).is_empty());
    assert!(read(" [ \n ] ").is_empty());
}

#[test]
fn every_property_in_schema_order() {
    let mut entry = FileEntry {
        hash: Some(sha(b"1")),
        size: 1,
        time: Some(VolumeTime(0)),
        metahash: Some(sha(b"2")),
        metasize: 2,
        metablockhash: Some(sha(b"3")),
        blockhash: Some(sha(b"4")),
        blocksize: Some(4),
        ..FileEntry::new(EntryKind::File, "/x")
    };
    let names = |entry: &FileEntry| {
        let text = String::from_utf8(write(std::slice::from_ref(entry))).unwrap();
        let names: Vec<String> = text
            .split('"')
            .filter(|part| part.chars().all(|c| c.is_ascii_lowercase()))
            .map(str::to_owned)
            .collect();
        names.join(" ")
    };
    assert_eq!(
        names(&entry),
        "type path hash size time metahash metasize metablockhash blockhash blocksize"
    );
    entry.metablocklists = vec![sha(b"5"), sha(b"6")];
    entry.blocklists = vec![sha(b"7")];
    assert_eq!(
        names(&entry),
        "type path hash size time metahash metasize metablocklists blocklists"
    );
    entry.kind = EntryKind::Symlink;
    assert_eq!(names(&entry), "type path metahash metasize metablocklists");
}

#[test]
fn any_order_unknown_properties_and_cases() {
    let text = r#" [ { "x" : {"a":[{}]} , "path" : "/a\u00e9\udcff\\\n", "size" : 1 , "y":"z", "hash":null,
        "type" : "fILE" , "blocklists":null, "metahash":null } ] "#;
    let mut reader = FileListReader::open(text.as_bytes());
    let entry = reader.next().unwrap().unwrap();
    assert_eq!(
        entry,
        FileEntry {
            size: 1,
            ..FileEntry::new(EntryKind::File, [b"/a\xc3\xa9\xff\\\n".as_slice()].concat())
        }
    );
    assert!(reader.next().is_none());
    assert!(!reader.is_damaged());
}

#[test]
fn an_entry_of_unknown_type_is_told_and_hides_no_other() {
    let text = r#"[{"type":"Socket","path":"/a","size":{},"hash":[1]},{"type":"File","path":"/b","size":0},
        {"path":"/c","type":"AlternateStream"},{"type":"Folder","path":"/d/"}]"#;
    let mut reader = FileListReader::open(text.as_bytes());
    let mut told = Vec::new();
    let mut read = Vec::new();
    for item in reader.by_ref() {
        match item {
            Ok(entry) => read.push(entry.path),
            Err(error) => told.push(error.to_string()),
        }
    }
    assert_eq!(read, [b"/b".to_vec(), b"/d/".to_vec()]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("entry `/a` of the unknown type `Socket`"),
        "{told:?}"
    );
    assert!(
        told[1].contains("entry `/c` of the unknown type `AlternateStream`"),
        "{told:?}"
    );
    assert!(!reader.is_damaged());
}

#[test]
fn a_wrong_entry_does_not_hide_the_next() {
    for wrong in [
        "1",
        "null",
        "{}",
        r#"{"type":"File","size":1}"#,
        r#"{"type":"File","path":"","size":1}"#,
        r#"{"type":"File","path":"/a"}"#,
        r#"{"type":"File","path":"/a","size":-1}"#,
        r#"{"type":"File","path":"/a","size":"1"}"#,
        r#"{"type":"File","path":"/a","size":1,"hash":"x"}"#,
        r#"{"type":"File","path":"/a","size":1,"time":"x"}"#,
        r#"{"type":"File","path":"/a","size":1,"blocklists":["x"]}"#,
        r#"{"type":"File","path":"/a","size":1,"blocklists":"x"}"#,
        r#"{"type":"File","path":"/a","size":1,"blocklists":[1,{}]}"#,
        r#"{"type":"File","path":"/a","size":1.5}"#,
        r#"{"type":"File","path":"/a","size":99999999999999999999}"#,
        r#"{"type":"Folder","path":"/a","metahash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}"#,
        r#"{"path":"/a","size":1}"#,
    ] {
        let text = format!(r#"[{wrong},{{"type":"Folder","path":"/b/"}}]"#);
        let items = read(text);
        assert!(matches!(items[0], Err(Error::Malformed { .. })), "{wrong}");
        assert_eq!(items[1].as_ref().unwrap().path, b"/b/", "{wrong}");
        assert_eq!(items.len(), 2, "{wrong}");
    }
    let message = read(r#"[{"type":"File","path":"/a","size":-1}]"#)
        .remove(0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "malformed file list: entry `/a` with wrong or missing `size` at byte 38"
    );
}

#[test]
fn damage_ends_the_list() {
    for end in [
        "",
        "]",
        "}",
        "{",
        r#"{"type":"File""#,
        r#"{"type":"File","path":"/x"#,
        "]x",
        "[",
        "{]",
        r#"{"a":1}]"#,
    ] {
        let text = format!(r#"[{{"type":"Folder","path":"/b/"}}{end}"#);
        if end == "]" {
            continue;
        }
        let mut reader = FileListReader::open(text.as_bytes());
        assert_eq!(reader.next().unwrap().unwrap().path, b"/b/", "{end}");
        assert!(
            matches!(reader.next(), Some(Err(Error::Malformed { .. }))),
            "{end}"
        );
        assert!(reader.is_damaged(), "{end}");
        assert!(reader.next().is_none(), "{end}");
    }
    for text in ["", "{", "x", "\u{feff}", "\u{feff}{}"] {
        assert!(
            matches!(read(text)[..], [Err(Error::Malformed { .. })]),
            "{text}"
        );
    }
}

/// Duplicati wrote -1 where it did not know, and what folders say of a size means nothing.
#[test]
fn unknown_sizes_of_old_lists() {
    let hash = sha(b"").to_base64();
    let text = format!(
        r#"[{{"type":"Folder","path":"/b/","size":-1,"metahash":"{hash}","metasize":-1}},
            {{"type":"File","path":"/f","size":3,"blockhash":"{hash}","blocksize":-1}}]"#
    );
    let entries = read_all(text);
    assert_eq!((entries[0].size, entries[0].metasize), (0, 0));
    assert_eq!(entries[0].metahash, Some(sha(b"")));
    assert_eq!(entries[1].blocksize, None);
}

/// A path as long as Windows can have is read; a longer one costs its entry and no memory.
#[test]
fn the_longest_path() {
    let list = |len| {
        let path = "a".repeat(len);
        read(format!(
            r#"[{{"type":"Folder","path":"{path}"}},{{"type":"Folder","path":"/b/"}}]"#
        ))
    };
    let items = list(MAX_PATH);
    assert_eq!(items[0].as_ref().unwrap().path.len(), MAX_PATH);
    for len in [MAX_PATH + 1, 5 << 20] {
        let items = list(len);
        assert!(matches!(items[0], Err(Error::Malformed { .. })));
        assert_eq!(items[1].as_ref().unwrap().path, b"/b/");
    }
    let mut writer = FileListWriter::create(Vec::new()).unwrap();
    for len in [0, MAX_PATH + 1] {
        let entry = FileEntry::new(EntryKind::Folder, vec![b'a'; len]);
        assert!(writer.add(&entry).is_err());
    }
    let entry = FileEntry {
        size: u64::MAX,
        ..FileEntry::new(EntryKind::File, "/a")
    };
    assert!(writer.add(&entry).is_err());
    assert_eq!(writer.finish().unwrap(), b"\xef\xbb\xbf[]");
}

/// Paths longer than Linux has are bounded in their sum; usual ones are not.
#[test]
fn the_sum_of_long_paths() {
    let count = |len: usize, count: usize| {
        let entry = format!(r#"{{"type":"Folder","path":"{}"}}"#, "a".repeat(len));
        let text = format!("[{}]", vec![entry; count].join(","));
        let items = read(text);
        assert_eq!(items.len(), count);
        items.iter().filter(|item| item.is_ok()).count()
    };
    assert_eq!(count(MAX_PATH, 1000), 682);
    assert_eq!(count(MAX_NEW_PATH, 17_000), 17_000);
}

#[test]
fn the_number_of_blocklists() {
    let hash = format!("\"{}\"", sha(b"").to_base64());
    let list = |count| {
        let hashes = vec![hash.as_str(); count].join(",");
        read(format!(
            r#"[{{"type":"File","path":"/a","size":1,"blocklists":[{hashes}]}},{{"type":"Folder","path":"/b/"}}]"#
        ))
    };
    let items = list(MAX_BLOCKLISTS);
    let entry = items[0].as_ref().unwrap();
    assert_eq!(entry.blocklists.len(), MAX_BLOCKLISTS);
    let items = list(MAX_BLOCKLISTS + 1);
    assert!(matches!(items[0], Err(Error::Malformed { .. })));
    assert!(items[1].is_ok());
    let mut entry = entry.clone();
    entry.blocklists.push(sha(b""));
    let mut writer = FileListWriter::create(Vec::new()).unwrap();
    assert!(matches!(writer.add(&entry), Err(Error::TooLarge { .. })));
}

#[test]
fn a_value_that_nests_without_end_is_damage() {
    let text = format!(r#"[{{"type":"Folder","x":{}"#, "[".repeat(1000));
    assert!(matches!(read(text)[..], [Err(Error::TooLarge { .. })]));
}

/// A file of the year 30828 made a whole version unreadable: its time has five digits in the year.
#[test]
fn times_beyond_the_calendar_are_clamped() {
    for (secs, text) in [
        (910_692_730_085, "99991231T235959Z"),
        (i64::MAX, "99991231T235959Z"),
        (i64::MIN, "00010101T000000Z"),
        (-62_135_596_801, "00010101T000000Z"),
        (0, "19700101T000000Z"),
    ] {
        let entry = FileEntry {
            time: Some(VolumeTime(secs)),
            ..FileEntry::new(EntryKind::File, "/a")
        };
        let written = write(std::slice::from_ref(&entry));
        let read = read_all(&written).remove(0);
        assert_eq!(read.time.unwrap().to_string(), text);
        assert_eq!(read.time, entry.time.map(VolumeTime::clamped));
        assert_eq!(write(&[read]), written);
    }
}

#[test]
fn the_source_is_read_to_its_end() {
    struct FailsAtEnd<'a>(&'a [u8]);
    impl Read for FailsAtEnd<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(io::Error::new(io::ErrorKind::InvalidData, "checksum")),
                len => Ok(len),
            }
        }
    }
    let mut reader = FileListReader::open(FailsAtEnd(br#"[{"type":"Folder","path":"/b/"}]"#));
    assert!(reader.next().unwrap().is_ok());
    assert!(matches!(reader.next(), Some(Err(Error::Io(_)))));
    assert!(reader.next().is_none());
}

fn any_hash() -> impl Strategy<Value = Hash> {
    (0..5usize, any::<u64>())
        .prop_map(|(algorithm, seed)| HashAlgorithm::ALL[algorithm].digest(&seed.to_le_bytes()))
}

prop_compose! {
    /// Entries that hold what the writer writes for their kind.
    fn any_entry()(
        kind in prop_oneof![Just(EntryKind::File), Just(EntryKind::Folder), Just(EntryKind::Symlink)],
        path in prop_oneof![
            20 => proptest::collection::vec(any::<u8>(), 1..60),
            1 => proptest::collection::vec(any::<u8>(), MAX_NEW_PATH..=MAX_NEW_PATH),
        ],
        numbers in proptest::array::uniform3(0..=i64::MAX as u64),
        time in proptest::option::of(any::<i64>()),
        hash in proptest::option::of(any_hash()),
        metahash in proptest::option::of(any_hash()),
        metablockhash in proptest::option::of(any_hash()),
        metablocklists in proptest::collection::vec(any_hash(), 0..2),
        blocklists in proptest::collection::vec(any_hash(), 0..4),
        blockhash in proptest::option::of(any_hash()),
    ) -> FileEntry {
        let is_file = kind == EntryKind::File;
        let [size, metasize, blocksize] = numbers;
        let metablocklists = if metahash.is_some() { metablocklists } else { vec![] };
        let blocklists = if is_file { blocklists } else { vec![] };
        let blockhash = blockhash.filter(|_| is_file && blocklists.is_empty());
        FileEntry {
            kind,
            path,
            hash: hash.filter(|_| is_file),
            size: if is_file { size } else { 0 },
            time: time.filter(|_| is_file).map(VolumeTime),
            metahash,
            metasize: if metahash.is_some() { metasize } else { 0 },
            metablockhash: metablockhash.filter(|_| metahash.is_some() && metablocklists.is_empty()),
            metablocklists,
            blocklists,
            blockhash,
            blocksize: blockhash.map(|_| blocksize),
        }
    }
}

proptest! {
    /// Whatever a walk can yield is read as it was written; only times outside the calendar become the nearest in it.
    #[test]
    fn round_trip(entries in proptest::collection::vec(any_entry(), 0..20)) {
        let written = write(&entries);
        prop_assert!(std::str::from_utf8(&written).is_ok());
        let mut expected = entries;
        for entry in &mut expected {
            entry.time = entry.time.map(VolumeTime::clamped);
        }
        prop_assert_eq!(read_all(&written), expected);
    }

    #[test]
    fn damage_is_survived(at in 0..836usize, byte: u8, len in 0..837usize) {
        let mut bytes = VECTOR.as_bytes().to_vec();
        if let Some(target) = bytes.get_mut(at) {
            *target = byte;
        }
        bytes.truncate(len);
        prop_assert!(read(&bytes).len() <= 836);
    }
}

#[test]
#[ignore = "a measurement: cargo test -p larder-volume --release -- --ignored --nocapture speed_of_reading"]
fn speed_of_reading() {
    let entries: Vec<FileEntry> = (0..400_000u32)
        .map(|index| FileEntry {
            hash: Some(sha(&index.to_le_bytes())),
            size: u64::from(index),
            time: Some(VolumeTime(1_700_000_000 + i64::from(index))),
            metahash: Some(sha(b"x")),
            metasize: 189,
            ..FileEntry::new(
                EntryKind::File,
                format!(
                    "/home/someone/projects/folder-{}/file-{index}.txt",
                    index / 100
                ),
            )
        })
        .collect();
    let mut text = Vec::new();
    for _ in 0..3 {
        timed("written", || {
            text = write(&entries);
            text.len()
        });
        timed("read", || {
            assert_eq!(
                FileListReader::open(text.as_slice())
                    .filter(Result::is_ok)
                    .count(),
                entries.len()
            );
            text.len()
        });
    }
}
