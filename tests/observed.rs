//! The README's table of what an end host can observe is what the end hosts of a lab do observe.
//!
//! Each cell is an observation made here, with both families, and where either end can act by both ends. A
//! table in the README that says anything else fails with the cells that differ. What was observed is written
//! there by
//!
//! ```text
//! sudo UNMANGLE_BLESS=1 cargo test --test observed
//! ```
//!
//! This needs root, and without it is skipped except in CI.

mod site;

mod observed {
    pub mod cell;
    pub mod opening;
    pub mod stage;
    pub mod stream;
    pub mod table;
    pub mod wire;
}

use std::path::Path;
use std::thread;

use observed::cell::Cell;
use observed::stage::{Column, Ground, Stage};
use observed::table::Table;
use observed::{opening, stream, wire};

/// What is observed, on which ground.
struct Row {
    label: &'static str,
    ground: Ground,
    observe: fn(&Stage) -> Cell,
}

const ROWS: [Row; 21] = [
    Row::short(
        "client's address, at the server",
        opening::address_at_the_server,
    ),
    Row::short("client's port, at the server", opening::port_at_the_server),
    Row::short(
        "server's own address, at the server",
        opening::own_address_of_the_service,
    ),
    Row::short("a port used again at once", stream::port_used_again),
    Row::short("closed port", opening::closed_port),
    Row::short("unreachable server", opening::unreachable_server),
    Row::short("silent server", opening::silent_server),
    Row::short(
        "reset by the peer: what one who is reading gets",
        stream::reset_while_the_other_reads,
    ),
    Row::narrow(
        "reset by the peer: what one who reads only then gets",
        stream::reset_while_the_other_does_not_read,
    ),
    Row::short("order of ends (FIN), half-close", stream::half_close),
    Row::short("urgent byte", stream::urgent_byte),
    Row::short(
        "who acknowledges what the client sends",
        stream::acknowledgement,
    ),
    Row::short("DSCP of the peer's bytes", wire::dscp_of_the_peers_bytes),
    Row::short("DSCP of SYN and SYN-ACK", wire::dscp_of_the_opening),
    Row::short("MSS in the SYN-ACK, at the client", wire::mss_of_the_server),
    Row::short("MSS in the SYN, at the server", wire::mss_of_the_client),
    Row::short(
        "other options in the SYN-ACK, at the client",
        wire::options_of_the_server,
    ),
    Row::short(
        "other options in the SYN, at the server",
        wire::options_of_the_client,
    ),
    Row::long(
        "round trip until the client is accepted",
        wire::rtt_of_the_handshake,
    ),
    Row::long(
        "round trip that TCP measures, at the client",
        wire::rtt_at_the_client,
    ),
    Row::long(
        "round trip that TCP measures, at the server",
        wire::rtt_at_the_server,
    ),
];

// === impl Row ===

impl Row {
    const fn short(label: &'static str, observe: fn(&Stage) -> Cell) -> Self {
        Self {
            label,
            ground: Ground::Short,
            observe,
        }
    }

    const fn narrow(label: &'static str, observe: fn(&Stage) -> Cell) -> Self {
        Self {
            ground: Ground::Narrow,
            ..Self::short(label, observe)
        }
    }

    const fn long(label: &'static str, observe: fn(&Stage) -> Cell) -> Self {
        Self {
            ground: Ground::Long,
            ..Self::short(label, observe)
        }
    }
}

#[test]
fn the_table_in_the_readme_is_what_end_hosts_observe() {
    if !site::possible() {
        return;
    }
    let columns = thread::scope(|scope| {
        let observing = Column::ALL.map(|column| {
            let thread = thread::Builder::new().name(column.to_string());
            thread.spawn_scoped(scope, move || observe(column)).unwrap()
        });
        // All of them end before the first failure is told.
        let columns = observing.map(|column| column.join());
        columns.map(|column| column.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let rows = ROWS.iter().enumerate().map(|(nth, row)| {
        let cells = columns.iter().map(|column| column[nth].to_string());
        [row.label.to_owned()].into_iter().chain(cells).collect()
    });
    let table = Table {
        head: Column::ALL.map(|column| column.to_string()).into(),
        rows: rows.collect(),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    if std::env::var_os("UNMANGLE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, table.put_into(&readme).unwrap()).unwrap();
        return;
    }
    let differences = table.differences(&readme).unwrap();
    assert!(
        differences.is_empty(),
        "README.md is stale; `UNMANGLE_BLESS=1 cargo test --test observed` writes what was observed.\n{}",
        differences.join("\n")
    );
}

/// Every cell of a column, from the first row to the last.
fn observe(column: Column) -> Vec<Cell> {
    let mut cells = vec![Cell::Senseless; ROWS.len()];
    for ground in [Ground::Short, Ground::Narrow, Ground::Long] {
        let stage = Stage::put_up(column, ground).expect("labs can be put up");
        let rows = ROWS.iter().zip(&mut cells);
        for (row, cell) in rows.filter(|(row, _)| row.ground == ground) {
            let begun = std::time::Instant::now();
            *cell = (row.observe)(&stage);
            println!("{column}: {}: {cell} ({:?})", row.label, begun.elapsed());
        }
    }
    cells
}
