//! Verdicts in the kernel's own words, as `nf_conntrack_log_invalid` logs them, to be compared with what
//! it does log.

use super::{Bound, Ignored, Invalid, Kernel, Kind, Measured, Moment, Passed, Way};

// === impl Invalid ===

impl Invalid {
    /// What the kernel logs after `nf_ct_proto_6: `; none where it logs nothing.
    #[must_use]
    pub fn logged(&self, kernel: Kernel) -> Option<String> {
        let old = kernel == Kernel::V5_10;
        let measured = self.measured;
        let allowed = measured.map_or(0, |measured| measured.allowed);
        Some(match self.bound {
            Bound::SeqOverWindow if old => {
                "SEQ is over the upper bound (over the window of the receiver)".to_owned()
            }
            Bound::SeqOverWindow => format!(
                "SEQ is over upper bound {} (over the window of the receiver)",
                allowed.wrapping_add(1)
            ),
            Bound::AckOverSeen if old => {
                "ACK is over the upper bound (ACKed data not seen yet)".to_owned()
            }
            Bound::AckOverSeen => format!(
                "ACK is over upper bound {} (ACKed data not seen yet)",
                allowed.wrapping_add(1)
            ),
            Bound::SeqUnderWindow => {
                "SEQ is under the lower bound (already ACKed data retransmitted)".to_owned()
            }
            Bound::AckUnderWindow => {
                "ACK is under the lower bound (possible overly delayed ACK)".to_owned()
            }
            Bound::State if old => "invalid state".to_owned(),
            Bound::State => format!("{} invalid, state {}", packet(&self.moment), self.state()),
            // Nor is it logged that a connection would have been picked up.
            Bound::New if kernel < Kernel::V6_12 || self.moment.kind == Kind::Ack => return None,
            Bound::New => "invalid new".to_owned(),
            Bound::Reset => "invalid rst".to_owned(),
            Bound::Flags => "invalid tcp flag combination".to_owned(),
            Bound::Checksum => "bad checksum".to_owned(),
            Bound::Malformed => "truncated packet".to_owned(),
        })
    }

    fn state(&self) -> &'static str {
        self.moment.state.name()
    }
}

// === impl Ignored ===

impl Ignored {
    /// What the kernel logs after `nf_ct_proto_6: `.
    #[must_use]
    pub fn logged(&self, kernel: Kernel) -> String {
        let state = self.moment.state.name();
        let below = |Measured { allowed, .. }| allowed.wrapping_sub(1);
        let bound = self.measured.map_or(0, below);
        match self.why {
            Passed::State if kernel == Kernel::V5_10 => {
                format!("invalid packet ignored in state {state}")
            }
            Passed::State => format!("{} ignored, state {state}", packet(&self.moment)),
            Passed::ChallengeAck => "challenge-ack ignored".to_owned(),
            Passed::Overshot => {
                let out_by = self.measured.map_or(0, |measured| measured.out_by);
                format!("{} bytes more than expected", out_by.wrapping_add(1))
            }
            Passed::SeqUnderWindow => {
                format!("SEQ is under lower bound {bound} (already ACKed data retransmitted)")
            }
            Passed::AckUnderWindow => {
                format!("ignored ACK under lower bound {bound} (possible overly delayed)")
            }
        }
    }
}

/// A packet by the kernel's numbers for kinds and ways.
fn packet(moment: &Moment) -> String {
    let index = match moment.kind {
        Kind::Syn => 0,
        Kind::SynAck => 1,
        Kind::Fin => 2,
        Kind::Ack => 3,
        Kind::Rst => 4,
        Kind::Bare => 5,
    };
    let dir = match moment.way {
        Way::Original => 0,
        Way::Reply => 1,
    };
    format!("packet (index {index}) in dir {dir}")
}
