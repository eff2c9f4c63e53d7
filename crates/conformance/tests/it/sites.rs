//! The one list of what the suite runs on. A provider enters the suite here, with its reasons for what it skips.

use larder_testkit::simulators::google_drive::{GoogleDrive, Settings};
use larder_testkit::simulators::{Server, known};

use crate::start::{Missing, Site, Skip, Start, Started};

/// One entry for each provider of the registry.
pub const SITES: &[Site] = &[
    Site {
        scheme: "azure",
        start: Start::Server,
        missing: Missing::Host,
        skips: &[],
    },
    Site {
        scheme: "file",
        start: Start::Here(|| Box::pin(local_folder())),
        missing: Missing::Folder,
        skips: &[],
    },
    Site {
        scheme: "googledrive",
        start: Start::Here(|| Box::pin(google_drive())),
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
        scheme: "ssh",
        start: Start::Server,
        missing: Missing::Folder,
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

/// The simulator, with pages so small that every case crosses them.
async fn google_drive() -> std::io::Result<Started> {
    let mut settings = Settings {
        page_size: 50,
        begins_with_empty_page: true,
        ..Settings::default()
    };
    settings.accounts.authid_type = "googledrive".to_owned();
    let server = Server::start(GoogleDrive::new(settings), "127.0.0.1:0", None).await?;
    let base = format!("http%3A%2F%2F{}", server.address().replace(':', "%3A"));
    let authid = known::AUTHID.replace('+', "%2B").replace('=', "%3D");
    let url = format!(
        "googledrive://larder?authid={authid}&oauth-url={base}%2Frefresh&googledrive-api-url={base}"
    );
    Ok(Started {
        url,
        keep: Box::new(server),
    })
}
