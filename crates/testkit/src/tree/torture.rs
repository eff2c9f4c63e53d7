//! One of everything that has given backup programs trouble.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::build::{Later, random_time, set_mode};
use super::manifest::named;
use crate::Rng;

/// Fills `path` with about 300 entries and 12 MB, the same for the same seed.
///
/// What needs rights (owners, files nobody may read) is left out for ordinary users, extended attributes where the file
/// system has none. The folder is created when it does not exist.
///
/// # Errors
/// Those of the file system, with the path.
pub fn build_torture(path: &Path, seed: u64) -> io::Result<()> {
    let mut tree = Builder {
        root: path.to_path_buf(),
        rng: Rng::new(seed),
        later: Later::default(),
    };
    fs::create_dir_all(path).map_err(|error| named(error, path))?;
    tree.sizes()?;
    tree.names()?;
    tree.depths()?;
    tree.links()?;
    tree.modes()?;
    tree.times()?;
    tree.attributes()?;
    tree.owners()?;
    tree.later
        .add(path.to_path_buf(), random_time(&mut tree.rng));
    tree.later.set_times()
}

/// Names that need care, as raw bytes.
const NAMES: &[&[u8]] = &[
    b"two words",
    b" leading",
    b"trailing ",
    b"dot.",
    b".hidden",
    b"...",
    b"-dash",
    b"--option=value",
    b"new\nline",
    b"tab\there",
    b"bell\x07",
    b"back\\slash",
    b"a:b",
    b"quote\"d",
    b"it's",
    b"100%.txt",
    b"%2e%2e",
    b"star*question?",
    b"[class]{alternative}",
    b"$HOME",
    b"~",
    b"#hash",
    b"a&b;c|d",
    b"con",
    b"nul.txt",
    b"Case",
    b"case",
    "Übersicht".as_bytes(),
    "u\u{308}bersicht decomposed".as_bytes(),
    "日本語 ファイル.txt".as_bytes(),
    "emoji 😀".as_bytes(),
    "right-to-left \u{202e}gpj.exe".as_bytes(),
    b"latin1-\xe9\xff",
    b"\xff\xfe",
    b"surrogate-\xed\xa0\x80",
    b"cut-\xf0\x9f\x98",
];

struct Builder {
    root: PathBuf,
    rng: Rng,
    later: Later,
}

impl Builder {
    fn folder(&mut self, name: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(|error| named(error, &path))?;
        self.later.add(path.clone(), random_time(&mut self.rng));
        Ok(path)
    }

    fn file(&mut self, path: PathBuf, content: &[u8]) -> io::Result<PathBuf> {
        fs::write(&path, content).map_err(|error| named(error, &path))?;
        self.later.add(path.clone(), random_time(&mut self.rng));
        Ok(path)
    }

    /// Lengths around the sizes of blocks and blocklists, and contents that repeat.
    fn sizes(&mut self) -> io::Result<()> {
        const MIB: usize = 1 << 20;
        let folder = self.folder("sizes")?;
        for len in [
            0,
            1,
            15,
            16,
            17,
            1023,
            1024,
            1025,
            102_399,
            102_400,
            102_401,
            MIB - 1,
            MIB,
            MIB + 1,
            2 * MIB + 7,
        ] {
            let content = self.rng.bytes(len);
            self.file(folder.join(format!("random-{len}")), &content)?;
        }
        let content = self.rng.text(2 * MIB + 7);
        self.file(folder.join("text"), &content)?;
        self.file(folder.join("text-copy"), &content)?;
        self.file(folder.join("zeros"), &vec![0; MIB + 12_345])?;
        let block = self.rng.bytes(1024);
        self.file(folder.join("same-block-again"), &block.repeat(100))?;
        let sparse = folder.join("sparse");
        let mut file = File::create(&sparse).map_err(|error| named(error, &sparse))?;
        file.write_all(b"start")?;
        file.seek(SeekFrom::Start(3 << 20))?;
        file.write_all(b"end")?;
        self.later.add(sparse, random_time(&mut self.rng));
        self.folder("sizes/empty folder")?;
        let many = self.folder("sizes/many")?;
        for number in 0..150 {
            let len = self.rng.index(100);
            let content = self.rng.text(len);
            self.file(many.join(format!("{number:03}")), &content)?;
        }
        Ok(())
    }

    fn names(&mut self) -> io::Result<()> {
        let folder = self.folder("names")?;
        let long = "n".repeat(255);
        for (number, name) in NAMES.iter().copied().chain([long.as_bytes()]).enumerate() {
            let path = folder.join(OsStr::from_bytes(name));
            match self.file(path, format!("{number}").as_bytes()) {
                Ok(_) => {}
                // Some file systems take UTF-8 only.
                Err(_) if std::str::from_utf8(name).is_err() => {}
                Err(error) => return Err(error),
            }
        }
        for name in ["sort", "sort.txt", "sort-a", "sort0"] {
            // In the order of paths "sort/" stands between "sort.txt" and "sort0".
            let path = Path::new("names").join(name);
            if name == "sort" {
                self.folder(path)?
            } else {
                self.file(self.root.join(path), b"")?
            };
        }
        self.file(folder.join("sort/inner"), b"inner")?;
        self.folder(Path::new("names").join(OsStr::from_bytes(b"folder \n\\ \xff")))
            .map(drop)
            .or(Ok(()))
    }

