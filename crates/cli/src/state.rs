//! Where the local catalog of a destination lies: `--dbpath`, else an entry of `dbconfig.json` in the data folder.
//!
//! The file has Duplicati's shape (commands spec 1.5) but lies in a folder of Larder's own, because the databases of
//! the two programs differ. Losing it costs a rebuild of the catalog, nothing else.

use std::path::{Path, PathBuf};

use larder_destination::Url;
use larder_options::{Values, engine as opt};
use serde::{Deserialize, Serialize};

use crate::output::Failure;

/// One destination and its catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "Type")]
    scheme: String,
    server: Option<String>,
    path: String,
    prefix: String,
    username: Option<String>,
    port: i32,
    databasepath: String,
    parameter_file: Option<String>,
    #[serde(default)]
    is_sync_db: bool,
}

impl Entry {
    fn same_place(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.server == other.server
            && self.path == other.path
            && self.prefix == other.prefix
            && self.username == other.username
            && self.port == other.port
            && self.is_sync_db == other.is_sync_db
    }
}

/// The folder for catalogs and `dbconfig.json`.
pub fn data_folder(values: &Values) -> Result<PathBuf, Failure> {
    if let Some(folder) = values
        .find(opt::SERVER_DATAFOLDER)
        .map_err(|e| Failure::usage(e.to_string()))?
    {
        return Ok(PathBuf::from(crate::invocation::expand(&folder)).join("larder"));
    }
    if let Some(folder) = std::env::var_os("DUPLICATI_HOME").filter(|f| !f.is_empty()) {
        return Ok(PathBuf::from(folder).join("larder"));
    }
    if let Some(folder) = std::env::var_os("XDG_CONFIG_HOME").filter(|f| !f.is_empty()) {
        return Ok(PathBuf::from(folder).join("Larder"));
    }
    match std::env::home_dir() {
        Some(home) => Ok(home.join(".config/Larder")),
        None => Err(Failure::general(
            "no home folder is known; say --server-datafolder=… or --dbpath=…".into(),
        )),
    }
}

/// The catalog file for a destination; an entry is made when there is none.
pub fn catalog_path(values: &Values, url: &Url) -> Result<PathBuf, Failure> {
    let usage = |e: larder_options::Error| Failure::usage(e.to_string());
    if let Some(path) = values.find(opt::DBPATH).map_err(usage)? {
        return Ok(beside_foreign(PathBuf::from(crate::invocation::expand(
            &path,
        ))));
    }
    let folder = data_folder(values)?;
    let list = folder.join("dbconfig.json");
    let mut entries = read(&list);
    let wanted = Entry {
        scheme: url.scheme().to_owned(),
        server: url.host().map(str::to_owned),
        path: url.local_path().map_or_else(
            || url.path().to_owned(),
            |p| p.to_string_lossy().into_owned(),
        ),
        prefix: values.get(opt::PREFIX).map_err(usage)?,
        username: url
            .user()
            .map(str::to_owned)
            .or(url.query_value("auth-username").map(str::to_owned))
            .or(values.find(opt::AUTH_USERNAME).map_err(usage)?),
        port: url.port().map_or(-1, i32::from),
        databasepath: String::new(),
        parameter_file: None,
        is_sync_db: false,
    };
    if let Some(entry) = entries.iter().find(|e| e.same_place(&wanted)) {
        return Ok(folder.join(&entry.databasepath));
    }
    let name = format!("{}.sqlite", random_name()?);
    entries.push(Entry {
        databasepath: name.clone(),
        ..wanted
    });
    write(&folder, &list, &entries)?;
    Ok(folder.join(name))
}

/// A list that cannot be read is a lost cache: the catalogs are found anew.
fn read(list: &Path) -> Vec<Entry> {
    std::fs::read(list)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn write(folder: &Path, list: &Path, entries: &[Entry]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::general(format!(
            "the data folder {} cannot be written: {error}",
            folder.display()
        ))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let text = serde_json::to_vec_pretty(entries).map_err(|e| Failure::general(e.to_string()))?;
    let part = list.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&part, text).map_err(failed)?;
    std::fs::rename(&part, list).map_err(failed)
}

fn random_name() -> Result<String, Failure> {
    use larder_engine::Rng as _;
    let mut bytes = [0_u8; 10];
    larder_engine::SystemRng
        .fill(&mut bytes)
        .map_err(|e| Failure::from_engine(&e))?;
    Ok(bytes.iter().map(|b| char::from(b'A' + b % 26)).collect())
}

/// A database of another program at `path` is left alone; Larder's catalog then stands beside it.
fn beside_foreign(path: PathBuf) -> PathBuf {
    use std::io::Read as _;
    let mut head = Vec::new();
    let read = std::fs::File::open(&path).and_then(|f| f.take(72).read_to_end(&mut head));
    let is_sqlite = read.is_ok() && head.starts_with(b"SQLite format 3\0");
    let application = head
        .get(68..72)
        .map(|b| b.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)));
    if is_sqlite && application == Some(0) && head.len() == 72 {
        let mut name = path.into_os_string();
        name.push(".larder");
        return PathBuf::from(name);
    }
    path
}
