//! The options that all providers with HTTP share, and how they become [`Settings`].

use std::time::Duration;

use larder_destination::{Error, Result};
use larder_options::Values;
pub use larder_options::engine::{
    ACCEPT_ANY_SSL_CERTIFICATE, ACCEPT_SPECIFIED_SSL_HASH, AUTH_PASSWORD, AUTH_USERNAME,
    LIST_TIMEOUT, READ_WRITE_TIMEOUT, SHORT_TIMEOUT, USE_SSL,
};

use crate::client::{Settings, Timeouts};
use crate::tls::{Fingerprint, Trust};

/// Settings for `provider` from the shared options; everything else has its default.
///
/// # Errors
/// [`larder_destination::ErrorKind::Config`] for a value that cannot be used, named in the message.
pub fn settings(provider: &'static str, values: &Values) -> Result<Settings> {
    let seconds = |option| {
        let seconds = values
            .get(option)
            .map_err(|error| Error::config(provider, error.to_string()))?;
        Ok::<_, Error>(
            u64::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        )
    };
    let any = values
        .get(ACCEPT_ANY_SSL_CERTIFICATE)
        .map_err(|error| Error::config(provider, error.to_string()))?;
    let pins = values
        .setting(ACCEPT_SPECIFIED_SSL_HASH.decl)
        .and_then(|setting| setting.value)
        .unwrap_or_default();
    let pinned = Fingerprint::parse_list(pins).map_err(|entry| {
        Error::config(
            provider,
            format!(
                "option --{}: \"{entry}\" is neither a SHA-1 nor a SHA-256 hash in hexadecimal digits",
                ACCEPT_SPECIFIED_SSL_HASH.decl.name
            ),
        )
    })?;
    Ok(Settings {
        trust: Trust { any, pinned },
        timeouts: Timeouts {
            short: seconds(SHORT_TIMEOUT)?,
            list: seconds(LIST_TIMEOUT)?,
            stall: seconds(READ_WRITE_TIMEOUT)?,
        },
        ..Settings::default()
    })
}

#[cfg(test)]
mod tests {
    use larder_options::Origin;

    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Values {
        let mut values = Values::new();
        for (name, value) in pairs {
            values.set(name, Some(value), Origin::Url);
        }
        values
    }

    #[test]
    fn defaults_are_those_of_the_options() -> Result<()> {
        let settings = settings("test", &Values::new())?;
        assert_eq!(settings.timeouts, Timeouts::default());
        assert_eq!(settings.trust, Trust::default());
        Ok(())
    }

    #[test]
    fn zero_means_no_limit() -> Result<()> {
        let settings = settings(
            "test",
            &with(&[("read-write-timeout", "0"), ("short-timeout", "2m")]),
        )?;
        assert_eq!(settings.timeouts.stall, None);
        assert_eq!(settings.timeouts.short, Some(Duration::from_secs(120)));
        Ok(())
    }

    #[test]
    fn pins_are_read_or_refused() -> Result<()> {
        let hash = "AB:".repeat(19) + "AB";
        assert_eq!(
            settings("test", &with(&[("accept-specified-ssl-hash", &hash)]))?
                .trust
                .pinned
                .len(),
            1
        );
        let refused = settings("test", &with(&[("accept-specified-ssl-hash", "12")])).map(|_| ());
        assert!(refused.is_err_and(|error| error.to_string().contains("\"12\" is neither")));
        Ok(())
    }
}
