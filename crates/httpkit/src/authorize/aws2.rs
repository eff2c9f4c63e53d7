//! AWS Signature Version 2, for gateways of long ago.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html>

use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use larder_destination::Result;
use reqwest::Url;
use reqwest::header::HeaderMap;
use sha1::Sha1;

use super::aws4::Skew;
use super::{Authorize, Credentials, Regions, authorization};
use crate::date::format_http_date;
use crate::encode;
use crate::failure::Call;
use crate::refused::Refused;
use crate::request::Request;

/// Signs the headers that the old signature covers; never the content.
#[derive(Debug)]
pub struct Aws2 {
    credentials: Credentials,
    /// The bucket, where it stands in the server's name instead of the path.
    bucket: Option<String>,
    regions: Arc<Regions>,
    skew: Skew,
}

impl Aws2 {
    /// Signs requests whose path holds the bucket, unless one is given, which then stands in the server's name.
    #[must_use]
    pub fn new(credentials: Credentials, bucket: Option<String>, regions: Arc<Regions>) -> Self {
        Self {
            credentials,
            bucket,
            regions,
            skew: Skew::default(),
        }
    }

    fn value(&self, method: &str, headers: &HeaderMap, resource: &str) -> String {
        let header = |name: &str| {
            let value = headers.get(name).map(|value| value.as_bytes());
            std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default()
        };
        let mut own: Vec<_> = headers
            .keys()
            .map(|name| name.as_str())
            .filter(|name| name.starts_with("x-amz-"))
            .collect();
        own.sort_unstable();
        let mut text = format!(
            "{method}\n{}\n{}\n{}\n",
            header("content-md5"),
            header("content-type"),
            header("date")
        );
        for name in own {
            text.push_str(&format!("{name}:{}\n", header(name).trim()));
        }
        text.push_str(resource);
        let key = self.credentials.secret.expose().as_bytes();
        format!(
            "AWS {}:{}",
            self.credentials.key_id,
            encode::base64(&hmac(key, &text))
        )
    }

    /// What a request is about, as this signature wants it: bucket, encoded path, and those parameters that count.
    fn resource(&self, path: &str, query: &str) -> String {
        let mut text = match &self.bucket {
            Some(bucket) => format!("/{}{path}", encode::path(bucket)),
            None => path.to_owned(),
        };
        let mut counting: Vec<_> = query
            .split('&')
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .filter(|(name, _)| SUB_RESOURCES.contains(name))
            .collect();
        counting.sort_unstable();
        for (at, (name, value)) in counting.into_iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(name);
            if !value.is_empty() {
                text.push('=');
                text.push_str(&encode::decode(value).unwrap_or_default());
            }
        }
        text
    }
}

#[async_trait]
impl Authorize for Aws2 {
    async fn sign(&self, _: &Call, request: &mut Request, now: i64) -> Result<()> {
        let dated = std::mem::replace(request, Request::get(request.url.clone(), request.wait));
        *request = dated.header("date", &format_http_date(self.skew.apply(now)));
        let resource = self.resource(request.url.path(), request.url.query().unwrap_or_default());
        let value = self.value(request.method.as_str(), &request.headers, &resource);
        authorization(request, &value);
        Ok(())
    }

    fn locate(&self, url: &mut Url) {
        self.regions.locate(url);
    }

    /// A wrong clock is corrected by the server's, and a wrong region is left.
    async fn refused(&self, _: &Call, sent: &Request, refused: &Refused, now: i64) -> Result<bool> {
        Ok(self.regions.learn(sent, refused) || self.skew.learn(refused, now))
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.credentials.secret.expose().to_owned()]
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn hmac(key: &[u8], text: &str) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("a key of any length is fine");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The parameters that are part of the resource, as far as destinations use them.
const SUB_RESOURCES: &[&str] = &["acl", "location", "partNumber", "uploadId", "uploads"];

#[cfg(test)]
mod tests {
    use larder_options::Secret;
    use reqwest::header::{CONTENT_TYPE, DATE, HeaderValue};

    use super::*;

    fn aws(bucket: Option<&str>) -> Aws2 {
        let credentials = Credentials {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let regions = Arc::new(Regions::new("a".into()));
        Aws2::new(credentials, bucket.map(str::to_owned), regions)
    }

    /// The examples of the page named above.
    #[test]
    fn published_examples() {
        let aws = aws(Some("johnsmith"));
        for (method, date, content_type, path, query, signature) in [
            (
                "GET",
                "Tue, 27 Mar 2007 19:36:42 +0000",
                "",
                "/photos/puppy.jpg",
                "",
                "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
            ),
            (
                "PUT",
                "Tue, 27 Mar 2007 21:15:45 +0000",
                "image/jpeg",
                "/photos/puppy.jpg",
                "",
                "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
            ),
            (
                "GET",
                "Tue, 27 Mar 2007 19:42:41 +0000",
                "",
                "/",
                "prefix=photos&max-keys=50&marker=puppy",
                "htDYFYduRNen8P9ZfE/s9SuKy0U=",
            ),
            (
                "GET",
                "Tue, 27 Mar 2007 19:44:46 +0000",
                "",
                "/",
                "acl",
                "c2WLPFtWHVgbEmeEG93a4cG37dM=",
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(date));
            if !content_type.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let resource = aws.resource(path, query);
            assert_eq!(
                aws.value(method, &headers, &resource),
                format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}"),
                "{resource}"
            );
        }
    }

    #[test]
    fn path_style_paths_hold_the_bucket_already() {
        let resource = aws(None).resource("/b/k", "uploadId=x%2F1&other=1");
        assert_eq!(resource, "/b/k?uploadId=x/1");
    }
}
