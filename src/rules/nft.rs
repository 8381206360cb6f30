//! The plan as nftables text.
//!
//! | hook | priority | what happens there |
//! | --- | --- | --- |
//! | prerouting | raw - 10 | packets of the relay's legs and opening packets get the mark; options are stripped |
//! | prerouting | raw - 5 | opening packets wait for the server's answer, if they are to ([`hold`]) |
//! | prerouting | raw | marked packets get the zone of their leg |
//! | prerouting | mangle | opening packets go to the listener (`tproxy`) |
//! | output | raw - 10 | options are stripped from what the relay sends to the mangled side; ended legs are noted |
//! | output | raw | what the relay sends gets the zone of its leg |
//! | forward | filter - 10 | segments that another gateway has relayed are answered, if they are to be ([`strangers`]) |
//!
//! Stripping precedes conntrack (-200) and the relay's own TCP stack, so both see what the firewall sees.

use std::fmt::Write;

use super::hold;
use super::plan::{Interception, Plan, Tracking, Zones};
use super::routes::Family;
use super::select::{Opening, Selection, Selector, signed};
use super::{show, sidecar, strangers, strip};
use crate::config::Mark;

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

impl Ownership {
    /// The line that says so in a table.
    pub(super) fn flags(self) -> &'static str {
        match self {
            Ownership::Process => "\tflags owner\n\n",
            Ownership::Nobody => "",
        }
    }
}

/// The whole table, ready for `nft -f`.
pub fn table(plan: &Plan, ownership: Ownership) -> String {
    if plan.interceptions.is_empty() {
        return borrowing(plan, ownership);
    }
    if plan.has_sidecars() {
        return sidecar::table(plan, ownership);
    }
    let mark = plan.mark;
    let owner = ownership.flags();
    let ended_legs = ended_legs();
    let signed = signed();
    let sides = sides(plan);
    let Chains {
        arrive,
        send,
        open,
        strip,
        deliver,
    } = chains(plan, &sides);
    let ours = format!("meta mark & {mark} == {mark}");
    let [late, end] = ended(mark);
    let Places { arrive, zone_at } = Places::of(plan, arrive);
    let hold = plan.hold.map(hold::chain).unwrap_or_default();
    let answers = plan
        .hold
        .map(|holding| hold::answers(mark, holding))
        .unwrap_or_default();
    let urgent = urgent();
    let strangers::Chains {
        chains: strangers,
        send: probe,
    } = strangers::chains(plan, &sides);
    let [shown, show] = show::statements(plan.shown, mark);
    let [zone, send_zone] = [
        (ours.as_str(), "iifname"),
        ("fib saddr type != local", "oifname"),
    ]
    .map(|(matches, direction)| track(plan.tracking, matches, direction, &sides));
    format!(
        r#"table inet {TABLE} {{
{owner}{ended_legs}{shown}	# What is the relay's: the packets of its legs (ICMP errors too), and the packets that open a connection.
	chain take {{
		type filter hook prerouting priority raw - 10; policy accept;
		socket transparent 1 meta mark set meta mark | {mark}
		tcp flags & (fin | syn | rst | ack) == syn fib daddr type unicast jump open
		{ours} tcp flags & urg == urg jump urgent
{show}{late}{arrive}

	# Nothing is urgent to the relay: such a byte stays in its place in the stream.
	chain urgent {{
{urgent}	}}

	# From a mangled side to another interface, or back. What is signed end to end (TCP-MD5, TCP-AO) is
	# left alone.
	chain open {{
{signed}{open}	}}

{hold}{strip}	# Both legs carry the same addresses and ports, and would collide in one table.
	chain zone {{
		type filter hook prerouting priority {zone_at}; policy accept;
{zone}	}}

	chain hand {{
		type filter hook prerouting priority mangle; policy accept;
{answers}		{ours} tcp flags & (fin | syn | rst | ack) == syn jump deliver
	}}

	chain deliver {{
{deliver}	}}

	# What the relay sends bears an address that is not this host's.
	chain send {{
		type filter hook output priority raw - 10; policy accept;
{probe}{send}{end}	}}

{strangers}	chain send_zone {{
		type filter hook output priority raw; policy accept;
{send_zone}	}}
}}
"#
    )
}

/// Where stripping and zones stand: behind the queue, where packets are held, so that the relay sees what
/// the client has asked for, and iptables' queue stands at raw.
struct Places {
    arrive: String,
    zone_at: &'static str,
}

impl Places {
    fn of(plan: &Plan, arrive: String) -> Self {
        if plan.hold.is_none() {
            return Self {
                arrive: format!("{arrive}\t}}"),
                zone_at: "raw",
            };
        }
        let own = "\n\tchain arrive {\n\t\ttype filter hook prerouting priority raw + 5; policy accept;\n";
        Self {
            arrive: format!("\t}}\n{own}{arrive}\t}}"),
            zone_at: "raw + 10",
        }
    }
}

