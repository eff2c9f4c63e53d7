//! Making and changing trees.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::manifest::named;
use crate::Rng;

/// Fills `path` with `files` files of together about `bytes` bytes, the same for the same seed.
///
/// Half of the content compresses, some files are copies of others, a few are empty. Folders hold up to about fifty
/// entries. Times lie in the year 2024. The folder is created when it does not exist.
///
/// # Errors
/// Those of the file system, with the path.
pub fn build_random(path: &Path, seed: u64, files: usize, bytes: u64) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    let mut later = Later::default();
    fs::create_dir_all(path).map_err(|error| named(error, path))?;
    let mut folders = vec![path.to_path_buf()];
    for number in 0..files / 25 {
        let parent = rng.choose(&folders).cloned().unwrap_or_default();
        let folder = parent.join(format!("folder {number:04}"));
        fs::create_dir_all(&folder).map_err(|error| named(error, &folder))?;
        folders.push(folder);
    }
    let average = usize::try_from(bytes.checked_div(files as u64).unwrap_or(0)).unwrap_or(0);
    let mut previous = Vec::new();
    for number in 0..files {
        let folder = rng.choose(&folders).cloned().unwrap_or_default();
        let file = folder.join(format!(
            "file {number:05}.{}",
            rng.choose(&["txt", "jpg", "dat", "c"]).unwrap_or(&"")
        ));
        let len = match rng.below(20) {
            0 => 0,
            1..=14 => rng.index(average + 1),
            _ => average + rng.index(average * 3 + 1),
        };
        let content = match rng.below(10) {
            0 => std::mem::take(&mut previous),
            1..=5 => rng.text(len),
            _ => rng.bytes(len),
        };
        fs::write(&file, &content).map_err(|error| named(error, &file))?;
        later.add(file, random_time(&mut rng));
        previous = content;
    }
    for folder in folders {
        later.add(folder, random_time(&mut rng));
    }
    later.set_times()
}

/// Changes about `edits` entries of a tree: contents grow, shrink, change in the middle or as a whole; files appear,
/// vanish and move; modes and times change. The same tree and seed give the same changes.
///
/// # Errors
/// Those of the file system, with the path.
pub fn edit_random(path: &Path, seed: u64, edits: usize) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    let (mut files, folders) = files_and_folders(path)?;
    let mut later = Later::default();
    for number in 0..edits {
        let folder = rng
            .choose(&folders)
            .cloned()
            .unwrap_or_else(|| path.to_path_buf());
        let fresh = folder.join(format!("new {seed:x} {number:04}"));
        let index = rng.index(files.len());
        let Some(file) = files.get(index).cloned() else {
            fs::write(&fresh, rng.text(1000)).map_err(|error| named(error, &fresh))?;
            files.push(fresh);
            continue;
        };
        let fail = |error| named(error, &file);
        match rng.below(8) {
            0 => {
                let len = rng.index(200_000);
                let content = rng.bytes(len);
                fs::write(&fresh, content).map_err(|error| named(error, &fresh))?;
                files.push(fresh);
            }
            1 => {
                fs::remove_file(&file).map_err(fail)?;
                files.swap_remove(index);
            }
            2 => {
                fs::rename(&file, &fresh).map_err(fail)?;
                files.swap_remove(index);
                files.push(fresh);
            }
            3 => later.add(file, random_time(&mut rng)),
            4 => set_mode(
                &file,
                *rng.choose(&[0o644, 0o600, 0o755, 0o664]).unwrap_or(&0o644),
            )?,
            edit => {
                let mut content = fs::read(&file).map_err(fail)?;
                match edit {
                    5 => content.extend(rng.text(5000)),
                    6 => content.truncate(rng.index(content.len() + 1)),
                    _ => {
                        let at = rng.index(content.len());
                        if let Some(byte) = content.get_mut(at) {
                            *byte = byte.wrapping_add(1);
                        }
                    }
                }
                fs::write(&file, content).map_err(fail)?;
                later.add(file, random_time(&mut rng));
            }
        }
    }
    later.set_times()
}

/// All plain files and folders below a path, in order; the path itself is the first folder.
fn files_and_folders(path: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), vec![path.to_path_buf()]);
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(&folder).map_err(|error| named(error, &folder))? {
            let entry = entry?;
            let file_type = entry.file_type()?;
            if file_type.is_dir() {
                folders.push(entry.path());
            } else if file_type.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

/// A time in 2024, in nanoseconds since 1970.
pub(super) fn random_time(rng: &mut Rng) -> i128 {
    const START: i128 = 1_704_067_200_000_000_000;
    START + i128::from(rng.below(31_536_000_000_000_000))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| named(error, path))
}

/// Times to be set when nothing changes them any more.
#[derive(Default)]
pub(super) struct Later(Vec<(PathBuf, i128)>);

impl Later {
    pub(super) fn add(&mut self, path: PathBuf, nanoseconds: i128) {
        self.0.push((path, nanoseconds));
    }

    /// Sets all times, those of links themselves; what is gone is passed over.
    pub(super) fn set_times(self) -> io::Result<()> {
        for (path, nanoseconds) in self.0 {
            let time = Timespec {
                tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0),
                tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            match utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(named(error.into(), &path)),
            }
        }
        Ok(())
    }
}
