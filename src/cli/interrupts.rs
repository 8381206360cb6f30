//! Signals that ask for an end, for commands that are no asynchronous programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// From now on SIGINT, SIGTERM and SIGHUP set `flag`; the second one ends the process at once.
pub fn set(flag: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let flag = Arc::clone(flag);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("watching for signals")?;
    let entered = runtime.enter();
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hup = signal(SignalKind::hangup())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let kind = tokio::select! {
                    _ = int.recv() => SignalKind::interrupt(),
                    _ = term.recv() => SignalKind::terminate(),
                    _ = hup.recv() => SignalKind::hangup(),
                };
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(128 + kind.as_raw_value());
                }
            }
        });
    });
    Ok(())
}
