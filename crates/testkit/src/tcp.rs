//! A line between a program and a server that breaks, stands still or is slow when a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Passes the connections to its port on to a server on 127.0.0.1.
#[derive(Clone, Debug)]
pub struct TcpLine {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Ends all connections when it changes.
    cuts: AtomicU64,
    /// So many of the first connections pass nothing on.
    still: AtomicU64,
    /// Cut once so many more bytes have passed; counted down.
    left: AtomicU64,
    connections: AtomicU64,
    /// Bytes a second in each direction of a connection.
    speed: AtomicU64,
}

impl TcpLine {
    /// A line to the server at this port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(target: u16) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // What a slow line holds back is held by the sender, as on a real one.
        socket.set_recv_buffer_size(16 * 1024)?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(64)?;
        let line = Self {
            port: listener.local_addr()?.port(),
            shared: Arc::new(Shared {
                cuts: AtomicU64::new(0),
                still: AtomicU64::new(0),
                left: AtomicU64::new(u64::MAX),
                connections: AtomicU64::new(0),
                speed: AtomicU64::new(u64::MAX),
            }),
        };
        let shared = Arc::clone(&line.shared);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
                    return;
                };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(Arc::clone(&shared).pass(number, near.0, far.1));
                tokio::spawn(Arc::clone(&shared).pass(number, far.0, near.1));
            }
        });
        Ok(line)
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Ends the connections that there are.
    pub fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends the connections that there are once so many more bytes have passed; [`u64::MAX`] is never.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.left.store(bytes, Ordering::SeqCst);
    }

    /// The connections that there are stand still for good; later ones work.
    pub fn stop(&self) {
        self.shared
            .still
            .store(self.connections(), Ordering::SeqCst);
    }

    /// Lets so many bytes a second pass in each direction of each connection.
    pub fn slow_down(&self, bytes_a_second: u64) {
        self.shared
            .speed
            .store(bytes_a_second.max(1), Ordering::SeqCst);
    }
}

impl Shared {
    async fn pass(self: Arc<Self>, number: u64, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let cuts = self.cuts.load(Ordering::SeqCst);
        let is_cut = || self.cuts.load(Ordering::SeqCst) != cuts;
        let mut buffer = vec![0; 16 * 1024];
        while !is_cut() {
            let speed = self.speed.load(Ordering::SeqCst);
            // A twentieth of a second at a time.
            let most = usize::try_from(speed / 20).unwrap_or(usize::MAX);
            let most = most.clamp(1, buffer.len());
            let reading = from.read(&mut buffer[..most]);
            let read = match timeout(TICK, reading).await {
                Err(_) => continue,
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(read)) => read,
            };
            while number < self.still.load(Ordering::SeqCst) && !is_cut() {
                tokio::time::sleep(TICK).await;
            }
            if is_cut() {
                return;
            }
            let before = self.left.load(Ordering::SeqCst);
            let left = match before {
                u64::MAX => u64::MAX,
                before => before.saturating_sub(read as u64),
            };
            self.left.store(left, Ordering::SeqCst);
            if left == 0 {
                self.left.store(u64::MAX, Ordering::SeqCst);
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if speed < u64::MAX / 2 {
                let micros = (read as u64).saturating_mul(1_000_000) / speed;
                tokio::time::sleep(Duration::from_micros(micros)).await;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}

/// So often it is looked whether the line is to be cut.
const TICK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// A line to a server that sends back what it gets, and a connection through it.
    async fn echo() -> std::io::Result<(TcpLine, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let line = TcpLine::to(listener.local_addr()?.port()).await?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        let stream = TcpStream::connect(("127.0.0.1", line.port())).await?;
        Ok((line, stream))
    }

    async fn sent_back(stream: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
        stream.write_all(&vec![7; bytes]).await?;
        stream.read_exact(&mut vec![0; bytes]).await.map(drop)
    }

    #[tokio::test]
    async fn it_passes_on_breaks_and_stands_still() -> std::io::Result<()> {
        let (line, mut stream) = echo().await?;
        sent_back(&mut stream, 5000).await?;
        line.cut_after(3000);
        assert!(sent_back(&mut stream, 5000).await.is_err());
        let mut stream = TcpStream::connect(("127.0.0.1", line.port())).await?;
        sent_back(&mut stream, 5000).await?;
        line.stop();
        let short = Duration::from_millis(100);
        assert!(timeout(short, sent_back(&mut stream, 1)).await.is_err());
        let mut later = TcpStream::connect(("127.0.0.1", line.port())).await?;
        sent_back(&mut later, 5000).await?;
        line.cut();
        assert!(sent_back(&mut later, 5000).await.is_err());
        assert_eq!(line.connections(), 3);
        Ok(())
    }

    #[tokio::test]
    async fn it_is_as_slow_as_it_is_told() -> std::io::Result<()> {
        let (line, mut stream) = echo().await?;
        line.slow_down(40_000);
        let begun = Instant::now();
        sent_back(&mut stream, 10_000).await?;
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(250), "{took:?}");
        Ok(())
    }
}
