//! The options of this provider, each with what it does here.
//!
//! The `s3-ext-*` names are those of the client configuration in Amazon's .NET library, which Duplicati passes on.
//! Those that shape requests work here; those that shape only that library are accepted and reported as without effect.

use larder_httpkit::options as http;
use larder_options::{Group, Kind, Opt, OptionDecl, Status};

const BASE: OptionDecl = OptionDecl {
    group: Group::Destination,
    ..OptionDecl::BASE
};
const EXT: OptionDecl = OptionDecl {
    advanced: true,
    ..BASE
};

/// The public half of the key pair.
pub(crate) const AWS_ACCESS_KEY_ID: Opt<String> = Opt::new(&OptionDecl {
    name: "aws-access-key-id",
    help: "Key id of the account.",
    long: "May also be given as user name in the URL or as --auth-username.",
    ..BASE
});

/// The private half of the key pair.
pub(crate) const AWS_SECRET_ACCESS_KEY: Opt<larder_options::Secret> = Opt::new(&OptionDecl {
    name: "aws-secret-access-key",
    kind: Kind::Password,
    help: "Secret key of the account.",
    long: "May also be given as password in the URL or as --auth-password.",
    ..BASE
});

/// The server.
pub(crate) const S3_SERVER_NAME: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-server-name",
    aliases: &["s3-servername"],
    default: Some("s3.amazonaws.com"),
    help: "Name of the server, with a port if needed.",
    long: "host, host:port, or http(s)://host:port, whose scheme then decides about TLS unless --use-ssl is given. \
           Known servers: Amazon s3.amazonaws.com, Hosteurope cs.hosteurope.de, Dunkel dcs.dunkel.de, DreamHost \
           objects.dreamhost.com, dinCloud d3-ord.dincloud.com and d3-lax.dincloud.com, IBM COS \
           s3-api.us-geo.objectstorage.softlayer.net, Wasabi s3.wasabisys.com and s3.<region>.wasabisys.com, Scaleway \
           s3.<region>.scw.cloud, Cloudflare R2 <account>.r2.cloudflarestorage.com, and every other server that \
           speaks the S3 protocol.",
    ..BASE
});

/// The region of a new bucket.
pub(crate) const S3_LOCATION_CONSTRAINT: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-location-constraint",
    help: "Region in which a new bucket is created.",
    long: "With Amazon's own server it also picks the regional server and the region of signatures. EU, eu-central-1, \
           eu-west-1, eu-west-2, us-east-1, us-east-2, us-west-1, us-west-2, ca-central-1, ap-south-1, \
           ap-southeast-1, ap-southeast-2, ap-northeast-1, ap-northeast-2, sa-east-1, or any other name.",
    ..BASE
});

/// The storage class of new objects.
pub(crate) const S3_STORAGE_CLASS: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-storage-class",
    help: "Storage class of new files.",
    long: "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, \
           REDUCED_REDUNDANCY, or any other name the server knows. Files in an archive class cannot be read at once.",
    ..BASE
});

/// Former way to ask for a bucket in Europe.
pub(crate) const S3_EUROPEAN_BUCKETS: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-european-buckets",
    kind: Kind::Bool,
    status: Status::Deprecated {
        instead: "s3-location-constraint",
    },
    advanced: true,
    help: "Creates new buckets in eu-west-1 and addresses them as a part of the server name.",
    long: "Cannot be combined with --s3-location-constraint.",
    ..BASE
});

/// Former way to ask for cheaper storage.
pub(crate) const S3_USE_RRS: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-use-rrs",
    kind: Kind::Bool,
    status: Status::Deprecated {
        instead: "s3-storage-class",
    },
    advanced: true,
    help: "Stores new files with the class REDUCED_REDUNDANCY.",
    long: "Without effect when --s3-storage-class is given.",
    ..BASE
});

const S3_USE_NEW_STYLE: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-use-new-style",
    kind: Kind::Bool,
    status: Status::Retired,
    advanced: true,
    help: "Once chose how buckets are addressed.",
    ..BASE
});

const S3_CLIENT: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-client",
    kind: Kind::Choice(&["aws", "minio"]),
    default: Some("aws"),
    status: Status::NoEffect {
        why: "there is one client, which suits both kinds of servers",
    },
    advanced: true,
    help: "Chooses between two client libraries.",
    ..BASE
});

