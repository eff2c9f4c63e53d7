//! What an earlier restore left unfinished, and what another one is writing just now.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use larder_source::TargetRoot;

use crate::rig::Rig;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    larder_testkit::Rng::new(seed).bytes(len)
}

/// A backup of one file of many blocks, and a target folder for it.
fn one_file(content: &[u8]) -> (Rig, PathBuf) {
    let mut rig = Rig::new();
    rig.write("f", content);
    rig.backup();
    let target = rig.temp.path().join("target");
    (rig, target)
}

fn temporary_of(target: &Path, name: &[u8]) -> PathBuf {
    let root = TargetRoot::open(target).expect("a target");
    let rel = root.temporary_path(name).expect("a name");
    target.join(std::ffi::OsStr::from_bytes(&rel))
}

/// Reserving room makes a file longer, but not shorter.
#[test]
fn a_longer_unfinished_file_becomes_as_long_as_the_version_has_it() {
    let whole = noise(1, 700_000);
    for preallocate in ["false", "true"] {
        let (mut rig, target) = one_file(&whole[..300_000]);
        let temporary = temporary_of(&target, b"f");
        std::fs::write(&temporary, &whole).expect("an unfinished file");
        rig.set("restore-preallocate-size", preallocate);
        let report = rig.restore_into(&target, 0, &[]).expect("a restore");
        assert_eq!(report.common.errors, [""; 0]);
        let found = std::fs::read(target.join("f")).expect("the file");
        assert!(found == whole[..300_000], "{} bytes", found.len());
        assert!(!temporary.exists());
    }
}

/// The restore that could not have it removed it, because its own plan was to go on with it.
#[test]
fn an_unfinished_file_that_another_restore_has_open_stays() {
    let content = noise(2, 300_000);
    let (mut rig, target) = one_file(&content);
    let other = TargetRoot::open(&target).expect("a target");
    let mut open = other.open_temporary(b"f").expect("a file").file;
    open.write_all(&content[..200_000]).expect("written");
    let report = rig.restore_into(&target, 0, &[]).expect("a restore");
    let error = &report.common.errors[0];
    assert!(error.contains("another restore"), "{error}");
    assert_eq!(report.broken_local_files.len(), 1);
    let temporary = temporary_of(&target, b"f");
    let (facts, held) = (std::fs::metadata(&temporary), open.metadata());
    assert_eq!(
        facts.expect("it is there").ino(),
        held.expect("facts").ino()
    );
    assert_eq!(
        std::fs::read(&temporary).expect("read"),
        &content[..200_000]
    );
    drop((open, other));
    let report = rig.restore_into(&target, 0, &[]).expect("a restore");
    assert_eq!(report.common.errors, [""; 0]);
    assert!(std::fs::read(target.join("f")).expect("the file") == content);
    assert!(!temporary.exists());
}
