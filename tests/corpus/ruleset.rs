//! Any text as a host's ruleset: `nft -j list ruleset`, then, after a line of dashes, `nft -a list ruleset`.
//!
//! A probe is a set of packets, so what is certain of a set is certain of every part of it.

use std::mem::discriminant;

use unmangle::rules::check::{Mark, Probe, Ruleset, Verdict};

/// What must hold for any text.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (json, listing) = text.split_once("\n---\n").unwrap_or((text, ""));
    let parse = |json: &str| Ruleset::parse(json).map(|rules| rules.with_listing(listing));
    let Ok(ruleset) = parse(json) else {
        return;
    };
    for (all, part) in pairs() {
        for ask in [Ruleset::forward, Ruleset::input, Ruleset::output] {
            let verdict = ask(&ruleset, &all);
            let narrower = ask(&ruleset, &part);
            match &verdict {
                Verdict::Unsure { by, doubt } => {
                    let _ = (by.to_string(), doubt.accept_before("tcp dport 22"));
                }
                certain => assert_eq!(
                    discriminant(certain),
                    discriminant(&narrower),
                    "{certain:?} of {all}, {narrower:?} of {part}"
                ),
            }
        }
        if ruleset.dnat(&all).is_none() {
            let part = ruleset.dnat(&part);
            assert_eq!(part, None, "nothing of {all} is translated");
        }
    }
}

/// Sets of packets, each with a part of itself, of which as much or more is known.
fn pairs() -> Vec<(Probe, Probe)> {
    let probe =
        |from: &str, to: &str| Probe::new("eth1", from.parse().unwrap(), to.parse().unwrap(), 22);
    let wide = probe("0.0.0.0/0", "10.0.0.0/8");
    let narrow = probe("192.0.2.7/32", "10.1.0.0/16");
    let wide6 = probe("::/0", "2001:db8::/32");
    let narrow6 = probe("2001:db8:1::1/128", "2001:db8::5/128");
    vec![
        (wide.clone(), narrow.clone()),
        (wide.clone(), wide.clone().leaving_by("eth0")),
        (wide, narrow.marked(Mark::exactly(0x0200_0000))),
        (wide6.clone(), narrow6),
        (
            wide6.clone(),
            wide6.marked(Mark::bits(0x8000_0000, 0xf000_0000)),
        ),
    ]
}
