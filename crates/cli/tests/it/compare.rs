//! `compare`: what differs between two versions.

use super::support::Place;

/// Three versions: one file stays, one changes, one goes, a folder comes.
fn three_versions() -> Place {
    let place = Place::new();
    place.write("source/same", b"same");
    place.write("source/changes", b"12345");
    place.write("source/goes", b"123");
    place.backup(&[]).code(0);
    std::fs::remove_file(place.path("source/goes")).expect("removed");
    place.write("source/changes", b"1234567");
    place.write("source/folder/new", b"12");
    place.backup(&[]).code(0);
    std::os::unix::fs::symlink("same", place.path("source/link")).expect("a link");
    place.backup(&[]).code(0);
    place
}

/// Without the two lines that hold times.
fn told(place: &Place, arguments: &[&str]) -> String {
    let ran = place.on("compare", arguments).code(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    let (head, rest) = lines.split_at(3);
    assert_eq!(head[0], "Listing changes");
    let numbers: Vec<&str> = head[1..]
        .iter()
        .filter_map(|line| {
            line.trim_start()
                .split_once(": 20")
                .map(|(number, _)| number)
        })
        .collect();
    format!("{}\n{}", numbers.join(","), rest.join("\n"))
}

#[test]
fn changes_come_in_groups_as_in_duplicati() {
    let place = three_versions();
    let source = place.text("source");
    let expected = format!(
        "2,1

Size of backup 2: 12 bytes

  2 added entries:
  + {source}/folder/
  + {source}/folder/new

  2 modified entries:
  ~ {source}/
  ~ {source}/changes

  1 deleted entries:
  - {source}/goes

  Added folders: 1
  Added files: 1
  Deleted files: 1
  Modified folders: 1
  Modified files: 1
  Modified in their metadata only: 1
Size of backup 1: 13 bytes"
    );
    assert_eq!(told(&place, &["2", "1"]), expected);
    // Without the local state the lists are read.
    place.lose_state();
    assert_eq!(told(&place, &["2", "1"]), expected);
    // The two newest; one against the newest.
    assert!(told(&place, &[]).starts_with("1,0\n"));
    assert!(told(&place, &["2"]).starts_with("2,0\n"));
    // Filters choose paths, and the sizes are of what they choose.
    let some = told(&place, &["2", "1", "--include=*/changes", "--exclude=*"]);
    assert!(some.contains("Size of backup 2: 5 bytes"), "{some}");
    assert!(some.contains("  1 modified entries:"), "{some}");
    assert!(!some.contains("added"), "{some}");
}

#[test]
fn versions_that_cannot_be_compared() {
    let place = three_versions();
    for (arguments, id) in [
        (&["9", "0"][..], "NoSuchVersion"),
        (&["0", "0"], "SameVersion"),
        (&["0"], "SameVersion"),
    ] {
        place.on("compare", arguments).code(100).fails_with(id);
    }
    place.on("compare", ["2", "1", "0"]).code(200);
}

#[test]
fn two_equal_versions() {
    let place = three_versions();
    place.backup(&["--upload-unchanged-backups"]).code(0);
    let text = told(&place, &[]);
    assert!(text.contains("No changes found"), "{text}");
    let ran = place.on("compare", ["3", "0", "--json"]).code(0);
    let result = ran.json();
    assert_eq!(result["ChangeDetailsActualLength"], 6);
    assert_eq!(result["ChangeDetails"][0]["Item1"], "Modified");
    assert_eq!(result["PreviousSize"], 12);
}
