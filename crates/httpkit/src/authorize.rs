//! Proving who asks: one trait for all the ways of signing in.
//!
//! | way | for |
//! | --- | --- |
//! | [`Password`] | HTTP Basic and Digest (RFC 7617, RFC 7616) |
//! | [`Bearer`] | one token that does not change; tokens that are renewed have a type of their own |
//! | [`Aws4`], [`Aws2`] | S3 and its relatives |
//! | [`SharedKey`], [`Sas`] | Azure Storage |
//!
//! A signature over parts of the request needs nothing more than [`Authorize::sign`], which sees the whole request. A
//! sign-in by steps (NTLM) takes them in [`Authorize::refused`].

mod aws2;
mod aws4;
mod challenge;
mod digest;
mod password;
mod regions;
mod sas;
mod shared_key;

use async_trait::async_trait;
use larder_destination::{Advice, Result};
use larder_options::Secret;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::failure::Call;
use crate::refused::Refused;
use crate::request::Request;

pub use aws2::Aws2;
pub use aws4::{Aws4, Credentials};
pub use password::Password;
pub use regions::Regions;
pub use sas::Sas;
pub use shared_key::SharedKey;

/// A way of proving who asks. Shared by all transfers of an account.
#[async_trait]
pub trait Authorize: Send + Sync {
    /// Puts the proof into one attempt; called anew for each, after redirects too. `now` is in seconds since 1970 UTC.
    ///
    /// # Errors
    /// Whatever keeps the proof from being made, such as a sign-in that has ended.
    async fn sign(&self, call: &Call, request: &mut Request, now: i64) -> Result<()>;

    /// Corrects the address of a request by what the service has told about its place meanwhile, such as another region.
    /// Called before each attempt is signed.
    fn locate(&self, url: &mut Url) {
        let _ = url;
    }

    /// Learns from a refusal of a request that this signed. True when the same request, signed anew, may be accepted:
    /// it is then sent again at once, at most twice.
    ///
    /// # Errors
    /// When the refusal shows that no attempt can succeed, with the reason.
    async fn refused(
        &self,
        call: &Call,
        sent: &Request,
        refused: &Refused,
        now: i64,
    ) -> Result<bool> {
        let _ = (call, sent, refused, now);
        Ok(false)
    }

    /// What helps when the service refuses the sign-in for good; `None` where the kind of the error says enough.
    fn advice(&self) -> Option<&'static Advice> {
        None
    }

    /// False when a large body should not be sent before a small request has shown how to sign.
    fn is_ready(&self) -> bool {
        true
    }

    /// What must not appear in any message, should a server echo it.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Nobody: requests go as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl Authorize for Anonymous {
    async fn sign(&self, _: &Call, _: &mut Request, _: i64) -> Result<()> {
        Ok(())
    }
}

/// One token that does not change.
#[derive(Clone, Debug)]
pub struct Bearer(Secret);

impl Bearer {
    /// Signs with this token.
    #[must_use]
    pub fn new(token: Secret) -> Self {
        Self(token)
    }
}

#[async_trait]
impl Authorize for Bearer {
    async fn sign(&self, _: &Call, request: &mut Request, _: i64) -> Result<()> {
        authorization(request, &format!("Bearer {}", self.0.expose()));
        Ok(())
    }

    fn advice(&self) -> Option<&'static Advice> {
        Some(&TOKEN_ENDED)
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.0.expose().to_owned()]
    }
}

const TOKEN_ENDED: Advice = Advice {
    id: "SignInNeeded",
    help: "get a new access token: most end after an hour",
};

/// Sets the `Authorization` header, which is never shown.
pub fn authorization(request: &mut Request, value: &str) {
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
        }
        Err(_) => request.unsendable = Some("authorization"),
    }
}
