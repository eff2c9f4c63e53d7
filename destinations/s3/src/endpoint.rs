//! Where requests go: server, style of address, region.

use larder_destination::Result;
use larder_httpkit::options::{Options, USE_SSL};
use larder_httpkit::{encode, is_local};

use crate::options as o;

/// Where one bucket is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub tls: bool,
    /// Server with port, without the bucket.
    pub host: String,
    /// What stands before the bucket in the path; empty, or `/` with more but none at the end.
    base_path: String,
    /// The bucket stands in the path, not in the server name.
    pub path_style: bool,
    /// The server of object requests, when they have one of their own.
    object_host: Option<String>,
    /// The region of signatures.
    pub region: String,
    /// True when the server is one of Amazon's.
    pub amazon: bool,
    dual_stack: bool,
}

impl Endpoint {
    /// Reads the options.
    pub(crate) fn from_options(bucket: &str, options: Options<'_>) -> Result<Self> {
        let location = location(options)?;
        let dual_stack = options.get(o::S3_EXT_USEDUALSTACKENDPOINT)?;
        let (tls, host, base_path) = server(options)?;
        let region = options
            .text(o::S3_EXT_AUTHENTICATIONREGION)?
            .or(options.text(o::S3_AUTHENTICATION_REGION)?)
            .or_else(|| location.clone())
            .map(|region| {
                if region == "EU" {
                    "eu-west-1".to_owned()
                } else {
                    region
                }
            })
            .or_else(|| region_of_host(&host))
            .unwrap_or_else(|| "us-east-1".to_owned());
        let amazon = domain_of(&host).is_some();
        let follows_region = host == "s3.amazonaws.com" && (location.is_some() || dual_stack);
        let fits = fits_host_name(bucket, tls);
        let in_path = if options.is_set(o::S3_EXT_FORCEPATHSTYLE) {
            options.get(o::S3_EXT_FORCEPATHSTYLE)?
        } else {
            !amazon && !options.get(o::S3_EUROPEAN_BUCKETS)?
        };
        let accelerated = options.get(o::S3_EXT_USEACCELERATEENDPOINT)?;
        if accelerated && (!amazon || bucket.contains('.') || !fits) {
            let text = "option --s3-ext-useaccelerateendpoint needs Amazon's server and a bucket without dots";
            return Err(options.wrong(text));
        }
        let middle = if dual_stack { ".dualstack" } else { "" };
        let mut endpoint = Self {
            tls,
            host,
            base_path,
            path_style: (in_path && !accelerated) || !fits,
            object_host: accelerated
                .then(|| format!("{bucket}.s3-accelerate{middle}.amazonaws.com")),
            region,
            amazon,
            dual_stack,
        };
        if follows_region {
            endpoint.host = endpoint.regional_host();
        }
        Ok(endpoint)
    }

    /// The same bucket in the region that the server named; Amazon has a server for each.
    pub(crate) fn in_region(&self, region: &str) -> Self {
        let mut moved = Self {
            region: region.to_owned(),
            ..self.clone()
        };
        if self.amazon {
            moved.host = moved.regional_host();
        }
        moved
    }

    fn regional_host(&self) -> String {
        let end = if self.region.starts_with("cn-") {
            ".cn"
        } else {
            ""
        };
        let middle = if self.dual_stack { ".dualstack" } else { "" };
        format!("s3{middle}.{}.amazonaws.com{end}", self.region)
    }

    /// The server and the encoded path of the bucket, without a slash at its end.
    fn home(&self, bucket: &str) -> (String, String) {
        if self.path_style {
            let path = format!("{}/{}", self.base_path, encode::path(bucket));
            (self.host.clone(), path)
        } else {
            (format!("{bucket}.{}", self.host), self.base_path.clone())
        }
    }

    /// The server and the encoded path of the bucket.
    pub(crate) fn bucket(&self, bucket: &str) -> (String, String) {
        let (host, path) = self.home(bucket);
        let slash = if self.path_style { "" } else { "/" };
        (host, path + slash)
    }

    /// The server and the encoded path of an object.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> (String, String) {
        let (host, path) = self.home(bucket);
        let host = self.object_host.clone().unwrap_or(host);
        (host, format!("{path}/{}", encode::path(key)))
    }

    /// True when the server is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        is_local(self.server_name())
    }

    /// What names of buckets are unique in: one of Amazon's worlds, else the server.
    pub(crate) fn world(&self) -> &str {
        domain_of(&self.host).unwrap_or(&self.host)
    }

    /// The server's name without port.
    pub(crate) fn server_name(&self) -> &str {
        without_port(&self.host)
    }
}

