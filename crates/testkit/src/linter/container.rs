//! Zip and tar containers, read from their directories and checked against their own headers.

use std::io::Read;

use super::json::Json;

/// One entry of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
    /// How zip packed it: 0 stored, 8 deflate, 93 Zstandard; `None` in a tar, which is packed as a whole.
    pub method: Option<u16>,
}

/// Unpacks a container; what is wrong with it goes to `faults`.
pub(super) fn read(compression: &str, bytes: &[u8], faults: &mut Vec<String>) -> Vec<Entry> {
    let read = match compression {
        "zip" => zip(bytes, faults),
        "tgz" => {
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(bytes)
                .read_to_end(&mut tar)
                .map_err(|error| format!("gzip: {error}"))
                .and_then(|_| tar_entries(&tar, faults))
        }
        "tzstd" => zstd::decode_all(bytes)
            .map_err(|error| format!("zstd: {error}"))
            .and_then(|tar| tar_entries(&tar, faults)),
        other => Err(format!("{other} is no known container")),
    };
    let entries = read.unwrap_or_else(|fault| {
        faults.push(fault);
        Vec::new()
    });
    if entries.first().is_none_or(|first| first.name != "manifest") {
        faults.push("its first entry is not the manifest".to_owned());
    }
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            faults.push(format!("{a} is twice in it"));
        }
    }
    entries
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn position(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Lengths and place of an entry, from the directory or from its own header.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
}

const LOCAL: u32 = 0x0403_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END: u32 = 0x0605_4B50;
const END64: u32 = 0x0606_4B50;
const LOCATOR64: u32 = 0x0706_4B50;
const ENCRYPTED: u16 = 1;
const DESCRIPTOR: u16 = 8;

fn zip(bytes: &[u8], faults: &mut Vec<String>) -> Result<Vec<Entry>, String> {
    let cut = || "the zip directory is cut".to_owned();
    let end = bytes.len().checked_sub(22).ok_or_else(cut)?;
    if u32_at(bytes, end) != Some(END) || u16_at(bytes, end + 20) != Some(0) {
        return Err("it does not end with a zip directory without comment".to_owned());
    }
    let mut count = u64::from(u16_at(bytes, end + 10).ok_or_else(cut)?);
    let mut size = u64::from(u32_at(bytes, end + 12).ok_or_else(cut)?);
    let mut start = u64::from(u32_at(bytes, end + 16).ok_or_else(cut)?);
    let mut after = end;
    let locator = end
        .checked_sub(20)
        .filter(|at| u32_at(bytes, *at) == Some(LOCATOR64));
    if let Some(locator) = locator {
        after = position(u64_at(bytes, locator + 8).ok_or_else(cut)?);
        if u32_at(bytes, after) != Some(END64) {
            return Err("the zip64 record is not where its locator says".to_owned());
        }
        count = u64_at(bytes, after + 32).ok_or_else(cut)?;
        size = u64_at(bytes, after + 40).ok_or_else(cut)?;
        start = u64_at(bytes, after + 48).ok_or_else(cut)?;
    }
    if start.checked_add(size) != Some(after as u64) {
        faults.push("the zip directory is not right before its end record".to_owned());
    }
    let mut at = position(start);
    let mut entries = Vec::new();
    let mut expected_offset = 0;
    for _ in 0..count {
        if u32_at(bytes, at) != Some(CENTRAL) {
            return Err("the zip directory has fewer entries than it says".to_owned());
        }
        let names = [28, 30, 32].map(|field| u16_at(bytes, at + field).map(usize::from));
        let [Some(name_len), Some(extra_len), Some(comment_len)] = names else {
            return Err(cut());
        };
        let mut offset = u64::from(u32_at(bytes, at + 42).ok_or_else(cut)?);
        let extra_at = at + 46 + name_len;
        let mut member = member(bytes, at + 8, at + 46, name_len).ok_or_else(cut)?;
        let extra = bytes.get(extra_at..extra_at + extra_len).ok_or_else(cut)?;
        zip64(
            extra,
            &mut [&mut member.size, &mut member.packed, &mut offset],
        );
        at = extra_at + extra_len + comment_len;
        let (content, next) = zip_member(bytes, position(offset), &member)?;
        if offset != expected_offset {
            faults.push("there are bytes between the zip entries".to_owned());
        }
        expected_offset = next;
        let name = String::from_utf8(member.name).map_err(|_| "a name is no text".to_owned())?;
        if !name.is_ascii() || name.contains('\\') || name.ends_with('/') {
            faults.push(format!("the entry name {name:?}"));
        }
        entries.push(Entry {
            name,
            content,
            method: Some(member.method),
        });
    }
    Ok(entries)
}

