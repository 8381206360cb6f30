//! The firewall itself, as a pure function: a packet and the time in, packets out with the time
//! each is due. No sockets, no clock, and all that is random is seeded, so that a run repeats.
//!
//! A packet goes through these stations, in this order:
//!
//! | station | file | may |
//! | --- | --- | --- |
//! | stop | here | lose it: the wire is dead |
//! | loss | `fate` | lose it |
//! | filter | `filter` | drop it: a blocked port, or a SYN with an option it does not know |
//! | size | `oversize` | lose it, answer it, hold it back, cut it |
//! | flows | `flows` | drop it: its flow was idle for too long |
//! | sequence numbers | `isn` | shift them, also those quoted in ICMP errors |
//! | options | `options` | blank or overwrite them |
//! | TCP header | `fields` | clear ECN's and the urgent flag, lower the window |
//! | IP header | `fields` | overwrite the DSCP, clear the ECN bits |
//! | corruption | `fate` | flip a byte |
//! | rate, delay, order | `timing` | say when it is due, or lose it to a full queue |
//! | duplication | `fate` | let it arrive twice |
//!
//! From "flows" to "IP header", and for the options of a SYN in "filter", a direction may confine itself to
//! some ports (`scope`).

mod fate;
mod fields;
mod filter;
mod flows;
mod isn;
mod options;
mod oversize;
mod scope;
#[cfg(test)]
mod tests;
mod timing;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::counters::Counters;
use super::heading::{Heading, PerHeading};
use super::spec::{Direction, WireSpec};
use crate::packet::{Ip, Tcp, icmp};
use fields::{IpFields, TcpFields};
use filter::Refusal;
use flows::Flows;
use options::OptionRewrite;
use oversize::Size;
use scope::{Covered, Scope};
use timing::Timing;

/// Fast, small, and its numbers are the same everywhere.
type Dice = Xoshiro256PlusPlus;

/// The emulated firewall between two ends.
#[derive(Debug)]
pub struct Mangler {
    lanes: PerHeading<Lane>,
    flows: Flows,
    /// The wire is dead until then.
    dead_until: Duration,
}

/// A packet on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When it is due, counted from the start of the wire.
    pub due: Duration,
    /// Which way it travels.
    pub heading: Heading,
    /// The packet, IP header first.
    pub packet: Vec<u8>,
}

/// All that concerns one direction.
#[derive(Debug)]
struct Lane {
    spec: Direction,
    /// What this direction rewrites.
    scope: Scope,
    /// What the way back rewrites, and this direction has to undo.
    back_scope: Scope,
    options: OptionRewrite,
    tcp_fields: TcpFields,
    ip_fields: IpFields,
    timing: Timing,
    dice: Dice,
    counters: Counters,
}

// === impl Mangler ===

impl Mangler {
    /// A firewall that has seen no packet yet.
    #[must_use]
    pub fn new(spec: &WireSpec) -> Self {
        let mut dice = Dice::seed_from_u64(spec.seed);
        let mtu = spec.a.mtu.max(spec.b.mtu);
        // Every lane has dice of its own: what one does leaves the draws of the other alone.
        let mut lane = |own: &Direction, other: &Direction| Lane {
            spec: own.clone(),
            scope: Scope::new(own.ports.as_deref()),
            back_scope: Scope::new(other.ports.as_deref()),
            options: OptionRewrite::new(own, other),
            tcp_fields: TcpFields::new(own),
            ip_fields: IpFields::new(own),
            timing: Timing::new(own, mtu),
            dice: Dice::from_rng(&mut dice),
            counters: Counters::default(),
        };
        let lanes = PerHeading {
            a_to_b: lane(&spec.a_to_b, &spec.b_to_a),
            b_to_a: lane(&spec.b_to_a, &spec.a_to_b),
        };
        Self {
            flows: Flows::new(spec, Dice::from_rng(&mut dice)),
            lanes,
            dead_until: Duration::ZERO,
        }
    }

