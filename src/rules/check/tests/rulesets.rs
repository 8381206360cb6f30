//! Real rulesets, loaded once by nft or iptables-nft (`testdata/refresh.sh`).

use super::{check, probe, ruleset, told};
use crate::rules::check::{Mark, Probe, Ruleset, Verdict};

const POLICY_DROP: &str = include_str!("../testdata/policy-drop.json");
const POLICY_DROP_LISTING: &str = include_str!("../testdata/policy-drop.listing");
const FIREWALLD: &str = include_str!("../testdata/firewalld.json");
const FIREWALLD_LISTING: &str = include_str!("../testdata/firewalld.listing");
const DNAT_MAP: &str = include_str!("../testdata/dnat-map.json");
const DNAT_MAP_LISTING: &str = include_str!("../testdata/dnat-map.listing");
const ORDER: &str = include_str!("../testdata/order.json");
const ORDER_LISTING: &str = include_str!("../testdata/order.listing");
const DOCKER: &str = include_str!("../testdata/docker.json");
const DOCKER_LISTING: &str = include_str!("../testdata/docker.listing");
const UFW: &str = include_str!("../testdata/ufw.json");
const UFW_LISTING: &str = include_str!("../testdata/ufw.listing");

#[test]
fn a_forward_chain_that_drops_by_policy_passes_only_what_it_accepts() {
    let rules = ruleset(POLICY_DROP).with_listing(POLICY_DROP_LISTING);
    check(
        |probe| rules.forward(&probe.clone().marked(Mark::exactly(0))),
        &[
            ("eth1 10.0.0.0/16 > any 22", "passes"),
            ("eth1 10.0.0.0/16 > any 85", "passes"),
            ("eth1 10.0.0.0/16 > any 23", "dropped: forward: policy drop"),
            (
                "eth1 10.66.1.0/24 > any 22",
                "dropped: forward: ip saddr 10.66.0.0/16 drop",
            ),
            (
                "eth1 10.0.0.0/8 > any 22",
                "unsure: forward: ip saddr 10.66.0.0/16 drop",
            ),
            ("eth1 192.168.1.6 > any 22", "passes"),
            (
                "eth1 192.168.1.10 > any 22",
                "dropped: forward: policy drop",
            ),
            (
                "eth1 192.168.1.0/24 > any 22",
                "unsure: forward: policy drop | doubt: \
                 ip saddr @trusted tcp dport { 22, 80-90 } accept",
            ),
            ("eth1 172.16.0.0/12 > 198.51.100.0/25 8010", "passes"),
            (
                "eth1 172.16.0.0/12 > 198.51.100.0/25 8081",
                "dropped: forward: policy drop",
            ),
            ("eth1 2001:db8:1:7::/64 > any6 22", "passes"),
            (
                "eth1 2001:db8:2::/48 > any6 22",
                "dropped: forward: policy drop",
            ),
            ("wg0 172.16.0.1 > any 5432", "passes"),
            (
                "eth0 172.16.0.1 > any 5432",
                "dropped: forward: policy drop",
            ),
            (
                "eth0 172.16.0.1 > any 60001",
                "unsure: forward: policy drop | doubt: \
                 tcp dport > 60000 tcp sport 1024-65535 accept",
            ),
            (
                "eth0 172.16.0.1 > any 443",
                "unsure: forward: policy drop | doubt: tcp dport 443 limit rate 5/second accept",
            ),
        ],
    );
}

#[test]
fn a_mark_counts_as_far_as_its_bits_are_known() {
    let rules = ruleset(POLICY_DROP).with_listing(POLICY_DROP_LISTING);
    let stranger = probe("eth0 172.16.0.1 > any 9");
    let verdict = |mark| rules.forward(&stranger.clone().marked(mark));
    assert_eq!(told(&verdict(Mark::bits(0x10, 0xff))), "passes");
    assert_eq!(told(&verdict(Mark::exactly(0x4410))), "passes");
    assert_eq!(
        told(&verdict(Mark::bits(0x01, 0x01))),
        "dropped: forward: policy drop"
    );
    assert!(told(&verdict(Mark::bits(0x10, 0xf0))).starts_with("unsure"));
}

#[test]
fn an_input_chain_that_drops_is_found_with_the_line_to_add() {
    let rules = ruleset(POLICY_DROP).with_listing(POLICY_DROP_LISTING);
    check(
        |probe| rules.input(probe),
        &[
            // `fib daddr type local` is not true of a packet that was intercepted.
            ("eth0 10.0.0.0/8 > any 22", "dropped: input: policy drop"),
            ("lo 10.0.0.0/8 > any 22", "passes"),
            ("eth0 192.0.2.7 > any 22", "passes"),
            ("eth0 2001:db8::7 > any6 22", "dropped: input: policy drop"),
        ],
    );
    let Verdict::Dropped { by } = rules.input(&probe("eth0 10.0.0.0/8 > any 22")) else {
        panic!("INPUT drops it")
    };
    assert_eq!(
        by.accept_before("tcp dport 22 meta mark & 1 == 1"),
        "nft add rule inet filter input tcp dport 22 meta mark & 1 == 1 accept"
    );
}

