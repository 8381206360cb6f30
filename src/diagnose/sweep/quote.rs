//! A SYN as a router quotes it, compared with how it was sent (tracebox: Detal et al., IMC 2013).

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::came;
use crate::packet::Ip;

/// What may be changed on the way, of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Source address or port.
    Source,
    /// Destination address or port.
    Destination,
    /// Sequence number.
    Sequence,
    /// DSCP.
    Dscp,
    /// ECN in the IP header.
    Ecn,
    /// The flags that offer ECN (ECE, CWR).
    EcnOffer,
    /// Window.
    Window,
    /// Urgent pointer.
    Urgent,
    /// The MSS option.
    Mss,
    /// The window-scale option.
    WindowScale,
    /// The SACK-permitted option.
    SackPermitted,
    /// The timestamps option.
    Timestamps,
    /// The option that nobody knows.
    UnknownOption,
}

/// A SYN, or as much of it as is there: what is not there is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Its fields that are there, in the order of [`Field::ALL`].
    values: Vec<(Field, String)>,
    /// Who sends it.
    pub source: SocketAddr,
    /// IPv4's identification.
    pub identification: Option<u16>,
    /// The sequence number.
    pub sequence: u32,
    /// Whether all of its TCP header is there.
    pub whole: bool,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub field: Field,
    /// As it was sent.
    pub was: String,
    /// As it arrived.
    pub is: String,
}

/// What stands for an option that is not there.
pub const ABSENT: &str = "none";

// === impl Field ===

impl Field {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Source,
        Self::Destination,
        Self::Sequence,
        Self::Dscp,
        Self::Ecn,
        Self::EcnOffer,
        Self::Window,
        Self::Urgent,
        Self::Mss,
        Self::WindowScale,
        Self::SackPermitted,
        Self::Timestamps,
        Self::UnknownOption,
    ];

    /// Whether only a SYN with everything offers it.
    #[must_use]
    pub fn only_in_rich(self) -> bool {
        matches!(self, Self::UnknownOption | Self::EcnOffer)
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Sequence => "sequence number",
            Self::Dscp => "DSCP",
            Self::Ecn => "ECN",
            Self::EcnOffer => "offer of ECN",
            Self::Window => "window",
            Self::Urgent => "urgent pointer",
            Self::Mss => "MSS",
            Self::WindowScale => "window scale",
            Self::SackPermitted => "SACK-permitted",
            Self::Timestamps => "timestamps",
            Self::UnknownOption => "unknown option",
        }
    }
}

// === impl Quoted ===

impl Quoted {
    /// Reads one; `None` where not even ports and sequence number are there (RFC 792 has routers quote those), or it is no
    /// TCP.
    #[must_use]
    pub fn read(quote: &[u8]) -> Option<Self> {
        let ip = Ip::parse_quoted(quote).ok()?;
        if !ip.has_tcp_header() {
            return None;
        }
        let tcp = quote.get(ip.payload..ip.end)?;
        let word = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
        let source = SocketAddr::new(ip.source, word(0)?);
        let destination = SocketAddr::new(ip.destination, word(2)?);
        let sequence = u32::from(word(4)?) << 16 | u32::from(word(6)?);
        let class = match ip.is_v4() {
            true => quote[1],
            false => quote[0] << 4 | quote[1] >> 4,
        };
        let mut values = vec![
            (Field::Source, source.to_string()),
            (Field::Destination, destination.to_string()),
            (Field::Sequence, sequence.to_string()),
            (Field::Dscp, (class >> 2).to_string()),
            (Field::Ecn, (class & 3).to_string()),
        ];
        let header = tcp.get(12).map(|offset| usize::from(offset >> 4) * 4);
        let header = header.filter(|length| *length >= 20);
        if header.is_some()
            && let Some(flags) = tcp.get(13)
        {
            let offer = if flags & 0xc0 == 0xc0 { "yes" } else { ABSENT };
            values.push((Field::EcnOffer, offer.to_owned()));
            values.extend(word(14).map(|window| (Field::Window, window.to_string())));
            values.extend(word(18).map(|urgent| (Field::Urgent, urgent.to_string())));
        }
        let header = header.and_then(|length| tcp.get(..length));
        if let Some(header) = header {
            let options = came::options(header);
            let text = |value: Option<String>| value.unwrap_or_else(|| ABSENT.to_owned());
            let there = |is: bool| text(is.then(|| "yes".to_owned()));
            let value = options.timestamps.map(|(value, _)| value.to_string());
            values.extend([
                (Field::Mss, text(options.mss.map(|mss| mss.to_string()))),
                (
                    Field::WindowScale,
                    text(options.window_scale.map(|shift| shift.to_string())),
                ),
                (Field::SackPermitted, there(options.sack_permitted)),
                (Field::Timestamps, text(value)),
                (Field::UnknownOption, there(options.unknown)),
            ]);
        }
        Some(Self {
            values,
            source,
            identification: ip.is_v4().then(|| u16::from_be_bytes([quote[4], quote[5]])),
            sequence,
            whole: header.is_some(),
        })
    }

