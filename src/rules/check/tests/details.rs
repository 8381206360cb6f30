//! Single rules, some of them such as not every kernel can load.

use super::{probe, ruleset, told};
use crate::rules::check::{Ruleset, Verdict};

fn forward_of(rule: &str, more: &str) -> Ruleset {
    rules_of("forward", rule, more)
}

/// One base chain with one rule, for what not every kernel can load.
fn rules_of(hook: &str, rule: &str, more: &str) -> Ruleset {
    ruleset(&format!(
        r#"{{"nftables": [
            {{"table": {{"family": "ip", "name": "t", "handle": 1}}}},
            {{"chain": {{"family": "ip", "table": "t", "name": "c", "handle": 1, "type": "filter",
                "hook": "{hook}", "prio": 0, "policy": "accept"}}}},
            {more}
            {{"rule": {{"family": "ip", "table": "t", "chain": "c", "handle": 2, "expr": [{rule}]}}}}
        ]}}"#
    ))
}

#[test]
fn what_is_not_understood_makes_the_answer_unsure() {
    let any = probe("eth0 any > any 22");
    for opaque in [
        r#"{"queue": {"num": 1}}"#,
        r#"{"xt": {"type": "target", "name": "TARPIT"}}"#,
        r#"{"jump": {"target": "nowhere"}}"#,
        r#"{"something new": {}}, {"drop": null}"#,
        r#"{"match": {"op": "==", "left": {"osf": {}}, "right": "Linux"}}, {"drop": null}"#,
        r#"{"match": {"op": "~", "left": {"meta": {"key": "mark"}}, "right": 1}}, {"drop": null}"#,
        r#"{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": 7}}, {"drop": null}"#,
        r#"{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@unlisted"}}"#,
    ] {
        let verdict = forward_of(opaque, "").forward(&any);
        assert!(
            matches!(verdict, Verdict::Unsure { .. }),
            "{opaque}: {verdict:?}"
        );
    }
}

#[test]
fn a_cycle_of_jumps_ends() {
    let chain = r#"{"chain": {"family": "ip", "table": "t", "name": "d", "handle": 3}},
        {"rule": {"family": "ip", "table": "t", "chain": "d", "handle": 4,
            "expr": [{"jump": {"target": "d"}}]}},
        {"rule": {"family": "ip", "table": "t", "chain": "d", "handle": 5,
            "expr": [{"jump": {"target": "d"}}]}},"#;
    let verdict =
        forward_of(r#"{"jump": {"target": "d"}}"#, chain).forward(&probe("eth0 any > any 22"));
    assert!(matches!(verdict, Verdict::Unsure { .. }), "{verdict:?}");
}

#[test]
fn parts_that_cover_the_whole_count_as_the_whole() {
    let verdict = |last: &str| {
        let set = format!(
            r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}},
                "right": {{"set": [{last}, {{"elem": {{"val": {{"prefix": {{"addr": "10.0.0.0",
                "len": 9}}}}, "timeout": 60}}}}]}}}}}}, {{"drop": null}}"#
        );
        told(&forward_of(&set, "").forward(&probe("eth0 10.0.0.0/8 > any 22")))
    };
    assert!(verdict(r#"{"range": ["10.128.0.0", "11.0.0.0"]}"#).starts_with("dropped"));
    assert!(verdict(r#"{"range": ["10.128.0.1", "11.0.0.0"]}"#).starts_with("unsure"));
    assert!(verdict(r#""*""#).starts_with("dropped"));
}

#[test]
fn a_transparent_socket_is_there_at_input_only() {
    let rule = r#"{"match": {"op": "==", "left": {"socket": {"key": "transparent"}}, "right": 1}},
        {"drop": null}"#;
    let any = probe("eth0 any > any 22");
    assert_eq!(rules_of("forward", rule, "").forward(&any), Verdict::Passes);
    assert!(matches!(
        rules_of("input", rule, "").input(&any),
        Verdict::Dropped { .. }
    ));
}

#[test]
fn text_that_is_no_ruleset_is_refused() {
    let error = |text: &str| Ruleset::parse(text).unwrap_err().to_string();
    assert!(error("").starts_with("the ruleset is not JSON"));
    assert!(error("{}").contains("nftables"));
    assert!(error(r#"{"nftables": [{"table": {"family": "ip"}}]}"#).contains("`name`"));
    assert_eq!(
        Ruleset::parse(r#"{"nftables": []}"#)
            .unwrap()
            .forward(&probe("eth0 any > any 22")),
        Verdict::Passes
    );
}

#[test]
fn opening_packets_have_no_routing_header() {
    // As ip6tables-nft makes it of `-m rt --rt-type 0`, and as nft has it itself.
    let module = r#"{"xt": {"type": "match", "name": "rt"}}, {"drop": null}"#;
    let native = r#"{"match": {"op": "==", "left": {"exthdr": {"name": "rt", "field": "type"}}, "right": 0}}, {"drop": null}"#;
    let json = |rule: &str| {
        format!(
            r#"{{"nftables": [{{"table": {{"family": "ip6", "name": "filter", "handle": 1}}}},
            {{"chain": {{"family": "ip6", "table": "filter", "name": "FORWARD", "handle": 1,
                "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}}}},
            {{"rule": {{"family": "ip6", "table": "filter", "chain": "FORWARD", "handle": 2, "expr": [{rule}]}}}}]}}"#
        )
    };
    let listing = |rule: &str| {
        format!(
            "table ip6 filter {{ # handle 1\n\tchain FORWARD {{ # handle 1\n\t\t{rule} # handle 2\n\t}}\n}}\n"
        )
    };
    let any = probe("eth0 any6 > any6 22");
    let drops = listing("rt type 0 counter packets 0 bytes 0 drop");
    let of_module = Ruleset::parse(&json(module)).unwrap().with_listing(&drops);
    assert_eq!(of_module.forward(&any), Verdict::Passes);
    assert_eq!(
        Ruleset::parse(&json(native)).unwrap().forward(&any),
        Verdict::Passes
    );
    let others = listing("rt type ! 0 counter packets 0 bytes 0 drop");
    let negated = Ruleset::parse(&json(module)).unwrap().with_listing(&others);
    assert!(matches!(negated.forward(&any), Verdict::Unsure { .. }));
}

#[test]
fn a_check_of_the_way_back_that_sees_marks_is_found_and_one_that_does_not_is_not() {
    let rule = |flags: &str| {
        format!(
            r#"{{"match": {{"op": "==", "left": {{"fib": {{"result": "oif", "flags": [{flags}]}}}}, "right": false}}}},
            {{"drop": null}}"#
        )
    };
    let of = |flags: &str| {
        ruleset(&format!(
            r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t", "handle": 1}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "c", "handle": 1}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 2, "expr": [{}]}}}}]}}"#,
            rule(flags)
        ))
    };
    // firewalld's, and the one that nft's manual has.
    let rules = [r#""saddr", "mark", "iif""#, r#""saddr", "iif""#].map(of);
    assert_eq!(
        rules.map(|rules| rules.marked_way_back().is_some()),
        [true, false]
    );
}
