//! The way to the server: connection, host key, sign-in, channels.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder_destination::{Advice, Call, Error, ErrorKind, Result};
use larder_options::Secret;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Preferred};

use crate::hostkey::{HostKeys, Shown};
use crate::keys::KeyText;
use crate::sftp::{Sftp, Times, within};

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
    /// Any host key is taken.
    pub accepts_any: bool,
    /// After such a silence the server is asked whether it is still there.
    pub keepalive: Option<Duration>,
    /// How long the server may take.
    pub times: Times,
}

/// How to sign in.
pub enum SignIn {
    /// With a private key and its passphrase.
    Key(KeyText, Option<Secret>),
    /// With a password, also where the server asks questions.
    Password(Secret),
    /// With the keys of the agent.
    Agent,
}

/// A connection that is signed in.
pub struct Link {
    handle: Arc<Handle<Client>>,
    times: Times,
}

/// Judges the host key.
struct Client {
    settings: Arc<Settings>,
    shown: Arc<Mutex<Option<Shown>>>,
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
        let is_known = self.settings.accepts_any || self.settings.known.hold(&shown.key);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(is_known)
    }
}

impl Link {
    /// Connects and signs in.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] with the fingerprint, [`ErrorKind::SignInNeeded`], [`ErrorKind::Config`] for a private key that
    /// cannot be read, [`ErrorKind::Network`].
    pub async fn open(call: &Call, settings: &Arc<Settings>) -> Result<Self> {
        let mut handle = connect(call, settings).await?;
        let signing_in = sign_in(call, settings, &mut handle);
        within(call, SIGN_IN_TIME, signing_in).await??;
        Ok(Self {
            handle: Arc::new(handle),
            times: settings.times,
        })
    }

    /// True once the connection has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.handle.is_closed()
    }

    /// Opens a channel on which SFTP is spoken.
    ///
    /// Runs to its end also when nobody waits any more, since a channel that is half open would count at the server.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the server offers no SFTP, [`ErrorKind::Network`].
    pub async fn channel(&self, call: &Call) -> Result<Sftp> {
        let (handle, times, about) = (Arc::clone(&self.handle), self.times, call.clone());
        let opening = tokio::spawn(async move { open_channel(&about, &handle, times).await });
        let opened = within(call, times.short, opening).await?;
        opened.map_err(|error| call.error(ErrorKind::Other, error.to_string()))?
    }
}

async fn open_channel(call: &Call, handle: &Handle<Client>, times: Times) -> Result<Sftp> {
    let opening = handle.channel_open_session();
    let mut channel = opening.await.map_err(|error| lost(call, error))?;
    let asking = channel.request_subsystem(true, "sftp");
    asking.await.map_err(|error| lost(call, error))?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Failure) | None => {
                let text = "the server does not offer SFTP to this user";
                return Err(call.error(ErrorKind::Unsupported, text));
            }
            Some(_) => {}
        }
    }
    let started = Sftp::start(channel.into_stream(), times).await;
    started.map_err(|failure| failure.into_error(call))
}

/// Connects to a server whose host key is known.
async fn connect(call: &Call, settings: &Arc<Settings>) -> Result<Handle<Client>> {
    let mut algorithms = settings.known.order(&Preferred::DEFAULT.key);
    let mut first: Option<Shown> = None;
    loop {
        let shown = Arc::new(Mutex::new(None));
        let client = Client {
            settings: Arc::clone(settings),
            shown: Arc::clone(&shown),
        };
        let config = client::Config {
            client_id: russh::SshId::Standard(CLIENT.into()),
            keepalive_interval: settings.keepalive,
            window_size: WINDOW_BYTES,
            nodelay: true,
            preferred: Preferred {
                key: algorithms.clone().into(),
                ..Preferred::DEFAULT
            },
            ..client::Config::default()
        };
        let address = (settings.host.as_str(), settings.port);
        let connecting = client::connect(Arc::new(config), address, client);
        let error = match within(call, settings.times.short, connecting).await? {
            Ok(handle) => return Ok(handle),
            Err(error) => error,
        };
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
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

async fn sign_in(call: &Call, settings: &Settings, handle: &mut Handle<Client>) -> Result<()> {
    let refused = match &settings.sign_in {
        SignIn::Key(key, passphrase) => {
            let (key, passphrase) = (key.clone(), passphrase.clone());
            let decoding = move || key.decode(passphrase.as_ref());
            let decoded = tokio::task::spawn_blocking(decoding).await;
            let decoded =
                decoded.map_err(|error| call.error(ErrorKind::Other, error.to_string()))?;
            let key = decoded.map_err(|text| call.error(ErrorKind::Config, text))?;
            with_key(settings, handle, key).await
        }
        SignIn::Password(password) => with_password(settings, handle, password.expose()).await,
        SignIn::Agent => with_agent(call, settings, handle).await?,
    };
    match refused.map_err(|error| lost(call, error))? {
        Answer::Taken => Ok(()),
        Answer::Refused if handle.is_closed() => Err(call
            .error(
                ErrorKind::Network,
                "the server ended the connection during the sign-in",
            )
            .unanswered()),
        Answer::Refused => {
            let what = match &settings.sign_in {
                SignIn::Key(..) => "the key",
                SignIn::Password(_) => "user name or password",
                SignIn::Agent => "all keys of the SSH agent",
            };
            let text = format!("the server refused {what} of user {}", settings.user);
            Err(call.error(ErrorKind::SignInNeeded, text))
        }
        Answer::Half => {
            let text = "the server wants a second proof besides the one that was given, which is not possible here";
            Err(call.error(ErrorKind::SignInNeeded, text))
        }
    }
}

/// What a server says to an attempt to sign in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Taken,
    Refused,
    /// Right, but not enough.
    Half,
}

impl From<AuthResult> for Answer {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Self::Taken,
            AuthResult::Failure {
                partial_success: true,
                ..
            } => Self::Half,
            AuthResult::Failure { .. } => Self::Refused,
        }
    }
}

