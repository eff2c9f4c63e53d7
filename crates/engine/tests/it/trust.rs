//! Files that somebody adds to the destination: an encrypted backup protects itself, and a few junk files deny nothing
//! (docs/threat-model.md).

use std::path::PathBuf;

use larder_options::Origin;
use larder_testkit::MemoryDestination;
use larder_volume::VolumeKind::{Blocks, Index, List};
use larder_volume::{
    ArchiveReader, BlockVolume, Compression, DindexWriter, DlistWriter, EncryptionKind, EntryKind,
    FileEntry, Format, HashAlgorithm, IndexReader, NewVolume, PackMethod, VolumeName, VolumeTime,
};

use crate::rig::{Rig, START, chain};

const SHA: HashAlgorithm = HashAlgorithm::Sha256;
/// Long after every version of these tests.
const FAR: VolumeTime = VolumeTime(253_402_300_799);

/// An encrypted backup of a file, and a plain one of other content under the same source.
fn encrypted_and_forged() -> (Rig, Rig) {
    let mut own = Rig::encrypted("a passphrase");
    own.write("letter", "what was written");
    own.write("other", "other");
    own.backup();
    let mut forged = Rig::new();
    forged.use_source(&own);
    forged.clock.set(START + 1000);
    std::fs::write(own.source().join("letter"), "what was forged").unwrap();
    forged.backup();
    std::fs::write(own.source().join("letter"), "what was written").unwrap();
    (own, forged)
}

fn add_all(to: &Rig, from: &Rig) {
    for (name, content) in from.store.files() {
        to.store.insert(&name, content);
    }
}

fn letter(rig: &mut Rig) -> (String, Vec<String>) {
    rig.log.clear();
    let (target, _) = rig
        .restore_unasked()
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
    let found = std::fs::read_to_string(target.join("letter")).unwrap();
    (found, rig.log.complaints())
}

fn tells(complaints: &[String], what: &str) -> bool {
    complaints.iter().any(|text| text.contains(what))
}

#[test]
fn plain_volumes_in_an_encrypted_backup_are_named_and_never_read() {
    for loses in [false, true] {
        let (mut own, forged) = encrypted_and_forged();
        add_all(&own, &forged);
        if loses {
            own.lose_state();
        }
        let (found, complaints) = letter(&mut own);
        assert_eq!(found, "what was written", "state lost: {loses}");
        assert!(tells(&complaints, "[UnencryptedVolumes]"), "{complaints:?}");
        for name in forged.store.names().iter().take(1) {
            assert!(tells(&complaints, name), "{complaints:?}");
        }
        // A backup rests on nothing forged: another machine restores what is there now.
        own.clock.set(START + 2000);
        own.write("letter", "what was forged");
        own.write("new", "new");
        own.backup();
        let mut elsewhere = own.other_machine();
        for name in forged.store.names() {
            let _ = own.store.remove(&name);
        }
        elsewhere.check_all("without the forged volumes");
    }
}

#[test]
fn an_encrypted_backup_whose_volumes_were_all_replaced_is_refused() {
    for loses in [false, true] {
        let (mut own, forged) = encrypted_and_forged();
        for name in own.store.names() {
            let _ = own.store.remove(&name);
        }
        add_all(&own, &forged);
        if loses {
            own.lose_state();
        }
        let before = own.store.files();
        let error = own.try_restore(0).unwrap_err();
        assert_eq!(error.id(), Some("EncryptionChanged"), "{}", chain(&error));
        let error = own.try_backup().unwrap_err();
        assert_eq!(error.id(), Some("EncryptionChanged"), "{}", chain(&error));
        assert_eq!(own.store.files(), before);
    }
}

/// An index in the clear that claims a block would make the next backup leave that block out.
#[test]
fn a_plain_index_cannot_claim_a_block() {
    let mut own = Rig::encrypted("a passphrase");
    own.write("old", "old");
    own.backup();
    let described = BlockVolume {
        name: own.names(Blocks).remove(0),
        blocks: vec![(SHA.digest(b"claimed"), 7)].into(),
        hash: None,
        size: None,
    };
    insert_index(&own.store, [9; 16], &[described]);
    own.write("claimed", "claimed");
    own.backup();
    let mut elsewhere = own.other_machine();
    elsewhere.values.set(
        "suppress-warnings",
        Some("UnencryptedVolumes"),
        Origin::CommandLine,
    );
    elsewhere.check_all("the block that was claimed");
}

