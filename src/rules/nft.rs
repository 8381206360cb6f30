//! The plan as nftables text.
//!
//! | hook | priority | what happens there |
//! | --- | --- | --- |
//! | prerouting | raw - 10 | packets of the relay's legs and opening packets get the mark; options are stripped |
//! | prerouting | raw | marked packets get the zone of their leg |
//! | prerouting | mangle | opening packets go to the listener (`tproxy`) |
//! | output | raw - 10 | options are stripped from what the relay sends to the mangled side |
//! | output | raw | what the relay sends gets the zone of its leg |
//!
//! Stripping precedes conntrack (-200) and the relay's own TCP stack, so both see what the firewall sees.

use std::fmt::Write;

use super::plan::Plan;

/// The one table: `inet unmangle`.
pub const TABLE: &str = "unmangle";

/// Who keeps the table alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The process that loads it: the kernel removes the table when that process ends, however it ends.
    Process,
    /// Nobody: it stays until it is deleted. A printed plan is of this kind, because an owned table
    /// would vanish as `nft -f` returns.
    Nobody,
}

/// The whole table, ready for `nft -f`.
pub fn table(plan: &Plan, ownership: Ownership) -> String {
    let mark = plan.mark;
    let interface = &plan.intercept.mangled_side;
    let (mangled_zone, clean_zone) = (plan.zones.mangled, plan.zones.clean);
    let (mangled_port, clean_port) = (plan.listen.mangled, plan.listen.clean);
    let owner = match ownership {
        Ownership::Process => "\tflags owner\n\n",
        Ownership::Nobody => "",
    };
    let open = open_rules(plan);
    let strip = strip_rules(plan);
    format!(
        r#"table inet {TABLE} {{
{owner}	# What is the relay's: the packets of its legs (ICMP errors too), and the packets that open a connection.
	chain take {{
		type filter hook prerouting priority raw - 10; policy accept;
		socket transparent 1 meta mark set meta mark | {mark}
		tcp flags & (fin | syn | rst | ack) == syn jump open
		meta mark & {mark} == {mark} iifname "{interface}" tcp flags & syn == syn jump strip
	}}

	chain open {{
{open}	}}

	# What the firewall would get wrong is not negotiated.
	chain strip {{
{strip}	}}

	# Both legs carry the same addresses and ports: each has a zone of its own.
	chain zone {{
		type filter hook prerouting priority raw; policy accept;
		meta mark & {mark} == {mark} iifname "{interface}" ct zone set {mangled_zone}
		meta mark & {mark} == {mark} iifname != "{interface}" ct zone set {clean_zone}
	}}

	chain hand {{
		type filter hook prerouting priority mangle; policy accept;
		meta mark & {mark} == {mark} tcp flags & (fin | syn | rst | ack) == syn jump deliver
	}}

	chain deliver {{
		meta nfproto ipv4 meta l4proto tcp iifname "{interface}" tproxy ip to 127.0.0.1:{mangled_port} accept
		meta nfproto ipv6 meta l4proto tcp iifname "{interface}" tproxy ip6 to [::1]:{mangled_port} accept
		meta nfproto ipv4 meta l4proto tcp tproxy ip to 127.0.0.1:{clean_port} accept
		meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:{clean_port} accept
	}}

	# What the relay sends bears an address that is not this host's.
	chain send {{
		type filter hook output priority raw - 10; policy accept;
		fib saddr type != local oifname "{interface}" tcp flags & syn == syn jump strip
	}}

	chain send_zone {{
		type filter hook output priority raw; policy accept;
		fib saddr type != local oifname "{interface}" ct zone set {mangled_zone}
		fib saddr type != local oifname != "{interface}" ct zone set {clean_zone}
	}}
}}
"#
    )
}

/// What takes no new connection, and leaves the running ones their rules.
pub fn drain() -> String {
    format!("flush chain inet {TABLE} open; flush chain inet {TABLE} deliver")
}

/// The same text on one line, without comments: what `nft -i` reads as one transaction.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        line.push_str(part);
        line.push_str(if part.ends_with(['{', ';']) {
            " "
        } else {
            "; "
        });
    }
    line.trim_end_matches([' ', ';']).to_owned()
}

