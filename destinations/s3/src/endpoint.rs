//! Where requests go: server, style of address, region.

use larder_destination::{Error, Result};
use larder_httpkit::options::USE_SSL;
use larder_httpkit::{encode, is_local};
use larder_options::{Opt, Values};

use crate::SCHEME;
use crate::options::{
    S3_AUTHENTICATION_REGION, S3_EUROPEAN_BUCKETS, S3_EXT_AUTHENTICATIONREGION,
    S3_EXT_FORCEPATHSTYLE, S3_EXT_SERVICEURL, S3_EXT_USEACCELERATEENDPOINT,
    S3_EXT_USEDUALSTACKENDPOINT, S3_EXT_USEHTTP, S3_LOCATION_CONSTRAINT, S3_SERVER_NAME,
};

/// Where one bucket is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Whether TLS is used.
    pub tls: bool,
    /// Server with port, without the bucket.
    pub host: String,
    /// What stands before the bucket in the path; empty, or `/` with more but none at the end.
    pub base_path: String,
    /// The bucket stands in the path, not in the server name.
    pub path_style: bool,
    /// The server of object requests, when they have one of their own.
    pub object_host: Option<String>,
    /// The region of signatures.
    pub region: String,
    /// True when the server is one of Amazon's.
    pub amazon: bool,
    /// True when the region decides about the server's name.
    pub follows_region: bool,
    /// True for the servers with IPv6.
    pub dual_stack: bool,
}

impl Endpoint {
    /// Reads the options.
    pub(crate) fn from_values(bucket: &str, values: &Values) -> Result<Self> {
        let location = location(values)?;
        let european = read(values, S3_EUROPEAN_BUCKETS)?;
        let dual_stack = read(values, S3_EXT_USEDUALSTACKENDPOINT)?;
        let Server {
            tls,
            host,
            base_path,
        } = Server::from_values(values)?;
        let region = text(values, S3_EXT_AUTHENTICATIONREGION)?
            .or(text(values, S3_AUTHENTICATION_REGION)?)
            .or_else(|| location.as_deref().map(region_of_location))
            .or_else(|| region_of_host(&host))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let amazon = is_amazon(&host);
        let follows_region = host == DEFAULT_SERVER && (location.is_some() || dual_stack);
        let in_host_name = fits_host_name(bucket, tls);
        let path_style = if values.is_set(S3_EXT_FORCEPATHSTYLE) {
            read(values, S3_EXT_FORCEPATHSTYLE)? || !in_host_name
        } else {
            !(amazon || european) || !in_host_name
        };
        let object_host = if read(values, S3_EXT_USEACCELERATEENDPOINT)? {
            if !amazon || bucket.contains('.') || !in_host_name {
                return Err(config(
                    "option --s3-ext-useaccelerateendpoint needs Amazon's server and a bucket without dots",
                ));
            }
            let middle = if dual_stack {
                "s3-accelerate.dualstack"
            } else {
                "s3-accelerate"
            };
            Some(format!("{bucket}.{middle}.amazonaws.com"))
        } else {
            None
        };
        let endpoint = Self {
            tls,
            host,
            base_path,
            path_style,
            object_host,
            region,
            amazon,
            follows_region,
            dual_stack,
        };
        Ok(if endpoint.follows_region {
            endpoint.with_regional_host()
        } else {
            endpoint
        })
    }

    /// The same bucket in the region that the server named.
    pub(crate) fn in_region(&self, region: &str) -> Self {
        let moved = Self {
            region: region.to_owned(),
            ..self.clone()
        };
        if self.amazon && !self.host.contains("s3-accelerate") {
            moved.with_regional_host()
        } else {
            moved
        }
    }

    fn with_regional_host(mut self) -> Self {
        let domain = if self.region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let middle = if self.dual_stack {
            "s3.dualstack"
        } else {
            "s3"
        };
        self.host = format!("{middle}.{}.{domain}", self.region);
        self
    }

    /// The server and the encoded path of the bucket.
    pub(crate) fn bucket(&self, bucket: &str) -> (String, String) {
        if self.path_style {
            (
                self.host.clone(),
                format!("{}/{}", self.base_path, encode::path(bucket)),
            )
        } else {
            (
                format!("{bucket}.{}", self.host),
                format!("{}/", self.base_path),
            )
        }
    }

    /// The server and the encoded path of an object.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> (String, String) {
        let key = encode::path(key);
        match &self.object_host {
            Some(host) => (host.clone(), format!("{}/{key}", self.base_path)),
            None if self.path_style => (
                self.host.clone(),
                format!("{}/{}/{key}", self.base_path, encode::path(bucket)),
            ),
            None => (
                format!("{bucket}.{}", self.host),
                format!("{}/{key}", self.base_path),
            ),
        }
    }

    /// True when the server is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        is_local(self.server_name())
    }

    /// The part of Amazon's world in which names of buckets are unique.
    pub(crate) fn partition(&self) -> &'static str {
        if self.host.ends_with(".cn") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        }
    }

    /// The server's name without port.
    pub(crate) fn server_name(&self) -> &str {
        without_port(&self.host)
    }
}

