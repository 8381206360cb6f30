//! The model of connection tracking and the kernel agree on segments that nobody sends: made up at random,
//! around the numbers at which verdicts change.
//!
//! The segments enter a namespace by a TUN device and leave it by another; what the kernel makes of each, and what
//! it logs, comes by NFLOG before the next is sent.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use unmangle::diagnose::tracking::{Known, Segment, Settings, Table, Verdict};
use unmangle::lab::Role;
use unmangle::packet::{Ip, checksum};
use unmangle::sys::tun::Tun;

use site::tracked::{Ear, Word, modelled, running};
use site::{Site, inside};

/// Connections of each kind, and packets of each.
const CONNECTIONS: u64 = 1500;
const PACKETS: usize = 60;

/// Seconds that may lie between two that ask how long something is remembered.
const ROUNDING: u64 = 3;

/// Numbers that repeat: xorshift64.
struct Chance(u64);

/// A host that tracks connections and tells all about it.
struct Tracker {
    /// By which packets come, and by which they leave for nowhere.
    tuns: [Tun; 2],
    ear: Ear,
    began: Instant,
}

/// One of two ends that talk at cross purposes.
#[derive(Debug, Clone, Copy)]
struct End {
    first: u32,
    /// After the last it has sent.
    next: u32,
    window: u32,
    scale: Option<u8>,
    sack: bool,
}

// === impl Chance ===

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.number() >> 11) % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

// === impl Tracker ===

impl Tracker {
    fn new(site: &Site, settings: &[(&str, &str)]) -> Self {
        let host = site.lab.host(Role::Relay);
        host.set(settings).unwrap();
        let tuns = inside(host, || {
            ["in0", "out0"].map(|name| Tun::create(name).unwrap())
        });
        let commands = "link set in0 mtu 65535 up\nlink set out0 mtu 65535 up\n\
             address add 203.0.113.1/24 dev out0\n";
        host.feed("ip", &["-batch", "-"], commands).unwrap();
        Self {
            tuns,
            ear: Ear::at(host, &["prerouting"]),
            began: Instant::now(),
        }
    }

    /// Sends a packet through, and says what became of it. The kernel has seen it when this returns.
    fn see(&mut self, packet: &[u8]) -> (Duration, Word) {
        let at = self.began.elapsed();
        self.tuns[0].write(packet).unwrap();
        let mut told = self.ear.hear();
        assert_eq!(told.len(), 1, "every packet is told of: {told:?}");
        (at, told.remove(0).word)
    }
}

// === what is sent ===

