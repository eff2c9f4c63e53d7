//! What the catalog keeps of each source from one run to the next: by which filters it was read, and when, where that is not
//! when the others were.

use larder_catalog::Catalog;
use larder_source::{Action, WalkOptions};
use larder_volume::HashAlgorithm;

/// Catalog parameter: a line for each source of the last whole version, with hashes of its path and of its filters, and when
/// it was read last, in seconds since 1970, if that is not [`crate::notes::SOURCES_READ`].
const SOURCE_NOTES: &str = "source-notes";

/// What is noted of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceNote {
    /// A hash of all that decides what is left out of it.
    pub(super) filters: String,
    /// When it was read last, if that is not when the others were.
    pub(super) read: Option<i64>,
}

/// The notes of all sources.
#[derive(Debug, Default)]
pub(super) struct SourceNotes {
    lines: Vec<String>,
}

impl SourceNotes {
    pub(super) fn of(catalog: &Catalog) -> larder_catalog::Result<Self> {
        let text = catalog.param(SOURCE_NOTES)?.unwrap_or_default();
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { lines })
    }

    /// What is noted of the source with this stored path.
    pub(super) fn find(&self, path: &[u8]) -> Option<SourceNote> {
        let path = hash(path);
        let mut lines = self.lines.iter();
        lines.find_map(|line| {
            let mut words = line.split(' ');
            let filters = words.by_ref().nth(1).filter(|_| line.starts_with(&path))?;
            Some(SourceNote {
                filters: filters.to_owned(),
                read: words.next().and_then(|read| read.parse().ok()),
            })
        })
    }

    pub(super) fn add(&mut self, path: &[u8], note: &SourceNote) {
        let read = note.read.map(|read| format!(" {read}"));
        let (path, read) = (hash(path), read.unwrap_or_default());
        self.lines.push(format!("{path} {}{read}", note.filters));
    }

    pub(super) fn store(&self, catalog: &Catalog) -> larder_catalog::Result<()> {
        catalog.set_param(SOURCE_NOTES, &self.lines.join("\n"))
    }
}

/// A hash of all that decides what a walk leaves out of a source that holds these others. They count since each is taken in
/// spite of the filters.
pub(super) fn hash_of_filters<'i>(
    options: &WalkOptions,
    inner: impl Iterator<Item = &'i [u8]>,
) -> String {
    // Not the rules that stand for the others as long as they are there.
    let rules: Vec<(Action, &str)> = options.filter.given().collect();
    let inner: Vec<&[u8]> = inner.collect();
    let others = (
        &options.exclude_attributes,
        options.max_size,
        &options.ignore_names,
        options.symlinks,
        options.hardlinks,
        options.exclusion_xattrs,
        options.exclude_empty_folders,
    );
    hash(format!("{rules:?} {others:?} {inner:?}").as_bytes())
}

fn hash(text: &[u8]) -> String {
    HashAlgorithm::Sha256.digest(text).to_base64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_found_as_they_were_made() {
        let mut notes = SourceNotes::default();
        for (path, filters, read) in [("/a/", "x", None), ("/b/", "y", Some(-5)), ("/", "z", None)]
        {
            let note = SourceNote {
                filters: filters.to_owned(),
                read,
            };
            notes.add(path.as_bytes(), &note);
            assert_eq!(notes.find(path.as_bytes()), Some(note));
        }
        assert_eq!(notes.find(b"/b"), None);
        assert_eq!(notes.find(b"/b/").and_then(|note| note.read), Some(-5));
    }
}
