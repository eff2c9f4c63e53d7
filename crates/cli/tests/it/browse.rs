//! Looking into versions: folders, the versions of a path, and searching.

use super::support::Place;

/// Three versions. `changes` has other bytes in the last two, `goes` is only in the oldest, `comes` only in the newest, and
/// `turns` is a file first and a folder then.
fn three_versions() -> Place {
    let place = Place::new();
    place.write("source/same", b"same");
    place.write("source/changes", b"12345");
    place.write("source/goes", b"123");
    place.write("source/turns", b"1");
    place.write("source/folder/deep/in", b"12");
    std::os::unix::fs::symlink("same", place.path("source/link")).expect("a link");
    place.backup(&[]).code(0);
    std::fs::remove_file(place.path("source/goes")).expect("removed");
    std::fs::remove_file(place.path("source/turns")).expect("removed");
    place.write("source/turns/inside", b"1");
    place.write("source/changes", b"54321");
    place.backup(&[]).code(0);
    place.write("source/comes", b"1234567");
    place.backup(&[]).code(0);
    place
}

#[test]
fn a_folder_shows_what_lies_directly_in_it() {
    let place = three_versions();
    let source = place.text("source");
    let newest = format!(
        "Folder contents:\n{source}/changes: (5 bytes)\n{source}/comes: (7 bytes)\n{source}/folder/: (directory)\n\
         {source}/link: (symlink)\n{source}/same: (4 bytes)\n{source}/turns/: (directory)\n"
    );
    let oldest = format!(
        "Folder contents:\n{source}/changes: (5 bytes)\n{source}/folder/: (directory)\n{source}/goes: (3 bytes)\n\
         {source}/link: (symlink)\n{source}/same: (4 bytes)\n{source}/turns: (1 bytes)\n"
    );
    let with_separator = format!("{source}/");
    let list = |arguments: &[&str]| place.on("list-folder-content", arguments).code(0).out;
    for look in 0..2 {
        assert_eq!(list(&[&source]), newest);
        assert_eq!(list(&[&with_separator, "--version=0"]), newest);
        assert_eq!(list(&[&source, "--version=2"]), oldest);
        // Without local state the list is read.
        if look == 0 {
            place.lose_state();
        }
    }
    assert_eq!(list(&[&source, "--version=2", "--no-local-db"]), oldest);
    // The other name, and more folders than one.
    let (deep, turns) = (format!("{source}/folder/deep"), format!("{source}/turns"));
    let ran = place.on("list-folder-contents", [&deep, &turns]).code(0);
    let expected = format!("Folder contents:\n{deep}/in: (2 bytes)\n{turns}/inside: (1 bytes)\n");
    assert_eq!(ran.out, expected);
    // Without a folder: what was backed up; and what lies above it.
    assert_eq!(
        list(&[]),
        format!("Folder contents:\n{source}/: (directory)\n")
    );
    let above = list(&["/"]);
    let first = source.split('/').nth(1).expect("a folder");
    assert_eq!(above, format!("Folder contents:\n/{first}/: (directory)\n"));
}

#[test]
fn folders_that_cannot_be_listed() {
    let place = three_versions();
    let source = place.text("source");
    let named = |path: &str, what: &str| format!("{source}/{path} {what} in version 0 of ");
    for (folder, sentence) in [
        ("nowhere", named("nowhere", "is not")),
        ("same", named("same", "is no folder")),
        // A folder whose name only begins so.
        ("fold", named("fold", "is not")),
        ("goes", named("goes", "is not")),
    ] {
        place
            .on("list-folder-content", [format!("{source}/{folder}")])
            .code(100)
            .fails_with("FolderNotInVersion")
            .complains(&sentence);
    }
    place
        .on("list-folder-content", ["--all-versions"])
        .code(200)
        .complains("leave --all-versions out");
    place
        .on("list-folder-content", ["--version=0,2"])
        .code(100)
        .fails_with("MultipleFilesetsFound")
        .complains("2 versions are named");
    place
        .on("list-folder-content", ["--version=7"])
        .code(100)
        .fails_with("NoSuchVersion");
}

