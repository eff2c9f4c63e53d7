//! What the service says, as typed values.
//!
//! Element names are those of the S3 API reference
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>). Unknown
//! elements are passed over, name spaces do not matter.

use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde::Deserialize;

/// A page of a listing, of either version of the call.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListBucketResult {
    /// The objects.
    pub contents: Vec<Contents>,
    /// The folders.
    pub common_prefixes: Vec<CommonPrefix>,
    /// Whether more pages follow.
    pub is_truncated: bool,
    /// Where the next page begins, in version 2. Opaque.
    pub next_continuation_token: Option<String>,
    /// Where the next page begins, in version 1. Not every server sends it.
    pub next_marker: Option<String>,
    /// `url` when keys and prefixes are percent-encoded.
    pub encoding_type: Option<String>,
}

/// One object.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Contents {
    /// The whole key.
    pub key: String,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Time of the last change, as in RFC 3339.
    pub last_modified: Option<String>,
    /// The storage class.
    pub storage_class: Option<String>,
}

/// One folder.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CommonPrefix {
    /// The whole prefix with the delimiter at its end.
    pub prefix: String,
}

impl ListBucketResult {
    /// Reads a page and decodes its names.
    pub(crate) fn parse(xml: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(xml).map_err(|error| error.to_string())?;
        if root_name(text).as_deref() != Some("ListBucketResult") {
            return Err("the reply is not a listing".to_owned());
        }
        let mut page: Self = quick_xml::de::from_str(text).map_err(|error| error.to_string())?;
        if page
            .encoding_type
            .as_deref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("url"))
        {
            for object in &mut page.contents {
                object.key = decode(&object.key)?;
            }
            for folder in &mut page.common_prefixes {
                folder.prefix = decode(&folder.prefix)?;
            }
            if let Some(marker) = &mut page.next_marker {
                *marker = decode(marker)?;
            }
        }
        Ok(page)
    }

    /// The greatest key or prefix of the page: where version 1 goes on when the server names no marker.
    pub(crate) fn last_name(&self) -> Option<&str> {
        let keys = self.contents.iter().map(|object| object.key.as_str());
        keys.chain(
            self.common_prefixes
                .iter()
                .map(|folder| folder.prefix.as_str()),
        )
        .max()
    }
}

/// An error document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ErrorReply {
    /// The word that programs understand.
    pub code: String,
    /// The sentence for people.
    pub message: String,
    /// The right region, with errors about regions.
    pub region: Option<String>,
    /// The right server, with redirects.
    pub endpoint: Option<String>,
}

impl ErrorReply {
    /// Reads an error document; `None` when the text is something else.
    pub(crate) fn parse(xml: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(xml).ok()?;
        if root_name(text).as_deref() != Some("Error") {
            return None;
        }
        quick_xml::de::from_str(text).ok()
    }
}

/// The answer to the start of a multipart upload.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct InitiateMultipartUploadResult {
    /// Names the upload in all further requests.
    pub upload_id: String,
}

impl InitiateMultipartUploadResult {
    /// Reads the answer.
    pub(crate) fn parse(xml: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(xml).map_err(|error| error.to_string())?;
        let reply: Self = quick_xml::de::from_str(text).map_err(|error| error.to_string())?;
        if reply.upload_id.is_empty() {
            return Err("the reply names no upload".to_owned());
        }
        Ok(reply)
    }
}

/// The document that creates a bucket in a region.
pub(crate) fn create_bucket_document(location: &str) -> String {
    let location = quick_xml::escape::escape(location);
    format!(
        "<CreateBucketConfiguration xmlns=\"{NAMESPACE}\"><LocationConstraint>{location}</LocationConstraint>\
         </CreateBucketConfiguration>"
    )
}

