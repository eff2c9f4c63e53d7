//! Is it a catalog? What the first bytes of a file tell.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::files::{SUMS, side};
use crate::schema::APPLICATION_ID;

/// What stands at the path of a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// No file, an empty one, or one that cannot be read; opening it tells which.
    Nothing,
    /// A catalog of any version, or what is left of one: the file of checksums stands beside it.
    Catalog,
    /// The database of another program.
    Database,
    /// Something else.
    Other,
}

impl Occupant {
    /// Looks at a path, and follows links.
    pub fn of(path: &Path) -> Self {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD_LEN).read_to_end(&mut head));
        if read.is_err() || head.is_empty() {
            return Self::Nothing;
        }
        if is_catalog(&head) || side(path, SUMS).exists() {
            return Self::Catalog;
        }
        match is_database(&head) {
            true => Self::Database,
            false => Self::Other,
        }
    }
}

/// Whether a file that begins so is a catalog of any version; 72 bytes are needed.
pub fn is_catalog(head: &[u8]) -> bool {
    is_database(head) && head.get(68..72) == Some(APPLICATION_ID.to_be_bytes().as_slice())
}

/// Whether a file that begins so is an SQLite database (sqlite.org/fileformat2.html, 1.3).
pub(crate) fn is_database(head: &[u8]) -> bool {
    head.starts_with(b"SQLite format 3\0")
}

/// As far as the id of the program goes.
const HEAD_LEN: u64 = 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_catalog_is_known_by_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c");
        let head = |id: u32| {
            let mut head = b"SQLite format 3\0".to_vec();
            head.resize(68, 0);
            head.extend(id.to_be_bytes());
            head
        };
        assert_eq!(Occupant::of(&path), Occupant::Nothing);
        assert_eq!(Occupant::of(folder.path()), Occupant::Nothing);
        for (content, expected) in [
            (Vec::new(), Occupant::Nothing),
            (head(APPLICATION_ID), Occupant::Catalog),
            (head(0), Occupant::Database),
            (head(7), Occupant::Database),
            (head(0)[..20].to_vec(), Occupant::Database),
            (b"notes".to_vec(), Occupant::Other),
        ] {
            std::fs::write(&path, &content).expect("it is written");
            assert_eq!(Occupant::of(&path), expected, "{content:?}");
        }
        // Damage may lie in the first bytes too.
        std::fs::write(side(&path, SUMS), "").expect("it is written");
        assert_eq!(Occupant::of(&path), Occupant::Catalog);
    }
}
