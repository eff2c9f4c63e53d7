//! Listings that end, also when the server gives the same files for ever.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::stream::{BoxStream, StreamExt};
use larder_destination::{Call, ErrorKind, RemoteFile, Result};

/// The same files, and an error after [`MOST_AGAIN`] in a row that were there before, or [`MOST_FILES`] in all. Eight bytes
/// are held for each.
pub(crate) fn bounded<'s>(
    call: &Call,
    files: BoxStream<'s, Result<RemoteFile>>,
) -> BoxStream<'s, Result<RemoteFile>> {
    let call = call.clone();
    // Hashes of the names so far, and how many files in a row had one of them.
    let (mut seen, mut again) = (HashSet::new(), 0_usize);
    let counted = files.map(move |file| {
        let file = file?;
        let mut hasher = DefaultHasher::new();
        file.name.hash(&mut hasher);
        again = match seen.insert(hasher.finish()) {
            true => 0,
            false => again + 1,
        };
        let text = if again > MOST_AGAIN {
            "the server repeats the same part of the listing"
        } else if seen.len() > MOST_FILES {
            "the listing has no end"
        } else {
            return Ok(file);
        };
        Err(call.error(ErrorKind::Other, text))
    });
    counted.boxed()
}

/// A name may come twice when others work in the folder.
const MOST_AGAIN: usize = 1_000;
/// More files than any backup has volumes.
const MOST_FILES: usize = 20_000_000;

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use futures_util::stream;
    use larder_destination::Operation;

    use super::*;

    fn file(number: usize) -> Result<RemoteFile> {
        Ok(RemoteFile {
            name: format!("f{number}"),
            size: Some(1),
            modified: None,
            is_folder: false,
            is_archived: false,
        })
    }

    #[tokio::test]
    async fn files_that_come_again_for_ever_are_an_error_and_some_are_none() -> Result<()> {
        let call = Call::new("x", Operation::List);
        let circle = stream::iter((0_usize..).map(|number| file(number % 7))).boxed();
        let listed: Result<Vec<RemoteFile>> = bounded(&call, circle).try_collect().await;
        let told = listed.err().map(|error| error.to_string());
        assert!(told.is_some_and(|told| told.contains("repeats the same part")));
        let twice = stream::iter((0..20 * MOST_AGAIN).map(|number| file(number / 2))).boxed();
        let listed: Vec<RemoteFile> = bounded(&call, twice).try_collect().await?;
        assert_eq!(listed.len(), 20 * MOST_AGAIN);
        Ok(())
    }
}
