//! The answer to a Digest challenge (RFC 7616; without `qop` as in RFC 2069).

use larder_options::Secret;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::challenge::Challenge;
use crate::encode;

/// A challenge that can be answered, and how often it was.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    realm: String,
    /// The server's number, which ends up in every answer.
    pub(super) nonce: String,
    opaque: Option<String>,
    algorithm: Option<String>,
    sha256: bool,
    session: bool,
    qop: bool,
    hash_user: bool,
    /// True when the challenge came because the last nonce was old, not because the password is wrong.
    pub(super) stale: bool,
    /// Answers given so far.
    pub(super) count: u32,
    cnonce: String,
}

impl Digest {
    /// The strongest challenge that can be answered; `cnonce` is a fresh random text.
    pub(super) fn choose(challenges: &[Challenge], cnonce: &str) -> Option<Self> {
        let mut known: Vec<_> = challenges
            .iter()
            .filter(|challenge| challenge.scheme == "digest")
            .filter_map(|challenge| Self::from_challenge(challenge, cnonce))
            .collect();
        known.sort_by_key(|digest| !digest.sha256);
        known.into_iter().next()
    }

    fn from_challenge(challenge: &Challenge, cnonce: &str) -> Option<Self> {
        let yes = |name: &str| {
            challenge
                .get(name)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        let algorithm = challenge.get("algorithm").map(str::to_owned);
        let name = algorithm.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (hash, session) = match name.strip_suffix("-SESS") {
            Some(hash) => (hash, true),
            None => (name.as_str(), false),
        };
        let sha256 = match hash {
            "SHA-256" => true,
            "MD5" => false,
            _ => return None,
        };
        let qop = match challenge.get("qop") {
            None | Some("") => false,
            Some(offered) => {
                let auth = |qop: &str| qop.trim().eq_ignore_ascii_case("auth");
                offered.split(',').any(auth).then_some(true)?
            }
        };
        Some(Self {
            realm: challenge.get("realm")?.to_owned(),
            nonce: challenge.get("nonce")?.to_owned(),
            opaque: challenge.get("opaque").map(str::to_owned),
            algorithm,
            sha256,
            session,
            qop,
            hash_user: yes("userhash"),
            stale: yes("stale"),
            count: 0,
            cnonce: cnonce.to_owned(),
        })
    }

    /// The value of the `Authorization` header; each call counts one up.
    pub(super) fn answer(
        &mut self,
        user: &str,
        password: &Secret,
        method: &str,
        target: &str,
    ) -> String {
        self.count = self.count.saturating_add(1);
        let count = format!("{:08x}", self.count);
        let (realm, nonce, cnonce) = (&self.realm, &self.nonce, &self.cnonce);
        let mut secret = self.hash(&format!("{user}:{realm}:{}", password.expose()));
        if self.session {
            secret = self.hash(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let action = self.hash(&format!("{method}:{target}"));
        let response = if self.qop {
            self.hash(&format!("{secret}:{nonce}:{count}:{cnonce}:auth:{action}"))
        } else {
            self.hash(&format!("{secret}:{nonce}:{action}"))
        };
        let name = if self.hash_user {
            format!(
                "username=\"{}\", userhash=true",
                self.hash(&format!("{user}:{realm}"))
            )
        } else if user.is_ascii() {
            format!("username={}", quoted(user))
        } else {
            format!("username*=UTF-8''{}", encode::segment(user))
        };
        let mut text = format!(
            "Digest {name}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quoted(realm),
            quoted(nonce),
            quoted(target)
        );
        if let Some(algorithm) = &self.algorithm {
            text.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = &self.opaque {
            text.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        if self.qop || self.session {
            text.push_str(&format!(", cnonce=\"{cnonce}\""));
        }
        if self.qop {
            text.push_str(&format!(", qop=auth, nc={count}"));
        }
        text
    }

    fn hash(&self, text: &str) -> String {
        if self.sha256 {
            encode::hex(&Sha256::digest(text))
        } else {
            encode::hex(&Md5::digest(text))
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(algorithm: &str, more: &[(&str, &str)]) -> Challenge {
        let base = [
            ("realm", "http-auth@example.org"),
            ("nonce", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"),
            ("opaque", "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"),
            ("algorithm", algorithm),
        ];
        let pairs = base.iter().chain(more);
        Challenge {
            scheme: "digest".into(),
            parameters: pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn answer(challenges: &[Challenge]) -> String {
        let password = Secret::from("Circle of Life".to_owned());
        let mut digest = Digest::choose(challenges, CNONCE).expect("it can be answered");
        digest.answer("Mufasa", &password, "GET", "/dir/index.html")
    }

    /// RFC 7616, section 3.9.1.
    #[test]
    fn the_examples_of_the_standard() {
        let auth = [("qop", "auth, auth-int")];
        let md5 = challenge("MD5", &auth);
        let text = answer(std::slice::from_ref(&md5));
        assert!(
            text.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""),
            "{text}"
        );
        assert!(
            text.contains("nc=00000001") && text.contains("uri=\"/dir/index.html\""),
            "{text}"
        );
        // Of several the strongest is taken.
        let text = answer(&[md5, challenge("SHA-256", &auth)]);
        let expected = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(text.contains(expected), "{text}");
    }

    /// RFC 2069, section 2.4, with the response of erratum 749.
    #[test]
    fn the_old_form_without_qop() {
        let challenge = Challenge {
            scheme: "digest".into(),
            parameters: [
                ("realm", "testrealm@host.com"),
                ("nonce", "dcd98b7102dd2f0e8b11d0f600bfb0c093"),
                ("opaque", "5ccc069c403ebaf9f0171e9517f40e41"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        };
        let password = Secret::from("CircleOfLife".to_owned());
        let mut digest = Digest::choose(&[challenge], CNONCE).expect("it can be answered");
        let text = digest.answer("Mufasa", &password, "GET", "/dir/index.html");
        assert!(
            text.contains("response=\"1949323746fe6a43ef61f9606e7febea\""),
            "{text}"
        );
        assert!(
            !text.contains("qop") && !text.contains("algorithm"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_answered_is_not_chosen() {
        assert!(Digest::choose(&[challenge("SHA-512-256", &[])], CNONCE).is_none());
        assert!(Digest::choose(&[challenge("MD5", &[("qop", "auth-int")])], CNONCE).is_none());
        assert!(Digest::choose(&[], CNONCE).is_none());
    }

    #[test]
    fn names_outside_ascii_and_hashed_names() {
        let password = Secret::from("p".to_owned());
        let mut plain = Digest::choose(&[challenge("MD5", &[])], CNONCE).expect("known");
        let text = plain.answer("J\u{e4}s\u{f8}n \"x\"", &password, "GET", "/");
        assert!(
            text.contains("username*=UTF-8''J%C3%A4s%C3%B8n%20%22x%22,"),
            "{text}"
        );
        let hashed = [("userhash", "true")];
        let mut hashed = Digest::choose(&[challenge("SHA-256", &hashed)], CNONCE).expect("known");
        let text = hashed.answer("Mufasa", &password, "GET", "/");
        assert!(
            text.contains("userhash=true") && !text.contains("Mufasa"),
            "{text}"
        );
        let again = hashed.answer("Mufasa", &password, "GET", "/");
        assert_eq!(hashed.count, 2);
        assert_eq!(again, text, "without qop there is no count in it");
    }
}
