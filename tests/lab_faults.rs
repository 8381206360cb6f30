//! The scenarios do the harm they are made for, and `clean` does none.
//!
//! These tests need root, and without it are skipped except in CI.

use std::time::Duration;

use unmangle::lab::runner::Terms;
use unmangle::lab::{
    self, Case, Evidence, Family, FlowDirection, Interrupt, Invalid, Joined, Lab, Matrix,
    OpenedFrom, Outcome, Path, Row, Runner, Shape, Strict, scenario,
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

/// Uploads of 10 MB on `path` in one scenario, all hosts strict.
fn uploads(scenario: &str, path: Path) -> Vec<Case> {
    let matrix = Matrix {
        scenarios: vec![scenario::find(scenario).unwrap()],
        paths: vec![path],
        shapes: vec![Shape::Gateway],
        tools: Vec::new(),
        directions: vec![FlowDirection::Upload],
        families: vec![Family::V4, Family::V6],
        opened_from: OpenedFrom::Client,
        strict: Strict::Both,
        runs: 1,
    };
    matrix.cases()
}

fn transfer(cases: &[Case]) -> Vec<(Row, Evidence)> {
    let terms = Terms {
        bytes: 10_000_000,
        timeout: Duration::from_secs(10),
        long_rtt: Duration::ZERO,
        seed: 1,
        unmangle: Some(UNMANGLE.into()),
    };
    let mut runner = Runner::new(terms, Interrupt::never());
    cases.iter().map(|case| runner.run(case).unwrap()).collect()
}

#[test]
fn a_strict_host_resets_an_upload_whose_sequence_numbers_are_rewritten() {
    if !possible() {
        return;
    }
    for (row, evidence) in transfer(&uploads("isn-rewrite", Path::Direct)) {
        assert_eq!(row.outcome, Outcome::Reset, "{row:?} {evidence:?}");
        assert!(row.conntrack_invalid.sum() > 0, "{row:?}");
    }
}

#[test]
fn a_strict_host_resets_an_upload_through_the_pix() {
    if !possible() {
        return;
    }
    for (row, evidence) in transfer(&uploads("pix", Path::Direct)) {
        assert_eq!(row.outcome, Outcome::Reset, "{row:?} {evidence:?}");
    }
}

#[test]
fn an_upload_fails_where_the_window_scale_is_stripped() {
    if !possible() {
        return;
    }
    for (row, evidence) in transfer(&uploads("wscale-strip", Path::Direct)) {
        let failed = matches!(row.outcome, Outcome::Reset | Outcome::Stall);
        assert!(failed, "{row:?} {evidence:?}");
    }
}

#[test]
fn nothing_is_invalid_where_nothing_is_mangled_and_sshd_sees_the_client() {
    if !possible() {
        return;
    }
    let mut cases = uploads("clean", Path::Direct);
    cases.extend(cases.clone().into_iter().map(|case| Case {
        direction: FlowDirection::Download,
        ..case
    }));
    for (row, evidence) in transfer(&cases) {
        assert_eq!(row.outcome, Outcome::Ok, "{row:?} {evidence:?}");
        assert_eq!(row.conntrack_invalid, Invalid::default());
        let client = match row.family {
            Family::V4 => "from 192.0.2.2 port ",
            Family::V6 => "from 2001:db8:1::2 port ",
        };
        assert!(evidence.sshd.contains(client), "{}", evidence.sshd);
    }
}

#[test]
fn the_pix_loses_pings_above_1020_bytes_and_none_below() {
    if !possible() {
        return;
    }
    let pix = scenario::find("pix").unwrap();
    let lab = Lab::builder()
        .unmangle(UNMANGLE)
        .firewall(Joined::wire(pix.firewall));
    let lab = lab.start().unwrap();
    let ping = |size: &str, address: &str| {
        let arguments = ["-c", "5", "-i", "0.02", "-W", "1", "-s", size, address];
        lab.client().run("ping", &arguments).is_ok()
    };
    // 28 bytes of headers in IPv4, 48 in IPv6.
    assert!(ping("992", "198.51.100.2") && !ping("993", "198.51.100.2"));
    assert!(ping("972", "2001:db8:2::2") && !ping("973", "2001:db8:2::2"));
}
