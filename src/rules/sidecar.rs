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

use std::time::Duration;

use super::nft::{Ownership, TABLE, rule, sides};
use super::plan::{Capture, Interception, Plan};
use super::routes::Family;
use super::select::{Opening, Selection, Selector, signed};
use super::stand_in::{self, StandIn};
use super::{cgroup, strip};
use crate::config::sidecar::OwnAddresses;
use crate::config::{Mark, ServiceLeg, Whose};

/// The whole table, ready for `nft -f`.
pub(super) fn table(plan: &Plan, ownership: Ownership) -> String {
    let mut chains = Chains::default();
    for (index, interception) in plan.interceptions.iter().enumerate() {
        chains.add(plan, index, interception);
    }
    let (mark, dial, sides) = (plan.mark, plan.dial_mark, sides(plan));
    let signed = signed();
    let Chains {
        open,
        arrive,
        strip,
        deliver,
        send,
        turn,
        answer,
        stand_in: StandIn {
            sets,
            replace,
            back,
        },
    } = &chains;
    let mut text = format!("table inet {TABLE} {{\n{}{sets}{strip}", ownership.flags());
    let mut chain = |why: &str, name: &str, hook: &str, rules: &str| {
        if !why.is_empty() {
            text += &format!("\t# {why}\n");
        }
        text += &format!("\tchain {name} {{\n");
        if !hook.is_empty() {
            text += &format!("\t\ttype {hook}; policy accept;\n");
        }
        text += &format!("{rules}\t}}\n\n");
    };
    let opening = "tcp flags & (fin | syn | rst | ack) == syn";
    let mut take = String::new();
    if serves(plan) {
        let marked = marking(mark);
        rule(
            &mut take,
            &format!("iifname {sides} socket transparent 1 {marked}"),
        );
        rule(
            &mut take,
            &format!("iifname {sides} {opening} fib daddr type local jump open"),
        );
    }
    take += arrive;
    take += replace;
    chain(
        "Packets of the relay's legs, and packets that open a connection.",
        "take",
        "filter hook prerouting priority raw - 10",
        &take,
    );
    if serves(plan) {
        chain(SIGNED, "open", "", &format!("{signed}{open}"));
        let hand = format!("\t\tmeta mark & {mark} == {mark} {opening} jump deliver\n");
        chain("", "hand", "filter hook prerouting priority mangle", &hand);
        chain("", "deliver", "", deliver);
    }
    chain("", "send", "filter hook output priority raw - 10", send);
    if turns(plan) {
        let own = format!("\t\tmeta mark & {dial} == 0 {opening} jump turn\n");
        chain(
            "What this host opens, the relay's own dials aside.",
            "own",
            "nat hook output priority -110",
            &own,
        );
        chain(SIGNED, "turn", "", &format!("{signed}{turn}"));
    }
    if !answer.is_empty() {
        chain(
            "The service answers the client's address: by routes alone that would leave this host.",
            "answer",
            "route hook output priority mangle",
            answer,
        );
    }
    if !back.is_empty() {
        chain("", "back", "filter hook postrouting priority 110", back);
    }
    text.truncate(text.trim_end().len());
    text + "\n}\n"
}

const SIGNED: &str = "What is signed end to end (TCP-MD5, TCP-AO) is left alone.";

/// What takes no new connection, and leaves the running ones their rules.
pub(super) fn drain(plan: &Plan) -> String {
    let serves = serves(plan).then_some(["open", "deliver"]);
    let taking = serves
        .into_iter()
        .flatten()
        .chain(turns(plan).then_some("turn"));
    taking
        .map(|chain| format!("flush chain inet {TABLE} {chain}"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Whether a service is behind the relay.
fn serves(plan: &Plan) -> bool {
    let captures = plan.interceptions.iter().map(|each| &each.capture);
    captures
        .into_iter()
        .any(|capture| matches!(capture, Capture::Service { .. }))
}

/// Whether what this host opens is taken.
fn turns(plan: &Plan) -> bool {
    let captures = plan.interceptions.iter().map(|each| &each.capture);
    captures
        .into_iter()
        .any(|capture| matches!(capture, Capture::Own(_)))
}

/// What each interception adds.
#[derive(Default)]
struct Chains {
    open: String,
    arrive: String,
    strip: String,
    deliver: String,
    send: String,
    turn: String,
    answer: String,
    stand_in: StandIn,
}

// === impl Chains ===

impl Chains {
    fn add(&mut self, plan: &Plan, index: usize, interception: &Interception) {
        let strips = self.stripping(index, interception);
        match &interception.capture {
            Capture::Gateway => {}
            Capture::Service { leg, own, silence } => {
                if *leg == ServiceLeg::Transparent {
                    self.stand_in_for(plan, interception, *own, *silence);
                }
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
        let marked = marking(mark);
        let arriving = Selection::from(&interception.intercept);
        let stand_in = stand_in::of(own);
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
            match leg {
                // What follows has to be known again, and nothing but a note of it tells.
                ServiceLeg::Transparent => {
                    for family in selector.families() {
                        let (only, note) = (nfproto(family), stand_in::noted(family));
                        let opens = format!("{only}iifname \"{side}\" {text}add {note} {marked}");
                        rule(&mut self.open, &opens);
                    }
                }
                ServiceLeg::Loopback | ServiceLeg::OwnAddress => {
                    rule(
                        &mut self.open,
                        &format!("iifname \"{side}\" {text}{marked}"),
                    );
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

    /// Hides the service's own address behind its stand-in.
    fn stand_in_for(
        &mut self,
        plan: &Plan,
        interception: &Interception,
        own: OwnAddresses,
        silence: Duration,
    ) {
        let side = interception.intercept.mangled_side.as_str();
        self.stand_in.add(side, own, silence, &marking(plan.mark));
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

/// Adds the mark to whatever marks a packet has.
fn marking(mark: Mark) -> String {
    format!("meta mark set meta mark | {mark}")
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

fn nfproto(family: Family) -> String {
    let name = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("meta nfproto {name} ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Intercept, Networks, Profile};
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
        let silence = Duration::from_secs(60);
        let text = text(Capture::Service { leg, own, silence }, &[]);
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
        let silence = Duration::from_secs(60);
        let text = text(Capture::Service { leg, own, silence }, &["192.0.2.7"]);
        for part in [
            "ip daddr set 192.0.0.8",
            "ip saddr 192.0.0.8 ip saddr set 192.0.2.7",
            "ip daddr { 192.0.0.8/32 } tproxy ip to",
            "set taken4 {",
            "tcp dport timeout 240s }",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("taken6"), "{text}");
    }
}
