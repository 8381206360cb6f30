//! What the relay is shown of packets that no socket shows: opening packets before they are stripped, and the
//! DSCP of segments. The rules log them to a netlink group that the relay reads.
//!
//! What has no DSCP and never had one costs a look into a set, and is not shown. Else each value that a flow
//! has is shown once a second, so that the last one shown is soon the last one there was, whatever was lost.

use std::fmt::Write;

use super::nft::rule;
use super::plan::Shown;
use crate::config::Mark;
use crate::packet::nflog::{GROUP, MOST};

/// How long a flow that had a DSCP is watched after it has lost it.
const MARKED_FOR: &str = "1m";
/// How often the same value of the same flow is shown.
const SHOWN_EVERY: &str = "1s";
/// Flows that are watched at a time; the DSCP of more is not kept.
const MOST_FLOWS: u32 = 65_536;

/// The sets with the chain that asks them; and what stands in the chain of everything that is the relay's, before
/// it is stripped.
pub fn statements(shown: Shown, mark: Mark) -> [String; 2] {
    let mut rules = String::new();
    let ours = format!("meta mark & {mark} == {mark}");
    if shown == Shown::Nothing {
        return [String::new(), rules];
    }
    if shown == Shown::DscpAndOffers {
        rule(
            &mut rules,
            &format!(
                "{ours} tcp flags & (fin | syn | rst | ack) == syn log group {GROUP} snaplen {MOST}"
            ),
        );
    }
    rule(&mut rules, &format!("{ours} meta l4proto tcp jump dscp"));
    [chain(), rules]
}

fn chain() -> String {
    let (mut sets, mut rules) = (String::new(), String::new());
    for (family, ip) in [("4", "ip"), ("6", "ip6")] {
        let address = format!("ipv{family}_addr");
        let flow = format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport");
        write!(
            sets,
            "\tset marked{family} {{\n\t\ttype {address} . inet_service . {address} . inet_service\n\
             \t\tflags dynamic,timeout; timeout {MARKED_FOR}; size {MOST_FLOWS}\n\t}}\n\n\
             \tset shown{family} {{\n\t\ttype {address} . inet_service . {address} . inet_service . dscp\n\
             \t\tflags dynamic,timeout; timeout {SHOWN_EVERY}; size {MOST_FLOWS}\n\t}}\n\n"
        )
        .expect("a String takes every write");
        for line in [
            format!("{ip} dscp cs0 {flow} != @marked{family} return"),
            format!("{flow} . {ip} dscp @shown{family} return"),
            format!("update @marked{family} {{ {flow} }}"),
            format!("add @shown{family} {{ {flow} . {ip} dscp }}"),
        ] {
            rule(&mut rules, &line);
        }
    }
    format!(
        "\t# Whose DSCP is to be kept, and which values of it the relay was shown of late.\n{sets}\
         \tchain dscp {{\n{rules}\t\tlog group {GROUP} snaplen {MOST}\n\t}}\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_segments_are_logged_only_when_their_offers_are_told() {
        let mark = crate::config::DEFAULT_MARK;
        let logs = |shown| {
            let [chain, rules] = statements(shown, mark);
            [chain, rules].map(|text| text.matches("log group 21837").count())
        };
        assert_eq!(logs(Shown::Nothing), [0, 0]);
        assert_eq!(logs(Shown::Dscp), [1, 0]);
        assert_eq!(logs(Shown::DscpAndOffers), [1, 1]);
    }
}
