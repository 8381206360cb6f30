//! Ctrl-C: noticed, and then everything is taken down in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::lab::error::{Error, Result};

/// Whether SIGINT, SIGTERM or SIGHUP has arrived.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// One that never comes; for tests and benchmarks, which a signal simply ends.
    pub fn never() -> Self {
        Self::default()
    }

    /// From now on these signals are noted and no longer end the process.
    pub fn watch() -> Result<Self> {
        let interrupt = Self::default();
        let seen = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(Error::io("watching for signals"))?;
        let entered = runtime.enter();
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let mut signals = Vec::new();
        for kind in kinds {
            signals.push(signal(kind).map_err(Error::io("watching for signals"))?);
        }
        drop(entered);
        std::thread::spawn(move || {
            let [mut int, mut term, mut hup] = <[_; 3]>::try_from(signals).expect("three signals");
            runtime.block_on(async {
                tokio::select! { _ = int.recv() => {} _ = term.recv() => {} _ = hup.recv() => {} }
            });
            seen.0.store(true, Ordering::Relaxed);
        });
        Ok(interrupt)
    }

    /// An error once it has arrived.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}
