//! Amazon S3 and everything that speaks its protocol: `s3://bucket/prefix`.
//!
//! The model for object stores over HTTP. The bucket is the host of the URL in the letter case that was typed, the path is
//! a prefix that gets one slash at its end. [`PROVIDER`] describes the options; `endpoint` finds the server, `api` makes
//! requests, `store` gives them the meaning of a destination.

mod api;
mod endpoint;
mod options;
mod store;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use larder_destination::{
    Abilities, About, Config, Error, Limits, Opened, Place, Provider, Result, Tools, Url, UrlForm,
};
use larder_httpkit::authorize::{Aws2, Aws4, Credentials};
use larder_httpkit::{Authorize, Proxy, Redirects, RetryPolicy, Service, Settings};
use larder_options::Values;

use crate::api::Api;
use crate::endpoint::{Endpoint, read, text};
use crate::options as o;
use crate::store::{Rules, Store};

/// How this provider presents itself.
pub const PROVIDER: Provider = Provider {
    schemes: &[SCHEME],
    name: "S3 compatible",
    help: "Stores files in a bucket of Amazon S3 or of any server that speaks the same protocol.",
    options: o::TABLE,
    url: UrlForm {
        host: "bucket",
        path: "folder in the bucket",
        example: "s3://bucket/folder?s3-server-name=s3.example.org",
    },
    identity,
    open: |config, tools| open(config, Tuning::default(), tools),
};

/// Sizes and pauses that users cannot choose.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// First pause before a request is sent again; see [`RetryPolicy::first`].
    pub first_pause: Duration,
    /// Bodies above this length in bytes are sent in parts.
    pub multipart_above: u64,
    /// Least length of a part in bytes, at least 5 MiB for most servers.
    pub part_bytes: u64,
    /// Parts on their way at the same time, as long as they have their least length.
    pub parts_at_once: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            first_pause: RetryPolicy::default().first,
            multipart_above: 100 << 20,
            part_bytes: 8 << 20,
            parts_at_once: 3,
        }
    }
}

/// Opens a destination with other sizes and pauses than users get; for tests.
///
/// # Errors
/// [`larder_destination::ErrorKind::Config`] for a wrong URL or option.
pub fn open(config: &Config, tuning: Tuning, tools: &Tools) -> Result<Opened> {
    let values = &config.values;
    let Folder { bucket, prefix } = Folder::from_url(&config.url, values)?;
    let endpoint = Endpoint::from_values(&bucket, values)?;
    let settings = settings(values, &endpoint, tuning)?;
    let (authorize, aws4) = authorize(config, &bucket, &endpoint)?;
    let notices = larder_httpkit::options::notices(&settings, endpoint.tls, endpoint.server_name());
    let folder = format!("{bucket}/{prefix}");
    let about = About::new(
        SCHEME,
        format!("{SCHEME}://{}", folder.trim_end_matches('/')),
    )
    .with_abilities(Abilities {
        atomic_put: true,
        // Since 2024 with Amazon (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
        exclusive_put: endpoint.amazon,
        // Since 2020 with Amazon (https://aws.amazon.com/s3/consistency/); other servers promise nothing.
        consistent_list: endpoint.amazon,
        unique_names: true,
        checksummed_put: true,
    })
    .with_limits(Limits {
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
        largest_file: Some(5 << 40),
        ..Limits::default()
    });
    let reduced = read(values, o::S3_USE_RRS)?.then(|| "REDUCED_REDUNDANCY".to_owned());
    let follows = read(values, o::S3_EXT_ALLOWAUTOREDIRECT)?;
    let api = Api {
        service: Service::new(SCHEME, &settings, authorize, api::meaning, tools)?,
        aws4,
        bucket,
        endpoint: RwLock::new(Arc::new(endpoint)),
        class: text(values, o::S3_STORAGE_CLASS)?.or(reduced),
        redirects: if follows {
            Redirects::Signed
        } else {
            Redirects::Refuse
        },
    };
    let rules = Rules {
        version: text(values, o::S3_LIST_API_VERSION)?,
        recursive: read(values, o::S3_RECURSIVE_LIST)?,
        archive_classes: read(values, o::S3_ARCHIVE_CLASSES)?,
    };
    let store = Store {
        api: Arc::new(api),
        about,
        prefix,
        only_version_1: AtomicBool::new(rules.version.as_deref() == Some("v1")),
        only_plain_names: AtomicBool::new(false),
        rules,
        location: endpoint::location(values)?,
        tuning,
    };
    Ok(Opened {
        notices,
        ..Opened::new(store)
    })
}

