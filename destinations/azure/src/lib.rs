//! Azure Blob Storage and what speaks its protocol: `azure://container/prefix`.
//!
//! The container is the host of the URL in lower case, the path is a prefix that gets one slash at its end. [`PROVIDER`]
//! describes the options; `api` makes requests, `store` gives them the meaning of a destination.

mod api;
mod store;

use std::net::IpAddr;
use std::sync::Arc;

use larder_destination::{Config, Opened, Place, Provider, Result, Tools, UrlForm};
use larder_httpkit::authorize::{Sas, SharedKey};
use larder_httpkit::objects::{Prefix, Tuning};
use larder_httpkit::options::{self as http, Options};
use larder_httpkit::{Authorize, Server, Service};
use larder_options::{Group, Kind, Secret, option_table};

use crate::api::Api;
use crate::store::{Choices, Store};

/// How this provider presents itself.
pub const PROVIDER: Provider = Provider {
    schemes: &[SCHEME],
    name: "Azure Blob Storage",
    help: "Stores files in a container of an Azure storage account, or of a server that speaks the same protocol.",
    options: TABLE,
    url: UrlForm {
        host: "container",
        path: "folder in the container",
        example: "azure://container/folder?azure-account-name=account",
    },
    identity,
    open: |config, tools| open(config, Tuning::default(), tools),
    sign_in: None,
};

option_table! {
    pub(crate) TABLE = Group::Destination;
    AZURE_ACCOUNT_NAME: String = "azure-account-name", Kind::Text, "Name of the storage account.",
        long: "May also be given as user name in the URL or as --auth-username.";
    AZURE_ACCESS_KEY: Secret = "azure-access-key", Kind::Password, "Access key of the storage account, in Base64.",
        long: "May also be given as password in the URL or as --auth-password. One of the account's two keys.";
    AZURE_ACCESS_SAS_TOKEN: Secret = "azure-access-sas-token", Kind::Password,
        "SAS token, used instead of the access key.",
        long: "A shared access signature for the container or the account, with or without the ? at its beginning. It \
               needs the rights to read, add, create, write, delete and list. A token for a container cannot create it.";
    AZURE_BLOB_CONTAINER_NAME: String = "azure-blob-container-name", Kind::Text, "Name of the container, when the URL has none.",
        long: "Made lower case, as the service wants it.";
    AZURE_BLOB_ENDPOINT: String = "azure-blob-endpoint", Kind::Text, "Address of the server, as http(s)://host:port/path.",
        long: "For sovereign clouds, Azure Stack, custom domains and emulators; without this option it is \
               https://<account>.blob.core.windows.net. At an IP address or a name without a dot the account is the first \
               part of the path, and is added when it is not there. A name that begins with blob. gets the account before it.";
    AZURE_ACCESS_TIER: String = "azure-access-tier", Kind::Text, "Access tier of new files.",
        long: "Hot, Cool, Cold, Archive, or any other that the account knows; without this option that of the account. Files \
               in Archive cannot be read until the service has brought them back.";
    AZURE_ARCHIVE_CLASSES: Vec<String> = "azure-archive-classes", Kind::List,
        "Access tiers whose files cannot be read at once.", default: Some("Cold,Archive"), advanced: true,
        long: "What is needed from such files is told and not fetched. In truth files in Cold can be read at once: with \
               --azure-access-tier=Cold, set this to Archive.";
    AZURE_INTERNAL_RETRIES: i64 = "azure-internal-retries", Kind::Integer { min: 0, max: 100 },
        "How often a failed request is sent again within one operation.", default: Some("3"), advanced: true,
        long: "At most twice, and never more often than --number-of-retries.";
    AZURE_BLOB_IMMUTABILITY_POLICY_MODE: String = "azure-blob-immutability-policy-mode",
        Kind::StrictChoice(&["Unlocked", "Locked", "Mutable"]), "Strictness of the locks of --remote-file-lock-duration.",
        default: Some("Unlocked"), advanced: true,
        long: "Unlocked can be shortened or removed by who has the right to, Locked by nobody. The container must have been made \
               with version-level immutability.";
    .. http::SERVER_OPTIONS, http::OPTIONS;
}

/// The server with the account, the container, the folder. Keys and tokens change, and lead to the same files.
fn identity(config: &Config) -> Result<Place> {
    let options = Options::new(SCHEME, config);
    let (container, prefix) = container_and_prefix(config, options)?;
    let Account { server, .. } = Account::from_options(options)?;
    let place = Place::new(SCHEME).with("server", format!("{}{}", server.host, server.path));
    Ok(place
        .with("container", container)
        .with("folder", prefix.folder()))
}

