//! `aescrypt`: files of AES Crypt, against vectors that other programs were seen to read (docs/format/vectors.md).

use super::destination::old;
use super::support::{PASSPHRASE, Place, Ran};

/// Version 2 with the extensions that Duplicati writes: `hello` and a line feed under `pass`. pyAesCrypt reads it.
const HEAD: &str = "414553020000214352454154\
    45445f4259005368617270414553437279707420\
    76332e302e302e30";

/// The streams of version 2 (without its extensions, which no reader looks at) and 3.
const V2: [&str; 6] = [
    "41455302000000",
    "000102030405060708090a0b0c0d0e0f",
    "43c669ec1e71bdb34c3675b878c0fa9d1a9752d703224f842da83aeb6226a9f2a1ee6c8b9fc205bc05eedc4cf3b23477",
    "48f7a12ab6c45df42b2699542d3eabf857caccf3ab41075ae611b943645b4899",
    "ea92b0071c600d82346b3d65fdcc190106",
    "d515dd981f1e5ee807ea567840c86b9c6d76631977d45e26a5992b4de86e586c",
];
const V3: [&str; 6] = [
    "41455303000000000003e8",
    "000102030405060708090a0b0c0d0e0f",
    "b726e03008357e0705ebbe033a51abfa0c55da10572ac0f17a8795ffbb537152fae0e7053d89efc2fd4666f169972875",
    "c0b364fb2a5e79c7d83d092cbdbabe5da8c84a41f003d90db6aeef0fc4847777",
    "ea92b0071c600d82346b3d65fdcc1901",
    "d515dd981f1e5ee807ea567840c86b9c6d76631977d45e26a5992b4de86e586c",
];
/// The last two parts of version 2 where zeros fill the last block, as other programs leave them. Made with Python's
/// `cryptography`.
const ZEROS: [&str; 2] = [
    "5643d9cf6a8d1318759149d5a43880d706",
    "0e98afb6e259708915dc8c5915b2f9682790f9c7b2244e5d5e1ef902fc40a839",
];

fn bytes(parts: &[&str]) -> Vec<u8> {
    let text = parts.concat();
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        })
        .collect()
}

