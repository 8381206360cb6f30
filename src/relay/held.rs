//! Opening packets that are held until the server has answered: a bounded table, without a socket and with
//! the time as an argument.
//!
//! A *flow* is in it from its SYN until its connection is accepted. First it is *dialling*, and its SYN
//! waits in the kernel; then it is *ready*: the SYN was let through, and the server's connection waits for
//! the client to complete its own. A server that waits for too long is given up.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::addr::{ClientAddr, OriginalDst};
use crate::packet::{Fragment, Ip, Offer, Tcp};

/// Both ends of a connection that a client opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Who opens it.
    pub client: ClientAddr,
    /// To whom.
    pub server: OriginalDst,
}

/// An opening packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syn {
    /// Whose.
    pub flow: Flow,
    /// Its initial sequence number: the same when it is sent again, another when it is a new attempt.
    pub isn: u32,
    /// What it offers, as it came from the wire.
    pub asked: Offer,
}

/// What is to be done with an opening packet; whatever is named here is for the kernel to decide on now.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<P> {
    /// It is held. Dial the server.
    Dial,
    /// It is one that is held already, sent again: drop it.
    Repeated(P),
    /// It is held in the place of an older attempt from the same port: drop that. The dial goes on.
    Renewed(P),
    /// The server is waiting already: let it through.
    Known(P),
    /// There is no room: let it through, and dial when it is accepted.
    Full(P),
}

/// What became of a dial.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled<P, U> {
    /// The server waits in the table: let this packet through.
    Ready(P),
    /// The server is not to be had: answer this packet.
    Failed(P),
    /// The flow is not held any more; here is the server's connection, if there is one.
    Gone(Option<U>),
}

/// Flows, and their packets `P` or connections `U`.
#[derive(Debug)]
pub struct Table<P, U> {
    most: usize,
    patience: Duration,
    flows: HashMap<Flow, State<P, U>>,
    /// Those that are ready, by the time at which they are given up.
    ends: BTreeSet<(Instant, Flow)>,
}

#[derive(Debug)]
enum State<P, U> {
    Dialling { isn: u32, packet: P },
    Ready { upstream: U, ends: Instant },
}

// === impl Syn ===

impl Syn {
    /// Reads a packet, of which no more than its headers may be there; nothing if it opens no connection.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let ip = Ip::parse_quoted(bytes).ok()?;
        if !ip.has_tcp_header() || ip.fragment != Fragment::Whole {
            return None;
        }
        let segment = Tcp::parse(bytes.get(ip.payload..ip.end)?).ok()?;
        segment.flags().opens().then(|| Self {
            flow: Flow {
                client: ClientAddr(SocketAddr::new(ip.source, segment.source_port())),
                server: OriginalDst(SocketAddr::new(ip.destination, segment.destination_port())),
            },
            isn: segment.sequence(),
            asked: Offer::of_options(segment.options()),
        })
    }
}

// === impl Table ===

impl<P, U> Table<P, U> {
    /// One for `most` flows, in which a server waits for its client for as long as `patience`.
    pub fn new(most: usize, patience: Duration) -> Self {
        Self {
            most,
            patience,
            flows: HashMap::new(),
            ends: BTreeSet::new(),
        }
    }

    /// How many flows there are.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// An opening packet has come.
    pub fn arrived(&mut self, syn: &Syn, packet: P) -> Arrival<P> {
        let is_full = self.flows.len() >= self.most;
        match self.flows.entry(syn.flow) {
            Entry::Occupied(mut held) => match held.get_mut() {
                State::Dialling { isn, .. } if *isn == syn.isn => Arrival::Repeated(packet),
                State::Dialling { isn, packet: older } => {
                    *isn = syn.isn;
                    Arrival::Renewed(std::mem::replace(older, packet))
                }
                State::Ready { .. } => Arrival::Known(packet),
            },
            Entry::Vacant(_) if is_full => Arrival::Full(packet),
            Entry::Vacant(place) => {
                let isn = syn.isn;
                place.insert(State::Dialling { isn, packet });
                Arrival::Dial
            }
        }
    }

    /// The dial of a flow is over, with the server's connection if it came to one.
    pub fn dialled(&mut self, flow: Flow, upstream: Option<U>, now: Instant) -> Settled<P, U> {
        match (self.flows.remove(&flow), upstream) {
            (Some(State::Dialling { packet, .. }), Some(upstream)) => {
                let ends = now + self.patience;
                self.ends.insert((ends, flow));
                self.flows.insert(flow, State::Ready { upstream, ends });
                Settled::Ready(packet)
            }
            (Some(State::Dialling { packet, .. }), None) => Settled::Failed(packet),
            // It was let go, or is the dial of an attempt before this one.
            (other, upstream) => {
                self.flows.extend(other.map(|state| (flow, state)));
                Settled::Gone(upstream)
            }
        }
    }

