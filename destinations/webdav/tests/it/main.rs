//! Tests of the WebDAV destination over the wire: against servers that misbehave to order, and against the real ones
//! of `scripts/test-servers` that the environment names.

mod dialect;
mod misbehaving;
mod real;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use larder_destination::{Config, Destination, Error, ErrorKind, Opened, Result, Tools, Url};
use larder_options::Values;
use larder_testkit::simulators::Answer;

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

/// Opens a destination by URL.
fn open(url: &str) -> Result<Opened> {
    (larder_webdav::PROVIDER.open)(&config(url)?, &Tools::system())
}

fn config(url: &str) -> Result<Config> {
    let url = Url::parse(url, Path::new("/"))
        .map_err(|error| Error::config("webdav", error.to_string()))?;
    Ok(Config::with_options(
        url,
        Values::new(),
        PathBuf::from("/"),
        larder_webdav::PROVIDER.options,
    ))
}

async fn names(store: &dyn Destination) -> Result<Vec<String>> {
    let mut names: Vec<_> = store.list().map_ok(|file| file.name).try_collect().await?;
    names.sort_unstable();
    Ok(names)
}

fn kind<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind().clone())
}

/// An answer to PROPFIND: addresses, each with what is told of it.
fn multistatus<T: Display>(entries: &[(T, T)]) -> Answer {
    let mut text = "<d:multistatus xmlns:d=\"DAV:\">".to_owned();
    for (href, facts) in entries {
        text += &format!(
            "<d:response><d:href>{href}</d:href><d:propstat><d:prop>{facts}</d:prop>\
             <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        );
    }
    Answer::text(207, "application/xml", text + "</d:multistatus>")
}
