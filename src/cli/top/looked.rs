//! What was asked and answered, on a thread of its own: a relay that is slow to answer keeps no key from being heard.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::{Sessions, Status};
use crate::cli::status::asked;
use crate::config::AdminAddress;

/// What a relay answered; or why it did not.
pub type Looked = Result<Answer, String>;

/// What a relay answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How it does.
    pub status: Status,
    /// Its sessions: those that carry most.
    pub sessions: Sessions,
}

/// Somebody who asks again and again.
pub struct Looking(Receiver<Looked>);

/// As many sessions as anybody scrolls through.
const SESSIONS: &str = "/api/sessions?order=rate&limit=1000";

// === impl Looking ===

impl Looking {
    /// Asks every so often, for as long as somebody listens.
    pub fn start(address: AdminAddress, every: Duration) -> Self {
        let (tell, told) = channel();
        thread::spawn(move || ask(&address, every, &tell));
        Self(told)
    }

    /// What has been answered since the last time.
    pub fn next(&self) -> Option<Looked> {
        self.0.try_recv().ok()
    }
}

fn ask(address: &AdminAddress, every: Duration, tell: &Sender<Looked>) {
    loop {
        let began = Instant::now();
        let looked = asked(address, "/api/status").and_then(|(_, status)| {
            let (_, sessions) = asked(address, SESSIONS)?;
            Ok(Answer { status, sessions })
        });
        if tell
            .send(looked.map_err(|error| error.to_string()))
            .is_err()
        {
            return;
        }
        thread::sleep(every.saturating_sub(began.elapsed()));
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// A relay that does well.
    pub fn status() -> Status {
        let told = json!({
            "version": "0.1.0", "pid": 1, "started": "2026-11-23T00:00:00Z", "uptime_seconds": 61.0, "ready": true,
            "not_ready": null, "draining": false,
            "rules": {"standing": "not_needed", "since_seconds": null, "why": null, "parts": []},
            "workers": 2, "engine": "splice", "sessions": 2,
            "limits": {"max_connections": null, "max_descriptors": 1024}, "listeners": [], "reloads": 0,
            "reloads_refused": 0,
            "pipes": {"budget_bytes": 1, "capacity_bytes": 0, "in_use": 0, "free": 0},
            "added_latency": {"p50_seconds": 0.00002, "p99_seconds": 0.0002},
            "conntrack": {"entries": 1, "entries_limit": 2, "invalid": 0, "invalid_unknown": null, "reasons": null,
                "reasons_unknown": []},
            "settings": "",
        });
        serde_json::from_value(told).unwrap()
    }
}
