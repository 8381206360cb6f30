//! What one end of a connection offers in its SYN.

use std::fmt;

use super::options::{Options, TcpOption};
use super::{Flags, Ip, Tcp};

/// The options of a SYN or SYN-ACK that decide what a connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Offer {
    /// Largest segment it wants to receive, in bytes.
    pub mss: Option<u16>,
    /// Its shift count, as it stands there; what is above 14 counts as 14 (RFC 7323, 2.3).
    pub window_scale: Option<u8>,
    /// Whether it would take selective acknowledgements.
    pub sack: bool,
    /// Whether it would use timestamps.
    pub timestamps: bool,
}

// === impl Offer ===

impl Offer {
    /// What stands in a TCP header; of an option that stands there twice the last one counts, as in Linux.
    #[must_use]
    pub fn of_options(options: Options) -> Self {
        let mut offer = Self::default();
        for option in options {
            match option {
                TcpOption::Mss(mss) => offer.mss = Some(mss),
                TcpOption::WindowScale(shift) => offer.window_scale = Some(shift),
                TcpOption::SackPermitted => offer.sack = true,
                TcpOption::Timestamps { .. } => offer.timestamps = true,
                _ => {}
            }
        }
        offer
    }

    /// What stands in a packet that starts with its IP header, if that is a whole SYN or SYN-ACK.
    #[must_use]
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        let ip = Ip::parse(packet).ok()?;
        if !ip.has_tcp_header() {
            return None;
        }
        let segment = Tcp::parse(packet.get(ip.payload..ip.end)?).ok()?;
        segment
            .flags()
            .has(Flags::SYN)
            .then(|| Self::of_options(segment.options()))
    }
}

/// `mss 1460, wscale 7, sack, timestamps`; what is not offered is left out.
impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut parts = Vec::with_capacity(4);
        parts.extend(self.mss.map(|mss| format!("mss {mss}")));
        parts.extend(self.window_scale.map(|shift| format!("wscale {shift}")));
        parts.extend(self.sack.then(|| "sack".to_owned()));
        parts.extend(self.timestamps.then(|| "timestamps".to_owned()));
        if parts.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{FAMILIES, Segment};
    use super::*;

    const LINUX: [u8; 20] = [
        2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
    ];

    #[test]
    fn a_syn_of_either_family_tells_what_it_offers() {
        for family in FAMILIES {
            let syn = Segment {
                family,
                flags: Flags::SYN,
                options: LINUX.to_vec(),
                ..Segment::default()
            };
            let offer = Offer::of_packet(&syn.build()).unwrap();
            let expected = Offer {
                mss: Some(1460),
                window_scale: Some(7),
                sack: true,
                timestamps: true,
            };
            assert_eq!(offer, expected);
            assert_eq!(offer.to_string(), "mss 1460, wscale 7, sack, timestamps");
        }
    }

    #[test]
    fn a_bare_syn_offers_nothing() {
        let syn = Segment {
            flags: Flags::SYN,
            ..Segment::default()
        };
        let offer = Offer::of_packet(&syn.build()).unwrap();
        assert_eq!(offer, Offer::default());
        assert_eq!(offer.to_string(), "nothing");
    }

    #[test]
    fn what_opens_no_connection_offers_nothing_to_speak_of() {
        let data = Segment {
            options: LINUX.to_vec(),
            ..Segment::default()
        };
        assert_eq!(Offer::of_packet(&data.build()), None);
        assert_eq!(Offer::of_packet(&[]), None);
    }

    #[test]
    fn of_an_option_that_stands_there_twice_the_last_counts() {
        let syn = Segment {
            flags: Flags::SYN,
            options: vec![2, 4, 5, 180, 2, 4, 3, 172],
            ..Segment::default()
        };
        assert_eq!(Offer::of_packet(&syn.build()).unwrap().mss, Some(940));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_asked(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
            version in prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let _ = Offer::of_packet(&bytes);
        }
    }
}
