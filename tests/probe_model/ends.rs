//! Two hosts with an emulated firewall between them, in virtual time.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use unmangle::diagnose::probe::agent::{Agent, Fate};
use unmangle::diagnose::probe::ends::{Ends, Lost};
use unmangle::diagnose::probe::evidence::{EndMtu, Path};
use unmangle::diagnose::probe::order::{Answer, End, Order, Refusal};
use unmangle::lab::wire::{Delivery, Direction, Heading, Mangler, WireSpec};
use unmangle::packet::craft::{Carried, Echo, Segment};
use unmangle::packet::ip::protocol;
use unmangle::packet::{Flags, Ip, Tcp};

/// The port of crafted flows.
pub const PORT: u16 = 7532;
/// The server's clock is ahead of the client's by this, as clocks of hosts are.
const AHEAD: Duration = Duration::from_secs(4_000);

/// Both hosts and the way between.
pub struct Model {
    hosts: [Host; 2],
    mangler: Mangler,
    on_the_way: BTreeMap<(Duration, u64), (End, Vec<u8>)>,
    carried: u64,
    now: Duration,
    round_trip: Duration,
    next_port: u16,
    /// Ports at which a service of the server listens.
    pub services: HashSet<u16>,
    /// How often the tap of an end still has too little room.
    pub misses: [u32; 2],
}

struct Host {
    address: IpAddr,
    agent: Agent,
    ahead: Duration,
    mtu: u16,
}

/// What a test wants of the path.
#[derive(Clone)]
pub struct Setting {
    pub round_trip: Duration,
    pub to_server: Direction,
    pub to_client: Direction,
    pub mtu: u16,
    pub v6: bool,
    pub seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            round_trip: Duration::from_millis(2),
            to_server: Direction::default(),
            to_client: Direction::default(),
            mtu: 1500,
            v6: false,
            seed: 1,
        }
    }
}

impl Model {
    pub fn new(setting: &Setting) -> Self {
        let [client, server]: [IpAddr; 2] = if setting.v6 {
            ["fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()]
        } else {
            ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]
        };
        let delayed = |direction: &Direction| Direction {
            delay: setting.round_trip / 2,
            ..direction.clone()
        };
        let mut spec = WireSpec {
            seed: setting.seed,
            a_to_b: delayed(&setting.to_server),
            b_to_a: delayed(&setting.to_client),
            ..WireSpec::default()
        };
        spec.a.mtu = setting.mtu;
        spec.b.mtu = setting.mtu;
        let host = |end, address, peer, ahead| Host {
            address,
            agent: Agent::new(end, address, peer),
            ahead,
            mtu: setting.mtu,
        };
        Self {
            hosts: [
                host(End::Client, client, server, Duration::ZERO),
                host(End::Server, server, client, AHEAD),
            ],
            mangler: Mangler::new(&spec),
            on_the_way: BTreeMap::new(),
            carried: 0,
            now: Duration::ZERO,
            round_trip: setting.round_trip,
            next_port: 40_000,
            services: HashSet::new(),
            misses: [0, 0],
        }
    }

    /// What is known of the path before anything is tried.
    pub fn path(&self) -> Path {
        let [client, server] = &self.hosts;
        Path {
            client: client.address,
            server: server.address,
            server_own: server.address,
            client_seen: client.address,
            port: PORT,
            round_trip: Duration::ZERO,
            broken: 0,
            mtu: EndMtu {
                client: client.mtu,
                server: server.mtu,
            },
        }
    }

    fn host(&mut self, end: End) -> &mut Host {
        &mut self.hosts[end as usize]
    }

    fn send(&mut self, from: End, packet: Vec<u8>) {
        let now = self.now;
        let host = self.host(from);
        host.agent.outgoing(now + host.ahead, &packet);
        let heading = match from {
            End::Client => Heading::AToB,
            End::Server => Heading::BToA,
        };
        let mut out = Vec::new();
        self.mangler.carry(heading, now, packet, &mut out);
        for Delivery {
            due,
            heading,
            packet,
        } in out
        {
            let to = match heading {
                Heading::AToB => End::Server,
                Heading::BToA => End::Client,
            };
            self.carried += 1;
            self.on_the_way.insert((due, self.carried), (to, packet));
        }
    }

