//! What SYN and SYN-ACK lose, as nftables statements.

use crate::config::Strip;

/// One statement a rule, for packets that are known to be SYN or SYN-ACK; none if nothing is lost.
pub(super) fn rules(strip: Strip, mss: Option<u16>) -> Vec<String> {
    let mut rules = Vec::new();
    if strip.sack_permitted {
        rules.push("reset tcp option sack-perm".to_owned());
    }
    if strip.window_scale {
        rules.push("reset tcp option window".to_owned());
    }
    if strip.timestamps {
        rules.push("reset tcp option timestamp".to_owned());
    }
    if strip.ecn {
        // Whole fields, because nft 1.0.6 mends no checksum when it writes single bits (`@th,103,3`).
        for flags in ["syn", "syn | ack"] {
            rules.push(format!(
                "tcp flags & (syn | ack) == ({flags}) tcp flags & (ecn | cwr) != 0 tcp flags set {flags}"
            ));
        }
        // The third bit of the offer of Accurate ECN (RFC 9768, 3.1.1).
        rules.push("tcp reserved set 0".to_owned());
    }
    if let Some(mss) = mss {
        // The kernel never raises it by this.
        rules.push(format!("tcp option maxseg size set {mss}"));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    fn of(profile: &str) -> Vec<String> {
        let profile: Profile = profile.parse().unwrap();
        rules(profile.strip, profile.mss)
    }

    #[test]
    fn the_profile_decides_what_is_stripped() {
        assert!(of("clean").is_empty());
        assert_eq!(of("isn-rewrite"), ["reset tcp option sack-perm"]);
        assert_eq!(of("wscale-strip"), ["reset tcp option window"]);
        assert_eq!(of("blackhole"), ["tcp option maxseg size set 940"]);
        assert_eq!(of("cisco-pix").len(), 3);
    }
}
