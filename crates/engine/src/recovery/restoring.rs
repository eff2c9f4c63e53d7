//! Writing the entries of a version: each file under a temporary name until it is whole and checked.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use larder_source::{FileKind, OpenHow, Replace, Restore, Step, write_sparse};
use larder_volume::{Blocks, EntryKind, FileEntry, Format, Hash, Hasher, Metadata};

use super::blocks::BlockFinder;
use crate::Result;
use crate::restore::content::{content_of, each_block};
use crate::restore::content_hash::rest_of_file;
use crate::restore::layout::Layout;
use crate::restore::target::{self, parent};
use crate::restore::writer::Writer;

/// A running restore.
pub(super) struct Restoring<'a> {
    pub(super) writer: Writer<'a>,
    pub(super) layout: &'a Layout,
    pub(super) format: Format,
    pub(super) date: String,
    pub(super) blocks: RefCell<BlockFinder<'a>>,
    pub(super) made: Vec<Vec<u8>>,
}

/// Why a file is not written.
enum Trouble {
    /// Its content cannot be had.
    Content(String),
    /// It cannot be written.
    Local(io::Error),
}

impl Restoring<'_> {
    /// Writes one entry. What goes wrong with it is told and costs no other.
    pub(super) fn entry(&mut self, entry: &FileEntry) -> Result<()> {
        let writer = &self.writer;
        let Some(place) = self.layout.place(&entry.path) else {
            if entry.kind != EntryKind::Folder {
                writer.refuse(entry, "it has the place of the target folder itself");
            }
            return Ok(());
        };
        let folder = match entry.kind {
            EntryKind::Folder => Some(place.as_slice()),
            EntryKind::File | EntryKind::Symlink => parent(&place),
        };
        let made = folder.map(|folder| writer.make_folder(&mut self.made, folder, entry));
        let is_new = match made {
            None => false,
            Some(Ok(is_new)) => is_new,
            Some(Err(error)) => {
                writer.stop_when_full(&error)?;
                writer.local_failure(entry, &error);
                return Ok(());
            }
        };
        match entry.kind {
            EntryKind::File => self.file(entry, &place),
            EntryKind::Folder => {
                writer.tally.folders.fetch_add(1, Ordering::Relaxed);
                self.keep(entry, &place, is_new)
            }
            EntryKind::Symlink => self.keep(entry, &place, false),
        }
    }

    /// Keeps a link or the metadata of a folder for the end.
    fn keep(&self, entry: &FileEntry, place: &[u8], is_new: bool) -> Result<()> {
        match self.blob(entry)? {
            Some(blob) => {
                let paths = (place, entry.path.as_slice());
                let writer = &self.writer;
                writer.keep_for_the_end(entry.kind, is_new, paths, &blob)
            }
            None => Ok(()),
        }
    }

    fn file(&self, entry: &FileEntry, place: &[u8]) -> Result<()> {
        let (writer, tally) = (&self.writer, self.writer.tally);
        let copy = match self.free_copy(entry, place) {
            Ok(Some(copy)) => copy,
            Ok(None) => {
                tally.unchanged.fetch_add(1, Ordering::Relaxed);
                tally
                    .unchanged_bytes
                    .fetch_add(entry.size, Ordering::Relaxed);
                self.done(entry);
                return Ok(());
            }
            Err(error) => {
                writer.stop_when_full(&error)?;
                writer.local_failure(entry, &error);
                return Ok(());
            }
        };
        let target = target::place_of_copy(place, &self.date, copy);
        match self.write(entry, &target)? {
            Ok(()) => {
                tally.files.fetch_add(1, Ordering::Relaxed);
                tally.bytes.fetch_add(entry.size, Ordering::Relaxed);
                if copy > 0 {
                    tally.copies.fetch_add(1, Ordering::Relaxed);
                    writer.reporter.info(
                        "KeptPresentFile",
                        format!(
                            "{} is kept as it is; the restored file is {}",
                            writer.folder_path(place),
                            writer.folder_path(&target)
                        ),
                    );
                }
                self.done(entry);
                Ok(())
            }
            Err(trouble) => {
                match trouble {
                    Trouble::Content(why) => writer.remote_failure(entry, &why),
                    Trouble::Local(error) => {
                        writer.stop_when_full(&error)?;
                        writer.local_failure(entry, &error);
                    }
                }
                Ok(())
            }
        }
    }

    /// The number of the copy whose place is free, 0 being the file's own; `None` when it stands there already.
    fn free_copy(&self, entry: &FileEntry, place: &[u8]) -> io::Result<Option<u8>> {
        let root = self.writer.root;
        let algorithm = self.format.file_hash;
        let Some(facts) = root.stat(place)? else {
            return Ok(Some(0));
        };
        if facts.kind == FileKind::File
            && facts.size == entry.size
            && let Ok(file) = root.open_file(place, OpenHow::ReadOnly)
            && Some(rest_of_file(&file, algorithm.hasher(), 0)?) == entry.hash
        {
            return Ok(None);
        }
        let (copy, is_right) = target::choose_copy(algorithm, root, place, entry, &self.date)?;
        Ok((!is_right).then_some(copy))
    }

    fn done(&self, entry: &FileEntry) {
        let progress = &self.writer.reporter.progress;
        progress.files_done.fetch_add(1, Ordering::Relaxed);
        progress.bytes_done.fetch_add(entry.size, Ordering::Relaxed);
    }

    /// Writes a file under a temporary name, checks it, and gives it its own name.
    fn write(&self, entry: &FileEntry, place: &[u8]) -> Result<std::result::Result<(), Trouble>> {
        let root = self.writer.root;
        let file = match root.open_temporary(place) {
            Ok(temporary) => temporary.file,
            Err(error) => return Ok(Err(Trouble::Local(error))),
        };
        let written = self.fill(&file, entry).and_then(|filled| match filled {
            Ok(()) => Ok(self.finish(&file, entry, place)?.map_err(Trouble::Local)),
            Err(trouble) => Ok(Err(trouble)),
        });
        if !matches!(written, Ok(Ok(())))
            && let Err(error) = root.discard_temporary(place)
        {
            self.writer.reporter.warn(
                "TemporaryFileLeft",
                format!(
                    "{}: its unfinished file cannot be removed: {error}",
                    String::from_utf8_lossy(&entry.path)
                ),
            );
        }
        written
    }

    /// Writes the content of a file and compares its hash.
    fn fill(&self, file: &File, entry: &FileEntry) -> Result<std::result::Result<(), Trouble>> {
        let content = match content_of(entry, &self.format) {
            Ok(content) => content,
            Err(why) => return Ok(Err(Trouble::Content(why.to_owned()))),
        };
        let (root, blocksize) = (self.writer.root, self.format.blocksize);
        // What an ended run left is of no use here.
        if let Err(error) = file.set_len(0).and_then(|()| file.set_len(entry.size)) {
            return Ok(Err(Trouble::Local(error)));
        }
        let mut trouble = None;
        let mut hasher: Hasher = self.format.file_hash.hasher();
        let mut buffer = Vec::new();
        let lists = |hash: &Hash| self.blocklist(hash);
        let outcome = each_block(content, &self.format, lists, |index, hash, len| {
            if trouble.is_some() {
                return Ok(());
            }
            if !self.block(hash, &mut buffer)? || buffer.len() as u64 != len {
                let why = "a part of its content is in no data file any more";
                trouble = Some(Trouble::Content(why.to_owned()));
                return Ok(());
            }
            hasher.update(&buffer);
            let written = root
                .watch(Step::Write, &entry.path)
                .and_then(|()| write_sparse(file, &buffer, u64::from(index) * blocksize));
            trouble = written.err().map(Trouble::Local);
            Ok(())
        })?;
        if let Some(trouble) = trouble {
            return Ok(Err(trouble));
        }
        if let Err(why) = outcome {
            return Ok(Err(Trouble::Content(why)));
        }
        let is_checked = self.writer.rules.verify && entry.size > 0;
        if is_checked && entry.hash.is_some_and(|hash| hasher.finish() != hash) {
            let why = "the restored content is not what was backed up";
            return Ok(Err(Trouble::Content(why.to_owned())));
        }
        Ok(Ok(()))
    }

    /// Sets the metadata of a file and moves it to its place.
    fn finish(
        &self,
        file: &File,
        entry: &FileEntry,
        place: &[u8],
    ) -> Result<std::result::Result<(), io::Error>> {
        let (writer, root) = (&self.writer, self.writer.root);
        let blob = self.blob(entry)?;
        let blob: Option<Metadata> =
            blob.and_then(|blob| writer.parsed(&blob, entry.kind, &entry.path));
        let restore = match &blob {
            Some(blob) => target::restore_facts(blob, writer.rules, entry.kind, true),
            None => Restore {
                mode: Some(writer.rules.file_mode),
                ..Restore::default()
            },
        };
        writer.tell_facts(root.apply_file(file, &restore), &entry.path);
        let synced = match writer.rules.sync {
            true => root.sync_temporary(file, place),
            false => Ok(()),
        };
        Ok(synced.and_then(|()| root.finish_temporary(file, place, Replace::No)))
    }

    /// Reads a block; false when it is nowhere to be had.
    fn block(&self, hash: &Hash, out: &mut Vec<u8>) -> Result<bool> {
        let (algorithm, most) = (self.format.block_hash, self.format.blocksize);
        let mut blocks = self.blocks.borrow_mut();
        blocks.read(hash, algorithm, most, out)
    }

    fn blocklist(&self, hash: &Hash) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        Ok(self.block(hash, &mut out)?.then_some(out))
    }

    /// The metadata of an entry where it is wanted; one that is lost is told.
    fn blob(&self, entry: &FileEntry) -> Result<Option<Vec<u8>>> {
        let is_link = entry.kind == EntryKind::Symlink;
        if !(self.writer.rules.metadata || is_link) {
            return Ok(None);
        }
        if entry.metahash.is_none() {
            if is_link {
                self.writer.lose_metadata(entry.kind, &entry.path);
            }
            return Ok(None);
        }
        let (mut blob, mut buffer, mut is_whole) = (Vec::new(), Vec::new(), true);
        let content = entry.metadata(&self.format);
        let is_known = !matches!(content, Blocks::Unknown);
        if is_known && entry.metasize <= LARGEST_BLOB {
            let lists = |hash: &Hash| self.blocklist(hash);
            let read = each_block(content, &self.format, lists, |_, hash, _| {
                is_whole = is_whole && self.block(hash, &mut buffer)?;
                blob.extend_from_slice(&buffer);
                Ok(())
            })?;
            if is_whole
                && read.is_ok()
                && Some(self.format.file_hash.digest(&blob)) == entry.metahash
            {
                return Ok(Some(blob));
            }
        }
        self.writer.lose_metadata(entry.kind, &entry.path);
        Ok(None)
    }
}

/// The largest metadata blob that is put together.
const LARGEST_BLOB: u64 = 16 << 20;