/// Server, account, bucket, folder. Names of buckets are unique at Amazon; elsewhere each account may have its own.
fn identity(config: &Config) -> Result<Place> {
    let folder = Folder::from_url(&config.url, &config.values)?;
    let endpoint = Endpoint::from_values(&folder.bucket, &config.values)?;
    let place = if endpoint.amazon {
        Place::new(SCHEME).with("server", endpoint.partition())
    } else {
        Place::new(SCHEME).with("server", endpoint.host.as_str())
    };
    Ok(place
        .with("account", credentials(config)?.key_id)
        .with("bucket", folder.bucket)
        .with_folder(&folder.prefix))
}

/// Bucket and prefix.
#[derive(Debug, PartialEq, Eq)]
struct Folder {
    bucket: String,
    prefix: String,
}

impl Folder {
    /// Reads the URL; two old forms with the server in it are understood.
    fn from_url(url: &Url, values: &Values) -> Result<Self> {
        let host = url.host().unwrap_or_default();
        if url.port().is_some() {
            return Err(Error::config(
                SCHEME,
                "the URL names a port, but its host is the bucket: the server goes into --s3-server-name",
            ));
        }
        let own_server = values.is_set(o::S3_SERVER_NAME) || values.is_set(o::S3_EXT_SERVICEURL);
        let lower = host.to_ascii_lowercase();
        let (bucket, path) = if own_server {
            (host, url.path())
        } else if lower == "s3.amazonaws.com" {
            url.path().split_once('/').unwrap_or((url.path(), ""))
        } else if lower.ends_with(OLD_SUFFIX) {
            (
                host.get(..host.len() - OLD_SUFFIX.len()).unwrap_or(host),
                url.path(),
            )
        } else {
            (host, url.path())
        };
        if bucket.is_empty() || bucket.contains(['/', '\\']) {
            return Err(Error::config(SCHEME, "the URL names no bucket"));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.split('/').any(|part| part == "." || part == "..") {
            return Err(Error::config(
                SCHEME,
                "the path in the URL has . or .. as a folder",
            ));
        }
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

fn credentials(config: &Config) -> Result<Credentials> {
    let wrong = |error: larder_options::Error| Error::config(SCHEME, error.to_string());
    let missing = |what: &str, option: &str| {
        let text = format!("no {what} is given: use --{option}, or put it before the @ in the URL");
        Error::config(SCHEME, text)
    };
    let key_id = config.user(&[o::AWS_ACCESS_KEY_ID]).map_err(wrong)?;
    let secret = config
        .password(&[o::AWS_SECRET_ACCESS_KEY])
        .map_err(wrong)?;
    Ok(Credentials {
        key_id: key_id.ok_or_else(|| missing("key id", o::AWS_ACCESS_KEY_ID.decl.name))?,
        secret: secret.ok_or_else(|| missing("secret key", o::AWS_SECRET_ACCESS_KEY.decl.name))?,
    })
}

/// A signature, and the same once more when its region can move.
type Signature = (Arc<dyn Authorize>, Option<Arc<Aws4>>);

/// The signature that the options ask for.
fn authorize(config: &Config, bucket: &str, endpoint: &Endpoint) -> Result<Signature> {
    let values = &config.values;
    let credentials = credentials(config)?;
    if read(values, o::S3_EXT_SIGNATUREVERSION)? == "2" {
        let in_host = (!endpoint.path_style).then(|| bucket.to_owned());
        return Ok((Arc::new(Aws2::new(credentials, in_host)), None));
    }
    let service = read(values, o::S3_EXT_AUTHENTICATIONSERVICENAME)?;
    let aws4 = Aws4::new(credentials, service, endpoint.region.clone());
    // Without TLS the signature is all that protects the content.
    let unsigned = endpoint.tls && read(values, o::S3_DISABLE_PAYLOAD_SIGNING)?;
    let aws4 = Arc::new(if unsigned {
        aws4.without_payload()
    } else {
        aws4
    });
    Ok((Arc::clone(&aws4) as Arc<dyn Authorize>, Some(aws4)))
}

fn settings(values: &Values, endpoint: &Endpoint, tuning: Tuning) -> Result<Settings> {
    let mut settings = larder_httpkit::options::settings(SCHEME, values)?;
    let wanted = u32::try_from(read(values, o::S3_EXT_MAXERRORRETRY)?).unwrap_or(0);
    settings.retry.retries = settings.retry.retries.min(wanted);
    settings.retry.first = tuning.first_pause;
    settings.idle_connections =
        usize::try_from(read(values, o::S3_EXT_CONNECTIONLIMIT)?).unwrap_or(1);
    settings.idle_time =
        Duration::from_millis(u64::try_from(read(values, o::S3_EXT_MAXIDLETIME)?).unwrap_or(0));
    settings.no_delay = !read(values, o::S3_EXT_USENAGLEALGORITHM)?;
    let near = endpoint.is_local() || !endpoint.server_name().contains(['.', ':']);
    if near && read(values, o::S3_EXT_PROXYBYPASSONLOCAL)? || endpoint.is_local() {
        settings.proxy = Proxy::Direct;
    } else if let Some(host) = text(values, o::S3_EXT_PROXYHOST)? {
        let scheme = if host.contains("://") { "" } else { "http://" };
        let port = match read(values, o::S3_EXT_PROXYPORT)? {
            0 => String::new(),
            port => format!(":{port}"),
        };
        settings.proxy = Proxy::Address(format!("{scheme}{host}{port}"));
    }
    Ok(settings)
}

/// The scheme key.
const SCHEME: &str = "s3";
/// The end of hosts that name both bucket and server.
const OLD_SUFFIX: &str = ".s3.amazonaws.com";

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn config(url: &str) -> Result<Config> {
        let url = Url::parse(url, Path::new("/"))
            .map_err(|error| Error::config(SCHEME, error.to_string()))?;
        Ok(Config::with_options(
            url,
            Values::new(),
            PathBuf::from("/"),
            o::TABLE,
        ))
    }

    fn place(url: &str) -> Result<Folder> {
        let config = config(url)?;
        Folder::from_url(&config.url, &config.values)
    }

    #[test]
    fn bucket_and_prefix() -> Result<()> {
        for (url, bucket, prefix) in [
            (
                "s3://My.Bucket/pre%20fix?s3-server-name=127.0.0.1%3A9000",
                "My.Bucket",
                "pre fix/",
            ),
            ("s3://b", "b", ""),
            ("s3://b/", "b", ""),
            ("s3://b/a/b/", "b", "a/b/"),
            ("s3://b/a//b", "b", "a//b/"),
            ("s3://s3.amazonaws.com/bkt/a/b", "bkt", "a/b/"),
            ("s3://s3.amazonaws.com/bkt", "bkt", ""),
            ("s3://Bkt.s3.amazonaws.com/a", "Bkt", "a/"),
            (
                "s3://x.s3.amazonaws.com/a?s3-server-name=h",
                "x.s3.amazonaws.com",
                "a/",
            ),
        ] {
            let expected = Folder {
                bucket: bucket.into(),
                prefix: prefix.into(),
            };
            assert_eq!(place(url)?, expected, "{url}");
        }
        Ok(())
    }

    #[test]
    fn wrong_urls_are_refused_with_a_reason() {
        for (url, words) in [
            ("s3://s3.amazonaws.com/", "no bucket"),
            ("s3://bucket:9000/x", "--s3-server-name"),
            ("s3://bucket/a/../b", ". or .."),
        ] {
            let refused = place(url);
            assert!(
                refused.is_err_and(|error| error.to_string().contains(words)),
                "{url}"
            );
        }
    }

    #[test]
    fn keys_are_needed_and_never_shown() -> Result<()> {
        let open = |url: &str| open(&config(url)?, Tuning::default(), &Tools::system());
        let without = open("s3://b/p").map(|_| ());
        assert!(without.is_err_and(|error| error.to_string().contains("--aws-access-key-id")));
        let without = open("s3://b/p?aws-access-key-id=AK").map(|_| ());
        assert!(without.is_err_and(|error| error.to_string().contains("--aws-secret-access-key")));
        let opened = open("s3://AK:sec%2Fret@b/p?use-ssl=true")?;
        assert_eq!(opened.destination.about().display, "s3://b/p");
        open("s3://b/p?auth-username=AK&auth-password=secret")?;
        Ok(())
    }
}
