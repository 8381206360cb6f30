//! The model of connection tracking: packets judged, of one connection and of many.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use etherparse::{PacketBuilder, TcpHeader};
use unmangle::diagnose::tracking::{Kernel, Segment, Settings, Table, Verdict};

/// Bytes of a segment.
const PAYLOAD: u32 = 1448;
/// A block of SACK, as in the ACKs after a loss.
const SACK: [u8; 12] = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// One connection: where it stands.
struct Talk {
    port: u16,
    sent: u32,
}

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("track");
    // A segment of data and its ACK.
    group.throughput(Throughput::Elements(2));
    for connections in [1, 1000, 50_000] {
        let mut table = Table::new(Settings::new(Kernel::NEWEST));
        let mut talks: Vec<Talk> = (0..connections).map(|nth| open(&mut table, nth)).collect();
        let mut nth = 0;
        group.bench_function(BenchmarkId::from_parameter(connections), |bencher| {
            bencher.iter(|| {
                // The stride keeps the next one from being next in memory.
                nth = (nth + 7919) % talks.len();
                talks[nth].exchange(&mut table);
            });
        });
        assert_eq!((table.len(), table.evicted()), (talks.len(), 0));
    }
    group.finish();

    let mut group = criterion.benchmark_group("read a segment");
    group.throughput(Throughput::Elements(1));
    for (name, options) in [
        ("timestamps", &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("SACK", &SACK),
    ] {
        let packet = packet(options);
        let read = || Segment::parse(black_box(&packet[..64]), packet.len()).unwrap();
        assert_eq!(read().payload, PAYLOAD, "{name}");
        group.bench_function(name, |bencher| bencher.iter(read));
    }
    group.finish();
}

// === impl Talk ===

impl Talk {
    fn segment(&self, from_server: bool, flags: u8, payload: u32) -> Segment {
        let ends = [self.port, 22].map(|port| ([192, 0, 2, 1], port).into());
        let [source, destination] = match from_server {
            true => [ends[1], ends[0]],
            false => ends,
        };
        let (sequence, acknowledgement) = match from_server {
            true => (1, self.sent),
            false => (self.sent, 1),
        };
        Segment {
            source,
            destination,
            zone: 0,
            sequence,
            acknowledgement,
            window: 65_000,
            flags: unmangle::packet::Flags(flags),
            payload,
            options: Default::default(),
            fault: None,
        }
    }

    fn exchange(&mut self, table: &mut Table) {
        let at = Duration::from_secs(1);
        let data = table.see(at, &self.segment(false, 0x10, PAYLOAD));
        self.sent = self.sent.wrapping_add(PAYLOAD);
        let ack = table.see(at, &self.segment(true, 0x10, 0));
        for seen in [data, ack] {
            assert!(matches!(seen.verdict, Verdict::Tracked { .. }), "{seen:?}");
        }
    }
}

fn open(table: &mut Table, nth: u16) -> Talk {
    let at = Duration::from_secs(1);
    let mut talk = Talk {
        port: 1024 + nth,
        sent: 1,
    };
    let mut syn = talk.segment(false, 0x02, 0);
    syn.sequence = 0;
    let mut syn_ack = talk.segment(true, 0x12, 0);
    syn_ack.sequence = 0;
    table.see(at, &syn);
    table.see(at, &syn_ack);
    table.see(at, &talk.segment(false, 0x10, 0));
    talk.exchange(table);
    talk
}

fn packet(options: &[u8]) -> Vec<u8> {
    let mut tcp = TcpHeader::new(40_000, 22, 1, 65_000);
    tcp.ack = true;
    tcp.set_options_raw(options).unwrap();
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 2], [198, 51, 100, 2], 64)
        .tcp_header(tcp)
        .write(&mut bytes, &[0; PAYLOAD as usize])
        .unwrap();
    bytes
}
