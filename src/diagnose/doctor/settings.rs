//! Settings of the kernel: how packets are routed, and how this host does TCP. The one judge of them: what `run`
//! warns of is told here, too.

use super::facts::{Facts, Needs, Routed, Settings, Wanted, per_interface};
use super::finding::{Findings, Status};
use super::id::Id;

/// Everything that `doctor` tells of them.
pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    let (settings, wanted) = (&facts.settings, &facts.wanted);
    relay(settings, wanted, found);
    reverse_path(facts, found);
    bridge(settings, found);
    for switch in [WINDOW_SCALING, SACK, TIMESTAMPS] {
        switch.judge(settings, found);
    }
    without_sack(settings, wanted, found);
}

/// What a relay that starts should warn of, each in one sentence that says what would be right.
pub fn warnings(settings: &Settings, needs: Needs) -> Vec<String> {
    let mut found = Findings::default();
    let wanted = Wanted::Configured(needs);
    relay(settings, &wanted, &mut found);
    WINDOW_SCALING.judge(settings, &mut found);
    let meant = found
        .seen
        .into_iter()
        .filter(|one| one.status != Status::Ok);
    meant
        .map(|finding| match finding.now {
            Some(command) => format!("{} `{command}` mends it", finding.sentence),
            None => finding.sentence,
        })
        .collect()
}

/// What a relay needs of the network namespace that it runs in.
fn relay(settings: &Settings, wanted: &Wanted, found: &mut Findings) {
    forwarding(settings, wanted, found);
    if !wanted.may_be_led() {
        found.ok(
            Id::SrcValidMark,
            "Nothing is marked for this relay, so checks of the way back cannot see its mark.",
        );
        return;
    }
    marks_on_the_way_back(settings, wanted, found);
    let (id, name) = (Id::FwmarkAccept, "net.ipv4.tcp_fwmark_accept");
    match settings.of(name) {
        None => found.unseen(id, missing(name)),
        Some("0") => {
            let sentence = format!(
                "What a relay accepts does not bear the mark that led it there ({name} is 0)."
            );
            found.ok(id, sentence);
        }
        Some(_) => {
            let sentence = format!(
                "{name} is 1: what the relay sends would bear its own mark and come back to it."
            );
            found.add(id, wanted.severity(), sentence).sysctl(name, "0");
        }
    }
}

fn forwarding(settings: &Settings, wanted: &Wanted, found: &mut Findings) {
    let routed = wanted.needs().map(|needs| needs.routed);
    let v4 = "net.ipv4.ip_forward";
    let v6 = "net.ipv6.conf.all.forwarding";
    let families = [
        (
            Id::IpForward,
            "IPv4",
            v4,
            [Routed::Whatever, Routed::V4, Routed::Both].as_slice(),
        ),
        (
            Id::IpForwardV6,
            "IPv6",
            v6,
            [Routed::V6, Routed::Both].as_slice(),
        ),
    ];
    for (id, family, name, needed_by) in families {
        match (settings.of(name), routed) {
            (None, _) => {
                let sentence = format!("This host has no {family}: there is no setting {name}.");
                let status = match routed.is_some_and(|routed| needed_by.contains(&routed)) {
                    true => Status::Problem,
                    false => Status::Ok,
                };
                found.add(id, status, sentence);
            }
            (Some("0"), Some(Routed::Nothing)) => {
                let sentence = format!("This host routes no {family}, and no gateway is wanted.");
                found.ok(id, sentence);
            }
            (Some("0"), Some(routed)) if needed_by.contains(&routed) => {
                let sentence = format!(
                    "{name} is 0: this host routes no {family}, so only what is relayed passes; a gateway needs 1."
                );
                found.problem(id, sentence).sysctl(name, "1");
            }
            (Some("0"), Some(Routed::V4 | Routed::V6)) => {
                let sentence =
                    format!("This host routes no {family}, of which no address is named.");
                found.ok(id, sentence);
            }
            (Some("0"), _) => {
                let sentence = format!(
                    "{name} is 0: this host routes no {family}; a gateway needs 1, a sidecar and forward mode do not."
                );
                found.note(id, sentence).sysctl(name, "1");
            }
            (Some(_), _) => {
                found.ok(id, format!("This host routes {family} ({name})."));
            }
        }
    }
}

/// The mark leads the check into the relay's own table, where every source is local, and so none is valid.
fn marks_on_the_way_back(settings: &Settings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::SrcValidMark;
    if settings.interfaces().is_empty() {
        return found.unseen(id, "interfaces have no settings of IPv4 here");
    }
    let mut is_sound = true;
    for interface in settings.interfaces() {
        if settings
            .effective(interface, "src_valid_mark")
            .is_none_or(|value| value == 0)
        {
            continue;
        }
        is_sound = false;
        // Where all have it, it is said once.
        let all = per_interface("all", "src_valid_mark");
        let own = per_interface(interface, "src_valid_mark");
        let is_common = settings.of(&all).is_some_and(|value| value != "0");
        let (about, name) = if is_common {
            ("all", all)
        } else {
            (interface.as_str(), own)
        };
        let sentence = format!(
            "{name} is 1: reverse-path checks see the relay's mark and may drop its packets (wg-quick sets it)."
        );
        found
            .add(id, wanted.severity(), sentence)
            .about(about)
            .sysctl(&name, "0");
        if is_common {
            break;
        }
    }
    if is_sound {
        found.ok(
            id,
            "Checks of the way back do not see marks (src_valid_mark is 0 at every interface).",
        );
    }
}

