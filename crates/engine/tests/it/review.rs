//! Runs that fail inside, versions that rest on what is not there, and times that tell too little.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder_engine::{Cancel, Random, Repository, Setup, SystemRandom};
use larder_volume::VolumeKind::{Blocks, Index};

use crate::rig::{Rig, chain};

/// Randomness that runs out.
struct Ending(AtomicUsize);

impl Random for Ending {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        if self.0.fetch_add(1, Ordering::SeqCst) < 1 {
            return SystemRandom.fill(buffer);
        }
        Err(std::io::Error::other("no more randomness"))
    }
}

/// A volume that cannot be begun while several threads work on one large file: the run ends, and says why.
#[test]
fn a_failure_in_the_middle_of_a_file_ends_the_run() {
    let rig = Rig::new();
    rig.write("large", larder_testkit::Rng::new(1).bytes(6 << 20));
    let engine = Repository::open(Setup {
        destination: rig.store.shared(),
        values: rig.values.clone(),
        passphrase: None,
        state_path: rig.state().to_owned(),
        clock: rig.clock.clone(),
        random: Arc::new(Ending(AtomicUsize::new(0))),
        writes: true,
        runtime: crate::rig::runtime(),
        foreign_database: None,
    })
    .unwrap()
    .run(rig.log.clone(), Cancel::new())
    .unwrap();
    let request = rig.request();
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(engine.backup(&request).map(drop)));
    let outcome = waiting.recv_timeout(Duration::from_secs(60));
    let error = outcome.expect("the run ends").expect_err("no randomness");
    assert!(chain(&error).contains("no more randomness"), "{error}");
}

/// Local state and a data file with its index are lost together: nothing tells that blocks are missing but the list.
#[test]
fn a_version_after_a_rebuild_rests_only_on_stored_blocks() {
    let mut rig = Rig::new();
    rig.write("file", larder_testkit::Rng::new(2).bytes(5_000));
    rig.backup();
    for kind in [Blocks, Index] {
        for name in rig.names(kind) {
            rig.store.remove(&name).unwrap();
        }
    }
    rig.lose_state();
    rig.write("new file", "new");
    rig.backup();
    rig.check_all_elsewhere("after the loss");
    // Looked up once; from then on nothing is suspected.
    rig.log.clear();
    rig.backup();
    assert_eq!(rig.log.count("CheckingBlocks"), 0);
}

/// Without metadata only whole seconds are remembered; a change in the second of the backup must not be missed.
#[test]
fn a_change_in_the_second_of_the_backup_is_seen_without_metadata() {
    let mut rig = Rig::new();
    rig.set("skip-metadata", "true");
    let now = std::time::UNIX_EPOCH + Duration::from_secs(crate::rig::START + 1);
    let write = |rig: &Rig, text: &str, nanos: u32| {
        rig.write("file", text);
        let file = std::fs::File::options()
            .write(true)
            .open(rig.source().join("file"))
            .unwrap();
        file.set_modified(now + Duration::from_nanos(nanos.into()))
            .unwrap();
    };
    write(&rig, "before", 100_000_000);
    rig.backup();
    write(&rig, "after!", 900_000_000);
    let report = rig.backup();
    assert_eq!(report.modified_files, 1);
    // Later runs begin after that second and need not read it again once a version says so.
    rig.write("other", "something");
    rig.backup();
    let report = rig.backup();
    assert_eq!(report.version_time, None);
}

/// The newest list is damaged and nothing changed since: the state is stored again all the same.
#[test]
fn a_damaged_newest_list_is_replaced_by_a_new_version() {
    let mut rig = Rig::new();
    rig.write("file", "content");
    rig.backup();
    rig.set("upload-unchanged-backups", "true");
    rig.backup();
    rig.set("upload-unchanged-backups", "false");
    let newest = rig.newest_list();
    let len = rig.store.files()[&newest].len();
    assert!(rig.store.flip(&newest, len / 2));
    assert!(rig.store.truncate(&newest, len / 2));
    rig.lose_state();
    let report = rig.backup();
    assert!(report.version_time.is_some());
    rig.versions.remove(1);
    assert_eq!(rig.differences(0), Vec::<String>::new());
}
