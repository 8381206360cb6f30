//! Packets: read, rewritten in place, and carried by the lab's wires.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader,
};
use unmangle::lab::scenario;
use unmangle::lab::wire::{Delivery, End, Heading, Mangler, WireSpec};
use unmangle::packet::{Ip, OptionKind, Tcp, checksum};

/// MSS, SACK permitted, timestamps, window scale, as Linux sends them.
const SYN_OPTIONS: [u8; 20] = [
    2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// Timestamps, as in every later segment.
const OPTIONS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
const SEQUENCE: u32 = 1000;
/// Fills a packet of 1500 bytes over IPv4.
const PAYLOAD: usize = 1448;
/// Packets that are prepared at a time: they fit into the cache.
const BATCH: BatchSize = BatchSize::NumIterations(64);

#[derive(Clone, Copy)]
enum Kind {
    Syn,
    Data,
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

pub fn bench(criterion: &mut Criterion) {
    parse(criterion);
    rewrite(criterion);
    mangle(criterion);
}

/// IP header, TCP header and every option of a packet.
fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for (name, family, kind, options) in [
        ("IPv4 SYN", Family::V4, Kind::Syn, 5),
        ("IPv4 data", Family::V4, Kind::Data, 3),
        ("IPv6 data", Family::V6, Kind::Data, 3),
    ] {
        let packet = packet(family, kind);
        assert_eq!(read(&packet), (SEQUENCE, options), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| read(black_box(&packet))));
    }
    group.finish();
}

/// The sequence number, and how many options there are.
fn read(packet: &[u8]) -> (u32, usize) {
    let ip = Ip::parse(packet).unwrap();
    let tcp = Tcp::parse(&packet[ip.payload..ip.end]).unwrap();
    let options = tcp.options().map(black_box).count();
    (tcp.sequence(), options)
}

/// What a firewall changes, the checksum adjusted each time; beside it, the checksum computed anew.
fn rewrite(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rewrite");
    let mut packet = packet(Family::V4, Kind::Data);
    let ip = Ip::parse(&packet).unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("sequence, acknowledgement, timestamps", |bencher| {
        bencher.iter(|| {
            let mut tcp = Tcp::parse(&mut packet[ip.payload..ip.end]).unwrap();
            tcp.shift_sequence(black_box(77_777));
            tcp.shift_acknowledgement(black_box(88_888));
            tcp.edit_options(|tcp, option| {
                if option.kind == OptionKind::Timestamps {
                    tcp.shift_number(option.at + 2, black_box(99_999));
                }
            });
            black_box(&mut packet);
        });
        assert_ne!(read(&packet).0, SEQUENCE);
        assert_eq!(checksum::transport_is_right(&ip, &packet), Some(true));
    });
    group.throughput(Throughput::Bytes((ip.end - ip.payload) as u64));
    group.bench_function("checksum of 1480 bytes anew", |bencher| {
        bencher.iter(|| checksum::transport_is_right(&ip, black_box(&packet)));
        assert_eq!(checksum::transport_is_right(&ip, &packet), Some(true));
    });
    group.finish();
}

/// A flow's packets through the firewall of a scenario.
fn mangle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mangle");
    group.throughput(Throughput::Elements(1));
    for (name, kind) in [
        ("clean", Kind::Data),
        ("isn-rewrite", Kind::Data),
        ("pix", Kind::Data),
        ("asa", Kind::Data),
        ("asa", Kind::Syn),
    ] {
        let kind_name = match kind {
            Kind::Syn => "SYN",
            Kind::Data => "data",
        };
        group.bench_function(BenchmarkId::new(name, kind_name), |bencher| {
            let mut firewall = Firewall::new(name);
            // Only a flow that was seen opening is shifted.
            firewall.carry(packet(Family::V4, Kind::Syn));
            let packet = packet(Family::V4, kind);
            bencher.iter_batched(|| packet.clone(), |packet| firewall.carry(packet), BATCH);
            firewall.check(name, &packet);
        });
    }
    group.finish();
}

