//! The rules without a relay as text for `iptables-restore` and `ip6tables-restore`, for kernels whose nftables
//! cannot strip options.
//!
//! TCPOPTSTRIP exists in the mangle table alone, so conntrack has seen the options by then; the two hosts and the
//! firewall have not.

use super::iptables::{SYN, SYN_ACK, selected, strip};
use super::normalise::Normalising;
use super::routes::Family;
use super::select::{Opening, Selection};

/// What `iptables-restore --noflush` (or `ip6tables-restore --noflush`) loads.
pub(super) fn restore(plan: &Normalising, family: Family) -> String {
    let side = &plan.mangled_side;
    let selection = Selection {
        ports: plan.ports.as_ref(),
        from: &plan.from,
        to: &plan.to,
    };
    let mut lines = vec![
        "# Other than the rules for nftables, these show conntrack what was offered before they strip it.".to_owned(),
        "*mangle".to_owned(),
        ":UNMANGLE_NORMALISE - [0:0]".to_owned(),
        ":UNMANGLE_NORMALISE_STRIP - [0:0]".to_owned(),
    ];
    for (hook, direction) in [("PREROUTING", "-i"), ("FORWARD", "-o"), ("OUTPUT", "-o")] {
        lines.push(format!(
            "-A {hook} {direction} {side} -p tcp --tcp-flags SYN SYN -j UNMANGLE_NORMALISE"
        ));
    }
    // What is signed end to end (TCP-MD5, TCP-AO) is left alone.
    for option in [19, 29] {
        lines.push(format!(
            "-A UNMANGLE_NORMALISE -p tcp --tcp-option {option} -j RETURN"
        ));
    }
    for (opening, flags) in [(Opening::Syn, SYN), (Opening::SynAck, SYN_ACK)] {
        for matches in selected(selection, family, opening) {
            lines.push(format!(
                "-A UNMANGLE_NORMALISE {flags}{matches} -j UNMANGLE_NORMALISE_STRIP"
            ));
        }
    }
    lines.extend(strip(
        "UNMANGLE_NORMALISE_STRIP",
        plan.strip,
        plan.mss,
        family,
    ));
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}