/// Opens a destination with other sizes and pauses than users get; for tests.
///
/// # Errors
/// [`larder_destination::ErrorKind::Config`] for a wrong URL or option.
pub fn open(config: &Config, tuning: Tuning, tools: &Tools) -> Result<Opened> {
    let options = Options::new(SCHEME, config);
    let (container, prefix) = container_and_prefix(config, options)?;
    let account = Account::from_options(options)?;
    let token = sas_token(config, options)?;
    let is_delegated = token.is_some();
    let authorize: Arc<dyn Authorize> = match token {
        Some(token) => Arc::new(token),
        None => Arc::new(account.key(options)?),
    };
    let server = &account.server;
    let mut settings = http::settings(SCHEME, &config.values)?.for_host(server.name());
    let retries = u32::try_from(options.get(AZURE_INTERNAL_RETRIES)?).unwrap_or(0);
    settings.retry.retries = settings.retry.retries.min(retries);
    settings.retry.first = tuning.first_pause;
    let api = Api {
        service: Service::new(SCHEME, &settings, authorize, api::meaning, tools)?,
        address: format!("{}://{}{}", server.scheme(), server.host, server.path),
        container,
        tier: options.text(AZURE_ACCESS_TIER)?,
        lock_mode: options
            .get(AZURE_BLOB_IMMUTABILITY_POLICY_MODE)?
            .to_lowercase(),
    };
    let notices = http::notices(&settings, server.tls, server.name());
    let choices = Choices {
        archive_tiers: options.get(AZURE_ARCHIVE_CLASSES)?,
        is_delegated,
        resumptions: settings.retry.retries,
        tuning,
        random: Arc::clone(&tools.random),
    };
    let store = Store::new(api, prefix, choices);
    Ok(Opened {
        notices,
        ..Opened::new(store)
    })
}

/// Reads the URL.
fn container_and_prefix(config: &Config, options: Options<'_>) -> Result<(String, Prefix)> {
    let url = &config.url;
    if url.port().is_some() {
        let text = "the URL names a port, but its host is the container: the server goes into --azure-blob-endpoint";
        return Err(options.wrong(text));
    }
    let container = match url.host() {
        Some(host) => host.to_owned(),
        None => {
            let text = "the URL names no container, nor does --azure-blob-container-name";
            let given = options.text(AZURE_BLOB_CONTAINER_NAME)?;
            given.ok_or_else(|| options.wrong(text))?
        }
    };
    let container = container.to_lowercase();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = (3..=63).contains(&container.len()) && container.chars().all(is_plain);
    if !is_name && !SYSTEM_CONTAINERS.contains(&container.as_str()) {
        let text = format!(
            "\"{container}\" is not the name of a container (3 to 63 of a-z, 0-9 and -): the URL has the form \
             azure://container/folder, with the account in --azure-account-name"
        );
        return Err(options.wrong(text));
    }
    Ok((container, Prefix::parse(SCHEME, url.path())?))
}

/// The account, and where its blobs are.
struct Account {
    name: Option<String>,
    server: Server,
}

impl Account {
    fn from_options(options: Options<'_>) -> Result<Self> {
        let name = options.user(&[AZURE_ACCOUNT_NAME])?;
        let given = options.server(AZURE_BLOB_ENDPOINT)?;
        let (mut server, tls) = match (given, &name) {
            (Some(given), _) => given,
            (None, None) => return Err(options.wrong(NO_ACCOUNT)),
            (None, Some(name)) => Server::parse(&format!("{name}.blob.core.windows.net"))
                .ok()
                .filter(|(server, _)| server.path.is_empty() && !server.host.contains(':'))
                .ok_or_else(|| {
                    options
                        .wrong("the name of the storage account has characters that no account has")
                })?,
        };
        let is_emulator = !server.name().contains('.') || server.name().parse::<IpAddr>().is_ok();
        if is_emulator {
            let named = name.as_deref().unwrap_or_default();
            let last = server.path.rsplit('/').next().unwrap_or_default();
            if last.is_empty() && named.is_empty() {
                return Err(options.wrong(NO_ACCOUNT));
            } else if last != named && !named.is_empty() {
                server.path = format!("{}/{}", server.path, larder_httpkit::encode::segment(named));
            }
        } else if let Some(name) = name.as_ref().filter(|_| server.host.starts_with("blob.")) {
            server.host = format!("{}.{}", name.to_lowercase(), server.host);
        }
        let tls = if options.is_set(http::USE_SSL) {
            options.get(http::USE_SSL)?
        } else {
            tls.unwrap_or(true)
        };
        Ok(Self {
            name,
            server: server.with_tls(tls),
        })
    }

