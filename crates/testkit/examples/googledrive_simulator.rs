//! Runs the simulator of Google Drive until it is killed, for clients that are written by others.
//!
//!     googledrive_simulator [--listen 127.0.0.1:0] [--tls chain.pem key.pem] [--page-size 2] [--rotate]
//!
//! Prints one line of JSON with its address and everything needed to sign in. With `--tls` it is a proxy too, which
//! answers for every host that is asked for with `CONNECT`. Faults are ordered by `POST /_fault`, and `GET /_journal`
//! tells what was asked.

use std::sync::Arc;

use larder_testkit::simulators::google_drive::{GoogleDrive, SHARED_DRIVE, Settings};
use larder_testkit::simulators::{Server, known};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the address is the program's output")]
async fn main() -> Result<(), Failure> {
    let mut listen = "127.0.0.1:0".to_owned();
    let mut tls = None;
    let mut settings = Settings::default();
    settings.accounts.clock = Some(now);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => listen = value()?,
            "--tls" => tls = Some(acceptor(&value()?, &value()?)?),
            "--page-size" => settings.page_size = value()?.parse()?,
            "--rotate" => settings.accounts.rotates = true,
            other => return Err(format!("{other} is not known").into()),
        }
    }
    let server = Server::start(GoogleDrive::new(settings), &listen, tls).await?;
    let told = serde_json::json!({
        "url": format!("http://{}", server.address()),
        "client_id": known::CLIENT_ID,
        "client_secret": known::CLIENT_SECRET,
        "refresh_token": known::REFRESH_TOKEN,
        "authid": known::AUTHID,
        "authid_full": known::AUTHID_FULL,
        "service_account": known::SERVICE_ACCOUNT,
        "shared_drive": SHARED_DRIVE,
    });
    println!("{told}");
    std::future::pending::<()>().await;
    Ok(())
}

fn acceptor(chain: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "clients written by others use the real time"
)]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}
