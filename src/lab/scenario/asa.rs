//! What Cisco documents of the ASA and of Firepower Threat Defense as they come.
//!
//! - ISNs are randomised "in both the inbound and outbound directions", which "effectively breaks TCP
//!   SACK, as the sequence numbers the client sees are different from what the server sees" (Cisco
//!   Secure Firewall Management Center guide, "Disable TCP Sequence Randomization").
//! - SACK is let through all the same, and so are timestamps and window scale: a TCP map defaults to
//!   `tcp-options selective-ack allow`, `timestamp allow`, `window-scale allow` (ASA 9.6 Firewall CLI
//!   guide, "Customize Abnormal TCP Packet Handling"). Only rarer options are cleared.
//! - An MSS above 1380 is overwritten with 1380: `sysopt connection tcpmss 1380` (ASA CLI guide,
//!   "About the TCP MSS").

use super::{Between, Scenario, isn_rewrite};
use crate::lab::tool::Tool;
use crate::lab::wire::Direction;

pub(super) fn scenario() -> Scenario {
    let mangling = Direction {
        mss: Some(1380),
        ..isn_rewrite::mangling()
    };
    Scenario {
        name: "asa",
        story: "A Cisco ASA as it comes: sequence numbers randomised but not those in SACK, which it \
                allows; MSS lowered to 1380; 0.3 % of the packets are lost on the long leg.",
        firewall: Between::both(mangling),
        long_leg: Between::both(isn_rewrite::losing()),
        profile: "asa",
        tool: Tool::Scp,
    }
}
