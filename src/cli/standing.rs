//! What the main thread says of the relay, for those who ask at the admin sockets.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::effective::Effective;
use super::reload::Running;
use crate::admin::{
    About, Doors, Figures, Metrics, Phase, Query, Relayed, Rules, Server, Sessions, Source,
    Standing, Told,
};
use crate::config::Settings;
use crate::rules::Change;

/// Says how the relay stands.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Standing>);

/// Somebody who may ask, over a Unix socket, that the relay drains.
#[derive(Debug)]
pub struct Asked {
    /// The thread that answers.
    _server: Server,
    drain: mpsc::Receiver<()>,
}

/// When the process was started.
#[derive(Debug, Clone, Copy)]
pub struct Beginning(SystemTime, Instant);

// === impl Beginning ===

impl Beginning {
    /// Now.
    pub fn now() -> Self {
        Self(SystemTime::now(), Instant::now())
    }
}

// === impl Publisher ===

impl Publisher {
    /// It has begun.
    pub fn new(settings: &Settings) -> Self {
        Self(watch::Sender::new(Standing {
            phase: Phase::Starting,
            rules: Rules::NotNeeded,
            text: text(settings),
            settings: Arc::new(settings.clone()),
            reloads: 0,
            reloads_refused: 0,
        }))
    }

    /// It relays, and its rules stand so.
    pub fn relays(&self, rules: Rules) {
        self.0.send_modify(|standing| {
            standing.phase = Phase::Running;
            standing.rules = rules;
        });
    }

    /// Something has become of its rules.
    pub fn rules(&self, change: Change) {
        self.0.send_modify(|standing| match change {
            Change::Lost(why) => standing.rules.are_missing(why),
            Change::Restored => standing.rules.are_in_place(),
        });
    }

    /// Its settings may be others now.
    pub fn reloaded(&self, running: &Running) {
        let (reloads, refused) = running.reloads();
        self.0.send_modify(|standing| {
            standing.text = text(&running.settings);
            standing.settings = Arc::new(running.settings.clone());
            standing.reloads = reloads;
            standing.reloads_refused = refused;
        });
    }

    /// It is about to end.
    pub fn drains(&self) {
        self.0
            .send_modify(|standing| standing.phase = Phase::Draining);
    }
}

fn text(settings: &Settings) -> Arc<str> {
    Effective(settings).to_string().into()
}

// === impl Asked ===

impl Asked {
    /// Answers from now on.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        doors: Doors,
        publisher: &Publisher,
        beginning: Beginning,
        workers: usize,
        ways: Vec<String>,
    ) -> std::io::Result<Self> {
        let (asks, drain) = mpsc::channel(1);
        let source = Source {
            relayed: Box::new(StandIn),
            about: About {
                started: beginning.0,
                began: beginning.1,
                workers,
                ways,
            },
            standing: publisher.0.subscribe(),
            drain: asks,
        };
        let server = Server::start(doors, source)?;
        Ok(Self {
            _server: server,
            drain,
        })
    }

    /// Ready once somebody has asked for the drain.
    pub async fn for_the_drain(&mut self) {
        if self.drain.recv().await.is_none() {
            // Nobody can ask.
            std::future::pending().await
        }
    }
}

/// Stands in for `relay::Handle`.
struct StandIn;

impl Relayed for StandIn {
    fn live(&self) -> usize {
        0
    }

    fn sessions(&self, _query: Query) -> Told<Sessions> {
        Box::pin(async { Sessions::default() })
    }

    fn figures(&self) -> Told<Figures> {
        Box::pin(async { Figures::default() })
    }

    fn metrics(&self, _accept: Option<String>) -> Told<Metrics> {
        Box::pin(async {
            Metrics {
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                text: "# HELP unmangle_sessions sessions that run\n# TYPE unmangle_sessions gauge\nunmangle_sessions 0\n".to_owned(),
            }
        })
    }
}
