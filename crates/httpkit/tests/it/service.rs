//! What a service makes of a server that misbehaves: pauses, redirects, replies without end, echoed secrets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use larder_destination::{
    Body, Error, ErrorKind, LONGEST_WAIT, Operation, Result, Tools, Wait as Pause, WaitListener,
};
use larder_httpkit::authorize::{Anonymous, Bearer};
use larder_httpkit::http::{Method, Url};
use larder_httpkit::{
    Algorithm, Authorize, Call, Outcome, Proxy, Redirects, Request, RetryPolicy, Service, Settings,
    Tap, Timeouts, Wait, plain,
};
use larder_options::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Test;

/// What the server does with one connection after it has read the request.
#[derive(Clone, Debug)]
enum Step {
    /// Sends this.
    Say(String),
    /// Sends the head, then one byte every 100 milliseconds without end.
    Drip(&'static str),
    /// Sends the head, then bytes without end as fast as they go.
    Flood(&'static str),
    /// Closes.
    Close,
}

fn say(status: u16, headers: &str, body: &str) -> Step {
    let len = body.len();
    Step::Say(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n{body}"
    ))
}

struct Server {
    address: String,
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Server {
    async fn start(steps: Vec<Step>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut steps = steps.into_iter();
            while let Ok((stream, _)) = listener.accept().await {
                let step = steps.next().unwrap_or(Step::Close);
                let noted = Arc::clone(&noted);
                tokio::spawn(async move { serve(stream, step, &noted).await });
            }
        });
        Ok(Self { address, seen })
    }

    fn url(&self, path: &str) -> std::result::Result<Url, Box<dyn std::error::Error>> {
        Ok(Url::parse(&format!("{}{path}", self.address))?)
    }

