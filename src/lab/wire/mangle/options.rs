//! TCP options: blanked with NOPs or overwritten where they stand, as firewalls do.

use super::scope::Covered;
use crate::lab::wire::spec::{Direction, UnknownOptions, WindowScale};
use crate::packet::{Flags, OptionKind, Tcp};

/// The largest shift count there is (RFC 7323).
const LARGEST_SHIFT: u8 = 14;

/// What becomes of the options of one direction.
#[derive(Debug, Clone, Copy)]
pub struct OptionRewrite {
    own: Own,
    /// Taken from TSecr: what the other direction adds to the values that are echoed here.
    echo_offset: u32,
}

/// What the direction itself does to options; `Default` is nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    window_scale: WindowScale,
    mss: Option<u16>,
    strip_sack_permitted: bool,
    strip_sack: bool,
    strip_timestamps: bool,
    strip_unknown: bool,
    /// Added to TSval.
    value_offset: u32,
}

impl OptionRewrite {
    /// What the direction `own` does, where `other` is the way back.
    pub fn new(own: &Direction, other: &Direction) -> Self {
        Self {
            own: Own {
                window_scale: own.window_scale,
                mss: own.mss,
                strip_sack_permitted: own.strip_sack_permitted,
                strip_sack: own.strip_sack,
                strip_timestamps: own.strip_timestamps,
                strip_unknown: own.unknown_options == UnknownOptions::Strip,
                value_offset: own.timestamp_offset.unwrap_or(0),
            },
            echo_offset: other.timestamp_offset.unwrap_or(0),
        }
    }

    /// Rewrites the options of one segment, as far as the two directions concern themselves with its flow.
    pub fn apply<B: AsRef<[u8]> + AsMut<[u8]>>(self, tcp: &mut Tcp<B>, covered: Covered) {
        let own = if covered.own {
            self.own
        } else {
            Own::default()
        };
        let echo_offset = if covered.back { self.echo_offset } else { 0 };
        let flags = tcp.flags();
        let is_syn = flags.has(Flags::SYN);
        let is_ack = flags.has(Flags::ACK);
        if !is_syn && !own.concerns_all_segments() && echo_offset == 0 {
            return;
        }
        tcp.edit_options(|tcp, option| match option.kind {
            OptionKind::Mss if is_syn => own.lower_mss(tcp, option.at + 2),
            OptionKind::WindowScale if is_syn => match own.window_scale {
                WindowScale::Keep => {}
                WindowScale::StripFromSynAck if !is_ack => {}
                WindowScale::Strip | WindowScale::StripFromSynAck => tcp.blank(option),
                WindowScale::Set(shift) => {
                    tcp.overwrite(option.at + 2, &[shift.min(LARGEST_SHIFT)])
                }
            },
            OptionKind::SackPermitted if is_syn && own.strip_sack_permitted => tcp.blank(option),
            OptionKind::Sack if own.strip_sack => tcp.blank(option),
            OptionKind::Timestamps if is_syn && own.strip_timestamps => tcp.blank(option),
            OptionKind::Timestamps => {
                tcp.shift_number(option.at + 2, own.value_offset);
                // Without ACK nothing is echoed, and the field is zero (RFC 7323).
                if is_ack {
                    tcp.shift_number(option.at + 6, echo_offset.wrapping_neg());
                }
            }
            OptionKind::Other(_) if own.strip_unknown => tcp.blank(option),
            _ => {}
        });
    }
}

// === impl Own ===

impl Own {
    /// Whether anything is done to options outside of SYN and SYN-ACK.
    fn concerns_all_segments(self) -> bool {
        self.value_offset != 0 || self.strip_sack || self.strip_unknown
    }

    fn lower_mss<B: AsRef<[u8]> + AsMut<[u8]>>(self, tcp: &mut Tcp<B>, at: usize) {
        let Some(limit) = self.mss else { return };
        let present = u16::from_be_bytes([tcp.header()[at], tcp.header()[at + 1]]);
        if present > limit {
            tcp.overwrite(at, &limit.to_be_bytes());
        }
    }
}
