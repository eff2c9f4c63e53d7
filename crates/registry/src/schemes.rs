//! Scheme keys that Larder knows of, and the sentence about one that cannot be used.

use larder_destination::Provider;

/// A scheme key of Duplicati whose provider is not in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The key.
    pub scheme: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// True when the service itself has closed.
    pub is_closed: bool,
}

/// Finds a scheme key of Duplicati that has no provider in this version, also with an `s` after it.
#[must_use]
pub fn planned(scheme: &str) -> Option<&'static Planned> {
    let is_built = |key: &str| crate::providers().iter().any(|p| p.schemes.contains(&key));
    let exact = |key: &str| {
        let found = KEYS.iter().find(|planned| planned.scheme == key);
        found.filter(|_| !is_built(key))
    };
    exact(scheme).or_else(|| scheme.strip_suffix('s').and_then(exact))
}

/// Says why no provider was found for `scheme` and what to do.
pub(crate) fn unknown(scheme: &str, providers: &[Provider]) -> String {
    let mut known: Vec<&str> = providers
        .iter()
        .flat_map(|provider| provider.schemes)
        .copied()
        .collect();
    known.sort_unstable();
    let list = known.join(", ");
    if matches!(scheme, "http" | "https") {
        let tls = if scheme == "https" {
            "?use-ssl=true"
        } else {
            ""
        };
        return format!(
            "{scheme}:// is not a kind of destination; a WebDAV server is written webdav://host/folder{tls}; \
             this version knows {list}"
        );
    }
    match planned(scheme) {
        Some(planned) if planned.is_closed => {
            format!(
                "{scheme}:// ({}) is a service that has closed; this version knows {list}",
                planned.name
            )
        }
        Some(planned) => {
            format!(
                "{scheme}:// ({}) is not in this version yet; this version knows {list}",
                planned.name
            )
        }
        None => match nearest(scheme, &known) {
            Some(near) => format!(
                "the scheme {scheme}:// is unknown, did you mean {near}://? Known are {list}"
            ),
            None => format!("the scheme {scheme}:// is unknown; known are {list}"),
        },
    }
}

/// The known key that differs in one letter, or in two for longer keys.
fn nearest<'a>(scheme: &str, known: &[&'a str]) -> Option<&'a str> {
    if scheme.len() > LONGEST_KEY {
        return None;
    }
    let all = known
        .iter()
        .copied()
        .map(|key| (distance(scheme, key), key));
    let (distance, key) = all.min()?;
    let limit = if key.len() > 4 { 2 } else { 1 };
    (distance <= limit && distance < key.len()).then_some(key)
}

/// Counts the letters to insert, drop or change; letters in another order count once.
fn distance(a: &str, b: &str) -> usize {
    if a != b && sorted(a) == sorted(b) {
        return 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, from) in a.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, to) in row.iter().skip(1).zip(b.bytes()) {
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(from != to));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn sorted(text: &str) -> Vec<u8> {
    let mut letters = text.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}

const fn planned_service(scheme: &'static str, name: &'static str) -> Planned {
    Planned {
        scheme,
        name,
        is_closed: false,
    }
}

const fn closed(scheme: &'static str, name: &'static str) -> Planned {
    Planned {
        scheme,
        name,
        is_closed: true,
    }
}

const LONGEST_KEY: usize = 32;

/// The keys of Duplicati 2.3, built here or not.
const KEYS: &[Planned] = &[
    planned_service("file", "Local folder"),
    planned_service("s3", "S3"),
    planned_service("webdav", "WebDAV"),
    planned_service("aftp", "FTP, alternative"),
    planned_service("aliyunoss", "Aliyun OSS"),
    planned_service("azure", "Azure Blob"),
    planned_service("b2", "Backblaze B2"),
    planned_service("box", "Box"),
    planned_service("cifs", "SMB"),
    planned_service("cos", "Tencent COS"),
    planned_service("drimecloud", "Drime Cloud"),
    planned_service("dropbox", "Dropbox"),
    planned_service("e2", "iDrive e2"),
    planned_service("filejump", "FileJump"),
    planned_service("filen", "Filen"),
    planned_service("ftp", "FTP"),
    planned_service("gcs", "Google Cloud Storage"),
    planned_service("googlecloudstore", "Google Cloud Storage"),
    planned_service("googledrive", "Google Drive"),
    planned_service("jottacloud", "Jottacloud"),
    planned_service("mega", "Mega"),
    planned_service("movistarcloud", "Movistar Cloud"),
    planned_service("msgroup", "Microsoft Office 365 group"),
    planned_service("mssp", "SharePoint classic"),
    planned_service("od4b", "OneDrive for Business classic"),
    planned_service("onedrive", "OneDrive, old key"),
    planned_service("onedrivev2", "OneDrive"),
    planned_service("openstack", "OpenStack Swift"),
    planned_service("pcloud", "pCloud"),
    planned_service("rclone", "Rclone"),
    planned_service("sftp", "SFTP"),
    planned_service("sharepoint", "SharePoint"),
    planned_service("smb", "SMB"),
    planned_service("ssh", "SFTP"),
    planned_service("storj", "Storj"),
    planned_service("swift", "OpenStack Swift"),
    planned_service("tahoe", "Tahoe-LAFS"),
    planned_service("tardigrade", "Storj"),
    planned_service("telegram", "Telegram"),
    planned_service("cloudfiles", "Rackspace CloudFiles"),
    planned_service("sia", "Sia"),
    closed("hubic", "HubiC"),
];
