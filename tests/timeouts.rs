//! Nothing is waited for for ever. What is not here is in the file of what it belongs to:
//!
//! | timeout | test |
//! |---|---|
//! | connect | `tests/dial.rs`: `a_dial_without_an_answer_is_given_up_in_time` |
//! | PROXY header | `tests/proxy_protocol.rs`: `a_proxy_that_does_not_finish_its_header_in_time_or_leaves_is_let_go` |
//! | close | `tests/half_close.rs`: `a_client_that_never_reads_the_last_bytes_is_let_go_after_the_close_timeout` |
//! | drain | `tests/start_and_stop.rs`: `what_still_runs_when_the_drain_is_over_is_reset` |
//! | stall | `tests/stall.rs` |
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{Read, Write};
use std::time::Duration;

use socket2::SockRef;
use unmangle::lab::{Family, OpenedFrom, Role};

use site::{OPENED, PATIENCE, Pair, Relay, Site, Way, accept, pattern, talk, until, until_reset};

site::in_every_way!(
    a_session_without_a_byte_either_way_is_reset_at_both_ends_after_the_idle_timeout,
    bytes_one_way_keep_a_session_from_the_idle_timeout,
    a_session_that_is_stuck_is_idle_too,
);

/// A profile of one's own is given by a file, as are the listeners of forward mode.
mod gateway {
    use super::bytes_that_stay_unacknowledged_end_the_session_after_the_user_timeout;

    crate::site::in_ways!(splice, tokio_splice, copy: (
        bytes_that_stay_unacknowledged_end_the_session_after_the_user_timeout
    ));
}

fn a_session_without_a_byte_either_way_is_reset_at_both_ends_after_the_idle_timeout(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&["--idle-timeout", "500ms"]);
    let before = relay.descriptors();
    for (opened, family) in OPENED.into_iter().zip(site::FAMILIES) {
        let Pair { client, server } = site.connect(opened, family);
        let ended = relay.ended_for(client.local_addr().unwrap());
        until_reset(&client);
        until_reset(&server);
        assert_eq!(
            (&ended["closed_by"], &ended["how"]),
            (&"relay".into(), &"idle".into()),
            "{ended}"
        );
        assert!(ended["duration_ms"].as_f64().unwrap() >= 500.0, "{ended}");
    }
    let table = relay.table();
    assert_eq!((table["idle_resets"], table["sessions_aborted"]), (2, 2));
    relay.holds_no_more_than(before);
}

fn bytes_one_way_keep_a_session_from_the_idle_timeout(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&["--idle-timeout", "2s"]);
    let idle = site.connect(OpenedFrom::Server, Family::V4);
    let lively = site.connect(OpenedFrom::Client, Family::V4);
    // Bytes from the client alone, for as long as the silent one lives, and one after it.
    let pass_until_ended = |sessions: usize| {
        until("the silent one is reset", PATIENCE, || {
            (&lively.client).write_all(b".").unwrap();
            (&lively.server).read_exact(&mut [0]).unwrap();
            relay.events("session ended").len() == sessions
        });
    };
    pass_until_ended(1);
    let again = site.connect(OpenedFrom::Server, Family::V6);
    pass_until_ended(2);
    talk(&lively);
    drop((idle, again));
    assert_eq!(relay.table()["idle_resets"], 2);
}

fn a_session_that_is_stuck_is_idle_too(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    site.hold_little();
    let relay = site.relay(&["--idle-timeout", "1s", "--stall-after", "300ms"]);
    let before = relay.descriptors();
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    site::write_until_stalled(&pair.client, &pattern(1, 4 << 20));
    let ended = relay.ended_for(pair.client.local_addr().unwrap());
    assert_eq!(ended["how"], "idle", "{ended}");
    // It was named before.
    assert_eq!(relay.events("session is stuck").len(), 1);
    drop(pair);
    relay.holds_no_more_than(before);
}

#[test]
fn bytes_that_only_the_kernels_move_keep_a_session_from_the_idle_timeout() {
    let Some(site) = Site::put_up() else { return };
    let relay = site.relay(&["--idle-timeout", "2s"]);
    let listener = site.listen(Role::Server, Family::V4);
    // Inherited by what is accepted: a window of a few kB.
    SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let client = site
        .dial(Role::Client, (Role::Server.address(Family::V4), 22).into())
        .unwrap();
    let server = accept(&listener);
    let bytes = pattern(1, 24_000);
    (&client).write_all(&bytes).unwrap();
    // The relay's socket holds all of it at once; the server takes twice the idle timeout.
    let mut received = Vec::new();
    let mut piece = [0; 1500];
    while received.len() < bytes.len() {
        std::thread::sleep(Duration::from_millis(250));
        let read = (&server).read(&mut piece).unwrap();
        assert!(read > 0);
        received.extend_from_slice(&piece[..read]);
    }
    assert!(received == bytes);
    talk(&Pair { client, server });
    assert!(relay.events("session ended").is_empty());
}

#[test]
fn nothing_is_idle_unless_it_is_asked_for() {
    let Some(site) = Site::put_up() else { return };
    let file = site.lab.directory().join("idle.toml");
    let listener = |name: &str, opened: OpenedFrom, more: &str| {
        let to = opened.listener().address(Family::V4);
        format!(
            "[[listener]]\nname = \"{name}\"\nintercept = 22\nto = \"{to}\"\nmangled-side = \"fw0\"\n\
             profile = \"clean\"\n{more}"
        )
    };
    let text = [
        listener("patient", OpenedFrom::Client, ""),
        listener(
            "impatient",
            OpenedFrom::Server,
            "idle-timeout = \"500ms\"\n",
        ),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    let relay = Relay::start(&site.lab, &["--config", file.to_str().unwrap()]);
    let patient = site.connect(OpenedFrom::Client, Family::V4);
    for nth in 1..=2 {
        let pair = site.connect(OpenedFrom::Server, Family::V4);
        relay.ended(nth);
        until_reset(&pair.client);
    }
    talk(&patient);
    assert_eq!(relay.table()["idle_resets"], 2);
}

fn bytes_that_stay_unacknowledged_end_the_session_after_the_user_timeout(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let Way::Gateway(engine) = way else {
        unreachable!("the profile is one of a gateway");
    };
    let file = site.lab.directory().join("impatient.toml");
    let text = "[[listener]]\nintercept = 22\nmangled-side = \"fw0\"\nprofile = \"clean\"\n\
                clean-profile = \"impatient\"\n[profile.impatient]\nuser-timeout = \"1s\"\n";
    std::fs::write(&file, text).unwrap();
    let engine = engine.to_string();
    let words = ["--engine", &engine, "--config", file.to_str().unwrap()];
    let relay = Relay::start(&site.lab, &words);
    let before = relay.descriptors();
    let pair = site.connect(OpenedFrom::Client, Family::V4);
    talk(&pair);
    site.cut(Role::Server);
    (&pair.client).write_all(b"to nobody").unwrap();
    let ended = relay.ended_for(pair.client.local_addr().unwrap());
    until_reset(&pair.client);
    assert_eq!(
        (&ended["closed_by"], &ended["how"]),
        (&"server".into(), &"timeout".into()),
        "{ended}"
    );
    site.mend(Role::Server);
    drop(pair);
    relay.holds_no_more_than(before);
}
