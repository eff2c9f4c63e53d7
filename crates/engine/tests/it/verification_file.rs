//! The file for checkers that know nothing of this program: after each run it says what is stored.

use larder_destination::Operation;
use larder_engine::{PurgeRequest, Run};
use larder_options::Origin;
use larder_testkit::Rng;
use larder_volume::VolumeKind::{Index, List};
use larder_volume::{Hash, HashAlgorithm, VolumeName};
use serde_json::Value;

use crate::rig::{Rig, chain};

const FILE: &str = "duplicati-verification.json";

fn rows(rig: &Rig) -> Vec<Value> {
    let text = rig
        .store
        .files()
        .remove(FILE)
        .expect("the verification file");
    let text = text.strip_prefix(b"\xef\xbb\xbf").expect("a mark");
    serde_json::from_slice(text).expect("a JSON array")
}

/// As Duplicati's checkers do it: each row that is not deleted has a file of this length and hash. And each volume has a row.
fn check(rig: &Rig, when: &str) {
    let mut volumes = rig.store.names();
    volumes.retain(|name| VolumeName::parse(name, false).is_some());
    for row in rows(rig) {
        let name = row["Name"].as_str().expect("a name");
        let Some(data) = rig.store.files().remove(name) else {
            panic!("{when}: {name} is not stored");
        };
        assert!(matches!(row["State"].as_u64(), Some(2 | 3)), "{row}");
        assert_eq!(row["Size"].as_u64(), Some(data.len() as u64), "{when}");
        let hash = Hash::parse_base64(row["Hash"].as_str().expect("a hash"));
        let hash = hash.expect("a hash");
        assert_eq!(hash, HashAlgorithm::Sha256.digest(&data), "{when}: {name}");
        for field in ["ID", "Type", "DeleteGracePeriod", "ArchiveTime"] {
            assert!(!row[field].is_null(), "{when}: {field} of {row}");
        }
        volumes.retain(|volume| volume != name);
    }
    assert_eq!(volumes, [""; 0], "{when}: not in the file");
}

fn run<R>(rig: &mut Rig, work: impl FnOnce(&Run) -> Result<R, larder_engine::Error>) -> R {
    let run = rig.open().expect("it opens");
    let done = work(&run);
    run.repository().close().expect("the catalog closes");
    done.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn with_versions(count: u64) -> Rig {
    let mut rig = Rig::encrypted("secret");
    rig.set("upload-verification-file", "true");
    rig.write("stays", "the same");
    for number in 0..count {
        rig.write("changes", Rng::new(number).bytes(30_000));
        rig.backup();
    }
    rig
}

#[test]
fn it_has_the_lists_that_were_never_read_and_fetches_each_once() {
    let mut rig = with_versions(3);
    check(&rig, "after backups");
    rig.lose_state();
    rig.write("more", "new");
    rig.backup();
    assert_eq!(rows(&rig).len(), rig.store.names().len() - 1);
    check(&rig, "on a new machine");
    rig.journal.clear();
    rig.write("more", "newer");
    rig.backup();
    check(&rig, "once more");
    let lists = rig.gets().into_iter().filter(|kind| *kind == List);
    assert_eq!(lists.count(), 0);
    // Nothing changed, nothing is sent.
    rig.journal.clear();
    rig.backup();
    assert_eq!(rig.journal.names(Operation::Put), [""; 0]);
    assert_eq!(rig.log.complaints(), [""; 0]);
}

#[test]
fn a_list_that_cannot_be_opened_is_left_out_and_told() {
    let mut rig = with_versions(1);
    let junk = "duplicati-20200101T000000Z.dlist.zip.aes";
    rig.store.insert(junk, b"junk".as_slice());
    rig.write("more", "new");
    rig.backup();
    let named = |row: &Value| row["Name"] == junk;
    assert!(!rows(&rig).iter().any(named));
    assert_eq!(rig.log.count("VerificationFileLacks"), 1);
}

#[test]
fn what_changes_files_writes_it_anew() {
    let mut rig = with_versions(4);
    rig.set("no-auto-compact", "true");
    rig.set("version", "1");
    run(&mut rig, |run| run.delete());
    rig.values.unset("version", Origin::CommandLine);
    check(&rig, "after delete");

    rig.set("keep-versions", "2");
    rig.write("changes", "short");
    rig.backup();
    assert_eq!(rig.names(List).len(), 2);
    check(&rig, "after retention");
    rig.values.unset("keep-versions", Origin::CommandLine);

    rig.set("no-auto-compact", "false");
    let before = rig.store.names();
    run(&mut rig, |run| run.compact());
    assert_ne!(rig.store.names(), before);
    check(&rig, "after compact");

    let before = rig.names(List);
    let request = PurgeRequest {
        patterns: vec!["*/stays".into()],
        filters: Vec::new(),
    };
    run(&mut rig, |run| run.purge(&request));
    assert_ne!(rig.names(List), before);
    check(&rig, "after purge");

    let index = rig.names(Index).remove(0);
    let _ = rig.store.remove(&index).expect("the index");
    let report = run(&mut rig, |run| run.repair());
    assert_eq!(report.indexes_written, 1);
    check(&rig, "after repair");

    // A dry run changes nothing.
    rig.journal.clear();
    rig.set("dry-run", "true");
    rig.set("version", "1");
    run(&mut rig, |run| run.delete());
    assert_eq!(rig.journal.names(Operation::Put), [""; 0]);
}