/// The document that ends a multipart upload; `etags` are those of the parts in order.
pub(crate) fn complete_document(etags: &[String]) -> String {
    let mut text = format!("<CompleteMultipartUpload xmlns=\"{NAMESPACE}\">");
    for (at, etag) in etags.iter().enumerate() {
        let etag = quick_xml::escape::escape(etag.as_str());
        text.push_str(&format!(
            "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>",
            at + 1
        ));
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

/// The name of the outermost element without its name space.
fn root_name(xml: &str) -> Option<String> {
    let mut reader = Reader::from_str(xml);
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

/// Undoes the percent-encoding of names in listings; `+` is a space there, as in forms.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(), digit());
                let value = high
                    .zip(low)
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                value.ok_or("a name in the listing is not encoded properly")?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a name in the listing is not UTF-8".to_owned())
}

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_version_2() -> Result<(), String> {
        let page = ListBucketResult::parse(
            br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p%2F</Prefix>
<KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><Delimiter>%2F</Delimiter><IsTruncated>true</IsTruncated>
<EncodingType>url</EncodingType><NextContinuationToken>a+b/=</NextContinuationToken>
<Contents><Key>p/a+b%2Bc%25.zip</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified><ETag>"x"</ETag>
<Size>12</Size><StorageClass>GLACIER</StorageClass><Owner><ID>1</ID></Owner></Contents>
<CommonPrefixes><Prefix>p/%C3%A9/</Prefix></CommonPrefixes>
<Contents><Key>p/z</Key><Size>0</Size></Contents>
</ListBucketResult>"#,
        )?;
        assert!(page.is_truncated);
        assert_eq!(page.next_continuation_token.as_deref(), Some("a+b/="));
        let keys: Vec<_> = page
            .contents
            .iter()
            .map(|object| (object.key.as_str(), object.size))
            .collect();
        assert_eq!(keys, [("p/a b+c%.zip", Some(12)), ("p/z", Some(0))]);
        assert_eq!(
            page.common_prefixes
                .first()
                .map(|folder| folder.prefix.as_str()),
            Some("p/é/")
        );
        assert_eq!(page.last_name(), Some("p/é/"));
        Ok(())
    }

    #[test]
    fn empty_page_and_page_without_encoding() -> Result<(), String> {
        let empty = ListBucketResult::parse(b"<ListBucketResult/>")?;
        assert!(empty.contents.is_empty() && !empty.is_truncated && empty.last_name().is_none());
        let plain = ListBucketResult::parse(
            b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a+b &amp; c</Key></Contents>\
              </ListBucketResult>",
        )?;
        assert_eq!(
            plain.contents.first().map(|object| object.key.as_str()),
            Some("a+b & c")
        );
        Ok(())
    }

    #[test]
    fn other_documents_are_no_listing() {
        for text in [
            "",
            "hello",
            "<html><body/></html>",
            "<Error><Code>x</Code></Error>",
        ] {
            assert!(ListBucketResult::parse(text.as_bytes()).is_err(), "{text}");
        }
        let broken = b"<ListBucketResult><Contents><Key>a</Key>";
        assert!(ListBucketResult::parse(broken).is_err());
    }

    #[test]
    fn error_documents() {
        let reply = ErrorReply::parse(
            b"<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message>\
              <Region>eu-west-1</Region><HostId>x</HostId></Error>",
        );
        let reply = reply.unwrap_or_default();
        assert_eq!(reply.code, "AuthorizationHeaderMalformed");
        assert_eq!(reply.region.as_deref(), Some("eu-west-1"));
        assert_eq!(ErrorReply::parse(b"<html>nginx</html>"), None);
        assert_eq!(ErrorReply::parse(b""), None);
    }

    #[test]
    fn documents_are_escaped() {
        assert!(
            create_bucket_document("a<b")
                .contains("<LocationConstraint>a&lt;b</LocationConstraint>")
        );
        let text = complete_document(&["\"e1\"".into(), "e2".into()]);
        assert!(
            text.contains("<Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag></Part>"),
            "{text}"
        );
        assert!(text.contains("<PartNumber>2</PartNumber>"));
    }
}
