//! Requests and replies without TLS: proxies, slow sources, lengths, and what errors show.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder_destination::{Body, Error, ErrorKind, Operation, Result};
use larder_httpkit::http::{Method, Url};
use larder_httpkit::{Call, Client, Payload, Proxy, Request, Settings, Timeouts, Wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Test;

/// Answers every request on a free local port and keeps what was sent to it.
async fn serve(answer: &'static str) -> std::io::Result<(u16, Arc<Mutex<String>>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let seen = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
                    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                    let len = head
                        .split_once("content-length: ")
                        .map_or("0", |(_, rest)| rest);
                    let len = len
                        .lines()
                        .next()
                        .and_then(|len| len.parse().ok())
                        .unwrap_or(0);
                    let whole = text.contains("\r\n\r\n") && body.len() >= len;
                    if whole || stream.read_buf(&mut bytes).await? == 0 {
                        break;
                    }
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&text);
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
    Ok((port, seen))
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

fn request(
    address: &str,
    method: Method,
    payload: Payload,
) -> std::result::Result<Request, Box<dyn std::error::Error>> {
    let wait = if matches!(payload, Payload::Empty) {
        Wait::Short
    } else {
        Wait::Transfer
    };
    let mut request = Request::new(method, Url::parse(address)?, wait);
    request.payload = payload;
    Ok(request)
}

fn call() -> Call {
    Call::on("test", Operation::Put, "a")
}

fn client(settings: Settings) -> Result<Client> {
    Client::new("test", &settings)
}

#[tokio::test]
async fn a_proxy_gets_the_whole_address() -> Test {
    let (port, seen) = serve(OK).await?;
    let proxy = Proxy::Address(format!("http://127.0.0.1:{port}"));
    let client = client(Settings {
        proxy,
        ..Settings::default()
    })?;
    let reply = client
        .send(
            &call(),
            request("http://far.example/x?y=1", Method::GET, Payload::Empty)?,
        )
        .await?;
    assert_eq!(reply.bytes(&call(), 5).await?, b"hello");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(
        seen.starts_with("GET http://far.example/x?y=1 HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains(concat!("user-agent: larder/", env!("CARGO_PKG_VERSION"))),
        "{seen}"
    );
    Ok(())
}

#[tokio::test]
async fn replies_longer_than_allowed_are_refused() -> Test {
    let (port, _) = serve(OK).await?;
    let client = client(Settings {
        proxy: Proxy::Direct,
        ..Settings::default()
    })?;
    let address = format!("http://127.0.0.1:{port}/");
    let reply = client
        .send(&call(), request(&address, Method::GET, Payload::Empty)?)
        .await?;
    assert!(
        reply
            .bytes(&call(), 4)
            .await
            .is_err_and(|error| *error.kind() == ErrorKind::Other)
    );
    Ok(())
}

#[tokio::test]
async fn bodies_have_a_length_and_a_wrong_one_breaks_off() -> Test {
    let (port, seen) = serve(OK).await?;
    let client = client(Settings {
        proxy: Proxy::Direct,
        ..Settings::default()
    })?;
    let address = format!("http://127.0.0.1:{port}/");
    let body = Payload::Body(Body::from_bytes("content"));
    client
        .send(&call(), request(&address, Method::PUT, body)?)
        .await?;
    let empty = Payload::Body(Body::from_bytes(""));
    client
        .send(&call(), request(&address, Method::PUT, empty)?)
        .await?;
    let text = seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .to_ascii_lowercase();
    assert!(
        text.contains("content-length: 7\r\n") && text.contains("content-length: 0\r\n"),
        "{text}"
    );
    assert!(!text.contains("transfer-encoding"), "{text}");
    let missing = Payload::Body(Body::from_file("/nowhere/at/all".into(), 7));
    let broken = client
        .send(&call(), request(&address, Method::PUT, missing)?)
        .await;
    assert!(broken.is_err_and(|failure| *failure.kind() == ErrorKind::Other));
    Ok(())
}

#[tokio::test]
async fn secrets_in_addresses_stay_secret() -> Test {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let timeouts = Timeouts {
        short: Some(Duration::from_secs(2)),
        ..Timeouts::default()
    };
    let client = client(Settings {
        proxy: Proxy::Direct,
        timeouts,
        ..Settings::default()
    })?;
    let address = format!("http://user:hidden1@127.0.0.1:{unused}/?sig=hidden2");
    let request = request(&address, Method::GET, Payload::Empty)?;
    assert!(!format!("{request:?}").contains("hidden"), "{request:?}");
    let error = client
        .send(&call(), request)
        .await
        .err()
        .ok_or("nobody listens there")?;
    let error = Error::from(error);
    assert_eq!(
        error.to_string(),
        "test put a: could not connect to the server"
    );
    let id = error.advised().map(|advice| advice.id);
    assert_eq!(id, Some("HostUnreachable"));
    assert!(error.is_unanswered());
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(cause) = next {
        assert!(
            !format!("{cause} {cause:?}").contains("hidden"),
            "{cause:?}"
        );
        next = cause.source();
    }
    Ok(())
}
