//! Google Drive against its simulator, which clients of others have proven.

mod dialect;
mod files;
mod sign_in;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use larder_destination::{Config, Destination, Error, ErrorKind, Result, Tools, Url};
use larder_options::{Origin, Values};
use larder_testkit::behaviour;
use larder_testkit::simulators::google_drive::{GoogleDrive, Settings};
use larder_testkit::simulators::{Server, known};

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

/// A simulator and its server.
struct Service {
    drive: Arc<GoogleDrive>,
    server: Server,
}

impl Service {
    async fn start(settings: Settings) -> std::io::Result<Self> {
        let drive = GoogleDrive::new(settings);
        let server = Server::start(Arc::clone(&drive) as _, "127.0.0.1:0", None).await?;
        Ok(Self { drive, server })
    }

    /// Opens `googledrive://folder` with these options.
    fn open(&self, folder: &str, options: &[(&str, &str)]) -> Result<Arc<dyn Destination>> {
        self.open_with(folder, options, &Tools::system())
    }

    fn open_with(
        &self,
        folder: &str,
        options: &[(&str, &str)],
        tools: &Tools,
    ) -> Result<Arc<dyn Destination>> {
        let config = self.config(folder, options);
        Ok((larder_googledrive::PROVIDER.open)(&config, tools)?.destination)
    }

    fn config(&self, folder: &str, options: &[(&str, &str)]) -> Config {
        config(&self.server.address(), folder, options)
    }

    /// Requests to the token services so far.
    fn renewals(&self) -> usize {
        let journal = self.server.journal();
        let is_renewal = |path: &str| path == "/token" || path.ends_with("/refresh");
        journal.iter().filter(|line| is_renewal(&line.path)).count()
    }
}

/// What `googledrive://folder` with these options is opened with, everything being at this server.
fn config(server: &str, folder: &str, options: &[(&str, &str)]) -> Config {
    let mut values = Values::new();
    let base = format!("http://{server}");
    for (name, value) in [
        ("googledrive-api-url", base.as_str()),
        ("oauth-url", &format!("{base}/refresh")),
        ("oauth-token-url", &format!("{base}/token")),
    ]
    .iter()
    .chain(options)
    {
        values.set(name, Some(value), Origin::CommandLine);
    }
    let url = Url::parse(&format!("googledrive://{folder}"), Path::new("/")).expect("a URL");
    Config::with_options(
        url,
        values,
        "/".into(),
        larder_googledrive::PROVIDER.options,
    )
}

const FULL: &[(&str, &str)] = &[("authid", known::AUTHID_FULL)];

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

async fn names(destination: &dyn Destination) -> Result<Vec<String>> {
    let mut names: Vec<String> = destination
        .list()
        .map_ok(|file| file.name)
        .try_collect()
        .await?;
    names.sort();
    Ok(names)
}

/// Folders below one account, for the cases that every destination must pass.
struct InDrive {
    service: Service,
    options: Vec<(&'static str, &'static str)>,
    count: AtomicU32,
}

#[async_trait]
impl behaviour::Folders for InDrive {
    async fn empty(&self) -> std::result::Result<Arc<dyn Destination>, Error> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = format!("a b'\\/{number}");
        let destination = self.service.open(&folder, &self.options)?;
        destination.create_folder().await?;
        Ok(destination)
    }

    async fn missing(&self) -> std::result::Result<Arc<dyn Destination>, &'static str> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.service
            .open(&format!("none/{number}"), &self.options)
            .map_err(|_| "it cannot be opened")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_in_a_shared_drive() -> Test {
    use larder_testkit::simulators::google_drive::SHARED_DRIVE;
    {
        let (authid, drive) = (known::AUTHID_FULL, SHARED_DRIVE);
        let settings = Settings {
            page_size: 50,
            begins_with_empty_page: true,
            ..Settings::default()
        };
        let site = InDrive {
            service: Service::start(settings).await?,
            options: vec![("authid", authid), ("googledrive-teamdrive-id", drive)],
            count: AtomicU32::new(0),
        };
        let summary = behaviour::run(Arc::new(site), &[]).await;
        assert!(summary.failed.is_empty(), "{summary}");
        assert!(summary.passed.len() > 18, "{summary}");
    }
    Ok(())
}
