//! The table of a relay on the strict host itself, as nftables text.
//!
//! | hook | priority | what happens there |
//! | --- | --- | --- |
//! | prerouting | raw - 10 | opening packets to the service get the mark; options are stripped |
//! | prerouting | mangle | opening packets to the service go to the listener (`tproxy`) |
//! | output | raw - 10 | options are stripped from what the relay sends to the mangled side |
//! | output | -110 | what this host opens goes to the listener (`redirect`), the relay's own dials do not |
//! | output | mangle | the service's answers to the relay's dials stay on this host |
//! | postrouting | 110 | the stand-in for the service's address is taken out again |
//!
//! No packet needs a conntrack zone: the legs of a session differ in address or port. Which of these chains
//! there are depends on what is taken.

use super::nft::{Ownership, TABLE, rule, sides};
use super::plan::{Capture, Interception, Plan};
use super::routes::Family;
use super::select::{Opening, Selection, Selector, signed};
use super::{cgroup, strip};
use crate::config::sidecar::{OwnAddresses, STAND_IN_V4, STAND_IN_V6};
use crate::config::{Networks, ServiceLeg, Whose};

/// The chains that take new connections; a drain empties them.
pub(super) const TAKING: [&str; 3] = ["open", "deliver", "turn"];

/// How long a taken connection is remembered in silence; keepalive breaks it long before.
const TAKEN_FOR: &str = "1h";
/// How many connections the stand-in is used for at a time; more flow unrelayed.
const TAKEN_MOST: u32 = 65_536;

/// The whole table, ready for `nft -f`.
pub(super) fn table(plan: &Plan, ownership: Ownership) -> String {
    let mark = plan.mark;
    let mut chains = Chains::default();
    for (index, interception) in plan.interceptions.iter().enumerate() {
        chains.add(plan, index, interception);
    }
    let sides = sides(plan);
    let Chains {
        sets,
        open,
        arrive,
        replace,
        strip,
        deliver,
        send,
        turn,
        answer,
        back,
    } = &chains;
    let signed = signed();
    let mut text = format!(
        r#"table inet {TABLE} {{
{owner}{sets}	# Opening packets to the service, and the packets of their connections.
	chain take {{
		type filter hook prerouting priority raw - 10; policy accept;
		iifname {sides} socket transparent 1 meta mark set meta mark | {mark}
		iifname {sides} tcp flags & (fin | syn | rst | ack) == syn fib daddr type local jump open
{arrive}{replace}	}}

	# What is signed end to end (TCP-MD5, TCP-AO) is left alone.
	chain open {{
{open}	}}

{strip}	chain hand {{
		type filter hook prerouting priority mangle; policy accept;
		meta mark & {mark} == {mark} tcp flags & (fin | syn | rst | ack) == syn jump deliver
	}}

	chain deliver {{
{deliver}	}}

	chain send {{
		type filter hook output priority raw - 10; policy accept;
{send}	}}

	# What this host opens, the relay's own dials aside. What is signed end to end is left alone.
	chain turn {{
{turn}	}}
"#,
        owner = ownership.flags(),
        open = prefixed(&signed, open),
        turn = prefixed(&signed, turn),
    );
    if !turn.is_empty() {
        let dial = plan.dial_mark;
        text += &format!(
            "\n\tchain own {{\n\t\ttype nat hook output priority -110; policy accept;\n\t\t\
             meta mark & {dial} == 0 tcp flags & (fin | syn | rst | ack) == syn jump turn\n\t}}\n"
        );
    }
    if !answer.is_empty() {
        text += &format!(
            "\n\t# The service answers the client's address: by routes alone that would leave this host.\n\t\
             chain answer {{\n\t\ttype route hook output priority mangle; policy accept;\n{answer}\t}}\n"
        );
    }
    if !back.is_empty() {
        text += &format!(
            "\n\tchain back {{\n\t\ttype filter hook postrouting priority 110; policy accept;\n{back}\t}}\n"
        );
    }
    text + "}\n"
}

/// What takes no new connection, and leaves the running ones their rules.
pub(super) fn drain() -> String {
    TAKING
        .map(|chain| format!("flush chain inet {TABLE} {chain}"))
        .join("; ")
}

fn prefixed(first: &str, then: &str) -> String {
    match then {
        "" => String::new(),
        then => format!("{first}{then}"),
    }
}

/// What each interception adds.
#[derive(Default)]
struct Chains {
    sets: String,
    open: String,
    arrive: String,
    /// After everything that has to know the service by its address.
    replace: String,
    strip: String,
    deliver: String,
    send: String,
    turn: String,
    answer: String,
    back: String,
}

// === impl Chains ===

impl Chains {
    fn add(&mut self, plan: &Plan, index: usize, interception: &Interception) {
        let strips = self.stripping(index, interception);
        match &interception.capture {
            Capture::Gateway => {}
            Capture::Service { leg, own } => {
                self.serve(plan, index, interception, *leg, *own, strips);
            }
            Capture::Own(whose) => self.turn(plan, index, interception, whose, strips),
        }
    }

