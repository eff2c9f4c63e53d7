//! Names, manifests, data volumes and their indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::container::{self, Entry};
use super::json::Json;
use super::{BOM, IndexRule, Rules, crypt, digest};

/// The kind of a volume, after its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Blocks,
    Index,
    List,
}

/// A volume's name in its parts.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) prefix: String,
    pub(super) kind: Kind,
    /// Of lists.
    pub(super) time: Option<String>,
    pub(super) compression: String,
    pub(super) encryption: Option<String>,
}

impl Name {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{what} in its name"));
        // The prefix may hold dots, the rest has them between its parts.
        let Some((prefix, rest)) = name.split_once('-') else {
            return wrong("no prefix");
        };
        if prefix.is_empty() || rest.contains('-') {
            return wrong("an empty prefix or a hyphen");
        }
        let parts: Vec<&str> = rest.split('.').collect();
        let (id, kind, compression, encryption) = match parts.as_slice() {
            [id, kind, compression] => (*id, *kind, *compression, None),
            [id, kind, compression, encryption] => (*id, *kind, *compression, Some(*encryption)),
            _ => return wrong("not three or four parts"),
        };
        let kind = match kind {
            "dblock" => Kind::Blocks,
            "dindex" => Kind::Index,
            "dlist" => Kind::List,
            _ => return wrong("an unknown kind"),
        };
        let letter = match kind {
            Kind::Blocks => Some('b'),
            Kind::Index => Some('i'),
            Kind::List => None,
        };
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match letter.map(|letter| id.strip_prefix(letter)) {
            Some(Some(hex)) if hex.len() == 32 && hex.bytes().all(is_hex) => {}
            None if is_time(id) => {}
            _ => return wrong("an identity of another form"),
        }
        if !matches!(compression, "zip" | "tzstd" | "tgz") {
            return wrong("an unknown container");
        }
        if !matches!(encryption, None | Some("aes" | "gpg")) {
            return wrong("an unknown encryption");
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            kind,
            time: letter.is_none().then(|| id.to_owned()),
            compression: compression.to_owned(),
            encryption: encryption.map(str::to_owned),
        })
    }
}

/// `yyyyMMddTHHmmssZ` with parts that a calendar can have.
pub(super) fn is_time(text: &str) -> bool {
    let number = |from: usize, len: usize| {
        let digits = text.get(from..from + len)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| all)
    };
    let within = |from, low, high| number(from, 2).is_some_and(|n| (low..=high).contains(&n));
    text.len() == 16
        && text.get(8..9) == Some("T")
        && text.ends_with('Z')
        && number(0, 4).is_some()
        && within(4, 1, 12)
        && within(6, 1, 31)
        && within(9, 0, 23)
        && within(11, 0, 59)
        && within(13, 0, 59)
}

/// What all volumes of a backup have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) blocksize: u64,
    pub(super) block_hash: String,
    pub(super) file_hash: String,
}

impl Format {
    /// Length of a block's hash in bytes.
    pub(super) fn block_hash_len(&self) -> usize {
        digest(&self.block_hash, b"").map_or(1, |hash| hash.len())
    }

    pub(super) fn hash_block(&self, data: &[u8]) -> Vec<u8> {
        digest(&self.block_hash, data).unwrap_or_default()
    }

    pub(super) fn hash_file(&self, data: &[u8]) -> Vec<u8> {
        digest(&self.file_hash, data).unwrap_or_default()
    }
}

/// A block's key.
pub(super) type Key = (Vec<u8>, usize);

/// Everything that was read.
pub(super) struct Set {
    pub(super) format: Option<Format>,
    /// Contents of all blocks, with the data volume they are in.
    pub(super) blocks: HashMap<Key, (String, Vec<u8>)>,
    /// The blocklists in the index of each data volume.
    pub(super) indexed: BTreeMap<String, HashSet<Vec<u8>>>,
    /// Entries of the lists by name, the oldest first.
    pub(super) lists: BTreeMap<String, Vec<Entry>>,
}