    /// The sign-in with the account's key.
    fn key(&self, options: Options<'_>) -> Result<SharedKey> {
        let account = self.name.clone();
        let account = account.ok_or_else(|| options.wrong(NO_ACCOUNT))?;
        let key = options.password(&[AZURE_ACCESS_KEY])?;
        let key = key.ok_or_else(|| options.wrong(NO_KEY))?;
        SharedKey::new(account, key).ok_or_else(|| options.wrong(NO_BASE64))
    }
}

/// The sign-in with a SAS token, when one is given.
fn sas_token(config: &Config, options: Options<'_>) -> Result<Option<Sas>> {
    let given = config.values.find(AZURE_ACCESS_SAS_TOKEN);
    let given = given.map_err(|error| options.wrong(error.to_string()))?;
    let read = |token: Secret| Sas::new(&token).ok_or_else(|| options.wrong(NO_TOKEN));
    given
        .filter(|token| !token.is_empty())
        .map(read)
        .transpose()
}

/// Containers of the service itself
/// (<https://learn.microsoft.com/en-us/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata>).
const SYSTEM_CONTAINERS: &[&str] = &["$root", "$web", "$logs"];
const NO_ACCOUNT: &str =
    "no storage account is given: use --azure-account-name, or put it before the @ in the URL";
const NO_KEY: &str = "no access key is given: use --azure-access-key, put it before the @ in the URL, or use \
                      --azure-access-sas-token";
const NO_BASE64: &str =
    "the access key is not Base64: in a URL, + is written %2B, / is %2F and = is %3D";
const NO_TOKEN: &str = "option --azure-access-sas-token holds no SAS token, which has parts as in sv=…&se=…&sig=…: in a \
                        URL, & is written %26, = is %3D and % is %25";

/// The scheme key.
const SCHEME: &str = "azure";

#[cfg(test)]
mod tests {
    use larder_destination::ErrorKind;

    use super::*;

    /// What the options make of a URL: the whole address, and what files are named below.
    fn address(url: &str) -> Result<(String, String)> {
        let url = larder_destination::Url::parse(url, std::path::Path::new("/"))
            .map_err(|error| larder_destination::Error::config(SCHEME, error.to_string()))?;
        let values = larder_options::Values::new();
        let config = Config::with_options(url, values, "/".into(), TABLE);
        let options = Options::new(SCHEME, &config);
        let (container, prefix) = container_and_prefix(&config, options)?;
        let Account { server, .. } = Account::from_options(options)?;
        let server_text = format!("{}://{}{}", server.scheme(), server.host, server.path);
        Ok((
            format!("{server_text}/{container}"),
            prefix.as_str().to_owned(),
        ))
    }

    #[test]
    fn urls_and_options_name_the_address_and_the_prefix() -> Result<()> {
        let usual = "https://acct.blob.core.windows.net/bkt";
        for (url, expected, prefix) in [
            ("azure://bkt?azure-account-name=acct", usual, ""),
            ("azure://acct@Bkt/", usual, ""),
            ("azure://acct:K%3D%3D@bkt/a%20b/c", usual, "a b/c/"),
            ("azure://bkt/a/?auth-username=acct", usual, "a/"),
            (
                "azure://bkt?auth_username=other&azure_account_name=acct",
                usual,
                "",
            ),
            ("azure://acct@bkt?azure-account-name=other", usual, ""),
            (
                "azure://?azure-account-name=acct&azure_blob_container_name=BKT",
                usual,
                "",
            ),
            (
                "azure:///a?azure-account-name=acct&azure-blob-container_name=bkt",
                usual,
                "a/",
            ),
            (
                "azure://acct@bkt?azure-blob-container-name=other",
                usual,
                "",
            ),
            (
                "azure://acct@$web",
                "https://acct.blob.core.windows.net/$web",
                "",
            ),
            (
                "azure://acct@bkt?use-ssl=false",
                "http://acct.blob.core.windows.net/bkt",
                "",
            ),
        ] {
            let found = address(url)?;
            assert_eq!(
                (found.0.as_str(), found.1.as_str()),
                (expected, prefix),
                "{url}"
            );
        }
        Ok(())
    }

