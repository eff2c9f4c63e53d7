//! Uploads in pieces, against sessions that lose replies, pieces and themselves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use larder_destination::{Body, ErrorKind, Operation, Result, Tools};
use larder_httpkit::authorize::Anonymous;
use larder_httpkit::{
    Call, Chunked, Outcome, Part, RetryPolicy, Service, Session, Settings, plain,
};

use crate::Test;

/// What goes wrong with the n-th piece that is sent.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing arrives.
    Lost,
    /// It arrives, the reply does not.
    ReplyLost,
    /// The first half arrives, and the server says so.
    Half,
    /// It is refused for good.
    Refused,
    /// The server says it has nothing at all any more.
    Forgotten,
    /// It takes for ever.
    Stuck,
}

#[derive(Default)]
struct Server {
    content: Vec<u8>,
    sent: usize,
    finished: bool,
    aborted: bool,
}

struct Offsets {
    server: Mutex<Server>,
    faults: Vec<(usize, Fault)>,
}

impl Offsets {
    fn new(faults: &[(usize, Fault)]) -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::default(),
            faults: faults.to_vec(),
        })
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Session for Offsets {
    async fn send(&self, call: &Call, part: &Part) -> Outcome<u64> {
        let fault = {
            let mut server = self.server();
            let fault = self.faults.iter().find(|(at, _)| *at == server.sent);
            let fault = fault.map(|(_, fault)| *fault);
            server.sent += 1;
            assert_eq!(server.content.len() as u64, part.offset, "in order");
            let len = match fault {
                None | Some(Fault::ReplyLost) => part.bytes.len(),
                Some(Fault::Half) => part.bytes.len() / 2,
                Some(_) => 0,
            };
            server.content.extend_from_slice(&part.bytes[..len]);
            fault
        };
        match fault {
            None | Some(Fault::Half) => Ok(self.server().content.len() as u64),
            Some(Fault::Lost | Fault::ReplyLost) => {
                Err(call.error(ErrorKind::Network, "cut").into())
            }
            Some(Fault::Refused) => Err(call.error(ErrorKind::Denied, "no").into()),
            Some(Fault::Forgotten) => {
                self.server().content.clear();
                Err(call.error(ErrorKind::Network, "cut").into())
            }
            Some(Fault::Stuck) => std::future::pending().await,
        }
    }

    async fn resume(&self, _: &Call, _: &Part) -> Outcome<u64> {
        Ok(self.server().content.len() as u64)
    }

    async fn finish(&self, _: &Call) -> Result<()> {
        self.server().finished = true;
        Ok(())
    }

    async fn abort(&self, _: &Call) {
        self.server().aborted = true;
    }
}

fn service() -> Result<Service> {
    let settings = Settings {
        retry: RetryPolicy {
            first: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        ..Settings::default()
    };
    Service::new(
        "test",
        &settings,
        Arc::new(Anonymous),
        plain,
        &Tools::system(),
    )
}

async fn put(session: &Arc<Offsets>, body: &Body) -> Result<()> {
    let cut = Chunked {
        part_len: 10,
        at_once: 1,
    };
    let call = Call::on("test", Operation::Put, "a");
    cut.put(
        &service()?,
        &call,
        body,
        Arc::clone(session) as Arc<dyn Session>,
    )
    .await
}

fn content(len: u8) -> Vec<u8> {
    (0..len).collect()
}

#[tokio::test]
async fn faults_on_the_way_are_mended() -> Test {
    let harmless = [Fault::Lost, Fault::ReplyLost, Fault::Half];
    for len in [0, 1, 9, 10, 11, 35] {
        for fault in harmless {
            for at in 0..4 {
                let session = Offsets::new(&[(at, fault), (at + 1, Fault::Lost)]);
                put(&session, &Body::from_bytes(content(len))).await?;
                let server = session.server();
                assert_eq!(server.content, content(len));
                assert!(server.finished && !server.aborted);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_mended_is_removed() -> Test {
    for (fault, kind) in [
        (Fault::Refused, ErrorKind::Denied),
        (Fault::Forgotten, ErrorKind::Exists),
    ] {
        let session = Offsets::new(&[(2, fault)]);
        let failed = put(&session, &Body::from_bytes(content(35))).await;
        assert!(failed.is_err_and(|error| *error.kind() == kind));
        assert!(session.server().aborted && !session.server().finished);
    }
    let three = [(1, Fault::Lost), (2, Fault::Lost), (3, Fault::Lost)];
    let session = Offsets::new(&three);
    let failed = put(&session, &Body::from_bytes(content(35))).await;
    assert!(failed.is_err_and(|error| *error.kind() == ErrorKind::Network));
    assert!(session.server().aborted);
    Ok(())
}

#[tokio::test]
async fn a_wrong_source_is_never_made_a_file() -> Test {
    for cut in [0, 10, 34] {
        let session = Offsets::new(&[]);
        let body = Body::from_bytes(content(35)).cut_after(cut);
        assert!(put(&session, &body).await.is_err());
        assert!(session.server().aborted && !session.server().finished);
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_upload_is_removed() -> Test {
    let session = Offsets::new(&[(1, Fault::Stuck)]);
    let body = Body::from_bytes(content(35));
    let put = put(&session, &body);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), put)
            .await
            .is_err()
    );
    for _ in 0..100 {
        if session.server().aborted {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err("it was not removed".into())
}
