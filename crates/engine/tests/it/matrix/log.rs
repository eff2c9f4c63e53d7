//! The catalog's write-ahead log, read from outside (sqlite.org/fileformat2.html, section 4): where its commits end, and
//! cutting a copy of it behind one of them. So the state can be had as it was after each commit between two remote calls.

use std::fs;
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// How far a log had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Changes when the log begins anew.
    salt: u64,
    /// Bytes up to the end of its last commit.
    len: usize,
}

/// Where each commit of a log ends, oldest first.
fn commits(log: &[u8]) -> (u64, Vec<usize>) {
    let word = |at: usize| {
        let bytes = log.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let salts = |at: usize| Some(u64::from(word(at)?) << 32 | u64::from(word(at + 4)?));
    let (Some(page), Some(salt)) = (word(8), salts(16)) else {
        return (0, Vec::new());
    };
    let frame = FRAME_HEADER + page as usize;
    let (mut at, mut ends) = (HEADER, Vec::new());
    while salts(at + 8) == Some(salt) && at + frame <= log.len() {
        let is_commit = word(at + 4) != Some(0);
        at += frame;
        if is_commit {
            ends.push(at);
        }
    }
    (salt, ends)
}

/// How far the log beside a catalog has come.
pub fn mark(catalog: &Path) -> Mark {
    let (salt, ends) = commits(&fs::read(log_of(catalog)).unwrap_or_default());
    let len = ends.last().copied().unwrap_or(HEADER);
    Mark { salt, len }
}

/// Takes the commits after one of those since `from` away; `pick` says which, and whether half of the next one was written.
/// How many there were to choose from.
pub fn cut(catalog: &Path, from: Mark, pick: u64) -> usize {
    let path = log_of(catalog);
    let Ok(mut log) = fs::read(&path) else {
        return 0;
    };
    let (salt, ends) = commits(&log);
    // A log that began anew holds nothing that is older than its beginning.
    let first = if salt == from.salt { from.len } else { HEADER };
    let mut places: Vec<usize> = ends.into_iter().filter(|end| *end > first).collect();
    // All of them is what a kill before the next call leaves.
    let last = places.pop();
    places.insert(0, first);
    let Some(last) = last else {
        return 0;
    };
    let chosen = places[pick as usize % places.len()];
    let is_torn = pick / 64 % 2 == 1;
    log.truncate(match is_torn {
        true => chosen + (last - chosen) / 2,
        false => chosen,
    });
    fs::write(&path, log).expect("the copy of the log");
    // What the processes shared is made anew from the log.
    let _ = fs::remove_file(beside(catalog, "-shm"));
    places.len()
}

fn log_of(catalog: &Path) -> std::path::PathBuf {
    beside(catalog, "-wal")
}

fn beside(catalog: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = catalog.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