#[test]
fn firewalld_zones_are_followed_through_jump_and_goto() {
    let rules = ruleset(FIREWALLD).with_listing(FIREWALLD_LISTING);
    let reject = "dropped: filter_FORWARD: reject with icmpx admin-prohibited";
    check(
        |probe| rules.forward(probe),
        &[
            ("eth0>eth1 any > 10.0.0.0/8 22", "passes"),
            ("eth0>eth1 any > 10.0.0.0/8 23", reject),
            ("eth1>eth0 10.0.0.0/8 > any 23", "passes"),
            ("eth2>eth0 10.0.0.0/8 > any 23", reject),
            ("eth9>eth8 10.0.0.0/8 > any 23", "passes"),
            // Where it leaves is not known: the zone of eth1 is left by goto, or not.
            (
                "eth1 10.0.0.0/8 > any 23",
                "unsure: filter_FORWARD: reject with icmpx admin-prohibited | doubt: \
                 iifname \"eth1\" oifname \"eth0\" goto filter_FWD_internal",
            ),
            (
                "eth0>eth1 any6 > 2002:a00:5::/64 22",
                "dropped: filter_FORWARD: ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002:a00::/24 } \
                 reject with icmpv6 addr-unreachable",
            ),
            ("eth0>eth1 any6 > 2001:db8::/64 22", "passes"),
        ],
    );
    check(
        |probe| rules.input(probe),
        &[
            ("eth0 10.0.0.0/8 > any 22", "passes"),
            (
                "eth0 203.0.113.9 > any 22",
                "dropped: filter_IN_external_deny: ip saddr 203.0.113.0/24 drop",
            ),
            (
                "eth0 any > any 22",
                "unsure: filter_IN_external_deny: ip saddr 203.0.113.0/24 drop",
            ),
            ("eth3 any > any 443", "passes"),
            (
                "eth3 any > any 22",
                "dropped: filter_INPUT: reject with icmpx admin-prohibited",
            ),
        ],
    );
}

#[test]
fn chains_of_one_hook_are_passed_in_order_with_the_marks_they_set() {
    let rules = ruleset(ORDER).with_listing(ORDER_LISTING);
    check(
        |probe| rules.forward(probe),
        &[
            ("eth0 any > any 22", "dropped: forward: meta mark 0x20 drop"),
            (
                "eth0 any > any 23",
                "dropped: forward: meta mark & 0x100 == 0x100 reject with tcp reset",
            ),
        ],
    );
    let unmarked = |probe: &Probe| rules.forward(&probe.clone().marked(Mark::exactly(0)));
    check(
        unmarked,
        &[
            (
                "eth0 10.1.2.3 > any 24",
                "dropped: forward: meta mark 0x20 drop",
            ),
            ("eth0 10.2.2.3 > any 24", "passes"),
            (
                "eth0 10.0.0.0/8 > any 24",
                "unsure: forward: meta mark 0x20 drop",
            ),
            // An accept in the first table does not spare it the second.
            (
                "eth0 10.1.0.0/16 > any 1000",
                "dropped: forward: tcp dport 1000 drop",
            ),
            ("eth0 10.2.0.0/16 > any 1000", "passes"),
            (
                "eth0 10.0.0.0/8 > any 1000",
                "unsure: forward: tcp dport 1000 drop | doubt: \
                 tcp dport 1000 ip saddr 10.2.0.0/16 return",
            ),
            ("eth0 10.0.0.0/8 > any 1001", "passes"),
            (
                "eth0 10.0.0.0/10 > any 1002",
                "dropped: forward: tcp dport 1002 drop",
            ),
            ("eth0 10.128.0.0/10 > any 1002", "passes"),
            (
                "eth0 10.0.0.0/8 > any 1002",
                "unsure: forward: tcp dport 1002 drop | doubt: ip saddr 10.0.0.0/9 return",
            ),
            (
                "eth0 any > any 1003",
                "unsure: forward: tcp dport 1003 synproxy mss 1460",
            ),
            (
                "eth0 10.0.0.0/8 > any 1004",
                "dropped: forward: tcp dport 1004 ip saddr { 10.0.0.0/8 } drop",
            ),
            ("eth0 10.0.0.0/8 > any 1005", "passes"),
            (
                "eth0 192.0.2.0/24 > any 1005",
                "dropped: forward: tcp dport 1005 ip saddr != 10.0.0.0/8 drop",
            ),
            (
                "eth0 any > any 1006",
                "dropped: forward: tcp dport 1006 ct state != established drop",
            ),
            (
                "eth0 any > any 1007",
                "unsure: forward: tcp dport 1007 ct mark 1 drop",
            ),
            (
                "eth0 any > any 1008",
                "unsure: forward: tcp dport 1008 ip ttl < 5 drop",
            ),
            (
                "eth0 any > any 1009",
                "dropped: forward: tcp dport 1009 tcp flags & (syn|ack) == syn drop",
            ),
            ("eth0 any > any 1010", "passes"),
            (
                "lo any > any 1010",
                "dropped: forward: tcp dport 1010 tcp dport 1010 iif \"lo\" drop",
            ),
            ("eth0 any > any 1011", "passes"),
            ("eth0 any > 192.0.2.200 1012", "passes"),
            ("eth0 any6 > any6 22", "passes"),
        ],
    );
    assert!(told(&unmarked(&probe("eth0 any > 192.0.2.1 1012"))).starts_with("dropped"));
    assert!(told(&unmarked(&probe("eth0 any > 192.0.2.2 1012"))).starts_with("dropped"));
    assert!(told(&unmarked(&probe("eth0 any > 192.0.2.0/24 1012"))).starts_with("unsure"));
}

