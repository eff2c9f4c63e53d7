//! AWS Signature Version 4.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, with the exceptions
//! for S3: the path is encoded once and never normalised, and the hash of the body travels in a header.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use larder_destination::Result;
use larder_options::Secret;
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::{Authorize, Regions, authorization};
use crate::date::http_date;
use crate::encode::hex;
use crate::failure::Call;
use crate::refused::Refused;
use crate::request::{Payload, Request};

/// The key pair of an account.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The public half.
    pub key_id: String,
    /// The private half.
    pub secret: Secret,
}

impl From<(String, Secret)> for Credentials {
    fn from((key_id, secret): (String, Secret)) -> Self {
        Self { key_id, secret }
    }
}

/// Signs all headers, and the content's hash where the request names it.
#[derive(Debug)]
pub struct Aws4 {
    credentials: Credentials,
    service: String,
    regions: Arc<Regions>,
    /// Whether contents are part of the signature.
    sign_payload: bool,
    skew: Skew,
}

impl Aws4 {
    /// Signs for `service` in the region in use.
    #[must_use]
    pub fn new(credentials: Credentials, service: String, regions: Arc<Regions>) -> Self {
        Self {
            credentials,
            service,
            regions,
            sign_payload: true,
            skew: Skew::default(),
        }
    }

    /// Leaves contents out of the signature; without TLS nothing protects them then.
    #[must_use]
    pub fn without_payload(mut self) -> Self {
        self.sign_payload = false;
        self
    }
}

#[async_trait]
impl Authorize for Aws4 {
    async fn sign(&self, _: &Call, request: &mut Request, now: i64) -> Result<()> {
        let hash = match (&request.payload, &request.content_sha256) {
            (Payload::Empty, _) => EMPTY_PAYLOAD,
            (_, Some(hash)) if self.sign_payload => hash,
            _ => UNSIGNED_PAYLOAD,
        }
        .to_owned();
        let date = amz_date(self.skew.apply(now));
        let signed = std::mem::replace(request, Request::get(request.url.clone(), request.wait));
        *request = signed
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", &hash);
        let host = request.host();
        let headers = request.headers.iter().map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
            (name.as_str(), value)
        });
        let headers: Vec<_> = headers.chain([("host", host.as_str())]).collect();
        let query = sorted_query(request.url.query().unwrap_or_default());
        let region = self.regions.current();
        let scope = Scope {
            region: &region,
            service: &self.service,
            date: &date,
        };
        let signable = Signable {
            method: request.method.as_str(),
            path: request.url.path(),
            query: &query,
            headers: &headers,
            payload_hash: &hash,
        };
        let value = signature(&self.credentials, scope, &signable);
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

/// How far the server's clock is ahead of ours, as far as it complained. All these signatures hold a time.
#[derive(Debug, Default)]
pub(super) struct Skew(AtomicI64);

impl Skew {
    /// The server's time.
    pub(super) fn apply(&self, now: i64) -> i64 {
        now.saturating_add(self.0.load(Ordering::Relaxed))
    }

    /// Corrects the clock by the server's when that is why it refused; true when that is worth another attempt.
    pub(super) fn learn(&self, refused: &Refused, now: i64) -> bool {
        let error = refused.xml("Error").unwrap_or_default();
        error.text_of("Code") == "RequestTimeTooSkewed" && self.correct(refused, now)
    }

    /// Corrects the clock by the server's; true when that changes it.
    pub(super) fn correct(&self, refused: &Refused, now: i64) -> bool {
        let Some(date) = refused.header("date").and_then(http_date) else {
            return false;
        };
        let skew = date.saturating_sub(now);
        let known = self.0.swap(skew, Ordering::Relaxed);
        // The same correction again would be refused again.
        known.abs_diff(skew) > SKEW_CHANGE_SECONDS
    }
}

/// The parts of a request that are signed.
struct Signable<'a> {
    /// The method in upper case.
    method: &'a str,
    /// The path as it is sent, encoded.
    path: &'a str,
    /// The query as it is sent but sorted.
    query: &'a str,
    /// Names in lower case, with the values as they are sent; in any order, each name once. `host` must be there.
    headers: &'a [(&'a str, &'a str)],
    /// The hash of the body in hexadecimal digits, or [`UNSIGNED_PAYLOAD`].
    payload_hash: &'a str,
}

/// What the signature is valid for.
#[derive(Clone, Copy)]
struct Scope<'a> {
    region: &'a str,
    service: &'a str,
    /// The time as [`amz_date`] writes it, the same as in the `x-amz-date` header.
    date: &'a str,
}

/// Stands for the hash of a body that is not signed.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The hash of an empty body.
const EMPTY_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A correction of the clock that differs by less from the last one changes nothing.
const SKEW_CHANGE_SECONDS: u64 = 60;

/// The value of the `Authorization` header.
fn signature(credentials: &Credentials, scope: Scope<'_>, request: &Signable<'_>) -> String {
    let mut headers: Vec<_> = request.headers.to_vec();
    headers.sort_unstable();
    let names = headers
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(";");
    let canonical = canonical_request(request, &headers, &names);
    let day = scope.date.get(..8).unwrap_or(scope.date);
    let area = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{area}\n{}",
        scope.date,
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let proof = hmac(&signing_key(credentials, day, scope), to_sign.as_bytes());
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{area}, SignedHeaders={names}, Signature={}",
        credentials.key_id,
        hex(&proof)
    )
}

