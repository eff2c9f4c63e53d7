//! A server of SSH and SFTP (draft-ietf-secsh-filexfer-02) that does what a test wants of it: servers that are rare, odd, or in
//! trouble. What is usual is tested with OpenSSH.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, Disconnect, MethodKind, MethodSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What becomes of a step on the way to the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It succeeds.
    Taken,
    /// The server says no.
    Refused,
    /// The line breaks.
    Cut,
    /// The server says goodbye and hangs up.
    Goodbye,
}

/// A request as the script sees it.
pub struct Asked {
    /// Its type (draft-ietf-secsh-filexfer-02, section 3).
    pub kind: u8,
    /// The path, the handle or the name of the extension.
    pub text: String,
    /// What follows.
    pub rest: Bytes,
    /// The same was not asked for before.
    pub is_first: bool,
}

/// An answer: its type and what follows the number.
pub type Answer = (u8, Vec<u8>);

/// What a server does beyond the usual; nothing leaves it at that.
pub type Script = Box<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;

/// What the server does, and what it was asked.
pub struct Scripted {
    /// What becomes of one attempt after the other with a key; the last one stays, here and below.
    pub key: Mutex<Vec<Step>>,
    /// So many attempts to sign in are answered; at the next one the server says goodbye.
    pub most_attempts: usize,
    /// Of attempts with a password.
    pub passwords: Mutex<Vec<Step>>,
    /// Of asking for SFTP.
    pub subsystem: Mutex<Vec<Step>>,
    /// The extensions that it names.
    pub extensions: &'static [&'static str],
    /// What it answers in place of the usual.
    pub script: Script,
    /// Paths and contents.
    pub files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Types and texts of the requests so far.
    pub requests: Mutex<Vec<(u8, String)>>,
    /// Number of attempts with a password so far.
    pub attempts: Mutex<usize>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            key: Mutex::new(vec![Step::Taken]),
            most_attempts: 10,
            passwords: Mutex::new(vec![Step::Taken]),
            subsystem: Mutex::new(vec![Step::Taken]),
            extensions: &[],
            script: Box::new(|_| None),
            files: Mutex::default(),
            requests: Mutex::default(),
            attempts: Mutex::default(),
        }
    }
}

/// What is behind a lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

/// The text of a private key that everybody knows; the server's is number 1.
#[must_use]
pub fn key_text(number: u8) -> String {
    let text = key(number).to_openssh(LineEnding::LF);
    text.map(|text| text.to_string()).unwrap_or_default()
}

