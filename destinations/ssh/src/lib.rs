//! Servers that are reached through SSH: `ssh://server/folder`, in the file transfer protocol SFTP.
//!
//! [`PROVIDER`] describes the options; `store` says what the server does with files and what its answers mean, `api` what it
//! tells of them and how it is reached. The way to the server is that of `sshkit`, the destination that of `flat`.

mod api;
mod store;

use std::time::Duration;

use larder_destination::{Config, Error, Notice, Opened, Place, Provider, Result, Tools, UrlForm};
use larder_options::engine::{
    AUTH_PASSWORD, AUTH_USERNAME, LIST_TIMEOUT, READ_WRITE_TIMEOUT, SHORT_TIMEOUT,
};
use larder_options::{Group, Kind, Opt, OptionValue, Secret, option_table};
use larder_sshkit::{HostKeys, KeyText, Settings, SignIn, Times};

use crate::store::store;

/// How this provider presents itself.
pub const PROVIDER: Provider = Provider {
    schemes: &[SCHEME, "sftp"],
    name: "SFTP (SSH)",
    help: "Stores files on a server that is reached through SSH, such as OpenSSH on Linux or a NAS.",
    options: TABLE,
    url: UrlForm {
        host: "server, with a port if needed",
        path: "folder on the server, from its root",
        example: "ssh://ann@server.example.com/home/ann/backup",
    },
    identity,
    open,
    sign_in: None,
};

option_table! {
    pub(crate) TABLE = Group::Destination;
    SSH_FINGERPRINT: String = "ssh-fingerprint", Kind::Text,
        "Names the host key of the server by its fingerprint.",
        long: "Taken as the error message about an unknown host key prints it (ssh-ed25519 256 11:22:…), as ssh-keygen -l \
               does (SHA256:…), or as the line of a public key (ssh-ed25519 AAAA…). Several are divided by commas; one of \
               them has to be right.";
    SSH_ACCEPT_ANY_FINGERPRINTS: bool = "ssh-accept-any-fingerprints", Kind::Bool,
        "Accepts every host key of the server.",
        long: "Whoever stands between this machine and the server can then take the password and the files. For tests. \
               It has no effect beside --ssh-fingerprint.";
    SSH_KEYFILE: String = "ssh-keyfile", Kind::Path,
        "Names the file of the private key to sign in with.",
        secret: true,
        long: "Keys of OpenSSH, in PEM (PKCS#1, SEC1, PKCS#8) and of PuTTY are read. The passphrase of an encrypted key is \
               --auth-password, which then is not used to sign in. The text of a key in place of a path is taken as \
               --ssh-key takes it.";
    SSH_KEY: Secret = "ssh-key", Kind::Password,
        "Gives the private key itself to sign in with.",
        long: "The text of the key, as it is or after sshkey:// with its characters percent-encoded.";
    SSH_OPERATION_TIMEOUT: i64 = "ssh-operation-timeout", Kind::Timespan,
        "Sets how long an operation may take, such as storing a file as a whole.",
        default: Some("0"),
        advanced: true,
        long: "0 sets no bound: --short-timeout, --list-timeout and --read-write-timeout end what stands still.";
    SSH_KEEPALIVE: i64 = "ssh-keepalive", Kind::Timespan,
        "Sets after which silence the server is asked whether it is still there.",
        default: Some("0"),
        advanced: true,
        long: "0 asks never. After three questions without an answer the connection counts as lost.";
    SSH_RELATIVE_PATH: bool = "ssh-relative-path", Kind::Bool,
        "Takes the folder of the URL from the user's home on the server instead of its root.";
    SSH_DISABLE_AGENT: bool = "ssh-disable-agent", Kind::Bool,
        "Does not ask the SSH agent for keys.",
        advanced: true,
        long: "The agent is asked only when neither a key nor a password is given.";
    .. &[
        AUTH_USERNAME.decl, AUTH_PASSWORD.decl, SHORT_TIMEOUT.decl, LIST_TIMEOUT.decl, READ_WRITE_TIMEOUT.decl,
    ];
}

fn identity(config: &Config) -> Result<Place> {
    let (host, folder) = (host(config)?, folder(config)?);
    let place = Place::new(SCHEME).with_server(&host, config.url.port(), PORT);
    let place = place.with("account", user(config)?);
    Ok(match get(config, SSH_RELATIVE_PATH)? {
        true => place.with("from", "home").with_folder(&folder),
        false => place.with_folder(&folder),
    })
}

