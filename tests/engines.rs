//! What each engine holds for a session that idles, and what it still knows of one that was reset: the
//! figures of docs/engines.md.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use unmangle::config::Engine;
use unmangle::lab::{OpenedFrom, Role};

use site::{FAMILIES, Pair, Site, Way, carry, expect_reset, pattern, talk};

site::in_every_way!(
    an_idle_session_holds_as_many_descriptors_as_documented,
    a_session_that_was_reset_is_counted_as_documented,
    bulk_is_counted_as_documented,
);

const SESSIONS: usize = 100;

/// Free pipes that our own engine keeps, for all sessions together: two for each of two workers.
const FREE_PIPE_ENDS: usize = 8;

#[test]
fn the_table_of_the_document_says_what_is_tested_here() {
    let document = include_str!("../docs/engines.md");
    for row in [
        "| sockets of a session | 2 | 2 | 2 |",
        "| ends of pipes that an idle session holds | 0 | 4 | 0 |",
        "| bytes told of a session that was reset | those passed on | 0 | those passed on |",
        "| `added` and `stall` times, `splices`, `copies` | recorded | not recorded | not recorded |",
    ] {
        assert!(document.contains(row), "{row} is not in docs/engines.md");
    }
}

fn an_idle_session_holds_as_many_descriptors_as_documented(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let before = relay.descriptors();
    let at_rest = relay.resident();
    let listener = site.listen(Role::Server, FAMILIES[0]);
    let pairs: Vec<_> = (0..SESSIONS)
        .map(|_| site.connect_to(&listener, OpenedFrom::Client))
        .collect();
    pairs.iter().for_each(talk);
    // Bulk has gone through one of them, and is over.
    carry(&pairs[0].client, &pairs[0].server, &pattern(1, 4 << 20));
    pairs.iter().for_each(talk);
    let now = relay.descriptors();
    let memory = relay.resident().saturating_sub(at_rest) / SESSIONS as u64;
    println!("{way:?}: {before:?}, {now:?}, {memory} bytes of memory a session");
    assert_eq!(now.sockets - before.sockets, 2 * SESSIONS);
    assert_eq!(now.others, before.others);
    let ends = now.pipes - before.pipes;
    match way {
        Way::Gateway(Engine::TokioSplice) => assert_eq!(ends, 4 * SESSIONS),
        Way::Gateway(Engine::Copy) => assert_eq!(ends, 0),
        Way::Gateway(Engine::Splice) | Way::Forward => assert!(ends <= FREE_PIPE_ENDS, "{ends}"),
    }
    drop(pairs);
    relay.ended(SESSIONS);
    relay.holds_no_more_than(before);
}

fn a_session_that_was_reset_is_counted_as_documented(way: Way) {
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let Pair { client, server } = site.connect(OpenedFrom::Client, FAMILIES[0]);
    let address = client.local_addr().unwrap();
    carry(&client, &server, &pattern(1, 100_000));
    site::reset(client);
    expect_reset(&server);
    let session = relay.ended_for(address);
    let told = match way {
        Way::Gateway(Engine::TokioSplice) => 0,
        _ => 100_000,
    };
    assert_eq!(session["client_to_server_bytes"], told, "{session}");
    assert_eq!(
        (&session["closed_by"], &session["how"]),
        (&"client".into(), &"rst".into())
    );
    let table = relay.table();
    assert_eq!(table["bytes_client_to_server"], told);
    assert_eq!(table["sessions_aborted"], 1);
}

fn bulk_is_counted_as_documented(way: Way) {
    const BULK: usize = 8 << 20;
    let Some(site) = Site::put_up_for(way) else {
        return;
    };
    let relay = site.relay(&[]);
    let pair = site.connect(OpenedFrom::Client, FAMILIES[0]);
    carry(&pair.client, &pair.server, &pattern(1, BULK));
    let running = relay.table();
    let recorded = !way.is_foreign();
    assert_eq!(running["splices"] > 0, recorded, "{running:?}");
    assert_eq!(
        running["added client_to_server"] > 0,
        recorded,
        "{running:?}"
    );
    drop(pair);
    let session = relay.ended(1).remove(0);
    assert_eq!(session["client_to_server_bytes"], BULK, "{session}");
    assert_eq!(relay.table()["bytes_client_to_server"], BULK as u64);
}
