//! Shared Key of Azure Storage: an HMAC over the method, the standard headers, all `x-ms-` headers and the address.
//!
//! <https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key>, in the form for the blob service
//! since version 2015-02-21, in which a length of 0 is left empty.

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use larder_destination::{Advice, Result};
use larder_options::Secret;
use reqwest::Url;
use sha2::Sha256;

use super::aws4::Skew;
use super::{Authorize, authorization};
use crate::date::{format_http_date, http_date};
use crate::encode;
use crate::failure::Call;
use crate::refused::Refused;
use crate::request::Request;

/// Signs with the key of an account. The content is covered by its `Content-MD5` only.
pub struct SharedKey {
    account: String,
    given: Secret,
    key: Vec<u8>,
    skew: Skew,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl SharedKey {
    /// Signs for `account` with a key in Base64; nothing when it is not Base64.
    #[must_use]
    pub fn new(account: String, key: Secret) -> Option<Self> {
        let bytes = encode::unbase64(key.expose().trim()).filter(|bytes| !bytes.is_empty())?;
        Some(Self {
            account,
            key: bytes,
            given: key,
            skew: Skew::default(),
        })
    }

    /// What the signature is made of.
    fn text(&self, request: &Request) -> String {
        let header = |name: &str| {
            let value = request.headers.get(name).map(|value| value.as_bytes());
            std::str::from_utf8(value.unwrap_or_default())
                .unwrap_or_default()
                .trim()
        };
        let mut text = format!("{}\n", request.method);
        for name in STANDARD {
            match (*name, request.payload.len()) {
                ("content-length", 0) => {}
                ("content-length", len) => text.push_str(&len.to_string()),
                (name, _) => text.push_str(header(name)),
            }
            text.push('\n');
        }
        let names = request.headers.keys().map(|name| name.as_str());
        let mut own: Vec<_> = names.filter(|name| name.starts_with("x-ms-")).collect();
        own.sort_unstable();
        for name in own {
            text.push_str(&format!("{name}:{}\n", header(name)));
        }
        text.push_str(&self.resource(&request.url));
        text
    }

    /// Account, encoded path, and the decoded parameters in order, those of one name together.
    fn resource(&self, url: &Url) -> String {
        let mut text = format!("/{}{}", self.account, url.path());
        let parts = url.query().unwrap_or_default().split('&');
        let mut pairs: Vec<_> = parts
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (
                    name.to_lowercase(),
                    encode::decode(value).unwrap_or_default(),
                )
            })
            .collect();
        pairs.sort_unstable();
        let mut last = None;
        for (name, value) in &pairs {
            match last == Some(name) {
                true => text.push_str(&format!(",{value}")),
                false => text.push_str(&format!("\n{name}:{value}")),
            }
            last = Some(name);
        }
        text
    }

    fn value(&self, text: &str) -> String {
        let signature = encode::base64(&hmac(&self.key, text));
        format!("SharedKey {}:{signature}", self.account)
    }
}

#[async_trait]
impl Authorize for SharedKey {
    async fn sign(&self, _: &Call, request: &mut Request, now: i64) -> Result<()> {
        let dated = std::mem::replace(request, Request::get(request.url.clone(), request.wait));
        *request = dated.header("x-ms-date", &format_http_date(self.skew.apply(now)));
        let value = self.value(&self.text(request));
        authorization(request, &value);
        Ok(())
    }

    /// A wrong clock is corrected by the server's: the service gives no code of its own to a date that it refuses.
    async fn refused(&self, _: &Call, _: &Request, refused: &Refused, now: i64) -> Result<bool> {
        let date = refused.header("date").and_then(http_date);
        let apart = date.map_or(0, |date| date.abs_diff(self.skew.apply(now)));
        let may_be_clock = matches!(refused.status.as_u16(), 400 | 401 | 403);
        Ok(may_be_clock && apart > TOLERATED_SECONDS && self.skew.correct(refused, now))
    }

    fn advice(&self) -> Option<&'static Advice> {
        Some(&WRONG_KEY)
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.given.expose().trim().to_owned()]
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is fine");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The standard headers that are signed, in the order of the signature. The date is in `x-ms-date` instead.
const STANDARD: &[&str] = &[
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];
const WRONG_KEY: Advice = Advice {
    id: "SignInNeeded",
    help: "check the account's name and its access key, and whether the account's firewall lets this machine in; in a URL, + \
           is written %2B, / is %2F and = is %3D",
};
/// Clocks may differ by 15 minutes ("Specifying the Date header" of the page above); a bit less, to be sure.
const TOLERATED_SECONDS: u64 = 600;

#[cfg(test)]
mod tests {
    use larder_destination::Operation;
    use reqwest::header::{DATE, HeaderMap, HeaderValue};
    use reqwest::{Method, StatusCode};

