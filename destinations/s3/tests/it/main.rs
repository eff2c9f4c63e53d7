//! Tests of the S3 destination over the wire: against a server of this folder that misbehaves to order, and against a
//! real one when `LARDER_TEST_S3_URL` names it (see `scripts/test-servers/seaweedfs.sh`).

mod dialect;
mod locks;
mod misbehaving;
mod real;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use larder_destination::{Config, Destination, Error, RemoteFile, Result, Tools, Url};
use larder_httpkit::objects::Tuning;
use larder_options::Values;

use futures_util::TryStreamExt;

/// Opens a destination by URL, with short pauses.
fn open(url: &str) -> Result<Arc<dyn Destination>> {
    open_tuned(
        url,
        Tuning {
            first_pause: Duration::from_millis(20),
            ..Tuning::default()
        },
    )
}

fn open_tuned(url: &str, tuning: Tuning) -> Result<Arc<dyn Destination>> {
    Ok(larder_s3::open(&config(url)?, tuning, &Tools::system())?.destination)
}

fn config(url: &str) -> Result<Config> {
    let url =
        Url::parse(url, Path::new("/")).map_err(|error| Error::config("s3", error.to_string()))?;
    Ok(Config::with_options(
        url,
        Values::new(),
        PathBuf::from("/"),
        larder_s3::PROVIDER.options,
    ))
}

/// The whole listing in the order of names.
async fn listing(store: &dyn Destination) -> Result<Vec<RemoteFile>> {
    let mut files: Vec<_> = store.list().try_collect().await?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

async fn names(store: &dyn Destination) -> Result<Vec<String>> {
    Ok(listing(store)
        .await?
        .into_iter()
        .map(|file| file.name)
        .collect())
}