/// The fields that directory and header have in common, from `fields` on.
fn member(bytes: &[u8], fields: usize, name_at: usize, name_len: usize) -> Option<Member> {
    Some(Member {
        name: bytes.get(name_at..name_at + name_len)?.to_vec(),
        flags: u16_at(bytes, fields)?,
        method: u16_at(bytes, fields + 2)?,
        crc: u32_at(bytes, fields + 8)?,
        packed: u64::from(u32_at(bytes, fields + 12)?),
        size: u64::from(u32_at(bytes, fields + 16)?),
    })
}

/// Puts the 64-bit values of an extra field in the places that hold the mark for them.
fn zip64(mut extra: &[u8], places: &mut [&mut u64]) {
    while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let field = extra.get(4..4 + usize::from(len)).unwrap_or_default();
        if id == 1 {
            let mut at = 0;
            for place in places.iter_mut() {
                if **place == u64::from(u32::MAX)
                    && let Some(value) = u64_at(field, at)
                {
                    **place = value;
                    at += 8;
                }
            }
        }
        extra = extra.get(4 + usize::from(len)..).unwrap_or_default();
    }
}

/// An entry's content, and where it ends, after a comparison of its own header with the directory.
fn zip_member(bytes: &[u8], offset: usize, listed: &Member) -> Result<(Vec<u8>, u64), String> {
    let shown = String::from_utf8_lossy(&listed.name).into_owned();
    let cut = || format!("{shown}: its header is cut");
    if u32_at(bytes, offset) != Some(LOCAL) {
        return Err(format!(
            "{shown}: there is no header where the directory says"
        ));
    }
    let name_len = usize::from(u16_at(bytes, offset + 26).ok_or_else(cut)?);
    let extra_len = usize::from(u16_at(bytes, offset + 28).ok_or_else(cut)?);
    let mut own = member(bytes, offset + 6, offset + 30, name_len).ok_or_else(cut)?;
    let data = offset + 30 + name_len + extra_len;
    let extra = bytes.get(data - extra_len..data).ok_or_else(cut)?;
    zip64(extra, &mut [&mut own.size, &mut own.packed]);
    let mut end = data as u64 + listed.packed;
    if listed.flags & DESCRIPTOR != 0 {
        (own.crc, own.packed, own.size) = (listed.crc, listed.packed, listed.size);
        // Signature, CRC and two lengths, which are long when the extra field for them is there.
        end += if extra.is_empty() { 16 } else { 24 };
    }
    if own != *listed {
        return Err(format!(
            "{shown}: header and directory differ: {own:?} {listed:?}"
        ));
    }
    if listed.flags & ENCRYPTED != 0 {
        return Err(format!("{shown}: it is encrypted by zip"));
    }
    let packed = bytes
        .get(data..data.saturating_add(position(listed.packed)))
        .ok_or_else(cut)?;
    let content = match listed.method {
        0 => packed.to_vec(),
        8 => {
            let mut content = Vec::new();
            flate2::read::DeflateDecoder::new(packed)
                .read_to_end(&mut content)
                .map_err(|error| format!("{shown}: {error}"))?;
            content
        }
        93 => zstd::decode_all(packed).map_err(|error| format!("{shown}: {error}"))?,
        other => return Err(format!("{shown}: method {other}")),
    };
    if content.len() as u64 != listed.size || crc32fast::hash(&content) != listed.crc {
        return Err(format!(
            "{shown}: its content is not what the directory says"
        ));
    }
    Ok((content, end))
}

