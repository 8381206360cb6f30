//! What the tracker remembers of each direction (`struct ip_ct_tcp_state` in the kernel).

use super::window::add;
use super::{Kernel, Segment};

/// One direction of a connection, as the tracker remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    /// The sequence number after the last that this side was seen to send (`td_end`).
    pub end: u32,
    /// How far the other side's window allows this one to send (`td_maxend`).
    pub max_end: u32,
    /// The largest window that this side has offered (`td_maxwin`); 0 before its first packet.
    pub max_window: u32,
    /// The highest acknowledgement number that this side has sent (`td_maxack`).
    pub max_ack: Option<u32>,
    /// By how many bits this side's windows are shifted.
    pub scale: u8,
    /// Whether it offered window scale.
    pub scale_offered: bool,
    /// Whether it permits SACK.
    pub sack_permitted: bool,
    /// Whether nothing it sends is INVALID for its numbers, because the connection was picked up in the
    /// middle.
    pub liberal: bool,
    /// Whether it was the first to send FIN.
    pub closed_first: bool,
    /// Whether data it sent is not acknowledged yet.
    pub unacknowledged: bool,
}

// === impl Side ===

impl Side {
    /// What is known after a SYN that nothing came before.
    pub(super) fn of_syn(segment: &Segment) -> Self {
        let mut side = Self {
            end: segment.end(),
            max_end: segment.end(),
            max_window: u32::from(segment.window).max(1),
            ..Self::default()
        };
        side.read_options(segment, Kernel::NEWEST);
        side
    }

    /// What is supposed after a segment from the middle of a connection.
    pub(super) fn of_middle(segment: &Segment) -> Self {
        let max_window = u32::from(segment.window).max(1);
        Self {
            end: segment.end(),
            max_end: add(segment.end(), max_window),
            max_window,
            ..Self::unknown()
        }
    }

    /// The other side of a connection that was picked up in the middle.
    pub(super) fn unknown() -> Self {
        Self {
            sack_permitted: true,
            liberal: true,
            ..Self::default()
        }
    }

    /// Begins anew with a SYN or SYN-ACK.
    pub(super) fn restart(&mut self, segment: &Segment, kernel: Kernel) {
        self.end = segment.end();
        self.max_end = segment.end();
        self.max_window = u32::from(segment.window).max(1);
        self.read_options(segment, kernel);
    }

    /// Forgets everything, but not that it is treated liberally; Linux 5.10 forgets that too.
    pub(super) fn forget(&mut self, kernel: Kernel) {
        *self = Self {
            liberal: self.liberal && kernel > Kernel::V5_10,
            ..Self::default()
        };
    }

    /// A segment without any options leaves all as it was.
    fn read_options(&mut self, segment: &Segment, kernel: Kernel) {
        let options = &segment.options;
        if !options.any {
            return;
        }
        *self = Self {
            end: self.end,
            max_end: self.max_end,
            max_window: self.max_window,
            scale: options.scale.unwrap_or(0),
            scale_offered: options.scale.is_some(),
            sack_permitted: options.sack_permitted,
            liberal: self.liberal && kernel > Kernel::V5_10,
            ..Self::default()
        };
    }
}
