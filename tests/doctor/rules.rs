//! Rules of other programs, numbers that collide with theirs, and what a relay has left.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use super::namespace::{GATEWAY, Namespace, note, problem};
use super::settings::amid_odd_packets;
use super::site::{self, PATIENCE, UNMANGLE};
use super::{DROPS_INVALID, plant, plant_rules};

// === rules of other programs ===

#[test]
fn a_rule_of_nft_that_drops_invalid_packets_is_named() {
    let expected = note(
        "invalid-rules",
        &[
            "inet strict in, rule handle 2 (ct state invalid drop)",
            "drops",
        ],
    );
    plant_rules(DROPS_INVALID, expected);
}

/// What is named amid INVALID packets, where `tcp dport 23 drop` comes first.
fn named_amid_invalid_packets(second: &str) -> Vec<String> {
    let Some(namespace) = Namespace::sound() else {
        return Vec::new();
    };
    namespace.shell(&format!(
        "nft 'table inet strict {{ chain in {{ type filter hook input priority 0; tcp dport 23 drop; {second} }}; }}'"
    ));
    let told = amid_odd_packets(&namespace, || namespace.doctor_by(&[], "", "0.5"));
    told.expect(&problem("conntrack-invalid", &["INVALID now: "]));
    let blamed = told.findings("invalid-rules", |status| status != "ok");
    let sentences = blamed.iter().map(|one| one["sentence"].as_str().unwrap());
    sentences.map(str::to_owned).collect()
}

#[test]
fn a_rule_that_has_nothing_to_do_with_invalid_packets_is_not_blamed_for_them() {
    // Without a rule on states nobody would call them INVALID.
    let blamed = named_amid_invalid_packets("ct state established accept;");
    assert_eq!(blamed, Vec::<String>::new());
}

#[test]
fn a_rule_that_resets_some_invalid_packets_is_named_behind_one_that_is_not_to_blame() {
    let blamed =
        named_amid_invalid_packets("ct state invalid limit rate 10/second reject with tcp reset;");
    if site::possible() {
        assert_eq!(blamed.len(), 1, "{blamed:?}");
        assert!(
            blamed[0].contains("ct state invalid limit rate 10/second"),
            "{blamed:?}"
        );
    }
}

#[test]
fn a_map_that_resets_invalid_packets_is_named() {
    let rules = "table inet strict {
        chain reset_it { reject with tcp reset; }
        chain in { type filter hook forward priority 0; ct state vmap { established : accept, invalid : goto reset_it }; }
    }";
    plant_rules(
        rules,
        note(
            "invalid-rules",
            &["inet strict reset_it", "resets connections"],
        ),
    );
}

#[test]
fn a_strict_policy_that_lets_only_known_connections_in_is_named() {
    let rules = "table inet strict { chain in { type filter hook input priority 0; policy drop;
        iifname lo accept; ct state established,related accept; tcp dport 22 ct state new accept; }; }";
    plant_rules(
        rules,
        note("invalid-rules", &["policy drop of inet strict in"]),
    );
}

#[test]
fn a_rule_of_iptables_that_resets_invalid_packets_is_named() {
    let rule = "iptables-nft -A FORWARD -p tcp -m conntrack --ctstate INVALID -j REJECT --reject-with tcp-reset";
    plant(
        rule,
        note("invalid-rules", &["ip filter FORWARD", "tcp reset"]),
    );
}

#[test]
fn rules_of_iptables_legacy_are_named_though_nft_does_not_list_them() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let rule = "iptables-legacy -A INPUT -m conntrack --ctstate INVALID -j DROP";
    let added = namespace.command(&["sh", "-c", rule]).output().unwrap();
    if !added.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&added.stderr));
        return;
    }
    let told = namespace.doctor("");
    told.expect(&note("legacy-rules", &["nft does not list"]));
    told.expect(&note(
        "invalid-rules",
        &["iptables-legacy -t filter -A INPUT", "INVALID -j DROP"],
    ));
}

#[test]
fn a_rule_that_gives_another_destination_is_named() {
    let rules = "table ip nat { chain pre { type nat hook prerouting priority -100; tcp dport 8022 dnat to 10.2.0.2:22; }; }";
    plant_rules(
        rules,
        note("dnat", &["ip nat pre, rule handle 2", "dnat to 10.2.0.2"]),
    );
}

