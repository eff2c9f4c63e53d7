//! One state of a path as the sorter keeps it: what the entry is, and which versions have it so.

use larder_volume::{EntryKind, FileEntry};

/// What an entry is, apart from its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    kind: u8,
    pub(super) size: i64,
    pub(super) time: Option<i64>,
    content: Vec<u8>,
}

impl State {
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.size == other.size && self.content == other.content
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == FOLDER
    }

    pub(super) fn is_symlink(&self) -> bool {
        self.kind == SYMLINK
    }
}

/// Kind, size, time, length of the content's hash, the hash, and the runs of places.
pub(super) fn encode(entry: &FileEntry, places: &[usize]) -> Vec<u8> {
    // What a link leads to stands in its metadata.
    let (kind, size, content) = match entry.kind {
        EntryKind::File => {
            let size = i64::try_from(entry.size).unwrap_or(i64::MAX);
            (FILE, size, entry.hash.as_ref())
        }
        EntryKind::Folder => (FOLDER, -1, None),
        EntryKind::Symlink => (SYMLINK, -1, entry.metahash.as_ref()),
    };
    let content = content.map(|hash| hash.as_bytes()).unwrap_or_default();
    let time = entry.time.map_or(NO_TIME, |time| time.0);
    let mut payload = vec![kind];
    payload.extend_from_slice(&size.to_le_bytes());
    payload.extend_from_slice(&time.to_le_bytes());
    payload.push(u8::try_from(content.len()).unwrap_or(0));
    payload.extend_from_slice(content);
    for run in places.chunk_by(|a, b| a + 1 == *b) {
        for end in [run.first(), run.last()] {
            let end = u32::try_from(end.copied().unwrap_or(0)).unwrap_or(u32::MAX);
            payload.extend_from_slice(&end.to_le_bytes());
        }
    }
    payload
}

/// The state, and what [`places`] reads.
pub(super) fn decode(payload: &[u8]) -> Option<(State, &[u8])> {
    let (kind, rest) = payload.split_first()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first()?;
    let (content, runs) = rest.split_at_checked(usize::from(*len))?;
    let state = State {
        kind: *kind,
        size: i64::from_le_bytes(*size),
        time: Some(i64::from_le_bytes(*time)).filter(|time| *time != NO_TIME),
        content: content.to_vec(),
    };
    Some((state, runs))
}

/// The places of the versions that have a state.
pub(super) fn places(runs: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let place = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes) as usize;
    runs.chunks_exact(8).flat_map(move |run| {
        let (first, last) = run.split_at(4);
        place(first)..=place(last)
    })
}

const FILE: u8 = 0;
const FOLDER: u8 = 1;
const SYMLINK: u8 = 2;
/// In the place of a time that is not known.
const NO_TIME: i64 = i64::MIN;