/// What matches the intercepted packets, for a host whose INPUT would drop them. It is typed into a
/// shell, to which `&` would mean something else.
pub fn input_match(plan: &Plan) -> String {
    format!("meta mark and {0} == {0}", plan.mark)
}

/// Marks an opening packet if it crosses from one side to the other and is among those that are wanted.
fn open_rules(plan: &Plan) -> String {
    let mark = plan.mark;
    let interface = &plan.intercept.mangled_side;
    let ports = &plan.intercept.ports;
    let mut rules = String::new();
    let mut rule = |text: &str| writeln!(rules, "\t\t{text}").expect("a String takes every write");
    rule(&format!("tcp dport != {{ {ports} }} return"));
    rule("fib daddr type != unicast return");
    for (field, networks) in [
        ("saddr", &plan.intercept.from),
        ("daddr", &plan.intercept.to),
    ] {
        if networks.is_everywhere() {
            continue;
        }
        let v4: Vec<_> = networks.v4().map(|net| net.to_string()).collect();
        let v6: Vec<_> = networks.v6().map(|net| net.to_string()).collect();
        for (family, header, list) in [("ipv4", "ip", v4), ("ipv6", "ip6", v6)] {
            if list.is_empty() {
                rule(&format!("meta nfproto {family} return"));
            } else {
                rule(&format!(
                    "{header} {field} != {{ {} }} return",
                    list.join(", ")
                ));
            }
        }
    }
    rule(&format!(
        "iifname \"{interface}\" fib daddr oifname != \"{interface}\" meta mark set meta mark | {mark}"
    ));
    rule(&format!(
        "iifname != \"{interface}\" fib daddr oifname \"{interface}\" meta mark set meta mark | {mark}"
    ));
    rules
}

fn strip_rules(plan: &Plan) -> String {
    let mut rules = String::new();
    if plan.strip.sack_permitted {
        rules.push_str("\t\treset tcp option sack-perm\n");
    }
    if plan.strip.window_scale {
        rules.push_str("\t\treset tcp option window\n");
    }
    if let Some(mss) = plan.mss {
        writeln!(
            rules,
            "\t\ttcp flags & syn == syn tcp option maxseg size set {mss}"
        )
        .expect("a String takes every write");
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Intercept, Networks, Profile};
    use crate::rules::ListenPorts;

    fn plan(profile: &str) -> Plan {
        let intercept = Intercept {
            ports: "22,873".parse().unwrap(),
            from: Networks::parse(["10.0.0.0/8"]).unwrap(),
            to: Networks::default(),
            mangled_side: "fw0".parse().unwrap(),
        };
        let profile: Profile = profile.parse().unwrap();
        Plan::new(
            intercept,
            &profile,
            ListenPorts {
                mangled: 4001,
                clean: 4002,
            },
        )
    }

    #[test]
    fn a_printed_plan_has_no_owner_or_it_would_vanish_as_it_is_loaded() {
        assert!(!table(&plan("cisco-pix"), Ownership::Nobody).contains("owner"));
        assert!(table(&plan("cisco-pix"), Ownership::Process).contains("flags owner"));
    }

    #[test]
    fn the_profile_decides_what_is_stripped() {
        let stripped = |profile| strip_rules(&plan(profile));
        assert_eq!(stripped("clean"), "");
        assert_eq!(stripped("isn-rewrite"), "\t\treset tcp option sack-perm\n");
        assert_eq!(stripped("wscale-strip"), "\t\treset tcp option window\n");
        assert!(stripped("cisco-pix").contains("maxseg size set 940"));
    }

    #[test]
    fn sources_of_one_family_leave_the_other_alone() {
        let rules = open_rules(&plan("clean"));
        assert!(rules.contains("ip saddr != { 10.0.0.0/8 } return"));
        assert!(rules.contains("meta nfproto ipv6 return"));
    }

    #[test]
    fn one_line_keeps_every_statement_apart() {
        assert_eq!(
            one_line("a {\n\t# why\n\tb c;\n\n\td\n}\n"),
            "a { b c; d; }"
        );
    }
}