#[test]
fn a_rule_that_gives_what_is_intercepted_another_destination_is_a_problem() {
    let rules = "table ip nat { chain pre { type nat hook prerouting priority -100; tcp dport 22 dnat to 10.2.0.2; }; }";
    plant_rules(
        rules,
        problem("dnat", &["ip nat pre, rule handle 2"]).with(GATEWAY),
    );
}

#[test]
fn a_rule_that_keeps_tcp_from_conntrack_is_named() {
    let rules = "table ip raw2 { chain pre { type filter hook prerouting priority raw; tcp dport 22 notrack; }; }";
    plant_rules(
        rules,
        note(
            "notrack",
            &["ip raw2 pre, rule handle 2 (tcp dport 22 notrack)"],
        ),
    );
    let rule = "iptables-nft -t raw -A PREROUTING -p tcp --dport 22 -j CT --notrack";
    plant(rule, note("notrack", &["ip raw PREROUTING"]));
}

#[test]
fn what_forward_drops_is_noted_and_is_a_problem_where_it_would_be_intercepted() {
    let rules = "table inet strict { chain through { type filter hook forward priority 0; policy drop; }; }";
    plant_rules(
        rules,
        note(
            "forward",
            &[
                "policy drop of inet strict through",
                "interception bypasses it",
            ],
        ),
    );
    let expected = problem(
        "forward",
        &[
            "FORWARD would have dropped",
            "policy drop of inet strict through",
        ],
    );
    plant_rules(rules, expected.with(GATEWAY));
}

#[test]
fn an_input_that_drops_what_is_intercepted_is_mended_by_the_line_that_is_told() {
    let rules =
        "table inet strict { chain in { type filter hook input priority 0; policy drop; }; }";
    plant_rules(
        rules,
        problem("input", &["INPUT would drop"])
            .with(GATEWAY)
            .mended(),
    );
}

#[test]
fn an_output_that_drops_what_this_host_opens_is_a_problem() {
    const OWN: &str = "[[listener]]\nmode = \"client-sidecar\"\nintercept = [22]\nmangled-side = \"fw0\"\nprofile = \"clean\"\n";
    let rules = "table inet strict { chain out { type filter hook output priority 0; tcp dport 22 drop; }; }";
    plant_rules(
        rules,
        problem("output", &["OUTPUT would have dropped"]).with(OWN),
    );
}

// === numbers that collide, and what was left ===

#[test]
fn a_mark_that_another_program_uses_is_found() {
    let rule = "ip rule add pref 600 fwmark 0x2000000/0xff000000 lookup 77";
    plant(
        rule,
        problem("mark", &["mark bits", "lookup 77", "--mark"]).with(GATEWAY),
    );
}

#[test]
fn a_priority_that_another_program_uses_is_found() {
    let rule = "ip rule add pref 21069 from 10.9.0.0/16 lookup 77";
    plant(
        rule,
        problem("priority", &["priority 21069", "--priority"]).with(GATEWAY),
    );
}

#[test]
fn a_routing_table_that_another_program_uses_is_found() {
    let route = "ip route add 10.9.0.0/16 dev long0 table 21837";
    plant(
        route,
        problem("table", &["routing table 21837", "10.9.0.0/16", "--table"]).with(GATEWAY),
    );
}

#[test]
fn a_number_of_the_configuration_is_what_is_judged() {
    const OTHER: &str = "table = 300\n[[listener]]\nintercept = [22]\nmangled-side = \"fw0\"\nprofile = \"clean\"\n";
    let route = "ip route add 10.9.0.0/16 dev long0 table 300";
    plant(route, problem("table", &["routing table 300"]).with(OTHER));
}

#[test]
fn the_table_of_a_killed_relay_that_fails_closed_is_found_and_removed_by_the_command_that_is_told()
{
    let rules = "table inet unmangle_fail_closed { chain forward { type filter hook forward priority 0; tcp dport 22 drop; }; }";
    plant_rules(
        rules,
        problem("fail-closed", &["A relay was killed"]).mended(),
    );
}

