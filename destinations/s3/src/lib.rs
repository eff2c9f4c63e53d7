//! Amazon S3 and everything that speaks its protocol: `s3://bucket/prefix`.
//!
//! The model for object stores over HTTP. The bucket is the host of the URL in the letter case that was typed, the path is
//! a prefix that gets one slash at its end. [`PROVIDER`] describes the options; `endpoint` finds the server, `api` makes
//! requests, `store` gives them the meaning of a destination.

mod api;
mod endpoint;
mod lock;
mod options;
mod store;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use larder_destination::{
    Abilities, About, Config, Error, Opened, Place, Provider, Result, Tools, Url, UrlForm,
};
use larder_httpkit::authorize::{Aws2, Aws4, Regions};
use larder_httpkit::objects::{Prefix, Tuning};
use larder_httpkit::options::{self as http, Options};
use larder_httpkit::{Authorize, Locks, Proxy, Redirects, Service, Settings};
use larder_options::Secret;

use crate::api::Api;
use crate::endpoint::Endpoint;
use crate::options as o;
use crate::store::Store;

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
    sign_in: None,
};

/// Server, account, bucket, folder. Names of buckets are unique at Amazon; elsewhere each account may have its own.
fn identity(config: &Config) -> Result<Place> {
    let options = Options::new(SCHEME, config);
    let (bucket, prefix) = bucket_and_prefix(&config.url, options)?;
    let endpoint = Endpoint::from_options(&bucket, options)?;
    let mut place = Place::new(SCHEME).with("server", endpoint.world());
    if !endpoint.amazon {
        place = place.with_secret("account", &account(options)?.0.into());
    }
    Ok(place.with("bucket", bucket).with("folder", prefix.folder()))
}

/// Opens a destination with other sizes and pauses than users get; for tests.
///
/// # Errors
/// [`larder_destination::ErrorKind::Config`] for a wrong URL or option.
pub fn open(config: &Config, tuning: Tuning, tools: &Tools) -> Result<Opened> {
    let options = Options::new(SCHEME, config);
    let (bucket, prefix) = bucket_and_prefix(&config.url, options)?;
    let endpoint = Endpoint::from_options(&bucket, options)?;
    let settings = settings(config, &endpoint, tuning)?;
    let notices = http::notices(&settings, endpoint.server.tls, endpoint.server.name());
    let display = format!("{SCHEME}://{bucket}/{}", prefix.as_str());
    let about = About::new(SCHEME, display.trim_end_matches('/')).with_abilities(Abilities {
        atomic_put: true,
        // Since 2024 with Amazon (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
        exclusive_put: endpoint.amazon,
        // Since 2020 with Amazon (https://aws.amazon.com/s3/consistency/); other servers promise nothing.
        consistent_list: endpoint.amazon,
        unique_names: true,
        checksummed_put: true,
    });
    let reduced = options.get(o::S3_USE_RRS)?;
    let reduced = reduced.then(|| "REDUCED_REDUNDANCY".to_owned());
    let version = options.text(o::S3_LIST_API_VERSION)?;
    let regions = Arc::new(endpoint.regions());
    let authorize = authorize(options, &bucket, &endpoint, &regions)?;
    let api = Api {
        service: Service::new(SCHEME, &settings, authorize, api::meaning, tools)?,
        endpoint,
        regions,
        bucket,
        knows_locks: options.get(o::S3_EXT_SIGNATUREVERSION)? != "2",
        lock_mode: options.get(o::S3_LOCK_MODE)?.to_ascii_uppercase(),
        class: options.text(o::S3_STORAGE_CLASS)?.or(reduced),
        redirects: match options.get(o::S3_EXT_ALLOWAUTOREDIRECT)? {
            true => Redirects::Signed,
            false => Redirects::Refuse,
        },
    };
    let store = Store {
        api: Arc::new(api),
        about,
        prefix,
        only_version_1: AtomicBool::new(version.as_deref() == Some("v1")),
        only_plain_names: AtomicBool::new(false),
        no_conditions: AtomicBool::new(false),
        locks: Locks::new(lock::NO_LOCKS),
        version,
        recursive: options.get(o::S3_RECURSIVE_LIST)?,
        archive_classes: options.get(o::S3_ARCHIVE_CLASSES)?,
        location: endpoint::location(options)?,
        tuning,
    };
    Ok(Opened {
        notices,
        ..Opened::new(store)
    })
}

/// Reads the URL; two old forms with the server in it are understood.
fn bucket_and_prefix(url: &Url, options: Options<'_>) -> Result<(String, Prefix)> {
    if url.port().is_some() {
        let text = "the URL names a port, but its host is the bucket: the server goes into --s3-server-name";
        return Err(options.wrong(text));
    }
    let host = url.host().unwrap_or_default();
    let own_server = options.is_set(o::S3_SERVER_NAME) || options.is_set(o::S3_EXT_SERVICEURL);
    let lower = host.to_ascii_lowercase();
    let (bucket, path) = match lower.strip_suffix("s3.amazonaws.com") {
        Some("") if !own_server => url.path().split_once('/').unwrap_or((url.path(), "")),
        Some(start) if !own_server && start.ends_with('.') => {
            (host.get(..start.len() - 1).unwrap_or(host), url.path())
        }
        _ => (host, url.path()),
    };
    if bucket.is_empty() || bucket.contains(['/', '\\']) {
        return Err(options.wrong("the URL names no bucket"));
    }
    Ok((bucket.to_owned(), Prefix::parse(SCHEME, path)?))
}