/// The table of a plan that takes no connection: answers to the clients' addresses that forwarded
/// connections are dialled from come to this host. They share their addresses with no other leg.
fn borrowing(plan: &Plan, ownership: Ownership) -> String {
    let mark = plan.mark;
    let owner = ownership.flags();
    let ended_legs = ended_legs();
    let [late, end] = ended(mark);
    format!(
        r#"table inet {TABLE} {{
{owner}{ended_legs}	# What is the relay's: the packets of its legs (ICMP errors too).
	chain take {{
		type filter hook prerouting priority raw - 10; policy accept;
		socket transparent 1 meta mark set meta mark | {mark}
{late}	}}

	chain send {{
		type filter hook output priority raw - 10; policy accept;
{end}	}}
}}
"#
    )
}

/// The sets that [`ended`] fills.
fn ended_legs() -> String {
    let mut text = String::from(
        "\t# Legs that the relay has closed, as the peer's packets name them. What still comes on one, and finds\n\
         \t# no socket, must not reach the other host, which would call it INVALID.\n",
    );
    for family in ["4", "6"] {
        let address = format!("ipv{family}_addr");
        write!(
            text,
            "\tset ended{family} {{\n\t\ttype {address} . inet_service . {address} . inet_service\n\
             \t\tflags dynamic,timeout; timeout {ENDED_FOR}; size {ENDED_MOST}\n\t}}\n\n"
        )
        .expect("a String takes every write");
    }
    text
}

/// Takes the URG flag from segments and leaves them every other: splice(2) stops before an urgent byte for good.
/// nft sets flags to constants only, so there is a rule for each combination.
fn urgent() -> String {
    let mut rules = String::new();
    let all = "fin | syn | rst | psh | ack | urg | ecn | cwr";
    for flags in ["ack", "psh | ack", "fin | ack", "fin | psh | ack"] {
        // What congestion control says in them must arrive (RFC 3168).
        for said in ["", " | ecn", " | cwr", " | ecn | cwr"] {
            let kept = format!("{flags}{said}");
            rule(
                &mut rules,
                &format!("tcp flags & ({all}) == ({kept} | urg) tcp flags set ({kept})"),
            );
        }
    }
    rules
}

/// How long the packets of a leg that was closed may be late: longer than any network keeps them, and
/// than a peer waits before it repeats its last one.
const ENDED_FOR: &str = "30s";
/// How many such legs are noted at a time; the packets of more are forwarded.
const ENDED_MOST: u32 = 65_536;

/// What drops the late packets of ended legs as they arrive, and what notes a leg as it ends. An opening
/// packet makes a new connection of it, relayed or not.
fn ended(mark: Mark) -> [String; 2] {
    let (mut late, mut end) = (String::new(), String::new());
    for (ip, set) in [("ip", "ended4"), ("ip6", "ended6")] {
        let arriving = format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport");
        let answered = format!("{ip} daddr . tcp dport . {ip} saddr . tcp sport");
        let opening = "tcp flags & (fin | syn | rst | ack) == syn";
        rule(
            &mut late,
            &format!("{opening} delete @{set} {{ {arriving} }}"),
        );
        rule(
            &mut late,
            &format!("{opening} delete @{set} {{ {answered} }}"),
        );
        rule(
            &mut late,
            &format!("meta mark & {mark} == 0 {arriving} @{set} drop"),
        );
        rule(
            &mut end,
            &format!(
                "fib saddr type != local tcp flags & fin == fin update @{set} {{ {answered} }}"
            ),
        );
    }
    [late, end]
}

/// What each interception adds.
#[derive(Default)]
struct Chains {
    arrive: String,
    send: String,
    open: String,
    /// Whole chains: what each profile would have the firewall get wrong is not negotiated.
    strip: String,
    deliver: String,
}

fn chains(plan: &Plan, sides: &str) -> Chains {
    let mark = plan.mark;
    let mut chains = Chains::default();
    for (index, interception) in plan.interceptions.iter().enumerate() {
        let side = &interception.intercept.mangled_side;
        let selection = Selection::from(&interception.intercept);
        let syns = selection.of(Opening::Syn);
        let set = mark.0 | held(plan, interception);
        let mark_it = format!("meta mark set meta mark | {}", Mark(set));
        for Selector { text, .. } in &syns {
            rule(
                &mut chains.open,
                &format!("iifname \"{side}\" fib daddr oifname != {sides} {text}{mark_it}"),
            );
            rule(
                &mut chains.open,
                &format!("iifname != {sides} fib daddr oifname \"{side}\" {text}{mark_it}"),
            );
        }
        deliver(&mut chains.deliver, interception, &syns);

        let lost = strip::rules(interception.strip, interception.mss);
        if lost.is_empty() {
            continue;
        }
        for Selector { text, .. } in syns.iter().chain(&selection.of(Opening::SynAck)) {
            let to = format!("{text}jump strip_{index}");
            rule(
                &mut chains.arrive,
                &format!("meta mark & {mark} == {mark} iifname \"{side}\" {to}"),
            );
            rule(
                &mut chains.send,
                &format!("fib saddr type != local oifname \"{side}\" {to}"),
            );
        }
        writeln!(chains.strip, "\tchain strip_{index} {{").expect("a String takes every write");
        lost.iter().for_each(|lost| rule(&mut chains.strip, lost));
        chains.strip.push_str("\t}\n\n");
    }
    chains
}

