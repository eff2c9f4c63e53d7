//! Tests of the Azure destination over the wire: against servers that misbehave to order, and against Azurite when
//! `LARDER_TEST_AZURE_URL` names it (see `scripts/test-servers/azurite.sh`).

mod dialect;
mod misbehaving;
mod real;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use larder_destination::{Config, Destination, Error, ErrorKind, RemoteFile, Result, Tools, Url};
use larder_httpkit::objects::Tuning;
use larder_options::Values;

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

/// Opens a destination by URL, with short pauses, and blocks from 3 MiB on.
fn open(url: &str) -> Result<Arc<dyn Destination>> {
    let tuning = Tuning {
        first_pause: Duration::from_millis(20),
        parts_above: 3 << 20,
        part_bytes: 1 << 20,
        ..Tuning::default()
    };
    Ok(larder_azure::open(&config(url)?, tuning, &Tools::system())?.destination)
}

fn config(url: &str) -> Result<Config> {
    let url = Url::parse(url, Path::new("/"))
        .map_err(|error| Error::config("azure", error.to_string()))?;
    Ok(Config::with_options(
        url,
        Values::new(),
        PathBuf::from("/"),
        larder_azure::PROVIDER.options,
    ))
}

/// The whole listing in the order of names.
async fn listing(store: &dyn Destination) -> Result<Vec<RemoteFile>> {
    let mut files: Vec<_> = store.list().try_collect().await?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

async fn names(store: &dyn Destination) -> Result<Vec<String>> {
    let files = listing(store).await?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}
