//! All providers that are built in, and the way from a storage URL to an open destination.
//!
//! Adding a provider means a feature and a dependency in this crate's manifest; the list is made from the features, and
//! nothing else here knows any of them.

mod schemes;

use std::path::Path;

use larder_destination::{Config, Error, Opened, Provider, Result, Tools, Url};
use larder_options::{OptionDecl, Origin, Values};

/// The seam itself: what [`open`] takes and gives, so that its caller needs no arrow of its own.
pub use larder_destination as destination;
pub use schemes::{Planned, planned};

/// The providers of this build, in the order of their names.
#[must_use]
pub fn providers() -> &'static [Provider] {
    include!(concat!(env!("OUT_DIR"), "/providers.rs"))
}

/// A provider found for a scheme.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The provider.
    pub provider: &'static Provider,
    /// True when the scheme was the provider's with an `s` after it, which means `use-ssl`.
    pub with_tls: bool,
}

/// Finds the provider of a scheme in any letter case; `<x>s` is `<x>` with TLS when that provider knows `use-ssl`.
#[must_use]
pub fn find(scheme: &str) -> Option<Found> {
    let scheme = scheme.to_ascii_lowercase();
    let exact = |key: &str| {
        providers()
            .iter()
            .find(|provider| provider.schemes.contains(&key))
    };
    if let Some(provider) = exact(&scheme) {
        return Some(Found {
            provider,
            with_tls: false,
        });
    }
    let provider = scheme.strip_suffix('s').and_then(exact)?;
    let knows_tls = provider.options.iter().any(|decl| decl.answers_to(USE_SSL));
    knows_tls.then_some(Found {
        provider,
        with_tls: true,
    })
}

/// The options of all providers, to check and to document them.
#[must_use]
pub fn option_tables() -> Vec<&'static [&'static OptionDecl]> {
    providers()
        .iter()
        .map(|provider| provider.options)
        .collect()
}

/// Opens the destination of a storage URL or local path; relative paths start from `working_folder`.
///
/// The URL's query and user part are laid over `values`. Nothing remote is touched.
///
/// # Errors
/// [`ErrorKind::Config`](larder_destination::ErrorKind::Config) for a malformed URL, an unknown scheme (naming the
/// known ones) and whatever the provider refuses.
pub fn open(
    url_text: &str,
    values: &Values,
    working_folder: &Path,
    tools: &Tools,
) -> Result<Opened> {
    let configured = configure(url_text, values, working_folder)?;
    (configured.found.provider.open)(&configured.config, tools)
}

/// A storage URL with its provider, before anything is opened.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The provider.
    pub found: Found,
    /// What the provider is opened with: its own options and the shared ones.
    pub config: Config,
    /// All values with the URL laid over them, for checking what a user gave.
    pub values: Values,
}

/// As [`open`], but stops before opening: for listing where values come from.
///
/// # Errors
/// Those of [`open`], without the provider's.
pub fn configure(url_text: &str, values: &Values, working_folder: &Path) -> Result<Configured> {
    let url = Url::parse(url_text, working_folder)
        .map_err(|error| Error::config(NO_PROVIDER, error.to_string()))?;
    let Some(found) = find(url.scheme()) else {
        return Err(Error::config(
            NO_PROVIDER,
            schemes::unknown(url.scheme(), providers()),
        ));
    };
    let mut values = values.clone();
    if found.with_tls {
        // Set before the query, so that an explicit use-ssl=false there wins.
        values.set(USE_SSL, Some("true"), Origin::Url);
    }
    // An `s` that is no part of the key is dropped, so that the provider sees only names of its own.
    let url = match found.provider.schemes.first() {
        Some(key) if found.with_tls => url.with_scheme(key),
        _ => url,
    };
    let options = found.provider.options;
    Ok(Configured {
        found,
        values: Config::overlay(&url, values.clone(), options),
        config: Config::with_options(url, values, working_folder.to_path_buf(), options),
    })
}

/// Stands where a provider's key would, in errors about URLs that lead to none.
const NO_PROVIDER: &str = "destination";
const USE_SSL: &str = "use-ssl";

#[cfg(test)]
mod tests;
