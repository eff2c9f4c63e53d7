//! Writes a zip file front to back: nothing is sought, nothing written twice.
//!
//! Sizes and checksum stand in the local header, because entries arrive packed. Only a stream too large to be kept
//! in memory has them in a data descriptor behind it.

use std::io::{self, Write};

use super::encode::{PIECE, StreamEncoder};
use super::pack::{Hint, Method, PackMethod, Packed, Packer};
use super::zip::{
    CENTRAL_SIGNATURE, DESCRIPTOR_SIGNATURE, END_LEN, END_SIGNATURE, END64_LEN, END64_SIGNATURE,
    EXTRA_ZIP64, FILE_ATTRIBUTES, FLAG_DESCRIPTOR, FLAG_UTF8, LOCAL_SIGNATURE, LOCATOR_LEN,
    LOCATOR_SIGNATURE, MADE_BY_UNIX, METHOD_DEFLATE, METHOD_STORED, METHOD_ZSTD, SATURATED_16,
    SATURATED_32, VERSION_PLAIN, VERSION_ZIP64, VERSION_ZSTD, dos_date_time,
};
use crate::{Error, Result, VolumeTime};

/// Streams up to this many bytes are kept in memory and written like any entry.
pub(super) const STREAM_BUFFER: usize = 8 << 20;

/// Writes a zip file; the central directory is kept in memory, some 90 bytes for a block.
pub(super) struct ZipWriter<W> {
    out: W,
    /// Bytes written so far.
    position: u64,
    directory: Vec<u8>,
    entries: u64,
    date: u16,
    time: u16,
    /// Set while an entry is being written, so that nothing follows a half-written one.
    torn: bool,
}

/// What an entry's two headers say.
struct Record<'a> {
    name: &'a str,
    method: Method,
    descriptor: bool,
    crc: u32,
    packed: u64,
    size: u64,
}

impl<W: Write> ZipWriter<W> {
    /// Starts an archive whose entries all get the time `mtime`.
    pub(super) fn new(out: W, mtime: VolumeTime) -> Self {
        let (date, time) = dos_date_time(mtime);
        ZipWriter {
            out,
            position: 0,
            directory: Vec::new(),
            entries: 0,
            date,
            time,
            torn: false,
        }
    }