impl Scripted {
    /// Starts it on 127.0.0.1, as long as the runtime lives; gives its port. Its folder is `/data`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn listen(self) -> std::io::Result<(Arc<Self>, u16)> {
        let this = Arc::new(self);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let config = Arc::new(server::Config {
            keys: vec![key(1)],
            max_auth_attempts: this.most_attempts,
            auth_rejection_time: std::time::Duration::ZERO,
            ..server::Config::default()
        });
        let serving = Arc::clone(&this);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let client = Client {
                    server: Arc::clone(&serving),
                    channels: BTreeMap::new(),
                };
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, stream, client).await {
                        let _ = session.await;
                    }
                });
            }
        });
        Ok((this, port))
    }

    /// How often it was asked for that.
    #[must_use]
    pub fn asked(&self, kind: u8) -> usize {
        lock(&self.requests)
            .iter()
            .filter(|(asked, _)| *asked == kind)
            .count()
    }

    /// How often an extension was asked for.
    #[must_use]
    pub fn asked_for(&self, extension: &str) -> usize {
        let asked = lock(&self.requests);
        let is_it = |(kind, text): &&(u8, String)| *kind == EXTENDED && text == extension;
        asked.iter().filter(is_it).count()
    }

    /// Stores a file in its folder.
    pub fn put(&self, name: &str, content: &str) {
        lock(&self.files).insert(format!("/data/{name}"), content.into());
    }

    /// The names and contents in its folder.
    #[must_use]
    pub fn content(&self) -> Vec<(String, String)> {
        let files = lock(&self.files);
        let file = |(path, content): (&String, &Vec<u8>)| {
            let name = path.trim_start_matches("/data/").to_owned();
            (name, String::from_utf8_lossy(content).into_owned())
        };
        files.iter().map(file).collect()
    }

    async fn serve(self: Arc<Self>, channel: Channel<Msg>) -> Option<()> {
        let mut stream = channel.into_stream();
        packet(&mut stream).await?;
        let mut version = BytesMut::new();
        version.put_u32(3);
        for extension in self.extensions {
            put_text(&mut version, extension);
            put_text(&mut version, "1");
        }
        send(&mut stream, 2, None, &version).await?;
        // Handles of folders whose entries were given.
        let mut listed = BTreeSet::new();
        loop {
            let mut rest = packet(&mut stream).await?;
            let (kind, number) = (rest.try_get_u8().ok()?, rest.try_get_u32().ok()?);
            let text = take(&mut rest)?;
            let is_first = {
                let mut requests = lock(&self.requests);
                let request = (kind, text.clone());
                let is_first = !requests.contains(&request);
                requests.push(request);
                is_first
            };
            let asked = Asked {
                kind,
                text,
                rest,
                is_first,
            };
            let answer = (self.script)(&asked);
            let (kind, content) = match answer {
                Some(answer) => answer,
                None => self.usual(asked, &mut listed)?,
            };
            send(&mut stream, kind, Some(number), &content).await?;
        }
    }

    /// What a plain server answers.
    fn usual(&self, asked: Asked, listed: &mut BTreeSet<String>) -> Option<Answer> {
        let Asked {
            kind,
            text,
            mut rest,
            ..
        } = asked;
        let mut files = lock(&self.files);
        Some(match kind {
            OPENDIR if text == "/data" => {
                listed.remove(&text);
                handle(&text)
            }
            READDIR if listed.insert(text.clone()) => {
                let names = files.iter().map(|(path, content)| {
                    let name = path.trim_start_matches("/data/");
                    (name, Some(0o100_644), content.len())
                });
                entries(names)
            }
            READDIR => status(1),
            STAT if text == "/data" => attributes(Some(0o040_755), 0),
            STAT | FSTAT => match files.get(&text) {
                Some(content) => attributes(Some(0o100_644), content.len()),
                None => status(2),
            },
            OPEN => match (
                rest.try_get_u32().ok()? & 0x08 != 0,
                files.contains_key(&text),
            ) {
                (true, _) => {
                    files.insert(text.clone(), Vec::new());
                    handle(&text)
                }
                (false, true) => handle(&text),
                (false, false) => status(2),
            },
            READ => {
                let at = usize::try_from(rest.try_get_u64().ok()?).ok()?;
                let left = files.get(&text).and_then(|content| content.get(at..));
                match left {
                    Some(left) if !left.is_empty() => {
                        let mut data = BytesMut::new();
                        put_text(&mut data, &String::from_utf8_lossy(left));
                        (103, data.to_vec())
                    }
                    _ => status(1),
                }
            }
            WRITE => {
                rest.try_get_u64().ok()?;
                let data = take(&mut rest)?;
                files
                    .entry(text)
                    .or_default()
                    .extend_from_slice(data.as_bytes());
                status(0)
            }
            REMOVE => status(if files.remove(&text).is_some() { 0 } else { 2 }),
            RENAME => {
                let to = take(&mut rest)?;
                match files.contains_key(&to) {
                    true => status(4),
                    false => match files.remove(&text) {
                        Some(content) => {
                            files.insert(to, content);
                            status(0)
                        }
                        None => status(2),
                    },
                }
            }
            CLOSE => status(0),
            _ => status(8),
        })
    }
}

/// The way of one client.
struct Client {
    server: Arc<Scripted>,
    channels: BTreeMap<ChannelId, Channel<Msg>>,
}

/// The next step; the last one stays.
fn next(steps: &Mutex<Vec<Step>>) -> Step {
    let mut steps = lock(steps);
    match steps.len() {
        0 | 1 => steps.first().copied().unwrap_or(Step::Taken),
        _ => steps.remove(0),
    }
}

