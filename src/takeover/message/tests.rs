use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::relay::{NotedEnd, NotedHalf, NotedHeld, NotedOffer, NotedPort};
use crate::rules::HandedNote;
use crate::takeover::frame::{LONGEST, VERSION};
use crate::takeover::standing::{ListenerSockets, NotedWayIn, SocketNote};

/// Its text has no flow label.
fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(SocketAddr::from)
}

fn held() -> impl Strategy<Value = NotedHeld> {
    prop_oneof![
        Just(NotedHeld::Nothing),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(NotedHeld::Bytes),
        any::<u64>().prop_map(NotedHeld::Pipe),
    ]
}

fn half() -> impl Strategy<Value = NotedHalf> {
    let end = prop_oneof![
        Just(NotedEnd::Open),
        Just(NotedEnd::Read),
        Just(NotedEnd::PassedOn)
    ];
    (any::<[u64; 2]>(), any::<[bool; 2]>(), end, held()).prop_map(
        |([read, passed], [bulk, begun], end, held)| NotedHalf {
            read,
            passed,
            bulk,
            begun,
            end,
            held,
        },
    )
}

fn note() -> impl Strategy<Value = Note> {
    let offer = any::<(Option<u16>, Option<u8>, bool, bool)>().prop_map(
        |(mss, window_scale, sack, timestamps)| NotedOffer {
            mss,
            window_scale,
            sack,
            timestamps,
        },
    );
    let port = prop_oneof![
        Just(NotedPort::Kept),
        Just(NotedPort::Fallback),
        Just(NotedPort::OfThisHost)
    ];
    let addresses = (
        [address(), address(), address()],
        proptest::option::of(address()),
    );
    let times = any::<([u64; 2], [u32; 2])>();
    let flags = any::<([bool; 3], Option<bool>)>();
    let offer = proptest::option::of(offer);
    (
        ".{0,9}",
        addresses,
        port,
        times,
        offer,
        flags,
        half(),
        half(),
    )
        .prop_map(
            |(listener, ([client, server, local], via), port, times, offer, flags, there, back)| {
                let (times, retransmits) = times;
                let ([from_mangled_side, downstream_unpaced, upstream_unpaced], ended) = flags;
                Note {
                    listener,
                    from_mangled_side,
                    client,
                    via,
                    server,
                    local,
                    port,
                    age_us: times[0],
                    connect_us: times[1],
                    offer,
                    client_ended_first: ended,
                    client_to_server: there,
                    server_to_client: back,
                    downstream_unpaced,
                    upstream_unpaced,
                    downstream_retransmits: retransmits[0],
                    upstream_retransmits: retransmits[1],
                }
            },
        )
}

fn standing() -> impl Strategy<Value = Standing> {
    let way_in = prop_oneof![
        any::<[u16; 2]>().prop_map(|[mangled, clean]| NotedWayIn::Intercepted { mangled, clean }),
        address().prop_map(NotedWayIn::Listening),
    ];
    let socket = any::<(u16, bool)>().prop_map(|(worker, mangled_side)| SocketNote {
        worker: worker.into(),
        mangled_side,
    });
    let sockets = proptest::collection::vec(socket, 0..200);
    let listener =
        (".{0,9}", way_in, sockets).prop_map(|(name, way_in, sockets)| ListenerSockets {
            name,
            way_in,
            sockets,
        });
    let rules =
        any::<(u32, u64, bool, bool)>().prop_map(|(nft_pid, changes, draining, fail_closed)| {
            HandedNote {
                changes,
                draining,
                fail_closed,
                ..rules(nft_pid)
            }
        });
    (
        proptest::collection::vec(listener, 0..4),
        proptest::option::of(rules),
        proptest::collection::vec(".{0,9}", 0..3),
        any::<bool>(),
        0..200_usize,
    )
        .prop_map(|(listeners, rules, doors, witness, workers)| Standing {
            listeners,
            rules,
            lasting_doors: doors.first().cloned().into_iter().collect(),
            doors,
            witness,
            workers,
        })
}

