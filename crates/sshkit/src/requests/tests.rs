//! A channel to a server in memory that answers as it is told.

use std::collections::BTreeMap;

use bytes::Buf;
use futures_util::{StreamExt, TryStreamExt};
use larder_destination::{Body, Call, ErrorKind, Operation};
use tokio::io::DuplexStream;
use tokio::sync::Notify;

use super::*;
use crate::opened::Unwritten;
use crate::sftp::{How, Sftp, Times};

/// A server with files that may be read, and what it was asked.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    /// What it answers to each write, without a text.
    write: u32,
    /// The types of the requests.
    asked: Mutex<Vec<u8>>,
    /// Opening waits for that.
    open: Option<Arc<Notify>>,
    /// How long the line takes for an answer to a read.
    slow: Duration,
}

/// No handle has to be a text.
const HANDLE: &[u8] = &[0xff, 0, 0xfe];

impl Server {
    fn asked(&self, kind: u8) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|asked| **asked == kind).count()
    }

    fn answer(&self, kind: u8, mut rest: Bytes) -> Packet {
        let status = |code| Packet::new(wire::STATUS).u32(code);
        let take = |rest: &mut Bytes| {
            let len = rest.get_u32() as usize;
            rest.split_to(len)
        };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(kind);
        let name = String::from_utf8_lossy(&take(&mut rest)).into_owned();
        match kind {
            wire::STAT => match self.files.get(&name) {
                Some(content) => Packet::new(wire::ATTRS).u32(1).u64(content.len() as u64),
                None => status(10),
            },
            wire::OPEN => Packet::new(wire::HANDLE).bytes(HANDLE),
            wire::READ => {
                let (at, len) = (rest.get_u64() as usize, rest.get_u32() as usize);
                let content = self.files.values().next().map_or(&[][..], Vec::as_slice);
                // Fewer bytes than wanted.
                let len = len.min(20_000);
                match content.get(at..content.len().min(at + len)) {
                    Some(piece) if !piece.is_empty() => Packet::new(wire::DATA).bytes(piece),
                    _ => status(1),
                }
            }
            wire::WRITE => status(self.write),
            _ => status(0),
        }
    }

    async fn serve(self: Arc<Self>, mut stream: DuplexStream) -> Option<()> {
        packet(&mut stream).await?;
        let version = Packet::new(wire::VERSION_REPLY).finish(3);
        stream.write_all(&version).await.ok()?;
        loop {
            let mut request = packet(&mut stream).await?;
            let (kind, number) = (request.get_u8(), request.get_u32());
            if let (wire::OPEN, Some(open)) = (kind, &self.open) {
                open.notified().await;
            }
            if kind == wire::READ {
                tokio::time::sleep(self.slow).await;
            }
            let answer = self.answer(kind, request).finish(number);
            stream.write_all(&answer).await.ok()?;
        }
    }
}

const TIMES: Times = Times {
    short: Some(Duration::from_secs(30)),
    list: Some(Duration::from_secs(30)),
    stall: Some(Duration::from_secs(30)),
};

async fn channel(server: Server) -> Outcome<(Arc<Server>, Arc<Sftp>)> {
    let server = Arc::new(server);
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(Arc::clone(&server).serve(far));
    let pulse = Pulse::new();
    let near = Watched::new(near, Felt::Line, Arc::clone(&pulse));
    let sftp = Sftp::start(near, TIMES, Shared::new(pulse), None).await?;
    Ok((server, Arc::new(sftp)))
}

fn with_file(len: usize) -> Server {
    let content: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    Server {
        files: BTreeMap::from([("a".to_owned(), content)]),
        ..Server::default()
    }
}

const CREATE: How = How::Create {
    fresh: true,
    goes: true,
};

#[tokio::test]
async fn unknown_codes_without_text_have_a_meaning_and_harm_nothing() -> Outcome<()> {
    let call = Call::on("x", Operation::Put, "a");
    for (write, kind) in [
        (14, ErrorKind::Quota),
        (15, ErrorKind::Quota),
        (99, ErrorKind::Other),
    ] {
        let server = Server {
            write,
            ..with_file(5)
        };
        let (_, sftp) = channel(server).await?;
        let file = sftp.open("b", CREATE).await?;
        match file.store(&Body::from_bytes("12345")).await {
            Err(Unwritten::Server(failure)) => assert_eq!(failure.into_error(&call).kind(), &kind),
            other => panic!("{other:?}"),
        }
        assert_eq!(sftp.stat("a").await?.and_then(|found| found.size), Some(5));
        assert_eq!(sftp.stat("none").await?, None);
        assert!(sftp.is_alive());
    }
    Ok(())
}

