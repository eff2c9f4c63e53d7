//! Packets of SFTP, version 3 (draft-ietf-secsh-filexfer-02).
//!
//! A packet is its length (4 bytes, without themselves), its type (1 byte), the number of the request (4 bytes) and what
//! belongs to the type. Numbers are big-endian; a text is its length (4 bytes) and its bytes.

use bytes::{Buf, Bytes};

use crate::failure::Status;

/// A packet that is being written.
pub(crate) struct Packet(Vec<u8>);

impl Packet {
    /// A request of this type; its number is filled in when it is sent.
    pub fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind, 0, 0, 0, 0])
    }

    /// A request of an extension.
    pub fn extended(name: &str) -> Self {
        Self::new(EXTENDED).text(name)
    }

    pub fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        // No text and no piece of a file is that long.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.reserve(4 + bytes.len());
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// The bytes to send, with this number.
    pub fn finish(mut self, number: u32) -> Bytes {
        let len = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX);
        let fields = [(0, len), (5, number)];
        for (at, value) in fields {
            if let Some(place) = self.0.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_be_bytes());
            }
        }
        Bytes::from(self.0)
    }

    /// The first packet of all, which has the version in place of a number.
    pub fn init() -> Bytes {
        Self::new(INIT).finish(VERSION)
    }
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(Status, String),
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<Entry>),
    Attributes(Attributes),
    Extended(Bytes),
    /// Something else, or less than belongs to it.
    Strange,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; what is not UTF-8 in it is replaced.
    pub name: String,
    /// What is known of it; links are not followed.
    pub attributes: Attributes,
}

/// What a server tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Length in bytes.
    pub size: Option<u64>,
    /// Permissions and type as POSIX has them.
    pub permissions: Option<u32>,
    /// Last change in seconds since 1970 UTC.
    pub modified: Option<u32>,
}

impl Reply {
    /// The number of the request and its answer; nothing when there is no number.
    pub fn parse(mut packet: Bytes) -> Option<(u32, Self)> {
        let kind = packet.try_get_u8().ok()?;
        let number = packet.try_get_u32().ok()?;
        Some((number, Self::of(kind, packet).unwrap_or(Self::Strange)))
    }

    fn of(kind: u8, mut rest: Bytes) -> Option<Self> {
        Some(match kind {
            STATUS => {
                let code = Status(rest.try_get_u32().ok()?);
                // Some servers leave out the text, which is required (draft-ietf-secsh-filexfer-02, section 7).
                let text = text(&mut rest).unwrap_or_default();
                Self::Status(code, text)
            }
            HANDLE => Self::Handle(bytes(&mut rest)?),
            DATA => Self::Data(bytes(&mut rest)?),
            NAME => {
                let count = rest.try_get_u32().ok()?;
                let mut entries = Vec::new();
                for _ in 0..count {
                    let name = text(&mut rest)?;
                    bytes(&mut rest)?;
                    let attributes = Attributes::take(&mut rest)?;
                    entries.push(Entry { name, attributes });
                }
                Self::Names(entries)
            }
            ATTRS => Self::Attributes(Attributes::take(&mut rest)?),
            EXTENDED_REPLY => Self::Extended(rest),
            _ => return None,
        })
    }
}

impl Attributes {
    /// Section 5.
    fn take(from: &mut Bytes) -> Option<Self> {
        let flags = from.try_get_u32().ok()?;
        let has = |flag: u32| flags & flag != 0;
        let mut found = Self::default();
        if has(0x1) {
            found.size = Some(from.try_get_u64().ok()?);
        }
        if has(0x2) {
            from.try_get_u64().ok()?;
        }
        if has(0x4) {
            found.permissions = Some(from.try_get_u32().ok()?);
        }
        if has(0x8) {
            from.try_get_u32().ok()?;
            found.modified = Some(from.try_get_u32().ok()?);
        }
        if has(0x8000_0000) {
            for _ in 0..from.try_get_u32().ok()? {
                bytes(from)?;
                bytes(from)?;
            }
        }
        Some(found)
    }
}

