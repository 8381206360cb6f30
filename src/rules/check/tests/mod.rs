//! Rulesets asked about packets: real ones (`rulesets`), and single rules (`details`).

mod details;
mod rulesets;

use ipnet::IpNet;

use super::{Probe, RuleRef, Ruleset, Verdict};

fn ruleset(json: &str) -> Ruleset {
    Ruleset::parse(json).expect("a fixture is what nft printed")
}

/// `eth1 10.0.0.0/8 > any 22`, with `eth1>eth0` where the way out is known; `any6` for `::/0`.
fn probe(text: &str) -> Probe {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [interfaces, from, ">", to, port] = words[..] else {
        panic!("not a probe: {text}")
    };
    let net = |text: &str| -> IpNet {
        match text {
            "any" => "0.0.0.0/0".parse().unwrap(),
            "any6" => "::/0".parse().unwrap(),
            _ => text
                .parse()
                .unwrap_or_else(|_| IpNet::from(text.parse::<std::net::IpAddr>().unwrap())),
        }
    };
    let (iif, oif) = interfaces.split_once('>').unwrap_or((interfaces, ""));
    let probe = Probe::new(iif, net(from), net(to), port.parse::<u16>().unwrap());
    if oif.is_empty() {
        probe
    } else {
        probe.leaving_by(oif)
    }
}

/// `passes`, `dropped: chain: rule`, `unsure: chain: rule` and ` | doubt: rule` where it is another.
fn told(verdict: &Verdict) -> String {
    let name = |rule: &RuleRef| format!("{}: {}", rule.chain, rule.text);
    match verdict {
        Verdict::Passes => "passes".to_owned(),
        Verdict::Dropped { by } => format!("dropped: {}", name(by)),
        Verdict::Unsure { by, doubt } if by == doubt => format!("unsure: {}", name(by)),
        Verdict::Unsure { by, doubt } => format!("unsure: {} | doubt: {}", name(by), doubt.text),
    }
}

#[track_caller]
fn check(ask: impl Fn(&Probe) -> Verdict, table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(question, expected)| (question, expected, told(&ask(&probe(question)))))
        .filter(|(_, expected, answer)| answer != *expected)
        .map(|(question, expected, answer)| format!("{question}\n  not {expected}\n  but {answer}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
