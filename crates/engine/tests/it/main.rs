//! The engine from outside: real backups in memory and in temporary folders.

mod affected;
mod aside;
mod broken_files;
mod browse;
mod checkpoints;
mod compaction;
mod continue_set;
mod cost;
mod damage;
mod damaged_and_tidied;
mod deletion;
mod doom;
mod doubt;
mod errors;
mod faults;
mod findings;
mod forge;
mod golden;
mod guard;
mod hostile;
mod inodes;
mod lint;
mod locks;
mod lone_indexes;
mod losses;
mod matrix;
mod model;
mod options;
mod outages;
mod purging;
mod recovery;
mod repairs;
mod restoring;
mod review;
mod rig;
mod safety;
mod selection;
mod set_back;
mod stopped;
mod support;
mod sweeps;
mod told;
mod trust;
mod unfinished;
mod verification_file;
mod where_duplicati_loses;
mod windows;

/// A file that is not named above would silently not run.
#[test]
fn no_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let named = include_str!("main.rs");
    for entry in std::fs::read_dir(folder).expect("the folder of this file") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let Some(stem) = name.strip_suffix(".rs").filter(|stem| *stem != "main") else {
            continue;
        };
        let line = format!("mod {stem};");
        assert!(named.lines().any(|l| l == line), "main.rs lacks `{line}`");
    }
}