/// The region asked for a new bucket, as the server wants it.
pub(crate) fn location(options: Options<'_>) -> Result<Option<String>> {
    let location = options.text(o::S3_LOCATION_CONSTRAINT)?;
    match (options.get(o::S3_EUROPEAN_BUCKETS)?, location) {
        (false, location) => Ok(location),
        (true, None) => Ok(Some("eu-west-1".to_owned())),
        (true, Some(_)) => {
            let text =
                "options --s3-european-buckets and --s3-location-constraint exclude each other";
            Err(options.wrong(text))
        }
    }
}

/// Whether TLS is used, the server with its port, and the path in front of the bucket.
fn server(options: Options<'_>) -> Result<(bool, String, String)> {
    let whole = options.text(o::S3_EXT_SERVICEURL)?;
    let is_whole = whole.is_some();
    let (option, address) = match whole {
        Some(address) => (o::S3_EXT_SERVICEURL, address),
        None => {
            let name = options.text(o::S3_SERVER_NAME)?;
            (o::S3_SERVER_NAME, name.unwrap_or_default())
        }
    };
    let wrong = |why: &str| {
        options.wrong(format!(
            "option --{}: \"{address}\" {why}",
            option.decl.name
        ))
    };
    let (scheme, rest) = address.split_once("://").unwrap_or(("", &address));
    let named = match scheme.to_ascii_lowercase().as_str() {
        "https" => Some(true),
        "http" => Some(false),
        "" if !is_whole => None,
        _ => return Err(wrong("does not begin with http:// or https://")),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    if host.is_empty() || host.contains(['@', '?', '#', ' ', '\\']) {
        return Err(wrong("is not the name of a server"));
    }
    if !path.is_empty() && !is_whole {
        return Err(wrong("has a path"));
    }
    let tls = match named {
        Some(tls) if is_whole || !options.is_set(USE_SSL) => tls,
        _ => options.get(USE_SSL)?,
    };
    let tls = tls && !options.get(o::S3_EXT_USEHTTP)?;
    let base_path = if path.is_empty() {
        String::new()
    } else {
        format!("/{}", encode::path(path))
    };
    let host = host.to_ascii_lowercase();
    let host = host
        .strip_suffix(if tls { ":443" } else { ":80" })
        .unwrap_or(&host);
    Ok((tls, host.to_owned(), base_path))
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host.ends_with(']') => host.get(..at).unwrap_or(host),
        _ => host,
    }
}

/// The domain of Amazon's that a server belongs to.
fn domain_of(host: &str) -> Option<&'static str> {
    let name = without_port(host);
    let mut domains = ["amazonaws.com", "amazonaws.com.cn"].into_iter();
    domains.find(|domain| {
        name.strip_suffix(domain)
            .is_some_and(|start| start.ends_with('.'))
    })
}

/// The region in names as `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.…` and `s3.dualstack.eu-west-1.…`.
fn region_of_host(host: &str) -> Option<String> {
    let name = without_port(host)
        .strip_suffix(domain_of(host)?)?
        .strip_suffix('.')?;
    let starts = ["s3.dualstack.", "s3.", "s3-"];
    let region = starts.iter().find_map(|start| name.strip_prefix(start))?;
    let looks_right = region.contains('-')
        && region.starts_with(|c: char| c.is_ascii_lowercase())
        && !region.contains('.')
        && !matches!(region, "accelerate" | "external-1");
    looks_right.then(|| region.to_owned())
}

