//! The line to a server in memory that counts what it is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use larder_destination::Operation;

use super::*;

#[derive(Default)]
struct Server {
    connections: AtomicUsize,
    channels: AtomicUsize,
    asked: AtomicUsize,
    /// More than so many connections, or channels of one, are refused.
    most_connections: Option<usize>,
    most_channels: Option<usize>,
    refuses: bool,
    /// All that there is breaks down.
    broken: AtomicUsize,
    is_silent: AtomicBool,
}

struct Link(Arc<Server>, usize);
struct Channel(Arc<Server>, usize);

impl Server {
    fn is_broken(&self, number: usize) -> bool {
        number <= self.broken.load(Ordering::SeqCst)
    }

    fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.connections), count(&self.channels))
    }
}

#[async_trait]
impl Connection for Link {
    type Settings = Arc<Server>;
    type Channel = Channel;

    async fn open(call: &Call, server: &Arc<Self::Settings>) -> Result<Self> {
        let number = server.connections.fetch_add(1, Ordering::SeqCst) + 1;
        if server.refuses {
            return Err(call.error(ErrorKind::SignInNeeded, "no"));
        }
        if server.most_connections.is_some_and(|most| number > most) {
            return Err(call.error(ErrorKind::Network, "enough"));
        }
        Ok(Self(Arc::clone(server), number))
    }

    async fn channel(&self, call: &Call) -> Result<Channel> {
        let number = self.0.channels.fetch_add(1, Ordering::SeqCst) + 1;
        if self.0.most_channels.is_some_and(|most| number > most) {
            return Err(call.error(ErrorKind::Network, "enough"));
        }
        Ok(Channel(Arc::clone(&self.0), self.1))
    }

    fn is_lost(&self) -> bool {
        self.0.is_broken(self.1)
    }

    fn is_dead(channel: &Channel) -> bool {
        channel.0.is_broken(channel.1)
    }

    async fn answers(channel: &Channel) -> bool {
        channel.0.asked.fetch_add(1, Ordering::SeqCst);
        !channel.0.is_silent.load(Ordering::SeqCst)
    }
}

const SHARED: Shape = Shape {
    connections: 1,
    channels: 2,
    is_shared: true,
};
const OWN: Shape = Shape {
    connections: 3,
    channels: 1,
    is_shared: false,
};

fn line(server: Server, shape: Shape) -> (Arc<Server>, Line<Link>) {
    let server = Arc::new(server);
    (Arc::clone(&server), Line::new(server, shape))
}

fn call() -> Call {
    Call::new("x", Operation::List)
}

#[tokio::test]
async fn channels_are_used_again_and_shared() -> Result<()> {
    let (server, line) = line(Server::default(), SHARED);
    for _ in 0..3 {
        line.channel(&call()).await?;
    }
    assert_eq!(server.counts(), (1, 1));
    let first = line.channel(&call()).await?;
    let second = line.channel(&call()).await?.shared();
    let third = line.channel(&call()).await?;
    assert_eq!(server.counts(), (1, 2));
    drop((first, second, third));
    Ok(())
}

#[tokio::test]
async fn a_server_of_one_channel_shares_it() -> Result<()> {
    let server = Server {
        most_channels: Some(1),
        ..Server::default()
    };
    let (server, line) = line(server, SHARED);
    let all = [line.channel(&call()).await?, line.channel(&call()).await?];
    let third = line.channel(&call()).await?;
    assert!(Arc::ptr_eq(&all[0].shared(), &third.shared()));
    // It is asked for a second one once.
    assert_eq!(server.counts(), (1, 2));
    Ok(())
}

#[tokio::test]
async fn channels_of_ones_own_are_waited_for() -> Result<()> {
    for (most, allowed) in [(None, 3), (Some(2), 2)] {
        let server = Server {
            most_connections: most,
            ..Server::default()
        };
        let (_, line) = line(server, OWN);
        let mut held = Vec::new();
        for _ in 0..allowed {
            held.push(line.channel(&call()).await?);
        }
        let short = Duration::from_millis(50);
        let next = tokio::time::timeout(short, line.channel(&call())).await;
        assert!(next.is_err(), "{allowed}");
        drop(held.pop());
        line.channel(&call()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_asked_for_once() {
    let server = Server {
        refuses: true,
        ..Server::default()
    };
    let (server, line) = line(server, SHARED);
    for _ in 0..3 {
        let error = line.channel(&call()).await.err();
        let kind = error.map(|error| error.kind().clone());
        assert_eq!(kind, Some(ErrorKind::SignInNeeded));
    }
    assert_eq!(server.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn lost_connections_are_made_again() -> Result<()> {
    for shape in [SHARED, OWN] {
        let (server, line) = line(Server::default(), shape);
        line.channel(&call()).await?;
        server.broken.store(1, Ordering::SeqCst);
        line.channel(&call()).await?;
        assert_eq!(server.counts().0, 2);
        // After a silence it is asked first.
        tokio::time::advance(IDLE + Duration::from_secs(1)).await;
        line.channel(&call()).await?;
        assert_eq!(server.counts().0, 2);
        server.is_silent.store(true, Ordering::SeqCst);
        tokio::time::advance(IDLE + Duration::from_secs(1)).await;
        line.channel(&call()).await?;
        assert_eq!(server.counts().0, 3);
        assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    }
    Ok(())
}
