//! One client, one connection after another, each from a port that another one had just before: TIME_WAIT on
//! the relay's legs stands in nobody's way.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use unmangle::lab::{Family, Role};

use site::{Pair, Site, accept, expect_end, talk};

const CONNECTIONS: u64 = 20_000;

#[test]
fn twenty_thousand_connections_one_after_another_are_all_served() {
    let Some(site) = Site::put_up() else { return };
    // So few ports that each comes back after half a second or so.
    let few = [("net/ipv4/ip_local_port_range", "40000 40999")];
    site.lab.client().set(&few).unwrap();
    let relay = site.relay(&["--log", "warn,unmangle::cli=info"]);
    let listener = site.listen(Role::Server, Family::V4);
    let to = listener.local_addr().unwrap();
    let mut fallbacks = 0;
    for nth in 0..CONNECTIONS {
        let client = site
            .dial(Role::Client, to)
            .unwrap_or_else(|error| panic!("connection {nth}: {error}"));
        let pair = Pair {
            server: accept(&listener),
            client,
        };
        talk(&pair);
        let kept = pair.server.peer_addr().unwrap() == pair.client.local_addr().unwrap();
        fallbacks += u64::from(!kept);
        // The client must not be the one that has TIME_WAIT, or it would itself refuse to reuse the port.
        drop(pair.server);
        expect_end(&pair.client);
    }
    site::until("the last session ends", site::PATIENCE, || {
        relay.table()["sessions_closed"] == CONNECTIONS
    });
    let table = relay.table();
    println!("{CONNECTIONS} connections, {fallbacks} from another port than the client's");
    assert_eq!(table["accepted"], CONNECTIONS, "{table:?}");
    assert_eq!(table["dial_failures"], 0, "{table:?}");
    assert_eq!(table["port_fallbacks"], fallbacks, "{table:?}");
    assert!(
        fallbacks * 100 < CONNECTIONS,
        "{fallbacks} of {CONNECTIONS}"
    );
    let invalid = site.lab.invalid().unwrap();
    assert_eq!(invalid.sum(), 0, "{invalid:?}");
}
