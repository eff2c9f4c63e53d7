//! What a destination makes of a server that misbehaves: every trouble for every verb, over a real connection.
//!
//! A provider that speaks HTTP describes its protocol in a [`Dialect`] of some fifty lines: which request is which verb,
//! a good answer, a refusal, a page that names another. [`run`] then makes trouble for one verb after the other. It holds
//! that no trouble is success, that its kind leads to the right help, that retries end and waits are capped, that no
//! answer fills the memory, and that no secret shows in an error, even when the server sends it back.

mod cases;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use larder_destination::{
    Body, Destination, ErrorKind, Existing, Operation, Provider, Result, Tools,
};

use crate::behaviour::Summary;
use crate::simulators::{Answer, Request, Server, Simulator, Trouble};

/// The protocol of a provider, as far as the troubles need it. The folder holds one file, `a`, with the content `x`, and
/// takes others.
pub struct Dialect {
    /// The provider.
    pub provider: &'static Provider,
    /// The storage URL, with its secrets, where `{server}` stands for `127.0.0.1:port`. The suite adds [`TIMEOUTS`].
    pub url: &'static str,
    /// What must never show: passwords, tokens, keys, as they were given.
    pub secrets: &'static [&'static str],
    /// The verb whose main request this is, by method, path, query and headers; `None` for what goes along with it, such
    /// as signing in.
    pub verb: fn(&Request) -> Option<Operation>,
    /// The good answer to a request and what `verb` makes of it, where [`usual`] is not it.
    pub good: fn(Option<Operation>, &Request) -> Option<Answer>,
    /// A refusal by status, the service's code for it (empty: the status says it all) and a reason for people.
    pub refusal: fn(u16, &str, &str) -> Answer,
    /// A good page of a listing, without files, that names this as the next one; `None` for a protocol without pages.
    pub page: Option<fn(&str) -> Answer>,
    /// How the service says it, for the cases that ask for a kind of error.
    pub says: &'static [Saying],
    /// Kinds that are right for a status besides the usual ones.
    pub also: &'static [(Operation, u16, ErrorKind)],
    /// Cases that do not apply: on each line the name of one (`get: cut`), a bar and the reason.
    pub skips: &'static str,
}

/// A verb, the kind of error it is to end with, and the status and code of the refusal that says so.
pub type Saying = (Operation, ErrorKind, u16, &'static str);

/// Options that a URL gets: time-outs of a second, and a bound of whole listings, in which pauses are made.
pub const TIMEOUTS: &str = "short-timeout=1&read-write-timeout=1&list-timeout=6";

/// What most servers answer.
#[must_use]
pub fn usual(request: &Request) -> Answer {
    match request.method.as_str() {
        "GET" => Answer::text(200, "application/octet-stream", "x"),
        "HEAD" => Answer::empty(404),
        "DELETE" => Answer::empty(204),
        _ => Answer::empty(201),
    }
}

impl Dialect {
    fn open(&self, server: &str) -> Result<Arc<dyn Destination>> {
        let url = self.url.replace("{server}", server);
        let joint = if url.contains('?') { '&' } else { '?' };
        let opened = self
            .provider
            .open_url(&format!("{url}{joint}{TIMEOUTS}"), &Tools::system());
        Ok(opened?.destination)
    }
}

/// Runs all cases, many at once since most of them wait; needs the runtime of tokio.
pub async fn run(dialect: &'static Dialect) -> Summary {
    let mut summary = Summary::default();
    let lines = dialect
        .skips
        .lines()
        .filter_map(|line| line.split_once('|'));
    let mut skips: BTreeMap<&str, &str> = lines
        .map(|(name, reason)| (name.trim(), reason.trim()))
        .collect();
    let mut running = Vec::new();
    for case in cases::all() {
        let name = case.to_string();
        if let Some(reason) = skips.remove(name.as_str()) {
            summary.skip(name, reason);
        } else {
            let work = async move { case.run(&Bench::start(dialect).await?).await };
            running.push(async move {
                let mut summary = Summary::default();
                summary.take(name, LONGEST_CASE, work).await;
                summary
            });
        }
    }
    let mut outcomes = stream::iter(running).buffered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
        summary.add(outcome);
    }
    for (name, _) in skips {
        summary.fail(name, "a reason is given for a case that does not exist");
    }
    summary
}

/// Cases that run at the same time.
const AT_ONCE: usize = 24;
/// No trouble may hold up an operation for longer, with time-outs of a second.
const LONGEST_CASE: Duration = Duration::from_secs(60);

/// One case at work: a server with nothing but good answers until something is ordered, and a destination at it.
struct Bench {
    order: Arc<Ordered>,
    server: Server,
    store: Arc<dyn Destination>,
}

impl Bench {
    async fn start(dialect: &'static Dialect) -> std::result::Result<Self, String> {
        let order = Arc::new(Ordered {
            dialect,
            order: Mutex::default(),
            seen: Mutex::default(),
            puts: AtomicUsize::new(0),
        });
        let simulator = Arc::clone(&order) as Arc<dyn Simulator>;
        let server = Server::start(simulator, "127.0.0.1:0", None)
            .await
            .map_err(|error| error.to_string())?;
        let opened = order.dialect.open(&server.address());
        let store = opened.map_err(|error| format!("it cannot be opened: {error}"))?;
        Ok(Self {
            order,
            server,
            store,
        })
    }

