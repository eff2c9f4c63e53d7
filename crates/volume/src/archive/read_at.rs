//! Positioned reading: what an archive is read from.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

/// A finished sequence of bytes that can be read at any place, by several threads at once.
///
/// Archives need this and no seeking, because a volume is read by the block and from more than one thread.
#[expect(
    clippy::len_without_is_empty,
    reason = "is_empty would hide the one of slices and vectors"
)]
pub trait ReadAt: Send + Sync {
    /// Reads bytes at `offset` into `buf` and returns how many; 0 only at the end or for an empty buffer.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Returns the length in bytes, which does not change while a reader is open.
    fn len(&self) -> io::Result<u64>;

    /// Returns all bytes when they lie in memory, which saves the reader a copy of each entry.
    fn bytes(&self) -> Option<&[u8]> {
        None
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.as_slice().len() as u64)
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&**self)
    }

    fn bytes(&self) -> Option<&[u8]> {
        (**self).bytes()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&**self)
    }

    fn bytes(&self) -> Option<&[u8]> {
        (**self).bytes()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&**self)
    }

    fn bytes(&self) -> Option<&[u8]> {
        (**self).bytes()
    }
}

/// Fills `buf` from `offset` on, or fails with [`io::ErrorKind::UnexpectedEof`].
pub(super) fn read_exact_at<S: ReadAt + ?Sized>(
    source: &S,
    mut offset: u64,
    mut buf: &mut [u8],
) -> io::Result<()> {
    while !buf.is_empty() {
        match source.read_at(offset, buf) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buf = buf.get_mut(count..).unwrap_or_default();
                offset = offset.saturating_add(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns `len` bytes at `offset`, without a copy when the source lies in memory.
///
/// The caller has checked the range against the length of the source.
pub(super) fn fetch<S: ReadAt + ?Sized>(
    source: &S,
    offset: u64,
    len: u64,
) -> io::Result<Cow<'_, [u8]>> {
    if let Some(all) = source.bytes() {
        return slice(all, offset, len)
            .map(Cow::Borrowed)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
    }
    let mut buf = vec![0; to_usize(len)?];
    read_exact_at(source, offset, &mut buf)?;
    Ok(Cow::Owned(buf))
}

/// Returns the `len` bytes at `offset` of `all`, if it is that long.
pub(super) fn slice(all: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    all.get(start..end)
}

/// Turns a length into one of memory.
pub(super) fn to_usize(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// A forward reader of a range of a source.
pub(super) struct Section<'a, S: ?Sized> {
    source: &'a S,
    position: u64,
    end: u64,
}

impl<'a, S: ReadAt + ?Sized> Section<'a, S> {
    /// Reads from `start` up to `end`.
    pub(super) fn new(source: &'a S, start: u64, end: u64) -> Self {
        Section {
            source,
            position: start,
            end,
        }
    }
}

impl<S: ReadAt + ?Sized> Read for Section<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = left.min(buf.len());
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        let count = loop {
            match self.source.read_at(self.position, buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_within_and_past_the_end() {
        let source: Arc<Vec<u8>> = Arc::new((0..10).collect());
        let mut buf = [0; 4];
        assert_eq!(ReadAt::read_at(&source, 8, &mut buf).unwrap(), 2);
        assert_eq!(&buf[..2], &[8, 9]);
        assert_eq!(ReadAt::read_at(&source, u64::MAX, &mut buf).unwrap(), 0);
        assert!(read_exact_at(&source, 7, &mut buf).is_err());
        assert_eq!(ReadAt::len(&source).unwrap(), 10);
    }

    #[test]
    fn a_section_ends_where_told() {
        let source: Vec<u8> = (0..10).collect();
        let mut all = Vec::new();
        Section::new(&source, 3, 6).read_to_end(&mut all).unwrap();
        assert_eq!(all, [3, 4, 5]);
        all.clear();
        Section::new(&source, 8, 60).read_to_end(&mut all).unwrap();
        assert_eq!(all, [8, 9]);
    }
}
