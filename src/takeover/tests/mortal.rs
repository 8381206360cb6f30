//! A line whose process can be killed, or falls asleep, at any of its steps: each message that it sends or receives is
//! one.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::model::{Side, World};
use crate::takeover::{Channel, ChannelError, Line, Message};

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// It is killed before the step,
    KilledBefore,
    /// in the middle of it, if it sends,
    KilledAmid,
    /// or when it is done.
    KilledAfter,
    /// It sleeps until the other has come to its end.
    Sleeps,
    /// It sleeps until the other has come to its end and is no more.
    SleepsLong,
    /// It gives up waiting at the moment when the other has said that it began.
    GivesUp,
    /// It says that it began in the moment after the other, which waits for that at the same step, has looked for the
    /// last time.
    BeginsTooLate,
}

/// Where.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub side: Side,
    pub step: usize,
    pub blow: Blow,
}

/// The line of a process.
#[derive(Clone)]
pub struct Mortal(Arc<Mutex<Body>>);

struct Body {
    side: Side,
    world: World,
    fault: Option<Fault>,
    step: usize,
    /// Closed when the process is killed.
    channel: Option<Channel>,
    /// So is this, after that: what a pidfd shows.
    life: Option<OwnedFd>,
}

/// What unwinds the thread of a process that is killed: nothing of it is run any more.
struct Killed;

impl Mortal {
    pub fn new(
        side: Side,
        world: &World,
        fault: Option<Fault>,
        channel: Channel,
        life: OwnedFd,
    ) -> Self {
        Self(Arc::new(Mutex::new(Body {
            side,
            world: world.clone(),
            fault,
            step: 0,
            channel: Some(channel),
            life: Some(life),
        })))
    }

    /// Runs a process until it ends or is killed. Only what it has come to is left of it.
    pub fn lives<T>(self, run: impl FnOnce(Self) -> T) -> Ended<T> {
        let (side, world) = {
            let body = self.0.lock().unwrap();
            (body.side, body.world.clone())
        };
        let own = self.clone();
        let end = catch_unwind(AssertUnwindSafe(|| run(own)));
        let mut body = self.0.lock().unwrap_or_else(|body| body.into_inner());
        body.channel = None;
        let ended = Ended {
            end: match end {
                Ok(end) => Some(end),
                Err(killed) if killed.is::<Killed>() => None,
                Err(panic) => resume_unwind(panic),
            },
            steps: body.step,
            life: body.life.take(),
        };
        world.truth(|truth| truth.ended.push(side));
        ended
    }

    /// What happens at this step, if anything does.
    fn step(&self) -> (Channel, Option<Blow>) {
        let mut body = self.0.lock().unwrap();
        let step = body.step;
        body.step += 1;
        let channel = body.channel.clone().unwrap();
        let (side, world) = (body.side, body.world.clone());
        let here = |fault: &Fault| (fault.side, fault.step) == (side, step);
        let fault = body.fault.filter(here);
        drop(body);
        let blow = fault.map(|fault| fault.blow);
        match blow {
            Some(Blow::Sleeps) => {
                world.wait_until(|truth| truth.ended.iter().any(|ended| *ended != side));
            }
            Some(Blow::SleepsLong) => {
                world.wait_until(|truth| truth.dead.iter().any(|dead| *dead != side));
            }
            Some(Blow::BeginsTooLate) => world.wait_until(|truth| truth.looked),
            Some(Blow::GivesUp) => world.wait_until(|truth| truth.started > 0),
            _ => {}
        }
        (channel, blow)
    }

    fn world(&self) -> World {
        self.0.lock().unwrap().world.clone()
    }

    /// Steps since the old process began to wait for what is said too late, if that is what happens.
    fn waits_for_too_late(&self) -> Option<usize> {
        let body = self.0.lock().unwrap();
        let fault = body.fault.filter(|fault| fault.side != body.side)?;
        let since = body.step.checked_sub(fault.step + 1);
        since.filter(|_| fault.blow == Blow::BeginsTooLate)
    }

    /// The kernel closes what a killed process had, and only then it is gone.
    fn killed(&self, channel: Channel) -> ! {
        drop(channel);
        let mut body = self.0.lock().unwrap();
        body.world.dies(body.side);
        body.channel = None;
        body.life = None;
        drop(body);
        resume_unwind(Box::new(Killed));
    }
}

/// What is left of a process.
pub struct Ended<T> {
    /// What it came to, unless it was killed.
    pub end: Option<T>,
    pub steps: usize,
    /// As long as this is there the process lives.
    pub life: Option<OwnedFd>,
}

impl std::fmt::Debug for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mortal")
    }
}

impl Line for Mortal {
    fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), ChannelError> {
        let (channel, blow) = self.step();
        match blow {
            Some(Blow::KilledBefore) => self.killed(channel),
            Some(Blow::KilledAmid) => {
                let bytes = message.encode().unwrap();
                // One without a payload is sent as a whole or not at all.
                let half = match bytes.len() {
                    ..=16 => 0,
                    long => long / 2,
                };
                let _ = channel.send_bytes(&bytes[..half], descriptors, within);
                self.killed(channel)
            }
            _ => {}
        }
        let sent = channel.send(message, descriptors, within);
        if sent.is_ok() && *message == Message::Started {
            self.world().truth(|truth| truth.started += 1);
        }
        match blow {
            Some(Blow::KilledAfter) => self.killed(channel),
            Some(Blow::BeginsTooLate) => self.world().truth(|truth| truth.tried = true),
            _ => {}
        }
        sent
    }

    fn receive(&self, within: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        let (channel, blow) = self.step();
        if blow == Some(Blow::KilledBefore) {
            self.killed(channel);
        }
        let waits = self.waits_for_too_late();
        if blow == Some(Blow::GivesUp) || waits == Some(0) {
            return Err(ChannelError::Late(within));
        }
        let received = channel.receive(within);
        if waits == Some(1) {
            let world = self.world();
            world.truth(|truth| truth.looked = true);
            world.wait_until(|truth| truth.tried);
        }
        if matches!(blow, Some(Blow::KilledAmid | Blow::KilledAfter)) {
            self.killed(channel);
        }
        received
    }

    fn deafen(&self) {
        self.0.lock().unwrap().channel.as_ref().unwrap().deafen();
    }

    fn hang_up(&self) {
        self.0.lock().unwrap().channel.as_ref().unwrap().hang_up();
    }
}
