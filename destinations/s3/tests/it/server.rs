//! An HTTP server on a free local port that gives prepared answers, one per request, and notes what it was asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Answers with status, further header lines and a body of the right length.
    Answer(u16, &'static str, String),
    /// Announces more than it sends and closes the connection.
    Cut {
        announced: usize,
        sent: &'static str,
    },
    /// Announces a body, sends a part of it and then nothing more.
    StallInBody {
        announced: usize,
        sent: &'static str,
    },
    /// Reads the request and never answers.
    StallBeforeAnswer,
    /// Does not even read the request's body.
    StallBeforeReading,
    /// Closes the connection without an answer.
    Close,
}

/// Answers with an empty body.
pub fn empty(status: u16) -> Step {
    Step::Answer(status, "", String::new())
}

/// Answers with an error document.
pub fn error(status: u16, code: &str) -> Step {
    Step::Answer(
        status,
        "",
        format!("<Error><Code>{code}</Code><Message>no.</Message></Error>"),
    )
}

/// Answers 200 with a body.
pub fn ok(body: &str) -> Step {
    Step::Answer(200, "", body.to_owned())
}

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method and target, e.g. `GET /bucket?list-type=2`.
    pub line: String,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as far as it was read.
    pub body: Vec<u8>,
}

impl Request {
    /// One header, empty when missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

/// The server; it ends with the test's runtime.
pub struct Server {
    /// `127.0.0.1:port`.
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that takes one step per request; requests after the last step are answered with 418.
    ///
    /// The question whether the bucket has object locks is answered apart and counts for no request.
    pub async fn start(steps: Vec<Step>) -> std::io::Result<Self> {
        let no_locks = error(404, "ObjectLockConfigurationNotFoundError");
        Self::start_with(no_locks, steps).await
    }

    /// As [`Server::start`] for a bucket with object locks.
    pub async fn start_with_locks(steps: Vec<Step>) -> std::io::Result<Self> {
        let locks = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
        Self::start_with(ok(locks), steps).await
    }

    /// As [`Server::start`] with this answer to that question.
    pub async fn start_with(about_locks: Step, steps: Vec<Step>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let steps = Arc::new(Mutex::new(steps.into_iter()));
            while let Ok((stream, _)) = listener.accept().await {
                let (steps, seen) = (Arc::clone(&steps), Arc::clone(&seen));
                let next = move || {
                    let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
                    steps.next().unwrap_or_else(|| empty(418))
                };
                let about_locks = about_locks.clone();
                tokio::spawn(async move { serve(stream, about_locks, next, &seen).await });
            }
        });
        Ok(Self { address, requests })
    }

    /// A storage URL for this server, with more options behind it.
    pub fn url(&self, options: &str) -> String {
        let server = self.address.replace(':', "%3A");
        format!("s3://AK:SK@bkt/p?s3-server-name={server}&{options}")
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Method and target of what was asked so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    about_locks: Step,
    next: impl FnOnce() -> Step,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut request = read_head(&mut stream).await?;
    let is_about_locks = request.line.contains("?object-lock");
    let step = match is_about_locks {
        true => about_locks,
        false => next(),
    };
    if !matches!(step, Step::StallBeforeReading) {
        read_body(&mut stream, &mut request).await?;
    }
    if !is_about_locks {
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }
    let head = |status: u16, more: &str, len: usize| {
        format!("HTTP/1.1 {status} X\r\nContent-Length: {len}\r\nConnection: close\r\n{more}\r\n")
    };
    match step {
        Step::Answer(status, more, body) => {
            // A 204 must not announce a body.
            let text = if status == 204 {
                format!("HTTP/1.1 204 X\r\nConnection: close\r\n{more}\r\n")
            } else {
                head(status, more, body.len()) + &body
            };
            stream.write_all(text.as_bytes()).await?;
        }
        Step::Cut { announced, sent } => {
            stream
                .write_all((head(200, "", announced) + sent).as_bytes())
                .await?;
        }
        Step::StallInBody { announced, sent } => {
            stream
                .write_all((head(200, "", announced) + sent).as_bytes())
                .await?;
            tokio::time::sleep(LONG).await;
        }
        Step::StallBeforeAnswer | Step::StallBeforeReading => tokio::time::sleep(LONG).await,
        Step::Close => {}
    }
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let line = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Request {
        line,
        headers,
        body: bytes.split_off(end + 4),
    })
}

async fn read_body(stream: &mut TcpStream, request: &mut Request) -> std::io::Result<()> {
    let len: usize = request.header("content-length").parse().unwrap_or(0);
    while request.body.len() < len {
        if stream.read_buf(&mut request.body).await? == 0 {
            break;
        }
    }
    Ok(())
}

const LONG: Duration = Duration::from_secs(60);
