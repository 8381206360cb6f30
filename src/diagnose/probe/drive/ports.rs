//! Handshakes at other ports of the server: a firewall may do to one service what it does not do to another.

use super::Driver;
use super::line::Line;
use super::shape::{self, Offered, Shape};
use crate::diagnose::probe::ends::{Ends, Lost};
use crate::diagnose::probe::evidence::{PortOutcome, PortSeen, Purpose, What};
use crate::diagnose::probe::order::{Answer, End, Header, Order, Refusal};
use crate::metrics::Direction::{ClientToServer, ServerToClient};
use crate::packet::Flags;

// === impl Driver ===

impl<E: Ends> Driver<'_, E> {
    /// Tries one after another.
    pub fn ports(&mut self, ports: &[u16]) -> Result<Vec<PortSeen>, Lost> {
        ports
            .iter()
            .map(|port| {
                let outcome = self.port(*port)?;
                Ok(PortSeen {
                    port: *port,
                    outcome,
                })
            })
            .collect()
    }

    fn port(&mut self, port: u16) -> Result<PortOutcome, Lost> {
        let (opened, is_served) = match self.open(port, false)? {
            Err(Refusal::PortInUse) => (self.open(port, true)?, true),
            other => (other, false),
        };
        let mut line = match opened {
            Ok(line) => line,
            Err(refusal) => return Ok(PortOutcome::Untried(refusal.to_string())),
        };
        let syn = self.offer(&line, What::Syn);
        let comes = self.step(&mut line, &syn)?;
        if comes && is_served {
            self.service_answers(&mut line)?;
        } else if comes {
            let syn_ack = self.offer(&line, What::SynAck);
            self.step(&mut line, &syn_ack)?;
        }
        self.finish(&mut line)?;
        if line.steps.is_empty() {
            let text = "the SYN was not sent";
            return Ok(PortOutcome::Untried(text.to_owned()));
        }
        if !comes && line.steps[0].instead.is_empty() {
            return Ok(PortOutcome::Blocked);
        }
        Ok(PortOutcome::Compared(
            line.into_exchange(Purpose::Port(port)),
        ))
    }

    /// What the service sent, and what came of it.
    fn service_answers(&mut self, line: &mut Line) -> Result<(), Lost> {
        let patience_ms = self.patience_ms();
        let order = Order::Overhear {
            flow: line.id,
            patience_ms,
        };
        let Answer::Overheard(Some(Header(sent))) = self.ask(End::Server, order)? else {
            return Ok(()); // it does not answer, and that is the service's affair
        };
        let shape = Shape::new(What::SynAck, ServerToClient);
        self.step_of_service(line, &shape, Header(sent))?;
        Ok(())
    }

    fn offer(&self, line: &Line, what: What) -> Shape {
        let headers = if self.path.client.is_ipv4() { 40 } else { 60 };
        let (direction, flags, mtu, window_scale) = match what {
            What::Syn => (ClientToServer, Flags::SYN, self.path.mtu.client, 7),
            _ => (
                ServerToClient,
                Flags::SYN | Flags::ACK,
                self.path.mtu.server - 8,
                8,
            ),
        };
        let offered = Offered {
            mss: mtu.min(9000) - headers,
            window_scale,
        };
        let (value, echo) = self.timestamp(line, direction);
        Shape {
            flags,
            options: shape::as_linux(&offered, value, echo),
            ..Shape::new(what, direction)
        }
    }
}
