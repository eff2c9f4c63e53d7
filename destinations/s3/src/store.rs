//! The destination in terms of requests.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use larder_destination::{
    Abilities, About, Body, Destination, Download, Error, ErrorKind, Existing, Extra, Operation,
    RemoteFile, Rename, Result,
};
use larder_httpkit::{Call, Payload, RetryPolicy};

use crate::api::Api;
use crate::digest::Digests;
use crate::listing::{Listing, Rules};
use crate::{SCHEME, Tuning};

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct Store {
    about: About,
    pub(crate) api: Arc<Api>,
    prefix: String,
    pub(crate) listing: Listing,
    location: Option<String>,
    pub(crate) tuning: Tuning,
}

impl Store {
    /// The store behind `prefix`, which is empty or ends with a slash.
    pub(crate) fn new(
        api: Arc<Api>,
        bucket: String,
        prefix: String,
        rules: Rules,
        location: Option<String>,
        tuning: Tuning,
    ) -> Self {
        let listing = Listing::new(Arc::clone(&api), prefix.clone(), rules);
        let folder = prefix.strip_suffix('/').unwrap_or(&prefix);
        let slash = if folder.is_empty() { "" } else { "/" };
        let about = About::new(SCHEME, format!("{SCHEME}://{bucket}{slash}{folder}"));
        let about = about.with_abilities(Abilities {
            atomic_put: true,
            exclusive_put: false,
            // Since 2020 with Amazon (https://aws.amazon.com/s3/consistency/); other servers promise nothing.
            consistent_list: api.endpoint().amazon,
            unique_names: true,
            checksummed_put: true,
        });
        Self {
            about,
            api,
            prefix,
            listing,
            location,
            tuning,
        }
    }

    /// When calls are worth repeating.
    pub(crate) fn retry(&self) -> RetryPolicy {
        self.api.retry()
    }

    /// The key of a file; names that would lie elsewhere are refused.
    fn key(&self, call: &Call, name: &str) -> Result<String> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(call.error(ErrorKind::Config, "this is not the name of a file"));
        }
        Ok(format!("{}{name}", self.prefix))
    }

    /// Sends a body in one request.
    async fn put_whole(&self, call: &Call, key: &str, body: &Body) -> Result<()> {
        let digests = &Digests::of_body(call, body).await?;
        let stored = self
            .retry()
            .run(|_| async move {
                let payload = Payload::Body(body.clone());
                let stored = self.api.put(call, key, payload, digests).await?;
                if stored.encrypted || digests.agrees_with(&stored.etag) {
                    return Ok(());
                }
                Err(call.error(
                    ErrorKind::Corrupt,
                    "the server's checksum is not that of what was sent",
                ))
            })
            .await;
        if stored
            .as_ref()
            .is_err_and(|error| *error.kind() == ErrorKind::Corrupt)
        {
            // What lies there now is damaged; that removing it may fail does not make things worse.
            let _ = self.api.delete(call, key).await;
        }
        stored
    }
}

#[async_trait]
impl Destination for Store {
    fn about(&self) -> &About {
        &self.about
    }

