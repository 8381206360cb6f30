//! What a wire did, as it tells at the end.

use serde::{Deserialize, Serialize};

/// What happened to the packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that entered the wire.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// Packets handed over at the far end, duplicates and ICMP answers of the wire included.
    pub delivered: u64,
    /// Packets lost because the wire was told so.
    pub lost: Lost,
    /// Packets lost although nobody told it to: a measurement that has any is worth nothing.
    pub overrun: Overrun,
    /// Packets cut to a size.
    pub truncated: u64,
    /// Packets held back so that others could overtake them.
    pub held_back: u64,
    /// Packets delivered twice.
    pub duplicated: u64,
    /// Packets with a flipped byte.
    pub corrupted: u64,
    /// Packets answered by ICMP "too big"; they are counted as lost by size, too.
    pub answered_too_big: u64,
    /// Packets still on the wire when it was taken down.
    pub under_way: u64,
}

/// Packets lost on purpose, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lost {
    /// At random.
    pub random: u64,
    /// From or to a port that is blocked.
    pub blocked_port: u64,
    /// SYNs and SYN-ACKs with an option that the firewall does not know.
    pub unknown_option: u64,
    /// Larger than a rule allows.
    pub oversize: u64,
    /// Of a flow that had been idle for too long.
    pub forgotten: u64,
    /// The queue in front of a limited rate was full.
    pub queue: u64,
    /// The wire was dead.
    pub stopped: u64,
}

/// Packets lost by accident, by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Overrun {
    /// The TUN device at the sender's end dropped them: the wire was too slow.
    pub device: u64,
    /// More packets under way than the wire holds.
    pub held: u64,
    /// The far end did not take them.
    pub refused: u64,
}

// === impl Lost ===

impl Lost {
    /// All causes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.random
            + self.blocked_port
            + self.unknown_option
            + self.oversize
            + self.forgotten
            + self.queue
            + self.stopped
    }
}
