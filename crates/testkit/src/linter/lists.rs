//! Versions: their entries, the files behind them and their metadata.

use std::collections::{BTreeMap, HashSet};

use super::json::Json;
use super::volumes::{Format, Key, Set, is_time, parse_hash};
use super::{BOM, IndexRule, Rules};

/// Checks all versions against the blocks.
pub(super) fn check(set: &Set, rules: Rules, faults: &mut Vec<String>) {
    let Some(format) = &set.format else {
        return;
    };
    let mut checker = Checker {
        set,
        format,
        used: HashSet::new(),
        blocklists: HashSet::new(),
        checked: HashSet::new(),
        faults: Vec::new(),
    };
    for (name, entries) in &set.lists {
        let content = |wanted: &str| {
            let entry = entries.iter().find(|entry| entry.name == wanted);
            entry.map(|entry| entry.content.as_slice())
        };
        let is_full = content("fileset").and_then(|bytes| bytes.strip_prefix(BOM));
        if !matches!(
            is_full,
            Some(br#"{"IsFullBackup":true}"# | br#"{"IsFullBackup":false}"#)
        ) {
            checker.faults.push("its fileset entry".to_owned());
        }
        for entry in entries {
            let known = ["manifest", "fileset", "filelist.json"].contains(&entry.name.as_str());
            if !known && !entry.name.starts_with("extra/") {
                checker.faults.push(format!("the entry {}", entry.name));
            }
        }
        match content("filelist.json").and_then(|bytes| bytes.strip_prefix(BOM)) {
            Some(bytes) => checker.list(bytes),
            None => checker
                .faults
                .push("it has no list, or one without mark".to_owned()),
        }
        let own = std::mem::take(&mut checker.faults);
        faults.extend(own.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    if rules.index == IndexRule::Full {
        let Checker { blocklists, .. } = &checker;
        for key in blocklists {
            let volume = set.blocks.get(key).map(|(volume, _)| volume.as_str());
            let indexed = volume.and_then(|volume| set.indexed.get(volume));
            if indexed.is_some_and(|lists| !lists.contains(&key.0)) {
                let volume = volume.unwrap_or_default();
                faults.push(format!(
                    "{volume}: its index lacks a blocklist that is in it"
                ));
            }
        }
    }
    if !rules.unused_blocks {
        let unused = set.blocks.keys().filter(|key| !checker.used.contains(*key));
        let unused = unused.count();
        if unused > 0 {
            faults.push(format!("{unused} blocks are used by no version"));
        }
    }
}

/// What has been seen so far.
struct Checker<'a> {
    set: &'a Set,
    format: &'a Format,
    used: HashSet<Key>,
    blocklists: HashSet<Key>,
    /// Streams that were checked before, by what describes them.
    checked: HashSet<String>,
    faults: Vec<String>,
}

/// Properties of an entry up to the metadata, by type.
const FILE: [&str; 7] = [
    "type", "path", "hash", "size", "time", "metahash", "metasize",
];
const OTHER: [&str; 4] = ["type", "path", "metahash", "metasize"];

impl Checker<'_> {
    fn list(&mut self, bytes: &[u8]) {
        let json = match Json::parse(bytes) {
            Ok(json) => json,
            Err(fault) => return self.faults.push(fault),
        };
        let mut kinds: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for entry in json.array().unwrap_or_default() {
            let path = entry
                .get("path")
                .and_then(Json::bytes)
                .unwrap_or_default()
                .to_vec();
            let shown = String::from_utf8_lossy(&path).into_owned();
            let kind = entry
                .get("type")
                .and_then(Json::text)
                .unwrap_or_default()
                .to_owned();
            let before = self.faults.len();
            self.entry(entry, &kind, &path);
            for fault in self.faults.iter_mut().skip(before) {
                fault.insert_str(0, &format!("{shown:?}: "));
            }
            if kinds.insert(path, kind).is_some() {
                self.faults.push(format!("{shown:?} is twice in it"));
            }
        }
        if kinds.is_empty() {
            self.faults.push("it lists nothing".to_owned());
        }
        for path in kinds.keys() {
            let mut parents = parents(path);
            let has = |parent: &[u8]| kinds.get(parent).is_some_and(|kind| kind == "Folder");
            let nearest = parents.next();
            if nearest.is_some_and(|parent| !has(parent)) && parents.any(has) {
                let shown = String::from_utf8_lossy(path);
                self.faults
                    .push(format!("{shown:?} has no folder above it"));
            }
        }
    }

    fn entry(&mut self, entry: &Json, kind: &str, path: &[u8]) {
        let names = entry.names();
        let start: &[&str] = match kind {
            "File" => &FILE,
            "Folder" | "Symlink" => &OTHER,
            other => return self.faults.push(format!("the type {other:?}")),
        };
        let Some(rest) = names.strip_prefix(start) else {
            return self.faults.push(format!("the properties {names:?}"));
        };
        let (meta, rest) = match rest {
            [first @ ("metablocklists" | "metablockhash"), rest @ ..] => (Some(*first), rest),
            rest => (None, rest),
        };
        if !matches!(rest, [] | ["blocklists"] | ["blockhash", "blocksize"])
            || (kind != "File" && !rest.is_empty())
        {
            self.faults.push(format!("the properties {names:?}"));
        }
        if kind != "File" && meta.is_none() {
            self.faults.push("metablockhash is missing".to_owned());
        }
        let folder = path.ends_with(b"/");
        let dots = path
            .split(|byte| *byte == b'/')
            .any(|part| part == b".." || part == b".");
        if !path.starts_with(b"/")
            || dots
            || (kind == "Folder" && !folder)
            || (kind == "File" && folder)
        {
            self.faults.push("the form of its path".to_owned());
        }
        let written = self.metadata(entry, kind);
        if kind == "File" {
            self.content(entry, written);
        }
    }

    /// Checks the blob; the last change that it holds, in ticks.
    fn metadata(&mut self, entry: &Json, kind: &str) -> Option<i64> {
        let stream = Stream::of(
            entry,
            "metahash",
            "metasize",
            "metablockhash",
            "metablocklists",
        );
        if let (Some(block), Some(hash)) = (entry.get("metablockhash"), entry.get("metahash"))
            && kind == "File"
            && block == hash
        {
            self.faults
                .push("metablockhash repeats metahash".to_owned());
        }
        let bytes = self.stream(&stream, "metadata")?;
        let Some(text) = bytes.strip_prefix(BOM) else {
            self.faults.push("its metadata has no mark".to_owned());
            return None;
        };
        let json = match Json::parse(text) {
            Ok(json) => json,
            Err(fault) => {
                self.faults.push(format!("its metadata: {fault}"));
                return None;
            }
        };
        metadata_keys(&json, kind, &mut self.faults);
        json.get("CoreLastWritetime")
            .and_then(Json::text)
            .and_then(|text| text.parse().ok())
    }

    fn content(&mut self, entry: &Json, written: Option<i64>) {
        let time = entry.get("time").and_then(Json::text).unwrap_or_default();
        if !is_time(time) {
            self.faults.push(format!("the time {time:?}"));
        }
        if written.is_some_and(|ticks| ticks_text(ticks) != time) {
            self.faults
                .push(format!("{time} is not the time in its metadata"));
        }
        let stream = Stream::of(entry, "hash", "size", "blockhash", "blocklists");
        let size = stream.size.unwrap_or(-1);
        let single = size > 0 && u64::try_from(size).is_ok_and(|n| n <= self.format.blocksize);
        if stream.lists.is_some() != (size > 0 && !single) {
            self.faults.push(format!("blocklists with {size} bytes"));
        }
        if stream.block.is_some() {
            if stream.block == stream.hash || !single {
                self.faults.push("a blockhash that says nothing".to_owned());
            }
            if entry.get("blocksize").and_then(Json::number) != stream.size {
                self.faults.push("blocksize is not its size".to_owned());
            }
        }
        self.stream(&stream, "content");
    }

    /// Puts a stream together from its blocks and checks length and hash.
    fn stream(&mut self, stream: &Stream, what: &str) -> Option<Vec<u8>> {
        let (Some(size), Some(hash)) = (
            stream.size.and_then(|size| usize::try_from(size).ok()),
            stream.hash.as_deref().and_then(parse_hash),
        ) else {
            self.faults.push(format!("its {what} has no size or hash"));
            return None;
        };
        let known = !self.checked.insert(format!("{stream:?}"));
        if known && what == "content" {
            return None;
        }
        let blocksize = usize::try_from(self.format.blocksize).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        if size > 0 {
            let blocks = match &stream.lists {
                Some(lists) => self.listed_blocks(lists, size, what)?,
                None => {
                    let block = stream.block.as_deref().and_then(parse_hash);
                    vec![block.unwrap_or_else(|| hash.clone())]
                }
            };
            for (number, block) in blocks.into_iter().enumerate() {
                let len = blocksize.min(size.saturating_sub(number * blocksize));
                let key = (block, len);
                let Some((_, content)) = self.set.blocks.get(&key) else {
                    self.faults
                        .push(format!("block {number} of its {what} is nowhere"));
                    return None;
                };
                bytes.extend_from_slice(content);
                self.used.insert(key);
            }
        }
        if bytes.len() != size {
            self.faults
                .push(format!("its {what} has {} bytes, not {size}", bytes.len()));
        }
        if self.format.hash_file(&bytes) != hash {
            self.faults.push(format!("its {what} has another hash"));
        }
        Some(bytes)
    }

    /// The hashes in blocklists, which must be full but for the last.
    fn listed_blocks(
        &mut self,
        lists: &[Option<Vec<u8>>],
        size: usize,
        what: &str,
    ) -> Option<Vec<Vec<u8>>> {
        let width = self.format.block_hash_len();
        let blocksize = usize::try_from(self.format.blocksize).unwrap_or(usize::MAX);
        let (count, group) = (size.div_ceil(blocksize), (blocksize / width).max(1));
        if lists.len() != count.div_ceil(group) {
            self.faults
                .push(format!("its {what} has {} blocklists", lists.len()));
            return None;
        }
        let mut blocks = Vec::new();
        for (number, list) in lists.iter().enumerate() {
            let here = group.min(count - number * group);
            let key = (list.clone().unwrap_or_default(), here * width);
            let Some((_, content)) = self.set.blocks.get(&key) else {
                self.faults
                    .push(format!("blocklist {number} of its {what} is nowhere"));
                return None;
            };
            blocks.extend(content.chunks(width).map(<[u8]>::to_vec));
            self.used.insert(key.clone());
            self.blocklists.insert(key);
        }
        Some(blocks)
    }
}

/// The description of a file's content or of its metadata.
#[derive(Debug)]
struct Stream {
    hash: Option<String>,
    size: Option<i64>,
    block: Option<String>,
    lists: Option<Vec<Option<Vec<u8>>>>,
}

impl Stream {
    fn of(entry: &Json, hash: &str, size: &str, block: &str, lists: &str) -> Self {
        let text = |name: &str| entry.get(name).and_then(Json::text).map(str::to_owned);
        let lists = entry.get(lists).and_then(Json::array);
        Self {
            hash: text(hash),
            size: entry.get(size).and_then(Json::number),
            block: text(block),
            lists: lists.map(|l| {
                l.iter()
                    .map(|hash| hash.text().and_then(parse_hash))
                    .collect()
            }),
        }
    }
}

/// All folders above a path, the nearest first, with their separators.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bare = path.strip_suffix(b"/").unwrap_or(path);
    let ends = bare
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/');
    ends.map(|(at, _)| bare.get(..=at).unwrap_or_default())
}