#[test]
fn volumes_without_encryption_are_read_when_the_user_says_so_and_told_each_time() {
    let (mut own, forged) = encrypted_and_forged();
    add_all(&own, &forged);
    own.set("allow-unencrypted-volumes", "true");
    for _ in 0..2 {
        let (found, complaints) = letter(&mut own);
        assert_eq!(found, "what was forged");
        assert!(tells(&complaints, "[UnencryptedVolumes]"), "{complaints:?}");
    }
    // What was taken in so is forgotten when it is not allowed any more.
    own.values
        .unset("allow-unencrypted-volumes", Origin::CommandLine);
    let (found, _) = letter(&mut own);
    assert_eq!(found, "what was written");
}

/// A set without encryption is not locked by a file that looks encrypted.
#[test]
fn a_junk_file_that_looks_encrypted_does_not_lock_a_plain_backup() {
    for kind in [List, Index, Blocks] {
        for no_encryption in [true, false] {
            let mut rig = Rig::new();
            rig.write("letter", "a letter");
            rig.backup();
            let encryption = Some(EncryptionKind::Aes);
            let name = match kind {
                List => VolumeName::list("duplicati", FAR, Compression::Zip, encryption),
                Index => VolumeName::index("duplicati", [1; 16], Compression::Zip, encryption),
                Blocks => VolumeName::blocks("duplicati", [1; 16], Compression::Zip, encryption),
            };
            rig.store.insert(name.as_str(), vec![b'x'; 500]);
            if !no_encryption {
                rig.values.unset("no-encryption", Origin::CommandLine);
            }
            rig.lose_state();
            let (found, _) = letter(&mut rig);
            assert_eq!(found, "a letter", "{kind} {no_encryption}");
        }
    }
}

fn insert_index(store: &MemoryDestination, id: [u8; 16], described: &[BlockVolume]) {
    let mut writer = DindexWriter::create(Vec::new(), &volume(1024)).unwrap();
    for volume in described {
        writer.add_volume(volume).unwrap();
    }
    let name = VolumeName::index("duplicati", id, Compression::Zip, None);
    store.insert(name.as_str(), writer.finish().unwrap());
}

fn volume(blocksize: u64) -> NewVolume<'static> {
    NewVolume {
        format: Format {
            blocksize,
            block_hash: SHA,
            file_hash: SHA,
        },
        container: Compression::Zip,
        tar_level: None,
        method: PackMethod::Stored,
        created: VolumeTime(1_750_000_000),
        app_version: "forged",
    }
}

/// A plain list of another block size, made when its name says.
fn insert_list(store: &MemoryDestination, time: VolumeTime, blocksize: u64) {
    let volume = NewVolume {
        created: time,
        ..volume(blocksize)
    };
    let mut writer = DlistWriter::create(Vec::new(), &volume).unwrap();
    let entry = FileEntry::new(EntryKind::Folder, "/forged/");
    writer
        .add_entries(&mut |list| Ok(list.add(&entry)?))
        .unwrap();
    let name = VolumeName::list("duplicati", time, Compression::Zip, None);
    store.insert(name.as_str(), writer.finish(true).unwrap());
}

/// Three versions of a letter, the catalog lost.
fn three_versions(mut rig: Rig) -> Rig {
    for text in ["first", "second", "third"] {
        rig.write("letter", text);
        rig.backup();
    }
    rig.lose_state();
    rig
}

fn both() -> [Rig; 2] {
    [Rig::new(), Rig::encrypted("a passphrase")].map(three_versions)
}

/// Restores, backs up and restores again; gives the complaints of the first restore.
fn goes_on(mut rig: Rig, expected: &str, when: &str) -> Vec<String> {
    let (found, complaints) = letter(&mut rig);
    assert_eq!(found, expected, "{when}");
    rig.write("letter", "fourth");
    rig.backup();
    let (found, _) = letter(&mut rig);
    assert_eq!(found, "fourth", "{when}: after a backup");
    rig.log.clear();
    let lists = rig.names(List).len();
    rig.backup();
    assert_eq!(
        rig.names(List).len(),
        lists,
        "{when}: nothing changed\n{:#?}",
        rig.log.complaints()
    );
    complaints
}

#[test]
fn one_damaged_or_foreign_index_blames_no_passphrase() {
    for number in 0..3 {
        let rig = three_versions(Rig::encrypted("a passphrase"));
        let name = rig.names(Index).remove(number);
        // The header's check fails as it does with a wrong passphrase.
        assert!(rig.store.flip(&name, 250));
        let complaints = goes_on(rig, "third", "a damaged index");
        assert!(complaints.is_empty(), "{complaints:?}");
    }
    let rig = three_versions(Rig::encrypted("a passphrase"));
    let mut foreign = Rig::encrypted("another passphrase");
    foreign.write("x", "x");
    foreign.backup();
    for kind in [Index, Blocks] {
        let name = foreign.names(kind).remove(0);
        rig.store
            .insert(&name, foreign.store.files()[&name].clone());
    }
    goes_on(rig, "third", "a foreign index");
}

