//! The plan as text for `iptables-restore` and `ip6tables-restore`, for hosts without owned tables
//! (Linux before 5.18). Nobody owns these rules: whoever loads them removes them.
//!
//! TCPOPTSTRIP exists in the mangle table alone, so conntrack has seen the options by then (verified:
//! still nothing is INVALID, because the relay's stack and the firewall have not).

use std::fmt::Write;

use crate::config::{Mark, Networks, Strip};

use super::plan::{Holding, Plan, Tracking};
use super::queue_rule;
use super::routes::Family;
use super::select::{Opening, Selection};

/// How the names of all chains begin that are not the kernel's.
pub(super) const PREFIX: &str = "UNMANGLE";

/// What nftables does and these rules do not.
const LACKS: [&str; 5] = [
    "# Other than the rules for nftables, these",
    "# - take a SYN whichever way it would leave: name what lies beyond the mangled side with --to;",
    "# - show conntrack what was offered before they strip it;",
    "# - leave the URG flag as it is, which only the engine `splice` copes with;",
    "# - route late packets of a leg that the relay has closed to the other host, which may call them INVALID.",
];

/// What `iptables-restore --noflush` (or `ip6tables-restore --noflush`) loads.
pub fn restore(plan: &Plan, family: Family) -> String {
    let mut text = String::new();
    if plan.interceptions.is_empty() {
        borrowing(&mut text, plan);
        return text;
    }
    for lacking in LACKS {
        line(&mut text, lacking);
    }
    raw(&mut text, plan, family);
    mangle(&mut text, plan, family);
    if let Some(holding) = plan.hold {
        filter(&mut text, holding, family);
    }
    text
}

/// The program that takes single rules.
pub(super) fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// For clients whose addresses are dialled from: what is sent to these is the relay's.
fn borrowing(text: &mut String, plan: &Plan) {
    line(text, LACKS[0]);
    line(text, LACKS[4]);
    line(text, "*raw");
    line(text, ":UNMANGLE_TAKE - [0:0]");
    line(text, "-A PREROUTING -j UNMANGLE_TAKE");
    let mark = format!("{0}/{0}", plan.mark);
    line(
        text,
        &format!("-A UNMANGLE_TAKE {OURS} -j MARK --set-xmark {mark}"),
    );
    line(text, "COMMIT");
}

/// Packets of the relay's own legs.
const OURS: &str = "-m socket --transparent --nowildcard";

pub(super) const SYN: &str = "-p tcp --tcp-flags FIN,SYN,RST,ACK SYN";

pub(super) const SYN_ACK: &str = "-p tcp --tcp-flags FIN,SYN,RST,ACK SYN,ACK";

/// Marks what is the relay's, and keeps its legs apart in conntrack.
fn raw(text: &mut String, plan: &Plan, family: Family) {
    let mut signed = false;
    let mark = format!("{0}/{0}", plan.mark);
    line(text, "*raw");
    for chain in [
        "UNMANGLE_TAKE",
        "UNMANGLE_OPEN",
        "UNMANGLE_ZONE",
        "UNMANGLE_SENT",
    ] {
        line(text, &format!(":{chain} - [0:0]"));
    }
    line(text, "-A PREROUTING -j UNMANGLE_TAKE");
    if let Some(holding) = plan.hold {
        line(
            text,
            &format!("-A PREROUTING {}", queue_rule::rule(holding)),
        );
    }
    line(
        text,
        "-A OUTPUT -m addrtype ! --src-type LOCAL -j UNMANGLE_SENT",
    );
    line(
        text,
        &format!("-A UNMANGLE_TAKE {OURS} -j MARK --set-xmark {mark}"),
    );
    line(
        text,
        &format!("-A UNMANGLE_TAKE {SYN} -m addrtype --dst-type UNICAST -j UNMANGLE_OPEN"),
    );
    line(
        text,
        &format!("-A UNMANGLE_TAKE -m mark --mark {mark} -j UNMANGLE_ZONE"),
    );
    match plan.tracking {
        Tracking::Zones(zones) => {
            for (chain, direction) in [("ZONE", "-i"), ("SENT", "-o")] {
                for side in plan.mangled_sides() {
                    line(
                        text,
                        &format!(
                            "-A UNMANGLE_{chain} {direction} {side} -j CT --zone {}",
                            zones.mangled
                        ),
                    );
                    line(
                        text,
                        &format!("-A UNMANGLE_{chain} {direction} {side} -j RETURN"),
                    );
                }
                line(
                    text,
                    &format!("-A UNMANGLE_{chain} -j CT --zone {}", zones.clean),
                );
            }
        }
        Tracking::Notrack => {
            for chain in ["ZONE", "SENT"] {
                line(text, &format!("-A UNMANGLE_{chain} -j CT --notrack"));
            }
        }
    }
    for interception in &plan.interceptions {
        let hold = plan.hold.filter(|_| interception.held);
        let set = Mark(plan.mark.0 | hold.map_or(0, |holding| holding.mark.hold()));
        for matches in selected(&interception.intercept, family, Opening::Syn) {
            // First of all, what is signed end to end is left alone: TCP-MD5, TCP-AO.
            if !std::mem::replace(&mut signed, true) {
                for option in [19, 29] {
                    line(
                        text,
                        &format!("-A UNMANGLE_OPEN -p tcp --tcp-option {option} -j RETURN"),
                    );
                }
            }
            line(
                text,
                &format!("-A UNMANGLE_OPEN -p tcp{matches} -j MARK --set-xmark {set}/{set}"),
            );
        }
    }
    line(text, "COMMIT");
}