    /// Makes the chain that strips; whether there is anything to strip.
    fn stripping(&mut self, index: usize, interception: &Interception) -> bool {
        let lost = strip::rules(interception.strip, interception.mss);
        if !lost.is_empty() {
            self.strip += &format!("\tchain strip_{index} {{\n");
            lost.iter().for_each(|lost| rule(&mut self.strip, lost));
            self.strip += "\t}\n\n";
        }
        !lost.is_empty()
    }

    /// Takes what comes to a service of this host.
    fn serve(
        &mut self,
        plan: &Plan,
        index: usize,
        interception: &Interception,
        leg: ServiceLeg,
        own: OwnAddresses,
        strips: bool,
    ) {
        let side = &interception.intercept.mangled_side;
        let (mark, dial) = (plan.mark, plan.dial_mark);
        let arriving = Selection::from(&interception.intercept);
        let stand_in = stand_ins(own);
        // Once an opening packet is taken, the rules see the stand-in for the service's address.
        let taken = match leg {
            ServiceLeg::Transparent => Selection {
                to: &stand_in,
                ..arriving
            },
            ServiceLeg::Loopback | ServiceLeg::OwnAddress => arriving,
        };
        for selector in arriving.of(Opening::Syn) {
            let text = &selector.text;
            for family in selector.families() {
                let note = match leg {
                    ServiceLeg::Transparent => format!("add @{} ", noted(family)),
                    _ => String::new(),
                };
                let (note, family) = match leg {
                    ServiceLeg::Transparent => (note, nfproto(family)),
                    _ => (note, String::new()),
                };
                let opened = format!(
                    "{family}iifname \"{side}\" {text}{note}meta mark set meta mark | {mark}"
                );
                // Without a note one rule is for both families.
                if !self.open.contains(&opened) {
                    rule(&mut self.open, &opened);
                }
            }
            if strips {
                rule(
                    &mut self.arrive,
                    &format!(
                        "meta mark & {mark} == {mark} iifname \"{side}\" {text}jump strip_{index}"
                    ),
                );
            }
        }
        for selector in taken.of(Opening::Syn) {
            deliver(
                &mut self.deliver,
                side.as_str(),
                &selector,
                interception.listen.mangled,
            );
        }
        if strips {
            for Selector { text, .. } in taken.of(Opening::SynAck) {
                rule(
                    &mut self.send,
                    &format!("oifname \"{side}\" socket transparent 1 {text}jump strip_{index}"),
                );
            }
        }
        if leg == ServiceLeg::Transparent {
            self.stand_in(
                side.as_str(),
                own,
                &format!("meta mark set meta mark | {mark}"),
            );
        }
        if leg != ServiceLeg::Loopback && self.answer.is_empty() {
            rule(
                &mut self.answer,
                &format!(
                    "oifname \"lo\" meta mark & {dial} == {dial} ct mark set ct mark | {dial}"
                ),
            );
            rule(
                &mut self.answer,
                &format!(
                    "ct direction reply ct mark & {dial} == {dial} meta mark set meta mark | {mark}"
                ),
            );
        }
    }

    /// Puts an address that nobody has in the place of the service's, and takes it out again.
    fn stand_in(&mut self, side: &str, own: OwnAddresses, mark: &str) {
        let v4 = own.v4.map(|own| {
            (
                "ip",
                Family::V4,
                "ipv4_addr",
                own.to_string(),
                STAND_IN_V4.to_string(),
            )
        });
        let v6 = own.v6.map(|own| {
            (
                "ip6",
                Family::V6,
                "ipv6_addr",
                own.to_string(),
                STAND_IN_V6.to_string(),
            )
        });
        for (ip, family, kind, own, stand_in) in v4.into_iter().chain(v6) {
            let set = name(family);
            if !self.sets.contains(set) {
                self.sets += &format!(
                    "\t# Connections that were taken: their packets are known by nothing else.\n\tset {set} {{\n\t\t\
                     type {kind} . inet_service . {kind} . inet_service\n\t\t\
                     flags dynamic,timeout; timeout {TAKEN_FOR}; size {TAKEN_MOST}\n\t}}\n\n"
                );
                rule(
                    &mut self.replace,
                    &format!(
                        "iifname \"{side}\" {} @{set} update @{} {mark} {ip} daddr set {stand_in}",
                        tuple(family),
                        noted(family)
                    ),
                );
                rule(
                    &mut self.back,
                    &format!("oifname \"{side}\" {ip} saddr {stand_in} {ip} saddr set {own}"),
                );
            }
        }
    }

    /// Turns what this host opens to the listener.
    fn turn(
        &mut self,
        plan: &Plan,
        index: usize,
        interception: &Interception,
        whose: &Whose,
        strips: bool,
    ) {
        let side = &interception.intercept.mangled_side;
        let dial = plan.dial_mark;
        let port = interception.listen.clean;
        let selection = Selection::from(&interception.intercept);
        let whose = matches(whose);
        for Selector { text, .. } in selection.of(Opening::Syn) {
            rule(
                &mut self.turn,
                &format!("oifname \"{side}\" {whose}{text}redirect to :{port}"),
            );
            if strips {
                rule(
                    &mut self.send,
                    &format!(
                        "meta mark & {dial} == {dial} oifname \"{side}\" {text}jump strip_{index}"
                    ),
                );
            }
        }
        if strips {
            for Selector { text, .. } in selection.of(Opening::SynAck) {
                rule(
                    &mut self.arrive,
                    &format!(
                        "iifname \"{side}\" {text}socket mark & {dial} == {dial} jump strip_{index}"
                    ),
                );
            }
        }
    }
}

