//! Leg profiles: what the leg on the mangled side may negotiate.

use std::str::FromStr;

/// What one leg may negotiate.
///
/// A socket can hold down its MSS; the options themselves only the wire can take away, because Linux
/// has no per-socket switch for SACK or window scale. [`Profile::strip`] is what the rules do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name it is asked for by.
    pub name: &'static str,
    /// What it defends against, in one line.
    pub summary: &'static str,
    /// The TCP options that must not be negotiated.
    pub strip: Strip,
    /// Largest segment on this leg in bytes, 88 to 32767, as in the MSS option (RFC 9293, 3.7.1).
    pub mss: Option<u16>,
}

/// TCP options removed from SYN and SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strip {
    /// SACK-permitted (RFC 2018).
    pub sack_permitted: bool,
    /// Window scale (RFC 7323).
    pub window_scale: bool,
}

/// Every preset, in the order in which they are listed.
pub const PRESETS: [Profile; 4] = [
    Profile {
        name: "clean",
        summary: "nothing is changed: the connection is only split",
        strip: Strip {
            sack_permitted: false,
            window_scale: false,
        },
        mss: None,
    },
    Profile {
        name: "isn-rewrite",
        summary: "sequence numbers are rewritten, SACK blocks are not: SACK off",
        strip: Strip {
            sack_permitted: true,
            window_scale: false,
        },
        mss: None,
    },
    Profile {
        name: "cisco-pix",
        summary: "the PIX of the story: SACK off, window scale off, segments of 940 bytes",
        strip: Strip {
            sack_permitted: true,
            window_scale: true,
        },
        // 940 bytes of data, 40 of IPv6 and 20 of TCP header make 1000: below the 1020 that it mangles.
        mss: Some(940),
    },
    Profile {
        name: "wscale-strip",
        summary: "window scale is taken from one side only: window scale off",
        strip: Strip {
            sack_permitted: false,
            window_scale: true,
        },
        mss: None,
    },
];

/// No preset has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no profile is called {0:?}; there are: {list}", list = names().join(", "))]
pub struct UnknownProfile(pub String);

/// The names of every preset.
pub fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        PRESETS
            .iter()
            .find(|preset| preset.name == name)
            .cloned()
            .ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

impl Profile {
    /// Nothing is changed.
    pub fn clean() -> Self {
        PRESETS[0].clone()
    }

    /// Whether the wire must change SYN and SYN-ACK for this profile.
    pub fn needs_the_wire(&self) -> bool {
        self.strip != Strip::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name() {
        for name in names() {
            assert_eq!(name.parse::<Profile>().unwrap().name, name);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "cisco".parse::<Profile>().unwrap_err().to_string();
        assert_eq!(
            error,
            "no profile is called \"cisco\"; there are: clean, isn-rewrite, cisco-pix, wscale-strip"
        );
    }

    #[test]
    fn a_cisco_pix_packet_stays_below_what_the_firewall_mangles() {
        let mss = "cisco-pix".parse::<Profile>().unwrap().mss.unwrap();
        assert!(mss + 40 + 20 <= 1020, "with an IPv6 header");
    }
}