    fn seen(&self) -> Vec<(Instant, String)> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    step: Step,
    seen: &Mutex<Vec<(Instant, String)>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    // The bodies of these tests are a few bytes: those announced are waited for.
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let len = head
        .split_once("content-length: ")
        .map_or("0", |(_, rest)| rest);
    let len: usize = len
        .lines()
        .next()
        .and_then(|len| len.parse().ok())
        .unwrap_or(0);
    let mut missing = len.saturating_sub(body.len());
    while missing > 0 {
        missing = missing.saturating_sub(stream.read_buf(&mut bytes).await?);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((Instant::now(), text));
    let (head, piece, pause) = match step {
        Step::Say(text) => {
            stream.write_all(text.as_bytes()).await?;
            return stream.shutdown().await;
        }
        Step::Close => return Ok(()),
        Step::Drip(head) => (head, vec![b'x'], Duration::from_millis(100)),
        Step::Flood(head) => (head, vec![b'x'; 1 << 16], Duration::ZERO),
    };
    stream.write_all(head.as_bytes()).await?;
    loop {
        stream.write_all(&piece).await?;
        tokio::time::sleep(pause).await;
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, Duration)>>);

impl WaitListener for Heard {
    fn waiting(&self, wait: &Pause<'_>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((wait.object.to_owned(), wait.time));
    }
}

fn settings() -> Settings {
    Settings {
        proxy: Proxy::Direct,
        retry: RetryPolicy {
            first: Duration::from_millis(10),
            ..RetryPolicy::default()
        },
        ..Settings::default()
    }
}

fn service(settings: &Settings, authorize: impl Authorize + 'static) -> Result<Service> {
    Service::new(
        "test",
        settings,
        Arc::new(authorize),
        plain,
        &Tools::system(),
    )
}

fn call() -> Call {
    Call::on("test", Operation::Get, "a")
}

fn kind<T>(outcome: Outcome<T>) -> Option<ErrorKind> {
    outcome.err().map(|failure| failure.kind().clone())
}

#[tokio::test]
async fn faults_are_repeated_as_often_as_the_policy_says() -> Test {
    for (retries, requests) in [(0, 1), (1, 2), (2, 3), (9, 3)] {
        let server = Server::start(vec![say(500, "", ""); 9]).await?;
        let mut settings = settings();
        settings.retry.retries = RetryPolicy::under(retries).retries;
        let service = service(&settings, Anonymous)?;
        let request = Request::get(server.url("/")?, Wait::Short);
        let outcome = service.fetch(&call(), &request).await;
        assert_eq!(kind(outcome), Some(ErrorKind::Network));
        assert_eq!(server.seen().len(), requests, "with {retries} retries");
    }
    Ok(())
}

#[tokio::test]
async fn one_transfer_s_pause_holds_for_all() -> Test {
    let busy = say(503, "Retry-After: 1\r\n", "");
    let server = Server::start(vec![busy, say(200, "", ""), say(200, "", "")]).await?;
    let service = service(&settings(), Anonymous)?;
    let request = Request::get(server.url("/")?, Wait::Short);
    let first = service.send(&call(), &request).await;
    assert_eq!(
        kind(first),
        Some(ErrorKind::Busy(Some(Duration::from_secs(1))))
    );
    let call = call();
    let others = tokio::join!(service.send(&call, &request), service.send(&call, &request));
    assert!(others.0.is_ok() && others.1.is_ok());
    let seen = server.seen();
    for later in seen.iter().skip(1) {
        let waited = later.0.duration_since(seen[0].0);
        assert!(waited >= Duration::from_millis(990), "{waited:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_pause_of_a_hundred_years_is_cut_and_told() -> Test {
    let busy = say(429, "Retry-After: 3153600000\r\n", "");
    let server = Server::start(vec![busy]).await?;
    let heard = Arc::new(Heard::default());
    let tools = Tools {
        waits: Arc::clone(&heard) as Arc<dyn WaitListener>,
        ..Tools::system()
    };
    let service = Service::new("test", &settings(), Arc::new(Anonymous), plain, &tools)?;
    let request = Request::get(server.url("/")?, Wait::Short);
    // Too long for a pause within one operation: it is the caller's, and cut already.
    let outcome = service.fetch(&call(), &request).await;
    assert_eq!(kind(outcome), Some(ErrorKind::Busy(Some(LONGEST_WAIT))));
    let call = call();
    let next = service.send(&call, &request);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), next)
            .await
            .is_err()
    );
    let told = heard
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let [(object, time)] = told.as_slice() else {
        return Err(format!("{told:?}").into());
    };
    assert_eq!(object, "test get a");
    assert!(*time <= LONGEST_WAIT && *time > LONGEST_WAIT - Duration::from_secs(5));
    Ok(())
}