    /// Makes trouble for the next `times` main requests of a verb.
    fn order(&self, verb: Operation, times: usize, effect: Effect) {
        *lock(&self.order.order) = Some(Order {
            verb,
            times,
            effect,
            applied: 0,
        });
    }

    /// Main requests that the order was applied to.
    fn applied(&self) -> usize {
        lock(&self.order.order)
            .as_ref()
            .map_or(0, |order| order.applied)
    }

    /// Requests of a put that arrived with their whole content.
    fn puts(&self) -> usize {
        self.order.puts.load(Ordering::Relaxed)
    }

    /// Puts a file, the content of which may break off.
    async fn put(&self, cut_after: Option<u64>) -> Result<String> {
        let mut body = Body::from_bytes("content");
        if let Some(bytes) = cut_after {
            body = body.cut_after(bytes);
        }
        let put = self.store.put("b", body, Existing::Refuse).await;
        put.map(|()| String::new())
    }

    /// The names in a listing.
    async fn list(&self) -> Result<String> {
        let (mut list, mut names) = (self.store.list(), Vec::new());
        while let Some(file) = list.next().await {
            match file {
                Ok(file) => names.push(file.name),
                Err(error) if list.next().await.is_none() => return Err(error),
                // Who does not look at the error takes this for a whole listing.
                Err(_) => return Ok("more after an error".to_owned()),
            }
        }
        Ok(names.join(","))
    }

    /// Calls a verb; what was listed or read, as text.
    async fn call(&self, verb: Operation) -> Result<String> {
        match verb {
            Operation::List => self.list().await,
            Operation::Get => {
                let content = self.store.get("a").await?.bytes().await?;
                Ok(String::from_utf8_lossy(&content).into_owned())
            }
            Operation::Put => self.put(None).await,
            Operation::Delete => self.store.delete("a").await.map(|()| String::new()),
            _ => self.store.create_folder().await.map(|()| String::new()),
        }
    }

    /// Everything that no error may show: the dialect's secrets, and credentials as they went over the wire.
    fn secrets(&self) -> Vec<String> {
        let given = self.order.dialect.secrets.iter();
        let mut secrets: Vec<String> = given.map(|secret| (*secret).to_owned()).collect();
        secrets.extend(lock(&self.order.seen).iter().cloned());
        secrets
    }
}

/// What is ordered for the main requests of a verb.
struct Order {
    verb: Operation,
    times: usize,
    effect: Effect,
    applied: usize,
}

#[derive(Clone, Debug)]
enum Effect {
    /// The exchange goes wrong.
    Trouble(Trouble),
    /// Pages that name a further one, from so many different ones; 0 is a new one each time.
    Pages(usize),
    /// A refusal with this status and code.
    Says(u16, &'static str),
}

/// Answers as the dialect does, unless something is ordered.
struct Ordered {
    dialect: &'static Dialect,
    order: Mutex<Option<Order>>,
    /// Credentials that were sent.
    seen: Mutex<Vec<String>>,
    /// Main requests of a put that came whole.
    puts: AtomicUsize,
}

impl Simulator for Ordered {
    fn answer(&self, request: &Request) -> Answer {
        let verb = (self.dialect.verb)(request);
        if verb == Some(Operation::Put) && request.is_whole {
            self.puts.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(order) = lock(&self.order).as_mut()
            && verb == Some(order.verb)
            && let Effect::Says(status, code) = order.effect
        {
            order.applied += 1;
            return (self.dialect.refusal)(status, code, "no.");
        }
        if verb == Some(Operation::List)
            && let Some(order) = lock(&self.order).as_mut()
            && let Effect::Pages(different) = order.effect
        {
            order.applied += 1;
            let number = match different {
                0 => order.applied,
                different => order.applied % different,
            };
            if let Some(page) = self.dialect.page {
                return page(&number.to_string());
            }
        }
        (self.dialect.good)(verb, request).unwrap_or_else(|| usual(request))
    }

    fn refusal(&self, _: &Request, status: u16, reason: &str) -> Answer {
        (self.dialect.refusal)(status, "", reason)
    }

    fn trouble(&self, request: &Request) -> Option<Trouble> {
        for name in ["authorization", "x-authid", "cookie"] {
            let sent = request.header(name).unwrap_or_default();
            let credential = sent
                .strip_prefix("Basic ")
                .or_else(|| sent.strip_prefix("Bearer "));
            lock(&self.seen).extend(credential.map(str::to_owned));
        }
        let mut order = lock(&self.order);
        let order = order.as_mut()?;
        if order.times == 0 || (self.dialect.verb)(request) != Some(order.verb) {
            return None;
        }
        let Effect::Trouble(trouble) = &order.effect else {
            return None;
        };
        order.times -= 1;
        order.applied += 1;
        Some(trouble.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
