//! Where requests go: server, style of address, region.

use larder_destination::Result;
use larder_httpkit::authorize::Regions;
use larder_httpkit::options::{Options, USE_SSL};
use larder_httpkit::{Server, encode};

use crate::options as o;

/// Where one bucket is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The server without the bucket.
    pub server: Server,
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
        let server = server(options)?;
        let amazon = domain_of(&server).is_some();
        let follows_region =
            server.host == "s3.amazonaws.com" && (location.is_some() || dual_stack);
        let fits = fits_host_name(bucket, server.tls);
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
        let object_host = format!("{bucket}.s3-accelerate{middle}.amazonaws.com");
        let mut endpoint = Self {
            region: region(options, location, &server)?,
            server,
            path_style: (in_path && !accelerated) || !fits,
            object_host: accelerated.then_some(object_host),
            amazon,
            dual_stack,
        };
        if follows_region {
            endpoint.server.host = regional_host(&endpoint.region, dual_stack);
        }
        Ok(endpoint)
    }

    /// The region in use, which begins with that of the options; Amazon has a server for each.
    pub(crate) fn regions(&self) -> Regions {
        let regions = Regions::new(self.region.clone());
        if self.amazon {
            let dual_stack = self.dual_stack;
            let host_of = move |region: &str| regional_host(region, dual_stack);
            regions.with_servers(self.server.name(), host_of)
        } else {
            regions
        }
    }

    /// The server and the encoded path of an object, or of the bucket itself without a key.
    pub(crate) fn place(&self, bucket: &str, key: Option<&str>) -> (String, String) {
        let Server { host, path, .. } = &self.server;
        let (host, path) = match self.path_style {
            true => (host.clone(), format!("{path}/{}", encode::path(bucket))),
            false => (format!("{bucket}.{host}"), path.clone()),
        };
        match key {
            Some(key) => (
                self.object_host.clone().unwrap_or(host),
                format!("{path}/{}", encode::path(key)),
            ),
            None if self.path_style => (host, path),
            None => (host, path + "/"),
        }
    }

    /// What names of buckets are unique in: one of Amazon's worlds, else the server.
    pub(crate) fn world(&self) -> &str {
        domain_of(&self.server).unwrap_or(&self.server.host)
    }
}

/// Amazon's server for a region.
fn regional_host(region: &str, dual_stack: bool) -> String {
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    let middle = if dual_stack { ".dualstack" } else { "" };
    format!("s3{middle}.{region}.amazonaws.com{end}")
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

/// The region of signatures: the strongest of the options, else the server's.
fn region(options: Options<'_>, location: Option<String>, server: &Server) -> Result<String> {
    let region = options
        .text(o::S3_EXT_AUTHENTICATIONREGION)?
        .or(options.text(o::S3_AUTHENTICATION_REGION)?)
        .or(location)
        .or_else(|| region_of_host(server));
    Ok(match region {
        Some(region) if region == "EU" => "eu-west-1".to_owned(),
        Some(region) => region,
        None => "us-east-1".to_owned(),
    })
}

/// The server of the options.
fn server(options: Options<'_>) -> Result<Server> {
    let (server, tls) = if let Some((server, tls)) = options.server(o::S3_EXT_SERVICEURL)? {
        let problem = "does not begin with http:// or https://";
        let wrong = || options.wrong_value(o::S3_EXT_SERVICEURL, problem);
        (server, tls.ok_or_else(wrong)?)
    } else {
        let wrong = |problem| options.wrong_value(o::S3_SERVER_NAME, problem);
        let named = options.server(o::S3_SERVER_NAME)?;
        let (server, tls) = named.ok_or_else(|| wrong("is not the name of a server"))?;
        if !server.path.is_empty() {
            return Err(wrong("has a path"));
        }
        match tls {
            Some(tls) if !options.is_set(USE_SSL) => (server, tls),
            _ => (server, options.get(USE_SSL)?),
        }
    };
    Ok(server.with_tls(tls && !options.get(o::S3_EXT_USEHTTP)?))
}

/// The domain of Amazon's that a server belongs to.
fn domain_of(server: &Server) -> Option<&'static str> {
    let mut domains = ["amazonaws.com", "amazonaws.com.cn"].into_iter();
    domains.find(|domain| {
        let start = server.name().strip_suffix(domain);
        start.is_some_and(|start| start.ends_with('.'))
    })
}

/// The region in names as `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.…` and `s3.dualstack.eu-west-1.…`.
fn region_of_host(server: &Server) -> Option<String> {
    let name = server.name().strip_suffix(domain_of(server)?)?;
    let name = name.strip_suffix('.')?;
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
            let (host, path) = endpoint.place(bucket, Some("p/k"));
            assert_eq!(
                (endpoint.server.tls, format!("{host}{path}").as_str()),
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
}
