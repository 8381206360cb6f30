//! `unmangle probe sweep` against emulated firewalls: nothing of ours runs at the far end but a listener.

mod checked_in;
mod site;

use std::process::Output;

use serde_json::Value;
use site::{FAMILIES, Site, UNMANGLE};
use unmangle::admin;
use unmangle::diagnose::sweep::told::Report;
use unmangle::lab::wire::{Direction, Oversize, OversizeAction, Protocol, WindowScale};
use unmangle::lab::{Family, Joined, Role, scenario};

/// A lab whose wires do this to packets, each way.
fn lab(firewall: scenario::Between, long_leg: scenario::Between) -> Option<Site> {
    Site::joined_by(Joined::wire(firewall), Joined::wire(long_leg))
}

fn story(name: &str) -> Option<Site> {
    let scenario = scenario::find(name).unwrap();
    lab(scenario.firewall, scenario.long_leg)
}

fn both(direction: Direction) -> Option<Site> {
    lab(
        scenario::Between::both(direction),
        scenario::Between::default(),
    )
}

fn run(site: &Site, arguments: &[&str]) -> Output {
    let mut command = site.lab.host(Role::Client).command(UNMANGLE);
    command.args(["probe", "sweep"]).args(arguments);
    command.output().unwrap()
}

/// The report, and the exit code, with a listener on port 22 of the server.
fn sweep(site: &Site, family: Family) -> (Value, i32) {
    let _listener = site.listen(Role::Server, family);
    let host = Role::Server.address(family).to_string();
    let output = run(site, &[&host, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let schema = serde_json::to_value(admin::schema::<Report>()).unwrap();
    assert!(jsonschema::is_valid(&schema, &report), "{report:#}");
    assert!(report["seconds"].as_f64().unwrap() < 60.0, "{report:#}");
    (report, output.status.code().unwrap())
}

fn ids(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["id"].as_str().unwrap())
        .collect()
}

#[test]
fn the_schema_that_is_checked_in_is_that_of_what_is_printed() {
    let schema = admin::schema::<Report>();
    let current = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    checked_in::is_current("docs/sweep.schema.json", &current, "probe_sweep");
}

#[test]
fn the_cliff_of_the_pix_is_found_exactly_and_its_sack_from_one_end() {
    let Some(site) = story("pix") else { return };
    for family in FAMILIES {
        let (report, code) = sweep(&site, family);
        assert_eq!(code, 1, "{report:#}");
        let ping = &report["ping"];
        assert_eq!(
            (&ping["passes"], &ping["harmed"]),
            (&1020.into(), &1021.into())
        );
        let numbers = match family {
            Family::V4 => (992, 993),
            Family::V6 => (972, 973),
        };
        assert_eq!(
            (&ping["ping_passes"], &ping["ping_harmed"]),
            (&numbers.0.into(), &numbers.1.into())
        );
        let tcp = &report["tcp"];
        assert_eq!(
            (&tcp["passes"], &tcp["harmed"]),
            (&1020.into(), &1021.into()),
            "{report:#}"
        );
        let lost = tcp["lost_percent"].as_f64().unwrap();
        assert!((1.0..6.0).contains(&lost), "{lost}");
        assert!(ids(&report).contains(&"sack-not-translated"), "{report:#}");
        assert_eq!(report["profile"], "cisco-pix");
        assert_eq!(report["reached"], 2);
    }
}

#[test]
fn rewritten_sequence_numbers_are_named_from_one_end() {
    let Some(site) = story("isn-rewrite") else {
        return;
    };
    for family in FAMILIES {
        let (report, code) = sweep(&site, family);
        assert_eq!(
            (ids(&report), code),
            (vec!["sack-not-translated"], 1),
            "{report:#}"
        );
        assert_eq!(report["profile"], "isn-rewrite");
    }
}

#[test]
fn a_clean_path_has_nothing_wrong_five_times() {
    let Some(site) = story("clean") else { return };
    for run in 0..5 {
        let (report, code) = sweep(&site, FAMILIES[run % 2]);
        assert_eq!((ids(&report), code), (vec![], 0), "{report:#}");
        assert_eq!(
            (&report["ping"]["passes"], &report["tcp"]["passes"]),
            (&1500.into(), &1500.into())
        );
        assert_eq!(report["untried"], Value::Array(vec![]));
        assert_eq!(
            (&report["reached"], &report["hops"][0]["quotes_options"]),
            (&2.into(), &true.into())
        );
    }
}

#[test]
fn an_option_that_is_taken_away_is_located_before_the_first_hop() {
    let stripping = Direction {
        window_scale: WindowScale::Strip,
        strip_sack_permitted: true,
        mss: Some(1300),
        ..Direction::default()
    };
    let Some(site) = both(stripping) else { return };
    for family in FAMILIES {
        let (report, code) = sweep(&site, family);
        assert_eq!(code, 1, "{report:#}");
        let changed = &report["hops"][0]["changed"];
        assert_eq!(
            *changed,
            serde_json::json!(["mss", "window_scale", "sack_permitted"])
        );
        let sentence = report["findings"][0]["sentence"].as_str().unwrap();
        let hop = Role::Relay.address(family);
        let expected =
            format!("Window scale is removed from the SYN, between this host and hop 1 ({hop}).");
        assert_eq!(sentence, expected);
        assert_eq!(report["profile"], "wscale-strip");
    }
}

#[test]
fn what_happens_to_large_packets_is_told_by_its_kind() {
    let above = |action| Direction {
        oversize: vec![Oversize {
            protocol: Protocol::Any,
            above: 1301,
            action,
            probability: 1.0,
        }],
        ..Direction::default()
    };
    let kinds = [
        (OversizeAction::Drop, "lost", 1),
        (OversizeAction::Truncate, "cut", 1),
        (OversizeAction::TooBig, "too_big", 0),
    ];
    for (action, harm, expected) in kinds {
        let Some(site) = both(above(action)) else {
            return;
        };
        let (report, code) = sweep(&site, Family::V4);
        assert_eq!(code, expected, "{report:#}");
        for sizes in [&report["ping"], &report["tcp"]] {
            assert_eq!(sizes["harm"], harm, "{report:#}");
            assert_eq!(
                (&sizes["passes"], &sizes["harmed"]),
                (&1301.into(), &1302.into()),
                "{report:#}"
            );
        }
    }
}

#[test]
fn who_cannot_look_is_told_what_to_do_in_one_line() {
    let Some(site) = story("clean") else { return };
    let server = Role::Server.address(Family::V4).to_string();
    let line = |arguments: &[&str]| {
        let output = run(&site, arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let closed = line(&[&server, "--port", "9"]);
    assert!(
        closed.contains("port 9 is closed") && closed.contains("--port"),
        "{closed}"
    );
    let nobody = line(&["198.51.100.77"]);
    assert!(nobody.contains("198.51.100.77"), "{nobody}");
    let unknown = line(&["no-such-host.invalid"]);
    assert!(unknown.contains("no such host"), "{unknown}");
    let own = line(&["192.0.2.2"]);
    assert!(own.contains("is this host"), "{own}");
    site.cut(Role::Server);
    let silent = line(&[&server]);
    assert!(
        silent.contains("neither a ping nor TCP port 22"),
        "{silent}"
    );
    let mut command = site.lab.host(Role::Client).command("setpriv");
    command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", UNMANGLE]);
    let output = command.args(["probe", "sweep", &server]).output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("CAP_NET_RAW"), "{line}");
}
