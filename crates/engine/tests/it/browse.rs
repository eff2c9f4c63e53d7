//! Looking into versions: what a real Duplicati stored, what it costs, and trouble on the way.

use std::collections::{BTreeMap, BTreeSet};

use larder_destination::Operation;
use larder_engine::{Change, FolderRequest, FoundEntry, HistoryRequest, SearchRequest};
use larder_testkit::tree::{Kind, Manifest};
use larder_volume::VolumeKind::List;

use crate::rig::Rig;
use crate::support::{User, fixture};

/// Sets of which every version's tree is known and stored as it is.
const SETS: [&str; 6] = [
    "aes-default",
    "compacted",
    "index-none",
    "released-2.0.9.100",
    "released-2.3.0.4",
    "sha512-md5",
];

/// What a version has: the size of each path, −1 for folders and links. Paths stand without a separator at the end.
type Sizes = BTreeMap<String, i64>;

/// The same from the tree that was backed up.
fn sizes_of(root: &[u8], tree: &Manifest) -> Sizes {
    let sizes = tree.entries.iter().filter_map(|(path, entry)| {
        let path = String::from_utf8([root, path].concat()).ok()?;
        let size = match &entry.kind {
            Kind::File { size, .. } => i64::try_from(*size).expect("a size"),
            _ => -1,
        };
        Some((path, size))
    });
    sizes.collect()
}

/// What is the same in two versions when the content is.
fn content_of(tree: &Manifest, path: &[u8]) -> Option<Kind> {
    Some(tree.entries.get(path)?.kind.clone())
}

fn without_separator(path: &str) -> String {
    path.strip_suffix('/').unwrap_or(path).to_owned()
}

fn versions_of(user: &User, paths: Vec<String>) -> Vec<FoundEntry> {
    let request = HistoryRequest {
        paths,
        ..HistoryRequest::default()
    };
    let report = user.run(&[], |run| run.list_file_versions(&request));
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", user.log.text()));
    assert!(report.unreadable_versions.is_empty());
    report.file_versions.to_vec().expect("read")
}

fn listed(user: &User, version: usize, folders: &[&str]) -> Vec<FoundEntry> {
    let request = FolderRequest {
        folders: folders.iter().map(|folder| (*folder).to_owned()).collect(),
        ..FolderRequest::default()
    };
    let version = format!("--version={version}");
    let report = user.run(&[&version], |run| run.list_folder(&request));
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", user.log.text()));
    report.entries.to_vec().expect("read")
}

/// Sizes under the right versions, which a real Duplicati with its database does not show.
#[test]
fn every_path_of_a_set_has_its_size_under_the_right_versions() {
    for set in SETS.map(fixture) {
        let destination = set.destination();
        let user = set.user(&destination, &[]);
        // Newest first, as versions are numbered.
        let trees: Vec<&Manifest> = set.versions.iter().rev().flatten().collect();
        let sizes: Vec<Sizes> = trees.iter().map(|tree| sizes_of(&set.root, tree)).collect();
        let paths: BTreeSet<&String> = sizes.iter().flat_map(BTreeMap::keys).collect();
        let found = versions_of(&user, paths.into_iter().cloned().collect());
        let mut shown = vec![Sizes::new(); trees.len()];
        for entry in &found {
            let path = without_separator(&entry.path);
            let version = usize::try_from(entry.version).expect("a small number");
            let relative = &path.as_bytes()[set.root.len()..];
            let content = |at: usize| content_of(trees.get(at)?, relative);
            let expected = match content(version + 1) {
                None => Change::Added,
                before if before == content(version) => Change::Unchanged,
                Some(_) => Change::Modified,
            };
            let is_link = matches!(content(version), Some(Kind::Link { .. }));
            assert_eq!(entry.is_symlink, is_link, "{}: {entry:?}", set.name);
            let turned = content(version + 1).is_some_and(|before| {
                Some(before.label()) != content(version).as_ref().map(Kind::label)
            });
            // The metadata of a link, where its target stands, has its time too. What became something else may have another
            // path, with or without the separator.
            if !is_link && !turned {
                assert_eq!(entry.change, Some(expected), "{}: {entry:?}", set.name);
            }
            assert_eq!(entry.size < 0, entry.last_modified.is_none(), "{entry:?}");
            shown[version].insert(path, entry.size);
        }
        assert_eq!(shown, sizes, "{}", set.name);
        // A search for everything finds the same, and the root itself.
        let root = String::from_utf8(set.root.clone()).expect("UTF-8");
        let everything = SearchRequest {
            arguments: vec!["/".to_owned()],
            ..SearchRequest::default()
        };
        let report = user
            .run(&[], |run| run.search_files(&everything))
            .expect("found");
        let mut all = report.file_versions.to_vec().expect("read");
        all.retain(|entry| entry.path != root);
        assert!(all == found, "{}", set.name);
    }
}

