//! The one list of what the suite runs on. A provider enters the suite here, with its reasons for what it skips.

use crate::start::{Missing, Site, Skip, Start, Started};

/// One entry for each provider of the registry.
pub const SITES: &[Site] = &[
    Site {
        scheme: "file",
        start: Start::Here(|| Box::pin(local_folder())),
        missing: Missing::Folder,
        skips: &[],
    },
    Site {
        scheme: "s3",
        start: Start::Server,
        missing: Missing::Host,
        skips: &[],
    },
    Site {
        scheme: "webdav",
        start: Start::Server,
        missing: Missing::Folder,
        skips: &[
            Skip {
                server: "WSGIDAV",
                case: "keeps unusual names, or refuses them",
                reason: "WsgiDAV drops what follows a semicolon in a name (observed with 4.4.0)",
            },
            Skip {
                server: "NGINX",
                case: "keeps unusual names, or refuses them",
                reason: "nginx lists no names that begin with a dot (observed with dav-ext 3.0.0)",
            },
        ],
    },
];

/// A temporary folder, reached through names that need care in URLs.
async fn local_folder() -> std::io::Result<Started> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a b+c%20 \u{fc}");
    std::fs::create_dir(&path)?;
    let url = format!("file://{}/a%20b%2Bc%2520%20%C3%BC", folder.path().display());
    Ok(Started {
        url,
        keep: Box::new(folder),
    })
}
