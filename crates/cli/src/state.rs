//! Where the local catalog of a destination lies: `--dbpath`, else an entry of `dbconfig.json` in the data folder.
//!
//! The file has Duplicati's shape (commands spec 1.5) but lies in a folder of Larder's own, because the databases of
//! the two programs differ. Losing it costs a rebuild of the catalog, nothing else; so a damaged one is put aside and
//! begun anew. Changes are made under a lock, to a file of another name that is then renamed: several programs may
//! start at once.

use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use larder_engine::{Cancel, Error, Occupant, Repository};
use larder_options::{Values, engine as opt};
use larder_registry::destination::Place;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::paths::expand_path;
use crate::private_file;

/// One backup and its catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    /// The identity of the store ([`Place`]).
    place: String,
    prefix: String,
    databasepath: String,
}

/// Whether a place in the list is made when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// For commands that keep what they learn.
    FindOrMake,
    /// For a dry run, which changes nothing.
    FindOnly,
}

/// How a command waits for another one that makes an entry in the list.
pub struct Waiting<'w> {
    /// Ends the wait.
    pub cancel: &'w Cancel,
    /// Hears of a wait that is longer than a moment.
    pub tell: &'w dyn Fn(String),
    /// The longest wait.
    pub at_most: Duration,
}

impl<'w> Waiting<'w> {
    /// As long as all the programs that a schedule may start at one moment take, and many times that.
    pub fn new(cancel: &'w Cancel, tell: &'w dyn Fn(String)) -> Self {
        Self {
            cancel,
            tell,
            at_most: LONGEST_WAIT,
        }
    }
}

/// The folder for catalogs and `dbconfig.json`.
pub fn data_folder(values: &Values) -> Result<PathBuf, Failure> {
    if let Some(folder) = values.find(opt::SERVER_DATAFOLDER)? {
        return Ok(PathBuf::from(expand_path(&folder)).join("larder"));
    }
    if let Some(folder) = std::env::var_os("DUPLICATI_HOME").filter(|f| !f.is_empty()) {
        return Ok(PathBuf::from(folder).join("larder"));
    }
    if values.get(opt::PORTABLE_MODE)?
        && let Ok(program) = std::env::current_exe()
        && let Some(folder) = program.parent()
    {
        return Ok(folder.join("data").join("larder"));
    }
    if let Some(folder) = std::env::var_os("XDG_CONFIG_HOME").filter(|f| !f.is_empty()) {
        return Ok(PathBuf::from(folder).join("Larder"));
    }
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(".config/Larder")),
        None => Err(Failure::known(
            "NoDataFolder",
            "no home folder is known, so there is no place for the local catalog",
            "say --server-datafolder=… or --dbpath=…",
        )),
    }
}

/// True for root in the data folder of somebody else, as with a `sudo` that keeps `HOME`: what root makes there would be
/// closed to its owner.
pub fn is_of_another_user(values: &Values) -> Result<bool, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let path = match values.find(opt::DBPATH)?.filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(expand_path(&path)),
        None => data_folder(values)?,
    };
    let nearest = path.ancestors().find_map(|folder| folder.metadata().ok());
    let is_root = rustix::process::geteuid().is_root();
    Ok(is_root && nearest.is_some_and(|folder| folder.uid() != 0))
}