const S3_DISABLE_CHUNK_ENCODING: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-disable-chunk-encoding",
    kind: Kind::Bool,
    status: Status::NoEffect {
        why: "uploads are never chunk-encoded",
    },
    advanced: true,
    help: "Sends uploads without the aws-chunked encoding.",
    ..BASE
});

/// Leaves the body out of the signature.
pub(crate) const S3_DISABLE_PAYLOAD_SIGNING: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-disable-payload-signing",
    kind: Kind::Bool,
    advanced: true,
    help: "Leaves the content of uploads out of the signature.",
    long: "Saves computing time and works with https only. Content-MD5 still protects the content.",
    ..BASE
});

/// The version of the list call.
pub(crate) const S3_LIST_API_VERSION: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-list-api-version",
    kind: Kind::StrictChoice(&["v1", "v2"]),
    advanced: true,
    help: "Version of the call that lists a bucket.",
    long: "Without this option v2 is used, and v1 when the server refuses v2.",
    ..BASE
});

/// Lists without asking for folders.
pub(crate) const S3_RECURSIVE_LIST: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-recursive-list",
    kind: Kind::Bool,
    advanced: true,
    help: "Lists without a delimiter.",
    long: "For servers that do not know delimiters. Files in sub-folders are read too, so it is slow with many.",
    ..BASE
});

/// Classes whose objects cannot be read at once.
pub(crate) const S3_ARCHIVE_CLASSES: Opt<Vec<String>> = Opt::new(&OptionDecl {
    name: "s3-archive-classes",
    kind: Kind::List,
    default: Some("DEEP_ARCHIVE,GLACIER,GLACIER_IR,SNOW"),
    advanced: true,
    help: "Storage classes whose files cannot be read at once.",
    ..BASE
});

const S3_LOCK_MODE: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-lock-mode",
    kind: Kind::Choice(&["Governance", "Compliance"]),
    default: Some("Governance"),
    status: Status::NotYet,
    advanced: true,
    help: "Strictness of object locks.",
    ..BASE
});

/// The region of signatures.
pub(crate) const S3_AUTHENTICATION_REGION: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-authentication-region",
    advanced: true,
    help: "Region that signatures are made for.",
    long: "Found out by itself with most servers.",
    ..BASE
});

/// Whether the bucket stands in the path.
pub(crate) const S3_EXT_FORCEPATHSTYLE: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-forcepathstyle",
    kind: Kind::Bool,
    help: "Addresses the bucket in the path instead of the server name.",
    long: "Without this option that is done for every server outside amazonaws.com, and for buckets whose name cannot \
           be a part of a server name.",
    ..EXT
});

/// Amazon's accelerated upload.
pub(crate) const S3_EXT_USEACCELERATEENDPOINT: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-useaccelerateendpoint",
    kind: Kind::Bool,
    help: "Transfers files through Amazon's s3-accelerate servers.",
    long: "Not possible for buckets with a dot in their name.",
    ..EXT
});

/// Amazon's servers with IPv6.
pub(crate) const S3_EXT_USEDUALSTACKENDPOINT: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-usedualstackendpoint",
    kind: Kind::Bool,
    help: "Uses Amazon's servers that have an IPv6 address.",
    ..EXT
});

/// The whole address of the service.
pub(crate) const S3_EXT_SERVICEURL: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-ext-serviceurl",
    help: "Whole address of the server, as http(s)://host:port.",
    long: "Stronger than --s3-server-name and --use-ssl.",
    ..EXT
});

/// No TLS.
pub(crate) const S3_EXT_USEHTTP: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-usehttp",
    kind: Kind::Bool,
    help: "Forces plain http.",
    ..EXT
});

/// The region of signatures, strongest.
pub(crate) const S3_EXT_AUTHENTICATIONREGION: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-ext-authenticationregion",
    help: "Region that signatures are made for.",
    long: "Stronger than --s3-authentication-region and --s3-location-constraint.",
    ..EXT
});

/// The service in signatures.
pub(crate) const S3_EXT_AUTHENTICATIONSERVICENAME: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-ext-authenticationservicename",
    default: Some("s3"),
    help: "Service name that signatures are made for.",
    ..EXT
});

/// The kind of signature.
pub(crate) const S3_EXT_SIGNATUREVERSION: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-ext-signatureversion",
    kind: Kind::StrictChoice(&["2", "4"]),
    default: Some("4"),
    help: "Version of the signatures.",
    long: "2 is for gateways of long ago.",
    ..EXT
});