/// The last entry of a tar: where the others are.
const TRAILER: &str = ".eof-header";

fn tar_entries(tar: &[u8], faults: &mut Vec<String>) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut places = Vec::new();
    let mut trailer = None;
    let mut at = 0;
    while at < tar.len() {
        if trailer.is_some() {
            return Err(format!("the tar goes on after {TRAILER}"));
        }
        let header = tar.get(at..at + 512).ok_or("a tar header is cut")?;
        let (name, size, mtime) = tar_header(header)?;
        let content = tar
            .get(at + 512..at + 512 + size)
            .ok_or_else(|| format!("{name} is cut"))?
            .to_vec();
        if name == TRAILER {
            trailer = Some((at, content));
        } else {
            places.push((name.clone(), at + 512, size, mtime));
            entries.push(Entry {
                name,
                content,
                method: None,
            });
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    match trailer {
        Some((offset, content)) => tar_trailer(offset, &content, &places, faults)?,
        None => faults.push(format!("the tar does not end with {TRAILER}")),
    }
    Ok(entries)
}

/// Name, length and time of a tar entry.
fn tar_header(header: &[u8]) -> Result<(String, usize, i64), String> {
    let field = |from: usize, len: usize| {
        let bytes = header.get(from..from + len).unwrap_or_default();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(len);
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    };
    let octal = |from: usize, len: usize| {
        let text = field(from, len);
        i64::from_str_radix(text.trim(), 8).map_err(|_| format!("no octal number: {text:?}"))
    };
    let name = field(0, 100);
    let sum: i64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                i64::from(*byte)
            }
        })
        .sum();
    if octal(148, 8)? != sum {
        return Err(format!("{name}: the tar header's sum is wrong"));
    }
    let fixed = [octal(100, 8)?, octal(108, 8)?, octal(116, 8)?];
    if fixed != [0o644, 0, 0] || field(257, 5) != "ustar" || !field(345, 155).is_empty() {
        return Err(format!("{name}: no plain ustar header: {fixed:?}"));
    }
    if !matches!(header.get(156), Some(b'0' | 0)) {
        return Err(format!("{name}: it is no file"));
    }
    let size = usize::try_from(octal(124, 12)?).map_err(|_| "a negative length")?;
    Ok((name, size, octal(136, 12)?))
}

fn tar_trailer(
    offset: usize,
    content: &[u8],
    places: &[(String, usize, usize, i64)],
    faults: &mut Vec<String>,
) -> Result<(), String> {
    let Some(end) = content.len().checked_sub(14) else {
        return Err(format!("{TRAILER} is too short"));
    };
    let (index, tail) = content.split_at(end);
    if !content.len().is_multiple_of(512)
        || tail.get(8..) != Some(b"EOFHD1")
        || u64_at(tail, 0) != Some(offset as u64)
    {
        faults.push(format!(
            "{TRAILER} does not end with its own place and EOFHD1"
        ));
    }
    let len = index.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let index = Json::parse(index.get(..len).unwrap_or_default())?;
    for (name, offset, size, mtime) in places {
        let found = index.get(name).map(|place| {
            (
                place.names(),
                ["Offset", "Size", "LastWriteTime"].map(|n| place.get(n).and_then(Json::number)),
            )
        });
        let numbers = [*offset as i64, *size as i64, *mtime].map(Some);
        if found != Some((vec!["Offset", "Size", "LastWriteTime"], numbers)) {
            faults.push(format!("{TRAILER} says {found:?} of {name}"));
        }
    }
    if index.names().len() != places.len() {
        faults.push(format!("{TRAILER} has other entries than the tar"));
    }
    Ok(())
}
