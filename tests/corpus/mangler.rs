//! Any packets through an emulated firewall that does any of what it can.
//!
//! The input: what the firewall does, then packets, each with a byte for its way and the time before it, and
//! two for its length. Lengths and checksums of what looks like a packet may be put right first, so that
//! the mangler is not left with what is none.

use std::time::Duration;

use unmangle::lab::wire::{
    Delivery, Direction, End, Heading, Isn, Mangler, Oversize, OversizeAction, Protocol,
    UnknownOptions, WindowScale, WireSpec,
};
use unmangle::packet::{Flags, Ip, Tcp, checksum, ip};

/// What must hold for any packets and any firewall.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let spec = spec(&mut input);
    let mut mangler = Mangler::new(&spec);
    // The same seed: whatever chance does, it does it again.
    let mut twin = Mangler::new(&spec);
    let mut now = Duration::ZERO;
    for nth in 1.. {
        let Some((heading, later, packet)) = packet(&mut input) else {
            break;
        };
        now += later;
        let mut out = Vec::new();
        mangler.carry(heading, now, packet.clone(), &mut out);
        let mut again = Vec::new();
        twin.carry(heading, now, packet.clone(), &mut again);
        assert_eq!(out, again, "a run repeats");
        let lane = match heading {
            Heading::AToB => &spec.a_to_b,
            Heading::BToA => &spec.b_to_a,
        };
        judge(lane, heading, now, &packet, &out);
        let counted: u64 = Heading::BOTH
            .iter()
            .map(|heading| mangler.counters(*heading).packets)
            .sum();
        assert_eq!(counted, nth);
    }
}

/// What becomes of one packet.
fn judge(lane: &Direction, heading: Heading, now: Duration, packet: &[u8], out: &[Delivery]) {
    assert!(out.len() <= 2);
    if let [one, two] = out {
        assert_eq!(one, two, "a packet that comes twice is the same");
    }
    let Some(delivery) = out.first() else { return };
    assert!(delivery.due >= now);
    let Ok(before) = Ip::parse(packet) else {
        assert_eq!(
            delivery.packet, packet,
            "what is no packet is carried as it is"
        );
        return;
    };
    let after = Ip::parse(&delivery.packet).expect("a packet remains one");
    if delivery.heading != heading {
        assert!(delivery.packet.len() <= 1280);
        assert_eq!(
            (after.source, after.destination),
            (before.destination, before.source),
            "only the answer to what is too big travels back"
        );
        assert_right(&after, &delivery.packet);
        return;
    }
    let size = delivery.packet.len();
    let cut = size < packet.len();
    if cut {
        let truncates = |rule: &Oversize| {
            rule.action == OversizeAction::Truncate && usize::from(rule.above) == size
        };
        assert!(lane.oversize.iter().any(truncates));
    }
    let expected = Ip {
        end: before.end.min(size),
        ..before
    };
    assert_eq!(after, expected, "who, whom and where the payload stands");
    if lane.corrupt == 0.0 {
        if cut || is_right(&before, packet) {
            assert_right(&after, &delivery.packet);
        }
        if !before.has_tcp_header() && !before.is_icmp() && !cut {
            let mut expected = packet.to_vec();
            if lane.ports.is_none() {
                ip::edit_traffic_class(&mut expected, |class| marked(lane, class));
            }
            assert_eq!(delivery.packet, expected);
        }
        if before.has_tcp_header() {
            assert_rewritten_in_place(lane, &after, packet, &delivery.packet);
        }
    }
}

/// DSCP and ECN as the direction makes them.
fn marked(lane: &Direction, class: u8) -> u8 {
    let ecn = if lane.bleach_ecn { 0 } else { class & 3 };
    (lane.dscp.map_or(class >> 2, |dscp| dscp.min(63)) << 2) | ecn
}

/// Ports, length of the header and the payload are nobody's to change; flags and window change only as the
/// direction says.
fn assert_rewritten_in_place(lane: &Direction, ip: &Ip, before: &[u8], after: &[u8]) {
    let [Ok(old), Ok(new)] = [before, after].map(|all| Tcp::parse(&all[ip.payload..ip.end])) else {
        return;
    };
    assert_eq!(old.source_port(), new.source_port());
    assert_eq!(old.destination_port(), new.destination_port());
    assert_eq!(old.header_len(), new.header_len());
    assert_eq!(old.payload(), new.payload());
    let touches = |ports: &[u16]| {
        ports.contains(&old.source_port()) || ports.contains(&old.destination_port())
    };
    assert!(!touches(&lane.drop_ports), "a blocked port");
    let (mut flags, mut window) = (old.flags(), old.window());
    let mut first = [before[0], before[1]];
    if lane.ports.as_deref().is_none_or(touches) {
        if lane.refuse_ecn && flags.has(Flags::SYN) {
            flags = flags.without(Flags::ECE | Flags::CWR);
        }
        if lane.clear_urgent {
            flags = flags.without(Flags::URG);
            assert_eq!(new.urgent_pointer(), 0);
        }
        window = window.min(lane.window.unwrap_or(u16::MAX));
        let mut whole = before.to_vec();
        ip::edit_traffic_class(&mut whole, |class| marked(lane, class));
        first = [whole[0], whole[1]];
    }
    assert_eq!((new.flags(), new.window()), (flags, window));
    assert_eq!(after[..2], first);
}