/// The hash in signatures of version 2.
pub(crate) const S3_EXT_SIGNATUREMETHOD: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-ext-signaturemethod",
    kind: Kind::StrictChoice(&["HmacSHA256", "HmacSHA1"]),
    default: Some("HmacSHA256"),
    status: Status::NoEffect {
        why: "each version of the signature has one method only",
    },
    help: "Hash method of the signatures.",
    ..EXT
});

/// How often a request is sent again.
pub(crate) const S3_EXT_MAXERRORRETRY: Opt<i64> = Opt::new(&OptionDecl {
    name: "s3-ext-maxerrorretry",
    kind: Kind::Integer { min: 0, max: 100 },
    default: Some("4"),
    help: "How often a failed request is sent again within one operation.",
    ..EXT
});

const S3_EXT_THROTTLERETRIES: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-throttleretries",
    kind: Kind::Bool,
    default: Some("True"),
    status: Status::NoEffect {
        why: "each request has its own retries",
    },
    help: "Limits the retries of all requests together.",
    ..EXT
});

const S3_EXT_RESIGNRETRIES: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-resignretries",
    kind: Kind::Bool,
    status: Status::NoEffect {
        why: "every retry has a new signature anyway",
    },
    help: "Signs each retry anew.",
    ..EXT
});

/// Whether redirects are followed.
pub(crate) const S3_EXT_ALLOWAUTOREDIRECT: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-allowautoredirect",
    kind: Kind::Bool,
    help: "Follows the server's redirects to another address.",
    long: "A redirect to another region of Amazon, and one during the creation of a bucket, is always followed.",
    ..EXT
});

const S3_EXT_BUFFERSIZE: Opt<i64> = Opt::new(&OptionDecl {
    name: "s3-ext-buffersize",
    kind: Kind::Integer {
        min: 1,
        max: i32::MAX as i64,
    },
    default: Some("8192"),
    status: Status::NoEffect {
        why: "buffers have a fixed size",
    },
    help: "Size of the transfer buffers in bytes.",
    ..EXT
});

const S3_EXT_PROGRESSUPDATEINTERVAL: Opt<i64> = Opt::new(&OptionDecl {
    name: "s3-ext-progressupdateinterval",
    kind: Kind::Integer {
        min: 1,
        max: i32::MAX as i64,
    },
    default: Some("102400"),
    status: Status::NoEffect {
        why: "progress is measured elsewhere",
    },
    help: "Bytes between two progress events.",
    ..EXT
});

/// How many connections are kept.
pub(crate) const S3_EXT_CONNECTIONLIMIT: Opt<i64> = Opt::new(&OptionDecl {
    name: "s3-ext-connectionlimit",
    kind: Kind::Integer {
        min: 1,
        max: 10_000,
    },
    default: Some("50"),
    help: "Number of idle connections that are kept open.",
    ..EXT
});

/// How long connections are kept.
pub(crate) const S3_EXT_MAXIDLETIME: Opt<i64> = Opt::new(&OptionDecl {
    name: "s3-ext-maxidletime",
    kind: Kind::Integer {
        min: 0,
        max: i32::MAX as i64,
    },
    default: Some("50000"),
    help: "How long idle connections are kept open, in milliseconds.",
    ..EXT
});

/// Whether small packets are collected.
pub(crate) const S3_EXT_USENAGLEALGORITHM: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-usenaglealgorithm",
    kind: Kind::Bool,
    help: "Collects small packets before sending them.",
    ..EXT
});

/// The proxy.
pub(crate) const S3_EXT_PROXYHOST: Opt<String> = Opt::new(&OptionDecl {
    name: "s3-ext-proxyhost",
    help: "Name of an HTTP proxy.",
    ..EXT
});

/// The port of the proxy.
pub(crate) const S3_EXT_PROXYPORT: Opt<i64> = Opt::new(&OptionDecl {
    name: "s3-ext-proxyport",
    kind: Kind::Integer {
        min: 0,
        max: 65_535,
    },
    default: Some("0"),
    help: "Port of the HTTP proxy.",
    ..EXT
});

/// No proxy for near servers.
pub(crate) const S3_EXT_PROXYBYPASSONLOCAL: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-proxybypassonlocal",
    kind: Kind::Bool,
    help: "Uses no proxy for servers without a dot in their name and on this machine.",
    ..EXT
});

