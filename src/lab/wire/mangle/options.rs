//! TCP options: blanked with NOPs or overwritten where they stand, as firewalls do.

use crate::lab::wire::spec::{Direction, WindowScale};
use crate::packet::{OptionKind, Tcp};

/// The largest shift count there is (RFC 7323).
const LARGEST_SHIFT: u8 = 14;

/// What one direction does to options.
#[derive(Debug, Clone, Copy)]
pub struct OptionRewrite {
    window_scale: WindowScale,
    mss: Option<u16>,
    strip_sack_permitted: bool,
    /// Added to TSval.
    value_offset: u32,
    /// Taken from TSecr: what the other direction adds to the values that are echoed here.
    echo_offset: u32,
}

impl OptionRewrite {
    /// What the direction `own` does, where `other` is the way back.
    pub fn new(own: &Direction, other: &Direction) -> Self {
        Self {
            window_scale: own.window_scale,
            mss: own.mss,
            strip_sack_permitted: own.strip_sack_permitted,
            value_offset: own.timestamp_offset.unwrap_or(0),
            echo_offset: other.timestamp_offset.unwrap_or(0),
        }
    }

    /// Rewrites the options of one segment.
    pub fn apply<B: AsRef<[u8]> + AsMut<[u8]>>(&self, tcp: &mut Tcp<B>) {
        let flags = tcp.flags();
        let is_syn = flags.has(crate::packet::Flags::SYN);
        let is_ack = flags.has(crate::packet::Flags::ACK);
        if !is_syn && self.value_offset == 0 && self.echo_offset == 0 {
            return; // the only options outside SYNs that are touched here are timestamps
        }
        tcp.edit_options(|tcp, option| match option.kind {
            OptionKind::Mss if is_syn => self.lower_mss(tcp, option.at + 2),
            OptionKind::WindowScale if is_syn => match self.window_scale {
                WindowScale::Keep => {}
                WindowScale::StripFromSynAck if !is_ack => {}
                WindowScale::Strip | WindowScale::StripFromSynAck => tcp.blank(option),
                WindowScale::Set(shift) => {
                    tcp.overwrite(option.at + 2, &[shift.min(LARGEST_SHIFT)])
                }
            },
            OptionKind::SackPermitted if is_syn && self.strip_sack_permitted => tcp.blank(option),
            OptionKind::Timestamps => {
                tcp.shift_number(option.at + 2, self.value_offset);
                // Without ACK nothing is echoed, and the field is zero (RFC 7323).
                if is_ack {
                    tcp.shift_number(option.at + 6, self.echo_offset.wrapping_neg());
                }
            }
            _ => {}
        });
    }

    fn lower_mss<B: AsRef<[u8]> + AsMut<[u8]>>(&self, tcp: &mut Tcp<B>, at: usize) {
        let Some(limit) = self.mss else { return };
        let present = u16::from_be_bytes([tcp.header()[at], tcp.header()[at + 1]]);
        if present > limit {
            tcp.overwrite(at, &limit.to_be_bytes());
        }
    }
}