/// The bit that holds the opening packets of an interception, if they are to be held.
fn held(plan: &Plan, interception: &Interception) -> u32 {
    match plan.hold {
        Some(holding) if interception.held => holding.mark.hold(),
        _ => 0,
    }
}

/// Hands opening packets to the listener of the side that they come from.
fn deliver(rules: &mut String, interception: &Interception, syns: &[Selector]) {
    let side = &interception.intercept.mangled_side;
    for (direction, port) in [
        (format!("iifname \"{side}\""), interception.listen.mangled),
        (
            format!("iifname != \"{side}\" fib daddr oifname \"{side}\""),
            interception.listen.clean,
        ),
    ] {
        for selector in syns {
            for family in selector.families() {
                let (family, to) = match family {
                    Family::V4 => ("ipv4", format!("ip to 127.0.0.1:{port}")),
                    Family::V6 => ("ipv6", format!("ip6 to [::1]:{port}")),
                };
                let text = &selector.text;
                rule(
                    rules,
                    &format!(
                        "meta nfproto {family} meta l4proto tcp {direction} {text}tproxy {to} accept"
                    ),
                );
            }
        }
    }
}

/// Keeps the legs apart in conntrack: by a zone for each, or by leaving it out.
fn track(tracking: Tracking, matches: &str, direction: &str, sides: &str) -> String {
    let mut rules = String::new();
    match tracking {
        Tracking::Zones(Zones { mangled, clean }) => {
            rule(
                &mut rules,
                &format!("{matches} {direction} {sides} ct zone set {mangled}"),
            );
            rule(
                &mut rules,
                &format!("{matches} {direction} != {sides} ct zone set {clean}"),
            );
        }
        Tracking::Notrack => rule(&mut rules, &format!("{matches} notrack")),
    }
    rules
}

/// Every mangled side, as the right side of a match.
pub(super) fn sides(plan: &Plan) -> String {
    let sides: Vec<_> = plan
        .mangled_sides()
        .iter()
        .map(|side| format!("\"{side}\""))
        .collect();
    match sides.as_slice() {
        [one] => one.clone(),
        many => format!("{{ {} }}", many.join(", ")),
    }
}

/// Adds one line to the text of a chain.
pub(super) fn rule(rules: &mut String, text: &str) {
    writeln!(rules, "\t\t{text}").expect("a String takes every write");
}

/// What takes no new connection, and leaves the running ones their rules.
pub fn drain(plan: &Plan) -> String {
    if plan.has_sidecars() {
        return sidecar::drain(plan);
    }
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
    fn each_interception_has_its_own_profile_and_listener() {
        let mut plan = plan("cisco-pix");
        let other = Intercept {
            ports: "5432".parse().unwrap(),
            mangled_side: "fw1".parse().unwrap(),
            ..plan.interceptions[0].intercept.clone()
        };
        let listen = ListenPorts {
            mangled: 5001,
            clean: 5002,
        };
        let profile = "blackhole".parse().unwrap();
        plan.interceptions
            .push(Interception::new(other, &profile, listen));
        let text = table(&plan, Ownership::Nobody);
        assert!(
            text.contains("iifname { \"fw0\", \"fw1\" } ct zone set"),
            "{text}"
        );
        assert!(text.contains(
            "oifname \"fw1\" tcp flags & (fin | syn | rst | ack) == (syn | ack) tcp sport { 5432 } \
             ip daddr { 10.0.0.0/8 } jump strip_1"
        ), "{text}");
        assert!(
            text.contains("chain strip_1 {\n\t\ttcp option maxseg size set 940\n\t}"),
            "{text}"
        );
        assert!(
            text.contains("tproxy ip to 127.0.0.1:5002 accept"),
            "{text}"
        );
        assert!(!text.contains("[::1]"), "no source of IPv6 was named");
    }

    #[test]
    fn without_zones_the_same_packets_are_not_tracked() {
        let plan = Plan {
            tracking: Tracking::Notrack,
            ..plan("clean")
        };
        let text = table(&plan, Ownership::Nobody);
        assert!(!text.contains("ct zone"), "{text}");
        assert_eq!(text.matches(" notrack\n").count(), 2, "{text}");
        assert!(
            !text.contains("chain strip"),
            "a clean profile strips nothing"
        );
    }

    #[test]
    fn one_line_keeps_every_statement_apart() {
        assert_eq!(
            one_line("a {\n\t# why\n\tb c;\n\n\td\n}\n"),
            "a { b c; d; }"
        );
    }
}
