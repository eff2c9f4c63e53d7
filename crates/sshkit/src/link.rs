//! A connection that is signed in, and its channels.

use std::sync::Arc;

use larder_destination::{Call, ErrorKind, Result};
use russh::ChannelMsg;
use russh::client::Handle;

use crate::connect::{Client, Settings, connect, lost, within};
use crate::failure::Failure;
use crate::requests::Shared;
use crate::sftp::{Sftp, Times};
use crate::sign_in::sign_in;

/// A connection that is signed in.
pub struct Link {
    handle: Arc<Handle<Client>>,
    shared: Shared,
    times: Times,
}

impl Link {
    /// Connects and signs in.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] with the fingerprint, [`ErrorKind::SignInNeeded`], [`ErrorKind::Config`] for a private key that
    /// cannot be read, [`ErrorKind::Network`].
    pub async fn open(call: &Call, settings: &Arc<Settings>) -> Result<Self> {
        let mut connected = connect(call, settings).await?;
        sign_in(call, settings, &mut connected).await?;
        Ok(Self {
            handle: Arc::new(connected.handle),
            shared: Shared::new(connected.pulse),
            times: settings.times,
        })
    }

    /// True once the connection has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.handle.is_closed()
    }

    /// Opens a channel on which SFTP is spoken.
    ///
    /// Runs to its end also when nobody waits any more, since a channel that is half open would count at the server.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the server offers no SFTP, [`ErrorKind::Network`].
    pub async fn channel(&self, call: &Call) -> Result<Sftp> {
        let (handle, shared) = (Arc::clone(&self.handle), self.shared.clone());
        let (times, about) = (self.times, call.clone());
        let opening = tokio::spawn(async move { open(&about, handle, shared, times).await });
        let opened = within(call, times.short, opening).await?;
        opened.map_err(|error| call.error(ErrorKind::Other, error.to_string()))?
    }
}

async fn open(
    call: &Call,
    handle: Arc<Handle<Client>>,
    shared: Shared,
    times: Times,
) -> Result<Sftp> {
    let opening = handle.channel_open_session();
    let mut channel = opening.await.map_err(|error| lost(call, error))?;
    let asking = channel.request_subsystem(true, "sftp");
    asking.await.map_err(|error| lost(call, error))?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Failure) => {
                let text = "the server does not offer SFTP to this user";
                return Err(call.error(ErrorKind::Unsupported, text));
            }
            // Nothing more comes: the connection ended, which says nothing of what the server offers.
            None => return Err(Failure::lost().into_error(call)),
            Some(_) => {}
        }
    }
    let started = Sftp::start(channel.into_stream(), times, shared, Some(handle)).await;
    started.map_err(|failure| failure.into_error(call))
}