type Attempt = std::result::Result<Answer, russh::Error>;

/// What an RSA key is to sign with: what the server says, or what all current ones take (RFC 8332).
async fn rsa_hashes(
    handle: &Handle<Client>,
    algorithm: &Algorithm,
) -> std::result::Result<Vec<Option<HashAlg>>, russh::Error> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return Ok(vec![None]);
    }
    Ok(match handle.best_supported_rsa_hash().await? {
        Some(hash) => vec![hash],
        None => vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
    })
}

async fn with_key(
    settings: &Settings,
    handle: &mut Handle<Client>,
    key: russh::keys::PrivateKey,
) -> Attempt {
    let key = Arc::new(key);
    let mut answer = Answer::Refused;
    for hash in rsa_hashes(handle, &key.algorithm()).await? {
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
        answer = handle
            .authenticate_publickey(settings.user.as_str(), key)
            .await?
            .into();
        if answer != Answer::Refused {
            break;
        }
    }
    Ok(answer)
}

/// With the password, and where the server asks questions instead with the password as each answer.
async fn with_password(
    settings: &Settings,
    handle: &mut Handle<Client>,
    password: &str,
) -> Attempt {
    let user = settings.user.as_str();
    let answer = Answer::from(handle.authenticate_password(user, password).await?);
    if answer != Answer::Refused || handle.is_closed() {
        return Ok(answer);
    }
    let mut reply = handle
        .authenticate_keyboard_interactive_start(user, None)
        .await?;
    for _ in 0..MOST_QUESTIONS {
        match reply {
            KeyboardInteractiveAuthResponse::Success => return Ok(Answer::Taken),
            KeyboardInteractiveAuthResponse::Failure {
                partial_success: true,
                ..
            } => return Ok(Answer::Half),
            KeyboardInteractiveAuthResponse::Failure { .. } => break,
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = prompts.iter().map(|_| password.to_owned()).collect();
                reply = handle
                    .authenticate_keyboard_interactive_respond(answers)
                    .await?;
            }
        }
    }
    Ok(Answer::Refused)
}

async fn with_agent(
    call: &Call,
    settings: &Settings,
    handle: &mut Handle<Client>,
) -> Result<Attempt> {
    let no_agent = |why: String| {
        let text = format!(
            "neither a password nor a key is given, and the SSH agent does not help: {why}; give --auth-password, \
             --ssh-keyfile or --ssh-key"
        );
        call.error(ErrorKind::SignInNeeded, text)
    };
    let mut agent = agent().await.map_err(|error| no_agent(error.to_string()))?;
    let keys = agent.request_identities().await;
    let keys = keys.map_err(|error| no_agent(error.to_string()))?;
    if keys.is_empty() {
        return Err(no_agent("it holds no key".to_owned()));
    }
    for key in keys {
        let AgentIdentity::PublicKey { key, .. } = key else {
            continue;
        };
        let hashes = rsa_hashes(handle, &key.algorithm()).await;
        for hash in hashes.map_err(|error| lost(call, error))? {
            let user = settings.user.as_str();
            let signing = handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent);
            // A key that the agent does not sign with, as when its user says no, is passed over.
            match signing.await.map(Answer::from) {
                Ok(Answer::Refused) | Err(_) => {}
                Ok(answer) => return Ok(Ok(answer)),
            }
        }
    }
    Ok(Ok(Answer::Refused))
}

type AnyAgent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

#[cfg(unix)]
async fn agent() -> std::result::Result<AnyAgent, russh::keys::Error> {
    Ok(AgentClient::connect_env().await?.dynamic())
}

#[cfg(windows)]
async fn agent() -> std::result::Result<AnyAgent, russh::keys::Error> {
    let pipe = r"\\.\pipe\openssh-ssh-agent";
    Ok(AgentClient::connect_named_pipe(pipe).await?.dynamic())
}

/// The error for a connection that failed or ended.
fn lost(call: &Call, error: russh::Error) -> Error {
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
            let text = format!("the connection failed: {error}");
            call.error(ErrorKind::Network, text).unanswered()
        }
    }
}

const UNTRUSTED: Advice = Advice {
    id: "UntrustedServer",
    help: "compare the fingerprint with what `ssh-keygen -lf` shows on the server itself, then give it as --ssh-fingerprint",
};
const CLIENT: &str = concat!("SSH-2.0-Larder_", env!("CARGO_PKG_VERSION"));
/// Of what a server may send unasked; the file that is read is bounded by what is asked for.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// A server may let a wrong password wait, and ask others.
const SIGN_IN_TIME: Option<Duration> = Some(Duration::from_secs(120));
/// Rounds of questions of a server.
const MOST_QUESTIONS: usize = 10;