    fn depths(&mut self) -> io::Result<()> {
        let mut path = PathBuf::from("deep");
        self.folder(&path)?;
        for level in 0..40 {
            path.push(format!("level {level:02}"));
            self.folder(&path)?;
        }
        self.file(self.root.join(path).join("bottom"), b"bottom")
            .map(drop)
    }

    fn links(&mut self) -> io::Result<()> {
        let folder = self.folder("links")?;
        let target = self.file(folder.join("target"), b"target of links")?;
        self.folder("links/folder")?;
        for (name, leads_to) in [
            ("relative", &b"target"[..]),
            ("upwards", b"../sizes/text"),
            ("dangling", b"nowhere/at all"),
            ("itself", b"itself"),
            ("to folder", b"folder"),
            ("to parent", b".."),
            ("with slash", b"folder/"),
            ("not text", b"\xff\xfe target"),
            ("absolute", b"/etc/hostname"),
        ] {
            let link = folder.join(name);
            symlink(OsStr::from_bytes(leads_to), &link).map_err(|error| named(error, &link))?;
            self.later.add(link, random_time(&mut self.rng));
        }
        for name in ["hard 1", "hard 2"] {
            let link = folder.join(name);
            fs::hard_link(&target, &link).map_err(|error| named(error, &link))?;
        }
        let pipe = folder.join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o640), 0)
            .map_err(|error| named(error.into(), &pipe))?;
        self.later.add(pipe, random_time(&mut self.rng));
        Ok(())
    }

    fn modes(&mut self) -> io::Result<()> {
        let folder = self.folder("modes")?;
        for mode in [
            0o400, 0o444, 0o600, 0o640, 0o666, 0o755, 0o777, 0o1644, 0o2755, 0o4755,
        ] {
            let file = self.file(
                folder.join(format!("file {mode:o}")),
                format!("{mode:o}").as_bytes(),
            )?;
            set_mode(&file, mode)?;
        }
        for mode in [0o500, 0o700, 0o1777, 0o2775] {
            let sub = self.folder(format!("modes/folder {mode:o}"))?;
            self.file(sub.join("inside"), b"inside")?;
            set_mode(&sub, mode)?;
        }
        if is_root() {
            let file = self.file(folder.join("file 0"), b"nobody may read this")?;
            set_mode(&file, 0)?;
        }
        Ok(())
    }

    fn times(&mut self) -> io::Result<()> {
        const SECOND: i128 = 1_000_000_000;
        let folder = self.folder("times")?;
        for (name, nanoseconds) in [
            ("1970", 0),
            ("one nanosecond", 1),
            ("before 1970", -SECOND * 86_400 * 365 + 123_456_789),
            ("just before 1970", -1),
            ("1999", 920_000_000 * SECOND + SECOND / 2),
            ("99 nanoseconds", 1_600_000_000 * SECOND + 99),
            ("100 nanoseconds", 1_600_000_000 * SECOND + 100),
            ("all nanoseconds", 1_600_000_000 * SECOND + 987_654_321),
            ("2038", 2_147_483_648 * SECOND),
            ("2040", 2_208_988_800 * SECOND),
            ("2200", 7_258_118_400 * SECOND),
        ] {
            let file = folder.join(name);
            fs::write(&file, name).map_err(|error| named(error, &file))?;
            self.later.add(file, nanoseconds);
        }
        Ok(())
    }

    fn attributes(&mut self) -> io::Result<()> {
        let folder = self.folder("attributes")?;
        let file = self.file(folder.join("tagged"), b"tagged")?;
        let binary: Vec<u8> = (0..=255).collect();
        for (path, name, value) in [
            (&folder, "user.folder", &b"yes"[..]),
            (&file, "user.comment", "gr\u{fc}n".as_bytes()),
            (&file, "user.binary", &binary),
            (&file, "user.long", &[b'x'; 2000]),
        ] {
            match xattr::set(path, name, value) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
                Err(error) => return Err(named(error, path)),
            }
        }
        Ok(())
    }

    fn owners(&mut self) -> io::Result<()> {
        if !is_root() {
            return Ok(());
        }
        let folder = self.folder("owners")?;
        for (name, user, group) in [
            ("daemon", 1, 1),
            ("stranger", 54_321, 54_322),
            ("root group", 0, 4),
        ] {
            let file = self.file(folder.join(name), name.as_bytes())?;
            lchown(&file, Some(user), Some(group)).map_err(|error| named(error, &file))?;
        }
        let link = folder.join("link of daemon");
        symlink("daemon", &link).map_err(|error| named(error, &link))?;
        lchown(&link, Some(1), Some(1)).map_err(|error| named(error, &link))?;
        self.later.add(link, random_time(&mut self.rng));
        Ok(())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
