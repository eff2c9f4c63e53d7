//! The region that a bucket of S3 is in: what the options say at first, then what the server says while it refuses.

use std::sync::{PoisonError, RwLock};

use reqwest::Url;
use reqwest::header::AUTHORIZATION;

use crate::refused::Refused;
use crate::request::Request;

/// The region in use. A service with a server for each region is asked at that of the region.
pub struct Regions {
    current: RwLock<String>,
    /// The server at first, and the server of a region.
    servers: Option<(String, HostOf)>,
}

type HostOf = Box<dyn Fn(&str) -> String + Send + Sync>;

impl std::fmt::Debug for Regions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Regions").field(&self.current()).finish()
    }
}

impl Regions {
    /// Begins with this region; signatures move to another, requests do not.
    #[must_use]
    pub fn new(region: String) -> Self {
        Self {
            current: RwLock::new(region),
            servers: None,
        }
    }

    /// Requests to `home` move too: to the server that `host_of` gives for the region.
    #[must_use]
    pub fn with_servers(
        mut self,
        home: &str,
        host_of: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        self.servers = Some((home.to_owned(), Box::new(host_of)));
        self
    }

    /// The region in use.
    #[must_use]
    pub fn current(&self) -> String {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts the server of the region into an address.
    pub(super) fn locate(&self, url: &mut Url) {
        let Some((home, host_of)) = &self.servers else {
            return;
        };
        let host = url.host_str().unwrap_or_default();
        if let Some(start) = host.strip_suffix(home.as_str()) {
            let host = format!("{start}{}", host_of(&self.current()));
            // A name that cannot be one leaves the address as it was: the server then refuses once more.
            let _ = url.set_host(Some(&host));
        }
    }

    /// Learns from a refusal; true when the same request may succeed in the region that it named.
    pub(super) fn learn(&self, sent: &Request, refused: &Refused) -> bool {
        let Some(region) = right_region(refused) else {
            return false;
        };
        let current = self.current();
        let proof = sent.headers.get(AUTHORIZATION);
        let proof = String::from_utf8_lossy(proof.map_or(&[], |value| value.as_bytes()));
        // Another request may have moved meanwhile, so what counts is where this one was signed for, if its signature tells.
        let is_tried = match proof.starts_with("AWS4-") {
            true => proof.contains(&format!("/{region}/")),
            false => current == region,
        };
        if !is_tried && current != region {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = region;
        }
        !is_tried
    }
}

/// The region to use instead, when a request was refused because of it.
fn right_region(refused: &Refused) -> Option<String> {
    let said = refused.xml("Error").unwrap_or_default();
    if refused.status != 301 && !WRONG_REGION.contains(&said.text_of("Code")) {
        return None;
    }
    let header = refused.header("x-amz-bucket-region").unwrap_or_default();
    let mut named = [said.text_of("Region"), header].into_iter();
    // It becomes a part of a server's name.
    let region = named.find(|region| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !region.is_empty() && region.chars().all(plain)
    })?;
    Some(region.to_owned())
}

/// The codes of a request that went to, or was signed for, another region than the bucket's.
const WRONG_REGION: &[&str] = &[
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraintException",
];

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::request::Wait;

    fn sent(proof: &'static str) -> Request {
        let url = Url::parse("https://bkt.s3.example.org/k").expect("an address");
        let mut request = Request::get(url, Wait::Short);
        let proof = HeaderValue::from_static(proof);
        request.headers.insert(AUTHORIZATION, proof);
        request
    }

    fn refused(status: u16, region: &'static str) -> Refused {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-bucket-region", HeaderValue::from_static(region));
        Refused {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers,
            body: String::new(),
        }
    }

    #[test]
    fn a_region_is_learned_and_tried_once() {
        let regions = Regions::new("us-east-1".into()).with_servers("s3.example.org", |region| {
            format!("s3.{region}.example.org")
        });
        let first = sent("AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request");
        assert!(!regions.learn(&first, &refused(403, "eu-1")));
        assert!(!regions.learn(&first, &refused(301, "evil.org/")));
        assert!(regions.learn(&first, &refused(301, "eu-1")));
        // One that was on its way at that time may go again, too.
        assert!(regions.learn(&first, &refused(301, "eu-1")));
        let second = sent("AWS4-HMAC-SHA256 Credential=A/20260101/eu-1/s3/aws4_request");
        assert!(!regions.learn(&second, &refused(301, "eu-1")));
        assert_eq!(regions.current(), "eu-1");
        let mut url = first.url.clone();
        regions.locate(&mut url);
        assert_eq!(url.as_str(), "https://bkt.s3.eu-1.example.org/k");
        let elsewhere = "https://other.example.net/k";
        let mut url = Url::parse(elsewhere).expect("an address");
        regions.locate(&mut url);
        assert_eq!(url.as_str(), elsewhere);
    }

    #[test]
    fn an_old_signature_names_no_region_and_moves_once() {
        let regions = Regions::new("a".into());
        let request = sent("AWS key:signature");
        assert!(regions.learn(&request, &refused(301, "b")));
        assert!(!regions.learn(&request, &refused(301, "b")));
    }
}