/// The catalog file for a destination; `None` when there is no entry and none is to be made.
///
/// # Errors
/// A data folder that cannot be written, or whose list another program has locked for longer than is waited.
pub fn catalog_path(
    values: &Values,
    place: &Place,
    lookup: Lookup,
    waiting: &Waiting<'_>,
) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = values.find(opt::DBPATH)?.filter(|path| !path.is_empty()) {
        let mut path = expand_path(&path);
        // That of another program is left alone; Larder's catalog then stands beside it.
        if Occupant::of(Path::new(&path)) == Occupant::Database {
            path.push_str(BESIDE);
        }
        let path = PathBuf::from(path);
        // A damaged catalog may be replaced; a file of the user may not.
        if Occupant::of(&path) == Occupant::Other {
            return Err(Failure::known(
                "NotACatalog",
                format!(
                    "{} is no local catalog, so it is left as it is",
                    path.display()
                ),
                "name another file with --dbpath=…, or remove this one",
            ));
        }
        return Ok(Some(path));
    }
    let folder = data_folder(values)?;
    let (place, prefix) = (place.to_string(), values.get(opt::PREFIX)?);
    let list = folder.join(LIST);
    if let Some(found) = pick(&read(&list)?.0, &place, &prefix) {
        return Ok(Some(folder.join(found)));
    }
    if lookup == Lookup::FindOnly {
        return Ok(None);
    }
    let failed = |error: std::io::Error| {
        Failure::known(
            "DataFolderNotWritable",
            format!(
                "the data folder {} cannot be written: {error}",
                folder.display()
            ),
            "say --server-datafolder=… or --dbpath=…",
        )
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(failed)?;
    let path = folder.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    if !locked(&lock, &path, waiting)?.map_err(failed)? {
        return Err(Failure::known(
            "DataFolderInUse",
            format!(
                "another program has locked the list of local catalogs ({}) for {} seconds",
                path.display(),
                waiting.at_most.as_secs()
            ),
            "see whether a Larder hangs or is stopped there, or say --dbpath=…",
        ));
    }
    // Another program may have made the entry since.
    let (mut entries, damaged) = read(&list)?;
    if let Some(found) = pick(&entries, &place, &prefix) {
        return Ok(Some(folder.join(found)));
    }
    if damaged {
        put_aside(&list).map_err(failed)?;
    }
    let name = format!("{}.sqlite", random_name()?);
    entries.push(Entry {
        place,
        prefix,
        databasepath: name.clone(),
    });
    write(&list, &entries).map_err(failed)?;
    Ok(Some(folder.join(name)))
}

