//! Request signatures: AWS Signature Version 4.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, with the exceptions
//! for S3: the path is encoded once and never normalised, and the hash of the body travels in a header.

use hmac::{Hmac, KeyInit, Mac};
use larder_options::Secret;
use sha2::{Digest, Sha256};

/// The key pair of an account.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// The public half.
    pub key_id: String,
    /// The private half.
    pub secret: Secret,
}

/// The parts of a request that are signed.
#[derive(Clone, Debug)]
pub(crate) struct Signable<'a> {
    /// The method in upper case.
    pub method: &'a str,
    /// The path as it is sent, encoded.
    pub path: &'a str,
    /// The query as it is sent: encoded, sorted.
    pub query: &'a str,
    /// Names in lower case, with the values as they are sent; in any order, each name once. `host` must be there.
    pub headers: &'a [(&'a str, &'a str)],
    /// The hash of the body in hexadecimal digits, or [`UNSIGNED_PAYLOAD`].
    pub payload_hash: &'a str,
}

/// What the signature is valid for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The service, `s3` nearly always.
    pub service: &'a str,
    /// The time as [`amz_date`] writes it, the same as in the `x-amz-date` header.
    pub date: &'a str,
}

/// Which kind of signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureVersion {
    /// The old one, see [`crate::sign2`].
    V2,
    /// The usual one.
    V4,
}

/// Stands for the hash of a body that is not signed.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The hash of an empty body.
pub(crate) const EMPTY_PAYLOAD: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The value of the `Authorization` header.
pub(crate) fn authorization(
    credentials: &Credentials,
    scope: Scope<'_>,
    request: &Signable<'_>,
) -> String {
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
    let signature = hmac(&signing_key(credentials, day, scope), to_sign.as_bytes());
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{area}, SignedHeaders={names}, Signature={}",
        credentials.key_id,
        hex(&signature)
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

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// A time in seconds since 1970 UTC as `20150830T123600Z`.
pub(crate) fn amz_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}

/// Percent-encodes the bytes of a key; slashes stay.
pub(crate) fn encode_key(key: &str) -> String {
    encode(key, true)
}

/// Percent-encodes a query name or value.
pub(crate) fn encode_query(text: &str) -> String {
    encode(text, false)
}

fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into())
            }
            b'/' if keep_slash => encoded.push('/'),
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                    encoded.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    encoded
}

/// Encodes and sorts query parameters, as signature and request need them.
pub(crate) fn canonical_query(pairs: &[(&str, String)]) -> String {
    let mut encoded: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (encode_query(name), encode_query(value)))
        .collect();
    encoded.sort_unstable();
    encoded
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ordered = canonical_query(&[("Param2", "value2".into()), ("Param1", "value1".into())]);
        let utf8 = encode_key("/\u{1234}");
        let all = canonical_query(&[(
            "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".into(),
        )]);
        assert_eq!(unreserved.len(), 66);
        for (name, method, path, query, headers, names, signature) in [
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
                authorization(&credentials, scope, &request),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders={names}, Signature={signature}"
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
        let lifecycle = canonical_query(&[("lifecycle", String::new())]);
        let list = canonical_query(&[("prefix", "J".into()), ("max-keys", "2".into())]);
        let put_path = encode_key("/test$file.text");
        for (method, path, query, headers, payload_hash, signature) in [
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
                lifecycle.as_str(),
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
            let value = authorization(&credentials, scope, &request);
            assert!(
                value.ends_with(&format!("Signature={signature}")),
                "{method} {path}?{query}: {value}"
            );
        }
    }

    #[test]
    fn keys_are_encoded_byte_by_byte() {
        assert_eq!(
            encode_key("a b+c%d/é~!()'*&#?=@:"),
            "a%20b%2Bc%25d/%C3%A9~%21%28%29%27%2A%26%23%3F%3D%40%3A"
        );
        assert_eq!(encode_query("a/b"), "a%2Fb");
    }

    #[test]
    fn dates_are_utc_without_separators() {
        assert_eq!(amz_date(1_440_938_160), "20150830T123600Z");
        assert_eq!(amz_date(i64::MAX), "19700101T000000Z");
    }
}
