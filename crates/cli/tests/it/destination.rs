//! `destination`: files at a destination as they are, and the test of everything that a backup does there.

use super::support::{Place, Ran};

/// Runs the program under the name that it has in Duplicati's packages.
pub fn old(place: &Place, name: &str, args: &[&str]) -> Ran {
    let program = place.path(name);
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_larder"), &program).expect("a link");
    }
    let command = std::process::Command::new(program);
    Ran::of(
        place
            .prepared(command, args)
            .output()
            .expect("the program starts"),
    )
}

#[test]
fn the_words_of_the_backend_tool_work_under_both_names() {
    let place = Place::new();
    let url = place.url();
    place.write("up/one two.txt", b"content");
    for (round, run) in [
        (&|args: &[&str]| place.run([&["destination"], args].concat())) as &dyn Fn(&[&str]) -> Ran,
        &|args: &[&str]| old(&place, "duplicati-backend-tool", args),
    ]
    .iter()
    .enumerate()
    {
        let down = format!("down{round}/one two.txt");
        place.write(&format!("down{round}/other"), b"");
        run(&["list", &url]).code(if round == 0 { 100 } else { 0 });
        run(&["createfolder", &url]).code(0);
        run(&["create-folder", &url]).code(0);
        run(&["put", &url, "up/one two.txt"]).code(0);
        run(&["put", &url, "up/one two.txt"])
            .code(100)
            .complains("--overwrite");
        run(&["put", &url, "up/one two.txt", "--overwrite"]).code(0);
        let listed = run(&["list", &url]).code(0);
        assert!(
            listed.out.starts_with("Name\tDir/File\tLastChange\tSize\n"),
            "{}",
            listed.out
        );
        assert!(
            listed.out.contains("one two.txt\tFile\t20"),
            "{}",
            listed.out
        );
        assert!(listed.out.contains("\t7\n"), "{}", listed.out);
        run(&["get", &url, &down]).code(0);
        assert_eq!(
            std::fs::read(place.path(&down)).expect("fetched"),
            b"content"
        );
        place.write(&down, b"mine");
        run(&["get", &url, &down])
            .code(100)
            .fails_with("FileExists");
        assert_eq!(std::fs::read(place.path(&down)).expect("kept"), b"mine");
        run(&["get", &url, &down, "--overwrite"]).code(0);
        assert_eq!(
            std::fs::read(place.path(&down)).expect("fetched"),
            b"content"
        );
        run(&["delete", &url, "one two.txt"]).code(0);
        run(&["delete", &url, "one two.txt"])
            .code(100)
            .complains("no such file");
        run(&["get", &url, "gone"])
            .code(100)
            .complains("no such file");
        assert!(!place.path("gone").exists());
    }
    assert_eq!(place.stored(), Vec::<String>::new());
}

#[test]
fn a_good_destination_passes_the_test_and_is_left_as_it_was() {
    let place = Place::new();
    let url = place.url();
    place.write("destination/mine", b"mine");
    for ran in [
        place.run(["destination", "test", &url, "2mb"]),
        old(&place, "duplicati-backend-tester", &[&url, "2mb"]),
    ] {
        ran.code(0)
            .says("store 6 files")
            .says("refuse to replace a file    done")
            .says("The destination works.");
    }
    assert_eq!(place.stored(), ["mine"]);
    // A missing folder is created, as by a backup.
    let below = format!("{url}/a/b");
    place
        .run(["destination", "test", &below, "1kb"])
        .code(0)
        .complains("was created");
}

#[test]
fn a_destination_that_fails_says_what_helps() {
    let place = Place::new();
    place.write("file", b"");
    let url = format!("file://{}", place.text("file"));
    let ran = place.run(["destination", "test", &url]).code(100);
    assert!(!ran.out.contains("works"), "{}", ran.out);
}

#[test]
fn wrong_use_is_explained() {
    let place = Place::new();
    let url = place.url();
    for args in [
        &["destination"][..],
        &["destination", "list"],
        &["destination", "dance", &url],
        &["destination", "get", &url],
        &["destination", "put", &url, "a", "b"],
        &["destination", "list", &url, "a"],
        &["destination", "delete", &url, ".."],
        &["destination", "test", &url, "large"],
    ] {
        place.run(args).code(200);
    }
    place
        .run(["help", "destination"])
        .code(0)
        .says("create-folder");
    old(&place, "duplicati-backend-tool", &["help"])
        .code(0)
        .says("create-folder");
}
