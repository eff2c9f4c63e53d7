//! Where the browser comes back to after the user agreed: a port of this machine that is open for one sign-in
//! (RFC 8252, section 7.3).

use std::time::Duration;

use larder_destination::{ErrorKind, Result};
use larder_options::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::sign_in::LATE;
use crate::failure::Call;

/// A port that waits for one answer.
pub(super) struct Loopback {
    listener: TcpListener,
    address: String,
    state: String,
}

/// What the browser brought: a code, or why there is none.
type Answer = std::result::Result<Secret, String>;

impl Loopback {
    /// Opens a free port; only an answer with `state` counts.
    pub(super) async fn begin(call: &Call, state: &str) -> Result<Self> {
        let opened = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = format!("http://{}", listener.local_addr()?);
            Ok::<_, std::io::Error>((listener, address))
        };
        let (listener, address) = opened.await.map_err(|error| {
            call.error(ErrorKind::Other, "no port of this machine can be opened")
                .caused_by(error)
        })?;
        Ok(Self {
            listener,
            address,
            state: state.to_owned(),
        })
    }

    /// The address that the browser is to come back to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the answer; the port closes then.
    pub(super) async fn code(self, call: &Call) -> Result<Secret> {
        let accept = || async { Ok(self.listener.accept().await?.0) };
        let answer = tokio::time::timeout(LONGEST_CONSENT, answer(&self.state, accept)).await;
        let answer = answer.map_err(|_| call.error(ErrorKind::Network, LATE))?;
        let answer = answer.map_err(|error| {
            call.error(ErrorKind::Other, "the browser cannot be heard")
                .caused_by(error)
        })?;
        answer.map_err(|reason| {
            let text = format!("the sign-in was refused: {reason}");
            call.error(ErrorKind::SignInNeeded, text)
        })
    }
}

/// Serves visitors until one brings the answer, or until several in a row cannot be taken: a program that has too many
/// files open may have fewer in a moment.
async fn answer<F>(state: &str, accept: impl Fn() -> F) -> std::io::Result<Answer>
where
    F: Future<Output = std::io::Result<TcpStream>>,
{
    // Browsers open connections in advance and ask for more than they were sent to, so several are served at once.
    let mut visits = JoinSet::new();
    let mut failures = 0;
    loop {
        tokio::select! {
            visitor = accept(), if visits.len() < MOST_VISITS => match visitor {
                Ok(stream) => {
                    failures = 0;
                    let state = state.to_owned();
                    visits.spawn(async move {
                        let served = tokio::time::timeout(LONGEST_VISIT, serve(stream, &state));
                        served.await.ok().flatten()
                    });
                }
                Err(error) if failures == MOST_FAILURES => return Err(error),
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(FAILURE_PAUSE * failures).await;
                }
            },
            Some(visit) = visits.join_next() => {
                if let Ok(Some(answer)) = visit {
                    return Ok(answer);
                }
            }
        }
    }
}

/// Serves one connection; what it brought, if that is the answer.
async fn serve(mut stream: TcpStream, state: &str) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let (answer, status, words) = match answer_of(&String::from_utf8_lossy(&head), state) {
        None => (
            None,
            "404 Not Found",
            "This is not the sign-in that was begun.",
        ),
        Some(Ok(code)) => (
            Some(Ok(code)),
            "200 OK",
            "You are signed in and can close this window.",
        ),
        Some(Err(reason)) => (
            Some(Err(reason)),
            "200 OK",
            "The sign-in was refused. You can close this window.",
        ),
    };
    let page =
        format!("<!DOCTYPE html><meta charset=\"utf-8\"><title>Larder</title><p>{words}</p>");
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    // A browser that does not wait for its page has brought the answer all the same.
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
    answer
}

/// The answer in the head of a request (RFC 6749, section 4.1.2); nothing in one that is not ours.
fn answer_of(head: &str, state: &str) -> Option<Answer> {
    let target = head
        .lines()
        .next()?
        .strip_prefix("GET ")?
        .split(' ')
        .next()?;
    let (path, query) = target.split_once('?')?;
    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_ref())
    };
    if path != "/" || field("state") != Some(state) {
        return None;
    }
    match (field("code"), field("error")) {
        (Some(code), None) if !code.is_empty() => Some(Ok(code.to_owned().into())),
        (_, Some(error)) => Some(Err(crate::refused::sentence(error))),
        _ => None,
    }
}

