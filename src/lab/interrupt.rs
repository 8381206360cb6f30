//! Ctrl-C: noticed, and then everything is taken down in order; a second one does not wait for that.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::lab::error::{Error, Result};

/// Which of SIGINT, SIGTERM and SIGHUP has arrived first; 0 is none.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicU8>);

/// What SIGINT means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CtrlC {
    /// That this process is to end.
    Ours,
    /// Nothing: it is meant for a shell on the same terminal.
    Theirs,
}

// === impl Interrupt ===

impl Interrupt {
    /// One that never comes; for tests and benchmarks, which a signal simply ends.
    pub fn never() -> Self {
        Self::default()
    }

    /// From now on these signals are noted and no longer end the process, except a SIGINT that is not
    /// the first of them: it ends the process at once, and the next lab sweeps up.
    pub fn watch() -> Result<Self> {
        Self::watch_for(CtrlC::Ours)
    }

    /// The same while a shell has the terminal: SIGINT is for what runs in it.
    pub fn watch_beside_a_shell() -> Result<Self> {
        Self::watch_for(CtrlC::Theirs)
    }

    fn watch_for(ctrl_c: CtrlC) -> Result<Self> {
        let interrupt = Self::default();
        let seen = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(Error::io("watching for signals"))?;
        let entered = runtime.enter();
        let [int, term, hup] = [
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ];
        drop(entered);
        std::thread::spawn(move || runtime.block_on(seen.note(int, term, hup, ctrl_c)));
        Ok(interrupt)
    }

    /// Notes what arrives, for as long as the process lives.
    async fn note(&self, mut int: Signal, mut term: Signal, mut hup: Signal, ctrl_c: CtrlC) {
        loop {
            let kind = tokio::select! {
                _ = int.recv() => SignalKind::interrupt(),
                _ = term.recv() => SignalKind::terminate(),
                _ = hup.recv() => SignalKind::hangup(),
            };
            let is_ctrl_c = kind == SignalKind::interrupt();
            if is_ctrl_c && ctrl_c == CtrlC::Theirs {
                continue;
            }
            let number = kind.as_raw_value() as u8;
            let first = self
                .0
                .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
            // A terminal that closes may well send two SIGHUP; only a person sends two SIGINT.
            if first.is_err() && is_ctrl_c {
                let _ = writeln!(
                    std::io::stderr(),
                    "unmangle: ended at once; the next `unmangle lab` sweeps up"
                );
                std::process::exit(128 + i32::from(number));
            }
        }
    }

    /// An error once one has arrived.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::Interrupted { signal }),
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(Error::io("watching for signals"))
}
