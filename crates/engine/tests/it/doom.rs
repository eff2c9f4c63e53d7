//! A destination that ends the world at a chosen call, for tests of what a killed process leaves behind.

use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use larder_destination::{
    About, Body, Destination, Download, Error, ErrorKind, Existing, Extra, Operation, RemoteFile,
    Result,
};
use larder_testkit::MemoryDestination;

use crate::rig::{Rig, copy_folder};

/// How far the last call before the end of the process gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// Nothing of it arrives.
    Not,
    /// A put leaves a torn file; other calls do not arrive. Destinations should not do that, some do.
    Half,
    /// It is done, but nobody hears of it.
    Whole,
}

/// Lets the world end at one call: destination and local state are copied as they are, and nothing works any more.
pub struct Doom {
    inner: MemoryDestination,
    at: u64,
    reach: Reach,
    state: PathBuf,
    saved: PathBuf,
    calls: Mutex<u64>,
    after: Mutex<Option<MemoryDestination>>,
}

impl Doom {
    /// Ends the world of `rig` at call `at`; the local state as it is then goes to `saved`.
    pub fn new(rig: &Rig, at: u64, reach: Reach, saved: PathBuf) -> Self {
        Self {
            inner: rig.store.clone(),
            at,
            reach,
            state: rig.state_folder(),
            saved,
            calls: Mutex::default(),
            after: Mutex::default(),
        }
    }

    /// The destination as it was at the end; `None` when the call did not come.
    pub fn what_is_left(&self) -> Option<MemoryDestination> {
        self.after.lock().unwrap().clone()
    }

    fn is_now(&self) -> Result<bool> {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        if *calls > self.at {
            return Err(self.gone(Operation::Get));
        }
        Ok(*calls == self.at)
    }

    fn end(&self, operation: Operation) -> Error {
        copy_folder(&self.state, &self.saved);
        *self.after.lock().unwrap() = Some(self.inner.snapshot());
        self.gone(operation)
    }

    fn gone(&self, operation: Operation) -> Error {
        Error::new(ErrorKind::Cancelled, "memory", operation, "the end")
    }
}

#[async_trait]
impl Destination for Doom {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        match self.is_now() {
            Ok(false) => self.inner.list(),
            Ok(true) => stream::iter([Err(self.end(Operation::List))]).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn get(&self, name: &str) -> Result<Download> {
        if self.is_now()? {
            return Err(self.end(Operation::Get));
        }
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        if !self.is_now()? {
            return self.inner.put(name, body, existing).await;
        }
        match self.reach {
            Reach::Not => {}
            Reach::Whole => self.inner.put(name, body, existing).await?,
            Reach::Half => {
                let bytes = body.as_bytes().expect("small volumes are in memory");
                self.inner.insert(name, bytes.slice(..bytes.len() / 2));
            }
        }
        Err(self.end(Operation::Put))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let last = self.is_now()?;
        if !last || self.reach == Reach::Whole {
            self.inner.delete(name).await?;
        }
        if last {
            return Err(self.end(Operation::Delete));
        }
        Ok(())
    }

    async fn create_folder(&self) -> Result<()> {
        let last = self.is_now()?;
        if !last || self.reach == Reach::Whole {
            self.inner.create_folder().await?;
        }
        if last {
            return Err(self.end(Operation::CreateFolder));
        }
        Ok(())
    }

    fn extra(&self) -> Extra<'_> {
        self.inner.extra()
    }
}