fn is_right(ip: &Ip, packet: &[u8]) -> bool {
    let header = !ip.is_v4()
        || checksum::Sum::default()
            .bytes(&packet[..ip.payload])
            .checksum()
            == 0;
    header && checksum::transport_is_right(ip, packet) != Some(false)
}

#[track_caller]
fn assert_right(ip: &Ip, packet: &[u8]) {
    assert!(is_right(ip, packet), "checksums: {packet:?}");
}

// === the input ===

/// Bytes that are used up; zeros when they are.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Never, always, or now and then.
    fn chance(&mut self) -> f64 {
        match self.byte() {
            0..=199 => 0.0,
            200..=219 => 1.0,
            other => f64::from(other - 200) / 64.0,
        }
    }

    fn time(&mut self) -> Duration {
        Duration::from_micros(self.byte().into())
    }
}

fn spec(input: &mut Input) -> WireSpec {
    let end = |netns: &str| End {
        netns: netns.into(),
        device: "wire".into(),
        mtu: 1500,
    };
    WireSpec {
        seed: input.byte().into(),
        a: end("a"),
        b: end("b"),
        a_to_b: direction(input),
        b_to_a: direction(input),
    }
}

fn direction(input: &mut Input) -> Direction {
    let [does, more] = [input.byte(), input.byte()];
    let wanted = |bit: u8| does & 1 << bit != 0;
    let rarely = |bit: u8| more & 1 << bit != 0;
    let mut direction = Direction::default();
    if wanted(0) {
        direction.isn = Some(Isn {
            translate_sack: wanted(1),
        });
    }
    if wanted(2) {
        direction.window_scale = match input.byte() % 4 {
            0 => WindowScale::Strip,
            1 => WindowScale::StripFromSynAck,
            _ => WindowScale::Set(input.byte()),
        };
    }
    direction.mss = wanted(3).then(|| input.word());
    direction.strip_sack_permitted = wanted(4);
    direction.timestamp_offset = wanted(5).then(|| u32::from(input.word()) << 8);
    direction.forget_idle_after = wanted(6).then(|| input.time());
    for _ in 0..(if wanted(7) { 1 + input.byte() % 3 } else { 0 }) {
        direction.oversize.push(Oversize {
            protocol: [Protocol::Any, Protocol::Tcp, Protocol::Icmp][usize::from(input.byte() % 3)],
            above: input.word() % 1500,
            action: match input.byte() % 4 {
                0 => OversizeAction::Drop,
                1 => OversizeAction::TooBig,
                2 => OversizeAction::Delay(input.time()),
                _ => OversizeAction::Truncate,
            },
            probability: 1.0 - input.chance(),
        });
    }
    if rarely(0) {
        direction.loss = input.chance();
        direction.duplicate = input.chance();
        direction.corrupt = input.chance();
        direction.reorder = input.chance();
    }
    if rarely(1) {
        direction.delay = input.time();
        direction.jitter = input.time();
        direction.reorder_by = input.time();
    }
    direction.rate_bits_per_s = rarely(2).then(|| u64::from(input.word()) << 8);
    if rarely(3) {
        let does = input.byte();
        let wanted = |bit: u8| does & 1 << bit != 0;
        direction.refuse_ecn = wanted(0);
        direction.bleach_ecn = wanted(1);
        direction.clear_urgent = wanted(2);
        direction.dscp = wanted(3).then(|| input.byte());
        direction.window = wanted(4).then(|| input.word());
        direction.strip_sack = wanted(5);
        direction.strip_timestamps = wanted(6);
    }
    if rarely(4) {
        direction.unknown_options =
            [UnknownOptions::Strip, UnknownOptions::DropSyn][usize::from(input.byte() % 2)];
    }
    direction.ports = rarely(5).then(|| vec![input.word(), input.word()]);
    if rarely(6) {
        direction.drop_ports.push(input.word());
    }
    direction
}

/// Which way, how much later than the one before, and the packet.
fn packet(input: &mut Input) -> Option<(Heading, Duration, Vec<u8>)> {
    if input.0.len() < 4 {
        return None;
    }
    let how = input.byte();
    let heading = Heading::BOTH[usize::from(how & 1)];
    let later = Duration::from_micros(u64::from(how >> 2) * 8);
    let length = usize::from(input.word() % 2048).min(input.0.len());
    let (packet, rest) = input.0.split_at(length);
    input.0 = rest;
    let mut packet = packet.to_vec();
    if how & 2 != 0 {
        put_right(&mut packet);
    }
    Some((heading, later, packet))
}

/// Makes lengths and checksums fit, where they stand.
fn put_right(packet: &mut [u8]) {
    let length = packet.len() as u16;
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => packet[2..4].copy_from_slice(&length.to_be_bytes()),
        Some(6) if packet.len() >= 40 => packet[4..6].copy_from_slice(&(length - 40).to_be_bytes()),
        _ => return,
    }
    if let Ok(ip) = Ip::parse(packet) {
        checksum::refresh_transport(&ip, packet);
        if ip.is_v4() {
            checksum::refresh_ipv4_header(&mut packet[..ip.payload]);
        }
    }
}
