//! A reader that is slow, or does not read at all, costs no memory and no processor.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use unmangle::lab::{Family, OpenedFrom};

use site::{OPENED, Site, Way, pattern, write_until_stalled};

site::in_every_way!(
    a_reader_a_hundred_times_slower_than_the_writer_gets_every_byte_and_memory_stays_bounded,
    a_relay_whose_every_receiver_has_stalled_sleeps,
    a_relay_whose_every_session_idles_or_is_half_closed_sleeps,
);

const MIB: usize = 1 << 20;

fn a_reader_a_hundred_times_slower_than_the_writer_gets_every_byte_and_memory_stays_bounded(
    way: Way,
) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let at_rest = relay.resident();
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    let bytes = pattern(1, 32 * MIB);
    let mut most = at_rest;
    std::thread::scope(|scope| {
        // The writer alone would be through in a fraction of a second.
        scope.spawn(|| (&pair.client).write_all(&bytes).unwrap());
        let mut received = Vec::with_capacity(bytes.len());
        let mut buffer = vec![0; 64 << 10];
        while received.len() < bytes.len() {
            std::thread::sleep(Duration::from_millis(5));
            let read = (&pair.server).read(&mut buffer).unwrap();
            assert!(read > 0);
            received.extend_from_slice(&buffer[..read]);
            most = most.max(relay.resident());
        }
        assert!(received == bytes);
    });
    let grown = most - at_rest;
    assert!(grown < 8 * MIB as u64, "grown by {grown} bytes");
    drop(pair);
    relay.ended(1);
    relay.holds_no_more_than(before);
}

fn a_relay_whose_every_receiver_has_stalled_sleeps(way: Way) {
    const MOST: usize = 8 * MIB;
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&["--pipe-budget", "2"]);
    let before = relay.descriptors();
    let pairs: Vec<_> = (0..4)
        .map(|nth| site.connect(OPENED[nth % 2], Family::V4))
        .collect();
    let bytes = pattern(1, MOST);
    // Both directions of each.
    let sent: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let there = write_until_stalled(&pair.client, &bytes);
            let back = write_until_stalled(&pair.server, &bytes);
            assert!(there < MOST && back < MOST, "nothing stalled");
            [there, back]
        })
        .collect();

    let (begun, earlier) = (Instant::now(), relay.ticks());
    std::thread::sleep(Duration::from_secs(1));
    let ticks = relay.ticks() - earlier;
    assert!(
        ticks < 10,
        "{ticks} ticks in {:?} of stalling",
        begun.elapsed()
    );

    for (pair, sent) in pairs.iter().zip(sent) {
        for (mut from, length) in [(&pair.server, sent[0]), (&pair.client, sent[1])] {
            let mut received = vec![0; length];
            from.read_exact(&mut received).unwrap();
            assert!(received == bytes[..length]);
        }
    }
    drop(pairs);
    relay.ended(4);
    relay.holds_no_more_than(before);
}

fn a_relay_whose_every_session_idles_or_is_half_closed_sleeps(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let pairs: Vec<_> = (0..8)
        .map(|nth| {
            let pair = site.connect(OPENED[nth % 2], Family::V4);
            site::talk(&pair);
            if nth % 4 < 2 {
                pair.client.shutdown(std::net::Shutdown::Write).unwrap();
                site::expect_end(&pair.server);
            }
            pair
        })
        .collect();
    let earlier = relay.ticks();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = relay.ticks() - earlier;
    assert!(ticks < 10, "{ticks} ticks in a second of silence");
    drop(pairs);
    relay.ended(8);
}
