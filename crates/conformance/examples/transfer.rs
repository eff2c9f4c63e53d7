//! Puts a local file, gets it back, and prints how long each took and the most memory in use: for comparisons with other
//! programs at the same server.
//!
//! ```text
//! cargo run --release -p larder-conformance --example transfer -- 'webdav://…' file
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::TryStreamExt;
use larder_destination::{Body, Error, ErrorKind, Existing, Operation, Tools};
use larder_options::Values;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::print_stdout,
    reason = "this is a program; printing its measurements is its purpose"
)]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("a storage URL is missing")?;
    let file = PathBuf::from(arguments.next().ok_or("a file is missing")?);
    let opened = larder_registry::open(&url, &Values::new(), Path::new("/"), &Tools::system())?;
    let store = opened.destination;
    store.create_folder().await?;
    let idle = memory("VmRSS");
    let len = std::fs::metadata(&file)?.len();
    let begin = Instant::now();
    let body = Body::from_file(file, len);
    store.put("transfer.bin", body, Existing::Replace).await?;
    let put = begin.elapsed().as_secs_f64();
    let after_put = memory("VmHWM");
    let begin = Instant::now();
    let got = store.get("transfer.bin").await?.stream;
    let got = got
        .try_fold(0_u64, async |sum, piece| Ok(sum + piece.len() as u64))
        .await?;
    let get = begin.elapsed().as_secs_f64();
    if got != len {
        return Err(broken(got, len).into());
    }
    store.delete("transfer.bin").await?;
    println!(
        "put {put:.2} s, get {get:.2} s, idle {idle} KiB, peak after put {after_put} KiB, after get {} KiB",
        memory("VmHWM")
    );
    Ok(())
}

fn broken(got: u64, len: u64) -> Error {
    let text = format!("{got} bytes came back of {len}");
    Error::new(ErrorKind::Corrupt, "transfer", Operation::Get, text)
}

/// A line of `/proc/self/status` in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
