//! Paths that a report names: the first ones, in bounded memory, whatever comes.

/// Room for paths. When it is taken once, nothing more gets in.
pub(crate) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(MOST_BYTES)
    }
}

impl Room {
    /// Takes the room of a path; false when there is not enough left.
    pub(crate) fn take(&mut self, path: &str) -> bool {
        let left = self.0.checked_sub(path.len() + OVERHEAD);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// The first paths of which something is to be told, and how many there were.
#[derive(Default)]
pub(crate) struct NamedPaths {
    paths: Vec<String>,
    room: Room,
    count: u64,
}

impl NamedPaths {
    /// Counts a path, and keeps it when there is room.
    pub(crate) fn push(&mut self, path: &[u8]) {
        self.count += 1;
        let path = String::from_utf8_lossy(path);
        if self.room.take(&path) {
            self.paths.push(path.into_owned());
        }
    }

    /// The paths in order, and how many there were.
    pub(crate) fn into_sorted(mut self) -> (Vec<String>, u64) {
        self.paths.sort();
        (self.paths, self.count)
    }
}

/// Bytes of all paths that are named, with what each takes besides: some 50,000 paths.
const MOST_BYTES: usize = 4 << 20;
/// A string and its place in a list or set.
const OVERHEAD: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_beyond_the_room_are_counted() {
        let mut named = NamedPaths::default();
        let many = 1_000_000;
        for n in (0..many).rev() {
            named.push(format!("/a folder/and a file in it {n}").as_bytes());
        }
        let (paths, count) = named.into_sorted();
        assert_eq!(count, many);
        assert!((30_000..60_000).contains(&paths.len()), "{}", paths.len());
        assert!(paths.is_sorted());
        // Nothing short slips in behind what found no room.
        assert!(!paths.iter().any(|path| path.ends_with(" 1")));
    }
}
