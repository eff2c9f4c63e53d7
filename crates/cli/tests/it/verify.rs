//! `test` and `repair`.

use super::support::Place;

/// Changes one byte in the middle of a file.
fn flip(place: &Place, name: &str) {
    let path = place.path(&format!("destination/{name}"));
    let mut bytes = std::fs::read(&path).expect("a volume");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn undamaged_volumes() {
    let place = Place::with_backup();
    place
        .on("test", [""; 0])
        .code(0)
        .says("Examined 3 files and found no errors\n");
    let ran = place.on("verify", ["ALL", "--full-result"]).code(0);
    assert_eq!(ran.out.matches(": No errors\n").count(), 3);
}

#[test]
fn damage_is_named_with_what_it_hurts_and_ends_with_3() {
    let place = Place::with_backup();
    place.write("source/second.txt", b"in another volume");
    let first = place.stored_with("dblock");
    place.backup(&[]).code(0);
    flip(&place, &first[0]);
    let ran = place.on("test", ["all"]).code(3);
    let name = &first[0];
    for text in [
        format!("{name}: 1 error\n\tModified: ").as_str(),
        &format!("{name} hurts "),
        " in the versions 0, 1:\n",
        &format!("\t{}/letter.txt\n", place.text("source")),
        "Examined 6 files, 1 of them is damaged\n",
    ] {
        assert!(
            ran.out.contains(text) || ran.out.contains(&text.replace("Modified", "Error")),
            "{text}\n{}",
            ran.out
        );
    }
    assert!(!ran.out.contains("second.txt"), "{}", ran.out);
}

#[test]
fn a_missing_volume_is_damage() {
    let place = Place::with_backup();
    let first = place.stored_with("dblock");
    std::fs::remove_file(place.path(&format!("destination/{}", first[0]))).expect("removed");
    place
        .on("test", ["all"])
        .code(3)
        .says(&format!("\n{}: ", first[0]))
        .says("\tMissing: the file is not in the destination any more\n");
}

#[test]
fn nothing_to_verify_is_a_failure() {
    let place = Place::new();
    std::fs::create_dir(place.path("destination")).expect("a folder");
    place
        .on("test", ["all"])
        .code(100)
        .fails_with("EmptyRemoteLocation");
}

#[test]
fn repair_rebuilds_and_says_so() {
    let place = Place::with_backup();
    place
        .on("repair", [""; 0])
        .code(0)
        .says("The local catalog is up to date: 3 volumes, ");
    place.lose_state();
    place
        .on("repair", [""; 0])
        .code(0)
        .says("Built the local catalog anew: 3 volumes, ")
        .says(", 1 version\n");
    let index = place.stored_with("dindex");
    std::fs::remove_file(place.path(&format!("destination/{}", index[0]))).expect("removed");
    place
        .on("repair", [""; 0])
        .code(0)
        .says("Wrote 1 missing index file");
    assert_eq!(place.stored_with("dindex").len(), 1);
    place.on("test", ["all"]).code(0);
}
