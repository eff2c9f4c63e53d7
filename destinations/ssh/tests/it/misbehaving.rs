//! Servers that are rare, odd, or in trouble.

use std::sync::{Arc, Mutex};

use larder_destination::{Destination, ErrorKind};
use larder_testkit::simulators::sftp::{Scripted, Step};

use crate::{Test, names};

/// A server with a store in its folder, opened with these further options.
trait Start: Sized {
    async fn start(
        self,
        query: &str,
    ) -> std::result::Result<(Arc<Self>, Arc<dyn Destination>), Box<dyn std::error::Error>>;
}

impl Start for Scripted {
    async fn start(
        self,
        query: &str,
    ) -> std::result::Result<(Arc<Self>, Arc<dyn Destination>), Box<dyn std::error::Error>> {
        let (server, port) = self.listen().await?;
        let query = format!("ssh-accept-any-fingerprints=true{query}");
        let url = format!("ssh://ann:pw@127.0.0.1:{port}/data?{query}");
        Ok((server, crate::store(&url)?))
    }
}

#[tokio::test]
async fn a_line_that_breaks_while_sftp_begins_is_trouble_of_the_line() -> Test {
    for (step, kind, is_unanswered) in [
        (Step::Cut, ErrorKind::Network, true),
        (Step::Goodbye, ErrorKind::Network, true),
        (Step::Refused, ErrorKind::Unsupported, false),
    ] {
        let (_, store) = Scripted {
            subsystem: Mutex::new(vec![step, step, Step::Taken]),
            ..Scripted::default()
        }
        .start("")
        .await?;
        let error = names(store.as_ref()).await.err().ok_or("it was listed")?;
        assert_eq!(error.kind(), &kind, "{step:?}: {error:?}");
        assert_eq!(error.is_unanswered(), is_unanswered, "{step:?}: {error:?}");
    }
    // The next operation tries again.
    let (_, store) = Scripted {
        subsystem: Mutex::new(vec![Step::Cut, Step::Taken]),
        ..Scripted::default()
    }
    .start("")
    .await?;
    assert!(names(store.as_ref()).await.is_err());
    assert!(names(store.as_ref()).await?.is_empty());
    Ok(())
}
