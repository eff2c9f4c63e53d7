//! The previous version beside the walk: what is gone, what stays because it cannot be read now.

use larder_catalog::{EntryCursor, StoredEntry};

use super::counters::{Counters, bump, slot};
use super::guard::Guard;
use super::handing::{Handing, Visited};
use crate::Result;

/// The previous version's entries, read in step with the walk.
pub(super) struct Previous<'g> {
    guard: &'g Guard,
    cursor: Option<EntryCursor>,
    next: Option<StoredEntry>,
    kept: Vec<Vec<u8>>,
}

impl<'g> Previous<'g> {
    pub(super) fn new(cursor: Option<EntryCursor>, guard: &'g Guard) -> Result<Self> {
        let mut previous = Self {
            guard,
            cursor,
            next: None,
            kept: guard.kept_tops(),
        };
        previous.advance()?;
        Ok(previous)
    }

    /// True when there is a previous version.
    pub(super) fn is_version(&self) -> bool {
        self.cursor.is_some()
    }

    fn advance(&mut self) -> Result<()> {
        self.next = match self.cursor.as_mut().and_then(Iterator::next) {
            Some(entry) => Some(entry?),
            None => None,
        };
        Ok(())
    }

    /// Passes everything before `path`: gone from the source, or kept because it could not be read.
    pub(super) fn pass_until(
        &mut self,
        path: &[u8],
        counters: &Counters,
        handing: &mut Handing<'_>,
    ) -> Result<()> {
        while self
            .next
            .as_ref()
            .is_some_and(|n| n.entry.path.as_slice() < path)
        {
            self.pass(counters, handing)?;
        }
        Ok(())
    }

    pub(super) fn pass_rest(
        &mut self,
        counters: &Counters,
        handing: &mut Handing<'_>,
    ) -> Result<()> {
        while self.next.is_some() {
            self.pass(counters, handing)?;
        }
        Ok(())
    }

    fn pass(&mut self, counters: &Counters, handing: &mut Handing<'_>) -> Result<()> {
        if let Some(StoredEntry { entry, .. }) = self.next.take() {
            self.guard.had(&entry);
            // What comes before this path and is none of its folders concerns nothing that follows.
            self.kept
                .retain(|kept| entry.path < *kept || entry.path.starts_with(kept));
            let mut kept = self.kept.iter();
            if kept.any(|kept| is_at_or_below(&entry.path, kept)) {
                handing.hand(Visited::Carried(entry))?;
            } else if let Some(counter) = counters.deleted.get(slot(entry.kind)) {
                bump(counter, 1);
                self.guard.lost(&entry);
            }
        }
        self.advance()
    }

    /// The entry of exactly this path.
    pub(super) fn take(&mut self, path: &[u8]) -> Result<Option<StoredEntry>> {
        if self.next.as_ref().is_some_and(|n| n.entry.path == path) {
            let entry = self.next.take();
            entry.iter().for_each(|old| self.guard.had(&old.entry));
            self.advance()?;
            return Ok(entry);
        }
        Ok(None)
    }

    /// A path that could not be read: it and everything below stays as it was.
    pub(super) fn keep_below(&mut self, path: Vec<u8>) {
        self.kept.push(path);
    }
}

/// True for `top` itself and what lies in it; `top` may lack the separator of a folder.
fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| top.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::is_at_or_below;

    #[test]
    fn a_folder_is_not_its_neighbour() {
        for (path, top, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b/", "/a/b", true),
            ("/a/b/c", "/a/b", true),
            ("/a/b/c", "/a/b/", true),
            ("/a/b/", "/a/b/", true),
            ("/a/b.old", "/a/b", false),
            ("/a/bc/d", "/a/b", false),
            ("/a", "/a/b", false),
            ("/x", "/", true),
        ] {
            assert_eq!(
                is_at_or_below(path.as_bytes(), top.as_bytes()),
                expected,
                "{path} in {top}"
            );
        }
    }
}