    /// One that tells nothing.
    #[must_use]
    pub fn nothing(source: SocketAddr) -> Self {
        Self {
            values: Vec::new(),
            source,
            identification: None,
            sequence: 0,
            whole: false,
        }
    }

    /// Whether a field is there.
    #[must_use]
    pub fn tells(&self, field: Field) -> bool {
        self.value(field).is_some()
    }

    /// What differs from how it was sent, as far as it is there.
    #[must_use]
    pub fn differences(&self, sent: &Self) -> Vec<Difference> {
        let differs = |field: &Field| {
            let (was, is) = (sent.value(*field)?, self.value(*field)?);
            (was != is).then(|| Difference {
                field: *field,
                was: was.to_owned(),
                is: is.to_owned(),
            })
        };
        Field::ALL.iter().filter_map(differs).collect()
    }

    fn value(&self, field: Field) -> Option<&str> {
        let found = self.values.iter().find(|(each, _)| *each == field);
        found.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::flow::{Offer, syn_options};
    use super::*;
    use crate::packet::Flags;
    use crate::packet::samples::{FAMILIES, Family, Segment};

    fn syn(family: Family) -> Vec<u8> {
        let mut options = syn_options(Offer::Everything, 1460, 77);
        options.extend([253, 4, 0, 1]);
        let flags = Flags::SYN;
        let segment = Segment {
            family,
            flags,
            options,
            ..Default::default()
        };
        segment.build()
    }

    #[test]
    fn a_quotation_cut_short_anywhere_differs_in_nothing_and_tells_what_is_there() {
        for family in FAMILIES {
            let packet = syn(family);
            let sent = Quoted::read(&packet).unwrap();
            let header = packet.len() - 44;
            for length in 0..=packet.len() {
                let quoted = Quoted::read(&packet[..length]);
                assert_eq!(quoted.is_some(), length >= header + 8, "{length}");
                let Some(quoted) = quoted else { continue };
                assert_eq!(quoted.differences(&sent), []);
                assert_eq!(quoted.tells(Field::Window), length >= header + 16);
                assert_eq!(quoted.tells(Field::Mss), length == packet.len());
                assert_eq!(quoted.whole, length == packet.len());
            }
        }
    }

    #[test]
    fn an_option_that_was_taken_away_is_a_difference() {
        let packet = syn(Family::V4);
        let mut stripped = packet.clone();
        stripped[20 + 24..20 + 26].fill(1);
        let sent = Quoted::read(&packet).unwrap();
        let difference = Difference {
            field: Field::SackPermitted,
            was: "yes".into(),
            is: ABSENT.into(),
        };
        let differences = Quoted::read(&stripped).unwrap().differences(&sent);
        assert_eq!(differences, [difference]);
    }

    proptest! {
        #[test]
        fn a_quotation_from_a_stranger_never_panics(
            v6: bool,
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
            keep in 0_usize..80,
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let packet = syn(family);
            let keep = keep.min(bytes.len()).min(packet.len());
            bytes[..keep].copy_from_slice(&packet[..keep]);
            if let Some(quoted) = Quoted::read(&bytes) {
                let _ = quoted.differences(&Quoted::read(&packet).unwrap());
            }
            let _ = came::read(&bytes);
        }
    }
}
