//! Which servers are believed.
//!
//! By default the trust store of the system decides. Two options widen it: a list of certificate hashes that are
//! accepted as well, and a switch that accepts everything. The cryptography library is chosen in [`crypto_provider`]
//! and nowhere else.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Which certificates are accepted beside those the system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Accepts every certificate; the connection is then open to anyone in between.
    pub any: bool,
    /// Hashes of certificates that are accepted although the system does not trust them.
    pub pinned: Vec<Fingerprint>,
}

/// The SHA-1 or SHA-256 hash of a certificate in DER form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Reads 40 or 64 hexadecimal digits; colons, spaces and letter case do not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':' && !c.is_whitespace())
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        if digits.len() != 40 && digits.len() != 64 {
            return None;
        }
        Some(Self(
            digits
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
                .collect(),
        ))
    }

    /// Reads a list separated by `,` or `;`.
    ///
    /// # Errors
    /// The first entry that is no hash.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        text.split([',', ';'])
            .filter(|entry| !entry.trim().is_empty())
            .map(|entry| Self::parse(entry).ok_or_else(|| entry.trim().to_owned()))
            .collect()
    }

    fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.0.len() == 20 {
            Sha1::digest(certificate.as_ref()).as_slice() == self.0.as_slice()
        } else {
            Sha256::digest(certificate.as_ref()).as_slice() == self.0.as_slice()
        }
    }
}

/// The verifier's refusal; carries what the user may paste into `accept-specified-ssl-hash`.
#[derive(Debug, thiserror::Error)]
#[error("the certificate of the server is not trusted ({reason}), its hash is {fingerprint}")]
pub(crate) struct UntrustedCertificate {
    /// SHA-256 of the server's own certificate in lower-case hexadecimal digits.
    pub fingerprint: String,
    reason: String,
}

/// TLS settings for one client.
pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig, rustls::Error> {
    let provider = crypto_provider();
    let verifier = Verifier {
        trust: trust.clone(),
        provider: provider.clone(),
        system: OnceLock::new(),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The one place where the cryptography behind TLS is chosen.
fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
        .clone()
}

/// System trust, then pinned hashes, or everything.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    /// Loaded at the first handshake: plain HTTP needs no certificates, and a machine without any can still pin.
    system: OnceLock<Result<rustls_platform_verifier::Verifier, rustls::Error>>,
}

impl Verifier {
    fn verify_by_system(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let load = || rustls_platform_verifier::Verifier::new(self.provider.clone());
        let system = self
            .system
            .get_or_init(load)
            .as_ref()
            .map_err(Clone::clone)?;
        system
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
            .map(drop)
    }

    /// True when a pinned hash is that of the server's certificate, or of one further up that really signed it.
    ///
    /// Anybody can send a copy of a well-known certificate along with his own. A match above the leaf therefore makes
    /// that certificate a root, and the chain from the leaf to it, the validity times and the name are checked.
    fn is_pinned(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> bool {
        let pinned = |candidate: &CertificateDer<'_>| {
            self.trust.pinned.iter().any(|pin| pin.matches(candidate))
        };
        if pinned(certificate) {
            return true;
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            intermediates
                .iter()
                .filter(|candidate| pinned(candidate))
                .map(|found| found.clone().into_owned()),
        );
        if roots.is_empty() {
            return false;
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .is_ok_and(|chain| {
                chain
                    .verify_server_cert(certificate, intermediates, name, &[], now)
                    .is_ok()
            })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust.any || self.is_pinned(certificate, intermediates, name, now) {
            return Ok(ServerCertVerified::assertion());
        }
        match self.verify_by_system(certificate, intermediates, name, ocsp, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let digest = Sha256::digest(certificate.as_ref());
                let untrusted = UntrustedCertificate {
                    fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                    reason: reason(&error),
                };
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(
                    OtherError(Arc::new(untrusted)),
                )))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The refusal in words for people.
fn reason(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return error.to_string();
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it belongs to another name".into()
        }
        CertificateError::UnknownIssuer => "its issuer is not known".into(),
        CertificateError::Revoked => "it was revoked".into(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_in_all_usual_spellings() {
        let plain = Fingerprint::parse("00112233445566778899aabbccddeeff00112233");
        assert!(plain.is_some());
        assert_eq!(
            plain,
            Fingerprint::parse("00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33")
        );
        assert_eq!(
            plain,
            Fingerprint::parse(" 0011 2233 4455 6677 8899 AABB CCDD EEFF 0011 2233 ")
        );
        assert!(Fingerprint::parse(&"ab".repeat(32)).is_some());
        for bad in [
            "",
            "abc",
            "zz112233445566778899aabbccddeeff00112233",
            &"ab".repeat(16),
        ] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_take_both_separators() {
        let (one, two) = ("ab".repeat(20), "cd".repeat(32));
        assert_eq!(
            Fingerprint::parse_list(&format!("{one}, {two};")).map(|list| list.len()),
            Ok(2)
        );
        assert_eq!(
            Fingerprint::parse_list(&format!("{one};nonsense")),
            Err("nonsense".to_owned())
        );
        assert_eq!(Fingerprint::parse_list(""), Ok(Vec::new()));
    }
}
