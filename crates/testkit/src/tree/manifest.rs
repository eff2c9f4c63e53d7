//! What a tree holds, without the tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// All entries of a tree without its root, by path; it grows with their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Facts by path relative to the root, as raw bytes without a slash at the end.
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

/// The facts about one entry; `None` where they are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, setuid, setgid and sticky included (`07777`).
    pub mode: Option<u32>,
    /// Time of the last change in nanoseconds since 1970 UTC.
    pub mtime_ns: Option<i128>,
    /// Owner and group.
    pub owner: Option<(u32, u32)>,
    /// Extended attributes of the `user.` namespace and access lists, by name.
    pub xattrs: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Number of names of a file.
    pub nlink: Option<u64>,
    /// The first path, in order, that is the same file; only of files with several names in the tree.
    pub same_as: Option<Vec<u8>>,
}

/// What an entry is, with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Length in bytes.
        size: u64,
        /// Hash of the content.
        sha256: [u8; 32],
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it leads, as written.
        target: Vec<u8>,
    },
    /// A pipe, socket or device.
    Special(&'static str),
}

impl Kind {
    /// The word for messages.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Folder => "folder",
            Self::Link { .. } => "link",
            Self::Special(what) => what,
        }
    }
}

impl Manifest {
    /// Reads a tree, with the content of all files; links are not followed.
    ///
    /// # Errors
    /// The first entry that cannot be read, with its path.
    pub fn of(root: &Path) -> io::Result<Self> {
        let mut manifest = Self::default();
        let mut first_names = BTreeMap::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let path = root.join(&folder);
            for item in fs::read_dir(&path).map_err(|error| named(error, &path))? {
                let relative = folder.join(item?.file_name());
                let path = root.join(&relative);
                let entry = read_entry(&path).map_err(|error| named(error, &path))?;
                if entry.kind == Kind::Folder {
                    folders.push(relative.clone());
                }
                let relative = relative.into_os_string().into_vec();
                if entry.kind != Kind::Folder && entry.nlink.is_some_and(|count| count > 1) {
                    let facts = fs::symlink_metadata(&path)?;
                    first_names
                        .entry((facts.dev(), facts.ino()))
                        .or_insert_with(Vec::new)
                        .push(relative.clone());
                }
                manifest.entries.insert(relative, entry);
            }
        }
        for mut names in first_names.into_values() {
            names.sort();
            let first = names.first().cloned();
            for name in names.iter().filter(|_| names.len() > 1) {
                if let Some(entry) = manifest.entries.get_mut(name) {
                    entry.same_as.clone_from(&first);
                }
            }
        }
        Ok(manifest)
    }

    /// Reads the manifest that comes with a fixture: one JSON object a line, described in the fixtures' README.
    ///
    /// # Errors
    /// A file that cannot be read or has another form, with the line.
    pub fn read_fixture(path: &Path) -> io::Result<Self> {
        let file = File::open(path).map_err(|error| named(error, path))?;
        let mut manifest = Self::default();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |why: String| {
                let message = format!("{} line {}: {why}", path.display(), index + 1);
                io::Error::new(io::ErrorKind::InvalidData, message)
            };
            let line: Line =
                serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
            let path = unescape(&line.path);
            let entry = line.into_entry().map_err(|why| wrong(why.to_owned()))?;
            manifest.entries.insert(path, entry);
        }
        Ok(manifest)
    }

    /// The entries whose paths begin with `prefix`, with the prefix cut off.
    #[must_use]
    pub fn below(&self, prefix: &[u8]) -> Self {
        let below = self.entries.iter().filter_map(|(path, entry)| {
            let rest = path.strip_prefix(prefix)?;
            (!rest.is_empty()).then(|| (rest.to_vec(), entry.clone()))
        });
        Self {
            entries: below.collect(),
        }
    }
}

fn read_entry(path: &Path) -> io::Result<Entry> {
    let facts = fs::symlink_metadata(path)?;
    let file_type = facts.file_type();
    let kind = if file_type.is_file() {
        Kind::File {
            size: facts.len(),
            sha256: hash(path)?,
        }
    } else if file_type.is_dir() {
        Kind::Folder
    } else if file_type.is_symlink() {
        Kind::Link {
            target: fs::read_link(path)?.into_os_string().into_vec(),
        }
    } else if file_type.is_fifo() {
        Kind::Special("pipe")
    } else if file_type.is_socket() {
        Kind::Special("socket")
    } else {
        Kind::Special("device")
    };
    let mtime_ns = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
    Ok(Entry {
        // Linux gives all links the mode 0777.
        mode: (!file_type.is_symlink()).then(|| facts.mode() & 0o7777),
        mtime_ns: Some(mtime_ns),
        owner: Some((facts.uid(), facts.gid())),
        xattrs: xattrs(path, &kind),
        nlink: (!file_type.is_dir()).then(|| facts.nlink()),
        same_as: None,
        kind,
    })
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

/// The attributes worth comparing; a file system without any has none.
fn xattrs(path: &Path, kind: &Kind) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    if !matches!(kind, Kind::File { .. } | Kind::Folder) {
        return None;
    }
    let mut found = BTreeMap::new();
    for name in xattr::list(path).into_iter().flatten() {
        let bytes = name.as_bytes();
        if !bytes.starts_with(b"user.") && !bytes.starts_with(b"system.posix_acl_") {
            continue;
        }
        if let Ok(Some(value)) = xattr::get(path, &name) {
            found.insert(bytes.to_vec(), value);
        }
    }
    Some(found)
}

pub(super) fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// One line of a fixture's manifest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    r#type: String,
    size: Option<u64>,
    sha256: Option<String>,
    mode: Option<String>,
    mtime_ns: Option<i128>,
    target: Option<String>,
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
    nlink: Option<u64>,
}

impl Line {
    fn into_entry(self) -> Result<Entry, &'static str> {
        let kind = match self.r#type.as_str() {
            "file" => {
                let hash = self
                    .sha256
                    .as_deref()
                    .and_then(from_hex)
                    .ok_or("a file without a sha256")?;
                let sha256 = hash.try_into().map_err(|_| "a sha256 of another length")?;
                Kind::File {
                    size: self.size.ok_or("a file without a size")?,
                    sha256,
                }
            }
            "dir" => Kind::Folder,
            "link" => Kind::Link {
                target: unescape(&self.target.ok_or("a link without a target")?),
            },
            _ => return Err("an unknown type"),
        };
        let mode = self
            .mode
            .map(|mode| u32::from_str_radix(&mode, 8))
            .transpose();
        let mut xattrs = BTreeMap::new();
        for (name, value) in self.xattrs {
            xattrs.insert(
                name.into_bytes(),
                from_hex(&value).ok_or("an attribute that is not hexadecimal")?,
            );
        }
        Ok(Entry {
            mode: mode.map_err(|_| "a mode that is not octal")?,
            mtime_ns: self.mtime_ns,
            owner: None,
            xattrs: matches!(kind, Kind::File { .. } | Kind::Folder).then_some(xattrs),
            nlink: matches!(kind, Kind::File { .. }).then(|| self.nlink.unwrap_or(1)),
            same_as: None,
            kind,
        })
    }
}

/// Turns `%XX` into bytes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            u8::from_str_radix(
                std::str::from_utf8(pair)
                    .ok()
                    .filter(|pair| pair.len() == 2)?,
                16,
            )
            .ok()
        })
        .collect()
}