fn content(place: &Place, name: &str) -> Vec<u8> {
    std::fs::read(place.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs the tool with the passphrase of all tests on the command line.
fn tool(place: &Place, word: &str, from: &str, to: &str, more: &[&str]) -> Ran {
    place.run([&["aescrypt", word, PASSPHRASE, from, to], more].concat())
}

#[test]
fn vectors_of_other_programs_are_read() {
    let place = Place::new();
    let extended = [&[HEAD, "0000"], &V2[1..]].concat();
    for (name, parts) in [("v2", &V2[..]), ("v3", &V3[..]), ("extended", &extended)] {
        place.write(name, &bytes(parts));
        let new = format!("{name}.txt");
        place.run(["aescrypt", "d", "pass", name, &new]).code(0);
        assert_eq!(content(&place, &new), b"hello\n", "{name}");
    }
    // Another filling of the last block is taken only when that is asked for.
    place.write("zeros", &bytes(&[&V2[..4], &ZEROS].concat()));
    place
        .run(["aescrypt", "d", "pass", "zeros", "zeros.txt"])
        .code(100)
        .fails_with("DamagedFile");
    assert!(!place.path("zeros.txt").exists());
    place
        .run(["aescrypt", "dc", "pass", "zeros", "zeros.txt"])
        .code(0);
    assert_eq!(content(&place, "zeros.txt"), b"hello\n");
}

#[test]
fn files_of_any_length_come_back() {
    let place = Place::new();
    for (seed, len) in [0, 1, 15, 16, 17, 65_536, 1_000_003]
        .into_iter()
        .enumerate()
    {
        let plain = larder_testkit::Rng::new(seed as u64).bytes(len);
        place.write("plain", &plain);
        for more in [&[][..], &["--aes-version=3", "--aes-v3-iterations=1000"]] {
            tool(&place, "e", "plain", "secret.aes", more).code(0);
            let encrypted = content(&place, "secret.aes");
            assert!(encrypted.starts_with(b"AES") && encrypted.len() > len);
            tool(&place, "d", "secret.aes", "back", &[]).code(0);
            assert_eq!(content(&place, "back"), plain, "{len}");
            std::fs::remove_file(place.path("secret.aes")).expect("removed");
            std::fs::remove_file(place.path("back")).expect("removed");
        }
    }
}

/// What `e` writes is read by the linter, which has a decryption of its own, as a volume of a set.
#[test]
fn a_volume_can_be_encrypted_by_hand() {
    let place = Place::with_backup();
    for name in place.stored() {
        let (stored, plain) = (format!("destination/{name}"), format!("plain/{name}"));
        std::fs::create_dir_all(place.path("plain")).expect("a folder");
        tool(&place, "d", &stored, &plain, &[]).code(0);
        std::fs::remove_file(place.path(&stored)).expect("removed");
        let ran = old(
            &place,
            "Duplicati.CommandLine.SharpAESCrypt.exe",
            &["e", PASSPHRASE, &plain, &stored],
        );
        ran.code(0);
        let bytes = content(&place, &stored);
        let read = larder_testkit::linter::read_volume(&name, &bytes, Some(PASSPHRASE));
        assert!(read.is_ok_and(|entries| !entries.is_empty()), "{name}");
    }
}

#[test]
fn damage_is_refused_or_kept_and_told() {
    let place = Place::new();
    let plain = larder_testkit::Rng::new(7).bytes(200_000);
    place.write("plain", &plain);
    tool(&place, "e", "plain", "whole", &[]).code(0);
    let whole = content(&place, "whole");
    let mut flipped = whole.clone();
    flipped[100_000] ^= 1;
    place.write("flipped", &flipped);
    place.write("cut", &whole[..150_001]);
    let mut headless = whole.clone();
    headless[300] ^= 1;
    place.write("headless", &headless);
    for name in ["flipped", "cut"] {
        for word in ["d", "dc"] {
            tool(&place, word, name, "new", &[])
                .code(100)
                .fails_with("DamagedFile");
            assert!(!place.path("new").exists());
        }
        let ran = tool(&place, "do", name, "new", &[]).code(3);
        ran.complains("Error [DamagedFile]: ").complains(name);
        let kept = content(&place, "new");
        let same = kept.iter().zip(&plain).filter(|(a, b)| a == b).count();
        assert!(same + 40 > kept.len() && kept.len() > 149_000, "{same}");
        std::fs::remove_file(place.path("new")).expect("removed");
    }
    for word in ["d", "do"] {
        tool(&place, word, "headless", "new", &[])
            .code(100)
            .fails_with("WrongPassphrase");
        assert!(!place.path("new").exists());
    }
    tool(&place, "do", "whole", "new", &[]).code(0);
    assert_eq!(content(&place, "new"), plain);
    place
        .run(["aescrypt", "d", "Falsch-Pferd-9182", "whole", "other"])
        .code(100)
        .fails_with("WrongPassphrase");
    // Nothing unfinished stays.
    let names = std::fs::read_dir(place.path("")).expect("the place");
    for name in names.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        assert!(!name.contains("unfinished") && name != "other", "{name}");
    }
}

#[test]
fn a_file_is_replaced_only_when_asked() {
    let place = Place::new();
    place.write("plain", b"text");
    place.write("there", b"mine");
    tool(&place, "e", "plain", "there", &[])
        .code(100)
        .fails_with("FileExists");
    assert_eq!(content(&place, "there"), b"mine");
    tool(&place, "e", "plain", "there", &["--overwrite"]).code(0);
    tool(&place, "d", "there", "plain", &[])
        .code(100)
        .fails_with("FileExists");
    // A file may be replaced by itself.
    tool(&place, "d", "there", "there", &["--overwrite"]).code(0);
    assert_eq!(content(&place, "there"), b"text");
    tool(&place, "e", "plain", "no folder/new", &[]).code(100);
    assert!(!place.path("no folder").exists());
    tool(&place, "e", "missing", "new", &[])
        .code(100)
        .complains("missing");
    assert!(!place.path("new").exists());
}

#[test]
fn the_passphrase_need_not_stand_on_the_command_line() {
    let place = Place::new();
    place.write("plain", b"text");
    for (nth, word) in ["-", ""].into_iter().enumerate() {
        let (secret, back) = (format!("secret{nth}"), format!("back{nth}"));
        let mut command = place.command(["aescrypt", "e", word, "plain", &secret]);
        command.env("PASSPHRASE", PASSPHRASE);
        Ran::of(command.output().expect("the program starts")).code(0);
        tool(&place, "d", &secret, &back, &[]).code(0);
        assert_eq!(content(&place, &back), b"text");
        place
            .run(["aescrypt", "d", word, &secret, "new"])
            .code(100)
            .fails_with("PassphraseMissing");
    }
    // One that is printed nowhere, whatever goes wrong.
    tool(&place, "d", "secret0", "new", &["--debug-output", "--zzz"]).code(0);
}

#[test]
fn the_words_are_explained() {
    let place = Place::new();
    for args in [
        &["aescrypt"][..],
        &["aescrypt", "e", "x", "plain"],
        &["aescrypt", "x", "x", "plain", "new"],
        &["aescrypt", "e", "x", "plain", "new", "more"],
    ] {
        place.run(args).code(200).complains("aescrypt");
    }
    place
        .run(["help", "aescrypt"])
        .code(0)
        .says("can be seen by everybody on this machine");
    old(&place, "duplicati-aescrypt", &["d", "x", "missing", "new"])
        .code(100)
        .complains("missing");
}