fn canonical_request(request: &Signable<'_>, headers: &[(&str, &str)], names: &str) -> String {
    let mut text = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    for (name, value) in headers {
        text.push_str(name);
        text.push(':');
        // Runs of blanks count as one.
        for (at, word) in value.split_ascii_whitespace().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(names);
    text.push('\n');
    text.push_str(request.payload_hash);
    text
}

fn signing_key(credentials: &Credentials, day: &str, scope: Scope<'_>) -> [u8; 32] {
    let start = format!("AWS4{}", credentials.secret.expose());
    let key = hmac(start.as_bytes(), day.as_bytes());
    let key = hmac(&key, scope.region.as_bytes());
    let key = hmac(&key, scope.service.as_bytes());
    hmac(&key, b"aws4_request")
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is fine");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// A time in seconds since 1970 UTC as `20150830T123600Z`.
fn amz_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}

/// The parameters of an encoded query in the order that signatures want.
fn sorted_query(query: &str) -> String {
    let mut parts: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    parts.sort_unstable_by_key(|part| part.split_once('=').unwrap_or((part, "")));
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use larder_destination::{Operation, Result};
    use reqwest::header::{DATE, HeaderMap, HeaderValue};
    use reqwest::{StatusCode, Url};

    use super::*;
    use crate::encode;
    use crate::request::Wait;

    /// The suite of test vectors published by AWS ("Signature Version 4 test suite").
    #[test]
    fn general_test_vectors() {
        let credentials = Credentials {
            key_id: "AKIDEXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        };
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            date: "20150830T123600Z",
        };
        let plain: &[(&str, &str)] = &[
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let trimmed: &[(&str, &str)] = &[
            ("host", "example.amazonaws.com"),
            ("my-header1", " value1"),
            ("my-header2", " \"a   b   c\""),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let unreserved: String = ('-'..='~')
            .filter(|c| c.is_ascii_alphanumeric() || "-._~".contains(*c))
            .collect();
        let ordered = sorted_query("Param2=value2&Param1=value1");
        let utf8 = encode::path("/\u{1234}");
        let all = encode::query(&[(
            "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        )]);
        assert_eq!(unreserved.len(), 66);
        for (name, method, path, query, headers, names, expected) in [
            (
                "get-vanilla",
                "GET",
                "/",
                "",
                plain,
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/",
                ordered.as_str(),
                plain,
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-query-unreserved",
                "GET",
                "/",
                all.as_str(),
                plain,
                "host;x-amz-date",
                "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ),
            (
                "get-utf8",
                "GET",
                utf8.as_str(),
                "",
                plain,
                "host;x-amz-date",
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            (
                "post-vanilla",
                "POST",
                "/",
                "",
                plain,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-header-value-trim",
                "GET",
                "/",
                "",
                trimmed,
                "host;my-header1;my-header2;x-amz-date",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ] {
            let request = Signable {
                method,
                path,
                query,
                headers,
                payload_hash: EMPTY_PAYLOAD,
            };
            assert_eq!(
                signature(&credentials, scope, &request),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders={names}, Signature={expected}"
                ),
                "{name}"
            );
        }
    }

    /// The examples of the S3 reference, "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn examples_of_the_s3_reference() {
        let credentials = Credentials {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let scope = Scope {
            region: "us-east-1",
            service: "s3",
            date: "20130524T000000Z",
        };
        let text_hash = hex(&Sha256::digest(b"Welcome to Amazon S3."));
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let date = ("x-amz-date", "20130524T000000Z");
        let empty = ("x-amz-content-sha256", EMPTY_PAYLOAD);
        let lifecycle = "lifecycle=";
        let list = sorted_query("prefix=J&max-keys=2");
        let put_path = encode::path("/test$file.text");
        for (method, path, query, headers, payload_hash, expected) in [
            (
                "GET",
                "/test.txt",
                "",
                vec![host, ("range", "bytes=0-9"), empty, date],
                EMPTY_PAYLOAD,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                put_path.as_str(),
                "",
                vec![
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    host,
                    ("x-amz-content-sha256", text_hash.as_str()),
                    date,
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
                text_hash.as_str(),
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "/",
                lifecycle,
                vec![host, empty, date],
                EMPTY_PAYLOAD,
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/",
                list.as_str(),
                vec![host, empty, date],
                EMPTY_PAYLOAD,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let request = Signable {
                method,
                path,
                query,
                headers: &headers,
                payload_hash,
            };
            let value = signature(&credentials, scope, &request);
            assert!(
                value.ends_with(&format!("Signature={expected}")),
                "{method} {path}?{query}: {value}"
            );
        }
    }

    #[test]
    fn dates_are_utc_without_separators() {
        assert_eq!(amz_date(1_440_938_160), "20150830T123600Z");
        assert_eq!(amz_date(i64::MAX), "19700101T000000Z");
    }

    #[tokio::test]
    async fn a_wrong_clock_is_corrected_once() -> Result<()> {
        let credentials = Credentials {
            key_id: "A".into(),
            secret: Secret::new("s"),
        };
        let aws = Aws4::new(
            credentials,
            "s3".into(),
            Arc::new(Regions::new("us-east-1".into())),
        );
        let call = Call::new("test", Operation::List);
        let url = Url::parse("http://h/b?b=2&a=1").expect("an address");
        let mut headers = HeaderMap::new();
        headers.insert(
            DATE,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        );
        let refused = Refused {
            status: StatusCode::FORBIDDEN,
            headers,
            body: "<Error><Code>RequestTimeTooSkewed</Code></Error>".into(),
        };
        let mut request = Request::get(url, Wait::List);
        assert!(aws.refused(&call, &request, &refused, 0).await?);
        aws.sign(&call, &mut request, 10).await?;
        let date = request.headers.get("x-amz-date").cloned();
        assert_eq!(date, Some(HeaderValue::from_static("19941106T084947Z")));
        assert!(!aws.refused(&call, &request, &refused, 0).await?);
        Ok(())
    }
}
