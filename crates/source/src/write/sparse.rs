//! Writing blocks so that runs of zeros become holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Writes bytes at a place where the file has nothing but zeros so far. Runs of zeros of about `HOLE_BYTES` are left
/// out; whoever calls it sets the file's length.
///
/// # Errors
///
/// What the system reports.
pub fn write_sparse(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    if bytes.len() < HOLE_BYTES {
        return file.write_all_at(bytes, at);
    }
    let (mut start, mut end) = (0, 0);
    for piece in bytes.chunks(HOLE_BYTES) {
        if is_zero(piece) {
            write_range(file, bytes, start, end, at)?;
            start = end + piece.len();
        }
        end += piece.len();
    }
    write_range(file, bytes, start, end, at)
}

/// Gives a file its length, whatever it had before, and the room for it. File systems that cannot reserve room give the
/// length alone.
///
/// # Errors
///
/// `StorageFull` when there is no room, or what the system reports.
pub fn allocate(file: &File, len: u64) -> io::Result<()> {
    // Reserving makes a file longer, never shorter; and of nothing it is an error.
    file.set_len(len)?;
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

fn write_range(file: &File, bytes: &[u8], start: usize, end: usize, at: u64) -> io::Result<()> {
    match bytes.get(start..end) {
        Some(range) if !range.is_empty() => file.write_all_at(range, at + start as u64),
        _ => Ok(()),
    }
}

/// Looks at a few bytes first, because most data ends it there.
fn is_zero(piece: &[u8]) -> bool {
    let (head, tail) = piece.split_at(piece.len().min(64));
    head.iter().all(|byte| *byte == 0)
        && tail
            .chunks(64)
            .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Shortest run of zeros that becomes a hole: file systems allocate 4 KiB to 64 KiB at a time.
const HOLE_BYTES: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn room_is_reserved_on_request() -> io::Result<()> {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("f");
        let file = File::options().write(true).create_new(true).open(&path)?;
        for len in [100_000, 300_000, 50_000, 0] {
            allocate(&file, len)?;
            assert_eq!(std::fs::metadata(&path)?.len(), len);
        }
        Ok(())
    }

    #[test]
    fn zeros_become_holes_and_the_content_is_the_same() -> io::Result<()> {
        let mut content = vec![0_u8; 10 * HOLE_BYTES + 77];
        for at in [0, HOLE_BYTES * 3 + 5, HOLE_BYTES * 4, content.len() - 1] {
            if let Some(byte) = content.get_mut(at) {
                *byte = 7;
            }
        }
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("f");
        let file = File::options().write(true).create_new(true).open(&path)?;
        file.set_len(content.len() as u64)?;
        for (number, block) in content.chunks(3 * HOLE_BYTES + 100).enumerate() {
            write_sparse(&file, block, (number * (3 * HOLE_BYTES + 100)) as u64)?;
        }
        drop(file);
        assert_eq!(std::fs::read(&path)?, content);
        let allocated = std::fs::metadata(&path)?.blocks() * 512;
        assert!(allocated < 8 * HOLE_BYTES as u64, "{allocated} bytes");
        Ok(())
    }
}
