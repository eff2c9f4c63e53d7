//! The destination in terms of the API.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{
    About, Body, Capacity, Destination, Download, Error, ErrorKind, Existing, Extra, Operation,
    RemoteFile, Result, Space,
};
use larder_drives::{Node, Tree};
use larder_httpkit::{Algorithm, Call, Hashes, checked, pages};

use crate::SCHEME;
use crate::api::{self, Api, Item};

/// A folder in Google Drive.
pub(crate) struct Store {
    pub tree: Tree<Api>,
    pub about: About,
}

impl Store {
    fn api(&self) -> &Arc<Api> {
        self.tree.drive()
    }

    /// Stores a body and makes sure that the service has what was sent.
    async fn upload(&self, call: &Call, over: Option<&str>, body: &Body) -> Result<Node> {
        let folder = self.tree.folder(call).await?;
        let hashes = Hashes::of_body(call, body, MD5);
        let stored = api::upload(self.api(), call, &folder, over, body);
        // Hashing runs beside the transfer; a body that cannot be read ends both.
        let (hashes, stored) = futures_util::try_join!(hashes, stored)?;
        let node = stored.node();
        if is_whole(&node, body, &hashes) {
            return Ok(node);
        }
        if over.is_none() {
            // Nobody may take it for the file. A failure here changes nothing about the error.
            let _ = self.api().delete(call, &node.id).await;
        }
        let text = "the service has stored something else than was sent";
        Err(call.error(ErrorKind::Corrupt, text))
    }

    /// The file that an upload left whole although it failed, its last answer being lost; else its error.
    async fn arrived(&self, call: &Call, body: &Body, old: &[Node], error: Error) -> Result<Node> {
        let hashes = Hashes::of_body(call, body, MD5).await?;
        let found = self.tree.look_up(call, &call.object).await?;
        let is_it = |node: &Node| is_whole(node, body, &hashes) && !old.contains(node);
        found.into_iter().find(is_it).ok_or(error)
    }

    /// An item of a listing, remembered.
    fn listed(&self, item: &Item) -> RemoteFile {
        if !item.is_folder() {
            self.tree.note(&item.name, item.node());
        }
        RemoteFile {
            name: item.name.clone(),
            size: item.size(),
            modified: item.modified(),
            is_folder: item.is_folder(),
            is_archived: false,
        }
    }
}

#[async_trait]
impl Destination for Store {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = Call::new(SCHEME, Operation::List);
        let begin = async move {
            // A folder in the bin lists as an empty one, so it is looked for by its path.
            let folder = self.tree.find_folder(&call).await?;
            self.tree.forget_files();
            let query = api::within(&folder);
            let deadline = self.api().service.list_deadline();
            Ok::<_, Error>(pages(call.clone(), deadline, move |token| {
                let (call, query) = (call.clone(), query.clone());
                async move { self.api().page(&call, &query, token).await }
            }))
        };
        stream::once(begin)
            .try_flatten()
            .map_ok(|item| self.listed(&item))
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = &Call::on_file(SCHEME, Operation::Get, name)?;
        self.tree
            .with_files(call, name, |nodes| async move {
                let Some(newest) = nodes.first() else {
                    return Err(call.not_found());
                };
                let download = self.api().download(call, &newest.id).await?;
                let md5 = Some(newest.hash.clone()).filter(|hash| !hash.is_empty());
                checked(download, call, MD5, md5)
            })
            .await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = &Call::on_file(SCHEME, Operation::Put, name)?;
        let before = self.tree.look_up(call, name).await?;
        if existing == Existing::Refuse && !before.is_empty() {
            return Err(call.exists());
        }
        // New content appears in one step. Of several files none is the right one to change: a new one takes their
        // place, and they go when it is whole.
        let over = match before.as_slice() {
            [only] => Some(only.id.as_str()),
            _ => None,
        };
        let stored = match self.upload(call, over, &body).await {
            Ok(node) => node,
            Err(error) if *error.kind() == ErrorKind::Exists => {
                self.arrived(call, &body, &before, error).await?
            }
            Err(error) => return Err(self.tree.explain(call, error).await),
        };
        self.tree.keep(name, vec![stored]);
        if over.is_none() {
            for old in before {
                self.api().delete(call, &old.id).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = &Call::on_file(SCHEME, Operation::Delete, name)?;
        self.tree
            .with_files(call, name, |nodes| async move {
                let mut found = false;
                for node in nodes {
                    found |= self.api().delete(call, &node.id).await?;
                }
                let gone = || call.not_found();
                found.then_some(()).ok_or_else(gone)
            })
            .await?;
        self.tree.keep(name, Vec::new());
        Ok(())
    }

    async fn create_folder(&self) -> Result<()> {
        let call = Call::new(SCHEME, Operation::CreateFolder);
        self.tree.make_folder(&call).await.map(drop)
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            // What an account may use says nothing about a shared drive.
            space: self
                .api()
                .shared_drive
                .is_none()
                .then_some(self as &dyn Space),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl Space for Store {
    async fn space(&self) -> Result<Capacity> {
        let call = Call::new(SCHEME, Operation::Space);
        self.tree.folder(&call).await?;
        Ok(self.api().capacity(&call).await?)
    }
}

fn is_whole(node: &Node, body: &Body, hashes: &Hashes) -> bool {
    node.size == Some(body.len()) && node.hash == hashes.get(Algorithm::Md5)
}

const MD5: &[Algorithm] = &[Algorithm::Md5];