/// The output with `T` for each time.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.split_once("] 20") {
        Some((head, rest)) => {
            let rest = rest.split_once(": ").map_or("", |(_, rest)| rest);
            format!("{head}] T: {rest}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_versions_of_a_path_tell_where_its_content_changed() {
    let place = three_versions();
    let source = place.text("source");
    let list = |paths: &[&str], options: &[&str]| {
        let paths = paths.iter().map(|path| match path.starts_with('-') {
            true => (*path).to_owned(),
            false => format!("{source}/{path}"),
        });
        let all: Vec<String> = paths
            .chain(options.iter().map(|o| (*o).to_owned()))
            .collect();
        without_times(&place.on("list-file-versions", all).code(0).out)
    };
    let told = |text: &str| format!("File versions:\n{}", text.replace('@', &source));
    for look in 0..2 {
        assert_eq!(
            list(&["changes"], &[]),
            told(
                "@/changes:\n  [0] T: (5 bytes)\n  [1] T: (5 bytes) modified\n  [2] T: (5 bytes) added\n"
            )
        );
        assert_eq!(
            list(&["goes", "comes"], &["--all-versions"]),
            told("@/comes:\n  [0] T: (7 bytes) added\n@/goes:\n  [2] T: (3 bytes) added\n")
        );
        // What was a file is a folder now: both are found by one name.
        assert_eq!(
            list(&["turns"], &[]),
            told(
                "@/turns:\n  [2] T: (1 bytes) added\n@/turns/:\n  [0] T: (directory)\n  [1] T: (directory) added\n"
            )
        );
        if look == 0 {
            place.lose_state();
        }
    }
    assert_eq!(
        list(&["link"], &["--no-local-db"]),
        told("@/link:\n  [0] T: (symlink)\n  [1] T: (symlink)\n  [2] T: (symlink) added\n")
    );
    // Of the oldest version that is looked at nothing older is known.
    assert_eq!(
        list(&["changes"], &["--version=0,1"]),
        told("@/changes:\n  [0] T: (5 bytes)\n  [1] T: (5 bytes)\n")
    );
    assert_eq!(
        list(&["turns/"], &["--version=0"]),
        told("@/turns/:\n  [0] T: (directory)\n")
    );
}

#[test]
fn paths_without_versions() {
    let place = three_versions();
    let source = place.text("source");
    place
        .on("list-file-versions", [""; 0])
        .code(100)
        .fails_with("NoPathSpecified");
    place
        .on("list-file-versions", [format!("{source}/nothing")])
        .code(100)
        .fails_with("PathNotFound")
        .complains(&format!("{source}/nothing is in none of the versions"));
    place
        .on(
            "list-file-versions",
            [format!("{source}/goes"), "--version=0".into()],
        )
        .code(100)
        .fails_with("PathNotFound");
    place
        .on(
            "list-file-versions",
            [format!("{source}/nothing"), format!("{source}/goes")],
        )
        .code(0)
        .says(&format!("{source}/goes:\n  [2] "))
        .complains("Warning [PathNotFound]")
        .complains("/nothing is in none");
}

#[test]
fn a_version_whose_list_is_damaged_is_told_and_the_others_are_shown() {
    let place = three_versions();
    let source = place.text("source");
    let lists = place.stored_with("dlist");
    // The one in the middle.
    std::fs::write(place.path(&format!("destination/{}", lists[1])), b"damaged").expect("written");
    place.lose_state();
    let ran = place
        .on("list-file-versions", [format!("{source}/changes")])
        .code(2)
        .complains("Error [DamagedList]");
    assert_eq!(
        without_times(&ran.out),
        format!(
            "File versions:\n{source}/changes:\n  [0] T: (5 bytes) modified\n  [2] T: (5 bytes) added\n"
        )
    );
    place
        .on("list-folder-content", [source.as_str(), "--version=1"])
        .code(100);
}

#[test]
fn a_search_finds_words_in_names_in_all_versions() {
    let place = three_versions();
    place.write("source/folder/Changes.TXT", b"x");
    place.backup(&[]).code(0);
    let source = place.text("source");
    let told = |text: &str| match text {
        "" => "No files matched expression\n".to_owned(),
        text => format!("File versions:\n{}", text.replace('@', &source)),
    };
    let changes = "@/changes:\n  [0] T: (5 bytes)\n  [1] T: (5 bytes)\n  [2] T: (5 bytes) modified\n  [3] T: (5 bytes) added\n";
    let other = "@/folder/Changes.TXT:\n  [0] T: (1 bytes) added\n";
    let goes = "@/goes:\n  [3] T: (3 bytes) added\n";
    let inside =
        "@/turns/inside:\n  [0] T: (1 bytes)\n  [1] T: (1 bytes)\n  [2] T: (1 bytes) added\n";
    let folder = format!("{source}/folder");
    let other_case = folder.replace("/folder", "/FOLDER");
    let rows: [(&[&str], String); 11] = [
        (&["hang"], told(&format!("{changes}{other}"))),
        (&["CHANGES"], told(&format!("{changes}{other}"))),
        (&["goes"], told(goes)),
        (&["*.txt"], told(other)),
        (&["[.*/go.s]"], told(goes)),
        (&["turns/in"], told(inside)),
        (&["hang", &folder], told(other)),
        (&["hang", &other_case], told("")),
        (&[&folder, "--include=*changes*"], told(other)),
        (&["--include=*/GOES"], told(goes)),
        (&["nothing of this name"], told("")),
    ];
    for look in 0..2 {
        for (arguments, expected) in &rows {
            let ran = place.on("search-files", *arguments).code(0);
            assert_eq!(&without_times(&ran.out), expected, "{arguments:?}");
        }
        if look == 0 {
            place.lose_state();
        }
    }
    for verb in ["search", "search-entries"] {
        let ran = place.on(verb, ["goes", "--version=3"]).code(0);
        assert_eq!(without_times(&ran.out), told(goes));
    }
    let ran = place.on("search-files", ["goes", "--version=0"]).code(0);
    assert_eq!(ran.out, told(""));
    // A file named whole, and a folder with what is in it.
    let ran = place.on("search-files", [format!("{source}/goes")]).code(0);
    assert_eq!(without_times(&ran.out), told(goes));
    let ran = place
        .on("search-files", [folder.as_str(), "--version=3"])
        .code(0);
    assert_eq!(
        without_times(&ran.out),
        told(
            "@/folder/:\n  [3] T: (directory) added\n@/folder/deep/:\n  [3] T: (directory) added\n@/folder/deep/in:\n  [3] T: (2 bytes) added\n"
        )
    );
    place
        .on("search-files", [""; 0])
        .code(200)
        .complains("needs a word, a pattern, a folder or a filter");
    place
        .on("search-files", ["[(]"])
        .code(100)
        .fails_with("InvalidFilter");
}