#[test]
fn docker_on_iptables_nft_is_decided_with_the_listing_and_doubted_without() {
    let rules = ruleset(DOCKER).with_listing(DOCKER_LISTING);
    check(
        |probe| rules.forward(probe),
        &[
            (
                "eth1>eth0 10.0.0.0/8 > any 22",
                "unsure: FORWARD: policy drop | doubt: iifname \
              \"eth1\" ip saddr 10.0.0.10-10.0.0.20 ct state ! invalid accept",
            ),
            ("eth1>eth0 10.0.0.12 > any 22", "passes"),
            ("eth1>eth0 10.1.0.0/16 > any 873", "passes"),
            ("eth1>eth0 10.1.0.0/16 > any 2222", "passes"),
            (
                "eth1>eth0 10.1.0.0/16 > any 2301",
                "dropped: FORWARD: policy drop",
            ),
            (
                "eth1>eth2 10.1.0.0/16 > any 873",
                "dropped: FORWARD: policy drop",
            ),
            ("docker0>eth0 172.17.0.0/16 > any 22", "passes"),
            ("eth0>docker0 any > 172.17.0.2 80", "passes"),
            (
                "eth0>docker0 any > 172.17.0.3 80",
                "dropped: FORWARD: policy drop",
            ),
            (
                "eth5 any > any 22",
                "dropped: DOCKER-USER: iifname \"eth5\" tcp dport 22 reject with \
              tcp reset",
            ),
            (
                "eth6>eth0 any > any 22",
                "unsure: FORWARD: policy drop | doubt: iifname \"eth6\" xt \
              match recent accept",
            ),
        ],
    );
    check(
        |probe| ruleset(DOCKER).forward(probe),
        &[(
            "eth1>eth0 10.1.0.0/16 > any 2301",
            "unsure: FORWARD: policy drop | doubt: iifname \"eth1\" oifname \"eth0\" \
             meta l4proto tcp xt match \"multiport\" xt match \"comment\" accept",
        )],
    );
}

#[test]
fn ufw_drops_what_is_not_local_at_input() {
    let rules = ruleset(UFW).with_listing(UFW_LISTING);
    check(
        |probe| rules.input(probe),
        &[("eth0 10.0.0.0/8 > any 22", "dropped: ufw-not-local: drop")],
    );
    check(
        |probe| rules.forward(probe),
        &[
            ("eth1>eth0 10.0.0.0/8 > any 22", "passes"),
            (
                "eth0>eth1 any > 10.0.0.0/8 22",
                "dropped: ufw-reject-forward: reject",
            ),
            ("eth0>eth1 any6 > any6 22", "passes"),
        ],
    );
    let Verdict::Dropped { by } = rules.input(&probe("eth0 any > any 22")) else {
        panic!("INPUT drops it")
    };
    assert_eq!(
        by.accept_before("tcp dport 22"),
        "nft insert rule ip filter ufw-not-local handle 28 tcp dport 22 accept"
    );
}