    /// Pretends that `position` bytes have been written already, to reach Zip64 in a test.
    #[cfg(test)]
    pub(super) fn at(out: W, position: u64) -> Self {
        ZipWriter {
            position,
            ..Self::new(out, VolumeTime(0))
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// The length of the archive if it were finished now.
    pub(super) fn estimated_len(&self) -> u64 {
        let wide = if self.needs_zip64() {
            END64_LEN + LOCATOR_LEN
        } else {
            0
        };
        self.position + self.directory.len() as u64 + wide + END_LEN
    }

    /// Appends an entry.
    pub(super) fn add_packed(&mut self, name: &str, packed: &Packed) -> Result<()> {
        let record = Record {
            name,
            method: packed.method,
            descriptor: false,
            crc: packed.crc32,
            packed: packed.bytes.len() as u64,
            size: packed.size,
        };
        let header = self.begin(&record)?;
        self.append(&packed.bytes)?;
        self.end(&record, header);
        Ok(())
    }

    /// Appends an entry of unknown size.
    pub(super) fn add_stream(
        &mut self,
        name: &str,
        method: PackMethod,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        check_name(name)?;
        let mut sink = StreamSink {
            writer: self,
            name,
            method,
            buffer: Vec::new(),
            started: None,
            crc: crc32fast::Hasher::new(),
            size: 0,
        };
        content(&mut sink)?;
        sink.finish()
    }

    /// Writes the central directory and returns the writer underneath, flushed.
    pub(super) fn finish(mut self) -> Result<W> {
        self.check_whole()?;
        let start = self.position;
        let directory = std::mem::take(&mut self.directory);
        let len = directory.len() as u64;
        let mut tail = Vec::new();
        if self.needs_zip64() {
            tail.extend(END64_SIGNATURE);
            tail.extend((END64_LEN - 12).to_le_bytes());
            tail.extend((MADE_BY_UNIX | VERSION_ZIP64).to_le_bytes());
            tail.extend(VERSION_ZIP64.to_le_bytes());
            tail.extend([0; 8]); // this disk, disk with the directory
            for value in [self.entries, self.entries, len, start] {
                tail.extend(value.to_le_bytes());
            }
            tail.extend(LOCATOR_SIGNATURE);
            tail.extend([0; 4]);
            tail.extend((start + len).to_le_bytes());
            tail.extend(1u32.to_le_bytes());
        }
        tail.extend(END_SIGNATURE);
        tail.extend([0; 4]);
        tail.extend(saturate_16(self.entries).to_le_bytes());
        tail.extend(saturate_16(self.entries).to_le_bytes());
        tail.extend(saturate_32(len).to_le_bytes());
        tail.extend(saturate_32(start).to_le_bytes());
        tail.extend([0; 2]);
        self.out.write_all(&directory)?;
        self.out.write_all(&tail)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn needs_zip64(&self) -> bool {
        self.entries >= SATURATED_16
            || self.position >= SATURATED_32
            || self.directory.len() as u64 >= SATURATED_32
    }

    fn check_whole(&self) -> Result<()> {
        if self.torn {
            return Err(io::Error::other(
                "an entry of the archive was cut short by an earlier error",
            )
            .into());
        }
        Ok(())
    }

    /// Writes a local header (APPNOTE 4.3.7) and returns where it begins.
    fn begin(&mut self, record: &Record<'_>) -> Result<u64> {
        self.check_whole()?;
        check_name(record.name)?;
        self.torn = true;
        let start = self.position;
        let wide = record.wide();
        // Both sizes are saturated if one is (APPNOTE 4.5.3).
        let sizes = if wide {
            [u32::MAX; 2]
        } else {
            [record.packed, record.size].map(saturate_32)
        };
        let mut header = Vec::with_capacity(64 + record.name.len());
        header.extend(LOCAL_SIGNATURE);
        self.put_common(&mut header, record, wide, sizes);
        header.extend(if wide { 20u16 } else { 0 }.to_le_bytes());
        header.extend(record.name.as_bytes());
        if wide {
            header.extend(EXTRA_ZIP64.to_le_bytes());
            header.extend(16u16.to_le_bytes());
            header.extend(record.size.to_le_bytes());
            header.extend(record.packed.to_le_bytes());
        }
        self.append(&header)?;
        Ok(start)
    }

    /// Notes a complete entry in the central directory (APPNOTE 4.3.12).
    fn end(&mut self, record: &Record<'_>, header: u64) {
        let mut extra = Vec::new();
        for value in [record.size, record.packed, header] {
            if value >= SATURATED_32 {
                extra.extend(value.to_le_bytes());
            }
        }
        let wide = !extra.is_empty();
        let mut directory = std::mem::take(&mut self.directory);
        directory.extend(CENTRAL_SIGNATURE);
        directory.extend((MADE_BY_UNIX | record.version(wide)).to_le_bytes());
        self.put_common(
            &mut directory,
            record,
            wide,
            [record.packed, record.size].map(saturate_32),
        );
        directory.extend(if wide { extra.len() as u16 + 4 } else { 0 }.to_le_bytes());
        directory.extend([0; 6]); // comment length, disk, internal attributes
        directory.extend(FILE_ATTRIBUTES.to_le_bytes());
        directory.extend(saturate_32(header).to_le_bytes());
        directory.extend(record.name.as_bytes());
        if wide {
            directory.extend(EXTRA_ZIP64.to_le_bytes());
            directory.extend((extra.len() as u16).to_le_bytes());
            directory.extend(extra);
        }
        self.directory = directory;
        self.entries += 1;
        self.torn = false;
    }

    /// The fields that both headers have in the same order: version needed to length of the name.
    fn put_common(&self, to: &mut Vec<u8>, record: &Record<'_>, wide: bool, sizes: [u32; 2]) {
        let utf8 = if record.name.is_ascii() { 0 } else { FLAG_UTF8 };
        let descriptor = if record.descriptor {
            FLAG_DESCRIPTOR
        } else {
            0
        };
        to.extend(record.version(wide).to_le_bytes());
        to.extend((utf8 | descriptor).to_le_bytes());
        to.extend(method_number(record.method).to_le_bytes());
        to.extend(self.time.to_le_bytes());
        to.extend(self.date.to_le_bytes());
        to.extend(record.crc.to_le_bytes());
        sizes.iter().for_each(|size| to.extend(size.to_le_bytes()));
        to.extend(saturate_16(record.name.len() as u64).to_le_bytes());
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

impl Record<'_> {
    /// Whether the sizes need Zip64. Behind a stream they do not stand in the local header.
    fn wide(&self) -> bool {
        self.size >= SATURATED_32 || self.packed >= SATURATED_32
    }

    fn version(&self, wide: bool) -> u16 {
        match self.method {
            Method::Zstd => VERSION_ZSTD,
            _ if wide => VERSION_ZIP64,
            _ => VERSION_PLAIN,
        }
    }
}

/// Takes the content of a stream: first into memory, then, when that grows too large, through an encoder.
struct StreamSink<'a, W> {
    writer: &'a mut ZipWriter<W>,
    name: &'a str,
    method: PackMethod,
    buffer: Vec<u8>,
    started: Option<Started>,
    crc: crc32fast::Hasher,
    size: u64,
}

/// An entry whose local header is written.
struct Started {
    encoder: StreamEncoder,
    method: Method,
    header: u64,
    packed: u64,
}

impl<W: Write> StreamSink<'_, W> {
    fn start(&mut self) -> Result<()> {
        // Stored data of unknown length cannot be found without the central directory, deflate's stored blocks can.
        let (encoder, method) = match self.method {
            PackMethod::Stored => (StreamEncoder::deflate(0), Method::Deflate),
            PackMethod::Deflate { level } => (StreamEncoder::deflate(level), Method::Deflate),
            PackMethod::Zstd { level } => (StreamEncoder::zstd(level, false)?, Method::Zstd),
        };
        let record = Record {
            name: self.name,
            method,
            descriptor: true,
            crc: 0,
            packed: 0,
            size: 0,
        };
        let header = self.writer.begin(&record)?;
        self.started = Some(Started {
            encoder,
            method,
            header,
            packed: 0,
        });
        let buffer = std::mem::take(&mut self.buffer);
        buffer.chunks(PIECE).try_for_each(|piece| self.push(piece))
    }

    fn push(&mut self, piece: &[u8]) -> Result<()> {
        let Some(started) = &mut self.started else {
            return Ok(());
        };
        self.crc.update(piece);
        self.size += piece.len() as u64;
        started.encoder.push(piece)?;
        let output = started.encoder.output();
        started.packed += output.len() as u64;
        self.writer.append(output)?;
        output.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let Some(started) = self.started.take() else {
            let packed = Packer::new(self.method).pack_vec(self.buffer, Hint::Compressible);
            return self.writer.add_packed(self.name, &packed);
        };
        let rest = started.encoder.finish()?;
        self.writer.append(&rest)?;
        let record = Record {
            name: self.name,
            method: started.method,
            descriptor: true,
            crc: self.crc.finalize(),
            packed: started.packed + rest.len() as u64,
            size: self.size,
        };
        let mut descriptor = DESCRIPTOR_SIGNATURE.to_vec();
        descriptor.extend(record.crc.to_le_bytes());
        // The size is not known when the local header is written, so there is no Zip64 field in it; readers go by
        // the central directory. Reserving the field in every streamed entry would trouble more of them.
        if record.wide() {
            descriptor.extend(record.packed.to_le_bytes());
            descriptor.extend(record.size.to_le_bytes());
        } else {
            descriptor.extend(saturate_32(record.packed).to_le_bytes());
            descriptor.extend(saturate_32(record.size).to_le_bytes());
        }
        self.writer.append(&descriptor)?;
        self.writer.end(&record, started.header);
        Ok(())
    }
}

impl<W: Write> Write for StreamSink<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let piece = buf.get(..PIECE).unwrap_or(buf);
        if self.started.is_none() {
            if self.buffer.len() + piece.len() <= STREAM_BUFFER {
                self.buffer.extend_from_slice(piece);
                return Ok(piece.len());
            }
            self.start()?;
        }
        self.push(piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses names that the headers cannot hold.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() as u64 > SATURATED_16 {
        return Err(Error::Unsupported(format!(
            "an entry name of {} bytes",
            name.len()
        )));
    }
    Ok(())
}

fn method_number(method: Method) -> u16 {
    match method {
        Method::Stored => METHOD_STORED,
        Method::Deflate => METHOD_DEFLATE,
        Method::Zstd => METHOD_ZSTD,
    }
}

fn saturate_32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn saturate_16(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::read_at::ReadAt;
    use super::super::{Container, zip_reader};
    use super::*;

    /// A file of which only the end exists; the rest reads as zeros.
    struct Late(u64, Vec<u8>);

    impl ReadAt for Late {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            match offset.checked_sub(self.0) {
                Some(offset) => self.1.read_at(offset, buf),
                None => {
                    let count = usize::try_from(self.0 - offset)
                        .unwrap_or(usize::MAX)
                        .min(buf.len());
                    buf[..count].fill(0);
                    Ok(count)
                }
            }
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.0 + self.1.len() as u64)
        }
    }

