//! The local catalog and `dbconfig.json`: a cache that may be lost, damaged, shared or out of reach.

use super::support::{PASSPHRASE, Place, as_plain_user};

#[test]
fn one_entry_for_each_destination() {
    let place = Place::with_backup();
    place.backup(&[]).code(1);
    let list = std::fs::read(place.path("state/larder/dbconfig.json")).expect("the list");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
    let entries = list.as_array().expect("a list");
    assert_eq!(entries.len(), 1);
    let identity = entries[0]["Place"].as_str().expect("an identity");
    assert!(identity.starts_with("file"), "{identity}");
    assert!(identity.contains(&place.text("destination")), "{identity}");
    assert_eq!(entries[0]["Prefix"], "duplicati");
    let name = entries[0]["Databasepath"].as_str().expect("a name");
    assert!(name.ends_with(".sqlite") && name.len() == 17, "{name}");
    assert!(place.path(&format!("state/larder/{name}")).exists());
    use std::os::unix::fs::PermissionsExt;
    let folder = std::fs::metadata(place.path("state/larder")).expect("the folder");
    assert_eq!(folder.permissions().mode() & 0o077, 0, "only for its owner");
}

#[test]
fn lost_and_damaged_state_is_made_anew() {
    let place = Place::with_backup();
    let damages: [&dyn Fn(); 4] = [
        &|| place.lose_state(),
        &|| place.write("state/larder/dbconfig.json", b"{ broken"),
        &|| {
            for (path, content) in place.snapshot("state") {
                if path.to_string_lossy().ends_with(".sqlite") {
                    std::fs::write(&path, &content[..content.len() / 2]).expect("cut");
                }
            }
        },
        &|| {
            for (path, mut content) in place.snapshot("state") {
                if path.to_string_lossy().ends_with(".sqlite") {
                    let middle = content.len() / 2;
                    content[middle] ^= 0xff;
                    std::fs::write(&path, content).expect("flipped");
                }
            }
        },
    ];
    for (round, damage) in damages.iter().enumerate() {
        damage();
        place.backup(&[]).code(1);
        damage();
        place.write("source/round", format!("{round}").as_bytes());
        place.backup(&[]).code(0);
        damage();
        place.restore(&format!("out{round}"), &[]).code(0);
        damage();
        place.on("test", ["all"]).code(0);
    }
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    // Duplicati's has no id; some programs give theirs one.
    for id in [0, 7] {
        let place = Place::with_source();
        let mut foreign = b"SQLite format 3\0".to_vec();
        foreign.resize(4096, 0);
        foreign[71] = id;
        place.write("theirs.sqlite", &foreign);
        let option = format!("--dbpath={}", place.text("theirs.sqlite"));
        place.backup(&[&option]).code(0);
        assert_eq!(
            std::fs::read(place.path("theirs.sqlite")).expect("it"),
            foreign
        );
        assert!(place.path("theirs.sqlite.larder").exists());
    }
}

#[test]
fn reading_works_where_nothing_can_be_kept() {
    let place = Place::with_backup();
    super::support::open_to_all(&place.path("destination"));
    place.lose_state();
    // The state is a file, so no folder can be made there.
    place.write("state", b"in the way");
    place.on("list", [""; 0]).code(0).says("0\t: ");
    place
        .restore("out", &["--console-log-level=Information"])
        .code(0)
        .says("a temporary catalog is used instead");
    place
        .backup(&[])
        .code(100)
        .fails_with("DataFolderNotWritable");
    let Some(ran) = as_plain_user(&place, &place.full("list", [""; 0])) else {
        return;
    };
    ran.code(0);
    let left: Vec<_> = std::fs::read_dir(place.path(""))
        .expect("the place")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name.starts_with("larder-") && name != "larder-for-all")
        .collect();
    assert_eq!(left, [""; 0], "temporary catalogs are removed");
}

#[test]
fn starting_many_at_once_makes_one_entry() {
    let place = Place::with_backup();
    place.lose_state();
    let passphrase = format!("--passphrase={PASSPHRASE}");
    let children: Vec<_> = (0..8)
        .map(|_| {
            place
                .command(["list", place.url().as_str(), &passphrase])
                .spawn()
                .expect("it starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        super::support::Ran::of(output).code(0).says("0\t: ");
    }
    let list = std::fs::read(place.path("state/larder/dbconfig.json")).expect("the list");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}
