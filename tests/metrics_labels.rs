//! What `/metrics` says of sessions is said under the labels that are theirs: of each end, and of each direction. No test
//! here needs a privilege: the relay forwards on this host's own loopback addresses.
//!
//! That each counter has the labels that are meant for it is a test of `src/metrics/counters/told.rs`; here it is seen
//! that what happens is counted in the right one.

mod site;

use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;

use site::series::Figures;
use site::web::get;
use site::{Here, PATIENCE, Pair, Relay, carry, pattern, talk, until};

/// More than the sockets of a session hold.
const TOO_MUCH: usize = 64 << 20;
const BOTH: [&str; 2] = ["client_to_server", "server_to_client"];

/// A relay that can be asked.
fn relay(more: &[&str]) -> Here {
    Here::with(&[&["--admin", "127.0.0.1:0"], more].concat())
}

fn figures(here: &Here) -> Figures {
    figures_of(&here.relay)
}

fn figures_of(relay: &Relay) -> Figures {
    Figures::read(&get(relay.admin(), "/metrics"))
}

/// The samples of a name that are not 0, with all their labels but the listener.
fn told(figures: &Figures, name: &str) -> Vec<(String, f64)> {
    let mut samples = figures.0.iter().filter(|((its, _), _)| its == name);
    assert!(samples.clone().next().is_some(), "no {name}");
    let counted = samples.by_ref().filter(|(_, value)| **value != 0.0);
    let words = counted.map(|((_, labels), value)| {
        let words = labels.iter().filter(|(key, _)| *key != "listener");
        let words: Vec<_> = words.map(|(key, value)| format!("{key}={value}")).collect();
        (words.join(" "), *value)
    });
    words.collect()
}

fn once(labels: &str) -> Vec<(String, f64)> {
    vec![(labels.to_owned(), 1.0)]
}

// === ends ===

/// Sees that a session that is ended so is told as that, and as nothing else.
fn expect_end(more: &[&str], end: impl FnOnce(Pair), labels: &str, outcome: &str) {
    let here = relay(more);
    let pair = here.connect(1);
    talk(&pair);
    let name = "unmangle_sessions_ended_total";
    assert_eq!(told(&figures(&here), name), []);
    end(pair);
    here.relay.ended(1);
    until("its end is counted", PATIENCE, || {
        !told(&figures(&here), name).is_empty()
    });
    let figures = figures(&here);
    assert_eq!(told(&figures, name), once(labels));
    assert_eq!(
        told(&figures, "unmangle_sessions_total"),
        once(&format!("outcome={outcome}"))
    );
    for (name, how) in [
        ("unmangle_idle_resets_total", "how=idle"),
        ("unmangle_stall_resets_total", "how=stall"),
    ] {
        let expected = f64::from(u8::from(labels.ends_with(how)));
        assert_eq!(figures.expect(name, &[]), expected, "{name}: {labels}");
    }
}

#[test]
fn a_fin_is_told_as_that_of_who_sent_it_first() {
    let client_first = |Pair { client, server }| close(&client, &server);
    let server_first = |Pair { client, server }| close(&server, &client);
    expect_end(&[], client_first, "closed_by=client how=fin", "closed");
    expect_end(&[], server_first, "closed_by=server how=fin", "closed");
}

/// Both ends close, one after the other.
fn close(first: &TcpStream, second: &TcpStream) {
    for (from, to) in [(first, second), (second, first)] {
        from.shutdown(Shutdown::Write).unwrap();
        site::expect_end(to);
    }
}

#[test]
fn a_reset_is_told_as_that_of_who_sent_it() {
    let by_client = |Pair { client, server }| {
        site::reset(client);
        site::expect_reset(&server);
    };
    let by_server = |Pair { client, server }| {
        site::reset(server);
        site::expect_reset(&client);
    };
    expect_end(&[], by_client, "closed_by=client how=rst", "aborted");
    expect_end(&[], by_server, "closed_by=server how=rst", "aborted");
}

#[test]
fn what_the_relay_ends_is_told_as_its_own() {
    let nothing = |pair: Pair| {
        site::expect_reset(&pair.client);
        site::expect_reset(&pair.server);
    };
    let idle = ["--idle-timeout", "500ms"];
    expect_end(&idle, nothing, "closed_by=relay how=idle", "aborted");

    let nobody_reads = |pair: Pair| {
        let sent = site::write_until_stalled(&pair.client, &vec![0; TOO_MUCH]);
        assert!(sent < TOO_MUCH, "nothing stalled");
        site::expect_reset(&pair.client);
    };
    let stall = ["--stall-after", "1s", "--stall-action", "reset"];
    expect_end(&stall, nobody_reads, "closed_by=relay how=stall", "aborted");
}

