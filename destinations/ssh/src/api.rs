//! The connection of the line, and what the server tells of a file.

use std::sync::Arc;

use async_trait::async_trait;
use larder_destination::{Call, RemoteFile, Result};
use larder_flat::{Connection, Shape};
use larder_sshkit::{Attributes, Link, Settings, Sftp};

/// A connection to the server.
pub(crate) struct Session(Link);

#[async_trait]
impl Connection for Session {
    type Settings = Arc<Settings>;
    type Channel = Sftp;

    async fn open(call: &Call, settings: &Arc<Self::Settings>) -> Result<Self> {
        Ok(Self(Link::open(call, settings).await?))
    }

    async fn channel(&self, call: &Call) -> Result<Sftp> {
        self.0.channel(call).await
    }

    fn is_lost(&self) -> bool {
        self.0.is_lost()
    }

    fn is_dead(channel: &Sftp) -> bool {
        !channel.is_alive()
    }

    async fn answers(channel: &Sftp) -> bool {
        let found = channel.stat(".").await;
        !found.is_err_and(|failure| failure.is_loss())
    }
}

/// Each channel has a window of its own, and a process on the server.
pub(crate) const SHAPE: Shape = Shape {
    connections: 1,
    channels: 4,
    is_shared: true,
};

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    /// A pipe, a socket, a device: nothing that a backup could read.
    Other,
    /// The server does not tell types.
    Unknown,
}

impl Kind {
    /// From the type bits of the permissions (POSIX.1-2017, `<sys/stat.h>`), where the server sends them.
    pub fn of(facts: &Attributes) -> Self {
        match facts.permissions.unwrap_or(0) & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Folder,
            0o120_000 => Self::Link,
            0 => Self::Unknown,
            _ => Self::Other,
        }
    }
}

/// A file or folder of a listing.
pub(crate) fn remote_file(name: String, facts: &Attributes, is_folder: bool) -> RemoteFile {
    RemoteFile {
        name,
        size: facts.size.filter(|_| !is_folder),
        modified: facts.modified.map(i64::from),
        is_folder,
        is_archived: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_from_the_permissions() {
        for (permissions, kind) in [
            (Some(0o100_644), Kind::File),
            (Some(0o040_755), Kind::Folder),
            (Some(0o120_777), Kind::Link),
            (Some(0o010_644), Kind::Other),
            (Some(0o140_755), Kind::Other),
            (Some(0o060_644), Kind::Other),
            (Some(0o644), Kind::Unknown),
            (None, Kind::Unknown),
        ] {
            let facts = Attributes {
                permissions,
                ..Attributes::default()
            };
            assert_eq!(Kind::of(&facts), kind, "{permissions:?}");
        }
    }
}