    /// Does what is due now; whether anything was.
    fn turn(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        while let Some(entry) = self.on_the_way.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (to, packet) = entry.remove();
            self.deliver(to, &packet);
            busy = true;
        }
        for end in End::BOTH {
            loop {
                let host = self.host(end);
                let at = now + host.ahead;
                let Some(packet) = host.agent.poll_transmit(at) else {
                    break;
                };
                let fits = packet.len() <= usize::from(host.mtu);
                let fate = if fits { Fate::Sent } else { Fate::TooLong };
                host.agent.sent(at, fate);
                if fits {
                    self.send(end, packet);
                }
                busy = true;
            }
        }
        busy
    }

    fn deliver(&mut self, to: End, packet: &[u8]) {
        let now = self.now;
        let host = self.host(to);
        host.agent.incoming(now + host.ahead, packet);
        if let Some(answer) = echo_reply(packet) {
            self.send(to, answer);
        } else if to == End::Server
            && let Some(answer) = self.service_answer(packet)
        {
            self.send(to, answer);
        }
    }

    fn service_answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let ip = Ip::parse(packet).ok()?;
        if ip.protocol != protocol::TCP {
            return None;
        }
        let tcp = Tcp::parse(&packet[ip.payload..ip.end]).ok()?;
        let is_its = self.services.contains(&tcp.destination_port()) && tcp.flags().opens();
        is_its.then(|| {
            Segment {
                source: (ip.destination, tcp.destination_port()).into(),
                destination: (ip.source, tcp.source_port()).into(),
                carried: Carried::default(),
                sequence: 1_000_000,
                acknowledgement: tcp.sequence().wrapping_add(1),
                flags: Flags::SYN | Flags::ACK,
                window: 64_240,
                urgent: 0,
                options: vec![2, 4, 5, 180, 1, 3, 3, 9],
                payload: Vec::new(),
            }
            .build()
        })
    }

    fn next_event(&self) -> Option<Duration> {
        let first = self.on_the_way.keys().next().map(|(due, _)| *due);
        let due = |host: &Host| {
            let due = host.agent.next_due()?;
            Some(due.saturating_sub(host.ahead))
        };
        self.hosts.iter().filter_map(due).chain(first).min()
    }

    fn run_until(&mut self, until: Duration) {
        loop {
            while self.turn() {}
            match self.next_event() {
                Some(next) if next <= until && next > self.now => self.now = next,
                _ => break,
            }
        }
        self.now = until;
        while self.turn() {}
    }

    fn carry_out(&mut self, end: End, order: Order) -> Answer {
        let port = match (&order, end) {
            (Order::Open { port, .. }, End::Server) if self.services.contains(port) => {
                return Answer::Refused(Refusal::PortInUse);
            }
            (Order::Open { .. }, End::Client) => {
                self.next_port += 1;
                Some(self.next_port)
            }
            _ => None,
        };
        let now = self.now;
        let misses = std::mem::take(&mut self.misses[end as usize]);
        if matches!(order, Order::Harvest { .. }) && misses > 0 {
            self.misses[end as usize] = misses - 1;
            self.host(end).agent.missed(7);
        } else {
            self.misses[end as usize] = misses;
        }
        let host = self.host(end);
        host.agent.order(now + host.ahead, order, port);
        loop {
            while self.turn() {}
            let now = self.now;
            let host = self.host(end);
            if let Some(answer) = host.agent.poll_answer(now + host.ahead) {
                return answer;
            }
            let next = self.next_event().expect("something will happen");
            assert!(next > now, "time does not stand still");
            self.now = next;
        }
    }
}

impl Ends for Model {
    fn ask(&mut self, end: End, order: Order) -> Result<Answer, Lost> {
        let there = match end {
            End::Client => Duration::ZERO,
            End::Server => self.round_trip / 2,
        };
        // What is far away is told by text.
        let text = serde_json::to_string(&order).unwrap();
        assert!(text.len() < 450, "one segment: {text}");
        self.run_until(self.now + there);
        let answer = self.carry_out(end, serde_json::from_str(&text).unwrap());
        let text = serde_json::to_string(&answer).unwrap();
        assert!(text.len() < 450, "one segment: {text}");
        self.run_until(self.now + there);
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn wait(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn now(&self) -> Duration {
        self.now
    }
}

/// What a kernel answers to an echo request.
fn echo_reply(packet: &[u8]) -> Option<Vec<u8>> {
    let ip = Ip::parse(packet).ok()?;
    let request = if ip.is_v4() { 8 } else { 128 };
    let (header, payload) = packet[ip.payload..ip.end].split_first_chunk::<8>()?;
    (ip.is_icmp() && header[0] == request).then(|| {
        Echo {
            source: ip.destination,
            destination: ip.source,
            carried: Carried::default(),
            reply: true,
            identifier: u16::from_be_bytes([header[4], header[5]]),
            sequence: u16::from_be_bytes([header[6], header[7]]),
            payload: payload.to_vec(),
        }
        .build()
    })
}
