//! The destination in terms of what the server does.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    Abilities, About, Body, Call, Capacity, Clock, Destination, Download, ErrorKind, Existing,
    Extra, Leftovers, Operation, Ours, RemoteFile, Rename, Result, Space, Tools,
};
use larder_flat::{Files, Folder, is_temporary};
use larder_sshkit::{How, NO_FOLDER, Settings};

use crate::SCHEME;
use crate::api::{Server, is_folder};

/// A folder on a server.
pub(crate) struct Store {
    folder: Folder<Server>,
    about: About,
    clock: Arc<dyn Clock>,
}

impl Store {
    /// The store in the folder at `path`.
    pub(crate) fn new(settings: Settings, path: String, display: String, tools: &Tools) -> Self {
        let abilities = Abilities {
            atomic_put: true,
            // True of OpenSSH, whose rename makes a link first; other servers may replace the file of another program.
            exclusive_put: false,
            consistent_list: true,
            unique_names: true,
            checksummed_put: false,
        };
        let server = Server::new(settings, path, Arc::clone(&tools.random));
        Self {
            folder: Folder::new(server, Arc::clone(&tools.random)),
            about: About::new(SCHEME, display).with_abilities(abilities),
            clock: Arc::clone(&tools.clock),
        }
    }

    fn server(&self) -> &Server {
        self.folder.files()
    }

    async fn entries(&self, call: &Call) -> Result<BoxStream<'_, Result<RemoteFile>>> {
        let server = self.server();
        let sftp = server.session(call).await?;
        let folder = match sftp.open(&server.path, How::List).await {
            Ok(folder) => folder,
            Err(failure) => return Err(server.no_folder(call, &sftp, failure).await),
        };
        let call = call.clone();
        let batches = stream::try_unfold(folder, move |folder| {
            let call = call.clone();
            async move {
                let batch = server.next_files(&folder).await;
                let batch = batch.map_err(|failure| failure.into_error(&call))?;
                Ok(batch.map(|files| (stream::iter(files.into_iter().map(Ok)), folder)))
            }
        });
        Ok(batches.try_flatten().boxed())
    }
}

#[async_trait]
impl Destination for Store {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = Call::new(SCHEME, Operation::List);
        stream::once(async move { self.entries(&call).await })
            .try_flatten()
            .try_filter(|file| std::future::ready(!is_temporary(&file.name)))
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = Call::on_file(SCHEME, Operation::Get, name)?;
        let server = self.server();
        let sftp = server.session(&call).await?;
        let file = match sftp.open(&server.file(name), How::Read).await {
            Ok(file) => file,
            Err(failure) => return Err(server.explain(&call, failure).await),
        };
        let facts = file
            .facts()
            .await
            .map_err(|failure| failure.into_error(&call))?;
        let len = facts.size.ok_or_else(|| {
            let text = "the server does not tell the size of the file";
            call.error(ErrorKind::Unsupported, text)
        })?;
        let pieces = file.read(len);
        Ok(Download {
            len: Some(len),
            stream: pieces
                .map_err(move |failure| failure.into_error(&call))
                .boxed(),
        })
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = Call::on_file(SCHEME, Operation::Put, name)?;
        self.folder.put(&call, body, existing).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = Call::on_file(SCHEME, Operation::Delete, name)?;
        self.server().remove(&call, name).await
    }

    async fn create_folder(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::CreateFolder);
        let server = self.server();
        let sftp = server.session(call).await?;
        // From the innermost that is there; the upper ones may be closed to us.
        let mut missing = Vec::new();
        let mut path = server.path.as_str();
        while !matches!(path, "" | "." | "/") {
            match sftp
                .stat(path)
                .await
                .map_err(|failure| failure.into_error(call))?
            {
                Some(found) if is_folder(&found) => break,
                Some(_) => {
                    let text = format!("{path} is a file, not a folder");
                    return Err(call.error(ErrorKind::Exists, text));
                }
                None => missing.push(path),
            }
            path = path.rsplit_once('/').map_or("", |(upper, _)| upper);
        }
        for path in missing.into_iter().rev() {
            let Err(failure) = sftp.make_folder(path).await else {
                continue;
            };
            // Somebody else may have made it at this moment.
            let found = sftp
                .stat(path)
                .await
                .map_err(|failure| failure.into_error(call))?;
            if !found.is_some_and(|found| is_folder(&found)) {
                return Err(failure.into_error(call));
            }
        }
        Ok(())
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            space: Some(self),
            rename: Some(self),
            leftovers: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl Space for Store {
    async fn space(&self) -> Result<Capacity> {
        let call = &Call::new(SCHEME, Operation::Space);
        let server = self.server();
        if !server.has_folder(call).await? {
            return Err(call.folder_missing(NO_FOLDER));
        }
        let space = server.session(call).await?.space(&server.path).await;
        let space = space.map_err(|failure| failure.into_error(call))?;
        space.ok_or_else(|| {
            let text = "the server does not tell how much room there is";
            call.error(ErrorKind::Unsupported, text)
        })
    }
}

#[async_trait]
impl Rename for Store {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = Call::on_file(SCHEME, Operation::Rename, from)?;
        Call::on_file(SCHEME, Operation::Rename, to)?;
        self.folder.rename(&call, to).await
    }
}

#[async_trait]
impl Leftovers for Store {
    async fn remove_leftovers(&self, _: Ours<'_>) -> Result<u64> {
        let call = &Call::new(SCHEME, Operation::RemoveLeftovers);
        let entries = self.entries(call).await?;
        let now = self.clock.seconds();
        self.folder.remove_leftovers(call, entries, now).await
    }
}
