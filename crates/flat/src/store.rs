//! The destination over the files of a store.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use larder_destination::{
    About, Body, Call, Capacity, Destination, Download, ErrorKind, Existing, Extra, Leftovers,
    Operation, Ours, Random, RemoteFile, Rename, Result, Space,
};

use crate::files::Files;
use crate::folder::Folder;

/// A destination made of [`Files`].
///
/// A file is stored under a temporary name and renamed when it is whole. What becomes of a rename whose answer is lost is
/// found out, a file that cannot be replaced in one step is moved aside, and back where the run was ended in between;
/// servers without renames get files at once. What ended runs left goes after a day by the server's clock.
pub struct Store<F> {
    folder: Folder<F>,
    about: About,
    tells_space: bool,
}

impl<F: Files> Store<F> {
    /// The destination whose files these are; `random` is for temporary names.
    pub fn new(files: F, about: About, random: Arc<dyn Random>) -> Self {
        Self {
            folder: Folder::new(files, random),
            about,
            tells_space: true,
        }
    }

    /// The same where the protocol has no words for the room that is left.
    #[must_use]
    pub fn without_space(mut self) -> Self {
        self.tells_space = false;
        self
    }

    fn files(&self) -> &F {
        self.folder.files()
    }

    fn call(&self, operation: Operation) -> Call {
        Call::new(self.about.scheme, operation)
    }

    fn call_on(&self, operation: Operation, name: &str) -> Result<Call> {
        Call::on_file(self.about.scheme, operation, name)
    }
}

#[async_trait]
impl<F: Files> Destination for Store<F> {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        let call = self.call(Operation::List);
        stream::once(async move { self.folder.list(&call).await })
            .try_flatten()
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = self.call_on(Operation::Get, name)?;
        self.files().get(&call, name).await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = self.call_on(Operation::Put, name)?;
        self.folder.put(&call, body, existing).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = self.call_on(Operation::Delete, name)?;
        self.files().remove(&call, name).await
    }

    async fn create_folder(&self) -> Result<()> {
        let call = self.call(Operation::CreateFolder);
        self.files().make_folder(&call).await
    }

    fn extra(&self) -> Extra<'_> {
        Extra {
            space: self.tells_space.then_some(self),
            rename: Some(self),
            leftovers: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl<F: Files> Space for Store<F> {
    async fn space(&self) -> Result<Capacity> {
        let call = self.call(Operation::Space);
        let space = self.files().space(&call).await?;
        space.ok_or_else(|| {
            let text = "the server does not tell how much room there is";
            call.error(ErrorKind::Unsupported, text)
        })
    }
}

#[async_trait]
impl<F: Files> Rename for Store<F> {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = self.call_on(Operation::Rename, from)?;
        self.call_on(Operation::Rename, to)?;
        self.folder.rename(&call, to).await
    }
}

#[async_trait]
impl<F: Files> Leftovers for Store<F> {
    async fn remove_leftovers(&self, _: Ours<'_>) -> Result<u64> {
        let call = self.call(Operation::RemoveLeftovers);
        self.folder.remove_leftovers(&call).await
    }
}