    /// The client's connection was accepted: its server waits no more.
    pub fn claim(&mut self, flow: &Flow) -> Option<U> {
        match self.flows.get(flow)? {
            State::Dialling { .. } => None,
            State::Ready { ends, .. } => {
                self.ends.remove(&(*ends, *flow));
                self.flows.remove(flow)?.into_upstream()
            }
        }
    }

    /// When a server is to be given up next.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(ends, _)| *ends)
    }

    /// The servers that have waited too long.
    pub fn give_up(&mut self, now: Instant) -> Vec<U> {
        let mut stale = Vec::new();
        while self.ends.first().is_some_and(|(ends, _)| *ends <= now)
            && let Some((_, flow)) = self.ends.pop_first()
        {
            stale.extend(self.flows.remove(&flow).and_then(State::into_upstream));
        }
        stale
    }

    /// Every packet that is held; from now on it is not. Servers go on waiting.
    pub fn let_go(&mut self) -> Vec<P> {
        let dialling = self
            .flows
            .extract_if(|_, state| matches!(state, State::Dialling { .. }));
        dialling
            .filter_map(|(_, state)| state.into_packet())
            .collect()
    }
}

// === impl State ===

impl<P, U> State<P, U> {
    fn into_upstream(self) -> Option<U> {
        match self {
            Self::Ready { upstream, .. } => Some(upstream),
            Self::Dialling { .. } => None,
        }
    }

