//! `unmangle bench` between two hosts, directly and through the relay between them.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::process::Command;

use unmangle::lab::{Family, Role};

use site::bench::{Running, Serve, arguments, number, parts};
use site::{FAMILIES, Site, UNMANGLE};

/// The relay intercepts 22.
const RELAYED: u16 = 22;
const DIRECT: u16 = 7000;

fn bench_on(site: &Site, role: Role, words: &str) -> Command {
    arguments(site.lab.host(role).command(UNMANGLE), words)
}

#[test]
fn every_mode_is_measured_directly_and_through_the_relay_and_nothing_is_lost() {
    let Some(site) = Site::put_up() else { return };
    let at = |family: Family, port: u16| {
        format!(
            "{}",
            std::net::SocketAddr::from((Role::Server.address(family), port))
        )
    };
    let mut listen = "serve".to_owned();
    for family in FAMILIES {
        for port in [DIRECT, RELAYED] {
            listen += &format!(" --listen {}", at(family, port));
        }
    }
    let serve = Serve::start(bench_on(&site, Role::Server, &listen), 4);
    let relay = site.relay(&[]);
    let mut sessions = 0;
    for family in FAMILIES {
        for mode in [
            "stream",
            "stream --direction download",
            "stream --direction both --connections 3",
            "rr --connections 5",
            "rr --rate 500",
            "crr --connections 3",
            "idle --connections 20",
            "mix",
        ] {
            let (to, via) = (at(family, DIRECT), at(family, RELAYED));
            let words = format!(
                "run --json --to {to} --via {via} --duration 400ms --warmup 0s --verify --grace 20s"
            );
            let load = bench_on(&site, Role::Client, &format!("{words} --mode {mode}"));
            let report = Running::start(load).end().faultless();
            assert_eq!(report["paths"].as_array().unwrap().len(), 2);
            for part in parts(&report) {
                let sum = ["operations", "bytes_up", "bytes_down"]
                    .map(|name| part[name].as_u64().unwrap());
                assert!(sum.iter().sum::<u64>() > 0, "{mode}: {part}");
            }
            // Without a warm-up every connection that was made is in the report.
            let relayed: u64 = report["paths"][1]["parts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| number(part, "/connect/count"))
                .sum();
            assert!(relayed > 0, "{mode}");
            sessions += relayed as usize;
            assert_eq!(relay.ended(sessions).len(), sessions, "{mode}");
        }
    }
    assert_eq!(serve.stop(), "");
    relay.stop();
}

#[test]
fn where_no_way_leads_that_is_told_and_counted() {
    let Some(site) = Site::put_up() else { return };
    for to in ["240.0.0.1:7000", "[3fff::1]:7000"] {
        let default = if to.starts_with('[') { "-6" } else { "-4" };
        let client = site.lab.client();
        client
            .run(
                "ip",
                &[
                    default,
                    "route",
                    "add",
                    "unreachable",
                    "default",
                    "metric",
                    "1",
                ],
            )
            .unwrap();
        for mode in ["stream", "rr", "crr", "idle"] {
            let words = format!("run --json --to {to} --duration 200ms --mode {mode}");
            let ended = Running::start(bench_on(&site, Role::Client, &words)).end();
            ended.faults(&[("unreachable", "direct: unreachable, once")]);
        }
    }
}