#[tokio::test]
async fn readers_who_pause_hold_up_nobody() -> Outcome<()> {
    let len = 1_500_000;
    let (server, sftp) = channel(with_file(len)).await?;
    let mut paused = Vec::new();
    for _ in 0..8 {
        let mut pieces = Box::pin(sftp.open("a", How::Read).await?.read(len as u64));
        pieces.next().await.transpose()?;
        paused.push(pieces);
    }
    let pieces = sftp.open("a", How::Read).await?.read(len as u64);
    let reading = pieces.map_ok(|piece| piece.to_vec()).try_concat();
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    let read = read.map_err(|_| Failure::late())??;
    assert_eq!(Some(&read), server.files.get("a"));
    Ok(())
}

#[tokio::test]
async fn a_file_that_ends_early_is_damaged() -> Outcome<()> {
    let (_, sftp) = channel(with_file(100_000)).await?;
    let pieces = sftp.open("a", How::Read).await?.read(150_000);
    let read: Outcome<Vec<Bytes>> = pieces.try_collect().await;
    let call = Call::on("x", Operation::Get, "a");
    let kind = read
        .err()
        .map(|failure| failure.into_error(&call).kind().clone());
    assert_eq!(kind, Some(ErrorKind::Corrupt));
    Ok(())
}

#[tokio::test]
async fn what_is_given_up_while_it_is_opened_goes_again() -> Outcome<()> {
    let open = Arc::new(Notify::new());
    let server = Server {
        open: Some(Arc::clone(&open)),
        ..Server::default()
    };
    let (server, sftp) = channel(server).await?;
    let opening = sftp.open("b", CREATE);
    let short = Duration::from_millis(50);
    assert!(tokio::time::timeout(short, opening).await.is_err());
    open.notify_one();
    for _ in 0..200 {
        if server.asked(wire::REMOVE) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.asked(wire::CLOSE), 1);
    assert_eq!(server.asked(wire::REMOVE), 1);
    Ok(())
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() -> Outcome<()> {
    let (server, sftp) = channel(Server::default()).await?;
    let file = sftp.open("b", CREATE).await?;
    let body = Body::from_bytes(vec![7; 900_000]).cut_after(300_000);
    assert!(matches!(file.store(&body).await, Err(Unwritten::Body(_))));
    for _ in 0..200 {
        if server.asked(wire::REMOVE) == 1 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::Strange("it was not removed".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_on_a_silent_line_is_remembered() -> Outcome<()> {
    let server = Server {
        open: Some(Arc::new(Notify::new())),
        ..Server::default()
    };
    let (_, sftp) = channel(server).await?;
    let asking = sftp
        .requests
        .ask(TIMES.short, Packet::new(wire::OPEN).text("a"));
    let given_up = tokio::time::timeout(Duration::from_secs(1), asking).await;
    assert!(given_up.is_err());
    assert!(!sftp.is_alive());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_server_ends_all_waits() -> Outcome<()> {
    let (near, far) = tokio::io::duplex(1024);
    let serving = tokio::spawn(Arc::new(Server::default()).serve(far));
    let shared = Shared::new(Pulse::new());
    let sftp = Sftp::start(near, TIMES, shared, None).await?;
    serving.abort();
    let _ = serving.await;
    assert!(sftp.stat("a").await.is_err_and(|failure| failure.is_loss()));
    assert!(!sftp.is_alive());
    Ok(())
}

/// 20,000 bytes every 12 seconds: what is asked for ahead of a piece takes longer than ten times the silence allowed.
#[tokio::test(start_paused = true)]
async fn a_download_over_the_slowest_line_ends() -> Outcome<()> {
    let len = 1_500_000;
    let (server, sftp) = channel(Server {
        slow: Duration::from_secs(12),
        ..with_file(len)
    })
    .await?;
    let begun = Instant::now();
    let pieces = sftp.open("a", How::Read).await?.read(len as u64);
    let read = pieces.map_ok(|piece| piece.to_vec()).try_concat().await?;
    assert!(begun.elapsed() > Duration::from_secs(900));
    assert_eq!(Some(&read), server.files.get("a"));
    Ok(())
}