    fn list(&self) -> BoxStream<'_, Result<RemoteFile>> {
        self.listing.entries()
    }

    async fn get(&self, name: &str) -> Result<Download> {
        let call = &Call::on(SCHEME, Operation::Get, name);
        let key = &self.key(call, name)?;
        let reply = self
            .retry()
            .run(|_| async move { Ok(self.api.get(call, key).await?) })
            .await?;
        Ok(reply.download(call.clone()))
    }

    async fn put(&self, name: &str, body: Body, existing: Existing) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Put, name);
        let key = &self.key(call, name)?;
        if existing == Existing::Refuse && self.listing.find(call, key).await?.is_some() {
            return Err(call.error(ErrorKind::Exists, "a file of this name is there already"));
        }
        if body.len() > self.tuning.multipart_above {
            self.put_in_parts(call, key, &body).await
        } else {
            self.put_whole(call, key, &body).await
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Delete, name);
        let key = &self.key(call, name)?;
        self.retry()
            .run(|_| async move { Ok(self.api.delete(call, key).await?) })
            .await
    }

    async fn create_folder(&self) -> Result<()> {
        let call = &Call::new(SCHEME, Operation::CreateFolder);
        let endpoint = self.api.endpoint();
        // Amazon's oldest region is the one without a name.
        let wish = match &self.location {
            None if endpoint.amazon => Some(endpoint.region.as_str()),
            other => other.as_deref(),
        };
        let wish = wish.filter(|region| *region != "us-east-1");
        self.retry()
            .run(|_| async move {
                let mut outcome = self.api.create_bucket(call, wish).await;
                let refuses_location = |failure: &crate::refusal::Failure| {
                    matches!(
                        failure.code.as_str(),
                        "InvalidLocationConstraint" | "NotImplemented" | "MalformedXML"
                    )
                };
                if wish.is_some()
                    && !self.api.endpoint().amazon
                    && outcome
                        .as_ref()
                        .is_err_and(|failure| refuses_location(failure))
                {
                    outcome = self.api.create_bucket(call, None).await;
                }
                match outcome {
                    Err(failure) if failure.code == "BucketAlreadyOwnedByYou" => Ok(()),
                    other => Ok(other?),
                }
            })
            .await
    }
    fn extra(&self) -> Extra<'_> {
        Extra {
            rename: Some(self),
            ..Extra::default()
        }
    }
}

#[async_trait]
impl Rename for Store {
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = &Call::on(SCHEME, Operation::Rename, from);
        let (old, new) = (&self.key(call, from)?, &self.key(call, to)?);
        if old == new {
            // Copying onto itself is refused, and the removal would lose the file.
            let missing = || call.error(ErrorKind::NotFound, "there is no such file");
            return self
                .listing
                .find(call, old)
                .await?
                .map(drop)
                .ok_or_else(missing);
        }
        let work = |_| async move { Ok::<_, Error>(self.api.copy(call, old, new).await?) };
        self.retry().run(work).await?;
        self.retry()
            .run(|_| async move { Ok(self.api.delete(call, old).await?) })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use larder_destination::{Config, Url};
    use larder_options::Values;

    use super::*;

    fn renamer(store: &Arc<dyn Destination>) -> &dyn Rename {
        store.extra().rename.expect("objects can be renamed")
    }

    fn store(url: &str) -> Result<Arc<dyn Destination>> {
        let url = Url::parse(url, Path::new("/"))
            .map_err(|error| Error::config(SCHEME, error.to_string()))?;
        let config = Config::with_options(
            url,
            Values::new(),
            PathBuf::from("/"),
            crate::PROVIDER.options,
        );
        Ok(crate::open(&config, Tuning::default())?.destination)
    }

    #[tokio::test]
    async fn names_that_leave_the_folder_are_refused_before_anything_is_sent() -> Result<()> {
        let store = store("s3://AK:SK@b/p?s3-server-name=127.0.0.1%3A1")?;
        for name in ["", ".", "..", "a/b", "/a", "a\0"] {
            let refused = [
                store.delete(name).await,
                store.get(name).await.map(drop),
                store
                    .put(name, Body::from_bytes("x"), Existing::Replace)
                    .await,
                renamer(&store).rename("a", name).await,
                renamer(&store).rename(name, "a").await,
            ];
            for outcome in refused {
                assert!(
                    outcome.is_err_and(|error| *error.kind() == ErrorKind::Config),
                    "{name:?}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn only_amazon_promises_consistent_listings() -> Result<()> {
        assert!(store("s3://AK:SK@b/p")?.about().abilities.consistent_list);
        assert!(
            !store("s3://AK:SK@b/p?s3-server-name=h")?
                .about()
                .abilities
                .consistent_list
        );
        Ok(())
    }
}