/// Hands opening packets to the listeners, and strips them.
fn mangle(text: &mut String, plan: &Plan, family: Family) {
    let mark = format!("{0}/{0}", plan.mark);
    let loopback = match family {
        Family::V4 => "127.0.0.1",
        Family::V6 => "::1",
    };
    line(text, "*mangle");
    for chain in ["UNMANGLE_HAND", "UNMANGLE_SEND"] {
        line(text, &format!(":{chain} - [0:0]"));
    }
    for index in 0..plan.interceptions.len() {
        line(text, &format!(":UNMANGLE_STRIP_{index} - [0:0]"));
    }
    line(
        text,
        &format!("-A PREROUTING -m mark --mark {mark} -j UNMANGLE_HAND"),
    );
    line(
        text,
        "-A OUTPUT -m addrtype ! --src-type LOCAL -j UNMANGLE_SEND",
    );
    if let Some(holding) = plan.hold {
        let all = holding.mark.network_unreachable();
        let unanswered = format!("-A UNMANGLE_HAND {SYN} -m mark ! --mark 0/{all:#x}");
        // Without the relay's mark they are routed on, to FORWARD, where they are answered.
        line(
            text,
            &format!("{unanswered} -j MARK --set-xmark 0/{}", plan.mark),
        );
        line(text, &format!("{unanswered} -j RETURN"));
    }
    // TPROXY ends the walk: stripping comes first.
    for (index, interception) in plan.interceptions.iter().enumerate() {
        let side = &interception.intercept.mangled_side;
        for opening in [Opening::Syn, Opening::SynAck] {
            for matches in selected(&interception.intercept, family, opening) {
                let flags = match opening {
                    Opening::Syn => SYN,
                    Opening::SynAck => SYN_ACK,
                };
                for (chain, direction) in [("HAND", "-i"), ("SEND", "-o")] {
                    line(
                        text,
                        &format!(
                            "-A UNMANGLE_{chain} {direction} {side} {flags}{matches} -j UNMANGLE_STRIP_{index}"
                        ),
                    );
                }
            }
        }
        let chain = format!("UNMANGLE_STRIP_{index}");
        for rule in strip(&chain, interception.strip, interception.mss, family) {
            line(text, &rule);
        }
    }
    for interception in &plan.interceptions {
        let interface = &interception.intercept.mangled_side;
        let listen = interception.listen;
        for (side, port) in [("", listen.mangled), ("! ", listen.clean)] {
            for matches in selected(&interception.intercept, family, Opening::Syn) {
                line(
                    text,
                    &format!(
                        "-A UNMANGLE_HAND {side}-i {interface} {SYN}{matches} -j TPROXY --on-ip {loopback} \
                         --on-port {port} --tproxy-mark {mark}"
                    ),
                );
            }
        }
    }
    line(text, "COMMIT");
}