    fn into_packet(self) -> Option<P> {
        match self {
            Self::Dialling { packet, .. } => Some(packet),
            Self::Ready { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Flags, samples};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn syn(port: u16, isn: u32) -> Syn {
        Syn {
            flow: Flow {
                client: ClientAddr(([192, 0, 2, 2], port).into()),
                server: OriginalDst(([198, 51, 100, 2], 22).into()),
            },
            isn,
            asked: Offer::default(),
        }
    }

    fn table(most: usize) -> Table<&'static str, &'static str> {
        Table::new(most, PATIENCE)
    }

    #[test]
    fn a_syn_sent_again_is_dropped_and_a_new_attempt_takes_its_place_both_without_another_dial() {
        let (mut table, now) = (table(4), Instant::now());
        assert_eq!(table.arrived(&syn(1, 7), "first"), Arrival::Dial);
        assert_eq!(
            table.arrived(&syn(1, 7), "again"),
            Arrival::Repeated("again")
        );
        assert_eq!(table.arrived(&syn(1, 8), "anew"), Arrival::Renewed("first"));
        let flow = syn(1, 8).flow;
        let settled = table.dialled(flow, Some("server"), now);
        assert_eq!(settled, Settled::Ready("anew"));
        // The SYN-ACK was lost.
        assert_eq!(table.arrived(&syn(1, 8), "late"), Arrival::Known("late"));
        assert_eq!(table.claim(&flow), Some("server"));
        assert_eq!(table.claim(&flow), None);
        assert_eq!(table.next_end(), None);
    }

    #[test]
    fn a_server_that_is_not_to_be_had_leaves_nothing_behind() {
        let (mut table, now) = (table(1), Instant::now());
        assert_eq!(table.arrived(&syn(1, 7), "first"), Arrival::Dial);
        assert_eq!(table.arrived(&syn(2, 7), "other"), Arrival::Full("other"));
        let settled = table.dialled(syn(1, 7).flow, None, now);
        assert_eq!(settled, Settled::Failed("first"));
        assert_eq!(table.arrived(&syn(2, 7), "other"), Arrival::Dial);
    }

    #[test]
    fn a_server_waits_for_its_client_for_a_while_and_no_longer() {
        let (mut table, now) = (table(2), Instant::now());
        for (port, server, at) in [(1, "one", now), (2, "two", now + PATIENCE / 2)] {
            assert_eq!(table.arrived(&syn(port, 7), "syn"), Arrival::Dial);
            table.dialled(syn(port, 7).flow, Some(server), at);
        }
        assert_eq!(table.give_up(now + PATIENCE / 2), [""; 0]);
        assert_eq!(table.next_end(), Some(now + PATIENCE));
        assert_eq!(table.give_up(now + PATIENCE), ["one"]);
        assert_eq!(table.claim(&syn(1, 7).flow), None);
        assert_eq!(table.claim(&syn(2, 7).flow), Some("two"));
    }

    #[test]
    fn a_dial_that_ends_after_its_packet_was_let_go_is_nobodys() {
        let (mut table, now) = (table(2), Instant::now());
        assert_eq!(table.arrived(&syn(1, 7), "held"), Arrival::Dial);
        assert_eq!(table.let_go(), ["held"]);
        let settled = table.dialled(syn(1, 7).flow, Some("server"), now);
        assert_eq!(settled, Settled::Gone(Some("server")));
    }

    #[test]
    fn what_opens_a_connection_is_read_from_a_packet_of_either_family_that_may_be_cut() {
        for family in samples::FAMILIES {
            let segment = samples::Segment {
                family,
                flags: Flags::SYN,
                sequence: 77,
                options: vec![2, 4, 5, 180],
                payload: 500,
                ..Default::default()
            };
            let mut packet = segment.build();
            packet.truncate(100);
            let syn = Syn::parse(&packet).unwrap();
            assert_eq!(syn.flow.client.0.ip(), samples::client(family));
            assert_eq!(syn.flow.server.0, (samples::server(family), 22).into());
            assert_eq!((syn.isn, syn.asked.mss), (77, Some(1460)));
            let answer = samples::Segment {
                flags: Flags::SYN | Flags::ACK,
                ..segment
            };
            assert_eq!(Syn::parse(&answer.build()), None);
        }
    }

    #[derive(Debug, Clone)]
    enum Event {
        Syn(u16, u32),
        Dialled(u16, bool),
        Claim(u16),
        Later(u64),
        LetGo,
    }

    fn event() -> impl Strategy<Value = Event> {
        let port = 0..8_u16;
        prop_oneof![
            8 => (port.clone(), 0..3_u32).prop_map(|(port, isn)| Event::Syn(port, isn)),
            4 => (port.clone(), any::<bool>()).prop_map(|(port, up)| Event::Dialled(port, up)),
            2 => port.prop_map(Event::Claim),
            2 => (0..8_u64).prop_map(Event::Later),
            1 => Just(Event::LetGo),
        ]
    }

    proptest! {
        /// Whatever comes: no more flows than the bound, every packet decided on once at most and held
        /// until then, every connection handed out once at most and kept until then.
        #[test]
        fn the_bound_holds_and_nothing_is_lost_or_decided_twice(
            most in 1..5_usize,
            events in proptest::collection::vec(event(), 0..200),
        ) {
            let mut table: Table<usize, usize> = Table::new(most, PATIENCE);
            let mut now = Instant::now();
            let (mut held, mut waiting) = (HashSet::new(), HashSet::new());
            for (number, event) in events.into_iter().enumerate() {
                let mut decided = Vec::new();
                let mut handed_out = Vec::new();
                match event {
                    Event::Syn(port, isn) => {
                        held.insert(number);
                        match table.arrived(&syn(port, isn), number) {
                            Arrival::Dial => {}
                            Arrival::Repeated(p) | Arrival::Renewed(p) | Arrival::Known(p) => decided.push(p),
                            Arrival::Full(p) => {
                                prop_assert_eq!(table.flows.len(), most);
                                decided.push(p);
                            }
                        }
                    }
                    Event::Dialled(port, up) => {
                        let upstream = up.then_some(number);
                        waiting.extend(upstream);
                        match table.dialled(syn(port, 0).flow, upstream, now) {
                            Settled::Ready(p) | Settled::Failed(p) => decided.push(p),
                            Settled::Gone(upstream) => handed_out.extend(upstream),
                        }
                    }
                    Event::Claim(port) => handed_out.extend(table.claim(&syn(port, 0).flow)),
                    Event::Later(seconds) => {
                        now += Duration::from_secs(seconds);
                        handed_out.extend(table.give_up(now));
                    }
                    Event::LetGo => decided.extend(table.let_go()),
                }
                for packet in decided {
                    prop_assert!(held.remove(&packet), "{} was decided on twice", packet);
                }
                for upstream in handed_out {
                    prop_assert!(waiting.remove(&upstream), "{} was handed out twice", upstream);
                }
                prop_assert!(table.flows.len() <= most);
                prop_assert_eq!(table.flows.len(), held.len() + waiting.len());
                prop_assert_eq!(table.ends.len(), waiting.len());
            }
        }
    }
}