    /// Takes a packet that enters the wire at `now`, and appends what comes of it to `out`.
    ///
    /// `now` never runs backwards.
    pub fn carry(
        &mut self,
        heading: Heading,
        now: Duration,
        mut packet: Vec<u8>,
        out: &mut Vec<Delivery>,
    ) {
        let lane = &mut self.lanes[heading];
        lane.counters.packets += 1;
        lane.counters.bytes += packet.len() as u64;
        if let Some(stop) = lane.spec.stops
            && lane.counters.packets == stop.after_packets + 1
        {
            self.dead_until = now + stop.lasts;
        }
        if now < self.dead_until {
            lane.counters.lost.stopped += 1;
            return;
        }
        if fate::happens(&mut lane.dice, lane.spec.loss) {
            lane.counters.lost.random += 1;
            return;
        }
        let mut held_back = Duration::ZERO;
        // What is no IP packet is carried as it is.
        if let Ok(ip) = Ip::parse(&packet) {
            match filter::refuses(&lane.spec, &lane.scope, &ip, &packet) {
                None => {}
                Some(Refusal::BlockedPort) => {
                    lane.counters.lost.blocked_port += 1;
                    return;
                }
                Some(Refusal::UnknownOption) => {
                    lane.counters.lost.unknown_option += 1;
                    return;
                }
            }
            match oversize::judge(&lane.spec.oversize, &ip, packet.len(), &mut lane.dice) {
                Size::Fits => {}
                Size::Drop => {
                    lane.counters.lost.oversize += 1;
                    return;
                }
                Size::TooBig { limit } => {
                    lane.counters.lost.oversize += 1;
                    if let Some(answer) = icmp::too_big(&packet, limit) {
                        lane.counters.answered_too_big += 1;
                        out.push(Delivery {
                            due: now,
                            heading: heading.back(),
                            packet: answer,
                        });
                    }
                    return;
                }
                Size::HoldBack(time) => held_back = time,
                Size::Truncate { limit } => {
                    if crate::packet::ip::truncate(&mut packet, limit.into()) {
                        lane.counters.truncated += 1;
                    }
                }
            }
            // A cut moves the end of the packet, and may leave less than a TCP header.
            let ip = Ip {
                end: ip.end.min(packet.len()),
                ..ip
            };
            if !rewrite(&mut self.flows, lane, heading, now, &ip, &mut packet) {
                lane.counters.lost.forgotten += 1;
                return;
            }
            if fate::happens(&mut lane.dice, lane.spec.corrupt)
                && fate::corrupt(&ip, &mut packet, &mut lane.dice)
            {
                lane.counters.corrupted += 1;
            }
        }
        let Some(due) = lane
            .timing
            .due(now, packet.len(), held_back, &mut lane.dice)
        else {
            lane.counters.lost.queue += 1;
            return;
        };
        if fate::happens(&mut lane.dice, lane.spec.duplicate) {
            lane.counters.duplicated += 1;
            out.push(Delivery {
                due,
                heading,
                packet: packet.clone(),
            });
        }
        out.push(Delivery {
            due,
            heading,
            packet,
        });
    }

    /// What happened so far to packets of one direction.
    #[must_use]
    pub fn counters(&self, heading: Heading) -> Counters {
        let lane = &self.lanes[heading];
        Counters {
            held_back: lane.timing.held_back,
            ..lane.counters
        }
    }
}

/// Tracks the flow and rewrites the headers. `false` where the flow is forgotten.
fn rewrite(
    flows: &mut Flows,
    lane: &Lane,
    heading: Heading,
    now: Duration,
    ip: &Ip,
    packet: &mut [u8],
) -> bool {
    if ip.is_icmp() {
        flows.restore_quoted(heading, ip, packet);
    }
    let mut concerned = lane.scope.covers_all();
    if ip.has_tcp_header()
        && let Ok(mut tcp) = Tcp::parse(&mut packet[ip.payload..ip.end])
    {
        let covered = Covered {
            own: lane.scope.covers(&tcp),
            back: lane.back_scope.covers(&tcp),
        };
        let Some(shift) = flows.track(heading, now, ip, &tcp, covered) else {
            return false;
        };
        shift.apply(&mut tcp);
        lane.options.apply(&mut tcp, covered);
        if covered.own {
            lane.tcp_fields.apply(&mut tcp);
        }
        concerned = covered.own;
    }
    if concerned {
        lane.ip_fields.apply(packet);
    }
    true
}
