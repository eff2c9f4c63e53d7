//! Ctrl-C and SIGTERM: the first stops cleanly, the second at once.

use larder_engine::Cancel;

/// Watches for signals in a thread of its own.
pub fn watch(cancel: Cancel) {
    let _ = std::thread::Builder::new()
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
                std::process::exit(130);
            });
        });
}