    #[test]
    fn offsets_above_four_gib() {
        for position in [SATURATED_32 - 100, SATURATED_32 - 1, SATURATED_32, 5 << 30] {
            let mut writer = ZipWriter::at(Vec::new(), position);
            let mut packer = Packer::new(PackMethod::Deflate { level: 6 });
            for name in ["one", "two", "three"] {
                writer
                    .add_packed(
                        name,
                        &packer.pack(name.repeat(100).as_bytes(), Hint::Compressible),
                    )
                    .unwrap();
            }
            let estimate = writer.estimated_len();
            let file = Late(position, writer.finish().unwrap());
            assert_eq!(ReadAt::len(&file).unwrap(), estimate);
            let (entries, recovered) = zip_reader::open(&file).unwrap();
            assert_eq!((entries.len(), recovered), (3, false), "{position}");
            let reader = super::super::ArchiveReader {
                container: Container::Zip(file),
                entries,
                recovered,
                names: Default::default(),
            };
            let three = reader.find("three").unwrap();
            assert_eq!(
                three.place.start > SATURATED_32,
                position > SATURATED_32 - 70,
                "{position}"
            );
            assert_eq!(
                reader.read(three, 500).unwrap(),
                "three".repeat(100).as_bytes()
            );
        }
    }

    #[test]
    fn sizes_above_four_gib() {
        let mut writer = ZipWriter::new(Vec::new(), VolumeTime(0));
        for size in [SATURATED_32 - 1, SATURATED_32, 6 << 30] {
            let packed = Packed {
                method: Method::Zstd,
                bytes: vec![1; 300_000],
                crc32: 1,
                size,
            };
            writer.add_packed(&size.to_string(), &packed).unwrap();
        }
        let bytes = writer.finish().unwrap();
        // Both headers agree: with the directory and without it.
        for bytes in [&bytes[..], &bytes[..bytes.len() - 1]] {
            let (entries, _) = zip_reader::open(bytes).unwrap();
            let sizes: Vec<u64> = entries.iter().map(|entry| entry.size).collect();
            assert_eq!(sizes, [SATURATED_32 - 1, SATURATED_32, 6 << 30]);
            assert!(entries.iter().all(|entry| entry.place.packed == 300_000));
        }
    }