#[test]
fn a_translated_destination_is_found_by_rule() {
    let found = |rules: &Ruleset, question: &str| {
        rules
            .dnat(&probe(question))
            .map(|rule| format!("{}: {}", rule.chain, rule.text))
    };
    let maps = ruleset(DNAT_MAP).with_listing(DNAT_MAP_LISTING);
    let by_port = Some("prerouting: dnat ip to tcp dport map @ports".to_owned());
    let by_vmap = Some("web-1: ip protocol tcp dnat ip to 10.0.1.1");
    assert_eq!(found(&maps, "eth0 any > any 2201"), by_port);
    assert_eq!(found(&maps, "eth0 any > any 22"), None);
    assert_eq!(found(&maps, "eth1 any > any 2201"), None);
    assert_eq!(found(&maps, "eth0 10.9.1.0/24 > any 2201"), None);
    assert_eq!(
        found(&maps, "eth0 any > 198.51.100.7 80").as_deref(),
        by_vmap
    );
    assert_eq!(
        found(&maps, "eth0 any > 198.51.100.0/24 443").as_deref(),
        by_vmap
    );
    assert_eq!(found(&maps, "eth0 any > 198.51.100.8 443"), None);
    assert_eq!(found(&maps, "eth0 any > any 5005").as_deref(), by_vmap);
    assert_eq!(found(&maps, "eth0 any > any 25"), None);
    assert_eq!(found(&maps, "eth0 any > any 9000"), None);
    assert!(found(&maps, "eth0 any6 > 2001:db8::/64 22").is_some());
    assert_eq!(found(&maps, "eth0 any6 > 2001:db8:5::/64 22"), None);
    assert_eq!(found(&maps, "eth0 any6 > any6 2201"), None);

    let zones = ruleset(FIREWALLD).with_listing(FIREWALLD_LISTING);
    assert!(found(&zones, "eth0 any > any 80").is_some());
    assert_eq!(found(&zones, "eth0 any6 > any6 80"), None);
    assert_eq!(found(&zones, "eth3 any > any 80"), None);

    let docker = ruleset(DOCKER).with_listing(DOCKER_LISTING);
    let published = "PREROUTING: ip daddr 198.51.100.9 tcp dport 2022 dnat to 10.0.0.9:22";
    assert_eq!(
        found(&docker, "eth0 any > any 2022").as_deref(),
        Some(published)
    );
    assert_eq!(
        found(&docker, "eth0 any > any 8080"),
        None,
        "only where the address is local"
    );
    assert!(found(&docker, "eth7 any > any 25").is_some());
    assert!(
        found(&ruleset(DOCKER), "eth0 any > any 8080").is_some(),
        "unknown is not certain"
    );
}

#[test]
fn every_rule_renders_readably() {
    for (name, rules) in [
        (
            "policy-drop",
            ruleset(POLICY_DROP).with_listing(POLICY_DROP_LISTING),
        ),
        (
            "firewalld",
            ruleset(FIREWALLD).with_listing(FIREWALLD_LISTING),
        ),
        ("dnat-map", ruleset(DNAT_MAP).with_listing(DNAT_MAP_LISTING)),
        ("order", ruleset(ORDER).with_listing(ORDER_LISTING)),
        ("docker", ruleset(DOCKER)),
        (
            "docker listed",
            ruleset(DOCKER).with_listing(DOCKER_LISTING),
        ),
        ("ufw", ruleset(UFW)),
        ("ufw listed", ruleset(UFW).with_listing(UFW_LISTING)),
    ] {
        for rule in rules
            .tables
            .iter()
            .flat_map(|table| table.chains.values())
            .flat_map(|c| &c.rules)
        {
            let text = rule.text();
            assert!(
                !text.is_empty(),
                "{name}: handle {} has no text",
                rule.handle
            );
            for json in ["\":", "[", "null", "true", "  "] {
                let literal = json == "[" && (text.contains("[UFW") || text.contains("[2001"));
                assert!(literal || !text.contains(json), "{name}: {text}");
            }
        }
    }
}

#[test]
fn a_rule_is_named_as_an_engineer_would_look_for_it() {
    let rules = ruleset(POLICY_DROP).with_listing(POLICY_DROP_LISTING);
    let asked = probe("eth1 10.66.0.0/16 > any 22");
    assert_eq!(asked.to_string(), "10.66.0.0/16 -> any port 22");
    let Verdict::Dropped { by } = rules.forward(&asked) else {
        panic!("it is dropped")
    };
    assert_eq!(
        by.to_string(),
        format!(
            "inet filter forward, rule handle {} (ip saddr 10.66.0.0/16 drop)",
            by.handle.unwrap()
        )
    );
    let Verdict::Dropped { by } = rules.input(&probe("eth1 172.16.0.0/12 > any 22")) else {
        panic!("it is dropped")
    };
    assert_eq!(by.to_string(), "policy drop of inet filter input");
}
