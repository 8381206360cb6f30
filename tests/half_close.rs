//! An end that has said all it has to say can still listen.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::Shutdown;

use site::{FAMILIES, OPENED, Site, Way, carry, expect_end, pattern, read_to_end};

site::in_every_way!(
    a_client_that_has_half_closed_still_gets_its_answer,
    a_server_that_has_half_closed_still_gets_the_rest,
    what_was_sent_just_before_the_end_arrives_before_it,
);

const QUESTION: usize = 100_000;
const ANSWER: usize = 10_000_000;

fn a_client_that_has_half_closed_still_gets_its_answer(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        let pair = site.connect(opened, family);
        carry(&pair.client, &pair.server, &pattern(1, QUESTION));
        pair.client.shutdown(Shutdown::Write).unwrap();
        expect_end(&pair.server);
        carry(&pair.server, &pair.client, &pattern(2, ANSWER));
        drop(pair.server);
        expect_end(&pair.client);
    }
    for session in relay.ended(2) {
        assert_eq!(session["client_to_server_bytes"], QUESTION, "{session}");
        assert_eq!(session["server_to_client_bytes"], ANSWER, "{session}");
        assert_eq!(
            (&session["closed_by"], &session["how"]),
            (&"client".into(), &"fin".into())
        );
    }
    relay.holds_no_more_than(before);
}

fn a_server_that_has_half_closed_still_gets_the_rest(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    for (opened, family) in OPENED.into_iter().zip(FAMILIES) {
        let pair = site.connect(opened, family);
        carry(&pair.server, &pair.client, &pattern(1, QUESTION));
        pair.server.shutdown(Shutdown::Write).unwrap();
        expect_end(&pair.client);
        carry(&pair.client, &pair.server, &pattern(2, ANSWER));
        drop(pair.client);
        expect_end(&pair.server);
    }
    for session in relay.ended(2) {
        assert_eq!(session["client_to_server_bytes"], ANSWER, "{session}");
        assert_eq!(session["server_to_client_bytes"], QUESTION, "{session}");
        assert_eq!(
            (&session["closed_by"], &session["how"]),
            (&"server".into(), &"fin".into())
        );
    }
    relay.holds_no_more_than(before);
}

fn what_was_sent_just_before_the_end_arrives_before_it(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let listener = site.listen(unmangle::lab::Role::Server, FAMILIES[0]);
    for nth in 0..50 {
        let pair = site.connect_to(&listener, OPENED[0]);
        let last = pattern(nth, 1 + nth as usize * 5_000);
        std::thread::scope(|scope| {
            // Closed with everything still on its way.
            scope.spawn(|| {
                use std::io::Write;
                let mut client = pair.client;
                client.write_all(&last).unwrap();
            });
            assert!(read_to_end(&pair.server).unwrap() == last);
        });
    }
    relay.ended(50);
}
