//! What is said in single bytes, or not at all, arrives as it was said.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use unmangle::lab::{Family, OpenedFrom, Role};

use site::{FAMILIES, OPENED, Site, Way, carry, expect_end, pattern};

site::in_every_way!(
    single_bytes_go_back_and_forth_thousands_of_times,
    streams_of_single_bytes_cross_each_other,
    a_connection_without_a_byte_ends_as_cleanly_as_it_began,
    a_server_that_speaks_first_is_heard,
    a_client_that_opens_speaks_and_leaves_at_once_is_heard,
);

fn single_bytes_go_back_and_forth_thousands_of_times(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let rounds = pattern(1, 3_000);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in &rounds {
                let byte = [receive(&pair.server).wrapping_add(1)];
                (&pair.server).write_all(&byte).unwrap();
            }
        });
        for &byte in &rounds {
            (&pair.client).write_all(&[byte]).unwrap();
            assert_eq!(receive(&pair.client), byte.wrapping_add(1));
        }
    });
    drop(pair);
    let session = &relay.ended(1)[0];
    assert_eq!(session["client_to_server_bytes"], 3_000);
    assert_eq!(session["server_to_client_bytes"], 3_000);
    relay.holds_no_more_than(before);
}

fn streams_of_single_bytes_cross_each_other(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Server, Family::V6);
    let (there, back) = (pattern(1, 5_000), pattern(2, 5_000));
    let dribble = |mut to: &TcpStream, bytes: &[u8]| {
        for byte in bytes {
            to.write_all(&[*byte]).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| dribble(&pair.client, &there));
        scope.spawn(|| dribble(&pair.server, &back));
        for (mut from, expected) in [(&pair.server, &there), (&pair.client, &back)] {
            let mut received = vec![0; expected.len()];
            from.read_exact(&mut received).unwrap();
            assert!(&received == expected);
        }
    });
    drop(pair);
    relay.ended(1);
}

fn a_connection_without_a_byte_ends_as_cleanly_as_it_began(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for opened in OPENED {
        for family in FAMILIES {
            let pair = site.connect(opened, family);
            pair.client.shutdown(Shutdown::Write).unwrap();
            expect_end(&pair.server);
            drop(pair.server);
            expect_end(&pair.client);

            let pair = site.connect(opened, family);
            drop(pair.server);
            expect_end(&pair.client);
        }
    }
    for session in relay.ended(8) {
        assert_eq!(session["client_to_server_bytes"], 0);
        assert_eq!(session["server_to_client_bytes"], 0);
        assert_eq!(session["how"], "fin");
    }
    relay.holds_no_more_than(before);
}

fn a_server_that_speaks_first_is_heard(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    for opened in OPENED {
        for family in FAMILIES {
            let pair = site.connect(opened, family);
            carry(&pair.server, &pair.client, b"SSH-2.0-server\r\n");
            carry(&pair.client, &pair.server, b"SSH-2.0-client\r\n");
        }
    }
    relay.ended(4);
}

fn a_client_that_opens_speaks_and_leaves_at_once_is_heard(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let listener = site.listen(Role::Server, Family::V4);
    for nth in 0..100 {
        let door = site.door(Role::Client, Family::V4);
        let mut client = site.dial(Role::Client, door).unwrap();
        let last_words = pattern(nth, 100);
        client.write_all(&last_words).unwrap();
        drop(client);
        let server = site::accept(&listener);
        assert!(site::read_to_end(&server).unwrap() == last_words);
    }
    relay.ended(100);
}

fn receive(mut from: &TcpStream) -> u8 {
    let mut byte = [0];
    from.read_exact(&mut byte).unwrap();
    byte[0]
}
