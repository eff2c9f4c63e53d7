//! The options that all providers with HTTP share, and how they become [`Settings`].

use std::time::Duration;

use larder_destination::{Config, Error, Notice, Result};
pub use larder_options::engine::{
    ACCEPT_ANY_SSL_CERTIFICATE, ACCEPT_SPECIFIED_SSL_HASH, AUTH_PASSWORD, AUTH_USERNAME,
    LIST_TIMEOUT, NUMBER_OF_RETRIES, READ_WRITE_TIMEOUT, SHORT_TIMEOUT, USE_SSL,
};
use larder_options::{Opt, OptionDecl, OptionValue, Secret, Values};

use crate::client::{Settings, Timeouts};
use crate::retry::RetryPolicy;
use crate::server::Server;
use crate::service::is_local;
use crate::tls::{Fingerprint, Trust};

/// The options of every provider with HTTP, for the end of its table.
pub const OPTIONS: &[&OptionDecl] = &[
    ACCEPT_ANY_SSL_CERTIFICATE.decl,
    ACCEPT_SPECIFIED_SSL_HASH.decl,
    SHORT_TIMEOUT.decl,
    LIST_TIMEOUT.decl,
    READ_WRITE_TIMEOUT.decl,
];

/// Those of a server that the user names and signs in to with a password or key.
pub const SERVER_OPTIONS: &[&OptionDecl] = &[AUTH_USERNAME.decl, AUTH_PASSWORD.decl, USE_SSL.decl];

/// Reads a provider's options; what is wrong with one is a wrong configuration of that provider.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    provider: &'static str,
    config: &'a Config,
}

impl<'a> Options<'a> {
    /// The options in `config`.
    #[must_use]
    pub fn new(provider: &'static str, config: &'a Config) -> Self {
        Self { provider, config }
    }

    /// An option's value.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](larder_destination::ErrorKind::Config), naming the option.
    pub fn get<T: OptionValue>(&self, option: Opt<T>) -> Result<T> {
        self.checked(self.config.values.get(option))
    }

    /// An option's text without blanks around it; nothing for an empty one.
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn text(&self, option: Opt<String>) -> Result<Option<String>> {
        let text = self.checked(self.config.values.find(option))?;
        let text = text.map(|text| text.trim().to_owned());
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// True for an option that was given.
    #[must_use]
    pub fn is_set<T>(&self, option: Opt<T>) -> bool {
        self.config.values.is_set(option)
    }

    /// The user name, see [`Config::user`].
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn user(&self, own: &[Opt<String>]) -> Result<Option<String>> {
        self.checked(self.config.user(own))
    }

    /// The password, see [`Config::password`].
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn password(&self, own: &[Opt<Secret>]) -> Result<Option<Secret>> {
        self.checked(self.config.password(own))
    }

    /// User name and password, which must be there; each by its name in the words of the service, and its own option.
    ///
    /// # Errors
    /// As [`Options::get`], naming what is missing and where it may stand.
    pub fn account(
        &self,
        (user_name, user): (&str, Opt<String>),
        (password_name, password): (&str, Opt<Secret>),
    ) -> Result<(String, Secret)> {
        let missing = |what: &str, option: &str| {
            self.wrong(format!(
                "no {what} is given: use --{option}, or put it before the @ in the URL"
            ))
        };
        let given = self.user(&[user])?;
        let given = given.ok_or_else(|| missing(user_name, user.decl.name))?;
        let secret = self.password(&[password])?;
        let secret = secret.ok_or_else(|| missing(password_name, password.decl.name))?;
        Ok((given, secret))
    }

    /// A server, and whether its scheme says that TLS is used; see [`Server::parse`].
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn server(&self, option: Opt<String>) -> Result<Option<(Server, Option<bool>)>> {
        let read = |text: String| {
            Server::parse(&text).map_err(|problem| self.wrong_value(option, problem))
        };
        self.text(option)?.map(read).transpose()
    }

    /// A wrong value of an option that holds no secret; `problem` goes on after it.
    #[must_use]
    pub fn wrong_value(&self, option: Opt<String>, problem: &str) -> Error {
        let given = self.text(option).ok().flatten().unwrap_or_default();
        let name = option.decl.name;
        self.wrong(format!("option --{name}: \"{given}\" {problem}"))
    }

    /// A wrong option or URL.
    #[must_use]
    pub fn wrong(&self, message: impl Into<String>) -> Error {
        Error::config(self.provider, message)
    }

    fn checked<T>(&self, read: std::result::Result<T, larder_options::Error>) -> Result<T> {
        read.map_err(|error| self.wrong(error.to_string()))
    }
}

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
    let retries = values
        .get(NUMBER_OF_RETRIES)
        .map_err(|error| Error::config(provider, error.to_string()))?;
    Ok(Settings {
        trust: Trust { any, pinned },
        retry: RetryPolicy::under(u32::try_from(retries).unwrap_or(0)),
        timeouts: Timeouts {
            short: seconds(SHORT_TIMEOUT)?,
            list: seconds(LIST_TIMEOUT)?,
            stall: seconds(READ_WRITE_TIMEOUT)?,
        },
        ..Settings::default()
    })
}

/// What a user should know about the way to `host`: no TLS to another machine, or any certificate accepted.
#[must_use]
pub fn notices(settings: &Settings, tls: bool, host: &str) -> Vec<Notice> {
    let mut notices = Vec::new();
    if !tls && !is_local(host) {
        notices.push(Notice {
            id: "UnencryptedConnection",
            text: format!(
                "the connection to {host} is not encrypted: who is in between can read the sign-in; --{} makes it safe",
                USE_SSL.decl.name
            ),
        });
    }
    if tls && settings.trust.any {
        notices.push(Notice {
            id: "AnyCertificateAccepted",
            text: format!(
                "every certificate of {host} is accepted, so who is in between can read and change what is sent; \
                 --{} is safe",
                ACCEPT_SPECIFIED_SSL_HASH.decl.name
            ),
        });
    }
    notices
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

    #[test]
    fn the_number_of_retries_governs() -> Result<()> {
        let retries = |given: &str| {
            let settings = settings("test", &with(&[("number-of-retries", given)]))?;
            Ok::<_, Error>(settings.retry.retries)
        };
        assert_eq!(retries("0")?, 0);
        assert_eq!(retries("1")?, 1);
        assert_eq!(retries("100")?, crate::RETRIES_OF_REQUESTS);
        Ok(())
    }

    #[test]
    fn only_what_is_unsafe_is_told() {
        let mut settings = Settings::default();
        let ids = |settings: &Settings, tls, host| -> Vec<_> {
            let notices = notices(settings, tls, host);
            notices.into_iter().map(|notice| notice.id).collect()
        };
        assert_eq!(
            ids(&settings, false, "far.example"),
            ["UnencryptedConnection"]
        );
        for near in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(ids(&settings, false, near).is_empty(), "{near}");
        }
        assert!(ids(&settings, true, "far.example").is_empty());
        settings.trust.any = true;
        assert_eq!(
            ids(&settings, true, "far.example"),
            ["AnyCertificateAccepted"]
        );
    }
}
