//! WebDAV servers, Nextcloud and ownCloud among them: `webdav://server/folder`.
//!
//! The model for destinations that speak a file protocol over HTTP. [`PROVIDER`] describes the options; `api` makes
//! requests, `store` gives them the meaning of a destination.

mod api;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use larder_destination::{Config, Opened, Place, Provider, Result, Tools, UrlForm};
use larder_httpkit::authorize::{Anonymous, Password};
use larder_httpkit::options::{self as http, Options};
use larder_httpkit::{Authorize, Service, Site};
use larder_options::{Group, Kind, Status, option_table};

use crate::api::Api;
use crate::store::store;

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
    sign_in: None,
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
    .. http::SERVER_OPTIONS, http::OPTIONS;
}

fn identity(config: &Config) -> Result<Place> {
    let user = Options::new(SCHEME, config).user(&[])?;
    Ok(Site::from_config(SCHEME, config)?.place(user))
}

fn open(config: &Config, tools: &Tools) -> Result<Opened> {
    let options = Options::new(SCHEME, config);
    let site = Site::from_config(SCHEME, config)?;
    let settings = http::settings(SCHEME, &config.values)?.for_host(&site.host);
    let authorize = authorize(options, tools)?;
    let api = Api {
        service: Service::new(SCHEME, &settings, authorize, api::meaning, tools)?,
        folder: site.address()?,
        extended: options.get(USE_EXTENDED_PROPFIND)?.into(),
        debug_file: options.text(DEBUG_PROPFIND_FILE)?.map(PathBuf::from),
    };
    let notices = http::notices(&settings, site.tls, &site.host);
    let store = store(api, site, Arc::clone(&tools.random));
    Ok(Opened {
        notices,
        ..Opened::new(store)
    })
}

/// The sign-in that the options ask for.
fn authorize(options: Options<'_>, tools: &Tools) -> Result<Arc<dyn Authorize>> {
    if options.get(INTEGRATED_AUTHENTICATION)? {
        let text = "option --integrated-authentication is not available on this system: give a user name and password";
        return Err(options.wrong(text));
    }
    let digest = options.get(FORCE_DIGEST_AUTHENTICATION)?;
    let Some(user) = options.user(&[])? else {
        if digest {
            let text = "option --force-digest-authentication needs a user name";
            return Err(options.wrong(text));
        }
        return Ok(Arc::new(Anonymous));
    };
    let password = options.password(&[])?.unwrap_or_default();
    let password = Password::new(user, password, Arc::clone(&tools.random));
    Ok(Arc::new(if digest {
        password.digest_only()
    } else {
        password
    }))
}

/// The scheme key.
const SCHEME: &str = "webdav";