#[test]
fn damaged_newest_lists_are_passed_over() {
    for mut rig in both() {
        for text in ["fourth", "fifth", "sixth", "seventh", "eighth"] {
            rig.write("letter", text);
            rig.backup();
        }
        let lists = rig.names(List);
        for name in &lists[3..] {
            assert!(rig.store.truncate(name, 100));
        }
        rig.lose_state();
        let complaints = goes_on(rig, "third", "damaged lists");
        assert!(tells(&complaints, &lists[7]), "{complaints:?}");
    }
}

#[test]
fn foreign_lists_are_passed_over() {
    let rig = three_versions(Rig::encrypted("a passphrase"));
    let mut foreign = Rig::encrypted("another passphrase");
    foreign.clock.set(START + 100);
    for text in ["x", "y"] {
        foreign.write("x", text);
        foreign.backup();
    }
    for name in foreign.names(List) {
        rig.store
            .insert(&name, foreign.store.files()[&name].clone());
    }
    goes_on(rig, "third", "two foreign lists");
}

#[test]
fn a_list_of_another_block_size_decides_nothing() {
    for seconds in [START as i64 + 100, FAR.0] {
        let rig = three_versions(Rig::new());
        insert_list(&rig.store, VolumeTime(seconds), 2048);
        if seconds == FAR.0 {
            // It opens, but with another format it is none of this backup.
            goes_on(rig, "third", "a list of the year 9999");
        } else {
            goes_on(rig, "third", "a list of another block size");
        }
    }
}

#[test]
fn a_junk_list_of_the_year_9999_stops_no_backup() {
    for rig in both() {
        let encryption = rig.passphrase.as_ref().map(|_| EncryptionKind::Aes);
        let name = VolumeName::list("duplicati", FAR, Compression::Zip, encryption);
        rig.store.insert(name.as_str(), vec![7; 1000]);
        goes_on(rig, "third", "junk");
    }
}

/// An old list under a later name would restore as the newest version.
#[test]
fn an_old_list_under_a_later_name_is_told_and_passed_over() {
    for later in [VolumeTime(START as i64 + 5000), FAR] {
        for rig in both() {
            let first = rig.names(List).remove(0);
            let encryption = rig.passphrase.as_ref().map(|_| EncryptionKind::Aes);
            let name = VolumeName::list("duplicati", later, Compression::Zip, encryption);
            rig.store
                .insert(name.as_str(), rig.store.files()[&first].clone());
            rig.clock.set(START + 10_000);
            let complaints = goes_on(rig, "third", "replayed");
            assert!(
                tells(&complaints, "earlier than its name"),
                "{complaints:?}"
            );
        }
    }
}

/// Replaces the index of a data file by one that says something else of its blocks.
fn replace_index(rig: &Rig, change: impl Fn(&mut Vec<(larder_volume::Hash, u64)>)) {
    let name = rig.names(Index).remove(0);
    let bytes = rig.store.remove(&name).unwrap();
    let archive = ArchiveReader::open(bytes.to_vec(), Compression::Zip).unwrap();
    let format = volume(1024).format;
    let mut described = IndexReader::new(&archive, bytes.len() as u64, format)
        .volumes()
        .unwrap();
    for volume in &mut described {
        let mut blocks: Vec<_> = volume.blocks.iter().collect();
        change(&mut blocks);
        volume.blocks = blocks.into();
    }
    insert_index(&rig.store, [5; 16], &described);
}

#[test]
fn an_index_that_leaves_blocks_out_costs_no_file() {
    let content: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    for leaves in ["most", "few", "none, but lies about their sizes"] {
        let mut rig = Rig::new();
        rig.write("large", &content);
        rig.write("letter", "a letter");
        rig.backup();
        replace_index(&rig, |blocks| match leaves {
            "most" => blocks.truncate(2),
            "few" => {
                blocks.pop();
                blocks.remove(0);
            }
            _ => blocks.iter_mut().for_each(|block| block.1 += 1),
        });
        rig.lose_state();
        let differences = rig.differences_of_newest();
        assert_eq!(differences, Vec::<String>::new(), "{leaves}");
        // What was found is remembered, and a backup stores nothing twice.
        rig.log.clear();
        rig.check_all(leaves);
        assert_eq!(rig.log.count("SearchingBlocks"), 0, "{leaves}");
    }
}

