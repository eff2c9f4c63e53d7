//! What differs between two versions.

use crate::codec::StoredEntry;
use crate::cursor::required;
use crate::parallel::each_mapped;
use crate::segment::Segment;
use crate::{Catalog, Result, slots};

/// A path that is not the same in two versions.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Its entry in the first version; `None` when it is not there.
    pub old: Option<StoredEntry>,
    /// Its entry in the second version; `None` when it is not there.
    pub new: Option<StoredEntry>,
}

impl Catalog {
    /// Calls `take` for every path whose entry is not the same in two versions, in ascending order of the paths.
    ///
    /// The rows of all versions are looked through; only those that differ are unpacked.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] when the entries of one of them are not stored; those of `take`.
    pub fn differences(
        &self,
        old: i64,
        new: i64,
        take: &mut dyn FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        self.read(|conn| {
            let (old, new) = (required(conn, old)?.slot, required(conn, new)?.slot);
            let differing = |segment: &mut Segment| {
                // Both states of a path lie in one segment, one after the other.
                let mut found: Vec<Difference> = Vec::new();
                while let Some(row) = segment.next()? {
                    let in_old = slots::contains(row.runs, old);
                    if in_old == slots::contains(row.runs, new) {
                        continue;
                    }
                    let stored = row.stored()?;
                    let before = found.pop_if(|before| path_of(before) == Some(row.path));
                    let difference = before.unwrap_or(Difference {
                        old: None,
                        new: None,
                    });
                    found.push(match in_old {
                        true => Difference {
                            old: Some(stored),
                            ..difference
                        },
                        false => Difference {
                            new: Some(stored),
                            ..difference
                        },
                    });
                }
                Ok(found)
            };
            each_mapped(conn, differing, |found| {
                found.into_iter().try_for_each(&mut *take)
            })
        })
    }
}

fn path_of(difference: &Difference) -> Option<&[u8]> {
    let entry = difference.old.as_ref().or(difference.new.as_ref())?;
    Some(&entry.entry.path)
}