#[test]
fn what_a_killed_relay_has_left_is_noted_and_removed_by_the_command_that_is_told() {
    let left = "ip rule add pref 21069 fwmark 0x2000000/0x2000000 lookup 21837 protocol 85;
        ip route add local default dev lo table 21837 proto 85";
    plant(
        left,
        note("leftovers", &["ip -4 rule pref 21069", "ip -4 route"]).mended(),
    );
}

#[test]
fn printed_rules_that_somebody_loaded_are_found_and_removed_by_the_command_that_is_told() {
    let load =
        format!("{UNMANGLE} rules --intercept 22 --mangled-side fw0 --profile clean | nft -f -");
    plant(&load, note("leftovers", &["printed rules"]).mended());
    let expected = problem("leftovers", &["does not start beside it"]);
    plant(&load, expected.with(GATEWAY).mended());
}

/// A process that is killed when this is dropped, also by a test that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// nft 1.0.6 breaks off where its JSON comes to the flag of such a table; later ones do not.
#[test]
fn a_table_that_belongs_to_another_process_is_read_or_named_as_what_was_not() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let mut owner = namespace.command(&["nft", "-i"]);
    let owner = owner.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut owner = Killed(owner.spawn().unwrap());
    let rules = "add table inet theirs { flags owner; }
        add chain inet theirs in { type filter hook input priority 0; }
        add rule inet theirs in ct state invalid drop\n";
    let mut stdin = owner.0.stdin.take().unwrap();
    stdin.write_all(rules.as_bytes()).unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    while !namespace.shell("nft list ruleset").contains("invalid") {
        assert!(std::time::Instant::now() < until, "it is not there");
    }
    let told = namespace.doctor("");
    let found = told.findings("invalid-rules", |status| status != "ok");
    let unseen = told.report["unseen"].as_array().unwrap().iter();
    let unseen: Vec<_> = unseen.filter(|one| one["id"] == "invalid-rules").collect();
    assert_eq!(found.len() + unseen.len(), 1, "{:#}", told.report);
    let said = found.iter().chain(unseen).next().unwrap()["sentence"].as_str();
    assert!(said.unwrap().contains("inet theirs"), "{said:?}");
}

#[test]
fn a_relay_that_runs_is_well_and_what_it_leaves_when_killed_is_found() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let run = "run --intercept 22 --mangled-side fw0 --profile cisco-pix --fail closed --admin off";
    let words: Vec<_> = [UNMANGLE].into_iter().chain(run.split(' ')).collect();
    let unseen = ["", GATEWAY].map(|config| namespace.doctor(config).unseen());
    let mut relay = namespace.command(&words);
    let mut relay = Killed(relay.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(relay.0.stderr.take().unwrap()).lines();
    log.find(|line| line.as_ref().unwrap().contains("relaying"))
        .expect("it begins to relay")
        .unwrap();
    for (config, unseen) in ["", GATEWAY].into_iter().zip(unseen) {
        let told = namespace.doctor(config);
        assert_eq!(told.problems(), "", "while it runs");
        assert_eq!(told.unseen(), unseen, "while it runs");
        let own = told.findings("leftovers", |_| true);
        assert!(
            own[0]["sentence"]
                .as_str()
                .unwrap()
                .starts_with("A relay runs"),
            "{own:?}"
        );
    }
    // Not a word of what it drops or takes is laid at the door of another program.
    let report = namespace.doctor("").report.to_string();
    assert!(!report.contains("inet unmangle "), "{report}");
    // Rules of others are seen beside its own.
    namespace.plant(
        &format!("nft '{DROPS_INVALID}'"),
        &note("invalid-rules", &["inet strict in, rule handle 2"]),
    );
    drop(relay);
    let until = std::time::Instant::now() + PATIENCE;
    while namespace
        .shell("nft list tables")
        .contains("inet unmangle\n")
    {
        assert!(std::time::Instant::now() < until, "its table stays");
    }
    let told = namespace.doctor("");
    told.expect(&problem("fail-closed", &["A relay was killed"]));
    told.expect(&note(
        "leftovers",
        &["ip -4 rule pref 21069", "ip -6 rule pref 21069"],
    ));
    namespace.shell(&format!("{UNMANGLE} rules --remove"));
    assert_eq!(
        namespace
            .doctor("")
            .findings("leftovers", |status| status != "ok")
            .len(),
        0
    );
}
