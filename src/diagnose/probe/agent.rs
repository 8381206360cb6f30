//! One end of the path: carries out orders. Pure: orders, packets and the time in; packets and answers out.
//!
//! There is no I/O: who owns an [`Agent`] hands it what came and sends what it wants sent.

use std::net::IpAddr;
use std::time::Duration;

use super::order::{Answer, End, Order};

/// One end.
#[derive(Debug)]
pub struct Agent {
    end: End,
    own: IpAddr,
    peer: IpAddr,
}

/// A packet to be sent, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The packet, IP header first.
    pub packet: Vec<u8>,
}

/// How it went with a packet that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The kernel took it.
    Sent,
    /// It is longer than the interface's MTU.
    TooLong,
    /// The host's own rules dropped it.
    Forbidden,
}

// === impl Agent ===

impl Agent {
    /// One end, with its own address and that of the other as this host sees it.
    #[must_use]
    pub fn new(end: End, own: IpAddr, peer: IpAddr) -> Self {
        Self { end, own, peer }
    }

    /// Takes an order. Its answer comes by [`Self::poll_answer`], at once or later; one order at a time.
    ///
    /// `port` is the client's own port of a flow that it is to open, for which nobody on this host answers; the
    /// server needs none.
    pub fn order(&mut self, now: Duration, order: Order, port: Option<u16>) {
        let _ = (now, order, port, self.end, self.own, self.peer);
        todo!("built by the next commit")
    }

    /// Takes a packet that came to this host, from its IP header on. What is not the probe's is left alone.
    pub fn incoming(&mut self, now: Duration, packet: &[u8]) {
        let _ = (now, packet);
        todo!("built by the next commit")
    }

    /// Takes a packet that left this host, sent by whomever: where a service of the host answers in our place.
    pub fn outgoing(&mut self, now: Duration, packet: &[u8]) {
        let _ = (now, packet);
        todo!("built by the next commit")
    }

    /// The next packet that is to be sent now. How it went is to be told by [`Self::sent`] before this is asked again.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        let _ = now;
        todo!("built by the next commit")
    }

    /// How it went with the packet of [`Self::poll_transmit`].
    pub fn sent(&mut self, now: Duration, fate: Fate) {
        let _ = (now, fate);
        todo!("built by the next commit")
    }

    /// The answer to the order, once there is one.
    pub fn poll_answer(&mut self, now: Duration) -> Option<Answer> {
        let _ = now;
        todo!("built by the next commit")
    }

    /// When something is due, if nothing comes before: `poll_transmit` and `poll_answer` are to be asked then.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        todo!("built by the next commit")
    }

    /// That the tap had no room for so many packets.
    pub fn missed(&mut self, packets: u32) {
        let _ = packets;
        todo!("built by the next commit")
    }
}
