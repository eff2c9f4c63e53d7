//! Requests under way on one channel, and the answers that come back in any order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::failure::{Failure, Outcome, Status};
use crate::pulse::{Felt, Pulse, Watched};
use crate::wire::{self, Packet, Reply};

/// What the channels of one connection share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub pulse: Arc<Pulse>,
    /// Bytes of files that may be under way, to the server and from it.
    pub up: Arc<Semaphore>,
    pub down: Arc<Semaphore>,
}

impl Shared {
    pub fn new(pulse: Arc<Pulse>) -> Self {
        Self {
            pulse,
            up: Arc::new(Semaphore::new(UP_BYTES)),
            down: Arc::new(Semaphore::new(DOWN_BYTES)),
        }
    }
}

/// The requests of one channel.
pub(crate) struct Requests {
    pub shared: Shared,
    out: mpsc::Sender<Bytes>,
    waiting: Arc<Waiting>,
    next: AtomicU32,
    is_dead: AtomicBool,
    /// When a request was given up that the silent server had not answered.
    given_up: Mutex<Option<Instant>>,
}

/// Who waits for which answer; nothing once there will be none any more.
struct Waiting(Mutex<Option<HashMap<u32, Asked>>>);

struct Asked {
    answer: oneshot::Sender<Reply>,
    /// Given back as soon as the answer is there, whether or not anybody looks at it.
    _bytes: Option<OwnedSemaphorePermit>,
}

/// An answer that is on its way.
pub(crate) struct Answer(oneshot::Receiver<Reply>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u32, Asked>>> {
        // Each change is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requests {
    /// Begins to speak SFTP; gives the extensions that the server has.
    pub async fn start<S>(mut stream: S, shared: Shared) -> Outcome<(Self, Vec<String>)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sent = stream.write_all(&Packet::init()).await;
        sent.map_err(|_| Failure::lost())?;
        let first = packet(&mut stream).await.ok_or_else(Failure::lost)?;
        let extensions = wire::extensions(first).ok_or_else(Failure::strange)?;
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let (from, mut to) = tokio::io::split(stream);
        let mut from = Watched::new(from, Felt::Answers, Arc::clone(&shared.pulse));
        let (out, mut queue) = mpsc::channel::<Bytes>(QUEUE);
        tokio::spawn(async move {
            while let Some(packet) = queue.recv().await {
                if to.write_all(&packet).await.is_err() {
                    return;
                }
            }
            // Nobody asks any more: the server ends the channel then.
            let _ = to.shutdown().await;
        });
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(packet) = packet(&mut from).await {
                let Some((number, reply)) = Reply::parse(packet) else {
                    break;
                };
                let asked = answered.lock().as_mut().and_then(|all| all.remove(&number));
                // Who asked may have given up.
                let _ = asked.map(|asked| asked.answer.send(reply));
            }
            answered.lock().take();
        });
        let requests = Self {
            shared,
            out,
            waiting,
            next: AtomicU32::new(1),
            is_dead: AtomicBool::new(false),
            given_up: Mutex::default(),
        };
        Ok((requests, extensions))
    }

    /// False once no answer can be expected any more.
    pub fn is_alive(&self) -> bool {
        let given_up = *self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = given_up.is_some_and(|since| self.shared.pulse.last() < since);
        let is_ended = self.waiting.lock().is_none();
        !(self.is_dead.load(Ordering::Relaxed) || is_silent || is_ended)
    }

    /// Sends a request. `bytes` are those that it holds until it is answered.
    pub async fn send(
        &self,
        packet: Packet,
        bytes: Option<OwnedSemaphorePermit>,
    ) -> Outcome<Answer> {
        let place = self.out.reserve().await.map_err(|_| Failure::lost())?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let asked = Asked {
            answer,
            _bytes: bytes,
        };
        match self.waiting.lock().as_mut() {
            Some(all) => all.insert(number, asked),
            None => return Err(Failure::lost()),
        };
        place.send(packet.finish(number));
        Ok(Answer(receiver))
    }

    /// Waits for an answer, at most as long as the line may be silent.
    pub async fn answer(&self, limit: Option<Duration>, answer: Answer) -> Outcome<Reply> {
        self.unless_silent(limit, async {
            match answer.0.await {
                Ok(Reply::Status(code, text)) if code != Status::OK => {
                    Err(Failure::status(code, &text))
                }
                Ok(Reply::Strange) => Err(Failure::strange()),
                Ok(reply) => Ok(reply),
                Err(_) => Err(Failure::lost()),
            }
        })
        .await
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&self, limit: Option<Duration>, packet: Packet) -> Outcome<Reply> {
        let sent = self.unless_silent(limit, self.send(packet, None)).await?;
        self.answer(limit, sent).await
    }

    /// Asks for something that is only done or not.
    pub async fn tell(&self, limit: Option<Duration>, packet: Packet) -> Outcome<()> {
        match self.ask(limit, packet).await? {
            Reply::Status(..) => Ok(()),
            _ => Err(Failure::strange()),
        }
    }

    /// Waits for a step of a request, at most as long as the line may be silent.
    pub async fn unless_silent<T>(
        &self,
        limit: Option<Duration>,
        step: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let mut watch = Watch(Some(self));
        let done = self.shared.pulse.unless_silent(limit, step).await;
        watch.0 = None;
        let done = done.unwrap_or_else(|| Err(Failure::late()));
        if done.as_ref().is_err_and(Failure::is_loss) {
            self.is_dead.store(true, Ordering::Relaxed);
        }
        done
    }
}

/// Notes that a wait was given up while the line was silent: another operation had better take another connection.
struct Watch<'r>(Option<&'r Requests>);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(requests) = self.0
            && requests.shared.pulse.last().elapsed() > SILENCE
        {
            let given_up = requests.given_up.lock();
            *given_up.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// The next packet without its length; nothing when there is none any more.
async fn packet(from: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
    let len = usize::try_from(from.read_u32().await.ok()?).ok()?;
    if !(1..=LONGEST_PACKET).contains(&len) {
        return None;
    }
    let mut packet = vec![0; len];
    from.read_exact(&mut packet).await.ok()?;
    Some(Bytes::from(packet))
}

/// Bytes of files under way to the server: what 64 KiB a second bring over in 16 seconds, and what a line of 80 Mbit/s
/// and a tenth of a second there and back needs.
const UP_BYTES: usize = 1024 * 1024;
/// Bytes of files under way from the server, which are asked for with few bytes.
const DOWN_BYTES: usize = 4 * 1024 * 1024;
/// Packets that are made and not sent.
const QUEUE: usize = 64;
/// OpenSSH sends 256 KiB at most, others keep to 34,000 bytes (draft-ietf-secsh-filexfer-02, section 3).
const LONGEST_PACKET: usize = 1024 * 1024;
/// A line that was so long silent when a wait was given up is not trusted until something moves again.
const SILENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
