//! The options of this provider, each with what it does here.
//!
//! The `s3-ext-*` names are those of the client configuration in Amazon's .NET library, which Duplicati passes on.
//! Those that shape requests work here; those that shape only that library are accepted and reported as without effect.

use larder_httpkit::options as http;
use larder_options::{Group, Kind, Secret, Status, option_table};

const fn without(why: &'static str) -> Status {
    Status::NoEffect { why }
}

option_table! {
    pub(crate) TABLE = Group::Destination;
    AWS_ACCESS_KEY_ID: String = "aws-access-key-id", Kind::Text, "Key id of the account.",
        long: "May also be given as user name in the URL or as --auth-username.";
    AWS_SECRET_ACCESS_KEY: Secret = "aws-secret-access-key", Kind::Password, "Secret key of the account.",
        long: "May also be given as password in the URL or as --auth-password.";
    S3_SERVER_NAME: String = "s3-server-name", Kind::Text, "Name of the server, with a port if needed.",
        aliases: &["s3-servername"], default: Some("s3.amazonaws.com"),
        long: "host, host:port, or http(s)://host:port, whose scheme then decides about TLS unless --use-ssl is given. \
               Known servers: Amazon s3.amazonaws.com, Hosteurope cs.hosteurope.de, Dunkel dcs.dunkel.de, DreamHost \
               objects.dreamhost.com, dinCloud d3-ord.dincloud.com and d3-lax.dincloud.com, IBM COS \
               s3-api.us-geo.objectstorage.softlayer.net, Wasabi s3.wasabisys.com and s3.<region>.wasabisys.com, \
               Scaleway s3.<region>.scw.cloud, Cloudflare R2 <account>.r2.cloudflarestorage.com, and every other \
               server that speaks the S3 protocol.";
    S3_LOCATION_CONSTRAINT: String = "s3-location-constraint", Kind::Text, "Region in which a new bucket is created.",
        long: "With Amazon's own server it also picks the regional server and the region of signatures. EU, \
               eu-central-1, eu-west-1, eu-west-2, us-east-1, us-east-2, us-west-1, us-west-2, ca-central-1, \
               ap-south-1, ap-southeast-1, ap-southeast-2, ap-northeast-1, ap-northeast-2, sa-east-1, or any other name.";
    S3_STORAGE_CLASS: String = "s3-storage-class", Kind::Text, "Storage class of new files.",
        long: "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, \
               REDUCED_REDUNDANCY, or any other name the server knows. Files in an archive class cannot be read at once.";
    S3_EUROPEAN_BUCKETS: bool = "s3-european-buckets", Kind::Bool,
        "Creates new buckets in eu-west-1 and addresses them as a part of the server name.",
        status: Status::Deprecated { instead: "s3-location-constraint" }, advanced: true,
        long: "Cannot be combined with --s3-location-constraint.";
    S3_USE_RRS: bool = "s3-use-rrs", Kind::Bool, "Stores new files with the class REDUCED_REDUNDANCY.",
        status: Status::Deprecated { instead: "s3-storage-class" }, advanced: true,
        long: "Without effect when --s3-storage-class is given.";
    S3_USE_NEW_STYLE: bool = "s3-use-new-style", Kind::Bool, "Once chose how buckets are addressed.",
        status: Status::Retired, advanced: true;
    S3_CLIENT: String = "s3-client", Kind::Choice(&["aws", "minio"]), "Chooses between two client libraries.",
        default: Some("aws"), status: without("there is one client, which suits both kinds of servers"), advanced: true;
    S3_DISABLE_CHUNK_ENCODING: bool = "s3-disable-chunk-encoding", Kind::Bool,
        "Sends uploads without the aws-chunked encoding.",
        status: without("uploads are never chunk-encoded"), advanced: true;
    S3_DISABLE_PAYLOAD_SIGNING: bool = "s3-disable-payload-signing", Kind::Bool,
        "Leaves the content of uploads out of the signature.", advanced: true,
        long: "Saves computing time and works with https only. Content-MD5 still protects the content.";
    S3_LIST_API_VERSION: String = "s3-list-api-version", Kind::StrictChoice(&["v1", "v2"]),
        "Version of the call that lists a bucket.", advanced: true,
        long: "Without this option v2 is used, and v1 when the server refuses v2.";
    S3_RECURSIVE_LIST: bool = "s3-recursive-list", Kind::Bool, "Lists without a delimiter.", advanced: true,
        long: "For servers that do not know delimiters. Files in sub-folders are read too, so it is slow with many.";
    S3_ARCHIVE_CLASSES: Vec<String> = "s3-archive-classes", Kind::List,
        "Storage classes whose files cannot be read at once.",
        default: Some("DEEP_ARCHIVE,GLACIER,GLACIER_IR,SNOW"), advanced: true;
    S3_LOCK_MODE: String = "s3-lock-mode", Kind::StrictChoice(&["Governance", "Compliance"]), "Strictness of object locks.",
        default: Some("Governance"), advanced: true,
        long: "For --remote-file-lock-duration. A lock of the mode Governance can be ended by those whom the bucket's owner \
               allows it, one of the mode Compliance by nobody before its time. The bucket must have been made with object \
               locks.";
    S3_AUTHENTICATION_REGION: String = "s3-authentication-region", Kind::Text, "Region that signatures are made for.",
        advanced: true, long: "Found out by itself with most servers.";
    S3_EXT_FORCEPATHSTYLE: bool = "s3-ext-forcepathstyle", Kind::Bool,
        "Addresses the bucket in the path instead of the server name.", advanced: true,
        long: "Without this option that is done for every server outside amazonaws.com, and for buckets whose name \
               cannot be a part of a server name.";
    S3_EXT_USEACCELERATEENDPOINT: bool = "s3-ext-useaccelerateendpoint", Kind::Bool,
        "Transfers files through Amazon's s3-accelerate servers.", advanced: true,
        long: "Not possible for buckets with a dot in their name.";
    S3_EXT_USEDUALSTACKENDPOINT: bool = "s3-ext-usedualstackendpoint", Kind::Bool,
        "Uses Amazon's servers that have an IPv6 address.", advanced: true;
    S3_EXT_SERVICEURL: String = "s3-ext-serviceurl", Kind::Text, "Whole address of the server, as http(s)://host:port.",
        advanced: true, long: "Stronger than --s3-server-name and --use-ssl.";
    S3_EXT_USEHTTP: bool = "s3-ext-usehttp", Kind::Bool, "Forces plain http.", advanced: true;
    S3_EXT_AUTHENTICATIONREGION: String = "s3-ext-authenticationregion", Kind::Text,
        "Region that signatures are made for.", advanced: true,
        long: "Stronger than --s3-authentication-region and --s3-location-constraint.";
    S3_EXT_AUTHENTICATIONSERVICENAME: String = "s3-ext-authenticationservicename", Kind::Text,
        "Service name that signatures are made for.", default: Some("s3"), advanced: true;
    S3_EXT_SIGNATUREVERSION: String = "s3-ext-signatureversion", Kind::StrictChoice(&["2", "4"]),
        "Version of the signatures.", default: Some("4"), advanced: true, long: "2 is for gateways of long ago.";
    S3_EXT_SIGNATUREMETHOD: String = "s3-ext-signaturemethod", Kind::StrictChoice(&["HmacSHA256", "HmacSHA1"]),
        "Hash method of the signatures.", default: Some("HmacSHA256"),
        status: without("each version of the signature has one method only"), advanced: true;
    S3_EXT_MAXERRORRETRY: i64 = "s3-ext-maxerrorretry", Kind::Integer { min: 0, max: 100 },
        "How often a failed request is sent again within one operation.", default: Some("4"), advanced: true,
        long: "Never more often than twice, and never more often than --number-of-retries says.";
    S3_EXT_THROTTLERETRIES: bool = "s3-ext-throttleretries", Kind::Bool, "Limits the retries of all requests together.",
        default: Some("True"), status: without("each request has its own retries"), advanced: true;
    S3_EXT_RESIGNRETRIES: bool = "s3-ext-resignretries", Kind::Bool, "Signs each retry anew.",
        status: without("every retry has a new signature anyway"), advanced: true;
    S3_EXT_ALLOWAUTOREDIRECT: bool = "s3-ext-allowautoredirect", Kind::Bool,
        "Follows the server's redirects to another address.", advanced: true,
        long: "A redirect to another region of Amazon, and one during the creation of a bucket, is always followed.";
    S3_EXT_BUFFERSIZE: i64 = "s3-ext-buffersize", Kind::Integer { min: 1, max: i32::MAX as i64 },
        "Size of the transfer buffers in bytes.", default: Some("8192"),
        status: without("buffers have a fixed size"), advanced: true;
    S3_EXT_PROGRESSUPDATEINTERVAL: i64 = "s3-ext-progressupdateinterval",
        Kind::Integer { min: 1, max: i32::MAX as i64 }, "Bytes between two progress events.",
        default: Some("102400"), status: without("progress is measured elsewhere"), advanced: true;
    S3_EXT_CONNECTIONLIMIT: i64 = "s3-ext-connectionlimit", Kind::Integer { min: 1, max: 10_000 },
        "Number of idle connections that are kept open.", default: Some("50"), advanced: true;
    S3_EXT_MAXIDLETIME: i64 = "s3-ext-maxidletime", Kind::Integer { min: 0, max: i32::MAX as i64 },
        "How long idle connections are kept open, in milliseconds.", default: Some("50000"), advanced: true;
    S3_EXT_USENAGLEALGORITHM: bool = "s3-ext-usenaglealgorithm", Kind::Bool,
        "Collects small packets before sending them.", advanced: true;
    S3_EXT_PROXYHOST: String = "s3-ext-proxyhost", Kind::Text, "Name of an HTTP proxy.", advanced: true;
    S3_EXT_PROXYPORT: i64 = "s3-ext-proxyport", Kind::Integer { min: 0, max: 65_535 }, "Port of the HTTP proxy.",
        default: Some("0"), advanced: true;
    S3_EXT_PROXYBYPASSONLOCAL: bool = "s3-ext-proxybypassonlocal", Kind::Bool,
        "Uses no proxy for servers without a dot in their name and on this machine.", advanced: true;
    S3_EXT_LOGRESPONSE: bool = "s3-ext-logresponse", Kind::Bool, "Writes replies to the log.",
        status: Status::NotYet, advanced: true;
    S3_EXT_LOGMETRICS: bool = "s3-ext-logmetrics", Kind::Bool, "Writes times of requests to the log.",
        status: Status::NotYet, advanced: true;
    S3_EXT_DISABLELOGGING: bool = "s3-ext-disablelogging", Kind::Bool, "Silences the log of requests.",
        status: without("requests are not logged"), advanced: true;
    S3_EXT_READENTIRERESPONSE: bool = "s3-ext-readentireresponse", Kind::Bool, "Reads a whole reply before using it.",
        status: without("results do not depend on it"), advanced: true;
    .. http::SERVER_OPTIONS, http::OPTIONS;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ext_option_of_the_manual_is_known() {
        let ext = |decl: &&&larder_options::OptionDecl| decl.name.starts_with("s3-ext-");
        assert_eq!(TABLE.iter().filter(ext).count(), 25);
    }
}
