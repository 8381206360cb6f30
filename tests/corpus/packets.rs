//! Any bytes as a packet, beside `etherparse`: two parsers that read the same packet in two ways would let
//! something pass.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    TcpHeaderSlice, TcpOptionElement,
};
use unmangle::packet::ip::{MAX_EXTENSION_HEADERS, protocol, truncate};
use unmangle::packet::{
    Fragment, Ip, Offer, Tcp, TcpOption, checksum, ctnetlink, icmp, nflog, tcp,
};
use unmangle::sys::packet_queue::Queued;

/// What must hold for any packet. The first byte chooses where it is cut and what it is told.
pub fn run(bytes: &[u8]) {
    let Some((&choice, packet)) = bytes.split_first() else {
        return;
    };
    messages_of_the_kernel_are_read_to_their_end(packet);
    let quoted = Ip::parse_quoted(packet);
    let whole = Ip::parse(packet);
    assert_eq!(quoted.ok(), another_parser(packet), "{packet:?}");
    if let Ok(ip) = whole {
        assert_eq!(Ok(ip), quoted, "a whole packet is read as a quoted one is");
    }
    if let Ok(ip) = quoted
        && ip.payload <= ip.end
    {
        segment(&packet[ip.payload..ip.end]);
    }
    seen_by_the_witness(packet, quoted.ok().as_ref());
    let Ok(ip) = whole else {
        assert_eq!(icmp::too_big(packet, 600), None);
        assert_eq!(Offer::of_packet(packet), None);
        assert!(!truncate(&mut packet.to_vec(), choice.into()));
        return;
    };
    checksums(&ip, packet, choice);
    cut(&ip, packet, choice.into());
    answered(&ip, packet);
}

/// The headers as `etherparse` reads them, one after the other, with the same rules.
fn another_parser(packet: &[u8]) -> Option<Ip> {
    match packet.first()? >> 4 {
        4 => v4(packet),
        6 => v6(packet),
        _ => None,
    }
}

fn v4(packet: &[u8]) -> Option<Ip> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let claimed = usize::from(header.total_len());
    let payload = header.slice().len();
    (payload <= claimed).then(|| Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol().0,
        fragment: part(header.fragments_offset().value(), header.more_fragments()),
        payload,
        end: claimed.min(packet.len()),
    })
}

fn v6(packet: &[u8]) -> Option<Ip> {
    let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
    let end = packet.len().min(40 + usize::from(header.payload_length()));
    let mut ip = Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.next_header().0,
        fragment: Fragment::Whole,
        payload: 40,
        end,
    };
    for _ in 0..MAX_EXTENSION_HEADERS {
        let rest = &packet[ip.payload..end];
        match IpNumber(ip.protocol) {
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).ok()?;
                ip.protocol = header.next_header().0;
                ip.payload += header.slice().len();
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).ok()?;
                ip.protocol = header.next_header().0;
                ip.payload += header.slice().len();
                ip.fragment = part(header.fragment_offset().value(), header.more_fragments());
            }
            _ => return Some(ip),
        }
        if ip.fragment == Fragment::Later {
            return Some(ip);
        }
    }
    None
}

