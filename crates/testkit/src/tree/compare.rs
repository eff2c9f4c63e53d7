//! What differs between two trees.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::manifest::{Entry, Kind, Manifest, as_path};

/// What counts as a difference; by default everything does.
///
/// Facts that one side does not know are never compared.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// The bits of the mode that are compared; Duplicati keeps `0777` only.
    pub mode_mask: u32,
    /// Times are compared in units of so many nanoseconds, rounded down: 100 for what Duplicati keeps, 0 for not at
    /// all.
    pub mtime_unit_ns: u32,
    /// Compare the times of folders.
    pub folder_mtimes: bool,
    /// Compare the times of links.
    pub link_mtimes: bool,
    /// Compare extended attributes.
    pub xattrs: bool,
    /// Compare owner and group.
    pub owners: bool,
    /// Compare which names are the same file.
    pub hard_links: bool,
    /// Compare pipes, sockets and devices, which backups leave out.
    pub specials: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            mode_mask: 0o7777,
            mtime_unit_ns: 1,
            folder_mtimes: true,
            link_mtimes: true,
            xattrs: true,
            owners: true,
            hard_links: true,
            specials: true,
        }
    }
}

impl CompareOptions {
    /// Types, names, link targets and contents only.
    #[must_use]
    pub fn content_only() -> Self {
        Self {
            mode_mask: 0,
            mtime_unit_ns: 0,
            folder_mtimes: false,
            link_mtimes: false,
            xattrs: false,
            owners: false,
            hard_links: false,
            specials: false,
        }
    }

    /// All that a backup keeps: pipes and the like are left out, several names become several files.
    #[must_use]
    pub fn backed_up() -> Self {
        Self {
            hard_links: false,
            specials: false,
            ..Self::default()
        }
    }
}

/// One difference between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path relative to the roots, as raw bytes; empty for a tree that cannot be read at all.
    pub path: Vec<u8>,
    /// What differs, with both values.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", as_path(&self.path), self.what)
    }
}

/// Compares two trees; an unreadable one is a difference.
#[must_use]
pub fn compare(a: &Path, b: &Path, options: &CompareOptions) -> Vec<Difference> {
    match (Manifest::of(a), Manifest::of(b)) {
        (Ok(a), Ok(b)) => compare_manifests(&a, &b, options),
        (Err(error), _) | (_, Err(error)) => vec![Difference {
            path: Vec::new(),
            what: error.to_string(),
        }],
    }
}

/// Compares a tree with a manifest: the manifest is what should be.
#[must_use]
pub fn compare_with_manifest(
    root: &Path,
    manifest: &Manifest,
    options: &CompareOptions,
) -> Vec<Difference> {
    match Manifest::of(root) {
        Ok(found) => compare_manifests(manifest, &found, options),
        Err(error) => vec![Difference {
            path: Vec::new(),
            what: error.to_string(),
        }],
    }
}

/// Compares two manifests: `a` is what should be, `b` what is. Differences come in the order of paths.
#[must_use]
pub fn compare_manifests(a: &Manifest, b: &Manifest, options: &CompareOptions) -> Vec<Difference> {
    let mut paths: BTreeMap<&[u8], (Option<&Entry>, Option<&Entry>)> = BTreeMap::new();
    for (path, entry) in &a.entries {
        paths.entry(path).or_default().0 = Some(entry);
    }
    for (path, entry) in &b.entries {
        paths.entry(path).or_default().1 = Some(entry);
    }
    let mut differences = Vec::new();
    for (path, pair) in paths {
        let mut found = |what: String| {
            differences.push(Difference {
                path: path.to_vec(),
                what,
            })
        };
        let counts = |entry: &&Entry| options.specials || !matches!(entry.kind, Kind::Special(_));
        match (pair.0.filter(counts), pair.1.filter(counts)) {
            (Some(a), Some(b)) => compare_entries(a, b, options, &mut found),
            (Some(a), None) => found(format!("the {} is missing", a.kind.label())),
            (None, Some(b)) => found(format!("there is a {} too many", b.kind.label())),
            (None, None) => {}
        }
    }
    differences
}

fn compare_entries(a: &Entry, b: &Entry, options: &CompareOptions, found: &mut dyn FnMut(String)) {
    match (&a.kind, &b.kind) {
        (Kind::File { size: a, .. }, Kind::File { size: b, .. }) if a != b => {
            found(format!("size {b} instead of {a}"));
        }
        (Kind::File { sha256: a, .. }, Kind::File { sha256: b, .. }) if a != b => {
            found("other content of the same size".to_owned());
        }
        (Kind::Link { target: a }, Kind::Link { target: b }) if a != b => {
            found(format!(
                "it leads to {:?} instead of {:?}",
                as_path(b),
                as_path(a)
            ));
        }
        (a, b) if a.label() != b.label() => {
            found(format!("{} instead of {}", b.label(), a.label()));
            return;
        }
        _ => {}
    }
    if let Some((a, b)) = both(a.mode, b.mode, |mode| mode & options.mode_mask) {
        found(format!("mode {b:04o} instead of {a:04o}"));
    }
    let compares_time = match a.kind {
        Kind::Folder => options.folder_mtimes,
        Kind::Link { .. } => options.link_mtimes,
        Kind::File { .. } | Kind::Special(_) => true,
    };
    let unit = i128::from(options.mtime_unit_ns);
    if compares_time
        && unit > 0
        && let Some((a, b)) = both(a.mtime_ns, b.mtime_ns, |time| time.div_euclid(unit))
    {
        found(format!("time {b} instead of {a} ({unit} ns)"));
    }
    if options.owners
        && let Some((a, b)) = both(a.owner, b.owner, |owner| owner)
    {
        found(format!("owner {b:?} instead of {a:?}"));
    }
    if options.xattrs
        && let Some((a, b)) = both(a.xattrs.as_ref(), b.xattrs.as_ref(), |xattrs| xattrs)
    {
        found(format!("attributes {} instead of {}", show(b), show(a)));
    }
    if options.hard_links {
        if let Some((a, b)) = both(a.nlink, b.nlink, |count| count) {
            found(format!("{b} names instead of {a}"));
        }
        if a.same_as.is_some() && b.same_as.is_some() && a.same_as != b.same_as {
            found("it is the same file as another one".to_owned());
        }
    }
}

/// Both values in the form to compare, when both are known and differ.
fn both<T, U: PartialEq>(a: Option<T>, b: Option<T>, form: impl Fn(T) -> U) -> Option<(U, U)> {
    let (a, b) = (form(a?), form(b?));
    (a != b).then_some((a, b))
}

fn show(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let shown = xattrs.iter().map(|(name, value)| {
        format!(
            "{}={:?}",
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value)
        )
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}
