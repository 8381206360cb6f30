//! Why conntrack called a packet INVALID, from the text it logs. The texts differ by kernel; each is of
//! `net/netfilter/nf_conntrack_proto*.c`, and comes as `nf_ct_proto_6: SEQ is over upper bound 1102 (...)`.

/// Why a packet was INVALID. The names are labels of a metric: few, and they stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Data beyond the window that the receiver had opened.
    SeqOverWindow,
    /// An ACK, or a SACK, of data that was not seen: how a firewall that changes sequence numbers shows.
    AckOverSeen,
    /// Data acknowledged long ago; up to Linux 6.0.
    SeqUnderWindow,
    /// An ACK that comes much too late; up to Linux 6.0.
    AckUnderWindow,
    /// A segment that does not fit the connection's state.
    State,
    /// A connection that does not begin with a SYN.
    New,
    /// A reset out of sequence.
    Reset,
    /// Flags that do not go together.
    Flags,
    /// A wrong checksum.
    Checksum,
    /// A header that is cut short or contradicts itself.
    Malformed,
    /// Whatever is wrong with ICMP: mostly an error about a connection that is not known.
    Icmp,
    /// A text that is not known here.
    Other,
}

/// What a text in the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A packet was INVALID.
    Invalid(Reason),
    /// A packet was odd, and conntrack let it pass for what it is.
    Passed,
    /// More about a packet of which the line before told.
    More,
}

/// IPPROTO_ICMP and IPPROTO_ICMPV6.
const ICMP: [u8; 2] = [1, 58];

// === impl Reason ===

impl Reason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SeqOverWindow,
        Self::AckOverSeen,
        Self::SeqUnderWindow,
        Self::AckUnderWindow,
        Self::State,
        Self::New,
        Self::Reset,
        Self::Flags,
        Self::Checksum,
        Self::Malformed,
        Self::Icmp,
        Self::Other,
    ];

    /// As it is called in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::SeqOverWindow => "seq_over_window",
            Self::AckOverSeen => "ack_over_seen",
            Self::SeqUnderWindow => "seq_under_window",
            Self::AckUnderWindow => "ack_under_window",
            Self::State => "state",
            Self::New => "new",
            Self::Reset => "reset",
            Self::Flags => "flags",
            Self::Checksum => "checksum",
            Self::Malformed => "malformed",
            Self::Icmp => "icmp",
            Self::Other => "other",
        }
    }
}

// === impl Said ===

impl Said {
    /// What a text says; none if it is not conntrack's.
    pub fn parse(text: &str) -> Option<Self> {
        let (protocol, said) = text.strip_prefix("nf_ct_proto_")?.split_once(':')?;
        let protocol: u8 = protocol.parse().ok()?;
        let said = said.trim();
        if said.contains(" lower timeout to ") {
            return Some(Self::More);
        }
        // "the lower bound" was INVALID until Linux 6.0; "lower bound N" has not been since 6.1.
        let passed = said.contains("ignored")
            || said.contains(" bytes more than expected")
            || said.starts_with("SEQ is under lower bound");
        if passed {
            return Some(Self::Passed);
        }
        Some(Self::Invalid(match ICMP.contains(&protocol) {
            true => Reason::Icmp,
            false => reason(said),
        }))
    }
}