/// Key id and secret key.
fn account(options: Options<'_>) -> Result<(String, Secret)> {
    options.account(
        ("key id", o::AWS_ACCESS_KEY_ID),
        ("secret key", o::AWS_SECRET_ACCESS_KEY),
    )
}

/// The signature that the options ask for.
fn authorize(
    options: Options<'_>,
    bucket: &str,
    endpoint: &Endpoint,
    regions: &Arc<Regions>,
) -> Result<Arc<dyn Authorize>> {
    let (credentials, regions) = (account(options)?.into(), Arc::clone(regions));
    if options.get(o::S3_EXT_SIGNATUREVERSION)? == "2" {
        let in_host = (!endpoint.path_style).then(|| bucket.to_owned());
        return Ok(Arc::new(Aws2::new(credentials, in_host, regions)));
    }
    let service = options.get(o::S3_EXT_AUTHENTICATIONSERVICENAME)?;
    let aws4 = Aws4::new(credentials, service, regions);
    // Without TLS the signature is all that protects the content.
    let unsigned = endpoint.server.tls && options.get(o::S3_DISABLE_PAYLOAD_SIGNING)?;
    Ok(Arc::new(if unsigned {
        aws4.without_payload()
    } else {
        aws4
    }))
}

fn settings(config: &Config, endpoint: &Endpoint, tuning: Tuning) -> Result<Settings> {
    let options = Options::new(SCHEME, config);
    let number = |option| Ok::<_, Error>(u32::try_from(options.get(option)?).unwrap_or(0));
    let mut settings = http::settings(SCHEME, &config.values)?;
    settings.retry.retries = settings.retry.retries.min(number(o::S3_EXT_MAXERRORRETRY)?);
    settings.retry.first = tuning.first_pause;
    settings.idle_connections = number(o::S3_EXT_CONNECTIONLIMIT)? as usize;
    settings.idle_time = Duration::from_millis(number(o::S3_EXT_MAXIDLETIME)?.into());
    settings.no_delay = !options.get(o::S3_EXT_USENAGLEALGORITHM)?;
    let dotless = !endpoint.server.name().contains(['.', ':']);
    if endpoint.server.is_local() || (dotless && options.get(o::S3_EXT_PROXYBYPASSONLOCAL)?) {
        settings.proxy = Proxy::Direct;
    } else if let Some(host) = options.text(o::S3_EXT_PROXYHOST)? {
        settings.proxy = Proxy::at(&host, options.get(o::S3_EXT_PROXYPORT)?);
    }
    Ok(settings)
}

/// The scheme key.
const SCHEME: &str = "s3";

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use larder_options::Values;

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

    fn place(url: &str) -> Result<(String, Prefix)> {
        let config = config(url)?;
        bucket_and_prefix(&config.url, Options::new(SCHEME, &config))
    }

    #[test]
    fn urls_name_bucket_and_prefix() -> Result<()> {
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
            let (found, folder) = place(url)?;
            assert_eq!((found.as_str(), folder.as_str()), (bucket, prefix), "{url}");
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
    fn a_key_that_is_replaced_is_the_same_place_at_amazon_only() -> Result<()> {
        let place = |key: &str, rest: &str| identity(&config(&format!("s3://{key}:SK@{rest}"))?);
        for amazon in [
            "bkt/p",
            "bkt/p/",
            "bkt/p?s3-location-constraint=eu-west-1",
            "bkt/p?s3-server-name=s3.eu-central-1.amazonaws.com",
            "bkt/p?s3-ext-usedualstackendpoint=true",
            "bkt.s3.amazonaws.com/p",
        ] {
            assert_eq!(place("NEW", amazon)?, place("OLD", "bkt/p")?, "{amazon}");
        }
        let china = "bkt/p?s3-location-constraint=cn-north-1";
        assert_eq!(place("NEW", china)?, place("OLD", china)?);
        assert_ne!(place("OLD", china)?, place("OLD", "bkt/p")?);
        for other in [
            "127.0.0.1%3A9000",
            "s3.wasabisys.com",
            "s3.notamazonaws.com",
        ] {
            let other = format!("bkt/p?s3-server-name={other}");
            assert_ne!(place("NEW", &other)?, place("OLD", &other)?, "{other}");
        }
        for rest in ["bkt/q", "other/p", "bkt//p", "bkt/p//"] {
            assert_ne!(place("OLD", rest)?, place("OLD", "bkt/p")?, "{rest}");
        }
        Ok(())
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