    #[test]
    fn headers_are_as_required() {
        let mut writer = ZipWriter::new(Vec::new(), VolumeTime::parse("20240101T000000Z").unwrap());
        let packed = Packed {
            method: Method::Stored,
            bytes: b"abc".to_vec(),
            crc32: 0x3524_41c2,
            size: 3,
        };
        writer.add_packed("a", &packed).unwrap();
        let bytes = writer.finish().unwrap();
        let local = b"PK\x03\x04\x14\0\0\0\0\0\0\0\x21\x58\xc2\x41\x24\x35\x03\0\0\0\x03\0\0\0\x01\0\0\0aabc";
        let central = b"PK\x01\x02\x14\x03\x14\0\0\0\0\0\0\0\x21\x58\xc2\x41\x24\x35\x03\0\0\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\xa4\x81\0\0\0\0a";
        let end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0\x22\0\0\0\0\0";
        assert_eq!(bytes, [&local[..], central, end].concat());

        let mut writer = ZipWriter::new(Vec::new(), VolumeTime(0));
        writer
            .add_packed(
                "é",
                &Packed {
                    method: Method::Zstd,
                    ..packed
                },
            )
            .unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes[4..10], [63, 0, 0, 8, 93, 0]);
        assert_eq!(bytes[35..45], [b'P', b'K', 1, 2, 63, 3, 63, 0, 0, 8]);
    }
}
