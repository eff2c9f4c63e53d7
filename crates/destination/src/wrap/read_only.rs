//! A destination that nothing can be changed in.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{
    Abilities, Body, Destination, Download, Error, ErrorKind, Operation, RemoteFile, Result, Space,
};

/// Lets reading through and refuses everything else with [`ErrorKind::Denied`].
pub struct ReadOnly {
    inner: Arc<dyn Destination>,
}

impl ReadOnly {
    /// Protects `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Destination>) -> Self {
        Self { inner }
    }

    fn refuse(&self, operation: Operation, name: &str) -> Error {
        let message = "this command opens the destination for reading only";
        Error::new(ErrorKind::Denied, self.inner.scheme(), operation, message).object(name)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Destination for ReadOnly {
    fn scheme(&self) -> &'static str {
        self.inner.scheme()
    }

    fn display(&self) -> String {
        self.inner.display()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            rename: false,
            ..self.inner.abilities()
        }
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        self.inner.list()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, _body: Body) -> Result<()> {
        Err(self.refuse(Operation::Put, name))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        Err(self.refuse(Operation::Delete, name))
    }

    async fn create_folder(&self) -> Result<()> {
        Err(self.refuse(Operation::CreateFolder, ""))
    }

    async fn test(&self) -> Result<()> {
        self.inner.test().await
    }

    async fn space(&self) -> Result<Space> {
        self.inner.space().await
    }

    async fn rename(&self, from: &str, _to: &str) -> Result<()> {
        Err(self.refuse(Operation::Rename, from))
    }
}
