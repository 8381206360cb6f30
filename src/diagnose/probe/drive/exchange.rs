//! Flows whose segments are compared: what was sent and what came.

use super::Driver;
use super::line::Line;
use super::shape::{self, Offered, Shape};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{Exchange, Purpose, What};
use crate::metrics::Direction::{self, ClientToServer, ServerToClient};
use crate::packet::Flags;

/// Bytes of data in a segment of an exchange.
const DATA: u16 = 100;
/// Expedited forwarding (RFC 3246), with no ECN.
const EF: u8 = 46 << 2;
/// ECN-capable, and congestion experienced (RFC 3168).
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// How an exchange differs from others.
#[derive(Debug, Clone, Copy)]
struct Manner {
    purpose: Purpose,
    syn: Flags,
    syn_ack: Flags,
    /// An option that nobody knows.
    unknown: bool,
}

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// All of them.
    pub fn exchanges(&mut self) -> Result<Vec<Exchange>, Lost> {
        let mut exchanges = Vec::new();
        for purpose in [
            Purpose::Plain,
            Purpose::Ecn,
            Purpose::Urgent,
            Purpose::UnknownOption,
        ] {
            let mut line = match self.open(self.path.port, false)? {
                Ok(line) => line,
                Err(refusal) => {
                    self.cannot(format!("no flow could be opened: {refusal}"));
                    continue;
                }
            };
            self.exchange(&mut line, Manner::of(purpose))?;
            self.finish(&mut line)?;
            exchanges.push(line.into_exchange(purpose));
        }
        Ok(exchanges)
    }

    fn exchange(&mut self, line: &mut Line, manner: Manner) -> Result<(), Lost> {
        if !self.opens(line, manner)? {
            return Ok(());
        }
        match manner.purpose {
            Purpose::Plain => {
                for direction in Direction::BOTH {
                    self.data(line, What::Data, direction, |_| {})?;
                }
                for direction in Direction::BOTH {
                    self.hole(line, direction)?;
                }
                for direction in Direction::BOTH {
                    self.data(line, What::Dscp, direction, |shape| {
                        shape.traffic_class = EF
                    })?;
                }
            }
            Purpose::Ecn => {
                for (what, class) in [(What::Ect, ECT_0), (What::Ce, CE)] {
                    for direction in Direction::BOTH {
                        self.data(line, what, direction, |shape| shape.traffic_class = class)?;
                    }
                }
            }
            Purpose::Urgent => {
                for direction in Direction::BOTH {
                    self.data(line, What::Urgent, direction, |shape| {
                        shape.flags = shape.flags | Flags::URG;
                        shape.urgent = 10;
                    })?;
                }
            }
            Purpose::UnknownOption => {
                for direction in Direction::BOTH {
                    self.data(line, What::Data, direction, |shape| {
                        shape.options.extend(shape::unknown());
                    })?;
                }
            }
            Purpose::Port(_) => {}
        }
        Ok(())
    }

    /// The handshake; whether all of it came.
    fn opens(&mut self, line: &mut Line, manner: Manner) -> Result<bool, Lost> {
        let syn = self.syn(line, ClientToServer, manner);
        if !self.step(line, &syn)? {
            return Ok(false);
        }
        let syn_ack = self.syn(line, ServerToClient, manner);
        if !self.step(line, &syn_ack)? {
            return Ok(false);
        }
        let mut ack = Shape::new(What::Ack, ClientToServer);
        ack.window = 502;
        ack.options = self.stamped(line, ClientToServer);
        self.step(line, &ack)?;
        Ok(true)
    }

    fn syn(&self, line: &Line, direction: Direction, manner: Manner) -> Shape {
        let (what, flags, window, window_scale) = match direction {
            ClientToServer => (What::Syn, manner.syn, 64_240, 7),
            ServerToClient => (What::SynAck, manner.syn_ack, 65_160, 8),
        };
        let offered = Offered {
            mss: self.mss(direction),
            window_scale,
        };
        let (value, echo) = self.timestamp(line, direction);
        let mut options = shape::as_linux(&offered, value, echo);
        if manner.unknown {
            options.extend(shape::unknown());
        }
        Shape {
            flags,
            window,
            options,
            ..Shape::new(what, direction)
        }
    }

    /// What an end takes at once; the two ends say different things, so that an answer is not taken for a copy.
    fn mss(&self, direction: Direction) -> u16 {
        let headers = if self.path.client.is_ipv4() { 40 } else { 60 };
        match direction {
            ClientToServer => self.path.mtu.client.min(9000) - headers,
            ServerToClient => self.path.mtu.server.min(9000) - headers - 8,
        }
    }

    /// Timestamps, if both ends have heard of them.
    fn stamped(&self, line: &Line, direction: Direction) -> Vec<u8> {
        if !line.has_timestamps() {
            return Vec::new();
        }
        let (value, echo) = self.timestamp(line, direction);
        shape::timestamps(value, echo)
    }

    fn data(
        &mut self,
        line: &mut Line,
        what: What,
        direction: Direction,
        change: impl FnOnce(&mut Shape),
    ) -> Result<bool, Lost> {
        let mut shape = Shape::new(what, direction).with_data(DATA);
        // No two are the same, so that one can be told from another.
        shape.window = 503 + line.steps.len() as u16;
        shape.options = self.stamped(line, direction);
        change(&mut shape);
        self.step(line, &shape)
    }

    /// Data beyond a hole, what the other end says of it, and what was missing.
    fn hole(&mut self, line: &mut Line, direction: Direction) -> Result<(), Lost> {
        let other = direction.back();
        let syn = match other {
            ClientToServer => What::SynAck,
            ServerToClient => What::Syn,
        };
        // Blocks may be sent by who has heard that they may.
        if !line.arrived(syn).is_some_and(|read| read.permits_sack()) {
            return Ok(());
        }
        let comes = self.data(line, What::Data, direction, |shape| {
            shape.hole = DATA.into();
        })?;
        if let (true, Some((left, right))) = (comes, line.way(direction).beyond) {
            let mut shape = Shape::new(What::Sack, other);
            shape.window = 503 + line.steps.len() as u16;
            shape.options = self.stamped(line, other);
            shape.options.extend(shape::sack(left, right));
            self.step(line, &shape)?;
        }
        self.data(line, What::Data, direction, |_| {})?;
        Ok(())
    }
}

// === impl Manner ===

impl Manner {
    fn of(purpose: Purpose) -> Self {
        let is_ecn = purpose == Purpose::Ecn;
        let when_ecn = |flags| if is_ecn { flags } else { Flags::default() };
        Self {
            purpose,
            syn: Flags::SYN | when_ecn(Flags::ECE | Flags::CWR),
            syn_ack: Flags::SYN | Flags::ACK | when_ecn(Flags::ECE),
            unknown: purpose == Purpose::UnknownOption,
        }
    }
}