/// The region asked for a new bucket, as the server wants it.
pub(crate) fn location(values: &Values) -> Result<Option<String>> {
    let location = text(values, S3_LOCATION_CONSTRAINT)?;
    if !read(values, S3_EUROPEAN_BUCKETS)? {
        return Ok(location);
    }
    if location.is_some() {
        return Err(config(
            "options --s3-european-buckets and --s3-location-constraint exclude each other",
        ));
    }
    Ok(Some("eu-west-1".to_owned()))
}

/// The signing region of a location; only `EU` is not itself one.
fn region_of_location(location: &str) -> String {
    if location == "EU" {
        "eu-west-1".to_owned()
    } else {
        location.to_owned()
    }
}

struct Server {
    tls: bool,
    host: String,
    base_path: String,
}

impl Server {
    fn from_values(values: &Values) -> Result<Self> {
        let plain = read(values, S3_EXT_USEHTTP)?;
        let (address, option) = match text(values, S3_EXT_SERVICEURL)? {
            Some(address) if !address.contains("://") => {
                return Err(config(format!(
                    "option --{}: \"{address}\" does not begin with http:// or https://",
                    S3_EXT_SERVICEURL.decl.name
                )));
            }
            Some(address) => (address, S3_EXT_SERVICEURL.decl.name),
            None => (
                text(values, S3_SERVER_NAME)?.unwrap_or_default(),
                S3_SERVER_NAME.decl.name,
            ),
        };
        let wrong = |why: &str| config(format!("option --{option}: \"{address}\" {why}"));
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, address.as_str()),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || host.contains(['@', '?', '#', ' ', '\\']) {
            return Err(wrong("is not the name of a server"));
        }
        let named = match scheme.as_deref() {
            Some("https") => Some(true),
            Some("http") => Some(false),
            None => None,
            Some(_) => return Err(wrong("begins with neither http:// nor https://")),
        };
        let whole_url = option == S3_EXT_SERVICEURL.decl.name;
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !whole_url {
            return Err(wrong("has a path"));
        }
        let tls = match named {
            Some(tls) if whole_url || !values.is_set(USE_SSL) => tls,
            _ => read(values, USE_SSL)?,
        };
        let base_path = if path.is_empty() {
            String::new()
        } else {
            format!("/{}", encode::path(path))
        };
        let tls = tls && !plain;
        let standard = if tls { ":443" } else { ":80" };
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(standard).unwrap_or(&host).to_owned();
        Ok(Self {
            tls,
            host,
            base_path,
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host.ends_with(']') => host.get(..at).unwrap_or(host),
        _ => host,
    }
}

fn is_amazon(host: &str) -> bool {
    let name = without_port(host);
    [".amazonaws.com", ".amazonaws.com.cn"]
        .iter()
        .any(|domain| name.ends_with(domain))
}

/// The region in names as `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.…` and `s3.dualstack.eu-west-1.…`.
fn region_of_host(host: &str) -> Option<String> {
    let name = without_port(host);
    let name = name
        .strip_suffix(".amazonaws.com")
        .or_else(|| name.strip_suffix(".amazonaws.com.cn"))?;
    let region = name
        .strip_prefix("s3.dualstack.")
        .or_else(|| name.strip_prefix("s3."));
    let region = region.or_else(|| name.strip_prefix("s3-"))?;
    let looks_right = region.contains('-')
        && region.starts_with(|c: char| c.is_ascii_lowercase())
        && !region.contains('.')
        && region != "accelerate"
        && region != "external-1";
    looks_right.then(|| region.to_owned())
}

/// Whether a bucket can stand in front of a server name; certificates cover one level only, so no dots with TLS.
fn fits_host_name(bucket: &str, tls: bool) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&bucket.len())
        && bucket.starts_with(edge)
        && bucket.ends_with(edge)
        && bucket
            .chars()
            .all(|c| edge(c) || c == '-' || (c == '.' && !tls))
        && !bucket.contains("..")
}

/// An option's text; nothing for an empty one.
pub(crate) fn text(values: &Values, option: Opt<String>) -> Result<Option<String>> {
    let value = values
        .find(option)
        .map_err(|error| config(error.to_string()))?;
    Ok(value
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// An option's value.
pub(crate) fn read<T: larder_options::OptionValue>(values: &Values, option: Opt<T>) -> Result<T> {
    values
        .get(option)
        .map_err(|error| config(error.to_string()))
}

fn config(message: impl Into<String>) -> Error {
    Error::config(SCHEME, message)
}

const DEFAULT_SERVER: &str = "s3.amazonaws.com";
const DEFAULT_REGION: &str = "us-east-1";

#[cfg(test)]
mod tests {
    use larder_options::Origin;

    use super::*;

    fn endpoint(bucket: &str, options: &[(&str, &str)]) -> Result<Endpoint> {
        let mut values = Values::new();
        for (name, value) in options {
            values.set(name, Some(value), Origin::Url);
        }
        Endpoint::from_values(bucket, &values)
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