/// The bits that are set on packets whose servers are not to be had, with what answers them.
fn answers(holding: Holding, family: Family) -> [(u32, &'static str); 3] {
    let mark = holding.mark;
    let [host, network] = match family {
        Family::V4 => ["icmp-host-unreachable", "icmp-net-unreachable"],
        Family::V6 => ["icmp6-addr-unreachable", "icmp6-no-route"],
    };
    [
        (mark.refused(), "tcp-reset"),
        (mark.host_unreachable(), host),
        (mark.network_unreachable(), network),
    ]
}

/// Answers the clients of servers that are not to be had. REJECT knows INPUT, FORWARD and OUTPUT alone, so
/// their packets are routed as if there were no relay.
fn filter(text: &mut String, holding: Holding, family: Family) {
    let all = holding.mark.network_unreachable();
    line(text, "*filter");
    line(text, ":UNMANGLE_ANSWER - [0:0]");
    let any = format!("{SYN} -m mark ! --mark 0/{all:#x}");
    line(text, &format!("-I FORWARD {any} -j UNMANGLE_ANSWER"));
    for (bits, with) in answers(holding, family) {
        line(
            text,
            &format!(
                "-A UNMANGLE_ANSWER -p tcp -m mark --mark {bits:#x}/{all:#x} -j REJECT --reject-with {with}"
            ),
        );
    }
    line(text, "COMMIT");
}

/// What a chain says to strip what a profile forbids; one line each.
pub(super) fn strip(chain: &str, strip: Strip, mss: Option<u16>, family: Family) -> Vec<String> {
    let mut lines = Vec::new();
    let options: Vec<_> = [
        ("sack-permitted", strip.sack_permitted),
        ("wscale", strip.window_scale),
        ("timestamp", strip.timestamps),
    ]
    .into_iter()
    .filter_map(|(option, stripped)| stripped.then_some(option))
    .collect();
    let chain = format!("-A {chain} -p tcp");
    if !options.is_empty() {
        let options = options.join(",");
        lines.push(format!("{chain} -j TCPOPTSTRIP --strip-options {options}"));
    }
    if strip.ecn {
        lines.push(match family {
            Family::V4 => format!("{chain} -j ECN --ecn-tcp-remove"),
            Family::V6 => "# ip6tables has no target that takes the offer of ECN away.".to_owned(),
        });
    }
    if let Some(mss) = mss {
        lines.push(format!(
            "{chain} --tcp-flags SYN SYN -j TCPMSS --set-mss {mss}"
        ));
    }
    lines
}

/// Ports and networks of SYNs or SYN-ACKs, once for each pair of networks; each match follows a blank.
pub(super) fn selected<'a>(
    selection: impl Into<Selection<'a>>,
    family: Family,
    opening: Opening,
) -> Vec<String> {
    let Selection { ports, from, to } = selection.into();
    let (port, source, destination) = match opening {
        Opening::Syn => ("--dports", "-s", "-d"),
        Opening::SynAck => ("--sports", "-d", "-s"),
    };
    let named = |switch: &str, networks: &Networks| -> Vec<String> {
        // One empty match stands for everywhere; no match at all for nowhere in this family.
        if networks.is_everywhere() {
            return vec![String::new()];
        }
        match family {
            Family::V4 => networks
                .v4()
                .map(|net| format!(" {switch} {net}"))
                .collect(),
            Family::V6 => networks
                .v6()
                .map(|net| format!(" {switch} {net}"))
                .collect(),
        }
    };
    // `multiport` takes 15 ports at most.
    let ports: Vec<String> = match ports {
        None => vec![String::new()],
        Some(ports) => {
            let all: Vec<_> = ports.iter().map(|port| port.to_string()).collect();
            let some = |some: &[String]| format!(" -m multiport {port} {}", some.join(","));
            all.chunks(15).map(some).collect()
        }
    };
    let mut selected = Vec::new();
    for ports in ports {
        for from in named(source, from) {
            for to in named(destination, to) {
                selected.push(format!("{ports}{from}{to}"));
            }
        }
    }
    selected
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Intercept, Profile};
    use crate::rules::ListenPorts;

    #[test]
    fn networks_of_one_family_leave_the_other_without_a_match() {
        let intercept = Intercept {
            ports: "22".parse().unwrap(),
            from: Networks::parse(["10.0.0.0/8"]).unwrap(),
            to: Networks::default(),
            mangled_side: "fw0".parse().unwrap(),
        };
        let profile: Profile = "cisco-pix".parse().unwrap();
        let plan = Plan::new(
            intercept,
            &profile,
            ListenPorts {
                mangled: 4001,
                clean: 4002,
            },
        );
        assert!(restore(&plan, Family::V4).contains("--dports 22 -s 10.0.0.0/8 -j MARK"));
        assert!(!restore(&plan, Family::V6).contains("-A UNMANGLE_OPEN"));
        assert!(restore(&plan, Family::V4).contains("--strip-options sack-permitted,wscale"));
    }
}
