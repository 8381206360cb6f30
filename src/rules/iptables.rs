//! The plan as text for `iptables-restore` and `ip6tables-restore`, for hosts without owned tables
//! (Linux before 5.18). Nobody owns these rules: whoever loads them removes them.
//!
//! TCPOPTSTRIP exists in the mangle table alone, so conntrack has seen the options by then (verified:
//! still nothing is INVALID, because the relay's stack and the firewall have not).

use std::fmt::Write;

use crate::config::Networks;

use super::plan::Plan;
use super::routes::Family;

/// What `iptables-restore --noflush` (or `ip6tables-restore --noflush`) loads.
pub fn restore(plan: &Plan, family: Family) -> String {
    let mark = format!("{0}/{0}", plan.mark);
    let interface = &plan.intercept.mangled_side;
    let (loopback, nets): (_, fn(&Networks) -> Vec<String>) = match family {
        Family::V4 => ("127.0.0.1", |nets| {
            nets.v4().map(|net| net.to_string()).collect()
        }),
        Family::V6 => ("::1", |nets| nets.v6().map(|net| net.to_string()).collect()),
    };
    let named = |switch: &str, networks: &Networks| -> Vec<String> {
        // One empty match stands for everywhere; no match at all for nowhere in this family.
        if networks.is_everywhere() {
            return vec![String::new()];
        }
        nets(networks)
            .iter()
            .map(|net| format!(" {switch} {net}"))
            .collect()
    };
    let (from, to) = (
        named("-s", &plan.intercept.from),
        named("-d", &plan.intercept.to),
    );
    let ports = plan.intercept.ports.to_string().replace(", ", ",");
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every write");
    let syn = "-p tcp --tcp-flags FIN,SYN,RST,ACK SYN";

    // nftables asks the routing table (`fib daddr oifname`); iptables cannot.
    line("# Name what lies beyond the mangled side with --to, or flows that never cross it are taken too.".into());
    line("*raw".into());
    for chain in ["UNMANGLE_TAKE", "UNMANGLE_OPEN", "UNMANGLE_SEND"] {
        line(format!(":{chain} - [0:0]"));
    }
    line("-A PREROUTING -j UNMANGLE_TAKE".into());
    line("-A OUTPUT -j UNMANGLE_SEND".into());
    line(format!(
        "-A UNMANGLE_TAKE -m socket --transparent --nowildcard -j MARK --set-xmark {mark}"
    ));
    line(format!(
        "-A UNMANGLE_TAKE {syn} -m multiport --dports {ports} -m addrtype --dst-type UNICAST -j UNMANGLE_OPEN"
    ));
    for (side, zone) in [("", plan.zones.mangled), ("! ", plan.zones.clean)] {
        line(format!(
            "-A UNMANGLE_TAKE {side}-i {interface} -m mark --mark {mark} -j CT --zone {zone}"
        ));
        line(format!(
            "-A UNMANGLE_SEND {side}-o {interface} -m addrtype ! --src-type LOCAL -j CT --zone {zone}"
        ));
    }
    for source in &from {
        for destination in &to {
            line(format!(
                "-A UNMANGLE_OPEN{source}{destination} -j MARK --set-xmark {mark}"
            ));
        }
    }
    line("COMMIT".into());

    line("*mangle".into());
    for chain in ["UNMANGLE_HAND", "UNMANGLE_STRIP", "UNMANGLE_SEND"] {
        line(format!(":{chain} - [0:0]"));
    }
    line("-A PREROUTING -j UNMANGLE_HAND".into());
    line("-A OUTPUT -j UNMANGLE_SEND".into());
    line(format!(
        "-A UNMANGLE_HAND -i {interface} -p tcp --tcp-flags SYN SYN -m mark --mark {mark} -j UNMANGLE_STRIP"
    ));
    for (side, port) in [("", plan.listen.mangled), ("! ", plan.listen.clean)] {
        line(format!(
            "-A UNMANGLE_HAND {side}-i {interface} {syn} -m mark --mark {mark} -j TPROXY --on-ip {loopback} \
             --on-port {port} --tproxy-mark {mark}"
        ));
    }
    line(format!(
        "-A UNMANGLE_SEND -o {interface} -p tcp --tcp-flags SYN SYN -m addrtype ! --src-type LOCAL -j UNMANGLE_STRIP"
    ));
    let mut options = Vec::new();
    if plan.strip.sack_permitted {
        options.push("sack-permitted");
    }
    if plan.strip.window_scale {
        options.push("wscale");
    }
    if !options.is_empty() {
        line(format!(
            "-A UNMANGLE_STRIP -p tcp -j TCPOPTSTRIP --strip-options {}",
            options.join(",")
        ));
    }
    if let Some(mss) = plan.mss {
        line(format!(
            "-A UNMANGLE_STRIP -p tcp --tcp-flags SYN SYN -j TCPMSS --set-mss {mss}"
        ));
    }
    line("COMMIT".into());
    text
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
        assert!(restore(&plan, Family::V4).contains("-A UNMANGLE_OPEN -s 10.0.0.0/8 -j MARK"));
        assert!(!restore(&plan, Family::V6).contains("-A UNMANGLE_OPEN"));
        assert!(restore(&plan, Family::V4).contains("--strip-options sack-permitted,wscale"));
    }
}
