//! What cannot be done is refused in one line that says what would be right, and nothing is changed.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use rustix::process::Signal;
use unmangle::lab::{Family, OpenedFrom};
use unmangle::rules::Lock;

use site::rules::Rules;
use site::{FAMILIES, PATIENCE, Relay, Site, UNMANGLE, inside, talk, until};

/// Every word must be in the refusal, and the host must be as it was.
fn expect_refusal(site: &Site, starter: &[&str], arguments: &[&str], words: &[&str]) {
    let before = Rules::of(site);
    let refusal = Relay::refusal(&site.lab, starter, arguments);
    assert!(refusal.starts_with("unmangle: "), "{refusal}");
    for word in words {
        assert!(refusal.contains(word), "{word:?} is not in: {refusal}");
    }
    assert_eq!(Rules::of(site), before, "after: {refusal}");
}

#[test]
fn arguments_that_make_no_sense_are_refused_by_name() {
    let Some(site) = Site::put_up() else { return };
    let cases: [(&[&str], &[&str]); 8] = [
        (
            &["--profile", "pixie"],
            &["--profile", "\"pixie\"", "cisco-pix", "wscale-strip"],
        ),
        (
            &["--intercept", "0"],
            &["--intercept", "\"0\"", "1 to 65535"],
        ),
        (&["--intercept", "22,ssh"], &["--intercept", "22,ssh"]),
        (
            &["--from", "10.0.0.0/33"],
            &["--from", "10.0.0.0/33", "10.0.0.0/8"],
        ),
        (&["--to", "server"], &["--to", "server", "2001:db8::/32"]),
        (&["--mangled-side", "eth9"], &["eth9", "fw0", "long0"]),
        (&["--mangled-side", "a\"b"], &["--mangled-side", "a\\\"b"]),
        (&["--log", "sesion=loud"], &["--log", "sesion=loud"]),
    ];
    for (arguments, words) in cases {
        expect_refusal(&site, &[], arguments, words);
    }
}

#[test]
fn a_second_relay_is_refused_and_the_first_goes_on() {
    let Some(site) = Site::put_up() else { return };
    let first = site.relay(&[]);
    expect_refusal(
        &site,
        &[],
        &["--intercept", "873"],
        &["another relay", "inet unmangle"],
    );
    talk(&site.connect(OpenedFrom::Client, Family::V4));
    first.ended(1);
    first.stop();
}

#[test]
fn of_two_relays_that_start_at_once_one_is_refused_and_the_other_works() {
    let Some(site) = Site::put_up() else { return };
    let at_first = Rules::of(&site);
    for round in 0..8 {
        let two = [(); 2].map(|()| Relay::launch(&site.lab, &[], &[]));
        let mut winners = Vec::new();
        let relays = |relay: &Relay| !relay.events("relaying").is_empty();
        for mut relay in two {
            until("it relays or ends", PATIENCE, || {
                relays(&relay) || relay.has_ended()
            });
            if relay.has_ended() {
                assert_eq!(relay.exit_code(), Some(2), "{}", relay.log());
                assert!(relay.log().contains("another relay"), "{}", relay.log());
            } else {
                winners.push(relay);
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(site.own_ip_rules(), [1, 1]);
        for family in FAMILIES {
            talk(&site.connect(OpenedFrom::Client, family));
        }
        winners.pop().unwrap().stop();
        assert_eq!(Rules::of(&site), at_first);
    }
}

#[test]
fn while_another_holds_the_lock_nothing_is_started_and_nothing_removed() {
    let Some(site) = Site::put_up() else { return };
    // As much as a relay has at its very start, or at its very end.
    let relay = site.relay(&[]);
    relay.signal(Signal::KILL);
    until("the table is gone", PATIENCE, || !site.has_table());
    assert_eq!(site.own_ip_rules(), [1, 1]);
    let held = inside(site.lab.relay(), Lock::relay).unwrap();
    expect_refusal(&site, &[], &[], &["another relay"]);
    let remove = || {
        let mut command = site.lab.relay().command(UNMANGLE);
        let output = command.args(["rules", "--remove"]).output().unwrap();
        output.status.code()
    };
    assert_eq!(remove(), Some(2));
    assert_eq!(site.own_ip_rules(), [1, 1]);
    drop(held);
    assert_eq!(remove(), Some(0));
    assert_eq!(site.own_ip_rules(), [0, 0]);
}

#[test]
fn a_priority_that_another_program_uses_is_refused_and_its_rule_is_shown() {
    let Some(site) = Site::put_up() else { return };
    let rule = ["rule", "add", "pref", "21069", "lookup", "100"];
    site.lab.relay().run("ip", &rule).unwrap();
    expect_refusal(&site, &[], &[], &["priority 21069", "lookup 100"]);
}

#[test]
fn without_the_privilege_it_says_which_is_missing() {
    let Some(site) = Site::put_up() else { return };
    let without = [
        "setpriv",
        "--bounding-set",
        "-net_admin",
        "--inh-caps",
        "-net_admin",
    ];
    expect_refusal(&site, &without, &[], &["CAP_NET_ADMIN", "root"]);
}

#[test]
fn a_tool_that_is_not_there_is_named_with_its_package() {
    let Some(site) = Site::put_up() else { return };
    expect_refusal(&site, &["env", "PATH=/nowhere"], &[], &["nft", "nftables"]);
}

#[test]
fn a_mark_that_another_program_uses_is_refused_and_its_rule_is_shown() {
    let Some(site) = Site::put_up() else { return };
    let rule = [
        "-6",
        "rule",
        "add",
        "fwmark",
        "0xff000000/0xff000000",
        "lookup",
        "100",
    ];
    site.lab.relay().run("ip", &rule).unwrap();
    expect_refusal(
        &site,
        &[],
        &[],
        &["0x02000000", "fwmark 0xff000000/0xff000000"],
    );
}

#[test]
fn a_routing_table_that_another_program_uses_is_refused_and_its_route_is_shown() {
    let Some(site) = Site::put_up() else { return };
    let route = [
        "route",
        "add",
        "203.0.113.0/24",
        "dev",
        "long0",
        "table",
        "21837",
    ];
    site.lab.relay().run("ip", &route).unwrap();
    expect_refusal(&site, &[], &[], &["21837", "203.0.113.0/24"]);
}
