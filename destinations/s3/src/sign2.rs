//! Request signatures of the old kind: AWS Signature Version 2, for gateways of long ago.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::sign::{Credentials, encode_key};

/// The value of the `Authorization` header; `headers` must hold `date`.
#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
pub(crate) fn authorization(
    credentials: &Credentials,
    method: &str,
    headers: &[(&'static str, String)],
    resource: &str,
) -> String {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let mut own: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-amz-"))
        .collect();
    own.sort_unstable();
    let mut text = format!(
        "{method}\n{}\n{}\n{}\n",
        header("content-md5"),
        header("content-type"),
        header("date")
    );
    for (name, value) in own {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    text.push_str(resource);
    let mut mac = Hmac::<Sha1>::new_from_slice(credentials.secret.expose().as_bytes())
        .expect("a key of any length is fine");
    mac.update(text.as_bytes());
    format!(
        "AWS {}:{}",
        credentials.key_id,
        STANDARD.encode(mac.finalize().into_bytes())
    )
}

/// What a request is about, as this signature wants it: bucket, encoded path, and those parameters that count.
pub(crate) fn resource(
    bucket: &str,
    path: &str,
    path_style: bool,
    query: &[(&str, String)],
) -> String {
    let mut text = if path_style {
        path.to_owned()
    } else {
        format!("/{}{path}", encode_key(bucket))
    };
    let mut counting: Vec<_> = query
        .iter()
        .filter(|(name, _)| SUB_RESOURCES.contains(name))
        .collect();
    counting.sort_unstable();
    for (at, (name, value)) in counting.into_iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

/// A time in seconds since 1970 UTC as HTTP writes it.
pub(crate) fn http_date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The parameters that are part of the resource, as far as we use them.
const SUB_RESOURCES: &[&str] = &["acl", "location", "partNumber", "uploadId", "uploads"];

#[cfg(test)]
mod tests {
    use larder_options::Secret;

    use super::*;

    /// The examples of the page named above.
    #[test]
    fn published_examples() {
        let credentials = Credentials {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let date = |text: &str| ("date", text.to_owned());
        let list = [
            ("prefix", "photos".to_owned()),
            ("max-keys", "50".into()),
            ("marker", "puppy".into()),
        ];
        for (method, headers, path, query, signature) in [
            (
                "GET",
                vec![date("Tue, 27 Mar 2007 19:36:42 +0000")],
                "/photos/puppy.jpg",
                vec![],
                "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
            ),
            (
                "PUT",
                vec![
                    ("content-type", "image/jpeg".to_owned()),
                    date("Tue, 27 Mar 2007 21:15:45 +0000"),
                ],
                "/photos/puppy.jpg",
                vec![],
                "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
            ),
            (
                "GET",
                vec![date("Tue, 27 Mar 2007 19:42:41 +0000")],
                "/",
                list.to_vec(),
                "htDYFYduRNen8P9ZfE/s9SuKy0U=",
            ),
            (
                "GET",
                vec![date("Tue, 27 Mar 2007 19:44:46 +0000")],
                "/",
                vec![("acl", String::new())],
                "c2WLPFtWHVgbEmeEG93a4cG37dM=",
            ),
        ] {
            let resource = resource("johnsmith", path, false, &query);
            assert_eq!(
                authorization(&credentials, method, &headers, &resource),
                format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}"),
                "{resource}"
            );
        }
    }

    #[test]
    fn path_style_paths_hold_the_bucket_already() {
        assert_eq!(
            resource("b", "/b/k", true, &[("uploadId", "x".into())]),
            "/b/k?uploadId=x"
        );
    }

    #[test]
    fn dates_as_http_writes_them() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
