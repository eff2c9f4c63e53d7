//! Documents in replies as typed values.

use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde::de::DeserializeOwned;

/// Reads a document in XML whose outermost element is `root`, whatever its name space.
///
/// # Errors
/// What is wrong with it, in words.
pub fn xml<T: DeserializeOwned>(bytes: &[u8], root: &str) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    match root_name(text) {
        Some(found) if found == root => {}
        _ => return Err(format!("it is not a document of the kind {root}")),
    }
    quick_xml::de::from_str(text).map_err(|error| error.to_string())
}

/// Reads a document in JSON.
///
/// # Errors
/// Where it is wrong; not what stands there, which may be a token.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("it is not the document expected here (line {line}, column {column})")
    })
}

/// The name of the outermost element without its name space.
fn root_name(text: &str) -> Option<String> {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => {
                return Some(start.local_name().as_ref().to_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Answer {
        #[serde(rename = "Code")]
        code: String,
    }

    #[test]
    fn only_the_right_document_is_read() {
        let answer = Answer { code: "X".into() };
        let plain: Result<Answer, _> = xml(b"<Error><Code>X</Code></Error>", "Error");
        assert_eq!(plain, Ok(answer));
        let spaced = b"<?xml version=\"1.0\"?><e:Error xmlns:e=\"u\"><Code>X</Code></e:Error>";
        assert!(xml::<Answer>(spaced, "Error").is_ok());
        assert!(xml::<Answer>(b"<html/>", "Error").is_err());
        assert!(xml::<Answer>(b"", "Error").is_err());
        assert!(xml::<Answer>(b"\xff", "Error").is_err());
        assert!(json::<Answer>(b"{\"Code\":\"X\"}").is_ok());
        assert!(json::<Answer>(b"{").is_err());
    }
}
