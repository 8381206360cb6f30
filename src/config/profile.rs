//! Leg profiles: what the leg on the mangled side may negotiate.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What one leg may negotiate, and how its socket is set.
///
/// A socket can hold down its MSS; the options themselves only the wire can take away, because Linux
/// has no per-socket switch for them. [`Profile::strip`] is what the rules do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name it is asked for by.
    pub name: String,
    /// What it defends against, and what that costs, in one line.
    pub summary: String,
    /// What must not be negotiated.
    pub strip: Strip,
    /// Largest segment on this leg in bytes, 88 to 32767, as in the MSS option (RFC 9293, 3.7.1).
    pub mss: Option<u16>,
    /// Most bytes that the receive window is opened to (`TCP_WINDOW_CLAMP`). Up to 65535 the socket
    /// also announces a window scale of 0.
    pub window_clamp: Option<u32>,
    /// What the leg sends by.
    pub congestion_control: CongestionControl,
    /// When a silent peer is probed and given up; the relay's setting if `None`.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged before the leg is ended (`TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
    /// Most unsent bytes that the leg reports itself writable with (`TCP_NOTSENT_LOWAT`).
    pub notsent_lowat: Option<u32>,
}

/// What a leg sends by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CongestionControl {
    /// The host's, but a short leg is not paced.
    #[default]
    Fitting,
    /// The host's, whatever it is.
    Host,
    /// This, by the kernel's name for it, such as `cubic`.
    Named(String),
}

/// What is removed from SYN and SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strip {
    /// SACK-permitted (RFC 2018).
    pub sack_permitted: bool,
    /// Window scale (RFC 7323).
    pub window_scale: bool,
    /// Timestamps (RFC 7323).
    pub timestamps: bool,
    /// The offer of ECN, which is flags and not an option (RFC 3168, 6.1.1).
    pub ecn: bool,
}

/// When a silent peer is probed, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer before the leg is ended with `ETIMEDOUT`.
    pub probes: u32,
}

// === impl CongestionControl ===

impl CongestionControl {
    /// By its word in a file.
    pub fn from_word(word: String) -> Self {
        match word.as_str() {
            "auto" => Self::Fitting,
            "host" => Self::Host,
            _ => Self::Named(word),
        }
    }

    /// Its word in a file.
    pub fn word(&self) -> &str {
        match self {
            Self::Fitting => "auto",
            Self::Host => "host",
            Self::Named(name) => name,
        }
    }

    /// Has the host decide, unless one was given.
    pub fn leave_to_host(&mut self) {
        if *self == Self::Fitting {
            *self = Self::Host;
        }
    }

    /// The kernel's name, if one was given.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Fitting | Self::Host => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(15),
            probes: 6,
        }
    }
}

const NOTHING: Strip = Strip {
    sack_permitted: false,
    window_scale: false,
    timestamps: false,
    ecn: false,
};

/// What a preset differs in from a leg that is left as it is.
struct Preset {
    name: &'static str,
    summary: &'static str,
    strip: Strip,
    mss: Option<u16>,
    keepalive: Option<Keepalive>,
}

/// Every preset, in the order in which they are listed.
const PRESETS: [Preset; 7] = [
    Preset {
        name: "clean",
        summary: "nothing is changed: the connection is only split",
        strip: NOTHING,
        mss: None,
        keepalive: None,
    },
    Preset {
        name: "isn-rewrite",
        summary: "sequence numbers are rewritten, SACK blocks are not: SACK off; losses on this leg \
                  are repaired more slowly",
        strip: Strip {
            sack_permitted: true,
            ..NOTHING
        },
        mss: None,
        keepalive: None,
    },
    Preset {
        name: "cisco-pix",
        summary: "the PIX of the story: SACK off, window scale off, segments of 940 bytes; windows of \
                  64 KiB, half as many packets again",
        strip: Strip {
            sack_permitted: true,
            window_scale: true,
            ..NOTHING
        },
        // 940 bytes of data, 40 of IPv6 and 20 of TCP header make 1000: below the 1020 that it mangles.
        mss: Some(940),
        keepalive: None,
    },
    Preset {
        name: "wscale-strip",
        summary: "window scale is taken from one side only: window scale off; windows of 64 KiB",
        strip: Strip {
            window_scale: true,
            ..NOTHING
        },
        mss: None,
        keepalive: None,
    },
    Preset {
        name: "blackhole",
        summary: "large packets vanish and nobody is told: segments of 940 bytes; half as many packets \
                  again",
        strip: NOTHING,
        mss: Some(940),
        keepalive: None,
    },
    Preset {
        name: "idle-drop",
        summary: "idle flows are forgotten: a probe after 10 s of silence; a small packet each 10 s",
        strip: NOTHING,
        mss: None,
        keepalive: Some(Keepalive {
            idle: Duration::from_secs(10),
            interval: Duration::from_secs(5),
            probes: 6,
        }),
    },
    Preset {
        name: "asa",
        summary: "an ASA or FTD: sequence numbers are rewritten, SACK is not, 1380 is its default MSS: \
                  SACK off, segments of 1380 bytes",
        strip: Strip {
            sack_permitted: true,
            ..NOTHING
        },
        // `sysopt connection tcpmss 1380` is the default of an ASA (Cisco's command reference); asking
        // for no more leaves it nothing to rewrite.
        mss: Some(1380),
        keepalive: None,
    },
];

/// No profile has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no profile is called {name:?}; there are: {known}", known = .known.join(", "))]
pub struct UnknownProfile {
    /// The name that was asked for.
    pub name: String,
    /// The names that there are.
    pub known: Vec<String>,
}

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
            .map(Profile::from)
            .ok_or_else(|| UnknownProfile {
                name: name.to_owned(),
                known: names().into_iter().map(str::to_owned).collect(),
            })
    }
}

impl From<&Preset> for Profile {
    fn from(preset: &Preset) -> Self {
        Self {
            name: preset.name.to_owned(),
            summary: preset.summary.to_owned(),
            strip: preset.strip,
            mss: preset.mss,
            window_clamp: None,
            congestion_control: CongestionControl::Fitting,
            keepalive: preset.keepalive,
            user_timeout: None,
            notsent_lowat: None,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::clean()
    }
}

impl fmt::Display for Strip {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let all = [
            (self.sack_permitted, "SACK"),
            (self.window_scale, "window scale"),
            (self.timestamps, "timestamps"),
            (self.ecn, "ECN"),
        ];
        let stripped: Vec<&str> = all
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| *name)
            .collect();
        f.write_str(if stripped.is_empty() { "nothing" } else { "" })?;
        f.write_str(&stripped.join(", "))
    }
}

impl Profile {
    /// Nothing is changed.
    pub fn clean() -> Self {
        Self::from(&PRESETS[0])
    }

    /// Whether the wire must change SYN and SYN-ACK for this profile.
    pub fn needs_the_wire(&self) -> bool {
        self.strip != NOTHING
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
            "no profile is called \"cisco\"; there are: clean, isn-rewrite, cisco-pix, wscale-strip, blackhole, \
             idle-drop, asa"
        );
    }

    #[test]
    fn a_cisco_pix_packet_stays_below_what_the_firewall_mangles() {
        let mss = "cisco-pix".parse::<Profile>().unwrap().mss.unwrap();
        assert!(mss + 40 + 20 <= 1020, "with an IPv6 header");
    }
}
