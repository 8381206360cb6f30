//! Which packets are meant, as the matches of an nftables rule.

use ipnet::{Ipv4Net, Ipv6Net};

use crate::config::{Intercept, Networks, Ports};
use crate::packet::nflog::SentBy;

use super::routes::{FAMILIES, Family};

/// Matches for one rule; several rules may be needed, because no match is for both families' networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    /// The only family it holds for, or both.
    family: Option<Family>,
    /// The matches, each followed by a blank.
    pub text: String,
}

/// Which of the two packets that open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// The SYN, from source to destination.
    Syn,
    /// The SYN-ACK, which has them the other way round.
    SynAck,
}

/// What is selected: ports and networks, as somebody who dials sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    /// Destination ports; every port if `None`.
    pub ports: Option<&'a Ports>,
    pub from: &'a Networks,
    pub to: &'a Networks,
}

// === impl Selection ===

impl<'a> From<&'a Intercept> for Selection<'a> {
    fn from(intercept: &'a Intercept) -> Self {
        Self {
            ports: (!intercept.ports.is_every()).then_some(&intercept.ports),
            from: &intercept.from,
            to: &intercept.to,
        }
    }
}

impl Selection<'_> {
    /// The matches for SYNs or SYN-ACKs, flags included; none if no packet can match.
    pub fn of(self, opening: Opening) -> Vec<Selector> {
        match opening {
            Opening::Syn => self.sent(SentBy::Opener, "== syn"),
            Opening::SynAck => self.sent(SentBy::Acceptor, "== (syn | ack)"),
        }
    }

    /// The matches for everything but the packet that opens a connection; none if no packet can match.
    pub fn after_the_syn(self, by: SentBy) -> Vec<Selector> {
        self.sent(by, "!= syn")
    }

    /// The matches for SYNs in the acceptor's name, from its port; none if no packet can match.
    pub fn opened_by_the_acceptor(self) -> Vec<Selector> {
        self.sent(SentBy::Acceptor, "== syn")
    }

    /// The matches for segments that one end sends, with these flags among FIN, SYN, RST and ACK.
    fn sent(self, by: SentBy, flags: &str) -> Vec<Selector> {
        let (port, source, destination) = match by {
            SentBy::Opener => ("dport", "saddr", "daddr"),
            SentBy::Acceptor => ("sport", "daddr", "saddr"),
        };
        let ports = match self.ports {
            Some(ports) => format!("tcp {port} {{ {ports} }} "),
            None => String::new(),
        };
        let matches = format!("tcp flags & (fin | syn | rst | ack) {flags} {ports}");
        if self.from.is_everywhere() && self.to.is_everywhere() {
            return vec![Selector {
                family: None,
                text: matches,
            }];
        }
        FAMILIES
            .into_iter()
            .filter_map(|family| {
                let from = within(self.from, family, source)?;
                let to = within(self.to, family, destination)?;
                Some(Selector {
                    family: Some(family),
                    text: format!("{matches}{from}{to}"),
                })
            })
            .collect()
    }
}

// === impl Selector ===

impl Selector {
    /// The families it holds for.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        FAMILIES
            .into_iter()
            .filter(|family| self.family.is_none_or(|only| only == *family))
    }
}

/// Leaves alone what is signed end to end: an option that says so (19 TCP-MD5, RFC 2385; 29 TCP-AO,
/// RFC 5925) is in the opening packet, and no relay has the key.
pub(super) fn signed() -> String {
    ["md5sig", "29"]
        .map(|option| format!("\t\ttcp option {option} exists return\n"))
        .concat()
}

/// A match on a family's networks; `None` if none of them is of this family.
fn within(networks: &Networks, family: Family, field: &str) -> Option<String> {
    if networks.is_everywhere() {
        return Some(String::new());
    }
    // An anonymous set must not hold one network twice.
    let (header, named): (_, Vec<String>) = match family {
        Family::V4 => ("ip", {
            let all: Vec<_> = networks.v4().collect();
            Ipv4Net::aggregate(&all)
                .iter()
                .map(Ipv4Net::to_string)
                .collect()
        }),
        Family::V6 => ("ip6", {
            let all: Vec<_> = networks.v6().collect();
            Ipv6Net::aggregate(&all)
                .iter()
                .map(Ipv6Net::to_string)
                .collect()
        }),
    };
    (!named.is_empty()).then(|| format!("{header} {field} {{ {} }} ", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(from: &[&str], to: &[&str], opening: Opening) -> Vec<String> {
        let networks = |nets: &[&str]| Networks::parse(nets.iter().copied()).unwrap();
        let selection = Selection {
            ports: Some(&"22,873".parse().unwrap()),
            from: &networks(from),
            to: &networks(to),
        };
        let selectors = selection.of(opening);
        selectors
            .into_iter()
            .map(|selector| selector.text)
            .collect()
    }

    #[test]
    fn a_syn_ack_is_known_by_the_port_and_network_it_comes_from() {
        let rules = texts(&["10.0.0.0/8"], &["192.0.2.1"], Opening::SynAck);
        assert_eq!(
            rules,
            [
                "tcp flags & (fin | syn | rst | ack) == (syn | ack) tcp sport { 22, 873 } \
              ip daddr { 10.0.0.0/8 } ip saddr { 192.0.2.1/32 } "
            ]
        );
    }

    #[test]
    fn sources_of_one_family_leave_the_other_alone() {
        assert_eq!(texts(&["10.0.0.0/8"], &[], Opening::Syn).len(), 1);
        assert_eq!(
            texts(&["10.0.0.0/8", "2001:db8::/32"], &[], Opening::Syn).len(),
            2
        );
        assert_eq!(
            texts(&["10.0.0.0/8"], &["2001:db8::/32"], Opening::Syn).len(),
            0
        );
    }

    #[test]
    fn a_network_within_another_is_not_said_twice() {
        let rules = texts(&["10.1.0.0/16", "10.0.0.0/8"], &[], Opening::Syn);
        assert!(rules[0].contains("ip saddr { 10.0.0.0/8 } "), "{rules:?}");
    }
}
