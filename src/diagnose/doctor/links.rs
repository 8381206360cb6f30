//! Interfaces, routes, and how large packets are.

use super::facts::{Facts, Link, Links, RouteMtu};
use super::finding::Findings;
use super::id::Id;

/// What every link must carry that has IPv6 (RFC 8200, section 5).
const LEAST: u32 = 1280;

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    let links = match &facts.links {
        Ok(links) => links,
        Err(why) => {
            for id in [Id::Interface, Id::Mtu, Id::RouteMtu, Id::Offloads] {
                found.unseen(id, format!("interfaces and routes: {why}"));
            }
            return;
        }
    };
    let named = facts
        .wanted
        .needs()
        .map_or(&[][..], |needs| &needs.interfaces);
    for name in named {
        if links.interfaces.iter().any(|link| link.name == *name) {
            found.ok(Id::Interface, format!("The interface {name} is there."));
        } else {
            let known: Vec<_> = links
                .interfaces
                .iter()
                .map(|link| link.name.as_str())
                .collect();
            let sentence = format!(
                "There is no interface {name:?} here; there are: {}.",
                known.join(", ")
            );
            found.problem(Id::Interface, sentence).about(name);
        }
    }
    mtu(links, found);
    routes(links, found);
    offloads(links, found);
}

fn mtu(links: &Links, found: &mut Findings) {
    let id = Id::Mtu;
    let small = links.interfaces.iter().filter(|link| link.mtu < LEAST);
    let mut is_sound = true;
    for Link { name, mtu, .. } in small {
        is_sound = false;
        let sentence = format!("Packets of {name} hold {mtu} bytes, and IPv6 needs {LEAST}.");
        found
            .problem(id, sentence)
            .about(name)
            .now(format!("ip link set {name} mtu 1500"));
    }
    if is_sound {
        let sizes: Vec<_> = links
            .interfaces
            .iter()
            .map(|link| format!("{} {}", link.name, link.mtu))
            .collect();
        found.ok(id, format!("Largest packets: {}.", sizes.join(", ")));
    }
}

fn routes(links: &Links, found: &mut Findings) {
    let id = Id::RouteMtu;
    let of = |device: &str| {
        links
            .interfaces
            .iter()
            .find(|link| link.name == device)
            .map(|link| link.mtu)
    };
    let mut is_sound = true;
    for RouteMtu { route, device, mtu } in &links.routes {
        let Some(own) = of(device).filter(|own| own != mtu) else {
            continue;
        };
        is_sound = false;
        let sentence = format!(
            "A route has a largest packet of its own, {mtu} where {device} has {own}, so segments are of another size there: {route}."
        );
        found.note(id, sentence).about(route);
    }
    if is_sound {
        found.ok(
            id,
            "No route has a largest packet that is not its interface's.",
        );
    }
}

fn offloads(links: &Links, found: &mut Findings) {
    let id = Id::Offloads;
    let told: Vec<_> = links
        .interfaces
        .iter()
        .filter_map(|link| Some((&link.name, link.offloads?)))
        .collect();
    if told.len() < links.interfaces.len() {
        let silent = links
            .interfaces
            .iter()
            .filter(|link| link.offloads.is_none());
        let names: Vec<_> = silent.map(|link| link.name.as_str()).collect();
        found.unseen(
            id,
            format!(
                "what these do to segments, because they do not say: {}",
                names.join(", ")
            ),
        );
    }
    let mut is_sound = true;
    for (name, _) in told.iter().filter(|(_, offloads)| offloads.large_receive) {
        is_sound = false;
        let sentence = format!(
            "{name} merges segments for good (LRO): what is forwarded, and what a capture shows, is not what came."
        );
        found
            .problem(id, sentence)
            .about(name.as_str())
            .now(format!("ethtool -K {name} lro off"));
    }
    if is_sound {
        let merged = told
            .iter()
            .filter(|(_, offloads)| offloads.generic_receive || offloads.tcp_segmentation);
        let names: Vec<_> = merged.map(|(name, _)| name.as_str()).collect();
        let sentence = match names.is_empty() {
            true => "No interface merges or cuts segments.".to_owned(),
            false => format!(
                "Segments are merged and cut again without loss (GRO, TSO) at {}: a capture there shows some that are larger than a packet.",
                names.join(", ")
            ),
        };
        found.ok(id, sentence);
    }
}

/// Interfaces in what `ip -o link show` prints; what each does to segments is asked for.
pub(super) fn interfaces(shown: &str) -> Vec<(String, u32)> {
    shown
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let name = words.next()?.trim_end_matches(':');
            // `eth0@if5` is one end of a pair.
            let name = name.split('@').next()?;
            let mtu = words.skip_while(|word| *word != "mtu").nth(1)?;
            Some((name.to_owned(), mtu.parse().ok()?))
        })
        .collect()
}

/// Routes with an mtu in what `ip route show` prints.
pub(super) fn routes_with_mtu(shown: &str) -> Vec<RouteMtu> {
    shown
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let after = |key: &str| {
                let place = words.iter().position(|word| *word == key)?;
                let rest = words.get(place + 1..)?;
                rest.iter().find(|word| **word != "lock").copied()
            };
            Some(RouteMtu {
                mtu: after("mtu")?.parse().ok()?,
                device: after("dev")?.to_owned(),
                route: words.join(" "),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::doctor::facts::per_interface;

    #[test]
    fn links_and_routes_are_read_as_ip_prints_them() {
        let links = "1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT\\    link/loopback\n\
            5: eth0@if6: <BROADCAST> mtu 1500 qdisc noop\n7: eth0.10@eth0: <UP> mtu 9000 qdisc x\nnonsense\n";
        let found = interfaces(links);
        let expected = [("lo", 65536), ("eth0", 1500), ("eth0.10", 9000)];
        assert_eq!(found, expected.map(|(name, mtu)| (name.to_owned(), mtu)));
        let routes = "10.1.0.0/16 dev eth0 scope link mtu lock 1400\ndefault via 10.0.0.1 dev eth0 \n\
            fe80::/64 dev eth0 metric 256 mtu 1300 pref medium\n";
        let found = routes_with_mtu(routes);
        let sizes: Vec<_> = found
            .iter()
            .map(|route| (route.device.as_str(), route.mtu))
            .collect();
        assert_eq!(sizes, [("eth0", 1400), ("eth0", 1300)]);
    }

    #[test]
    fn names_with_dots_keep_their_settings_readable() {
        assert_eq!(
            per_interface("eth0", "rp_filter"),
            "net.ipv4.conf.eth0.rp_filter"
        );
        assert_eq!(
            per_interface("eth0.10", "rp_filter"),
            "net/ipv4/conf/eth0.10/rp_filter"
        );
    }
}
