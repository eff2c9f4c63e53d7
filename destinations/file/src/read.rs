//! Listing and reading, in terms of the operating system.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use larder_destination::{Download, Error, ErrorKind, Operation, RemoteFile, Result};
use tokio::sync::mpsc::{self, Receiver};

use crate::SCHEME;
use crate::errors::explain;
use crate::names;

/// Streams the folder in batches read on a blocking thread, which ends when the stream is dropped.
pub(crate) fn list(folder: PathBuf) -> BoxStream<'static, Result<RemoteFile>> {
    let start = async move {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        tokio::task::spawn_blocking(move || {
            let mut batch = Vec::with_capacity(BATCH);
            let ended = each_file(&folder, &mut |file| {
                batch.push(Ok(file));
                batch.len() < BATCH || sender.blocking_send(std::mem::take(&mut batch)).is_ok()
            });
            if let Err(error) = ended {
                batch.push(Err(explain(error, Operation::List, &folder, "")));
            }
            // A receiver that is gone wants nothing any more.
            let _ = sender.blocking_send(batch);
        });
        received(receiver).flat_map(stream::iter)
    };
    start.into_stream().flatten().boxed()
}

/// Calls back for each file and folder until that answers `false`.
fn each_file(folder: &Path, found: &mut dyn FnMut(RemoteFile) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if names::is_temporary(&name) {
            continue;
        }
        let facts = match std::fs::metadata(entry.path()) {
            Ok(facts) => facts,
            // A link that leads nowhere or in a circle, or a file that was just deleted.
            Err(error) if is_unreachable(&error) => continue,
            Err(error) => return Err(error),
        };
        if !facts.is_file() && !facts.is_dir() {
            continue;
        }
        let file = RemoteFile {
            name: name.into_owned(),
            size: facts.is_file().then_some(facts.len()),
            modified: modified(&facts),
            is_folder: facts.is_dir(),
            is_archived: false,
        };
        if !found(file) {
            return Ok(());
        }
    }
    Ok(())
}

fn is_unreachable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::ACCESS | Errno::PERM)
    )
}

fn modified(facts: &std::fs::Metadata) -> Option<i64> {
    let time = facts.modified().ok()?;
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).ok(),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).ok()?;
            Some(-whole - i64::from(before.subsec_nanos() > 0))
        }
    }
}

/// Opens a file; small ones are read at once, others by a thread that keeps a few chunks ahead of the reader.
pub(crate) fn open(folder: &Path, name: &str) -> Result<Opened> {
    let path = folder.join(name);
    let fail = |error| explain(error, Operation::Get, folder, name);
    // Looking before opening keeps a named pipe from blocking the open for ever.
    let facts = std::fs::metadata(&path).map_err(fail)?;
    if !facts.is_file() {
        return Err(Error::new(
            ErrorKind::NotFound,
            SCHEME,
            Operation::Get,
            "it is not a file",
        )
        .object(name));
    }
    let file = File::open(&path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len();
    let mut content = Content {
        file,
        left: len,
        path,
    };
    if len <= CHUNK_BYTES {
        return Ok(Opened::Whole(content.next_chunk()?.unwrap_or_default()));
    }
    Ok(Opened::Long(content))
}

/// A file opened for reading.
pub(crate) enum Opened {
    Whole(Bytes),
    Long(Content),
}

impl Opened {
    pub(crate) fn into_download(self) -> Download {
        match self {
            Self::Whole(bytes) => Download::from_bytes(bytes),
            Self::Long(content) => Download {
                len: Some(content.left),
                stream: content.into_stream(),
            },
        }
    }
}

/// The rest of a file.
pub(crate) struct Content {
    file: File,
    left: u64,
    path: PathBuf,
}

impl Content {
    fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let wanted = self.left.min(CHUNK_BYTES);
        let mut chunk = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let read = (&self.file).take(wanted).read_to_end(&mut chunk);
        if let Err(error) = read {
            let folder = self.path.parent().unwrap_or(Path::new(""));
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            return Err(explain(error, Operation::Get, folder, &name));
        }
        if (chunk.len() as u64) < wanted {
            let message = "the file became shorter while it was read";
            let error = Error::new(ErrorKind::Corrupt, SCHEME, Operation::Get, message);
            return Err(error.object(self.path.display().to_string()));
        }
        self.left -= wanted;
        Ok(Some(Bytes::from(chunk)))
    }

    fn into_stream(mut self) -> BoxStream<'static, Result<Bytes>> {
        let start = async move {
            let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
            tokio::task::spawn_blocking(move || {
                while let Some(chunk) = self.next_chunk().transpose() {
                    let is_last = chunk.is_err();
                    if sender.blocking_send(chunk).is_err() || is_last {
                        return;
                    }
                }
            });
            received(receiver)
        };
        start.into_stream().flatten().boxed()
    }
}

fn received<T: Send + 'static>(receiver: Receiver<T>) -> BoxStream<'static, T> {
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
    .boxed()
}

const BATCH: usize = 256;
const BATCHES_AHEAD: usize = 4;
const CHUNK_BYTES: u64 = 1 << 20;
const CHUNKS_AHEAD: usize = 4;