fn open(config: &Config, tools: &Tools) -> Result<Opened> {
    let accepts_any = get(config, SSH_ACCEPT_ANY_FINGERPRINTS)?;
    let fingerprints = text(config, SSH_FINGERPRINT)?.unwrap_or_default();
    let known = HostKeys::parse(&fingerprints).map_err(|entry| {
        wrong(format!(
            "option --ssh-fingerprint: \"{entry}\" is no fingerprint and no public key; in a URL + is written %2B"
        ))
    })?;
    let settings = Settings {
        host: host(config)?,
        port: config.url.port().unwrap_or(PORT),
        user: user(config)?,
        sign_in: sign_in(config)?,
        known,
        accepts_any,
        keepalive: seconds(config, SSH_KEEPALIVE)?,
        times: times(config)?,
    };
    let longest = seconds(config, SSH_OPERATION_TIMEOUT)?;
    let folder = folder(config)?;
    let server = config.url.host().unwrap_or_default();
    let port = config.url.port().map(|port| format!(":{port}"));
    let display = format!("{SCHEME}://{server}{}/{folder}", port.unwrap_or_default());
    let path = match (get(config, SSH_RELATIVE_PATH)?, folder.as_str()) {
        (true, "") => ".".to_owned(),
        (true, folder) => folder.to_owned(),
        (false, folder) => format!("/{folder}"),
    };
    let notice = (accepts_any && fingerprints.is_empty()).then(|| Notice {
        id: "AnyHostKeyAccepted",
        text: format!(
            "any host key of {} is accepted, so that others can pretend to be it (--ssh-accept-any-fingerprints)",
            settings.host
        ),
    });
    Ok(Opened {
        notices: notice.into_iter().collect(),
        ..Opened::new(store(settings, path, display, longest, tools))
    })
}

/// What to sign in with: a key, a password, or what the agent has.
fn sign_in(config: &Config) -> Result<SignIn> {
    let password = config.password(&[]).map_err(|e| wrong(e.to_string()))?;
    let file = text(config, SSH_KEYFILE)?;
    let key = match config.values.find(SSH_KEY) {
        Err(error) => return Err(wrong(error.to_string())),
        Ok(Some(key)) if !key.is_empty() => Some(KeyText::inline(key.expose())),
        Ok(_) => match file {
            Some(text) if KeyText::is_inline(&text) => Some(KeyText::inline(&text)),
            Some(path) => Some(KeyText::read(&config.working_folder.join(path)).map_err(wrong)?),
            None => None,
        },
    };
    let agent = key.is_none() && password.is_none();
    if agent && get(config, SSH_DISABLE_AGENT)? {
        let text =
            "there is nothing to sign in with: give --auth-password, --ssh-keyfile or --ssh-key";
        return Err(wrong(text));
    }
    Ok(SignIn {
        key,
        password,
        agent,
    })
}

fn times(config: &Config) -> Result<Times> {
    Ok(Times {
        short: seconds(config, SHORT_TIMEOUT)?,
        list: seconds(config, LIST_TIMEOUT)?,
        stall: seconds(config, READ_WRITE_TIMEOUT)?,
    })
}

/// The server's name in lower case, without the brackets of an IPv6 address.
fn host(config: &Config) -> Result<String> {
    let host = config.url.host().unwrap_or_default();
    match host.trim_matches(['[', ']']) {
        "" => Err(wrong("the URL names no server")),
        host => Ok(host.to_ascii_lowercase()),
    }
}

/// The folder without slashes around it.
fn folder(config: &Config) -> Result<String> {
    let parts = config.url.path().split('/');
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    match parts.iter().any(|part| matches!(*part, "." | "..")) {
        true => Err(wrong("the path in the URL has . or .. as a folder")),
        false => Ok(parts.join("/")),
    }
}

fn user(config: &Config) -> Result<String> {
    let user = config.user(&[]).map_err(|e| wrong(e.to_string()))?;
    user.ok_or_else(|| {
        wrong("no user name is given: use --auth-username, or put it before the @ in the URL")
    })
}

fn get<T: OptionValue>(config: &Config, option: Opt<T>) -> Result<T> {
    config.values.get(option).map_err(|e| wrong(e.to_string()))
}

fn text(config: &Config, option: Opt<String>) -> Result<Option<String>> {
    let text = config.values.find(option);
    let text = text.map_err(|error| wrong(error.to_string()))?;
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// A span of time; nothing for 0 and less.
fn seconds(config: &Config, option: Opt<i64>) -> Result<Option<Duration>> {
    let seconds = u64::try_from(get(config, option)?).unwrap_or(0);
    Ok(Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero()))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::config(SCHEME, message)
}

/// The scheme key.
const SCHEME: &str = "ssh";
/// RFC 4253, section 4.1.
const PORT: u16 = 22;

#[cfg(test)]
mod tests;
