//! Calls that block, on threads where they may.
//!
//! There are few such threads: no call may wait for anything but the store, least of all for another call.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use larder_destination::{Call, Error, ErrorKind, Result};
use tokio::task::{JoinError, spawn_blocking};

/// Runs work on a thread where it may block.
///
/// # Errors
/// Those of the work.
pub async fn blocking<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let joined = spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(lost(call, &error)))
}

/// Streams what `next` gives until it gives nothing, one step ahead of the reader.
pub fn ahead<S: Send + 'static, T: Send + 'static>(
    call: Call,
    state: S,
    next: fn(&mut S) -> Result<Option<T>>,
) -> BoxStream<'static, Result<T>> {
    let step = move |mut state: S| spawn_blocking(move || (next(&mut state), state));
    stream::unfold(Some(step(state)), move |running| {
        let call = call.clone();
        async move {
            match running?.await {
                Ok((Ok(Some(item)), state)) => Some((Ok(item), Some(step(state)))),
                Ok((Ok(None), _)) => None,
                Ok((Err(error), _)) => Some((Err(error), None)),
                Err(error) => Some((Err(lost(&call, &error)), None)),
            }
        }
    })
    .boxed()
}

/// The thread of some work panicked, or the runtime ends.
fn lost(call: &Call, error: &JoinError) -> Error {
    call.error(ErrorKind::Other, error.to_string())
}