/// A data file that is gone explains what is missing: nothing is searched for it.
#[test]
fn what_is_lost_is_not_searched_for_in_every_data_file() {
    let mut rig = Rig::new();
    for n in 0..4 {
        let noise: Vec<u8> = (0..300_000_u32)
            .flat_map(|at| at.wrapping_mul(2_654_435_761 + n).to_le_bytes())
            .collect();
        rig.write(&format!("file {n}"), noise);
        rig.backup();
    }
    let gone = rig.written_by(1, Blocks);
    let _ = rig.store.remove(&gone);
    rig.journal.clear();
    let (_, report) = rig.try_restore_of(0, &["*file 1"]).unwrap();
    assert_eq!(report.broken_remote_files.len(), 1);
    // Lists are read for what the loss costs; of the three data files that are left none is of any use.
    let mut gets = rig.journal.names(larder_destination::Operation::Get);
    gets.retain(|name| name.contains(".dblock."));
    assert!(gets.len() <= 1, "{gets:?}");
}

/// What no restore needs is no reason to end with a warning.
#[test]
fn a_junk_index_is_no_warning() {
    for rig in both() {
        let encryption = rig.passphrase.as_ref().map(|_| EncryptionKind::Aes);
        let name = VolumeName::index("duplicati", [3; 16], Compression::Zip, encryption);
        rig.store.insert(name.as_str(), vec![7; 1000]);
        let complaints = goes_on(rig, "third", "a junk index");
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

fn gpg() -> Option<Rig> {
    let mut rig = Rig::encrypted("a passphrase");
    rig.set("encryption-module", "gpg");
    rig.write("letter", "a letter");
    match rig.try_backup() {
        Ok(_) => Some(rig),
        Err(error) if error.id() == Some("GpgNotFound") => {
            assert!(
                std::env::var_os("LARDER_TEST_REQUIRE_ALL").is_none(),
                "gpg is missing"
            );
            None
        }
        Err(error) => panic!("{}", chain(&error)),
    }
}

/// An OpenPGP message that is no more than a wrapping: what `gpg --store` writes.
fn literal_packet(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len() + 6).unwrap();
    let mut packet = vec![0xcb, 0xff];
    packet.extend(len.to_be_bytes());
    packet.extend([b'b', 0, 0, 0, 0, 0]);
    packet.extend(content);
    packet
}

#[test]
fn a_gpg_file_that_is_not_encrypted_is_refused() {
    let Some(mut rig) = gpg() else { return };
    let mut forged = Rig::new();
    forged.use_source(&rig);
    forged.clock.set(START + 1000);
    std::fs::write(rig.source().join("letter"), "forged").unwrap();
    forged.backup();
    std::fs::write(rig.source().join("letter"), "a letter").unwrap();
    for (name, content) in forged.store.files() {
        rig.store
            .insert(&format!("{name}.gpg"), literal_packet(&content));
    }
    rig.lose_state();
    let (found, complaints) = letter(&mut rig);
    assert_eq!(found, "a letter");
    assert!(tells(&complaints, "not encrypted"), "{complaints:?}");
}

#[test]
fn a_gpg_that_writes_nothing_stores_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut rig = Rig::encrypted("a passphrase");
    rig.write("letter", "a letter");
    let path: PathBuf = rig.temp.path().join("gpg");
    std::fs::write(&path, "#!/bin/sh\nexec cat >/dev/null\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    rig.set("encryption-module", "gpg");
    rig.set("gpg-program-path", path.to_str().unwrap());
    let error = rig.try_backup().unwrap_err();
    assert!(chain(&error).contains("wrote nothing"), "{}", chain(&error));
    assert_eq!(rig.store.names(), Vec::<String>::new());
}

/// Temporary files of destinations must be taken for volumes by no program and under no prefix.
#[test]
fn temporary_names_are_no_volumes() {
    let start = larder_destination::TEMPORARY_PREFIX;
    for rest in [
        "",
        "0123456789abcdef",
        "b00.dblock.zip.aes",
        "20240101T000000Z.dlist.zip",
    ] {
        for insensitive in [false, true] {
            let name = format!("{start}{rest}");
            assert!(VolumeName::parse(&name, insensitive).is_none(), "{name}");
        }
    }
    // A volume has its prefix and a hyphen before its first dot, and no prefix has a hyphen.
    let before_dot = start.split('.').next().unwrap();
    assert!(!before_dot.is_empty() && !before_dot.contains('-') && start.contains('.'));
    assert!(!start.starts_with("duplicati"));
}

/// It ends the command with a warning, not with an error.
#[test]
fn passing_over_is_no_error_of_the_run() {
    let rig = three_versions(Rig::encrypted("a passphrase"));
    rig.store.insert(
        VolumeName::list(
            "duplicati",
            FAR,
            Compression::Zip,
            Some(EncryptionKind::Aes),
        )
        .as_str(),
        vec![7; 1000],
    );
    let mut rig = rig;
    let (_, report) = rig.restore_unasked().unwrap();
    assert_eq!(report.common.errors, Vec::<String>::new());
    assert!(!report.common.warnings.is_empty());
}
