//! What the main thread says of the relay, for those who ask at the admin sockets.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::bring_up::way;
use super::effective::Effective;
use super::logging;
use super::reload::Running;
use crate::admin::{About, Ask, Doors, Phase, Rules, Server, Source, Standing};
use crate::config::{InvalidReasons, Settings};
use crate::relay::{self, Handle, WayIn};
use crate::rules::{Change, Part};

/// Says how the relay stands.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Standing>);

/// Those who may ask, over a Unix socket, that the relay does something.
#[derive(Debug)]
pub struct Asked {
    /// The thread that answers.
    server: Server,
    asks: mpsc::Receiver<Ask>,
}

/// What may be asked for before the first is begun; who asks then is told that the relay is busy.
const ASKS: usize = 4;

/// What has to be known to answer those who ask.
pub struct Answering {
    relay: Handle,
    about: About,
    reasons: InvalidReasons,
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
            rules_lost: 0,
            parts: vec![],
            text: text(settings),
            settings: Arc::new(settings.clone()),
        }))
    }

    /// It relays, and its rules stand so.
    pub fn relays(&self, rules: Rules, parts: Vec<Part>) {
        self.0.send_modify(|standing| {
            standing.phase = Phase::Running;
            standing.rules = rules;
            standing.parts = parts;
        });
    }

    /// Something has become of its rules.
    pub fn rules(&self, change: Change) {
        self.0.send_modify(|standing| match change {
            Change::Lost { why, parts } => standing.lost_rules(why, parts),
            Change::Restored => standing.restored_rules(),
        });
    }

    /// Its settings may be others now, and its rules.
    pub fn reloaded(&self, running: &Running) {
        self.0.send_modify(|standing| {
            standing.text = text(&running.settings);
            standing.settings = Arc::new(running.settings.clone());
            standing.parts = running.rules.parts();
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

// === impl Answering ===

impl Answering {
    /// Of a relay that has begun.
    pub fn of(
        relay: &relay::Server,
        settings: &Settings,
        ways_in: &[WayIn],
        beginning: Beginning,
    ) -> Self {
        let ways = settings.listeners.iter().zip(ways_in);
        Self {
            relay: relay.handle().clone(),
            about: About {
                started: beginning.0,
                began: beginning.1,
                workers: relay.workers(),
                ways: ways
                    .map(|(listener, way_in)| way(listener, way_in))
                    .collect(),
                lines_lost: logging::lost,
            },
            reasons: settings.process.invalid_reasons,
        }
    }

    /// Answers from now on.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(self, doors: Doors, publisher: &Publisher) -> std::io::Result<Asked> {
        let (asks, asked) = mpsc::channel(ASKS);
        let source = Source {
            relay: self.relay,
            about: self.about,
            standing: publisher.0.subscribe(),
            asks,
        };
        let server = Server::start(doors, source, self.reasons)?;
        Ok(Asked {
            server,
            asks: asked,
        })
    }
}

// === impl Asked ===

impl Asked {
    /// Whoever answers.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Stops answering, for another process to answer: [`Server::let_go`].
    pub async fn let_go(self) {
        self.server.let_go().await;
    }

    /// What somebody asks for, once somebody does.
    pub async fn next(&mut self) -> Ask {
        match self.asks.recv().await {
            Some(ask) => ask,
            // Nobody can ask.
            None => std::future::pending().await,
        }
    }
}