/// A wire, the time on it, and what came out.
struct Firewall {
    mangler: Mangler,
    now: Duration,
    out: Vec<Delivery>,
    carried: u64,
    delivered: u64,
}

impl Firewall {
    fn new(name: &str) -> Self {
        let between = scenario::find(name).unwrap().firewall;
        let end = |device: &str| End {
            netns: String::new(),
            device: device.to_owned(),
            mtu: 1500,
        };
        let spec = WireSpec {
            seed: 7,
            a: end("a"),
            b: end("b"),
            a_to_b: between.client_to_server,
            b_to_a: between.server_to_client,
        };
        Self {
            mangler: Mangler::new(&spec),
            now: Duration::ZERO,
            out: Vec::new(),
            carried: 0,
            delivered: 0,
        }
    }

    /// Carries a packet, a microsecond after the last; what comes out is dropped by the caller.
    fn carry(&mut self, packet: Vec<u8>) -> Option<Delivery> {
        self.now += Duration::from_micros(1);
        self.carried += 1;
        let mut out = std::mem::take(&mut self.out);
        self.mangler
            .carry(Heading::AToB, self.now, packet, &mut out);
        self.delivered += out.len() as u64;
        let delivery = out.pop();
        self.out = out;
        delivery
    }

    /// Every packet was carried or lost as the scenario says, and those carried were rewritten.
    fn check(&mut self, name: &str, packet: &[u8]) {
        let counters = self.mangler.counters(Heading::AToB);
        assert_eq!(counters.packets, self.carried, "{name}");
        assert_eq!(
            self.delivered + counters.lost.total(),
            self.carried,
            "{name}"
        );
        if name != "pix" {
            assert_eq!(counters.lost.total(), 0, "{name}");
        }
        // One that is not among the few that the scenario loses.
        let delivery = std::iter::repeat_with(|| self.carry(packet.to_vec()))
            .take(100)
            .flatten()
            .next();
        let carried = delivery.unwrap().packet;
        let ip = Ip::parse(&carried).unwrap();
        assert_eq!(
            checksum::transport_is_right(&ip, &carried),
            Some(true),
            "{name}"
        );
        assert_eq!(carried == packet, name == "clean", "{name}");
    }
}

/// A segment from client to server, built by another hand than the one that reads it.
fn packet(family: Family, kind: Kind) -> Vec<u8> {
    let (options, payload): (&[u8], usize) = match kind {
        Kind::Syn => (&SYN_OPTIONS, 0),
        Kind::Data => (&OPTIONS, PAYLOAD),
    };
    let ip = match family {
        Family::V4 => IpHeaders::Ipv4(
            Ipv4Header {
                time_to_live: 64,
                protocol: IpNumber::TCP,
                source: Ipv4Addr::new(10, 0, 0, 1).octets(),
                destination: Ipv4Addr::new(10, 0, 0, 2).octets(),
                fragment_offset: IpFragOffset::ZERO,
                ..Ipv4Header::default()
            },
            Default::default(),
        ),
        Family::V6 => IpHeaders::Ipv6(
            Ipv6Header {
                hop_limit: 64,
                source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets(),
                destination: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets(),
                ..Ipv6Header::default()
            },
            Default::default(),
        ),
    };
    let mut tcp = TcpHeader::new(40_000, 22, SEQUENCE, 65_000);
    match kind {
        Kind::Syn => tcp.syn = true,
        Kind::Data => {
            tcp.ack = true;
            tcp.acknowledgment_number = 5000;
        }
    }
    tcp.set_options_raw(options).unwrap();
    let payload: Vec<u8> = (0..payload).map(|i| i as u8).collect();
    let mut bytes = Vec::new();
    PacketBuilder::ip(ip)
        .tcp_header(tcp)
        .write(&mut bytes, &payload)
        .unwrap();
    bytes
}
