//! Signing in for the first time: what a provider asks of a user, and what the user gets for it.

use futures_util::future::BoxFuture;
use larder_options::Secret;

use crate::{Config, Result, Tools};

/// What a user has to do before a sign-in can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent<'a> {
    /// To open this address in a browser on this machine and agree.
    Browser {
        /// The whole address. It holds no secret.
        address: &'a str,
    },
    /// To open this address on any machine, type the code and agree.
    Device {
        /// The address, short enough to be typed.
        address: &'a str,
        /// What to type there.
        code: &'a str,
        /// What such a sign-in cannot do that one in a browser can, as a sentence; empty when there is nothing.
        lacks: &'a str,
    },
}

/// Tells the user what to do.
pub trait AskConsent: Send + Sync {
    /// Called once, before the wait for the user begins.
    fn ask(&self, consent: &Consent<'_>);
}

/// Where the user agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInWay {
    /// In a browser on this machine.
    Browser,
    /// Anywhere, with a code that is typed.
    Device,
}

/// What a user got: the value of an option, which is a secret.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The option's name.
    pub option: &'static str,
    /// Its value.
    pub value: Secret,
}

/// Signs a user in. Waits for the user, ten minutes at most in a browser and half an hour with a code, and two minutes
/// more at most for the service; dropping the future ends the wait and leaves nothing behind.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) when an option is missing that it needs,
/// [`ErrorKind::SignInNeeded`](crate::ErrorKind::SignInNeeded) when the user or the service refuses,
/// [`ErrorKind::Network`](crate::ErrorKind::Network) when the service cannot be reached or the user does not come.
pub type SignIn = for<'a> fn(
    &'a Config,
    &'a Tools,
    SignInWay,
    &'a dyn AskConsent,
) -> BoxFuture<'a, Result<SignedIn>>;