/// What an attempt to sign in gets.
fn judged(step: Step, offers: &[MethodKind]) -> std::result::Result<Auth, russh::Error> {
    match step {
        Step::Taken => Ok(Auth::Accept),
        Step::Refused | Step::Goodbye => Ok(Auth::Reject {
            proceed_with_methods: Some(MethodSet::from(offers)),
            partial_success: false,
        }),
        Step::Cut => Err(russh::Error::Disconnect),
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: server::PublicKeyOffer<'_>,
    ) -> std::result::Result<Auth, Self::Error> {
        judged(
            next(&self.server.key),
            &[MethodKind::PublicKey, MethodKind::Password],
        )
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> std::result::Result<Auth, Self::Error> {
        *lock(&self.server.attempts) += 1;
        judged(next(&self.server.passwords), &[MethodKind::Password])
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> std::result::Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> std::result::Result<(), Self::Error> {
        match next(&self.server.subsystem) {
            Step::Taken => {
                session.channel_success(id)?;
                if let Some(channel) = self.channels.remove(&id) {
                    tokio::spawn(Arc::clone(&self.server).serve(channel));
                }
                Ok(())
            }
            Step::Refused => session.channel_failure(id),
            Step::Cut => Err(russh::Error::Disconnect),
            Step::Goodbye => session.disconnect(Disconnect::ByApplication, "no more", ""),
        }
    }
}

async fn packet(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Bytes> {
    let len = usize::try_from(from.read_u32().await.ok()?).ok()?;
    let mut packet = vec![0; len];
    from.read_exact(&mut packet).await.ok()?;
    Some(Bytes::from(packet))
}

async fn send(
    to: &mut (impl AsyncWriteExt + Unpin),
    kind: u8,
    number: Option<u32>,
    content: &[u8],
) -> Option<()> {
    let mut packet = BytesMut::new();
    packet.put_u8(kind);
    if let Some(number) = number {
        packet.put_u32(number);
    }
    packet.put_slice(content);
    let mut whole = BytesMut::new();
    whole.put_u32(u32::try_from(packet.len()).ok()?);
    whole.put_slice(&packet);
    to.write_all(&whole).await.ok()
}

fn take(from: &mut Bytes) -> Option<String> {
    let len = usize::try_from(from.try_get_u32().ok()?).ok()?;
    let bytes = (len <= from.len()).then(|| from.split_to(len))?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn put_text(to: &mut BytesMut, text: &str) {
    to.put_u32(u32::try_from(text.len()).unwrap_or(0));
    to.put_slice(text.as_bytes());
}

fn put_attributes(to: &mut BytesMut, permissions: Option<u32>, len: usize) {
    to.put_u32(0x1 | if permissions.is_some() { 0x4 } else { 0 });
    to.put_u64(len as u64);
    if let Some(permissions) = permissions {
        to.put_u32(permissions);
    }
}

/// `SSH_FXP_STATUS` with this code.
#[must_use]
pub fn status(code: u32) -> Answer {
    (101, code.to_be_bytes().to_vec())
}

/// `SSH_FXP_HANDLE`.
#[must_use]
pub fn handle(text: &str) -> Answer {
    let mut handle = BytesMut::new();
    put_text(&mut handle, text);
    (102, handle.to_vec())
}

/// `SSH_FXP_ATTRS`: the permissions, where the server tells them, and the length.
#[must_use]
pub fn attributes(permissions: Option<u32>, len: usize) -> Answer {
    let mut found = BytesMut::new();
    put_attributes(&mut found, permissions, len);
    (105, found.to_vec())
}

/// `SSH_FXP_NAME`: name, permissions, length of each.
#[must_use]
pub fn entries<'n>(all: impl IntoIterator<Item = (&'n str, Option<u32>, usize)>) -> Answer {
    let (mut names, mut count) = (BytesMut::new(), 0_u32);
    for (name, permissions, len) in all {
        put_text(&mut names, name);
        put_text(&mut names, "");
        put_attributes(&mut names, permissions, len);
        count += 1;
    }
    let mut whole = count.to_be_bytes().to_vec();
    whole.extend_from_slice(&names);
    (104, whole)
}

/// `SSH_FXP_OPEN`.
pub const OPEN: u8 = 3;
const CLOSE: u8 = 4;
/// `SSH_FXP_READ`.
pub const READ: u8 = 5;
const WRITE: u8 = 6;
const FSTAT: u8 = 8;
/// `SSH_FXP_OPENDIR`.
pub const OPENDIR: u8 = 11;
/// `SSH_FXP_READDIR`.
pub const READDIR: u8 = 12;
const REMOVE: u8 = 13;
/// `SSH_FXP_STAT`.
pub const STAT: u8 = 17;
/// `SSH_FXP_RENAME`.
pub const RENAME: u8 = 18;
const EXTENDED: u8 = 200;