    #[test]
    fn an_endpoint_has_the_account_in_its_name_or_in_its_path() -> Result<()> {
        for (endpoint, expected) in [
            ("http://127.0.0.1:10000", "http://127.0.0.1:10000/acct"),
            (
                "http://127.0.0.1:10000/acct/",
                "http://127.0.0.1:10000/acct",
            ),
            ("127.0.0.1:10000", "https://127.0.0.1:10000/acct"),
            ("http://[::1]:1", "http://[::1]:1/acct"),
            ("http://localhost:1/x", "http://localhost:1/x/acct"),
            ("http://azurite:1", "http://azurite:1/acct"),
            (
                "https://Blob.core.chinacloudapi.cn",
                "https://acct.blob.core.chinacloudapi.cn",
            ),
            (
                "https://acct.blob.core.chinacloudapi.cn:443",
                "https://acct.blob.core.chinacloudapi.cn",
            ),
            ("https://files.example.com", "https://files.example.com"),
        ] {
            let url = format!(
                "azure://acct@bkt?azure-blob-endpoint={}",
                larder_httpkit::encode::segment(endpoint)
            );
            assert_eq!(address(&url)?.0, format!("{expected}/bkt"), "{endpoint}");
        }
        Ok(())
    }

    #[test]
    fn wrong_urls_and_options_are_refused_with_a_reason() {
        for (url, words) in [
            ("azure://bkt:1/x", "--azure-blob-endpoint"),
            (
                "azure://acct@acct.blob.core.windows.net/bkt",
                "is not the name of a container",
            ),
            ("azure://acct@ab", "is not the name of a container"),
            ("azure://acct@a_b", "is not the name of a container"),
            (
                "azure://?azure-account-name=acct",
                "--azure-blob-container-name",
            ),
            ("azure://acct@bkt/a/../b", ". or .."),
            ("azure://bkt", "--azure-account-name"),
            (
                "azure://bkt?azure-blob-endpoint=http%3A%2F%2F127.0.0.1%3A1",
                "--azure-account-name",
            ),
            ("azure://a%2Fb@bkt", "characters that no account has"),
            (
                "azure://acct@bkt?azure-blob-endpoint=ftp%3A%2F%2Fh",
                "does not begin with",
            ),
        ] {
            let refused = address(url).err().map(|error| error.to_string());
            assert!(
                refused.as_ref().is_some_and(|text| text.contains(words)),
                "{url}: {refused:?}"
            );
        }
        for (url, words) in [
            ("azure://acct@bkt", "--azure-access-sas-token"),
            ("azure://acct:no%20key@bkt", "not Base64"),
            (
                "azure://acct@bkt?azure-access-sas-token=sv%3DSECRET",
                "holds no SAS token",
            ),
            (
                "azure://acct:S0VZ@bkt?azure-blob-immutability-policy-mode=x",
                "immutability-policy-mode",
            ),
        ] {
            let refused = PROVIDER.open_url(url, &Tools::system()).map(drop).err();
            let text = refused
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                text.contains(words) && !text.contains("SECRET"),
                "{url}: {text}"
            );
            assert_eq!(
                refused.map(|error| error.kind().clone()),
                Some(ErrorKind::Config)
            );
        }
    }

    #[test]
    fn secrets_are_needed_and_never_shown() -> Result<()> {
        for sign_in in [
            "acct:U0VDUkVU@",
            "?azure-account-name=acct&azure-access-key=U0VDUkVU",
            "?auth-username=acct&auth-password=U0VDUkVU",
            "?azure-account-name=acct&azure_access_key=U0VDUkVU",
            "?azure-account-name=acct&azure-access-sas-token=%3Fsv%3D1%26sig%3DU0VDUkVU",
        ] {
            let url = match sign_in.strip_prefix('?') {
                Some(query) => format!("azure://bkt/p?{query}"),
                None => format!("azure://{sign_in}bkt/p"),
            };
            let opened = PROVIDER.open_url(&url, &Tools::system())?;
            assert_eq!(opened.destination.about().display, "azure://bkt/p");
            let parsed = larder_destination::Url::parse(&url, std::path::Path::new("/"));
            let shown = parsed
                .map(|url| format!("{url} {url:?}"))
                .unwrap_or_default();
            assert!(
                shown.contains("***") && !shown.contains("U0VDUkVU"),
                "{shown}"
            );
        }
        Ok(())
    }
}
