//! A destination that nothing can be changed in.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{
    About, Body, Destination, Download, Error, ErrorKind, Existing, Extra, Lock, Operation,
    RemoteFile, Result,
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
        Error::new(
            ErrorKind::Denied,
            self.inner.about().scheme,
            operation,
            message,
        )
        .object(name)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Destination for ReadOnly {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        self.inner.list()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, _body: Body, _existing: Existing) -> Result<()> {
        Err(self.refuse(Operation::Put, name))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        Err(self.refuse(Operation::Delete, name))
    }

    async fn create_folder(&self) -> Result<()> {
        Err(self.refuse(Operation::CreateFolder, ""))
    }

    fn extra(&self) -> Extra<'_> {
        let inner = self.inner.extra();
        Extra {
            space: inner.space,
            lock: inner.lock.map(|_| self as &dyn Lock),
            ..Extra::default()
        }
    }
}

/// Tells of locks and makes none.
#[async_trait]
impl Lock for ReadOnly {
    async fn lock(&self, name: &str, _until: i64) -> Result<()> {
        Err(self.refuse(Operation::Lock, name))
    }

    async fn locked_until(&self, name: &str) -> Result<Option<i64>> {
        let scheme = self.inner.about().scheme;
        let verb = self.inner.extra().lock;
        let verb = verb.ok_or_else(|| Error::unsupported(scheme, Operation::LockedUntil))?;
        verb.locked_until(name).await
    }
}