#[test]
fn every_folder_of_a_set_has_what_the_tree_has() {
    let set = fixture("released-2.3.0.4");
    let destination = set.destination();
    let user = set.user(&destination, &[]);
    for (version, tree) in set.versions.iter().rev().flatten().enumerate() {
        let sizes = sizes_of(&set.root, tree);
        let root = String::from_utf8(set.root.clone()).expect("UTF-8");
        let folders = tree.entries.iter().filter(|(_, e)| e.kind == Kind::Folder);
        let folders = folders.filter_map(|(path, _)| String::from_utf8(path.clone()).ok());
        let folders = folders.map(|path| format!("{root}{path}/"));
        for folder in folders.chain([root.clone()]) {
            let expected: Vec<(String, i64)> = sizes
                .iter()
                .filter(|(path, _)| {
                    path.rfind('/') == Some(folder.len() - 1) && path.starts_with(&folder)
                })
                .map(|(path, size)| (path.clone(), *size))
                .collect();
            let mut found: Vec<(String, i64)> = listed(&user, version, &[&folder])
                .into_iter()
                .map(|entry| (without_separator(&entry.path), entry.size))
                .collect();
            found.sort();
            assert_eq!(found, expected, "{folder} in version {version}");
        }
        let top: Vec<String> = listed(&user, version, &[])
            .into_iter()
            .map(|e| e.path)
            .collect();
        assert_eq!(top, [root]);
    }
}

#[test]
fn what_the_catalog_knows_costs_one_listing() {
    let mut rig = Rig::new();
    rig.fill(5, 20, 30_000);
    for number in 0..3_u8 {
        rig.write("changes", [number]);
        rig.backup();
    }
    let source = rig.source().to_str().expect("UTF-8").to_owned();
    let look = |rig: &mut Rig| {
        rig.journal.clear();
        let run = rig.open().expect("opened");
        let history = HistoryRequest {
            paths: vec![format!("{source}/changes")],
            ..HistoryRequest::default()
        };
        let found = run
            .list_file_versions(&history)
            .expect("found")
            .file_versions;
        let changes: Vec<_> = found
            .to_vec()
            .expect("read")
            .iter()
            .map(|e| e.change)
            .collect();
        let folders = FolderRequest {
            folders: vec![source.clone()],
            ..FolderRequest::default()
        };
        let entries = run.list_folder(&folders).expect("listed").entries;
        let there = std::fs::read_dir(&source).expect("a folder").count();
        assert_eq!(entries.total_count(), there as u64);
        run.repository().close().expect("the catalog closes");
        assert_eq!(rig.journal.count(Operation::Put), 0);
        changes
    };
    use Change::{Added, Modified};
    let expected = [Some(Modified), Some(Modified), Some(Added)];
    assert_eq!(look(&mut rig), expected);
    assert_eq!(rig.gets(), []);
    assert_eq!(rig.journal.count(Operation::List), 2);
    // Without local state each list is read once, and no index.
    rig.lose_state();
    assert_eq!(look(&mut rig), expected);
    assert_eq!(rig.gets(), [List, List, List]);
    assert_eq!(look(&mut rig), expected);
    assert_eq!(rig.gets(), []);
}