const S3_EXT_LOGRESPONSE: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-logresponse",
    kind: Kind::Bool,
    status: Status::NotYet,
    help: "Writes replies to the log.",
    ..EXT
});

const S3_EXT_LOGMETRICS: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-logmetrics",
    kind: Kind::Bool,
    status: Status::NotYet,
    help: "Writes times of requests to the log.",
    ..EXT
});

const S3_EXT_DISABLELOGGING: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-disablelogging",
    kind: Kind::Bool,
    status: Status::NoEffect {
        why: "requests are not logged",
    },
    help: "Silences the log of requests.",
    ..EXT
});

const S3_EXT_READENTIRERESPONSE: Opt<bool> = Opt::new(&OptionDecl {
    name: "s3-ext-readentireresponse",
    kind: Kind::Bool,
    status: Status::NoEffect {
        why: "results do not depend on it",
    },
    help: "Reads a whole reply before using it.",
    ..EXT
});

/// All options this provider reads.
pub(crate) const TABLE: &[&OptionDecl] = &[
    AWS_ACCESS_KEY_ID.decl,
    AWS_SECRET_ACCESS_KEY.decl,
    http::AUTH_USERNAME.decl,
    http::AUTH_PASSWORD.decl,
    S3_SERVER_NAME.decl,
    http::USE_SSL.decl,
    S3_LOCATION_CONSTRAINT.decl,
    S3_STORAGE_CLASS.decl,
    S3_EUROPEAN_BUCKETS.decl,
    S3_USE_RRS.decl,
    S3_USE_NEW_STYLE.decl,
    S3_CLIENT.decl,
    S3_DISABLE_CHUNK_ENCODING.decl,
    S3_DISABLE_PAYLOAD_SIGNING.decl,
    S3_LIST_API_VERSION.decl,
    S3_RECURSIVE_LIST.decl,
    S3_ARCHIVE_CLASSES.decl,
    S3_LOCK_MODE.decl,
    S3_AUTHENTICATION_REGION.decl,
    S3_EXT_FORCEPATHSTYLE.decl,
    S3_EXT_USEACCELERATEENDPOINT.decl,
    S3_EXT_USEDUALSTACKENDPOINT.decl,
    S3_EXT_SERVICEURL.decl,
    S3_EXT_USEHTTP.decl,
    S3_EXT_AUTHENTICATIONREGION.decl,
    S3_EXT_AUTHENTICATIONSERVICENAME.decl,
    S3_EXT_SIGNATUREVERSION.decl,
    S3_EXT_SIGNATUREMETHOD.decl,
    S3_EXT_MAXERRORRETRY.decl,
    S3_EXT_THROTTLERETRIES.decl,
    S3_EXT_RESIGNRETRIES.decl,
    S3_EXT_ALLOWAUTOREDIRECT.decl,
    S3_EXT_BUFFERSIZE.decl,
    S3_EXT_PROGRESSUPDATEINTERVAL.decl,
    S3_EXT_CONNECTIONLIMIT.decl,
    S3_EXT_MAXIDLETIME.decl,
    S3_EXT_USENAGLEALGORITHM.decl,
    S3_EXT_PROXYHOST.decl,
    S3_EXT_PROXYPORT.decl,
    S3_EXT_PROXYBYPASSONLOCAL.decl,
    S3_EXT_LOGRESPONSE.decl,
    S3_EXT_LOGMETRICS.decl,
    S3_EXT_DISABLELOGGING.decl,
    S3_EXT_READENTIRERESPONSE.decl,
    http::ACCEPT_ANY_SSL_CERTIFICATE.decl,
    http::ACCEPT_SPECIFIED_SSL_HASH.decl,
    http::SHORT_TIMEOUT.decl,
    http::LIST_TIMEOUT.decl,
    http::READ_WRITE_TIMEOUT.decl,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_help_is_a_sentence() {
        let mut names: Vec<_> = TABLE
            .iter()
            .flat_map(|decl| decl.aliases.iter().chain([&decl.name]))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for decl in TABLE {
            assert!(decl.help.ends_with('.'), "{}", decl.name);
            assert!(
                decl.long.is_empty() || decl.long.ends_with('.'),
                "{}",
                decl.name
            );
        }
    }

    #[test]
    fn every_ext_option_of_the_manual_is_known() {
        let known = TABLE
            .iter()
            .filter(|decl| decl.name.starts_with("s3-ext-"))
            .count();
        assert_eq!(known, 25);
    }
}