/// A user who was called away.
pub(super) const LONGEST_CONSENT: Duration = Duration::from_secs(600);
/// One connection of a browser on this machine.
const LONGEST_VISIT: Duration = Duration::from_secs(10);
/// Connections served at the same time; further ones wait.
const MOST_VISITS: usize = 16;
/// Visitors in a row that cannot be taken, after which nobody waits any more, and the pause after the first of them; it
/// grows by as much with each. Together they are eleven seconds.
const MOST_FAILURES: u32 = 10;
const FAILURE_PAUSE: Duration = Duration::from_millis(200);
/// Longest head of a request; browsers send some kilobytes.
const LONGEST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use larder_destination::Operation;

    use super::*;

    #[test]
    fn only_the_answer_to_this_sign_in_counts() {
        for (line, expected) in [
            ("GET /?state=s&code=4%2Fa HTTP/1.1", Some(Ok("4/a"))),
            ("GET /?code=c&state=s", Some(Ok("c"))),
            (
                "GET /?state=s&error=access_denied HTTP/1.1",
                Some(Err("access_denied")),
            ),
            ("GET /?state=other&code=c HTTP/1.1", None),
            ("GET /?code=c HTTP/1.1", None),
            ("GET /?state=s&code= HTTP/1.1", None),
            ("GET /favicon.ico?state=s&code=c HTTP/1.1", None),
            ("GET / HTTP/1.1", None),
            ("POST /?state=s&code=c HTTP/1.1", None),
            ("", None),
        ] {
            let found = answer_of(&format!("{line}\r\nHost: x\r\n\r\n"), "s");
            let found = found.as_ref().map(|answer| match answer {
                Ok(code) => Ok(code.expose()),
                Err(reason) => Err(reason.as_str()),
            });
            assert_eq!(found, expected, "{line}");
        }
    }

    #[tokio::test]
    async fn silent_and_foreign_visitors_change_nothing()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let call = Call::new("test", Operation::SignIn);
        let loopback = Loopback::begin(&call, "s").await?;
        let address = loopback.address().trim_start_matches("http://").to_owned();
        let waiting = tokio::spawn(async move { loopback.code(&call).await });
        let _silent = TcpStream::connect(&address).await?;
        let mut statuses = Vec::new();
        for target in [
            "/favicon.ico",
            "/?state=wrong&code=c",
            "/?state=s&code=right",
        ] {
            let mut visit = TcpStream::connect(&address).await?;
            visit
                .write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes())
                .await?;
            let mut reply = String::new();
            visit.read_to_string(&mut reply).await?;
            statuses.push(reply.get(9..12).unwrap_or_default().to_owned());
        }
        assert_eq!(statuses, ["404", "404", "200"]);
        assert_eq!(waiting.await??.expose(), "right");
        assert!(
            TcpStream::connect(&address).await.is_err(),
            "the port is closed"
        );
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_takes_nobody_ends_the_wait() {
        let tried = std::cell::Cell::new(0);
        let begin = tokio::time::Instant::now();
        let accept = || {
            tried.set(tried.get() + 1);
            std::future::ready(Err(std::io::Error::from_raw_os_error(24)))
        };
        let ended = tokio::time::timeout(LONGEST_CONSENT, answer("s", accept)).await;
        let error = ended.expect("an end").map(drop).expect_err("an error");
        assert_eq!(error.raw_os_error(), Some(24));
        assert_eq!(tried.get(), MOST_FAILURES + 1);
        assert_eq!(begin.elapsed(), Duration::from_secs(11));
    }

    #[tokio::test]
    async fn a_visitor_who_cannot_be_taken_keeps_nobody_out()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut visit = TcpStream::connect(listener.local_addr()?).await?;
        visit
            .write_all(b"GET /?state=s&code=c HTTP/1.1\r\n\r\n")
            .await?;
        let tried = std::cell::Cell::new(0);
        let accept = async || {
            tried.set(tried.get() + 1);
            match tried.get() {
                1 | 2 => Err(std::io::Error::from_raw_os_error(24)),
                _ => Ok(listener.accept().await?.0),
            }
        };
        let found = answer("s", accept).await?;
        assert_eq!(found.as_ref().map(Secret::expose), Ok("c"));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_does_not_come_ends_the_wait() -> Result<()> {
        let call = Call::new("test", Operation::SignIn);
        let begin = tokio::time::Instant::now();
        let refused = Loopback::begin(&call, "s").await?.code(&call).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("nobody agreed in time")));
        assert_eq!(begin.elapsed(), LONGEST_CONSENT);
        Ok(())
    }
}
