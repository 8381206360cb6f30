//! One thread of the server.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::inbox::Inboxes;
use super::served::{AHEAD, Lent, Served, Step, Trouble};
use super::{Serve, Stall, Totals};
use crate::bench::block::block;
use crate::bench::poller::{Interest, Poller};

/// How often a thread that has nothing to do looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);
/// How long no connection is accepted when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(10);
/// The numbers of things that are no connections.
const BELL: u64 = u64::MAX;
const LISTENERS: u64 = u64::MAX / 2;

/// One thread.
pub(super) struct Worker<'a> {
    pub number: usize,
    pub listeners: &'a [TcpListener],
    pub inboxes: &'a Inboxes,
    pub serve: &'a Serve,
    pub began: Instant,
    pub ended: &'a AtomicBool,
}

/// What it has while it runs.
struct Running<'a> {
    worker: Worker<'a>,
    poller: Poller,
    /// Connections by number; a number is used again when its connection is over.
    served: Vec<Option<Served>>,
    free: Vec<usize>,
    /// Connections that can go on.
    queue: VecDeque<usize>,
    block: Vec<u8>,
    totals: Totals,
    stalls: u32,
}

// === impl Worker ===

impl Worker<'_> {
    pub fn run(self) -> io::Result<Totals> {
        let poller = Poller::new()?;
        poller.watch(self.inboxes.of(self.number), BELL, Interest::Incoming)?;
        for (number, listener) in self.listeners.iter().enumerate() {
            poller.watch_shared(listener, LISTENERS + number as u64)?;
        }
        let mut running = Running {
            worker: self,
            poller,
            served: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            block: block(AHEAD),
            totals: Totals::default(),
            stalls: 0,
        };
        running.run()
    }
}

// === impl Running ===

impl Running<'_> {
    fn run(&mut self) -> io::Result<Totals> {
        let mut events = Vec::new();
        while !self.worker.ended.load(Ordering::Relaxed) {
            let most = match self.queue.is_empty() {
                true => GLANCE,
                false => Duration::ZERO,
            };
            self.poller.wait_roughly(most, &mut events)?;
            if let Some(stall) = self.worker.serve.stall {
                self.stall(stall);
            }
            for told in &events {
                match told.number {
                    BELL => {
                        for connection in self.worker.inboxes.of(self.worker.number).take() {
                            self.admit(connection);
                        }
                    }
                    listener if listener >= LISTENERS => {
                        self.accept((listener - LISTENERS) as usize);
                    }
                    connection => self.hear(connection as usize, told.ended),
                }
            }
            for _ in 0..self.queue.len() {
                if let Some(number) = self.queue.pop_front() {
                    self.advance(number);
                }
            }
        }
        let open = std::mem::take(&mut self.served);
        for served in open.into_iter().flatten() {
            self.totals.bytes += served.moved();
        }
        Ok(self.totals)
    }

    /// One at a time: the others are told of the next.
    fn accept(&mut self, listener: usize) {
        match self.worker.listeners[listener].accept() {
            Ok((connection, _)) => {
                self.totals.connections += 1;
                if let Some(own) = self.worker.inboxes.place(connection, self.worker.number) {
                    self.admit(own);
                }
            }
            Err(error) if is_short_of_descriptors(&error) => {
                self.totals.refused += 1;
                if self.totals.refused == 1 {
                    tracing::warn!(%error, "connections have to wait; raise `ulimit -n`");
                }
                std::thread::sleep(PAUSE);
            }
            // Another thread was faster, or the client has left.
            Err(_) => {}
        }
    }

    fn admit(&mut self, connection: TcpStream) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.served.push(None);
            self.served.len() - 1
        });
        let admitted = Served::new(connection).and_then(|served| {
            // What has arrived already is told, too.
            self.poller
                .watch(&served, number as u64, Interest::Incoming)?;
            Ok(served)
        });
        match admitted {
            Ok(served) => self.served[number] = Some(served),
            Err(error) => {
                tracing::debug!(%error, "a connection was lost before it began");
                self.totals.failed += 1;
                self.forget(number);
            }
        }
    }

    fn hear(&mut self, number: usize, ended: bool) {
        if let Some(served) = self.served.get_mut(number).and_then(Option::as_mut)
            && ended
        {
            served.see_end();
        }
        self.queue.push_back(number);
    }

    fn advance(&mut self, number: usize) {
        let Some(served) = self.served.get_mut(number).and_then(Option::as_mut) else {
            return;
        };
        let mut lent = Lent {
            block: &mut self.block,
            only: self.worker.serve.only,
        };
        match served.advance(&mut lent) {
            Ok(Step::Wait) if served.waits_for_room() => {
                let watched = self.poller.rewatch(&*served, number as u64, Interest::Both);
                if let Err(error) = watched {
                    self.leave(number, Some(error.into()));
                }
            }
            Ok(Step::Wait) => {}
            Ok(Step::Again) => self.queue.push_back(number),
            Ok(Step::Over) => self.leave(number, None),
            Err(trouble) => self.leave(number, Some(trouble)),
        }
    }

    fn leave(&mut self, number: usize, trouble: Option<Trouble>) {
        let Some(served) = self.served[number].take() else {
            return;
        };
        self.totals.bytes += served.moved();
        match trouble {
            None => {}
            Some(Trouble::Foreign) => {
                self.totals.foreign += 1;
                tracing::info!("{}", Trouble::Foreign);
            }
            Some(trouble @ Trouble::Corrupt(_)) => {
                self.totals.failed += 1;
                tracing::error!("{trouble}");
                served.reset();
            }
            Some(trouble @ Trouble::Io(_)) => {
                self.totals.failed += 1;
                tracing::debug!("{trouble}");
            }
        }
        self.forget(number);
    }

    fn forget(&mut self, number: usize) {
        self.free.push(number);
        self.worker.inboxes.of(self.worker.number).is_over();
    }

    /// Stands still if it is time to.
    fn stall(&mut self, stall: Stall) {
        if self.worker.began.elapsed() >= stall.every * (self.stalls + 1) {
            let over = Instant::now() + stall.length;
            while !self.worker.ended.load(Ordering::Relaxed) && Instant::now() < over {
                std::thread::sleep(GLANCE.min(over.saturating_duration_since(Instant::now())));
            }
            // Those that would have begun meanwhile are left out.
            let passed = self.worker.began.elapsed().as_nanos() / stall.every.as_nanos();
            self.stalls = u32::try_from(passed).unwrap_or(u32::MAX);
        }
    }
}

fn is_short_of_descriptors(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
