//! Signals that ask for an end, for commands that are no asynchronous programs.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// The first signal that asked for an end, once one did.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<OnceLock<u8>>);

/// From now on SIGINT, SIGTERM and SIGHUP set `flag`; the second one ends the process at once.
pub fn set(flag: &Arc<AtomicBool>) -> anyhow::Result<Asked> {
    let flag = Arc::clone(flag);
    let asked = Asked::default();
    let first = asked.clone();
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
                let code = exit_code(kind);
                if first.0.set(code).is_err() {
                    std::process::exit(code.into());
                }
                // After the signal: who sees the flag finds out which one it was.
                flag.store(true, Ordering::Release);
            }
        });
    });
    Ok(asked)
}

/// As shells tell it.
fn exit_code(kind: SignalKind) -> u8 {
    128 + kind.as_raw_value() as u8
}

// === impl Asked ===

impl Asked {
    /// What a command ends with that was ended by it before its time.
    pub fn exit_code(&self) -> Option<ExitCode> {
        self.0.get().map(|code| ExitCode::from(*code))
    }
}