/// Hands opening packets to the listener.
fn deliver(rules: &mut String, side: &str, selector: &Selector, port: u16) {
    let text = &selector.text;
    for family in selector.families() {
        let to = match family {
            Family::V4 => format!("ip to 127.0.0.1:{port}"),
            Family::V6 => format!("ip6 to [::1]:{port}"),
        };
        let family = nfproto(family);
        rule(
            rules,
            &format!("{family}meta l4proto tcp iifname \"{side}\" {text}tproxy {to} accept"),
        );
    }
}

/// Whose sockets, each match followed by a blank.
pub(super) fn matches(whose: &Whose) -> String {
    let mut matches = String::new();
    if let Some(user) = &whose.user {
        matches += &format!("meta skuid \"{user}\" ");
    }
    if let Some(group) = &whose.cgroup {
        let (level, path) = (group.level(), cgroup::path_for_nft(group));
        matches += &format!("socket cgroupv2 level {level} \"{path}\" ");
    }
    matches
}

fn stand_ins(own: OwnAddresses) -> Networks {
    let v4 = own.v4.map(|_| STAND_IN_V4.to_string());
    let v6 = own.v6.map(|_| STAND_IN_V6.to_string());
    let texts: Vec<String> = v4.into_iter().chain(v6).collect();
    Networks::parse(texts.iter().map(String::as_str)).expect("addresses are networks")
}

fn nfproto(family: Family) -> String {
    let name = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("meta nfproto {name} ")
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "taken4",
        Family::V6 => "taken6",
    }
}

/// A connection as its client's packets name it.
fn tuple(family: Family) -> String {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport")
}

/// The set, and what is noted in it.
fn noted(family: Family) -> String {
    format!("{} {{ {} }}", name(family), tuple(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Intercept, Profile};
    use crate::rules::ListenPorts;

    fn plan(capture: Capture, to: &[&str]) -> Plan {
        let intercept = Intercept {
            ports: "22".parse().unwrap(),
            from: Networks::default(),
            to: Networks::parse(to.iter().copied()).unwrap(),
            mangled_side: "eth0".parse().unwrap(),
        };
        let profile: Profile = "cisco-pix".parse().unwrap();
        let listen = ListenPorts {
            mangled: 4001,
            clean: 4001,
        };
        let interception = Interception::new(intercept, &profile, listen).by(capture);
        Plan::of(vec![interception])
    }

    fn text(capture: Capture, to: &[&str]) -> String {
        table(&plan(capture, to), Ownership::Nobody)
    }

    #[test]
    fn the_relays_own_dials_are_not_taken_and_only_they_are_stripped() {
        let text = text(Capture::Own(Whose::default()), &[]);
        assert!(
            text.contains("meta mark & 0x04000000 == 0 tcp flags"),
            "{text}"
        );
        assert!(text.contains("oifname \"eth0\" tcp flags & (fin | syn | rst | ack) == syn tcp dport { 22 } redirect to :4001"), "{text}");
        assert!(
            text.contains("socket mark & 0x04000000 == 0x04000000 jump strip_0"),
            "{text}"
        );
        assert!(
            !text.contains("tproxy") && !text.contains("ct zone"),
            "{text}"
        );
    }

    #[test]
    fn a_user_is_part_of_what_is_taken() {
        let whose = Whose {
            user: Some("backup".parse().unwrap()),
            cgroup: None,
        };
        let text = text(Capture::Own(whose), &[]);
        assert!(
            text.contains("oifname \"eth0\" meta skuid \"backup\" tcp flags"),
            "{text}"
        );
    }

    #[test]
    fn in_front_of_a_service_only_what_comes_to_this_host_is_taken() {
        let (leg, own) = (ServiceLeg::Loopback, OwnAddresses::default());
        let text = text(Capture::Service { leg, own }, &[]);
        assert!(text.contains("fib daddr type local jump open"), "{text}");
        assert!(
            text.contains("tproxy ip to 127.0.0.1:4001 accept"),
            "{text}"
        );
        assert!(
            !text.contains("redirect") && !text.contains("chain answer"),
            "{text}"
        );
    }

    #[test]
    fn a_stand_in_is_put_in_and_taken_out_again() {
        let own = OwnAddresses {
            v4: Some("192.0.2.7".parse().unwrap()),
            v6: None,
        };
        let leg = ServiceLeg::Transparent;
        let text = text(Capture::Service { leg, own }, &["192.0.2.7"]);
        for part in [
            "ip daddr set 192.0.0.8",
            "ip saddr 192.0.0.8 ip saddr set 192.0.2.7",
            "ip daddr { 192.0.0.8/32 } tproxy ip to",
            "set taken4 {",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("taken6"), "{text}");
    }
}
