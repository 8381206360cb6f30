//! What an end does and what it does not.

use proptest::prelude::*;

use super::*;
use crate::diagnose::probe::order::{Echoes, TooBig};
use crate::packet::craft::Segment;
use crate::packet::{Flags, checksum, icmp};

const NOW: Duration = Duration::from_secs(1);
const FLOW: FlowId = FlowId(3);
const PORT: u16 = 7532;

fn addresses() -> [IpAddr; 2] {
    ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]
}

fn client() -> Agent {
    let [own, peer] = addresses();
    Agent::new(End::Client, own, peer)
}

fn server() -> Agent {
    let [peer, own] = addresses();
    Agent::new(End::Server, own, peer)
}

/// What is answered at once.
fn answer(agent: &mut Agent, order: Order) -> Option<Answer> {
    agent.order(NOW, order, Some(40_000));
    agent.poll_answer(NOW)
}

fn sends(agent: &mut Agent) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some(packet) = agent.poll_transmit(NOW) {
        agent.sent(NOW, Fate::Sent);
        packets.push(packet);
    }
    packets
}

fn open(agent: &mut Agent) {
    let order = Order::Open {
        flow: FLOW,
        port: PORT,
    };
    assert_eq!(answer(agent, order), Some(Answer::Done));
}

fn spec(flags: Flags, payload: u16) -> Spec {
    Spec {
        flags: flags.0,
        sequence: 1000,
        acknowledgement: 5,
        payload,
        ..Spec::default()
    }
}

fn syn(from: IpAddr, port: u16) -> Vec<u8> {
    let [_, server] = addresses();
    Segment {
        source: (from, port).into(),
        destination: (server, PORT).into(),
        carried: craft::Carried::default(),
        sequence: 77,
        acknowledgement: 0,
        flags: Flags::SYN,
        window: 1,
        urgent: 0,
        options: Vec::new(),
        payload: Vec::new(),
    }
    .build()
}

fn awaited(agent: &mut Agent) -> Option<Answer> {
    agent.order(
        NOW,
        Order::Await {
            flow: FLOW,
            patience_ms: 10,
        },
        None,
    );
    agent.poll_answer(NOW)
}

fn train(count: u32, length: u16) -> Order {
    Order::Train {
        flow: FLOW,
        train: Train {
            first: spec(Flags::ACK, 0),
            number: 0,
            count,
            length,
            window: 30_000,
            patience_us: 1000,
            gap_us: 0,
        },
    }
}

#[test]
fn what_is_beyond_the_bounds_is_refused() {
    let echo = |count, length| Order::Echo {
        echoes: Echoes {
            reply: false,
            identifier: 1,
            sequence: 1,
            count,
            length,
            gap_us: 0,
        },
    };
    let send = |segment| Order::Send {
        flow: FLOW,
        segment,
    };
    let mut agent = client();
    open(&mut agent);
    for order in [
        train(0, 100),
        train(20_001, 100),
        train(1, 63),
        train(1, 9001),
        echo(0, 100),
        echo(1001, 100),
        echo(1, 9001),
        echo(1, 20),
        send(spec(Flags::ACK, 9000)),
        send(Spec {
            options: Header(vec![1; 41]),
            ..Spec::default()
        }),
        Order::Await {
            flow: FLOW,
            patience_ms: 60_001,
        },
    ] {
        let answer = answer(&mut agent, order.clone());
        assert!(
            matches!(answer, Some(Answer::Refused(Refusal::Other(_)))),
            "{order:?}: {answer:?}"
        );
        assert_eq!(sends(&mut agent), [[0; 0]; 0]);
    }
    assert_eq!(answer(&mut agent, train(20_000, 64)), None);
}

#[test]
fn the_segment_that_was_ordered_is_the_one_that_is_sent_and_told() {
    let mut agent = client();
    open(&mut agent);
    let segment = spec(Flags::PSH | Flags::ACK, 100);
    let order = Order::Send {
        flow: FLOW,
        segment,
    };
    assert_eq!(answer(&mut agent, order), None);
    let packets = sends(&mut agent);
    assert_eq!(packets.len(), 1);
    let ip = Ip::parse(&packets[0]).unwrap();
    assert_eq!([ip.source, ip.destination], addresses());
    assert_eq!(checksum::transport_is_right(&ip, &packets[0]), Some(true));
    let told = agent.poll_answer(NOW);
    assert_eq!(told, Some(Answer::Sent(Header(packets[0][..40].to_vec()))));
}

#[test]
fn what_the_kernel_does_not_take_is_told() {
    for (fate, refusal) in [
        (Fate::TooLong, Refusal::TooLong),
        (Fate::Forbidden, Refusal::Forbidden),
    ] {
        let mut agent = client();
        open(&mut agent);
        assert_eq!(answer(&mut agent, train(10, 1500)), None);
        assert!(agent.poll_transmit(NOW).is_some());
        agent.sent(NOW, fate);
        assert_eq!(agent.poll_answer(NOW), Some(Answer::Refused(refusal)));
        assert_eq!(agent.poll_transmit(NOW), None);
    }
}

