//! Everything goes over to another process: the part of the one that gets it. docs/takeover.md is the manual.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Usage;
use crate::relay::{Move, Parcel};
use crate::takeover::{Channel, End, Patience, Standing, Taker, Totals, Trouble, take};

/// A takeover that is under way, on a thread of its own.
pub struct Taking {
    events: mpsc::UnboundedReceiver<Event>,
    comes: Comes,
}

/// Whether sessions may still come of the process before. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Comes(Arc<AtomicBool>);

impl Comes {
    /// Whether none will.
    pub fn nothing_more(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the main thread has to do, or to know.
#[derive(Debug)]
pub enum Event {
    /// Get ready for what there is, and change nothing yet. Then tell what has the workers begin, or why it does not fit.
    Adopt(
        Standing,
        Vec<OwnedFd>,
        oneshot::Sender<anyhow::Result<Move>>,
    ),
    /// It is this process that relays: so many sessions came with that.
    Begun(usize),
    /// The addresses where a relay is asked are free.
    DoorsFree,
    /// It is over: with nothing, if it was not begun.
    Over(Result<End, String>),
}

/// What this process can do, as the thread has it done.
struct Successor {
    main: Handle,
    events: mpsc::UnboundedSender<Event>,
    /// Once there are workers.
    moving: Option<Move>,
    kept: Vec<Parcel<OwnedFd>>,
    has_begun: bool,
}

/// A relay that answers takes no longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// A head of HTTP is shorter.
const LONGEST_HEAD: usize = 16 << 10;

const REQUEST: &str = "POST /takeover HTTP/1.1\r\nHost: unmangle\r\nContent-Length: 0\r\n\
                       Connection: Upgrade\r\nUpgrade: unmangle-takeover\r\n\r\n";

// === impl Taking ===

impl Taking {
    /// Begins to take over from the relay that answers at this socket.
    ///
    /// # Errors
    /// If none does, or it does not hand over to us.
    pub fn begin(socket: &Path) -> Result<Self, Usage> {
        let line = ask(socket)
            .map_err(|error| Usage(format!("--takeover {}: {error:#}", socket.display())))?;
        let (events, todo) = mpsc::unbounded_channel();
        let mut successor = Successor {
            main: Handle::current(),
            events: events.clone(),
            moving: None,
            kept: Vec::new(),
            has_begun: false,
        };
        let comes = Comes(Arc::default());
        let over_for = comes.clone();
        std::thread::spawn(move || {
            let taken = take(Channel::over(line), Patience::default(), &mut successor);
            let over = match taken {
                Ok(rest) => Ok(rest.run(&mut successor)),
                Err(failure) => Err(failure.to_string()),
            };
            over_for.0.store(true, Ordering::Release);
            // Whoever ends does not want to know.
            let _ = events.send(Event::Over(over));
        });
        Ok(Self {
            events: todo,
            comes,
        })
    }

    /// Whether sessions may still come.
    pub fn comes(&self) -> Comes {
        self.comes.clone()
    }

    /// What there is to do next; after the end nothing ever.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

/// Asks a relay to hand over; the connection, on which nothing was said yet.
fn ask(socket: &Path) -> anyhow::Result<OwnedFd> {
    let mut line = UnixStream::connect(socket).context("no relay answers there")?;
    line.set_read_timeout(Some(ANSWERED_WITHIN))?;
    line.set_write_timeout(Some(ANSWERED_WITHIN))?;
    line.write_all(REQUEST.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    // What follows is not ours to read: descriptors would come with it.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD || line.read(&mut byte).context("waiting for an answer")? == 0
        {
            bail!("what answers there is no relay");
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    match status {
        "101" => {}
        "404" => bail!("that relay is of a release that cannot hand over: restart it"),
        _ => {
            let mut why = String::new();
            // The answer ends, or the time is over.
            let _ = line.take(LONGEST_HEAD as u64).read_to_string(&mut why);
            let why = why.lines().next().unwrap_or_default();
            return Err(anyhow!("it does not hand over: {why} ({status})"));
        }
    }
    line.set_read_timeout(None)?;
    line.set_write_timeout(None)?;
    Ok(line.into())
}

// === impl Successor ===

impl Successor {
    fn tell(&self, event: Event) {
        // A main thread that has ended is about to end this one.
        let _ = self.events.send(event);
    }
}

impl Taker for Successor {
    fn adopt(&mut self, standing: Standing, descriptors: Vec<OwnedFd>) -> Result<(), Trouble> {
        let (answer, answered) = oneshot::channel();
        self.tell(Event::Adopt(standing, descriptors, answer));
        let adopted = answered
            .blocking_recv()
            .map_err(|_| "this process is about to end")?;
        self.moving = Some(adopted.map_err(|error| format!("{error:#}"))?);
        Ok(())
    }

    fn keep(&mut self, sessions: Vec<Parcel<OwnedFd>>) -> Result<(), Trouble> {
        let moving = self.moving.as_ref().ok_or("nothing was adopted")?;
        let stranger = sessions
            .iter()
            .find(|each| !moving.serves(&each.note.listener));
        if let Some(stranger) = stranger {
            return Err(format!("there is no listener {}", stranger.note.listener).into());
        }
        self.kept.extend(sessions);
        Ok(())
    }

    fn begin(&mut self) {
        let Some(moving) = &self.moving else {
            return;
        };
        let sessions = std::mem::take(&mut self.kept);
        let count = sessions.len();
        for stranger in moving.take_over(sessions) {
            tracing::error!(
                listener = stranger.note.listener,
                "a session of no listener was reset"
            );
        }
        // Once: by now this process may stand still for the next one, and that must not be undone.
        if !std::mem::replace(&mut self.has_begun, true) {
            moving.begin();
        }
        self.tell(Event::Begun(count));
    }

    fn add(&mut self, totals: Totals) {
        let Some(moving) = &self.moving else {
            return;
        };
        moving.owe(&totals.debts);
        match totals.recorded.into_recorders(moving.listeners()) {
            Ok((recorders, unknown)) => {
                if !unknown.is_empty() {
                    let unknown = unknown.join(", ");
                    tracing::warn!(unknown, "left out of what the process before had counted");
                }
                let add = moving.add_records(&recorders);
                self.main.block_on(add);
            }
            Err(error) => tracing::error!(%error, "what the process before had counted is lost"),
        }
    }

    fn discard(&mut self) {
        self.kept.clear();
    }

    fn doors_free(&mut self) {
        self.tell(Event::DoorsFree);
    }
}
