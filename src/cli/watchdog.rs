//! The service manager's watchdog: it hears that the relay is alive for as long as every thread of it turns its loop.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::bring_up::announce;
use crate::relay::Handle;
use crate::sys::notify::State;

/// Says that the relay is alive until it is dropped. A task of the main thread: that one, too, has to turn.
#[derive(Debug)]
pub struct Watchdog(JoinHandle<()>);

/// It is said so often in each interval of the manager's: one datagram may come late.
const OFTEN: u32 = 3;

// === impl Watchdog ===

impl Watchdog {
    /// For a manager that ends the service after so long without a word; for none, nothing.
    pub fn start(waits: Option<Duration>, relay: &Handle) -> Option<Self> {
        let relay = relay.clone();
        waits.map(|waits| Self(tokio::spawn(serve(waits, relay))))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(waits: Duration, relay: Handle) {
    let mut turns = interval(waits / OFTEN);
    // A burst would say nothing that one does not.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let mut call = relay.call();
        // The last word was a turn ago: the line is in the log before the manager acts.
        if timeout(waits / 2, call.complete()).await.is_err() {
            let silent = call.missing().join(", ");
            tracing::error!(
                silent,
                "threads do not answer: the service manager, which is told nothing now, will end the relay"
            );
            call.complete().await;
            tracing::warn!(silent, "they answer again");
        }
        announce(State::Alive);
    }
}