fn part(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

/// Any bytes as a segment.
fn segment(bytes: &[u8]) {
    let ours = Tcp::parse(bytes);
    let other = TcpHeaderSlice::from_slice(bytes);
    assert_eq!(ours.is_ok(), other.is_ok());
    let (Ok(ours), Ok(other)) = (ours, other) else {
        return;
    };
    assert_eq!(ours.source_port(), other.source_port());
    assert_eq!(ours.destination_port(), other.destination_port());
    assert_eq!(ours.sequence(), other.sequence_number());
    assert_eq!(ours.acknowledgement(), other.acknowledgment_number());
    assert_eq!(ours.window(), other.window_size());
    assert_eq!(ours.checksum(), other.checksum());
    assert_eq!(ours.header(), other.slice());
    assert_eq!(ours.payload(), &bytes[other.slice().len()..]);
    assert_eq!(ours.flags().opens(), other.syn() && !other.ack());
    let mut options = ours.options();
    for element in other.options_iterator() {
        // Where the other gives up, ours may go on: an option of a kind that it does not know.
        let Ok(element) = element else { return };
        let option = options.next().expect("an option that another parser reads");
        is_the_same_option(&option, &element);
    }
    assert_eq!(options.next(), None);
}

fn is_the_same_option(ours: &TcpOption, other: &TcpOptionElement) {
    match (ours, other) {
        (TcpOption::Nop, TcpOptionElement::Noop)
        | (TcpOption::SackPermitted, TcpOptionElement::SelectiveAcknowledgementPermitted) => {}
        (TcpOption::Mss(ours), TcpOptionElement::MaximumSegmentSize(other)) => {
            assert_eq!(ours, other);
        }
        (TcpOption::WindowScale(ours), TcpOptionElement::WindowScale(other)) => {
            assert_eq!(ours, other);
        }
        (TcpOption::Timestamps { value, echo }, TcpOptionElement::Timestamp(value2, echo2)) => {
            assert_eq!((value, echo), (value2, echo2));
        }
        (TcpOption::Sack(_), TcpOptionElement::SelectiveAcknowledgement(first, rest)) => {
            let other: Vec<_> = [Some(*first)]
                .iter()
                .chain(rest)
                .flatten()
                .copied()
                .collect();
            assert_eq!(ours.sack_blocks().collect::<Vec<_>>(), other);
        }
        _ => panic!("{ours:?} is not {other:?}"),
    }
}

/// Computed anew they are right, and rewriting keeps right ones right and wrong ones wrong.
fn checksums(ip: &Ip, packet: &[u8], choice: u8) {
    if ip.protocol == protocol::TCP
        && let Some(right) = checksum::transport_is_right(ip, packet)
    {
        let segment = &packet[ip.payload..ip.end];
        if let Ok(header) = TcpHeaderSlice::from_slice(segment) {
            let payload = &segment[header.slice().len()..];
            let other = match (ip.source, ip.destination) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
                }
                _ => panic!("{ip:?} is of two families"),
            };
            // 0x0000 and 0xffff are the same number.
            let [stands, other] = [header.checksum(), other.unwrap()].map(|sum| sum % 0xffff);
            assert_eq!(right, stands == other);
        }
    }
    let mut refreshed = packet.to_vec();
    checksum::refresh_transport(ip, &mut refreshed);
    assert_ne!(checksum::transport_is_right(ip, &refreshed), Some(false));
    for (name, before) in [("as it came", packet), ("refreshed", &refreshed)] {
        let mut packet = before.to_vec();
        if !ip.has_tcp_header() {
            continue;
        }
        let right = checksum::transport_is_right(ip, &packet);
        let by = u32::from(choice).wrapping_mul(0x0101_8003);
        let Ok(mut tcp) = Tcp::parse(&mut packet[ip.payload..ip.end]) else {
            continue;
        };
        let (sequence, acknowledgement) = (tcp.sequence(), tcp.acknowledgement());
        let options: Vec<u8> = tcp.header()[20..].to_vec();
        tcp.shift_sequence(by);
        tcp.shift_acknowledgement(by);
        assert_eq!(tcp.sequence(), sequence.wrapping_add(by));
        assert_eq!(tcp.acknowledgement(), acknowledgement.wrapping_add(by));
        tcp.edit_options(|tcp, option| {
            if option.at % 2 == usize::from(choice % 2) {
                tcp.blank(option);
            }
        });
        assert_eq!(tcp.header()[20..].len(), options.len());
        let after = checksum::transport_is_right(ip, &packet);
        assert_eq!(after, right, "{name}: rewriting keeps what it was");
        // Shifted back, and with its options, it is as it was; the checksum may be 0 for 0xffff.
        let segment = &mut packet[ip.payload..ip.end];
        tcp::shift_quoted(segment, by.wrapping_neg(), by.wrapping_neg());
        let mut tcp = Tcp::parse(segment).unwrap();
        tcp.overwrite(20, &options);
        let at = [ip.payload + 16, ip.payload + 18];
        assert_eq!(packet[..at[0]], before[..at[0]]);
        assert_eq!(packet[at[1]..], before[at[1]..]);
        assert_eq!(checksum::transport_is_right(ip, &packet), right);
    }
}

/// A cut leaves a packet of that size whose lengths and checksums fit, or everything as it was.
fn cut(ip: &Ip, packet: &[u8], size: usize) {
    let mut shorter = packet.to_vec();
    if !truncate(&mut shorter, size) {
        assert_eq!(shorter, packet);
        assert!(size <= ip.payload || size >= ip.end);
        return;
    }
    assert_eq!(shorter.len(), size);
    let after = Ip::parse(&shorter).expect("a cut packet is one");
    let expected = Ip { end: size, ..*ip };
    assert_eq!(after, expected);
    assert_ne!(checksum::transport_is_right(&after, &shorter), Some(false));
    if ip.is_v4() {
        let header = Ipv4HeaderSlice::from_slice(&shorter).unwrap().slice();
        let sum = Sum16BitWords::new().add_slice(header);
        assert_eq!(sum.ones_complement(), 0);
    }
}