fn reverse_path(facts: &Facts, found: &mut Findings) {
    let id = Id::RpFilter;
    match facts.reverse_path_drops {
        Ok(0) => {}
        Ok(drops) => {
            let sentence = format!(
                "The check of the way back dropped {drops} packets within {} seconds (IPReversePathFilter): they came by another interface than this host would answer by.",
                facts.seconds
            );
            found
                .problem(id, sentence)
                .sysctl("net.ipv4.conf.all.rp_filter", "2");
        }
        Err(ref why) => found.unseen(
            id,
            format!("packets that the check of the way back drops: {why}"),
        ),
    }
    if facts.settings.interfaces().is_empty() {
        return found.unseen(id, "interfaces have no settings of IPv4 here");
    }
    let mut is_sound = true;
    for interface in facts.settings.interfaces() {
        // Nothing but this host's own comes by loopback.
        if interface == "lo" || facts.settings.effective(interface, "rp_filter") != Some(1) {
            continue;
        }
        is_sound = false;
        let sentence = format!(
            "The way back is checked strictly at {interface} (rp_filter is 1, the larger one of all and its own): what comes by another way than answers go is dropped without a word; 2 is enough where ways differ."
        );
        found
            .note(id, sentence)
            .about(interface)
            .sysctl(&per_interface(interface, "rp_filter"), "2");
    }
    if is_sound {
        found.ok(id, "No interface checks the way back strictly (rp_filter).");
    }
}

fn bridge(settings: &Settings, found: &mut Findings) {
    let id = Id::BridgeNetfilter;
    let switches = [
        "net.bridge.bridge-nf-call-iptables",
        "net.bridge.bridge-nf-call-ip6tables",
    ];
    let is_on = |name: &&str| settings.of(name).is_some_and(|value| value != "0");
    let on: Vec<_> = switches.into_iter().filter(is_on).collect();
    if on.is_empty() {
        found.ok(id, "Frames within a bridge do not pass rules of IP.");
    }
    for name in on {
        let sentence = format!(
            "{name} is 1: frames that are only bridged pass rules of IP, too, so conntrack sees packets that are not routed."
        );
        found.note(id, sentence).about(name).sysctl(name, "0");
    }
}

/// A setting that should not be 0.
struct Switch {
    id: Id,
    name: &'static str,
    well: &'static str,
    ill: &'static str,
    status: Status,
}

const WINDOW_SCALING: Switch = Switch {
    id: Id::TcpWindowScaling,
    name: "net.ipv4.tcp_window_scaling",
    well: "Windows can be larger than 64 KiB",
    ill: "the clean leg cannot use windows above 64 KiB; set it to 1",
    status: Status::Problem,
};
const SACK: Switch = Switch {
    id: Id::TcpSack,
    name: "net.ipv4.tcp_sack",
    well: "SACK is offered",
    ill: "losses on the clean leg are repaired slowly, where SACK would work",
    status: Status::Problem,
};
const TIMESTAMPS: Switch = Switch {
    id: Id::TcpTimestamps,
    name: "net.ipv4.tcp_timestamps",
    well: "Timestamps are offered",
    ill: "round-trip times are measured less often, and old segments are not told from new ones on fast links",
    status: Status::Note,
};

// === impl Switch ===

impl Switch {
    fn judge(&self, settings: &Settings, found: &mut Findings) {
        let Self { id, name, .. } = *self;
        match settings.of(name) {
            None => found.unseen(id, missing(name)),
            Some("0") => {
                let sentence = format!("{name} is 0: {}.", self.ill);
                found.add(id, self.status, sentence).sysctl(name, "1");
            }
            Some(_) => {
                found.ok(id, format!("{} ({name}).", self.well));
            }
        }
    }
}

fn missing(name: &str) -> String {
    format!("there is no setting {name} in this network namespace")
}

/// Without SACK, reordering that was once seen makes Linux wait for more duplicate ACKs than there will be.
fn without_sack(settings: &Settings, wanted: &Wanted, found: &mut Findings) {
    let (metrics, reordering) = (
        "net.ipv4.tcp_no_metrics_save",
        "net.ipv4.tcp_max_reordering",
    );
    let slow = [
        (
            Id::TcpMetrics,
            metrics,
            "1",
            settings.of(metrics) == Some("0"),
            "routes remember reordering for the next connection",
        ),
        (
            Id::TcpReordering,
            reordering,
            "3",
            settings.number(reordering).is_some_and(|value| value > 3),
            "much reordering is believed in",
        ),
    ];
    for (id, name, value, is_slow, why) in slow {
        let Some(now) = settings.of(name) else {
            found.unseen(id, missing(name));
            continue;
        };
        let sentence = match wanted.needs() {
            _ if !is_slow => {
                found.ok(
                    id,
                    format!("{name} is {now}, as a leg without SACK wants it."),
                );
                continue;
            }
            Some(needs) if !needs.without_sack => {
                found.ok(id, format!("{name} is {now}; no leg is without SACK."));
                continue;
            }
            Some(needs) if needs.tuned => {
                found.ok(id, format!("{name} is {now}; --host-tuning apply sets it to {value} while the relay runs."));
                continue;
            }
            _ => format!(
                "{name} is {now}: {why}, so that on a leg without SACK only timeouts repair a loss; --host-tuning apply sets it to {value} while a relay runs."
            ),
        };
        // The kernel comes like that, and a leg that loses nothing is none the worse for it.
        found.note(id, sentence).sysctl(name, value);
    }
}
