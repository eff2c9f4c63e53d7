//! Ctrl-C and SIGTERM: the first stops cleanly, the second at once.

use std::sync::OnceLock;

use larder_engine::Cancel;

/// Exit code after a second signal: what shells report for a program that Ctrl-C ended.
const ENDED_AT_ONCE: i32 = 130;

/// The token that the first signal sets; watching begins with the first call.
pub fn cancel() -> Cancel {
    static CANCEL: OnceLock<Cancel> = OnceLock::new();
    CANCEL
        .get_or_init(|| {
            let cancel = Cancel::new();
            watch(cancel.clone());
            cancel
        })
        .clone()
}

/// Watches for signals in a thread of its own.
fn watch(cancel: Cancel) {
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
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if round == 0 {
                        crate::console::note("stopping; press Ctrl-C again to end at once");
                        cancel.cancel();
                    }
                }
                std::process::exit(ENDED_AT_ONCE);
            });
        });
    if spawned.is_ok() {
        // Work must not begin while a signal would still end the program halfway. Ends when the thread gives up, too.
        let _ = ready_in.recv();
    }
}
