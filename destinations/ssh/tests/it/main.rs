//! Tests of the SFTP destination against OpenSSH (`scripts/test-servers/openssh.sh`), also through a line that breaks, and
//! against a server that does what a test wants of it.

mod files;
mod line;
mod misbehaving;
mod trust;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use larder_destination::{Body, Destination, ErrorKind, Existing, Opened, Result, Tools};

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

/// As it is, without its extensions, and one that only asks questions and takes one channel.
const OPENSSH: &str = "LARDER_TEST_SSH_URL";
const PLAIN: &str = "LARDER_TEST_SSH_PLAIN_URL";
const ASKING: &str = "LARDER_TEST_SSH_ASKING_URL";
/// Another server, in Go.
const RCLONE: &str = "LARDER_TEST_SSH_RCLONE_URL";
/// The folder with the keys of server and user.
const FOLDER: &str = "LARDER_TEST_SSH_FOLDER";
/// The user's password, which is the passphrase of the keys too.
const PASSWORD: &str = "s3cr&t pw+";
const ENCODED: &str = "s3cr%26t%20pw%2B";

/// The value of a variable; without it the test is passed over.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        larder_testkit::pass_over("server", &format!("{name} is not set"));
    }
    value
}

/// The URL in parts: what stands before `user:password@`, user, server with port and path, query.
struct Parts {
    user: String,
    rest: String,
    query: String,
}

impl Parts {
    fn of(url: &str) -> Option<Self> {
        let (start, query) = url.split_once('?')?;
        let (sign_in, rest) = start.strip_prefix("ssh://")?.split_once('@')?;
        let (user, _) = sign_in.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            rest: rest.to_owned(),
            query: query.to_owned(),
        })
    }

    /// With a fresh folder in it.
    fn fresh(url: &str) -> Option<Self> {
        let mut parts = Self::of(url)?;
        let number = RandomState::new().hash_one(0);
        parts.rest = format!("{}/t%20{number:016x}/b+c/%C3%BC%25", parts.rest);
        Some(parts)
    }

    /// With `:password`, or nothing, after the user.
    fn url(&self, password: &str, query: &str) -> String {
        format!("ssh://{}{password}@{}?{query}", self.user, self.rest)
    }

    fn usual(&self) -> String {
        self.url(&format!(":{ENCODED}"), &self.query)
    }

    fn port(&self) -> Option<u16> {
        self.rest.split(['/', ':']).nth(1)?.parse().ok()
    }
}

fn open(url: &str) -> Result<Opened> {
    larder_ssh::PROVIDER.open_url(url, &Tools::system())
}

fn store(url: &str) -> Result<Arc<dyn Destination>> {
    Ok(open(url)?.destination)
}

async fn names(store: &dyn Destination) -> Result<Vec<String>> {
    let mut names: Vec<_> = store.list().map_ok(|file| file.name).try_collect().await?;
    names.sort_unstable();
    Ok(names)
}

async fn put(
    store: &dyn Destination,
    name: &str,
    content: impl Into<bytes::Bytes> + Send,
    existing: Existing,
) -> Result<()> {
    store.put(name, Body::from_bytes(content), existing).await
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

/// A text in the query of a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What a program prints.
fn printed(
    program: &str,
    arguments: &[&str],
) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn text(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}
