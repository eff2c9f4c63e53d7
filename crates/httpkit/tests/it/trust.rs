//! Which certificates are accepted. `certificates/make.sh` made the ones used here; no system trusts them.

use std::sync::Arc;

use larder_destination::{ErrorKind, Operation, Result};
use larder_httpkit::http::Url;
use larder_httpkit::{Call, Client, Fingerprint, Proxy, Request, Settings, Trust, Wait};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::Test;

const ROOT: &[u8] = include_bytes!("certificates/root.pem");
const SIGNED: (&[u8], &[u8]) = (
    include_bytes!("certificates/signed.pem"),
    include_bytes!("certificates/signed.key.pem"),
);
const ALONE: (&[u8], &[u8]) = (
    include_bytes!("certificates/alone.pem"),
    include_bytes!("certificates/alone.key.pem"),
);

/// Serves TLS on a free local port with a certificate, its key and further certificates.
async fn serve(
    own: (&[u8], &[u8]),
    further: &[&[u8]],
) -> std::result::Result<u16, Box<dyn std::error::Error>> {
    let mut chain = vec![CertificateDer::from_pem_slice(own.0)?];
    for pem in further {
        chain.push(CertificateDer::from_pem_slice(pem)?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(own.1)?)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut request = [0; 4096];
                if stream.read(&mut request).await? == 0 {
                    return Ok(());
                }
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                    )
                    .await?;
                stream.shutdown().await
            });
        }
    });
    Ok(port)
}

async fn ask(host: &str, port: u16, trust: Trust) -> Result<Vec<u8>> {
    let settings = Settings {
        trust,
        proxy: Proxy::Direct,
        ..Settings::default()
    };
    let client = Client::new("test", &settings)?;
    let call = Call::new("test", Operation::List);
    let url = Url::parse(&format!("https://{host}:{port}/?token=secret"))
        .map_err(|_| call.error(ErrorKind::Config, "no address"))?;
    let request = Request::get(url, Wait::Short);
    client.send(&call, request).await?.bytes(&call, 100).await
}

fn pinned(hashes: &[String]) -> Trust {
    Trust {
        any: false,
        pinned: hashes
            .iter()
            .filter_map(|hash| Fingerprint::parse(hash))
            .collect(),
    }
}

fn sha256(pem: &[u8]) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let der = CertificateDer::from_pem_slice(pem)?;
    Ok(Sha256::digest(der.as_ref())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn sha1(pem: &[u8]) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let der = CertificateDer::from_pem_slice(pem)?;
    Ok(sha1::Sha1::digest(der.as_ref())
        .iter()
        .map(|byte| format!("{byte:02X}:"))
        .collect())
}

fn is_untrusted(outcome: &Result<Vec<u8>>) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| matches!(error.kind(), ErrorKind::Untrusted(_)))
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_with_its_hash() -> Test {
    let port = serve(ALONE, &[]).await?;
    let refused = ask("127.0.0.1", port, Trust::default()).await;
    let expected = sha256(ALONE.0)?;
    let error = refused.err().ok_or("was accepted")?;
    assert_eq!(error.kind(), &ErrorKind::Untrusted(expected.clone()));
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(
        !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_hash_from_the_error_makes_it_work() -> Test {
    let port = serve(ALONE, &[]).await?;
    assert_eq!(
        ask("127.0.0.1", port, pinned(&[sha256(ALONE.0)?])).await?,
        b"ok"
    );
    assert_eq!(
        ask(
            "localhost",
            port,
            pinned(&["00".repeat(20), sha1(ALONE.0)?])
        )
        .await?,
        b"ok"
    );
    assert!(is_untrusted(
        &ask("127.0.0.1", port, pinned(&[sha256(SIGNED.0)?])).await
    ));
    Ok(())
}

#[tokio::test]
async fn everything_is_accepted_only_when_told_so() -> Test {
    let port = serve(ALONE, &[]).await?;
    let any = Trust {
        any: true,
        pinned: Vec::new(),
    };
    assert_eq!(ask("127.0.0.1", port, any).await?, b"ok");
    Ok(())
}

#[tokio::test]
async fn a_pinned_root_vouches_only_for_what_it_signed() -> Test {
    let root = pinned(&[sha1(ROOT)?]);
    let honest = serve(SIGNED, &[ROOT]).await?;
    assert_eq!(ask("127.0.0.1", honest, root.clone()).await?, b"ok");
    // Anybody can send a copy of the root along with a certificate of his own.
    let liar = serve(ALONE, &[ROOT]).await?;
    assert!(is_untrusted(&ask("127.0.0.1", liar, root.clone()).await));
    // The root has to be shown, or there is nothing to compare.
    let incomplete = serve(SIGNED, &[]).await?;
    assert!(is_untrusted(&ask("127.0.0.1", incomplete, root).await));
    Ok(())
}