/// The answer to a packet that is too big is a packet of its own, quotes it, and is not answered.
fn answered(ip: &Ip, packet: &[u8]) {
    let Some(answer) = icmp::too_big(packet, 1300) else {
        assert!(ip.fragment == Fragment::Later || icmp::quoted(ip, packet).is_some());
        return;
    };
    let about = Ip::parse(&answer).expect("an answer is a packet");
    assert_eq!(about.end, answer.len());
    assert!(answer.len() <= if ip.is_v4() { 576 } else { 1280 });
    assert_eq!(
        (about.source, about.destination),
        (ip.destination, ip.source)
    );
    assert_eq!(checksum::transport_is_right(&about, &answer), Some(true));
    let at = icmp::quoted(&about, &answer).expect("it quotes");
    assert_eq!(answer[at..], packet[..answer.len() - at]);
    assert_eq!(
        icmp::too_big(&answer, 1300),
        None,
        "an error is not answered"
    );
    // What is edited within stays right without.
    let mut edited = answer.clone();
    icmp::edit_quoted(&about, &mut edited, |inner, quotation| {
        tcp::shift_quoted(&mut quotation[inner.payload.min(inner.end)..], 7, 9);
    });
    assert_eq!(checksum::transport_is_right(&about, &edited), Some(true));
    assert_eq!(edited.len(), answer.len());
}

/// Native-endian, padded: an attribute of netlink.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

/// A logged packet and a queued one come out of their messages as they went in.
fn seen_by_the_witness(packet: &[u8], ip: Option<&Ip>) {
    let packet = &packet[..packet.len().min(2000)];
    let log = [&[2, 0, 0x55, 0x4d][..], &attribute(9, packet)].concat();
    let datagram = [message(4 << 8, &log), message(4 << 8, &log)].concat();
    let seen: Vec<_> = nflog::segments(&datagram).collect();
    let segment = ip.filter(|ip| ip.has_tcp_header()).and_then(|ip| {
        Some((
            ip,
            TcpHeaderSlice::from_slice(packet.get(ip.payload..)?).ok()?,
        ))
    });
    match segment {
        None => assert!(seen.is_empty()),
        Some((ip, segment)) => {
            assert_eq!(seen.len(), 2);
            assert_eq!(seen[0], seen[1]);
            let nflog::Logged::Leg(seen) = seen[0] else {
                panic!("it was logged without a word");
            };
            assert_eq!(seen.from, (ip.source, segment.source_port()).into());
            assert_eq!(seen.to, (ip.destination, segment.destination_port()).into());
            assert_eq!(seen.offer.is_some(), segment.syn() && !segment.ack());
            let dscp = match Ipv4HeaderSlice::from_slice(packet) {
                Ok(header) => header.dcp().value(),
                Err(_) => Ipv6HeaderSlice::from_slice(packet).unwrap().dscp().value(),
            };
            assert_eq!(seen.dscp, dscp);
        }
    }
    let queued = [
        &[2, 0, 0, 7][..],
        &attribute(1, &[0, 0, 0, 9, 8, 0, 0]),
        &attribute(3, &0x1600_0000_u32.to_be_bytes()),
        &attribute(10, packet),
    ]
    .concat();
    let expected = Queued {
        id: 9,
        mark: 0x1600_0000,
        interface: 0,
        bytes: packet.to_vec(),
    };
    assert_eq!(Queued::parse(&message(3 << 8, &queued)), Some(expected));
}

/// Whatever stands in a message of the kernel, it is read to its end and no further.
fn messages_of_the_kernel_are_read_to_their_end(bytes: &[u8]) {
    assert!(nflog::segments(bytes).count() <= bytes.len() / 16);
    assert!(nflog::prefixes(bytes).count() <= bytes.len() / 16);
    let _ = nflog::answer(bytes);
    let cpus = ctnetlink::Answer::parse(bytes).cpus;
    assert!(cpus.iter().map(Vec::len).sum::<usize>() <= bytes.len() / 8);
    if let Some(queued) = Queued::parse(bytes) {
        assert!(queued.bytes.len() <= bytes.len() - 24);
    }
    let ours = message(3 << 8, bytes);
    if let Some(queued) = Queued::parse(&ours) {
        assert!(queued.bytes.len() <= bytes.len());
    }
}
