//! What an earlier restore left unfinished.

use std::os::unix::ffi::OsStrExt;
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