/// Order of the keys of metadata; keys of one rank may follow each other.
fn rank(key: &str) -> Option<usize> {
    let order = [
        "unix:uid-gid-perm",
        "unix:owner-name",
        "unix:group-name",
        "macos:flags",
        "macos:acl",
        "CoreAttributes",
        "CoreLastWritetime",
        "CoreCreatetime",
        "CoreSymlinkTarget",
    ];
    if key.starts_with("unix-ext:") || key.starts_with("win-ext:") {
        return Some(0);
    }
    if key.starts_with("larder:") {
        return Some(order.len() + 1);
    }
    order
        .iter()
        .position(|known| *known == key)
        .map(|at| at + 1)
}

fn metadata_keys(json: &Json, kind: &str, faults: &mut Vec<String>) {
    let Some(properties) = json.object() else {
        faults.push("its metadata is no object".to_owned());
        return;
    };
    let ranks: Vec<_> = properties.iter().map(|(key, _)| rank(key)).collect();
    if ranks.contains(&None) || !ranks.is_sorted() {
        faults.push(format!("its metadata has the keys {:?}", json.names()));
    }
    if properties.iter().any(|(_, value)| value.bytes().is_none()) {
        faults.push("its metadata has a value that is no text".to_owned());
    }
    let text = |key: &str| json.get(key).and_then(Json::text);
    if (kind == "Symlink") != json.get("CoreSymlinkTarget").is_some() {
        faults.push("a link without target, or a target without link".to_owned());
    }
    for (key, value) in properties
        .iter()
        .filter(|(key, _)| key.starts_with("unix-ext:"))
    {
        if value
            .text()
            .and_then(parse_hash)
            .is_none_or(|value| value.is_empty())
        {
            faults.push(format!("{key} is no Base64"));
        }
    }
    if let Some(numbers) = text("unix:uid-gid-perm") {
        let numbers: Vec<Option<u32>> = numbers.split('-').map(|n| n.parse().ok()).collect();
        if !matches!(numbers.as_slice(), [Some(_), Some(_), Some(mode)] if *mode <= 0o7777) {
            faults.push(format!("unix:uid-gid-perm is {numbers:?}"));
        }
    }
    let ticks = |key: &str| text(key).map(str::parse::<i64>);
    let (write, create) = (ticks("CoreLastWritetime"), ticks("CoreCreatetime"));
    match (&write, &create) {
        (None, None) => {}
        (Some(Ok(write)), Some(Ok(create))) if create <= write => {}
        _ => faults.push(format!("its times are {write:?} and {create:?}")),
    }
    if let Some(attributes) = text("CoreAttributes") {
        let order = ["ReadOnly", "Hidden", "Directory", "Normal", "ReparsePoint"];
        let places: Vec<_> = attributes
            .split(", ")
            .map(|one| order.iter().position(|known| *known == one))
            .collect();
        if places.contains(&None) || !places.is_sorted() {
            faults.push(format!("the attributes {attributes:?}"));
        }
        if kind == "Folder" && !attributes.contains("Directory") {
            faults.push(format!("a folder with the attributes {attributes:?}"));
        }
    }
}

/// Seconds between the years 1 and 1970.
const TO_1970: i64 = 62_135_596_800;

/// A .NET time, down to the second, as it stands in lists.
fn ticks_text(ticks: i64) -> String {
    let seconds = ticks.div_euclid(10_000_000) - TO_1970;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01 in eras of 400 years, whose months are counted from March.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year + era * 400, month + 3)
    } else {
        (year + era * 400 + 1, month - 9)
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}
