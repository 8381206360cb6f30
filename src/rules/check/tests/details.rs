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
