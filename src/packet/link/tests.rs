use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::packet::samples::{Family, Segment};

fn packet() -> Vec<u8> {
    Segment::default().build()
}

fn v6() -> Vec<u8> {
    Segment {
        family: Family::V6,
        ..Default::default()
    }
    .build()
}

fn framed(heading: &[u8], packet: &[u8]) -> Vec<u8> {
    [heading, packet].concat()
}

fn attribute(kind: u16, value: &[u8], big_endian: bool) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = match big_endian {
        true => [length.to_be_bytes(), kind.to_be_bytes()].concat(),
        false => [length.to_le_bytes(), kind.to_le_bytes()].concat(),
    };
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_packet_is_found_behind_every_kind_of_heading() {
    let mac = [2; 12];
    let cooked = [0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0];
    let cases: Vec<(LinkType, Vec<u8>)> = vec![
        (LinkType::Ethernet, framed(&mac, &[8, 0])),
        (LinkType::LinuxCooked, framed(&cooked, &[8, 0])),
        (LinkType::Raw, Vec::new()),
        (LinkType::Ipv4, Vec::new()),
        (LinkType::Null, vec![2, 0, 0, 0]),
        (LinkType::Null, vec![0, 0, 0, 2]),
        (LinkType::Loop, vec![0, 0, 0, 2]),
        (LinkType::Ppp, vec![0xff, 3, 0, 0x21]),
        (LinkType::Ppp, vec![0, 0x21]),
        (LinkType::Ppp, vec![0x21]),
        (
            LinkType::PppOverEthernet,
            vec![0x11, 0, 0, 1, 0, 42, 0, 0x21],
        ),
        (
            LinkType::Ethernet,
            framed(&mac, &[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21]),
        ),
    ];
    let packet = packet();
    for (link, heading) in cases {
        let bytes = framed(&heading, &packet);
        let frame = link.open(&bytes);
        assert_eq!(frame.carried, Carried::Ip(&packet), "{link:?} {heading:x?}");
        assert_eq!(frame.heading, heading.len(), "{link:?}");
    }
    let bytes = framed(&[&[2; 12][..], &[0x86, 0xdd]].concat(), &v6());
    assert_eq!(
        LinkType::Ethernet.open(&bytes).carried,
        Carried::Ip(&v6()[..])
    );
}

#[test]
fn any_stack_of_vlan_tags_is_walked_and_the_innermost_is_told() {
    let mut heading = vec![2; 12];
    heading.extend([0x88, 0xa8, 0, 7, 0x91, 0, 0, 8, 0x81, 0, 0xe0, 9, 8, 0]);
    let bytes = framed(&heading, &packet());
    let frame = LinkType::Ethernet.open(&bytes);
    assert_eq!(frame.vlan, Some(9));
    assert_eq!(frame.carried, Carried::Ip(&packet()[..]));
}

#[test]
fn the_any_device_tells_device_and_direction() {
    let heading = |kind: u8, protocol: [u8; 2]| {
        let mut bytes = protocol.to_vec();
        bytes.extend([0, 0, 0, 0, 0, 3, 0, 1, kind, 6, 1, 2, 3, 4, 5, 6, 0, 0]);
        bytes
    };
    for (kind, travel) in [
        (0, Travel::Incoming),
        (3, Travel::Passing),
        (4, Travel::Outgoing),
    ] {
        let bytes = framed(&heading(kind, [8, 0]), &packet());
        let frame = LinkType::LinuxCooked2.open(&bytes);
        assert_eq!((frame.device, frame.travel), (Some(3), Some(travel)));
        assert_eq!(frame.carried, Carried::Ip(&packet()[..]));
    }
    let tagged = framed(&[0, 5, 8, 0], &packet());
    let bytes = framed(&heading(4, [0x81, 0]), &tagged);
    let frame = LinkType::LinuxCooked2.open(&bytes);
    assert_eq!((frame.device, frame.vlan), (Some(3), Some(5)));
    assert_eq!(frame.carried, Carried::Ip(&packet()[..]));
    let cooked = framed(&[0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], &packet());
    let travel = LinkType::LinuxCooked.open(&cooked).travel;
    assert_eq!(travel, Some(Travel::Outgoing));
}

#[test]
fn a_logged_packet_tells_text_hook_devices_and_time_in_either_byte_order() {
    for big_endian in [false, true] {
        let mut bytes = vec![2, 0, 0x55, 0x4d];
        bytes.extend(attribute(1, &[8, 0, 3, 0], big_endian));
        bytes.extend(attribute(10, b"why\0", big_endian));
        bytes.extend(attribute(5, &[0, 0, 0, 4], big_endian));
        bytes.extend(attribute(2, &[0, 0, 0, 9], big_endian));
        let time = [&7u64.to_be_bytes()[..], &5u64.to_be_bytes()].concat();
        bytes.extend(attribute(3, &time, big_endian));
        bytes.extend(attribute(9, &packet(), big_endian));
        let frame = LinkType::Nflog.open(&bytes);
        assert_eq!(frame.carried, Carried::Ip(&packet()[..]), "{big_endian}");
        let logged = frame.logged.unwrap();
        assert_eq!(logged.prefix, b"why");
        assert_eq!((logged.hook, logged.mark), (Some(3), Some(9)));
        assert_eq!((logged.from_device, logged.to_device), (None, Some(4)));
        assert_eq!(logged.at, Some(Duration::new(7, 5_000)));
        assert_eq!(frame.travel, Some(Travel::Outgoing));
        assert_eq!(frame.device, Some(4));
        let heading = bytes.len() - packet().len();
        assert_eq!(frame.heading, heading);
    }
}

#[test]
fn what_is_not_ip_is_said_to_be_so_and_what_is_cut_off_as_well() {
    let arp = framed(&[2; 12], &[8, 6, 0, 1]);
    assert_eq!(LinkType::Ethernet.open(&arp).carried, Carried::NotIp);
    assert_eq!(LinkType::Other(147).open(&arp).carried, Carried::NotIp);
    for length in 0..15 {
        let bytes = &framed(&framed(&[2; 12], &[8, 0]), &packet())[..length];
        let carried = LinkType::Ethernet.open(bytes).carried;
        assert_eq!(carried, Carried::CutShort, "{length}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_of_any_type(number in 0u16..300, bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
        let frame = LinkType::new(number).open(&bytes);
        if let Carried::Ip(packet) = frame.carried {
            prop_assert!(!packet.is_empty() && packet.len() + frame.heading <= bytes.len());
        }
    }

    #[test]
    fn any_attributes_are_walked(bytes in proptest::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..90)) {
        let _ = LinkType::Nflog.open(&bytes);
    }
}