/// An IPv4 packet with a right checksum.
fn packet(from: SocketAddr, to: SocketAddr, header: &Header) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
        panic!("IPv4 only");
    };
    let mut options = header.options.clone();
    options.resize(options.len().next_multiple_of(4), 0);
    let length = 40 + options.len() + header.payload;
    let mut bytes = vec![0x45, 0];
    bytes.extend((length as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(header.sequence.to_be_bytes());
    bytes.extend(header.acknowledgement.to_be_bytes());
    bytes.extend([(5 + options.len() as u8 / 4) << 4, header.flags]);
    bytes.extend(header.window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes.resize(length, 0x55);
    checksum::refresh_ipv4_header(&mut bytes[..20]);
    let ip = Ip::parse(&bytes).unwrap();
    checksum::refresh_transport(&ip, &mut bytes);
    bytes
}

#[derive(Debug, Clone)]
struct Header {
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    flags: u8,
    options: Vec<u8>,
    payload: usize,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl End {
    fn new(chance: &mut Chance) -> Self {
        let first = match chance.one_in(3) {
            true => (chance.below(20_000) as u32).wrapping_sub(10_000),
            false => chance.number() as u32,
        };
        Self {
            first,
            next: first,
            window: chance.of(&[0, 1, 1000, 29_200, 65_535]),
            scale: chance.of(&[None, Some(0), Some(3), Some(7), Some(14), Some(200)]),
            sack: !chance.one_in(3),
        }
    }

    fn options(&self, chance: &mut Chance) -> Vec<u8> {
        let mut options = Vec::new();
        if chance.one_in(8) {
            return options;
        }
        options.extend([2, 4, 5, 180]);
        if self.sack {
            options.extend([4, 2]);
        }
        if let Some(scale) = self.scale {
            options.extend([1, 3, 3, scale]);
        }
        options
    }

    /// A sequence number near one that matters.
    fn near(&self, other: &Self, chance: &mut Chance) -> u32 {
        let reach = other.window << other.scale.unwrap_or(0).min(14);
        let base = chance.of(&[
            self.next,
            self.next,
            self.next,
            self.first,
            self.first.wrapping_add(1),
            self.next.wrapping_add(other.window),
            self.next.wrapping_add(reach),
            self.next.wrapping_sub(other.window),
            self.next.wrapping_sub(reach),
            self.next.wrapping_sub(66_000),
            0,
        ]);
        match chance.below(10) {
            0..4 => base,
            4..8 => base.wrapping_add(chance.of(&[1, 2, 100, 1448]) as u32),
            8 => base.wrapping_sub(chance.of(&[1, 2, 100, 1448])),
            _ => base
                .wrapping_add(chance.below(200_000) as u32)
                .wrapping_sub(100_000),
        }
    }

    /// A sane segment, or one that is not.
    fn speak(&mut self, other: &Self, step: usize, sane: bool, chance: &mut Chance) -> Header {
        let flags = match chance.below(40) {
            _ if step == 0 && !chance.one_in(10) => SYN,
            _ if step == 1 && !chance.one_in(10) => SYN | ACK,
            0 => SYN,
            1 => SYN | ACK,
            2..4 => FIN | ACK,
            4..6 => chance.of(&[RST, RST | ACK]),
            6 if !sane => chance.number() as u8,
            _ => ACK,
        };
        let payload = match flags & (SYN | RST) {
            0 => chance.of(&[0, 0, 1, 100, 1448, 20_000]),
            _ => 0,
        };
        let right = sane || !chance.one_in(2);
        let sequence = match (right, step) {
            (true, 0 | 1) => self.first,
            (true, _) if flags & SYN != 0 && chance.one_in(2) => self.first,
            (true, _) => self.next,
            (false, _) => self.near(other, chance),
        };
        let acknowledgement = match flags & ACK {
            0 => chance.of(&[0, 0, other.next]),
            _ if sane || !chance.one_in(2) => other.next,
            _ => other.near(self, chance),
        };
        let mut options = match flags & SYN {
            0 => Vec::new(),
            _ => self.options(chance),
        };
        if flags & (SYN | ACK) == ACK && chance.one_in(3) {
            options.extend([1, 1, 5, 18]);
            for _ in 0..2 {
                let right = other.near(self, chance);
                options.extend(right.wrapping_sub(100).to_be_bytes());
                options.extend(right.to_be_bytes());
            }
        } else if flags & SYN == 0 && chance.one_in(3) {
            options.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        }
        let header = Header {
            sequence,
            acknowledgement,
            window: chance.of(&[self.window as u16, self.window as u16, 0, 1, 512]),
            flags,
            options,
            payload,
        };
        let counted = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let end = sequence.wrapping_add(payload as u32 + counted);
        if right && flags & RST == 0 && !chance.one_in(5) {
            self.next = end;
        }
        header
    }
}

/// How many packets were INVALID, and how many were let pass without being believed.
fn agree(settings: Settings, host: &[(&str, &str)]) -> Option<(usize, usize)> {
    let site = Site::put_up()?;
    let mut tracker = Tracker::new(&site, host);
    let kernel = settings.kernel;
    let mut counts = (0, 0);
    let mut tables = Vec::new();
    for connection in 0..CONNECTIONS {
        let mut table = Table::new(settings.clone());
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (connection + 1));
        for _ in 0..10 {
            chance.number();
        }
        let port = 1024 + connection as u16 % 60_000;
        let ends: [SocketAddr; 2] = [
            format!("203.0.113.10:{port}").parse().unwrap(),
            "203.0.113.20:22".parse().unwrap(),
        ];
        let mut speakers = [End::new(&mut chance), End::new(&mut chance)];
        let sane = chance.one_in(3);
        let mut sent = Vec::new();
        let mut opener = None;
        for step in 0..PACKETS {
            let from = match step {
                0 => 0,
                1 => 1,
                _ => chance.below(2) as usize,
            };
            let other = speakers[1 - from];
            let header = speakers[from].speak(&other, step, sane, &mut chance);
            let bytes = packet(ends[from], ends[1 - from], &header);
            let (at, of_kernel) = tracker.see(&bytes);
            let segment = Segment::parse(&bytes, bytes.len()).unwrap();
            let seen = table.see(at, &segment);
            opener.get_or_insert(segment);
            let of_model = modelled(&seen.verdict, seen.way, kernel);
            sent.push(format!("{from} {header:?} {:?}", seen.verdict));
            counts.0 += usize::from(of_model.way.is_none());
            counts.1 += usize::from(matches!(seen.verdict, Verdict::Ignored(_)));
            assert_eq!(
                of_kernel,
                of_model,
                "connection {connection}\n{}",
                last(&sent)
            );
        }
        tables.extend(opener.map(|opener| (opener, table)));
    }
    agree_on_what_is_left(&tables, &site, tracker.began);
    Some(counts)
}

/// What the kernel remembers of connections, by the port that is not 22: state, seconds left, whether they were
/// answered, and whether they are assured.
fn remembered(site: &Site) -> BTreeMap<u16, (String, u64, bool, bool)> {
    let listing = site
        .lab
        .host(Role::Relay)
        .run("conntrack", &["-L", "-p", "tcp"]);
    let mut remembered = BTreeMap::new();
    for line in listing.unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = words
            .iter()
            .filter_map(|word| word.split_once("port="))
            .map(|(_, port)| port.parse().unwrap())
            .find(|port| *port != 22)
            .unwrap();
        let says = |what| words.contains(&what);
        let left = words[2].parse().unwrap();
        let standing = (
            words[3].to_owned(),
            left,
            !says("[UNREPLIED]"),
            says("[ASSURED]"),
        );
        remembered.insert(port, standing);
    }
    remembered
}

/// What the kernel remembers of a connection, and for how long, is what the model does.
fn agree_on_what_is_left(tables: &[(Segment, Table)], site: &Site, began: Instant) {
    let mut kernel = remembered(site);
    let now = began.elapsed();
    let mut compared = 0;
    for (segment, table) in tables {
        let port = segment.source.port();
        let of_kernel = kernel.remove(&port);
        let known = table.known(now, segment);
        let seconds = |known: &Known| known.left.as_secs();
        match (of_kernel, known) {
            (None, None) => {}
            (Some((state, left, answered, assured)), Some(known)) => {
                compared += 1;
                let of_kernel = (state.as_str(), answered, assured);
                let of_model = (known.state.name(), known.answered, known.assured);
                assert_eq!(of_kernel, of_model, "port {port}");
                // The listing is older than `now`, and its seconds are rounded.
                let apart = left.abs_diff(seconds(&known));
                assert!(apart <= ROUNDING, "port {port}: {left} s, {known:?}");
            }
            // About to be forgotten.
            (Some((_, left, ..)), None) => assert!(left <= ROUNDING, "port {port}: {left} s"),
            (None, Some(known)) => assert!(seconds(&known) <= ROUNDING, "port {port}: {known:?}"),
        }
    }
    assert!(
        compared * 2 > tables.len(),
        "{compared} of {}",
        tables.len()
    );
}

/// The end of a story.
fn last(sent: &[String]) -> String {
    sent[sent.len().saturating_sub(6)..].join("\n")
}

#[test]
fn segments_at_random_are_judged_as_by_the_kernel() {
    if let Some((invalid, ignored)) = agree(running(), &[]) {
        println!("{invalid} INVALID, {ignored} ignored");
        assert!(invalid > 1000 && ignored > 1000, "{invalid}, {ignored}");
    }
}

#[test]
fn a_liberal_kernel_is_followed_as_well() {
    let settings = Settings {
        be_liberal: true,
        ..running()
    };
    let liberal = [("net/netfilter/nf_conntrack_tcp_be_liberal", "1")];
    if let Some((invalid, ignored)) = agree(settings, &liberal) {
        println!("{invalid} INVALID, {ignored} ignored");
        assert!(invalid > 1000 && ignored > 100, "{invalid}, {ignored}");
    }
}

#[test]
fn a_kernel_that_picks_nothing_up_and_minds_no_old_reset_is_followed_as_well() {
    let settings = Settings {
        loose: false,
        ignore_invalid_rst: true,
        ..running()
    };
    let strict = [
        ("net/netfilter/nf_conntrack_tcp_loose", "0"),
        ("net/netfilter/nf_conntrack_tcp_ignore_invalid_rst", "1"),
    ];
    if let Some((invalid, ignored)) = agree(settings, &strict) {
        println!("{invalid} INVALID, {ignored} ignored");
        assert!(invalid > 1000 && ignored > 100, "{invalid}, {ignored}");
    }
}