/// Standard Base64 of a hash.
pub(super) fn parse_hash(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads all volumes and checks what can be checked without the versions.
pub(super) fn read(
    files: &BTreeMap<String, impl AsRef<[u8]>>,
    passphrase: Option<&str>,
    rules: Rules,
    faults: &mut Vec<String>,
) -> Set {
    let mut set = Set {
        format: None,
        blocks: HashMap::new(),
        indexed: BTreeMap::new(),
        lists: BTreeMap::new(),
    };
    let mut indexes = Vec::new();
    let mut common = Common::default();
    for (file, bytes) in files {
        let bytes = bytes.as_ref();
        if file.ends_with(".par2") || file.ends_with("-verification.json") {
            continue;
        }
        let mut own = Vec::new();
        match Name::parse(file) {
            Ok(name) => {
                common.take(&name, bytes, &mut own);
                match crypt::decrypt(name.encryption.as_deref(), bytes, passphrase) {
                    Ok(plain) => {
                        let entries = container::read(&name.compression, &plain, &mut own);
                        manifest(&entries, &mut set.format, &mut own);
                        match name.kind {
                            Kind::Blocks => blocks(file, entries, &mut set, &mut own),
                            Kind::Index => indexes.push((file.clone(), entries)),
                            Kind::List => {
                                set.lists.insert(file.clone(), entries);
                            }
                        }
                    }
                    Err(fault) => own.push(fault),
                }
            }
            Err(fault) => own.push(fault),
        }
        faults.extend(own.into_iter().map(|fault| format!("{file}: {fault}")));
    }
    for (file, entries) in indexes {
        let mut own = Vec::new();
        index(&file, entries, files, rules, &mut set, &mut own);
        faults.extend(own.into_iter().map(|fault| format!("{file}: {fault}")));
    }
    let has_blocks = files.keys().filter(|file| file.contains(".dblock."));
    for file in has_blocks.filter(|file| !file.ends_with(".par2")) {
        let described = set.indexed.contains_key(file);
        if rules.index != IndexRule::None && !described {
            faults.push(format!("{file}: no index describes it"));
        }
    }
    if set.lists.is_empty() {
        faults.push("there is no version".to_owned());
    }
    set
}

/// What must be the same, or different, in all volumes.
#[derive(Default)]
struct Common {
    prefix: Option<String>,
    ivs: HashSet<Vec<u8>>,
    times: BTreeSet<String>,
}

impl Common {
    fn take(&mut self, name: &Name, bytes: &[u8], faults: &mut Vec<String>) {
        let first = self.prefix.get_or_insert_with(|| name.prefix.clone());
        if *first != name.prefix {
            faults.push(format!("its prefix is not {first}"));
        }
        if let Some(time) = &name.time
            && !self.times.insert(time.clone())
        {
            faults.push("another version has the same time".to_owned());
        }
        if name.encryption.as_deref() == Some("aes")
            && let Some(iv) = crypt::public_iv(bytes)
            && !self.ivs.insert(iv)
        {
            faults.push("its public IV was used before".to_owned());
        }
    }
}

/// Checks the manifest; the first one gives the format.
fn manifest(entries: &[Entry], format: &mut Option<Format>, faults: &mut Vec<String>) {
    let Some(entry) = entries.iter().find(|entry| entry.name == "manifest") else {
        return;
    };
    let Some(text) = entry.content.strip_prefix(BOM) else {
        faults.push("its manifest does not begin with the mark".to_owned());
        return;
    };
    let json = match Json::parse(text) {
        Ok(json) => json,
        Err(fault) => {
            faults.push(format!("its manifest: {fault}"));
            return;
        }
    };
    let order = [
        "Version",
        "Created",
        "Encoding",
        "Blocksize",
        "BlockHash",
        "FileHash",
        "AppVersion",
    ];
    if json.names() != order {
        faults.push(format!(
            "its manifest has the properties {:?}",
            json.names()
        ));
    }
    let text = |name: &str| json.get(name).and_then(Json::text).unwrap_or_default();
    if json.get("Version").and_then(Json::number) != Some(2)
        || text("Encoding") != "utf8"
        || text("AppVersion").is_empty()
    {
        faults.push("its manifest has another version or encoding".to_owned());
    }
    if !is_time(text("Created")) {
        faults.push(format!("its manifest was created at {:?}", text("Created")));
    }
    let blocksize = json.get("Blocksize").and_then(Json::number);
    let own = Format {
        blocksize: blocksize.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        block_hash: text("BlockHash").to_owned(),
        file_hash: text("FileHash").to_owned(),
    };
    if own.blocksize < 1024
        || [&own.block_hash, &own.file_hash]
            .iter()
            .any(|h| digest(h, b"").is_none())
    {
        faults.push(format!("its manifest says {own:?}"));
    }
    let first = format.get_or_insert_with(|| own.clone());
    if *first != own {
        faults.push(format!("its manifest says {own:?}, others {first:?}"));
    }
}

/// The hash that an entry is named after.
fn named_hash(name: &str, format: &Format) -> Option<Vec<u8>> {
    let hash = URL_SAFE.decode(name).ok()?;
    (hash.len() == format.block_hash_len()).then_some(hash)
}

fn blocks(file: &str, entries: Vec<Entry>, set: &mut Set, faults: &mut Vec<String>) {
    let Some(format) = set.format.clone() else {
        return;
    };
    let mut count = 0;
    for entry in entries.into_iter().filter(|entry| entry.name != "manifest") {
        let Some(hash) = named_hash(&entry.name, &format) else {
            faults.push(format!("{} is no name of a block", entry.name));
            continue;
        };
        count += 1;
        if format.hash_block(&entry.content) != hash {
            faults.push(format!("the block {} has another hash", entry.name));
        }
        let len = entry.content.len();
        if len == 0 || len as u64 > format.blocksize {
            faults.push(format!("the block {} has {len} bytes", entry.name));
        }
        let before = set
            .blocks
            .insert((hash, len), (file.to_owned(), entry.content));
        if let Some((other, _)) = before {
            faults.push(format!("the block {} is in {other} too", entry.name));
        }
    }
    if count == 0 {
        faults.push("it holds no block".to_owned());
    }
}

fn index(
    file: &str,
    entries: Vec<Entry>,
    files: &BTreeMap<String, impl AsRef<[u8]>>,
    rules: Rules,
    set: &mut Set,
    faults: &mut Vec<String>,
) {
    let Some(format) = set.format.clone() else {
        return;
    };
    if rules.index == IndexRule::None {
        faults.push("there should be no index files".to_owned());
    }
    let mut described = None;
    let mut listed = HashSet::new();
    for entry in entries.into_iter().filter(|entry| entry.name != "manifest") {
        if let Some(volume) = entry.name.strip_prefix("vol/") {
            if described.replace(volume.to_owned()).is_some() {
                faults.push("it describes a second data volume".to_owned());
            }
            let own = described_volume(volume, &entry.content, files, set, &format);
            faults.extend(own.into_iter().map(|fault| format!("vol/: {fault}")));
        } else if let Some(name) = entry.name.strip_prefix("list/") {
            let hash = named_hash(name, &format).unwrap_or_default();
            let whole = entry.content.len() % format.block_hash_len() == 0;
            if hash.is_empty() || format.hash_block(&entry.content) != hash || !whole {
                faults.push(format!("list/{name} is not that blocklist"));
            }
            if !matches!(entry.method, None | Some(0)) {
                faults.push(format!("list/{name} is not stored as it is"));
            }
            listed.insert(hash);
        } else {
            faults.push(format!("{} has no business in an index", entry.name));
        }
    }
    if rules.index == IndexRule::Lookup && !listed.is_empty() {
        faults.push("it has blocklists, although --index-file-policy=Lookup".to_owned());
    }
    match described {
        Some(volume) => {
            if set.indexed.insert(volume.clone(), listed).is_some() {
                faults.push(format!("{volume} is described by another index too"));
            }
        }
        None => faults.push(format!("{file} describes no data volume")),
    }
}

/// Checks the description of a data volume against the volume.
fn described_volume(
    volume: &str,
    json: &[u8],
    files: &BTreeMap<String, impl AsRef<[u8]>>,
    set: &Set,
    format: &Format,
) -> Vec<String> {
    let mut faults = Vec::new();
    let json = match Json::parse(json) {
        Ok(json) => json,
        Err(fault) => return vec![fault],
    };
    if json.names() != ["blocks", "volumehash", "volumesize"] {
        faults.push(format!("it has the properties {:?}", json.names()));
    }
    let Some(remote) = files.get(volume).map(AsRef::as_ref) else {
        faults.push(format!("{volume} is not there"));
        return faults;
    };
    let hash = json.get("volumehash").and_then(Json::text);
    if hash.and_then(parse_hash) != Some(format.hash_file(remote)) {
        faults.push(format!("{hash:?} is not the hash of {volume}"));
    }
    let size = json.get("volumesize").and_then(Json::number);
    if size != i64::try_from(remote.len()).ok() {
        faults.push(format!("{size:?} is not the length of {volume}"));
    }
    let mut described: HashSet<Key> = HashSet::new();
    for block in json.get("blocks").and_then(Json::array).unwrap_or_default() {
        if block.names() != ["hash", "size"] {
            faults.push(format!("a block has the properties {:?}", block.names()));
        }
        let hash = block.get("hash").and_then(Json::text).and_then(parse_hash);
        let size = block.get("size").and_then(Json::number);
        let (Some(hash), Some(size)) = (hash, size.and_then(|n| usize::try_from(n).ok())) else {
            faults.push("a block without hash or size".to_owned());
            continue;
        };
        if !described.insert((hash, size)) {
            faults.push("a block is in it twice".to_owned());
        }
    }
    let stored: HashSet<&Key> = set
        .blocks
        .iter()
        .filter(|(_, (place, _))| place == volume)
        .map(|(key, _)| key)
        .collect();
    let missing = stored
        .iter()
        .filter(|key| !described.contains(**key))
        .count();
    let extra = described.iter().filter(|key| !stored.contains(key)).count();
    if missing + extra > 0 {
        faults.push(format!(
            "{missing} blocks of {volume} are missing in it, {extra} too many"
        ));
    }
    faults
}
