//! Files of the data folder that only their owner may read, and that are replaced as a whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts content in the place of a file, durably: it is whole on the disk under the name `new` before it takes that place.
/// What a killed run left under `new` goes, with its permissions. Two runs must not use one `new` at the same time.
///
/// # Errors
/// What the system reports. The old file is as it was then. Only when the folder cannot be flushed the new one is in its place
/// already.
pub fn replace(path: &Path, new: &Path, content: &[u8]) -> io::Result<()> {
    remove(new)?;
    put(path, new, content).inspect_err(|_| {
        // The error that counts is the first one.
        let _ = remove(new);
    })
}

fn put(path: &Path, new: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.create_new(true).write(true).mode(0o600).open(new)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(new, path)?;
    // The name as well: without it what was written would not be found again.
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_new_file_is_private_and_the_old_one_stays_until_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, new) = (folder.path().join("list"), folder.path().join("list.part"));
        let open_to_all = || {
            fs::write(&new, "left by a killed run, and longer").expect("written");
            fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).expect("set");
        };
        for content in ["one", "two"] {
            open_to_all();
            replace(&path, &new, content.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("read"), content);
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!new.exists());
        }
        // It cannot take the place of a folder.
        let taken = folder.path().join("folder");
        fs::create_dir_all(taken.join("full")).expect("a folder");
        open_to_all();
        replace(&taken, &new, b"three").expect_err("a folder is in the way");
        assert!(taken.join("full").exists() && !new.exists());
    }
}