fn reason(said: &str) -> Reason {
    let begins = |text: &str| said.starts_with(text);
    let has = |text: &str| said.contains(text);
    if begins("SEQ is over ") {
        Reason::SeqOverWindow
    } else if begins("ACK is over ") {
        Reason::AckOverSeen
    } else if begins("SEQ is under ") {
        Reason::SeqUnderWindow
    } else if begins("ACK is under ") {
        Reason::AckUnderWindow
    } else if begins("invalid new") {
        Reason::New
    } else if begins("invalid rst") {
        Reason::Reset
    } else if begins("invalid state") || has(" invalid, state ") {
        Reason::State
    } else if has("flag combination") {
        Reason::Flags
    } else if has("checksum") {
        Reason::Checksum
    } else if has("short packet") || has("truncated") || has("malformed") {
        Reason::Malformed
    } else {
        Reason::Other
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use Reason::*;
    use Said::{Invalid, More, Passed};
    use proptest::prelude::*;

    use super::*;

    /// Linux 5.10: every text of its TCP.
    const LINUX_5_10: [(&str, Said); 13] = [
        (
            "nf_ct_proto_6: SEQ is over the upper bound (over the window of the receiver) ",
            Invalid(SeqOverWindow),
        ),
        (
            "nf_ct_proto_6: ACK is over the upper bound (ACKed data not seen yet) ",
            Invalid(AckOverSeen),
        ),
        (
            "nf_ct_proto_6: SEQ is under the lower bound (already ACKed data retransmitted) ",
            Invalid(SeqUnderWindow),
        ),
        (
            "nf_ct_proto_6: ACK is under the lower bound (possible overly delayed ACK) ",
            Invalid(AckUnderWindow),
        ),
        ("nf_ct_proto_6: BUG ", Invalid(Other)),
        ("nf_ct_proto_6: invalid state ", Invalid(State)),
        ("nf_ct_proto_6: invalid rst ", Invalid(Reset)),
        ("nf_ct_proto_6: short packet ", Invalid(Malformed)),
        ("nf_ct_proto_6: truncated packet ", Invalid(Malformed)),
        ("nf_ct_proto_6: bad checksum ", Invalid(Checksum)),
        (
            "nf_ct_proto_6: invalid tcp flag combination ",
            Invalid(Flags),
        ),
        (
            "nf_ct_proto_6: invalid packet ignored in state ESTABLISHED  ",
            Passed,
        ),
        ("nf_ct_proto_6: challenge-ack ignored ", Passed),
    ];

    /// Linux 6.1 and 6.12; those marked were recorded from 6.18.
    const SINCE_LINUX_6_1: [(&str, Said); 13] = [
        (
            // 6.18
            "nf_ct_proto_6: SEQ is over upper bound 1102 (over the window of the receiver) ",
            Invalid(SeqOverWindow),
        ),
        (
            // 6.18
            "nf_ct_proto_6: ACK is over upper bound 502 (ACKed data not seen yet) ",
            Invalid(AckOverSeen),
        ),
        (
            // 6.18
            "nf_ct_proto_6: SEQ is under lower bound 4294966796 (already ACKed data retransmitted) ",
            Passed,
        ),
        (
            "nf_ct_proto_6: ignored ACK under lower bound 77 (possible overly delayed) ",
            Passed,
        ),
        ("nf_ct_proto_6: 14 bytes more than expected ", Passed),
        // 6.18
        (
            "nf_ct_proto_6: invalid tcp flag combination ",
            Invalid(Flags),
        ),
        // 6.18
        ("nf_ct_proto_6: bad checksum ", Invalid(Checksum)),
        // 6.18
        ("nf_ct_proto_6: invalid new ", Invalid(New)),
        // 6.18
        ("nf_ct_proto_6: invalid rst ", Invalid(Reset)),
        (
            // 6.18
            "nf_ct_proto_6: packet (index 1) in dir 1 ignored, state ESTABLISHED ",
            Passed,
        ),
        (
            "nf_ct_proto_6: packet (index 2) in dir 1 invalid, state SYN_SENT ",
            Invalid(State),
        ),
        (
            "nf_ct_proto_6: packet (index 4, dir 0) response for index 3 lower timeout to 10000 ",
            More,
        ),
        ("nf_ct_proto_6: challenge-ack ignored ", Passed),
    ];

    #[test]
    fn the_texts_of_several_kernels_are_told_apart() {
        for (text, said) in LINUX_5_10.into_iter().chain(SINCE_LINUX_6_1) {
            assert_eq!(Said::parse(text), Some(said), "{text:?}");
        }
    }

    #[test]
    fn other_protocols_and_texts_of_kernels_to_come_are_counted_too() {
        let invalid = |text| match Said::parse(text) {
            Some(Invalid(reason)) => reason,
            other => panic!("{text:?}: {other:?}"),
        };
        assert_eq!(invalid("nf_ct_proto_1: bad hw icmp checksum "), Icmp);
        assert_eq!(invalid("nf_ct_proto_58: invalid new with type 129 "), Icmp);
        assert_eq!(
            invalid("nf_ct_proto_17: truncated/malformed packet "),
            Malformed
        );
        assert_eq!(invalid("nf_ct_proto_6: something new "), Other);
    }

    #[test]
    fn what_other_rules_log_is_not_conntracks() {
        for text in ["", "INPUT drop: ", "nf_ct_proto_x: invalid rst", "nf_ct_"] {
            assert_eq!(Said::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.map(Reason::name).into();
        assert_eq!(names.len(), Reason::ALL.len());
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_taken_for_a_reason(text in ".*") {
            let _ = Said::parse(&format!("nf_ct_proto_6:{text}"));
        }
    }
}