/// Rules that this process owns, whose table is that of a child.
fn rules(nft_pid: u32) -> HandedNote {
    let lasting = serde_json::json!({
        "mark": 1, "dial_mark": null, "tracking": "notrack", "hold": null, "routes": ["rule"],
    });
    HandedNote {
        nft_pid,
        changes: 1,
        draining: false,
        fail_closed: false,
        silence_ms: vec![None, Some(7)],
        lasting: serde_json::from_value(lasting).unwrap(),
    }
}

fn totals() -> impl Strategy<Value = Box<Totals>> {
    any::<u64>().prop_map(|held| {
        let debt = serde_json::json!({"listener": "a", "source": "192.0.2.0", "owes_us": held});
        let told = serde_json::json!({"recorded": {"process": {"held": held}}, "debts": [debt]});
        Box::new(serde_json::from_value(told).unwrap())
    })
}

fn message() -> impl Strategy<Value = Message> {
    let hello = (any::<(u16, u32)>(), ".{0,9}").prop_map(|((sessions_version, pid), program)| {
        Message::Hello(Hello {
            sessions_version,
            pid,
            program,
        })
    });
    prop_oneof![
        hello,
        standing().prop_map(Message::Standing),
        (0..=MOST as u16).prop_map(Message::Further),
        Just(Message::Ready),
        proptest::collection::vec(note(), 0..6).prop_map(Message::Sessions),
        any::<u32>().prop_map(Message::Have),
        totals().prop_map(Message::Yours),
        Just(Message::Started),
        Just(Message::Free),
        totals().prop_map(Message::Bye),
        ".{0,40}".prop_map(Message::Off),
    ]
}

proptest! {
    #[test]
    fn a_message_is_the_same_after_the_way(message in message()) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(Message::decode(&bytes).unwrap(), message);
    }

    #[test]
    fn a_message_that_is_cut_short_is_refused_wherever_it_is_cut(message in message()) {
        let bytes = message.encode().unwrap();
        for end in 0..bytes.len() {
            let error = Message::decode(&bytes[..end]).unwrap_err();
            prop_assert!(matches!(error, FormatError::Truncated { .. }), "{}: {}", end, error);
        }
    }

}

proptest! {
    // Each case is four thousand messages.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_head_with_one_wrong_byte_is_refused_or_means_the_same(message in message()) {
        let bytes = message.encode().unwrap();
        for at in 0..HEAD {
            for wrong in 0..=u8::MAX {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                if let Ok(other) = Message::decode(&bytes) {
                    prop_assert_eq!(&other, &message, "byte {} is {}", at, wrong);
                }
            }
        }
    }

}

proptest! {
    #[test]
    fn bytes_of_a_stranger_are_no_reason_to_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        message in message(),
        at in any::<proptest::sample::Index>(),
    ) {
        let _ = Message::decode(&bytes);
        let mut spoiled = message.encode().unwrap();
        let at = at.index(spoiled.len());
        spoiled[at] ^= 0x55;
        let _ = Message::decode(&spoiled);
    }
}

fn spoiled(message: &Message, at: usize, with: &[u8]) -> String {
    let mut bytes = message.encode().unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    Message::decode(&bytes).unwrap_err().to_string()
}

#[test]
fn a_message_of_an_older_version_is_refused_cleanly() {
    let hello = Message::Hello(Hello::of_this_process());
    assert_eq!(
        spoiled(&hello, 4, &0_u16.to_be_bytes()),
        "the other process speaks version 0 of the takeover, this one speaks version 1: \
         let the old process drain, and start the new one without a takeover"
    );
    assert_eq!(VERSION, 1, "an older one than this is not only 0 any more");
}

#[test]
fn off_can_be_read_in_every_version() {
    let off = Message::Off("no room".to_owned());
    let mut bytes = off.encode().unwrap();
    bytes[4..6].copy_from_slice(&77_u16.to_be_bytes());
    assert_eq!(Message::decode(&bytes).unwrap(), off);
}

