//! WebDAV servers, Nextcloud and ownCloud among them: `webdav://server/folder`.
//!
//! The model for destinations that speak a file protocol over HTTP. [`PROVIDER`] describes the options; `api` makes
//! requests, `multistatus` reads listings while they arrive, `store` gives them the meaning of a destination.

mod api;
mod multistatus;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use larder_destination::{Config, Error, Opened, Place, Provider, Result, Tools, UrlForm};
use larder_httpkit::authorize::{Anonymous, Password};
use larder_httpkit::http::Url;
use larder_httpkit::options as http;
use larder_httpkit::{Authorize, Proxy, Service, encode, is_local};
use larder_options::{Group, Kind, Opt, OptionValue, Status, Values, option_table};

use crate::api::Api;
use crate::store::Store;

/// How this provider presents itself.
pub const PROVIDER: Provider = Provider {
    schemes: &[SCHEME],
    name: "WebDAV",
    help: "Stores files on a server that speaks WebDAV, such as Nextcloud, ownCloud, Apache or a NAS.",
    options: TABLE,
    url: UrlForm {
        host: "server, with a port if needed",
        path: "folder on the server",
        example: "webdav://cloud.example.com/remote.php/dav/files/me/backup?use-ssl=true",
    },
    identity,
    open,
};

option_table! {
    pub(crate) TABLE = Group::Destination;
    INTEGRATED_AUTHENTICATION: bool = "integrated-authentication", Kind::Bool,
        "Signs in as the user who is logged on to this machine.",
        advanced: true,
        long: "Only Windows has such a sign-in; it is not available here.";
    FORCE_DIGEST_AUTHENTICATION: bool = "force-digest-authentication", Kind::Bool,
        "Signs in with Digest only, which never sends the password.",
        long: "When the server offers only Basic, nothing is sent and the command fails. Without this option Basic is \
               sent at once, and Digest where the server wants that.";
    DEBUG_PROPFIND_FILE: String = "debug-propfind-file", Kind::Path,
        "Writes each listing as the server sends it to this file.",
        advanced: true,
        long: "The file is overwritten each time.";
    USE_EXTENDED_PROPFIND: bool = "use-extended-propfind", Kind::Bool,
        "Names the properties that are wanted when a folder is listed.",
        advanced: true,
        long: "Some servers need it, others refuse it. A server that refuses it is asked without.";
    USE_LEGACY_PARSING: bool = "use-legacy-parsing", Kind::Bool,
        "Once chose how listings are read.",
        advanced: true,
        status: Status::NoEffect { why: "there is one way to read listings, which suits all servers" };
    AZURE_CONTAINER: String = "azure-blob-container-name", Kind::Text,
        "Belongs to another kind of destination.",
        advanced: true,
        status: Status::NoEffect { why: "WebDAV knows no containers" };
    .. http::AUTH_USERNAME.decl, http::AUTH_PASSWORD.decl, http::USE_SSL.decl,
        http::ACCEPT_ANY_SSL_CERTIFICATE.decl, http::ACCEPT_SPECIFIED_SSL_HASH.decl,
        http::SHORT_TIMEOUT.decl, http::LIST_TIMEOUT.decl, http::READ_WRITE_TIMEOUT.decl;
}

fn identity(config: &Config) -> Result<Place> {
    let site = Site::from_config(config)?;
    let usual = if site.tls { 443 } else { 80 };
    let place = Place::new(SCHEME).with_server(&site.host, config.url.port(), usual);
    let place = match user(config)? {
        Some(user) => place.with("account", user),
        None => place,
    };
    Ok(place.with_folder(&site.folders.join("/")))
}

fn open(config: &Config, tools: &Tools) -> Result<Opened> {
    let values = &config.values;
    let site = Site::from_config(config)?;
    let mut settings = http::settings(SCHEME, values)?;
    if is_local(&site.host) {
        settings.proxy = Proxy::Direct;
    }
    let authorize = authorize(config, tools)?;
    let service = Service::new(SCHEME, &settings, authorize, api::meaning, tools)?;
    let debug_file = values
        .find(DEBUG_PROPFIND_FILE)
        .map_err(|error| Error::config(SCHEME, error.to_string()))?;
    let api = Api {
        service,
        folder: site.address()?,
        extended: read(values, USE_EXTENDED_PROPFIND)?.into(),
        debug_file: debug_file
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
    };
    let display = site.display(config);
    let notices = http::notices(&settings, site.tls, &site.host);
    let random = Arc::clone(&tools.random);
    Ok(Opened {
        destination: Arc::new(Store::new(api, site.folders, display, random)),
        notices,
    })
}

/// The sign-in that the options ask for.
fn authorize(config: &Config, tools: &Tools) -> Result<Arc<dyn Authorize>> {
    if read(&config.values, INTEGRATED_AUTHENTICATION)? {
        let text = "option --integrated-authentication is not available on this system: give a user name and password";
        return Err(Error::config(SCHEME, text));
    }
    let digest = read(&config.values, FORCE_DIGEST_AUTHENTICATION)?;
    let password = config
        .password(&[])
        .map_err(|error| Error::config(SCHEME, error.to_string()))?;
    let Some(user) = user(config)? else {
        if digest {
            let text = "option --force-digest-authentication needs a user name";
            return Err(Error::config(SCHEME, text));
        }
        return Ok(Arc::new(Anonymous));
    };
    let random = Arc::clone(&tools.random);
    let password = Password::new(user, password.unwrap_or_default(), random);
    Ok(Arc::new(if digest {
        password.digest_only()
    } else {
        password
    }))
}

fn user(config: &Config) -> Result<Option<String>> {
    config
        .user(&[])
        .map_err(|error| Error::config(SCHEME, error.to_string()))
}

fn read<T: OptionValue>(values: &Values, option: Opt<T>) -> Result<T> {
    values
        .get(option)
        .map_err(|error| Error::config(SCHEME, error.to_string()))
}

/// A server and a folder on it.
struct Site {
    tls: bool,
    host: String,
    port: Option<u16>,
    /// From the outermost to the innermost, not encoded.
    folders: Vec<String>,
}

impl Site {
    fn from_config(config: &Config) -> Result<Self> {
        let host = config.url.host().unwrap_or_default();
        if host.is_empty() {
            return Err(Error::config(SCHEME, "the URL names no server"));
        }
        let folders: Vec<_> = config
            .url
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        if folders.iter().any(|part| part == "." || part == "..") {
            let text = "the path in the URL has . or .. as a folder";
            return Err(Error::config(SCHEME, text));
        }
        Ok(Self {
            tls: read(&config.values, http::USE_SSL)?,
            host: host.to_ascii_lowercase(),
            port: config.url.port(),
            folders,
        })
    }

    /// The address of the folder, with a slash at its end.
    fn address(&self) -> Result<Url> {
        let scheme = if self.tls { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = api::folder_path(&self.folders);
        let wrong = || Error::config(SCHEME, "the server in the URL has no valid name");
        let url =
            Url::parse(&format!("{scheme}://{}{port}{path}", self.host)).map_err(|_| wrong())?;
        let is_plain = url.path() == path && url.query().is_none() && url.username().is_empty();
        is_plain.then_some(url).ok_or_else(wrong)
    }

    fn display(&self, config: &Config) -> String {
        let port = config.url.port().map(|port| format!(":{port}"));
        let port = port.unwrap_or_default();
        let path = encode::decode(api::folder_path(&self.folders).trim_end_matches('/'));
        format!("{SCHEME}://{}{port}{}", self.host, path.unwrap_or_default())
    }
}

/// The scheme key.
const SCHEME: &str = "webdav";
