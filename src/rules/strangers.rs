//! Segments of connections that this host neither relays nor tracks: another gateway has relayed theirs, so their
//! sequence numbers are those of one leg, and the host at the other end would call them INVALID.
//!
//! They meet the forward hook, because no socket of the relay wants them. Who sent one is reset there; the relay is shown
//! it, and has the other end told with a segment of its own, a *probe*: see `relay/strangers`.

use std::fmt::Write;

use super::nft::rule;
use super::plan::{Capture, Plan, Shown};
use super::select::{Selection, Selector};
use crate::config::{Interface, Strangers};
use crate::packet::nflog::{GROUP, MOST, SentBy};

/// How many the relay is shown a second; those beyond are answered all the same.
const SHOWN_A_SECOND: u32 = 5000;

/// What the table gets.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// Whole chains.
    pub chains: String,
    /// What stands first in the chain of what the relay sends.
    pub send: String,
}

/// What answers strangers, and what makes a probe of an opening segment of the relay's.
pub(super) fn chains(plan: &Plan, sides: &str) -> Chains {
    if plan.strangers == Strangers::Forward {
        return Chains::default();
    }
    let mut text = String::from(
        "\t# Segments of connections that nobody here knows: another gateway has relayed them. Both ends are reset.\n\
         \tchain strangers {\n\t\ttype filter hook forward priority filter - 10; policy accept;\n\
         \t\tct state { established, related, untracked } return\n",
    );
    let mut probe = String::new();
    for interception in plan
        .interceptions
        .iter()
        .filter(|each| each.capture == Capture::Gateway)
    {
        let selection = Selection::from(&interception.intercept);
        let side = &interception.intercept.mangled_side;
        for by in SentBy::BOTH {
            cross(&mut text, side, sides, selection.after_the_syn(by), by);
        }
        for Selector { text, .. } in selection.opened_by_the_acceptor() {
            rule(&mut probe, &format!("{text}tcp flags set (syn | ack)"));
        }
    }
    text.push_str("\t}\n\n");
    for by in SentBy::BOTH {
        answer(&mut text, by, plan.shown);
    }
    write!(
        text,
        "\t# In the name of the server a SYN would be INVALID at the client, a SYN-ACK is not. Nobody here needs to\n\
         \t# know of either.\n\
         \tchain probe {{\n{probe}\t\tnotrack\n\t}}\n\n"
    )
    .expect("a String takes every write");
    let mut send = String::new();
    rule(
        &mut send,
        &format!(
            "meta mark & {0} == {0} tcp flags & (fin | syn | rst | ack) == syn jump probe",
            plan.dial_mark
        ),
    );
    Chains { chains: text, send }
}

/// Both ways across the relay, as connections are intercepted.
fn cross(text: &mut String, side: &Interface, sides: &str, selectors: Vec<Selector>, by: SentBy) {
    for ways in [
        format!("iifname \"{side}\" oifname != {sides}"),
        format!("iifname != {sides} oifname \"{side}\""),
    ] {
        for Selector { text: segments, .. } in &selectors {
            rule(text, &format!("{ways} {segments}goto {}", name(by)));
        }
    }
}

/// A reset is answered by none, and goes no further.
fn answer(text: &mut String, by: SentBy, shown: Shown) {
    writeln!(text, "\tchain {} {{", name(by)).expect("a String takes every write");
    if shown != Shown::Nothing {
        rule(
            text,
            &format!(
                "limit rate {SHOWN_A_SECOND}/second burst {SHOWN_A_SECOND} packets log prefix \"{}\" group {GROUP} \
                 snaplen {MOST}",
                by.prefix()
            ),
        );
    }
    rule(text, "counter reject with tcp reset");
    text.push_str("\t}\n\n");
}

fn name(by: SentBy) -> &'static str {
    match by {
        SentBy::Opener => "stranger_opener",
        SentBy::Acceptor => "stranger_acceptor",
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn nothing_is_answered_unless_it_was_asked_for() {
        let Chains { chains, send } = chains(&plan(), "\"fw0\"");
        assert_eq!(chains + &send, "");
    }

    #[test]
    fn what_either_end_sends_is_answered_and_shown_with_who_sent_it() {
        let plan = Plan {
            strangers: Strangers::Reset,
            shown: Shown::Dscp,
            ..plan()
        };
        let Chains { chains, send } = chains(&plan, "\"fw0\"");
        for line in [
            "iifname \"fw0\" oifname != \"fw0\" tcp flags & (fin | syn | rst | ack) != syn tcp dport { 22 } goto stranger_opener\n",
            "iifname != \"fw0\" oifname \"fw0\" tcp flags & (fin | syn | rst | ack) != syn tcp sport { 22 } goto stranger_acceptor\n",
            "log prefix \"stranger acceptor\" group 21837 snaplen 128\n",
            "tcp sport { 22 } tcp flags set (syn | ack)\n\t\tnotrack\n",
        ] {
            assert!(chains.contains(line), "{line} is not in {chains}");
        }
        assert_eq!(chains.matches("goto stranger").count(), 4, "{chains}");
        assert_eq!(chains.matches("reject with tcp reset").count(), 2);
        assert!(
            send.contains("meta mark & 0x04000000 == 0x04000000 tcp flags"),
            "{send}"
        );
    }

    #[test]
    fn rules_that_nobody_reads_about_answer_and_show_nothing() {
        let plan = Plan {
            strangers: Strangers::Reset,
            ..plan()
        };
        let Chains { chains, .. } = chains(&plan, "\"fw0\"");
        assert!(!chains.contains("log"), "{chains}");
        assert_eq!(chains.matches("reject").count(), 2, "{chains}");
    }
}
