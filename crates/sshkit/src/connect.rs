//! The way to the server: the connection and its host key.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder_destination::{Advice, Call, Error, ErrorKind, Result};
use russh::Preferred;
use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::{LATE, clean};
use crate::hostkey::{HostKeys, Shown};
use crate::pulse::{Felt, Pulse, Watched};
use crate::sftp::Times;
use crate::sign_in::SignIn;

/// What the options say.
pub struct Settings {
    /// The server, an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who signs in.
    pub user: String,
    /// With what.
    pub sign_in: SignIn,
    /// The host keys that the server may show.
    pub known: HostKeys,
    /// Any host key is taken when none is known.
    pub accepts_any: bool,
    /// After such a silence the server is asked whether it is still there.
    pub keepalive: Option<Duration>,
    /// How long the server may take.
    pub times: Times,
}

/// A connection that is not signed in yet.
pub(crate) struct Connected {
    pub handle: Handle<Client>,
    pub heard: Arc<Mutex<Heard>>,
    pub pulse: Arc<Pulse>,
}

/// What the server said by itself.
#[derive(Default)]
pub(crate) struct Heard {
    shown: Option<Shown>,
    /// Why it ended the connection.
    pub goodbye: Option<String>,
}

/// Judges the host key.
pub(crate) struct Client {
    settings: Arc<Settings>,
    heard: Arc<Mutex<Heard>>,
}

/// What was heard so far.
pub(crate) fn heard(all: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, russh::Error> {
        // No certificate is ever asked for.
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        let shown = Shown::new(key);
        let is_known = self.settings.trusts(&shown.key);
        heard(&self.heard).shown = Some(shown);
        Ok(is_known)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> std::result::Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                heard(&self.heard).goodbye = Some(clean(&said.message));
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

impl Settings {
    /// Whether a host key is the right one. A known one is asked for in any case.
    fn trusts(&self, key: &[u8]) -> bool {
        match self.known.is_empty() {
            true => self.accepts_any,
            false => self.known.hold(key),
        }
    }
}

/// Connects to a server whose host key is known.
pub(crate) async fn connect(call: &Call, settings: &Arc<Settings>) -> Result<Connected> {
    let mut algorithms = settings.known.order(&Preferred::DEFAULT.key);
    let mut first: Option<Shown> = None;
    loop {
        let all = Arc::new(Mutex::new(Heard::default()));
        let pulse = Pulse::new();
        let client = Client {
            settings: Arc::clone(settings),
            heard: Arc::clone(&all),
        };
        let config = client::Config {
            client_id: russh::SshId::Standard(CLIENT.into()),
            keepalive_interval: settings.keepalive,
            window_size: WINDOW_BYTES,
            preferred: Preferred {
                key: algorithms.clone().into(),
                ..Preferred::DEFAULT
            },
            ..client::Config::default()
        };
        let address = (settings.host.as_str(), settings.port);
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = Watched::new(stream, Felt::Line, Arc::clone(&pulse));
            client::connect_stream(Arc::new(config), stream, client).await
        };
        let error = match within(call, settings.times.short, connecting).await? {
            Ok(handle) => {
                return Ok(Connected {
                    handle,
                    heard: all,
                    pulse,
                });
            }
            Err(error) => error,
        };
        let shown = heard(&all).shown.take();
        match (error, shown, first) {
            (russh::Error::UnknownKey, Some(shown), before) => {
                let kind = shown.algorithm.clone();
                algorithms.retain(|algorithm| !is_same_kind(algorithm, &kind));
                if !settings.known.are_of_any_kind() || algorithms.is_empty() {
                    return Err(untrusted(call, settings, &before.unwrap_or(shown)));
                }
                // The fingerprint does not say of which type its key is: it may be another key of this server.
                first = Some(before.unwrap_or(shown));
            }
            (russh::Error::NoCommonAlgo { .. }, _, Some(first)) => {
                return Err(untrusted(call, settings, &first));
            }
            (error, _, _) => return Err(lost(call, error)),
        }
    }
}

fn is_same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    let is_rsa = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Rsa { .. });
    one == other || (is_rsa(one) && is_rsa(other))
}

/// The host key is not known, or not the one that is.
fn untrusted(call: &Call, settings: &Settings, shown: &Shown) -> Error {
    let (classic, sha256) = (shown.classic(), shown.sha256());
    let option = format!("--ssh-fingerprint=\"{classic}\" or --ssh-fingerprint=\"{sha256}\"");
    let host = &settings.host;
    let text = match settings.known.is_empty() {
        true => {
            format!("the host key of {host} is not known yet; if it is this one, give {option}")
        }
        false => format!(
            "{host} shows another host key than --ssh-fingerprint says: somebody may stand in between and pretend to be it, \
             or it was set up anew; only if you know that, give {option}"
        ),
    };
    call.error(ErrorKind::Untrusted(sha256), text)
        .advice(&UNTRUSTED)
}

/// The error for a connection that failed or ended.
pub(crate) fn lost(call: &Call, error: russh::Error) -> Error {
    match error {
        russh::Error::NoCommonAlgo { kind, .. } => {
            let text = format!("this program and the server share no method of the kind {kind:?}");
            call.error(ErrorKind::Unsupported, text)
        }
        russh::Error::Version => call.error(
            ErrorKind::Config,
            "what answers at this address does not speak SSH",
        ),
        russh::Error::IO(error) => {
            let text = format!("the connection failed: {error}");
            call.error(ErrorKind::Network, text).caused_by(error)
        }
        error => {
            let text = format!("the connection failed: {}", clean(&error.to_string()));
            call.error(ErrorKind::Network, text).unanswered()
        }
    }
}

/// Waits so long and no longer for a step on the way to the server.
pub(crate) async fn within<T>(
    call: &Call,
    limit: Option<Duration>,
    step: impl Future<Output = T>,
) -> Result<T> {
    match limit {
        None => Ok(step.await),
        Some(limit) => timeout(limit, step)
            .await
            .map_err(|_| call.error(ErrorKind::Network, LATE).unanswered()),
    }
}

const UNTRUSTED: Advice = Advice {
    id: "UntrustedServer",
    help: "compare the fingerprint with what `ssh-keygen -lf` shows on the server itself, then give it as --ssh-fingerprint",
};
const CLIENT: &str = concat!("SSH-2.0-Larder_", env!("CARGO_PKG_VERSION"));
/// Of what a server may send unasked; the file that is read is bounded by what is asked for.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_fingerprint_wins_over_accepting_any() {
        let settings = |known: &str, accepts_any| Settings {
            host: String::new(),
            port: 22,
            user: String::new(),
            sign_in: SignIn::default(),
            known: HostKeys::parse(known).unwrap_or_default(),
            accepts_any,
            keepalive: None,
            times: Times {
                short: None,
                list: None,
                stall: None,
            },
        };
        // The MD5 of nothing.
        let print = "d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e";
        for (known, accepts_any, key, trusted) in [
            ("", false, &b""[..], false),
            ("", true, b"", true),
            (print, false, b"", true),
            (print, true, b"", true),
            (print, false, b"x", false),
            (print, true, b"x", false),
        ] {
            let trusts = settings(known, accepts_any).trusts(key);
            assert_eq!(trusts, trusted, "{known} {accepts_any}");
        }
    }
}
