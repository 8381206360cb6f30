//! One client's session: its end of the path here, and the connection by which it says what that is to do.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::super::control::{Ledger, Refused, Said, Step, Told, Welcome, line};
use super::super::here::{Here, Ports};
use super::super::order::End;
use super::{Guest, House, LOOK, Line, ServeError, is_for_now};

/// A session of which nothing has been heard for so long has ended.
const SILENCE: Duration = Duration::from_secs(60);
/// So many messages and pieces of them are taken at a time: who floods keeps the session from nothing else.
const AT_A_TIME: usize = 16;

/// One client's.
pub(super) struct Session<'a> {
    ended: &'a AtomicBool,
    here: Here,
    ledger: Ledger,
    welcome: Welcome,
    link: Option<Line>,
    linked: Arc<AtomicBool>,
    replaced: Arc<AtomicBool>,
    /// Connections that are made anew come in here, after a ring.
    connections: Receiver<Line>,
    bell: Arc<OwnedFd>,
    heard: Instant,
    /// More may have come than was taken.
    more: bool,
}

// === impl Session ===

impl<'a> Session<'a> {
    /// Becomes an end for the client of this connection.
    pub(super) fn begin(
        house: &House<'a>,
        guest: &Guest,
        stream: &TcpStream,
        connections: Receiver<Line>,
    ) -> Result<Self, ServeError> {
        let (own, peer) = (stream.local_addr()?.ip(), stream.peer_addr()?);
        let serve = house.serve;
        let mut allowed = serve.ports.clone();
        allowed.push(serve.flow_port);
        let ports = Ports::Server {
            allowed,
            shared: Arc::clone(house.shared),
            held: BTreeMap::new(),
        };
        let here = Here::open(End::Server, own, peer, ports)?;
        let welcome = Welcome {
            flow_port: serve.flow_port,
            own,
            peer: peer.ip(),
            mtu: here.mtu(),
        };
        Ok(Self {
            ended: house.ended,
            here,
            ledger: Ledger::default(),
            welcome,
            link: None,
            linked: Arc::clone(&guest.linked),
            replaced: Arc::clone(&guest.replaced),
            connections,
            bell: Arc::clone(&guest.bell),
            heard: Instant::now(),
            more: false,
        })
    }

    /// Does what it is told until the session ends; says why it did.
    pub(super) fn run(mut self) -> &'static str {
        loop {
            if let Some(answer) = self.here.answer()
                && let Some(n) = self.ledger.done(&answer)
            {
                self.say(&Told::Answer { n, answer });
            }
            if self.ended.load(Ordering::Acquire) {
                return "the server ends";
            }
            if self.replaced.load(Ordering::Acquire) {
                return "its client began another one";
            }
            if self.heard.elapsed() >= SILENCE {
                return "nothing was heard of its client for a minute";
            }
            match self.turn() {
                Ok(true) => self.come_again(),
                Ok(false) => {}
                Err(error) => {
                    self.say(&Told::Refused(Refused::Cannot(error.to_string())));
                    return "this host could not go on";
                }
            }
            if let Some(why) = self.listen() {
                return why;
            }
        }
    }

    /// Goes on until something happens, or for a moment; whether the bell rang.
    fn turn(&mut self) -> io::Result<bool> {
        let mut others: Vec<(BorrowedFd, PollFlags)> = vec![(self.bell.as_fd(), PollFlags::IN)];
        if let Some((stream, _)) = &self.link {
            others.push((stream.as_fd(), PollFlags::IN));
        }
        let until = match self.more {
            true => self.here.now(),
            false => self.here.now() + LOOK,
        };
        Ok(self.here.turn(until, &others)?.first() == Some(&true))
    }

    fn come_again(&mut self) {
        let mut count = [0; 8];
        // It is there to be emptied.
        let _ = rustix::io::read(&self.bell, &mut count);
        while let Ok(connection) = self.connections.try_recv() {
            self.connect(connection);
        }
    }

    /// Takes a connection in the place of the one that was, and welcomes who made it.
    pub(super) fn connect(&mut self, connection: Line) {
        self.heard = Instant::now();
        // One that cannot be set so is of no use; its client comes again.
        let set = connection.0.set_nonblocking(true);
        self.link = set.is_ok().then_some(connection);
        self.linked.store(self.link.is_some(), Ordering::Release);
        self.say(&Told::Welcome(self.welcome));
    }

    /// Messages are small and few: one that finds no room says that the connection is broken.
    fn say(&mut self, told: &Told) {
        let Some((stream, _)) = &mut self.link else {
            return;
        };
        if stream.write_all(&line(told)).is_err() {
            self.unlink();
        }
    }

    fn unlink(&mut self) {
        self.link = None;
        self.linked.store(false, Ordering::Release);
    }

    /// Does what has been said; why the session ends, if it does.
    fn listen(&mut self) -> Option<&'static str> {
        let mut buffer = [0; 2048];
        self.more = false;
        for _ in 0..AT_A_TIME {
            let (stream, lines) = self.link.as_mut()?;
            match lines.take() {
                Ok(Some(said)) => {
                    self.heard = Instant::now();
                    if let Some(why) = self.obey(said) {
                        return Some(why);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(garbage) => {
                    let told = Told::Refused(Refused::Garbage(garbage.to_string()));
                    self.say(&told);
                    return Some("its client said something that is no message");
                }
            }
            match stream.read(&mut buffer) {
                // Who breaks off and means to come again resets.
                Ok(0) => return Some("its client has left"),
                Ok(size) => lines.push(&buffer[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if is_for_now(&error) => {}
                Err(_) => self.unlink(),
            }
        }
        self.more = true;
        None
    }

    fn obey(&mut self, said: Said) -> Option<&'static str> {
        match said {
            Said::Here => {}
            Said::Bye => return Some("its client is done"),
            Said::Hello(_) => return Some("its client said hello twice"),
            Said::Ask { n, order } => match self.ledger.came(n) {
                Step::New => self.here.order(order),
                Step::Again(answer) => self.say(&Told::Answer { n, answer }),
                Step::UnderWay | Step::Stale => {}
            },
        }
        None
    }
}