#[tokio::test]
async fn replies_without_end_are_ended() -> Test {
    let dripping = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let dripping_refusal = "HTTP/1.1 403 No\r\nConnection: close\r\n\r\n";
    let server = Server::start(vec![
        Step::Drip(dripping),
        Step::Drip(dripping),
        Step::Flood(dripping),
        Step::Drip(dripping_refusal),
    ])
    .await?;
    let mut settings = settings();
    settings.timeouts = Timeouts {
        short: Some(Duration::from_millis(500)),
        list: Some(Duration::from_millis(700)),
        stall: Some(Duration::from_secs(30)),
    };
    settings.retry = RetryPolicy::never();
    let service = service(&settings, Anonymous)?;
    let begin = Instant::now();
    for wait in [Wait::Short, Wait::List] {
        let request = Request::get(server.url("/")?, wait);
        let reply = service.send(&call(), &request).await?;
        let error = reply
            .bytes(&call(), 1 << 20)
            .await
            .err()
            .ok_or("it ended")?;
        assert_eq!(error.kind(), &ErrorKind::Network);
        assert!(
            error.to_string().contains("did not end in the time"),
            "{error}"
        );
        let id = error.advised().map(|advice| advice.id);
        assert_eq!(id, Some("ConnectionTimedOut"));
    }
    let request = Request::get(server.url("/")?, Wait::List);
    let reply = service.send(&call(), &request).await?;
    let error = reply
        .bytes(&call(), 1 << 20)
        .await
        .err()
        .ok_or("it ended")?;
    assert!(
        error.to_string().contains("longer than 1048576 bytes"),
        "{error}"
    );
    // The body of a refusal does not hold it back.
    let refused = service.send(&call(), &request).await;
    assert_eq!(kind(refused), Some(ErrorKind::Denied));
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn the_sign_in_stays_with_its_host() -> Test {
    let away = Server::start(vec![say(200, "", "x"); 2]).await?;
    let to_away = format!(
        "Location: {}/there\r\n",
        away.address.replace("127.0.0.1", "localhost")
    );
    let near = Server::start(vec![
        say(307, &to_away, ""),
        say(307, &to_away, ""),
        say(307, &format!("Location: {}/there\r\n", away.address), ""),
        say(302, "Location: /here?x=1\r\n", ""),
        say(200, "", ""),
        say(307, &to_away, ""),
    ])
    .await?;
    let service = service(&settings(), Bearer::new(Secret::new("t0ken-value")))?;
    let request = |redirects| {
        let request = Request::get(near.url("/")?, Wait::Short).follow(redirects);
        Ok::<_, Box<dyn std::error::Error>>(request)
    };
    let call = call();
    // Refused outright, then refused because it leads to another host, and to another port.
    assert!(
        service
            .send(&call, &request(Redirects::Refuse)?)
            .await
            .is_err()
    );
    for _ in 0..2 {
        assert!(
            service
                .send(&call, &request(Redirects::SameHost)?)
                .await
                .is_err()
        );
    }
    assert!(away.seen().is_empty());
    assert!(
        service
            .send(&call, &request(Redirects::SameHost)?)
            .await
            .is_ok()
    );
    let (_, last) = near.seen().pop().ok_or("nothing came")?;
    assert!(
        last.starts_with("GET /here?x=1 ") && last.contains("Bearer t0ken-value"),
        "{last}"
    );
    assert!(
        service
            .send(&call, &request(Redirects::Unsigned)?)
            .await
            .is_ok()
    );
    let (_, last) = away.seen().pop().ok_or("nothing came")?;
    assert!(
        last.starts_with("GET /there ") && !last.contains("t0ken-value"),
        "{last}"
    );
    Ok(())
}

#[tokio::test]
async fn secrets_that_a_server_echoes_are_not_shown() -> Test {
    fn words(_: &Call, refused: &larder_httpkit::Refused) -> Option<larder_httpkit::Meaning> {
        Some(larder_httpkit::Meaning {
            words: refused.body.clone(),
            ..Default::default()
        })
    }
    let body = "your token t0ken-value in Bearer t0ken-value is wrong";
    let headers = "x-request-id: id of t0ken-value\r\nx-reason: t0ken-value\r\n";
    let server = Server::start(vec![say(401, headers, body)]).await?;
    let authorize = Arc::new(Bearer::new(Secret::new("t0ken-value")));
    let service = Service::new("test", &settings(), authorize, words, &Tools::system())?;
    let request = Request::get(server.url("/")?, Wait::Short);
    let failure = service
        .send(&call(), &request)
        .await
        .err()
        .ok_or("it was let in")?;
    assert_eq!(failure.header("x-reason"), Some("***"));
    let error = Error::from(failure);
    let text = error.to_string();
    assert!(
        text.contains("your token *** in *** is wrong") && !text.contains("t0ken"),
        "{text}"
    );
    assert!(!format!("{error:?}").contains("t0ken"), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_tap_hashes_what_was_sent() -> Test {
    let server = Server::start(vec![say(200, "", "")]).await?;
    let service = service(&settings(), Anonymous)?;
    let tap = Tap::new(&[Algorithm::Sha1]);
    let request = Request::new(Method::PUT, server.url("/")?, Wait::Transfer)
        .body(Body::from_bytes("abc"))
        .tapped(&tap);
    service.send(&call(), &request).await?;
    let hashes = tap.hashes().ok_or("nothing was hashed")?;
    assert_eq!(
        hashes.hex(Algorithm::Sha1),
        "a9993e364706816aba3e25717850c26c9cd0d89d"
    );
    Ok(())
}