/// With the last session the relay ends, and tells no more metrics: its table has the rest.
#[test]
fn what_ends_with_the_drain_deadline_is_told_until_then_as_running_and_then_as_drained() {
    let here = relay(&["--drain", "5s"]);
    let pair = here.connect(1);
    talk(&pair);
    here.relay.signal(Signal::TERM);
    until("it drains", PATIENCE, || {
        figures(&here).expect("unmangle_draining", &[]) == 1.0
    });
    let now = figures(&here);
    assert_eq!(now.expect("unmangle_sessions_active", &[]), 1.0);
    assert_eq!(told(&now, "unmangle_sessions_ended_total"), []);
    let mut relay = here.relay;
    site::expect_reset(&pair.client);
    relay.exit_code();
    let ended = &relay.ended(1)[0];
    assert_eq!(
        (&ended["closed_by"], &ended["how"]),
        (&"relay".into(), &"drain".into()),
        "{ended}"
    );
    let log = relay.log();
    let mut rows = log.lines().map(|line| line.split_whitespace());
    let drained = rows.find_map(|mut row| {
        row.next()
            .filter(|name| *name == "relay_drain")
            .and(row.next())
    });
    assert_eq!(drained, Some("1"), "{log}");
}

#[test]
fn a_stall_is_told_as_that_of_the_side_that_does_not_read() {
    for (to_server, direction, side) in [(true, BOTH[0], "server"), (false, BOTH[1], "client")] {
        let here = relay(&["--stall-after", "400ms"]);
        let Pair { client, server } = here.connect(1);
        let (from, to) = match to_server {
            true => (&client, &server),
            false => (&server, &client),
        };
        let sent = site::write_until_stalled(from, &vec![0; TOO_MUCH]);
        assert!(sent < TOO_MUCH, "nothing stalled");
        let stalls = || told(&figures(&here), "unmangle_stalls_total");
        until("it is told as stuck", PATIENCE, || !stalls().is_empty());
        assert_eq!(stalls(), once(&format!("side={side} why=window")));
        let stuck = told(&figures(&here), "unmangle_directions_stuck");
        assert_eq!(stuck, once(&format!("side={side}")));
        // The time that it took is recorded when it is over.
        std::io::Read::read_exact(&mut &*to, &mut vec![0; sent]).unwrap();
        until("it is over", PATIENCE, || {
            told(&figures(&here), "unmangle_directions_stuck").is_empty()
        });
        let waits = told(&figures(&here), "unmangle_stall_seconds_count");
        assert_eq!(waits.len(), 1, "{waits:?}");
        assert_eq!(waits[0].0, format!("direction={direction}"));
    }
}

#[test]
fn a_dial_that_is_refused_is_told_as_the_server_s() {
    let here = relay(&[]);
    drop(here.server);
    site::expect_no_session(TcpStream::connect(here.door));
    until("it is counted", PATIENCE, || {
        figures_of(&here.relay).expect("unmangle_dial_failures_total", &[]) == 1.0
    });
    let figures = figures_of(&here.relay);
    assert_eq!(
        told(&figures, "unmangle_errors_total"),
        once("kind=refused leg=upstream")
    );
}

// === directions ===

#[test]
fn bytes_and_reads_are_told_by_the_direction_and_the_way_in_which_they_went() {
    for (pipes, method) in [("48", "splice"), ("0", "copy")] {
        for (nth, direction) in BOTH.into_iter().enumerate() {
            let here = relay(&["--pipe-budget", pipes]);
            let Pair { client, server } = here.connect(1);
            let bytes = pattern(1, 300_000);
            match nth {
                0 => carry(&client, &server, &bytes),
                _ => carry(&server, &client, &bytes),
            }
            let now = figures(&here);
            let direction = format!("direction={direction}");
            assert_eq!(
                told(&now, "unmangle_passed_bytes_total"),
                [(direction.clone(), 300_000.0)]
            );
            let reads = told(&now, "unmangle_reads_total");
            let (last, first) = reads.split_last().unwrap();
            assert_eq!(last.0, format!("{direction} method={method}"), "{reads:?}");
            // What comes first is copied in any case: it may have been short.
            let copied = format!("{direction} method=copy");
            assert!(
                first.iter().all(|(labels, _)| *labels == copied),
                "{reads:?}"
            );
            // Of the other direction nothing has come.
            assert_eq!(
                told(&now, "unmangle_first_byte_seconds_count"),
                once(&direction)
            );
            let added = told(&now, "unmangle_added_latency_seconds_count");
            assert_eq!(added.len(), 1, "{added:?}");
            assert_eq!(added[0].0, direction);
        }
    }
}

#[test]
fn the_sizes_of_a_session_are_told_each_by_its_direction() {
    let here = relay(&[]);
    let Pair { client, server } = here.connect(1);
    carry(&client, &server, &pattern(1, 100_000));
    carry(&server, &client, &pattern(2, 1_000));
    close(&client, &server);
    here.relay.ended(1);
    let now = || told(&figures(&here), "unmangle_session_size_bytes_count");
    until("they are recorded", PATIENCE, || !now().is_empty());
    let figures = figures(&here);
    for (direction, bytes, bucket, below) in [
        (BOTH[0], 100_000.0, "262144.0", "65536.0"),
        (BOTH[1], 1_000.0, "1024.0", "256.0"),
    ] {
        let of = [("direction", direction)];
        let name = "unmangle_session_size_bytes";
        assert_eq!(figures.expect(&format!("{name}_sum"), &of), bytes);
        let within = |bound| {
            let of = [("direction", direction), ("le", bound)];
            figures.expect(&format!("{name}_bucket"), &of)
        };
        assert_eq!((within(below), within(bucket)), (0.0, 1.0), "{direction}");
        assert_eq!(figures.expect("unmangle_passed_bytes_total", &of), bytes);
    }
}
