//! Signing in: with every method that was given and that the server offers.

use std::sync::Arc;
use std::time::Duration;

use larder_destination::{Call, Error, ErrorKind, Result};
use larder_options::Secret;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};

use crate::connect::{Client, Connected, Settings, heard, lost, within};
use crate::keys::KeyText;

/// What to sign in with.
#[derive(Default)]
pub struct SignIn {
    /// A private key.
    pub key: Option<KeyText>,
    /// The passphrase of the key when that is encrypted, and nothing else then. Otherwise the password, also where the
    /// server asks questions.
    pub password: Option<Secret>,
    /// The keys of the agent.
    pub agent: bool,
}

/// One way to sign in, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Key,
    Agent,
    Password,
    Questions,
}

/// What a server says to an attempt.
enum Answer {
    Taken,
    /// It takes these further methods, the attempt being right, but not enough, or wrong.
    Further {
        methods: MethodSet,
        is_right: bool,
    },
}

type Attempt = std::result::Result<Answer, russh::Error>;

impl From<AuthResult> for Answer {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Self::Taken,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => Self::Further {
                methods: remaining_methods,
                is_right: partial_success,
            },
        }
    }
}

impl Answer {
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Further {
                is_right: false,
                ..
            }
        )
    }
}

impl Method {
    const ALL: [Self; 4] = [Self::Key, Self::Agent, Self::Password, Self::Questions];

    fn kind(self) -> MethodKind {
        match self {
            Self::Key | Self::Agent => MethodKind::PublicKey,
            Self::Password => MethodKind::Password,
            Self::Questions => MethodKind::KeyboardInteractive,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Key => "the key",
            Self::Agent => "all keys of the SSH agent",
            Self::Password | Self::Questions => "user name or password",
        }
    }
}

/// Signs in on a connection.
///
/// # Errors
/// [`ErrorKind::SignInNeeded`] when the server refused what there is, also by ending the connection;
/// [`ErrorKind::Config`] for a private key that cannot be read, [`ErrorKind::Network`].
pub(crate) async fn sign_in(
    call: &Call,
    settings: &Settings,
    connected: &mut Connected,
) -> Result<()> {
    let signing_in = SigningIn::new(call, settings).await?;
    within(call, SIGN_IN_TIME, signing_in.run(connected)).await?
}

struct SigningIn<'s> {
    call: &'s Call,
    user: &'s str,
    key: Option<Arc<PrivateKey>>,
    password: Option<&'s Secret>,
    untried: Vec<Method>,
    /// What the server refused, and what it took as a part.
    refused: Vec<&'static str>,
    is_half: bool,
}

impl<'s> SigningIn<'s> {
    async fn new(call: &'s Call, settings: &'s Settings) -> Result<Self> {
        let given = &settings.sign_in;
        let mut password = given.password.as_ref();
        let mut key = None;
        if let Some(text) = given.key.clone() {
            let passphrase = given.password.clone();
            let decoding = move || text.decode(passphrase.as_ref());
            let decoded = tokio::task::spawn_blocking(decoding).await;
            let decoded =
                decoded.map_err(|error| call.error(ErrorKind::Other, error.to_string()))?;
            let decoded = decoded.map_err(|text| call.error(ErrorKind::Config, text))?;
            if decoded.was_encrypted {
                // A passphrase is for this machine alone.
                password = None;
            }
            key = Some(Arc::new(decoded.key));
        }
        let is_given = |method: &Method| match method {
            Method::Key => key.is_some(),
            Method::Agent => given.agent,
            Method::Password | Method::Questions => password.is_some(),
        };
        Ok(Self {
            call,
            user: &settings.user,
            untried: Method::ALL.into_iter().filter(is_given).collect(),
            key,
            password,
            refused: Vec::new(),
            is_half: false,
        })
    }

    async fn run(mut self, connected: &mut Connected) -> Result<()> {
        // Asks for what the server offers; no server counts it as an attempt.
        let asked = connected.handle.authenticate_none(self.user).await;
        let mut answer = heard_out(&connected.handle, asked.map(Answer::from));
        loop {
            let methods = match answer {
                Ok(Answer::Taken) => return Ok(()),
                Ok(Answer::Further { methods, .. }) => methods,
                Err(error) => return Err(self.ended(connected, error)),
            };
            let is_offered = |method: &Method| methods.contains(&method.kind());
            let Some(at) = self.untried.iter().position(is_offered) else {
                return Err(self.refusal(&methods));
            };
            let method = self.untried.remove(at);
            let attempt = self.attempt(method, &mut connected.handle).await?;
            answer = heard_out(&connected.handle, attempt);
            if let Ok(Answer::Further { is_right, .. }) = &answer {
                self.is_half |= is_right;
                if !is_right && !self.refused.contains(&method.name()) {
                    self.refused.push(method.name());
                }
            } else if answer.is_err() && !self.refused.contains(&method.name()) {
                // Servers that have heard enough say goodbye in place of an answer (`MaxAuthTries` of OpenSSH).
                let is_refusal = heard(&connected.heard).goodbye.is_some();
                self.refused.extend(is_refusal.then_some(method.name()));
            }
        }
    }