    use super::*;
    use crate::request::Wait;

    /// The account and key that all emulators know
    /// (<https://learn.microsoft.com/en-us/azure/storage/common/storage-connect-azurite>).
    const KNOWN: (&str, &str) = (
        "devstoreaccount1",
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    );

    fn signer(account: &str) -> SharedKey {
        SharedKey::new(account.to_owned(), Secret::new(KNOWN.1)).expect("the key is Base64")
    }

    fn request(method: Method, url: &str) -> Request {
        let url = Url::parse(url).expect("an address");
        Request::new(method, url, Wait::Short)
    }

    /// The example "Get Container Metadata" of the page named above.
    #[test]
    fn published_text_to_sign() {
        let request = request(
            Method::GET,
            "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20",
        )
        .header("x-ms-version", "2015-02-21")
        .header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
        assert_eq!(
            signer("myaccount").text(&request),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    /// The examples of "Constructing the canonicalized resource string" of the page named above.
    #[test]
    fn published_resources() {
        let host = "https://myaccount.blob.core.windows.net";
        for (target, expected) in [
            (
                "/mycontainer?restype=container&comp=metadata",
                "/myaccount/mycontainer\ncomp:metadata\nrestype:container",
            ),
            (
                "/mycontainer?restype=container&comp=list&include=snapshots&include=metadata&include=uncommittedblobs",
                "/myaccount/mycontainer\ncomp:list\ninclude:metadata,snapshots,uncommittedblobs\nrestype:container",
            ),
            ("/mycontainer/myblob", "/myaccount/mycontainer/myblob"),
        ] {
            let url = Url::parse(&format!("{host}{target}")).expect("an address");
            assert_eq!(signer("myaccount").resource(&url), expected);
        }
        // With an emulator the account is a part of the path, so it stands there twice.
        let url = Url::parse("http://127.0.0.1:1/myaccount/c/a%20b?Prefix=x%2Fy%20z");
        let resource = url.map(|url| signer("myaccount").resource(&url));
        let expected = "/myaccount/myaccount/c/a%20b\nprefix:x/y z";
        assert_eq!(resource.as_deref(), Ok(expected));
    }

    /// The signature was made with `openssl dgst -sha256 -mac HMAC -macopt hexkey:…` from the text.
    #[tokio::test]
    async fn a_whole_request() -> Result<()> {
        let mut request = request(
            Method::PUT,
            "http://127.0.0.1:10000/devstoreaccount1/c/a%2Bb?comp=block&blockid=AAA%3D",
        )
        .header("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")
        .header("if-none-match", "*")
        .header("x-ms-version", "2021-12-02")
        .bytes("application/octet-stream", "hello");
        let signer = signer(KNOWN.0);
        let call = Call::on("test", Operation::Put, "a+b");
        signer.sign(&call, &mut request, 784_111_777).await?;
        assert_eq!(
            signer.text(&request),
            "PUT\n\n\n5\nXUFAKrxLKna5cZ2REBfFkg==\napplication/octet-stream\n\n\n\n*\n\n\n\
             x-ms-date:Sun, 06 Nov 1994 08:49:37 GMT\nx-ms-version:2021-12-02\n\
             /devstoreaccount1/devstoreaccount1/c/a%2Bb\nblockid:AAA=\ncomp:block"
        );
        let value = request.headers.get("authorization").cloned();
        let expected = HeaderValue::from_static(
            "SharedKey devstoreaccount1:vIh3gIrEK/IoC6fee3Zovo8blaLrHWcjf7xXsGCCHc4=",
        );
        assert_eq!(value, Some(expected));
        assert!(!format!("{signer:?}").contains("Eby8"));
        Ok(())
    }

    #[test]
    fn a_key_that_is_no_base64_is_none() {
        for key in ["", "no key", "a"] {
            assert!(SharedKey::new("a".to_owned(), Secret::new(key)).is_none());
        }
    }

    #[tokio::test]
    async fn a_wrong_clock_is_corrected_once_and_a_right_one_never() -> Result<()> {
        let signer = signer("a");
        let call = Call::new("test", Operation::List);
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        let refused = Refused {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::from_iter([(DATE, date)]),
            body: String::new(),
        };
        let mut request = request(Method::GET, "http://h/c");
        let near = 784_111_777 - 500;
        assert!(!signer.refused(&call, &request, &refused, near).await?);
        assert!(signer.refused(&call, &request, &refused, 0).await?);
        signer.sign(&call, &mut request, 10).await?;
        let date = request.headers.get("x-ms-date").cloned();
        let expected = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:47 GMT");
        assert_eq!(date, Some(expected));
        assert!(!signer.refused(&call, &request, &refused, 0).await?);
        Ok(())
    }
}
