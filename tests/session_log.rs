//! What the relay tells of its sessions: a line at the end of each, and a table when asked.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::time::Duration;

use unmangle::lab::scenario::Between;
use unmangle::lab::wire::Direction;
use unmangle::lab::{Family, Joined, OpenedFrom};

use site::{Pair, Site, Way, carry, expect_end, pattern, talk};

site::in_every_way!(
    the_line_of_a_session_tells_who_how_much_how_long_and_how_it_ended,
    the_line_names_who_ended_it_and_how,
    the_table_is_printed_while_the_relay_runs_and_again_at_its_end,
);

fn the_line_of_a_session_tells_who_how_much_how_long_and_how_it_ended(way: Way) {
    // 10 ms there and 10 ms back on the long leg, and now and then a packet is lost on it.
    let slow = Direction {
        delay: Duration::from_millis(10),
        loss: 0.01,
        ..Direction::default()
    };
    let veth = Joined::Veth { offloads: true };
    let Some(mut site) = Site::joined_by(veth, Joined::wire(Between::both(slow))) else {
        return;
    };
    site.way = way;
    let relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    let (client, server) = (
        pair.client.local_addr().unwrap(),
        pair.server.local_addr().unwrap(),
    );
    carry(&pair.client, &pair.server, &pattern(1, 2_000_000));
    carry(&pair.server, &pair.client, &pattern(2, 1_000));
    drop(pair.server);
    expect_end(&pair.client);
    drop(pair.client);

    let session = relay.ended_for(client);
    assert_eq!(session["server"], server.to_string());
    assert_eq!(session["client_to_server_bytes"], 2_000_000);
    assert_eq!(session["server_to_client_bytes"], 1_000);
    assert_eq!(
        (&session["closed_by"], &session["how"]),
        (&"server".into(), &"fin".into())
    );
    let number = |name: &str| {
        session[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {session}"))
    };
    assert!(number("connect_ms") >= 20.0, "{session}");
    assert!(number("duration_ms") >= number("connect_ms"), "{session}");
    assert!(number("upstream_rtt_ms") >= 20.0, "{session}");
    assert!(number("downstream_rtt_ms") < 20.0, "{session}");
    assert!(number("upstream_retransmits") > 0.0, "{session}");
    assert_eq!(number("downstream_retransmits"), 0.0, "{session}");
    assert!(
        session["timestamp"].is_string() && session["level"] == "INFO",
        "{session}"
    );
}

fn the_line_names_who_ended_it_and_how(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    for (by, how) in [
        ("client", "fin"),
        ("server", "fin"),
        ("client", "rst"),
        ("server", "rst"),
    ] {
        let pair = site.connect(OpenedFrom::Client, Family::V4);
        // A server that resets before the relay knows that it is connected was never reached.
        talk(&pair);
        let Pair { client, server } = pair;
        let address = client.local_addr().unwrap();
        let (first, last) = if by == "client" {
            (client, server)
        } else {
            (server, client)
        };
        if how == "fin" {
            drop(first);
            expect_end(&last);
        } else {
            site::reset(first);
            site::expect_reset(&last);
        }
        drop(last);
        let session = relay.ended_for(address);
        assert_eq!(
            (&session["closed_by"], &session["how"]),
            (&by.into(), &how.into())
        );
    }
}

fn the_table_is_printed_while_the_relay_runs_and_again_at_its_end(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    assert_eq!(relay.table()["accepted"], 0);
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    let running = relay.table();
    assert_eq!(
        (running["accepted"], running["connect"]),
        (1, 1),
        "{running:?}"
    );
    assert_eq!(running["session lifetime"], 0);
    for direction in ["added client_to_server", "added server_to_client"] {
        // A foreign engine does not time it.
        assert_eq!(running[direction] > 0, !way.is_foreign(), "{running:?}");
    }
    drop(pair);
    relay.ended(1);
    let ended = relay.table();
    assert_eq!(
        (ended["session lifetime"], ended["sessions_closed"]),
        (1, 1),
        "{ended:?}"
    );
    assert!(ended["bytes_client_to_server"] > 0 && ended["bytes_server_to_client"] > 0);

    let log = relay.stop();
    let last = log.rsplit("p99.9").next().unwrap();
    assert!(
        last.contains("session lifetime") && last.contains("everything else"),
        "{last}"
    );
}

#[test]
fn the_line_tells_what_the_client_offered_and_what_was_agreed_on_each_leg() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&[]);
    for (opened, family) in site::OPENED.into_iter().zip(site::FAMILIES) {
        let pair = site.connect(opened, family);
        talk(&pair);
        let client = pair.client.local_addr().unwrap();
        // Another thread reads what the rules show, and a session as short as this one does not wait for it: that
        // thread has had its turn when it has answered twice.
        relay.table();
        relay.table();
        drop(pair);
        let session = relay.ended_for(client);
        let told = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
        let header = if client.is_ipv4() { 40 } else { 60 };
        // Linux offers everything; the profile leaves nothing of it on the mangled leg.
        let offer = told("client_offer");
        let begins = format!("mss {}, wscale ", 1500 - header);
        assert!(offer.starts_with(&begins), "{session}");
        assert!(offer.ends_with(", sack, timestamps"), "{session}");
        let (mangled, clean) = match opened {
            OpenedFrom::Client => ("downstream_agreed", "upstream_agreed"),
            OpenedFrom::Server => ("upstream_agreed", "downstream_agreed"),
        };
        assert_eq!(told(mangled), "mss 940, timestamps", "{session}");
        assert!(told(clean).starts_with(&begins), "{session}");
        assert!(told(clean).ends_with(", sack, timestamps"), "{session}");
    }
}

#[test]
fn opening_segments_are_shown_to_the_relay_only_while_each_session_has_a_line() {
    let Some(site) = Site::put_up() else { return };
    for (filter, logged) in [("info", 1), ("info,unmangle::session=warn", 0)] {
        let relay = site.relay(&["--log", filter]);
        let list = ["list", "chain", "inet", "unmangle", "take"];
        let take = site.lab.relay().run("nft", &list).unwrap();
        assert_eq!(take.matches("log group").count(), logged, "{take}");
        relay.stop();
    }
}