/// Whether a bucket can stand in front of a server name; certificates cover one level only, so no dots with TLS.
fn fits_host_name(bucket: &str, tls: bool) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| edge(c) || c == '-' || (c == '.' && !tls);
    (3..=63).contains(&bucket.len())
        && bucket.starts_with(edge)
        && bucket.ends_with(edge)
        && bucket.chars().all(inner)
        && !bucket.contains("..")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use larder_destination::{Config, Error, Url};
    use larder_options::{Origin, Values};

    use super::*;

    fn endpoint(bucket: &str, options: &[(&str, &str)]) -> Result<Endpoint> {
        let mut values = Values::new();
        for (name, value) in options {
            values.set(name, Some(value), Origin::Url);
        }
        let url = Url::parse("s3://b", Path::new("/"))
            .map_err(|error| Error::config("s3", error.to_string()))?;
        let config = Config::with_options(url, values, PathBuf::from("/"), o::TABLE);
        Endpoint::from_options(bucket, Options::new("s3", &config))
    }

    /// (bucket, options, scheme, server and path of the key `p/k`, region)
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        bool,
        &'static str,
        &'static str,
    );

    const CASES: &[Case] = &[
        ("bkt", &[], false, "bkt.s3.amazonaws.com/p/k", "us-east-1"),
        (
            "bkt",
            &[("use-ssl", "true")],
            true,
            "bkt.s3.amazonaws.com/p/k",
            "us-east-1",
        ),
        ("b.kt", &[], false, "b.kt.s3.amazonaws.com/p/k", "us-east-1"),
        (
            "b.kt",
            &[("use-ssl", "")],
            true,
            "s3.amazonaws.com/b.kt/p/k",
            "us-east-1",
        ),
        (
            "My_Bucket",
            &[],
            false,
            "s3.amazonaws.com/My_Bucket/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-location-constraint", "EU")],
            false,
            "bkt.s3.eu-west-1.amazonaws.com/p/k",
            "eu-west-1",
        ),
        (
            "bkt",
            &[("s3-european-buckets", "")],
            false,
            "bkt.s3.eu-west-1.amazonaws.com/p/k",
            "eu-west-1",
        ),
        (
            "bkt",
            &[("s3-location-constraint", "cn-north-1")],
            false,
            "bkt.s3.cn-north-1.amazonaws.com.cn/p/k",
            "cn-north-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "s3.eu-central-1.amazonaws.com")],
            false,
            "bkt.s3.eu-central-1.amazonaws.com/p/k",
            "eu-central-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "s3-us-west-2.amazonaws.com")],
            false,
            "bkt.s3-us-west-2.amazonaws.com/p/k",
            "us-west-2",
        ),
        (
            "bkt",
            &[("s3-ext-forcepathstyle", "true")],
            false,
            "s3.amazonaws.com/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "127.0.0.1:9000")],
            false,
            "127.0.0.1:9000/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "https://Minio.lan:9000/")],
            true,
            "minio.lan:9000/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "https://h:443"), ("use-ssl", "false")],
            false,
            "h:443/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "https://h:443")],
            true,
            "h/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-server-name", "h"), ("s3-ext-forcepathstyle", "false")],
            false,
            "bkt.h/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[
                ("s3-ext-serviceurl", "http://g/rgw/s3/"),
                ("use-ssl", ""),
                ("s3-server-name", "x"),
            ],
            false,
            "g/rgw/s3/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[
                ("s3-ext-usehttp", ""),
                ("use-ssl", ""),
                ("s3-server-name", "h"),
            ],
            false,
            "h/bkt/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-ext-usedualstackendpoint", "")],
            false,
            "bkt.s3.dualstack.us-east-1.amazonaws.com/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[("s3-ext-useaccelerateendpoint", "")],
            false,
            "bkt.s3-accelerate.amazonaws.com/p/k",
            "us-east-1",
        ),
        (
            "bkt",
            &[
                ("s3-location-constraint", "eu-west-2"),
                ("s3-authentication-region", "b"),
                ("s3-ext-authenticationregion", "c"),
                ("s3-server-name", "h"),
            ],
            false,
            "h/bkt/p/k",
            "c",
        ),
    ];

    #[test]
    fn options_decide_about_server_style_and_region() -> Result<()> {
        for (bucket, options, tls, address, region) in CASES {
            let endpoint = endpoint(bucket, options)?;
            let (host, path) = endpoint.object(bucket, "p/k");
            assert_eq!(
                (endpoint.tls, format!("{host}{path}").as_str()),
                (*tls, *address),
                "{options:?}"
            );
            assert_eq!(endpoint.region, *region, "{options:?}");
        }
        Ok(())
    }

    #[test]
    fn unusable_servers_are_refused() {
        for options in [
            [("s3-server-name", "ftp://h")],
            [("s3-server-name", "http://h/path")],
            [("s3-server-name", "user@h")],
            [("s3-ext-serviceurl", "h:9000")],
            [("s3-ext-serviceurl", "http://")],
        ] {
            assert!(endpoint("bkt", &options).is_err(), "{options:?}");
        }
        assert!(endpoint("b.kt", &[("s3-ext-useaccelerateendpoint", "")]).is_err());
        let both = [
            ("s3-european-buckets", ""),
            ("s3-location-constraint", "EU"),
        ];
        assert!(endpoint("bkt", &both).is_err());
    }

    #[test]
    fn amazon_moves_with_the_region_others_only_sign_for_it() -> Result<()> {
        let amazon = endpoint("bkt", &[])?.in_region("eu-north-1");
        assert_eq!(amazon.bucket("bkt").0, "bkt.s3.eu-north-1.amazonaws.com");
        let other = endpoint("bkt", &[("s3-server-name", "h:1")])?.in_region("garage");
        assert_eq!(
            (other.bucket("bkt").0.as_str(), other.region.as_str()),
            ("h:1", "garage")
        );
        Ok(())
    }

    #[test]
    fn local_servers_are_recognised() -> Result<()> {
        for (server, local) in [
            ("127.0.0.1:9000", true),
            ("localhost", true),
            ("[::1]:9000", true),
            ("10.0.0.1:9000", false),
        ] {
            assert_eq!(
                endpoint("bkt", &[("s3-server-name", server)])?.is_local(),
                local,
                "{server}"
            );
        }
        Ok(())
    }
}
