//! `affected`: what uses a remote file.

use super::support::Place;

/// One file of version 1, then another of version 0: a data file for each.
fn two_data_files() -> (Place, String, String) {
    let place = Place::new();
    place.write_noise("source/old", 3000, 1);
    place.backup(&[]).code(0);
    let old = place.stored_with("dblock").remove(0);
    place.write_noise("source/new", 3000, 2);
    place.backup(&[]).code(0);
    let mut names = place.stored_with("dblock");
    names.retain(|name| *name != old);
    let new = names.remove(0);
    (place, old, new)
}

/// The output without times.
fn told(place: &Place, names: &[&str]) -> String {
    let ran = place.on("affected", names).code(0);
    let lines = ran.out.lines().map(|line| match line.split_once("\t: 20") {
        Some((number, _)) => format!("{number}\t: T\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn a_data_file_names_its_versions_and_files() {
    let (place, old, new) = two_data_files();
    let source = place.text("source");
    let of_new = format!(
        "The following filesets are affected:\n0\t: T\n\nA total of 2 file(s) are affected:\n{source}/\n{source}/new\n\n\
         None of them could be restored whole without it\n"
    );
    let both = told(&place, &[&old]);
    assert!(
        both.starts_with("The following filesets are affected:\n0\t: T\n1\t: T\n\n"),
        "{both}"
    );
    assert!(
        both.contains(&format!("{source}/old\n")) && !both.contains("/new"),
        "{both}"
    );
    assert_eq!(told(&place, &[&new]), of_new);
    // A name twice is one name.
    assert_eq!(told(&place, &[&new, &new]), of_new);
    let all = told(&place, &[&new, &old]);
    assert!(all.contains("A total of 3 file(s) are affected:"), "{all}");
    assert!(
        all.ends_with("None of them could be restored whole without them\n"),
        "{all}"
    );
    // The catalog knows it, so no passphrase is needed; without the catalog it is.
    place
        .run(["affected", &place.url(), &new])
        .code(0)
        .says(&format!("{source}/new\n"));
    place.lose_state();
    assert_eq!(told(&place, &[&new]), of_new);
}

#[test]
fn lists_and_index_files_say_what_they_are() {
    let (place, old, _) = two_data_files();
    let source = place.text("source");
    let lists = place.stored_with("dlist");
    let of_list = told(&place, &[&lists[0]]);
    assert_eq!(
        of_list,
        format!(
            "{} is the list of version 1: without it nothing of this version is known\n\
             The following filesets are affected:\n1\t: T\n\nA total of 2 file(s) are affected:\n{source}/\n{source}/old\n\n\
             None of them could be restored whole without it\n",
            lists[0]
        )
    );
    let mut described = Vec::new();
    for index in place.stored_with("dindex") {
        let text = told(&place, &[&index]);
        let rest = text
            .strip_prefix(&format!("{index} describes "))
            .expect("a sentence");
        let (data, rest) = rest.split_once(':').expect("a sentence");
        assert_eq!(
            rest,
            " nothing is lost without it, the next backup writes it anew\nNo files are affected\n"
        );
        described.push(data.to_owned());
    }
    described.sort();
    assert_eq!(described, place.stored_with("dblock"));
    assert!(described.contains(&old));
}

#[test]
fn names_of_nothing() {
    let (place, old, _) = two_data_files();
    for name in [
        "nonsense",
        "duplicati-b00000000000000000000000000000000.dblock.zip.aes",
        "duplicati-20200101T000000Z.dlist.zip.aes",
    ] {
        place
            .on("affected", [old.as_str(), name])
            .code(100)
            .fails_with("UnknownVolume")
            .complains(&format!("{name} is no volume of this backup"));
    }
    place
        .on("affected", [""; 0])
        .code(200)
        .complains("affected needs the name of a remote file");
}

#[test]
fn long_lists_are_cut_unless_all_is_wanted() {
    let place = Place::new();
    for number in 0..150 {
        place.write(
            &format!("source/file {number:03}"),
            format!("{number}").as_bytes(),
        );
    }
    place.backup(&[]).code(0);
    let data = place.stored_with("dblock").remove(0);
    let short = told(&place, &[&data]);
    assert!(
        short.contains("A total of 151 file(s) are affected:\n"),
        "{short}"
    );
    assert!(
        short.contains("/file 009\n  ... and 140 more (use --full-result to see all filenames)\n"),
        "{short}"
    );
    assert_eq!(short.matches("/file ").count(), 10);
    let full = told(&place, &[&data, "--full-result"]);
    assert_eq!(full.matches("/file ").count(), 150);
    assert!(!full.contains("more"), "{full}");
    let json = place
        .on("affected", [data.as_str(), "--json"])
        .code(0)
        .json();
    assert_eq!(json["Files"].as_array().map(Vec::len), Some(100));
    assert_eq!(json["FilesActualLength"], 151);
}
