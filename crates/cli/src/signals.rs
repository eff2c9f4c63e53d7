//! Ctrl-C and SIGTERM: the first stops cleanly, the second at once.

use std::sync::{Arc, OnceLock};

use larder_engine::Cancel;

use crate::console::Console;

/// Exit code after a second signal: what shells report for a program that Ctrl-C ended.
const ENDED_AT_ONCE: i32 = 130;

/// The token that the first signal sets; watching begins with the first call. What is to be said goes to the console of
/// that call.
pub fn cancel(console: &Arc<Console>) -> Cancel {
    static CANCEL: OnceLock<Cancel> = OnceLock::new();
    CANCEL
        .get_or_init(|| {
            let cancel = Cancel::new();
            watch(cancel.clone(), Arc::clone(console));
            cancel
        })
        .clone()
}

/// Watches for signals in a thread of its own.
fn watch(cancel: Cancel, console: Arc<Console>) {
    let (ready_out, ready_in) = std::sync::mpsc::channel();
    let spawned = std::thread::Builder::new()
        .name("larder-signals".into())
        .spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async move {
                use tokio::signal::unix::{SignalKind, signal};
                let (Ok(mut interrupt), Ok(mut terminate)) = (
                    signal(SignalKind::interrupt()),
                    signal(SignalKind::terminate()),
                ) else {
                    return;
                };
                let _ = ready_out.send(());
                for round in 0..2 {
                    let again = tokio::select! {
                        _ = interrupt.recv() => "press Ctrl-C again",
                        _ = terminate.recv() => "send SIGTERM again",
                    };
                    if round == 0 {
                        console.complaint(&format!("stopping; {again} to end at once"));
                        cancel.cancel();
                    }
                }
                console.pause();
                std::process::exit(ENDED_AT_ONCE);
            });
        });
    if spawned.is_ok() {
        // Work must not begin while a signal would still end the program halfway. Ends when the thread gives up, too.
        let _ = ready_in.recv();
    }
}
