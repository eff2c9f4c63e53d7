//! Google Drive: `googledrive://folder/subfolder`.
//!
//! The model for destinations that know files by ids and sign in with OAuth. [`PROVIDER`] describes the options; `api`
//! makes requests of Drive's version 3 interface and reads its replies, `store` gives them the meaning of a
//! destination. Folders, ids and duplicates of a name are the business of `larder-drives`, tokens that of the kit.

mod api;
mod store;

use std::sync::Arc;

use larder_destination::{
    Abilities, About, Config, Limits, Opened, Place, Provider, Result, Tools, UrlForm,
};
use larder_drives::Tree;
use larder_httpkit::Service;
use larder_httpkit::options::{self as http, Options};
use larder_httpkit::tokens::{self, Endpoints, Form, ServiceKey};
use larder_options::{Group, Kind, Secret, option_table};

use crate::api::Api;
use crate::store::Store;

/// How this provider presents itself.
pub const PROVIDER: Provider = Provider {
    schemes: &[SCHEME],
    name: "Google Drive",
    help: "Stores files in a folder of Google Drive, or of a shared drive of Google Workspace.",
    options: TABLE,
    url: UrlForm {
        host: "first folder",
        path: "further folders",
        example: "googledrive://Backups/laptop?authid=…",
    },
    identity,
    open,
    sign_in: Some(|config, tools, way, user| Box::pin(FORM.sign_in(config, tools, way, user))),
};

option_table! {
    pub(crate) TABLE = Group::Destination;
    TEAMDRIVE_ID: String = "googledrive-teamdrive-id", Kind::Text,
        "Stores in the shared drive with this id instead of My Drive.",
        aliases: &["googledrive-shareddrive-id"],
        long: "The id is the last part of the address that the browser shows for the shared drive.";
    SERVICE_ACCOUNT_FILE: String = "googledrive-service-account-file", Kind::Path,
        "Signs in as the service account whose key lies in this file.",
        long: "A service account has no storage of its own: give it a shared drive, or a user to act for.";
    SERVICE_ACCOUNT_JSON: Secret = "googledrive-service-account-json", Kind::Password,
        "Signs in as the service account with this key, the content of its file.",
        advanced: true;
    SERVICE_ACCOUNT_USER: String = "googledrive-service-account-user", Kind::Text,
        "Lets the service account act for the user with this e-mail address.",
        advanced: true,
        long: "An administrator of the domain has to allow that (domain-wide delegation).";
    API_URL: String = "googledrive-api-url", Kind::Text,
        "Sets another server that speaks the interface of Google Drive.",
        default: Some("https://www.googleapis.com"),
        advanced: true;
    .. http::OPTIONS, tokens::OPTIONS;
}

/// Google's sign-in.
const FORM: Form = Form {
    provider: SCHEME,
    authid_type: "googledrive",
    token_url: "https://oauth2.googleapis.com/token",
    scope: "https://www.googleapis.com/auth/drive",
    endpoints: Endpoints {
        authorization_url: "https://accounts.google.com/o/oauth2/v2/auth",
        // Google gives a refresh token only to those who ask for it, and only with a new consent.
        parameters: &[("access_type", "offline"), ("prompt", "consent")],
        device_url: "https://oauth2.googleapis.com/device/code",
        // The only scope of Drive that devices may have; it shows an application its own files
        // (https://developers.google.com/identity/protocols/oauth2/limited-input-device#allowedscopes).
        device_scope: "https://www.googleapis.com/auth/drive.file",
        device_lacks: "With a code Google lets Larder see only files that it made with this --oauth-client-id: not those \
                       that another program such as Duplicati made, nor those that you put there in a browser. To see \
                       all files, sign in without --device.",
    },
};

fn identity(config: &Config) -> Result<Place> {
    let place = FORM.identify(Place::new(SCHEME), &config.values, service_account(config)?)?;
    let drive = Options::new(SCHEME, config).text(TEAMDRIVE_ID)?;
    let place = place.with("drive", drive.unwrap_or_default());
    Ok(place.with_folder(&config.url.host_and_path()))
}

fn open(config: &Config, tools: &Tools) -> Result<Opened> {
    let base = tokens::address_of(SCHEME, &config.values, API_URL)?;
    let host = base.host_str().unwrap_or_default().to_owned();
    let settings = http::settings(SCHEME, &config.values)?.for_host(&host);
    let notices = http::notices(&settings, base.scheme() == "https", &host);
    let key = service_account(config)?;
    let authorize = FORM.authorize(&config.values, key, &settings, tools)?;
    let service = Service::new(SCHEME, &settings, authorize, api::meaning, tools)?;
    let shared_drive = Options::new(SCHEME, config).text(TEAMDRIVE_ID)?;
    let root = shared_drive.clone().unwrap_or_else(|| "root".to_owned());
    let folder = config.url.host_and_path();
    let about = About::new(SCHEME, format!("{SCHEME}://{}", folder.trim_matches('/')))
        .with_abilities(Abilities {
            // Listings are searches, and nothing is promised about their freshness.
            atomic_put: true,
            checksummed_put: true,
            ..Abilities::default()
        })
        .with_limits(Limits {
            // 5 TB (Drive help, "Storage and upload limits").
            largest_file: Some(5_000_000_000_000),
            ..Limits::default()
        });
    let api = Api {
        service,
        base,
        shared_drive,
    };
    let store = Store {
        tree: Tree::new(Arc::new(api), root, &folder),
        about,
    };
    Ok(Opened {
        destination: Arc::new(store),
        notices,
    })
}

/// The key of the service account and the user it acts for, when the options name one.
fn service_account(config: &Config) -> Result<Option<(ServiceKey, Option<String>)>> {
    let key = ServiceKey::from_options(SCHEME, config, SERVICE_ACCOUNT_JSON, SERVICE_ACCOUNT_FILE)?;
    let user = Options::new(SCHEME, config).text(SERVICE_ACCOUNT_USER)?;
    Ok(key.map(|key| (key, user)))
}

/// The scheme key.
const SCHEME: &str = "googledrive";
