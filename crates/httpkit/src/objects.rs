//! What flat object stores have in common: keys below a prefix, pages that may overlap, parts with tags.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder_destination::{Error, RemoteFile, Result};

use crate::chunked::Chunked;
use crate::encode;
use crate::retry::RetryPolicy;

/// What stands before the names of all files of a destination: empty, or folders with a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Reads the path of a storage URL; one slash at its end makes no difference.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](larder_destination::ErrorKind::Config) for `.` or `..` as a folder.
    pub fn parse(provider: &'static str, path: &str) -> Result<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.split('/').any(|part| part == "." || part == "..") {
            let text = "the path in the URL has . or .. as a folder";
            return Err(Error::config(provider, text));
        }
        let slash = if path.is_empty() { "" } else { "/" };
        Ok(Self(format!("{path}{slash}")))
    }

    /// The prefix as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The prefix without the slash at its end, for [`Place`](larder_destination::Place): unlike folders of a file system,
    /// those with empty names are different ones.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or_default()
    }

    /// The key of a file.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    /// The file with this key, or the folder that it lies in; nothing for a key outside the prefix. What else is known of
    /// a file is for the caller to fill in.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<RemoteFile> {
        let below = key.strip_prefix(&self.0)?;
        let (name, is_folder) = match below.split_once('/') {
            Some((folder, _)) => (folder, true),
            None => (below, false),
        };
        (!name.is_empty()).then(|| RemoteFile {
            name: name.to_owned(),
            size: None,
            modified: None,
            is_folder,
            is_archived: false,
        })
    }
}

/// Sizes and pauses of uploads that users cannot choose; tests choose others.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// First pause before a request is sent again; see [`RetryPolicy::first`].
    pub first_pause: Duration,
    /// Bodies above this length in bytes are sent in parts.
    pub parts_above: u64,
    /// Least length of a part in bytes; most services want at least 5 MiB.
    pub part_bytes: u64,
    /// Parts on their way at the same time, as long as they have their least length.
    pub parts_at_once: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            first_pause: RetryPolicy::default().first,
            parts_above: 100 << 20,
            part_bytes: 8 << 20,
            parts_at_once: 3,
        }
    }
}

impl Tuning {
    /// How a body of `len` bytes is cut into at most `most` parts. Parts that have to be longer than usual are whole MiB
    /// and go one by one, since they are held in memory.
    #[must_use]
    pub fn parts(&self, len: u64, most: u64) -> Chunked {
        let part_len = len.div_ceil(most).next_multiple_of(1 << 20);
        let is_usual = part_len <= self.part_bytes;
        Chunked {
            part_len: part_len.max(self.part_bytes),
            at_once: if is_usual { self.parts_at_once } else { 1 },
        }
    }
}

/// The MD5 of a file that an entity tag is: many stores give it in quotes. Anything else gives nothing.
#[must_use]
pub fn etag_md5(etag: &str) -> Option<Vec<u8>> {
    let md5 = encode::unhex(etag.trim().trim_matches('"'))?;
    (md5.len() == 16).then_some(md5)
}

/// Drops what a page repeats: of itself, and of the page before. Farther pages of a server do not overlap.
#[derive(Debug, Default)]
pub struct Overlap(Mutex<HashSet<String>>);

impl Overlap {
    /// Takes the next page.
    pub fn drop_from(&self, items: &mut Vec<RemoteFile>) {
        let mut last = lock(&self.0);
        let mut names = HashSet::new();
        items.retain(|item| names.insert(item.name.clone()) && !last.contains(&item.name));
        *last = names;
    }
}

/// The tags of the parts of an upload, which arrive in any order.
#[derive(Debug, Default)]
pub struct PartTags(Mutex<BTreeMap<u64, String>>);

impl PartTags {
    /// Remembers the tag of a part.
    pub fn keep(&self, number: u64, tag: String) {
        lock(&self.0).insert(number, tag);
    }

    /// The tags in the order of their numbers.
    #[must_use]
    pub fn in_order(&self) -> Vec<String> {
        lock(&self.0).values().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_below_the_prefix_are_files_and_folders() -> Result<()> {
        let prefix = Prefix::parse("test", "a/b/")?;
        assert_eq!((prefix.as_str(), prefix.key("x")), ("a/b/", "a/b/x".into()));
        assert_eq!(prefix, Prefix::parse("test", "a/b")?);
        assert_eq!(Prefix::parse("test", "")?.as_str(), "");
        for (key, expected) in [
            ("a/b/x", Some(("x", false))),
            ("a/b/c/x", Some(("c", true))),
            ("a/b/", None),
            ("a/bx", None),
        ] {
            let found = prefix.entry(key);
            let found = found
                .as_ref()
                .map(|file| (file.name.as_str(), file.is_folder));
            assert_eq!(found, expected, "{key}");
        }
        assert!(Prefix::parse("test", "a/../b").is_err());
        Ok(())
    }

    #[test]
    fn parts_grow_with_the_body_and_then_go_one_by_one() {
        let tuning = Tuning::default();
        for (len, part_len, at_once) in [
            (0, 8 << 20, 3),
            (80_000 << 20, 8 << 20, 3),
            ((80_000 << 20) + 1, 9 << 20, 1),
        ] {
            let cut = tuning.parts(len, 10_000);
            assert_eq!((cut.part_len, cut.at_once), (part_len, at_once), "{len}");
        }
    }

    #[test]
    fn only_an_md5_counts_in_an_entity_tag() {
        let md5 = "\"d41d8cd98f00b204e9800998ecf8427e\"";
        assert_eq!(etag_md5(md5).map(|md5| md5.len()), Some(16));
        assert_eq!(etag_md5("\"d41d8cd98f00b204e9800998ecf8427e-2\""), None);
        assert_eq!(etag_md5("\"00\""), None);
    }

    #[test]
    fn repeated_names_are_dropped() -> Result<()> {
        let prefix = Prefix::parse("test", "")?;
        let overlap = Overlap::default();
        let page = |names: &[&str]| {
            let mut page: Vec<_> = names.iter().filter_map(|name| prefix.entry(name)).collect();
            overlap.drop_from(&mut page);
            page.into_iter().map(|file| file.name).collect::<Vec<_>>()
        };
        assert_eq!(page(&["a", "b", "b"]), ["a", "b"]);
        assert_eq!(page(&["b", "c"]), ["c"]);
        Ok(())
    }
}