#[test]
fn a_flow_belongs_to_who_opens_it_from_the_other_end_and_to_nobody_else() {
    let [client, stranger] = [addresses()[0], "192.0.2.9".parse().unwrap()];
    let mut agent = server();
    open(&mut agent);
    agent.incoming(NOW, &syn(stranger, 1));
    assert_eq!(awaited(&mut agent), None);
    let segment = Order::Send {
        flow: FLOW,
        segment: spec(Flags::ACK, 0),
    };
    let refused = Some(Answer::Refused(Refusal::NoFlow));
    assert_eq!(answer(&mut agent, segment), refused);

    agent.incoming(NOW, &syn(client, 50_000));
    agent.incoming(NOW, &syn(client, 50_001)); // whose is that?
    assert!(
        matches!(awaited(&mut agent), Some(Answer::Arrived(Some(arrival)))
        if arrival.checksum_right && arrival.length == 40)
    );
    assert_eq!(awaited(&mut agent), None);
}

#[test]
fn a_flow_is_reset_once_however_often_it_is_closed_and_its_late_syn_opens_no_other() {
    let client = addresses()[0];
    let mut agent = server();
    open(&mut agent);
    agent.incoming(NOW, &syn(client, 50_000));
    for expected in [1, 0] {
        let closed = answer(&mut agent, Order::Close { flow: FLOW });
        assert_eq!(closed, Some(Answer::Done));
        let packets = sends(&mut agent);
        assert_eq!(packets.len(), expected);
        for packet in packets {
            let tcp = Tcp::parse(&packet[20..]).unwrap();
            assert!(tcp.flags().has(Flags::RST | Flags::ACK));
            assert_eq!(
                (tcp.acknowledgement(), tcp.destination_port()),
                (78, 50_000)
            );
        }
    }
    open(&mut agent);
    agent.incoming(NOW, &syn(client, 50_000));
    assert_eq!(awaited(&mut agent), None);
}

#[test]
fn a_watched_flow_sends_nothing_and_tells_what_the_service_says() {
    let [client, own] = addresses();
    let mut agent = server();
    let watch = Order::Watch {
        flow: FLOW,
        port: PORT,
    };
    assert_eq!(answer(&mut agent, watch), Some(Answer::Done));
    agent.incoming(NOW, &syn(client, 50_000));
    let said = Segment {
        source: (own, PORT).into(),
        destination: (client, 50_000).into(),
        carried: craft::Carried::default(),
        sequence: 1,
        acknowledgement: 78,
        flags: Flags::SYN | Flags::ACK,
        window: 9,
        urgent: 0,
        options: vec![2, 4, 5, 180],
        payload: Vec::new(),
    }
    .build();
    agent.outgoing(NOW, &said);
    let overhear = Order::Overhear {
        flow: FLOW,
        patience_ms: 10,
    };
    let told = answer(&mut agent, overhear);
    assert_eq!(told, Some(Answer::Overheard(Some(Header(said)))));
    let _refused = answer(&mut agent, train(1, 100));
    let _done = answer(&mut agent, Order::Close { flow: FLOW });
    assert_eq!(sends(&mut agent), [[0; 0]; 0]);
}

#[test]
fn a_router_is_believed_only_of_packets_of_this_end() {
    let mut agent = client();
    open(&mut agent);
    assert_eq!(answer(&mut agent, train(1, 1400)), None);
    let packets = sends(&mut agent);
    let by = addresses()[1];
    // A packet of somebody else, and one of ours.
    agent.incoming(NOW, &icmp::too_big(&syn(addresses()[0], 9), 500).unwrap());
    agent.incoming(NOW, &icmp::too_big(&packets[0], 1000).unwrap());
    let Some(Answer::Counted(dispatch)) = agent.poll_answer(NOW + Duration::from_secs(1)) else {
        panic!("the train is over");
    };
    assert_eq!(dispatch.too_big, Some(TooBig { by, mtu: 1000 }));
}

proptest! {
    #[test]
    fn what_a_stranger_sends_never_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        end in any::<bool>(),
        protocol in proptest::sample::select(vec![1u8, 6, 58, 17]),
        framed in any::<bool>(),
    ) {
        let mut agent = if end { client() } else { server() };
        open(&mut agent);
        agent.order(NOW, Order::Receive { flow: FLOW, from: 0, ack: Spec::default() }, None);
        if framed && bytes.len() >= 34 {
            // A header that belongs to us, and whatever follows.
            let length = bytes.len() as u16;
            let (own, peer) = (agent.between.own, agent.between.peer);
            let (IpAddr::V4(own), IpAddr::V4(peer)) = (own, peer) else { unreachable!() };
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[6..8].fill(0);
            bytes[9] = protocol;
            bytes[12..16].copy_from_slice(&peer.octets());
            bytes[16..20].copy_from_slice(&own.octets());
            bytes[22..24].copy_from_slice(&PORT.to_be_bytes());
        }
        agent.incoming(NOW, &bytes);
        agent.outgoing(NOW, &bytes);
        for packet in sends(&mut agent) {
            let ip = Ip::parse(&packet).unwrap();
            prop_assert_eq!(ip.destination, agent.between.peer);
        }
    }
}