/// The bytes as they are documented: who changes them makes another version.
#[test]
fn the_bytes_are_those_of_the_document() {
    let bytes = Message::Have(7).encode().unwrap();
    assert_eq!(
        bytes,
        *b"UMTO\x00\x01\x06\x06\x00\x00\x00\x01\x00\x00\x00\x007"
    );
    let started = Message::Started.encode().unwrap();
    assert_eq!(
        started,
        *b"UMTO\x00\x01\x08\x08\x00\x00\x00\x00\x00\x00\x00\x00"
    );
    let hello = Message::Hello(Hello {
        sessions_version: 1,
        pid: 42,
        program: "0.1.0".to_owned(),
    });
    assert_eq!(
        hello.encode().unwrap()[HEAD..],
        *br#"{"sessions_version":1,"pid":42,"program":"0.1.0"}"#
    );
}

#[test]
fn each_thing_that_is_wrong_has_a_text_of_its_own() {
    let have = Message::Have(7);
    for (at, with, text) in [
        (0, &b"HTTP"[..], "what came is no message of a takeover"),
        (6, &[9, 8], "has no message of kind 0x0908"),
        (8, &[1, 0, 0, 0], "a message of 16777216 bytes is longer"),
        (8, &[0, 0, 0, 2], "a message ended after 1 of 2 bytes"),
        (
            8,
            &[0, 0, 0, 0],
            "1 bytes follow where a message should end",
        ),
        (12, &[0, 254], "254 descriptors are more than the 253"),
        (
            12,
            &[0, 3],
            "`Have` has 0 descriptors by what it tells, and its head says 3",
        ),
        (15, &[1], "0x0001 stands in the head of a message where"),
        (16, b"x", "`Have` cannot be read: expected value"),
    ] {
        let told = spoiled(&have, at, with);
        assert!(told.contains(text), "{told}");
    }
    let mut bytes = Message::Started.encode().unwrap();
    bytes.push(b'7');
    bytes[11] = 1;
    let told = Message::decode(&bytes).unwrap_err().to_string();
    assert!(told.contains("1 bytes follow"), "{told}");
}

#[test]
fn a_field_that_this_version_does_not_know_is_refused() {
    let payload = br#"{"sessions_version":1,"pid":42,"program":"0.1.0","colour":"red"}"#;
    let head = Head {
        kind: Kind::Hello,
        length: payload.len(),
        descriptors: 0,
    };
    let told = Message::from_parts(head, payload).unwrap_err().to_string();
    assert!(told.contains("unknown field `colour`"), "{told}");
}

#[test]
fn what_is_too_much_for_a_message_is_not_sent() {
    let long = Message::Off("x".repeat(LONGEST));
    assert!(matches!(long.encode(), Err(FormatError::TooLong { .. })));
    let many = Message::Further(MOST as u16 + 1);
    assert!(matches!(
        many.encode(),
        Err(FormatError::TooManyDescriptors { .. })
    ));
}

#[test]
fn a_standing_has_the_descriptors_of_all_it_names_and_those_of_a_claim() {
    let socket = SocketNote {
        worker: 0,
        mangled_side: true,
    };
    let listener = ListenerSockets {
        name: "ssh".to_owned(),
        way_in: NotedWayIn::Intercepted {
            mangled: 1,
            clean: 2,
        },
        sockets: vec![socket; 4],
    };
    let mut standing = Standing {
        listeners: vec![listener.clone(), listener],
        rules: None,
        doors: vec!["/run/a.sock".to_owned()],
        lasting_doors: vec!["/run/a.sock".to_owned()],
        witness: false,
        workers: 1,
    };
    assert_eq!(standing.descriptors(), 9);
    standing.witness = true;
    standing.rules = Some(rules(1));
    assert_eq!(standing.descriptors(), 13);
    assert_eq!(Message::Standing(standing.clone()).descriptors(), 15);
    standing.listeners[0].sockets = vec![socket; 300];
    assert_eq!(Message::Standing(standing).descriptors(), MOST);
}