/// The names of the extensions in the first answer of a server; nothing when it is not one.
pub(crate) fn extensions(mut packet: Bytes) -> Option<Vec<String>> {
    if packet.try_get_u8().ok()? != VERSION_REPLY || packet.try_get_u32().ok()? < VERSION {
        return None;
    }
    let mut names = Vec::new();
    while packet.has_remaining() && names.len() < MOST_EXTENSIONS {
        names.push(text(&mut packet)?);
        bytes(&mut packet)?;
    }
    Some(names)
}

fn bytes(from: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(from.try_get_u32().ok()?).ok()?;
    (len <= from.len()).then(|| from.split_to(len))
}

fn text(from: &mut Bytes) -> Option<String> {
    Some(String::from_utf8_lossy(&bytes(from)?).into_owned())
}

/// Section 3.
pub(crate) const VERSION: u32 = 3;
const INIT: u8 = 1;
pub(crate) const VERSION_REPLY: u8 = 2;
pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const WRITE: u8 = 6;
pub(crate) const FSTAT: u8 = 8;
pub(crate) const OPENDIR: u8 = 11;
pub(crate) const READDIR: u8 = 12;
pub(crate) const REMOVE: u8 = 13;
pub(crate) const MKDIR: u8 = 14;
pub(crate) const STAT: u8 = 17;
pub(crate) const RENAME: u8 = 18;
pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;
pub(crate) const DATA: u8 = 103;
const NAME: u8 = 104;
pub(crate) const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;
/// OpenSSH has ten.
const MOST_EXTENSIONS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: u8, content: impl FnOnce(Packet) -> Packet) -> Option<(u32, Reply)> {
        Reply::parse(content(Packet::new(kind)).finish(7).slice(4..))
    }

    #[test]
    fn a_status_is_read_with_any_code_and_without_text() {
        for (code, text, has_text) in [(2, "no", true), (14, "", true), (99, "", false)] {
            let status = reply(STATUS, |packet| match has_text {
                true => packet.u32(code).text(text).text("en"),
                false => packet.u32(code),
            });
            let expected = Reply::Status(Status(code), text.to_owned());
            assert_eq!(status, Some((7, expected)));
        }
    }

    #[test]
    fn handles_and_names_may_be_any_bytes() {
        let handle = reply(HANDLE, |packet| packet.bytes(&[0, 255, 1]));
        let expected = Reply::Handle(Bytes::from_static(&[0, 255, 1]));
        assert_eq!(handle, Some((7, expected)));
        let names = reply(NAME, |packet| {
            let one = packet.u32(2).bytes(b"a\xff").text("long").u32(0);
            let two = one.text("b").text("").u32(0x8000_000f).u64(5).u64(0);
            two.u32(0o100_644).u32(1).u32(9).u32(1).text("x").text("y")
        });
        let attributes = Attributes {
            size: Some(5),
            permissions: Some(0o100_644),
            modified: Some(9),
        };
        let entry = |name: &str, attributes| Entry {
            name: name.to_owned(),
            attributes,
        };
        let expected = vec![
            entry("a\u{fffd}", Attributes::default()),
            entry("b", attributes),
        ];
        assert_eq!(names, Some((7, Reply::Names(expected))));
    }

    #[test]
    fn what_is_cut_or_unknown_is_strange() {
        for strange in [
            reply(HANDLE, |packet| packet.u32(9)),
            reply(NAME, |packet| packet.u32(u32::MAX)),
            reply(ATTRS, |packet| packet.u32(1)),
            reply(DATA, |packet| packet),
            reply(STATUS, |packet| packet),
            reply(77, |packet| packet),
        ] {
            assert_eq!(strange, Some((7, Reply::Strange)));
        }
        assert_eq!(Reply::parse(Bytes::from_static(&[STATUS, 0, 0])), None);
    }

    #[test]
    fn the_first_answer_names_extensions() {
        let packet = Packet::new(VERSION_REPLY).text("a@b").text("1");
        let packet = packet.finish(3).slice(4..);
        assert_eq!(extensions(packet), Some(vec!["a@b".to_owned()]));
        assert_eq!(extensions(Packet::new(STATUS).finish(3).slice(4..)), None);
        assert_eq!(Packet::init().as_ref(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
    }
}