/// Waits for the lock of the list; false when it is not to be had.
fn locked(
    lock: &File,
    path: &Path,
    waiting: &Waiting<'_>,
) -> Result<std::io::Result<bool>, Failure> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Ok(true)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Ok(Err(error)),
        }
        if waiting.cancel.is_cancelled() {
            return Err(Failure::from_engine(&Error::Cancelled));
        }
        let waited = begun.elapsed();
        if waited >= waiting.at_most {
            return Ok(Ok(false));
        }
        if waited >= MOMENT && !std::mem::replace(&mut told, true) {
            (waiting.tell)(format!(
                "waiting for another program that has locked the list of local catalogs ({})",
                path.display()
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// The catalog of a place.
fn pick(entries: &[Entry], place: &str, prefix: &str) -> Option<String> {
    let found = entries
        .iter()
        .find(|entry| entry.place == place && entry.prefix == prefix);
    found.map(|entry| entry.databasepath.clone())
}

/// The entries, and whether what stands there is no list of them. What cannot be read may be a good list.
fn read(list: &Path) -> Result<(Vec<Entry>, bool), Failure> {
    match std::fs::read(list) {
        // What stands in the place of the folder is told when something is to be written there.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok((Vec::new(), false))
        }
        Err(error) => Err(Failure::known(
            "DataFolderNotReadable",
            format!(
                "the list of catalogs {} cannot be read: {error}",
                list.display()
            ),
            "mend the disk or the permissions, or say --server-datafolder=… or --dbpath=…",
        )),
        Ok(bytes) => Ok(match serde_json::from_slice(&bytes) {
            Ok(entries) => (entries, false),
            Err(_) => (Vec::new(), true),
        }),
    }
}

/// Gives a damaged list a name that is free; to be called under the lock.
fn put_aside(list: &Path) -> std::io::Result<()> {
    let mut aside = list.with_extension("json.damaged");
    let mut number = 1_u32;
    while aside.symlink_metadata().is_ok() {
        number += 1;
        aside = list.with_extension(format!("json.damaged.{number}"));
    }
    std::fs::rename(list, aside)
}

/// Replaces the list; to be called under the lock.
fn write(list: &Path, entries: &[Entry]) -> std::io::Result<()> {
    let text = serde_json::to_vec_pretty(entries)?;
    let part = list.with_extension("json.part");
    private_file::replace(list, &part, &text)
}

fn random_name() -> Result<String, Failure> {
    use larder_engine::Random as _;
    let mut bytes = [0_u8; 10];
    larder_engine::SystemRandom
        .fill(&mut bytes)
        .map_err(|error| Failure::general(format!("the random number source failed: {error}")))?;
    Ok(bytes.iter().map(|b| char::from(b'A' + b % 26)).collect())
}

/// The database of another program that this catalog stands beside, because `--dbpath` names it.
pub fn foreign_database(catalog: &Path) -> Option<PathBuf> {
    let text = catalog.as_os_str().as_encoded_bytes();
    let foreign = text.strip_suffix(BESIDE.as_bytes())?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(foreign));
    path.is_file().then_some(path)
}

/// A folder for a catalog that lives as long as one command; removed on drop.
#[derive(Debug)]
pub struct TemporaryState {
    folder: PathBuf,
}

impl TemporaryState {
    /// An empty folder that only this user can read.
    pub fn new(values: &Values) -> Result<Self, Failure> {
        let parent = match values.find(opt::TEMPDIR)? {
            Some(path) if !path.is_empty() => PathBuf::from(expand_path(&path)),
            _ => std::env::temp_dir(),
        };
        let folder = parent.join(format!("larder-{}", random_name()?));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| {
                Failure::known(
                    "TemporaryFolderFailed",
                    format!(
                        "the folder for temporary files {} cannot be used: {error}",
                        parent.display()
                    ),
                    "make room there and check its permissions, or name another folder with --tempdir=…",
                )
            })?;
        Ok(Self { folder })
    }

    /// As [`TemporaryState::new`], with a copy of a catalog, so that the original stays as it is. A copy that is not
    /// whole is noticed when it is opened, and built anew.
    pub fn copy_of(catalog: &Path, values: &Values) -> Result<Self, Failure> {
        let state = Self::new(values)?;
        Repository::copy_closed_catalog(catalog, &state.catalog()).map_err(|error| {
            Failure::general(format!(
                "the local catalog cannot be copied for a dry run: {error}"
            ))
        })?;
        Ok(state)
    }

    /// The catalog's file.
    pub fn catalog(&self) -> PathBuf {
        self.folder.join("catalog.sqlite")
    }
}

impl Drop for TemporaryState {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What is added to the name of another program's database.
const BESIDE: &str = ".larder";
/// The list of catalogs.
const LIST: &str = "dbconfig.json";
/// Its lock.
const LOCK: &str = "dbconfig.lock";
/// A change of the list takes some milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Waits from this length on are told.
const MOMENT: Duration = Duration::from_secs(1);
/// Time between two looks at the lock.
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use larder_options::Origin;

    use super::*;

    fn values(folder: &Path) -> Values {
        let mut values = Values::new();
        values.set("server-datafolder", folder.to_str(), Origin::CommandLine);
        values
    }

    fn path(values: &Values, url: &str) -> Result<Option<PathBuf>, Failure> {
        let (cancel, silent) = (Cancel::new(), |_| {});
        let waiting = Waiting::new(&cancel, &silent);
        catalog_path(values, &place(url), Lookup::FindOrMake, &waiting)
    }

    fn place(url: &str) -> Place {
        let configured = larder_registry::configure(url, &Values::new(), Path::new("/"));
        let configured = configured.expect("a URL");
        (configured.found.provider.identity)(&configured.config).expect("a place")
    }

