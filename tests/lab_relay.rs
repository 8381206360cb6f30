//! A real scp through the relay, past a firewall that mangles and hosts that are strict.
//!
//! These tests need root, and without it are skipped except in CI.

use std::time::Duration;

use unmangle::lab::runner::Terms;
use unmangle::lab::{
    self, Evidence, Family, FlowDirection, Interrupt, Invalid, Matrix, OpenedFrom, Outcome, Path,
    Row, Runner, Shape, Strict, scenario,
};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");

/// Whether labs can be put up here; in CI they must.
fn possible() -> bool {
    match lab::require() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// 10 MB by the relay in both directions and families.
fn relayed(scenario: &str, opened_from: OpenedFrom) -> Vec<(Row, Evidence)> {
    let matrix = Matrix {
        scenarios: vec![scenario::find(scenario).unwrap()],
        paths: vec![Path::Relay],
        shapes: vec![Shape::Gateway],
        tools: Vec::new(),
        directions: vec![FlowDirection::Upload, FlowDirection::Download],
        families: vec![Family::V4, Family::V6],
        opened_from,
        strict: Strict::Both,
        runs: 1,
    };
    let terms = Terms {
        bytes: 10_000_000,
        timeout: Duration::from_secs(20),
        long_rtt: Duration::ZERO,
        seed: 1,
        unmangle: Some(UNMANGLE.into()),
    };
    let mut runner = Runner::new(terms, Interrupt::never());
    let cases = matrix.cases();
    cases.iter().map(|case| runner.run(case).unwrap()).collect()
}

fn arrives_with_nothing_invalid(scenario: &str) {
    if !possible() {
        return;
    }
    for opened_from in [OpenedFrom::Client, OpenedFrom::Server] {
        for (row, evidence) in relayed(scenario, opened_from) {
            assert_eq!(row.outcome, Outcome::Ok, "{row:?} {evidence:?}");
            assert_eq!(row.conntrack_invalid, Invalid::default(), "{row:?}");
        }
    }
}

#[test]
fn scp_is_relayed_where_nothing_is_mangled() {
    arrives_with_nothing_invalid("clean");
}

#[test]
fn scp_is_relayed_where_sequence_numbers_are_rewritten() {
    arrives_with_nothing_invalid("isn-rewrite");
}

#[test]
fn scp_is_relayed_through_the_pix() {
    arrives_with_nothing_invalid("pix");
}

#[test]
fn scp_is_relayed_where_the_window_scale_is_stripped() {
    arrives_with_nothing_invalid("wscale-strip");
}

#[test]
fn sshd_sees_the_address_and_port_of_the_host_that_opened_the_connection() {
    if !possible() {
        return;
    }
    let opened = [OpenedFrom::Client, OpenedFrom::Server];
    for (row, evidence) in opened
        .map(|from| relayed("pix", from))
        .into_iter()
        .flatten()
    {
        let address = row.opened_from.opener().address(row.family).to_string();
        // "Connection from ADDRESS port PORT on ..."
        let line = evidence
            .sshd
            .lines()
            .find(|line| line.starts_with("Connection from"));
        let words: Vec<_> = line.expect(&evidence.sshd).split_whitespace().collect();
        assert_eq!(words[2], address);
        // The relay tells its peers, the client's own port among them.
        let peer = match row.family {
            Family::V4 => format!("{address}:{}", words[4]),
            Family::V6 => format!("[{address}]:{}", words[4]),
        };
        assert!(evidence.relay.contains(&peer), "{peer}: {}", evidence.relay);
    }
}
