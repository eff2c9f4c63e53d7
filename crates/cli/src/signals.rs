//! Ctrl-C and SIGTERM: the first lets a backup end what it is reading and stops everything else, the next stops that, and
//! the one after it ends the program at once.

use std::sync::{Arc, OnceLock};

use larder_engine::{Cancel, Stopping};

use crate::console::Console;

/// Exit code when a signal ends the program: what shells report for a program that Ctrl-C ended.
const ENDED_AT_ONCE: i32 = 130;

/// The token that signals set; watching begins with the first call. What is to be said goes to the console of
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
                let mut is_stopping = false;
                loop {
                    let again = tokio::select! {
                        _ = interrupt.recv() => "press Ctrl-C again",
                        _ = terminate.recv() => "send SIGTERM again",
                    };
                    if is_stopping {
                        break;
                    }
                    let stopping = cancel.stop();
                    is_stopping = stopping == Stopping::Now;
                    console.complaint(&match stopping {
                        Stopping::Now => format!("stopping; {again} to end at once"),
                        Stopping::AfterThisFile => format!(
                            "stopping after the files that are being read; {again} to stop now"
                        ),
                    });
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