    #[test]
    fn one_place_has_one_catalog() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = values(folder.path());
        let first = path(&values, "file:///mnt/a").expect("a path");
        for same in [
            "file:///mnt/a/",
            "/mnt/a",
            "/mnt/./a",
            "/mnt/x/../a",
            "/mnt//a",
        ] {
            assert_eq!(path(&values, same).expect("a path"), first, "{same}");
        }
        assert_ne!(path(&values, "file:///mnt/b").expect("a path"), first);
        let one = path(&values, "s3://key:secret@bucket/x?s3-server-name=one").expect("a path");
        let other = path(&values, "s3://key:secret@bucket/x?s3-server-name=other").expect("a path");
        assert_ne!(one, other, "two servers with one bucket name");
        std::os::unix::fs::symlink("/mnt", folder.path().join("link")).expect("a link");
        std::fs::create_dir(folder.path().join("real")).expect("a folder");
        std::os::unix::fs::symlink("real", folder.path().join("alias")).expect("a link");
        let below = |name: &str| folder.path().join(name).join("sub").display().to_string();
        assert_eq!(
            path(&values, &below("real")).expect("a path"),
            path(&values, &below("alias")).expect("a path"),
        );
    }

    #[test]
    fn a_damaged_list_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = values(folder.path());
        path(&values, "file:///mnt/a").expect("a path");
        let list = folder.path().join("larder").join(LIST);
        for text in ["{ not json", "nor this"] {
            std::fs::write(&list, text).expect("written");
            path(&values, "file:///mnt/a").expect("a path");
            assert_eq!(entries(&list), 1);
        }
        for (ending, text) in [("damaged", "{ not json"), ("damaged.2", "nor this")] {
            let aside = list.with_extension(format!("json.{ending}"));
            assert_eq!(std::fs::read_to_string(aside).expect("kept"), text);
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = values(folder.path());
        let list = folder.path().join("larder").join(LIST);
        // Reading a folder fails for every user.
        std::fs::create_dir_all(&list).expect("a folder");
        assert!(path(&values, "file:///mnt/a").is_err());
        assert!(list.is_dir());
    }

    fn entries(list: &Path) -> usize {
        read(list).expect("a list").0.len()
    }

    #[test]
    fn a_dry_run_makes_no_entry() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = values(folder.path());
        let (cancel, silent) = (Cancel::new(), |_| {});
        let waiting = Waiting::new(&cancel, &silent);
        let found = catalog_path(&values, &place("file:///mnt/a"), Lookup::FindOnly, &waiting);
        let found = found.expect("no failure");
        assert_eq!(found, None);
        assert!(!folder.path().join("larder").exists());
    }

    /// A stopped program held the lock of the list, and all others waited for it for good.
    #[test]
    fn a_locked_list_is_waited_for_so_long_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = values(folder.path());
        path(&values, "file:///mnt/a").expect("a path");
        let lock = File::open(folder.path().join("larder").join(LOCK)).expect("the lock");
        lock.lock().expect("locked");
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |text: String| told.lock().expect("no panic").push(text);
        let cancel = Cancel::new();
        let waiting = Waiting {
            cancel: &cancel,
            tell: &tell,
            at_most: Duration::from_millis(1500),
        };
        let wait = |url| catalog_path(&values, &place(url), Lookup::FindOrMake, &waiting);
        let failure = wait("file:///mnt/b").expect_err("it is locked");
        assert_eq!(failure.id(), Some("DataFolderInUse"));
        assert_eq!(told.lock().expect("no panic").len(), 1);
        // What is in the list already needs no lock.
        wait("file:///mnt/a").expect("a path");
        cancel.cancel();
        let begun = Instant::now();
        let failure = wait("file:///mnt/b").expect_err("it is stopped");
        assert_eq!(failure.id(), Some("Cancelled"));
        assert!(begun.elapsed() < Duration::from_secs(1));
        lock.unlock().expect("unlocked");
        wait("file:///mnt/b").expect("a path");
    }

    #[test]
    fn many_at_once_agree() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = values(folder.path());
        let paths: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|n| {
                    let values = &values;
                    scope.spawn(move || path(values, &format!("file:///mnt/{}", n % 4)))
                })
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panic").expect("a path"))
                .collect()
        });
        for (n, path) in paths.iter().enumerate() {
            assert_eq!(Some(path), paths.get(n % 4));
        }
        let list = folder.path().join("larder").join(LIST);
        assert_eq!(entries(&list), 4);
    }
}