    async fn attempt(&self, method: Method, handle: &mut Handle<Client>) -> Result<Attempt> {
        let password = self.password.map(Secret::expose).unwrap_or_default();
        Ok(match (method, &self.key) {
            (Method::Key, Some(key)) => with_key(self.user, handle, key).await,
            (Method::Key, None) | (Method::Agent, _) => {
                return with_agent(self.call, self.user, handle).await;
            }
            (Method::Password, _) => handle
                .authenticate_password(self.user, password)
                .await
                .map(Answer::from),
            (Method::Questions, _) => with_answers(self.user, handle, password).await,
        })
    }

    /// The server takes nothing more of what there is.
    fn refusal(&self, methods: &MethodSet) -> Error {
        let user = self.user;
        let offered: Vec<String> = methods.iter().map(String::from).collect();
        let offered = offered.join(", ");
        let text = match (self.is_half, self.refused.is_empty()) {
            (true, _) => format!(
                "the server wants a second proof of user {user} besides the one that was given: it takes {offered}"
            ),
            (false, true) => format!(
                "the server takes nothing of what is given to sign in user {user}: it takes {offered}; give --ssh-keyfile for \
                 publickey, --auth-password for password and keyboard-interactive"
            ),
            (false, false) => self.refused_text(),
        };
        self.call.error(ErrorKind::SignInNeeded, text)
    }

    fn refused_text(&self) -> String {
        let what = self.refused.join(" and ");
        format!("the server refused {what} of user {}", self.user)
    }

    /// The connection ended. What the server says goodbye to is what was tried, if anything was; without a word of it the
    /// line broke, whatever was refused before, and another attempt may do better.
    fn ended(&self, connected: &Connected, error: russh::Error) -> Error {
        let said = heard(&connected.heard).goodbye.clone();
        match said {
            None => lost(self.call, error),
            Some(said) if self.refused.is_empty() => {
                let text = format!("the server ended the connection during the sign-in: {said}");
                self.call.error(ErrorKind::Network, text).unanswered()
            }
            Some(_) => {
                let text = format!("{} and ended the connection", self.refused_text());
                self.call.error(ErrorKind::SignInNeeded, text)
            }
        }
    }
}

/// The answer to an attempt. `russh` makes a refusal without further methods of a connection that ended.
fn heard_out(handle: &Handle<Client>, attempt: Attempt) -> Attempt {
    match attempt {
        Ok(Answer::Further {
            methods,
            is_right: false,
        }) if methods.is_empty() && handle.is_closed() => Err(russh::Error::Disconnect),
        attempt => attempt,
    }
}

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

async fn with_key(user: &str, handle: &mut Handle<Client>, key: &Arc<PrivateKey>) -> Attempt {
    let mut answer = nothing();
    for hash in rsa_hashes(handle, &key.algorithm()).await? {
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        answer = handle.authenticate_publickey(user, key).await?.into();
        if !answer.is_refusal() {
            break;
        }
    }
    Ok(answer)
}

/// With the password as the answer to each question.
async fn with_answers(user: &str, handle: &mut Handle<Client>, password: &str) -> Attempt {
    let mut reply = handle
        .authenticate_keyboard_interactive_start(user, None)
        .await?;
    for _ in 0..MOST_QUESTIONS {
        match reply {
            KeyboardInteractiveAuthResponse::Success => return Ok(Answer::Taken),
            KeyboardInteractiveAuthResponse::Failure {
                remaining_methods,
                partial_success,
            } => {
                return Ok(Answer::Further {
                    methods: remaining_methods,
                    is_right: partial_success,
                });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = prompts.iter().map(|_| password.to_owned()).collect();
                reply = handle
                    .authenticate_keyboard_interactive_respond(answers)
                    .await?;
            }
        }
    }
    Ok(nothing())
}

async fn with_agent(call: &Call, user: &str, handle: &mut Handle<Client>) -> Result<Attempt> {
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
    let mut answer = nothing();
    for key in keys {
        let AgentIdentity::PublicKey { key, .. } = key else {
            continue;
        };
        let hashes = match rsa_hashes(handle, &key.algorithm()).await {
            Ok(hashes) => hashes,
            Err(error) => return Ok(Err(error)),
        };
        for hash in hashes {
            let signing = handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent);
            match signing.await.map(Answer::from) {
                Ok(next) if next.is_refusal() => answer = next,
                Ok(next) => return Ok(Ok(next)),
                Err(_) if handle.is_closed() => return Ok(Err(russh::Error::Disconnect)),
                // A key that the agent does not sign with, as when its user says no, is passed over.
                Err(_) => {}
            }
        }
    }
    Ok(Ok(answer))
}

/// A refusal that the server did not put into words.
fn nothing() -> Answer {
    Answer::Further {
        methods: MethodSet::empty(),
        is_right: false,
    }
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

/// A server may let a wrong password wait, and ask others.
const SIGN_IN_TIME: Option<Duration> = Some(Duration::from_secs(120));
/// Rounds of questions of a server.
const MOST_QUESTIONS: usize = 10;
